package explain

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/coredns-headless/headless/internal/insight"
	"github.com/coredns-headless/headless/internal/output"
	"github.com/miekg/dns"
)

// Running is a server that runs, with the option insight. It knows what it has heard, which may be less than what the API server says.
type Running interface {
	// Name returns what the server is called.
	Name() string
	Status(ctx context.Context) (*insight.Status, error)
	// Explain returns what the server answers to a query for an FQDN.
	Explain(ctx context.Context, fqdn, qtype string) (*insight.Explanation, error)
}

// told is what one of them says of a name.
type told struct {
	Server string `json:"server"`
	Error  string `json:"error,omitempty"` // why it does not say anything
	// State says in some words whether what it answers is fresh.
	State   string                 `json:"state,omitempty"`
	Options []string               `json:"options,omitempty"`
	Answers []*insight.Explanation `json:"answers,omitempty"` // one for each type
	// Differs says in what they are not those that the plugin gives with what the API server says.
	Differs []string `json:"differs"`
}

// ask asks the servers that run, all at once, for the name that r explains, as anybody would.
func (r *report) ask(ctx context.Context, s *server, running []Running, types []uint16) {
	anybody := *s
	anybody.client = netip.Addr{}
	r.Running = make([]told, len(running))
	var all sync.WaitGroup
	for i, one := range running {
		t := &r.Running[i]
		*t = told{Server: one.Name(), Differs: []string{}}
		all.Go(func() {
			if err := t.ask(ctx, one, &anybody, r.Name, types); err != nil {
				t.Error = err.Error()
			}
		})
	}
	all.Wait()
}

// ask asks one server, and compares.
func (t *told) ask(ctx context.Context, running Running, s *server, fqdn string, types []uint16) error {
	status, err := running.Status(ctx)
	if err != nil {
		return err
	}
	t.State, t.Options = status.Summary(), status.Options
	for _, qtype := range types {
		e, err := running.Explain(ctx, fqdn, dns.TypeToString[qtype])
		if err != nil {
			return err
		}
		t.Answers = append(t.Answers, e)
		if differs := s.differs(e, fqdn, qtype); differs != "" {
			t.Differs = append(t.Differs, dns.TypeToString[qtype]+": "+differs)
		}
	}
	return nil
}

// differs says in what an answer of a server that runs is not that of s; "" if it is.
func (s *server) differs(e *insight.Explanation, fqdn string, qtype uint16) string {
	if s.stanza.ZoneOf(fqdn) == "" {
		if e.Zone != "" {
			return fmt.Sprintf("it answers for %s, which is none of the zones here (--corefile)", e.Zone)
		}
		return ""
	}
	if e.Outcome != "waiting" && s.tellsOfItself(fqdn, qtype) {
		return ""
	}
	ours, denial := s.ask(fqdn, qtype), s.plugin.Explain(fqdn, qtype).Denial
	should := list(slices.Sorted(slices.Values(ours.data)))
	if denial != nil {
		should = fmt.Sprintf("%s [%v]", ours.outcome(), denial.Reason)
	}
	switch e.Outcome {
	case "records", "cname":
	case "waiting":
		return "it answers SERVFAIL, and should say " + should
	case "elsewhere", "denied":
		if denial == nil || denial.Reason.String() != e.Reason {
			return fmt.Sprintf("it has none [%s], and should say %s", e.Reason, should)
		}
		return ""
	default:
		return fmt.Sprintf("it says %q, which is nothing that this release knows", e.Outcome)
	}
	theirs := each(e.Records, dataOf)
	if denial != nil {
		return fmt.Sprintf("it has %s, and should say %s", list(theirs), should)
	}
	mine := ours.data
	if e.Outcome == "cname" { // what the target has is asked for by itself
		mine = mine[:min(1, len(mine))]
	}
	var parts []string
	if extra := without(theirs, mine); len(extra) > 0 {
		parts = append(parts, "it has "+list(extra)+", which it should not")
	}
	if e.Total > len(theirs) {
		if e.Total != len(mine) {
			parts = append(parts, fmt.Sprintf("it has %s of %d", output.Count(e.Total, "record"), len(mine)))
		}
	} else if lacks := without(mine, theirs); len(lacks) > 0 {
		parts = append(parts, "it lacks "+list(slices.Sorted(slices.Values(lacks))))
	}
	return strings.Join(parts, "; ")
}

// tellsOfItself reports whether an answer is about the server that gives it, so that no two are alike: its serial, its name and its
// addresses.
func (s *server) tellsOfItself(fqdn string, qtype uint16) bool {
	name := dns.CanonicalName(fqdn)
	zone := s.stanza.ZoneOf(name)
	return name == "ns.dns."+zone || name == zone && (qtype == dns.TypeSOA || qtype == dns.TypeNS)
}

// dataOf returns what stands behind the name, the TTL, the class and the type of a record. The TTL may be set otherwise.
func dataOf(text string) string {
	fields := strings.Fields(text)
	return strings.Join(fields[min(4, len(fields)):], " ")
}

// without returns the words that are not in others.
func without(words, others []string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return slices.Contains(others, w) })
}
