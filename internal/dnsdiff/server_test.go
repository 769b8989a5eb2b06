package dnsdiff

import (
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/miekg/dns"
)

// empty returns a reply without records.
func empty(r *dns.Msg) *dns.Msg { return new(dns.Msg).SetReply(r) }

func TestAQueryIsRetried(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			var queries atomic.Int64
			addr := dnstest.Serve(t, func(_ string, r *dns.Msg) *dns.Msg {
				if queries.Add(1)%2 == 1 {
					return nil
				}
				return empty(r)
			})
			s := newServer("old", addr, &options{rate: 1000, timeout: 2 * time.Second, retries: 1, concurrency: 1})
			if _, err := s.ask(t.Context(), network, "a.", dns.TypeA); err != nil || s.queries.Load() != 2 {
				t.Errorf("got %v after %d queries, want a reply after 2", err, s.queries.Load())
			}
			s.close() // another query on the same connection would say only that it is closed
			queries.Store(0)
			s.retries = 0
			if _, err := s.ask(t.Context(), network, "a.", dns.TypeA); err == nil {
				t.Error("got a reply, want none without a retry")
			}
			s.close()
		})
	}
}

// TestAConnectionThatTheServerClosedIsOpenedAnew: a server may close one after any reply.
func TestAConnectionThatTheServerClosedIsOpenedAnew(t *testing.T) {
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) { _ = w.WriteMsg(empty(r)) }) // the client will notice
	closing := &dns.Server{Addr: "127.0.0.1:0", Net: "tcp", MaxTCPQueries: 1, Handler: handler}
	fatal.If(t, dnstest.Start(t, closing))
	s := newServer("old", closing.Listener.Addr().String(), &options{rate: 1000, timeout: 10 * time.Second, concurrency: 1})
	defer s.close()
	for range 3 {
		if _, err := s.ask(t.Context(), "tcp", "a.", dns.TypeA); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAServerIsGoneWhenItSaysNothingToSeveralQuestionsForLong(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name    string
		silent  int64
		replied time.Time
		want    bool
	}{
		{"it replies", 0, now, false},
		{"one question is not answered", 1, now.Add(-time.Hour), false},
		{"many are not, for a moment", 100, now, false},
		{"many are not, for long", 100, now.Add(-time.Hour), true},
	} {
		s := &server{}
		s.silent.Store(c.silent)
		s.replied.Store(c.replied.UnixNano())
		if got := s.isGone(); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestWhyThereIsNoReply(t *testing.T) {
	if got := why(os.ErrDeadlineExceeded); got != "timeout" {
		t.Errorf("got %q, want timeout", got)
	}
	s := newServer("old", "127.0.0.1:1", &options{rate: 1000, timeout: time.Second, concurrency: 1})
	if _, err := s.ask(t.Context(), "tcp", "a.", dns.TypeA); err == nil || err.Error() != "connection refused" {
		t.Errorf("got %v, want connection refused", err)
	}
}
