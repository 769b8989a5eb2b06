package explain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// causes says why the name has no records, the most probable first: what is behind the reason that the server has. It looks in the
// order of the chain, and the first place where something is wrong counts. Of a ServiceImport this program knows only what the server
// says.
func (q *inquiry) causes() []cause {
	type places = []func() []cause
	reason := q.reason()
	if q.Scope != qname.Everywhere && !q.s.stanza.Zonal() && q.all.Denial != nil && q.all.Denial.Reason <= index.ReasonExternal {
		reason = q.all.Denial.Reason // the option is off, and more is wrong
	}
	at := map[index.Reason]places{
		index.NoReason:          {q.externalCauses}, // a CNAME leads to what is wrong
		index.ReasonSyntax:      {q.zoneCauses, q.formCauses},
		index.ReasonNamespace:   {q.namespaceCauses},
		index.ReasonService:     {q.serviceCauses},
		index.ReasonExternal:    {q.externalCauses},
		index.ReasonClusterIP:   {q.clusterIPCauses},
		index.ReasonNoneReady:   {q.protocolCauses, q.sliceCauses, q.readinessCauses},
		index.ReasonHostname:    {q.sliceCauses, q.hostnameCauses},
		index.ReasonNotReady:    {q.readinessCauses},
		index.ReasonPort:        {q.protocolCauses, q.portCauses},
		index.ReasonTopology:    {q.zoneCauses},
		index.ReasonPod:         {q.podNameCauses},
		index.ReasonReverse:     {q.reverseCauses},
		index.ReasonNonTerminal: {q.namespaceCauses, q.zoneCauses, q.protocolCauses, q.typeCauses},
		index.ReasonType:        {q.typeCauses},
	}[reason]
	switch {
	case q.Zone == "":
		at = places{q.outsideCauses}
	case q.Multicluster && reason != index.ReasonNamespace && reason != index.ReasonSyntax:
		at = places{q.typeCauses}
	}
	for _, look := range at {
		if causes := look(); len(causes) > 0 {
			return causes
		}
	}
	text := "none of the causes that this program knows fits; the steps below are all that bears on the name"
	if q.Denial != nil {
		text = "the server says: " + q.sentence()
	}
	return one("unexplained", "look for NO below", "%s", text)
}

// one returns a single cause. The text is a format.
func one(id, fix, text string, args ...any) []cause {
	return []cause{{id, fmt.Sprintf(text, args...), fix}}
}

// didYouMean returns what to change if one of words was meant by word, or else other.
func didYouMean(word string, words []string, other string) string {
	if near := closest(word, words); len(near) > 0 {
		return "did you mean " + list(near) + "?"
	}
	return other
}

// notPermitted: this program may not list the objects that make the name.
func (q *inquiry) notPermitted() []cause {
	const role = "\nand have a ClusterRole bound that allows get and list of namespaces, and list of services, pods, endpointslices " +
		"(discovery.k8s.io) and statefulsets (apps)"
	if why := q.c.unknown[kube.Namespaces+"/"+q.Namespace]; why != "" && !q.s.stanza.NamespaceLabels().Empty() {
		return one("not-permitted", kubectl("", "auth", "can-i", "get", "namespace", q.Namespace)+role, "%s", why)
	}
	what := kube.Services
	if q.Multicluster {
		what = kube.Imports
	}
	for _, resource := range []string{what, kube.Slices} {
		if why := q.c.whyUnknown(resource, q.Namespace); why != "" {
			return one("not-permitted", kubectl(q.Namespace, "auth", "can-i", "list", resource)+role, "%s", why)
		}
	}
	return nil
}

// outsideCauses: the name is outside the zones. It belongs to something elsewhere, or it has a mistake.
func (q *inquiry) outsideCauses() []cause {
	if before, _, isCluster := strings.Cut(q.fqdn, ".svc."); isCluster {
		zone := trimmed(q.s.stanza.Primary())
		return one("wrong-zone", "ask for "+before+".svc."+zone,
			"%s looks like the name of a Service, but the zone of this cluster is %s", trimmed(q.fqdn), zone)
	}
	return one("outside-zones", "ask another resolver, or say with -zone or -corefile which zones there are",
		"%s is in none of the server's zones, %s: it is not the cluster's to answer", trimmed(q.fqdn), list(each(q.s.stanza.Zones(), trimmed)))
}

// formCauses: no name has this form.
func (q *inquiry) formCauses() []cause {
	if isReverse(q.fqdn) {
		return nil
	}
	labels := strings.Split(strings.TrimSuffix(q.fqdn, "."+q.Zone), ".")
	last := labels[len(labels)-1]
	switch {
	case last != "svc" && last != "pod":
		return one("missing-svc", "ask for "+strings.Join(labels, ".")+".svc."+trimmed(q.Zone),
			"a Service's name has svc between its Namespace and the zone; here %s stands there", last)
	case len(labels) == 5 && isProtocol(labels[1]):
		name := "_" + strings.TrimLeft(labels[0], "_") + "._" + strings.TrimLeft(labels[1], "_")
		return one("missing-underscore", "ask for "+name+"."+strings.Join(labels[2:], ".")+"."+trimmed(q.Zone),
			"the labels of a port and its protocol begin with underscores")
	}
	form := map[string]string{"svc": "[_PORT._PROTOCOL.][HOSTNAME.]SERVICE.NAMESPACE", "pod": "ADDRESS.NAMESPACE"}[last]
	return one("bad-form", "ask for "+form+"."+last+"."+trimmed(q.Zone), "%s", q.sentence())
}

func isProtocol(label string) bool {
	return slices.Contains([]string{"tcp", "udp", "sctp"}, strings.TrimLeft(label, "_"))
}

// namespaceCauses: the Namespace does not exist, or is hidden.
func (q *inquiry) namespaceCauses() []cause {
	if where := q.namesakes(); len(where) > 0 {
		return one("missing-namespace", fmt.Sprintf("ask for %s, or in a pod for %s.%s", q.shown(q.Namespace, where[0]), q.Namespace, where[0]),
			"%s is the name of a Namespace, and has no records; Service %s is in %s", trimmed(q.fqdn), q.Namespace, list(where))
	}
	switch {
	case q.s.serves(q.Namespace):
		return nil
	case q.s.exists(q.Namespace):
		return q.filtered()
	}
	names := q.c.namespaces()
	where, fix := q.elsewhere(didYouMean(q.Namespace, names, kubectl("", "get", "namespaces")))
	return one("no-namespace", fix, "Namespace %s does not exist%s", q.Namespace, where)
}

// elsewhere says in which other namespaces there is a Service of the name, to follow what is wrong with it, and how to ask for it
// there. Without such a namespace it returns "" and other, which is what else to do.
func (q *inquiry) elsewhere(other string) (where, fix string) {
	namespaces := q.c.namespacesOf(q.Service)
	if !q.isService() || len(namespaces) == 0 {
		return "", other
	}
	before := strings.TrimSuffix(q.fqdn, q.below(q.Service, q.Namespace)) + q.Service + "."
	finds := slices.DeleteFunc(append(closest(q.Namespace, namespaces), namespaces...), func(namespace string) bool {
		outcome := q.s.askAll(before+q.below(namespace), addressTypes).outcome()
		return outcome != found && outcome != outside && (q.Scope == qname.Everywhere || q.s.stanza.Zonal())
	})
	if len(finds) == 0 {
		return fmt.Sprintf("; Service %s is in %s", q.Service, list(namespaces)), kubectl("", "get", "services", "-A", "--field-selector", "metadata.name="+q.Service)
	}
	short := before + finds[0]
	return fmt.Sprintf("; Service %s is in %s", q.Service, list(namespaces)),
		fmt.Sprintf("ask for %s, or in a pod for %s", short+".svc."+trimmed(q.Zone), short)
}

// filtered says which option hides the Namespace.
func (q *inquiry) filtered() []cause {
	const text = "Namespace %s exists, but the server does not serve it: its stanza says "
	if names := strings.Join(q.s.stanza.Namespaces(), " "); !q.s.stanza.Serves(q.Namespace) {
		return one("namespace-filtered", fmt.Sprintf("in the Corefile: namespaces %s %s", names, q.Namespace), text+"`namespaces %s`", q.Namespace, names)
	}
	selector, ns := q.s.stanza.NamespaceLabels(), named[*corev1.Namespace](q.c, "", q.Namespace)
	if ns == nil { // objects are in it, which is all that says that it exists
		ns = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: q.Namespace}}
	}
	return one("namespace-filtered", relabel("namespace", ns, selector), text+"`namespace_labels %s`, which its labels do not match", q.Namespace, selector)
}

// relabel returns a command that makes obj match a selector, as far as labels can.
func relabel(kind string, obj metav1.Object, selector labels.Selector) string {
	requirements, _ := selector.Requirements() // only a selector that selects nothing has no requirements, and no stanza has one
	words := []string{"label", kind, obj.GetName()}
	for _, r := range requirements {
		if r.Matches(labels.Set(obj.GetLabels())) {
			continue
		}
		switch r.Operator() {
		case selection.Exists, selection.In, selection.Equals, selection.DoubleEquals:
			words = append(words, r.Key()+"="+append(r.Values().List(), "")[0]) // for Exists any value will do
		case selection.DoesNotExist, selection.NotIn, selection.NotEquals:
			words = append(words, r.Key()+"-")
		}
	}
	if len(words) == 3 {
		return "label the " + kind + " so that it matches, or change the Corefile"
	}
	return kubectl(obj.GetNamespace(), append(words, "--overwrite")...) + "   # or change the Corefile"
}

// podNameCauses: a name below pod stands for an address that does not count.
func (q *inquiry) podNameCauses() []cause {
	if q.s.stanza.PodMode() == "disabled" {
		return one("pods-disabled", "in the Corefile: pods insecure (any address) or pods verified (those of Pods)",
			"names below pod exist only with the option pods, which is disabled")
	}
	if _, ok := qname.ParsePodLabel(q.Pod); !ok {
		return nil
	}
	return one("no-such-pod", kubectl(q.Namespace, "get", "pods", "-o", "wide"),
		"no Pod of Namespace %s has the address %s, and the stanza says `pods verified`", q.Namespace, q.Pod)
}

// serviceCauses: the Service does not exist, or the server does not have it.
func (q *inquiry) serviceCauses() []cause {
	switch selector := q.s.stanza.Labels(); {
	case q.svc != nil && q.all.Model != nil:
		return one("service-filtered", relabel("service", q.svc, selector),
			"%s exists, but the server does not serve it: its stanza says `labels %s`, which its labels do not match", q.service(), selector)
	case q.svc != nil:
		return one("invalid-name", "call it by letters, digits and hyphens", "%s exists, but %s is no label that DNS has for a Service", q.service(), q.Service)
	}
	if pod := q.c.pod(q.Namespace, q.Service); pod != nil {
		for _, svc := range in[*corev1.Service](q.c, q.Namespace) {
			if fqdn := q.below(q.Service, svc.Name, q.Namespace); svc.Spec.ClusterIP == corev1.ClusterIPNone && q.s.finds(fqdn) {
				return one("pod-as-service", "ask for "+trimmed(fqdn),
					"%s is a Pod, not a Service: a pod's name is below that of its headless Service, %s", q.Service, svc.Name)
			}
		}
	}
	if set := q.governed(); set != nil {
		return q.governingCauses(set)
	}
	var names []string // that would resolve in place of this one
	for _, svc := range in[*corev1.Service](q.c, q.Namespace) {
		if q.s.finds(strings.TrimSuffix(q.fqdn, q.below(q.Service, q.Namespace)) + q.below(svc.Name, q.Namespace)) {
			names = append(names, svc.Name)
		}
	}
	where, fix := q.elsewhere(didYouMean(q.Service, names, kubectl(q.Namespace, "get", "services")))
	if where != "" {
		return one("wrong-namespace", fix, "there is no Service %s in Namespace %s%s", q.Service, q.Namespace, where)
	}
	return one("no-service", fix, "Namespace %s has no Service %s", q.Namespace, q.Service)
}

// clusterIPCauses: the Service has no ClusterIP yet, or its ClusterIP is not an address.
func (q *inquiry) clusterIPCauses() []cause {
	if q.c.inFiles && q.svc.UID == "" && q.svc.Spec.ClusterIP == "" {
		return one("no-cluster-ip", "apply it; or give the workloads in the same files, with which an address is foreseen",
			"%s has no address yet: the API server gives it one when it is applied", q.service())
	}
	return one("no-cluster-ip", kubectl(q.Namespace, "get", "service", q.Service, "-o", "yaml")+"   # the API server sets clusterIP", "%s", q.sentence())
}

// typeCauses: the name exists, without records of the type.
func (q *inquiry) typeCauses() []cause {
	if q.outcome() != nodata {
		return nil
	}
	if causes := q.lostPortCauses(); causes != nil && q.answers[0].Type == "SRV" {
		return causes
	}
	var types []string
	for _, qtype := range commonTypes {
		if a := q.s.ask(q.fqdn, qtype); a.Resolves {
			types = append(types, a.Type)
		}
	}
	if len(types) == 0 {
		return one("no-records", "ask for a name below it", "%s exists only because of the names below it, and has no records", trimmed(q.fqdn))
	}
	return one("no-type", "ask for "+strings.Join(types, " or "), "%s has no %s records, but %s", trimmed(q.fqdn), q.answers[0].Type, strings.Join(types, " and "))
}

// reverseCauses: no Service and no ready endpoint that is served has the address.
func (q *inquiry) reverseCauses() []cause {
	if !q.Prefix.IsSingleIP() {
		return nil
	}
	addr := q.Prefix.Addr()
	for _, svc := range q.c.servicesAt(addr) {
		of := newInquiry(q.s, q.c, svc.Name+"."+svc.Namespace+".svc."+q.s.stanza.Primary(), q.types)
		i := slices.IndexFunc(of.endpoints, func(e endpoint) bool { return e.Addr == addr })
		switch reason := of.reason(); {
		case reason == index.ReasonNamespace || reason == index.ReasonService:
			return of.causes()
		case i >= 0 && of.endpoints[i].State != model.Ready:
			return one("not-ready", kubectl(svc.Namespace, "get", "pods", "-o", "wide"),
				"the endpoint that has the address %s, of Service %s/%s, is not ready; only ready ones have reverse names", addr, svc.Namespace, svc.Name)
		case i >= 0:
			if causes := of.hiddenSliceCauses(); causes != nil {
				return causes
			}
		}
	}
	for _, pod := range in[*corev1.Pod](q.c, "") {
		if isAt(pod.Status.PodIP, addr) {
			return one("no-pointer", "make a headless Service that selects the pod",
				"Pod %s/%s has the address %s, but no Service selects it; reverse names are those of Services and their ready endpoints", pod.Namespace, pod.Name, addr)
		}
	}
	return one("no-pointer", kubectl("", "get", "pods", "-A", "-o", "wide", "--field-selector", "status.podIP="+addr.String()),
		"no Service, and no ready endpoint of one, has the address %s", addr)
}
