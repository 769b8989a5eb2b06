// Package stacks lets goroutines start with a stack that is large enough for a query.
//
// CoreDNS's server starts a goroutine for each query over UDP. In a chain of plugins it needs between 4
// and 8 KiB of stack, and Go starts it with 2: to copy the stack to a larger one, twice, takes a third of
// the time of a small query. But Go starts goroutines with the average of what its last collection has
// seen in use. So some goroutines are parked that do nothing and have a large frame on their stacks, most
// of which is never touched and so takes no memory.
package stacks

import (
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// wanted is the stack that a goroutine shall start with, in octets.
	wanted = 8 << 10
	// frame is how much of its stack a parked goroutine uses: that of 64 KiB with room for who calls whom.
	frame = 60 << 10
	// lift is what the parked goroutines add to the average: Go takes the next power of two of the average
	// and a little, and with less in use than lift by all others that is wanted.
	lift = 7 << 9
	// most is how many goroutines are parked at most. They are enough for 4,000 others.
	most = 256
	// interval is how often Go is asked whether there are enough.
	interval = time.Second
)

// current is what this process has parked, for stacks are those of a process.
var current struct {
	mu    sync.Mutex // guards the fields below
	users int        // who want it
	lot   *lot       // nil without users
}

// Raise has goroutines start with a larger stack, after the next collection of Go, until lower and those
// of all others have been called. The last one returns when no goroutine is left.
func Raise() (lower func()) {
	current.mu.Lock()
	defer current.mu.Unlock()
	if current.users++; current.users == 1 {
		current.lot = newLot()
	}
	return sync.OnceFunc(func() {
		current.mu.Lock()
		defer current.mu.Unlock()
		if current.users--; current.users == 0 {
			current.lot.close()
			current.lot = nil
		}
	})
}

// Parked returns how many goroutines are parked.
func Parked() int {
	current.mu.Lock()
	defer current.mu.Unlock()
	if current.lot == nil {
		return 0
	}
	return int(current.lot.count.Load())
}

// lot is where goroutines are parked.
type lot struct {
	parked []chan struct{} // each closed when one may leave; watch's own
	count  atomic.Int64    // of parked
	ended  sync.WaitGroup  // for all goroutines that were started
	done   chan struct{}   // closed when all may leave
}

func newLot() *lot {
	l := &lot{done: make(chan struct{})}
	l.adjust(enough(0, 0, runtime.NumGoroutine()))
	l.ended.Go(l.watch)
	return l
}

// close returns when all goroutines have ended.
func (l *lot) close() {
	close(l.done)
	l.ended.Wait()
}

// watch adjusts the number after collections, until all may leave.
func (l *lot) watch() {
	defer l.adjust(0)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	last, _ := collected()
	for {
		select {
		case <-l.done:
			return
		case <-tick.C:
		}
		cycle, size := collected()
		if cycle != last { // otherwise the size is not yet that of what is parked
			last = cycle
			l.adjust(enough(len(l.parked), size, runtime.NumGoroutine()))
		}
	}
}

// collected returns which collection was the last one, and with which stack goroutines have started since.
func collected() (cycle, size uint64) {
	samples := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/gc/stack/starting-size:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64(), samples[1].Value.Uint64()
}

// enough returns how many goroutines are to be parked when some are, and others start with stacks of
// size octets. goroutines are how many there are in all.
func enough(parked int, size uint64, goroutines int) int {
	needed := (goroutines - parked) * lift / (frame - lift) // when the others use nothing
	switch {
	case size < wanted:
		return min(max(parked+1, needed), most)
	case size > wanted: // connections have gone, or the others use a lot
		return min(parked-(parked+3)/4, needed)
	}
	return parked
}

// adjust parks goroutines, or lets some leave, until there are n.
func (l *lot) adjust(n int) {
	for len(l.parked) < n {
		leave := make(chan struct{})
		l.parked = append(l.parked, leave)
		l.ended.Go(func() { park(leave, false) })
	}
	for _, leave := range l.parked[n:] {
		close(leave)
	}
	l.parked = l.parked[:n]
	l.count.Store(int64(n))
}

// room is what fills a frame.
type room [frame]byte

// nothing is a room that is passed to nobody.
var nothing room

// park returns when leave is closed. Its frame has the room for an argument of touch, which nobody asks
// it to call: so the memory of that is not touched.
//
//go:noinline
func park(leave <-chan struct{}, touched bool) {
	if touched {
		touch(nothing)
	}
	<-leave
}

//go:noinline
func touch(r room) { nothing[0] = r[frame-1] }
