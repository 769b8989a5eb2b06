package headless

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/hostile"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns/coredns/plugin/pkg/edns"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
)

// deny returns the reply that h makes to text, "qname TYPE", for a client that can read extended errors if size is not 0.
func deny(t testing.TB, h *Headless, text string, size uint16) *reply {
	t.Helper()
	r := dnstest.Question(text, size)
	asked := r.Question[0]
	qname := strings.ToLower(asked.Name)
	q := question{authority: h.authority(qname), name: asked.Name, qtype: asked.Qtype}
	q.Parse(qname, q.zone, q.grammar)
	q.end = room(newDiscard("udp"), r)
	m := newReply(r)
	if h.resolve(&q, m); m.cname != "" {
		h.chase(t.Context(), &test.ResponseWriter{}, r, &q, m)
	} else {
		h.finish(r, &q, m, 0)
	}
	return m
}

// explained is a question that is denied, and why. In its texts $ is default.svc.cluster.local., & the same in clusterset.local.,
// and % the namespace.
type explained struct {
	name     string
	question string
	cause    string
	text     string
}

var explainedNames = strings.NewReplacer("$", "default.svc.cluster.local.", "&", "default.svc.clusterset.local.", "%", "in namespace default")

// checkExplained compares the denials of h with rows.
func checkExplained(t *testing.T, h *Headless, rows []explained) {
	t.Helper()
	for _, row := range rows {
		question, want := explainedNames.Replace(row.question), explainedNames.Replace(row.text)
		for _, size := range []uint16{0, 1232} {
			m := deny(t, h, question, size)
			if got := m.reason.String(); got != row.cause {
				t.Errorf("%s: %s: cause %q, want %q", row.name, question, got, row.cause)
			}
			errs := hostile.ExtendedErrors(&m.Msg)
			switch {
			case size == 0 || want == "":
				if m.IsEdns0() != nil {
					t.Errorf("%s: %s with a buffer of %d: got %v, want no OPT record", row.name, question, size, m.Extra)
				}
			case len(errs) != 1 || errs[0].InfoCode != 0 || errs[0].ExtraText != want:
				t.Errorf("%s: %s:\n got %v\nwant %q", row.name, question, errs, want)
			}
		}
		checkExplanation(t, h, question, row.cause, want)
	}
}

// checkExplanation compares what Explain says of question, "qname TYPE", with the reason and the text of the denial that a client
// gets. A denial that a CNAME leads to is that of another name.
func checkExplanation(t *testing.T, h *Headless, question, reason, text string) {
	t.Helper()
	name, qtype, _ := strings.Cut(question, " ")
	e := h.Explain(name, dns.StringToType[qtype])
	switch {
	case e.CNAME != "" && e.Denial == nil:
	case e.Denial == nil:
		if reason != "" {
			t.Errorf("%s: Explain says that there are records, want %s", question, reason)
		}
	default:
		got, err := e.Denial.AppendText([]byte("so: "))
		if e.Denial.Reason.String() != reason || string(got) != "so: "+text || err != nil {
			t.Errorf("%s: Explain says %s: %q (%v), want %s: %q behind so:", question, e.Denial.Reason, got, err, reason, text)
		}
	}
}

const (
	formText = "no name has this form: before svc stands SERVICE.NAMESPACE, before that HOSTNAME, before that _PORT._PROTOCOL with underscores"
	noneText = "this name has no records of its own, only names below it have"
	twoReady = "it has 5 endpoints, 2 of them ready: web-0, web-1"
)

func TestDenialsSayWhy(t *testing.T) {
	h := newTestHeadlessFrom(t, "headless cluster.local clusterset.local in-addr.arpa ip6.arpa {\nmulticluster clusterset.local\nzonal\n"+
		"pods insecure\nmanifests testdata/cluster.yaml testdata/imports.yaml\n}")
	h.upstream = outside{}
	checkExplained(t, h, []explained{
		{"an answer", "web.$ A", "", ""},
		{"a CNAME that leads to an answer", "ext.$ A", "", ""},
		{"a CNAME alone", "ext.$ MX", "", ""},
		{"no such name in the zone", "x.cluster.local. A", "syntax", "no name has this form: a Service is SERVICE.NAMESPACE.svc.cluster.local."},
		{"svc is missing", "web.default.cluster.local. A", "syntax", "no name has this form: a Service is SERVICE.NAMESPACE.svc.cluster.local."},
		{"too many labels", "x.y.web-0.web.$ A", "syntax", formText},
		{"no underscores", "http.tcp.web.$ SRV", "syntax", formText},
		{"too many labels in a multicluster zone", "w.x.y.z.db.& A", "syntax", strings.Replace(formText, "HOSTNAME", "HOSTNAME.CLUSTER", 1)},
		{"too many labels below pod", "x.10-0-0-1.default.pod.cluster.local. A", "syntax", "no name has this form: before pod stands ADDRESS.NAMESPACE, as in 10-244-1-21.default"},
		{"a name below dns", "x.dns.cluster.local. A", "syntax", "no name has this form: before dns stands ns"},
		{"no reverse name", "x.in-addr.arpa. PTR", "syntax", "this is not the reverse name of an address"},
		{"no such namespace", "web.nowhere.svc.cluster.local. A", "namespace", "there is no namespace nowhere"},
		{"nor below pod", "10-0-0-1.nowhere.pod.cluster.local. A", "namespace", "there is no namespace nowhere"},
		{"no such Service", "nobody.$ A", "service", "there is no Service nobody %"},
		{"nor a port of it", "_http._tcp.nobody.$ SRV", "service", "there is no Service nobody %"},
		{"slices without their Service", "orphan-0.orphan.$ A", "service", "there is no Service orphan %"},
		{"a Service that is not imported", "web.& A", "service", "there is no ServiceImport web %"},
		{"an ExternalName that is an address", "number.$ A", "external_name", "Service number % is an ExternalName whose target is no domain name"},
		{"a name below an ExternalName", "x.ext.$ A", "external_name", "Service ext % is an ExternalName, and nothing is below it"},
		{"a port of one", "_http._tcp.ext.$ SRV", "external_name", "Service ext % is an ExternalName, and nothing is below it"},
		{"no endpoints", "empty.$ A", "no_ready_endpoints", "Service empty % has no endpoints: does its selector match any Pods?"},
		{"endpoints that are names", "fqdn.$ A", "no_ready_endpoints", "Service fqdn % has no endpoints, and no selector: its EndpointSlices are made by hand"},
		{"an endpoint that is not ready", "starting.$ A", "no_ready_endpoints", "Service starting % has 1 endpoint, which is not ready"},
		{"a port of it", "_http._tcp.starting.$ SRV", "no_ready_endpoints", "Service starting % has 1 endpoint, which is not ready"},
		{"three that are not", "serving.$ A", "no_ready_endpoints", "Service serving % has 3 endpoints, none of them ready and 1 terminating"},
		{"the same where the name exists", "all.$ A", "no_ready_endpoints", "Service all % has 3 endpoints, none of them ready and 1 terminating"},
		{"a zonal name of a Service without", "eu-1a.pin._zone.empty.$ A", "no_ready_endpoints", "Service empty % has no endpoints: does its selector match any Pods?"},
		{"a hostname nobody has", "web-9.web.$ A", "hostname", "Service web % has no endpoint web-9; " + twoReady},
		{"a port of it", "_http._tcp.web-9.web.$ SRV", "hostname", "Service web % has no endpoint web-9; " + twoReady},
		{"a misspelt one", "wbe-1.web.$ A", "hostname", "Service web % has no endpoint wbe-1; it has 5 endpoints, 2 of them ready: web-1, web-0"},
		{"the dashed address of one with a hostname", "10-0-0-2.web.$ A", "hostname", "Service web % has no endpoint 10-0-0-2; it has 5 endpoints, 2 of them ready: web-1, web-0"},
		{"a dashed address nobody has", "10-0-2-7.anon.$ A", "hostname", "Service anon % has no endpoint 10-0-2-7; it has 4 ready endpoints, e.g. 10-0-2-1, 10-0-2-9, 0--5"},
		{"of two families each", "pair-7.pair.$ A", "hostname", "Service pair % has no endpoint pair-7; it has 4 ready endpoints: pair-0, pair-1"},
		{"of a Service without endpoints", "x.empty.$ A", "hostname", "Service empty % has no endpoint x; it has no endpoints"},
		{"of one without ready endpoints", "x.starting.$ A", "hostname", "Service starting % has no endpoint x; it has 1 endpoint, which is not ready"},
		{"of a Service with a ClusterIP", "x.vip.$ A", "hostname", "Service vip % has no endpoint x; it has 1 ready endpoint: vip-0"},
		{"of another cluster", "db-1.east.db.& A", "hostname", "ServiceImport db % has no endpoint db-1.east; it has 4 endpoints, 3 of them ready: db-0.east, db-0.west, 10-20-0-2.east"},
		{"a cluster nobody knows", "north.db.& A", "hostname", "ServiceImport db % has no endpoint in cluster north; it has 4 endpoints, 3 of them ready: db-0.west, db-0.east, 10-20-0-2.east"},
		{"an endpoint that is not ready", "web-2.web.$ A", "hostname_not_ready", "endpoint web-2 of Service web % is not ready, so it has no name (option hostnames)"},
		{"a port of it", "_http._tcp.web-2.web.$ SRV", "hostname_not_ready", "endpoint web-2 of Service web % is not ready, so it has no name (option hostnames)"},
		{"one that is terminating", "web-3.web.$ A", "hostname_not_ready", "endpoint web-3 of Service web % is terminating, so it has no name (option hostnames)"},
		{"one of another cluster", "db-1.west.db.& A", "hostname_not_ready", "endpoint db-1.west of ServiceImport db % is not ready, so it has no name (option hostnames)"},
		{"a port under another protocol", "_http._udp.web.$ SRV", "port", "Service web % has no port _http._udp; it has others: _http._tcp, _dns._udp"},
		{"a misspelt port", "_htpp._tcp.vip.$ SRV", "port", "Service vip % has no port _htpp._tcp; it has others: _http._tcp, _https._tcp"},
		{"a protocol without ports", "_sctp.web.$ SRV", "port", "Service web % has no port _sctp; it has others: _dns._udp, _http._tcp"},
		{"a port of an endpoint", "_dns._tcp.web-0.web.$ SRV", "port", "endpoint web-0 of Service web % has no port _dns._tcp; it has others: _dns._udp, _http._tcp"},
		{"ports without names", "_http._tcp.anon.$ SRV", "port", "Service anon % has no port _http._tcp; its ports have no names"},
		{"and a protocol", "_tcp.bare.$ A", "port", "Service bare % has no port _tcp; its ports have no names"},
		{"no ports", "_http._tcp.portless.$ SRV", "port", "Service portless % has no port _http._tcp; it has no ports"},
		{"a zone without endpoints", "us-1.pin._zone.zoned.$ A", "zone", "Service zoned % has no ready endpoint in zone us-1"},
		{"a zonal name of another Service", "eu-1a.pin._zone.vip.$ A", "zone", "Service vip % is not headless, so it has no zonal names"},
		{"a pod's name without an address", "web-0.default.pod.cluster.local. A", "pod", "web-0 is not an address with hyphens, such as 10-244-1-21"},
		{"an address nobody has", "9.0.0.10.in-addr.arpa. PTR", "reverse", "no Service and no ready endpoint that is served here has the address 10.0.0.9"},
		{"an address of an endpoint that is not ready", "3.0.0.10.in-addr.arpa. PTR", "reverse", "the endpoint that has the address 10.0.0.3 is not ready"},
		{"an address of a slice without its Service", "1.9.0.10.in-addr.arpa. PTR", "reverse", "no Service and no ready endpoint that is served here has the address 10.0.9.1"},
		{"a network nobody is in", "9.10.in-addr.arpa. PTR", "reverse", "no Service and no ready endpoint that is served here has an address in 10.9.0.0/16"},
		{"a target outside that does not exist", "ext.$ AAAA", "target", "target www.example.com. does not exist"},
		{"a target here that does not", "nowhere.$ A", "service", "target nobody.default.svc.cluster.local.: there is no Service nobody %"},
		{"a target here without the type", "nodata.$ AAAA", "type", "target portless.default.svc.cluster.local.: Service portless % has only IPv4 addresses"},
		{"a circle", "circle.$ A", "target", "target circle.default.svc.cluster.local. leads to itself"},
		{"a long chain", "hop-1.$ A", "target", "target hop-9.default.svc.cluster.local. is not followed: too many ExternalNames lead to each other"},
		{"svc", "svc.cluster.local. A", "empty_non_terminal", noneText},
		{"a namespace", "default.svc.cluster.local. A", "empty_non_terminal", "namespace default has no records of its own, its Services have: SERVICE.default.svc"},
		{"one below pod", "default.pod.cluster.local. A", "empty_non_terminal", noneText},
		{"a protocol", "_tcp.web.$ A", "empty_non_terminal", noneText},
		{"one below an endpoint", "_udp.web-0.web.$ A", "empty_non_terminal", noneText},
		{"one of a ClusterIP", "_tcp.vip.$ A", "empty_non_terminal", noneText},
		{"what is above zones", "_zone.zoned.$ A", "empty_non_terminal", noneText},
		{"a cluster", "east.db.& A", "empty_non_terminal", noneText},
		{"what is above addresses", "0.10.in-addr.arpa. PTR", "empty_non_terminal", noneText},
		{"the apex", "cluster.local. A", "type", "this name has only SOA and NS records"},
		{"the version", "dns-version.cluster.local. A", "type", "this name has only a TXT record"},
		{"the name server", "ns.dns.cluster.local. AAAA", "type", "this name has only IPv4 addresses"},
		{"a Service without IPv6", "web.$ AAAA", "type", "Service web % has only IPv4 addresses"},
		{"an endpoint without IPv4", "fd00--0.anon.$ A", "type", "endpoint fd00--0 of Service anon % has only IPv6 addresses"},
		{"an endpoint without IPv6", "web-0.web.$ AAAA", "type", "endpoint web-0 of Service web % has only IPv4 addresses"},
		{"a port without IPv6", "_http._tcp.web.$ AAAA", "type", "this name has only IPv4 addresses"},
		{"an endpoint's port", "_http._tcp.web-0.web.$ A", "type", "this name has only SRV records"},
		{"a Service without ports", "portless.$ SRV", "type", "Service portless % has no ports"},
		{"a type that there never is", "web.$ MX", "type", "Service web % has no MX records"},
		{"a pod's name", "10-0-0-1.default.pod.cluster.local. AAAA", "type", "this name has only IPv4 addresses"},
		{"a reverse name", "1.0.0.10.in-addr.arpa. A", "type", "this name has only PTR records"},
	})
}

func TestDenialsSayWhichOptionIsTheReason(t *testing.T) {
	for _, c := range []struct {
		options string
		row     explained
	}{
		{"noendpoints", explained{"", "web.$ A", "no_ready_endpoints", "Service web %: endpoints are not served here (option noendpoints)"}},
		{"noendpoints", explained{"", "vip-0.vip.$ A", "hostname", "Service vip %: endpoints are not served here (option noendpoints)"}},
		{"endpoints headless", explained{"", "vip-0.vip.$ A", "hostname", "Service vip %: only endpoints of headless Services are served here (option endpoints)"}},
		{"ignore empty_service", explained{"", "bare.$ A", "no_ready_endpoints", "Service bare % has no endpoints (option ignore)"}},
		{"", explained{"", "10-0-0-1.default.pod.cluster.local. A", "pod", "names of Pods are not served here (option pods)"}},
		{"", explained{"", "10-0-0-1.nowhere.pod.cluster.local. A", "pod", "names of Pods are not served here (option pods)"}},
		{"pods verified", explained{"", "10-0-0-1.default.pod.cluster.local. A", "pod", "no Pod % has the address 10.0.0.1"}},
		{"labels app=x", explained{"", "web.$ A", "service", "there is no Service web % that is served here"}},
		{"hostnames all", explained{"", "web-9.web.$ A", "hostname", "Service web % has no endpoint web-9; " + twoReady}},
		{"hostnames serving", explained{"", "web-2.web.$ A", "hostname_not_ready", "endpoint web-2 of Service web % is not ready, so it has no name (option hostnames)"}},
	} {
		c.row.name = c.options
		checkExplained(t, newTestHeadless(t, c.options), []explained{c.row})
	}
}

// TestHiddenNamespacesAreExplainedLikeMissingOnes: the text is the same but for the name that the client gave.
func TestHiddenNamespacesAreExplainedLikeMissingOnes(t *testing.T) {
	for _, hiding := range []string{"namespaces shown", "namespace_labels exposed=yes"} {
		_, h := hiddenServer(t, hiddenShown+"---"+hiddenHidden, hiding+"\npods insecure")
		for _, name := range hiddenNames {
			if !strings.Contains(strings.ToLower(name), "hidden") {
				continue
			}
			hidden := deny(t, h, name+" A", 1232)
			missing := deny(t, h, strings.NewReplacer("hidden", "nobody", "Hidden", "Nobody").Replace(name)+" A", 1232)
			got, want := hostile.ExtendedErrors(&hidden.Msg)[0].ExtraText, hostile.ExtendedErrors(&missing.Msg)[0].ExtraText
			if strings.ReplaceAll(got, "hidden", "nobody") != want || !strings.HasPrefix(want, "there is no namespace nobody") {
				t.Errorf("%s: %q, and where there is none %q", name, got, want)
			}
		}
		m := deny(t, h, "link.shown.svc.cluster.local. A", 1232)
		want := "target web.hidden.svc.cluster.local.: there is no namespace hidden that is served here"
		if got := hostile.ExtendedErrors(&m.Msg)[0].ExtraText; got != want {
			t.Errorf("an ExternalName that leads there: %q, want %q", got, want)
		}
	}
}

func TestNoExplain(t *testing.T) {
	h := newTestHeadless(t, "no_explain")
	h.upstream = outside{}
	for _, question := range []string{"nobody.$ A", "web.$ AAAA", "ext.$ AAAA", "circle.$ A", "x.cluster.local. A", "9.0.0.10.in-addr.arpa. PTR"} {
		if m := ask(t, h, explainedNames.Replace(question), func(r *dns.Msg) { r.SetEdns0(1232, false) }); m.IsEdns0() != nil {
			t.Errorf("%s: got\n%v\nwant no OPT record", question, m)
		}
	}
}

// TestTargetsThatFailAreExplained: what another plugin says of the target of a CNAME.
func TestTargetsThatFailAreExplained(t *testing.T) {
	h := newTestHeadless(t, "")
	alias := []dns.RR{test.CNAME("www.example.com. 60 IN CNAME www.example.net.")}
	soa := []dns.RR{test.SOA("example.net. 60 IN SOA ns.example.net. hostmaster.example.net. 1 2 3 4 5")}
	for _, c := range []struct {
		name  string
		reply *dns.Msg
		want  string
	}{
		{"no reply", nil, "target www.example.com. cannot be resolved"},
		{"SERVFAIL", &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}}, "target www.example.com. cannot be resolved"},
		{"no data", &dns.Msg{}, "target www.example.com. has no A records"},
		{"no data behind another CNAME", &dns.Msg{Answer: alias, Ns: soa}, "target www.example.com. has no A records"},
		{"another CNAME that nobody follows", &dns.Msg{Answer: alias}, ""},
		{"nothing that fits", &dns.Msg{MsgHdr: dns.MsgHdr{Truncated: true}}, ""},
		{"NOTIMP", &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeNotImplemented}}, "target www.example.com. cannot be resolved"},
		{"nobody answers for it", &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeRefused}}, ""},
	} {
		h.upstream = fixed{c.reply, nil}
		m, want := deny(t, h, "ext.default.svc.cluster.local. A", 1232), []dns.EDNS0_EDE{{ExtraText: c.want}}
		if c.want == "" {
			want = nil
		}
		if got := hostile.ExtendedErrors(&m.Msg); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", c.name, got, want)
		}
		if c.reply != nil && len(m.Ns) != len(c.reply.Ns) {
			t.Errorf("%s: the authority section is %v, want %v", c.name, m.Ns, c.reply.Ns)
		}
	}
}

// TestFallthroughIsNotExplained: what the next plugin says is not ours to explain.
func TestFallthroughIsNotExplained(t *testing.T) {
	h, asked := newTestHeadless(t, "fallthrough"), false
	h.Next = behind(nxName, &asked)
	for _, question := range []string{"nobody.$ A", "dns.cluster.local. A", "_tcp.web.$ A"} {
		m := ask(t, h, explainedNames.Replace(question), func(r *dns.Msg) { r.SetEdns0(1232, false) })
		if !asked || len(hostile.ExtendedErrors(m)) > 0 {
			t.Errorf("%s: asked: %v; got\n%v", question, asked, m)
		}
	}
	m := ask(t, h, explainedNames.Replace("web.$ AAAA"), func(r *dns.Msg) { r.SetEdns0(1232, false) })
	if len(hostile.ExtendedErrors(m)) != 1 {
		t.Errorf("what is ours to deny: got\n%v", m)
	}
}

// TestStaleDenials: that a denial comes from a snapshot stands before why it denies, in one OPT record.
func TestStaleDenials(t *testing.T) {
	h := newTestHeadless(t, "")
	answersFromItsSnapshot(t, h)
	m := ask(t, h, explainedNames.Replace("nobody.$ A"), func(r *dns.Msg) { r.SetEdns0(512, false) })
	want := []dns.EDNS0_EDE{
		{InfoCode: dns.ExtendedErrorCodeStaleAnswer, ExtraText: staleText},
		{InfoCode: dns.ExtendedErrorCodeOther, ExtraText: "there is no Service nobody in namespace default"},
	}
	if got := hostile.ExtendedErrors(m); !slices.Equal(got, want) || len(m.Extra) != 1 {
		t.Errorf("got %v, want %v", m.Extra, want)
	}
}

// TestDenialsRepeatOptions: the server repeats some options of a query only in replies without an OPT record.
func TestDenialsRepeatOptions(t *testing.T) {
	edns.SetSupportedOption(65001)
	m := ask(t, newTestHeadless(t, ""), explainedNames.Replace("nobody.$ A"), func(r *dns.Msg) {
		r.SetEdns0(1232, false)
		opt := r.IsEdns0()
		opt.Option = append(opt.Option, &dns.EDNS0_LOCAL{Code: 65001, Data: []byte{1}}, &dns.EDNS0_LOCAL{Code: 65003, Data: []byte{2}})
	})
	opt := m.IsEdns0()
	if opt == nil || len(opt.Option) != 2 || opt.Option[0].Option() != dns.EDNS0EDE || opt.Option[1].Option() != 65001 {
		t.Errorf("got %v, want an extended error and option 65001", opt)
	}
}

// TestNamesThatComeMeanwhile: what was denied may exist by the time it is looked for again.
func TestNamesThatComeMeanwhile(t *testing.T) {
	h := newTestHeadlessFrom(t, "headless cluster.local clusterset.local in-addr.arpa {\nmulticluster clusterset.local\nmanifests testdata/cluster.yaml testdata/imports.yaml\n}")
	for _, text := range []string{"web.$", "_http._tcp.web.$", "vip.$", "web-0.web.$", "_http._tcp.web-0.web.$", "1.0.0.10.in-addr.arpa.", "db-0.east.db.&"} {
		name := explainedNames.Replace(text)
		q := question{authority: h.authority(name), name: name, qtype: dns.TypeA, end: dns.MaxMsgSize}
		q.Parse(name, q.zone, q.grammar)
		r := dnstest.Query(name, dns.TypeA, 1232)
		m := newReply(r)
		h.explain(r, &q, m) // of a name error
		if errs := hostile.ExtendedErrors(&m.Msg); m.reason != index.ReasonChanged || len(errs) != 1 || errs[0].ExtraText != "this has just changed, ask again" {
			t.Errorf("%s: %q, %v", text, m.reason, errs)
		}
	}
}

// TestTextsOfHostileNames: whatever a client puts into a name, and however long names are, the text is short and printable, and
// costs neither the SOA nor a flag.
func TestTextsOfHostileNames(t *testing.T) {
	long := strings.Repeat("n", 63)
	label := func(octets string) string { return strings.Repeat(octets, 63) }
	h := newTestHeadlessFrom(t, "headless cluster.local in-addr.arpa {\nzonal\nmanifests testdata/cluster.yaml\n}")
	h.index.PutNamespace(&model.Namespace{Key: model.Key{Name: long}})
	h.index.PutService(&model.Service{Key: model.Key{Namespace: long, Name: long}, Kind: model.Headless})
	spec := &model.Slice{Key: model.Key{Namespace: long, Name: "s"}, Service: long}
	for i := range 20 {
		spec.Ports = append(spec.Ports, model.PortOf(fmt.Sprintf("%s%02d", long[2:], i), "tcp", uint16(i+1)))
		spec.Endpoints = append(spec.Endpoints, model.Endpoint{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Name: fmt.Sprintf("%s%02d", long[2:], i), State: model.Ready})
	}
	h.index.PutSlice(spec)
	h.index.PutService(&model.Service{Key: model.Key{Namespace: long, Name: "alias"}, Kind: model.ExternalName, Target: "x." + long + "." + long + ".svc.cluster.local."})
	for _, name := range []string{
		label(`\000`) + ".svc.cluster.local.",
		label(`\255`) + "." + label(`\128`) + ".default.svc.cluster.local.",
		label(`\"`) + ".web.default.svc.cluster.local.",
		label(`\.`) + "." + label(`\\`) + "." + label(`\010`) + ".svc.cluster.local.",
		"_" + label(`\000`)[4:] + "._" + label(`\001`)[4:] + ".web.default.svc.cluster.local.",
		label(`\200`) + ".pin._zone.web.default.svc.cluster.local.",
		label(`\200`) + ".in-addr.arpa.",
		"\x00\xff\n\x1b[31m.default.svc.cluster.local.", // as another plugin may put it
		"héllo.default.svc.cluster.local.",
		strings.Repeat("n", 61) + "x7." + long + "." + long + ".svc.cluster.local.",
		"_" + long[1:] + "._tcp." + long + "." + long + ".svc.cluster.local.",
		"_tcpx." + long + "." + long + ".svc.cluster.local.",
		"x." + long + "." + long + ".svc.cluster.local.",
		"alias." + long + ".svc.cluster.local.",
		strings.ToUpper(long) + ".svc.cluster.local.",
	} {
		for _, qtype := range []string{"A", "AAAA", "MX"} {
			for _, size := range []uint16{0, 512, 1232} {
				r := new(dns.Msg)
				m := ask(t, h, name+" "+qtype, func(query *dns.Msg) {
					if size > 0 {
						query.SetEdns0(size, false)
					}
					r = query
				})
				limit, soas := max(dns.MinMsgSize, int(size)), len(m.Ns)
				if err := hostile.ExplanationFault(r, m, limit, false); err != nil {
					t.Errorf("%q %s in %d octets: %v", name, qtype, limit, err)
				}
				if size > 0 && m.IsEdns0() == nil {
					m.SetEdns0(size, false)
				}
				if m.Truncate(limit); m.Truncated || len(m.Ns) != soas {
					t.Errorf("%q %s in %d octets: got\n%v", name, qtype, limit, m)
				}
			}
		}
	}
}

// TestTextsFitIntoTheMessage: where there is little room a text is cut, and where there is hardly any it is left out.
func TestTextsFitIntoTheMessage(t *testing.T) {
	h := newTestHeadless(t, "")
	edns.SetSupportedOption(65001)
	sizes := make(map[int]bool) // of the texts
	for padding := range 420 {
		var r *dns.Msg
		m := ask(t, h, explainedNames.Replace("web-9.web.$ A"), func(query *dns.Msg) {
			query.SetEdns0(512, false)
			opt := query.IsEdns0()
			opt.Option = append(opt.Option, &dns.EDNS0_LOCAL{Code: 65001, Data: make([]byte, padding)}) // the reply repeats it
			r = query
		})
		errs := hostile.ExtendedErrors(m)
		sizes[-1] = sizes[-1] || len(errs) == 0
		for _, e := range errs {
			sizes[len(e.ExtraText)] = true
			if full := strings.HasSuffix(e.ExtraText, twoReady); !full && len(e.ExtraText) < 70 && !strings.HasSuffix(e.ExtraText, "...") {
				t.Errorf("with %d octets of padding: %q", padding, e.ExtraText)
			}
		}
		if m.IsEdns0() == nil {
			m.Extra = append(m.Extra, r.IsEdns0())
		}
		if m.Len() > 512 && len(errs) > 0 {
			t.Errorf("with %d octets of padding: %d octets", padding, m.Len())
		}
	}
	if !sizes[-1] || !sizes[leastText] || sizes[leastText-1] || len(sizes) < 40 {
		t.Errorf("texts of %d sizes", len(sizes))
	}
}

// TestEachDenialHasOneExplanation asks for names of all forms, right and wrong.
func TestEachDenialHasOneExplanation(t *testing.T) {
	h := newTestHeadlessFrom(t, "headless cluster.local clusterset.local in-addr.arpa ip6.arpa {\nmulticluster clusterset.local\nzonal\n"+
		"pods insecure\nmanifests testdata/cluster.yaml testdata/imports.yaml\n}")
	h.upstream = outside{}
	rnd := rand.New(rand.NewPCG(1, 2))
	labels := strings.Fields("web web-0 web-9 vip vip-0 anon 10-0-2-1 fd00--0 _http _tcp _udp _x _zone pin prefer eu-1a db db-0 east ext nowhere circle " +
		"empty starting starting-0.starting web-2.web us-1.pin._zone.zoned x.default.pod all default nobody svc pod dns ns dns-version x * 10 0 1 f \\000")
	denials := make(map[index.Reason]int)
	for range 20000 {
		var name []string
		for range rnd.IntN(7) {
			name = append(name, modeltest.PickOne(rnd, labels))
		}
		if rnd.IntN(2) == 0 {
			name = append(name, "default", "svc")
		}
		question := strings.Join(append(name, modeltest.PickOne(rnd, h.zones)), ".")
		qtype := modeltest.PickOne(rnd, []string{"A", "AAAA", "SRV", "PTR", "TXT", "ANY", "NS"})
		size := modeltest.PickOne(rnd, []uint16{0, 512, 1232})
		r, m := new(dns.Msg), deny(t, h, question+" "+qtype, size)
		if size > 0 {
			r.SetEdns0(size, false)
		}
		if err := hostile.ExplanationFault(r, &m.Msg, max(dns.MinMsgSize, int(size)), false); err != nil {
			t.Fatalf("%s %s: %v:\n%v", question, qtype, err, m)
		}
		if hostile.Denies(&m.Msg) != (m.reason != index.NoReason) {
			t.Fatalf("%s %s: the cause is %q:\n%v", question, qtype, m.reason, m)
		}
		denials[m.reason]++
	}
	for c := range index.Reason(index.NumReasons) {
		if denials[c] == 0 && c != index.ReasonClusterIP && c != index.ReasonChanged {
			t.Errorf("nothing was denied because of %q", c)
		}
	}
}

func TestExplanationsHaveTheNameAndItsService(t *testing.T) {
	h := newTestHeadlessFrom(t, "headless cluster.local clusterset.local in-addr.arpa {\nmulticluster clusterset.local\nmanifests testdata/cluster.yaml testdata/imports.yaml\n}")
	if e := h.Explain("example.org.", dns.TypeA); e.Zone != "" || e.Denial != nil {
		t.Errorf("of a name in no zone: got %+v, want nothing", e)
	}
	e := h.Explain("WEB-9.web.default.svc.Cluster.local.", dns.TypeA)
	if e.Zone != "cluster.local." || e.Hostname != "web-9" || e.Model.Name != "web" || len(e.Endpoints) != 5 || e.Multicluster {
		t.Errorf("of a hostname that is not there: got %+v, want zone, hostname, Service and its five endpoints", e)
	}
	if e := h.Explain("ext.default.svc.cluster.local.", dns.TypeA); e.CNAME == "" || e.Denial != nil || e.Model.Kind != model.ExternalName {
		t.Errorf("of an ExternalName: got %+v, want its target", e)
	}
	if e := h.Explain("db.default.svc.clusterset.local.", dns.TypeA); !e.Multicluster || e.Model == nil || len(e.Endpoints) == 0 {
		t.Errorf("of a ServiceImport: got %+v, want it and its endpoints", e)
	}
	if e := h.Explain("1.0.0.10.in-addr.arpa.", dns.TypePTR); e.Denial != nil || e.Model != nil {
		t.Errorf("of an address that has a name: got %+v, want neither a denial nor a Service", e)
	}
}
