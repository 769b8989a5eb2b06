package index

import (
	"net/netip"

	"github.com/coredns-headless/headless/internal/model"
)

// places are those that slices give their endpoints, each once, counted by the occurrences that have it.
type places struct {
	all   []place // the first is that of endpoints of which nothing is known
	known map[model.Placed]uint32
	free  []uint32 // positions in all
	names map[regionName]*namedRegion
	// numRegions is the greatest region, freeRegions are those below it that have no name.
	numRegions  region
	freeRegions []region
}

// place is a model.Place.
type place struct {
	placed  model.Placed
	regions []region // that an endpoint here is in
	uses    int32
	hints   hinted
}

// region stands for the ready endpoints of any Service that are in one topology zone, or meant for the
// clients in one topology zone or on one node. The zero value stands for all of them.
type region uint32

// regionName tells what a region is.
type regionName struct {
	kind regionKind
	name string
}

type regionKind uint8

const (
	inZone  regionKind = iota // the endpoints in a topology zone, where there are names of it
	forZone                   // those with a hint for a topology zone
	forNode                   // those with a hint for a node
)

// namedRegion is a region, and how many places are in it.
type namedRegion struct {
	region
	uses int32
}

func newPlaces() places {
	return places{
		all: make([]place, 1), known: make(map[model.Placed]uint32), names: make(map[regionName]*namedRegion),
	}
}

// regionOf returns the region of a name. Without an endpoint in it ok is false.
func (p *places) regionOf(kind regionKind, name string) (r region, ok bool) {
	n, ok := p.names[regionName{kind, name}]
	if !ok {
		return 0, false
	}
	return n.region, true
}

// take returns the position of a place, which has one use more until it is given back.
func (p *places) take(placed model.Placed) uint32 {
	if placed == (model.Placed{}) {
		return 0
	}
	at, ok := p.known[placed]
	if !ok {
		if n := len(p.free); n > 0 {
			at, p.free = p.free[n-1], p.free[:n-1]
		} else {
			at, p.all = uint32(len(p.all)), append(p.all, place{}) //nolint:gosec // fewer than endpoints
		}
		p.all[at] = p.placeOf(placed)
		p.known[placed] = at
	}
	p.all[at].uses++
	return at
}

// placeOf returns what placed stands for, in regions that may be new.
func (p *places) placeOf(placed model.Placed) place {
	said := placed.Place()
	made := place{placed: placed}
	for name := range regionNames(said) {
		made.regions = append(made.regions, p.enter(name))
		switch name.kind {
		case forZone:
			made.hints |= hintedZones
		case forNode:
			made.hints |= hintedNodes
		}
	}
	return made
}

// regionNames yields the names of the regions that an endpoint with a place is in.
func regionNames(said model.Place) func(yield func(regionName) bool) {
	return func(yield func(regionName) bool) {
		if said.Zonal && said.Zone != "" && !yield(regionName{inZone, said.Zone}) {
			return
		}
		for name := range said.ForZones.All() {
			if !yield(regionName{forZone, name}) {
				return
			}
		}
		for name := range said.ForNodes.All() {
			if !yield(regionName{forNode, name}) {
				return
			}
		}
	}
}

// enter returns the region of a name, which has one place more.
func (p *places) enter(name regionName) region {
	n := p.names[name]
	if n == nil {
		n = new(namedRegion)
		if last := len(p.freeRegions) - 1; last >= 0 {
			n.region, p.freeRegions = p.freeRegions[last], p.freeRegions[:last]
		} else {
			p.numRegions++
			n.region = p.numRegions
		}
		p.names[name] = n
	}
	n.uses++
	return n.region
}

// give gives back the place at a position.
func (p *places) give(at uint32) {
	if at == 0 {
		return
	}
	gone := &p.all[at]
	if gone.uses--; gone.uses > 0 {
		return
	}
	for name := range regionNames(gone.placed.Place()) {
		n := p.names[name]
		if n.uses--; n.uses == 0 {
			p.freeRegions = append(p.freeRegions, n.region)
			delete(p.names, name)
		}
	}
	delete(p.known, gone.placed)
	*gone = place{}
	p.free = append(p.free, at)
}

// regionsOf yields the regions that slices put e into. It may yield one several times.
func (x *Index) regionsOf(e *endpoint) func(yield func(region) bool) {
	return func(yield func(region) bool) {
		for o := &e.in; o != nil; o = o.next {
			for _, r := range x.places.all[o.place].regions {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// isIn reports whether a slice puts e into r.
func (x *Index) isIn(e *endpoint, r region) bool {
	for own := range x.regionsOf(e) {
		if own == r {
			return true
		}
	}
	return false
}

// leavePlace notes that an occurrence of e has no use any more for the place at a position.
func (c *change) leavePlace(e *endpoint, at uint32) {
	if at != 0 {
		c.departed = append(c.departed, departure{e, at})
	}
}

// departure is that of an endpoint from a place.
type departure struct {
	e    *endpoint
	from uint32
}

// Locate returns the topology zone and the node of the endpoints with addr, of any Service, shown or not. Each of the two
// is "" if no endpoint's is known, or if those that are known differ.
func (x *Index) Locate(addr netip.Addr) (at model.Location) {
	var zones, nodes consent
	x.mu.RLock()
	defer x.mu.RUnlock()
	for e := x.byAddr.first(addr.As16()); e != nil; e = x.byAddr.after(e) {
		for o := &e.in; o != nil; o = o.next {
			said := x.places.all[o.place].placed.Place()
			zones.add(said.Zone)
			nodes.add(said.Node)
		}
	}
	return model.Location{Zone: zones.word(), Node: nodes.word()}
}

// NamespaceOf returns the one Namespace with endpoints that have addr. It returns "" if no Namespace has any, or several
// have. Namespaces that are not served do not count. Whoever may write EndpointSlices has a say in it.
func (x *Index) NamespaceOf(addr netip.Addr) string {
	var namespaces consent
	x.mu.RLock()
	defer x.mu.RUnlock()
	for e := x.byAddr.first(addr.As16()); e != nil; e = x.byAddr.after(e) {
		if e.svc.ns.exists {
			namespaces.add(e.svc.ns.name)
		}
	}
	return namespaces.word()
}

// consent is what several say, as long as all that say something say the same.
type consent struct {
	said   string
	differ bool
}

func (c *consent) add(word string) {
	switch {
	case word == "":
	case c.said == "":
		c.said = word
	default:
		c.differ = c.differ || c.said != word
	}
}

func (c *consent) word() string {
	if c.differ {
		return ""
	}
	return c.said
}
