package insight

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/miekg/dns"
)

// start is when the counters of these tests begin.
var start = time.Unix(1_700_000_000, 0)

// clientAt returns one of 65,000 clients.
func clientAt(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}) }

// TestMuchIsAskedAndLittleIsKept asks for random names from 65,000 addresses, and now and then for some names, and from
// some clients, more than for all others: the lists are right within the errors that they state, and nothing grows.
func TestMuchIsAskedAndLittleIsKept(t *testing.T) {
	queries := 10_000_000
	if testing.Short() || bubble.Race {
		queries = 200_000 // the race detector makes it ten times slower
	}
	c := NewCounter(start)
	random := rand.New(rand.NewPCG(1, 2))
	const heavy = 20
	names := make(map[string]float64)
	clients := make(map[netip.Addr]float64)
	steps := make(map[netip.Addr]float64)
	var heavyNames [heavy]string
	var heavyClients [heavy]netip.Addr
	for i := range heavy {
		heavyNames[i] = fmt.Sprintf("web-%d.web.default.svc.cluster.local.", i)
		heavyClients[i] = netip.AddrFrom4([4]byte{10, 9, 0, byte(i)})
	}
	for n := range 65_000 {
		clients[clientAt(n)], steps[clientAt(n)] = 0, 0
	}
	before := heap()
	label := make([]byte, 16)
	for n := range queries {
		name, client := "", clientAt(random.IntN(65_000))
		if n%4 == 0 { // a quarter of the queries: the first name of the list a 40th of all, and so on
			name = heavyNames[min(random.IntN(heavy), random.IntN(heavy))]
			names[name]++
		} else {
			binary.LittleEndian.PutUint64(label, random.Uint64())
			name = fmt.Sprintf("%x.default.svc.cluster.local.", label[:8])
		}
		if n%5 == 0 {
			client = heavyClients[min(random.IntN(heavy), random.IntN(heavy))]
		}
		step := n%3 == 0
		clients[client]++
		if step {
			steps[client]++
		}
		c.CountDenial(name, dns.TypeA, index.ReasonService, client, step)
	}
	if grown := heap() - before; grown > 64<<10 {
		t.Errorf("the heap grew by %d octets", grown)
	}
	all := c.Counts(math.MaxInt)
	if all.Dropped != 0 {
		t.Errorf("dropped %d counts, though nobody else counted", all.Dropped)
	}
	if n := len(all.Names); n > nameSets*ways {
		t.Errorf("keeps %d names, want %d at most", n, nameSets*ways)
	}
	// The names of a set that are not its heavy ones share what is left, and there are at most a few heavy ones in a set.
	if limit := 2 * float64(queries) / (nameSets * ways); all.UnlistedNames > limit {
		t.Errorf("names that are not listed were counted %.0f times at most, want %.0f or less", all.UnlistedNames, limit)
	}
	if limit := 2 * float64(queries) / (clientSets * ways); all.UnlistedClients > limit {
		t.Errorf("clients that are not listed were counted %.0f times at most, want %.0f or less", all.UnlistedClients, limit)
	}
	listed := make(map[string]bool)
	for _, name := range all.Names {
		listed[name.Name] = true
		exact := names[name.Name]
		if exact == 0 {
			exact = 1 // a random name
		}
		if exact > name.Count || exact < name.Count-name.Over {
			t.Errorf("%s: was asked for %.0f times, got %.0f, of which %.0f may be too many", name.Name, exact, name.Count, name.Over)
		}
	}
	for name, exact := range names {
		if exact > all.UnlistedNames && !listed[name] {
			t.Errorf("%s is not listed, though it was asked for %.0f times and what is not listed %.0f times at most", name, exact, all.UnlistedNames)
		}
	}
	if first := all.Names[0]; names[first.Name] < names[heavyNames[0]]-2*all.UnlistedNames {
		t.Errorf("the first is %s, which was asked for %.0f times, want one like %s with %.0f", first.Name, names[first.Name],
			heavyNames[0], names[heavyNames[0]])
	}
	seen := make(map[netip.Addr]bool)
	for _, client := range all.Clients {
		seen[client.Addr] = true
		if exact := clients[client.Addr]; exact > client.Count || exact < client.Count-client.Over {
			t.Errorf("%v: asked %.0f times, got %.0f, of which %.0f may be too many", client.Addr, exact, client.Count, client.Over)
		}
		if exact := steps[client.Addr]; client.Steps > exact || exact > client.Steps+client.Over {
			t.Errorf("%v: took %.0f steps, got %.0f, which may be %.0f too few", client.Addr, exact, client.Steps, client.Over)
		}
	}
	for client, exact := range clients {
		if exact > all.UnlistedClients && !seen[client] {
			t.Errorf("%v is not listed, though it asked %.0f times and who is not listed %.0f times at most", client, exact, all.UnlistedClients)
		}
	}
	t.Logf("%d queries: what is not listed was counted %.0f times at most (names), %.0f times (clients); %d octets", queries,
		all.UnlistedNames, all.UnlistedClients, Memory)
}

// heap returns how many octets are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMemoryIsWhatIsStated: all that a counter has is made at once, and it takes what docs/insight.md says.
func TestMemoryIsWhatIsStated(t *testing.T) {
	before := heap()
	c := NewCounter(start)
	took := int(heap() - before)
	if took > Memory+32<<10 || took < Memory/2 { // size classes
		t.Errorf("a counter takes %d octets, want about %d", took, Memory)
	}
	if Memory > 1<<20 {
		t.Errorf("a counter takes %d octets, want less than a MiB", Memory)
	}
	n := 0
	allocs := testing.AllocsPerRun(10_000, func() {
		n++
		c.CountAnswer()
		c.CountDenial(someNames[n%len(someNames)], dns.TypeA, index.ReasonService, clientAt(n), n%2 == 0)
	})
	if allocs > 0 {
		t.Errorf("a query makes %v allocations, want none", allocs)
	}
	runtime.KeepAlive(c)
}

// numNames is a power of two, by which dividing costs nothing.
const numNames = 1 << 14

// someNames are names that are not there.
var someNames = func() (names [numNames]string) {
	for n := range names {
		names[n] = fmt.Sprintf("name-%d.web.default.svc.cluster.local.", n)
	}
	return names
}()

// TestCountsDecay: a query counts half after the half-life, however long the server runs.
func TestCountsDecay(t *testing.T) {
	for _, since := range []time.Duration{0, time.Hour, epochLength*halfLife - time.Second, 400 * 24 * time.Hour} {
		c := NewCounter(start)
		at := func(later time.Duration) { c.Tick(start.Add(since + later)) }
		at(0)
		client := clientAt(1)
		for range 8 {
			c.CountDenial("a.", dns.TypeA, index.ReasonPort, client, true)
		}
		at(0)
		for half, want := range []float64{8, 4, 2, 1} {
			at(time.Duration(half) * halfLife)
			all := c.Counts(10)
			for what, got := range map[string]float64{
				"name": all.Names[0].Count, "client": all.Clients[0].Count, "steps": all.Wasters[0].Steps, "reason": all.Reasons[0].Count,
			} {
				if math.Abs(got-want) > 1e-6 {
					t.Errorf("after %v and %d half-lives: %s counts %v, want %v", since, half, what, got, want)
				}
			}
		}
		c.CountDenial("b.", dns.TypeA, index.ReasonPort, client, false)
		if all := c.Counts(10); math.Abs(all.Clients[0].Count-2) > 1e-6 || math.Abs(all.Clients[0].Steps-1) > 1e-6 {
			t.Errorf("after %v: the client has %+v, want 2 queries with 1 step", since, all.Clients[0])
		}
		at(3 * halfLife)
		at(20 * halfLife)
		if all := c.Counts(10); len(all.Names)+len(all.Clients)+len(all.Reasons) > 0 {
			t.Errorf("after %v and 20 half-lives: still there are %+v, %+v and %+v", since, all.Names, all.Clients, all.Reasons)
		}
	}
}

// TestAQueryOfAnEarlierEpoch: one that began before others brought the set into their epoch weighs what it should.
func TestAQueryOfAnEarlierEpoch(t *testing.T) {
	s := newSketch[clientKey](1)
	late, early := momentOf(epochLength*halfLife), momentOf(epochLength*halfLife-halfLife)
	s.sets[0].count(1, late, false)
	s.sets[0].count(1, early, false)
	if got := s.sets[0].at(0, late).count; math.Abs(got-1.5) > 1e-6 {
		t.Errorf("counts %v, want 1.5", got)
	}
}

func TestWhatIsKeptOfANameAndAClient(t *testing.T) {
	c := NewCounter(start)
	long := strings.Repeat(`\000`, 250) + ".default.svc.cluster.local."
	for n := range 5 {
		c.CountDenial("web-3.web.default.svc.cluster.local.", dns.TypeAAAA, index.ReasonHostname, clientAt(n%4), false)
	}
	c.CountDenial("web-3.web.default.svc.cluster.local.", dns.TypeA, index.ReasonNotReady, netip.MustParseAddr("fd00::1"), false)
	c.CountDenial(long, dns.TypeA, index.ReasonSyntax, netip.Addr{}, true)
	c.Tick(start.Add(3 * time.Second))
	all := c.Counts(10)
	want := Name{
		Name: "web-3.web.default.svc.cluster.local.", Reason: index.ReasonHostname, Type: dns.TypeAAAA, Count: all.Names[0].Count,
		Ago: 3 * time.Second, Clients: []netip.Addr{clientAt(0), clientAt(3), clientAt(2)},
	}
	if got := all.Names[0]; !reflect.DeepEqual(got, want) || math.Abs(got.Count-5) > 0.1 {
		t.Errorf("got %+v, want %+v with 5 queries", got, want)
	}
	if len(all.Names) != 3 {
		t.Fatalf("got %+v, want one more name for another reason, and a long one", all.Names)
	}
	for _, name := range all.Names {
		if name.Reason == index.ReasonSyntax && (name.Name != long[:maxName] || !name.IsStep || name.Clients != nil) {
			t.Errorf("got %+v, want the first %d octets of a long name, which nobody known asked for", name, maxName)
		}
	}
	if got := all.Clients[0]; got.Addr != clientAt(0) || got.Name != want.Name || got.Reason != index.ReasonHostname {
		t.Errorf("got %+v, want the client that asked twice, and what for", got)
	}
	if len(all.Wasters) != 1 || all.Wasters[0].Addr.IsValid() {
		t.Errorf("got the wasters %+v, want one that is not known", all.Wasters)
	}
	if short := c.Counts(1); len(short.Names) != 1 || len(short.Clients) != 1 {
		t.Errorf("got %d names and %d clients, want one of each", len(short.Names), len(short.Clients))
	}
}

func TestSeconds(t *testing.T) {
	c := NewCounter(start)
	c.CountAnswer()
	c.Tick(start.Add(time.Second))
	c.CountAnswer()
	c.CountFailure()
	c.CountPassed()
	c.CountDenial("a.", dns.TypeA, index.ReasonPort, netip.Addr{}, false)
	c.CountDenial("a.", dns.TypeA, index.ReasonService, netip.Addr{}, false)
	c.Tick(start.Add(4 * time.Second)) // the machine was busy
	want := []Second{{}, {Answers: 1}, {}, {}, {Answers: 1, Denials: 2, Failures: 1, Passed: 1}}
	if got := c.Counts(0).Seconds; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	c.Tick(start.Add(time.Hour))
	if got := c.Counts(0).Seconds; len(got) != seconds || !reflect.DeepEqual(got, make([]Second, seconds)) {
		t.Errorf("an hour later: got %d seconds, want %d without a query", len(got), seconds)
	}
}

// TestManyCountAtOnce: whoever meets somebody else at a set goes on, and what is not counted for that is counted as dropped.
func TestManyCountAtOnce(t *testing.T) {
	c := NewCounter(start)
	const workers, each = 8, 20_000
	var running sync.WaitGroup
	for n := range workers {
		running.Go(func() {
			for i := range each {
				c.CountDenial("hot.default.svc.cluster.local.", dns.TypeA, index.ReasonService, clientAt(n), false)
				if i%1000 == 0 {
					c.Counts(10)
				}
			}
		})
	}
	running.Wait()
	c.Tick(start)
	all := c.Counts(100)
	counted := all.Names[0].Count
	for _, client := range all.Clients {
		counted += client.Count
	}
	if got := counted + float64(all.Dropped); got != 2*workers*each {
		t.Errorf("counted %.0f and dropped %d, want %d together", counted, all.Dropped, 2*workers*each)
	}
	if all.Reasons[0].Count != workers*each {
		t.Errorf("the reason counts %.0f, want %d", all.Reasons[0].Count, workers*each)
	}
}

// BenchmarkCount measures what a query costs: an answer, a name that one client asks for, one that many ask for, and names
// that nobody asked for before, each from another client.
func BenchmarkCount(b *testing.B) {
	client := clientAt(1)
	var clients [numNames]netip.Addr // made before, and names too: a query has both
	for n := range clients {
		clients[n] = clientAt(n * 7)
	}
	for _, kind := range []struct {
		name string
		do   func(c *Counter, n int)
	}{
		{"answer", func(c *Counter, _ int) { c.CountAnswer() }},
		{"hot", func(c *Counter, _ int) {
			c.CountDenial(someNames[0], dns.TypeA, index.ReasonService, client, true)
		}},
		{"spread", func(c *Counter, n int) {
			c.CountDenial(someNames[0], dns.TypeA, index.ReasonService, clients[n%numNames], true)
		}},
		{"random", func(c *Counter, n int) {
			c.CountDenial(someNames[n%numNames], dns.TypeA, index.ReasonService, clients[n%numNames], true)
		}},
	} {
		b.Run(kind.name, func(b *testing.B) {
			c, n := NewCounter(start), 0
			b.ReportAllocs()
			for b.Loop() {
				n++
				kind.do(c, n)
			}
		})
		b.Run(kind.name+"-parallel", func(b *testing.B) {
			c := NewCounter(start)
			b.RunParallel(func(pb *testing.PB) {
				for n := rand.IntN(1000); pb.Next(); n++ {
					kind.do(c, n)
				}
			})
			b.ReportMetric(float64(c.Counts(0).Dropped)/float64(b.N)/2, "dropped/count")
		})
	}
}
