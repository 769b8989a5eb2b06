package kube

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/coredns-headless/headless/internal/model"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// HostnamesAnnotation overrides the hostnames option for one Service.
const HostnamesAnnotation = "coredns-headless.github.io/hostnames"

// TopologyAnnotation turns the option topology off for one Service.
const TopologyAnnotation = "coredns-headless.github.io/topology"

// Flaw says why an object, or a part of it, was skipped.
type Flaw string

// The flaws.
const (
	badAddress    Flaw = "address"    // a text that is not an address, or has a zone
	badPort       Flaw = "port"       // a port number outside 1–65535
	badName       Flaw = "name"       // a name, of an object or a port for example, that is not a DNS name
	badAnnotation Flaw = "annotation" // an annotation of ours or a time that has no such form
	fqdnSlice     Flaw = "fqdn"       // a slice of address type FQDN
	beyondLimit   Flaw = "limit"      // an object with more addresses or ports than are taken from one
	noService     Flaw = "no_service" // a slice without the label kubernetes.io/service-name
	UnknownKind   Flaw = "kind"       // an object of a kind we do not use
	Malformed     Flaw = "malformed"  // a document that is no object, or an object without the form of its kind
	unexpected    Flaw = "unexpected" // an object of another type than the list or watch was for
)

// Flaws are all of them.
var Flaws = []Flaw{
	badAddress, badPort, badName, badAnnotation, fqdnSlice, beyondLimit, noService,
	UnknownKind, Malformed, unexpected,
}

// How much is taken from one object, so that none of them keeps queries waiting for long. The API
// server lets more pass: 100,000 addresses and 20,000 ports in one slice.
const (
	MaxAddresses = 10_000 // of each kind, and names of load balancers
	MaxPorts     = 1000
)

// Converter turns API objects into what the index keeps of them. Its methods never fail: what is
// malformed is left out and counted.
type Converter struct {
	Namespaces []string                      // the namespaces to serve; empty: all
	PodNames   bool                          // endpoint_pod_names: an endpoint without a hostname is named after its pod
	PodLabels  bool                          // the labels of Pods are kept
	Topologies bool                          // zonal: the topology zones of endpoints are kept, for names
	Hints      bool                          // topology: where endpoints and Pods are is kept, and the hints of endpoints
	Node       string                        // the node whose Pods are kept; "": those of all
	skip       func(resource string, r Flaw) // for tests; nil: CountSkipped
	// cluster is the UID of the Namespace kube-system, which is that of the cluster; nil while it
	// is not known.
	cluster atomic.Pointer[string]
}

// report counts what is left out of a resource.
func (c *Converter) report(resource string, r Flaw) {
	if c.skip != nil {
		c.skip(resource, r)
		return
	}
	CountSkipped(resource, r)
}

// ClusterUID returns what identifies the cluster, or "" while that is not known.
func (c *Converter) ClusterUID() string { return deref(c.cluster.Load()) }

// serves reports whether the configuration exposes a namespace, if it exists.
func (c *Converter) serves(namespace string) bool {
	return len(c.Namespaces) == 0 || slices.Contains(c.Namespaces, namespace)
}

// namespace converts a Namespace. ok is false for one that is not served.
func (c *Converter) namespace(ns *corev1.Namespace) (spec *model.Namespace, ok bool) {
	if ns.Name == metav1.NamespaceSystem { // which is in every cluster, and as old as it
		c.cluster.Store(new(string(ns.UID)))
	}
	return &model.Namespace{Key: model.KeyOf("", ns.Name)}, c.serves(ns.Name)
}

// service converts a Service. ok is false for one that is not served.
func (c *Converter) service(svc *corev1.Service) (spec *model.Service, ok bool) {
	if !c.serves(svc.Namespace) {
		return nil, false
	}
	if !model.ValidLabel(svc.Name) || !model.ValidLabel(svc.Namespace) {
		c.report(Services, badName)
		return nil, false
	}
	spec = &model.Service{Key: model.KeyOf(svc.Namespace, svc.Name), Selector: len(svc.Spec.Selector) > 0}
	clusterIPs := svc.Spec.ClusterIPs
	if len(clusterIPs) == 0 && svc.Spec.ClusterIP != "" {
		clusterIPs = []string{svc.Spec.ClusterIP}
	}
	switch {
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		spec.Kind = model.ExternalName
		spec.Target = c.externalName(svc.Spec.ExternalName)
	case len(clusterIPs) > 0 && clusterIPs[0] == corev1.ClusterIPNone:
		spec.Kind = model.Headless
	default:
		spec.ClusterIPs = c.addrs(Services, clusterIPs)
	}
	for _, p := range limited(c, Services, svc.Spec.Ports, MaxPorts) {
		spec.Ports = c.port(spec.Ports, Services, p.Name, p.Protocol, p.Port)
	}
	spec.Ports = model.SortedPorts(spec.Ports)
	spec.External = c.external(svc)
	if word, ok := svc.Annotations[HostnamesAnnotation]; ok {
		if spec.Policy, ok = model.ParsePolicy(word); !ok {
			c.report(Services, badAnnotation)
		}
	}
	if word, ok := svc.Annotations[TopologyAnnotation]; ok {
		if spec.NoTopology = word == "off"; !spec.NoTopology {
			c.report(Services, badAnnotation)
		}
	}
	return spec, true
}

// serviceImport converts a ServiceImport: it is a Service of the multicluster zones. ok is false
// for one that is not served.
func (c *Converter) serviceImport(si *mcsv1beta1.ServiceImport) (spec *importSpec, ok bool) {
	svc := &corev1.Service{ObjectMeta: si.ObjectMeta}
	svc.Spec.ClusterIPs = si.Spec.IPs
	if si.Spec.Type == mcsv1beta1.Headless {
		svc.Spec.ClusterIPs = []string{corev1.ClusterIPNone}
	}
	for _, p := range si.Spec.Ports {
		svc.Spec.Ports = append(svc.Spec.Ports,
			corev1.ServicePort{Name: p.Name, Protocol: p.Protocol, Port: p.Port})
	}
	service, ok := c.service(svc)
	return &importSpec{service, si.Status.EndpointSliceObjects == mcsv1beta1.EndpointSliceObjectsAbsent}, ok
}

// external returns what svc is reached at from outside the cluster, or nil.
func (c *Converter) external(svc *corev1.Service) *model.External {
	var e model.External
	ips := slices.Clone(svc.Spec.ExternalIPs)
	for i := range svc.Status.LoadBalancer.Ingress {
		switch ingress := &svc.Status.LoadBalancer.Ingress[i]; {
		case ingress.IP != "":
			ips = append(ips, ingress.IP)
		case ingress.Hostname != "":
			if name := c.externalName(ingress.Hostname); name != "" {
				e.Names = append(e.Names, name)
			}
		}
	}
	e.Addrs = c.addrs(Services, ips)
	e.Names = model.Unrepeated(limited(c, Services, e.Names, MaxAddresses))
	if len(e.Addrs)+len(e.Names) == 0 {
		return nil
	}
	return &e
}

// pod converts a Pod. ok is false for one that is over, and has its addresses no more.
func (c *Converter) pod(pod *corev1.Pod) (spec *model.Pod, ok bool) {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed ||
		c.Node != "" && pod.Spec.NodeName != c.Node {
		return nil, false
	}
	spec = &model.Pod{
		Key: model.KeyOf(pod.Namespace, pod.Name), Leaving: pod.DeletionTimestamp != nil, Host: pod.Spec.HostNetwork,
	}
	if c.Hints {
		spec.Node = model.Intern(pod.Spec.NodeName)
	}
	ips := make([]string, len(pod.Status.PodIPs))
	for i, ip := range pod.Status.PodIPs {
		ips[i] = ip.IP
	}
	spec.Addrs = c.addrs(Pods, ips)
	if c.PodLabels {
		spec.Labels = pod.Labels
	}
	return spec, true
}

// node converts a Node.
func (c *Converter) node(n *corev1.Node) (spec *model.Node, ok bool) {
	spec = &model.Node{Key: model.KeyOf("", n.Name), Zone: strings.ToLower(n.Labels[corev1.LabelTopologyZone])}
	var ips []string
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
			ips = append(ips, a.Address)
		}
	}
	spec.Addrs = c.addrs(Nodes, ips)
	return spec, true
}

// externalName returns the FQDN of name, an ExternalName or an ingress, or "" if a CNAME cannot point to it.
func (c *Converter) externalName(name string) string {
	target, ok := model.ParseTarget(name)
	if !ok {
		c.report(Services, badName)
	}
	return target
}

// slice converts an EndpointSlice. ok is false for one that is not served.
func (c *Converter) slice(es *wireSlice) (spec *model.Slice, ok bool) {
	if !c.serves(es.Namespace) {
		return nil, false
	}
	return c.sliceOf(es, es.Labels[discoveryv1.LabelServiceName])
}

// importedSlice converts an EndpointSlice of a ServiceImport. Its endpoints are named
// <hostname>.<cluster>; of one without a valid cluster they are addresses of the ServiceImport's name,
// and have no names, so no SRV records either. ok is false for one that is not served, also one that
// belongs to no ServiceImport.
func (c *Converter) importedSlice(es *wireSlice) (spec *model.Slice, ok bool) {
	service, cluster := es.Labels[mcsv1beta1.LabelServiceName],
		strings.ToLower(es.Labels[mcsv1beta1.LabelSourceCluster])
	if !c.serves(es.Namespace) || service == "" {
		return nil, false
	}
	if spec, ok = c.sliceOf(es, service); !ok {
		return nil, false
	}
	spec.Sums = nil // their names are made of more than the Endpoint
	if !model.ValidLabel(cluster) {
		c.report(Slices, badName)
		spec.Ports = nil
		for i := range spec.Endpoints {
			spec.Endpoints[i].Name, spec.Endpoints[i].PodName = "", false
		}
		return spec, true
	}
	for i := range spec.Endpoints {
		e := &spec.Endpoints[i]
		e.Name = string(model.Label{Name: e.Name, Addr: e.Addr}.Append(nil)) + "." + cluster
		e.PodName = false
	}
	return spec, true
}

// sliceOf converts an EndpointSlice of a Service. ok is false for one without a name.
func (c *Converter) sliceOf(es *wireSlice, service string) (spec *model.Slice, ok bool) {
	if es.Name == "" {
		c.report(Slices, badName)
		return nil, false
	}
	spec = &model.Slice{Key: model.KeyOf(es.Namespace, es.Name)}
	switch {
	case service == "":
		if es.Labels[mcsv1beta1.LabelServiceName] == "" {
			c.report(Slices, noService)
		}
		return spec, true
	case !model.ValidLabel(service): // which no Service can be called
		c.report(Slices, badName)
		return spec, true
	}
	spec.Service = model.Intern(service)
	if es.addressType == discoveryv1.AddressTypeFQDN {
		c.report(Slices, fqdnSlice)
		return spec, true
	}
	for _, p := range limited(c, Slices, es.ports, MaxPorts) {
		if p.Port != nil { // nil means every port, which has no SRV
			spec.Ports = c.port(spec.Ports, Slices, deref(p.Name), deref(p.Protocol), *p.Port)
		}
	}
	spec.Ports = model.SortedPorts(spec.Ports)
	c.endpoints(spec, es)
	return spec, true
}

// endpoints gives spec the endpoints of es: those that were recalled, and the others converted.
func (c *Converter) endpoints(spec *model.Slice, es *wireSlice) {
	list := newEndpointList(es)
	defer func() { spec.Endpoints, spec.Sums = list.endpoints, list.sums }()
	var name string
	var place model.Placed
	var podName, flawless bool
	for i := range es.endpoints {
		e := &es.endpoints[i]
		if !list.recall(int(e.at)) || len(list.endpoints) == MaxAddresses {
			c.report(Slices, beyondLimit)
			return
		}
		if !e.further {
			var isName, isPlace bool
			name, podName, isName = c.hostname(es, e)
			place, isPlace = c.place(es, e)
			flawless = isName && isPlace
		}
		addr, ok := c.usable(Slices, parseAddr(es.text(e.addr)))
		if !ok {
			continue
		}
		s := model.Endpoint{
			Addr: addr, Name: name, PodName: podName, Place: place,
			State: stateOf(e.conditions), Leaving: e.conditions.terminating.is(false),
		}
		var dashed [model.MaxDashed]byte
		if string(model.AppendDashed(dashed[:0], addr)) == name {
			s.Name, s.PodName = "", false
		}
		list.add(s, int(e.at), flawless)
	}
	if !list.recall(len(es.recalled)) {
		c.report(Slices, beyondLimit)
	}
}

// endpointList gathers the endpoints of a slice, and the sums of their Endpoints.
type endpointList struct {
	*wireSlice
	endpoints []model.Endpoint
	sums      []uint64
	inPlace   bool // endpoints lies where recalled does: each is in its place there, so far
	next      int  // the first Endpoint behind those that are done
}

func newEndpointList(es *wireSlice) endpointList {
	l := endpointList{wireSlice: es, endpoints: es.recalled[:0], inPlace: es.recalled != nil}
	if !l.inPlace {
		l.endpoints = make([]model.Endpoint, 0, min(len(es.endpoints), MaxAddresses))
	}
	if es.sums != nil {
		l.sums = make([]uint64, 0, len(es.sums))
	}
	return l
}

// recall adds the Endpoints that were recalled, from those that are done up to a position. It returns false
// when there are too many.
func (l *endpointList) recall(until int) bool {
	for at := l.next; at < until; at++ {
		if !l.isRecalled(at) {
			continue
		}
		if len(l.endpoints) == MaxAddresses {
			return false
		}
		l.add(l.recalled[at], at, true)
	}
	return true
}

// add adds what was made of the Endpoint at a position, and may be recalled next time.
func (l *endpointList) add(e model.Endpoint, at int, flawless bool) {
	l.next = at + 1
	if l.inPlace && len(l.endpoints) != at {
		l.endpoints, l.inPlace = slices.Clone(l.endpoints), false
	}
	l.endpoints = append(l.endpoints, e)
	switch {
	case l.wireSlice.sums == nil:
	case flawless:
		l.sums = append(l.sums, l.wireSlice.sums[at])
	default:
		l.sums = append(l.sums, 0)
	}
}

// stateOf reads the conditions of an endpoint. Unset, ready means true, serving what ready means,
// terminating false.
func stateOf(c conditions) model.State {
	isReady := c.ready.is(true)
	switch {
	case isReady:
		return model.Ready
	case c.serving.is(isReady) && c.terminating.is(false):
		return model.Serving
	}
	return model.NotReady
}

// hostname returns the name of an endpoint: its hostname, or the name of its pod if the
// configuration says so, or "" for the dashed address. ok is false if its hostname is not valid.
func (c *Converter) hostname(es *wireSlice, e *wireEndpoint) (name string, podName, ok bool) {
	ok = true
	if hostname := es.text(e.hostname); len(hostname) > 0 {
		if name, ok = model.FoldedLabel(hostname); ok {
			return name, false, true
		}
		c.report(Slices, badName)
	}
	if c.PodNames {
		if name := es.podName(e); model.ValidLabel(name) {
			return name, true, ok
		}
	}
	return "", false, ok
}

// maxHints is how many hints of one kind are taken of an endpoint, as many as the API server lets pass.
const maxHints = 8

// place returns the place of an endpoint, as far as it is kept. ok is false if something of it cannot be.
func (c *Converter) place(es *wireSlice, e *wireEndpoint) (placed model.Placed, ok bool) {
	if !c.Topologies && !c.Hints {
		return model.Placed{}, true
	}
	ok = true
	name := func(text string) string {
		if len(text) > model.MaxName {
			c.report(Slices, badName)
			ok = false
			return ""
		}
		return strings.ToLower(text)
	}
	names := func(texts []string) model.Names {
		if len(texts) > maxHints {
			ok = false
		}
		texts = limited(c, Slices, texts, maxHints)
		for i, text := range texts {
			texts[i] = name(text)
		}
		return model.NamesOf(texts)
	}
	place := model.Place{Zonal: c.Topologies}
	place.Zone = name(string(es.text(e.zone)))
	if c.Hints {
		node, zones, nodes := es.hints(e)
		place.Node, place.ForZones, place.ForNodes = name(node), names(zones), names(nodes)
	}
	if place == (model.Place{Zonal: true}) {
		place.Zonal = false // nothing is known
	}
	return place.Placed(), ok
}

// port appends a port to ports, if its number and its protocol are valid. A port whose name is not
// valid counts as one without a name.
func (c *Converter) port(ports []model.Port, resource, name string, proto corev1.Protocol, number int32) []model.Port {
	if proto == "" {
		proto = corev1.ProtocolTCP
	}
	protoLabel, ok := model.FoldedLabel(string(proto))
	if number < 1 || number > 65535 || !ok || len(proto) > model.MaxPortName {
		c.report(resource, badPort)
		return ports
	}
	label, ok := model.FoldedLabel(name)
	if name != "" && !ok || len(name) > model.MaxPortName {
		c.report(resource, badName)
		label = ""
	}
	return append(ports, model.PortOf(label, protoLabel, uint16(number)))
}

// addrs parses addresses, and leaves out repetitions.
func (c *Converter) addrs(resource string, texts []string) []netip.Addr {
	var addrs []netip.Addr
	for _, text := range limited(c, resource, texts, MaxAddresses) {
		if addr, ok := c.addr(resource, text); ok {
			addrs = append(addrs, addr)
		}
	}
	return model.Unrepeated(addrs)
}

// addr parses an address. An IPv4-mapped one is its IPv4 address.
func (c *Converter) addr(resource, text string) (netip.Addr, bool) {
	addr, _ := netip.ParseAddr(text) // not valid after an error
	return c.usable(resource, addr)
}

// usable returns addr as it is kept.
func (c *Converter) usable(resource string, addr netip.Addr) (netip.Addr, bool) {
	if !addr.IsValid() || addr.Zone() != "" {
		c.report(resource, badAddress)
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// limited returns the first of s, no more than most. It reports when that is not all.
func limited[E any](c *Converter, resource string, s []E, most int) []E {
	if len(s) <= most {
		return s
	}
	c.report(resource, beyondLimit)
	return s[:most]
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
