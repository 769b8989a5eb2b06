//go:build !kubernetes

package headless

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/kubernetes"
	"github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// pair is both plugins on one API server.
type pair struct {
	t      testing.TB
	stanza string
	api    *kubetest.Server
	cfg    *config
	ours   *Headless
	stock  *kubernetes.Kubernetes
	random *rand.Rand
	now    *cluster
	marked bool // the markers are there
}

var localAddrs = []netip.Addr{netip.MustParseAddr("10.0.0.53"), netip.MustParseAddr("fd00::53")}

// newPair starts both plugins with the same stanza on a server that has the objects of c. They stop with the test.
func newPair(t testing.TB, zones, block string, c *cluster) *pair {
	t.Helper()
	p := &pair{t: t, api: kubetest.NewServer(t), random: rand.New(rand.NewPCG(*differentialSeed, 0)), now: &cluster{make(map[clusterKey]kubetest.Object)}}
	p.stanza = fmt.Sprintf("%s {\n%s\n}", zones, block)
	watched := fmt.Sprintf("%s {\nendpoint %s\n%s\n", zones, p.api.URL, block)
	changed, _ := c.difference(p.now)
	p.api.Put(changed...)
	p.now = c

	own := watched + "hold 0s\n" // stock has none; what hold does has tests of its own
	ours, err := parseStanza(caddy.NewTestController("dns", "headless "+own+"}"))
	if err != nil {
		t.Fatal(err)
	}
	if p.ours, err = newHeadless(ours, ""); err != nil {
		t.Fatal(err)
	}
	p.cfg, p.ours.local = ours, localAddrs
	p.ours.Next = next
	p.ours.upstream = wholeServer{p.ours.zoneOf, asking(p.ours)}
	p.ours.start()
	t.Cleanup(p.ours.stop)

	controller := caddy.NewTestController("dns", "kubernetes "+watched+"}")
	controller.Next()
	if p.stock, err = kubernetes.ParseStanza(controller); err != nil {
		t.Fatal(err)
	}
	setLocalIPs(p.stock, localAddrs)
	p.stock.Next = next
	p.stock.Upstream = wholeServer{p.ours.zoneOf, asking(p.stock)}
	onStart, onShut, err := p.stock.InitKubeCache(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := onStart(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := onShut(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// setLocalIPs tells k which addresses the server listens on. Its own way to learn them is a server that listens there.
func setLocalIPs(k *kubernetes.Kubernetes, addrs []netip.Addr) {
	field := reflect.ValueOf(k).Elem().FieldByName("localIPs")
	local := (*[]net.IP)(unsafe.Pointer(field.UnsafeAddr()))
	for _, addr := range addrs {
		*local = append(*local, addr.AsSlice())
	}
}

var next = plugin.HandlerFunc(func(_ context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	return dns.RcodeSuccess, w.WriteMsg(nextReply(r))
})

// asking returns what asks h a question over TCP.
func asking(h plugin.Handler) func(context.Context, string, uint16) *dns.Msg {
	return func(ctx context.Context, name string, qtype uint16) *dns.Msg {
		r := new(dns.Msg)
		r.SetQuestion(name, qtype)
		w := dnstest.NewRecorder(&test.ResponseWriter{TCP: true})
		rcode, err := h.ServeDNS(ctx, w, r)
		if w.Msg == nil || err != nil {
			m := new(dns.Msg)
			m.SetRcode(r, rcode)
			return m
		}
		return w.Msg
	}
}

// become changes the objects on the server to those of c and waits until both plugins have seen it.
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

// settle puts or deletes a marker of each resource and waits until both plugins show that: events of a resource come in order.
func (p *pair) settle() {
	p.t.Helper()
	yes := map[string]string{"dns": "yes"}
	meta := metav1.ObjectMeta{Namespace: marker, Name: marker, Labels: yes}
	ns, svc := kubetest.Namespace(marker), &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone}}
	ns.Labels = yes
	es := kubetest.Changed(kubetest.Slice(marker, marker, "192.0.2.254", "x"), nop)
	es.Namespace, es.Labels["dns"] = marker, "yes"
	pod := &corev1.Pod{ObjectMeta: meta}
	pod.Status.PodIPs = []corev1.PodIP{{IP: "192.0.2.254"}}
	p.marked = !p.marked
	if p.marked {
		p.api.Put(ns, svc, es, pod)
	} else {
		p.api.Delete(ns, svc, es, pod)
	}
	key, at := model.Key{Namespace: marker, Name: marker}, marker+"."+marker
	eventually(p.t, "both plugins have seen all changes", func() bool {
		_, err := p.stock.APIConn.GetNamespaceByName(marker)
		verified := p.cfg.podMode == podsVerified
		return (err == nil) == p.marked &&
			(len(p.stock.APIConn.SvcIndex(at)) > 0) == p.marked &&
			(p.cfg.selection.NoEndpoints || (len(p.stock.APIConn.EpIndex(at)) > 0) == p.marked) &&
			(!verified || (len(p.stock.APIConn.PodIndex("192.0.2.254")) > 0) == p.marked) &&
			slices.Contains(p.ours.index.NamespaceKeys(), model.Key{Name: marker}) == p.marked &&
			slices.Contains(p.ours.index.ServiceKeys(), key) == p.marked &&
			(p.cfg.selection.NoEndpoints || slices.Contains(p.ours.index.SliceKeys(), key) == p.marked) &&
			(!verified || slices.Contains(p.ours.pods.Keys(), key) == p.marked)
	})
}

func nop[O any](O) {}

// comparison is the same question to both plugins.
type comparison struct {
	question    dns.Question
	name        string // of the question, in lower case
	twin        *twin
	stock, ours *dns.Msg
	askStock    func(name string, qtype uint16) *dns.Msg
}

// compare asks both plugins. It returns the rules that account for the differences, or what is wrong.
func (p *pair) compare(tw *twin, q dns.Question) (used []*rule, wrong string) {
	r := new(dns.Msg)
	r.SetQuestion(q.Name, q.Qtype)
	askStock := func(name string, qtype uint16) *dns.Msg { return asking(p.stock)(context.Background(), name, qtype) }
	c := &comparison{
		question: q, name: strings.ToLower(q.Name), twin: tw, askStock: askStock,
		stock: askStock(q.Name, q.Qtype), ours: asking(p.ours)(context.Background(), q.Name, q.Qtype),
	}
	if tw.zoneOf(c.name) == "" {
		if text(c.stock) != text(c.ours) {
			return nil, fmt.Sprintf("a name in no zone of ours\n\nstock: %s\n\nours: %s", text(c.stock), text(c.ours))
		}
		return nil, ""
	}
	ours, want := text(c.ours), text(tw.reply(r))
	if ours != want {
		return nil, fmt.Sprintf("the reply is not what behaviour.md says\n\nstock: %s\n\nours: %s\n\nwant: %s", text(c.stock), ours, want)
	}
	stock := text(c.stock)
	given, got := stock, stock
	for i := range rules {
		if got == ours {
			return used, ""
		}
		c.stock = c.stock.Copy()
		rules[i].apply(c)
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
		names += "\n  " + rule.name
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
			_, still := p.compare(newTwin(p.cfg, localAddrs, o), q)
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
				p := newPair(t, s.zones, s.block, c)
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
						tw := newTwin(p.cfg, localAddrs, c)
						for _, q := range g.questions(p.cfg, c) {
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
		t.Logf("%7d times (section %s) %s", n, rules[i].section, rules[i].name)
		if n == 0 {
			t.Errorf("no question needed the rule %q", rules[i].name)
		}
	}
}

// report fails the test with the smallest cluster on which the plugins differ.
func (p *pair) report(c *cluster, q dns.Question, wrong string) {
	c, wrong = p.reduce(c, q, wrong)
	history := "no: the history matters, or that a Namespace is missing"
	m := asking(p.fromManifests(c))(p.t.Context(), q.Name, q.Qtype)
	if strings.Contains(wrong, "\n\nours: "+text(m)) {
		history = "yes"
	}
	p.t.Errorf("%s %s: %s\n\nthe same reply from manifests: %s\n\nstanza: %s\n\ncluster (seed %d):\n%s",
		q.Name, dns.TypeToString[q.Qtype], wrong, history, p.stanza, *differentialSeed, c.yaml())
}

// fromManifests returns a plugin with p's stanza that reads the objects of c from a file.
func (p *pair) fromManifests(c *cluster) *Headless {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(file, []byte(c.yaml()), 0o600); err != nil {
		p.t.Fatal(err)
	}
	cfg, err := parseStanza(caddy.NewTestController("dns", "headless "+strings.Replace(p.stanza, "{", "{\nmanifests "+file, 1)))
	if err != nil {
		p.t.Fatal(err)
	}
	h, err := newHeadless(cfg, "")
	if err != nil {
		p.t.Fatal(err)
	}
	h.local, h.Next = localAddrs, next
	h.upstream = wholeServer{h.zoneOf, asking(h)}
	return h
}

// TestDifferentialManifests asks plugins that read the clusters of TestDifferential as it prints them.
func TestDifferentialManifests(t *testing.T) {
	for i, s := range stanzas {
		g := &generator{Rand: rand.New(rand.NewPCG(*differentialSeed, uint64(i)))}
		c := g.cluster()
		for _, name := range someNamespaces { // manifests takes a Namespace for granted
			c.put(g.namespace(name))
		}
		p := &pair{t: t, stanza: fmt.Sprintf("%s {\n%s\n}", s.zones, s.block)}
		h := p.fromManifests(c)
		tw := newTwin(h.config, localAddrs, c)
		for _, q := range g.questions(h.config, c) {
			if tw.zoneOf(strings.ToLower(q.Name)) == "" {
				continue
			}
			r := new(dns.Msg)
			r.SetQuestion(q.Name, q.Qtype)
			if got, want := text(asking(h)(t.Context(), q.Name, q.Qtype)), text(tw.reply(r)); got != want {
				t.Fatalf("%s %s: got %s\n\nwant %s\n\nstanza: %s\n\ncluster:\n%s", q.Name, dns.TypeToString[q.Qtype], got, want, p.stanza, c.yaml())
			}
		}
	}
}
