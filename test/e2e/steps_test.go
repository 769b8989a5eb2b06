package e2e

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/test/cluster"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// app is a Service, and the StatefulSet or Deployment behind it, with the same name.
type app struct {
	namespace, name string
	stateful        bool
}

// A step changes the cluster once, or waits in between for what follows.
var steps = map[string]func(*script){
	"create":                 func(s *script) { s.create() },
	"scale":                  (*script).scale,
	"flip readiness":         func(s *script) { s.flip(s.anyApp()) },
	"delete pods":            func(s *script) { s.deletePods(s.anyApp()) },
	"rolling restart":        (*script).restart,
	"edit ports":             func(s *script) { s.setPorts(s.smallApp()) },
	"edit ports, large":      func(s *script) { s.setPorts(s.large) },
	"re-create as ClusterIP": (*script).recreate,
	"relabel a slice":        (*script).relabel,
	"delete a slice":         func(s *script) { s.deleteSlice(s.smallApp()) },
	"delete a slice, large":  func(s *script) { s.deleteSlice(s.large) },
	"delete a namespace":     (*script).deleteNamespace,
	"restart controllers":    (*script).restartControllers,
}

func (s *script) create() {
	s.t.Helper()
	a := &app{
		namespace: []string{"a", "b"}[s.rng.IntN(2)],
		name:      "app-" + strconv.Itoa(s.made),
		stateful:  s.rng.IntN(2) == 0,
	}
	s.made++
	s.apps = append(s.apps, a)
	createNamespace(s.t, s.c, a.namespace)
	clusterIP := corev1.ClusterIPNone
	if s.rng.IntN(4) == 0 {
		clusterIP = ""
	}
	s.createService(a, clusterIP, []corev1.IPFamilyPolicy{
		corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyRequireDualStack,
	}[s.rng.IntN(2)])
	s.createWorkload(a, 1+s.rng.IntN(5))
}

func (s *script) scale() {
	s.t.Helper()
	a := s.anyApp()
	n := int32(s.rng.IntN(6))
	if a == s.large {
		n = int32(*scriptPods - s.rng.IntN(max(1, *scriptPods/10)))
	}
	s.changeWorkload(a, func(replicas *int32, _ *corev1.PodTemplateSpec) { *replicas = n })
}

func (s *script) restart() {
	s.t.Helper()
	s.changeWorkload(s.smallApp(), func(_ *int32, template *corev1.PodTemplateSpec) {
		template.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": metav1.Now().String()}
	})
}

func (s *script) flip(a *app) {
	s.t.Helper()
	for _, pod := range s.somePods(a) {
		s.flipPod(pod)
	}
}

func (s *script) flipPod(pod *corev1.Pod) {
	s.t.Helper()
	ready := "false"
	if pod.Annotations[cluster.ReadyAnnotation] == ready {
		ready = "true"
	}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, cluster.ReadyAnnotation, ready)
	_, err := s.c.Client.CoreV1().Pods(pod.Namespace).Patch(s.t.Context(), pod.Name, types.MergePatchType, []byte(patch),
		metav1.PatchOptions{})
	fatal.If(s.t, err)
}

func (s *script) deletePods(a *app) {
	s.t.Helper()
	for _, pod := range s.somePods(a) {
		fatal.If(s.t, s.c.Client.CoreV1().Pods(pod.Namespace).Delete(s.t.Context(), pod.Name, metav1.DeleteOptions{}))
	}
}

func (s *script) setPorts(a *app) {
	s.t.Helper()
	svc := s.service(a)
	svc.Spec.Ports = s.ports(svc.Spec.Ports)
	_, err := s.c.Client.CoreV1().Services(a.namespace).Update(s.t.Context(), svc, metav1.UpdateOptions{})
	fatal.If(s.t, err)
}

func (s *script) recreate() {
	s.t.Helper()
	a := s.anyApp()
	for range 2 {
		svc := s.service(a)
		clusterIP := corev1.ClusterIPNone
		if svc.Spec.ClusterIP == corev1.ClusterIPNone {
			clusterIP = ""
		}
		fatal.If(s.t, s.c.Client.CoreV1().Services(a.namespace).Delete(s.t.Context(), a.name, metav1.DeleteOptions{}))
		s.createService(a, clusterIP, *svc.Spec.IPFamilyPolicy)
		s.converge()
	}
}

// relabel takes a slice away from its Service. The controller waits for the slice to come back, for ever: only another process
// makes a new one.
func (s *script) relabel() {
	s.t.Helper()
	a := s.anyApp()
	if len(s.slices(a)) == 0 {
		a = s.large
	}
	other := "nobody"
	if b := s.smallApp(); b.namespace == a.namespace && b != a {
		other = b.name
	}
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, discoveryv1.LabelServiceName, other)
	_, err := s.c.Client.DiscoveryV1().EndpointSlices(a.namespace).Patch(s.t.Context(), s.anySlice(a).Name, types.MergePatchType,
		[]byte(patch), metav1.PatchOptions{})
	fatal.If(s.t, err)
	s.eventually(func(ctx context.Context) error { return s.observer.isCurrent(ctx, s.c) })
	s.agree()
	s.c.Controllers.Kill()
	fatal.If(s.t, s.c.Controllers.Start(s.t.Context()))
}

// deleteSlice deletes a slice. The controller brings it back if it wrote it since it started, so a pod in it changes first.
func (s *script) deleteSlice(a *app) {
	s.t.Helper()
	if len(s.slices(a)) == 0 {
		a = s.large
	}
	slice := s.anySlice(a)
	pod, err := s.observer.pods.Pods(a.namespace).Get(slice.Endpoints[s.rng.IntN(len(slice.Endpoints))].TargetRef.Name)
	fatal.If(s.t, err)
	s.flipPod(pod)
	s.converge()
	fatal.If(s.t, s.c.Client.DiscoveryV1().EndpointSlices(a.namespace).Delete(s.t.Context(), slice.Name, metav1.DeleteOptions{}))
}

func (s *script) deleteNamespace() {
	s.t.Helper()
	namespace := s.smallApp().namespace
	fatal.If(s.t, s.c.Client.CoreV1().Namespaces().Delete(s.t.Context(), namespace, metav1.DeleteOptions{}))
	s.apps = slices.DeleteFunc(s.apps, func(a *app) bool { return a.namespace == namespace })
}

// restartControllers ends the controller manager as a crash does. It comes back to find that pods have changed.
func (s *script) restartControllers() {
	s.t.Helper()
	a := s.anyApp() // which may have to be made first
	s.c.Controllers.Kill()
	s.flip(s.large)
	s.deletePods(a)
	fatal.If(s.t, s.c.Controllers.Start(s.t.Context()))
}

// What the steps are made of.

// smallApp returns one of the apps that come and go.
func (s *script) smallApp() *app {
	s.t.Helper()
	if len(s.apps) == 0 {
		s.create()
		s.converge()
	}
	return s.apps[s.rng.IntN(len(s.apps))]
}

// anyApp returns it, or the large one.
func (s *script) anyApp() *app {
	if s.rng.IntN(2) == 0 {
		return s.large
	}
	return s.smallApp()
}

func (a *app) labels() map[string]string { return map[string]string{"app": a.name} }

func (s *script) createService(a *app, clusterIP string, families corev1.IPFamilyPolicy) {
	s.t.Helper()
	_, err := s.c.Client.CoreV1().Services(a.namespace).Create(s.t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: a.name},
		Spec:       corev1.ServiceSpec{ClusterIP: clusterIP, IPFamilyPolicy: &families, Selector: a.labels(), Ports: s.ports(nil)},
	}, metav1.CreateOptions{})
	fatal.If(s.t, err)
}

// ports returns ports that differ from the last ones.
func (s *script) ports(last []corev1.ServicePort) []corev1.ServicePort {
	var ports []corev1.ServicePort
	for i, name := range []string{"http", "grpc", "gossip"} {
		if i > 0 && s.rng.IntN(2) == 0 {
			continue
		}
		number := int32(8000 + 10*i + s.rng.IntN(10))
		p := corev1.ServicePort{Name: name, Protocol: corev1.ProtocolTCP, Port: number, TargetPort: intstr.FromInt32(number)}
		if name == "gossip" {
			p.Protocol = corev1.ProtocolUDP
		}
		ports = append(ports, p)
	}
	if slices.Equal(ports, last) {
		return s.ports(last)
	}
	return ports
}

func (s *script) createWorkload(a *app, pods int) {
	s.t.Helper()
	meta := metav1.ObjectMeta{Name: a.name}
	selector := &metav1.LabelSelector{MatchLabels: a.labels()}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: a.labels()},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "registry.k8s.io/pause:3.10"}}},
	}
	var err error
	if a.stateful {
		_, err = s.c.Client.AppsV1().StatefulSets(a.namespace).Create(s.t.Context(), &appsv1.StatefulSet{
			ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{
				Replicas: new(int32(pods)), Selector: selector, Template: template, ServiceName: a.name,
				PodManagementPolicy: appsv1.ParallelPodManagement,
			},
		}, metav1.CreateOptions{})
	} else {
		_, err = s.c.Client.AppsV1().Deployments(a.namespace).Create(s.t.Context(), &appsv1.Deployment{
			ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: new(int32(pods)), Selector: selector, Template: template},
		}, metav1.CreateOptions{})
	}
	fatal.If(s.t, err)
}

func (s *script) changeWorkload(a *app, change func(replicas *int32, template *corev1.PodTemplateSpec)) {
	s.t.Helper()
	eventually(s.t, time.Minute, func(ctx context.Context) error { // a controller may have changed it meanwhile
		if a.stateful {
			sets := s.c.Client.AppsV1().StatefulSets(a.namespace)
			set, err := sets.Get(ctx, a.name, metav1.GetOptions{})
			if err == nil {
				change(set.Spec.Replicas, &set.Spec.Template)
				_, err = sets.Update(ctx, set, metav1.UpdateOptions{})
			}
			return err
		}
		deployments := s.c.Client.AppsV1().Deployments(a.namespace)
		d, err := deployments.Get(ctx, a.name, metav1.GetOptions{})
		if err == nil {
			change(d.Spec.Replicas, &d.Spec.Template)
			_, err = deployments.Update(ctx, d, metav1.UpdateOptions{})
		}
		return err
	})
}

func (s *script) service(a *app) *corev1.Service {
	s.t.Helper()
	svc, err := s.c.Client.CoreV1().Services(a.namespace).Get(s.t.Context(), a.name, metav1.GetOptions{})
	fatal.If(s.t, err)
	return svc
}

// slices returns those of an app that have endpoints.
func (s *script) slices(a *app) []*discoveryv1.EndpointSlice {
	all, _ := s.observer.slices.EndpointSlices(a.namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: a.name}))
	all = slices.DeleteFunc(all, func(s *discoveryv1.EndpointSlice) bool { return len(s.Endpoints) == 0 })
	slices.SortFunc(all, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func (s *script) anySlice(a *app) *discoveryv1.EndpointSlice {
	all := s.slices(a)
	return all[s.rng.IntN(len(all))]
}

// somePods returns at least one pod of an app that has any, at most 30.
func (s *script) somePods(a *app) []*corev1.Pod {
	all, _ := s.observer.pods.Pods(a.namespace).List(labels.SelectorFromSet(a.labels()))
	slices.SortFunc(all, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	s.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(len(all), 1+s.rng.IntN(30))]
}
