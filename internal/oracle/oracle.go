// Package oracle says which DNS records the objects of a cluster should give. It is written from docs/behaviour.md in the dumbest
// way: it writes down every record of the zones, and a name exists if it, or a name below it, is on the list. It shares no code
// with the plugin, so that each can be held against the other.
//
// It also has the list of the differences from CoreDNS's kubernetes plugin that are meant.
package oracle

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// Config is what a stanza of a Corefile says, and the world around the server.
type Config struct {
	Zones                         []string // lower-case FQDNs
	TTL, HeadlessTTL, NegativeTTL uint32
	Pods                          PodMode
	// PodNames, NoEndpoints and IgnoreEmpty are the options endpoint_pod_names, noendpoints and ignore empty_service.
	PodNames, NoEndpoints, IgnoreEmpty bool
	Namespaces                         []string        // that are exposed; none: all
	NamespaceLabels, Labels            labels.Selector // nil selects everything
	Fallthrough                        []string        // the zones whose names fall through

	Local []netip.Addr // what the server listens on, by the option bind
	// Outside answers for the names outside the zones; nil when the lookup fails.
	Outside func(name string, qtype uint16) *dns.Msg
	// Next is the next plugin, for names that fall through.
	Next func(*dns.Msg) *dns.Msg

	// OnlyAddresses leaves out SRV records and their names, which saves most of the time.
	OnlyAddresses bool
}

// PodMode says which names made of addresses exist.
type PodMode int

// The words of the option pods.
const (
	PodsDisabled PodMode = iota
	PodsInsecure
	PodsVerified
)

// Default returns the configuration of a stanza without options.
func Default(zones ...string) Config {
	return Config{Zones: zones, TTL: 5, HeadlessTTL: 5, NegativeTTL: 5}
}

// primary returns the zone whose names the records of reverse zones have.
func (cfg *Config) primary() string {
	for _, zone := range cfg.Zones {
		if !inReverse(zone) {
			return zone
		}
	}
	return ""
}

// zoneOf returns the longest of the zones that name is in, or "".
func (cfg *Config) zoneOf(name string) string {
	longest := ""
	for _, zone := range cfg.Zones {
		if isBelow(name, zone) && len(zone) > len(longest) {
			longest = zone
		}
	}
	return longest
}

// fallsThrough reports whether the name goes to the next plugin when there is no such name here.
func (cfg *Config) fallsThrough(name string) bool {
	return slices.ContainsFunc(cfg.Fallthrough, func(zone string) bool { return isBelow(name, zone) })
}

// isBelow reports whether name is zone, or below it.
func isBelow(name, zone string) bool { return zone == "." || strings.HasSuffix("."+name, "."+zone) }

// inReverse reports whether name is at or below the top of a reverse tree.
func inReverse(name string) bool { return isBelow(name, "in-addr.arpa.") || isBelow(name, "ip6.arpa.") }

// Model is every record that a cluster gives.
type Model struct {
	Config
	owners  map[string]map[uint16]*rrset // by lower-case name
	exists  map[string]bool
	hosts   map[string]bool // the names that are those of endpoints
	exposed map[string]bool // namespaces
	// pods has the addresses of Pods in place of their names.
	pods     map[types.NamespacedName]bool
	services map[types.NamespacedName]*service
}

// rrset is the records of one name and type, each once.
type rrset struct {
	list []dns.RR
	seen map[any]bool // what tells one from another
}

// New returns the model of a cluster that has these objects. Those of other kinds mean nothing.
func New(cfg Config, objects ...runtime.Object) *Model {
	m := &Model{
		Config: cfg, owners: make(map[string]map[uint16]*rrset), exists: make(map[string]bool), hosts: make(map[string]bool),
		exposed: make(map[string]bool), pods: make(map[types.NamespacedName]bool), services: make(map[types.NamespacedName]*service),
	}
	for _, obj := range objects {
		m.read(obj)
	}
	for _, zone := range m.Zones {
		m.exists[zone] = true
	}
	for _, zone := range m.Zones {
		if !inReverse(zone) {
			m.fillZone(zone)
		}
	}
	return m
}

// read notes what an object says.
func (m *Model) read(obj runtime.Object) {
	selected := func(s labels.Selector, set map[string]string) bool { return s == nil || s.Matches(labels.Set(set)) }
	switch o := obj.(type) {
	case *corev1.Namespace:
		if selected(m.NamespaceLabels, o.Labels) && (len(m.Namespaces) == 0 || slices.Contains(m.Namespaces, o.Name)) {
			m.exposed[o.Name] = true
		}
	case *corev1.Service:
		if selected(m.Labels, o.Labels) {
			m.service(o.Namespace, o.Name).spec = o
		}
	case *discoveryv1.EndpointSlice:
		if selected(m.Labels, o.Labels) && !m.NoEndpoints {
			m.service(o.Namespace, o.Labels[discoveryv1.LabelServiceName]).read(o, m.PodNames)
		}
	case *corev1.Pod:
		if selected(m.Labels, o.Labels) {
			for _, ip := range o.Status.PodIPs {
				addr := netip.MustParseAddr(ip.IP).Unmap()
				m.pods[types.NamespacedName{Namespace: o.Namespace, Name: addr.String()}] = true
			}
		}
	}
}

// service returns the one of that name, which may be new.
func (m *Model) service(namespace, name string) *service {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	if m.services[key] == nil {
		m.services[key] = &service{NamespacedName: key, known: make(map[endpointKey]*endpoint)}
	}
	return m.services[key]
}

// shown reports whether svc may own anything.
func (m *Model) shown(svc *service) bool {
	return svc != nil && svc.spec != nil && m.exposed[svc.Namespace]
}

// Exists reports whether a name, in lower case, exists, if only for what is below it. Names made of addresses of Pods are left out.
func (m *Model) Exists(name string) bool { return m.exists[name] }

// Names returns all names that exist, but those made of addresses of Pods.
func (m *Model) Names() iter.Seq[string] { return maps.Keys(m.exists) }

// IsHost reports whether a name is that of an endpoint.
func (m *Model) IsHost(name string) bool { return m.hosts[name] }

// RRsets returns all records by name, but the SOA and NS records of zones and those of Pods.
func (m *Model) RRsets() iter.Seq2[string, []dns.RR] {
	return func(yield func(string, []dns.RR) bool) {
		for name, sets := range m.owners {
			for _, set := range sets {
				if !yield(name, set.list) {
					return
				}
			}
		}
	}
}

// OtherPTRs returns, by reverse names, the names that the kubernetes plugin gives an address beside those here: those that ClusterIP
// Services have for an endpoint of a headless one, and those below a Service that there is not.
func (m *Model) OtherPTRs() map[string][]string {
	others := make(map[string][]string)
	for _, svc := range m.services {
		if svc.spec != nil && (!m.shown(svc) || svc.isExternal()) {
			continue
		}
		for _, e := range svc.endpoints {
			reverse, target := ReverseName(e.addr), e.label()+"."+svc.name(m.primary())
			given := m.owners[reverse][dns.TypePTR]
			if (svc.spec == nil || e.state == ready) && (given == nil || !given.seen[target]) {
				others[reverse] = append(others[reverse], target)
			}
		}
	}
	return others
}

// own adds a record, once. The key tells it from the others of its name and type.
func (m *Model) own(rr dns.RR, key any) {
	name := strings.ToLower(rr.Header().Name)
	if m.zoneOf(name) == "" {
		return
	}
	m.exist(name)
	if m.owners[name] == nil {
		m.owners[name] = make(map[uint16]*rrset)
	}
	set := m.owners[name][rr.Header().Rrtype]
	if set == nil {
		set = &rrset{seen: make(map[any]bool)}
		m.owners[name][rr.Header().Rrtype] = set
	}
	if !set.seen[key] {
		set.seen[key] = true
		set.list = append(set.list, rr)
	}
}

// exist makes name and its ancestors exist.
func (m *Model) exist(name string) {
	for zone := m.zoneOf(name); name != zone && !m.exists[name]; {
		m.exists[name] = true
		_, name, _ = strings.Cut(name, ".")
	}
}

func header(name string, rrtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

func addressRR(name string, ttl uint32, addr netip.Addr) dns.RR {
	if addr.Is4() {
		return &dns.A{Hdr: header(name, dns.TypeA, ttl), A: addr.AsSlice()}
	}
	return &dns.AAAA{Hdr: header(name, dns.TypeAAAA, ttl), AAAA: addr.AsSlice()}
}

func (m *Model) ownAddr(name string, ttl uint32, addr netip.Addr) {
	m.own(addressRR(name, ttl, addr), addr)
}

func (m *Model) ownPTR(addr netip.Addr, ttl uint32, target string) {
	m.own(&dns.PTR{Hdr: header(ReverseName(addr), dns.TypePTR, ttl), Ptr: target}, target)
}

// ReverseName returns the name of an address in its reverse tree.
func ReverseName(addr netip.Addr) string {
	name, err := dns.ReverseAddr(addr.String())
	if err != nil {
		panic(err) // it is an address
	}
	return name
}

// srv is what tells one SRV record of a name from another.
type srv struct {
	target string
	number uint16
}

// srvs are SRV records by the labels of the port, "" for those of every port.
type srvs map[string]map[srv]bool

// add adds the record of a port: among all, and below the port's own labels if it has a name.
func (s srvs) add(p port, target string) {
	for _, labels := range []string{"", p.labels()} {
		if s[labels] == nil {
			s[labels] = make(map[srv]bool)
		}
		s[labels][srv{target, p.number}] = true
	}
}

// ownSRVs adds the SRV records of a Service or an endpoint; each target stands there with each of its numbers.
func (m *Model) ownSRVs(name string, ttl uint32, sets srvs) {
	if m.OnlyAddresses {
		return
	}
	for labels, records := range sets {
		weight := uint16(max(1, 100/len(records))) //nolint:gosec // it is 1 to 100
		for r := range records {
			m.own(&dns.SRV{Hdr: header(labels+name, dns.TypeSRV, ttl), Weight: weight, Port: r.number, Target: r.target}, r)
		}
	}
}

// ownPortAddr adds an address at the name of a port of a Service.
func (m *Model) ownPortAddr(p port, base string, ttl uint32, addr netip.Addr) {
	if !m.OnlyAddresses && p.name != "" {
		m.ownAddr(p.labels()+base, ttl, addr)
	}
}

// fillZone writes down a forward zone and, if it is the primary one, the reverse zones.
func (m *Model) fillZone(zone string) {
	for _, name := range []string{"svc", "pod", "dns"} {
		m.exist(name + "." + zone)
	}
	const versionTTL = 28800
	m.own(&dns.TXT{Hdr: header("dns-version."+zone, dns.TypeTXT, versionTTL), Txt: []string{"1.1.0"}}, "")
	for namespace := range m.exposed {
		m.exist(namespace + ".svc." + zone)
		if m.Pods != PodsDisabled {
			m.exist(namespace + ".pod." + zone)
		}
	}
	for _, svc := range m.services {
		if !m.shown(svc) {
			continue
		}
		base := svc.name(zone)
		switch {
		case svc.isExternal():
			m.fillExternalName(svc, base)
			continue
		case svc.isHeadless():
			m.fillHeadless(svc, base)
		default:
			m.fillClusterIP(svc, base)
		}
		m.fillHostnames(svc, base)
	}
	for _, s := range m.nameservers(zone) {
		for _, addr := range s.addrs {
			m.ownAddr("ns.dns."+zone, m.TTL, addr)
		}
	}
	if zone == m.primary() {
		m.fillReverse()
	}
}

func (m *Model) fillExternalName(svc *service, base string) {
	target := svc.spec.Spec.ExternalName
	if _, err := netip.ParseAddr(target); err != nil {
		m.own(&dns.CNAME{Hdr: header(base, dns.TypeCNAME, m.TTL), Target: dns.Fqdn(target)}, "")
	}
}

func (m *Model) fillHeadless(svc *service, base string) {
	sets := make(srvs)
	for _, e := range svc.ready() {
		m.ownAddr(base, m.HeadlessTTL, e.addr)
		for p := range e.ports {
			sets.add(p, e.label()+"."+base)
			m.ownPortAddr(p, base, m.HeadlessTTL, e.addr)
		}
	}
	m.ownSRVs(base, m.HeadlessTTL, sets)
}

func (m *Model) fillClusterIP(svc *service, base string) {
	if m.isIgnored(svc) {
		return
	}
	sets := make(srvs)
	for _, addr := range svc.clusterIPs() {
		m.ownAddr(base, m.TTL, addr)
	}
	for _, p := range svc.spec.Spec.Ports {
		p := portOf(p.Name, p.Protocol, p.Port)
		sets.add(p, base)
		for _, addr := range svc.clusterIPs() {
			m.ownPortAddr(p, base, m.TTL, addr)
		}
	}
	m.ownSRVs(base, m.TTL, sets)
}

// isIgnored reports whether the clusterIPs of svc have no names.
func (m *Model) isIgnored(svc *service) bool { return m.IgnoreEmpty && len(svc.ready()) == 0 }

// endpointTTL returns the time to live of the records of a Service's endpoints.
func (m *Model) endpointTTL(svc *service) uint32 {
	if svc.isHeadless() {
		return m.HeadlessTTL
	}
	return m.TTL
}

func (m *Model) fillHostnames(svc *service, base string) {
	ttl := m.endpointTTL(svc)
	for label, named := range svc.byLabel() {
		sets := make(srvs)
		for _, e := range svc.answering(named) {
			m.hosts[label+"."+base] = true
			m.ownAddr(label+"."+base, ttl, e.addr)
			for p := range e.ports {
				sets.add(p, label+"."+base)
			}
		}
		m.ownSRVs(label+"."+base, ttl, sets)
	}
}

// fillReverse writes down the PTRs: a ClusterIP's, or else those of the endpoints in headless Services, or else those of others.
func (m *Model) fillReverse() {
	taken := make(map[netip.Addr]int) // in which round
	for round, of := range []func(svc *service, take func(addr netip.Addr, ttl uint32, label string)){
		func(svc *service, take func(netip.Addr, uint32, string)) {
			if !m.isIgnored(svc) {
				for _, addr := range svc.clusterIPs() {
					take(addr, m.TTL, "")
				}
			}
		},
		func(svc *service, take func(netip.Addr, uint32, string)) {
			if svc.isHeadless() {
				svc.takeReady(m.HeadlessTTL, take)
			}
		},
		func(svc *service, take func(netip.Addr, uint32, string)) {
			if !svc.isHeadless() {
				svc.takeReady(m.TTL, take)
			}
		},
	} {
		for _, svc := range m.services {
			if !m.shown(svc) || svc.isExternal() {
				continue
			}
			of(svc, func(addr netip.Addr, ttl uint32, label string) {
				if at, ok := taken[addr]; !ok || at == round {
					taken[addr] = round
					m.ownPTR(addr, ttl, label+svc.name(m.primary()))
				}
			})
		}
	}
}

// nameserver is a name of the DNS service.
type nameserver struct {
	name  string
	addrs []netip.Addr
}

// nameservers returns the names of the DNS service in zone, and their addresses.
func (m *Model) nameservers(zone string) []nameserver {
	var servers []nameserver
	for _, key := range m.dnsServices() {
		svc := m.services[key]
		if !svc.isHeadless() {
			if !m.isIgnored(svc) {
				servers = append(servers, nameserver{svc.name(zone), svc.clusterIPs()})
			}
			continue
		}
		byLabel := make(map[string][]netip.Addr)
		for _, e := range svc.ready() {
			byLabel[e.label()] = append(byLabel[e.label()], e.addr)
		}
		for label, addrs := range byLabel {
			servers = append(servers, nameserver{label + "." + svc.name(zone), addrs})
		}
	}
	if len(servers) == 0 {
		return []nameserver{{"ns.dns." + zone, m.Local}}
	}
	return servers
}

// dnsServices returns the Services that have a local address as a ready endpoint or, if no Service has, as ClusterIP.
func (m *Model) dnsServices() []types.NamespacedName {
	isLocal := func(addr netip.Addr) bool { return slices.Contains(m.Local, addr) }
	with := func(has func(*service) bool) (keys []types.NamespacedName) {
		for key, svc := range m.services {
			if m.shown(svc) && !svc.isExternal() && has(svc) {
				keys = append(keys, key)
			}
		}
		slices.SortFunc(keys, func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
		return keys
	}
	byEndpoint := with(func(svc *service) bool {
		return slices.ContainsFunc(svc.ready(), func(e *endpoint) bool { return isLocal(e.addr) })
	})
	if len(byEndpoint) > 0 {
		return byEndpoint
	}
	return with(func(svc *service) bool { return slices.ContainsFunc(svc.clusterIPs(), isLocal) })
}
