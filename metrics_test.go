package headless

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestStateMetrics(t *testing.T) {
	s := newWebAPI(t)
	h := watching(t, s, "hold 1m")
	s.delete(stubSlice("web-a", "web", "10.0.0.1", "web-0")) // its Service stands, so its endpoint is held
	eventually(t, "the endpoint is held", func() bool { return h.index.holding().now == 1 })
	s.put(stubSlice("web-b", "web", "10.0.0.1", "web-0"))
	eventually(t, "the endpoint is listed again", func() bool { return h.index.holding().now == 0 })
	s.delete(stubSlice("web-b", "web", "10.0.0.1", "web-0"))
	eventually(t, "the endpoint is held again", func() bool { return h.index.holding().now == 1 })
	const want = `
		# HELP coredns_headless_held_endpoints Number of endpoints held though no EndpointSlice lists them.
		# TYPE coredns_headless_held_endpoints gauge
		coredns_headless_held_endpoints 1
		# HELP coredns_headless_holds_ended_total Counter of endpoints that are held no longer, by reason.
		# TYPE coredns_headless_holds_ended_total counter
		coredns_headless_holds_ended_total{reason="expired"} 0
		coredns_headless_holds_ended_total{reason="orphaned"} 0
		coredns_headless_holds_ended_total{reason="returned"} 1
		coredns_headless_holds_ended_total{reason="superseded"} 0
		# HELP coredns_headless_holds_total Counter of endpoints that were held.
		# TYPE coredns_headless_holds_total counter
		coredns_headless_holds_total 2
		# HELP coredns_headless_objects Number of objects held, by resource.
		# TYPE coredns_headless_objects gauge
		coredns_headless_objects{resource="endpoints"} 1
		coredns_headless_objects{resource="endpointslices"} 0
		coredns_headless_objects{resource="namespaces"} 1
		coredns_headless_objects{resource="services"} 2
		# HELP coredns_headless_synced 1 when every resource has been listed in every server block, else 0.
		# TYPE coredns_headless_synced gauge
		coredns_headless_synced 1
`
	c := newStateCollector(func() []*Headless { return []*Headless{h} })
	err := testutil.CollectAndCompare(c, strings.NewReader(want), "coredns_headless_held_endpoints", "coredns_headless_holds_ended_total",
		"coredns_headless_holds_total", "coredns_headless_objects", "coredns_headless_synced")
	if err != nil {
		t.Error(err)
	}
}
