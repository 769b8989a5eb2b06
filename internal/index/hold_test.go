package index

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns-headless/headless/internal/qname"
)

func TestIndexHoldsAsTheModelDoesOverRandomHistories(t *testing.T) {
	ended := HoldCounts{}
	for seed := range uint64(20) {
		bubble.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			x, m := hurry(New(model.HostnamesAll, false, 0)), newModel(model.HostnamesAll, false)
			x.holds.time, m.hold = 5*time.Second, 5*time.Second
			history(t, r, x, m, func() string {
				d := time.Duration(r.IntN(3)) * time.Second
				time.Sleep(d)
				synctest.Wait()
				m.expire()
				return fmt.Sprint("sleep ", d)
			})
			n := x.Holding()
			for why := range n.Ended {
				ended.Ended[why] += n.Ended[why]
			}
			ended.Total += n.Total
		})
	}
	t.Logf("%d endpoints held: %+v", ended.Total, ended.Ended)
	for why, n := range ended.Ended {
		if n == 0 {
			t.Errorf("no hold ended for reason %d", why)
		}
	}
}

// TestIndexHolds plays what a watch may say of three pods of Service web, each in a slice of its
// own, and asks which of them answer.
func TestIndexHolds(t *testing.T) {
	const hold = 5 * time.Second
	slice := func(n int, numbers []uint16, pods ...int) *model.Slice {
		s := &model.Slice{Key: model.Key{Namespace: "n", Name: fmt.Sprint("slice-", n)}, Service: "web"}
		for _, number := range numbers {
			s.Ports = append(s.Ports, model.PortOf("p", "tcp", number))
		}
		for _, pod := range pods {
			s.Endpoints = append(s.Endpoints, model.Endpoint{Addr: podAddr(pod), Name: fmt.Sprint("web-", pod), State: model.Ready})
		}
		return s
	}
	put := func(s *model.Slice) func(*Index) { return func(x *Index) { x.PutSlice(s) } }
	drop := func(n int) func(*Index) {
		return func(x *Index) { x.DropSlice(model.Key{Namespace: "n", Name: fmt.Sprint("slice-", n)}) }
	}
	other := func(name string, pod int, hostname string) func(*Index) {
		s := slice(9, []uint16{80}, pod)
		s.Service, s.Endpoints[0].Name, s.Endpoints[0].State = name, hostname, model.NotReady
		return put(s)
	}
	with := func(s *model.Slice, change func(*model.Slice)) *model.Slice {
		change(s)
		return s
	}
	without := func(x *Index) { x.DropService(model.Key{Namespace: "n", Name: "web"}) }
	again := func(x *Index) { modeltest.PutWeb(x) }
	old, edited := []uint16{80}, []uint16{8080}
	for _, c := range []struct {
		name    string
		events  []func(*Index)
		answers []int          // the pods that answer after the last event
		ports   map[int]uint16 // of those whose port is not the old one
		later   []int          // the pods that answer when the time is over
	}{
		{"a slice whose ports change holds what it lost", []func(*Index){put(slice(1, edited))}, []int{1, 2, 3}, nil, []int{2, 3}},
		{"and what comes in its place has the new ports", []func(*Index){put(slice(1, edited, 4))}, []int{1, 2, 3, 4}, map[int]uint16{4: 8080}, []int{2, 3, 4}},
		{"a deleted slice is held", []func(*Index){drop(1), drop(2)}, []int{1, 2, 3}, nil, []int{3}},
		{"one that comes back is served as listed", []func(*Index){drop(1), put(slice(4, edited, 1))}, []int{1, 2, 3}, map[int]uint16{1: 8080}, []int{1, 2, 3}},
		{"one that comes back in another slice leaves again", []func(*Index){drop(1), put(slice(4, old, 1)), put(slice(4, old))}, []int{2, 3}, nil, []int{2, 3}},
		{"one that comes back not ready is not", []func(*Index){drop(1), put(with(slice(4, old, 1), func(s *model.Slice) { s.Endpoints[0].State = model.NotReady }))}, []int{2, 3}, nil, []int{2, 3}},
		{"what leaves a slice whose ports stay is gone", []func(*Index){put(slice(1, old))}, []int{2, 3}, nil, []int{2, 3}},
		{"so is what leaves one that has no ports any more", []func(*Index){put(slice(1, nil))}, []int{2, 3}, nil, []int{2, 3}},
		{"one seen not ready is gone", []func(*Index){put(with(slice(1, old, 1), func(s *model.Slice) { s.Endpoints[0].State = model.NotReady })), drop(1)}, []int{2, 3}, nil, []int{2, 3}},
		{"one seen terminating is gone", []func(*Index){put(with(slice(1, old, 1), func(s *model.Slice) { s.Endpoints[0].State = model.Serving })), put(slice(1, edited))}, []int{2, 3}, nil, []int{2, 3}},
		{"one in another slice too needs no hold", []func(*Index){put(slice(4, edited, 1)), drop(1), put(slice(4, edited))}, []int{2, 3}, nil, []int{2, 3}},
		{"a relabelled slice is not held", []func(*Index){put(with(slice(1, edited, 1), func(s *model.Slice) { s.Service = "db" }))}, []int{2, 3}, nil, []int{2, 3}},
		{"one without the label neither", []func(*Index){put(with(slice(1, edited, 1), func(s *model.Slice) { s.Service = "" }))}, []int{2, 3}, nil, []int{2, 3}},
		{"nor in the Service that it came to, when the control plane deletes it there", []func(*Index){
			put(with(slice(9, old, 9), func(s *model.Slice) { s.Service = "db" })), put(slice(9, old, 9)), func(x *Index) { x.DropSlice(model.Key{Namespace: "n", Name: "slice-9"}) },
		}, []int{1, 2, 3}, nil, []int{1, 2, 3}},
		{"a list ends nothing early and holds nothing", []func(*Index){drop(1), func(x *Index) { x.ReplaceSlices(slices.Values([]*model.Slice{slice(3, edited, 3)})) }}, []int{1, 3}, map[int]uint16{3: 8080}, []int{3}},
		{"a new endpoint with the hostname ends it", []func(*Index){drop(1), other("web", 9, "web-1")}, []int{2, 3}, nil, []int{2, 3}},
		{"in the same change too", []func(*Index){put(with(slice(1, edited, 9), func(s *model.Slice) { s.Endpoints[0].Name = "web-1" }))}, []int{2, 3, 9}, map[int]uint16{9: 8080}, []int{2, 3, 9}},
		{"in another Service it does not", []func(*Index){drop(1), other("db", 9, "web-1")}, []int{1, 2, 3}, nil, []int{2, 3}},
		{"a new endpoint with the address ends it, in any Service", []func(*Index){drop(1), other("db", 1, "db-0")}, []int{2, 3}, nil, []int{2, 3}},
		{"one that was there before does not", []func(*Index){other("db", 1, "db-0"), drop(1)}, []int{1, 2, 3}, nil, []int{2, 3}},
		{"one that is leaving though it is ready is not held", []func(*Index){put(with(slice(1, old, 1), func(s *model.Slice) { s.Endpoints[0].Leaving = true })), put(slice(1, edited))}, []int{2, 3}, nil, []int{2, 3}},
		{"one that left and is back is", []func(*Index){put(with(slice(1, old, 1), func(s *model.Slice) { s.Endpoints[0].Leaving = true })), put(slice(1, old, 1)), put(slice(1, edited))}, []int{1, 2, 3}, nil, []int{2, 3}},
		{"the Service goes", []func(*Index){drop(1), without, again}, []int{2, 3}, nil, []int{2, 3}},
		{"without the Service nothing is held", []func(*Index){without, drop(1), again}, []int{2, 3}, nil, []int{2, 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				x := New(model.HostnamesReady, false, 0)
				x.holds.time = hold
				modeltest.PutWeb(x)
				for pod := 1; pod <= 3; pod++ {
					x.PutSlice(slice(pod, old, pod))
				}
				for _, event := range c.events {
					event(x)
				}
				time.Sleep(hold - time.Nanosecond)
				synctest.Wait()
				checkPods(t, "before the time is over", x, c.answers, c.ports)
				checkPods(t, "in a transfer", x.Freeze().Index, c.answers, c.ports)
				time.Sleep(1 * time.Nanosecond)
				synctest.Wait()
				checkPods(t, "after it", x, c.later, c.ports)
				if err := x.Check(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestHoldsEndInPortions ends many holds at once, as after the process was stopped for a while.
func TestHoldsEndInPortions(t *testing.T) {
	const n, hold = 10 * holdPortion, 5 * time.Second
	bubble.Test(t, func(t *testing.T) {
		x := New(model.HostnamesReady, false, hold)
		modeltest.PutWeb(x)
		keys := make([]model.Key, n)
		for i := range keys {
			keys[i] = model.Key{Namespace: "n", Name: fmt.Sprint("slice-", i)}
			x.PutSlice(&model.Slice{Key: keys[i], Service: "web", Endpoints: []model.Endpoint{
				{Addr: podAddr(i), Name: fmt.Sprint("web-", i), State: model.Ready},
			}})
		}
		for _, key := range keys {
			x.DropSlice(key)
		}
		held, changes := x.Holding().Now, x.changes.Load()
		time.Sleep(hold)
		synctest.Wait()
		if ended := x.Holding().Ended[holdExpired]; held != n || ended != n {
			t.Errorf("of %d endpoints %d were held, and %d are no more", n, held, ended)
		}
		if portions := x.changes.Load() - changes; portions != n/holdPortion {
			t.Errorf("they ended in %d changes, want %d", portions, n/holdPortion)
		}
		fatal.If(t, x.Check())
	})
}

func podAddr(pod int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(pod >> 8), byte(pod)}) }

// checkPods checks that the pods, and no others, answer to their names, with their ports and PTRs,
// and to that of Service web.
func checkPods(t *testing.T, when string, x *Index, pods []int, ports map[int]uint16) {
	t.Helper()
	if err := x.Check(); err != nil {
		t.Errorf("%s: %v", when, err)
	}
	web := x.Lookup(&qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web"}, WantA, Part{Limit: 100})
	srv := x.Lookup(&qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web", Port: "p", Proto: "tcp"}, WantSRV, Part{Limit: 100})
	if web.Total != len(pods) || srv.Total != len(pods) {
		t.Errorf("%s: Service web has %d addresses and %d SRV records, want %d", when, web.Total, srv.Total, len(pods))
	}
	for pod := 1; pod <= 9; pod++ {
		hostname := fmt.Sprint("web-", pod)
		v := x.Lookup(&qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web", Hostname: hostname}, WantSRV, Part{Limit: 1})
		ptr := slices.ContainsFunc(x.Lookup(&qname.Name{Kind: qname.ReverseName, Prefix: netip.PrefixFrom(podAddr(pod), 32)}, WantNothing, Part{}).Pointers,
			func(p Pointer) bool { return p.Service == "web" })
		want := slices.Contains(pods, pod)
		if ptr != want {
			t.Errorf("%s: the address of pod %d has a PTR: %v, want %v", when, pod, ptr, want)
		}
		if pod == 9 {
			continue // it has another hostname
		}
		answers := v.Outcome == Found && slices.Equal(v.Targets[0].Addrs, []netip.Addr{podAddr(pod)})
		if answers != want || answers && !slices.Equal(v.Targets[0].Ports, []uint16{cmp.Or(ports[pod], 80)}) {
			t.Errorf("%s: %s answers: %v, want %v; targets %+v", when, hostname, answers, want, v.Targets)
		}
	}
}
