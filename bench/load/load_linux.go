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

	// Outstanding is how many queries wait for a reply: a closed loop. Over TCP each has a connection of its own.
	Outstanding int
	// Rate is how many queries become due a second, over UDP, whether there are replies or not: an open loop, in which
	// Outstanding has no say. 0 is a closed loop.
	Rate float64
}

// Result is how it went.
type Result struct {
	Replies       int // correct ones
	Truncated     int // of these
	Elapsed       time.Duration
	P50, P99, Max time.Duration // from when a query was sent, or had to be sent in an open loop
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
	landed, err := run(start)
	latencies := landed.latencies
	r := Result{Replies: len(latencies), Truncated: landed.truncated, Elapsed: time.Since(start)}
	if err == nil && r.Replies == 0 {
		err = errors.New("nothing was asked")
	}
	if err != nil {
		return r, fmt.Errorf("after %d of %d queries: %w", r.Replies, p.Count, err)
	}
	slices.Sort(latencies)
	r.P50, r.P99, r.Max = latencies[len(latencies)/2], latencies[len(latencies)*99/100], latencies[len(latencies)-1]
	return r, nil
}

// socketful is how many queries fit into a server's socket by far. One who comes late in an open loop sends no more at once; the
// time of the others goes on all the same, for it begins when they are due.
const socketful = 128

// due returns when query i has to be sent, in an open loop.
func (p Plan) due(i int) time.Duration {
	return time.Duration(float64(i) / p.Rate * float64(time.Second))
}

// landed are the replies that came.
type landed struct {
	latencies []time.Duration // of each
	truncated int             // how many are
}

// flight is what is known of the queries that wait for a reply, by ID, and of those that have one.
type flight struct {
	landed

	plan  Plan
	query [1 << 16][]byte // nil: none with this ID
	sent  [1 << 16]time.Duration
}

// launch appends query n to packet and notes when it is sent.
func (f *flight) launch(packet []byte, n int, at time.Duration) []byte {
	id, query := uint16(n), f.plan.Queries[n%len(f.plan.Queries)] //nolint:gosec // counts IDs over and over
	f.query[id], f.sent[id] = query, at
	return append(binary.BigEndian.AppendUint16(packet, id), query[2:]...)
}

// land checks a reply and notes how long it took.
func (f *flight) land(reply []byte, now time.Duration) error {
	if len(reply) < headerSize {
		return fmt.Errorf("%d bytes are no reply", len(reply))
	}
	id := binary.BigEndian.Uint16(reply)
	query := f.query[id]
	if query == nil {
		return fmt.Errorf("nothing was asked with ID %d", id)
	}
	f.query[id] = nil
	if err := f.plan.Expect.Check(query, reply); err != nil {
		return err
	}
	f.latencies = append(f.latencies, now-f.sent[id])
	if isTruncated(reply) {
		f.truncated++
	}
	return nil
}

// socket returns a socket that is connected to the server. It bypasses Go's poller, whose timers are too coarse and whose wake-ups
// cost as much as a query.
func (p Plan) socket() (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fd, err
	}
	const receiveBuffer = 4 << 20
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: p.Server.Addr().As4(), Port: int(p.Server.Port())})
	}
	if err != nil {
		_ = unix.Close(fd) // nothing was written
	}
	return fd, err
}

// udp asks from one socket and returns the replies.
func (p Plan) udp(start time.Time) (landed, error) {
	fd, err := p.socket()
	if err != nil {
		return landed{}, err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing is left to be written
	var (
		flight = &flight{plan: p, landed: landed{latencies: make([]time.Duration, 0, p.Count)}}
		packet = make([]byte, 0, 512)
		buf    = make([]byte, 1<<16)
		poll   = []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a file descriptor is small
		sent   int
	)
	outstanding := p.Outstanding
	if p.Rate > 0 {
		outstanding = socketful
	}
	for len(flight.latencies) < p.Count {
		for now := time.Since(start); sent < p.Count; sent++ {
			begun := now
			if p.Rate > 0 {
				begun = p.due(sent)
			}
			if begun > now || sent-len(flight.latencies) >= outstanding {
				break
			}
			packet = flight.launch(packet[:0], sent, begun)
			if _, err := unix.Write(fd, packet); err != nil {
				return flight.landed, fmt.Errorf("cannot send: %w", err)
			}
		}
		for {
			n, err := unix.Read(fd, buf)
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				return flight.landed, fmt.Errorf("cannot receive: %w", err)
			}
			if err := flight.land(buf[:n], time.Since(start)); err != nil {
				return flight.landed, err
			}
		}
		wait := patience
		switch {
		case len(flight.latencies) == p.Count || p.Rate == 0 && sent < p.Count && sent-len(flight.latencies) < outstanding:
			continue
		case p.Rate > 0 && sent < p.Count && sent-len(flight.latencies) < outstanding:
			wait = max(0, p.due(sent)-time.Since(start))
		}
		timeout := unix.NsecToTimespec(int64(wait))
		n, err := unix.Ppoll(poll, &timeout, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return flight.landed, err
		}
		if n == 0 && wait == patience {
			return flight.landed, fmt.Errorf("no reply within %v to %d queries", patience, sent-len(flight.latencies))
		}
	}
	return flight.landed, nil
}

// tcp asks on some connections at once and returns the replies.
func (p Plan) tcp(start time.Time) (landed, error) {
	var (
		asked   atomic.Int64
		running sync.WaitGroup

		mu     sync.Mutex // guards the fields below
		all    landed
		failed error
	)
	for range p.Outstanding {
		running.Go(func() {
			got, err := p.connection(start, &asked)
			mu.Lock()
			defer mu.Unlock()
			all.latencies = append(all.latencies, got.latencies...)
			all.truncated += got.truncated
			if err != nil {
				failed = err
			}
		})
	}
	running.Wait()
	return all, failed
}

// connection asks on one connection until all of them together have asked enough, and returns the replies.
func (p Plan) connection(start time.Time, asked *atomic.Int64) (landed, error) {
	conn, err := net.Dial("tcp", p.Server.String())
	if err != nil {
		return landed{}, err
	}
	defer conn.Close() //nolint:errcheck // nothing is left to be written
	var (
		flight  = &flight{plan: p}
		packet  = make([]byte, 2, 512) // behind its length
		buf     = make([]byte, 1<<16)
		replies = bufio.NewReaderSize(conn, 1<<17)
	)
	for {
		n := int(asked.Add(1)) - 1
		if n >= p.Count {
			return flight.landed, nil
		}
		packet = flight.launch(packet[:2], n, time.Since(start))
		binary.BigEndian.PutUint16(packet, uint16(len(packet)-2)) //nolint:gosec // a query is short
		if _, err := conn.Write(packet); err != nil {
			return flight.landed, err
		}
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return flight.landed, err
		}
		if _, err := io.ReadFull(replies, buf[:2]); err != nil {
			return flight.landed, err
		}
		reply := buf[:binary.BigEndian.Uint16(buf)]
		if _, err := io.ReadFull(replies, reply); err != nil {
			return flight.landed, err
		}
		if err := flight.land(reply, time.Since(start)); err != nil {
			return flight.landed, err
		}
	}
}
