package kube

import (
	"iter"

	"github.com/coredns-headless/headless/internal/model"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// ImportVersions are the versions of the multi-cluster Services API, in order of preference.
var ImportVersions = []schema.GroupVersion{
	schema.GroupVersion(mcsv1beta1.GroupVersion), schema.GroupVersion(mcsv1alpha1.GroupVersion),
}

// InstallImports makes s know the ServiceImports of all ImportVersions by the type of the first: their
// fields are the same.
func InstallImports(s *runtime.Scheme) {
	for _, version := range ImportVersions {
		s.AddKnownTypes(version, &mcsv1beta1.ServiceImport{}, &mcsv1beta1.ServiceImportList{})
		metav1.AddToGroupVersion(s, version)
	}
}

// importSpec is what is kept of a ServiceImport.
type importSpec struct {
	*model.Service
	noSlices bool // it has no EndpointSlices and will not get any (KEP-1645, status.endpointSliceObjects)
}

// importSink returns a sink that gives to s, if s takes anything, and notes in the Listing of f which
// ServiceImports EndpointSlices may come for.
func importSink(s Sink[*model.Service], f *Feeds) (of Sink[*importSpec]) {
	if s.Put == nil {
		return of
	}
	return Sink[*importSpec]{
		Put: func(spec *importSpec) {
			f.Listing.await(spec.Key, !spec.noSlices)
			s.Put(spec.Service)
		},
		Drop: func(key model.Key) {
			s.Drop(key)
			f.Listing.await(key, false)
		},
		Replace: func(specs iter.Seq[*importSpec]) {
			listed := make(map[model.Key]bool)
			s.Replace(func(yield func(*model.Service) bool) {
				for spec := range specs {
					listed[spec.Key] = true
					f.Listing.await(spec.Key, !spec.noSlices)
					if !yield(spec.Service) {
						return
					}
				}
			})
			f.Listing.awaitOnly(listed)
		},
	}
}
