package model

import (
	"iter"
	"slices"
	"strings"
	"unique"
)

// Location is where an endpoint or a client is. What is not known is "".
type Location struct {
	Zone string // the topology zone, lower case
	Node string
}

// Place is what a slice says of where an endpoint is, and of the clients that it is meant for.
type Place struct {
	Location
	Zonal bool // there are names of Zone
	// ForZones and ForNodes are the hints: the topology zones and the nodes of those clients.
	ForZones, ForNodes Names
}

// Placed stands for a Place. Those that stand for equal ones are equal; the zero value stands for the zero Place.
type Placed struct{ handle unique.Handle[Place] }

// Placed returns what stands for p.
func (p Place) Placed() Placed {
	if p == (Place{}) {
		return Placed{}
	}
	return Placed{unique.Make(p)}
}

// Place returns what p stands for.
func (p Placed) Place() Place {
	if p == (Placed{}) {
		return Place{}
	}
	return p.handle.Value()
}

// Names is a set of names, comparable: each once, in order, with a separator between them.
type Names string

const nameSeparator = "\x00"

// NamesOf returns the set of names, which it sorts. Empty ones are left out.
func NamesOf(names []string) Names {
	slices.Sort(names)
	names = slices.DeleteFunc(slices.Compact(names), func(name string) bool {
		return name == "" || strings.Contains(name, nameSeparator)
	})
	return Names(strings.Join(names, nameSeparator))
}

// All yields the names of n.
func (n Names) All() iter.Seq[string] {
	return func(yield func(string) bool) {
		if n == "" {
			return
		}
		for name := range strings.SplitSeq(string(n), nameSeparator) {
			if !yield(name) {
				return
			}
		}
	}
}
