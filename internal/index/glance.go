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
// Service holds, and sees those slices that change meanwhile before or after that.
func (x *Index) Glance(key model.Key) (g Glance, ok bool) {
	type seen struct {
		name string
		addr netip.Addr
		Standing
	}
	var all []seen
	w := x.walk()
	if svc := x.peek(key.Namespace, key.Name); svc != nil && svc.isShownHeadless() {
		ok = true
		for e := range w.listed(svc) {
			all = append(all, seen{e.name, e.addr(), e.standing()})
		}
	}
	w.end()
	compare := func(a, b seen) int { // web-2 comes before web-10
		return cmp.Or(cmp.Compare(len(a.name), len(b.name)), strings.Compare(a.name, b.name), a.addr.Compare(b.addr))
	}
	slices.SortFunc(all, compare)
	// An endpoint may have got another first slice between two portions.
	all = slices.CompactFunc(all, func(a, b seen) bool { return compare(a, b) == 0 })
	for i, e := range all {
		if g.Counts[e.Standing]++; i < MaxGlance {
			g.First = append(g.First, e.Standing)
		}
	}
	return g, ok
}

// Watch notes the keys of headless Services that change. It notes those that are shown, or were until they changed, each
// once from one call of Changed to the next, and 4,096 of them at most. Several may be open; who changes the index waits
// for none of them. Its methods may be called at any time, and it has to be closed: until then it costs each change an
// entry in a map.
type Watch struct {
	x       *Index
	changed map[model.Key]struct{} // the index's lock guards it
	many    bool
}

// maxChanged is how many keys a Watch notes at most.
const maxChanged = 4096

// Watch returns a Watch of what changes from now on. The caller has to close it.
func (x *Index) Watch() *Watch {
	w := &Watch{x: x, changed: make(map[model.Key]struct{})}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.watches = append(x.watches, w)
	return w
}

// Close ends w, which notes nothing more. It may be called again.
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
