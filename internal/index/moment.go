package index

import (
	"fmt"
	"iter"

	"github.com/coredns-headless/headless/internal/model"
)

// Moment is what an index holds at one moment. It is read in portions while the index goes on changing:
// whoever is about to change a Namespace, a Service or a slice first gives what that was to the moments
// that lack it. So a change costs a copy of its slice more, at most, and what nobody changes is copied
// when it is read. A moment that nobody reads gets just what has changed since, as it was.
//
// Each object bears a mark, the number of the last moment that has got it. A slice begins with that of the
// last moment there was, which is older; Namespaces and Services begin as nothing to be got.
type Moment struct {
	x      *Index
	number uint32 // the moments of x are counted
	// namespaces and services hold what the moment has got and its reader has not. The index's lock
	// guards them: they are written with the write lock, or by a walk.
	namespaces []string
	services   map[model.Key]*ServiceContents
}

// Moment returns what x holds now. It has to be closed.
func (x *Index) Moment() *Moment {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.moment()
}

// moment is Moment for callers that have the write lock.
func (x *Index) moment() *Moment {
	x.numMoments++
	m := &Moment{x: x, number: x.numMoments, services: make(map[model.Key]*ServiceContents)}
	x.moments = append(x.moments, m)
	return m
}

// Close ends m. It may be called again.
func (m *Moment) Close() {
	m.x.mu.Lock()
	defer m.x.mu.Unlock()
	m.x.moments = without(m.x.moments, m)
}

// Namespaces returns the names of the Namespaces. It may be called once, before Services.
func (m *Moment) Namespaces() []string {
	w := m.x.walk()
	defer w.end()
	for _, ns := range w.namespaces {
		w.keepNamespace(ns)
		w.did(1)
	}
	return m.namespaces
}

// Services yields what is known of each Service, and closes m. It may be called once. A body that takes
// long keeps nobody waiting.
func (m *Moment) Services() iter.Seq[*ServiceContents] {
	return func(yield func(*ServiceContents) bool) {
		defer m.Close()
		w := m.x.walk()
		defer w.end()
		give := func(key model.Key) bool {
			c := m.services[key]
			if c == nil {
				return true
			}
			delete(m.services, key)
			return w.aside(func() bool {
				c.nameSlices()
				return yield(c)
			})
		}
		for svc := range w.services() {
			m.read(svc, w)
			if !give(svc.id()) {
				return
			}
		}
		for key := range m.services { // of Services that are gone
			if !give(key) {
				return
			}
		}
	}
}

// read gets what m lacks of svc.
func (m *Moment) read(svc *service, w *walk) {
	w.keepService(svc)
	var lacking []*slice
	for sl := svc.slices; sl != nil; sl = sl.sibling {
		if sl.mark < m.number {
			lacking = append(lacking, sl)
		}
	}
	for _, sl := range lacking {
		if sl.mark < m.number { // still: it has not changed, then, while w rested
			w.keepSlice(sl)
			w.did(len(sl.endpoints))
		}
	}
}

// lacking returns the moments that lack what bears mark, and notes that they get it.
func (x *Index) lacking(mark *uint32) []*Moment {
	older := 0
	for older < len(x.moments) && x.moments[older].number <= *mark {
		older++
	}
	*mark = x.numMoments
	return x.moments[older:]
}

// keepNamespace gives ns, as it is, to the moments that lack it.
func (x *Index) keepNamespace(ns *namespace) {
	for _, m := range x.lacking(&ns.mark) {
		if ns.exists {
			m.namespaces = append(m.namespaces, ns.name)
		}
	}
}

// keepService gives svc, without its slices, to the moments that lack it.
func (x *Index) keepService(svc *service) {
	for _, m := range x.lacking(&svc.mark) {
		if svc.spec != nil {
			m.of(svc).Service = svc.spec
		}
	}
}

// keepSlice gives sl to the moments that lack it.
func (x *Index) keepSlice(sl *slice) {
	moments := x.lacking(&sl.mark)
	if len(moments) == 0 {
		return
	}
	spec := x.sliceSpec(sl)
	for _, m := range moments {
		c := m.of(sl.svc)
		c.Slices = append(c.Slices, spec)
	}
}

// of returns what m has got of svc.
func (m *Moment) of(svc *service) *ServiceContents {
	c := m.services[svc.id()]
	if c == nil {
		c = &ServiceContents{Key: svc.id()}
		m.services[c.Key] = c
	}
	return c
}

// nameSlices gives slices without a name of their own one that no cluster has.
func (c *ServiceContents) nameSlices() {
	for i, spec := range c.Slices {
		if spec.Name == "" {
			named := *spec // another moment may have it as well
			named.Name = fmt.Sprintf("%s %d", c.Name, i)
			c.Slices[i] = &named
		}
	}
}
