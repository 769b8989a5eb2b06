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

// Transfer implements the interface of the transfer plugin. It returns the SOA alone when the requester's
// serial is current, what has changed since that serial if the journal knows (RFC 1995), and else every
// record of the zone at one moment, each once, as queries would give them. Names made from a query,
// below pod, are left out. While the cluster is not known no zone is ours to transfer.
func (h *Headless) Transfer(zone string, serial uint32) (<-chan []dns.RR, error) {
	i := slices.IndexFunc(h.authorities, func(a authority) bool { return a.zone == zone })
	if i < 0 || !h.isSynced(&h.authorities[i]) {
		return nil, transfer.ErrNotAuthoritative
	}
	return h.journal.transfer(i, serial)
}

// transfer is Transfer for a zone by its position among the authorities.
func (j *journal) transfer(zone int, serial uint32) (<-chan []dns.RR, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.advance()
	p := j.published.Load()
	if p == nil { // it is over before it began
		return nil, transfer.ErrNotAuthoritative
	}
	a := &p.authorities[zone]
	current := p.indexOf(a).Serial()
	if serial != 0 && int32(serial-current) >= 0 { //nolint:gosec // RFC 1982
		ch := make(chan []dns.RR, 1)
		ch <- p.soaSet(a)
		close(ch)
		transfers[soaAlone].count(1)
		return ch, nil
	}
	if j.readers == maxTransfers {
		log.Warningf("refused a transfer of %s: there are %d already", a.zone, maxTransfers)
		return nil, transfer.ErrNotAuthoritative
	}
	if d := j.borrow(zone, serial); d != nil {
		return j.send(d.records(p.soaSet(a)), func(records, _ int, _ bool) {
			transfers[changesOnly].count(records)
			j.giveBack(d)
		}), nil
	}
	m, ok := j.moments.take(p, j.h.tally)
	if !ok {
		log.Warningf("refused a transfer of %s: too many are read slowly", a.zone)
		return nil, transfer.ErrNotAuthoritative
	}
	return j.send(m.records(a), func(records, octets int, isWhole bool) {
		transfers[wholeZone].count(records)
		if isWhole && p.indexOf(a).Serial() == current {
			j.zones[zone].octets = octets
		}
		j.moments.give(m)
	}), nil
}

// send returns a channel that gets sets of records until there are no more, or nobody reads them for too
// long. It calls over at the end, with the lock, and says how much was sent and whether that was all.
func (j *journal) send(sets iter.Seq[[]dns.RR], over func(records, octets int, isWhole bool)) <-chan []dns.RR {
	j.readers++
	ch := make(chan []dns.RR)
	go func() { // ends when the transfer plugin has read everything, or waits for its client for too long
		records, octets, isWhole := 0, 0, true
		defer func() {
			close(ch)
			j.mu.Lock()
			defer j.mu.Unlock()
			j.readers--
			over(records, octets, isWhole)
		}()
		late := time.NewTimer(maxTransferTime)
		defer late.Stop()
		stalled := time.NewTimer(stallTime)
		defer stalled.Stop()
		for rrs := range sets {
			stalled.Reset(stallTime)
			for _, rr := range rrs {
				octets += dns.Len(rr) + recordCost
			}
			records += len(rrs)
			select {
			case ch <- rrs:
				continue
			case <-stalled.C:
			case <-late.C:
			}
			isWhole = false
			return
		}
	}()
	return ch
}

const (
	// maxTransfers is how many transfers go on at most.
	maxTransfers = 64
	// stallTime is how long a client may leave what it is sent unread.
	stallTime = 10 * time.Second
	// maxTransferTime is how long a transfer may take.
	maxTransferTime = 5 * time.Minute
)

// records yields what a requester with the serial d.From gets: the records that are gone and those that
// came, each behind the SOA of its time, between two of the SOA that is current (RFC 1995 section 4).
func (d *difference) records(soa []dns.RR) iter.Seq[[]dns.RR] {
	old := dns.Copy(soa[0])
	old.(*dns.SOA).Serial = d.From //nolint:forcetypeassert // it is an SOA
	return func(yield func([]dns.RR) bool) {
		_ = yield(soa) && yield([]dns.RR{old}) && yieldAll(d.Removed, yield) &&
			yield(soa) && yieldAll(d.Added, yield) && yield(soa) // whether there is a reader left
	}
}

// yieldAll yields records in wire form, some at a time, and returns whether all were wanted.
func yieldAll(octets []string, yield func([]dns.RR) bool) bool {
	for some := range slices.Chunk(octets, 64) {
		rrs := make([]dns.RR, 0, len(some))
		for _, r := range some {
			if rr := recordOf(r); rr != nil {
				rrs = append(rrs, rr)
			}
		}
		if !yield(rrs) {
			return false
		}
	}
	return true
}

// records yields the record sets of a zone, the SOA first and again last.
func (m *moment) records(a *authority) iter.Seq[[]dns.RR] {
	return func(yield func([]dns.RR) bool) {
		soa := m.soaSet(a)
		_ = yield(soa) && m.below(a, yield) && yield(soa) // whether there is a reader left
	}
}

// below yields the records of a zone but for the SOA, and returns whether all were wanted.
func (m *moment) below(a *authority, yield func([]dns.RR) bool) bool {
	for l := range m.apexLookups(a) {
		if !yield(l.records(m.Headless)) {
			return false
		}
	}
	if isReverse(a.zone) {
		for addr := range m.of(a).Owned() {
			l := reverseLookup(addr)
			if l.authority = a; qname.InZone(l.name, a.zone) && !yield(l.records(m.Headless)) {
				return false
			}
		}
		return true
	}
	for l := range m.lookups(a, m.of(a).Names(a.room), m.tally) {
		if !yield(l.records(m.Headless)) {
			return false
		}
	}
	return true
}

// lookup asks for one set of records of a zone.
type lookup struct {
	qname.Name
	authority *authority
	zone      int // its position, for who has several
	name      string
	qtype     uint16
}

// apexLookups yields lookups for the records of a zone that are not of Services, but for the SOA.
func (h *Headless) apexLookups(a *authority) iter.Seq[lookup] {
	apex := []lookup{
		{Name: qname.Name{Kind: qname.Apex}, name: a.zone, qtype: dns.TypeNS},
		{Name: qname.Name{Kind: qname.VersionName}, name: below("dns-version", a.zone), qtype: dns.TypeTXT},
		{Name: qname.Name{Kind: qname.NSName}, name: below("ns.dns", a.zone), qtype: dns.TypeA},
		{Name: qname.Name{Kind: qname.NSName}, name: below("ns.dns", a.zone), qtype: dns.TypeAAAA},
	}
	if isReverse(a.zone) {
		apex = apex[:1]
	}
	return func(yield func(lookup) bool) {
		for _, l := range apex {
			if l.authority = a; !yield(l) {
				return
			}
		}
	}
}

// apexOctets returns the records of apexLookups in wire form.
func (h *Headless) apexOctets(a *authority) (octets []string) {
	for l := range h.apexLookups(a) {
		for _, rr := range l.records(h) {
			octets = append(octets, wireOf(rr))
		}
	}
	return octets
}

// lookups yields lookups for each type of record that names of Services in a zone may own. Names that are
// too long are counted in tally, which may be nil.
func (h *Headless) lookups(a *authority, names iter.Seq[qname.Name], tally *tally) iter.Seq[lookup] {
	return func(yield func(lookup) bool) {
		for q := range names {
			name := q.FQDN(a.zone)
			if a.grammar == qname.Multicluster && q.Addr.IsValid() {
				continue // of no cluster, so it has no name here
			}
			if !isName(name) {
				if tally != nil {
					tally.addOverlong(1)
				}
				continue
			}
			for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeCNAME} {
				if !yield(lookup{Name: q, authority: a, name: name, qtype: qtype}) {
					return
				}
			}
		}
	}
}

// reverseLookup returns a lookup of the PTRs of an address, in no zone yet.
func reverseLookup(addr netip.Addr) lookup {
	prefix := netip.PrefixFrom(addr, addr.BitLen())
	return lookup{
		Name: qname.Name{Kind: qname.ReverseName, Prefix: prefix}, name: qname.Reverse(prefix), qtype: dns.TypePTR,
	}
}

// soaSet returns the SOA of a zone.
func (h *Headless) soaSet(a *authority) []dns.RR {
	l := lookup{Name: qname.Name{Kind: qname.Apex}, authority: a, name: a.zone, qtype: dns.TypeSOA}
	return l.records(h)
}

// records returns the whole set, as h answers it: without a client, so that of one that is larger than a
// message it is what follows its first member.
func (l *lookup) records(h *Headless) []dns.RR {
	m := new(reply)
	h.resolve(&question{
		Name: l.Name, authority: l.authority, name: l.name, qtype: l.qtype, tcp: true,
		offset: headerSize + nameSize(l.name) + 4, end: dns.MaxMsgSize, most: h.transferLimit,
	}, m)
	if m.cname != "" && l.qtype == dns.TypeCNAME {
		return []dns.RR{cnameRR(l.name, m.ttl, m.cname)}
	}
	if limit := h.transferLimit; limit > 0 && len(m.Answer) > limit {
		return m.Answer[:limit]
	}
	return m.Answer
}
