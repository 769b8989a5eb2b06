package index

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/model"
)

// Standing is how an endpoint stands, for people.
type Standing uint8

// The standings.
const (
	StandsReady Standing = iota
	StandsNotReady
	StandsTerminating // about to leave, whether it still serves or not
	StandsHeld        // no slice lists it, and it is served for a while nevertheless
)

var standingTexts = [...]string{
	StandsReady: "ready", StandsNotReady: "not_ready", StandsTerminating: "terminating", StandsHeld: "held",
}

// NumStandings is how many standings there are.
const NumStandings = len(standingTexts)

// String returns the name of s.
func (s Standing) String() string { return standingTexts[s] }

// standing returns how e, which some slice lists, stands.
func (e *endpoint) standing() Standing {
	if e.isHeld() {
		return StandsHeld
	}
	leaving := true
	for o := &e.in; o != nil; o = o.next {
		leaving = leaving && o.leaving
	}
	switch {
	case leaving || e.state == model.Serving:
		return StandsTerminating
	case e.state == model.Ready:
		return StandsReady
	}
	return StandsNotReady
}

// Glance is a headless Service at a glance. It belongs to the caller.
type Glance struct {
	model.Key
	Counts [NumStandings]int // its endpoints by how they stand
	// First is how the first of them stand, in the order of their names and addresses: MaxGlance at most.
	First []Standing
}

// MaxGlance is how many endpoints a Glance shows.
const MaxGlance = 120

// Headless returns the keys of the headless Services that are shown, in order.
func (x *Index) Headless() []model.Key {
	var keys []model.Key
	w := x.walk()
	for svc := range w.services() {
		if svc.isShownHeadless() {
			keys = append(keys, svc.id())
		}
	}
	w.end()
	slices.SortFunc(keys, model.Key.Compare)
	return keys
}

func (svc *service) isShownHeadless() bool { return svc.shown && svc.spec.Kind == model.Headless }

// Glance returns a headless Service at a glance. ok is false if it is not shown, or of another kind. It costs what the
// Service holds.
func (x *Index) Glance(key model.Key) (g Glance, ok bool) {
	type seen struct {
		name string
		addr netip.Addr
		Standing
	}
	var all []seen
	x.mu.RLock()
	if svc := x.peek(key.Namespace, key.Name); svc != nil && svc.isShownHeadless() {
		ok = true
		for e := range svc.listed() {
			all = append(all, seen{e.name, e.addr(), e.standing()})
		}
	}
	x.mu.RUnlock()
	slices.SortFunc(all, func(a, b seen) int { // web-2 comes before web-10
		return cmp.Or(cmp.Compare(len(a.name), len(b.name)), strings.Compare(a.name, b.name), a.addr.Compare(b.addr))
	})
	g.Key = key
	for i, e := range all {
		if g.Counts[e.Standing]++; i < MaxGlance {
			g.First = append(g.First, e.Standing)
		}
	}
	return g, ok
}

// listed yields the endpoints of svc, each once.
func (svc *service) listed() func(yield func(*endpoint) bool) {
	return func(yield func(*endpoint) bool) {
		for sl := svc.slices; sl != nil; sl = sl.sibling {
			for _, e := range sl.endpoints {
				// The first slice that an endpoint has yields it. One whose hold has ended is in none.
				if e.svc == svc && e.in.slice == sl && !yield(e) {
					return
				}
			}
		}
	}
}

// Watch notes which headless Services that are shown change, or cease to be that, by their keys, until it is closed: each once, however often it changes, until it
// is asked.
type Watch struct {
	x       *Index
	changed map[model.Key]struct{} // the index's lock guards it
	many    bool
}

// maxChanged is how many keys a Watch notes at most.
const maxChanged = 4096

// Watch returns a Watch. It has to be closed.
func (x *Index) Watch() *Watch {
	w := &Watch{x: x, changed: make(map[model.Key]struct{})}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.watches = append(x.watches, w)
	return w
}

// Close ends w.
func (w *Watch) Close() {
	w.x.mu.Lock()
	defer w.x.mu.Unlock()
	w.x.watches = without(w.x.watches, w)
}

// Changed returns the keys of those that changed since it was called last, in order. With many there were more
// than are noted: any Service may have changed.
func (w *Watch) Changed() (keys []model.Key, many bool) {
	w.x.mu.Lock()
	changed := w.changed
	many, w.many = w.many, false
	if len(changed) > 0 {
		w.changed = make(map[model.Key]struct{})
	}
	w.x.mu.Unlock()
	for key := range changed {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, model.Key.Compare)
	return keys, many
}

// tell lets those who watch know that svc changes, if it is one that they may know of.
func (c *change) tell(svc *service) {
	if !svc.isShownHeadless() {
		return
	}
	for _, w := range c.watches {
		if len(w.changed) < maxChanged {
			w.changed[svc.id()] = struct{}{}
		} else {
			w.many = true
		}
	}
}
