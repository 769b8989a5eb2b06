package headless

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// check verifies the index's invariants.
func (x *index) check() error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if len(x.touched)+len(x.created) != 0 || x.changed || x.changedExternally {
		return fmt.Errorf("a change is not settled: %d endpoints touched, %d created, changed %v, externally %v",
			len(x.touched), len(x.created), x.changed, x.changedExternally)
	}
	endpoints := make(map[*endpoint]bool)
	names := make(map[*endpoint]bool)
	for e := range x.byAddr.all() {
		if endpoints[e] || e.dirty || e.listed || e.in.slice == nil {
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
			for _, addr := range svc.spec.addresses() {
				clusterIPs[addr] = append(clusterIPs[addr], svc)
			}
			for _, addr := range svc.claimedIPs(x.ignoreEmpty) {
				owners[addr]++
			}
			for f, set := range svc.ready {
				for i := range len(set) / family(f).size() {
					if svc.claimsEndpoints() {
						owners[set.at(i, family(f))]++
					}
				}
			}
		}
	}
	for addr, services := range clusterIPs {
		if len(x.clusterIPs[addr]) != len(services) {
			return fmt.Errorf("ClusterIP %v is of %d Services, want %d", addr, len(x.clusterIPs[addr]), len(services))
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

func (x *index) checkClusters(endpoints map[*endpoint]bool) error {
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

func (x *index) checkExternals() error {
	externals := make(map[netip.Addr]map[*service]bool)
	reverse := make(reverseTree)
	for _, ns := range x.namespaces {
		for _, svc := range ns.services {
			if !svc.shown || svc.spec.external == nil {
				continue
			}
			for _, addr := range svc.spec.external.addrs {
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
			return fmt.Errorf("external address %v is of %d Services, want %d", addr, len(services), len(externals[addr]))
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

func (x *index) checkSlices(endpoints map[*endpoint]bool) error {
	counts := make(map[*service]int)
	occurrences, held := 0, 0
	for sl := range x.slices.all() {
		counts[sl.svc]++
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
				if !endpoints[e] || !e.in.held || e.in.next != nil || e.in.state != ready || e.svc != h.svc || e.svc.spec == nil {
					return fmt.Errorf("endpoint %v is held, and %+v", e.label(), e.in)
				}
				occurrences++
				held++
			}
		}
	}
	if n := x.holds.counts; n.now != held || n.total != held+n.ended[holdReturned]+n.ended[holdExpired]+n.ended[holdSuperseded]+n.ended[holdOrphaned] {
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

func (x *index) checkService(svc *service, endpoints map[*endpoint]bool) error {
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
	ports := make(map[hostLabel][]port)
	mixed := make(map[hostLabel]bool)
	readies := make(map[hostLabel]bool) // names with a ready endpoint; true once its target is found
	target := func(e *endpoint) hostLabel {
		if e.name == "" {
			return e.label()
		}
		return hostLabel{name: e.name}
	}
	for e := range endpoints {
		if e.svc != svc {
			continue
		}
		states[e.state]++
		if e.state != e.best() {
			return fmt.Errorf("endpoint %v has state %d, want %d", e.label(), e.state, e.best())
		}
		if e.owns != (e.readyAt >= 0 && svc.claimsEndpoints()) {
			return fmt.Errorf("endpoint %v at position %d owns its address: %v", e.label(), e.readyAt, e.owns)
		}
		if e.state == ready {
			addrs[e.addr()] = false
			readies[target(e)] = false
			if known, ok := ports[target(e)]; ok && !slices.Equal(known, e.ports()) {
				mixed[target(e)] = true
			}
			ports[target(e)] = union(ports[target(e)], e.ports())
		}
	}
	if states != svc.states {
		return fmt.Errorf("states %v, want %v", svc.states, states)
	}
	for e := range endpoints {
		if e.svc != svc || e.readyAt < 0 {
			continue
		}
		f := familyOf(e.addr())
		if found, ok := addrs[e.addr()]; !ok || found || svc.ready[f].at(int(e.readyAt), f) != e.addr() {
			return fmt.Errorf("address %v at position %d: not ready, twice, or another", e.addr(), e.readyAt)
		}
		addrs[e.addr()] = true
	}
	n := 0
	for _, g := range svc.groups {
		if len(g.targets) == 0 {
			return fmt.Errorf("a group is empty")
		}
		for i, e := range g.targets {
			found, ok := readies[target(e)]
			if !ok || found || int(e.targetAt) != i || e.svc != svc || e.mixed != mixed[target(e)] || !slices.Equal(g.ports, ports[target(e)]) {
				return fmt.Errorf("target %v: not ready, twice, misplaced, or ports %v, want %v", e.label(), g.ports, ports[target(e)])
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
	if n := len(svc.ready[v4])/4 + len(svc.ready[v6])/16; n != len(addrs) {
		return fmt.Errorf("%d ready addresses, want %d", n, len(addrs))
	}
	return nil
}

func (x *index) checkReverse(owners map[netip.Addr]int) error {
	reverse := make(map[netip.Prefix]map[netip.Prefix]bool)
	for addr, n := range owners {
		if x.owners(addr) != n {
			return fmt.Errorf("address %v has %d owners, want %d", addr, x.owners(addr), n)
		}
		for p := netip.PrefixFrom(addr, addr.BitLen()); p.Bits() > 0; p = parent(p) {
			if reverse[parent(p)] == nil {
				reverse[parent(p)] = make(map[netip.Prefix]bool)
			}
			reverse[parent(p)][p] = true
		}
	}
	for addr := range x.owned() {
		if owners[addr] == 0 {
			return fmt.Errorf("address %v has owners, want none", addr)
		}
	}
	for p, children := range reverse {
		if x.reverse[p] != len(children) {
			return fmt.Errorf("reverse name of %v has %d names below it, want %d", p, x.reverse[p], len(children))
		}
	}
	if len(reverse) != len(x.reverse) {
		return fmt.Errorf("%d names in the reverse trees, want %d", len(x.reverse), len(reverse))
	}
	return nil
}

// sliceKeys returns the keys of the slices.
func (x *index) sliceKeys() (keys []objectKey) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for sl := range x.slices.all() {
		keys = append(keys, sl.id())
	}
	return keys
}

// model is an index that holds the objects and derives each answer from all of them.
type model struct {
	policy      policy
	ignoreEmpty bool
	namespaces  map[string]bool
	services    map[objectKey]*serviceSpec
	slices      map[objectKey]*sliceSpec
	moved       map[objectKey]bool // those that have been another Service's
	hold        time.Duration
	held        map[modelID]modelHold
}

func newModel(p policy, ignoreEmpty bool) *model {
	return &model{
		policy: p, ignoreEmpty: ignoreEmpty, namespaces: make(map[string]bool),
		services: make(map[objectKey]*serviceSpec), slices: make(map[objectKey]*sliceSpec), moved: make(map[objectKey]bool),
		held: make(map[modelID]modelHold),
	}
}

// modelID is an endpoint of a Service.
type modelID struct {
	service objectKey
	hostLabel
}

// modelHold is what was said of an endpoint that is held.
type modelHold struct {
	endpointSpec
	ports []port
	until time.Time
}

// listed returns the endpoints that slices list.
func (m *model) listed() map[modelID]bool {
	all := make(map[modelID]bool)
	for _, sl := range m.slices {
		for _, e := range sl.endpoints {
			all[modelID{objectKey{sl.namespace, sl.service}, hostLabel{e.name, e.addr}}] = true
		}
	}
	return all
}

// putSlice is what a watch says of a slice that is there.
func (m *model) putSlice(spec *sliceSpec) {
	old, before := m.slices[spec.objectKey], m.listed()
	m.move(old, spec)
	delete(m.slices, spec.objectKey)
	if spec.service != "" {
		m.slices[spec.objectKey] = distinct(spec)
	}
	m.settle(before)
	if old != nil && old.service == spec.service && len(spec.ports) > 0 && !slices.Equal(spec.ports, old.ports) {
		m.holdFrom(old, spec, before)
	}
}

// move notes whether spec, which takes the place of old, has been another Service's.
func (m *model) move(old, spec *sliceSpec) {
	m.moved[spec.objectKey] = old != nil && spec.service != "" && (m.moved[spec.objectKey] || old.service != spec.service)
}

// distinct merges those of a slice's endpoints that have the same address and name: ready if one of them is, named by a hostname if
// one of them is.
func distinct(s *sliceSpec) *sliceSpec {
	seen := make(map[hostLabel]int)
	var kept []endpointSpec
	for _, e := range s.endpoints {
		id := hostLabel{e.name, e.addr}
		if i, ok := seen[id]; ok {
			kept[i].state = max(kept[i].state, e.state)
			kept[i].podName = kept[i].podName && e.podName
			continue
		}
		seen[id] = len(kept)
		kept = append(kept, e)
	}
	merged := *s
	merged.endpoints = kept
	return &merged
}

// dropSlice is what a watch says of a slice that is gone.
func (m *model) dropSlice(key objectKey) {
	old, before := m.slices[key], m.listed()
	delete(m.slices, key)
	if old != nil {
		m.holdFrom(old, &sliceSpec{}, before)
	}
}

// holdFrom holds what old listed, before spec took its place. before is what slices listed until then.
func (m *model) holdFrom(old, spec *sliceSpec, before map[modelID]bool) {
	if m.hold == 0 || m.moved[old.objectKey] {
		return
	}
	key := objectKey{old.namespace, old.service}
	after := m.listed()
	for _, e := range old.endpoints {
		id := modelID{key, hostLabel{e.name, e.addr}}
		if e.state != ready || after[id] || m.services[key] == nil || slices.ContainsFunc(spec.endpoints, func(o endpointSpec) bool {
			created := !before[modelID{key, hostLabel{o.name, o.addr}}]
			return created && (o.addr == e.addr || o.name == e.name && e.name != "")
		}) {
			continue
		}
		m.held[id] = modelHold{e, old.ports, time.Now().Add(m.hold)}
	}
}

// settle ends the holds of endpoints that are listed again, and of those whose name or address a new one has, which was not listed
// before and not held.
func (m *model) settle(before map[modelID]bool) {
	after := m.listed()
	var created []modelID
	for id := range after {
		if _, held := m.held[id]; !held && !before[id] {
			created = append(created, id)
		}
		delete(m.held, id)
	}
	for _, id := range created {
		for o := range m.held {
			if o.addr == id.addr || o.name == id.name && o.name != "" && o.service == id.service {
				delete(m.held, o)
			}
		}
	}
}

// replace is what a list says of all slices.
func (m *model) replace(specs []*sliceSpec) {
	before, old := m.listed(), maps.Clone(m.slices)
	clear(m.slices)
	for _, s := range specs {
		m.move(old[s.objectKey], s)
		m.slices[s.objectKey], old[s.objectKey] = distinct(s), s
		if s.service == "" {
			delete(m.slices, s.objectKey)
			delete(old, s.objectKey)
		}
	}
	m.settle(before)
}

// dropService is what a watch says of a Service that is gone.
func (m *model) dropService(key objectKey) {
	delete(m.services, key)
	maps.DeleteFunc(m.held, func(id modelID, _ modelHold) bool { return id.service == key })
}

// expire ends the holds whose time is over.
func (m *model) expire() {
	maps.DeleteFunc(m.held, func(_ modelID, h modelHold) bool { return !h.until.After(time.Now()) })
}

// modelEndpoint is what all slices together say of one endpoint.
type modelEndpoint struct {
	endpointSpec
	hostname bool // one says that the name is a hostname
	ports    map[port]bool
	zones    map[string]bool
}

// endpoints returns the endpoints of a Service, by address and name.
func (m *model) endpoints(key objectKey) map[hostLabel]*modelEndpoint {
	all := make(map[hostLabel]*modelEndpoint)
	for _, sl := range m.slices {
		if sl.namespace != key.namespace || sl.service != key.name {
			continue
		}
		for _, e := range sl.endpoints {
			id := hostLabel{e.name, e.addr}
			if all[id] == nil {
				all[id] = &modelEndpoint{endpointSpec: e, ports: make(map[port]bool), zones: make(map[string]bool)}
			}
			all[id].zones[e.zone] = true
			all[id].state = max(all[id].state, e.state)
			all[id].hostname = all[id].hostname || e.name != "" && !e.podName
			for _, p := range sl.ports {
				all[id].ports[p] = true
			}
		}
	}
	for id, h := range m.held {
		if id.service != key {
			continue
		}
		e := &modelEndpoint{h.endpointSpec, h.name != "" && !h.podName, make(map[port]bool), map[string]bool{h.zone: true}}
		for _, p := range h.ports {
			e.ports[p] = true
		}
		all[id.hostLabel] = e
	}
	return all
}

// shown returns the Service at key if it and its Namespace exist.
func (m *model) shown(key objectKey) *serviceSpec {
	if !m.namespaces[key.namespace] {
		return nil
	}
	return m.services[key]
}

func (m *model) policyOf(spec *serviceSpec) policy {
	if spec.policy != inherited {
		return spec.policy
	}
	return m.policy
}

// answers returns those of the endpoints that answer to hostname.
func (m *model) answers(key objectKey, hostname string) []*modelEndpoint {
	spec := m.shown(key)
	if spec == nil || spec.kind == externalName {
		return nil
	}
	least := map[policy]state{hostnamesReady: ready, hostnamesServing: serving, hostnamesAll: notReady}[m.policyOf(spec)]
	var candidates []*modelEndpoint
	for _, e := range m.endpoints(key) {
		dashed := string(appendDashed(nil, e.addr))
		if e.name == hostname || !e.hostname && dashed == hostname {
			candidates = append(candidates, e)
			if e.state == ready {
				least = ready
			}
		}
	}
	return slices.DeleteFunc(candidates, func(e *modelEndpoint) bool { return e.state < least })
}

// record describes one fact that a lookup may show. Sets of records are compared.
type record string

func addrRecord(addr netip.Addr) record { return record(addr.String()) }

func srvRecord(host string, number uint16) record { return record(fmt.Sprintf("%s:%d", host, number)) }

func hostOf(name string, addr netip.Addr) string {
	if name != "" || !addr.IsValid() {
		return name
	}
	return string(appendDashed(nil, addr))
}

// expect returns the outcome and the records for q.
func (m *model) expect(q *query, w want) (outcome, map[record]bool) {
	records := make(map[record]bool)
	if q.kind == namespaceName {
		if m.namespaces[q.namespace] {
			return nonTerminal, records
		}
		return nameError, records
	}
	if q.kind == reverseName {
		return m.expectReverse(q.prefix)
	}
	key := objectKey{q.namespace, q.service}
	spec := m.shown(key)
	if spec == nil {
		return nameError, records
	}
	if q.scope != everywhere {
		return m.expectScope(q, w)
	}
	type fact struct {
		host  string
		addr  netip.Addr
		ports map[port]bool
	}
	var facts []fact // the endpoints, or ClusterIPs, that the name is made of
	below := nameError
	switch {
	case q.hostname != "":
		for _, e := range m.answers(key, q.hostname) {
			facts = append(facts, fact{q.hostname, e.addr, e.ports})
		}
	case spec.kind == externalName:
		if spec.target != "" && q.proto == "" {
			records[record(spec.target)] = true
			return found, records
		}
		return nameError, records
	default:
		anyReady := false
		for id, e := range m.endpoints(key) {
			anyReady = anyReady || e.state == ready
			if spec.kind == headless && e.state == ready {
				facts = append(facts, fact{hostOf(e.name, e.addr), e.addr, e.ports})
			}
			if len(m.answers(key, hostOf(id.name, id.addr))) > 0 && q.proto == "" {
				below = nonTerminal
			}
		}
		if spec.kind == clusterIP && (anyReady || !m.ignoreEmpty) {
			ports := make(map[port]bool)
			for _, p := range spec.ports {
				ports[p] = true
			}
			for _, ip := range spec.clusterIPs {
				facts = append(facts, fact{"", ip, ports})
			}
		}
	}
	if len(facts) == 0 {
		return below, records
	}
	result := nameError
	if q.proto == "" {
		result = found
	}
	for _, f := range facts {
		hasPort := q.proto == ""
		for p := range f.ports {
			if q.proto == "" || p.proto() == q.proto && p.name() == q.port && p.name() != "" {
				result, hasPort = found, true
				if w == wantSRV {
					records[srvRecord(f.host, p.number)] = true
				}
			} else if p.proto() == q.proto && q.port == "" && p.name() != "" {
				result = max(result, nonTerminal)
			}
		}
		isWanted := w == wantA && f.addr.Is4() || w == wantAAAA && f.addr.Is6()
		if isWanted && hasPort && (q.hostname == "" || q.proto == "") {
			records[addrRecord(f.addr)] = true
		}
	}
	return result, records
}

// expectScope returns the outcome and the records for a name below _zone.
func (m *model) expectScope(q *query, w want) (outcome, map[record]bool) {
	records := make(map[record]bool)
	own := &query{kind: serviceName, namespace: q.namespace, service: q.service}
	exists, all := m.expect(own, w)
	if m.shown(objectKey{q.namespace, q.service}).kind != headless || exists == nameError {
		return nameError, records
	}
	result := nonTerminal
	for _, e := range m.endpoints(objectKey{q.namespace, q.service}) {
		if q.scope == scopeName || e.state != ready || !e.zones[q.zone] {
			continue
		}
		result = found
		if w == wantA && e.addr.Is4() || w == wantAAAA && e.addr.Is6() {
			records[addrRecord(e.addr)] = true
		}
		for p := range e.ports {
			if w == wantSRV {
				records[srvRecord(hostOf(e.name, e.addr), p.number)] = true
			}
		}
	}
	if result == nonTerminal && q.scope == prefer {
		return exists, all
	}
	return result, records
}

func (m *model) expectReverse(p netip.Prefix) (outcome, map[record]bool) {
	records := make(map[record]bool)
	best, below := rankClusterIP, nameError
	pointers := make(map[record]int)
	for key := range m.services {
		spec := m.shown(key)
		if spec == nil {
			continue
		}
		if o, _ := m.expect(&query{kind: serviceName, namespace: key.namespace, service: key.name}, wantNothing); o == found && spec.kind == clusterIP {
			for _, ip := range spec.clusterIPs {
				if p.Contains(ip) {
					below = nonTerminal
				}
				if p.IsSingleIP() && ip == p.Addr() {
					pointers[record(key.name+"."+key.namespace)], best = -1, -1
				}
			}
		}
		if spec.kind == externalName {
			continue
		}
		for _, e := range m.endpoints(key) {
			if e.state != ready || !p.Contains(e.addr) {
				continue
			}
			below = nonTerminal
			rank := rankClusterIP
			if spec.kind == headless {
				rank = rankHeadless
			}
			pointers[record(hostOf(e.name, e.addr)+"."+key.name+"."+key.namespace)] = rank
			best = min(best, rank)
		}
	}
	if !p.IsSingleIP() {
		return below, records
	}
	for r, rank := range pointers {
		if rank == best {
			records[r] = true
		}
	}
	if len(records) == 0 {
		return nameError, records
	}
	return found, records
}

// externalRecord is a record of one port of a host.
func externalRecord(label, host string, number int) record {
	return record(fmt.Sprintf("%s %s:%d", label, host, number))
}

// expectExternal is expect for the external name that q stands for.
func (m *model) expectExternal(q *query, endpoints bool) (outcome, map[record]bool) {
	records := make(map[record]bool)
	key := objectKey{q.namespace, q.service}
	spec := m.shown(key)
	if spec == nil {
		return nameError, records
	}
	type fact struct {
		label, host string
		ports       map[port]bool
	}
	var facts []fact
	below := nameError
	switch {
	case spec.external != nil && q.hostname == "":
		ports := make(map[port]bool)
		for _, p := range spec.ports {
			ports[p] = true
		}
		for _, addr := range spec.external.addrs {
			facts = append(facts, fact{"", addr.String(), ports})
		}
		for _, name := range spec.external.names {
			facts = append(facts, fact{"", name, ports})
		}
	case spec.external != nil || !endpoints || spec.kind == externalName:
	case q.hostname != "":
		ports := make(map[netip.Addr]map[port]bool)
		for _, e := range m.answers(key, q.hostname) {
			if ports[e.addr] == nil {
				ports[e.addr] = make(map[port]bool)
			}
			maps.Copy(ports[e.addr], e.ports)
		}
		for addr := range ports {
			if q.proto == "" {
				facts = append(facts, fact{q.hostname, addr.String(), ports[addr]})
			}
		}
	default:
		for id, e := range m.endpoints(key) {
			if spec.kind == headless && e.state == ready {
				facts = append(facts, fact{hostOf(e.name, e.addr), e.addr.String(), e.ports})
			}
			if len(m.answers(key, hostOf(id.name, id.addr))) > 0 && q.proto == "" {
				below = nonTerminal
			}
		}
	}
	result := below
	for _, f := range facts {
		if q.proto == "" {
			result = found
		}
		for p := range f.ports {
			if q.proto == "" || p.proto() == q.proto && p.name() == q.port && p.name() != "" {
				result = found
				records[externalRecord(f.label, f.host, int(p.number))] = true
			} else if p.proto() == q.proto && q.port == "" && p.name() != "" {
				result = max(result, nonTerminal)
			}
		}
		if len(f.ports) == 0 && q.proto == "" {
			records[externalRecord(f.label, f.host, noPort)] = true
		}
	}
	return result, records
}

// expectExternalReverse is expect for the reverse name of external addresses.
func (m *model) expectExternalReverse(p netip.Prefix) (outcome, map[record]bool) {
	records := make(map[record]bool)
	below := nameError
	for key := range m.services {
		spec := m.shown(key)
		if spec == nil || spec.external == nil {
			continue
		}
		for _, addr := range spec.external.addrs {
			if p.Contains(addr) {
				below = nonTerminal
			}
			if p.IsSingleIP() && p.Addr() == addr {
				records[record(key.name+"."+key.namespace)] = true
			}
		}
	}
	switch {
	case !p.IsSingleIP():
		return below, records
	case len(records) > 0:
		return found, records
	}
	return nameError, records
}

// gotExternal returns what the index says of the external name that q stands for, in the terms of the model.
func gotExternal(x *index, q *query, endpoints bool) (outcome, map[record]bool, error) {
	records := make(map[record]bool)
	n := 0
	add := func(r record) {
		n++
		records[r] = true
	}
	var o outcome
	if q.kind == reverseName {
		var pointers []pointer
		o, pointers = x.lookupExternalReverse(q.prefix)
		for _, p := range pointers {
			add(record(p.service + "." + p.namespace))
		}
	} else {
		v := x.lookupExternal(q, endpoints)
		o = v.outcome
		for _, h := range v.hosts {
			host := h.name
			if h.addr.IsValid() {
				host = h.addr.String()
			}
			for _, number := range h.numbers(q) {
				add(externalRecord(hostOf(h.hostLabel.name, h.hostLabel.addr), host, number))
			}
		}
	}
	if n != len(records) {
		return o, records, fmt.Errorf("%d of %d records are repetitions", n-len(records), n)
	}
	return o, records, nil
}

// transferred describes what a transfer of external names has, with endpoints and without.
func transferred(x *index) (text string) {
	for _, endpoints := range []bool{true, false} {
		var hosts []string
		for _, h := range x.allExternalHosts(endpoints) {
			hosts = append(hosts, fmt.Sprint(h))
		}
		slices.Sort(hosts)
		text += strings.Join(hosts, "\n") + "\n--\n"
	}
	return text
}

// got returns what the index says of q, in the terms of the model.
func got(x *index, q *query, w want) (outcome, map[record]bool, error) {
	v := x.lookup(q, w, 1<<20)
	records := make(map[record]bool)
	n := 0
	add := func(r record) {
		n++
		records[r] = true
	}
	if v.cname != "" {
		add(record(v.cname))
	}
	if w == wantA || w == wantAAAA {
		f := w.family()
		for i := range len(v.addrs) / f.size() {
			add(addrRecord(addressSet(v.addrs).at(i, f)))
		}
	}
	for _, t := range v.targets {
		for _, number := range t.ports {
			add(srvRecord(hostOf(t.name, t.addr), number))
		}
		if len(t.addrs) == 0 {
			return v.outcome, records, fmt.Errorf("SRV target %v has no address", t.hostLabel)
		}
	}
	if len(v.addrs)+len(v.targets) > 0 && v.total != n {
		return v.outcome, records, fmt.Errorf("total is %d for %d records", v.total, n)
	}
	for _, p := range v.pointers {
		add(record(strings.TrimSuffix(p.fqdn("zone."), ".svc.zone.")))
	}
	if n != len(records) {
		return v.outcome, records, fmt.Errorf("%d of %d records are repetitions", n-len(records), n)
	}
	return v.outcome, records, nil
}

// universe is the small world of random histories: the fewer things there are, the more they collide.
var universe = struct {
	namespaces, services, slices, names, zones []string
	addrs                                      []netip.Addr
	ports                                      []port
	externals                                  []string
}{
	namespaces: []string{"n", "o"},
	services:   []string{"s", "t", "u"},
	slices:     []string{"p", "q", "r", "x", "y"},
	names:      []string{"", "", "a", "b", "c"},
	zones:      []string{"", "z", "y.z"},
	addrs: []netip.Addr{
		netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("11.0.0.1"),
		netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2"), netip.MustParseAddr("fd00::12"),
	},
	ports:     []port{portOf("", "tcp", 1), portOf("a", "tcp", 1), portOf("a", "udp", 2), portOf("b", "tcp", 3)},
	externals: []string{"lb.example.org.", "lb.example.net."},
}

func pickOne[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// pickSome returns a random subset, in order.
func pickSome[T any](r *rand.Rand, from []T) []T {
	var some []T
	for _, e := range from {
		if r.IntN(2) == 0 {
			some = append(some, e)
		}
	}
	return some
}

func randomKey(r *rand.Rand, names []string) objectKey {
	return objectKey{pickOne(r, universe.namespaces), pickOne(r, names)}
}

func randomService(r *rand.Rand) *serviceSpec {
	s := &serviceSpec{objectKey: randomKey(r, universe.services), kind: serviceKind(r.IntN(3)), ports: pickSome(r, universe.ports)}
	switch s.kind {
	case clusterIP:
		s.clusterIPs = pickSome(r, universe.addrs)
	case externalName:
		s.target = pickOne(r, []string{"", "example.org."})
	}
	if r.IntN(3) == 0 {
		s.policy = policy(1 + r.IntN(3))
	}
	if addrs, names := pickSome(r, universe.addrs), pickSome(r, universe.externals); r.IntN(2) == 0 && len(addrs)+len(names) > 0 {
		s.external = &external{addrs, names}
	}
	return s
}

func randomSlice(r *rand.Rand) *sliceSpec {
	s := &sliceSpec{objectKey: randomKey(r, universe.slices), service: pickOne(r, append(universe.services, universe.services[0], ""))}
	if s.service == "" {
		return s
	}
	s.ports = pickSome(r, universe.ports)
	for range r.IntN(6) {
		e := endpointSpec{addr: pickOne(r, universe.addrs), name: pickOne(r, universe.names), state: state(r.IntN(3))}
		e.podName = e.name != "" && r.IntN(3) == 0
		e.zone = pickOne(r, universe.zones)
		s.endpoints = append(s.endpoints, e)
	}
	return s
}

// step changes the index and the model in the same random way, and says how.
func step(r *rand.Rand, x *index, m *model) string {
	switch r.IntN(16) {
	case 0:
		name := pickOne(r, universe.namespaces)
		x.dropNamespace(objectKey{name: name})
		delete(m.namespaces, name)
		return "drop namespace " + name
	case 1, 2:
		name := pickOne(r, universe.namespaces)
		x.putNamespace(&namespaceSpec{objectKey{name: name}})
		m.namespaces[name] = true
		return "put namespace " + name
	case 3:
		key := randomKey(r, universe.services)
		x.dropService(key)
		m.dropService(key)
		return fmt.Sprint("drop service ", key)
	case 4, 5:
		s := randomService(r)
		x.putService(s)
		m.services[s.objectKey] = s
		return fmt.Sprintf("put service %+v", *s)
	case 6:
		key := randomKey(r, universe.slices)
		x.dropSlice(key)
		m.dropSlice(key)
		return fmt.Sprint("drop slice ", key)
	case 7:
		list := make([]any, r.IntN(8))
		specs := make([]*sliceSpec, len(list))
		for i := range list {
			specs[i] = randomSlice(r)
			list[i] = specs[i]
		}
		m.replace(specs)
		feeds := stores(x, &converter{}, newLatch())
		if err := feeds[slicesResource].Replace(list, ""); err != nil {
			return "replace failed: " + err.Error()
		}
		return fmt.Sprintf("replace slices by %d", len(list))
	default:
		s := randomSlice(r)
		if len(m.slices) > 0 && r.IntN(2) == 0 {
			// As the control plane edits: the ports change, and some endpoints go or, from another slice or a hold, come.
			s = new(*pickOne(r, slices.SortedFunc(maps.Values(m.slices), func(a, b *sliceSpec) int { return a.compare(b.objectKey) })))
			s.ports = pickSome(r, universe.ports)
			var all []endpointSpec
			for _, e := range m.endpoints(objectKey{s.namespace, s.service}) {
				all = append(all, e.endpointSpec)
			}
			slices.SortFunc(all, func(a, b endpointSpec) int { return hostLabel{a.name, a.addr}.compare(hostLabel{b.name, b.addr}) })
			s.endpoints = pickSome(r, all)
		}
		x.putSlice(s)
		m.putSlice(s)
		return fmt.Sprintf("put slice %+v", *s)
	}
}

// questions returns all queries whose answer the universe can change.
func questions() []query {
	var qs []query
	for _, ns := range universe.namespaces {
		qs = append(qs, query{kind: namespaceName, namespace: ns})
		for _, svc := range universe.services {
			hostnames := slices.Concat(slices.Compact(slices.Clone(universe.names)), []string{"nobody"})
			for _, addr := range universe.addrs {
				hostnames = append(hostnames, string(appendDashed(nil, addr)))
			}
			for _, hostname := range hostnames {
				q := query{kind: serviceName, namespace: ns, service: svc, hostname: hostname}
				q.addr, _ = parseDashed(hostname)
				for _, port := range []string{".", "tcp.", "udp.", "sctp.", "tcp.a", "udp.a", "tcp.b", "udp.b"} {
					q.proto, q.port, _ = strings.Cut(port, ".")
					qs = append(qs, q)
				}
			}
			for _, zone := range []string{"z", "y.z", "nowhere"} {
				qs = append(qs,
					query{kind: serviceName, namespace: ns, service: svc, scope: scopeName},
					query{kind: serviceName, namespace: ns, service: svc, scope: pin, zone: zone},
					query{kind: serviceName, namespace: ns, service: svc, scope: prefer, zone: zone},
				)
			}
		}
	}
	for _, addr := range append(universe.addrs, netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("fd01::1")) {
		for p := netip.PrefixFrom(addr, addr.BitLen()); ; p = parent(p) {
			qs = append(qs, query{kind: reverseName, prefix: p})
			if p.Bits() == 0 {
				break
			}
		}
	}
	return qs
}

// history changes x and m in the same random ways, calls pause after each, and holds the answers of x against those of m.
func history(t *testing.T, r *rand.Rand, x *index, m *model, pause func() string) {
	const (
		steps  = 300
		sample = 20 // one in so many questions is asked after each step
	)
	qs := questions()
	var done []string
	for range steps {
		before, serial := transferred(x), x.externalSerial.Load()
		done = append(done, step(r, x, m), pause())
		if err := x.check(); err != nil {
			t.Fatalf("after\n%s\n%v", strings.Join(done, "\n"), err)
		}
		if transferred(x) != before && x.externalSerial.Load() == serial {
			t.Fatalf("after\n%s\nexternal names changed and their serial did not", strings.Join(done, "\n"))
		}
		for i := range qs {
			if r.IntN(sample) > 0 {
				continue
			}
			for _, endpoints := range []bool{false, true} {
				wantOutcome, wantRecords := m.expectExternal(&qs[i], endpoints)
				if qs[i].kind == reverseName {
					wantOutcome, wantRecords = m.expectExternalReverse(qs[i].prefix)
				}
				gotOutcome, gotRecords, err := gotExternal(x, &qs[i], endpoints)
				if err != nil || gotOutcome != wantOutcome || !maps.Equal(gotRecords, wantRecords) {
					t.Fatalf("after\n%s\n%+v outside, endpoints %v:\ngot  %d %v %v\nwant %d %v", strings.Join(done, "\n"), qs[i], endpoints,
						gotOutcome, slices.Sorted(maps.Keys(gotRecords)), err, wantOutcome, slices.Sorted(maps.Keys(wantRecords)))
				}
			}
			for w := wantNothing; w <= wantSRV; w++ {
				wantOutcome, wantRecords := m.expect(&qs[i], w)
				gotOutcome, gotRecords, err := got(x, &qs[i], w)
				if err != nil || gotOutcome != wantOutcome || !maps.Equal(gotRecords, wantRecords) {
					t.Fatalf("after\n%s\n%+v want %d:\ngot  %d %v %v\nwant %d %v", strings.Join(done, "\n"), qs[i], w,
						gotOutcome, slices.Sorted(maps.Keys(gotRecords)), err, wantOutcome, slices.Sorted(maps.Keys(wantRecords)))
				}
			}
		}
	}
}

func TestIndexAgreesWithModelOverRandomHistories(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			p, ignoreEmpty := policy(1+r.IntN(3)), r.IntN(2) == 0
			x := newIndex(p, ignoreEmpty)
			qs := questions()

			var readers sync.WaitGroup
			var stop atomic.Bool
			defer readers.Wait()
			defer stop.Store(true)
			readers.Go(func() {
				for i := 0; !stop.Load(); i = (i + 1) % len(qs) {
					x.lookup(&qs[i], want(i%4), 2)
					x.nameservers(universe.addrs[:1])
					x.lookupExternal(&qs[i], i%2 == 0)
					x.externalNameservers(universe.addrs[:1], i%2 == 0)
				}
			})
			history(t, r, x, newModel(p, ignoreEmpty), func() string { return "" })
		})
	}
}

func TestIndexDependsOnObjectsNotOnTheirOrder(t *testing.T) {
	qs := questions()
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 2))
		var puts []func(*index)
		seen := make(map[objectKey]bool)
		for range 6 {
			if s := randomSlice(r); !seen[s.objectKey] {
				seen[s.objectKey] = true
				puts = append(puts, func(x *index) { x.putSlice(s) })
			}
			if s := randomService(r); !seen[s.objectKey] {
				seen[s.objectKey] = true
				puts = append(puts, func(x *index) { x.putService(s) })
			}
		}
		for _, name := range universe.namespaces {
			puts = append(puts, func(x *index) { x.putNamespace(&namespaceSpec{objectKey{name: name}}) })
		}
		fill := func() *index {
			x := newIndex(hostnamesReady, false)
			r.Shuffle(len(puts), func(i, j int) { puts[i], puts[j] = puts[j], puts[i] })
			for _, put := range puts {
				put(x)
			}
			return x
		}
		a, b := fill(), fill()
		for i := range qs {
			outcomeA, recordsA, errA := gotExternal(a, &qs[i], true)
			outcomeB, recordsB, errB := gotExternal(b, &qs[i], true)
			if outcomeA != outcomeB || !maps.Equal(recordsA, recordsB) || errA != nil || errB != nil {
				t.Fatalf("seed %d, %+v outside: %d %v %v in one order, %d %v %v in another",
					seed, qs[i], outcomeA, recordsA, errA, outcomeB, recordsB, errB)
			}
			for w := wantNothing; w <= wantSRV; w++ {
				outcomeA, recordsA, errA := got(a, &qs[i], w)
				outcomeB, recordsB, errB := got(b, &qs[i], w)
				if outcomeA != outcomeB || !maps.Equal(recordsA, recordsB) || errA != nil || errB != nil {
					t.Fatalf("seed %d, %+v want %d: %d %v %v in one order, %d %v %v in another",
						seed, qs[i], w, outcomeA, recordsA, errA, outcomeB, recordsB, errB)
				}
			}
		}
	}
}

// bigIndex returns an index with one headless Service web in namespace n that has size ready pods web-0, web-1 and so on,
// 100 in a slice.
func bigIndex(size int) *index {
	x := newIndex(hostnamesReady, false)
	x.putNamespace(&namespaceSpec{objectKey{name: "n"}})
	x.putService(&serviceSpec{objectKey: objectKey{"n", "web"}, kind: headless})
	for i := 0; i < size; i += 100 {
		x.putSlice(bigSlice(i, min(size, i+100), ready))
	}
	return x
}

// bigSlice returns the slice of the pods from lo up to hi.
func bigSlice(lo, hi int, s state) *sliceSpec {
	sl := &sliceSpec{objectKey: objectKey{"n", fmt.Sprint("web-", lo)}, service: "web", ports: []port{portOf("http", "tcp", 80)}}
	for i := lo; i < hi; i++ {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		sl.endpoints = append(sl.endpoints, endpointSpec{addr: addr, name: fmt.Sprint("web-", i), state: s})
	}
	return sl
}

func TestIndexGivesEveryEndpointFirstEquallyOften(t *testing.T) {
	const n, rounds = 20, 20000
	x := bigIndex(n)
	q := &query{kind: serviceName, namespace: "n", service: "web"}
	for _, w := range []want{wantA, wantSRV} {
		first := make(map[string]int)
		for range rounds {
			v := x.lookup(q, w, 3)
			if w == wantA {
				first[addressSet(v.addrs).at(0, v4).String()]++
			} else {
				first[v.targets[0].name]++
			}
		}
		// 1,000 each on average, with a standard deviation of 31: six of them happen once in 10^9 runs.
		for name, times := range first {
			if times < 800 || times > 1200 {
				t.Errorf("want %d: %s came first %d times in %d, want about %d", w, name, times, rounds, rounds/n)
			}
		}
		if len(first) != n {
			t.Errorf("want %d: %d endpoints came first at least once, want %d", w, len(first), n)
		}
	}
}

func TestIndexKeepsAMovingEndpointThroughout(t *testing.T) {
	x := bigIndex(1)
	q := &query{kind: serviceName, namespace: "n", service: "web", hostname: "web-0"}
	var denied atomic.Int64
	var stop atomic.Bool
	var reader sync.WaitGroup
	reader.Go(func() {
		for !stop.Load() {
			if v := x.lookup(q, wantA, 1); v.outcome != found || len(v.addrs) != 4 {
				denied.Add(1)
			}
		}
	})
	// The endpoint goes from slice to slice, always present in one; then its slice is replaced by a list with another.
	here, there := bigSlice(0, 1, ready), bigSlice(0, 1, ready)
	there.name = "other"
	feeds := stores(x, &converter{}, newLatch())
	for range 2000 {
		x.putSlice(there)
		x.dropSlice(here.objectKey)
		x.putSlice(here)
		x.dropSlice(there.objectKey)
		for _, sl := range []*sliceSpec{there, here} {
			if err := feeds[slicesResource].Replace([]any{sl}, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop.Store(true)
	reader.Wait()
	if n := denied.Load(); n > 0 {
		t.Errorf("a present endpoint was denied %d times", n)
	}
}

func TestIndexKeepsEndpointsThroughoutAList(t *testing.T) {
	x := bigIndex(300)
	swapped := []*sliceSpec{bigSlice(0, 100, ready), bigSlice(100, 200, ready)}
	swapped[0].endpoints, swapped[1].endpoints = swapped[1].endpoints, swapped[0].endpoints
	swapped = append(swapped, bigSlice(100, 200, notReady))
	swapped[2].objectKey = objectKey{"n", "new"}
	checkAll := func(when string, x *index, want int) {
		t.Helper()
		if err := x.check(); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if v := x.lookup(&query{kind: serviceName, namespace: "n", service: "web"}, wantA, 0); v.total != want {
			t.Errorf("%s: %d addresses, want %d", when, v.total, want)
		}
	}
	serial := x.serial()
	x.replaceSlices(func(yield func(*sliceSpec) bool) {
		for i, s := range swapped {
			yield(s)
			checkAll(fmt.Sprint("after slice ", i), x, 300)
			checkAll(fmt.Sprint("in a transfer after slice ", i), x.clone(), 300)
		}
	})
	checkAll("after all", x, 200)
	if got, want := len(x.sliceKeys()), len(swapped); got != want {
		t.Errorf("%d slices, want %d", got, want)
	}
	if x.serial() == serial {
		t.Error("100 endpoints went and the serial did not grow")
	}
	serial = x.serial()
	x.replaceSlices(slices.Values(swapped))
	if x.serial() != serial {
		t.Error("the serial grew with a list that says nothing new")
	}
}

func TestIndexSerialGrowsWithVisibleChangesOnly(t *testing.T) {
	x := bigIndex(1)
	clock := time.Unix(2_000_000_000, 0)
	x.now = func() time.Time { return clock }
	changed := bigSlice(0, 1, ready)
	changed.ports = []port{portOf("http", "tcp", 8080)}
	for _, step := range []struct {
		name string
		do   func()
		want uint32
	}{
		{"a change takes the time as serial", func() { x.putSlice(bigSlice(0, 1, notReady)) }, 2_000_000_000},
		{"the next in the same second adds one", func() { x.putSlice(bigSlice(0, 1, ready)) }, 2_000_000_001},
		{"the same slice again changes nothing", func() { x.putSlice(bigSlice(0, 1, ready)) }, 2_000_000_001},
		{"a clock that is behind adds one", func() { clock = clock.Add(-time.Hour); x.putSlice(changed) }, 2_000_000_002},
		{"a slice of no Service changes nothing", func() {
			x.putSlice(&sliceSpec{objectKey: objectKey{"n", "z"}, service: "none", endpoints: changed.endpoints})
		}, 2_000_000_002},
		{"nor does a Service in no Namespace", func() {
			x.putService(&serviceSpec{objectKey: objectKey{"none", "web"}, kind: headless})
		}, 2_000_000_002},
		{"nor the same Service again", func() { x.putService(&serviceSpec{objectKey: objectKey{"n", "web"}, kind: headless}) }, 2_000_000_002},
		{"a later clock is taken again", func() { clock = time.Unix(2_000_000_100, 0); x.dropService(objectKey{"n", "web"}) }, 2_000_000_100},
		{"a namespace counts", func() { x.putNamespace(&namespaceSpec{objectKey{name: "new"}}) }, 2_000_000_101},
		{"one that is there does not", func() { x.putNamespace(&namespaceSpec{objectKey{name: "new"}}) }, 2_000_000_101},
		{"the serial wraps around", func() {
			x.soaSerial.Store(1<<32 - 1)
			clock = time.Unix(1<<31-1, 0)
			x.dropNamespace(objectKey{name: "new"})
		}, 1<<31 - 1},
	} {
		step.do()
		if got := x.serial(); got != step.want {
			t.Errorf("%s: serial %d, want %d", step.name, got, step.want)
		}
	}
}

func TestIndexSerialsGrowEachWithItsOwnChanges(t *testing.T) {
	x := bigIndex(1)
	key := objectKey{"n", "lb"}
	withExternal := func(addr string, ip string) func() {
		return func() {
			s := &serviceSpec{objectKey: key, clusterIPs: []netip.Addr{netip.MustParseAddr(ip)}}
			if addr != "" {
				s.external = &external{addrs: []netip.Addr{netip.MustParseAddr(addr)}}
			}
			x.putService(s)
		}
	}
	pod := func(s state) func() {
		return func() {
			x.putSlice(&sliceSpec{objectKey: key, service: "lb", endpoints: []endpointSpec{{addr: netip.MustParseAddr("10.9.0.1"), state: s}}})
		}
	}
	for _, c := range []struct {
		name             string
		do               func()
		inside, external bool
	}{
		{"a Service without external address", withExternal("", "10.96.0.1"), true, false},
		{"it gets one", withExternal("192.0.2.1", "10.96.0.1"), false, true},
		{"it gets another", withExternal("192.0.2.2", "10.96.0.1"), false, true},
		{"the same again", withExternal("192.0.2.2", "10.96.0.1"), false, false},
		{"a pod of it comes", pod(ready), true, false},
		{"the pod is not ready", pod(notReady), true, false},
		{"a pod of a headless Service is not ready", func() { x.putSlice(bigSlice(0, 1, notReady)) }, true, true},
		{"its namespace goes", func() { x.dropNamespace(objectKey{name: "n"}) }, true, true},
		{"an external address in a hidden namespace", withExternal("192.0.2.3", "10.96.0.1"), false, false},
		{"its namespace comes back", func() { x.putNamespace(&namespaceSpec{objectKey{name: "n"}}) }, true, true},
		{"another namespace", func() { x.putNamespace(&namespaceSpec{objectKey{name: "o"}}) }, true, false},
		{"the Service goes", func() { x.dropService(key) }, true, true},
	} {
		inside, outside := x.serial(), x.externalSerial.Load()
		c.do()
		if grew := int32(x.serial()-inside) > 0; grew != c.inside {
			t.Errorf("%s: the serial grew: %v, want %v", c.name, grew, c.inside)
		}
		if grew := int32(x.externalSerial.Load()-outside) > 0; grew != c.external {
			t.Errorf("%s: the external serial grew: %v, want %v", c.name, grew, c.external)
		}
	}
}

func TestIndexNameservers(t *testing.T) {
	x := newIndex(hostnamesReady, false)
	pod, ip := netip.MustParseAddr("10.0.0.53"), netip.MustParseAddr("10.96.0.10")
	x.putNamespace(&namespaceSpec{objectKey{name: "kube-system"}})
	x.putService(&serviceSpec{objectKey: objectKey{"kube-system", "dns"}, clusterIPs: []netip.Addr{ip}})
	x.putService(&serviceSpec{objectKey: objectKey{"kube-system", "peers"}, kind: headless})
	x.putService(&serviceSpec{objectKey: objectKey{"hidden", "dns"}, kind: headless})
	for _, key := range []objectKey{{"kube-system", "dns"}, {"kube-system", "peers"}, {"hidden", "dns"}} {
		x.putSlice(&sliceSpec{objectKey: objectKey{key.namespace, key.name}, service: key.name, endpoints: []endpointSpec{{addr: pod, state: ready}}})
	}
	for _, c := range []struct {
		name  string
		local netip.Addr
		want  []string
	}{
		{"a pod's address leads to all its Services that are exposed", pod, []string{
			"dns.kube-system.svc.z. [10.96.0.10]", "10-0-0-53.peers.kube-system.svc.z. [10.0.0.53]",
		}},
		{"a ClusterIP leads to its Service", ip, []string{"dns.kube-system.svc.z. [10.96.0.10]"}},
		{"another address leads nowhere", netip.MustParseAddr("10.0.0.54"), nil},
	} {
		var got []string
		for _, s := range x.nameservers([]netip.Addr{c.local}) {
			got = append(got, fmt.Sprint(s.fqdn("z."), " ", s.addrs))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestSortedPorts(t *testing.T) {
	a, b := portOf("a", "tcp", 1), portOf("a", "udp", 1)
	if got := sortedPorts([]port{b, a, b}); !slices.Equal(got, []port{a, b}) {
		t.Errorf("got %v, want %v", got, []port{a, b})
	}
	if got := union([]port{a}, []port{b}); !slices.Equal(got, []port{a, b}) {
		t.Errorf("union: got %v, want %v", got, []port{a, b})
	}
}
