package headless

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	golog "log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/util/connrotation"
)

func init() {
	// client-go spaces errors by a time that it keeps for the whole process. Those of a bubble would wait for decades.
	utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:1]
}

// network joins plugins and a stub in memory. A test can break it, and run in a synctest bubble.
type network struct {
	accepting chan net.Conn
	closed    chan struct{}
	close     func() // closes closed once
	stanza    string // what makes a plugin use the stub

	// Of a server that speaks TLS:
	certificate atomic.Pointer[tls.Certificate]
	authority   string // the file with the certificate of its authority

	mu    sync.Mutex // guards the fields below
	fault fault
	wires map[*wire]bool
	dials int
}

// fault is what is wrong with a network.
type fault int

const (
	noFault   fault = iota
	refusing        // nobody listens
	losing          // every packet is lost; the connections that there are never recover
	resetting       // connections are accepted, and reset
)

// newNetwork returns a network with a stub that has the objects of newWebAPI. It speaks HTTP/1.1, or TLS and HTTP/2.
func newNetwork(t *testing.T, isSecure bool) (*network, *stubAPI) {
	t.Helper()
	n := &network{accepting: make(chan net.Conn), closed: make(chan struct{}), wires: make(map[*wire]bool)}
	n.close = sync.OnceFunc(func() { close(n.closed) })
	s := newUnstartedStubAPI(t)
	s.put(webObjects()...)
	silent := golog.New(io.Discard, "", 0)
	s.server = &httptest.Server{Listener: n, Config: &http.Server{Handler: s, ErrorLog: silent}, EnableHTTP2: isSecure}
	if !isSecure {
		s.start((*httptest.Server).Start)
		n.stanza = "endpoint " + s.url
		return n, s
	}
	certFile, keyFile := writePEM(t, t.TempDir())
	n.certificate.Store(loadCertificate(t, certFile, keyFile))
	n.authority = certFile
	// Nobody reads a session ticket while both ends of a pipe write.
	s.server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{*n.certificate.Load()}, NextProtos: []string{"h2"}, SessionTicketsDisabled: true}, nil
	}}
	s.start((*httptest.Server).StartTLS)
	n.stanza = "kubeconfig " + writeKubeconfig(t, s.url, fmt.Sprintf("{certificate-authority: %q}", certFile), "{}")
	return n, s
}

func loadCertificate(t *testing.T, certFile, keyFile string) *tls.Certificate {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	return &cert
}

// watching returns a plugin that watches over n. It stops with the test.
func (n *network) watching(t testing.TB, lines ...string) *Headless {
	t.Helper()
	h := watcher(t, append(lines, n.stanza)...)
	h.source.(*apiServer).conns = connrotation.NewDialer(n.dial)
	h.start()
	t.Cleanup(h.stop)
	return h
}

// Accept implements net.Listener.
func (n *network) Accept() (net.Conn, error) {
	select {
	case conn := <-n.accepting:
		return conn, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (n *network) Close() error {
	n.close()
	return nil
}

// Addr implements net.Listener.
func (n *network) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6443} }

// dial opens a connection. While packets are lost it tries again after one second and three, as TCP does.
func (n *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	n.mu.Lock()
	n.dials++
	n.mu.Unlock()
	for _, pause := range []time.Duration{time.Second, 2 * time.Second, dialer.Timeout - 3*time.Second} {
		w := newWire()
		switch n.add(w) {
		case refusing:
			return nil, failed("dial", syscall.ECONNREFUSED)
		case resetting:
			w.fail(failed("read", syscall.ECONNRESET))
			return w, nil
		case noFault:
			return w, nil
		default:
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, failed("dial", os.ErrDeadlineExceeded)
}

func failed(op string, err error) error { return &net.OpError{Op: op, Net: "tcp", Err: err} }

func newWire() *wire {
	closed := make(chan struct{})
	return &wire{closed: closed, close: sync.OnceFunc(func() { close(closed) })}
}

// add connects w, unless packets are lost or refused. It returns what is wrong.
func (n *network) add(w *wire) fault {
	client, server := net.Pipe()
	w.Conn = client
	n.mu.Lock()
	fault := n.fault
	if fault == noFault {
		n.wires[w] = true
	}
	n.mu.Unlock()
	if fault != noFault {
		return fault
	}
	select {
	case n.accepting <- server:
	case <-n.closed:
		return refusing
	}
	return noFault
}

// set breaks the network, or mends it.
func (n *network) set(f fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fault = f
	for w := range n.wires {
		switch f {
		case refusing, resetting:
			w.fail(failed("read", syscall.ECONNRESET))
		case losing:
			w.lose()
		default:
		}
	}
	if f != noFault {
		clear(n.wires)
	}
}

// lose makes the connections that there are lose everything, and no other.
func (n *network) lose() {
	n.set(losing)
	n.set(noFault)
}

// wire is the client's end of a connection.
type wire struct {
	net.Conn
	closed chan struct{} // by this end
	close  func()        // closes closed once

	mu   sync.Mutex // guards the fields below
	lost bool
	err  error // of all reads and writes
}

// fail ends the connection with an error.
func (w *wire) fail(err error) {
	w.mu.Lock()
	w.err = err
	w.mu.Unlock()
	_ = w.Close() // a pipe's cannot fail
}

// Close implements net.Conn.
func (w *wire) Close() error {
	w.close()
	return w.Conn.Close()
}

// lose makes the wire swallow all that is sent in either direction.
func (w *wire) lose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = true
}

func (w *wire) state() (lost bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost, w.err
}

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	for {
		n, err := w.Conn.Read(p)
		lost, failure := w.state()
		if failure != nil {
			return 0, failure
		}
		if lost && errors.Is(err, io.EOF) {
			<-w.closed // the server's end is lost too
		}
		if !lost || err != nil {
			return n, err
		}
	}
}

// Write implements net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	lost, failure := w.state()
	switch {
	case failure != nil:
		return 0, failure
	case lost:
		return len(p), nil
	}
	n, err := w.Conn.Write(p)
	if _, failure := w.state(); failure != nil {
		return n, failure
	}
	return n, err
}

// dialled returns how many connections were asked for.
func (n *network) dialled() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}
