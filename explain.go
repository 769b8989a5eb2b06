package headless

import (
	"math"
	"strconv"
	"strings"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
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
	added.opt.Option = added.room[:0]
	opt := replyOPT(m, asked, &added.opt)
	opt.Option = append(opt.Option, nil)
	copy(opt.Option[1:], opt.Option)
	opt.Option[0] = &added.ede
}

// replyOPT returns the OPT record of m, the reply to a query that has the one asked. It is fresh, which is
// added, if m has none.
func replyOPT(m *dns.Msg, asked, fresh *dns.OPT) *dns.OPT {
	if opt := m.IsEdns0(); opt != nil {
		return opt
	}
	fresh.Hdr.Name, fresh.Hdr.Rrtype = ".", dns.TypeOPT
	m.Extra = append(m.Extra, fresh)
	for _, o := range asked.Option { // the server repeats them only if there is no OPT record
		if edns.SupportedOption(o.Option()) && o.Option() != dns.EDNS0SUBNET {
			fresh.Option = append(fresh.Option, o)
		}
	}
	return fresh
}

// Explanation is what the plugin knows of a name, and of its records of a type. It is the caller's.
type Explanation struct {
	qname.Name // the name taken apart
	// Zone is the longest of the zones that the name is in. For a name outside of the zones it is
	// "", and nothing else is set.
	Zone         string
	Multicluster bool // the zone is one of ServiceImports
	// Denial says why the name has no record of the type. It is nil if there is one, or a CNAME.
	Denial *Denial
	CNAME  string // the target of the name's CNAME, a lower-case FQDN, or ""
	// Model is what is kept of the Service or ServiceImport of the name, if it and its Namespace
	// are served, else nil. It is not modified.
	Model *model.Service
	// Endpoints are those of the Service, as the index has them, whether it is served or not.
	Endpoints []index.Endpoint
}

// Explain says what the plugin knows of an FQDN, without following a CNAME. It is for programs that
// explain an answer to people: it costs what a denial does and what the Service holds. While the
// cluster changes, its parts may be of different moments.
func (h *Headless) Explain(name string, qtype uint16) *Explanation {
	q, m := h.consider(name, qtype)
	if m == nil {
		return &Explanation{}
	}
	e := &Explanation{
		Name: q.Name, Zone: q.zone, Multicluster: q.grammar == qname.Multicluster,
		CNAME: m.cname,
	}
	if q.Kind == qname.ServiceName {
		key := model.Key{Namespace: q.Namespace, Name: q.Service}
		e.Model, e.Endpoints = h.indexOf(q.authority).ShownSpec(key), h.indexOf(q.authority).Endpoints(key, math.MaxInt)
	}
	if m.denies() {
		e.Denial = &Denial{Denial: index.Denial{Suggest: true}, question: *q, config: h.config}
		h.deny(&e.Denial.Denial, q, m.outcome)
	}
	return e
}

// consider returns the question for an FQDN, and what is found for it. The reply is nil for a name
// outside of the zones.
func (h *Headless) consider(name string, qtype uint16) (*question, *reply) {
	lower := strings.ToLower(name)
	q := &question{authority: h.authority(lower), name: name, qtype: qtype, end: dns.MaxMsgSize}
	if q.authority == nil {
		return q, nil
	}
	q.Parse(lower, q.zone, q.grammar)
	m := newReply(new(dns.Msg).SetQuestion(name, qtype))
	h.find(q, m)
	return q, m
}

// denies reports whether m, before it is complete, has no record for its question.
func (m *reply) denies() bool { return m.answers() == 0 && m.cname == "" }

// reason returns why an FQDN in our zones has no record of a type: NoReason if it has, if what a CNAME
// leads to decides, or if others answer.
func (h *Headless) reason(name string, qtype uint16) index.Reason {
	q, m := h.consider(name, qtype)
	if m == nil || !m.denies() || !h.answers(q.authority) || h.passes(q, m, strings.ToLower(name)) {
		return index.NoReason
	}
	var d index.Denial
	h.deny(&d, q, m.outcome)
	return d.Reason
}

// Denial is why a name has no record of a type, with all that was known when it was denied. It
// writes its own sentence.
type Denial struct {
	index.Denial
	question question
	config   *config
}

// AppendText implements encoding.TextAppender. It appends what an extended error says of the denial
// (RFC 8914): a sentence of less than 200 octets, all of them printable, for people. The error is
// nil.
func (d *Denial) AppendText(b []byte) ([]byte, error) {
	l := line{limit: maxText}
	describe(&l, &d.question, &d.Denial, d.config)
	l.close()
	return append(b, l.text[:l.n]...), nil
}

// explain says in m, a complete denial of q, why it denies.
func (h *Headless) explain(r *dns.Msg, q *question, m *reply) {
	d := index.Denial{Suggest: h.explains(r)}
	h.deny(&d, q, m.outcome)
	if m.reason = d.Reason; d.Suggest {
		sayDenial(r, q, m, &d, h.config)
	}
}

// sayDenial says in m, the reply to q, what d says. It is a function of its own to keep the stack small while d is made.
func sayDenial(r *dns.Msg, q *question, m *reply, d *index.Denial, c *config) {
	l := newLine(q, m)
	if len(m.Answer) > 0 {
		l.add("target ").name(q.name).add(": ")
	}
	describe(&l, q, d, c)
	l.say(r, m)
}

// explainTarget says in m that the CNAMEs that lead to q lead no further, and why.
func (h *Headless) explainTarget(r *dns.Msg, q *question, m *reply, why string) {
	m.reason = index.ReasonTarget
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
	if l.cut && l.limit < leastText {
		return
	}
	l.close()
	addEDE(&m.Msg, r, dns.ExtendedErrorCodeOther, string(l.text[:l.n]))
}

// close ends l, whose limit is at least leastText if it is cut.
func (l *line) close() {
	if l.cut {
		copy(l.text[l.limit-len("..."):], "...")
	}
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

// name appends a name, or what is shown of it. The octets that cannot be printed are escaped (RFC
// 1035 section 5.1): in queries from the network they are already, but other plugins may change
// names.
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

// deny says in d why the name of q, which has the outcome o, has no record.
func (h *Headless) deny(d *index.Denial, q *question, o index.Outcome) {
	switch {
	case o == index.Found:
		d.Reason = index.ReasonType
	case q.Kind == qname.Absent:
		d.Reason = index.ReasonSyntax
	case q.Kind == qname.PodsName || q.Kind == qname.PodName:
		d.Reason = h.denyPod(q)
	case q.Kind == qname.ReverseName && h.primary == "":
		d.Reason = index.ReasonReverse
	case q.Kind == qname.NamespaceName || q.Kind == qname.ServiceName || q.Kind == qname.ReverseName:
		h.indexOf(q.authority).Deny(d, &q.Name, q.nsRoom)
	default:
		d.Reason = index.ReasonNonTerminal
	}
}

// denyPod returns why a name below pod does not own a record.
func (h *Headless) denyPod(q *question) index.Reason {
	switch {
	case h.podMode == podsDisabled:
		return index.ReasonPod
	case !h.index.HasNamespace(q.Namespace):
		return index.ReasonNamespace
	case q.Kind == qname.PodsName:
		return index.ReasonNonTerminal
	}
	return index.ReasonPod
}

// describe appends to l what d, the denial of q on a server with the configuration c, says for people.
func describe(l *line, q *question, d *index.Denial, c *config) {
	switch d.Reason {
	case index.ReasonSyntax:
		describeForm(l, q)
	case index.ReasonNamespace:
		l.add("there is no namespace ").name(q.Namespace)
		if len(c.namespaces) > 0 || c.selection.NamespaceLabels != nil {
			l.add(" that is served here") // one that is not served must not show
		}
	case index.ReasonService:
		l.add("there is no ").service(q)
		if c.selection.Labels != nil {
			l.add(" that is served here")
		}
	case index.ReasonExternal:
		l.service(q).add(" is an ExternalName")
		if q.Hostname == "" && q.Proto == "" && q.Scope == qname.Everywhere {
			l.add(" whose target is no domain name")
		} else {
			l.add(", and nothing is below it")
		}
	case index.ReasonClusterIP:
		l.service(q).add(" has no ClusterIP")
	case index.ReasonNoneReady:
		describeNoneReady(l, q, d, c)
	case index.ReasonHostname:
		describeHostname(l, q, d, c)
	case index.ReasonNotReady:
		state := "not ready"
		if d.State == model.Serving {
			state = "terminating"
		}
		l.endpoint(q).add(" is ").add(state).add(", so it has no name (option hostnames)")
	case index.ReasonPort:
		describePort(l, q, d)
	case index.ReasonTopology:
		if d.Kind == model.Headless {
			l.service(q).add(" has no ready endpoint in zone ").name(q.Topology)
		} else {
			l.service(q).add(" is not headless, so it has no zonal names")
		}
	case index.ReasonPod:
		describePod(l, q, c)
	case index.ReasonReverse:
		describeReverse(l, q, d, c)
	case index.ReasonNonTerminal:
		if q.Kind == qname.NamespaceName {
			l.add("namespace ").name(q.Namespace).add(" has no records of its own, its Services have: SERVICE.").name(q.Namespace).add(".svc")
		} else {
			l.add("this name has no records of its own, only names below it have")
		}
	case index.ReasonType:
		describeType(l, q)
	default:
		l.add("this has just changed, ask again")
	}
}

// service appends what people call the Service of q.
func (l *line) service(q *question) *line {
	if q.grammar == qname.Multicluster {
		l.add("ServiceImport ")
	} else {
		l.add("Service ")
	}
	return l.name(q.Service).add(" in namespace ").name(q.Namespace)
}

// endpoint appends what people call the endpoint of q.
func (l *line) endpoint(q *question) *line {
	return l.add("endpoint ").name(q.Hostname).add(" of ").service(q)
}

// describeForm says which forms names have, for a qname that has another form.
func describeForm(l *line, q *question) {
	if isReverse(strings.ToLower(q.name)) {
		l.add("this is not the reverse name of an address")
		return
	}
	l.add("no name has this form: ")
	_, label := qname.CutLast(strings.TrimSuffix(q.name[:len(q.name)-len(q.zone)], "."))
	switch label = strings.ToLower(label); {
	case label == "svc" && q.grammar == qname.Multicluster:
		l.add("before svc stands SERVICE.NAMESPACE, before that HOSTNAME.CLUSTER, before that _PORT._PROTOCOL with underscores")
	case label == "svc":
		l.add("before svc stands SERVICE.NAMESPACE, before that HOSTNAME, before that _PORT._PROTOCOL with underscores")
	case label == "pod":
		l.add("before pod stands ADDRESS.NAMESPACE, as in 10-244-1-21.default")
	case label == "dns":
		l.add("before dns stands ns")
	default:
		l.add("a Service is SERVICE.NAMESPACE.svc.").name(strings.TrimPrefix(q.zone, "."))
	}
}

// describeNoneReady says how many endpoints the Service has. It is for a Service without a ready one.
func describeNoneReady(l *line, q *question, d *index.Denial, c *config) {
	l.service(q)
	if c.selection.NoEndpoints {
		l.add(": endpoints are not served here (option noendpoints)")
		return
	}
	l.add(" has ").endpoints(d)
	switch {
	case d.Kind != model.Headless:
		l.add(" (option ignore)")
	case d.States == [3]int32{} && d.ByHand && q.grammar != qname.Multicluster:
		l.add(", and no selector: its EndpointSlices are made by hand")
	case d.States == [3]int32{} && q.grammar != qname.Multicluster:
		l.add(": does its selector match any Pods?")
	}
}

// describeHostname says which endpoints there are.
func describeHostname(l *line, q *question, d *index.Denial, c *config) {
	l.service(q)
	switch {
	case c.selection.NoEndpoints:
		l.add(": endpoints are not served here (option noendpoints)")
		return
	case c.selection.HeadlessOnly && d.Kind != model.Headless:
		l.add(": only endpoints of headless Services are served here (option endpoints)")
		return
	case q.Cluster:
		l.add(" has no endpoint in cluster ")
	default:
		l.add(" has no endpoint ")
	}
	l.name(q.Hostname).add("; it has ").endpoints(d)
	var names [index.MaxNear]string
	for i, label := range d.Names.All() {
		if names[i] = label.Name; label.Name == "" {
			names[i] = string(model.AppendDashed(nil, label.Addr))
		}
	}
	l.names(d.Names.More, names[:d.Names.N]...)
}

// endpoints appends how many endpoints there are, and how many of them are ready.
func (l *line) endpoints(d *index.Denial) {
	total := d.States[model.NotReady] + d.States[model.Serving] + d.States[model.Ready]
	switch {
	case total == 0:
		l.add("no endpoints")
	case total == 1 && d.States[model.Ready] == 1:
		l.add("1 ready endpoint")
	case total == 1 && d.States[model.Serving] == 1:
		l.add("1 endpoint, which is terminating")
	case total == 1:
		l.add("1 endpoint, which is not ready")
	case d.States[model.Ready] == total:
		l.number(total).add(" ready endpoints")
	case d.States[model.Ready] > 0:
		l.number(total).add(" endpoints, ").number(d.States[model.Ready]).add(" of them ready")
	case d.States[model.Serving] > 0:
		l.number(total).add(" endpoints, none of them ready and ").number(d.States[model.Serving]).add(" terminating")
	default:
		l.number(total).add(" endpoints, none of them ready")
	}
}

// describePort says which ports there are.
func describePort(l *line, q *question, d *index.Denial) {
	if q.Hostname != "" {
		l.endpoint(q)
	} else {
		l.service(q)
	}
	l.add(" has no port ")
	if q.Port != "" {
		l.add("_").name(q.Port).add(".")
	}
	l.add("_").name(q.Proto)
	var names [index.MaxNear]string
	for i, p := range d.Ports.All() {
		names[i] = "_" + p.Name + "._" + p.Proto
	}
	switch {
	case d.Ports.N > 0:
		l.add("; it has others").names(d.Ports.More, names[:d.Ports.N]...)
	case d.Unnamed:
		l.add("; its ports have no names")
	default:
		l.add("; it has no ports")
	}
}

// describePod says why a name below pod does not exist.
func describePod(l *line, q *question, c *config) {
	addr, ok := qname.ParsePodLabel(q.Pod)
	switch {
	case c.podMode == podsDisabled:
		l.add("names of Pods are not served here (option pods)")
	case !ok:
		l.name(q.Pod).add(" is not an address with hyphens, such as 10-244-1-21")
	default:
		l.add("no Pod in namespace ").name(q.Namespace).add(" has the address ").add(addr.String())
	}
}

// describeReverse says whose addresses have names.
func describeReverse(l *line, q *question, d *index.Denial, c *config) {
	switch {
	case c.primary == "":
		l.add("addresses have no names here, for there is no zone of the cluster's own Services")
	case !q.Prefix.IsSingleIP():
		l.add("no Service and no ready endpoint that is served here has an address in ").add(q.Prefix.String())
	case d.Overlong:
		l.add("what has the address ").add(q.Prefix.Addr().String()).add(" has a name of more than 255 octets")
	case d.Seen:
		l.add("the endpoint that has the address ").add(q.Prefix.Addr().String()).add(" is not ready")
	default:
		l.add("no Service and no ready endpoint that is served here has the address ").add(q.Prefix.Addr().String())
	}
}

// describeType says which records a name has, for one that lacks those of q's type.
func describeType(l *line, q *question) {
	switch {
	case q.Kind != qname.ServiceName || q.Scope != qname.Everywhere || q.Proto != "":
		l.add("this name")
	case q.Hostname != "":
		l.endpoint(q)
	default:
		l.service(q)
	}
	switch {
	case q.Kind == qname.Apex:
		l.add(" has only SOA and NS records")
	case q.Kind == qname.VersionName:
		l.add(" has only a TXT record")
	case q.Kind == qname.ReverseName:
		l.add(" has only PTR records")
	case q.Hostname != "" && q.Proto != "":
		l.add(" has only SRV records")
	case q.qtype == dns.TypeA:
		l.add(" has only IPv6 addresses")
	case q.qtype == dns.TypeAAAA:
		l.add(" has only IPv4 addresses")
	case q.qtype == dns.TypeSRV && q.Kind == qname.ServiceName:
		l.add(" has no ports")
	default:
		l.add(" has no ").add(dns.Type(q.qtype).String()).add(" records")
	}
}
