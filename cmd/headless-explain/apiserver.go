package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	mcsclient "sigs.k8s.io/mcs-api/pkg/client/clientset/versioned/typed/apis/v1alpha1"
)

// requestTimeout is how long one request to the API server may take.
const requestTimeout = 30 * time.Second

// apiServer lists what bears on a name, each thing once. It only lists.
type apiServer struct {
	client    kubernetes.Interface
	mcs       mcsclient.ServiceImportsGetter
	namespace string // of the kubeconfig's context
	host      string

	objects []runtime.Object
	unknown map[string]string
	listed  map[string]bool // by namespace, or by services/name
	// noImports says that the API server does not have ServiceImports.
	noImports bool
}

// newAPIServer returns the one that a kubeconfig file and its context, or else the current one, lead to. Without a file it is the one
// that kubectl uses.
func newAPIServer(kubeconfig, kubecontext string) (*apiServer, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: kubecontext})
	rc, err := config.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("expected a cluster, by -kubeconfig or as kubectl finds it, or -manifests: %w", err)
	}
	rc.UserAgent, rc.Timeout, rc.QPS = "headless-explain", requestTimeout, -1 // a few requests, at once
	rc.ContentType, rc.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	a := &apiServer{host: withoutUser(rc.Host), unknown: make(map[string]string), listed: make(map[string]bool)}
	var errs [3]error
	a.client, errs[0] = kubernetes.NewForConfig(rc)
	a.mcs, errs[1] = mcsclient.NewForConfig(rc)
	a.namespace, _, errs[2] = config.Namespace()
	return a, errors.Join(errs[:]...)
}

// withoutUser returns a URL without the user and the password in it.
func withoutUser(host string) string {
	u, err := url.Parse(host)
	if err != nil || u.User == nil {
		return host
	}
	u.User = nil
	return u.String()
}

// cluster lists what bears on names: the objects of the namespaces that they are in or that their CNAMEs lead to, and the Services of
// their names everywhere. Names that are in no namespace may have to do with all objects. What may not be listed is not known.
func (a *apiServer) cluster(ctx context.Context, s *server, names []string) (*cluster, error) {
	namespaces, err := a.client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err := a.add("namespaces", metav1.NamespaceAll, namespaces, err); err != nil {
		return nil, err
	}
	anywhere, imports := true, false
	for i := 0; i < len(names); i++ { // it grows
		n := s.parse(names[i])
		if n.Namespace == "" {
			continue
		}
		anywhere = false
		if err := a.list(ctx, n.Namespace); err != nil {
			return nil, err
		}
		if n.Multicluster {
			imports = true
			if err := a.listImports(ctx, n.Namespace); err != nil {
				return nil, err
			}
			continue
		}
		if err := a.listServices(ctx, cmp.Or(n.Service, n.Namespace)); err != nil { // people leave the Namespace out
			return nil, err
		}
		if target := a.target(n.Namespace, n.Service); !slices.Contains(names, target) {
			names = append(names, target)
		}
	}
	if anywhere {
		if err := a.list(ctx, metav1.NamespaceAll); err != nil {
			return nil, err
		}
	}
	if s.hasImports() && !imports {
		if err := a.listImports(ctx, metav1.NamespaceAll); err != nil {
			return nil, err
		}
	}
	c := newCluster(a.objects)
	c.unknown, c.noImports = a.unknown, a.noImports
	return c, nil
}

// target returns the FQDN that a Service is a CNAME for, or the root.
func (a *apiServer) target(namespace, name string) string {
	for _, obj := range a.objects {
		if svc, ok := obj.(*corev1.Service); ok && svc.Namespace == namespace && svc.Name == name && svc.Spec.Type == corev1.ServiceTypeExternalName {
			return strings.TrimSuffix(svc.Spec.ExternalName, ".") + "."
		}
	}
	return "."
}

// list lists the objects of a namespace, unless it is known that there is none of the name.
func (a *apiServer) list(ctx context.Context, namespace string) error {
	if a.listed[namespace] {
		return nil
	}
	a.listed[namespace] = true
	if exists, err := a.hasNamespace(ctx, namespace); !exists {
		return err
	}
	core, all := a.client.CoreV1(), metav1.ListOptions{}
	for _, of := range []struct {
		resource string
		list     func() (runtime.Object, error)
	}{
		{"services", func() (runtime.Object, error) { return core.Services(namespace).List(ctx, all) }},
		{"endpointslices", func() (runtime.Object, error) { return a.client.DiscoveryV1().EndpointSlices(namespace).List(ctx, all) }},
		{"pods", func() (runtime.Object, error) { return core.Pods(namespace).List(ctx, all) }},
		{"statefulsets", func() (runtime.Object, error) { return a.client.AppsV1().StatefulSets(namespace).List(ctx, all) }},
	} {
		objects, err := of.list()
		if err := a.add(of.resource, namespace, objects, err); err != nil {
			return err
		}
	}
	return nil
}

// listImports lists the ServiceImports of a namespace. Of all namespaces it lists one, which tells whether the API server has them.
func (a *apiServer) listImports(ctx context.Context, namespace string) error {
	if a.listed["serviceimports/"+namespace] || a.noImports {
		return nil
	}
	a.listed["serviceimports/"+namespace] = true
	options := metav1.ListOptions{}
	if namespace == metav1.NamespaceAll {
		options.Limit = 1
	}
	imports, err := a.mcs.ServiceImports(namespace).List(ctx, options)
	if a.noImports = apierrors.IsNotFound(err); a.noImports {
		return nil
	}
	return a.add("serviceimports", namespace, imports, err)
}

// listServices lists the Services of a name in all namespaces.
func (a *apiServer) listServices(ctx context.Context, name string) error {
	if a.listed["services/"+name] {
		return nil
	}
	a.listed["services/"+name] = true
	byName := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()}
	services, err := a.client.CoreV1().Services(metav1.NamespaceAll).List(ctx, byName)
	return a.add("services of other namespaces", metav1.NamespaceAll, services, err)
}

// hasNamespace reports whether a Namespace exists, or may. One that may not be looked at is taken to exist.
func (a *apiServer) hasNamespace(ctx context.Context, name string) (bool, error) {
	if name == metav1.NamespaceAll {
		return true, nil
	}
	if a.unknown["namespaces"] == "" {
		return slices.ContainsFunc(a.objects, func(obj runtime.Object) bool {
			ns, ok := obj.(*corev1.Namespace)
			return ok && ns.Name == name
		}), nil
	}
	ns, err := a.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case apierrors.IsForbidden(err):
		ns = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		a.unknown["namespaces/"+name] = fmt.Sprintf("the labels of Namespace %s are not known: %v", name, err)
	case err != nil:
		return false, fmt.Errorf("cannot get namespace %s: %w", name, err)
	}
	a.objects = append(a.objects, ns)
	return true, nil
}

// add adds the objects of a list. That a list is forbidden makes the resource unknown; any other error is returned.
func (a *apiServer) add(resource, namespace string, l runtime.Object, err error) error {
	what, key := resource, resource
	if namespace != metav1.NamespaceAll {
		what, key = resource+" in "+namespace, resource+"/"+namespace
	}
	switch {
	case apierrors.IsForbidden(err):
		a.unknown[key] = fmt.Sprintf("the %s are not known: %v", what, err)
		return nil
	case err != nil:
		return fmt.Errorf("cannot list %s: %w", what, err)
	}
	objects, err := meta.ExtractList(l)
	a.objects = append(a.objects, objects...)
	return err
}
