package dnsdiff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/time/rate"
)

// server is one of the two that are compared. Its methods are safe for concurrent use.
type server struct {
	role    string // old or new
	addr    string
	limiter *rate.Limiter
	timeout time.Duration
	retries int
	bufsize uint16
	idle    chan *dns.Conn // open TCP connections that are not in use

	queries atomic.Int64
	silent  atomic.Int64 // names that were given up since the last reply
	replied atomic.Int64 // Unix time of the last reply, in nanoseconds
}

func newServer(role, addr string, o *options) *server {
	return &server{
		role: role, addr: addr, limiter: rate.NewLimiter(rate.Limit(o.rate), 1), timeout: o.timeout,
		retries: o.retries, bufsize: o.bufsize, idle: make(chan *dns.Conn, o.concurrency),
	}
}

// ask returns the reply over "udp" or "tcp". When none comes it asks again, some times, and returns why.
func (s *server) ask(ctx context.Context, network, name string, qtype uint16) (m *dns.Msg, err error) {
	for range s.retries + 1 {
		if err := s.limiter.Wait(ctx); err != nil {
			return nil, context.Cause(ctx)
		}
		s.queries.Add(1)
		if m, err = s.exchange(ctx, network, name, qtype); err == nil {
			s.silent.Store(0)
			s.replied.Store(time.Now().UnixNano())
			return m, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	s.silent.Add(1)
	return nil, errors.New(why(err))
}

// isGone reports whether the server has said nothing for too long, to several questions.
func (s *server) isGone() bool {
	return s.silent.Load() >= 10 && time.Since(time.Unix(0, s.replied.Load())) > patience
}

// exchange sends one query.
func (s *server) exchange(ctx context.Context, network, name string, qtype uint16) (*dns.Msg, error) {
	r := new(dns.Msg).SetQuestion(name, qtype)
	if s.bufsize > 0 {
		r.SetEdns0(s.bufsize, false)
	}
	client := &dns.Client{Net: network, Timeout: s.timeout}
	if network == "udp" {
		m, _, err := client.ExchangeContext(ctx, r, s.addr)
		return m, err
	}
	for {
		conn, isIdle := s.takeIdle()
		if !isIdle {
			var err error
			if conn, err = client.DialContext(ctx, s.addr); err != nil {
				return nil, err
			}
		}
		m, _, err := client.ExchangeWithConnContext(ctx, r, conn)
		if err == nil {
			s.putIdle(conn)
			return m, nil
		}
		_ = conn.Close() // it is broken, or out of step
		if isTimeout := errors.Is(err, os.ErrDeadlineExceeded); !isIdle || isTimeout {
			return nil, err
		} // the server has closed the connection, as it may
	}
}

// takeIdle returns a connection that is open, or false.
func (s *server) takeIdle() (*dns.Conn, bool) {
	select {
	case conn := <-s.idle:
		return conn, true
	default:
		return nil, false
	}
}

func (s *server) putIdle(conn *dns.Conn) {
	select {
	case s.idle <- conn:
	default:
		_ = conn.Close() // there are enough
	}
}

// close closes what is open.
func (s *server) close() {
	for conn, ok := s.takeIdle(); ok; conn, ok = s.takeIdle() {
		_ = conn.Close() // nothing is on its way
	}
}

// why returns in a few words, which are the same for all names, why there was no reply.
func why(err error) string {
	timeout := net.Error(nil)
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	return err.Error()
}

// serves returns an error unless the server answers for a zone. Until the deadline it waits for one that does not know the cluster yet.
func (s *server) serves(ctx context.Context, network, zone string, deadline time.Time) error {
	for {
		m, err := s.ask(ctx, network, zone, dns.TypeSOA)
		switch {
		case err != nil:
			return fmt.Errorf("the %s server %s does not answer over %s: %w", s.role, s.addr, network, err)
		case m.Rcode == dns.RcodeServerFailure && time.Now().Before(deadline):
			if err := sleep(ctx, time.Second); err != nil {
				return err
			}
		case m.Rcode != dns.RcodeSuccess:
			return fmt.Errorf("the %s server %s does not serve the zone %s: it answers %s", s.role, s.addr, zone, dns.RcodeToString[m.Rcode])
		case len(m.Answer) == 0:
			return fmt.Errorf("the %s server %s does not serve the zone %s: it has no SOA record", s.role, s.addr, zone)
		default:
			return nil
		}
	}
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
