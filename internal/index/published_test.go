package index

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
)

// catchUp brings p to where its index is, if that is somewhere else, and checks it.
func (p *Published) catchUp(t *testing.T) {
	t.Helper()
	if s := p.Next(); s != nil {
		s.Apply((*Unit).Take)
	}
	fatal.If(t, p.Check())
}

// TestPublishedFollows takes steps while an index changes in random ways. In the end the copy holds what the index does.
func TestPublishedFollows(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 20))
		hold := time.Duration(seed%2) * time.Millisecond
		x := New(model.HostnamesAll, seed%3 == 0, hold)
		p := x.Publish(make(chan struct{}, 1))
		var changing sync.WaitGroup
		done := make(chan struct{})
		changing.Go(func() {
			defer close(done)
			m := newModel(model.HostnamesAll, seed%3 == 0)
			for range 500 {
				step(r, x, m)
				clear(m.derived)
			}
		})
		for running := true; running; {
			select {
			case <-done:
				running = false
			default:
			}
			p.catchUp(t)
		}
		changing.Wait()
		for x.Holding().Now > 0 {
			time.Sleep(hold)
		}
		p.catchUp(t)
		if got, want := p.facts(), x.facts(); !slices.Equal(got, want) {
			t.Fatalf("seed %d: the copy has\n%s\nthe index has\n%s", seed, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if p.Next() != nil {
			t.Errorf("seed %d: nothing has changed, and there is a step", seed)
		}
	}
}

// TestStepsAreOfWhatChanged: a step has the names of the endpoint that changed, and looks at no other Service.
func TestStepsAreOfWhatChanged(t *testing.T) {
	x := New(model.HostnamesReady, false, 0)
	modeltest.BigCluster(x, 50, true)
	modeltest.PutPods(x, 300)
	news := make(chan struct{}, 1)
	p := x.Publish(news)
	if p.Next() != nil || len(news) > 0 {
		t.Fatal("nothing has changed, and there is a step")
	}
	flipped := modeltest.BigSlice(100, 200, model.Ready)
	flipped.Endpoints[7].State = model.NotReady
	x.PutSlice(flipped)
	if len(news) == 0 {
		t.Error("a change is no news")
	}
	s := p.Next()
	if len(s.units) != 1 || len(s.units[0].services) != 1 {
		t.Fatalf("a step has %d units, want one of one Service", len(s.units))
	}
	names := make(map[string]bool)
	for q := range s.units[0].Names() {
		names[q.FQDN("cluster.local.")] = true
	}
	for _, name := range []string{"web.n.svc.cluster.local.", "_http._tcp.web.n.svc.cluster.local.", "web-107.web.n.svc.cluster.local."} {
		if !names[name] {
			t.Errorf("a step lacks the name %s", name)
		}
	}
	if addrs := s.Addrs(); len(names) != 6 || len(addrs) != 1 {
		t.Errorf("a step has %d names and the addresses %v, want those of the Service and of one endpoint", len(names), addrs)
	}
}
