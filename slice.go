package headless

import (
	"net/netip"
	"slices"
	"strings"
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
	badName       reason = "name"       // an object, a hostname, an ExternalName or an ingress that is not a DNS name
	badAnnotation reason = "annotation" // a hostnames annotation with an unknown word, or a time that is none
	fqdnSlice     reason = "fqdn"       // a slice of address type FQDN
	noService     reason = "no_service" // a slice without the label kubernetes.io/service-name
	unknownKind   reason = "kind"       // an object of a kind we do not use
	unexpected    reason = "unexpected" // an object of another type than the list or watch was for
)

// converter turns API objects into what the index keeps of them. Its methods never fail: what is malformed is left out and
// reported to skip.
type converter struct {
	namespaces []string // the namespaces to serve; none: all
	podNames   bool     // endpoint_pod_names: an endpoint without a hostname is named after its pod
	podLabels  bool     // the labels of Pods are kept
	zones      bool     // the topology zones of endpoints are kept
	skip       func(resource string, r reason)
}

// serves reports whether the configuration exposes a namespace, if it exists.
func (c *converter) serves(namespace string) bool {
	return len(c.namespaces) == 0 || slices.Contains(c.namespaces, namespace)
}

// namespace converts a Namespace. ok is false for one that is not served.
func (c *converter) namespace(ns *corev1.Namespace) (spec *namespaceSpec, ok bool) {
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
		for _, ip := range clusterIPs {
			addr, ok := c.addr(servicesResource, ip)
			if ok && !slices.Contains(spec.clusterIPs, addr) {
				spec.clusterIPs = append(spec.clusterIPs, addr)
			}
		}
	}
	for _, p := range svc.Spec.Ports {
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
	add := func(text string) {
		if addr, ok := c.addr(servicesResource, text); ok && !slices.Contains(e.addrs, addr) {
			e.addrs = append(e.addrs, addr)
		}
	}
	for _, ip := range svc.Spec.ExternalIPs {
		add(ip)
	}
	for i := range svc.Status.LoadBalancer.Ingress {
		switch ingress := &svc.Status.LoadBalancer.Ingress[i]; {
		case ingress.IP != "":
			add(ingress.IP)
		case ingress.Hostname != "":
			if name := c.externalName(ingress.Hostname); name != "" && !slices.Contains(e.names, name) {
				e.names = append(e.names, name)
			}
		}
	}
	if len(e.addrs)+len(e.names) == 0 {
		return nil
	}
	return &e
}

// pod converts a Pod. ok is false for one that is not served.
func (c *converter) pod(pod *corev1.Pod) (spec *podSpec, ok bool) {
	spec = &podSpec{objectKey: key(pod.Namespace, pod.Name)}
	for _, ip := range pod.Status.PodIPs {
		if addr, ok := c.addr(podsResource, ip.IP); ok && !slices.Contains(spec.addrs, addr) {
			spec.addrs = append(spec.addrs, addr)
		}
	}
	if c.podLabels {
		spec.labels = pod.Labels
	}
	return spec, true
}

// externalName returns the FQDN of name, an ExternalName or an ingress, or "" if a CNAME cannot point to it.
func (c *converter) externalName(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if _, err := netip.ParseAddr(name); err == nil {
		return ""
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool { return !isNameRune(r) }) {
			c.skip(servicesResource, badName)
			return ""
		}
	}
	if len(name) > 253 {
		c.skip(servicesResource, badName)
		return ""
	}
	return name + "."
}

// isNameRune reports whether r may stand in an external name: letters, digits, hyphens, and underscores, which Kubernetes
// does not allow but DNS does.
func isNameRune(r rune) bool {
	return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_'
}

// slice converts an EndpointSlice. ok is false for one that is not served.
func (c *converter) slice(es *discoveryv1.EndpointSlice) (spec *sliceSpec, ok bool) {
	if !c.serves(es.Namespace) {
		return nil, false
	}
	return c.sliceOf(es, es.Labels[discoveryv1.LabelServiceName])
}

// importedSlice converts an EndpointSlice of a ServiceImport. Its endpoints are named <hostname>.<cluster>. ok is false for one
// that is not served, also one that belongs to no ServiceImport or cluster.
func (c *converter) importedSlice(es *discoveryv1.EndpointSlice) (spec *sliceSpec, ok bool) {
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
func (c *converter) sliceOf(es *discoveryv1.EndpointSlice, service string) (spec *sliceSpec, ok bool) {
	if es.Name == "" {
		c.skip(slicesResource, badName)
		return nil, false
	}
	spec = &sliceSpec{objectKey: key(es.Namespace, es.Name), service: intern(service)}
	switch {
	case spec.service == "":
		if es.Labels[mcsv1alpha1.LabelServiceName] == "" {
			c.skip(slicesResource, noService)
		}
		return spec, true
	case es.AddressType == discoveryv1.AddressTypeFQDN:
		c.skip(slicesResource, fqdnSlice)
		return spec, true
	}
	for _, p := range es.Ports {
		if p.Port != nil { // nil means every port, which has no SRV
			spec.ports = c.port(spec.ports, slicesResource, deref(p.Name), deref(p.Protocol), *p.Port)
		}
	}
	spec.ports = sortedPorts(spec.ports)
	spec.endpoints = make([]endpointSpec, 0, len(es.Endpoints))
	for i := range es.Endpoints {
		e := &es.Endpoints[i]
		name, podName := c.hostname(e)
		zone := ""
		if c.zones && e.Zone != nil {
			zone = strings.ToLower(*e.Zone)
		}
		for _, text := range e.Addresses {
			addr, ok := c.addr(slicesResource, text)
			if !ok {
				continue
			}
			s := endpointSpec{addr: addr, name: name, podName: podName, zone: zone, state: stateOf(&e.Conditions)}
			var dashed [maxDashed]byte
			if string(appendDashed(dashed[:0], addr)) == name {
				s.name, s.podName = "", false
			}
			spec.endpoints = append(spec.endpoints, s)
		}
	}
	spec.endpoints = distinct(spec.endpoints)
	return spec, true
}

// distinct merges those of endpoints that have the same address and name: ready if one of them is, named by a hostname
// if one of them is. The order of the rest is kept.
func distinct(endpoints []endpointSpec) []endpointSpec {
	type identity struct {
		addr netip.Addr
		name string
	}
	seen := make(map[identity]int, len(endpoints))
	kept := endpoints[:0]
	for _, e := range endpoints {
		id := identity{e.addr, e.name}
		if i, ok := seen[id]; ok {
			kept[i].state = max(kept[i].state, e.state)
			kept[i].podName = kept[i].podName && e.podName
			continue
		}
		seen[id] = len(kept)
		kept = append(kept, e)
	}
	return kept
}

// stateOf reads the conditions of an endpoint. Unset, ready means true, serving what ready means, terminating false.
func stateOf(c *discoveryv1.EndpointConditions) state {
	isReady := c.Ready == nil || *c.Ready
	isServing := isReady
	if c.Serving != nil {
		isServing = *c.Serving
	}
	switch {
	case isReady:
		return ready
	case isServing && c.Terminating != nil && *c.Terminating:
		return serving
	}
	return notReady
}

// hostname returns the name of an endpoint: its hostname, or the name of its pod if the configuration says so, or "" for
// the dashed address.
func (c *converter) hostname(e *discoveryv1.Endpoint) (name string, podName bool) {
	if e.Hostname != nil && *e.Hostname != "" {
		if name := strings.ToLower(*e.Hostname); validLabel(name) {
			return name, false
		}
		c.skip(slicesResource, badName)
	}
	if c.podNames && e.TargetRef != nil && validLabel(e.TargetRef.Name) {
		return e.TargetRef.Name, true
	}
	return "", false
}

// port appends a port to ports, unless its number is none.
func (c *converter) port(ports []port, resource, name string, proto corev1.Protocol, number int32) []port {
	if number < 1 || number > 65535 {
		c.skip(resource, badPort)
		return ports
	}
	if proto == "" {
		proto = corev1.ProtocolTCP
	}
	return append(ports, portOf(strings.ToLower(name), strings.ToLower(string(proto)), uint16(number)))
}

// addr parses an address. An IPv4-mapped one is its IPv4 address.
func (c *converter) addr(resource, text string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		c.skip(resource, badAddress)
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
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
