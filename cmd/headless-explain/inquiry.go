package main

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// inquiry is one FQDN with all that bears on it.
type inquiry struct {
	s *server
	c *cluster
	name
	types   []uint16
	answers answers

	svc       *corev1.Service // the Service of the name, or nil
	endpoints []endpoint      // of svc
	pods      []*corev1.Pod   // that svc selects
}

func newInquiry(s *server, c *cluster, fqdn string, types []uint16) *inquiry {
	q := &inquiry{s: s, c: c, name: s.parse(fqdn), types: types}
	if q.zone != "" {
		q.answers = s.askAll(q.fqdn, types)
	}
	if q.isService() {
		q.svc = c.service(q.namespace, q.service)
	}
	if q.svc != nil {
		q.endpoints, q.pods = c.endpointsOf(q.svc), c.selected(q.svc)
	}
	return q
}

// outcome returns what the answers say.
func (q *inquiry) outcome() string {
	if len(q.answers) == 0 {
		return outside
	}
	return q.answers.outcome()
}

// isHeadless reports whether the Service is.
func (q *inquiry) isHeadless() bool {
	return q.svc != nil && q.svc.Spec.ClusterIP == corev1.ClusterIPNone && !q.isExternal()
}

// isExternal reports whether the Service is a name for another name.
func (q *inquiry) isExternal() bool {
	return q.svc != nil && q.svc.Spec.Type == corev1.ServiceTypeExternalName
}

// needsEndpoints reports whether the name has records only by endpoints.
func (q *inquiry) needsEndpoints() bool {
	return q.svc != nil && !q.isExternal() && (q.isHeadless() || q.hostname != "" || q.s.stanza.IgnoreEmpty())
}

// own returns the endpoints that the name is of: all of the Service, or those that have the hostname or are in the topology zone.
func (q *inquiry) own() []endpoint {
	switch {
	case q.isPinned():
		return slices.DeleteFunc(slices.Clone(q.endpoints), func(e endpoint) bool { return e.zone != q.topology })
	case q.hostname == "":
		return q.endpoints
	}
	var own []endpoint
	for i := range q.endpoints {
		if e := &q.endpoints[i]; e.label() == q.hostname || e.hostname == "" && e.pod == q.hostname && q.s.stanza.PodNames() {
			own = append(own, *e)
		}
	}
	return own
}

// How far a name leads into the cluster, in depth: what counts how much. A name of less than known leads to nothing.
const (
	depthForm      = 1 // it has the form of a Service's name
	depthSpelled   = 1 // and its Namespace is part of what the person wrote, not of a search list
	depthNamespace = 2 // which exists
	depthElsewhere = 2 // a Service of the name exists, in whatever Namespace
	depthPod       = 3 // a Pod of the hostname exists
	depthService   = 3 // the Service exists
	depthEndpoint  = 4 // and the endpoint
	known          = 3
)

// depth says how far the name leads into the cluster, which tells what a person means by word, of which the search list makes several
// names.
func (q *inquiry) depth(word string) int {
	switch {
	case q.invalid && q.isBelowService():
		return depthForm + depthService
	case q.isNamespace() && strings.HasSuffix(strings.ToLower(word), ".svc"):
		if len(q.namesakes()) > 0 {
			return depthForm + depthSpelled + depthElsewhere
		}
		return depthForm + depthSpelled
	case !q.isService() || q.namespace == "svc": // the end of word
		return 0
	}
	n := depthForm
	if strings.TrimPrefix(q.fqdn, strings.ToLower(word)+".") != q.below(q.namespace) {
		n += depthSpelled
		if q.c.hasNamespace(q.namespace) {
			n += depthNamespace
		}
	}
	if len(q.c.namespacesOf(q.service)) > 0 {
		n += depthElsewhere
	}
	if q.hostname != "" && q.c.pod(q.namespace, q.hostname) != nil {
		n += depthPod
	}
	if q.svc != nil {
		n += depthService
		if q.hostname == "" || len(q.own()) > 0 {
			n += depthEndpoint
		}
	}
	return n
}

// namesakes returns the Namespaces of the Services that are called like the Namespace whose name this is: theirs may have been
// forgotten.
func (q *inquiry) namesakes() []string {
	if !q.isNamespace() {
		return nil
	}
	return q.c.namespacesOf(q.namespace)
}

// isBelowService reports whether the last labels of the name, whatever stands before them, are a Service and its Namespace.
func (q *inquiry) isBelowService() bool {
	before, _ := strings.CutSuffix(q.fqdn, ".svc."+q.zone)
	labels := strings.Split(before, ".")
	n := len(labels)
	return n > 1 && q.c.service(labels[n-1], labels[n-2]) != nil
}
