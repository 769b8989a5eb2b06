package explain

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// walk is what resolvers make of a name: the names that they try for it, in order, with the search list of a pod.
type walk struct {
	From     string    `json:"from"` // the namespace of the pod that asks
	NDots    int       `json:"ndots"`
	Attempts []attempt `json:"attempts"`
}

// attempt is one name that is tried.
type attempt struct {
	Name string `json:"name"`
	// Outcome is found, NODATA, NXDOMAIN or another response code, or outside: it is not ours to say.
	Outcome string `json:"outcome"`
	// Glibc and Musl are what the resolver does: found, stops, goes on, or nothing where it does not come.
	Glibc string `json:"glibc,omitempty"`
	Musl  string `json:"musl,omitempty"`
}

// What a resolver does at a name.
const (
	takesIt = "found"
	stops   = "stops"
	goesOn  = "goes on"
	unknown = "unknown" // the name is outside the zones; if it does not exist, glibc goes on
)

// searched returns the names that are tried for word, asked by a pod of a namespace.
func (s *server) searched(word, namespace string, ndots int) []string {
	zone, asItIs := s.stanza.Primary(), word+"."
	list := []string{word + "." + namespace + ".svc." + zone, word + ".svc." + zone, word + "." + zone}
	if strings.Count(word, ".") >= ndots {
		return append([]string{asItIs}, list...)
	}
	return append(list, asItIs)
}

// search returns what resolvers do at each of the names that are tried for the word of q: glibc's (and Go's), which tries a name with
// ndots dots or more as it is first and any other last, and goes on until it has a record; and musl's, which tries nothing else for a
// name with ndots dots or more, has no search list but for addresses, and goes on at NXDOMAIN only.
func (s *server) search(q *question) *walk {
	w := &walk{From: q.from, NDots: q.ndots}
	names, asItIs := s.searched(q.word, q.from, q.ndots), q.word+"."
	long := names[0] == asItIs
	muslSearches := slices.Contains(addressTypes, q.types[0]) && !long
	glibc, musl := true, true // they are not done
	for i, fqdn := range names {
		a := attempt{Name: fqdn, Outcome: outside}
		hasCNAME := false
		if s.stanza.ZoneOf(dns.CanonicalName(fqdn)) != "" {
			found := s.askAll(fqdn, q.types)
			a.Outcome, hasCNAME = found.outcome(), len(found[0].cnames) > 0
		}
		last := i == len(names)-1
		if glibc {
			a.Glibc = step(a.Outcome, last || !slices.Contains([]string{nxdomain, nodata, servfail}, a.Outcome) || a.Outcome == nodata && hasCNAME)
			glibc = a.Glibc == goesOn || a.Glibc == unknown && !hasCNAME
		}
		if musl && (muslSearches || fqdn == asItIs) {
			a.Musl = step(a.Outcome, last || long || a.Outcome != nxdomain)
			musl = a.Musl == goesOn
		}
		w.Attempts = append(w.Attempts, a)
	}
	return w
}

// step returns what a resolver does at a name that has an outcome, if a name without records can end its walk there.
func step(outcome string, ends bool) string {
	switch {
	case outcome == found:
		return takesIt
	case outcome == outside:
		return unknown
	case ends:
		return stops
	}
	return goesOn
}

// leaves reports whether glibc's resolver tries a name outside the zones that may exist there: one with two labels or more, which
// does not end in svc.
func (w *walk) leaves() bool {
	return slices.ContainsFunc(w.Attempts, func(a attempt) bool {
		return a.Glibc == unknown && strings.Count(a.Name, ".") > 1 && !strings.HasSuffix(a.Name, ".svc.")
	})
}

// resolves returns the attempt at which glibc's resolver finds the name, or nil.
func (w *walk) resolves() *attempt {
	for i := range w.Attempts {
		if w.Attempts[i].Glibc == takesIt {
			return &w.Attempts[i]
		}
	}
	return nil
}
