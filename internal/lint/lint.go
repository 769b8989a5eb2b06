// Package lint finds in objects of a Kubernetes cluster, deployed or not, what goes wrong in DNS: names that
// will not exist, or that are not what they look like. Whether a name exists is what the plugin says.
package lint

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/coredns-headless/headless"
	"github.com/coredns-headless/headless/internal/foresee"
	"github.com/coredns-headless/headless/internal/manifests"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// Severity is how bad a finding is.
type Severity string

// Severities.
const (
	Error   Severity = "error"   // a name that is meant to exist does not, or the API server refuses the object
	Warning Severity = "warning" // it works, but not always or not as it looks
)

// Rule is one of the things that are looked for.
type Rule struct {
	ID       string // never changes
	Severity Severity
	About    string
}

// Rules are all there are, in the order of their findings for one object.
var Rules = []Rule{
	{"service-name-missing", Error, "a StatefulSet's serviceName names no Service"},
	{"service-name-other", Error, "a StatefulSet's serviceName names a Service of other Pods"},
	{"service-name-not-headless", Warning, "a StatefulSet's serviceName names a Service that is not headless"},
	{"name-absent", Error, "a workload or a ConfigMap uses a name that will not exist"},
	{"peers-not-ready", Warning, "Pods of a StatefulSet look each other up before they are ready, and have no names until then"},
	{"selects-nothing", Warning, "a Service selects no Pod"},
	{"target-port-missing", Error, "a Service's targetPort is a name that no container of its Pods has"},
	{"ports-refused", Error, "the ports of a Service need names, each its own"},
	{"name-refused", Error, "a name is too long for DNS or the API server, or is not made of labels"},
	{"dead-annotation", Warning, "an annotation that no Kubernetes of today reads is all that asks for something"},
	{"external-name", Error, "an ExternalName leads to an address, to a name that will not exist, or in a circle"},
	{"hostname-twice", Warning, "Pods of two workloads, or two Services, claim one name"},
	{"name-shadowed", Warning, "a short name is another one's where it is asked for"},
	{"namespace-is-domain", Warning, "a Namespace is called like a top-level domain"},
}

// Finding is one thing that goes wrong.
type Finding struct {
	ID       string   `json:"id"` // of the rule
	Severity Severity `json:"severity"`
	File     string   `json:"file,omitempty"`     // where it stands; "" in a cluster
	Document int      `json:"document,omitempty"` // in the file, from 1
	Line     int      `json:"line,omitempty"`     // of the file, from 1
	Object   string   `json:"object"`             // kind namespace/name
	Text     string   `json:"text"`               // what will happen
	Fix      string   `json:"fix"`
}

// Objects are what is looked at.
type Objects struct {
	All []runtime.Object
	// Files are where they are from. It is nil if they are from a cluster.
	Files *manifests.Contents
	// Whole says that nothing else is in the cluster that bears on names.
	Whole bool
}

// Find returns what goes wrong with objects on a server with this stanza, sorted by place. Objects that
// name no namespace are in default. No rule of which the id is in skip is looked for.
func Find(stanza *headless.Stanza, objects Objects, skip ...string) []Finding {
	foresight := foresee.Of(objects.All)
	l := &linter{
		Objects: objects, foresight: foresight, zone: stanza.Primary(),
		services: make(map[key]*corev1.Service), servicesIn: make(map[string][]*corev1.Service),
		sets: make(map[key]*appsv1.StatefulSet), workloads: make(map[string][]*workload),
		pods: make(map[string][]*corev1.Pod), namespaces: make(map[string]bool),
		skip: skip, seen: make(map[Finding]bool),
	}
	l.All = latest(objects.All)
	for _, obj := range l.All {
		o, ok := obj.(metav1.Object)
		if !ok {
			continue
		}
		if namespace := o.GetNamespace(); namespace != "" {
			l.namespaces[namespace] = true
		}
		switch o := obj.(type) {
		case *corev1.Namespace:
			l.namespaces[o.Name] = true
		case *corev1.Service:
			l.services[key{o.Namespace, o.Name}] = o
		case *appsv1.StatefulSet:
			l.sets[key{o.Namespace, o.Name}] = o
		}
		if w, ok := workloadOf(obj); ok {
			l.workloads[o.GetNamespace()] = append(l.workloads[o.GetNamespace()], w)
		}
	}
	for _, obj := range foresight.Objects {
		if pod, ok := obj.(*corev1.Pod); ok {
			l.pods[pod.Namespace] = append(l.pods[pod.Namespace], pod)
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(l.services), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	}) {
		l.sorted = append(l.sorted, l.services[k])
		l.servicesIn[k.namespace] = append(l.servicesIn[k.namespace], l.services[k])
	}
	l.plugin = stanza.Unfiltered().Offline(foresight.Objects)
	for _, look := range []func(){
		l.serviceNames, l.uses, l.selectors, l.refusals, l.annotations, l.externalNames, l.hostnames, l.shadows,
	} {
		look()
	}
	slices.SortStableFunc(l.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Object, b.Object), rank(a.ID)-rank(b.ID), cmp.Compare(a.Text, b.Text))
	})
	return l.findings
}

func rank(id string) int { return slices.IndexFunc(Rules, func(r Rule) bool { return r.ID == id }) }

// key is the namespace and the name of an object.
type key struct{ namespace, name string }

// linter looks at objects. Its maps with lists are by namespace.
type linter struct {
	Objects
	foresight  *foresee.Foresight
	plugin     *headless.Headless // from which nothing is hidden
	zone       string
	services   map[key]*corev1.Service
	sorted     []*corev1.Service // the same
	servicesIn map[string][]*corev1.Service
	sets       map[key]*appsv1.StatefulSet
	workloads  map[string][]*workload
	pods       map[string][]*corev1.Pod // foreseen or observed
	namespaces map[string]bool
	skip       []string
	findings   []Finding
	seen       map[Finding]bool
}

// workload is what makes Pods of a template, or a Pod.
type workload struct {
	metav1.Object
	from     runtime.Object
	kind     string
	template *corev1.PodTemplateSpec
}

// workloadOf returns obj as a workload, if it is one.
func workloadOf(obj runtime.Object) (w *workload, ok bool) {
	w = &workload{from: obj}
	switch o := obj.(type) {
	case *corev1.Pod:
		w.Object, w.kind, w.template = o, "Pod", &corev1.PodTemplateSpec{ObjectMeta: o.ObjectMeta, Spec: o.Spec}
	case *corev1.ReplicationController:
		w.Object, w.kind, w.template = o, "ReplicationController", o.Spec.Template
	case *appsv1.StatefulSet:
		w.Object, w.kind, w.template = o, "StatefulSet", &o.Spec.Template
	case *appsv1.Deployment:
		w.Object, w.kind, w.template = o, "Deployment", &o.Spec.Template
	case *appsv1.ReplicaSet:
		w.Object, w.kind, w.template = o, "ReplicaSet", &o.Spec.Template
	case *appsv1.DaemonSet:
		w.Object, w.kind, w.template = o, "DaemonSet", &o.Spec.Template
	case *batchv1.Job:
		w.Object, w.kind, w.template = o, "Job", &o.Spec.Template
	case *batchv1.CronJob:
		w.Object, w.kind, w.template = o, "CronJob", &o.Spec.JobTemplate.Spec.Template
	}
	return w, w.template != nil
}

// isMade reports whether another object makes this one, so that what is wrong with it stands there.
func isMade(o metav1.Object) bool { return metav1.GetControllerOf(o) != nil }

// latest returns objects, each once: of several versions of one the last.
func latest(objects []runtime.Object) (all []runtime.Object) {
	at := make(map[string]int)
	for _, obj := range objects {
		name := nameOf(obj)
		if i, ok := at[name]; ok {
			all[i] = obj
			continue
		}
		at[name], all = len(all), append(all, obj)
	}
	return all
}

// nameOf returns what people call an object.
func nameOf(obj runtime.Object) string {
	kind := fmt.Sprintf("%T", obj) // a dump from an API server does not say it
	kind = kind[strings.LastIndexByte(kind, '.')+1:]
	o, ok := obj.(metav1.Object)
	switch {
	case !ok:
		return kind
	case o.GetNamespace() == "":
		return kind + " " + o.GetName()
	}
	return kind + " " + o.GetNamespace() + "/" + o.GetName()
}

// place is how to find something in a file: a field by its path, or a text by itself.
type place struct {
	path []string
	text string
}

// at is the place of a field.
func at(path ...string) place { return place{path: path} }

// add adds a finding about an object. The text is a format.
func (l *linter) add(id string, obj runtime.Object, where place, fix, text string, args ...any) {
	f := Finding{ID: id, Severity: Rules[rank(id)].Severity, Object: nameOf(obj), Text: fmt.Sprintf(text, args...), Fix: fix}
	if slices.Contains(l.skip, id) || l.seen[f] {
		return
	}
	l.seen[f] = true
	if l.Files != nil {
		var p manifests.Place
		if where.text != "" {
			p, _ = l.Files.PlaceOfText(obj, where.text)
		} else {
			p, _ = l.Files.PlaceOf(obj, where.path...)
		}
		f.File, f.Document, f.Line = p.File, p.Document, p.Line
	}
	l.findings = append(l.findings, f)
}

// below returns the FQDN of labels of a namespace, without the dot at its end.
func (l *linter) below(labels ...string) string {
	return strings.Join(append(labels, "svc", strings.TrimSuffix(l.zone, ".")), ".")
}

// allWorkloads returns the workloads of all namespaces, in any order.
func (l *linter) allWorkloads() iter.Seq[*workload] { return all(l.workloads) }

// allPods returns the Pods of all namespaces, in any order.
func (l *linter) allPods() iter.Seq[*corev1.Pod] { return all(l.pods) }

func all[T any](of map[string][]T) iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, things := range of {
			for _, thing := range things {
				if !yield(thing) {
					return
				}
			}
		}
	}
}

func isHeadless(svc *corev1.Service) bool {
	return svc.Spec.ClusterIP == corev1.ClusterIPNone && svc.Spec.Type != corev1.ServiceTypeExternalName
}

// selects reports whether a Service has a selector, and labels are what it selects.
func selects(svc *corev1.Service, of map[string]string) bool {
	return len(svc.Spec.Selector) > 0 && labels.SelectorFromSet(svc.Spec.Selector).Matches(labels.Set(of))
}

// pairs writes labels as a selector does.
func pairs(of map[string]string) string { return labels.Set(of).String() }
