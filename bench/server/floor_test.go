package server

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/coredns-headless/headless/bench/cluster"
	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
)

// writer keeps the reply.
type writer struct {
	test.ResponseWriter
	reply *dns.Msg
}

func (w *writer) WriteMsg(m *dns.Msg) error {
	w.reply = m
	return nil
}

func (w *writer) Write(b []byte) (int, error) {
	w.reply = new(dns.Msg)
	return len(b), w.reply.Unpack(b)
}

// TestWireAnswersWithWhatFits has its numbers from RFC 1035, as those of package matrix.
func TestWireAnswersWithWhatFits(t *testing.T) {
	c := cluster.Cluster{{Name: "web-1000", Endpoints: 5000, Headless: true, IPv4: true, IPv6: true}}
	path := filepath.Join(t.TempDir(), "hosts")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.WriteHosts(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	sets, err := readHosts(path)
	if err != nil {
		t.Fatal(err)
	}
	h := newWire(sets)
	for _, row := range []struct {
		name  string
		qtype uint16
		tcp   bool
		want  int
		all   bool
	}{
		{"web-1000-17.web-1000.n.svc.cluster.local.", dns.TypeA, false, 1, true},
		{"web-1000.n.svc.cluster.local.", dns.TypeA, false, 73, false},
		{"web-1000.n.svc.cluster.local.", dns.TypeAAAA, false, 41, false},
		{"web-1000.n.svc.cluster.local.", dns.TypeA, true, 4092, false},
	} {
		r := dnstest.Query(row.name, row.qtype, EDNS)
		w := &writer{ResponseWriter: test.ResponseWriter{TCP: row.tcp}}
		if _, err := h.ServeDNS(t.Context(), w, r); err != nil {
			t.Fatal(err)
		}
		distinct := slices.Compact(dnstest.Lines(slices.DeleteFunc(slices.Clone(w.reply.Answer), func(rr dns.RR) bool {
			return rr.Header().Name != row.name || rr.Header().Rrtype != row.qtype
		})))
		if w.reply.Id != r.Id || len(w.reply.Answer) != row.want || len(distinct) != row.want || w.reply.Truncated == row.all {
			t.Errorf("%s, %s %s: ID %d, want %d; %d records, %d distinct ones, want %d; TC is %v", h.Name(), row.name,
				dns.TypeToString[row.qtype], w.reply.Id, r.Id, len(w.reply.Answer), len(distinct), row.want, w.reply.Truncated)
		}
	}
}
