package index

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns-headless/headless/internal/qname"
)

func TestNearest(t *testing.T) {
	for _, c := range []struct {
		name, label  string
		offers, want []string
		more         bool
	}{
		{"none", "a", nil, nil, false},
		{"the most like comes first", "web-1", []string{"db-7", "web-2", "web-1x"}, []string{"web-1x", "web-2", "db-7"}, false},
		{"of those alike the first", "web-9", []string{"web-0", "web-1", "web-2", "web-3"}, []string{"web-0", "web-1", "web-2"}, true},
		{"each once", "web-9", []string{"web-0", "web-0", "web-0", "web-0"}, []string{"web-0"}, false},
		{"a better one takes the place of the worst", "web-9", []string{"a", "b", "c", "web-8"}, []string{"web-8", "a", "b"}, true},
		{"the start and the end count", "cassandra-1", []string{"casandra-1", "cassandra-2", "x"}, []string{"casandra-1", "cassandra-2", "x"}, false},
	} {
		var n Nearest[string]
		for _, o := range c.offers {
			n.offer(o, Likeness(o, c.label))
		}
		if !slices.Equal(n.All(), c.want) || n.More != c.more {
			t.Errorf("%s: %q and more %v, want %q and %v", c.name, n.All(), n.More, c.want, c.more)
		}
	}
}

// TestSuggestionsCostTheSameWhateverTheSize: of 10,000 endpoints a denial looks at a few, and finds
// those near all the same.
func TestSuggestionsCostTheSameWhateverTheSize(t *testing.T) {
	looks := make(map[int]int) // by the size of the Service
	for _, size := range []int{100, 10000} {
		x := bigIndex(size)
		for _, g := range x.peek("n", "web").groups {
			for i := maxLooks; i < len(g.targets); i++ {
				g.targets[i] = nil // to look at it is a fault
			}
		}
		key := x.byName.key
		x.byName.key = func(e *endpoint) hostKey { looks[size]++; return key(e) }
		for _, asked := range []struct{ hostname, want string }{
			{fmt.Sprint("web-", size), fmt.Sprint("web-", size-1)},
			{"10-0-0-9", "web-9"},
			{"nobody", "web-0"},
		} {
			q := qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web", Hostname: asked.hostname}
			q.Addr, _ = model.ParseDashed(asked.hostname)
			d := Denial{Suggest: true}
			x.Deny(&d, &q, 0)
			if d.Reason != ReasonHostname || d.Names.N != MaxNear || !d.Names.More || d.Names.All()[0].Name != asked.want {
				t.Errorf("of %d: %s: reason %v, near it %v, want %s first", size, asked.hostname, d.Reason, d.Names.All(), asked.want)
			}
		}
		d := Denial{Suggest: true}
		x.Deny(&d, &qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web", Port: "x", Proto: "tcp"}, 0)
		if want := (model.PortLabels{Name: "http", Proto: "tcp"}); d.Reason != ReasonPort || len(d.Ports.All()) != 1 || d.Ports.All()[0] != want {
			t.Errorf("of %d: reason %v, ports %v, want %v", size, d.Reason, d.Ports.All(), want)
		}
	}
	if looks[10000] > looks[100]+40 { // the chains of a table have random lengths
		t.Errorf("%d endpoints were compared with a name in a Service of 10,000, %d in one of 100", looks[10000], looks[100])
	}
}

// TestEndpointsAreThoseThatLookupsFind compares what is told of endpoints with what their names,
// their topology zones and their addresses lead to, in random indexes.
func TestEndpointsAreThoseThatLookupsFind(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 4))
		x := New(model.Policy(1+r.IntN(3)), r.IntN(2) == 0, 0)
		x.PutNamespace(&model.Namespace{Key: model.Key{Name: "n"}})
		for range 12 {
			x.PutService(modeltest.RandomService(r))
			x.PutSlice(modeltest.RandomSlice(r))
		}
		for _, ns := range modeltest.Universe.Namespaces {
			for _, name := range modeltest.Universe.Services {
				key := model.Key{Namespace: ns, Name: name}
				checkEndpoints(t, x, key)
				if t.Failed() {
					t.Fatalf("seed %d, Service %v: %+v", seed, key, x.Endpoints(key, math.MaxInt))
				}
			}
		}
	}
}

// checkEndpoints holds the endpoints of a Service against lookups.
func checkEndpoints(t *testing.T, x *Index, key model.Key) {
	t.Helper()
	var states [3]int32
	all := x.Endpoints(key, math.MaxInt)
	for _, e := range all {
		states[e.State]++
		q := qname.Name{Kind: qname.ServiceName, Namespace: key.Namespace, Service: key.Name, Hostname: e.Names[0]}
		q.Addr, _ = model.ParseDashed(e.Names[0])
		w := WantA + Want(model.FamilyOf(e.Addr))
		want := e.Answers || slices.ContainsFunc(all, func(o Endpoint) bool {
			return o.Addr == e.Addr && o.State > e.State && o.Names[0] != e.Names[0] && slices.Contains(o.Names, e.Names[0])
		}) && x.Lookup(&q, w, Part{Limit: 100}).Outcome == Found // another endpoint gives the name the address
		if got := has(x.Lookup(&q, w, Part{Limit: 100}), e); got != want {
			t.Errorf("%s: got that the name has %s: %v, want %v", e.Names[0], e.Addr, got, want)
		}
		for _, topology := range e.Topologies {
			pin := qname.Name{Kind: qname.ServiceName, Namespace: key.Namespace, Service: key.Name, Scope: qname.Pin, Topology: topology}
			v := x.Lookup(&pin, w, Part{Limit: 100})
			spec := x.ShownSpec(key)
			if want := spec != nil && spec.Kind == model.Headless && e.State == model.Ready; want && !has(v, e) {
				t.Errorf("topology zone %s: got no address %s", topology, e.Addr)
			}
		}
	}
	d := Denial{}
	x.Deny(&d, &qname.Name{Kind: qname.ServiceName, Namespace: key.Namespace, Service: key.Name, Hostname: "nobody"}, 0)
	if d.Reason == ReasonHostname && d.States != states {
		t.Errorf("got endpoints of the states %v, want %v", states, d.States)
	}
}

// has reports whether v has the address of e.
func has(v View, e Endpoint) bool {
	size := model.FamilyOf(e.Addr).Size()
	for i := 0; i < len(v.Addrs); i += size {
		if string(v.Addrs[i:i+size]) == string(e.Addr.AsSlice()) {
			return true
		}
	}
	return false
}

// TestPortsOfANameAreThoseOfAllItsEndpoints: a name has two addresses, in slices with other ports,
// and what is said of its ports does not depend on which slice came first.
func TestPortsOfANameAreThoseOfAllItsEndpoints(t *testing.T) {
	slice := func(name, addr string, ports ...model.Port) *model.Slice {
		return &model.Slice{Key: model.KeyOf("n", name), Service: "web", Ports: ports, Endpoints: []model.Endpoint{
			{Addr: netip.MustParseAddr(addr), Name: "web-0", State: model.Ready},
		}}
	}
	with, without := slice("a", "10.0.0.1", model.PortOf("http", "tcp", 80)), slice("b", "10.0.0.2")
	for _, order := range [][]*model.Slice{{with, without}, {without, with}} {
		x := New(model.HostnamesReady, false, 0)
		x.PutNamespace(&model.Namespace{Key: model.KeyOf("", "n")})
		x.PutService(&model.Service{Key: model.KeyOf("n", "web"), Kind: model.Headless})
		for _, spec := range order {
			x.PutSlice(spec)
		}
		d := Denial{Suggest: true}
		x.Deny(&d, &qname.Name{
			Kind: qname.ServiceName, Namespace: "n", Service: "web", Hostname: "web-0", Port: "grpc", Proto: "tcp",
		}, 0)
		if got := d.Ports.All(); len(got) != 1 || got[0].Name != "http" {
			t.Errorf("%s first: the ports %v, want http", order[0].Name, got)
		}
	}
}
