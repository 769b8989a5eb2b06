package index

import (
	"sync"
	"sync/atomic"
	"time"
)

// serial is the SOA serial of some zones. It grows in steps, one a second at most, whatever happens in
// between: so it stays near the Unix time, and a process that starts anew does not fall behind the one
// before (behaviour section 6). One serial is one content, of all that is frozen.
type serial struct {
	number  atomic.Uint32
	changed atomic.Bool // the content, since the last step
	isGiven bool        // it is that of another index; set before anybody else has the index

	mu      sync.Mutex // guards the fields below
	stepped time.Time
	given   bool // something frozen has the number, and the content of then
}

// pace is the time between two steps.
const pace = time.Second

// touch notes a change of the content.
func (s *serial) touch(now time.Time) {
	if s.isGiven {
		return
	}
	s.changed.Store(true)
	s.step(now)
}

// current returns the serial, after a step if one is due.
func (s *serial) current(now func() time.Time) uint32 {
	if s.changed.Load() {
		s.step(now())
	}
	return s.number.Load()
}

// give makes the serial that of another index, which does not grow by itself.
func (s *serial) give(number uint32) {
	s.isGiven = true
	s.changed.Store(false)
	s.number.Store(number)
}

// freeze returns the serial of the content as it is, which does not change meanwhile. A serial that
// something else has been frozen with, and that stood for less then, is not given again.
func (s *serial) freeze(now time.Time) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(now, s.given)
	s.given = true
	s.changed.Store(false)
	return s.number.Load()
}

// step is advance for callers that do not have the lock, for a step that is due.
func (s *serial) step(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(now, false)
}

// advance raises the serial to the Unix time, or by one if that is not later (RFC 1982 order), if there is
// a change, and a second has passed since the last step or that does not matter. The caller has the lock.
func (s *serial) advance(now time.Time, atOnce bool) {
	passed := now.Sub(s.stepped)
	if !s.changed.Load() || !atOnce && 0 <= passed && passed < pace { // a clock may be set back
		return
	}
	next := s.number.Load() + 1
	if unix := uint32(now.Unix()); int32(unix-next) > 0 { //nolint:gosec // serial arithmetic wraps around
		next = unix
	}
	s.number.Store(next)
	s.changed.Store(false)
	s.stepped, s.given = now, false
}

// follow makes the serial one that comes after another's.
func (s *serial) follow(number uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int32(number-s.number.Load()) >= 0 { //nolint:gosec // RFC 1982
		s.number.Store(number + 1)
	}
}
