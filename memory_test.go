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

// heap returns the bytes on the heap that are in use.
func heap() float64 {
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
				before := heap()
				x := newIndex(hostnamesReady, false)
				bigCluster(x, 10_000, hostnames)
				held := heap() - before
				b.ReportMetric(held/1e6, "MB")
				b.ReportMetric(held/100_000, "B/endpoint")
				runtime.KeepAlive(x)
			}
		})
	}
}
