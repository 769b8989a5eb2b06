package explain

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/coredns-headless/headless"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/miekg/dns"
)

// server is the plugin itself, in this process, on the objects of a cluster.
type server struct {
	stanza *headless.Stanza
	plugin *headless.Headless
	all    *headless.Headless // one from which the stanza hides nothing: it tells what there is
	// resolver is the host and port of the name server to ask for names outside the zones, or "".
	resolver string
	client   netip.Addr // who asks; the zero Addr is anybody
	// noImports says that the API server does not have ServiceImports: until it has, nothing in a multicluster zone is answered.
	noImports bool
}

// newServer returns the server that a stanza describes. The port of resolver is 53 if it has none.
func newServer(stanza *headless.Stanza, c *cluster, resolver string) *server {
	if _, _, err := net.SplitHostPort(resolver); err != nil && resolver != "" {
		resolver = net.JoinHostPort(strings.Trim(resolver, "[]"), "53")
	}
	s := &server{
		stanza: stanza, plugin: stanza.Offline(c.objects), all: stanza.Unfiltered().Offline(c.objects), resolver: resolver,
	}
	s.noImports = c.noImports
	return s
}

// waitsFor reports whether the server waits for ServiceImports before it answers for an FQDN.
func (s *server) waitsFor(fqdn string) bool {
	return s.noImports && s.stanza.Multicluster(s.stanza.ZoneOf(dns.CanonicalName(fqdn)))
}

// hasImports reports whether there is a zone of ServiceImports.
func (s *server) hasImports() bool {
	return slices.ContainsFunc(s.stanza.Zones(), s.stanza.Multicluster)
}

// stanzaOf returns the stanza of a Corefile that answers for an FQDN: the one with the longest zone that it is in, or else the first.
func stanzaOf(stanzas []*headless.Stanza, fqdn string) (*headless.Stanza, error) {
	if len(stanzas) == 0 {
		return nil, errors.New("expected a stanza of headless or kubernetes in the Corefile, got none")
	}
	name := dns.CanonicalName(fqdn)
	return slices.MaxFunc(stanzas, func(a, b *headless.Stanza) int { return len(a.ZoneOf(name)) - len(b.ZoneOf(name)) }), nil
}

// explain returns what the server knows of an FQDN, and what it would know if nothing were hidden from it. A name below _zone is
// one in both: people ask for it without the option that makes it one. What the server has of its Service, it then tells of the
// Service's own name.
func (s *server) explain(fqdn string, qtype uint16) (served, all *headless.Explanation) {
	served, all = s.plugin.Explain(fqdn, qtype), s.all.Explain(fqdn, qtype)
	if served.Kind == qname.Absent && all.Scope != qname.Everywhere {
		own := s.plugin.Explain(all.Service+"."+all.Namespace+".svc."+all.Zone, qtype)
		served.Name, served.Model, served.Endpoints = all.Name, own.Model, own.Endpoints
	}
	return served, all
}

// serves reports whether the server serves a Namespace.
func (s *server) serves(namespace string) bool { return s.has(s.plugin, namespace) }

// exists reports whether a Namespace exists, served or not.
func (s *server) exists(namespace string) bool { return s.has(s.all, namespace) }

func (s *server) has(h *headless.Headless, namespace string) bool {
	d := h.Explain(namespace+".svc."+s.stanza.Primary(), dns.TypeA).Denial
	return d != nil && d.Reason == index.ReasonNonTerminal
}

// choices say which endpoints a client gets, and why.
var choices = map[index.Choice]string{
	index.NotChosen:     "gets what every client gets: these are no endpoints of a headless Service, it has no ready ones of this address family, or the name is a pod's own",
	index.ChosenNoHints: "gets all endpoints: some have no hints, which come with the Service's trafficDistribution, or an annotation of the Service turns topology off",
	index.ChosenNobody:  "gets all endpoints: no ready one is meant for clients there",
	index.ChosenUnknown: "gets all endpoints: neither Pods nor endpoints say where it is",
	index.ChosenZone:    "gets the endpoints that are meant for clients in its zone",
	index.ChosenNode:    "gets the endpoints that are meant for clients on its node",
}

// choice says which endpoints the client gets by records of an FQDN, and why.
func (s *server) choice(fqdn string, qtype uint16) string {
	if !s.stanza.Topology() {
		return fmt.Sprintf("the client %v gets what every client gets: the stanza has no topology hints", s.client)
	}
	choice, at := s.plugin.Choice(s.client, fqdn, qtype)
	who := fmt.Sprintf("the client %v", s.client)
	if at.Zone != "" {
		who += ", in zone " + at.Zone
	}
	if at.Node != "" {
		who += ", on node " + at.Node
	}
	return who + ", " + choices[choice]
}

// answer is what the server says to one query.
type answer struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Rcode string `json:"rcode,omitempty"` // "" when Outside is set
	// Resolves says that there is a record of the type.
	Resolves bool `json:"resolves"`
	// Records are the first of the records, in presentation format; Total is how many there are.
	Records []string `json:"records,omitempty"`
	Total   int      `json:"total"`
	// TTL is how long the answer may be kept, in seconds.
	TTL uint32 `json:"ttl"`
	// Extended are the texts of the extended errors (RFC 8914).
	Extended []string `json:"extendedErrors,omitempty"`
	// Outside is the name outside the zones that a CNAME leads to, if there was no resolver that could tell what it has.
	Outside string `json:"outside,omitempty"`
	// Failure says why the resolver could not tell; "" without a resolver.
	Failure string `json:"failure,omitempty"`

	cnames []string // the targets of the CNAMEs, in order
	data   []string // of all records
}

// ask asks the plugin for an FQDN, over TCP so that the answer is whole, and with EDNS so that a denial says why.
func (s *server) ask(fqdn string, qtype uint16) answer {
	a := answer{Name: fqdn, Type: dns.TypeToString[qtype], Rcode: servfail}
	if s.waitsFor(fqdn) {
		return a
	}
	client := netip.IPv6Loopback()
	if s.client.IsValid() {
		client = s.client
	}
	a.read(s.plugin.ReplyTo(client, fqdn, qtype), qtype)
	if slices.ContainsFunc(a.cnames, s.waitsFor) {
		a.Rcode, a.Resolves = servfail, false
		return a
	}
	if len(a.cnames) == 0 || a.Resolves || !slices.Contains(addressTypes, qtype) { // of other types the CNAME is the whole answer
		return a
	}
	if target := a.cnames[len(a.cnames)-1]; s.stanza.ZoneOf(dns.CanonicalName(target)) == "" {
		a.Rcode, a.Outside = "", target
		s.askOutside(&a, qtype)
	}
	return a
}

// ofType returns how many of the records are of the type that was asked for, not CNAMEs that lead to them.
func (a *answer) ofType() int {
	if a.Type == "CNAME" || a.Type == "ANY" {
		return a.Total
	}
	return a.Total - len(a.cnames)
}

// read adds the records of m to a, an answer for qtype.
func (a *answer) read(m *dns.Msg, qtype uint16) {
	a.Rcode = dns.RcodeToString[m.Rcode]
	last := func(ttl uint32) {
		if a.Total == 0 || ttl < a.TTL {
			a.TTL = ttl
		}
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok && len(m.Answer) == 0 {
			last(min(soa.Hdr.Ttl, soa.Minttl)) // RFC 2308 section 5
		}
	}
	for _, rr := range m.Answer {
		last(rr.Header().Ttl)
		a.Resolves = a.Resolves || rr.Header().Rrtype == qtype || qtype == dns.TypeANY
		if cname, ok := rr.(*dns.CNAME); ok {
			a.cnames = append(a.cnames, cname.Target)
		}
		a.data = append(a.data, dataOf(rr.String()))
		if a.Total++; len(a.Records) < 2*few {
			a.Records = append(a.Records, strings.ReplaceAll(rr.String(), "\t", " "))
		}
	}
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if ede, ok := o.(*dns.EDNS0_EDE); ok {
				a.Extended = append(a.Extended, ede.ExtraText)
			}
		}
	}
}

// askOutside completes a with what the resolver says about the name that it leads to outside the zones, if there is a resolver.
func (s *server) askOutside(a *answer, qtype uint16) {
	if s.resolver == "" {
		return
	}
	client := &dns.Client{Timeout: 5 * time.Second}
	m, _, err := client.Exchange(new(dns.Msg).SetQuestion(a.Outside, qtype), s.resolver)
	if err == nil && (m.Rcode == dns.RcodeRefused || m.Rcode == dns.RcodeServerFailure) {
		err = errors.New(dns.RcodeToString[m.Rcode])
	}
	if err != nil {
		a.Failure = fmt.Sprintf("%s was asked for it: %v", s.resolver, err)
		return
	}
	a.Outside = ""
	a.read(m, qtype)
}

// addressTypes are those of addresses; commonTypes are all that Services have.
var (
	addressTypes = []uint16{dns.TypeA, dns.TypeAAAA}
	commonTypes  = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeTXT, dns.TypeNS}
)

// What an answer says, in one word. Another response code is its own word.
const (
	found    = "found"
	outside  = "outside" // the name is outside the zones, or a CNAME leads to a name there of which no resolver told
	nodata   = "NODATA"
	nxdomain = "NXDOMAIN"
	servfail = "SERVFAIL"
)

func (a *answer) outcome() string {
	switch {
	case a.Resolves:
		return found
	case a.Outside != "":
		return outside
	case a.Rcode == "NOERROR":
		return nodata
	}
	return a.Rcode
}

// answers are those to queries of several types for one name.
type answers []answer

// askAll asks for each of the types.
func (s *server) askAll(fqdn string, types []uint16) (all answers) {
	for _, qtype := range types {
		all = append(all, s.ask(fqdn, qtype))
	}
	return all
}

// finds reports whether an FQDN has addresses.
func (s *server) finds(fqdn string) bool { return s.askAll(fqdn, addressTypes).outcome() == found }

// outcome returns found if one of them has records, or else what the first says. Without answers the name is outside the zones.
func (all answers) outcome() string {
	if len(all) == 0 {
		return outside
	}
	if slices.ContainsFunc(all, func(a answer) bool { return a.Resolves }) {
		return found
	}
	return all[0].outcome()
}
