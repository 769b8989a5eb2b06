package index

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

type item struct {
	key  int
	next *item
}

func newItems() table[int, item] {
	return newTable(func(i *item) int { return i.key }, func(i *item) **item { return &i.next })
}

// check compares t with the items that it should hold and verifies its invariants.
func checkItems(t *table[int, item], items map[*item]bool, keys int) error {
	if n := len(t.chains); t.n != len(items) || t.n > n || t.n < n/2 || n > 1 && (t.level >= n || n > 2*t.level) {
		return fmt.Errorf("%d items, want %d; %d chains, level %d", t.n, len(items), n, t.level)
	}
	seen := make(map[*item]bool)
	for k := range keys {
		for i := t.first(k); i != nil; i = t.after(i) {
			if i.key != k || !items[i] || seen[i] {
				return fmt.Errorf("key %d leads to an item of key %d, in the table %v, seen before %v", k, i.key, items[i], seen[i])
			}
			seen[i] = true
		}
	}
	if len(seen) != len(items) {
		return fmt.Errorf("%d items are found by their keys, want %d", len(seen), len(items))
	}
	all := 0
	for range t.all() {
		all++
	}
	if all != len(items) {
		return fmt.Errorf("%d items in all, want %d", all, len(items))
	}
	return nil
}

func TestTableHoldsWhatWasAddedAndNotRemoved(t *testing.T) {
	const keys = 40
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		table, items := newItems(), make(map[*item]bool)
		for step := range 600 {
			// It grows in the first half and is emptied in the second.
			if r.IntN(600) > step {
				i := &item{key: r.IntN(keys)}
				items[i] = true
				table.add(i)
			} else {
				for i := range items {
					delete(items, i)
					table.remove(i)
					break
				}
			}
			if err := checkItems(&table, items, keys); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, step, err)
			}
		}
	}
}

// TestTablesAndListsShrink: what is not used any more goes back.
func TestTablesAndListsShrink(t *testing.T) {
	table := newItems()
	for k := range 10000 {
		table.add(&item{key: k})
	}
	for k := range 9999 {
		table.remove(table.first(k))
	}
	if got := cap(table.chains); got > 256 {
		t.Errorf("a table of one that had 10,000: got room for %d chains, want 256 at most", got)
	}
	for _, c := range []struct{ room, left, most int }{
		{10, 0, 0},
		{1000, 0, 0},
		{1000, 249, 300},
		{1000, 250, 1000},
	} {
		if got := cap(shrink(make([]byte, c.left, c.room))); got > c.most {
			t.Errorf("a list of %d with room for %d: got room for %d, want %d at most", c.left, c.room, got, c.most)
		}
	}
}
