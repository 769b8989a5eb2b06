package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns-headless/headless"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/miekg/dns"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// inquiry is one FQDN with all that bears on it.
type inquiry struct {
	*headless.Explanation                       // of the FQDN and the first of the types
	all                   *headless.Explanation // as it would be if nothing were hidden from the server
	s                     *server
	c                     *cluster
	fqdn                  string // lower case
	types                 []uint16
	answers               answers

	svc       *corev1.Service // the Service of the name, or nil
	endpoints []endpoint      // of it
	pods      []*corev1.Pod   // that it selects
}

func newInquiry(s *server, c *cluster, fqdn string, types []uint16) *inquiry {
	q := &inquiry{s: s, c: c, fqdn: dns.CanonicalName(fqdn), types: types}
	if q.Explanation, q.all = s.explain(q.fqdn, types[0]); q.Zone == "" {
		return q
	}
	q.answers = s.askAll(q.fqdn, types)
	if q.isService() {
		q.svc = c.service(q.Namespace, q.Service)
	}
	if q.svc != nil {
		q.endpoints, q.pods = newEndpoints(c, q.svc, q.all.Endpoints, q.Endpoints), c.selected(q.svc)
	}
	return q
}

// isService reports whether the name is that of a Service, or below it.
func (q *inquiry) isService() bool { return q.Kind == qname.ServiceName && !q.Multicluster }

// is reports whether there is a Service of the name, of this kind.
func (q *inquiry) is(kind model.Kind) bool {
	return q.svc != nil && q.all.Model != nil && q.all.Model.Kind == kind
}

// reason returns why the server denies the name.
func (q *inquiry) reason() index.Reason {
	if q.Denial == nil {
		return index.NoReason
	}
	return q.Denial.Reason
}

// sentence returns what the server says of its reason.
func (q *inquiry) sentence() string {
	text, _ := q.Denial.AppendText(nil) // there is no error
	return string(text)
}

// outcome returns what the answers say.
func (q *inquiry) outcome() string {
	if len(q.answers) == 0 {
		return outside
	}
	return q.answers.outcome()
}

// isReverse reports whether an FQDN is a reverse name.
func isReverse(fqdn string) bool {
	return qname.InZone(fqdn, qname.Reverse4) || qname.InZone(fqdn, qname.Reverse6)
}

// below returns the FQDN of labels of a namespace.
func (q *inquiry) below(labels ...string) string {
	labels = slices.DeleteFunc(slices.Concat(labels, []string{"svc", q.Zone}), func(l string) bool { return l == "" })
	return strings.Join(labels, ".")
}

// shown returns what below does, as people write it.
func (q *inquiry) shown(labels ...string) string { return trimmed(q.below(labels...)) }

// own returns the name of the Service, or of its endpoint, as people write it.
func (q *inquiry) own() string { return q.shown(q.Hostname, q.Service, q.Namespace) }

// trimmed returns an FQDN as people write it.
func trimmed(fqdn string) string { return strings.TrimSuffix(fqdn, ".") }

// what says what the name is.
func (q *inquiry) what() string {
	zone := "zone " + trimmed(q.Zone)
	switch {
	case q.Zone == "":
		return "in none of the zones"
	case isReverse(q.fqdn):
		return "a reverse name, in " + zone
	case q.Kind == qname.PodName:
		return fmt.Sprintf("address %s as a pod of Namespace %s, %s", q.Pod, q.Namespace, zone)
	case q.Kind == qname.Absent:
		return "no form of name that Kubernetes has, in " + zone
	case q.Kind != qname.ServiceName:
		return "no Service's name, in " + zone
	}
	text := fmt.Sprintf("Service %s in Namespace %s, %s", q.Service, q.Namespace, zone)
	if q.Multicluster {
		text = strings.Replace(text, "Service", "ServiceImport", 1)
	}
	switch {
	case q.Cluster:
		text = fmt.Sprintf("cluster %s of %s", q.Hostname, text)
	case q.Hostname != "":
		text = fmt.Sprintf("endpoint %s of %s", q.Hostname, text)
	}
	switch {
	case q.Topology != "":
		text = fmt.Sprintf("topology zone %s of %s", q.Topology, text)
	case q.Scope != qname.Everywhere:
		text = "the topology zones of " + text
	case q.Port != "":
		text = fmt.Sprintf("port %s/%s of %s", q.Port, q.Proto, text)
	case q.Proto != "":
		text = fmt.Sprintf("protocol %s of %s", q.Proto, text)
	}
	return text
}

// endpoint is an endpoint of a Service as the server has it, or would have it.
type endpoint struct {
	index.Endpoint
	seen    bool   // the server has it
	pod     string // the name of its Pod, or ""
	leaving bool   // the Pod is being deleted
}

// newEndpoints returns what there is of all endpoints of svc; seen are those that the server has.
func newEndpoints(c *cluster, svc *corev1.Service, all, seen []index.Endpoint) []endpoint {
	pods := make(map[netip.Addr]endpoint)
	for _, es := range c.slicesOf(svc) {
		for i := range es.Endpoints {
			from := &es.Endpoints[i]
			e := endpoint{leaving: ptr.Deref(from.Conditions.Terminating, false)}
			if from.TargetRef != nil && from.TargetRef.Kind == "Pod" {
				e.pod = from.TargetRef.Name
			}
			for _, text := range from.Addresses {
				if addr, err := netip.ParseAddr(text); err == nil {
					pods[addr.Unmap()] = e
				}
			}
		}
	}
	type identity struct {
		netip.Addr
		name string
	}
	served := make(map[identity]index.Endpoint)
	for _, e := range seen {
		served[identity{e.Addr, e.Names[0]}] = e
	}
	var endpoints []endpoint
	for _, from := range all {
		e := pods[from.Addr]
		e.Endpoint, e.Answers = from, false
		if o, ok := served[identity{from.Addr, from.Names[0]}]; ok {
			e.seen, e.State, e.Answers = true, o.State, o.Answers
		}
		endpoints = append(endpoints, e)
	}
	return endpoints
}

// ready reports whether e counts for the name of its Service.
func (e endpoint) ready() bool { return e.State == model.Ready }

// in reports whether slices say that e is in a topology zone.
func (e endpoint) in(topology string) bool { return slices.Contains(e.Topologies, topology) }

// word returns the word for the state of e.
func (e endpoint) word() string {
	switch {
	case e.ready():
		return "ready"
	case e.leaving || e.State == model.Serving:
		return "terminating"
	}
	return "not ready"
}

// concerns reports whether the name is one of e: of all endpoints of the Service, of those that have the hostname, or of those that
// are in the topology zone.
func (q *inquiry) concerns(e endpoint) bool {
	return (q.Scope != qname.Pin || e.in(q.Topology)) && (q.Hostname == "" || slices.Contains(e.Names, q.Hostname))
}

// concerned returns the endpoints that the name concerns.
func (q *inquiry) concerned() []endpoint {
	return slices.DeleteFunc(slices.Clone(q.endpoints), func(e endpoint) bool { return !q.concerns(e) })
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
	n := depthForm
	switch {
	case q.Zone != "" && q.Kind == qname.Absent && q.isBelowService():
		return n + depthService
	case q.Kind == qname.NamespaceName && strings.HasSuffix(strings.ToLower(word), ".svc"):
		if len(q.namesakes()) > 0 {
			n += depthElsewhere
		}
		return n + depthSpelled
	case !q.isService() || q.Namespace == "svc": // the end of word
		return 0
	}
	if strings.TrimPrefix(q.fqdn, strings.ToLower(word)+".") != q.below(q.Namespace) {
		n += depthSpelled
		if q.s.exists(q.Namespace) {
			n += depthNamespace
		}
	}
	if len(q.c.namespacesOf(q.Service)) > 0 {
		n += depthElsewhere
	}
	if q.Hostname != "" && q.c.pod(q.Namespace, q.Hostname) != nil {
		n += depthPod
	}
	if q.svc != nil {
		n += depthService
		if q.Hostname == "" || len(q.concerned()) > 0 {
			n += depthEndpoint
		}
	}
	return n
}

// namesakes returns the Namespaces of the Services that are called like the Namespace whose name this is: theirs may have been
// forgotten.
func (q *inquiry) namesakes() []string {
	if q.Kind != qname.NamespaceName || q.Multicluster {
		return nil
	}
	return q.c.namespacesOf(q.Namespace)
}

// isBelowService reports whether the last labels of the name, whatever stands before them, are a Service and its Namespace.
func (q *inquiry) isBelowService() bool {
	labels := strings.Split(strings.TrimSuffix(q.fqdn, q.below()), ".")
	n := len(labels) - 1 // behind the last dot
	return n > 1 && q.c.service(labels[n-1], labels[n-2]) != nil
}
