package insight

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
)

const (
	// pace is how often a stream says what has changed, at most.
	pace = 200 * time.Millisecond
	// maxStreams is how many there may be.
	maxStreams = 32
	// maxEvents is how many a client may leave unread, besides what its connection holds.
	maxEvents = 16
	// maxChanges is how many Services one event has at most. If more have changed it says reload.
	maxChanges = 500
	// heartbeat is how often something is sent, so that a connection that is gone is noticed.
	heartbeat = 15 * time.Second
)

// streams are the clients who are told what changes.
type streams struct {
	mu    sync.Mutex // guards the fields below
	all   map[*stream]bool
	watch *index.Watch // nil without a stream
}

// stream is one of them.
type stream struct {
	of     model.Key   // the Service, or the zero value for all
	events chan []byte // closed when the client is too slow
}

// add returns a new stream, or nil if there are too many.
func (s *streams) add(x *index.Index, of model.Key) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) == maxStreams {
		return nil
	}
	if s.watch == nil {
		s.all, s.watch = make(map[*stream]bool), x.Watch()
	}
	added := &stream{of: of, events: make(chan []byte, maxEvents)}
	s.all[added] = true
	return added
}

func (s *streams) remove(gone *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(gone)
}

// drop removes a stream. The caller has the lock.
func (s *streams) drop(gone *stream) {
	delete(s.all, gone)
	if len(s.all) == 0 && s.watch != nil {
		s.watch.Close()
		s.watch = nil
	}
}

// send tells the streams what has changed since it was called last. It does not wait for anybody: who leaves too much
// unread is dropped.
func (s *streams) send(x *index.Index) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watch == nil {
		return
	}
	keys, many := s.watch.Changed()
	if len(keys) == 0 && !many {
		return
	}
	lines := make(map[model.Key]ServiceLine)
	event := []byte("event: reload\ndata: {}\n\n")
	if many = many || len(keys) > maxChanges; !many {
		changed := &Changes{Version: Version, Services: []ServiceLine{}}
		for _, key := range keys {
			lines[key] = lineOf(x, key)
			changed.Services = append(changed.Services, lines[key])
		}
		event = eventOf(changed)
	}
	for stream := range s.all {
		said := event
		if line, ok := lines[stream.of]; ok {
			said = eventOf(&Changes{Version: Version, Services: []ServiceLine{line}})
		} else if stream.of != (model.Key{}) && !many {
			continue
		}
		select {
		case stream.events <- said:
		default:
			s.drop(stream)
			close(stream.events)
		}
	}
}

// eventOf returns changes as an event.
func eventOf(changed *Changes) []byte {
	text, _ := json.Marshal(changed) // it has nothing that cannot be written
	return fmt.Appendf(nil, "event: services\ndata: %s\n\n", text)
}

// changes streams what changes, of one Service or all, as server-sent events.
func (s *Server) changes(w http.ResponseWriter, r *http.Request) {
	q, err := parameters(r, streamParameters)
	if err != nil {
		fail(w, err)
		return
	}
	of := model.Key{Namespace: q.Get("namespace"), Name: q.Get("name")}
	if (of.Namespace == "") != (of.Name == "") {
		fail(w, refusal(http.StatusBadRequest, "expected a namespace and a name, or neither for all Services"))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return
	}
	added := s.streams.add(s.Index, of)
	if added == nil {
		w.Header().Set("Retry-After", "10")
		fail(w, refusal(http.StatusServiceUnavailable, "there are as many streams as may be, no more are served"))
		return
	}
	defer s.streams.remove(added)
	to := http.NewResponseController(w)
	say := func(event []byte) bool {
		_ = to.SetWriteDeadline(time.Now().Add(writeTime)) // the server's connections have them
		_, err := w.Write(event)
		return err == nil && to.Flush() == nil
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for ok := say([]byte("retry: 1000\n\n")); ok; {
		select {
		case event, isOpen := <-added.events:
			ok = isOpen && say(event)
		case <-beat.C:
			ok = say([]byte(": still here\n\n"))
		case <-r.Context().Done():
			return
		}
	}
}
