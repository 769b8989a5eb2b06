package index

import (
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
	c.soaSerial.number.Store(number)
	c.externalSerial.number.Store(external)
	c.soaSerial.changed.Store(false)
	c.externalSerial.changed.Store(false)
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
// once: not all of them do.
func (f Frozen) Names() iter.Seq[qname.Name] {
	labels := make(map[*service]map[string]netip.Addr) // the address is set for dashed ones
	ports := make(map[*service]map[model.PortLabels]bool)
	known := func(svc *service) {
		if labels[svc] == nil {
			labels[svc], ports[svc] = map[string]netip.Addr{"": {}}, map[model.PortLabels]bool{{}: true}
		}
	}
	named := func(svc *service, list []model.Port) {
		for _, p := range list {
			if p.Name() != "" {
				ports[svc][p.Labels.Value()] = true
			}
		}
	}
	for sl := range f.slices.all() {
		known(sl.svc)
		named(sl.svc, sl.ports)
		for _, e := range sl.endpoints {
			if e.name != "" {
				labels[sl.svc][e.name] = netip.Addr{}
			}
			if e.dashed() {
				labels[sl.svc][string(model.AppendDashed(nil, e.addr()))] = e.addr()
			}
		}
	}
	for _, ns := range f.namespaces {
		for _, svc := range ns.services {
			if svc.spec != nil {
				known(svc)
				named(svc, svc.spec.Ports)
			}
		}
	}
	return func(yield func(qname.Name) bool) {
		for svc := range labels {
			for label, addr := range labels[svc] {
				for p := range ports[svc] {
					q := qname.Name{
						Kind: qname.ServiceName, Namespace: svc.ns.name, Service: svc.name,
						Hostname: label, Addr: addr,
						Port: p.Name, Proto: p.Proto,
					}
					if !yield(q) {
						return
					}
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
