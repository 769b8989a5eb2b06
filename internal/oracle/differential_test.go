//go:build !kubernetes

package oracle

import (
	"context"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/coredns-headless/headless"
	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	_ "github.com/coredns/coredns/plugin/bind"
	"github.com/coredns/coredns/plugin/kubernetes"
	recorder "github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/pkg/upstream"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

var (
	differentialClusters = flag.Int("differential.clusters", 2, "clusters for each stanza of TestDifferential")
	differentialSeed     = flag.Uint64("differential.seed", 1, "the seed of the clusters of TestDifferential")
)

const (
	// mutations is how often each cluster changes.
	mutations = 3
	// leastComparisons is how many comparisons a run makes at least.
	leastComparisons = 10000
)

// stanzas are the blocks of the Corefile under which both plugins run.
var stanzas = []struct{ name, zones, block string }{
	{"default", "cluster.local in-addr.arpa ip6.arpa", ""},
	{"ttl", "cluster.local in-addr.arpa ip6.arpa", "ttl 30"},
	{"long ttl", "cluster.local in-addr.arpa ip6.arpa", "ttl 3600\nendpoint_pod_names"},
	{"pod names", "cluster.local in-addr.arpa ip6.arpa", "endpoint_pod_names"},
	{"pods insecure", "cluster.local in-addr.arpa ip6.arpa", "pods insecure"},
	{"pods verified", "cluster.local in-addr.arpa ip6.arpa", "pods verified"},
	{"noendpoints", "cluster.local in-addr.arpa ip6.arpa", "noendpoints"},
	{"ignore empty_service", "cluster.local in-addr.arpa ip6.arpa", "ignore empty_service"},
	{"namespaces", "cluster.local in-addr.arpa ip6.arpa", "namespaces a web zz-marker"},
	{"namespace_labels", "cluster.local in-addr.arpa ip6.arpa", "namespace_labels dns=yes"},
	{"labels", "cluster.local in-addr.arpa ip6.arpa", "labels dns in (yes)"},
	{"fallthrough", "cluster.local in-addr.arpa ip6.arpa", "fallthrough\npods insecure"},
	{"fallthrough in reverse", "cluster.local in-addr.arpa ip6.arpa", "fallthrough in-addr.arpa ip6.arpa"},
	{"fallthrough forward", "cluster.local in-addr.arpa ip6.arpa", "endpoint_pod_names\nignore empty_service\npods verified\nttl 0\nfallthrough cluster.local"},
	{"several zones", "cluster.local other.test 10.in-addr.arpa in.cluster.local", "pods insecure"},
}

// configOf returns what a stanza says.
func configOf(t testing.TB, zones, block string) Config {
	t.Helper()
	cfg := Default()
	for zone := range strings.FieldsSeq(zones) {
		cfg.Zones = append(cfg.Zones, zone+".")
	}
	cfg.Local, cfg.Outside, cfg.Next = localAddrs, lookupOutside, nextReply
	for line := range strings.Lines(block) {
		option, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		selector := func() labels.Selector {
			s, err := labels.Parse(rest)
			fatal.If(t, err)
			return s
		}
		switch option {
		case "ttl":
			ttl, err := strconv.ParseUint(rest, 10, 32)
			fatal.If(t, err)
			cfg.TTL, cfg.HeadlessTTL, cfg.NegativeTTL = uint32(ttl), uint32(ttl), min(uint32(ttl), cfg.NegativeTTL)
		case "endpoint_pod_names":
			cfg.PodNames = true
		case "pods":
			cfg.Pods = map[string]PodMode{"insecure": PodsInsecure, "verified": PodsVerified}[rest]
		case "noendpoints":
			cfg.NoEndpoints = true
		case "ignore":
			cfg.IgnoreEmpty = true
		case "namespaces":
			cfg.Namespaces = strings.Fields(rest)
		case "namespace_labels":
			cfg.NamespaceLabels = selector()
		case "labels":
			cfg.Labels = selector()
		case "fallthrough":
			for zone := range strings.FieldsSeq(rest) {
				cfg.Fallthrough = append(cfg.Fallthrough, zone+".")
			}
			if rest == "" {
				cfg.Fallthrough = []string{"."}
			}
		default:
			t.Fatalf("option %q", option)
		}
	}
	return cfg
}

// pair is both plugins on one API server.
type pair struct {
	t           testing.TB
	stanza      string
	api         *kubetest.Server
	cfg         Config
	ours, stock *asked
	watching    []*asked // the API server: these two, and more
	random      *rand.Rand
	now         *cluster
	marks       int
}

var localAddrs = []netip.Addr{netip.MustParseAddr("10.0.0.53"), netip.MustParseAddr("fd00::53")}

// newPair starts both plugins with the same stanza on a server that has the objects of c. They stop with the test.
func newPair(t testing.TB, cfg Config, zones, block string, c *cluster) *pair {
	t.Helper()
	p := &pair{t: t, cfg: cfg, api: kubetest.NewServer(t), random: rand.New(rand.NewPCG(*differentialSeed, 0)), now: &cluster{make(map[clusterKey]kubetest.Object)}}
	p.stanza = fmt.Sprintf("%s {\n%s\n}", zones, block)
	changed, _ := c.difference(p.now)
	p.api.Put(changed...)
	p.now = c
	p.ours = p.watcher("hold 0s") // stock has none; what hold does has tests of its own
	p.stock = p.startStock()
	p.watching = append(p.watching, p.stock)
	return p
}

// startStock starts the kubernetes plugin on p's API server with p's stanza. Its own setup changes the logger of client-go, which those
// that run already use.
func (p *pair) startStock() *asked {
	p.t.Helper()
	controller := caddy.NewTestController("dns", "kubernetes "+p.with("endpoint "+p.api.URL))
	controller.Next()
	k, err := kubernetes.ParseStanza(controller)
	fatal.If(p.t, err)
	setLocalIPs(k, localAddrs)
	k.Next, k.Upstream = next, upstream.New()
	onStart, onShut, err := k.InitKubeCache(p.t.Context())
	fatal.If(p.t, err)
	fatal.If(p.t, onStart())
	p.t.Cleanup(func() {
		if err := onShut(); err != nil {
			p.t.Error(err)
		}
	})
	return newAsked(p.t, p.cfg, k)
}

// setLocalIPs tells k which addresses the server listens on. Its own way to learn them is in its setup.
func setLocalIPs(k *kubernetes.Kubernetes, addrs []netip.Addr) {
	field := reflect.ValueOf(k).Elem().FieldByName("localIPs")
	local := (*[]net.IP)(unsafe.Pointer(field.UnsafeAddr()))
	for _, addr := range addrs {
		*local = append(*local, addr.AsSlice())
	}
}

// with returns p's stanza with more lines.
func (p *pair) with(lines string) string { return strings.Replace(p.stanza, "{", "{\n"+lines, 1) }

// watcher starts our plugin on p's API server with p's stanza and one more line.
func (p *pair) watcher(line string) *asked {
	p.t.Helper()
	a := p.start("endpoint " + p.api.URL + "\n" + line)
	p.watching = append(p.watching, a)
	return a
}

// hosting is a directive that has the plugins behind it believe that the server listens on localAddrs, and look up targets of CNAMEs
// with another one.
const hosting = "hosting"

// host is the plugin of that directive.
type host struct {
	plugin.Handler                   // the next one
	server         *dnsserver.Server // looks up targets
}

func (h *host) Name() string { return hosting }

func (h *host) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	return plugin.NextOrFailure(hosting, h.Handler, context.WithValue(ctx, dnsserver.Key{}, h.server), w, r)
}

func init() {
	caddy.Quiet, dnsserver.Quiet = true, true
	dnsserver.Directives = append([]string{hosting, "headless"}, dnsserver.Directives...)
	plugin.Register(hosting, func(c *caddy.Controller) error {
		cfg := dnsserver.GetConfig(c)
		started = cfg
		cfg.AddPlugin(func(next plugin.Handler) plugin.Handler { return &host{Handler: next} })
		c.OnStartup(func() error {
			cfg.ListenHosts = nil
			for _, addr := range localAddrs {
				cfg.ListenHosts = append(cfg.ListenHosts, addr.String())
			}
			return nil
		})
		return nil
	})
}

var (
	starting sync.Mutex        // is held while a server starts
	started  *dnsserver.Config // of the last one; guarded by starting
)

// start starts a CoreDNS with our plugin, which has p's stanza and more lines, and returns the plugin. next is behind it.
func (p *pair) start(lines string) *asked {
	p.t.Helper()
	starting.Lock()
	defer starting.Unlock()
	corefile := fmt.Appendf(nil, ".:0 {\nbind 127.0.0.1\n%s\nheadless %s\n}\n", hosting, p.with(lines))
	instance, err := caddy.Start(caddy.CaddyfileInput{ServerTypeName: "dns", Contents: corefile})
	fatal.If(p.t, err)
	p.t.Cleanup(func() {
		if err := instance.Stop(); err != nil {
			p.t.Error(err)
		}
		for _, err := range instance.ShutdownCallbacks() {
			p.t.Error(err)
		}
	})
	h := started.Handler("headless").(*headless.Headless)
	h.Next = next
	a := newAsked(p.t, p.cfg, h)
	started.Handler(hosting).(*host).server = a.server
	conn, err := net.Dial("tcp", instance.Servers()[0].Addr().String())
	fatal.If(p.t, err)
	p.t.Cleanup(func() { _ = conn.Close() }) // the server may have closed it
	a.wire = dnstest.NewConn(conn, "tcp")
	return a
}

var next = plugin.HandlerFunc(func(_ context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	return dns.RcodeSuccess, w.WriteMsg(nextReply(r))
})

// asked is a plugin that is asked questions.
type asked struct {
	plugin.Handler
	// server is what it looks up targets of CNAMEs with: those in its zones come back to it, others go outside.
	server *dnsserver.Server
	wire   *dnstest.Conn // to a CoreDNS in which nothing keeps our plugin from writing octets
}

type depthKey struct{}

func newAsked(t testing.TB, cfg Config, h plugin.Handler) *asked {
	t.Helper()
	a := &asked{Handler: h}
	lookup := plugin.HandlerFunc(func(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		const most = 8
		name, qtype := r.Question[0].Name, r.Question[0].Qtype
		depth, _ := ctx.Value(depthKey{}).(int)
		var m *dns.Msg // nil: no reply, it is lost
		switch {
		case cfg.zoneOf(strings.ToLower(name)) == "":
			m = lookupOutside(name, qtype)
		case depth <= most:
			m = a.askFrom(context.WithValue(ctx, depthKey{}, depth+1), name, qtype)
		}
		if m == nil {
			return dns.RcodeSuccess, nil
		}
		return m.Rcode, w.WriteMsg(m)
	})
	var err error
	a.server, err = dnsserver.NewServer("", []*dnsserver.Config{
		{Zone: ".", Plugin: []plugin.Plugin{func(plugin.Handler) plugin.Handler { return lookup }}},
	})
	fatal.If(t, err)
	return a
}

// ask asks a question over TCP.
func (a *asked) ask(name string, qtype uint16) *dns.Msg {
	return a.askFrom(context.WithValue(context.Background(), dnsserver.Key{}, a.server), name, qtype)
}

func (a *asked) askFrom(ctx context.Context, name string, qtype uint16) *dns.Msg {
	r := dnstest.Query(name, qtype, 0)
	w := recorder.NewRecorder(&test.ResponseWriter{TCP: true})
	rcode, err := a.ServeDNS(ctx, w, r)
	if w.Msg == nil || err != nil {
		m := new(dns.Msg)
		m.SetRcode(r, rcode)
		return m
	}
	return w.Msg
}

// become changes the objects on the server to those of c and waits until all plugins have seen it.
func (p *pair) become(c *cluster) {
	p.t.Helper()
	changed, gone := c.difference(p.now)
	p.random.Shuffle(len(changed), func(i, j int) { changed[i], changed[j] = changed[j], changed[i] })
	p.api.Put(changed...)
	p.api.Delete(gone...)
	p.now = c
	p.settle()
}

// marker is the name of the objects that tell when all changes have been seen, and of their namespace.
const marker = "zz-marker"

// settle puts a marker of each resource, with addresses that nobody has had, waits until all plugins show them, and takes the namespace
// away again: events of a resource come in order.
func (p *pair) settle() {
	p.t.Helper()
	p.marks++
	addr := func(net byte) string {
		return netip.AddrFrom4([4]byte{203, net, byte(p.marks >> 8), byte(p.marks)}).String()
	}
	meta := metav1.ObjectMeta{Namespace: marker, Name: marker, Labels: map[string]string{"dns": "yes", discoveryv1.LabelServiceName: marker}}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: marker, Labels: meta.Labels}}
	svc := &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{ClusterIP: addr(1), ClusterIPs: []string{addr(1)}}}
	es := &discoveryv1.EndpointSlice{ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4}
	es.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{addr(2)}, Hostname: new("x")}}
	pod := &corev1.Pod{ObjectMeta: meta}
	pod.Status.PodIPs = []corev1.PodIP{{IP: addr(3)}}
	shown := map[string]string{marker + "." + marker + ".svc.cluster.local.": addr(1)}
	if !p.cfg.NoEndpoints {
		shown["x."+marker+"."+marker+".svc.cluster.local."] = addr(2)
	}
	if p.cfg.Pods == PodsVerified {
		shown[strings.ReplaceAll(addr(3), ".", "-")+"."+marker+".pod.cluster.local."] = addr(3)
	}
	eventually := func(what string, want bool) {
		p.t.Helper()
		const patience = time.Minute
		for began := time.Now(); ; time.Sleep(time.Millisecond) {
			missing := ""
			for _, h := range p.watching {
				for name, addr := range shown {
					m := h.ask(name, dns.TypeA)
					has := slices.ContainsFunc(m.Answer, func(rr dns.RR) bool { a, ok := rr.(*dns.A); return ok && a.A.String() == addr })
					if has != want {
						missing = fmt.Sprintf("%s: %s", h.Name(), text(m))
					}
				}
			}
			if missing == "" {
				return
			}
			if time.Since(began) > patience {
				p.t.Fatalf("not within %v: %s\n%s", patience, what, missing)
			}
		}
	}
	p.api.Put(ns, svc, es, pod)
	eventually("the plugins show the markers", true)
	p.api.Delete(ns, svc, es, pod)
	eventually("the markers are gone", false)
}

// comparison is the same question to both plugins.
type comparison struct {
	question    dns.Question
	name        string // of the question, in lower case
	twin        *Model
	stock, ours *dns.Msg
	askStock    func(name string, qtype uint16) *dns.Msg
}

// compare asks both plugins, and ours also over the wire. It returns the rules that account for the differences, or what is wrong.
func (p *pair) compare(tw *Model, q dns.Question) (used []*rule, wrong string) {
	c := &comparison{
		question: q, name: strings.ToLower(q.Name), twin: tw, askStock: p.stock.ask,
		stock: p.stock.ask(q.Name, q.Qtype), ours: p.ours.ask(q.Name, q.Qtype),
	}
	if tw.zoneOf(c.name) == "" {
		if text(c.stock) != text(c.ours) {
			return nil, fmt.Sprintf("a name in no zone of ours\n\nstock: %s\n\nours: %s", text(c.stock), text(c.ours))
		}
		return nil, ""
	}
	ours, want := text(c.ours), text(tw.reply(q.Name, q.Qtype))
	wire, err := p.ours.wire.Ask(dnstest.Query(q.Name, q.Qtype, 0))
	if octets := text(wire); err != nil || octets != ours {
		return nil, fmt.Sprintf("the reply in octets is another than in records: %v\n\nrecords: %s\n\noctets: %s", err, ours, octets)
	}
	if ours != want {
		return nil, fmt.Sprintf("the reply is not what behaviour.md says\n\nstock: %s\n\nours: %s\n\nwant: %s", text(c.stock), ours, want)
	}
	stock := text(c.stock)
	given, got := stock, stock
	for i := range rules {
		if got == ours {
			return used, ""
		}
		before := c.stock
		rules[i].apply(c)
		if c.stock == before {
			continue // texts take time
		}
		if now := text(c.stock); now != got {
			got = now
			used = append(used, &rules[i])
		}
	}
	if got == ours {
		return used, ""
	}
	names := ""
	for _, rule := range used {
		names += "\n  " + rule.Name
	}
	return nil, fmt.Sprintf("the replies differ and no rule says why\n\nstock: %s\n\nours: %s\n\nrules that apply:%s\nleaving: %s", given, ours, names, got)
}

// reduce drops parts of the cluster as long as the plugins still differ on q, for no longer than a while.
func (p *pair) reduce(c *cluster, q dns.Question, wrong string) (*cluster, string) {
	deadline := time.Now().Add(20 * time.Second)
	kind, _, _ := strings.Cut(wrong, "\n")
	for smaller := true; smaller; {
		smaller = false
		c.shrunk(func(o *cluster) bool {
			if time.Now().After(deadline) {
				return false
			}
			p.become(o)
			_, still := p.compare(p.cfg.model(o), q)
			if k, _, _ := strings.Cut(still, "\n"); k != kind {
				return true
			}
			c, wrong, smaller = o, still, true
			return false
		})
	}
	p.become(c)
	return c, wrong
}

// TestDifferential runs CoreDNS's kubernetes plugin and this one on the same API server, with clusters and questions made from a
// seed, and allows no difference but those that the rules name.
func TestDifferential(t *testing.T) {
	uses := make([]atomic.Int64, len(rules))
	var comparisons atomic.Int64
	t.Run("stanzas", func(t *testing.T) {
		for i, s := range stanzas {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				g := &generator{Rand: rand.New(rand.NewPCG(*differentialSeed, uint64(i)))}
				c := g.cluster()
				p := newPair(t, configOf(t, s.zones, s.block), s.zones, s.block, c)
				p.settle()
				for n := range *differentialClusters {
					if n > 0 {
						c = g.cluster()
						p.become(c)
					}
					for m := range mutations + 1 {
						if m > 0 {
							c = g.mutate(c)
							p.become(c)
						}
						tw := p.cfg.model(c)
						for _, q := range g.questions(p.cfg.Zones, c) {
							used, wrong := p.compare(tw, q)
							comparisons.Add(1)
							for _, rule := range used {
								uses[rule.index()].Add(1)
							}
							if wrong != "" {
								p.report(c, q, wrong)
								return
							}
						}
					}
				}
			})
		}
	})
	t.Logf("%d comparisons", comparisons.Load())
	if t.Failed() {
		return
	}
	if comparisons.Load() < leastComparisons {
		t.Errorf("%d comparisons, want at least %d", comparisons.Load(), leastComparisons)
	}
	for i := range rules {
		n := uses[i].Load()
		t.Logf("%7d times (section %s) %s", n, rules[i].Section, rules[i].Name)
		if n == 0 {
			t.Errorf("no question needed the rule %q", rules[i].Name)
		}
	}
}

// report fails the test with the smallest cluster on which the plugins differ.
func (p *pair) report(c *cluster, q dns.Question, wrong string) {
	c, wrong = p.reduce(c, q, wrong)
	history := "no: the history matters, or that a Namespace is missing"
	m := p.fromManifests(c).ask(q.Name, q.Qtype)
	if strings.Contains(wrong, "\n\nours: "+text(m)) {
		history = "yes"
	}
	p.t.Errorf("%s %s: %s\n\nthe same reply from manifests: %s\n\nstanza: %s\n\ncluster (seed %d):\n%s",
		q.Name, dns.TypeToString[q.Qtype], wrong, history, p.stanza, *differentialSeed, c.yaml())
}

// fromManifests returns a plugin with p's stanza that reads the objects of c from a file.
func (p *pair) fromManifests(c *cluster) *asked {
	p.t.Helper()
	return p.start("manifests " + filetest.Temp(p.t, "cluster.yaml", c.yaml()))
}

// TestDifferentialManifests asks plugins that read the clusters of TestDifferential as it prints them.
func TestDifferentialManifests(t *testing.T) {
	for i, s := range stanzas {
		g := &generator{Rand: rand.New(rand.NewPCG(*differentialSeed, uint64(i)))}
		c := g.cluster()
		for _, name := range someNamespaces { // manifests takes a Namespace for granted
			c.put(g.namespace(name))
		}
		p := &pair{t: t, cfg: configOf(t, s.zones, s.block), stanza: fmt.Sprintf("%s {\n%s\n}", s.zones, s.block)}
		h := p.fromManifests(c)
		tw := p.cfg.model(c)
		for _, q := range g.questions(p.cfg.Zones, c) {
			if tw.zoneOf(strings.ToLower(q.Name)) == "" {
				continue
			}
			if got, want := text(h.ask(q.Name, q.Qtype)), text(tw.reply(q.Name, q.Qtype)); got != want {
				t.Fatalf("%s %s: got %s\n\nwant %s\n\nstanza: %s\n\ncluster:\n%s", q.Name, dns.TypeToString[q.Qtype], got, want, p.stanza, c.yaml())
			}
		}
	}
}

// model returns the model of a cluster.
func (cfg Config) model(c *cluster) *Model {
	var objects []runtime.Object
	for _, obj := range c.objects {
		objects = append(objects, obj)
	}
	return New(cfg, objects...)
}

// text is what is compared of a reply: the response code, AA, TC, and the sections as sets of records, the SOA's serial left out.
func text(m *dns.Msg) string {
	if m == nil {
		return "no reply"
	}
	var b strings.Builder
	b.WriteString(dns.RcodeToString[m.Rcode])
	if m.Authoritative {
		b.WriteString(" aa")
	}
	if m.Truncated {
		b.WriteString(" tc")
	}
	for i, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		section = slices.Clone(section)
		for j, rr := range section {
			if soa, ok := rr.(*dns.SOA); ok && soa.Serial != 0 {
				soa = dns.Copy(soa).(*dns.SOA)
				section[j], soa.Serial = soa, 0
			}
		}
		for _, line := range dnstest.Lines(section) {
			b.WriteString("\n  " + [...]string{"answer", "authority", "additional"}[i] + " " + line)
		}
	}
	return b.String()
}

// lookupOutside is what the world outside the zones answers; nil when the lookup fails.
func lookupOutside(name string, qtype uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.Response = true
	soa := []dns.RR{test.SOA("example.com. 60 IN SOA ns.example.com. hostmaster.example.com. 0 2 3 4 5")}
	switch name {
	case "www.example.com.":
		if qtype == dns.TypeA {
			m.Answer = []dns.RR{test.A("www.example.com. 60 IN A 192.0.2.80"), test.A("www.example.com. 60 IN A 192.0.2.81")}
		} else {
			m.Ns = soa
		}
	case "alias.example.com.":
		m.Answer = []dns.RR{test.CNAME("alias.example.com. 60 IN CNAME six.example.com."), test.AAAA("six.example.com. 60 IN AAAA 2001:db8::6")}
		if qtype == dns.TypeA {
			m.Answer[1] = test.A("six.example.com. 60 IN A 192.0.2.6")
		}
	case "refused.example.com.":
		m.Rcode = dns.RcodeRefused
	case "failing.example.com.":
		m.Rcode = dns.RcodeServerFailure
	case "lost.example.com.":
		return nil
	default:
		m.Rcode, m.Ns = dns.RcodeNameError, soa
	}
	return m
}

// nextReply is what the next plugin answers: something recognisable, a denial with a SOA, or one without.
func nextReply(r *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(r)
	name := r.Question[0].Name
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(strings.ToLower(name))) // it never fails
	switch sum.Sum32() % 3 {
	case 0:
		m.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 77}, Txt: []string{"next"}}}
	case 1:
		m.Rcode, m.Ns = dns.RcodeNameError, []dns.RR{test.SOA("next. 60 IN SOA ns.next. hostmaster.next. 0 2 3 4 5")}
	default:
		m.Rcode = dns.RcodeNameError
	}
	return m
}
