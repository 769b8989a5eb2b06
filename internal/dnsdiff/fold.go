package dnsdiff

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// A Pod that one server has and the other has not, or has otherwise, shows in many answers: those of its own names, of its Service and
// ports, and of its address. They are folded into one group, if they are of several kinds of names, and there are few such Pods: else
// the cause is the better key.
const (
	mostFolded = 3    // groups of endpoints
	mostKept   = 2000 // differences that are kept for this
	foldCause  = "all that these tell of one endpoint"
)

// kept is one unexpected difference.
type kept struct {
	key   groupKey
	about []string // the endpoints that it is about: their FQDNs, or addresses of which the name is not known
	example
}

// about returns the endpoint that a subject is of, by its FQDN, or "".
func (s *subject) about() string {
	switch s.kind {
	case kindHost, kindUnready, kindPodAlias, kindOddHost:
		return s.lower()
	case kindHostPort, kindUnreadyPort, kindHostProto:
		name := s.lower()
		for strings.HasPrefix(name, "_") {
			_, name, _ = strings.Cut(name, ".")
		}
		return name
	case kindReverse:
		return s.addr.String()
	}
	return ""
}

// aboutRecord returns the endpoint that a record leads to, by its FQDN or its address, or "".
func aboutRecord(rr dns.RR, qname string) string {
	switch rr := rr.(type) {
	case *dns.SRV:
		return strings.ToLower(rr.Target)
	case *dns.PTR:
		return strings.ToLower(rr.Ptr)
	case *dns.A, *dns.AAAA:
		if owner := strings.ToLower(rr.Header().Name); owner != strings.ToLower(qname) {
			return owner // in an additional section
		}
		return addressOf(rr).String()
	}
	return ""
}

// keep notes a difference, with the names of addresses that the question tells.
func (f *findings) keep(r *result, key groupKey, found finding, e example) {
	if f.overflowed = f.overflowed || len(f.kept) == mostKept; f.overflowed {
		return
	}
	k := kept{key: key, example: e, about: found.about}
	if own := r.about(); own != "" {
		k.about = []string{own}
		for _, endpoint := range r.endpoints {
			if r.kind != kindReverse {
				f.owners[endpoint.addr] = own
			}
		}
	}
	if r.kind == kindHost {
		for _, text := range found.about { // addresses that one of the servers gives it
			if addr, err := netip.ParseAddr(text); err == nil {
				f.owners[addr] = r.lower()
			}
		}
	}
	f.kept = append(f.kept, k)
}

// changed are the ids of causes by which a Pod shows that has changed.
var changed = []string{"denied", "emptied", "missing", "missing-address", "wrong-address", "extra-address", "extra", "revived", "filled", "name-error", "no-data"}

// endpoints returns the endpoint that each kept difference is about, or "" if it is about none or about several, and of which kinds of
// names there are some for each.
func (f *findings) endpoints() (of []string, kinds map[string]map[kind]bool) {
	kinds = make(map[string]map[kind]bool)
	for _, k := range f.kept {
		names := make(map[string]bool)
		for _, text := range k.about {
			if addr, err := netip.ParseAddr(text); err == nil && f.owners[addr] != "" {
				text = f.owners[addr]
			}
			names[text] = true
		}
		name := ""
		if len(names) == 1 && slices.Contains(changed, idOf(k.key.cause)) {
			name = slices.Collect(maps.Keys(names))[0]
			if kinds[name] == nil {
				kinds[name] = make(map[kind]bool)
			}
			kinds[name][k.key.names] = true
		}
		of = append(of, name)
	}
	return of, kinds
}

// folded returns the groups of unexpected differences: those of an endpoint in one, the rest by cause.
func (f *findings) folded() []group {
	slices.SortStableFunc(f.kept, func(a, b kept) int { return rankOf(a.key.cause) - rankOf(b.key.cause) }) // so are the examples
	of, kinds := f.endpoints()
	maps.DeleteFunc(kinds, func(_ string, of map[kind]bool) bool { return len(of) < 2 })
	if f.overflowed || len(kinds) == 0 || len(kinds) > mostFolded {
		return nil
	}
	type asked struct{ name, qtype string }
	folds := make(map[asked]string)
	for i, k := range f.kept {
		if kinds[of[i]] != nil {
			folds[asked{k.Name, k.Type}] = of[i]
		}
	}
	groups := make(map[groupKey]*group)
	for i, k := range f.kept {
		key := k.key
		if owner := folds[asked{k.Name, k.Type}]; owner != "" && idOf(key.cause) == "weight" { // fewer records weigh more
			of[i] = owner
		}
		if key.names == kindReverseAbove { // it is there for the addresses below it
			for addr, owner := range f.owners {
				if kinds[owner] != nil && strings.HasSuffix(reverse(addr), "."+strings.ToLower(k.Name)) {
					of[i] = owner
				}
			}
		}
		if kinds[of[i]] != nil {
			key = groupKey{cause: foldCause, names: kind(of[i])}
		}
		g := groups[key]
		if g == nil {
			g = &group{ID: idOf(key.cause), Cause: key.cause, Names: string(key.names), rank: rankOf(k.key.cause)}
			groups[key] = g
		}
		if key.cause == foldCause {
			g.Causes = append(g.Causes, k.key.cause)
			g.rank = min(g.rank, rankOf(k.key.cause))
		}
		g.Count++
		known := func(o example) bool { return o.Name == k.Name && o.Type == k.Type }
		if !slices.ContainsFunc(g.Examples, known) {
			g.Examples = append(g.Examples, k.example)
		}
	}
	var list []group
	for _, g := range groups {
		if f.examples > 0 && len(g.Examples) > f.examples {
			g.Examples = g.Examples[:f.examples]
		}
		slices.SortFunc(g.Causes, func(a, b string) int { return cmp.Or(rankOf(a)-rankOf(b), strings.Compare(a, b)) })
		g.Causes = slices.Compact(g.Causes)
		list = append(list, *g)
	}
	return list
}

// ranked are the causes with their ids, those before the others that clients feel most.
var ranked = []struct {
	id    string
	cause cause
}{
	{"no-reply", "the new server does not reply"},
	{"denied", causeDenied},
	{"failed", "the old server's outcome is data"}, // and the new one's something else
	{"emptied", causeEmptied},
	{"missing", causeMissing},
	{"port", causePort},
	{"wrong-address", causeWrongAddress},
	{"missing-address", causeMissingAddress},
	{"stray", causeStray},
	{"extra", causeExtra},
	{"revived", causeRevived},
	{"filled", causeFilled},
	{"name-error", causeNameError},
	{"no-data", causeNoData},
	{"extra-address", causeExtraAddress},
	{"priority", causePriority},
	{"weight", causeWeight},
	{"target", causeTarget},
	{"case", causeCase},
	{"owner", causeOwner},
	{"new-truncates", causeNewTruncates},
	{"new-repeats", causeNewRepeats},
	{"soa", causeSOA},
	{"ttl", causeTTL},
	{"negative-ttl", causeNegativeTTL},
	{"old-truncates", causeOldTruncates},
	{"old-repeats", causeOldRepeats},
	{"old-no-reply", "the old server does not reply"},
	{"neither-replies", "neither server replies"},
	{"endpoint", foldCause},
}

// rankOf returns where a cause stands among the ranked ones; a record's type may be before it, and a network behind it.
func rankOf(text string) int {
	best, length := len(ranked), 0
	for i, r := range ranked {
		if strings.Contains(text, string(r.cause)) && len(r.cause) > length {
			best, length = i, len(r.cause)
		}
	}
	return best
}

// idOf returns the id of a cause, which never changes.
func idOf(text string) string {
	if i := rankOf(text); i < len(ranked) {
		return ranked[i].id
	}
	return "outcome"
}

// losing is how many of the ranked causes take from clients what they had.
const losing = 8

// lost returns how many of the groups' differences take from clients what they had.
func lost(groups []group) (n int) {
	for _, g := range groups {
		if g.rank < losing {
			n += g.Count
		}
	}
	return n
}
