package index

import "github.com/coredns-headless/headless/internal/model"

// change is one alteration of an index, and has the write lock of the index from begin to commit.
// Whatever it touches is settled before commit. All that is noted on the way lies in the change, so
// that the index has no scratch state.
type change struct {
	*Index
	happened       bool // something was altered
	visible        bool // a zone transfer would see it
	visibleOutside bool // a transfer of external names would see it

	touched []*endpoint     // to be settled, all of one Service; one that is listed twice may be here twice
	named   map[string]bool // the names, of those that several endpoints share, that are settled
}

// begin waits for the lock and begins a change.
func (x *Index) begin() change {
	x.mu.Lock()
	return change{Index: x}
}

// commit ends c. It raises the serials of the zones where c can be seen, and gives back the lock.
func (c *change) commit() {
	if c.happened {
		c.changes.Add(1)
	}
	if c.visible {
		c.bump(&c.soaSerial)
	}
	if c.visibleOutside {
		c.bump(&c.externalSerial)
	}
	c.mu.Unlock()
}

// settle derives what follows from the occurrences of the endpoints touched, all of which are of
// svc: first their states and addresses, then the SRV targets of their names. It forgets endpoints
// without an occurrence.
func (c *change) settle(svc *service) {
	before := c.visible
	c.happened, c.visible = true, false
	for i, e := range c.touched {
		c.settleState(e, len(c.touched)-i)
	}
	for i, e := range c.touched {
		if e.shared && c.isNamed(e.name) {
			continue
		}
		c.settleTarget(e, len(c.touched)-i)
	}
	for _, e := range c.touched {
		if e.in.slice == nil {
			c.forget(e)
		}
	}
	c.touched, c.named = nil, nil
	c.ownIPs(svc, len(svc.claimedIPs(c.ignoreEmpty)) > 0)
	if c.visible && svc.isOutside() && svc.spec.External == nil {
		c.visibleOutside = true
	}
	c.visible = c.visible || before
}

// isNamed returns false when it is asked about name for the first time, and then true: one endpoint
// settles the target for all that share the name.
func (c *change) isNamed(name string) bool {
	if c.named[name] {
		return true
	}
	if c.named == nil {
		c.named = make(map[string]bool)
	}
	c.named[name] = true
	return false
}

// settleState derives the state of e, counts it, and lets its Service have or lose its address.
// left is how many endpoints there are to settle, e among them.
func (c *change) settleState(e *endpoint, left int) {
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

	var holder, heir *endpoint
	if e.readyAt >= 0 {
		holder = e
	}
	for o := c.byAddr.first(e.ip); o != nil; o = c.byAddr.after(o) {
		if o.svc != svc {
			continue
		}
		if o.readyAt >= 0 {
			holder = o
		}
		if o.state == model.Ready {
			heir = o
		}
	}
	switch {
	case holder == nil && heir != nil:
		f := model.FamilyOf(e.addr())
		heir.readyAt = int32(len(svc.ready[f]) / f.Size()) //nolint:gosec // fewer than 2^31 addresses
		svc.ready[f] = model.AppendAddr(fit(svc.ready[f], f.Size(), left), e.addr())
		c.ownAddress(heir, svc.claimsEndpoints())
	case holder != nil && heir == nil:
		c.ownAddress(holder, false)
		c.loseAddress(holder)
	case holder != nil && holder.state != model.Ready:
		heir.readyAt, holder.readyAt = holder.readyAt, -1
		heir.owns, holder.owns = holder.owns, false
	}
}

// settleTarget derives the SRV target and ports of the endpoints that share e's name. left is how
// many endpoints there are to settle, e among them.
func (c *change) settleTarget(e *endpoint, left int) {
	svc := e.svc
	var holder, heir *endpoint
	var ports []model.Port
	mixed := false
	member := func(o *endpoint) {
		if o.targetAt >= 0 {
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
		g := svc.groupOf(holder)
		if holder == heir && holder.mixed == mixed && model.SamePorts(g.ports, ports) {
			return
		}
		svc.leave(g, holder)
	}
	if heir != nil {
		svc.join(ports, heir, mixed, left)
	}
	c.visible = c.visible || svc.shown
}
