package headless

import (
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

// metricKind returns what metrics call the kind of a Service, or "" for one without endpoints to serve. s may be nil.
func (s *serviceSpec) metricKind() string {
	switch {
	case s == nil || s.kind == externalName:
		return ""
	case s.kind == clusterIP:
		return "cluster_ip"
	case s.selector:
		return "headless_with_selector"
	}
	return "headless_without_selector"
}

// countSkipped counts something that was left out of a resource.
func countSkipped(resource string, r reason) { skipped.WithLabelValues(resource, string(r)).Inc() }

// stateCollector describes plugins, all of them together.
type stateCollector struct {
	plugins func() []*Headless
	synced  *prometheus.Desc
	objects *prometheus.Desc
	serial  *prometheus.Desc
	held    *prometheus.Desc
	holds   *prometheus.Desc
	ended   *prometheus.Desc
	served  *prometheus.Desc
	dated   *prometheus.Desc
}

func init() { prometheus.MustRegister(newStateCollector(running.all)) }

func newStateCollector(plugins func() []*Headless) *stateCollector {
	name := func(s string) string { return prometheus.BuildFQName(plugin.Namespace, metricsSubsystem, s) }
	return &stateCollector{
		plugins: plugins,
		synced:  prometheus.NewDesc(name("synced"), "1 when every resource has been listed in every server block, else 0.", nil, nil),
		objects: prometheus.NewDesc(name("objects"), "Number of objects held, by resource.", []string{"resource"}, nil),
		serial:  prometheus.NewDesc(name("soa_serial"), "Greatest SOA serial.", nil, nil),
		held:    prometheus.NewDesc(name("held_endpoints"), "Number of endpoints held though no EndpointSlice lists them.", nil, nil),
		holds:   prometheus.NewDesc(name("holds_total"), "Counter of endpoints that were held.", nil, nil),
		ended:   prometheus.NewDesc(name("holds_ended_total"), "Counter of endpoints that are held no longer, by reason.", []string{"reason"}, nil),
		served:  prometheus.NewDesc(name("snapshot_served"), "1 while a server block answers from a snapshot, else 0.", nil, nil),
		dated:   prometheus.NewDesc(name("snapshot_timestamp_seconds"), "Unix time up to which the oldest snapshot was confirmed, or 0.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.synced
	ch <- c.objects
	ch <- c.serial
	ch <- c.held
	ch <- c.holds
	ch <- c.ended
	ch <- c.served
	ch <- c.dated
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	synced, served, serial := 1.0, 0.0, uint32(0)
	var dated time.Time
	var holds holdCounts
	objects := map[string]int{namespacesResource: 0, servicesResource: 0, slicesResource: 0, "endpoints": 0}
	for _, h := range c.plugins() {
		if !h.isSynced() {
			synced = 0
			if h.Ready() {
				served = 1
			}
		}
		if h.snapshot != nil {
			if at := h.snapshot.confirmedAt(); dated.IsZero() || at.Before(dated) {
				dated = at
			}
		}
		n := h.index.counts()
		objects[namespacesResource] += n.namespaces
		objects[servicesResource] += n.services
		objects[slicesResource] += n.slices
		objects["endpoints"] += n.endpoints
		serial = max(serial, h.index.serial())
		holds.add(h.index.holding())
		if h.imports != nil {
			holds.add(h.imports.holding())
		}
	}
	ch <- prometheus.MustNewConstMetric(c.synced, prometheus.GaugeValue, synced)
	for resource, n := range objects {
		ch <- prometheus.MustNewConstMetric(c.objects, prometheus.GaugeValue, float64(n), resource)
	}
	ch <- prometheus.MustNewConstMetric(c.serial, prometheus.GaugeValue, float64(serial))
	ch <- prometheus.MustNewConstMetric(c.served, prometheus.GaugeValue, served)
	ch <- prometheus.MustNewConstMetric(c.dated, prometheus.GaugeValue, float64(max(0, dated.Unix())))
	ch <- prometheus.MustNewConstMetric(c.held, prometheus.GaugeValue, float64(holds.now))
	ch <- prometheus.MustNewConstMetric(c.holds, prometheus.CounterValue, float64(holds.total))
	for why, n := range holds.ended {
		ch <- prometheus.MustNewConstMetric(c.ended, prometheus.CounterValue, float64(n), holdEnd(why).String())
	}
}
