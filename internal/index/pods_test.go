package index

import (
	"net/netip"
	"testing"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
)

func TestPods(t *testing.T) {
	p := NewPods()
	at := func(addr string) string {
		if spec, _ := p.At(netip.MustParseAddr(addr)); spec != nil {
			return spec.Namespace + "/" + spec.Name
		}
		return ""
	}
	leaving := func(namespace, name, addr string) *model.Pod {
		pod := modeltest.PodAt(namespace, name, addr)
		pod.Leaving = true
		return pod
	}
	for _, step := range []struct {
		name string
		do   func()
		want [3]string // who has 10.0.0.1, 10.0.0.2 and fd00::1
	}{
		{"none", func() {}, [3]string{}},
		{"a Pod of two families", func() { p.Put(modeltest.PodAt("a", "web", "10.0.0.1", "fd00::1")) }, [3]string{"a/web", "", "a/web"}},
		{"the same again", func() { p.Put(modeltest.PodAt("a", "web", "10.0.0.1", "fd00::1")) }, [3]string{"a/web", "", "a/web"}},
		{"another has its address too", func() { p.Put(modeltest.PodAt("b", "web", "10.0.0.1")) }, [3]string{"", "", "a/web"}},
		{"and a third", func() { p.Put(modeltest.PodAt("a", "db", "10.0.0.1")) }, [3]string{"", "", "a/web"}},
		{"one of them moves", func() { p.Put(modeltest.PodAt("a", "db", "10.0.0.2")) }, [3]string{"", "a/db", "a/web"}},
		{"a Pod goes", func() { p.Drop(model.Key{Namespace: "a", Name: "web"}) }, [3]string{"b/web", "a/db", ""}},
		{"a Pod nobody knows goes", func() { p.Drop(model.Key{Namespace: "a", Name: "web"}) }, [3]string{"b/web", "a/db", ""}},
		{"a Pod is about to leave", func() { p.Put(leaving("b", "web", "10.0.0.1")) }, [3]string{"b/web", "a/db", ""}},
		{"another has its address already", func() { p.Put(modeltest.PodAt("c", "web", "10.0.0.1")) }, [3]string{"c/web", "a/db", ""}},
		{"that one leaves too", func() { p.Put(leaving("c", "web", "10.0.0.1")) }, [3]string{"", "a/db", ""}},
		{"and goes", func() { p.Drop(model.Key{Namespace: "c", Name: "web"}) }, [3]string{"b/web", "a/db", ""}},
		{"a Pod loses its address", func() { p.Put(modeltest.PodAt("b", "web")) }, [3]string{"", "a/db", ""}},
	} {
		step.do()
		if got := [3]string{at("10.0.0.1"), at("10.0.0.2"), at("fd00::1")}; got != step.want {
			t.Errorf("%s: got %q, want %q", step.name, got, step.want)
		}
	}
	if n := len(p.Keys()); n != 2 || len(p.byAddr) != 1 {
		t.Errorf("%d Pods and %d addresses are left, want 2 and 1", n, len(p.byAddr))
	}
}

// TestPodsThatLeaveHaveNoNames: as in the kubernetes plugin. As clients they stay known.
func TestPodsThatLeaveHaveNoNames(t *testing.T) {
	p, addr := NewPods(), netip.MustParseAddr("10.0.0.1")
	pod := modeltest.PodAt("a", "web", "10.0.0.1")
	p.Put(pod)
	if !p.In("a", addr) {
		t.Error("a Pod has no name")
	}
	going := *pod
	going.Leaving = true
	p.Put(&going)
	if client, _ := p.At(addr); p.In("a", addr) || client != &going {
		t.Errorf("a Pod that leaves: has a name: %v, is the client %v", p.In("a", addr), client)
	}
}

// TestPodsInTheNetworkOfTheirNode: nobody can tell which of them asks, also if there is but one. Their node is known.
func TestPodsInTheNetworkOfTheirNode(t *testing.T) {
	p, addr := NewPods(), netip.MustParseAddr("10.0.0.1")
	put := func(name, node string, host bool) {
		pod := modeltest.PodAt("a", name, "10.0.0.1")
		pod.Node, pod.Host = node, host
		p.Put(pod)
	}
	for _, step := range []struct {
		name string
		do   func()
		pod  bool
		node string
	}{
		{"none", func() {}, false, ""},
		{"one", func() { put("proxy", "k", true) }, false, "k"},
		{"two", func() { put("agent", "k", true) }, false, "k"},
		{"they disagree", func() { put("agent", "l", true) }, false, ""},
		{"one goes", func() { p.Drop(model.Key{Namespace: "a", Name: "proxy"}) }, false, "l"},
		{"the other has an address of its own", func() { put("agent", "l", false) }, true, "l"},
	} {
		step.do()
		if pod, node := p.At(addr); (pod != nil) != step.pod || node != step.node {
			t.Errorf("%s: got Pod %v on node %q, want a Pod: %v, on node %q", step.name, pod, node, step.pod, step.node)
		}
	}
}
