package headless

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/metrictest"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	_ "github.com/coredns/coredns/plugin/bufsize"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	_ "github.com/coredns/coredns/plugin/timeouts"
	"github.com/miekg/dns"
)

// packet returns a DNS message with these flags and counts, whatever stands behind the header.
func packet(flags uint16, counts [4]uint16, body ...[]byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0x12, 0x34}, flags)
	for _, n := range counts {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return append(b, slices.Concat(body...)...)
}

// wireName returns a name in wire format, with these labels and a root behind them.
func wireName(labels ...string) []byte {
	var b []byte
	for _, label := range labels {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0)
}

// inDefault returns the wire format of a name below default.svc.cluster.local.
func inDefault(labels ...string) []byte {
	return wireName(append(labels, "default", "svc", "cluster", "local")...)
}

// wireQuestion returns a question, or the start of a record.
func wireQuestion(name []byte, qtype, class uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(slices.Clone(name), qtype), class)
}

// wireOPT returns an OPT record. Its rdata may be anything.
func wireOPT(size uint16, ttl uint32, rdata ...[]byte) []byte {
	b := wireQuestion([]byte{0}, dns.TypeOPT, size)
	b = binary.BigEndian.AppendUint32(b, ttl)
	data := slices.Concat(rdata...)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
}

// wireOption returns an EDNS option that says it has length octets of data.
func wireOption(code uint16, length int, data string) []byte {
	b := binary.BigEndian.AppendUint16(nil, code)
	return append(binary.BigEndian.AppendUint16(b, uint16(length)), data...)
}

const recursionDesired = 1 << 8

// wireQuery returns a query of class IN for a name.
func wireQuery(name []byte, qtype uint16, extra ...[]byte) []byte {
	return packet(recursionDesired, [4]uint16{1, 0, 0, uint16(len(extra))}, wireQuestion(name, qtype, dns.ClassINET), slices.Concat(extra...))
}

type namedPacket struct {
	name   string
	packet []byte
}

// hostilePackets are those that a client should not send, and some on the edge of those it may.
func hostilePackets() []namedPacket {
	web := inDefault("web-0", "web")
	a := wireQuestion(web, dns.TypeA, dns.ClassINET)
	one := [4]uint16{1}
	withOPT := [4]uint16{1, 0, 0, 1}
	rr := append(wireQuestion(web, dns.TypeA, dns.ClassINET), 0, 0, 0, 5, 0, 4, 10, 0, 0, 1)
	label63 := strings.Repeat("x", 63)
	longest := wireName(label63, label63, label63, strings.Repeat("x", 61)) // 255 octets
	room := 255 - len(inDefault())
	return []namedPacket{
		{"nothing", nil},
		{"one octet", []byte{0}},
		{"half a header", packet(0, one)[:6]},
		{"a header that is an octet short", packet(0, one)[:11]},
		{"a header alone", packet(0, [4]uint16{})},
		{"no question", packet(recursionDesired, [4]uint16{}, a)},
		{"no question and an OPT", packet(recursionDesired, [4]uint16{0, 0, 0, 1}, wireOPT(1232, 0))},
		{"two questions", packet(recursionDesired, [4]uint16{2}, a, a)},
		{"two questions, one there", packet(recursionDesired, [4]uint16{2}, a)},
		{"65,535 questions", packet(recursionDesired, [4]uint16{65535}, a)},
		{"an answer that is not there", packet(recursionDesired, [4]uint16{1, 1}, a)},
		{"an answer", packet(recursionDesired, [4]uint16{1, 1}, a, rr)},
		{"65,535 answers", packet(recursionDesired, [4]uint16{1, 65535}, a, rr)},
		{"an authority that is not there", packet(recursionDesired, [4]uint16{1, 0, 1}, a)},
		{"65,535 additional records", packet(recursionDesired, [4]uint16{1, 0, 0, 65535}, a, rr)},
		{"all counts at most", packet(recursionDesired, [4]uint16{65535, 65535, 65535, 65535}, a)},
		{"octets behind the message", packet(recursionDesired, one, a, []byte("behind"))},
		{"a question without a type", packet(recursionDesired, one, web)},
		{"a question without a class", packet(recursionDesired, one, a[:len(a)-2])},
		{"ones", bytes.Repeat([]byte{0xff}, 512)},
		{"ones that are a query", append(packet(recursionDesired, one), bytes.Repeat([]byte{0xff}, 100)...)},
		{"zeros", make([]byte, 512)},

		{"a pointer to itself", packet(recursionDesired, one, wireQuestion([]byte{0xc0, 12}, dns.TypeA, dns.ClassINET))},
		{"a pointer to the pointer behind it", packet(recursionDesired, one, wireQuestion([]byte{0xc0, 14, 0xc0, 12}, dns.TypeA, dns.ClassINET))},
		{"a label and a pointer back to it", packet(recursionDesired, one, wireQuestion([]byte{1, 'a', 0xc0, 12}, dns.TypeA, dns.ClassINET))},
		{"a pointer into the header", packet(recursionDesired, one, wireQuestion([]byte{1, 'a', 0xc0, 0}, dns.TypeA, dns.ClassINET))},
		{"a pointer past the end", packet(recursionDesired, one, wireQuestion([]byte{0xff, 0xff}, dns.TypeA, dns.ClassINET))},
		{"half a pointer", packet(recursionDesired, one, []byte{0xc0})},
		{"an owner name that points to itself", packet(recursionDesired, withOPT, a, wireQuestion([]byte{0xc0, byte(12 + len(a))}, dns.TypeA, 1), make([]byte, 6))},
		{"label type 01", packet(recursionDesired, one, wireQuestion([]byte{0x41, 1, 2, 3, 0}, dns.TypeA, dns.ClassINET))},
		{"label type 10", packet(recursionDesired, one, wireQuestion([]byte{0x80, 1, 2, 3, 0}, dns.TypeA, dns.ClassINET))},
		{"a label of 64 octets", packet(recursionDesired, one, wireQuestion(append([]byte{64}, label63+"xx"...), dns.TypeA, dns.ClassINET))},
		{"a label that is not all there", packet(recursionDesired, one, append([]byte{63}, "abc"...))},
		{"a name of 255 octets", wireQuery(longest, dns.TypeA)},
		{"a name of 256 octets", wireQuery(append(append(slices.Clone(longest[:len(longest)-1]), 0), 0), dns.TypeA)},
		{"a name of 257 octets", wireQuery(wireName(label63, label63, label63, label63), dns.TypeA)},
		{"a name of 127 labels", wireQuery(wireName(strings.Split(strings.Repeat("a", 127), "")...), dns.TypeA)},
		{"a name of 300 labels", wireQuery(wireName(strings.Split(strings.Repeat("a", 300), "")...), dns.TypeA)},
		{"a label of 63 octets", wireQuery(inDefault(label63), dns.TypeA)},
		{"a hostname of 63 octets", wireQuery(inDefault(label63, "web"), dns.TypeA)},
		{"255 octets in our zone", wireQuery(inDefault(label63, label63, strings.Repeat("x", room-2*64-1)), dns.TypeA)},
		{"as many labels as fit in our zone", wireQuery(inDefault(strings.Split(strings.Repeat("a", room/2), "")...), dns.TypeSRV)},
		{"labels of one underscore", wireQuery(inDefault("_", "_", "web"), dns.TypeSRV)},
		{"an octet that is a dot", wireQuery(inDefault("web-0.web"), dns.TypeA)},
		{"dots and backslashes", wireQuery(inDefault(`.\.`, `\`, "web"), dns.TypeA)},
		{"a zone with a dot for a border", wireQuery(wireName("default.svc", "cluster.local"), dns.TypeA)},
		{"a dashed address of hyphens", wireQuery(inDefault(strings.Repeat("-", 39), "web"), dns.TypeAAAA)},
		{"the root", wireQuery(wireName(), dns.TypeA)},
		{"a name outside our zones", wireQuery(wireName("www", "example", "org"), dns.TypeA)},
		{"a name that ends almost as our zone", wireQuery(wireName("web", "xcluster", "local"), dns.TypeA)},
		{"above our zone", wireQuery(wireName("local"), dns.TypeSOA)},
		{"in capitals", wireQuery(wireName("WEB-0", "WEB", "DEFAULT", "SVC", "CLUSTER", "LOCAL"), dns.TypeA)},
		{"a reverse name of 33 nibbles", wireQuery(wireName(append(strings.Split(strings.Repeat("1", 33), ""), "ip6", "arpa")...), dns.TypePTR)},
		{"a reverse name of five octets", wireQuery(wireName("1", "1", "0", "0", "10", "in-addr", "arpa"), dns.TypePTR)},
		{"a reverse name that is none", wireQuery(wireName("\x00", "256", "-1", "1e1", "in-addr", "arpa"), dns.TypePTR)},

		{"EDNS", wireQuery(web, dns.TypeA, wireOPT(1232, 0))},
		{"EDNS version 1", wireQuery(web, dns.TypeA, wireOPT(1232, 1<<16))},
		{"EDNS version 255", wireQuery(web, dns.TypeA, wireOPT(1232, 255<<16))},
		{"EDNS version 1, class CHAOS", packet(recursionDesired, withOPT, wireQuestion(web, dns.TypeA, dns.ClassCHAOS), wireOPT(1232, 1<<16))},
		{"an extended response code in a query", wireQuery(web, dns.TypeA, wireOPT(1232, 0xff<<24))},
		{"DO", wireQuery(web, dns.TypeA, wireOPT(1232, 1<<15))},
		{"all other flags", wireQuery(web, dns.TypeA, wireOPT(1232, 0x7fff))},
		{"a buffer of nothing", wireQuery(web, dns.TypeA, wireOPT(0, 0))},
		{"a buffer of one octet", wireQuery(web, dns.TypeA, wireOPT(1, 0))},
		{"a buffer of 511 octets", wireQuery(web, dns.TypeA, wireOPT(511, 0))},
		{"a buffer of 65,535 octets", wireQuery(web, dns.TypeA, wireOPT(65535, 0))},
		{"two OPTs", wireQuery(web, dns.TypeA, wireOPT(512, 0), wireOPT(65535, 0))},
		{"three OPTs", wireQuery(web, dns.TypeA, wireOPT(512, 0), wireOPT(4096, 0), wireOPT(65535, 0))},
		{"an OPT among the answers", packet(recursionDesired, [4]uint16{1, 1}, a, wireOPT(4096, 0))},
		{"an OPT in the authority section", packet(recursionDesired, [4]uint16{1, 0, 1}, a, wireOPT(4096, 0))},
		{"an OPT with an owner name", packet(recursionDesired, withOPT, a, []byte{0xc0, 12}, wireOPT(1232, 0)[1:])},
		{"an OPT that says it is longer", packet(recursionDesired, withOPT, a, wireOPT(1232, 0)[:9], []byte{0xff, 0xff})},
		{"an OPT cut in the middle", packet(recursionDesired, withOPT, a, wireOPT(1232, 0)[:7])},
		{"an option that says it is longer", wireQuery(web, dns.TypeA, wireOPT(1232, 0, wireOption(3, 65535, "ns")))},
		{"an option cut in its header", wireQuery(web, dns.TypeA, wireOPT(1232, 0, []byte{0, 3, 0}))},
		{"NSID", wireQuery(web, dns.TypeA, wireOPT(1232, 0, wireOption(3, 0, "")))},
		{"keepalive with a time", wireQuery(web, dns.TypeA, wireOPT(1232, 0, wireOption(11, 2, "\x00\x64")))},
		{"keepalive of one octet", wireQuery(web, dns.TypeA, wireOPT(1232, 0, wireOption(11, 1, "\x00")))},
		{"padding", wireQuery(web, dns.TypeA, wireOPT(1232, 0, wireOption(12, 200, strings.Repeat("\x00", 200))))},
		{"a client subnet", wireQuery(web, dns.TypeA, wireOPT(1232, 0, wireOption(8, 7, "\x00\x01\x18\x00\x0a\x00\x00")))},
		{"a client subnet of an unknown family", wireQuery(web, dns.TypeA, wireOPT(1232, 0, wireOption(8, 4, "\x00\x09\x00\x00")))},
		{"a client subnet longer than its address", wireQuery(web, dns.TypeA, wireOPT(1232, 0, wireOption(8, 4, "\x00\x01\xff\x00")))},
		{"an extended error in a query", wireQuery(web, dns.TypeA, wireOPT(1232, 0, wireOption(15, 6, "\x00\x0e\xff\xfe\xfd\xfc")))},
		{"an extended error of one octet", wireQuery(web, dns.TypeA, wireOPT(1232, 0, wireOption(15, 1, "\x00")))},
		{"a cookie", wireQuery(web, dns.TypeA, wireOPT(1232, 0, wireOption(10, 8, "12345678")))},
		{"a cookie with a server's part", wireQuery(web, dns.TypeA, wireOPT(1232, 0, wireOption(10, 24, "123456781234567812345678")))},
		{"a hundred options", wireQuery(web, dns.TypeA, wireOPT(1232, 0, bytes.Repeat(wireOption(65001, 0, ""), 100)))},
		{"TSIG", wireQuery(web, dns.TypeA, append(wireQuestion(wireName("key"), dns.TypeTSIG, dns.ClassANY), make([]byte, 6)...))},

		{"a response", packet(1<<15, one, a)},
		{"a response with an answer", packet(1<<15|1<<10, [4]uint16{1, 1}, a, rr)},
		{"a truncated query", packet(1<<9, one, a)},
		{"an authoritative query", packet(1<<10, one, a)},
		{"the Z bit", packet(1<<6, one, a)},
		{"AD and CD", packet(1<<5|1<<4, one, a)},
		{"a response code in a query", packet(0xf, one, a)},
		{"all flags of a query", packet(0x07ff, one, a)},
	}
}

// numberedPackets are packets with each of the numbers that stand somewhere in a packet.
func numberedPackets() []namedPacket {
	web := inDefault("web-0", "web")
	a := wireQuestion(web, dns.TypeA, dns.ClassINET)
	one := [4]uint16{1}
	var packets []namedPacket
	for _, length := range []int{0, 1, 7, 9, 15, 16, 40, 41, 300} {
		packets = append(packets, namedPacket{fmt.Sprintf("a cookie of %d octets", length), wireQuery(web, dns.TypeA, wireOPT(1232, 0, wireOption(10, length, strings.Repeat("c", length))))})
	}
	for opcode := uint16(1); opcode < 16; opcode++ {
		packets = append(packets, namedPacket{fmt.Sprintf("opcode %d", opcode), packet(opcode<<11, one, a)},
			namedPacket{fmt.Sprintf("opcode %d without a question", opcode), packet(opcode<<11, [4]uint16{})})
	}
	for _, class := range []uint16{0, 2, dns.ClassCHAOS, dns.ClassHESIOD, dns.ClassNONE, dns.ClassANY, 65535} {
		packets = append(packets, namedPacket{fmt.Sprintf("class %d", class), packet(recursionDesired, one, wireQuestion(web, dns.TypeA, class))})
	}
	for _, qtype := range []uint16{
		0, dns.TypeA, dns.TypeNS, dns.TypeCNAME, dns.TypeSOA, dns.TypeNULL, dns.TypeMX, dns.TypeTXT, dns.TypeAAAA, dns.TypeSRV, dns.TypeOPT,
		dns.TypeDS, dns.TypeRRSIG, dns.TypeDNSKEY, dns.TypeHTTPS, dns.TypeTKEY, dns.TypeTSIG, dns.TypeIXFR, dns.TypeAXFR, dns.TypeMAILB,
		dns.TypeMAILA, dns.TypeANY, 128, 65280, 65535,
	} {
		names := [][]byte{web, wireName("cluster", "local")}
		for _, name := range []string{"web", "ext", "inside", "nowhere", "nodata", "circle", "self", "hop-1"} { // but the first, all are CNAMEs
			names = append(names, inDefault(name))
		}
		for _, name := range names {
			packets = append(packets, namedPacket{fmt.Sprintf("type %d of %q", qtype, name), wireQuery(name, qtype)},
				namedPacket{fmt.Sprintf("type %d of %q with EDNS", qtype, name), wireQuery(name, qtype, wireOPT(1232, 0))})
		}
	}
	for octet := range 256 {
		packets = append(packets, namedPacket{fmt.Sprintf("octet %d in a label", octet), wireQuery(inDefault("a"+string([]byte{byte(octet)})+"b", "web"), dns.TypeA)},
			namedPacket{fmt.Sprintf("octet %d for a label", octet), wireQuery(inDefault(string([]byte{byte(octet)})), dns.TypeA)})
	}
	return packets
}

// hostileZones are the zones of the servers under attack.
var hostileZones = []string{"cluster.local.", "in-addr.arpa.", "ip6.arpa."}

// isHostileZone reports whether name is in one of them.
func isHostileZone(name string) bool {
	return slices.ContainsFunc(hostileZones, func(zone string) bool { return dns.IsSubDomain(zone, name) })
}

// isAnswered reports whether a server replies to a packet: to nothing that is too short for a header or is a reply itself.
func isAnswered(packet []byte) bool { return len(packet) >= headerSize && packet[2]&0x80 == 0 }

// neverStale is for servers that answer from no snapshot.
func neverStale(*dns.Msg, *dns.Msg) bool { return false }

// replyFault returns what is wrong with the reply to a packet, or nil. Of a query and an answer from our zones isStale tells whether
// the answer is from a snapshot.
func replyFault(tcp bool, packet, reply []byte, isStale func(r, m *dns.Msg) bool) error {
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
	case m.Truncated && len(reply)+600 < min(limit, maxDatagram): // no record of ours is that long
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
		if rr.Header().Rrtype != dns.TypeOPT && !isHostileZone(rr.Header().Name) {
			return fmt.Errorf("a record outside our zones: %v", rr)
		}
	}
	isTransfer := q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR
	switch {
	case opt != nil && opt.Version() != 0 && (q.Qclass == dns.ClassINET || m.Rcode == dns.RcodeBadVers): // some refuse the class first
		if m.Rcode != dns.RcodeBadVers || m.IsEdns0().Version() != 0 {
			return fmt.Errorf("%s for EDNS version %d", dns.RcodeToString[m.Rcode], opt.Version())
		}
	case q.Qclass != dns.ClassINET || !isHostileZone(q.Name) || isTransfer:
		if m.Rcode != dns.RcodeRefused || m.Authoritative || len(m.Answer)+len(m.Ns)+len(extendedErrors(m)) > 0 {
			return fmt.Errorf("not ours, and answered:\n%v", m)
		}
	case m.Rcode != noError && m.Rcode != nxName || !m.Authoritative || len(m.Answer)+len(m.Ns) == 0 && !m.Truncated:
		return fmt.Errorf("a valid query, and the reply is:\n%v", m)
	default:
		return explanationFault(r, m, limit, isStale(r, m))
	}
	return nil
}

// sendPacket sends a packet and then a valid query over conn, and checks the replies to both. Over TCP a conn takes any number of
// packets one after the other.
func sendPacket(conn *dnstest.Conn, packet []byte) error {
	tcp := conn.Network() == "tcp"
	if !tcp {
		packet = packet[:min(len(packet), dns.MinMsgSize)] // as the server reads it
	}
	valid := wireQuery(inDefault("web-0", "web"), dns.TypeA)
	valid[0] = ^append(slices.Clone(packet), 0)[0] // not an ID that the packet has
	if len(packet) > 0 || tcp {                    // an empty datagram is not sent everywhere
		reply, err := exchange(conn, packet)
		if err == nil && isAnswered(packet) {
			err = replyFault(tcp, packet, reply, neverStale)
		}
		if err != nil {
			return err
		}
	}
	reply, err := conn.Exchange(valid)
	if err != nil {
		return fmt.Errorf("a valid query behind it: %w", err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil || !bytes.Equal(reply[:2], valid[:2]) || len(m.Answer) != 1 || !strings.HasSuffix(m.Answer[0].String(), "\t10.0.0.1") {
		return fmt.Errorf("a valid query behind it has the reply %x: %w\n%v", reply, err, m)
	}
	return nil
}

// exchange sends one message and returns the reply, if there has to be one.
func exchange(conn *dnstest.Conn, message []byte) ([]byte, error) {
	if !isAnswered(message) {
		return nil, conn.Send(message)
	}
	return conn.Exchange(message)
}

// hostileServer starts CoreDNS, with the plugins that most have, for the cluster of testdata/cluster.yaml.
func hostileServer(t testing.TB, options string) *server {
	t.Helper()
	return startServer(t, strings.Join(hostileZones, ":0 ")+":0 {\n"+bound+"loadbalance\nmetadata\n"+options+
		"\nheadless {\nmanifests testdata/cluster.yaml\n}\n}")
}

func (s *server) dial(t testing.TB, network string) *dnstest.Conn {
	t.Helper()
	conn, err := net.Dial(network, s.addr(network))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
	return dnstest.NewConn(conn, network)
}

// heap returns the octets that are in use once all garbage is collected.
func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first one finalised
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func TestHostilePackets(t *testing.T) { // not parallel: it counts panics and goroutines
	s := hostileServer(t, "")
	panics := metrictest.Values(t, "coredns_panics_total")[""]
	udp, tcp := s.dial(t, "udp"), s.dial(t, "tcp")
	var before uint64
	threads := 0
	for round := range 4 {
		for _, p := range slices.Concat(hostilePackets(), numberedPackets()) {
			for _, conn := range []*dnstest.Conn{udp, tcp} {
				if err := sendPacket(conn, p.packet); err != nil {
					t.Fatalf("%s over %s: %x\n%v", p.name, conn.Network(), p.packet, err)
				}
			}
		}
		if round == 0 { // by now all pools and caches have what they keep
			before, threads = heap(), runtime.NumGoroutine()
		}
	}
	if after := heap(); after > before+1<<20 {
		t.Errorf("the heap grew from %d to %d octets", before, after)
	}
	if n, stacks := goroutines(threads + 2); n > threads+2 {
		t.Errorf("%d goroutines, %d before\n%s", n, threads, stacks)
	}
	if got := metrictest.Values(t, "coredns_panics_total")[""]; got != panics {
		t.Errorf("%v panics", got-panics)
	}
}

// TestMutatedPackets changes a few octets of packets, as FuzzPacket does, but quickly and always the same.
func TestMutatedPackets(t *testing.T) {
	w := newWireServer(t, newTestHeadless(t, ""))
	packets := hostilePackets()
	r := rand.New(rand.NewPCG(5, 5))
	for range 5000 {
		p := modeltest.PickOne(r, packets)
		mutated := slices.Clone(p.packet)
		for range r.IntN(4) {
			at := r.IntN(len(mutated) + 1)
			switch r.IntN(4) {
			case 0: // another octet
				mutated = append(mutated[:at:at], append([]byte{byte(r.Uint32())}, mutated[min(at+1, len(mutated)):]...)...)
			case 1: // one more
				mutated = append(mutated[:at:at], append([]byte{byte(r.Uint32())}, mutated[at:]...)...)
			case 2: // what stands behind is gone
				mutated = mutated[:at]
			case 3: // another packet's end
				other := modeltest.PickOne(r, packets).packet
				mutated = append(mutated[:at:at], other[min(at, len(other)):]...)
			}
		}
		conn := []*dnstest.Conn{w.udp, w.tcp}[r.IntN(2)]
		if err := sendPacket(conn, mutated); err != nil {
			t.Fatalf("%s, mutated to %x, over %s:\n%v", p.name, mutated, conn.Network(), err)
		}
	}
}

// TestHostileConnections: connections that stall anywhere keep nobody from being answered, and end.
func TestHostileConnections(t *testing.T) { // not parallel: it counts goroutines
	s := hostileServer(t, "timeouts {\nread 1s\nidle 1s\n}")
	answered := func() {
		t.Helper()
		for _, network := range []string{"udp", "tcp"} {
			conn := s.dial(t, network)
			if err := sendPacket(conn, nil); err != nil {
				t.Fatalf("over %s: %v", network, err)
			}
			_ = conn.Close() // all is said
		}
	}
	answered()
	before, used := runtime.NumGoroutine(), heap()
	message := wireQuery(inDefault("web-0", "web"), dns.TypeA)
	whole := append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
	stalls := [][]byte{{}, whole[:1], whole[:2], whole[:20], append(slices.Clone(whole), whole[:10]...), {0xff, 0xff, 0}, {0, 0, 0}}
	var conns []net.Conn
	for len(conns) < 2000 {
		conn, err := net.Dial("tcp", s.tcp)
		if errors.Is(err, syscall.EMFILE) && len(conns) > 100 {
			break // as many as this process may have
		}
		if err != nil {
			t.Fatalf("connection %d: %v", len(conns), err)
		}
		t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
		conns = append(conns, conn)
		if _, err := conn.Write(stalls[len(conns)%len(stalls)]); err != nil {
			t.Fatal(err)
		}
		if len(conns)%100 == 0 {
			answered()
		}
	}
	t.Logf("%d connections that stall", len(conns))
	answered()
	for i, conn := range conns {
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("connection %d: the server waits for ever behind %x", i, stalls[(i+1)%len(stalls)])
		}
		_ = conn.Close() // the server has
		if i%100 == 0 {
			answered()
		}
	}
	if n, stacks := goroutines(before + 2); n > before+2 {
		t.Errorf("%d goroutines, %d before\n%s", n, before, stacks)
	}
	if after := heap(); after > used+4<<20 {
		t.Errorf("the heap grew from %d to %d octets", used, after)
	}
}

// wireServer is CoreDNS from a packet's first octet to the last one of the reply, without sockets.
type wireServer struct {
	udp   *dnstest.Conn // the clients' end
	tcp   *dnstest.Conn // that of a connection for all to use
	conns chan net.Conn // to be accepted
}

// newWireServer starts a server for the zones of h. Other names are refused by another plugin behind it.
func newWireServer(t testing.TB, h *Headless) *wireServer {
	t.Helper()
	config := &dnsserver.Config{
		Zone: ".", Debug: true, // a panic is not caught
		ReadTimeout: time.Hour, IdleTimeout: time.Hour, // a fuzzer may leave tcp alone for a while
	}
	config.AddPlugin(func(next plugin.Handler) plugin.Handler {
		h.Next = next
		return h
	})
	config.AddPlugin(func(plugin.Handler) plugin.Handler { return refuser{} })
	s, err := dnsserver.NewServer("dns://127.0.0.1:53", []*dnsserver.Config{config})
	if err != nil {
		t.Fatal(err)
	}
	clog.D.Clear() // the messages of debug
	w := &wireServer{conns: make(chan net.Conn)}
	client, end := net.Pipe()
	w.udp = dnstest.NewConn(client, "udp")
	var running sync.WaitGroup
	closed := make(chan struct{})
	running.Go(func() { _ = s.ServePacket(&pipePacketConn{end}) }) // it ends with Stop
	running.Go(func() { _ = s.Serve(&pipeListener{w.conns, closed, sync.Once{}}) })
	w.tcp = dnstest.NewConn(w.connect(), "tcp")
	t.Cleanup(func() {
		_, _ = w.udp.Close(), w.tcp.Close() // pipes
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
	return w
}

// refuser is what stands behind headless.
type refuser struct{}

// Name implements plugin.Handler. A server that has forward hands queries of all classes to its plugins.
func (refuser) Name() string { return "forward" }

// ServeDNS implements plugin.Handler.
func (refuser) ServeDNS(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) {
	return dns.RcodeRefused, nil
}

// connect returns a new TCP connection to the server.
func (w *wireServer) connect() net.Conn {
	client, end := net.Pipe()
	w.conns <- pipeConn{end}
	return client
}

// pipeConn is a pipe that looks like a TCP connection.
type pipeConn struct{ net.Conn }

func (pipeConn) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53} }
func (pipeConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000} }

// pipePacketConn is a pipe that looks like a UDP socket: what is written at once is a datagram.
type pipePacketConn struct{ net.Conn }

func (p *pipePacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := p.Read(b)
	return n, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000}, err
}

func (p *pipePacketConn) WriteTo(b []byte, _ net.Addr) (int, error) { return p.Write(b) }

func (*pipePacketConn) LocalAddr() net.Addr {
	return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53}
}

// pipeListener accepts the connections of a wireServer.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (*pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53} }

func FuzzPacket(f *testing.F) {
	for i, p := range hostilePackets() {
		f.Add(p.packet, uint8(i))
	}
	w := newWireServer(f, newTestHeadless(f, ""))
	f.Fuzz(func(t *testing.T, packet []byte, way uint8) {
		switch way % 3 {
		case 0:
			if err := sendPacket(w.udp, packet); err != nil {
				t.Fatalf("over UDP: %x\n%v", packet, err)
			}
		case 1:
			if err := sendPacket(w.tcp, packet[:min(len(packet), dns.MaxMsgSize)]); err != nil {
				t.Fatalf("over TCP: %x\n%v", packet, err)
			}
		case 2: // a connection that carries these octets and ends
			conn := w.connect()
			var reading sync.WaitGroup
			reading.Go(func() { _, _ = io.Copy(io.Discard, conn) }) // it ends with the connection
			_ = conn.SetDeadline(time.Now().Add(patience))          // a pipe
			if _, err := conn.Write(packet); err != nil {
				t.Fatalf("over a connection: %x\n%v", packet, err)
			}
			_ = conn.Close() // a pipe
			reading.Wait()
			if err := sendPacket(w.tcp, nil); err != nil {
				t.Fatalf("behind a connection that ended: %x\n%v", packet, err)
			}
		}
	})
}

// TestAmplification measures how much longer than a query over UDP its reply can be, which README tells. The worst is a large
// Service with the shortest of names.
func TestAmplification(t *testing.T) {
	h := newTestHeadlessFrom(t, "headless "+strings.Join(hostileZones, " ")+" {\nmanifests examples testdata/cluster.yaml\n}")
	h.index.PutNamespace(&model.Namespace{Key: model.Key{Namespace: "", Name: "n"}})
	h.index.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: "s"}, Kind: model.Headless})
	large := modeltest.BigSlice(0, 5000, model.Ready)
	large.Key, large.Service = model.Key{Namespace: "n", Name: "s-1"}, "s"
	h.index.PutSlice(large)
	h.local = []netip.Addr{netip.MustParseAddr("192.0.2.53")} // no endpoint of s
	w := newWireServer(t, h)
	names := []string{"cluster.local.", "ns.dns.cluster.local.", "dns-version.cluster.local.", "nobody.default.svc.cluster.local.", "7.0.1.10.in-addr.arpa."}
	for q := range h.index.Freeze().Names() {
		if q.Service != "s" || q.Hostname == "" { // the endpoints of s are alike
			names = append(names, q.FQDN("cluster.local."))
		}
	}
	for _, size := range []uint16{0, 512, 1232, 4096, 65535} {
		worst, what := 0.0, ""
		for _, name := range names {
			for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeNS, dns.TypeSOA, dns.TypeTXT, dns.TypeANY} {
				packet, err := dnstest.Query(name, qtype, size).Pack()
				if err != nil {
					t.Fatal(err)
				}
				reply, err := w.udp.Exchange(packet)
				if err == nil {
					err = replyFault(false, packet, reply, neverStale) // longer than asked for, among others
				}
				if err != nil {
					t.Fatalf("%s %s with a buffer of %d octets: %v", name, dns.TypeToString[qtype], size, err)
				}
				if factor := float64(len(reply)) / float64(len(packet)); factor > worst {
					worst, what = factor, fmt.Sprintf("%s %s: %d octets for %d", name, dns.TypeToString[qtype], len(reply), len(packet))
				}
			}
		}
		t.Logf("buffer %d: %.1f, by %s", size, worst, what)
		if worst < 8 {
			t.Errorf("buffer %d: no reply is long: nothing was measured", size)
		}
	}
}

// TestBufsizeLimitsReplies: the bufsize plugin, which README recommends, does what it is recommended for.
func TestBufsizeLimitsReplies(t *testing.T) {
	s := startServer(t, "cluster.local:0 {\n"+bound+"bufsize 1232\nheadless {\nmanifests "+bigManifest(t, 5000)+"\n}\n}")
	for _, question := range []string{"web.default.svc.cluster.local. A", "web.default.svc.cluster.local. SRV", "_http._tcp.web.default.svc.cluster.local. ANY"} {
		packet, err := dnstest.Question(question, dns.MaxMsgSize).Pack()
		if err != nil {
			t.Fatal(err)
		}
		reply, err := s.dial(t, "udp").Exchange(packet)
		if err != nil || len(reply) > 1232 || len(reply) < 1000 {
			t.Errorf("%s: %d octets, %v, want almost 1232", question, len(reply), err)
		}
	}
}
