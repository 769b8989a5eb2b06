package headless

import (
	"maps"
	"slices"
	"sync"
)

// instances is a set of plugins.
type instances struct {
	mu  sync.Mutex // guards set
	set map[*Headless]bool
}

func (s *instances) add(h *Headless) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set == nil {
		s.set = make(map[*Headless]bool)
	}
	s.set[h] = true
}

func (s *instances) remove(h *Headless) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.set, h)
}

// all returns the members.
func (s *instances) all() []*Headless {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.set))
}

var (
	// running holds the plugins whose source runs.
	running instances
	// unproven holds those of them that were started by a reload that has not succeeded yet. Caddy
	// drops a server whose start fails without telling it; it tells the old server.
	unproven instances
)

// reloading is called by Caddy on the running server before a reload: whatever was started so far is in use.
func reloading() error {
	for _, h := range unproven.all() {
		unproven.remove(h)
	}
	return nil
}

// reloadFailed is called by Caddy on the running server when a reload failed.
func reloadFailed() error {
	for _, h := range unproven.all() {
		h.stop()
	}
	return nil
}

// sharesSnapshot reports whether another plugin that runs has the same file for its snapshot.
func (h *Headless) sharesSnapshot() bool {
	return slices.ContainsFunc(running.all(), func(other *Headless) bool {
		return other.keeper != nil && other != h && other.keeper.Path() == h.keeper.Path()
	})
}
