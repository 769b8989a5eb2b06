package kube

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// convertSkips is what a converter reported to skip, in order.
type convertSkips []string

func (s *convertSkips) add(resource string, r Flaw) { *s = append(*s, resource+" "+string(r)) }

func (s *convertSkips) String() string { return strings.Join(*s, ", ") }

// convertYAML returns the object that text is.
func convertYAML[T any](t *testing.T, text string) *T {
	t.Helper()
	obj := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), obj); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return obj
}

func convertedPorts(ports []model.Port) []string {
	var texts []string
	for _, p := range ports {
		texts = append(texts, fmt.Sprintf("%s/%s/%d", p.Name(), p.Proto(), p.Number))
	}
	return texts
}

// convertedService writes s as: kind, addresses or target, ports as name/protocol/number, policy.
func convertedService(s *model.Service) string {
	if s == nil {
		return "not served"
	}
	fields := []string{[...]string{model.ClusterIP: "cluster", model.Headless: "headless", model.ExternalName: "external"}[s.Kind]}
	for _, addr := range s.ClusterIPs {
		fields = append(fields, addr.String())
	}
	if s.Target != "" {
		fields = append(fields, s.Target)
	}
	fields = append(fields, convertedPorts(s.Ports)...)
	if s.External != nil {
		fields = append(fields, fmt.Sprint("outside ", s.External.Addrs, " ", s.External.Names))
	}
	if s.Policy != model.Inherited {
		fields = append(fields, [...]string{model.HostnamesReady: "ready", model.HostnamesServing: "serving", model.HostnamesAll: "all"}[s.Policy])
	}
	return strings.Join(fields, " ")
}

// convertedSlice writes what s stands for as: Service, ports, then each endpoint as its name, "pod"
// if that is a pod's, address and state.
func convertedSlice(s *model.Slice) string {
	if s == nil {
		return "not served"
	}
	head := strings.Join(append([]string{s.Service}, convertedPorts(s.Ports)...), " ")
	texts := []string{head}
	for _, e := range modeltest.Distinct(s).Endpoints {
		fields := []string{e.Addr.String(), [...]string{model.NotReady: "notready", model.Serving: "serving", model.Ready: "ready"}[e.State]}
		if e.PodName {
			fields = append([]string{"pod"}, fields...)
		}
		if e.Name != "" {
			fields = append([]string{e.Name}, fields...)
		}
		texts = append(texts, strings.Join(fields, " "))
	}
	return strings.Join(texts, "; ")
}

func TestConvertService(t *testing.T) {
	label63, label64 := strings.Repeat("a", 63), strings.Repeat("a", 64)
	name253 := strings.Join([]string{label63, label63, label63, label63[:61]}, ".")
	for _, c := range []struct{ name, spec, want, skipped string }{
		{"a headless Service", `clusterIP: None, clusterIPs: [None]`, "headless", ""},
		{"a headless Service without the list", `clusterIP: None`, "headless", ""},
		{"a headless Service that says its type", `type: ClusterIP, clusterIP: None`, "headless", ""},
		{"none in lower case is no address", `clusterIP: none`, "cluster", "services address"},
		{"a ClusterIP", `clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1]`, "cluster 10.96.0.1", ""},
		{"a ClusterIP without the list", `clusterIP: 10.96.0.1`, "cluster 10.96.0.1", ""},
		{"the list wins over the single ClusterIP", `clusterIP: 10.96.0.1, clusterIPs: [10.96.0.2]`, "cluster 10.96.0.2", ""},
		{"two families keep their order", `clusterIPs: ["fd00::1", 10.96.0.1]`, "cluster fd00::1 10.96.0.1", ""},
		{"a ClusterIP listed twice", `clusterIPs: [10.96.0.1, 10.96.0.1]`, "cluster 10.96.0.1", ""},
		{"an IPv4-mapped ClusterIP is its IPv4 address", `clusterIPs: ["::ffff:10.96.0.1"]`, "cluster 10.96.0.1", ""},
		{"a mapped and a plain ClusterIP are the same", `clusterIPs: [10.96.0.1, "::ffff:10.96.0.1"]`, "cluster 10.96.0.1", ""},
		{"a ClusterIP that is no address", `clusterIPs: [10.96.0.256]`, "cluster", "services address"},
		{"a ClusterIP with a zone", `clusterIPs: ["fe80::1%eth0"]`, "cluster", "services address"},
		{"a good ClusterIP beside a bad one", `clusterIPs: [what, 10.96.0.1]`, "cluster 10.96.0.1", "services address"},
		{"no ClusterIP yet", `selector: {a: b}`, "cluster", ""},
		{"a load balancer has its ClusterIP", `type: LoadBalancer, clusterIP: 10.96.0.1`, "cluster 10.96.0.1", ""},
		{"a node port has its ClusterIP", `type: NodePort, clusterIP: 10.96.0.1`, "cluster 10.96.0.1", ""},

		{"a port", `clusterIP: None, ports: [{name: http, protocol: TCP, port: 80}]`, "headless http/tcp/80", ""},
		{"a port without protocol is TCP", `clusterIP: None, ports: [{name: http, port: 80}]`, "headless http/tcp/80", ""},
		{"a port without name", `clusterIP: None, ports: [{port: 80}]`, "headless /tcp/80", ""},
		{"names and protocols are folded", `clusterIP: None, ports: [{name: HTTP, protocol: Sctp, port: 80}]`, "headless http/sctp/80", ""},
		{"the Service's port counts, not the target's", `clusterIP: None, ports: [{name: http, port: 80, targetPort: 8080}]`, "headless http/tcp/80", ""},
		{"ports are sorted by name", `clusterIP: None, ports: [{name: b, port: 1}, {name: a, port: 2}]`, "headless a/tcp/2 b/tcp/1", ""},
		{"one port under two protocols", `clusterIP: None, ports: [{name: dns, protocol: UDP, port: 53}, {name: dns, port: 53}]`, "headless dns/tcp/53 dns/udp/53", ""},
		{"a port whose name is no label has none", `clusterIP: None, ports: [{name: a.b, port: 1}, {name: _x, port: 2}, {name: "a b", port: 3}]`, "headless /tcp/1 /tcp/2 /tcp/3", "services name, services name, services name"},
		{"a port name as long as a label behind an underscore may be", `clusterIP: None, ports: [{name: ` + label63[1:] + `, port: 1}, {name: ` + label63 + `, port: 2}]`, "headless /tcp/2 " + label63[1:] + "/tcp/1", "services name"},
		{"a protocol that is no label", `clusterIP: None, ports: [{name: a, protocol: "T CP", port: 1}, {name: b, port: 2}]`, "headless b/tcp/2", "services port"},
		{"ports that are equal after folding", `clusterIP: None, ports: [{name: a, port: 1}, {name: A, protocol: tcp, port: 1}]`, "headless a/tcp/1", ""},
		{"the first and the last port number", `clusterIP: None, ports: [{name: a, port: 1}, {name: b, port: 65535}]`, "headless a/tcp/1 b/tcp/65535", ""},
		{"port numbers that are none", `clusterIP: None, ports: [{name: a}, {name: b, port: 65536}, {name: c, port: -1}, {name: d, port: 9}]`, "headless d/tcp/9", "services port, services port, services port"},

		{"an ExternalName", `type: ExternalName, externalName: db.example.com`, "external db.example.com.", ""},
		{"an ExternalName with a trailing dot", `type: ExternalName, externalName: db.example.com.`, "external db.example.com.", ""},
		{"an ExternalName in upper case", `type: ExternalName, externalName: DB.Example.COM`, "external db.example.com.", ""},
		{"external IPs", `clusterIP: None, externalIPs: [192.0.2.1, "2001:db8::1"]`, "headless outside [192.0.2.1 2001:db8::1] []", ""},
		{"external IPs that are no addresses", `clusterIP: None, externalIPs: [192.0.2.256, "", 192.0.2.1]`, "headless outside [192.0.2.1] []", "services address, services address"},
		{"only such", `clusterIP: None, externalIPs: [lb.example.com]`, "headless", "services address"},
		{"no external IPs", `clusterIP: None, externalIPs: []`, "headless", ""},
		{"a load balancer's addresses", `clusterIP: None}, status: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {ip: "::ffff:192.0.2.2"}]}`, "headless outside [192.0.2.1 192.0.2.2] []", ""},
		{"a load balancer's address that is an external IP too", `clusterIP: None, externalIPs: [192.0.2.1]}, status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}`, "headless outside [192.0.2.1] []", ""},
		{"a load balancer's names", `clusterIP: None}, status: {loadBalancer: {ingress: [{hostname: LB.example.com}, {hostname: lb.example.com.}, {}]}`, "headless outside [] [lb.example.com.]", ""},
		{"a load balancer's address goes before its name", `clusterIP: None}, status: {loadBalancer: {ingress: [{ip: 192.0.2.1, hostname: lb.example.com}]}`, "headless outside [192.0.2.1] []", ""},
		{"a load balancer's malformed ones", `clusterIP: None}, status: {loadBalancer: {ingress: [{ip: x}, {hostname: a..b}, {hostname: 192.0.2.1}]}`, "headless", "services name, services address"},
		{"an ExternalName of one label", `type: ExternalName, externalName: db`, "external db.", ""},
		{"an ExternalName with underscores and hyphens", `type: ExternalName, externalName: _x.a--b.example`, "external _x.a--b.example.", ""},
		{"an ExternalName with ClusterIPs left over", `type: ExternalName, externalName: db.example, clusterIP: 10.96.0.1`, "external db.example.", ""},
		{"a headless Service of type ExternalName", `type: ExternalName, externalName: db.example, clusterIP: None`, "external db.example.", ""},
		{"the longest ExternalName", `type: ExternalName, externalName: ` + name253, "external " + name253 + ".", ""},
		{"an ExternalName of the wrong type", `externalName: db.example.com, clusterIP: None`, "headless", ""},
		{"an ExternalName that is an IPv4 address", `type: ExternalName, externalName: 10.0.0.1`, "external", ""},
		{"an ExternalName that is an IPv6 address", `type: ExternalName, externalName: "fd00::1"`, "external", ""},
		{"an ExternalName that is an address with a dot", `type: ExternalName, externalName: 10.0.0.1.`, "external", ""},
		{"an empty ExternalName", `type: ExternalName`, "external", "services name"},
		{"an ExternalName that is the root", `type: ExternalName, externalName: "."`, "external", "services name"},
		{"an ExternalName with an empty label", `type: ExternalName, externalName: a..b`, "external", "services name"},
		{"an ExternalName with two trailing dots", `type: ExternalName, externalName: a.b..`, "external", "services name"},
		{"an ExternalName with a leading dot", `type: ExternalName, externalName: .a.b`, "external", "services name"},
		{"an ExternalName with a space", `type: ExternalName, externalName: "a b"`, "external", "services name"},
		{"an ExternalName with a port", `type: ExternalName, externalName: "db.example.com:80"`, "external", "services name"},
		{"an ExternalName that is a URL", `type: ExternalName, externalName: "http://db.example.com/"`, "external", "services name"},
		{"an ExternalName with a backslash", `type: ExternalName, externalName: 'a\.b'`, "external", "services name"},
		{"an ExternalName that is a wildcard", `type: ExternalName, externalName: "*.example.com"`, "external", "services name"},
		{"an ExternalName with a letter that is not ASCII", `type: ExternalName, externalName: dé.example`, "external", "services name"},
		{"an ExternalName with a label too long", `type: ExternalName, externalName: a.` + label64, "external", "services name"},
		{"an ExternalName that is too long", `type: ExternalName, externalName: ` + name253 + "a", "external", "services name"},
	} {
		var skips convertSkips
		conv := &Converter{skip: skips.add}
		svc := convertYAML[corev1.Service](t, "{metadata: {namespace: ns, name: web}, spec: {"+c.spec+"}}")
		before := svc.DeepCopy()
		got, ok := conv.service(svc)
		if text := convertedService(got); text != c.want || !ok || skips.String() != c.skipped {
			t.Errorf("%s: %s\ngot  %q, %v, skipped %q\nwant %q, true, skipped %q", c.name, c.spec, text, ok, &skips, c.want, c.skipped)
		}
		if want := (model.Key{Namespace: "ns", Name: "web"}); got.Key != want {
			t.Errorf("%s: key %v, want %v", c.name, got.Key, want)
		}
		if !reflect.DeepEqual(svc, before) {
			t.Errorf("%s: the Service was changed from %v to %v", c.name, before, svc)
		}
	}
}

func TestConvertServiceMetadata(t *testing.T) {
	for _, c := range []struct {
		name                    string
		namespaces              []string
		metadata, want, skipped string
	}{
		{"no annotation", nil, `namespace: ns, name: web`, "headless", ""},
		{"the annotation ready", nil, `namespace: ns, name: web, annotations: {coredns-headless.github.io/hostnames: ready}`, "headless ready", ""},
		{"the annotation serving", nil, `namespace: ns, name: web, annotations: {coredns-headless.github.io/hostnames: serving}`, "headless serving", ""},
		{"the annotation all", nil, `namespace: ns, name: web, annotations: {coredns-headless.github.io/hostnames: all}`, "headless all", ""},
		{"another word is ignored and counted", nil, `namespace: ns, name: web, annotations: {coredns-headless.github.io/hostnames: some}`, "headless", "services annotation"},
		{"an empty word is ignored and counted", nil, `namespace: ns, name: web, annotations: {coredns-headless.github.io/hostnames: ""}`, "headless", "services annotation"},
		{"a word in upper case is ignored and counted", nil, `namespace: ns, name: web, annotations: {coredns-headless.github.io/hostnames: All}`, "headless", "services annotation"},
		{"another annotation says nothing", nil, `namespace: ns, name: web, annotations: {hostnames: all}`, "headless", ""},
		{"a label of that name says nothing", nil, `namespace: ns, name: web, labels: {coredns-headless.github.io/hostnames: all}`, "headless", ""},
		{"a namespace that is served", []string{"other", "ns"}, `namespace: ns, name: web`, "headless", ""},
		{"a namespace that is not served", []string{"other"}, `namespace: ns, name: web`, "not served", ""},
		{"a namespace whose name starts like one served", []string{"ns"}, `namespace: ns2, name: web`, "not served", ""},
		{"a namespace that is not served hides what is malformed", []string{"other"}, `namespace: ns, name: W`, "not served", ""},
		{"a name of digits", nil, `namespace: "0", name: "1"`, "headless", ""},
		{"a name in upper case", nil, `namespace: ns, name: Web`, "not served", "services name"},
		{"a name with a dot", nil, `namespace: ns, name: a.b`, "not served", "services name"},
		{"a name with an underscore", nil, `namespace: ns, name: _web`, "not served", "services name"},
		{"no name", nil, `namespace: ns`, "not served", "services name"},
		{"no namespace", nil, `name: web`, "not served", "services name"},
		{"a namespace with a dot", nil, `namespace: a.b, name: web`, "not served", "services name"},
	} {
		var skips convertSkips
		conv := &Converter{Namespaces: c.namespaces, skip: skips.add}
		got, ok := conv.service(convertYAML[corev1.Service](t, "{metadata: {"+c.metadata+"}, spec: {clusterIP: None}}"))
		if text := convertedService(got); text != c.want || ok != (got != nil) || skips.String() != c.skipped {
			t.Errorf("%s: %s\ngot  %q, %v, skipped %q\nwant %q, skipped %q", c.name, c.metadata, text, ok, &skips, c.want, c.skipped)
		}
	}
}

func TestConvertNamespace(t *testing.T) {
	for _, c := range []struct {
		name       string
		namespaces []string
		namespace  string
		want       bool
	}{
		{"every namespace is served by default", nil, "ns", true},
		{"one of those to serve", []string{"other", "ns"}, "ns", true},
		{"another than those to serve", []string{"other"}, "ns", false},
		{"one whose name is in another case", []string{"NS"}, "ns", false},
	} {
		conv := &Converter{Namespaces: c.namespaces}
		got, ok := conv.namespace(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.namespace}})
		if want := (model.Key{Name: c.namespace}); ok != c.want || got.Key != want {
			t.Errorf("%s: namespace(%s) with %q = %v, %v, want %v, %v", c.name, c.namespace, c.namespaces, got, ok, want, c.want)
		}
	}
}

func TestConvertSlice(t *testing.T) {
	const label = `metadata: {namespace: ns, name: web-1, labels: {kubernetes.io/service-name: web}}, `
	for _, c := range []struct{ name, slice, want, skipped string }{
		{"an empty slice", `addressType: IPv4`, "web", ""},
		{"a slice of type FQDN has no endpoints", `addressType: FQDN, ports: [{port: 80}], endpoints: [{addresses: [db.example.com]}]`, "web", "endpointslices fqdn"},
		{"an endpoint", `endpoints: [{addresses: [10.0.0.1], hostname: web-0}]`, "web; web-0 10.0.0.1 ready", ""},
		{"an endpoint without hostname", `endpoints: [{addresses: [10.0.0.1]}]`, "web; 10.0.0.1 ready", ""},
		{"an endpoint with an empty hostname", `endpoints: [{addresses: [10.0.0.1], hostname: ""}]`, "web; 10.0.0.1 ready", ""},
		{"an IPv6 endpoint", `endpoints: [{addresses: ["fd00::1"]}]`, "web; fd00::1 ready", ""},
		{"an IPv6 address in another spelling", `endpoints: [{addresses: ["FD00:0:0::01"]}]`, "web; fd00::1 ready", ""},
		{"an IPv4-mapped address is its IPv4 address", `endpoints: [{addresses: ["::ffff:10.0.0.1"]}]`, "web; 10.0.0.1 ready", ""},
		{"several addresses are several endpoints", `endpoints: [{addresses: [10.0.0.1, "fd00::1"], hostname: a}]`, "web; a 10.0.0.1 ready; a fd00::1 ready", ""},
		{"an endpoint without addresses", `endpoints: [{hostname: a}, {addresses: [], hostname: b}]`, "web", ""},
		{"endpoints keep their order", `endpoints: [{addresses: [10.0.0.2]}, {addresses: [10.0.0.1]}]`, "web; 10.0.0.2 ready; 10.0.0.1 ready", ""},
		{"an address that is none", `endpoints: [{addresses: [what, 10.0.0.1, ""]}]`, "web; 10.0.0.1 ready", "endpointslices address, endpointslices address"},
		{"an address with leading zeros", `endpoints: [{addresses: [010.0.0.1]}]`, "web", "endpointslices address"},
		{"an address with a prefix length", `endpoints: [{addresses: [10.0.0.1/24]}]`, "web", "endpointslices address"},
		{"an address with a zone", `endpoints: [{addresses: ["fe80::1%eth0"]}]`, "web", "endpointslices address"},

		{"a hostname in upper case is folded", `endpoints: [{addresses: [10.0.0.1], hostname: Web-0}]`, "web; web-0 10.0.0.1 ready", ""},
		{"a hostname that is no label", `endpoints: [{addresses: [10.0.0.1], hostname: a.b}]`, "web; 10.0.0.1 ready", "endpointslices name"},
		{"a hostname that is too long", `endpoints: [{addresses: [10.0.0.1], hostname: ` + strings.Repeat("a", 64) + `}]`, "web; 10.0.0.1 ready", "endpointslices name"},
		{"a hostname that ends with a hyphen", `endpoints: [{addresses: [10.0.0.1], hostname: a-}]`, "web; 10.0.0.1 ready", "endpointslices name"},
		{"a bad hostname is counted once for all addresses", `endpoints: [{addresses: [10.0.0.1, 10.0.0.2], hostname: _}]`, "web; 10.0.0.1 ready; 10.0.0.2 ready", "endpointslices name"},
		{"a hostname that is the dashed address", `endpoints: [{addresses: [10.0.0.1], hostname: 10-0-0-1}]`, "web; 10.0.0.1 ready", ""},
		{"a hostname that is the dashed IPv6 address", `endpoints: [{addresses: ["fd00::"], hostname: FD00--0}]`, "web; fd00:: ready", ""},
		{"a hostname that is another dashed spelling", `endpoints: [{addresses: ["fd00::1"], hostname: fd00-0--1}]`, "web; fd00-0--1 fd00::1 ready", ""},
		{"a hostname that is another's dashed address", `endpoints: [{addresses: [10.0.0.1, 10.0.0.2], hostname: 10-0-0-1}]`, "web; 10.0.0.1 ready; 10-0-0-1 10.0.0.2 ready", ""},
		{"a pod's name names no endpoint", `endpoints: [{addresses: [10.0.0.1], targetRef: {kind: Pod, name: web-x}}]`, "web; 10.0.0.1 ready", ""},

		{"an endpoint listed twice", `endpoints: [{addresses: [10.0.0.1], hostname: a}, {addresses: [10.0.0.1], hostname: a}]`, "web; a 10.0.0.1 ready", ""},
		{"an address listed twice", `endpoints: [{addresses: [10.0.0.1, 10.0.0.1]}]`, "web; 10.0.0.1 ready", ""},
		{"a mapped and a plain address are the same", `endpoints: [{addresses: [10.0.0.1, "::ffff:10.0.0.1"]}]`, "web; 10.0.0.1 ready", ""},
		{"one address under two hostnames", `endpoints: [{addresses: [10.0.0.1], hostname: a}, {addresses: [10.0.0.1], hostname: b}]`, "web; a 10.0.0.1 ready; b 10.0.0.1 ready", ""},
		{"one hostname on two addresses", `endpoints: [{addresses: [10.0.0.1], hostname: a}, {addresses: [10.0.0.2], hostname: a}]`, "web; a 10.0.0.1 ready; a 10.0.0.2 ready", ""},
		{"a hostname and none", `endpoints: [{addresses: [10.0.0.1], hostname: a}, {addresses: [10.0.0.1]}]`, "web; a 10.0.0.1 ready; 10.0.0.1 ready", ""},
		{"a dashed hostname and none are the same", `endpoints: [{addresses: [10.0.0.1], hostname: 10-0-0-1}, {addresses: [10.0.0.1]}]`, "web; 10.0.0.1 ready", ""},
		{"ready once is ready", `endpoints: [{addresses: [10.0.0.1], conditions: {ready: false}}, {addresses: [10.0.0.1]}]`, "web; 10.0.0.1 ready", ""},
		{"ready first is ready", `endpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.1], conditions: {ready: false}}]`, "web; 10.0.0.1 ready", ""},
		{"serving is better than not ready", `endpoints: [{addresses: [10.0.0.1], conditions: {ready: false}}, {addresses: [10.0.0.1], conditions: {ready: false, serving: true, terminating: true}}]`, "web; 10.0.0.1 serving", ""},

		{"a port", `ports: [{name: http, protocol: TCP, port: 80}]`, "web http/tcp/80", ""},
		{"a port without name and protocol", `ports: [{port: 80}]`, "web /tcp/80", ""},
		{"a port with empty name and protocol", `ports: [{name: "", protocol: "", port: 80}]`, "web /tcp/80", ""},
		{"names and protocols are folded", `ports: [{name: HTTP, protocol: Udp, port: 80}]`, "web http/udp/80", ""},
		{"ports are sorted and distinct", `ports: [{name: b, port: 1}, {name: a, port: 2}, {name: B, port: 1}, {name: a, port: 1}]`, "web a/tcp/1 a/tcp/2 b/tcp/1", ""},
		{"a port without number means every port", `ports: [{name: a}, {name: b, port: 1}]`, "web b/tcp/1", ""},
		{"port numbers that are none", `ports: [{name: a, port: 0}, {name: b, port: 70000}, {name: c, port: -1}, {name: d, port: 65535}]`, "web d/tcp/65535", "endpointslices port, endpointslices port, endpointslices port"},
	} {
		var skips convertSkips
		conv := &Converter{skip: skips.add}
		es := convertYAML[discoveryv1.EndpointSlice](t, "{"+label+c.slice+"}")
		before := es.DeepCopy()
		got, ok := conv.slice(mustWire(es))
		if text := convertedSlice(got); text != c.want || !ok || skips.String() != c.skipped {
			t.Errorf("%s: %s\ngot  %q, %v, skipped %q\nwant %q, true, skipped %q", c.name, c.slice, text, ok, &skips, c.want, c.skipped)
		}
		if want := (model.Key{Namespace: "ns", Name: "web-1"}); got.Key != want {
			t.Errorf("%s: key %v, want %v", c.name, got.Key, want)
		}
		if !reflect.DeepEqual(es, before) {
			t.Errorf("%s: the slice was changed from %v to %v", c.name, before, es)
		}
	}
}

func TestConvertSliceMetadata(t *testing.T) {
	for _, c := range []struct {
		name                    string
		namespaces              []string
		metadata, want, skipped string
	}{
		{"a slice of a Service", nil, `namespace: ns, name: web-1, labels: {kubernetes.io/service-name: web}`, "web; 10.0.0.1 ready", ""},
		{"a slice without labels", nil, `namespace: ns, name: web-1`, "", "endpointslices no_service"},
		{"a slice with an empty Service", nil, `namespace: ns, name: web-1, labels: {kubernetes.io/service-name: ""}`, "", "endpointslices no_service"},
		{"a slice with another label", nil, `namespace: ns, name: web-1, labels: {app: web}`, "", "endpointslices no_service"},
		{"a namespace that is served", []string{"ns", "other"}, `namespace: ns, name: web-1, labels: {kubernetes.io/service-name: web}`, "web; 10.0.0.1 ready", ""},
		{"a namespace that is not served", []string{"other"}, `namespace: ns, name: web-1`, "not served", ""},
	} {
		var skips convertSkips
		conv := &Converter{Namespaces: c.namespaces, skip: skips.add}
		got, ok := conv.slice(mustWire(convertYAML[discoveryv1.EndpointSlice](t, "{metadata: {"+c.metadata+"}, endpoints: [{addresses: [10.0.0.1]}]}")))
		if text := convertedSlice(got); text != c.want || ok != (got != nil) || skips.String() != c.skipped {
			t.Errorf("%s: %s\ngot  %q, %v, skipped %q\nwant %q, skipped %q", c.name, c.metadata, text, ok, &skips, c.want, c.skipped)
		}
	}
}

func TestConvertConditions(t *testing.T) {
	for _, c := range []struct {
		name, conditions string
		want             model.State
	}{
		{"no conditions mean ready", ``, model.Ready},
		{"ready", `ready: true`, model.Ready},
		{"not ready", `ready: false`, model.NotReady},
		{"serving alone is ready, for ready is unset", `serving: true`, model.Ready},
		{"not serving alone is ready, for ready is unset", `serving: false`, model.Ready},
		{"terminating alone is ready, for ready is unset", `terminating: true`, model.Ready},
		{"ready and terminating, as publishNotReadyAddresses makes it", `ready: true, serving: false, terminating: true`, model.Ready},
		{"ready, serving and terminating", `ready: true, serving: true, terminating: true`, model.Ready},
		{"terminating and still serving", `ready: false, serving: true, terminating: true`, model.Serving},
		{"terminating and no longer serving", `ready: false, serving: false, terminating: true`, model.NotReady},
		{"terminating, and serving means what ready means", `ready: false, terminating: true`, model.NotReady},
		{"serving, and terminating means false", `ready: false, serving: true`, model.NotReady},
		{"serving and not terminating", `ready: false, serving: true, terminating: false`, model.NotReady},
		{"nothing at all", `ready: false, serving: false, terminating: false`, model.NotReady},
	} {
		es := convertYAML[discoveryv1.EndpointSlice](t, "{endpoints: [{addresses: [10.0.0.1], conditions: {"+c.conditions+"}}]}")
		if got := stateOf(mustWire(es).endpoints[0].conditions); got != c.want {
			t.Errorf("%s: stateOf({%s}) = %d, want %d", c.name, c.conditions, got, c.want)
		}
		es.Name, es.Labels = "web", map[string]string{discoveryv1.LabelServiceName: "web"}
		spec, _ := new(Converter).slice(mustWire(es))
		if want := strings.Contains(c.conditions, "terminating: true"); spec.Endpoints[0].Leaving != want {
			t.Errorf("%s: leaving is %v, want %v", c.name, !want, want)
		}
	}
}

func TestConvertSliceWithPodNames(t *testing.T) {
	for _, c := range []struct{ name, endpoints, want, skipped string }{
		{"a pod's name", `{addresses: [10.0.0.1], targetRef: {kind: Pod, name: web-x}}`, "web; web-x pod 10.0.0.1 ready", ""},
		{"a pod's name for every address", `{addresses: [10.0.0.1, 10.0.0.2], targetRef: {name: web-x}}`, "web; web-x pod 10.0.0.1 ready; web-x pod 10.0.0.2 ready", ""},
		{"a hostname comes first", `{addresses: [10.0.0.1], hostname: web-0, targetRef: {name: web-x}}`, "web; web-0 10.0.0.1 ready", ""},
		{"an empty hostname does not", `{addresses: [10.0.0.1], hostname: "", targetRef: {name: web-x}}`, "web; web-x pod 10.0.0.1 ready", ""},
		{"no target", `{addresses: [10.0.0.1]}`, "web; 10.0.0.1 ready", ""},
		{"a target without name", `{addresses: [10.0.0.1], targetRef: {kind: Pod}}`, "web; 10.0.0.1 ready", ""},
		{"a pod's name with a dot is no label", `{addresses: [10.0.0.1], targetRef: {name: web.x}}`, "web; 10.0.0.1 ready", ""},
		{"a pod's name that is too long", `{addresses: [10.0.0.1], targetRef: {name: ` + strings.Repeat("a", 64) + `}}`, "web; 10.0.0.1 ready", ""},
		{"a pod's name that is the dashed address", `{addresses: [10.0.0.1], targetRef: {name: 10-0-0-1}}`, "web; 10.0.0.1 ready", ""},
		{"a hostname and a pod's name that are equal", `{addresses: [10.0.0.1], hostname: a}, {addresses: [10.0.0.1], targetRef: {name: a}}`, "web; a 10.0.0.1 ready", ""},
		{"the same in the other order", `{addresses: [10.0.0.1], targetRef: {name: a}}, {addresses: [10.0.0.1], hostname: a}`, "web; a 10.0.0.1 ready", ""},
		{"a pod listed twice", `{addresses: [10.0.0.1], targetRef: {name: a}}, {addresses: [10.0.0.1], targetRef: {name: a}}`, "web; a pod 10.0.0.1 ready", ""},
	} {
		var skips convertSkips
		conv := &Converter{PodNames: true, skip: skips.add}
		got, ok := conv.slice(mustWire(convertYAML[discoveryv1.EndpointSlice](t, `{metadata: {namespace: ns, name: web-1, labels: {kubernetes.io/service-name: web}}, endpoints: [`+c.endpoints+`]}`)))
		if text := convertedSlice(got); text != c.want || !ok || skips.String() != c.skipped {
			t.Errorf("%s: %s\ngot  %q, %v, skipped %q\nwant %q, true, skipped %q", c.name, c.endpoints, text, ok, &skips, c.want, c.skipped)
		}
	}
}

// convertFault returns what is wrong with s: a violation of what model.Slice and its parts promise.
func convertFault(s *model.Slice) error {
	isPort := func(p model.Port) bool {
		return p.Number > 0 && p.Proto() != "" && p.Name() == strings.ToLower(p.Name()) && p.Proto() == strings.ToLower(p.Proto())
	}
	less := func(a, b model.Port) bool {
		if a.Name() != b.Name() {
			return a.Name() < b.Name()
		}
		return a.Proto() < b.Proto() || a.Proto() == b.Proto() && a.Number < b.Number
	}
	for i, p := range s.Ports {
		if !isPort(p) {
			return fmt.Errorf("%+v is no port", p)
		}
		if i > 0 && !less(s.Ports[i-1], p) {
			return fmt.Errorf("ports are not sorted or not distinct: %+v before %+v", s.Ports[i-1], p)
		}
	}
	for _, e := range s.Endpoints {
		switch {
		case !e.Addr.IsValid() || e.Addr.Is4In6() || e.Addr.Zone() != "":
			return fmt.Errorf("%+v: not a plain address", e)
		case e.Name != "" && !model.ValidLabel(e.Name):
			return fmt.Errorf("%+v: the name is no label", e)
		case e.Name != "" && e.Name == string(model.AppendDashed(nil, e.Addr)):
			return fmt.Errorf("%+v: the name is the dashed address", e)
		case e.Name == "" && e.PodName:
			return fmt.Errorf("%+v: no name, and it is a pod's", e)
		case e.State > model.Ready:
			return fmt.Errorf("%+v: no such state", e)
		}
	}
	if s.Service == "" && (len(s.Ports) > 0 || len(s.Endpoints) > 0) {
		return fmt.Errorf("no Service, and %d ports and %d endpoints", len(s.Ports), len(s.Endpoints))
	}
	return nil
}

// convertRandomSlice returns a slice whose every field is set, unset or malformed as r decides.
func convertRandomSlice(r *rand.Rand) *discoveryv1.EndpointSlice {
	texts := []string{
		"", "a", "A", "b", "web-0", "10-0-0-1", "fd00--1", "a.b", "-", "_x", "é", strings.Repeat("x", 63), strings.Repeat("x", 64), "a\x00b",
	}
	addrs := []string{
		"10.0.0.1", "10.0.0.2", "::ffff:10.0.0.1", "fd00::1", "FD00:0::1", "fe80::1%eth0", "::", "0.0.0.0", "", "x", "10.0.0.256", "::ffff:10.0.0.1%x",
	}
	text := func() string { return texts[r.IntN(len(texts))] }
	maybeText := func() *string {
		if r.IntN(3) == 0 {
			return nil
		}
		return new(text())
	}
	maybeBool := func() *bool {
		if r.IntN(3) == 0 {
			return nil
		}
		return new(r.IntN(2) == 0)
	}
	es := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: text(), Name: text()}}
	if r.IntN(4) > 0 {
		es.Labels = map[string]string{discoveryv1.LabelServiceName: text()}
	}
	es.AddressType = []discoveryv1.AddressType{"", discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN, "IPX"}[r.IntN(5)]
	for range r.IntN(5) {
		p := discoveryv1.EndpointPort{Name: maybeText()}
		if r.IntN(3) > 0 {
			p.Protocol = new([]corev1.Protocol{"", "TCP", "tcp", "UDP", "SCTP", "X"}[r.IntN(6)])
		}
		if r.IntN(4) > 0 {
			p.Port = new([]int32{0, 1, 80, 65535, 65536, 70000, -1, -1 << 31, 1<<31 - 1}[r.IntN(9)])
		}
		es.Ports = append(es.Ports, p)
	}
	for range r.IntN(8) {
		e := discoveryv1.Endpoint{Hostname: maybeText()}
		for range r.IntN(3) {
			e.Addresses = append(e.Addresses, addrs[r.IntN(len(addrs))])
		}
		if r.IntN(2) == 0 {
			e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: text()}
		}
		e.Conditions = discoveryv1.EndpointConditions{Ready: maybeBool(), Serving: maybeBool(), Terminating: maybeBool()}
		if r.IntN(2) == 0 {
			e.NodeName, e.Zone = maybeText(), maybeText()
			e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: text()}, {Name: text()}}, ForNodes: []discoveryv1.ForNode{{Name: text()}}}
		}
		es.Endpoints = append(es.Endpoints, e)
	}
	return es
}

func FuzzSlice(f *testing.F) {
	for seed, text := range []string{
		`{"metadata":{"namespace":"ns","name":"web-1","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4","ports":[{"name":"http","port":80}],"endpoints":[{"addresses":["10.0.0.1"],"hostname":"web-0","conditions":{"ready":true}}]}`,
		`{"metadata":{"labels":{"kubernetes.io/service-name":"web"}},"endpoints":[{"addresses":["::ffff:10.0.0.1","10.0.0.1"],"targetRef":{"name":"10-0-0-1"}},{"addresses":["fe80::1%x"]}]}`,
		`{"metadata":{"labels":{"kubernetes.io/service-name":"web"}},"ports":[{"port":0},{"port":70000},{},{"name":"B","port":1},{"name":"a","port":1}]}`,
		`{"metadata":{"labels":{"kubernetes.io/service-name":"web"}},"addressType":"FQDN","endpoints":[{"addresses":["a.b"]}]}`,
		`{"endpoints":[{"addresses":null,"hostname":"-"}]}`, `{}`, `null`, ``,
	} {
		f.Add([]byte(text), uint64(seed), seed%2 == 0)
	}
	f.Fuzz(func(t *testing.T, text []byte, seed uint64, podNames bool) {
		from := []*discoveryv1.EndpointSlice{convertRandomSlice(rand.New(rand.NewPCG(seed, 3)))}
		es := new(discoveryv1.EndpointSlice)
		if err := json.Unmarshal(text, es); err == nil {
			from = append(from, es)
		}
		for _, es := range from {
			before := es.DeepCopy()
			conv := &Converter{PodNames: podNames, skip: func(string, Flaw) {}}
			spec, ok := conv.slice(mustWire(es))
			if ok != (es.Name != "") {
				t.Fatalf("%+v is served: %v", es, ok)
			}
			if !ok {
				continue
			}
			if err := convertFault(spec); err != nil {
				t.Errorf("%+v became %+v: %v", es, spec, err)
			}
			service := es.Labels[discoveryv1.LabelServiceName]
			if !model.ValidLabel(service) {
				service = ""
			}
			if spec.Key != (model.Key{Namespace: es.Namespace, Name: es.Name}) || spec.Service != service {
				t.Errorf("%+v became %+v: another slice, or of another Service", es, spec)
			}
			if !reflect.DeepEqual(es, before) {
				t.Errorf("the slice was changed from %+v to %+v", before, es)
			}
			if again, _ := conv.slice(mustWire(es)); again.Service != spec.Service || !slices.Equal(again.Ports, spec.Ports) || !slices.Equal(again.Endpoints, spec.Endpoints) {
				t.Errorf("%+v became %+v, then %+v", es, spec, again)
			}
		}
	})
}
