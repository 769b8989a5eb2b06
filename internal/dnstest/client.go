// Package dnstest is DNS for tests: a client, a server, and records as text.
package dnstest

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// patience is how long a client waits for a reply if nothing else is said.
const patience = 10 * time.Second

// Query returns a query, with EDNS and a buffer of size octets, or without EDNS if size is 0. The name's final dot may be missing.
func Query(name string, qtype, size uint16) *dns.Msg {
	r := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	if size > 0 {
		r.SetEdns0(size, false)
	}
	return r
}

// Question returns the Query for a question that is written as "qname TYPE". It panics if there is no such type.
func Question(text string, size uint16) *dns.Msg {
	name, word, _ := strings.Cut(text, " ")
	qtype, ok := dns.StringToType[word]
	if !ok {
		panic(fmt.Sprintf("%q is not a question", text))
	}
	return Query(name, qtype, size)
}

// Exchange asks the server at addr over "udp" or "tcp", on a connection of its own, and waits until ctx's deadline, if it has one.
func Exchange(ctx context.Context, network, addr string, r *dns.Msg) (*dns.Msg, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // all is said
	c := NewConn(conn, network)
	if deadline, ok := ctx.Deadline(); ok {
		c.Timeout = time.Until(deadline)
	}
	return c.Ask(r)
}

// Conn is a client's connection, over which any octets may be sent.
type Conn struct {
	net.Conn
	Timeout time.Duration // how long one exchange may take
	tcp     bool
}

// NewConn returns a client that uses conn as a connection of network, "udp" or "tcp", which a pipe may stand in for.
func NewConn(conn net.Conn, network string) *Conn {
	return &Conn{Conn: conn, Timeout: patience, tcp: network == "tcp"}
}

// Network returns what c is a connection of, "udp" or "tcp".
func (c *Conn) Network() string { return map[bool]string{false: "udp", true: "tcp"}[c.tcp] }

// Ask sends a query and returns the reply to it. A datagram that is longer than the query allows is an error (RFC 6891 section 6.2.3).
func (c *Conn) Ask(r *dns.Msg) (*dns.Msg, error) {
	message, err := r.Pack()
	if err != nil {
		return nil, err
	}
	limit := dns.MinMsgSize
	if opt := r.IsEdns0(); opt != nil {
		limit = max(limit, int(opt.UDPSize()))
	}
	reply, err := c.Exchange(message)
	for ; err == nil; reply, err = c.receive() {
		m := new(dns.Msg)
		if err := m.Unpack(reply); err != nil {
			return nil, err
		}
		if m.Id != r.Id {
			continue // a reply to what was asked before
		}
		if !c.tcp && len(reply) > limit {
			return nil, fmt.Errorf("a reply of %d octets to a query that allows %d", len(reply), limit)
		}
		return m, nil
	}
	return nil, err
}

// Exchange sends the octets of a message and returns those of the next one that comes.
func (c *Conn) Exchange(message []byte) ([]byte, error) {
	if err := c.Send(message); err != nil {
		return nil, err
	}
	return c.receive()
}

// Send sends the octets of a message to which no reply is expected.
func (c *Conn) Send(message []byte) error {
	if c.tcp {
		message = append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
	}
	if err := c.SetDeadline(time.Now().Add(c.Timeout)); err != nil {
		return err
	}
	_, err := c.Write(message)
	return err
}

func (c *Conn) receive() ([]byte, error) {
	reply := make([]byte, dns.MaxMsgSize)
	if c.tcp {
		if _, err := io.ReadFull(c, reply[:2]); err != nil {
			return nil, err
		}
		reply = reply[:binary.BigEndian.Uint16(reply)]
		_, err := io.ReadFull(c, reply)
		return reply, err
	}
	n, err := c.Read(reply)
	return reply[:n], err
}
