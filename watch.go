package headless

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net"
	"net/http"
	"net/url"
	goruntime "runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coredns/coredns/coremain"
	"github.com/go-logr/logr"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	_ "k8s.io/client-go/plugin/pkg/client/auth/oidc" // a kubeconfig may ask for it, as with the kubernetes plugin
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/connrotation"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"
	mcsclient "sigs.k8s.io/mcs-api/pkg/client/clientset/versioned/typed/apis/v1alpha1"
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
type spec interface{ id() objectKey }

// store feeds the objects of one resource, of type O, into the index as specs and keeps nothing itself. It is a
// cache.TransformingStore. Its methods return no errors: a reflector would log them and go on without the object.
type store[O any, S spec] struct {
	resource string
	convert  func(O) (s S, ok bool) // ok is false for an object that is not served
	put      func(S)
	drop     func(objectKey)
	keys     func() []objectKey // of the objects that the index holds
	replace  func(iter.Seq[S])  // makes these all there are; nil: by put, keys and drop
	skip     func(resource string, r reason)
	listed   func(resource string) // called after each Replace
	brought  func(O, S)            // called after the put of what a watch brought; nil: nothing is
}

// Add implements cache.ReflectorStore. obj is an API object or what Transformer made of one.
func (s *store[O, S]) Add(obj any) error {
	if spec, ok := s.slim(obj); ok {
		s.put(spec)
		if o, ok := obj.(O); ok && s.brought != nil {
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
		s.drop(objectKey{o.GetNamespace(), o.GetName()})
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
	s.listed(s.resource)
	return nil
}

func (s *store[O, S]) replaceEach(specs iter.Seq[S]) {
	listed := make(map[objectKey]bool)
	for spec := range specs {
		s.put(spec)
		listed[spec.id()] = true
	}
	for _, key := range s.keys() {
		if !listed[key] {
			s.drop(key)
		}
	}
}

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
	case O:
		return s.convert(obj)
	case unserved:
	default:
		s.skip(s.resource, unexpected)
	}
	return spec, false
}

// stores returns the stores that feed x, by resource. listed is called after each complete list.
func stores(x *index, c *converter, listed func(resource string)) map[string]cache.TransformingStore {
	return map[string]cache.TransformingStore{
		namespacesResource: &store[*corev1.Namespace, *namespaceSpec]{
			namespacesResource, c.namespace, x.putNamespace, x.dropNamespace, x.namespaceKeys, nil, c.skip, listed, nil,
		},
		servicesResource: &store[*corev1.Service, *serviceSpec]{
			servicesResource, c.service, x.putService, x.dropService, x.serviceKeys, nil, c.skip, listed, nil,
		},
		slicesResource: &store[*discoveryv1.EndpointSlice, *sliceSpec]{
			slicesResource, c.slice, x.putSlice, x.dropSlice, nil, x.replaceSlices, c.skip, listed, newProgramming(x, c.skip).put,
		},
	}
}

// importStores adds the stores that feed x, the index of the multicluster zones, to feeds. The Namespaces feed both indexes.
func importStores(feeds map[string]cache.TransformingStore, x *index, c *converter, listed func(resource string)) {
	namespaces := feeds[namespacesResource].(*store[*corev1.Namespace, *namespaceSpec])
	put, drop := namespaces.put, namespaces.drop
	namespaces.put = func(s *namespaceSpec) {
		put(s)
		x.putNamespace(s)
	}
	namespaces.drop = func(key objectKey) {
		drop(key)
		x.dropNamespace(key)
	}
	feeds[importsResource] = &store[*mcsv1alpha1.ServiceImport, *serviceSpec]{
		importsResource, c.serviceImport, x.putService, x.dropService, x.serviceKeys, nil, c.skip, listed, nil,
	}
	feeds[importedResource] = &store[*discoveryv1.EndpointSlice, *sliceSpec]{
		importedResource, c.importedSlice, x.putSlice, x.dropSlice, nil, x.replaceSlices, c.skip, listed, nil,
	}
}

// podStore returns the store that feeds p.
func podStore(p *pods, c *converter, listed func(resource string)) cache.TransformingStore {
	return &store[*corev1.Pod, *podSpec]{podsResource, c.pod, p.put, p.drop, p.keys, nil, c.skip, listed, nil}
}

// latch is open once every resource it waits for has been listed.
type latch struct {
	mu      sync.Mutex // guards waiting
	waiting map[string]bool
	open    chan struct{} // closed when waiting is empty
	isOpen  atomic.Bool
}

func newLatch(resources ...string) *latch {
	l := &latch{waiting: make(map[string]bool), open: make(chan struct{})}
	for _, r := range resources {
		l.waiting[r] = true
	}
	return l
}

// listed notes that a resource has been listed.
func (l *latch) listed(resource string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, resource)
	if len(l.waiting) == 0 && !l.isOpen.Load() {
		l.isOpen.Store(true)
		close(l.open)
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
	conns      *connrotation.Dialer
	reflectors []*cache.Reflector
	ctx        context.Context // ends with stop
	cancel     context.CancelFunc
	running    sync.WaitGroup
}

// newAPIServer prepares the reflectors that cfg asks for, without a connection yet.
func newAPIServer(cfg *config, feeds map[string]cache.TransformingStore) (*apiServer, error) {
	rc, err := cfg.clientConfig()
	if err != nil {
		return nil, fmt.Errorf("cannot configure the Kubernetes client: %w", err)
	}
	a := &apiServer{config: rc}
	a.ctx, a.cancel = context.WithCancel(klog.NewContext(context.Background(), logr.Discard()))
	a.conns = connrotation.NewDialer((&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext)
	rc.Dial = a.dial
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("cannot make a Kubernetes client: %w", err)
	}
	core, discovery := client.CoreV1(), client.DiscoveryV1()
	every := metav1.NamespaceAll
	watch(a, client, feeds, namespacesResource, selectors{cfg.namespaceLabels, ""}, &corev1.Namespace{}, core.Namespaces())
	watch(a, client, feeds, servicesResource, selectors{cfg.labels, ""}, &corev1.Service{}, core.Services(every))
	if !cfg.noEndpoints {
		watch(a, client, feeds, slicesResource, selectors{cfg.sliceLabels(), ""}, &discoveryv1.EndpointSlice{}, discovery.EndpointSlices(every))
	}
	if len(cfg.multicluster) > 0 {
		imports, err := mcsclient.NewForConfig(rc)
		if err != nil {
			return nil, fmt.Errorf("cannot make a client for ServiceImports: %w", err)
		}
		imported := selectors{with(cfg.labels, mcsv1alpha1.LabelServiceName), ""}
		watch(a, client, feeds, importsResource, selectors{}, &mcsv1alpha1.ServiceImport{}, imports.ServiceImports(every))
		watch(a, client, feeds, importedResource, imported, &discoveryv1.EndpointSlice{}, discovery.EndpointSlices(every))
	}
	if cfg.podMode == podsVerified {
		watch(a, client, feeds, podsResource, selectors{cfg.labels, runningPods}, &corev1.Pod{}, core.Pods(every))
	}
	return a, nil
}

// lister is the part of a typed client that a reflector needs.
type lister[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (apiwatch.Interface, error)
}

// runningPods selects the Pods that have, or will have, an address of their own.
const runningPods = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"

// selectors restrict a resource to some of its objects.
type selectors struct {
	labels labels.Selector // nil: no restriction
	fields string
}

var errNoList = errors.New("the reply is no list")

// isList reports whether list is one of an API server: all of these have a resource version. The client library takes null, and
// objects of other kinds, for an empty list.
func isList(list runtime.Object) bool {
	m, err := meta.ListAccessor(list)
	return err == nil && m.GetResourceVersion() != ""
}

// watch adds the reflector of one resource, restricted by sel.
func watch[L runtime.Object](
	a *apiServer, client kubernetes.Interface, feeds map[string]cache.TransformingStore,
	resource string, sel selectors, object runtime.Object, l lister[L],
) {
	restrict := func(o *metav1.ListOptions) {
		if sel.labels != nil {
			o.LabelSelector = sel.labels.String()
		}
		o.FieldSelector = sel.fields
	}
	listing := failures{doing: "list " + resource}
	watching := failures{doing: "watch " + resource}
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			restrict(&o)
			list, err := l.List(ctx, o)
			if err == nil && !isList(list) {
				err = errNoList
			}
			listing.report(ctx, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			restrict(&o)
			w, err := l.Watch(ctx, o)
			watching.report(ctx, err)
			return w, err
		},
	}, client)
	silent := logr.Discard() // what goes wrong is reported above
	r := cache.NewReflectorWithOptions(lw, object, feeds[resource], cache.ReflectorOptions{
		Name: pluginName, Logger: &silent, Clock: stoppingClock{clock.RealClock{}, a.ctx},
	})
	a.reflectors = append(a.reflectors, r)
}

// failures reports what goes wrong with one kind of request, the same error no more than once a minute.
type failures struct {
	doing string
	mu    sync.Mutex // guards the fields below
	last  string
	at    time.Time
}

// report logs err. Nil is no error, and these are none for us: a version that has expired, a server that does not stream lists,
// and the end of ctx.
func (f *failures) report(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsInvalid(err) {
		return
	}
	if request := (*url.Error)(nil); errors.As(err, &request) {
		err = request.Err // without the URL, which has another timeout each time
	}
	f.mu.Lock()
	isNews := err.Error() != f.last || time.Since(f.at) >= time.Minute
	if isNews {
		f.last, f.at = err.Error(), time.Now()
	}
	f.mu.Unlock()
	if isNews {
		log.Warningf("cannot %s: %v", f.doing, err)
	}
}

// stoppingClock is the real clock, but nobody waits with After beyond the end of ctx: a reflector waits for its next try at
// a streamed list, up to a minute, without regard to its own context.
type stoppingClock struct {
	clock.RealClock
	ctx context.Context
}

// After implements clock.Clock.
func (c stoppingClock) After(d time.Duration) <-chan time.Time {
	ctx, cancel := context.WithTimeout(c.ctx, d)
	fired := make(chan time.Time, 1)
	context.AfterFunc(ctx, func() {
		cancel()
		fired <- time.Now()
	})
	return fired
}

// dial opens a connection that stop closes. A transport goes on dialling when the request that it dials for has ended.
func (a *apiServer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.ctx, cancel)()
	conn, err := a.conns.DialContext(ctx, network, address)
	if err == nil && a.ctx.Err() != nil {
		_ = conn.Close() // stop has closed the others
		return nil, a.ctx.Err()
	}
	return conn, err
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

// clientConfig returns how to reach the API server: by kubeconfig, by endpoint, or from inside the cluster.
func (cfg *config) clientConfig() (*rest.Config, error) {
	rc, err := cfg.loadClientConfig()
	if err != nil {
		return nil, err
	}
	rc.ContentType = runtime.ContentTypeProtobuf
	rc.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	rc.UserAgent = fmt.Sprintf("%s/%s %s (%s/%s)", coremain.CoreName, coremain.CoreVersion, pluginName, goruntime.GOOS, goruntime.GOARCH)
	if cfg.qps > 0 {
		rc.QPS = cfg.qps
	}
	if cfg.burst > 0 {
		rc.Burst = cfg.burst
	}
	if cfg.maxInflight > 0 {
		slots := make(chan struct{}, cfg.maxInflight)
		rc.Wrap(func(next http.RoundTripper) http.RoundTripper { return inflight{next, slots} })
	}
	return rc, measureRequests(rc)
}

func (cfg *config) loadClientConfig() (*rest.Config, error) {
	switch {
	case cfg.kubeconfig != "":
		rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: cfg.kubeconfig}
		overrides := &clientcmd.ConfigOverrides{CurrentContext: cfg.context}
		return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	case cfg.endpoint != "":
		overrides := &clientcmd.ConfigOverrides{
			ClusterInfo: clientcmdapi.Cluster{Server: cfg.endpoint, CertificateAuthority: cfg.caFile},
			AuthInfo:    clientcmdapi.AuthInfo{ClientCertificate: cfg.certFile, ClientKey: cfg.keyFile},
		}
		return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&clientcmd.ClientConfigLoadingRules{}, overrides).ClientConfig()
	}
	return rest.InClusterConfig()
}

// inflight is a RoundTripper that lets as many requests run at once as it has slots.
type inflight struct {
	next  http.RoundTripper
	slots chan struct{}
}

func (f inflight) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
		return f.next.RoundTrip(r)
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}
