package load

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Probe asks one question again and again, over UDP.
type Probe struct {
	conn  net.Conn
	query []byte
	buf   []byte
}

// NewProbe returns a probe that asks server a query that Pack made.
func NewProbe(server netip.AddrPort, query []byte) (*Probe, error) {
	conn, err := net.Dial("udp", server.String())
	if err != nil {
		return nil, err
	}
	return &Probe{conn, append([]byte(nil), query...), make([]byte, 1<<16)}, nil
}

// Close closes the probe.
func (p *Probe) Close() { _ = p.conn.Close() } // nothing is left to be written

// Ask asks once. An error says why the reply, if there was one within a second, has not the expected shape.
func (p *Probe) Ask(e Expect) error {
	id := binary.BigEndian.Uint16(p.query) + 1
	binary.BigEndian.PutUint16(p.query, id)
	if err := p.conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := p.conn.Write(p.query); err != nil {
		return err
	}
	for {
		n, err := p.conn.Read(p.buf)
		if err != nil {
			return err
		}
		if n < headerSize {
			return fmt.Errorf("%d bytes are no reply", n)
		}
		if binary.BigEndian.Uint16(p.buf) == id { // otherwise one that came too late
			return e.Check(p.query, p.buf[:n])
		}
	}
}

// Wait asks until the reply has the expected shape and returns when that was.
func (p *Probe) Wait(e Expect, timeout time.Duration) (time.Time, error) {
	pause := unix.NsecToTimespec(int64(50 * time.Microsecond))   // Go's own timers are late by up to a millisecond
	for start := time.Now(); ; _ = unix.Nanosleep(&pause, nil) { // a pause that a signal cuts short does no harm
		err := p.Ask(e)
		if err == nil {
			return time.Now(), nil
		}
		if time.Since(start) > timeout {
			return time.Time{}, fmt.Errorf("not within %v: %w", timeout, err)
		}
	}
}
