package kube

import (
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
