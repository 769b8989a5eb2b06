package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"unique"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
)

// The floor answers A and AAAA questions from a hosts file, the same as the plugin hosts reads, and nothing else.
func init() { plugin.Register("wire", setupWire) }

// setupWire reads a stanza: the directive and the name of a hosts file.
func setupWire(c *caddy.Controller) error {
	c.Next()
	args := c.RemainingArgs()
	if len(args) != 1 {
		return c.ArgErr()
	}
	sets, err := readHosts(args[0])
	if err != nil {
		return err
	}
	w := newWire(sets)
	dnsserver.GetConfig(c).AddPlugin(func(plugin.Handler) plugin.Handler { return w })
	return nil
}

// rrsets are ready-made records, by the names and types that they answer.
type rrsets struct {
	a    map[string][]dns.A
	aaaa map[string][]dns.AAAA
}

func readHosts(path string) (rrsets, error) {
	sets := rrsets{make(map[string][]dns.A), make(map[string][]dns.AAAA)}
	f, err := os.Open(path) //nolint:gosec // the Corefile says which
	if err != nil {
		return sets, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	const ttl = 5
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			return sets, fmt.Errorf("%s: %w", path, err)
		}
		for _, name := range fields[1:] {
			name = unique.Make(name).Value() // one string for all records of a name
			hdr := dns.RR_Header{Name: name, Class: dns.ClassINET, Ttl: ttl}
			if addr.Is4() {
				hdr.Rrtype = dns.TypeA
				sets.a[name] = append(sets.a[name], dns.A{Hdr: hdr, A: addr.AsSlice()})
			} else {
				hdr.Rrtype = dns.TypeAAAA
				sets.aaaa[name] = append(sets.aaaa[name], dns.AAAA{Hdr: hdr, AAAA: addr.AsSlice()})
			}
		}
	}
	return sets, lines.Err()
}

// answer returns copies of as many records as fit into a reply of some size, from a random one on, and whether these are all.
func (sets rrsets) answer(q dns.Question, size int) (records []dns.RR, all bool) {
	const header, opt, record = 12, 11, 12
	room := size - header - (len(q.Name) + 1 + 4) - opt
	if q.Qtype == dns.TypeA {
		return window[dns.A](sets.a[q.Name], room/(record+net.IPv4len))
	}
	return window[dns.AAAA](sets.aaaa[q.Name], room/(record+net.IPv6len))
}

// window returns copies of at most n of all records, from a random one on.
func window[T any, RR interface {
	*T
	dns.RR
}](all []T, n int) (records []dns.RR, whole bool) {
	if len(all) == 0 {
		return nil, true
	}
	n = min(n, len(all))
	slab := make([]T, n)
	copy(slab[copy(slab, all[rand.IntN(len(all)):]):], all)
	records = make([]dns.RR, n)
	for i := range slab {
		records[i] = RR(&slab[i])
	}
	return records, n == len(all)
}

// wire writes ready-made packets: what the server and the kernel cost, whatever the plugin does.
type wire struct {
	udp, tcp map[dns.Question][]byte
}

func newWire(sets rrsets) wire {
	w := wire{make(map[dns.Question][]byte), make(map[dns.Question][]byte)}
	add := func(q dns.Question) {
		w.udp[q] = sets.packet(q, EDNS)
		w.tcp[q] = sets.packet(q, dns.MaxMsgSize)
	}
	for name := range sets.a {
		add(dns.Question{Name: name, Qtype: dns.TypeA, Qclass: dns.ClassINET})
	}
	for name := range sets.aaaa {
		add(dns.Question{Name: name, Qtype: dns.TypeAAAA, Qclass: dns.ClassINET})
	}
	return w
}

// EDNS is the size of the client's buffer for which wire has packets.
const EDNS = 1232

// packet returns a reply of at most size bytes. Its ID is 0.
func (sets rrsets) packet(q dns.Question, size int) []byte {
	m := &dns.Msg{
		MsgHdr:   dns.MsgHdr{Response: true, Authoritative: true},
		Compress: true,
		Question: []dns.Question{q},
	}
	var all bool
	m.Answer, all = sets.answer(q, size)
	m.Truncated = !all
	m.SetEdns0(EDNS, false)
	b, err := m.Pack()
	if err != nil {
		panic(err) // names come from a hosts file that was read
	}
	return b
}

// buffers are for packets on their way: the floor has to be without garbage.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Name implements plugin.Handler.
func (wire) Name() string { return "wire" }

// ServeDNS implements plugin.Handler.
func (w wire) ServeDNS(_ context.Context, rw dns.ResponseWriter, r *dns.Msg) (int, error) {
	packets := w.udp
	if rw.RemoteAddr().Network() == "tcp" {
		packets = w.tcp
	}
	ready := packets[r.Question[0]]
	if ready == nil {
		return dns.RcodeServerFailure, nil
	}
	buf := buffers.Get().(*bytes.Buffer) // what New returns
	defer buffers.Put(buf)
	buf.Reset()
	buf.Write(ready)
	binary.BigEndian.PutUint16(buf.Bytes(), r.Id)
	_, err := rw.Write(buf.Bytes())
	return dns.RcodeSuccess, err
}
