//go:build !kubernetes

package oracle

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns/coredns/plugin/pkg/dnsutil"
	"github.com/miekg/dns"

	"k8s.io/apimachinery/pkg/types"
)

// rule allows one difference between the kubernetes plugin's replies and ours. It turns what that plugin replies into what
// behaviour.md wants, and does nothing where it does not hold. That our reply is what behaviour.md wants the twin has found
// before; a rule looks at what the other plugin replies and at the objects. The reply is replaced, never modified.
type rule struct {
	Difference
	apply func(c *comparison)
}

// when returns the rule that takes the twin's reply where something holds.
func when(name string, holds func(*comparison) bool) rule {
	return rule{Named(name), func(c *comparison) {
		if holds(c) {
			c.become()
		}
	}}
}

// index returns the position of r among the rules.
func (r *rule) index() int {
	return slices.IndexFunc(rules, func(o rule) bool { return o.Name == r.Name })
}

// rules are applied in this order until the replies agree: first what makes another answer, then what changes details of one.
var rules = []rule{
	{Named("a zone is the same in upper case"), func(c *comparison) {
		if c.question.Name == c.name || !c.isApex() && !c.isNS() {
			return
		}
		c.stock = respelled(c.askStock(c.name, c.question.Qtype), c.name, c.question.Name)
	}},
	when("a slice of names has no endpoints", func(c *comparison) bool {
		return slices.ContainsFunc(c.path(), func(svc *service) bool { return svc.fqdn && !svc.isExternal() }) && c.stockHas(dns.TypeCNAME, dns.TypeSRV, dns.TypeA, dns.TypeAAAA) || c.isFQDN() && c.stockIsNoData()
	}),
	when("an empty non-terminal exists", func(c *comparison) bool {
		return c.stockDenies() && !c.isReverse() && c.twin.outcome(c.name) == nonTerminal
	}),
	when("an empty non-terminal of a reverse tree exists", func(c *comparison) bool {
		return c.stockDenies() && c.isReverse() && c.twin.outcome(c.name) == nonTerminal
	}),
	when("a name exists for every type", func(c *comparison) bool {
		return c.stockDenies() && c.twin.outcome(c.name) == found && !c.twinHas(c.question.Qtype) && !c.isCNAME() && c.question.Qtype != dns.TypeANY
	}),
	when("a name that does not exist has no SOA either", func(c *comparison) bool {
		return c.question.Qtype == dns.TypeSOA && c.stockIsNoData() && c.twin.outcome(c.name) == nameError
	}),
	when("an empty non-terminal falls through", func(c *comparison) bool {
		return c.stockIsNoData() && c.twin.outcome(c.name) == nonTerminal && c.twin.fallsThrough(c.name)
	}),
	when("ANY gets HINFO", func(c *comparison) bool {
		return c.question.Qtype == dns.TypeANY && (c.stockIsNoData() || c.stockDenies()) && c.twin.outcome(c.name) == found && !c.isCNAME()
	}),
	when("a CNAME answers every type", func(c *comparison) bool {
		return c.isCNAME() && !c.isAddressType() && (c.stockIsNoData() || c.stockDenies())
	}),
	when("a CNAME stays when its target does not resolve", func(c *comparison) bool {
		return c.isCNAME() && c.isAddressType() && !c.twinAnswersAddress() && (c.stockIsNoData() || c.stockHas(dns.TypeCNAME) && c.stockIsPartOf(c.want()))
	}),
	{Named("the rcode is that of the CNAME's target"), func(c *comparison) {
		if c.isCNAME() && c.isAddressType() && c.stock.Rcode == dns.RcodeSuccess && c.stockHas(dns.TypeCNAME) && !c.twinAnswersAddress() {
			m, want := c.edit(), c.want()
			m.Rcode, m.Ns = want.Rcode, want.Ns
		}
	}},
	{Named("underscores are part of _port and _proto"), func(c *comparison) {
		labels := c.below("svc")
		if len(labels) != 4 || c.twin.outcome(c.name) != nameError || labels[0][0] == '_' && labels[1][0] == '_' {
			return
		}
		for i := range 2 {
			labels[i] = "_" + strings.TrimPrefix(labels[i], "_")
		}
		full := strings.Join(labels, ".") + ".svc." + c.zone()
		if strings.EqualFold(text(respelled(c.askStock(full, c.question.Qtype), full, c.question.Name)), text(c.stock)) {
			c.become()
		}
	}},
	when("no label is a wildcard", func(c *comparison) bool {
		labels := c.below("svc")
		return len(labels) == 4 && (labels[0] == "_" || labels[1] == "_") && c.twin.outcome(c.name) == nameError
	}),
	when("an endpoint has its ports", func(c *comparison) bool {
		labels := c.below("svc")
		return len(labels) == 5 && labels[0][0] == '_' && labels[1][0] == '_' && c.stockDenies() && c.twin.outcome(c.name) == found
	}),
	when("nothing exists below a pod's name", func(c *comparison) bool {
		return len(c.below("pod")) > 2 && !c.stockDenies() && c.twin.outcome(c.name) == nameError
	}),
	when("a pod's name has no SRV", func(c *comparison) bool {
		_, isPod := c.twin.podAddr(c.name)
		return isPod && c.question.Qtype == dns.TypeSRV && len(c.stock.Answer) == 1 && c.stock.Answer[0].(*dns.SRV).Port == 0
	}),
	{Named("a dashed address has one spelling"), func(c *comparison) {
		if svc, label := c.host(); svc != nil {
			canonical := func(e *endpoint) bool {
				return e.name == "" && e.label() == label && !slices.Contains(e.stock, label)
			}
			odd := func(e *endpoint) bool {
				return e.name == "" && e.label() != label && slices.Contains(e.stock, label)
			}
			both := func(e *endpoint) bool {
				return e.answersTo(label) && slices.ContainsFunc(e.texts, func(text string) bool { return text != e.addr.String() })
			}
			if c.stockIsPartOf(c.want()) && slices.ContainsFunc(svc.ready(), both) || c.stockDenies() && slices.ContainsFunc(svc.ready(), canonical) ||
				!c.stockDenies() && c.twin.outcome(c.name) == nameError && slices.ContainsFunc(svc.ready(), odd) {
				c.become()
			}
		}
	}},
	when("a pod's name takes any spelling of the address", func(c *comparison) bool {
		addr, isPod := c.twin.podAddr(c.name)
		return isPod && c.twin.Pods == PodsVerified && c.stockDenies() && c.below("pod")[0] != strings.NewReplacer(".", "-", ":", "-").Replace(addr.String())
	}),
	when("with endpoint_pod_names the dashed name stays", func(c *comparison) bool {
		svc, label := c.host()
		return svc != nil && c.stockDenies() && slices.ContainsFunc(svc.ready(), func(e *endpoint) bool { return e.alias && AddressLabel(e.addr) == label })
	}),
	when("hostnames of endpoints that are not ready", func(c *comparison) bool {
		svc, label := c.host()
		return svc != nil && c.stockDenies() && svc.spec != nil && svc.spec.Annotations["coredns-headless.github.io/hostnames"] != "" &&
			slices.ContainsFunc(svc.endpoints, func(e *endpoint) bool { return e.state != ready && e.answersTo(label) })
	}),
	when("a reverse zone has only reverse names", func(c *comparison) bool {
		isNoData := c.stockIsNoData() && (c.name == "svc."+c.zone() || c.name == "pod."+c.zone())
		return c.isReverse() && (isNoData || c.name == "dns-version."+c.zone() && c.stockHas(dns.TypeTXT))
	}),
	when("there is always a name server", func(c *comparison) bool {
		return (c.isApex() && c.question.Qtype == dns.TypeNS || c.isNS()) && c.strayServer()
	}),
	when("a reverse zone's name servers are the primary zone's", func(c *comparison) bool {
		return c.isReverse() && (c.isNS() && c.twin.outcome(c.name) == nameError || c.isApex() && c.stockHas(dns.TypeNS))
	}),
	when("a target is called by one valid label", func(c *comparison) bool {
		invalid := false
		c.eachRDATA(func(name string) string {
			svc, label := c.twin.at(strings.ToLower(name)), c.twin.prefix(name)
			invalid = invalid || strings.Contains(label, ".") && slices.ContainsFunc(svc.endpoints, func(e *endpoint) bool { return slices.Contains(e.stock, label) })
			return name
		})
		return invalid
	}),
	{Named("a target's dashed address has one spelling"), func(c *comparison) {
		c.eachRDATA(func(name string) string {
			svc, label := c.twin.at(strings.ToLower(name)), c.twin.prefix(name)
			for _, e := range svc.endpoints {
				if e.name == "" && label != "" && slices.Contains(e.stock, label) {
					return e.label() + strings.TrimPrefix(name, label)
				}
			}
			return name
		})
	}},
	{Named("names in records are in lower case"), func(c *comparison) {
		c.eachRDATA(func(name string) string { return strings.ToLower(name) })
	}},
	when("nothing exists below the reverse name of an address", func(c *comparison) bool {
		_, parent, _ := strings.Cut(c.name, ".")
		return c.stockHas(dns.TypePTR) && c.twin.outcome(c.name) == nameError && strings.HasSuffix(c.name, ".ip6.arpa.") && dns.CountLabel(parent) >= 34
	}),
	{Named("a PTR leads to a name that has the address"), func(c *comparison) {
		c.dropPTRs(func(addr netip.Addr, ptr *dns.PTR) bool { return !c.resolves(ptr.Ptr, addr) })
	}},
	{Named("PTRs to headless Services go first"), func(c *comparison) {
		headless := func(ptr *dns.PTR) bool { return c.twin.at(strings.ToLower(ptr.Ptr)).isHeadless() }
		if slices.ContainsFunc(c.stock.Answer, func(rr dns.RR) bool { ptr, ok := rr.(*dns.PTR); return ok && headless(ptr) }) {
			c.dropPTRs(func(_ netip.Addr, ptr *dns.PTR) bool { return !headless(ptr) })
		}
	}},
	when("an IPv4-mapped address is its IPv4 address", func(c *comparison) bool {
		addr, _ := c.reverseAddr()
		mapped := "::ffff:" + addr.String()
		return slices.ContainsFunc(c.want().Answer, func(rr dns.RR) bool {
			ptr, ok := rr.(*dns.PTR)
			return ok && slices.ContainsFunc(c.twin.at(ptr.Ptr).ready(), func(e *endpoint) bool {
				return e.label() == c.twin.prefix(ptr.Ptr) && slices.Contains(e.texts, mapped)
			})
		})
	}),
	{Named("a record is in an RRset once"), func(c *comparison) {
		if len(c.stock.Answer) > 1 || len(c.stock.Extra) > 1 {
			m := c.edit()
			m.Answer, m.Extra = dns.Dedup(m.Answer, nil), dns.Dedup(m.Extra, nil)
		}
	}},
	when("every endpoint of a headless DNS service is a name server", func(c *comparison) bool {
		several := func(key types.NamespacedName) bool {
			svc := c.twin.services[key]
			return svc.isHeadless() && svc.slices > 1
		}
		return (c.isApex() && c.question.Qtype == dns.TypeNS || c.isNS()) && slices.ContainsFunc(c.twin.dnsServices(), several) && c.stockIsPartOf(c.want())
	}),
	when("an endpoint in several slices has the ports of all of them", func(c *comparison) bool {
		svc := c.service()
		return svc != nil && slices.ContainsFunc(svc.ready(), func(e *endpoint) bool { return e.mixed }) && c.stockIsPartOf(c.want())
	}),
	{Named("an SRV's weight counts the records"), func(c *comparison) {
		if !c.stockHas(dns.TypeSRV) {
			return
		}
		for _, rr := range c.edit().Answer {
			if srv, ok := rr.(*dns.SRV); ok {
				srv.Weight = uint16(max(1, 100/len(c.stock.Answer)))
			}
		}
	}},
	{Named("additional has every address of a target"), func(c *comparison) {
		if c.stockHas(dns.TypeSRV) {
			m := c.edit()
			m.Extra = dns.Dedup(append(m.Extra, c.twin.addressesOf(m.Answer)...), nil)
		}
	}},
	{Named("a denial's time to live is negative_ttl"), func(c *comparison) {
		m := c.edit()
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); ok && c.ownSOA(soa) {
				soa.Hdr.Ttl, soa.Minttl = c.twin.NegativeTTL, c.twin.NegativeTTL
			}
		}
		for _, rr := range m.Answer {
			if soa, ok := rr.(*dns.SOA); ok {
				soa.Minttl = c.twin.NegativeTTL
			}
		}
	}},
	{Named("the SOA's own time to live is ttl"), func(c *comparison) {
		for _, rr := range c.edit().Answer {
			if soa, ok := rr.(*dns.SOA); ok && soa.Hdr.Ttl == 300 {
				soa.Hdr.Ttl = c.twin.TTL
			}
		}
	}},
	{Named("a reverse zone's SOA has the primary zone's names"), func(c *comparison) {
		if !c.isReverse() {
			return
		}
		m := c.edit()
		for _, rr := range slices.Concat(m.Ns, m.Answer) {
			if soa, ok := rr.(*dns.SOA); ok && c.ownSOA(soa) {
				soa.Ns, soa.Mbox = "ns.dns."+c.twin.primary(), "hostmaster."+c.twin.primary()
			}
		}
	}},
}

// want returns the twin's reply.
func (c *comparison) want() *dns.Msg {
	return c.twin.reply(c.question.Name, c.question.Qtype)
}

// become makes stock's reply that of the twin.
func (c *comparison) become() { c.stock = c.want() }

// edit makes stock's reply a copy, which a rule may modify, and returns it.
func (c *comparison) edit() *dns.Msg {
	c.stock = c.stock.Copy()
	return c.stock
}

func (c *comparison) zone() string { return c.twin.zoneOf(c.name) }

func (c *comparison) isReverse() bool { return inReverse(c.zone()) }

func (c *comparison) isApex() bool { return c.name == c.zone() }

func (c *comparison) isNS() bool { return c.name == "ns.dns."+c.zone() }

// isCNAME reports whether the name is that of an ExternalName Service.
func (c *comparison) isCNAME() bool { return c.twin.owners[c.name][dns.TypeCNAME] != nil }

func (c *comparison) isAddressType() bool {
	return c.question.Qtype == dns.TypeA || c.question.Qtype == dns.TypeAAAA
}

// twinHas reports whether the name has records of a type.
func (c *comparison) twinHas(qtype uint16) bool { return len(c.twin.rrset(c.name, qtype)) > 0 }

// twinAnswersAddress reports whether the chain of CNAMEs ends at an address.
func (c *comparison) twinAnswersAddress() bool {
	return slices.ContainsFunc(c.want().Answer, func(rr dns.RR) bool { return rr.Header().Rrtype == c.question.Qtype })
}

// ownSOA reports whether soa is of one of our zones, not the next plugin's.
func (c *comparison) ownSOA(soa *dns.SOA) bool {
	return slices.Contains(c.twin.Zones, strings.ToLower(soa.Hdr.Name))
}

// stockDenies reports whether stock finds no such name: it says so, or leaves the answer to the next plugin.
func (c *comparison) stockDenies() bool {
	return c.stock.Rcode == dns.RcodeNameError && c.stock.Authoritative || c.stockFellThrough()
}

// stockFellThrough reports whether the reply is the next plugin's, which is not authoritative.
func (c *comparison) stockFellThrough() bool { return !c.stock.Authoritative }

// stockIsNoData reports whether stock says that the name exists without that type.
func (c *comparison) stockIsNoData() bool {
	return c.stock.Rcode == dns.RcodeSuccess && len(c.stock.Answer) == 0 && !c.stockFellThrough()
}

// stockHas reports whether stock answers with a record of one of the types.
func (c *comparison) stockHas(types ...uint16) bool {
	return slices.ContainsFunc(c.stock.Answer, func(rr dns.RR) bool { return slices.Contains(types, rr.Header().Rrtype) })
}

// stockIsPartOf reports whether stock answers with fewer records than m has, or denies the name.
func (c *comparison) stockIsPartOf(m *dns.Msg) bool {
	if c.stockDenies() {
		return len(m.Answer) > 0
	}
	for _, rr := range c.stock.Answer {
		same := func(o dns.RR) bool {
			a, b := dns.Copy(rr), dns.Copy(o)
			for _, srv := range []dns.RR{a, b} {
				if srv, ok := srv.(*dns.SRV); ok {
					srv.Weight, srv.Target = 0, strings.ToLower(srv.Target)
				}
			}
			return dns.IsDuplicate(a, b)
		}
		if !slices.ContainsFunc(m.Answer, same) {
			return false
		}
	}
	return len(c.stock.Answer) < len(m.Answer) || len(c.stock.Answer) == len(m.Answer) && len(c.stock.Extra) < len(m.Extra)
}

// below returns the labels of the name below svc or pod, nil for a name elsewhere.
func (c *comparison) below(label string) []string {
	rest, ok := strings.CutSuffix(c.name, "."+label+"."+c.zone())
	if !ok {
		return nil
	}
	return strings.Split(rest, ".")
}

// at returns the Service that name is, or is below; one without anything if there is none.
func (m *Model) at(name string) *service {
	labels := dns.SplitDomainName(strings.TrimSuffix(name, m.zoneOf(name)))
	if n := len(labels); n >= 3 && labels[n-1] == "svc" {
		if svc := m.services[types.NamespacedName{Namespace: labels[n-2], Name: labels[n-3]}]; svc != nil {
			return svc
		}
	}
	return new(service)
}

// prefix returns what stands before the Service in name.
func (m *Model) prefix(name string) string {
	rest, ok := strings.CutSuffix(name, "."+"svc."+name[len(name)-len(m.zoneOf(strings.ToLower(name))):])
	labels := strings.Split(rest, ".")
	if !ok || len(labels) < 3 {
		return ""
	}
	return strings.Join(labels[:len(labels)-2], ".")
}

// strayServer reports whether an address of the server stands in a slice that is not served.
func (c *comparison) strayServer() bool {
	for _, svc := range c.twin.services {
		if c.twin.shown(svc) && !svc.isExternal() {
			continue
		}
		if slices.ContainsFunc(svc.ready(), func(e *endpoint) bool { return slices.Contains(c.twin.Local, e.addr) }) {
			return true
		}
	}
	return false
}

// service returns the Service that the name is, or is below; nil if none is shown.
func (c *comparison) service() *service {
	if svc := c.twin.at(c.name); c.twin.shown(svc) {
		return svc
	}
	return nil
}

// host returns the Service and the hostname's label of a name of that form.
func (c *comparison) host() (*service, string) {
	labels := c.below("svc")
	svc := c.service()
	if n := len(labels); svc == nil || n < 3 || labels[n-3][0] == '_' {
		return nil, ""
	}
	return svc, labels[len(labels)-3]
}

// path returns the Services that the answer leads through.
func (c *comparison) path() []*service {
	list := []*service{c.twin.at(c.name)}
	for _, rr := range c.want().Answer {
		if cname, ok := rr.(*dns.CNAME); ok {
			list = append(list, c.twin.at(cname.Target))
		}
	}
	return list
}

func (c *comparison) isFQDN() bool { return c.twin.at(c.name).fqdn }

// resolves reports whether name has addr.
func (c *comparison) resolves(name string, addr netip.Addr) bool {
	name = strings.ToLower(name)
	for _, rr := range slices.Concat(c.twin.rrset(name, dns.TypeA), c.twin.rrset(name, dns.TypeAAAA)) {
		switch rr := rr.(type) {
		case *dns.A:
			if a, ok := netip.AddrFromSlice(rr.A); ok && a.Unmap() == addr {
				return true
			}
		case *dns.AAAA:
			if a, ok := netip.AddrFromSlice(rr.AAAA); ok && a == addr {
				return true
			}
		}
	}
	return false
}

// reverseAddr returns the address that a reverse name stands for.
func (c *comparison) reverseAddr() (netip.Addr, bool) {
	addr, err := netip.ParseAddr(dnsutil.ExtractAddressFromReverse(c.name))
	return addr, err == nil
}

// dropPTRs takes PTRs out of stock's answer. Without any left, it is the denial that the twin has.
func (c *comparison) dropPTRs(wrong func(addr netip.Addr, ptr *dns.PTR) bool) {
	addr, ok := c.reverseAddr()
	if !ok || !c.stockHas(dns.TypePTR) {
		return
	}
	m := c.edit()
	m.Answer = slices.DeleteFunc(m.Answer, func(rr dns.RR) bool {
		ptr, ok := rr.(*dns.PTR)
		return ok && wrong(addr, ptr)
	})
	if len(m.Answer) == 0 && c.twin.outcome(c.name) == nameError {
		c.become()
	}
}

// eachRDATA changes the names in RDATA, and those of the records in the additional section.
func (c *comparison) eachRDATA(change func(string) string) {
	m := c.edit()
	for _, rr := range slices.Concat(m.Answer, m.Ns) {
		switch rr := rr.(type) {
		case *dns.SRV:
			rr.Target = change(rr.Target)
		case *dns.PTR:
			rr.Ptr = change(rr.Ptr)
		case *dns.NS:
			rr.Ns = change(rr.Ns)
		case *dns.SOA:
			rr.Ns, rr.Mbox = change(rr.Ns), change(rr.Mbox)
		}
	}
	for _, rr := range m.Extra {
		rr.Header().Name = change(rr.Header().Name)
	}
}

// respelled returns m, the reply to a question about name, as the reply to one about spelled.
func respelled(m *dns.Msg, name, spelled string) *dns.Msg {
	m = m.Copy()
	for _, rr := range slices.Concat(m.Answer, m.Ns) {
		if h := rr.Header(); h.Name == name {
			h.Name = spelled
		} else if strings.HasSuffix(name, h.Name) {
			h.Name = spelled[len(spelled)-len(h.Name):]
		}
	}
	return m
}
