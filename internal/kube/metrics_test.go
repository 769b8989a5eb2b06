package kube_test

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/metrictest"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
			watching(t, at(s))
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
	started(t, at(s))
	host := strings.TrimPrefix(s.URL, "http://")
	kubetest.Eventually(t, "an error is counted", func() bool {
		return metrictest.Values(t, requestsMetric)["<error> "+host+" GET"] > 0
	})
}

const programmingMetric = "coredns_headless_dns_programming_duration_seconds"

func TestProgrammingLatencyIsOfChangesThatAWatchBrings(t *testing.T) { // not parallel: it reads metrics
	for way, setup := range map[string]func(*kubetest.Server){"streamed": func(*kubetest.Server) {}, "listed": (*kubetest.Server).RefuseStreams} {
		t.Run(way, func(t *testing.T) {
			// The times lie ahead, so that lists would count too. The latency is 0 then.
			slice := func(service, address string) *discoveryv1.EndpointSlice {
				return kubetest.Triggered(kubetest.Slice(service+"-a", service, address, "h"), time.Now().Add(time.Hour).Format(time.RFC3339Nano))
			}
			s := kubetest.NewServer(t)
			s.Put(kubetest.Namespace("ns"), kubetest.WithSelector(kubetest.Service("web", "None")), kubetest.Service("byhand", "None"), kubetest.Service("db", "10.96.0.1"))
			s.Put(slice("web", "10.0.0.1"), slice("byhand", "10.0.0.2"), slice("db", "10.0.0.3"))
			setup(s)
			start := metrictest.Histogram(t, programmingMetric)
			annotations := func() float64 {
				return metrictest.Values(t, "coredns_headless_skipped_total")["annotation "+kube.Slices]
			}
			skipped := annotations()
			c := watching(t, at(s))
			check := func(when string, want map[string]metrictest.Observed) {
				t.Helper()
				if got := metrictest.Since(start, metrictest.Histogram(t, programmingMetric)); !maps.Equal(got, want) {
					t.Errorf("%s: observed %v, want %v", when, got, want)
				}
			}
			check("after the first list", map[string]metrictest.Observed{})

			s.Put(slice("web", "10.0.1.1"), slice("byhand", "10.0.1.2"), slice("db", "10.0.1.3"), slice("web", "10.0.2.1"))
			s.Put(kubetest.Triggered(kubetest.Slice("web-b", "web", "10.0.0.9", "i"), "garbage"))
			s.Delete(slice("db", ""))
			s.Put(kubetest.Slice("last", "web", "10.0.0.8", "last"))
			eventuallyHas(t, c, "endpointslices ns/last", "web http:80 last 10.0.0.8")
			all := map[string]metrictest.Observed{"headless_with_selector": {Count: 2}, "headless_without_selector": {Count: 1}, "cluster_ip": {Count: 1}}
			check("after changes", all)
			if got, want := annotations(), skipped+1; got != want {
				t.Errorf("skipped %v annotations, want %v", got, want)
			}

			s.Put(kubetest.Service("event", "10.96.0.7"), kubetest.Namespace("event")) // a watch without an event counts as failed
			eventuallyHas(t, c, "services ns/event", "cluster_ip http:80 10.96.0.7")
			release := s.Hold(kube.Slices)
			s.Fail(kubetest.ErrExpired)
			s.Put(slice("web", "10.0.3.1"))
			s.Compact()
			release()
			eventuallyHas(t, c, "endpointslices ns/web-a", "web http:80 h 10.0.3.1")
			check("after another list", all)

			s.Put(kubetest.Service("web", "None"))
			eventuallyHas(t, c, "services ns/web", "headless_without_selector http:80")
			s.Put(slice("web", "10.0.4.1"))
			kubetest.Eventually(t, "the change without a selector is observed", func() bool {
				return metrictest.Since(start, metrictest.Histogram(t, programmingMetric))["headless_without_selector"].Count == 2
			})
		})
	}
}

// TestMetricsOfWatches ends the watches in each way and sees it counted.
func TestMetricsOfWatches(t *testing.T) { // not parallel: it reads counters
	restarts := func() (counts []float64) {
		for _, end := range kube.WatchEnds {
			counts = append(counts, metrictest.Values(t, "coredns_headless_watch_restarts_total")[end+" services"])
		}
		return counts
	}
	for isSecure, form := range forms {
		dead := "silent" // nothing else shows it
		if isSecure {
			dead = "broken" // a ping of HTTP/2
		}
		bubble.Test(t, func(t *testing.T) {
			n, s := kubetest.NewNetwork(t, isSecure)
			c := watching(t, over(n))
			for _, c := range []struct {
				name string
				end  func()
				want string
			}{
				{"the server ends it", s.End, "closed"},
				{"the connection breaks", s.Cut, "broken"},
				{"the connection is dead", func() {
					n.Set(kubetest.Losing)
					time.Sleep(2 * kube.MaxSilence)
					n.Set(kubetest.NoFault)
				}, dead},
				{"the server has nothing to say", func() { time.Sleep(kube.MaxSilence + time.Second) }, "silent"},
				{"the version is forgotten", func() { s.Fail(kubetest.ErrExpired) }, "expired"},
				{"the version is not there yet", func() { s.Fail(kubetest.ErrTooLarge) }, "expired"},
				{"the server fails", func() { s.Fail(apierrors.NewInternalError(errors.New("oops"))) }, "error"},
				{"the server sends garbage", func() {
					for _, resource := range everyResource {
						s.Inject(resource, func(w *kubetest.Watch) []byte { return w.Frame([]byte("garbage")) })
					}
				}, "error"},
			} {
				idle(s, 2*time.Minute)
				want := restarts()
				want[slices.Index(kube.WatchEnds, c.want)]++
				c.end()
				idle(s, 2*time.Minute)
				if got := restarts(); !slices.Equal(got, want) {
					t.Errorf("%s, %s: got the counts %v of %v, want %v", form, c.name, got, kube.WatchEnds, want)
				}
			}
			want := restarts()
			c.server.Stop()
			synctest.Wait()
			if got := restarts(); !slices.Equal(got, want) {
				t.Errorf("%s, stop: got the counts %v of %v, want %v", form, got, kube.WatchEnds, want)
			}
		})
	}
}
