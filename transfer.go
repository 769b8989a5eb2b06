package headless

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/coredns-headless/headless/internal/qname"
	"github.com/coredns/coredns/plugin/transfer"
	"github.com/miekg/dns"
)

// Transfer implements the interface of the transfer plugin: it returns every record of zone at one
// moment, each once, as queries would give them, or the SOA alone when the requester's serial is
// current. Names made from a query, below pod, are left out. While the cluster is not known no zone
// is ours to transfer.
func (h *Headless) Transfer(zone string, serial uint32) (<-chan []dns.RR, error) {
	a := h.authority(zone)
	if !slices.Contains(h.zones, zone) || !h.isSynced(a) {
		return nil, transfer.ErrNotAuthoritative
	}
	current := h.indexOf(a).Serial()
	if serial != 0 && int32(serial-current) >= 0 { //nolint:gosec // RFC 1982
		ch := make(chan []dns.RR, 1)
		ch <- h.rrset(a, zone, qname.Name{Kind: qname.Apex}, dns.TypeSOA)
		close(ch)
		return ch, nil
	}
	m, ok := h.moments.take(h)
	if !ok {
		log.Warningf("refused a transfer of %s: there are too many already", zone)
		return nil, transfer.ErrNotAuthoritative
	}
	ch := make(chan []dns.RR)
	go func() { // ends when the transfer plugin has read everything, or waits for its client for too long
		defer close(ch)
		defer h.moments.give(m)
		over := time.NewTimer(maxTransferTime)
		defer over.Stop()
		stalled := time.NewTimer(stallTime)
		defer stalled.Stop()
		for rrs := range m.records(a) {
			stalled.Reset(stallTime)
			select {
			case ch <- rrs:
			case <-stalled.C:
				return
			case <-over.C:
				return
			}
		}
	}()
	return ch, nil
}

const (
	// stallTime is how long a client may leave what it is sent unread.
	stallTime = 10 * time.Second
	// maxTransferTime is how long a transfer may take.
	maxTransferTime = 5 * time.Minute
)

// records yields the record sets of a zone, the SOA first and again last.
func (m *moment) records(a *authority) iter.Seq[[]dns.RR] {
	return func(yield func([]dns.RR) bool) {
		soa := m.rrset(a, a.zone, qname.Name{Kind: qname.Apex}, dns.TypeSOA)
		below := m.transferForward
		if isReverse(a.zone) {
			below = m.transferReverse
		}
		_ = yield(soa) && yield(m.rrset(a, a.zone, qname.Name{Kind: qname.Apex}, dns.TypeNS)) &&
			below(a, yield) && yield(soa) // whether there is a reader left
	}
}

// transferForward yields what is below a zone that is not a reverse one, and returns whether all was
// wanted.
func (m *moment) transferForward(a *authority, yield func([]dns.RR) bool) bool {
	if !yield(m.rrset(a, below("dns-version", a.zone), qname.Name{Kind: qname.VersionName}, dns.TypeTXT)) {
		return false
	}
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		if !yield(m.rrset(a, below("ns.dns", a.zone), qname.Name{Kind: qname.NSName}, qtype)) {
			return false
		}
	}
	for q := range m.of(a).Names() {
		name := q.FQDN(a.zone)
		if a.grammar == qname.Multicluster && q.Addr.IsValid() {
			continue // of no cluster, so it has no name here
		}
		if !isName(name) {
			m.tally.addOverlong(1)
			continue
		}
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeCNAME} {
			if !yield(m.rrset(a, name, q, qtype)) {
				return false
			}
		}
	}
	return true
}

// transferReverse yields the PTRs in a reverse zone, and returns whether all were wanted.
func (m *moment) transferReverse(a *authority, yield func([]dns.RR) bool) bool {
	for addr := range m.of(a).Owned() {
		prefix := netip.PrefixFrom(addr, addr.BitLen())
		name := qname.Reverse(prefix)
		if !qname.InZone(name, a.zone) {
			continue
		}
		if !yield(m.rrset(a, name, qname.Name{Kind: qname.ReverseName, Prefix: prefix}, dns.TypePTR)) {
			return false
		}
	}
	return true
}

// rrset returns the whole RRset of name and qtype.
func (h *Headless) rrset(a *authority, name string, q qname.Name, qtype uint16) []dns.RR {
	m := new(reply)
	h.resolve(&question{Name: q, authority: a, name: name, qtype: qtype, tcp: true, offset: headerSize + nameSize(name) + 4, end: dns.MaxMsgSize}, m)
	if m.cname != "" && qtype == dns.TypeCNAME {
		return []dns.RR{cnameRR(name, m.ttl, m.cname)}
	}
	return m.Answer
}
