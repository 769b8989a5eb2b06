package kube

import (
	"iter"
	"slices"

	"github.com/coredns-headless/headless/internal/model"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// Sink takes what is kept of the objects of one resource.
type Sink[S spec] struct {
	Put  func(S)
	Drop func(model.Key)
	// Replace makes these all there are: first it puts, then it drops, so that nothing present is
	// ever missing.
	Replace func(iter.Seq[S])
}

// spec is what is kept of an object of some resource.
type spec interface{ ID() model.Key }

// And returns a Sink that gives to s and then to other.
func (s Sink[S]) And(other Sink[S]) Sink[S] {
	return Sink[S]{
		func(spec S) { s.Put(spec); other.Put(spec) },
		func(key model.Key) { s.Drop(key); other.Drop(key) },
		func(specs iter.Seq[S]) {
			all := slices.Collect(specs)
			s.Replace(slices.Values(all))
			other.Replace(slices.Values(all))
		},
	}
}

// Sinks take what is kept of the resources. Pods, Nodes, Imports and Imported may be zero: these
// resources are not asked for then.
type Sinks struct {
	Namespaces Sink[*model.Namespace]
	Services   Sink[*model.Service]
	Slices     Sink[*model.Slice]
	Pods       Sink[*model.Pod]
	Nodes      Sink[*model.Node]
	Imports    Sink[*model.Service] // made of ServiceImports
	Imported   Sink[*model.Slice]   // made of their EndpointSlices
	Recall     Recall               // of Slices; may be nil
	// Kind returns what metrics call the kind of a Service that is answered for, model.UnservedKind
	// if it is not.
	Kind func(model.Key) string
}

// Feeds take API objects, by resource, and give what is kept of them to sinks.
type Feeds struct {
	Listing   *Listing // of the resources
	Clock     Clock    // of the resources
	converter *Converter
	recall    Recall
	selection Selection
	stores    map[string]cache.TransformingStore
}

// NewFeeds returns feeds of the objects that selection asks for. c converts them, and sinks take what
// c makes of them.
func NewFeeds(c *Converter, selection Selection, sinks *Sinks) *Feeds {
	f := &Feeds{converter: c, recall: sinks.Recall, selection: selection, stores: make(map[string]cache.TransformingStore)}
	addStore(f, &store[*corev1.Namespace, *model.Namespace]{
		resource: Namespaces, convert: c.namespace, sink: sinks.Namespaces,
	})
	addStore(f, &store[*corev1.Service, *model.Service]{
		resource: Services, adapt: wireServiceOf, convert: c.service, sink: sinks.Services,
	})
	addStore(f, &store[*wireSlice, *model.Slice]{
		resource: Slices, adapt: wireSliceOf, convert: c.slice, sink: sinks.Slices,
		brought: newProgramming(sinks.Kind, c.report).put,
	})
	addStore(f, &store[*corev1.Pod, *model.Pod]{resource: Pods, convert: c.pod, sink: sinks.Pods})
	addStore(f, &store[*corev1.Node, *model.Node]{resource: Nodes, convert: c.node, sink: sinks.Nodes})
	addStore(f, &store[*mcsv1beta1.ServiceImport, *importSpec]{
		resource: Imports, convert: c.serviceImport, sink: importSink(sinks.Imports, f),
	})
	addStore(f, &store[*wireSlice, *model.Slice]{
		resource: Imported, adapt: wireSliceOf, convert: c.importedSlice, sink: sinks.Imported,
	})
	isOptional := selection.isOptional
	f.Listing, f.Clock = NewListing(slices.DeleteFunc(f.asked(), isOptional)...), newClock(isOptional, f.asked()...)
	return f
}

// addStore adds s to f, if somebody asks for its resource.
func addStore[O any, S spec](f *Feeds, s *store[O, S]) {
	if s.sink.Put != nil {
		s.feeds = f
		f.stores[s.resource] = s
	}
}

// Takes reports whether somebody asks for a resource.
func (f *Feeds) Takes(resource string) bool { return f.stores[resource] != nil }

// Store returns the store for the reflector of a resource, which f takes. It keeps nothing, and
// none of its methods fails.
func (f *Feeds) Store(resource string) cache.TransformingStore { return f.stores[resource] }

// Replace makes those of objects that are selected all there are of a resource, which f takes.
func (f *Feeds) Replace(resource string, objects []metav1.Object) {
	var list []any
	selector := f.selection.Of(resource)
	for _, o := range objects {
		if selector.Matches(labels.Set(o.GetLabels())) {
			list = append(list, o)
		}
	}
	_ = f.stores[resource].Replace(list, "") // a store returns no error
}

// asked returns the resources of which objects are asked for.
func (f *Feeds) asked() (resources []string) {
	for _, resource := range Resources {
		if f.stores[resource] != nil && (resource != Slices || !f.selection.NoEndpoints) {
			resources = append(resources, resource)
		}
	}
	return resources
}

// store feeds the objects of one resource, of type O, into a sink as specs and keeps nothing
// itself. It is a cache.TransformingStore. Its methods return no errors: a reflector would log them
// and go on without the object.
type store[O any, S spec] struct {
	resource string
	adapt    func(obj any) (o O, ok bool) // takes what stands for an O; nil if no type does
	convert  func(O) (s S, ok bool)       // ok is false for an object that is not served
	sink     Sink[S]
	brought  func(O, S) // called after the put of what a watch brought; may be nil
	feeds    *Feeds     // which it is one of
}

// Add implements cache.ReflectorStore. obj is an API object or what Transformer made of one. An object
// that can no longer be used is not there any more: nothing of what it was stays.
func (s *store[O, S]) Add(obj any) error {
	spec, ok := s.slim(obj)
	o, isObject := s.object(obj)
	switch {
	case ok:
		s.sink.Put(spec)
		if isObject && s.brought != nil {
			s.brought(o, spec)
		}
	case isObject:
		return s.Delete(obj)
	}
	return nil
}

// Update implements cache.ReflectorStore.
func (s *store[O, S]) Update(obj any) error { return s.Add(obj) }

// Delete implements cache.ReflectorStore.
func (s *store[O, S]) Delete(obj any) error {
	if o, err := meta.Accessor(obj); err == nil {
		s.sink.Drop(model.Key{Namespace: o.GetNamespace(), Name: o.GetName()})
	}
	return nil
}

// Replace implements cache.ReflectorStore.
func (s *store[O, S]) Replace(list []any, _ string) error {
	s.sink.Replace(func(yield func(S) bool) {
		for i, obj := range list {
			list[i] = nil // the list is ours, and large
			if spec, ok := s.slim(obj); ok && !yield(spec) {
				return
			}
		}
	})
	s.feeds.Clock.listed(s.resource)
	if !s.feeds.selection.isOptional(s.resource) {
		s.feeds.Listing.Listed(s.resource)
	}
	return nil
}

// UpdateResourceVersion implements cache.ResourceVersionUpdater: a reflector calls it with each
// event of a watch, also those that bring no object.
func (s *store[O, S]) UpdateResourceVersion(string) { s.feeds.Clock.heard(s.resource) }

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
	s.feeds.converter.report(s.resource, unexpected)
	return spec, false
}

// object returns obj as an O.
func (s *store[O, S]) object(obj any) (o O, ok bool) {
	if o, ok = obj.(O); !ok && s.adapt != nil {
		o, ok = s.adapt(obj)
	}
	return o, ok
}

// ResourceOf returns the resource that obj is of, or "" if we do not use that resource.
func ResourceOf(obj runtime.Object) string {
	switch obj.(type) {
	case *corev1.Namespace:
		return Namespaces
	case *corev1.Service:
		return Services
	case *discoveryv1.EndpointSlice:
		return Slices
	case *corev1.Pod:
		return Pods
	case *corev1.Node:
		return Nodes
	case *mcsv1beta1.ServiceImport:
		return Imports
	}
	return ""
}
