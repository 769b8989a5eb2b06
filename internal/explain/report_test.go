package explain

import (
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/manifests"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FuzzExplain asks for any name. What resolves has no cause, and what does not has one, with a text and what to change.
func FuzzExplain(f *testing.F) {
	for _, word := range []string{
		"web", "web-0.web.shop", "_http._tcp.web.shop", "web.shop.svc.cluster.local.", "10.244.1.10", "fd00::1", "10-244-1-10.shop.pod", ".", "a..b", "x.pin._zone.web.shop",
		"orders.shop", "svc", "shop.svc", "in-addr.arpa", "\\.web.shop", "ns.dns.cluster.local", "dns-version",
		"web.nowhere", "_cql.cassandra.default", "_tcp.web.shop", "pin._zone.web.shop", "_zone.web.shop", "a.b.prefer._zone.web.shop", "a.near._zone.web.shop",
	} {
		f.Add(word, "shop", 5)
		f.Add(word, "shop", 1) // the name as it is comes first
	}
	objects, err := manifests.Read(filepath.Join(root, "testdata/broken"), filepath.Join(root, "examples"))
	if err != nil {
		f.Fatal(err)
	}
	c := newCluster(objects)
	stanzas, err := headless.ParseStanzas("Corefile", []byte(". {\n headless cluster.local in-addr.arpa {\n zonal\n pods verified\n }\n}"))
	if err != nil {
		f.Fatal(err)
	}
	s := newServer(stanzas[0], c, "")
	f.Fuzz(func(t *testing.T, word, from string, ndots int) {
		q := &question{from: from, ndots: ndots}
		if err := q.parse([]string{word}); err != nil {
			return // no name
		}
		r := explain(s, c, q)
		if (r.Verdict == resolves) != (len(r.Causes) == 0) {
			t.Errorf("%q %s because of %+v", word, r.Verdict, r.Causes)
		}
		for _, c := range r.Causes {
			if c.ID == "" || c.Text == "" || c.Fix == "" {
				t.Errorf("%q: got the cause %+v, want all of it", word, c)
			}
		}
		if err := writePage(io.Discard, r); err != nil {
			t.Error(err)
		}
	})
}

func TestCNAMEsAreNoAddresses(t *testing.T) {
	s := healthySet(t)
	s.svc.Spec.ClusterIP, s.svc.Spec.ClusterIPs = "10.96.0.7", []string{"10.96.0.7"}
	s.objects = append(s.objects, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "ext"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "web.shop.svc.cluster.local"},
	})
	r := s.explain(t, "ext.shop")
	if got, want := headline(r), "ext.shop.svc.cluster.local resolves: 1 A record"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestUsersOfURLsAreNotShown(t *testing.T) {
	for host, want := range map[string]string{
		"https://u:secret@10.0.0.1:6443": "https://10.0.0.1:6443",
		"https://10.0.0.1:6443":          "https://10.0.0.1:6443",
		"10.0.0.1:6443":                  "10.0.0.1:6443",
	} {
		if got := kube.WithoutUserinfo(host); got != want {
			t.Errorf("%s: got %q, want %q", host, got, want)
		}
	}
}

// TestEightExternalNamesResolve is the longest chain that a server follows.
func TestEightExternalNamesResolve(t *testing.T) {
	s := healthySet(t)
	chained(8, "")(s)
	if r := s.explain(t, "web.shop"); r.Verdict != resolves || r.Answers[0].Total != 9 {
		t.Errorf("%s: %+v, want that it resolves, by 8 CNAMEs and an address", r.Verdict, r.Answers[0])
	}
}

func TestEndpointsWithoutAddressDoNotCount(t *testing.T) {
	s := healthySet(t)
	s.es.Endpoints[1].Addresses, s.es.Endpoints[1].Hostname = []string{"fe80::1%eth0"}, nil
	chain := s.explain(t, "web.shop").Chain
	i := slices.IndexFunc(chain, func(l link) bool { return l.Step == "endpoints" })
	if got, want := chain[i].Details[1], "fe80::1%eth0  does not count, for this is no address of an endpoint"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestEndpointsWithoutAddressAreCounted holds that they are not forgotten when there are many others.
func TestEndpointsWithoutAddressAreCounted(t *testing.T) {
	s := healthySet(t)
	for _, address := range []string{"10.244.3.10", "10.244.4.10", "web.example.org", "fe80::1%eth0"} {
		s.es.Endpoints = append(s.es.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}})
	}
	var page strings.Builder
	if err := writePage(&page, s.explain(t, "web.shop")); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(page.String(), "and 2 more\n") {
		t.Errorf("got %s, want 4 endpoints and 2 more", page.String())
	}
}

func TestEndpointsOfOtherZonesDoNotCount(t *testing.T) {
	s := healthySet(t)
	zoned("zonal")(s)
	s.es.Endpoints[0].Zone = nil
	var page strings.Builder
	if err := writePage(&page, s.explain(t, "eu.b.pin._zone.web.shop")); err != nil {
		t.Fatal(err)
	}
	const want = `
                10.244.2.10 ready, in zone eu.b: counts, its own name is web-1
                10.244.1.10 ready, in no zone: does not count here, its own name is web-0
`
	if !strings.Contains(page.String(), want) {
		t.Errorf("got\n%swant%s", page.String(), want)
	}
}

func TestStepsSayWhereZonalNamesBreak(t *testing.T) {
	for _, row := range []struct {
		name string
		set  func(*set)
		step string
	}{
		{"the option is off", zoned(""), "name"},
		{"the Service is not headless", func(s *set) {
			zoned("zonal")(s)
			s.svc.Spec.ClusterIP, s.svc.Spec.ClusterIPs = "10.96.0.1", []string{"10.96.0.1"}
		}, "service"},
		{"the endpoint is not ready", func(s *set) {
			zoned("zonal")(s)
			s.es.Endpoints[0].Conditions.Ready = new(bool)
		}, "endpoints"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := healthySet(t)
			row.set(s)
			chain := s.explain(t, "a.pin._zone.web.shop").Chain
			if i := slices.IndexFunc(chain, func(l link) bool { return l.State == bad }); i < 0 || chain[i].Step != row.step {
				t.Errorf("got %+v, want that it breaks first at %s", chain, row.step)
			}
		})
	}
}

func TestZonalNamesResolve(t *testing.T) {
	for word, want := range map[string]int{"a.pin._zone.web.shop": 1, "eu.b.pin._zone.web.shop.svc.cluster.local": 1, "west.prefer._zone.web.shop": 2} {
		s := healthySet(t)
		zoned("zonal")(s)
		if r := s.explain(t, word); r.Verdict != resolves || r.Answers[0].Total != want || len(r.Causes) > 0 {
			t.Errorf("%s %s: %+v, want that it resolves to %d addresses", word, r.Verdict, r.Answers[0], want)
		}
	}
}

// TestStatusOfServersThatRun: a name that resolves does not for all if one of them differs, and nobody knows if one does not answer.
func TestStatusOfServersThatRun(t *testing.T) {
	same, silent, differs := told{}, told{Error: "timeout"}, told{Differs: []string{"A: it has none"}}
	for _, row := range []struct {
		running []told
		want    int
	}{{[]told{same, same}, statusResolves}, {[]told{same, silent}, statusUnknown}, {[]told{silent, differs}, statusDoesNot}} {
		if got := (&report{Verdict: resolves, Running: row.running}).status(); got != row.want {
			t.Errorf("%+v: got status %d, want %d", row.running, got, row.want)
		}
	}
}
