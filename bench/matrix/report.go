package matrix

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// report is what a run found.
type report struct {
	verdicts []verdict
	tables   []table
}

// verdict is one measurement and its target. It is met when the median over all rounds is not above the target; the spread says
// how sure that is.
type verdict struct {
	row      string
	target   string  // in words
	limit    float64 // 0: there is no target
	measured spread
	unit     string
	bound    float64 // no noise explains more; 0: there is none
}

func (v verdict) met() bool { return v.measured.median <= v.limit }

// String returns "met" or "not met".
func (v verdict) String() string {
	switch {
	case v.limit == 0:
		return ""
	case v.met():
		return "met"
	}
	return "**not met**"
}

// judge adds a verdict.
func (r *report) judge(v verdict) { r.verdicts = append(r.verdicts, v) }

// check returns an error if a measurement is past what noise explains.
func (r *report) check() error {
	var failed []error
	for _, v := range r.verdicts {
		if v.bound > 0 && v.measured.median > v.bound {
			failed = append(failed, fmt.Errorf("%s: %v %s, want at most %g", v.row, v.measured, v.unit, v.bound))
		}
	}
	return errors.Join(failed...)
}

// atMost adds a verdict about the ratio of ours to theirs, round by round.
func (r *report) atMost(row string, limit float64, reference string, ours, theirs []float64) {
	r.judge(verdict{row, fmt.Sprintf("≤ %g × %s", limit, reference), limit, spreadOf(ratios(ours, theirs)), "×", 0})
}

// flat is how much more an answer for many endpoints may cost than one for a few and still be flat in their number.
const flat = 1.2

// flatBound is what it is never, however noisy the machine.
const flatBound = 2

// isFlat adds a verdict about the ratio of many to few.
func (r *report) isFlat(row, reference string, many, few []float64) {
	r.judge(verdict{row, fmt.Sprintf("flat: ≤ %g × %s", flat, reference), flat, spreadOf(ratios(many, few)), "×", flatBound})
}

// table is a table of measurements.
type table struct {
	title, note string
	columns     []string
	rows        [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write writes the table as Markdown that can be read as it is.
func (t *table) write(w io.Writer) error {
	widths := make([]int, len(t.columns))
	lines := append([][]string{t.columns}, t.rows...)
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n", t.title)
	if t.note != "" {
		fmt.Fprintf(&b, "%s\n\n", t.note)
	}
	for n, line := range lines {
		for i, cell := range line {
			pad := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if i == 0 {
				fmt.Fprintf(&b, "| %s%s |", cell, pad)
			} else {
				fmt.Fprintf(&b, " %s%s |", pad, cell)
			}
		}
		b.WriteString("\n")
		if n > 0 {
			continue
		}
		for i, width := range widths {
			if i == 0 {
				fmt.Fprintf(&b, "|%s|", strings.Repeat("-", width+2))
			} else {
				fmt.Fprintf(&b, "%s:|", strings.Repeat("-", width+1))
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// targets returns the table of all verdicts.
func (r *report) targets() table {
	t := table{
		title: "Targets",
		note: "A row is met when the median of all rounds is not above the target. In brackets: the quartiles. A ratio is taken\n" +
			"within each round, from measurements that are milliseconds apart.",
		columns: []string{"what", "target", "measured", "verdict"},
	}
	for _, v := range r.verdicts {
		t.add(v.row, v.target, v.measured.String()+" "+v.unit, v.String())
	}
	return t
}

// write writes everything.
func (r *report) write(w io.Writer, heading string) error {
	if _, err := io.WriteString(w, heading); err != nil {
		return err
	}
	for _, t := range append([]table{r.targets()}, r.tables...) {
		if len(t.rows) == 0 {
			continue
		}
		if err := t.write(w); err != nil {
			return err
		}
	}
	return nil
}
