package headless

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/miekg/dns"
)

const (
	versionTTL    = 28800 // of dns-version, in seconds, as the kubernetes plugin has it
	schemaVersion = "1.1.0"

	// The SOA's timers, in seconds, without transfers and with them: secondaries ask anew that often, also
	// those that nobody notifies.
	soaRefresh      = 7200
	soaRetry        = 1800
	transferRefresh = 60
	transferRetry   = 15
	soaExpire       = 86400
)

const (
	headerSize = 12
	// fixedSize is the size of an RR without owner name and RDATA.
	fixedSize = 10
	// pointerSize is the size of a name that was in the message before (RFC 1035 section 4.1.4).
	pointerSize = 2
	// maxPointer is the first offset in a message that a compression pointer cannot reach.
	maxPointer = 1 << 14
)

// addressRRSize returns the size of an A or AAAA record whose owner name was in the message before.
func addressRRSize(f model.Family) int { return pointerSize + fixedSize + f.Size() }

// nameSize returns the uncompressed size of an FQDN without escapes; with escapes it is larger than
// the true one.
func nameSize(name string) int {
	if name == "." {
		return 1
	}
	return len(name) + 1
}

// isName reports whether an FQDN can be in a message: it has 255 octets at most, and no label more than
// 63 (RFC 1035 section 2.3.4).
func isName(name string) bool {
	var room [256]byte
	size, err := dns.PackDomainName(name, room[:], 0, nil, false)
	return err == nil && size <= 255
}

// packedName returns an FQDN as it is in a message, or what there is room for of one that is too long.
func packedName(name string) []byte {
	var room [256]byte
	size, _ := dns.PackDomainName(name, room[:], 0, nil, false) // zones whose names are too long are refused
	return room[:size]
}

// addressSlab holds the A and AAAA records of one reply, so that those of a family are one piece of memory.
type addressSlab struct {
	a    []aRecord
	aaaa []aaaaRecord
}

// aRecord is an A record and the octets of its address.
type aRecord struct {
	dns.A
	octets [4]byte
}

// aaaaRecord is an AAAA record and the octets of its address.
type aaaaRecord struct {
	dns.AAAA
	octets [16]byte
}

// newAddressSlab returns a slab for n records of each family.
func newAddressSlab(n [2]int) *addressSlab {
	return &addressSlab{make([]aRecord, n[model.V4]), make([]aaaaRecord, n[model.V6])}
}

// take returns the next record, of the address that octets are.
func (s *addressSlab) take(owner string, ttl uint32, octets []byte) dns.RR {
	if len(octets) == model.V4.Size() {
		r := &s.a[0]
		s.a = s.a[1:]
		setHeader(&r.Hdr, owner, dns.TypeA, ttl)
		r.A.A = r.octets[:]
		copy(r.octets[:], octets)
		return &r.A
	}
	r := &s.aaaa[0]
	s.aaaa = s.aaaa[1:]
	setHeader(&r.Hdr, owner, dns.TypeAAAA, ttl)
	r.AAAA.AAAA = r.octets[:]
	copy(r.octets[:], octets)
	return &r.AAAA
}

// appendAddressRRs appends a record for each of addrs, octets one behind the other.
func appendAddressRRs(rrs []dns.RR, owner string, ttl uint32, addrs []byte, f model.Family) []dns.RR {
	var n [2]int
	n[f] = len(addrs) / f.Size()
	slab := newAddressSlab(n)
	rrs = slices.Grow(rrs, n[f])
	for octets := range slices.Chunk(addrs, f.Size()) {
		rrs = append(rrs, slab.take(owner, ttl, octets))
	}
	return rrs
}

// addressRR returns the record for one address.
func addressRR(owner string, ttl uint32, addr netip.Addr) dns.RR {
	var octets [16]byte
	var n [2]int
	n[model.FamilyOf(addr)] = 1
	return newAddressSlab(n).take(owner, ttl, model.AppendAddr(octets[:0], addr))
}

func header(owner string, rrtype uint16, ttl uint32) (hdr dns.RR_Header) {
	setHeader(&hdr, owner, rrtype, ttl)
	return hdr
}

// setHeader sets the fields one by one: to copy a struct that holds pointers is slow while the
// garbage collector runs.
func setHeader(hdr *dns.RR_Header, owner string, rrtype uint16, ttl uint32) {
	hdr.Name, hdr.Rrtype, hdr.Class, hdr.Ttl = owner, rrtype, dns.ClassINET, ttl
}

// below returns the FQDN of name, relative to zone.
func below(name, zone string) string { return name + "." + strings.TrimPrefix(zone, ".") }

// serviceSize returns the uncompressed size of the name of a Service in zone.
func serviceSize(service, namespace, zone string) int {
	return len(service) + len(namespace) + len("..svc.") + nameSize(zone)
}

// srvFixed is the size of an SRV record without its target.
const srvFixed = pointerSize + fixedSize + 6

// leastSRVSize returns the size of the smallest SRV record of a Service in zone.
func leastSRVSize(service, namespace, zone string) int {
	return srvFixed + serviceSize(service, namespace, zone)
}

// ownSize returns by how much a label makes the Service's name longer.
func ownSize(label model.Label) int {
	if n := label.Len(); n > 0 {
		return n + len(".")
	}
	return 0
}

// srvLayout says what of a set of SRV records, and of the addresses of their targets, there is room for.
// SRV records come first, and all are whole.
type srvLayout struct {
	records int // SRV records
	targets int // whose names are in the message
	near    int // those of them that a compression pointer can reach
	extra   int // addresses
}

// layOut returns the layout of targets in the reply to q.
func layOut(q *question, targets []index.Target) (l srvLayout) {
	service := serviceSize(q.Service, q.Namespace, q.zone)
	size := q.offset
answer:
	for i := range targets {
		name := service + ownSize(targets[i].Label) // RFC 2782: it is not compressed
		for range targets[i].Ports {
			if size+srvFixed+name > q.end {
				break answer
			}
			if l.targets == i {
				l.targets++
				if size+srvFixed < maxPointer {
					l.near++
				}
			}
			size += srvFixed + name
			l.records++
		}
	}
	size += q.growth.perRecord * l.records
	for i := range targets[:l.targets] {
		owner := pointerSize
		if i >= l.near {
			owner += ownSize(targets[i].Label)
		}
		size += q.growth.perSet * min(len(targets[i].Addrs), 2)
		for _, addr := range targets[i].Addrs {
			if size += owner + fixedSize + model.FamilyOf(addr).Size() + q.growth.perRecord; size > q.end {
				return l
			}
			l.extra++
		}
	}
	return l
}

// srvWeight returns the weight of each record of a set of total records.
func srvWeight(total int) uint16 { return uint16(max(1, 100/max(1, total))) } //nolint:gosec // at most 100

// appendSRVs appends the SRV records of v that there is room for, to targets with names.
func appendSRVs(rrs []dns.RR, q *question, ttl uint32, v *found, names []string) []dns.RR {
	slab := make([]dns.SRV, v.shown)
	rrs = slices.Grow(rrs, v.shown)
	for i := range names {
		for _, number := range v.Targets[i].Ports {
			if len(slab) == 0 {
				break
			}
			r := &slab[0]
			setHeader(&r.Hdr, q.name, dns.TypeSRV, ttl)
			r.Weight, r.Port, r.Target = srvWeight(v.Total), number, names[i]
			rrs, slab = append(rrs, r), slab[1:]
		}
	}
	return rrs
}

// extraRRs returns the addresses that there is room for, of the targets of v, which have names.
func extraRRs(ttl uint32, v *found, names []string) []dns.RR {
	var n [2]int
	for i := range names {
		for _, addr := range v.Targets[i].Addrs {
			n[model.FamilyOf(addr)]++
		}
	}
	slab := newAddressSlab(n)
	rrs := make([]dns.RR, 0, v.srv.extra+1) // there may be an OPT record
	var octets [16]byte
	for i := range names {
		for _, addr := range v.Targets[i].Addrs {
			if len(rrs) == v.srv.extra {
				return rrs
			}
			rrs = append(rrs, slab.take(names[i], ttl, model.AppendAddr(octets[:0], addr)))
		}
	}
	return rrs
}

// namesOf returns the names of targets of a Service, whose FQDN is service, all of them parts of one
// string.
func namesOf(targets []index.Target, service string) []string {
	size := 0
	for i := range targets {
		size += targets[i].Len() + len(".") + len(service)
	}
	var text strings.Builder
	text.Grow(size)
	var label [64]byte // few are longer
	names := make([]string, len(targets))
	for i := range targets {
		start := text.Len()
		if text.Write(targets[i].Append(label[:0])); text.Len() > start {
			text.WriteByte('.')
		}
		text.WriteString(service)
		names[i] = text.String()[start:]
	}
	return names
}

// fittingPTRs returns how many of pointers, to names in zone, fit into the reply to q.
func fittingPTRs(q *question, pointers []index.Pointer, zone string) int {
	size := q.offset
	for i, p := range pointers {
		size += pointerSize + fixedSize + ownSize(p.Label) + serviceSize(p.Service, p.Namespace, zone)
		if size > q.end {
			return i
		}
	}
	return len(pointers)
}

// appendPTRs appends a PTR for each of pointers, to names in zone.
func appendPTRs(rrs []dns.RR, owner string, ttl uint32, pointers []index.Pointer, zone string) []dns.RR {
	for _, p := range pointers {
		rrs = append(rrs, &dns.PTR{Hdr: header(owner, dns.TypePTR, ttl), Ptr: p.FQDN(zone)})
	}
	return rrs
}

func nsRR(owner string, ttl uint32, target string) dns.RR {
	return &dns.NS{Hdr: header(owner, dns.TypeNS, ttl), Ns: target}
}

func cnameRR(owner string, ttl uint32, target string) dns.RR {
	return &dns.CNAME{Hdr: header(owner, dns.TypeCNAME, ttl), Target: target}
}

// versionRR returns the TXT record of dns-version (specification section 2.2).
func versionRR(owner string) dns.RR {
	return &dns.TXT{Hdr: header(owner, dns.TypeTXT, versionTTL), Txt: []string{schemaVersion}}
}

// minimalRR returns the answer to ANY at a name that owns records (RFC 8482 section 4.2).
func minimalRR(owner string, ttl uint32) dns.RR {
	return &dns.HINFO{Hdr: header(owner, dns.TypeHINFO, ttl), Cpu: "RFC8482"}
}

// soaRR returns the SOA record of a zone. negativeTTL is its minimum, the time to live of negative
// answers (RFC 2308 section 4).
func (cfg *config) soaRR(owner string, ttl uint32, a *authority, serial, negativeTTL uint32) dns.RR {
	return &dns.SOA{
		Hdr:     header(owner, dns.TypeSOA, ttl),
		Ns:      a.mname,
		Mbox:    a.rname,
		Serial:  serial,
		Refresh: cmp.Or(cfg.soaRefresh, soaRefresh),
		Retry:   cmp.Or(cfg.soaRetry, soaRetry),
		Expire:  soaExpire,
		Minttl:  negativeTTL,
	}
}
