package headless

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/model"
	_ "github.com/coredns/coredns/plugin/transfer"
	"github.com/miekg/dns"
)

// axfr transfers zone and returns its records without the SOAs at both ends.
func axfr(t *testing.T, s *server, zone string) []dns.RR {
	t.Helper()
	r := new(dns.Msg)
	r.SetAxfr(zone)
	ch, err := new(dns.Transfer).In(r, s.tcp)
	fatal.If(t, err)
	var rrs []dns.RR
	for e := range ch {
		if e.Error != nil {
			t.Fatalf("%s: %v", zone, e.Error)
		}
		rrs = append(rrs, e.RR...)
	}
	if n := len(rrs); n < 2 || rrs[0].Header().Rrtype != dns.TypeSOA || rrs[0].String() != rrs[n-1].String() {
		t.Fatalf("%s: %d records, not between two equal SOAs", zone, n)
	}
	return rrs[1 : len(rrs)-1]
}

func TestTransfersEqualAnswers(t *testing.T) {
	s := startServer(t, "cluster.local:0 in-addr.arpa:0 ip6.arpa:0 {\n"+bound+
		"transfer {\nto *\n}\nheadless {\nmanifests examples testdata/cluster.yaml\nendpoint_pod_names\nhostnames serving\n}\n}")
	type rrset struct {
		owner string
		qtype uint16
	}
	for zone, mustHave := range map[string][]string{
		"cluster.local.": {
			"cassandra-0.cassandra.default.svc.cluster.local. A", "_peer._tcp.etcd.default.svc.cluster.local. SRV",
			"web.default.svc.cluster.local. A", "_http._tcp.web.default.svc.cluster.local. A", "_http._tcp.web.default.svc.cluster.local. SRV",
			"web-3.web.default.svc.cluster.local. A", "_dns._udp.web-0.web.default.svc.cluster.local. SRV", "pair-0.pair.default.svc.cluster.local. AAAA",
			"anon-x1.anon.default.svc.cluster.local. A", "10-0-2-1.anon.default.svc.cluster.local. A", "0--5.anon.default.svc.cluster.local. SRV",
			"vip.default.svc.cluster.local. AAAA", "_https._tcp.vip.default.svc.cluster.local. SRV", "vip-0.vip.default.svc.cluster.local. A",
			"ext.default.svc.cluster.local. CNAME", "web-0.web.blue.svc.cluster.local. A", "dns-version.cluster.local. TXT", "cluster.local. NS",
		},
		"in-addr.arpa.": {"1.0.0.10.in-addr.arpa. PTR", "1.0.96.10.in-addr.arpa. PTR", "in-addr.arpa. NS"},
		"ip6.arpa.":     {"5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa. PTR"},
	} {
		sets := make(map[rrset][]dns.RR)
		seen := make(map[string]bool)
		for _, rr := range axfr(t, s, zone) {
			if seen[rr.String()] {
				t.Errorf("%s: twice: %s", zone, rr)
			}
			seen[rr.String()] = true
			id := rrset{rr.Header().Name, rr.Header().Rrtype}
			sets[id] = append(sets[id], rr)
		}
		for _, question := range mustHave {
			name, qtype, _ := strings.Cut(question, " ")
			if _, ok := sets[rrset{name, dns.StringToType[qtype]}]; !ok {
				t.Errorf("%s: no %s", zone, question)
			}
		}
		owners := make(map[string]bool)
		for id := range sets {
			owners[id.owner] = true
		}
		// What a query gives at each of these names, for each type there is, is what was transferred, and nothing else.
		for owner := range maps.Keys(owners) {
			for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeTXT, dns.TypeNS, dns.TypeCNAME} {
				m := s.ask(t, "tcp", owner+" "+dns.TypeToString[qtype], 0)
				answer := slices.DeleteFunc(m.Answer, func(rr dns.RR) bool { return rr.Header().Rrtype != qtype || rr.Header().Name != owner })
				if got, want := dnstest.Lines(sets[rrset{owner, qtype}]), dnstest.Lines(answer); !slices.Equal(got, want) {
					t.Errorf("%s %s:\ntransferred %q\nanswered    %q", owner, dns.TypeToString[qtype], got, want)
				}
			}
		}
	}
}

func TestTransferOfACurrentZoneIsItsSOA(t *testing.T) {
	s := startServer(t, "cluster.local:0 {\n"+bound+"transfer {\nto *\n}\nheadless {\nmanifests testdata/cluster.yaml\n}\n}")
	soa, ok := s.ask(t, "tcp", "cluster.local. SOA", 0).Answer[0].(*dns.SOA)
	if !ok {
		t.Fatal("no SOA")
	}
	for _, c := range []struct {
		name   string
		serial uint32
		whole  bool
	}{{"current", soa.Serial, false}, {"newer", soa.Serial + 1, false}, {"older", soa.Serial - 1, true}, {"older in RFC 1982's order", soa.Serial + 1<<31 + 1, true}} {
		r := new(dns.Msg)
		r.SetIxfr("cluster.local.", c.serial, soa.Ns, soa.Mbox)
		m := s.exchange(t, "tcp", r)
		if whole := len(m.Answer) > 1; whole != c.whole || m.Answer[0].String() != soa.String() {
			t.Errorf("a requester with a serial that is %s got %d records, the first %v", c.name, len(m.Answer), m.Answer[0])
		}
	}
}

func TestTransferIsRefused(t *testing.T) {
	api := kubetest.NewServer(t)
	release := api.Hold(kube.Slices)
	defer release()
	s := startServer(t, "cluster.local:0 {\n"+bound+"transfer {\nto *\n}\nheadless {\nendpoint "+api.URL+"\nstartup_timeout 0s\n}\n}")
	if m := s.ask(t, "tcp", "cluster.local. AXFR", 0); m.Rcode != dns.RcodeRefused {
		t.Errorf("while not synced: %s, want REFUSED", dns.RcodeToString[m.Rcode])
	}
	release()
	kubetest.Eventually(t, "the zone is transferred", func() bool { return s.ask(t, "tcp", "cluster.local. AXFR", 0).Rcode == dns.RcodeSuccess })
	if m := s.ask(t, "tcp", "svc.cluster.local. AXFR", 0); m.Rcode != dns.RcodeRefused {
		t.Errorf("of a name that is no zone: %s, want REFUSED", dns.RcodeToString[m.Rcode])
	}
}

// TestTransfersThatNobodyReads: they end, and meanwhile they are few, and share what they read from.
func TestTransfersThatNobodyReads(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := newTestHeadless(t, "")
		h.index = podsIndex(100)
		kept := func() int {
			h.journal.moments.mu.Lock()
			defer h.journal.moments.mu.Unlock()
			return h.journal.moments.kept
		}
		running := func() int {
			h.journal.mu.Lock()
			defer h.journal.mu.Unlock()
			return h.journal.readers
		}
		begin := func() bool {
			_, err := h.Transfer("cluster.local.", 0)
			synctest.Wait()
			return err == nil
		}
		change := func(i int) {
			time.Sleep(time.Second)
			h.index.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: fmt.Sprint("another-", i)}, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.77")}})
		}
		for i := range maxTransfers {
			if !begin() || kept() != 1 {
				t.Fatalf("transfer %d of one content: %d moments", i, kept())
			}
		}
		if begin() {
			t.Errorf("%d transfers run, want %d at most", running(), maxTransfers)
		}
		time.Sleep(stallTime + momentTime)
		synctest.Wait()
		if running() != 0 || kept() != 0 {
			t.Errorf("%v later: %d transfers, %d moments", stallTime+momentTime, running(), kept())
		}
		for i := range maxMoments {
			change(i)
			if !begin() || kept() != i+1 {
				t.Errorf("content %d: %d moments", i, kept())
			}
		}
		change(maxMoments)
		if begin() || kept() != maxMoments {
			t.Errorf("one more content: %d moments, want %d", kept(), maxMoments)
		}
		time.Sleep(stallTime + momentTime)
		if !begin() || kept() != 1 {
			t.Errorf("after %v: %d moments, want one", stallTime+momentTime, kept())
		}
		time.Sleep(stallTime + momentTime)
	})
}

// TestTransferThatIsReadSlowlyEnds: also when its client never stalls.
func TestTransferThatIsReadSlowlyEnds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := newTestHeadless(t, "")
		h.index = podsIndex(100)
		began := time.Now()
		ch, err := h.Transfer("cluster.local.", 0)
		fatal.If(t, err)
		for range ch {
			time.Sleep(stallTime - time.Second)
		}
		if got := time.Since(began); got < maxTransferTime || got > maxTransferTime+stallTime {
			t.Errorf("got the end after %v, want it after %v", got, maxTransferTime)
		}
		time.Sleep(2 * momentTime)
	})
}

// TestTransferIsOfOneContent: two transfers within a second, with a change between them, have one serial and one content; the
// change is in the next one.
func TestTransferIsOfOneContent(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := newTestHeadless(t, "")
		h.index = podsIndex(3)
		read := func() (records int, serial uint32) {
			ch, err := h.Transfer("cluster.local.", 0)
			fatal.If(t, err)
			for rrs := range ch {
				records += len(rrs)
				for _, rr := range rrs {
					if soa, ok := rr.(*dns.SOA); ok {
						serial = soa.Serial
					}
				}
			}
			return records, serial
		}
		time.Sleep(time.Second)
		first, serial := read()
		h.index.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: "new"}, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.77")}})
		if again, same := read(); again != first || same != serial {
			t.Errorf("in the same second: %d records with serial %d, want %d and %d", again, same, first, serial)
		}
		time.Sleep(time.Second)
		if later, next := read(); later != first+1 || next == serial {
			t.Errorf("a second later: %d records with serial %d, want %d and another than %d", later, next, first+1, serial)
		}
		time.Sleep(2 * momentTime)
		synctest.Wait()
		h.journal.moments.mu.Lock()
		defer h.journal.moments.mu.Unlock()
		if h.journal.moments.kept != 0 {
			t.Errorf("%d moments are kept", h.journal.moments.kept)
		}
	})
}
