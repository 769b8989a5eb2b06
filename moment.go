package headless

import (
	"sync"
	"time"

	"github.com/coredns-headless/headless/internal/index"
)

// moment is what a plugin answers at one moment: a plugin whose indexes do not change any more. As
// long as the serials stay, transfers share one.
type moment struct {
	*Headless
	frozen, imports index.Frozen // imports is the zero value without multicluster zones
	users           int          // transfers that read it
}

// of returns the index that answers for a.
func (m *moment) of(a *authority) index.Frozen {
	if m.indexOf(a) == m.Headless.imports {
		return m.imports
	}
	return m.frozen
}

// moments are the moments that transfers read. A moment takes about as much memory as the index: so
// there are few, however many transfers there are and however slowly their clients read.
type moments struct {
	mu     sync.Mutex // guards the fields below
	latest *moment    // the last one that was taken, for a while; or nil
	kept   int        // moments that somebody reads, and the latest
}

const (
	maxMoments = 3
	// momentTime is how long the latest moment is kept when nobody reads it: a serial stands for it as long.
	momentTime = time.Second
)

// take returns what h answers now, for one transfer, which counts in tally. ok is false when there are
// too many moments. Give has to be called once it is over.
func (s *moments) take(h *Headless, tally *tally) (m *moment, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latest == nil || !s.latest.isNow(h) {
		if s.kept == maxMoments && (s.latest == nil || s.latest.users > 0) {
			return nil, false
		}
		s.forgetLatest()
		s.latest = newMoment(h)
		s.latest.tally = tally
		s.kept++
	}
	s.latest.users++
	return s.latest, true
}

// give notes that a transfer of m is over.
func (s *moments) give(m *moment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.users--; m.users > 0 {
		return
	}
	if m != s.latest {
		s.kept--
		return
	}
	time.AfterFunc(momentTime, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if m == s.latest && m.users == 0 {
			s.forgetLatest()
		}
	})
}

// forgetLatest lets the latest moment go as soon as nobody reads it. The caller has the lock.
func (s *moments) forgetLatest() {
	if s.latest != nil && s.latest.users == 0 {
		s.kept--
	}
	s.latest = nil
}

// newMoment returns what h answers now.
func newMoment(h *Headless) *moment {
	still := *h
	m := &moment{Headless: &still, frozen: h.index.Freeze()}
	still.index = m.frozen.Index
	if h.imports != nil {
		m.imports = h.imports.Freeze()
		still.imports = m.imports.Index
	}
	return m
}

// isNow reports whether the serials of h are still those of m.
func (m *moment) isNow(h *Headless) bool {
	return m.frozen.Serial() == h.index.Serial() &&
		(h.imports == nil || m.imports.Serial() == h.imports.Serial())
}
