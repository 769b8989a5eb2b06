package index

import (
	"time"

	"github.com/coredns-headless/headless/internal/model"
)

// holds are the endpoints that the index goes on serving although no slice lists them: the control
// plane took them away by rewriting a slice whose ports change, or by deleting it, and is about to
// list them elsewhere (behaviour section 4). To the rest of the index such an endpoint is one of a
// slice that only we know.
type holds struct {
	time   time.Duration // how long each is held; with 0 endpoints are not held
	queue  []*hold       // the oldest first
	timer  *time.Timer   // runs while the queue is not empty
	counts HoldCounts
}

// holdPortion is how many holds may end in one change: some tenths of a millisecond.
const holdPortion = 256

// hold is what one change took away.
type hold struct {
	slice // lists the endpoints that were held, with the ports that they had
	until time.Time
}

// HoldEnd says why an endpoint is held no longer.
type HoldEnd int

const (
	holdReturned   HoldEnd = iota // a slice of its Service lists it again
	holdExpired                   // nothing came
	holdSuperseded                // a new endpoint has its hostname in its Service, or its address in any
	holdOrphaned                  // its Service is gone
)

// String returns what metrics call w.
func (w HoldEnd) String() string {
	return [...]string{"returned", "expired", "superseded", "orphaned"}[w]
}

// HoldCounts counts endpoints.
type HoldCounts struct {
	Now, Total int
	Ended      [holdOrphaned + 1]int // by the reason
}

// Add adds o to n.
func (n *HoldCounts) Add(o HoldCounts) {
	n.Now += o.Now
	n.Total += o.Total
	for why := range n.Ended {
		n.Ended[why] += o.Ended[why]
	}
}

// Holding returns how many endpoints x holds now, and how many it has held.
func (x *Index) Holding() HoldCounts {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.holds.counts
}

// newHold returns a hold for those endpoints that sl, which may be nil, is about to lose. It returns
// nil if they are not to be held.
func (x *Index) newHold(sl *slice) *hold {
	if x.holds.time == 0 || sl == nil || sl.moved || sl.svc.spec == nil {
		return nil
	}
	return &hold{slice: slice{svc: sl.svc, ports: sl.ports, held: true, mark: x.numMoments}}
}

// add holds e if no slice lists it any more, it was ready, and was not about to leave, and reports whether
// that is so. o is what the last slice said of it. h may be nil, which holds nothing.
func (h *hold) add(e *endpoint, o occurrence) bool {
	if h == nil || e.in.slice != nil || o.state != model.Ready || o.leaving {
		return false
	}
	o.slice, o.next = &h.slice, nil
	e.in = o
	h.endpoints = append(h.endpoints, e)
	return true
}

// startHold begins the time of h, which may be nil or empty, and starts the timer if it is the first.
func (x *Index) startHold(h *hold) {
	if h == nil || len(h.endpoints) == 0 {
		return
	}
	x.holds.counts.Now += len(h.endpoints)
	x.holds.counts.Total += len(h.endpoints)
	h.link()
	h.until = time.Now().Add(x.holds.time)
	if x.holds.queue = append(x.holds.queue, h); len(x.holds.queue) == 1 {
		x.holds.timer = time.AfterFunc(x.holds.time, x.expireHolds)
	}
}

// endHold ends the hold of e, and notes why. The caller has to settle e afterwards.
func (c *change) endHold(e *endpoint, why HoldEnd) {
	c.keepSlice(e.in.slice)
	c.leavePlace(e, e.in.place)
	e.in = occurrence{}
	c.holds.counts.Now--
	c.holds.counts.Ended[why]++
}

// endHolds ends the hold of each endpoint that held, the slice of a hold, still lists, and settles
// them. It returns how many these are.
func (c *change) endHolds(held *slice, why HoldEnd) int {
	if held.endpoints == nil {
		return 0 // it has ended before
	}
	n := 0
	for _, e := range held.endpoints {
		if e.in.slice == held {
			c.endHold(e, why)
			c.touched = append(c.touched, e)
			n++
		}
	}
	held.endpoints = nil
	held.unlink()
	c.settle(held.svc)
	return n
}

// supersede ends the holds that new endpoints of a Service make implausible: the hostname of one has a new
// address in its Service, or its address a new name anywhere. An endpoint that was there before
// says nothing: one pod may be in several Services, and have an address of each family.
func (c *change) supersede(created []*endpoint) {
	if c.holds.counts.Now == 0 {
		return
	}
	stale := make(map[*service][]*endpoint)
	add := func(o *endpoint) {
		if o.isHeld() {
			stale[o.svc] = append(stale[o.svc], o)
		}
	}
	var addrs set[Octets]
	var names set[string]
	for _, e := range created {
		if addrs.first(e.ip) {
			for o := c.byAddr.first(e.ip); o != nil; o = c.byAddr.after(o) {
				add(o)
			}
		}
		if e.name != "" && names.first(e.name) {
			for o := c.byName.first(e.hostKey()); o != nil; o = c.byName.after(o) {
				add(o)
			}
		}
	}
	for svc, endpoints := range stale {
		for _, o := range endpoints {
			if o.isHeld() { // it may be there by its name, too
				c.endHold(o, holdSuperseded)
				c.touched = append(c.touched, o)
			}
		}
		c.settle(svc)
	}
}

// orphanHolds ends the holds of svc, which is gone.
func (c *change) orphanHolds(svc *service) {
	for sl := svc.slices; sl != nil; {
		next := sl.sibling
		if sl.held {
			c.endHolds(sl, holdOrphaned)
		}
		sl = next
	}
}

// expireHolds ends the holds whose time is over. The timer calls it, without the lock.
func (x *Index) expireHolds() {
	for x.expireSomeHolds() {
	}
}

// expireSomeHolds ends holds whose time is over, of about holdPortion endpoints, so that queries need
// not wait for all of them. It reports whether there are more.
func (x *Index) expireSomeHolds() bool {
	c := x.begin()
	defer c.commit()
	now, n := time.Now(), 0
	for ended := 0; ended < holdPortion && n < len(x.holds.queue) && !x.holds.queue[n].until.After(now); n++ {
		ended += c.endHolds(&x.holds.queue[n].slice, holdExpired)
	}
	clear(x.holds.queue[:n])
	x.holds.queue = x.holds.queue[n:]
	if len(x.holds.queue) == 0 {
		return false
	}
	wait := x.holds.queue[0].until.Sub(now)
	if wait <= 0 {
		return true
	}
	x.holds.timer.Reset(wait)
	return false
}
