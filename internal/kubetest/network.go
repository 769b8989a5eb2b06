package kubetest

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
)

func init() {
	// client-go spaces errors by a time that it keeps for the whole process. Those of a bubble would wait for decades.
	utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:1]
}

// Network joins clients and a Server in memory. A test can break it, and run in a synctest bubble.
type Network struct {
	accepting  chan net.Conn
	closed     chan struct{}
	close      func() // closes closed once
	Kubeconfig string // the file that names the Server

	// Of a server that speaks TLS:
	Certificate atomic.Pointer[tls.Certificate]
	Authority   string // the file with the certificate of its authority

	mu    sync.Mutex // guards the fields below
	fault Fault
	wires map[*wire]bool
	dials int
}

// Fault is what is wrong with a network.
type Fault int

// The faults.
const (
	NoFault   Fault = iota
	Refusing        // nobody listens
	Losing          // every packet is lost; the connections that there are never recover
	Resetting       // connections are accepted, and reset
)

// NewNetwork returns a network with a Server that has the objects of NewWebServer. It speaks HTTP/1.1, or TLS and HTTP/2.
func NewNetwork(t *testing.T, isSecure bool) (*Network, *Server) {
	t.Helper()
	n := &Network{accepting: make(chan net.Conn), closed: make(chan struct{}), wires: make(map[*wire]bool)}
	n.close = sync.OnceFunc(func() { close(n.closed) })
	s := New()
	s.Put(WebObjects()...)
	silent := golog.New(io.Discard, "", 0)
	s.Server = &httptest.Server{Listener: n, Config: &http.Server{Handler: s, ErrorLog: silent}, EnableHTTP2: isSecure}
	if !isSecure {
		s.start(t, (*httptest.Server).Start)
		n.Kubeconfig = WriteKubeconfig(t, s.URL, "{}", "{}")
		return n, s
	}
	certFile, keyFile := WritePEM(t, t.TempDir())
	n.Certificate.Store(LoadCertificate(t, certFile, keyFile))
	n.Authority = certFile
	// Nobody reads a session ticket while both ends of a pipe write.
	s.Server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{*n.Certificate.Load()}, NextProtos: []string{"h2"}, SessionTicketsDisabled: true}, nil
	}}
	s.start(t, (*httptest.Server).StartTLS)
	n.Kubeconfig = WriteKubeconfig(t, s.URL, fmt.Sprintf("{certificate-authority: %q}", certFile), "{}")
	return n, s
}

// LoadCertificate reads a certificate and its key.
func LoadCertificate(t *testing.T, certFile, keyFile string) *tls.Certificate {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	return &cert
}

// Accept implements net.Listener.
func (n *Network) Accept() (net.Conn, error) {
	select {
	case conn := <-n.accepting:
		return conn, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (n *Network) Close() error {
	n.close()
	return nil
}

// Addr implements net.Listener.
func (n *Network) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6443} }

// Dial opens a connection. While packets are lost it tries again after one second and three, as TCP does.
func (n *Network) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	n.mu.Lock()
	n.dials++
	n.mu.Unlock()
	for _, pause := range []time.Duration{time.Second, 2 * time.Second, 5*time.Second - 3*time.Second} {
		w := newWire()
		switch n.add(w) {
		case Refusing:
			return nil, failed("dial", syscall.ECONNREFUSED)
		case Resetting:
			w.fail(failed("read", syscall.ECONNRESET))
			return w, nil
		case NoFault:
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
func (n *Network) add(w *wire) Fault {
	client, server := net.Pipe()
	w.Conn = client
	n.mu.Lock()
	fault := n.fault
	if fault == NoFault {
		n.wires[w] = true
	}
	n.mu.Unlock()
	if fault != NoFault {
		return fault
	}
	select {
	case n.accepting <- server:
	case <-n.closed:
		return Refusing
	}
	return NoFault
}

// Set breaks the network, or mends it.
func (n *Network) Set(f Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fault = f
	for w := range n.wires {
		switch f {
		case Refusing, Resetting:
			w.fail(failed("read", syscall.ECONNRESET))
		case Losing:
			w.lose()
		default:
		}
	}
	if f != NoFault {
		clear(n.wires)
	}
}

// Lose makes the connections that there are lose everything, and no other.
func (n *Network) Lose() {
	n.Set(Losing)
	n.Set(NoFault)
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

// Dialled returns how many connections were asked for.
func (n *Network) Dialled() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}
