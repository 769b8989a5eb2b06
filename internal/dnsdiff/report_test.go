package dnsdiff

import (
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// foundIn returns findings with one of each section: two of the same kind are unexpected.
func foundIn(examples int) *findings {
	f := newFindings(examples)
	q := func(name string) question { return question{subject{name: name, kind: kindHost}, dns.TypeA} }
	denied := finding{cause: string(causeDenied), networks: []string{"udp", "tcp"}, old: "10.0.0.1", new: nameError}
	f.add(&result{question: q("a.")}, different)
	f.add(&result{q("b."), []finding{denied}}, different)
	f.add(&result{q("c."), []finding{denied}}, different)
	f.add(&result{q("d."), []finding{denied}}, transient)
	f.add(&result{q("e."), []finding{{cause: "x", rule: &rules[0], networks: []string{"udp"}, old: "o", new: "n", records: []string{"r"}}}}, different)
	return f
}

const wantReport = `old 10.0.0.1:53, new 10.0.0.2:53, z. over udp and tcp, seed 7
5 questions in 1 whole round, 20 queries in 0s; 1 without any difference

UNEXPECTED DIFFERENCES

     2  the new server denies a name that the old one answers [an endpoint]
        b. A over udp and tcp
          old: 10.0.0.1
          new: NXDOMAIN

Transient differences, gone when asked again

     1  the new server denies a name that the old one answers [an endpoint]
        d. A over udp and tcp
          old: 10.0.0.1
          new: NXDOMAIN

Deliberate differences of headless from kubernetes

     1  an empty non-terminal exists: NXDOMAIN denies what is below it (RFC 8020)
        e. A over udp
          about: r
          old: o
          new: n

verdict: different: 2 unexpected differences, of which 2 take away what the old server answers
`

func TestTheReportHasCausesAndExamples(t *testing.T) {
	f := foundIn(1)
	r := &report{
		Old: "10.0.0.1:53", New: "10.0.0.2:53", Zones: []string{"z."}, Networks: []string{"udp", "tcp"}, Seed: 7, Rounds: 1, Queries: 20,
		Questions: f.questions, Agreeing: f.agreeing, Deliberate: f.list(deliberate), Transient: f.list(transient), Differences: f.list(different),
	}
	if got := r.text(); got != wantReport {
		t.Errorf("got\n%s\nwant\n%s", got, wantReport)
	}
}

func TestTheStatusIsThatOfWhatIsUnexpected(t *testing.T) {
	some := foundIn(0).list(different)
	for _, c := range []struct {
		name   string
		report report
		want   int
	}{
		{"nothing differs", report{Rounds: 1}, statusSame},
		{"something is deliberate or transient", report{Rounds: 1, Deliberate: some, Transient: some}, statusSame},
		{"something is unexpected", report{Rounds: 1, Differences: some}, statusDifferent},
		{"it is, and not all was asked", report{Differences: some}, statusDifferent},
		{"not all was asked", report{Deliberate: some}, statusNotCompared},
		{"something was not asked again", report{Rounds: 1, Unconfirmed: some}, statusNotCompared},
	} {
		if got := c.report.status(); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
		if said := strings.Contains(c.report.text(), "\nverdict: no unexpected differences; "); said != (c.want == statusSame) {
			t.Errorf("%s: got the text %q for status %d", c.name, c.report.text(), c.want)
		}
	}
}

func TestACauseThatWasConfirmedOftenIsBelieved(t *testing.T) {
	f := newFindings(1)
	r := &result{question{subject{name: "a.", kind: kindHost}, dns.TypeA}, []finding{{cause: "x"}}}
	for i := range enough {
		if f.believed(r) {
			t.Fatalf("believed after %d", i)
		}
		f.add(r, different)
	}
	if !f.believed(r) {
		t.Errorf("not believed after %d", enough)
	}
	r.findings = append(r.findings, finding{cause: "y"})
	if f.believed(r) {
		t.Error("a new cause is believed")
	}
}

// TestWhatIsAllowedHidesNothing: a record that a rule allows, and another one for the same cause that none does.
func TestWhatIsAllowedHidesNothing(t *testing.T) {
	r := &result{}
	r.add(finding{cause: "x", rule: &rules[0]}, "udp", nil)
	r.add(finding{cause: "x"}, "udp", nil)
	if got := r.unexpected(); len(r.findings) != 2 || len(got) != 1 {
		t.Errorf("got %+v, of which %+v are unexpected: want one of two", r.findings, got)
	}
}

// TestSummariesAreShort: the first four of an answer's records, in one order.
func TestSummariesAreShort(t *testing.T) {
	m := &dns.Msg{}
	for i := range byte(5) {
		m.Answer = append([]dns.RR{&dns.A{A: net.IPv4(10, 0, 0, i)}}, m.Answer...)
		want := []string{"10.0.0.0", "10.0.0.0, 10.0.0.1", "10.0.0.0, 10.0.0.1, 10.0.0.2", "10.0.0.0, 10.0.0.1, 10.0.0.2, 10.0.0.3", "10.0.0.0, 10.0.0.1, 10.0.0.2, 10.0.0.3, ... (5 records)"}[i]
		if got := (reply{msg: m}).summary(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestTheReportCannotWriteToTheTerminal: what servers say is printable.
func TestTheReportCannotWriteToTheTerminal(t *testing.T) {
	var b strings.Builder
	r := &report{Differences: []group{{Cause: "x", Examples: []example{{Old: "\x1b[2J"}}}}}
	if err := r.print(&b, "text"); err != nil || strings.Contains(b.String(), "\x1b") {
		t.Errorf("got %q and %v", b.String(), err)
	}
}
