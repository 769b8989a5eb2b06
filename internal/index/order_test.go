package index

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns-headless/headless/internal/qname"
)

// clientAt returns an address for each number: of many subnets, or of one.
func clientAt(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 9, byte(n >> 8), byte(n)}) }

// parts returns what a client gets of the sets of Service web in namespace n: some addresses of each
// family, sorted, and some SRV targets in their order, each as text.
func parts(x *Index, client netip.Addr, limit int) (a, aaaa, srv []string) {
	q := &qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web"}
	p := Part{Limit: limit, Client: ClientOf(client)}
	texts := func(w Want) (texts []string) {
		f, set := w.Family(), addressSet(x.Lookup(q, w, p).Addrs)
		for i := range len(set) / f.Size() {
			texts = append(texts, set.at(i, f).String())
		}
		slices.Sort(texts)
		return texts
	}
	for _, t := range x.Lookup(q, WantSRV, p).Targets {
		srv = append(srv, fmt.Sprint(string(t.Append(nil)), t.Ports, t.Addrs))
	}
	return texts(WantA), texts(WantAAAA), srv
}

// TestPartsDoNotDependOnTheHistory: indexes that came to the same objects in different ways give each
// client the same part.
func TestPartsDoNotDependOnTheHistory(t *testing.T) {
	const size, each = 240, 40
	final := func(i int) *model.Slice {
		sl := modeltest.BigSlice(i, i+each, model.Ready)
		switch i / each % 3 {
		case 1: // other ports, of which SRV targets are grouped
			sl.Ports = []model.Port{model.PortOf("grpc", "tcp", 90), model.PortOf("http", "tcp", 80)}
		case 2: // of IPv6
			for j := range sl.Endpoints {
				b := sl.Endpoints[j].Addr.As4()
				sl.Endpoints[j].Addr = netip.AddrFrom16([16]byte{0: 0xfd, 12: b[0], b[1], b[2], b[3]})
			}
		}
		for j := range sl.Endpoints { // some have no name, some one that another has
			switch j % 5 {
			case 0:
				sl.Endpoints[j].Name = ""
			case 1:
				sl.Endpoints[j].Name = "shared"
			}
		}
		return sl
	}
	want := bigIndex(0)
	for i := 0; i < size; i += each {
		want.PutSlice(final(i))
	}
	r := rand.New(rand.NewPCG(1, 2))
	for history := range 20 {
		x := bigIndex(0)
		for range 100 {
			sl := final(each * r.IntN(size/each))
			switch r.IntN(3) {
			case 0:
				x.DropSlice(sl.Key)
				continue
			case 1:
				sl.Endpoints[r.IntN(each)].State = model.NotReady
				sl.Endpoints = sl.Endpoints[r.IntN(each):]
			case 2:
				sl.Ports = final(each * r.IntN(size/each)).Ports
			}
			x.PutSlice(sl)
		}
		for _, i := range r.Perm(size / each) {
			x.PutSlice(final(each * i))
		}
		if err := x.Check(); err != nil {
			t.Fatal(err)
		}
		for n := range 50 {
			for _, limit := range []int{7, 1000} {
				a, aaaa, srv := parts(x, clientAt(n), limit)
				wantA, wantAAAA, wantSRV := parts(want, clientAt(n), limit)
				if !slices.Equal(a, wantA) || !slices.Equal(aaaa, wantAAAA) || !slices.Equal(srv, wantSRV) {
					t.Fatalf("history %d, %v, %d records: got\n%v\n%v\n%v\nwant\n%v\n%v\n%v", history, clientAt(n), limit, a, aaaa, srv, wantA, wantAAAA, wantSRV)
				}
			}
		}
	}
}

// TestPartChangesByOneMember: when an endpoint comes or goes, a client's part exchanges one other
// member at most.
func TestPartChangesByOneMember(t *testing.T) {
	const size, limit = 300, 20
	x := bigIndex(size)
	beside := func(part, before []string, changed string) (n int) {
		for _, text := range part {
			if text != changed && !slices.Contains(before, text) {
				n++
			}
		}
		return n
	}
	for i := range size / 3 {
		sl := modeltest.BigSlice(0, 100, model.Ready)
		gone := sl.Endpoints[i%100]
		sl.Endpoints = slices.Delete(sl.Endpoints, i%100, i%100+1)
		for n := range 20 {
			client := clientAt(n)
			a, _, srv := parts(x, client, limit)
			x.PutSlice(sl)
			lessA, _, lessSRV := parts(x, client, limit)
			x.PutSlice(modeltest.BigSlice(0, 100, model.Ready))
			addr, target := gone.Addr.String(), fmt.Sprint(gone.Name, []uint16{80}, []netip.Addr{gone.Addr})
			for _, c := range []struct {
				what          string
				before, after []string
				changed       string
			}{{"A", a, lessA, addr}, {"SRV", srv, lessSRV, target}} {
				was, is := beside(c.before, c.after, c.changed), beside(c.after, c.before, c.changed)
				if was > 1 || is > 1 {
					t.Fatalf("%s of %v without %s: %d others left and %d came, want at most one\n%v\n%v", c.what, client, c.changed, was, is, c.before, c.after)
				}
			}
		}
	}
}

// TestPartsAreEven: over many clients, of many subnets and of one, each endpoint is in equally many
// parts, by a chi-square test.
func TestPartsAreEven(t *testing.T) {
	for _, c := range []struct {
		name    string
		size    int
		clients []netip.Addr
	}{
		{"10,000 clients", 100, manyClients(10000, func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(n * 7), byte(n >> 8), byte(n)}) })},
		{"clients one behind the other", 1000, manyClients(10000, clientAt)},
		{"a /24", 20, manyClients(256, clientAt)},
		{"a /64", 20, manyClients(256, func(n int) netip.Addr { return netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(n)}) })},
		{"nodes with a /24 each", 20, manyClients(256, func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 244, byte(n), 1}) })},
	} {
		x := bigIndex(c.size)
		const limit = 1 // parts that overlap are not independent
		in := map[string]map[string]int{"A": {}, "SRV": {}}
		for _, client := range c.clients {
			a, _, srv := parts(x, client, limit)
			in["A"][a[0]]++
			in["SRV"][srv[0]]++
		}
		for what, times := range in {
			want, chi2 := float64(len(c.clients))/float64(c.size), 0.0
			for _, n := range times {
				chi2 += (float64(n) - want) * (float64(n) - want) / want
			}
			chi2 += want * float64(c.size-len(times)) // those that came never
			// Per degree of freedom it is about 1; with 19 of them it is above 2.3 once in a thousand.
			if chi2 /= float64(c.size - 1); chi2 > 2.3 {
				t.Errorf("%s, %s of %d endpoints: chi-square %.2f per degree of freedom, want about 1", c.name, what, c.size, chi2)
			}
		}
	}
}

// TestPartsOfZonesAndExternalNames: they begin at the client's place, too.
func TestPartsOfZonesAndExternalNames(t *testing.T) {
	const size = 20
	x := bigIndex(0)
	sl := modeltest.BigSlice(0, size, model.Ready)
	for i := range sl.Endpoints {
		sl.Endpoints[i].Place = model.Place{Location: model.Location{Zone: "a"}, Zonal: true}.Placed()
	}
	x.PutSlice(sl)
	q := &qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web"}
	zonal := &qname.Name{Kind: qname.ServiceName, Namespace: "n", Service: "web", Scope: qname.Pin, Topology: "a"}
	external := func(w Want, p Part) string { return x.LookupExternal(q, true, w, p).Hosts[0].Addr.String() }
	for what, first := range map[string]func(Part) string{
		"SRV of a zone": func(p Part) string { return x.Lookup(zonal, WantSRV, p).Targets[0].Name },
		"external SRV":  func(p Part) string { return external(WantSRV, p) },
		"external A":    func(p Part) string { return external(WantA, p) },
	} {
		seen := make(map[string]bool)
		for _, client := range manyClients(1000, clientAt) {
			p := Part{Limit: 1, Client: ClientOf(client)}
			got := first(p)
			if again := first(p); again != got {
				t.Errorf("%s: %v got %s, then %s, want the same", what, client, got, again)
			}
			seen[got] = true
		}
		if len(seen) != size {
			t.Errorf("%s: got %d different records for 1,000 clients, want %d", what, len(seen), size)
		}
	}
	for limit, want := range map[int]int{size: size, 3: 3} { // all of them, or the client's part
		first := make(map[string]bool)
		for range 1000 {
			first[external(WantA, Part{Limit: limit, Client: 1 << 63})] = true
		}
		if len(first) != want {
			t.Errorf("external A, %d of %d: got %d addresses first, want %d", limit, size, len(first), want)
		}
	}
}

func manyClients(n int, at func(int) netip.Addr) (clients []netip.Addr) {
	for i := range n {
		clients = append(clients, at(i))
	}
	return clients
}

// TestMappedClientIsAnIPv4Client: servers that listen on both families see such addresses.
func TestMappedClientIsAnIPv4Client(t *testing.T) {
	addr := netip.MustParseAddr("10.0.0.1")
	if ClientOf(addr) != ClientOf(netip.AddrFrom16(addr.As16())) {
		t.Error("an IPv4-mapped address has another place than its IPv4 address")
	}
}

// TestWindowGivesEveryAddressFirstEquallyOften: also to one client.
func TestWindowGivesEveryAddressFirstEquallyOften(t *testing.T) {
	const rounds = 6000
	for _, c := range []struct {
		name        string
		f           model.Family
		size, limit int
	}{
		{"all of IPv4", model.V4, 6, 9},
		{"some of IPv4", model.V4, 6, 3},
		{"all of IPv6", model.V6, 5, 5},
		{"some of IPv6", model.V6, 6, 2},
		{"nothing fits", model.V6, 6, 0},
		{"no address", model.V4, 0, 3},
	} {
		var addrs []netip.Addr
		for i := range c.size {
			addr := clientAt(i)
			if c.f == model.V6 {
				addr = netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(i)})
			}
			addrs = append(addrs, addr)
		}
		set, shown := setOf(addrs, c.f), min(c.size, c.limit)
		first := make(map[netip.Addr]int)
		members := make(map[netip.Addr]bool)
		for range rounds {
			w := addressSet(set.appendWindow(nil, c.f, Part{Limit: c.limit, Client: 1 << 63}))
			if len(w) != shown*c.f.Size() {
				t.Fatalf("%s: %d octets, want %d addresses", c.name, len(w), shown)
			}
			for i := range shown {
				if members[w.at(i, c.f)] = true; i == 0 {
					first[w.at(i, c.f)]++
				}
			}
		}
		if len(members) != shown || len(first) != shown {
			t.Errorf("%s: one client saw %d addresses, %d of them first, want %d", c.name, len(members), len(first), shown)
		}
		for addr, times := range first { // a standard deviation is 27 to 38; seven of them do not happen
			if want := rounds / shown; times < want-270 || times > want+270 {
				t.Errorf("%s: %v came first %d times of %d, want about %d", c.name, addr, times, rounds, want)
			}
		}
	}
}

// TestShuffleIsEven: each address comes to each place equally often.
func TestShuffleIsEven(t *testing.T) {
	for _, f := range []model.Family{model.V4, model.V6} {
		const n, rounds = 7, 70000
		var seen [n][n]int // of an address at a place
		for range rounds {
			s := make(addressSet, n*f.Size())
			for i := range n {
				s[i*f.Size()] = byte(i)
			}
			s.shuffle(f)
			for at := range n {
				seen[s[at*f.Size()]][at]++
			}
		}
		const sigma = 93 // the root of rounds/n * (1 - 1/n)
		for i := range n {
			for at, times := range seen[i] {
				if times < rounds/n-6*sigma || times > rounds/n+6*sigma {
					t.Errorf("addresses of %d octets: %d came to place %d %d times, want some %d", f.Size(), i, at, times, rounds/n)
				}
			}
		}
	}
}

func BenchmarkShuffle(b *testing.B) {
	for _, f := range []model.Family{model.V4, model.V6} {
		b.Run(fmt.Sprintf("%d octets", f.Size()), func(b *testing.B) {
			s := make(addressSet, 70*f.Size()) // what a reply of 1,232 octets has room for
			for b.Loop() {
				s.shuffle(f)
			}
		})
	}
}
