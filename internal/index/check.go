package index

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
)

// Check verifies the index's invariants.
func (x *Index) Check() error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	endpoints := make(map[*endpoint]bool)
	names := make(map[*endpoint]bool)
	for e := range x.byAddr.all() {
		if endpoints[e] || e.in.slice == nil {
			return fmt.Errorf("endpoint %v of %s: listed twice, dirty or dead", e.label(), e.svc.name)
		}
		endpoints[e] = true
		if e.name != "" {
			names[e] = true
		}
	}
	for e := range x.byName.all() {
		if o := x.byName.after(e); o != nil && (!e.shared || !o.shared) {
			return fmt.Errorf("name of endpoint %v of %s: not known as shared", e.label(), e.svc.name)
		}
		if !names[e] {
			return fmt.Errorf("name of endpoint %v of %s: listed twice or dead", e.label(), e.svc.name)
		}
		delete(names, e)
	}
	if len(names) > 0 {
		return fmt.Errorf("%d endpoints are not found by name", len(names))
	}
	if err := x.checkClusters(endpoints); err != nil {
		return err
	}
	if err := x.checkSlices(endpoints); err != nil {
		return err
	}
	if err := x.checkPlaces(endpoints); err != nil {
		return err
	}
	owners := make(map[netip.Addr]int)
	clusterIPs := make(map[netip.Addr][]*service)
	for name, ns := range x.namespaces {
		if name != ns.name || !ns.exists && len(ns.services) == 0 {
			return fmt.Errorf("namespace %q is kept as %q without a reason", ns.name, name)
		}
		for _, svc := range ns.services {
			if err := x.checkService(svc, endpoints); err != nil {
				return fmt.Errorf("service %s/%s: %w", name, svc.name, err)
			}
			for _, addr := range svc.spec.Addresses() {
				clusterIPs[addr] = append(clusterIPs[addr], svc)
			}
			for _, addr := range svc.claimedIPs(x.ignoreEmpty) {
				owners[addr]++
			}
			for f, set := range svc.ready {
				for i := range len(set) / model.Family(f).Size() {
					if svc.claimsEndpoints() {
						owners[set.at(i, model.Family(f))]++
					}
				}
			}
		}
	}
	for addr, services := range clusterIPs {
		if len(x.clusterIPs[addr]) != len(services) {
			return fmt.Errorf("ClusterIP %v is of %d Services, want %d", addr,
				len(x.clusterIPs[addr]), len(services))
		}
	}
	if len(x.clusterIPs) != len(clusterIPs) {
		return fmt.Errorf("%d ClusterIPs, want %d", len(x.clusterIPs), len(clusterIPs))
	}
	if err := x.checkReverse(owners); err != nil {
		return err
	}
	return x.checkExternals()
}

func (x *Index) checkClusters(endpoints map[*endpoint]bool) error {
	clusters := make(map[hostKey][3]int32)
	for e := range endpoints {
		if _, cluster, ok := strings.Cut(e.name, "."); ok {
			n := clusters[hostKey{e.svc, cluster}]
			n[e.state]++
			clusters[hostKey{e.svc, cluster}] = n
		}
	}
	if !maps.Equal(clusters, x.clusters) {
		return fmt.Errorf("endpoints by cluster %v, want %v", x.clusters, clusters)
	}
	return nil
}

func (x *Index) checkExternals() error {
	externals := make(map[netip.Addr]map[*service]bool)
	reverse := make(reverseTree)
	for _, ns := range x.namespaces {
		for _, svc := range ns.services {
			if !svc.shown || svc.spec.External == nil {
				continue
			}
			for _, addr := range svc.spec.External.Addrs {
				if externals[addr] == nil {
					externals[addr] = make(map[*service]bool)
					reverse.grow(addr, +1)
				}
				externals[addr][svc] = true
			}
		}
	}
	for addr, services := range x.externals {
		if len(services) == 0 || len(services) != len(externals[addr]) {
			return fmt.Errorf("external address %v is of %d Services, want %d", addr, len(services),
				len(externals[addr]))
		}
		for _, svc := range services {
			if !externals[addr][svc] {
				return fmt.Errorf("external address %v is not of Service %s", addr, svc.name)
			}
		}
	}
	if len(x.externals) != len(externals) {
		return fmt.Errorf("%d external addresses, want %d", len(x.externals), len(externals))
	}
	if !maps.Equal(x.externalReverse, reverse) {
		return fmt.Errorf("reverse tree of the external addresses %v, want %v", x.externalReverse, reverse)
	}
	return nil
}

func (x *Index) checkSlices(endpoints map[*endpoint]bool) error {
	counts := make(map[*service]int)
	occurrences, held := 0, 0
	for sl := range x.slices.all() {
		counts[sl.svc]++
		if len(sl.sums) > 0 && len(sl.sums) != len(sl.endpoints) {
			return fmt.Errorf("slice %v has %d sums of %d endpoints", sl.id(), len(sl.sums), len(sl.endpoints))
		}
		for _, e := range sl.endpoints {
			listed := 0
			for o := &e.in; o != nil; o = o.next {
				if o.slice == sl {
					listed++
				}
			}
			if !endpoints[e] || e.svc != sl.svc || listed != 1 {
				return fmt.Errorf("slice %v: endpoint %v is unknown, another Service's, or not listed once", sl.id(), e.label())
			}
			occurrences++
		}
	}
	for _, h := range x.holds.queue {
		if h.endpoints != nil {
			counts[h.svc]++
		}
		for _, e := range h.endpoints {
			if e.in.slice == &h.slice {
				if !endpoints[e] || !e.isHeld() || e.in.next != nil || e.in.state != model.Ready ||
					e.svc != h.svc || e.svc.spec == nil {
					return fmt.Errorf("endpoint %v is held, and %+v", e.label(), e.in)
				}
				occurrences++
				held++
			}
		}
	}
	if n := x.holds.counts; n.Now != held ||
		n.Total != held+n.Ended[holdReturned]+n.Ended[holdExpired]+
			n.Ended[holdSuperseded]+n.Ended[holdOrphaned] {
		return fmt.Errorf("%d endpoints are held, and counted as %+v", held, n)
	}
	for e := range endpoints {
		for o := &e.in; o != nil; o = o.next {
			occurrences--
		}
	}
	if occurrences != 0 {
		return fmt.Errorf("slices and endpoints differ by %d occurrences", occurrences)
	}
	for svc, n := range counts {
		linked := 0
		for sl := svc.slices; sl != nil; sl = sl.sibling {
			linked++
		}
		if linked != n {
			return fmt.Errorf("service %s has %d slices, want %d", svc.name, linked, n)
		}
	}
	return nil
}

func (x *Index) checkService(svc *service, endpoints map[*endpoint]bool) error {
	if svc.spec == nil && svc.slices == nil {
		return fmt.Errorf("kept without a reason")
	}
	if svc.shown != (svc.spec != nil && svc.ns.exists) {
		return fmt.Errorf("shown is %v", svc.shown)
	}
	if svc.ownsIPs != (len(svc.claimedIPs(x.ignoreEmpty)) > 0) {
		return fmt.Errorf("owns its ClusterIPs: %v", svc.ownsIPs)
	}
	var states [3]int32
	addrs := make(map[netip.Addr]bool) // ready; true once its position is found
	ports := make(map[model.Label][]model.Port)
	mixed := make(map[model.Label]bool)
	readies := make(map[model.Label]bool) // names with a ready endpoint; true once its target is found
	target := func(e *endpoint) model.Label {
		if e.name == "" {
			return e.label()
		}
		return model.Label{Name: e.name}
	}
	for e := range endpoints {
		if e.svc != svc {
			continue
		}
		states[e.state]++
		if e.state != e.best() {
			return fmt.Errorf("endpoint %v has state %d, want %d", e.label(), e.state, e.best())
		}
		if e.owns != (e.holds && svc.claimsEndpoints()) {
			return fmt.Errorf("endpoint %v, which holds its address (%v), owns it: %v", e.label(), e.holds, e.owns)
		}
		if e.state == model.Ready {
			addrs[e.addr()] = false
			readies[target(e)] = false
			if known, ok := ports[target(e)]; ok && !slices.Equal(known, e.ports()) {
				mixed[target(e)] = true
			}
			ports[target(e)] = model.Union(ports[target(e)], e.ports())
		}
	}
	if states != svc.states {
		return fmt.Errorf("states %v, want %v", svc.states, states)
	}
	for e := range endpoints {
		if e.svc != svc || !e.holds {
			continue
		}
		if found, ok := addrs[e.addr()]; !ok || found {
			return fmt.Errorf("address %v is held by %v: not ready, or twice", e.addr(), e.label())
		}
		addrs[e.addr()] = true
	}
	for addr, found := range addrs {
		if !found {
			return fmt.Errorf("address %v is held by no endpoint", addr)
		}
	}
	for f, set := range svc.ready {
		ordered := setOf(slices.Collect(maps.Keys(addrs)), model.Family(f))
		if !slices.Equal(set, ordered) {
			return fmt.Errorf("ready addresses %v, want %v", set, ordered)
		}
	}
	n := 0
	if !slices.IsSortedFunc(svc.groups, (*group).compare) {
		return fmt.Errorf("the groups are not in order")
	}
	for _, g := range svc.groups {
		if len(g.targets) == 0 {
			return fmt.Errorf("a group is empty")
		}
		if !slices.IsSortedFunc(g.targets, func(a, b *endpoint) int { return compareLabels(a.label(), b.label()) }) {
			return fmt.Errorf("the targets of %v are not in order", g.ports)
		}
		for _, e := range g.targets {
			found, ok := readies[target(e)]
			if !ok || found || e.group != g || e.svc != svc ||
				e.mixed != mixed[target(e)] || !slices.Equal(g.ports, ports[target(e)]) {
				return fmt.Errorf("target %v: not ready, twice, misplaced, or ports %v, want %v",
					e.label(), g.ports, ports[target(e)])
			}
			readies[target(e)] = true
			n++
		}
	}
	if int(svc.mixed) != len(mixed) {
		return fmt.Errorf("%d mixed targets, want %d", svc.mixed, len(mixed))
	}
	if n != len(readies) {
		return fmt.Errorf("%d targets, want %d", n, len(readies))
	}
	return x.checkRegions(svc, endpoints)
}

// checkRegions verifies that the regions of svc are what its endpoints say.
func (x *Index) checkRegions(svc *service, endpoints map[*endpoint]bool) error {
	var want regions
	addrs := [2]map[resident]bool{make(map[resident]bool), make(map[resident]bool)}
	names := make(map[model.Label]*endpoint) // the SRV targets
	for _, g := range svc.groups {
		for _, e := range g.targets {
			names[e.ownLabel()] = e
		}
	}
	targets := make(map[resident]bool)
	for e := range endpoints {
		if e.svc != svc || e.state != model.Ready {
			if e.svc == svc && e.hinted != 0 {
				return fmt.Errorf("endpoint %v is not ready, and counted as hinted", e.label())
			}
			continue
		}
		f := model.FamilyOf(e.addr())
		has := isCounted
		for o := &e.in; o != nil; o = o.next {
			has |= x.places.all[o.place].hints
		}
		want.counts[f].add(has, +1)
		if svc.regions != nil && e.hinted != has {
			return fmt.Errorf("endpoint %v is hinted by %b, want %b", e.label(), e.hinted, has)
		}
		for r := range x.regionsOf(e) {
			addrs[f][resident{r, x.holder(svc, e.addr())}] = true
			targets[resident{r, names[e.ownLabel()]}] = true
		}
	}
	divided := svc.spec != nil && svc.spec.Kind == model.Headless && len(targets) > 0
	if divided != (svc.regions != nil) {
		return fmt.Errorf("it has regions: %v, want %v", svc.regions != nil, divided)
	}
	if !divided {
		return nil
	}
	if svc.regions.counts != want.counts {
		return fmt.Errorf("hints are counted as %v, want %v", svc.regions.counts, want.counts)
	}
	for f := range addrs {
		for _, m := range slices.SortedFunc(maps.Keys(addrs[f]), resident.compareAddrs) {
			want.addrs[f].regions = append(want.addrs[f].regions, m.region)
			want.addrs[f].addrs = model.AppendAddr(want.addrs[f].addrs, m.addr())
		}
		if got := svc.regions.addrs[f]; !slices.Equal(got.regions, want.addrs[f].regions) || !slices.Equal(got.addrs, want.addrs[f].addrs) {
			return fmt.Errorf("addresses by regions %v, want %v", got, want.addrs[f])
		}
	}
	for _, m := range slices.SortedFunc(maps.Keys(targets), resident.compareNames) {
		want.targets.regions, want.targets.targets = append(want.targets.regions, m.region), append(want.targets.targets, m.endpoint)
	}
	if got := svc.regions.targets; !slices.Equal(got.regions, want.targets.regions) || !slices.Equal(got.targets, want.targets.targets) {
		return fmt.Errorf("targets by regions %v, want %v", got, want.targets)
	}
	return nil
}

// checkPlaces verifies that places and regions are kept as long as they are used.
func (x *Index) checkPlaces(endpoints map[*endpoint]bool) error {
	uses, regions := make(map[uint32]int32), make(map[region]int32)
	for e := range endpoints {
		for o := &e.in; o != nil; o = o.next {
			if o.place != 0 {
				uses[o.place]++
			}
		}
	}
	for at := range uses {
		p := &x.places.all[at]
		if p.uses != uses[at] || x.places.known[p.placed] != at {
			return fmt.Errorf("place %+v is used %d times, want %d", p, p.uses, uses[at])
		}
		for _, r := range p.regions {
			regions[r]++
		}
	}
	if len(uses) != len(x.places.known) || len(uses)+len(x.places.free)+1 != len(x.places.all) {
		return fmt.Errorf("%d places of %d are free and %d known, want %d known", len(x.places.free), len(x.places.all), len(x.places.known), len(uses))
	}
	for name, n := range x.places.names {
		if n.uses != regions[n.region] {
			return fmt.Errorf("region %v has %d places, want %d", name, n.uses, regions[n.region])
		}
	}
	if len(x.places.names) != len(regions) || len(regions)+len(x.places.freeRegions) != int(x.places.numRegions) {
		return fmt.Errorf("%d regions are named and %d free of %d, want %d named", len(x.places.names), len(x.places.freeRegions), x.places.numRegions, len(regions))
	}
	return nil
}

func (x *Index) checkReverse(owners map[netip.Addr]int) error {
	reverse := make(map[netip.Prefix]map[netip.Prefix]bool)
	for addr, n := range owners {
		if x.owners(addr) != n {
			return fmt.Errorf("address %v has %d owners, want %d", addr, x.owners(addr), n)
		}
		for p := netip.PrefixFrom(addr, addr.BitLen()); p.Bits() > 0; p = qname.Parent(p) {
			if reverse[qname.Parent(p)] == nil {
				reverse[qname.Parent(p)] = make(map[netip.Prefix]bool)
			}
			reverse[qname.Parent(p)][p] = true
		}
	}
	for addr := range (Frozen{x}).Owned() {
		if owners[addr] == 0 {
			return fmt.Errorf("address %v has owners, want none", addr)
		}
	}
	for p, children := range reverse {
		if x.reverse[p] != len(children) {
			return fmt.Errorf("reverse name of %v has %d names below it, want %d", p, x.reverse[p],
				len(children))
		}
	}
	if len(reverse) != len(x.reverse) {
		return fmt.Errorf("%d names in the reverse trees, want %d", len(x.reverse), len(reverse))
	}
	return nil
}
