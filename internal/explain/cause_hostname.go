package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/output"

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
	if i := slices.IndexFunc(q.pods, func(p *corev1.Pod) bool { return calls(p, q.Hostname) }); i >= 0 {
		return q.overrideCauses(q.pods[i])
	}
	if set, ordinal := q.setOf(q.Hostname); set != nil {
		return q.setCauses(set, ordinal)
	}
	if slices.ContainsFunc(q.endpoints, func(e endpoint) bool { return e.pod == q.Hostname }) {
		return q.missing("missing-subdomain", q.Hostname, "is in its EndpointSlice without a hostname")
	}
	var names []string // that resolve
	for _, e := range q.endpoints {
		if e.Answers {
			names = append(names, e.Names[0])
		}
	}
	other := kubectl(q.Namespace, "get", "endpointslices", "-l", "kubernetes.io/service-name="+q.Service, "-o", "yaml")
	if len(names) > 0 {
		other = "ask for one of them; their own names are " + list(names)
	}
	return one("no-hostname", didYouMean(q.Hostname, names, other), "%s", q.sentence())
}

// calls reports whether a Pod calls itself by a label, by way of hostnameOverride, of which no record is made.
func calls(pod *corev1.Pod, label string) bool {
	own := ptr.Deref(pod.Spec.HostnameOverride, "")
	return own == label || strings.HasPrefix(own, label+".")
}

// overrideCauses says that a Pod calls itself by a name that is not that of its record.
func (q *inquiry) overrideCauses(pod *corev1.Pod) []cause {
	text := fmt.Sprintf("Pod %s/%s calls itself %s, by hostnameOverride, and its record is made of hostname, which is %q",
		q.Namespace, pod.Name, *pod.Spec.HostnameOverride, pod.Spec.Hostname)
	if fqdn := q.below(pod.Spec.Hostname, q.Service, q.Namespace); pod.Spec.Hostname != "" && q.s.finds(fqdn) {
		return one("hostname-override", "ask for "+trimmed(fqdn), "%s", text)
	}
	return one("hostname-override", fmt.Sprintf("in the pod's template, then make the pod anew:\nspec:\n  hostname: %s\n  subdomain: %s", q.Hostname, q.Service), "%s", text)
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

// governed returns the StatefulSet that makes the pod of the name, or else one whose pods would be named in the Service of the name; nil
// if that is not what its serviceName says.
func (q *inquiry) governed() *appsv1.StatefulSet {
	if set, _ := q.setOf(q.Hostname); set != nil && set.Spec.ServiceName == q.Service {
		return set
	}
	sets := in[*appsv1.StatefulSet](q.c, q.Namespace)
	if i := slices.IndexFunc(sets, func(set *appsv1.StatefulSet) bool { return set.Spec.ServiceName == q.Service }); i >= 0 {
		return sets[i]
	}
	return nil
}

// governingCauses: a StatefulSet names its pods in a Service that does not exist.
func (q *inquiry) governingCauses(set *appsv1.StatefulSet) []cause {
	text := fmt.Sprintf("StatefulSet %s/%s has serviceName %q, and there is no Service %s, so its pods have no names of their own",
		q.Namespace, set.Name, q.Service, q.Service)
	var others []string
	for _, svc := range in[*corev1.Service](q.c, q.Namespace) {
		template := &corev1.Pod{ObjectMeta: set.Spec.Template.ObjectMeta}
		if svc.Spec.ClusterIP == corev1.ClusterIPNone && selects(svc, template) {
			others = append(others, svc.Name)
		}
	}
	make := fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: %s}\nspec:\n  clusterIP: None\n  selector: %s",
		q.Service, q.Namespace, inYAML(set.Spec.Template.Labels))
	if len(others) == 0 {
		return one("no-service", "make the headless Service that serviceName is of:\n"+make, "%s", text)
	}
	return one("wrong-service-name",
		fmt.Sprintf("call that Service %s, or make a second one of that name; or change the StatefulSet, so that the name is %s:\n%s", q.Service,
			q.shown(q.Hostname, others[0], q.Namespace), q.renaming(set, others[0])),
		"%s; the headless Service that selects them is %s", text, list(others))
}

// renaming returns the commands that give a StatefulSet another serviceName, or the lines of one that no cluster has.
func (q *inquiry) renaming(set *appsv1.StatefulSet, service string) string {
	if q.c.inFiles && set.UID == "" {
		return "spec:\n  serviceName: " + service
	}
	return fmt.Sprintf("%s > set.yaml   # then set serviceName: %s in it\n%s\n%s   # a pod is named when it is made",
		kubectl(q.Namespace, "get", "statefulset", set.Name, "-o", "yaml"), service,
		kubectl(q.Namespace, "replace", "--force", "--cascade=orphan", "-f", "set.yaml"),
		kubectl(q.Namespace, "rollout", "restart", "statefulset", set.Name))
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
	case pod.Spec.Hostname != q.Hostname && calls(pod, q.Hostname):
		return q.overrideCauses(pod)
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
	if i := slices.IndexFunc(q.endpoints, func(e endpoint) bool { return e.pod == pod && e.Answers }); i >= 0 {
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
	case q.s.finds(q.below(q.Hostname, governing, q.Namespace)):
		fix = fmt.Sprintf("ask for %s; or change the StatefulSet:\n", q.shown(q.Hostname, governing, q.Namespace))
	case q.c.service(q.Namespace, governing) != nil:
	case governing != "":
		text += fmt.Sprintf("; there is no Service %s", governing)
		fix = fmt.Sprintf("call the Service %s, or make a second one of that name; or change the StatefulSet:\n", governing)
	}
	fix += q.renaming(set, q.Service)
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
			q.Namespace, set.Name, output.Count(replicas, "replica"), set.Name, start, set.Name, start+replicas-1, q.Hostname)
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
