// Package load asks a DNS server many questions, checks the shape of each reply, and says how long they took. It needs Linux.
package load

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Plan is what to ask, and how.
type Plan struct {
	Server  netip.AddrPort // on IPv4
	TCP     bool
	Queries [][]byte // packed, asked one after the other and again from the first
	Expect  Expect
	Count   int // how many queries to ask

	// Outstanding is how many queries wait for a reply: a closed loop. Over TCP it is how many connections there are, and
	// each has Pipeline of them.
	Outstanding int
	// Pipeline is how many queries wait for a reply on one connection; 0 is 1.
	Pipeline int
	// OneShot opens a connection for each query.
	OneShot bool
	// Rate is how many queries become due a second, over UDP, whether there are replies or not: an open loop, in which
	// Outstanding has no say. 0 is a closed loop.
	Rate float64
}

// Result is how it went.
type Result struct {
	Replies  int // correct ones
	Elapsed  time.Duration
	P50, P99 time.Duration // from when a query was sent, or had to be sent in an open loop
}

// QPS returns the replies a second.
func (r Result) QPS() float64 { return float64(r.Replies) / r.Elapsed.Seconds() }

// patience is how long a reply may take.
const patience = 5 * time.Second

// Run asks all questions. A reply of another shape, or none, is an error.
func (p Plan) Run() (Result, error) {
	run := p.udp
	if p.TCP {
		run = p.tcp
	}
	start := time.Now()
	latencies, err := run(start)
	r := Result{Replies: len(latencies), Elapsed: time.Since(start)}
	if err == nil && r.Replies == 0 {
		err = errors.New("nothing was asked")
	}
	if err != nil {
		return r, fmt.Errorf("after %d of %d queries: %w", r.Replies, p.Count, err)
	}
	slices.Sort(latencies)
	r.P50, r.P99 = latencies[len(latencies)/2], latencies[len(latencies)*99/100]
	return r, nil
}

// socketful is how many queries fit into a server's socket by far. One who comes late in an open loop sends no more at once; the
// time of the others goes on all the same, for it begins when they are due.
const socketful = 128

// due returns when query i has to be sent, in an open loop.
func (p Plan) due(i int) time.Duration {
	return time.Duration(float64(i) / p.Rate * float64(time.Second))
}

// flight is what is known of the queries that wait for a reply, by ID.
type flight struct {
	plan  Plan
	query [1 << 16][]byte // nil: none with this ID
	sent  [1 << 16]time.Duration
}

// land checks a reply and returns how long it took.
func (f *flight) land(reply []byte, now time.Duration) (time.Duration, error) {
	if len(reply) < headerSize {
		return 0, fmt.Errorf("%d bytes are no reply", len(reply))
	}
	id := binary.BigEndian.Uint16(reply)
	query := f.query[id]
	if query == nil {
		return 0, fmt.Errorf("nothing was asked with ID %d", id)
	}
	f.query[id] = nil
	return now - f.sent[id], f.plan.Expect.Check(query, reply)
}

// udp asks from one socket and returns how long each reply took. It bypasses Go's poller, whose timers are too coarse and whose
// wake-ups cost as much as a query.
func (p Plan) udp(start time.Time) ([]time.Duration, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing is left to be written
	const receiveBuffer = 4 << 20
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer); err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: p.Server.Addr().As4(), Port: int(p.Server.Port())}); err != nil {
		return nil, err
	}
	var (
		flight    = &flight{plan: p}
		latencies = make([]time.Duration, 0, p.Count)
		packet    = make([]byte, 0, 512)
		buf       = make([]byte, 1<<16)
		poll      = []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a file descriptor is small
		sent      int
	)
	outstanding := p.Outstanding
	if p.Rate > 0 {
		outstanding = socketful
	}
	for len(latencies) < p.Count {
		for now := time.Since(start); sent < p.Count; sent++ {
			begun := now
			if p.Rate > 0 {
				begun = p.due(sent)
			}
			if begun > now || sent-len(latencies) >= outstanding {
				break
			}
			query := p.Queries[sent%len(p.Queries)]
			id := uint16(sent)
			packet = append(binary.BigEndian.AppendUint16(packet[:0], id), query[2:]...)
			flight.query[id], flight.sent[id] = query, begun
			if _, err := unix.Write(fd, packet); err != nil {
				return latencies, fmt.Errorf("cannot send: %w", err)
			}
		}
		for {
			n, err := unix.Read(fd, buf)
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				return latencies, fmt.Errorf("cannot receive: %w", err)
			}
			took, err := flight.land(buf[:n], time.Since(start))
			if err != nil {
				return latencies, err
			}
			latencies = append(latencies, took)
		}
		wait := patience
		switch {
		case len(latencies) == p.Count || p.Rate == 0 && sent < p.Count && sent-len(latencies) < outstanding:
			continue
		case p.Rate > 0 && sent < p.Count && sent-len(latencies) < outstanding:
			wait = max(0, p.due(sent)-time.Since(start))
		}
		timeout := unix.NsecToTimespec(int64(wait))
		n, err := unix.Ppoll(poll, &timeout, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return latencies, err
		}
		if n == 0 && wait == patience {
			return latencies, fmt.Errorf("no reply within %v to %d queries", patience, sent-len(latencies))
		}
	}
	return latencies, nil
}

// tcp asks on some connections at once and returns how long each reply took.
func (p Plan) tcp(start time.Time) ([]time.Duration, error) {
	var (
		asked   atomic.Int64
		running sync.WaitGroup

		mu        sync.Mutex // guards the fields below
		latencies []time.Duration
		failed    error
	)
	for range p.Outstanding {
		running.Go(func() {
			c := &client{
				plan: p, start: start, asked: &asked,
				flight:  &flight{plan: p},
				buf:     make([]byte, 1<<16),
				replies: bufio.NewReaderSize(nil, 1<<17),
			}
			var err error
			for more := true; more && err == nil; more = p.OneShot && int(asked.Load()) < p.Count {
				err = c.connect()
			}
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, c.latencies...)
			if err != nil {
				failed = err
			}
		})
	}
	running.Wait()
	return latencies, failed
}

// client asks over TCP on one connection, or on one after the other.
type client struct {
	plan      Plan
	start     time.Time
	asked     *atomic.Int64 // by all clients together
	latencies []time.Duration

	flight  *flight
	packet  []byte
	buf     []byte
	replies *bufio.Reader
}

// connect asks on one connection until all clients together have asked enough.
func (c *client) connect() error {
	conn, err := net.Dial("tcp", c.plan.Server.String())
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing is left to be written
	c.replies.Reset(conn)
	waiting := 0
	for more := true; ; {
		for more && waiting < max(1, c.plan.Pipeline) {
			n := int(c.asked.Add(1)) - 1
			if n >= c.plan.Count {
				more = false
				break
			}
			if err := c.ask(conn, n); err != nil {
				return err
			}
			waiting++
			more = !c.plan.OneShot
		}
		if waiting == 0 {
			return nil
		}
		if err := c.read(conn); err != nil {
			return err
		}
		waiting--
	}
}

// ask sends query n.
func (c *client) ask(conn net.Conn, n int) error {
	query := c.plan.Queries[n%len(c.plan.Queries)]
	id := uint16(n)                                                            //nolint:gosec // counts IDs over and over
	c.packet = binary.BigEndian.AppendUint16(c.packet[:0], uint16(len(query))) //nolint:gosec // a query is short
	c.packet = append(binary.BigEndian.AppendUint16(c.packet, id), query[2:]...)
	c.flight.query[id], c.flight.sent[id] = query, time.Since(c.start)
	_, err := conn.Write(c.packet)
	return err
}

// read reads a reply.
func (c *client) read(conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.ReadFull(c.replies, c.buf[:2]); err != nil {
		return err
	}
	reply := c.buf[:binary.BigEndian.Uint16(c.buf)]
	if _, err := io.ReadFull(c.replies, reply); err != nil {
		return err
	}
	took, err := c.flight.land(reply, time.Since(c.start))
	if err == nil {
		c.latencies = append(c.latencies, took)
	}
	return err
}
