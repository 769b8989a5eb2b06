package headless

import (
	"context"
	"strings"

	"github.com/coredns-headless/headless/internal/qname"
	"github.com/coredns/coredns/plugin/metadata"
	"github.com/coredns/coredns/request"
)

// metadataPrefixes stand before the names of all metadata: our own, and the kubernetes plugin's, so
// that expressions written for that go on working.
var metadataPrefixes = []string{"headless/", "kubernetes/"}

// Metadata implements metadata.Provider: what the name of a query is made of, and who asks.
func (h *Headless) Metadata(ctx context.Context, state request.Request) context.Context {
	set := func(name, value string) {
		for _, prefix := range metadataPrefixes {
			metadata.SetValueFunc(ctx, prefix+name, func() string { return value })
		}
	}
	if pod := h.client(&state); pod != nil {
		set("client-namespace", pod.Namespace)
		set("client-pod-name", pod.Name)
		for label, value := range pod.Labels {
			set("client-label/"+label, value)
		}
	}
	a := h.authority(state.Name())
	if a == nil {
		return ctx
	}
	var q qname.Name
	q.Parse(state.Name(), a.zone, a.grammar)
	kind := ""
	switch q.Kind {
	case qname.Apex, qname.Structural, qname.NSParent:
	case qname.NamespaceName, qname.ServiceName:
		kind = "svc"
	case qname.PodsName, qname.PodName:
		kind = "pod"
	default:
		set("parse-error", "invalid query name")
		return ctx
	}
	set("port-name", q.Port)
	set("protocol", q.Proto)
	switch a.grammar {
	case qname.Multicluster:
		endpoint, cluster, _ := strings.Cut(q.Hostname, ".")
		if q.Cluster {
			endpoint, cluster = cluster, endpoint
		}
		set("endpoint", endpoint)
		set("cluster", cluster)
	case qname.Zonal:
		set("endpoint", q.Hostname)
		set("zone", q.Topology)
	default:
		set("endpoint", q.Hostname)
	}
	set("service", q.Service+q.Pod) // at most one of them is there
	set("namespace", q.Namespace)
	set("kind", kind)
	return ctx
}
