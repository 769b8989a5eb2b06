package load

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/miekg/dns"
)

// reply returns a correct reply to a query: one address, one OPT record.
func reply(t *testing.T, r *dns.Msg) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetReply(r)
	m.Answer = dnstest.Records(t, r.Question[0].Name+" 5 IN A 10.0.0.1")
	return m.SetEdns0(1232, false)
}

var address = Expect{Answers: Exactly(1)}

func TestCheckRejectsEveryOtherShape(t *testing.T) {
	another := func(m *dns.Msg) dns.RR { return m.Answer[0] }
	for name, spoil := range map[string]func(*dns.Msg){
		"":                       func(*dns.Msg) {},
		"not a reply":            func(m *dns.Msg) { m.Response = false },
		"NXDOMAIN, want NOERROR": func(m *dns.Msg) { m.Rcode = dns.RcodeNameError },
		"TC is true, want false": func(m *dns.Msg) { m.Truncated = true },
		"another question":       func(m *dns.Msg) { m.Question[0].Name = "Web.n.svc.cluster.local." },
		"another question: \"\\x03web\\x01n\\x03svc\\acluster\\x05local\\x00\\x00\\x1c": func(m *dns.Msg) {
			m.Question[0].Qtype = dns.TypeAAAA
		},
		"0 answers":              func(m *dns.Msg) { m.Answer = nil },
		"2 answers":              func(m *dns.Msg) { m.Answer = append(m.Answer, another(m)) },
		"1 records of authority": func(m *dns.Msg) { m.Ns = append(m.Ns, another(m)) },
		"1 additional":           func(m *dns.Msg) { m.Extra = append(m.Extra, another(m)) },
		"-1 additional":          func(m *dns.Msg) { m.Extra = nil },
	} {
		query, err := Pack("web.n.svc.cluster.local.", dns.TypeA, 1232)
		if err != nil {
			t.Fatal(err)
		}
		r := new(dns.Msg)
		if err := r.Unpack(query); err != nil {
			t.Fatal(err)
		}
		m := reply(t, r)
		spoil(m)
		packed, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if got := address.Check(query, packed); (got == nil) != (name == "") || got != nil && !strings.HasPrefix(got.Error(), name) {
			t.Errorf("got %v, want %q", got, name)
		}
	}
	if address.Check(make([]byte, 17), make([]byte, 11)) == nil {
		t.Error("11 bytes are a reply")
	}
}

// TestForeignRepliesMayBeTruncated: and have what they like beside the answer, but no other answer.
func TestForeignRepliesMayBeTruncated(t *testing.T) {
	query, err := Pack("web.n.svc.cluster.local.", dns.TypeA, 1232)
	if err != nil {
		t.Fatal(err)
	}
	r := new(dns.Msg)
	if err := r.Unpack(query); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		of   func(m *dns.Msg)
		want string
	}{
		{"complete", func(*dns.Msg) {}, ""},
		{"with authority, and no OPT record", func(m *dns.Msg) { m.Ns, m.Extra = m.Answer, nil }, ""},
		{"truncated", func(m *dns.Msg) { m.Truncated, m.Answer = true, nil }, ""},
		{"incomplete", func(m *dns.Msg) { m.Answer = nil }, "0 answers"},
		{"a failure", func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }, "SERVFAIL"},
	} {
		m := reply(t, r)
		row.of(m)
		packed, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		e := address
		e.Foreign = true
		if got := e.Check(query, packed); (got == nil) != (row.want == "") || got != nil && !strings.HasPrefix(got.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", row.name, got, row.want)
		}
	}
}

// TestRunCountsTruncatedReplies: every second one is.
func TestRunCountsTruncatedReplies(t *testing.T) {
	server := serve(t, func(r *dns.Msg) *dns.Msg {
		m := reply(t, r)
		m.Truncated = r.Id%2 == 0
		return m
	})
	for name, p := range plans(t, server) {
		p.Expect.Foreign = true
		if r, err := p.Run(); err != nil || r.Truncated != p.Count/2 {
			t.Errorf("%s: got %+v, %v, want %d truncated", name, r, err, p.Count/2)
		}
	}
}

// serve starts a server that answers on UDP and TCP and returns its address.
func serve(t *testing.T, answer func(r *dns.Msg) *dns.Msg) netip.AddrPort {
	t.Helper()
	return netip.MustParseAddrPort(dnstest.Serve(t, func(_ string, r *dns.Msg) *dns.Msg { return answer(r) }))
}

// plans are all the ways to ask.
func plans(t *testing.T, server netip.AddrPort) map[string]Plan {
	query, err := Pack("web.n.svc.cluster.local.", dns.TypeA, 1232)
	if err != nil {
		t.Fatal(err)
	}
	plans := map[string]Plan{
		"UDP":                 {Outstanding: 16},
		"UDP in an open loop": {Rate: 10000},
		"TCP":                 {TCP: true, Outstanding: 3},
	}
	for name, p := range plans {
		p.Server, p.Queries, p.Expect, p.Count = server, [][]byte{query}, address, 200
		plans[name] = p
	}
	return plans
}

func TestRunAsksAllQuestions(t *testing.T) {
	server := serve(t, func(r *dns.Msg) *dns.Msg { return reply(t, r) })
	for name, p := range plans(t, server) {
		r, err := p.Run()
		if err != nil || r.Replies != p.Count || r.P50 <= 0 || r.P99 < r.P50 || r.QPS() <= 0 {
			t.Errorf("%s: got %+v, %v, want %d replies", name, r, err, p.Count)
		}
	}
}

func TestRunFailsWhenOneReplyIsWrong(t *testing.T) {
	for want, spoil := range map[string]func(*dns.Msg){
		"0 answers":               func(m *dns.Msg) { m.Answer = nil },
		"nothing was asked with ": func(m *dns.Msg) { m.Id += 1 << 15 },
	} {
		server := serve(t, func(r *dns.Msg) *dns.Msg {
			m := reply(t, r)
			if r.Id == 150 {
				spoil(m)
			}
			return m
		})
		for name, p := range plans(t, server) {
			if _, err := p.Run(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", name, err, want)
			}
		}
	}
}
