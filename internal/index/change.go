package index

import (
	"net/netip"
	"slices"

	"github.com/coredns-headless/headless/internal/model"
)

// change is one alteration of an index, and has the write lock of the index from begin to commit.
// Whatever it touches is settled before commit. All that is noted on the way lies in the change, so
// that the index has no scratch state.
type change struct {
	*Index
	happened       bool // something was altered
	visible        bool // a zone transfer would see it
	visibleOutside bool // a transfer of external names would see it

	touched []*endpoint // to be settled, all of one Service; one that is listed twice may be here twice
	named   set[string] // the names, of those that several endpoints share, that are settled
	housed  set[Octets] // the addresses likewise
	// lost and gained are the addresses, by family, that leave the ready sets, and those that come.
	lost, gained [2][]netip.Addr
	left, joined []membership // targets that leave groups, and those that come
	departed     []departure  // from places, which are given back when all is settled
}

// set holds what has been done: of what thousands of endpoints share, once for all of them.
type set[K comparable] map[K]bool

// first adds key, and reports whether it is new.
func (s *set[K]) first(key K) bool {
	if (*s)[key] {
		return false
	}
	if *s == nil {
		*s = make(set[K])
	}
	(*s)[key] = true
	return true
}

// membership is that of a target in a group.
type membership struct {
	group *group
	e     *endpoint
}

// compare orders memberships by the groups, then by the order in these.
func (m membership) compare(o membership) int {
	if m.group != o.group {
		return m.group.compare(o.group)
	}
	return compareLabels(m.e.label(), o.e.label())
}

// begin waits for the lock and begins a change.
func (x *Index) begin() change {
	x.mu.Lock()
	return change{Index: x}
}

// commit ends c. It notes the change with the serials of the zones where c can be seen, and gives back
// the lock.
func (c *change) commit() {
	if c.happened {
		c.changes.Add(1)
	}
	if c.visible {
		c.soaSerial.touch(c.now())
	}
	if c.visibleOutside {
		c.externalSerial.touch(c.now())
	}
	c.mu.Unlock()
}

// settle derives what follows from the occurrences of the endpoints touched, all of which are of
// svc: first their states and addresses, then the SRV targets of their names, then the regions of both.
// It forgets endpoints without an occurrence.
func (c *change) settle(svc *service) {
	c.tell(svc)
	before := c.visible
	c.happened, c.visible = true, false
	for _, e := range c.touched {
		c.settleState(e)
	}
	for _, e := range c.touched {
		c.settleAddress(e)
	}
	c.settleAddresses(svc)
	for _, e := range c.touched {
		if !e.shared || c.named.first(e.name) {
			c.settleTarget(e)
		}
	}
	c.settleGroups(svc)
	c.settleRegions(svc)
	c.forget(svc)
	c.touched, c.named, c.housed = nil, nil, nil
	c.ownIPs(svc, len(svc.claimedIPs(c.ignoreEmpty)) > 0)
	if c.visible && svc.isOutside() && svc.spec.External == nil {
		c.visibleOutside = true
	}
	c.visible = c.visible || before
}

// settleState derives the state of e, and counts it.
func (c *change) settleState(e *endpoint) {
	svc, was := e.svc, e.state
	c.count(e, -1)
	e.state = e.best()
	if e.in.slice != nil {
		c.count(e, +1)
	}
	if svc.shown && ((was == model.Ready) != (e.state == model.Ready) ||
		c.hostnames(svc) != model.HostnamesReady) {
		c.visible = true
	}
}

// settleAddress lets the Service of e, whose endpoints have their states, have or lose e's address.
func (c *change) settleAddress(e *endpoint) {
	if c.housed[e.ip] {
		return
	}
	var holder, heir *endpoint
	for o := c.byAddr.first(e.ip); o != nil; o = c.byAddr.after(o) {
		if o.svc != e.svc {
			continue
		}
		if o != e {
			c.housed.first(e.ip)
		}
		if o.holds {
			holder = o
		}
		if o.state == model.Ready {
			heir = o
		}
	}
	f := model.FamilyOf(e.addr())
	switch {
	case holder == nil && heir != nil:
		heir.holds = true
		if c.gained[f] == nil {
			c.gained[f] = make([]netip.Addr, 0, len(c.touched))
		}
		c.gained[f] = append(c.gained[f], e.addr())
		c.ownAddress(heir, e.svc.claimsEndpoints())
	case holder != nil && heir == nil:
		c.ownAddress(holder, false)
		holder.holds = false
		c.lost[f] = append(c.lost[f], e.addr())
	case holder != nil && holder.state != model.Ready:
		heir.holds, holder.holds = true, false
		heir.owns, holder.owns = holder.owns, false
	}
}

// forget takes the endpoints touched that are in no slice any more out of the tables. They are of svc, and all that
// these hold of it without a slice are among them.
func (c *change) forget(svc *service) {
	isGone := func(e *endpoint) bool { return e.svc == svc && e.in.slice == nil }
	var addrs set[Octets]
	var names set[string]
	for _, e := range c.touched {
		switch {
		case !isGone(e):
			continue
		case !c.housed[e.ip]:
			c.byAddr.remove(e)
		case addrs.first(e.ip):
			c.byAddr.removeAll(e.ip, isGone)
		}
		switch {
		case e.name == "":
		case !e.shared:
			c.byName.remove(e)
		case names.first(e.name):
			c.byName.removeAll(e.hostKey(), isGone)
		}
	}
}

// settleAddresses brings the ready sets of svc in line with what was lost and gained.
func (c *change) settleAddresses(svc *service) {
	for f := range model.Family(len(svc.ready)) {
		lost, gained := setOf(c.lost[f], f), setOf(c.gained[f], f)
		svc.ready[f] = remove(svc.ready[f], f.Size(), svc.ready[f].positions(lost, f))
		svc.ready[f] = insert(svc.ready[f], f.Size(), gained, svc.ready[f].positions(gained, f))
		c.lost[f], c.gained[f] = nil, nil
	}
}

// settleTarget derives the SRV target and ports of the endpoints that share e's name.
func (c *change) settleTarget(e *endpoint) {
	svc := e.svc
	var holder, heir *endpoint
	var ports []model.Port
	mixed := false
	member := func(o *endpoint) {
		if o.group != nil {
			holder = o
		}
		if o.state != model.Ready {
			return
		}
		own := o.ports()
		if heir == nil {
			heir, ports = o, own
		} else if !model.SamePorts(ports, own) {
			mixed, ports = true, model.Union(ports, own)
		}
	}
	if e.name == "" {
		member(e)
	} else {
		for o := c.byName.first(e.hostKey()); o != nil; o = c.byName.after(o) {
			member(o)
		}
	}
	if holder != nil {
		if holder.state == model.Ready {
			heir = holder
		}
		if holder == heir && holder.mixed == mixed && model.SamePorts(holder.group.ports, ports) {
			return
		}
		c.leave(holder)
	}
	if heir != nil {
		c.join(ports, heir, mixed)
	}
	c.visible = c.visible || svc.shown
}

// join makes e a target with ports.
func (c *change) join(ports []model.Port, e *endpoint, mixed bool) {
	if e.mixed = mixed; mixed {
		e.svc.mixed++
	}
	e.group = e.svc.groupOf(ports)
	if c.joined == nil {
		c.joined = make([]membership, 0, len(c.touched))
	}
	c.joined = append(c.joined, membership{e.group, e})
}

// leave makes e, a target, none.
func (c *change) leave(e *endpoint) {
	c.left = append(c.left, membership{e.group, e})
	e.group = nil
	if e.mixed {
		e.svc.mixed--
		e.mixed = false
	}
}

// settleGroups brings the targets of the groups of svc in line with who left and joined.
func (c *change) settleGroups(svc *service) {
	slices.SortFunc(c.left, membership.compare)
	for list := c.left; len(list) > 0; {
		g, endpoints := ofOneGroup(list)
		g.targets = remove(g.targets, 1, g.positions(endpoints))
		list = list[len(endpoints):]
	}
	slices.SortFunc(c.joined, membership.compare)
	for list := c.joined; len(list) > 0; {
		g, endpoints := ofOneGroup(list)
		g.targets = insert(g.targets, 1, endpoints, g.positions(endpoints))
		list = list[len(endpoints):]
	}
	if len(c.left) > 0 {
		svc.groups = slices.DeleteFunc(svc.groups, func(g *group) bool { return len(g.targets) == 0 })
	}
	c.left, c.joined = nil, nil
}

// ofOneGroup returns the first group of list, which is in order and not empty, and what is of it.
func ofOneGroup(list []membership) (g *group, endpoints []*endpoint) {
	g, endpoints = list[0].group, make([]*endpoint, 0, len(list))
	for _, m := range list {
		if m.group != g {
			break
		}
		endpoints = append(endpoints, m.e)
	}
	return g, endpoints
}
