package headless

import (
	"strings"
	"testing"

	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
)

// deny returns the reply that h makes to text, "qname TYPE", in which $ is default.svc.cluster.local. and & the same in
// clusterset.local.
func deny(t *testing.T, h *Headless, text string) *reply {
	t.Helper()
	text = strings.NewReplacer("$", "default.svc.cluster.local.", "&", "default.svc.clusterset.local.").Replace(text)
	name, qtype, _ := strings.Cut(text, " ")
	r := new(dns.Msg)
	r.SetQuestion(name, dns.StringToType[qtype])
	qname := strings.ToLower(name)
	q := question{authority: h.authority(qname), name: name, qtype: dns.StringToType[qtype], end: dns.MaxMsgSize}
	q.parse(qname, q.authority.zone, q.grammar)
	m := newReply(r)
	if h.resolve(&q, m); m.cname != "" {
		h.chase(t.Context(), &test.ResponseWriter{}, r, &q, m)
	} else {
		h.finish(&q, m, 0)
	}
	return m
}

// TestCauses: a name of each form that owns nothing, and what is missing.
func TestCauses(t *testing.T) {
	h := newTestHeadlessFrom(t, "headless cluster.local clusterset.local in-addr.arpa ip6.arpa {\nmulticluster clusterset.local\nzonal\n"+
		"pods insecure\nmanifests testdata/cluster.yaml testdata/imports.yaml\n}")
	h.upstream = outside{}
	for text, want := range map[string]string{
		"web.$ A":                                  "",
		"ext.$ A":                                  "",
		"ext.$ MX":                                 "",
		"x.cluster.local. A":                       "syntax",
		"x.y.web-0.web.$ A":                        "syntax",
		"x.in-addr.arpa. PTR":                      "syntax",
		"x.nowhere.svc.cluster.local. A":           "namespace",
		"nowhere.pod.cluster.local. A":             "namespace",
		"nobody.$ A":                               "service",
		"web.& A":                                  "service",
		"number.$ A":                               "external_name",
		"x.ext.$ A":                                "external_name",
		"_http._tcp.ext.$ SRV":                     "external_name",
		"empty.$ A":                                "no_ready_endpoints",
		"starting.$ A":                             "no_ready_endpoints",
		"_http._tcp.starting.$ SRV":                "no_ready_endpoints",
		"all.$ A":                                  "no_ready_endpoints",
		"eu-1a.pin._zone.empty.$ A":                "no_ready_endpoints",
		"web-9.web.$ A":                            "hostname",
		"_http._tcp.web-9.web.$ SRV":               "hostname",
		"10-0-0-1.web.$ A":                         "hostname",
		"x.vip.$ A":                                "hostname",
		"db-1.east.db.& A":                         "hostname",
		"north.db.& A":                             "hostname",
		"starting-0.starting.$ A":                  "hostname_not_ready",
		"web-3.web.$ A":                            "hostname_not_ready",
		"_http._tcp.web-2.web.$ SRV":               "hostname_not_ready",
		"db-1.west.db.& A":                         "hostname_not_ready",
		"_http._udp.web.$ SRV":                     "port",
		"_sctp.web.$ SRV":                          "port",
		"_x._tcp.web-0.web.$ SRV":                  "port",
		"_x._tcp.vip.$ SRV":                        "port",
		"us-1.pin._zone.zoned.$ A":                 "zone",
		"eu-1a.pin._zone.vip.$ A":                  "zone",
		"web.default.pod.cluster.local. A":         "pod",
		"9.0.0.10.in-addr.arpa. PTR":               "reverse",
		"3.0.0.10.in-addr.arpa. PTR":               "reverse",
		"9.10.in-addr.arpa. PTR":                   "reverse",
		"ext.$ AAAA":                               "target",
		"nowhere.$ A":                              "service",
		"nodata.$ AAAA":                            "type",
		"svc.cluster.local. A":                     "empty_non_terminal",
		"default.svc.cluster.local. A":             "empty_non_terminal",
		"default.pod.cluster.local. A":             "empty_non_terminal",
		"_tcp.web.$ A":                             "empty_non_terminal",
		"_udp.web-0.web.$ A":                       "empty_non_terminal",
		"_tcp.vip.$ A":                             "empty_non_terminal",
		"_zone.zoned.$ A":                          "empty_non_terminal",
		"east.db.& A":                              "empty_non_terminal",
		"10.in-addr.arpa. PTR":                     "empty_non_terminal",
		"cluster.local. A":                         "type",
		"web.$ AAAA":                               "type",
		"web.$ MX":                                 "type",
		"portless.$ SRV":                           "type",
		"10-0-0-1.default.pod.cluster.local. AAAA": "type",
		"1.0.0.10.in-addr.arpa. A":                 "type",
	} {
		if got := deny(t, h, text).cause.String(); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	h = newTestHeadless(t, "ignore empty_service\nnoendpoints")
	for text, want := range map[string]string{
		"vip.$ A":                        "no_ready_endpoints",
		"web.$ A":                        "no_ready_endpoints",
		"1-1-1-1.x.pod.cluster.local. A": "pod",
	} {
		if got := deny(t, h, text).cause.String(); got != want {
			t.Errorf("without endpoints: %s: %q, want %q", text, got, want)
		}
	}
}
