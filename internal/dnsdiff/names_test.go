package dnsdiff

import (
	"fmt"
	"net/netip"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/oracle"
)

// clusterOf returns the cluster in manifests.
func clusterOf(t *testing.T, o options) *cluster {
	t.Helper()
	source, err := newSource(&o)
	fatal.If(t, err)
	c, err := source.read(t.Context())
	fatal.If(t, err)
	return c
}

// manifest is a StatefulSet with two pods, of which one is not ready, a Service with a ClusterIP, and a name for one elsewhere.
const manifest = `
{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {clusterIP: None, ports: [{name: sql, port: 5432}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}},
  addressType: IPv4, ports: [{name: sql, port: 5432}], endpoints: [{addresses: [10.1.2.3], hostname: db-0}, {addresses: [10.1.2.4], hostname: db-1, conditions: {ready: false}}]}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop},
  spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, "fd96::1"], ports: [{name: http, port: 80}, {port: 81}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}},
  addressType: IPv6, ports: [{name: http, port: 80}], endpoints: [{addresses: ["fd00::5"], targetRef: {kind: Pod, name: web-x}}, {addresses: ["::6"]}]}
---
{apiVersion: v1, kind: Service, metadata: {name: mail, namespace: shop}, spec: {type: ExternalName, externalName: mail.example.org}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web-x, namespace: shop}, status: {podIPs: [{ip: "fd00::5"}]}}
`

// names are those of the manifest in the zone z., by kind. Random labels are nobody; a name that is respelled ends in an exclamation
// mark. Kinds come in the order of the constants.
const names = `
a zone: z., z.!
svc and pod: svc.z., pod.z.
ns.dns: ns.dns.z.
dns-version: dns-version.z.
a namespace: shop.svc.z., shop.pod.z.
a Service: db.shop.svc.z., db.shop.svc.z.!, web.shop.svc.z., web.shop.svc.z.!
an ExternalName Service: mail.shop.svc.z.
a port of a Service: _sql._tcp.db.shop.svc.z., _sql._tcp.db.shop.svc.z.!, _http._tcp.web.shop.svc.z., _http._tcp.web.shop.svc.z.!
an endpoint: db-0.db.shop.svc.z., db-0.db.shop.svc.z.!, fd00--5.web.shop.svc.z., 0--6.web.shop.svc.z., 0--6.web.shop.svc.z.!
a port of an endpoint: _sql._tcp.db-0.db.shop.svc.z., _http._tcp.fd00--5.web.shop.svc.z., _http._tcp.0--6.web.shop.svc.z.
an endpoint that is not ready: db-1.db.shop.svc.z.
a port of an endpoint that is not ready: _sql._tcp.db-1.db.shop.svc.z.
an endpoint by its Pod's name: web-x.web.shop.svc.z.
an endpoint by another spelling of its address: --6.web.shop.svc.z.
a Pod by its address: fd00--5.shop.pod.z.
a reverse name: 3.2.1.10.in-addr.arpa., 4.2.1.10.in-addr.arpa., 1.0.96.10.in-addr.arpa., fd96::1, fd00::5, ::6
_proto of a Service: _tcp.db.shop.svc.z., _tcp.web.shop.svc.z.
_proto of an endpoint: _tcp.db-0.db.shop.svc.z., _tcp.0--6.web.shop.svc.z.
dns, above ns.dns: dns.z.
a name above a reverse name: 2.1.10.in-addr.arpa., 1.10.in-addr.arpa., 10.in-addr.arpa., 0.96.10.in-addr.arpa., 96.10.in-addr.arpa.
no name of a zone: nobody.z.
no namespace: nobody.svc.z., nobody.pod.z., kubernetes.nobody.svc.z., 10-0-0-1.nobody.pod.z.
no Service: nobody.shop.svc.z., _http._tcp.nobody.shop.svc.z., nobody-0.nobody.shop.svc.z.
no endpoint: nobody.db.shop.svc.z., db-2.db.shop.svc.z., nobody.web.shop.svc.z., fd00--6.web.shop.svc.z.
a port of no endpoint: _sql._tcp.nobody.db.shop.svc.z., _sql._tcp.db-2.db.shop.svc.z., _http._tcp.nobody.web.shop.svc.z.
a port of no endpoint: _http._tcp.fd00--6.web.shop.svc.z.
no port: _nobody._tcp.db.shop.svc.z., _sql._udp.db.shop.svc.z., _nobody._tcp.db-0.db.shop.svc.z., _nobody._tcp.web.shop.svc.z.
no port: _http._udp.web.shop.svc.z., _nobody._tcp.0--6.web.shop.svc.z., _http._tcp.mail.shop.svc.z.
a port without underscores: sql.tcp.db.shop.svc.z., http.tcp.web.shop.svc.z.
a wildcard: *.shop.svc.z., any.shop.svc.z., _._tcp.db.shop.svc.z., _._tcp.web.shop.svc.z.
nothing below an endpoint: x.db-0.db.shop.svc.z., x.0--6.web.shop.svc.z.
nothing below a Pod: x.fd00--5.shop.pod.z.
no reverse name: 5.2.1.10.in-addr.arpa., fd00::6
nothing below a reverse name: x.3.2.1.10.in-addr.arpa., x.1.0.96.10.in-addr.arpa.
nothing below a reverse name: x.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.d.f.ip6.arpa.
`

// zonal is a StatefulSet with pods in two topology zones and in none. The one pod in the second is not ready.
const zonal = `
{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {clusterIP: None}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints:
- {addresses: [10.1.2.3], hostname: db-0, zone: eu-1A}
- {addresses: [10.1.2.4], hostname: db-1, zone: corp.example.com, conditions: {ready: false}}
- {addresses: [10.1.2.5], hostname: db-2}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 10.96.0.1}}
---
{apiVersion: v1, kind: Service, metadata: {name: mail, namespace: shop}, spec: {type: ExternalName, externalName: mail.example.org}}
`

// zonalNames are the names that the option zonal adds in the zone z., with the addresses that they should have.
const zonalNames = `
a topology zone of a Service: eu-1a.pin._zone.db.shop.svc.z. [10.1.2.3], eu-1a.prefer._zone.db.shop.svc.z. [10.1.2.3]
a topology zone of a Service: corp.example.com.pin._zone.db.shop.svc.z. [], corp.example.com.prefer._zone.db.shop.svc.z. [10.1.2.3 10.1.2.5]
a topology zone of a Service: nobody.pin._zone.db.shop.svc.z. [], nobody.prefer._zone.db.shop.svc.z. [10.1.2.3 10.1.2.5]
a topology zone of a Service: nobody.pin._zone.db.shop.svc.z.! []
_zone of a Service: _zone.db.shop.svc.z. [], pin._zone.db.shop.svc.z. [], prefer._zone.db.shop.svc.z. []
no topology zone: nobody.nobody._zone.db.shop.svc.z. [], nobody.pin._zone.web.shop.svc.z. [], nobody.pin._zone.mail.shop.svc.z. []
`

var nobody = regexp.MustCompile(`nobody-[a-z]{6}`)

// spelled returns the name of a subject as names has it.
func spelled(sub subject) string {
	name := sub.name
	if sub.respelled {
		name = sub.lower() + "!"
	}
	return nobody.ReplaceAllString(name, "nobody")
}

// checkNames compares what there is, each as "kind: name", with text, whose lines have a kind and names of it.
func checkNames(t *testing.T, list []string, text string) {
	t.Helper()
	got := make(map[string]int)
	for _, name := range list {
		got[name]++
	}
	for line := range strings.Lines(strings.TrimSpace(text)) {
		kind, names, _ := strings.Cut(strings.TrimSpace(line), ": ")
		for name := range strings.SplitSeq(names, ", ") {
			want := kind + ": " + name
			if got[want] != 1 {
				t.Errorf("got %d times %q, want it once", got[want], want)
			}
			delete(got, want)
		}
	}
	for name := range got {
		t.Errorf("got %q, which is not wanted", name)
	}
}

func TestZonalNamesAreThoseOfTopologyZones(t *testing.T) {
	g := &generator{cluster: clusterOf(t, options{manifests: []string{filetest.Temp(t, "file.yaml", zonal)}}), zones: []zone{{"z.", false}}, zonal: true, seed: 1}
	var got []string
	for sub := range g.subjects() {
		if name := spelled(sub); strings.Contains(name, "_zone.") {
			got = append(got, fmt.Sprintf("%s: %s %v", sub.kind, name, sub.endpointAddrs()))
		}
	}
	checkNames(t, got, zonalNames)
	g.zonal = false
	for sub := range g.subjects() {
		if strings.Contains(sub.name, "_zone.") {
			t.Errorf("got %s, want it with zonal only", sub.name)
		}
	}
}

// imports are a ServiceImport with pods in two clusters, one that is not ready in a third, and one in a cluster that has no valid name;
// one with an address of its own; and a Service.
const imports = `
{apiVersion: multicluster.x-k8s.io/v1alpha1, kind: ServiceImport, metadata: {name: db, namespace: shop}, spec: {type: Headless, ports: [{name: sql, port: 5432}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: db-a, namespace: shop, labels: {multicluster.kubernetes.io/service-name: db, multicluster.kubernetes.io/source-cluster: East}},
  addressType: IPv6, ports: [{name: sql, port: 5432}], endpoints: [{addresses: ["fd00::1"], hostname: db-0}, {addresses: ["::5"], targetRef: {kind: Pod, name: db-x}}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: db-b, namespace: shop, labels: {multicluster.kubernetes.io/service-name: db, multicluster.kubernetes.io/source-cluster: west}},
  addressType: IPv6, ports: [{name: sql, port: 5432}], endpoints: [{addresses: ["fd00::1"], hostname: db-0}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: db-c, namespace: shop, labels: {multicluster.kubernetes.io/service-name: db, multicluster.kubernetes.io/source-cluster: north}},
  addressType: IPv4, ports: [{name: sql, port: 5432}], endpoints: [{addresses: [10.40.0.1], hostname: db-3, conditions: {ready: false}}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: db-d, namespace: shop, labels: {multicluster.kubernetes.io/service-name: db, multicluster.kubernetes.io/source-cluster: no.label}},
  addressType: IPv4, ports: [{name: sql, port: 5432}], endpoints: [{addresses: [10.50.0.1], hostname: db-5}]}
---
{apiVersion: multicluster.x-k8s.io/v1alpha1, kind: ServiceImport, metadata: {name: api, namespace: shop}, spec: {type: ClusterSetIP, ips: [10.97.0.1]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 10.96.0.1}}
`

// importedNames are those of the first below shop.svc in a multicluster zone, with the addresses of endpoints.
const importedNames = `
a Service: db [::5 fd00::1 fd00::1], db! [::5 fd00::1 fd00::1]
a port of a Service: _sql._tcp.db [], _sql._tcp.db! []
_proto of a Service: _tcp.db []
an endpoint: 0--5.east.db [::5], 0--5.east.db! [::5], db-0.east.db [fd00::1], db-0.west.db [fd00::1]
an endpoint by another spelling of its address: --5.east.db [::5]
an endpoint by its Pod's name: db-x.east.db [::5]
an endpoint that is not ready: db-3.north.db []
a port of an endpoint: _sql._tcp.0--5.east.db [::5], _sql._tcp.db-0.east.db [fd00::1], _sql._tcp.db-0.west.db [fd00::1]
a port of an endpoint that is not ready: _sql._tcp.db-3.north.db []
_proto of an endpoint: _tcp.0--5.east.db [::5]
a cluster of a ServiceImport: east.db [], west.db []
no endpoint: nobody.db [], 0--5.db [], nobody.north.db [], db-4.north.db []
a port of no endpoint: _sql._tcp.nobody.north.db [], _sql._tcp.db-4.north.db []
no port: _nobody._tcp.0--5.east.db [], _nobody._tcp.db [], _sql._udp.db []
a port without underscores: sql.tcp.db []
a wildcard: _._tcp.db []
nothing below an endpoint: x.0--5.east.db []
`

func TestImportedNamesAreThoseOfMulticlusterZones(t *testing.T) {
	c := clusterOf(t, options{manifests: []string{filetest.Temp(t, "file.yaml", imports)}})
	zones := []zone{{"z.", false}, {"set.", true}}
	g := &generator{cluster: c, zones: zones, zonal: true, seed: 1}
	var got []string
	where := make(map[string][]kind)
	for sub := range g.subjects() {
		where[sub.lower()] = append(where[sub.lower()], sub.kind)
		name, ok := strings.CutSuffix(nobody.ReplaceAllString(sub.lower(), "nobody"), ".shop.svc.set.")
		if !ok || sub.service == nil || sub.service.name != "db" {
			continue
		}
		if sub.respelled {
			name += "!"
		}
		got = append(got, fmt.Sprintf("%s: %s %v", sub.kind, name, sub.endpointAddrs()))
	}
	checkNames(t, got, importedNames)
	for _, row := range []struct {
		name string
		want kind // "" if it is not asked for
	}{
		{"set.", kindApex},
		{"shop.svc.set.", kindNamespace},
		{"api.shop.svc.set.", kindService},
		{"web.shop.svc.set.", ""},
		{"web.shop.svc.z.", kindService},
		{"db.shop.svc.z.", ""},
		{"1.0.97.10.in-addr.arpa.", ""},
		{reverse(netip.MustParseAddr("fd00::1")), ""},
	} {
		if kinds := where[row.name]; row.want == "" && kinds != nil || row.want != "" && !slices.Contains(kinds, row.want) {
			t.Errorf("%s: got %q, want %q", row.name, kinds, row.want)
		}
	}
	cmp := &comparison{question: question{subject: subject{cluster: c}}, zones: zones}
	if name := cmp.canonical("--5.East.db.shop.svc.set."); name != "0--5.east.db.shop.svc.set." {
		t.Errorf("got the name %s, want 0--5.east.db.shop.svc.set.", name)
	}
	if !c.resolves("db-x.east.db.shop.svc.set.", zones, netip.MustParseAddr("::5")) {
		t.Error("got that the Pod's name does not resolve, want that it does")
	}
	g.zones = zones[:1]
	for sub := range g.subjects() {
		if sub.service != nil && sub.service.imported {
			t.Errorf("got %s, want it in a multicluster zone only", sub.name)
		}
	}
}

func TestNamesAreThoseThatExistAndNearMisses(t *testing.T) {
	c := clusterOf(t, options{manifests: []string{filetest.Temp(t, "file.yaml", manifest)}, pods: true})
	g := &generator{cluster: c, zones: []zone{{"z.", false}}, seed: 1}
	var got []string
	for sub := range g.subjects() {
		if sub.respelled && sub.name == sub.lower() {
			t.Errorf("got %s, want some capitals", sub.name)
		}
		name := spelled(sub)
		if sub.addr.Is6() && strings.HasSuffix(name, ".ip6.arpa.") && sub.kind != missBelowReverse {
			name = sub.addr.String()
		}
		if sub.kind != kindReverseAbove || !strings.HasSuffix(name, ".ip6.arpa.") {
			got = append(got, string(sub.kind)+": "+name)
		}
		if qtypes[sub.kind] == nil {
			t.Errorf("got no types to ask %s for", sub.kind)
		}
	}
	checkNames(t, got, names)
}

func TestTheSeedDrawsNamesAndTheirOrder(t *testing.T) {
	c := clusterOf(t, options{manifests: []string{"../../testdata/cluster.yaml"}})
	list := func(seed uint64) (names []string) {
		g := &generator{cluster: c, zones: []zone{{"z.", false}}, seed: seed}
		for sub := range g.subjects() {
			names = append(names, sub.name)
		}
		return names
	}
	first := list(1)
	if !slices.Equal(list(1), first) {
		t.Error("got other names with the same seed")
	}
	if slices.Equal(list(2), first) {
		t.Error("got the same names with another seed")
	}
}

func TestOptionsRestrictNames(t *testing.T) {
	file := filetest.Temp(t, "file.yaml", manifest)
	for _, c := range []struct {
		name         string
		options      options
		headlessOnly bool
		has, lacks   string
	}{
		{"without -pods", options{}, false, "web.shop.svc.z.", "fd00--5.shop.pod.z."},
		{"with -pods", options{pods: true}, false, "fd00--5.shop.pod.z.", "fd00--7.shop.pod.z."},
		{"with -endpoints headless", options{}, true, "db-0.db.shop.svc.z.", "0--6.web.shop.svc.z."},
		{"its reverse names", options{}, true, "1.0.96.10.in-addr.arpa.", reverse(netip.MustParseAddr("fd00::5"))},
		{"another namespace", options{namespaces: []string{"default"}}, false, "default.svc.z.", "web.shop.svc.z."},
	} {
		c.options.manifests = []string{file}
		g := &generator{cluster: clusterOf(t, c.options), zones: []zone{{"z.", false}}, headlessOnly: c.headlessOnly}
		got := make(map[string]bool)
		for sub := range g.subjects() {
			got[sub.name] = true
		}
		if !got[c.has] || got[c.lacks] {
			t.Errorf("%s: got %s %v, %s %v, want the first only", c.name, c.has, got[c.has], c.lacks, got[c.lacks])
		}
	}
}

// TestNamesOfALargeClusterAreNotKept makes the names of 20,000 endpoints.
func TestNamesOfALargeClusterAreNotKept(t *testing.T) {
	const services, size = 200, 100
	b := newBuilder()
	for i := range services {
		key := serviceKey{fmt.Sprint("ns-", i%50), fmt.Sprint("svc-", i), false}
		b.addService(&service{serviceKey: key, kind: headless})
		ports := []port{{"http", "tcp"}}
		for j := range size {
			b.addEndpoint(key, &endpoint{addr: netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(j)}), hostname: fmt.Sprint("pod-", j), ports: ports, ready: true})
		}
	}
	g := &generator{cluster: b.cluster(), zones: []zone{{"cluster.local.", false}}}
	b = nil
	heap := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before, most, n := heap(), uint64(0), 0
	for range g.questions() {
		if n++; n%50000 == 0 {
			most = max(most, heap())
		}
	}
	if n < 5*services*size {
		t.Errorf("got %d questions, want more than 5 for each endpoint", n)
	}
	t.Logf("%d questions; the cluster takes up to %d MiB, their making %d", n, before>>20, (int64(most)-int64(before))>>20)
	if grown := int64(most) - int64(before); grown > 10<<20 {
		t.Errorf("got %d MiB more heap, want at most 10", grown>>20)
	}
	n = 0
	for range g.questions() {
		if n++; n == 10 {
			break
		}
	}
	if n != 10 {
		t.Errorf("got %d questions, want the end after 10", n)
	}
}

func TestDashedLabels(t *testing.T) {
	for _, c := range []struct{ text, own, stock string }{
		{"10.0.0.1", "10-0-0-1", "10-0-0-1"},
		{"fd00::1:5", "fd00--1-5", "fd00--1-5"},
		{"::5", "0--5", "--5"},
		{"fd00::", "fd00--0", "fd00--0"},
		{"::ffff:10.0.0.8", "10-0-0-8", "::ffff:10-0-0-8"},
		{"FD00::A", "fd00--a", "FD00--A"},
		{"fd00:0:0::1", "fd00--1", "fd00-0-0--1"},
	} {
		if own, stock := oracle.AddressLabel(netip.MustParseAddr(c.text).Unmap()), stockDashed(c.text); own != c.own || stock != c.stock {
			t.Errorf("%s: got %q and %q, want %q and %q", c.text, own, stock, c.own, c.stock)
		}
	}
}

// TestPortsOfSharedSlices: endpoints of one EndpointSlice share its ports, and each has its own from others.
func TestPortsOfSharedSlices(t *testing.T) {
	b, svc := newBuilder(), serviceKey{namespace: "n", name: "web"}
	one, two := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	shared := append(make([]port, 0, 2), port{"http", "tcp"})
	for _, e := range []*endpoint{{addr: one, ports: shared}, {addr: two, ports: shared}, {addr: one, ports: []port{{"a", "tcp"}}}, {addr: two, ports: []port{{"b", "tcp"}}}} {
		b.addEndpoint(svc, e)
	}
	if got := b.endpoints[svc][endpointKey{addr: one}].ports; !slices.Equal(got, []port{{"http", "tcp"}, {"a", "tcp"}}) {
		t.Errorf("got the ports %v, want http and a", got)
	}
}
