package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/miekg/dns"
)

// asker asks a server many questions at a time over one UDP socket. What is truncated it asks again over TCP, as resolvers do.
type asker struct {
	addr string
	udp  net.Conn
	tcp  *dnstest.Conn // nil if there is none yet
	id   uint16
	buf  []byte
}

// reply is what the answer section holds of the question, for comparison.
type reply struct {
	rcode     int
	rdata     []string // in presentation format, sorted; all of the question's owner name and type
	truncated bool     // over TCP
	err       error    // nothing came
}

func newAsker(ctx context.Context, addr string) (*asker, error) {
	udp, err := new(net.Dialer).DialContext(ctx, "udp", addr)
	if err != nil {
		return nil, err
	}
	return &asker{addr: addr, udp: udp, buf: make([]byte, dns.MaxMsgSize)}, nil
}

func (a *asker) close() {
	_ = a.udp.Close() // nothing is lost
	if a.tcp != nil {
		_ = a.tcp.Close()
	}
}

const (
	askerWindow   = 64 // questions that are under way at a time; so few that no buffer of the kernel overflows
	askerTimeout  = time.Second
	askerAttempts = 30
)

// ask returns the replies to questions.
func (a *asker) ask(questions []question) []reply {
	replies := make([]reply, 0, len(questions))
	for window := range slices.Chunk(questions, askerWindow) {
		messages := a.exchange(window)
		for i, q := range window {
			switch m := messages[i]; {
			case m == nil:
				replies = append(replies, reply{err: fmt.Errorf("%v: no reply", q)})
			case m.Truncated:
				replies = append(replies, a.askTCP(q))
			default:
				replies = append(replies, newReply(q, m))
			}
		}
	}
	return replies
}

// exchange returns the replies to some questions over UDP, nil for those that did not come.
func (a *asker) exchange(window []question) []*dns.Msg {
	messages := make([]*dns.Msg, len(window))
	first := a.id
	a.id += uint16(len(window))
	missing := len(window)
	for range askerAttempts {
		for i, q := range window {
			if messages[i] == nil {
				packed, err := newQuery(q, first+uint16(i)).Pack()
				if err != nil {
					panic(err) // a name of the model is one
				}
				_, _ = a.udp.Write(packed) // what is lost is sent again
			}
		}
		_ = a.udp.SetReadDeadline(time.Now().Add(askerTimeout))
		for missing > 0 {
			n, err := a.udp.Read(a.buf)
			if err != nil {
				break
			}
			m := new(dns.Msg)
			if m.Unpack(a.buf[:n]) != nil {
				continue
			}
			i := int(m.Id - first) // those of earlier windows differ
			if i < len(window) && messages[i] == nil && answers(window[i], m) {
				messages[i] = m
				missing--
			}
		}
		if missing == 0 {
			break
		}
	}
	return messages
}

// askTCP asks one question over a connection that is kept.
func (a *asker) askTCP(q question) reply {
	var err error
	for range 2 { // a server closes a connection that has carried enough
		if a.tcp == nil {
			conn, err := net.DialTimeout("tcp", a.addr, askerTimeout)
			if err != nil {
				return reply{err: fmt.Errorf("%v over TCP: %w", q, err)}
			}
			a.tcp = dnstest.NewConn(conn, "tcp")
			a.tcp.Timeout = askerAttempts * askerTimeout
		}
		a.id++
		var m *dns.Msg
		if m, err = a.tcp.Ask(newQuery(q, a.id)); err == nil && answers(q, m) {
			return newReply(q, m)
		}
		_ = a.tcp.Close()
		a.tcp = nil
	}
	return reply{err: fmt.Errorf("%v over TCP: %w", q, err)}
}

func newQuery(q question, id uint16) *dns.Msg {
	m := dnstest.Query(q.name, q.qtype, 1232)
	m.Id = id
	return m
}

func answers(q question, m *dns.Msg) bool {
	return m.Response && len(m.Question) == 1 && m.Question[0].Name == q.name && m.Question[0].Qtype == q.qtype
}

func newReply(q question, m *dns.Msg) reply {
	r := reply{rcode: m.Rcode, truncated: m.Truncated}
	r.rdata = dnstest.Data(slices.DeleteFunc(slices.Clone(m.Answer), func(rr dns.RR) bool {
		return rr.Header().Name != q.name || rr.Header().Rrtype != q.qtype
	}))
	return r
}
