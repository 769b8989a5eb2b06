// Package insight knows, in a fixed room, who asks what fails and why, and shows it with what a server holds:
// by HTTP, to people and programs. Names and clients stand here and nowhere in metrics, whose labels are kept
// forever.
package insight

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/coredns-headless/headless/internal/index"
)

const (
	nameSets   = 128 // of ways names
	clientSets = 256 // of ways clients
	maxName    = 255 // octets of a name that are kept
	askers     = 3   // clients that are kept of a name
	seconds    = 600 // of which it is kept how many queries there were
)

// Memory is how many octets a Counter takes, whatever is asked.
const Memory = nameSets*int(unsafe.Sizeof(set[nameKey]{})) + clientSets*int(unsafe.Sizeof(set[clientKey]{})) +
	int(unsafe.Sizeof(Counter{}))

// Counter counts queries. The methods that begin with Count are for those who answer queries: they wait for
// nobody and allocate nothing. Those of a nil Counter do nothing.
type Counter struct {
	seed   maphash.Seed
	secret [2]uint64
	now    atomic.Pointer[moment]

	answers, failures, passed atomic.Uint64
	denials                   [index.NumReasons]atomic.Uint64

	names       sketch[nameKey]
	clients     sketch[clientKey]
	mu          sync.Mutex // guards the fields below
	start       time.Time
	ring        [seconds]Second // at the position of the second, modulo the length
	seen        Second          // what was counted up to the last tick, wrapping around
	seenDenials [index.NumReasons]uint64
	reasons     [index.NumReasons]float64 // decayed
	ticked      time.Duration             // when, after the start
}

// Second is how many queries there were in one second.
type Second struct {
	Answers  uint32 `json:"answers"`  // queries that were answered with records
	Denials  uint32 `json:"denials"`  // for names that have none, or do not exist
	Failures uint32 `json:"failures"` // SERVFAIL
	Passed   uint32 `json:"passed"`   // that another plugin answered
}

// nameKey is what is kept of a name that fails.
type nameKey struct {
	last    int64 // the second of the last query
	clients [askers]octets
	qtype   uint16 // of the last query
	reason  index.Reason
	length  uint8
	name    [maxName]byte // most are short, and then the rest is not touched
}

// clientKey is what is kept of a client whose queries fail.
type clientKey struct {
	addr   octets
	reason index.Reason // of the last query
	name   uint64       // the hash of its name
	last   int64
}

// octets are those of an address, IPv4-mapped if it is an IPv4 address; the zero value is that of nobody. Two numbers are
// kept in registers, which 16 octets are not.
type octets struct{ high, low uint64 }

func octetsOf(addr netip.Addr) octets {
	all := addr.As16()
	return octets{binary.BigEndian.Uint64(all[:8]), binary.BigEndian.Uint64(all[8:])}
}

// addr returns the address, which is not valid if it is nobody's.
func (o octets) addr() netip.Addr {
	if o == (octets{}) {
		return netip.Addr{}
	}
	var all [16]byte
	binary.BigEndian.PutUint64(all[:8], o.high)
	binary.BigEndian.PutUint64(all[8:], o.low)
	return netip.AddrFrom16(all).Unmap()
}

// hash returns a hash of o, which nobody can foresee without the secret.
func (o octets) hash(secret *[2]uint64) uint64 {
	high, low := bits.Mul64(o.high^secret[0], o.low^secret[1])
	return high ^ low
}

// NewCounter returns a Counter that begins at start.
func NewCounter(start time.Time) *Counter {
	c := &Counter{
		seed: maphash.MakeSeed(), secret: [2]uint64{rand.Uint64(), rand.Uint64()}, start: start,
		names: newSketch[nameKey](nameSets), clients: newSketch[clientKey](clientSets),
	}
	c.now.Store(momentOf(0))
	return c
}

// Begin makes now the start of c, of which nobody has asked anything yet.
func (c *Counter) Begin(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.start = now
}

// CountAnswer counts a query that is answered with records.
func (c *Counter) CountAnswer() {
	if c != nil {
		c.answers.Add(1)
	}
}

// CountFailure counts a query that is answered with SERVFAIL.
func (c *Counter) CountFailure() {
	if c != nil {
		c.failures.Add(1)
	}
}

// CountPassed counts a query that another plugin answers.
func (c *Counter) CountPassed() {
	if c != nil {
		c.passed.Add(1)
	}
}

// CountDenial counts a query of a client for a lower-case name that has no record of that type, and why. isStep says
// that it looks like a step of a search list. A name that has records of other types does not fail: programs ask for
// IPv6 addresses as well wherever there are only IPv4 ones.
func (c *Counter) CountDenial(name string, qtype uint16, r index.Reason, client netip.Addr, isStep bool) {
	if c == nil {
		return
	}
	if c.denials[r].Add(1); r == index.ReasonType {
		return
	}
	m, addr := c.now.Load(), octetsOf(client)
	hash := (maphash.String(c.seed, name) ^ uint64(r)) | 1<<63 // 0 stands for no name
	if s := c.names.take(hash); s != nil {
		k, fresh := s.count(hash, m, isStep)
		if fresh {
			k.length = uint8(copy(k.name[:], name)) //nolint:gosec // at most maxName
			k.reason = r
			clear(k.clients[1:])
			k.clients[0] = addr
		} else {
			k.asked(addr)
		}
		k.qtype, k.last = qtype, m.second
		s.give()
	}
	clientHash := addr.hash(&c.secret) | 1<<63
	if s := c.clients.take(clientHash); s != nil {
		k, _ := s.count(clientHash, m, isStep)
		k.addr, k.reason, k.name, k.last = addr, r, hash, m.second
		s.give()
	}
}

// asked puts a client first among those that asked for k last.
func (k *nameKey) asked(client octets) {
	at := 0
	for at < askers-1 && k.clients[at] != client {
		at++
	}
	copy(k.clients[1:at+1], k.clients[:at])
	k.clients[0] = client
}

// Tick notes what the time is, and what was counted since it was called last. It is to be called every second.
func (c *Counter) Tick(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := now.Sub(c.start)
	m := momentOf(passed)
	before := c.now.Load()
	for second := max(before.second+1, m.second-seconds+1); second <= m.second; second++ {
		c.ring[second%seconds] = Second{}
	}
	c.now.Store(m)
	decay := math.Exp2(-(passed - c.ticked).Seconds() / halfLife.Seconds())
	c.ticked = passed
	all := Second{Answers: uint32(c.answers.Load()), Failures: uint32(c.failures.Load()), Passed: uint32(c.passed.Load())} //nolint:gosec // wraps around
	for r := range c.denials {
		n := c.denials[r].Load()
		all.Denials += uint32(n) //nolint:gosec // as above
		c.reasons[r] = c.reasons[r]*decay + float64(n-c.seenDenials[r])
		c.seenDenials[r] = n
	}
	at := &c.ring[m.second%seconds]
	at.Answers += all.Answers - c.seen.Answers
	at.Denials += all.Denials - c.seen.Denials
	at.Failures += all.Failures - c.seen.Failures
	at.Passed += all.Passed - c.seen.Passed
	c.seen = all
}

// Counts is what a Counter knows. A count is of queries, each of which counts half after five minutes.
type Counts struct {
	Seconds []Second // the latest last; as many as there were, at most ten minutes
	Reasons []Reason // the most frequent first
	Names   []Name   // that fail, the most frequent first
	Clients []Client // whose queries fail, the most frequent first
	// Wasters are clients again, those with the most queries that look like steps of search lists first.
	Wasters []Client
	// A name, with one reason, that the Counter does not know was counted at most UnlistedNames times, and a client at
	// most UnlistedClients times. Those that it knows, and that are left out of the lists here, may have more.
	UnlistedNames, UnlistedClients float64
	// Dropped is how many counts were left out because two queries would have had to wait for each other.
	Dropped uint64
}

// Reason is how often queries were denied for one reason.
type Reason struct {
	Reason index.Reason
	Count  float64
}

// Name is a name that fails for one reason. Count is at most Over too great.
type Name struct {
	Name        string // lower case, the first 255 octets
	Reason      index.Reason
	Type        uint16 // that the last query was of
	Count, Over float64
	IsStep      bool          // it looks like a step of a search list
	Ago         time.Duration // since the last query
	Clients     []netip.Addr  // some that asked, the last one first
}

// Client is one whose queries fail. Count is at most Over too great, Steps at most as much too small.
type Client struct {
	Addr               netip.Addr // not valid if it is not known
	Count, Over, Steps float64
	Reason             index.Reason // of the last query
	Name               string       // of the last query, "" if it is not known any more
	Ago                time.Duration
}

// Counts returns what c knows: of each list the first n.
func (c *Counter) Counts(n int) *Counts {
	all := &Counts{Dropped: c.names.dropped.Load() + c.clients.dropped.Load()}
	m := c.now.Load()
	c.mu.Lock()
	for second := max(0, m.second-seconds+1); second <= m.second; second++ {
		all.Seconds = append(all.Seconds, c.ring[second%seconds])
	}
	for r, count := range c.reasons {
		if count >= leastCount {
			all.Reasons = append(all.Reasons, Reason{index.Reason(r), count})
		}
	}
	c.mu.Unlock()
	ago := func(second int64) time.Duration { return time.Duration(max(0, m.second-second)) * time.Second }
	names := make(map[uint64]string)
	c.names.each(m, &all.UnlistedNames, func(k *nameKey, hash uint64, t tally) {
		name := Name{
			Name: string(k.name[:k.length]), Reason: k.reason, Type: k.qtype, Count: t.count, Over: t.over, IsStep: t.part > 0,
			Ago: ago(k.last),
		}
		for _, addr := range k.clients {
			if addr != (octets{}) {
				name.Clients = append(name.Clients, addr.addr())
			}
		}
		names[hash] = name.Name
		all.Names = append(all.Names, name)
	})
	c.clients.each(m, &all.UnlistedClients, func(k *clientKey, _ uint64, t tally) {
		all.Clients = append(all.Clients, Client{
			Addr: k.addr.addr(), Count: t.count, Over: t.over, Steps: t.part, Reason: k.reason, Name: names[k.name], Ago: ago(k.last),
		})
	})
	for _, client := range all.Clients {
		if client.Steps >= leastCount {
			all.Wasters = append(all.Wasters, client)
		}
	}
	byCount := func(a, b Client) int { return cmp.Or(cmp.Compare(b.Count, a.Count), a.Addr.Compare(b.Addr)) }
	all.Reasons = first(n, all.Reasons, func(a, b Reason) int { return cmp.Compare(b.Count, a.Count) })
	all.Names = first(n, all.Names, func(a, b Name) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Reason, b.Reason))
	})
	all.Clients = first(n, all.Clients, byCount)
	all.Wasters = first(n, all.Wasters, func(a, b Client) int { return cmp.Or(cmp.Compare(b.Steps, a.Steps), byCount(a, b)) })
	return all
}

// leastCount is the least count that is told: a query of half an hour ago.
const leastCount = 1. / 64

// each calls do for the keys of k, and raises unlisted to what the others may count.
func (k *sketch[K]) each(m *moment, unlisted *float64, do func(key *K, hash uint64, t tally)) {
	for i := range k.sets {
		s := &k.sets[i]
		s.wait()
		for way, hash := range s.hashes {
			if t := s.at(way, m); hash != 0 && t.count >= leastCount {
				do(&s.keys[way].key, hash, t)
			}
		}
		*unlisted = max(*unlisted, s.least(m))
		s.give()
	}
}

// first returns the first n of list, in order.
func first[T any](n int, list []T, compare func(a, b T) int) []T {
	slices.SortFunc(list, compare)
	return slices.Clip(list[:min(n, len(list))])
}
