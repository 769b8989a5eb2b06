package index

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"

	"github.com/coredns-headless/headless/internal/model"
)

// regions divides the ready endpoints of a headless Service by the regions that they are in, so that
// those of one region are a window of one set, in order, whatever the size of the Service.
type regions struct {
	addrs   [2]regionAddrs // by family
	targets regionTargets
	counts  [2]hintCounts // by family
}

// regionAddrs are distinct addresses of one family: those of one region in order, then those of the next.
type regionAddrs struct {
	regions []region   // of each address
	addrs   addressSet // several times if in several regions
}

// regionTargets are SRV targets: of each name with a ready endpoint in a region the one target that the
// Service has, those of one region in the order of their labels, then those of the next.
type regionTargets struct {
	regions []region // of each target
	targets []*endpoint
}

// hinted says of an endpoint, or of a place, which hints it has.
type hinted uint8

const (
	hintedZones hinted = 1 << iota
	hintedNodes
	isCounted // of an endpoint: it is ready, and its Service has regions
)

// hintCounts counts ready endpoints: all, and those with hints of either kind.
type hintCounts struct{ ready, zones, nodes int32 }

// add counts endpoints that are hinted in one way.
func (n *hintCounts) add(h hinted, by int32) {
	if h&isCounted != 0 {
		n.ready += by
	}
	if h&hintedZones != 0 {
		n.zones += by
	}
	if h&hintedNodes != 0 {
		n.nodes += by
	}
}

// bounds returns where r begins and ends in list, which is in order.
func bounds(list []region, r region) (lo, hi int) {
	lo, _ = slices.BinarySearch(list, r)
	return lo, lo + sort.Search(len(list)-lo, func(i int) bool { return list[lo+i] > r })
}

// in returns the addresses of family f in r.
func (s *regionAddrs) in(r region, f model.Family) addressSet {
	lo, hi := bounds(s.regions, r)
	return s.addrs[lo*f.Size() : hi*f.Size()]
}

// in returns the targets in r.
func (s *regionTargets) in(r region) []*endpoint {
	lo, hi := bounds(s.regions, r)
	return s.targets[lo:hi]
}

// resident is an endpoint that is, or was, in a region.
type resident struct {
	region
	*endpoint
}

// settleRegions brings the regions of svc in line with the states, the places and the SRV targets of the
// endpoints touched, and gives back the places that they have left.
func (c *change) settleRegions(svc *service) {
	touched := c.touched
	if svc.regions == nil && svc.isDivisible() && slices.ContainsFunc(touched, c.isResident) {
		svc.regions, touched = new(regions), svc.endpoints()
	}
	if svc.regions != nil {
		c.settleResidents(svc, touched)
	}
	for _, d := range c.departed {
		c.places.give(d.from)
	}
	c.departed = nil
}

// divide gives svc regions, or takes them away, after its spec has changed.
func (c *change) divide(svc *service) {
	if !svc.isDivisible() {
		svc.undivide()
		return
	}
	all := svc.endpoints()
	if svc.regions == nil && slices.ContainsFunc(all, c.isResident) {
		svc.regions = new(regions)
		c.settleResidents(svc, all)
	}
}

// isDivisible reports whether svc may have regions.
func (svc *service) isDivisible() bool { return svc.spec != nil && svc.spec.Kind == model.Headless }

// undivide takes the regions of svc away.
func (svc *service) undivide() {
	if svc.regions == nil {
		return
	}
	svc.regions = nil
	for _, e := range svc.endpoints() {
		e.hinted = 0
	}
}

// endpoints returns the endpoints of svc. One that is in several slices is there several times, and one
// that was held may be there as well.
func (svc *service) endpoints() (all []*endpoint) {
	for sl := svc.slices; sl != nil; sl = sl.sibling {
		all = append(all, sl.endpoints...)
	}
	return all
}

// isResident reports whether e is ready, and a slice puts it into a region.
func (x *Index) isResident(e *endpoint) bool {
	if e.state == model.Ready {
		for range x.regionsOf(e) {
			return true
		}
	}
	return false
}

// settleResidents derives which regions the endpoints touched are in, and those that departed.
func (c *change) settleResidents(svc *service, touched []*endpoint) {
	var perhaps []resident
	for _, e := range touched {
		c.settleHints(e)
		perhaps = c.appendRegions(perhaps, e, e)
	}
	for _, d := range c.departed {
		for _, r := range c.places.all[d.from].regions {
			perhaps = append(perhaps, resident{r, d.e})
		}
	}
	var atAddrs, byNames []resident // ready ones, with the addresses and with the names of those touched
	var addrs set[Octets]
	var names set[string]
	for _, e := range touched {
		if addrs.first(e.ip) {
			for o := c.byAddr.first(e.ip); o != nil; o = c.byAddr.after(o) {
				if o.svc == svc && o.state == model.Ready {
					atAddrs = c.appendRegions(atAddrs, o, o)
				}
			}
		}
		if !e.shared || names.first(e.name) {
			byNames = c.appendTargets(byNames, e)
		}
	}
	c.settleResidentAddrs(svc, perhaps, atAddrs)
	c.settleResidentTargets(svc, append(perhaps, byNames...), byNames) // a target may be one that other regions list
	if len(svc.regions.addrs[model.V4].regions)+len(svc.regions.addrs[model.V6].regions) == 0 {
		svc.undivide()
	}
}

// appendRegions appends target as a resident of the regions that slices put e into.
func (x *Index) appendRegions(list []resident, e, target *endpoint) []resident {
	for r := range x.regionsOf(e) {
		list = append(list, resident{r, target})
	}
	return list
}

// appendTargets appends the SRV target of e's name as a resident of the regions of each ready endpoint with that name.
func (x *Index) appendTargets(list []resident, e *endpoint) []resident {
	var target *endpoint
	for o := range x.sharing(e) {
		if o.group != nil {
			target = o
		}
	}
	if target == nil {
		return list
	}
	for o := range x.sharing(e) {
		if o.state == model.Ready {
			list = x.appendRegions(list, o, target)
		}
	}
	return list
}

// settleHints derives which hints e has, and counts it.
func (c *change) settleHints(e *endpoint) {
	var has hinted
	if e.state == model.Ready {
		has = isCounted
		for o := &e.in; o != nil; o = o.next {
			has |= c.places.all[o.place].hints
		}
	}
	n := &e.svc.regions.counts[model.FamilyOf(e.addr())]
	n.add(e.hinted, -1)
	n.add(has, +1)
	e.hinted = has
}

// settleResidentAddrs derives of each address in perhaps whether it is in the region: whether there is one in ready. It puts both
// in order.
func (c *change) settleResidentAddrs(svc *service, perhaps, ready []resident) {
	slices.SortFunc(perhaps, resident.compareAddrs)
	slices.SortFunc(ready, resident.compareAddrs)
	sameAddr := func(a, b resident) bool { return a.region == b.region && a.ip == b.ip }
	var lost, gained [2][]int
	var came [2]regionAddrs
	for _, m := range slices.CompactFunc(slices.Clone(perhaps), sameAddr) {
		addr := m.addr()
		f := model.FamilyOf(addr)
		at, is := svc.regions.addrs[f].find(m.region, addr)
		switch _, isNow := slices.BinarySearchFunc(ready, m, resident.compareAddrs); {
		case is && !isNow:
			lost[f] = append(lost[f], at)
		case !is && isNow:
			gained[f] = append(gained[f], at-len(lost[f]))
			came[f].regions = append(came[f].regions, m.region)
			came[f].addrs = model.AppendAddr(came[f].addrs, addr)
		}
	}
	for f := range model.Family(len(came)) {
		s := &svc.regions.addrs[f]
		s.regions = insert(remove(s.regions, 1, lost[f]), 1, came[f].regions, gained[f])
		s.addrs = insert(remove(s.addrs, f.Size(), lost[f]), f.Size(), came[f].addrs, gained[f])
	}
}

// compareAddrs orders residents as regionAddrs of one family has their addresses.
func (m resident) compareAddrs(o resident) int {
	return cmp.Or(cmp.Compare(m.region, o.region), compareNetip(m.addr(), o.addr()))
}

// find returns the position that addr has in r, or would have.
func (s *regionAddrs) find(r region, addr netip.Addr) (at int, found bool) {
	var room [16]byte
	lo, hi := bounds(s.regions, r)
	size := model.FamilyOf(addr).Size()
	at, found = s.addrs[lo*size : hi*size].find(model.AppendAddr(room[:0], addr))
	return lo + at, found
}

// settleResidentTargets derives of each name in perhaps whether it is in the region, and by which target: the one in ready.
// It puts both in order.
func (c *change) settleResidentTargets(svc *service, perhaps, ready []resident) {
	slices.SortFunc(perhaps, resident.compareNames)
	slices.SortFunc(ready, resident.compareNames)
	sameName := func(a, b resident) bool { return a.compareNames(b) == 0 }
	s := &svc.regions.targets
	var lost, gained []int
	var came regionTargets
	for _, m := range slices.CompactFunc(perhaps, sameName) {
		at, is := s.find(m)
		switch now, isNow := slices.BinarySearchFunc(ready, m, resident.compareNames); {
		case is && !isNow:
			lost = append(lost, at)
		case is:
			s.targets[at] = ready[now].endpoint
		case isNow:
			gained = append(gained, at-len(lost))
			came.regions, came.targets = append(came.regions, m.region), append(came.targets, ready[now].endpoint)
		}
	}
	s.regions = insert(remove(s.regions, 1, lost), 1, came.regions, gained)
	s.targets = insert(remove(s.targets, 1, lost), 1, came.targets, gained)
}

// compareNames orders residents as regionTargets has their names.
func (m resident) compareNames(o resident) int {
	return cmp.Or(cmp.Compare(m.region, o.region), compareLabels(m.ownLabel(), o.ownLabel()))
}

// find returns the position that the name of m has in its region, or would have.
func (s *regionTargets) find(m resident) (at int, found bool) {
	lo, hi := bounds(s.regions, m.region)
	at, found = slices.BinarySearchFunc(s.targets[lo:hi], m.ownLabel(), func(e *endpoint, label model.Label) int {
		return compareLabels(e.ownLabel(), label)
	})
	return lo + at, found
}
