package index

import "iter"

// portion is how many objects are looked at, by who goes through many, before others have their turn:
// some tens of microseconds.
const portion = 256

// walk goes through all that an index holds, in portions: it has the read lock, and gives it back after
// each, so that neither changes nor the queries behind them wait for long. Objects that are there
// throughout are met once; others may be missed.
type walk struct {
	*Index
	work int // since the lock was taken
}

// walk begins a walk through x. The caller has to end it.
func (x *Index) walk() *walk {
	w := &walk{Index: x}
	w.take()
	return w
}

// end gives back the lock.
func (w *walk) end() { w.give() }

// take begins a portion, and waits until nobody else who walks is in one.
func (w *walk) take() {
	w.walking.Lock()
	w.mu.RLock()
}

// give ends a portion.
func (w *walk) give() {
	w.mu.RUnlock()
	w.walking.Unlock()
	w.portioned(w.work)
	w.work = 0
}

// did notes that w looked at so many objects, and lets others have their turn when that makes a portion.
func (w *walk) did(objects int) {
	if w.work += objects; w.work >= w.portion {
		w.give()
		w.take()
	}
}

// aside calls do without the lock, and returns what that does.
func (w *walk) aside(do func() bool) bool {
	w.give()
	defer w.take()
	return do()
}

// listed yields the endpoints of svc. Those that get another first slice meanwhile may be missed, or met twice.
func (w *walk) listed(svc *service) iter.Seq[*endpoint] {
	return func(yield func(*endpoint) bool) {
		var all []*slice
		for sl := svc.slices; sl != nil; sl = sl.sibling {
			all = append(all, sl)
		}
		for _, sl := range all {
			for _, e := range sl.endpoints {
				// The first slice that an endpoint has yields it. One that is forgotten, or whose hold has ended, is in none.
				if e.svc == svc && e.in.slice == sl && !yield(e) {
					return
				}
			}
			w.did(len(sl.endpoints))
		}
	}
}

// services yields the Services that are known. Maps may change while they are ranged over.
func (w *walk) services() iter.Seq[*service] {
	return func(yield func(*service) bool) {
		for _, ns := range w.namespaces {
			for _, svc := range ns.services {
				if !yield(svc) {
					return
				}
				w.did(1)
			}
			w.did(1)
		}
	}
}
