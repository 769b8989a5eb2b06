// Package bubble runs tests in bubbles of package synctest, also under the race detector.
package bubble

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// Test runs f as synctest.Test does. Under the race detector the process has one processor until all bubbles have ended: on
// several, Go runs the timers of a bubble side by side with one state of the detector, which crashes (https://go.dev/issue/78156).
// Races are found all the same, for what counts is what happens before what.
func Test(t *testing.T, f func(*testing.T)) {
	t.Helper()
	if Race {
		running.enter()
		defer running.leave()
	}
	synctest.Test(t, f)
}

// running are the bubbles there are now.
var running count

type count struct {
	mu         sync.Mutex // guards the fields below
	n          int
	processors int // before the first of them began
}

func (c *count) enter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == 0 {
		c.processors = runtime.GOMAXPROCS(1)
	}
	c.n++
}

func (c *count) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 {
		runtime.GOMAXPROCS(c.processors)
	}
}
