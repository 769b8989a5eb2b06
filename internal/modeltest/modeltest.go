// Package modeltest makes Services and EndpointSlices for tests: random ones of a small universe, and large ones.
package modeltest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
)

// Universe is the small world of random histories: the fewer things there are, the more they collide.
var Universe = struct {
	Namespaces, Services, Slices, Names []string
	Zones, Nodes                        []string
	Addrs                               []netip.Addr
	Ports                               []model.Port
	Externals                           []string
}{
	Namespaces: []string{"n", "o"},
	Services:   []string{"s", "t", "u"},
	Slices:     []string{"p", "q", "r", "x", "y"},
	Names:      []string{"", "", "a", "b", "c"},
	Zones:      []string{"", "z", "y.z"},
	Nodes:      []string{"", "k", "l"},
	Addrs: []netip.Addr{
		netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("11.0.0.1"),
		netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2"), netip.MustParseAddr("fd00::12"),
	},
	Ports:     []model.Port{model.PortOf("", "tcp", 1), model.PortOf("a", "tcp", 1), model.PortOf("a", "udp", 2), model.PortOf("b", "tcp", 3)},
	Externals: []string{"lb.example.org.", "lb.example.net."},
}

// PickOne returns one of from.
func PickOne[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// PickSome returns a random subset, in order.
func PickSome[T any](r *rand.Rand, from []T) []T {
	var some []T
	for _, e := range from {
		if r.IntN(2) == 0 {
			some = append(some, e)
		}
	}
	return some
}

// RandomKey returns the key of one of names in one of the namespaces.
func RandomKey(r *rand.Rand, names []string) model.Key {
	return model.Key{Namespace: PickOne(r, Universe.Namespaces), Name: PickOne(r, names)}
}

// RandomService returns a Service of the universe.
func RandomService(r *rand.Rand) *model.Service {
	s := &model.Service{Key: RandomKey(r, Universe.Services), Kind: model.Kind(r.IntN(3)), Ports: PickSome(r, Universe.Ports)}
	switch s.Kind {
	case model.ClusterIP:
		s.ClusterIPs = PickSome(r, Universe.Addrs)
	case model.ExternalName:
		s.Target = PickOne(r, []string{"", "example.org."})
	}
	if r.IntN(3) == 0 {
		s.Policy = model.Policy(1 + r.IntN(3))
	}
	if addrs, names := PickSome(r, Universe.Addrs), PickSome(r, Universe.Externals); r.IntN(2) == 0 && len(addrs)+len(names) > 0 {
		s.External = &model.External{Addrs: addrs, Names: names}
	}
	s.NoTopology = r.IntN(8) == 0
	return s
}

// RandomSlice returns an EndpointSlice of the universe.
func RandomSlice(r *rand.Rand) *model.Slice {
	s := &model.Slice{Key: RandomKey(r, Universe.Slices), Service: PickOne(r, append(Universe.Services, Universe.Services[0], ""))}
	if s.Service == "" {
		return s
	}
	s.Ports = PickSome(r, Universe.Ports)
	hinted := r.IntN(4) // most endpoints of one slice have the same kinds of hints
	for range r.IntN(6) {
		e := model.Endpoint{Addr: PickOne(r, Universe.Addrs), Name: PickOne(r, Universe.Names), State: model.State(r.IntN(3))}
		e.PodName = e.Name != "" && r.IntN(3) == 0
		e.Place = RandomPlace(r, hinted)
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

// RandomPlace returns a place of the universe, mostly with hints for topology zones if hinted is more than 0, and
// for nodes if it is more than 1.
func RandomPlace(r *rand.Rand, hinted int) model.Placed {
	p := model.Place{Location: model.Location{Zone: PickOne(r, Universe.Zones), Node: PickOne(r, Universe.Nodes)}, Zonal: true}
	if r.IntN(8) == 0 {
		hinted = r.IntN(3)
	}
	if hinted > 0 {
		p.ForZones = model.NamesOf(append(PickSome(r, Universe.Zones), "z"))
	}
	if hinted > 1 {
		p.ForNodes = model.NamesOf(append(PickSome(r, Universe.Nodes), "k"))
	}
	return p.Placed()
}

// Distinct merges those of a slice's endpoints that have the same address and name: ready if one of them is, named by a hostname if
// one of them is.
func Distinct(s *model.Slice) *model.Slice {
	seen := make(map[model.Label]int)
	var kept []model.Endpoint
	for _, e := range s.Endpoints {
		id := model.Label{Name: e.Name, Addr: e.Addr}
		if i, ok := seen[id]; ok {
			kept[i].State = max(kept[i].State, e.State)
			kept[i].PodName = kept[i].PodName && e.PodName
			continue
		}
		seen[id] = len(kept)
		kept = append(kept, e)
	}
	merged := *s
	merged.Endpoints = kept
	return &merged
}

// BigSlice returns the slice of the pods from lo up to hi.
func BigSlice(lo, hi int, s model.State) *model.Slice {
	sl := &model.Slice{Key: model.Key{Namespace: "n", Name: fmt.Sprint("web-", lo)}, Service: "web", Ports: []model.Port{model.PortOf("http", "tcp", 80)}}
	for i := lo; i < hi; i++ {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		sl.Endpoints = append(sl.Endpoints, model.Endpoint{Addr: addr, Name: fmt.Sprint("web-", i), State: s})
	}
	return sl
}

// PutWeb puts a headless Service web of namespace n into x.
func PutWeb(x Filler) {
	x.PutNamespace(&model.Namespace{Key: model.Key{Name: "n"}})
	x.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: "web"}, Kind: model.Headless})
}

// PutPods puts PutWeb's Service into x with the ready pods web-0, web-1 and so on, 100 in a slice.
func PutPods(x Filler, size int) {
	PutWeb(x)
	for lo := 0; lo < size; lo += 100 {
		x.PutSlice(BigSlice(lo, min(size, lo+100), model.Ready))
	}
}

// ExternalHosts says what a transfer of external names has, with endpoints and without. all is AllExternalHosts of an index.
func ExternalHosts[H any](all func(endpoints bool) []H) (text string) {
	for _, endpoints := range []bool{true, false} {
		var hosts []string
		for _, h := range all(endpoints) {
			hosts = append(hosts, fmt.Sprint(h))
		}
		slices.Sort(hosts)
		text += strings.Join(hosts, "\n") + "\n--\n"
	}
	return text
}

// Questions returns all queries whose answer the universe can change.
func Questions() []qname.Name {
	var qs []qname.Name
	for _, ns := range Universe.Namespaces {
		qs = append(qs, qname.Name{Kind: qname.NamespaceName, Namespace: ns})
		for _, svc := range Universe.Services {
			hostnames := slices.Concat(slices.Compact(slices.Clone(Universe.Names)), []string{"nobody"})
			for _, addr := range Universe.Addrs {
				hostnames = append(hostnames, string(model.AppendDashed(nil, addr)))
			}
			for _, hostname := range hostnames {
				q := qname.Name{Kind: qname.ServiceName, Namespace: ns, Service: svc, Hostname: hostname}
				q.Addr, _ = model.ParseDashed(hostname)
				for _, port := range []string{".", "tcp.", "udp.", "sctp.", "tcp.a", "udp.a", "tcp.b", "udp.b"} {
					q.Proto, q.Port, _ = strings.Cut(port, ".")
					qs = append(qs, q)
				}
			}
			for _, zone := range []string{"z", "y.z", "nowhere"} {
				qs = append(qs,
					qname.Name{Kind: qname.ServiceName, Namespace: ns, Service: svc, Scope: qname.ScopeName},
					qname.Name{Kind: qname.ServiceName, Namespace: ns, Service: svc, Scope: qname.Pin, Topology: zone},
					qname.Name{Kind: qname.ServiceName, Namespace: ns, Service: svc, Scope: qname.Prefer, Topology: zone},
				)
			}
		}
	}
	for _, addr := range append(Universe.Addrs, netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("fd01::1")) {
		for p := netip.PrefixFrom(addr, addr.BitLen()); ; p = qname.Parent(p) {
			qs = append(qs, qname.Name{Kind: qname.ReverseName, Prefix: p})
			if p.Bits() == 0 {
				break
			}
		}
	}
	return qs
}

// PodAt returns a Pod with addresses.
func PodAt(namespace, name string, addrs ...string) *model.Pod {
	spec := &model.Pod{Key: model.Key{Namespace: namespace, Name: name}}
	for _, addr := range addrs {
		spec.Addrs = append(spec.Addrs, netip.MustParseAddr(addr))
	}
	return spec
}

// A Service with an address, and a slice of it, as YAML.
const (
	ServiceYAML = "{apiVersion: v1, kind: Service, metadata: {namespace: a, name: web}, spec: {clusterIP: 10.96.0.1}}\n"
	SliceYAML   = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: a, name: web-1, labels: {kubernetes.io/service-name: web}}, endpoints: [{addresses: [10.0.0.1]}]}\n"
)

// BigCluster puts a cluster into x: Services of ten endpoints each, every other one headless and, with hostnames, its endpoints
// named.
func BigCluster(x Filler, services int, hostnames bool) {
	BigPlacedCluster(x, services, hostnames, PlacedNowhere)
}

// PlacedNowhere is the place of every endpoint of a cluster whose places are not kept.
func PlacedNowhere(int, bool) model.Placed { return model.Placed{} }

// PlacedIn returns the places of endpoints by their numbers, in a cluster of nodes in three topology zones. Those of headless
// Services have the hints of PreferSameZone or, with byNode, of PreferSameNode.
func PlacedIn(nodes int, byNode bool) func(n int, headless bool) model.Placed {
	return func(n int, headless bool) model.Placed {
		node := n % nodes
		p := model.Place{Location: model.Location{Zone: fmt.Sprint("zone-", node%3), Node: fmt.Sprint("node-", node)}}
		if headless {
			p.ForZones = model.NamesOf([]string{p.Zone})
		}
		if headless && byNode {
			p.ForNodes = model.NamesOf([]string{p.Node})
		}
		return p.Placed()
	}
}

// BigPlacedCluster is BigCluster with endpoints in places, by their numbers and whether their Services are headless.
func BigPlacedCluster(x Filler, services int, hostnames bool, place func(n int, headless bool) model.Placed) {
	for i := range services {
		namespace := fmt.Sprint("namespace-", i%100)
		name := fmt.Sprint("service-", i)
		x.PutNamespace(&model.Namespace{Key: model.KeyOf("", namespace)})
		s := &model.Service{Key: model.KeyOf(namespace, name), Kind: model.Headless, Ports: []model.Port{model.PortOf("http", "tcp", 80)}}
		if i%2 == 0 {
			s.Kind = model.ClusterIP
			s.ClusterIPs = []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})}
		}
		x.PutService(s)
		sl := &model.Slice{Key: model.KeyOf(namespace, name+"-abcde"), Service: model.Intern(name), Ports: []model.Port{model.PortOf("http", "tcp", 8080)}}
		for j := range 10 {
			k := 10*i + j
			e := model.Endpoint{Addr: netip.AddrFrom4([4]byte{10, byte(k >> 16), byte(k >> 8), byte(k)}), State: model.Ready}
			e.Place = place(k, s.Kind == model.Headless)
			if hostnames && s.Kind == model.Headless {
				e.Name = fmt.Sprintf("%s-%d", name, j)
			}
			sl.Endpoints = append(sl.Endpoints, e)
		}
		x.PutSlice(sl)
	}
}

// HeapInUse returns the bytes on the heap that are in use.
func HeapInUse() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// Filler is what can be filled with a cluster: an index.
type Filler interface {
	PutNamespace(*model.Namespace)
	PutService(*model.Service)
	PutSlice(*model.Slice)
}
