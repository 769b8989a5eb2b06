package index

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns-headless/headless/internal/qname"
)

// clone returns a copy of m, which stays as it is.
func (m *dumbIndex) clone() *dumbIndex {
	c := *m
	c.namespaces, c.services, c.slices = maps.Clone(m.namespaces), maps.Clone(m.services), maps.Clone(m.slices)
	c.moved, c.held = maps.Clone(m.moved), maps.Clone(m.held)
	c.derived = make(map[model.Key]map[model.Label]*modelEndpoint)
	return &c
}

// differs returns an answer of x that is not that of m, or "".
func (m *dumbIndex) differs(x *Index) string {
	for _, q := range modeltest.Questions() {
		for _, endpoints := range []bool{false, true} {
			wantOutcome, want := m.expectExternal(&q, endpoints)
			if q.Kind == qname.ReverseName {
				wantOutcome, want = m.expectExternalReverse(q.Prefix)
			}
			if o, records, err := gotExternal(x, &q, endpoints); err != nil || o != wantOutcome || !maps.Equal(records, want) {
				return fmt.Sprintf("%+v outside: got %d %v %v, want %d %v", q, o, records, err, wantOutcome, want)
			}
		}
		for w := WantNothing; w <= WantSRV; w++ {
			wantOutcome, want := m.expect(&q, w)
			if o, records, err := got(x, &q, w); err != nil || o != wantOutcome || !maps.Equal(records, want) {
				return fmt.Sprintf("%+v want %d: got %d %v %v, want %d %v", q, w, o, records, err, wantOutcome, want)
			}
		}
	}
	return ""
}

// facts returns what x holds, in some words, in an order that depends on nothing else.
func (x *Index) facts() (facts []string) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, ns := range x.namespaces {
		if ns.exists {
			facts = append(facts, "namespace "+ns.name)
		}
		for _, svc := range ns.services {
			if svc.spec != nil {
				facts = append(facts, fmt.Sprintf("service %+v", *svc.spec))
			}
			for sl := svc.slices; sl != nil; sl = sl.sibling {
				if spec := x.sliceSpec(sl); !sl.held || len(spec.Endpoints) > 0 { // a hold of nothing is nothing
					facts = append(facts, sliceFact(spec))
				}
			}
		}
	}
	slices.Sort(facts)
	return facts
}

func sliceFact(s *model.Slice) string {
	name, _, _ := strings.Cut(s.Name, s.Service+" ") // of a hold, which the index does not name
	return fmt.Sprintf("slice %s of %s/%s: %v %v", name, s.Namespace, s.Service, s.Ports, s.Endpoints)
}

// facts returns what m, which it reads, holds.
func (m *Moment) facts() (facts []string) {
	for _, name := range m.Namespaces() {
		facts = append(facts, "namespace "+name)
	}
	for c := range m.Services() {
		if c.Service != nil {
			facts = append(facts, fmt.Sprintf("service %+v", *c.Service))
		}
		for _, s := range c.Slices {
			if len(s.Endpoints) > 0 || !strings.Contains(s.Name, " ") {
				facts = append(facts, sliceFact(s))
			}
		}
	}
	slices.Sort(facts)
	return facts
}

// TestMomentIsOfOneMoment reads moments, several at once, and changes the index between all that is read of them.
func TestMomentIsOfOneMoment(t *testing.T) {
	for seed := range uint64(16) {
		bubble.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 4))
			hold := 5 * time.Second * time.Duration(seed%2)
			p, ignoreEmpty := model.Policy(1+r.IntN(3)), r.IntN(2) == 0
			x, m := New(p, ignoreEmpty, hold), newModel(p, ignoreEmpty)
			x.portion = 1
			type opened struct {
				*Moment
				then []string
			}
			var open []opened
			more := 0       // may be opened
			within := false // of a change, which may walk itself
			meanwhile := func(int) {
				if within {
					return
				}
				within = true
				defer func() { within = false }()
				if r.IntN(10) == 0 {
					time.Sleep(time.Second)
					synctest.Wait()
				}
				for range r.IntN(3) {
					step(r, x, m)
					clear(m.derived)
				}
				if more > 0 && r.IntN(4) == 0 {
					more--
					open = append(open, opened{x.Moment(), x.facts()})
				}
			}
			x.portioned = meanwhile
			for range 5 {
				more = 5
				for range 20 {
					meanwhile(0)
				}
				then, model := x.facts(), m.clone()
				f := x.Freeze()
				fatal.If(t, f.Check())
				if difference := model.differs(f.Index); hold == 0 && difference != "" {
					t.Fatalf("seed %d: what is frozen is not as the model was: %s", seed, difference)
				}
				open = append(open, opened{f.Moment(), then})
				for len(open) > 0 {
					first := open[0]
					open = open[1:]
					if r.IntN(5) == 0 {
						first.Close()
					} else if facts := first.facts(); !slices.Equal(facts, first.then) {
						t.Fatalf("seed %d: a moment has\n%s\nthe index had\n%s", seed,
							strings.Join(facts, "\n"), strings.Join(first.then, "\n"))
					}
				}
			}
			if len(x.moments) > 0 {
				t.Errorf("%d moments are over, and open", len(x.moments))
			}
			fatal.If(t, x.Check())
			time.Sleep(2 * hold) // the timer ends
		})
	}
}

// TestMomentGetsWhatChanges: the slice that changed, once, as it was, and nothing else.
func TestMomentGetsWhatChanges(t *testing.T) {
	x := New(model.HostnamesReady, false, 0)
	modeltest.PutPods(x, 1000)
	m := x.Moment()
	defer m.Close()
	for _, state := range []model.State{model.NotReady, model.Serving} {
		x.PutSlice(modeltest.BigSlice(100, 200, state))
	}
	var old []*model.Slice
	for _, c := range m.services {
		old = append(old, c.Slices...)
	}
	if len(old) != 1 || len(old[0].Endpoints) != 100 || old[0].Endpoints[0].State != model.Ready {
		t.Errorf("of 10 slices one changed, twice; the moment has got %d: %v", len(old), old)
	}
}

// TestWalksGiveTheLockBack: nobody waits for more than a portion, whatever it is of, and the slice that makes it one.
func TestWalksGiveTheLockBack(t *testing.T) {
	const services, pods = 3000, 10_000 // in slices of 100, of one Service
	x := New(model.HostnamesReady, false, 0)
	modeltest.BigCluster(x, services, true)
	modeltest.PutPods(x, pods)
	for i := range services {
		x.PutNamespace(&model.Namespace{Key: model.Key{Name: fmt.Sprint("empty-", i)}})
	}
	web := model.Key{Namespace: "n", Name: "web"} // of the pods
	for _, walk := range []struct {
		name  string
		do    func()
		least int // objects that are looked at
	}{
		{"a frozen copy", func() { x.Freeze() }, services + pods},
		{"a moment", func() {
			for range x.Moment().Services() { // each is read
			}
		}, services + pods},
		{"a glance at a Service", func() { x.Glance(web) }, pods},
		{"the endpoints of a Service", func() { x.Endpoints(web, 10) }, pods},
		{"the keys of slices", func() { x.SliceKeys() }, services + pods/100},
		{"the keys of Services", func() { x.ServiceKeys() }, services},
		{"the keys of Namespaces", func() { x.NamespaceKeys() }, services},
		{"a list of no slices", func() { x.ReplaceSlices(slices.Values([]*model.Slice{modeltest.BigSlice(0, 100, model.Ready)})) }, services},
		{"counts", func() { x.Counts() }, 2 * services},
		{"states", func() { x.AddStates(make(map[string][model.NumStates]int)) }, services},
	} {
		portions, most, all := 0, 0, 0
		x.portioned = func(objects int) {
			portions, most, all = portions+1, max(most, objects), all+objects
			if !x.mu.TryLock() {
				t.Fatalf("%s: somebody has the lock between two portions", walk.name)
			}
			x.mu.Unlock()
		}
		if walk.do(); most >= portion+100 || all < walk.least {
			t.Errorf("%s: %d portions of up to %d objects, %d in all, want less than %d and at least %d",
				walk.name, portions, most, all, portion+100, walk.least)
		}
	}
}

// TestMomentHasNothingThatIsGone begins a moment while another one is read, in the midst of a Service whose slices go.
func TestMomentHasNothingThatIsGone(t *testing.T) {
	x := New(model.HostnamesReady, false, 0)
	modeltest.PutPods(x, 500)
	x.portion = 50
	var second *Moment
	first := x.Moment()
	x.portioned = func(objects int) {
		if objects >= x.portion && second == nil { // one of five slices was read
			x.portioned = func(int) {}
			for _, key := range x.SliceKeys() {
				x.DropSlice(key)
			}
			second = x.Moment()
		}
	}
	if facts := first.facts(); len(facts) != 7 {
		t.Errorf("the first moment has %d objects, want a Namespace, a Service and five slices: %v", len(facts), facts)
	}
	if got, want := second.facts(), x.facts(); !slices.Equal(got, want) {
		t.Errorf("the second moment has\n%v\nthe index has\n%v", got, want)
	}
}
