package headless

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	recorder "github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/pkg/edns"
	"github.com/coredns/coredns/plugin/test"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// newTestHeadless returns the plugin that a stanza with these options describes, fed from testdata/cluster.yaml. It serves
// cluster.local and both reverse trees and listens on 10.0.0.53.
func newTestHeadless(t testing.TB, options string) *Headless {
	t.Helper()
	return newTestHeadlessFrom(t, "headless cluster.local in-addr.arpa ip6.arpa {\nmanifests testdata/cluster.yaml\n"+options+"\n}")
}

func newTestHeadlessFrom(t testing.TB, stanza string) *Headless {
	t.Helper()
	cfg, err := parseStanza(newController(stanza))
	fatal.If(t, err)
	h, err := newHeadless(cfg, "")
	fatal.If(t, err)
	h.local = []netip.Addr{netip.MustParseAddr("10.0.0.53")}
	return h
}

// ask returns h's reply to question, "qname TYPE", or nil if it wrote none. edit changes the query before it is sent.
func ask(t testing.TB, h *Headless, question string, edit ...func(*dns.Msg)) *dns.Msg {
	t.Helper()
	m, _ := askOver(t, h, &test.ResponseWriter{}, question, edit...)
	return m
}

func askOver(t testing.TB, h *Headless, w dns.ResponseWriter, question string, edit ...func(*dns.Msg)) (m *dns.Msg, rcode int) {
	t.Helper()
	r := dnstest.Question(question, 0)
	for _, e := range edit {
		e(r)
	}
	rec := recorder.NewRecorder(w)
	rcode, err := h.ServeDNS(context.Background(), rec, r)
	if err != nil && rec.Msg != nil {
		t.Fatalf("%s: %v", question, err)
	}
	return rec.Msg, rcode
}

// row is a question and its answer: the records in zone-file form. Without an answer the reply must have the zone's SOA, and
// only that, as its authority section; with one, nothing.
type row struct {
	name     string
	question string
	rcode    int
	answer   []string
	extra    []string
}

// checkRow compares the reply to r's question with r.
func checkRow(t *testing.T, h *Headless, r row) {
	t.Helper()
	m := ask(t, h, r.question)
	if m == nil {
		t.Errorf("%s: %s: no reply", r.name, r.question)
		return
	}
	if m.Rcode != r.rcode || !m.Authoritative || m.Truncated {
		t.Errorf("%s: %s: got %s, aa %v, tc %v, want %s, aa, no tc", r.name, r.question,
			dns.RcodeToString[m.Rcode], m.Authoritative, m.Truncated, dns.RcodeToString[r.rcode])
	}
	if got, want := dnstest.Lines(m.Answer), dnstest.Lines(dnstest.Records(t, r.answer...)); !slices.Equal(got, want) {
		t.Errorf("%s: %s: answer\n got %q\nwant %q", r.name, r.question, got, want)
	}
	if got, want := dnstest.Lines(m.Extra), dnstest.Lines(dnstest.Records(t, r.extra...)); !slices.Equal(got, want) {
		t.Errorf("%s: %s: additional\n got %q\nwant %q", r.name, r.question, got, want)
	}
	if denied := len(r.answer) == 0; denied != (len(m.Ns) == 1) {
		t.Errorf("%s: %s: %d records in the authority section", r.name, r.question, len(m.Ns))
	} else if denied {
		soa, ok := m.Ns[0].(*dns.SOA)
		zone := h.zoneOf(strings.ToLower(dns.Fqdn(strings.Fields(r.question)[0])))
		if !ok || !strings.EqualFold(soa.Hdr.Name, zone) || soa.Hdr.Ttl != h.negativeTTL || soa.Minttl != h.negativeTTL {
			t.Errorf("%s: %s: authority %v, want the SOA of %s with %d s", r.name, r.question, m.Ns[0], zone, h.negativeTTL)
		}
	}
}

func checkRows(t *testing.T, h *Headless, rows []row) {
	t.Helper()
	for _, r := range rows {
		checkRow(t, h, r)
	}
}

const (
	noError = dns.RcodeSuccess
	nxName  = dns.RcodeNameError
)

// names abbreviates the names of testdata/cluster.yaml: $ is default.svc.cluster.local. in rows.
func names(rows []row) []row {
	expand := func(s string) string { return strings.ReplaceAll(s, "$", "default.svc.cluster.local.") }
	for i := range rows {
		rows[i].question = expand(rows[i].question)
		for _, section := range [][]string{rows[i].answer, rows[i].extra} {
			for j := range section {
				section[j] = expand(section[j])
			}
		}
	}
	return rows
}

func TestForwardNames(t *testing.T) {
	checkRows(t, newTestHeadless(t, ""), names([]row{
		{"a headless Service has its ready endpoints", "web.$ A", noError, []string{"web.$ 5 IN A 10.0.0.1", "web.$ 5 IN A 10.0.0.2"}, nil},
		{"and no AAAA", "web.$ AAAA", noError, nil, nil},
		{"and no MX", "web.$ MX", noError, nil, nil},
		{"an endpoint has its address", "web-1.web.$ A", noError, []string{"web-1.web.$ 5 IN A 10.0.0.2"}, nil},
		{"and no AAAA", "web-1.web.$ AAAA", noError, nil, nil},
		{"and an SRV for each port", "web-1.web.$ SRV", noError, []string{"web-1.web.$ 5 IN SRV 0 50 80 web-1.web.$", "web-1.web.$ 5 IN SRV 0 50 53 web-1.web.$"}, []string{"web-1.web.$ 5 IN A 10.0.0.2"}},
		{"a port of a headless Service", "_http._tcp.web.$ SRV", noError, []string{"_http._tcp.web.$ 5 IN SRV 0 50 80 web-0.web.$", "_http._tcp.web.$ 5 IN SRV 0 50 80 web-1.web.$"}, []string{"web-0.web.$ 5 IN A 10.0.0.1", "web-1.web.$ 5 IN A 10.0.0.2"}},
		{"its name has the addresses", "_http._tcp.web.$ A", noError, []string{"_http._tcp.web.$ 5 IN A 10.0.0.1", "_http._tcp.web.$ 5 IN A 10.0.0.2"}, nil},
		{"the Service's SRV has all ports", "web.$ SRV", noError, []string{
			"web.$ 5 IN SRV 0 25 80 web-0.web.$", "web.$ 5 IN SRV 0 25 53 web-0.web.$", "web.$ 5 IN SRV 0 25 80 web-1.web.$", "web.$ 5 IN SRV 0 25 53 web-1.web.$",
		}, []string{"web-0.web.$ 5 IN A 10.0.0.1", "web-1.web.$ 5 IN A 10.0.0.2"}},
		{"a port of an endpoint", "_dns._udp.web-0.web.$ SRV", noError, []string{"_dns._udp.web-0.web.$ 5 IN SRV 0 100 53 web-0.web.$"}, []string{"web-0.web.$ 5 IN A 10.0.0.1"}},
		{"has only SRV", "_dns._udp.web-0.web.$ A", noError, nil, nil},
		{"a port under another protocol", "_http._udp.web.$ SRV", nxName, nil, nil},
		{"an endpoint's port under another protocol", "_http._udp.web-0.web.$ SRV", nxName, nil, nil},
		{"a port without underscores", "http.tcp.web.$ SRV", nxName, nil, nil},
		{"a port's name without underscore", "http._tcp.web.$ SRV", nxName, nil, nil},
		{"a wildcard is a label", "*.web.$ A", nxName, nil, nil},
		{"any is a label", "any.any.web.$ SRV", nxName, nil, nil},
		{"something below an endpoint", "x.web-0.web.$ A", nxName, nil, nil},
		{"something below a port", "x._http._tcp.web.$ A", nxName, nil, nil},
		{"an endpoint nobody has", "web-9.web.$ A", nxName, nil, nil},
		{"a named endpoint has no dashed name", "10-0-0-1.web.$ A", nxName, nil, nil},
		{"an escaped dot is part of a label", `web-0\.web.$ A`, nxName, nil, nil},

		{"dual-stack A", "pair.$ A", noError, []string{"pair.$ 5 IN A 10.0.1.1", "pair.$ 5 IN A 10.0.1.2"}, nil},
		{"dual-stack AAAA", "pair.$ AAAA", noError, []string{"pair.$ 5 IN AAAA fd00::1:1", "pair.$ 5 IN AAAA fd00::1:2"}, nil},
		{"dual-stack SRV counts a name once", "_peer._tcp.pair.$ SRV", noError, []string{
			"_peer._tcp.pair.$ 5 IN SRV 0 50 2380 pair-0.pair.$", "_peer._tcp.pair.$ 5 IN SRV 0 50 2380 pair-1.pair.$",
		}, []string{"pair-0.pair.$ 5 IN A 10.0.1.1", "pair-0.pair.$ 5 IN AAAA fd00::1:1", "pair-1.pair.$ 5 IN A 10.0.1.2", "pair-1.pair.$ 5 IN AAAA fd00::1:2"}},

		{"a dashed IPv4 address", "10-0-2-1.anon.$ A", noError, []string{"10-0-2-1.anon.$ 5 IN A 10.0.2.1"}, nil},
		{"a dashed IPv6 address that starts with a colon", "0--5.anon.$ AAAA", noError, []string{"0--5.anon.$ 5 IN AAAA ::5"}, nil},
		{"a dashed IPv6 address that ends with one", "fd00--0.anon.$ AAAA", noError, []string{"fd00--0.anon.$ 5 IN AAAA fd00::"}, nil},
		{"another spelling of it", "fd00-0-0-0-0-0-0-0.anon.$ AAAA", nxName, nil, nil},
		{"a mapped address is its IPv4 address", "10-0-2-9.anon.$ A", noError, []string{"10-0-2-9.anon.$ 5 IN A 10.0.2.9"}, nil},
		{"pod names are no names by default", "anon-x1.anon.$ A", nxName, nil, nil},
		{"an unnamed port has no SRV name", "_._tcp.anon.$ SRV", nxName, nil, nil},
		{"nor has its protocol", "_tcp.anon.$ A", nxName, nil, nil},
		{"but its Service's SRV has it", "anon.$ SRV", noError, []string{
			"anon.$ 5 IN SRV 0 25 80 10-0-2-1.anon.$", "anon.$ 5 IN SRV 0 25 80 10-0-2-9.anon.$",
			"anon.$ 5 IN SRV 0 25 80 0--5.anon.$", "anon.$ 5 IN SRV 0 25 80 fd00--0.anon.$",
		}, []string{"10-0-2-1.anon.$ 5 IN A 10.0.2.1", "10-0-2-9.anon.$ 5 IN A 10.0.2.9", "0--5.anon.$ 5 IN AAAA ::5", "fd00--0.anon.$ 5 IN AAAA fd00::"}},

		{"a Service without ports has its addresses", "portless.$ A", noError, []string{"portless.$ 5 IN A 10.0.3.1"}, nil},
		{"but no SRV", "portless.$ SRV", noError, nil, nil},
		{"nor have its endpoints", "portless-0.portless.$ SRV", noError, nil, nil},
		{"one SRV for each target and number", "several.$ SRV", noError, []string{"several.$ 5 IN SRV 0 50 53 several-0.several.$", "several.$ 5 IN SRV 0 50 9 several-0.several.$"}, []string{"several-0.several.$ 5 IN A 10.0.4.1"}},
		{"SCTP", "_c._sctp.several.$ SRV", noError, []string{"_c._sctp.several.$ 5 IN SRV 0 100 9 several-0.several.$"}, []string{"several-0.several.$ 5 IN A 10.0.4.1"}},

		{"a headless Service without slices", "empty.$ A", nxName, nil, nil},
		{"without ready endpoints", "starting.$ A", nxName, nil, nil},
		{"its SRV", "_http._tcp.starting.$ SRV", nxName, nil, nil},
		{"its endpoint", "starting-0.starting.$ A", nxName, nil, nil},
		{"a slice of names", "fqdn.$ A", nxName, nil, nil},
		{"a slice without its Service", "orphan.$ A", nxName, nil, nil},
		{"its endpoint", "orphan-0.orphan.$ A", nxName, nil, nil},

		{"a ClusterIP", "vip.$ A", noError, []string{"vip.$ 5 IN A 10.96.0.1"}, nil},
		{"the other", "vip.$ AAAA", noError, []string{"vip.$ 5 IN AAAA fd96::1"}, nil},
		{"its SRV has the Service's ports", "vip.$ SRV", noError, []string{"vip.$ 5 IN SRV 0 50 80 vip.$", "vip.$ 5 IN SRV 0 50 443 vip.$"}, []string{"vip.$ 5 IN A 10.96.0.1", "vip.$ 5 IN AAAA fd96::1"}},
		{"one port", "_https._tcp.vip.$ SRV", noError, []string{"_https._tcp.vip.$ 5 IN SRV 0 100 443 vip.$"}, []string{"vip.$ 5 IN A 10.96.0.1", "vip.$ 5 IN AAAA fd96::1"}},
		{"its addresses", "_https._tcp.vip.$ A", noError, []string{"_https._tcp.vip.$ 5 IN A 10.96.0.1"}, nil},
		{"an endpoint of a ClusterIP Service", "vip-0.vip.$ A", noError, []string{"vip-0.vip.$ 5 IN A 10.0.6.1"}, nil},
		{"with the endpoint's port", "_http._tcp.vip-0.vip.$ SRV", noError, []string{"_http._tcp.vip-0.vip.$ 5 IN SRV 0 100 8080 vip-0.vip.$"}, []string{"vip-0.vip.$ 5 IN A 10.0.6.1"}},
		{"a ClusterIP without endpoints", "bare.$ A", noError, []string{"bare.$ 5 IN A 10.96.0.2"}, nil},
		{"with an unnamed port", "bare.$ SRV", noError, []string{"bare.$ 5 IN SRV 0 100 80 bare.$"}, []string{"bare.$ 5 IN A 10.96.0.2"}},

		{"an address is in an RRset once", "dup.$ A", noError, []string{"dup.$ 5 IN A 10.0.7.1", "dup.$ 5 IN A 10.0.7.2", "dup.$ 5 IN A 10.0.7.3"}, nil},
		{"ready if one slice says so, with the ports of both", "one.dup.$ SRV", noError, []string{"one.dup.$ 5 IN SRV 0 50 80 one.dup.$", "one.dup.$ 5 IN SRV 0 50 81 one.dup.$"}, []string{"one.dup.$ 5 IN A 10.0.7.1"}},
		{"one hostname on two addresses, the ready ones", "two.dup.$ A", noError, []string{"two.dup.$ 5 IN A 10.0.7.2", "two.dup.$ 5 IN A 10.0.7.3"}, nil},
		{"one address under two hostnames", "alias.dup.$ A", noError, []string{"alias.dup.$ 5 IN A 10.0.7.2"}, nil},
		{"the addresses of a port are of the endpoints that have it", "_http._tcp.dup.$ A", noError, []string{"_http._tcp.dup.$ 5 IN A 10.0.7.1", "_http._tcp.dup.$ 5 IN A 10.0.7.2"}, nil},

		{"the version of the schema", "dns-version.cluster.local. TXT", noError, []string{`dns-version.cluster.local. 28800 IN TXT "1.1.0"`}, nil},
		{"the apex has a name server", "cluster.local. NS", noError, []string{"cluster.local. 5 IN NS ns.dns.cluster.local."}, []string{"ns.dns.cluster.local. 5 IN A 10.0.0.53"}},
		{"which resolves", "ns.dns.cluster.local. A", noError, []string{"ns.dns.cluster.local. 5 IN A 10.0.0.53"}, nil},
		{"a reverse zone has the same", "in-addr.arpa. NS", noError, []string{"in-addr.arpa. 5 IN NS ns.dns.cluster.local."}, []string{"ns.dns.cluster.local. 5 IN A 10.0.0.53"}},
		{"pods are off by default", "10-0-0-1.default.pod.cluster.local. A", nxName, nil, nil},
		{"and so are their namespaces", "default.pod.cluster.local. A", nxName, nil, nil},
		{"another name at the apex", "nothing.cluster.local. A", nxName, nil, nil},
		{"below dns", "x.dns.cluster.local. A", nxName, nil, nil},
		{"below dns-version", "x.dns-version.cluster.local. TXT", nxName, nil, nil},
		{"a namespace nobody has", "web.nowhere.svc.cluster.local. A", nxName, nil, nil},
		{"a Service nobody has", "nobody.$ A", nxName, nil, nil},
	}))
}

func TestNameServersOfSeveralZones(t *testing.T) {
	checkRows(t, newTestHeadlessFrom(t, "headless cluster.local other.test 10.in-addr.arpa {\nmanifests testdata/cluster.yaml\n}"), []row{
		{"the primary zone's", "cluster.local. NS", noError, []string{"cluster.local. 5 IN NS ns.dns.cluster.local."}, []string{"ns.dns.cluster.local. 5 IN A 10.0.0.53"}},
		{"another zone has names of its own", "other.test. NS", noError, []string{"other.test. 5 IN NS ns.dns.other.test."}, []string{"ns.dns.other.test. 5 IN A 10.0.0.53"}},
		{"which resolve", "ns.dns.other.test. A", noError, []string{"ns.dns.other.test. 5 IN A 10.0.0.53"}, nil},
		{"a reverse zone has the primary zone's", "10.in-addr.arpa. NS", noError, []string{"10.in-addr.arpa. 5 IN NS ns.dns.cluster.local."}, []string{"ns.dns.cluster.local. 5 IN A 10.0.0.53"}},
	})
}

func TestExistenceComesBeforeTheType(t *testing.T) {
	h := newTestHeadless(t, "")
	// Every type that is not at a name that exists is NODATA there, at one that does not NXDOMAIN.
	types := []string{"A", "AAAA", "SRV", "PTR", "CNAME", "TXT", "SOA", "NS", "MX", "HTTPS", "CAA", "NULL", "DS", "NSEC", "TYPE65280"}
	dns.StringToType["TYPE65280"] = 65280
	for _, c := range []struct {
		rcode int
		names []string
		own   []string // types that these names have
	}{
		{noError, []string{"cluster.local.", "in-addr.arpa.", "ip6.arpa."}, []string{"SOA", "NS"}},
		{noError, []string{
			"svc.cluster.local.", "pod.cluster.local.", "dns.cluster.local.", "default.svc.cluster.local.", "vacant.svc.cluster.local.",
			"_tcp.web.$", "_udp.web.$", "_tcp.web-0.web.$", "_tcp.vip.$", "_tcp.vip-0.vip.$", "10.in-addr.arpa.", "0.10.in-addr.arpa.", "96.10.in-addr.arpa.",
			"0.0.10.in-addr.arpa.", "d.f.ip6.arpa.", "0.0.d.f.ip6.arpa.",
		}, nil},
		{noError, []string{"ns.dns.cluster.local."}, []string{"A"}},
		{noError, []string{"dns-version.cluster.local."}, []string{"TXT"}},
		{noError, []string{"web.$", "web-0.web.$", "_http._tcp.web.$"}, []string{"A", "SRV"}},
		{noError, []string{"_http._tcp.web-0.web.$"}, []string{"SRV"}},
		{noError, []string{"1.0.0.10.in-addr.arpa.", "1.0.96.10.in-addr.arpa."}, []string{"PTR"}},
		{nxName, []string{
			"x.cluster.local.", "nowhere.svc.cluster.local.", "nobody.$", "starting.$", "starting-0.starting.$", "_udp.vip.$", "_sctp.web.$", "web-2.web.$",
			"11.in-addr.arpa.", "3.0.0.10.in-addr.arpa.", "1.9.0.10.in-addr.arpa.", "x.in-addr.arpa.", "svc.in-addr.arpa.", "1.1.0.0.10.in-addr.arpa.",
			"256.in-addr.arpa.", "01.in-addr.arpa.", "g.ip6.arpa.", "10.ip6.arpa.", "_tcp.web-2.web.$", "_tcp.ext.$", "web-0.ext.$",
		}, nil},
	} {
		for _, name := range c.names {
			for _, qtype := range types {
				if slices.Contains(c.own, qtype) {
					if m := ask(t, h, names([]row{{question: name + " " + qtype}})[0].question); len(m.Answer) == 0 {
						t.Errorf("%s %s: no answer", name, qtype)
					}
					continue
				}
				checkRows(t, h, names([]row{{"no such type here", name + " " + qtype, c.rcode, nil, nil}}))
			}
		}
	}
}

// TestNoAncestorIsDenied asks as a resolver does that minimises names (RFC 9156) and takes NXDOMAIN for all that is below
// (RFC 8020): for every name with records no ancestor inside the zone may be NXDOMAIN.
func TestNoAncestorIsDenied(t *testing.T) {
	h := newTestHeadless(t, "pods insecure\nhostnames all\nzonal")
	h.upstream = outside{}
	var owners []string
	for _, name := range []string{
		"web.$", "web-0.web.$", "web-2.web.$", "_http._tcp.web.$", "_dns._udp.web-0.web.$", "starting-0.starting.$", "_http._tcp.starting-0.starting.$",
		"pair-0.pair.$", "0--5.anon.$", "vip.$", "_https._tcp.vip.$", "vip-0.vip.$", "ext.$", "dns-version.cluster.local.", "ns.dns.cluster.local.",
		"1-2-3-4.vacant.pod.cluster.local.", "corp.example.com.pin._zone.zoned.$", "web-0.web.blue.svc.cluster.local.",
	} {
		owners = append(owners, strings.ReplaceAll(name, "$", "default.svc.cluster.local."))
	}
	for _, addr := range []string{"10.0.0.1", "10.96.0.1", "10.0.2.9", "10.1.0.1", "fd96::1", "::5", "fd00::1:1"} {
		name, err := dns.ReverseAddr(addr)
		fatal.If(t, err)
		owners = append(owners, name)
	}
	for _, name := range owners {
		for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
			ancestor := name[off:]
			if h.zoneOf(ancestor) == "" {
				break
			}
			for _, qtype := range []string{"A", "NS", "TXT"} {
				if m := ask(t, h, ancestor+" "+qtype); m.Rcode != dns.RcodeSuccess {
					t.Errorf("%s %s: %s, but %s has records", ancestor, qtype, dns.RcodeToString[m.Rcode], name)
				}
			}
		}
	}
}

func TestReverseNames(t *testing.T) {
	checkRows(t, newTestHeadless(t, ""), names([]row{
		{"a ClusterIP leads to its Service", "1.0.96.10.in-addr.arpa. PTR", noError, []string{"1.0.96.10.in-addr.arpa. 5 IN PTR vip.$"}, nil},
		{"an IPv6 one too", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.d.f.ip6.arpa. PTR", noError, []string{"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.d.f.ip6.arpa. 5 IN PTR vip.$"}, nil},
		{"an endpoint has the names of its headless Services", "1.0.0.10.in-addr.arpa. PTR", noError, []string{"1.0.0.10.in-addr.arpa. 5 IN PTR web-0.web.$", "1.0.0.10.in-addr.arpa. 5 IN PTR 10-0-0-1.peers.$"}, nil},
		{"one of a ClusterIP Service if there is no other", "1.6.0.10.in-addr.arpa. PTR", noError, []string{"1.6.0.10.in-addr.arpa. 5 IN PTR vip-0.vip.$"}, nil},
		{"without hostname the dashed address", "2.6.0.10.in-addr.arpa. PTR", noError, []string{"2.6.0.10.in-addr.arpa. 5 IN PTR 10-0-6-2.lb.$"}, nil},
		{"one address under two hostnames", "2.7.0.10.in-addr.arpa. PTR", noError, []string{"2.7.0.10.in-addr.arpa. 5 IN PTR two.dup.$", "2.7.0.10.in-addr.arpa. 5 IN PTR alias.dup.$"}, nil},
		{"an endpoint that is not ready", "3.0.0.10.in-addr.arpa. PTR", nxName, nil, nil},
		{"a slice without its Service", "1.9.0.10.in-addr.arpa. PTR", nxName, nil, nil},
		{"an address nobody has", "99.0.0.10.in-addr.arpa. PTR", nxName, nil, nil},
	}))
	m := ask(t, newTestHeadless(t, ""), "1.0.0.10.in-addr.arpa. PTR")
	if got := m.Answer[0].(*dns.PTR).Ptr; got != "web-0.web.default.svc.cluster.local." {
		t.Errorf("the first PTR is %s, want the one with a hostname", got)
	}
}

func TestCNAMEs(t *testing.T) {
	h := newTestHeadless(t, "")
	h.upstream = outside{}
	hops := make([]string, 8)
	for i := range hops {
		hops[i] = fmt.Sprintf("hop-%d.$ 5 IN CNAME hop-%d.$", i+1, i+2)
	}
	checkRows(t, h, names([]row{
		{"a target outside is chased through the server", "ext.$ A", noError, []string{"ext.$ 5 IN CNAME www.example.com.", "www.example.com. 60 IN A 192.0.2.80"}, nil},
		{"for another type there is the CNAME", "ext.$ MX", noError, []string{"ext.$ 5 IN CNAME www.example.com."}, nil},
		{"for its own too", "ext.$ CNAME", noError, []string{"ext.$ 5 IN CNAME www.example.com."}, nil},
		{"for SRV too", "ext.$ SRV", noError, []string{"ext.$ 5 IN CNAME www.example.com."}, nil},
		{"for ANY too", "ext.$ ANY", noError, []string{"ext.$ 5 IN CNAME www.example.com."}, nil},
		{"a target inside is chased here", "inside.$ A", noError, []string{"inside.$ 5 IN CNAME web-0.web.$", "web-0.web.$ 5 IN A 10.0.0.1"}, nil},
		{"a circle ends at the first repetition", "circle.$ A", noError, []string{"circle.$ 5 IN CNAME circle-2.$", "circle-2.$ 5 IN CNAME circle.$"}, nil},
		{"a Service that names itself", "self.$ A", noError, []string{"self.$ 5 IN CNAME self.$"}, nil},
		{"a long chain ends after eight hops", "hop-1.$ A", noError, hops, nil},
		{"one of eight has the address", "hop-3.$ A", noError, append(slices.Clone(hops[2:]), "hop-9.$ 5 IN CNAME hop-10.$", "hop-10.$ 5 IN CNAME web.$", "web.$ 5 IN A 10.0.0.1", "web.$ 5 IN A 10.0.0.2"), nil},
		{"an address is no name", "number.$ A", nxName, nil, nil},
	}))
	for _, c := range []struct {
		name, question string
		rcode          int
		soa            bool
	}{
		{"a target that does not exist: the CNAME and its rcode", "nowhere.$ A", nxName, true},
		{"a target without the type", "nodata.$ AAAA", noError, true},
		{"a target outside that does not exist", "ext.$ AAAA", nxName, true},
	} {
		m := ask(t, h, names([]row{{question: c.question}})[0].question)
		if m.Rcode != c.rcode || len(m.Answer) != 1 || m.Answer[0].Header().Rrtype != dns.TypeCNAME || c.soa != (len(m.Ns) == 1) {
			t.Errorf("%s: %s: got\n%v", c.name, c.question, m)
		}
	}
	for _, c := range []struct {
		name  string
		reply *dns.Msg
		err   error
		want  int
	}{
		{"a target that cannot be resolved", &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}}, nil, dns.RcodeServerFailure},
		{"a lookup that fails", nil, context.DeadlineExceeded, dns.RcodeServerFailure},
		{"a target that nobody here answers for", &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeRefused}}, nil, noError},
		{"an answer that is cut", &dns.Msg{MsgHdr: dns.MsgHdr{Truncated: true}}, nil, noError},
	} {
		h.upstream = fixed{c.reply, c.err}
		cut := c.reply != nil && c.reply.Truncated
		if m := ask(t, h, "ext.default.svc.cluster.local. A"); m.Rcode != c.want || len(m.Answer) != 1 || m.Truncated != cut {
			t.Errorf("%s: got\n%v\nwant %s, tc %v, and the CNAME", c.name, m, dns.RcodeToString[c.want], cut)
		}
	}
	h.upstream = outside{}
	for loop, want := range map[int]int{7: noError, 8: dns.RcodeServerFailure} {
		rec := recorder.NewRecorder(&test.ResponseWriter{})
		_, err := h.ServeDNS(context.WithValue(t.Context(), dnsserver.LoopKey{}, loop), rec, dnstest.Question("ext.default.svc.cluster.local. A", 0))
		if fatal.If(t, err); rec.Msg.Rcode != want {
			t.Errorf("after %d rounds of the server: got %s, want %s", loop, dns.RcodeToString[rec.Msg.Rcode], dns.RcodeToString[want])
		}
	}
}

// outside is an upstreamer that knows one address.
type outside struct{}

func (outside) Lookup(_ context.Context, _ request.Request, name string, qtype uint16) (*dns.Msg, error) {
	m := new(dns.Msg)
	if qtype == dns.TypeA && name == "www.example.com." {
		m.Answer = []dns.RR{test.A("www.example.com. 60 IN A 192.0.2.80")}
		return m, nil
	}
	m.Rcode = dns.RcodeNameError
	m.Ns = []dns.RR{test.SOA("example.com. 60 IN SOA ns.example.com. hostmaster.example.com. 1 2 3 4 5")}
	return m, nil
}

// fixed is an upstreamer that always says the same.
type fixed struct {
	m   *dns.Msg
	err error
}

func (f fixed) Lookup(context.Context, request.Request, string, uint16) (*dns.Msg, error) {
	return f.m, f.err
}

// TestANYIsHINFO: one record says that there are records, whatever they are (RFC 8482 section 4.2). Clients that ask ANY
// first then ask for what they want; from one RRset of several they took a dual-stack Service for one of IPv4.
func TestANYIsHINFO(t *testing.T) {
	h := newTestHeadless(t, "ttl 30\nheadless_ttl 7\npods insecure")
	hinfo := func(owner string, ttl int) []string {
		return []string{fmt.Sprintf(`%s %d IN HINFO "RFC8482" ""`, owner, ttl)}
	}
	checkRows(t, h, names([]row{
		{"a headless Service", "web.$ ANY", noError, hinfo("web.$", 7), nil},
		{"in the client's spelling", "WEB.$ ANY", noError, hinfo("WEB.$", 7), nil},
		{"an IPv6 endpoint", "0--5.anon.$ ANY", noError, hinfo("0--5.anon.$", 7), nil},
		{"a port of an endpoint", "_dns._udp.web-0.web.$ ANY", noError, hinfo("_dns._udp.web-0.web.$", 7), nil},
		{"a ClusterIP", "vip.$ ANY", noError, hinfo("vip.$", 30), nil},
		{"a reverse name", "1.0.0.10.in-addr.arpa. ANY", noError, hinfo("1.0.0.10.in-addr.arpa.", 7), nil},
		{"dns-version", "dns-version.cluster.local. ANY", noError, hinfo("dns-version.cluster.local.", versionTTL), nil},
		{"the apex", "cluster.local. ANY", noError, hinfo("cluster.local.", 30), nil},
		{"a Pod", "1-2-3-4.default.pod.cluster.local. ANY", noError, hinfo("1-2-3-4.default.pod.cluster.local.", 30), nil},
		{"an ExternalName", "ext.$ ANY", noError, []string{"ext.$ 30 IN CNAME www.example.com."}, nil},
		{"an empty non-terminal", "_tcp.web.$ ANY", noError, nil, nil},
		{"no name", "nobody.$ ANY", nxName, nil, nil},
		{"HINFO itself", "web.$ HINFO", noError, nil, nil},
	}))
}

func TestWhichEndpointsAnswerToTheirNames(t *testing.T) {
	for _, c := range []struct {
		option           string
		web, ann, wantNX string // the hostnames in web and in the annotated Services that answer; and those that do not
	}{
		{"", "web-0 web-1", "leaving.serving not-ready.all leaving.all gone.all", "web-2.web web-3.web web-4.web not-ready.serving gone.serving"},
		{"hostnames ready", "web-0 web-1", "leaving.serving gone.all", "web-2.web web-3.web web-4.web not-ready.serving"},
		{"hostnames serving", "web-0 web-1 web-3", "leaving.serving gone.all", "web-2.web web-4.web not-ready.serving"},
		{"hostnames all", "web-0 web-1 web-2 web-3 web-4", "leaving.serving gone.all", "not-ready.serving web-5.web"},
	} {
		h := newTestHeadless(t, c.option)
		for name := range strings.FieldsSeq(c.web) {
			if m := ask(t, h, name+".web.default.svc.cluster.local. A"); len(m.Answer) != 1 {
				t.Errorf("%q: %s: %s, want its address", c.option, name, dns.RcodeToString[m.Rcode])
			}
		}
		for name := range strings.FieldsSeq(c.ann) {
			if m := ask(t, h, name+".default.svc.cluster.local. A"); len(m.Answer) != 1 {
				t.Errorf("%q: %s: %s, want its address", c.option, name, dns.RcodeToString[m.Rcode])
			}
		}
		for name := range strings.FieldsSeq(c.wantNX) {
			if m := ask(t, h, name+".default.svc.cluster.local. A"); m.Rcode != nxName {
				t.Errorf("%q: %s: %s, want NXDOMAIN", c.option, name, dns.RcodeToString[m.Rcode])
			}
		}
		// The Service's name, its SRVs and the PTRs have the ready endpoints whatever is chosen.
		checkRows(t, h, names([]row{
			{"the Service lists ready endpoints", "web.$ A", noError, []string{"web.$ 5 IN A 10.0.0.1", "web.$ 5 IN A 10.0.0.2"}, nil},
			{"no PTR of one that is not", "3.0.0.10.in-addr.arpa. PTR", nxName, nil, nil},
			{"a Service with not-ready names only is an empty non-terminal", "all.$ A", noError, nil, nil},
			{"so is one with serving names", "serving.$ SRV", noError, nil, nil},
			{"its ports do not exist", "_http._tcp.all.$ SRV", nxName, nil, nil},
			{"those of its endpoints do", "_http._tcp.gone.all.$ SRV", noError, []string{"_http._tcp.gone.all.$ 5 IN SRV 0 100 80 gone.all.$"}, []string{"gone.all.$ 5 IN A 10.0.8.5"}},
		}))
	}
}

func TestTimesToLive(t *testing.T) {
	h := newTestHeadless(t, "ttl 30\nheadless_ttl 10\nnegative_ttl 3")
	checkRows(t, h, names([]row{
		{"a headless Service", "portless.$ A", noError, []string{"portless.$ 10 IN A 10.0.3.1"}, nil},
		{"an endpoint, SRV and additional", "_dns._udp.web-0.web.$ SRV", noError, []string{"_dns._udp.web-0.web.$ 10 IN SRV 0 100 53 web-0.web.$"}, []string{"web-0.web.$ 10 IN A 10.0.0.1"}},
		{"a PTR of a headless endpoint", "1.1.0.10.in-addr.arpa. PTR", noError, []string{"1.1.0.10.in-addr.arpa. 10 IN PTR pair-0.pair.$"}, nil},
		{"a ClusterIP", "vip.$ A", noError, []string{"vip.$ 30 IN A 10.96.0.1"}, nil},
		{"an endpoint of a ClusterIP Service", "vip-0.vip.$ A", noError, []string{"vip-0.vip.$ 30 IN A 10.0.6.1"}, nil},
		{"a PTR of a ClusterIP", "1.0.96.10.in-addr.arpa. PTR", noError, []string{"1.0.96.10.in-addr.arpa. 30 IN PTR vip.$"}, nil},
		{"a CNAME", "circle.$ A", noError, []string{"circle.$ 30 IN CNAME circle-2.$", "circle-2.$ 30 IN CNAME circle.$"}, nil},
		{"dns-version keeps its own", "dns-version.cluster.local. TXT", noError, []string{`dns-version.cluster.local. 28800 IN TXT "1.1.0"`}, nil},
		{"NS", "cluster.local. NS", noError, []string{"cluster.local. 30 IN NS ns.dns.cluster.local."}, []string{"ns.dns.cluster.local. 30 IN A 10.0.0.53"}},
		{"a denial", "nobody.$ A", nxName, nil, nil}, // checkRow compares the SOA's with negative_ttl
		{"no data", "web.$ AAAA", noError, nil, nil},
	}))
	soa := ask(t, h, "cluster.local. SOA").Answer[0].(*dns.SOA)
	if soa.Hdr.Ttl != 30 || soa.Minttl != 3 {
		t.Errorf("SOA: ttl %d, minimum %d, want 30, 3", soa.Hdr.Ttl, soa.Minttl)
	}
	for _, c := range []struct {
		options            string
		headless, negative uint32
	}{{"", 5, 5}, {"ttl 30", 30, 5}, {"ttl 2", 2, 2}, {"ttl 0", 0, 0}, {"negative_ttl 20", 5, 20}} {
		if h := newTestHeadless(t, c.options); h.headlessTTL != c.headless || h.negativeTTL != c.negative {
			t.Errorf("%q: headless_ttl %d, negative_ttl %d, want %d, %d", c.options, h.headlessTTL, h.negativeTTL, c.headless, c.negative)
		}
	}
}

func TestSpellingIsKept(t *testing.T) {
	h := newTestHeadless(t, "")
	for question, want := range map[string]string{
		"WeB.DeFaUlT.SvC.cLuStEr.LoCaL. A":                   "WeB.DeFaUlT.SvC.cLuStEr.LoCaL. 5 IN A",
		"_DNS._Udp.Web-0.WEB.default.svc.Cluster.local. SRV": "_DNS._Udp.Web-0.WEB.default.svc.Cluster.local. 5 IN SRV 0 100 53 web-0.web.default.svc.cluster.local.",
		"EXT.default.svc.cluster.local. CNAME":               "EXT.default.svc.cluster.local. 5 IN CNAME www.example.com.",
		"1.6.0.10.IN-addr.ARPA. PTR":                         "1.6.0.10.IN-addr.ARPA. 5 IN PTR vip-0.vip.default.svc.cluster.local.",
		"Cluster.LOCAL. NS":                                  "Cluster.LOCAL. 5 IN NS ns.dns.cluster.local.",
	} {
		m := ask(t, h, question)
		if len(m.Answer) == 0 || !strings.HasPrefix(dnstest.Lines(m.Answer)[0], want) {
			t.Errorf("%s: got %v, want %s", question, m.Answer, want)
		}
	}
	soa, ok := ask(t, h, "nobody.default.svc.CLUSTER.local. A").Ns[0].(*dns.SOA)
	if !ok || soa.Hdr.Name != "CLUSTER.local." || soa.Ns != "ns.dns.cluster.local." || soa.Mbox != "hostmaster.cluster.local." {
		t.Errorf("SOA: got %v, want the owner as asked and the rest in lower case", soa)
	}
	if soa := ask(t, h, "9.9.9.10.in-addr.arpa. PTR").Ns[0].(*dns.SOA); soa.Ns != "ns.dns.cluster.local." || soa.Mbox != "hostmaster.cluster.local." {
		t.Errorf("SOA of a reverse zone: got %v, want the primary zone's names", soa)
	}
}

func TestOptionsThatChangeNames(t *testing.T) {
	for _, c := range []struct {
		options string
		rows    []row
	}{
		{"endpoint_pod_names", []row{
			{"a pod's name", "anon-x1.anon.$ A", noError, []string{"anon-x1.anon.$ 5 IN A 10.0.2.1"}, nil},
			{"beside its dashed address", "10-0-2-1.anon.$ A", noError, []string{"10-0-2-1.anon.$ 5 IN A 10.0.2.1"}, nil},
			{"is the SRV target", "1.2.0.10.in-addr.arpa. PTR", noError, []string{"1.2.0.10.in-addr.arpa. 5 IN PTR anon-x1.anon.$"}, nil},
			{"a hostname goes first", "web-0.web.$ A", noError, []string{"web-0.web.$ 5 IN A 10.0.0.1"}, nil},
		}},
		{"noendpoints", []row{
			{"headless Services do not exist", "web.$ A", nxName, nil, nil},
			{"nor do endpoints", "vip-0.vip.$ A", nxName, nil, nil},
			{"ClusterIP Services do", "vip.$ A", noError, []string{"vip.$ 5 IN A 10.96.0.1"}, nil},
		}},
		{"endpoints headless", []row{
			{"a slice without the label is not used", "web.$ A", nxName, nil, nil},
			{"ClusterIP Services are not concerned", "vip.$ A", noError, []string{"vip.$ 5 IN A 10.96.0.1"}, nil},
		}},
		{"ignore empty_service", []row{
			{"a ClusterIP Service without endpoints", "bare.$ A", nxName, nil, nil},
			{"has no PTR, for it would lead nowhere", "2.0.96.10.in-addr.arpa. PTR", nxName, nil, nil},
			{"with endpoints", "vip.$ A", noError, []string{"vip.$ 5 IN A 10.96.0.1"}, nil},
		}},
		{"namespaces default", []row{
			{"an exposed namespace", "web-0.web.$ A", noError, []string{"web-0.web.$ 5 IN A 10.0.0.1"}, nil},
			{"a hidden one", "web-0.web.blue.svc.cluster.local. A", nxName, nil, nil},
			{"does not exist", "blue.svc.cluster.local. A", nxName, nil, nil},
			{"nor do its PTRs", "1.0.1.10.in-addr.arpa. PTR", nxName, nil, nil},
			{"nor what leads to them", "1.10.in-addr.arpa. PTR", nxName, nil, nil},
		}},
		{"namespace_labels team=blue", []row{
			{"an exposed namespace", "web-0.web.blue.svc.cluster.local. A", noError, []string{"web-0.web.blue.svc.cluster.local. 5 IN A 10.1.0.1"}, nil},
			{"a hidden one", "web-0.web.$ A", nxName, nil, nil},
			{"nor do its PTRs", "1.0.0.10.in-addr.arpa. PTR", nxName, nil, nil},
			{"nor what leads to them", "0.10.in-addr.arpa. PTR", nxName, nil, nil},
		}},
		{"labels no=such", []row{
			{"a Service without the labels", "vip.$ A", nxName, nil, nil},
			{"its namespace is there", "default.svc.cluster.local. A", noError, nil, nil},
		}},
		{"pods insecure", []row{
			{"any IPv4 address", "1-2-3-4.default.pod.cluster.local. A", noError, []string{"1-2-3-4.default.pod.cluster.local. 5 IN A 1.2.3.4"}, nil},
			{"any IPv6 address", "fd00--1.default.pod.cluster.local. AAAA", noError, []string{"fd00--1.default.pod.cluster.local. 5 IN AAAA fd00::1"}, nil},
			{"the other family", "1-2-3-4.default.pod.cluster.local. AAAA", noError, nil, nil},
			{"no address", "web.default.pod.cluster.local. A", nxName, nil, nil},
			{"in a namespace nobody has", "1-2-3-4.nowhere.pod.cluster.local. A", nxName, nil, nil},
			{"a namespace", "default.pod.cluster.local. A", noError, nil, nil},
			{"something below", "x.1-2-3-4.default.pod.cluster.local. A", nxName, nil, nil},
		}},
	} {
		t.Run(c.options, func(t *testing.T) { checkRows(t, newTestHeadless(t, c.options), names(c.rows)) })
	}
}

func TestZonalNames(t *testing.T) {
	h := newTestHeadless(t, "zonal\nhostnames all")
	checkRows(t, h, names([]row{
		{"the endpoints in a zone", "eu-1a.pin._zone.zoned.$ A", noError, []string{"eu-1a.pin._zone.zoned.$ 5 IN A 10.0.10.1"}, nil},
		{"in any case", "EU-1a.Pin._ZONE.zoned.$ A", noError, []string{"EU-1a.Pin._ZONE.zoned.$ 5 IN A 10.0.10.1"}, nil},
		{"a zone with dots", "corp.example.com.prefer._zone.zoned.$ A", noError, []string{"corp.example.com.prefer._zone.zoned.$ 5 IN A 10.0.10.2"}, nil},
		{"their SRVs", "eu-1a.pin._zone.zoned.$ SRV", noError, []string{"eu-1a.pin._zone.zoned.$ 5 IN SRV 0 100 80 zoned-0.zoned.$"}, []string{"zoned-0.zoned.$ 5 IN A 10.0.10.1"}},
		{"another type", "eu-1a.pin._zone.zoned.$ AAAA", noError, nil, nil},
		{"pin in a zone without endpoints", "us-1.pin._zone.zoned.$ A", noError, nil, nil},
		{"prefer in one takes all", "us-1.prefer._zone.zoned.$ A", noError, []string{"us-1.prefer._zone.zoned.$ 5 IN A 10.0.10.1", "us-1.prefer._zone.zoned.$ 5 IN A 10.0.10.2", "us-1.prefer._zone.zoned.$ 5 IN A 10.0.10.3"}, nil},
		{"an empty non-terminal", "pin._zone.zoned.$ A", noError, nil, nil},
		{"above it", "_zone.zoned.$ A", noError, nil, nil},
		{"below part of a zone", "example.com.pin._zone.zoned.$ A", noError, nil, nil},
		{"another directive", "eu-1a.some._zone.zoned.$ A", nxName, nil, nil},
		{"a ClusterIP Service", "eu-1a.pin._zone.vip.$ A", nxName, nil, nil},
		{"an ExternalName Service", "eu-1a.pin._zone.ext.$ A", nxName, nil, nil},
		{"a headless Service whose name does not exist", "eu-1a.pin._zone.empty.$ A", nxName, nil, nil},
		{"one whose name is an empty non-terminal", "eu-1a.pin._zone.all.$ A", noError, nil, nil},
		{"prefer there", "eu-1a.prefer._zone.all.$ A", noError, nil, nil},
	}))
	checkRows(t, newTestHeadless(t, ""), names([]row{
		{"without the option", "eu-1a.pin._zone.zoned.$ A", nxName, nil, nil},
		{"nothing above it either", "_zone.zoned.$ A", nxName, nil, nil},
	}))
}

func TestMulticlusterNames(t *testing.T) {
	h := newTestHeadlessFrom(t, "headless cluster.local clusterset.local in-addr.arpa {\nmulticluster clusterset.local\nmanifests testdata/cluster.yaml testdata/imports.yaml\n}")
	rows := []row{
		{"a headless import has the endpoints of all clusters", "db.& A", noError, []string{"db.& 5 IN A 10.20.0.1", "db.& 5 IN A 10.20.0.2", "db.& 5 IN A 10.30.0.1"}, nil},
		{"an endpoint has its cluster in its name", "db-0.east.db.& A", noError, []string{"db-0.east.db.& 5 IN A 10.20.0.1"}, nil},
		{"the same hostname in another cluster", "DB-0.West.db.& A", noError, []string{"DB-0.West.db.& 5 IN A 10.30.0.1"}, nil},
		{"without hostname the dashed address", "10-20-0-2.east.db.& A", noError, []string{"10-20-0-2.east.db.& 5 IN A 10.20.0.2"}, nil},
		{"a port", "_sql._tcp.db.& SRV", noError, []string{
			"_sql._tcp.db.& 5 IN SRV 0 33 5432 db-0.east.db.&", "_sql._tcp.db.& 5 IN SRV 0 33 5432 10-20-0-2.east.db.&", "_sql._tcp.db.& 5 IN SRV 0 33 5432 db-0.west.db.&",
		}, []string{"db-0.east.db.& 5 IN A 10.20.0.1", "10-20-0-2.east.db.& 5 IN A 10.20.0.2", "db-0.west.db.& 5 IN A 10.30.0.1"}},
		{"a port of an endpoint", "_sql._tcp.db-0.west.db.& SRV", noError, []string{"_sql._tcp.db-0.west.db.& 5 IN SRV 0 100 5432 db-0.west.db.&"}, []string{"db-0.west.db.& 5 IN A 10.30.0.1"}},
		{"a cluster alone is an empty non-terminal", "east.db.& A", noError, nil, nil},
		{"a cluster nobody knows", "north.db.& A", nxName, nil, nil},
		{"an endpoint that is not ready", "db-1.west.db.& A", nxName, nil, nil},
		{"a hostname without cluster", "db-0.db.& A", nxName, nil, nil},
		{"a hostname in another cluster", "db-1.east.db.& A", nxName, nil, nil},
		{"a ClusterSetIP", "api.& A", noError, []string{"api.& 5 IN A 10.97.0.1"}, nil},
		{"its port", "_http._tcp.api.& SRV", noError, []string{"_http._tcp.api.& 5 IN SRV 0 100 80 api.&"}, []string{"api.& 5 IN A 10.97.0.1"}},
		{"an endpoint of it", "api-0.east.api.& A", noError, []string{"api-0.east.api.& 5 IN A 10.20.1.1"}, nil},
		{"a Service of this cluster only", "web.& A", nxName, nil, nil},
		{"an import is not in the cluster's zone", "db.default.svc.cluster.local. A", nxName, nil, nil},
		{"a namespace", "default.svc.clusterset.local. A", noError, nil, nil},
		{"the version", "dns-version.clusterset.local. TXT", noError, []string{`dns-version.clusterset.local. 28800 IN TXT "1.1.0"`}, nil},
		{"imports have no PTR", "1.0.20.10.in-addr.arpa. PTR", nxName, nil, nil},
	}
	expand := func(s string) string { return strings.ReplaceAll(s, "&", "default.svc.clusterset.local.") }
	for _, r := range rows {
		r.question = expand(r.question)
		for _, section := range [][]string{r.answer, r.extra} {
			for i := range section {
				section[i] = expand(section[i])
			}
		}
		checkRow(t, h, r)
	}
}

func TestNameServersOfTheDNSService(t *testing.T) {
	h := newTestHeadless(t, "")
	h.local = []netip.Addr{netip.MustParseAddr("10.0.6.1")} // a pod of vip
	checkRows(t, h, names([]row{
		{"the Service's name", "cluster.local. NS", noError, []string{"cluster.local. 5 IN NS vip.$"}, []string{"vip.$ 5 IN A 10.96.0.1", "vip.$ 5 IN AAAA fd96::1"}},
		{"ns.dns has its addresses", "ns.dns.cluster.local. A", noError, []string{"ns.dns.cluster.local. 5 IN A 10.96.0.1"}, nil},
		{"of both families", "ns.dns.cluster.local. AAAA", noError, []string{"ns.dns.cluster.local. 5 IN AAAA fd96::1"}, nil},
	}))
	h.local = []netip.Addr{netip.MustParseAddr("10.0.1.1")} // a pod of pair, which is headless
	checkRows(t, h, names([]row{
		{
			"the names of a headless Service's endpoints", "cluster.local. NS", noError,
			[]string{"cluster.local. 5 IN NS pair-0.pair.$", "cluster.local. 5 IN NS pair-1.pair.$"},
			[]string{"pair-0.pair.$ 5 IN A 10.0.1.1", "pair-0.pair.$ 5 IN AAAA fd00::1:1", "pair-1.pair.$ 5 IN A 10.0.1.2", "pair-1.pair.$ 5 IN AAAA fd00::1:2"},
		},
	}))
	h.local = nil
	checkRow(t, h, row{"without any address", "ns.dns.cluster.local. A", noError, nil, nil})
}

// behind is a next plugin that answers with a fixed rcode and notes that it was asked.
func behind(rcode int, asked *bool) plugin.Handler {
	return plugin.HandlerFunc(func(_ context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		*asked = true
		m := new(dns.Msg)
		m.SetRcode(r, rcode)
		return rcode, w.WriteMsg(m)
	})
}

func TestFallthrough(t *testing.T) {
	for _, c := range []struct {
		name, options, question string
		asked                   bool
		rcode                   int // when the next plugin says NXDOMAIN
	}{
		{"no option", "", "nobody.default.svc.cluster.local. A", false, nxName},
		{"a name that does not exist", "fallthrough", "nobody.default.svc.cluster.local. A", true, nxName},
		{"an empty non-terminal comes back as NODATA", "fallthrough", "_tcp.web.default.svc.cluster.local. A", true, noError},
		{"a name with records is ours", "fallthrough", "web.default.svc.cluster.local. A", false, noError},
		{"for every type", "fallthrough", "web.default.svc.cluster.local. MX", false, noError},
		{"the apex is ours", "fallthrough", "cluster.local. MX", false, noError},
		{"another zone's", "fallthrough in-addr.arpa", "nobody.default.svc.cluster.local. A", false, nxName},
		{"the zone's", "fallthrough in-addr.arpa", "8.8.8.8.in-addr.arpa. PTR", true, nxName},
		{"an ancestor of what we hold", "fallthrough in-addr.arpa", "10.in-addr.arpa. NS", true, noError},
		{"what we hold", "fallthrough in-addr.arpa", "1.0.0.10.in-addr.arpa. PTR", false, noError},
		{"outside our zones", "", "example.com. A", true, nxName},
	} {
		h, asked := newTestHeadless(t, c.options), false
		h.Next = behind(dns.RcodeNameError, &asked)
		m := ask(t, h, c.question)
		if asked != c.asked || m == nil || m.Rcode != c.rcode || m.Rcode == noError && !m.Authoritative {
			t.Errorf("%s: %s: next asked %v, got\n%v\nwant %v, %s", c.name, c.question, asked, m, c.asked, dns.RcodeToString[c.rcode])
		}
	}
	checkRow(t, newTestHeadless(t, "fallthrough"), row{"without a next plugin we deny", "nobody.default.svc.cluster.local. A", nxName, nil, nil})
}

func TestNotSynced(t *testing.T) {
	withEDNS := func(r *dns.Msg) { r.SetEdns0(1232, false) }
	for _, c := range []struct {
		name, options, question string
		asked                   bool
	}{
		{"a Service", "", "web.default.svc.cluster.local. A", false},
		{"also with fallthrough", "fallthrough", "web.default.svc.cluster.local. A", false},
		{"the apex", "fallthrough", "cluster.local. SOA", false},
		{"a private reverse name", "fallthrough", "1.0.0.10.in-addr.arpa. PTR", false},
		{"a shared one", "fallthrough", "1.0.64.100.in-addr.arpa. PTR", false},
		{"a link-local one", "fallthrough", "1.0.254.169.in-addr.arpa. PTR", false},
		{"a unique-local one", "fallthrough", "1.0.d.f.ip6.arpa. PTR", false},
		{"what leads to private ones", "fallthrough", "172.in-addr.arpa. NS", false},
		{"no reverse name", "fallthrough", "x.in-addr.arpa. PTR", false},
		{"a public reverse name goes on", "fallthrough", "8.8.8.8.in-addr.arpa. PTR", true},
		{"what leads to public ones only too", "fallthrough", "8.in-addr.arpa. NS", true},
		{"an IPv6 one too", "fallthrough ip6.arpa", "1.0.0.2.ip6.arpa. NS", true},
		{"but not without fallthrough for it", "fallthrough cluster.local", "8.8.8.8.in-addr.arpa. PTR", false},
	} {
		h, asked := newTestHeadless(t, c.options), false
		h.listing = kube.NewListing(kube.Services)
		h.Next = behind(dns.RcodeSuccess, &asked)
		m := ask(t, h, c.question, withEDNS)
		if asked != c.asked {
			t.Errorf("%s: %s: next asked %v, want %v", c.name, c.question, asked, c.asked)
		}
		if c.asked {
			continue
		}
		opt := m.IsEdns0()
		if m.Rcode != dns.RcodeServerFailure || opt == nil || len(opt.Option) != 1 || opt.Option[0].(*dns.EDNS0_EDE).InfoCode != dns.ExtendedErrorCodeNotReady {
			t.Errorf("%s: %s: got\n%v\nwant SERVFAIL with extended error 14", c.name, c.question, m)
		}
		if m := ask(t, h, c.question); m.IsEdns0() != nil {
			t.Errorf("%s: %s: EDNS in the reply to a query without", c.name, c.question)
		}
		if h.Ready() {
			t.Errorf("%s: ready while not synced", c.name)
		}
	}
}

func TestQueriesThatAreNotOurs(t *testing.T) {
	h := newTestHeadless(t, "fallthrough")
	if m, rcode := askOver(t, h, &test.ResponseWriter{}, "cluster.local. AXFR"); m != nil || rcode != dns.RcodeRefused {
		t.Errorf("AXFR: rcode %d, reply %v, want REFUSED from the server", rcode, m)
	}
	if m, rcode := askOver(t, h, &test.ResponseWriter{}, "cluster.local. IXFR"); m != nil || rcode != dns.RcodeRefused {
		t.Errorf("IXFR: rcode %d, reply %v, want REFUSED from the server", rcode, m)
	}
	asked := false
	h.Next = behind(dns.RcodeSuccess, &asked)
	ask(t, h, "web.default.svc.cluster.local. A", func(r *dns.Msg) { r.Question[0].Qclass = dns.ClassCHAOS })
	if !asked {
		t.Error("class CH: not passed on")
	}
	asked = false
	ask(t, h, "web.default.svc.cluster.local. A", func(r *dns.Msg) { r.Question = nil })
	if !asked {
		t.Error("no question: not passed on")
	}
	asked = false
	if ask(t, h, "localcluster.local. A"); !asked {
		t.Error("a name that only ends like the zone: not passed on")
	}
}

// askSized asks over UDP or TCP with a buffer of size octets, 0 for no EDNS, and returns the packed size too.
func askSized(t *testing.T, h *Headless, question string, tcp bool, size uint16) (m *dns.Msg, octets int) {
	t.Helper()
	m, _ = askOver(t, h, &test.ResponseWriter{TCP: tcp}, question, func(r *dns.Msg) {
		if size > 0 {
			r.SetEdns0(size, false)
		}
	})
	if size > 0 && m.IsEdns0() == nil {
		m.SetEdns0(size, false) // as the server does
	}
	m.Compress = true
	wire, err := m.Pack()
	fatal.If(t, err)
	return m, len(wire)
}

func TestSizes(t *testing.T) {
	h := newTestHeadless(t, "")
	h.index = podsIndex(5000)
	const zone = "n.svc.cluster.local."
	for _, c := range []struct {
		question      string
		tcp           bool
		size          uint16
		limit, record int // octets at most, and of one more record
		truncated     bool
	}{
		{"web." + zone + " A", false, 0, 512, 16, true},
		{"web." + zone + " A", false, 100, 512, 16, true},
		{"web." + zone + " A", false, 1232, 1232, 16, true},
		{"web." + zone + " A", false, 4096, 4096, 16, true},
		{"web." + zone + " A", true, 1232, 65535, 16, false},
		{"WEB." + zone + " SRV", false, 0, 512, 18 + 32, true},
		{"web." + zone + " SRV", false, 1232, 1232, 18 + 32, true},
		{"web." + zone + " SRV", false, 65535, 65507, 18 + 32, true},
		{"_http._tcp.Web." + zone + " SRV", true, 0, 65535, 18 + 32, false},
		{"web-17.web." + zone + " A", false, 0, 512, 1 << 16, false},
		{"web." + zone + " AAAA", false, 512, 512, 1 << 16, false},
	} {
		m, octets := askSized(t, h, c.question, c.tcp, c.size)
		if octets > c.limit || m.Truncated != c.truncated {
			t.Errorf("%s tcp %v size %d: %d octets, tc %v, want at most %d, %v", c.question, c.tcp, c.size, octets, m.Truncated, c.limit, c.truncated)
		}
		if c.truncated && len(m.Extra) == 0 && octets+c.record <= c.limit {
			t.Errorf("%s tcp %v size %d: %d octets, one more record of %d fits in %d", c.question, c.tcp, c.size, octets, c.record, c.limit)
		}
		// What the server does with the reply must change nothing: it sets TC when it drops a record.
		before := fmt.Sprint(m.Truncated, len(m.Answer), len(m.Extra))
		m.Truncate(c.limit)
		if after := fmt.Sprint(m.Truncated, len(m.Answer), len(m.Extra)); after != before {
			t.Errorf("%s tcp %v size %d: the server cuts %s to %s", c.question, c.tcp, c.size, before, after)
		}
	}
}

// TestTheLastRecordFitsExactly: a buffer of as many octets as the records take holds all of them, and one of an octet less
// all but one.
func TestTheLastRecordFitsExactly(t *testing.T) {
	const size = 50
	h := newTestHeadless(t, "")
	h.index = podsIndex(size)
	for i := range size {
		key := model.Key{Namespace: "n", Name: fmt.Sprint("peers-", 100+i)}
		h.index.PutService(&model.Service{Key: key, Kind: model.Headless})
		h.index.PutSlice(&model.Slice{Key: key, Service: key.Name, Endpoints: []model.Endpoint{{Addr: netip.MustParseAddr("10.1.0.1"), State: model.Ready}}})
	}
	for _, c := range []struct {
		question                 string
		room, less               int // beside what the whole answer takes
		answer, extra, lessExtra int
	}{
		{"web.n.svc.cluster.local. A", 0, size - 1, size, 0, 0},
		{"1.0.1.10.in-addr.arpa. PTR", 19 * (size - 1), size - 1, size, 0, 0}, // no target's zone is taken to be compressed
		{"web.n.svc.cluster.local. SRV", 0, size, size, size, size - 1},
		{"web.n.svc.cluster.local. SRV", -16 * size, size - 1, size, 0, 3}, // no room for an address; three are smaller than a target
	} {
		_, whole := askSized(t, h, c.question, false, 4096)
		whole += c.room
		for octets, want := range map[int][2]int{whole: {c.answer, c.extra}, whole - 1: {c.less, c.lessExtra}} {
			m, _ := askSized(t, h, c.question, false, uint16(octets))
			if got := [2]int{len(m.Answer), len(m.Extra) - 1}; got != want || m.Truncated != (want[0] < size) { // one is the OPT record
				t.Errorf("%s in %d octets: got %d records, tc %v, want %d", c.question, octets, got, m.Truncated, want)
			}
		}
	}
}

func TestAClientWithoutRoomGetsAnEmptyTruncatedReply(t *testing.T) {
	h := newTestHeadless(t, "")
	h.index = podsIndex(100)
	edns.SetSupportedOption(65001)
	for _, question := range []string{"web.n.svc.cluster.local. A", "web.n.svc.cluster.local. SRV", "web-1.web.n.svc.cluster.local. A"} {
		m := ask(t, h, question, func(r *dns.Msg) {
			r.SetEdns0(512, false)
			opt := r.IsEdns0()
			opt.Option = append(opt.Option, &dns.EDNS0_LOCAL{Code: 65001, Data: make([]byte, 700)}) // the reply repeats it
		})
		if m.Rcode != noError || len(m.Answer) != 0 || !m.Truncated {
			t.Errorf("%s: got\n%v\nwant TC and no answer", question, m)
		}
	}
	m := ask(t, h, "web.n.svc.cluster.local. A", func(r *dns.Msg) {
		r.SetEdns0(512, false)
		opt := r.IsEdns0()
		opt.Option = append(opt.Option, &dns.EDNS0_PADDING{Padding: make([]byte, 700)}) // the reply does not repeat it
	})
	if len(m.Answer) != 28 {
		t.Errorf("with padding: %d records, want the 28 that fit", len(m.Answer))
	}
}

func TestTCPAnswersAreComplete(t *testing.T) {
	h := newTestHeadless(t, "")
	h.index = podsIndex(1000)
	for question, wantExtra := range map[string]bool{"web.n.svc.cluster.local. A": false, "_http._tcp.web.n.svc.cluster.local. SRV": true} {
		m, octets := askSized(t, h, question, true, 0)
		if len(m.Answer) != 1000 || m.Truncated || octets > dns.MaxMsgSize {
			t.Errorf("%s: %d of 1000 records, tc %v, %d octets", question, len(m.Answer), m.Truncated, octets)
		}
		if wantExtra && len(m.Extra) == 0 {
			t.Errorf("%s: no additional records although there is room", question)
		}
		if seen := slices.Compact(dnstest.Lines(m.Answer)); len(seen) != 1000 {
			t.Errorf("%s: %d different records, want 1000", question, len(seen))
		}
	}
}

// TestPartsOfLargeSets: one client sees the same part of a set each time, also by way of a CNAME; all
// clients together see every endpoint.
func TestPartsOfLargeSets(t *testing.T) {
	h := newTestHeadless(t, "")
	h.index = podsIndex(200)
	h.index.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: "alias"}, Kind: model.ExternalName, Target: "web.n.svc.cluster.local."})
	part := func(client, question string) (lines []string) {
		m, _ := askOver(t, h, &from{addr: client}, question)
		for _, rr := range m.Answer {
			lines = append(lines, rr.String())
		}
		return lines
	}
	for question, ordered := range map[string]bool{"web.n.svc.cluster.local. A": false, "alias.n.svc.cluster.local. A": false, "web.n.svc.cluster.local. SRV": true} {
		seen := make(map[string]bool)
		orders := make(map[string]bool)
		for n := range 1000 {
			client := clientText(n)
			first := part(client, question)
			for range 3 {
				again := part(client, question)
				orders[strings.Join(again, " ")] = true
				if !ordered {
					slices.Sort(first)
					slices.Sort(again)
				}
				if !slices.Equal(first, again) {
					t.Fatalf("%s: client %s got %q, then %q", question, client, first, again)
				}
			}
			for _, data := range first {
				seen[data] = true
			}
		}
		if want := 200 + strings.Count(question, "alias"); len(seen) != want {
			t.Errorf("%s: 1,000 clients saw %d different records, want %d", question, len(seen), want)
		}
		if most := 200; !ordered && len(orders) <= most {
			t.Errorf("%s: %d different orders, want more than the %d places", question, len(orders), most)
		}
	}
}

func clientText(n int) string { return fmt.Sprintf("10.9.%d.%d", n>>8, n&0xff) }

func TestRepliesAreNotShared(t *testing.T) {
	h := newTestHeadless(t, "")
	first := ask(t, h, "web-0.web.default.svc.cluster.local. A")
	first.Answer[0].Header().Name = "changed."
	first.Answer[0].(*dns.A).A[0] = 99
	checkRow(t, h, row{"after a plugin changed a reply", "web-0.web.default.svc.cluster.local. A", noError, []string{"web-0.web.default.svc.cluster.local. 5 IN A 10.0.0.1"}, nil})
}

func TestZoneWithManyLabelsAndTheRoot(t *testing.T) {
	h := newTestHeadlessFrom(t, "headless k8s.example.org. {\nmanifests testdata/cluster.yaml\n}")
	h.local = nil
	checkRow(t, h, row{"a zone of three labels", "web-0.web.default.svc.k8s.example.org. A", noError, []string{"web-0.web.default.svc.k8s.example.org. 5 IN A 10.0.0.1"}, nil})
	h = newTestHeadlessFrom(t, "headless . {\nmanifests testdata/cluster.yaml\n}")
	h.local = nil
	checkRows(t, h, []row{
		{"the root", "_dns._udp.web-0.web.default.svc. SRV", noError, []string{"_dns._udp.web-0.web.default.svc. 5 IN SRV 0 100 53 web-0.web.default.svc."}, []string{"web-0.web.default.svc. 5 IN A 10.0.0.1"}},
		{"reverse names below the root", "1.6.0.10.in-addr.arpa. PTR", noError, []string{"1.6.0.10.in-addr.arpa. 5 IN PTR vip-0.vip.default.svc."}, nil},
		{"a name server below the root", ". NS", noError, []string{". 5 IN NS ns.dns."}, nil},
	})
	h = newTestHeadlessFrom(t, "headless cluster.local eu.cluster.local 1.10.in-addr.arpa {\nmanifests testdata/cluster.yaml\n}")
	checkRows(t, h, []row{
		{"the longest zone matches", "vip.default.svc.eu.cluster.local. SRV", noError, []string{
			"vip.default.svc.eu.cluster.local. 5 IN SRV 0 50 80 vip.default.svc.eu.cluster.local.", "vip.default.svc.eu.cluster.local. 5 IN SRV 0 50 443 vip.default.svc.eu.cluster.local.",
		}, []string{"vip.default.svc.eu.cluster.local. 5 IN A 10.96.0.1", "vip.default.svc.eu.cluster.local. 5 IN AAAA fd96::1"}},
		{"PTRs lead to the first zone", "1.0.1.10.in-addr.arpa. PTR", noError, []string{"1.0.1.10.in-addr.arpa. 5 IN PTR web-0.web.blue.svc.cluster.local."}, nil},
	})
	if m := ask(t, h, "1.0.0.10.in-addr.arpa. PTR"); m != nil {
		t.Errorf("a reverse name outside our zones: got\n%v\nwant none", m)
	}
}
