package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// question is an owner name, fully qualified and in lower case, and a type.
type question struct {
	name  string
	qtype uint16
}

func (q question) String() string { return q.name + " " + dns.TypeToString[q.qtype] }

// model is what DNS should say about a cluster. It is written from the specification and from behaviour sections 1 to 4, for a
// server without options, and knows nothing but the API's objects.
type model struct {
	rrsets map[question][]string // RDATA in presentation format, sorted, each once
	// otherPTR are names that kubernetes gives beside those of rrsets: those that ClusterIP Services have for an endpoint of a
	// headless one, and those below a Service that there is not.
	otherPTR map[question][]string
	exists   map[string]bool // owner names, and those above them
	// hosts are the owner names that are those of endpoints, not of Services.
	hosts map[string]bool
}

const clusterZone = "cluster.local."

// port is what an endpoint, or a ClusterIP, listens on.
type port struct {
	name, protocol string
	number         int32
}

// modelEndpoint is what tells one endpoint of a Service from another.
type modelEndpoint struct {
	addr     netip.Addr
	hostname string // as the slice has it, so maybe empty
}

// label returns the one that an endpoint has below its Service.
func (e modelEndpoint) label() string {
	if e.hostname != "" {
		return e.hostname
	}
	return dashed(e.addr)
}

// endpointState is what the slices of a Service, together, say about an endpoint.
type endpointState struct {
	ready bool          // one of them says so
	ports map[port]bool // of all of them
}

// srv is what tells one SRV record of an owner name from another.
type srv struct {
	port   int32
	target string
}

// modelBuilder holds what is known when not all objects have been seen.
type modelBuilder struct {
	*model
	onlyAddresses bool
	srvs          map[string]map[srv]bool
	// The names of endpoints by address.
	headlessNames, clusterIPNames map[netip.Addr]map[string]bool
}

// newModel returns the model of these objects.
func newModel(namespaces []*corev1.Namespace, services []*corev1.Service, epSlices []*discoveryv1.EndpointSlice) *model {
	return newBuilder(false).build(namespaces, services, epSlices)
}

// newAddressModel returns one without SRV records and their names, which is made in a tenth of the time.
func newAddressModel(namespaces []*corev1.Namespace, services []*corev1.Service, epSlices []*discoveryv1.EndpointSlice) *model {
	return newBuilder(true).build(namespaces, services, epSlices)
}

func newBuilder(onlyAddresses bool) *modelBuilder {
	return &modelBuilder{
		onlyAddresses: onlyAddresses,
		model: &model{
			rrsets: make(map[question][]string), otherPTR: make(map[question][]string),
			exists: make(map[string]bool), hosts: make(map[string]bool),
		},
		srvs:          make(map[string]map[srv]bool),
		headlessNames: make(map[netip.Addr]map[string]bool), clusterIPNames: make(map[netip.Addr]map[string]bool),
	}
}

func (b *modelBuilder) build(namespaces []*corev1.Namespace, services []*corev1.Service, epSlices []*discoveryv1.EndpointSlice) *model {
	for _, name := range []string{"svc.", "pod.", "dns-version."} { // section 1
		b.own(name + clusterZone)
	}
	b.add("dns-version."+clusterZone, dns.TypeTXT, `"1.1.0"`)
	known := make(map[string]bool)
	for _, ns := range namespaces { // "as long as the cluster has it", also while it is being deleted
		known[ns.Name] = true
		b.own(ns.Name + ".svc." + clusterZone)
	}
	of := make(map[[2]string][]*discoveryv1.EndpointSlice) // by namespace and Service
	for _, s := range epSlices {
		key := [2]string{s.Namespace, s.Labels[discoveryv1.LabelServiceName]}
		of[key] = append(of[key], s)
	}
	for _, svc := range services {
		key := [2]string{svc.Namespace, svc.Name}
		if known[svc.Namespace] {
			b.service(svc, of[key])
		}
		delete(of, key)
	}
	for key, orphans := range of {
		for e := range mergeEndpoints(orphans) {
			q := question{reverse(e.addr), dns.TypePTR}
			b.otherPTR[q] = append(b.otherPTR[q], e.label()+"."+serviceName(key[0], key[1]))
		}
	}
	b.finish()
	return b.model
}

func serviceName(namespace, service string) string {
	return service + "." + namespace + ".svc." + clusterZone
}

// service adds the forward names of a Service.
func (b *modelBuilder) service(svc *corev1.Service, epSlices []*discoveryv1.EndpointSlice) {
	name := serviceName(svc.Namespace, svc.Name)
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		b.add(name, dns.TypeCNAME, dns.CanonicalName(svc.Spec.ExternalName))
		return
	}
	headless := svc.Spec.ClusterIP == corev1.ClusterIPNone
	names := b.headlessNames
	if !headless {
		names = b.clusterIPNames
		for _, ip := range svc.Spec.ClusterIPs {
			addr := netip.MustParseAddr(ip)
			b.addAddr(name, addr)
			b.add(reverse(addr), dns.TypePTR, name)
		}
		for _, p := range svc.Spec.Ports {
			p := port{p.Name, string(p.Protocol), p.Port}
			b.addSRV(name, p, name)
			for _, ip := range svc.Spec.ClusterIPs {
				b.addPortAddr(name, p, netip.MustParseAddr(ip))
			}
		}
	}
	for e, state := range mergeEndpoints(epSlices) {
		if !state.ready { // section 4: the option "hostnames" is "ready"
			continue
		}
		host := e.label() + "." + name
		b.hosts[host] = true
		b.addAddr(host, e.addr)
		if names[e.addr] == nil {
			names[e.addr] = make(map[string]bool)
		}
		names[e.addr][host] = true
		if headless {
			b.addAddr(name, e.addr)
		}
		for p := range state.ports {
			b.addSRV(host, p, host)
			if headless {
				b.addSRV(name, p, host)
				b.addPortAddr(name, p, e.addr)
			}
		}
	}
}

// mergeEndpoints returns the endpoints of a Service: in several slices it is one, ready if one says so, and has the ports of all.
func mergeEndpoints(epSlices []*discoveryv1.EndpointSlice) map[modelEndpoint]*endpointState {
	endpoints := make(map[modelEndpoint]*endpointState)
	for _, s := range epSlices {
		if s.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		for _, e := range s.Endpoints {
			for _, address := range e.Addresses {
				key := modelEndpoint{addr: netip.MustParseAddr(address).Unmap()}
				if e.Hostname != nil {
					key.hostname = *e.Hostname
				}
				state := endpoints[key]
				if state == nil {
					state = &endpointState{ports: make(map[port]bool)}
					endpoints[key] = state
				}
				state.ready = state.ready || e.Conditions.Ready == nil || *e.Conditions.Ready
				for _, p := range s.Ports {
					if p.Port != nil {
						state.ports[port{deref(p.Name), string(deref(p.Protocol)), *p.Port}] = true
					}
				}
			}
		}
	}
	return endpoints
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// finish adds what follows from all objects together: the weights of SRV records, and which names of an address count.
func (b *modelBuilder) finish() {
	for name, set := range b.srvs {
		for s := range set {
			b.add(name, dns.TypeSRV, fmt.Sprintf("0 %d %d %s", max(1, 100/len(set)), s.port, s.target))
		}
	}
	for addr, names := range b.headlessNames {
		for name := range names {
			b.add(reverse(addr), dns.TypePTR, name)
		}
	}
	for addr, names := range b.clusterIPNames {
		q := question{reverse(addr), dns.TypePTR}
		for name := range names {
			if b.headlessNames[addr] == nil {
				b.add(q.name, q.qtype, name)
			} else {
				b.otherPTR[q] = append(b.otherPTR[q], name)
			}
		}
	}
	for q, rdata := range b.rrsets {
		if len(rdata) > 1 {
			slices.Sort(rdata)
			b.rrsets[q] = slices.Compact(rdata)
		}
	}
}

func (b *modelBuilder) add(name string, qtype uint16, rdata string) {
	b.own(name)
	q := question{name, qtype}
	b.rrsets[q] = append(b.rrsets[q], rdata)
}

func (b *modelBuilder) addAddr(name string, addr netip.Addr) {
	if addr.Is4() {
		b.add(name, dns.TypeA, addr.String())
	} else {
		b.add(name, dns.TypeAAAA, addr.String())
	}
}

// addSRV adds the records of one port: at the name of a Service or an endpoint, and below it where the port has a name.
func (b *modelBuilder) addSRV(name string, p port, target string) {
	if b.onlyAddresses {
		return
	}
	owners := []string{name}
	if p.name != "" {
		owners = append(owners, p.owner(name))
	}
	for _, owner := range owners {
		if b.srvs[owner] == nil {
			b.srvs[owner] = make(map[srv]bool)
		}
		b.srvs[owner][srv{p.number, target}] = true
	}
}

// addPortAddr adds an address at the name of a port of a Service, where "the addresses as in stock" are.
func (b *modelBuilder) addPortAddr(service string, p port, addr netip.Addr) {
	if !b.onlyAddresses && p.name != "" {
		b.addAddr(p.owner(service), addr)
	}
}

// owner returns the name of a port below that of a Service or an endpoint.
func (p port) owner(name string) string {
	return "_" + p.name + "._" + strings.ToLower(p.protocol) + "." + name
}

// own makes a name exist, and those above it.
func (b *modelBuilder) own(name string) {
	for !b.exists[name] && name != "" {
		b.exists[name] = true
		_, name, _ = strings.Cut(name, ".")
	}
}

// rcode returns that of an answer about the name.
func (m *model) rcode(name string) int {
	if m.exists[name] {
		return dns.RcodeSuccess
	}
	return dns.RcodeNameError
}

// reverse returns the name of an address in its reverse zone.
func reverse(addr netip.Addr) string {
	name, err := dns.ReverseAddr(addr.String())
	if err != nil {
		panic(err) // an address has a text that is one
	}
	return name
}

// dashed returns the label of an endpoint without a hostname (section 2).
func dashed(addr netip.Addr) string {
	label := strings.ReplaceAll(strings.ReplaceAll(addr.String(), ".", "-"), ":", "-")
	if strings.HasPrefix(label, "-") {
		label = "0" + label
	}
	if strings.HasSuffix(label, "-") {
		label += "0"
	}
	return label
}

// questions returns what a server is asked about a name: each type that it has, and where nothing is, or no address of one
// family, whether that is said.
func (m *model) questions(name string) []question {
	if strings.HasSuffix(name, ".arpa.") {
		return []question{{name, dns.TypePTR}}
	}
	var asked []question
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeCNAME, dns.TypeTXT} {
		if m.rrsets[question{name, qtype}] != nil {
			asked = append(asked, question{name, qtype})
		}
	}
	switch {
	case len(asked) == 0:
		return []question{{name, dns.TypeA}}
	case m.rrsets[question{name, dns.TypeA}] == nil && m.rrsets[question{name, dns.TypeAAAA}] != nil:
		asked = append(asked, question{name, dns.TypeA})
	case m.rrsets[question{name, dns.TypeA}] != nil && m.rrsets[question{name, dns.TypeAAAA}] == nil:
		asked = append(asked, question{name, dns.TypeAAAA})
	}
	return asked
}

// judge returns nil if a reply of headless is right.
func (m *model) judge(q question, r reply) error {
	want, rcode := m.rrsets[q], m.rcode(q.name)
	if r.err != nil {
		return r.err
	}
	if r.truncated && q.qtype == dns.TypeSRV && sizeOfSRVs(want) > dns.MaxMsgSize { // section 7
		want = slices.DeleteFunc(slices.Clone(want), func(rdata string) bool { return !slices.Contains(r.rdata, rdata) })
	}
	if r.rcode != rcode || !slices.Equal(r.rdata, want) {
		return fmt.Errorf("%v: got %s %s, want %s %s",
			q, dns.RcodeToString[r.rcode], short(r.rdata), dns.RcodeToString[rcode], short(want))
	}
	return nil
}

// sizeOfSRVs returns how many octets SRV records of one owner name take, whose targets must not be compressed (RFC 2782).
func sizeOfSRVs(rdata []string) int {
	const pointerTypeClassTTLLength, priorityWeightPort = 2 + 2 + 2 + 4 + 2, 6
	size := 0
	for _, r := range rdata {
		target := r[strings.LastIndexByte(r, ' ')+1:]
		size += pointerTypeClassTTLLength + priorityWeightPort + len(target) + 1
	}
	return size
}

// judgeStock returns nil if a reply of kubernetes is right where both plugins have to agree: in the data. NODATA or NXDOMAIN
// does not matter; there are no SRV records of one port of one endpoint; a PTR record may name a ClusterIP Service beside a
// headless one; an SRV record's weight may be another; and when there are too many SRV records, some may be missing.
func (m *model) judgeStock(q question, r reply) error {
	if r.err != nil {
		return r.err
	}
	if r.rcode != dns.RcodeSuccess && r.rcode != dns.RcodeNameError {
		return fmt.Errorf("%v: got %s", q, dns.RcodeToString[r.rcode])
	}
	got, want := r.rdata, m.rrsets[q]
	switch q.qtype {
	case dns.TypeSRV:
		if _, host, ok := portOf(q.name); ok && m.hosts[host] {
			return nil
		}
		got, want = withoutWeights(got), withoutWeights(want)
		if r.truncated {
			want = slices.DeleteFunc(want, func(rdata string) bool { return !slices.Contains(got, rdata) })
		}
	case dns.TypePTR:
		others := m.otherPTR[q]
		got = slices.DeleteFunc(slices.Clone(got), func(rdata string) bool { return slices.Contains(others, rdata) })
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("%v: got %s, want %s", q, short(got), short(want))
	}
	return nil
}

// portOf splits a name of the form _port._proto.host.
func portOf(name string) (port, host string, ok bool) {
	labels := strings.SplitN(name, ".", 3)
	if len(labels) < 3 || !strings.HasPrefix(labels[0], "_") || !strings.HasPrefix(labels[1], "_") {
		return "", "", false
	}
	return labels[0], labels[2], true
}

// withoutWeights returns the ports and targets of SRV records, sorted, each once.
func withoutWeights(rdata []string) []string {
	var rest []string
	for _, r := range rdata {
		fields := strings.Fields(r)
		rest = append(rest, fields[2]+" "+fields[3])
	}
	slices.Sort(rest)
	return slices.Compact(rest)
}

// short returns a few of the records of a large answer.
func short(rdata []string) string {
	if len(rdata) > 4 {
		return fmt.Sprintf("%d records like %q", len(rdata), rdata[0])
	}
	return fmt.Sprintf("%q", rdata)
}
