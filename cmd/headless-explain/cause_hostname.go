package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/coredns-headless/headless/internal/kube"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// hostnameCauses: no endpoint of the Service has the hostname, in any state.
func (q *inquiry) hostnameCauses() []cause {
	pod := q.c.pod(q.Namespace, q.Hostname)
	if i := slices.IndexFunc(q.pods, func(p *corev1.Pod) bool { return p.Spec.Hostname == q.Hostname }); pod == nil && i >= 0 {
		pod = q.pods[i]
	}
	if pod != nil {
		return q.podCauses(pod)
	}
	if set, ordinal := q.setOf(q.Hostname); set != nil {
		return q.setCauses(set, ordinal)
	}
	if slices.ContainsFunc(q.endpoints, func(e endpoint) bool { return e.pod == q.Hostname }) {
		return q.missing("missing-subdomain", q.Hostname, "is in its EndpointSlice without a hostname")
	}
	names := each(q.endpoints, func(e endpoint) string { return e.Names[0] })
	return one("no-hostname", didYouMean(q.Hostname, names, "ask for one of them; their own names are "+list(names)), "%s", q.sentence())
}

// setOf returns the StatefulSet that makes a pod of this name, and the number of the pod.
func (q *inquiry) setOf(pod string) (*appsv1.StatefulSet, int) {
	i := strings.LastIndexByte(pod, '-')
	ordinal, err := strconv.Atoi(pod[i+1:])
	if i < 0 || err != nil {
		return nil, 0
	}
	return named[*appsv1.StatefulSet](q.c, q.Namespace, pod[:i]), ordinal
}

// podCauses says why a Pod has no name of its own in the Service.
func (q *inquiry) podCauses(pod *corev1.Pod) []cause {
	set := q.c.ownerOf(pod)
	lacking, predicate := lacks(pod, q.Service)
	switch {
	case len(q.svc.Spec.Selector) > 0 && !selects(q.svc, pod):
		fix := "give the pod's template these labels, or change the Service's selector"
		if fqdn := q.below(q.Hostname, pod.Spec.Subdomain, q.Namespace); q.s.finds(fqdn) {
			fix = "ask for " + trimmed(fqdn) + ", where it has its name; or " + fix
		}
		return one("selector-misses-pod", fix,
			"Pod %s/%s does not have the labels that Service %s selects, %s", q.Namespace, pod.Name, q.Service, pairs(q.svc.Spec.Selector))
	case set != nil && set.Spec.ServiceName != q.Service:
		return q.wrongSetCauses(set)
	case set != nil && pod.Spec.Subdomain != q.Service:
		return one("stale-subdomain", kubectl(q.Namespace, "delete", "pod", pod.Name),
			"Pod %s/%s was made before its StatefulSet had the serviceName %s: its subdomain is %q; it gets the right one when it is made anew",
			q.Namespace, pod.Name, q.Service, pod.Spec.Subdomain)
	case lacking != "":
		return q.missing(lacking, pod.Name, predicate)
	case pod.Spec.Hostname != q.Hostname:
		return one("other-hostname", "ask for "+q.shown(pod.Spec.Hostname, q.Service, q.Namespace),
			"Pod %s/%s has the hostname %s", q.Namespace, pod.Name, pod.Spec.Hostname)
	case !isEligible(pod):
		return one("pods-not-running", kubectl(q.Namespace, "describe", "pod", pod.Name), "Pod %s/%s has no address: it %s", q.Namespace, pod.Name, whyNotReady(pod))
	}
	return one("slices-behind", "wait a second and ask again; if it stays so, look at kube-controller-manager",
		"Pod %s/%s has all that it needs, but no EndpointSlice lists it with its hostname", q.Namespace, pod.Name)
}

// missing returns the cause that a pod lacks what makes a name.
func (q *inquiry) missing(id, pod, why string) []cause {
	fix := fmt.Sprintf("in the pod's template, then make the pod anew:\nspec:\n  hostname: %s\n  subdomain: %s", q.Hostname, q.Service)
	if i := slices.IndexFunc(q.endpoints, func(e endpoint) bool { return e.pod == pod }); i >= 0 {
		fix += "\nuntil then its name is " + q.shown(q.endpoints[i].Names[0], q.Service, q.Namespace)
	}
	return one(id, fix, "Pod %s/%s is in Service %s, but has no name of its own there: it %s (a name needs a hostname, and a subdomain equal to the Service's name)",
		q.Namespace, pod, q.Service, why)
}

// wrongSetCauses says that the pods of a StatefulSet are named in another Service.
func (q *inquiry) wrongSetCauses(set *appsv1.StatefulSet) []cause {
	governing := set.Spec.ServiceName
	text := fmt.Sprintf("StatefulSet %s/%s has serviceName %q, not %q, so its pods have no names of their own in Service %s",
		q.Namespace, set.Name, governing, q.Service, q.Service)
	var fix string
	switch {
	case q.c.service(q.Namespace, governing) != nil:
		fix = fmt.Sprintf("ask for %s; or change the StatefulSet:\n", q.shown(q.Hostname, governing, q.Namespace))
	case governing != "":
		text += fmt.Sprintf("; there is no Service %s", governing)
		fix = fmt.Sprintf("call the Service %s, or make a second one of that name; or change the StatefulSet:\n", governing)
	}
	fix += fmt.Sprintf("%s > set.yaml   # then set serviceName: %s in it\n%s\n%s   # a pod is named when it is made",
		kubectl(q.Namespace, "get", "statefulset", set.Name, "-o", "yaml"), q.Service,
		kubectl(q.Namespace, "replace", "--force", "--cascade=orphan", "-f", "set.yaml"),
		kubectl(q.Namespace, "rollout", "restart", "statefulset", set.Name))
	return one("wrong-service-name", fix, "%s", text)
}

// setCauses says why a StatefulSet has no pod of a number, or not in the Service.
func (q *inquiry) setCauses(set *appsv1.StatefulSet, ordinal int) []cause {
	start := int(ptr.Deref(set.Spec.Ordinals, appsv1.StatefulSetOrdinals{}).Start)
	replicas := int(ptr.Deref(set.Spec.Replicas, 1))
	switch {
	case ordinal < start || ordinal >= start+replicas:
		scale := kubectl(q.Namespace, "scale", "statefulset", set.Name, fmt.Sprintf("--replicas=%d", max(1, ordinal-start+1)))
		if replicas == 0 {
			return one("no-such-replica", scale, "StatefulSet %s/%s is scaled to 0 replicas", q.Namespace, set.Name)
		}
		fix := "ask for one of these"
		if ordinal >= start+replicas {
			fix += "; or have more of them:\n" + scale
		}
		return one("no-such-replica", fix, "StatefulSet %s/%s has %s, %s-%d to %s-%d: %s is not one of them",
			q.Namespace, set.Name, count(replicas, "replica"), set.Name, start, set.Name, start+replicas-1, q.Hostname)
	case set.Spec.ServiceName != q.Service:
		return q.wrongSetCauses(set)
	}
	if q.c.whyUnknown(kube.Pods, q.Namespace) != "" {
		return one("pod-missing", kubectl(q.Namespace, "get", "pods"), "no endpoint of %s is the pod %s of its StatefulSet", q.service(), q.Hostname)
	}
	reason := "look at its events"
	i := slices.IndexFunc(q.pods, func(p *corev1.Pod) bool { return !isReady(p) })
	if i >= 0 && set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement {
		reason = fmt.Sprintf("it makes one pod after the other, and %s %s", q.pods[i].Name, whyNotReady(q.pods[i]))
	}
	return one("pod-missing", kubectl(q.Namespace, "describe", "statefulset", set.Name),
		"StatefulSet %s/%s has not made the pod %s: %s", q.Namespace, set.Name, q.Hostname, reason)
}
