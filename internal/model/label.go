package model

import (
	"cmp"
	"net/netip"
	"strings"
)

// Label is the label of an endpoint: its name, or the dashed address if that is "". The zero Label means the
// Service itself.
type Label struct {
	Name string
	Addr netip.Addr
}

// Compare orders labels by their names, then by their addresses.
func (h Label) Compare(o Label) int {
	return cmp.Or(strings.Compare(h.Name, o.Name), h.Addr.Compare(o.Addr))
}

// Len returns how many octets Append appends.
func (h Label) Len() int {
	if h.Name != "" || !h.Addr.IsValid() {
		return len(h.Name)
	}
	var room [MaxDashed]byte
	return len(AppendDashed(room[:0], h.Addr))
}

// Append appends the label that h stands for.
func (h Label) Append(b []byte) []byte {
	if h.Name != "" || !h.Addr.IsValid() {
		return append(b, h.Name...)
	}
	return AppendDashed(b, h.Addr)
}

// MaxDashed is the length of the longest dashed address.
const MaxDashed = len("ffff-ffff-ffff-ffff-ffff-ffff-ffff-ffff")

// AppendDashed appends the label that names addr: its RFC 5952 text with hyphens for dots and colons, and a zero where the
// label would start or end with a hyphen.
func AppendDashed(b []byte, addr netip.Addr) []byte {
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

// ParseDashed is the inverse of AppendDashed: it accepts the one spelling that AppendDashed gives an address, no other.
func ParseDashed(label string) (netip.Addr, bool) {
	if len(label) > MaxDashed || strings.IndexByte(label, '-') < 0 {
		return netip.Addr{}, false
	}
	if addr, ok := ParseDashed4(label); ok {
		return addr, true
	}
	if strings.Count(label, "-") != 7 && !strings.Contains(label, "--") {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	var buf [MaxDashed]byte
	if string(AppendDashed(buf[:0], addr)) != label {
		return netip.Addr{}, false
	}
	return addr, true
}

// ParseDashed4 reads four octets with hyphens between them.
func ParseDashed4(label string) (netip.Addr, bool) {
	var addr [4]byte
	for i := range addr {
		octet, rest, more := strings.Cut(label, "-")
		n, ok := ParseOctet(octet)
		if !ok || more != (i < len(addr)-1) {
			return netip.Addr{}, false
		}
		addr[i], label = n, rest
	}
	return netip.AddrFrom4(addr), true
}

// ParseOctet reads a number from 0 to 255 without leading zeros.
func ParseOctet(s string) (byte, bool) {
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

// ValidLabel reports whether s is a lower-case RFC 1123 label, as Kubernetes wants hostnames and pod names to be.
func ValidLabel(s string) bool {
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

// FoldedLabel returns s in lower case if that is a valid label.
func FoldedLabel[S string | []byte](s S) (label string, ok bool) {
	if len(s) > 63 {
		return "", false
	}
	if label = strings.ToLower(string(s)); len(label) != len(s) || !ValidLabel(label) { // some letters beyond ASCII fold into it
		return "", false
	}
	return label, true
}
