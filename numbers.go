package headless

import "sync"

// numbers are the serials that a server has given of its zones: of each the last one. The plugin that a reload
// makes gives them beside the one before, which goes on until the reload has succeeded, and goes on
// from there: one serial is one content, whoever gave it.
type numbers struct {
	mu   sync.Mutex        // guards last
	last map[string]uint32 // by zone
}

// servers holds the numbers of each server, by what it listens on.
var servers sync.Map

// numbersOf returns the numbers of a server.
func numbersOf(server string) *numbers {
	n, _ := servers.LoadOrStore(server, new(numbers))
	return n.(*numbers) //nolint:forcetypeassert // nothing else is stored
}

// areGiven reports whether there have been any.
func (n *numbers) areGiven() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.last) > 0
}

// next returns the serial that some zones have from now on: least, or the first one after all that they had (RFC 1982).
func (n *numbers) next(zones []string, least uint32) uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, zone := range zones {
		if last, ok := n.last[zone]; ok && int32(last-least) >= 0 { //nolint:gosec // RFC 1982
			least = last + 1
		}
	}
	if n.last == nil {
		n.last = make(map[string]uint32)
	}
	for _, zone := range zones {
		n.last[zone] = least
	}
	return least
}
