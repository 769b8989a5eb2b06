package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// What a pod may say to the kubelets by its annotations.
const (
	// ReadyAnnotation with the value "false" is a readiness probe that fails.
	ReadyAnnotation = "kubelets.test/ready"
	// LingerAnnotation is for how long a deleted pod goes on to run, but for no longer than its grace period. The default is
	// DefaultLinger.
	LingerAnnotation = "kubelets.test/linger"
	DefaultLinger    = time.Second
)

const (
	nodes = 8
	zones = 3
	// A node has addresses for podsPerNode pods. As few as that, so that they are used again, as in a real cluster.
	podsPerNode = 250
)

// kubelets are the kubelets of all nodes, and their scheduler: they bind each pod to a node, give it an address of each family,
// and make it ready. A deleted pod goes on for a moment.
type kubelets struct {
	client kubernetes.Interface
	pods   corelisters.PodLister
	queue  workqueue.TypedRateLimitingInterface[types.NamespacedName]
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex              // guards the fields below
	numbers map[types.UID]podNumber // of the pods that have addresses
	taken   [nodes][podsPerNode]bool
	next    [nodes]int // addresses are given in turn
}

// podNumber is which pod of which node a pod is. Its addresses follow from that.
type podNumber struct{ node, pod int }

func (n podNumber) addrs() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr(fmt.Sprintf("10.244.%d.%d", n.node, n.pod+1)),
		netip.MustParseAddr(fmt.Sprintf("fd00:10:244:%x::%x", n.node, n.pod+1)),
	}
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i) }

// startKubelets starts them. They run until stop is called.
func startKubelets(ctx context.Context, client kubernetes.Interface) (*kubelets, error) {
	for i := range nodes {
		if err := createNode(ctx, client, i); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	factory := informers.NewSharedInformerFactory(client, 0)
	informer := factory.Core().V1().Pods()
	k := &kubelets{
		client: client,
		pods:   informer.Lister(),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](10*time.Millisecond, time.Second)),
		cancel:  cancel,
		numbers: make(map[types.UID]podNumber),
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { k.enqueue(o.(*corev1.Pod)) },
		UpdateFunc: func(_, o any) { k.enqueue(o.(*corev1.Pod)) },
		DeleteFunc: func(o any) {
			if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			k.release(o.(*corev1.Pod).UID)
		},
	}
	if _, err := informer.Informer().AddEventHandler(handler); err != nil {
		cancel()
		return nil, err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	pods, err := k.pods.List(labels.Everything())
	if err != nil {
		cancel()
		return nil, err
	}
	for _, pod := range pods { // the addresses that are in use, before any is given
		if pod.Status.PodIP != "" {
			if _, err := k.addrs(pod); err != nil {
				cancel()
				return nil, err
			}
		}
	}
	for range 16 {
		k.done.Go(func() { k.work(ctx) })
	}
	k.done.Go(func() {
		<-ctx.Done()
		k.queue.ShutDown()
		factory.Shutdown()
	})
	return k, nil
}

func (k *kubelets) stop() {
	k.cancel()
	k.done.Wait()
}

func createNode(ctx context.Context, client kubernetes.Interface, i int) error {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName(i), Labels: map[string]string{
			corev1.LabelHostname:     nodeName(i),
			corev1.LabelTopologyZone: fmt.Sprintf("zone-%c", 'a'+i%zones),
		}},
		Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: nodeAddr(i).String()}},
		},
	}
	_, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// nodeAddr returns the address of a node, which is also that of the pods in its network.
func nodeAddr(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("192.168.0.%d", i+1)) }

func (k *kubelets) enqueue(p *corev1.Pod) {
	k.queue.Add(types.NamespacedName{Namespace: p.Namespace, Name: p.Name})
}

func (k *kubelets) work(ctx context.Context) {
	for {
		key, shutdown := k.queue.Get()
		if shutdown {
			return
		}
		pod, err := k.pods.Pods(key.Namespace).Get(key.Name)
		var again time.Duration
		if err == nil {
			again, err = k.look(ctx, pod)
		}
		switch {
		case err != nil && !apierrors.IsNotFound(err):
			k.queue.AddRateLimited(key) // the API server may be away, by intent
		case again > 0:
			k.queue.AddAfter(key, again)
		default:
			k.queue.Forget(key)
		}
		k.queue.Done(key)
	}
}

// look does what is due for a pod, and says when to look again, if it has to be without a change.
func (k *kubelets) look(ctx context.Context, pod *corev1.Pod) (again time.Duration, err error) {
	switch {
	case pod.DeletionTimestamp != nil:
		if left := time.Until(lingersUntil(pod)); left > 0 {
			return left, k.report(ctx, pod)
		}
		return 0, k.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name,
			metav1.DeleteOptions{GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	case pod.Spec.NodeName == "":
		return 0, k.bind(ctx, pod)
	}
	return 0, k.report(ctx, pod)
}

// lingersUntil returns when the containers of a deleted pod will have ended.
func lingersUntil(pod *corev1.Pod) time.Time {
	linger, err := time.ParseDuration(pod.Annotations[LingerAnnotation])
	if err != nil {
		linger = DefaultLinger
	}
	grace := time.Duration(0)
	if s := pod.DeletionGracePeriodSeconds; s != nil {
		grace = time.Duration(*s) * time.Second
	}
	return pod.DeletionTimestamp.Add(min(linger, grace) - grace)
}

func (k *kubelets) bind(ctx context.Context, pod *corev1.Pod) error {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(pod.Name)) // a hash takes everything
	return k.client.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: nodeName(int(hash.Sum32() % nodes))},
	}, metav1.CreateOptions{})
}

// report writes the status of a pod, which is bound, if it is another one.
func (k *kubelets) report(ctx context.Context, pod *corev1.Pod) error {
	addrs, err := k.addrs(pod)
	if err != nil {
		return err
	}
	status := corev1.PodStatus{Phase: corev1.PodRunning}
	for _, addr := range addrs {
		status.PodIPs = append(status.PodIPs, corev1.PodIP{IP: addr.String()})
	}
	status.PodIP = status.PodIPs[0].IP
	ready := corev1.ConditionTrue
	if pod.Annotations[ReadyAnnotation] == "false" {
		ready = corev1.ConditionFalse
	}
	if pod.Status.PodIP == status.PodIP && readiness(pod) == ready {
		return nil
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		condition := corev1.PodCondition{Type: kind, Status: ready, LastTransitionTime: metav1.Now()}
		if kind == corev1.PodInitialized {
			condition.Status = corev1.ConditionTrue
		}
		status.Conditions = append(status.Conditions, condition)
	}
	for _, container := range pod.Spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, corev1.ContainerStatus{
			Name: container.Name, Image: container.Image, Ready: ready == corev1.ConditionTrue, Started: new(true),
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
		})
	}
	patch, err := json.Marshal(corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: pod.UID}, Status: status})
	if err != nil {
		return err
	}
	_, err = k.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch,
		metav1.PatchOptions{}, "status")
	return err
}

func readiness(pod *corev1.Pod) corev1.ConditionStatus {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status
		}
	}
	return ""
}

// addrs returns the addresses of a pod, which is bound.
func (k *kubelets) addrs(pod *corev1.Pod) ([]netip.Addr, error) {
	var node int
	if _, err := fmt.Sscanf(pod.Spec.NodeName, "node-%d", &node); err != nil || node < 0 || node >= nodes {
		return nil, fmt.Errorf("pod %s is bound to node %q, which is none of ours", pod.Name, pod.Spec.NodeName)
	}
	if pod.Spec.HostNetwork {
		return []netip.Addr{nodeAddr(node)}, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	n, ok := k.numbers[pod.UID]
	if !ok {
		if n, ok = k.take(pod, node); !ok {
			return nil, errors.New("no address is free on " + pod.Spec.NodeName)
		}
		k.numbers[pod.UID], k.taken[n.node][n.pod] = n, true
	}
	return n.addrs(), nil
}

// take returns the number of a pod that has none yet: what its address says, after a restart of ours, or else the next that is
// free on its node.
func (k *kubelets) take(pod *corev1.Pod, node int) (podNumber, bool) {
	if addr, err := netip.ParseAddr(pod.Status.PodIP); err == nil {
		return podNumber{node, int(addr.As4()[3]) - 1}, true
	}
	for range podsPerNode {
		i := k.next[node]
		k.next[node] = (i + 1) % podsPerNode
		if !k.taken[node][i] {
			return podNumber{node, i}, true
		}
	}
	return podNumber{}, false
}

// release takes back the addresses of a pod that is gone.
func (k *kubelets) release(uid types.UID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n, ok := k.numbers[uid]; ok {
		delete(k.numbers, uid)
		k.taken[n.node][n.pod] = false
	}
}
