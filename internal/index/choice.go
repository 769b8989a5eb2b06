package index

import "github.com/coredns-headless/headless/internal/model"

// Choice says which of a headless Service's endpoints a client gets, and why (behaviour section 11).
type Choice uint8

// The choices. From ChosenNobody on the answer depends on where the client is.
const (
	NotChosen     Choice = iota // nothing was to be chosen from
	ChosenNoHints               // all: some endpoint has no hints, or the Service does without
	ChosenNobody                // all: none is meant for where the client is
	ChosenUnknown               // all: nobody knows where the client is
	ChosenZone                  // those that are meant for its topology zone
	ChosenNode                  // those that are meant for its node
)

// NumChoices is how many choices there are.
const NumChoices = int(ChosenNode) + 1

// String returns what metrics call c.
func (c Choice) String() string {
	return [...]string{"none", "no_hints", "no_endpoint", "unknown_client", "zone", "node"}[c]
}

// DependsOnClient reports whether a client in another place may get another answer.
func (c Choice) DependsOnClient() bool { return c >= ChosenNobody }

// choose returns the region of the endpoints of family f that a client at a location gets, and why; 0 stands for all of
// them. It chooses as kube-proxy does: by hints for nodes if each ready endpoint has one, and one of them is for the
// client's node; else, in the same way, by hints for topology zones; else all. Without endpoints of that family there is
// nothing to choose.
func (x *Index) choose(svc *service, f model.Family, at model.Location) (region, Choice) {
	if len(svc.ready[f]) == 0 {
		return 0, NotChosen
	}
	s := svc.regions
	if s == nil || svc.spec.NoTopology {
		return 0, ChosenNoHints
	}
	n := &s.counts[f]
	byNode, byZone := n.ready > 0 && n.nodes == n.ready, n.ready > 0 && n.zones == n.ready
	switch {
	case !byNode && !byZone:
		return 0, ChosenNoHints
	case at == model.Location{}:
		return 0, ChosenUnknown
	}
	if r, ok := x.places.regionOf(forNode, at.Node); byNode && ok && len(s.addrs[f].in(r, f)) > 0 {
		return r, ChosenNode
	}
	if r, ok := x.places.regionOf(forZone, at.Zone); byZone && ok && len(s.addrs[f].in(r, f)) > 0 {
		return r, ChosenZone
	}
	return 0, ChosenNobody
}

// chooseTargets notes in v what is chosen of the SRV targets of svc. isOne says that it is the same for
// each family that svc has: those in r.
func (x *Index) chooseTargets(v *View, svc *service, at model.Location) (r region, isOne bool) {
	isOne = true
	for f := range model.Family(len(svc.ready)) {
		if len(svc.ready[f]) == 0 {
			continue
		}
		own, choice := x.choose(svc, f, at)
		isOne = isOne && (v.Choice == NotChosen || own == r)
		r, v.Choice = own, max(v.Choice, choice)
	}
	return r, isOne
}

// chosen returns what reports whether a client that is at a location gets an endpoint of svc.
func (x *Index) chosen(svc *service, at model.Location) func(*endpoint) bool {
	var chosen [2]region
	for f := range chosen {
		chosen[f], _ = x.choose(svc, model.Family(f), at)
	}
	return func(e *endpoint) bool {
		r := chosen[model.FamilyOf(e.addr())]
		return e.state == model.Ready && (r == 0 || x.isIn(e, r))
	}
}

// isAnyOf reports whether one of the endpoints that share e's name is chosen.
func (x *Index) isAnyOf(e *endpoint, isChosen func(*endpoint) bool) bool {
	for o := range x.sharing(e) {
		if isChosen(o) {
			return true
		}
	}
	return false
}

// addrsIn returns the ready addresses of svc in r.
func (svc *service) addrsIn(r region, f model.Family) addressSet {
	if r == 0 {
		return svc.ready[f]
	}
	return svc.regions.addrs[f].in(r, f)
}

// has reports whether a ready endpoint of svc is in r.
func (svc *service) has(r region) bool {
	return svc.regions != nil &&
		len(svc.regions.addrs[model.V4].in(r, model.V4))+len(svc.regions.addrs[model.V6].in(r, model.V6)) > 0
}
