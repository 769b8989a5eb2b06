package headless

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/hostile"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/metrictest"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	_ "github.com/coredns/coredns/plugin/bufsize"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/coredns/coredns/plugin/test"
	_ "github.com/coredns/coredns/plugin/timeouts"
	"github.com/miekg/dns"
)

// neverStale is for servers that answer from no snapshot.
func neverStale(*dns.Msg, *dns.Msg) bool { return false }

// sendPacket sends a packet and then a valid query over conn, and checks the replies to both. Over TCP a conn takes any number of
// packets one after the other.
func sendPacket(conn *dnstest.Conn, packet []byte) error {
	tcp := conn.Network() == "tcp"
	if !tcp {
		packet = packet[:min(len(packet), dns.MinMsgSize)] // as the server reads it
	}
	valid := hostile.Query(hostile.InDefault("web-0", "web"), dns.TypeA)
	valid[0] = ^append(slices.Clone(packet), 0)[0] // not an ID that the packet has
	if len(packet) > 0 || tcp {                    // an empty datagram is not sent everywhere
		reply, err := hostile.Exchange(conn, packet)
		if err == nil && hostile.IsAnswered(packet) {
			err = hostile.Fault(tcp, packet, reply, neverStale)
		}
		if err != nil {
			return err
		}
	}
	reply, err := conn.Exchange(valid)
	if err != nil {
		return fmt.Errorf("a valid query behind it: %w", err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil || !bytes.Equal(reply[:2], valid[:2]) || len(m.Answer) != 1 || !strings.HasSuffix(m.Answer[0].String(), "\t10.0.0.1") {
		return fmt.Errorf("a valid query behind it has the reply %x: %w\n%v", reply, err, m)
	}
	return nil
}

// The chains of plugins in front of headless: the first lets it write octets, and loadbalance wants records.
var chains = []string{"errors\nmetadata\n", "errors\nmetadata\nloadbalance\n"}

// hostileServer starts CoreDNS, with one of chains, for the cluster of testdata/cluster.yaml.
func hostileServer(t testing.TB, options string) *server {
	t.Helper()
	return startServer(t, strings.Join(hostile.Zones, ":0 ")+":0 {\n"+bound+options+
		"\nheadless {\nmanifests testdata/cluster.yaml\n}\n}")
}

func (s *server) dial(t testing.TB, network string) *dnstest.Conn {
	t.Helper()
	conn, err := net.Dial(network, s.addr(network))
	fatal.If(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
	return dnstest.NewConn(conn, network)
}

func TestHostilePackets(t *testing.T) { // not parallel: it counts panics and goroutines
	panics := metrictest.Value(t, "coredns_panics_total")
	var conns [][]*dnstest.Conn
	for _, chain := range chains {
		s := hostileServer(t, chain)
		conns = append(conns, []*dnstest.Conn{s.dial(t, "udp"), s.dial(t, "tcp")})
	}
	before, threads := 0.0, 0
	for round := range 4 {
		for i, p := range slices.Concat(hostile.Packets(), hostile.Numbered()) {
			for _, conn := range conns[(round+i)%len(conns)] {
				if err := sendPacket(conn, p.Packet); err != nil {
					t.Fatalf("%s over %s: %x\n%v", p.Name, conn.Network(), p.Packet, err)
				}
			}
		}
		if round == len(conns)-1 { // by now all pools and caches have what they keep
			before, threads = modeltest.HeapInUse(), unparked()
		}
	}
	if after := modeltest.HeapInUse(); after > before+1<<20 {
		t.Errorf("the heap grew from %.0f to %.0f octets", before, after)
	}
	if n, stacks := goroutines(threads + 2); n > threads+2 {
		t.Errorf("%d goroutines, %d before\n%s", n, threads, stacks)
	}
	if got := metrictest.Value(t, "coredns_panics_total"); got != panics {
		t.Errorf("%v panics", got-panics)
	}
}

// TestMutatedPackets changes a few octets of packets, as FuzzPacket does, but quickly and always the same.
func TestMutatedPackets(t *testing.T) {
	t.Parallel()
	servers := wireServers(t)
	packets := hostile.Packets()
	r := rand.New(rand.NewPCG(5, 5))
	for range 2000 {
		p := modeltest.PickOne(r, packets)
		mutated := slices.Clone(p.Packet)
		for range r.IntN(4) {
			at := r.IntN(len(mutated) + 1)
			switch r.IntN(4) {
			case 0: // another octet
				mutated = append(mutated[:at:at], append([]byte{byte(r.Uint32())}, mutated[min(at+1, len(mutated)):]...)...)
			case 1: // one more
				mutated = append(mutated[:at:at], append([]byte{byte(r.Uint32())}, mutated[at:]...)...)
			case 2: // what stands behind is gone
				mutated = mutated[:at]
			case 3: // another packet's end
				other := modeltest.PickOne(r, packets).Packet
				mutated = append(mutated[:at:at], other[min(at, len(other)):]...)
			}
		}
		w := modeltest.PickOne(r, servers)
		conn := []*dnstest.Conn{w.udp, w.tcp}[r.IntN(2)]
		if err := sendPacket(conn, mutated); err != nil {
			t.Fatalf("%s, mutated to %x, over %s:\n%v", p.Name, mutated, conn.Network(), err)
		}
	}
}

// TestHostileConnections: connections that stall anywhere keep nobody from being answered, and end.
func TestHostileConnections(t *testing.T) { // not parallel: it counts goroutines
	s := hostileServer(t, chains[0]+"timeouts {\nread 1s\nidle 1s\n}")
	answered := func() {
		t.Helper()
		for _, network := range []string{"udp", "tcp"} {
			conn := s.dial(t, network)
			if err := sendPacket(conn, nil); err != nil {
				t.Fatalf("over %s: %v", network, err)
			}
			_ = conn.Close() // all is said
		}
	}
	answered()
	before, used := unparked(), modeltest.HeapInUse()
	message := hostile.Query(hostile.InDefault("web-0", "web"), dns.TypeA)
	whole := append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
	stalls := [][]byte{{}, whole[:1], whole[:2], whole[:20], append(slices.Clone(whole), whole[:10]...), {0xff, 0xff, 0}, {0, 0, 0}}
	var conns []net.Conn
	for len(conns) < 2000 {
		conn, err := net.Dial("tcp", s.tcp)
		if errors.Is(err, syscall.EMFILE) && len(conns) > 100 {
			break // as many as this process may have
		}
		if err != nil {
			t.Fatalf("connection %d: %v", len(conns), err)
		}
		t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
		conns = append(conns, conn)
		if _, err := conn.Write(stalls[len(conns)%len(stalls)]); err != nil {
			t.Fatal(err)
		}
		if len(conns)%100 == 0 {
			answered()
		}
	}
	t.Logf("%d connections that stall", len(conns))
	answered()
	for i, conn := range conns {
		fatal.If(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("connection %d: the server waits for ever behind %x", i, stalls[(i+1)%len(stalls)])
		}
		_ = conn.Close() // the server has
		if i%100 == 0 {
			answered()
		}
	}
	if n, stacks := goroutines(before + 2); n > before+2 {
		t.Errorf("%d goroutines, %d before\n%s", n, before, stacks)
	}
	if after := modeltest.HeapInUse(); after > used+4<<20 {
		t.Errorf("the heap grew from %.0f to %.0f octets", used, after)
	}
}

// wireServer is CoreDNS from a packet's first octet to the last one of the reply, without sockets.
type wireServer struct {
	udp   *dnstest.Conn // the clients' end
	tcp   *dnstest.Conn // that of a connection for all to use
	conns chan net.Conn // to be accepted
}

// newWireServer starts a server for the zones of h, with plugins in front of it. Other names are refused by another plugin
// behind it.
func newWireServer(t testing.TB, h *Headless, fronts ...plugin.Plugin) *wireServer {
	t.Helper()
	config := &dnsserver.Config{
		Zone: ".", Debug: true, // a panic is not caught
		ReadTimeout: time.Hour, IdleTimeout: time.Hour, // a fuzzer may leave tcp alone for a while
	}
	for _, front := range fronts {
		config.AddPlugin(front)
	}
	config.AddPlugin(func(next plugin.Handler) plugin.Handler {
		h.Next = next
		return h
	})
	config.AddPlugin(func(plugin.Handler) plugin.Handler { return refuser{} })
	s, err := dnsserver.NewServer("dns://127.0.0.1:53", []*dnsserver.Config{config})
	fatal.If(t, err)
	clog.D.Clear() // the messages of debug
	w := &wireServer{conns: make(chan net.Conn)}
	client, end := net.Pipe()
	w.udp = dnstest.NewConn(client, "udp")
	var running sync.WaitGroup
	closed := make(chan struct{})
	running.Go(func() { _ = s.ServePacket(&pipePacketConn{end}) }) // it ends with Stop
	running.Go(func() { _ = s.Serve(&pipeListener{w.conns, closed, sync.Once{}}) })
	w.tcp = dnstest.NewConn(w.connect(), "tcp")
	t.Cleanup(func() {
		_, _ = w.udp.Close(), w.tcp.Close() // pipes
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
	return w
}

// wireServers returns one that writes octets and one that writes records.
func wireServers(t testing.TB) []*wireServer {
	t.Helper()
	return []*wireServer{newWireServer(t, newTestHeadless(t, "")), newWireServer(t, newTestHeadless(t, ""), inRecords)}
}

// inRecords is a plugin for which headless makes records: it does not know the type of its writer.
func inRecords(next plugin.Handler) plugin.Handler {
	return plugin.HandlerFunc(func(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		return plugin.NextOrFailure("records", next, ctx, struct{ dns.ResponseWriter }{w}, r)
	})
}

// refuser is what stands behind headless.
type refuser struct{}

// Name implements plugin.Handler. A server that has forward hands queries of all classes to its plugins.
func (refuser) Name() string { return "forward" }

// ServeDNS implements plugin.Handler.
func (refuser) ServeDNS(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) {
	return dns.RcodeRefused, nil
}

// connect returns a new TCP connection to the server.
func (w *wireServer) connect() net.Conn {
	client, end := net.Pipe()
	w.conns <- pipeConn{end}
	return client
}

// pipeConn is a pipe that looks like a TCP connection.
type pipeConn struct{ net.Conn }

func (pipeConn) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53} }
func (pipeConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000} }

// pipePacketConn is a pipe that looks like a UDP socket: what is written at once is a datagram.
type pipePacketConn struct{ net.Conn }

func (p *pipePacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := p.Read(b)
	return n, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000}, err
}

func (p *pipePacketConn) WriteTo(b []byte, _ net.Addr) (int, error) { return p.Write(b) }

func (*pipePacketConn) LocalAddr() net.Addr {
	return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53}
}

// pipeListener accepts the connections of a wireServer.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (*pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53} }

func FuzzPacket(f *testing.F) {
	for i, p := range hostile.Packets() {
		f.Add(p.Packet, uint8(i))
	}
	servers := wireServers(f)
	f.Fuzz(func(t *testing.T, packet []byte, way uint8) {
		w := servers[way/3%2]
		switch way % 3 {
		case 0:
			if err := sendPacket(w.udp, packet); err != nil {
				t.Fatalf("over UDP: %x\n%v", packet, err)
			}
		case 1:
			if err := sendPacket(w.tcp, packet[:min(len(packet), dns.MaxMsgSize)]); err != nil {
				t.Fatalf("over TCP: %x\n%v", packet, err)
			}
		case 2: // a connection that carries these octets and ends
			conn := w.connect()
			var reading sync.WaitGroup
			reading.Go(func() { _, _ = io.Copy(io.Discard, conn) }) // it ends with the connection
			_ = conn.SetDeadline(time.Now().Add(kubetest.Patience)) // a pipe
			if _, err := conn.Write(packet); err != nil {
				t.Fatalf("over a connection: %x\n%v", packet, err)
			}
			_ = conn.Close() // a pipe
			reading.Wait()
			if err := sendPacket(w.tcp, nil); err != nil {
				t.Fatalf("behind a connection that ended: %x\n%v", packet, err)
			}
		}
	})
}

// TestAmplification measures how much longer than a query over UDP its reply can be, which docs/scale.md tells. The worst is a large
// Service with the shortest of names.
func TestAmplification(t *testing.T) {
	t.Parallel()
	h := newTestHeadlessFrom(t, "headless "+strings.Join(hostile.Zones, " ")+" {\nmanifests examples testdata/cluster.yaml\n}")
	h.index.PutNamespace(&model.Namespace{Key: model.Key{Namespace: "", Name: "n"}})
	h.index.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: "s"}, Kind: model.Headless})
	large := modeltest.BigSlice(0, 5000, model.Ready)
	large.Key, large.Service = model.Key{Namespace: "n", Name: "s-1"}, "s"
	h.index.PutSlice(large)
	h.local = []netip.Addr{netip.MustParseAddr("192.0.2.53")} // no endpoint of s
	w := newWireServer(t, h)
	names := []string{"cluster.local.", "ns.dns.cluster.local.", "dns-version.cluster.local.", "nobody.default.svc.cluster.local.", "7.0.1.10.in-addr.arpa."}
	for q := range h.index.Freeze().Names(0) {
		if q.Service != "s" || q.Hostname == "" { // the endpoints of s are alike
			names = append(names, q.FQDN("cluster.local."))
		}
	}
	for _, size := range []uint16{0, 1232, 4096, 65535} {
		worst, what := 0.0, ""
		for _, name := range names {
			for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeNS, dns.TypeSOA, dns.TypeTXT, dns.TypeANY} {
				packet, err := dnstest.Query(name, qtype, size).Pack()
				fatal.If(t, err)
				reply, err := w.udp.Exchange(packet)
				if err == nil {
					err = hostile.Fault(false, packet, reply, neverStale) // longer than asked for, among others
				}
				if err != nil {
					t.Fatalf("%s %s with a buffer of %d octets: %v", name, dns.TypeToString[qtype], size, err)
				}
				if factor := float64(len(reply)) / float64(len(packet)); factor > worst {
					worst, what = factor, fmt.Sprintf("%s %s: %d octets for %d", name, dns.TypeToString[qtype], len(reply), len(packet))
				}
			}
		}
		t.Logf("buffer %d: %.1f, by %s", size, worst, what)
		if worst < 8 {
			t.Errorf("buffer %d: no reply is long: nothing was measured", size)
		}
	}
}

// TestBufsizeLimitsReplies: the bufsize plugin, which docs/scale.md recommends, does what it is recommended for.
func TestBufsizeLimitsReplies(t *testing.T) {
	s := startServer(t, "cluster.local:0 {\n"+bound+"bufsize 1232\nheadless {\nmanifests "+bigManifest(t, 5000)+"\n}\n}")
	for _, question := range []string{"web.default.svc.cluster.local. A", "web.default.svc.cluster.local. SRV", "_http._tcp.web.default.svc.cluster.local. SRV"} {
		packet, err := dnstest.Question(question, dns.MaxMsgSize).Pack()
		fatal.If(t, err)
		reply, err := s.dial(t, "udp").Exchange(packet)
		if err != nil || len(reply) > 1232 || len(reply) < 1000 {
			t.Errorf("%s: %d octets, %v, want almost 1232", question, len(reply), err)
		}
	}
}

// unread is a TCP client that does not read: a write waits until the connection is closed.
type unread struct {
	test.ResponseWriter
	closed chan struct{}
}

func (u *unread) WriteMsg(*dns.Msg) error {
	<-u.closed
	return net.ErrClosed
}

func (u *unread) Close() error {
	close(u.closed)
	return nil
}

// TestClientThatDoesNotReadIsCutOff: over TCP, after a time and not before.
func TestClientThatDoesNotReadIsCutOff(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h, began := newTestHeadless(t, ""), time.Now()
		w := &unread{test.ResponseWriter{TCP: true}, make(chan struct{})}
		if _, err := h.ServeDNS(t.Context(), w, dnstest.Question("web.default.svc.cluster.local. A", 0)); err != nil || time.Since(began) != stallTime {
			t.Errorf("%v, after %v, want %v", err, time.Since(began), stallTime)
		}
	})
}
