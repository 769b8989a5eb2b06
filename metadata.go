package headless

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/coredns/coredns/plugin/metadata"
	"github.com/coredns/coredns/request"
)

// metadataPrefixes stand before the names of all metadata: our own, and the kubernetes plugin's, so
// that expressions written for that go on working.
var metadataPrefixes = []string{"headless/", "kubernetes/"}

// told is where the reply to a query leaves its index.Reason for those who read metadata. It is nil
// before there is a reply.
type told struct{ atomic.Value }

// toldKey is the key of a context's *told.
type toldKey struct{}

// tell notes why the reply to a query denies. t is nil if nobody reads metadata.
func (t *told) tell(r index.Reason) {
	if t != nil {
		t.Store(r)
	}
}

// Metadata implements metadata.Provider: what the name of a query is made of, who asks, and why it is
// denied.
func (h *Headless) Metadata(ctx context.Context, state request.Request) context.Context {
	set := func(name, value string) {
		for _, prefix := range metadataPrefixes {
			metadata.SetValueFunc(ctx, prefix+name, func() string { return value })
		}
	}
	who := h.askerOf(&state)
	if who.Zone != "" {
		set("client-zone", who.Zone)
	}
	if pod := who.pod; pod != nil {
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
	told := new(told)
	ctx = context.WithValue(ctx, toldKey{}, told)
	name, qtype := state.QName(), state.QType()
	metadata.SetValueFunc(ctx, "headless/reason", func() string {
		if r, ok := told.Load().(index.Reason); ok {
			return r.String()
		}
		return h.reason(name, qtype).String() // who chooses a server block asks before there is a reply
	})
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
