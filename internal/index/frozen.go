package index

import (
	"cmp"
	"iter"
	"net/netip"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
)

// Frozen is an index that nobody changes any more. What takes long to read, and has to be of one
// moment, is read from it.
type Frozen struct{ *Index }

// Freeze returns what x holds at one moment.
func (x *Index) Freeze() Frozen {
	x.mu.Lock()
	m := x.moment()
	number, external := x.soaSerial.freeze(x.now()), x.ExternalSerial()
	x.mu.Unlock()
	c := m.index()
	c.soaSerial.give(number)
	c.externalSerial.give(external)
	return Frozen{c}
}

// index makes an index of m, which it reads.
func (m *Moment) index() *Index {
	c := New(m.x.policy, m.x.ignoreEmpty, 0)
	for _, name := range m.Namespaces() {
		c.PutNamespace(&model.Namespace{Key: model.Key{Name: name}})
	}
	for contents := range m.Services() {
		c.PutContents(contents)
	}
	return c
}

// Names yields a query for every name that may own records of a Service or of an endpoint, each
// once: not all of them do. room is Part.Room.
func (f Frozen) Names(room int) iter.Seq[qname.Name] {
	all := make(map[*service]nameSet)
	of := func(svc *service) nameSet {
		if _, ok := all[svc]; !ok {
			all[svc] = newNameSet()
		}
		return all[svc]
	}
	for sl := range f.slices.all() {
		n := of(sl.svc)
		n.addPorts(sl.ports)
		spare := sl.svc.spare(room)
		for _, e := range sl.endpoints {
			n.addLabel(e.name)
			if e.dashed() {
				n.addDashed(e.addr())
			} else if !e.isNamed(spare) {
				label, _ := e.fitting(spare)
				n.addLabel(cmp.Or(label.Name, string(model.AppendDashed(nil, e.addr()))))
			}
		}
	}
	for _, ns := range f.namespaces {
		for _, svc := range ns.services {
			if svc.spec != nil {
				of(svc).addPorts(svc.spec.Ports)
			}
		}
	}
	return func(yield func(qname.Name) bool) {
		for svc, n := range all {
			for q := range n.names(svc.id()) {
				if !yield(q) {
					return
				}
			}
		}
	}
}

// nameSet is what the names of a Service and those below it are made of.
type nameSet struct {
	// labels are those of endpoints, each with the address that it spells, if it does, and "".
	labels map[string]netip.Addr
	ports  map[model.PortLabels]bool // the zero value stands for none
}

func newNameSet() nameSet {
	return nameSet{map[string]netip.Addr{"": {}}, map[model.PortLabels]bool{{}: true}}
}

// addPorts adds the ports that have names.
func (n nameSet) addPorts(ports []model.Port) {
	for _, p := range ports {
		if p.Name() != "" {
			n.ports[p.Labels.Value()] = true
		}
	}
}

// addLabel adds a label.
func (n nameSet) addLabel(label string) {
	if _, ok := n.labels[label]; !ok {
		addr, _ := model.ParseDashed(label)
		n.labels[label] = addr
	}
}

// addDashed adds the label that spells addr.
func (n nameSet) addDashed(addr netip.Addr) {
	n.labels[string(model.AppendDashed(nil, addr))] = addr
}

// names yields a query for each name of the Service at key and below it.
func (n nameSet) names(key model.Key) iter.Seq[qname.Name] {
	return func(yield func(qname.Name) bool) {
		for label, addr := range n.labels {
			for p := range n.ports {
				if !yield(qname.Name{
					Kind: qname.ServiceName, Namespace: key.Namespace, Service: key.Name,
					Hostname: label, Addr: addr, Port: p.Name, Proto: p.Proto,
				}) {
					return
				}
			}
		}
	}
}

// Owned yields the addresses that have a PTR, each once.
func (f Frozen) Owned() iter.Seq[netip.Addr] {
	owner := func(addr netip.Addr) *endpoint {
		e := f.byAddr.first(addr.As16())
		for e != nil && !e.owns {
			e = f.byAddr.after(e)
		}
		return e
	}
	return func(yield func(netip.Addr) bool) {
		for e := range f.byAddr.all() {
			if owner(e.addr()) == e && !yield(e.addr()) {
				return
			}
		}
		for addr := range f.clusterIPs {
			if owner(addr) == nil && f.owners(addr) > 0 && !yield(addr) {
				return
			}
		}
	}
}
