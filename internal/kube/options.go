package kube

import (
	"context"
	"fmt"
	"net"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// Options say which API server to ask, as whom, and how much at once. Without Kubeconfig and
// Endpoint it is that of the cluster that this process runs in. A zero leaves a limit to client-go.
type Options struct {
	Endpoint                  string // a URL
	CertFile, KeyFile, CAFile string // with Endpoint
	Kubeconfig, Context       string
	QPS                       float32
	Burst, MaxInflight        int
	// Dial opens connections to the API server; nil: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// dial opens a connection to the API server.
func (o *Options) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if o.Dial != nil {
		return o.Dial(ctx, network, address)
	}
	return dialer.DialContext(ctx, network, address)
}

// Selector selects objects by their labels.
type Selector = labels.Selector

// ParseSelector returns the selector that text is, as kubectl get -l takes it.
func ParseSelector(text string) (Selector, error) { return labels.Parse(text) }

// Selection says which objects are asked for.
type Selection struct {
	NamespaceLabels Selector // of Namespaces; nil: all
	Labels          Selector // of everything else, except ServiceImports; nil: all
	NoEndpoints     bool     // no EndpointSlices, except those of ServiceImports
	HeadlessOnly    bool     // of EndpointSlices only those of headless Services
	Node            string   // the only Node asked for
	// PodsOfNode says that Pods are only asked for to know who asks: all those of Node, and no others.
	PodsOfNode bool
}

// fields returns the field selector of the objects of a resource.
func (s Selection) fields(resource string) string {
	switch {
	case resource == Nodes:
		return "metadata.name=" + s.Node
	case resource == Pods && s.PodsOfNode:
		return runningPods + ",spec.nodeName=" + s.Node
	}
	return watched[resource].fields
}

// isOptional reports whether names can be answered without a resource: it says who asks, and no more.
func (s Selection) isOptional(resource string) bool {
	return resource == Nodes || resource == Pods && s.PodsOfNode
}

// Of returns what selects the objects of a resource.
func (s Selection) Of(resource string) Selector {
	switch {
	case resource == Namespaces:
		return with(s.NamespaceLabels)
	case resource == Imports || s.isOptional(resource):
		return labels.Everything()
	case resource == Imported:
		return with(s.Labels, mcsv1beta1.LabelServiceName)
	case resource == Slices && s.NoEndpoints:
		return labels.Nothing()
	case resource == Slices && s.HeadlessOnly:
		return with(s.Labels, corev1.IsHeadlessService)
	}
	return with(s.Labels)
}

// with returns a selector for the objects that s, which may be nil for all, selects and that have
// some labels.
func with(s Selector, names ...string) Selector {
	if s == nil {
		s = labels.NewSelector()
	}
	for _, name := range names {
		has, err := labels.NewRequirement(name, selection.Exists, nil)
		if err != nil {
			panic(fmt.Sprintf("headless: %v", err)) // a constant is wrong
		}
		s = s.Add(*has)
	}
	return s
}
