// Package foresee makes of the objects that people deploy those that the control plane would make of
// them: Pods of workloads, and EndpointSlices of Services.
package foresee

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/output"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// Foresight is what becomes of objects.
type Foresight struct {
	// Objects are those given, each once, with what the API server would add to Services, and what was
	// made of them.
	Objects []runtime.Object
	// Notes say what was made, and what would be refused: a line each.
	Notes []string
	// Refused says why there will be no Pods, or not all, of a workload or a Pod among those given.
	Refused map[runtime.Object]string

	pods       map[string][]*corev1.Pod // those that Services may select, by namespace
	made       map[*corev1.Pod]bool     // those of them that are foreseen
	controls   map[string]bool          // the workloads of which a Pod is among the objects, as controllerID says
	alone      int                      // how many of these no workload makes
	podIPs     pool
	clusterIPs pool
}

// Of returns what becomes of objects, which it does not modify, but for the namespace of those that
// name none. Workloads that a cluster has seen, or of which a Pod is among the objects, make no Pods here:
// theirs are those, or are not known. Nor does a Service that has an EndpointSlice among the objects get one.
func Of(objects []runtime.Object) *Foresight {
	f := &Foresight{
		Objects: unrepeated(objects), Refused: make(map[runtime.Object]string), pods: make(map[string][]*corev1.Pod),
		made: make(map[*corev1.Pod]bool), controls: make(map[string]bool), podIPs: pool{half: 18}, clusterIPs: pool{half: 19},
	}
	for _, obj := range f.Objects {
		if pod, ok := obj.(*corev1.Pod); ok {
			f.addControllers(pod)
		}
	}
	for i, obj := range slices.Clone(f.Objects) {
		f.addPods(i, obj)
	}
	if f.alone > 0 {
		f.notef("%s that no workload makes", output.Count(f.alone, "Pod"))
	}
	hasSlices := make(map[[2]string]bool)
	for _, obj := range f.Objects {
		if es, ok := obj.(*discoveryv1.EndpointSlice); ok {
			hasSlices[[2]string{es.Namespace, es.Labels[discoveryv1.LabelServiceName]}] = true
		}
	}
	observed := 0
	for i, obj := range f.Objects {
		svc, ok := obj.(*corev1.Service)
		if !ok || svc.Spec.Type == corev1.ServiceTypeExternalName {
			continue
		}
		if len(f.made) > 0 && isNew(svc, svc.Status) {
			svc = f.admitted(svc)
			f.Objects[i] = svc
		}
		if !hasSlices[[2]string{svc.Namespace, svc.Name}] && f.addSlices(svc) {
			observed++
		}
	}
	if observed > 0 {
		f.notef("EndpointSlices of %s, which the files lack, are made of the Pods in them", output.Count(observed, "Service"))
	}
	return f
}

// addControllers notes that a Pod of the workloads that control pod is among the objects. A Deployment controls it by way of
// a ReplicaSet, which it gives its own name and a hash that the Pod bears.
func (f *Foresight) addControllers(pod *corev1.Pod) {
	by := metav1.GetControllerOf(pod)
	if by == nil {
		return
	}
	f.controls[controllerID(by.Kind, pod.Namespace, by.Name)] = true
	if hash := pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; by.Kind == "ReplicaSet" && hash != "" {
		f.controls[controllerID("Deployment", pod.Namespace, strings.TrimSuffix(by.Name, "-"+hash))] = true
	}
}

func controllerID(kind, namespace, name string) string { return kind + " " + namespace + "/" + name }

// notef adds a note. The text is a format.
func (f *Foresight) notef(text string, args ...any) {
	f.Notes = append(f.Notes, fmt.Sprintf(text, args...))
}

// unrepeated returns objects, each once: of several versions of one the last. What names no namespace
// is in default, as it is by kubectl apply.
func unrepeated(objects []runtime.Object) []runtime.Object {
	var all []runtime.Object
	at := make(map[string]int)
	for _, obj := range objects {
		o, ok := obj.(metav1.Object)
		if !ok {
			continue
		}
		switch obj.(type) {
		case *corev1.Namespace, *corev1.Node, *corev1.PersistentVolume:
		default:
			if o.GetNamespace() == "" {
				o.SetNamespace(metav1.NamespaceDefault)
			}
		}
		id := fmt.Sprintf("%T %s/%s", obj, o.GetNamespace(), o.GetName())
		if i, ok := at[id]; ok {
			all[i] = obj
			continue
		}
		at[id] = len(all)
		all = append(all, obj)
	}
	return all
}

// isNew reports whether no cluster has seen an object that has this status.
func isNew(o metav1.Object, status any) bool {
	return o.GetUID() == "" && reflect.ValueOf(status).IsZero()
}

// workload makes Pods of a template.
type workload struct {
	metav1.Object
	kind     string
	template *corev1.PodTemplateSpec
	selector *metav1.LabelSelector
	selects  bool // it needs a selector, which the API server does not make
	pods     int
	// identify gives the ith Pod the name, the labels and the hostname that only it has; may be nil.
	identify func(i int, pod *corev1.Pod)
}

// addPods adds the Pods that become of obj, the ith of the objects.
func (f *Foresight) addPods(i int, obj runtime.Object) {
	switch o := obj.(type) {
	case *corev1.Pod:
		if !isNew(o, o.Status) {
			f.pods[o.Namespace] = append(f.pods[o.Namespace], o)
			return
		}
		w := workload{Object: o, kind: "Pod", template: &corev1.PodTemplateSpec{ObjectMeta: o.ObjectMeta, Spec: o.Spec}}
		if pod := f.pod(&w, 0, o.Name); pod != nil {
			f.Objects[i] = pod
			f.alone++
		}
	case *appsv1.StatefulSet:
		f.addNew(o.Status, &workload{
			Object: o, kind: "StatefulSet", template: &o.Spec.Template, selector: o.Spec.Selector, selects: true, pods: number(o.Spec.Replicas),
			identify: func(i int, pod *corev1.Pod) { identifyReplica(o, i, pod) },
		})
	case *appsv1.Deployment:
		w := workload{Object: o, kind: "Deployment", template: &o.Spec.Template, selector: o.Spec.Selector, selects: true}
		if !o.Spec.Paused {
			w.pods = number(o.Spec.Replicas)
		}
		f.addNew(o.Status, &w)
	case *appsv1.ReplicaSet:
		f.addNew(o.Status, &workload{Object: o, kind: "ReplicaSet", template: &o.Spec.Template, selector: o.Spec.Selector, selects: true, pods: number(o.Spec.Replicas)})
	case *corev1.ReplicationController:
		if o.Spec.Template != nil {
			f.addNew(o.Status, &workload{Object: o, kind: "ReplicationController", template: o.Spec.Template, pods: number(o.Spec.Replicas)})
		}
	case *appsv1.DaemonSet: // of one node
		f.addNew(o.Status, &workload{Object: o, kind: "DaemonSet", template: &o.Spec.Template, selector: o.Spec.Selector, selects: true, pods: 1})
	case *batchv1.Job:
		f.addNew(o.Status, jobOf(o))
	}
}

// number returns how many replicas there are: one, if that is not said.
func number(replicas *int32) int {
	if replicas == nil {
		return 1
	}
	return int(*replicas)
}

// identifyReplica makes pod the ith of a StatefulSet.
func identifyReplica(set *appsv1.StatefulSet, i int, pod *corev1.Pod) {
	if set.Spec.Ordinals != nil {
		i += int(set.Spec.Ordinals.Start)
	}
	pod.Name = fmt.Sprintf("%s-%d", set.Name, i)
	pod.Labels[appsv1.StatefulSetPodNameLabel], pod.Labels[appsv1.PodIndexLabel] = pod.Name, fmt.Sprint(i)
	pod.Labels[appsv1.ControllerRevisionHashLabelKey] = set.Name + "-0123456789" // the hash has up to ten characters
	pod.Spec.Hostname, pod.Spec.Subdomain = pod.Name, set.Spec.ServiceName
}

// jobOf returns what a Job makes first.
func jobOf(job *batchv1.Job) *workload {
	w := &workload{Object: job, kind: "Job", template: &job.Spec.Template, pods: number(job.Spec.Parallelism)}
	isIndexed := job.Spec.CompletionMode != nil && *job.Spec.CompletionMode == batchv1.IndexedCompletion
	if job.Spec.Completions != nil {
		w.pods = min(w.pods, int(*job.Spec.Completions))
	}
	if job.Spec.Suspend != nil && *job.Spec.Suspend {
		w.pods = 0
	}
	w.identify = func(i int, pod *corev1.Pod) {
		pod.Labels["job-name"], pod.Labels[batchv1.JobNameLabel] = job.Name, job.Name
		if isIndexed {
			pod.Name = fmt.Sprintf("%s-%d-foreseen", job.Name, i)
			pod.Labels[batchv1.JobCompletionIndexAnnotation] = fmt.Sprint(i)
			pod.Spec.Hostname = fmt.Sprintf("%s-%d", job.Name, i)
		}
	}
	return w
}

// addNew adds the Pods of a workload that no cluster has seen.
func (f *Foresight) addNew(status any, w *workload) {
	if !isNew(w, status) || w.pods <= 0 || f.controls[controllerID(w.kind, w.GetNamespace(), w.GetName())] {
		return
	}
	if w.selects {
		selector, err := metav1.LabelSelectorAsSelector(w.selector)
		if err != nil || selector.Empty() || !selector.Matches(labels.Set(w.template.Labels)) {
			why := "the API server would refuse it, for its selector does not match the labels of its template"
			f.refuse(w, why)
			f.notef("no Pod of %s %s/%s: %s", w.kind, w.GetNamespace(), w.GetName(), why)
			return
		}
	}
	made := 0
	for i := range w.pods {
		pod := f.pod(w, i, fmt.Sprintf("%s-foreseen-%d", w.GetName(), i))
		if pod == nil {
			break
		}
		f.Objects = append(f.Objects, pod)
		made++
	}
	if made > 0 {
		f.notef("%s of %s %s/%s", output.Count(made, "Pod"), w.kind, w.GetNamespace(), w.GetName())
	}
}

// refuse notes why a workload makes no Pod, or no more.
func (f *Foresight) refuse(w *workload, why string) {
	if obj, ok := w.Object.(runtime.Object); ok {
		f.Refused[obj] = why
	}
}

// pod makes the ith Pod of a workload, ready, and adds it to those that Services may select. It
// returns nil, with a note, if there will never be one.
func (f *Foresight) pod(w *workload, i int, name string) *corev1.Pod {
	controls := true
	pod := &corev1.Pod{ObjectMeta: *w.template.ObjectMeta.DeepCopy(), Spec: *w.template.Spec.DeepCopy()}
	pod.Name, pod.Namespace = name, w.GetNamespace()
	if pod.Labels == nil {
		pod.Labels = make(map[string]string)
	}
	if w.kind != "Pod" {
		pod.OwnerReferences = []metav1.OwnerReference{{Kind: w.kind, Name: w.GetName(), Controller: &controls}}
	}
	if w.identify != nil {
		w.identify(i, pod)
	}
	if why := flaw(pod); why != "" {
		f.refuse(w, fmt.Sprintf("no Pod %s: %s", short(pod.Name), why))
		f.notef("no Pod %s of %s %s/%s: %s", short(pod.Name), w.kind, w.GetNamespace(), short(w.GetName()), why)
		return nil
	}
	ips := f.podIPs.take()
	if ips == nil {
		f.notef("no Pod %s of %s %s/%s, and none behind it: no more than %d are foreseen", pod.Name, w.kind, w.GetNamespace(), w.GetName(), mostAddrs)
		return nil
	}
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: ips[0], PodIPs: []corev1.PodIP{{IP: ips[0]}, {IP: ips[1]}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}
	f.pods[pod.Namespace], f.made[pod] = append(f.pods[pod.Namespace], pod), true
	return pod
}
