package headless

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
)

// namespace returns the namespace called name, a new one if there is none.
func (x *index) namespace(name string) *namespace {
	ns := x.namespaces[name]
	if ns == nil {
		ns = &namespace{name: name, services: make(map[string]*service)}
		x.namespaces[name] = ns
	}
	return ns
}

// counts says how many objects an index holds.
type counts struct{ namespaces, services, slices, endpoints int }

// counts returns how many objects x holds.
func (x *index) counts() counts {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := counts{slices: x.slices.n}
	for _, ns := range x.namespaces {
		if ns.exists {
			n.namespaces++
		}
		for _, svc := range ns.services {
			if svc.spec != nil {
				n.services++
			}
			for _, endpoints := range svc.states {
				n.endpoints += int(endpoints)
			}
		}
	}
	return n
}

// addStates adds to n how many endpoints x holds, by what metrics call the kind of their Service, and by state.
func (x *index) addStates(n map[string][len(states)]int) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	kind, counts := unservedKind, n[unservedKind] // most Services are of the kind of the one before
	for _, ns := range x.namespaces {
		for _, svc := range ns.services {
			if k := svc.spec.metricKind(); k != kind {
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

// clone returns an index of its own with what x holds at one moment. Readers and writers of x wait only while the endpoints
// are copied.
func (x *index) clone() *index {
	c := newIndex(x.policy, x.ignoreEmpty)
	var namespaces []*namespaceSpec
	var contents []serviceContents
	x.mu.RLock()
	for _, ns := range x.namespaces {
		if ns.exists {
			namespaces = append(namespaces, &namespaceSpec{objectKey{name: ns.name}})
		}
		for _, svc := range ns.services {
			contents = append(contents, x.contents(svc))
		}
	}
	serial, externalSerial := x.serial(), x.externalSerial.Load()
	x.mu.RUnlock()
	for _, spec := range namespaces {
		c.putNamespace(spec)
	}
	for i := range contents {
		c.putContents(&contents[i])
	}
	c.soaSerial.Store(serial)
	c.externalSerial.Store(externalSerial)
	return c
}

// serviceContents is what an index knows of one Service.
type serviceContents struct {
	objectKey
	service *serviceSpec // nil while the Service is absent
	slices  []*sliceSpec
}

// allContents yields what x knows of each Service, of each at one moment, and not all at the same.
func (x *index) allContents() iter.Seq[serviceContents] {
	return func(yield func(serviceContents) bool) {
		for _, key := range x.knownKeys() {
			x.mu.RLock()
			svc := x.peek(key.namespace, key.name)
			var c serviceContents
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

// knownKeys returns the keys of the Services and of those that are absent and have slices.
func (x *index) knownKeys() []objectKey {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var keys []objectKey
	for _, ns := range x.namespaces {
		for name := range ns.services {
			keys = append(keys, objectKey{ns.name, name})
		}
	}
	return keys
}

// contents returns what x knows of svc at one moment. Slices without a name of their own get one that no cluster has.
func (x *index) contents(svc *service) serviceContents {
	c := serviceContents{objectKey: objectKey{svc.ns.name, svc.name}, service: svc.spec}
	for sl := svc.slices; sl != nil; sl = sl.sibling {
		spec := x.sliceSpec(sl)
		if spec.name == "" {
			spec.name = fmt.Sprintf("%s %d", svc.name, len(c.slices))
		}
		c.slices = append(c.slices, spec)
	}
	return c
}

// putContents puts what another index knows of a Service.
func (x *index) putContents(c *serviceContents) {
	if c.service != nil {
		x.putService(c.service)
	}
	for _, spec := range c.slices {
		x.putSlice(spec)
	}
}

// isMadeOf reports whether spec says what sl says already.
func (x *index) isMadeOf(sl *slice, spec *sliceSpec) bool {
	if sl.svc.name != spec.service || len(sl.endpoints) != len(spec.endpoints) || !slices.Equal(sl.ports, spec.ports) {
		return false
	}
	for i, e := range sl.endpoints {
		if x.endpointSpec(e, sl) != spec.endpoints[i] {
			return false
		}
	}
	return true
}

// sliceSpec returns the spec that sl was made of or, if it is a hold's, what it still holds.
func (x *index) sliceSpec(sl *slice) *sliceSpec {
	spec := &sliceSpec{objectKey: sl.id(), service: sl.svc.name, ports: sl.ports, endpoints: make([]endpointSpec, 0, len(sl.endpoints))}
	for _, e := range sl.endpoints {
		if s := x.endpointSpec(e, sl); s.addr.IsValid() {
			spec.endpoints = append(spec.endpoints, s)
		}
	}
	return spec
}

// endpointSpec returns what sl says of e, the zero value if nothing.
func (x *index) endpointSpec(e *endpoint, sl *slice) endpointSpec {
	for o := &e.in; o != nil; o = o.next {
		if o.slice == sl {
			return endpointSpec{addr: e.addr(), name: e.name, podName: o.podName, zone: x.zones[o.zone], state: o.state}
		}
	}
	return endpointSpec{}
}

// names yields a query for every name that may own records of a Service or of an endpoint, each once: not all of them do. x must
// not change meanwhile.
func (x *index) names() iter.Seq[query] {
	labels := make(map[*service]map[string]netip.Addr) // the address is set for dashed ones
	ports := make(map[*service]map[portLabels]bool)
	known := func(svc *service) {
		if labels[svc] == nil {
			labels[svc], ports[svc] = map[string]netip.Addr{"": {}}, map[portLabels]bool{{}: true}
		}
	}
	named := func(svc *service, list []port) {
		for _, p := range list {
			if p.name() != "" {
				ports[svc][p.labels.Value()] = true
			}
		}
	}
	for sl := range x.slices.all() {
		known(sl.svc)
		named(sl.svc, sl.ports)
		for _, e := range sl.endpoints {
			if e.name != "" {
				labels[sl.svc][e.name] = netip.Addr{}
			}
			if e.dashed() {
				labels[sl.svc][string(appendDashed(nil, e.addr()))] = e.addr()
			}
		}
	}
	for _, ns := range x.namespaces {
		for _, svc := range ns.services {
			if svc.spec != nil {
				known(svc)
				named(svc, svc.spec.ports)
			}
		}
	}
	return func(yield func(query) bool) {
		for svc := range labels {
			for label, addr := range labels[svc] {
				for p := range ports[svc] {
					q := query{
						kind: serviceName, namespace: svc.ns.name, service: svc.name, hostname: label, addr: addr,
						port: p.name, proto: p.proto,
					}
					if !yield(q) {
						return
					}
				}
			}
		}
	}
}

// owned yields the addresses that have a PTR, each once. x must not change meanwhile.
func (x *index) owned() iter.Seq[netip.Addr] {
	owner := func(addr netip.Addr) *endpoint {
		e := x.byAddr.first(addr.As16())
		for e != nil && !e.owns {
			e = x.byAddr.after(e)
		}
		return e
	}
	return func(yield func(netip.Addr) bool) {
		for e := range x.byAddr.all() {
			if owner(e.addr()) == e && !yield(e.addr()) {
				return
			}
		}
		for addr := range x.clusterIPs {
			if owner(addr) == nil && x.owners(addr) > 0 && !yield(addr) {
				return
			}
		}
	}
}

// serviceKeys returns the keys of the Services, namespaceKeys those of the Namespaces: to find those that a new list lacks.
func (x *index) serviceKeys() []objectKey {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var keys []objectKey
	for _, ns := range x.namespaces {
		for _, svc := range ns.services {
			if svc.spec != nil {
				keys = append(keys, svc.spec.objectKey)
			}
		}
	}
	return keys
}

func (x *index) namespaceKeys() []objectKey {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var keys []objectKey
	for _, ns := range x.namespaces {
		if ns.exists {
			keys = append(keys, objectKey{name: ns.name})
		}
	}
	return keys
}
