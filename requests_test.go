package headless

import (
	"net/http"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/metrictest"
)

const requestsMetric = "coredns_headless_rest_client_requests_total"

func TestRequestsAreMeasured(t *testing.T) {
	t.Parallel()
	const (
		duration = "coredns_headless_rest_client_request_duration_seconds"
		limiter  = "coredns_headless_rest_client_rate_limiter_duration_seconds"
	)
	for _, tt := range []struct {
		name   string
		setup  func(*kubetest.Server)
		counts map[string]float64 // by code
		waited uint64             // requests that the rate limiter saw
	}{
		{"streamed", func(*kubetest.Server) {}, map[string]float64{"200": 3}, 0},
		{"listed", (*kubetest.Server).RefuseStreams, map[string]float64{"200": 6, "422": 3}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := kubetest.NewWebServer(t)
			tt.setup(s)
			watching(t, s)
			host := strings.TrimPrefix(s.URL, "http://")
			total := uint64(0)
			for code, want := range tt.counts {
				total += uint64(want)
				kubetest.Eventually(t, "requests are counted", func() bool { return metrictest.Values(t, requestsMetric)[code+" "+host+" GET"] == want })
			}
			kubetest.Eventually(t, "every request is measured", func() bool { return metrictest.Histogram(t, duration)[host+" GET"].Count == total })
			if got := metrictest.Histogram(t, limiter)[host+" GET"].Count; got != tt.waited {
				t.Errorf("%d requests waited for the rate limiter, want %d", got, tt.waited)
			}
			s.Refuse(http.StatusServiceUnavailable)
			s.Cut()
			kubetest.Eventually(t, "a refusal is counted", func() bool {
				return metrictest.Values(t, requestsMetric)["503 "+host+" GET"] > 0
			})
		})
	}
}

func TestFailedRequestIsCounted(t *testing.T) {
	t.Parallel()
	s := kubetest.NewWebServer(t)
	s.Server.Close()
	watching(t, s, "startup_timeout 0s")
	host := strings.TrimPrefix(s.URL, "http://")
	kubetest.Eventually(t, "an error is counted", func() bool {
		return metrictest.Values(t, requestsMetric)["<error> "+host+" GET"] > 0
	})
}
