// Package headless implements a CoreDNS plugin that answers for the Services of a Kubernetes cluster, headless ones first.
// It replaces CoreDNS's kubernetes plugin.
//
// An index (index.go) holds what DNS needs to know; what is read from it are views (view.go). Reflectors (watch.go) or files
// (manifests.go) feed it, by way of converters (slice.go) that reduce API objects to what is kept. A query is taken apart
// (query.go), looked up in the index, and answered (handler.go, records.go).
package headless

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/edns"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// Headless is the plugin: one stanza of a Corefile.
type Headless struct {
	Next plugin.Handler

	*config
	index     *index
	imports   *index // of the multicluster zones; nil without any
	pods      *pods
	converter *converter
	source    source
	synced    *latch
	upstream  upstreamer
	// local holds the addresses that the server listens on. They lead to the DNS service's own name, and stand in for its
	// addresses where there is none.
	local []netip.Addr
	// hostSearch is the search list of this machine, for AutoPath.
	hostSearch []string
}

// upstreamer resolves names outside our zones. It is *upstream.Upstream but in tests.
type upstreamer interface {
	Lookup(ctx context.Context, state request.Request, name string, qtype uint16) (*dns.Msg, error)
}

// question is what a reply answers.
type question struct {
	query
	name  string // the owner name, as the client spells it
	zone  string // the zone of name, lower case
	index *index // of the zone
	qtype uint16
	// offset is where the answer section starts in the message, end where the message has to end.
	offset, end int
}

// apex returns the zone as the client spells it.
func (q *question) apex() string { return q.name[len(q.name)-len(q.zone):] }

// result is the answer to a question. The zero result denies the name.
type result struct {
	outcome   outcome
	answer    []dns.RR
	extra     []dns.RR
	truncated bool   // the answer is not the whole RRset
	cname     string // the name owns only a CNAME, to this FQDN
	ttl       uint32 // of that CNAME
}

// Name implements plugin.Handler.
func (h *Headless) Name() string { return pluginName }

// Ready implements ready.Readiness.
func (h *Headless) Ready() bool { return h.synced.isOpen.Load() }

// ServeDNS implements plugin.Handler.
func (h *Headless) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if len(r.Question) == 0 || r.Question[0].Qclass != dns.ClassINET {
		return h.next(ctx, w, r)
	}
	name, qtype := r.Question[0].Name, r.Question[0].Qtype
	qname := strings.ToLower(name)
	zone := h.zoneOf(qname)
	if zone == "" {
		return h.next(ctx, w, r)
	}
	if qtype == dns.TypeAXFR || qtype == dns.TypeIXFR {
		return dns.RcodeRefused, nil
	}
	q := h.question(name, qname, zone, qtype)
	if !h.Ready() {
		if q.kind == reverseName && isPublic(q.prefix) && h.falls(qname) {
			return h.next(ctx, w, r)
		}
		return notReadyReply(w, r)
	}
	q.offset = headerSize + nameSize(name) + 4
	q.end = room(w, r)

	res := h.resolve(q)
	if res.outcome != found && h.falls(qname) {
		if res.outcome == nonTerminal {
			w = &ancestorWriter{w, h.soa(q, h.negativeTTL)}
		}
		return h.next(ctx, w, r)
	}
	m := new(dns.Msg)
	m.SetReply(r)
	m.Authoritative = true
	if res.cname != "" {
		h.chase(ctx, w, r, q, &res, m)
	} else {
		h.fill(m, q, &res)
	}
	_ = w.WriteMsg(m) // the client is gone; there is nobody to tell
	return dns.RcodeSuccess, nil
}

// next hands the query to the next plugin.
func (h *Headless) next(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	return plugin.NextOrFailure(h.Name(), h.Next, ctx, w, r)
}

// falls reports whether a name that owns no record goes to the next plugin.
func (h *Headless) falls(qname string) bool { return h.Next != nil && h.fall.Through(qname) }

// zoneOf returns the longest of our zones that qname is in, or "".
func (h *Headless) zoneOf(qname string) string {
	longest := ""
	for _, zone := range h.zones {
		if len(zone) > len(longest) && inZone(qname, zone) {
			longest = zone
		}
	}
	return longest
}

// question returns the question for name, qname in lower case, in one of our zones. offset and end are not set.
func (h *Headless) question(name, qname, zone string, qtype uint16) *question {
	q := &question{name: name, zone: zone, index: h.indexOf(zone), qtype: qtype}
	q.parse(qname, zone, h.grammar(zone))
	return q
}

// indexOf returns the index that answers for zone.
func (h *Headless) indexOf(zone string) *index {
	if slices.Contains(h.multicluster, zone) {
		return h.imports
	}
	return h.index
}

// grammar returns which names there are in zone.
func (h *Headless) grammar(zone string) grammar {
	switch {
	case slices.Contains(h.multicluster, zone):
		return multicluster
	case h.zonal:
		return zonal
	}
	return plain
}

// optSize is the size of an OPT record without options.
const optSize = 11

// room returns how long the reply to r may be before the server adds the OPT record to it, with those options of the query
// that some plugin asks it to repeat.
func room(w dns.ResponseWriter, r *dns.Msg) int {
	state := request.Request{W: w, Req: r}
	size := state.Size()
	opt := r.IsEdns0()
	if opt == nil {
		return size
	}
	size -= optSize
	for _, o := range opt.Option {
		if edns.SupportedOption(o.Option()) {
			size -= dns.Len(&dns.OPT{Hdr: opt.Hdr, Option: []dns.EDNS0{o}}) - optSize
		}
	}
	return size
}

// fill completes m with res: its records or, if there are none, a denial.
func (h *Headless) fill(m *dns.Msg, q *question, res *result) {
	m.Answer = append(m.Answer, res.answer...)
	m.Extra = res.extra
	m.Truncated = m.Truncated || res.truncated
	if res.outcome == nameError {
		m.Rcode = dns.RcodeNameError
	}
	if len(res.answer) == 0 && !res.truncated {
		m.Ns = []dns.RR{h.soa(q, h.negativeTTL)}
	}
}

// notReadyReply writes that the cluster's state is not known yet.
func notReadyReply(w dns.ResponseWriter, r *dns.Msg) (int, error) {
	m := new(dns.Msg)
	m.SetRcode(r, dns.RcodeServerFailure)
	if r.IsEdns0() != nil {
		opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		opt.Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeNotReady, ExtraText: "the cluster has not been listed yet"}}
		m.Extra = []dns.RR{opt}
	}
	_ = w.WriteMsg(m) // the client is gone; there is nobody to tell
	return dns.RcodeSuccess, nil
}

// ancestorWriter passes on another plugin's answer for a name that exists here as an empty non-terminal: NXDOMAIN would
// deny what is below it (RFC 8020), so it becomes NODATA.
type ancestorWriter struct {
	dns.ResponseWriter
	soa dns.RR // for an answer without one
}

// WriteMsg implements dns.ResponseWriter.
func (a *ancestorWriter) WriteMsg(m *dns.Msg) error {
	if m.Rcode == dns.RcodeNameError {
		noData := *m
		noData.Rcode = dns.RcodeSuccess
		noData.Authoritative = true // it is ours that the name exists; glibc takes NODATA without this for a referral
		if len(noData.Ns) == 0 {
			noData.Ns = []dns.RR{a.soa}
		}
		m = &noData
	}
	return a.ResponseWriter.WriteMsg(m)
}

// isPublic reports whether none of the addresses in p is private, shared, unique-local or link-local.
func isPublic(p netip.Prefix) bool {
	for _, special := range notPublic {
		if special.Overlaps(p) {
			return false
		}
	}
	return true
}

var notPublic = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), // RFC 1918
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"),  // RFC 6598
	netip.MustParsePrefix("169.254.0.0/16"), // RFC 3927
	netip.MustParsePrefix("fc00::/7"),       // RFC 4193
	netip.MustParsePrefix("fe80::/10"),      // RFC 4291
}

// soa returns the SOA of q's zone.
func (h *Headless) soa(q *question, ttl uint32) dns.RR {
	return soaRR(q.apex(), ttl, h.naming(q.zone), q.index.serial(), h.negativeTTL)
}

// naming returns the zone that the names in a zone's SOA and NS records are in: reverse zones have those of the primary zone.
func (h *Headless) naming(zone string) string {
	if isReverse(zone) {
		return h.primary
	}
	return zone
}

// resolve answers q from what we hold. ANY is answered with one RRset (RFC 8482).
func (h *Headless) resolve(q *question) result {
	if q.qtype != dns.TypeANY {
		return h.resolveType(q, q.qtype)
	}
	var res result
	for _, qtype := range []uint16{dns.TypeSOA, dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeTXT} {
		if res = h.resolveType(q, qtype); len(res.answer) > 0 || res.outcome != found {
			break
		}
	}
	return res
}

// resolveType answers q as if for qtype.
func (h *Headless) resolveType(q *question, qtype uint16) result {
	switch q.kind {
	case apex:
		return h.resolveApex(q, qtype)
	case structural:
		return result{outcome: nonTerminal}
	case versionName:
		res := result{outcome: found}
		if qtype == dns.TypeTXT {
			res.answer = []dns.RR{versionRR(q.name)}
		}
		return res
	case nsName:
		return h.resolveNS(q, qtype)
	case podsName, podName:
		return h.resolvePod(q, qtype)
	case reverseName:
		return h.resolveReverse(q, qtype)
	case namespaceName, serviceName:
		return h.resolveService(q, qtype)
	}
	return result{}
}

func (h *Headless) resolveApex(q *question, qtype uint16) result {
	res := result{outcome: found}
	switch qtype {
	case dns.TypeSOA:
		res.answer = []dns.RR{h.soa(q, h.ttl)}
	case dns.TypeNS:
		res.answer, res.extra = nsRRs(q.name, h.ttl, h.nameservers(h.naming(q.zone)))
	}
	return res
}

// nameservers returns the name servers by their names in zone: the DNS service by its own, or else ns.dns with the addresses
// that the server listens on.
func (h *Headless) nameservers(zone string) []namedServer {
	var servers []namedServer
	for _, s := range h.index.nameservers(h.local) {
		servers = append(servers, namedServer{s.fqdn(zone), s.addrs})
	}
	if len(servers) == 0 {
		servers = []namedServer{{below("ns.dns", zone), h.local}}
	}
	return servers
}

// resolveNS answers for ns.dns, the SOA's MNAME: it has the addresses of all name servers.
func (h *Headless) resolveNS(q *question, qtype uint16) result {
	res := result{outcome: nonTerminal}
	seen := make(map[netip.Addr]bool)
	for _, s := range h.nameservers(q.zone) {
		for _, addr := range s.addrs {
			res.outcome = found
			if !seen[addr] && qtype == rrtype(familyOf(addr)) {
				res.answer = append(res.answer, addressRR(q.name, h.ttl, addr))
			}
			seen[addr] = true
		}
	}
	return res
}

// resolvePod answers for names made of an address. Which of them exist, and whether any does, is what the option pods says.
func (h *Headless) resolvePod(q *question, qtype uint16) result {
	if h.podMode == podsDisabled || !h.index.hasNamespace(q.namespace) {
		return result{}
	}
	if q.kind == podsName {
		return result{outcome: nonTerminal}
	}
	addr, ok := parsePodLabel(q.pod)
	if !ok || h.podMode == podsVerified && !h.pods.in(q.namespace, addr) {
		return result{}
	}
	res := result{outcome: found}
	if qtype == rrtype(familyOf(addr)) {
		res.answer = []dns.RR{addressRR(q.name, h.ttl, addr)}
	}
	return res
}

func (h *Headless) resolveReverse(q *question, qtype uint16) result {
	v := h.index.lookup(&q.query, wantNothing, 0)
	res := result{outcome: v.outcome}
	if qtype == dns.TypePTR {
		res.answer = ptrRRs(q.name, h.ttlOf(&v), v.pointers, h.primary)
	}
	return res
}

func (h *Headless) resolveService(q *question, qtype uint16) result {
	w, limit := wantNothing, 0
	left := max(0, q.end-q.offset) // a client may leave no room for an answer
	switch qtype {
	case dns.TypeA:
		w, limit = wantA, left/addressRRSize(v4)
	case dns.TypeAAAA:
		w, limit = wantAAAA, left/addressRRSize(v6)
	case dns.TypeSRV:
		w, limit = wantSRV, left/leastSRVSize(q.service, q.namespace, q.zone)
	}
	v := q.index.lookup(&q.query, w, limit)
	res := result{outcome: v.outcome, cname: v.cname, ttl: h.ttlOf(&v)}
	switch {
	case w == wantSRV:
		a := srvAnswer{
			owner: q.name, ttl: res.ttl, service: serviceFQDN(q.service, q.namespace, q.zone),
			targets: v.targets, total: v.total, size: q.offset, end: q.end,
		}
		res.answer = a.answer()
		res.extra = a.extra()
		res.truncated = len(res.answer) < v.total
	case w != wantNothing:
		res.answer = addressRRs(q.name, res.ttl, v.addrs, w.family())
		res.truncated = len(res.answer) < v.total
	}
	return res
}

// rrtype returns the type of the address records of family f.
func rrtype(f family) uint16 { return [...]uint16{dns.TypeA, dns.TypeAAAA}[f] }

// ttlOf returns the time to live of what v holds.
func (h *Headless) ttlOf(v *view) uint32 {
	if v.headless {
		return h.headlessTTL
	}
	return h.ttl
}

// maxHops is how many CNAMEs one answer follows.
const maxHops = 8

// chase answers q, whose name owns a CNAME, in m: with the CNAME and, for A and AAAA, with the answer for its target, and so
// on (RFC 1034 section 4.3.2). The response code is the last target's (RFC 6604). A loop ends at the first repetition.
func (h *Headless) chase(ctx context.Context, w dns.ResponseWriter, r *dns.Msg, q *question, res *result, m *dns.Msg) {
	seen := []string{strings.ToLower(q.name)}
	for {
		m.Answer = append(m.Answer, cnameRR(q.name, res.ttl, res.cname))
		if q.qtype != dns.TypeA && q.qtype != dns.TypeAAAA || slices.Contains(seen, res.cname) {
			return
		}
		seen = append(seen, res.cname)
		zone := h.zoneOf(res.cname)
		if zone == "" {
			h.chaseOutside(ctx, w, r, q, res.cname, m)
			return
		}
		offset, end := q.offset+pointerSize+fixedSize+nameSize(res.cname), q.end
		q = h.question(res.cname, res.cname, zone, q.qtype)
		q.offset, q.end = offset, end
		*res = h.resolve(q)
		switch {
		case res.cname != "" && len(m.Answer) == maxHops:
			return
		case res.cname != "":
		case res.outcome != found && h.falls(q.name):
			h.chaseOutside(ctx, w, r, q, q.name, m)
			return
		default:
			h.fill(m, q, res)
			return
		}
	}
}

// chaseOutside completes m with the answer that the whole server gives for target. When nobody here answers for it, the
// CNAME stands alone and the client's resolver goes on from there.
func (h *Headless) chaseOutside(ctx context.Context, w dns.ResponseWriter, r *dns.Msg, q *question, target string, m *dns.Msg) {
	loop, _ := ctx.Value(dnsserver.LoopKey{}).(int)
	if loop >= maxHops {
		m.Rcode = dns.RcodeServerFailure
		return
	}
	ctx = context.WithValue(ctx, dnsserver.LoopKey{}, loop+1)
	answer, err := h.upstream.Lookup(ctx, request.Request{W: w, Req: r}, target, q.qtype)
	if err != nil || answer == nil {
		m.Rcode = dns.RcodeServerFailure
		return
	}
	if answer.Rcode != dns.RcodeRefused {
		m.Rcode = answer.Rcode
	}
	m.Answer = append(m.Answer, answer.Answer...)
	m.Truncated = answer.Truncated
	if answer.Rcode == dns.RcodeNameError || answer.Rcode == dns.RcodeSuccess && len(answer.Answer) == 0 {
		m.Ns = answer.Ns
	}
}
