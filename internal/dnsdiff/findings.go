package dnsdiff

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/coredns-headless/headless/internal/output"
	"github.com/miekg/dns"
)

// finding is one cause for which the replies to one question differ.
type finding struct {
	cause    string
	rule     *rule // that allows it; nil: it is unexpected
	networks []string
	old, new string // the replies, in short
	records  []string
	about    []string // the endpoints that the records lead to, as aboutRecord says
}

// result is what one question came to.
type result struct {
	question
	findings []finding
}

// unexpected returns the causes that no rule allows.
func (r *result) unexpected() []finding {
	return slices.DeleteFunc(slices.Clone(r.findings), func(f finding) bool { return f.rule != nil })
}

// mostRecords is how many records stand in an example.
const mostRecords = 4

// add notes a cause for one network, with the record that it is about, if it is about one.
func (r *result) add(f finding, network string, rr dns.RR) {
	i := slices.IndexFunc(r.findings, func(o finding) bool { return o.cause == f.cause && o.rule == f.rule })
	if i < 0 {
		i, r.findings = len(r.findings), append(r.findings, f)
	}
	at := &r.findings[i]
	if !slices.Contains(at.networks, network) {
		at.networks = append(at.networks, network)
	}
	if rr != nil {
		if name := aboutRecord(rr, r.name); name != "" && !slices.Contains(at.about, name) {
			at.about = append(at.about, name)
		}
	}
	if rr != nil && len(at.records) < mostRecords && !slices.Contains(at.records, record(rr)) {
		at.records = append(at.records, record(rr))
	}
}

// record returns a record in one line, without class and with single blanks.
func record(rr dns.RR) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(rr.String()), func(word string) bool { return word == "IN" }), " ")
}

// summary returns a reply in one line: its outcome and the data of its first records.
func (r reply) summary() string {
	if r.msg == nil {
		return "no reply: " + r.err.Error()
	}
	text := outcome(r.msg)
	if len(r.msg.Answer) == 0 {
		return text
	}
	var parts []string
	for _, rr := range r.msg.Answer {
		parts = append(parts, strings.Join(strings.Fields(strings.TrimPrefix(rr.String(), rr.Header().String())), " "))
	}
	slices.Sort(parts)
	var notes []string
	if text != data {
		notes = append(notes, text)
	}
	if r.msg.Truncated {
		notes = append(notes, "truncated")
	}
	if n := len(parts); n > mostRecords {
		parts = append(parts[:mostRecords:mostRecords], "...")
		notes = append(notes, output.Count(n, "record"))
	}
	text = strings.Join(parts, ", ")
	if len(notes) > 0 {
		text += " (" + strings.Join(notes, ", ") + ")"
	}
	return text
}

// example is a question whose replies differ.
type example struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Networks []string `json:"networks"`
	Old      string   `json:"old"`
	New      string   `json:"new"`
	Records  []string `json:"records,omitempty"` // that the cause is about
}

// group is all questions whose replies differ for one cause.
type group struct {
	ID       string    `json:"id"` // of the cause or the rule
	Cause    string    `json:"cause"`
	Section  string    `json:"section,omitempty"` // of a rule
	Why      string    `json:"why,omitempty"`     // of a rule
	Names    string    `json:"names,omitempty"`   // what the names are; of all kinds if it is a rule's
	Count    int       `json:"count"`
	Examples []example `json:"examples"`
	Causes   []string  `json:"causes,omitempty"` // of what was folded

	rank int // of the cause
}

// findings is what a campaign has found. Its methods are safe for concurrent use.
type findings struct {
	examples int // of each group; 0: all

	mu        sync.Mutex // guards the fields below
	questions int        // answered by both, each in every round
	agreeing  int        // of these, without any difference
	groups    map[section]map[groupKey]*group
	// kept are the unexpected differences, unless they overflowed; owners are the FQDNs of endpoints by their addresses.
	kept       []kept
	overflowed bool
	owners     map[netip.Addr]string
}

// section is a part of the report.
type section int

const (
	different section = iota
	deliberate
	transient
	unconfirmed
	sections
)

type groupKey struct {
	cause string
	names kind
}

func newFindings(examples int) *findings {
	f := &findings{examples: examples, groups: make(map[section]map[groupKey]*group), owners: make(map[netip.Addr]string)}
	for s := range sections {
		f.groups[s] = make(map[groupKey]*group)
	}
	return f
}

// enough is how many differences of one cause are asked again. Those that come later are believed.
const enough = 100

// believed reports whether every unexpected cause of r was confirmed so often that nothing is gained by asking again.
func (f *findings) believed(r *result) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !slices.ContainsFunc(r.unexpected(), func(found finding) bool {
		g := f.groups[different][groupKey{found.cause, r.kind}]
		return g == nil || g.Count < enough
	})
}

// add takes in what a question came to. What is unexpected goes into section s.
func (f *findings) add(r *result, s section) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.questions++
	if len(r.findings) == 0 {
		f.agreeing++
	}
	for _, found := range r.findings {
		at, key := s, groupKey{found.cause, r.kind}
		if found.rule != nil {
			at, key = deliberate, groupKey{cause: found.rule.Name}
		}
		g := f.groups[at][key]
		if g == nil {
			g = &group{ID: idOf(key.cause), Cause: key.cause, Names: string(key.names), rank: rankOf(key.cause)}
			if found.rule != nil {
				g.ID = "deliberate"
				g.Section, g.Why = found.rule.Section, found.rule.Why
			}
			f.groups[at][key] = g
		}
		g.Count++
		e := example{r.name, dns.TypeToString[r.qtype], found.networks, found.old, found.new, found.records}
		if at == different {
			f.keep(r, key, found, e)
		}
		known := func(o example) bool { return o.Name == e.Name && o.Type == e.Type }
		if (f.examples == 0 || len(g.Examples) < f.examples) && !slices.ContainsFunc(g.Examples, known) {
			g.Examples = append(g.Examples, e)
		}
	}
}

// list returns the groups of a section, those first that clients feel most, and of these the largest.
func (f *findings) list(s section) []group {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]group, 0, len(f.groups[s]))
	if s == different {
		list = append(list, f.folded()...)
	}
	if len(list) == 0 {
		for g := range maps.Values(f.groups[s]) {
			copied := *g
			copied.Examples = slices.Clone(g.Examples)
			list = append(list, copied)
		}
	}
	slices.SortFunc(list, func(a, b group) int {
		return cmp.Or(a.rank-b.rank, b.Count-a.Count, strings.Compare(a.Cause, b.Cause), strings.Compare(a.Names, b.Names))
	})
	return list
}

// count returns how many questions there were, and how many differences of a section.
func (f *findings) count(s section) (questions, differences int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range f.groups[s] {
		differences += g.Count
	}
	return f.questions, differences
}
