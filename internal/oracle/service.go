package oracle

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// service is a Service, or one for which there are slices only: then spec is nil.
type service struct {
	types.NamespacedName
	spec      *corev1.Service
	endpoints []*endpoint
	known     map[endpointKey]*endpoint
	slices    int
	fqdn      bool // there is a slice of names with a ready endpoint
}

type endpointKey struct {
	addr netip.Addr
	name string // "" for the dashed address
}

// endpoint is an address under one name, in however many slices.
type endpoint struct {
	endpointKey
	alias bool // name is a Pod's, so that the dashed address is a name too
	real  bool // name is a hostname
	state state
	ports map[port]bool
	// stock holds what the kubernetes plugin calls it, texts the address as the slices spell it.
	stock, texts []string
	mixed        bool // one slice has it ready and another does not
}

// state is how far an endpoint counts.
type state int

const (
	notReady state = iota
	serving        // while it terminates
	ready
)

// port is what an endpoint or a ClusterIP listens on.
type port struct {
	name, proto string // in lower case
	number      uint16
}

func portOf(name string, proto corev1.Protocol, number int32) port {
	return port{name, strings.ToLower(string(proto)), uint16(number)} //nolint:gosec // the API has no others
}

// labels returns those of the port below a Service or an endpoint, "" if it has no name.
func (p port) labels() string {
	if p.name == "" {
		return ""
	}
	return "_" + p.name + "._" + p.proto + "."
}

// AddressLabel returns the label of an endpoint that has no other name.
func AddressLabel(addr netip.Addr) string {
	s := strings.NewReplacer(".", "-", ":", "-").Replace(addr.String())
	if s[0] == '-' {
		s = "0" + s
	}
	if s[len(s)-1] == '-' {
		s += "0"
	}
	return s
}

// stockLabel is what the kubernetes plugin calls an endpoint.
func stockLabel(text, hostname, podName string) string {
	switch {
	case hostname != "":
		return hostname
	case podName != "" && len(podName) < 64:
		return podName
	case strings.Contains(text, "."):
		return strings.ReplaceAll(text, ".", "-")
	}
	label := strings.ReplaceAll(text, ":", "-")
	if strings.HasSuffix(label, "-") {
		label += "0"
	}
	return label
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// label returns the first label of the endpoint's name.
func (e *endpoint) label() string {
	if e.name != "" {
		return e.name
	}
	return AddressLabel(e.addr)
}

// answersTo reports whether label is a name of e.
func (e *endpoint) answersTo(label string) bool {
	return e.label() == label || e.alias && AddressLabel(e.addr) == label
}

// name returns the name of the Service in a zone.
func (svc *service) name(zone string) string {
	return svc.Name + "." + svc.Namespace + ".svc." + zone
}

func (svc *service) isExternal() bool {
	return svc.spec != nil && svc.spec.Spec.Type == corev1.ServiceTypeExternalName
}

func (svc *service) isHeadless() bool {
	return svc.spec != nil && !svc.isExternal() &&
		(svc.spec.Spec.ClusterIP == corev1.ClusterIPNone || slices.Contains(svc.spec.Spec.ClusterIPs, corev1.ClusterIPNone))
}

// read adds what a slice says.
func (svc *service) read(o *discoveryv1.EndpointSlice, podNames bool) {
	svc.slices++
	isReady := func(e discoveryv1.Endpoint) bool { return e.Conditions.Ready == nil || *e.Conditions.Ready }
	if o.AddressType == discoveryv1.AddressTypeFQDN {
		svc.fqdn = svc.fqdn || slices.ContainsFunc(o.Endpoints, isReady)
		return
	}
	ports := make(map[port]bool)
	for _, p := range o.Ports {
		if p.Port == nil {
			continue
		}
		ports[portOf(deref(p.Name), deref(p.Protocol), *p.Port)] = true
	}
	here := &service{known: make(map[endpointKey]*endpoint)}
	for _, ep := range o.Endpoints {
		for _, text := range ep.Addresses {
			addr := netip.MustParseAddr(text).Unmap()
			e := &endpoint{endpointKey: endpointKey{addr: addr}, ports: ports, texts: []string{text}}
			hostname, podName := deref(ep.Hostname), ""
			if podNames && ep.TargetRef != nil {
				podName = ep.TargetRef.Name
			}
			switch {
			case hostname != "":
				e.name, e.real = strings.ToLower(hostname), true
			case podName != "" && len(podName) < 64 && !strings.Contains(podName, "."):
				e.name, e.alias = podName, true
			}
			if e.name == AddressLabel(addr) {
				e.name, e.real, e.alias = "", false, false
			}
			if isReady(ep) {
				e.state = ready
			} else if deref(ep.Conditions.Serving) && deref(ep.Conditions.Terminating) {
				e.state = serving
			}
			e.stock = []string{stockLabel(text, hostname, podName)}
			here.add(e)
		}
	}
	for _, e := range here.endpoints {
		e.alias = e.alias && !e.real // a hostname in the same slice stands for the Pod's name
		svc.add(e)
	}
}

// add adds what one slice says of an endpoint.
func (svc *service) add(e *endpoint) {
	if o := svc.known[e.endpointKey]; o != nil {
		o.merge(e)
		return
	}
	svc.known[e.endpointKey] = e
	svc.endpoints = append(svc.endpoints, e)
}

func (e *endpoint) merge(o *endpoint) {
	e.mixed = e.mixed || (e.state == ready) != (o.state == ready)
	e.state = max(e.state, o.state)
	e.real = e.real || o.real
	e.alias = (e.alias || o.alias) && !e.real // a hostname in any slice stands for the Pod's name
	both := make(map[port]bool)               // the other endpoints of a slice have the same map
	for _, ports := range []map[port]bool{e.ports, o.ports} {
		for p := range ports {
			both[p] = true
		}
	}
	e.ports = both
	e.stock, e.texts = append(e.stock, o.stock...), append(e.texts, o.texts...)
}

// ready returns the ready endpoints.
func (svc *service) ready() []*endpoint {
	var list []*endpoint
	for _, e := range svc.endpoints {
		if e.state == ready {
			list = append(list, e)
		}
	}
	return list
}

// takeReady calls take with each ready endpoint.
func (svc *service) takeReady(ttl uint32, take func(addr netip.Addr, ttl uint32, label string)) {
	for _, e := range svc.ready() {
		take(e.addr, ttl, e.label()+".")
	}
}

// byLabel returns the endpoints that answer to each label, in any state.
func (svc *service) byLabel() map[string][]*endpoint {
	named := make(map[string][]*endpoint)
	for _, e := range svc.endpoints {
		named[e.label()] = append(named[e.label()], e)
		if dashed := AddressLabel(e.addr); dashed != e.label() && e.answersTo(dashed) {
			named[dashed] = append(named[dashed], e)
		}
	}
	return named
}

// answering returns those of the endpoints of one label that count: the ready ones, or else what the annotation lets in.
func (svc *service) answering(named []*endpoint) []*endpoint {
	least := ready
	switch svc.spec.Annotations["coredns-headless.github.io/hostnames"] {
	case "serving":
		least = serving
	case "all":
		least = notReady
	}
	isReady := func(e *endpoint) bool { return e.state == ready }
	if slices.ContainsFunc(named, isReady) {
		least = ready
	}
	return slices.DeleteFunc(named, func(e *endpoint) bool { return e.state < least })
}

func (svc *service) clusterIPs() []netip.Addr {
	var addrs []netip.Addr
	if svc.isExternal() || svc.isHeadless() {
		return nil
	}
	for _, text := range append([]string{svc.spec.Spec.ClusterIP}, svc.spec.Spec.ClusterIPs...) {
		if addr, err := netip.ParseAddr(text); err == nil && !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}
