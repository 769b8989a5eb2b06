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
	if !h.isSynced() || !slices.Contains(h.zones, zone) {
		return nil, transfer.ErrNotAuthoritative
	}
	a := h.authority(zone)
	current := h.indexOf(a).serial()
	if serial != 0 && int32(serial-current) >= 0 { //nolint:gosec // RFC 1982
		ch := make(chan []dns.RR, 1)
		ch <- h.rrset(a, zone, query{kind: apex}, dns.TypeSOA)
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
		soa := frozen.rrset(a, zone, query{kind: apex}, dns.TypeSOA)
		ch <- soa
		ch <- frozen.rrset(a, zone, query{kind: apex}, dns.TypeNS)
		if isReverse(zone) {
			frozen.transferReverse(a, ch)
		} else {
			frozen.transferForward(a, ch)
		}
		ch <- soa
	}()
	return ch, nil
}

// transferForward sends what is below a zone that is not a reverse one.
func (h *Headless) transferForward(a *authority, ch chan<- []dns.RR) {
	ch <- h.rrset(a, below("dns-version", a.zone), query{kind: versionName}, dns.TypeTXT)
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		ch <- h.rrset(a, below("ns.dns", a.zone), query{kind: nsName}, qtype)
	}
	for q := range h.indexOf(a).names() {
		name := serviceFQDN(q.service, q.namespace, a.zone)
		if q.hostname != "" {
			name = q.hostname + "." + name
		}
		if q.proto != "" {
			name = "_" + q.port + "._" + q.proto + "." + name
		}
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeCNAME} {
			ch <- h.rrset(a, name, q, qtype)
		}
	}
}

// transferReverse sends the PTRs in a reverse zone.
func (h *Headless) transferReverse(a *authority, ch chan<- []dns.RR) {
	for addr := range h.index.owned() {
		name, err := dns.ReverseAddr(addr.String())
		if err != nil || !inZone(name, a.zone) {
			continue
		}
		prefix, _ := parseReverse(name)
		ch <- h.rrset(a, name, query{kind: reverseName, prefix: prefix}, dns.TypePTR)
	}
}

// rrset returns the whole RRset of name and qtype.
func (h *Headless) rrset(a *authority, name string, q query, qtype uint16) []dns.RR {
	m := new(reply)
	h.resolve(&question{query: q, authority: a, name: name, qtype: qtype, end: math.MaxInt32}, m)
	if m.cname != "" && qtype == dns.TypeCNAME {
		return []dns.RR{cnameRR(name, m.ttl, m.cname)}
	}
	return m.Answer
}
