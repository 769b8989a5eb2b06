package headless

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/insight"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/output"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/miekg/dns"
)

// remedies are what reasons mean, and what to do about them. NAMESPACE and SERVICE stand for those of a name.
var remedies = [index.NumReasons]struct{ meaning, fix string }{
	index.ReasonSyntax: {
		"no name has this form",
		"Names are SERVICE.NAMESPACE.svc.ZONE, with HOSTNAME or _PORT._PROTOCOL before them. If the name is one of another server with a part of " +
			"ours behind it, it is a step of a search list: programs spare it by a dot at the end of the name, or by a smaller ndots in the Pod's dnsConfig.",
	},
	index.ReasonNamespace: {
		"there is no such Namespace, or it is not served here",
		"Check the spelling, and that the Namespace is there: kubectl get namespace NAMESPACE. The options namespaces and namespace_labels say which are served.",
	},
	index.ReasonService: {
		"there is no such Service in the Namespace",
		"Check the spelling, and that the Service is there: kubectl -n NAMESPACE get service SERVICE.",
	},
	index.ReasonExternal: {
		"the Service is an ExternalName, and the name is below it, or it leads nowhere",
		"Ask for the Service's own name, and see that its externalName is a domain name: kubectl -n NAMESPACE get service SERVICE.",
	},
	index.ReasonClusterIP: {
		"the Service has no ClusterIP",
		"See whether the Service has got its ClusterIP: kubectl -n NAMESPACE get service SERVICE.",
	},
	index.ReasonNoneReady: {
		"the Service has no ready endpoint",
		"See which Pods its selector matches and why none of them is ready: kubectl -n NAMESPACE describe service SERVICE, then kubectl -n NAMESPACE get pods. " +
			"Peers that have to find each other before they are ready need publishNotReadyAddresses or the option hostnames.",
	},
	index.ReasonHostname: {
		"the Service has no endpoint of that name",
		"Ask for one of those that are there. If a Pod should have the name, see that it is there, that its hostname is that label and its subdomain the Service " +
			"(a StatefulSet sets both by serviceName), and that it is not scaled away: kubectl -n NAMESPACE get pods -o wide.",
	},
	index.ReasonNotReady: {
		"the endpoint of that name is not ready",
		"See why the Pod is not ready: kubectl -n NAMESPACE describe pod. If peers have to find it before that, set publishNotReadyAddresses on the Service, " +
			"or the annotation coredns-headless.github.io/hostnames: all.",
	},
	index.ReasonPort: {
		"the Service, or the endpoint, has no such port",
		"Ask for one of the ports by the name that it has in the Service: kubectl -n NAMESPACE get service SERVICE -o yaml. A port without a name has no SRV name.",
	},
	index.ReasonTopology: {
		"the Service has no ready endpoint in that topology zone",
		"Ask for prefer._zone in place of pin._zone, which gives all endpoints where the zone has none, or run a Pod in the zone.",
	},
	index.ReasonPod: {
		"the name below pod is no address, or no Pod has it",
		"See the option pods: without it no name of a Pod exists, and with pods verified only those of Pods that are there.",
	},
	index.ReasonReverse: {
		"no Service or endpoint has the address",
		"See whose address it is: kubectl get pods,services -A -o wide. Only Services and their ready endpoints have reverse names.",
	},
	index.ReasonTarget: {
		"the target of a CNAME does not exist, cannot be resolved, or has no such record",
		"See that the externalName of the Service can be resolved by this server: kubectl -n NAMESPACE get service SERVICE, then ask for the target.",
	},
	index.ReasonNonTerminal: {
		"the name exists only for what is below it",
		"Ask for a name below it: a Namespace has no records of its own, its Services have.",
	},
	index.ReasonType: {
		"the name has records of other types only",
		"Nothing, if the other address family was asked for: programs ask for both.",
	},
	index.ReasonChanged: {"the cluster changed while the reason was looked for", "Ask again."},
}

// remedy returns what r means and what to do about it.
func remedy(r index.Reason) (meaning, fix string) { return remedies[r].meaning, remedies[r].fix }

// maxRecords is how many records an explanation shows.
const maxRecords = 100

// account says, for people, what is answered to a client that asks for a name, and why. The name may lack what a search
// list would add. The error says what was expected.
func (h *Headless) account(asked, typeText string) (*insight.Explanation, error) {
	qtype, err := parseType(typeText)
	if err != nil {
		return nil, err
	}
	name, err := h.meant(asked)
	if err != nil {
		return nil, err
	}
	q, m := h.consider(name, qtype)
	e := &insight.Explanation{
		Asked: printable(asked), Name: name, Type: typeOf(qtype), Records: []string{}, Chain: []insight.Step{},
	}
	if m == nil {
		e.Outcome, e.Cause = "elsewhere", "the name is in none of the zones that are served here: "+strings.Join(h.zones, " ")
		e.Fix = "Other plugins of the server, or other servers, answer for it. For a Service ask for SERVICE.NAMESPACE or HOSTNAME.SERVICE.NAMESPACE."
		step(e, false, "zone", e.Cause)
		return e, nil
	}
	e.Zone = q.zone
	if !h.answers(q.authority) {
		e.Outcome, e.Cause = "waiting", "the cluster has not been listed yet, so every name is answered with SERVFAIL"
		e.Fix = "See in the log why the API server cannot be listed."
		step(e, false, "state", e.Cause)
		return e, nil
	}
	h.follow(e, q, m)
	return e, nil
}

// follow notes in e what there is on the way from the zone to the records of q, of which m is what was found.
func (h *Headless) follow(e *insight.Explanation, q *question, m *reply) {
	step(e, true, "zone", "the server answers for "+q.zone)
	x, key := h.indexOf(q.authority), model.Key{Namespace: q.Namespace, Name: q.Service}
	var spec *model.Service
	if q.Kind == qname.ServiceName {
		if spec = x.ShownSpec(key); spec != nil && q.grammar != qname.Multicluster {
			e.Service = insight.ServiceOf(x, key)
		}
	}
	var d Denial
	if m.denies() {
		d = Denial{Denial: index.Denial{Suggest: true}, question: *q, config: h.config}
		h.deny(&d.Denial, q, m.outcome)
	}
	ends := d.Reason
	if ends != index.ReasonSyntax && q.Namespace != "" && ends != index.ReasonNamespace {
		step(e, true, "namespace", "there is a Namespace "+q.Namespace)
		if spec != nil {
			step(e, true, "service", fmt.Sprintf("there is a Service %s, %s", q.Service, kindText(spec.Kind)))
		}
		if s := e.Service; s != nil && ends != index.ReasonNoneReady {
			l := s.Service
			step(e, true, "endpoints", fmt.Sprintf("it has %d ready, %d not ready, %d terminating and %d held endpoints",
				l.Ready, l.NotReady, l.Terminating, l.Held))
		}
	}
	switch {
	case m.cname != "":
		e.Outcome, e.Records, e.Total = "cname", append(e.Records, fmt.Sprintf("%s %d IN CNAME %s", q.name, m.ttl, m.cname)), 1
		step(e, true, "records", "the name leads to "+m.cname)
	case !m.denies():
		h.makeRecords(q, m)
		e.Outcome, e.Total = "records", len(m.Answer)
		for _, rr := range m.Answer[:min(len(m.Answer), maxRecords)] {
			e.Records = append(e.Records, strings.ReplaceAll(rr.String(), "\t", " "))
		}
		step(e, true, "records", fmt.Sprintf("the name has %d records of type %s", e.Total, e.Type))
	case h.passes(q, m, strings.ToLower(q.name)):
		e.Outcome, e.Reason = "elsewhere", ends.String()
		e.Cause, e.Fix = "the name has no record here, so the next plugin answers (option fallthrough)", "Ask the server itself what it answers."
		step(e, false, "records", e.Cause)
	default:
		text, _ := d.AppendText(nil) // there is no error
		e.Outcome, e.Reason, e.Cause = "denied", ends.String(), string(text)
		_, fix := remedy(ends)
		e.Fix = q.fill(fix)
		step(e, false, stepOf[ends], e.Cause)
	}
}

// step adds a step to the chain of e.
func step(e *insight.Explanation, ok bool, what, text string) {
	e.Chain = append(e.Chain, insight.Step{OK: ok, What: what, Text: text})
}

// stepOf says where a chain ends.
var stepOf = [index.NumReasons]string{
	index.ReasonSyntax: "form", index.ReasonNamespace: "namespace", index.ReasonService: "service", index.ReasonExternal: "service",
	index.ReasonClusterIP: "service", index.ReasonNoneReady: "endpoints", index.ReasonHostname: "endpoint", index.ReasonNotReady: "endpoint",
	index.ReasonPort: "port", index.ReasonTopology: "topology zone", index.ReasonPod: "pod", index.ReasonReverse: "address",
	index.ReasonTarget: "target", index.ReasonNonTerminal: "records", index.ReasonType: "records", index.ReasonChanged: "records",
}

// kindText returns what people call a kind of Service.
func kindText(k model.Kind) string {
	return [...]string{model.ClusterIP: "with a ClusterIP", model.Headless: "headless", model.ExternalName: "an ExternalName"}[k]
}

// fill puts the names of q in place of the words that stand for them, as far as a shell takes them for names.
func (q *question) fill(text string) string {
	var words []string
	for word, name := range map[string]string{"NAMESPACE": q.Namespace, "SERVICE": q.Service} {
		if model.ValidLabel(name) {
			words = append(words, " "+word, " "+name)
		}
	}
	return strings.NewReplacer(words...).Replace(text)
}

// parseType returns the type of a text, or A for none.
func parseType(text string) (uint16, error) {
	upper := strings.ToUpper(text)
	if upper == "" {
		return dns.TypeA, nil
	}
	if qtype, ok := dns.StringToType[upper]; ok && qtype != dns.TypeNone {
		return qtype, nil
	}
	if number, ok := strings.CutPrefix(upper, "TYPE"); ok {
		if n, err := strconv.ParseUint(number, 10, 16); err == nil && n > 0 {
			return uint16(n), nil
		}
	}
	return 0, fmt.Errorf("type: expected a type of records such as A, AAAA or SRV, got %q", output.Shorten(printable(text), maxShown))
}

// typeOf returns the text of a type.
func typeOf(qtype uint16) string { return dns.Type(qtype).String() }

// printable returns a name with escapes in place of what cannot be printed, as in a file of a zone (RFC 1035 section 5.1):
// unlike output.Printable it loses nothing.
func printable(name string) string {
	if !slices.ContainsFunc([]byte(name), isUnprintable) {
		return name
	}
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; isUnprintable(c) {
			fmt.Fprintf(&b, `\%03d`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isUnprintable(c byte) bool { return c <= ' ' || c > '~' }

// meant returns the FQDN that somebody means by a name: one in our zones, or one that lacks the end of it. For
// HOSTNAME.SERVICE and SERVICE the Namespace is default or else the first of those that have the Service.
func (h *Headless) meant(asked string) (string, error) {
	if asked == "" {
		return "", errors.New("name: expected a name, got none")
	}
	name := printable(asked)
	fqdn := dns.Fqdn(name)
	if !isName(fqdn) {
		return "", fmt.Errorf("name: expected labels of 1 to 63 octets with dots between them, 255 octets in all, got %q", output.Shorten(name, maxShown))
	}
	if name == fqdn || h.authority(strings.ToLower(fqdn)) != nil || h.primary == "" {
		return fqdn, nil
	}
	rest, last := qname.CutLast(strings.ToLower(name))
	candidate := ""
	switch {
	case last == "svc" || last == "pod":
		candidate = below(name, h.primary)
	case rest != "" && h.index.HasNamespace(last):
		candidate = below(name+".svc", h.primary)
	default:
		var in []string
		for _, ns := range h.index.NamespaceKeys() {
			if h.index.ShownSpec(model.Key{Namespace: ns.Name, Name: last}) != nil {
				in = append(in, ns.Name)
			}
		}
		if slices.Contains(in, "default") {
			in = []string{"default"}
		}
		if len(in) > 0 {
			candidate = below(name+"."+slices.Min(in)+".svc", h.primary)
		}
	}
	if candidate == "" || !isName(candidate) {
		return fqdn, nil
	}
	return candidate, nil
}
