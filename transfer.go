package headless

import (
	"net/netip"
	"slices"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/coredns/coredns/plugin/transfer"
	"github.com/miekg/dns"
)

// Transfer implements the interface of the transfer plugin: it returns every record of zone at one
// moment, each once, as queries would give them, or the SOA alone when the requester's serial is
// current. Names made from a query, below pod, are left out. While the cluster is not known no zone
// is ours to transfer.
func (h *Headless) Transfer(zone string, serial uint32) (<-chan []dns.RR, error) {
	if !h.isSynced() || !slices.Contains(h.zones, zone) {
		return nil, transfer.ErrNotAuthoritative
	}
	a := h.authority(zone)
	current := h.indexOf(a).Serial()
	if serial != 0 && int32(serial-current) >= 0 { //nolint:gosec // RFC 1982
		ch := make(chan []dns.RR, 1)
		ch <- h.rrset(a, zone, qname.Name{Kind: qname.Apex}, dns.TypeSOA)
		close(ch)
		return ch, nil
	}
	still, frozen := h.freeze(a)
	ch := make(chan []dns.RR)
	go func() { // ends when the transfer plugin has read everything, as it always does
		defer close(ch)
		soa := still.rrset(a, zone, qname.Name{Kind: qname.Apex}, dns.TypeSOA)
		ch <- soa
		ch <- still.rrset(a, zone, qname.Name{Kind: qname.Apex}, dns.TypeNS)
		if isReverse(zone) {
			still.transferReverse(a, frozen, ch)
		} else {
			still.transferForward(a, frozen, ch)
		}
		ch <- soa
	}()
	return ch, nil
}

// transferForward sends what is below a zone that is not a reverse one.
func (h *Headless) transferForward(a *authority, frozen index.Frozen, ch chan<- []dns.RR) {
	ch <- h.rrset(a, below("dns-version", a.zone), qname.Name{Kind: qname.VersionName}, dns.TypeTXT)
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		ch <- h.rrset(a, below("ns.dns", a.zone), qname.Name{Kind: qname.NSName}, qtype)
	}
	for q := range frozen.Names() {
		name := q.FQDN(a.zone)
		if a.grammar == qname.Multicluster && q.Addr.IsValid() {
			continue // of no cluster, so it has no name here
		}
		if !isName(name) {
			h.tally.overlong.Add(1)
			continue
		}
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeCNAME} {
			ch <- h.rrset(a, name, q, qtype)
		}
	}
}

// transferReverse sends the PTRs in a reverse zone.
func (h *Headless) transferReverse(a *authority, frozen index.Frozen, ch chan<- []dns.RR) {
	for addr := range frozen.Owned() {
		prefix := netip.PrefixFrom(addr, addr.BitLen())
		name := qname.Reverse(prefix)
		if !qname.InZone(name, a.zone) {
			continue
		}
		ch <- h.rrset(a, name, qname.Name{Kind: qname.ReverseName, Prefix: prefix}, dns.TypePTR)
	}
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
