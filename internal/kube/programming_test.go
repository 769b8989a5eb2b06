package kube

import (
	"maps"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/metrictest"
	"github.com/coredns-headless/headless/internal/model"

	corev1 "k8s.io/api/core/v1"
)

const latencyMetric = "coredns_headless_dns_programming_duration_seconds"

func TestProgrammingLatencyOfAChange(t *testing.T) { // not parallel: it reads metrics
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	now := start.Add(time.Hour)
	x := index.New(model.HostnamesReady, false, 0)
	skipped := 0
	c := &Converter{skip: func(string, Flaw) { skipped++ }}
	x.PutNamespace(&model.Namespace{Key: model.Key{Name: "ns"}})
	for _, svc := range []*corev1.Service{
		kubetest.Service("byhand", "None"), kubetest.WithSelector(kubetest.Service("web", "None")), kubetest.WithSelector(kubetest.Service("db", "10.96.0.1")),
		{ObjectMeta: kubetest.Service("ext", "").ObjectMeta, Spec: corev1.ServiceSpec{Type: "ExternalName", ExternalName: "example.org"}},
	} {
		spec, _ := c.service(svc)
		x.PutService(spec)
	}
	kind := func(key model.Key) string { return x.ShownSpec(key).MetricKind() }
	p := &programming{kind: kind, since: start, now: func() time.Time { return now }, skip: c.report}
	for _, tt := range []struct {
		name, service, trigger string
		kind                   string // "": nothing is observed
		seconds                float64
		skipped                int
	}{
		{"a headless Service with a selector", "web", "2026-05-01T12:59:58Z", "headless_with_selector", 2, 0},
		{"a headless Service without one", "byhand", "2026-05-01T12:59:57.5Z", "headless_without_selector", 2.5, 0},
		{"a ClusterIP Service", "db", "2026-05-01T12:59:59Z", "cluster_ip", 1, 0},
		{"a time of another zone", "web", "2026-05-01T14:59:59+02:00", "headless_with_selector", 1, 0},
		{"a clock that is ahead of ours", "web", "2026-05-01T13:00:07Z", "headless_with_selector", 0, 0},
		{"a change at our start", "web", "2026-05-01T12:00:00Z", "headless_with_selector", 3600, 0},
		{"a change before our start", "web", "2026-05-01T11:59:59Z", "", 0, 0},
		{"a Service that is not there", "none", "2026-05-01T12:59:59Z", "", 0, 0},
		{"an ExternalName Service", "ext", "2026-05-01T12:59:59Z", "", 0, 0},
		{"a slice of no Service", "", "2026-05-01T12:59:59Z", "", 0, 0},
		{"a time that is none", "web", "yesterday", "", 0, 1},
		{"an empty time", "web", "", "", 0, 1},
	} {
		es := mustWire(kubetest.Triggered(kubetest.Slice("s", tt.service, "10.0.0.1", "h"), tt.trigger))
		spec, _ := c.slice(es)
		before := metrictest.Histogram(t, latencyMetric)
		skipped = 0
		p.put(es, spec)
		want := make(map[string]metrictest.Observed)
		if tt.kind != "" {
			want[tt.kind] = metrictest.Observed{Count: 1, Sum: tt.seconds}
		}
		if got := metrictest.Since(before, metrictest.Histogram(t, latencyMetric)); !maps.Equal(got, want) || skipped != tt.skipped {
			t.Errorf("%s: observed %v, skipped %d, want %v, %d", tt.name, got, skipped, want, tt.skipped)
		}
	}
	before := metrictest.Histogram(t, latencyMetric)
	p.put(mustWire(kubetest.Slice("s", "web", "10.0.0.1", "h")), &model.Slice{Service: "web"})
	if got := metrictest.Since(before, metrictest.Histogram(t, latencyMetric)); len(got) > 0 {
		t.Errorf("without the annotation: observed %v, want nothing", got)
	}
}
