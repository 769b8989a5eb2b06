package headless

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns/coredns/plugin"
	recorder "github.com/coredns/coredns/plugin/pkg/dnstest"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// rival is a plugin that the benchmarks measure.
type rival struct {
	name string // the directive
	// start starts the plugin with the options of a stanza and returns when it has synced.
	start func(b *testing.B, options string) (h plugin.Handler, stop func())
}

const benchZones = "cluster.local in-addr.arpa ip6.arpa"

// rivals are this plugin and, where it can be built in, the kubernetes plugin.
var rivals = []rival{{pluginName, startHeadless}}

func startHeadless(b *testing.B, options string) (plugin.Handler, func()) {
	b.Helper()
	cfg, err := parseStanza(newController("headless " + benchZones + " {\n" + options + "\n}"))
	fatal.If(b, err)
	h, err := newHeadless(cfg, "")
	fatal.If(b, err)
	h.start()
	return h, h.stop
}

// benchSizes are the numbers of endpoints in each of the Services that the benchmarks ask for.
var benchSizes = []int{1, 3, 100, 1000, 10000}

// benchObjects returns a cluster with the headless Services web and web6, of size ready pods each, and the ClusterIP Service vip.
func benchObjects(size int) []runtime.Object {
	service := func(name, ip string) *corev1.Service {
		return kubetest.Changed(kubetest.Service(name, ip), func(svc *corev1.Service) { svc.Namespace = "default" })
	}
	objects := []runtime.Object{
		kubetest.Namespace("default"), service("web", corev1.ClusterIPNone), service("web6", corev1.ClusterIPNone), service("vip", "10.96.0.1"),
	}
	for lo := 0; lo < size; lo += 100 {
		es := kubetest.BigSlice(lo, min(size, lo+100))
		es.Ports[0].Protocol = new(corev1.ProtocolTCP) // as the API server fills in
		es6 := es.DeepCopy()
		es6.Name, es6.Labels[discoveryv1.LabelServiceName], es6.AddressType = fmt.Sprint("web6-", lo), "web6", discoveryv1.AddressTypeIPv6
		for i := range es6.Endpoints {
			es6.Endpoints[i].Addresses = []string{fmt.Sprintf("fd00::1:%x", lo+i)}
		}
		objects = append(objects, es, es6)
	}
	return objects
}

// benchQuery is what a benchmark asks.
type benchQuery struct {
	name, network, qname string
	qtype                uint16
	rcode                int
	answers              bool // there are some
}

var benchQueries = []benchQuery{
	{"pod", "udp", "web-0.web.default.svc.cluster.local.", dns.TypeA, noError, true},
	{"service", "udp", "web.default.svc.cluster.local.", dns.TypeA, noError, true},
	{"service6", "udp", "web6.default.svc.cluster.local.", dns.TypeAAAA, noError, true},
	{"service-tcp", "tcp", "web.default.svc.cluster.local.", dns.TypeA, noError, true},
	{"srv", "udp", "_http._tcp.web.default.svc.cluster.local.", dns.TypeSRV, noError, true},
	{"srv-tcp", "tcp", "_http._tcp.web.default.svc.cluster.local.", dns.TypeSRV, noError, true},
	{"clusterip", "udp", "vip.default.svc.cluster.local.", dns.TypeA, noError, true},
	{"ptr", "udp", "0.0.1.10.in-addr.arpa.", dns.TypePTR, noError, true},
	{"nodata", "udp", "web.default.svc.cluster.local.", dns.TypeAAAA, noError, false},
	{"nxdomain", "udp", "nobody.default.svc.cluster.local.", dns.TypeA, nxName, false},
	{"nxdomain-pod", "udp", "web-99999.web.default.svc.cluster.local.", dns.TypeA, nxName, false},
}

// msg returns the query, which has room for a reply of 1,232 octets.
func (q *benchQuery) msg() *dns.Msg { return dnstest.Query(q.qname, q.qtype, 1232) }

// check fails the benchmark unless m answers q.
func (q *benchQuery) check(b *testing.B, m *dns.Msg) {
	b.Helper()
	if m == nil || m.Rcode != q.rcode || (len(m.Answer) > 0) != q.answers {
		b.Fatalf("%s %s: got %v", q.qname, dns.TypeToString[q.qtype], m)
	}
}

// discard is a client that throws its replies away.
type discard struct {
	test.ResponseWriter
	addr net.Addr // test.ResponseWriter makes a new one each time
}

func newDiscard(network string) *discard {
	if network == "tcp" {
		return &discard{addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53}}
	}
	return &discard{addr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53}}
}

// RemoteAddr implements dns.ResponseWriter.
func (d *discard) RemoteAddr() net.Addr { return d.addr }

// WriteMsg implements dns.ResponseWriter.
func (*discard) WriteMsg(*dns.Msg) error { return nil }

// contest runs a benchmark for every query, size and rival. enter makes what is asked, for each rival and size once.
func contest[R any](b *testing.B, enter func(v rival, api *kubetest.Server) R, run func(b *testing.B, asked R, q *benchQuery)) {
	entered := make(map[string]R)
	for i := range benchQueries {
		q := &benchQueries[i]
		for _, n := range benchSizes {
			for _, v := range rivals {
				key := fmt.Sprintf("n=%d/%s", n, v.name)
				b.Run(q.name+"/"+key, func(sub *testing.B) {
					asked, ok := entered[key]
					if !ok {
						api := kubetest.NewServer(b)
						api.Put(benchObjects(n)...)
						asked = enter(v, api)
						entered[key] = asked
					}
					sub.ReportAllocs()
					run(sub, asked, q)
				})
			}
		}
	}
}

// BenchmarkServeDNS asks the plugins alone.
func BenchmarkServeDNS(b *testing.B) {
	contest(b, func(v rival, api *kubetest.Server) plugin.Handler {
		h, stop := v.start(b, "endpoint "+api.URL)
		b.Cleanup(stop)
		return h
	}, func(b *testing.B, h plugin.Handler, q *benchQuery) {
		recorder := recorder.NewRecorder(newDiscard(q.network))
		if _, err := h.ServeDNS(b.Context(), recorder, q.msg()); err != nil {
			b.Fatal(err)
		}
		q.check(b, recorder.Msg)
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			w, r := newDiscard(q.network), q.msg()
			for pb.Next() {
				if _, err := h.ServeDNS(b.Context(), w, r); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkMemoryOfKnowingClients measures what the plugins hold of a cluster with 10,000 pods of 100 headless Services on 200 nodes:
// without knowing who asks, and by each way of knowing it.
func BenchmarkMemoryOfKnowingClients(b *testing.B) {
	const pods, perService, nodes = 10_000, 100, 200
	api := kubetest.NewServer(b)
	api.Put(kubetest.Namespace("default"), nodeIn("z", "node-0", "192.0.2.1"))
	for lo := 0; lo < pods; lo += perService {
		name := fmt.Sprintf("web-%03d", lo/perService)
		es := kubetest.BigSlice(lo, lo+perService)
		es.Name, es.Labels[discoveryv1.LabelServiceName] = name, name
		api.Put(es, kubetest.Changed(kubetest.Service(name, corev1.ClusterIPNone), func(svc *corev1.Service) { svc.Namespace = "default" }))
		for i, endpoint := range es.Endpoints {
			pod := podOn(fmt.Sprintf("node-%d", (lo+i)%nodes), fmt.Sprintf("%s-%d", name, i), endpoint.Addresses[0], false)
			pod.Namespace, pod.Labels = "default", map[string]string{"app": name, "app.kubernetes.io/instance": name, "pod-template-hash": "5d78c9869d"}
			api.Put(pod)
		}
	}
	for _, v := range rivals {
		ways := []string{"", "pods verified"}
		if v.name == pluginName {
			ways = append(ways, "search", "search\nnode node-0", "search\npods verified")
		}
		for _, options := range ways {
			b.Run(v.name+"/"+strings.ReplaceAll(options, "\n", ","), func(b *testing.B) {
				for b.Loop() {
					before := modeltest.HeapInUse()
					h, stop := v.start(b, "startup_timeout 5m\nendpoint "+api.URL+"\n"+options)
					if own, ok := h.(*Headless); ok && own.node != "" { // for whose Pods no start waits
						kubetest.Eventually(b, "the Pods of the node are known", func() bool { return own.pods.Count() >= pods/nodes })
					}
					b.ReportMetric((modeltest.HeapInUse()-before)/1e6, "MB")
					goruntime.KeepAlive(h)
					stop()
				}
			})
		}
	}
}

// clientsPerCPU is how many clients BenchmarkServer has for each processor.
const clientsPerCPU = 8

// BenchmarkServer asks CoreDNS, with one plugin, over sockets. The clients' work, the same for each, is in the figures.
func BenchmarkServer(b *testing.B) {
	contest(b, func(v rival, api *kubetest.Server) *server {
		return startServer(b, "cluster.local:0 in-addr.arpa:0 ip6.arpa:0 {\n"+bound+v.name+" {\nendpoint "+api.URL+"\n}\n}")
	}, func(b *testing.B, s *server, q *benchQuery) {
		q.check(b, s.ask(b, q.network, q.qname+" "+dns.TypeToString[q.qtype], 1232))
		packet, err := q.msg().Pack()
		fatal.If(b, err)
		b.SetParallelism(clientsPerCPU)
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			client, err := dns.DialTimeout(q.network, s.addr(q.network), kubetest.Patience)
			if err != nil {
				b.Error(err)
				return
			}
			defer func() { _ = client.Close() }() // it was only read from
			reply := make([]byte, dns.MaxMsgSize)
			for pb.Next() {
				if _, err := client.Write(packet); err != nil {
					b.Error(err)
					return
				}
				if _, err := client.Read(reply); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// BenchmarkFlip changes the readiness of one endpoint and back.
func BenchmarkFlip(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			x := podsIndex(n)
			up, down := modeltest.BigSlice(0, min(n, 100), model.Ready), modeltest.BigSlice(0, min(n, 100), model.Ready)
			down.Endpoints[n/2%100].State = model.NotReady
			b.ReportAllocs()
			for b.Loop() {
				x.PutSlice(down)
				x.PutSlice(up)
			}
		})
	}
}

// BenchmarkSync starts a plugin with a cluster of two Services of n pods and stops it when it has synced. The API server's work
// is in the figures.
func BenchmarkSync(b *testing.B) {
	for _, mode := range []string{"streamed", "listed"} {
		for _, n := range benchSizes {
			for _, v := range rivals {
				b.Run(fmt.Sprintf("%s/n=%d/%s", mode, n, v.name), func(b *testing.B) {
					api := kubetest.NewServer(b)
					if mode == "listed" {
						api.RefuseStreams()
					}
					api.Put(benchObjects(n)...)
					b.ReportAllocs()
					for b.Loop() {
						_, stop := v.start(b, "endpoint "+api.URL)
						stop()
					}
				})
			}
		}
	}
}

// BenchmarkShared is what someone pays who makes many things share one: a hostname, an address, endpoints or ports.
func BenchmarkShared(b *testing.B) {
	type maker func(x *index.Index, n int) // of an index with n sharers
	endpoints := func(n int, change func(int, *model.Endpoint)) []model.Endpoint {
		list := make([]model.Endpoint, n)
		for i := range list {
			list[i] = model.Endpoint{Addr: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Name: fmt.Sprint("h", i), State: model.Ready}
			change(i, &list[i])
		}
		return list
	}
	same := func(int, *model.Endpoint) {}
	others := 0 // ports of the slice put last, but one
	put := func(x *index.Index, i int, ports []model.Port, list []model.Endpoint) {
		others = len(ports) - 1
		x.PutSlice(&model.Slice{Key: model.Key{Namespace: "n", Name: fmt.Sprint("web-", i)}, Service: "web", Ports: ports, Endpoints: list})
	}
	own := func(i, others int) []model.Port { // the port i behind others that everyone has
		var ports []model.Port
		for j := range others {
			ports = append(ports, model.PortOf(fmt.Sprintf("a%04d", j), "tcp", uint16(j+1)))
		}
		return append(ports, model.PortOf(fmt.Sprintf("b%04d", i), "tcp", uint16(i+1)))
	}
	services := func(x *index.Index, n int) {
		for i := range n {
			key := model.Key{Namespace: "n", Name: fmt.Sprint("s", i)}
			x.PutService(&model.Service{Key: key, Kind: model.Headless})
			x.PutSlice(&model.Slice{Key: key, Service: key.Name, Endpoints: endpoints(1, same)})
		}
	}
	for _, c := range []struct {
		name     string
		fill     maker
		question string // or "": put a slice of 1,000 endpoints again, with other ports
		qtype    uint16
		sharers  []int
	}{
		{"addresses of a hostname", func(x *index.Index, n int) {
			put(x, 0, own(0, 100), endpoints(n, func(_ int, e *model.Endpoint) { e.Name = "h" }))
		}, "h.web.n.svc.cluster.local.", dns.TypeA, []int{100, 1000, 10_000}},
		{"Services at the server's address", services, "cluster.local.", dns.TypeNS, []int{100, 1000, 10_000}},
		{"Services at an address", services, "0.0.0.10.in-addr.arpa.", dns.TypePTR, []int{100, 1000, 10_000}},
		{"slices with other ports and the same endpoints", func(x *index.Index, n int) {
			for i := range n {
				put(x, i, own(i, 0), endpoints(1000, same))
			}
		}, "", 0, []int{10, 100}},
		{"slices with other ports behind 1,000 equal ones", func(x *index.Index, n int) {
			for i := range n {
				put(x, i, own(i, 999), endpoints(1000, func(j int, e *model.Endpoint) { e.Name = fmt.Sprint("h", i, "-", j) }))
			}
		}, "", 0, []int{10, 100}},
	} {
		for _, n := range c.sharers {
			b.Run(fmt.Sprintf("%s/n=%d", c.name, n), func(b *testing.B) {
				h := newTestHeadless(b, "")
				h.index = index.New(model.HostnamesReady, false, 0)
				h.local = []netip.Addr{netip.MustParseAddr("10.0.0.0")}
				modeltest.PutWeb(h.index)
				c.fill(h.index, n)
				r := dnstest.Query(c.question, c.qtype, 0)
				w := newDiscard("udp")
				i := n
				for b.Loop() {
					if c.question != "" {
						if _, err := h.ServeDNS(context.Background(), w, r); err != nil {
							b.Fatal(err)
						}
						continue
					}
					i++
					put(h.index, 0, own(i, others), endpoints(1000, same))
				}
			})
		}
	}
}

// BenchmarkStacks asks a server for a pod, through the chain of deploy/base and a socket, with and without
// goroutines that start with larger stacks.
func BenchmarkStacks(b *testing.B) {
	clog.Discard() // or lines of the log stand between the results
	for _, stacks := range []string{"small", "raised"} {
		b.Run("stacks="+stacks, func(b *testing.B) {
			option := map[string]string{"small": "small_stacks"}[stacks]
			s := startServer(b, "cluster.local:0 {\n"+bound+"errors\nbufsize 1232\nheadless {\n"+option+"\nmanifests "+bigManifest(b, 100)+"\n}\nprometheus 127.0.0.1:0\n}")
			conn, err := net.Dial("udp", s.addr("udp"))
			fatal.If(b, err)
			defer conn.Close() //nolint:errcheck // nothing is left to be written
			packet, err := benchQueries[0].msg().Pack()
			fatal.If(b, err)
			reply := make([]byte, dns.MaxMsgSize)
			goruntime.GC() // after which goroutines start with what there is
			for b.Loop() {
				_, err := conn.Write(packet)
				fatal.If(b, err)
				_, err = conn.Read(reply)
				fatal.If(b, err)
			}
		})
	}
}

// BenchmarkStep measures the steps of what zone transfers show, of a cluster of 10,000 Services and 100,000 endpoints, and
// how much memory the copy takes that they need.
func BenchmarkStep(b *testing.B) {
	h := newTestHeadless(b, "")
	h.index = index.New(model.HostnamesReady, false, 0)
	h.local = nil // so that no Service is the DNS Service
	modeltest.BigCluster(h.index, 10_000, true)
	modeltest.PutPods(h.index, 5000)
	j := h.journal
	before := modeltest.HeapInUse()
	j.publish(nil)
	b.Logf("the copy takes %.1f MB", (modeltest.HeapInUse()-before)/1e6)
	var all, web []*model.Slice // one of each Service, with endpoints
	for c := range h.index.Moment().Services() {
		if len(c.Slices) == 0 || len(c.Slices[0].Endpoints) == 0 {
			continue
		}
		if all = append(all, c.Slices[0]); c.Key == (model.Key{Namespace: "n", Name: "web"}) {
			web = append(web, c.Slices[0])
		}
	}
	for _, c := range []struct {
		name   string
		slices []*model.Slice
	}{{"a flip among 10", all[:1]}, {"a flip among 5000", web}, {"flips in 1000 Services", all[:1000]}} {
		b.Run(c.name, func(b *testing.B) {
			for i := range b.N {
				for _, old := range c.slices {
					s := *old
					s.Endpoints = slices.Clone(s.Endpoints)
					s.Endpoints[0].State = model.State(2 * (i % 2))
					h.index.PutSlice(&s)
				}
				j.step()
			}
			b.ReportMetric(float64(j.octets)/float64(b.N), "octets/op")
		})
		j.octets = 0
		clear(j.zones)
		for i := range j.zones {
			j.zones[i].shared = make(map[uint32]*difference)
		}
	}
}

// BenchmarkUnreadTransfers has 40 secondaries that do not read what they are sent, while an index of 100,000 endpoints changes
// 1,000 times a second for 20 s, and measures the heap and the worst wait of a query.
func BenchmarkUnreadTransfers(b *testing.B) {
	h := newTestHeadless(b, "")
	h.local = nil // so that no Service is the DNS Service
	h.index = index.New(model.HostnamesReady, false, 0)
	modeltest.BigCluster(h.index, 10_000, true)
	var all []*model.Slice
	for c := range h.index.Moment().Services() {
		all = append(all, c.Slices...)
	}
	before := modeltest.HeapInUse()
	h.journal.serves = true
	h.journal.start()
	defer h.journal.stop()
	var most, worst float64
	serials := make([]uint32, 40)
	readers := 0
	for began, i := time.Now(), 0; time.Since(began) < 20*time.Second; i++ {
		time.Sleep(max(0, time.Duration(i)*time.Millisecond-time.Since(began)))
		s := *all[i%len(all)]
		if s.Endpoints = slices.Clone(s.Endpoints); len(s.Endpoints) > 0 {
			s.Endpoints[0].State = model.State(2 * (i / len(all) % 2))
			s.Endpoints[0].Name = fmt.Sprint("renamed-", i)
		}
		h.index.PutSlice(&s)
		asked := time.Now()
		says(h, "cluster.local. SOA")
		worst = max(worst, float64(time.Since(asked).Microseconds())/1e3)
		if i%50 == 0 {
			secondary := readers % len(serials)
			if _, err := h.Transfer("cluster.local.", serials[secondary]); err == nil {
				readers++
			}
			serials[secondary] = h.serial(h.authority("cluster.local."))
		}
		if i%1000 == 0 {
			var m goruntime.MemStats
			goruntime.ReadMemStats(&m)
			most = max(most, float64(m.HeapAlloc)-before)
		}
	}
	b.ReportMetric(before/1e6, "MB/index")
	b.ReportMetric(most/1e6, "MB/more")
	b.ReportMetric(worst, "ms/wait")
	b.ReportMetric(float64(readers), "transfers")
	b.ReportMetric(float64(h.journal.extent.Load().octets)/1e6, "MB/journal")
}
