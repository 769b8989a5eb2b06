package headless

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestIndexHoldsAsTheModelDoesOverRandomHistories(t *testing.T) {
	ended := holdCounts{}
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			x, m := newIndex(hostnamesAll, false), newModel(hostnamesAll, false)
			x.holds.time, m.hold = 5*time.Second, 5*time.Second
			history(t, r, x, m, func() string {
				d := time.Duration(r.IntN(3)) * time.Second
				time.Sleep(d)
				synctest.Wait()
				m.expire()
				return fmt.Sprint("sleep ", d)
			})
			n := x.holding()
			for why := range n.ended {
				ended.ended[why] += n.ended[why]
			}
			ended.total += n.total
		})
	}
	t.Logf("%d endpoints held: %+v", ended.total, ended.ended)
	for why, n := range ended.ended {
		if n == 0 {
			t.Errorf("no hold ended for reason %d", why)
		}
	}
}

// TestIndexHolds plays what a watch may say of three pods of Service web, each in a slice of its own, and asks which of them answer.
func TestIndexHolds(t *testing.T) {
	const hold = 5 * time.Second
	slice := func(n int, numbers []uint16, pods ...int) *sliceSpec {
		s := &sliceSpec{objectKey: objectKey{"n", fmt.Sprint("slice-", n)}, service: "web"}
		for _, number := range numbers {
			s.ports = append(s.ports, portOf("p", "tcp", number))
		}
		for _, pod := range pods {
			s.endpoints = append(s.endpoints, endpointSpec{addr: podAddr(pod), name: fmt.Sprint("web-", pod), state: ready})
		}
		return s
	}
	put := func(s *sliceSpec) func(*index) { return func(x *index) { x.putSlice(s) } }
	drop := func(n int) func(*index) {
		return func(x *index) { x.dropSlice(objectKey{"n", fmt.Sprint("slice-", n)}) }
	}
	other := func(name string, pod int, hostname string) func(*index) {
		s := slice(9, []uint16{80}, pod)
		s.service, s.endpoints[0].name, s.endpoints[0].state = name, hostname, notReady
		return put(s)
	}
	with := func(s *sliceSpec, change func(*sliceSpec)) *sliceSpec {
		change(s)
		return s
	}
	old, edited := []uint16{80}, []uint16{8080}
	for _, c := range []struct {
		name    string
		events  []func(*index)
		answers []int          // the pods that answer after the last event
		ports   map[int]uint16 // of those whose port is not the old one
		later   []int          // the pods that answer when the time is over
	}{
		{"a slice whose ports change holds what it lost", []func(*index){put(slice(1, edited))}, []int{1, 2, 3}, nil, []int{2, 3}},
		{"and what comes in its place has the new ports", []func(*index){put(slice(1, edited, 4))}, []int{1, 2, 3, 4}, map[int]uint16{4: 8080}, []int{2, 3, 4}},
		{"a deleted slice is held", []func(*index){drop(1), drop(2)}, []int{1, 2, 3}, nil, []int{3}},
		{"one that comes back is served as listed", []func(*index){drop(1), put(slice(4, edited, 1))}, []int{1, 2, 3}, map[int]uint16{1: 8080}, []int{1, 2, 3}},
		{"one that comes back in another slice leaves again", []func(*index){drop(1), put(slice(4, old, 1)), put(slice(4, old))}, []int{2, 3}, nil, []int{2, 3}},
		{"one that comes back not ready is not", []func(*index){drop(1), put(with(slice(4, old, 1), func(s *sliceSpec) { s.endpoints[0].state = notReady }))}, []int{2, 3}, nil, []int{2, 3}},
		{"what leaves a slice whose ports stay is gone", []func(*index){put(slice(1, old))}, []int{2, 3}, nil, []int{2, 3}},
		{"so is what leaves one that has no ports any more", []func(*index){put(slice(1, nil))}, []int{2, 3}, nil, []int{2, 3}},
		{"one seen not ready is gone", []func(*index){put(with(slice(1, old, 1), func(s *sliceSpec) { s.endpoints[0].state = notReady })), drop(1)}, []int{2, 3}, nil, []int{2, 3}},
		{"one seen terminating is gone", []func(*index){put(with(slice(1, old, 1), func(s *sliceSpec) { s.endpoints[0].state = serving })), put(slice(1, edited))}, []int{2, 3}, nil, []int{2, 3}},
		{"one in another slice too needs no hold", []func(*index){put(slice(4, edited, 1)), drop(1), put(slice(4, edited))}, []int{2, 3}, nil, []int{2, 3}},
		{"a relabelled slice is not held", []func(*index){put(with(slice(1, edited, 1), func(s *sliceSpec) { s.service = "db" }))}, []int{2, 3}, nil, []int{2, 3}},
		{"one without the label neither", []func(*index){put(with(slice(1, edited, 1), func(s *sliceSpec) { s.service = "" }))}, []int{2, 3}, nil, []int{2, 3}},
		{"nor in the Service that it came to, when the control plane deletes it there", []func(*index){
			put(with(slice(9, old, 9), func(s *sliceSpec) { s.service = "db" })), put(slice(9, old, 9)), func(x *index) { x.dropSlice(objectKey{"n", "slice-9"}) },
		}, []int{1, 2, 3}, nil, []int{1, 2, 3}},
		{"a list ends nothing early and holds nothing", []func(*index){drop(1), func(x *index) { x.replaceSlices(slices.Values([]*sliceSpec{slice(3, edited, 3)})) }}, []int{1, 3}, map[int]uint16{3: 8080}, []int{3}},
		{"a new endpoint with the hostname ends it", []func(*index){drop(1), other("web", 9, "web-1")}, []int{2, 3}, nil, []int{2, 3}},
		{"in the same change too", []func(*index){put(with(slice(1, edited, 9), func(s *sliceSpec) { s.endpoints[0].name = "web-1" }))}, []int{2, 3, 9}, map[int]uint16{9: 8080}, []int{2, 3, 9}},
		{"in another Service it does not", []func(*index){drop(1), other("db", 9, "web-1")}, []int{1, 2, 3}, nil, []int{2, 3}},
		{"a new endpoint with the address ends it, in any Service", []func(*index){drop(1), other("db", 1, "db-0")}, []int{2, 3}, nil, []int{2, 3}},
		{"one that was there before does not", []func(*index){other("db", 1, "db-0"), drop(1)}, []int{1, 2, 3}, nil, []int{2, 3}},
		{"the Service goes", []func(*index){drop(1), func(x *index) { x.dropService(objectKey{"n", "web"}) }, func(x *index) {
			x.putService(&serviceSpec{objectKey: objectKey{"n", "web"}, kind: headless})
		}}, []int{2, 3}, nil, []int{2, 3}},
		{"without the Service nothing is held", []func(*index){func(x *index) { x.dropService(objectKey{"n", "web"}) }, drop(1), func(x *index) {
			x.putService(&serviceSpec{objectKey: objectKey{"n", "web"}, kind: headless})
		}}, []int{2, 3}, nil, []int{2, 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newIndex(hostnamesReady, false)
				x.holds.time = hold
				x.putNamespace(&namespaceSpec{objectKey{name: "n"}})
				x.putService(&serviceSpec{objectKey: objectKey{"n", "web"}, kind: headless})
				for pod := 1; pod <= 3; pod++ {
					x.putSlice(slice(pod, old, pod))
				}
				for _, event := range c.events {
					event(x)
				}
				time.Sleep(hold - time.Nanosecond)
				synctest.Wait()
				checkPods(t, "before the time is over", x, c.answers, c.ports)
				checkPods(t, "in a transfer", x.clone(), c.answers, c.ports)
				time.Sleep(1 * time.Nanosecond)
				synctest.Wait()
				checkPods(t, "after it", x, c.later, c.ports)
				if err := x.check(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func podAddr(pod int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(pod)}) }

// checkPods checks that the pods, and no others, answer to their names, with their ports and PTRs, and to that of Service web.
func checkPods(t *testing.T, when string, x *index, pods []int, ports map[int]uint16) {
	t.Helper()
	if err := x.check(); err != nil {
		t.Errorf("%s: %v", when, err)
	}
	web := x.lookup(&query{kind: serviceName, namespace: "n", service: "web"}, wantA, 100)
	srv := x.lookup(&query{kind: serviceName, namespace: "n", service: "web", port: "p", proto: "tcp"}, wantSRV, 100)
	if web.total != len(pods) || srv.total != len(pods) {
		t.Errorf("%s: Service web has %d addresses and %d SRV records, want %d", when, web.total, srv.total, len(pods))
	}
	for pod := 1; pod <= 9; pod++ {
		hostname := fmt.Sprint("web-", pod)
		v := x.lookup(&query{kind: serviceName, namespace: "n", service: "web", hostname: hostname}, wantSRV, 1)
		ptr := slices.ContainsFunc(x.lookup(&query{kind: reverseName, prefix: netip.PrefixFrom(podAddr(pod), 32)}, wantNothing, 0).pointers,
			func(p pointer) bool { return p.service == "web" })
		want := slices.Contains(pods, pod)
		if ptr != want {
			t.Errorf("%s: the address of pod %d has a PTR: %v, want %v", when, pod, ptr, want)
		}
		if pod == 9 {
			continue // it has another hostname
		}
		answers := v.outcome == found && slices.Equal(v.targets[0].addrs, []netip.Addr{podAddr(pod)})
		if answers != want || answers && !slices.Equal(v.targets[0].ports, []uint16{cmp.Or(ports[pod], 80)}) {
			t.Errorf("%s: %s answers: %v, want %v; targets %+v", when, hostname, answers, want, v.targets)
		}
	}
}
