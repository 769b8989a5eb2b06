package matrix

import (
	"slices"
	"testing"

	"github.com/coredns-headless/headless/bench/load"
)

// TestTablesSayWhatIsTruncated: and what was not asked of a server, and how a build compares with another in each chain.
func TestTablesSayWhatIsTruncated(t *testing.T) {
	rounds := func(truncated int, cpu ...float64) (all []round) {
		for _, c := range cpu {
			all = append(all, round{c, load.Result{Replies: 10, Truncated: truncated}})
		}
		return all
	}
	m := measurements{
		"small": {headless: rounds(0, 10, 20, 30), "before": rounds(0, 20, 40, 60), headless + inBlocks: rounds(0, 5), "before" + inBlocks: rounds(0, 5)},
		"large": {headless: rounds(10, 10, 20, 30), wire: rounds(0, 8)},
	}
	r := &report{}
	cells := []cell{{name: "small"}, {name: "large"}}
	r.tabulate("Queries", "", []string{headless, wire}, cells, m)
	r.against("before", cells, m)
	for i, want := range map[int][][]string{
		0: {{"small", "20.0", "–"}, {"large", "20.0 TC", "8.00"}},
		2: {{"small", "0.50 (0.50–0.50)", "1.00 (1.00–1.00)"}, {"large", "–", "–"}},
	} {
		if got := r.tables[i].rows; !slices.EqualFunc(got, want, slices.Equal[[]string]) {
			t.Errorf("%s: got %q, want %q", r.tables[i].title, got, want)
		}
	}
}

// TestVerdictsNeedTheirReference: a server that is not installed is held against nothing.
func TestVerdictsNeedTheirReference(t *testing.T) {
	m := measurements{"row": {headless: {{cpu: 10}}, wire: {{cpu: 8}}}}
	r := &report{}
	r.judgeCells([]cell{{name: "row", targets: []target{{limit: 1.3, reference: wire}, {limit: 1.5, reference: "nsd"}}}}, m)
	if len(r.verdicts) != 1 || !r.verdicts[0].met() {
		t.Errorf("got %+v, want one that is met", r.verdicts)
	}
}
