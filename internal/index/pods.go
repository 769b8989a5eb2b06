package index

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/coredns-headless/headless/internal/model"
)

// Pods holds the Pods of a cluster by address: for their names below pod, and for what other
// plugins ask about a client. Its methods are safe for concurrent use.
type Pods struct {
	mu      sync.RWMutex // guards the fields below
	byKey   map[model.Key]*model.Pod
	byAddr  map[netip.Addr][]*model.Pod // no list is empty
	changes uint64                      // so far
}

// NewPods returns an empty Pods.
func NewPods() *Pods {
	return &Pods{byKey: make(map[model.Key]*model.Pod), byAddr: make(map[netip.Addr][]*model.Pod)}
}

// Put adds a Pod or replaces it.
func (p *Pods) Put(spec *model.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.byKey[spec.Key]
	if old != nil && slices.Equal(old.Addrs, spec.Addrs) && maps.Equal(old.Labels, spec.Labels) &&
		old.Leaving == spec.Leaving && old.Host == spec.Host && old.Node == spec.Node {
		return
	}
	p.changes++
	p.byKey[spec.Key] = spec
	for _, addr := range spec.Addrs {
		p.byAddr[addr] = append(p.byAddr[addr], spec)
	}
	p.forget(old)
}

// Drop removes a Pod.
func (p *Pods) Drop(key model.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.byKey[key]; old != nil {
		p.changes++
		p.forget(old)
		delete(p.byKey, key)
	}
}

// Replace makes specs all the Pods there are.
func (p *Pods) Replace(specs iter.Seq[*model.Pod]) { replace(specs, p.Put, p.Drop, p.Keys) }

// forget takes spec, which may be nil, from the addresses that it has.
func (p *Pods) forget(spec *model.Pod) {
	if spec == nil {
		return
	}
	for _, addr := range spec.Addrs {
		if p.byAddr[addr] = without(p.byAddr[addr], spec); len(p.byAddr[addr]) == 0 {
			delete(p.byAddr, addr)
		}
	}
}

// Version returns a number that grows with each change.
func (p *Pods) Version() uint64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.changes
}

// All returns all Pods. Like a walk through an index it lets others have their turn now and then.
func (p *Pods) All() []*model.Pod {
	p.mu.RLock()
	defer p.mu.RUnlock()
	all := make([]*model.Pod, 0, len(p.byKey))
	for _, spec := range p.byKey {
		if all = append(all, spec); len(all)%portion == 0 {
			p.mu.RUnlock()
			p.mu.RLock()
		}
	}
	return all
}

// Count returns how many Pods there are.
func (p *Pods) Count() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.byKey)
}

// Keys returns the keys of all Pods.
func (p *Pods) Keys() []model.Key {
	var keys []model.Key
	for _, spec := range p.All() {
		keys = append(keys, spec.Key)
	}
	return keys
}

// In reports whether a Pod in namespace, one that is not leaving, has addr.
func (p *Pods) In(namespace string, addr netip.Addr) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.ContainsFunc(p.byAddr[addr],
		func(spec *model.Pod) bool { return spec.Namespace == namespace && !spec.Leaving })
}

// At returns the Pod that has addr, or nil, and the node that it is on, or "". Of one that leaves and one
// that has its address next it is the latter. Of Pods in the network of their node, which share its
// address, none can be told from the others, and only the node is known.
func (p *Pods) At(addr netip.Addr) (pod *model.Pod, node string) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	all := p.byAddr[addr]
	if staying := slices.DeleteFunc(slices.Clone(all), func(spec *model.Pod) bool { return spec.Leaving }); len(staying) > 0 {
		all = staying
	}
	var nodes consent
	for _, spec := range all {
		nodes.add(spec.Node)
	}
	if len(all) != 1 || all[0].Host {
		return nil, nodes.word()
	}
	return all[0], nodes.word()
}
