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
type sketch struct {
	sets    []set
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

// set is the most frequent keys among those whose hashes choose it.
type set struct {
	busy   atomic.Bool // somebody is at the fields below, and at what the user of the sketch keeps of the keys
	epoch  int64       // whose weights the counts are sums of
	hashes [ways]uint64
	counts [ways]float64 // 0 where there is no key
	overs  [ways]float64 // how much of the count may be other keys'
	parts  [ways]float64 // how much of the count, less over, is of a certain kind
}

// newSketch returns a sketch with so many sets, a power of two.
func newSketch(sets int) sketch { return sketch{sets: make([]set, sets)} }

// take returns the set of a hash, and where its keys begin among those of all sets, or nil if somebody else is
// at it. It has to be given back.
func (k *sketch) take(hash uint64) (s *set, first int) {
	at := int(hash) & (len(k.sets) - 1) //nolint:gosec // the low bits are wanted
	if s = &k.sets[at]; !s.busy.CompareAndSwap(false, true) {
		k.dropped.Add(1)
		return nil, 0
	}
	return s, at * ways
}

// wait is for those who read: it returns once nobody else is at s.
func (s *set) wait() {
	for !s.busy.CompareAndSwap(false, true) {
		runtime.Gosched()
	}
}

func (s *set) give() { s.busy.Store(false) }

// count counts a key at a moment, and returns which of the set's it is. It is fresh if it was not there.
func (s *set) count(hash uint64, m *moment, isPart bool) (way int, fresh bool) {
	weight := s.weight(m)
	for way < ways && s.hashes[way] != hash {
		way++
	}
	if fresh = way == ways; fresh {
		way = s.leastWay()
		s.hashes[way], s.overs[way], s.parts[way] = hash, s.counts[way], 0
	}
	s.counts[way] += weight
	if isPart {
		s.parts[way] += weight
	}
	return way, fresh
}

// leastWay returns the way of a key with the least count, or almost: the bits of floating-point numbers that are
// not negative are in their order, and the last of them make room for the way. So there is no branch to guess, and
// half of the ways need not wait for the other half.
func (s *set) leastWay() int {
	least, other := uint64(math.MaxUint64), uint64(math.MaxUint64)
	for way := uint64(0); way < ways; way += 2 {
		least = min(least, math.Float64bits(s.counts[way])&^(ways-1)|way)
		other = min(other, math.Float64bits(s.counts[way+1])&^(ways-1)|(way+1))
	}
	return int(min(least, other) & (ways - 1))
}

// weight returns how much a query at m counts. It brings the counts into the epoch of m; a query that began
// before that somebody else did so counts in theirs.
func (s *set) weight(m *moment) float64 {
	if s.epoch == m.epoch {
		return m.weight
	}
	if s.epoch > m.epoch {
		return m.weight * math.Exp2(float64(m.epoch-s.epoch)*epochLength)
	}
	factor := math.Exp2(float64(s.epoch-m.epoch) * epochLength)
	for i := range ways {
		s.counts[i] *= factor
		s.overs[i] *= factor
		s.parts[i] *= factor
	}
	s.epoch = m.epoch
	return m.weight
}

// tally is what a sketch says of a key.
type tally struct{ count, over, part float64 }

// at returns what s says at m of the key in a way.
func (s *set) at(way int, m *moment) tally {
	weight := s.weight(m)
	return tally{s.counts[way] / weight, s.overs[way] / weight, s.parts[way] / weight}
}

// least returns how often a key that is not in s was counted at most.
func (s *set) least(m *moment) float64 {
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
