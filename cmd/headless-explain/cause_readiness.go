package main

import (
	"fmt"
	"slices"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// hostnamesAnnotation is the annotation of a Service that says which of its endpoints answer to their own names.
const hostnamesAnnotation = "coredns-headless.github.io/hostnames"

// readinessCauses: there are endpoints that the name is of, but none that counts.
func (q *inquiry) readinessCauses() []cause {
	concerned := q.concerned()
	if q.Scope != qname.Everywhere {
		concerned = q.endpoints // without a ready one there is no name below the Service's
	}
	if len(concerned) == 0 {
		return nil
	}
	notReady := q.notReadyCauses(concerned, fmt.Sprintf("Service %s/%s", q.Namespace, q.Service))
	switch {
	case !q.is(model.Headless) || q.svc.Spec.PublishNotReadyAddresses || !q.hasPeers():
		return notReady
	case slices.ContainsFunc(q.endpoints, func(e endpoint) bool { return e.word() != "not ready" }):
		return notReady // peers have become ready without it
	case q.waitForEachOther():
		return append(q.publishCauses("the pods of Service %s/%s run, but none is ready"), notReady...)
	}
	return append(notReady, q.publishCauses("no pod of Service %s/%s is ready")...)
}

// notReadyCauses says why endpoints are not ready, none of them; of is what people call that whose endpoints they are.
func (q *inquiry) notReadyCauses(concerned []endpoint, of string) []cause {
	e := &concerned[0]
	if i := slices.IndexFunc(concerned, func(e endpoint) bool { return e.word() != "terminating" }); i >= 0 {
		e = &concerned[i]
	}
	what := fmt.Sprintf("none of the %s of %s is ready", count(len(concerned), "endpoint"), of)
	if len(concerned) == 1 {
		what = fmt.Sprintf("the only endpoint of %s is not ready", of)
	}
	if q.Hostname != "" {
		what = fmt.Sprintf("endpoint %s of %s exists, but is not ready", q.Hostname, of)
	}
	switch {
	case e.State == model.Serving && q.Hostname != "":
		return one("terminating", kubectl(q.Namespace, "annotate", "service", q.Service, hostnamesAnnotation+"=serving")+
			"   # a pod that still serves keeps its name until it is gone", "%s: its pod is being deleted", what)
	case e.word() == "terminating":
		return one("terminating", kubectl(q.Namespace, "get", "pods", "--watch")+"   # until there is another one", "%s: its pod is being deleted", what)
	}
	fix := "set ready: true in its EndpointSlice when it is"
	if selector := pairs(q.svc.Spec.Selector); selector != "" {
		fix = kubectl(q.Namespace, "describe", "pods", "-l", selector)
	}
	if e.pod != "" {
		fix = kubectl(q.Namespace, "describe", "pod", e.pod) + "   # its events say more"
		what += fmt.Sprintf(": Pod %s is not ready", e.pod)
	}
	if pod := q.c.pod(q.Namespace, e.pod); pod != nil && !isReady(pod) {
		return one("not-ready", fix, "%s", fmt.Sprintf("%s, it %s", what, whyNotReady(pod)))
	}
	return one("not-ready", fix, "%s", what)
}

// hasPeers reports whether the Service is that of a StatefulSet of several pods, which usually have to find each other.
func (q *inquiry) hasPeers() bool {
	return slices.ContainsFunc(in[*appsv1.StatefulSet](q.c, q.Namespace), func(set *appsv1.StatefulSet) bool {
		return set.Spec.ServiceName == q.Service && ptr.Deref(set.Spec.Replicas, 1) > 1
	})
}

// waitForEachOther reports whether the pods look as if they waited for each other: all of their containers run, and no pod is ready.
func (q *inquiry) waitForEachOther() bool {
	return len(q.pods) > 0 && !slices.ContainsFunc(q.pods, func(p *corev1.Pod) bool { return isReady(p) || !isUp(p) })
}

// publishCauses says that the Service hides pods that are not ready; state is a format, of what is known of them.
func (q *inquiry) publishCauses(state string) []cause {
	return one("publish-not-ready",
		kubectl(q.Namespace, "patch", "service", q.Service, "--type=merge", "-p", `{"spec":{"publishNotReadyAddresses":true}}`)+
			"\nor, for their own names alone:\n"+kubectl(q.Namespace, "annotate", "service", q.Service, hostnamesAnnotation+"=all"),
		state+", and without publishNotReadyAddresses they have no names before they are: "+
			"peers that have to find each other to become ready never do", q.Namespace, q.Service)
}
