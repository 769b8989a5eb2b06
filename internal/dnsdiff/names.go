package dnsdiff

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/coredns-headless/headless/internal/oracle"
	"github.com/miekg/dns"
)

// kind is what a name is according to the cluster. It stands in reports.
type kind string

// Names that should exist, or do if a server's options say so.
const (
	kindApex         kind = "a zone"
	kindLevel        kind = "svc and pod"
	kindNS           kind = "ns.dns"
	kindVersion      kind = "dns-version"
	kindNamespace    kind = "a namespace"
	kindService      kind = "a Service"
	kindExternal     kind = "an ExternalName Service"
	kindPort         kind = "a port of a Service"
	kindHost         kind = "an endpoint"
	kindHostPort     kind = "a port of an endpoint"
	kindUnready      kind = "an endpoint that is not ready"
	kindUnreadyPort  kind = "a port of an endpoint that is not ready"
	kindPodAlias     kind = "an endpoint by its Pod's name"
	kindOddHost      kind = "an endpoint by another spelling of its address"
	kindPod          kind = "a Pod by its address"
	kindReverse      kind = "a reverse name"
	kindProto        kind = "_proto of a Service"
	kindHostProto    kind = "_proto of an endpoint"
	kindDNS          kind = "dns, above ns.dns"
	kindReverseAbove kind = "a name above a reverse name"
	kindZonal        kind = "a topology zone of a Service"
	kindScope        kind = "_zone of a Service"
	kindCluster      kind = "a cluster of a ServiceImport"
)

// Names that nobody has.
const (
	missZone         kind = "no name of a zone"
	missNamespace    kind = "no namespace"
	missService      kind = "no Service"
	missHost         kind = "no endpoint"
	missHostPort     kind = "a port of no endpoint"
	missPort         kind = "no port"
	missUnderscore   kind = "a port without underscores"
	missWildcard     kind = "a wildcard"
	missBelow        kind = "nothing below an endpoint"
	missBelowPod     kind = "nothing below a Pod"
	missReverse      kind = "no reverse name"
	missBelowReverse kind = "nothing below a reverse name"
	missZonal        kind = "no topology zone"
)

// qtypes are the types that names of a kind are asked for. At least one is a type that such a name lacks.
var qtypes = map[kind][]uint16{
	kindApex:         {dns.TypeSOA, dns.TypeNS, dns.TypeA, dns.TypeTXT},
	kindLevel:        {dns.TypeA, dns.TypeTXT},
	kindNS:           {dns.TypeA, dns.TypeAAAA, dns.TypeTXT},
	kindVersion:      {dns.TypeTXT, dns.TypeA},
	kindNamespace:    {dns.TypeA, dns.TypeTXT},
	kindService:      {dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeTXT},
	kindExternal:     {dns.TypeA, dns.TypeAAAA, dns.TypeCNAME, dns.TypeSRV},
	kindPort:         {dns.TypeSRV, dns.TypeA},
	kindHost:         {dns.TypeA, dns.TypeAAAA, dns.TypeSRV},
	kindHostPort:     {dns.TypeSRV},
	kindUnready:      {dns.TypeA, dns.TypeAAAA},
	kindUnreadyPort:  {dns.TypeSRV},
	kindPodAlias:     {dns.TypeA, dns.TypeAAAA},
	kindOddHost:      {dns.TypeA, dns.TypeAAAA},
	kindPod:          {dns.TypeA, dns.TypeAAAA, dns.TypeSRV},
	kindReverse:      {dns.TypePTR, dns.TypeTXT},
	kindProto:        {dns.TypeA, dns.TypeSRV},
	kindHostProto:    {dns.TypeA, dns.TypeSRV},
	kindDNS:          {dns.TypeA, dns.TypeTXT},
	kindReverseAbove: {dns.TypePTR, dns.TypeNS},
	kindZonal:        {dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeTXT},
	kindScope:        {dns.TypeA, dns.TypeSRV},
	kindCluster:      {dns.TypeA, dns.TypeSRV},
	missZone:         {dns.TypeA, dns.TypeSOA},
	missNamespace:    {dns.TypeA, dns.TypeSOA},
	missService:      {dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeSOA},
	missHost:         {dns.TypeA, dns.TypeAAAA, dns.TypeSRV},
	missHostPort:     {dns.TypeSRV},
	missPort:         {dns.TypeSRV, dns.TypeA},
	missUnderscore:   {dns.TypeSRV, dns.TypeA},
	missWildcard:     {dns.TypeA, dns.TypeSRV},
	missBelow:        {dns.TypeA},
	missBelowPod:     {dns.TypeA},
	missReverse:      {dns.TypePTR, dns.TypeSOA},
	missBelowReverse: {dns.TypePTR},
	missZonal:        {dns.TypeA, dns.TypeSRV},
}

// subject is a name to ask for.
type subject struct {
	name      string // FQDN
	kind      kind
	respelled bool        // in other than lower case
	cluster   *cluster    // that says so
	service   *service    // that the name is of, or nil
	endpoints []*endpoint // that have the name
	port      port        // of the kinds of ports
	addr      netip.Addr  // of a reverse name
}

// lower returns the name in lower case.
func (s *subject) lower() string { return strings.ToLower(s.name) }

// generator makes names of a cluster. The same seed makes the same names in the same order.
type generator struct {
	cluster      *cluster
	zones        []zone
	headlessOnly bool // no names of endpoints of ClusterIP Services
	zonal        bool // names of topology zones, too
	seed         uint64
}

// mostParents is how many names above reverse names are made, and remembered, at most.
const mostParents = 10000

// stream is one walk over all names.
type stream struct {
	*generator
	*rand.Rand
	yield   func(subject) bool
	ended   bool // the consumer wants no more
	zone    zone
	seen    map[netip.Addr]bool
	parents map[string]bool
}

// subjects returns the names one by one. Only addresses are kept of those that were.
func (g *generator) subjects() iter.Seq[subject] {
	return func(yield func(subject) bool) {
		s := &stream{
			generator: g, Rand: rand.New(rand.NewPCG(g.seed, 0)), yield: yield,
			seen: make(map[netip.Addr]bool), parents: make(map[string]bool),
		}
		for _, s.zone = range g.zones {
			s.zoneNames()
			for _, namespace := range g.cluster.namespaces {
				s.namespaceNames(namespace)
			}
			s.podNames()
			for _, i := range s.Perm(len(g.cluster.services)) {
				if s.ended {
					return
				}
				if svc := g.cluster.services[i]; svc.imported == s.zone.multicluster {
					s.serviceNames(svc)
				}
			}
		}
	}
}

// find returns what a name is now, or false if the generator does not make it.
func (g *generator) find(sub subject) (subject, bool) {
	for now := range g.subjects() {
		if strings.EqualFold(now.name, sub.name) {
			now.name, now.respelled = sub.name, sub.respelled
			return now, true
		}
	}
	return subject{}, false
}

// add yields a name: format with args, below the zone unless it ends in a dot.
func (s *stream) add(sub subject, format string, args ...any) {
	sub.name, sub.cluster = fmt.Sprintf(format, args...), s.cluster
	if !strings.HasSuffix(sub.name, ".") {
		sub.name += "." + s.zone.name
	}
	if _, ok := dns.IsDomainName(sub.name); ok && !s.ended {
		s.ended = !s.yield(sub)
	}
}

// addRespelled yields a name with some letters in upper case, at least one.
func (s *stream) addRespelled(sub subject, name string) {
	b := []byte(name)
	changed := false
	for i, ch := range b {
		if 'a' <= ch && ch <= 'z' && (s.IntN(2) == 0 || !changed) {
			b[i] -= 'a' - 'A'
			changed = true
		}
	}
	sub.respelled = true
	s.add(sub, "%s", b)
}

// nobody returns a label that hardly anything has.
func (s *stream) nobody() string {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	label := make([]byte, 6)
	for i := range label {
		label[i] = letters[s.IntN(len(letters))]
	}
	return "nobody-" + string(label)
}

func (s *stream) zoneNames() {
	s.add(subject{kind: kindApex}, "%s", s.zone.name)
	s.addRespelled(subject{kind: kindApex}, s.zone.name)
	s.add(subject{kind: kindLevel}, "svc")
	s.add(subject{kind: kindLevel}, "pod")
	s.add(subject{kind: kindDNS}, "dns")
	s.add(subject{kind: kindNS}, "ns.dns")
	s.add(subject{kind: kindVersion}, "dns-version")
	s.add(subject{kind: missZone}, "%s", s.nobody())
	missing := s.nobody()
	s.add(subject{kind: missNamespace}, "%s.svc", missing)
	s.add(subject{kind: missNamespace}, "%s.pod", missing)
	s.add(subject{kind: missNamespace}, "kubernetes.%s.svc", missing)
	s.add(subject{kind: missNamespace}, "10-0-0-1.%s.pod", missing)
}

func (s *stream) namespaceNames(namespace string) {
	s.add(subject{kind: kindNamespace}, "%s.svc", namespace)
	s.add(subject{kind: kindNamespace}, "%s.pod", namespace)
	missing := s.nobody()
	s.add(subject{kind: missService}, "%s.%s.svc", missing, namespace)
	s.add(subject{kind: missService}, "_http._tcp.%s.%s.svc", missing, namespace)
	s.add(subject{kind: missService}, "%s-0.%s.%s.svc", missing, missing, namespace)
	s.add(subject{kind: missWildcard}, "*.%s.svc", namespace)
	s.add(subject{kind: missWildcard}, "any.%s.svc", namespace)
}

func (s *stream) podNames() {
	last := ""
	for _, p := range s.cluster.pods {
		s.add(subject{kind: kindPod, addr: p.addr}, "%s.%s.pod", oracle.AddressLabel(p.addr), p.namespace)
		if p.namespace != last {
			s.add(subject{kind: missBelowPod}, "x.%s.%s.pod", oracle.AddressLabel(p.addr), p.namespace)
		}
		last = p.namespace
	}
}

func (s *stream) serviceNames(svc *service) {
	base := fmt.Sprintf("%s.%s.svc.%s", svc.name, svc.namespace, s.zone)
	switch {
	case !s.zonal || svc.imported:
	case svc.kind == headless:
		s.zonalNames(svc, base)
	default:
		s.add(subject{kind: missZonal, service: svc}, "%s.pin._zone.%s", s.nobody(), base)
	}
	if svc.kind == externalName {
		s.add(subject{kind: kindExternal, service: svc}, "%s", base)
		s.add(subject{kind: missPort, service: svc}, "_http._tcp.%s", base)
		return
	}
	own := subject{kind: kindService, service: svc}
	s.add(own, "%s", base)
	s.addRespelled(own, base)
	protos := make(map[string]bool)
	ports := svc.portNames()
	for _, p := range ports {
		port := subject{kind: kindPort, service: svc, port: p}
		s.add(port, "%s.%s", p.label(), base)
		if protos[p.proto] {
			continue
		}
		protos[p.proto] = true
		s.addRespelled(port, p.label()+"."+base)
		s.add(subject{kind: kindProto, service: svc, port: p}, "_%s.%s", p.proto, base)
		s.add(subject{kind: missUnderscore, service: svc, port: p}, "%s.%s.%s", p.name, p.proto, base)
		s.add(subject{kind: missWildcard, service: svc, port: p}, "_._%s.%s", p.proto, base)
		s.add(subject{kind: missPort, service: svc}, "_%s._%s.%s", s.nobody(), p.proto, base)
		if other := p.otherProto(); !slices.Contains(ports, other) {
			s.add(subject{kind: missPort, service: svc}, "%s.%s", other.label(), base)
		}
	}
	if len(protos) == 0 {
		s.add(subject{kind: missPort, service: svc}, "_http._tcp.%s", base)
	}
	if svc.kind == headless || !s.headlessOnly {
		s.endpointNames(svc, base, ports)
	}
	if svc.imported {
		s.clusterNames(svc, base)
	} else {
		s.reverseNames(svc)
	}
}

// zonalNames yields the names of the topology zones that endpoints of svc are in, and of one that has no endpoint.
func (s *stream) zonalNames(svc *service, base string) {
	for _, label := range []string{"_zone", "pin._zone", "prefer._zone"} {
		s.add(subject{kind: kindScope, service: svc}, "%s.%s", label, base)
	}
	nowhere := s.nobody()
	zones := map[string][]*endpoint{nowhere: nil}
	for _, e := range svc.endpoints {
		if e.zone != "" {
			zones[e.zone] = append(zones[e.zone], e)
		}
	}
	for _, zone := range slices.Sorted(maps.Keys(zones)) {
		sub := subject{kind: kindZonal, service: svc, endpoints: zones[zone]}
		s.add(sub, "%s.pin._zone.%s", zone, base)
		if !slices.ContainsFunc(sub.endpoints, func(e *endpoint) bool { return e.ready }) {
			sub.endpoints = svc.endpoints
		}
		s.add(sub, "%s.prefer._zone.%s", zone, base)
	}
	s.addRespelled(subject{kind: kindZonal, service: svc}, nowhere+".pin._zone."+base)
	s.add(subject{kind: missZonal, service: svc}, "%s.%s._zone.%s", nowhere, s.nobody(), base)
}

// endpointNames yields the names of the endpoints of svc, whose own name is base and which has these named ports.
func (s *stream) endpointNames(svc *service, base string, ports []port) {
	hosts := make(map[string][]*endpoint)
	var labels []string // in the order of the endpoints
	for _, e := range svc.endpoints {
		label := e.label()
		if hosts[label] == nil {
			labels = append(labels, label)
		}
		hosts[label] = append(hosts[label], e)
	}
	for i, label := range labels {
		s.hostNames(svc, label, hosts[label], base, i == 0)
		for _, e := range hosts[label] {
			sub := subject{service: svc, endpoints: []*endpoint{e}}
			if e.hostname != "" {
				continue
			}
			if sub.kind = kindOddHost; e.odd != "" && hosts[e.called(e.odd)] == nil {
				s.add(sub, "%s.%s", e.called(e.odd), base)
			}
			if sub.kind = kindPodAlias; e.pod != "" && hosts[e.called(e.pod)] == nil {
				s.add(sub, "%s.%s", e.called(e.pod), base)
			}
		}
	}
	for _, label := range s.missingHosts(svc, hosts) {
		s.add(subject{kind: missHost, service: svc}, "%s.%s", label, base)
		if len(ports) > 0 {
			s.add(subject{kind: missHostPort, service: svc}, "%s.%s.%s", ports[0].label(), label, base)
		}
	}
}

// hostNames yields the names of the endpoints with one label. Only with the first of a Service go names that nobody has.
func (s *stream) hostNames(svc *service, label string, endpoints []*endpoint, base string, isFirst bool) {
	host, hostPort := subject{kind: kindUnready, service: svc, endpoints: endpoints}, kindUnreadyPort
	if slices.ContainsFunc(endpoints, func(e *endpoint) bool { return e.ready }) {
		host.kind, hostPort = kindHost, kindHostPort
	}
	s.add(host, "%s.%s", label, base)
	var ports []port
	for _, e := range endpoints {
		for _, p := range e.ports {
			if p.name == "" || slices.Contains(ports, p) || e.ready != (hostPort == kindHostPort) {
				continue
			}
			ports = append(ports, p)
			s.add(subject{kind: hostPort, service: svc, endpoints: endpoints, port: p}, "%s.%s.%s", p.label(), label, base)
		}
	}
	if !isFirst {
		return
	}
	s.addRespelled(host, label+"."+base)
	s.add(subject{kind: missBelow, service: svc}, "x.%s.%s", label, base)
	s.add(subject{kind: missPort, service: svc}, "_%s._tcp.%s.%s", s.nobody(), label, base)
	if len(ports) > 0 && hostPort == kindHostPort {
		s.add(subject{kind: kindHostProto, service: svc, endpoints: endpoints, port: ports[0]}, "_%s.%s.%s", ports[0].proto, label, base)
	}
}

// missingHosts returns labels that no endpoint of svc has: the ordinal behind the last of each row, or a neighbour's address, and
// a random one.
func (s *stream) missingHosts(svc *service, hosts map[string][]*endpoint) []string {
	missing := []string{s.nobody()}
	next := make(map[string]int) // ordinal by what stands before it
	for _, e := range svc.endpoints {
		if i := strings.LastIndexByte(e.hostname, '-'); i > 0 {
			if n, err := strconv.Atoi(e.hostname[i+1:]); err == nil && n >= 0 {
				next[e.hostname[:i+1]] = max(next[e.hostname[:i+1]], n+1)
			}
		}
	}
	if len(next) > 0 {
		prefix := ""
		for p := range next {
			prefix = max(prefix, p) // any, but the same each time
		}
		missing = append(missing, prefix+strconv.Itoa(next[prefix]))
	} else if n := len(svc.endpoints); n > 0 {
		if neighbour := svc.endpoints[n-1].addr.Next(); neighbour.IsValid() {
			missing = append(missing, oracle.AddressLabel(neighbour))
		}
	}
	if n := len(svc.endpoints); n > 0 {
		for i, label := range missing {
			missing[i] = svc.endpoints[n-1].called(label)
		}
	}
	return slices.DeleteFunc(missing, func(label string) bool { return hosts[label] != nil })
}

// clusterNames yields the names of the clusters that export ready endpoints of svc, that of one which does not, and of an endpoint
// without its cluster. Reverse names of imported addresses are left out: they do not exist, and kubernetes does not even reply.
func (s *stream) clusterNames(svc *service, base string) {
	s.add(subject{kind: missHost, service: svc}, "%s.%s", s.nobody(), base)
	clusters := make(map[string]bool)
	for i, e := range svc.endpoints {
		if e.ready && !clusters[e.cluster] {
			clusters[e.cluster] = true
			s.add(subject{kind: kindCluster, service: svc}, "%s.%s", e.cluster, base)
		}
		if i == 0 {
			s.add(subject{kind: missHost, service: svc}, "%s.%s", cmp.Or(e.hostname, oracle.AddressLabel(e.addr)), base)
		}
	}
}

// reverseNames yields the reverse names of the addresses of svc that were not yielded before, some names above them, and a
// neighbour's.
func (s *stream) reverseNames(svc *service) {
	addrs := slices.Clone(svc.addrs)
	if svc.kind == headless || !s.headlessOnly {
		for _, e := range svc.endpoints {
			addrs = append(addrs, e.addr)
		}
	}
	var last netip.Addr
	for _, addr := range addrs {
		if s.seen[addr] {
			continue
		}
		s.seen[addr] = true
		name := reverse(addr)
		s.add(subject{kind: kindReverse, service: svc, addr: addr}, "%s", name)
		if !last.IsValid() || last.Is4() != addr.Is4() { // one of each family is enough
			s.add(subject{kind: missBelowReverse, addr: addr}, "x.%s", name)
		}
		last = addr
		if addr.IsPrivate() { // others are the internet's, where there may be anything
			s.parentNames(name)
		}
	}
	if neighbour := last.Next(); neighbour.IsValid() && !s.cluster.addrs[neighbour] {
		s.add(subject{kind: missReverse, addr: neighbour}, "%s", reverse(neighbour))
	}
}

// parentNames yields the names above a reverse name that are below every address of its first octet.
func (s *stream) parentNames(name string) {
	labels := dns.Split(name)
	step := 1
	if len(labels) > 6 {
		step = 4 // in IPv6 a group of the address
	}
	for i := step; i <= len(labels)-3 && len(s.parents) < mostParents; i += step {
		if parent := name[labels[i]:]; !s.parents[parent] {
			s.parents[parent] = true
			s.add(subject{kind: kindReverseAbove}, "%s", parent)
		}
	}
}

// reverse returns the reverse name of an address.
func reverse(addr netip.Addr) string {
	name, err := dns.ReverseAddr(addr.String())
	if err != nil {
		panic(err) // every netip.Addr has one
	}
	return name
}

// isMiss reports whether names of this kind should not exist.
func (k kind) isMiss() bool {
	return slices.Contains([]kind{
		missZone, missNamespace, missService, missHost, missHostPort, missPort, missUnderscore, missWildcard, missBelow, missBelowPod,
		missReverse, missBelowReverse, missZonal,
	}, k)
}

// exists reports whether the name should exist, as far as the cluster says.
func (s *subject) exists() bool {
	switch s.kind {
	case kindService, kindZonal, kindScope:
		return s.service.exists()
	case kindPort, kindProto:
		return s.service.servesPort(s.port)
	case kindUnready, kindUnreadyPort, kindPodAlias, kindOddHost, kindPod:
		return false // options say so
	}
	return !s.kind.isMiss()
}

// owns reports whether the name should have records of a type, as far as the cluster says.
func (s *subject) owns(qtype uint16) bool {
	addrs := slices.Clone(s.endpointAddrs())
	hasPorts := false
	switch s.kind {
	case kindApex:
		return qtype == dns.TypeSOA || qtype == dns.TypeNS
	case kindNS:
		return qtype == dns.TypeA || qtype == dns.TypeAAAA
	case kindVersion:
		return qtype == dns.TypeTXT
	case kindReverse:
		return qtype == dns.TypePTR
	case kindExternal:
		return true
	case kindService:
		if s.service.kind == clusterIP {
			addrs = s.service.addrs
		}
		hasPorts = len(s.service.ports) > 0
	case kindPort, kindHostPort:
		return qtype == dns.TypeSRV
	case kindHost, kindZonal:
		hasPorts = len(addrs) > 0
	case kindPod:
		addrs = append(addrs, s.addr)
	default:
		return false
	}
	switch qtype {
	case dns.TypeA:
		return slices.ContainsFunc(addrs, netip.Addr.Is4)
	case dns.TypeAAAA:
		return slices.ContainsFunc(addrs, netip.Addr.Is6)
	case dns.TypeSRV:
		return hasPorts
	}
	return false
}

// endpointAddrs returns the addresses of the ready endpoints that have the name.
func (s *subject) endpointAddrs() []netip.Addr {
	endpoints := s.endpoints
	if s.kind == kindService && s.service.kind == headless {
		endpoints = s.service.endpoints
	}
	var addrs []netip.Addr
	for _, e := range endpoints {
		if e.ready {
			addrs = append(addrs, e.addr)
		}
	}
	return addrs
}

// question is a name and a type.
type question struct {
	subject
	qtype uint16
}

// questions returns what to ask, one by one.
func (g *generator) questions() iter.Seq[question] {
	return func(yield func(question) bool) {
		for sub := range g.subjects() {
			for _, qtype := range qtypes[sub.kind] {
				if !yield(question{sub, qtype}) {
					return
				}
			}
		}
	}
}
