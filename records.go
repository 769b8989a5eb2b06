package headless

import (
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

	// The SOA's timers, in seconds.
	soaRefresh = 7200
	soaRetry   = 1800
	soaExpire  = 86400
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

// leastSRVSize returns the size of the smallest SRV record of a Service in zone.
func leastSRVSize(service, namespace, zone string) int {
	return pointerSize + fixedSize + 6 + nameSize(zone) + len(service) + len(namespace) + len("...svc")
}

// srvAnswer is an SRV RRset under construction: as many whole records as fit before the end of the
// message, SRV records first. Its methods are called in the order appendAnswer, appendExtra.
type srvAnswer struct {
	owner   string
	ttl     uint32
	service string // the FQDN of the Service that all targets are in
	targets []index.Target
	total   int // records in the whole RRset
	size    int // of the message so far
	end     int // of the message at most
	growth  growth

	names   []string // of targets
	records int      // in the answer section
	shown   int      // targets whose names are in the message
	near    int      // those of them that a compression pointer can reach
}

// appendAnswer appends the SRV records.
func (a *srvAnswer) appendAnswer(rrs []dns.RR) []dns.RR {
	a.nameTargets()
	weight := uint16(max(1, 100/max(1, a.total))) //nolint:gosec // at most 100
	n := 0
	for i := range a.targets {
		n += len(a.targets[i].Ports)
	}
	slab := make([]dns.SRV, n)
	rrs = slices.Grow(rrs, n)
	for i := range a.targets {
		for _, number := range a.targets[i].Ports {
			// RFC 2782: the target is not compressed.
			at := a.size + pointerSize + fixedSize + 6
			if at+nameSize(a.names[i]) > a.end {
				return rrs
			}
			if a.shown == i {
				a.shown++
				if at < maxPointer {
					a.near++
				}
			}
			a.size = at + nameSize(a.names[i])
			r := &slab[0]
			setHeader(&r.Hdr, a.owner, dns.TypeSRV, a.ttl)
			r.Weight, r.Port, r.Target = weight, number, a.names[i]
			rrs, slab = append(rrs, r), slab[1:]
			a.records++
		}
	}
	return rrs
}

// appendExtra appends the addresses of the targets of the SRV records.
func (a *srvAnswer) appendExtra(rrs []dns.RR) []dns.RR {
	var n [2]int
	for i := range a.targets[:a.shown] {
		for _, addr := range a.targets[i].Addrs {
			n[model.FamilyOf(addr)]++
		}
	}
	slab := newAddressSlab(n)
	rrs = slices.Grow(rrs, n[model.V4]+n[model.V6]+1) // the server adds an OPT record
	a.size += a.growth.perRecord * a.records
	var octets [16]byte
	for i := range a.targets[:a.shown] {
		owner := pointerSize
		if i >= a.near {
			owner = len(a.names[i]) - len(a.service) + pointerSize
		}
		a.size += a.growth.perSet * min(len(a.targets[i].Addrs), 2)
		for _, addr := range a.targets[i].Addrs {
			a.size += owner + fixedSize + model.FamilyOf(addr).Size() + a.growth.perRecord
			if a.size > a.end {
				return rrs
			}
			rrs = append(rrs, slab.take(a.names[i], a.ttl, model.AppendAddr(octets[:0], addr)))
		}
	}
	return rrs
}

// nameTargets sets the names of the targets, all of them parts of one string.
func (a *srvAnswer) nameTargets() {
	size := 0
	for i := range a.targets {
		size += a.targets[i].MaxLen() + len(".") + len(a.service)
	}
	var text strings.Builder
	text.Grow(size)
	var label [64]byte // few are longer
	a.names = make([]string, len(a.targets))
	for i := range a.targets {
		start := text.Len()
		if text.Write(a.targets[i].Append(label[:0])); text.Len() > start {
			text.WriteByte('.')
		}
		text.WriteString(a.service)
		a.names[i] = text.String()[start:]
	}
}

// appendPTRs appends a PTR for each of pointers, as many as fit.
func appendPTRs(rrs []dns.RR, q *question, ttl uint32, pointers []index.Pointer, zone string) []dns.RR {
	size := q.offset
	for _, p := range pointers {
		target := p.FQDN(zone)
		if size += pointerSize + fixedSize + nameSize(target); size > q.end {
			break
		}
		rrs = append(rrs, &dns.PTR{Hdr: header(q.name, dns.TypePTR, ttl), Ptr: target})
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
func soaRR(owner string, ttl uint32, a *authority, serial, negativeTTL uint32) dns.RR {
	return &dns.SOA{
		Hdr:     header(owner, dns.TypeSOA, ttl),
		Ns:      a.mname,
		Mbox:    a.rname,
		Serial:  serial,
		Refresh: soaRefresh,
		Retry:   soaRetry,
		Expire:  soaExpire,
		Minttl:  negativeTTL,
	}
}
