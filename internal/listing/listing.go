// Package listing reads the objects of a cluster once, for commands that look at one. It needs no right but to list and to get.
package listing

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coredns-headless/headless/internal/kube"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/pager"
)

// Resources that the plugin does not use. The others are Namespaces, Services, Slices, Pods and Imports of package kube.
const (
	ConfigMaps   = "configmaps"
	Deployments  = "deployments"
	StatefulSets = "statefulsets"
)

// Client asks an API server for objects of these resources.
type Client struct {
	Host      string                      // with the user and the password, if the kubeconfig has them there
	Namespace string                      // of the kubeconfig's context
	resources map[string][]rest.Interface // for each version of the API, in order of preference
}

// New returns the client for the API server that a kubeconfig file and a context of it lead to, or else the current one. Without a
// file it is the one that kubectl uses. One request may take as long as timeout, or any time if that is 0.
func New(kubeconfig, kubecontext, userAgent string, timeout time.Duration) (*Client, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: kubecontext}
	config := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	rc, err := config.ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err): // whose text advises KUBERNETES_MASTER, which is not read here
		return nil, fmt.Errorf("found none in %s", strings.Join(rules.GetLoadingPrecedence(), " or "))
	case err != nil:
		return nil, err
	}
	namespace, _, err := config.Namespace()
	if err != nil {
		return nil, err
	}
	return Of(rc, namespace, userAgent, timeout)
}

// Of returns the client for the API server that rc leads to, which it modifies. Namespace is that of the client.
func Of(rc *rest.Config, namespace, userAgent string, timeout time.Duration) (*Client, error) {
	rc.UserAgent, rc.Timeout = userAgent, timeout
	rc.QPS, rc.Burst = 50, 100 // of pages: a large cluster has some hundred
	rc.ContentType = runtime.ContentTypeProtobuf
	rc.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	client, coreErr := kubernetes.NewForConfig(rc)
	imports, importsErr := importClients(rc)
	if err := errors.Join(coreErr, importsErr); err != nil {
		return nil, err
	}
	core := []rest.Interface{client.CoreV1().RESTClient()}
	return &Client{rc.Host, namespace, map[string][]rest.Interface{
		kube.Namespaces: core, kube.Services: core, kube.Pods: core,
		ConfigMaps:   core,
		kube.Slices:  {client.DiscoveryV1().RESTClient()},
		Deployments:  {client.AppsV1().RESTClient()},
		StatefulSets: {client.AppsV1().RESTClient()},
		kube.Imports: imports,
	}}, nil
}

// importClients returns the clients for ServiceImports.
func importClients(rc *rest.Config) (clients []rest.Interface, err error) {
	known := runtime.NewScheme()
	kube.InstallImports(known)
	for _, version := range kube.ImportVersions {
		config := *rc
		config.APIPath, config.GroupVersion = "/apis", &version
		config.NegotiatedSerializer = serializer.NewCodecFactory(known).WithoutConversion()
		client, err := rest.RESTClientFor(&config)
		if err != nil {
			return nil, err
		}
		clients = append(clients, client)
	}
	return clients, nil
}

// Get gets an object that is in no namespace.
func (c *Client) Get(ctx context.Context, resource, name string) (runtime.Object, error) {
	return c.resources[resource][0].Get().Resource(resource).Name(name).Do(ctx).Get()
}

// List lists a resource, in a namespace unless that is "", in the best version that the API server has.
func (c *Client) List(
	ctx context.Context, resource, namespace string, o metav1.ListOptions,
) (list runtime.Object, err error) {
	for _, client := range c.resources[resource] {
		list, err = client.Get().
			NamespaceIfScoped(namespace, namespace != metav1.NamespaceAll).Resource(resource).
			SpecificallyVersionedParams(&o, scheme.ParameterCodec, schema.GroupVersion{Version: "v1"}).
			Timeout(0). // that of the client holds, and is nothing to tell the server
			Do(ctx).Get()
		if !apierrors.IsNotFound(err) {
			break
		}
	}
	return list, err
}

// Each calls take with each object of a list, which comes page by page.
func (c *Client) Each(
	ctx context.Context, resource, namespace string, o metav1.ListOptions, take func(runtime.Object) error,
) error {
	page := func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return c.List(ctx, resource, namespace, o)
	}
	if err := pager.New(page).EachListItem(ctx, o, take); err != nil {
		group := c.resources[resource][0].APIVersion().Group
		return fmt.Errorf("cannot list %s: %w", schema.GroupResource{Group: group, Resource: resource}, err)
	}
	return nil
}

// Named are the options of a list of what has a name.
func Named(name string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()}
}
