// Package headless implements a CoreDNS plugin that answers for the Services of a Kubernetes
// cluster, headless ones first. It replaces CoreDNS's kubernetes plugin.
//
// An index (internal/index) holds what DNS needs to know; what is read from it are views. An API
// server (internal/kube) or files (internal/manifests) feed it with what is kept of their objects
// (internal/model), and a snapshot (internal/snapshot) of what an earlier process knew stands in
// until they have. A query is taken apart (internal/qname), looked up in the index, and answered
// (handler.go, records.go). docs/architecture.md shows the whole house.
package headless

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/insight"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/edns"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// Headless is the plugin: one stanza of a Corefile.
type Headless struct {
	Next plugin.Handler

	*config
	authorities []authority // of the zones, those with the longest names first
	knowledge
	upstream upstreamer
	tally    *tally           // of the queries
	counter  *insight.Counter // of the queries, for people; nil without the option insight
	page     *insight.Server  // shows it, while the plugin runs
	journal  *journal         // of what zone transfers show
	// local holds the addresses that the server listens on. They lead to the DNS Service's own
	// name, and stand in for its addresses where the cluster has no DNS Service. Those that the
	// option bind names are in bound too: they may be ClusterIPs of it.
	local, bound []netip.Addr
	fronts       fronts
	lowerStacks  func() // of package stacks; nil if they are not raised
	// hostSearch is the search list of this machine, for AutoPath.
	hostSearch []string
}

// upstreamer resolves names outside our zones. It is *upstream.Upstream, except in tests.
type upstreamer interface {
	Lookup(ctx context.Context, state request.Request, name string, qtype uint16) (*dns.Msg, error)
}

// question is what a reply answers.
type question struct {
	qname.Name
	*authority
	name   string // the owner name, as the client spells it
	qtype  uint16
	client uint64            // who asks, as index.ClientOf says
	from   netip.Addr        // the client, if it is known
	subnet *dns.EDNS0_SUBNET // that the client is in, as a forwarder says whose word counts; or nil
	tcp    bool
	// offset is where the answer section starts in the message, end where the message has to end.
	offset, end int
	growth      growth // that end leaves no room for
	most        int    // addresses or targets that are given; 0: as many as there is room for
}

// apex returns the zone as the client spells it.
func (q *question) apex() string { return q.name[len(q.name)-len(q.zone):] }

// reply is the answer to a question, under construction. At first it denies the name.
type reply struct {
	dns.Msg
	outcome index.Outcome
	reason  index.Reason // of a denial, once it is complete
	cname   string       // the name owns only a CNAME, to this FQDN
	ttl     uint32       // of that CNAME, or of the name's records
	choice  index.Choice // of endpoints that this client gets
	// forClient says that a client in another namespace may get another answer.
	forClient bool
	left      int32 // records of a set larger than a message that are left out of it

	found *found // what no records are made of yet; nil: nothing

	// few is where the sections of most messages lie: one question, one record or else the SOA, and the OPT record that the server adds.
	few struct {
		question          [1]dns.Question
		answer, ns, extra [1]dns.RR
	}
}

// found is what the index holds for a question, of which no records are made yet.
type found struct {
	index.View
	shown int       // records for the answer section that fit in the reply
	srv   srvLayout // of an SRV set
}

// replies are those that were written as octets, which nobody else has.
var replies = sync.Pool{New: func() any { return new(reply) }}

// newReply returns a reply to r that has no records yet.
func newReply(r *dns.Msg) *reply {
	m := replies.Get().(*reply)
	*m = reply{}
	m.SetReply(&dns.Msg{MsgHdr: r.MsgHdr})
	m.Authoritative = true
	m.few.question[0] = r.Question[0]
	m.Question, m.Answer, m.Ns, m.Extra = m.few.question[:], m.few.answer[:0], m.few.ns[:0], m.few.extra[:0]
	return m
}

// Name implements plugin.Handler.
func (h *Headless) Name() string { return pluginName }

// ServeDNS implements plugin.Handler.
func (h *Headless) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if len(r.Question) == 0 || r.Question[0].Qclass != dns.ClassINET {
		return h.next(ctx, w, r)
	}
	name := strings.ToLower(r.Question[0].Name)
	q := question{authority: h.authority(name), name: r.Question[0].Name, qtype: r.Question[0].Qtype}
	if q.authority == nil {
		return h.next(ctx, w, r)
	}
	told, _ := ctx.Value(toldKey{}).(*told)
	told.tell(index.NoReason)
	if q.qtype == dns.TypeAXFR || q.qtype == dns.TypeIXFR {
		h.tally.add(w, answerRefused, index.NoReason)
		return dns.RcodeRefused, nil
	}
	q.Parse(name, q.zone, q.grammar)
	if !h.answers(q.authority) {
		if q.Kind == qname.Apex && q.qtype == dns.TypePTR {
			q.Prefix = q.addr // of a reverse zone of one address
		}
		if q.Prefix.IsValid() && isPublic(q.Prefix) && h.falls(name) {
			h.tally.add(w, answerPassed, index.NoReason)
			h.counter.CountPassed()
			return h.next(ctx, w, r)
		}
		h.tally.add(w, answerFailure, index.NoReason)
		h.counter.CountFailure()
		return notReadyReply(w, r)
	}
	stale := !h.isSynced(q.authority)
	q.offset = headerSize + nameSize(q.name) + 4
	addr := plainAddr(clientAddr(w))
	q.end, q.client, q.tcp = room(w, r), index.ClientOf(addr), protoOf(w) == protoTCP
	if q.from, q.subnet = h.clientOf(r, addr); q.subnet != nil {
		q.end -= subnetSize(q.subnet)
	}
	if stale && r.IsEdns0() != nil {
		q.end -= edeSize + len(staleText)
	}
	q.growth = h.fronts.growthOf(r, q.zone)
	q.end -= q.growth.once
	if q.tcp && h.explains(r) {
		q.end -= edeSize + maxPartText // of a set that is larger than a message
	}

	m := newReply(r)
	h.find(&q, m)
	short := h.shortName(ctx, &q, m, name)
	switch {
	case h.passes(&q, m, name):
		m.forget()
		h.tally.add(w, answerPassed, index.NoReason)
		h.counter.CountPassed()
		if m.outcome == index.NonTerminal {
			w = &ancestorWriter{w, h.soa(&q, h.denialTTL(q.authority))}
		} else if short != "" {
			w = h.searchBehind(ctx, w, r, &q, m, short)
		}
		return h.next(ctx, w, r)
	case m.cname != "":
		h.chase(ctx, w, r, &q, m)
	case short != "" && h.search(ctx, w, r, &q, m, short):
	default:
		h.finish(r, &q, m, 0)
	}
	if m.left > 0 && h.explains(r) {
		addEDE(&m.Msg, r, dns.ExtendedErrorCodeOther, m.partText(q.qtype))
	}
	h.mark(r, &q, m, stale)
	h.tally.addReply(w, m)
	h.countReply(&q, name, m)
	told.tell(m.reason)
	if q.tcp { // miekg/dns waits for as long as the client leaves unread what it is sent
		stalled := time.AfterFunc(stallTime, func() { _ = w.Close() }) // which is what is wanted
		defer stalled.Stop()
	}
	if h.writeOctets(w, r, &q, m) {
		m.forget()
		replies.Put(m)
		return dns.RcodeSuccess, nil
	}
	h.makeRecords(&q, m)
	_ = w.WriteMsg(&m.Msg) // it fails when the client is gone
	return dns.RcodeSuccess, nil
}

// mark says in m, the reply to r, what it holds for: whom, and how long if it is stale.
func (h *Headless) mark(r *dns.Msg, q *question, m *reply, stale bool) {
	if stale {
		h.makeRecords(q, m)
		markStale(&m.Msg, r)
	}
	if q.subnet != nil {
		addSubnet(&m.Msg, r, q.subnet, m.forClient || m.choice.DependsOnClient())
	}
}

// clientAddr returns the address of the client of w, if it has one.
func clientAddr(w dns.ResponseWriter) netip.Addr {
	switch a := w.RemoteAddr().(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr()
	case *net.TCPAddr:
		return a.AddrPort().Addr()
	}
	return netip.Addr{}
}

// next hands the query to the next plugin. Where no plugin answers for the target of a CNAME, it returns
// REFUSED, as a server without the zone does: that is no failure.
func (h *Headless) next(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	rcode, err := plugin.NextOrFailure(h.Name(), h.Next, ctx, w, r)
	if err != nil && ctx.Value(chasing{}) != nil && strings.HasSuffix(err.Error(), "no next plugin found") {
		return dns.RcodeRefused, nil
	}
	return rcode, err
}

// falls reports whether a name that is not ours goes to the next plugin.
func (h *Headless) falls(name string) bool { return h.Next != nil && h.fall.Through(name) }

// passes reports whether q, for a lower-case name, goes to the next plugin because of what m, the reply
// so far, says: when the name owns no record, and is not one of those that are ours whatever is there. The apex of a
// reverse zone of one address owns SOA and NS, and is somebody else's host when it has no PTR here.
func (h *Headless) passes(q *question, m *reply, name string) bool {
	switch q.Kind {
	case qname.Structural, qname.NamespaceName, qname.PodsName:
		if m.outcome == index.NonTerminal {
			return false
		}
	case qname.Apex:
		return q.qtype == dns.TypePTR && q.addr.IsValid() && m.answers() == 0 && h.falls(name)
	}
	return m.outcome != index.Found && h.falls(name)
}

const (
	// optSize is the size of an OPT record without options.
	optSize = 11
	// maxDatagram is the size of the longest message over UDP and IPv4. Over IPv6 there would be
	// room for 20 octets more.
	maxDatagram = 65507
)

// room returns how long the reply to r may be before the server adds the OPT record to it, with
// those options of the query that some plugin asks it to repeat.
func room(w dns.ResponseWriter, r *dns.Msg) int {
	state := request.Request{W: w, Req: r}
	size := state.Size()
	if state.Proto() == "udp" {
		size = min(size, maxDatagram)
	}
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

// fronts are the plugins in front of h that make its replies longer.
type fronts struct {
	nsid, dnssec, rewrite bool
	autopath              bool // which does not make them longer, but goes along search lists itself
}

// growth is by how much plugins in front may make a reply longer, in octets. A reply that the server
// has to cut is marked as truncated, whatever was cut.
type growth struct {
	once      int // the reply
	perSet    int // each RRset
	perRecord int // each record
}

const (
	maxNSID      = 256 // octets of a name that nsid is likely to have
	maxRewriting = 64  // octets by which rewrite is likely to make a name longer
	// signatureSize is the size of an RRSIG record without the zone's name, of a key of 2048 bits with RSA.
	signatureSize = 12 + 18 + 256
)

// growthOf returns how the reply to r, for a name in zone, may grow.
func (f fronts) growthOf(r *dns.Msg, zone string) (g growth) {
	if tsig := r.IsTsig(); tsig != nil {
		g.once += dns.Len(tsig) + len(tsig.Hdr.Name)
	}
	if f.rewrite {
		g.perRecord = maxRewriting
	}
	opt := r.IsEdns0()
	if opt == nil {
		return g
	}
	if f.dnssec && opt.Do() {
		g.perSet = signatureSize + nameSize(zone)
		g.once += g.perSet // of the answer
	}
	if f.nsid && slices.ContainsFunc(opt.Option, func(o dns.EDNS0) bool { return o.Option() == dns.EDNS0NSID }) {
		g.once += maxNSID
	}
	return g
}

// finish completes m, to which the answer for q was added behind some CNAMEs: without one it is a denial.
func (h *Headless) finish(r *dns.Msg, q *question, m *reply, cnames int) {
	if m.outcome == index.NameError {
		m.Rcode = dns.RcodeNameError
	}
	if m.answers() == cnames && !m.Truncated {
		m.Ns = append(m.Ns, h.soa(q, h.denialTTL(q.authority)))
		h.explain(r, q, m)
	}
}

// notReadyReply writes that the cluster's state is not known yet.
func notReadyReply(w dns.ResponseWriter, r *dns.Msg) (int, error) {
	m := new(dns.Msg)
	m.SetRcode(r, dns.RcodeServerFailure)
	addEDE(m, r, dns.ExtendedErrorCodeNotReady, "the cluster has not been listed yet")
	_ = w.WriteMsg(m) // it fails when the client is gone
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
		// That the name exists is ours to say. Without the flag glibc takes NODATA for a referral.
		noData.Authoritative = true
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
	return h.soaRR(q.apex(), ttl, q.authority, h.serial(q.authority), h.denialTTL(q.authority))
}

// serial returns the serial of a zone: that of what a transfer gives, if there are any.
func (h *Headless) serial(a *authority) uint32 { return h.shown().indexOf(a).Serial() }

// shown returns what zone transfers show: what is published, if anything is.
func (h *Headless) shown() *Headless {
	if h.journal != nil {
		if p := h.journal.published.Load(); p != nil {
			return p
		}
	}
	return h
}

// answers returns how many records the answer section of m has, or will have.
func (m *reply) answers() int { return len(m.Answer) + m.shown() }

// shown returns how many of these there are no records of yet.
func (m *reply) shown() int {
	if m.found == nil {
		return 0
	}
	return m.found.shown
}

// resolve adds to m what we hold for q, as records.
func (h *Headless) resolve(q *question, m *reply) {
	h.find(q, m)
	h.makeRecords(q, m)
}

// find adds to m what we hold for q: what the index holds as found, everything else as records.
func (h *Headless) find(q *question, m *reply) {
	m.ttl = h.ttl
	switch q.Kind {
	case qname.Absent:
	case qname.Apex:
		h.resolveApex(q, m)
	case qname.Structural, qname.NSParent:
		m.outcome = index.NonTerminal
	case qname.VersionName:
		m.outcome, m.ttl = index.Found, versionTTL
		if q.qtype == dns.TypeTXT {
			m.Answer = append(m.Answer, versionRR(q.name))
		}
	case qname.NSName:
		h.resolveNS(q, m)
	case qname.PodsName, qname.PodName:
		h.resolvePod(q, m)
	case qname.ReverseName:
		h.resolveReverse(q, m)
	case qname.NamespaceName, qname.ServiceName:
		h.resolveService(q, m)
	}
	if q.qtype == dns.TypeANY && m.outcome == index.Found && m.cname == "" {
		m.Answer = append(m.Answer, minimalRR(q.name, m.ttl))
	}
}

func (h *Headless) resolveApex(q *question, m *reply) {
	m.outcome = index.Found
	switch q.qtype {
	case dns.TypeSOA:
		m.Answer = append(m.Answer, h.soa(q, h.ttl))
	case dns.TypeNS:
		for _, s := range h.nameservers(q.authority) {
			m.Answer = append(m.Answer, nsRR(q.name, h.ttl, s.name))
			for _, addr := range s.addrs {
				m.Extra = append(m.Extra, addressRR(s.name, h.ttl, addr))
			}
		}
	case dns.TypePTR:
		if q.addr.IsValid() {
			q := *q
			q.Name = qname.Name{Kind: qname.ReverseName, Prefix: q.addr}
			h.resolveReverse(&q, m)
			m.outcome = index.Found
		}
	}
}

// namedServer is a name server and its addresses.
type namedServer struct {
	name  string
	addrs []netip.Addr
}

// nameservers returns the name servers of a zone, by names that exist in the zone of its NS records:
// the DNS Services by their own, or else ns.dns with the addresses that the server listens on. In a
// multicluster zone Services have other names, so it is ns.dns there too.
func (h *Headless) nameservers(a *authority) []namedServer {
	services := h.index.Nameservers(h.endpointAddrs(), h.bound, a.nsRoom)
	if len(services) == 0 {
		return []namedServer{{a.mname, h.local}}
	}
	if a.nsGrammar == qname.Multicluster {
		all := namedServer{name: a.mname}
		for _, s := range services {
			all.addrs = append(all.addrs, s.Addrs...)
		}
		slices.SortFunc(all.addrs, netip.Addr.Compare)
		all.addrs = slices.Compact(all.addrs)
		return []namedServer{all}
	}
	var servers []namedServer
	for _, s := range services {
		servers = append(servers, namedServer{s.FQDN(a.nsZone), s.Addrs})
	}
	return servers
}

// endpointAddrs returns the addresses that DNS Services may have as endpoints. With endpoints headless
// those of one with a ClusterIP are not known, so it is not found by them.
func (h *Headless) endpointAddrs() []netip.Addr {
	if h.selection.HeadlessOnly {
		return nil
	}
	return h.local
}

// resolveNS answers for ns.dns, the SOA's MNAME: it has the addresses of all name servers.
func (h *Headless) resolveNS(q *question, m *reply) {
	m.outcome = index.NonTerminal
	seen := make(map[netip.Addr]bool)
	for _, s := range h.nameservers(q.authority) {
		for _, addr := range s.addrs {
			m.outcome = index.Found
			if !seen[addr] && q.qtype == rrtype(model.FamilyOf(addr)) {
				m.Answer = append(m.Answer, addressRR(q.name, h.ttl, addr))
			}
			seen[addr] = true
		}
	}
}

// resolvePod answers for names made of an address. Which of them exist, and whether any does, is
// what the option pods says.
func (h *Headless) resolvePod(q *question, m *reply) {
	if h.podMode == podsDisabled || !h.index.HasNamespace(q.Namespace) {
		return
	}
	if q.Kind == qname.PodsName {
		m.outcome = index.NonTerminal
		return
	}
	addr, ok := qname.ParsePodLabel(q.Pod)
	if !ok || h.podMode == podsVerified && !h.pods.In(q.Namespace, addr) {
		return
	}
	m.outcome = index.Found
	if q.qtype == rrtype(model.FamilyOf(addr)) {
		m.Answer = append(m.Answer, addressRR(q.name, h.ttl, addr))
	}
}

func (h *Headless) resolveReverse(q *question, m *reply) {
	if h.primary == "" {
		return // what a PTR would lead to does not exist
	}
	v := m.newFound()
	h.index.LookupInto(&v.View, &q.Name, index.WantNothing, index.Part{Room: q.nsRoom})
	m.outcome, m.ttl = v.Outcome, h.ttlOf(&v.View)
	h.tally.addOverlong(v.Overlong)
	if q.qtype == dns.TypePTR {
		m.cut(q, fittingPTRs(q, v.Pointers, h.primary), len(v.Pointers))
	}
}

func (h *Headless) resolveService(q *question, m *reply) {
	w, limit := index.WantNothing, 0
	left := max(0, q.end-q.offset) // a client may leave no room for an answer
	switch q.qtype {
	case dns.TypeA:
		w, limit = index.WantA, left/addressRRSize(model.V4)
	case dns.TypeAAAA:
		w, limit = index.WantAAAA, left/addressRRSize(model.V6)
	case dns.TypeSRV:
		w, limit = index.WantSRV, left/leastSRVSize(q.Service, q.Namespace, q.zone)
	}
	if q.most > 0 {
		limit = min(limit, q.most)
	}
	v := m.newFound()
	p := index.Part{Limit: limit, Client: q.client, Room: q.room}
	choosing := w != index.WantNothing && h.chooses(q)
	if choosing && q.from.IsValid() {
		p.At = h.asker(q.from).Location
	}
	h.indexOf(q.authority).LookupInto(&v.View, &q.Name, w, p)
	m.outcome, m.cname, m.ttl = v.Outcome, v.CNAME, h.ttlOf(&v.View)
	if choosing {
		m.choice = v.Choice
	}
	shown := 0
	switch {
	case len(v.Targets) > 0:
		v.srv = layOut(q, v.Targets)
		shown = v.srv.records
	case len(v.Addrs) > 0:
		shown = len(v.Addrs) / w.Family().Size()
	}
	m.cut(q, shown, v.Total)
	h.tally.addOverlong(v.Overlong)
}

// chooses reports whether the endpoints of q, which asks for a Service, are chosen by where the client is.
func (h *Headless) chooses(q *question) bool {
	return h.topology && q.Kind == qname.ServiceName && q.Hostname == "" && q.Scope == qname.Everywhere &&
		q.grammar != qname.Multicluster
}

// founds are those that no reply has.
var founds = sync.Pool{New: func() any { return new(found) }}

// newFound returns what m finds, which is nothing yet.
func (m *reply) newFound() *found {
	if m.found == nil {
		m.found = founds.Get().(*found)
	}
	m.found.shown, m.found.srv = 0, srvLayout{}
	return m.found
}

// forget gives back what m has found.
func (m *reply) forget() {
	if m.found != nil {
		founds.Put(m.found)
		m.found = nil
	}
}

// makeRecords makes the records of what m, the reply to q, has found.
func (h *Headless) makeRecords(q *question, m *reply) {
	if v := m.found; m.shown() > 0 {
		switch q.qtype {
		case dns.TypeSRV:
			names := namesOf(v.Targets[:v.srv.targets], qname.ServiceFQDN(q.Service, q.Namespace, q.zone))
			m.Answer = appendSRVs(m.Answer, q, m.ttl, v, names)
			m.Extra = append(extraRRs(m.ttl, v, names), m.Extra...)
		case dns.TypePTR:
			m.Answer = appendPTRs(m.Answer, q.name, m.ttl, v.Pointers[:v.shown], h.primary)
		case dns.TypeA:
			m.Answer = appendAddressRRs(m.Answer, q.name, m.ttl, v.Addrs, model.V4)
		case dns.TypeAAAA:
			m.Answer = appendAddressRRs(m.Answer, q.name, m.ttl, v.Addrs, model.V6)
		}
	}
	m.forget()
}

// cut notes in m that of the total records of q's set it has n. Over UDP the client may ask again over
// TCP. There nothing larger can be had, and most resolvers take the mark for a fault of the server: so
// it is the part that fits, without one (behaviour section 7).
func (m *reply) cut(q *question, n, total int) {
	m.found.shown = n
	if n == total {
		return
	}
	if m.Truncated = !q.tcp; q.tcp {
		m.left = int32(total - n) //nolint:gosec // fewer than 2^31 endpoints
	}
}

// maxPartText is the greatest length of partText.
const maxPartText = 64

// partText says how much of a set of a type there is in m.
func (m *reply) partText(qtype uint16) string {
	shown := m.shown()
	for _, rr := range m.Answer {
		if rr.Header().Rrtype == qtype {
			shown++
		}
	}
	return fmt.Sprintf("%d of %d records, no message holds more", shown, shown+int(m.left))
}

// rrtype returns the type of the address records of family f.
func rrtype(f model.Family) uint16 { return [...]uint16{dns.TypeA, dns.TypeAAAA}[f] }

// ttlOf returns the time to live of what v holds.
func (h *Headless) ttlOf(v *index.View) uint32 {
	if v.Headless {
		return h.headlessTTL
	}
	return h.ttl
}
