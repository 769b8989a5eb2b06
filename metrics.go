package headless

import (
	"math"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metricsSubsystem stands in the names of all metrics, whatever the plugin is called.
const metricsSubsystem = "headless"

var (
	skipped = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: metricsSubsystem,
		Name:      "skipped_total",
		Help:      "Counter of objects, or parts of them, that were left out because they are malformed or of no use.",
	}, []string{"resource", "reason"})

	manifestLoads = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: metricsSubsystem,
		Name:      "manifest_loads_total",
		Help:      "Counter of the times that changed manifests were read again, by result: success or error.",
	}, []string{"result"})

	snapshotWrites = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: metricsSubsystem,
		Name:      "snapshot_writes_total",
		Help:      "Counter of the times that a snapshot was written, by result: success or error.",
	}, []string{"result"})

	programmingDuration = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Namespace:                   plugin.Namespace,
		Subsystem:                   metricsSubsystem,
		Name:                        "dns_programming_duration_seconds",
		Help:                        "Histogram of the time from a change of endpoints to the answers that have it, by kind of Service.",
		Buckets:                     prometheus.ExponentialBuckets(0.001, 2, 20), // 1 ms to 9 min, as the kubernetes plugin
		NativeHistogramBucketFactor: plugin.NativeHistogramBucketFactor,
	}, []string{"service_kind"})

	requestDuration = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Namespace:                   plugin.Namespace,
		Subsystem:                   metricsSubsystem,
		Name:                        "rest_client_request_duration_seconds",
		Help:                        "Histogram of the time that a request to the API server takes, by verb and host.",
		Buckets:                     prometheus.DefBuckets,
		NativeHistogramBucketFactor: plugin.NativeHistogramBucketFactor,
	}, []string{"verb", "host"})

	limiterDuration = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Namespace:                   plugin.Namespace,
		Subsystem:                   metricsSubsystem,
		Name:                        "rest_client_rate_limiter_duration_seconds",
		Help:                        "Histogram of the time that a request to the API server waits for the rate limiter, by verb and host.",
		Buckets:                     prometheus.DefBuckets,
		NativeHistogramBucketFactor: plugin.NativeHistogramBucketFactor,
	}, []string{"verb", "host"})

	requestsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace,
		Subsystem: metricsSubsystem,
		Name:      "rest_client_requests_total",
		Help:      "Counter of requests to the API server, by status code, method and host.",
	}, []string{"code", "method", "host"})
)

// metricKind returns what metrics call the kind of a Service. s may be nil.
func (s *serviceSpec) metricKind() string {
	switch {
	case s == nil || s.kind == externalName:
		return unservedKind
	case s.kind == clusterIP:
		return "cluster_ip"
	case s.selector:
		return "headless_with_selector"
	}
	return "headless_without_selector"
}

// unservedKind is what metrics call the kind of a Service that has no endpoints to serve, or is not there.
const unservedKind = "none"

// states are what metrics call the states of endpoints.
var states = [...]string{notReady: "not_ready", serving: "serving", ready: "ready"}

// countSkipped counts something that was left out of a resource.
func countSkipped(resource string, r reason) { skipped.WithLabelValues(resource, string(r)).Inc() }

// stateCollector describes plugins, all of them together.
type stateCollector struct {
	plugins   func() []*Headless
	synced    *prometheus.Desc
	objects   *prometheus.Desc
	endpoints *prometheus.Desc
	heard     *prometheus.Desc
	listed    *prometheus.Desc
	serial    *prometheus.Desc
	held      *prometheus.Desc
	holds     *prometheus.Desc
	ended     *prometheus.Desc
	served    *prometheus.Desc
	dated     *prometheus.Desc
}

func init() { prometheus.MustRegister(newStateCollector(running.all)) }

func newStateCollector(plugins func() []*Headless) *stateCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(plugin.Namespace, metricsSubsystem, name), help, labels, nil)
	}
	return &stateCollector{
		plugins:   plugins,
		synced:    desc("synced", "1 when the resource has been listed in every server block, else 0.", "resource"),
		objects:   desc("objects", "Number of objects held, by resource.", "resource"),
		endpoints: desc("endpoints", "Number of endpoints held, by kind of Service and state.", "service_kind", "state"),
		heard:     desc("last_event_timestamp_seconds", "Unix time when the API server last said something of the resource, or 0.", "resource"),
		listed:    desc("last_list_timestamp_seconds", "Unix time when the API server last listed the resource, or 0.", "resource"),
		serial:    desc("soa_serial", "Greatest SOA serial."),
		held:      desc("held_endpoints", "Number of endpoints held though no EndpointSlice lists them."),
		holds:     desc("holds_total", "Counter of endpoints that were held."),
		ended:     desc("holds_ended_total", "Counter of endpoints that are held no longer, by reason.", "reason"),
		served:    desc("snapshot_served", "1 while a server block answers from a snapshot, else 0."),
		dated:     desc("snapshot_timestamp_seconds", "Unix time up to which the oldest snapshot was confirmed, or 0."),
	}
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		c.synced, c.objects, c.endpoints, c.heard, c.listed, c.serial, c.held, c.holds, c.ended, c.served, c.dated,
	} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	served, serial := 0.0, uint32(0)
	var dated time.Time
	var holds holdCounts
	resources := make(map[string]*resourceState)
	endpoints := map[string][len(states)]int{unservedKind: {}}
	for _, h := range c.plugins() {
		if !h.isSynced() && h.Ready() {
			served = 1
		}
		if h.snapshot != nil {
			if at := h.snapshot.confirmedAt(); dated.IsZero() || at.Before(dated) {
				dated = at
			}
		}
		h.addResources(resources)
		serial = max(serial, h.index.serial())
		for _, x := range h.indexes() {
			x.addStates(endpoints)
			holds.add(x.holding())
		}
	}
	for name, r := range resources {
		gauge(c.objects, float64(r.objects), name)
		gauge(c.synced, r.synced, name)
		if r.watched {
			gauge(c.heard, r.heard.Seconds(), name)
			gauge(c.listed, r.listed.Seconds(), name)
		}
	}
	for kind, counts := range endpoints {
		for state, n := range counts {
			gauge(c.endpoints, float64(n), kind, states[state])
		}
	}
	gauge(c.serial, float64(serial))
	gauge(c.served, served)
	gauge(c.dated, float64(max(0, dated.Unix())))
	gauge(c.held, float64(holds.now))
	ch <- prometheus.MustNewConstMetric(c.holds, prometheus.CounterValue, float64(holds.total))
	for why, n := range holds.ended {
		ch <- prometheus.MustNewConstMetric(c.ended, prometheus.CounterValue, float64(n), holdEnd(why).String())
	}
}

// resourceState is what metrics say of a resource in all plugins together.
type resourceState struct {
	objects int
	synced  float64 // 1, or 0 where one plugin has no list yet
	watched bool    // by an API server: from files there are no news
	// heard and listed are the times since Unix's epoch when the API server last did that for the plugin for which it is longest ago.
	heard, listed time.Duration
}

// addResources adds to all what there is to say of the resources of h.
func (h *Headless) addResources(all map[string]*resourceState) {
	n := h.index.counts()
	objects := map[string]int{
		namespacesResource: n.namespaces, servicesResource: n.services, slicesResource: n.slices, podsResource: h.pods.count(),
	}
	if h.imports != nil {
		n := h.imports.counts()
		objects[importsResource], objects[importedResource] = n.services, n.slices
	}
	for name, last := range h.synced.last {
		r := all[name]
		if r == nil {
			r = &resourceState{synced: 1, heard: math.MaxInt64, listed: math.MaxInt64}
			all[name] = r
		}
		r.objects += objects[name]
		if last.listed.Load() == 0 {
			r.synced = 0
		}
		if len(h.manifests) == 0 {
			r.watched = true
			r.heard = min(r.heard, time.Duration(last.heard.Load()))
			r.listed = min(r.listed, time.Duration(last.listed.Load()))
		}
	}
}

// indexes returns those that h has.
func (h *Headless) indexes() []*index {
	if h.imports == nil {
		return []*index{h.index}
	}
	return []*index{h.index, h.imports}
}
