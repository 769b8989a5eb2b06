package headless

import (
	"context"
	"strings"

	"github.com/coredns/coredns/plugin/metadata"
	"github.com/coredns/coredns/request"
)

// metadataPrefixes stand before the names of all metadata: our own, and the kubernetes plugin's, so that expressions written
// for that go on working.
var metadataPrefixes = []string{"headless/", "kubernetes/"}

// Metadata implements metadata.Provider: what the name of a query is made of, and who asks.
func (h *Headless) Metadata(ctx context.Context, state request.Request) context.Context {
	set := func(name, value string) {
		for _, prefix := range metadataPrefixes {
			metadata.SetValueFunc(ctx, prefix+name, func() string { return value })
		}
	}
	if pod := h.client(&state); pod != nil {
		set("client-namespace", pod.namespace)
		set("client-pod-name", pod.name)
		for label, value := range pod.labels {
			set("client-label/"+label, value)
		}
	}
	a := h.authority(state.Name())
	if a == nil {
		return ctx
	}
	var q query
	q.parse(state.Name(), a.zone, a.grammar)
	kind := ""
	switch q.kind {
	case apex, structural:
	case namespaceName, serviceName:
		kind = "svc"
	case podsName, podName:
		kind = "pod"
	default:
		set("parse-error", "invalid query name")
		return ctx
	}
	set("port-name", q.port)
	set("protocol", q.proto)
	switch a.grammar {
	case multicluster:
		endpoint, cluster, _ := strings.Cut(q.hostname, ".")
		if q.cluster {
			endpoint, cluster = cluster, endpoint
		}
		set("endpoint", endpoint)
		set("cluster", cluster)
	case zonal:
		set("endpoint", q.hostname)
		set("zone", q.zone)
	default:
		set("endpoint", q.hostname)
	}
	set("service", q.service+q.pod) // at most one of them is there
	set("namespace", q.namespace)
	set("kind", kind)
	return ctx
}
