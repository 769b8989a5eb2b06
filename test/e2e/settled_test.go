package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/coredns-headless/headless/test/cluster"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// clusterSettled returns nil when no controller and no kubelet has anything left to do, and the observer has seen all that they did.
func clusterSettled(ctx context.Context, c *cluster.Cluster, o *observer) error {
	pods, _ := o.pods.List(labels.Everything())
	for _, pod := range pods { // first, for it needs no request
		if err := podSettled(pod); err != nil {
			return err
		}
	}
	if err := o.isCurrent(ctx, c); err != nil {
		return err
	}
	// From here on what the observer has is what there is.
	namespaces, _ := o.namespaces.List(labels.Everything())
	for _, ns := range namespaces {
		if ns.DeletionTimestamp != nil {
			return fmt.Errorf("namespace %s is being deleted", ns.Name)
		}
	}
	if err := workloadsSettled(ctx, c, o); err != nil {
		return err
	}
	services, _ := o.services.List(labels.Everything())
	known := make(map[types.UID]bool)
	for _, svc := range services {
		known[svc.UID] = true
		if err := serviceSettled(o, svc); err != nil {
			return fmt.Errorf("service %s/%s: %w", svc.Namespace, svc.Name, err)
		}
	}
	epSlices, _ := o.slices.List(labels.Everything())
	for _, s := range epSlices {
		for _, owner := range s.OwnerReferences {
			if owner.Kind == "Service" && !known[owner.UID] {
				return fmt.Errorf("slice %s/%s has lost its service", s.Namespace, s.Name)
			}
		}
	}
	return nil
}

// isCurrent returns nil if the observer has what the API server has.
func (o *observer) isCurrent(ctx context.Context, c *cluster.Cluster) error {
	namespaces, _ := o.namespaces.List(labels.Everything())
	services, _ := o.services.List(labels.Everything())
	epSlices, _ := o.slices.List(labels.Everything())
	pods, _ := o.pods.List(labels.Everything())
	for _, kind := range []struct {
		name string
		seen map[types.UID]string
		list func() (runtime.Object, error)
	}{
		{"namespaces", versions(namespaces), func() (runtime.Object, error) { return c.Client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{}) }},
		{"services", versions(services), func() (runtime.Object, error) { return c.Client.CoreV1().Services("").List(ctx, metav1.ListOptions{}) }},
		{"slices", versions(epSlices), func() (runtime.Object, error) {
			return c.Client.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{})
		}},
		{"pods", versions(pods), func() (runtime.Object, error) { return c.Client.CoreV1().Pods("").List(ctx, metav1.ListOptions{}) }},
	} {
		list, err := kind.list()
		if err != nil {
			return err
		}
		objects, err := meta.ExtractList(list)
		if err != nil {
			return err
		}
		listed := make(map[types.UID]string)
		for _, o := range objects {
			m, err := meta.Accessor(o)
			if err != nil {
				return err
			}
			listed[m.GetUID()] = m.GetResourceVersion()
		}
		if !maps.Equal(kind.seen, listed) {
			return fmt.Errorf("%s: the observer is behind", kind.name)
		}
	}
	return nil
}

func versions[T metav1.Object](objects []T) map[types.UID]string {
	versions := make(map[types.UID]string)
	for _, o := range objects {
		versions[o.GetUID()] = o.GetResourceVersion()
	}
	return versions
}

func podSettled(pod *corev1.Pod) error {
	switch wantReady := pod.Annotations[cluster.ReadyAnnotation] != "false"; {
	case pod.DeletionTimestamp != nil:
		return fmt.Errorf("pod %s/%s is being deleted", pod.Namespace, pod.Name)
	case pod.Status.PodIP == "":
		return fmt.Errorf("pod %s/%s has no address", pod.Namespace, pod.Name)
	case isReady(pod) != wantReady:
		return fmt.Errorf("pod %s/%s: ready is %t", pod.Namespace, pod.Name, !wantReady)
	}
	return nil
}

// workloadsSettled returns nil if there are as many pods as there should be, all of the last template.
func workloadsSettled(ctx context.Context, c *cluster.Cluster, o *observer) error {
	sets, err := c.Client.AppsV1().StatefulSets("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, set := range sets.Items {
		pods, _ := o.pods.Pods(set.Namespace).List(labels.SelectorFromSet(set.Spec.Selector.MatchLabels))
		outdated := slices.ContainsFunc(pods, func(pod *corev1.Pod) bool {
			return pod.Labels[appsv1.ControllerRevisionHashLabelKey] != set.Status.UpdateRevision
		})
		if set.Status.ObservedGeneration != set.Generation || len(pods) != int(*set.Spec.Replicas) || outdated {
			return fmt.Errorf("statefulset %s/%s has %d pods, wants %d", set.Namespace, set.Name, len(pods), *set.Spec.Replicas)
		}
	}
	deployments, err := c.Client.AppsV1().Deployments("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range deployments.Items {
		pods, _ := o.pods.Pods(d.Namespace).List(labels.SelectorFromSet(d.Spec.Selector.MatchLabels))
		if d.Status.ObservedGeneration != d.Generation || d.Status.UpdatedReplicas != *d.Spec.Replicas || len(pods) != int(*d.Spec.Replicas) {
			return fmt.Errorf("deployment %s/%s has %d pods, wants %d", d.Namespace, d.Name, len(pods), *d.Spec.Replicas)
		}
	}
	return nil
}

// serviceSettled returns nil if the slices of a Service list the pods that it selects, as they are, once for each family.
func serviceSettled(o *observer, svc *corev1.Service) error {
	if len(svc.Spec.Selector) == 0 {
		return nil
	}
	type endpoint struct {
		addr     netip.Addr
		hostname string
		ready    bool
	}
	var want, got []endpoint
	pods, _ := o.pods.Pods(svc.Namespace).List(labels.SelectorFromSet(svc.Spec.Selector))
	for _, pod := range pods {
		for _, ip := range pod.Status.PodIPs {
			e := endpoint{addr: netip.MustParseAddr(ip.IP), ready: isReady(pod)}
			if pod.Spec.Subdomain == svc.Name {
				e.hostname = pod.Spec.Hostname
			}
			if slices.Contains(svc.Spec.IPFamilies, familyOf(e.addr)) {
				want = append(want, e)
			}
		}
	}
	type port struct {
		name, protocol string
		number         int32
	}
	ports := make(map[port]bool)
	for _, p := range svc.Spec.Ports {
		ports[port{p.Name, string(p.Protocol), p.TargetPort.IntVal}] = true
	}
	epSlices, _ := o.slices.EndpointSlices(svc.Namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: svc.Name}))
	for _, s := range epSlices {
		if !ownedBy(s, svc) {
			return fmt.Errorf("slice %s is not its own", s.Name)
		}
		has := make(map[port]bool)
		for _, p := range s.Ports {
			has[port{deref(p.Name), string(deref(p.Protocol)), deref(p.Port)}] = true
		}
		if len(s.Endpoints) > 0 && !maps.Equal(has, ports) {
			return fmt.Errorf("slice %s has other ports", s.Name)
		}
		for _, e := range s.Endpoints {
			got = append(got, endpoint{netip.MustParseAddr(e.Addresses[0]), deref(e.Hostname), deref(e.Conditions.Ready)})
		}
	}
	order := func(a, b endpoint) int { return a.addr.Compare(b.addr) }
	slices.SortFunc(want, order)
	slices.SortFunc(got, order)
	if !slices.Equal(got, want) {
		return fmt.Errorf("its slices have %d endpoints, and there are %d pods, or some differ", len(got), len(want))
	}
	return nil
}

func familyOf(addr netip.Addr) corev1.IPFamily {
	if addr.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
