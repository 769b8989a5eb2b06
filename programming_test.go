package headless

import (
	"maps"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/prometheus/client_golang/prometheus"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// observed is what a histogram has observed under one set of labels.
type observed struct {
	count uint64
	sum   float64
}

// histogram returns what a histogram has observed so far, by the values of its labels, sorted by their names, with spaces
// between them.
func histogram(t testing.TB, name string) map[string]observed {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]observed)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := ""
			for _, l := range m.GetLabel() {
				if labels != "" {
					labels += " "
				}
				labels += l.GetValue()
			}
			got[labels] = observed{m.GetHistogram().GetSampleCount(), m.GetHistogram().GetSampleSum()}
		}
	}
	return got
}

// since returns what after has more than before.
func since(before, after map[string]observed) map[string]observed {
	more := make(map[string]observed)
	for labels, a := range after {
		if b := before[labels]; a != b {
			more[labels] = observed{a.count - b.count, a.sum - b.sum}
		}
	}
	return more
}

const programmingMetric = "coredns_headless_dns_programming_duration_seconds"

// triggered gives a slice the time of the change that it is due to.
func triggered(es *discoveryv1.EndpointSlice, text string) *discoveryv1.EndpointSlice {
	es.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: text}
	return es
}

func withSelector(svc *corev1.Service) *corev1.Service {
	svc.Spec.Selector = map[string]string{"app": svc.Name}
	return svc
}

func TestProgrammingLatencyOfAChange(t *testing.T) { // not parallel: it reads metrics
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	now := start.Add(time.Hour)
	x := index.New(model.HostnamesReady, false, 0)
	skipped := 0
	c := &converter{skip: func(string, flaw) { skipped++ }}
	x.PutNamespace(&model.Namespace{Key: model.Key{Name: "ns"}})
	for _, svc := range []*corev1.Service{
		stubService("byhand", "None"), withSelector(stubService("web", "None")), withSelector(stubService("db", "10.96.0.1")),
		{ObjectMeta: stubService("ext", "").ObjectMeta, Spec: corev1.ServiceSpec{Type: "ExternalName", ExternalName: "example.org"}},
	} {
		spec, _ := c.service(svc)
		x.PutService(spec)
	}
	p := &programming{index: x, since: start, now: func() time.Time { return now }, skip: c.skip}
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
		es := mustWire(triggered(stubSlice("s", tt.service, "10.0.0.1", "h"), tt.trigger))
		spec, _ := c.slice(es)
		before := histogram(t, programmingMetric)
		skipped = 0
		p.put(es, spec)
		want := make(map[string]observed)
		if tt.kind != "" {
			want[tt.kind] = observed{1, tt.seconds}
		}
		if got := since(before, histogram(t, programmingMetric)); !maps.Equal(got, want) || skipped != tt.skipped {
			t.Errorf("%s: observed %v, skipped %d, want %v, %d", tt.name, got, skipped, want, tt.skipped)
		}
	}
	before := histogram(t, programmingMetric)
	p.put(mustWire(stubSlice("s", "web", "10.0.0.1", "h")), &model.Slice{Service: "web"})
	if got := since(before, histogram(t, programmingMetric)); len(got) > 0 {
		t.Errorf("without the annotation: observed %v, want nothing", got)
	}
}

func TestProgrammingLatencyIsOfChangesThatAWatchBrings(t *testing.T) { // not parallel: it reads metrics
	for way, setup := range map[string]func(*stubAPI){"streamed": func(*stubAPI) {}, "listed": (*stubAPI).refuseStreams} {
		t.Run(way, func(t *testing.T) {
			// The times lie ahead, so that lists would count too. The latency is 0 then.
			slice := func(service, address string) *discoveryv1.EndpointSlice {
				return triggered(stubSlice(service+"-a", service, address, "h"), time.Now().Add(time.Hour).Format(time.RFC3339Nano))
			}
			s := newStubAPI(t)
			s.put(stubNamespace("ns"), withSelector(stubService("web", "None")), stubService("byhand", "None"), stubService("db", "10.96.0.1"))
			s.put(slice("web", "10.0.0.1"), slice("byhand", "10.0.0.2"), slice("db", "10.0.0.3"))
			setup(s)
			start := histogram(t, programmingMetric)
			skipped := skips(t)
			h := watching(t, s)
			eventuallySays(t, h, "h.web A", "NOERROR 10.0.0.1")
			check := func(when string, want map[string]observed) {
				t.Helper()
				if got := since(start, histogram(t, programmingMetric)); !maps.Equal(got, want) {
					t.Errorf("%s: observed %v, want %v", when, got, want)
				}
			}
			check("after the first list", map[string]observed{})

			s.put(slice("web", "10.0.1.1"), slice("byhand", "10.0.1.2"), slice("db", "10.0.1.3"), slice("web", "10.0.2.1"))
			s.put(triggered(stubSlice("web-b", "web", "10.0.0.9", "i"), "garbage"))
			s.delete(slice("db", ""))
			s.put(stubSlice("last", "web", "10.0.0.8", "last"))
			eventuallySays(t, h, "last.web A", "NOERROR 10.0.0.8")
			all := map[string]observed{"headless_with_selector": {count: 2}, "headless_without_selector": {count: 1}, "cluster_ip": {count: 1}}
			check("after changes", all)
			if got, want := skips(t)["endpointslices annotation"], skipped["endpointslices annotation"]+1; got != want {
				t.Errorf("skipped %v annotations, want %v", got, want)
			}

			s.put(stubService("event", "10.96.0.7"), stubNamespace("event")) // a watch without an event counts as failed
			eventuallySays(t, h, "event A", "NOERROR 10.96.0.7")
			release := s.hold(slicesResource)
			s.fail(errExpired)
			s.put(slice("web", "10.0.3.1"))
			s.compact()
			release()
			eventuallySays(t, h, "h.web A", "NOERROR 10.0.3.1")
			check("after another list", all)

			unselected := stubService("web", "None")
			s.put(unselected)
			eventually(t, "the Service has lost its selector", func() bool { return !h.index.ShownSpec(model.Key{Namespace: "ns", Name: "web"}).Selector })
			s.put(slice("web", "10.0.4.1"))
			eventuallySays(t, h, "h.web A", "NOERROR 10.0.4.1")
			eventually(t, "the change without a selector is observed", func() bool {
				return since(start, histogram(t, programmingMetric))["headless_without_selector"].count == 2
			})
		})
	}
}
