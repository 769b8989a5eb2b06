package oracle

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"k8s.io/apimachinery/pkg/types"
)

// outcome says whether a name exists, and whether it owns anything.
type outcome int

const (
	nameError outcome = iota
	nonTerminal
	found
)

// outcome says it of a name in the zones.
func (m *Model) outcome(name string) outcome {
	_, isPod := m.podAddr(name)
	switch {
	case isPod || len(m.owners[name]) > 0 || slices.Contains(m.Zones, name):
		return found
	case m.exists[name]:
		return nonTerminal
	}
	return nameError
}

// podAddr returns the address that name, below <namespace>.pod, stands for. ok is false if there is no such name.
func (m *Model) podAddr(name string) (addr netip.Addr, ok bool) {
	zone := m.zoneOf(name)
	parts := strings.Split(strings.TrimSuffix(name, "."+zone), ".")
	if zone == "" || inReverse(zone) || len(parts) != 3 || parts[2] != "pod" || m.Pods == PodsDisabled || !m.exposed[parts[1]] {
		return netip.Addr{}, false
	}
	separator := ":"
	if strings.Count(parts[0], "-") == 3 && !strings.Contains(parts[0], "--") {
		separator = "."
	}
	addr, err := netip.ParseAddr(strings.ReplaceAll(parts[0], "-", separator))
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	addr = addr.Unmap()
	return addr, m.Pods == PodsInsecure || m.pods[types.NamespacedName{Namespace: parts[1], Name: addr.String()}]
}

// rrset returns the records of name and type, owned by name as spelled.
func (m *Model) rrset(spelled string, qtype uint16) []dns.RR {
	name := strings.ToLower(spelled)
	var rrs []dns.RR
	if set := m.owners[name][qtype]; set != nil {
		rrs = slices.Clone(set.list)
	}
	if addr, ok := m.podAddr(name); ok {
		if rr := addressRR(name, m.TTL, addr); rr.Header().Rrtype == qtype {
			rrs = []dns.RR{rr}
		}
	}
	if slices.Contains(m.Zones, name) {
		switch qtype {
		case dns.TypeSOA:
			return []dns.RR{m.soa(spelled, name, m.TTL)}
		case dns.TypeNS:
			for _, s := range m.nameservers(m.naming(name)) {
				rrs = append(rrs, &dns.NS{Hdr: header("", dns.TypeNS, m.TTL), Ns: s.name})
			}
		}
	}
	for i, rr := range rrs {
		rrs[i] = dns.Copy(rr)
		rrs[i].Header().Name = spelled
	}
	return rrs
}

// naming returns the zone whose names the NS and SOA records of zone have.
func (m *Model) naming(zone string) string {
	if inReverse(zone) {
		return m.primary()
	}
	return zone
}

// soa returns the SOA of zone, whose serial is left out.
func (m *Model) soa(spelled, zone string, ttl uint32) dns.RR {
	primary := m.naming(zone)
	return &dns.SOA{
		Hdr: header(spelled, dns.TypeSOA, ttl), Ns: "ns.dns." + primary, Mbox: "hostmaster." + primary,
		Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: m.NegativeTTL,
	}
}

// ttlAt returns the time to live of the records of a name.
func (m *Model) ttlAt(spelled string) uint32 {
	for _, qtype := range []uint16{dns.TypeSOA, dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeTXT} {
		if rrs := m.rrset(spelled, qtype); len(rrs) > 0 {
			return rrs[0].Header().Ttl
		}
	}
	return m.TTL
}

// isKept reports whether name is svc, pod or a namespace below one of them.
func isKept(name, zone string) bool {
	labels := dns.SplitDomainName(strings.TrimSuffix(name, zone))
	n := len(labels)
	return (n == 1 || n == 2) && !inReverse(zone) && (labels[n-1] == "svc" || labels[n-1] == "pod")
}

// maxCNAMEs is how many of them a chain has at most.
const maxCNAMEs = 8

// reply answers a question about a name in one of the zones.
func (m *Model) reply(name string, qtype uint16) *dns.Msg {
	r := new(dns.Msg)
	r.SetQuestion(name, qtype)
	reply := new(dns.Msg)
	reply.SetReply(r)
	reply.Authoritative = true
	m.answer(reply, name, qtype)
	return reply
}

func (m *Model) answer(reply *dns.Msg, spelled string, qtype uint16) {
	name := strings.ToLower(spelled)
	zone := m.zoneOf(name)
	apex := spelled[len(spelled)-len(zone):]
	if cname := m.rrset(spelled, dns.TypeCNAME); len(cname) > 0 {
		target := cname[0].(*dns.CNAME).Target
		isRepeated := slices.ContainsFunc(reply.Answer, func(rr dns.RR) bool { return strings.EqualFold(rr.Header().Name, target) }) || target == name
		reply.Answer = append(reply.Answer, cname...)
		switch {
		case qtype != dns.TypeA && qtype != dns.TypeAAAA || isRepeated || len(reply.Answer) == maxCNAMEs:
		case m.zoneOf(target) != "":
			m.answer(reply, target, qtype)
		default:
			complete(reply, m.Outside(target, qtype))
		}
		return
	}
	outcome := m.outcome(name)
	if outcome != found && m.fallsThrough(name) && (outcome == nameError || !isKept(name, zone)) {
		m.passOn(reply, spelled, qtype, outcome)
		return
	}
	if outcome == nameError {
		reply.Rcode = dns.RcodeNameError
	}
	if rrs := m.rrset(spelled, qtype); len(rrs) > 0 {
		reply.Answer = append(reply.Answer, rrs...)
		reply.Extra = m.addressesOf(rrs)
		return
	}
	if qtype == dns.TypeANY && outcome == found {
		reply.Answer = append(reply.Answer, &dns.HINFO{Hdr: header(spelled, dns.TypeHINFO, m.ttlAt(spelled)), Cpu: "RFC8482"})
		return
	}
	reply.Ns = []dns.RR{m.soa(apex, zone, m.NegativeTTL)}
}

// passOn answers as the next plugin does, but that a name with others below it exists.
func (m *Model) passOn(reply *dns.Msg, spelled string, qtype uint16, outcome outcome) {
	asked := new(dns.Msg)
	asked.SetQuestion(spelled, qtype)
	next := m.Next(asked)
	if outcome == nonTerminal && next.Rcode == dns.RcodeNameError {
		next.Rcode, next.Authoritative = dns.RcodeSuccess, true
		if len(next.Ns) == 0 {
			zone := m.zoneOf(strings.ToLower(spelled))
			next.Ns = []dns.RR{m.soa(spelled[len(spelled)-len(zone):], zone, m.NegativeTTL)}
		}
	}
	if len(reply.Answer) > 0 {
		complete(reply, next)
		return
	}
	next.Id = reply.Id
	*reply = *next
}

// addressesOf returns the addresses of the names that rrs point to.
func (m *Model) addressesOf(rrs []dns.RR) []dns.RR {
	var extra []dns.RR
	seen := make(map[string]bool)
	for _, rr := range rrs {
		target := ""
		switch rr := rr.(type) {
		case *dns.SRV:
			target = rr.Target
		case *dns.NS:
			target = rr.Ns
		}
		if target != "" && !seen[target] {
			seen[target] = true
			extra = append(extra, m.rrset(target, dns.TypeA)...)
			extra = append(extra, m.rrset(target, dns.TypeAAAA)...)
		}
	}
	return extra
}

// complete adds the answer for the last target of a chain.
func complete(reply, answer *dns.Msg) {
	if answer == nil {
		reply.Rcode = dns.RcodeServerFailure
		return
	}
	if answer.Rcode != dns.RcodeRefused {
		reply.Rcode = answer.Rcode
	}
	reply.Answer = append(reply.Answer, answer.Answer...)
	if answer.Rcode == dns.RcodeNameError || answer.Rcode == dns.RcodeSuccess && len(answer.Answer) == 0 {
		reply.Ns = answer.Ns
	}
}
