package model

import (
	"net/netip"
	"slices"
	"strings"
)

// IsValid reports whether a converter may have made s, that of imports if imported is set.
func (s *Slice) IsValid(imported bool) bool {
	isNone := func(e Endpoint) bool { return !e.isValid(imported) }
	return s.Name != "" && s.Service != "" && arePorts(s.Ports) && !slices.ContainsFunc(s.Endpoints, isNone)
}

func (e *Endpoint) isValid(imported bool) bool {
	switch hostname, cluster, _ := strings.Cut(e.Name, "."); {
	case e.State > Ready:
		return false
	case imported:
		return ValidLabel(hostname) && ValidLabel(cluster) && !e.PodName
	case e.Name == "":
		return !e.PodName
	}
	var dashed [MaxDashed]byte
	return ValidLabel(e.Name) && string(AppendDashed(dashed[:0], e.Addr)) != e.Name
}

// IsValid reports whether a converter may have made s.
func (s *Service) IsValid() bool {
	return ValidLabel(s.Namespace) && ValidLabel(s.Name) && s.Kind <= ExternalName && s.Policy <= HostnamesAll &&
		(s.Kind == ClusterIP || len(s.ClusterIPs) == 0) && AreAddrs(s.ClusterIPs) && arePorts(s.Ports) &&
		(s.Target == "" || s.Kind == ExternalName && isTarget(s.Target)) && (s.External == nil || s.External.isValid())
}

func (e *External) isValid() bool {
	isNone := func(name string) bool { return !isTarget(name) }
	return len(e.Addrs)+len(e.Names) > 0 && AreAddrs(e.Addrs) && areDistinct(e.Names) && !slices.ContainsFunc(e.Names, isNone)
}

// ParseTarget returns the FQDN of name, to which a CNAME is to point: "" for an address, which is no name. ok is false for what
// is neither.
func ParseTarget(name string) (fqdn string, ok bool) {
	name = strings.TrimSuffix(name, ".")
	if len(name) > MaxName || len(name) != len(strings.ToLower(name)) {
		return "", false
	}
	name = strings.ToLower(name)
	if _, err := netip.ParseAddr(name); err == nil {
		return "", true
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool { return !isNameRune(r) }) {
			return "", false
		}
	}
	return name + ".", true
}

// isTarget reports whether name is one that a CNAME may point to, as ParseTarget returns it.
func isTarget(name string) bool {
	fqdn, _ := ParseTarget(name)
	return name != "" && fqdn == name
}

// MaxName is the length of the longest name in DNS, without its final dot.
const MaxName = 253

// isNameRune reports whether r may stand in an external name: letters, digits, hyphens, and underscores, which Kubernetes
// does not allow but DNS does.
func isNameRune(r rune) bool {
	return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_'
}

// arePorts reports whether ports have numbers, and names that fit into a label behind an underscore.
func arePorts(ports []Port) bool {
	isNone := func(p Port) bool {
		return p.Number == 0 || p.Name() != "" && !ValidLabel(p.Name()) || !ValidLabel(p.Proto()) || max(len(p.Name()), len(p.Proto())) > MaxPortName
	}
	return !slices.ContainsFunc(ports, isNone)
}

// MaxPortName is the length of the longest name that a label can hold behind an underscore.
const MaxPortName = 62

// AreAddrs reports whether addrs are distinct addresses without zones, none of them IPv4-mapped.
func AreAddrs(addrs []netip.Addr) bool {
	isNone := func(addr netip.Addr) bool { return !addr.IsValid() || addr.Zone() != "" || addr.Is4In6() }
	return areDistinct(addrs) && !slices.ContainsFunc(addrs, isNone)
}

// areDistinct reports whether no two of s are equal.
func areDistinct[E comparable](s []E) bool { return len(Unrepeated(slices.Clone(s))) == len(s) }

// Unrepeated returns s without repetitions, in the same order. It modifies s.
func Unrepeated[E comparable](s []E) []E {
	if len(s) < 2 {
		return s
	}
	seen := make(map[E]bool, len(s))
	return slices.DeleteFunc(s, func(e E) bool {
		was := seen[e]
		seen[e] = true
		return was
	})
}
