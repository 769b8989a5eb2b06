package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/oracle"
	"github.com/coredns-headless/headless/test/cluster"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

// observer watches the cluster by itself: what DNS should say, when that changed, and which pods have to be found.
type observer struct {
	namespaces corelisters.NamespaceLister
	services   corelisters.ServiceLister
	slices     discoverylisters.EndpointSliceLister
	pods       corelisters.PodLister

	// changed is called with questions whose answer is another one since some time, in one goroutine.
	changed func([]question, time.Time)
	// current is a model of the addresses only.
	current atomic.Pointer[model]
	// known are the subjects there are, by Service and family, the largest group first. It is replaced, never modified.
	known atomic.Pointer[[][]*subject]

	wake chan struct{}

	mu       sync.Mutex // guards the fields below
	since    time.Time  // when the first event came that current lacks; zero: it lacks none
	subjects map[subjectKey]*subject
}

// subject is a pod that the clients of a headless Service have to find: for as long as it is ready and keeps its address.
type subject struct {
	subjectKey
	host   string       // its owner name
	listed time.Time    // when a slice was last seen to list it; the mutex of the observer guards it
	ceased atomic.Int64 // in Unix nanoseconds; 0: it has not
	// seen holds, for each server and each kind of question, whether the server has found it once. What was never there cannot
	// be denied; that all comes to be there is for the model to say.
	seen [contestants][kinds]atomic.Bool
}

type subjectKey struct {
	service types.NamespacedName
	pod     types.UID
	addr    netip.Addr
}

// startObserver returns when it has listed everything. It runs until the test ends.
func startObserver(t *testing.T, c *cluster.Cluster, changed func([]question, time.Time)) *observer {
	t.Helper()
	factory := informers.NewSharedInformerFactory(c.Client, 0)
	o := &observer{
		namespaces: factory.Core().V1().Namespaces().Lister(),
		services:   factory.Core().V1().Services().Lister(),
		slices:     factory.Discovery().V1().EndpointSlices().Lister(),
		pods:       factory.Core().V1().Pods().Lister(),
		changed:    changed,
		wake:       make(chan struct{}, 1),
		subjects:   make(map[subjectKey]*subject),
	}
	o.current.Store(newModel(nil, nil, nil))
	o.known.Store(new([][]*subject))
	handle := func(informer cache.SharedIndexInformer, f func(o, n any)) {
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(n any) { f(nil, n) },
			UpdateFunc: f,
			DeleteFunc: func(o any) {
				if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
					o = last.Obj
				}
				f(o, nil)
			},
		})
		fatal.If(t, err)
	}
	handle(factory.Core().V1().Namespaces().Informer(), o.namespaceChanged)
	handle(factory.Core().V1().Services().Informer(), o.serviceChanged)
	handle(factory.Discovery().V1().EndpointSlices().Informer(), o.sliceChanged)
	handle(factory.Core().V1().Pods().Informer(), o.podChanged)
	factory.Start(t.Context().Done())
	factory.WaitForCacheSync(t.Context().Done())
	var done sync.WaitGroup
	t.Cleanup(func() { // when t.Context is done
		done.Wait()
		factory.Shutdown()
	})
	done.Go(func() {
		for {
			select {
			case <-o.wake:
				o.follow()
			case <-t.Context().Done():
				return
			}
		}
	})
	done.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				o.findSubjects()
			case <-t.Context().Done():
				return
			}
		}
	})
	return o
}

// objects returns what the model is made of, as it was seen last.
func (o *observer) objects() ([]*corev1.Namespace, []*corev1.Service, []*discoveryv1.EndpointSlice) {
	namespaces, _ := o.namespaces.List(labels.Everything()) // listers of informers return no errors
	services, _ := o.services.List(labels.Everything())
	epSlices, _ := o.slices.List(labels.Everything())
	return namespaces, services, epSlices
}

// event says that an object came that the model is made of.
func (o *observer) event() {
	now := time.Now()
	o.mu.Lock()
	if o.since.IsZero() {
		o.since = now
	}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default: // it will look soon
	}
}

// follow makes current so, and says what changed.
func (o *observer) follow() {
	o.mu.Lock()
	since := o.since
	o.since = time.Time{}
	o.mu.Unlock()
	if since.IsZero() { // an object can be seen a moment before its event
		since = time.Now()
	}
	last, m := o.current.Load(), newAddressModel(o.objects())
	o.current.Store(m)
	var changed []question
	for q, rdata := range m.rrsets {
		if !slices.Equal(rdata, last.rrsets[q]) {
			changed = append(changed, q)
		}
	}
	for q := range last.rrsets {
		if m.rrsets[q] == nil {
			changed = append(changed, q)
		}
	}
	o.changed(changed, since)
}

func (o *observer) namespaceChanged(_, n any) {
	o.event()
	if ns, ok := n.(*corev1.Namespace); ok && ns.DeletionTimestamp != nil {
		o.cease(func(s *subject) bool { return s.service.Namespace == ns.Name })
	}
}

func (o *observer) serviceChanged(last, n any) {
	o.event()
	before, ok := last.(*corev1.Service)
	if !ok {
		return
	}
	after, ok := n.(*corev1.Service)
	if ok && after.UID == before.UID && after.Spec.ClusterIP == before.Spec.ClusterIP &&
		maps.Equal(after.Spec.Selector, before.Spec.Selector) && slices.Equal(after.Spec.IPFamilies, before.Spec.IPFamilies) {
		return
	}
	service := types.NamespacedName{Namespace: before.Namespace, Name: before.Name}
	o.cease(func(s *subject) bool { return s.service == service })
}

// sliceChanged ends the time of the pods of which a slice says that they are not ready, and of those in one that was labelled as
// another Service's: no server can tell these from pods that are gone (behaviour section 4).
func (o *observer) sliceChanged(last, n any) {
	o.event()
	s, ok := n.(*discoveryv1.EndpointSlice)
	if !ok {
		return
	}
	if before, ok := last.(*discoveryv1.EndpointSlice); ok &&
		before.Labels[discoveryv1.LabelServiceName] != s.Labels[discoveryv1.LabelServiceName] {
		for _, e := range before.Endpoints {
			if key, ok := keyOf(before, e); ok {
				o.mu.Lock()
				o.ceaseLocked(o.subjects[key], time.Now())
				o.mu.Unlock()
			}
		}
	}
	for _, e := range s.Endpoints {
		if key, ok := keyOf(s, e); ok && e.Conditions.Ready != nil && !*e.Conditions.Ready {
			o.mu.Lock()
			o.ceaseLocked(o.subjects[key], time.Now())
			o.mu.Unlock()
		}
	}
}

func (o *observer) podChanged(last, n any) {
	before, ok := last.(*corev1.Pod)
	if !ok {
		return
	}
	after, ok := n.(*corev1.Pod)
	if ok && after.UID == before.UID && isReady(after) && slices.Equal(after.Status.PodIPs, before.Status.PodIPs) &&
		maps.Equal(after.Labels, before.Labels) {
		return
	}
	o.cease(func(s *subject) bool { return s.pod == before.UID })
}

// cease ends the time of the subjects that match.
func (o *observer) cease(match func(*subject) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.subjects {
		if match(s) {
			o.ceaseLocked(s, time.Now())
		}
	}
}

// ceaseLocked ends the time of s, which may be nil, with mu held.
func (o *observer) ceaseLocked(s *subject, at time.Time) {
	if s != nil {
		s.ceased.Store(at.UnixNano())
		delete(o.subjects, s.subjectKey)
	}
}

// unlisted is for how long a pod may be in no slice, which is less than the time that headless holds it. When a control plane on
// a busy machine takes longer, nobody can tell such a pod from one that is gone.
const unlisted = 4 * time.Second

// findSubjects adds the pods that are ready and that their Service lists as ready, and ends the time of those that have been in
// no slice for too long.
func (o *observer) findSubjects() {
	now := time.Now()
	o.mu.Lock() // before the objects are read: what changes later ceases them
	defer o.mu.Unlock()
	epSlices, _ := o.slices.List(labels.Everything())
	for _, s := range epSlices {
		svc, err := o.services.Services(s.Namespace).Get(s.Labels[discoveryv1.LabelServiceName])
		if err != nil || svc.Spec.ClusterIP != corev1.ClusterIPNone || !ownedBy(s, svc) {
			continue
		}
		ns, err := o.namespaces.Get(s.Namespace)
		if err != nil || ns.DeletionTimestamp != nil {
			continue
		}
		for _, e := range s.Endpoints {
			key, ok := keyOf(s, e)
			if !ok || e.Conditions.Ready == nil || !*e.Conditions.Ready {
				continue
			}
			if known := o.subjects[key]; known != nil {
				known.listed = now
				continue
			}
			pod, err := o.pods.Pods(s.Namespace).Get(e.TargetRef.Name)
			if err != nil || pod.UID != key.pod || !isReady(pod) {
				continue
			}
			host := oracle.AddressLabel(key.addr)
			if e.Hostname != nil {
				host = *e.Hostname
			}
			o.subjects[key] = &subject{
				subjectKey: key,
				listed:     now,
				host:       host + "." + key.service.Name + "." + key.service.Namespace + ".svc." + clusterZone,
			}
		}
	}
	groups := make(map[string][]*subject)
	for _, s := range o.subjects {
		if now.Sub(s.listed) > unlisted {
			o.ceaseLocked(s, s.listed.Add(unlisted))
			continue
		}
		key := fmt.Sprint(s.service, s.addr.Is4())
		groups[key] = append(groups[key], s)
	}
	known := slices.SortedFunc(maps.Values(groups), func(a, b []*subject) int { return len(b) - len(a) })
	o.known.Store(&known)
}

// keyOf returns that of the pod behind an endpoint that the control plane wrote.
func keyOf(s *discoveryv1.EndpointSlice, e discoveryv1.Endpoint) (subjectKey, bool) {
	if e.TargetRef == nil || len(e.Addresses) != 1 {
		return subjectKey{}, false
	}
	addr, err := netip.ParseAddr(e.Addresses[0])
	service := types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
	return subjectKey{service, e.TargetRef.UID, addr}, err == nil
}

func ownedBy(s *discoveryv1.EndpointSlice, svc *corev1.Service) bool {
	return len(s.OwnerReferences) == 1 && s.OwnerReferences[0].UID == svc.UID
}

// isReady reports whether a pod is, and is not being deleted.
func isReady(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
