package matrix

import (
	"slices"
	"strings"
	"testing"
)

func TestSpreadIsTheMedianAndTheQuartiles(t *testing.T) {
	for _, row := range []struct {
		values []float64
		want   spread
	}{
		{[]float64{7}, spread{7, 7, 7}},
		{[]float64{5, 1, 3, 2, 4}, spread{2, 3, 4}},
		{[]float64{2, 1}, spread{1.25, 1.5, 1.75}},
	} {
		if got := spreadOf(row.values); got != row.want {
			t.Errorf("%v: got %v, want %v", row.values, got, row.want)
		}
	}
}

func TestRatiosAreTakenWithinARound(t *testing.T) {
	if got, want := ratios([]float64{1, 9}, []float64{2, 3}), []float64{0.5, 3}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPercentile(t *testing.T) {
	values := []int{40, 10, 30, 20}
	for part, want := range map[float64]int{0: 10, 0.5: 30, 0.74: 30, 0.99: 40, 1: 40} {
		if got := percentile(values, part); got != want {
			t.Errorf("%v: got %d, want %d", part, got, want)
		}
	}
}

func TestVerdict(t *testing.T) {
	for name, row := range map[string]struct {
		ours, theirs []float64
		limit        float64
		want         string
	}{
		"the median is below the target":           {[]float64{1, 1, 9}, []float64{1, 1, 1}, 1.2, "met"},
		"the median is the target":                 {[]float64{3}, []float64{2}, 1.5, "met"},
		"the median is above the target":           {[]float64{1, 2, 2}, []float64{1, 1, 1}, 1.2, "**not met**"},
		"a good mean does not help":                {[]float64{0, 13, 13}, []float64{10, 10, 10}, 1.2, "**not met**"},
		"another server's slow round is not a win": {[]float64{13, 13, 13}, []float64{10, 10, 100}, 1.2, "**not met**"},
	} {
		var r report
		r.atMost("row", row.limit, "theirs", row.ours, row.theirs)
		if got := r.verdicts[0].String(); got != row.want {
			t.Errorf("%s: got %q, want %q", name, got, row.want)
		}
	}
	if got := (verdict{measured: spread{1, 1, 1}}).String(); got != "" {
		t.Errorf("without a target: got %q", got)
	}
}

func TestCheckFailsPastTheBound(t *testing.T) {
	var r report
	r.atMost("slow", 1, "theirs", []float64{9}, []float64{1})
	r.isFlat("flat enough", "few", []float64{flatBound}, []float64{1})
	if err := r.check(); err != nil {
		t.Errorf("got %v, want no error", err)
	}
	r.isFlat("steep", "few", []float64{flatBound + 0.1}, []float64{1})
	if err := r.check(); err == nil || !strings.Contains(err.Error(), "steep: 2.10") {
		t.Errorf("got %v, want steep", err)
	}
}

func TestReportIsATable(t *testing.T) {
	var r report
	r.atMost("a row", 0.55, "stock", []float64{1}, []float64{2})
	r.isFlat("many", "few", []float64{3}, []float64{2})
	var b strings.Builder
	if err := r.write(&b, "# Heading\n\n"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# Heading\n\n## Targets\n",
		"| what  |            target |           measured |     verdict |\n|-------|------------------:|",
		"| a row |    ≤ 0.55 × stock | 0.50 (0.50–0.50) × |         met |\n",
		"| many  | flat: ≤ 1.2 × few | 1.50 (1.50–1.50) × | **not met** |\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("there is no %q in\n%s", want, b.String())
		}
	}
}
