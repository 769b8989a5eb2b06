package headless

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/go-logr/logr"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/connrotation"
	"k8s.io/klog/v2"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"
)

// The resources that are watched, by the names that RBAC and metrics use.
const (
	namespacesResource = "namespaces"
	servicesResource   = "services"
	slicesResource     = "endpointslices"
	podsResource       = "pods"
	importsResource    = "serviceimports"
	// importedResource are the slices of ServiceImports: the same resource as the others, listed and watched again.
	importedResource = "endpointslices of serviceimports"
)

// spec is what we keep of an object of some resource.
type spec interface{ ID() model.Key }

// store feeds the objects of one resource, of type O, into the index as specs and keeps nothing itself. It is a
// cache.TransformingStore. Its methods return no errors: a reflector would log them and go on without the object.
type store[O any, S spec] struct {
	resource string
	adapt    func(obj any) (o O, ok bool) // takes an object of another type that stands for an O; nil: there is none
	convert  func(O) (s S, ok bool)       // ok is false for an object that is not served
	put      func(S)
	drop     func(model.Key)
	keys     func() []model.Key // of the objects that the index holds
	replace  func(iter.Seq[S])  // makes these all there are; nil: by put, keys and drop
	skip     func(resource string, r flaw)
	synced   *latch
	brought  func(O, S) // called after the put of what a watch brought; nil: nothing is
}

// Add implements cache.ReflectorStore. obj is an API object or what Transformer made of one.
func (s *store[O, S]) Add(obj any) error {
	if spec, ok := s.slim(obj); ok {
		s.put(spec)
		if o, ok := s.object(obj); ok && s.brought != nil {
			s.brought(o, spec)
		}
	}
	return nil
}

// Update implements cache.ReflectorStore.
func (s *store[O, S]) Update(obj any) error { return s.Add(obj) }

// Delete implements cache.ReflectorStore.
func (s *store[O, S]) Delete(obj any) error {
	if o, err := meta.Accessor(obj); err == nil {
		s.drop(model.Key{Namespace: o.GetNamespace(), Name: o.GetName()})
	}
	return nil
}

// Replace implements cache.ReflectorStore: first it puts all that is listed, then it drops what is not, so that nothing
// present is ever missing.
func (s *store[O, S]) Replace(list []any, _ string) error {
	specs := func(yield func(S) bool) {
		for i, obj := range list {
			list[i] = nil // the list is ours, and large
			if spec, ok := s.slim(obj); ok && !yield(spec) {
				return
			}
		}
	}
	if s.replace != nil {
		s.replace(specs)
	} else {
		s.replaceEach(specs)
	}
	s.synced.listed(s.resource)
	return nil
}

func (s *store[O, S]) replaceEach(specs iter.Seq[S]) {
	listed := make(map[model.Key]bool)
	for spec := range specs {
		s.put(spec)
		listed[spec.ID()] = true
	}
	for _, key := range s.keys() {
		if !listed[key] {
			s.drop(key)
		}
	}
}

// UpdateResourceVersion implements cache.ResourceVersionUpdater: a reflector calls it with each event of a watch, also those that
// bring no object.
func (s *store[O, S]) UpdateResourceVersion(string) { s.synced.heard(s.resource) }

// Resync implements cache.ReflectorStore.
func (s *store[O, S]) Resync() error { return nil }

// Transformer implements cache.TransformingStore: it slims objects as they arrive in a streamed list.
func (s *store[O, S]) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		if spec, ok := s.slim(obj); ok {
			return spec, nil
		}
		return unserved{}, nil
	}
}

// unserved stands for an object that slim has already turned down.
type unserved struct{}

// slim converts obj, unless that was done before. ok is false for what is not served.
func (s *store[O, S]) slim(obj any) (spec S, ok bool) {
	switch obj := obj.(type) {
	case S:
		return obj, true
	case unserved:
		return spec, false
	}
	if o, ok := s.object(obj); ok {
		return s.convert(o)
	}
	s.skip(s.resource, unexpected)
	return spec, false
}

// object returns obj as an O.
func (s *store[O, S]) object(obj any) (o O, ok bool) {
	if o, ok = obj.(O); !ok && s.adapt != nil {
		o, ok = s.adapt(obj)
	}
	return o, ok
}

// stores returns the stores that feed x, by resource. They tell l what they hear.
func stores(x *index.Index, c *converter, l *latch) map[string]cache.TransformingStore {
	return map[string]cache.TransformingStore{
		namespacesResource: &store[*corev1.Namespace, *model.Namespace]{
			namespacesResource, nil, c.namespace, x.PutNamespace, x.DropNamespace, x.NamespaceKeys, nil, c.skip, l, nil,
		},
		servicesResource: &store[*corev1.Service, *model.Service]{
			servicesResource, wireServiceOf, c.service, x.PutService, x.DropService, x.ServiceKeys, nil, c.skip, l, nil,
		},
		slicesResource: &store[*wireSlice, *model.Slice]{
			slicesResource, wireSliceOf, c.slice, x.PutSlice, x.DropSlice, nil, x.ReplaceSlices, c.skip, l, newProgramming(x, c.skip).put,
		},
	}
}

// importStores adds the stores that feed x, the index of the multicluster zones, to feeds. The Namespaces feed both indexes.
func importStores(feeds map[string]cache.TransformingStore, x *index.Index, c *converter, l *latch) {
	namespaces := feeds[namespacesResource].(*store[*corev1.Namespace, *model.Namespace])
	put, drop := namespaces.put, namespaces.drop
	namespaces.put = func(s *model.Namespace) {
		put(s)
		x.PutNamespace(s)
	}
	namespaces.drop = func(key model.Key) {
		drop(key)
		x.DropNamespace(key)
	}
	feeds[importsResource] = &store[*mcsv1alpha1.ServiceImport, *model.Service]{
		importsResource, nil, c.serviceImport, x.PutService, x.DropService, x.ServiceKeys, nil, c.skip, l, nil,
	}
	feeds[importedResource] = &store[*wireSlice, *model.Slice]{
		importedResource, wireSliceOf, c.importedSlice, x.PutSlice, x.DropSlice, nil, x.ReplaceSlices, c.skip, l, nil,
	}
}

// podStore returns the store that feeds p.
func podStore(p *index.Pods, c *converter, l *latch) cache.TransformingStore {
	return &store[*corev1.Pod, *model.Pod]{podsResource, nil, c.pod, p.Put, p.Drop, p.Keys, nil, c.skip, l, nil}
}

// latch is open once every resource it waits for has been listed. It also knows when each was heard of last.
type latch struct {
	mu      sync.Mutex // guards waiting
	waiting map[string]bool
	open    chan struct{} // closed when waiting is empty
	isOpen  atomic.Bool
	last    map[string]*lastTimes // by resource; the map is never modified
	onList  func()                // called before a resource counts as listed
	onOpen  func()                // called when the latch has opened
}

// lastTimes says when a resource was heard of last, and listed: Unix times in nanoseconds, 0 for never.
type lastTimes struct{ heard, listed atomic.Int64 }

func newLatch(resources ...string) *latch {
	l := &latch{
		waiting: make(map[string]bool), open: make(chan struct{}), last: make(map[string]*lastTimes), onList: func() {}, onOpen: func() {},
	}
	for _, r := range resources {
		l.waiting[r] = true
		l.last[r] = new(lastTimes)
	}
	return l
}

// heard notes that the API server said something of a resource.
func (l *latch) heard(resource string) {
	if at := l.last[resource]; at != nil {
		at.heard.Store(time.Now().UnixNano())
	}
}

// confirmed returns when every resource had been heard of last.
func (l *latch) confirmed() time.Time {
	first := int64(math.MaxInt64)
	for _, at := range l.last {
		first = min(first, at.heard.Load())
	}
	return time.Unix(0, first)
}

// listed notes that a resource has been listed.
func (l *latch) listed(resource string) {
	l.heard(resource)
	if at := l.last[resource]; at != nil {
		at.listed.Store(at.heard.Load())
	}
	l.onList()
	l.mu.Lock()
	delete(l.waiting, resource)
	opens := len(l.waiting) == 0 && !l.isOpen.Load()
	if opens {
		l.isOpen.Store(true)
		close(l.open)
	}
	l.mu.Unlock()
	if opens {
		l.onOpen()
	}
}

// missing returns the resources not listed yet, sorted.
func (l *latch) missing() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.waiting))
}

// apiServer is the source that watches an API server.
type apiServer struct {
	config     *rest.Config
	url        string // without credentials
	access     access
	feeds      map[string]cache.TransformingStore // by resource
	synced     *latch                             // which the feeds tell what they hear
	conns      *connrotation.Dialer
	reflectors []*cache.Reflector
	ctx        context.Context // ends with stop
	cancel     context.CancelFunc
	running    sync.WaitGroup
}

// newAPIServer prepares the reflectors that cfg asks for, without a connection yet. l is the latch of feeds.
func newAPIServer(cfg *config, feeds map[string]cache.TransformingStore, l *latch) (*apiServer, error) {
	rc, err := cfg.clientConfig()
	if err != nil {
		return nil, fmt.Errorf("cannot configure the Kubernetes client: %s", withoutUserinfo(err.Error()))
	}
	server, _, err := rest.DefaultServerUrlFor(rc)
	if err != nil {
		return nil, fmt.Errorf("cannot configure the Kubernetes client: %w", err)
	}
	a := &apiServer{
		config: rc, url: server.Scheme + "://" + server.Host, access: cfg.access(), feeds: feeds, synced: l,
		conns: connrotation.NewDialer(dialer.DialContext),
	}
	a.ctx, a.cancel = context.WithCancel(klog.NewContext(context.Background(), logr.Discard()))
	rc.Dial = a.dial
	httpClient, err := newHTTPClient(rc)
	if err != nil {
		return nil, fmt.Errorf("cannot make an HTTP client: %w", err)
	}
	core, errCore := newRESTClient(rc, httpClient, corev1.SchemeGroupVersion)
	discovery, errDiscovery := newRESTClient(rc, httpClient, discoveryv1.SchemeGroupVersion)
	mcs, errMCS := newRESTClient(rc, httpClient, schema.GroupVersion(mcsv1alpha1.GroupVersion))
	if err := errors.Join(errCore, errDiscovery, errMCS); err != nil {
		return nil, fmt.Errorf("cannot make a Kubernetes client: %w", err)
	}
	a.reflect(namespacesResource, &corev1.Namespace{}, &listWatch{client: core, labels: cfg.namespaceLabels})
	a.reflect(servicesResource, &wireService{}, &listWatch{client: core, labels: cfg.labels})
	if !cfg.noEndpoints {
		a.reflect(slicesResource, &wireSlice{}, &listWatch{client: discovery, labels: cfg.sliceLabels()})
	}
	if len(cfg.multicluster) > 0 {
		imported := with(cfg.labels, mcsv1alpha1.LabelServiceName)
		a.reflect(importsResource, &mcsv1alpha1.ServiceImport{}, &listWatch{client: mcs})
		a.reflect(importedResource, &wireSlice{}, &listWatch{client: discovery, path: slicesResource, labels: imported})
	}
	if cfg.podMode == podsVerified {
		a.reflect(podsResource, &corev1.Pod{}, &listWatch{client: core, labels: cfg.labels, fields: runningPods})
	}
	return a, nil
}

// runningPods selects the Pods that have, or will have, an address of their own.
const runningPods = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"

// reflect adds the reflector of a resource, whose objects are like object.
func (a *apiServer) reflect(resource string, object runtime.Object, l *listWatch) {
	l.report.resource, l.path, l.access = resource, cmp.Or(l.path, resource), a.access
	l.heard = func() { a.synced.heard(resource) }
	l.failed.backoff, l.watches.backoff, l.lists.backoff = requestBackoff, requestBackoff, listBackoff
	lw := &cache.ListWatch{ListWithContextFunc: l.list, WatchFuncWithContext: l.watch}
	for _, end := range watchEnds {
		watchRestarts.WithLabelValues(resource, string(end)) // it is there before one ends
	}
	silent := logr.Discard() // what goes wrong is reported by l, and l waits
	a.reflectors = append(a.reflectors, cache.NewReflectorWithOptions(lw, object, a.feeds[resource], cache.ReflectorOptions{
		Name: pluginName, Logger: &silent, Backoff: &wait.Backoff{},
	}))
}

// String implements source.
func (a *apiServer) String() string {
	return fmt.Sprintf("the API server %s, by %s", a.url, a.access.address)
}

// start runs the reflectors until stop.
func (a *apiServer) start() {
	for _, r := range a.reflectors {
		a.running.Go(func() { r.RunWithContext(a.ctx) })
	}
}

// stop ends the watches and closes the connections. It returns when nothing of them is left.
func (a *apiServer) stop() {
	a.cancel()
	a.running.Wait()
	a.conns.CloseAll()
}
