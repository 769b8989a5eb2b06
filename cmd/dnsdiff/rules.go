package main

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// rule allows one difference that headless means to have from CoreDNS's kubernetes plugin: the old server is that plugin, the new
// one headless.
type rule struct {
	name    string
	section string // of behaviour.md; "" for one that stands in README.md by its name
	why     string
	allows  func(c *comparison, d difference) bool
}

// rules are tried in this order.
var rules = []rule{
	{"an empty non-terminal exists", "1", "NXDOMAIN denies what is below it (RFC 8020)", func(c *comparison, d difference) bool {
		isNonTerminal := slices.Contains([]kind{kindProto, kindHostProto, kindDNS, kindReverseAbove, kindScope, kindCluster}, c.kind)
		return d.cause == causeNoData && isNonTerminal && c.exists()
	}},
	{"a name exists for every type", "1", "kubernetes answers NXDOMAIN for types that the name has not", func(c *comparison, d difference) bool {
		return d.cause == causeNoData && c.exists() && !c.owns(c.qtype)
	}},
	{"a name that does not exist has no SOA either", "1", "kubernetes answers NODATA to SOA whatever the name", func(c *comparison, d difference) bool {
		return d.cause == causeNameError && c.qtype == dns.TypeSOA && c.kind.isMiss()
	}},
	{"a zonal name exists if its Service's own name does", "1", "kubernetes has no data below a Service without ready endpoints", func(c *comparison, d difference) bool {
		return d.cause == causeNameError && c.kind == kindZonal && !c.exists()
	}},
	{"a zone is the same in upper case", "1", "kubernetes compares the zone's spelling byte by byte", func(c *comparison, d difference) bool {
		return c.kind == kindApex && c.respelled && outcome(c.old) != data && (outcome(c.new) == data) == c.owns(c.qtype)
	}},
	{"the spelling of the question is kept", "1", "kubernetes does not always", func(c *comparison, d difference) bool {
		return d.cause == causeOwner && d.rr.Header().Name == c.name
	}},
	{"a cache keeps the spelling that was asked for first", "", "a name is the same in any spelling (RFC 4343), and no cache can be seen from outside", func(_ *comparison, d difference) bool {
		return d.cause == causeOwner
	}},
	{"names in records are in lower case", "1", "kubernetes copies capitals of hostnames and of the question's zone", func(c *comparison, d difference) bool {
		return d.cause == causeCase && rdataName(d.rr) == strings.ToLower(rdataName(d.rr))
	}},
	{"no label is a wildcard", "1", "kubernetes takes _ for every port and protocol", func(c *comparison, _ difference) bool {
		return c.kind == missWildcard && outcome(c.new) == nameError
	}},
	{"nothing exists below a pod's name", "1", "kubernetes ignores the labels below", func(c *comparison, _ difference) bool {
		return c.kind == missBelowPod && outcome(c.new) == nameError
	}},
	{"nothing exists below the reverse name of an address", "1", "kubernetes ignores the labels below in ip6.arpa", func(c *comparison, _ difference) bool {
		return c.kind == missBelowReverse && outcome(c.new) == nameError && c.addr.Is6()
	}},
	{"a CNAME answers every type", "1", "kubernetes gives it for A, AAAA and CNAME only (RFC 1034 section 4.3.2)", func(c *comparison, d difference) bool {
		answers := d.cause == causeFilled || d.cause == causeRevived
		return c.kind == kindExternal && answers && !isAddress(c.qtype) && hasOnlyCNAMEs(c.new)
	}},
	{"a CNAME stays when its target does not resolve", "2", "kubernetes leaves it out; the response code is the target's (RFC 6604)", func(c *comparison, d difference) bool {
		isCNAME := d.cause == causeExtra && d.rr.Header().Rrtype == dns.TypeCNAME
		isOutcome := d.rr == nil && d.cause != causeOldRepeats && d.cause != causeNewRepeats
		return c.kind == kindExternal && isAddress(c.qtype) && (isCNAME || isOutcome) &&
			len(c.new.Answer) > 0 && hasOnlyCNAMEs(c.new) && hasOnlyCNAMEs(c.old)
	}},
	{"a chain of CNAMEs ends after eight", "2", "kubernetes follows eleven", func(c *comparison, d difference) bool {
		return c.kind == kindExternal && cnames(c.new) >= 8 && (d.rr == nil || d.cause == causeMissing)
	}},
	{"addresses outside the cluster are their owner's", "2", "the target of an ExternalName may have others each time", func(c *comparison, d difference) bool {
		isRecord := d.cause == causeMissing || d.cause == causeExtra || d.cause == causeTTL
		return c.kind == kindExternal && isRecord && !inZones(d.rr.Header().Name, c.zones) && !hasOnlyCNAMEs(c.old) && !hasOnlyCNAMEs(c.new)
	}},
	{"underscores are part of _port and _proto", "2", "kubernetes takes http.tcp for _http._tcp", func(c *comparison, _ difference) bool {
		return c.kind == missUnderscore && outcome(c.new) == nameError
	}},
	{"an endpoint has its ports", "2", "kubernetes knows no _port._proto below a hostname", func(c *comparison, d difference) bool {
		host := strings.TrimPrefix(c.lower(), c.port.label()+".")
		leadsElsewhere := func(rr dns.RR) bool {
			srv, ok := rr.(*dns.SRV)
			return !ok || srv.Target != host
		}
		return (c.kind == kindHostPort || c.kind == kindUnreadyPort) && d.cause == causeRevived && !slices.ContainsFunc(c.new.Answer, leadsElsewhere)
	}},
	{"a pod's name has no SRV", "2", "kubernetes gives one with port 0", func(c *comparison, d difference) bool {
		isSRV := c.kind == kindPod && c.qtype == dns.TypeSRV && d.cause == causeEmptied
		return isSRV && len(c.old.Answer) == 1 && c.old.Answer[0].(*dns.SRV).Port == 0
	}},
	{"a dashed address has one spelling", "2", "kubernetes spells it as the object does: --5, ::ffff:10-0-0-8", func(c *comparison, d difference) bool {
		odd := func(e *endpoint) bool { return e.odd != "" }
		switch {
		case d.cause == causeTarget:
			return rdataName(d.rr) == c.canonical(rdataName(d.rr))
		case c.kind == kindOddHost:
			return outcome(c.old) != nameError && outcome(c.new) == nameError
		}
		return (c.kind == kindHost || c.kind == kindHostProto) && slices.ContainsFunc(c.endpoints, odd) && c.oldIsPart()
	}},
	{"with endpoint_pod_names the dashed name stays", "2", "kubernetes drops it", func(c *comparison, _ difference) bool {
		alias := func(e *endpoint) bool { return e.hostname == "" && e.pod != "" }
		return c.kind == kindHost && slices.ContainsFunc(c.endpoints, alias) && outcome(c.old) == nameError && c.answersEndpoint()
	}},
	{"an IPv4-mapped address is its IPv4 address", "2", "kubernetes has no PTR for it", func(c *comparison, d difference) bool {
		mapped := func(e *endpoint) bool { return e.addr == c.addr && e.mapped }
		return c.kind == kindReverse && slices.ContainsFunc(c.service.endpoints, mapped) && c.oldIsPart()
	}},
	{"a record is in an RRset once", "2", "kubernetes repeats an endpoint that has two addresses", func(_ *comparison, d difference) bool {
		return d.cause == causeOldRepeats
	}},
	{"an SRV's weight counts the records", "2", "kubernetes counts addresses and ports that make one record", func(c *comparison, d difference) bool {
		return d.cause == causeWeight && int(d.rr.(*dns.SRV).Weight) == max(1, 100/len(c.new.Answer))
	}},
	{"additional has every address of a target", "2", "kubernetes leaves out addresses without the port", func(_ *comparison, d difference) bool {
		return d.cause == causeExtraAddress
	}},
	{"a zone's name servers are the server itself", "2", "each of the two has addresses and Services of its own", func(c *comparison, _ difference) bool {
		isNS := c.kind == kindApex && c.qtype == dns.TypeNS || c.kind == kindReverseAbove && c.qtype == dns.TypeNS
		return (isNS || c.kind == kindNS) && c.new.Rcode == dns.RcodeSuccess
	}},
	{"a reverse zone's SOA has the primary zone's names", "2", "kubernetes makes names for it in the reverse zone", func(c *comparison, d difference) bool {
		a, b := soa(c.old), soa(c.new)
		both := d.cause == causeSOA && a != nil && b != nil
		return both && strings.EqualFold(a.Hdr.Name, b.Hdr.Name) && strings.HasSuffix(b.Hdr.Name, ".arpa.")
	}},
	{"a PTR leads to a name that has the address", "3", "kubernetes gives PTRs for whatever a slice says", func(c *comparison, d difference) bool {
		gone := c.oldTargets(d)
		return len(gone) > 0 && !slices.ContainsFunc(gone, func(name string) bool { return c.confirms(name, c.addr) })
	}},
	{"PTRs to headless Services go first", "3", "kubernetes mixes in those to endpoints of ClusterIP Services", func(c *comparison, d difference) bool {
		isHeadless := func(name string) bool {
			_, svc := c.cluster.target(c.canonical(name), c.zones)
			return svc != nil && svc.kind == headless
		}
		return d.cause == causeMissing && c.kind == kindReverse && !isHeadless(rdataName(d.rr)) &&
			slices.ContainsFunc(c.new.Answer, func(rr dns.RR) bool { return isHeadless(rdataName(rr)) })
	}},
	{"hostnames of endpoints that are not ready", "4", "the option hostnames and the annotation show them", func(c *comparison, d difference) bool {
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
	{"a slice of names has no endpoints", "4", "kubernetes makes CNAMEs of its names", func(c *comparison, d difference) bool {
		isName := d.cause == causeMissing && d.rr.Header().Rrtype == dns.TypeCNAME
		return c.service != nil && c.service.named && (isName || !c.service.hasEndpoints() && outcome(c.new) == nameError)
	}},
	{"an endpoint in several slices has the ports of all of them", "4", "kubernetes leaves out the slices in which it is not ready", func(c *comparison, d difference) bool {
		switch d.cause {
		case causeExtra:
			return c.isMixed(d.rr)
		case causeRevived:
			return !slices.ContainsFunc(c.new.Answer, func(rr dns.RR) bool { return !c.isMixed(rr) })
		}
		return false
	}},
	{"a denial's time to live is negative_ttl", "6", "kubernetes uses ttl for it", func(_ *comparison, d difference) bool {
		return d.cause == causeNegativeTTL
	}},
	{"the SOA's own time to live is ttl", "6", "kubernetes takes no more than 300", func(c *comparison, d difference) bool {
		return d.cause == causeTTL && c.qtype == dns.TypeSOA
	}},
	{"a large answer is truncated later", "7", "additional records are left out first, and as many records as fit are sent", func(_ *comparison, d difference) bool {
		return d.cause == causeOldTruncates
	}},
	{"additional records that do not fit are left out", "7", "without a mark (RFC 2181 section 9)", func(c *comparison, d difference) bool {
		return d.cause == causeMissingAddress && !c.fits(d.rr)
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
