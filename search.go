package headless

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/miekg/dns"
)

const (
	// usualNDots is how many dots a name has at least that a Pod does not look for along its search list first.
	usualNDots = 5
	// maxSteps is how many names a search looks up at most, one after the other.
	maxSteps = 8
	// searchTime is after how long a search begins no further step: resolvers wait for five seconds.
	searchTime = 2 * time.Second
)

// searchOutcome is what became of a query that may be the first step of a search list.
type searchOutcome uint8

const (
	searchFound         searchOutcome = iota // a name that exists
	searchNothing                            // no name that exists
	searchFailed                             // a step without an answer, or too many steps, or too slow ones
	searchUnknownClient                      // none, as nobody knows the client
)

var searchTexts = [...]string{
	searchFound: "found", searchNothing: "nothing", searchFailed: "failed", searchUnknownClient: "unknown_client",
}

// shortName returns the name that a program looks for whose query for an address q is, in lower case: the
// first step of its search list, to a name that does not exist, so far as m says. It is "" where the name
// may be meant as it stands, or somebody else goes along the search list.
func (h *Headless) shortName(ctx context.Context, q *question, m *reply, name string) string {
	if !h.searches || q.qtype != dns.TypeA && q.qtype != dns.TypeAAAA || m.outcome != index.NameError ||
		q.grammar == qname.Multicluster || q.zone != q.nsZone || rounds(ctx) > 0 || strings.Contains(name, `\`) {
		return ""
	}
	path, ok := strings.CutSuffix(name, "."+below("svc", q.zone))
	at := strings.LastIndexByte(path, '.')
	if !ok || at < 0 {
		return ""
	}
	short, namespace := path[:at], path[at+1:]
	service := short[strings.LastIndexByte(short, '.')+1:]
	if strings.Count(short, ".") >= usualNDots || !h.index.HasNamespace(namespace) ||
		h.index.Knows(model.Key{Namespace: namespace, Name: service}) {
		return ""
	}
	m.forClient = true
	var who asker
	of := "" // the client's
	if q.from.IsValid() {
		who = h.asker(q.from)
		of = h.namespaceOf(who, q.from)
	}
	switch {
	case of == "":
		h.tally.addSearch(searchUnknownClient, 0)
	case of == namespace && (who.pod == nil || !h.fronts.autopath): // which goes along the list itself
		return short
	}
	return ""
}

// searchList returns the names that a program of a Pod tries for a short one behind the first of them: with
// the other domains of its cluster, with those of its node, which are those of this machine, and as it stands.
func (h *Headless) searchList(short, zone string) []string {
	services := below("svc", zone)
	names := []string{below(short, services), below(short, zone)}
	for _, domain := range h.hostSearch {
		if domain != zone && !qname.InZone(domain, services) { // of the cluster, if this is a Pod's resolv.conf
			names = append(names, below(short, domain))
		}
	}
	names = append(names, short+".")
	return slices.DeleteFunc(names, func(name string) bool { return !isName(name) })
}

// search completes m, the denial of q, with the first name of the rest of the client's search list that
// exists: with a CNAME to it and the answer for it. It returns false, and leaves m as it is, if none exists or
// it cannot be told which is the first.
func (h *Headless) search(ctx context.Context, w dns.ResponseWriter, r *dns.Msg, q *question, m *reply, short string) bool {
	inTime, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	for i, target := range h.searchList(short, q.zone) {
		if i == maxSteps || inTime.Err() != nil {
			h.tally.addSearch(searchFailed, 0)
			return false
		}
		hop := h.hop(q, target)
		rcode, answer := h.step(inTime, w, r, &hop)
		switch {
		case rcode == dns.RcodeNameError:
			continue
		case rcode != dns.RcodeSuccess:
			h.tally.addSearch(searchFailed, 0)
			return false
		}
		h.tally.addSearch(searchFound, i+1)
		m.cname, m.ttl = target, h.denialTTL(q.authority) // for it says that the name itself is not there
		if answer == nil {
			h.chase(ctx, w, r, q, m)
			return true
		}
		m.Answer = append(m.Answer, cnameRR(q.name, m.ttl, target))
		h.adopt(r, &hop, m, answer)
		return true
	}
	h.tally.addSearch(searchNothing, 0)
	return false
}

// step returns whether the name of hop exists, as a response code, and the answer of the whole server for it, which is nil
// if the name is ours.
func (h *Headless) step(ctx context.Context, w dns.ResponseWriter, r *dns.Msg, hop *question) (rcode int, answer *dns.Msg) {
	if hop.authority != nil {
		if !h.answers(hop.authority) {
			return dns.RcodeServerFailure, nil
		}
		hop.Parse(hop.name, hop.zone, hop.grammar)
		name := *hop
		name.qtype = dns.TypeNone // it exists for all types or for none
		var found reply
		h.find(&name, &found)
		found.forget()
		if !h.passes(&name, &found, hop.name) {
			if found.outcome == index.NameError {
				return dns.RcodeNameError, nil
			}
			return dns.RcodeSuccess, nil
		}
	}
	if answer = h.elsewhere(ctx, w, r, hop); answer == nil {
		return dns.RcodeServerFailure, nil
	}
	return answer.Rcode, answer
}

// searchWriter passes on another plugin's answer to a query that may be the first step of a search list. If
// there is no such name, the search goes on from there.
type searchWriter struct {
	dns.ResponseWriter
	search func() *dns.Msg // nil if nothing was found
}

// WriteMsg implements dns.ResponseWriter.
func (s *searchWriter) WriteMsg(m *dns.Msg) error {
	if m.Rcode == dns.RcodeNameError {
		if found := s.search(); found != nil {
			m = found
		}
	}
	return s.ResponseWriter.WriteMsg(m)
}

// searchBehind returns a writer for the next plugin's answer to q, of which m says that nothing is here.
func (h *Headless) searchBehind(ctx context.Context, w dns.ResponseWriter, r *dns.Msg, q *question, m *reply, short string) dns.ResponseWriter {
	own := *q
	return &searchWriter{w, func() *dns.Msg {
		if !h.search(ctx, w, r, &own, m, short) {
			return nil
		}
		h.mark(r, &own, m, !h.isSynced(own.authority))
		return &m.Msg
	}}
}
