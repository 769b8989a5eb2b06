package headless

import (
	"maps"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/metrictest"
	"github.com/coredns-headless/headless/internal/model"

	discoveryv1 "k8s.io/api/discovery/v1"
)

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
			skipped := skips(t)
			h := watching(t, s)
			eventuallySays(t, h, "h.web A", "NOERROR 10.0.0.1")
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
			eventuallySays(t, h, "last.web A", "NOERROR 10.0.0.8")
			all := map[string]metrictest.Observed{"headless_with_selector": {Count: 2}, "headless_without_selector": {Count: 1}, "cluster_ip": {Count: 1}}
			check("after changes", all)
			if got, want := skips(t)["endpointslices annotation"], skipped["endpointslices annotation"]+1; got != want {
				t.Errorf("skipped %v annotations, want %v", got, want)
			}

			s.Put(kubetest.Service("event", "10.96.0.7"), kubetest.Namespace("event")) // a watch without an event counts as failed
			eventuallySays(t, h, "event A", "NOERROR 10.96.0.7")
			release := s.Hold(kube.Slices)
			s.Fail(kubetest.ErrExpired)
			s.Put(slice("web", "10.0.3.1"))
			s.Compact()
			release()
			eventuallySays(t, h, "h.web A", "NOERROR 10.0.3.1")
			check("after another list", all)

			unselected := kubetest.Service("web", "None")
			s.Put(unselected)
			kubetest.Eventually(t, "the Service has lost its selector", func() bool { return !h.index.ShownSpec(model.Key{Namespace: "ns", Name: "web"}).Selector })
			s.Put(slice("web", "10.0.4.1"))
			eventuallySays(t, h, "h.web A", "NOERROR 10.0.4.1")
			kubetest.Eventually(t, "the change without a selector is observed", func() bool {
				return metrictest.Since(start, metrictest.Histogram(t, programmingMetric))["headless_without_selector"].Count == 2
			})
		})
	}
}
