package headless

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/manifests"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/miekg/dns"
)

// Offline returns the plugin as the stanza describes it, except that the cluster's state comes from
// objects, and stays as it is. Objects may get the namespace and the label that the API server
// would give them, as those in manifests do. It needs neither a start nor a stop, and answers for names as
// they stand, without search.
func (s *Stanza) Offline(objects []manifests.Object) *Headless {
	cfg := *s.config
	cfg.searches = false
	h, feeds := newWithoutSource(&cfg)
	manifests.Feed(feeds, objects)
	return h
}

// Reply returns what the plugin answers to a client that asks for an FQDN over TCP, where an answer
// is whole, and reads extended errors. Nobody knows where the client is.
func (h *Headless) Reply(name string, qtype uint16) *dns.Msg {
	return h.ReplyTo(netip.IPv6Loopback(), name, qtype)
}

// ReplyTo is Reply to a client at an address.
func (h *Headless) ReplyTo(client netip.Addr, name string, qtype uint16) *dns.Msg {
	r := new(dns.Msg).SetQuestion(name, qtype)
	r.SetEdns0(dns.MaxMsgSize-1, false)
	w := replyWriter{client: client}
	rcode, err := h.ServeDNS(context.Background(), &w, r)
	if w.m == nil || err != nil { // CoreDNS answers with the code alone, too; the plugin errors may log the error
		return new(dns.Msg).SetRcode(r, rcode)
	}
	return w.m
}

// Choice returns which endpoints a client at an address gets by A, AAAA or SRV records of an FQDN, and where
// the client is, as far as that is known. It is index.NotChosen unless these are chosen by topology hints.
func (h *Headless) Choice(client netip.Addr, name string, qtype uint16) (index.Choice, model.Location) {
	want, ok := map[uint16]index.Want{dns.TypeA: index.WantA, dns.TypeAAAA: index.WantAAAA, dns.TypeSRV: index.WantSRV}[qtype]
	name = strings.ToLower(name)
	q := question{authority: h.authority(name), name: name, qtype: qtype}
	if q.authority == nil || !ok {
		return index.NotChosen, model.Location{}
	}
	if q.Parse(name, q.zone, q.grammar); !h.chooses(&q) {
		return index.NotChosen, model.Location{}
	}
	at := h.asker(plainAddr(client)).Location
	return h.index.Lookup(&q.Name, want, index.Part{At: at}).Choice, at
}

// replyWriter is a dns.ResponseWriter that keeps the message. The client asks over TCP.
type replyWriter struct {
	dns.ResponseWriter // only what is below is called
	client             netip.Addr
	m                  *dns.Msg
}

// WriteMsg implements dns.ResponseWriter.
func (w *replyWriter) WriteMsg(m *dns.Msg) error {
	w.m = m
	return nil
}

// RemoteAddr implements dns.ResponseWriter.
func (w *replyWriter) RemoteAddr() net.Addr { return &net.TCPAddr{IP: w.client.AsSlice()} }

// LocalAddr implements dns.ResponseWriter.
func (w *replyWriter) LocalAddr() net.Addr {
	return w.RemoteAddr()
}
