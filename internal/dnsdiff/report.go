package dnsdiff

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/coredns-headless/headless/internal/output"
)

// report is what a campaign has found, as it is printed.
type report struct {
	Version     int       `json:"version"` // of this form
	Verdict     string    `json:"verdict"` // in a line
	Old         string    `json:"old"`
	New         string    `json:"new"`
	Zones       []string  `json:"zones"`
	Networks    []string  `json:"networks"`
	Seed        uint64    `json:"seed"`
	Started     time.Time `json:"started"`
	Seconds     float64   `json:"seconds"`
	Rounds      int       `json:"rounds"`      // in which all names were asked for
	Incomplete  string    `json:"incomplete"`  // why the campaign ended before its time; "" if it did not
	Questions   int       `json:"questions"`   // names and types, again in each round
	Queries     int64     `json:"queries"`     // to both servers
	Agreeing    int       `json:"agreeing"`    // questions without any difference
	Differences []group   `json:"differences"` // that no rule allows
	Deliberate  []group   `json:"deliberate"`  // by rule
	Transient   []group   `json:"transient"`   // that were gone when they were asked again
	Unconfirmed []group   `json:"unconfirmed"` // that were not asked again as often as they should, because of the end
}

// report returns what has been found so far.
func (c *campaign) report() *report {
	r := &report{
		Version: 1, Old: c.old.addr, New: c.new.addr, Networks: c.networks, Seed: c.seed,
		Started: c.started.Round(time.Second), Seconds: time.Since(c.started).Round(time.Millisecond).Seconds(), Rounds: c.rounds,
		Queries:     c.old.queries.Load() + c.new.queries.Load(),
		Differences: c.findings.list(different), Deliberate: c.findings.list(deliberate),
		Transient: c.findings.list(transient), Unconfirmed: c.findings.list(unconfirmed),
	}
	for _, zone := range c.zones {
		r.Zones = append(r.Zones, zone.name)
	}
	r.Questions, r.Agreeing = c.findings.questions, c.findings.agreeing
	if c.failed != nil {
		r.Incomplete = c.failed.Error()
	}
	r.Verdict = r.verdict()
	return r
}

// status returns what the process exits with.
func (r *report) status() int {
	switch {
	case len(r.Differences) > 0:
		return statusDifferent
	case r.Rounds == 0 || len(r.Unconfirmed) > 0:
		return statusNotCompared
	}
	return statusSame
}

// verdict returns in a line what there is to know.
func (r *report) verdict() string {
	switch n := sum(r.Differences); r.status() {
	case statusDifferent:
		if less := lost(r.Differences); less > 0 {
			return fmt.Sprintf("different: %s, of which %d take away what the old server answers", output.Count(n, "unexpected difference"), less)
		}
		return fmt.Sprintf("different: %s, none of which takes away what the old server answers", output.Count(n, "unexpected difference"))
	case statusNotCompared:
		if r.Rounds == 0 {
			return "not compared: not all names were asked for"
		}
		return fmt.Sprintf("not compared: %s not asked again", output.Count(sum(r.Unconfirmed), "difference"))
	}
	return fmt.Sprintf("no unexpected differences; %d deliberate, %d transient", sum(r.Deliberate), sum(r.Transient))
}

// sum returns how many differences are in groups.
func sum(groups []group) (n int) {
	for _, g := range groups {
		n += g.Count
	}
	return n
}

// print prints r as "text", "json" or "yaml".
func (r *report) print(w io.Writer, format string) error {
	if format != "text" {
		return output.Encode(w, format, r)
	}
	_, err := io.WriteString(w, output.Printable(r.text()))
	return err
}

// text returns r for people.
func (r *report) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "old %s, new %s, %s over %s, seed %d\n", r.Old, r.New, strings.Join(r.Zones, " "), strings.Join(r.Networks, " and "), r.Seed)
	fmt.Fprintf(&b, "%s in %s, %d queries in %v; %d without any difference\n", output.Count(r.Questions, "question"), output.Count(r.Rounds, "whole round"),
		r.Queries, time.Duration(r.Seconds*float64(time.Second)).Round(time.Second), r.Agreeing)
	if r.Incomplete != "" {
		fmt.Fprintf(&b, "NOT COMPLETE: %s\n", r.Incomplete)
	}
	for _, part := range []struct {
		title  string
		groups []group
	}{
		{"UNEXPECTED DIFFERENCES", r.Differences},
		{"Differences that were not asked again as often as -again says", r.Unconfirmed},
		{"Transient differences, gone when asked again", r.Transient},
		{"Deliberate differences of headless from kubernetes", r.Deliberate},
	} {
		if len(part.groups) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s\n", part.title)
		for _, g := range part.groups {
			g.write(&b)
		}
	}
	fmt.Fprintf(&b, "\nverdict: %s\n", r.verdict())
	return b.String()
}

// write writes g for people.
func (g *group) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n%6d  %s", g.Count, g.Cause)
	if g.Why != "" {
		fmt.Fprintf(b, ": %s", g.Why)
	}
	if g.Names != "" {
		fmt.Fprintf(b, " [%s]", g.Names)
	}
	b.WriteByte('\n')
	for _, c := range g.Causes {
		fmt.Fprintf(b, "        - %s\n", c)
	}
	for _, e := range g.Examples {
		fmt.Fprintf(b, "        %s %s over %s\n", e.Name, e.Type, strings.Join(e.Networks, " and "))
		if len(e.Records) > 0 {
			fmt.Fprintf(b, "          about: %s\n", strings.Join(e.Records, ", "))
		}
		fmt.Fprintf(b, "          old: %s\n          new: %s\n", e.Old, e.New)
	}
}
