package headless

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
)

// bigCluster puts a cluster into x: Services of ten endpoints each, every other one headless and, with hostnames, its endpoints
// named.
func bigCluster(x *index, services int, hostnames bool) {
	for i := range services {
		namespace := fmt.Sprint("namespace-", i%100)
		name := fmt.Sprint("service-", i)
		x.putNamespace(&namespaceSpec{key("", namespace)})
		s := &serviceSpec{objectKey: key(namespace, name), kind: headless, ports: []port{portOf("http", "tcp", 80)}}
		if i%2 == 0 {
			s.kind = clusterIP
			s.clusterIPs = []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})}
		}
		x.putService(s)
		sl := &sliceSpec{objectKey: key(namespace, name+"-abcde"), service: intern(name), ports: []port{portOf("http", "tcp", 8080)}}
		for j := range 10 {
			k := 10*i + j
			e := endpointSpec{addr: netip.AddrFrom4([4]byte{10, byte(k >> 16), byte(k >> 8), byte(k)}), state: ready}
			if hostnames && s.kind == headless {
				e.name = fmt.Sprintf("%s-%d", name, j)
			}
			sl.endpoints = append(sl.endpoints, e)
		}
		x.putSlice(sl)
	}
}

// heapInUse returns the bytes on the heap that are in use.
func heapInUse() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkMemory says what an index of 10,000 Services with ten endpoints each holds on the heap.
func BenchmarkMemory(b *testing.B) {
	for _, hostnames := range []bool{false, true} {
		b.Run(fmt.Sprintf("hostnames=%v", hostnames), func(b *testing.B) {
			for b.Loop() {
				before := heapInUse()
				x := newIndex(hostnamesReady, false)
				bigCluster(x, 10_000, hostnames)
				held := heapInUse() - before
				b.ReportMetric(held/1e6, "MB")
				b.ReportMetric(held/100_000, "B/endpoint")
				runtime.KeepAlive(x)
			}
		})
	}
}

// TestIndexTakesLittleMemory holds the memory of an index of 10,000 Services and 100,000 endpoints to what design section 5 leaves
// of 25 MB for a process that takes 4.9 MB when it is empty.
func TestIndexTakesLittleMemory(t *testing.T) {
	const most = 20.5e6
	for _, hostnames := range []bool{false, true} {
		before := heapInUse()
		x := newIndex(hostnamesReady, false)
		bigCluster(x, 10_000, hostnames)
		if held := heapInUse() - before; held > most {
			t.Errorf("hostnames %v: %.1f MB, want at most %.1f", hostnames, held/1e6, most/1e6)
		}
		runtime.KeepAlive(x)
	}
}

// TestIndexDoesNotGrowUnderChurn replaces every pod of 100 Services, as rolling restarts do, again and again: by pods with other
// addresses, names and slices.
func TestIndexDoesNotGrowUnderChurn(t *testing.T) {
	const (
		services = 100
		pods     = 50
		restarts = 30
	)
	x := newIndex(hostnamesReady, false)
	x.putNamespace(&namespaceSpec{objectKey{name: "n"}})
	slice := func(service, round int) *sliceSpec {
		name := fmt.Sprint("service-", service)
		s := &sliceSpec{objectKey: objectKey{"n", fmt.Sprint(name, "-", round)}, service: name, ports: []port{portOf("http", "tcp", uint16(1+round))}}
		for pod := range pods {
			n := (round*services+service)*pods + pod
			s.endpoints = append(s.endpoints, endpointSpec{
				addr: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), name: fmt.Sprint("pod-", n), state: ready,
			})
		}
		return s
	}
	var first float64
	for round := range restarts {
		for service := range services {
			x.putService(&serviceSpec{objectKey: objectKey{"n", fmt.Sprint("service-", service)}, kind: headless})
			x.putSlice(slice(service, round))
			if round > 0 {
				x.dropSlice(slice(service, round-1).objectKey)
			}
		}
		switch held := heapInUse(); {
		case round == 2:
			first = held
		case round > 2 && held > 1.1*first:
			t.Fatalf("after %d restarts: %.0f octets on the heap, and %.0f after 3", round+1, held, first)
		}
	}
	for service := range services {
		x.dropSlice(slice(service, restarts-1).objectKey)
		x.dropService(objectKey{"n", fmt.Sprint("service-", service)})
	}
	if n := len(x.byAddr.chains) + len(x.byName.chains) + len(x.slices.chains) + len(x.reverse) + len(x.namespaces["n"].services); n > 3 {
		t.Errorf("%d chains and entries are left of an index without Services, want one chain in each of three tables", n)
	}
	if err := x.check(); err != nil {
		t.Error(err)
	}
}
