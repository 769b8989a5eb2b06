package load

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestFloodCountsWhatComesBack asks a server that answers every second query only.
func TestFloodCountsWhatComesBack(t *testing.T) {
	var asked, answered atomic.Int64
	server := serve(t, func(r *dns.Msg) *dns.Msg {
		if asked.Add(1)%2 == 0 {
			return nil
		}
		answered.Add(1)
		return reply(t, r)
	})
	p := plans(t, server)["UDP in an open loop"]
	p.Rate = 2000
	got, err := p.Flood(200 * time.Millisecond)
	if err != nil || got.Sent < 300 || got.Sent > 500 || got.Elapsed < 200*time.Millisecond {
		t.Errorf("got %+v, %v, want some 400 queries in 200 ms", got, err)
	}
	if want := int(answered.Load()); got.Replies != want || want == 0 {
		t.Errorf("got %d replies, want %d", got.Replies, want)
	}
}

func TestFloodFailsWhenOneReplyIsWrong(t *testing.T) {
	for want, spoil := range map[string]func(*dns.Msg){
		"0 answers":    func(m *dns.Msg) { m.Answer = nil },
		"nobody asked": func(m *dns.Msg) { m.Question[0].Name = "db.n.svc.cluster.local." },
	} {
		server := serve(t, func(r *dns.Msg) *dns.Msg {
			m := reply(t, r)
			if r.Id == 150 {
				spoil(m)
			}
			return m
		})
		p := plans(t, server)["UDP in an open loop"]
		if _, err := p.Flood(100 * time.Millisecond); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
