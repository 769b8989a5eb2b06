package headless

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/insight"
	"github.com/miekg/dns"
)

// TestWhatIsCounted: each query counts as what it led to, a name that fails under its reason, and one that looks like
// a step of a search list as such.
func TestWhatIsCounted(t *testing.T) {
	h := newTestHeadless(t, "")
	const answered = index.NoReason
	for _, c := range []struct {
		question string
		reason   index.Reason
		isStep   bool
	}{
		{"web.default.svc.cluster.local. A", answered, false},
		{"_http._tcp.web.default.svc.cluster.local. SRV", answered, false},
		{"web-99.web.default.svc.cluster.local. A", index.ReasonHostname, false},
		{"WEB-99.web.default.svc.cluster.local. AAAA", index.ReasonHostname, false},
		{"nobody.default.svc.cluster.local. A", index.ReasonService, false},
		{"www.example.com.default.svc.cluster.local. A", index.ReasonSyntax, true},
		{"example.com.default.svc.cluster.local. A", index.ReasonService, true},
		{"example.com.default.svc.cluster.local. SRV", index.ReasonService, false},
		{"example.com.svc.cluster.local. A", index.ReasonNamespace, false}, // could be meant: a Service in another Namespace
		{"example.com.cluster.local. A", index.ReasonSyntax, true},
		{"nobody.svc.cluster.local. A", index.ReasonNamespace, true},
		{"nobody.cluster.local. A", index.ReasonSyntax, true},
		{"web.default.svc.cluster.local.default.svc.cluster.local. A", index.ReasonSyntax, true},
		{"web.default.svc.cluster.local.cluster.local. A", index.ReasonSyntax, true},
		{"x.y.z.pod.cluster.local. A", index.ReasonSyntax, false},
		{"web.default.svc.cluster.local. MX", index.ReasonType, false},
	} {
		h.counter = insight.NewCounter(time.Now())
		ask(t, h, c.question)
		h.counter.Tick(time.Now())
		all := h.counter.Counts(10)
		second := all.Seconds[len(all.Seconds)-1]
		switch {
		case c.reason == answered:
			if second.Answers != 1 || len(all.Names)+len(all.Clients)+len(all.Reasons) > 0 {
				t.Errorf("%s: got %+v, %+v, want an answer and nothing that fails", c.question, second, all.Names)
			}
		case second.Denials != 1 || len(all.Reasons) != 1 || all.Reasons[0].Reason != c.reason:
			t.Errorf("%s: got %+v and the reasons %+v, want one denial for %v", c.question, second, all.Reasons, c.reason)
		case c.reason == index.ReasonType:
			if len(all.Names) > 0 {
				t.Errorf("%s: got %+v, want no name that fails", c.question, all.Names)
			}
		case len(all.Names) != 1 || len(all.Clients) != 1:
			t.Errorf("%s: got the names %+v and the clients %+v, want one of each", c.question, all.Names, all.Clients)
		default:
			qname, qtype, _ := strings.Cut(c.question, " ")
			client := netip.MustParseAddr("10.240.0.1") // of test.ResponseWriter
			name := all.Names[0]
			if name.Name != strings.ToLower(qname) || name.Type != dns.StringToType[qtype] || name.Reason != c.reason ||
				name.IsStep != c.isStep || !slices.Equal(name.Clients, []netip.Addr{client}) {
				t.Errorf("%s: got %+v, want it to fail for %v, a step: %v, asked by %v", c.question, name, c.reason, c.isStep, client)
			}
			if got := all.Clients[0]; got.Addr != client || math.Round(got.Count) != 1 || (got.Steps > 0) != c.isStep {
				t.Errorf("%s: got %+v, want one query of %v, a step: %v", c.question, got, client, c.isStep)
			}
		}
	}
}

func TestOtherQueriesThatAreCounted(t *testing.T) {
	h := newTestHeadless(t, "fallthrough in-addr.arpa")
	asked := false
	h.Next = behind(noError, &asked)
	h.counter = insight.NewCounter(time.Now())
	ask(t, h, "9.9.9.10.in-addr.arpa. PTR")
	h.counter.Tick(time.Now())
	all := h.counter.Counts(10)
	if got := all.Seconds[len(all.Seconds)-1]; !asked || got != (insight.Second{Passed: 1}) {
		t.Errorf("got %+v, want one query that the next plugin answers", got)
	}
	unsynced := watcher(t, "endpoint http://127.0.0.1:1")
	unsynced.counter = insight.NewCounter(time.Now())
	ask(t, unsynced, "web.ns.svc.cluster.local. A")
	unsynced.counter.Tick(time.Now())
	all = unsynced.counter.Counts(10)
	if got := all.Seconds[len(all.Seconds)-1]; got != (insight.Second{Failures: 1}) || len(all.Names) > 0 {
		t.Errorf("got %+v, want one failure", got)
	}
}

// TestInsightAllocatesNothing for a query.
func TestInsightAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector changes the figures")
	}
	off, on := newTestHeadless(t, ""), newTestHeadless(t, "")
	off.index, on.index = sizedIndex(3), sizedIndex(3)
	on.counter = insight.NewCounter(time.Now())
	for _, question := range []string{
		"web-0001.web.n.svc.cluster.local. A", "nobody.n.svc.cluster.local. A", "www.example.com.n.svc.cluster.local. A", "web.n.svc.cluster.local. AAAA",
	} {
		qname, qtype, _ := strings.Cut(question, " ")
		allocs, octets := work(t, on, "udp", qname, dns.StringToType[qtype])
		if wantAllocs, wantOctets := work(t, off, "udp", qname, dns.StringToType[qtype]); allocs != wantAllocs || octets != wantOctets {
			t.Errorf("%s: %v allocations of %v octets, and %v of %v without insight", question, allocs, octets, wantAllocs, wantOctets)
		}
	}
}

// BenchmarkInsight measures queries with the option insight and without.
func BenchmarkInsight(b *testing.B) {
	for _, q := range []struct{ name, qname string }{
		{"answer", "web-0001.web.n.svc.cluster.local."},
		{"nxdomain", "nobody.n.svc.cluster.local."},
		{"search", "www.example.com.n.svc.cluster.local."},
	} {
		for _, on := range []bool{false, true} {
			b.Run(q.name+map[bool]string{false: "/off", true: "/on"}[on], func(b *testing.B) {
				h := newTestHeadless(b, "")
				h.index = sizedIndex(3)
				if on {
					h.counter = insight.NewCounter(time.Now())
				}
				w, r := newDiscard("udp"), (&benchQuery{qname: q.qname, qtype: dns.TypeA}).msg()
				b.ReportAllocs()
				for b.Loop() {
					if _, err := h.ServeDNS(b.Context(), w, r); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
