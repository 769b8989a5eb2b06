package kubetest

import (
	"testing"
	"time"
)

// Patience is how long a test waits for what has to happen, on a busy machine as well. Reflectors
// wait up to two seconds before they list again.
const Patience = time.Minute

// Eventually waits until ok, and fails the test when that takes too long.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(Patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", Patience, what)
		}
	}
}
