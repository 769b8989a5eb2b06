// Package apiserver is an API server with a synthetic cluster: lists, watches and streamed lists of Namespaces, Services and
// EndpointSlices, in protobuf and JSON, over plain HTTP. Control requests change the cluster. There are no selectors, no
// other requests and no access control.
package apiserver

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coredns-headless/headless/bench/cluster"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
)

// Server is an http.Handler. It is safe for concurrent use.
type Server struct {
	mux     *http.ServeMux
	cluster cluster.Cluster

	mu        sync.Mutex // guards the fields below
	flushed   *sync.Cond // a watch has sent all it was told; uses mu
	refuses   bool       // streamed lists
	version   int        // of the newest change
	compacted int        // the version up to which changes are forgotten
	objects   map[string]map[key][]byte
	history   []change
	watches   map[*watch]bool
	synced    map[string]int // how many watches there were, by resource
	churn     *churn         // nil: none runs
}

// slicesResource is the resource that control requests change.
const slicesResource = "endpointslices"

type key struct{ namespace, name string }

func (k key) String() string { return k.namespace + "/" + k.name }

// change is a change of one object.
type change struct {
	resource  string
	version   int
	eventType apiwatch.EventType
	message   []byte // of the object; when it was deleted, of its last state
}

// remembered is how many changes can be watched from an older version.
const remembered = 1000

// New returns a server with a cluster. With a streamless one, streamed lists are refused, as by a server without WatchList.
func New(c cluster.Cluster, streamless bool) *Server {
	s := &Server{
		mux:     http.NewServeMux(),
		cluster: c,
		refuses: streamless,
		version: 1000,
		objects: make(map[string]map[key][]byte),
		watches: make(map[*watch]bool),
		synced:  make(map[string]int),
	}
	s.flushed = sync.NewCond(&s.mu)
	for resource, r := range resources {
		s.objects[resource] = make(map[key][]byte)
		s.mux.HandleFunc("GET "+r.path, func(w http.ResponseWriter, r *http.Request) { s.get(resource, w, r) })
	}
	s.control()
	namespaces := map[string]bool{metav1.NamespaceDefault: true, metav1.NamespaceSystem: true}
	for _, svc := range c.Services() {
		namespaces[svc.Namespace] = true
		s.set("services", svc.Object())
		for _, slice := range svc.Slices(svc.Endpoints) {
			s.set(slicesResource, slice)
		}
	}
	for name := range namespaces {
		s.set("namespaces", cluster.NamespaceObject(name))
	}
	s.history, s.compacted = nil, s.version
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// set adds obj or replaces it, tells the watches and returns the version of the change.
func (s *Server) set(resource string, obj object) int {
	k := key{obj.GetNamespace(), obj.GetName()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	eventType := apiwatch.Added
	if s.objects[resource][k] != nil {
		eventType = apiwatch.Modified
	}
	obj.SetResourceVersion(strconv.Itoa(s.version))
	message := encode(obj)
	s.objects[resource][k] = message
	s.tell(change{resource, s.version, eventType, message})
	return s.version
}

// drop deletes an object, if there is one, and tells the watches.
func (s *Server) drop(resource string, k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	message := s.objects[resource][k]
	if message == nil {
		return
	}
	delete(s.objects[resource], k)
	s.version++
	last := decode(resource, message)
	last.SetResourceVersion(strconv.Itoa(s.version))
	s.tell(change{resource, s.version, apiwatch.Deleted, encode(last)})
}

// lookup returns an object of its own for the caller, nil if there is none.
func (s *Server) lookup(resource string, k key) object {
	s.mu.Lock()
	message := s.objects[resource][k]
	s.mu.Unlock()
	if message == nil {
		return nil
	}
	return decode(resource, message)
}

// tell puts a change on the watches and keeps it. s.mu is held.
func (s *Server) tell(c change) {
	s.history = append(s.history, c)
	if len(s.history) > 2*remembered {
		s.history = slices.Clone(s.history[remembered:])
		s.compacted = s.history[0].version - 1
	}
	frames := make(map[string][]byte) // by media type: watches of one encoding get the same bytes
	for w := range s.watches {
		if w.resource != c.resource {
			continue
		}
		if frames[w.codec.MediaType] == nil {
			frames[w.codec.MediaType] = w.codec.event(c.eventType, w.codec.object(c.resource, c.message))
		}
		w.frames = append(w.frames, frames[w.codec.MediaType])
		w.told = c.version
		w.wakeUp()
	}
}

// get answers a list or a watch.
func (s *Server) get(resource string, w http.ResponseWriter, r *http.Request) {
	var options metav1.ListOptions
	err := scheme.ParameterCodec.DecodeParameters(r.URL.Query(), corev1.SchemeGroupVersion, &options)
	if err != nil || options.LabelSelector != "" || options.FieldSelector != "" {
		http.Error(w, fmt.Sprintf("no selectors here: %v", err), http.StatusBadRequest)
		return
	}
	c := negotiate(r.Header.Get("Accept"))
	if !options.Watch {
		w.Header().Set("Content-Type", c.MediaType)
		_, _ = w.Write(s.list(resource, c)) // the client is gone; there is nobody to tell
		return
	}
	streamed := options.SendInitialEvents != nil && *options.SendInitialEvents
	s.mu.Lock()
	refused := streamed && s.refuses
	s.mu.Unlock()
	if refused {
		http.Error(w, "sendInitialEvents is forbidden", http.StatusUnprocessableEntity)
		return
	}
	from, err := strconv.Atoi(options.ResourceVersion)
	if err != nil && !streamed {
		http.Error(w, "a watch begins at a resource version", http.StatusBadRequest)
		return
	}
	s.watch(resource, c, from, streamed).run(s, w, r)
}

// list returns the list of a resource.
func (s *Server) list(resource string, c codec) []byte {
	s.mu.Lock()
	messages, version := s.sorted(resource), s.version
	s.mu.Unlock()
	return c.list(resource, strconv.Itoa(version), messages)
}

// sorted returns the objects of a resource in the order of their names. s.mu is held.
func (s *Server) sorted(resource string) [][]byte {
	byName := func(a, b key) int { return strings.Compare(a.String(), b.String()) }
	var messages [][]byte
	for _, k := range slices.SortedFunc(maps.Keys(s.objects[resource]), byName) {
		messages = append(messages, s.objects[resource][k])
	}
	return messages
}

// watch is a running watch.
type watch struct {
	resource string
	codec    codec
	wake     chan struct{} // holds a token when there is something new below

	// guarded by Server.mu
	initial [][]byte // objects still to be sent, before the frames
	initEnd []byte   // the bookmark behind them
	frames  [][]byte // still to be sent
	ended   bool
	told    int    // version of the last frame
	sent    []sent // what was sent last, oldest first; at most remembered
}

// sent says when the server began to send what a watch was told up to a version.
type sent struct {
	version int
	at      time.Time
}

// watch returns a watch of what is newer than a version, or that begins with all objects there are.
func (s *Server) watch(resource string, c codec, from int, streamed bool) *watch {
	w := &watch{resource: resource, codec: c, wake: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.told = s.version
	switch {
	case streamed:
		w.initial = s.sorted(resource)
		w.initEnd = c.bookmark(resource, strconv.Itoa(s.version), map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	case from < s.compacted:
		status := &apierrors.NewResourceExpired("too old resource version").ErrStatus
		status.Kind, status.APIVersion = "Status", "v1"
		w.frames = append(w.frames, c.event(apiwatch.Error, encoded(c.Serializer, status)))
		w.ended = true
	default:
		for _, change := range s.history {
			if change.resource == resource && change.version > from {
				w.frames = append(w.frames, c.event(change.eventType, c.object(resource, change.message)))
			}
		}
	}
	s.watches[w] = true
	s.synced[resource]++
	return w
}

// wakeUp says that there is something to send.
func (w *watch) wakeUp() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run sends what w is told until the watch or the connection ends.
func (w *watch) run(s *Server, rw http.ResponseWriter, r *http.Request) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watches, w)
		s.flushed.Broadcast()
	}()
	rw.Header().Set("Content-Type", w.codec.MediaType+";stream=watch")
	for {
		s.mu.Lock()
		initial, initEnd, frames, ended, told := w.initial, w.initEnd, w.frames, w.ended, w.told
		w.initial, w.initEnd, w.frames = nil, nil, nil
		s.mu.Unlock()
		begun := time.Now()
		for _, message := range initial { // made one by one, for all together are large
			frames := w.codec.event(apiwatch.Added, w.codec.object(w.resource, message))
			if _, err := rw.Write(frames); err != nil {
				return
			}
		}
		for _, frame := range append([][]byte{initEnd}, frames...) {
			if _, err := rw.Write(frame); err != nil {
				return
			}
		}
		if http.NewResponseController(rw).Flush() != nil || ended {
			return
		}
		s.mu.Lock()
		if len(w.sent) == remembered {
			w.sent = slices.Delete(w.sent, 0, remembered/2)
		}
		w.sent = append(w.sent, sent{told, begun})
		s.flushed.Broadcast()
		s.mu.Unlock()
		select {
		case <-w.wake:
		case <-r.Context().Done():
			return
		}
	}
}

// waitSent waits until every watch of a resource has sent what it is told up to a version, and returns when the last one began
// to.
func (s *Server) waitSent(resource string, version int) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var last time.Time
		waiting := false
		for w := range s.watches {
			if w.resource != resource || w.told < version {
				continue // it began later and knows
			}
			at := slices.IndexFunc(w.sent, func(s sent) bool { return s.version >= version })
			if at < 0 {
				waiting = true
			} else if w.sent[at].at.After(last) {
				last = w.sent[at].at
			}
		}
		if !waiting {
			return last
		}
		s.flushed.Wait()
	}
}
