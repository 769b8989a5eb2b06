//go:build !kubernetes

package headless

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/etcd/msg"
	k8sexternal "github.com/coredns/coredns/plugin/k8s_external"
	"github.com/coredns/coredns/plugin/kubernetes"
	"github.com/coredns/coredns/plugin/test"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
)

var (
	_ k8sexternal.Externaler = (*Headless)(nil)
	_ k8sexternal.Externaler = (*standIn)(nil)
)

// externalCluster puts the objects of testdata/external.yaml into an API server.
func externalCluster(t *testing.T) *kubetest.Server {
	t.Helper()
	api := kubetest.NewServer(t)
	for document := range strings.SplitSeq(readDocument(t, "testdata/external.yaml"), "\n---\n") {
		obj, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(document), nil, nil)
		if err != nil {
			if strings.HasPrefix(document, "# The cluster") {
				continue
			}
			t.Fatalf("%v\n%s", err, document)
		}
		api.Put(obj)
	}
	return api
}

// externalState returns a request for question, in the zone that it is in.
func externalState(t *testing.T, question string) request.Request {
	t.Helper()
	r := dnstest.Question(question, 0)
	zone := plugin.Zones{"example.org.", "192.in-addr.arpa."}.Matches(strings.ToLower(r.Question[0].Name))
	return request.Request{W: &test.ResponseWriter{}, Req: r, Zone: zone}
}

// externalTexts writes services as their key without the zone's part, host, port, time to live and labels to strip; sorted.
func externalTexts(services []msg.Service) []string {
	var texts []string
	for _, s := range services {
		text := fmt.Sprint(strings.TrimPrefix(s.Key, "/c/org/example/"), " ", s.Host, " ", s.Port, " ", s.TTL)
		if s.TargetStrip > 0 {
			text += fmt.Sprint(" strip ", s.TargetStrip)
		}
		texts = append(texts, text)
	}
	slices.Sort(texts)
	return texts
}

// runPair returns the kubernetes plugin and ours, both fed by api and synced.
func runPair(t *testing.T, api *kubetest.Server, options string) (*kubernetes.Kubernetes, *Headless) {
	t.Helper()
	block := " cluster.local {\nendpoint " + api.URL + "\n" + options + "\n}"
	stock, err := kubernetes.ParseStanza(parsedStanza(t, "kubernetes"+block))
	fatal.If(t, err)
	start, shut, err := stock.InitKubeCache(context.Background())
	if err == nil {
		err = start()
	}
	fatal.If(t, err)
	t.Cleanup(func() {
		if err := shut(); err != nil {
			t.Error(err)
		}
	})
	h := newTestHeadlessFrom(t, "headless"+block)
	h.start()
	t.Cleanup(h.stop)
	kubetest.Eventually(t, "both plugins have listed everything", func() bool { return h.Ready() && stock.APIConn.HasSynced() })
	return stock, h
}

// parsedStanza returns a controller that stands at the directive, where ParseStanza expects it.
func parsedStanza(t *testing.T, stanza string) *caddy.Controller {
	t.Helper()
	c := caddy.NewTestController("dns", stanza)
	if !c.Next() {
		t.Fatalf("no stanza in %s", stanza)
	}
	return c
}

func TestExternalIsThatOfKubernetes(t *testing.T) {
	stock, h := runPair(t, externalCluster(t), "namespaces default kube-system")
	const noSuchName, noSuchData = "NXDOMAIN", "NOERROR"
	for _, c := range []struct {
		question string
		// What we answer where it is not what kubernetes does, without and with headless, and the rule of behaviour.md.
		differs, differsHeadless, rule string
	}{
		{question: "lb.default.example.org A", differs: "NOERROR default/lb 192.0.2.10 53 5 default/lb 192.0.2.10 80 5 default/lb 2001:db8::10 53 5 default/lb 2001:db8::10 80 5", rule: "2, SRV: one RR per distinct target and port"},
		{question: "LB.Default.example.org SRV", differs: "NOERROR default/lb 192.0.2.10 53 5 default/lb 192.0.2.10 80 5 default/lb 2001:db8::10 53 5 default/lb 2001:db8::10 80 5", rule: "2, SRV: one RR per distinct target and port"},
		{question: "lb.default.example.org PTR"},
		{question: "_http._tcp.lb.default.example.org SRV"},
		{question: "_HTTP._TCP.lb.default.example.org A"},
		{question: "_dns._udp.lb.default.example.org SRV"},
		{question: "_dns._tcp.lb.default.example.org SRV"},
		{question: "_none._tcp.lb.default.example.org SRV"},
		{question: "http.tcp.lb.default.example.org SRV", differs: noSuchName, rule: "2: underscores are part of the name"},
		{question: "_tcp.lb.default.example.org SRV", differs: noSuchData, rule: "1: an empty non-terminal"},
		{question: "_sctp.lb.default.example.org SRV", differs: noSuchName, rule: "1: no wildcards"},
		{question: "lb-0.lb.default.example.org A", differs: noSuchName, rule: "1: no wildcards"},
		{question: "nobody.lb.default.example.org A", differs: noSuchName, rule: "1: no wildcards"},
		{question: "a.b.c.lb.default.example.org A"},
		{question: "named.default.example.org A"},
		{question: "_https._tcp.named.default.example.org SRV"},
		{question: "shared.default.example.org A"},
		{question: "_._tcp.shared.default.example.org SRV", differs: noSuchName, rule: "2: an unnamed port has no name"},
		{question: "both.default.example.org A"},
		{question: "both-0.both.default.example.org A", differs: noSuchName, rule: "1: no wildcards"},
		{question: "web.default.example.org A"},
		{question: "web.default.example.org SRV"},
		{question: "_http._tcp.web.default.example.org SRV"},
		{question: "web-0.web.default.example.org AAAA"},
		{question: "10-0-0-2.web.default.example.org A"},
		{question: "web-3.web.default.example.org A"},
		{question: "_http._tcp.web-0.web.default.example.org SRV"},
		{question: "portless.default.example.org A"},
		{question: "portless-0.portless.default.example.org A"},
		{question: "starting.default.example.org A"},
		{question: "plain.default.example.org A", differsHeadless: noSuchData, rule: "1: an empty non-terminal, for plain-0 is below it"},
		{question: "plain-0.plain.default.example.org A"},
		{question: "default.example.org A"},
		{question: "kube-system.example.org SRV"},
		{question: "nobody.default.example.org A"},
		{question: "nobody.example.org A"},
		{question: "blue.example.org A"},
		{question: "hid.blue.example.org A"},
		{question: "10.2.0.192.in-addr.arpa PTR"},
		{question: "11.2.0.192.in-addr.arpa PTR"},
		{question: "12.2.0.192.in-addr.arpa PTR"},
		{question: "40.2.0.192.in-addr.arpa PTR"},
		{question: "10.2.0.192.in-addr.arpa A", differs: noSuchData, rule: "1: the type comes second"},
		{question: "2.0.192.in-addr.arpa PTR", differs: noSuchData, rule: "1: an empty non-terminal"},
		{question: "3.0.192.in-addr.arpa PTR"},
		{question: "300.2.0.192.in-addr.arpa PTR"},
	} {
		for _, endpoints := range []bool{false, true} {
			differs := c.differs
			if endpoints && c.differsHeadless != "" {
				differs = c.differsHeadless
			}
			text := func(services []msg.Service, rcode int) string {
				return strings.Join(append([]string{dns.RcodeToString[rcode]}, externalTexts(services)...), " ")
			}
			want := text(stock.External(externalState(t, c.question), endpoints))
			got := text(h.External(externalState(t, c.question), endpoints))
			if differs != "" && differs == want {
				t.Errorf("%s, headless %v: kubernetes answers %s too, rule %q is not needed", c.question, endpoints, want, c.rule)
			}
			if differs != "" {
				want = differs
			}
			if got != want {
				t.Errorf("%s, headless %v:\ngot  %s\nwant %s", c.question, endpoints, got, want)
			}
		}
	}
}

func TestExternalServicesAreThoseOfKubernetes(t *testing.T) {
	stock, h := runPair(t, externalCluster(t), "")
	for _, zone := range []string{"example.org.", "", "."} {
		for _, endpoints := range []bool{false, true} {
			services, groups := stock.ExternalServices(zone, endpoints)
			want := slices.Compact(externalTexts(services))
			want = slices.DeleteFunc(want, func(text string) bool { return strings.Contains(text, "/_ ") }) // behaviour.md, section 2: an unnamed port has no name
			services, ours := h.ExternalServices(zone, endpoints)
			if got := externalTexts(services); !slices.Equal(got, want) {
				t.Errorf("%q, headless %v:\ngot  %q\nwant %q", zone, endpoints, got, want)
			}
			if got, want := slices.Sorted(maps.Keys(ours)), slices.Sorted(maps.Keys(groups)); !slices.Equal(got, want) {
				t.Errorf("%q, headless %v: groups\ngot  %q\nwant %q", zone, endpoints, got, want)
			}
			for key := range groups {
				if got, want := externalTexts(ours[key]), externalTexts(groups[key]); !slices.Equal(got, want) {
					t.Errorf("%q, headless %v: %s\ngot  %q\nwant %q", zone, endpoints, key, got, want)
				}
			}
		}
	}
}

func TestExternalAddress(t *testing.T) {
	h := newTestHeadlessFrom(t, "headless cluster.local {\nmanifests testdata/external.yaml\n}")
	for _, c := range []struct {
		name, local, bound string
		endpoints          bool
		want               []string
	}{
		{"the external addresses of the DNS Service", "10.0.0.53", "", false, []string{"dns.kube-system.example.org. 0 IN A 192.0.2.53", "dns.kube-system.example.org. 0 IN AAAA 2001:db8::53"}},
		{"found by its ClusterIP", "10.96.0.10", "10.96.0.10", false, []string{"dns.kube-system.example.org. 0 IN A 192.0.2.53", "dns.kube-system.example.org. 0 IN AAAA 2001:db8::53"}},
		{"found by both", "10.0.0.53 10.96.0.10", "10.96.0.10", true, []string{"dns.kube-system.example.org. 0 IN A 192.0.2.53", "dns.kube-system.example.org. 0 IN AAAA 2001:db8::53"}},
		{"a headless one has none", "10.0.0.54", "", false, nil},
		{"but its endpoints", "10.0.0.54", "", true, []string{"ns-0.peers.kube-system.example.org. 0 IN A 10.0.0.54"}},
		{"no Service", "10.0.0.55 fd00::55", "", false, []string{"ns.dns.example.org. 0 IN A 10.0.0.55", "ns.dns.example.org. 0 IN AAAA fd00::55"}},
	} {
		h.local, h.bound = namedAddrs(strings.Fields(c.local)), namedAddrs(strings.Fields(c.bound))
		if got := dnstest.Lines(h.ExternalAddress(request.Request{Zone: "example.org."}, c.endpoints)); !slices.Equal(got, dnstest.Lines(dnstest.Records(t, c.want...))) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestExternalHasTheTimeToLiveOfHeadlessServices(t *testing.T) {
	h := newTestHeadlessFrom(t, "headless cluster.local {\nmanifests testdata/external.yaml\nttl 30\nheadless_ttl 3\n}")
	for question, want := range map[string]uint32{"lb.default.example.org A": 30, "both.default.example.org A": 30, "web.default.example.org A": 3} {
		services, _ := h.External(externalState(t, question), true)
		if len(services) == 0 || services[0].TTL != want {
			t.Errorf("%s: got %+v, want a time to live of %d", question, services, want)
		}
	}
}

func TestExternalNamesOfEndpointsThatAreNotReady(t *testing.T) {
	h := newTestHeadlessFrom(t, "headless cluster.local {\nmanifests testdata/external.yaml\nhostnames all\n}")
	for question, want := range map[string]string{
		"starting-0.starting.default.example.org A": "NOERROR [default/starting/starting-0 10.0.4.1 80 5]",
		"starting.default.example.org A":            "NOERROR []",
	} {
		services, rcode := h.External(externalState(t, question), true)
		if got := fmt.Sprint(dns.RcodeToString[rcode], " ", externalTexts(services)); got != want {
			t.Errorf("%s: got %s, want %s", question, got, want)
		}
	}
}

// startExternal starts a server with k8s_external for example.org and 192.in-addr.arpa, and the partners that are given.
func startExternal(t *testing.T, options, partners string) *server {
	t.Helper()
	hosts := filetest.Temp(t, "hosts", "192.0.2.80 lb.example.com\n")
	return startServer(t, "example.org:0 cluster.local:0 example.com:0 192.in-addr.arpa:0 {\n"+bound+
		"hosts "+hosts+" example.com\ntransfer example.org {\nto *\n}\nk8s_external example.org 192.in-addr.arpa {\n"+options+"\n}\n"+partners+"\n}")
}

const externalPartner = "headless cluster.local {\nmanifests testdata/external.yaml\nnamespaces default\n}"

func TestExternalNamesOverTheWire(t *testing.T) {
	plain, withHeadless := startExternal(t, "", externalPartner), startExternal(t, "headless\napex ns", externalPartner)
	for _, c := range []struct {
		question string
		server   *server
		rcode    int
		want     string // answer; then what is in additional
	}{
		{"lb.default.example.org. A", plain, noError, "lb.default.example.org. 5 IN A 192.0.2.10"},
		{"lb.default.example.org. AAAA", plain, noError, "lb.default.example.org. 5 IN AAAA 2001:db8::10"},
		{"lb.default.example.org. TXT", plain, noError, ""},
		{"_http._tcp.lb.default.example.org. SRV", plain, noError, "_http._tcp.lb.default.example.org. 5 IN SRV 0 50 80 lb.default.example.org.; lb.default.example.org. 5 IN A 192.0.2.10; lb.default.example.org. 5 IN AAAA 2001:db8::10"},
		{"_http._tcp.both.default.example.org. SRV", plain, nxName, ""},
		{"both.default.example.org. A", withHeadless, noError, "both.default.example.org. 5 IN A 192.0.2.20"},
		{"named.default.example.org. A", plain, noError, "lb.example.com. 3600 IN A 192.0.2.80; named.default.example.org. 5 IN CNAME lb.example.com."},
		{"web.default.example.org. A", plain, nxName, ""},
		{"web.default.example.org. A", withHeadless, noError, "web.default.example.org. 5 IN A 10.0.0.1; web.default.example.org. 5 IN A 10.0.0.2"},
		{"web-0.web.default.example.org. A", withHeadless, noError, "web-0.web.default.example.org. 5 IN A 10.0.0.1"},
		{"portless-0.portless.default.example.org. SRV", withHeadless, noError, ""},
		{"default.example.org. A", plain, noError, ""},
		{"nobody.default.example.org. A", plain, nxName, ""},
		{"hid.blue.example.org. A", plain, nxName, ""},
		{"blue.example.org. A", plain, nxName, ""},
		{"10.2.0.192.in-addr.arpa. PTR", plain, noError, "10.2.0.192.in-addr.arpa. 5 IN PTR lb.default.example.org.; 10.2.0.192.in-addr.arpa. 5 IN PTR shared.default.example.org."},
		{"40.2.0.192.in-addr.arpa. PTR", plain, nxName, ""},
		{"2.0.192.in-addr.arpa. PTR", plain, noError, ""},
		{"example.org. NS", plain, noError, "example.org. 5 IN NS ns1.dns.example.org.; ns1.dns.example.org. 5 IN A 127.0.0.1"},
		{"example.org. NS", withHeadless, noError, "example.org. 5 IN NS ns1.ns.example.org.; ns1.ns.example.org. 5 IN A 127.0.0.1"},
		{"ns1.dns.example.org. A", plain, noError, "ns1.dns.example.org. 5 IN A 127.0.0.1"},
		// The name of headless itself is not changed by this.
		{"lb.default.svc.cluster.local. A", plain, noError, "lb.default.svc.cluster.local. 5 IN A 10.96.0.1"},
	} {
		m := c.server.ask(t, "udp", c.question, 0)
		got := strings.Join(slices.Concat(dnstest.Lines(m.Answer), dnstest.Lines(m.Extra)), "; ")
		if m.Rcode != c.rcode || got != c.want {
			t.Errorf("%s:\ngot  %s %s\nwant %s %s", c.question, dns.RcodeToString[m.Rcode], got, dns.RcodeToString[c.rcode], c.want)
		}
	}
	if m := plain.ask(t, "udp", "example.org. SOA", 0); len(m.Answer) != 1 || m.Answer[0].(*dns.SOA).Serial < 1<<30 {
		t.Errorf("got %v, want an SOA with the time as serial", m.Answer)
	}
}

func TestExternalZoneIsTransferred(t *testing.T) {
	for options, want := range map[string][]string{
		"": {
			"both.default.example.org. 5 IN A 192.0.2.20",
			"lb.default.example.org. 5 IN A 192.0.2.10",
			"lb.default.example.org. 5 IN AAAA 2001:db8::10",
			"_http._tcp.lb.default.example.org. 5 IN SRV 0 100 80 lb.default.example.org.",
			"shared.default.example.org. 5 IN A 192.0.2.11",
			"example.org. 5 IN NS ns1.dns.example.org.",
		},
		"headless": {
			"web.default.example.org. 5 IN A 10.0.0.1",
			"web-0.web.default.example.org. 5 IN AAAA fd00::1",
			"_http._tcp.web.default.example.org. 5 IN SRV 0 33 80 web-0.web.default.example.org.",
			"portless-0.portless.default.example.org. 5 IN A 10.0.3.1",
		},
	} {
		got := dnstest.Lines(axfr(t, startExternal(t, options, externalPartner), "example.org."))
		for _, line := range dnstest.Lines(dnstest.Records(t, want...)) {
			if !slices.Contains(got, line) {
				t.Errorf("%q: no %s in\n%s", options, line, strings.Join(got, "\n"))
			}
		}
		for _, line := range got {
			if strings.Contains(line, "blue") || strings.Contains(line, "web") && options == "" {
				t.Errorf("%q: got %s", options, line)
			}
		}
	}
}

func TestExternalNamesUntilSynced(t *testing.T) {
	api := externalCluster(t)
	release := api.Hold(kube.Slices)
	defer release()
	s := startExternal(t, "fallthrough", "headless cluster.local {\nendpoint "+api.URL+"\nstartup_timeout 0s\n}")
	if m := s.ask(t, "udp", "lb.default.example.org. A", 0); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("got %s, want SERVFAIL", dns.RcodeToString[m.Rcode])
	}
	r := new(dns.Msg)
	r.SetIxfr("example.org.", 1<<30, "ns1.dns.example.org.", "hostmaster.dns.example.org.")
	if m := s.exchange(t, "tcp", r); len(m.Answer) != 1 || m.Answer[0].(*dns.SOA).Serial != 0 {
		t.Errorf("a secondary server gets %v, want an SOA with serial 0 alone", m)
	}
	release()
	kubetest.Eventually(t, "the name is answered", func() bool { return len(s.ask(t, "udp", "lb.default.example.org. A", 0).Answer) == 1 })
}

func TestExternalSerialGrows(t *testing.T) {
	api := externalCluster(t)
	s := startExternal(t, "", "headless cluster.local {\nendpoint "+api.URL+"\n}")
	serial := func() uint32 {
		soa, ok := s.ask(t, "udp", "example.org. SOA", 0).Answer[0].(*dns.SOA)
		if !ok {
			t.Fatal("no SOA")
		}
		return soa.Serial
	}
	before := serial()
	api.Put(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "new", Namespace: "default"},
		Spec:       corev1.ServiceSpec{ExternalIPs: []string{"192.0.2.90"}},
	})
	kubetest.Eventually(t, "the new name is answered", func() bool { return len(s.ask(t, "udp", "new.default.example.org. A", 0).Answer) == 1 })
	kubetest.Eventually(t, "the serial grows, a second after the last time", func() bool { return int32(serial()-before) > 0 })
}

// namedHandler is a plugin that does nothing but have a name.
type namedHandler string

func (n namedHandler) Name() string { return string(n) }

func (namedHandler) ServeDNS(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) {
	return dns.RcodeSuccess, nil
}

func TestStandInIsThereWhereItMayBeAskedFor(t *testing.T) {
	h := newTestHeadless(t, "")
	for _, c := range []struct {
		name    string
		plugins string // the plugins of a server block, in CoreDNS's order
		want    string // the type of the one that is called kubernetes
	}{
		{"k8s_external", "log k8s_external headless forward", "*headless.standIn"},
		{"k8s_external with nothing behind headless", "k8s_external headless", "*headless.standIn"},
		{"autopath", "autopath headless", "*headless.standIn"},
		{"neither", "log headless forward", "<nil>"},
		{"kubernetes behind headless", "k8s_external headless kubernetes", "headless.namedHandler"},
		{"kubernetes before headless", "k8s_external kubernetes headless", "headless.namedHandler"},
	} {
		cfg := new(dnsserver.Config)
		for name := range strings.FieldsSeq(c.plugins) {
			cfg.AddPlugin(func(plugin.Handler) plugin.Handler {
				if name == pluginName {
					return h
				}
				return namedHandler(name)
			})
			if name == pluginName {
				addStandIn(cfg, h)
			}
		}
		for range 2 { // as for two listeners
			if _, err := dnsserver.NewServer("dns://:0", []*dnsserver.Config{cfg}); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%T", cfg.Handler(standInName)); got != c.want {
				t.Errorf("%s: the handler called kubernetes is a %s, want a %s", c.name, got, c.want)
			}
		}
	}
}

// TestExternalNamesBesideKubernetes has both plugins in one server block: k8s_external answers from kubernetes, which shows the
// namespace that headless hides.
func TestExternalNamesBesideKubernetes(t *testing.T) {
	api := externalCluster(t)
	s := startExternal(t, "", externalPartner+"\nkubernetes cluster.local {\nendpoint "+api.URL+"\n}")
	if m := s.ask(t, "udp", "hid.blue.example.org. A", 0); len(m.Answer) != 1 {
		t.Errorf("got %s, want the answer of kubernetes", dns.RcodeToString[m.Rcode])
	}
}

func TestAutoPathByTheNameOfKubernetes(t *testing.T) {
	hosts := filetest.Temp(t, "hosts", "192.0.2.80 lb.example.com\n")
	pod := filetest.Temp(t, "pod.yaml", "{apiVersion: v1, kind: Pod, metadata: {name: client, namespace: default}, "+
		"status: {phase: Running, podIP: 127.0.0.1, podIPs: [{ip: 127.0.0.1}]}}\n")
	s := startServer(t, "cluster.local:0 example.com:0 {\n"+bound+"autopath @kubernetes\nhosts "+hosts+" example.com\n"+
		"headless cluster.local {\nmanifests testdata/external.yaml "+pod+"\npods verified\n}\n}")
	const searched = "lb.example.com.default.svc.cluster.local. "
	got := dnstest.Lines(s.ask(t, "udp", searched+"A", 0).Answer)
	if want := []string{"lb.example.com. 3600 IN A 192.0.2.80", searched + "3600 IN CNAME lb.example.com."}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
