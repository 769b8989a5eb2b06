// Package fatal ends tests that cannot go on.
package fatal

import "testing"

// If ends the test at the caller's line when err is not nil.
func If(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
