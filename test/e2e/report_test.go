package e2e

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// finding is a row of the report: what a scenario found out about a server.
type finding struct {
	scenario string
	server   string
	checks   int // answers that were judged
	// wrong counts those that denied what exists: a name, or an address of it.
	wrong     int
	staleness []time.Duration // from each change of the cluster to the answers that follow from it, in any order
	cpu       time.Duration   // that the server used; 0: not measured
	note      string
}

var (
	findingsMu sync.Mutex // guards findings
	findings   []finding
)

// report adds a row to the table that is printed after all tests.
func report(f finding) {
	findingsMu.Lock()
	defer findingsMu.Unlock()
	findings = append(findings, f)
}

// printReport prints the rows in the order in which they were reported.
func printReport(w io.Writer) error {
	findingsMu.Lock()
	defer findingsMu.Unlock()
	if len(findings) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	columns := []string{
		"scenario", "server", "checks", "wrong denials", "staleness p50", "p99", "max", "CPU", "note",
	}
	rows := [][]string{columns}
	for _, f := range findings {
		cpu := "-"
		if f.cpu > 0 {
			cpu = fmt.Sprintf("%.2f s", f.cpu.Seconds())
		}
		rows = append(rows, []string{
			f.scenario, f.server, fmt.Sprint(f.checks), fmt.Sprint(f.wrong),
			percentile(f.staleness, 0.5), percentile(f.staleness, 0.99), percentile(f.staleness, 1), cpu, f.note,
		})
	}
	for _, row := range rows {
		if _, err := fmt.Fprintln(t, strings.TrimRight(strings.Join(row, "\t"), "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}

// percentile returns the shortest of the durations that at least the share p of them do not exceed, for people.
func percentile(durations []time.Duration, p float64) string {
	if len(durations) == 0 {
		return "-"
	}
	sorted := slices.Sorted(slices.Values(durations))
	d := sorted[max(0, int(math.Ceil(p*float64(len(sorted))))-1)]
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
