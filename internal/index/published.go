package index

import (
	"iter"
	"maps"
	"net/netip"
	"slices"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
)

// Published is a copy of an index that follows it in steps: what zone transfers show, and what
// differences between two steps are made of. It costs as much memory as the index. A step costs what the
// Services do that have changed since the one before.
//
// One goroutine at a time may follow an index. The copy is read as any index is.
type Published struct {
	*Index
	live *Index
}

// altered is what changed since the last step. The lock of the index guards it.
type altered struct {
	namespaces map[string]bool
	services   map[model.Key]bool
	news       chan struct{} // gets a value, if it has none, with each change
}

// alters returns what c is to note its objects in, or nil.
func (c *change) alters() *altered {
	if c.altered != nil {
		select {
		case c.altered.news <- struct{}{}:
		default:
		}
	}
	return c.altered
}

// keepNamespace is Index.keepNamespace for what is about to change.
func (c *change) keepNamespace(ns *namespace) {
	if a := c.alters(); a != nil {
		a.namespaces[ns.name] = true
	}
	c.Index.keepNamespace(ns)
}

// keepService is Index.keepService for what is about to change.
func (c *change) keepService(svc *service) {
	if a := c.alters(); a != nil {
		a.services[svc.id()] = true
	}
	c.Index.keepService(svc)
}

// keepSlice is Index.keepSlice for what is about to change.
func (c *change) keepSlice(sl *slice) {
	if a := c.alters(); a != nil {
		a.services[sl.svc.id()] = true
	}
	c.Index.keepSlice(sl)
}

// follow begins to note what changes, and a moment, which is of the serials returned. The caller has the
// write lock.
func (x *Index) follow(news chan struct{}) (m *Moment, soa, external uint32) {
	x.altered = &altered{make(map[string]bool), make(map[model.Key]bool), news}
	return x.moment(), x.soaSerial.freeze(x.now()), x.ExternalSerial()
}

// Publish returns a copy of x that may follow it. news gets a value, if it is empty, when x changes.
func (x *Index) Publish(news chan struct{}) *Published {
	x.mu.Lock()
	m, soa, external := x.follow(news)
	x.mu.Unlock()
	p := &Published{m.index(), x}
	p.GiveSerials(soa, external)
	return p
}

// GiveSerials sets the serials of p, which is the only one to know what they are of.
func (p *Published) GiveSerials(soa, external uint32) {
	p.soaSerial.give(soa)
	p.externalSerial.give(external)
}

// Step is what a copy lacks of an index at one moment.
type Step struct {
	External   uint32 // the serial of then for external names
	p          *Published
	namespaces map[string]bool // that changed: whether they exist
	units      []*Unit
}

// Unit is some Services that a copy takes over at once: one, but for slices that went from one to another.
type Unit struct {
	// Comes says that the Namespace is new, and Goes that it is gone: before Take, or after it, the Services
	// have no names.
	Comes, Goes bool
	p           *Published
	services    []*difference
}

// difference is what a copy lacks of one Service.
type difference struct {
	*ServiceContents
	differs bool
	put     []*model.Slice // those that come or differ
	gone    []string       // the names of those that go
	nameSet
	addrs []netip.Addr // whose reverse names may own other records
}

// Next returns what p lacks now, or nil if that is nothing.
func (p *Published) Next() *Step {
	x := p.live
	x.mu.Lock()
	a := x.altered
	if len(a.namespaces)+len(a.services) == 0 {
		x.mu.Unlock()
		return nil
	}
	s := &Step{p: p, namespaces: a.namespaces}
	var m *Moment
	m, _, s.External = x.follow(a.news)
	for name := range s.namespaces {
		s.namespaces[name] = x.exposed(name)
	}
	x.mu.Unlock()
	for name, exists := range s.namespaces {
		if p.HasNamespace(name) == exists {
			delete(s.namespaces, name)
		}
	}
	s.add(m.some(a.services))
	return s
}

// some closes m, and returns what it has of the Services at keys.
func (m *Moment) some(keys map[model.Key]bool) map[model.Key]*ServiceContents {
	w := m.x.walk()
	for key := range keys {
		if svc := w.peek(key.Namespace, key.Name); svc != nil {
			m.read(svc, w)
		}
		w.did(1)
	}
	w.end()
	m.Close() // so that nobody gives it anything any more
	contents := make(map[model.Key]*ServiceContents, len(keys))
	for key := range keys {
		c := m.services[key]
		if c == nil {
			c = &ServiceContents{Key: key}
		}
		c.Slices = slices.DeleteFunc(c.Slices, func(s *model.Slice) bool {
			return s.Name == "" && len(s.Endpoints) == 0 // of a hold that has ended
		})
		c.nameSlices()
		contents[key] = c
	}
	return contents
}

// add adds the Services that differ from contents, or are in a Namespace that changed.
func (s *Step) add(contents map[model.Key]*ServiceContents) {
	x := s.p.Index
	x.mu.RLock()
	defer x.mu.RUnlock()
	for name := range s.namespaces {
		if ns := x.namespaces[name]; ns != nil {
			for _, svc := range ns.services {
				if contents[svc.id()] == nil {
					contents[svc.id()] = x.contents(svc)
				}
			}
		}
	}
	of := make(map[model.Key]*Unit) // by its Services
	for key, c := range contents {
		exists, changed := s.namespaces[key.Namespace]
		u := &Unit{Comes: changed && exists, Goes: changed && !exists, p: s.p}
		u.services = append(u.services, x.difference(c, changed))
		of[key] = u
	}
	for key, c := range contents {
		for _, spec := range c.Slices {
			old := x.slices.first(spec.Key)
			if old == nil || old.svc.id() == key || of[old.svc.id()] == of[key] {
				continue
			}
			from, to := of[old.svc.id()], of[key] // from is there: its slice went
			to.services = append(to.services, from.services...)
			for _, d := range from.services {
				of[d.Key] = to
			}
		}
	}
	units := make(map[*Unit]bool)
	for _, u := range of {
		if !units[u] && slices.ContainsFunc(u.services, func(d *difference) bool { return d.differs }) {
			s.units = append(s.units, u)
		}
		units[u] = true
	}
}

// contents returns what x knows of svc. The caller has the lock.
func (x *Index) contents(svc *service) *ServiceContents {
	c := &ServiceContents{Key: svc.id(), Service: svc.spec}
	for sl := svc.slices; sl != nil; sl = sl.sibling {
		c.Slices = append(c.Slices, x.sliceSpec(sl))
	}
	return c
}

// difference returns how what x holds of a Service differs from c, in all if isAll is set. The caller has
// the lock.
func (x *Index) difference(c *ServiceContents, isAll bool) *difference {
	d := &difference{ServiceContents: c, nameSet: newNameSet()}
	var spec *model.Service
	old := make(map[string]*slice)
	if svc := x.peek(c.Namespace, c.Name); svc != nil {
		spec = svc.spec
		for sl := svc.slices; sl != nil; sl = sl.sibling {
			old[sl.name] = sl
			d.addPorts(sl.ports)
		}
	}
	for _, s := range []*model.Service{spec, c.Service} {
		d.addrs = append(d.addrs, s.Addresses()...)
		if s != nil {
			d.addPorts(s.Ports)
		}
	}
	isAll = isAll || (spec == nil) != (c.Service == nil) || spec != nil && !spec.EqualInside(c.Service)
	d.differs = isAll || spec != nil && !spec.Equal(c.Service)
	for _, now := range c.Slices {
		d.addPorts(now.Ports)
		sl := old[now.Name]
		delete(old, now.Name)
		isSame := sl != nil && x.isMadeOf(sl, now)
		if !isSame {
			d.put = append(d.put, now)
		} else if !isAll {
			continue
		}
		was := new(model.Slice)
		if sl != nil {
			was = x.sliceSpec(sl)
		}
		d.compare(was, now, isAll)
	}
	for name, sl := range old {
		d.gone = append(d.gone, name)
		d.compare(x.sliceSpec(sl), new(model.Slice), isAll)
	}
	return d
}

// compare notes the endpoints that are in one of two versions of a slice, or differ, or all of them.
func (d *difference) compare(was, now *model.Slice, isAll bool) {
	d.differs = true
	a, b := was.Endpoints, now.Endpoints
	if isAll || !model.SamePorts(was.Ports, now.Ports) {
		for _, e := range slices.Concat(a, b) {
			d.touch(e)
		}
		return
	}
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] { // as most are
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	gone := make(map[model.Endpoint]bool, len(a))
	for _, e := range a {
		gone[e] = true
	}
	for _, e := range b {
		if gone[e] {
			delete(gone, e)
		} else {
			d.touch(e)
		}
	}
	for e := range gone {
		d.touch(e)
	}
}

// touch notes the names that e may have.
func (d *difference) touch(e model.Endpoint) {
	d.addrs = append(d.addrs, e.Addr)
	d.addLabel(e.Name)
	d.addDashed(e.Addr)
	if cluster := clusterOf(e.Name); cluster != "" {
		d.addLabel(string(model.AppendDashed(nil, e.Addr)) + "." + cluster)
	}
}

// Addrs returns the addresses whose reverse names may own other records after the step, each once.
func (s *Step) Addrs() []netip.Addr {
	all := make(map[netip.Addr]bool)
	for _, u := range s.units {
		for _, d := range u.services {
			for _, addr := range d.addrs {
				all[addr] = true
			}
		}
	}
	return slices.Collect(maps.Keys(all))
}

// Apply brings the copy to where its index was. It calls take for each Unit, which has to call Unit.Take.
func (s *Step) Apply(take func(*Unit)) {
	x := s.p.Index
	for name, exists := range s.namespaces {
		if exists {
			x.PutNamespace(&model.Namespace{Key: model.Key{Name: name}})
		}
	}
	for _, u := range s.units {
		take(u)
	}
	for name, exists := range s.namespaces {
		if !exists {
			x.DropNamespace(model.Key{Name: name})
		}
	}
}

// Names yields a query for every name that may own other records when u is taken, each once.
func (u *Unit) Names() iter.Seq[qname.Name] {
	return func(yield func(qname.Name) bool) {
		for _, d := range u.services {
			for q := range d.names(d.Key) {
				if !yield(q) {
					return
				}
			}
		}
	}
}

// Size returns how many names there are.
func (u *Unit) Size() int {
	n := 0
	for _, d := range u.services {
		n += len(d.labels) * len(d.ports)
	}
	return n
}

// Take puts what the index holds of u into the copy. What stays is there throughout.
func (u *Unit) Take() {
	for _, d := range u.services {
		if d.Service == nil {
			u.p.DropService(d.Key)
		} else {
			u.p.PutService(d.Service)
		}
		for _, spec := range d.put {
			u.p.PutSlice(spec)
		}
	}
	for _, d := range u.services {
		for _, name := range d.gone {
			u.p.dropSliceOf(d.Key, name)
		}
	}
}

// dropSliceOf removes a slice if it is still that of a Service.
func (x *Index) dropSliceOf(service model.Key, name string) {
	c := x.begin()
	defer c.commit()
	sl := x.slices.first(model.Key{Namespace: service.Namespace, Name: name})
	if sl != nil && sl.svc.name == service.Name {
		c.removeSlice(sl, nil)
	}
}
