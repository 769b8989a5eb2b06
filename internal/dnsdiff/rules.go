package dnsdiff

import (
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/oracle"
	"github.com/miekg/dns"
)

// rule allows one difference that headless means to have from CoreDNS's kubernetes plugin: the old server is that plugin, the new
// one headless.
type rule struct {
	oracle.Difference
	allows func(c *comparison, d difference) bool
}

// rules are tried in this order.
var rules = []rule{
	{oracle.Named("an empty non-terminal exists"), func(c *comparison, d difference) bool {
		isNonTerminal := slices.Contains([]kind{kindProto, kindHostProto, kindDNS, kindReverseAbove, kindScope, kindCluster}, c.kind)
		return d.cause == causeNoData && isNonTerminal && c.exists()
	}},
	{oracle.Named("a name exists for every type"), func(c *comparison, d difference) bool {
		return d.cause == causeNoData && c.exists() && !c.owns(c.qtype)
	}},
	{oracle.Named("a name that does not exist has no SOA either"), func(c *comparison, d difference) bool {
		return d.cause == causeNameError && c.qtype == dns.TypeSOA && c.kind.isMiss()
	}},
	{oracle.Named("a zonal name exists if its Service's own name does"), func(c *comparison, d difference) bool {
		return d.cause == causeNameError && c.kind == kindZonal && !c.exists()
	}},
	{oracle.Named("a zone is the same in upper case"), func(c *comparison, d difference) bool {
		return c.kind == kindApex && c.respelled && outcome(c.old) != data && (outcome(c.new) == data) == c.owns(c.qtype)
	}},
	{oracle.Named("the spelling of the question is kept"), func(c *comparison, d difference) bool {
		return d.cause == causeOwner && d.rr.Header().Name == c.name
	}},
	{oracle.Named("a cache keeps the spelling that was asked for first"), func(_ *comparison, d difference) bool {
		return d.cause == causeOwner
	}},
	{oracle.Named("names in records are in lower case"), func(c *comparison, d difference) bool {
		return d.cause == causeCase && rdataName(d.rr) == strings.ToLower(rdataName(d.rr))
	}},
	{oracle.Named("no label is a wildcard"), func(c *comparison, _ difference) bool {
		return c.kind == missWildcard && outcome(c.new) == nameError
	}},
	{oracle.Named("nothing exists below a pod's name"), func(c *comparison, _ difference) bool {
		return c.kind == missBelowPod && outcome(c.new) == nameError
	}},
	{oracle.Named("nothing exists below the reverse name of an address"), func(c *comparison, _ difference) bool {
		return c.kind == missBelowReverse && outcome(c.new) == nameError && c.addr.Is6()
	}},
	{oracle.Named("a CNAME answers every type"), func(c *comparison, d difference) bool {
		answers := d.cause == causeFilled || d.cause == causeRevived
		return c.kind == kindExternal && answers && !isAddress(c.qtype) && hasOnlyCNAMEs(c.new)
	}},
	{oracle.Named("a CNAME stays when its target does not resolve"), func(c *comparison, d difference) bool {
		isCNAME := d.cause == causeExtra && d.rr.Header().Rrtype == dns.TypeCNAME
		isOutcome := d.rr == nil && d.cause != causeOldRepeats && d.cause != causeNewRepeats
		return c.kind == kindExternal && isAddress(c.qtype) && (isCNAME || isOutcome) &&
			len(c.new.Answer) > 0 && hasOnlyCNAMEs(c.new) && hasOnlyCNAMEs(c.old)
	}},
	{oracle.Named("a chain of CNAMEs ends after eight"), func(c *comparison, d difference) bool {
		return c.kind == kindExternal && cnames(c.new) >= 8 && (d.rr == nil || d.cause == causeMissing)
	}},
	{oracle.Named("addresses outside the cluster are their owner's"), func(c *comparison, d difference) bool {
		isRecord := d.cause == causeMissing || d.cause == causeExtra || d.cause == causeTTL
		return c.kind == kindExternal && isRecord && !inZones(d.rr.Header().Name, c.zones) && !hasOnlyCNAMEs(c.old) && !hasOnlyCNAMEs(c.new)
	}},
	{oracle.Named("underscores are part of _port and _proto"), func(c *comparison, _ difference) bool {
		return c.kind == missUnderscore && outcome(c.new) == nameError
	}},
	{oracle.Named("an endpoint has its ports"), func(c *comparison, d difference) bool {
		host := strings.TrimPrefix(c.lower(), c.port.label()+".")
		leadsElsewhere := func(rr dns.RR) bool {
			srv, ok := rr.(*dns.SRV)
			return !ok || srv.Target != host
		}
		return (c.kind == kindHostPort || c.kind == kindUnreadyPort) && d.cause == causeRevived && !slices.ContainsFunc(c.new.Answer, leadsElsewhere)
	}},
	{oracle.Named("a pod's name has no SRV"), func(c *comparison, d difference) bool {
		isSRV := c.kind == kindPod && c.qtype == dns.TypeSRV && d.cause == causeEmptied
		return isSRV && len(c.old.Answer) == 1 && c.old.Answer[0].(*dns.SRV).Port == 0
	}},
	{oracle.Named("a dashed address has one spelling"), func(c *comparison, d difference) bool {
		odd := func(e *endpoint) bool { return e.odd != "" }
		switch {
		case d.cause == causeTarget:
			return rdataName(d.rr) == c.canonical(rdataName(d.rr))
		case c.kind == kindOddHost:
			return outcome(c.old) != nameError && outcome(c.new) == nameError
		}
		return (c.kind == kindHost || c.kind == kindHostProto) && slices.ContainsFunc(c.endpoints, odd) && c.oldIsPart()
	}},
	{oracle.Named("with endpoint_pod_names the dashed name stays"), func(c *comparison, _ difference) bool {
		alias := func(e *endpoint) bool { return e.hostname == "" && e.pod != "" }
		return c.kind == kindHost && slices.ContainsFunc(c.endpoints, alias) && outcome(c.old) == nameError && c.answersEndpoint()
	}},
	{oracle.Named("an IPv4-mapped address is its IPv4 address"), func(c *comparison, d difference) bool {
		mapped := func(e *endpoint) bool { return e.addr == c.addr && e.mapped }
		return c.kind == kindReverse && slices.ContainsFunc(c.service.endpoints, mapped) && c.oldIsPart()
	}},
	{oracle.Named("a record is in an RRset once"), func(_ *comparison, d difference) bool {
		return d.cause == causeOldRepeats
	}},
	{oracle.Named("an SRV's weight counts the records"), func(c *comparison, d difference) bool {
		return d.cause == causeWeight && int(d.rr.(*dns.SRV).Weight) == max(1, 100/len(c.new.Answer))
	}},
	{oracle.Named("additional has every address of a target"), func(_ *comparison, d difference) bool {
		return d.cause == causeExtraAddress
	}},
	{oracle.Named("a zone's name servers are the server itself"), func(c *comparison, _ difference) bool {
		isNS := c.kind == kindApex && c.qtype == dns.TypeNS || c.kind == kindReverseAbove && c.qtype == dns.TypeNS
		return (isNS || c.kind == kindNS) && c.new.Rcode == dns.RcodeSuccess
	}},
	{oracle.Named("a reverse zone's SOA has the primary zone's names"), func(c *comparison, d difference) bool {
		a, b := soa(c.old), soa(c.new)
		both := d.cause == causeSOA && a != nil && b != nil
		return both && strings.EqualFold(a.Hdr.Name, b.Hdr.Name) && strings.HasSuffix(b.Hdr.Name, ".arpa.")
	}},
	{oracle.Named("a PTR leads to a name that has the address"), func(c *comparison, d difference) bool {
		gone := c.oldTargets(d)
		return len(gone) > 0 && !slices.ContainsFunc(gone, func(name string) bool { return c.confirms(name, c.addr) })
	}},
	{oracle.Named("PTRs to headless Services go first"), func(c *comparison, d difference) bool {
		isHeadless := func(name string) bool {
			_, svc := c.cluster.target(c.canonical(name), c.zones)
			return svc != nil && svc.kind == headless
		}
		return d.cause == causeMissing && c.kind == kindReverse && !isHeadless(rdataName(d.rr)) &&
			slices.ContainsFunc(c.new.Answer, func(rr dns.RR) bool { return isHeadless(rdataName(rr)) })
	}},
	{oracle.Named("hostnames of endpoints that are not ready"), func(c *comparison, d difference) bool {
		hasUnready := func(s *service) bool {
			return s.kind == headless && slices.ContainsFunc(s.endpoints, func(e *endpoint) bool { return !e.ready })
		}
		switch c.kind {
		case kindUnready, kindUnreadyPort:
			return outcome(c.old) == nameError && (d.cause == causeRevived || d.cause == causeNoData)
		case kindService, kindScope:
			return d.cause == causeNoData && !c.exists() && hasUnready(c.service)
		}
		return false
	}},
	{oracle.Named("a slice of names has no endpoints"), func(c *comparison, d difference) bool {
		isName := d.cause == causeMissing && d.rr.Header().Rrtype == dns.TypeCNAME
		return c.service != nil && c.service.named && (isName || !c.service.hasEndpoints() && outcome(c.new) == nameError)
	}},
	{oracle.Named("an endpoint in several slices has the ports of all of them"), func(c *comparison, d difference) bool {
		switch d.cause {
		case causeExtra:
			return c.isMixed(d.rr)
		case causeRevived:
			return !slices.ContainsFunc(c.new.Answer, func(rr dns.RR) bool { return !c.isMixed(rr) })
		}
		return false
	}},
	{oracle.Named("a denial's time to live is negative_ttl"), func(_ *comparison, d difference) bool {
		return d.cause == causeNegativeTTL
	}},
	{oracle.Named("the SOA's own time to live is ttl"), func(c *comparison, d difference) bool {
		return d.cause == causeTTL && c.qtype == dns.TypeSOA
	}},
	{oracle.Named("a large answer is truncated later"), func(_ *comparison, d difference) bool {
		return d.cause == causeOldTruncates
	}},
	{oracle.Named("additional records that do not fit are left out"), func(c *comparison, d difference) bool {
		return d.cause == causeMissingAddress && !c.fits(d.rr)
	}},
	{oracle.Named("a client gets the endpoints near it"), func(c *comparison, d difference) bool {
		return d.cause == causeMissing && c.isNear()
	}},
}

// allowed returns the rule that allows d, or nil. None allows a wrong address, whatever the name.
func (c *comparison) allowed(d difference) *rule {
	if d.cause == causeWrongAddress {
		return nil
	}
	for i := range rules {
		if rules[i].allows(c, d) {
			return &rules[i]
		}
	}
	return nil
}

func isAddress(qtype uint16) bool { return qtype == dns.TypeA || qtype == dns.TypeAAAA }

// cnames returns how many CNAMEs an answer has.
func cnames(m *dns.Msg) (n int) {
	for _, rr := range m.Answer {
		if rr.Header().Rrtype == dns.TypeCNAME {
			n++
		}
	}
	return n
}

// hasOnlyCNAMEs reports whether there is nothing else in an answer.
func hasOnlyCNAMEs(m *dns.Msg) bool { return cnames(m) == len(m.Answer) }

// inZones reports whether a name is in one of the zones.
func inZones(name string, zones []zone) bool {
	return slices.ContainsFunc(zones, func(z zone) bool { return dns.IsSubDomain(z.name, name) })
}

// oldIsPart reports whether the old answer has nothing that the new one has not.
func (c *comparison) oldIsPart() bool {
	is := c.records(c.new.Answer)
	for key := range c.records(c.old.Answer) {
		if is[key] == nil {
			return false
		}
	}
	return c.new.Rcode == dns.RcodeSuccess
}

// isMixed reports whether rr is about an endpoint of the Service that is ready in one slice and not in another.
func (c *comparison) isMixed(rr dns.RR) bool {
	if c.service == nil {
		return false
	}
	return slices.ContainsFunc(c.service.endpoints, func(e *endpoint) bool {
		if !e.mixed {
			return false
		}
		if srv, ok := rr.(*dns.SRV); ok {
			label, _ := c.cluster.target(srv.Target, c.zones)
			return label == e.label()
		}
		return addressOf(rr) == e.addr
	})
}

// answersEndpoint reports whether the new answer has only addresses that endpoints of the name have, or leads to the name itself.
func (c *comparison) answersEndpoint() bool {
	addrs := c.endpointAddrs()
	return c.new.Rcode == dns.RcodeSuccess && !slices.ContainsFunc(c.new.Answer, func(rr dns.RR) bool {
		return rr.Header().Rrtype != dns.TypeSRV && !slices.Contains(addrs, addressOf(rr))
	})
}

// oldTargets returns where the PTRs lead that d says are gone: one, or all of the old answer.
func (c *comparison) oldTargets(d difference) []string {
	if c.kind != kindReverse && c.kind != missReverse {
		return nil
	}
	if d.cause == causeMissing {
		return []string{rdataName(d.rr)}
	}
	if d.cause != causeDenied {
		return nil
	}
	var names []string
	for _, rr := range c.old.Answer {
		names = append(names, rdataName(rr))
	}
	return names
}

// isNear reports whether the new answer has all ready endpoints of a headless Service that are meant for clients in one place, and no
// others, as topology hints choose them. All have hints then.
func (c *comparison) isNear() bool {
	if c.kind != kindService && c.kind != kindPort || c.service.kind != headless || len(c.new.Answer) == 0 {
		return false
	}
	isGiven := func(e *endpoint) bool {
		return slices.ContainsFunc(c.new.Answer, func(rr dns.RR) bool {
			if srv, ok := rr.(*dns.SRV); ok {
				label, _, _ := strings.Cut(srv.Target, ".")
				return strings.EqualFold(label, e.label())
			}
			return addressOf(rr) == e.addr
		})
	}
	var could []*endpoint // be in the answer
	var places []string
	for _, e := range c.service.endpoints {
		isOther := c.qtype == dns.TypeA && !e.addr.Is4() || c.qtype == dns.TypeAAAA && !e.addr.Is6()
		if e.ready && !isOther && (c.kind == kindService || slices.Contains(e.ports, c.port)) {
			could, places = append(could, e), append(places, e.hints...)
		}
	}
	return slices.ContainsFunc(places, func(place string) bool {
		return !slices.ContainsFunc(could, func(e *endpoint) bool {
			return len(e.hints) == 0 || isGiven(e) != slices.Contains(e.hints, place)
		})
	})
}

// fits reports whether there is room in the new reply for rr and another record like it, in case the one that did not fit was longer.
func (c *comparison) fits(rr dns.RR) bool {
	more := c.new.Copy()
	more.Extra = append(more.Extra, rr)
	room := dns.MaxMsgSize
	if c.network == "udp" {
		room, more.Compress = max(dns.MinMsgSize, c.bufsize), true
	}
	return more.Len()+dns.Len(rr) <= room
}
