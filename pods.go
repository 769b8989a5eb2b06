package headless

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
)

// podSpec is what we keep of a Pod. It is not modified after it was put.
type podSpec struct {
	objectKey
	addrs  []netip.Addr
	labels map[string]string // nil unless the metadata plugin is there
}

// pods holds the Pods of a cluster by address: for their names below pod, and for what other plugins ask about a client. Its
// methods are safe for concurrent use.
type pods struct {
	mu      sync.RWMutex // guards the fields below
	byKey   map[objectKey]*podSpec
	byAddr  map[netip.Addr][]*podSpec // no list is empty
	changes uint64                    // so far
}

func newPods() *pods {
	return &pods{byKey: make(map[objectKey]*podSpec), byAddr: make(map[netip.Addr][]*podSpec)}
}

// put adds a Pod or replaces it.
func (p *pods) put(spec *podSpec) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.byKey[spec.objectKey]
	if old != nil && slices.Equal(old.addrs, spec.addrs) && maps.Equal(old.labels, spec.labels) {
		return
	}
	p.changes++
	p.byKey[spec.objectKey] = spec
	for _, addr := range spec.addrs {
		p.byAddr[addr] = append(p.byAddr[addr], spec)
	}
	p.forget(old)
}

// drop removes a Pod.
func (p *pods) drop(key objectKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changes++
	p.forget(p.byKey[key])
	delete(p.byKey, key)
}

// forget takes spec, which may be nil, from the addresses that it has.
func (p *pods) forget(spec *podSpec) {
	if spec == nil {
		return
	}
	for _, addr := range spec.addrs {
		if p.byAddr[addr] = without(p.byAddr[addr], spec); len(p.byAddr[addr]) == 0 {
			delete(p.byAddr, addr)
		}
	}
}

// version returns a number that grows with each change.
func (p *pods) version() uint64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.changes
}

// all returns all Pods.
func (p *pods) all() []*podSpec {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Collect(maps.Values(p.byKey))
}

// count returns how many Pods there are.
func (p *pods) count() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.byKey)
}

// keys returns the keys of all Pods.
func (p *pods) keys() []objectKey {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Collect(maps.Keys(p.byKey))
}

// in reports whether a Pod in namespace has addr.
func (p *pods) in(namespace string, addr netip.Addr) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.ContainsFunc(p.byAddr[addr], func(spec *podSpec) bool { return spec.namespace == namespace })
}

// at returns the Pod that has addr, or nil. Of several, which share a node's address, it is always the same one.
func (p *pods) at(addr netip.Addr) *podSpec {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var first *podSpec
	for _, spec := range p.byAddr[addr] {
		if first == nil || spec.compare(first.objectKey) < 0 {
			first = spec
		}
	}
	return first
}
