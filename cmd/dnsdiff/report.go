package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// report is what a campaign has found, as it is printed.
type report struct {
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
		Old: c.old.addr, New: c.new.addr, Networks: c.networks, Seed: c.seed,
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

// print prints r as "text" or "json".
func (r *report) print(w io.Writer, format string) error {
	if format == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(r)
	}
	_, err := io.WriteString(w, r.text())
	return err
}

// text returns r for people.
func (r *report) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "old %s, new %s, %s over %s, seed %d\n", r.Old, r.New, strings.Join(r.Zones, " "), strings.Join(r.Networks, " and "), r.Seed)
	fmt.Fprintf(&b, "%s in %s, %d queries in %v; %d without any difference\n", plural(r.Questions, "question"), plural(r.Rounds, "whole round"),
		r.Queries, time.Duration(r.Seconds*float64(time.Second)).Round(time.Second), r.Agreeing)
	if r.Incomplete != "" {
		fmt.Fprintf(&b, "NOT COMPLETE: %s\n", r.Incomplete)
	}
	for _, part := range []struct {
		title  string
		groups []group
	}{
		{"Deliberate differences of headless from kubernetes", r.Deliberate},
		{"Transient differences, gone when asked again", r.Transient},
		{"Differences that were not asked again as often as -again says", r.Unconfirmed},
		{"UNEXPECTED DIFFERENCES", r.Differences},
	} {
		if len(part.groups) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s\n", part.title)
		for _, g := range part.groups {
			g.write(&b)
		}
	}
	if r.status() == statusSame {
		b.WriteString("\nno unexpected differences\n")
	}
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
	for _, e := range g.Examples {
		fmt.Fprintf(b, "        %s %s over %s\n", e.Name, e.Type, strings.Join(e.Networks, " and "))
		if len(e.Records) > 0 {
			fmt.Fprintf(b, "          about: %s\n", strings.Join(e.Records, ", "))
		}
		fmt.Fprintf(b, "          old: %s\n          new: %s\n", e.Old, e.New)
	}
}
