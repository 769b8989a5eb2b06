package headless

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"unique"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"
)

// hostnamesAnnotation overrides the hostnames option for one Service.
const hostnamesAnnotation = "coredns-headless.github.io/hostnames"

// policies are the words of the hostnames option and annotation.
var policies = map[string]policy{"ready": hostnamesReady, "serving": hostnamesServing, "all": hostnamesAll}

// reason says why an object, or a part of it, was skipped.
type reason string

const (
	badAddress    reason = "address"    // an address that is none, or has a zone
	badPort       reason = "port"       // a port number outside 1–65535
	badName       reason = "name"       // an object, the Service of a slice, a hostname, a port, a zone, an ExternalName or an ingress that is not a DNS name
	badAnnotation reason = "annotation" // a hostnames annotation with an unknown word, or a time that is none
	fqdnSlice     reason = "fqdn"       // a slice of address type FQDN
	beyondLimit   reason = "limit"      // an object with more addresses or ports than are taken from one
	noService     reason = "no_service" // a slice without the label kubernetes.io/service-name
	unknownKind   reason = "kind"       // an object of a kind we do not use
	unexpected    reason = "unexpected" // an object of another type than the list or watch was for
)

// How much is taken from one object, so that none of them keeps queries waiting for long. The API server lets more pass: 100,000
// addresses and 20,000 ports in one slice.
const (
	mostAddresses = 10_000 // of each kind, and names of load balancers
	mostPorts     = 1000
)

// converter turns API objects into what the index keeps of them. Its methods never fail: what is malformed is left out and
// reported to skip.
type converter struct {
	namespaces []string // the namespaces to serve; none: all
	podNames   bool     // endpoint_pod_names: an endpoint without a hostname is named after its pod
	podLabels  bool     // the labels of Pods are kept
	zones      bool     // the topology zones of endpoints are kept
	skip       func(resource string, r reason)
	// cluster is the UID of the Namespace kube-system, which is that of the cluster; nil while it is not known.
	cluster atomic.Pointer[string]
}

// systemNamespace is in every cluster, and as old as it.
const systemNamespace = "kube-system"

// clusterUID returns what identifies the cluster, or "" while that is not known.
func (c *converter) clusterUID() string { return deref(c.cluster.Load()) }

// serves reports whether the configuration exposes a namespace, if it exists.
func (c *converter) serves(namespace string) bool {
	return len(c.namespaces) == 0 || slices.Contains(c.namespaces, namespace)
}

// namespace converts a Namespace. ok is false for one that is not served.
func (c *converter) namespace(ns *corev1.Namespace) (spec *namespaceSpec, ok bool) {
	if ns.Name == systemNamespace {
		c.cluster.Store(new(string(ns.UID)))
	}
	return &namespaceSpec{key("", ns.Name)}, c.serves(ns.Name)
}

// service converts a Service. ok is false for one that is not served.
func (c *converter) service(svc *corev1.Service) (spec *serviceSpec, ok bool) {
	if !c.serves(svc.Namespace) {
		return nil, false
	}
	if !validLabel(svc.Name) || !validLabel(svc.Namespace) {
		c.skip(servicesResource, badName)
		return nil, false
	}
	spec = &serviceSpec{objectKey: key(svc.Namespace, svc.Name), selector: len(svc.Spec.Selector) > 0}
	clusterIPs := svc.Spec.ClusterIPs
	if len(clusterIPs) == 0 && svc.Spec.ClusterIP != "" {
		clusterIPs = []string{svc.Spec.ClusterIP}
	}
	switch {
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		spec.kind = externalName
		spec.target = c.externalName(svc.Spec.ExternalName)
	case len(clusterIPs) > 0 && clusterIPs[0] == corev1.ClusterIPNone:
		spec.kind = headless
	default:
		spec.clusterIPs = c.addrs(servicesResource, clusterIPs)
	}
	for _, p := range limited(c, servicesResource, svc.Spec.Ports, mostPorts) {
		spec.ports = c.port(spec.ports, servicesResource, p.Name, p.Protocol, p.Port)
	}
	spec.ports = sortedPorts(spec.ports)
	spec.external = c.external(svc)
	if word, ok := svc.Annotations[hostnamesAnnotation]; ok {
		if spec.policy, ok = policies[word]; !ok {
			c.skip(servicesResource, badAnnotation)
		}
	}
	return spec, true
}

// serviceImport converts a ServiceImport: it is a Service of the multicluster zones. ok is false for one that is not served.
func (c *converter) serviceImport(si *mcsv1alpha1.ServiceImport) (spec *serviceSpec, ok bool) {
	svc := &corev1.Service{ObjectMeta: si.ObjectMeta}
	svc.Spec.ClusterIPs = si.Spec.IPs
	if si.Spec.Type == mcsv1alpha1.Headless {
		svc.Spec.ClusterIPs = []string{corev1.ClusterIPNone}
	}
	for _, p := range si.Spec.Ports {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: p.Name, Protocol: p.Protocol, Port: p.Port})
	}
	return c.service(svc)
}

// external returns what svc is reached at from outside the cluster, or nil.
func (c *converter) external(svc *corev1.Service) *external {
	var e external
	ips := slices.Clone(svc.Spec.ExternalIPs)
	for i := range svc.Status.LoadBalancer.Ingress {
		switch ingress := &svc.Status.LoadBalancer.Ingress[i]; {
		case ingress.IP != "":
			ips = append(ips, ingress.IP)
		case ingress.Hostname != "":
			if name := c.externalName(ingress.Hostname); name != "" {
				e.names = append(e.names, name)
			}
		}
	}
	e.addrs = c.addrs(servicesResource, ips)
	e.names = unrepeated(limited(c, servicesResource, e.names, mostAddresses))
	if len(e.addrs)+len(e.names) == 0 {
		return nil
	}
	return &e
}

// pod converts a Pod. ok is false for one that is not served.
func (c *converter) pod(pod *corev1.Pod) (spec *podSpec, ok bool) {
	spec = &podSpec{objectKey: key(pod.Namespace, pod.Name)}
	ips := make([]string, len(pod.Status.PodIPs))
	for i, ip := range pod.Status.PodIPs {
		ips[i] = ip.IP
	}
	spec.addrs = c.addrs(podsResource, ips)
	if c.podLabels {
		spec.labels = pod.Labels
	}
	return spec, true
}

// maxName is the length of the longest name in DNS, without its final dot.
const maxName = 253

// externalName returns the FQDN of name, an ExternalName or an ingress, or "" if a CNAME cannot point to it.
func (c *converter) externalName(name string) string {
	name = strings.TrimSuffix(name, ".")
	if len(name) > maxName || len(name) != len(strings.ToLower(name)) {
		c.skip(servicesResource, badName)
		return ""
	}
	name = strings.ToLower(name)
	if _, err := netip.ParseAddr(name); err == nil {
		return ""
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool { return !isNameRune(r) }) {
			c.skip(servicesResource, badName)
			return ""
		}
	}
	return name + "."
}

// isNameRune reports whether r may stand in an external name: letters, digits, hyphens, and underscores, which Kubernetes
// does not allow but DNS does.
func isNameRune(r rune) bool {
	return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_'
}

// slice converts an EndpointSlice. ok is false for one that is not served.
func (c *converter) slice(es *wireSlice) (spec *sliceSpec, ok bool) {
	if !c.serves(es.Namespace) {
		return nil, false
	}
	return c.sliceOf(es, es.Labels[discoveryv1.LabelServiceName])
}

// importedSlice converts an EndpointSlice of a ServiceImport. Its endpoints are named <hostname>.<cluster>. ok is false for one
// that is not served, also one that belongs to no ServiceImport or cluster.
func (c *converter) importedSlice(es *wireSlice) (spec *sliceSpec, ok bool) {
	service, cluster := es.Labels[mcsv1alpha1.LabelServiceName], strings.ToLower(es.Labels[mcsv1alpha1.LabelSourceCluster])
	if !c.serves(es.Namespace) || service == "" {
		return nil, false
	}
	if !validLabel(cluster) {
		c.skip(slicesResource, badName)
		return nil, false
	}
	if spec, ok = c.sliceOf(es, service); !ok {
		return nil, false
	}
	for i := range spec.endpoints {
		e := &spec.endpoints[i]
		e.name = string(hostLabel{e.name, e.addr}.append(nil)) + "." + cluster
		e.podName = false
	}
	return spec, true
}

// sliceOf converts an EndpointSlice of a Service. ok is false for one without a name.
func (c *converter) sliceOf(es *wireSlice, service string) (spec *sliceSpec, ok bool) {
	if es.Name == "" {
		c.skip(slicesResource, badName)
		return nil, false
	}
	spec = &sliceSpec{objectKey: key(es.Namespace, es.Name)}
	switch {
	case service == "":
		if es.Labels[mcsv1alpha1.LabelServiceName] == "" {
			c.skip(slicesResource, noService)
		}
		return spec, true
	case !validLabel(service): // which no Service can be called
		c.skip(slicesResource, badName)
		return spec, true
	}
	spec.service = intern(service)
	if es.addressType == discoveryv1.AddressTypeFQDN {
		c.skip(slicesResource, fqdnSlice)
		return spec, true
	}
	for _, p := range limited(c, slicesResource, es.ports, mostPorts) {
		if p.Port != nil { // nil means every port, which has no SRV
			spec.ports = c.port(spec.ports, slicesResource, deref(p.Name), deref(p.Protocol), *p.Port)
		}
	}
	spec.ports = sortedPorts(spec.ports)
	spec.endpoints = make([]endpointSpec, 0, min(len(es.endpoints), mostAddresses))
	var name, zone string
	var podName bool
	for i := range es.endpoints {
		e := &es.endpoints[i]
		if len(spec.endpoints) == mostAddresses {
			c.skip(slicesResource, beyondLimit)
			return spec, true
		}
		if !e.further {
			name, podName = c.hostname(es, e)
			zone = c.zone(es, e)
		}
		addr, ok := c.usable(slicesResource, parseAddr(es.text(e.addr)))
		if !ok {
			continue
		}
		s := endpointSpec{addr: addr, name: name, podName: podName, zone: zone, state: stateOf(e.conditions)}
		var dashed [maxDashed]byte
		if string(appendDashed(dashed[:0], addr)) == name {
			s.name, s.podName = "", false
		}
		spec.endpoints = append(spec.endpoints, s)
	}
	return spec, true
}

// stateOf reads the conditions of an endpoint. Unset, ready means true, serving what ready means, terminating false.
func stateOf(c conditions) state {
	isReady := c.ready.is(true)
	switch {
	case isReady:
		return ready
	case c.serving.is(isReady) && c.terminating.is(false):
		return serving
	}
	return notReady
}

// hostname returns the name of an endpoint: its hostname, or the name of its pod if the configuration says so, or "" for
// the dashed address.
func (c *converter) hostname(es *wireSlice, e *wireEndpoint) (name string, podName bool) {
	if hostname := es.text(e.hostname); len(hostname) > 0 {
		if name, ok := foldedLabel(hostname); ok {
			return name, false
		}
		c.skip(slicesResource, badName)
	}
	if c.podNames {
		if name := es.podName(e); validLabel(name) {
			return name, true
		}
	}
	return "", false
}

// zone returns the topology zone of an endpoint, if zones are kept and it has one that can stand in a name.
func (c *converter) zone(es *wireSlice, e *wireEndpoint) string {
	if !c.zones {
		return ""
	}
	zone := es.text(e.zone)
	if len(zone) > maxName {
		c.skip(slicesResource, badName)
		return ""
	}
	return strings.ToLower(string(zone))
}

// port appends a port to ports, unless its number or its protocol is none. A port whose name is none is one without a name.
func (c *converter) port(ports []port, resource, name string, proto corev1.Protocol, number int32) []port {
	if proto == "" {
		proto = corev1.ProtocolTCP
	}
	protoLabel, ok := foldedLabel(string(proto))
	if number < 1 || number > 65535 || !ok || len(proto) > maxPortName {
		c.skip(resource, badPort)
		return ports
	}
	label, ok := foldedLabel(name)
	if name != "" && !ok || len(name) > maxPortName {
		c.skip(resource, badName)
		label = ""
	}
	return append(ports, portOf(label, protoLabel, uint16(number)))
}

// maxPortName is the length of the longest name that a label can hold behind an underscore.
const maxPortName = 62

// foldedLabel returns s in lower case if that is a valid label.
func foldedLabel[S string | []byte](s S) (label string, ok bool) {
	if len(s) > 63 {
		return "", false
	}
	if label = strings.ToLower(string(s)); len(label) != len(s) || !validLabel(label) { // some letters beyond ASCII fold into it
		return "", false
	}
	return label, true
}

// addrs parses addresses. The result has each once.
func (c *converter) addrs(resource string, texts []string) []netip.Addr {
	var addrs []netip.Addr
	for _, text := range limited(c, resource, texts, mostAddresses) {
		if addr, ok := c.addr(resource, text); ok {
			addrs = append(addrs, addr)
		}
	}
	return unrepeated(addrs)
}

// addr parses an address. An IPv4-mapped one is its IPv4 address.
func (c *converter) addr(resource, text string) (netip.Addr, bool) {
	addr, _ := netip.ParseAddr(text) // not valid after an error
	return c.usable(resource, addr)
}

// usable returns addr as it is kept.
func (c *converter) usable(resource string, addr netip.Addr) (netip.Addr, bool) {
	if !addr.IsValid() || addr.Zone() != "" {
		c.skip(resource, badAddress)
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// limited returns the first of s, no more than most. It reports when that is not all.
func limited[E any](c *converter, resource string, s []E, most int) []E {
	if len(s) <= most {
		return s
	}
	c.skip(resource, beyondLimit)
	return s[:most]
}

// unrepeated returns s without repetitions, in the same order. It modifies s.
func unrepeated[E comparable](s []E) []E {
	if len(s) < 2 {
		return s
	}
	seen := make(map[E]bool, len(s))
	return slices.DeleteFunc(s, func(e E) bool {
		was := seen[e]
		seen[e] = true
		return was
	})
}

// key returns the key of an object. The namespace is shared with the other objects in it.
func key(namespace, name string) objectKey { return objectKey{intern(namespace), name} }

// intern returns s, the same string for all that are equal.
func intern(s string) string { return unique.Make(s).Value() }

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
