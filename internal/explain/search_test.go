package explain

import (
	"fmt"
	"strings"
	"testing"
)

func TestResolversWalkTheSearchList(t *testing.T) {
	const zone = ".svc.cluster.local."
	for _, row := range []struct {
		name string
		args string
		// want has an attempt in each line: the name, what is there, and what glibc and musl do; a hyphen for nothing.
		want string
	}{
		{"a Service", "cassandra", `
cassandra.default.svc.cluster.local. found found found
cassandra.svc.cluster.local. NXDOMAIN - -
cassandra.cluster.local. NXDOMAIN - -
cassandra. outside - -`},
		{"a Service of another namespace", "-from shop cassandra.default", `
cassandra.default.shop.svc.cluster.local. NXDOMAIN goes_on goes_on
cassandra.default.svc.cluster.local. found found found
cassandra.default.cluster.local. NXDOMAIN - -
cassandra.default. outside - -`},
		{"the whole name has four dots", "cassandra.default.svc.cluster.local", `
cassandra.default.svc.cluster.local.default.svc.cluster.local. NXDOMAIN goes_on goes_on
cassandra.default.svc.cluster.local.svc.cluster.local. NXDOMAIN goes_on goes_on
cassandra.default.svc.cluster.local.cluster.local. NXDOMAIN goes_on goes_on
cassandra.default.svc.cluster.local. found found found`},
		{"which are enough with another ndots", "-ndots 4 cassandra.default.svc.cluster.local", `
cassandra.default.svc.cluster.local. found found found
cassandra.default.svc.cluster.local.default.svc.cluster.local. NXDOMAIN - -
cassandra.default.svc.cluster.local.svc.cluster.local. NXDOMAIN - -
cassandra.default.svc.cluster.local.cluster.local. NXDOMAIN - -`},
		{"enough dots are all that musl tries", "-ndots 1 cassandra.default", `
cassandra.default. outside unknown unknown
cassandra.default.default.svc.cluster.local. NXDOMAIN goes_on -
cassandra.default.svc.cluster.local. found found -
cassandra.default.cluster.local. NXDOMAIN - -`},
		{"musl ends at NODATA", "dns", `
dns.default.svc.cluster.local. NXDOMAIN goes_on goes_on
dns.svc.cluster.local. NXDOMAIN goes_on goes_on
dns.cluster.local. NODATA goes_on stops
dns. outside unknown -`},
		{"musl searches for addresses only", "cassandra SRV", `
cassandra.default.svc.cluster.local. found found -
cassandra.svc.cluster.local. NXDOMAIN - -
cassandra.cluster.local. NXDOMAIN - -
cassandra. outside - unknown`},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, r := reported(t, strings.Fields("-manifests examples "+row.args)...)
			var got strings.Builder
			for _, a := range r.Walk.Attempts {
				word := func(s string) string {
					if s == "" {
						return "-"
					}
					return strings.ReplaceAll(s, " ", "_")
				}
				fmt.Fprintf(&got, "\n%s %s %s %s", a.Name, a.Outcome, word(a.Glibc), word(a.Musl))
			}
			if got.String() != row.want {
				t.Errorf("got%s\nwant%s", got.String(), row.want)
			}
		})
	}
	if _, r := reported(t, "-manifests", "examples", "cassandra.default"+zone); r.Walk != nil {
		t.Errorf("got a search list for a name with a dot at its end: %v", r.Walk)
	}
}

func TestNameThatMuslDoesNotFindIsNoted(t *testing.T) {
	const note = "musl's resolver"
	for args, want := range map[string]bool{"-ndots 1 cassandra.default": true, "cassandra.default": false, "-ndots 1 cassandra.default.svc.cluster.local": false} {
		_, r := reported(t, strings.Fields("-manifests examples "+args)...)
		if got := strings.Contains(strings.Join(r.Notes, "\n"), note); got != want || r.Verdict != resolves {
			t.Errorf("%s %s: got the notes %q, want one of musl: %v", args, r.Verdict, r.Notes, want)
		}
	}
}

// TestGlibcEndsAtCNAMEWithoutAddress holds for a CNAME to a name that is there for others.
func TestGlibcEndsAtCNAMEWithoutAddress(t *testing.T) {
	s := healthySet(t)
	external("shop.svc.cluster.local")(s)
	r := s.explain(t, "web.shop")
	if a := r.Walk.Attempts[1]; a.Outcome != nodata || a.Glibc != stops || a.Musl != stops {
		t.Errorf("got %+v, want that both end at NODATA", a)
	}
}

func TestStepsSayWhatTheNameIs(t *testing.T) {
	for word, want := range map[string]string{
		"web.shop":                           "Service web in Namespace shop, zone cluster.local",
		"_http._tcp.web-0.web.shop":          "port http/tcp of endpoint web-0 of Service web in Namespace shop, zone cluster.local",
		"eu.b.pin._zone.web.shop":            "topology zone eu.b of Service web in Namespace shop, zone cluster.local",
		"pin._zone.web.shop":                 "the topology zones of Service web in Namespace shop, zone cluster.local",
		"_zone._tcp.web.shop":                "port zone/tcp of Service web in Namespace shop, zone cluster.local",
		"_http.web.shop":                     "protocol http of Service web in Namespace shop, zone cluster.local",
		"10-244-1-10.shop.pod.cluster.local": "address 10-244-1-10 as a pod of Namespace shop, zone cluster.local",
		"10.244.1.10":                        "a reverse name, in zone in-addr.arpa",
		"shop.svc.cluster.local":             "no Service's name, in zone cluster.local",
		"web.shop.cluster.local":             "no form of name that Kubernetes has, in zone cluster.local",
		"example.org.":                       "in none of the zones",
	} {
		if got := healthySet(t).explain(t, word).Chain[0].Text; got != want {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
}
