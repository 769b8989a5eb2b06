package headless

import (
	"math"
	"slices"

	"github.com/coredns/coredns/plugin/transfer"
	"github.com/miekg/dns"
)

// Transfer implements the interface of the transfer plugin: it returns every record of zone at one moment, each once, as
// queries would give them, or the SOA alone when the requester's serial is current. Names made from a query, below pod, are left
// out. While the cluster is not known no zone is ours to transfer.
func (h *Headless) Transfer(zone string, serial uint32) (<-chan []dns.RR, error) {
	if !h.Ready() || !slices.Contains(h.zones, zone) {
		return nil, transfer.ErrNotAuthoritative
	}
	current := h.indexOf(zone).serial()
	if serial != 0 && int32(serial-current) >= 0 { //nolint:gosec // RFC 1982
		ch := make(chan []dns.RR, 1)
		ch <- h.rrset(zone, zone, query{kind: apex}, dns.TypeSOA)
		close(ch)
		return ch, nil
	}
	frozen := *h
	frozen.index = h.index.clone()
	if h.imports != nil {
		frozen.imports = h.imports.clone()
	}
	ch := make(chan []dns.RR)
	go func() { // ends when the transfer plugin has read everything, as it always does
		defer close(ch)
		soa := frozen.rrset(zone, zone, query{kind: apex}, dns.TypeSOA)
		ch <- soa
		ch <- frozen.rrset(zone, zone, query{kind: apex}, dns.TypeNS)
		if isReverse(zone) {
			frozen.transferReverse(zone, ch)
		} else {
			frozen.transferForward(zone, ch)
		}
		ch <- soa
	}()
	return ch, nil
}

// transferForward sends what is below a zone that is not a reverse one.
func (h *Headless) transferForward(zone string, ch chan<- []dns.RR) {
	ch <- h.rrset(zone, below("dns-version", zone), query{kind: versionName}, dns.TypeTXT)
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		ch <- h.rrset(zone, below("ns.dns", zone), query{kind: nsName}, qtype)
	}
	for q := range h.indexOf(zone).names() {
		name := serviceFQDN(q.service, q.namespace, zone)
		if q.hostname != "" {
			name = q.hostname + "." + name
		}
		if q.proto != "" {
			name = "_" + q.port + "._" + q.proto + "." + name
		}
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeCNAME} {
			ch <- h.rrset(zone, name, q, qtype)
		}
	}
}

// transferReverse sends the PTRs in a reverse zone.
func (h *Headless) transferReverse(zone string, ch chan<- []dns.RR) {
	for addr := range h.index.owned() {
		name, err := dns.ReverseAddr(addr.String())
		if err != nil || !inZone(name, zone) {
			continue
		}
		prefix, _ := parseReverse(name)
		ch <- h.rrset(zone, name, query{kind: reverseName, prefix: prefix}, dns.TypePTR)
	}
}

// rrset returns the whole RRset of name and qtype.
func (h *Headless) rrset(zone, name string, q query, qtype uint16) []dns.RR {
	res := h.resolve(&question{query: q, name: name, zone: zone, index: h.indexOf(zone), qtype: qtype, end: math.MaxInt32})
	if res.cname != "" && qtype == dns.TypeCNAME {
		return []dns.RR{cnameRR(name, res.ttl, res.cname)}
	}
	return res.answer
}
