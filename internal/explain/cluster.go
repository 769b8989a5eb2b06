package explain

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/foresee"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/manifests"
	"go.yaml.in/yaml/v3"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// cluster holds the objects that bear on a name.
type cluster struct {
	objects []runtime.Object // each once
	at      map[string]int   // where one is, by type, namespace and name
	// unknown says why objects are not known, by resource or by resource/namespace.
	unknown map[string]string
	// noImports says that the API server does not have ServiceImports, so that a server that needs them waits for them.
	noImports bool
	// inFiles says that the objects are from files, with what is foreseen of them; facts is what to know of that.
	inFiles bool
	facts   []string
}

// clusterOf returns the cluster that files hold, with what the control plane would make of them. Objects that name no namespace are in
// the one given, or else in default.
func clusterOf(files *manifests.Contents, namespace string) *cluster {
	for _, obj := range files.Objects {
		if o, ok := obj.(metav1.Object); ok && o.GetNamespace() == "" && namespace != "" && !isOfCluster(obj) {
			o.SetNamespace(namespace)
		}
	}
	foresight := foresee.Of(files.Objects)
	c := newCluster(foresight.Objects)
	c.inFiles = true
	c.facts = firstFew(files.Notes())
	if len(foresight.Notes) > 0 {
		c.facts = append(c.facts, "foreseen, as the control plane would make it: "+strings.Join(firstFew(foresight.Notes), "; "))
	}
	if !c.hasPods() {
		c.unknown[kube.Pods] = "no Pods are in the manifests, so what they lack is not known"
	}
	return c
}

// onlyNamespace returns the namespace that all Services are in, or "" if there are several or none.
func (c *cluster) onlyNamespace() (only string) {
	for _, svc := range in[*corev1.Service](c, "") {
		if only != "" && only != svc.Namespace {
			return ""
		}
		only = svc.Namespace
	}
	return only
}

// isOfCluster reports whether obj is in no namespace.
func isOfCluster(obj runtime.Object) bool {
	switch obj.(type) {
	case *corev1.Namespace, *corev1.Node, *corev1.PersistentVolume:
		return true
	}
	return false
}

func newCluster(objects []runtime.Object) *cluster {
	c := &cluster{at: make(map[string]int), unknown: make(map[string]string)}
	c.add(objects...)
	return c
}

// add adds objects. Of several versions of one the last is kept.
func (c *cluster) add(objects ...runtime.Object) {
	for _, obj := range objects {
		o, ok := obj.(metav1.Object)
		if !ok {
			continue
		}
		if !isOfCluster(obj) && o.GetNamespace() == "" {
			o.SetNamespace(metav1.NamespaceDefault) // as kubectl apply does
		}
		id := fmt.Sprintf("%T %s/%s", obj, o.GetNamespace(), o.GetName())
		i, ok := c.at[id]
		if !ok {
			i = len(c.objects)
			c.at[id], c.objects = i, append(c.objects, nil)
		}
		c.objects[i] = obj
	}
}

// in returns the objects of a kind in a namespace, or in all if that is "".
func in[T metav1.Object](c *cluster, namespace string) []T {
	var found []T
	for _, obj := range c.objects {
		if o, ok := obj.(T); ok && (namespace == "" || o.GetNamespace() == namespace) {
			found = append(found, o)
		}
	}
	return found
}

// named returns an object of a kind, or nil.
func named[T metav1.Object](c *cluster, namespace, name string) (o T) {
	if i, ok := c.at[fmt.Sprintf("%T %s/%s", o, namespace, name)]; ok {
		o, _ = c.objects[i].(T)
	}
	return o
}

// namespaces returns the names of the Namespaces, those that are only known by what is in them too.
func (c *cluster) namespaces() []string {
	names := make(map[string]bool)
	for _, obj := range c.objects {
		if o, ok := obj.(metav1.Object); ok {
			names[o.GetNamespace()] = true
			if ns, ok := obj.(*corev1.Namespace); ok {
				names[ns.Name] = true
			}
		}
	}
	delete(names, "")
	return slices.Sorted(maps.Keys(names))
}

// service returns a Service, or nil.
func (c *cluster) service(namespace, name string) *corev1.Service {
	return named[*corev1.Service](c, namespace, name)
}

// pod returns a Pod, or nil.
func (c *cluster) pod(namespace, name string) *corev1.Pod {
	return named[*corev1.Pod](c, namespace, name)
}

func (c *cluster) hasPods() bool { return len(in[*corev1.Pod](c, "")) > 0 }

// namespacesOf returns the namespaces that have a Service of this name, sorted. Namespaces where it is an ExternalName are returned
// only if it is one everywhere.
func (c *cluster) namespacesOf(service string) []string {
	var namespaces, external []string
	for _, svc := range in[*corev1.Service](c, "") {
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
	return slices.DeleteFunc(in[*discoveryv1.EndpointSlice](c, svc.Namespace), func(es *discoveryv1.EndpointSlice) bool {
		return es.Labels[discoveryv1.LabelServiceName] != svc.Name
	})
}

// servicesAt returns the Services that have an address: as their own, or as that of an endpoint, for each slice that lists it.
func (c *cluster) servicesAt(addr netip.Addr) []*corev1.Service {
	has := func(text string) bool { return isAt(text, addr) }
	found := slices.DeleteFunc(in[*corev1.Service](c, ""), func(svc *corev1.Service) bool {
		return !has(svc.Spec.ClusterIP) && !slices.ContainsFunc(svc.Spec.ClusterIPs, has)
	})
	for _, es := range in[*discoveryv1.EndpointSlice](c, "") {
		lists := slices.ContainsFunc(es.Endpoints, func(e discoveryv1.Endpoint) bool { return slices.ContainsFunc(e.Addresses, has) })
		if svc := c.service(es.Namespace, es.Labels[discoveryv1.LabelServiceName]); lists && svc != nil {
			found = append(found, svc)
		}
	}
	return found
}

// isAt reports whether text is an address, in whatever spelling.
func isAt(text string, addr netip.Addr) bool {
	a, err := netip.ParseAddr(text)
	return err == nil && a.Unmap() == addr
}

// selected returns the Pods that a Service selects, sorted by name.
func (c *cluster) selected(svc *corev1.Service) []*corev1.Pod {
	pods := slices.DeleteFunc(in[*corev1.Pod](c, svc.Namespace), func(p *corev1.Pod) bool { return !selects(svc, p) })
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return pods
}

// selects reports whether a Service has a selector, and a Pod the labels in it.
func selects(svc *corev1.Service, pod *corev1.Pod) bool {
	return len(svc.Spec.Selector) > 0 && labels.SelectorFromSet(svc.Spec.Selector).Matches(labels.Set(pod.Labels))
}

// pairs writes labels as a selector does.
func pairs(of map[string]string) string { return labels.Set(of).String() }

// inYAML writes labels in a line of YAML, where "2" and "true" need quotes.
func inYAML(of map[string]string) string {
	var node yaml.Node
	if err := node.Encode(of); err != nil {
		panic(err) // a map of strings can be written
	}
	node.Style = yaml.FlowStyle
	text, err := yaml.Marshal(&node)
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(text))
}

// ownerOf returns the StatefulSet that a pod belongs to, or nil. A StatefulSet that is not known is taken to have the pod's subdomain
// as its serviceName.
func (c *cluster) ownerOf(pod *corev1.Pod) *appsv1.StatefulSet {
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.Kind != "StatefulSet" {
		return nil
	}
	return cmp.Or(named[*appsv1.StatefulSet](c, pod.Namespace, owner.Name), &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: owner.Name},
		Spec:       appsv1.StatefulSetSpec{ServiceName: pod.Spec.Subdomain},
	})
}

// whyUnknown says why some objects of a namespace are not known. It returns "" when all are known.
func (c *cluster) whyUnknown(resource, namespace string) string {
	return cmp.Or(c.unknown[resource], c.unknown[resource+"/"+namespace])
}

// notes returns what is not known of a namespace, and why, and what to know of the files. The step of the pods, not a note, says that
// no Pods are known at all.
func (c *cluster) notes(namespace string) []string {
	notes := slices.Clone(c.facts)
	for _, resource := range slices.Sorted(maps.Keys(c.unknown)) {
		if _, in, ok := strings.Cut(resource, "/"); !ok && resource != kube.Pods || in == namespace {
			notes = append(notes, c.unknown[resource])
		}
	}
	return notes
}
