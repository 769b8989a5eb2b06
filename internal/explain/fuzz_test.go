package explain

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/miekg/dns"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// reasonsOf says behind which reasons of the server a cause may be. What is in none of the zones has no reason, and what a CNAME leads
// to has its own. A name below _zone has no form for a server without zonal, whatever else is wrong with it.
var reasonsOf = map[string][]index.Reason{
	"missing-svc":              {index.ReasonSyntax},
	"missing-underscore":       {index.ReasonSyntax},
	"bad-form":                 {index.ReasonSyntax},
	"zonal-off":                {index.ReasonSyntax},
	"zonal-not-headless":       {index.ReasonSyntax, index.ReasonTopology},
	"no-namespace":             {index.ReasonNamespace, index.ReasonSyntax},
	"missing-namespace":        {index.ReasonNamespace, index.ReasonNonTerminal},
	"namespace-filtered":       {index.ReasonNamespace, index.ReasonReverse},
	"wrong-namespace":          {index.ReasonService, index.ReasonSyntax},
	"no-service":               {index.ReasonService, index.ReasonSyntax},
	"pod-as-service":           {index.ReasonService, index.ReasonSyntax},
	"invalid-name":             {index.ReasonService, index.ReasonSyntax, index.ReasonReverse},
	"service-filtered":         {index.ReasonService, index.ReasonReverse},
	"external-name-below":      {index.ReasonExternal, index.ReasonSyntax},
	"external-name-address":    {index.ReasonExternal},
	"external-name-invalid":    {index.ReasonExternal},
	"no-cluster-ip":            {index.ReasonClusterIP},
	"missing-protocol":         {index.ReasonPort, index.ReasonNoneReady}, // it is wrong whatever is ready
	"port-unnamed":             {index.ReasonPort},
	"no-port":                  {index.ReasonPort},
	"port-number":              {index.ReasonPort},
	"wrong-protocol":           {index.ReasonPort},
	"target-port":              {index.ReasonPort},
	"slice-port":               {index.ReasonPort},
	"endpoints-off":            {index.ReasonNoneReady, index.ReasonHostname, index.ReasonReverse, index.ReasonSyntax},
	"slice-filtered":           {index.ReasonNoneReady, index.ReasonHostname, index.ReasonReverse, index.ReasonSyntax},
	"fqdn-slice":               {index.ReasonNoneReady, index.ReasonHostname, index.ReasonSyntax},
	"no-endpoints":             {index.ReasonNoneReady, index.ReasonHostname, index.ReasonSyntax},
	"slice-without-label":      {index.ReasonNoneReady, index.ReasonHostname, index.ReasonSyntax},
	"selector-matches-nothing": {index.ReasonNoneReady, index.ReasonHostname, index.ReasonSyntax},
	"pods-not-running":         {index.ReasonNoneReady, index.ReasonHostname, index.ReasonSyntax},
	"slices-behind":            {index.ReasonNoneReady, index.ReasonHostname, index.ReasonSyntax},
	"wrong-service-name":       {index.ReasonHostname},
	"missing-subdomain":        {index.ReasonHostname},
	"wrong-subdomain":          {index.ReasonHostname},
	"stale-subdomain":          {index.ReasonHostname},
	"missing-hostname":         {index.ReasonHostname},
	"other-hostname":           {index.ReasonHostname},
	"selector-misses-pod":      {index.ReasonHostname},
	"no-such-replica":          {index.ReasonHostname},
	"pod-missing":              {index.ReasonHostname},
	"no-hostname":              {index.ReasonHostname},
	"hostname-override":        {index.ReasonHostname},
	"not-ready":                {index.ReasonNoneReady, index.ReasonNotReady, index.ReasonReverse},
	"terminating":              {index.ReasonNoneReady, index.ReasonNotReady},
	"publish-not-ready":        {index.ReasonNoneReady, index.ReasonNotReady},
	"no-zone":                  {index.ReasonTopology},
	"zone-not-ready":           {index.ReasonTopology},
	"pods-disabled":            {index.ReasonPod},
	"no-such-pod":              {index.ReasonPod},
	"no-pointer":               {index.ReasonReverse},
	"no-records":               {index.ReasonNonTerminal},
	"no-type":                  {index.ReasonType},
}

// stepOf says at which steps the name of a Service may break first for a reason of the server.
var stepOf = map[index.Reason][]string{
	index.ReasonSyntax:      {"name"},
	index.ReasonNamespace:   {"namespace"},
	index.ReasonService:     {"service"},
	index.ReasonClusterIP:   {"service"},
	index.ReasonNoneReady:   {"slices", "endpoints"},
	index.ReasonHostname:    {"slices", "endpoints"},
	index.ReasonNotReady:    {"slices", "endpoints"},
	index.ReasonNonTerminal: {"answer", "answer A", "answer AAAA", "answer SRV", "answer PTR", "answer TXT", "answer ANY"},
}

// dice makes objects, a stanza and a name of a small world.
type dice struct{ *rand.Rand }

// of returns one of words.
func (d dice) of(words ...string) string { return words[d.IntN(len(words))] }

// in reports true once in n times.
func (d dice) in(n int) bool { return d.IntN(n) == 0 }

// perhaps returns nil, or a condition.
func (d dice) perhaps() *bool {
	if d.in(3) {
		return nil
	}
	return new(d.in(2))
}

var (
	worldNamespaces = []string{"shop", "shop", "shop", "api"}
	worldServices   = []string{"web", "web", "web", "web", "db", "we_b"}
	worldHostnames  = []string{"", "", "web-0", "WEB-1", "web_0", "10-244-1-11", "db-0"}
	worldAddresses  = []string{"10.244.1.10", "10.244.1.11", "10.244.1.12", "::ffff:10.244.1.10", "fd00::1", "FD00:0:0::1", "fe80::1%eth0"}
	worldPorts      = []string{"", "http", "ht_tp", "grpc", "HTTP"}
	worldZones      = []string{"", "a", "EU.b"}
)

// lines returns the lines of a stanza.
func (d dice) lines() string {
	var lines []string
	for range max(0, d.IntN(6)-2) {
		lines = append(lines, d.of("labels app=web", "labels app=web", "labels tier=x", "namespaces shop", "namespace_labels team=a", "namespace_labels team", "noendpoints", "endpoints headless",
			"endpoints all", "ignore empty_service", "ignore", "endpoint_pod_names", "hostnames all", "hostnames serving", "hostnames ready", "pods verified", "pods insecure",
			"pods disabled", "zonal", "zonal", "fallthrough", "fallthrough IN-ADDR.arpa", "multicluster clusterset.local", "multicluster CLUSTER.local:53", "no_explain", "small_stacks"))
	}
	return strings.Join(lines, "\n")
}

// meta returns the metadata of an object, with labels that stanzas select by.
func (d dice) meta(name string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Namespace: d.of(worldNamespaces...), Name: name, Labels: map[string]string{}}
	if !d.in(6) {
		m.Labels["app"] = "web"
	}
	return m
}

// objects returns those of a cluster.
func (d dice) objects() []runtime.Object {
	var objects []runtime.Object
	for _, name := range slices.Compact(slices.Clone(worldNamespaces)) {
		if !d.in(3) {
			objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": d.of("a", "b")}}})
		}
	}
	for i := range 1 + d.IntN(4) {
		svc := &corev1.Service{ObjectMeta: d.meta(d.of(worldServices...))}
		if i == 0 {
			svc.Namespace, svc.Name = "shop", "web" // which most names are of
		}
		if d.in(3) {
			svc.Annotations = map[string]string{hostnamesAnnotation: d.of("ready", "serving", "all", "none")}
		}
		switch d.IntN(8) {
		case 0:
			svc.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: d.of("web.shop.svc.cluster.local", "example.org", "192.0.2.1", "a..b", "db.api")}
		case 1:
			svc.Spec.ClusterIPs = []string{d.of("None", "10.96.0.1", "FD00::2")}
		case 2:
			svc.Spec.ClusterIP = d.of("", "10.96.0.1")
		default:
			svc.Spec.ClusterIP, svc.Spec.ClusterIPs = "None", []string{"None"}
		}
		svc.Spec.PublishNotReadyAddresses = d.in(4)
		if d.in(2) {
			svc.Spec.Selector = map[string]string{"app": d.of("web", "wbe")}
		}
		for range d.IntN(3) {
			svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{
				Name: d.of(worldPorts...), Port: 80, Protocol: corev1.Protocol(d.of("", "TCP", "UDP")), TargetPort: intstr.FromString(d.of("", "www")),
			})
		}
		objects = append(objects, svc)
	}
	for i := range 1 + d.IntN(4) {
		es := &discoveryv1.EndpointSlice{ObjectMeta: d.meta(fmt.Sprint("slice-", i)), AddressType: discoveryv1.AddressType(d.of("IPv4", "IPv4", "IPv4", "IPv6", "IPv6", "FQDN"))}
		es.Labels[discoveryv1.LabelServiceName] = d.of(worldServices...)
		if d.in(3) {
			es.Labels[mcsv1beta1.LabelServiceName], es.Labels[mcsv1beta1.LabelSourceCluster] = "web", "east"
		}
		if d.in(2) {
			es.Labels[corev1.IsHeadlessService] = ""
		}
		for range d.IntN(3) {
			es.Ports = append(es.Ports, discoveryv1.EndpointPort{Name: new(d.of(worldPorts...)), Port: new(int32(d.IntN(4))), Protocol: new(corev1.Protocol(d.of("TCP", "UDP")))})
		}
		for range 1 + d.IntN(3) {
			e := discoveryv1.Endpoint{
				Addresses: []string{d.of(worldAddresses...)}, Hostname: new(d.of(append(worldHostnames, "web-0", "web-1")...)), Zone: new(d.of(worldZones...)),
				Conditions: discoveryv1.EndpointConditions{Ready: d.perhaps(), Serving: d.perhaps(), Terminating: d.perhaps()},
			}
			if d.in(2) {
				e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: d.of("web-0", "web-1", "pod_x")}
			}
			es.Endpoints = append(es.Endpoints, e)
		}
		objects = append(objects, es)
	}
	for _, name := range []string{"web-0", "web-1", "db-0"}[:d.IntN(4)] {
		pod := &corev1.Pod{ObjectMeta: d.meta(name), Spec: corev1.PodSpec{Hostname: d.of("", name), Subdomain: d.of("", "web", "db")}}
		pod.Status.PodIP = d.of("", worldAddresses[0], worldAddresses[4])
		pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}}
		objects = append(objects, pod)
	}
	if d.in(2) {
		objects = append(objects, &appsv1.StatefulSet{ObjectMeta: d.meta("web"), Spec: appsv1.StatefulSetSpec{ServiceName: d.of("web", "web", "db", ""), Replicas: new(int32(d.IntN(3)))}})
	}
	if d.in(2) {
		objects = append(objects, &mcsv1beta1.ServiceImport{ObjectMeta: d.meta("web"), Spec: mcsv1beta1.ServiceImportSpec{Type: mcsv1beta1.Headless}})
	}
	return objects
}

// name returns an FQDN.
func (d dice) name() string {
	zone := d.of("cluster.local.", "cluster.local.", "cluster.local.", "cluster.local.", "cluster.local.", "clusterset.local.")
	service := d.of("web", "web", "web", "web", "web", "db", "we_b", "nope", "web-0") + "." + d.of("shop", "shop", "shop", "shop", "shop", "api", "nowhere") + ".svc." + zone
	hostname := d.of("web-0", "web-1", "web_0", "web-9", "db-0", "10-244-1-10", "10-244-1-11", "fd00--1", "web-0.east", "east") + "."
	port := d.of("_http._tcp.", "_grpc._udp.", "_ht_tp._tcp.", "_tcp.", "_http.", "_80._tcp.", "_zone.")
	switch d.IntN(12) {
	case 0:
		return service
	case 1:
		return port + hostname + service
	case 2, 3:
		return port + service
	case 4:
		return d.of("", "pin.", "a.pin.", "EU.b.pin.", "west.prefer.", "a.near.", "x.") + "_zone." + service
	case 5:
		return d.of("10-244-1-10.", "10-0-0-9.", "x.", "a.b.", "") + d.of("shop", "nowhere") + ".pod." + zone
	case 6:
		return d.of("svc.", "shop.svc.", "web.svc.", "dns.", "ns.dns.", "dns-version.", "web.shop.", "x.y.z.web.shop.svc.", "", "http.tcp.web.shop.svc.") + zone
	case 7, 8:
		reverse, _ := dns.ReverseAddr(d.of("10.244.1.10", "10.244.1.11", "fd00::1", "10.96.0.1", "10.9.9.9"))
		return reverse
	case 9, 10:
		return hostname + service
	}
	return d.of("10.in-addr.arpa.", "244.10.in-addr.arpa.", "x.in-addr.arpa.", "example.org.", "web.shop.svc.cluster.lokal.")
}

// TestCommandAndServerAgree holds it for the first random clusters, stanzas and names.
func TestCommandAndServerAgree(t *testing.T) {
	ids := make(map[string]int)
	for seed := range uint64(1500) {
		if r := agree(t, seed, ""); r != nil && len(r.Causes) > 0 {
			ids[r.Causes[0].ID]++
		}
	}
	if len(ids) < 40 {
		t.Errorf("got no more than %d causes, want at least 40: %v", len(ids), ids)
	}
}

// FuzzCommandAndServerAgree makes a cluster, a stanza and a name, or takes a name, and holds that the command does not disagree with
// the server on whether the name resolves, nor on why it does not: each cause is one of the reason that the server has, and the steps
// break if and only if the name does not resolve.
func FuzzCommandAndServerAgree(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, "")
	}
	for _, word := range []string{"web.shop.svc.cluster.local.", "_zone.web.shop.svc.cluster.local.", `a\.web.shop.svc.cluster.local.`, "10.244.1.10", "web_0.web.shop.svc.cluster.local."} {
		f.Add(uint64(1), word)
	}
	f.Fuzz(func(t *testing.T, seed uint64, word string) { agree(t, seed, word) })
}

// agree makes a cluster, a stanza and, unless there is one, a name, and returns the report of the command, which agrees with the
// server. It is nil when there is nothing to report.
func agree(t *testing.T, seed uint64, word string) *report {
	t.Helper()
	d := dice{rand.New(rand.NewPCG(seed, 0))}
	lines, objects, name := d.lines(), d.objects(), d.name()
	stanzas, err := headless.ParseStanzas("Corefile", []byte(". {\n headless cluster.local clusterset.local in-addr.arpa ip6.arpa {\n"+lines+"\n}\n}"))
	if err != nil {
		return nil // options that contradict each other
	}
	q := &question{from: "shop", ndots: 5}
	if err := q.parse(append([]string{cmp.Or(word, name)}, strings.Fields(d.of("", "", "A", "AAAA", "SRV", "PTR", "TXT", "ANY"))...)); err != nil {
		return nil // no name
	}
	c := newCluster(objects)
	s := newServer(stanzas[0], c, "")
	r := explain(s, c, q)
	if r.Walk != nil {
		return nil // the search list makes other names of it
	}
	if fault := disagreement(s, c, r, q.types); fault != "" {
		t.Errorf("%s %v, seed %d, with\n%s\n%s; got %+v", r.Name, q.types, seed, lines, fault, r)
	}
	return r
}

// disagreement says in what r, a report on an absolute name, disagrees with what the server says; "" in nothing.
func disagreement(s *server, c *cluster, r *report, types []uint16) string {
	verdict := verdictOf(s, r.Name, types)
	if r.Verdict != verdict || (verdict == resolves) != (len(r.Causes) == 0) {
		return fmt.Sprintf("the server: %s, the command: %s", verdict, r.Verdict)
	}
	for i := range r.Answers {
		a, m := &r.Answers[i], s.plugin.Reply(r.Name, types[i])
		if rcode := dns.RcodeToString[m.Rcode]; a.Rcode != rcode && a.Outside == "" || a.Total != len(m.Answer) {
			return fmt.Sprintf("the server answers %s with %d records, the command says %+v", rcode, len(m.Answer), *a)
		}
	}
	broken := slices.IndexFunc(r.Chain, func(l link) bool { return l.State == bad })
	if (verdict == doesNot) != (broken >= 0) {
		return fmt.Sprintf("the server: %s, the step that breaks: %d", verdict, broken)
	}
	denied := newInquiry(s, c, r.Name, types)
	if verdict != doesNot || denied.Denial == nil {
		return ""
	}
	if step, ok := stepOf[denied.reason()]; ok && denied.isService() && !slices.Contains(step, r.Chain[broken].Step) {
		return fmt.Sprintf("the server's reason is %s, and it breaks at %q", denied.reason(), r.Chain[broken].Step)
	}
	said := r.Answers[0].Extended
	if len(said) > 0 && said[0] != denied.sentence() {
		return fmt.Sprintf("the server says %q, the command that it says %q", said[0], denied.sentence())
	}
	for _, cause := range r.Causes {
		if cause.ID != "unexplained" && !slices.Contains(reasonsOf[cause.ID], denied.reason()) {
			return fmt.Sprintf("the server's reason is %s: %s", denied.reason(), denied.sentence())
		}
	}
	return ""
}

// verdictOf returns what the replies of the server to queries for a name say of it.
func verdictOf(s *server, name string, types []uint16) string {
	if s.stanza.ZoneOf(name) == "" {
		return couldNotTell
	}
	verdict := doesNot
	for i, qtype := range types {
		for _, rr := range s.plugin.Reply(name, qtype).Answer {
			cname, leads := rr.(*dns.CNAME)
			switch {
			case rr.Header().Rrtype == qtype, qtype == dns.TypeANY:
				return resolves
			case i == 0 && leads && s.stanza.ZoneOf(dns.CanonicalName(cname.Target)) == "" && (qtype == dns.TypeA || qtype == dns.TypeAAAA):
				verdict = couldNotTell
			}
		}
	}
	return verdict
}
