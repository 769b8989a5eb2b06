package explain

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/output"
	"github.com/coredns-headless/headless/internal/qname"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
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

// linkIf returns a step that is good or bad. The text is a format.
func linkIf(isGood bool, step, text string, args ...any) link {
	l := link{Step: step, State: bad, Text: fmt.Sprintf(text, args...)}
	if isGood {
		l.State = good
	}
	return l
}

// chain returns the steps from the name to its records, as far as they go. The server's reason says which step breaks.
func (q *inquiry) chain() []link {
	name := linkIf(q.reason() != index.ReasonSyntax, "name", "%s", q.what())
	if q.Zone == "" {
		name.State = open
	}
	links := []link{name}
	if q.s.waitsFor(q.fqdn) { // what lies between does not matter
		return append(links, q.links()...)
	}
	if q.isService() || q.Kind == qname.PodName || q.Kind == qname.PodsName {
		links = append(links, q.namespaceLink())
	}
	if q.isService() && links[1].State == good {
		links = append(links, q.serviceLink())
		if q.all.Model != nil && q.svc != nil && !q.is(model.ExternalName) {
			links = append(links, q.slicesLink(), q.endpointsLink())
			links = append(links, q.podsLink()...)
		}
	}
	answers := q.links()
	if q.outcome() != found && len(append(q.notPermitted(), q.lackingFiles()...)) > 0 { // it is an answer from less than there is
		for i := range answers {
			answers[i].State = open
		}
	}
	return append(links, answers...)
}

func (q *inquiry) namespaceLink() link {
	state := "does not exist"
	switch {
	case q.s.serves(q.Namespace):
		return linkIf(true, "namespace", "%s exists and is served", q.Namespace)
	case q.s.exists(q.Namespace):
		state = "exists, but the server's stanza hides it"
	}
	return linkIf(false, "namespace", "%s %s", q.Namespace, state)
}

func (q *inquiry) serviceLink() link {
	reason := q.reason()
	switch why := q.c.whyUnknown(kube.Services, q.Namespace); {
	case q.svc == nil && why != "":
		return link{Step: "service", State: open, Text: "the Services of " + q.Namespace + " may not be listed"}
	case q.svc == nil:
		return linkIf(false, "service", "there is no Service %s in %s", q.Service, q.Namespace)
	case q.is(model.ExternalName):
		return linkIf(reason != index.ReasonService, "service", "ExternalName, a CNAME for %s", q.svc.Spec.ExternalName)
	}
	spec := &q.svc.Spec
	kind, selects, published := "ClusterIP "+spec.ClusterIP, "no selector", ""
	if q.is(model.Headless) {
		kind = "headless"
	}
	if len(spec.Selector) > 0 {
		selects = "selects " + pairs(spec.Selector)
	}
	if spec.PublishNotReadyAddresses {
		published = "; publishNotReadyAddresses"
	}
	ports := each(spec.Ports, func(p corev1.ServicePort) string {
		return fmt.Sprintf("%s %d/%s", cmp.Or(p.Name, "(unnamed)"), p.Port, protocolOf(p.Protocol))
	})
	breaks := reason == index.ReasonService || reason == index.ReasonClusterIP || reason == index.ReasonPort && !q.hasPort() ||
		q.Scope != qname.Everywhere && !q.is(model.Headless)
	return linkIf(!breaks, "service", "%s; %s; ports %s%s", kind, selects, cmp.Or(list(ports), "none"), published)
}

func protocolOf(p corev1.Protocol) corev1.Protocol { return cmp.Or(p, corev1.ProtocolTCP) }

// needsEndpoints reports whether the name has no records because endpoints are missing or not ready.
func (q *inquiry) needsEndpoints() bool {
	reason := q.reason()
	return slices.Contains([]index.Reason{index.ReasonNoneReady, index.ReasonHostname, index.ReasonNotReady}, reason) ||
		(reason == index.ReasonTopology || q.Scope != qname.Everywhere && !q.hasEndpoints()) && q.is(model.Headless)
}

func (q *inquiry) slicesLink() link {
	names := each(q.c.slicesOf(q.svc), (*discoveryv1.EndpointSlice).GetName)
	if why := q.c.whyUnknown(kube.Slices, q.Namespace); len(names) == 0 && why != "" {
		return link{Step: "slices", State: open, Text: "the EndpointSlices of " + q.Namespace + " may not be listed"}
	}
	if len(names) == 0 {
		return linkIf(!q.needsEndpoints(), "slices", "no EndpointSlice is labelled with this Service")
	}
	return linkIf(true, "slices", "%s: %s", output.Count(len(names), "EndpointSlice"), list(names))
}

func (q *inquiry) endpointsLink() link {
	states := make(map[string]int)
	for i := range q.endpoints {
		states[q.endpoints[i].word()]++
	}
	l := linkIf(!q.needsEndpoints(), "endpoints", "%d ready", states["ready"])
	if len(q.endpoints) == 0 && q.c.whyUnknown(kube.Slices, q.Namespace) != "" {
		return link{Step: "endpoints", State: open, Text: "not known, for the slices are not"}
	}
	for _, state := range []string{"not ready", "terminating"} {
		if n := states[state]; n > 0 {
			l.Text += fmt.Sprintf(", %d %s", n, state)
		}
	}
	concerned := q.concerned()
	switch {
	case q.Hostname != "" && states["ready"] == 0 && slices.ContainsFunc(concerned, func(e endpoint) bool { return e.Answers }):
		l.Text += ", but " + q.Hostname + " answers to its own name"
	case len(concerned) > 0:
	case q.Hostname != "":
		l.Text += ", none called " + q.Hostname
	case q.Scope == qname.Pin:
		l.Text += ", none in zone " + q.Topology
	}
	l.Details = q.endpointDetails()
	return l
}

// endpointDetails describes the first few endpoints: those that the name is of before the others, and of each those that are not ready
// before those that are. Texts in slices that are not addresses come last.
func (q *inquiry) endpointDetails() []string {
	rank := func(e endpoint) (n int) {
		if !q.concerns(e) {
			n = 2
		}
		if e.ready() {
			n++
		}
		return n
	}
	endpoints := slices.Clone(q.endpoints)
	slices.SortStableFunc(endpoints, func(a, b endpoint) int { return rank(a) - rank(b) })
	details := each(endpoints, q.endpointDetail)
	for _, es := range q.c.slicesOf(q.svc) {
		for _, text := range notAddresses(es) {
			details = append(details, text+"  does not count, for this is no address of an endpoint")
		}
	}
	return firstFew(details)
}

// notAddresses returns the texts that stand in es for addresses, and that no endpoint can have. In a slice of names they may be any.
func notAddresses(es *discoveryv1.EndpointSlice) (texts []string) {
	if es.AddressType == discoveryv1.AddressTypeFQDN {
		return nil
	}
	for i := range es.Endpoints {
		for _, text := range es.Endpoints[i].Addresses {
			if addr, err := netip.ParseAddr(text); err != nil || addr.Zone() != "" {
				texts = append(texts, text)
			}
		}
	}
	return texts
}

// endpointDetail says of an endpoint whether it counts.
func (q *inquiry) endpointDetail(e endpoint) string {
	text := fmt.Sprintf("%s  %s", e.Addr, e.word())
	switch {
	case q.Scope != qname.Everywhere && len(e.Topologies) > 0:
		text += ", in zone " + strings.Join(e.Topologies, ", ")
	case q.Scope != qname.Everywhere:
		text += ", in no zone"
	}
	name := e.Names[0]
	switch {
	case e.ready() && e.Answers && q.Scope == qname.Pin && !e.in(q.Topology):
		text += ": does not count here, its own name is " + name
	case e.ready() && e.Answers:
		text += ": counts, its own name is " + name
		if name == string(model.AppendDashed(nil, e.Addr)) {
			text += ", for it has no hostname"
		}
	case e.Answers:
		text += ": does not count, but answers to " + name
	case e.ready():
		text += ": would count, but the server does not see it"
	default:
		text += ": does not count, nor does its name " + name
	}
	if pod := q.c.pod(q.Namespace, e.pod); !e.ready() && pod != nil && !isReady(pod) {
		return text + "; the pod " + whyNotReady(pod)
	}
	if e.pod != "" && e.pod != name {
		text += "; pod " + e.pod
	}
	return text
}

// podsLink describes the pods that the Service selects. It returns nil for a Service without a selector.
func (q *inquiry) podsLink() []link {
	if len(q.svc.Spec.Selector) == 0 {
		return nil
	}
	if why := q.c.whyUnknown(kube.Pods, q.Namespace); why != "" {
		return []link{{Step: "pods", State: open, Text: why}}
	}
	ready, listed := 0, make(map[string]bool)
	for i := range q.endpoints {
		listed[q.endpoints[i].pod] = true
	}
	var details []string
	for _, pod := range q.pods {
		var words []string
		if _, missing := lacks(pod, q.Service); missing != "" && q.Hostname != "" {
			words = append(words, missing)
		}
		switch {
		case isReady(pod):
			ready++
		case !listed[pod.Name]: // otherwise the detail of its endpoint says so
			words = append(words, whyNotReady(pod))
		}
		if len(words) > 0 {
			details = append(details, pod.Name+" "+strings.Join(words, ", and "))
		}
	}
	l := linkIf(len(q.pods) > 0 || !q.needsEndpoints(), "pods",
		"the selector matches %s, %d ready", output.Count(len(q.pods), "pod"), ready)
	l.Details = firstFew(details)
	return []link{l}
}

// links returns the steps that are answers. A name with addresses of one family only is all right. When both types are denied in the
// same words, one step says so.
func (all answers) links() []link {
	var links []link
	for i := range all {
		l := all[i].link()
		if !all[i].Resolves && all.outcome() == found {
			l = linkIf(true, l.Step, "no records (NODATA)")
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
	l := linkIf(a.Resolves, "answer "+a.Type, "")
	switch outcome := a.outcome(); outcome {
	case found:
		l.Text = fmt.Sprintf("%s, TTL %d s", output.Count(a.Total, "record"), a.TTL)
		for _, record := range a.Records[:min(few, len(a.Records))] {
			_, data, _ := strings.Cut(record, " IN ") // the rest is said above
			l.Details = append(l.Details, data)
		}
		if a.Total > few {
			l.Details = append(l.Details, fmt.Sprintf("and %d more", a.Total-few))
		}
		return l
	case outside:
		l.State, l.Text = open, fmt.Sprintf("a CNAME for %s, which is in none of the zones", trimmed(a.Outside))
		return l
	default:
		means := map[string]string{nodata: " (the name exists, without such records)", nxdomain: " (no such name)"}
		l.Text = fmt.Sprintf("%s%s, may be kept for %d s", outcome, means[outcome], a.TTL)
	}
	for _, text := range a.Extended {
		l.Details = append(l.Details, "dig shows: "+text)
	}
	return l
}
