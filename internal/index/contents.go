package index

import (
	"slices"

	"github.com/coredns-headless/headless/internal/model"
)

// namespace returns the namespace called name. It makes one if x has no such namespace.
func (x *Index) namespace(name string) *namespace {
	ns := x.namespaces[name]
	if ns == nil {
		ns = &namespace{name: name, services: make(map[string]*service)}
		x.namespaces[name] = ns
	}
	return ns
}

// Counts says how many objects an index holds.
type Counts struct{ Namespaces, Services, Slices, Endpoints int }

// Counts returns how many objects x holds.
func (x *Index) Counts() Counts {
	w := x.walk()
	defer w.end()
	n := Counts{Slices: x.slices.n}
	for _, ns := range x.namespaces {
		if ns.exists {
			n.Namespaces++
		}
		w.did(1)
	}
	for svc := range w.services() {
		if svc.spec != nil {
			n.Services++
		}
		for _, endpoints := range svc.states {
			n.Endpoints += int(endpoints)
		}
	}
	return n
}

// AddStates adds to n how many endpoints x holds, by what metrics call the kind of their Service,
// and by state.
func (x *Index) AddStates(n map[string][model.NumStates]int) {
	w := x.walk()
	defer w.end()
	// Most Services are of the kind of the one before.
	kind, counts := model.UnservedKind, n[model.UnservedKind]
	for svc := range w.services() {
		if k := svc.spec.MetricKind(); k != kind {
			n[kind] = counts
			kind, counts = k, n[k]
		}
		for state, endpoints := range svc.states {
			counts[state] += int(endpoints)
		}
	}
	n[kind] = counts
}

// ServiceContents is what an index knows of one Service.
type ServiceContents struct {
	model.Key
	Service *model.Service // nil while the Service is absent
	Slices  []*model.Slice
}

// PutContents puts what another index knows of a Service.
func (x *Index) PutContents(c *ServiceContents) {
	if c.Service != nil {
		x.PutService(c.Service)
	}
	for _, spec := range c.Slices {
		x.PutSlice(spec)
	}
}

// isMadeOf reports whether sl already says what spec says.
func (x *Index) isMadeOf(sl *slice, spec *model.Slice) bool {
	if sl.svc.name != spec.Service || len(sl.endpoints) != len(spec.Endpoints) ||
		!slices.Equal(sl.ports, spec.Ports) {
		return false
	}
	for i, e := range sl.endpoints {
		if x.endpointSpec(e, sl) != spec.Endpoints[i] {
			return false
		}
	}
	return true
}

// sliceSpec returns the spec that sl was made of or, if it is a hold's, what it still holds.
func (x *Index) sliceSpec(sl *slice) *model.Slice {
	spec := &model.Slice{
		Key: sl.id(), Service: sl.svc.name, Ports: sl.ports,
		Endpoints: make([]model.Endpoint, 0, len(sl.endpoints)),
	}
	for _, e := range sl.endpoints {
		if s := x.endpointSpec(e, sl); s.Addr.IsValid() {
			spec.Endpoints = append(spec.Endpoints, s)
		}
	}
	return spec
}

// endpointSpec returns what sl says of e, or the zero value if sl does not list it.
func (x *Index) endpointSpec(e *endpoint, sl *slice) model.Endpoint {
	for o := &e.in; o != nil; o = o.next {
		if o.slice == sl {
			return model.Endpoint{
				Addr: e.addr(), Name: e.name, PodName: o.podName,
				Place: x.places.all[o.place].placed, State: o.state, Leaving: o.leaving,
			}
		}
	}
	return model.Endpoint{}
}

// recallReach is how many endpoints in a row may have gone from a slice, and those behind them are recalled.
const recallReach = 64

// Recall returns what the slice at key, as it was put, says of endpoints with some sums: for each sum the
// endpoint, or the zero value for a sum that is new. It returns nil if x knows no sums of the slice.
func (x *Index) Recall(key model.Key, sums []uint64) []model.Endpoint {
	x.mu.RLock()
	defer x.mu.RUnlock()
	sl := x.slices.first(key)
	if sl == nil || sl.sums == nil {
		return nil
	}
	known, next := make([]model.Endpoint, len(sums)), 0
	for i, sum := range sums {
		ahead := sl.sums[next:min(next+recallReach, len(sl.sums))]
		if at := slices.Index(ahead, sum); at >= 0 && sum != 0 {
			known[i] = x.endpointSpec(sl.endpoints[next+at], sl)
			next += at + 1
		}
	}
	return known
}

// ServiceKeys returns the keys of the Services: to find those that a new list lacks.
func (x *Index) ServiceKeys() []model.Key {
	keys := x.roomForKeys()
	w := x.walk()
	defer w.end()
	for svc := range w.services() {
		if svc.spec != nil {
			keys = append(keys, svc.spec.Key)
		}
	}
	return keys
}

// NamespaceKeys returns the keys of the Namespaces.
func (x *Index) NamespaceKeys() (keys []model.Key) {
	w := x.walk()
	defer w.end()
	for _, ns := range x.namespaces {
		if ns.exists {
			keys = append(keys, model.Key{Name: ns.name})
		}
		w.did(1)
	}
	return keys
}

// SliceKeys returns the keys of the slices.
func (x *Index) SliceKeys() []model.Key {
	keys := x.roomForKeys()
	w := x.walk()
	defer w.end()
	for svc := range w.services() {
		known := len(keys)
		for sl := svc.slices; sl != nil; sl = sl.sibling {
			if sl.name != "" {
				keys = append(keys, sl.id())
			}
		}
		w.did(len(keys) - known)
	}
	return keys
}

// roomForKeys returns an empty list with room for the keys of all slices, or of most Services: one that
// grows is copied, which takes a millisecond of a walk through 100,000 of them.
func (x *Index) roomForKeys() []model.Key {
	x.mu.RLock()
	n := x.slices.n
	x.mu.RUnlock()
	return make([]model.Key, 0, n+n/8)
}
