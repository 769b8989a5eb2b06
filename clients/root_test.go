package clients

import (
	"crypto"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/miekg/dns"
)

// rootHints are where resolvers begin.
const rootHints = ". 300 IN NS a.root-servers.test.\na.root-servers.test. 300 IN A " + rootAddr + "\n"

// rootZone is all that there is outside the cluster. As in the real one there is no local, and in-addr.arpa is there.
const rootZone = `. 300 IN SOA a.root-servers.test. hostmaster.test. 1 3600 600 86400 60
` + rootHints + `in-addr.arpa. 300 IN TXT "there"
ip6.arpa. 300 IN TXT "there"
` + signedName + ` 300 IN A 192.0.2.1
`

// signedName is a name of the root zone.
const signedName = "www.example."

// root is a name server of the root zone, which is signed (RFC 4035 section 3) and delegates nothing.
type root struct {
	names []string                       // that own records, in the order of RFC 4034 section 6.1
	sets  map[string]map[uint16][]dns.RR // each with its signature
}

// startRoot starts the name server of the root and returns its key.
func startRoot(t *testing.T) *dns.DNSKEY {
	t.Helper()
	const zoneKeyAndEntryPoint, protocol, bits = 257, 3, 256
	key := &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: ".", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300},
		Flags: zoneKeyAndEntryPoint, Protocol: protocol, Algorithm: dns.ECDSAP256SHA256,
	}
	private, err := key.Generate(bits)
	fatal.If(t, err)
	now := time.Now()
	r := newRoot(append(dnstest.Records(t, strings.Split(strings.TrimSpace(rootZone), "\n")...), key))
	for _, sets := range r.sets {
		for rrtype, set := range sets {
			signature := &dns.RRSIG{
				Hdr: dns.RR_Header{Ttl: set[0].Header().Ttl}, Algorithm: key.Algorithm, KeyTag: key.KeyTag(), SignerName: ".",
				Inception: uint32(now.Add(-time.Hour).Unix()), Expiration: uint32(now.Add(24 * time.Hour).Unix()),
			}
			fatal.If(t, signature.Sign(private.(crypto.Signer), set)) // every private key is one
			sets[rrtype] = append(set, signature)
		}
	}
	for _, network := range []string{"udp", "tcp"} {
		fatal.If(t, dnstest.Start(t, &dns.Server{Addr: rootAddr + ":53", Net: network, Handler: r}))
	}
	return key
}

// newRoot returns a server of records, and of the NSEC records between their names (RFC 4034 section 4), which are
// not signed yet.
func newRoot(rrs []dns.RR) *root {
	r := &root{sets: make(map[string]map[uint16][]dns.RR)}
	for _, rr := range rrs {
		name, rrtype := rr.Header().Name, rr.Header().Rrtype
		if r.sets[name] == nil {
			r.names, r.sets[name] = append(r.names, name), make(map[uint16][]dns.RR)
		}
		r.sets[name][rrtype] = append(r.sets[name][rrtype], rr)
	}
	slices.SortFunc(r.names, compareNames)
	for i, name := range r.names {
		types := slices.AppendSeq([]uint16{dns.TypeRRSIG, dns.TypeNSEC}, maps.Keys(r.sets[name]))
		slices.Sort(types)
		r.sets[name][dns.TypeNSEC] = []dns.RR{&dns.NSEC{
			Hdr:        dns.RR_Header{Name: name, Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: 60},
			NextDomain: r.names[(i+1)%len(r.names)], TypeBitMap: types,
		}}
	}
	return r
}

// ServeDNS implements dns.Handler.
func (r *root) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	m := new(dns.Msg).SetReply(query)
	m.Authoritative = true
	q := query.Question[0]
	name := strings.ToLower(q.Name)
	if m.Answer = r.sets[name][q.Qtype]; len(m.Answer) == 0 {
		encloser := name
		for !slices.ContainsFunc(r.names, func(known string) bool { return dns.IsSubDomain(encloser, known) }) {
			m.Rcode = dns.RcodeNameError
			_, encloser, _ = strings.Cut(encloser, ".")
			encloser = dns.Fqdn(encloser)
		}
		m.Ns = slices.Concat(r.sets["."][dns.TypeSOA], r.before(name))
		if m.Rcode == dns.RcodeNameError { // nor is there a wildcard
			m.Ns = append(m.Ns, r.before("*."+strings.TrimPrefix(encloser, "."))...)
		}
	}
	if opt := query.IsEdns0(); opt != nil {
		m.SetEdns0(1232, opt.Do())
	}
	_ = w.WriteMsg(m) // the client will ask again
}

// before returns the NSEC record at name, or else the one that says that name owns nothing.
func (r *root) before(name string) []dns.RR {
	last := 0
	for i, known := range r.names {
		if compareNames(known, name) <= 0 {
			last = i
		}
	}
	return r.sets[r.names[last]][dns.TypeNSEC]
}

// compareNames orders names as RFC 4034 section 6.1 does.
func compareNames(a, b string) int {
	x, y := dns.SplitDomainName(a), dns.SplitDomainName(b)
	slices.Reverse(x)
	slices.Reverse(y)
	return slices.Compare(x, y)
}
