package headless

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/insight"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns/caddy"
	"github.com/miekg/dns"
)

// TestWhatIsCounted: each query counts as what it led to, a name that fails under its reason, and one that looks like
// a step of a search list as such.
func TestWhatIsCounted(t *testing.T) {
	h := newTestHeadless(t, "")
	const answered = index.NoReason
	for _, c := range []struct {
		question string
		reason   index.Reason
		isStep   bool
	}{
		{"web.default.svc.cluster.local. A", answered, false},
		{"_http._tcp.web.default.svc.cluster.local. SRV", answered, false},
		{"web-99.web.default.svc.cluster.local. A", index.ReasonHostname, false},
		{"WEB-99.web.default.svc.cluster.local. AAAA", index.ReasonHostname, false},
		{"nobody.default.svc.cluster.local. A", index.ReasonService, false},
		{"www.example.com.default.svc.cluster.local. A", index.ReasonSyntax, true},
		{"example.com.default.svc.cluster.local. A", index.ReasonService, true},
		{"example.com.default.svc.cluster.local. SRV", index.ReasonService, false},
		{"example.com.svc.cluster.local. A", index.ReasonNamespace, false}, // could be meant: a Service in another Namespace
		{"example.com.cluster.local. A", index.ReasonSyntax, true},
		{"nobody.svc.cluster.local. A", index.ReasonNamespace, true},
		{"nobody.cluster.local. A", index.ReasonSyntax, true},
		{"web.default.svc.cluster.local.default.svc.cluster.local. A", index.ReasonSyntax, true},
		{"web.default.svc.cluster.local.cluster.local. A", index.ReasonSyntax, true},
		{"x.y.z.pod.cluster.local. A", index.ReasonSyntax, false},
		{"web.default.svc.cluster.local. MX", index.ReasonType, false},
	} {
		h.counter = insight.NewCounter(time.Now())
		ask(t, h, c.question)
		h.counter.Tick(time.Now())
		all := h.counter.Counts(10)
		second := all.Seconds[len(all.Seconds)-1]
		switch {
		case c.reason == answered:
			if second.Answers != 1 || len(all.Names)+len(all.Clients)+len(all.Reasons) > 0 {
				t.Errorf("%s: got %+v, %+v, want an answer and nothing that fails", c.question, second, all.Names)
			}
		case second.Denials != 1 || len(all.Reasons) != 1 || all.Reasons[0].Reason != c.reason:
			t.Errorf("%s: got %+v and the reasons %+v, want one denial for %v", c.question, second, all.Reasons, c.reason)
		case c.reason == index.ReasonType:
			if len(all.Names) > 0 {
				t.Errorf("%s: got %+v, want no name that fails", c.question, all.Names)
			}
		case len(all.Names) != 1 || len(all.Clients) != 1:
			t.Errorf("%s: got the names %+v and the clients %+v, want one of each", c.question, all.Names, all.Clients)
		default:
			qname, qtype, _ := strings.Cut(c.question, " ")
			client := netip.MustParseAddr("10.240.0.1") // of test.ResponseWriter
			name := all.Names[0]
			if name.Name != strings.ToLower(qname) || name.Type != dns.StringToType[qtype] || name.Reason != c.reason ||
				name.IsStep != c.isStep || !slices.Equal(name.Clients, []netip.Addr{client}) {
				t.Errorf("%s: got %+v, want it to fail for %v, a step: %v, asked by %v", c.question, name, c.reason, c.isStep, client)
			}
			if got := all.Clients[0]; got.Addr != client || math.Round(got.Count) != 1 || (got.Steps > 0) != c.isStep {
				t.Errorf("%s: got %+v, want one query of %v, a step: %v", c.question, got, client, c.isStep)
			}
		}
	}
}

func TestOtherQueriesThatAreCounted(t *testing.T) {
	h := newTestHeadless(t, "fallthrough in-addr.arpa")
	asked := false
	h.Next = behind(noError, &asked)
	h.counter = insight.NewCounter(time.Now())
	ask(t, h, "9.9.9.10.in-addr.arpa. PTR")
	h.counter.Tick(time.Now())
	all := h.counter.Counts(10)
	if got := all.Seconds[len(all.Seconds)-1]; !asked || got != (insight.Second{Passed: 1}) {
		t.Errorf("got %+v, want one query that the next plugin answers", got)
	}
	unsynced := watcher(t, "endpoint http://127.0.0.1:1")
	unsynced.counter = insight.NewCounter(time.Now())
	ask(t, unsynced, "web.ns.svc.cluster.local. A")
	unsynced.counter.Tick(time.Now())
	all = unsynced.counter.Counts(10)
	if got := all.Seconds[len(all.Seconds)-1]; got != (insight.Second{Failures: 1}) || len(all.Names) > 0 {
		t.Errorf("got %+v, want one failure", got)
	}
}

// TestInsightAllocatesNothing for a query.
func TestInsightAllocatesNothing(t *testing.T) {
	if bubble.Race {
		t.Skip("the race detector changes the figures")
	}
	off, on := newTestHeadless(t, ""), newTestHeadless(t, "")
	off.index, on.index = sizedIndex(3), sizedIndex(3)
	on.counter = insight.NewCounter(time.Now())
	for _, question := range []string{
		"web-0001.web.n.svc.cluster.local. A", "nobody.n.svc.cluster.local. A", "www.example.com.n.svc.cluster.local. A", "web.n.svc.cluster.local. AAAA",
	} {
		qname, qtype, _ := strings.Cut(question, " ")
		allocs, octets := work(t, on, "udp", qname, dns.StringToType[qtype])
		if wantAllocs, wantOctets := work(t, off, "udp", qname, dns.StringToType[qtype]); allocs != wantAllocs || octets != wantOctets {
			t.Errorf("%s: %v allocations of %v octets, and %v of %v without insight", question, allocs, octets, wantAllocs, wantOctets)
		}
	}
}

// BenchmarkInsight measures queries with the option insight and without.
func BenchmarkInsight(b *testing.B) {
	for _, q := range []struct{ name, qname string }{
		{"answer", "web-0001.web.n.svc.cluster.local."},
		{"nxdomain", "nobody.n.svc.cluster.local."},
		{"search", "www.example.com.n.svc.cluster.local."},
	} {
		for _, on := range []bool{false, true} {
			b.Run(q.name+map[bool]string{false: "/off", true: "/on"}[on], func(b *testing.B) {
				h := newTestHeadless(b, "")
				h.index = sizedIndex(3)
				if on {
					h.counter = insight.NewCounter(time.Now())
				}
				w, r := newDiscard("udp"), (&benchQuery{qname: q.qname, qtype: dns.TypeA}).msg()
				b.ReportAllocs()
				for b.Loop() {
					if _, err := h.ServeDNS(b.Context(), w, r); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// insightOf returns the address where the only plugin that runs shows itself.
func insightOf(t *testing.T) string {
	t.Helper()
	all := running.all()
	if len(all) != 1 || all[0].page == nil {
		t.Fatalf("%d plugins run, want one that shows itself", len(all))
	}
	return "http://" + all[0].page.Addr()
}

// fetch reads what a server shows at a URL into a value.
func fetch(t *testing.T, url string, into any) {
	t.Helper()
	reply, err := http.Get(url)
	fatal.If(t, err)
	defer func() { fatal.If(t, reply.Body.Close()) }()
	if reply.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(reply.Body)
		t.Fatalf("%s: %s %s", url, reply.Status, body)
	}
	fatal.If(t, json.NewDecoder(reply.Body).Decode(into))
}

// TestInsightSeesBothWaysOfReplies: what is written as octets and what is made of records.
func TestInsightSeesBothWaysOfReplies(t *testing.T) {
	for _, front := range []string{"", "loadbalance\n"} { // which wants to see records
		s := startServer(t, "cluster.local:0 {\n"+bound+front+"headless {\nmanifests testdata/cluster.yaml\ninsight 127.0.0.1:0\n}\n}")
		for _, network := range []string{"udp", "tcp"} {
			s.ask(t, network, "web.default.svc.cluster.local. A", 1232)
			s.ask(t, network, "web-99.web.default.svc.cluster.local. A", 1232)
		}
		at := insightOf(t)
		top := new(insight.Top)
		kubetest.Eventually(t, "four queries are counted", func() bool {
			fetch(t, at+"/v1/top", top)
			n := insight.Second{}
			for _, second := range top.Seconds {
				n.Answers += second.Answers
				n.Denials += second.Denials
			}
			return n == insight.Second{Answers: 2, Denials: 2}
		})
		if len(top.Names) != 1 || top.Names[0].Name != "web-99.web.default.svc.cluster.local." || math.Round(top.Names[0].Count) != 2 ||
			top.Names[0].Clients[0].Address != "127.0.0.1" || len(top.Clients) != 1 {
			t.Errorf("with %q: got the names %+v and the clients %+v, want one of each", front, top.Names, top.Clients)
		}
		s.stop()
	}
}

// TestInsightOverReloads: the new plugin takes the address over, one that does not start leaves it to the old one, and at
// the end it is free.
func TestInsightOverReloads(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	fatal.If(t, err)
	at := free.Addr().String()
	fatal.If(t, free.Close())
	c := corefile("cluster.local:0 {\n" + bound + "headless {\nmanifests testdata/cluster.yaml\ninsight " + at + "\n}\n}")
	before := unparked()
	s := startServer(t, string(c))
	status := new(insight.Status)
	fetch(t, "http://"+at+"/v1/status", status)
	began := status.Started
	stream, err := http.Get("http://" + at + "/v1/changes")
	fatal.If(t, err)
	defer func() { fatal.If(t, stream.Body.Close()) }()

	if _, err := s.instance.Restart(c + "\nbroken:0 {\nbind 192.0.2.1\nheadless {\nmanifests testdata/cluster.yaml\n}\n}"); err == nil {
		t.Fatal("a reload to an address that is not ours succeeds")
	}
	for range 10 { // those of two servers would be met in turns
		if fetch(t, "http://"+at+"/v1/status", status); !status.Started.Equal(began) {
			t.Fatalf("after a reload that failed a server of %v answers, want that of %v", status.Started, began)
		}
	}
	s.instance, err = s.instance.Restart(c)
	fatal.If(t, err)
	s.findPorts()
	for range 10 {
		if fetch(t, "http://"+at+"/v1/status", status); !status.Started.After(began) {
			t.Fatalf("after a reload a server of %v answers, want a later one", status.Started)
		}
	}
	_, err = io.Copy(io.Discard, stream.Body) // it ends with the old server
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream of the old server ends with %v", err)
	}
	s.stop()
	http.DefaultClient.CloseIdleConnections()
	again, err := net.Listen("tcp", at) // without SO_REUSEPORT
	if err != nil {
		t.Errorf("the address is not free after the end: %v", err)
	} else {
		fatal.If(t, again.Close())
	}
	kubetest.Eventually(t, "all goroutines end", func() bool { return unparked() <= before+2 })
}

func TestInsightAtAnAddressThatIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0") // without SO_REUSEPORT
	fatal.If(t, err)
	defer func() { fatal.If(t, taken.Close()) }()
	registerDirective()
	block := func(zone string) string {
		return zone + ":0 {\n" + bound + "headless {\nmanifests testdata/cluster.yaml\ninsight " + taken.Addr().String() + "\n}\n}\n"
	}
	for c, want := range map[string]string{
		block("a.local"):                    "Corefile:5 - insight: listen tcp " + taken.Addr().String() + ": bind: address already in use",
		block("a.local") + block("b.local"): "expected an address of its own for each server block, got " + taken.Addr().String() + " twice",
	} {
		instance, err := caddy.Start(corefile(c))
		if err == nil {
			_ = instance.Stop()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if n := len(running.all()); n > 0 {
		t.Errorf("%d plugins run", n)
	}
}

// TestInsightHidesNamespaces that the stanza hides: their Services, endpoints and Pods.
func TestInsightHidesNamespaces(t *testing.T) {
	h := newTestHeadless(t, "pods verified\nnamespaces default")
	h.pods.Put(modeltest.PodAt("default", "web-0", "10.0.0.1"))
	h.pods.Put(modeltest.PodAt("blue", "web-0", "10.1.0.1"))
	if who := h.who(netip.MustParseAddr("10.0.0.1")); who.Namespace != "default" || who.Pod != "web-0" {
		t.Errorf("got %+v, want the Pod", who)
	}
	if who := h.who(netip.MustParseAddr("10.1.0.1")); who != (insight.Who{Address: "10.1.0.1"}) {
		t.Errorf("got %+v of a Pod in a hidden Namespace, want its address alone", who)
	}
	if who := h.who(netip.MustParseAddr("10.0.0.2")); who.Namespace != "default" || who.Pod != "" {
		t.Errorf("got %+v, want the Namespace of the endpoint with the address", who)
	}
	h.pods.Put(&model.Pod{Key: model.Key{Namespace: "blue", Name: "agent"}, Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.2")}, Host: true, Node: "k"})
	if who := h.who(netip.MustParseAddr("10.0.0.2")); who != (insight.Who{Address: "10.0.0.2", Node: "k"}) {
		t.Errorf("got %+v of a node's address, want that alone", who)
	}
	if who := h.who(netip.Addr{}); who != (insight.Who{}) {
		t.Errorf("got %+v of nobody", who)
	}
	for _, key := range h.index.Headless() {
		if key.Namespace != "default" {
			t.Errorf("there is %v, of a hidden Namespace", key)
		}
	}
	if s := insight.ServiceOf(h.index, model.Key{Namespace: "blue", Name: "web"}); s != nil {
		t.Errorf("there is %+v, of a hidden Namespace", s)
	}
	hidden, err := h.account("web.blue.svc.cluster.local.", "A")
	fatal.If(t, err)
	absent, err := h.account("web.nowhere.svc.cluster.local.", "A")
	fatal.If(t, err)
	said := func(e *insight.Explanation) string {
		text, err := json.Marshal(e)
		fatal.If(t, err)
		return strings.NewReplacer("blue", "X", "nowhere", "X").Replace(string(text))
	}
	if said(hidden) != said(absent) {
		t.Errorf("a hidden Namespace is told from one that does not exist:\n%s\n%s", said(hidden), said(absent))
	}
}

func TestAccounts(t *testing.T) {
	h := newTestHeadless(t, "")
	for _, c := range []struct{ name, qtype, means, outcome, ends, fix string }{
		{"web.default.svc.cluster.local.", "", "web.default.svc.cluster.local.", "records", "records: the name has 2 records of type A", ""},
		{"web.default", "srv", "web.default.svc.cluster.local.", "records", "records: the name has 4 records of type SRV", ""},
		{"web", "A", "web.default.svc.cluster.local.", "records", "records: the name has 2 records of type A", ""},
		{"web-0.web", "TYPE1", "web-0.web.default.svc.cluster.local.", "records", "records: the name has 1 records of type A", ""},
		{"web.default.svc", "A", "web.default.svc.cluster.local.", "records", "records: the name has 2 records of type A", ""},
		{"web-99.web", "A", "web-99.web.default.svc.cluster.local.", "denied", "endpoint: Service web in namespace default has no endpoint web-99; it has 5 endpoints, 2 of them ready", "kubectl -n default get pods"},
		{"web-2.web", "A", "web-2.web.default.svc.cluster.local.", "denied", "endpoint: endpoint web-2 of Service web in namespace default is not ready", "kubectl -n default describe pod"},
		{"nobody.default", "A", "nobody.default.svc.cluster.local.", "denied", "service: there is no Service nobody in namespace default", "kubectl -n default get service nobody."},
		{"$(reboot).default", "A", "$(reboot).default.svc.cluster.local.", "denied", "service: there is no Service $(reboot) in namespace default", "kubectl -n default get service SERVICE."},
		{"web.nowhere.svc.cluster.local", "A", "web.nowhere.svc.cluster.local.", "denied", "namespace: there is no namespace nowhere", "kubectl get namespace nowhere."},
		{"_x._tcp.web.default", "SRV", "_x._tcp.web.default.svc.cluster.local.", "denied", "port: Service web in namespace default has no port _x._tcp", "kubectl -n default get service web -o yaml"},
		{"web.default", "MX", "web.default.svc.cluster.local.", "denied", "records: Service web in namespace default has no MX records", "Nothing"},
		{"a.b.c.default.svc.cluster.local.", "A", "a.b.c.default.svc.cluster.local.", "denied", "form: no name has this form", "smaller ndots"},
		{"ext.default", "A", "ext.default.svc.cluster.local.", "cname", "records: the name leads to ", ""},
		{"www.example.com", "A", "www.example.com.", "elsewhere", "zone: the name is in none of the zones that are served here: cluster.local. in-addr.arpa. ip6.arpa.", "Other plugins"},
		{"web\x00\xff <b>.default", "A", `web\000\255\032<b>.default.svc.cluster.local.`, "denied", `service: there is no Service web\000\255\032<b> in namespace default`, ""},
		{"1.0.0.10.in-addr.arpa", "PTR", "1.0.0.10.in-addr.arpa.", "records", "records: the name has ", ""},
		{"9.9.9.9.in-addr.arpa", "PTR", "9.9.9.9.in-addr.arpa.", "denied", "address: no Service and no ready endpoint that is served here has the address 9.9.9.9", "whose address"},
	} {
		e, err := h.account(c.name, c.qtype)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		last := e.Chain[len(e.Chain)-1]
		if e.Name != c.means || e.Outcome != c.outcome || !strings.HasPrefix(last.What+": "+last.Text, c.ends) || !strings.Contains(e.Fix, c.fix) {
			t.Errorf("%s %s: got %s, %s, %+v, %q, want %s, %s, %s, ... %s ...", c.name, c.qtype, e.Name, e.Outcome, last, e.Fix, c.means, c.outcome, c.ends, c.fix)
		}
		if ok := c.outcome == "records" || c.outcome == "cname"; last.OK != ok || ok != (e.Total > 0) || ok != (e.Cause == "") {
			t.Errorf("%s: got %+v, which does not agree with itself", c.name, e)
		}
		for _, step := range e.Chain[:len(e.Chain)-1] {
			if !step.OK {
				t.Errorf("%s: %+v ends the chain, and is not its end", c.name, step)
			}
		}
	}
	for _, c := range []struct{ name, qtype, want string }{
		{"", "A", "name: expected a name, got none"},
		{"a..b", "A", `name: expected labels of 1 to 63 octets`},
		{strings.Repeat("a", 64), "A", `name: expected labels of 1 to 63 octets`},
		{strings.Repeat("a.", 128), "A", `255 octets in all, got "a.a.a.`},
		{"web", "<b>", `type: expected a type of records such as A, AAAA or SRV, got "<b>"`},
		{"web", "TYPE65536", `type: expected a type`},
	} {
		if _, err := h.account(c.name, c.qtype); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.20s %s: got the error %v, want %s", c.name, c.qtype, err, c.want)
		}
	}
	waiting, err := watcher(t, "endpoint http://127.0.0.1:1").account("web.default.svc.cluster.local.", "A")
	fatal.If(t, err)
	if waiting.Outcome != "waiting" || !strings.Contains(waiting.Cause, "SERVFAIL") {
		t.Errorf("before the cluster is known: got %+v", waiting)
	}
	for r, said := range remedies {
		if r := index.Reason(r); r != index.NoReason && (said.meaning == "" || said.fix == "" || stepOf[r] == "") {
			t.Errorf("%v: there is no text", r)
		}
	}
}

// TestStatusSaysSinceWhenTheAPIServerFails, and that it does not any more.
func TestStatusSaysSinceWhenTheAPIServerFails(t *testing.T) {
	api := kubetest.NewWebServer(t)
	h := watching(t, api)
	if s := h.status(); s.Failing != nil {
		t.Errorf("got %v s, want nothing to fail", *s.Failing)
	}
	api.Refuse(http.StatusServiceUnavailable)
	api.End()
	kubetest.Eventually(t, "it says that the API server fails", func() bool { return h.status().Failing != nil })
	s, want := h.status(), "in sync, but not all of the cluster could be watched for "
	if s.State != "synced" || *s.Failing < 0 || *s.Failing > 600 || !strings.HasPrefix(s.Summary(), want) {
		t.Errorf("got %+v, %q, want it synced, and failing for some seconds", s, s.Summary())
	}
	api.Refuse(0)
	kubetest.Eventually(t, "it does not fail any more", func() bool { return h.status().Failing == nil })
}

// TestStatusOfAServer with an API server, and with a snapshot.
func TestStatusOfAServer(t *testing.T) {
	api := snapshotAPI(t, "uid")
	h := watching(t, api, "snapshot "+filepath.Join(t.TempDir(), "snapshot"))
	s := h.status()
	if s.State != "synced" || s.Staleness == nil || *s.Staleness < 0 || *s.Staleness > 600 || len(s.Resources) != len(everyResource) || s.Snapshot == nil {
		t.Errorf("got %+v, want it synced and fresh", s)
	}
	for _, r := range s.Resources {
		if !r.Synced || r.Heard == nil || r.Listed == nil || r.Objects == 0 {
			t.Errorf("got %+v, want it synced and heard of", r)
		}
	}
	answersFromItsSnapshot(t, h)
	if s := h.status(); s.State != "snapshot" || !s.Snapshot.Served || s.Snapshot.Confirmed == nil {
		t.Errorf("got %+v with %+v, want the snapshot to stand in", s, s.Snapshot)
	}
	if s := watcher(t, "endpoint http://127.0.0.1:1").status(); s.State != "waiting" || s.Staleness != nil {
		t.Errorf("got %+v, want it to wait", s)
	}
}
