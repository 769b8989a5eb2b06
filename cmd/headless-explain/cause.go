package main

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// causes says why the name has no records. A name can fail at several places, which are in the order of the chain: this is what the
// first says that finds something wrong, the most probable first.
func (q *inquiry) causes() []cause {
	for _, at := range []func() []cause{
		q.nameCauses, q.reverseCauses, q.namespaceCauses, q.podNameCauses, q.serviceCauses, q.externalCauses,
		q.protocolCauses, q.sliceCauses, q.zoneCauses, q.portCauses, q.hostnameCauses, q.readinessCauses, q.typeCauses,
	} {
		if causes := at(); len(causes) > 0 {
			return causes
		}
	}
	text := "none of the causes that this program knows fits; the steps below are all that bears on the name"
	if len(q.answers) > 0 && len(q.answers[0].Extended) > 0 {
		text = "the server says: " + q.answers[0].Extended[0]
	}
	return one("unexplained", "look for NO below", "%s", text)
}

// one returns a single cause. The text is a format.
func one(id, fix, text string, args ...any) []cause {
	return []cause{{id, fmt.Sprintf(text, args...), fix}}
}

// notPermitted: what makes the name may not be listed.
func (q *inquiry) notPermitted() []cause {
	if why := q.c.unknown["namespaces/"+q.namespace]; why != "" && !q.s.stanza.NamespaceLabels().Empty() {
		return one("not-permitted", kubectl("", "auth", "can-i", "get", "namespace", q.namespace), "%s", why)
	}
	resources := []string{"services", "endpointslices"}
	if q.multicluster {
		resources = []string{"serviceimports", "endpointslices"}
	}
	for _, resource := range resources {
		if why := q.c.whyUnknown(resource, q.namespace); why != "" {
			return one("not-permitted", kubectl(q.namespace, "auth", "can-i", "list", resource), "%s", why)
		}
	}
	return nil
}

// nameCauses: the name is of no form that the server knows.
func (q *inquiry) nameCauses() []cause {
	if q.zone == "" {
		if before, _, isCluster := strings.Cut(q.fqdn, ".svc."); isCluster {
			return one("wrong-zone", "ask for "+before+".svc."+trimmed(q.s.stanza.Primary()),
				"%s looks like the name of a Service, but the zone of this cluster is %s", trimmed(q.fqdn), trimmed(q.s.stanza.Primary()))
		}
		return q.outsideCauses()
	}
	if !q.invalid || isReverse(q.fqdn) || q.outcome() != nxdomain {
		return nil
	}
	labels := strings.Split(strings.TrimSuffix(q.fqdn, "."+q.zone), ".")
	n := len(labels)
	switch {
	case labels[n-1] != "svc" && labels[n-1] != "pod":
		service := append(labels, "svc")
		return one("missing-svc", fmt.Sprintf("ask for %s.%s", strings.Join(service, "."), trimmed(q.zone)),
			"a Service's name has svc between its Namespace and the zone; here %s stands there", labels[n-1])
	case n == 5 && isProtocol(labels[1]):
		labels[0], labels[1] = "_"+strings.TrimLeft(labels[0], "_"), "_"+strings.TrimLeft(labels[1], "_")
		return one("missing-underscore", fmt.Sprintf("ask for %s.%s", strings.Join(labels, "."), trimmed(q.zone)),
			"the labels of a port and its protocol begin with underscores")
	}
	return one("bad-form", "ask for [_PORT._PROTOCOL.][HOSTNAME.]SERVICE.NAMESPACE.svc."+trimmed(q.zone),
		"no name of a Service has the form of %s: it has too many labels, or a port without underscores", trimmed(q.fqdn))
}

// outsideCauses: the name is that of something elsewhere.
func (q *inquiry) outsideCauses() []cause {
	return one("outside-zones", "ask another resolver, or say with -zone or -corefile which zones there are",
		"%s is in none of the server's zones, %s: it is not the cluster's to answer", trimmed(q.fqdn), q.s.zones())
}

func isProtocol(label string) bool {
	switch strings.TrimLeft(label, "_") {
	case "tcp", "udp", "sctp":
		return true
	}
	return false
}

// namespaceCauses: the Namespace does not exist, or is hidden.
func (q *inquiry) namespaceCauses() []cause {
	if q.namespace == "" {
		return nil
	}
	if where := q.namesakes(); len(where) > 0 {
		return one("missing-namespace", fmt.Sprintf("ask for %s, or in a pod for %s.%s", q.shown(q.namespace, where[0]), q.namespace, where[0]),
			"%s is the name of a Namespace, and has no records; Service %s is in %s", trimmed(q.fqdn), q.namespace, list(where))
	}
	if !q.c.hasNamespace(q.namespace) {
		if where, fix := q.elsewhere(); where != "" {
			return one("no-namespace", fix, "Namespace %s does not exist; %s", q.namespace, where)
		}
		var names []string
		for name := range q.c.namespaces {
			names = append(names, name)
		}
		fix := kubectl("", "get", "namespaces")
		if near := closest(q.namespace, names); len(near) > 0 {
			fix = "did you mean " + list(near) + "?"
		}
		return one("no-namespace", fix, "Namespace %s does not exist", q.namespace)
	}
	if q.s.serves(q.namespace) {
		return nil
	}
	return q.filtered(q.namespace)
}

// elsewhere says in which other namespaces there is a Service of the name, and how to ask for it there; "" when there is none.
func (q *inquiry) elsewhere() (where, fix string) {
	if q.service == "" || q.pod || q.multicluster {
		return "", ""
	}
	namespaces := q.c.namespacesOf(q.service)
	if len(namespaces) == 0 {
		return "", ""
	}
	nearest := append(closest(q.namespace, namespaces), namespaces...)[0]
	whole := trimmed(q.with(nearest, q.service))
	short := strings.TrimSuffix(whole, ".svc."+trimmed(q.zone))
	return fmt.Sprintf("Service %s is in %s", q.service, list(namespaces)), fmt.Sprintf("ask for %s, or in a pod for %s", whole, short)
}

// filtered says which option hides a Namespace.
func (q *inquiry) filtered(namespace string) []cause {
	if names := q.s.stanza.Namespaces(); !q.s.stanza.Serves(namespace) {
		return one("namespace-filtered", fmt.Sprintf("in the Corefile: namespaces %s %s", strings.Join(names, " "), namespace),
			"Namespace %s exists, but the server does not serve it: its stanza says `namespaces %s`", namespace, strings.Join(names, " "))
	}
	selector := q.s.stanza.NamespaceLabels()
	fix := "label the Namespace so that it matches, or change the Corefile"
	if missing := missingLabels(selector, q.c.namespaces[namespace]); len(missing) > 0 {
		fix = kubectl("", append([]string{"label", "namespace", namespace}, missing...)...)
	}
	return one("namespace-filtered", fix,
		"Namespace %s exists, but the server does not serve it: its stanza says `namespace_labels %s`, which its labels do not match", namespace, selector)
}

// missingLabels returns arguments of kubectl label that make ns match a selector, as far as a label can.
func missingLabels(selector labels.Selector, ns *corev1.Namespace) []string {
	requirements, _ := selector.Requirements() // a stanza has no selector that selects nothing
	if ns == nil {
		return nil
	}
	var missing []string
	for _, r := range requirements {
		values := r.Values().List()
		switch op := r.Operator(); {
		case r.Matches(labels.Set(ns.Labels)):
		case op == selection.Exists:
			missing = append(missing, r.Key()+"=")
		case len(values) > 0 && (op == selection.Equals || op == selection.DoubleEquals || op == selection.In):
			missing = append(missing, r.Key()+"="+values[0])
		case op == selection.DoesNotExist:
			missing = append(missing, r.Key()+"-")
		}
	}
	return missing
}

// podNameCauses: a name below pod.
func (q *inquiry) podNameCauses() []cause {
	if !q.pod || q.outcome() == found {
		return nil
	}
	switch mode := q.s.stanza.PodMode(); {
	case mode == "disabled":
		return one("pods-disabled", "in the Corefile: pods insecure (any address) or pods verified (those of Pods)",
			"names below pod exist only with the option pods, which is disabled")
	case mode == "verified" && q.service != "":
		return one("no-such-pod", kubectl(q.namespace, "get", "pods", "-o", "wide"),
			"no Pod of Namespace %s has the address %s, and the stanza says `pods verified`", q.namespace, q.service)
	}
	return nil
}

// serviceCauses: the Service does not exist, or is hidden.
func (q *inquiry) serviceCauses() []cause {
	if !q.isService() {
		return nil
	}
	if selector := q.s.stanza.Labels(); q.svc != nil && !selector.Matches(labels.Set(q.svc.Labels)) {
		return one("service-filtered", "label the Service so that it matches, or change the Corefile",
			"Service %s/%s exists, but the server does not serve it: its stanza says `labels %s`, which its labels do not match", q.namespace, q.service, selector)
	}
	if q.svc != nil {
		return nil
	}
	if pod := q.c.pod(q.namespace, q.service); pod != nil {
		for _, svc := range q.c.services {
			if svc.Namespace != q.namespace || svc.Spec.ClusterIP != corev1.ClusterIPNone {
				continue
			}
			if fqdn := q.below(q.service, svc.Name, q.namespace); q.s.askAll(fqdn, addressTypes).outcome() == found {
				return one("pod-as-service", "ask for "+trimmed(fqdn),
					"%s is a Pod, not a Service: a pod's name is below that of its headless Service, %s", q.service, svc.Name)
			}
		}
	}
	if where, fix := q.elsewhere(); where != "" {
		return one("wrong-namespace", fix, "there is no Service %s in Namespace %s; %s", q.service, q.namespace, where)
	}
	var names []string
	for _, svc := range q.c.services {
		if svc.Namespace == q.namespace {
			names = append(names, svc.Name)
		}
	}
	fix := kubectl(q.namespace, "get", "services")
	if near := closest(q.service, names); len(near) > 0 {
		fix = "did you mean " + list(near) + "?"
	}
	return one("no-service", fix, "Namespace %s has no Service %s", q.namespace, q.service)
}

// typeCauses: the name exists, without records of the type.
func (q *inquiry) typeCauses() []cause {
	if q.outcome() != nodata {
		return nil
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
