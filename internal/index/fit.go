package index

import (
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
)

// A name of more than 255 octets does not exist, for nobody could read a message with it. Which
// names those are depends on the zone. An endpoint that cannot be called by its name there is called
// by its dashed address; one that cannot be called by that either has no SRV and no PTR record, and
// keeps its address at the Service's name.

// maxName is how many octets a name may have in a message.
const maxName = 255

// RoomIn returns the Part.Room of names below Services in a zone, whose name has size octets in a
// message.
func RoomIn(size int) int { return maxName - size - len("svc") - 1 }

// spare returns how many octets the labels of an endpoint of svc may have in a message.
func (svc *service) spare(room int) int {
	if room == 0 {
		return math.MaxInt
	}
	return room - len(svc.name) - len(svc.ns.name) - 2
}

// fitsAll reports whether every endpoint that x can hold may be called by its name.
func (x *Index) fitsAll(spare int) bool {
	const label = 63 + 1
	return spare >= 2*label || spare >= label && len(x.clusters) == 0
}

// isNamed reports whether e has a name, and may be called by it.
func (e *endpoint) isNamed(spare int) bool { return e.name != "" && len(e.name)+1 <= spare }

// fitting returns what e may be called: its label, or else its dashed address, in its cluster if it is
// of one.
func (e *endpoint) fitting(spare int) (label model.Label, ok bool) {
	if e.isNamed(spare) {
		return e.label(), true
	}
	var room [model.MaxDashed]byte
	label, dashed := model.Label{Addr: e.addr()}, model.AppendDashed(room[:0], e.addr())
	if cluster := clusterOf(e.name); cluster != "" {
		label.Name = string(dashed) + "." + cluster
		return label, len(label.Name)+1 <= spare
	}
	return label, len(dashed)+1 <= spare
}

// clusterOf returns the cluster in the name of an endpoint of a multicluster zone, else "".
func clusterOf(name string) string {
	_, cluster, _ := strings.Cut(name, ".")
	return cluster
}

// dashedOf returns the address that stands for an endpoint in a hostname, perhaps in a cluster.
func dashedOf(q *qname.Name) netip.Addr {
	if host, _, ok := strings.Cut(q.Hostname, "."); ok {
		addr, _ := model.ParseDashed(host)
		return addr
	}
	return q.Addr
}

// fittingTargets is srvTargets for a Service whose endpoints may not all be called by their names. It
// looks at each of them that the client gets. overlong is how many are not called by their own names.
func (x *Index) fittingTargets(svc *service, q *qname.Name, p Part, spare int, isChosen func(*endpoint) bool) (targets []Target, total, overlong int) {
	add := func(ports []model.Port, label model.Label, addrs []netip.Addr) {
		if numbers := match(ports, q); len(numbers) > 0 {
			targets = append(targets, Target{Label: label, Ports: numbers, Addrs: addrs})
		}
	}
	var all []Target
	for _, g := range svc.groups {
		at := len(targets)
		for _, e := range g.targets {
			if !x.isAnyOf(e, isChosen) {
				continue
			}
			if label, ok := e.fitting(spare); ok && label.Name == e.name {
				add(g.ports, label, x.appendReady(nil, e))
				continue
			}
			for o := range x.sharing(e) {
				if !isChosen(o) {
					continue
				}
				overlong++
				if label, ok := o.fitting(spare); ok {
					add(o.ports(), label, []netip.Addr{o.addr()})
				}
			}
		}
		slices.SortFunc(targets[at:], func(a, b Target) int { return compareLabels(a.Label, b.Label) })
	}
	all, total = pickTargets(targets, p)
	return all, total, overlong
}
