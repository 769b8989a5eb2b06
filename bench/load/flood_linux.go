package load

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Flooded is what became of more queries than a server can answer.
type Flooded struct {
	Sent, Replies int // the replies are correct ones
	Elapsed       time.Duration
}

// Flood asks over UDP at the plan's rate for as long as it says, whatever comes back: there may be no reply, but none may be wrong.
// Replies are told apart by their questions, for there are more queries under way than IDs.
func (p Plan) Flood(long time.Duration) (Flooded, error) {
	fd, err := p.socket()
	if err != nil {
		return Flooded{}, err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing is left to be written
	queries := make(map[string][]byte, len(p.Queries))
	for _, query := range p.Queries {
		queries[string(questionOf(query))] = query
	}
	var (
		flooded Flooded
		flight  = &flight{plan: p}
		packet  = make([]byte, 0, 512)
		buf     = make([]byte, 1<<16)
		start   = time.Now()
	)
	// receive takes what has come.
	receive := func() error {
		for {
			n, err := unix.Read(fd, buf)
			if errors.Is(err, unix.EAGAIN) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("cannot receive: %w", err)
			}
			if n < headerSize+1 {
				return fmt.Errorf("%d bytes are no reply", n)
			}
			query := queries[string(questionOf(buf[:n]))]
			if query == nil {
				return fmt.Errorf("nobody asked %q", buf[:n])
			}
			if err := p.Expect.Check(query, buf[:n]); err != nil {
				return err
			}
			flooded.Replies++
		}
	}
	for now := time.Duration(0); now < long; now = time.Since(start) {
		const atOnce = 32 // so that replies do not wait in the socket until there is no room
		for n := 0; n < atOnce && p.due(flooded.Sent) <= now; n++ {
			packet = flight.launch(packet[:0], flooded.Sent, now)
			_, err := unix.Write(fd, packet)
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) {
				break
			}
			if err != nil {
				return flooded, fmt.Errorf("cannot send: %w", err)
			}
			flooded.Sent++
		}
		if err := receive(); err != nil {
			return flooded, err
		}
	}
	flooded.Elapsed = time.Since(start)
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a file descriptor is small
	for {
		const quiet = 300 * time.Millisecond // then nothing more comes
		timeout := unix.NsecToTimespec(int64(quiet))
		n, err := unix.Ppoll(poll, &timeout, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return flooded, err
		}
		if err == nil && n == 0 {
			return flooded, nil
		}
		if err := receive(); err != nil {
			return flooded, err
		}
	}
}
