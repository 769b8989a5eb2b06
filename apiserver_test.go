package headless

import (
	"bytes"
	"fmt"
	"io"
	golog "log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/model"

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
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"
)

// stubAPI is an API server for tests: list and watch of the resources that we read, over HTTP on the loopback, from
// objects that the test puts and deletes. Its methods are safe for concurrent use.
//
//   - put and delete change objects. Each change has its own resource version and can be watched from any older one, until
//     compact forgets it.
//   - bookmark and inject put something else on the watches that run; end, fail and cut end them.
//   - hold, refuse, intercept, refuseStreams and useJSON change how requests are answered.
//   - seen, syncs and load say what was requested.
type stubAPI struct {
	url      string
	server   *httptest.Server
	t        testing.TB
	conns    atomic.Int64 // open connections
	accepted atomic.Int64 // connections so far

	mu        sync.Mutex // guards the fields below
	noStreams bool
	json      bool
	status    int
	answer    interceptor              // nil: none
	gates     map[string]chan struct{} // by resource; requests wait until the channel is closed
	version   int                      // of the newest change
	compacted int                      // the version up to which changes are forgotten
	objects   map[string]map[model.Key]stubObject
	history   []stubChange
	watches   map[*stubWatch]bool
	requests  []*stubRequest
	inflight  int // requests that have not got their response header yet
	peak      int // the most that inflight has been
}

type stubObject interface {
	runtime.Object
	metav1.Object
}

// stubChange is a change of one object.
type stubChange struct {
	resource string
	version  int
	old, new stubObject // old is nil when the object was added, new when it was deleted
}

// stubRequest is a request that the server got.
type stubRequest struct {
	resource  string
	verb      string // list, list of none (noObject) or watch, or the method and path of a request that is none of these
	selector  string
	fields    string // the field selector
	from      string // the resource version
	at        time.Time
	streamed  bool   // a watch that begins with the objects there are
	mediaType string // of the answer; "" until it is given, and when it is refused
}

// stubKinds are the kinds of the resources.
var stubKinds = map[string]schema.GroupVersionKind{
	namespacesResource: corev1.SchemeGroupVersion.WithKind("Namespace"),
	servicesResource:   corev1.SchemeGroupVersion.WithKind("Service"),
	slicesResource:     discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
	podsResource:       corev1.SchemeGroupVersion.WithKind("Pod"),
	importsResource:    mcsv1alpha1.SchemeGroupVersion.WithKind("ServiceImport"),
}

// stubScheme knows the kinds.
var stubScheme = func() *runtime.Scheme {
	known := runtime.NewScheme()
	utilruntime.Must(scheme.AddToScheme(known))
	utilruntime.Must(mcsv1alpha1.Install(known))
	return known
}()

var stubCodecs = serializer.NewCodecFactory(stubScheme)

// errExpired tells a watch that the changes it asks for are forgotten.
var errExpired = apierrors.NewResourceExpired("too old resource version")

// errTooLarge answers a request for a version that is not there yet.
var errTooLarge = func() *apierrors.StatusError {
	err := apierrors.NewTimeoutError("Too large resource version", 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge}}
	return err
}()

// newStubAPI starts a server without objects. It closes with the test.
func newStubAPI(t testing.TB) *stubAPI {
	s := newUnstartedStubAPI(t)
	s.server = httptest.NewUnstartedServer(s)
	// Ports are soon used again, and plugins of other tests may still ask at theirs: so each stub gets an address that is its own,
	// where the system has more than one on its loopback.
	addr := netip.AddrFrom4([4]byte{127, byte(rand.IntN(256)), byte(rand.IntN(256)), byte(1 + rand.IntN(254))})
	if l, err := net.Listen("tcp", netip.AddrPortFrom(addr, 0).String()); err == nil {
		if err := s.server.Listener.Close(); err != nil {
			t.Fatal(err)
		}
		s.server.Listener = l
	}
	s.start((*httptest.Server).Start)
	return s
}

// newSecureWebAPI returns a stub like newWebAPI's that speaks TLS, with a certificate of nobody's: client-go sends no credentials
// without TLS.
func newSecureWebAPI(t testing.TB) *stubAPI {
	s := newUnstartedStubAPI(t)
	s.put(webObjects()...)
	s.server = httptest.NewUnstartedServer(s)
	s.server.EnableHTTP2 = true
	s.server.Config.ErrorLog = golog.New(io.Discard, "", 0)
	s.start((*httptest.Server).StartTLS)
	return s
}

// newUnstartedStubAPI returns a stub without a server.
func newUnstartedStubAPI(t testing.TB) *stubAPI {
	s := &stubAPI{
		t:       t,
		gates:   make(map[string]chan struct{}),
		version: 100,
		objects: make(map[string]map[model.Key]stubObject),
		watches: make(map[*stubWatch]bool),
	}
	for resource := range stubKinds {
		s.objects[resource] = make(map[model.Key]stubObject)
	}
	return s
}

// start starts the server, which closes with the test.
func (s *stubAPI) start(start func(*httptest.Server)) {
	s.server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.conns.Add(1)
			s.accepted.Add(1)
		case http.StateClosed:
			s.conns.Add(-1)
		default:
		}
	}
	start(s.server)
	s.url = s.server.URL
	s.t.Cleanup(s.close)
}

// close ends all requests and the server.
func (s *stubAPI) close() {
	s.refuse(http.StatusServiceUnavailable)
	s.intercept(nil)
	s.cut()
	s.server.Close()
}

// put adds objects or replaces them.
func (s *stubAPI) put(objects ...runtime.Object) {
	for _, o := range objects {
		obj := typed(o.DeepCopyObject()).(stubObject) // every object of a resource is one
		s.set(obj, obj)
	}
}

// delete removes the objects that have the names of these.
func (s *stubAPI) delete(objects ...runtime.Object) {
	for _, o := range objects {
		s.set(typed(o).(stubObject), nil) // every object of a resource is one
	}
}

// set makes obj what is known by the name of named; nil is nothing. It keeps the change and tells the watches.
func (s *stubAPI) set(named, obj stubObject) {
	resource := ""
	for r, kind := range stubKinds {
		if kind == named.GetObjectKind().GroupVersionKind() {
			resource = r
		}
	}
	key := model.Key{Namespace: named.GetNamespace(), Name: named.GetName()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	c := stubChange{resource, s.version, s.objects[resource][key], obj}
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

// typed sets the kind of obj.
func typed[O runtime.Object](obj O) O {
	kinds, _, err := stubScheme.ObjectKinds(obj)
	if err != nil {
		panic(err) // not a kind of Kubernetes
	}
	obj.GetObjectKind().SetGroupVersionKind(kinds[0])
	return obj
}

// compact forgets all changes so far: a watch from an older version is told that it has expired.
func (s *stubAPI) compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history, s.compacted = nil, s.version
}

// restore sets the resource version back, as the restore of a backup does. A watch that is to go on at a version that has not come
// yet says nothing before that, as with an API server.
func (s *stubAPI) restore(version int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history, s.compacted, s.version = nil, 0, version
}

// inject puts on each running watch of resource what frame makes for it.
func (s *stubAPI) inject(resource string, frame func(*stubWatch) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watches {
		if w.resource == resource {
			w.tell(frame(w))
		}
	}
}

// bookmark tells the watches of resource the newest version.
func (s *stubAPI) bookmark(resource string) {
	s.inject(resource, func(w *stubWatch) []byte { return w.bookmark(s.version, nil) })
}

// fail ends all watches with an error event.
func (s *stubAPI) fail(err *apierrors.StatusError) {
	for resource := range stubKinds {
		s.inject(resource, func(w *stubWatch) []byte { return w.event(apiwatch.Error, &err.ErrStatus) })
	}
	s.end()
}

// end ends all watches as a server does when their time is over.
func (s *stubAPI) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watches {
		w.ended = true
		w.tell()
	}
}

// cut closes all connections.
func (s *stubAPI) cut() { s.server.CloseClientConnections() }

// hold makes requests for the resources wait until release is called.
func (s *stubAPI) hold(resources ...string) (release func()) {
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

// refuse makes every request fail with an HTTP status, until it is called with 0.
func (s *stubAPI) refuse(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

// interceptor answers a request, or has the stub do it.
type interceptor func(w http.ResponseWriter, r *http.Request, stub http.HandlerFunc)

// intercept makes answer answer every request, until it is called with nil.
func (s *stubAPI) intercept(answer interceptor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// refuseStreams makes the server one that cannot begin a watch with the objects there are.
func (s *stubAPI) refuseStreams() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noStreams = true
}

// useJSON makes the server one that does not speak protobuf.
func (s *stubAPI) useJSON() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.json = true
}

// seen returns the requests so far for a resource, for "" those for any.
func (s *stubAPI) seen(resource string) []stubRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	var requests []stubRequest
	for _, r := range s.requests {
		if resource == "" || r.resource == resource {
			requests = append(requests, *r)
		}
	}
	return requests
}

// syncs returns how often all objects of a resource were given to the client.
func (s *stubAPI) syncs(resource string) int {
	n := 0
	for _, r := range s.seen(resource) {
		if r.mediaType != "" && (r.streamed || r.verb == "list") {
			n++
		}
	}
	return n
}

// load returns how many requests wait for a response header, and the most that ever did.
func (s *stubAPI) load() (inflight, peak int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inflight, s.peak
}

// ServeHTTP implements http.Handler.
func (s *stubAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req := newStubRequest(r)
	s.mu.Lock()
	s.requests = append(s.requests, req)
	s.inflight++
	s.peak = max(s.peak, s.inflight)
	gate, answer := s.gates[req.resource], s.answer
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
func (s *stubAPI) respond(w http.ResponseWriter, r *http.Request, req *stubRequest) {
	s.mu.Lock()
	if status := s.refusal(req); status != 0 {
		s.mu.Unlock()
		http.Error(w, http.StatusText(status), status)
		return
	}
	codec := s.negotiate(req.resource, r.Header.Get("Accept"))
	if from, _ := strconv.Atoi(req.from); from > s.version && (req.verb != "watch" || req.streamed) {
		s.mu.Unlock()
		w.Header().Set("Content-Type", codec.MediaType)
		w.WriteHeader(http.StatusGatewayTimeout)
		_, _ = w.Write(encoded(codec.Serializer, typed(errTooLarge.ErrStatus.DeepCopy()))) // the client is gone; there is nobody to tell
		return
	}
	req.mediaType = codec.MediaType
	if req.verb != "watch" {
		body := s.list(req, codec)
		s.mu.Unlock()
		w.Header().Set("Content-Type", codec.MediaType)
		_, _ = w.Write(body) // the client is gone; there is nobody to tell
		return
	}
	watch := s.watch(req, codec)
	s.mu.Unlock()
	watch.run(s, w, r)
}

func newStubRequest(r *http.Request) *stubRequest {
	resource := path.Base(r.URL.Path)
	gv := stubKinds[resource].GroupVersion()
	root := "/apis/" + gv.String()
	if gv.Group == "" {
		root = "/api/" + gv.Version
	}
	var options metav1.ListOptions
	err := scheme.ParameterCodec.DecodeParameters(r.URL.Query(), corev1.SchemeGroupVersion, &options)
	req := &stubRequest{
		resource: resource, verb: "list", selector: options.LabelSelector, fields: options.FieldSelector,
		from: options.ResourceVersion, at: time.Now(),
	}
	switch {
	case err != nil || r.URL.Path != root+"/"+resource || r.Method != http.MethodGet:
		req.verb = r.Method + " " + r.URL.String()
	case options.FieldSelector == noObject:
		req.verb = "list of none"
	case options.Watch:
		req.verb = "watch"
		req.streamed = options.SendInitialEvents != nil && *options.SendInitialEvents &&
			options.ResourceVersionMatch == metav1.ResourceVersionMatchNotOlderThan && options.AllowWatchBookmarks
	}
	return req
}

// refusal returns the HTTP status with which a request is refused, or 0. s.mu is held.
func (s *stubAPI) refusal(r *stubRequest) int {
	switch {
	case s.status != 0:
		return s.status
	case r.verb != "list" && r.verb != "list of none" && r.verb != "watch":
		return http.StatusNotFound
	case r.streamed && s.noStreams:
		return http.StatusUnprocessableEntity // reason Invalid
	}
	return 0
}

// negotiate returns the encoding for a client that accepts these media types. s.mu is held.
func (s *stubAPI) negotiate(resource, accept string) runtime.SerializerInfo {
	mediaType := runtime.ContentTypeJSON
	// A custom resource has no other form.
	if !s.json && resource != importsResource && strings.Contains(accept, runtime.ContentTypeProtobuf) {
		mediaType = runtime.ContentTypeProtobuf
	}
	info, _ := runtime.SerializerInfoForMediaType(stubCodecs.SupportedMediaTypes(), mediaType)
	return info
}

// matches reports whether a label selector selects obj, which may be nil.
func matches(selector string, obj stubObject) bool {
	s, err := labels.Parse(selector)
	return err == nil && obj != nil && s.Matches(labels.Set(obj.GetLabels()))
}

// list returns the list that r asks for. s.mu is held.
func (s *stubAPI) list(r *stubRequest, codec runtime.SerializerInfo) []byte {
	kind := stubKinds[r.resource]
	kind.Kind += "List"
	list, err := stubScheme.New(kind)
	if err != nil {
		panic(err) // stubKinds is wrong
	}
	var items []runtime.Object
	for _, obj := range s.objects[r.resource] {
		if matches(r.selector, obj) && r.verb == "list" {
			items = append(items, obj)
		}
	}
	if err := meta.SetList(list, items); err != nil {
		panic(err) // s.objects is wrong
	}
	list.(metav1.ListInterface).SetResourceVersion(strconv.Itoa(s.version)) // every list is one
	return encoded(codec.Serializer, typed(list))
}

// watch returns the watch that r asks for, with what it is told first. s.mu is held.
func (s *stubAPI) watch(r *stubRequest, codec runtime.SerializerInfo) *stubWatch {
	w := &stubWatch{resource: r.resource, selector: r.selector, codec: codec, wake: make(chan struct{}, 1)}
	from, _ := strconv.Atoi(r.from) // none is 0
	switch {
	case r.streamed:
		for _, obj := range s.objects[r.resource] {
			w.tell(w.change(stubChange{version: s.version, new: obj}))
		}
		w.tell(w.bookmark(s.version, map[string]string{metav1.InitialEventsAnnotationKey: "true"}))
	case from < s.compacted:
		w.tell(w.event(apiwatch.Error, &errExpired.ErrStatus))
		w.ended = true
	default:
		for _, c := range s.history {
			if c.resource == r.resource && c.version > from {
				w.tell(w.change(c))
			}
		}
	}
	s.watches[w] = true
	return w
}

// stubWatch is a running watch.
type stubWatch struct {
	resource string
	selector string
	codec    runtime.SerializerInfo

	wake   chan struct{} // holds a token when there is something new below
	frames [][]byte      // still to be sent; guarded by stubAPI.mu
	ended  bool          // guarded by stubAPI.mu
}

// tell queues frames. stubAPI.mu is held.
func (w *stubWatch) tell(frames ...[]byte) {
	w.frames = append(w.frames, frames...)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run sends what w is told until the watch or the connection ends.
func (w *stubWatch) run(s *stubAPI, rw http.ResponseWriter, r *http.Request) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watches, w)
	}()
	rw.Header().Set("Content-Type", w.codec.MediaType+";stream=watch")
	for {
		s.mu.Lock()
		frames, ended := w.frames, w.ended
		w.frames = nil
		s.mu.Unlock()
		_, err := rw.Write(bytes.Join(frames, nil))
		if ended || err != nil || http.NewResponseController(rw).Flush() != nil {
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
func (w *stubWatch) change(c stubChange) []byte {
	switch before, after := matches(w.selector, c.old), matches(w.selector, c.new); {
	case before && after:
		return w.event(apiwatch.Modified, c.new)
	case after:
		return w.event(apiwatch.Added, c.new)
	case before:
		last := c.old.DeepCopyObject().(stubObject) // a copy is of the same type
		last.SetResourceVersion(strconv.Itoa(c.version))
		return w.event(apiwatch.Deleted, last)
	}
	return nil
}

// bookmark returns the event that says that w has been told everything up to version.
func (w *stubWatch) bookmark(version int, annotations map[string]string) []byte {
	obj, err := stubScheme.New(stubKinds[w.resource])
	if err != nil {
		panic(err) // stubKinds is wrong
	}
	o := obj.(stubObject) // every kind in stubKinds is one
	o.SetResourceVersion(strconv.Itoa(version))
	o.SetAnnotations(annotations)
	return w.event(apiwatch.Bookmark, o)
}

// event returns an event of obj, which may be of any kind.
func (w *stubWatch) event(eventType apiwatch.EventType, obj runtime.Object) []byte {
	return w.rawEvent(eventType, encoded(w.codec.Serializer, typed(obj.DeepCopyObject())))
}

// rawEvent returns an event with an object that may be anything.
func (w *stubWatch) rawEvent(eventType apiwatch.EventType, object []byte) []byte {
	event := &metav1.WatchEvent{Type: string(eventType), Object: runtime.RawExtension{Raw: object}}
	return w.frame(encoded(w.codec.StreamSerializer.Serializer, event))
}

// frame returns what the client reads as one event.
func (w *stubWatch) frame(content []byte) []byte {
	var b bytes.Buffer
	if _, err := w.codec.StreamSerializer.Framer.NewFrameWriter(&b).Write(content); err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}

func encoded(e runtime.Encoder, obj runtime.Object) []byte {
	var b bytes.Buffer
	if err := e.Encode(obj, &b); err != nil {
		panic(fmt.Sprintf("stub: %T: %v", obj, err)) // no object of Kubernetes
	}
	return b.Bytes()
}

// patience is how long a test waits for what has to happen. Reflectors wait up to two seconds before they list again.
const patience = 10 * time.Second

// eventually waits until ok, and fails the test when that takes too long.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
