package clients

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// replica is a server, the API server that it alone asks, and clients that ask it alone.
type replica struct {
	*program  // nil before it starts
	job, addr string
	api       *kubetest.Server
	stanza    string
	more      []string    // zones of further Server Blocks, which watch for themselves
	to        string      // who may have its zones, and is notified; perhaps nobody
	silent    atomic.Bool // the API server says nothing
}

// target is the address that Prometheus scrapes.
func (r *replica) target() string { return r.addr + ":9153" }

// start starts the server.
func (r *replica) start(t *testing.T) {
	t.Helper()
	transfer := ""
	if r.to != "" {
		transfer = "transfer {\n        to " + r.to + "\n    }"
	}
	corefile := fmt.Sprintf(`cluster.local 10.in-addr.arpa {
    bind %s
    errors
    prometheus %s
    %s
    headless {
        %s
        fallthrough 10.in-addr.arpa
    }
    whoami
}
`, r.addr, r.target(), transfer, r.stanza)
	for _, zone := range r.more {
		corefile += fmt.Sprintf("%s {\n    bind %s\n    headless {\n        %s\n    }\n}\n", zone, r.addr, r.stanza)
	}
	r.program = start(t, *corednsProgram, "-conf", write(t, "Corefile", corefile))
}

// scene is what Prometheus looks at.
type scene struct {
	a, b, new, many, files *replica
	snapshots              string // the folder in which b has its snapshot
	manifests              string // the file that files reads

	denied atomic.Bool // clients ask for what is not there, or not ready
	late   atomic.Bool // the control plane takes long

	refuses, whole atomic.Bool // secondaries refuse notifications, and ask for whole zones
}

// newScene makes a scene in which no server runs yet.
func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{snapshots: filepath.Join(t.TempDir(), "snapshots"), manifests: write(t, "shop.yaml", manifests)}
	fatal.If(t, os.Mkdir(s.snapshots, 0o700))
	watching := func(addr, job, options string) *replica {
		api := kubetest.NewServer(t)
		r := &replica{addr: addr, job: job, api: api, stanza: fmt.Sprintf("endpoint %s\nstartup_timeout 0s\n%s", api.URL, options)}
		api.Put(kubetest.Namespace("ns"), kubetest.WithSelector(kubetest.Service("web", "None")), kubetest.WithSelector(kubetest.Service("busy", "None")),
			kubetest.Service("down", "None"), kubetest.Service("manual", "None"), sliceOf("manual", discoveryv1.AddressTypeIPv4, "10.0.4.1 one"),
			sliceOf("down", discoveryv1.AddressTypeIPv4, "10.0.3.1 down-0 unready"), kubetest.Service("db", "10.96.0.1"))
		near := kubetest.Service("near", "None")
		near.Spec.TrafficDistribution = new(corev1.ServiceTrafficDistributionPreferSameZone)
		slice := sliceOf("near", discoveryv1.AddressTypeIPv4, "10.0.5.1 near-0", "10.0.5.2 near-1")
		for i, zone := range []string{"a", "b"} {
			slice.Endpoints[i].Zone, slice.Endpoints[i].Hints = &zone, &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: zone}}}
		}
		api.Put(near, slice)
		r.scale("web", 40)
		r.scale("db", 10)
		return r
	}
	const options = "hold 2s\ntopology hints\nsearch\nclient_subnet 127.0.0.0/8\n"
	s.a = watching(dnsAddr, "dns", options+"snapshot "+filepath.Join(t.TempDir(), "snapshot")+" 24h 1s")
	s.b = watching(secondAddr, "dns", options+"snapshot "+filepath.Join(s.snapshots, "snapshot")+" 24h 1s")
	s.a.to = dnstest.Serve(t, func(_ string, r *dns.Msg) *dns.Msg {
		if s.refuses.Load() {
			return new(dns.Msg).SetRcode(r, dns.RcodeRefused)
		}
		return new(dns.Msg).SetReply(r)
	})
	s.b.to = "*"
	s.new = watching("127.0.0.12", "new", "")
	// A watch that has ended begins again after two to four seconds, which is seldom in these minutes: so there are several.
	s.many = watching("127.0.0.14", "many", "")
	s.many.more = []string{"a.local", "b.local", "c.local", "d.local", "e.local"}
	s.files = &replica{addr: "127.0.0.13", job: "files", stanza: "manifests " + s.manifests}
	return s
}

// manifests are the objects of the server that has files.
const manifests = `{apiVersion: v1, kind: Service, metadata: {name: web, namespace: ns}, spec: {clusterIP: None, ports: [{name: http, port: 80}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {name: web-a, namespace: ns, labels: {kubernetes.io/service-name: web}},
  ports: [{name: http, port: 80, protocol: TCP}], endpoints: [{addresses: [10.0.0.1], hostname: web-0}]}
`

func (s *scene) replicas() []*replica { return []*replica{s.a, s.b, s.new, s.many, s.files} }

// scrapeConfigs says whom Prometheus scrapes.
func (s *scene) scrapeConfigs() string {
	var b strings.Builder
	for _, job := range s.values("job") {
		var targets []string
		for _, r := range s.replicas() {
			if r.job == job {
				targets = append(targets, fmt.Sprintf("%q", r.target()))
			}
		}
		fmt.Fprintf(&b, "- {job_name: %s, static_configs: [{targets: [%s]}]}\n", job, strings.Join(targets, ", "))
	}
	return b.String()
}

// values returns those that a label has: job or instance.
func (s *scene) values(label string) (values []string) {
	for _, r := range s.replicas() {
		values = append(values, map[string]string{"job": r.job, "instance": r.target()}[label])
	}
	slices.Sort(values)
	return slices.Compact(values)
}

// scale gives a Service n pods.
func (r *replica) scale(service string, n int) {
	var endpoints []string
	for i := range n {
		addr := netip.AddrFrom4([4]byte{10, 0, byte(len(service)), byte(i)})
		endpoints = append(endpoints, fmt.Sprintf("%s %s-%d", addr, service, i))
	}
	r.api.Put(sliceOf(service, discoveryv1.AddressTypeIPv4, endpoints...))
}

// repeat does something every so often, until stop, which waits for it.
func repeat(t *testing.T, every time.Duration, do func()) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				do()
			case <-ctx.Done():
				return
			}
		}
	})
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return stop
}

// sayAll makes the API server say of each resource that it is there.
func (r *replica) sayAll() {
	for _, resource := range []string{"namespaces", "services", "endpointslices"} {
		r.api.Bookmark(resource)
	}
}

// live has the cluster of r change: a pod restarts, and now and then its EndpointSlice is deleted and made again. The API server
// says something of each resource once a minute, and ends its watches after seven.
func (s *scene) live(t *testing.T, r *replica) {
	t.Helper()
	n := 0
	repeat(t, minute, func() {
		if r.silent.Load() {
			return
		}
		n++
		address := n % 200
		if n%5 == 1 {
			address -= 2 // that of before it was deleted
		}
		slice := sliceOf("busy", discoveryv1.AddressTypeIPv4, fmt.Sprintf("10.0.6.%d busy-0", 10+address))
		if n%5 == 0 {
			r.api.Delete(slice)
		} else {
			r.api.Put(kubetest.Triggered(slice, time.Now().Format(time.RFC3339Nano)))
		}
		if s.late.Load() {
			slice := sliceOf("manual", discoveryv1.AddressTypeIPv4, fmt.Sprintf("10.0.4.%d one", 1+n%200))
			r.api.Put(kubetest.Triggered(slice, time.Now().Add(-12*time.Second).Format(time.RFC3339Nano)))
		}
		r.sayAll()
		if n%7 == 0 && r.more == nil { // it would be much for so many Server Blocks
			r.api.End()
		}
	})
}

// The questions of clients: network, size of the buffer, name, type, and perhaps for whom a forwarder asks.
var (
	usual = strings.Split(`udp 1232 web.ns.svc.cluster.local A
udp 0 web.ns.svc.cluster.local A
tcp 0 web.ns.svc.cluster.local A
tcp 0 _http._tcp.web.ns.svc.cluster.local SRV
udp 1232 web-0.web.ns.svc.cluster.local A
udp 1232 busy.ns.svc.cluster.local A
udp 1232 db.ns.svc.cluster.local A
udp 1232 db.ns.svc.cluster.local AAAA
udp 1232 1.3.0.10.in-addr.arpa PTR
udp 1232 1.200.0.10.in-addr.arpa PTR
udp 1232 near.ns.svc.cluster.local A
udp 1232 near.ns.svc.cluster.local A 10.0.5.1
udp 1232 near.ns.svc.cluster.local A 10.0.5.2
udp 1232 db.ns.ns.svc.cluster.local A 10.0.5.1
udp 1232 www.example.com.ns.svc.cluster.local A
udp 1232 www.example.com.svc.cluster.local A
udp 1232 www.example.com.cluster.local A
udp 1232 shop.ns.svc.cluster.local A
tcp 0 cluster.local IXFR`, "\n")
	denied = strings.Split(`udp 1232 web-99.web.ns.svc.cluster.local A
udp 1232 _smtp._tcp.web.ns.svc.cluster.local SRV
udp 1232 down.ns.svc.cluster.local A
udp 1232 down-0.down.ns.svc.cluster.local A`, "\n")
)

// query makes clients ask r all the time.
func (s *scene) query(t *testing.T, r *replica) {
	t.Helper()
	n, serial := 0, uint32(0) // that is known of the zone
	repeat(t, 10*time.Millisecond, func() {
		n++
		texts := usual
		if n%3 == 0 && s.denied.Load() {
			texts = denied
		}
		fields := strings.Fields(texts[n%len(texts)])
		size := uint16(0)
		if fields[1] != "0" {
			size = 1232
		}
		m := dnstest.Question(fields[2]+" "+fields[3], size)
		if len(fields) > 4 {
			opt := m.IsEdns0()
			opt.Option = append(opt.Option, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 32, Address: netip.MustParseAddr(fields[4]).AsSlice()})
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if fields[3] == "IXFR" {
			if s.whole.Load() {
				serial = 0
			}
			m.SetIxfr("cluster.local.", serial, "ns.", "hostmaster.")
		}
		reply, err := dnstest.Exchange(ctx, fields[0], r.addr+":53", m) // it may be down
		if err == nil && fields[3] == "IXFR" && len(reply.Answer) > 0 {
			if soa, ok := reply.Answer[0].(*dns.SOA); ok {
				serial = soa.Serial
			}
		}
	})
}

// fault is one that happens, the alerts that have to fire for it, and how it is mended.
type fault struct {
	what   string
	alerts []string // selectors of the series ALERTS
	begin  func() (mend func())
}

// rounds are the faults. Those of a round happen at once; each is mended when its alerts have fired.
func (s *scene) rounds(t *testing.T) [][]fault {
	t.Helper()
	of := func(alert string, r *replica) string {
		return fmt.Sprintf("alertname=%q, instance=%q", alert, r.target())
	}
	refuse := func(r *replica, status int) (mend func()) {
		r.api.Refuse(status)
		r.start(t)
		return func() { r.api.Refuse(0) }
	}
	set := func(flag *atomic.Bool) func() func() {
		return func() func() {
			flag.Store(true)
			return func() { flag.Store(false) }
		}
	}
	return [][]fault{
		{
			{"an EndpointSlice has a hostname that is none", []string{of("HeadlessObjectsSkipped", s.a) + `, reason="name"`}, func() func() {
				bad := kubetest.Slice("bad", "web", "10.0.7.1", "no hostname")
				s.a.api.Put(bad)
				return func() { s.a.api.Delete(bad) }
			}},
			{"clients ask for what is not there, or not ready", []string{
				`alertname="HeadlessUnknownHostnames", job="dns", reason="hostname"`, `alertname="HeadlessUnknownHostnames", job="dns", reason="port"`,
				`alertname="HeadlessNoReadyEndpoints", job="dns", reason="no_ready_endpoints"`, `alertname="HeadlessNoReadyEndpoints", job="dns", reason="hostname_not_ready"`,
			}, set(&s.denied)},
			{"a secondary refuses notifications", []string{of("HeadlessNotificationsFail", s.a)}, set(&s.refuses)},
			{"secondaries ask for whole zones all the time", []string{of("HeadlessTransfersWhole", s.a)}, set(&s.whole)},
			{"changes come late", []string{`alertname="HeadlessProgrammingSlow", job="dns", service_kind="headless_without_selector"`}, set(&s.late)},
			{"watches end all the time", []string{of("HeadlessWatchesBreak", s.many) + `, resource="endpointslices"`}, func() func() {
				return repeat(t, 500*time.Millisecond, func() {
					s.many.sayAll() // all would be listed again after a watch that says nothing, which is put off for longer
					s.many.api.End()
				})
			}},
			{"an API server says nothing, and pods come", []string{of("HeadlessStale", s.b) + `, resource="endpointslices"`, `alertname="HeadlessReplicasDiffer", job="dns"`}, func() func() {
				s.b.silent.Store(true)
				s.a.scale("web", 60)
				return func() {
					s.b.silent.Store(false)
					s.b.scale("web", 60)
				}
			}},
			{"a server starts without rights", []string{
				of("HeadlessNotSynced", s.new) + `, resource="services"`, of("HeadlessServfail", s.new), of("HeadlessRequestsRefused", s.new) + `, code="403"`,
			}, func() func() { return refuse(s.new, http.StatusForbidden) }},
			{"manifests are no YAML", []string{of("HeadlessManifestsNotRead", s.files)}, func() func() {
				fatal.If(t, os.WriteFile(s.manifests, []byte("{"), 0o600))
				return func() { fatal.If(t, os.WriteFile(s.manifests, []byte(manifests), 0o600)) }
			}},
		},
		{
			{"two of three pods go", []string{of("HeadlessEndpointsLost", s.a), of("HeadlessEndpointsLost", s.b)}, func() func() {
				for _, r := range []*replica{s.a, s.b} {
					r.scale("web", 10)
				}
				return func() {
					for _, r := range []*replica{s.a, s.b} {
						r.scale("web", 60)
					}
				}
			}},
			{"the folder of a snapshot is gone", []string{of("HeadlessSnapshotNotWritten", s.b)}, func() func() {
				fatal.If(t, os.Rename(s.snapshots, s.snapshots+"-gone"))
				return func() { fatal.If(t, os.Rename(s.snapshots+"-gone", s.snapshots)) }
			}},
		},
		{
			{"a server starts while its API server is away", []string{of("HeadlessServesSnapshot", s.b)}, func() func() {
				s.b.stop()
				return refuse(s.b, http.StatusServiceUnavailable)
			}},
		},
	}
}

// run lets all of it happen while Prometheus runs. At its end nothing is wrong any more.
func (s *scene) run(t *testing.T) {
	t.Helper()
	const patience = 3 * time.Minute
	eventually := func(what string, ok func() bool) {
		t.Helper()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(patience); !ok(); <-tick.C {
			if time.Now().After(deadline) {
				t.Fatalf("not within %v: %s; alerts that fire: %v", patience, what, fired(t, firing))
			}
		}
	}
	began := time.Now()
	note := func(what string) { t.Logf("%5.1f s: %s", time.Since(began).Seconds(), what) }
	isQuiet := func() bool { return len(query(t, firing)) == 0 }
	// hasFired reports whether an alert has since a time: some fire for moments only.
	hasFired := func(selector string, since time.Time) bool {
		window := time.Since(since).Truncate(time.Millisecond) + time.Millisecond
		return len(query(t, fmt.Sprintf("present_over_time(ALERTS{alertstate=\"firing\", %s}[%dms])", selector, window.Milliseconds()))) > 0
	}

	eventually("no server is there, and HeadlessAbsent fires", func() bool { return hasFired(`alertname="HeadlessAbsent"`, began) })
	note("HeadlessAbsent fires")
	for _, r := range s.replicas() {
		if r != s.new { // it starts with a fault
			r.start(t)
		}
		s.query(t, r)
		if r.api != nil {
			s.live(t, r)
		}
	}
	eventually("all servers but one have been scraped for a while, and no alert fires", func() bool {
		return len(query(t, "count_over_time(coredns_headless_answer_records_count[10s]) > 4")) == len(s.replicas())-1 && isQuiet()
	})
	note("nothing is wrong")
	for _, round := range s.rounds(t) {
		start, mends := time.Now(), make(map[string]func())
		for _, f := range round {
			mends[f.what] = f.begin()
			note("begins: " + f.what)
		}
		for len(mends) > 0 {
			eventually("a fault is noticed", func() bool {
				for _, f := range round {
					if mend := mends[f.what]; mend != nil && !slices.ContainsFunc(f.alerts, func(alert string) bool { return !hasFired(alert, start) }) {
						mend()
						delete(mends, f.what)
						note("noticed, and ends: " + f.what)
						return true
					}
				}
				return false
			})
		}
	}
	eventually("no alert fires", isQuiet)
	note("nothing is wrong any more")
}
