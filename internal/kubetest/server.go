// Package kubetest has an API server for tests, the objects that they put there, and a network that they can break.
package kubetest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/model"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// Server is an API server for tests: get, list and watch of the resources that we read, over HTTP on the loopback, from
// objects that the test puts and deletes. Its methods are safe for concurrent use.
//
//   - Put, Keep and Delete change objects. Each change has its own resource version and can be watched from any older one, until
//     Compact forgets it.
//   - Bookmark and Inject put something else on the watches that run; End, Fail and Cut end them.
//   - Hold, Refuse, Forbid, Lack, ServeImports, Intercept, RefuseStreams, UseJSON and UsePlain change how requests are answered.
//   - Seen, Syncs and Load say what was requested.
type Server struct {
	URL      string
	Server   *httptest.Server
	Conns    atomic.Int64 // open connections
	Accepted atomic.Int64 // connections so far

	mu        sync.Mutex // guards the fields below
	noStreams bool
	json      bool
	plain     bool
	imports   []string // the versions of ServiceImports
	status    int
	forbidden []string
	absent    string
	answer    Interceptor                      // nil: none
	gates     map[string]chan struct{}         // by resource; requests wait until the channel is closed
	version   int                              // of the newest change
	compacted int                              // the version up to which changes are forgotten
	objects   map[string]map[model.Key]*change // that made each object what it is
	lists     map[string][]byte                // by URL and media type, until the next change
	history   []*change
	watches   map[*Watch]bool
	requests  []*Request
	inflight  int // requests that have not got their response header yet
	peak      int // the most that inflight has been
}

// Object is an object of a resource.
type Object interface {
	runtime.Object
	metav1.Object
}

// change is a change of one object.
type change struct {
	resource string
	version  int
	old, new Object // old is nil when the object was added, new when it was deleted

	// frames are the events about it, made once for all watches, by type, media type and version. Guarded by Server.mu.
	frames map[string][]byte
}

// Request is a request that the server got.
type Request struct {
	Resource  string
	Version   string // of the API, as in discovery.k8s.io/v1
	Namespace string // "" for all
	Name      string // of a get
	URL       string
	Verb      string // list, get, watch or discover; "list of none" for one that no object matches; else the method and URL
	Selector  string
	Fields    string // the field selector
	From      string // the resource version
	At        time.Time
	Streamed  bool   // a watch that begins with the objects there are
	MediaType string // of the answer; "" until it is given, and when it is refused
	Zipped    bool   // the answer was compressed
}

// Kinds are the kinds of the resources.
var Kinds = map[string]schema.GroupVersionKind{
	"namespaces":     corev1.SchemeGroupVersion.WithKind("Namespace"),
	"services":       corev1.SchemeGroupVersion.WithKind("Service"),
	"configmaps":     corev1.SchemeGroupVersion.WithKind("ConfigMap"),
	"deployments":    appsv1.SchemeGroupVersion.WithKind("Deployment"),
	"statefulsets":   appsv1.SchemeGroupVersion.WithKind("StatefulSet"),
	"endpointslices": discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
	"pods":           corev1.SchemeGroupVersion.WithKind("Pod"),
	"nodes":          corev1.SchemeGroupVersion.WithKind("Node"),
	"serviceimports": mcsv1beta1.SchemeGroupVersion.WithKind("ServiceImport"),
}

// Discovery is the resource, for Seen, Hold and Forbid, of requests for what resources there are in a version of the API.
const Discovery = "discovery"

// Scheme knows the kinds. It is large, so it is made when it is asked for first: a program may have this package and no Server.
var Scheme = sync.OnceValue(func() *runtime.Scheme {
	known := runtime.NewScheme()
	utilruntime.Must(scheme.AddToScheme(known))
	utilruntime.Must(mcsv1beta1.Install(known))
	return known
})

// Codecs encode and decode what Scheme knows.
var Codecs = sync.OnceValue(func() serializer.CodecFactory { return serializer.NewCodecFactory(Scheme()) })

// ErrExpired tells a watch that the changes it asks for are forgotten.
var ErrExpired = apierrors.NewResourceExpired("too old resource version")

// ErrTooLarge answers a request for a version that is not there yet.
var ErrTooLarge = func() *apierrors.StatusError {
	err := apierrors.NewTimeoutError("Too large resource version", 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge}}
	return err
}()

// NewServer starts a server without objects. It closes with the test.
func NewServer(t testing.TB) *Server {
	s := New()
	s.Server = httptest.NewUnstartedServer(s)
	// Ports are soon used again, and plugins of other tests may still ask at theirs: so each server gets an address of its own,
	// where the system has more than one on its loopback.
	addr := netip.AddrFrom4([4]byte{127, byte(rand.IntN(256)), byte(rand.IntN(256)), byte(1 + rand.IntN(254))})
	if l, err := net.Listen("tcp", netip.AddrPortFrom(addr, 0).String()); err == nil {
		if err := s.Server.Listener.Close(); err != nil {
			t.Fatal(err)
		}
		s.Server.Listener = l
	}
	s.start(t, (*httptest.Server).Start)
	return s
}

// New returns a Server without objects that does not listen: an http.Handler for a server that is no test's.
func New() *Server {
	s := &Server{
		gates:   make(map[string]chan struct{}),
		version: 100,
		imports: []string{"v1beta1", "v1alpha1"},
		objects: make(map[string]map[model.Key]*change),
		lists:   make(map[string][]byte),
		watches: make(map[*Watch]bool),
	}
	for resource := range Kinds {
		s.objects[resource] = make(map[model.Key]*change)
	}
	return s
}

// Reopen starts the server again, after Close, at the address of l.
func (s *Server) Reopen(t testing.TB, l net.Listener) {
	s.Server = httptest.NewUnstartedServer(s)
	_ = s.Server.Listener.Close() // nobody knows it
	s.Server.Listener = l
	s.Refuse(0)
	s.start(t, (*httptest.Server).Start)
}

// start starts the server, which closes with the test.
func (s *Server) start(t testing.TB, start func(*httptest.Server)) {
	s.Server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.Conns.Add(1)
			s.Accepted.Add(1)
		case http.StateClosed:
			s.Conns.Add(-1)
		default:
		}
	}
	start(s.Server)
	s.URL = s.Server.URL
	t.Cleanup(s.Close)
}

// Close ends all requests and the server.
func (s *Server) Close() {
	s.Refuse(http.StatusServiceUnavailable)
	s.Intercept(nil)
	s.Cut()
	s.Server.Close()
}

// Put adds objects or replaces them.
func (s *Server) Put(objects ...runtime.Object) {
	for _, o := range objects {
		s.Keep(o.DeepCopyObject())
	}
}

// Keep is Put of an object that nobody modifies any more: it makes no copy.
func (s *Server) Keep(o runtime.Object) {
	obj := Typed(o).(Object) // every object of a resource is one
	s.set(obj, obj)
}

// Delete removes the objects that have the names of these.
func (s *Server) Delete(objects ...runtime.Object) {
	for _, o := range objects {
		s.set(Typed(o).(Object), nil) // every object of a resource is one
	}
}

// set makes obj what is known by the name of named; nil is nothing. It keeps the change and tells the watches.
func (s *Server) set(named, obj Object) {
	resource := ""
	for r, kind := range Kinds {
		if kind == named.GetObjectKind().GroupVersionKind() {
			resource = r
		}
	}
	key := model.Key{Namespace: named.GetNamespace(), Name: named.GetName()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	clear(s.lists)
	c := &change{resource: resource, version: s.version, new: obj, frames: make(map[string][]byte)}
	if last := s.objects[resource][key]; last != nil {
		c.old = last.new
	}
	if obj != nil {
		obj.SetResourceVersion(strconv.Itoa(s.version))
		s.objects[resource][key] = c
	} else {
		delete(s.objects[resource], key)
	}
	s.history = append(s.history, c)
	for w := range s.watches {
		if w.asked.Resource == resource {
			w.tell(w.change(c))
		}
	}
}

// Typed sets the kind of obj.
func Typed[O runtime.Object](obj O) O {
	kinds, _, err := Scheme().ObjectKinds(obj)
	if err != nil {
		panic(err) // not a kind of Kubernetes
	}
	obj.GetObjectKind().SetGroupVersionKind(kinds[0])
	return obj
}

// Compact forgets all changes so far: a watch from an older version is told that it has expired.
func (s *Server) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history, s.compacted = nil, s.version
}

// Version returns the version of the newest change.
func (s *Server) Version() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// Restore sets the resource version back, as the restore of a backup does. A watch that is to go on at a version that has not come
// yet says nothing before that, as with an API server.
func (s *Server) Restore(version int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history, s.compacted, s.version = nil, 0, version
	clear(s.lists)
}

// Inject puts on each running watch of resource what frame makes for it.
func (s *Server) Inject(resource string, frame func(*Watch) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watches {
		if w.asked.Resource == resource {
			w.tell(frame(w))
		}
	}
}

// Bookmark tells the watches of resource the newest version.
func (s *Server) Bookmark(resource string) {
	s.Inject(resource, func(w *Watch) []byte { return w.bookmark(s.version, nil) })
}

// Fail ends all watches with an error event.
func (s *Server) Fail(err *apierrors.StatusError) {
	for resource := range Kinds {
		s.Inject(resource, func(w *Watch) []byte { return w.Event(apiwatch.Error, &err.ErrStatus) })
	}
	s.End()
}

// End ends all watches as a server does when their time is over.
func (s *Server) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watches {
		w.ended = true
		w.tell()
	}
}

// Cut closes all connections.
func (s *Server) Cut() { s.Server.CloseClientConnections() }

// Hold makes requests for the resources wait until release is called.
func (s *Server) Hold(resources ...string) (release func()) {
	gate := make(chan struct{})
	setGates := func(gate chan struct{}) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, resource := range resources {
			s.gates[resource] = gate
		}
	}
	setGates(gate)
	return sync.OnceFunc(func() {
		setGates(nil)
		close(gate)
	})
}

// Refuse makes every request fail with an HTTP status, until it is called with 0.
func (s *Server) Refuse(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

// Forbid refuses requests for what is named: resources, or resources and namespaces as in pods/shop.
func (s *Server) Forbid(what ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forbidden = what
}

// Lack makes the server one that does not know a resource.
func (s *Server) Lack(resource string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.absent = resource
}

// ServeImports makes the server one that has ServiceImports in some versions, and ends their watches, as an API server does when the
// CustomResourceDefinition changes.
func (s *Server) ServeImports(versions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.imports = versions
	for w := range s.watches {
		if w.asked.Resource == "serviceimports" {
			w.ended = true
			w.tell()
		}
	}
}

// Interceptor answers a request, or has the Server do it.
type Interceptor func(w http.ResponseWriter, r *http.Request, server http.HandlerFunc)

// Intercept makes answer answer every request, until it is called with nil.
func (s *Server) Intercept(answer Interceptor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// RefuseStreams makes the server one that cannot begin a watch with the objects there are.
func (s *Server) RefuseStreams() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noStreams = true
}

// UseJSON makes the server one that does not speak protobuf.
func (s *Server) UseJSON() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.json = true
}

// UsePlain makes the server one that compresses no answer.
func (s *Server) UsePlain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plain = true
}

// Seen returns the requests so far for a resource, for "" those for any.
func (s *Server) Seen(resource string) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var requests []Request
	for _, r := range s.requests {
		if resource == "" || r.Resource == resource {
			requests = append(requests, *r)
		}
	}
	return requests
}

// Syncs returns how often all objects of a resource were given to the client.
func (s *Server) Syncs(resource string) int {
	n := 0
	for _, r := range s.Seen(resource) {
		if r.MediaType != "" && (r.Streamed || r.Verb == "list") {
			n++
		}
	}
	return n
}

// Load returns how many requests wait for a response header, and the most that ever did.
func (s *Server) Load() (inflight, peak int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inflight, s.peak
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req := NewRequest(r)
	s.mu.Lock()
	s.requests = append(s.requests, req)
	s.inflight++
	s.peak = max(s.peak, s.inflight)
	gate, answer := s.gates[req.Resource], s.answer
	if s.status != 0 {
		gate = nil
	}
	s.mu.Unlock()
	respond := func(w http.ResponseWriter, r *http.Request) { s.respond(w, r, req) }
	if gate != nil {
		select {
		case <-gate:
		case <-r.Context().Done():
		}
	}

	s.mu.Lock()
	s.inflight--
	s.mu.Unlock()
	if answer != nil {
		answer(w, r, respond)
	} else {
		respond(w, r)
	}
}

// respond answers r, which asks for req.
func (s *Server) respond(w http.ResponseWriter, r *http.Request, req *Request) {
	s.mu.Lock()
	if status := s.refusal(req); status != 0 {
		isAll := s.status != 0
		s.mu.Unlock()
		if status == http.StatusForbidden && !isAll {
			forbid(w, req.Resource)
		} else {
			http.Error(w, http.StatusText(status), status)
		}
		return
	}
	codec := s.negotiate(req.Resource, r.Header.Get("Accept"))
	if from, _ := strconv.Atoi(req.From); from > s.version && (req.Verb != "watch" || req.Streamed) {
		s.mu.Unlock()
		w.Header().Set("Content-Type", codec.MediaType)
		w.WriteHeader(http.StatusGatewayTimeout)
		_, _ = w.Write(Encoded(codec.Serializer, Typed(ErrTooLarge.ErrStatus.DeepCopy()))) // the client is gone
		return
	}
	req.MediaType = codec.MediaType
	compresses := !s.plain && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
	if req.Verb != "watch" {
		body := s.body(req, codec)
		req.Zipped = compresses && len(body) > compressible
		s.mu.Unlock()
		w.Header().Set("Content-Type", codec.MediaType)
		if req.Zipped {
			w.Header().Set("Content-Encoding", "gzip")
			body = compressed(body)
		}
		_, _ = w.Write(body) // the client is gone
		return
	}
	watch := s.watch(req, codec)
	req.Zipped = compresses && req.Streamed
	s.mu.Unlock()
	watch.run(s, w, r)
}

// compressible is the size of a list, or an object, beyond which an API server compresses it.
const compressible = 128 << 10

// zippers are gzip writers with the level that takes least time, which an API server uses, and uses again.
var zippers = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // there is no such level
	}
	return w
}}

// compressed returns b as an API server compresses it.
func compressed(b []byte) []byte {
	var z bytes.Buffer
	w := zippers.Get().(*gzip.Writer)
	defer zippers.Put(w)
	w.Reset(&z)
	_, _ = w.Write(b) // a buffer takes everything
	_ = w.Flush()     // so that a reader has all of it before it asks for more, in a stream that goes on
	_ = w.Close()
	return z.Bytes()
}

// NewRequest returns what r asks for.
func NewRequest(r *http.Request) *Request {
	group, namespace, resource, name := parsePath(r.URL.Path)
	var options metav1.ListOptions
	err := scheme.ParameterCodec.DecodeParameters(r.URL.Query(), corev1.SchemeGroupVersion, &options)
	req := &Request{
		Resource: resource, Version: group, Namespace: namespace, Name: name, URL: r.URL.String(), Verb: "list", Selector: options.LabelSelector, Fields: options.FieldSelector,
		From: options.ResourceVersion, At: time.Now(),
	}
	switch {
	case resource == Discovery && r.Method == http.MethodGet:
		req.Verb = "discover"
	case err != nil || !isKnown(resource, group) || r.Method != http.MethodGet:
		req.Verb = r.Method + " " + r.URL.String()
	case name != "":
		req.Verb = "get"
	case options.FieldSelector == "metadata.name=-":
		req.Verb = "list of none"
	case options.Watch:
		req.Verb = "watch"
		req.Streamed = options.SendInitialEvents != nil && *options.SendInitialEvents &&
			options.ResourceVersionMatch == metav1.ResourceVersionMatchNotOlderThan && options.AllowWatchBookmarks
	}
	return req
}

// isKnown reports whether an API server may have a resource in a version of the API.
func isKnown(resource, version string) bool {
	kind := Kinds[resource].GroupVersion()
	return kind.String() == version || kind.Group == mcsv1beta1.GroupName && strings.HasPrefix(version, kind.Group+"/")
}

// parsePath returns what the path of a request names: a group and its version, and a resource, perhaps in one namespace, and perhaps
// one object of it.
func parsePath(path string) (group, namespace, resource, name string) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	after := 2 // api and a version
	if parts[0] == "apis" {
		after = 3
	}
	if len(parts) < after {
		return "", "", "", ""
	}
	if len(parts) == after {
		return strings.Join(parts[1:], "/"), "", Discovery, ""
	}
	group, parts = strings.Join(parts[1:after], "/"), parts[after:]
	if len(parts) > 2 && parts[0] == "namespaces" {
		namespace, parts = parts[1], parts[2:]
	}
	return group, namespace, parts[0], strings.Join(parts[1:], "/")
}

// refusal returns the HTTP status with which a request is refused, or 0. s.mu is held.
func (s *Server) refusal(r *Request) int {
	switch {
	case s.status != 0:
		return s.status
	case slices.Contains(s.forbidden, r.Resource) || slices.Contains(s.forbidden, r.Resource+"/"+r.Namespace):
		return http.StatusForbidden
	case r.Verb == "discover":
		if len(s.resources(r.Version)) == 0 {
			return http.StatusNotFound
		}
	case !slices.Contains([]string{"list", "list of none", "get", "watch"}, r.Verb) || !slices.Contains(s.resources(r.Version), r.Resource) ||
		r.Verb == "get" && s.objects[r.Resource][r.key()] == nil:
		return http.StatusNotFound
	case r.Streamed && s.noStreams:
		return http.StatusUnprocessableEntity // reason Invalid
	}
	return 0
}

// resources returns the resources that the server has in a version of the API. s.mu is held.
func (s *Server) resources(version string) (names []string) {
	for name, kind := range Kinds {
		_, short, _ := strings.Cut(version, "/")
		has := kind.GroupVersion().String() == version
		if name == "serviceimports" {
			has = isKnown(name, version) && slices.Contains(s.imports, short)
		}
		if has && name != s.absent {
			names = append(names, name)
		}
	}
	return names
}

// negotiate returns the encoding for a client that accepts these media types. s.mu is held.
func (s *Server) negotiate(resource, accept string) runtime.SerializerInfo {
	mediaType := runtime.ContentTypeJSON
	// A custom resource has no other form.
	if !s.json && resource != "serviceimports" && strings.Contains(accept, runtime.ContentTypeProtobuf) {
		mediaType = runtime.ContentTypeProtobuf
	}
	info, _ := runtime.SerializerInfoForMediaType(Codecs().SupportedMediaTypes(), mediaType)
	return info
}

// matches reports whether r asks for obj, which may be nil.
func matches(r *Request, obj Object) bool {
	s, err := labels.Parse(r.Selector)
	_, name, isOne := strings.Cut(r.Fields, "metadata.name=")
	if pod, ok := obj.(*corev1.Pod); ok {
		if _, node, isOfOne := strings.Cut(r.Fields, "spec.nodeName="); isOfOne && node != pod.Spec.NodeName {
			return false
		}
	}
	return err == nil && obj != nil && s.Matches(labels.Set(obj.GetLabels())) &&
		(r.Namespace == "" || r.Namespace == obj.GetNamespace()) && (!isOne || name == obj.GetName())
}

// key returns the key of the object that r gets.
func (r *Request) key() model.Key { return model.Key{Namespace: r.Namespace, Name: r.Name} }

// versioned returns obj in the version of the API that r asks for. All versions of a kind have the same fields.
func (r *Request) versioned(obj runtime.Object) runtime.Object {
	kind := obj.GetObjectKind().GroupVersionKind()
	if kind.Group != mcsv1beta1.GroupName || kind.GroupVersion().String() == r.Version {
		return obj
	}
	obj = obj.DeepCopyObject()
	_, kind.Version, _ = strings.Cut(r.Version, "/")
	obj.GetObjectKind().SetGroupVersionKind(kind)
	return obj
}

// forbid writes that requests for a resource are not permitted, in the words of an API server.
func forbid(w http.ResponseWriter, resource string) {
	said := metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden, Message: resource + " is forbidden",
	}
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	w.WriteHeader(http.StatusForbidden)
	_ = json.NewEncoder(w).Encode(said) // the client is gone
}

// body returns the list or the object that r asks for. s.mu is held.
func (s *Server) body(r *Request, codec runtime.SerializerInfo) []byte {
	switch r.Verb {
	case "discover":
		list := &metav1.APIResourceList{GroupVersion: r.Version}
		for _, name := range s.resources(r.Version) {
			list.APIResources = append(list.APIResources, metav1.APIResource{Name: name, Kind: Kinds[name].Kind})
		}
		list.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "APIResourceList"})
		return Encoded(codec.Serializer, list)
	case "get":
		return Encoded(codec.Serializer, r.versioned(s.objects[r.Resource][r.key()].new))
	}
	if list := s.lists[r.URL+codec.MediaType]; list != nil {
		return list
	}
	kind := Kinds[r.Resource]
	kind.Kind += "List"
	list, err := Scheme().New(kind)
	if err != nil {
		panic(err) // Kinds is wrong
	}
	var items []runtime.Object
	for _, c := range s.objects[r.Resource] {
		if matches(r, c.new) && r.Verb == "list" {
			items = append(items, r.versioned(c.new))
		}
	}
	if err := meta.SetList(list, items); err != nil {
		panic(err) // s.objects is wrong
	}
	list.(metav1.ListInterface).SetResourceVersion(strconv.Itoa(s.version)) // every list is one
	body := Encoded(codec.Serializer, r.versioned(Typed(list)))
	s.lists[r.URL+codec.MediaType] = body
	return body
}

// watch returns the watch that r asks for, with what it is told first. s.mu is held.
func (s *Server) watch(r *Request, codec runtime.SerializerInfo) *Watch {
	w := &Watch{asked: r, codec: codec, wake: make(chan struct{}, 1)}
	from, _ := strconv.Atoi(r.From) // none is 0
	switch {
	case r.Streamed:
		for _, c := range s.objects[r.Resource] {
			if matches(r, c.new) {
				w.tell(w.event(apiwatch.Added, c))
			}
		}
		w.tell(w.bookmark(s.version, map[string]string{metav1.InitialEventsAnnotationKey: "true"}))
	case from < s.compacted:
		w.tell(w.Event(apiwatch.Error, &ErrExpired.ErrStatus))
		w.ended = true
	default:
		for _, c := range s.history {
			if c.resource == r.Resource && c.version > from {
				w.tell(w.change(c))
			}
		}
	}
	s.watches[w] = true
	return w
}

// Watch is a running watch.
type Watch struct {
	asked *Request
	codec runtime.SerializerInfo

	wake   chan struct{} // holds a token when there is something new below
	frames [][]byte      // still to be sent; guarded by Server.mu
	ended  bool          // guarded by Server.mu
}

// tell queues frames. Server.mu is held.
func (w *Watch) tell(frames ...[]byte) {
	w.frames = append(w.frames, frames...)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run sends what w is told until the watch or the connection ends.
func (w *Watch) run(s *Server, rw http.ResponseWriter, r *http.Request) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watches, w)
	}()
	rw.Header().Set("Content-Type", w.codec.MediaType+";stream=watch")
	if w.asked.Zipped {
		rw.Header().Set("Content-Encoding", "gzip")
	}
	for {
		s.mu.Lock()
		frames, ended := w.frames, w.ended
		w.frames = nil
		s.mu.Unlock()
		if w.asked.Zipped && len(frames) > 0 { // each time anew, as an API server does from Kubernetes 1.37 on
			frames = [][]byte{compressed(bytes.Join(frames, nil))}
		}
		for _, frame := range frames {
			if _, err := rw.Write(frame); err != nil {
				return
			}
		}
		if ended || http.NewResponseController(rw).Flush() != nil {
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
func (w *Watch) change(c *change) []byte {
	switch before, after := matches(w.asked, c.old), matches(w.asked, c.new); {
	case before && after:
		return w.event(apiwatch.Modified, c)
	case after:
		return w.event(apiwatch.Added, c)
	case before:
		return w.event(apiwatch.Deleted, c)
	}
	return nil
}

// event returns an event of some type about a change.
func (w *Watch) event(eventType apiwatch.EventType, c *change) []byte {
	key := string(eventType) + w.codec.MediaType + w.asked.Version
	if c.frames[key] == nil {
		obj := c.new
		if eventType == apiwatch.Deleted {
			obj = c.old.DeepCopyObject().(Object) // a copy is of the same type
			obj.SetResourceVersion(strconv.Itoa(c.version))
		}
		c.frames[key] = w.RawEvent(eventType, Encoded(w.codec.Serializer, w.asked.versioned(obj)))
	}
	return c.frames[key]
}

// bookmark returns the event that says that w has been told everything up to version.
func (w *Watch) bookmark(version int, annotations map[string]string) []byte {
	obj, err := Scheme().New(Kinds[w.asked.Resource])
	if err != nil {
		panic(err) // Kinds is wrong
	}
	o := obj.(Object) // every kind in Kinds is one
	o.SetResourceVersion(strconv.Itoa(version))
	o.SetAnnotations(annotations)
	return w.Event(apiwatch.Bookmark, o)
}

// Event returns an event of obj, which may be of any kind.
func (w *Watch) Event(eventType apiwatch.EventType, obj runtime.Object) []byte {
	return w.RawEvent(eventType, Encoded(w.codec.Serializer, w.asked.versioned(Typed(obj.DeepCopyObject()))))
}

// RawEvent returns an event with an object that may be anything.
func (w *Watch) RawEvent(eventType apiwatch.EventType, object []byte) []byte {
	event := &metav1.WatchEvent{Type: string(eventType), Object: runtime.RawExtension{Raw: object}}
	return w.Frame(Encoded(w.codec.StreamSerializer.Serializer, event))
}

// Frame returns what the client reads as one event.
func (w *Watch) Frame(content []byte) []byte {
	var b bytes.Buffer
	if _, err := w.codec.StreamSerializer.Framer.NewFrameWriter(&b).Write(content); err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}

// Encoded returns obj as e encodes it.
func Encoded(e runtime.Encoder, obj runtime.Object) []byte {
	var b bytes.Buffer
	if err := e.Encode(obj, &b); err != nil {
		panic(fmt.Sprintf("kubetest: %T: %v", obj, err)) // no object of Kubernetes
	}
	return b.Bytes()
}
