package matrix

import (
	"cmp"
	"fmt"
	"slices"
)

// spread is the middle of some measurements, and the quartiles on its sides.
type spread struct{ low, median, high float64 }

// spreadOf returns the spread of measurements, of which there is at least one.
func spreadOf(values []float64) spread {
	sorted := slices.Sorted(slices.Values(values))
	at := func(part float64) float64 { // between two neighbours
		i := part * float64(len(sorted)-1)
		below := int(i)
		above := min(below+1, len(sorted)-1)
		return sorted[below] + (i-float64(below))*(sorted[above]-sorted[below])
	}
	return spread{at(0.25), at(0.5), at(0.75)}
}

// String returns the spread as "median (low–high)".
func (s spread) String() string {
	return fmt.Sprintf("%s (%s–%s)", short(s.median), short(s.low), short(s.high))
}

// short returns a number with three digits that count.
func short(f float64) string {
	switch {
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	default:
		return fmt.Sprintf("%.2f", f)
	}
}

// ratios returns ours divided by theirs, round by round.
func ratios(ours, theirs []float64) []float64 {
	r := make([]float64, min(len(ours), len(theirs)))
	for i := range r {
		r[i] = ours[i] / theirs[i]
	}
	return r
}

// percentile returns the value of values below which a part of them is.
func percentile[T cmp.Ordered](values []T, part float64) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(part*float64(len(sorted))))]
}
