package headless

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// ofHost returns how often a histogram of requests has observed something for GET requests to s.
func (s *stubAPI) ofHost(metric string) uint64 {
	s.t.Helper()
	return histogram(s.t, metric)[strings.TrimPrefix(s.url, "http://")+" GET"].count
}

func TestRequestsAreMeasured(t *testing.T) {
	t.Parallel()
	const (
		duration = "coredns_headless_rest_client_request_duration_seconds"
		limiter  = "coredns_headless_rest_client_rate_limiter_duration_seconds"
	)
	for _, tt := range []struct {
		name   string
		setup  func(*stubAPI)
		counts map[string]float64 // by code
		waited uint64             // requests that the rate limiter saw
	}{
		{"streamed", func(*stubAPI) {}, map[string]float64{"200": 3}, 0},
		{"listed", (*stubAPI).refuseStreams, map[string]float64{"200": 6, "422": 3}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newWebAPI(t)
			tt.setup(s)
			watching(t, s)
			host := strings.TrimPrefix(s.url, "http://")
			total := uint64(0)
			for code, want := range tt.counts {
				total += uint64(want)
				eventually(t, "requests are counted", func() bool {
					return testutil.ToFloat64(requestsTotal.WithLabelValues(code, http.MethodGet, host)) == want
				})
			}
			eventually(t, "every request is measured", func() bool { return s.ofHost(duration) == total })
			if got := s.ofHost(limiter); got != tt.waited {
				t.Errorf("%d requests waited for the rate limiter, want %d", got, tt.waited)
			}
			s.refuse(http.StatusServiceUnavailable)
			s.cut()
			eventually(t, "a refusal is counted", func() bool {
				return testutil.ToFloat64(requestsTotal.WithLabelValues("503", http.MethodGet, host)) > 0
			})
		})
	}
}

func TestFailedRequestIsCounted(t *testing.T) {
	t.Parallel()
	s := newWebAPI(t)
	s.server.Close()
	watching(t, s, "startup_timeout 0s")
	host := strings.TrimPrefix(s.url, "http://")
	eventually(t, "an error is counted", func() bool {
		return testutil.ToFloat64(requestsTotal.WithLabelValues("<error>", http.MethodGet, host)) > 0
	})
}

func TestRateLimiterIsThatOfTheStanza(t *testing.T) {
	for _, tt := range []struct {
		lines    string
		requests int           // ten is a burst of client-go's own
		took     time.Duration // all of them
	}{
		{"", 10, 0},
		{"", 11, time.Second / 5},
		{"apiserver_qps 0\napiserver_burst 0", 11, time.Second / 5},
		{"apiserver_qps 2", 12, time.Second},
		{"apiserver_burst 1", 2, time.Second / 5},
		{"apiserver_qps 0.5\napiserver_burst 3", 4, 2 * time.Second},
		{"apiserver_qps 100\napiserver_burst 200", 200, 0},
	} {
		bubble.Test(t, func(t *testing.T) {
			rc, err := watcher(t, "endpoint http://127.0.0.1:1\n"+tt.lines).clientConfig()
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			for range tt.requests {
				if err := rc.RateLimiter.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if took := time.Since(began).Round(time.Millisecond); took != tt.took {
				t.Errorf("%q: %d requests took %v, want %v", tt.lines, tt.requests, took, tt.took)
			}
		})
	}
}
