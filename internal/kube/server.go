// Package kube takes the objects of a Kubernetes API server and gives what DNS keeps of them, as
// package model has it, to sinks.
//
// A Server lists and watches what Feeds ask for, resource by resource. A Converter reduces each
// object as it arrives, leaves out and counts what is malformed, and keeps nothing but the cluster's
// UID. Package manifests feeds the same Feeds from files.
package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/go-logr/logr"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/connrotation"
	"k8s.io/klog/v2"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// The resources, by the names that RBAC and metrics use.
const (
	Namespaces = "namespaces"
	Services   = "services"
	Slices     = "endpointslices"
	Pods       = "pods"
	Nodes      = "nodes"
	Imports    = "serviceimports"
	// Imported are the slices of ServiceImports: the same resource as the others, listed and watched again.
	Imported = "endpointslices of serviceimports"
)

// Resources are all of them.
var Resources = []string{Namespaces, Services, Slices, Pods, Nodes, Imports, Imported}

// watched says where the objects of a resource are, and what they are.
var watched = map[string]struct {
	versions []schema.GroupVersion // in order of preference
	path     string                // in the URL
	fields   string                // a field selector
	object   runtime.Object
}{
	Namespaces: {coreVersions, "namespaces", "", &corev1.Namespace{}},
	Services:   {coreVersions, "services", "", &wireService{}},
	Slices:     {sliceVersions, "endpointslices", "", &wireSlice{}},
	Pods:       {coreVersions, "pods", runningPods, &corev1.Pod{}},
	Nodes:      {coreVersions, "nodes", "", &corev1.Node{}},
	Imports:    {ImportVersions, "serviceimports", "", &mcsv1beta1.ServiceImport{}},
	Imported:   {sliceVersions, "endpointslices", "", &wireSlice{}},
}

var (
	coreVersions  = []schema.GroupVersion{corev1.SchemeGroupVersion}
	sliceVersions = []schema.GroupVersion{discoveryv1.SchemeGroupVersion}
)

// runningPods selects the Pods that have, or will have, an address of their own.
const runningPods = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"

// Server is the source that watches an API server.
type Server struct {
	url        string // without credentials
	access     access
	conns      *connrotation.Dialer
	reflectors []*cache.Reflector
	ctx        context.Context // ends with Stop
	cancel     context.CancelFunc
	running    sync.WaitGroup
}

// NewServer prepares the reflectors that feed feeds from the API server of o, without a connection
// yet. It says userAgent of itself to the server, and to log what goes wrong.
func NewServer(o *Options, userAgent string, feeds *Feeds, log clog.P) (*Server, error) {
	rc, err := o.clientConfig(userAgent)
	if err != nil {
		return nil, o.wrong(err)
	}
	server, _, err := rest.DefaultServerUrlFor(rc)
	if err != nil {
		return nil, o.wrong(err)
	}
	a := &Server{
		url: server.Scheme + "://" + server.Host, access: o.access(),
		conns: connrotation.NewDialer(o.dial),
	}
	a.ctx, a.cancel = context.WithCancel(klog.NewContext(context.Background(), logr.Discard()))
	rc.Dial = a.Dial
	transport, err := rest.TransportFor(rc)
	if err != nil {
		return nil, fmt.Errorf("cannot make an HTTP client: %w", err)
	}
	var failed []error
	for _, resource := range feeds.asked() {
		failed = append(failed, a.reflect(resource, rc, transport, feeds, log))
	}
	if err := errors.Join(failed...); err != nil {
		return nil, fmt.Errorf("cannot make a Kubernetes client: %w", err)
	}
	return a, nil
}

// reflect adds the reflector of a resource.
func (a *Server) reflect(resource string, rc *rest.Config, transport http.RoundTripper, feeds *Feeds,
	log clog.P,
) error {
	config := *rc
	config.NegotiatedSerializer = newWireSerializer(nil)
	if resource == Slices {
		config.NegotiatedSerializer = newWireSerializer(feeds.recall)
	}
	l, err := newListWatch(resource, &config, transport)
	if err != nil {
		return err
	}
	l.labels, l.fields, l.access, l.outage.log = feeds.selection.Of(resource), feeds.selection.fields(resource), a.access, log
	l.outage.told = feeds.Clock[resource]
	l.heard = func() { feeds.Clock.heard(resource) }
	lw := &cache.ListWatch{ListWithContextFunc: l.list, WatchFuncWithContext: l.watch}
	silent := logr.Discard() // what goes wrong is reported by l, and l waits
	a.reflectors = append(a.reflectors, cache.NewReflectorWithOptions(lw, watched[resource].object,
		feeds.stores[resource], cache.ReflectorOptions{
			Name: resource, Logger: &silent, Backoff: &wait.Backoff{},
		}))
	return nil
}

// String names the server, and where its address stands.
func (a *Server) String() string {
	return fmt.Sprintf("the API server %s, by %s", a.url, a.access.address)
}

// Start runs the reflectors until Stop.
func (a *Server) Start() {
	for _, r := range a.reflectors {
		a.running.Go(func() { r.RunWithContext(a.ctx) })
	}
}

// Stop ends the watches and closes the connections. It returns when nothing of them is left.
func (a *Server) Stop() {
	a.cancel()
	a.running.Wait()
	a.conns.CloseAll()
}
