package kube

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/fatal"
)

func TestRateLimiterIsThatOfTheOptions(t *testing.T) {
	for _, tt := range []struct {
		options  Options
		requests int           // ten is a burst of client-go's own
		took     time.Duration // all of them
	}{
		{Options{}, 10, 0},
		{Options{}, 11, time.Second / 5},
		{Options{QPS: 2}, 12, time.Second},
		{Options{Burst: 1}, 2, time.Second / 5},
		{Options{QPS: 0.5, Burst: 3}, 4, 2 * time.Second},
		{Options{QPS: 100, Burst: 200}, 200, 0},
	} {
		bubble.Test(t, func(t *testing.T) {
			tt.options.Endpoint = "http://127.0.0.1:1"
			rc, err := tt.options.clientConfig("")
			fatal.If(t, err)
			began := time.Now()
			for range tt.requests {
				fatal.If(t, rc.RateLimiter.Wait(t.Context()))
			}
			if took := time.Since(began).Round(time.Millisecond); took != tt.took {
				t.Errorf("%+v: %d requests took %v, want %v", tt.options, tt.requests, took, tt.took)
			}
		})
	}
}

// roundTripper is an http.RoundTripper made of a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestMaxInflightLimitsRequests(t *testing.T) {
	for _, tt := range []struct {
		most int
		want int // of five requests
	}{
		{1, 1},
		{2, 2},
		{0, 5},
	} {
		bubble.Test(t, func(t *testing.T) {
			o := Options{Endpoint: "http://127.0.0.1:1", MaxInflight: tt.most}
			rc, err := o.clientConfig("")
			fatal.If(t, err)
			var inflight, done atomic.Int32
			answer := make(chan struct{})
			transport := http.RoundTripper(roundTripper(func(*http.Request) (*http.Response, error) {
				inflight.Add(1)
				defer inflight.Add(-1)
				<-answer
				return &http.Response{Body: http.NoBody}, nil
			}))
			if rc.WrapTransport != nil {
				transport = rc.WrapTransport(transport)
			}
			ctx, cancel := context.WithCancel(t.Context())
			for range 5 {
				go func() {
					defer done.Add(1)
					_, _ = transport.RoundTrip(httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
				}()
			}
			check := func(what string, inflightWant, doneWant int) {
				synctest.Wait()
				if i, d := int(inflight.Load()), int(done.Load()); i != inflightWant || d != doneWant {
					t.Errorf("at most %d, %s: %d in flight, %d done, want %d and %d", tt.most, what, i, d, inflightWant, doneWant)
				}
			}
			check("five requests", tt.want, 0)
			answer <- struct{}{}
			check("one is answered", min(tt.want, 4), 1)
			cancel()
			check("those that wait give up", min(tt.want, 4), 5-min(tt.want, 4))
			close(answer)
		})
	}
}
