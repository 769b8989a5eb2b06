// Package kubetest has an API server for tests that look at a plugin from outside.
package kubetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"
)

// Server is an API server: list and watch of the resources that DNS is about, over HTTP on the loopback, from objects that the test
// puts and deletes. Its methods are safe for concurrent use.
type Server struct {
	URL    string
	server *httptest.Server

	mu      sync.Mutex // guards the fields below
	version int        // of the newest change
	objects map[string]map[types.NamespacedName]Object
	history []change
	watches map[*watch]bool
}

// Object is one of Kubernetes'.
type Object interface {
	runtime.Object
	metav1.Object
}

// change is a change of one object.
type change struct {
	resource string
	version  int
	old, new Object // old is nil when the object was added, new when it was deleted
}

const imports = "serviceimports"

// kinds are the kinds of the resources.
var kinds = map[string]schema.GroupVersionKind{
	"namespaces":     corev1.SchemeGroupVersion.WithKind("Namespace"),
	"services":       corev1.SchemeGroupVersion.WithKind("Service"),
	"endpointslices": discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
	"pods":           corev1.SchemeGroupVersion.WithKind("Pod"),
	imports:          mcsv1alpha1.SchemeGroupVersion.WithKind("ServiceImport"),
}

// known has the kinds.
var known = func() *runtime.Scheme {
	known := runtime.NewScheme()
	utilruntime.Must(scheme.AddToScheme(known))
	utilruntime.Must(mcsv1alpha1.Install(known))
	return known
}()

var codecs = serializer.NewCodecFactory(known)

// New starts a server without objects. It ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{version: 100, objects: make(map[string]map[types.NamespacedName]Object), watches: make(map[*watch]bool)}
	for resource := range kinds {
		s.objects[resource] = make(map[types.NamespacedName]Object)
	}
	s.server = httptest.NewUnstartedServer(s)
	// Ports are soon used again, and plugins of other tests may still ask at theirs: so each server gets an address that is its own,
	// where the system has more than one on its loopback.
	addr := netip.AddrFrom4([4]byte{127, byte(rand.IntN(256)), byte(rand.IntN(256)), byte(1 + rand.IntN(254))})
	if l, err := net.Listen("tcp", netip.AddrPortFrom(addr, 0).String()); err == nil {
		if err := s.server.Listener.Close(); err != nil {
			t.Fatal(err)
		}
		s.server.Listener = l
	}
	s.server.Start()
	s.URL = s.server.URL
	t.Cleanup(func() {
		s.server.CloseClientConnections()
		s.server.Close()
	})
	return s
}

// Put adds objects or replaces them.
func (s *Server) Put(objects ...Object) {
	for _, o := range objects {
		obj := Typed(o.DeepCopyObject()).(Object) // a copy is of the same type
		s.set(obj, obj)
	}
}

// Delete removes the objects that have the names of these.
func (s *Server) Delete(objects ...Object) {
	for _, o := range objects {
		s.set(Typed(o), nil)
	}
}

// set makes obj what is known by the name of named; nil is nothing. It keeps the change and tells the watches.
func (s *Server) set(named, obj Object) {
	resource := ""
	for r, kind := range kinds {
		if kind == named.GetObjectKind().GroupVersionKind() {
			resource = r
		}
	}
	key := types.NamespacedName{Namespace: named.GetNamespace(), Name: named.GetName()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	c := change{resource, s.version, s.objects[resource][key], obj}
	if obj != nil {
		obj.SetResourceVersion(strconv.Itoa(s.version))
		s.objects[resource][key] = obj
	} else {
		delete(s.objects[resource], key)
	}
	s.history = append(s.history, c)
	for w := range s.watches {
		if w.resource == resource {
			w.tell(w.change(c))
		}
	}
}

// Typed sets the kind of obj and returns it.
func Typed[O runtime.Object](obj O) O {
	kinds, _, err := known.ObjectKinds(obj)
	if err != nil {
		panic(err) // not a kind of Kubernetes
	}
	obj.GetObjectKind().SetGroupVersionKind(kinds[0])
	return obj
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	resource := path.Base(r.URL.Path)
	gv := kinds[resource].GroupVersion()
	root := "/apis/" + gv.String()
	if gv.Group == "" {
		root = "/api/" + gv.Version
	}
	var options metav1.ListOptions
	err := scheme.ParameterCodec.DecodeParameters(r.URL.Query(), corev1.SchemeGroupVersion, &options)
	if err != nil || r.URL.Path != root+"/"+resource || r.Method != http.MethodGet {
		http.NotFound(w, r)
		return
	}
	codec := negotiate(resource, r.Header.Get("Accept"))
	s.mu.Lock()
	if !options.Watch {
		body := s.list(resource, options, codec)
		s.mu.Unlock()
		w.Header().Set("Content-Type", codec.MediaType)
		_, _ = w.Write(body) // the client is gone; there is nobody to tell
		return
	}
	watch := s.watch(resource, options, codec)
	s.mu.Unlock()
	watch.run(s, w, r)
}

// negotiate returns the encoding for a client that accepts these media types.
func negotiate(resource, accept string) runtime.SerializerInfo {
	mediaType := runtime.ContentTypeJSON
	// A custom resource has no other form.
	if resource != imports && strings.Contains(accept, runtime.ContentTypeProtobuf) {
		mediaType = runtime.ContentTypeProtobuf
	}
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), mediaType)
	return info
}

// matches reports whether a label selector selects obj, which may be nil.
func matches(selector string, obj Object) bool {
	s, err := labels.Parse(selector)
	return err == nil && obj != nil && s.Matches(labels.Set(obj.GetLabels()))
}

// list returns a list. A field selector selects nothing: no client here has another. s.mu is held.
func (s *Server) list(resource string, options metav1.ListOptions, codec runtime.SerializerInfo) []byte {
	kind := kinds[resource]
	kind.Kind += "List"
	list, err := known.New(kind)
	if err != nil {
		panic(err) // kinds is wrong
	}
	var items []runtime.Object
	for _, obj := range s.objects[resource] {
		if matches(options.LabelSelector, obj) && options.FieldSelector == "" {
			items = append(items, obj)
		}
	}
	if err := meta.SetList(list, items); err != nil {
		panic(err) // s.objects is wrong
	}
	list.(metav1.ListInterface).SetResourceVersion(strconv.Itoa(s.version)) // every list is one
	return encoded(codec.Serializer, Typed(list))
}

// watch returns a watch with what it is told first. s.mu is held.
func (s *Server) watch(resource string, options metav1.ListOptions, codec runtime.SerializerInfo) *watch {
	w := &watch{resource: resource, selector: options.LabelSelector, codec: codec, wake: make(chan struct{}, 1)}
	if options.SendInitialEvents != nil && *options.SendInitialEvents {
		for _, obj := range s.objects[resource] {
			w.tell(w.change(change{version: s.version, new: obj}))
		}
		w.tell(w.listed(s.version))
	} else {
		from, _ := strconv.Atoi(options.ResourceVersion) // none is 0
		for _, c := range s.history {
			if c.resource == resource && c.version > from {
				w.tell(w.change(c))
			}
		}
	}
	s.watches[w] = true
	return w
}

// watch is a running watch.
type watch struct {
	resource string
	selector string
	codec    runtime.SerializerInfo

	wake   chan struct{} // holds a token when there is something new below
	frames [][]byte      // still to be sent; guarded by Server.mu
}

// tell queues a frame. Server.mu is held.
func (w *watch) tell(frame []byte) {
	w.frames = append(w.frames, frame)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run sends what w is told until the connection ends.
func (w *watch) run(s *Server, rw http.ResponseWriter, r *http.Request) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watches, w)
	}()
	rw.Header().Set("Content-Type", w.codec.MediaType+";stream=watch")
	for {
		s.mu.Lock()
		frames := w.frames
		w.frames = nil
		s.mu.Unlock()
		_, err := rw.Write(bytes.Join(frames, nil))
		if err != nil || http.NewResponseController(rw).Flush() != nil {
			return
		}
		select {
		case <-w.wake:
		case <-r.Context().Done():
			return
		}
	}
}

// change returns the event for a change, nothing if w cannot see the object.
func (w *watch) change(c change) []byte {
	switch before, after := matches(w.selector, c.old), matches(w.selector, c.new); {
	case before && after:
		return w.event(apiwatch.Modified, c.new)
	case after:
		return w.event(apiwatch.Added, c.new)
	case before:
		last := c.old.DeepCopyObject().(Object) // a copy is of the same type
		last.SetResourceVersion(strconv.Itoa(c.version))
		return w.event(apiwatch.Deleted, last)
	}
	return nil
}

// listed returns the event that says that w has been told all objects.
func (w *watch) listed(version int) []byte {
	obj, err := known.New(kinds[w.resource])
	if err != nil {
		panic(err) // kinds is wrong
	}
	o := obj.(Object) // every kind in kinds is one
	o.SetResourceVersion(strconv.Itoa(version))
	o.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	return w.event(apiwatch.Bookmark, o)
}

// event returns an event of obj, as the client reads it.
func (w *watch) event(eventType apiwatch.EventType, obj runtime.Object) []byte {
	raw := encoded(w.codec.Serializer, Typed(obj.DeepCopyObject()))
	event := &metav1.WatchEvent{Type: string(eventType), Object: runtime.RawExtension{Raw: raw}}
	var b bytes.Buffer
	if _, err := w.codec.StreamSerializer.Framer.NewFrameWriter(&b).Write(encoded(w.codec.StreamSerializer.Serializer, event)); err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}

func encoded(e runtime.Encoder, obj runtime.Object) []byte {
	var b bytes.Buffer
	if err := e.Encode(obj, &b); err != nil {
		panic(fmt.Sprintf("kubetest: %T: %v", obj, err)) // no object of Kubernetes
	}
	return b.Bytes()
}
