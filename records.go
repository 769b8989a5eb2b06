package headless

import (
	"net/netip"

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
func addressRRSize(f family) int { return pointerSize + fixedSize + f.size() }

// nameSize returns the uncompressed size of an FQDN without escapes; with escapes it is larger than the true one.
func nameSize(name string) int {
	if name == "." {
		return 1
	}
	return len(name) + 1
}

// addressRRs returns a record for each of addrs, octets one behind the other.
func addressRRs(owner string, ttl uint32, addrs []byte, f family) []dns.RR {
	size := f.size()
	rrs := make([]dns.RR, len(addrs)/size)
	if f == v4 {
		slab := make([]dns.A, len(rrs))
		for i := range slab {
			slab[i] = dns.A{Hdr: header(owner, dns.TypeA, ttl), A: addrs[i*size : (i+1)*size : (i+1)*size]}
			rrs[i] = &slab[i]
		}
		return rrs
	}
	slab := make([]dns.AAAA, len(rrs))
	for i := range slab {
		slab[i] = dns.AAAA{Hdr: header(owner, dns.TypeAAAA, ttl), AAAA: addrs[i*size : (i+1)*size : (i+1)*size]}
		rrs[i] = &slab[i]
	}
	return rrs
}

// addressRR returns the record for one address.
func addressRR(owner string, ttl uint32, addr netip.Addr) dns.RR {
	return addressRRs(owner, ttl, appendAddr(nil, addr), familyOf(addr))[0]
}

func header(owner string, rrtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

// append appends the label that h stands for.
func (h hostLabel) append(b []byte) []byte {
	if h.name != "" || !h.addr.IsValid() {
		return append(b, h.name...)
	}
	return appendDashed(b, h.addr)
}

// fqdn returns the name that p points to in zone.
func (p pointer) fqdn(zone string) string {
	b := p.append(make([]byte, 0, 64))
	if len(b) > 0 {
		b = append(b, '.')
	}
	return string(append(b, serviceFQDN(p.service, p.namespace, zone)...))
}

// serviceFQDN returns the name of a Service in zone.
func serviceFQDN(service, namespace, zone string) string {
	return below(service+"."+namespace+".svc", zone)
}

// below returns the FQDN of name, relative to zone.
func below(name, zone string) string {
	if zone == "." {
		return name + "."
	}
	return name + "." + zone
}

// leastSRVSize returns the size of the smallest SRV record of a Service in zone.
func leastSRVSize(service, namespace, zone string) int {
	return pointerSize + fixedSize + 6 + nameSize(zone) + len(service) + len(namespace) + len("...svc")
}

// srvAnswer is an SRV RRset under construction: as many whole records as fit before the end of the message, SRV records
// first. Its methods are called in the order answer, extra.
type srvAnswer struct {
	owner   string
	ttl     uint32
	service string // the FQDN of the Service that all targets are in
	targets []target
	total   int // records in the whole RRset
	size    int // of the message so far
	end     int // of the message at most

	names []string // of targets
	shown int      // targets whose names are in the message
	near  int      // those of them that a compression pointer can reach
}

// answer returns the SRV records.
func (a *srvAnswer) answer() []dns.RR {
	a.nameTargets()
	weight := uint16(max(1, 100/max(1, a.total))) //nolint:gosec // at most 100
	n := 0
	for _, t := range a.targets {
		n += len(t.ports)
	}
	slab := make([]dns.SRV, 0, n)
	for i, t := range a.targets {
		for _, number := range t.ports {
			// RFC 2782: the target is not compressed.
			at := a.size + pointerSize + fixedSize + 6
			if at+nameSize(a.names[i]) > a.end {
				return srvRRs(slab)
			}
			if a.shown == i {
				a.shown++
				if at < maxPointer {
					a.near++
				}
			}
			a.size = at + nameSize(a.names[i])
			slab = append(slab, dns.SRV{Hdr: header(a.owner, dns.TypeSRV, a.ttl), Weight: weight, Port: number, Target: a.names[i]})
		}
	}
	return srvRRs(slab)
}

func srvRRs(slab []dns.SRV) []dns.RR {
	rrs := make([]dns.RR, len(slab))
	for i := range slab {
		rrs[i] = &slab[i]
	}
	return rrs
}

// extra returns the addresses of the targets of the SRV records.
func (a *srvAnswer) extra() []dns.RR {
	rrs := make([]dns.RR, 0, a.shown)
	for i, t := range a.targets[:a.shown] {
		owner := pointerSize
		if i >= a.near {
			owner = len(a.names[i]) - len(a.service) + pointerSize
		}
		for _, addr := range t.addrs {
			a.size += owner + fixedSize + familyOf(addr).size()
			if a.size > a.end {
				return rrs
			}
			rrs = append(rrs, addressRR(a.names[i], a.ttl, addr))
		}
	}
	return rrs
}

// nameTargets sets the names of the targets, all of them parts of one string.
func (a *srvAnswer) nameTargets() {
	var b []byte
	ends := make([]int, len(a.targets))
	for i, t := range a.targets {
		start := len(b)
		if b = t.append(b); len(b) > start {
			b = append(b, '.')
		}
		b = append(b, a.service...)
		ends[i] = len(b)
	}
	all, start := string(b), 0
	a.names = make([]string, len(ends))
	for i, end := range ends {
		a.names[i] = all[start:end]
		start = end
	}
}

// ptrRRs returns a PTR for each of pointers.
func ptrRRs(owner string, ttl uint32, pointers []pointer, zone string) []dns.RR {
	rrs := make([]dns.RR, len(pointers))
	for i, p := range pointers {
		rrs[i] = &dns.PTR{Hdr: header(owner, dns.TypePTR, ttl), Ptr: p.fqdn(zone)}
	}
	return rrs
}

// nsRRs returns the NS records of a zone and the addresses of their targets.
func nsRRs(owner string, ttl uint32, servers []namedServer) (answer, extra []dns.RR) {
	for _, s := range servers {
		answer = append(answer, &dns.NS{Hdr: header(owner, dns.TypeNS, ttl), Ns: s.name})
		for _, addr := range s.addrs {
			extra = append(extra, addressRR(s.name, ttl, addr))
		}
	}
	return answer, extra
}

// namedServer is a name server and its addresses.
type namedServer struct {
	name  string
	addrs []netip.Addr
}

func cnameRR(owner string, ttl uint32, target string) dns.RR {
	return &dns.CNAME{Hdr: header(owner, dns.TypeCNAME, ttl), Target: target}
}

// versionRR returns the TXT record of dns-version (specification section 2.2).
func versionRR(owner string) dns.RR {
	return &dns.TXT{Hdr: header(owner, dns.TypeTXT, versionTTL), Txt: []string{schemaVersion}}
}

// soaRR returns a SOA record. Its names are those of the zone primary; negativeTTL is its minimum, the time to live of
// negative answers (RFC 2308 section 4).
func soaRR(owner string, ttl uint32, primary string, serial, negativeTTL uint32) dns.RR {
	return &dns.SOA{
		Hdr:     header(owner, dns.TypeSOA, ttl),
		Ns:      below("ns.dns", primary),
		Mbox:    below("hostmaster", primary),
		Serial:  serial,
		Refresh: soaRefresh,
		Retry:   soaRetry,
		Expire:  soaExpire,
		Minttl:  negativeTTL,
	}
}
