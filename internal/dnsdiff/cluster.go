package dnsdiff

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/oracle"
)

// cluster is what names are made of. It is not modified while they are.
type cluster struct {
	namespaces []string // sorted
	services   []*service
	pods       []pod
	addrs      map[netip.Addr]bool // of Services and endpoints
}

// zone is a zone of the cluster.
type zone struct {
	name         string // FQDN in lower case
	multicluster bool   // its names are of ServiceImports, in place of Services
}

// String returns the zone's name.
func (z zone) String() string { return z.name }

// serviceKey identifies a Service or, if it is imported, a ServiceImport, which is treated as a Service of the multicluster zones.
type serviceKey struct {
	namespace, name string
	imported        bool
}

func (k serviceKey) compare(o serviceKey) int {
	if c := cmp.Or(strings.Compare(k.namespace, o.namespace), strings.Compare(k.name, o.name)); c != 0 || k.imported == o.imported {
		return c
	}
	if k.imported {
		return 1
	}
	return -1
}

// pod is one address of a Pod.
type pod struct {
	namespace string
	addr      netip.Addr
}

// serviceKind is what decides which records a Service has.
type serviceKind uint8

const (
	clusterIP serviceKind = iota
	headless
	externalName
)

// service is a Service with the endpoints of all of its EndpointSlices.
type service struct {
	serviceKey
	kind      serviceKind
	addrs     []netip.Addr // ClusterIPs
	ports     []port
	endpoints []*endpoint // sorted
	named     bool        // it has an EndpointSlice whose endpoints are names
	// spellings are the labels that stock gives endpoints instead of their own. Nil for nearly all Services.
	spellings map[string]string
}

// port is a port of a Service or EndpointSlice. Name and protocol are in lower case.
type port struct{ name, proto string }

// label returns _port._proto, or "" for a port without a name.
func (p port) label() string {
	if p.name == "" {
		return ""
	}
	return "_" + p.name + "._" + p.proto
}

// otherProto returns a port of the same name with another protocol.
func (p port) otherProto() port {
	if p.proto == "tcp" {
		return port{p.name, "udp"}
	}
	return port{p.name, "tcp"}
}

// endpoint is one address of a Service under one hostname.
type endpoint struct {
	addr     netip.Addr // never IPv4-mapped
	hostname string     // a valid label, or "" for the dashed address
	cluster  string     // the label of the cluster that exports it; "" if it is not imported
	pod      string     // the name of the Pod, or ""
	zone     string     // the topology zone, in lower case; "" if it is not known
	hints    []string   // the topology zones and the nodes that it is meant for, each behind one of these words
	odd      string     // how stock spells the dashed address, if in another way
	ports    []port
	ready    bool
	mixed    bool // ready in one EndpointSlice and not in another, or an address spelled in two ways
	mapped   bool // spelled as an IPv4-mapped IPv6 address
}

// label returns the endpoint's own label, and for an imported one that of its cluster, too.
func (e *endpoint) label() string { return e.called(cmp.Or(e.hostname, oracle.AddressLabel(e.addr))) }

// called returns label, with the endpoint's cluster.
func (e *endpoint) called(label string) string {
	if e.cluster == "" {
		return label
	}
	return label + "." + e.cluster
}

// stockDashed returns the label that CoreDNS's kubernetes plugin makes of the text of an address.
func stockDashed(text string) string {
	if strings.Contains(text, ".") {
		return strings.ReplaceAll(text, ".", "-")
	}
	label := strings.ReplaceAll(text, ":", "-")
	if strings.HasSuffix(label, "-") {
		label += "0"
	}
	return label
}

// hasEndpoints reports whether an endpoint is ready.
func (s *service) hasEndpoints() bool {
	return slices.ContainsFunc(s.endpoints, func(e *endpoint) bool { return e.ready })
}

// exists reports whether the Service's own name does.
func (s *service) exists() bool { return s.kind != headless || s.hasEndpoints() }

// portNames returns the named ports, sorted: those of the Service, and for a headless one those of its endpoints.
func (s *service) portNames() []port {
	set := make(map[port]bool)
	for _, p := range s.ports {
		set[p] = p.name != ""
	}
	if s.kind == headless {
		for _, e := range s.endpoints {
			for _, p := range e.ports {
				set[p] = p.name != ""
			}
		}
	}
	maps.DeleteFunc(set, func(_ port, named bool) bool { return !named })
	return slices.SortedFunc(maps.Keys(set), func(a, b port) int { return strings.Compare(a.label(), b.label()) })
}

// servesPort reports whether _port._proto of the Service exists.
func (s *service) servesPort(p port) bool {
	if s.kind != headless {
		return slices.Contains(s.ports, p)
	}
	return slices.ContainsFunc(s.endpoints, func(e *endpoint) bool { return e.ready && slices.Contains(e.ports, p) })
}

// spell notes what else stock may call e: by a dashed address that is spelled otherwise, or a Pod's name that is no label.
func (s *service) spell(e *endpoint) {
	for _, label := range []string{e.odd, e.pod} {
		if e.hostname != "" || label == "" || label == e.pod && !strings.Contains(label, ".") {
			continue
		}
		if s.spellings == nil {
			s.spellings = make(map[string]string)
		}
		s.spellings[e.called(label)] = e.label()
	}
}

// service returns the Service with a key, or nil.
func (c *cluster) service(key serviceKey) *service {
	i, ok := slices.BinarySearchFunc(c.services, key, func(s *service, key serviceKey) int { return s.compare(key) })
	if !ok {
		return nil
	}
	return c.services[i]
}

// target returns what a name below svc in one of the zones is: its label, "" for a Service's own name, and the Service, or nil. name
// is in lower case.
func (c *cluster) target(name string, zones []zone) (label string, svc *service) {
	for _, zone := range zones {
		rest, ok := strings.CutSuffix(name, ".svc."+zone.name)
		if !ok {
			continue
		}
		labels := strings.Split(rest, ".")
		if n := len(labels); n >= 2 {
			return strings.Join(labels[:n-2], "."), c.service(serviceKey{labels[n-1], labels[n-2], zone.multicluster})
		}
	}
	return "", nil
}

// resolves reports whether a name in one of the zones, which is an SRV target, has an address: a Service's own name a ClusterIP, and an
// endpoint's name that of a ready endpoint or, if all that have the name are not ready, of any. name is in lower case.
func (c *cluster) resolves(name string, zones []zone, addr netip.Addr) bool {
	label, svc := c.target(name, zones)
	if svc == nil {
		return false
	}
	if label == "" {
		return slices.Contains(svc.addrs, addr)
	}
	hasName := func(e *endpoint) bool { return e.label() == label || e.hostname == "" && e.called(e.pod) == label }
	isReady := func(e *endpoint) bool { return e.ready && hasName(e) }
	return slices.ContainsFunc(svc.endpoints, func(e *endpoint) bool {
		return e.addr == addr && hasName(e) && (e.ready || !slices.ContainsFunc(svc.endpoints, isReady))
	})
}

// builder makes a cluster of objects, which may come in any order.
type builder struct {
	namespaces map[string]bool
	services   map[serviceKey]*service
	endpoints  map[serviceKey]map[endpointKey]*endpoint
	pods       map[pod]bool
	named      map[serviceKey]bool // those with EndpointSlices of names
}

// endpointKey identifies an endpoint of a Service.
type endpointKey struct {
	addr              netip.Addr
	hostname, cluster string
}

func newBuilder() *builder {
	return &builder{
		namespaces: make(map[string]bool), services: make(map[serviceKey]*service),
		endpoints: make(map[serviceKey]map[endpointKey]*endpoint), pods: make(map[pod]bool), named: make(map[serviceKey]bool),
	}
}

// addService adds a Service, or replaces it.
func (b *builder) addService(svc *service) {
	b.services[svc.serviceKey] = svc
	b.namespaces[svc.namespace] = true
}

// addEndpoint adds an endpoint that stands in one EndpointSlice. That of several is ready if it is in any, with the ports of all.
func (b *builder) addEndpoint(svc serviceKey, e *endpoint) {
	if b.endpoints[svc] == nil {
		b.endpoints[svc] = make(map[endpointKey]*endpoint)
	}
	key := endpointKey{e.addr, e.hostname, e.cluster}
	old := b.endpoints[svc][key]
	if old == nil {
		b.endpoints[svc][key] = e
		return
	}
	for _, p := range e.ports {
		if !slices.Contains(old.ports, p) {
			old.ports = append(slices.Clone(old.ports), p) // other endpoints share them
		}
	}
	old.mixed = old.mixed || old.ready != e.ready || old.odd != e.odd || old.mapped != e.mapped
	old.mapped = old.mapped || e.mapped
	old.zone, old.odd, old.pod = cmp.Or(old.zone, e.zone), cmp.Or(old.odd, e.odd), cmp.Or(old.pod, e.pod)
	old.ready, old.hints = old.ready || e.ready, append(old.hints, e.hints...)
}

// cluster returns the cluster. The builder is of no use afterwards.
func (b *builder) cluster() *cluster {
	c := &cluster{namespaces: slices.Sorted(maps.Keys(b.namespaces)), addrs: make(map[netip.Addr]bool)}
	for key, svc := range b.services {
		svc.named = b.named[key]
		svc.endpoints = slices.SortedFunc(maps.Values(b.endpoints[key]), func(e, o *endpoint) int {
			return cmp.Or(strings.Compare(e.hostname, o.hostname), e.addr.Compare(o.addr), strings.Compare(e.cluster, o.cluster))
		})
		for _, addr := range svc.addrs {
			c.addrs[addr] = true
		}
		for _, e := range svc.endpoints {
			c.addrs[e.addr] = true
			svc.spell(e)
		}
		c.services = append(c.services, svc)
	}
	slices.SortFunc(c.services, func(s, o *service) int { return s.compare(o.serviceKey) })
	c.pods = slices.SortedFunc(maps.Keys(b.pods), func(p, o pod) int {
		return cmp.Or(strings.Compare(p.namespace, o.namespace), p.addr.Compare(o.addr))
	})
	return c
}
