package dnstest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestClientAndServer(t *testing.T) {
	addr := Serve(t, func(network string, r *dns.Msg) *dns.Msg {
		m := new(dns.Msg).SetReply(r)
		switch r.Question[0].Name {
		case "silent.":
			return nil
		case "another.": // as a reply to what was asked before is
			m.Id++
		}
		m.Answer = Records(t, "a. 5 IN TXT "+network, "a. 5 IN TXT "+strings.Repeat("x", 250)+" "+strings.Repeat("y", 250))
		return m
	})
	for _, c := range []struct {
		network, question string
		size              uint16
		within            time.Duration
		want              string // part of the error, or of the answer's data
	}{
		{"udp", "a. A", 4096, patience, `"udp"`},
		{"tcp", "a A", 0, patience, `"tcp"`},
		{"udp", "a. A", 0, patience, "octets to a query that allows 512"},
		{"udp", "a. A", 513, patience, "octets to a query that allows 513"},
		{"udp", "another. A", 4096, 50 * time.Millisecond, "timeout"},
		{"udp", "silent. A", 0, 50 * time.Millisecond, "timeout"},
		{"tcp", "silent. A", 0, patience, "EOF"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), c.within)
		m, err := Exchange(ctx, c.network, addr, Question(c.question, c.size))
		cancel()
		var got string
		if err != nil {
			got = err.Error()
		} else {
			got = strings.Join(Data(m.Answer), " ")
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s over %s: got %s, want %s", c.question, c.network, got, c.want)
		}
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
