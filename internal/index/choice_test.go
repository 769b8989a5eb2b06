package index

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns-headless/headless/internal/qname"
)

// hints are those that the control plane gives each endpoint of a Service by its trafficDistribution.
type hints int

const (
	noHints        hints = iota
	preferSameZone       // the endpoint's topology zone
	preferSameNode       // and its node
)

// hintedAt returns a place with such hints.
func hintedAt(zone, node string, h hints) model.Placed {
	p := model.Place{Location: model.Location{Zone: zone, Node: node}}
	if h >= preferSameZone {
		p.ForZones = model.NamesOf([]string{zone})
	}
	if h >= preferSameNode {
		p.ForNodes = model.NamesOf([]string{node})
	}
	return p.Placed()
}

// zonesOfThree is the slice of pods 10.0.SLICE.0 to 5, in the topology zones a, b and c, two nodes in each.
func zonesOfThree(slice byte, h hints) *model.Slice {
	s := &model.Slice{Key: model.Key{Namespace: "n", Name: fmt.Sprint("web-", slice)}, Service: "web", Ports: []model.Port{model.PortOf("http", "tcp", 80)}}
	for i := range byte(6) {
		zone := string(rune('a' + i/2))
		s.Endpoints = append(s.Endpoints, model.Endpoint{
			Addr: netip.AddrFrom4([4]byte{10, 0, slice, i}), State: model.Ready, Place: hintedAt(zone, fmt.Sprint(zone, i%2), h),
		})
	}
	return s
}

// asked says which endpoints a client at a location gets, by the last two octets of their addresses, and why. A and SRV have to agree.
func asked(t *testing.T, x *Index, at model.Location) string {
	t.Helper()
	q := &qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web"}
	v := x.Lookup(q, WantA, Part{Limit: 100, At: at})
	var got, targets []string
	for i := range len(v.Addrs) / 4 {
		got = append(got, fmt.Sprint(v.Addrs[4*i+2], ".", v.Addrs[4*i+3]))
	}
	srv := x.Lookup(q, WantSRV, Part{Limit: 100, At: at})
	for _, target := range srv.Targets {
		a := target.Addrs[0].As4()
		targets = append(targets, fmt.Sprint(a[2], ".", a[3]))
	}
	slices.Sort(got)
	slices.Sort(targets)
	if !slices.Equal(got, targets) || v.Choice != srv.Choice || v.Total != len(got) || srv.Total != len(got) {
		t.Errorf("a client at %+v gets %v by A (%v), and %v by SRV (%v)", at, got, v.Choice, targets, srv.Choice)
	}
	return v.Choice.String() + " " + strings.Join(got, " ")
}

// TestNothingIsChosenOfAFamilyWithoutEndpoints: that is not for a lack of hints.
func TestNothingIsChosenOfAFamilyWithoutEndpoints(t *testing.T) {
	x := New(model.HostnamesReady, false, 0)
	modeltest.PutWeb(x)
	q := &qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web"}
	for _, c := range []struct {
		hints   hints
		a, aaaa Choice
	}{
		{preferSameZone, ChosenZone, NotChosen},
		{noHints, ChosenNoHints, NotChosen},
	} {
		x.PutSlice(zonesOfThree(0, c.hints))
		at := Part{Limit: 100, At: model.Location{Zone: "b"}}
		if a, aaaa := x.Lookup(q, WantA, at).Choice, x.Lookup(q, WantAAAA, at).Choice; a != c.a || aaaa != c.aaaa {
			t.Errorf("hints %v: got %v for A and %v for AAAA, want %v and %v", c.hints, a, aaaa, c.a, c.aaaa)
		}
	}
}

// TestTrafficDistributionChangesSliceBySlice: from PreferSameZone to PreferSameNode and back, and to none. Whatever the slices say
// meanwhile, a client gets endpoints that are ready, and those of its topology zone as long as all have hints for that.
func TestTrafficDistributionChangesSliceBySlice(t *testing.T) {
	x := New(model.HostnamesReady, false, 0)
	modeltest.PutWeb(x)
	put := func(slice byte, h hints) func() { return func() { x.PutSlice(zonesOfThree(slice, h)) } }
	const all = "0.0 0.1 0.2 0.3 0.4 0.5 1.0 1.1 1.2 1.3 1.4 1.5"
	put(0, preferSameZone)()
	for _, c := range []struct {
		name                       string
		do                         func()
		inB0, inB2, nowhere, inZed string // a client on node b0, on another of zone b, on an unknown one, and in a zone without endpoints
	}{
		{"zones", put(1, preferSameZone), "zone 0.2 0.3 1.2 1.3", "zone 0.2 0.3 1.2 1.3", "unknown_client " + all, "no_endpoint " + all},
		{"one slice has nodes", put(0, preferSameNode), "zone 0.2 0.3 1.2 1.3", "zone 0.2 0.3 1.2 1.3", "unknown_client " + all, "no_endpoint " + all},
		{"both have", put(1, preferSameNode), "node 0.2 1.2", "zone 0.2 0.3 1.2 1.3", "unknown_client " + all, "no_endpoint " + all},
		{"one has none again", put(1, preferSameZone), "zone 0.2 0.3 1.2 1.3", "zone 0.2 0.3 1.2 1.3", "unknown_client " + all, "no_endpoint " + all},
		{"nor has the other", put(0, preferSameZone), "zone 0.2 0.3 1.2 1.3", "zone 0.2 0.3 1.2 1.3", "unknown_client " + all, "no_endpoint " + all},
		{"one has no hints", put(0, noHints), "no_hints " + all, "no_hints " + all, "no_hints " + all, "no_hints " + all},
		{"none has", put(1, noHints), "no_hints " + all, "no_hints " + all, "no_hints " + all, "no_hints " + all},
		{"they come back", func() { put(0, preferSameNode)(); put(1, preferSameNode)() }, "node 0.2 1.2", "zone 0.2 0.3 1.2 1.3", "unknown_client " + all, "no_endpoint " + all},
		{"those of the node are not ready", func() {
			for slice := range byte(2) {
				s := zonesOfThree(slice, preferSameNode)
				s.Endpoints[2].State = model.NotReady
				x.PutSlice(s)
			}
		}, "zone 0.3 1.3", "zone 0.3 1.3", "unknown_client 0.0 0.1 0.3 0.4 0.5 1.0 1.1 1.3 1.4 1.5", "no_endpoint 0.0 0.1 0.3 0.4 0.5 1.0 1.1 1.3 1.4 1.5"},
		{"nor are those of the zone", func() {
			for slice := range byte(2) {
				s := zonesOfThree(slice, preferSameNode)
				s.Endpoints[2].State, s.Endpoints[3].State = model.NotReady, model.NotReady
				x.PutSlice(s)
			}
		}, "no_endpoint 0.0 0.1 0.4 0.5 1.0 1.1 1.4 1.5", "no_endpoint 0.0 0.1 0.4 0.5 1.0 1.1 1.4 1.5", "unknown_client 0.0 0.1 0.4 0.5 1.0 1.1 1.4 1.5", "no_endpoint 0.0 0.1 0.4 0.5 1.0 1.1 1.4 1.5"},
		{"they are meant for zones and nodes that nobody is in", func() {
			for slice := range byte(2) {
				s := zonesOfThree(slice, preferSameNode)
				for i := range s.Endpoints {
					elsewhere := model.Place{ForZones: model.NamesOf([]string{"mars"}), ForNodes: model.NamesOf([]string{"m0"})}
					elsewhere.Location = s.Endpoints[i].Place.Place().Location
					s.Endpoints[i].Place = elsewhere.Placed()
				}
				x.PutSlice(s)
			}
		}, "no_endpoint " + all, "no_endpoint " + all, "unknown_client " + all, "no_endpoint " + all},
		{"the annotation turns it off", func() {
			put(0, preferSameNode)()
			put(1, preferSameNode)()
			x.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: "web"}, Kind: model.Headless, NoTopology: true})
		}, "no_hints " + all, "no_hints " + all, "no_hints " + all, "no_hints " + all},
	} {
		c.do()
		for at, want := range map[model.Location]string{
			{Zone: "b", Node: "b0"}: c.inB0, {Zone: "b", Node: "b2"}: c.inB2, {}: c.nowhere, {Zone: "z", Node: "z0"}: c.inZed,
		} {
			if got := asked(t, x, at); got != want {
				t.Errorf("%s: a client at %+v gets %s, want %s", c.name, at, got, want)
			}
		}
		if err := x.Check(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestFamiliesAreChosenEachByItself: an SRV target is given if its address of either family is chosen.
func TestFamiliesAreChosenEachByItself(t *testing.T) {
	x := New(model.HostnamesReady, false, 0)
	modeltest.PutWeb(x)
	for f, addrs := range [][2]string{{"10.0.0.1", "10.0.0.2"}, {"fd00::1", "fd00::2"}} {
		s := &model.Slice{Key: model.Key{Namespace: "n", Name: fmt.Sprint("web-", f)}, Service: "web", Ports: []model.Port{model.PortOf("http", "tcp", 80)}}
		for i, zone := range []string{"a", "b"} {
			e := model.Endpoint{Addr: netip.MustParseAddr(addrs[i]), Name: fmt.Sprint("web-", i), State: model.Ready, Place: hintedAt(zone, zone, preferSameZone)}
			if f == 1 {
				e.Place = hintedAt(zone, zone, noHints)
			}
			s.Endpoints = append(s.Endpoints, e)
		}
		x.PutSlice(s)
	}
	q, p := &qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web"}, Part{Limit: 9, At: model.Location{Zone: "a"}}
	for w, want := range map[Want]int{WantA: 1, WantAAAA: 2, WantSRV: 2} {
		if v := x.Lookup(q, w, p); v.Total != want {
			t.Errorf("want %d: got %d records, want %d", w, v.Total, want)
		}
	}
}

// TestThousandsOfZones: each client gets the one endpoint that is meant for it, and what slices said before costs nothing.
func TestThousandsOfZones(t *testing.T) {
	const size = 5000
	x := New(model.HostnamesReady, false, 0)
	modeltest.PutWeb(x)
	put := func(of string) {
		for lo := 0; lo < size; lo += 1000 {
			s := modeltest.BigSlice(lo, lo+1000, model.Ready)
			for i := range s.Endpoints {
				s.Endpoints[i].Place = hintedAt(fmt.Sprint(of, lo+i), "", preferSameZone)
			}
			x.PutSlice(s)
		}
	}
	put("of-before-")
	put("zone-")
	for _, n := range []int{0, 1, 2500, size - 1} {
		at := model.Location{Zone: fmt.Sprint("zone-", n)}
		v := x.Lookup(&qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web"}, WantSRV, Part{Limit: 9, At: at})
		if v.Total != 1 || v.Targets[0].Name != fmt.Sprint("web-", n) {
			t.Errorf("a client in %s gets %d targets, %v", at.Zone, v.Total, v.Targets)
		}
	}
	if n := len(x.places.known); n != size {
		t.Errorf("%d places are known, want %d", n, size)
	}
	if err := x.Check(); err != nil {
		t.Error(err)
	}
}

// TestLocate: what endpoints say of where a client is, as long as they agree.
func TestLocate(t *testing.T) {
	x := New(model.HostnamesReady, false, 0)
	addr := netip.MustParseAddr("10.0.0.1")
	put := func(name, zone, node string) {
		x.PutSlice(&model.Slice{Key: model.Key{Namespace: "n", Name: name}, Service: name, Endpoints: []model.Endpoint{{Addr: addr, Place: hintedAt(zone, node, noHints)}}})
	}
	for _, step := range []struct {
		name string
		do   func()
		want model.Location
	}{
		{"nobody knows it", func() {}, model.Location{}},
		{"a slice of a Service that is not there", func() { put("a", "z", "k") }, model.Location{Zone: "z", Node: "k"}},
		{"another says nothing", func() { put("b", "", "") }, model.Location{Zone: "z", Node: "k"}},
		{"it says the same", func() { put("b", "z", "k") }, model.Location{Zone: "z", Node: "k"}},
		{"it says another node", func() { put("b", "z", "l") }, model.Location{Zone: "z"}},
		{"it goes", func() { x.DropSlice(model.Key{Namespace: "n", Name: "b"}) }, model.Location{Zone: "z", Node: "k"}},
	} {
		step.do()
		if got := x.Locate(addr); got != step.want {
			t.Errorf("%s: got %+v, want %+v", step.name, got, step.want)
		}
	}
}

// placedIndex returns an index with size pods of PutPods in three topology zones, with hints.
func placedIndex(size int, zonal bool, h hints) *Index {
	x := New(model.HostnamesReady, false, 0)
	modeltest.PutWeb(x)
	for lo := 0; lo < size; lo += 100 {
		s := modeltest.BigSlice(lo, min(size, lo+100), model.Ready)
		for i := range s.Endpoints {
			p := hintedAt(fmt.Sprint("zone-", i%3), fmt.Sprint("node-", (lo+i)%1000), h).Place()
			p.Zonal = zonal
			s.Endpoints[i].Place = p.Placed()
		}
		x.PutSlice(s)
	}
	return x
}

// BenchmarkPlaces asks for what fits a datagram of a Service with hints and of one without, and for zonal names.
func BenchmarkPlaces(b *testing.B) {
	own := &qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web"}
	zonal := &qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web", Scope: qname.Pin, Topology: "zone-1"}
	for _, c := range []struct {
		name  string
		q     *qname.Name
		zonal bool
		hints
	}{
		{"hints=none", own, false, noHints},
		{"hints=zones", own, false, preferSameZone},
		{"zonal", zonal, true, noHints},
	} {
		for _, size := range []int{100, 5000} {
			x, client := placedIndex(size, c.zonal, c.hints), netip.AddrFrom4([4]byte{10, 0, 0, 1})
			for w, limit := range map[Want]int{WantA: 20, WantSRV: 10} {
				b.Run(fmt.Sprintf("%s/of=%d/want=%d", c.name, size, w), func(b *testing.B) {
					var v View
					b.ReportAllocs()
					for b.Loop() {
						p := Part{Limit: limit, Client: 1 << 62}
						if c.q == own {
							p.At = x.Locate(client)
						}
						x.LookupInto(&v, c.q, w, p)
					}
				})
			}
		}
	}
}
