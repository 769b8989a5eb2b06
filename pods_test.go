package headless

import (
	"context"
	"net"
	"slices"
	"testing"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns/coredns/plugin/metadata"
	"github.com/coredns/coredns/plugin/test"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

func TestVerifiedPods(t *testing.T) {
	h := newTestHeadless(t, "pods verified")
	h.pods.Put(modeltest.PodAt("default", "web-0", "10.0.0.1", "fd00::1"))
	h.pods.Put(modeltest.PodAt("hidden", "web-0", "10.9.0.1"))
	checkRows(t, h, []row{
		{"a Pod's address", "10-0-0-1.default.pod.cluster.local. A", noError, []string{"10-0-0-1.default.pod.cluster.local. 5 IN A 10.0.0.1"}, nil},
		{"its other one", "fd00--1.default.pod.cluster.local. AAAA", noError, []string{"fd00--1.default.pod.cluster.local. 5 IN AAAA fd00::1"}, nil},
		{"the other family", "10-0-0-1.default.pod.cluster.local. AAAA", noError, nil, nil},
		{"in another namespace", "10-0-0-1.vacant.pod.cluster.local. A", nxName, nil, nil},
		{"an address nobody has", "10-0-0-2.default.pod.cluster.local. A", nxName, nil, nil},
		{"in a namespace that does not exist", "10-9-0-1.hidden.pod.cluster.local. A", nxName, nil, nil},
		{"a namespace", "default.pod.cluster.local. A", noError, nil, nil},
	})
}

// from is a client with an address of its own.
type from struct {
	test.ResponseWriter
	addr string
}

func (f *from) RemoteAddr() net.Addr { return &net.UDPAddr{IP: net.ParseIP(f.addr), Port: 40000} }

func TestAutoPath(t *testing.T) {
	h := newTestHeadless(t, "pods verified")
	h.hostSearch = []string{"example.com."}
	h.pods.Put(modeltest.PodAt("default", "web-0", "10.0.0.1"))
	for _, c := range []struct {
		name, client, qname string
		want                []string
	}{
		{"a Pod", "10.0.0.1", "web.default.svc.cluster.local.", []string{"default.svc.cluster.local.", "svc.cluster.local.", "cluster.local.", "example.com.", ""}},
		{"in any case", "10.0.0.1", "www.Default.SVC.cluster.LOCAL.", []string{"default.svc.cluster.local.", "svc.cluster.local.", "cluster.local.", "example.com.", ""}},
		{"no Pod", "10.0.0.2", "web.default.svc.cluster.local.", nil},
		{"a name that is not ours", "10.0.0.1", "www.example.com.", nil},
	} {
		r := new(dns.Msg).SetQuestion(c.qname, dns.TypeA)
		if got := h.AutoPath(request.Request{W: &from{addr: c.client}, Req: r}); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestMetadata(t *testing.T) {
	h := newTestHeadless(t, "pods verified")
	pod := modeltest.PodAt("default", "web-0", "10.0.0.1")
	pod.Labels = map[string]string{"app": "web"}
	h.pods.Put(pod)
	for _, c := range []struct {
		name, client, qname string
		want                map[string]string // of all names but those that are ""
	}{
		{"a port of an endpoint", "10.0.0.2", "_HTTP._tcp.web-0.Web.default.svc.cluster.local.", map[string]string{"port-name": "http", "protocol": "tcp", "endpoint": "web-0", "service": "web", "namespace": "default", "kind": "svc"}},
		{"a Pod asks", "10.0.0.1", "web.default.svc.cluster.local.", map[string]string{"service": "web", "namespace": "default", "kind": "svc", "client-namespace": "default", "client-pod-name": "web-0", "client-label/app": "web"}},
		{"a Pod's name", "10.0.0.2", "1-2-3-4.default.pod.cluster.local.", map[string]string{"service": "1-2-3-4", "namespace": "default", "kind": "pod"}},
		{"a namespace", "10.0.0.2", "default.svc.cluster.local.", map[string]string{"namespace": "default", "kind": "svc"}},
		{"the apex", "10.0.0.2", "cluster.local.", map[string]string{}},
		{"a name that cannot exist", "10.0.0.2", "a.b.cluster.local.", map[string]string{"parse-error": "invalid query name"}},
		{"a name that is not ours, from a Pod", "10.0.0.1", "www.example.com.", map[string]string{"client-namespace": "default", "client-pod-name": "web-0", "client-label/app": "web"}},
	} {
		ctx := metadata.ContextWithMetadata(context.Background())
		ctx = h.Metadata(ctx, request.Request{W: &from{addr: c.client}, Req: new(dns.Msg).SetQuestion(c.qname, dns.TypeA)})
		for _, prefix := range []string{"headless/", "kubernetes/"} {
			for _, name := range []string{
				"port-name", "protocol", "endpoint", "service", "namespace", "kind", "client-namespace", "client-pod-name", "client-label/app", "parse-error",
			} {
				got := ""
				if f := metadata.ValueFunc(ctx, prefix+name); f != nil {
					got = f()
				}
				if got != c.want[name] {
					t.Errorf("%s: %s%s is %q, want %q", c.name, prefix, name, got, c.want[name])
				}
			}
		}
	}
}

// TestMetadataSaysWhy: whoever reads the reason before there is a reply, as view does, gets what log gets behind it.
func TestMetadataSaysWhy(t *testing.T) {
	h := newTestHeadless(t, "fallthrough in-addr.arpa\npods insecure")
	h.Next = refuser{}
	for _, c := range []struct{ question, before, behind string }{
		{"web-0.web.default.svc.cluster.local. A", "", ""},
		{"web-9.web.default.svc.cluster.local. A", "hostname", "hostname"},
		{"nobody.default.svc.cluster.local. SRV", "service", "service"},
		{"web.nowhere.svc.cluster.local. A", "namespace", "namespace"},
		{"web.default.svc.cluster.local. TXT", "type", "type"},
		{"svc.cluster.local. A", "empty_non_terminal", "empty_non_terminal"},
		{"nowhere.default.svc.cluster.local. A", "", "service"}, // of the target of a CNAME, which is followed for a reply only
		{"9.9.9.10.in-addr.arpa. PTR", "", ""},                  // the next plugin's
	} {
		r := dnstest.Question(c.question, 1232)
		ctx := h.Metadata(metadata.ContextWithMetadata(t.Context()), request.Request{W: &test.ResponseWriter{}, Req: r})
		reason := metadata.ValueFunc(ctx, "headless/reason")
		if got := reason(); got != c.before {
			t.Errorf("%s: before the reply the reason is %q, want %q", c.question, got, c.before)
		}
		if _, err := h.ServeDNS(ctx, &test.ResponseWriter{}, r); err != nil {
			t.Errorf("%s: %v", c.question, err)
		}
		if got := reason(); got != c.behind {
			t.Errorf("%s: behind the reply the reason is %q, want %q", c.question, got, c.behind)
		}
	}
}

func TestMetadataOfFurtherNames(t *testing.T) {
	h := newTestHeadlessFrom(t, "headless cluster.local clusterset.local {\nzonal\nmulticluster clusterset.local\nmanifests testdata/cluster.yaml testdata/imports.yaml\n}")
	for _, c := range []struct{ qname, name, want string }{
		{"Eu-1a.pin._zone.zoned.default.svc.cluster.local.", "zone", "eu-1a"},
		{"zoned.default.svc.cluster.local.", "zone", ""},
		{"db-0.east.db.default.svc.clusterset.local.", "endpoint", "db-0"},
		{"db-0.east.db.default.svc.clusterset.local.", "cluster", "east"},
		{"east.db.default.svc.clusterset.local.", "endpoint", ""},
		{"east.db.default.svc.clusterset.local.", "cluster", "east"},
		{"_sql._tcp.db.default.svc.clusterset.local.", "port-name", "sql"},
	} {
		ctx := metadata.ContextWithMetadata(context.Background())
		ctx = h.Metadata(ctx, request.Request{W: &test.ResponseWriter{}, Req: new(dns.Msg).SetQuestion(c.qname, dns.TypeA)})
		f := metadata.ValueFunc(ctx, "headless/"+c.name)
		if f == nil {
			t.Errorf("%s has no %s", c.qname, c.name)
		} else if got := f(); got != c.want {
			t.Errorf("%s: %s is %q, want %q", c.qname, c.name, got, c.want)
		}
	}
}
