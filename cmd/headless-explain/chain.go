package main

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// link is one step on the way from the name to its records.
type link struct {
	Step    string   `json:"step"`
	State   string   `json:"state"` // good, bad or unknown
	Text    string   `json:"text"`
	Details []string `json:"details,omitempty"`
}

// States of a link.
const (
	good = "ok"
	bad  = "NO"
	open = "?"
)

func stateIf(isGood bool) string {
	if isGood {
		return good
	}
	return bad
}

// chain returns the steps from the name to its records, as far as they go.
func (q *inquiry) chain() []link {
	state := good
	switch {
	case q.zone == "":
		state = open
	case q.invalid && q.outcome() == nxdomain && !isReverse(q.fqdn), q.scope != "" && !q.s.stanza.Zonal():
		state = bad
	}
	links := []link{{Step: "name", State: state, Text: q.String()}}
	if q.s.waits { // what lies between does not matter
		return append(links, q.answers.links()...)
	}
	if q.isService() || q.pod {
		links = append(links, q.namespaceLink())
	}
	if q.isService() && links[1].State == good {
		links = append(links, q.serviceLink())
		if q.svc != nil && !q.isExternal() {
			links = append(links, q.slicesLink())
			links = append(links, q.endpointsLink())
			links = append(links, q.podsLink()...)
		}
	}
	return append(links, q.answers.links()...)
}

func (q *inquiry) namespaceLink() link {
	l := link{Step: "namespace", State: bad}
	switch {
	case !q.c.hasNamespace(q.namespace):
		l.Text = q.namespace + " does not exist"
	case !q.s.serves(q.namespace):
		l.Text = q.namespace + " exists, but the server's stanza hides it"
	default:
		l.State, l.Text = good, q.namespace+" exists and is served"
	}
	return l
}

func (q *inquiry) serviceLink() link {
	if q.svc == nil {
		return link{Step: "service", State: bad, Text: fmt.Sprintf("there is no Service %s in %s", q.service, q.namespace)}
	}
	spec := &q.svc.Spec
	if q.isExternal() {
		return link{Step: "service", State: good, Text: "ExternalName, a CNAME for " + spec.ExternalName}
	}
	words := []string{"ClusterIP " + spec.ClusterIP}
	if q.isHeadless() {
		words = []string{"headless"}
	}
	if selector := pairs(spec.Selector); selector != "" {
		words = append(words, "selects "+selector)
	} else {
		words = append(words, "no selector")
	}
	var ports []string
	for _, p := range spec.Ports {
		ports = append(ports, portText(p))
	}
	if len(ports) == 0 {
		ports = []string{"none"}
	}
	words = append(words, "ports "+list(ports))
	if spec.PublishNotReadyAddresses {
		words = append(words, "publishNotReadyAddresses")
	}
	l := link{Step: "service", State: good, Text: strings.Join(words, "; ")}
	if q.port != "" && len(q.portsAsked()) == 0 || q.scope != "" && !q.isHeadless() {
		l.State = bad
	}
	return l
}

// portText writes a port of a Service: its name, protocol and number.
func portText(p corev1.ServicePort) string {
	name := p.Name
	if name == "" {
		name = "(unnamed)"
	}
	return fmt.Sprintf("%s %d/%s", name, p.Port, protocolOf(p.Protocol))
}

func protocolOf(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}

func (q *inquiry) slicesLink() link {
	var names []string
	for _, es := range q.c.slicesOf(q.svc) {
		names = append(names, es.Name)
	}
	if len(names) == 0 {
		return link{Step: "slices", State: q.stateIfNeeded(false), Text: "no EndpointSlice is labelled with this Service"}
	}
	return link{Step: "slices", State: good, Text: fmt.Sprintf("%s: %s", count(len(names), "EndpointSlice"), list(names))}
}

// stateIfNeeded returns the state of a step that is of endpoints.
func (q *inquiry) stateIfNeeded(isGood bool) string {
	if !q.needsEndpoints() {
		return good
	}
	return stateIf(isGood)
}

func (q *inquiry) endpointsLink() link {
	states := make(map[string]int)
	for i := range q.endpoints {
		states[q.endpoints[i].state()]++
	}
	var words []string
	for _, state := range []string{"ready", "not ready", "terminating"} {
		if n := states[state]; n > 0 || state == "ready" {
			words = append(words, fmt.Sprintf("%d %s", n, state))
		}
	}
	l := link{Step: "endpoints", Text: strings.Join(words, ", ")}
	own := q.own()
	switch {
	case len(own) > 0:
	case q.hostname != "":
		l.Text += ", none called " + q.hostname
	case q.isPinned():
		l.Text += ", none in zone " + q.topology
	}
	l.State = q.stateIfNeeded(slices.ContainsFunc(own, func(e endpoint) bool { return e.ready }))
	l.Details = q.endpointDetails(own)
	return l
}

// endpointDetails describes the first few endpoints: those that the name is of, then those that are not ready, then the others.
func (q *inquiry) endpointDetails(own []endpoint) []string {
	isOwn := make(map[endpoint]bool, len(own))
	for _, e := range own {
		isOwn[e] = true
	}
	rank := func(e endpoint) int {
		switch {
		case len(own) < len(q.endpoints) && isOwn[e]:
			return 0
		case !e.ready:
			return 1
		}
		return 2
	}
	endpoints := slices.Clone(q.endpoints)
	slices.SortStableFunc(endpoints, func(a, b endpoint) int { return rank(a) - rank(b) })
	var details []string
	for i := range endpoints {
		if i == few {
			return append(details, fmt.Sprintf("and %d more", len(endpoints)-few))
		}
		details = append(details, q.endpointDetail(&endpoints[i]))
	}
	return details
}

// endpointDetail says of an endpoint whether it counts.
func (q *inquiry) endpointDetail(e *endpoint) string {
	text := fmt.Sprintf("%s  %s", e.address, e.state())
	switch {
	case q.scope != "" && e.zone != "":
		text += ", in zone " + e.zone
	case q.scope != "":
		text += ", in no zone"
	}
	text += ": "
	if e.label() == "" {
		return text + "does not count, for this is no address of an endpoint"
	}
	fqdn := q.below(e.label(), q.service, q.namespace)
	answers := q.s.askAll(fqdn, addressTypes).outcome() == found
	switch {
	case e.ready && answers && q.isPinned() && e.zone != q.topology:
		text += "does not count here, its own name is " + e.label()
	case e.ready && answers && e.hostname == "":
		text += "counts, its own name is " + e.label() + ", for it has no hostname"
	case e.ready && answers:
		text += "counts, its own name is " + e.label()
	case answers:
		text += "does not count, but answers to " + e.label()
	case e.ready:
		text += "would count, but the server does not see it"
	default:
		text += "does not count, nor does its name " + e.label()
	}
	if pod := q.c.pod(q.namespace, e.pod); !e.ready && pod != nil {
		return text + "; the pod " + whyNotReady(pod)
	}
	if e.pod != "" && e.pod != e.hostname {
		text += "; pod " + e.pod
	}
	return text
}

// podsLink describes the pods that the Service selects. There is nothing to say without a selector.
func (q *inquiry) podsLink() []link {
	if len(q.svc.Spec.Selector) == 0 {
		return nil
	}
	if why := q.c.whyUnknown("pods", q.namespace); why != "" {
		return []link{{Step: "pods", State: open, Text: why}}
	}
	ready, listed := 0, make(map[string]bool)
	for i := range q.endpoints {
		listed[q.endpoints[i].pod] = true
	}
	l := link{Step: "pods", State: q.stateIfNeeded(len(q.pods) > 0)}
	for _, pod := range q.pods {
		var words []string
		if missing := lacks(pod, q.service); missing != "" && q.hostname != "" {
			words = append(words, missing)
		}
		switch {
		case isReady(pod):
			ready++
		case !listed[pod.Name]: // else its endpoint has said so
			words = append(words, whyNotReady(pod))
		}
		if len(words) > 0 {
			l.Details = append(l.Details, pod.Name+" "+strings.Join(words, ", and "))
		}
	}
	if n := len(l.Details); n > few {
		l.Details = append(l.Details[:few:few], fmt.Sprintf("and %d more", n-few))
	}
	l.Text = fmt.Sprintf("the selector matches %s, %d ready", count(len(q.pods), "pod"), ready)
	return []link{l}
}

// links returns the steps that are answers. That addresses are of one family only is nothing bad; and when both types are denied
// alike, one step says so.
func (all answers) links() []link {
	var links []link
	for i := range all {
		l := all[i].link()
		if !all[i].Resolves && all.outcome() == found {
			l = link{Step: l.Step, State: good, Text: "no records (NODATA)"}
		}
		if i > 0 && l.Text == links[0].Text && !all[i].Resolves {
			links[0].Step = "answer"
			links[0].Text = all[0].Type + " and " + all[i].Type + ": " + l.Text
			continue
		}
		links = append(links, l)
	}
	return links
}

// link returns the step that is an answer.
func (a *answer) link() link {
	l := link{Step: "answer " + a.Type, State: stateIf(a.Resolves)}
	switch {
	case a.Resolves:
		l.Text = fmt.Sprintf("%s, TTL %d s", count(a.Total, "record"), a.TTL)
		for _, record := range a.Records[:min(few, len(a.Records))] {
			_, data, _ := strings.Cut(record, " IN ") // the rest is said above
			l.Details = append(l.Details, data)
		}
		if a.Total > few {
			l.Details = append(l.Details, fmt.Sprintf("and %d more", a.Total-few))
		}
		return l
	case a.Outside != "":
		l.State, l.Text = open, fmt.Sprintf("a CNAME for %s, which is in none of the zones", trimmed(a.Outside))
		return l
	case a.Rcode == "NOERROR":
		l.Text = "NODATA (the name exists, without such records)"
	case a.Rcode == nxdomain:
		l.Text = "NXDOMAIN (no such name)"
	default:
		l.Text = a.Rcode
	}
	l.Text += fmt.Sprintf(", may be kept for %d s", a.TTL)
	for _, text := range a.Extended {
		l.Details = append(l.Details, "dig shows: "+text)
	}
	return l
}
