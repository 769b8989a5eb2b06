package insight

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
)

// pipes is a listener in a bubble. Nothing that is written is kept anywhere: who writes waits for who reads.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6054} }

// slowly runs a test, in a bubble, of a server with some hundred Services. connect sends a request, perhaps the start of one.
func slowly(t *testing.T, explain func(), test func(t *testing.T, s *Server, connect func(request string) net.Conn)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		x := index.New(model.HostnamesReady, false, 0)
		modeltest.PutWeb(x)
		for n := range 200 {
			x.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: fmt.Sprint("service-", n)}, Kind: model.Headless})
		}
		l := &pipes{make(chan net.Conn), make(chan struct{})}
		s := Serve(l, &Subject{
			Counter: NewCounter(time.Now()), Index: x, Status: func() *Status { return new(Status) },
			Explain: func(string, string) (*Explanation, error) {
				explain()
				return new(Explanation), nil
			},
		})
		t.Cleanup(s.Close)
		test(t, s, func(request string) net.Conn {
			c, other := net.Pipe()
			t.Cleanup(func() { _ = c.Close() }) // it may be closed before
			l.accept <- other
			_, err := io.WriteString(c, request)
			if err != nil && request != "" {
				t.Fatalf("%q: %v", request, err)
			}
			synctest.Wait()
			return c
		})
	})
}

// get is the start of a request for a path.
func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n" }

// reads returns what comes on c within a time, and whether c ends.
func reads(c net.Conn, within time.Duration) (text string, ended bool) {
	if c.SetReadDeadline(time.Now().Add(within)) != nil {
		return "", true // the other side has closed it
	}
	all, err := io.ReadAll(c)
	return string(all), err == nil
}

// TestSlowReadersKeepNobodyWaiting: their replies are made, and others have their turn.
func TestSlowReadersKeepNobodyWaiting(t *testing.T) {
	slowly(t, nil, func(t *testing.T, _ *Server, connect func(string) net.Conn) {
		for range maxRequests {
			connect(get("/v1/services") + "\r\n") // and does not read the reply
		}
		began := time.Now()
		reply, err := http.ReadResponse(bufio.NewReader(connect(get("/v1/status")+"\r\n")), nil)
		if err != nil || reply.StatusCode != http.StatusOK || time.Since(began) > 0 {
			t.Errorf("while %d do not read got %+v, %v after %v, want a reply at once", maxRequests, reply, err, time.Since(began))
		}
	})
}

// TestRequestsThatDoNotEnd: the server waits neither for a header nor for what was announced to follow it, but a stream stays.
func TestRequestsThatDoNotEnd(t *testing.T) {
	for _, c := range []struct {
		name, request string
		ends          bool
		said          string
	}{
		{"half a header", get("/v1/status"), true, ""},
		{"nothing behind the header", get("/v1/status") + "Content-Length: 5\r\n\r\n", true, ""},
		{"half of a chunk", get("/v1/status") + "Transfer-Encoding: chunked\r\n\r\n5\r\nab", true, ""},
		{"a stream", get("/v1/changes") + "\r\n", false, ": still here"},
	} {
		slowly(t, nil, func(t *testing.T, _ *Server, connect func(string) net.Conn) {
			text, ended := reads(connect(c.request), 2*heartbeat)
			if ended != c.ends || !strings.Contains(text, c.said) {
				t.Errorf("%s: after %v ended %v, with %q, want %v, with %q", c.name, 2*heartbeat, ended, text, c.ends, c.said)
			}
		})
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	slowly(t, nil, func(t *testing.T, s *Server, connect func(string) net.Conn) {
		var all []net.Conn
		for range maxConnections {
			all = append(all, connect(""))
		}
		if _, ended := reads(connect(""), 0); !ended {
			t.Errorf("connection %d is open, want it to be closed at once", maxConnections+1)
		}
		if err := all[0].Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if text, _ := reads(connect(get("/v1/status")+"\r\n"), time.Second); !strings.Contains(text, "200 OK") {
			t.Errorf("after another one has gone got %q", text)
		}
		s.Close()
		if n := s.connections.Load(); n != 0 {
			t.Errorf("%d connections after the end", n)
		}
	})
}

// TestCloseWaitsForRequests that are worked on: what they look at may be gone afterwards.
func TestCloseWaitsForRequests(t *testing.T) {
	release := make(chan struct{})
	slowly(t, func() { <-release }, func(t *testing.T, s *Server, connect func(string) net.Conn) {
		release = make(chan struct{}) // of the bubble
		connect(get("/v1/explain") + "\r\n")
		closed := make(chan struct{})
		go func() {
			s.Close()
			close(closed)
		}()
		time.Sleep(time.Minute)
		select {
		case <-closed:
			t.Error("the server is closed, and works on a request")
		default:
		}
		close(release)
		<-closed
	})
}
