package kube

import (
	"time"

	"github.com/coredns-headless/headless/internal/model"

	corev1 "k8s.io/api/core/v1"
)

// programming measures the DNS programming latency: the time from a change in the cluster, as the
// control plane dates it on the EndpointSlice, until queries are answered from it. See
// dns_programming_latency.md of SIG Scalability.
type programming struct {
	kind  func(model.Key) string // see Sinks
	since time.Time              // the start; what is older was not for us to bring
	now   func() time.Time       // for tests
	skip  func(resource string, r Flaw)
}

func newProgramming(kind func(model.Key) string, skip func(resource string, r Flaw)) *programming {
	return &programming{kind: kind, since: time.Now(), now: time.Now, skip: skip}
}

// put notes that a watch brought es and that the index answers from it. A slice that is listed says
// nothing about how long the change took, and one that is deleted is dated by the change before.
func (p *programming) put(es *wireSlice, spec *model.Slice) {
	text, ok := es.Annotations[corev1.EndpointsLastChangeTriggerTime]
	if !ok {
		return
	}
	trigger, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		p.skip(Slices, badAnnotation)
		return
	}
	kind := p.kind(model.Key{Namespace: spec.Namespace, Name: spec.Service})
	if kind == model.UnservedKind || trigger.Before(p.since) {
		return
	}
	took := max(0, p.now().Sub(trigger)) // the clocks of two machines differ
	programmingDuration.WithLabelValues(kind).Observe(took.Seconds())
}
