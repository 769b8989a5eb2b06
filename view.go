package headless

import (
	"cmp"
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
)

// outcome says whether a name exists.
type outcome uint8

const (
	nameError   outcome = iota // the name does not exist
	nonTerminal                // the name exists and owns no record
	found                      // the name owns a record, perhaps of another type
)

// want is what a lookup is to fetch besides the outcome.
type want uint8

const (
	wantNothing want = iota
	wantA
	wantAAAA
	wantSRV
)

// family returns the family of the addresses wanted by wantA and wantAAAA.
func (w want) family() family { return family(w - wantA) }

// view is what a lookup found. It belongs to the caller.
type view struct {
	outcome  outcome
	headless bool   // the name belongs to a headless Service
	cname    string // the CNAME's target, a lower-case FQDN: then there is nothing else
	// addrs holds addresses of the family wanted, octets one behind the other; total is how many there are in all.
	addrs []byte
	total int
	// targets holds SRV targets; total is how many SRV records there are in all.
	targets []target
	// pointers holds the PTR targets in the order in which they are to be given.
	pointers []pointer
}

// target is an SRV target with its ports.
type target struct {
	hostLabel
	ports []uint16
	addrs []netip.Addr
}

// hostLabel is the label of an endpoint: its name, or the dashed address if that is "". The zero hostLabel means the
// Service itself.
type hostLabel struct {
	name string
	addr netip.Addr
}

func (h hostLabel) compare(o hostLabel) int {
	return cmp.Or(strings.Compare(h.name, o.name), h.addr.Compare(o.addr))
}

// pointer names a Service or one of its endpoints.
type pointer struct {
	hostLabel
	service, namespace string
	rank               int
}

// nameserver is a name of the DNS service and the addresses it has.
type nameserver struct {
	pointer
	addrs []netip.Addr
}

// externalView is what lookupExternal found. It belongs to the caller.
type externalView struct {
	outcome  outcome
	headless bool           // the name belongs to a headless Service, and leads to its endpoints
	hosts    []externalHost // none unless outcome is found
}

// externalHost is one address or name at which a Service, or an endpoint of it, is reached from outside the cluster.
type externalHost struct {
	pointer            // to the Service, or to the endpoint
	addr    netip.Addr // not valid for a name
	name    string     // a lower-case FQDN; "" for an address
	ports   []port     // sorted, distinct; never modified
}

// lookup says whether the name that q stands for exists, and fetches up to limit of the records wanted. q.kind is
// namespaceName, serviceName or reverseName.
func (x *index) lookup(q *query, w want, limit int) (v view) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	switch q.kind {
	case namespaceName:
		if x.exposed(q.namespace) {
			v.outcome = nonTerminal
		}
	case serviceName:
		svc := x.peek(q.namespace, q.service)
		switch {
		case svc == nil || !svc.shown:
		case q.scope != everywhere:
			x.lookupScope(&v, svc, q, w, limit)
		case q.hostname != "":
			x.lookupHostname(&v, svc, q, w, limit)
		case svc.spec.kind == clusterIP:
			x.lookupClusterIP(&v, svc, q, w, limit)
		case svc.spec.kind == headless:
			x.lookupHeadless(&v, svc, q, w, limit)
		case svc.spec.target != "" && q.proto == "":
			v.outcome, v.cname = found, svc.spec.target
		}
	case reverseName:
		x.lookupReverse(&v, q.prefix)
	}
	return v
}

// exposed reports whether namespace is in the cluster and exposed.
func (x *index) exposed(namespace string) bool {
	ns := x.namespaces[namespace]
	return ns != nil && ns.exists
}

// hasNamespace is exposed for those who do not hold the lock.
func (x *index) hasNamespace(name string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.exposed(name)
}

// shownSpec returns the spec of a Service if it and its Namespace exist, else nil.
func (x *index) shownSpec(key objectKey) *serviceSpec {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if svc := x.peek(key.namespace, key.name); svc != nil && svc.shown {
		return svc.spec
	}
	return nil
}

// lookupClusterIP looks up the name of a ClusterIP Service, or a port of it.
func (x *index) lookupClusterIP(v *view, svc *service, q *query, w want, limit int) {
	ips := svc.claimedIPs(x.ignoreEmpty)
	if len(ips) == 0 {
		v.outcome = x.above(svc, q)
		return
	}
	if v.outcome = portOutcome(svc.spec.ports, q); v.outcome != found {
		return
	}
	switch w {
	case wantA, wantAAAA:
		v.addrs, v.total = pick(ips, w.family(), limit)
	case wantSRV:
		if numbers := match(svc.spec.ports, q); len(numbers) > 0 {
			v.targets, v.total = []target{{ports: numbers, addrs: slices.Clone(ips)}}, len(numbers)
		}
	}
}

// pick returns up to limit of the addresses of family f among addrs, from a random one on, and their number.
func pick(addrs []netip.Addr, f family, limit int) (window []byte, total int) {
	for _, addr := range addrs {
		if familyOf(addr) == f {
			total++
		}
	}
	if total == 0 {
		return nil, 0
	}
	window = make([]byte, 0, min(limit, total)*f.size())
	skip := rand.IntN(total)
	for len(window) < cap(window) {
		for _, addr := range addrs {
			switch {
			case familyOf(addr) != f:
			case skip > 0:
				skip--
			case len(window) < cap(window):
				window = appendAddr(window, addr)
			}
		}
	}
	return window, total
}

// above returns the outcome for a Service's own name when it owns nothing: it exists if the name of an endpoint does.
func (x *index) above(svc *service, q *query) outcome {
	if q.proto != "" {
		return nameError
	}
	for s := x.hostnames(svc).least(); s <= ready; s++ {
		if svc.states[s] > 0 {
			return nonTerminal
		}
	}
	return nameError
}

// portOutcome returns the outcome for a name below one that has ports: _port._proto exists if there is such a port,
// _proto if there is a named port of that protocol, and the name itself always.
func portOutcome(ports []port, q *query) outcome {
	if q.proto == "" {
		return found
	}
	best := nameError
	for _, p := range ports {
		if p.proto() == q.proto && p.name() != "" {
			if p.name() == q.port {
				return found
			}
			if q.port == "" {
				best = nonTerminal
			}
		}
	}
	return best
}

// match returns the distinct numbers of those ports that q asks for: all of them, or those of one name and protocol.
func match(ports []port, q *query) []uint16 {
	var numbers []uint16
	for _, p := range ports {
		if q.proto == "" || p.name() == q.port && p.proto() == q.proto {
			numbers = append(numbers, p.number)
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}

// lookupHeadless looks up the name of a headless Service, or a port of it.
func (x *index) lookupHeadless(v *view, svc *service, q *query, w want, limit int) {
	v.headless = true
	if svc.states[ready] == 0 {
		v.outcome = x.above(svc, q)
		return
	}
	groups := 0 // those that have what q asks for
	for _, g := range svc.groups {
		o := portOutcome(g.ports, q)
		v.outcome = max(v.outcome, o)
		if o == found {
			groups++
		}
	}
	if v.outcome != found {
		return
	}
	switch w {
	case wantSRV:
		v.targets, v.total = x.srvTargets(svc, q, limit)
	case wantA, wantAAAA:
		f := w.family()
		set := svc.ready[f]
		if q.proto != "" && (groups < len(svc.groups) || svc.mixed > 0) {
			set = x.portAddresses(svc, q, f)
		}
		v.addrs, v.total = set.window(f, limit), len(set)/f.size()
	}
}

// lookupScope looks up a name below _zone. It exists below every headless Service whose own name does, whatever the topology
// zone.
func (x *index) lookupScope(v *view, svc *service, q *query, w want, limit int) {
	if svc.spec.kind != headless {
		return
	}
	own := query{kind: serviceName, namespace: q.namespace, service: q.service}
	if x.lookupHeadless(v, svc, &own, wantNothing, 0); v.outcome == nameError {
		return
	}
	v.outcome = nonTerminal
	if q.scope == scopeName {
		return
	}
	var targets []target
	var addrs []netip.Addr
	if id, ok := x.zoneIDs[q.zone]; ok {
		targets, addrs = x.zoneTargets(svc, id)
	}
	switch {
	case len(addrs) == 0 && q.scope == prefer && svc.states[ready] > 0:
		x.lookupHeadless(v, svc, &own, w, limit)
		return
	case len(addrs) == 0:
		return
	}
	v.outcome = found
	switch w {
	case wantSRV:
		v.targets, v.total = pickTargets(targets, limit)
	case wantA, wantAAAA:
		v.addrs, v.total = pick(addrs, w.family(), limit)
	}
}

// zoneTargets returns the ready endpoints in a topology zone, as SRV targets and as distinct addresses. It looks at every
// endpoint of svc.
func (x *index) zoneTargets(svc *service, zone uint16) (targets []target, addrs []netip.Addr) {
	seen := make(map[netip.Addr]bool)
	for _, g := range svc.groups {
		for _, e := range g.targets {
			t := target{hostLabel: e.label()}
			var ports []port
			for o := range x.sharing(e) {
				if o.state != ready || !o.inZone(zone) {
					continue
				}
				t.addrs = append(t.addrs, o.addr())
				ports = union(ports, o.ports())
				if !seen[o.addr()] {
					seen[o.addr()] = true
					addrs = append(addrs, o.addr())
				}
			}
			if t.ports = match(ports, &query{}); len(t.ports) > 0 {
				targets = append(targets, t)
			}
		}
	}
	return targets, addrs
}

// pickTargets returns those of targets that have up to limit SRV records, from a random one on, and the number of all records.
func pickTargets(targets []target, limit int) (picked []target, total int) {
	if len(targets) == 0 {
		return nil, 0
	}
	from := rand.IntN(len(targets))
	for _, t := range slices.Concat(targets[from:], targets[:from]) {
		if total < limit {
			picked = append(picked, t)
		}
		total += len(t.ports)
	}
	return picked, total
}

// srvTargets returns targets with up to limit SRV records, from a random target on, and the number of all records.
func (x *index) srvTargets(svc *service, q *query, limit int) (targets []target, total int) {
	type batch struct {
		targets []*endpoint
		numbers []uint16
	}
	batches := make([]batch, 0, len(svc.groups))
	n := 0
	for _, g := range svc.groups {
		if numbers := match(g.ports, q); len(numbers) > 0 {
			batches = append(batches, batch{g.targets, numbers})
			n += len(g.targets)
			total += len(g.targets) * len(numbers)
		}
	}
	if n == 0 {
		return nil, 0
	}
	targets = make([]target, 0, min(limit, n))
	addrs := make([]netip.Addr, 0, cap(targets)) // of all targets
	from := rand.IntN(n)
	// Walk all batches from the position from on, then once more for what stands before it.
	records := 0
	for pass := range 2 {
		pos := 0
		for _, b := range batches {
			lo, hi := max(from-pos, 0), len(b.targets)
			if pass == 1 {
				lo, hi = 0, min(from-pos, hi)
			}
			pos += len(b.targets)
			for i := lo; i < hi; i++ {
				if records >= limit {
					return targets, total
				}
				e, at := b.targets[i], len(addrs)
				addrs = x.appendReady(addrs, e)
				targets = append(targets, target{hostLabel: e.label(), ports: b.numbers, addrs: addrs[at:len(addrs):len(addrs)]})
				records += len(b.numbers)
			}
		}
	}
	return targets, total
}

// appendReady appends the addresses of the ready endpoints that share e's name.
func (x *index) appendReady(addrs []netip.Addr, e *endpoint) []netip.Addr {
	for o := range x.sharing(e) {
		if o.state == ready {
			addrs = append(addrs, o.addr())
		}
	}
	return addrs
}

// sharing yields the endpoints of svc that have e's name, e among them.
func (x *index) sharing(e *endpoint) iter.Seq[*endpoint] {
	return func(yield func(*endpoint) bool) {
		if !e.shared {
			yield(e)
			return
		}
		for o := x.byName.first(e.hostKey()); o != nil && yield(o); o = x.byName.after(o) {
		}
	}
}

// portAddresses returns the distinct addresses of the ready endpoints that have the port of q.
func (x *index) portAddresses(svc *service, q *query, f family) addressSet {
	var set addressSet
	seen := make(map[netip.Addr]bool)
	for _, g := range svc.groups {
		if portOutcome(g.ports, q) != found {
			continue
		}
		for _, e := range g.targets {
			for o := range x.sharing(e) {
				if o.state != ready || familyOf(o.addr()) != f || seen[o.addr()] || e.mixed && portOutcome(o.ports(), q) != found {
					continue
				}
				seen[o.addr()] = true
				set = appendAddr(set, o.addr())
			}
		}
	}
	return set
}

// lookupHostname looks up the own name of an endpoint, or a port of it.
func (x *index) lookupHostname(v *view, svc *service, q *query, w want, limit int) {
	if !svc.claimsEndpoints() {
		return
	}
	v.headless = svc.spec.kind == headless
	var room [2]netip.Addr // most have one address of each family at most
	addrs := room[:0]
	var ports []port
	least := x.leastAnswering(svc, q)
	for e := range x.named(svc, q) {
		if e.state >= least {
			ports = union(ports, e.ports())
			addrs = append(addrs, e.addr())
		}
	}
	if len(addrs) > 1 {
		slices.SortFunc(addrs, netip.Addr.Compare)
		addrs = slices.Compact(addrs)
	}
	if len(addrs) == 0 {
		if q.cluster && q.proto == "" && x.hasCluster(svc, q.hostname) {
			v.outcome = nonTerminal
		}
		return
	}
	if v.outcome = portOutcome(ports, q); v.outcome != found {
		return
	}
	switch {
	case w == wantSRV:
		if numbers := match(ports, q); len(numbers) > 0 {
			v.targets, v.total = []target{{hostLabel{name: q.hostname}, numbers, slices.Clone(addrs)}}, len(numbers)
		}
	case w != wantNothing && q.proto == "":
		v.addrs, v.total = pick(addrs, w.family(), limit)
	}
}

// hasCluster reports whether an endpoint in cluster, of a Service of a multicluster zone, answers to its name.
func (x *index) hasCluster(svc *service, cluster string) bool {
	least := x.hostnames(svc).least()
	for s, n := range x.clusters[hostKey{svc, cluster}] {
		if n > 0 && state(s) >= least {
			return true
		}
	}
	return false
}

// leastAnswering returns the least state of the endpoints of svc that answer to the hostname of q.
func (x *index) leastAnswering(svc *service, q *query) state {
	best := notReady
	for e := range x.named(svc, q) {
		best = max(best, e.state)
	}
	if best == ready {
		return ready
	}
	return x.hostnames(svc).least()
}

// named yields the endpoints of svc that have the hostname of q, in any state.
func (x *index) named(svc *service, q *query) iter.Seq[*endpoint] {
	return func(yield func(*endpoint) bool) {
		for e := x.byName.first(hostKey{svc, q.hostname}); e != nil; e = x.byName.after(e) {
			if !yield(e) {
				return
			}
		}
		if !q.addr.IsValid() {
			return
		}
		for e := x.byAddr.first(q.addr.As16()); e != nil; e = x.byAddr.after(e) {
			if e.svc == svc && e.name != q.hostname && e.dashed() && !yield(e) {
				return
			}
		}
	}
}

// ranks of an endpoint's PTR; only those of the best kind of Service are given.
const (
	rankHostname  = iota // a hostname in a headless Service
	rankHeadless         // another name in a headless Service
	rankClusterIP        // any name in a ClusterIP Service
)

// lookupReverse looks up a reverse name: the PTRs of a whole address, or whether there are any below p.
func (x *index) lookupReverse(v *view, p netip.Prefix) {
	if !p.IsSingleIP() {
		if x.reverse[p] > 0 {
			v.outcome = nonTerminal
		}
		return
	}
	for _, svc := range x.clusterIPs[p.Addr()] {
		if svc.ownsIPs {
			v.pointers = append(v.pointers, svc.pointer(hostLabel{}, 0))
		}
	}
	if len(v.pointers) == 0 {
		for e := x.byAddr.first(p.Addr().As16()); e != nil; e = x.byAddr.after(e) {
			if e.state == ready && e.svc.claimsEndpoints() {
				v.pointers = append(v.pointers, e.svc.pointer(e.label(), e.rank()))
				v.headless = v.headless || e.svc.spec.kind == headless
			}
		}
	}
	if v.headless {
		v.pointers = slices.DeleteFunc(v.pointers, func(p pointer) bool { return p.rank == rankClusterIP })
	}
	if len(v.pointers) > 0 {
		v.outcome = found
	}
	slices.SortFunc(v.pointers, pointer.compare)
}

// rank returns the rank of e's PTR.
func (e *endpoint) rank() int {
	switch {
	case e.svc.spec.kind != headless:
		return rankClusterIP
	case e.hasHostname():
		return rankHostname
	}
	return rankHeadless
}

// pointer returns the pointer to svc, or to the endpoint of it that has label h.
func (svc *service) pointer(h hostLabel, rank int) pointer {
	return pointer{h, svc.name, svc.ns.name, rank}
}

func (p pointer) compare(o pointer) int {
	return cmp.Or(cmp.Compare(p.rank, o.rank), strings.Compare(p.namespace, o.namespace),
		strings.Compare(p.service, o.service), p.hostLabel.compare(o.hostLabel))
}

// nameservers returns the names of the DNS service, sorted: the Services that have one of the local addresses as
// ClusterIP or as ready endpoint, for a headless one the names of its endpoints.
func (x *index) nameservers(local []netip.Addr) []nameserver {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var servers []nameserver
	for _, svc := range x.servicesAt(local) {
		switch {
		case svc.spec.kind == headless:
			for _, g := range svc.groups {
				for _, e := range g.targets {
					servers = append(servers, nameserver{svc.pointer(e.label(), 0), x.appendReady(nil, e)})
				}
			}
		case len(svc.claimedIPs(x.ignoreEmpty)) > 0:
			servers = append(servers, nameserver{svc.pointer(hostLabel{}, 0), slices.Clone(svc.spec.clusterIPs)})
		}
	}
	slices.SortFunc(servers, func(a, b nameserver) int { return a.compare(b.pointer) })
	return servers
}

// servicesAt returns the Services shown that have one of addrs as ClusterIP or as ready endpoint.
func (x *index) servicesAt(addrs []netip.Addr) []*service {
	var services []*service
	seen := make(map[*service]bool)
	add := func(svc *service) {
		if svc.claimsEndpoints() && !seen[svc] {
			seen[svc] = true
			services = append(services, svc)
		}
	}
	for _, addr := range addrs {
		for _, svc := range x.clusterIPs[addr] {
			add(svc)
		}
		for e := x.byAddr.first(addr.As16()); e != nil; e = x.byAddr.after(e) {
			if e.state == ready {
				add(e.svc)
			}
		}
	}
	return services
}

// lookupExternal looks up an external name: of a Service, a port of it or, with endpoints, an endpoint. A Service has its
// external addresses and names; with endpoints, and without any of these, a headless one has its ready endpoints and any one
// has names below it for those that answer to them. The hosts start with a random one.
func (x *index) lookupExternal(q *query, endpoints bool) externalView {
	x.mu.RLock()
	defer x.mu.RUnlock()
	svc := x.peek(q.namespace, q.service)
	if svc == nil || !svc.shown {
		return externalView{}
	}
	endpoints = endpoints && svc.spec.external == nil && svc.spec.kind != externalName
	v := externalView{headless: endpoints && svc.spec.kind == headless}
	var hosts []externalHost
	switch {
	case q.hostname == "":
		hosts = x.externalHosts(svc, endpoints)
	case endpoints && q.proto == "":
		hosts = x.namedHosts(svc, q)
	}
	if len(hosts) == 0 && endpoints && q.hostname == "" {
		v.outcome = x.above(svc, q)
	}
	for i, from := 0, rand.IntN(len(hosts)+1); i < len(hosts); i++ {
		h := hosts[(i+from)%len(hosts)]
		o := portOutcome(h.ports, q)
		v.outcome = max(v.outcome, o)
		if o == found {
			v.hosts = append(v.hosts, h)
		}
	}
	return v
}

// externalHosts returns what the external name of svc leads to. svc is shown.
func (x *index) externalHosts(svc *service, endpoints bool) []externalHost {
	var hosts []externalHost
	if e := svc.spec.external; e != nil {
		for _, addr := range e.addrs {
			hosts = append(hosts, externalHost{pointer: svc.pointer(hostLabel{}, 0), addr: addr, ports: svc.spec.ports})
		}
		for _, name := range e.names {
			hosts = append(hosts, externalHost{pointer: svc.pointer(hostLabel{}, 0), name: name, ports: svc.spec.ports})
		}
		return hosts
	}
	if endpoints && svc.spec.kind == headless {
		return x.readyHosts(svc)
	}
	return nil
}

// readyHosts returns the ready endpoints of svc.
func (x *index) readyHosts(svc *service) []externalHost {
	var hosts []externalHost
	for _, g := range svc.groups {
		for _, target := range g.targets {
			for e := range x.sharing(target) {
				if e.state == ready {
					hosts = append(hosts, externalHost{pointer: svc.pointer(e.label(), 0), addr: e.addr(), ports: e.ports()})
				}
			}
		}
	}
	return hosts
}

// namedHosts returns the endpoints of svc that answer to the hostname of q.
func (x *index) namedHosts(svc *service, q *query) []externalHost {
	var hosts []externalHost
	at := make(map[netip.Addr]int) // the position in hosts
	least := x.leastAnswering(svc, q)
	for e := range x.named(svc, q) {
		if e.state < least {
			continue
		}
		if i, ok := at[e.addr()]; ok {
			hosts[i].ports = union(hosts[i].ports, e.ports())
			continue
		}
		at[e.addr()] = len(hosts)
		hosts = append(hosts, externalHost{pointer: svc.pointer(hostLabel{name: q.hostname}, 0), addr: e.addr(), ports: e.ports()})
	}
	return hosts
}

// lookupExternalReverse returns the Services shown that have the external address p, sorted, or says whether there are any
// addresses below p.
func (x *index) lookupExternalReverse(p netip.Prefix) (outcome, []pointer) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if !p.IsSingleIP() {
		if x.externalReverse[p] > 0 {
			return nonTerminal, nil
		}
		return nameError, nil
	}
	var pointers []pointer
	for _, svc := range x.externals[p.Addr()] {
		pointers = append(pointers, svc.pointer(hostLabel{}, 0))
	}
	if len(pointers) == 0 {
		return nameError, nil
	}
	slices.SortFunc(pointers, pointer.compare)
	return found, pointers
}

// allExternalHosts returns what all external names of Services lead to, sorted by the names.
func (x *index) allExternalHosts(endpoints bool) []externalHost {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var hosts []externalHost
	for _, ns := range x.namespaces {
		for _, svc := range ns.services {
			if svc.shown {
				hosts = append(hosts, x.externalHosts(svc, endpoints)...)
			}
		}
	}
	slices.SortStableFunc(hosts, func(a, b externalHost) int { return a.compare(b.pointer) })
	return hosts
}

// externalNameservers returns where the DNS service is reached from outside: the external addresses of the Services that have
// one of the local addresses as ClusterIP or as ready endpoint or, with endpoints, the ready endpoints of headless ones. ok is
// false if there is no such Service.
func (x *index) externalNameservers(local []netip.Addr, endpoints bool) (hosts []externalHost, ok bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	services := x.servicesAt(local)
	for _, svc := range services {
		if endpoints && svc.spec.kind == headless {
			hosts = append(hosts, x.readyHosts(svc)...)
		} else {
			hosts = append(hosts, x.externalHosts(svc, false)...)
		}
	}
	slices.SortStableFunc(hosts, func(a, b externalHost) int { return a.compare(b.pointer) })
	return hosts, len(services) > 0
}
