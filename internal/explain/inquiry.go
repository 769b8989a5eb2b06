package explain

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
	discoveryv1 "k8s.io/api/discovery/v1"
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
	answers               // of the server, one for each type; empty if the name is outside the zones

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

// service returns what people call the Service.
func (q *inquiry) service() string { return "Service " + q.Namespace + "/" + q.Service }

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
	part, endpoint, kind := "", "", "Service" // "part of endpoint of kind"
	switch {
	case q.Topology != "":
		part = "topology zone " + q.Topology + " of "
	case q.Scope != qname.Everywhere:
		part = "the topology zones of "
	case q.Port != "":
		part = "port " + q.Port + "/" + q.Proto + " of "
	case q.Proto != "":
		part = "protocol " + q.Proto + " of "
	}
	switch {
	case q.Cluster:
		endpoint = "cluster " + q.Hostname + " of "
	case q.Hostname != "":
		endpoint = "endpoint " + q.Hostname + " of "
	}
	if q.Multicluster {
		kind = "ServiceImport"
	}
	return fmt.Sprintf("%s%s%s %s in Namespace %s, %s", part, endpoint, kind, q.Service, q.Namespace, zone)
}

// endpoint is an endpoint of a Service as the server has it, or would have it.
type endpoint struct {
	index.Endpoint
	entry
	seen bool // the server has it
}

// newEndpoints returns the endpoints of svc. The index of a server from which nothing is hidden has all of them, that of the real
// server has those that are seen.
func newEndpoints(c *cluster, svc *corev1.Service, all, seen []index.Endpoint) (endpoints []endpoint) {
	entries, served := entriesOf(c.slicesOf(svc)), make(map[ownName]index.Endpoint)
	for _, e := range seen {
		served[ownName{e.Addr, e.Names[0]}] = e
	}
	for _, from := range all {
		own := ownName{from.Addr, from.Names[0]}
		o, isSeen := served[own]
		if from.Answers = o.Answers; isSeen {
			from.State = o.State
		}
		endpoints = append(endpoints, endpoint{from, entries[own], isSeen})
	}
	return endpoints
}

// ownName identifies an endpoint of a Service: several may have one address.
type ownName struct {
	addr  netip.Addr
	label string // its own name below that of the Service
}

// entry is what an EndpointSlice says of an endpoint.
type entry struct {
	pod     string // the name of its Pod, or ""
	leaving bool   // the Pod is being deleted
	weight  int    // of several entries for one endpoint the one of most weight counts, or else the first
}

// entriesOf returns what EndpointSlices say, by the names that they may give.
func entriesOf(all []*discoveryv1.EndpointSlice) map[ownName]entry {
	entries := make(map[ownName]entry)
	for _, es := range all {
		for i := range es.Endpoints {
			e, names := newEntry(&es.Endpoints[i])
			for _, own := range names {
				if kept, ok := entries[own]; !ok || kept.weight < e.weight {
					entries[own] = e
				}
			}
		}
	}
	return entries
}

// newEntry reads an endpoint of an EndpointSlice, and returns the names that it may give: a hostname; or else the name of the Pod, if
// the server has the option for it, and the address.
func newEntry(from *discoveryv1.Endpoint) (e entry, names []ownName) {
	const named, ready = 2, 1 // a hostname is the name for sure, and a ready endpoint is one that clients see
	e.leaving = ptr.Deref(from.Conditions.Terminating, false)
	if from.TargetRef != nil && from.TargetRef.Kind == "Pod" {
		e.pod = from.TargetRef.Name
	}
	hostname, isNamed := model.FoldedLabel(ptr.Deref(from.Hostname, ""))
	if isNamed {
		e.weight += named
	}
	if ptr.Deref(from.Conditions.Ready, true) {
		e.weight += ready
	}
	for _, text := range from.Addresses {
		addr, err := netip.ParseAddr(text)
		addr = addr.Unmap()
		switch {
		case err != nil:
		case isNamed:
			names = append(names, ownName{addr, hostname})
		default:
			names = append(names, ownName{addr, e.pod}, ownName{addr, string(model.AppendDashed(nil, addr))})
		}
	}
	return e, names
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

// hasEndpoints reports whether the server has an endpoint of the Service, in whatever state.
func (q *inquiry) hasEndpoints() bool {
	return slices.ContainsFunc(q.endpoints, func(e endpoint) bool { return e.seen })
}

// exists reports whether the Service exists and, if the name has a hostname, has an endpoint that is called so.
func (q *inquiry) exists() bool {
	return q.svc != nil && (q.Hostname == "" || len(q.concerned()) > 0)
}

// known is the least depth of a name that leads to something in the cluster.
const known = 3

// depth says how far the name leads into the cluster, which tells what a person means by word, of which the search list makes several
// names.
func (q *inquiry) depth(word string) int {
	word = strings.ToLower(word)
	isNamespace := q.Kind == qname.NamespaceName && strings.HasSuffix(word, ".svc")
	switch {
	case q.Zone != "" && q.Kind == qname.Absent && q.isBelowService():
		return known + 1
	case q.Kind == qname.PodName && strings.HasSuffix(word, ".pod") && q.isPodAddress():
		return known + 1
	case !isNamespace && (!q.isService() || q.Namespace == "svc"): // the end of word
		return 0
	}
	// The Namespace is part of what the person wrote, not of a search list.
	isSpelled := isNamespace || strings.TrimPrefix(q.fqdn, word+".") != q.below(q.Namespace)
	depth := 1 // for the form
	for _, sign := range []struct {
		weight int
		shows  bool
	}{
		{1, isSpelled},
		{2, isSpelled && !isNamespace && (q.s.exists(q.Namespace) || len(closest(q.Namespace, q.c.namespaces())) > 0)},
		{2, len(q.namesakes())+len(q.c.namespacesOf(q.Service)) > 0}, // in whatever Namespace
		{3, q.Hostname != "" && q.c.pod(q.Namespace, q.Hostname) != nil},
		{3, q.svc != nil},
		{4, q.exists()},
	} {
		if sign.shows {
			depth += sign.weight
		}
	}
	return depth
}

// isPodAddress reports whether the name is that of an address below pod.
func (q *inquiry) isPodAddress() bool {
	_, ok := qname.ParsePodLabel(q.Pod)
	return ok
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
