package e2e

import (
	"crypto/tls"
	"io"
	golog "log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/test/cluster"
)

// proxy passes TCP connections on to the API server of a cluster, and harms them: new ones as its harm says, those that there
// are by its methods.
type proxy struct {
	listener net.Listener
	server   string // the address and the port of the API server
	running  sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	harm  harm
	pairs map[*pair]bool
}

// harm is what a proxy does to connections.
type harm struct {
	reset  bool          // new ones are reset
	silent bool          // new ones are accepted, and nothing is ever said
	delay  time.Duration // what is read on any is kept for as long, in each direction
	server string        // new ones are passed on to this one
}

// pair is a connection of a client, and the one that it is passed on to.
type pair struct {
	client, server *net.TCPConn

	mu       sync.Mutex // guards the fields below
	isDead   bool       // what comes is thrown away
	truncate bool       // half of what the server says next is passed on, and then both end
}

// startProxy starts a proxy in front of the API server of c. It ends with the test.
func startProxy(t *testing.T, c *cluster.Cluster) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	fatal.If(t, err)
	p := &proxy{listener: listener, server: strings.TrimPrefix(c.Config.Host, "https://"), pairs: make(map[*pair]bool)}
	p.running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.take(client.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.set(harm{reset: true})
		p.cut()
		p.running.Wait()
	})
	return p
}

// url returns what stands for the API server's URL.
func (p *proxy) url() string { return "https://" + p.listener.Addr().String() }

// set sets what is done to connections from now on.
func (p *proxy) set(h harm) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.harm = h
}

// cut resets all connections that there are.
func (p *proxy) cut() {
	p.each(func(c *pair) {
		reset(c.client)
		reset(c.server)
	})
}

// swallow makes nothing pass any more on the connections that there are. They stay open.
func (p *proxy) swallow() {
	p.each(func(c *pair) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.isDead = true
	})
}

// truncate ends each of the connections that there are in the midst of what the server says next.
func (p *proxy) truncate() {
	p.each(func(c *pair) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.truncate = true
	})
}

func (p *proxy) each(do func(*pair)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		do(c)
	}
}

func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0) // it may be closed, and is next
	_ = conn.Close()
}

// take takes a new connection, and returns when it has ended.
func (p *proxy) take(client *net.TCPConn) {
	p.mu.Lock()
	h := p.harm
	p.mu.Unlock()
	address := p.server
	if h.server != "" {
		address = h.server
	}
	server, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		reset(client)
		return
	}
	c := &pair{client: client, server: server.(*net.TCPConn), isDead: h.silent}
	p.mu.Lock()
	isReset := p.harm.reset
	p.pairs[c] = true
	p.mu.Unlock()
	if isReset {
		reset(client)
	}
	var passing sync.WaitGroup
	passing.Go(func() { p.pass(c, c.client, c.server) })
	passing.Go(func() { p.pass(c, c.server, c.client) })
	passing.Wait()
	p.mu.Lock()
	delete(p.pairs, c)
	p.mu.Unlock()
}

// pass passes on what comes, until either side ends.
func (p *proxy) pass(c *pair, from, to *net.TCPConn) {
	defer c.client.Close() //nolint:errcheck // the other end learns of it
	defer c.server.Close() //nolint:errcheck // the same
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		delay := p.harm.delay
		p.mu.Unlock()
		time.Sleep(delay)
		c.mu.Lock()
		isDead, isLast := c.isDead, c.truncate && from == c.server
		c.mu.Unlock()
		if isLast {
			n /= 2
		}
		if !isDead {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil || isLast {
			return
		}
	}
}

// startStatusServer starts a server that has the certificate of the API server of c, and answers each request with one HTTP
// status. It returns its address and its port. It ends with the test.
func startStatusServer(t *testing.T, c *cluster.Cluster, status int) string {
	t.Helper()
	dir := filepath.Dir(c.Kubeconfig())
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"))
	fatal.If(t, err)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1") // as an API server does
		}
		http.Error(w, http.StatusText(status), status)
	}))
	s.TLS, s.EnableHTTP2 = &tls.Config{Certificates: []tls.Certificate{certificate}}, true
	s.Config.ErrorLog = golog.New(io.Discard, "", 0) // connections are cut, by intent
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}
