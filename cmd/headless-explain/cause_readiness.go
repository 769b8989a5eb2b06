package main

import (
	"cmp"
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
	hasPeers := slices.ContainsFunc(in[*appsv1.StatefulSet](q.c, q.Namespace), func(set *appsv1.StatefulSet) bool {
		return set.Spec.ServiceName == q.Service && ptr.Deref(set.Spec.Replicas, 1) > 1 // they usually have to find each other
	})
	switch {
	case !q.is(model.Headless) || q.svc.Spec.PublishNotReadyAddresses || !hasPeers:
		return notReady
	case slices.ContainsFunc(q.endpoints, func(e endpoint) bool { return e.word() != "not ready" }):
		return notReady // peers have become ready without it
	case len(q.pods) > 0 && !slices.ContainsFunc(q.pods, func(p *corev1.Pod) bool { return isReady(p) || !isUp(p) }):
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
		what += ", it " + whyNotReady(pod)
	}
	return one("not-ready", fix, "%s", what)
}

// publishCauses says that the Service hides pods that are not ready; state is a format, of what is known of them.
func (q *inquiry) publishCauses(state string) []cause {
	return one("publish-not-ready",
		kubectl(q.Namespace, "patch", "service", q.Service, "--type=merge", "-p", `{"spec":{"publishNotReadyAddresses":true}}`)+
			"\nor, for their own names alone:\n"+kubectl(q.Namespace, "annotate", "service", q.Service, hostnamesAnnotation+"=all"),
		state+", and without publishNotReadyAddresses they have no names before they are: "+
			"peers that have to find each other to become ready never do", q.Namespace, q.Service)
}

// zoneCauses: a zonal name of a Service that has none, or in whose topology zone no endpoint is ready.
func (q *inquiry) zoneCauses() []cause {
	if q.svc == nil || q.Scope == qname.Everywhere {
		return nil
	}
	var zones, pins []string
	for i := range q.endpoints {
		zones = append(zones, q.endpoints[i].Topologies...)
	}
	slices.Sort(zones)
	zones = slices.Compact(zones)
	for _, zone := range zones {
		pins = append(pins, q.shown(zone+".pin._zone", q.Service, q.Namespace))
	}
	prefer := q.shown(q.Topology+".prefer._zone", q.Service, q.Namespace) + ", which gives all endpoints when none is ready there"
	concerned := q.concerned()
	switch {
	case !q.is(model.Headless):
		return one("zonal-not-headless", "ask for "+q.shown(q.Service, q.Namespace),
			"Service %s/%s has a ClusterIP, and only headless Services have names below _zone", q.Namespace, q.Service)
	case !q.s.stanza.Zonal() && q.s.stanza.NoEndpoints():
		return q.hiddenSliceCauses()
	case !q.s.stanza.Zonal():
		return one("zonal-off", "in the Corefile, on all replicas: zonal", "names below _zone exist only with the option zonal, and the server's stanza does not have it")
	case q.Topology == "":
		return one("no-records", "ask for "+cmp.Or(list(pins), q.shown("ZONE.pin._zone", q.Service, q.Namespace)),
			"the name of a topology zone stands before pin._zone or prefer._zone")
	case len(zones) == 0:
		return one("no-zone", kubectl("", "get", "nodes", "-L", "topology.kubernetes.io/zone")+"   # a pod is in the zone of its node",
			"no endpoint of Service %s/%s is in a topology zone", q.Namespace, q.Service)
	case len(concerned) == 0:
		fix := "ask for one of these, or for " + prefer
		if near := closest(q.Topology, zones); len(near) > 0 {
			fix = "did you mean " + list(near) + "? Or ask for " + prefer
		}
		return one("no-zone", fix,
			"no endpoint of Service %s/%s is in the topology zone %s; there are some in %s", q.Namespace, q.Service, q.Topology, list(zones))
	}
	notReady := q.notReadyCauses(concerned, fmt.Sprintf("Service %s/%s in zone %s", q.Namespace, q.Service, q.Topology))[0]
	return one("zone-not-ready", notReady.Fix+"\nor ask for "+prefer, "%s", notReady.Text)
}
