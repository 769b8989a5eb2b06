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
		if spec := p.At(netip.MustParseAddr(addr)); spec != nil {
			return spec.Namespace + "/" + spec.Name
		}
		return ""
	}
	for _, step := range []struct {
		name string
		do   func()
		want [3]string // who has 10.0.0.1, 10.0.0.2 and fd00::1
	}{
		{"none", func() {}, [3]string{}},
		{"a Pod of two families", func() { p.Put(modeltest.PodAt("a", "web", "10.0.0.1", "fd00::1")) }, [3]string{"a/web", "", "a/web"}},
		{"the same again", func() { p.Put(modeltest.PodAt("a", "web", "10.0.0.1", "fd00::1")) }, [3]string{"a/web", "", "a/web"}},
		{"another with its address comes later in order", func() { p.Put(modeltest.PodAt("b", "web", "10.0.0.1")) }, [3]string{"a/web", "", "a/web"}},
		{"another comes before it", func() { p.Put(modeltest.PodAt("a", "db", "10.0.0.1")) }, [3]string{"a/db", "", "a/web"}},
		{"a Pod moves", func() { p.Put(modeltest.PodAt("a", "db", "10.0.0.2")) }, [3]string{"a/web", "a/db", "a/web"}},
		{"a Pod goes", func() { p.Drop(model.Key{Namespace: "a", Name: "web"}) }, [3]string{"b/web", "a/db", ""}},
		{"a Pod nobody knows goes", func() { p.Drop(model.Key{Namespace: "a", Name: "web"}) }, [3]string{"b/web", "a/db", ""}},
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
