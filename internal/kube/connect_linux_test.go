package kube_test

import (
	"net"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/kubetest"
)

// TestConnectionsAreKeptAlive asks the kernel what it does about a connection whose other end is silent.
func TestConnectionsAreKeptAlive(t *testing.T) {
	t.Parallel()
	s := kubetest.NewWebServer(t)
	c, err := newCluster(at(s))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := c.server.Dial(t.Context(), "tcp", s.Server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	raw, err := reflect.ValueOf(conn).Elem().FieldByName("Conn").Interface().(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	option := func(level, name int) (value int) {
		t.Helper()
		if err := raw.Control(func(fd uintptr) { value, err = syscall.GetsockoptInt(int(fd), level, name) }); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	if option(syscall.SOL_SOCKET, syscall.SO_KEEPALIVE) == 0 {
		t.Error("no keep-alive")
	}
	idle, interval := option(syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE), option(syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL)
	probes := option(syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT)
	// A ping of HTTP/2 after 30 s would put it off.
	if breaks := time.Duration(idle+interval*probes) * time.Second; breaks >= 30*time.Second {
		t.Errorf("a silent connection breaks after %v, want less than 30 s", breaks)
	}
}
