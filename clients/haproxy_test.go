package clients

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/miekg/dns"
)

// balancer hands queries over UDP to servers, to each in turn for each name, as a cluster does that has several replicas.
type balancer struct {
	servers []string
	mu      sync.Mutex // guards the field below
	asked   map[string]int
}

// startBalancer starts one at port 53 of addr, in front of the servers. It has their client's address, as a kube-proxy has.
func startBalancer(t *testing.T, addr string, servers ...string) *balancer {
	t.Helper()
	b := &balancer{servers: servers, asked: make(map[string]int)}
	conn, err := net.ListenPacket("udp", addr+":53")
	fatal.If(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			query := make([]byte, dns.MaxMsgSize)
			n, client, err := conn.ReadFrom(query)
			if err != nil {
				return // the end of the test
			}
			serving.Go(func() {
				if reply, err := b.forward(query[:n], client); err == nil { // else the client asks again
					_, _ = conn.WriteTo(reply, client)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = conn.Close() // it ends the reading
		serving.Wait()
	})
	return b
}

func (b *balancer) forward(query []byte, client net.Addr) ([]byte, error) {
	m := new(dns.Msg)
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	from := net.UDPAddrFromAddrPort(netip.AddrPortFrom(client.(*net.UDPAddr).AddrPort().Addr(), 0))
	b.mu.Lock()
	server := b.servers[b.asked[m.Question[0].Name]%len(b.servers)]
	b.mu.Unlock()
	dialer := net.Dialer{LocalAddr: from}
	conn, err := dialer.Dial("udp", server+":53")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // all is said
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	reply := make([]byte, dns.MaxMsgSize)
	n, err := conn.Read(reply)
	b.mu.Lock()
	b.asked[m.Question[0].Name]++
	b.mu.Unlock()
	return reply[:n], err
}

// answers returns how often a name was answered.
func (b *balancer) answers(name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked[name]
}

// proxy is a HAProxy with a backend for each of some Services, of the same name.
type proxy struct {
	*program
	socket string
}

// startProxy starts one that asks a name server, which is written as HAProxy does, for the SRV records of the
// Services each half second. Each backend has room for so many servers.
func startProxy(t *testing.T, path, nameserver string, servers int, services ...*service) proxy {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "socket")
	var config strings.Builder
	fmt.Fprintf(&config, `global
    log stdout format raw local0 info
    stats socket %s
defaults
    log global
    timeout connect 1s
    timeout client 1s
    timeout server 1s
resolvers cluster
    nameserver %s
    timeout resolve 500ms
    timeout retry 500ms
`, socket, nameserver)
	for _, s := range services {
		fmt.Fprintf(&config, "backend %s\n    server-template pod %d %s resolvers cluster resolve-prefer ipv4 init-addr none\n",
			s.name, servers, strings.TrimSuffix(s.srvName(), "."))
	}
	p := proxy{start(t, path, "-f", write(t, "haproxy.cfg", config.String())), socket}
	p.eventually(t, socket, func() bool {
		conn, err := net.Dial("unix", socket)
		return err == nil && conn.Close() == nil
	})
	return p
}

// maintained returns how often a server of a Service was put into maintenance.
func (p proxy) maintained(s *service) int {
	n := 0
	for _, line := range p.printed("Server "+s.name+"/", " for maintenance ") {
		if strings.HasPrefix(line, "Server ") { // warnings repeat what the log says
			n++
		}
	}
	return n
}

// up returns the addresses of a Service's servers that are in use, sorted as text.
func (p proxy) up(t *testing.T, s *service) []string {
	t.Helper()
	conn, err := net.Dial("unix", p.socket)
	fatal.If(t, err)
	defer func() { _ = conn.Close() }() // all is read
	_, err = fmt.Fprintln(conn, "show servers state", s.name)
	fatal.If(t, err)
	out, err := io.ReadAll(conn)
	fatal.If(t, err)
	var addrs []string
	for line := range strings.Lines(string(out)) {
		const addr, state, running = 4, 5, "2"
		if fields := strings.Fields(line); len(fields) > state && fields[state] == running {
			addrs = append(addrs, fields[addr])
		}
	}
	slices.Sort(addrs)
	return addrs
}

// agedService returns a Service with n pods, of which the server at addr has seen more: n others went, and then a
// fifth of the rest, for which new ones came.
func agedService(t *testing.T, api *kubetest.Server, addr string, n int) *service {
	t.Helper()
	s := newService(api, fmt.Sprint("web", n), n, 2*n)
	s.waitUntilKnown(t, addr)
	for at := range n {
		s.remove(at)
	}
	for at := range n / 5 {
		s.remove(2 * at)
		s.scaleUp()
	}
	return s
}

// TestHAProxyKeepsItsServers: what HAProxy gets of a set of SRV records with its default payload is the same each
// time, from two servers that know the cluster by different histories. A pod that comes or goes costs one other pod
// its place at most.
func TestHAProxyKeepsItsServers(t *testing.T) {
	const (
		balancerAddr = "127.0.0.12"
		still        = 20 * time.Second
		events       = 10
		payload      = 512
	)
	path := installed(t, "haproxy", "haproxy")
	api := kubetest.NewServer(t)
	api.Put(kubetest.Namespace("ns"))
	startHeadless(t, api, dnsAddr)
	var services []*service
	for _, n := range []int{10, 100, 1000} {
		services = append(services, agedService(t, api, dnsAddr, n))
	}
	startHeadless(t, api, secondAddr) // which lists what is left
	b := startBalancer(t, balancerAddr, dnsAddr, secondAddr)
	waitUntilKnown := func() {
		t.Helper()
		for _, s := range services {
			s.waitUntilKnown(t, dnsAddr)
			s.waitUntilKnown(t, secondAddr)
		}
	}
	waitUntilKnown()
	p := startProxy(t, path, "dns "+balancerAddr+":53", 20, services...)
	// settle waits until both servers know the pods, HAProxy has asked each of them twice since, and uses as many of
	// the pods as fit.
	settle := func() {
		t.Helper()
		waitUntilKnown()
		enough := make(map[*service]int)
		for _, s := range services {
			enough[s] = b.answers(s.srvName()) + 5 // one of them may be on its way
		}
		for _, s := range services {
			p.eventually(t, "HAProxy asks for "+s.name, func() bool { return b.answers(s.srvName()) >= enough[s] })
			want := room(s.srvName(), payload) / s.srvSize()
			p.eventually(t, fmt.Sprintf("%d servers of %s", want, s.name), func() bool {
				up := p.up(t, s)
				gone := func(addr string) bool { return !slices.Contains(s.addrs(), addr) }
				return len(up) == want && !slices.ContainsFunc(up, gone)
			})
		}
	}
	settle()
	time.Sleep(still) // it is the time in which nothing may happen
	for _, s := range services {
		n := p.maintained(s)
		t.Logf("%s: %d of %d servers, asked %d times; put into maintenance while nothing changed: %d",
			s.name, len(p.up(t, s)), len(s.pods()), b.answers(s.srvName()), n)
		if n > 0 {
			t.Errorf("%s: HAProxy put %d servers into maintenance, want none", s.name, n)
		}
	}
	first, before := make(map[*service]int), make(map[*service]int)
	for _, s := range services {
		first[s] = p.maintained(s)
	}
	for event := range events {
		for _, s := range services {
			before[s] = p.maintained(s)
			if event%2 == 0 {
				s.scaleUp()
			} else {
				s.remove(event * len(s.pods()) / events)
			}
		}
		settle()
		for _, s := range services {
			if n := p.maintained(s) - before[s]; n > 1 {
				t.Errorf("%s: HAProxy put %d servers into maintenance for one pod, want one at most", s.name, n)
			}
		}
	}
	for _, s := range services {
		t.Logf("%s: put into maintenance for %d pods that came or went, one at a time: %d",
			s.name, events, p.maintained(s)-first[s])
	}
}

// TestHAProxyUsesWhatFits: of a set that is larger than any message HAProxy gets the part that fits, and keeps it.
func TestHAProxyUsesWhatFits(t *testing.T) {
	const still = 5 * time.Second
	path := installed(t, "haproxy", "haproxy")
	api := kubetest.NewServer(t)
	api.Put(kubetest.Namespace("ns"))
	s := newService(api, "large", 1000, 5000)
	startHeadless(t, api, dnsAddr)
	p := startProxy(t, path, fmt.Sprintf("dns tcp@%s:53\n    accepted_payload_size 65535", dnsAddr), 2000, s)
	least, most := inLargest(s.srvName(), s.srvSize())
	p.eventually(t, fmt.Sprintf("%d servers", least), func() bool { return len(p.up(t, s)) >= least })
	time.Sleep(still) // it is the time in which nothing may happen
	up, n := len(p.up(t, s)), p.maintained(s)
	t.Logf("%d of %d servers; put into maintenance while nothing changed: %d", up, len(s.pods()), n)
	if up < least || up > most || n > 0 {
		t.Errorf("HAProxy uses %d servers and put %d into maintenance, want %d to %d and none", up, n, least, most)
	}
}
