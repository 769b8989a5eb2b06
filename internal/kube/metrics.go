package kube

import (
	"github.com/coredns/coredns/plugin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	skipped = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "coredns_headless_skipped_total",
		Help: "Counter of objects, or parts of them, that were left out because they are malformed or of no use.",
	}, []string{"resource", "reason"})

	watchRestarts = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "coredns_headless_watch_restarts_total",
		Help: "Counter of watches that ended and had to begin again, by resource and reason.",
	}, []string{"resource", "reason"})

	programmingDuration = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Name: "coredns_headless_dns_programming_duration_seconds",
		Help: "Histogram of the time from a change of endpoints to the answers that have it, by kind of Service.",
		// 1 ms to 9 min, as in the kubernetes plugin.
		Buckets:                     prometheus.ExponentialBuckets(0.001, 2, 20),
		NativeHistogramBucketFactor: plugin.NativeHistogramBucketFactor,
	}, []string{"service_kind"})

	requestDuration = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Name:                        "coredns_headless_rest_client_request_duration_seconds",
		Help:                        "Histogram of the time that a request to the API server takes, by verb and host.",
		Buckets:                     prometheus.DefBuckets,
		NativeHistogramBucketFactor: plugin.NativeHistogramBucketFactor,
	}, []string{"verb", "host"})

	limiterDuration = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Name:                        "coredns_headless_rest_client_rate_limiter_duration_seconds",
		Help:                        "Histogram of the time that a request to the API server waits for the rate limiter, by verb and host.",
		Buckets:                     prometheus.DefBuckets,
		NativeHistogramBucketFactor: plugin.NativeHistogramBucketFactor,
	}, []string{"verb", "host"})

	requestsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "coredns_headless_rest_client_requests_total",
		Help: "Counter of requests to the API server, by status code, method and host.",
	}, []string{"code", "method", "host"})
)

// CountSkipped counts something that was left out of a resource.
func CountSkipped(resource string, r Flaw) { skipped.WithLabelValues(resource, string(r)).Inc() }
