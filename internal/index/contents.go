package index

import (
	"fmt"
	"iter"
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
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := Counts{Slices: x.slices.n}
	for _, ns := range x.namespaces {
		if ns.exists {
			n.Namespaces++
		}
		for _, svc := range ns.services {
			if svc.spec != nil {
				n.Services++
			}
			for _, endpoints := range svc.states {
				n.Endpoints += int(endpoints)
			}
		}
	}
	return n
}

// AddStates adds to n how many endpoints x holds, by what metrics call the kind of their Service,
// and by state.
func (x *Index) AddStates(n map[string][model.NumStates]int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	// Most Services are of the kind of the one before.
	kind, counts := model.UnservedKind, n[model.UnservedKind]
	for _, ns := range x.namespaces {
		for _, svc := range ns.services {
			if k := svc.spec.MetricKind(); k != kind {
				n[kind] = counts
				kind, counts = k, n[k]
			}
			for state, endpoints := range svc.states {
				counts[state] += int(endpoints)
			}
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

// AllContents yields what x knows of each Service. What it yields of one Service is of one moment;
// two Services may be of different moments.
func (x *Index) AllContents() iter.Seq[ServiceContents] {
	return func(yield func(ServiceContents) bool) {
		for _, key := range x.knownKeys() {
			x.mu.RLock()
			svc := x.peek(key.Namespace, key.Name)
			var c ServiceContents
			if svc != nil {
				c = x.contents(svc)
			}
			x.mu.RUnlock()
			if svc != nil && !yield(c) {
				return
			}
		}
	}
}

// knownKeys returns the keys of all Services, those among them that are absent and have slices. It
// takes the lock.
func (x *Index) knownKeys() []model.Key {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var keys []model.Key
	for _, ns := range x.namespaces {
		for name := range ns.services {
			keys = append(keys, model.Key{Namespace: ns.name, Name: name})
		}
	}
	return keys
}

// contents returns what x knows of svc at one moment. Slices without a name of their own get one
// that no cluster has.
func (x *Index) contents(svc *service) ServiceContents {
	c := ServiceContents{Key: model.Key{Namespace: svc.ns.name, Name: svc.name}, Service: svc.spec}
	for sl := svc.slices; sl != nil; sl = sl.sibling {
		spec := x.sliceSpec(sl)
		if spec.Name == "" {
			spec.Name = fmt.Sprintf("%s %d", svc.name, len(c.Slices))
		}
		c.Slices = append(c.Slices, spec)
	}
	return c
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
				Topology: x.topologies[o.topology], State: o.state, Leaving: o.leaving,
			}
		}
	}
	return model.Endpoint{}
}

// ServiceKeys returns the keys of the Services: to find those that a new list lacks.
func (x *Index) ServiceKeys() []model.Key {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var keys []model.Key
	for _, ns := range x.namespaces {
		for _, svc := range ns.services {
			if svc.spec != nil {
				keys = append(keys, svc.spec.Key)
			}
		}
	}
	return keys
}

// NamespaceKeys returns the keys of the Namespaces.
func (x *Index) NamespaceKeys() []model.Key {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var keys []model.Key
	for _, ns := range x.namespaces {
		if ns.exists {
			keys = append(keys, model.Key{Name: ns.name})
		}
	}
	return keys
}

// SliceKeys returns the keys of the slices.
func (x *Index) SliceKeys() (keys []model.Key) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for sl := range x.slices.all() {
		keys = append(keys, sl.id())
	}
	return keys
}
