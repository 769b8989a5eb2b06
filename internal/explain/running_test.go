package explain

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns-headless/headless"
	"github.com/coredns-headless/headless/internal/insight"
	"github.com/coredns-headless/headless/internal/manifests"
	"github.com/miekg/dns"
)

// scripted is a server that runs and says what it is told to.
type scripted struct{ says *insight.Explanation }

func (s scripted) Name() string { return "one" }

func (s scripted) Status(context.Context) (*insight.Status, error) {
	return &insight.Status{State: "snapshot", Options: []string{"ttl 7"}}, nil
}

func (s scripted) Explain(_ context.Context, fqdn, qtype string) (*insight.Explanation, error) {
	e := *s.says
	e.Name, e.Type = fqdn, qtype
	e.Total = max(e.Total, len(e.Records))
	return &e, nil
}

// TestWhereAServerThatRunsDiffers from the plugin on what the API server says: in records whatever their order and TTL, or in why there
// are none.
func TestWhereAServerThatRunsDiffers(t *testing.T) {
	stanzas, err := headless.ParseStanzas("Corefile", []byte("cluster.local in-addr.arpa {\nheadless\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	objects, err := manifests.Read("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(stanzas[0], newCluster(objects), "")
	records := func(data ...string) *insight.Explanation {
		e := &insight.Explanation{Zone: "cluster.local.", Outcome: "records"}
		for _, d := range data {
			e.Records = append(e.Records, "x. 9 IN A "+d)
		}
		return e
	}
	of := func(outcome, reason string) *insight.Explanation {
		return &insight.Explanation{Zone: "cluster.local.", Outcome: outcome, Reason: reason}
	}
	many := func(total int) *insight.Explanation {
		e := records("10.244.1.10")
		e.Total = total
		return e
	}
	cname := func(target string) *insight.Explanation {
		e := records()
		e.Outcome, e.Records = "cname", []string{"x. 9 IN CNAME " + target}
		return e
	}
	const cassandra, billing, nobody = "cassandra.default.svc.cluster.local.", "billing.default.svc.cluster.local.", "nobody.default.svc.cluster.local."
	for _, row := range []struct {
		name string
		says *insight.Explanation
		want string
	}{
		{cassandra, records("10.244.3.10", "10.244.1.10", "10.244.2.10"), ""},
		{cassandra, records("10.244.3.10", "10.244.1.10"), "it lacks 10.244.2.10"},
		{cassandra, records("10.244.3.10", "10.244.1.10", "10.244.2.10", "10.0.0.9"), "it has 10.0.0.9, which it should not"},
		{cassandra, many(3), ""}, // it shows the first ones
		{cassandra, many(200), "it has 200 records of 3"},
		{cassandra, of("denied", "none_ready"), "it has none [none_ready], and should say 10.244.1.10, 10.244.2.10, 10.244.3.10"},
		{cassandra, of("waiting", ""), "it answers SERVFAIL, and should say 10.244.1.10, 10.244.2.10, 10.244.3.10"},
		{cassandra, of("elsewise", ""), `it says "elsewise", which is nothing that this release knows`},
		{nobody, of("denied", "service"), ""},
		{nobody, of("elsewhere", "service"), ""}, // with fallthrough
		{nobody, of("denied", "namespace"), "it has none [namespace], and should say NXDOMAIN [service]"},
		{nobody, of("waiting", ""), "it answers SERVFAIL, and should say NXDOMAIN [service]"},
		{nobody, records("10.0.0.1"), "it has 10.0.0.1, and should say NXDOMAIN [service]"},
		{billing, cname("billing.example.com."), ""},
		{billing, cname("other.example.com."), "it has other.example.com., which it should not; it lacks billing.example.com."},
		{billing, of("denied", "service"), "it has none [service], and should say billing.example.com."},
		{"www.example.com.", &insight.Explanation{Outcome: "elsewhere"}, ""},
		{"www.example.com.", &insight.Explanation{Outcome: "denied", Zone: "example.com."}, "it answers for example.com., which is none of the zones here (--corefile)"},
	} {
		r := &report{Name: row.name, Verdict: resolves}
		r.ask(t.Context(), s, []Running{scripted{row.says}}, []uint16{dns.TypeA})
		if row.want != "" {
			row.want = "A: " + row.want
		}
		if got := strings.Join(r.Running[0].Differs, "\n"); got != row.want || (r.status() == statusResolves) != (row.want == "") {
			t.Errorf("%s, %+v: got %q and status %d, want %q", row.name, row.says, got, r.status(), row.want)
		}
	}
}

// TestWhatAServerTellsOfItselfIsNotCompared: its serial, its name and its addresses are those of no other.
func TestWhatAServerTellsOfItselfIsNotCompared(t *testing.T) {
	stanzas, err := headless.ParseStanzas("Corefile", []byte("cluster.local {\nheadless\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(stanzas[0], newCluster(nil), "")
	const soa, ns = "cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5", "cluster.local. 5 IN NS dns.kube-system.svc.cluster.local."
	for _, row := range []struct {
		name    string
		qtype   uint16
		outcome string
		record  string
		differs bool
	}{
		{"cluster.local.", dns.TypeSOA, "records", soa, false},
		{"cluster.local.", dns.TypeNS, "records", ns, false},
		{"NS.dns.cluster.local.", dns.TypeA, "records", "ns.dns.cluster.local. 5 IN A 10.0.0.1", false},
		{"ns.dns.cluster.local.", dns.TypeA, "waiting", "", true},
		{"cluster.local.", dns.TypeA, "records", "cluster.local. 5 IN A 10.0.0.1", true},
		{"dns.cluster.local.", dns.TypeA, "records", "dns.cluster.local. 5 IN A 10.0.0.1", true},
	} {
		e := &insight.Explanation{Zone: "cluster.local.", Outcome: row.outcome, Records: []string{row.record}, Total: 1}
		if got := s.differs(e, row.name, row.qtype); (got != "") != row.differs {
			t.Errorf("%s %s, %s: got %q, want that it differs: %v", row.name, dns.TypeToString[row.qtype], row.record, got, row.differs)
		}
	}
}

// waiting is a server that answers once all have been asked.
type waiting struct {
	scripted
	asked *sync.WaitGroup
}

func (w waiting) Status(ctx context.Context) (*insight.Status, error) {
	w.asked.Done()
	all := make(chan struct{})
	go func() {
		w.asked.Wait()
		close(all)
	}()
	select {
	case <-all:
		return &insight.Status{State: "synced"}, nil
	case <-time.After(10 * time.Second):
		return nil, errors.New("the others are not asked")
	}
}

// TestServersThatRunAreAskedAtOnce: one that does not answer keeps nobody waiting for the others.
func TestServersThatRunAreAskedAtOnce(t *testing.T) {
	stanzas, err := headless.ParseStanzas("Corefile", []byte("cluster.local {\nheadless\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var asked sync.WaitGroup
	var servers []Running
	for range 4 {
		asked.Add(1)
		servers = append(servers, waiting{scripted{&insight.Explanation{Outcome: "elsewhere"}}, &asked})
	}
	r := &report{Name: "www.example.com.", Verdict: resolves}
	r.ask(t.Context(), newServer(stanzas[0], newCluster(nil), ""), servers, addressTypes)
	if len(r.Running) != 4 || r.status() != statusResolves {
		t.Errorf("got %+v, want the answers of all", r.Running)
	}
}

// TestWhatServersThatRunSayIsPrinted: in lines that are not too long, without what a terminal would obey.
func TestWhatServersThatRunSayIsPrinted(t *testing.T) {
	r := &report{Verdict: resolves, Running: []told{
		{Server: "a", State: "in sync"},
		{Server: "b", Error: "no \x1b[2Janswer"},
		{Server: "c", State: "answers from its snapshot", Options: []string{"ttl 7"}, Differs: []string{"A: it lacks " + strings.Repeat("10.0.0.1 ", 20), "AAAA: other"}},
	}}
	var b strings.Builder
	if err := writePage(&b, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\nServers that run:\nsame       a (in sync)\nno answer  b: no ?[2Janswer\nDIFFERS    c (answers from its snapshot; its stanza: ttl 7)\n           A: it lacks 10.0.0.1 ",
		"\n             10.0.0.1 ", "\n           AAAA: other\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("got\n%s\nwant %q", b.String(), want)
		}
	}
	for line := range strings.Lines(b.String()) {
		if len(line) > pageWidth+1 {
			t.Errorf("%d columns: %q", len(line), line)
		}
	}
}
