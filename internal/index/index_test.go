package index

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns-headless/headless/internal/qname"
)

// dumbIndex is an index that holds the objects and derives each answer from all of them.
type dumbIndex struct {
	policy      model.Policy
	ignoreEmpty bool
	namespaces  map[string]bool
	services    map[model.Key]*model.Service
	slices      map[model.Key]*model.Slice
	moved       map[model.Key]bool // those that have been another Service's
	hold        time.Duration
	held        map[modelID]modelHold
	derived     map[model.Key]map[model.Label]*modelEndpoint // what endpoints returned since the last change
	at          model.Location                               // where the client is
}

func newModel(p model.Policy, ignoreEmpty bool) *dumbIndex {
	return &dumbIndex{
		policy: p, ignoreEmpty: ignoreEmpty, namespaces: make(map[string]bool),
		services: make(map[model.Key]*model.Service), slices: make(map[model.Key]*model.Slice), moved: make(map[model.Key]bool),
		held: make(map[modelID]modelHold), derived: make(map[model.Key]map[model.Label]*modelEndpoint),
	}
}

// modelID is an endpoint of a Service.
type modelID struct {
	service model.Key
	model.Label
}

// modelHold is what was said of an endpoint that is held.
type modelHold struct {
	model.Endpoint
	ports []model.Port
	until time.Time
}

// listed returns the endpoints that slices list.
func (m *dumbIndex) listed() map[modelID]bool {
	all := make(map[modelID]bool)
	for _, sl := range m.slices {
		for _, e := range sl.Endpoints {
			all[modelID{model.Key{Namespace: sl.Namespace, Name: sl.Service}, model.Label{Name: e.Name, Addr: e.Addr}}] = true
		}
	}
	return all
}

// known returns the endpoints that slices list, and those that are held.
func (m *dumbIndex) known() map[modelID]bool {
	all := m.listed()
	for id := range m.held {
		all[id] = true
	}
	return all
}

// putSlice is what a watch says of a slice that is there.
func (m *dumbIndex) putSlice(spec *model.Slice) {
	old, before := m.slices[spec.Key], m.known()
	m.move(old, spec)
	delete(m.slices, spec.Key)
	if spec.Service != "" {
		m.slices[spec.Key] = modeltest.Distinct(spec)
	}
	m.settle(before)
	if old != nil && old.Service == spec.Service && len(spec.Ports) > 0 && !slices.Equal(spec.Ports, old.Ports) {
		m.holdFrom(old, spec, before)
	}
}

// move notes whether spec, which takes the place of old, has been another Service's.
func (m *dumbIndex) move(old, spec *model.Slice) {
	m.moved[spec.Key] = old != nil && spec.Service != "" && (m.moved[spec.Key] || old.Service != spec.Service)
}

// dropSlice is what a watch says of a slice that is gone.
func (m *dumbIndex) dropSlice(key model.Key) {
	old, before := m.slices[key], m.known()
	delete(m.slices, key)
	if old != nil {
		m.holdFrom(old, &model.Slice{}, before)
	}
}

// holdFrom holds what old listed, before spec took its place. before is what was known until then.
func (m *dumbIndex) holdFrom(old, spec *model.Slice, before map[modelID]bool) {
	if m.hold == 0 || m.moved[old.Key] {
		return
	}
	key := model.Key{Namespace: old.Namespace, Name: old.Service}
	after := m.listed()
	for _, e := range old.Endpoints {
		id := modelID{key, model.Label{Name: e.Name, Addr: e.Addr}}
		if e.State != model.Ready || after[id] || m.services[key] == nil || slices.ContainsFunc(spec.Endpoints, func(o model.Endpoint) bool {
			created := !before[modelID{key, model.Label{Name: o.Name, Addr: o.Addr}}]
			return created && (o.Addr == e.Addr || o.Name == e.Name && e.Name != "")
		}) {
			continue
		}
		m.held[id] = modelHold{e, old.Ports, time.Now().Add(m.hold)}
	}
}

// settle ends the holds of endpoints that are listed again, and of those whose name or address a
// new one has, which was not known before.
func (m *dumbIndex) settle(before map[modelID]bool) {
	after := m.listed()
	var created []modelID
	for id := range after {
		if !before[id] {
			created = append(created, id)
		}
		delete(m.held, id)
	}
	for _, id := range created {
		for o := range m.held {
			if o.Addr == id.Addr || o.Name == id.Name && o.Name != "" && o.service == id.service {
				delete(m.held, o)
			}
		}
	}
}

// replace is what a list says of all slices.
func (m *dumbIndex) replace(specs []*model.Slice) {
	before, old := m.known(), maps.Clone(m.slices)
	clear(m.slices)
	for _, s := range specs {
		m.move(old[s.Key], s)
		m.slices[s.Key], old[s.Key] = modeltest.Distinct(s), s
		if s.Service == "" {
			delete(m.slices, s.Key)
			delete(old, s.Key)
		}
	}
	m.settle(before)
}

// dropService is what a watch says of a Service that is gone.
func (m *dumbIndex) dropService(key model.Key) {
	delete(m.services, key)
	maps.DeleteFunc(m.held, func(id modelID, _ modelHold) bool { return id.service == key })
}

// expire ends the holds whose time is over.
func (m *dumbIndex) expire() {
	maps.DeleteFunc(m.held, func(_ modelID, h modelHold) bool { return !h.until.After(time.Now()) })
}

// modelEndpoint is what all slices together say of one endpoint.
type modelEndpoint struct {
	model.Endpoint
	hostname bool // one says that the name is a hostname
	ports    map[model.Port]bool
	places   []model.Place
}

// isIn reports whether a slice says that e is in a topology zone.
func (e *modelEndpoint) isIn(zone string) bool {
	return slices.ContainsFunc(e.places, func(p model.Place) bool { return p.Zone == zone })
}

// hints returns the topology zones and the nodes that slices have hints for.
func (e *modelEndpoint) hints() (zones, nodes map[string]bool) {
	zones, nodes = make(map[string]bool), make(map[string]bool)
	for _, p := range e.places {
		for name := range p.ForZones.All() {
			zones[name] = true
		}
		for name := range p.ForNodes.All() {
			nodes[name] = true
		}
	}
	return zones, nodes
}

// chosen returns those of the ready endpoints of a Service that the client gets.
func (m *dumbIndex) chosen(key model.Key) map[model.Label]bool {
	get := make(map[model.Label]bool)
	for f := range model.Family(2) {
		all, forZone, forNode := make(map[model.Label]bool), make(map[model.Label]bool), make(map[model.Label]bool)
		allZones, allNodes := true, true
		for id, e := range m.endpoints(key) {
			if e.State != model.Ready || model.FamilyOf(e.Addr) != f {
				continue
			}
			all[id] = true
			zones, nodes := e.hints()
			allZones, allNodes = allZones && len(zones) > 0, allNodes && len(nodes) > 0
			if zones[m.at.Zone] {
				forZone[id] = true
			}
			if nodes[m.at.Node] {
				forNode[id] = true
			}
		}
		switch {
		case m.shown(key).NoTopology:
			maps.Copy(get, all)
		case allNodes && len(forNode) > 0:
			maps.Copy(get, forNode)
		case allZones && len(forZone) > 0:
			maps.Copy(get, forZone)
		default:
			maps.Copy(get, all)
		}
	}
	return get
}

// endpoints returns the endpoints of a Service, by address and name. It derives them once a change,
// which history tells it.
func (m *dumbIndex) endpoints(key model.Key) map[model.Label]*modelEndpoint {
	if all, ok := m.derived[key]; ok {
		return all
	}
	all := make(map[model.Label]*modelEndpoint)
	m.derived[key] = all
	for _, sl := range m.slices {
		if sl.Namespace != key.Namespace || sl.Service != key.Name {
			continue
		}
		for _, e := range sl.Endpoints {
			id := model.Label{Name: e.Name, Addr: e.Addr}
			if all[id] == nil {
				all[id] = &modelEndpoint{Endpoint: e, ports: make(map[model.Port]bool)}
			}
			all[id].places = append(all[id].places, e.Place.Place())
			all[id].State = max(all[id].State, e.State)
			all[id].hostname = all[id].hostname || e.Name != "" && !e.PodName
			for _, p := range sl.Ports {
				all[id].ports[p] = true
			}
		}
	}
	for id, h := range m.held {
		if id.service != key {
			continue
		}
		all[id.Label] = &modelEndpoint{h.Endpoint, h.Name != "" && !h.PodName, portSet(h.ports), []model.Place{h.Place.Place()}}
	}
	return all
}

func portSet(ports []model.Port) map[model.Port]bool {
	set := make(map[model.Port]bool)
	for _, p := range ports {
		set[p] = true
	}
	return set
}

// shown returns the Service at key if it and its Namespace exist.
func (m *dumbIndex) shown(key model.Key) *model.Service {
	if !m.namespaces[key.Namespace] {
		return nil
	}
	return m.services[key]
}

func (m *dumbIndex) policyOf(spec *model.Service) model.Policy {
	if spec.Policy != model.Inherited {
		return spec.Policy
	}
	return m.policy
}

// answers returns those of the endpoints that answer to hostname.
func (m *dumbIndex) answers(key model.Key, hostname string) []*modelEndpoint {
	spec := m.shown(key)
	if spec == nil || spec.Kind == model.ExternalName {
		return nil
	}
	least := map[model.Policy]model.State{model.HostnamesReady: model.Ready, model.HostnamesServing: model.Serving, model.HostnamesAll: model.NotReady}[m.policyOf(spec)]
	var candidates []*modelEndpoint
	for _, e := range m.endpoints(key) {
		dashed := string(model.AppendDashed(nil, e.Addr))
		if e.Name == hostname || !e.hostname && dashed == hostname {
			candidates = append(candidates, e)
			if e.State == model.Ready {
				least = model.Ready
			}
		}
	}
	return slices.DeleteFunc(candidates, func(e *modelEndpoint) bool { return e.State < least })
}

// record describes one fact that a lookup may show. Sets of records are compared.
type record string

func addrRecord(addr netip.Addr) record { return record(addr.String()) }

func srvRecord(host string, number uint16) record { return record(fmt.Sprintf("%s:%d", host, number)) }

func hostOf(name string, addr netip.Addr) string {
	if name != "" || !addr.IsValid() {
		return name
	}
	return string(model.AppendDashed(nil, addr))
}

// expect returns the outcome and the records for q.
func (m *dumbIndex) expect(q *qname.Name, w Want) (Outcome, map[record]bool) {
	records := make(map[record]bool)
	if q.Kind == qname.NamespaceName {
		if m.namespaces[q.Namespace] {
			return NonTerminal, records
		}
		return NameError, records
	}
	if q.Kind == qname.ReverseName {
		return m.expectReverse(q.Prefix)
	}
	key := model.Key{Namespace: q.Namespace, Name: q.Service}
	spec := m.shown(key)
	if spec == nil {
		return NameError, records
	}
	if q.Scope != qname.Everywhere {
		return m.expectScope(q, w)
	}
	type fact struct {
		host  string
		addr  netip.Addr
		ports map[model.Port]bool
		other bool // which the client does not get
	}
	var facts []fact // the endpoints, or ClusterIPs, that the name is made of
	below := NameError
	switch {
	case q.Hostname != "":
		for _, e := range m.answers(key, q.Hostname) {
			facts = append(facts, fact{host: q.Hostname, addr: e.Addr, ports: e.ports})
		}
	case spec.Kind == model.ExternalName:
		if spec.Target != "" && q.Proto == "" {
			records[record(spec.Target)] = true
			return Found, records
		}
		return NameError, records
	default:
		anyReady, chosen := false, m.chosen(key)
		for id, e := range m.endpoints(key) {
			anyReady = anyReady || e.State == model.Ready
			if spec.Kind == model.Headless && e.State == model.Ready {
				facts = append(facts, fact{host: hostOf(e.Name, e.Addr), addr: e.Addr, ports: e.ports, other: !chosen[id]})
			}
			if q.Proto == "" && below == NameError && len(m.answers(key, hostOf(id.Name, id.Addr))) > 0 {
				below = NonTerminal
			}
		}
		if spec.Kind == model.ClusterIP && (anyReady || !m.ignoreEmpty) {
			for _, ip := range spec.ClusterIPs {
				facts = append(facts, fact{host: "", addr: ip, ports: portSet(spec.Ports)})
			}
		}
	}
	if len(facts) == 0 {
		return below, records
	}
	result := NameError
	if q.Proto == "" {
		result = Found
	}
	isTarget := make(map[string]bool)
	for _, f := range facts {
		isTarget[f.host] = isTarget[f.host] || !f.other
	}
	for _, f := range facts {
		hasPort := q.Proto == ""
		for p := range f.ports {
			if q.Proto == "" || p.Proto() == q.Proto && p.Name() == q.Port && p.Name() != "" {
				result, hasPort = Found, true
				if w == WantSRV && isTarget[f.host] {
					records[srvRecord(f.host, p.Number)] = true
				}
			} else if p.Proto() == q.Proto && q.Port == "" && p.Name() != "" {
				result = max(result, NonTerminal)
			}
		}
		isWanted := w == WantA && f.addr.Is4() || w == WantAAAA && f.addr.Is6()
		if isWanted && hasPort && !f.other && (q.Hostname == "" || q.Proto == "") {
			records[addrRecord(f.addr)] = true
		}
	}
	return result, records
}

// expectScope returns the outcome and the records for a name below _zone.
func (m *dumbIndex) expectScope(q *qname.Name, w Want) (Outcome, map[record]bool) {
	records := make(map[record]bool)
	own := &qname.Name{Kind: qname.ServiceName, Namespace: q.Namespace, Service: q.Service}
	everywhere := *m
	everywhere.at = model.Location{}
	exists, all := everywhere.expect(own, w)
	if m.shown(model.Key{Namespace: q.Namespace, Name: q.Service}).Kind != model.Headless || exists == NameError {
		return NameError, records
	}
	result := NonTerminal
	for _, e := range m.endpoints(model.Key{Namespace: q.Namespace, Name: q.Service}) {
		if q.Scope == qname.ScopeName || e.State != model.Ready || !e.isIn(q.Topology) {
			continue
		}
		result = Found
		if w == WantA && e.Addr.Is4() || w == WantAAAA && e.Addr.Is6() {
			records[addrRecord(e.Addr)] = true
		}
		for p := range e.ports {
			if w == WantSRV {
				records[srvRecord(hostOf(e.Name, e.Addr), p.Number)] = true
			}
		}
	}
	if result == NonTerminal && q.Scope == qname.Prefer {
		return exists, all
	}
	return result, records
}

func (m *dumbIndex) expectReverse(p netip.Prefix) (Outcome, map[record]bool) {
	records := make(map[record]bool)
	best, below := rankClusterIP, NameError
	pointers := make(map[record]int)
	for key := range m.services {
		spec := m.shown(key)
		if spec == nil {
			continue
		}
		if spec.Kind == model.ClusterIP {
			own := &qname.Name{Kind: qname.ServiceName, Namespace: key.Namespace, Service: key.Name}
			o, _ := m.expect(own, WantNothing)
			for _, ip := range spec.ClusterIPs {
				if o == Found && p.Contains(ip) {
					below = NonTerminal
				}
				if o == Found && p.IsSingleIP() && ip == p.Addr() {
					pointers[record(key.Name+"."+key.Namespace)], best = -1, -1
				}
			}
		}
		if spec.Kind == model.ExternalName {
			continue
		}
		for _, e := range m.endpoints(key) {
			if e.State != model.Ready || !p.Contains(e.Addr) {
				continue
			}
			below = NonTerminal
			rank := rankClusterIP
			if spec.Kind == model.Headless {
				rank = rankHeadless
			}
			pointers[record(hostOf(e.Name, e.Addr)+"."+key.Name+"."+key.Namespace)] = rank
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
		return NameError, records
	}
	return Found, records
}

// externalRecord is a record of one port of a host.
func externalRecord(label, host string, number int) record {
	return record(fmt.Sprintf("%s %s:%d", label, host, number))
}

// expectExternal is expect for the external name that q stands for.
func (m *dumbIndex) expectExternal(q *qname.Name, endpoints bool) (Outcome, map[record]bool) {
	records := make(map[record]bool)
	key := model.Key{Namespace: q.Namespace, Name: q.Service}
	spec := m.shown(key)
	if spec == nil {
		return NameError, records
	}
	type fact struct {
		label, host string
		ports       map[model.Port]bool
	}
	var facts []fact
	below := NameError
	switch {
	case spec.External != nil && q.Hostname == "":
		for _, addr := range spec.External.Addrs {
			facts = append(facts, fact{label: "", host: addr.String(), ports: portSet(spec.Ports)})
		}
		for _, name := range spec.External.Names {
			facts = append(facts, fact{label: "", host: name, ports: portSet(spec.Ports)})
		}
	case spec.External != nil || !endpoints || spec.Kind == model.ExternalName:
	case q.Hostname != "":
		ports := make(map[netip.Addr]map[model.Port]bool)
		for _, e := range m.answers(key, q.Hostname) {
			if ports[e.Addr] == nil {
				ports[e.Addr] = make(map[model.Port]bool)
			}
			maps.Copy(ports[e.Addr], e.ports)
		}
		for addr := range ports {
			if q.Proto == "" {
				facts = append(facts, fact{label: q.Hostname, host: addr.String(), ports: ports[addr]})
			}
		}
	default:
		for id, e := range m.endpoints(key) {
			if spec.Kind == model.Headless && e.State == model.Ready {
				facts = append(facts, fact{label: hostOf(e.Name, e.Addr), host: e.Addr.String(), ports: e.ports})
			}
			if q.Proto == "" && below == NameError && len(m.answers(key, hostOf(id.Name, id.Addr))) > 0 {
				below = NonTerminal
			}
		}
	}
	result := below
	for _, f := range facts {
		if q.Proto == "" {
			result = Found
		}
		for p := range f.ports {
			if q.Proto == "" || p.Proto() == q.Proto && p.Name() == q.Port && p.Name() != "" {
				result = Found
				records[externalRecord(f.label, f.host, int(p.Number))] = true
			} else if p.Proto() == q.Proto && q.Port == "" && p.Name() != "" {
				result = max(result, NonTerminal)
			}
		}
		if len(f.ports) == 0 && q.Proto == "" {
			records[externalRecord(f.label, f.host, noPort)] = true
		}
	}
	return result, records
}

// expectExternalReverse is expect for the reverse name of external addresses.
func (m *dumbIndex) expectExternalReverse(p netip.Prefix) (Outcome, map[record]bool) {
	records := make(map[record]bool)
	below := NameError
	for key := range m.services {
		spec := m.shown(key)
		if spec == nil || spec.External == nil {
			continue
		}
		for _, addr := range spec.External.Addrs {
			if p.Contains(addr) {
				below = NonTerminal
			}
			if p.IsSingleIP() && p.Addr() == addr {
				records[record(key.Name+"."+key.Namespace)] = true
			}
		}
	}
	switch {
	case !p.IsSingleIP():
		return below, records
	case len(records) > 0:
		return Found, records
	}
	return NameError, records
}

// gotExternal returns what the index says of the external name that q stands for, in the terms of the model.
func gotExternal(x *Index, q *qname.Name, endpoints bool) (Outcome, map[record]bool, error) {
	records := make(map[record]bool)
	n := 0
	add := func(r record) {
		n++
		records[r] = true
	}
	var o Outcome
	if q.Kind == qname.ReverseName {
		var pointers []Pointer
		o, pointers = x.LookupExternalReverse(q.Prefix)
		for _, p := range pointers {
			add(record(p.Service + "." + p.Namespace))
		}
	} else {
		v := x.LookupExternal(q, endpoints, WantSRV, Part{})
		o = v.Outcome
		for _, h := range v.Hosts {
			host := h.Name
			if h.Addr.IsValid() {
				host = h.Addr.String()
			}
			for _, number := range h.Numbers(q) {
				add(externalRecord(hostOf(h.Label.Name, h.Label.Addr), host, number))
			}
		}
	}
	if n != len(records) {
		return o, records, fmt.Errorf("%d of %d records are repetitions", n-len(records), n)
	}
	return o, records, nil
}

// got returns what the index says of q, in the terms of the model.
func got(x *Index, q *qname.Name, w Want) (Outcome, map[record]bool, error) {
	return gotAt(x, q, w, model.Location{})
}

// gotAt is got for a client at a location.
func gotAt(x *Index, q *qname.Name, w Want, at model.Location) (Outcome, map[record]bool, error) {
	v := x.Lookup(q, w, Part{Limit: 1 << 20, At: at})
	records := make(map[record]bool)
	n := 0
	add := func(r record) {
		n++
		records[r] = true
	}
	if v.CNAME != "" {
		add(record(v.CNAME))
	}
	if w == WantA || w == WantAAAA {
		f := w.Family()
		for i := range len(v.Addrs) / f.Size() {
			add(addrRecord(addressSet(v.Addrs).at(i, f)))
		}
	}
	for _, t := range v.Targets {
		for _, number := range t.Ports {
			add(srvRecord(hostOf(t.Name, t.Addr), number))
		}
		if len(t.Addrs) == 0 {
			return v.Outcome, records, fmt.Errorf("SRV target %v has no address", t.Label)
		}
	}
	if len(v.Addrs)+len(v.Targets) > 0 && v.Total != n {
		return v.Outcome, records, fmt.Errorf("total is %d for %d records", v.Total, n)
	}
	for _, p := range v.Pointers {
		add(record(strings.TrimSuffix(p.FQDN("zone."), ".svc.zone.")))
	}
	if n != len(records) {
		return v.Outcome, records, fmt.Errorf("%d of %d records are repetitions", n-len(records), n)
	}
	return v.Outcome, records, nil
}

// step changes the index and the model in the same random way, and says how.
func step(r *rand.Rand, x *Index, m *dumbIndex) string {
	switch r.IntN(16) {
	case 0:
		name := modeltest.PickOne(r, modeltest.Universe.Namespaces)
		x.DropNamespace(model.Key{Name: name})
		delete(m.namespaces, name)
		return "drop namespace " + name
	case 1, 2:
		name := modeltest.PickOne(r, modeltest.Universe.Namespaces)
		x.PutNamespace(&model.Namespace{Key: model.Key{Name: name}})
		m.namespaces[name] = true
		return "put namespace " + name
	case 3:
		key := modeltest.RandomKey(r, modeltest.Universe.Services)
		x.DropService(key)
		m.dropService(key)
		return fmt.Sprint("drop service ", key)
	case 4, 5:
		s := modeltest.RandomService(r)
		x.PutService(s)
		m.services[s.Key] = s
		return fmt.Sprintf("put service %+v", *s)
	case 6:
		key := modeltest.RandomKey(r, modeltest.Universe.Slices)
		x.DropSlice(key)
		m.dropSlice(key)
		return fmt.Sprint("drop slice ", key)
	case 7:
		var specs []*model.Slice
		listed := make(map[model.Key]bool) // a list has each once
		for range r.IntN(8) {
			if s := modeltest.RandomSlice(r); !listed[s.Key] {
				listed[s.Key] = true
				specs = append(specs, s)
			}
		}
		m.replace(specs)
		x.ReplaceSlices(slices.Values(specs))
		return fmt.Sprintf("replace slices by %d", len(specs))
	default:
		s := modeltest.RandomSlice(r)
		if len(m.slices) > 0 && r.IntN(2) == 0 {
			// As the control plane edits: the ports change, and some endpoints go or, from another
			// slice or a hold, come.
			s = new(*modeltest.PickOne(r, slices.SortedFunc(maps.Values(m.slices), func(a, b *model.Slice) int { return a.Compare(b.Key) })))
			s.Ports = modeltest.PickSome(r, modeltest.Universe.Ports)
			var all []model.Endpoint
			for _, e := range m.endpoints(model.Key{Namespace: s.Namespace, Name: s.Service}) {
				all = append(all, e.Endpoint)
			}
			slices.SortFunc(all, func(a, b model.Endpoint) int {
				return model.Label{Name: a.Name, Addr: a.Addr}.Compare(model.Label{Name: b.Name, Addr: b.Addr})
			})
			s.Endpoints = modeltest.PickSome(r, all)
		}
		x.PutSlice(s)
		m.putSlice(s)
		return fmt.Sprintf("put slice %+v", *s)
	}
}

// history changes x and m in the same random ways, calls pause after each, and holds the answers of
// x against those of m.
func history(t *testing.T, r *rand.Rand, x *Index, m *dumbIndex, pause func() string) {
	const (
		steps  = 300
		sample = 20 // one in so many questions is asked after each step
	)
	qs := modeltest.Questions()
	var done []string
	after := modeltest.ExternalHosts(x.AllExternalHosts)
	for range steps {
		before, serial := after, x.ExternalSerial()
		done = append(done, step(r, x, m), pause())
		clear(m.derived)
		if err := x.Check(); err != nil {
			t.Fatalf("after\n%s\n%v", strings.Join(done, "\n"), err)
		}
		if after = modeltest.ExternalHosts(x.AllExternalHosts); after != before && x.ExternalSerial() == serial {
			t.Fatalf("after\n%s\nexternal names changed and their serial did not", strings.Join(done, "\n"))
		}
		if key := modeltest.RandomKey(r, modeltest.Universe.Services); !slices.Equal(shownEndpoints(x, key), m.shownEndpoints(key)) {
			t.Fatalf("after\n%s\nof %v got the endpoints %v, want %v", strings.Join(done, "\n"), key, shownEndpoints(x, key), m.shownEndpoints(key))
		}
		for i := range qs {
			if r.IntN(sample) > 0 {
				continue
			}
			for _, endpoints := range []bool{false, true} {
				wantOutcome, wantRecords := m.expectExternal(&qs[i], endpoints)
				if qs[i].Kind == qname.ReverseName {
					wantOutcome, wantRecords = m.expectExternalReverse(qs[i].Prefix)
				}
				gotOutcome, gotRecords, err := gotExternal(x, &qs[i], endpoints)
				if err != nil || gotOutcome != wantOutcome || !maps.Equal(gotRecords, wantRecords) {
					t.Fatalf("after\n%s\n%+v outside, endpoints %v:\ngot  %d %v %v\nwant %d %v", strings.Join(done, "\n"), qs[i], endpoints,
						gotOutcome, slices.Sorted(maps.Keys(gotRecords)), err, wantOutcome, slices.Sorted(maps.Keys(wantRecords)))
				}
			}
			m.at = model.Location{
				Zone: modeltest.PickOne(r, append(modeltest.Universe.Zones, "nowhere")), Node: modeltest.PickOne(r, append(modeltest.Universe.Nodes, "none")),
			}
			for w := WantNothing; w <= WantSRV; w++ {
				wantOutcome, wantRecords := m.expect(&qs[i], w)
				gotOutcome, gotRecords, err := gotAt(x, &qs[i], w, m.at)
				if err != nil || gotOutcome != wantOutcome || !maps.Equal(gotRecords, wantRecords) {
					t.Fatalf("after\n%s\n%+v want %d at %v:\ngot  %d %v %v\nwant %d %v", strings.Join(done, "\n"), qs[i], w, m.at,
						gotOutcome, slices.Sorted(maps.Keys(gotRecords)), err, wantOutcome, slices.Sorted(maps.Keys(wantRecords)))
				}
			}
		}
	}
}

// shownEndpoints are those that Endpoints returns for a Service, as text, sorted.
func shownEndpoints(x *Index, key model.Key) (texts []string) {
	for _, e := range x.Endpoints(key, math.MaxInt) {
		texts = append(texts, fmt.Sprint(e.Addr, e.Names[0], e.State))
	}
	slices.Sort(texts)
	return texts
}

// shownEndpoints are those that Endpoints should return.
func (m *dumbIndex) shownEndpoints(key model.Key) (texts []string) {
	for id, e := range m.endpoints(key) {
		texts = append(texts, fmt.Sprint(id.Addr, hostOf(id.Name, id.Addr), e.State))
	}
	slices.Sort(texts)
	return texts
}

func TestIndexAgreesWithModelOverRandomHistories(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			p, ignoreEmpty := model.Policy(1+r.IntN(3)), r.IntN(2) == 0
			x := hurry(New(p, ignoreEmpty, 0))
			qs := modeltest.Questions()

			var readers sync.WaitGroup
			var stop atomic.Bool
			defer readers.Wait()
			defer stop.Store(true)
			readers.Go(func() {
				for i := 0; !stop.Load(); i = (i + 1) % len(qs) {
					x.Lookup(&qs[i], Want(i%4), Part{Limit: 2, At: model.Location{Zone: "z", Node: "k"}})
					x.Nameservers(modeltest.Universe.Addrs[:1], nil, 0)
					x.LookupExternal(&qs[i], i%2 == 0, Want(i%4), Part{Limit: 2})
					x.ExternalNameservers(modeltest.Universe.Addrs[:1], nil, i%2 == 0)
				}
			})
			history(t, r, x, newModel(p, ignoreEmpty), func() string { return "" })
		})
	}
}

func TestIndexDependsOnObjectsNotOnTheirOrder(t *testing.T) {
	qs := modeltest.Questions()
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 2))
		var puts []func(*Index)
		seen := make(map[model.Key]bool)
		for range 6 {
			if s := modeltest.RandomSlice(r); !seen[s.Key] {
				seen[s.Key] = true
				puts = append(puts, func(x *Index) { x.PutSlice(s) })
			}
			if s := modeltest.RandomService(r); !seen[s.Key] {
				seen[s.Key] = true
				puts = append(puts, func(x *Index) { x.PutService(s) })
			}
		}
		for _, name := range modeltest.Universe.Namespaces {
			puts = append(puts, func(x *Index) { x.PutNamespace(&model.Namespace{Key: model.Key{Name: name}}) })
		}
		fill := func() *Index {
			x := New(model.HostnamesReady, false, 0)
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
			for w := WantNothing; w <= WantSRV; w++ {
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

// bigIndex returns an index with size pods of PutPods.
func bigIndex(size int) *Index {
	x := New(model.HostnamesReady, false, 0)
	modeltest.PutPods(x, size)
	return x
}

func TestIndexKeepsAMovingEndpointThroughout(t *testing.T) {
	x := bigIndex(1)
	q := &qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web", Hostname: "web-0"}
	var denied atomic.Int64
	var stop atomic.Bool
	var reader sync.WaitGroup
	reader.Go(func() {
		for !stop.Load() {
			if v := x.Lookup(q, WantA, Part{Limit: 1}); v.Outcome != Found || len(v.Addrs) != 4 {
				denied.Add(1)
			}
		}
	})
	// The endpoint goes from slice to slice, always present in one; then its slice is replaced by a
	// list with another.
	here, there := modeltest.BigSlice(0, 1, model.Ready), modeltest.BigSlice(0, 1, model.Ready)
	there.Name = "other"
	for range 2000 {
		x.PutSlice(there)
		x.DropSlice(here.Key)
		x.PutSlice(here)
		x.DropSlice(there.Key)
		for _, sl := range []*model.Slice{there, here} {
			x.ReplaceSlices(slices.Values([]*model.Slice{sl}))
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
	swapped := []*model.Slice{modeltest.BigSlice(0, 100, model.Ready), modeltest.BigSlice(100, 200, model.Ready)}
	swapped[0].Endpoints, swapped[1].Endpoints = swapped[1].Endpoints, swapped[0].Endpoints
	swapped = append(swapped, modeltest.BigSlice(100, 200, model.NotReady))
	swapped[2].Key = model.Key{Namespace: "n", Name: "new"}
	checkAll := func(when string, x *Index, want int) {
		t.Helper()
		if err := x.Check(); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if v := x.Lookup(&qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web"}, WantA, Part{}); v.Total != want {
			t.Errorf("%s: %d addresses, want %d", when, v.Total, want)
		}
	}
	hurry(x)
	serial := x.Serial()
	x.ReplaceSlices(func(yield func(*model.Slice) bool) {
		for i, s := range swapped {
			yield(s)
			checkAll(fmt.Sprint("after slice ", i), x, 300)
			checkAll(fmt.Sprint("in a transfer after slice ", i), x.Freeze().Index, 300)
		}
	})
	checkAll("after all", x, 200)
	if got, want := len(x.SliceKeys()), len(swapped); got != want {
		t.Errorf("%d slices, want %d", got, want)
	}
	if x.Serial() == serial {
		t.Error("100 endpoints went and the serial did not grow")
	}
	serial = x.Serial()
	x.ReplaceSlices(slices.Values(swapped))
	if x.Serial() != serial {
		t.Error("the serial grew with a list that says nothing new")
	}
}

// hurry lets a second pass whenever x looks at the clock, so that its serials grow with each change.
func hurry(x *Index) *Index {
	var seconds atomic.Int64
	began := time.Now()
	x.now = func() time.Time { return began.Add(time.Duration(seconds.Add(1)) * pace) }
	return x
}

func TestIndexSerialGrowsWithVisibleChangesOnly(t *testing.T) {
	x := bigIndex(1)
	clock := time.Unix(2_000_000_000, 0)
	x.now = func() time.Time { return clock }
	changed := modeltest.BigSlice(0, 1, model.Ready)
	changed.Ports = []model.Port{model.PortOf("http", "tcp", 8080)}
	later := func(do func()) func() {
		return func() {
			clock = clock.Add(pace)
			do()
		}
	}
	for _, step := range []struct {
		name string
		do   func()
		want uint32
	}{
		{"a change takes the time as serial", func() { x.PutSlice(modeltest.BigSlice(0, 1, model.NotReady)) }, 2_000_000_000},
		{"the next in the same second does not count yet", func() { x.PutSlice(modeltest.BigSlice(0, 1, model.Ready)) }, 2_000_000_000},
		{"it does when the second has passed", later(func() {}), 2_000_000_001},
		{"once", later(func() {}), 2_000_000_001},
		{"the same slice again changes nothing", later(func() { x.PutSlice(modeltest.BigSlice(0, 1, model.Ready)) }), 2_000_000_001},
		{"a clock that is set back adds one", func() { clock = clock.Add(-time.Hour); x.PutSlice(changed) }, 2_000_000_002},
		{"a slice of no Service changes nothing", later(func() {
			x.PutSlice(&model.Slice{Key: model.Key{Namespace: "n", Name: "z"}, Service: "none", Endpoints: changed.Endpoints})
		}), 2_000_000_002},
		{"nor does a Service in no Namespace", later(func() {
			x.PutService(&model.Service{Key: model.Key{Namespace: "none", Name: "web"}, Kind: model.Headless})
		}), 2_000_000_002},
		{"nor the same Service again", later(func() {
			x.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: "web"}, Kind: model.Headless})
		}), 2_000_000_002},
		{"a later clock is taken again", func() { clock = time.Unix(2_000_000_100, 0); x.DropService(model.Key{Namespace: "n", Name: "web"}) }, 2_000_000_100},
		{"a namespace counts", later(func() { x.PutNamespace(&model.Namespace{Key: model.Key{Name: "new"}}) }), 2_000_000_101},
		{"one that is there does not", later(func() { x.PutNamespace(&model.Namespace{Key: model.Key{Name: "new"}}) }), 2_000_000_101},
		{"the serial wraps around", func() {
			x.soaSerial.number.Store(1<<32 - 1)
			clock = time.Unix(1<<31-1, 0)
			x.DropNamespace(model.Key{Name: "new"})
		}, 1<<31 - 1},
		{"and goes on from there", func() {
			x.soaSerial.number.Store(1<<32 - 100)
			clock = time.Unix(1<<32+7, 0)
			x.PutNamespace(&model.Namespace{Key: model.Key{Name: "new"}})
		}, 7},
		{"a clock of before is behind it", func() {
			clock = time.Unix(1<<32-100, 0)
			x.DropNamespace(model.Key{Name: "new"})
		}, 8},
	} {
		step.do()
		if got := x.Serial(); got != step.want {
			t.Errorf("%s: serial %d, want %d", step.name, got, step.want)
		}
	}
}

// TestSerialStaysNearTheClock: whatever happens within a second.
func TestSerialStaysNearTheClock(t *testing.T) {
	x := bigIndex(1)
	clock := time.Unix(2_000_000_000, 0)
	x.now = func() time.Time { return clock }
	for second := range 3 {
		for i := range 1000 {
			clock = clock.Add(time.Millisecond)
			x.PutSlice(modeltest.BigSlice(0, 1, model.State(2*(i%2))))
		}
		if ahead := int64(x.Serial()) - clock.Unix(); ahead < -1 || ahead > 0 {
			t.Errorf("after %d s of 1,000 changes a second the serial is %d s ahead of the clock", second+1, ahead)
		}
	}
}

// TestOneSerialIsOneContent: what is frozen with one serial is the same each time, and what has another serial differs.
func TestOneSerialIsOneContent(t *testing.T) {
	x := bigIndex(1)
	clock := time.Unix(2_000_000_000, 0)
	x.now = func() time.Time { return clock }
	contents := make(map[uint32]int)
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		clock = clock.Add(time.Duration(r.IntN(700)) * time.Millisecond)
		if r.IntN(2) == 0 {
			n := r.IntN(50)
			x.PutSlice(modeltest.BigSlice(0, n, model.Ready))
		}
		if r.IntN(3) == 0 {
			x.Serial()
		}
		if r.IntN(2) == 0 {
			f := x.Freeze()
			n := f.Lookup(&qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web"}, WantA, Part{}).Total
			if known, ok := contents[f.Serial()]; ok && known != n {
				t.Fatalf("serial %d was that of %d endpoints, and is now that of %d", f.Serial(), known, n)
			}
			contents[f.Serial()] = n
		}
	}
	if len(contents) < 100 {
		t.Errorf("%d serials, want hundreds", len(contents))
	}
}

// TestSerialFollowsThatOfTheProcessBefore: whatever the clock says.
func TestSerialFollowsThatOfTheProcessBefore(t *testing.T) {
	for _, was := range []uint32{2_000_000_000, 1<<32 - 500, 500} {
		for _, ahead := range []int32{0, 1, 1000, -1, -1000} {
			x := bigIndex(1)
			x.now = func() time.Time { return x.soaSerial.stepped } // no step is due
			x.soaSerial.number.Store(was)
			other, want := was+uint32(ahead), was
			if ahead >= 0 {
				want = other + 1
			}
			if x.Follow(other, other); x.Serial() != want {
				t.Errorf("serial %d behind %d: got %d, want %d", was, other, x.Serial(), want)
			}
		}
	}
}

func TestIndexSerialsGrowEachWithItsOwnChanges(t *testing.T) {
	x := hurry(bigIndex(1))
	key := model.Key{Namespace: "n", Name: "lb"}
	withExternal := func(addr string, ip string) func() {
		return func() {
			s := &model.Service{Key: key, ClusterIPs: []netip.Addr{netip.MustParseAddr(ip)}}
			if addr != "" {
				s.External = &model.External{Addrs: []netip.Addr{netip.MustParseAddr(addr)}}
			}
			x.PutService(s)
		}
	}
	pod := func(s model.State) func() {
		return func() {
			x.PutSlice(&model.Slice{Key: key, Service: "lb", Endpoints: []model.Endpoint{{Addr: netip.MustParseAddr("10.9.0.1"), State: s}}})
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
		{"a pod of it comes", pod(model.Ready), true, false},
		{"the pod is not ready", pod(model.NotReady), true, false},
		{"a pod of a headless Service is not ready", func() { x.PutSlice(modeltest.BigSlice(0, 1, model.NotReady)) }, true, true},
		{"its namespace goes", func() { x.DropNamespace(model.Key{Name: "n"}) }, true, true},
		{"an external address in a hidden namespace", withExternal("192.0.2.3", "10.96.0.1"), false, false},
		{"its namespace comes back", func() { x.PutNamespace(&model.Namespace{Key: model.Key{Name: "n"}}) }, true, true},
		{"another namespace", func() { x.PutNamespace(&model.Namespace{Key: model.Key{Name: "o"}}) }, true, false},
		{"the Service goes", func() { x.DropService(key) }, true, true},
	} {
		inside, outside := x.Serial(), x.ExternalSerial()
		c.do()
		if grew := int32(x.Serial()-inside) > 0; grew != c.inside {
			t.Errorf("%s: the serial grew: %v, want %v", c.name, grew, c.inside)
		}
		if grew := int32(x.ExternalSerial()-outside) > 0; grew != c.external {
			t.Errorf("%s: the external serial grew: %v, want %v", c.name, grew, c.external)
		}
	}
}

func TestIndexNameservers(t *testing.T) {
	x := New(model.HostnamesReady, false, 0)
	pod, ip := netip.MustParseAddr("10.0.0.53"), netip.MustParseAddr("10.96.0.10")
	x.PutNamespace(&model.Namespace{Key: model.Key{Name: "kube-system"}})
	x.PutService(&model.Service{Key: model.Key{Namespace: "kube-system", Name: "dns"}, ClusterIPs: []netip.Addr{ip}})
	x.PutService(&model.Service{Key: model.Key{Namespace: "kube-system", Name: "peers"}, Kind: model.Headless})
	x.PutService(&model.Service{Key: model.Key{Namespace: "hidden", Name: "dns"}, Kind: model.Headless})
	for _, key := range []model.Key{{Namespace: "kube-system", Name: "dns"}, {Namespace: "kube-system", Name: "peers"}, {Namespace: "hidden", Name: "dns"}} {
		x.PutSlice(&model.Slice{Key: model.Key{Namespace: key.Namespace, Name: key.Name}, Service: key.Name, Endpoints: []model.Endpoint{{Addr: pod, State: model.Ready}}})
	}
	one := func(addr netip.Addr) []netip.Addr { return []netip.Addr{addr} }
	for _, c := range []struct {
		name         string
		local, bound []netip.Addr
		want         []string
	}{
		{"a pod's address leads to all its Services that are exposed", one(pod), nil, []string{
			"dns.kube-system.svc.z. [10.96.0.10]", "10-0-0-53.peers.kube-system.svc.z. [10.0.0.53]",
		}},
		{"a ClusterIP that is bound leads to its Service", one(ip), one(ip), []string{"dns.kube-system.svc.z. [10.96.0.10]"}},
		{"one that the machine has does not", one(ip), nil, nil},
		{"endpoints come first", one(pod), one(netip.MustParseAddr("10.96.0.99")), []string{
			"dns.kube-system.svc.z. [10.96.0.10]", "10-0-0-53.peers.kube-system.svc.z. [10.0.0.53]",
		}},
		{"another address leads nowhere", one(netip.MustParseAddr("10.0.0.54")), one(netip.MustParseAddr("10.0.0.54")), nil},
	} {
		var got []string
		for _, s := range x.Nameservers(c.local, c.bound, 0) {
			got = append(got, fmt.Sprint(s.FQDN("z."), " ", s.Addrs))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestIndexNameserversAreNotHidden: where empty Services have no names, one without ready endpoints names no server.
func TestIndexNameserversAreNotHidden(t *testing.T) {
	ip := netip.MustParseAddr("10.96.0.10")
	for hides, want := range map[bool]int{true: 0, false: 1} {
		x := New(model.HostnamesReady, hides, 0)
		x.PutNamespace(&model.Namespace{Key: model.Key{Name: "n"}})
		x.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: "dns"}, ClusterIPs: []netip.Addr{ip}})
		if got := x.Nameservers(nil, []netip.Addr{ip}, 0); len(got) != want {
			t.Errorf("empty Services are hidden: %v: got %v, want %d", hides, got, want)
		}
	}
}

// TestLabelsThatFitExactly: an endpoint is called by its name, or else by its address, as long as there is room for that.
func TestLabelsThatFitExactly(t *testing.T) {
	for _, c := range []struct {
		name string
		room int // for the labels of the endpoint
		want string
	}{
		{"a-longer-one", 13, "[a-longer-one]"},
		{"a-longer-one", 12, "[10-0-0-0]"},
		{"a-longer-one", 9, "[10-0-0-0]"},
		{"a-longer-one", 8, "[]"},
		{"a-longer-one.c", 15, "[a-longer-one.c]"},
		{"a-longer-one.c", 14, "[10-0-0-0.c]"},
		{"a-longer-one.c", 11, "[10-0-0-0.c]"},
		{"a-longer-one.c", 10, "[]"},
	} {
		x := bigIndex(0)
		sl := modeltest.BigSlice(0, 1, model.Ready)
		sl.Endpoints[0].Name = c.name
		x.PutSlice(sl)
		q := &qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web"}
		got := []string{}
		for _, target := range x.Lookup(q, WantSRV, Part{Limit: 9, Room: len("web.n.") + c.room}).Targets {
			got = append(got, string(target.Append(nil)))
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s in %d octets: got %v, want %s", c.name, c.room, got, c.want)
		}
	}
}

func TestSortedPorts(t *testing.T) {
	a, b := model.PortOf("a", "tcp", 1), model.PortOf("a", "udp", 1)
	if got := model.SortedPorts([]model.Port{b, a, b}); !slices.Equal(got, []model.Port{a, b}) {
		t.Errorf("got %v, want %v", got, []model.Port{a, b})
	}
	if got := model.Union([]model.Port{a}, []model.Port{b}); !slices.Equal(got, []model.Port{a, b}) {
		t.Errorf("union: got %v, want %v", got, []model.Port{a, b})
	}
}
