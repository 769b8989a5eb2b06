package kube_test

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/model"
	clog "github.com/coredns/coredns/plugin/pkg/log"
)

// everyResource lists what a cluster watches, in the order of kube.Resources.
var everyResource = []string{kube.Namespaces, kube.Services, kube.Slices}

// cluster is what a Server gives to its sinks.
type cluster struct {
	*kube.Feeds
	server *kube.Server

	mu      sync.Mutex // guards the field below
	objects map[string]string
}

// newCluster returns a cluster whose Server is not started, of the resources of everyResource and others.
func newCluster(o *kube.Options, others ...string) (*cluster, error) {
	c := &cluster{objects: make(map[string]string)}
	sinks := &kube.Sinks{
		Namespaces: sink(c, kube.Namespaces, func(*model.Namespace) string { return "is there" }),
		Services:   sink(c, kube.Services, serviceText),
		Slices:     sink(c, kube.Slices, sliceText),
		Kind: func(key model.Key) string {
			kind, _, _ := strings.Cut(c.has(nameOf(kube.Services, key)), " ")
			return cmp.Or(kind, model.UnservedKind)
		},
	}
	for _, resource := range others {
		switch resource {
		case kube.Imports:
			sinks.Imports = sink(c, resource, serviceText)
		case kube.Imported:
			sinks.Imported = sink(c, resource, sliceText)
		}
	}
	c.Feeds = kube.NewFeeds(&kube.Converter{}, kube.Selection{}, sinks)
	var err error
	c.server, err = kube.NewServer(o, "", c.Feeds, clog.NewWithPlugin("headless"))
	return c, err
}

func serviceText(o *model.Service) string {
	text := o.MetricKind() + portsText(o.Ports)
	for _, ip := range o.ClusterIPs {
		text += " " + ip.String()
	}
	return text
}

func sliceText(o *model.Slice) string {
	text := o.Service + portsText(o.Ports)
	for _, e := range o.Endpoints {
		text += fmt.Sprint(" ", e.Name, " ", e.Addr)
	}
	return text
}

func portsText(ports []model.Port) (text string) {
	for _, p := range ports {
		text += fmt.Sprint(" ", p.Name(), ":", p.Number)
	}
	return text
}

// nameOf returns the name of an object in a cluster, as in "services ns/web".
func nameOf(resource string, key model.Key) string {
	return resource + " " + key.Namespace + "/" + key.Name
}

// sink returns what gives c the objects of a resource, as texts.
func sink[S interface{ ID() model.Key }](c *cluster, resource string, text func(S) string) kube.Sink[S] {
	change := func(f func()) {
		c.mu.Lock()
		defer c.mu.Unlock()
		f()
	}
	put := func(o S) { c.objects[nameOf(resource, o.ID())] = text(o) }
	return kube.Sink[S]{
		Put:  func(o S) { change(func() { put(o) }) },
		Drop: func(key model.Key) { change(func() { delete(c.objects, nameOf(resource, key)) }) },
		Replace: func(all iter.Seq[S]) {
			change(func() {
				maps.DeleteFunc(c.objects, func(name, _ string) bool { return strings.HasPrefix(name, resource+" ") })
				all(func(o S) bool { put(o); return true })
			})
		},
	}
}

// has returns what is kept of an object, "" if it is not there.
func (c *cluster) has(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.objects[name]
}

// started returns a cluster of the objects on the server of o. Its Server stops with the test.
func started(t testing.TB, o *kube.Options, others ...string) *cluster {
	t.Helper()
	c, err := newCluster(o, others...)
	if err != nil {
		t.Fatal(err)
	}
	c.server.Start()
	t.Cleanup(c.server.Stop)
	return c
}

// watching is like started, and waits for the lists.
func watching(t testing.TB, o *kube.Options) *cluster {
	t.Helper()
	c := started(t, o)
	select {
	case <-c.Listing.Complete():
	case <-time.After(kubetest.Patience):
		t.Fatalf("not within %v: lists of %q", kubetest.Patience, c.Listing.Missing())
	}
	return c
}

// at returns the options of a client of s.
func at(s *kubetest.Server) *kube.Options { return &kube.Options{Endpoint: s.URL} }

// eventuallyHas waits until c has something of an object, or nothing, which is "".
func eventuallyHas(t testing.TB, c *cluster, name, want string) {
	t.Helper()
	kubetest.Eventually(t, name+" is: "+want, func() bool { return c.has(name) == want })
}

// checkWeb looks whether c has the objects of kubetest.WebObjects.
func checkWeb(t testing.TB, c *cluster) {
	t.Helper()
	for name, want := range map[string]string{
		"namespaces /ns":          "is there",
		"services ns/web":         "headless_without_selector http:80",
		"services ns/db":          "cluster_ip http:80 10.96.0.1",
		"endpointslices ns/web-a": "web http:80 web-0 10.0.0.1",
	} {
		if got := c.has(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
