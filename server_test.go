package headless

import (
	"encoding/json"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/logtest"
	"github.com/coredns-headless/headless/internal/stacks"
	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/acl"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metadata"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/view"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// corefile is a caddy.Input.
type corefile string

func (c corefile) Body() []byte     { return []byte(renamed(string(c))) }
func (corefile) Path() string       { return "Corefile" }
func (corefile) ServerType() string { return "dns" }

// server is a CoreDNS that runs in this process.
type server struct {
	instance *caddy.Instance
	udp, tcp string
}

// startServer starts CoreDNS on a free port of loopback and stops it after the test.
func startServer(t testing.TB, c string) *server {
	t.Helper()
	registerDirective()
	caddy.Quiet, dnsserver.Quiet = true, true
	instance, err := caddy.Start(corefile(c))
	if err != nil {
		t.Fatalf("%s\ndoes not start: %v", c, err)
	}
	s := &server{instance: instance}
	s.findPorts()
	t.Cleanup(s.stop)
	return s
}

func (s *server) findPorts() {
	listener := s.instance.Servers()[0]
	s.tcp = listener.Addr().String()
	if udp := listener.LocalAddr(); udp != nil { // not for all transports
		s.udp = udp.String()
	}
}

// addr returns where s listens on "udp" or "tcp".
func (s *server) addr(network string) string {
	return map[string]string{"udp": s.udp, "tcp": s.tcp}[network]
}

// stop is what happens at the end of a process.
func (s *server) stop() {
	if s.instance != nil {
		_ = s.instance.Stop() // it was started
		s.instance.ShutdownCallbacks()
		s.instance = nil
	}
}

// ask asks over "udp" or "tcp", with a buffer of size octets, 0 for no EDNS.
func (s *server) ask(t testing.TB, network, question string, size uint16) *dns.Msg {
	t.Helper()
	return s.exchange(t, network, dnstest.Question(question, size))
}

// exchange asks over "udp" or "tcp".
func (s *server) exchange(t testing.TB, network string, r *dns.Msg) *dns.Msg {
	t.Helper()
	m, err := dnstest.Exchange(t.Context(), network, s.addr(network), r)
	if err != nil {
		t.Fatalf("%v over %s: %v", r.Question, network, err)
	}
	return m
}

// bigService returns the Service of kubetest.BigSlice's pods.
func bigService() *corev1.Service {
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"},
		Spec:       corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone},
	}
}

// bigManifest writes a headless Service web in namespace default with size ready pods, and returns the file.
func bigManifest(t testing.TB, size int) string {
	t.Helper()
	list := struct {
		metav1.TypeMeta `json:",inline"`
		Items           []any `json:"items"`
	}{metav1.TypeMeta{APIVersion: "v1", Kind: "List"}, []any{bigService()}}
	for lo := 0; lo < size; lo += 100 {
		list.Items = append(list.Items, kubetest.BigSlice(lo, min(size, lo+100)))
	}
	b, err := json.Marshal(list)
	fatal.If(t, err)
	return filetest.Temp(t, "big.json", b)
}

const bound = "bind 127.0.0.1\n"

func TestServerOverUDPAndTCP(t *testing.T) {
	s := startServer(t, "cluster.local:0 in-addr.arpa:0 {\n"+bound+"headless {\nmanifests "+bigManifest(t, 1000)+" testdata/cluster.yaml\n}\n}")
	const web = "web.default.svc.cluster.local."
	for _, c := range []struct {
		name, network, question string
		size                    uint16
		rcode, answers          int // answers < 0: fewer than all of them, and TC
	}{
		{"a pod", "udp", "web-7." + web + " A", 0, noError, 1},
		{"a pod with EDNS", "udp", "web-7." + web + " A", 1232, noError, 1},
		{"a pod over TCP", "tcp", "web-7." + web + " A", 0, noError, 1},
		{"a large Service in 512 octets", "udp", web + " A", 0, noError, -29},
		{"in 1,232", "udp", web + " A", 1232, noError, -73},
		{"over TCP", "tcp", web + " A", 0, noError, 1002},
		{"over TCP with EDNS", "tcp", web + " A", 1232, noError, 1002},
		{"SRV in 1,232", "udp", "_http._tcp." + web + " SRV", 1232, noError, -1},
		{"SRV over TCP", "tcp", "_http._tcp." + web + " SRV", 0, noError, 1000}, // two of the pods share their names with two others,
		{"no data", "udp", web + " AAAA", 1232, noError, 0},
		{"no name", "tcp", "nobody.default.svc.cluster.local. A", 1232, nxName, 0},
		{"a PTR", "udp", "7.0.1.10.in-addr.arpa. PTR", 0, noError, 1},
		{"a transfer", "tcp", "cluster.local. AXFR", 0, dns.RcodeRefused, 0},
	} {
		m := s.ask(t, c.network, c.question, c.size)
		if m.Rcode != c.rcode || m.Truncated != (c.answers < 0) {
			t.Errorf("%s: %s, tc %v, want %s, %v", c.name, dns.RcodeToString[m.Rcode], m.Truncated, dns.RcodeToString[c.rcode], c.answers < 0)
		}
		switch {
		case c.answers >= 0 && len(m.Answer) != c.answers:
			t.Errorf("%s: %d records, want %d", c.name, len(m.Answer), c.answers)
		case c.answers < -1 && len(m.Answer) != -c.answers:
			t.Errorf("%s: %d records, want the %d that fit", c.name, len(m.Answer), -c.answers)
		}
		if hasEDNS := m.IsEdns0() != nil; hasEDNS != (c.size > 0) {
			t.Errorf("%s: EDNS in the reply: %v", c.name, hasEDNS)
		}
	}
}

// TestServerAnswersWhoeverHasRoomForMoreThanADatagram: a client may have room for 65,535 octets, but no datagram is that long.
func TestServerAnswersWhoeverHasRoomForMoreThanADatagram(t *testing.T) {
	s := startServer(t, "cluster.local:0 {\n"+bound+"headless {\nmanifests "+bigManifest(t, 5000)+"\n}\n}")
	for _, size := range []uint16{65507, 65508, 65535} {
		for _, question := range []string{"web.default.svc.cluster.local. A", "web.default.svc.cluster.local. SRV"} {
			if m := s.ask(t, "udp", question, size); !m.Truncated || len(m.Answer) < 1000 {
				t.Errorf("%s with a buffer of %d octets: %d records, tc %v, want more than 1000 of 5000", question, size, len(m.Answer), m.Truncated)
			}
		}
	}
}

func TestServerChasesCNAMEsThroughItsOtherBlocks(t *testing.T) {
	hosts := filetest.Temp(t, "hosts", "192.0.2.80 www.example.com\n")
	s := startServer(t, "cluster.local:0 example.com:0 {\n"+bound+"headless cluster.local {\nmanifests testdata/cluster.yaml\n}\nhosts "+hosts+" example.com\n}")
	m := s.ask(t, "udp", "ext.default.svc.cluster.local. A", 1232)
	want := []string{"ext.default.svc.cluster.local. 5 IN CNAME www.example.com.", "www.example.com. 3600 IN A 192.0.2.80"}
	if got := dnstest.Lines(m.Answer); m.Rcode != noError || !slices.Equal(got, want) {
		t.Errorf("got %s %q, want %q", dns.RcodeToString[m.Rcode], got, want)
	}
}

// TestServerBehindViewAndACL: a view chooses by metadata, under the kubernetes plugin's names and ours, and acl refuses.
func TestServerBehindViewAndACL(t *testing.T) {
	const stanza = "metadata\nheadless {\nmanifests testdata/cluster.yaml\n}\n"
	s := startServer(t, "cluster.local:0 {\n"+bound+"view blue {\nexpr metadata('kubernetes/namespace') == 'blue' && metadata('headless/namespace') == 'blue'\n}\n"+
		stanza+"acl {\nblock type SRV\nallow\n}\n}\n"+
		"cluster.local:0 {\n"+bound+"view vacant {\nexpr metadata('headless/namespace') == 'vacant'\n}\n"+stanza+"}")
	for question, want := range map[string]int{
		"web-0.web.blue.svc.cluster.local. A":   noError,
		"web-0.web.blue.svc.cluster.local. SRV": dns.RcodeRefused, // by acl
		"vacant.svc.cluster.local. A":           noError,
		"nobody.vacant.svc.cluster.local. SRV":  nxName,
		"vip.default.svc.cluster.local. A":      dns.RcodeRefused, // by no view
	} {
		if m := s.ask(t, "udp", question, 1232); m.Rcode != want {
			t.Errorf("%s: %s, want %s", question, dns.RcodeToString[m.Rcode], dns.RcodeToString[want])
		}
	}
}

// startUpstream starts a DNS server on loopback that knows one name, and returns its address.
func startUpstream(t *testing.T) string {
	t.Helper()
	return dnstest.Serve(t, func(_ string, r *dns.Msg) *dns.Msg {
		m := new(dns.Msg).SetRcode(r, dns.RcodeNameError)
		if r.Question[0].Name == "www.example.com." {
			m.Rcode = dns.RcodeSuccess
			m.Answer = dnstest.Records(t, "www.example.com. 60 IN A 192.0.2.80")
		}
		return m
	})
}

// TestKubeadmsCorefile runs the Corefile that kubeadm writes, with the directive changed and every listener on loopback.
func TestKubeadmsCorefile(t *testing.T) {
	api := kubetest.NewServer(t)
	api.Put(kubetest.Namespace("default"), bigService(), kubetest.BigSlice(0, 3))
	s := startServer(t, `.:0 {
		bind 127.0.0.1
		errors
		health 127.0.0.1:0 {
			lameduck 5s
		}
		ready 127.0.0.1:0
		headless cluster.local in-addr.arpa ip6.arpa {
			endpoint `+api.URL+`
			pods insecure
			fallthrough in-addr.arpa ip6.arpa
			ttl 30
		}
		prometheus 127.0.0.1:0
		forward . `+startUpstream(t)+` {
			max_concurrent 1000
		}
		cache 30 {
			disable success cluster.local
			disable denial cluster.local
		}
		loop
		reload
		loadbalance
	}`)
	for question, want := range map[string]string{
		"web-1.web.default.svc.cluster.local. A": "web-1.web.default.svc.cluster.local. 30 IN A 10.1.0.1",
		"1-2-3-4.default.pod.cluster.local. A":   "1-2-3-4.default.pod.cluster.local. 30 IN A 1.2.3.4",
		"1.0.1.10.in-addr.arpa. PTR":             "1.0.1.10.in-addr.arpa. 30 IN PTR web-1.web.default.svc.cluster.local.",
		"www.example.com. A":                     "www.example.com. 30 IN A 192.0.2.80", // cache's limit
		"9.9.9.9.in-addr.arpa. PTR":              "",
		"nobody.default.svc.cluster.local. A":    "",
	} {
		m := s.ask(t, "udp", question, 1232)
		if got := strings.Join(dnstest.Lines(m.Answer), "; "); got != want || (m.Rcode == nxName) != (want == "") {
			t.Errorf("%s: %s %q, want %q", question, dns.RcodeToString[m.Rcode], got, want)
		}
	}
}

// unparked returns how many goroutines there are, but for those that are parked for the sake of stacks.
func unparked() int { return runtime.NumGoroutine() - stacks.Parked() }

// goroutines waits until no more than most goroutines run, and returns how many do, with their stacks.
func goroutines(most int) (int, string) {
	for range 200 {
		if unparked() <= most {
			break
		}
		time.Sleep(10 * time.Millisecond) // what was told to end is ending
	}
	buf := make([]byte, 1<<20)
	return unparked(), string(buf[:runtime.Stack(buf, true)])
}

// TestAnotherServerOnThePortIsNoticed: at the start, and not by a reload, which finds the own one.
func TestAnotherServerOnThePortIsNoticed(t *testing.T) { // not parallel: it captures the log
	logged := logtest.Capture(t)
	addr := dnstest.FreeAddr(t)
	host, port, err := net.SplitHostPort(addr)
	fatal.If(t, err)
	c := "cluster.local:" + port + " example.org:" + port + " {\nbind " + host + "\nheadless {\nmanifests testdata/cluster.yaml\n}\n}"
	first := startServer(t, c)
	first.instance, err = first.instance.Restart(corefile(c))
	fatal.If(t, err)
	warning := "another server has the address " + addr
	if got := ownLines(logged); strings.Contains(got, warning) {
		t.Errorf("the only server logs\n%s", got)
	}
	startServer(t, c)
	if got := ownLines(logged); strings.Count(got, warning) != 1 {
		t.Errorf("the second server logs\n%s\nwant once %q", got, warning)
	}
}

func TestReloadsLeaveNothingBehind(t *testing.T) {
	api := kubetest.NewServer(t)
	api.Put(kubetest.Namespace("default"), bigService(), kubetest.BigSlice(0, 3))
	c := corefile("cluster.local:0 {\n" + bound + "headless {\nendpoint " + api.URL + "\n}\n}\n" +
		"example.org:0 {\n" + bound + "headless {\nmanifests testdata/cluster.yaml\n}\n}")
	broken := c + "\nbroken:0 {\nbind 192.0.2.1\nheadless {\nendpoint " + corefile(api.URL) + "\n}\n}" // not an address of ours

	before := unparked()
	s := startServer(t, string(c))
	settled := func() int { return len(running.all()) }
	if n := settled(); n != 2 {
		t.Fatalf("%d plugins run, want 2", n)
	}
	running1, _ := goroutines(0)
	for i := range 20 {
		input := c
		if i%2 == 1 {
			input = broken
		}
		instance, err := s.instance.Restart(input)
		if (err != nil) != (i%2 == 1) {
			t.Fatalf("reload %d: %v", i, err)
		}
		s.instance = instance
		s.findPorts()
		if n := settled(); n != 2 {
			t.Errorf("reload %d: %d plugins run, want 2", i, n)
		}
		if m := s.ask(t, "udp", "web-1.web.default.svc.cluster.local. A", 0); len(m.Answer) != 1 {
			t.Errorf("reload %d: %s", i, dns.RcodeToString[m.Rcode])
		}
	}
	if n, traces := goroutines(running1 + 3); n > running1+3 { // a few of the standard library's come and go
		t.Errorf("%d goroutines after 20 reloads, %d before\n%s", n, running1, traces)
	}
	s.stop()
	if n := settled(); n != 0 {
		t.Errorf("%d plugins run after the end, want none", n)
	}
	kubetest.Eventually(t, "all connections closed", func() bool { return api.Conns.Load() == 0 })
	if n, traces := goroutines(before + 2); n > before+2 {
		t.Errorf("%d goroutines after the end, %d before\n%s", n, before, traces)
	}
}
