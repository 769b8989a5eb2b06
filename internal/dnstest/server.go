package dnstest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Serve starts a server on one port of loopback for UDP and TCP, ends it with the test, and returns its address. answer is told the
// network, "udp" or "tcp", and returns the reply, or nil for none.
func Serve(t testing.TB, answer func(network string, r *dns.Msg) *dns.Msg) string {
	t.Helper()
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := answer(w.LocalAddr().Network(), r)
		if m == nil {
			_ = w.Close() // a client over TCP does not wait then
			return
		}
		m.Compress = true
		_ = w.WriteMsg(m) // the client will notice
	})
	var err error
	for range 20 { // the port of one may be another one's over the other network
		tcp := &dns.Server{Addr: "127.0.0.1:0", Net: "tcp", Handler: handler, MaxTCPQueries: -1}
		if err = Start(t, tcp); err != nil {
			break
		}
		addr := tcp.Listener.Addr().String()
		if err = Start(t, &dns.Server{Addr: addr, Net: "udp", Handler: handler}); err == nil {
			return addr
		}
	}
	t.Fatalf("no server: %v", err)
	return ""
}

// Start starts s, and ends it with the test. The error says why s does not listen.
func Start(t testing.TB, s *dns.Server) error {
	started := make(chan error, 1)
	s.NotifyStartedFunc = func() { started <- nil }
	var serving sync.WaitGroup
	serving.Go(func() { started <- s.ListenAndServe() })
	if err := <-started; err != nil {
		return err
	}
	t.Cleanup(func() {
		if err := s.Shutdown(); err != nil {
			t.Error(err)
		}
		serving.Wait()
	})
	return nil
}

// FreeAddr returns an address of loopback that nobody listens on. Where the system has more than one, it is not that which
// connections come from, whose ports are soon used again.
func FreeAddr(t testing.TB) string {
	t.Helper()
	own := fmt.Sprintf("127.%d.%d.%d:0", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	l, err := net.Listen("tcp", own)
	if err != nil {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // nobody has connected
	return l.Addr().String()
}
