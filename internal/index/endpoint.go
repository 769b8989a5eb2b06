package index

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/model"
)

// Endpoint is an endpoint of a Service as the index has it, for people. It belongs to the caller.
type Endpoint struct {
	Addr  netip.Addr
	State model.State
	// Names are the labels that name it below its Service. The first is its own, which SRV and PTR
	// records have.
	Names []string
	// Topologies are the topology zones that slices say it is in, sorted. The list is empty unless
	// x keeps topology zones.
	Topologies []string
	// ForZones and ForNodes are the topology zones and the nodes of the clients that it is meant for, sorted, as far as x
	// keeps hints.
	ForZones, ForNodes []string
	Standing           Standing
	// Answers says that it counts for its own name: that the name has its address.
	Answers bool
}

// sighting is what a walk sees of an endpoint.
type sighting struct {
	addr     netip.Addr
	name     string
	isDashed bool // its dashed address names it, as well or alone
	state    model.State
	standing Standing
	places   []model.Placed
}

// Endpoints returns the first limit endpoints of a Service, whether it is shown or not, in the order of their addresses and
// names. It costs what the Service holds, and sees those slices that change meanwhile before or after that.
func (x *Index) Endpoints(key model.Key, limit int) []Endpoint {
	all, doAnswer, least := x.sightings(key)
	isReady := make(map[string]bool) // by the names of those that are
	for i := range all {
		if all[i].state == model.Ready {
			for _, name := range all[i].names() {
				isReady[name] = true
			}
		}
	}
	var shown []Endpoint
	for i := range all[:min(len(all), limit)] {
		e := all[i].shown()
		e.Answers = doAnswer && (e.State == model.Ready || e.State >= least && !isReady[e.Names[0]])
		shown = append(shown, e)
	}
	return shown
}

// sightings returns the endpoints of a Service in order, whether any of them answers to its name, and the least state of
// those that do where none of the name is ready.
func (x *Index) sightings(key model.Key) (all []sighting, doAnswer bool, least model.State) {
	w := x.walk()
	if svc := x.peek(key.Namespace, key.Name); svc != nil {
		doAnswer, least = svc.claimsEndpoints(), x.hostnames(svc).Least()
		for e := range w.listed(svc) {
			all = append(all, x.sighting(e))
		}
	}
	w.end()
	compare := func(a, b sighting) int {
		return cmp.Or(a.addr.Compare(b.addr), strings.Compare(a.name, b.name))
	}
	slices.SortFunc(all, compare)
	return slices.CompactFunc(all, func(a, b sighting) bool { return compare(a, b) == 0 }), doAnswer, least
}

func (x *Index) sighting(e *endpoint) sighting {
	seen := sighting{addr: e.addr(), name: e.name, isDashed: e.dashed(), state: e.state, standing: e.standing()}
	for o := &e.in; o != nil; o = o.next {
		if o.place != 0 {
			seen.places = append(seen.places, x.places.all[o.place].placed)
		}
	}
	return seen
}

// names returns the labels that name s, its own first.
func (s *sighting) names() []string {
	if !s.isDashed {
		return []string{s.name}
	}
	dashed := string(model.AppendDashed(nil, s.addr))
	if s.name == "" || s.name == dashed {
		return []string{dashed}
	}
	return []string{s.name, dashed}
}

// shown returns s as people are to see it.
func (s *sighting) shown() Endpoint {
	shown := Endpoint{Addr: s.addr, State: s.state, Names: s.names(), Standing: s.standing}
	for _, placed := range s.places {
		at := placed.Place()
		if at.Zone != "" {
			shown.Topologies = append(shown.Topologies, at.Zone)
		}
		shown.ForZones = slices.AppendSeq(shown.ForZones, at.ForZones.All())
		shown.ForNodes = slices.AppendSeq(shown.ForNodes, at.ForNodes.All())
	}
	for _, names := range []*[]string{&shown.Topologies, &shown.ForZones, &shown.ForNodes} {
		slices.Sort(*names)
		*names = slices.Compact(*names)
	}
	return shown
}
