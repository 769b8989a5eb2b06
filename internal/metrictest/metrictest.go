// Package metrictest reads the metrics of this process, for tests. Series are named by the values of their labels: sorted by the
// labels' names, with a space between them.
package metrictest

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Values returns the values of a counter by series.
func Values(t testing.TB, name string) map[string]float64 {
	t.Helper()
	values := make(map[string]float64)
	for labels, m := range series(t, name) {
		values[labels] = m.GetCounter().GetValue()
	}
	return values
}

// Value returns the value of a counter without labels, which has to be there.
func Value(t testing.TB, name string) float64 {
	t.Helper()
	value, ok := Values(t, name)[""]
	if !ok {
		t.Fatalf("there is no metric %s", name)
	}
	return value
}

// Observed is what one series of a histogram has observed.
type Observed struct {
	Count uint64
	Sum   float64
}

// Histogram returns what a histogram has observed by series.
func Histogram(t testing.TB, name string) map[string]Observed {
	t.Helper()
	got := make(map[string]Observed)
	for labels, m := range series(t, name) {
		got[labels] = Observed{m.GetHistogram().GetSampleCount(), m.GetHistogram().GetSampleSum()}
	}
	return got
}

// Since returns what after has more than before.
func Since(before, after map[string]Observed) map[string]Observed {
	more := make(map[string]Observed)
	for labels, a := range after {
		if b := before[labels]; a != b {
			more[labels] = Observed{a.Count - b.Count, a.Sum - b.Sum}
		}
	}
	return more
}

func series(t testing.TB, name string) map[string]*dto.Metric {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]*dto.Metric)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			found[strings.Join(values, " ")] = m
		}
	}
	return found
}
