package insight

import (
	"math"
	"runtime"
	"sync/atomic"
	"time"
)

// sketch counts the most frequent of any number of keys in a fixed room, by the Space-Saving algorithm of
// Metwally, Agrawal and El Abbadi (2005), once for each of many sets: a key's hash chooses its set, and a new
// key takes the place of the least frequent one of the set and inherits its count. So
//
//   - a key that is there was counted at most count times, and at least count - over times;
//   - a key that is not there was counted no more often than the least frequent one of its set, which is at
//     most the number of queries of the set divided by ways.
//
// Counts decay: what was counted a half-life ago counts half. Nobody who counts waits for anybody.
type sketch[K any] struct {
	sets    []set[K]
	dropped atomic.Uint64 // what was not counted because somebody else was at the set
}

const (
	// ways is how many keys a set has.
	ways = 8
	// halfLife is the time after which a query counts half.
	halfLife = 5 * time.Minute
	// epochLength is after how many half-lives the counts are divided by what has become the weight of a query.
	epochLength = 64
)

// set is the most frequent keys among those whose hashes choose it. What a query looks at of all keys lies together, and so
// does what it writes of one.
type set[K any] struct {
	busy   atomic.Bool // somebody is at the fields below
	epoch  int64       // whose weights the counts are sums of
	hashes [ways]uint64
	counts [ways]float64 // 0 where there is no key
	keys   [ways]entry[K]
}

// entry is what is kept of a key, besides its hash and its count.
type entry[K any] struct {
	over float64 // how much of the count may be other keys'
	part float64 // how much of the count, less over, is of a certain kind
	key  K       // what the user of the sketch keeps
}

// newSketch returns a sketch with so many sets, a power of two.
func newSketch[K any](sets int) sketch[K] { return sketch[K]{sets: make([]set[K], sets)} }

// take returns the set of a hash, or nil if somebody else is at it. It has to be given back.
func (k *sketch[K]) take(hash uint64) *set[K] {
	s := &k.sets[int(hash)&(len(k.sets)-1)] //nolint:gosec // the low bits are wanted
	if !s.busy.CompareAndSwap(false, true) {
		k.dropped.Add(1)
		return nil
	}
	return s
}

// wait is for those who read: it returns once nobody else is at s.
func (s *set[K]) wait() {
	for !s.busy.CompareAndSwap(false, true) {
		runtime.Gosched()
	}
}

func (s *set[K]) give() { s.busy.Store(false) }

// count counts a key at a moment, and returns what is kept of it. It is fresh if it was not there: then the key is that of
// another one.
func (s *set[K]) count(hash uint64, m *moment, isPart bool) (key *K, fresh bool) {
	weight, way := m.weight, 0
	if s.epoch != m.epoch {
		weight = s.weight(m)
	}
	part := 0.
	if isPart {
		part = weight
	}
	for way < ways && s.hashes[way] != hash {
		way++
	}
	if fresh = way == ways; fresh {
		way = s.leastWay()
		e := &s.keys[way] // which is written and not read, so that nobody waits for memory
		e.over, e.part = s.counts[way], part
		s.hashes[way] = hash
	} else {
		s.keys[way].part += part
	}
	s.counts[way] += weight
	return &s.keys[way].key, fresh
}

// leastWay returns the way of a key with the least count, or almost: the bits of floating-point numbers that are
// not negative are in their order, and the last of them make room for the way. No branch depends on the counts,
// which nobody can guess.
func (s *set[K]) leastWay() int {
	least := lesser(
		lesser(lesser(s.ranked(0), s.ranked(1)), lesser(s.ranked(2), s.ranked(3))),
		lesser(lesser(s.ranked(4), s.ranked(5)), lesser(s.ranked(6), s.ranked(7))))
	return int(least & (ways - 1))
}

// ranked returns a number that is in the order of counts, and has the way in its last bits.
func (s *set[K]) ranked(way int) int64 {
	return int64(math.Float64bits(s.counts[way])&^(ways-1)) | int64(way) //nolint:gosec // the sign is +
}

// lesser returns the lesser of two numbers, whose difference is in range. The compiler makes branches of min.
func lesser(a, b int64) int64 { return b + (a-b)&((a-b)>>63) }

// weight returns how much a query at m counts. It brings the counts into the epoch of m; a query that began
// before that somebody else did so counts in theirs.
func (s *set[K]) weight(m *moment) float64 {
	if s.epoch >= m.epoch {
		return m.weight * math.Exp2(float64(m.epoch-s.epoch)*epochLength)
	}
	factor := math.Exp2(float64(s.epoch-m.epoch) * epochLength)
	for i := range ways {
		s.counts[i] *= factor
		s.keys[i].over *= factor
		s.keys[i].part *= factor
	}
	s.epoch = m.epoch
	return m.weight
}

// tally is what a sketch says of a key.
type tally struct{ count, over, part float64 }

// at returns what s says at m of the key in a way.
func (s *set[K]) at(way int, m *moment) tally {
	weight := s.weight(m)
	return tally{s.counts[way] / weight, s.keys[way].over / weight, s.keys[way].part / weight}
}

// least returns how often a key that is not in s was counted at most.
func (s *set[K]) least(m *moment) float64 {
	least := math.Inf(+1)
	for i := range ways {
		least = min(least, s.at(i, m).count)
	}
	return least
}

// moment is what those who count have to know of the time.
type moment struct {
	epoch  int64
	weight float64 // of a query
	second int64   // since the start
}

// momentOf returns the moment at a time after the start.
func momentOf(passed time.Duration) *moment {
	halves := passed.Seconds() / halfLife.Seconds()
	epoch := math.Floor(halves / epochLength)
	return &moment{
		epoch: int64(epoch), weight: math.Exp2(halves - epoch*epochLength), second: int64(passed / time.Second),
	}
}
