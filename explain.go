package headless

import (
	"strconv"
	"strings"

	"github.com/coredns/coredns/plugin/pkg/edns"
	"github.com/miekg/dns"
)

const (
	// edeSize is the size of an extended error without its text (RFC 8914 section 2).
	edeSize = 6
	// maxText is the length of the longest text of an extended error.
	maxText = 199
	// leastText is the length of the shortest one that is worth sending in place of a longer one.
	leastText = 32
	// maxShown is the length of the longest name that a text shows in full: it may be the client's.
	maxShown = 40
)

// addEDE adds an extended error to m, a reply to r, before those that it has, if the client can read it.
func addEDE(m, r *dns.Msg, code uint16, text string) {
	asked := r.IsEdns0()
	if asked == nil {
		return
	}
	added := &struct {
		opt  dns.OPT
		ede  dns.EDNS0_EDE
		room [2]dns.EDNS0
	}{ede: dns.EDNS0_EDE{InfoCode: code, ExtraText: text}}
	opt := m.IsEdns0()
	if opt == nil {
		opt = &added.opt
		opt.Hdr.Name, opt.Hdr.Rrtype = ".", dns.TypeOPT
		opt.Option = added.room[:0]
		m.Extra = append(m.Extra, opt)
		for _, o := range asked.Option { // the server repeats them only if there is no OPT record
			if edns.SupportedOption(o.Option()) {
				opt.Option = append(opt.Option, o)
			}
		}
	}
	opt.Option = append(opt.Option, nil)
	copy(opt.Option[1:], opt.Option)
	opt.Option[0] = &added.ede
}

// explain says in m, a complete denial of q, why it denies.
func (h *Headless) explain(r *dns.Msg, q *question, m *reply) {
	d := denial{suggest: h.explains(r)}
	h.why(&d, q, m.outcome)
	if m.cause = d.cause; d.suggest {
		h.sayWhy(r, q, m, &d)
	}
}

// sayWhy says what d says in m. It is a function of its own to keep the stack small while d is made.
func (h *Headless) sayWhy(r *dns.Msg, q *question, m *reply, d *denial) {
	l := newLine(q, m)
	if len(m.Answer) > 0 {
		l.add("target ").name(q.name).add(": ")
	}
	h.describe(&l, q, d)
	l.say(r, m)
}

// explainTarget says in m that the CNAMEs that lead to q lead no further, and why.
func (h *Headless) explainTarget(r *dns.Msg, q *question, m *reply, why string) {
	m.cause = causeTarget
	if h.explains(r) {
		l := newLine(q, m)
		l.add("target ").name(q.name).add(why)
		l.say(r, m)
	}
}

// explains reports whether the reply to r is to say why it denies.
func (h *Headless) explains(r *dns.Msg) bool { return !h.noExplain && r.IsEdns0() != nil }

// line is the text of an extended error, under construction. It has printable octets only.
type line struct {
	text  [maxText]byte
	n     int // octets in text
	limit int // octets that text may have
	cut   bool
}

// newLine returns an empty line that fits into m, the reply to q.
func newLine(q *question, m *reply) line { return line{limit: min(maxText, q.end-m.Len()-edeSize)} }

// say adds l as an extended error to m, a reply to r, unless too little of it fits.
func (l *line) say(r *dns.Msg, m *reply) {
	if l.cut {
		if l.limit < leastText {
			return
		}
		copy(l.text[l.limit-len("..."):], "...")
	}
	addEDE(&m.Msg, r, dns.ExtendedErrorCodeOther, string(l.text[:l.n]))
}

// add appends text, as far as it fits.
func (l *line) add(text string) *line {
	n := 0
	if l.n < l.limit {
		n = copy(l.text[l.n:l.limit], text)
	}
	l.n += n
	l.cut = l.cut || n < len(text)
	return l
}

// number appends n.
func (l *line) number(n int32) *line {
	var room [11]byte
	return l.add(string(strconv.AppendInt(room[:0], int64(n), 10)))
}

// name appends a name, or what is shown of it. The octets that cannot be printed are escaped (RFC 1035 section 5.1): in queries from
// the network they are already, but other plugins may change names.
func (l *line) name(name string) *line {
	end := len(name)
	if end > maxShown {
		end = maxShown - len("...")
	}
	from := 0
	for i := range end {
		if c := name[i]; c < ' ' || c > '~' {
			escaped := [4]byte{'\\', '0' + c/100, '0' + c/10%10, '0' + c%10}
			l.add(name[from:i]).add(string(escaped[:]))
			from = i + 1
		}
	}
	l.add(name[from:end])
	if end < len(name) {
		l.add("...")
	}
	return l
}

// names appends those of names that fit, with commas. more says that they are not all there are.
func (l *line) names(more bool, names ...string) {
	const all, some, and = ": ", ", e.g. ", ", "
	n, end := 0, l.n+len(some)
	for n < len(names) && end+len(names[n]) <= l.limit {
		end += len(names[n]) + len(and)
		n++
	}
	for i, name := range names[:n] {
		switch {
		case i > 0:
			l.add(and)
		case more || n < len(names):
			l.add(some)
		default:
			l.add(all)
		}
		l.add(name)
	}
}

// why says in d why q, whose name has the outcome o, has no record.
func (h *Headless) why(d *denial, q *question, o outcome) {
	switch {
	case o == found:
		d.cause = causeType
	case q.kind == absent:
		d.cause = causeSyntax
	case q.kind == podsName || q.kind == podName:
		d.cause = h.whyPod(q)
	case q.kind == namespaceName || q.kind == serviceName || q.kind == reverseName:
		h.indexOf(q.authority).why(d, &q.query)
	default:
		d.cause = causeNonTerminal
	}
}

// whyPod returns why a name below pod does not own a record.
func (h *Headless) whyPod(q *question) cause {
	switch {
	case h.podMode == podsDisabled:
		return causePod
	case !h.index.hasNamespace(q.namespace):
		return causeNamespace
	case q.kind == podsName:
		return causeNonTerminal
	}
	return causePod
}

// describe appends what d says of q, for people.
func (h *Headless) describe(l *line, q *question, d *denial) {
	switch d.cause {
	case causeSyntax:
		describeForm(l, q)
	case causeNamespace:
		l.add("there is no namespace ").name(q.namespace)
		if len(h.namespaces) > 0 || h.namespaceLabels != nil {
			l.add(" that is served here") // whether there is one that is not, is nobody's business
		}
	case causeService:
		l.add("there is no ").service(q)
		if h.labels != nil {
			l.add(" that is served here")
		}
	case causeExternal:
		l.service(q).add(" is an ExternalName")
		if q.hostname == "" && q.proto == "" && q.scope == everywhere {
			l.add(" whose target is no domain name")
		} else {
			l.add(", and nothing is below it")
		}
	case causeClusterIP:
		l.service(q).add(" has no ClusterIP")
	case causeNoneReady:
		h.describeNoneReady(l, q, d)
	case causeHostname:
		h.describeHostname(l, q, d)
	case causeNotReady:
		state := "not ready"
		if d.state == serving {
			state = "terminating"
		}
		l.endpoint(q).add(" is ").add(state).add(", so it has no name (option hostnames)")
	case causePort:
		describePort(l, q, d)
	case causeZone:
		if d.kind == headless {
			l.service(q).add(" has no ready endpoint in zone ").name(q.query.zone)
		} else {
			l.service(q).add(" is not headless, so it has no zonal names")
		}
	case causePod:
		h.describePod(l, q)
	case causeReverse:
		describeReverse(l, q, d)
	case causeNonTerminal:
		if q.kind == namespaceName {
			l.add("namespace ").name(q.namespace).add(" has no records of its own, its Services have: SERVICE.").name(q.namespace).add(".svc")
		} else {
			l.add("this name has no records of its own, only names below it have")
		}
	case causeType:
		describeType(l, q)
	default:
		l.add("this has just changed, ask again")
	}
}

// service appends what people call the Service of q.
func (l *line) service(q *question) *line {
	if q.grammar == multicluster {
		l.add("ServiceImport ")
	} else {
		l.add("Service ")
	}
	return l.name(q.service).add(" in namespace ").name(q.namespace)
}

// endpoint appends what people call the endpoint of q.
func (l *line) endpoint(q *question) *line {
	return l.add("endpoint ").name(q.hostname).add(" of ").service(q)
}

// describeForm says which names there are, for one that is none.
func describeForm(l *line, q *question) {
	if isReverse(strings.ToLower(q.name)) {
		l.add("this is not the reverse name of an address")
		return
	}
	l.add("no name has this form: ")
	_, label := cutLast(strings.TrimSuffix(q.name[:len(q.name)-len(q.authority.zone)], "."))
	switch label = strings.ToLower(label); {
	case label == "svc" && q.grammar == multicluster:
		l.add("before svc stands SERVICE.NAMESPACE, before that HOSTNAME.CLUSTER, before that _PORT._PROTOCOL with underscores")
	case label == "svc":
		l.add("before svc stands SERVICE.NAMESPACE, before that HOSTNAME, before that _PORT._PROTOCOL with underscores")
	case label == "pod":
		l.add("before pod stands ADDRESS.NAMESPACE, as in 10-244-1-21.default")
	case label == "dns":
		l.add("before dns stands ns")
	default:
		l.add("a Service is SERVICE.NAMESPACE.svc.").name(strings.TrimPrefix(q.authority.zone, "."))
	}
}

// describeNoneReady says how many endpoints there are, of which none is ready.
func (h *Headless) describeNoneReady(l *line, q *question, d *denial) {
	l.service(q)
	if h.noEndpoints {
		l.add(": endpoints are not served here (option noendpoints)")
		return
	}
	l.add(" has ").endpoints(d)
	switch {
	case d.kind != headless:
		l.add(" (option ignore)")
	case d.states == [3]int32{} && d.byHand && q.grammar != multicluster:
		l.add(", and no selector: its EndpointSlices are made by hand")
	case d.states == [3]int32{} && q.grammar != multicluster:
		l.add(": does its selector match any Pods?")
	}
}

// describeHostname says which endpoints there are.
func (h *Headless) describeHostname(l *line, q *question, d *denial) {
	l.service(q)
	switch {
	case h.noEndpoints:
		l.add(": endpoints are not served here (option noendpoints)")
		return
	case h.headlessOnly && d.kind != headless:
		l.add(": only endpoints of headless Services are served here (option endpoints)")
		return
	case q.cluster:
		l.add(" has no endpoint in cluster ")
	default:
		l.add(" has no endpoint ")
	}
	l.name(q.hostname).add("; it has ").endpoints(d)
	var names [maxNear]string
	for i, label := range d.names.all() {
		if names[i] = label.name; label.name == "" {
			names[i] = string(appendDashed(nil, label.addr))
		}
	}
	l.names(d.names.more, names[:d.names.n]...)
}

// endpoints appends how many endpoints there are, and how many of them are ready.
func (l *line) endpoints(d *denial) {
	total := d.states[notReady] + d.states[serving] + d.states[ready]
	switch {
	case total == 0:
		l.add("no endpoints")
	case total == 1 && d.states[ready] == 1:
		l.add("1 ready endpoint")
	case total == 1 && d.states[serving] == 1:
		l.add("1 endpoint, which is terminating")
	case total == 1:
		l.add("1 endpoint, which is not ready")
	case d.states[ready] == total:
		l.number(total).add(" ready endpoints")
	case d.states[ready] > 0:
		l.number(total).add(" endpoints, ").number(d.states[ready]).add(" of them ready")
	case d.states[serving] > 0:
		l.number(total).add(" endpoints, none of them ready and ").number(d.states[serving]).add(" terminating")
	default:
		l.number(total).add(" endpoints, none of them ready")
	}
}

// describePort says which ports there are.
func describePort(l *line, q *question, d *denial) {
	if q.hostname != "" {
		l.endpoint(q)
	} else {
		l.service(q)
	}
	l.add(" has no port ")
	if q.port != "" {
		l.add("_").name(q.port).add(".")
	}
	l.add("_").name(q.proto)
	var names [maxNear]string
	for i, p := range d.ports.all() {
		names[i] = "_" + p.name + "._" + p.proto
	}
	switch {
	case d.ports.n > 0:
		l.add("; it has others").names(d.ports.more, names[:d.ports.n]...)
	case d.unnamed:
		l.add("; its ports have no names")
	default:
		l.add("; it has no ports")
	}
}

// describePod says why a name below pod is none.
func (h *Headless) describePod(l *line, q *question) {
	addr, ok := parsePodLabel(q.pod)
	switch {
	case h.podMode == podsDisabled:
		l.add("names of Pods are not served here (option pods)")
	case !ok:
		l.name(q.pod).add(" is not an address with hyphens, such as 10-244-1-21")
	default:
		l.add("no Pod in namespace ").name(q.namespace).add(" has the address ").add(addr.String())
	}
}

// describeReverse says whose addresses have names.
func describeReverse(l *line, q *question, d *denial) {
	switch {
	case !q.prefix.IsSingleIP():
		l.add("no Service and no ready endpoint that is served here has an address in ").add(q.prefix.String())
	case d.seen:
		l.add("the endpoint that has the address ").add(q.prefix.Addr().String()).add(" is not ready")
	default:
		l.add("no Service and no ready endpoint that is served here has the address ").add(q.prefix.Addr().String())
	}
}

// describeType says which records a name has, for one that lacks those of q's type.
func describeType(l *line, q *question) {
	switch {
	case q.kind != serviceName || q.scope != everywhere || q.proto != "":
		l.add("this name")
	case q.hostname != "":
		l.endpoint(q)
	default:
		l.service(q)
	}
	switch {
	case q.kind == apex:
		l.add(" has only SOA and NS records")
	case q.kind == versionName:
		l.add(" has only a TXT record")
	case q.kind == reverseName:
		l.add(" has only PTR records")
	case q.hostname != "" && q.proto != "":
		l.add(" has only SRV records")
	case q.qtype == dns.TypeA:
		l.add(" has only IPv6 addresses")
	case q.qtype == dns.TypeAAAA:
		l.add(" has only IPv4 addresses")
	case q.qtype == dns.TypeSRV && q.kind == serviceName:
		l.add(" has no ports")
	default:
		l.add(" has no ").add(dns.Type(q.qtype).String()).add(" records")
	}
}
