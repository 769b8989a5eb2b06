package matrix

import (
	"testing"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/coredns-headless/headless/bench/load"
	"github.com/miekg/dns"
)

// TestExpectedSizesOfAnswers has its numbers from RFC 1035: 12 bytes of header, a question, an OPT record of 11, and 16 bytes for
// each A record behind a compressed name, 28 for each AAAA.
func TestExpectedSizesOfAnswers(t *testing.T) {
	c := cluster.Cluster{{Name: "web-1000", Endpoints: 5000, Headless: true, IPv4: true, IPv6: true}}
	s := c.Services()[0] // web-1000.n.svc.cluster.local. has 30 bytes, its question 34
	for _, row := range []struct {
		name string
		got  load.Expect
		want load.Expect
	}{
		{"all fit", service(s, dns.TypeA, 73, false).expect, load.Expect{Answers: load.Exactly(73)}},
		{"UDP, A", service(s, dns.TypeA, 74, false).expect, load.Expect{Truncated: true, Answers: load.Range{Min: 65, Max: 73}, Extra: some}},
		{"UDP, AAAA", service(s, dns.TypeAAAA, 1000, false).expect, load.Expect{Truncated: true, Answers: load.Range{Min: 36, Max: 41}, Extra: some}},
		{"TCP, all fit", service(s, dns.TypeA, 4092, true).expect, load.Expect{Answers: load.Exactly(4092)}},
		{"TCP", service(s, dns.TypeA, 4093, true).expect, load.Expect{Truncated: true, Answers: load.Range{Min: 3682, Max: 4092}, Extra: some}},
	} {
		if row.got != row.want {
			t.Errorf("%s: got %+v, want %+v", row.name, row.got, row.want)
		}
	}
}

func TestPodsAreSpreadOverTheService(t *testing.T) {
	c := cluster.Cluster{{Name: "web", Endpoints: 640, Headless: true, IPv4: true}}
	queries := pods(c.Services()[0], dns.TypeA)
	if got, want := queries[len(queries)-1].name, "web-630.web.n.svc.cluster.local."; len(queries) != 64 || got != want {
		t.Errorf("%d names up to %s, want 64 up to %s", len(queries), got, want)
	}
}
