package e2e

import (
	"strings"
	"testing"
)

// score counts the checks of a test for the report.
type score struct {
	t *testing.T
	finding
}

// newScore returns one that is reported when the test ends. Its scenario is the name of the test, as far as that fits into a table.
func newScore(t *testing.T, server string) *score {
	const fits = 64
	_, scenario, _ := strings.Cut(strings.ReplaceAll(t.Name(), "_", " "), "/")
	if len(scenario) > fits {
		scenario = scenario[:fits-3] + "..."
	}
	y := &score{t, finding{scenario: scenario, server: server}}
	t.Cleanup(func() {
		if t.Failed() {
			y.wrong = max(1, y.wrong) // it may have ended before a check
		}
		report(y.finding)
	})
	return y
}

// check counts a check. The test fails if err is not nil.
func (y *score) check(err error) {
	y.t.Helper()
	if y.checks++; err != nil {
		y.wrong++
		y.t.Error(err)
	}
}

// skip skips the test, and says so in the report.
func (y *score) skip(why string) {
	y.t.Helper()
	y.note = "SKIPPED: " + why
	y.t.Skip(why)
}
