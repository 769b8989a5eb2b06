package headless

import (
	"context"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// chasing is the key of the context of a lookup for the target of a CNAME.
type chasing struct{}

// maxHops is how many CNAMEs one answer follows.
const maxHops = 8

// chase answers q, whose name owns a CNAME, in m: with the CNAME and, for A and AAAA, with the answer for its target, and so
// on (RFC 1034 section 4.3.2). The response code is the last target's (RFC 6604). A loop ends at the first repetition.
func (h *Headless) chase(ctx context.Context, w dns.ResponseWriter, r *dns.Msg, q *question, m *reply) {
	seen := []string{strings.ToLower(q.name)}
	for {
		m.Answer = append(m.Answer, cnameRR(q.name, m.ttl, m.cname))
		if q.qtype != dns.TypeA && q.qtype != dns.TypeAAAA {
			return
		}
		hop := h.hop(q, m.cname)
		if slices.Contains(seen, m.cname) {
			h.explainTarget(r, &hop, m, " leads to itself")
			return
		}
		seen = append(seen, m.cname)
		if hop.authority == nil {
			h.chaseOutside(ctx, w, r, &hop, m)
			return
		}
		if !h.answers(hop.authority) {
			m.Rcode = dns.RcodeServerFailure
			h.explainTarget(r, &hop, m, " is not known yet")
			return
		}
		hop.Parse(m.cname, hop.zone, hop.grammar)
		q = &hop
		m.outcome, m.cname = index.NameError, ""
		cnames := len(m.Answer)
		h.resolve(q, m)
		switch {
		case m.cname != "" && cnames == maxHops:
			h.explainTarget(r, q, m, " is not followed: too many ExternalNames lead to each other")
			return
		case m.cname != "":
		case h.passes(q, m, q.name):
			h.chaseOutside(ctx, w, r, q, m)
			return
		default:
			h.finish(r, q, m, cnames)
			return
		}
	}
}

// hop returns what is asked behind q, of the target of a CNAME that q's name has.
func (h *Headless) hop(q *question, target string) question {
	hop := question{authority: h.authority(target), name: target, qtype: q.qtype}
	hop.client, hop.from, hop.tcp, hop.growth = q.client, q.from, q.tcp, q.growth
	hop.offset, hop.end = q.offset+pointerSize+fixedSize+nameSize(target), q.end
	return hop
}

// chaseOutside completes m with the answer that the whole server gives for q.
func (h *Headless) chaseOutside(ctx context.Context, w dns.ResponseWriter, r *dns.Msg, q *question, m *reply) {
	if rounds(ctx) >= maxHops {
		m.Rcode = dns.RcodeServerFailure
		h.explainTarget(r, q, m, " leads back here")
		return
	}
	answer := h.elsewhere(ctx, w, r, q)
	if answer == nil {
		m.Rcode = dns.RcodeServerFailure
		h.explainTarget(r, q, m, " cannot be resolved")
		return
	}
	h.adopt(r, q, m, answer)
}

// rounds returns how often the server has been asked by a plugin on the way to this query, which is 0 for a client's.
func rounds(ctx context.Context) int {
	n, _ := ctx.Value(dnsserver.LoopKey{}).(int)
	return n
}

// elsewhere returns the answer that the whole server gives for q, or nil if it gives none.
func (h *Headless) elsewhere(ctx context.Context, w dns.ResponseWriter, r *dns.Msg, q *question) *dns.Msg {
	ctx = context.WithValue(context.WithValue(ctx, dnsserver.LoopKey{}, rounds(ctx)+1), chasing{}, true)
	answer, err := h.upstream.Lookup(ctx, request.Request{W: w, Req: r}, q.name, q.qtype)
	if err != nil {
		return nil
	}
	return answer
}

// adopt completes m with an answer of the whole server for q. When nobody here answers for it, the CNAME stands alone
// and the client's resolver goes on from there.
func (h *Headless) adopt(r *dns.Msg, q *question, m *reply, answer *dns.Msg) {
	if answer.Rcode != dns.RcodeRefused {
		m.Rcode = answer.Rcode
	}
	m.Answer = append(m.Answer, answer.Answer...)
	m.Truncated = answer.Truncated
	switch {
	case answer.Rcode == dns.RcodeNameError:
		m.Ns = answer.Ns
		h.explainTarget(r, q, m, " does not exist")
	case isNoData(answer, q.qtype):
		m.Ns = answer.Ns
		h.explainTarget(r, q, m, " has no "+dns.Type(q.qtype).String()+" records")
	case answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeRefused:
		h.explainTarget(r, q, m, " cannot be resolved")
	}
}

// isNoData reports whether m, an answer of others, says that there are no records of a type (RFC 2308 section 2.2). CNAMEs without an
// SOA behind them say so of nothing: whoever made them does not know what they lead to.
func isNoData(m *dns.Msg, qtype uint16) bool {
	isOf := func(qtype uint16) func(dns.RR) bool {
		return func(rr dns.RR) bool { return rr.Header().Rrtype == qtype }
	}
	return m.Rcode == dns.RcodeSuccess && !m.Truncated && !slices.ContainsFunc(m.Answer, isOf(qtype)) &&
		(len(m.Answer) == 0 || slices.ContainsFunc(m.Ns, isOf(dns.TypeSOA)))
}
