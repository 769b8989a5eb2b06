package explain

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/coredns-headless/headless/internal/output"
	"github.com/miekg/dns"
)

// report is what is printed, as text or as JSON. Lists in it have the first few of what they count.
type report struct {
	Version int    `json:"version"` // of this form, in JSON
	Asked   string `json:"asked"`
	Name    string `json:"name"`    // the FQDN that is explained
	Source  string `json:"source"`  // of the cluster's state
	Verdict string `json:"verdict"` // one of those below
	// Answers are what the server says, one for each type.
	Answers answers `json:"answers"`
	// Causes say why the name does not resolve, the most probable first.
	Causes []cause `json:"causes"`
	Chain  []link  `json:"chain"`
	// Walk is what resolvers make of the name; nil if it is absolute.
	Walk  *walk    `json:"search,omitempty"`
	Notes []string `json:"notes,omitempty"`
	// Running is what the servers that run say, if they are asked.
	Running []told `json:"running,omitempty"`
}

// Verdicts.
const (
	resolves     = "resolves"
	doesNot      = "does not resolve"
	couldNotTell = "could not tell"
)

// status returns the exit status. A name that resolves does not for all if a server that runs differs, and nobody can tell if one does
// not answer.
func (r *report) status() int {
	switch {
	case r.Verdict == doesNot:
		return statusDoesNot
	case r.Verdict == couldNotTell:
		return statusUnknown
	case slices.ContainsFunc(r.Running, func(t told) bool { return len(t.Differs) > 0 }):
		return statusDoesNot
	case slices.ContainsFunc(r.Running, func(t told) bool { return t.Error != "" }):
		return statusUnknown
	}
	return statusResolves
}

// cause is a reason why a name does not resolve.
type cause struct {
	ID   string `json:"id"` // stable, for programs
	Text string `json:"text"`
	Fix  string `json:"fix"` // what to change: commands, or lines of a manifest
}

// question is what a person asks.
type question struct {
	word     string // a name, as a program would use it, or an address
	fqdn     string // that the word is; of an address its reverse name
	absolute bool   // the word stands for its FQDN alone: it is an address, or ends in a dot
	types    []uint16
	from     string // the namespace of the pod that asks
	ndots    int
	client   netip.Addr // who asks; the zero Addr is anybody
}

// parse reads NAME and, perhaps, TYPE. Without a type it is those of addresses, for an address that of its name, and for a port that
// of services.
func (q *question) parse(words []string) error {
	q.word = hostOf(words[0])
	reverse, err := dns.ReverseAddr(q.word)
	_, isName := dns.IsDomainName(q.word)
	switch {
	case err == nil:
		q.fqdn, q.absolute = reverse, true
	case isName && q.word != "" && !strings.ContainsFunc(q.word, isNoNameRune):
		q.fqdn, q.absolute = dns.Fqdn(q.word), dns.IsFqdn(q.word)
	default:
		return fmt.Errorf("expected a name or an address, got %q", q.word)
	}
	switch {
	case len(words) > 1:
		qtype, ok := dns.StringToType[strings.ToUpper(words[1])]
		if !ok || qtype == dns.TypeAXFR || qtype == dns.TypeIXFR {
			return fmt.Errorf("expected a record type such as A, AAAA, SRV or PTR, got %q", words[1])
		}
		q.types = []uint16{qtype}
	case isReverse(q.fqdn):
		q.types = []uint16{dns.TypePTR}
	case strings.HasPrefix(q.word, "_"):
		q.types = []uint16{dns.TypeSRV}
	default:
		q.types = addressTypes
	}
	return nil
}

// isNoNameRune reports whether a name that a program asks for cannot have r.
func isNoNameRune(r rune) bool {
	return unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune(`"'/;,`, r)
}

// hostOf returns the host that a program would look up for a word: of a URL, of one behind the name of a driver
// (jdbc:postgresql://db/x), and of HOST:PORT. Any other word is returned as it is.
func hostOf(word string) string {
	if scheme, rest, ok := strings.Cut(word, "://"); ok {
		scheme = scheme[strings.LastIndexByte(scheme, ':')+1:]
		if u, err := url.Parse(scheme + "://" + rest); err == nil {
			return u.Hostname()
		}
	}
	if host, port, err := net.SplitHostPort(word); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err == nil {
			return host
		}
	}
	return word
}

// names returns the FQDNs that the question may be about.
func (q *question) names(s *server) []string {
	if q.absolute {
		return []string{q.fqdn}
	}
	return s.searched(q.word, q.from, q.ndots)
}

// explain answers a question.
func explain(s *server, c *cluster, q *question) *report {
	r := &report{Asked: q.word, Causes: []cause{}}
	if !q.absolute {
		r.Walk = s.search(q)
	}
	asItIs := newInquiry(s, c, q.fqdn, q.types)
	about := asItIs
	if about.Zone == "" && r.Walk != nil {
		about = r.meant(s, c, q, asItIs)
	}
	r.Name, r.Answers, r.Chain, r.Notes = about.fqdn, about.answers, about.chain(), c.notes(about.Namespace)
	leaves := r.Walk != nil && r.Walk.leaves()
	isOurs := about.depth(q.word) >= known
	switch outcome := about.outcome(); {
	case outcome == found:
		r.Verdict = resolves
	case outcome == outside || leaves && !isOurs: // resolvers ask elsewhere
		r.Verdict = couldNotTell
	default:
		r.Verdict = doesNot
	}
	if s.waitsFor(about.fqdn) {
		r.Causes = one("no-imports", "install the CustomResourceDefinition of ServiceImports, or in the Corefile: take out multicluster",
			"SERVFAIL for all names of the multicluster zones: the server waits for ServiceImports, which the API server does not have")
		return r
	}
	switch {
	case r.Verdict != resolves:
		r.Causes = about.causes()
		if !isOurs && leaves && about.Zone != "" {
			r.Causes = asItIs.causes()
		}
		if leaves && !isOurs {
			r.tellCost(asItIs)
		}
		if causes := append(about.notPermitted(), about.lackingFiles()...); causes != nil {
			r.Verdict, r.Causes = couldNotTell, causes
		}
	case r.Walk != nil:
		r.noteMusl()
	}
	if r.Verdict == resolves {
		r.Notes = append(r.Notes, about.emptyNotes()...)
	}
	r.Notes = slices.DeleteFunc(r.Notes, func(note string) bool {
		return slices.ContainsFunc(r.Chain, func(l link) bool { return l.Text == note })
	})
	if r.Verdict == doesNot && s.stanza.Falls(about.fqdn) {
		r.Notes = append(r.Notes, "the stanza has fallthrough: the query goes on to the next plugin, which may know the name")
	}
	return r
}

// meant returns the inquiry into the name of the search list that is found, or else the one that leads farthest into the cluster, or
// best if none leads farther. A name outside the zones leads nowhere.
func (r *report) meant(s *server, c *cluster, q *question, best *inquiry) *inquiry {
	if a := r.Walk.resolves(); a != nil {
		return newInquiry(s, c, a.Name, q.types)
	}
	for _, a := range r.Walk.Attempts {
		if other := newInquiry(s, c, a.Name, q.types); other.depth(q.word) > best.depth(q.word) {
			best = other
		}
	}
	return best
}

// tellCost adds to the cause that a name is outside the zones what its search costs before it gets there.
func (r *report) tellCost(asItIs *inquiry) {
	useless := 0
	for _, a := range r.Walk.Attempts {
		if a.Glibc == goesOn {
			useless++
		}
	}
	if c := &r.Causes[0]; useless > 0 && asItIs.Zone == "" {
		c.Text += fmt.Sprintf("; with ndots:%d a pod asks for %s of the cluster before it, which do not exist", r.Walk.NDots, output.Count(useless, "name"))
		c.Fix += "\nto spare those queries, write " + asItIs.fqdn + " with the dot at its end"
	}
}

// noteMusl says so if musl's resolver does not find a name that glibc's does.
func (r *report) noteMusl() {
	if r.Walk.resolves() == nil {
		return
	}
	for _, a := range r.Walk.Attempts {
		if a.Musl == stops || a.Musl == unknown {
			r.Notes = append(r.Notes, fmt.Sprintf("musl's resolver, as in Alpine images, ends its search at %s (%s) and does not find the name; it finds %s",
				a.Name, a.Outcome, r.Name))
		}
	}
}
