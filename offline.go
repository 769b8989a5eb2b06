package headless

import (
	"context"
	"net"

	"github.com/coredns-headless/headless/internal/manifests"
	"github.com/miekg/dns"
)

// Offline returns the plugin as the stanza describes it, except that the cluster's state comes from
// objects, and stays as it is. Objects may get the namespace and the label that the API server
// would give them, as those in manifests do. It needs neither a start nor a stop.
func (s *Stanza) Offline(objects []manifests.Object) *Headless {
	h, feeds := newWithoutSource(s.config)
	manifests.Feed(feeds, objects)
	return h
}

// Reply returns what the plugin answers to a client that asks for an FQDN over TCP, where an answer
// is whole, and reads extended errors.
func (h *Headless) Reply(name string, qtype uint16) *dns.Msg {
	r := new(dns.Msg).SetQuestion(name, qtype)
	r.SetEdns0(dns.MaxMsgSize-1, false)
	var w replyWriter
	rcode, err := h.ServeDNS(context.Background(), &w, r)
	if w.m == nil || err != nil { // CoreDNS answers with the code alone, too; the plugin errors may log the error
		return new(dns.Msg).SetRcode(r, rcode)
	}
	return w.m
}

// replyWriter is a dns.ResponseWriter that keeps the message. The client is this process, over TCP.
type replyWriter struct {
	dns.ResponseWriter // only what is below is called
	m                  *dns.Msg
}

// WriteMsg implements dns.ResponseWriter.
func (w *replyWriter) WriteMsg(m *dns.Msg) error {
	w.m = m
	return nil
}

// RemoteAddr implements dns.ResponseWriter.
func (w *replyWriter) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv6loopback} }

// LocalAddr implements dns.ResponseWriter.
func (w *replyWriter) LocalAddr() net.Addr {
	return w.RemoteAddr()
}
