package index

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
)

// BenchmarkMemory says what an index of 10,000 Services with ten endpoints each holds on the heap: without topology, and with the
// hints of 3,000 nodes.
func BenchmarkMemory(b *testing.B) {
	for _, hostnames := range []bool{false, true} {
		for _, c := range bigClusters {
			b.Run(fmt.Sprintf("hostnames=%v/hints=%s", hostnames, c.hints), func(b *testing.B) {
				for b.Loop() {
					held := heldByBigCluster(hostnames, c.place)
					b.ReportMetric(held/1e6, "MB")
					b.ReportMetric(held/100_000, "B/endpoint")
				}
			})
		}
	}
}

// bigClusters are clusters by the hints of their headless Services, and how much more memory than that without may be taken.
var bigClusters = []struct {
	hints string
	place func(n int, headless bool) model.Placed
	most  float64
}{
	{"none", modeltest.PlacedNowhere, 1},
	{"zones", modeltest.PlacedIn(1000, false), 1.2},
	{"nodes", modeltest.PlacedIn(1000, true), 1.2},
}

// heldByBigCluster returns how many octets of the heap an index of a big cluster takes.
func heldByBigCluster(hostnames bool, place func(n int, headless bool) model.Placed) float64 {
	before := modeltest.HeapInUse()
	x := New(model.HostnamesReady, false, 0)
	modeltest.BigPlacedCluster(x, 10_000, hostnames, place)
	held := modeltest.HeapInUse() - before
	runtime.KeepAlive(x)
	return held
}

// TestIndexTakesLittleMemory holds the memory of an index of 10,000 Services and 100,000 endpoints
// to what design section 5 leaves of 25 MB for a process that takes 4.9 MB when it is empty, and with hints to a fifth more.
func TestIndexTakesLittleMemory(t *testing.T) {
	most := 20.5e6
	if bubble.Race {
		most += 0.5e6 // which the detector keeps in some runs
	}
	for _, hostnames := range []bool{false, true} {
		var without float64
		for _, c := range bigClusters {
			held := heldByBigCluster(hostnames, c.place)
			if c.hints == "none" {
				without = held
			}
			if held > most*c.most || held > without*c.most {
				t.Errorf("hostnames %v, hints %s: %.1f MB, and %.1f without; want at most %.1f", hostnames, c.hints, held/1e6, without/1e6, most*c.most/1e6)
			}
		}
	}
}

// TestIndexDoesNotGrowUnderChurn replaces every pod of 100 Services, as rolling restarts do, again
// and again: by pods with other addresses, names and slices.
func TestIndexDoesNotGrowUnderChurn(t *testing.T) {
	const (
		services = 100
		pods     = 50
		restarts = 30
	)
	x := New(model.HostnamesReady, false, 0)
	x.PutNamespace(&model.Namespace{Key: model.Key{Name: "n"}})
	slice := func(service, round int) *model.Slice {
		name := fmt.Sprint("service-", service)
		s := &model.Slice{Key: model.Key{Namespace: "n", Name: fmt.Sprint(name, "-", round)}, Service: name, Ports: []model.Port{model.PortOf("http", "tcp", uint16(1+round))}}
		for pod := range pods {
			n := (round*services+service)*pods + pod
			s.Endpoints = append(s.Endpoints, model.Endpoint{
				Addr: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), Name: fmt.Sprint("pod-", n), State: model.Ready,
			})
		}
		return s
	}
	var first float64
	for round := range restarts {
		for service := range services {
			x.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: fmt.Sprint("service-", service)}, Kind: model.Headless})
			x.PutSlice(slice(service, round))
			if round > 0 {
				x.DropSlice(slice(service, round-1).Key)
			}
		}
		switch held := modeltest.HeapInUse(); {
		case round == 2:
			first = held
		case round > 2 && held > 1.1*first:
			t.Fatalf("after %d restarts: %.0f octets on the heap, and %.0f after 3", round+1, held, first)
		}
	}
	for service := range services {
		x.DropSlice(slice(service, restarts-1).Key)
		x.DropService(model.Key{Namespace: "n", Name: fmt.Sprint("service-", service)})
	}
	if n := len(x.byAddr.chains) + len(x.byName.chains) + len(x.slices.chains) + len(x.reverse) + len(x.namespaces["n"].services); n > 3 {
		t.Errorf("%d chains and entries are left of an index without Services, want one chain in each of three tables", n)
	}
	if err := x.Check(); err != nil {
		t.Error(err)
	}
}
