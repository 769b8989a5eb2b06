package explain

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/output"
	"github.com/coredns-headless/headless/internal/qname"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

// sliceCauses: the server has no endpoint of the Service, in any state.
func (q *inquiry) sliceCauses() []cause {
	if causes := q.hiddenSliceCauses(); causes != nil || len(q.endpoints) > 0 {
		return causes
	}
	all := q.c.slicesOf(q.svc)
	if slices.ContainsFunc(all, func(es *discoveryv1.EndpointSlice) bool { return es.AddressType == discoveryv1.AddressTypeFQDN }) {
		return one("fqdn-slice", "list addresses, in EndpointSlices of type IPv4 or IPv6",
			"the EndpointSlices of %s are of type FQDN: they list names, which have no addresses to give", q.service())
	}
	switch {
	case len(q.svc.Spec.Selector) == 0:
		return q.handmadeCauses()
	case q.c.whyUnknown(kube.Pods, q.Namespace) != "":
		return one("no-endpoints", kubectl(q.Namespace, "get", "pods", "-l", pairs(q.svc.Spec.Selector)),
			"%s has no endpoints: no pod with an address matches its selector, %s", q.service(), pairs(q.svc.Spec.Selector))
	case len(q.pods) == 0 && q.c.pod(q.Namespace, q.Hostname) != nil:
		return q.podCauses(q.c.pod(q.Namespace, q.Hostname))
	case len(q.pods) == 0:
		return q.selectorCauses()
	}
	if i := slices.IndexFunc(q.pods, isEligible); i >= 0 {
		return one("slices-behind", "wait a second and ask again; if it stays so, look at kube-controller-manager",
			"Pod %s/%s matches the selector and has an address, but no EndpointSlice lists it", q.Namespace, q.pods[i].Name)
	}
	return one("pods-not-running", kubectl(q.Namespace, "describe", "pod", q.pods[0].Name),
		"%s selects %s without an address: %s %s", q.service(), output.Count(len(q.pods), "pod"), q.pods[0].Name, whyNotReady(q.pods[0]))
}

// hiddenSliceCauses: an option keeps the server from seeing the EndpointSlices.
func (q *inquiry) hiddenSliceCauses() []cause {
	if q.s.stanza.NoEndpoints() {
		return one("endpoints-off", "in the Corefile: take out noendpoints",
			"the server does without endpoints, for its stanza says `noendpoints`; headless Services do not exist then")
	}
	if !slices.ContainsFunc(q.endpoints, func(e endpoint) bool { return !e.seen }) {
		return nil
	}
	selector, onlyHeadless := q.s.stanza.Labels(), q.s.stanza.HeadlessOnly()
	for _, es := range q.c.slicesOf(q.svc) {
		_, marked := es.Labels[corev1.IsHeadlessService]
		switch {
		case onlyHeadless && !marked && !q.is(model.Headless): // the control plane would take the label away again
			return one("slice-filtered", "in the Corefile: take out endpoints headless; or make the Service anew with clusterIP: None",
				"%s has a ClusterIP, and the server sees the endpoints of headless Services only: its stanza says `endpoints headless`", q.service())
		case onlyHeadless && !marked:
			return one("slice-filtered", kubectl(q.Namespace, "label", "endpointslice", es.Name, corev1.IsHeadlessService+"="),
				"EndpointSlice %s/%s has no label %s, and the server sees no other: its stanza says `endpoints headless`", q.Namespace, es.Name, corev1.IsHeadlessService)
		case !selector.Matches(labels.Set(es.Labels)):
			return one("slice-filtered", relabel("endpointslice", es, selector),
				"EndpointSlice %s/%s does not match the server's option `labels %s`", q.Namespace, es.Name, selector)
		}
	}
	return nil
}

// handmadeCauses: the Service has no selector, so people have to write its EndpointSlices, and no EndpointSlice has an endpoint.
func (q *inquiry) handmadeCauses() []cause {
	loose := slices.DeleteFunc(in[*discoveryv1.EndpointSlice](q.c, q.Namespace), func(es *discoveryv1.EndpointSlice) bool {
		of := es.Labels[discoveryv1.LabelServiceName]
		return of != "" && (q.c.service(q.Namespace, of) != nil || len(closest(q.Service, []string{of})) == 0)
	})
	slices.SortStableFunc(loose, func(a, b *discoveryv1.EndpointSlice) int {
		return len(closest(q.Service, []string{b.Name})) - len(closest(q.Service, []string{a.Name}))
	})
	if len(loose) == 0 {
		return one("no-endpoints", "write an EndpointSlice with the label "+discoveryv1.LabelServiceName+": "+q.Service,
			"%s has no selector, so the control plane lists no endpoints for it, and no other EndpointSlice does", q.service())
	}
	es := loose[0]
	state := "has no label " + discoveryv1.LabelServiceName + ", so it belongs to no Service"
	fix := kubectl(q.Namespace, "label", "endpointslice", es.Name, discoveryv1.LabelServiceName+"="+q.Service)
	if other := es.Labels[discoveryv1.LabelServiceName]; other != "" {
		state = fmt.Sprintf("is labelled as that of Service %s, which does not exist", other)
		fix += " --overwrite"
	}
	return one("slice-without-label", fix,
		"EndpointSlice %s/%s %s; Service %s has no selector, and no other EndpointSlice", q.Namespace, es.Name, state, q.Service)
}

// selectorCauses: no pod has the labels that the Service selects.
func (q *inquiry) selectorCauses() []cause {
	selector := q.svc.Spec.Selector
	values := slices.Collect(maps.Values(selector))
	likeness := func(p *corev1.Pod) int {
		equal, similar := 0, 0
		for key, value := range p.Labels {
			switch want, ok := selector[key]; {
			case ok && want == value:
				equal++
			case len(closest(value, values)) > 0:
				similar = 1
			}
		}
		return 2*equal + similar
	}
	pods := in[*corev1.Pod](q.c, q.Namespace)
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int { return likeness(b) - likeness(a) })
	nothing := fmt.Sprintf("%s selects pods with %s, and no pod has that", q.service(), pairs(selector))
	fix := "its workload may be scaled to 0, or its pods may have other labels:\n" +
		kubectl(q.Namespace, "get", "deployments,statefulsets,pods", "--show-labels")
	if len(pods) == 0 || likeness(pods[0]) == 0 {
		return one("selector-matches-nothing", fix, "%s", nothing)
	}
	var have, patch []string
	template := make(map[string]string)
	alone := true // nothing else in the Namespace is spelled as the Service's selector is
	typo := true  // the values that differ are spelled much alike; otherwise the pods may well be another workload's
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		switch value, ok := pods[0].Labels[key]; {
		case !ok:
			have, typo = append(have, "no label "+key), false
		case value != selector[key]:
			have, patch = append(have, key+"="+value), append(patch, fmt.Sprintf("%q:%q", key, value))
			template[key] = selector[key]
			alone = alone && (q.spellings(selector[key]) == 0 || q.spellings(value) > 0)
			typo = typo && len(closest(value, []string{selector[key]})) > 0
		}
	}
	switch {
	case typo && !alone:
		fix = "nothing else there is spelled as the pods are, so give their template the labels:\n" + inYAML(template)
	case typo:
		fix = kubectl(q.Namespace, "patch", "service", q.Service, "--type=merge", "-p", `{"spec":{"selector":{`+strings.Join(patch, ",")+`}}}`)
	}
	return one("selector-matches-nothing", fix,
		"%s; Pod %s comes closest, it has %s", nothing, pods[0].Name, strings.Join(have, " and "))
}

// spellings returns how many objects of the Namespace are called by a word, or have it for a label, or select it; but for the Service
// itself, of which only the name counts, and for Pods, which have what their template says.
func (q *inquiry) spellings(word string) (n int) {
	for _, obj := range q.c.objects {
		o, ok := obj.(metav1.Object)
		if !ok || o.GetNamespace() != q.Namespace {
			continue
		}
		words := []string{o.GetName()}
		switch o := obj.(type) {
		case *corev1.Pod, *discoveryv1.EndpointSlice:
			continue
		case *corev1.Service:
			if o != q.svc {
				words = slices.AppendSeq(words, maps.Values(o.Spec.Selector))
			}
		}
		if slices.Contains(slices.AppendSeq(words, maps.Values(o.GetLabels())), word) {
			n++
		}
	}
	return n
}

// hostnamesAnnotation is the annotation of a Service that says which of its endpoints answer to their own names.
const hostnamesAnnotation = "coredns-headless.github.io/hostnames"

// readinessCauses: the name has endpoints, and none of them is ready.
func (q *inquiry) readinessCauses() []cause {
	concerned := q.concerned()
	if q.Scope != qname.Everywhere {
		concerned = q.endpoints // a Service without a ready endpoint has no zonal names, whatever the zone
	}
	if len(concerned) == 0 {
		return nil
	}
	notReady := q.notReadyCauses(concerned)
	hasPeers := slices.ContainsFunc(in[*appsv1.StatefulSet](q.c, q.Namespace), func(set *appsv1.StatefulSet) bool {
		return set.Spec.ServiceName == q.Service && ptr.Deref(set.Spec.Replicas, 1) > 1 // several replicas usually have to find each other
	})
	switch {
	case !q.is(model.Headless) || q.svc.Spec.PublishNotReadyAddresses || !hasPeers:
		return notReady
	case slices.ContainsFunc(q.endpoints, func(e endpoint) bool { return e.word() != "not ready" }):
		return notReady // some peers became ready, so they did not have to find each other first
	}
	fix := kubectl(q.Namespace, "patch", "service", q.Service, "--type=merge", "-p", `{"spec":{"publishNotReadyAddresses":true}}`) +
		"\nor, for their own names alone:\n" + kubectl(q.Namespace, "annotate", "service", q.Service, hostnamesAnnotation+"=all")
	const text = "%s, and without publishNotReadyAddresses they have no names before they are: " +
		"peers that have to find each other to become ready never do"
	if len(q.pods) == 0 || slices.ContainsFunc(q.pods, func(p *corev1.Pod) bool { return isReady(p) || !isUp(p) }) {
		return append(notReady, one("publish-not-ready", fix, text, "no pod of "+q.service()+" is ready")...)
	}
	return append(one("publish-not-ready", fix, text, "the pods of "+q.service()+" run, but none is ready"), notReady...)
}

// notReadyCauses says why the endpoints that the name concerns are not ready: the first that is not terminating, or else the first.
func (q *inquiry) notReadyCauses(concerned []endpoint) []cause {
	e := concerned[max(0, slices.IndexFunc(concerned, func(e endpoint) bool { return e.word() != "terminating" }))]
	what := q.sentence()
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
		if why := whyNotReady(pod); why != notReady {
			what += ", it " + why
		}
	}
	return one("not-ready", fix, "%s", what)
}

// zoneCauses: the Service has no zonal names, or no endpoint is ready in the topology zone of the name.
func (q *inquiry) zoneCauses() []cause {
	if q.svc == nil || q.Scope == qname.Everywhere {
		return nil
	}
	var zones []string
	for i := range q.endpoints {
		zones = append(zones, q.endpoints[i].Topologies...)
	}
	slices.Sort(zones)
	zones = slices.Compact(zones)
	pins := each(zones, func(zone string) string { return q.shown(zone+".pin._zone", q.Service, q.Namespace) })
	prefer := q.shown(q.Topology+".prefer._zone", q.Service, q.Namespace) + ", which gives all endpoints when none is ready there"
	concerned := q.concerned()
	switch {
	case !q.is(model.Headless):
		return one("zonal-not-headless", "ask for "+q.shown(q.Service, q.Namespace),
			"%s has a ClusterIP, and only headless Services have names below _zone", q.service())
	case !q.s.stanza.Zonal():
		off := one("zonal-off", "in the Corefile, on all replicas: zonal",
			"names below _zone exist only with the option zonal, and the server's stanza does not have it")
		if !q.hasEndpoints() {
			return append(q.sliceCauses(), off...) // the option alone does not help
		}
		return off
	case q.Topology == "":
		return one("no-records", "ask for "+cmp.Or(list(pins), q.shown("ZONE.pin._zone", q.Service, q.Namespace)),
			"the name of a topology zone stands before pin._zone or prefer._zone")
	case len(zones) == 0:
		return one("no-zone", kubectl("", "get", "nodes", "-L", "topology.kubernetes.io/zone")+"   # a pod is in the zone of its node",
			"no endpoint of %s is in a topology zone", q.service())
	case len(concerned) == 0:
		fix := "ask for one of these, or for " + prefer
		if near := closest(q.Topology, zones); len(near) > 0 {
			fix = "did you mean " + list(near) + "? Or ask for " + prefer
		}
		return one("no-zone", fix,
			"no endpoint of %s is in the topology zone %s; there are some in %s", q.service(), q.Topology, list(zones))
	}
	notReady := q.notReadyCauses(concerned)[0]
	return one("zone-not-ready", notReady.Fix+"\nor ask for "+prefer, "%s", notReady.Text)
}
