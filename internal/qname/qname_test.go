package qname

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/miekg/dns"
)

func TestParse(t *testing.T) {
	const zone = "cluster.local."
	web := Name{Kind: ServiceName, Namespace: "ns", Service: "web"}
	below := func(hostname, port, proto string) Name {
		q := web
		q.Hostname, q.Port, q.Proto = hostname, port, proto
		return q
	}
	at := func(hostname, addr string) Name {
		q := web
		q.Hostname, q.Addr = hostname, netip.MustParseAddr(addr)
		return q
	}
	pod := func(namespace, label string) Name { return Name{Kind: PodName, Namespace: namespace, Pod: label} }
	reverse := func(prefix string) Name { return Name{Kind: ReverseName, Prefix: netip.MustParsePrefix(prefix)} }

	for _, c := range []struct {
		name, qname, zone string
		want              Name
	}{
		{"the zone itself is the apex", "cluster.local.", zone, Name{Kind: Apex}},
		{"svc stands alone", "svc.cluster.local.", zone, Name{Kind: Structural}},
		{"pod stands alone", "pod.cluster.local.", zone, Name{Kind: Structural}},
		{"dns is above ns.dns", "dns.cluster.local.", zone, Name{Kind: NSParent}},
		{"dns-version is a name of its own", "dns-version.cluster.local.", zone, Name{Kind: VersionName}},
		{"nothing is below dns-version", "x.dns-version.cluster.local.", zone, Name{}},
		{"ns.dns is a name of its own", "ns.dns.cluster.local.", zone, Name{Kind: NSName}},
		{"nothing is below ns.dns", "x.ns.dns.cluster.local.", zone, Name{}},
		{"nothing else is below dns", "x.dns.cluster.local.", zone, Name{}},
		{"nothing else is below the zone", "x.cluster.local.", zone, Name{}},
		{"a label that ends in svc is another", "mysvc.cluster.local.", zone, Name{}},
		{"an escaped dot does not separate svc", `web.ns\.svc.cluster.local.`, zone, Name{}},

		{"a namespace", "ns.svc.cluster.local.", zone, Name{Kind: NamespaceName, Namespace: "ns"}},
		{"a namespace called svc", "svc.svc.cluster.local.", zone, Name{Kind: NamespaceName, Namespace: "svc"}},
		{"a star is a namespace like others", "*.svc.cluster.local.", zone, Name{Kind: NamespaceName, Namespace: "*"}},
		{"a Service", "web.ns.svc.cluster.local.", zone, web},
		{"any is a Service like others", "any.any.svc.cluster.local.", zone, Name{Kind: ServiceName, Namespace: "any", Service: "any"}},
		{"a Service called pod", "pod.ns.svc.cluster.local.", zone, Name{Kind: ServiceName, Namespace: "ns", Service: "pod"}},
		{"a Service with an underscore", "_web.ns.svc.cluster.local.", zone, Name{Kind: ServiceName, Namespace: "ns", Service: "_web"}},
		{"a hostname", "web-0.web.ns.svc.cluster.local.", zone, below("web-0", "", "")},
		{"a star is a hostname like others", "*.web.ns.svc.cluster.local.", zone, below("*", "", "")},
		{"an escaped dot belongs to its label", `web-0\.web.ns.svc.cluster.local.`, zone, Name{Kind: ServiceName, Namespace: "ns", Service: `web-0\.web`}},
		{"an escaped backslash does not escape the dot", `web-0\\.web.ns.svc.cluster.local.`, zone, below(`web-0\\`, "", "")},
		{"a backslash and a dot, both escaped", `web-0\\\.web.ns.svc.cluster.local.`, zone, Name{Kind: ServiceName, Namespace: "ns", Service: `web-0\\\.web`}},
		{"a dashed IPv4 address", "10-0-0-1.web.ns.svc.cluster.local.", zone, at("10-0-0-1", "10.0.0.1")},
		{"a dashed IPv6 address", "fd00--a-1.web.ns.svc.cluster.local.", zone, at("fd00--a-1", "fd00::a:1")},
		{"a dashed address that starts with a zero", "0--5.web.ns.svc.cluster.local.", zone, at("0--5", "::5")},
		{"a dashed address in another spelling is a hostname", "fd00-0--1.web.ns.svc.cluster.local.", zone, below("fd00-0--1", "", "")},
		{"a dashed address below a protocol is none", "_tcp.10-0-0-1.web.ns.svc.cluster.local.", zone, func() Name {
			q := at("10-0-0-1", "10.0.0.1")
			q.Proto = "tcp"
			return q
		}()},

		{"a protocol", "_tcp.web.ns.svc.cluster.local.", zone, below("", "", "tcp")},
		{"a port", "_http._tcp.web.ns.svc.cluster.local.", zone, below("", "http", "tcp")},
		{"a port keeps its further underscores", "__http._tcp.web.ns.svc.cluster.local.", zone, below("", "_http", "tcp")},
		{"a protocol of a hostname", "_tcp.web-0.web.ns.svc.cluster.local.", zone, below("web-0", "", "tcp")},
		{"a port of a hostname", "_http._tcp.web-0.web.ns.svc.cluster.local.", zone, below("web-0", "http", "tcp")},
		{"a port with an escaped dot", `_a\.b._tcp.web.ns.svc.cluster.local.`, zone, below("", `a\.b`, "tcp")},
		{"a port and protocol without underscores", "http.tcp.web.ns.svc.cluster.local.", zone, Name{}},
		{"a port without underscore", "http._tcp.web.ns.svc.cluster.local.", zone, Name{}},
		{"a protocol without underscore is a hostname", "_http.tcp.web.ns.svc.cluster.local.", zone, below("tcp", "", "http")},
		{"an underscore alone is no protocol", "_.web.ns.svc.cluster.local.", zone, Name{}},
		{"an underscore alone is no port", "_._tcp.web.ns.svc.cluster.local.", zone, Name{}},
		{"an underscore alone is no protocol of a hostname", "_.web-0.web.ns.svc.cluster.local.", zone, Name{}},
		{"an underscore alone is no port of a hostname", "_._tcp.web-0.web.ns.svc.cluster.local.", zone, Name{}},
		{"a hostname below a hostname", "a.web-0.web.ns.svc.cluster.local.", zone, Name{}},
		{"a port two labels below the Service", "_http._tcp.a.web-0.web.ns.svc.cluster.local.", zone, Name{}},
		{"a label below a port", "a._http._tcp.web.ns.svc.cluster.local.", zone, Name{}},
		{"a third label with underscore", "_a._http._tcp.web.ns.svc.cluster.local.", zone, Name{}},
		{"a label below a port of a hostname", "_a._http._tcp.web-0.web.ns.svc.cluster.local.", zone, Name{}},

		{"a namespace of pods", "ns.pod.cluster.local.", zone, Name{Kind: PodsName, Namespace: "ns"}},
		{"a pod", "10-0-0-1.ns.pod.cluster.local.", zone, pod("ns", "10-0-0-1")},
		{"any label of a pod", "x.ns.pod.cluster.local.", zone, pod("ns", "x")},
		{"nothing is below a pod", "x.10-0-0-1.ns.pod.cluster.local.", zone, Name{}},
		{"an escaped dot in a pod", `a\.b.ns.pod.cluster.local.`, zone, pod("ns", `a\.b`)},

		{"a zone of one label", "web.ns.svc.k8s.", "k8s.", web},
		{"a zone called svc", "web.ns.svc.svc.", "svc.", web},
		{"a zone called svc, and nothing in it", "ns.svc.", "svc.", Name{}},
		{"the root is an apex", ".", ".", Name{Kind: Apex}},
		{"svc below the root", "svc.", ".", Name{Kind: Structural}},
		{"a Service below the root", "web.ns.svc.", ".", web},
		{"a port below the root", "_http._tcp.web-0.web.ns.svc.", ".", below("web-0", "http", "tcp")},
		{"a pod below the root", "10-0-0-1.ns.pod.", ".", pod("ns", "10-0-0-1")},
		{"another name below the root", "example.com.", ".", Name{}},
		{"an escaped dot right below the root", `svc\..`, ".", Name{}},
		{"a reverse name below the root", "1.0.0.10.in-addr.arpa.", ".", reverse("10.0.0.1/32")},
		{"a reverse tree below the root", "in-addr.arpa.", ".", reverse("0.0.0.0/0")},
		{"arpa below the root", "arpa.", ".", Name{}},
		{"a reverse name in arpa", "10.in-addr.arpa.", "arpa.", reverse("10.0.0.0/8")},
		{"a forward name in arpa", "web.ns.svc.arpa.", "arpa.", web},

		{"a reverse tree is an apex", "in-addr.arpa.", "in-addr.arpa.", Name{Kind: Apex}},
		{"a reverse zone is an apex", "0.10.in-addr.arpa.", "0.10.in-addr.arpa.", Name{Kind: Apex}},
		{"an IPv4 address", "4.3.2.1.in-addr.arpa.", "in-addr.arpa.", reverse("1.2.3.4/32")},
		{"an IPv4 address in a smaller zone", "4.3.2.1.in-addr.arpa.", "2.1.in-addr.arpa.", reverse("1.2.3.4/32")},
		{"an ancestor of IPv4 addresses", "2.1.in-addr.arpa.", "in-addr.arpa.", reverse("1.2.0.0/16")},
		{"an ancestor of IPv6 addresses", "0.d.f.ip6.arpa.", "d.f.ip6.arpa.", reverse("fd00::/12")},
		{"a word in a reverse zone", "x.10.in-addr.arpa.", "10.in-addr.arpa.", Name{}},
		{"a forward name in a reverse zone", "web.ns.svc.in-addr.arpa.", "in-addr.arpa.", Name{}},
		{"dns-version in a reverse zone", "dns-version.ip6.arpa.", "ip6.arpa.", Name{}},
		{"a label below an address", "5.4.3.2.1.in-addr.arpa.", "in-addr.arpa.", Name{}},
		{"a classless delegation is no reverse zone's name", "4.0/25.3.2.1.in-addr.arpa.", "0/25.3.2.1.in-addr.arpa.", Name{}},
	} {
		if got := parse(c.qname, c.zone); got != c.want {
			t.Errorf("%s: parse(%q, %q) = %+v, want %+v", c.name, c.qname, c.zone, got, c.want)
		}
	}
}

func TestParseAllocates(t *testing.T) {
	for _, c := range []struct {
		name, qname string
		most        float64
	}{
		{"nothing for a Service", "web.ns.svc.cluster.local.", 0},
		{"nothing for a hostname", "web-0.web.ns.svc.cluster.local.", 0},
		{"nothing for a hostname of hexadecimal digits and a number", "db-0.web.ns.svc.cluster.local.", 0},
		{"nothing for a hostname that is almost an IPv4 address", "10-0-0-256.web.ns.svc.cluster.local.", 0},
		{"nothing for a port of a hostname", "_http._tcp.web-0.web.ns.svc.cluster.local.", 0},
		{"nothing for a dashed IPv4 address", "10-0-0-1.web.ns.svc.cluster.local.", 0},
		{"one string for a dashed IPv6 address", "fd00--1.web.ns.svc.cluster.local.", 1},
		{"one string for a whole dashed IPv6 address", "1-2-3-4-5-6-7-8.web.ns.svc.cluster.local.", 1},
		{"nothing for a pod", "10-0-0-1.ns.pod.cluster.local.", 0},
		{"nothing for an unknown name", "a.b.c.d.e.f.cluster.local.", 0},
	} {
		var q Name
		if got := testing.AllocsPerRun(100, func() { q = parse(c.qname, "cluster.local.") }); got > c.most {
			t.Errorf("%s: parse(%q) = %+v with %v allocations, want at most %v", c.name, c.qname, q, got, c.most)
		}
	}
	var prefix netip.Prefix
	for _, name := range []string{"4.3.2.1.in-addr.arpa.", "x.in-addr.arpa.", parseReverseAddr(netip.MustParseAddr("fd00::1"))} {
		if got := testing.AllocsPerRun(100, func() { prefix, _ = ParseReverse(name) }); got > 0 {
			t.Errorf("ParseReverse(%q) = %v with %v allocations, want none", name, prefix, got)
		}
	}
}

// parseReverseAddr returns the reverse name of addr.
func parseReverseAddr(addr netip.Addr) string {
	return Reverse(netip.PrefixFrom(addr, addr.BitLen()))
}

func TestParseReverse(t *testing.T) {
	const zeros = "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0." // 27 of them
	for _, c := range []struct{ name, qname, want string }{
		{"the IPv4 tree", "in-addr.arpa.", "0.0.0.0/0"},
		{"one octet", "10.in-addr.arpa.", "10.0.0.0/8"},
		{"two octets", "1.10.in-addr.arpa.", "10.1.0.0/16"},
		{"three octets", "2.1.10.in-addr.arpa.", "10.1.2.0/24"},
		{"an IPv4 address", "3.2.1.10.in-addr.arpa.", "10.1.2.3/32"},
		{"the first IPv4 address", "0.0.0.0.in-addr.arpa.", "0.0.0.0/32"},
		{"the last IPv4 address", "255.255.255.255.in-addr.arpa.", "255.255.255.255/32"},
		{"five octets", "4.3.2.1.10.in-addr.arpa.", ""},
		{"a leading zero", "01.in-addr.arpa.", ""},
		{"two zeros", "00.in-addr.arpa.", ""},
		{"a leading zero in the last octet", "003.2.1.10.in-addr.arpa.", ""},
		{"an octet above 255", "256.in-addr.arpa.", ""},
		{"an octet of four digits", "1000.in-addr.arpa.", ""},
		{"an octet that overflows a byte to one", "257.1.10.in-addr.arpa.", ""},
		{"a sign", "+1.in-addr.arpa.", ""},
		{"a negative octet", "-1.in-addr.arpa.", ""},
		{"a hexadecimal octet", "a.in-addr.arpa.", ""},
		{"a word", "x.2.1.10.in-addr.arpa.", ""},
		{"a word above octets", "2.x.10.in-addr.arpa.", ""},
		{"an escaped dot", `2\.1.10.in-addr.arpa.`, ""},
		{"a classless delegation", "0/25.2.1.10.in-addr.arpa.", ""},

		{"the IPv6 tree", "ip6.arpa.", "::/0"},
		{"one nibble", "f.ip6.arpa.", "f000::/4"},
		{"three nibbles", "0.d.f.ip6.arpa.", "fd00::/12"},
		{"31 nibbles", zeros + "0.0.d.f.ip6.arpa.", "fd00::/124"},
		{"an IPv6 address", "1." + zeros + "0.0.d.f.ip6.arpa.", "fd00::1/128"},
		{"an IPv4-mapped address stays an IPv6 address", "1.0.0.0.0.0.a.0.f.f.f.f." + strings.Repeat("0.", 20) + "ip6.arpa.", "::ffff:10.0.0.1/128"},
		{"33 nibbles", "1.1." + zeros + "0.0.d.f.ip6.arpa.", ""},
		{"two digits in a label", "fd.ip6.arpa.", ""},
		{"a leading zero in a nibble", "0f.ip6.arpa.", ""},
		{"a nibble that is no digit", "g.ip6.arpa.", ""},
		{"an upper-case nibble", "F.ip6.arpa.", ""},

		{"a name in no reverse tree", "cluster.local.", ""},
		{"the tree above", "arpa.", ""},
		{"the root", ".", ""},
		{"a tree's name without its first dot", "xin-addr.arpa.", ""},
		{"a tree's name behind an escaped dot", `1\.in-addr.arpa.`, ""},
	} {
		var want netip.Prefix
		if c.want != "" {
			want = netip.MustParsePrefix(c.want)
		}
		if got, ok := ParseReverse(c.qname); got != want || ok != want.IsValid() {
			t.Errorf("%s: ParseReverse(%q) = %v, %v, want %v, %v", c.name, c.qname, got, ok, want, want.IsValid())
		}
	}
}

func TestParent(t *testing.T) {
	for _, c := range []struct{ name, prefix, want string }{
		{"of an IPv4 address", "10.1.2.3/32", "10.1.2.0/24"},
		{"of three octets", "10.1.2.0/24", "10.1.0.0/16"},
		{"of two octets", "10.1.0.0/16", "10.0.0.0/8"},
		{"of one octet", "10.0.0.0/8", "0.0.0.0/0"},
		{"of an IPv6 address", "fd00::1f/128", "fd00::10/124"},
		{"of 31 nibbles", "fd00::10/124", "fd00::/120"},
		{"of two nibbles", "fd00::/8", "f000::/4"},
		{"of one nibble", "f000::/4", "::/0"},
		{"none of the IPv4 tree", "0.0.0.0/0", ""},
		{"none of the IPv6 tree", "::/0", ""},
	} {
		var want netip.Prefix
		if c.want != "" {
			want = netip.MustParsePrefix(c.want)
		}
		if got := Parent(netip.MustParsePrefix(c.prefix)); got != want {
			t.Errorf("%s: parent(%s) = %v, want %v", c.name, c.prefix, got, want)
		}
	}
}

func TestParseReverseFollowsLabelsUpToTheTree(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		addr := parseRandomAddr(r)
		name := parseReverseAddr(addr)
		if arpa, err := dns.ReverseAddr(addr.String()); err != nil || name != arpa {
			t.Fatalf("reverse name of %s: %q, but miekg/dns says %q, %v", addr, name, arpa, err)
		}
		want := netip.PrefixFrom(addr, addr.BitLen())
		for {
			got, ok := ParseReverse(name)
			if !ok || got != want {
				t.Fatalf("%s: ParseReverse(%q) = %v, %v, want %v", addr, name, got, ok, want)
			}
			if want.Bits() == 0 {
				break
			}
			want = Parent(want)
			_, name, _ = strings.Cut(name, ".")
		}
		if name != Reverse4 && name != Reverse6 {
			t.Errorf("%s: the way up ends at %q, want %q or %q", addr, name, Reverse4, Reverse6)
		}
	}
}

// parseRandomAddr returns an IPv4 address, or an IPv6 one that is not IPv4-mapped and has many zeros.
func parseRandomAddr(r *rand.Rand) netip.Addr {
	if r.IntN(3) == 0 {
		return netip.AddrFrom4([4]byte{byte(r.IntN(256)), byte(r.IntN(3)), byte(r.IntN(256)), byte(r.IntN(3))})
	}
	for {
		var octets [16]byte
		for i := 0; i < len(octets); i += 2 {
			switch r.IntN(5) {
			case 0:
				octets[i], octets[i+1] = byte(r.IntN(256)), byte(r.IntN(256))
			case 1:
				octets[i+1] = byte(r.IntN(16))
			}
		}
		if addr := netip.AddrFrom16(octets); !addr.Is4In6() {
			return addr
		}
	}
}

func TestDashedAddresses(t *testing.T) {
	for _, c := range []struct{ name, addr, label string }{
		{"an IPv4 address", "10.0.0.1", "10-0-0-1"},
		{"the first IPv4 address", "0.0.0.0", "0-0-0-0"},
		{"the last IPv4 address", "255.255.255.255", "255-255-255-255"},
		{"an IPv6 address", "fd00::1", "fd00--1"},
		{"one that starts with colons", "::5", "0--5"},
		{"one that ends with colons", "fd00::", "fd00--0"},
		{"one that is nothing but colons", "::", "0--0"},
		{"the loopback address", "::1", "0--1"},
		{"one without colons side by side", "1:2:3:4:5:6:7:8", "1-2-3-4-5-6-7-8"},
		{"one with a single zero group", "1:2:3:0:5:6:7:8", "1-2-3-0-5-6-7-8"},
		{"one with a single zero group at the end", "1:2:3:4:5:6:7:0", "1-2-3-4-5-6-7-0"},
		{"one with a zero group at the start", "0:2:3:4:5:6:7:8", "0-2-3-4-5-6-7-8"},
		{"one with zeros at both ends", "0:0:1::", "0-0-1--0"},
		{"one with two runs of zeros", "2001:db8:0:0:1::1", "2001-db8--1-0-0-1"},
		{"the longest", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff-ffff-ffff-ffff-ffff-ffff-ffff-ffff"},
		{"one that looks like a mapped address written as groups", "::ffff:1:2:3:4", "0--ffff-1-2-3-4"},
	} {
		addr := netip.MustParseAddr(c.addr)
		if got := string(model.AppendDashed(nil, addr)); got != c.label {
			t.Errorf("%s: AppendDashed(%s) = %q, want %q", c.name, addr, got, c.label)
		}
		if got := string(model.AppendDashed([]byte("x."), addr)); got != "x."+c.label {
			t.Errorf("%s: AppendDashed(%q, %s) = %q, want %q", c.name, "x.", addr, got, "x."+c.label)
		}
		if got, ok := model.ParseDashed(c.label); !ok || got != addr {
			t.Errorf("%s: ParseDashed(%q) = %v, %v, want %v", c.name, c.label, got, ok, addr)
		}
	}
}

func TestParseDashedRefuses(t *testing.T) {
	for _, c := range []struct{ name, label string }{
		{"nothing", ""},
		{"a word", "web-0"},
		{"a word of hexadecimal digits", "cafe"},
		{"hexadecimal digits and a number", "db-0"},
		{"a hyphen", "-"},
		{"two hyphens", "--"},
		{"a leading hyphen", "--5"},
		{"a trailing hyphen", "fd00--"},
		{"a trailing hyphen behind an IPv4 address", "10-0-0-1-"},
		{"a leading hyphen before an IPv4 address", "-10-0-0-1"},
		{"three octets", "10-0-0"},
		{"five octets", "10-0-0-1-1"},
		{"an octet above 255", "10-0-0-256"},
		{"a leading zero in an octet", "10-0-0-01"},
		{"a missing octet", "10-0--1"},
		{"dots", "10.0.0.1"},
		{"colons", "fd00::1"},
		{"hyphens and colons", "fd00:-1"},
		{"a leading zero in a group", "fd00--01"},
		{"an upper-case digit", "fd00--A"},
		{"a zero group written out next to colons", "fd00-0--1"},
		{"zeros written out", "fd00-0-0-0-0-0-0-1"},
		{"the second run of zeros shortened", "2001-db8-0-0-1--1"},
		{"a single zero group shortened", "1-2-3--5-6-7-8"},
		{"two zeros at the start", "00--5"},
		{"a zero too much at the end", "fd00--0-0"},
		{"two shortened runs", "1--2--3"},
		{"three hyphens", "1---2"},
		{"nine groups", "1-2-3-4-5-6-7-8-9"},
		{"seven groups", "1-2-3-4-5-6-7"},
		{"five digits in a group", "fd00--10000"},
		{"a zone", "fe80--1%eth0"},
		{"an IPv4-mapped address", "0--ffff-a00-1"},
		{"a label too long", strings.Repeat("ffff-", 8) + "ffff"},
	} {
		if got, ok := model.ParseDashed(c.label); ok || got.IsValid() {
			t.Errorf("%s: ParseDashed(%q) = %v, %v, want no address", c.name, c.label, got, ok)
		}
	}
}

func TestDashedAddressesRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		addr := parseRandomAddr(r)
		label := string(model.AppendDashed(nil, addr))
		if got, ok := model.ParseDashed(label); !ok || got != addr {
			t.Fatalf("%s: ParseDashed(%q) = %v, %v", addr, label, got, ok)
		}
		if !model.ValidLabel(label) || len(label) > model.MaxDashed {
			t.Errorf("%s: %q is not a label of at most %d octets", addr, label, model.MaxDashed)
		}
		if got, ok := ParsePodLabel(label); !ok || got != addr {
			t.Errorf("%s: parsePodLabel(%q) = %v, %v", addr, label, got, ok)
		}
		for _, other := range []string{
			strings.ReplaceAll(addr.StringExpanded(), ":", "-"), strings.ToUpper(label), strings.ReplaceAll(addr.String(), ":", "-"), "0" + label,
		} {
			if other == label {
				continue
			}
			if got, ok := model.ParseDashed(other); ok {
				t.Errorf("%s: ParseDashed(%q) = %v, want no address: its label is %q", addr, other, got, label)
			}
		}
	}
}

func TestParsePodLabel(t *testing.T) {
	for _, c := range []struct{ name, label, want string }{
		{"an IPv4 address", "10-0-0-1", "10.0.0.1"},
		{"an IPv6 address", "fd00--1", "fd00::1"},
		{"an IPv6 address in another spelling", "fd00-0-0-0-0-0-0-01", "fd00::1"},
		{"an IPv6 address that starts with hyphens", "--5", "::5"},
		{"an IPv6 address that ends with hyphens", "fd00--", "fd00::"},
		{"three hyphens, two of them side by side", "1--2-3", "1::2:3"},
		{"colons", "fd00::1", "fd00::1"},
		{"an IPv4-mapped address is its IPv4 address", "--ffff-a00-1", "10.0.0.1"},
		{"an IPv4-mapped address in half-dashed spelling", "::ffff:10-0-0-1", "10.0.0.1"},
		{"nothing", "", ""},
		{"a word", "web-0", ""},
		{"an octet above 255", "10-0-0-256", ""},
		{"a leading zero in an octet", "10-0-0-01", ""},
		{"three octets", "10-0-0", ""},
		{"five octets", "10-0-0-0-1", ""},
		{"escaped dots", `10\.0\.0\.1`, ""},
		{"a zone", "fe80--1%eth0", ""},
	} {
		var want netip.Addr
		if c.want != "" {
			want = netip.MustParseAddr(c.want)
		}
		if got, ok := ParsePodLabel(c.label); got != want || ok != want.IsValid() {
			t.Errorf("%s: parsePodLabel(%q) = %v, %v, want %v, %v", c.name, c.label, got, ok, want, want.IsValid())
		}
	}
}

func TestValidLabel(t *testing.T) {
	for _, c := range []struct {
		name, label string
		want        bool
	}{
		{"a letter", "a", true},
		{"a digit", "0", true},
		{"hyphens inside", "web-0--x", true},
		{"63 octets", strings.Repeat("a", 63), true},
		{"nothing", "", false},
		{"64 octets", strings.Repeat("a", 64), false},
		{"an upper-case letter", "Web", false},
		{"a leading hyphen", "-web", false},
		{"a trailing hyphen", "web-", false},
		{"a hyphen alone", "-", false},
		{"an underscore", "web_0", false},
		{"a dot", "web.0", false},
		{"a letter that is not ASCII", "wéb", false},
		{"a space", "web 0", false},
		{"a zero octet", "web\x000", false},
	} {
		if got := model.ValidLabel(c.label); got != c.want {
			t.Errorf("%s: validLabel(%q) = %v, want %v", c.name, c.label, got, c.want)
		}
	}
}

func TestInZone(t *testing.T) {
	for _, c := range []struct {
		name, qname, zone string
		want              bool
	}{
		{"the apex", "cluster.local.", "cluster.local.", true},
		{"a name below", "web.cluster.local.", "cluster.local.", true},
		{"a name two labels below", "a.b.cluster.local.", "cluster.local.", true},
		{"a name above", "local.", "cluster.local.", false},
		{"a name beside", "other.local.", "cluster.local.", false},
		{"a label that ends like the zone", "mycluster.local.", "cluster.local.", false},
		{"an escaped dot before the zone", `web\.cluster.local.`, "cluster.local.", false},
		{"an escaped backslash before the dot", `web\\.cluster.local.`, "cluster.local.", true},
		{"a backslash and a dot, both escaped", `web\\\.cluster.local.`, "cluster.local.", false},
		{"the root in the root", ".", ".", true},
		{"any name in the root", "example.com.", ".", true},
		{"the root in a zone", ".", "cluster.local.", false},
	} {
		if got := InZone(c.qname, c.zone); got != c.want {
			t.Errorf("%s: InZone(%q, %q) = %v, want %v", c.name, c.qname, c.zone, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	zones := []string{"cluster.local.", ".", "svc.", "in-addr.arpa.", "10.in-addr.arpa.", "ip6.arpa.", "arpa."}
	for _, rel := range []string{
		"", "svc", "ns.svc", "web.ns.svc", "web-0.web.ns.svc", "_http._tcp.web.ns.svc", "_http._tcp.web-0.web.ns.svc", "http.tcp.web.ns.svc",
		"10-0-0-1.web.ns.svc", "0--5.web.ns.svc", "fd00--0.web.ns.svc", "10-0-0-1.ns.pod", "ns.dns", "dns-version", `web-0\.web.ns.svc`,
		`web-0\\.web.ns.svc`, "_.web.ns.svc", "4.3.2.1", "4.3.2.1.in-addr.arpa", "1.0.0.f.ip6.arpa", "a.b.c.d.e.f.0.1", "01.2.3.4", `\`, `\.`,
	} {
		for i := range zones {
			f.Add(rel, uint8(i))
		}
	}
	f.Fuzz(func(t *testing.T, rel string, i uint8) {
		zone := zones[int(i)%len(zones)]
		qname := zone
		switch rel = strings.ToLower(rel); {
		case rel == "":
		case zone == ".":
			qname = rel + "."
		default:
			qname = rel + "." + zone
		}
		if _, ok := dns.IsDomainName(qname); !ok || !InZone(qname, zone) {
			t.Skip("not a name in the zone")
		}
		q := parse(qname, zone)
		for _, part := range []string{q.Namespace, q.Service, q.Hostname, q.Port, q.Proto, q.Pod} {
			if !strings.Contains(qname, part) {
				t.Errorf("parse(%q, %q) = %+v: %q is no part of the name", qname, zone, q, part)
			}
		}
		if back := q.FQDN(zone); back != "" && back != qname {
			t.Errorf("parse(%q, %q) = %+v: that is %q", qname, zone, q, back)
		}
		if q.Addr.IsValid() {
			if label := string(model.AppendDashed(nil, q.Addr)); label != q.Hostname || q.Addr.Is4In6() || q.Addr.Zone() != "" {
				t.Errorf("parse(%q, %q): hostname %q read as %v, whose label is %q", qname, zone, q.Hostname, q.Addr, label)
			}
		}
		if q.Prefix.IsValid() != (q.Kind == ReverseName) || q.Prefix != q.Prefix.Masked() {
			t.Errorf("parse(%q, %q) = %+v: the prefix does not fit", qname, zone, q)
		}
		if addr, ok := ParsePodLabel(q.Pod); ok && (addr.Is4In6() || addr.Zone() != "") {
			t.Errorf("parsePodLabel(%q) = %v, want an address without zone, not IPv4-mapped", q.Pod, addr)
		}
	})
}

// parse takes apart qname, a lower-case FQDN at or below zone, in a zone without further names.
func parse(qname, zone string) (q Name) {
	q.Parse(qname, zone, Plain)
	return q
}
