package headless

import (
	"net/netip"
	"strings"
)

// kind is the form of a name below one of our zones. It follows from the labels alone: whether a name of that form exists
// is the index's to say.
type kind uint8

const (
	absent        kind = iota // no name of this form exists, whatever the cluster holds
	apex                      // the zone itself
	structural                // svc, pod and dns, which exist whatever is below them
	versionName               // dns-version
	nsName                    // ns.dns
	namespaceName             // <namespace>.svc
	serviceName               // <service>.<namespace>.svc and what is below it
	podsName                  // <namespace>.pod
	podName                   // <label>.<namespace>.pod
	reverseName               // a reverse name, or an ancestor of one
)

// query is a qname taken apart. Its strings are parts of the lower-case qname.
type query struct {
	kind      kind
	namespace string
	service   string
	// hostname is the label before the Service, "" when there is none.
	hostname string
	// cluster says that hostname is the label of a cluster, in a multicluster zone, and no endpoint's.
	cluster bool
	// scope and zone are set for the names below _zone.<service>: zone is what stands before pin or prefer.
	scope scope
	zone  string
	// port and proto are the labels of _port._proto without their underscores. Both are "" when the name has none; proto
	// alone stands for the empty non-terminal _proto.
	port, proto string
	// pod is the label before <namespace>.pod.
	pod string
	// addr is the address that hostname spells, if it is a canonical dashed address.
	addr netip.Addr
	// prefix covers the addresses at and below a reverse name; for a whole address it is that address alone.
	prefix netip.Prefix
}

// scope says which of a headless Service's endpoints a name below _zone.<service> has.
type scope uint8

const (
	everywhere scope = iota // the name is not below _zone
	scopeName               // none: the name is _zone, pin._zone or prefer._zone, which exist for what is below them
	pin                     // those in a topology zone
	prefer                  // those in a topology zone or, if it has none, all
)

// grammar says which names there are in a zone beside those that every zone has.
type grammar uint8

const (
	plain        grammar = iota
	zonal                // <topology zone>.pin|prefer._zone.<service>
	multicluster         // <hostname>.<cluster>.<service> in place of <hostname>.<service>
)

// parse sets q, the zero query, to what qname is made of, a lower-case FQDN at or below zone. It allocates at most once, for a
// dashed IPv6 address.
func (q *query) parse(qname, zone string, g grammar) {
	if len(qname) == len(zone) {
		q.kind = apex
		return
	}
	if inZone(qname, reverse4) || inZone(qname, reverse6) {
		if prefix, ok := parseReverse(qname); ok {
			q.kind, q.prefix = reverseName, prefix
		}
		return
	}
	rest := strings.TrimSuffix(qname[:len(qname)-len(zone)], ".")
	rest, label := cutLast(rest)
	switch label {
	case "svc":
		q.parseService(rest, g)
	case "pod":
		q.parsePod(rest)
	case "dns":
		switch rest {
		case "":
			q.kind = structural
		case "ns":
			q.kind = nsName
		}
	case "dns-version":
		if rest == "" {
			q.kind = versionName
		}
	}
}

// parseService sets q to what stands before ".svc".
func (q *query) parseService(rest string, g grammar) {
	if rest == "" {
		q.kind = structural
		return
	}
	q.kind = serviceName
	rest, q.namespace = cutLast(rest)
	if rest == "" {
		q.kind = namespaceName
		return
	}
	rest, q.service = cutLast(rest)
	if rest == "" {
		return
	}
	before, label := cutLast(rest)
	switch {
	case g == zonal && label == "_zone":
		q.parseScope(before)
		return
	case strings.HasPrefix(label, "_"):
		before = rest
	case g != multicluster:
		q.hostname = label
		q.addr, _ = parseDashed(label)
	case before == "":
		q.hostname, q.cluster = label, true
	default:
		farther, hostname := cutLast(before)
		if strings.HasPrefix(hostname, "_") {
			*q = query{}
			return
		}
		q.hostname = rest[len(before)-len(hostname):]
		before = farther
	}
	q.parsePort(before)
}

// parsePort completes q with _port._proto, or _proto, or nothing.
func (q *query) parsePort(rest string) {
	if rest == "" {
		return
	}
	rest, label := cutLast(rest)
	if len(label) < 2 || label[0] != '_' {
		*q = query{}
		return
	}
	q.proto = label[1:]
	if rest == "" {
		return
	}
	rest, label = cutLast(rest)
	if len(label) < 2 || label[0] != '_' || rest != "" {
		*q = query{}
		return
	}
	q.port = label[1:]
}

// parseScope completes q with what stands before "_zone": pin or prefer, and before that a topology zone, which may have dots.
func (q *query) parseScope(rest string) {
	q.scope = scopeName
	if rest == "" {
		return
	}
	rest, label := cutLast(rest)
	directive := pin
	switch label {
	case "pin":
	case "prefer":
		directive = prefer
	default:
		*q = query{}
		return
	}
	if rest != "" {
		q.scope, q.zone = directive, rest
	}
}

// parsePod sets q to what stands before ".pod".
func (q *query) parsePod(rest string) {
	if rest == "" {
		q.kind = structural
		return
	}
	q.kind = podsName
	rest, q.namespace = cutLast(rest)
	if rest == "" {
		return
	}
	q.kind = podName
	if rest, q.pod = cutLast(rest); rest != "" {
		*q = query{}
	}
}

// cutLast splits off the last label of name, which has no trailing dot. A dot that is escaped belongs to its label
// (RFC 1035 section 5.1).
func cutLast(name string) (rest, label string) {
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

// inZone reports whether qname is at or below zone. Both are lower-case FQDNs.
func inZone(qname, zone string) bool {
	if zone == "." {
		return true
	}
	if !strings.HasSuffix(qname, zone) {
		return false
	}
	i := len(qname) - len(zone)
	return i == 0 || qname[i-1] == '.' && !escaped(qname, i-1)
}

const (
	reverse4 = "in-addr.arpa."
	reverse6 = "ip6.arpa."
)

// parseReverse returns the addresses at and below a name of the reverse trees in-addr.arpa (RFC 1035 section 3.5) and
// ip6.arpa (RFC 3596 section 2.5). ok is false for every other name, also for one below a whole address.
func parseReverse(name string) (prefix netip.Prefix, ok bool) {
	if inZone(name, reverse4) {
		var addr [4]byte
		rest := strings.TrimSuffix(name[:len(name)-len(reverse4)], ".")
		n := 0
		for ; rest != ""; n++ {
			var label string
			rest, label = cutLast(rest)
			octet, ok := parseOctet(label)
			if !ok || n == len(addr) {
				return netip.Prefix{}, false
			}
			addr[n] = octet
		}
		return netip.PrefixFrom(netip.AddrFrom4(addr), 8*n), true
	}
	if inZone(name, reverse6) {
		var addr [16]byte
		rest := strings.TrimSuffix(name[:len(name)-len(reverse6)], ".")
		n := 0
		for ; rest != ""; n++ {
			var label string
			rest, label = cutLast(rest)
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

// parent returns the prefix of the reverse name one label up. A prefix of no bits has none.
func parent(p netip.Prefix) netip.Prefix {
	bits := 4
	if p.Addr().Is4() {
		bits = 8
	}
	return netip.PrefixFrom(p.Addr(), p.Bits()-bits).Masked()
}

// parseOctet reads a number from 0 to 255 without leading zeros.
func parseOctet(s string) (byte, bool) {
	if s == "" || len(s) > 3 || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = 10*n + int(s[i]-'0')
	}
	return byte(n), n <= 255
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

// maxDashed is the length of the longest dashed address.
const maxDashed = len("ffff-ffff-ffff-ffff-ffff-ffff-ffff-ffff")

// appendDashed appends the label that names addr: its RFC 5952 text with hyphens for dots and colons, and a zero where the
// label would start or end with a hyphen.
func appendDashed(b []byte, addr netip.Addr) []byte {
	start := len(b)
	b = addr.AppendTo(b)
	for i := start; i < len(b); i++ {
		if b[i] == '.' || b[i] == ':' {
			b[i] = '-'
		}
	}
	if b[start] == '-' {
		b = append(b, 0)
		copy(b[start+1:], b[start:])
		b[start] = '0'
	}
	if b[len(b)-1] == '-' {
		b = append(b, '0')
	}
	return b
}

// parseDashed is the inverse of appendDashed: it accepts the one spelling that appendDashed gives an address, no other.
func parseDashed(label string) (netip.Addr, bool) {
	if len(label) > maxDashed || strings.IndexByte(label, '-') < 0 {
		return netip.Addr{}, false
	}
	if addr, ok := parseDashed4(label); ok {
		return addr, true
	}
	if strings.Count(label, "-") != 7 && !strings.Contains(label, "--") {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	var buf [maxDashed]byte
	if string(appendDashed(buf[:0], addr)) != label {
		return netip.Addr{}, false
	}
	return addr, true
}

// parseDashed4 reads four octets with hyphens between them.
func parseDashed4(label string) (netip.Addr, bool) {
	var addr [4]byte
	for i := range addr {
		octet, rest, more := strings.Cut(label, "-")
		n, ok := parseOctet(octet)
		if !ok || more != (i < len(addr)-1) {
			return netip.Addr{}, false
		}
		addr[i], label = n, rest
	}
	return netip.AddrFrom4(addr), true
}

// parsePodLabel returns the address that the label of a pod's name stands for. Like the kubernetes plugin it takes any
// spelling: three single hyphens make an IPv4 address, anything else an IPv6 one.
func parsePodLabel(label string) (netip.Addr, bool) {
	if addr, ok := parseDashed4(label); ok {
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

// validLabel reports whether s is a lower-case RFC 1123 label, as Kubernetes wants hostnames and pod names to be.
func validLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
