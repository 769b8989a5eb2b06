package explain

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/listing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// apiServer lists what bears on a name into a cluster, each thing once.
type apiServer struct {
	*listing.Client
	*cluster
	listed map[string]bool // by key of unknown, and what a field selector adds
	err    error           // the first error; after it nothing more is listed
}

// listAll lists what bears on names: the objects of the namespaces that they are in or that their CNAMEs lead to, and the Services of
// their names everywhere. Names that are in no namespace may have to do with all objects. What may not be listed becomes unknown.
func (a *apiServer) listAll(ctx context.Context, s *server, names []string) error {
	a.list(ctx, kube.Namespaces, metav1.NamespaceAll, metav1.ListOptions{})
	anywhere, imports := true, false
	for i := 0; i < len(names) && a.err == nil; i++ { // names grows
		n, _ := s.explain(names[i], addressTypes[0])
		if n.Namespace == "" {
			continue
		}
		anywhere = false
		a.listNamespace(ctx, n.Namespace)
		if n.Multicluster {
			imports = true
			a.list(ctx, kube.Imports, n.Namespace, metav1.ListOptions{})
			continue
		}
		a.list(ctx, kube.Services, metav1.NamespaceAll, listing.Named(cmp.Or(n.Service, n.Namespace))) // in web.svc, web is meant to be a Service
		if svc := a.service(n.Namespace, n.Service); svc != nil && svc.Spec.Type == corev1.ServiceTypeExternalName {
			if target := strings.TrimSuffix(svc.Spec.ExternalName, ".") + "."; !slices.Contains(names, target) {
				names = append(names, target)
			}
		}
	}
	if anywhere {
		a.listNamespace(ctx, metav1.NamespaceAll)
	}
	if s.hasImports() && !imports { // a list of one tells whether the API server has them
		a.list(ctx, kube.Imports, metav1.NamespaceAll, metav1.ListOptions{Limit: 1})
	}
	return a.err
}

// listNamespace lists the objects of a namespace, unless the Namespace is known not to exist. A Namespace that may not be looked at
// is taken to exist.
func (a *apiServer) listNamespace(ctx context.Context, name string) {
	switch {
	case name == metav1.NamespaceAll, named[*corev1.Namespace](a.cluster, "", name) != nil:
	case a.unknown[kube.Namespaces] == "", a.listed[kube.Namespaces+"/"+name]:
		return
	default:
		a.listed[kube.Namespaces+"/"+name] = true
		ns, err := a.Get(ctx, kube.Namespaces, name)
		switch {
		case apierrors.IsNotFound(err):
			return
		case apierrors.IsForbidden(err):
			ns = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
			a.unknown[kube.Namespaces+"/"+name] = fmt.Sprintf("the labels of Namespace %s are not known: %v", name, err)
		case err != nil:
			a.err = fmt.Errorf("cannot get namespace %s: %w", name, err)
			return
		}
		a.add(ns)
	}
	for _, resource := range []string{kube.Services, kube.Slices, kube.Pods, listing.StatefulSets} {
		a.list(ctx, resource, name, metav1.ListOptions{})
	}
}

// list lists a resource, unless it has done so before. A list that is forbidden makes the resource unknown. An API server that has no
// ServiceImports is no error, and is noted.
func (a *apiServer) list(ctx context.Context, resource, namespace string, o metav1.ListOptions) {
	key, isImport := resource, resource == kube.Imports
	switch {
	case namespace != metav1.NamespaceAll:
		key += "/" + namespace
	case o.FieldSelector != "":
		key = "services of other namespaces"
	}
	if a.err != nil || a.listed[key+o.FieldSelector] || isImport && a.noImports {
		return
	}
	a.listed[key+o.FieldSelector] = true
	what := strings.Replace(key, "/", " in ", 1)
	l, err := a.List(ctx, resource, namespace, o)
	switch {
	case apierrors.IsForbidden(err):
		a.unknown[key] = fmt.Sprintf("the %s are not known: %v", what, err)
	case isImport && apierrors.IsNotFound(err):
		a.noImports = true
	case err != nil:
		a.err = fmt.Errorf("cannot list %s: %w", what, err)
	default:
		objects, err := meta.ExtractList(l)
		a.add(objects...)
		a.err = err
	}
}
