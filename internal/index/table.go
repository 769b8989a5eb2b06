package index

import (
	"hash/maphash"
	"iter"
	"slices"
)

// table finds values of type E by a key that many may share. The values are linked through a field
// of their own, so that the table costs little more than that: 8 to 10 octets a value, where a map
// costs 40 and more. It grows and shrinks by one chain at a time (linear hashing, Litwin 1980), so
// that no change waits until all are moved.
//
// To go through the values of one key, without changing the table meanwhile:
//
//	for e := t.first(k); e != nil; e = t.after(e) {
type table[K comparable, E any] struct {
	key    func(*E) K   // the value's key; it does not change while the value is in the table
	next   func(*E) **E // the field that links the values of one chain
	seed   maphash.Seed
	chains []*E
	n      int // values; between half as many as chains and as many
	level  int // the greatest power of two below the number of chains; 1 for one chain
}

func newTable[K comparable, E any](key func(*E) K, next func(*E) **E) table[K, E] {
	return table[K, E]{key: key, next: next, seed: maphash.MakeSeed(), chains: make([]*E, 1), level: 1}
}

// chain returns the position of the chain that holds the values with key k.
func (t *table[K, E]) chain(k K) int {
	hash := int(maphash.Comparable(t.seed, k) >> 1)
	if i := hash & (2*t.level - 1); i < len(t.chains) {
		return i
	}
	return hash & (t.level - 1)
}

// first returns one of the values with key k, or nil.
func (t *table[K, E]) first(k K) *E { return t.find(t.chains[t.chain(k)], k) }

// after returns another value with the key of e, or nil when first and after have returned all of them.
func (t *table[K, E]) after(e *E) *E { return t.find(*t.next(e), t.key(e)) }

// find returns the first value with key k in the chain from e on, or nil.
func (t *table[K, E]) find(e *E, k K) *E {
	for e != nil && t.key(e) != k {
		e = *t.next(e)
	}
	return e
}

// all yields all values. The table must not change meanwhile.
func (t *table[K, E]) all() iter.Seq[*E] {
	return func(yield func(*E) bool) {
		for _, e := range t.chains {
			for ; e != nil; e = *t.next(e) {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// add puts e, which is not in the table, before the others with its key.
func (t *table[K, E]) add(e *E) {
	*t.next(e) = nil
	t.place(e)
	if t.n++; t.n > len(t.chains) {
		t.split()
	}
}

// remove takes e, which is in the table, out of it.
func (t *table[K, E]) remove(e *E) {
	link := &t.chains[t.chain(t.key(e))]
	for *link != e {
		link = t.next(*link)
	}
	*link, *t.next(e) = *t.next(e), nil
	for t.n--; t.n < len(t.chains)/2; {
		t.merge()
	}
}

// removeAll takes those of the values with key k that are gone out of the table.
func (t *table[K, E]) removeAll(k K, isGone func(*E) bool) {
	for link := &t.chains[t.chain(k)]; *link != nil; {
		if e := *link; t.key(e) == k && isGone(e) {
			*link, *t.next(e) = *t.next(e), nil
			t.n--
		} else {
			link = t.next(e)
		}
	}
	for t.n < len(t.chains)/2 {
		t.merge()
	}
}

// place puts e, and those linked behind it, where they belong.
func (t *table[K, E]) place(e *E) {
	for e != nil {
		behind, i := *t.next(e), t.chain(t.key(e))
		*t.next(e), t.chains[i] = t.chains[i], e
		e = behind
	}
}

// reserve makes room for n values in all: while the table has no more, adding one splits no chain.
func (t *table[K, E]) reserve(n int) {
	t.chains = slices.Grow(t.chains, max(0, n-len(t.chains)))
	for len(t.chains) < n {
		t.split()
	}
}

// split divides the chain whose turn it is between itself and a new one.
func (t *table[K, E]) split() {
	if len(t.chains) == 2*t.level {
		t.level *= 2
	}
	i := len(t.chains) - t.level
	e := t.chains[i]
	t.chains[i] = nil
	t.chains = append(t.chains, nil)
	t.place(e)
}

// merge is the inverse of split.
func (t *table[K, E]) merge() {
	last := len(t.chains) - 1
	e := t.chains[last]
	t.chains[last] = nil
	t.chains = shrink(t.chains[:last])
	if last == t.level && last > 1 {
		t.level /= 2
	}
	t.place(e)
}
