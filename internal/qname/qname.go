// Package qname takes the names of queries apart, by their labels alone: whether a name of some form exists is not known here.
package qname

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/coredns-headless/headless/internal/model"
)

// Kind is the form of a name below one of our zones. It follows from the labels alone: whether a name of that form exists
// is the index's to say.
type Kind uint8

// The kinds.
const (
	Absent        Kind = iota // no name of this form exists, whatever the cluster holds
	Apex                      // the zone itself
	Structural                // svc and pod, which exist whatever is below them
	NSParent                  // dns, above ns.dns
	VersionName               // dns-version
	NSName                    // ns.dns
	NamespaceName             // <namespace>.svc
	ServiceName               // <service>.<namespace>.svc and what is below it
	PodsName                  // <namespace>.pod
	PodName                   // <label>.<namespace>.pod
	ReverseName               // a reverse name, or an ancestor of one
)

// Name is a qname taken apart. Its strings are parts of the lower-case qname.
type Name struct {
	Kind      Kind
	Namespace string
	Service   string
	// Hostname is the label before the Service, "" when there is none.
	Hostname string
	// Cluster says that hostname is the label of a cluster, in a multicluster zone, and no endpoint's.
	Cluster bool
	// Scope and zone are set for the names below _zone.<service>: zone is what stands before pin or prefer.
	Scope    Scope
	Topology string
	// Port and proto are the labels of _port._proto without their underscores. Both are "" when the name has none; proto
	// alone stands for the empty non-terminal _proto.
	Port, Proto string
	// Pod is the label before <namespace>.pod.
	Pod string
	// Addr is the address that hostname spells, if it is a canonical dashed address.
	Addr netip.Addr
	// Prefix covers the addresses at and below a reverse name; for a whole address it is that address alone.
	Prefix netip.Prefix
}

// Scope says which of a headless Service's endpoints a name below _zone.<service> has.
type Scope uint8

// The scopes.
const (
	Everywhere Scope = iota // the name is not below _zone
	ScopeName               // none: the name is _zone, pin._zone or prefer._zone, which exist for what is below them
	Pin                     // those in a topology zone
	Prefer                  // those in a topology zone or, if it has none, all
)

// Grammar says which names there are in a zone beside those that every zone has.
type Grammar uint8

// The grammars.
const (
	Plain        Grammar = iota
	Zonal                // <topology zone>.pin|prefer._zone.<service>
	Multicluster         // <hostname>.<cluster>.<service> in place of <hostname>.<service>
)

// Parse sets q, the zero query, to what qname is made of, a lower-case FQDN at or below zone. It allocates at most once, for a
// dashed IPv6 address.
func (q *Name) Parse(qname, zone string, g Grammar) {
	if len(qname) == len(zone) {
		q.Kind = Apex
		return
	}
	if InZone(qname, Reverse4) || InZone(qname, Reverse6) {
		if prefix, ok := ParseReverse(qname); ok {
			q.Kind, q.Prefix = ReverseName, prefix
		}
		return
	}
	rest := strings.TrimSuffix(qname[:len(qname)-len(zone)], ".")
	rest, label := CutLast(rest)
	switch label {
	case "svc":
		q.ParseService(rest, g)
	case "pod":
		q.parsePod(rest)
	case "dns":
		switch rest {
		case "":
			q.Kind = NSParent
		case "ns":
			q.Kind = NSName
		}
	case "dns-version":
		if rest == "" {
			q.Kind = VersionName
		}
	}
}

// ParseService sets q to what stands before ".svc".
func (q *Name) ParseService(rest string, g Grammar) {
	if rest == "" {
		q.Kind = Structural
		return
	}
	q.Kind = ServiceName
	rest, q.Namespace = CutLast(rest)
	if rest == "" {
		q.Kind = NamespaceName
		return
	}
	rest, q.Service = CutLast(rest)
	if rest == "" {
		return
	}
	before, label := CutLast(rest)
	switch {
	case g == Zonal && label == "_zone":
		q.parseScope(before)
		return
	case strings.HasPrefix(label, "_"):
		before = rest
	case g != Multicluster:
		q.Hostname = label
		q.Addr, _ = model.ParseDashed(label)
	case before == "":
		q.Hostname, q.Cluster = label, true
	default:
		farther, hostname := CutLast(before)
		if strings.HasPrefix(hostname, "_") {
			*q = Name{}
			return
		}
		q.Hostname = rest[len(before)-len(hostname):]
		before = farther
	}
	q.parsePort(before)
}

// parsePort completes q with _port._proto, or _proto, or nothing.
func (q *Name) parsePort(rest string) {
	if rest == "" {
		return
	}
	rest, label := CutLast(rest)
	if len(label) < 2 || label[0] != '_' {
		*q = Name{}
		return
	}
	q.Proto = label[1:]
	if rest == "" {
		return
	}
	rest, label = CutLast(rest)
	if len(label) < 2 || label[0] != '_' || rest != "" {
		*q = Name{}
		return
	}
	q.Port = label[1:]
}

// parseScope completes q with what stands before "_zone": pin or prefer, and before that a topology zone, which may have dots.
func (q *Name) parseScope(rest string) {
	q.Scope = ScopeName
	if rest == "" {
		return
	}
	rest, label := CutLast(rest)
	directive := Pin
	switch label {
	case "pin":
	case "prefer":
		directive = Prefer
	default:
		*q = Name{}
		return
	}
	if rest != "" {
		q.Scope, q.Topology = directive, rest
	}
}

// parsePod sets q to what stands before ".pod".
func (q *Name) parsePod(rest string) {
	if rest == "" {
		q.Kind = Structural
		return
	}
	q.Kind = PodsName
	rest, q.Namespace = CutLast(rest)
	if rest == "" {
		return
	}
	q.Kind = PodName
	if rest, q.Pod = CutLast(rest); rest != "" {
		*q = Name{}
	}
}

// CutLast splits off the last label of name, which has no trailing dot. A dot that is escaped belongs to its label
// (RFC 1035 section 5.1).
func CutLast(name string) (rest, label string) {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '.' && !escaped(name, i) {
			return name[:i], name[i+1:]
		}
	}
	return "", name
}

// escaped reports whether an odd number of backslashes stands before name[i].
func escaped(name string, i int) bool {
	odd := false
	for i--; i >= 0 && name[i] == '\\'; i-- {
		odd = !odd
	}
	return odd
}

// InZone reports whether qname is at or below zone. Both are lower-case FQDNs.
func InZone(qname, zone string) bool {
	if zone == "." {
		return true
	}
	if !strings.HasSuffix(qname, zone) {
		return false
	}
	i := len(qname) - len(zone)
	return i == 0 || qname[i-1] == '.' && !escaped(qname, i-1)
}

// The apexes of the reverse trees, of IPv4 and IPv6.
const (
	Reverse4 = "in-addr.arpa."
	Reverse6 = "ip6.arpa."
)

// ParseReverse returns the addresses at and below a name of the reverse trees in-addr.arpa (RFC 1035 section 3.5) and
// ip6.arpa (RFC 3596 section 2.5). ok is false for every other name, also for one below a whole address.
func ParseReverse(name string) (prefix netip.Prefix, ok bool) {
	if InZone(name, Reverse4) {
		var addr [4]byte
		rest := strings.TrimSuffix(name[:len(name)-len(Reverse4)], ".")
		n := 0
		for ; rest != ""; n++ {
			var label string
			rest, label = CutLast(rest)
			octet, ok := model.ParseOctet(label)
			if !ok || n == len(addr) {
				return netip.Prefix{}, false
			}
			addr[n] = octet
		}
		return netip.PrefixFrom(netip.AddrFrom4(addr), 8*n), true
	}
	if InZone(name, Reverse6) {
		var addr [16]byte
		rest := strings.TrimSuffix(name[:len(name)-len(Reverse6)], ".")
		n := 0
		for ; rest != ""; n++ {
			var label string
			rest, label = CutLast(rest)
			nibble, ok := parseNibble(label)
			if !ok || n == 2*len(addr) {
				return netip.Prefix{}, false
			}
			addr[n/2] |= nibble << (4 * (1 - n%2))
		}
		return netip.PrefixFrom(netip.AddrFrom16(addr), 4*n), true
	}
	return netip.Prefix{}, false
}

// Parent returns the prefix of the reverse name one label up. A prefix of no bits has none.
func Parent(p netip.Prefix) netip.Prefix {
	bits := 4
	if p.Addr().Is4() {
		bits = 8
	}
	return netip.PrefixFrom(p.Addr(), p.Bits()-bits).Masked()
}

// parseNibble reads one lower-case hexadecimal digit.
func parseNibble(s string) (byte, bool) {
	if len(s) != 1 {
		return 0, false
	}
	switch c := s[0]; {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// ParsePodLabel returns the address that the label of a pod's name stands for. Like the kubernetes plugin it takes any
// spelling: three single hyphens make an IPv4 address, anything else an IPv6 one.
func ParsePodLabel(label string) (netip.Addr, bool) {
	if addr, ok := model.ParseDashed4(label); ok {
		return addr, true // the common case, without a copy
	}
	separator := ":"
	if strings.Count(label, "-") == 3 && !strings.Contains(label, "--") {
		separator = "."
	}
	addr, err := netip.ParseAddr(strings.ReplaceAll(label, "-", separator))
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// ServiceFQDN returns the name of a Service in zone.
func ServiceFQDN(service, namespace, zone string) string {
	return service + "." + namespace + ".svc." + strings.TrimPrefix(zone, ".")
}

// FQDN returns the name in zone that q was parsed from, in lower case, and "" for a form that does not tell: what is absent,
// structural, or below _zone.
func (q *Name) FQDN(zone string) string {
	if q.Scope != Everywhere {
		return ""
	}
	var labels []string
	add := func(prefix, label string) {
		if label != "" {
			labels = append(labels, prefix+label)
		}
	}
	switch q.Kind {
	case Apex:
		return zone
	case VersionName:
		add("", "dns-version")
	case NSName:
		add("", "ns.dns")
	case NamespaceName, ServiceName:
		add("_", q.Port)
		add("_", q.Proto)
		add("", q.Hostname)
		add("", q.Service)
		add("", q.Namespace)
		add("", "svc")
	case PodsName, PodName:
		add("", q.Pod)
		add("", q.Namespace)
		add("", "pod")
	case ReverseName:
		return Reverse(q.Prefix)
	default:
		return ""
	}
	if zone != "." {
		labels = append(labels, strings.TrimSuffix(zone, "."))
	}
	return strings.Join(labels, ".") + "."
}

// Reverse returns the reverse name that p stands for: the inverse of ParseReverse.
func Reverse(p netip.Prefix) string {
	name, bits := "in-addr.arpa.", 8
	if p.Addr().Is6() {
		name, bits = "ip6.arpa.", 4
	}
	octets := p.Addr().AsSlice()
	for at := 0; at < p.Bits(); at += bits {
		switch octet := octets[at/8]; {
		case bits == 8:
			name = fmt.Sprintf("%d.%s", octet, name)
		case at%8 == 0:
			name = fmt.Sprintf("%x.%s", octet>>4, name)
		default:
			name = fmt.Sprintf("%x.%s", octet&0xf, name)
		}
	}
	return name
}
