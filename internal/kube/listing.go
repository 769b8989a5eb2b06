package kube

import (
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coredns-headless/headless/internal/model"
)

// Listing knows which of some resources have been listed. It is complete once all of them have been,
// and stays complete. Before that the cluster is known, once all but those of other clusters have been.
type Listing struct {
	OnList     func() // called before a resource counts as listed; set before the first is
	OnComplete func() // called once it is complete; set before that

	complete   chan struct{} // closed once it is
	isComplete atomic.Bool
	isKnown    atomic.Bool
	isSettled  atomic.Bool
	mu         sync.Mutex // guards the fields below
	waiting    map[string]bool
	awaited    map[model.Key]bool // the ServiceImports that EndpointSlices may come for
}

// NewListing returns a Listing of resources, none of which has been listed yet.
func NewListing(resources ...string) *Listing {
	l := &Listing{
		OnList: func() {}, OnComplete: func() {}, complete: make(chan struct{}),
		waiting: make(map[string]bool), awaited: make(map[model.Key]bool),
	}
	for _, r := range resources {
		l.waiting[r] = true
	}
	return l
}

// Complete returns a channel that is closed once l is complete.
func (l *Listing) Complete() <-chan struct{} { return l.complete }

// IsComplete reports whether l is complete. It is cheap.
func (l *Listing) IsComplete() bool { return l.isComplete.Load() }

// IsKnown reports whether all has been listed but, perhaps, what is imported from other clusters. It is cheap.
func (l *Listing) IsKnown() bool { return l.isKnown.Load() }

// IsSettled reports whether all is known of the ServiceImports that there are: l is complete, or lacks the EndpointSlices of
// ServiceImports, while each of these says that it has none. It is cheap.
func (l *Listing) IsSettled() bool { return l.isSettled.Load() }

// await notes whether EndpointSlices may come for a ServiceImport.
func (l *Listing) await(key model.Key, may bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if may {
		l.awaited[key] = true
	} else {
		delete(l.awaited, key)
	}
	l.settle()
}

// awaitOnly notes that there are no ServiceImports but those listed.
func (l *Listing) awaitOnly(listed map[model.Key]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.awaited, func(key model.Key, _ bool) bool { return !listed[key] })
	l.settle()
}

// settle works out isSettled. l.mu is held.
func (l *Listing) settle() {
	onlyImported := len(l.waiting) == 1 && l.waiting[Imported]
	l.isSettled.Store(len(l.waiting) == 0 || onlyImported && len(l.awaited) == 0)
}

// Listed notes that a resource has been listed.
func (l *Listing) Listed(resource string) {
	l.OnList()
	l.mu.Lock()
	delete(l.waiting, resource)
	if !slices.ContainsFunc(slices.Collect(maps.Keys(l.waiting)), isOfThisCluster) {
		l.isKnown.Store(true)
	}
	l.settle()
	completes := len(l.waiting) == 0 && !l.isComplete.Load()
	if completes {
		l.isComplete.Store(true)
		close(l.complete)
	}
	l.mu.Unlock()
	if completes {
		l.OnComplete()
	}
}

// isOfThisCluster reports whether a resource says something of the cluster's own Services.
func isOfThisCluster(resource string) bool { return resource != Imports && resource != Imported }

// Missing returns the resources not listed yet, sorted.
func (l *Listing) Missing() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.waiting))
}

// Clock knows of each of some resources when its source last said something of it. The map is never modified.
type Clock map[string]*Times

// Times say when a resource was heard of last, and listed, and since when it cannot be watched. They are Unix times
// in nanoseconds, 0 for never.
type Times struct {
	Heard, Listed, Failing atomic.Int64
	isOptional             bool // names can be answered without it
}

func newClock(isOptional func(resource string) bool, resources ...string) Clock {
	c := make(Clock)
	for _, r := range resources {
		c[r] = &Times{isOptional: isOptional(r)}
	}
	return c
}

// heard notes that the API server said something of a resource.
func (c Clock) heard(resource string) {
	if at := c[resource]; at != nil {
		at.Heard.Store(time.Now().UnixNano())
	}
}

// listed notes that a resource has been listed.
func (c Clock) listed(resource string) {
	c.heard(resource)
	if at := c[resource]; at != nil {
		at.Listed.Store(at.Heard.Load())
	}
}

// Confirmed returns when every resource that answers need had been heard of last.
func (c Clock) Confirmed() time.Time {
	first := int64(math.MaxInt64)
	for _, at := range c {
		if !at.isOptional {
			first = min(first, at.Heard.Load())
		}
	}
	return time.Unix(0, first)
}
