package index

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
)

func TestGlance(t *testing.T) {
	x := New(model.HostnamesReady, false, time.Minute)
	modeltest.PutWeb(x)
	web := model.Key{Namespace: "n", Name: "web"}
	put := func(n int, port uint16, pods ...model.Endpoint) {
		x.PutSlice(&model.Slice{
			Key: model.Key{Namespace: "n", Name: fmt.Sprint("slice-", n)}, Service: "web", Ports: []model.Port{model.PortOf("p", "tcp", port)},
			Endpoints: pods,
		})
	}
	pod := func(n int, s model.State, leaving bool) model.Endpoint {
		return model.Endpoint{Addr: podAddr(n), Name: fmt.Sprint("web-", n), State: s, Leaving: leaving}
	}
	put(1, 80, pod(10, model.NotReady, false), pod(2, model.Ready, false))
	put(2, 80, pod(3, model.Serving, true), pod(4, model.NotReady, true), pod(5, model.Ready, true)) // publishNotReadyAddresses
	put(3, 80, pod(6, model.Ready, false), pod(2, model.Ready, false))
	put(3, 8080) // holds the sixth
	r, n, g, held := StandsReady, StandsNotReady, StandsTerminating, StandsHeld
	want := []Standing{r, g, g, g, held, n}
	got, ok := x.Glance(web)
	if !ok || !slices.Equal(got.First, want) || got.Counts != [NumStandings]int{1, 1, 3, 1} {
		t.Errorf("got %+v, %v, want %v", got, ok, want)
	}
	for i, e := range x.Endpoints(web, 100) { // in the order of addresses
		if want := []Standing{r, g, g, g, held, n}[i]; e.Standing != want {
			t.Errorf("%v stands %v, want %v", e.Names, e.Standing, want)
		}
	}
	if keys := x.Headless(); !slices.Equal(keys, []model.Key{web}) {
		t.Errorf("headless are %v, want %v", keys, web)
	}

	var many []model.Endpoint
	for n := range MaxGlance + 5 {
		many = append(many, pod(n, model.Ready, false))
	}
	put(4, 80, many...)
	if got, _ := x.Glance(web); len(got.First) != MaxGlance || got.Counts[r] != MaxGlance+5 {
		t.Errorf("got %d of %v, want %d of %d that are ready", len(got.First), got.Counts, MaxGlance, MaxGlance+5)
	}

	x.PutService(&model.Service{Key: web, Kind: model.ClusterIP})
	if got, ok := x.Glance(web); ok || len(x.Headless()) > 0 {
		t.Errorf("got %+v of a Service with a ClusterIP", got)
	}
	modeltest.PutWeb(x)
	x.DropNamespace(model.Key{Name: "n"})
	if got, ok := x.Glance(web); ok || got.First != nil || len(x.Headless()) > 0 {
		t.Errorf("got %+v of a namespace that is not served", got)
	}
	if got, ok := x.Glance(model.Key{Namespace: "n", Name: "nobody"}); ok {
		t.Errorf("got %+v of a Service that is not there", got)
	}
}

func TestWatch(t *testing.T) {
	x := New(model.HostnamesReady, false, 0)
	modeltest.PutWeb(x)
	w, other := x.Watch(), x.Watch()
	defer w.Close()
	expect := func(what string, want ...string) {
		t.Helper()
		keys, many := w.Changed()
		var got []string
		for _, key := range keys {
			got = append(got, key.Name)
		}
		if many || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, many %v, want %q", what, got, many, want)
		}
	}
	expect("at first")
	put := func(service string, s model.State) {
		x.PutSlice(&model.Slice{
			Key: model.Key{Namespace: "n", Name: service}, Service: service, Endpoints: []model.Endpoint{{Addr: podAddr(1), Name: "a", State: s}},
		})
	}
	put("web", model.Ready)
	put("web", model.NotReady)
	put("db", model.Ready)
	expect("slices, one of a Service that is not there", "web")
	x.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: "db"}, Kind: model.Headless})
	put("db", model.NotReady)
	expect("a Service that comes", "db")
	x.DropService(model.Key{Namespace: "n", Name: "web"})
	expect("a Service that goes", "web")
	modeltest.PutWeb(x)
	w.Changed()
	x.DropNamespace(model.Key{Name: "n"})
	expect("a Namespace that goes", "db", "web")
	if keys, _ := other.Changed(); len(keys) != 2 {
		t.Errorf("another watch has %v, want both once", keys)
	}
	other.Close()
	put("web", model.Ready)
	if keys, _ := other.Changed(); len(keys) != 0 {
		t.Errorf("a watch that is closed has %v", keys)
	}
	x.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: "vip"}})
	put("vip", model.Ready)
	expect("what is in a Namespace that is not served, or has a ClusterIP")
	x.PutNamespace(&model.Namespace{Key: model.Key{Name: "n"}})
	expect("a Namespace that comes", "db", "web")
	x.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: "db"}})
	expect("a Service that gets a ClusterIP", "db")
	for n := range maxChanged + 10 {
		x.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: fmt.Sprint(n)}, Kind: model.Headless})
	}
	if keys, many := w.Changed(); len(keys) != maxChanged || !many {
		t.Errorf("got %d keys, many %v, want %d, and that there are more", len(keys), many, maxChanged)
	}
	expect("after many")
}

func TestNamespaceOf(t *testing.T) {
	x := New(model.HostnamesReady, false, 0)
	addr := podAddr(1)
	put := func(namespace, service string) {
		x.PutSlice(&model.Slice{
			Key: model.Key{Namespace: namespace, Name: service}, Service: service, Endpoints: []model.Endpoint{{Addr: addr, Name: "a"}},
		})
	}
	expect := func(what, want string) {
		t.Helper()
		if got := x.NamespaceOf(addr); got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	expect("nobody has the address", "")
	put("a", "web")
	expect("somebody in a Namespace that is not served", "")
	x.PutNamespace(&model.Namespace{Key: model.Key{Name: "a"}})
	put("a", "db")
	expect("somebody, in two Services", "a")
	put("hidden", "web")
	expect("somebody else, in a Namespace that is not served", "a")
	x.PutNamespace(&model.Namespace{Key: model.Key{Name: "hidden"}})
	expect("two that do not agree", "")
}

func TestEndpointsSayForWhomTheyAre(t *testing.T) {
	x := New(model.HostnamesReady, false, 0)
	modeltest.PutWeb(x)
	for n, h := range []hints{noHints, preferSameNode} {
		x.PutSlice(&model.Slice{
			Key: model.Key{Namespace: "n", Name: fmt.Sprint(n)}, Service: "web",
			Endpoints: []model.Endpoint{{Addr: podAddr(n), State: model.Ready, Place: hintedAt("a", "k", h)}},
		})
	}
	web := model.Key{Namespace: "n", Name: "web"}
	if first := x.Endpoints(web, 1); len(first) != 1 || first[0].Addr != podAddr(0) {
		t.Errorf("got %+v, want the first endpoint alone", first)
	}
	all := x.Endpoints(web, 100)
	if len(all) != 2 {
		t.Fatalf("got %+v, want two endpoints", all)
	}
	if e := all[0]; !slices.Equal(e.Topologies, []string{"a"}) || len(e.ForZones)+len(e.ForNodes) > 0 {
		t.Errorf("got %+v, want it to be in a, and no hint", e)
	}
	if e := all[1]; !slices.Equal(e.ForZones, []string{"a"}) || !slices.Equal(e.ForNodes, []string{"k"}) {
		t.Errorf("got %+v, want it to be for the clients in a and on k", e)
	}
}
