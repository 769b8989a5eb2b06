package main

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// cluster holds the objects that bear on a name.
type cluster struct {
	objects      []runtime.Object // all of them, each once
	namespaces   map[string]*corev1.Namespace
	services     []*corev1.Service
	slices       []*discoveryv1.EndpointSlice
	pods         []*corev1.Pod
	statefulSets []*appsv1.StatefulSet
	// unknown says why objects are not known, by resource or by resource/namespace.
	unknown map[string]string
	// noImports says that the API server does not have ServiceImports, so that a server that needs them waits for them.
	noImports bool
}

// newCluster returns the cluster that has these objects. Of several versions of one the last is kept.
func newCluster(objects []runtime.Object) *cluster {
	c := &cluster{namespaces: make(map[string]*corev1.Namespace), unknown: make(map[string]string)}
	at := make(map[string]int)
	for _, obj := range objects {
		o, ok := obj.(metav1.Object)
		if !ok {
			continue
		}
		if _, ok := obj.(*corev1.Namespace); !ok && o.GetNamespace() == "" {
			o.SetNamespace(metav1.NamespaceDefault) // as kubectl apply does
		}
		id := fmt.Sprintf("%T %s/%s", obj, o.GetNamespace(), o.GetName())
		if i, ok := at[id]; ok {
			c.objects[i] = obj
			continue
		}
		at[id] = len(c.objects)
		c.objects = append(c.objects, obj)
	}
	for _, obj := range c.objects {
		switch o := obj.(type) {
		case *corev1.Namespace:
			c.namespaces[o.Name] = o
		case *corev1.Service:
			c.services = append(c.services, o)
		case *discoveryv1.EndpointSlice:
			c.slices = append(c.slices, o)
		case *corev1.Pod:
			c.pods = append(c.pods, o)
		case *appsv1.StatefulSet:
			c.statefulSets = append(c.statefulSets, o)
		}
	}
	return c
}

// service returns a Service, or nil.
func (c *cluster) service(namespace, name string) *corev1.Service {
	return named(c.services, namespace, name)
}

// namespacesOf returns the namespaces that have a Service of this name, sorted: those where it is no ExternalName, if there are any.
func (c *cluster) namespacesOf(service string) []string {
	var namespaces, external []string
	for _, svc := range c.services {
		switch {
		case svc.Name != service:
		case svc.Spec.Type == corev1.ServiceTypeExternalName:
			external = append(external, svc.Namespace)
		default:
			namespaces = append(namespaces, svc.Namespace)
		}
	}
	if len(namespaces) == 0 {
		namespaces = external
	}
	slices.Sort(namespaces)
	return namespaces
}

// slicesOf returns the EndpointSlices of a Service.
func (c *cluster) slicesOf(svc *corev1.Service) []*discoveryv1.EndpointSlice {
	return in(c.slices, svc.Namespace, func(es *discoveryv1.EndpointSlice) bool {
		return es.Labels[discoveryv1.LabelServiceName] == svc.Name
	})
}

// servicesAt returns the Services that have an address: as their own, or as that of an endpoint.
func (c *cluster) servicesAt(addr netip.Addr) []*corev1.Service {
	has := func(text string) bool { return isAt(text, addr) }
	lists := func(e discoveryv1.Endpoint) bool { return slices.ContainsFunc(e.Addresses, has) }
	return slices.DeleteFunc(slices.Clone(c.services), func(svc *corev1.Service) bool {
		return !has(svc.Spec.ClusterIP) && !slices.ContainsFunc(svc.Spec.ClusterIPs, has) &&
			!slices.ContainsFunc(c.slicesOf(svc), func(es *discoveryv1.EndpointSlice) bool { return slices.ContainsFunc(es.Endpoints, lists) })
	})
}

// isAt reports whether text is an address, in whatever spelling.
func isAt(text string, addr netip.Addr) bool {
	a, err := netip.ParseAddr(text)
	return err == nil && a.Unmap() == addr
}

// podsOf returns the Pods behind the addresses of a Service, by its EndpointSlices: an endpoint of each that has nothing else.
func (c *cluster) podsOf(svc *corev1.Service) map[netip.Addr]endpoint {
	pods := make(map[netip.Addr]endpoint)
	for _, es := range c.slicesOf(svc) {
		for i := range es.Endpoints {
			from := &es.Endpoints[i]
			e := endpoint{leaving: from.Conditions.Terminating != nil && *from.Conditions.Terminating}
			if from.TargetRef != nil && from.TargetRef.Kind == "Pod" {
				e.pod = from.TargetRef.Name
			}
			for _, text := range from.Addresses {
				if addr, err := netip.ParseAddr(text); err == nil {
					pods[addr.Unmap()] = e
				}
			}
		}
	}
	return pods
}

// pod returns a Pod, or nil.
func (c *cluster) pod(namespace, name string) *corev1.Pod { return named(c.pods, namespace, name) }

// selected returns the Pods that a Service selects, sorted by name.
func (c *cluster) selected(svc *corev1.Service) []*corev1.Pod {
	if len(svc.Spec.Selector) == 0 {
		return nil
	}
	selector := labels.SelectorFromSet(svc.Spec.Selector)
	pods := in(c.pods, svc.Namespace, func(p *corev1.Pod) bool { return selector.Matches(labels.Set(p.Labels)) })
	slices.SortFunc(pods, byName[*corev1.Pod])
	return pods
}

// ownerOf returns the StatefulSet that a pod belongs to, or nil. One that is not known has the serviceName that its pod tells.
func (c *cluster) ownerOf(pod *corev1.Pod) *appsv1.StatefulSet {
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.Kind != "StatefulSet" {
		return nil
	}
	if set := named(c.statefulSets, pod.Namespace, owner.Name); set != nil {
		return set
	}
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: owner.Name},
		Spec:       appsv1.StatefulSetSpec{ServiceName: pod.Spec.Subdomain},
	}
}

// whyUnknown says why objects of a namespace are not known, or not all; "" when they are.
func (c *cluster) whyUnknown(resource, namespace string) string {
	return cmp.Or(c.unknown[resource], c.unknown[resource+"/"+namespace])
}

// notes returns what is not known of a namespace, and why. That no Pods are known is said where they would be.
func (c *cluster) notes(namespace string) []string {
	var notes []string
	for _, resource := range slices.Sorted(maps.Keys(c.unknown)) {
		if _, in, ok := strings.Cut(resource, "/"); !ok && resource != "pods" || in == namespace {
			notes = append(notes, c.unknown[resource])
		}
	}
	return notes
}

// deref returns what p points to, or unset.
func deref[T any](p *T, unset T) T {
	if p == nil {
		return unset
	}
	return *p
}

// in returns the objects of a namespace that are wanted.
func in[T metav1.Object](objects []T, namespace string, want func(T) bool) []T {
	var found []T
	for _, o := range objects {
		if o.GetNamespace() == namespace && want(o) {
			found = append(found, o)
		}
	}
	return found
}

// named returns one of objects, or nil.
func named[T metav1.Object](objects []T, namespace, name string) T {
	var none T
	for _, o := range objects {
		if o.GetNamespace() == namespace && o.GetName() == name {
			return o
		}
	}
	return none
}

func byName[T metav1.Object](a, b T) int { return cmp.Compare(a.GetName(), b.GetName()) }
