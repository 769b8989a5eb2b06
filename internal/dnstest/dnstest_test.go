package dnstest

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestClientAndServer(t *testing.T) {
	addr := Serve(t, func(network string, r *dns.Msg) *dns.Msg {
		if r.Question[0].Name == "silent." {
			return nil
		}
		m := new(dns.Msg).SetReply(r)
		m.Answer = Records(t, strings.Repeat("long.", 40)+" 5 IN TXT "+network)
		for range 5 {
			m.Extra = append(m.Extra, Records(t, "many. 5 IN TXT "+strings.Repeat("x", 200))...)
		}
		return m
	})
	for _, c := range []struct {
		network, question string
		size              uint16
		want              string // of the error, or of the answer's data
	}{
		{"udp", "a. A", 4096, `"udp"`},
		{"tcp", "a A", 0, `"tcp"`},
		{"udp", "a. A", 0, "octets to a query that allows 512"},
		{"udp", "a. A", 600, "octets to a query that allows 600"},
		{"udp", "silent. A", 0, "timeout"},
		{"tcp", "silent. A", 0, "EOF"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if c.want == "timeout" {
			ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
		}
		m, err := Exchange(ctx, c.network, addr, Question(c.question, c.size))
		cancel()
		switch {
		case err != nil && !strings.Contains(err.Error(), c.want):
			t.Errorf("%s over %s: %v, want %s", c.question, c.network, err, c.want)
		case err == nil && !slices.Equal(Data(m.Answer), []string{c.want}):
			t.Errorf("%s over %s: %q, want %s", c.question, c.network, Data(m.Answer), c.want)
		}
	}
}

// TestRepliesToOthersAreSkipped: a reply may come after its client has given up.
func TestRepliesToOthersAreSkipped(t *testing.T) {
	client, server := net.Pipe()
	defer func() { _ = client.Close() }() // a pipe
	r := Question("a. A", 0)
	go func() {
		_, _ = server.Read(make([]byte, dns.MinMsgSize)) // r
		for _, id := range []uint16{r.Id + 1, r.Id} {
			m := new(dns.Msg).SetReply(r)
			m.Id = id
			message, err := m.Pack()
			if err != nil {
				t.Error(err)
			}
			_, _ = server.Write(message) // the client will notice
		}
	}()
	if m, err := NewConn(client, "udp").Ask(r); err != nil || m.Id != r.Id {
		t.Errorf("got %v, %v, want the reply to %d", m, err, r.Id)
	}
}

func TestRecordsAreSortedLines(t *testing.T) {
	rrs := Records(t, "b. 5 A 10.0.0.1", "a.  5  IN  SRV 0 100 80 b.")
	if got, want := Lines(rrs), []string{"a. 5 IN SRV 0 100 80 b.", "b. 5 IN A 10.0.0.1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := Data(rrs), []string{"0 100 80 b.", "10.0.0.1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
