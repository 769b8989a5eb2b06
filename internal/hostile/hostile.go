// Package hostile has packets that a DNS server must survive, and says what is wrong with its reply to one.
package hostile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/miekg/dns"
)

// leastExplanation is the least room, in octets, for which the server writes why a name is denied.
const leastExplanation = 32

// Message returns a DNS message with these flags and counts, whatever stands behind the header.
func Message(flags uint16, counts [4]uint16, body ...[]byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x12, 0x34}, flags)
	for _, n := range counts {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return append(b, slices.Concat(body...)...)
}

// Name returns a name in wire format, with these labels and a root behind them.
func Name(labels ...string) []byte {
	var b []byte
	for _, label := range labels {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0)
}

// InDefault returns the wire format of a name below default.svc.cluster.local.
func InDefault(labels ...string) []byte {
	return Name(append(labels, "default", "svc", "cluster", "local")...)
}

// Question returns a question, or the start of a record.
func Question(name []byte, qtype, class uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(slices.Clone(name), qtype), class)
}

// OPT returns an OPT record. Its rdata may be anything.
func OPT(size uint16, ttl uint32, rdata ...[]byte) []byte {
	b := Question([]byte{0}, dns.TypeOPT, size)
	b = binary.BigEndian.AppendUint32(b, ttl)
	data := slices.Concat(rdata...)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
}

// Option returns an EDNS option that says it has length octets of data.
func Option(code uint16, length int, data string) []byte {
	b := binary.BigEndian.AppendUint16(nil, code)
	return append(binary.BigEndian.AppendUint16(b, uint16(length)), data...)
}

const recursionDesired = 1 << 8

// Query returns a query of class IN for a name.
func Query(name []byte, qtype uint16, extra ...[]byte) []byte {
	return Message(recursionDesired, [4]uint16{1, 0, 0, uint16(len(extra))}, Question(name, qtype, dns.ClassINET), slices.Concat(extra...))
}

// Packet is a packet, with a name that says what is wrong with it.
type Packet struct {
	Name   string
	Packet []byte
}

// Packets are those that a client should not send, and some on the edge of those it may.
func Packets() []Packet {
	web := InDefault("web-0", "web")
	a := Question(web, dns.TypeA, dns.ClassINET)
	one := [4]uint16{1}
	withOPT := [4]uint16{1, 0, 0, 1}
	rr := append(Question(web, dns.TypeA, dns.ClassINET), 0, 0, 0, 5, 0, 4, 10, 0, 0, 1)
	label63 := strings.Repeat("x", 63)
	longest := Name(label63, label63, label63, strings.Repeat("x", 61)) // 255 octets
	room := 255 - len(InDefault())
	return []Packet{
		{"nothing", nil},
		{"one octet", []byte{0}},
		{"half a header", Message(0, one)[:6]},
		{"a header that is an octet short", Message(0, one)[:11]},
		{"a header alone", Message(0, [4]uint16{})},
		{"no question", Message(recursionDesired, [4]uint16{}, a)},
		{"no question and an OPT", Message(recursionDesired, [4]uint16{0, 0, 0, 1}, OPT(1232, 0))},
		{"two questions", Message(recursionDesired, [4]uint16{2}, a, a)},
		{"two questions, one there", Message(recursionDesired, [4]uint16{2}, a)},
		{"65,535 questions", Message(recursionDesired, [4]uint16{65535}, a)},
		{"an answer that is not there", Message(recursionDesired, [4]uint16{1, 1}, a)},
		{"an answer", Message(recursionDesired, [4]uint16{1, 1}, a, rr)},
		{"65,535 answers", Message(recursionDesired, [4]uint16{1, 65535}, a, rr)},
		{"an authority that is not there", Message(recursionDesired, [4]uint16{1, 0, 1}, a)},
		{"65,535 additional records", Message(recursionDesired, [4]uint16{1, 0, 0, 65535}, a, rr)},
		{"all counts at most", Message(recursionDesired, [4]uint16{65535, 65535, 65535, 65535}, a)},
		{"octets behind the message", Message(recursionDesired, one, a, []byte("behind"))},
		{"a question without a type", Message(recursionDesired, one, web)},
		{"a question without a class", Message(recursionDesired, one, a[:len(a)-2])},
		{"ones", bytes.Repeat([]byte{0xff}, 512)},
		{"ones that are a query", append(Message(recursionDesired, one), bytes.Repeat([]byte{0xff}, 100)...)},
		{"zeros", make([]byte, 512)},

		{"a pointer to itself", Message(recursionDesired, one, Question([]byte{0xc0, 12}, dns.TypeA, dns.ClassINET))},
		{"a pointer to the pointer behind it", Message(recursionDesired, one, Question([]byte{0xc0, 14, 0xc0, 12}, dns.TypeA, dns.ClassINET))},
		{"a label and a pointer back to it", Message(recursionDesired, one, Question([]byte{1, 'a', 0xc0, 12}, dns.TypeA, dns.ClassINET))},
		{"a pointer into the header", Message(recursionDesired, one, Question([]byte{1, 'a', 0xc0, 0}, dns.TypeA, dns.ClassINET))},
		{"a pointer past the end", Message(recursionDesired, one, Question([]byte{0xff, 0xff}, dns.TypeA, dns.ClassINET))},
		{"half a pointer", Message(recursionDesired, one, []byte{0xc0})},
		{"an owner name that points to itself", Message(recursionDesired, withOPT, a, Question([]byte{0xc0, byte(12 + len(a))}, dns.TypeA, 1), make([]byte, 6))},
		{"label type 01", Message(recursionDesired, one, Question([]byte{0x41, 1, 2, 3, 0}, dns.TypeA, dns.ClassINET))},
		{"label type 10", Message(recursionDesired, one, Question([]byte{0x80, 1, 2, 3, 0}, dns.TypeA, dns.ClassINET))},
		{"a label of 64 octets", Message(recursionDesired, one, Question(append([]byte{64}, label63+"xx"...), dns.TypeA, dns.ClassINET))},
		{"a label that is not all there", Message(recursionDesired, one, append([]byte{63}, "abc"...))},
		{"a name of 255 octets", Query(longest, dns.TypeA)},
		{"a name of 256 octets", Query(append(append(slices.Clone(longest[:len(longest)-1]), 0), 0), dns.TypeA)},
		{"a name of 257 octets", Query(Name(label63, label63, label63, label63), dns.TypeA)},
		{"a name of 127 labels", Query(Name(strings.Split(strings.Repeat("a", 127), "")...), dns.TypeA)},
		{"a name of 300 labels", Query(Name(strings.Split(strings.Repeat("a", 300), "")...), dns.TypeA)},
		{"a label of 63 octets", Query(InDefault(label63), dns.TypeA)},
		{"a hostname of 63 octets", Query(InDefault(label63, "web"), dns.TypeA)},
		{"255 octets in our zone", Query(InDefault(label63, label63, strings.Repeat("x", room-2*64-1)), dns.TypeA)},
		{"as many labels as fit in our zone", Query(InDefault(strings.Split(strings.Repeat("a", room/2), "")...), dns.TypeSRV)},
		{"labels of one underscore", Query(InDefault("_", "_", "web"), dns.TypeSRV)},
		{"an octet that is a dot", Query(InDefault("web-0.web"), dns.TypeA)},
		{"dots and backslashes", Query(InDefault(`.\.`, `\`, "web"), dns.TypeA)},
		{"a zone with a dot for a border", Query(Name("default.svc", "cluster.local"), dns.TypeA)},
		{"a dashed address of hyphens", Query(InDefault(strings.Repeat("-", 39), "web"), dns.TypeAAAA)},
		{"the root", Query(Name(), dns.TypeA)},
		{"a name outside our zones", Query(Name("www", "example", "org"), dns.TypeA)},
		{"a name that ends almost as our zone", Query(Name("web", "xcluster", "local"), dns.TypeA)},
		{"above our zone", Query(Name("local"), dns.TypeSOA)},
		{"in capitals", Query(Name("WEB-0", "WEB", "DEFAULT", "SVC", "CLUSTER", "LOCAL"), dns.TypeA)},
		{"a reverse name of 33 nibbles", Query(Name(append(strings.Split(strings.Repeat("1", 33), ""), "ip6", "arpa")...), dns.TypePTR)},
		{"a reverse name of five octets", Query(Name("1", "1", "0", "0", "10", "in-addr", "arpa"), dns.TypePTR)},
		{"a reverse name that is none", Query(Name("\x00", "256", "-1", "1e1", "in-addr", "arpa"), dns.TypePTR)},

		{"EDNS", Query(web, dns.TypeA, OPT(1232, 0))},
		{"EDNS version 1", Query(web, dns.TypeA, OPT(1232, 1<<16))},
		{"EDNS version 255", Query(web, dns.TypeA, OPT(1232, 255<<16))},
		{"EDNS version 1, class CHAOS", Message(recursionDesired, withOPT, Question(web, dns.TypeA, dns.ClassCHAOS), OPT(1232, 1<<16))},
		{"an extended response code in a query", Query(web, dns.TypeA, OPT(1232, 0xff<<24))},
		{"DO", Query(web, dns.TypeA, OPT(1232, 1<<15))},
		{"all other flags", Query(web, dns.TypeA, OPT(1232, 0x7fff))},
		{"a buffer of nothing", Query(web, dns.TypeA, OPT(0, 0))},
		{"a buffer of one octet", Query(web, dns.TypeA, OPT(1, 0))},
		{"a buffer of 511 octets", Query(web, dns.TypeA, OPT(511, 0))},
		{"a buffer of 65,535 octets", Query(web, dns.TypeA, OPT(65535, 0))},
		{"two OPTs", Query(web, dns.TypeA, OPT(512, 0), OPT(65535, 0))},
		{"three OPTs", Query(web, dns.TypeA, OPT(512, 0), OPT(4096, 0), OPT(65535, 0))},
		{"an OPT among the answers", Message(recursionDesired, [4]uint16{1, 1}, a, OPT(4096, 0))},
		{"an OPT in the authority section", Message(recursionDesired, [4]uint16{1, 0, 1}, a, OPT(4096, 0))},
		{"an OPT with an owner name", Message(recursionDesired, withOPT, a, []byte{0xc0, 12}, OPT(1232, 0)[1:])},
		{"an OPT that says it is longer", Message(recursionDesired, withOPT, a, OPT(1232, 0)[:9], []byte{0xff, 0xff})},
		{"an OPT cut in the middle", Message(recursionDesired, withOPT, a, OPT(1232, 0)[:7])},
		{"an option that says it is longer", Query(web, dns.TypeA, OPT(1232, 0, Option(3, 65535, "ns")))},
		{"an option cut in its header", Query(web, dns.TypeA, OPT(1232, 0, []byte{0, 3, 0}))},
		{"NSID", Query(web, dns.TypeA, OPT(1232, 0, Option(3, 0, "")))},
		{"keepalive with a time", Query(web, dns.TypeA, OPT(1232, 0, Option(11, 2, "\x00\x64")))},
		{"keepalive of one octet", Query(web, dns.TypeA, OPT(1232, 0, Option(11, 1, "\x00")))},
		{"padding", Query(web, dns.TypeA, OPT(1232, 0, Option(12, 200, strings.Repeat("\x00", 200))))},
		{"a client subnet", Query(web, dns.TypeA, OPT(1232, 0, Option(8, 7, "\x00\x01\x18\x00\x0a\x00\x00")))},
		{"a client subnet of an unknown family", Query(web, dns.TypeA, OPT(1232, 0, Option(8, 4, "\x00\x09\x00\x00")))},
		{"a client subnet longer than its address", Query(web, dns.TypeA, OPT(1232, 0, Option(8, 4, "\x00\x01\xff\x00")))},
		{"an extended error in a query", Query(web, dns.TypeA, OPT(1232, 0, Option(15, 6, "\x00\x0e\xff\xfe\xfd\xfc")))},
		{"an extended error of one octet", Query(web, dns.TypeA, OPT(1232, 0, Option(15, 1, "\x00")))},
		{"a cookie", Query(web, dns.TypeA, OPT(1232, 0, Option(10, 8, "12345678")))},
		{"a cookie with a server's part", Query(web, dns.TypeA, OPT(1232, 0, Option(10, 24, "123456781234567812345678")))},
		{"a hundred options", Query(web, dns.TypeA, OPT(1232, 0, bytes.Repeat(Option(65001, 0, ""), 100)))},
		{"TSIG", Query(web, dns.TypeA, append(Question(Name("key"), dns.TypeTSIG, dns.ClassANY), make([]byte, 6)...))},

		{"a response", Message(1<<15, one, a)},
		{"a response with an answer", Message(1<<15|1<<10, [4]uint16{1, 1}, a, rr)},
		{"a truncated query", Message(1<<9, one, a)},
		{"an authoritative query", Message(1<<10, one, a)},
		{"the Z bit", Message(1<<6, one, a)},
		{"AD and CD", Message(1<<5|1<<4, one, a)},
		{"a response code in a query", Message(0xf, one, a)},
		{"all flags of a query", Message(0x07ff, one, a)},
	}
}

// Numbered are packets with each of the numbers that stand somewhere in a packet.
func Numbered() []Packet {
	web := InDefault("web-0", "web")
	a := Question(web, dns.TypeA, dns.ClassINET)
	one := [4]uint16{1}
	var packets []Packet
	for _, length := range []int{0, 1, 7, 9, 15, 16, 40, 41, 300} {
		packets = append(packets, Packet{fmt.Sprintf("a cookie of %d octets", length), Query(web, dns.TypeA, OPT(1232, 0, Option(10, length, strings.Repeat("c", length))))})
	}
	for opcode := uint16(1); opcode < 16; opcode++ {
		packets = append(packets, Packet{fmt.Sprintf("opcode %d", opcode), Message(opcode<<11, one, a)},
			Packet{fmt.Sprintf("opcode %d without a question", opcode), Message(opcode<<11, [4]uint16{})})
	}
	for _, class := range []uint16{0, 2, dns.ClassCHAOS, dns.ClassHESIOD, dns.ClassNONE, dns.ClassANY, 65535} {
		packets = append(packets, Packet{fmt.Sprintf("class %d", class), Message(recursionDesired, one, Question(web, dns.TypeA, class))})
	}
	for _, qtype := range []uint16{
		0, dns.TypeA, dns.TypeNS, dns.TypeCNAME, dns.TypeSOA, dns.TypeNULL, dns.TypeMX, dns.TypeTXT, dns.TypeAAAA, dns.TypeSRV, dns.TypeOPT,
		dns.TypeDS, dns.TypeRRSIG, dns.TypeDNSKEY, dns.TypeHTTPS, dns.TypeTKEY, dns.TypeTSIG, dns.TypeIXFR, dns.TypeAXFR, dns.TypeMAILB,
		dns.TypeMAILA, dns.TypeANY, 128, 65280, 65535,
	} {
		names := [][]byte{web, Name("cluster", "local")}
		for _, name := range []string{"web", "ext", "inside", "nowhere", "nodata", "circle", "self", "hop-1"} { // but the first, all are CNAMEs
			names = append(names, InDefault(name))
		}
		for _, name := range names {
			packets = append(packets, Packet{fmt.Sprintf("type %d of %q", qtype, name), Query(name, qtype)},
				Packet{fmt.Sprintf("type %d of %q with EDNS", qtype, name), Query(name, qtype, OPT(1232, 0))})
		}
	}
	for octet := range 256 {
		packets = append(packets, Packet{fmt.Sprintf("octet %d in a label", octet), Query(InDefault("a"+string([]byte{byte(octet)})+"b", "web"), dns.TypeA)},
			Packet{fmt.Sprintf("octet %d for a label", octet), Query(InDefault(string([]byte{byte(octet)})), dns.TypeA)})
	}
	return packets
}

// Zones are the zones of the servers under attack.
var Zones = []string{"cluster.local.", "in-addr.arpa.", "ip6.arpa."}

// IsOurs reports whether name is in one of them.
func IsOurs(name string) bool {
	return slices.ContainsFunc(Zones, func(zone string) bool { return dns.IsSubDomain(zone, name) })
}

// IsAnswered reports whether a server replies to a packet: to nothing that is too short for a header or is a reply itself.
func IsAnswered(packet []byte) bool {
	return len(packet) >= 12 && // a header
		packet[2]&0x80 == 0
}

// Fault returns what is wrong with the reply to a packet, or nil. Of a query and an answer from our zones isStale tells whether
// the answer is from a snapshot.
func Fault(tcp bool, packet, reply []byte, isStale func(r, m *dns.Msg) bool) error {
	r, m := new(dns.Msg), new(dns.Msg)
	malformed := r.Unpack(packet) != nil || len(r.Question) != 1
	if err := m.Unpack(reply); err != nil {
		return fmt.Errorf("the reply %x is malformed: %w", reply, err)
	}
	limit := dns.MinMsgSize
	opt := r.IsEdns0()
	switch {
	case tcp:
		limit = dns.MaxMsgSize
	case !malformed && opt != nil:
		limit = max(limit, int(opt.UDPSize()))
	}
	switch {
	case len(reply) > limit:
		return fmt.Errorf("%d octets, asked for at most %d", len(reply), limit)
	case binary.BigEndian.Uint16(reply) != binary.BigEndian.Uint16(packet) || !m.Response:
		return fmt.Errorf("no reply to this packet: %v", &m.MsgHdr)
	case len(m.Question) > 1 || len(m.Question) == 1 && (len(r.Question) == 0 || m.Question[0] != r.Question[0]):
		return fmt.Errorf("question %v, asked %v", m.Question, r.Question)
	case m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented:
		if len(m.Answer)+len(m.Ns) > 0 {
			return fmt.Errorf("%s with records", dns.RcodeToString[m.Rcode])
		}
		return nil // these repeat all flags of the query
	case m.Truncated && len(reply)+600 < min(limit, 65507): // no record of ours is that long
		return fmt.Errorf("truncated after %d octets of %d", len(reply), limit)
	case len(r.Question) == 0 && m.Rcode == dns.RcodeServerFailure && len(m.Answer)+len(m.Ns) == 0:
		return nil // a header alone, whatever it counts
	case malformed:
		return fmt.Errorf("%s for a malformed packet", dns.RcodeToString[m.Rcode])
	case len(m.Question) == 0:
		return errors.New("the question is missing")
	case (m.IsEdns0() != nil) != (opt != nil):
		return fmt.Errorf("an OPT in the query %v, in the reply %v", opt != nil, m.IsEdns0() != nil)
	}
	q := r.Question[0]
	for _, rr := range slices.Concat(m.Answer, m.Ns, m.Extra) {
		if rr.Header().Rrtype != dns.TypeOPT && !IsOurs(rr.Header().Name) {
			return fmt.Errorf("a record outside our zones: %v", rr)
		}
	}
	isTransfer := q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR
	switch {
	case opt != nil && opt.Version() != 0 && (q.Qclass == dns.ClassINET || m.Rcode == dns.RcodeBadVers): // some refuse the class first
		if m.Rcode != dns.RcodeBadVers || m.IsEdns0().Version() != 0 {
			return fmt.Errorf("%s for EDNS version %d", dns.RcodeToString[m.Rcode], opt.Version())
		}
	case q.Qclass != dns.ClassINET || !IsOurs(q.Name) || isTransfer:
		if m.Rcode != dns.RcodeRefused || m.Authoritative || len(m.Answer)+len(m.Ns)+len(ExtendedErrors(m)) > 0 {
			return fmt.Errorf("not ours, and answered:\n%v", m)
		}
	case m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError || !m.Authoritative || len(m.Answer)+len(m.Ns) == 0 && !m.Truncated:
		return fmt.Errorf("a valid query, and the reply is:\n%v", m)
	default:
		return ExplanationFault(r, m, limit, isStale(r, m))
	}
	return nil
}

// ExtendedErrors returns those of m.
func ExtendedErrors(m *dns.Msg) (errs []dns.EDNS0_EDE) {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				errs = append(errs, *e)
			}
		}
	}
	return errs
}

// Denies reports whether m, a reply from zones of ours with nothing behind them, denies what was asked for. CNAMEs alone are what was
// asked for, but where they are followed, which they are for A and AAAA (B§2). Then they deny by their response code, by the SOA behind
// them (RFC 2308 section 2), or when they end at a name of ours: in a circle, or after too many. Of a name elsewhere that nobody here
// answers for they deny nothing: the client's resolver goes on.
func Denies(m *dns.Msg) bool {
	if m.Truncated || len(m.Answer) == 0 {
		return !m.Truncated
	}
	end, ok := m.Answer[len(m.Answer)-1].(*dns.CNAME)
	if qtype := m.Question[0].Qtype; !ok || qtype != dns.TypeA && qtype != dns.TypeAAAA {
		return false
	}
	return m.Rcode != dns.RcodeSuccess || len(m.Ns) > 0 || IsOurs(end.Target) || dns.IsSubDomain("clusterset.local.", end.Target)
}

// ExplanationFault returns what is wrong with the extended errors of m, a reply to r that may have up to limit octets, or nil (B§5,
// B§8). A client that can read them is told first, and only if isStale, that the reply is from a snapshot, which no client may keep for
// long; and then why it is a denial, only if it is one, unless there is no room for that.
func ExplanationFault(r, m *dns.Msg, limit int, isStale bool) error {
	errs := ExtendedErrors(m)
	reads := r.IsEdns0() != nil
	if isStale {
		outlives := func(ttl uint32) func(dns.RR) bool {
			return func(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeOPT && rr.Header().Ttl > ttl }
		}
		if slices.ContainsFunc(slices.Concat(m.Answer, m.Extra), outlives(5)) || slices.ContainsFunc(m.Ns, outlives(0)) {
			return errors.New("from a snapshot, and it may be kept")
		}
	}
	if isStale && reads {
		if len(errs) == 0 || errs[0].InfoCode != dns.ExtendedErrorCodeStaleAnswer {
			return fmt.Errorf("from a snapshot, and the extended errors are %v", errs)
		}
		errs = errs[1:]
	}
	want := 0
	if reads && Denies(m) {
		want = 1
	}
	if isLeftOut := len(errs) == 0 && m.Len()+6+leastExplanation > limit; len(errs) != want && !isLeftOut {
		return fmt.Errorf("%d explanations, want %d: %v", len(errs), want, errs)
	}
	for _, e := range errs {
		printable := !strings.ContainsFunc(e.ExtraText, func(c rune) bool { return c < ' ' || c > '~' })
		if e.InfoCode != dns.ExtendedErrorCodeOther || len(e.ExtraText) < leastExplanation/2 || len(e.ExtraText) >= 200 || !printable {
			return fmt.Errorf("extended error %d of %d octets: %q", e.InfoCode, len(e.ExtraText), e.ExtraText)
		}
		if isOfTarget := strings.HasPrefix(e.ExtraText, "target "); isOfTarget != (len(m.Answer) > 0) {
			return fmt.Errorf("%d CNAMEs, and it is said: %q", len(m.Answer), e.ExtraText)
		}
	}
	return nil
}

// Exchange sends one message and returns the reply, if there has to be one.
func Exchange(conn *dnstest.Conn, message []byte) ([]byte, error) {
	if !IsAnswered(message) {
		return nil, conn.Send(message)
	}
	return conn.Exchange(message)
}
