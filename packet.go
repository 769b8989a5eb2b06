package headless

import (
	"context"
	"encoding/binary"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/metrics"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// What the index holds goes to most clients as octets: the packet is made from the view, without
// records in between. Whoever wants to look at records on the way to the client gets them, see bare.
// The two give one message, but for which of its names are compressed.

// packet is a reply as octets, under construction.
type packet struct {
	octets []byte
	full   int // the size of the records so far if no name were compressed, which is what CoreDNS measures
}

// packets are those that nobody writes.
var packets = sync.Pool{New: func() any { return new(packet) }}

// writeOctets writes m, the reply to r, which asks q, as octets. It returns false if that cannot be
// done, and then nothing is written.
func (h *Headless) writeOctets(w dns.ResponseWriter, r *dns.Msg, q *question, m *reply) bool {
	opt, ok := q.plainOPT(r)
	if !ok || !m.isPlain(q) {
		return false
	}
	recorder, ok := bare(w)
	if !ok {
		return false
	}
	p := packets.Get().(*packet)
	defer packets.Put(p)
	p.octets, p.full = p.octets[:0], 0
	h.pack(p, q, m, opt)
	if len(m.Ns) > 0 && len(p.octets) > q.end {
		return false // the names of the SOA record are long; CoreDNS's server compresses them, or leaves it out
	}
	if recorder == nil {
		_, _ = w.Write(p.octets) // it fails when the client is gone
		return true
	}
	size := recorder.Len + m.Len() + p.full
	_, _ = w.Write(p.octets) // as above
	recorder.Rcode, recorder.Len = m.Rcode, size
	return true
}

// isPlain reports whether m, the reply to q, can be a packet: what the index has found, or a denial.
func (m *reply) isPlain(q *question) bool {
	switch q.Kind {
	case qname.NamespaceName, qname.ServiceName, qname.ReverseName, qname.Absent:
	default:
		return false
	}
	return len(m.Answer) == 0 && len(m.Ns) <= 1 && len(m.Extra) <= 1 &&
		strings.IndexByte(q.name, '\\') < 0 && strings.IndexByte(q.nsZone, '\\') < 0
}

// plainOPT returns the OPT record of r, if it has one. It returns false if r, which asks q, has anything
// that asks for more than a plain reply, or one to a client in a subnet.
func (q *question) plainOPT(r *dns.Msg) (opt *dns.OPT, ok bool) {
	if r.Opcode != dns.OpcodeQuery || len(r.Question) != 1 || len(r.Extra) > 1 {
		return nil, false
	}
	if len(r.Extra) == 1 {
		opt, ok = r.Extra[0].(*dns.OPT)
		return opt, ok && (len(opt.Option) == 0 || q.subnet != nil && len(opt.Option) == 1)
	}
	return nil, true
}

// pack makes p the packet of m, the reply to q.
func (h *Headless) pack(p *packet, q *question, m *reply, opt *dns.OPT) {
	shown, additional := m.shown(), 0
	if shown > 0 {
		additional = m.found.srv.extra
	}
	if opt != nil {
		additional++
	}
	p.header(&m.MsgHdr, shown, len(m.Ns), additional)
	p.name(q.name)
	p.uint16(q.qtype)
	p.uint16(dns.ClassINET)
	if v := m.found; shown > 0 {
		switch q.qtype {
		case dns.TypeA:
			p.addresses(q, m.ttl, v.Addrs, model.V4)
		case dns.TypeAAAA:
			p.addresses(q, m.ttl, v.Addrs, model.V6)
		case dns.TypePTR:
			for _, pointer := range v.Pointers[:shown] {
				at := p.record(dns.TypePTR, m.ttl)
				p.name(pointer.FQDN(h.primary))
				p.full += nameSize(q.name) + fixedSize + p.close(at)
			}
		case dns.TypeSRV:
			p.srv(q, m.ttl, v)
		}
	}
	for _, rr := range m.Ns {
		p.soa(q, rr.(*dns.SOA))
	}
	if opt != nil {
		p.opt(opt, m)
	}
}

func (p *packet) uint16(n uint16) { p.octets = binary.BigEndian.AppendUint16(p.octets, n) }
func (p *packet) uint32(n uint32) { p.octets = binary.BigEndian.AppendUint32(p.octets, n) }

// pointer appends a pointer to the name at an offset (RFC 1035 section 4.1.4).
func (p *packet) pointer(at int) { p.uint16(0xc000 | uint16(at)) } //nolint:gosec // less than maxPointer

// header appends h and the numbers of records (RFC 1035 section 4.1.1).
func (p *packet) header(h *dns.MsgHdr, answers, authorities, additional int) {
	flags := uint16(h.Opcode&0xf)<<11 | uint16(h.Rcode&0xf)
	for i, is := range [...]bool{
		h.CheckingDisabled, h.AuthenticatedData, h.Zero, h.RecursionAvailable, h.RecursionDesired,
		h.Truncated, h.Authoritative,
	} {
		if is {
			flags |= 1 << (4 + i)
		}
	}
	if h.Response {
		flags |= 1 << 15
	}
	p.uint16(h.Id)
	p.uint16(flags)
	for _, n := range [...]int{1, answers, authorities, additional} {
		p.uint16(uint16(n)) //nolint:gosec // no message has more
	}
}

// name appends an FQDN without escapes.
func (p *packet) name(fqdn string) {
	if fqdn != "." {
		p.labels(fqdn[:len(fqdn)-1])
	}
	p.octets = append(p.octets, 0)
}

// labels appends the labels of a name that is relative to what comes behind it.
func (p *packet) labels(name string) {
	at := len(p.octets)
	p.octets = append(append(p.octets, 0), name...)
	p.count(at)
}

// count gives the labels of the name behind at their lengths: in the octet at at, and in the place of
// each dot.
func (p *packet) count(at int) {
	label := p.octets[at:]
	n := byte(0)
	for i := len(label) - 1; i > 0; i-- {
		if label[i] == '.' {
			label[i], n = n, 0
		} else {
			n++
		}
	}
	label[0] = n
}

// record appends a record of the question's name without data, and returns where the data begins.
func (p *packet) record(rrtype uint16, ttl uint32) int {
	p.pointer(headerSize)
	return p.fixed(rrtype, ttl)
}

// fixed appends what is behind the owner's name of a record without data, and returns where the data
// begins.
func (p *packet) fixed(rrtype uint16, ttl uint32) int {
	p.uint16(rrtype)
	p.uint16(dns.ClassINET)
	p.uint32(ttl)
	p.uint16(0)
	return len(p.octets)
}

// close gives the record whose data begins at at their size, which it returns.
func (p *packet) close(at int) int {
	size := len(p.octets) - at
	binary.BigEndian.PutUint16(p.octets[at-2:], uint16(size)) //nolint:gosec // less than a message
	return size
}

// addresses appends A or AAAA records of the question's name. They are alike but for the address, and
// there may be thousands, so what is alike is stored as numbers.
func (p *packet) addresses(q *question, ttl uint32, addrs []byte, f model.Family) {
	const alike = 12 // octets: pointer, type, class, time to live, and the address's size
	n, size := len(addrs)/f.Size(), addressRRSize(f)
	p.full += n * (nameSize(q.name) + fixedSize + f.Size())
	start := len(p.octets)
	at := p.record(rrtype(f), ttl)
	binary.BigEndian.PutUint16(p.octets[at-2:], uint16(f.Size())) //nolint:gosec // 4 or 16
	p.octets = append(p.octets, make([]byte, n*size-alike)...)
	rest := p.octets[start:]
	first, second := binary.NativeEndian.Uint64(rest), binary.NativeEndian.Uint32(rest[8:])
	for ; len(addrs) > 0; addrs, rest = addrs[f.Size():], rest[size:] {
		binary.NativeEndian.PutUint64(rest, first)
		binary.NativeEndian.PutUint32(rest[8:], second)
		if f == model.V4 {
			binary.NativeEndian.PutUint32(rest[alike:], binary.NativeEndian.Uint32(addrs))
		} else {
			copy(rest[alike:], addrs[:f.Size()])
		}
	}
}

// srv appends SRV records, and the addresses of their targets.
func (p *packet) srv(q *question, ttl uint32, v *found) {
	targets, weight := v.Targets[:v.srv.targets], srvWeight(v.Total)
	service, size := 0, serviceSize(q.Service, q.Namespace, q.zone) // where the Service's name is
	var room [64]int
	names := room[:0] // where those of the targets are
	left := v.shown
	for i := range targets {
		for j, number := range targets[i].Ports {
			if left == 0 {
				break
			}
			left--
			at := p.record(dns.TypeSRV, ttl)
			p.uint16(0)
			p.uint16(weight)
			p.uint16(number)
			if j == 0 {
				names = append(names, len(p.octets))
			}
			if label := len(p.octets); targets[i].Len() > 0 {
				p.octets = targets[i].Append(append(p.octets, 0))
				p.count(label)
			}
			if service == 0 {
				service = len(p.octets)
				p.labels(q.Service)
				p.labels(q.Namespace)
				p.labels("svc")
				p.name(q.zone)
			} else {
				p.octets = append(p.octets, p.octets[service:service+size]...)
			}
			p.full += nameSize(q.name) + fixedSize + p.close(at)
		}
	}
	left = v.srv.extra
	for i := range targets {
		for _, addr := range targets[i].Addrs {
			if left == 0 {
				return
			}
			left--
			own := ownSize(targets[i].Label)
			if names[i] < maxPointer {
				p.pointer(names[i])
			} else {
				p.octets = append(p.octets, p.octets[names[i]:names[i]+own]...)
				p.pointer(service)
			}
			p.full += own + size + fixedSize + p.address(addr, ttl)
		}
	}
}

// address appends what is behind the owner's name of an A or AAAA record, and returns the size of the
// address.
func (p *packet) address(addr netip.Addr, ttl uint32) int {
	at := p.fixed(rrtype(model.FamilyOf(addr)), ttl)
	p.octets = model.AppendAddr(p.octets, addr)
	return p.close(at)
}

// soa appends the SOA record of q's zone, whose names are not compressed.
func (p *packet) soa(q *question, rr *dns.SOA) {
	if q.zone == "." {
		p.name(".")
	} else {
		p.pointer(headerSize + len(q.name) - len(q.zone))
	}
	at := p.fixed(dns.TypeSOA, rr.Hdr.Ttl)
	p.octets = append(p.octets, q.soaNames...)
	for _, n := range [...]uint32{rr.Serial, rr.Refresh, rr.Retry, rr.Expire, rr.Minttl} {
		p.uint32(n)
	}
	p.close(at)
}

// opt appends the OPT record of m, the reply to a query with asked: that of CoreDNS's server, or with
// an extended error (RFC 6891 section 6.1.2, RFC 8914 section 2).
func (p *packet) opt(asked *dns.OPT, m *reply) {
	p.name(".")
	p.uint16(dns.TypeOPT)
	p.uint16(asked.UDPSize())
	flags := asked.Hdr.Ttl & 0xff00
	if len(m.Extra) > 0 {
		flags &= 0x8000 // DO
	}
	p.uint32(flags)
	p.uint16(0)
	at := len(p.octets)
	for _, rr := range m.Extra {
		for _, o := range rr.(*dns.OPT).Option {
			switch o := o.(type) {
			case *dns.EDNS0_EDE:
				p.uint16(dns.EDNS0EDE)
				p.uint16(uint16(2 + len(o.ExtraText))) //nolint:gosec // a short text
				p.uint16(o.InfoCode)
				p.octets = append(p.octets, o.ExtraText...)
			case *dns.EDNS0_SUBNET:
				p.subnet(o)
			}
		}
	}
	p.close(at)
}

// subnet appends an EDNS Client Subnet option (RFC 7871 section 6).
func (p *packet) subnet(o *dns.EDNS0_SUBNET) {
	p.uint16(dns.EDNS0SUBNET)
	p.uint16(uint16(4 + subnetOctets(o))) //nolint:gosec // at most 16 octets
	p.uint16(o.Family)
	p.octets = append(p.octets, o.SourceNetmask, o.SourceScope)
	masked, _ := subnetAddr(o).Prefix(int(o.SourceNetmask)) // miekg/dns refuses one that is too long for its family
	p.octets = append(p.octets, masked.Addr().AsSlice()[:subnetOctets(o)]...)
}

// bare reports whether nobody between us and the socket behind w would look at records: there are only
// CoreDNS's own server, the marks of its plugin chain, and perhaps the recorder of the prometheus
// plugin, which is returned. Everything else, whatever it does, gets records.
func bare(w dns.ResponseWriter) (recorder *metrics.Recorder, ok bool) {
	for {
		switch t := w.(type) {
		case *request.ScrubWriter:
			return recorder, isSocket(t.ResponseWriter)
		case *metrics.Recorder:
			if recorder != nil {
				return nil, false // each has to be told, and there is never more than one
			}
			recorder, w = t, t.ResponseWriter
		default:
			v := reflect.ValueOf(w)
			if v.Type() != markType {
				return nil, false
			}
			w = v.Elem().FieldByIndex(markWriter).Interface().(dns.ResponseWriter)
		}
	}
}

// markType is the type of the writer that CoreDNS puts around another one for each plugin, and
// markWriter where the other one is.
var markType, markWriter = func() (t reflect.Type, at []int) {
	_, _ = plugin.NextOrFailure("", plugin.HandlerFunc(
		func(_ context.Context, w dns.ResponseWriter, _ *dns.Msg) (int, error) {
			t = reflect.TypeOf(w)
			if t != nil && t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct {
				if f, ok := t.Elem().FieldByName("ResponseWriter"); ok && f.Type == reflect.TypeFor[dns.ResponseWriter]() {
					at = f.Index
					return 0, nil
				}
			}
			t = nil // CoreDNS has changed
			return 0, nil
		}), context.Background(), nil, nil)
	return t, at
}()

// socketType is the type of miekg/dns's own writers, once one was seen, and where in it the writer of
// messages is.
type socketType struct {
	reflect.Type
	writer []int
}

var seenSocket atomic.Pointer[socketType]

// isSocket reports whether w is a writer of miekg/dns's own whose messages nobody else writes, as
// DecorateWriter of dns.Server makes it.
func isSocket(w dns.ResponseWriter) bool {
	v := reflect.ValueOf(w)
	known := seenSocket.Load()
	if known == nil || known.Type != v.Type() {
		t := v.Type()
		if t.String() != "*dns.response" || t.Elem().PkgPath() != reflect.TypeFor[dns.Msg]().PkgPath() {
			return false
		}
		f, ok := t.Elem().FieldByName("writer")
		if !ok || f.Type != reflect.TypeFor[dns.Writer]() {
			return false
		}
		known = &socketType{t, f.Index}
		seenSocket.Store(known)
	}
	writer := v.Elem().FieldByIndex(known.writer).Elem()
	return writer.IsValid() && writer.Type() == known.Type && writer.Pointer() == v.Pointer()
}
