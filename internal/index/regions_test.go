package index

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
)

// TestManyShare: a change of endpoints that thousands share a hostname or an address with looks at each of those a few
// times, and not once for each of its own.
func TestManyShare(t *testing.T) {
	const size, numSlices = 500, 8 // endpoints of a slice
	spec := func(lo int, hostname, addr bool, state model.State, zones string) *model.Slice {
		s := &model.Slice{
			Key: model.Key{Namespace: "n", Name: fmt.Sprint("web-", lo)}, Service: "web", Ports: []model.Port{model.PortOf("http", "tcp", 80)},
		}
		for i := lo; i < lo+size; i++ {
			e := model.Endpoint{Addr: netip.MustParseAddr("10.9.0.0"), Name: "one", State: state}
			if !hostname {
				e.Name = fmt.Sprint("web-", i)
			}
			if !addr {
				e.Addr = netip.AddrFrom4([4]byte{10, 8, byte(i >> 8), byte(i)})
			}
			zone := fmt.Sprint(zones, i)
			e.Place = model.Place{Location: model.Location{Zone: zone}, Zonal: true, ForZones: model.NamesOf([]string{zone})}.Placed()
			s.Endpoints = append(s.Endpoints, e)
		}
		return s
	}
	for _, c := range []struct {
		name           string
		hostname, addr bool
	}{
		{"a hostname", true, false},
		{"an address", false, true},
	} {
		bubble.Test(t, func(t *testing.T) {
			x := New(model.HostnamesReady, false, time.Second)
			modeltest.PutWeb(x)
			var looks atomic.Int64 // a hold ends by itself
			byAddr, byName := x.byAddr.key, x.byName.key
			x.byAddr.key = func(e *endpoint) Octets { looks.Add(1); return byAddr(e) }
			x.byName.key = func(e *endpoint) hostKey { looks.Add(1); return byName(e) }
			do := func(what string, f func()) {
				t.Helper()
				looks.Store(0)
				f()
				if n, most := looks.Load(), int64(40*size*numSlices); n > most { // once for each would be 500 times
					t.Errorf("%s: %s: looked at endpoints %d times, want %d at most", c.name, what, n, most)
				}
			}
			for lo := 0; lo < size*numSlices; lo += size {
				do("a slice comes", func() { x.PutSlice(spec(lo, c.hostname, c.addr, model.Ready, "a")) })
			}
			do("one is not ready", func() { x.PutSlice(spec(size, c.hostname, c.addr, model.NotReady, "a")) })
			do("one moves", func() { x.PutSlice(spec(2*size, c.hostname, c.addr, model.Ready, "b")) })
			do("one goes, and is held", func() { x.DropSlice(spec(3*size, c.hostname, c.addr, model.Ready, "a").Key) })
			do("its endpoints are superseded", func() { x.PutSlice(spec(size*numSlices, c.hostname, c.addr, model.Ready, "a")) })
			do("the Service gets regions anew", func() {
				x.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: "web"}, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.1")}})
				x.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: "web"}, Kind: model.Headless})
			})
			time.Sleep(2 * time.Second)
			if err := x.Check(); err != nil {
				t.Error(err)
			}
			for _, key := range x.SliceKeys() {
				do("all go", func() { x.DropSlice(key) })
				time.Sleep(2 * time.Second)
			}
			x.mu.RLock() // for holds end by themselves
			defer x.mu.RUnlock()
			if n := len(x.byAddr.chains) + len(x.byName.chains); n > 2 {
				t.Errorf("%s: %d chains are left", c.name, n)
			}
		})
	}
}

// TestEndpointsThatStay: an update of a slice costs no more because its endpoints have places, where these stay.
func TestEndpointsThatStay(t *testing.T) {
	octetsOf := func(place func(n int, headless bool) model.Placed) uint64 {
		x := New(model.HostnamesReady, false, 0)
		modeltest.PutWeb(x)
		spec := modeltest.BigSlice(0, 1000, model.Ready)
		for i := range spec.Endpoints {
			spec.Endpoints[i].Place = place(i, true)
		}
		var before, after runtime.MemStats
		x.PutSlice(spec)
		runtime.ReadMemStats(&before)
		for i := range 100 {
			spec.Endpoints[7].State = model.State(2 * (i % 2))
			x.PutSlice(spec)
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / 100
	}
	without, with := octetsOf(modeltest.PlacedNowhere), octetsOf(modeltest.PlacedIn(10, false))
	if with > without+4096 { // the residents of one region or two; of all endpoints they are 16,000 and more
		t.Errorf("an update takes %d octets of memory, and %d where the endpoints have places", without, with)
	}
}
