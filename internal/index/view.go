package index

import (
	"cmp"
	"iter"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
)

// Outcome says whether a name exists.
type Outcome uint8

// The outcomes: the more a name has, the greater.
const (
	NameError   Outcome = iota // the name does not exist
	NonTerminal                // the name exists and owns no record
	Found                      // the name owns a record, perhaps of another type
)

// Want is what a lookup is to fetch besides the outcome.
type Want uint8

// What a lookup can fetch.
const (
	WantNothing Want = iota
	WantA
	WantAAAA
	WantSRV
)

// Family returns the family of the addresses wanted by WantA and WantAAAA.
func (w Want) Family() model.Family { return model.Family(w - WantA) }

// View is what a lookup found. It belongs to the caller, who may give it to another one: what it holds
// is overwritten then.
type View struct {
	Outcome  Outcome
	Headless bool   // the name belongs to a headless Service
	CNAME    string // the CNAME's target, a lower-case FQDN; the other fields are empty then
	// Addrs holds addresses of the family wanted, octets one behind the other; Total is how many
	// there are in all.
	Addrs []byte
	Total int
	// Targets holds SRV targets; Total is how many SRV records there are in all.
	Targets []Target
	// Pointers holds the PTR targets in the order in which they are to be given.
	Pointers []Pointer
	// Overlong is how many endpoints are not called by their own names, which are too long in this zone.
	Overlong int
	// Choice says which of the endpoints of a headless Service the client gets.
	Choice Choice

	targetAddrs []netip.Addr // where those of Targets lie
}

// reset empties v, and keeps its room.
func (v *View) reset() {
	clear(v.Targets) // they hold names
	clear(v.Pointers)
	*v = View{
		Addrs: v.Addrs[:0], Targets: v.Targets[:0], Pointers: v.Pointers[:0], targetAddrs: v.targetAddrs[:0],
	}
}

// Target is an SRV target with its ports.
type Target struct {
	model.Label
	Ports []uint16
	Addrs []netip.Addr
}

// Pointer names a Service or one of its endpoints.
type Pointer struct {
	model.Label
	Service, Namespace string
	rank               int
}

// Nameserver is a name of the DNS service and the addresses it has.
type Nameserver struct {
	Pointer
	Addrs []netip.Addr
}

// ExternalView is what LookupExternal found. It belongs to the caller.
type ExternalView struct {
	Outcome  Outcome
	Headless bool           // the name belongs to a headless Service, and leads to its endpoints
	Hosts    []ExternalHost // empty unless the outcome is Found
}

// ExternalHost is one address or name at which a Service, or an endpoint of it, is reached from
// outside the cluster.
type ExternalHost struct {
	Pointer              // to the Service, or to the endpoint
	Addr    netip.Addr   // not valid for a name
	Name    string       // a lower-case FQDN; "" for an address
	Ports   []model.Port // sorted, distinct; never modified
}

// Lookup says whether the name that q stands for exists, and copies a part of the records wanted.
// q.Kind is qname.NamespaceName, qname.ServiceName or qname.ReverseName.
func (x *Index) Lookup(q *qname.Name, w Want, p Part) (v View) {
	x.LookupInto(&v, q, w, p)
	return v
}

// LookupInto is Lookup into a view that was used before.
func (x *Index) LookupInto(v *View, q *qname.Name, w Want, p Part) {
	v.reset()
	x.mu.RLock()
	defer x.mu.RUnlock()
	switch q.Kind {
	case qname.NamespaceName:
		if x.exposed(q.Namespace) {
			v.Outcome = NonTerminal
		}
	case qname.ServiceName:
		svc := x.peek(q.Namespace, q.Service)
		switch {
		case svc == nil || !svc.shown:
		case q.Scope != qname.Everywhere:
			x.lookupScope(v, svc, q, w, p)
		case q.Hostname != "":
			x.lookupHostname(v, svc, q, w, p)
		case svc.spec.Kind == model.ClusterIP:
			x.lookupClusterIP(v, svc, q, w, p)
		case svc.spec.Kind == model.Headless:
			x.lookupHeadless(v, svc, q, w, p)
		case svc.spec.Target != "" && q.Proto == "":
			v.Outcome, v.CNAME = Found, svc.spec.Target
		}
	case qname.ReverseName:
		x.lookupReverse(v, q.Prefix, p.Room)
	}
}

// exposed is HasNamespace for callers that have the lock.
func (x *Index) exposed(namespace string) bool {
	ns := x.namespaces[namespace]
	return ns != nil && ns.exists
}

// HasNamespace reports whether a namespace is in the cluster and exposed.
func (x *Index) HasNamespace(name string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.exposed(name)
}

// Knows reports whether there is a Service, or slices of one, whatever may be served of it.
func (x *Index) Knows(key model.Key) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.peek(key.Namespace, key.Name) != nil
}

// ShownSpec returns the spec of a Service if it and its Namespace exist, else nil.
func (x *Index) ShownSpec(key model.Key) *model.Service {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if svc := x.peek(key.Namespace, key.Name); svc != nil && svc.shown {
		return svc.spec
	}
	return nil
}

// lookupClusterIP looks up the name of a ClusterIP Service, or a port of it.
func (x *Index) lookupClusterIP(v *View, svc *service, q *qname.Name, w Want, p Part) {
	ips := svc.claimedIPs(x.ignoreEmpty)
	if len(ips) == 0 {
		v.Outcome = x.above(svc, q)
		return
	}
	if v.Outcome = portOutcome(svc.spec.Ports, q); v.Outcome != Found {
		return
	}
	switch w {
	case WantA, WantAAAA:
		v.pick(ips, w.Family(), p)
	case WantSRV:
		v.take(model.Label{}, match(svc.spec.Ports, q), ips)
	}
}

// pick takes a part of those of addrs, which are in order, that are of family f.
func (v *View) pick(addrs []netip.Addr, f model.Family, p Part) {
	var room [64]byte // enough for most
	set := addressSet(room[:0])
	for _, addr := range addrs {
		if model.FamilyOf(addr) == f {
			set = model.AppendAddr(set, addr)
		}
	}
	v.window(set, f, p)
}

// window takes a part of set, of family f.
func (v *View) window(set addressSet, f model.Family, p Part) {
	v.Addrs, v.Total = set.appendWindow(v.Addrs, f, p), len(set)/f.Size()
}

// take takes the only target there is, unless it has no port.
func (v *View) take(label model.Label, ports []uint16, addrs []netip.Addr) {
	if len(ports) > 0 {
		v.targetAddrs = append(v.targetAddrs, addrs...)
		v.Targets, v.Total = append(v.Targets, Target{label, ports, v.targetAddrs}), len(ports)
	}
}

// above returns the outcome for a Service's own name when it owns nothing: it exists if the name of
// an endpoint does.
func (x *Index) above(svc *service, q *qname.Name) Outcome {
	if q.Proto != "" {
		return NameError
	}
	for s := x.hostnames(svc).Least(); s <= model.Ready; s++ {
		if svc.states[s] > 0 {
			return NonTerminal
		}
	}
	return NameError
}

// portOutcome returns the outcome for a name below one that has ports: _port._proto exists if there
// is such a port, _proto if there is a named port of that protocol, and the name itself always.
func portOutcome(ports []model.Port, q *qname.Name) Outcome {
	if q.Proto == "" {
		return Found
	}
	best := NameError
	for _, p := range ports {
		if p.Proto() == q.Proto && p.Name() != "" {
			if p.Name() == q.Port {
				return Found
			}
			if q.Port == "" {
				best = NonTerminal
			}
		}
	}
	return best
}

// match returns the distinct numbers of those ports that q asks for: all of them, or those of one
// name and protocol.
func match(ports []model.Port, q *qname.Name) []uint16 {
	var numbers []uint16
	for _, p := range ports {
		if q.Proto == "" || p.Name() == q.Port && p.Proto() == q.Proto {
			numbers = append(numbers, p.Number)
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}

// lookupHeadless looks up the name of a headless Service, or a port of it.
func (x *Index) lookupHeadless(v *View, svc *service, q *qname.Name, w Want, p Part) {
	v.Headless = true
	if svc.states[model.Ready] == 0 {
		v.Outcome = x.above(svc, q)
		return
	}
	groups := 0 // those that have what q asks for
	for _, g := range svc.groups {
		o := portOutcome(g.ports, q)
		v.Outcome = max(v.Outcome, o)
		if o == Found {
			groups++
		}
	}
	if v.Outcome != Found {
		return
	}
	switch w {
	case WantSRV:
		x.lookupTargets(v, svc, q, p)
	case WantA, WantAAAA:
		f := w.Family()
		var r region
		r, v.Choice = x.choose(svc, f, p.At)
		set := svc.addrsIn(r, f)
		if q.Proto != "" && (groups < len(svc.groups) || svc.mixed > 0) {
			set = x.portAddresses(svc, q, f, r)
		}
		v.window(set, f, p)
	}
}

// lookupScope looks up a name below _zone. It exists below every headless Service whose own name
// does, whatever the topology zone.
func (x *Index) lookupScope(v *View, svc *service, q *qname.Name, w Want, p Part) {
	if svc.spec.Kind != model.Headless {
		return
	}
	own := qname.Name{Kind: qname.ServiceName, Namespace: q.Namespace, Service: q.Service}
	if x.lookupHeadless(v, svc, &own, WantNothing, Part{}); v.Outcome == NameError {
		return
	}
	v.Outcome = NonTerminal
	if q.Scope == qname.ScopeName {
		return
	}
	r, ok := x.places.regionOf(inZone, q.Topology)
	switch ok = ok && svc.has(r); {
	case !ok && q.Scope == qname.Prefer && svc.states[model.Ready] > 0:
		p.At = model.Location{}
		x.lookupHeadless(v, svc, &own, w, p)
		return
	case !ok:
		return
	}
	v.Outcome = Found
	switch w {
	case WantSRV:
		x.targetsInZone(v, svc, r, p)
	case WantA, WantAAAA:
		v.window(svc.addrsIn(r, w.Family()), w.Family(), p)
	}
}

// targetsInZone takes the SRV targets in a region, each with those of its addresses and ports that are there.
func (x *Index) targetsInZone(v *View, svc *service, r region, p Part) {
	isThere := func(e *endpoint) bool { return e.state == model.Ready && x.isIn(e, r) }
	spare, all := svc.spare(p.Room), &qname.Name{}
	if len(svc.groups) == 1 && svc.mixed == 0 && x.fitsAll(spare) {
		v.walk(x, []batch{{svc.regions.targets.in(r), match(svc.groups[0].ports, all)}}, p, isThere)
		return
	}
	var targets []Target
	byPorts := slices.Clone(svc.regions.targets.in(r))
	slices.SortStableFunc(byPorts, func(a, b *endpoint) int { return a.group.compare(b.group) })
	for _, e := range byPorts {
		t := Target{Addrs: x.appendAddrs(nil, e, isThere)}
		var ports []model.Port
		for o := range x.sharing(e) {
			if isThere(o) {
				ports = model.Union(ports, o.ports())
			}
		}
		var isTarget bool
		t.Label, isTarget = e.fitting(spare)
		if t.Ports = match(ports, all); isTarget && len(t.Ports) > 0 {
			targets = append(targets, t)
		}
	}
	v.Targets, v.Total = pickTargets(targets, p)
}

// pickTargets returns those of targets, which are in order, that have up to p.Limit SRV records,
// from the client's place on, and the number of all records.
func pickTargets(targets []Target, p Part) (picked []Target, total int) {
	from := p.from(len(targets))
	for _, t := range slices.Concat(targets[from:], targets[:from]) {
		if total < p.Limit {
			picked = append(picked, t)
		}
		total += len(t.Ports)
	}
	return picked, total
}

// lookupTargets takes the SRV targets of a headless Service, or of a port of it, that the client gets.
func (x *Index) lookupTargets(v *View, svc *service, q *qname.Name, p Part) {
	r, isOne := x.chooseTargets(v, svc, p.At)
	spare := svc.spare(p.Room)
	switch {
	case !x.fitsAll(spare):
		v.Targets, v.Total, v.Overlong = x.fittingTargets(svc, q, p, spare, x.chosen(svc, p.At))
	case isOne && r == 0:
		batches := make([]batch, 0, len(svc.groups))
		for _, g := range svc.groups {
			batches = append(batches, batch{g.targets, match(g.ports, q)})
		}
		v.walk(x, batches, p, isReady)
	case isOne && len(svc.groups) == 1:
		v.walk(x, []batch{{svc.regions.targets.in(r), match(svc.groups[0].ports, q)}}, p, isReady)
	default:
		x.lookupChosen(v, svc, q, p)
	}
}

// lookupChosen is lookupTargets where the ports differ, or the choice differs by family. It looks at each
// target.
func (x *Index) lookupChosen(v *View, svc *service, q *qname.Name, p Part) {
	isChosen := x.chosen(svc, p.At)
	batches := make([]batch, 0, len(svc.groups))
	for _, g := range svc.groups {
		b := batch{numbers: match(g.ports, q)}
		for _, e := range g.targets {
			if x.isAnyOf(e, isChosen) {
				b.targets = append(b.targets, e)
			}
		}
		batches = append(batches, b)
	}
	v.walk(x, batches, p, isReady)
}

// batch is SRV targets with the same ports, and those of their numbers that are asked for.
type batch struct {
	targets []*endpoint
	numbers []uint16
}

// walk takes targets with up to p.Limit SRV records, from the client's place on, each with the addresses
// of those endpoints that count.
func (v *View) walk(x *Index, batches []batch, p Part, counts func(*endpoint) bool) {
	batches = slices.DeleteFunc(batches, func(b batch) bool { return len(b.numbers) == 0 })
	n := 0
	for _, b := range batches {
		n += len(b.targets)
		v.Total += len(b.targets) * len(b.numbers)
	}
	if n == 0 {
		return
	}
	v.Targets = slices.Grow(v.Targets, min(p.Limit, n))
	v.targetAddrs = slices.Grow(v.targetAddrs, min(p.Limit, n))
	from := p.from(n)
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
				if records >= p.Limit {
					return
				}
				e, at := b.targets[i], len(v.targetAddrs)
				v.targetAddrs = x.appendAddrs(v.targetAddrs, e, counts)
				v.Targets = append(v.Targets,
					Target{e.label(), b.numbers, v.targetAddrs[at:len(v.targetAddrs):len(v.targetAddrs)]})
				records += len(b.numbers)
			}
		}
	}
}

// isReady reports whether e is ready.
func isReady(e *endpoint) bool { return e.state == model.Ready }

// appendReady appends the addresses of the ready endpoints that share e's name, in order.
func (x *Index) appendReady(addrs []netip.Addr, e *endpoint) []netip.Addr {
	return x.appendAddrs(addrs, e, isReady)
}

// appendAddrs appends the addresses of those that count of the endpoints that share e's name, in order.
func (x *Index) appendAddrs(addrs []netip.Addr, e *endpoint, counts func(*endpoint) bool) []netip.Addr {
	at := len(addrs)
	for o := range x.sharing(e) {
		if counts(o) {
			addrs = append(addrs, o.addr())
		}
	}
	if e.shared {
		slices.SortFunc(addrs[at:], compareNetip)
	}
	return addrs
}

// sharing yields the endpoints of svc that have e's name, e among them.
func (x *Index) sharing(e *endpoint) iter.Seq[*endpoint] {
	return func(yield func(*endpoint) bool) {
		if !e.shared {
			yield(e)
			return
		}
		for o := x.byName.first(e.hostKey()); o != nil && yield(o); o = x.byName.after(o) {
		}
	}
}

// portAddresses returns the distinct addresses of the ready endpoints in r that have the port of q.
func (x *Index) portAddresses(svc *service, q *qname.Name, f model.Family, r region) addressSet {
	var addrs []netip.Addr
	for _, g := range svc.groups {
		if portOutcome(g.ports, q) != Found {
			continue
		}
		for _, e := range g.targets {
			for o := range x.sharing(e) {
				if o.state == model.Ready && model.FamilyOf(o.addr()) == f && (r == 0 || x.isIn(o, r)) &&
					(!e.mixed || portOutcome(o.ports(), q) == Found) {
					addrs = append(addrs, o.addr())
				}
			}
		}
	}
	return setOf(addrs, f)
}

// lookupHostname looks up the name of an endpoint, or a port of it.
func (x *Index) lookupHostname(v *View, svc *service, q *qname.Name, w Want, p Part) {
	if !svc.claimsEndpoints() {
		return
	}
	v.Headless = svc.spec.Kind == model.Headless
	var room [2]netip.Addr // most have one address of each family at most
	addrs := room[:0]
	var ports []model.Port
	spare := svc.spare(p.Room)
	least := x.leastAnswering(svc, q, spare)
	for e := range x.named(svc, q, spare) {
		if e.state >= least {
			ports = model.Union(ports, e.ports())
			addrs = append(addrs, e.addr())
		}
	}
	if len(addrs) > 1 {
		slices.SortFunc(addrs, compareNetip)
		addrs = slices.Compact(addrs)
	}
	if len(addrs) == 0 {
		if q.Cluster && q.Proto == "" && x.hasCluster(svc, q.Hostname) {
			v.Outcome = NonTerminal
		}
		return
	}
	if v.Outcome = portOutcome(ports, q); v.Outcome != Found {
		return
	}
	switch {
	case w == WantSRV:
		v.take(model.Label{Name: q.Hostname}, match(ports, q), addrs)
	case w != WantNothing && q.Proto == "":
		v.pick(addrs, w.Family(), p)
	}
}

// hasCluster reports whether an endpoint in cluster, of a Service of a multicluster zone, answers
// to its name.
func (x *Index) hasCluster(svc *service, cluster string) bool {
	least := x.hostnames(svc).Least()
	for s, n := range x.clusters[hostKey{svc, cluster}] {
		if n > 0 && model.State(s) >= least {
			return true
		}
	}
	return false
}

// leastAnswering returns the least state of the endpoints of svc that answer to the hostname of q.
func (x *Index) leastAnswering(svc *service, q *qname.Name, spare int) model.State {
	best := model.NotReady
	for e := range x.named(svc, q, spare) {
		best = max(best, e.state)
	}
	if best == model.Ready {
		return model.Ready
	}
	return x.hostnames(svc).Least()
}

// named yields the endpoints of svc that have the hostname of q, in any state. Those whose own names
// have more octets than spare have their dashed addresses.
func (x *Index) named(svc *service, q *qname.Name, spare int) iter.Seq[*endpoint] {
	return func(yield func(*endpoint) bool) {
		for e := x.byName.first(hostKey{svc, q.Hostname}); e != nil; e = x.byName.after(e) {
			if !yield(e) {
				return
			}
		}
		addr, isAll := q.Addr, x.fitsAll(spare)
		if !isAll {
			addr = dashedOf(q)
		}
		if !addr.IsValid() {
			return
		}
		for e := x.byAddr.first(addr.As16()); e != nil; e = x.byAddr.after(e) {
			if e.svc != svc || e.name == q.Hostname {
				continue
			}
			isCalled := e.dashed() && q.Addr.IsValid()
			if !isAll && !e.isNamed(spare) {
				isCalled = clusterOf(e.name) == clusterOf(q.Hostname)
			}
			if isCalled && !yield(e) {
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
func (x *Index) lookupReverse(v *View, p netip.Prefix, room int) {
	if !p.IsSingleIP() {
		if x.reverse[p] > 0 {
			v.Outcome = NonTerminal
		}
		return
	}
	for _, svc := range x.clusterIPs[p.Addr()] {
		switch {
		case !svc.ownsIPs:
		case svc.spare(room) < 0:
			v.Overlong++
		default:
			v.Pointers = append(v.Pointers, svc.pointer(model.Label{}, 0))
		}
	}
	if len(v.Pointers) == 0 {
		for e := x.byAddr.first(p.Addr().As16()); e != nil; e = x.byAddr.after(e) {
			if e.state != model.Ready || !e.svc.claimsEndpoints() {
				continue
			}
			label, ok := e.fitting(e.svc.spare(room))
			if !ok || label.Name != e.name {
				v.Overlong++
			}
			if ok {
				v.Pointers = append(v.Pointers, e.svc.pointer(label, e.rank()))
				v.Headless = v.Headless || e.svc.spec.Kind == model.Headless
			}
		}
	}
	if v.Headless {
		v.Pointers = slices.DeleteFunc(v.Pointers, func(p Pointer) bool { return p.rank == rankClusterIP })
	}
	if len(v.Pointers) > 0 {
		v.Outcome = Found
	}
	slices.SortFunc(v.Pointers, Pointer.compare)
}

// rank returns the rank of e's PTR.
func (e *endpoint) rank() int {
	switch {
	case e.svc.spec.Kind != model.Headless:
		return rankClusterIP
	case e.hasHostname():
		return rankHostname
	}
	return rankHeadless
}

// pointer returns the pointer to svc, or to the endpoint of it that has label h.
func (svc *service) pointer(h model.Label, rank int) Pointer {
	return Pointer{h, svc.name, svc.ns.name, rank}
}

func (p Pointer) compare(o Pointer) int {
	return cmp.Or(cmp.Compare(p.rank, o.rank), strings.Compare(p.Namespace, o.Namespace),
		strings.Compare(p.Service, o.Service), p.Compare(o.Label))
}

// Nameservers returns the names of the DNS Services, sorted, for a headless one those of its
// endpoints. They are the Services that have one of the local addresses as a ready endpoint or, if
// no Service has, one of the bound addresses as ClusterIP: where kube-proxy gives all ClusterIPs to
// the machine (IPVS), an address that is not bound by its name says nothing. room is Part.Room.
func (x *Index) Nameservers(local, bound []netip.Addr, room int) []Nameserver {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var servers []Nameserver
	for _, svc := range x.dnsServices(local, bound) {
		switch {
		case svc.spec.Kind == model.Headless:
			for _, g := range svc.groups {
				for _, e := range g.targets {
					if label, ok := e.fitting(svc.spare(room)); ok && label.Name == e.name {
						servers = append(servers, Nameserver{svc.pointer(label, 0), x.appendReady(nil, e)})
					}
				}
			}
		case len(svc.claimedIPs(x.ignoreEmpty)) > 0 && svc.spare(room) >= 0:
			servers = append(servers,
				Nameserver{svc.pointer(model.Label{}, 0), slices.Clone(svc.spec.ClusterIPs)})
		}
	}
	slices.SortFunc(servers, func(a, b Nameserver) int { return a.compare(b.Pointer) })
	return servers
}

// dnsServices returns the DNS Services that are shown, see Nameservers.
func (x *Index) dnsServices(local, bound []netip.Addr) []*service {
	var services []*service
	add := func(svc *service) {
		if svc.claimsEndpoints() && !slices.Contains(services, svc) {
			services = append(services, svc)
		}
	}
	for _, addr := range local {
		for e := x.byAddr.first(addr.As16()); e != nil; e = x.byAddr.after(e) {
			if e.state == model.Ready {
				add(e.svc)
			}
		}
	}
	if len(services) > 0 {
		return services
	}
	for _, addr := range bound {
		for _, svc := range x.clusterIPs[addr] {
			add(svc)
		}
	}
	return services
}

// LookupExternal looks up an external name: of a Service, a port of it or, with endpoints, an
// endpoint. A Service leads to its external addresses and names. With endpoints, a headless Service
// that has neither leads to its ready endpoints, and the endpoints of any Service that answer to
// their own names have names below it. The hosts are all
// there are, and begin with the part wanted.
func (x *Index) LookupExternal(q *qname.Name, endpoints bool, w Want, p Part) ExternalView {
	x.mu.RLock()
	defer x.mu.RUnlock()
	svc := x.peek(q.Namespace, q.Service)
	if svc == nil || !svc.shown {
		return ExternalView{}
	}
	endpoints = endpoints && svc.spec.External == nil && svc.spec.Kind != model.ExternalName
	v := ExternalView{Headless: endpoints && svc.spec.Kind == model.Headless}
	var hosts []ExternalHost
	switch {
	case q.Hostname == "":
		hosts = x.externalHosts(svc, endpoints)
	case endpoints && q.Proto == "":
		hosts = x.namedHosts(svc, q)
	}
	if len(hosts) == 0 && endpoints && q.Hostname == "" {
		v.Outcome = x.above(svc, q)
	}
	n := 0 // that give records of the type wanted
	for _, h := range hosts {
		o := portOutcome(h.Ports, q)
		v.Outcome = max(v.Outcome, o)
		if o == Found {
			v.Hosts = append(v.Hosts, h)
			if h.gives(w) {
				n++
			}
		}
	}
	isWhole := w != WantSRV && n <= p.Limit
	from := p.from(len(v.Hosts))
	if isWhole {
		from = rand.IntN(len(v.Hosts) + 1)
	}
	v.Hosts = slices.Concat(v.Hosts[from:], v.Hosts[:from])
	if w != WantSRV && !isWhole {
		shown := 0 // hosts that the part is of
		for n = 0; n < p.Limit; shown++ {
			if v.Hosts[shown].gives(w) {
				n++
			}
		}
		rand.Shuffle(shown, func(i, j int) { v.Hosts[i], v.Hosts[j] = v.Hosts[j], v.Hosts[i] })
	}
	return v
}

// gives reports whether the host gives address records of the family wanted.
func (h *ExternalHost) gives(w Want) bool {
	return h.Name != "" || (w == WantA || w == WantAAAA) && model.FamilyOf(h.Addr) == w.Family()
}

// externalHosts returns what the external name of svc leads to. svc is shown.
func (x *Index) externalHosts(svc *service, endpoints bool) []ExternalHost {
	var hosts []ExternalHost
	if e := svc.spec.External; e != nil {
		for _, addr := range e.Addrs {
			hosts = append(hosts, ExternalHost{
				Pointer: svc.pointer(model.Label{}, 0), Addr: addr, Ports: svc.spec.Ports,
			})
		}
		for _, name := range e.Names {
			hosts = append(hosts, ExternalHost{
				Pointer: svc.pointer(model.Label{}, 0), Name: name, Ports: svc.spec.Ports,
			})
		}
		return hosts
	}
	if endpoints && svc.spec.Kind == model.Headless {
		return x.readyHosts(svc)
	}
	return nil
}

// readyHosts returns the ready endpoints of svc, in order.
func (x *Index) readyHosts(svc *service) []ExternalHost {
	var hosts []ExternalHost
	for _, g := range svc.groups {
		for _, target := range g.targets {
			at := len(hosts)
			for e := range x.sharing(target) {
				if e.state == model.Ready {
					hosts = append(hosts,
						ExternalHost{Pointer: svc.pointer(e.label(), 0), Addr: e.addr(), Ports: e.ports()})
				}
			}
			slices.SortFunc(hosts[at:], compareHosts)
		}
	}
	return hosts
}

// compareHosts orders hosts of one name by their addresses.
func compareHosts(a, b ExternalHost) int { return compareNetip(a.Addr, b.Addr) }

// namedHosts returns the endpoints of svc that answer to the hostname of q, in order.
func (x *Index) namedHosts(svc *service, q *qname.Name) []ExternalHost {
	var hosts []ExternalHost
	at := make(map[netip.Addr]int) // the position in hosts
	least := x.leastAnswering(svc, q, math.MaxInt)
	for e := range x.named(svc, q, math.MaxInt) {
		if e.state < least {
			continue
		}
		if i, ok := at[e.addr()]; ok {
			hosts[i].Ports = model.Union(hosts[i].Ports, e.ports())
			continue
		}
		at[e.addr()] = len(hosts)
		hosts = append(hosts, ExternalHost{
			Pointer: svc.pointer(model.Label{Name: q.Hostname}, 0), Addr: e.addr(), Ports: e.ports(),
		})
	}
	slices.SortFunc(hosts, compareHosts)
	return hosts
}

// LookupExternalReverse returns the Services shown that have the external address p, sorted, or
// says whether there are any addresses below p.
func (x *Index) LookupExternalReverse(p netip.Prefix) (Outcome, []Pointer) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if !p.IsSingleIP() {
		if x.externalReverse[p] > 0 {
			return NonTerminal, nil
		}
		return NameError, nil
	}
	var pointers []Pointer
	for _, svc := range x.externals[p.Addr()] {
		pointers = append(pointers, svc.pointer(model.Label{}, 0))
	}
	if len(pointers) == 0 {
		return NameError, nil
	}
	slices.SortFunc(pointers, Pointer.compare)
	return Found, pointers
}

// AllExternalHosts returns what all external names of Services lead to, sorted by the names.
func (x *Index) AllExternalHosts(endpoints bool) []ExternalHost {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var hosts []ExternalHost
	for _, ns := range x.namespaces {
		for _, svc := range ns.services {
			if svc.shown {
				hosts = append(hosts, x.externalHosts(svc, endpoints)...)
			}
		}
	}
	slices.SortStableFunc(hosts, func(a, b ExternalHost) int { return a.compare(b.Pointer) })
	return hosts
}

// ExternalNameservers returns where the DNS Services are reached from outside: their external
// addresses or, with endpoints, the ready endpoints of headless ones. ok is false if there is no such
// Service. See Nameservers.
func (x *Index) ExternalNameservers(local, bound []netip.Addr, endpoints bool) (hosts []ExternalHost, ok bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	services := x.dnsServices(local, bound)
	for _, svc := range services {
		if endpoints && svc.spec.Kind == model.Headless {
			hosts = append(hosts, x.readyHosts(svc)...)
		} else {
			hosts = append(hosts, x.externalHosts(svc, false)...)
		}
	}
	slices.SortStableFunc(hosts, func(a, b ExternalHost) int { return a.compare(b.Pointer) })
	return hosts, len(services) > 0
}

// FQDN returns the name that p points to in zone.
func (p Pointer) FQDN(zone string) string {
	var room [64]byte
	label := p.Append(room[:0])
	if len(label) > 0 {
		label = append(label, '.')
	}
	return string(label) + qname.ServiceFQDN(p.Service, p.Namespace, zone)
}

// Numbers returns the distinct numbers of those ports that q asks for.
func (h *ExternalHost) Numbers(q *qname.Name) []int {
	if len(h.Ports) == 0 {
		return []int{noPort}
	}
	var numbers []int
	for _, number := range match(h.Ports, q) {
		numbers = append(numbers, int(number))
	}
	return numbers
}

// noPort stands for the port of a host without ports: it has addresses and no SRV records.
const noPort = -1
