package headless

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/miekg/dns"
)

// podsIndex returns an index with size pods of modeltest.PutPods.
func podsIndex(size int) *index.Index {
	x := index.New(model.HostnamesReady, false, 0)
	modeltest.PutPods(x, size)
	return x
}

// sizedIndex returns an index with a headless Service web of size ready endpoints, whose names have one length whatever the
// size, and a ClusterIP Service vip.
func sizedIndex(size int) *index.Index {
	x := index.New(model.HostnamesReady, false, 0)
	modeltest.PutWeb(x)
	x.PutService(&model.Service{
		Key: model.Key{Namespace: "n", Name: "vip"}, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.1")}, Ports: []model.Port{model.PortOf("http", "tcp", 80)},
	})
	for lo := 0; lo < size; lo += 100 {
		spec := modeltest.BigSlice(lo, min(size, lo+100), model.Ready)
		for i := range spec.Endpoints {
			spec.Endpoints[i].Name = fmt.Sprintf("web-%04d", lo+i)
		}
		x.PutSlice(spec)
	}
	return x
}

// work returns how many allocations h needs for a reply, and of how many octets in all.
func work(t *testing.T, h *Headless, network, qname string, qtype uint16) (allocs, octets float64) {
	t.Helper()
	w, r := newDiscard(network), (&benchQuery{qname: qname, qtype: qtype}).msg()
	serve := func() {
		if _, err := h.ServeDNS(t.Context(), w, r); err != nil {
			t.Fatal(err)
		}
	}
	const runs, tries = 200, 5
	octets = math.Inf(1)
	for range tries { // what else goes on in the process only adds to it
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			serve()
		}
		runtime.ReadMemStats(&after)
		octets = min(octets, math.Round(float64(after.TotalAlloc-before.TotalAlloc)/runs))
	}
	return testing.AllocsPerRun(runs, serve), octets
}

// TestAllocs holds each kind of query to a budget: how many allocations, and of how many octets in all.
func TestAllocs(t *testing.T) {
	if bubble.Race {
		t.Skip("the race detector changes the figures")
	}
	h := newTestHeadless(t, "")
	h.index = sizedIndex(1000)
	for _, c := range []struct {
		name, network, question string
		allocs, octets          float64
	}{
		// Each has one for the reply, which has room for a question, a record of each section and the server's OPT record.
		{"a pod: the record", "udp", "web-0017.web.n.svc.cluster.local. A", 2, 328},
		{"a ClusterIP: the same", "udp", "vip.n.svc.cluster.local. A", 2, 328},
		{"a Service: the records; the section", "udp", "web.n.svc.cluster.local. A", 3, 6500},
		{"over TCP: the same; the timer for clients that do not read", "tcp", "web.n.svc.cluster.local. A", 5, 83000},
		// From the index the ports' numbers; then the Service's name, the text of the targets' names, and these; the records of
		// the answer, and the section; those of the additional section, and that.
		{"SRV", "udp", "_http._tcp.web.n.svc.cluster.local. SRV", 9, 4800},
		{"SRV over TCP: the same; the timer", "tcp", "_http._tcp.web.n.svc.cluster.local. SRV", 11, 210000},
		{"a PTR: the target's name; the record", "udp", "17.0.0.10.in-addr.arpa. PTR", 3, 408},
		{"no data: the SOA; the text; the extended error", "udp", "web.n.svc.cluster.local. AAAA", 4, 536},
		{"no name: the same", "udp", "nobody.n.svc.cluster.local. A", 4, 520},
		{"no name, in capitals: the same; the name in lower case", "udp", "NOBODY.N.SVC.CLUSTER.LOCAL. A", 5, 552},
		{"no endpoint: the same; names that are likely", "udp", "web-9999.web.n.svc.cluster.local. A", 5, 720},
	} {
		qname, qtype, _ := strings.Cut(c.question, " ")
		if allocs, octets := work(t, h, c.network, qname, dns.StringToType[qtype]); allocs > c.allocs || octets > c.octets {
			t.Errorf("%s: %v allocations of %v octets, want at most %v of %v", c.name, allocs, octets, c.allocs, c.octets)
		}
	}
	h.noExplain = true
	for _, qname := range []string{"nobody.n.svc.cluster.local.", "nobody.web.n.svc.cluster.local.", "_x._tcp.web.n.svc.cluster.local."} {
		if allocs, octets := work(t, h, "udp", qname, dns.TypeA); allocs > 2 || octets > 360 {
			t.Errorf("%s without explanation: %v allocations of %v octets, want that of the SOA", qname, allocs, octets)
		}
	}
}

// TestWorkDoesNotGrowWithTheService: over UDP a large Service is no more work than one that just does not fit.
func TestWorkDoesNotGrowWithTheService(t *testing.T) {
	if bubble.Race {
		t.Skip("under the race detector a sync.Pool loses some of what it is given")
	}
	small, large := newTestHeadless(t, ""), newTestHeadless(t, "")
	small.index, large.index = sizedIndex(100), sizedIndex(5000)
	for _, question := range []string{
		"web-0017.web.n.svc.cluster.local. A",
		"web-0017.web.n.svc.cluster.local. SRV",
		"web.n.svc.cluster.local. A",
		"web.n.svc.cluster.local. AAAA",
		"web.n.svc.cluster.local. SRV",
		"_http._tcp.web.n.svc.cluster.local. SRV",
		"_http._tcp.web.n.svc.cluster.local. A",
		"_tcp.web.n.svc.cluster.local. A",
		"nobody.web.n.svc.cluster.local. A",
		"web-9999.web.n.svc.cluster.local. A",
		"_x._tcp.web.n.svc.cluster.local. SRV",
		"17.0.0.10.in-addr.arpa. PTR",
	} {
		qname, qtype, _ := strings.Cut(question, " ")
		allocs, octets := work(t, large, "udp", qname, dns.StringToType[qtype])
		wantAllocs, wantOctets := work(t, small, "udp", qname, dns.StringToType[qtype])
		if allocs != wantAllocs || octets > 1.01*wantOctets+16 { // a text has the number of endpoints in it
			t.Errorf("%s: %v allocations of %v octets with 5,000 endpoints, %v of %v with 100",
				question, allocs, octets, wantAllocs, wantOctets)
		}
	}
}

// placedIndex is an index with size pods in two topology zones, perhaps with hints for them. The client of these tests is in one.
func placedIndex(size int, hints bool) *index.Index {
	x := index.New(model.HostnamesReady, false, 0)
	modeltest.PutWeb(x)
	for lo := 0; lo < size; lo += 100 {
		s := modeltest.BigSlice(lo, lo+100, model.Ready)
		for i := range s.Endpoints {
			zone := []string{"a", "b"}[i%2]
			p := model.Place{Location: model.Location{Zone: zone, Node: "k"}, Zonal: true}
			if hints {
				p.ForZones = model.NamesOf([]string{zone})
			}
			s.Endpoints[i].Name, s.Endpoints[i].Place = fmt.Sprintf("web-%04d", lo+i), p.Placed()
		}
		x.PutSlice(s)
	}
	x.PutSlice(&model.Slice{Key: model.Key{Namespace: "n", Name: "client"}, Service: "client", Endpoints: []model.Endpoint{
		{Addr: netip.MustParseAddr("127.0.0.1"), Place: model.Place{Location: model.Location{Zone: "b", Node: "l"}}.Placed()},
	}})
	return x
}

// TestWorkOfPlacesDoesNotGrowWithTheService: neither that for a client in a known place, nor that for zonal names.
func TestWorkOfPlacesDoesNotGrowWithTheService(t *testing.T) {
	if bubble.Race {
		t.Skip("under the race detector a sync.Pool loses some of what it is given")
	}
	small, large := newTestHeadless(t, "topology hints\nzonal"), newTestHeadless(t, "topology hints\nzonal")
	small.index, large.index = placedIndex(200, true), placedIndex(5000, true)
	for _, question := range []string{
		"web.n.svc.cluster.local. A", "web.n.svc.cluster.local. AAAA", "web.n.svc.cluster.local. SRV",
		"a.pin._zone.web.n.svc.cluster.local. A", "a.pin._zone.web.n.svc.cluster.local. SRV", "a.prefer._zone.web.n.svc.cluster.local. AAAA",
		"none.pin._zone.web.n.svc.cluster.local. A", "none.prefer._zone.web.n.svc.cluster.local. SRV",
	} {
		qname, qtype, _ := strings.Cut(question, " ")
		allocs, octets := work(t, large, "udp", qname, dns.StringToType[qtype])
		wantAllocs, wantOctets := work(t, small, "udp", qname, dns.StringToType[qtype])
		if allocs != wantAllocs || octets > 1.01*wantOctets+16 {
			t.Errorf("%s: %v allocations of %v octets with 5,000 endpoints, %v of %v with 200",
				question, allocs, octets, wantAllocs, wantOctets)
		}
	}
}

// BenchmarkPlaces asks for what fits a datagram of a Service of 5,000, without hints and with them.
func BenchmarkPlaces(b *testing.B) {
	for _, hints := range []string{"none", "zones"} {
		h := newTestHeadless(b, "topology hints")
		h.index = placedIndex(5000, hints == "zones")
		for _, qtype := range []uint16{dns.TypeA, dns.TypeSRV} {
			b.Run(fmt.Sprintf("hints=%s/%s", hints, dns.TypeToString[qtype]), func(b *testing.B) {
				w, r := newDiscard("udp"), dnstest.Query("web.n.svc.cluster.local.", qtype, 1232)
				for b.Loop() {
					_, err := h.ServeDNS(context.Background(), w, r)
					fatal.If(b, err)
				}
			})
		}
	}
}
