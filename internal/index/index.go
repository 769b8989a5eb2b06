// Package index holds what DNS needs to know of a cluster, and answers lookups of names from it:
// whether the name exists, what it owns, and why it owns nothing if that is so.
package index

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
)

// Index holds what DNS needs to know of a cluster's Services, EndpointSlices and Namespaces.
//
//   - To change it: the methods Put…, Drop… and Replace…, from any goroutine; the cost is that of
//     the object that changed.
//   - To read it: Lookup, Deny, Nameservers, Serial, and their counterparts for external names,
//     from any goroutine. What they return is the caller's.
//
// Its content depends on the objects that were put and not dropped, never on the order in which
// they came: a slice may come before its Service, and either before their Namespace.
type Index struct {
	policy      model.Policy     // of Services without an annotation; never model.NotReady
	ignoreEmpty bool             // ClusterIP Services without ready endpoints have no name
	now         func() time.Time // for the serials

	soaSerial      serial
	externalSerial serial        // of the zones with external names
	changes        atomic.Uint64 // so far

	portion   int               // what a walk looks at before others have their turn; less in tests
	walking   sync.Mutex        // taken before mu by who walks: of several walks one is in a portion
	portioned func(objects int) // called after each portion, which looked at so many; for tests

	mu         sync.RWMutex // guards the fields below
	namespaces map[string]*namespace
	// slices holds the slices by their own keys.
	slices table[model.Key, slice]
	// byAddr holds the endpoints by their addresses.
	byAddr table[Octets, endpoint]
	// byName holds the endpoints that have names by their Services and names.
	byName table[hostKey, endpoint]
	// clusterIPs holds the Services that have an address as ClusterIP, whether they answer for it or not.
	clusterIPs map[netip.Addr][]*service
	// reverse holds what is above the addresses that have owners.
	reverse reverseTree
	// externals holds the Services that are shown and have an external address. No list is empty.
	externals map[netip.Addr][]*service
	// externalReverse holds what is above the addresses in externals.
	externalReverse reverseTree
	// clusters counts the endpoints by state that are named <hostname>.<cluster>, by their Services
	// and clusters.
	clusters map[hostKey][3]int32
	places   places // of the endpoints
	holds    holds
	// moments holds those that are read, the oldest first, and numMoments counts all there were.
	moments    []*Moment
	numMoments uint32
	altered    *altered // since the last step, for who follows x; nil without one
	watches    []*Watch
}

// reverseTree counts, for each empty non-terminal above the reverse names of some addresses, the
// names one label below it that exist.
type reverseTree map[netip.Prefix]int

// New returns an empty index. Endpoints answer to their own names as p says, unless the annotation
// of their Service says otherwise. With ignoreEmpty, a ClusterIP Service without ready endpoints has
// no name. An endpoint that no slice lists any more is held for the time hold (behaviour section 4).
func New(p model.Policy, ignoreEmpty bool, hold time.Duration) *Index {
	x := &Index{
		policy:          p,
		ignoreEmpty:     ignoreEmpty,
		now:             time.Now,
		namespaces:      make(map[string]*namespace),
		slices:          newTable((*slice).id, func(sl *slice) **slice { return &sl.next }),
		byAddr:          newTable((*endpoint).octets, func(e *endpoint) **endpoint { return &e.sameAddr }),
		byName:          newTable((*endpoint).hostKey, func(e *endpoint) **endpoint { return &e.sameName }),
		clusters:        make(map[hostKey][3]int32),
		clusterIPs:      make(map[netip.Addr][]*service),
		reverse:         make(reverseTree),
		externals:       make(map[netip.Addr][]*service),
		externalReverse: make(reverseTree),
		places:          newPlaces(),
		holds:           holds{time: hold},
		portion:         portion,
		portioned:       func(int) {},
	}
	x.soaSerial.touch(x.now())
	x.externalSerial.touch(x.now())
	return x
}

// namespace holds the Services of one namespace. It is kept while the namespace exists or anything
// in it does.
type namespace struct {
	name     string
	exists   bool // the namespace is in the cluster and exposed
	mark     uint32
	services map[string]*service
}

// service is a Service and the endpoints of its slices. It is kept while either is there.
type service struct {
	ns   *namespace
	name string
	spec *model.Service // nil while the Service is absent; replaced, never modified
	// shown says that the Service and its Namespace exist: only then does the Service own names and
	// addresses.
	shown bool
	// ownsIPs says that the reverse names of the ClusterIPs exist because of this Service.
	ownsIPs bool
	mark    uint32
	// slices is the first of the slices that name this Service, and of those that hold endpoints of
	// it, linked through sibling.
	slices *slice
	// mixed counts the targets that are mixed.
	mixed int32
	// states counts the endpoints by state.
	states [3]int32
	// ready holds, by family, the distinct addresses of ready endpoints.
	ready [2]addressSet
	// groups holds the SRV targets: one ready endpoint for each name, grouped by the ports of that
	// name, in order. No group is empty.
	groups []*group
	// regions divides the ready endpoints by their places; nil unless the Service is headless and some
	// of them are in a region.
	regions *regions
}

// group is a set of SRV targets that have the same ports.
type group struct {
	ports   []model.Port // sorted, distinct; never modified
	hash    uint64       // of ports
	targets []*endpoint  // in order
}

// slice is an EndpointSlice.
type slice struct {
	svc       *service
	name      string       // "" for a hold's, and for one about to be removed
	ports     []model.Port // sorted, distinct; never modified
	endpoints []*endpoint
	sums      []uint64 // of the spec, if there is one for each of the endpoints; else nil
	next      *slice   // of its chain in the index's slices
	sibling   *slice   // the next of its Service
	turn      bool     // differs from one version to the next
	// moved says that it was another Service's. The control plane does not move slices, and is about
	// to take it away.
	moved bool
	held  bool // it is a hold's
	mark  uint32
}

// id returns the key of svc.
func (svc *service) id() model.Key { return model.Key{Namespace: svc.ns.name, Name: svc.name} }

// id returns the key of sl, which is in the namespace of its Service.
func (sl *slice) id() model.Key { return model.Key{Namespace: sl.svc.ns.name, Name: sl.name} }

// Octets is an address, IPv4-mapped if it is an IPv4 address.
type Octets [16]byte

// hostKey is a name below that of a Service.
type hostKey struct {
	svc  *service
	name string
}

// endpoint is one address under one name in one Service, in however many slices.
type endpoint struct {
	svc      *service
	ip       Octets
	name     string     // "" when the endpoint is named by its dashed address
	sameAddr *endpoint  // the next of its chain in byAddr
	sameName *endpoint  // the next of its chain in byName
	in       occurrence // the first of the slices that list this endpoint
	// group is the one that has e as a target, or nil. Of the endpoints of a Service with one name,
	// one is a target.
	group  *group
	holds  bool        // svc.ready has the address because of e: of those with one address, one holds it
	state  model.State // the best of its occurrences'
	mixed  bool        // it is a target, and some endpoint of that name lacks a port of the group
	shared bool        // another endpoint of the Service has, or had, the name
	owns   bool        // it holds the address, and the reverse name exists because of it
	hinted hinted      // as it is counted in svc.regions
}

// occurrence is one slice's word on an endpoint.
type occurrence struct {
	slice   *slice // nil when the endpoint is in no slice
	next    *occurrence
	place   uint32 // the position of the place in the index's places
	state   model.State
	podName bool // the name is a pod's; the dashed address names the endpoint as well
	leaving bool // the endpoint is terminating
	turn    bool // slice's, when it listed the endpoint last
}

// Serial returns the zones' SOA serial.
func (x *Index) Serial() uint32 { return x.soaSerial.current(x.now) }

// ExternalSerial returns the SOA serial of the zones with external names.
func (x *Index) ExternalSerial() uint32 { return x.externalSerial.current(x.now) }

// Follow makes the serials of x come after those of an index before it.
func (x *Index) Follow(soa, external uint32) {
	x.soaSerial.follow(soa)
	x.externalSerial.follow(external)
}

// Version returns a number that grows with each change, also with one that a transfer could not see.
func (x *Index) Version() uint64 { return x.changes.Load() }

// PutNamespace makes the Services of a namespace visible. Readers wait no longer than for one Service of it.
func (x *Index) PutNamespace(spec *model.Namespace) {
	if ns := x.setExists(spec.Name, true); ns != nil {
		x.showAll(ns)
	}
}

// DropNamespace hides the Services of a namespace.
func (x *Index) DropNamespace(key model.Key) {
	if ns := x.setExists(key.Name, false); ns != nil {
		x.showAll(ns)
	}
}

// setExists notes whether a namespace is in the cluster, and returns it if that is news.
func (x *Index) setExists(name string, exists bool) *namespace {
	c := x.begin()
	defer c.commit()
	ns := x.namespaces[name]
	if exists {
		ns = x.namespace(name)
	}
	if ns == nil || ns.exists == exists {
		return nil
	}
	c.keepNamespace(ns)
	ns.exists = exists
	c.happened, c.visible = true, true
	x.forgetNamespace(ns)
	return ns
}

// showAll brings the Services of a namespace in line with its existence, one Service at a time.
func (x *Index) showAll(ns *namespace) {
	x.mu.RLock()
	services := slices.Collect(maps.Values(ns.services))
	x.mu.RUnlock()
	for _, svc := range services {
		c := x.begin()
		c.respec(svc, svc.spec)
		c.commit()
	}
}

// PutService adds a Service or replaces it.
func (x *Index) PutService(spec *model.Service) {
	c := x.begin()
	defer c.commit()
	if svc := x.service(spec.Key); svc.spec == nil || !svc.spec.Equal(spec) {
		c.respec(svc, spec)
	}
}

// DropService removes a Service. Its slices' endpoints wait for its return.
func (x *Index) DropService(key model.Key) {
	c := x.begin()
	defer c.commit()
	if svc := x.peek(key.Namespace, key.Name); svc != nil {
		c.respec(svc, nil)
		c.orphanHolds(svc)
		x.forgetService(svc)
	}
}

// respec gives svc a new spec and brings in line what depends on it and on the Namespace.
func (c *change) respec(svc *service, spec *model.Service) {
	c.keepService(svc)
	c.tell(svc)
	defer c.tell(svc) // if it was not there
	c.happened = true
	claimed := svc.claimsEndpoints()
	c.ownIPs(svc, false)
	for _, addr := range svc.spec.Addresses() {
		c.clusterIPs[addr] = without(c.clusterIPs[addr], svc)
		if len(c.clusterIPs[addr]) == 0 {
			delete(c.clusterIPs, addr)
		}
	}
	shown := spec != nil && svc.ns.exists
	c.visible = c.visible || svc.shown != shown || shown && !svc.spec.EqualInside(spec)
	wasOutside, was := svc.isOutside(), svc.spec
	c.unlinkExternal(svc)
	svc.spec, svc.shown = spec, shown
	c.linkExternal(svc)
	c.visibleOutside = c.visibleOutside || wasOutside != svc.isOutside() || wasOutside && !was.Equal(spec)
	for _, addr := range spec.Addresses() {
		c.clusterIPs[addr] = append(c.clusterIPs[addr], svc)
	}
	c.ownIPs(svc, len(svc.claimedIPs(c.ignoreEmpty)) > 0)
	c.divide(svc)
	if svc.claimsEndpoints() == claimed {
		return
	}
	for f, set := range svc.ready {
		for i := range len(set) / model.Family(f).Size() {
			c.ownAddress(c.holder(svc, set.at(i, model.Family(f))), !claimed)
		}
	}
}

// claimsEndpoints reports whether svc owns the names and addresses of its ready endpoints.
func (svc *service) claimsEndpoints() bool { return svc.shown && svc.spec.Kind != model.ExternalName }

// claimedIPs returns the ClusterIPs to which svc resolves now.
func (svc *service) claimedIPs(ignoreEmpty bool) []netip.Addr {
	if !svc.shown || ignoreEmpty && svc.states[model.Ready] == 0 {
		return nil
	}
	return svc.spec.ClusterIPs
}

// isOutside reports whether a transfer of external names may have some of svc: its external
// addresses and names or, if it is headless and has neither, its endpoints.
func (svc *service) isOutside() bool {
	return svc.shown && (svc.spec.External != nil || svc.spec.Kind == model.Headless)
}

// linkExternal lets svc, if it is shown, own its external addresses.
func (x *Index) linkExternal(svc *service) {
	for _, addr := range svc.externalAddrs() {
		if x.externals[addr] = append(x.externals[addr], svc); len(x.externals[addr]) == 1 {
			x.externalReverse.grow(addr, +1)
		}
	}
}

// unlinkExternal is the inverse of linkExternal.
func (x *Index) unlinkExternal(svc *service) {
	for _, addr := range svc.externalAddrs() {
		if x.externals[addr] = without(x.externals[addr], svc); len(x.externals[addr]) == 0 {
			delete(x.externals, addr)
			x.externalReverse.grow(addr, -1)
		}
	}
}

// externalAddrs returns the external addresses that svc owns.
func (svc *service) externalAddrs() []netip.Addr {
	if !svc.shown || svc.spec.External == nil {
		return nil
	}
	return svc.spec.External.Addrs
}

// hostnames returns the policy that holds for svc.
func (x *Index) hostnames(svc *service) model.Policy {
	if svc.spec != nil && svc.spec.Policy != model.Inherited {
		return svc.spec.Policy
	}
	return x.policy
}

// ownIPs says whether the reverse names of svc's ClusterIPs exist because of svc.
func (x *Index) ownIPs(svc *service, owns bool) {
	if svc.ownsIPs == owns {
		return
	}
	svc.ownsIPs = owns
	for _, addr := range svc.spec.Addresses() {
		x.ownersChanged(addr, owns)
	}
}

// ownAddress says whether the reverse name of e's address exists because of e, which holds the
// address for its Service.
func (x *Index) ownAddress(e *endpoint, owns bool) {
	if e.owns == owns {
		return
	}
	e.owns = owns
	x.ownersChanged(e.addr(), owns)
}

// ownersChanged notes that addr has one owner more, or less. Its reverse name comes with the first
// and goes with the last.
func (x *Index) ownersChanged(addr netip.Addr, more bool) {
	switch n := x.owners(addr); {
	case more && n == 1:
		x.reverse.grow(addr, +1)
	case !more && n == 0:
		x.reverse.grow(addr, -1)
	}
}

// owners returns how many Services and endpoints own addr. Its reverse name exists if any does.
func (x *Index) owners(addr netip.Addr) int {
	n := 0
	for e := x.byAddr.first(addr.As16()); e != nil; e = x.byAddr.after(e) {
		if e.owns {
			n++
		}
	}
	for _, svc := range x.clusterIPs[addr] {
		if svc.ownsIPs {
			n++
		}
	}
	return n
}

// grow counts that the reverse name of addr comes (by is +1) or goes (-1), and with it perhaps some
// of those above it.
func (t reverseTree) grow(addr netip.Addr, by int) {
	for p := netip.PrefixFrom(addr, addr.BitLen()); p.Bits() > 0; {
		p = qname.Parent(p)
		n := t[p] + by
		if n == 0 {
			delete(t, p)
			continue
		}
		t[p] = n
		if by < 0 || n > 1 {
			return
		}
	}
}

// PutSlice adds a slice or replaces it. An endpoint that is in the old version and the new, or in
// another slice, is present throughout: what the new version lists is retained before what the old
// one listed is released.
func (x *Index) PutSlice(spec *model.Slice) {
	c := x.begin()
	defer c.commit()
	old := x.slices.first(spec.Key)
	if old == nil || old.svc != x.peek(spec.Namespace, spec.Service) {
		c.addSlice(spec, old)
		c.removeSlice(old, nil)
		return
	}
	var h *hold
	if len(spec.Ports) > 0 && !slices.Equal(old.ports, spec.Ports) {
		h = x.newHold(old)
	}
	c.fill(old, spec, h)
}

// DropSlice removes a slice.
func (x *Index) DropSlice(key model.Key) {
	c := x.begin()
	defer c.commit()
	sl := x.slices.first(key)
	c.removeSlice(sl, x.newHold(sl))
}

// ReplaceNamespaces makes specs all the Namespaces there are.
func (x *Index) ReplaceNamespaces(specs iter.Seq[*model.Namespace]) {
	replace(specs, x.PutNamespace, x.DropNamespace, x.NamespaceKeys)
}

// ReplaceServices makes specs all the Services there are.
func (x *Index) ReplaceServices(specs iter.Seq[*model.Service]) {
	replace(specs, x.PutService, x.DropService, x.ServiceKeys)
}

// replace puts all of specs, then drops the others of keys, so that nothing present is ever missing.
func replace[S interface{ ID() model.Key }](specs iter.Seq[S], put func(S), drop func(model.Key), keys func() []model.Key) {
	listed := make(map[model.Key]bool)
	for spec := range specs {
		put(spec)
		listed[spec.ID()] = true
	}
	for _, key := range keys() {
		if !listed[key] {
			drop(key)
		}
	}
}

// ReplaceSlices makes specs all the slices there are. An endpoint that was present and is in specs
// is present throughout: the slices that change or go are released when all of specs are put.
// Readers wait for one slice at most, and for a portion of the keys of all slices.
func (x *Index) ReplaceSlices(specs iter.Seq[*model.Slice]) {
	var stale []*slice
	retire := func(c *change, sl *slice) {
		c.keepSlice(sl)
		c.slices.remove(sl)
		sl.name = ""
		c.slices.add(sl)
		stale = append(stale, sl)
	}
	listed := make(map[model.Key]bool)
	for spec := range specs {
		listed[spec.Key] = true
		c := x.begin()
		old := x.slices.first(spec.Key)
		if old == nil || !x.isMadeOf(old, spec) {
			if old != nil {
				retire(&c, old)
			}
			c.addSlice(spec, old)
		} else {
			old.sum(spec)
		}
		c.commit()
	}
	for _, sl := range stale {
		c := x.begin()
		c.removeSlice(sl, nil)
		c.commit()
	}
	for _, key := range x.SliceKeys() {
		if !listed[key] {
			c := x.begin()
			c.removeSlice(c.slices.first(key), nil)
			c.commit()
		}
	}
}

// addSlice adds a slice, unless it belongs to no Service. It takes the place of old, which may be nil.
func (c *change) addSlice(spec *model.Slice, old *slice) {
	if spec.Service == "" {
		return
	}
	sl := &slice{svc: c.service(model.Key{Namespace: spec.Namespace, Name: spec.Service}), name: spec.Name, mark: c.numMoments}
	sl.link()
	c.slices.add(sl)
	sl.moved = old != nil && (old.moved || old.svc != sl.svc)
	c.fill(sl, spec, nil)
}

// removeSlice takes back all that sl says, except what h holds, and forgets its Service if nothing
// else is known of it. Both sl and h may be nil.
func (c *change) removeSlice(sl *slice, h *hold) {
	if sl == nil {
		return
	}
	c.slices.remove(sl)
	sl.unlink()
	c.fill(sl, &model.Slice{}, h)
	c.forgetService(sl.svc)
}

// link adds sl to the slices of its Service.
func (sl *slice) link() { sl.sibling, sl.svc.slices = sl.svc.slices, sl }

// unlink is the inverse of link.
func (sl *slice) unlink() {
	link := &sl.svc.slices
	for *link != sl {
		link = &(*link).sibling
	}
	*link, sl.sibling = sl.sibling, nil
}

// fill gives sl the content of spec. h, which may be nil, holds those endpoints that no slice lists any more.
func (c *change) fill(sl *slice, spec *model.Slice, h *hold) {
	c.keepSlice(sl)
	unchanged := model.SamePorts(sl.ports, spec.Ports)
	if !unchanged {
		sl.ports = spec.Ports
	}
	sl.turn = !sl.turn
	was, created := sl.endpoints, []*endpoint(nil)
	sl.endpoints = make([]*endpoint, 0, len(spec.Endpoints))
	for i, es := range spec.Endpoints {
		var e *endpoint
		if i < len(was) && was[i].ip == es.Addr.As16() && was[i].name == es.Name {
			e = was[i] // as most are: a change is one of a few endpoints
		} else if e = c.find(sl.svc, es.Addr, es.Name); e == nil {
			e = c.create(sl.svc, es.Addr, es.Name)
			created = append(created, e)
		}
		if e.isHeld() {
			c.endHold(e, holdReturned)
		}
		place := c.places.take(es.Place)
		isNews, again, was := e.retain(sl, es, place)
		if was == place {
			c.places.give(was) // it has it already
		} else {
			c.leavePlace(e, was)
		}
		if !again {
			sl.endpoints = append(sl.endpoints, e)
		}
		if isNews || !unchanged && !again {
			c.touched = append(c.touched, e)
		}
	}
	for _, e := range was {
		if e.occurrence(sl).turn != sl.turn {
			if said := e.release(sl); !h.add(e, said) {
				c.leavePlace(e, said.place)
			}
			c.touched = append(c.touched, e)
		}
	}
	sl.sum(spec)
	c.startHold(h)
	c.settle(sl.svc)
	c.supersede(created)
}

// sum notes the sums of spec, which sl is made of.
func (sl *slice) sum(spec *model.Slice) {
	sl.sums = nil
	if len(spec.Sums) == len(sl.endpoints) {
		sl.sums = spec.Sums
	}
}

// holder returns the endpoint that holds addr, one of svc's ready addresses.
func (x *Index) holder(svc *service, addr netip.Addr) *endpoint {
	e := x.byAddr.first(addr.As16())
	for e.svc != svc || !e.holds {
		e = x.byAddr.after(e)
	}
	return e
}

// groupOf returns the group of the targets that have ports, which it may add.
func (svc *service) groupOf(ports []model.Port) *group {
	if len(svc.groups) > 0 && model.Identical(svc.groups[0].ports, ports) {
		return svc.groups[0] // as most often: they are the ports of one slice
	}
	g := &group{ports: ports, hash: hashPorts(ports)}
	at, found := slices.BinarySearchFunc(svc.groups, g, (*group).compare)
	if found {
		return svc.groups[at]
	}
	svc.groups = slices.Insert(svc.groups, at, g)
	return g
}

// compare orders the groups of a Service.
func (g *group) compare(o *group) int {
	return cmp.Or(cmp.Compare(g.hash, o.hash), slices.CompareFunc(g.ports, o.ports, model.Port.Compare))
}

// positions returns the positions of endpoints, which are in order, among the targets of g, or those
// they would have.
func (g *group) positions(endpoints []*endpoint) []int {
	at := make([]int, len(endpoints))
	for i, e := range endpoints {
		at[i], _ = slices.BinarySearchFunc(g.targets, e, func(a, b *endpoint) int {
			return compareLabels(a.label(), b.label())
		})
	}
	return at
}

// without returns s without e.
func without[E comparable](s []E, e E) []E {
	return slices.DeleteFunc(s, func(o E) bool { return o == e })
}

// service returns the service at key. It makes one if x knows nothing of it.
func (x *Index) service(key model.Key) *service {
	ns := x.namespace(key.Namespace)
	svc := ns.services[key.Name]
	if svc == nil {
		svc = &service{ns: ns, name: key.Name}
		ns.services[key.Name] = svc
	}
	return svc
}

// peek returns the service at key, or nil.
func (x *Index) peek(namespace, name string) *service {
	if ns := x.namespaces[namespace]; ns != nil {
		return ns.services[name]
	}
	return nil
}

// forgetService forgets svc if neither the Service nor a slice of it is left.
func (x *Index) forgetService(svc *service) {
	if svc.spec == nil && svc.slices == nil {
		delete(svc.ns.services, svc.name)
		x.forgetNamespace(svc.ns)
	}
}

// forgetNamespace forgets ns if neither the Namespace nor anything in it is left.
func (x *Index) forgetNamespace(ns *namespace) {
	if !ns.exists && len(ns.services) == 0 {
		delete(x.namespaces, ns.name)
	}
}

// find returns svc's endpoint with this address and name, or nil. Many may share either: it looks at twice as many as
// share the rarer one, at most.
func (x *Index) find(svc *service, addr netip.Addr, name string) *endpoint {
	ip := Octets(addr.As16())
	is := func(e *endpoint) bool { return e.svc == svc && e.ip == ip && e.name == name }
	e := x.byAddr.first(ip)
	if name == "" {
		for e != nil && !is(e) {
			e = x.byAddr.after(e)
		}
		return e
	}
	for o := x.byName.first(hostKey{svc, name}); e != nil && o != nil; e, o = x.byAddr.after(e), x.byName.after(o) {
		switch {
		case is(e):
			return e
		case is(o):
			return o
		}
	}
	return nil
}

// create adds an endpoint that svc does not have.
func (x *Index) create(svc *service, addr netip.Addr, name string) *endpoint {
	e := &endpoint{svc: svc, ip: addr.As16(), name: name}
	x.byAddr.add(e)
	if name != "" {
		if o := x.byName.first(e.hostKey()); o != nil {
			o.shared, e.shared = true, true
		}
		x.byName.add(e)
	}
	x.count(e, +1)
	return e
}

// count adds by to the number of endpoints in e's state.
func (x *Index) count(e *endpoint, by int32) {
	e.svc.states[e.state] += by
	_, cluster, ok := strings.Cut(e.name, ".")
	if !ok {
		return
	}
	key := hostKey{e.svc, cluster}
	n := x.clusters[key]
	if n[e.state] += by; n == [3]int32{} {
		delete(x.clusters, key)
	} else {
		x.clusters[key] = n
	}
}

// retain records what sl says of e, and reports whether that is news, and whether sl has listed e
// before in the same version. It returns the place that it has no use for any more.
func (e *endpoint) retain(sl *slice, es model.Endpoint, place uint32) (isNews, again bool, was uint32) {
	o := &e.in
	for o.slice != sl && o.next != nil {
		o = o.next
	}
	isNews = o.slice != sl
	if isNews && o.slice != nil {
		o.next = new(occurrence)
		o = o.next
	}
	if again = !isNews && o.turn == sl.turn; again {
		es.State, es.PodName = max(es.State, o.state), es.PodName && o.podName
		es.Leaving = es.Leaving && o.leaving
		place, o.place = o.place, place
	}
	isNews = isNews || o.state != es.State || o.podName != es.PodName || o.place != place && !again
	was = o.place
	o.slice, o.state, o.podName, o.place, o.turn = sl, es.State, es.PodName, place, sl.turn
	o.leaving = es.Leaving
	return isNews, again, was
}

// occurrence returns what sl says of e, which it lists.
func (e *endpoint) occurrence(sl *slice) *occurrence {
	o := &e.in
	for o.slice != sl {
		o = o.next
	}
	return o
}

// release removes what sl says of e, and returns it.
func (e *endpoint) release(sl *slice) occurrence {
	if said := e.in; said.slice == sl {
		e.in = occurrence{}
		if said.next != nil {
			e.in = *said.next
		}
		return said
	}
	o := &e.in
	for o.next.slice != sl {
		o = o.next
	}
	said := *o.next
	o.next = said.next
	return said
}

// best returns the best of the states that slices give e.
func (e *endpoint) best() model.State {
	s := model.NotReady
	for o := &e.in; o != nil; o = o.next {
		s = max(s, o.state)
	}
	return s
}

// ports returns the ports that e has in any slice.
func (e *endpoint) ports() []model.Port {
	var ports []model.Port
	several := false // ports is a list of our own, not sorted yet
	for o := &e.in; o != nil; o = o.next {
		switch {
		case o.slice == nil || model.SamePorts(ports, o.slice.ports):
		case several:
			ports = append(ports, o.slice.ports...)
		case len(ports) == 0:
			ports = o.slice.ports
		default:
			ports, several = slices.Concat(ports, o.slice.ports), true
		}
	}
	if several {
		return model.SortedPorts(ports)
	}
	return ports
}

// dashed reports whether e's dashed address is a name of e. It is one if e has no other name, or
// only the name of its pod.
func (e *endpoint) dashed() bool { return !e.hasHostname() }

// hasHostname reports whether a slice says that e's name is a hostname, not the name of a pod.
func (e *endpoint) hasHostname() bool {
	for o := &e.in; o != nil; o = o.next {
		if o.slice != nil && e.name != "" && !o.podName {
			return true
		}
	}
	return false
}

// isHeld reports whether a hold lists e, and nothing else does.
func (e *endpoint) isHeld() bool { return e.in.slice != nil && e.in.slice.held }

// label returns e's own label.
func (e *endpoint) label() model.Label { return model.Label{Name: e.name, Addr: e.addr()} }

// addr returns e's address.
func (e *endpoint) addr() netip.Addr { return netip.AddrFrom16(e.ip).Unmap() }

// octets returns e's key in byAddr, hostKey the one in byName.
func (e *endpoint) octets() Octets { return e.ip }

func (e *endpoint) hostKey() hostKey { return hostKey{e.svc, e.name} }

// Reserve makes room for so many endpoints in all, about, so that putting them is faster.
func (x *Index) Reserve(endpoints int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.byAddr.reserve(endpoints)
	x.byName.reserve(endpoints)
}
