package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/test/coredns"
	"github.com/miekg/dns"
)

// row is a question to a server, and its answer. In both, names are below cluster.local unless they end with a dot, and what
// stands in braces is what the control plane has chosen; see chosen.
type row struct {
	sentence string
	question string // QNAME QTYPE
	// want is the answer section, separated by commas: RDATA, or OWNER TYPE RDATA. Records before > come before those behind it.
	// NXDOMAIN or NODATA ends it if there is no record of QTYPE.
	want string
}

// scenario is a part of the cluster, and the rows about it.
type scenario struct {
	name string
	rows []row
}

const apex = "cluster.local."

// answer is a row with all filled in.
type answer struct {
	qname  string
	qtype  uint16
	groups [][]string // the records, in presentation format, in the order of the groups
	rcode  int
	denied bool // there is no record of qtype
}

func (r row) answer(v chosen) (answer, error) {
	a := answer{}
	question, err := v.fill(r.question)
	if err != nil {
		return a, err
	}
	want, err := v.fill(r.want)
	if err != nil {
		return a, err
	}
	name, qtype, _ := strings.Cut(question, " ")
	a.qname, a.qtype = strings.TrimSuffix(name, "."), dns.StringToType[qtype]
	if a.qname == name {
		a.qname += "." + apex
	} else {
		a.qname = name
	}
	for group := range strings.SplitSeq(want, " > ") {
		var records []string
		for item := range strings.SplitSeq(group, ", ") {
			switch item {
			case "NXDOMAIN":
				a.rcode = dns.RcodeNameError
				fallthrough
			case "NODATA":
				a.denied = true
				continue
			}
			if fields := strings.Fields(item); len(fields) < 3 || dns.StringToType[fields[1]] == 0 {
				item = a.qname + " " + qtype + " " + item
			}
			rr, err := parseRecord(item)
			if err != nil {
				return a, fmt.Errorf("%q: %w", item, err)
			}
			records = append(records, rr.String())
		}
		if len(records) > 0 {
			a.groups = append(a.groups, records)
		}
	}
	return a, nil
}

// parseRecord parses OWNER TYPE RDATA, and gives it the time to live that it has by default.
func parseRecord(text string) (dns.RR, error) {
	owner, rest, _ := strings.Cut(text, " ")
	ttl := 5
	if strings.HasPrefix(rest, "TXT ") {
		ttl = 28800 // that of dns-version
	}
	parser := dns.NewZoneParser(strings.NewReader(fmt.Sprintf("%s %d IN %s\n", owner, ttl, rest)), apex, "")
	rr, _ := parser.Next()
	return rr, parser.Err()
}

// judge asks the row's question over UDP and TCP, the latter in capitals, and whether the name exists for another type. It returns
// what is wrong with each answer, nil if nothing is.
func (r row) judge(ctx context.Context, s *coredns.Server, v chosen) []error {
	want, err := r.answer(v)
	if err != nil {
		return []error{err}
	}
	errs := []error{
		want.ask(ctx, s, "udp", want.qname),
		want.ask(ctx, s, "tcp", strings.ToUpper(want.qname)),
	}
	if len(want.groups) == 0 || !strings.Contains(want.groups[0][0], "\tCNAME\t") {
		other := answer{qname: want.qname, qtype: dns.TypeHINFO, rcode: want.rcode, denied: true}
		errs = append(errs, other.ask(ctx, s, "udp", want.qname))
	}
	for i, err := range errs {
		if err != nil {
			errs[i] = fmt.Errorf("%s, query %d: %w", r.question, i+1, err)
		}
	}
	return errs
}

// ask asks for the qname as it is spelled, and returns what is wrong with the reply.
func (a answer) ask(ctx context.Context, s *coredns.Server, network, qname string) error {
	r, err := s.Ask(ctx, network, qname, a.qtype)
	if err != nil {
		return err
	}
	if r.Rcode != a.rcode || !r.Authoritative || r.Truncated {
		return fmt.Errorf("got %s, authoritative: %v, truncated: %v; want %s, authoritative and whole\n%v", dns.RcodeToString[r.Rcode],
			r.Authoritative, r.Truncated, dns.RcodeToString[a.rcode], r)
	}
	var got []string
	for _, rr := range r.Answer {
		// The owner is spelled as in the question. Other names are in lower case.
		if header := rr.Header(); header.Name == qname {
			header.Name = a.qname
		}
		if soa, ok := rr.(*dns.SOA); ok {
			soa.Serial = 0
		}
		got = append(got, rr.String())
	}
	rest := got
	for _, group := range a.groups {
		part := slices.Sorted(slices.Values(rest[:min(len(group), len(rest))]))
		if rest = rest[len(part):]; !slices.Equal(part, slices.Sorted(slices.Values(group))) {
			return fmt.Errorf("got the answer\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), a)
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("got the answer\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), a)
	}
	switch {
	case a.denied && len(got) == 0:
		return checkDenial(r)
	case a.qtype == dns.TypeSRV && len(got) > 0:
		return checkAdditional(ctx, s, r)
	case a.qtype == dns.TypePTR && len(got) > 0:
		return checkForward(ctx, s, r)
	}
	return nil
}

func (a answer) String() string {
	var groups []string
	for _, group := range a.groups {
		groups = append(groups, strings.Join(group, "\n\t"))
	}
	return strings.Join(groups, "\n\tand then\n\t")
}

// checkDenial checks that a denial has the SOA record of the zone, both of whose times say how long it holds.
func checkDenial(r *dns.Msg) error {
	if len(r.Ns) == 1 {
		if soa, ok := r.Ns[0].(*dns.SOA); ok && soa.Hdr.Ttl == 5 && soa.Minttl == 5 && dns.IsSubDomain(soa.Hdr.Name, r.Question[0].Name) {
			return nil
		}
	}
	return fmt.Errorf("got the authority section %v, want one SOA record for 5 s", r.Ns)
}

// checkAdditional checks that the additional section has all addresses of the targets, and no more.
func checkAdditional(ctx context.Context, s *coredns.Server, r *dns.Msg) error {
	want := make(map[string]bool)
	for _, rr := range r.Answer {
		target := rr.(*dns.SRV).Target
		found, err := addresses(ctx, s, target)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return fmt.Errorf("the target %s has no address", target)
		}
		for _, rr := range found {
			want[rr.String()] = true
		}
	}
	got := make(map[string]bool)
	for _, rr := range r.Extra {
		if rr.Header().Rrtype != dns.TypeOPT {
			got[rr.String()] = true
		}
	}
	if len(got) != len(want) || slices.ContainsFunc(r.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeOPT && !want[rr.String()] }) {
		return fmt.Errorf("got the additional records %v, want %v", got, want)
	}
	return nil
}

// checkForward checks that each name that a PTR record gives has the address that was asked for.
func checkForward(ctx context.Context, s *coredns.Server, r *dns.Msg) error {
	for _, rr := range r.Answer {
		target := rr.(*dns.PTR).Ptr
		found, err := addresses(ctx, s, target)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(found, func(rr dns.RR) bool { return strings.EqualFold(arpa(rr), r.Question[0].Name) }) {
			return fmt.Errorf("%s has the addresses %v, and this is none of them", target, found)
		}
	}
	return nil
}

// arpa returns the name in a reverse zone of the address in a record.
func arpa(rr dns.RR) string {
	name, err := dns.ReverseAddr(dns.Field(rr, 1))
	if err != nil {
		return err.Error()
	}
	return name
}

// addresses returns the A and AAAA records of a name.
func addresses(ctx context.Context, s *coredns.Server, name string) ([]dns.RR, error) {
	var found []dns.RR
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		r, err := s.Ask(ctx, "tcp", name, qtype)
		if err != nil {
			return nil, err
		}
		found = append(found, r.Answer...)
	}
	return found, nil
}
