package explain

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless"
	"github.com/coredns-headless/headless/internal/manifests"
	"github.com/miekg/dns"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// set is a set-up: Service web in Namespace shop, headless, with the port http and the ready pods web-0 and web-1 of StatefulSet web,
// which a row breaks.
type set struct {
	svc  *corev1.Service
	es   *discoveryv1.EndpointSlice
	sts  *appsv1.StatefulSet
	pods []*corev1.Pod
	*cluster
	corefile string // the lines of the stanza
}

// healthySet returns a set-up in which all is well.
func healthySet(t *testing.T) *set {
	t.Helper()
	objects, err := manifests.Read(filepath.Join(root, "testdata/broken/namespace-filtered.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(objects)
	return &set{
		in[*corev1.Service](c, "")[0], in[*discoveryv1.EndpointSlice](c, "")[0], in[*appsv1.StatefulSet](c, "")[0],
		in[*corev1.Pod](c, ""), c, "",
	}
}

// explain explains word, asked from Namespace default.
func (s *set) explain(t *testing.T, word string, types ...uint16) *report {
	t.Helper()
	stanzas, err := headless.ParseStanzas("Corefile", []byte("cluster.local in-addr.arpa ip6.arpa {\n headless {\n"+s.corefile+"\n}\n}"))
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(s.objects) // what a row does to them shows
	c.unknown = s.unknown
	srv := newServer(stanzas[0], c, "")
	q := &question{from: "default", ndots: 5}
	if err := q.parse([]string{word}); err != nil {
		t.Fatal(err)
	}
	if len(types) > 0 {
		q.types = types
	}
	return explain(srv, c, q)
}

// withoutEndpoints takes the pods out of the EndpointSlice.
func withoutEndpoints(s *set) { s.es.Endpoints = nil }

// unready makes endpoints and pods not ready.
func unready(s *set) {
	for i := range s.es.Endpoints {
		s.es.Endpoints[i].Conditions = discoveryv1.EndpointConditions{Ready: new(bool), Serving: new(bool)}
	}
	for _, pod := range s.pods {
		for i := range pod.Status.Conditions {
			if pod.Status.Conditions[i].Type == corev1.PodReady {
				pod.Status.Conditions[i].Status = corev1.ConditionFalse
			}
		}
		pod.Status.ContainerStatuses[0].Ready = false
	}
}

// unnamed takes the hostnames off the endpoints, and does more with each pod.
func unnamed(do func(*corev1.Pod)) func(*set) {
	return func(s *set) {
		for i := range s.es.Endpoints {
			s.es.Endpoints[i].Hostname = nil
		}
		for _, pod := range s.pods {
			do(pod)
		}
	}
}

// bare makes pods of a StatefulSet those of a Deployment.
func bare(pod *corev1.Pod) { pod.OwnerReferences[0].Kind = "ReplicaSet" }

// external makes the Service an ExternalName.
func external(target string) func(*set) {
	return func(s *set) {
		s.svc.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: target}
	}
}

// chained makes the Service the first of n ExternalNames in a row, of which the last leads to target, or without one to a ClusterIP
// Service.
func chained(n int, target string) func(*set) {
	return func(s *set) {
		end := s.svc.DeepCopy()
		end.Name, end.Spec.ClusterIP, end.Spec.ClusterIPs = "end", "10.96.0.9", []string{"10.96.0.9"}
		s.objects = append(s.objects, end)
		hop := s.svc
		for i := 2; i <= n; i++ {
			next := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("hop-%d", i)}}
			hop.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: next.Name + ".shop.svc.cluster.local"}
			s.objects = append(s.objects, next)
			hop = next
		}
		hop.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: cmp.Or(target, "end.shop.svc.cluster.local")}
	}
}

// zoned puts endpoint web-0 into topology zone a, and web-1 into eu.b.
func zoned(lines string) func(*set) {
	return func(s *set) {
		s.corefile = lines
		s.es.Endpoints[0].Zone, s.es.Endpoints[1].Zone = new("a"), new("EU.b")
	}
}

func stanza(lines string) func(*set) { return func(s *set) { s.corefile = lines } }

func TestCausesAreNamed(t *testing.T) {
	const pod, whole = "web-0.web.shop", "web.shop.svc.cluster.local"
	const toEnd = `kubectl -n shop patch service web --type=merge -p '{"spec":{"externalName":"end.shop.svc.cluster.local"}}'`
	short := func(target string) func(*set) { return chained(1, target) } // beside Service end
	for _, row := range []struct {
		name  string
		set   func(*set) // nil: all is well
		asked string
		qtype uint16 // 0: addresses
		id    string
		want  string // in the text and the fix
	}{
		{"a name elsewhere", nil, "example.org.", 0, "outside-zones", "example.org is in none of the server's zones"},
		{"a name elsewhere that the search list is tried for", nil, "example.org", 0, "outside-zones", "example.org is in none of the server's zones, cluster.local, in-addr.arpa, ip6.arpa:"},
		{"a zone with a mistake", nil, "web.shop.svc.cluster.lokal", 0, "wrong-zone", "ask for web.shop.svc.cluster.local"},
		{"svc forgotten", nil, "web.shop.cluster.local", 0, "missing-svc", "ask for web.shop.svc.cluster.local"},
		{"a port without underscores", nil, "http.tcp." + whole, dns.TypeSRV, "missing-underscore", "ask for _http._tcp.web.shop.svc.cluster.local"},
		{"a port without underscores, of a short name", nil, "http.tcp.web.shop", dns.TypeSRV, "missing-underscore", "ask for _http._tcp.web.shop.svc.cluster.local"},
		{"too many labels, of a short name", nil, "a.b.web.shop", 0, "bad-form", "no name has this form: before svc stands SERVICE.NAMESPACE, before that HOSTNAME, before that _PORT._PROTOCOL with underscores; ask for"},
		{"many labels, of a name elsewhere", nil, "a.b.example.org", 0, "outside-zones", ""},
		{"too many labels", nil, "a.b.c." + whole, 0, "bad-form", "no name has this form"},
		{"too many labels, below pod", nil, "a.b.shop.pod.cluster.local.", 0, "bad-form", "ask for ADDRESS.NAMESPACE.pod.cluster.local"},
		{"a namespace with a mistake", nil, "nobody.shpo.svc.cluster.local", 0, "no-namespace", "did you mean shop?"},
		{"a namespace with a mistake, of a Service that is somewhere", nil, "web.shpo", 0, "no-namespace", "Namespace shpo does not exist; Service web is in shop; ask for web.shop.svc.cluster.local, or in a pod for web.shop"},
		{"a namespace with a mistake, of a Service that is in several", func(s *set) {
			other := s.svc.DeepCopy()
			other.Namespace = "api"
			s.objects = append(s.objects, other)
		}, "web.shpo", 0, "no-namespace", "Service web is in api, shop; ask for web.shop.svc.cluster.local"},
		{"a namespace that is not there, of an ExternalName that is somewhere", external("example.org"), "web.nowhere", 0, "no-namespace", "Namespace nowhere does not exist; Service web is in shop; ask for"},
		{"a Service that is in another namespace", nil, "web.default", 0, "wrong-namespace", "there is no Service web in Namespace default; Service web is in shop; ask for"},
		{"a Service whose namespace is forgotten", nil, "web.svc", 0, "missing-namespace", "Service web is in shop; ask for web.shop.svc.cluster.local, or in a pod for web.shop"},
		{"a Service whose namespace is forgotten, as an FQDN", nil, "web.svc.cluster.local.", 0, "missing-namespace", "Service web is in shop"},
		{"a Service whose namespace is forgotten, and called like one", func(s *set) {
			other := s.svc.DeepCopy()
			other.Name = "shop"
			s.objects = append(s.objects, other)
		}, "shop.svc", 0, "missing-namespace", "Service shop is in shop; ask for shop.shop.svc.cluster.local"},
		{"a Namespace", nil, "shop.svc", 0, "no-records", "ask for a name below it"},
		{"neither a Service nor a Namespace", nil, "nobody.svc", 0, "no-namespace", "Namespace nobody does not exist"},
		{"a pod whose namespace is forgotten", nil, "web-0.web", 0, "wrong-namespace", "or in a pod for web-0.web.shop"},
		{"a namespace hidden by its labels", stanza("namespace_labels dns in (on,yes),team!=web"), whole, 0, "namespace-filtered", "kubectl label namespace shop dns=on"},
		{"a namespace hidden by a label that it must not have", func(s *set) {
			s.corefile = "namespace_labels team!=web"
			for _, ns := range in[*corev1.Namespace](s.cluster, "") {
				ns.Labels = map[string]string{"team": "web"}
			}
		}, whole, 0, "namespace-filtered", "kubectl label namespace shop team-"},
		{"a namespace hidden by a label that is too small", func(s *set) {
			s.corefile = "namespace_labels tier>5"
			in[*corev1.Namespace](s.cluster, "")[0].Labels = map[string]string{"tier": "4"}
		}, whole, 0, "namespace-filtered", "label the namespace so that it matches, or change the Corefile"},
		{"a Service hidden by its labels", stanza("labels app=web"), whole, 0, "service-filtered", "its stanza says `labels app=web`, which its labels do not match; kubectl -n shop label service web app=web --overwrite   # or change the Corefile"},
		{"a slice hidden by its labels", func(s *set) { s.corefile, s.svc.Labels = "labels app=web", map[string]string{"app": "web"} }, whole, 0, "slice-filtered", "EndpointSlice shop/web-k4x7p does not match the server's option `labels app=web`; kubectl -n shop label endpointslice web-k4x7p app=web --overwrite"},
		{"a slice that is not marked as headless", func(s *set) {
			s.corefile = "endpoints headless"
			delete(s.es.Labels, corev1.IsHeadlessService)
		}, whole, 0, "slice-filtered", "kubectl -n shop label endpointslice web-k4x7p service.kubernetes.io/headless="},
		{"an endpoint of a ClusterIP Service, which is not marked as headless", func(s *set) {
			s.corefile = "endpoints headless"
			s.svc.Spec.ClusterIP, s.svc.Spec.ClusterIPs = "10.96.0.1", []string{"10.96.0.1"}
			delete(s.es.Labels, corev1.IsHeadlessService)
		}, pod, 0, "slice-filtered", "Service shop/web has a ClusterIP, and the server sees the endpoints of headless Services only: its stanza says `endpoints headless`; in the Corefile: take out endpoints headless; or make the Service anew with clusterIP: None"},
		{"the address of an endpoint of a ClusterIP Service, which is not marked as headless", func(s *set) {
			s.corefile = "endpoints headless"
			s.svc.Spec.ClusterIP, s.svc.Spec.ClusterIPs = "10.96.0.1", []string{"10.96.0.1"}
			delete(s.es.Labels, corev1.IsHeadlessService)
		}, "10.244.1.10", dns.TypePTR, "slice-filtered", "take out endpoints headless"},
		{"a server without endpoints", stanza("noendpoints"), whole, 0, "endpoints-off", "take out noendpoints"},
		{"a name below pod", nil, "10-244-1-10.shop.pod.cluster.local", 0, "pods-disabled", "pods insecure"},
		{"an address that no pod has", stanza("pods verified"), "10-244-9-9.shop.pod.cluster.local", 0, "no-such-pod", "no Pod of Namespace shop has the address 10-244-9-9"},
		{"a pod's name in place of a Service's", nil, "web-0.shop", 0, "pod-as-service", "ask for web-0.web.shop.svc.cluster.local"},
		{"a Service with a mistake", nil, "wbe.shop", 0, "no-service", "did you mean web?"},
		{"a type that is not there", nil, whole, dns.TypeTXT, "no-type", "web.shop.svc.cluster.local has no TXT records, but A and SRV"},
		{"a name that is there for others", nil, "shop.svc.cluster.local", 0, "no-records", "has no records"},

		{"below an ExternalName", external("example.org"), pod, 0, "external-name-below", "ask for web.shop.svc.cluster.local"},
		{"an ExternalName that is an address", external("192.0.2.1"), whole, 0, "external-name-address", "192.0.2.1, which is an address"},
		{"an ExternalName that is no name", external("a..b"), whole, 0, "external-name-invalid", `"a..b", which is not a name`},
		{"an ExternalName to elsewhere", external("example.org"), whole, 0, "external-name-outside", "leads to example.org, outside the cluster"},
		{"an ExternalName to a short name, of its Namespace", short("end"), whole, 0, "external-name-short", "an ExternalName is not searched, as a name in a pod is; " + toEnd},
		{"an ExternalName to a short name, with the Namespace", short("end.shop"), whole, 0, "external-name-short", toEnd},
		{"an ExternalName to a short name, up to svc", short("end.shop.svc"), whole, dns.TypeSRV, "external-name-short", toEnd},
		{"an ExternalName to a short name, where a Service is called like the Namespace", func(s *set) {
			short("end.shop")(s)
			namesake := s.svc.DeepCopy()
			namesake.Name = "shop"
			s.objects = append(s.objects, namesake)
		}, whole, 0, "external-name-short", toEnd},
		{"an ExternalName to the short name of a pod", func(s *set) {
			s.objects = append(s.objects, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "ext"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: pod}})
		}, "ext.shop", 0, "external-name-short", `{"externalName":"web-0.web.shop.svc.cluster.local"}`},
		{"an ExternalName to a short name that is its own", short("web"), whole, 0, "external-name-outside", "leads to web, outside the cluster"},
		{"an ExternalName to a short name that no Service has", short("wbe.shop"), whole, 0, "external-name-outside", "leads to wbe.shop, outside the cluster"},
		{"an ExternalName to itself", external(whole), whole, 0, "external-name-loop", "leads in a circle: web.shop.svc.cluster.local → web.shop.svc.cluster.local"},
		{"nine ExternalNames in a row", chained(9, ""), whole, 0, "external-name-chain", `leads through 9 CNAMEs to end.shop.svc.cluster.local; a server follows no more than 8 for one query, and the resolver of a pod does not go on from there; kubectl -n shop patch service web --type=merge -p '{"spec":{"externalName":"end.shop.svc.cluster.local"}}'`},
		{"ExternalNames in a row that lead elsewhere", chained(20, "example.org"), whole, 0, "external-name-chain", `through 20 CNAMEs to example.org; `},
		{"ExternalNames in a row that lead to no name", chained(9, "end.shpo.svc.cluster.local"), whole, 0, "external-name-dead", "is a CNAME for end.shpo.svc.cluster.local, and that name does not exist (NXDOMAIN)"},
		{"ExternalNames in a circle that begins behind the ninth", chained(10, "hop-10.shop.svc.cluster.local"), whole, 0, "external-name-loop", "hop-3.shop.svc.cluster.local → hop-4.shop.svc.cluster.local → … → hop-8.shop.svc.cluster.local → hop-9.shop.svc.cluster.local → hop-10.shop.svc.cluster.local → hop-10.shop.svc.cluster.local; "},
		{"an ExternalName to elsewhere, asked for services", external("example.org"), whole, dns.TypeSRV, "external-name-type", "ask for example.org"},
		{"an ExternalName asked for services", chained(2, ""), whole, dns.TypeSRV, "external-name-type", "the answer for SRV is the CNAME alone; ask for end.shop.svc.cluster.local"},
		{"an ExternalName to a Service that is not there", external("wbe.default.svc.cluster.local"), whole, 0, "external-name-dead", "does not exist (NXDOMAIN)"},
		{"an ExternalName to a Service of the other IP family", chained(1, ""), whole, dns.TypeAAAA, "no-type", "end.shop.svc.cluster.local has no AAAA records, but A"},
		{"an ExternalName to a Service, asked for text", chained(2, ""), whole, dns.TypeTXT, "no-type", "end.shop.svc.cluster.local has no TXT records, but A"},
		{"an ExternalName to a Service of which only the pods' own names are there", func(s *set) {
			unready(s)
			*s.sts.Spec.Replicas, s.svc.Annotations = 1, map[string]string{hostnamesAnnotation: "all"}
			s.objects = append(s.objects, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "ext"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: whole}})
		}, "ext.shop", 0, "not-ready", "Service web in namespace shop has 2 endpoints, none of them ready"},
		{"an ExternalName to a Service without a ready pod", func(s *set) {
			unready(s)
			s.objects = append(s.objects, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "ext"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: whole}})
		}, "ext.shop", 0, "publish-not-ready", "the pods of Service shop/web run, but none is ready"},
		{"an ExternalName to a Namespace", external("shop.svc.cluster.local"), whole, 0, "external-name-dead", "is a CNAME for shop.svc.cluster.local, and that name has no such records (NODATA)"},

		{"slices of names", func(s *set) { s.es.AddressType = discoveryv1.AddressTypeFQDN }, whole, 0, "fqdn-slice", "they list names"},
		{"no selector and no slices", func(s *set) {
			s.svc.Spec.Selector = nil
			s.es.Labels[discoveryv1.LabelServiceName] = s.svc.Name
			s.es.Endpoints = nil
			s.es.AddressType = discoveryv1.AddressTypeIPv4
		}, whole, 0, "no-endpoints", "has no selector"},
		{"a slice labelled with another name", func(s *set) {
			s.svc.Spec.Selector = nil
			s.es.Labels[discoveryv1.LabelServiceName] = "webb"
		}, whole, 0, "slice-without-label", "kubernetes.io/service-name=web --overwrite"},
		{"no endpoints, and nothing known of pods", func(s *set) {
			withoutEndpoints(s)
			s.unknown["pods"] = "forbidden"
		}, whole, 0, "no-endpoints", "no pod with an address matches its selector, app=web"},
		{"a selector that no pod comes close to", func(s *set) {
			withoutEndpoints(s)
			s.svc.Spec.Selector = map[string]string{"tier": "frontend"}
		}, whole, 0, "selector-matches-nothing", "kubectl -n shop get deployments,statefulsets,pods --show-labels"},
		{"a selector with a label too many", func(s *set) {
			withoutEndpoints(s)
			s.svc.Spec.Selector = map[string]string{"app": "web", "tier": "frontend"}
		}, whole, 0, "selector-matches-nothing", `Pod web-0 comes closest, it has no label tier; its workload may be scaled to 0`},
		{"a selector of which only a shared label is a pod's", func(s *set) {
			withoutEndpoints(s)
			s.pods[0].Labels = map[string]string{"app": "payments", "part-of": "store"}
			s.svc.Spec.Selector = map[string]string{"app": "orders", "part-of": "store"}
		}, whole, 0, "selector-matches-nothing", "Pod web-0 comes closest, it has app=payments; its workload may be scaled to 0"},
		{"a selector whose spelling another object has, as the pods' is that of their workload", func(s *set) {
			withoutEndpoints(s)
			s.svc.Spec.Selector = map[string]string{"app": "wbe"}
			s.objects = append(s.objects, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "wbe"}})
		}, whole, 0, "selector-matches-nothing", "kubectl -n shop patch service web "},
		{"a StatefulSet of none that counts from 5", func(s *set) {
			s.sts.Spec.Replicas, s.sts.Spec.Ordinals = new(int32), &appsv1.StatefulSetOrdinals{Start: 5}
		}, "web-2.web.shop", 0, "no-such-replica", "kubectl -n shop scale statefulset web --replicas=1"},
		{"an ordinal beyond the last of those from 5", func(s *set) {
			s.sts.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 5}
		}, "web-9.web.shop", 0, "no-such-replica", "kubectl -n shop scale statefulset web --replicas=5"},
		{"a StatefulSet of none", func(s *set) { s.sts.Spec.Replicas = new(int32) }, "web-9.web.shop", 0, "no-such-replica", "is scaled to 0 replicas; kubectl -n shop scale statefulset web --replicas=10"},
		{"an ordinal before the first", func(s *set) {
			s.sts.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 5}
		}, "web-2.web.shop", 0, "no-such-replica", "web-2 is not one of them; ask for one of these"},
		{"pods that are on no node", func(s *set) {
			withoutEndpoints(s)
			for _, pod := range s.pods {
				pod.Status = corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available"}}}
			}
		}, whole, 0, "pods-not-running", "web-0 is on no node yet: 0/3 nodes are available"},
		{"pods that no slice lists", withoutEndpoints, whole, 0, "slices-behind", "no EndpointSlice lists it"},

		{"a port that is not there", nil, "_grpc._tcp.web.shop", dns.TypeSRV, "no-port", "has no port _grpc._tcp; it has others: _http._tcp; ask for _http._tcp.web.shop.svc.cluster.local, or add the port"},
		{"a port without its protocol", nil, "_http.web.shop", 0, "missing-protocol", "a port is asked for as _PORT._PROTOCOL, and here stands _http alone; ask for _http._tcp.web.shop.svc.cluster.local"},
		{"a port without its protocol, of a Service without endpoints", withoutEndpoints, "_http.web.shop", 0, "missing-protocol", "_http alone"},
		{"a port of two protocols without either", func(s *set) {
			s.svc.Spec.Ports = append(s.svc.Spec.Ports, corev1.ServicePort{Name: "http", Protocol: corev1.ProtocolUDP, Port: 80})
		}, "_HTTP.web-0.web.shop", 0, "missing-protocol", "ask for _http._tcp.web-0.web.shop.svc.cluster.local or _http._udp.web-0.web.shop.svc.cluster.local"},
		{"a port that is not there, without a protocol", nil, "_grpc.web.shop", 0, "missing-protocol", "the names of its ports are _http._tcp.web.shop.svc.cluster.local"},
		{"a port without a name, by that of its program, without a protocol", func(s *set) { s.svc.Spec.Ports[0].Name = "" }, "_http.web.shop", 0, "missing-protocol", "give the ports of the Service names, then ask for _PORT._PROTOCOL.web.shop.svc.cluster.local"},
		{"a protocol without a port", nil, "_tcp.web.shop", 0, "no-records", "ask for _http._tcp.web.shop.svc.cluster.local"},
		{"another protocol without a port", nil, "_udp.web.shop", 0, "no-port", "Service web in namespace shop has no port _udp; it has others: _http._tcp; the names of its ports are _http._tcp.web.shop.svc.cluster.local"},
		{"a protocol without a port, of a Service without ready endpoints", func(s *set) {
			unready(s)
			*s.sts.Spec.Replicas = 1
		}, "_tcp.web.shop", dns.TypeSRV, "not-ready", "Service web in namespace shop has 2 endpoints, none of them ready"},
		{"a protocol whose ports have no names", func(s *set) { s.svc.Spec.Ports[0].Name, s.es.Ports[0].Name = "", new("") }, "_tcp.web.shop", dns.TypeSRV, "port-unnamed", "has no port _tcp; its ports have no names; give the ports of the Service names, then ask for _PORT._PROTOCOL.web.shop.svc.cluster.local"},
		{"a protocol of a Service without ports", func(s *set) { s.svc.Spec.Ports, s.es.Ports = nil, nil }, "_tcp.web.shop", dns.TypeSRV, "no-port", "has no ports"},
		{"a Service without ports", func(s *set) { s.svc.Spec.Ports, s.es.Ports = nil, nil }, "_http._tcp.web.shop", dns.TypeSRV, "no-port", "has no ports"},
		{"a port of another protocol", nil, "_http._udp.web.shop", dns.TypeSRV, "wrong-protocol", "ask for _http._tcp.web.shop.svc.cluster.local"},
		{"a port's number", nil, "_80._tcp.web.shop", dns.TypeSRV, "port-number", "ask for _http._tcp.web.shop.svc.cluster.local"},
		{"a port's number, with another protocol", nil, "_80._udp.web.shop", dns.TypeSRV, "port-number", "ask for _http._tcp.web.shop.svc.cluster.local"},
		{"a port with a mistake, with another protocol", nil, "_htp._udp.web.shop", dns.TypeSRV, "no-port", "ask for _http._tcp.web.shop.svc.cluster.local, or add the port"},
		{"a port that leads to none of the pods'", func(s *set) {
			s.es.Ports = nil
			s.svc.Spec.Ports[0].TargetPort = intstr.FromString("www")
		}, "_http._tcp.web.shop", dns.TypeSRV, "target-port", "called www, which no container has"},
		{"a port that hand-made slices do not have", func(s *set) { s.es.Ports = nil }, "_http._tcp.web.shop", dns.TypeSRV, "slice-port", "has the port http, but its EndpointSlices do not"},

		{"a hostname that is not there", nil, "wbe-0.web.shop", 0, "no-hostname", "did you mean web-0?"},
		{"a replica that is not there", nil, "web-2.web.shop", 0, "no-such-replica", "2 replicas, web-0 to web-1: web-2 is not one of them"},
		{"a replica that is not made yet, though none waits for another", func(s *set) {
			unready(s)
			*s.sts.Spec.Replicas, s.sts.Spec.PodManagementPolicy = 3, appsv1.ParallelPodManagement
		}, "web-2.web.shop", 0, "pod-missing", "has not made the pod web-2: look at its events"},
		{"a replica that is not made yet", func(s *set) {
			unready(s)
			*s.sts.Spec.Replicas = 3
		}, "web-2.web.shop", 0, "pod-missing", "it makes one pod after the other, and web-0 has a container \"web\" that is not ready"},
		{"a pod that the Service does not select", unnamed(func(p *corev1.Pod) { p.Labels = map[string]string{"app": "wbe"} }), pod, 0, "selector-misses-pod", "give the pod's template these labels"},
		{"a pod of another Service", func(s *set) {
			other := s.svc.DeepCopy()
			other.Name, other.Spec.Selector = "api", map[string]string{"app": "api"}
			slice := s.es.DeepCopy()
			slice.Name, slice.Labels[discoveryv1.LabelServiceName], slice.Endpoints = "api-1", "api", slice.Endpoints[:1]
			slice.Endpoints[0].Hostname = new("api-0")
			s.objects = append(s.objects, other, slice)
		}, "web-0.api.shop", 0, "selector-misses-pod", "ask for web-0.web.shop.svc.cluster.local, where it has its name"},
		{"pods of a StatefulSet of another Service, which is there", func(s *set) {
			unnamed(func(*corev1.Pod) {})(s)
			s.sts.Spec.ServiceName = "other"
			other := s.svc.DeepCopy()
			other.Name = "other"
			slice := s.es.DeepCopy()
			slice.Name, slice.Labels[discoveryv1.LabelServiceName], slice.Endpoints[0].Hostname = "other-1", "other", new("web-0")
			s.objects = append(s.objects, other, slice)
		}, pod, 0, "wrong-service-name", "ask for web-0.other.shop.svc.cluster.local"},
		{"a StatefulSet of another Service, and nothing known of pods", func(s *set) {
			unnamed(func(p *corev1.Pod) { p.Name = "x" + p.Name })(s)
			s.sts.Spec.ServiceName = ""
		}, pod, 0, "wrong-service-name", `has serviceName "", not "web"`},
		{"a pod made before the StatefulSet was changed", unnamed(func(p *corev1.Pod) { p.Spec.Subdomain = "old" }), pod, 0, "stale-subdomain", "kubectl -n shop delete pod web-0"},
		{"a pod without a hostname", unnamed(func(p *corev1.Pod) {
			bare(p)
			p.Spec.Hostname = ""
		}), pod, 0, "missing-hostname", "it has no hostname"},
		{"a pod with another subdomain", unnamed(func(p *corev1.Pod) {
			bare(p)
			p.Spec.Subdomain = "wbe"
		}), pod, 0, "wrong-subdomain", "it has the subdomain wbe, not web"},
		{"a pod with another hostname", func(s *set) {
			for i, pod := range s.pods {
				bare(pod)
				pod.Spec.Hostname = fmt.Sprintf("www-%d", i)
				s.es.Endpoints[i].Hostname = &pod.Spec.Hostname
			}
		}, pod, 0, "other-hostname", "ask for www-0.web.shop.svc.cluster.local"},
		{"a pod without an address", func(s *set) {
			s.es.Endpoints = s.es.Endpoints[1:]
			s.pods[0].Status.PodIP = ""
			s.pods[0].Status.ContainerStatuses[0] = corev1.ContainerStatus{Name: "web", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}
		}, pod, 0, "pods-not-running", "it has a container \"web\" that does not run: ImagePullBackOff"},
		{"a pod that no slice lists by its hostname", unnamed(func(*corev1.Pod) {}), pod, 0, "slices-behind", "has all that it needs"},
		{"an endpoint whose slice gives it no hostname, and nothing known of pods", func(s *set) {
			unnamed(func(p *corev1.Pod) { p.Name, p.Spec.Hostname = "x"+p.Name, "" })(s)
			s.sts.Name = "other"
		}, pod, 0, "missing-subdomain", "it is in its EndpointSlice without a hostname"},

		{"a pod that is being deleted", func(s *set) {
			for i := range s.es.Endpoints {
				s.es.Endpoints[i].Conditions = discoveryv1.EndpointConditions{Ready: new(bool), Serving: new(true), Terminating: new(true)}
			}
		}, pod, 0, "terminating", "coredns-headless.github.io/hostnames=serving"},
		{"pods that are all being deleted", func(s *set) {
			for i := range s.es.Endpoints {
				s.es.Endpoints[i].Conditions = discoveryv1.EndpointConditions{Ready: new(bool), Serving: new(true), Terminating: new(true)}
			}
		}, whole, 0, "terminating", "kubectl -n shop get pods --watch"},
		{"pods of which the first is being deleted", func(s *set) {
			unready(s)
			s.es.Endpoints[0].Conditions.Terminating = new(true)
		}, whole, 0, "not-ready", "Pod web-1 is not ready"},
		{"a pod of which the container without a probe is not ready", func(s *set) {
			unready(s)
			pod := s.pods[0]
			pod.Spec.Containers = []corev1.Container{{Name: "web", ReadinessProbe: &corev1.Probe{}}, {Name: "side"}}
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "web", Ready: true}, {Name: "side"}}
		}, pod, 0, "not-ready", "it has a container \"side\" that is not ready"},
		{"pods that crash are not waiting for each other", func(s *set) {
			unready(s)
			s.pods[0].Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
		}, whole, 0, "not-ready", "it has a container \"web\" that does not run: CrashLoopBackOff"},
		{"pods that wait for a readiness gate", func(s *set) {
			unready(s)
			for _, pod := range s.pods {
				bare(pod)
				pod.Status.ContainerStatuses[0].Ready = true
				pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.org/gate"}}
			}
			*s.sts.Spec.Replicas = 1
		}, whole, 0, "not-ready", "it does not pass its readiness gate \"example.org/gate\""},
		{"a ClusterIP Service that is ignored when it is empty", func(s *set) {
			unready(s)
			s.svc.Spec.ClusterIP, s.svc.Spec.ClusterIPs = "10.96.0.1", []string{"10.96.0.1"}
			s.corefile = "ignore empty_service"
		}, whole, 0, "not-ready", "has 2 endpoints, none of them ready (option ignore): Pod web-0 is not ready"},

		{"a zonal name without the option", zoned(""), "a.pin._zone.web.shop", 0, "zonal-off", "names below _zone exist only with the option zonal"},
		{"a whole zonal name without the option", zoned(""), "a.prefer._zone." + whole, 0, "zonal-off", "in the Corefile, on all replicas: zonal"},
		{"a zonal name on a server without endpoints", zoned("noendpoints"), "a.pin._zone.web.shop", 0, "endpoints-off", "in the Corefile: take out noendpoints"},
		{"a zonal name of a ClusterIP Service, without the option", func(s *set) {
			s.svc.Spec.ClusterIP, s.svc.Spec.ClusterIPs = "10.96.0.1", []string{"10.96.0.1"}
		}, "a.pin._zone.web.shop", 0, "zonal-not-headless", "ask for web.shop.svc.cluster.local"},
		{"a zonal name below an ExternalName, without the option", external("example.org"), "x.pin._zone.web.shop", 0, "external-name-below", "ask for web.shop.svc.cluster.local"},
		{"a zonal name of a Service that is not there, without the option", nil, "a.pin._zone.nope.shop", 0, "no-service", "Namespace shop has no Service nope"},
		{"a zonal name in a namespace that is not there, without the option", nil, "a.pin._zone.web.nowhere", 0, "no-namespace", "Service web is in shop; ask for a.pin._zone.web.shop.svc.cluster.local"},
		{"a zonal name of a ClusterIP Service", func(s *set) {
			zoned("zonal")(s)
			s.svc.Spec.ClusterIP, s.svc.Spec.ClusterIPs = "10.96.0.1", []string{"10.96.0.1"}
		}, "a.pin._zone.web.shop", 0, "zonal-not-headless", "ask for web.shop.svc.cluster.local"},
		{"a zone that no endpoint is in", zoned("zonal"), "west.pin._zone.web.shop", 0, "no-zone", "no endpoint of Service shop/web is in the topology zone west; there are some in a, eu.b; ask for one of these, or for west.prefer._zone.web.shop.svc.cluster.local, which gives all endpoints when none is ready there"},
		{"a zone with a mistake", zoned("zonal"), "eu.bb.pin._zone.web.shop", 0, "no-zone", "did you mean eu.b? Or ask for eu.bb.prefer._zone"},
		{"endpoints in no zone", stanza("zonal"), "a.pin._zone.web.shop", 0, "no-zone", "no endpoint of Service shop/web is in a topology zone; kubectl get nodes -L topology.kubernetes.io/zone"},
		{"a zonal name without a zone", zoned("zonal"), "pin._zone.web.shop", 0, "no-records", "ask for a.pin._zone.web.shop.svc.cluster.local, eu.b.pin._zone.web.shop.svc.cluster.local"},
		{"a zonal name of which only _zone is there", zoned("zonal"), "_zone.web.shop", 0, "no-records", "stands before pin._zone or prefer._zone"},
		{"a zone whose endpoints are not ready", func(s *set) {
			zoned("zonal")(s)
			s.es.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: new(bool), Serving: new(bool)}
		}, "a.pin._zone.web.shop", 0, "zone-not-ready", "Service web in namespace shop has no ready endpoint in zone a: Pod web-0 is not ready; kubectl -n shop describe pod web-0   # its events say more\nor ask for a.prefer._zone.web.shop.svc.cluster.local"},
		{"a zone of a Service without ready endpoints", func(s *set) {
			zoned("zonal")(s)
			unready(s)
			*s.sts.Spec.Replicas = 1
		}, "a.pin._zone.web.shop", 0, "not-ready", "Service web in namespace shop has 2 endpoints, none of them ready"},
		{"a zone that no endpoint is in, of a Service without ready endpoints", func(s *set) {
			zoned("zonal")(s)
			unready(s)
			*s.sts.Spec.Replicas = 1
		}, "west.pin._zone.web.shop", 0, "not-ready", "Service web in namespace shop has 2 endpoints, none of them ready"},
		{"a zone of endpoints in none, which are not ready", func(s *set) {
			unready(s)
			*s.sts.Spec.Replicas, s.corefile = 1, "zonal"
		}, "a.pin._zone.web.shop", 0, "not-ready", "Service web in namespace shop has 2 endpoints, none of them ready"},
		{"a zonal name without a zone, of a Service without ready endpoints", func(s *set) {
			zoned("zonal")(s)
			unready(s)
			*s.sts.Spec.Replicas = 1
		}, "pin._zone.web.shop", 0, "not-ready", "Service web in namespace shop has 2 endpoints, none of them ready"},
		{"a preferred zone of a Service without ready endpoints", func(s *set) {
			unready(s)
			*s.sts.Spec.Replicas, s.corefile = 1, "zonal"
		}, "a.prefer._zone.web.shop", 0, "not-ready", "Service web in namespace shop has 2 endpoints, none of them ready"},
		{"a zonal name of a Service of another namespace", zoned("zonal"), "a.pin._zone.web.default", 0, "wrong-namespace", "ask for a.pin._zone.web.shop.svc.cluster.local"},
		{"a zonal name below an ExternalName", func(s *set) {
			external("example.org")(s)
			s.corefile = "zonal"
		}, "a.pin._zone.web.shop", 0, "external-name-below", "there are no names below one"},
		{"a type that a zonal name does not have", zoned("zonal"), "a.pin._zone.web.shop", dns.TypeAAAA, "no-type", "has no AAAA records, but A and SRV"},
		{"no directive of zones", zoned("zonal"), "a.near._zone." + whole, 0, "bad-form", ""},

		{"an address that nobody has", nil, "10.244.9.9", dns.TypePTR, "no-pointer", "has the address 10.244.9.9"},
		{"the address of a pod of a Service hidden by its labels", stanza("labels app=web"), "10.244.1.10", dns.TypePTR, "service-filtered", "its stanza says `labels app=web`"},
		{"the address of a pod that is not ready", unready, "10.244.1.10", dns.TypePTR, "not-ready", "only ready ones have reverse names"},
		{"the address of a pod without a Service", func(s *set) { s.es.Labels = nil }, "10.244.1.10", dns.TypePTR, "no-pointer", "Pod shop/web-0 has the address 10.244.1.10, but no Service selects it"},
		{"the address of a pod in a hidden namespace", stanza("namespaces default"), "10.244.1.10", dns.TypePTR, "namespace-filtered", "in the Corefile: namespaces default shop"},
		{"a Service that may not be looked at", func(s *set) { s.unknown["services/shop"] = "the services in shop are not known: forbidden" }, "nobody.shop", 0, "not-permitted", "kubectl -n shop auth can-i list services"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := healthySet(t)
			if row.set != nil {
				row.set(s)
			}
			var types []uint16
			if row.qtype != 0 {
				types = []uint16{row.qtype}
			}
			r := s.explain(t, row.asked, types...)
			if len(r.Causes) == 0 {
				t.Fatalf("%s %s: got no cause", r.Name, r.Verdict)
			}
			c := r.Causes[0]
			if got := c.Text + "; " + c.Fix; c.ID != row.id || !strings.Contains(got, row.want) {
				t.Errorf("got %s: %s\nwant %s, with %q", c.ID, got, row.id, row.want)
			}
		})
	}
}

// TestSetUpsThatRowsBreakAreHealthy shows that it is what a row changes that its cause is about.
func TestSetUpsThatRowsBreakAreHealthy(t *testing.T) {
	for word, qtype := range map[string]uint16{"web.shop": 0, "web-0.web.shop": 0, "_http._tcp.web.shop": dns.TypeSRV, "10.244.1.10": dns.TypePTR} {
		var types []uint16
		if qtype != 0 {
			types = []uint16{qtype}
		}
		if r := healthySet(t).explain(t, word, types...); r.Verdict != resolves || len(r.Causes) > 0 {
			t.Errorf("%s: got %s, because of %v; want that it resolves", word, r.Verdict, r.Causes)
		}
	}
}

// TestNameThatMayBeElsewhere holds for short names in no Namespace that exists.
func TestNameThatMayBeElsewhere(t *testing.T) {
	for word, want := range map[string][]string{
		"web.nowhere":                   {"no-namespace"}, // Service web is in shop
		"web.nowhere.svc":               {"no-namespace"}, // no other name ends in svc
		"web.nowhere.svc.cluster.local": {"no-namespace"},
		"nobody.nowhere":                {"outside-zones"},
		"a.b.web.shop":                  {"bad-form"},        // below a Service that exists
		"web-9.web.shop":                {"no-such-replica"}, // Namespace shop exists
		"web.shop.svc.cluster.lokal":    {"wrong-zone"},
	} {
		var got []string
		for _, c := range healthySet(t).explain(t, word).Causes {
			got = append(got, c.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
	if _, r := reported(t, "-manifests", "examples", "a.b.cassandra.default"); len(r.Causes) != 1 { // where no Namespace is declared
		t.Errorf("got %+v, want the form alone", r.Causes)
	}
}

func TestFurtherCausesFollowTheMostProbable(t *testing.T) {
	for _, row := range []struct {
		name  string
		set   func(*set)
		asked string
		want  []string
	}{
		{"peers that run", unready, "web-0.web.shop", []string{"publish-not-ready", "not-ready"}},
		{"peers one of which crashes", func(s *set) {
			unready(s)
			s.pods[1].Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
		}, "web-0.web.shop", []string{"not-ready", "publish-not-ready"}},
		{"peers that are ready, which no slice says yet", func(s *set) {
			for i := range s.es.Endpoints {
				s.es.Endpoints[i].Conditions.Ready = new(bool)
			}
		}, "web-0.web.shop", []string{"not-ready", "publish-not-ready"}},
		{"peers that are published", func(s *set) {
			unready(s)
			s.svc.Spec.PublishNotReadyAddresses = true
		}, "web-0.web.shop", []string{"not-ready"}},
		{"peers one of which is ready", func(s *set) {
			unready(s)
			s.es.Endpoints[1].Conditions.Ready = nil
		}, "web-0.web.shop", []string{"not-ready"}},
		{"a single pod", func(s *set) {
			unready(s)
			*s.sts.Spec.Replicas = 1
		}, "web-0.web.shop", []string{"not-ready"}},
		{"a zonal name without the option, of a Service whose selector matches nothing", func(s *set) {
			withoutEndpoints(s)
			s.svc.Spec.Selector = map[string]string{"app": "wbe"}
		}, "a.pin._zone.web.shop", []string{"selector-matches-nothing", "zonal-off"}},
		{"a zonal name without the option, of a Service whose slice is labelled with another name", func(s *set) {
			s.svc.Spec.Selector = nil
			s.es.Labels[discoveryv1.LabelServiceName] = "webb"
		}, "a.pin._zone.web.shop", []string{"slice-without-label", "zonal-off"}},
		{"a zonal name without the option, on a server without endpoints", zoned("noendpoints"), "a.pin._zone.web.shop", []string{"endpoints-off", "zonal-off"}},
		{"a zonal name without the option, of a Service whose slice is hidden", all(unmarked, zoned("endpoints headless")), "a.pin._zone.web.shop", []string{"slice-filtered", "zonal-off"}},
		{"a zonal name without the option, of a Service with an endpoint that is not ready", all(unready, zoned("")), "a.pin._zone.web.shop", []string{"zonal-off"}},
		{"an ExternalName to a name with a mistake", external("wbe.shop.svc.cluster.local"), "web.shop", []string{"external-name-dead", "no-service"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := healthySet(t)
			row.set(s)
			var got []string
			for _, c := range s.explain(t, row.asked).Causes {
				got = append(got, c.ID)
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// TestDocumentsNameEveryCause holds the list of causes in docs/explain.md against the source, for programs that read their ids.
func TestDocumentsNameEveryCause(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs/explain.md"))
	if err != nil {
		t.Fatal(err)
	}
	ids := make(map[string]bool)
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, match := range regexp.MustCompile(`(?:\bone\(|q\.missing\(|return |id, fix :?= )"([a-z]+(?:-[a-z]+)*)",\s`).FindAllSubmatch(source, -1) {
			ids[string(match[1])] = true
		}
	}
	if len(ids) < 40 {
		t.Errorf("got %d causes in the source, want at least 40", len(ids))
	}
	for id := range ids {
		if !strings.Contains(string(page), "`"+id+"`") {
			t.Errorf("got no cause `%s` in docs/explain.md", id)
		}
	}
}

func TestLargeServicesAreCutShort(t *testing.T) {
	s := healthySet(t)
	const n = 10_000
	s.es.Endpoints = nil
	for i := range n {
		es := s.es
		if i%1000 == 0 {
			es = s.es.DeepCopy()
			es.Name = fmt.Sprintf("web-%05d", i)
			es.Endpoints = nil
			s.objects = append(s.objects, es)
			s.es = es
		}
		es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.%d.%d.%d", i>>16+1, i>>8&255, i&255)}, Hostname: new(fmt.Sprintf("web-%d", i)), Conditions: discoveryv1.EndpointConditions{Ready: new(i%2 == 0)}})
		pod := s.pods[0].DeepCopy()
		pod.ObjectMeta = metav1.ObjectMeta{Name: fmt.Sprintf("web-%d", i), Namespace: "shop", Labels: pod.Labels}
		s.objects = append(s.objects, pod)
	}
	r := s.explain(t, "web-7777.web.shop")
	var page strings.Builder
	if err := writePage(&page, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"endpoints   5000 ready, 5000 not ready\n                10.1.30.97 not ready:", "and 9996 more\n", "the selector matches 10000 pods, 10000 ready",
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("got no %q", want)
		}
	}
	if lines := strings.Count(page.String(), "\n"); lines > 40 {
		t.Errorf("got %d lines, want no more than 40", lines)
	}
	if t.Failed() {
		t.Log(page.String())
	}
}
