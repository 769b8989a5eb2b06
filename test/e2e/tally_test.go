package e2e

import (
	"strings"
	"testing"
)

// tally counts the checks of a test for the report.
type tally struct {
	t *testing.T
	finding
}

// newTally returns one that is reported when the test ends. Its scenario is the name of the test, as far as that fits into a table.
func newTally(t *testing.T, server string) *tally {
	const fits = 64
	_, scenario, _ := strings.Cut(strings.ReplaceAll(t.Name(), "_", " "), "/")
	if len(scenario) > fits {
		scenario = scenario[:fits-3] + "..."
	}
	y := &tally{t, finding{scenario: scenario, server: server}}
	t.Cleanup(func() {
		if t.Failed() {
			y.wrong = max(1, y.wrong) // it may have ended before a check
		}
		report(y.finding)
	})
	return y
}

// check counts a check. The test fails if err is not nil.
func (y *tally) check(err error) {
	y.t.Helper()
	if y.checks++; err != nil {
		y.wrong++
		y.t.Error(err)
	}
}

// skip skips the test, and says so in the report.
func (y *tally) skip(why string) {
	y.t.Helper()
	y.note = "SKIPPED: " + why
	y.t.Skip(why)
}
