package headless

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/manifests"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// fed returns a plugin with every option that keeps more of an object, and the stores that feed it.
func fed(t testing.TB) (*Headless, *kube.Feeds) {
	t.Helper()
	cfg, err := stanzaConfig("headless cluster.local clusterset.local in-addr.arpa ip6.arpa {\nmulticluster clusterset.local\n" +
		"hold 0s\nzonal\nendpoint_pod_names\nhostnames all\npods verified\n}")
	if err != nil {
		t.Fatal(err)
	}
	h, feeds := newWithoutSource(cfg)
	objects, err := manifests.Read("testdata/cluster.yaml")
	if err != nil {
		t.Fatal(err)
	}
	manifests.Feed(feeds, objects)
	feed(t, feeds.Store(kube.Namespaces), kubetest.Namespace("ns"))
	return h, feeds
}

// feed adds an object and looks whether the store says that it failed, which none may.
func feed(t testing.TB, s cache.TransformingStore, obj any) {
	t.Helper()
	if err := s.Add(obj); err != nil {
		t.Errorf("the store returns %v", err)
	}
}

// feedOf returns the store of what is like obj.
func feedOf(feeds *kube.Feeds, obj apiruntime.Object) cache.TransformingStore {
	if es, ok := obj.(*discoveryv1.EndpointSlice); ok && es.Labels[mcsv1beta1.LabelServiceName] != "" {
		return feeds.Store(kube.Imported)
	}
	return feeds.Store(kube.ResourceOf(obj))
}

// checkAnswers asks for up to limit names of those there are in namespace ns, and for what others have. Every reply has to be one
// that can be sent.
func checkAnswers(t testing.TB, h *Headless, limit int) {
	t.Helper()
	if err := h.index.Check(); err != nil {
		t.Fatal(err)
	}
	if err := h.imports.Check(); err != nil {
		t.Fatal(err)
	}
	names := []string{"ns.svc.cluster.local.", "1.0.0.10.in-addr.arpa.", "9.0.0.10.in-addr.arpa.", "9.0.96.10.in-addr.arpa.", "10-0-0-9.ns.pod.cluster.local."}
	for zone, x := range map[string]*index.Index{"cluster.local.": h.index, "clusterset.local.": h.imports} {
		left := limit
		for q := range x.Freeze().Names(0) {
			if q.Namespace == "ns" && left > 0 {
				left--
				names = append(names, q.FQDN(zone))
			}
		}
	}
	for _, name := range names {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeANY} {
			for _, w := range []dns.ResponseWriter{&test.ResponseWriter{}, &test.ResponseWriter{TCP: true}} {
				r := dnstest.Query(name, qtype, 0)
				p := &packer{ResponseWriter: w}
				if _, err := h.ServeDNS(context.Background(), p, r); err != nil || p.err != nil || p.octets > room(w, r) {
					t.Fatalf("%s %s: %d octets: %v, %v", name, dns.Type(qtype), p.octets, err, p.err)
				}
			}
		}
	}
	for question, want := range map[string]string{
		"web-0.web.default.svc.cluster.local. A": "NOERROR 10.0.0.1", "vip.default.svc.cluster.local. A": "NOERROR 10.96.0.1",
	} {
		if got := says(h, question); got != want {
			t.Fatalf("%s: %s, want %s", question, got, want)
		}
	}
}

// packer is a client that gets replies in wire format.
type packer struct {
	dns.ResponseWriter
	octets int
	err    error
}

// WriteMsg implements dns.ResponseWriter. It does what the server does.
func (p *packer) WriteMsg(m *dns.Msg) error {
	m.Truncate(map[bool]int{true: dns.MaxMsgSize, false: dns.MinMsgSize}[p.RemoteAddr().Network() == "tcp"])
	var wire []byte
	wire, p.err = m.Pack()
	p.octets = len(wire)
	return p.err
}

func TestHostileObjects(t *testing.T) { // not parallel: it reads counters
	type S = *corev1.Service
	type E = *discoveryv1.EndpointSlice
	svc := func(change func(S)) apiruntime.Object {
		return kubetest.Changed(kubetest.Service("x", "10.96.0.9"), change)
	}
	slice := func(change func(E)) apiruntime.Object {
		return kubetest.Changed(kubetest.Slice("y", "y", "10.0.0.9", "h"), change)
	}
	servicePorts := func(n int) func(S) {
		return func(o S) {
			o.Spec.Ports = nil
			for i := range n {
				o.Spec.Ports = append(o.Spec.Ports, corev1.ServicePort{Name: fmt.Sprint("p", i), Port: int32(i + 1)})
			}
		}
	}
	endpoints := func(n int, change func(int, *discoveryv1.Endpoint)) func(E) {
		return func(o E) {
			o.Endpoints = make([]discoveryv1.Endpoint, n)
			for i := range o.Endpoints {
				o.Endpoints[i].Addresses = []string{fmt.Sprintf("10.7.%d.%d", i>>8&255, i&255)}
				change(i, &o.Endpoints[i])
			}
		}
	}
	hostname := func(name string) func(E) { return func(o E) { o.Endpoints[0].Hostname = &name } }
	address := func(texts ...string) func(E) { return func(o E) { o.Endpoints[0].Addresses = texts } }
	h, feeds := fed(t)
	feed(t, feeds.Store(kube.Services), kubetest.Service("y", "None"))
	start := h.index.Counts()
	long, invalid := strings.Repeat("x", 1<<20), "a\xff\xfe\x00b"
	for _, c := range []struct {
		name     string
		object   apiruntime.Object
		skipped  string // resource, reason and number
		question string
		want     string
	}{
		{"a Service with as many ports as are taken", svc(servicePorts(kube.MaxPorts)), "", "_p999._tcp.x SRV", "NOERROR 0 100 1000 x.ns.svc.cluster.local."},
		{"a Service with 10,000 ports", svc(servicePorts(10_000)), "services limit 1", "_p1000._tcp.x SRV", "NXDOMAIN"},
		{"the first of more ports", svc(servicePorts(kube.MaxPorts + 1)), "services limit 1", "_p999._tcp.x SRV", "NOERROR 0 100 1000 x.ns.svc.cluster.local."},
		{"a Service with 10,001 ClusterIPs", svc(func(o S) { o.Spec.ClusterIPs = slices.Repeat([]string{"10.96.0.9"}, kube.MaxAddresses+1) }), "services limit 1", "x A", "NOERROR 10.96.0.9"},
		{"a Service with 20,000 external IPs", svc(func(o S) { o.Spec.ExternalIPs = slices.Repeat([]string{"192.0.2.1"}, 2*kube.MaxAddresses) }), "services limit 1", "x A", "NOERROR 10.96.0.9"},
		{"a Service with 10,001 load balancers", svc(func(o S) {
			o.Status.LoadBalancer.Ingress = slices.Repeat([]corev1.LoadBalancerIngress{{Hostname: "a.example"}}, kube.MaxAddresses+1)
		}), "services limit 1", "x A", "NOERROR 10.96.0.9"},
		{"a Service with long labels and annotations", svc(func(o S) { o.Labels, o.Annotations = map[string]string{long: long}, map[string]string{long: long} }), "", "x A", "NOERROR 10.96.0.9"},
		{"a Service with a long annotation of ours", svc(func(o S) { o.Annotations = map[string]string{kube.HostnamesAnnotation: long} }), "services annotation 1", "x A", "NOERROR 10.96.0.9"},
		{"a Service with a long port name", svc(func(o S) { o.Spec.Ports[0].Name = long }), "services name 1", "x SRV", "NOERROR 0 100 80 x.ns.svc.cluster.local."},
		{"a Service with a long ExternalName", svc(func(o S) { o.Spec.Type, o.Spec.ExternalName = corev1.ServiceTypeExternalName, long }), "services name 1", "x A", "NXDOMAIN"},
		{"a Service with octets that are no UTF-8", svc(func(o S) {
			o.Spec.Ports[0].Name, o.Spec.Ports[0].Protocol, o.Spec.ExternalIPs = invalid, corev1.Protocol(invalid), []string{invalid}
			o.Annotations, o.Spec.ClusterIPs = map[string]string{invalid: invalid, kube.HostnamesAnnotation: invalid}, []string{invalid, "10.96.0.9"}
			o.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{Hostname: invalid}, {IP: invalid}}
		}), "services address 3, services annotation 1, services name 1, services port 1", "x A", "NOERROR 10.96.0.9"},
		{"a Service whose name is no UTF-8", svc(func(o S) { o.Name = invalid }), "services name 1", "x A", "NXDOMAIN"},
		{"a Service whose namespace is no UTF-8", svc(func(o S) { o.Namespace = invalid }), "services name 1", "x A", "NXDOMAIN"},
		{"a Service without a namespace", svc(func(o S) { o.Namespace = "" }), "services name 1", "x A", "NXDOMAIN"},
		{"a Service with the least port number there is", svc(func(o S) { o.Spec.Ports[0].Port = math.MinInt32 }), "services port 1", "x SRV", "NOERROR"},
		{"a Service with a resource version that is none", svc(func(o S) { o.ResourceVersion = "-99999999999999999999" }), "", "x A", "NOERROR 10.96.0.9"},
		{"an ExternalName Service that leads to itself", svc(func(o S) {
			o.Spec.Type, o.Spec.ExternalName = corev1.ServiceTypeExternalName, "x.ns.svc.cluster.local"
		}), "", "x A", "NOERROR x.ns.svc.cluster.local."},
		{"a Service that is nothing", &corev1.Service{}, "services name 1", "x A", "NXDOMAIN"},

		{"a slice with 1,000 times one address", slice(address(slices.Repeat([]string{"10.0.0.9"}, 1000)...)), "", "y A", "NOERROR 10.0.0.9"},
		{"1,000 endpoints that are the same", slice(endpoints(1000, func(_ int, e *discoveryv1.Endpoint) { e.Addresses = []string{"10.0.0.9"} })), "", "y A", "NOERROR 10.0.0.9"},
		{"an address under 1,000 hostnames", slice(endpoints(1000, func(i int, e *discoveryv1.Endpoint) {
			e.Addresses, e.Hostname = []string{"10.0.0.9"}, new(fmt.Sprint("h", i))
		})), "", "h999.y A", "NOERROR 10.0.0.9"},
		{"a hostname of 1,000 addresses", slice(endpoints(1000, func(_ int, e *discoveryv1.Endpoint) { e.Hostname = new("h") })), "", "_http._tcp.h.y SRV", "NOERROR 0 100 80 h.y.ns.svc.cluster.local."},
		{"a slice with 20,000 endpoints", slice(endpoints(2*kube.MaxAddresses, func(i int, e *discoveryv1.Endpoint) {
			e.Addresses, e.Hostname = []string{fmt.Sprintf("10.%d.%d.%d", 100+i>>16, i>>8&255, i&255)}, new(fmt.Sprint("h", i))
		})), "endpointslices limit 1", "h9999.y A", "NOERROR 10.100.39.15"},
		{"what stands behind", slice(endpoints(kube.MaxAddresses+1, func(i int, e *discoveryv1.Endpoint) {
			e.Addresses[0] = "10.0.0.9" // one will do
			if i >= kube.MaxAddresses {
				e.Hostname = new("h")
			}
		})), "endpointslices limit 1", "h.y A", "NXDOMAIN"},
		{"a slice with 1,001 ports", slice(func(o E) {
			o.Ports = nil
			for i := range kube.MaxPorts + 1 {
				o.Ports = append(o.Ports, discoveryv1.EndpointPort{Name: new(fmt.Sprint("p", i)), Port: new(int32(i + 1))})
			}
		}), "endpointslices limit 1", "_p999._tcp.h.y SRV", "NOERROR 0 100 1000 h.y.ns.svc.cluster.local."},
		{"a slice with octets that are no UTF-8", slice(func(o E) {
			o.AddressType, o.Ports[0].Name = discoveryv1.AddressType(invalid), &invalid
			o.Endpoints[0] = discoveryv1.Endpoint{Addresses: []string{invalid, "10.0.0.9"}, Hostname: &invalid, Zone: &invalid, NodeName: &invalid, TargetRef: &corev1.ObjectReference{Name: invalid}}
			o.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: invalid}
		}), "endpointslices address 1, endpointslices annotation 1, endpointslices name 2", "10-0-0-9.y A", "NOERROR 10.0.0.9"},
		{"a slice whose name is no UTF-8", slice(func(o E) { o.Name = invalid }), "", "h.y A", "NOERROR 10.0.0.9"},
		{"a slice of a Service whose name is none", slice(func(o E) { o.Labels[discoveryv1.LabelServiceName] = invalid }), "endpointslices name 1", "y A", "NXDOMAIN"},
		{"a slice without a namespace", slice(func(o E) { o.Namespace = "" }), "", "y A", "NXDOMAIN"},
		{"a slice that is nothing", &discoveryv1.EndpointSlice{}, "endpointslices name 1", "y A", "NXDOMAIN"},
		{"a slice with nothing set", slice(func(o E) {
			o.Endpoints, o.Ports, o.AddressType = make([]discoveryv1.Endpoint, 9), make([]discoveryv1.EndpointPort, 9), ""
		}), "", "y A", "NXDOMAIN"},
		{"a slice of an address type that nobody knows", slice(func(o E) { o.AddressType = "IPX" }), "", "h.y A", "NOERROR 10.0.0.9"},
		{"an IPv6 slice with an IPv4 address", slice(func(o E) { o.AddressType = discoveryv1.AddressTypeIPv6 }), "", "h.y A", "NOERROR 10.0.0.9"},
		{"an IPv4 address in IPv6", slice(address("::ffff:10.0.0.9")), "", "h.y A", "NOERROR 10.0.0.9"},
		{"unspecified addresses", slice(address("0.0.0.0", "::")), "", "h.y AAAA", "NOERROR ::"},
		{"multicast addresses", slice(address("224.0.0.1", "ff02::1")), "", "h.y A", "NOERROR 224.0.0.1"},
		{"an address that is long", slice(address(long, "10.0.0.9")), "endpointslices address 1", "h.y A", "NOERROR 10.0.0.9"},
		{"an address with a zone that is long", slice(address("fe80::1%"+long, "10.0.0.9")), "endpointslices address 1", "h.y A", "NOERROR 10.0.0.9"},
		{"a hostname that is long", slice(hostname(long)), "endpointslices name 1", "10-0-0-9.y A", "NOERROR 10.0.0.9"},
		{"a hostname of 64 octets", slice(hostname(long[:64])), "endpointslices name 1", "10-0-0-9.y A", "NOERROR 10.0.0.9"},
		{"a hostname of 63 octets", slice(hostname(long[:63])), "", long[:63] + ".y A", "NOERROR 10.0.0.9"},
		{"a hostname that is an emoji", slice(hostname("🐳")), "endpointslices name 1", "10-0-0-9.y A", "NOERROR 10.0.0.9"},
		{"a hostname that folds to ASCII", slice(hostname("\u212aelvin")), "endpointslices name 1", "10-0-0-9.y A", "NOERROR 10.0.0.9"},
		{"a topology zone that is long", slice(func(o E) { o.Endpoints[0].Zone = &long }), "endpointslices name 1", "h.y A", "NOERROR 10.0.0.9"},
		{"ports with all numbers that are none", slice(func(o E) {
			o.Ports = nil
			for _, n := range []int32{0, -1, 65536, 70000, math.MinInt32, math.MaxInt32} {
				o.Ports = append(o.Ports, discoveryv1.EndpointPort{Port: &n})
			}
		}), "endpointslices port 6", "h.y SRV", "NOERROR"},

		{"a Pod that is nothing", &corev1.Pod{}, "", "y A", "NXDOMAIN"},
		{"a Pod with 10,001 addresses", &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Status: corev1.PodStatus{PodIPs: slices.Repeat([]corev1.PodIP{{IP: "10.0.0.9"}}, kube.MaxAddresses+1)},
		}, "pods limit 1", "10-0-0-9.ns.pod.cluster.local. A", "NOERROR 10.0.0.9"},
		{"a ServiceImport that is nothing", &mcsv1beta1.ServiceImport{}, "services name 1", "y A", "NXDOMAIN"},
		{"a slice of an import with a cluster that is no label", slice(func(o E) {
			o.Labels = map[string]string{mcsv1beta1.LabelServiceName: "y", mcsv1beta1.LabelSourceCluster: "a.b"}
		}), "endpointslices name 1", "y A", "NXDOMAIN"},
		{"a Namespace that is nothing", &corev1.Namespace{}, "", "y A", "NXDOMAIN"},
		{"a Namespace that is long", kubetest.Namespace(long), "", "y A", "NXDOMAIN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			was := skips(t)
			store := feedOf(feeds, c.object)
			feed(t, store, c.object)
			now := skips(t)
			var skipped []string
			for _, what := range slices.Sorted(maps.Keys(now)) {
				if n := now[what] - was[what]; n > 0 {
					skipped = append(skipped, fmt.Sprint(what, " ", n))
				}
			}
			if got := strings.Join(skipped, ", "); got != c.skipped {
				t.Errorf("skipped %q, want %q", got, c.skipped)
			}
			if got := says(h, c.question); got != c.want {
				t.Errorf("%s: %.200s, want %s", c.question, got, c.want)
			}
			checkAnswers(t, h, 10)
			if h.index.Counts().Endpoints < 1000 { // more take too long
				for _, zone := range h.zones {
					for _, line := range hiddenTransfer(t, h, zone) {
						if _, err := dns.NewRR(line); err != nil {
							t.Errorf("a transfer has a record that is none: %s: %v", line, err)
						}
					}
				}
			}
			feed(t, store, c.object) // the same again
			if err := store.Delete(c.object); err != nil {
				t.Errorf("the store returns %v", err)
			}
			if err := h.index.Check(); err != nil {
				t.Error(err)
			}
			if got := h.index.Counts(); got != start {
				t.Errorf("%+v stay behind, before it was %+v", got, start)
			}
		})
	}
}

// TestHostileLists: what is wrong in a list keeps nothing else of it out.
func TestHostileLists(t *testing.T) {
	h, feeds := fed(t)
	services := feeds.Store(kube.Services)
	list := []any{
		nil, "text", &corev1.Pod{},
		kubetest.Service("x", "10.96.0.1"), &corev1.Service{}, kubetest.Service("x", "10.96.0.9"), kubetest.Slice("y", "y", "10.0.0.9", "h"),
		struct{}{},
		&model.Namespace{}, kubetest.Service("", ""), kubetest.Service("z", "10.96.0.7"),
	}
	if err := services.Replace(list, "-1"); err != nil {
		t.Errorf("the store returns %v", err)
	}
	for question, want := range map[string]string{"x A": "NOERROR 10.96.0.9", "z A": "NOERROR 10.96.0.7", "y A": "NXDOMAIN"} {
		if got := says(h, question); got != want {
			t.Errorf("%s: %s, want %s", question, got, want)
		}
	}
	for _, obj := range []any{nil, "text", struct{}{}, &corev1.Pod{}} {
		feed(t, services, obj)
		if err := services.Delete(obj); err != nil {
			t.Errorf("the deletion of %v returns %v", obj, err)
		}
	}
	if err := h.index.Check(); err != nil {
		t.Error(err)
	}
}

// TestForeignAddresses: what an EndpointSlice with the addresses of others does to their PTR records, as SECURITY.md says.
func TestForeignAddresses(t *testing.T) {
	h, feeds := fed(t)
	feed(t, feeds.Store(kube.Services), kubetest.Service("y", "None"))
	feed(t, feeds.Store(kube.Slices), kubetest.Changed(kubetest.Slice("y", "y", "", "h"), func(o *discoveryv1.EndpointSlice) {
		o.Endpoints[0].Addresses = []string{"10.0.2.1", "10.0.6.1", "10.96.0.1"}
	}))
	const theirs = "h.y.ns.svc.cluster.local."
	for question, want := range map[string]string{
		"1.2.0.10.in-addr.arpa. PTR":  "NOERROR anon-x1.anon.default.svc.cluster.local. " + theirs, // of a headless Service
		"1.6.0.10.in-addr.arpa. PTR":  "NOERROR " + theirs,                                         // in a ClusterIP Service
		"1.0.96.10.in-addr.arpa. PTR": "NOERROR vip.default.svc.cluster.local.",                    // a ClusterIP
	} {
		if got := says(h, question); got != want {
			t.Errorf("%s: %s, want %s", question, got, want)
		}
	}
	checkAnswers(t, h, 20)
}

// TestLargeListsLeaveNothing: lists of 5,000 slices come from a server and again, then many more straight into the store, and
// memory stays what the objects need.
func TestLargeListsLeaveNothing(t *testing.T) { // not parallel: it measures the heap
	const size = 5000
	object := func(i int) *discoveryv1.EndpointSlice {
		return kubetest.Slice(fmt.Sprint("large-", i), "large", fmt.Sprintf("10.9.%d.%d", i>>8, i&255), fmt.Sprint("pod-", i))
	}
	s := kubetest.NewWebServer(t)
	for i := range size {
		s.Put(object(i))
	}
	s.Compact() // else the stub keeps all changes
	h := watching(t, s)
	kubetest.Eventually(t, "synced", h.Ready)
	listed := s.Syncs(kube.Slices)
	s.Fail(kubetest.ErrExpired)
	kubetest.Eventually(t, "listed again", func() bool { return s.Syncs(kube.Slices) > listed })
	kubetest.Eventually(t, "all are there", func() bool { return h.index.Counts().Endpoints == size+1 })
	checkWeb(t, h)

	h, feeds := newWithoutSource(h.config)
	for _, o := range kubetest.WebObjects() {
		feed(t, feedOf(feeds, o), o)
	}
	for _, resource := range everyResource {
		h.listing.Listed(resource)
	}
	endpointSlices := feeds.Store(kube.Slices)
	replace := func() {
		list := []any{kubetest.Slice("web-a", "web", "10.0.0.1", "web-0")}
		for i := range size {
			list = append(list, object(i))
		}
		if err := endpointSlices.Replace(list, ""); err != nil {
			t.Errorf("the store returns %v", err)
		}
	}
	replace()
	before := modeltest.HeapInUse()
	for range 8 {
		replace()
	}
	if after := modeltest.HeapInUse(); after > before+4<<20 {
		t.Errorf("the heap grew from %.0f to %.0f octets", before, after)
	}
	checkWeb(t, h)
	if err := h.index.Check(); err != nil {
		t.Error(err)
	}
}

// FuzzObjects feeds objects of any content, in protobuf and in JSON.
func FuzzObjects(f *testing.F) {
	kinds := []func() fuzzObject{
		func() fuzzObject { return new(corev1.Service) }, func() fuzzObject { return new(discoveryv1.EndpointSlice) },
		func() fuzzObject { return new(corev1.Namespace) }, func() fuzzObject { return new(corev1.Pod) },
	}
	for i, obj := range []fuzzObject{
		kubetest.Service("x", "10.96.0.9"), kubetest.Slice("y", "y", "10.0.0.9", "h"), kubetest.Namespace("ns"),
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.0.0.9"}}}},
		kubetest.Service(".", "10.96.0.9"), kubetest.Slice("y", ".", "10.0.0.9", "h"), // the first two kinds again, called what nothing can be
	} {
		protobuf, err := obj.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		text, err := json.Marshal(obj)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(protobuf, uint8(i))
		f.Add(text, uint8(i))
	}
	h, feeds := fed(f)
	feed(f, feeds.Store(kube.Services), kubetest.Service("y", "None"))
	f.Fuzz(func(t *testing.T, content []byte, kind uint8) {
		empty := kinds[int(kind)%len(kinds)]
		fromProtobuf, fromJSON := empty(), empty()
		var objects []fuzzObject
		if fromProtobuf.Unmarshal(content) == nil {
			objects = append(objects, fromProtobuf)
		}
		if json.Unmarshal(content, fromJSON) == nil {
			objects = append(objects, fromJSON)
		}
		for _, obj := range objects {
			store := feedOf(feeds, obj)
			feed(t, store, obj)
			checkAnswers(t, h, 20)
			if ns, ok := obj.(*corev1.Namespace); ok && (ns.Name == "default" || ns.Name == "ns") {
				continue // what is in them has to stay
			}
			if err := store.Delete(obj); err != nil {
				t.Errorf("the store returns %v", err)
			}
			feed(t, feeds.Store(kube.Services), kubetest.Service("y", "None"))
			if err := h.index.Check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// fuzzObject is an object of Kubernetes that can be read from protobuf.
type fuzzObject interface {
	apiruntime.Object
	Marshal() ([]byte, error)
	Unmarshal(content []byte) error
}
