package explain

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// conditions gives all endpoints these conditions.
func conditions(ready, serving, terminating bool) func(*set) {
	return func(s *set) {
		for i := range s.es.Endpoints {
			s.es.Endpoints[i].Conditions = discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}
		}
	}
}

// annotated gives the Service the annotation that says which endpoints answer to their own names.
func annotated(word string) func(*set) {
	return func(s *set) { s.svc.Annotations = map[string]string{hostnamesAnnotation: word} }
}

// all does one after the other.
func all(do ...func(*set)) func(*set) {
	return func(s *set) {
		for _, f := range do {
			f(s)
		}
	}
}

// unmarked takes the label of headless Services off the EndpointSlice.
func unmarked(s *set) { delete(s.es.Labels, corev1.IsHeadlessService) }

// labelled gives the Service the labels that its pods have.
func labelled(s *set) { s.svc.Labels = map[string]string{"app": "web"} }

// virtual makes the Service one with a ClusterIP.
func virtual(s *set) {
	s.svc.Spec.ClusterIP, s.svc.Spec.ClusterIPs = "10.96.0.1", []string{"10.96.0.1"}
}

// renamed gives the first endpoint a hostname that no pod and no StatefulSet has.
func renamed(hostname string) func(*set) {
	return func(s *set) {
		s.es.Endpoints[0].Hostname, s.sts.Name = &hostname, "other"
		for _, pod := range s.pods {
			pod.Name, pod.Spec.Hostname = "x"+pod.Name, ""
		}
	}
}

// addressed gives the first endpoint another address.
func addressed(address string) func(*set) {
	return func(s *set) {
		s.es.AddressType, s.es.Endpoints[0].Addresses = discoveryv1.AddressTypeIPv6, []string{address}
		s.es.Endpoints = s.es.Endpoints[:1]
	}
}

// elsewhere gives the Service the port grpc, which only a second slice has, that of the second endpoint.
func elsewhere(s *set) {
	other := s.es.DeepCopy()
	other.Name, other.Endpoints = "web-grpc", other.Endpoints[1:]
	other.Ports = []discoveryv1.EndpointPort{{Name: new("grpc"), Port: new(int32(9))}}
	s.es.Endpoints = s.es.Endpoints[:1]
	s.svc.Spec.Ports = append(s.svc.Spec.Ports, corev1.ServicePort{Name: "grpc", Port: 9})
	s.objects = append(s.objects, other)
}

// leaving says that the pod of an endpoint is being deleted.
func leaving(i int) func(*set) {
	return func(s *set) { s.es.Endpoints[i].Conditions.Terminating = new(true) }
}

// shared gives both endpoints the address of the first, as two pods of a node's own network have.
func shared(s *set) { s.es.Endpoints[1].Addresses = s.es.Endpoints[0].Addresses }

// strange gives the endpoints hostnames in capitals, of which no pod and no StatefulSet has one, and their pods no subdomain.
func strange(s *set) {
	s.es.Endpoints[0].Hostname, s.es.Endpoints[1].Hostname, s.sts.Name = new("XX"), new("YY"), "other"
	for _, pod := range s.pods {
		bare(pod)
		pod.Spec.Hostname, pod.Spec.Subdomain = "", ""
	}
}

// TestCommandReadsWhatTheServerReads has set-ups of which the command once had a reading of its own. What the server answers to the
// name is what the page explains.
func TestCommandReadsWhatTheServerReads(t *testing.T) {
	const falls, v6 = "Note: the stanza has fallthrough", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa."
	for _, row := range []struct {
		name  string
		set   func(*set)
		asked string
		qtype uint16 // 0: addresses
		want  string // on the page
		not   string // on the page; "": anything may be
	}{
		{"of two lines labels the last counts", stanza("labels app=web\nlabels tier=x"), "web.shop", 0, "its stanza says `labels tier=x`", "app=web`"},
		{"of two lines namespace_labels the last counts", stanza("namespace_labels a=b\nnamespace_labels c=d"), "web.shop", 0, "its stanza says `namespace_labels c=d`", "a=b"},
		{"pods that are disabled, then verified", stanza("pods disabled\npods verified"), "10-244-9-9.shop.pod.cluster.local", 0, "[no-such-pod]", ""},
		{"pods that are verified, then disabled", stanza("pods verified\npods disabled"), "10-244-9-9.shop.pod.cluster.local", 0, "[pods-disabled]", ""},
		{"endpoints of all, then of headless Services", all(unmarked, stanza("endpoints all\nendpoints headless")), "web.shop", 0, "[slice-filtered]", ""},
		{"endpoints of headless Services, then of all", all(unready, unmarked, stanza("endpoints headless\nendpoints all")), "web.shop", 0, "[publish-not-ready]", "[slice-filtered]"},
		{"a slice that labels hide, and that has no endpoints", all(withoutEndpoints, labelled, stanza("labels app=web")), "web.shop", 0, "[slices-behind]", "[slice-filtered]"},
		{"a hostname that is no label does not count", renamed("web_0"), "web_0.web.shop", 0, "[no-hostname]", "does not see it"},
		{"an endpoint whose hostname is no label is named by its address", renamed("web_0"), "web.shop", 0, "10.244.1.10 ready: counts, its own name is 10-244-1-10", "web_0"},
		{"a terminating endpoint that answers by the annotation counts for its name", all(conditions(false, true, true), annotated("serving")), "web-0.web.shop", 0, "ok  endpoints   0 ready, 2 terminating", "NO  endpoints"},
		{"an endpoint that is not ready and answers by the annotation counts for its name", all(unready, annotated("all")), "web-0.web.shop", 0, "ok  endpoints   0 ready, 2 not ready", "NO  endpoints"},
		{"a terminating endpoint that does not serve has no name by the annotation", all(conditions(false, false, true), annotated("serving")), "web-0.web.shop", 0, "[terminating]", "hostnames=serving"},
		{"a port of an endpoint that answers by the annotation", all(unready, annotated("all")), "_grpc._tcp.web-0.web.shop", dns.TypeSRV, "[no-port]", "NO  endpoints"},
		{"fallthrough for a zone, then for all", stanza("fallthrough in-addr.arpa\nfallthrough"), "nope.shop", 0, falls, ""},
		{"fallthrough for all, then for a zone", stanza("fallthrough\nfallthrough in-addr.arpa"), "nope.shop", 0, "[no-service]", falls},
		{"fallthrough for a zone in capitals", stanza("fallthrough CLUSTER.LOCAL"), "nope.shop", 0, falls, ""},
		{"fallthrough for another zone", stanza("fallthrough example.org"), "nope.shop", 0, "[no-service]", falls},
		{"a multicluster zone in capitals and with a port", stanza("multicluster CLUSTER.local:53"), "web.shop.svc.cluster.local", 0, "ServiceImport web in Namespace shop", "selects"},
		{"a Service that only clusterIPs makes headless", func(s *set) { s.svc.Spec.ClusterIP, s.svc.Spec.ClusterIPs = "", []string{"None"}; unready(s) }, "web.shop", 0, "[publish-not-ready]", "service     ClusterIP"},
		{"a ClusterIP Service without an address", func(s *set) { s.svc.Spec.ClusterIP, s.svc.Spec.ClusterIPs = "", nil }, "web.shop", 0, "Service web in namespace shop has no ClusterIP. [no-cluster-ip]", ""},
		{"a Service whose name is no label", func(s *set) { s.svc.Name, s.es.Labels[discoveryv1.LabelServiceName] = "we_b", "we_b" }, "we_b.shop", 0, "[invalid-name]", "ok  service"},
		{"a port whose name is no label has none", func(s *set) { s.svc.Spec.Ports[0].Name, s.es.Ports[0].Name = "ht_tp", new("ht_tp") }, "_ht_tp._tcp.web.shop", dns.TypeSRV, "its ports have no names", "[unexplained]"},
		{"a port that only another endpoint has", elsewhere, "_grpc._tcp.web-0.web.shop", dns.TypeSRV, "web-0 of Service web in namespace shop has no port _grpc._tcp; it has others: _http._tcp. [slice-port]", ""},
		{"a port that slices have and the headless Service has not", func(s *set) { s.svc.Spec.Ports = nil }, "_http._tcp.web-0.web.shop", dns.TypeSRV, "resolves: 1 SRV record", "NO  service"},
		{"a pod whose hostname is no label is named after itself", all(unready, renamed("web_0"), stanza("endpoint_pod_names")), "web-0.web.shop", 0, "web-0 of Service web in namespace shop is not ready, so it has no name (option hostnames): Pod web-0", "[missing-subdomain]"},
		{"an address that is spelled otherwise", all(unready, addressed("FD00:0:0::1")), v6, dns.TypePTR, "the endpoint that has the address fd00::1 is not ready", "[no-pointer]"},
		{"a topology zone's name without zonal is that of a protocol", zoned(""), "_zone.web.shop", dns.TypeSRV, "[missing-protocol]", "[zonal-off]"},
		{"endpoints of a topology zone without zonal are seen", zoned(""), "a.pin._zone.web.shop", 0, "10.244.1.10 ready, in zone a: counts, its own name is web-0", "does not see it"},
		{"endpoints of other topology zones without zonal are seen", zoned(""), "a.pin._zone.web.shop", 0, "10.244.2.10 ready, in zone eu.b: does not count here, its own name is web-1", "does not see it"},
		{"endpoints that are hidden, of a topology zone without zonal", all(zoned("endpoints headless"), unmarked), "a.pin._zone.web.shop", 0, "10.244.1.10 ready, in zone a: would count, but the server does not see it", ": counts"},
		{"the first endpoint of an address has its own pod", all(shared, strange), "web.shop", 0, "10.244.1.10 ready: counts, its own name is xx; pod web-0", ""},
		{"the second endpoint of an address has its own pod", all(shared, strange), "web.shop", 0, "10.244.1.10 ready: counts, its own name is yy; pod web-1", ""},
		{"a pod is asked for by its name, whose endpoint is the first of an address", all(shared, strange), "web-0.web.shop", 0, "until then its name is xx.web.shop", ""},
		{"a pod is asked for by its name, whose endpoint is the second of an address", all(shared, strange), "web-1.web.shop", 0, "until then its name is yy.web.shop", ""},
		{"an endpoint that is not ready, beside one of its address that is leaving", all(shared, strange, unready, leaving(1)), "xx.web.shop", 0, "Pod web-0 is not ready", "terminating: the"},
		{"an endpoint that is leaving, beside one of its address that is not", all(shared, strange, unready, leaving(0)), "web.shop", 0, "0 ready, 1 not ready, 1 terminating", ""},
		{"a pod that gives its name is not that of a hostname at its address", all(shared, strange, func(s *set) { s.es.Endpoints[0].Hostname = nil; s.es.Endpoints[1].Hostname = new("web-0") }), "web.shop", 0, "its own name is web-0; pod web-1", ""},
		{"of endpoints of one name and address the ready one has the pod", all(shared, strange, func(s *set) { s.es.Endpoints[0].Hostname, s.es.Endpoints[0].Conditions.Ready = new("yy"), new(bool) }), "web.shop", 0, "its own name is yy; pod web-1", ""},
		{"an endpoint that is named after its pod has that pod", all(shared, unnamed(bare), unready, leaving(1), stanza("endpoint_pod_names")), "web.shop", 0, "0 ready, 1 not ready, 1 terminating", ""},
		{"an endpoint that ignore hides, with the option twice", all(unready, virtual, stanza("ignore empty_service\nignore")), "web.shop", 0, "[not-ready]", "[unexplained]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := healthySet(t)
			row.set(s)
			var types []uint16
			if row.qtype != 0 {
				types = []uint16{row.qtype}
			}
			var page strings.Builder
			if err := writePage(&page, s.explain(t, row.asked, types...)); err != nil {
				t.Fatal(err)
			}
			got := strings.Join(strings.Fields(page.String()), " ") // it is broken into lines
			if want := strings.Join(strings.Fields(row.want), " "); !strings.Contains(got, want) {
				t.Errorf("%s: got no %q in\n%s", row.asked, row.want, page.String())
			}
			if not := strings.Join(strings.Fields(row.not), " "); not != "" && strings.Contains(got, not) {
				t.Errorf("%s: got %q in\n%s", row.asked, row.not, page.String())
			}
		})
	}
}
