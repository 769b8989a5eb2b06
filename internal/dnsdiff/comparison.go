package dnsdiff

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// reply is what one server replies to one question over one network.
type reply struct {
	msg *dns.Msg
	err error // why there is no msg
}

// comparison is two replies to one question over one network, and what is known besides.
type comparison struct {
	question
	network  string
	old, new *dns.Msg
	newWhole *dns.Msg // the new server's reply over TCP, or nil
	zones    []zone
	bufsize  int  // of the client over UDP
	ttl      bool // times to live are compared
	// confirms reports whether the old server says that a name has an address.
	confirms func(name string, addr netip.Addr) bool
}

// cause groups differences.
type cause string

// Causes. Those of single records have the type before them.
const (
	causeDenied         cause = "the new server denies a name that the old one answers"
	causeEmptied        cause = "the new server has no data where the old one has"
	causeRevived        cause = "the new server answers a name that the old one denies"
	causeFilled         cause = "the new server has data where the old one has none"
	causeNoData         cause = "no data with the new server, no such name with the old one"
	causeNameError      cause = "no such name with the new server, no data with the old one"
	causeMissing        cause = "records are missing from the new server's answer"
	causeExtra          cause = "records are in the new server's answer only"
	causePort           cause = "SRV records lead to another port"
	causePriority       cause = "SRV records have another priority"
	causeWeight         cause = "SRV records have another weight"
	causeTarget         cause = "a name in a record is spelled otherwise"
	causeCase           cause = "a name in a record has other capitals"
	causeOwner          cause = "the question's spelling is not kept by both"
	causeOldRepeats     cause = "the old server's answer repeats a record"
	causeNewRepeats     cause = "the new server's answer repeats a record"
	causeMissingAddress cause = "addresses of SRV targets are missing from the new server's additional section"
	causeExtraAddress   cause = "addresses of SRV targets are in the new server's additional section only"
	causeWrongAddress   cause = "addresses that no SRV target has are in the new server's additional section"
	causeSOA            cause = "a denial has another SOA record"
	causeOldTruncates   cause = "only the old server's answer is truncated"
	causeNewTruncates   cause = "only the new server's answer is truncated"
	causeStray          cause = "a truncated answer has records that the whole one has not"
	causeTTL            cause = "times to live"
	causeNegativeTTL    cause = "times to live of denials"
)

// difference is one way in which two replies differ.
type difference struct {
	cause cause
	rr    dns.RR // that it is about; nil: the whole reply
}

// group returns the cause with what is special about the record.
func (d difference) group() string {
	if d.cause == causeMissing || d.cause == causeExtra {
		return dns.TypeToString[d.rr.Header().Rrtype] + " " + string(d.cause)
	}
	return string(d.cause)
}

// outcome is a response code, or for NOERROR whether there is data.
func outcome(m *dns.Msg) string {
	switch {
	case m.Rcode != dns.RcodeSuccess:
		return dns.RcodeToString[m.Rcode]
	case len(m.Answer) == 0:
		return noData
	}
	return data
}

const (
	data      = "data"
	noData    = "NODATA"
	nameError = "NXDOMAIN"
)

// outcomes are the causes by the outcomes of the old and the new server. Others are named after the outcomes.
var outcomes = map[[2]string]cause{
	{data, nameError}:   causeDenied,
	{data, noData}:      causeEmptied,
	{nameError, data}:   causeRevived,
	{noData, data}:      causeFilled,
	{nameError, noData}: causeNoData,
	{noData, nameError}: causeNameError,
}

// differences returns what differs.
func (c *comparison) differences() []difference {
	var ds []difference
	was, is := outcome(c.old), outcome(c.new)
	if was != is {
		why, ok := outcomes[[2]string{was, is}]
		if !ok {
			why = cause(fmt.Sprintf("the old server's outcome is %s, the new one's %s", was, is))
		}
		ds = append(ds, difference{cause: why})
	}
	ds = append(ds, c.additional()...)
	if was != is && (len(c.old.Answer) == 0 || len(c.new.Answer) == 0) {
		return ds
	}
	if c.old.Truncated || c.new.Truncated {
		return append(ds, c.truncation()...)
	}
	ds = append(ds, c.answers()...)
	return append(ds, c.denials()...)
}

// truncation compares replies of which one is not whole.
func (c *comparison) truncation() []difference {
	var ds []difference
	switch {
	case !c.new.Truncated:
		ds = append(ds, difference{cause: causeOldTruncates})
	case !c.old.Truncated:
		ds = append(ds, difference{cause: causeNewTruncates})
	}
	switch {
	case c.network == "udp" && c.newWhole != nil && !c.newWhole.Truncated:
		whole := c.records(c.newWhole.Answer)
		for key, rr := range c.records(c.new.Answer) {
			if whole[key] == nil {
				ds = append(ds, difference{causeStray, rr})
			}
		}
	case c.network == "tcp" && !c.new.Truncated: // what there is of the old answer
		fresh := c.records(c.new.Answer)
		for key, rr := range c.records(c.old.Answer) {
			if fresh[key] == nil {
				ds = append(ds, difference{causeMissing, rr})
			}
		}
	}
	return ds
}

// answers compares the answer sections as sets.
func (c *comparison) answers() []difference {
	var ds []difference
	was, is := c.records(c.old.Answer), c.records(c.new.Answer)
	if len(was) < len(c.old.Answer) {
		ds = append(ds, difference{cause: causeOldRepeats})
	}
	if len(is) < len(c.new.Answer) {
		ds = append(ds, difference{cause: causeNewRepeats})
	}
	var missing, extra []dns.RR
	for key, rr := range was {
		other := is[key]
		if other == nil {
			missing = append(missing, rr)
			continue
		}
		ds = append(ds, c.details(rr, other)...)
	}
	for key, rr := range is {
		if was[key] == nil {
			extra = append(extra, rr)
		}
	}
	// An SRV record to the same target is the same with another port.
	missing = slices.DeleteFunc(missing, func(rr dns.RR) bool {
		i := slices.IndexFunc(extra, func(o dns.RR) bool { return sameTarget(rr, o) })
		if i < 0 {
			return false
		}
		why := causePort
		if rr.(*dns.SRV).Port == extra[i].(*dns.SRV).Port {
			why = causePriority
		}
		ds = append(ds, difference{why, extra[i]})
		extra = slices.Delete(extra, i, i+1)
		return true
	})
	for _, rr := range missing {
		ds = append(ds, difference{causeMissing, rr})
	}
	for _, rr := range extra {
		ds = append(ds, difference{causeExtra, rr})
	}
	return ds
}

// sameTarget reports whether both are SRV records with one target.
func sameTarget(a, b dns.RR) bool {
	s, ok := a.(*dns.SRV)
	o, both := b.(*dns.SRV)
	return ok && both && strings.EqualFold(s.Target, o.Target)
}

// details compares records that are the same but for what records leaves out of a key.
func (c *comparison) details(was, is dns.RR) []difference {
	var ds []difference
	if a, ok := was.(*dns.SRV); ok && a.Weight != is.(*dns.SRV).Weight {
		ds = append(ds, difference{causeWeight, is})
	}
	if a, b := rdataName(was), rdataName(is); a != b {
		why := causeTarget
		if strings.EqualFold(a, b) {
			why = causeCase
		}
		ds = append(ds, difference{why, is})
	}
	if a, b := was.Header().Name == c.name, is.Header().Name == c.name; a != b {
		ds = append(ds, difference{causeOwner, is})
	}
	if c.ttl && was.Header().Ttl != is.Header().Ttl {
		ds = append(ds, difference{causeTTL, is})
	}
	return ds
}

// rdataName returns the name in a record's data that leads on, or "".
func rdataName(rr dns.RR) string {
	switch rr := rr.(type) {
	case *dns.SRV:
		return rr.Target
	case *dns.PTR:
		return rr.Ptr
	case *dns.CNAME:
		return rr.Target
	case *dns.NS:
		return rr.Ns
	}
	return ""
}

// records returns rrs by what has to be the same in both replies: without times to live, weights and SOA serials, with names in lower
// case and labels made of addresses in one spelling.
func (c *comparison) records(rrs []dns.RR) map[string]dns.RR {
	set := make(map[string]dns.RR, len(rrs))
	for _, rr := range rrs {
		key := dns.Copy(rr)
		h := key.Header()
		h.Name, h.Ttl = strings.ToLower(h.Name), 0
		switch rr := key.(type) {
		case *dns.SRV:
			rr.Weight, rr.Target = 0, c.canonical(rr.Target)
		case *dns.PTR:
			rr.Ptr = c.canonical(rr.Ptr)
		case *dns.CNAME:
			rr.Target = strings.ToLower(rr.Target)
		case *dns.NS:
			rr.Ns = c.canonical(rr.Ns)
		case *dns.SOA:
			rr.Ns, rr.Mbox, rr.Serial, rr.Minttl = strings.ToLower(rr.Ns), strings.ToLower(rr.Mbox), 0, 0
		}
		set[key.String()] = rr
	}
	return set
}

// canonical returns the name of an endpoint as it should be spelled, and any other name in lower case.
func (c *comparison) canonical(name string) string {
	name = strings.ToLower(name)
	label, svc := c.cluster.target(name, c.zones)
	if svc == nil {
		return name
	}
	if own := svc.spellings[label]; own != "" {
		return own + strings.TrimPrefix(name, label)
	}
	return name
}

// additional compares the addresses of SRV targets, if both replies have targets, and looks for wrong ones in the new reply in any
// case. A client does without those in a truncated reply.
func (c *comparison) additional() []difference {
	if c.qtype != dns.TypeSRV || c.new.Truncated {
		return nil
	}
	addresses := func(m *dns.Msg) map[string]dns.RR {
		var rrs []dns.RR
		for _, rr := range m.Extra {
			if isAddress(rr.Header().Rrtype) {
				rr = dns.Copy(rr)
				rr.Header().Name = c.canonical(rr.Header().Name)
				rrs = append(rrs, rr)
			}
		}
		return c.records(rrs)
	}
	targets := make(map[string]bool)
	for _, rr := range c.new.Answer {
		targets[c.canonical(rdataName(rr))] = true
	}
	comparable := len(c.old.Answer) > 0 && len(c.new.Answer) > 0 && !c.old.Truncated
	var ds []difference
	was, is := addresses(c.old), addresses(c.new)
	for key, rr := range was {
		if comparable && is[key] == nil {
			ds = append(ds, difference{causeMissingAddress, rr})
		}
	}
	for key, rr := range is {
		name := rr.Header().Name
		switch {
		case was[key] != nil:
		case !targets[name] || !c.resolves(name, addressOf(rr)):
			ds = append(ds, difference{causeWrongAddress, rr})
		case comparable:
			ds = append(ds, difference{causeExtraAddress, rr})
		}
	}
	return ds
}

// resolves reports whether a name has an address: the cluster says so, or the old server, which may know of a change that came after
// the cluster was listed.
func (c *comparison) resolves(name string, addr netip.Addr) bool {
	return c.cluster.resolves(name, c.zones, addr) || c.confirms(name, addr)
}

// addressOf returns the address in a record, or the zero Addr.
func addressOf(rr dns.RR) netip.Addr {
	var addr netip.Addr
	switch rr := rr.(type) {
	case *dns.A:
		addr, _ = netip.AddrFromSlice(rr.A)
	case *dns.AAAA:
		addr, _ = netip.AddrFromSlice(rr.AAAA)
	}
	return addr.Unmap()
}

// denials compares the SOA records that say that there is nothing.
func (c *comparison) denials() []difference {
	a, b := soa(c.old), soa(c.new)
	if len(c.old.Answer)+len(c.new.Answer) > 0 || a == nil && b == nil || outcome(c.old) != outcome(c.new) {
		return nil
	}
	if a == nil || b == nil {
		return []difference{{cause: causeSOA}}
	}
	was, is := c.records([]dns.RR{a}), c.records([]dns.RR{b})
	for key := range is {
		if was[key] == nil {
			return []difference{{causeSOA, b}}
		}
	}
	if c.ttl && (a.Hdr.Ttl != b.Hdr.Ttl || a.Minttl != b.Minttl) {
		return []difference{{causeNegativeTTL, b}}
	}
	return nil
}

// soa returns the SOA record in the authority section, or nil.
func soa(m *dns.Msg) *dns.SOA {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa
		}
	}
	return nil
}
