package headless

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/hostile"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/miekg/dns"
)

// TestReverseZoneOfOneAddress: such an apex owns SOA, NS and the PTR. CIDR notation off an octet's boundary makes many of them.
func TestReverseZoneOfOneAddress(t *testing.T) {
	const own = "1.0.0.10.in-addr.arpa."
	ptrs := []string{own + " 5 IN PTR web-0.web.default.svc.cluster.local.", own + " 5 IN PTR 10-0-0-1.peers.default.svc.cluster.local."}
	for _, zones := range []string{"10.0.0.0/30", "1.0.0.10.in-addr.arpa", "10.0.0.1/32 in-addr.arpa", "10.96.0.0/30 10.0.0.0/29"} {
		h := newTestHeadlessFrom(t, "headless cluster.local "+zones+" {\nmanifests testdata/cluster.yaml\n}")
		h.local = nil
		if h.zoneOf(own) != own {
			t.Fatalf("%s: %s is in zone %q, want its own", zones, own, h.zoneOf(own))
		}
		checkRows(t, h, []row{
			{zones + ": PTR", own + " PTR", noError, ptrs, nil},
			{zones + ": in the client's spelling", "1.0.0.10.IN-addr.arpa. NS", noError, []string{"1.0.0.10.IN-addr.arpa. 5 IN NS ns.dns.cluster.local."}, nil},
			{zones + ": no data", own + " A", noError, nil, nil},
			{zones + ": ANY", own + " ANY", noError, []string{own + ` 5 IN HINFO "RFC8482" ""`}, nil},
		})
	}
	h := newTestHeadlessFrom(t, "headless cluster.local 10.0.0.99/32 10.0.0.1/32 fd00::1:1/128 {\nmanifests testdata/cluster.yaml\nfallthrough\n}")
	checkRows(t, h, []row{
		{"no PTR, and no next plugin", "99.0.0.10.in-addr.arpa. PTR", noError, nil, nil},
		{"of IPv6", "1.0.0.0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. PTR", noError, []string{"1.0.0.0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. 5 IN PTR pair-0.pair.default.svc.cluster.local."}, nil},
	})
	for question, passes := range map[string]bool{
		"99.0.0.10.in-addr.arpa. PTR": true, "99.0.0.10.in-addr.arpa. SOA": false, "99.0.0.10.in-addr.arpa. A": false, own + " PTR": false,
	} {
		asked := false
		h.Next = behind(nxName, &asked)
		if ask(t, h, question); asked != passes {
			t.Errorf("%s: passed on: %v, want %v", question, asked, passes)
		}
	}
}

// TestReverseZoneOfOnePublicAddressBeforeTheListing: what falls through goes to the next plugin at once, as other public
// reverse names do.
func TestReverseZoneOfOnePublicAddressBeforeTheListing(t *testing.T) {
	for question, passes := range map[string]bool{
		"8.8.8.8.in-addr.arpa. PTR": true, "8.8.8.8.in-addr.arpa. SOA": false, "1.0.0.10.in-addr.arpa. PTR": false, "cluster.local. PTR": false,
	} {
		h, asked := newTestHeadlessFrom(t, "headless cluster.local 8.8.8.8/32 10.0.0.1/32 {\nmanifests testdata/cluster.yaml\nfallthrough\n}"), false
		h.listing, h.Next = kube.NewListing(kube.Services), behind(noError, &asked)
		if m := ask(t, h, question); asked != passes || !passes && m.Rcode != dns.RcodeServerFailure {
			t.Errorf("%s: passed on: %v, want %v; got %v", question, asked, passes, m)
		}
	}
}

// TestFallthroughKeepsWhatIsOurs: svc, pod and the namespaces that exist are ours whatever the next plugin has, as in the
// kubernetes plugin; other empty non-terminals are not.
func TestFallthroughKeepsWhatIsOurs(t *testing.T) {
	for question, passes := range map[string]bool{
		"svc.cluster.local. A": false, "pod.cluster.local. A": false, "default.svc.cluster.local. AAAA": false, "DEFAULT.svc.cluster.local. A": false,
		"default.pod.cluster.local. A": false, "nowhere.svc.cluster.local. A": true, "nowhere.pod.cluster.local. A": true,
		"dns.cluster.local. A": true, "_tcp.web.default.svc.cluster.local. A": true, "0.10.in-addr.arpa. A": true, "web.default.svc.cluster.local. TXT": false,
	} {
		h, asked := newTestHeadless(t, "fallthrough\npods insecure"), false
		h.Next = behind(dns.RcodeServerFailure, &asked)
		if m := ask(t, h, question); asked != passes || !passes && m.Rcode != dns.RcodeSuccess {
			t.Errorf("%s: passed on: %v, want %v; got %v", question, asked, passes, m)
		}
	}
}

// TestPrimaryZone: what leads from one zone into another leads to names that exist there.
func TestPrimaryZone(t *testing.T) {
	for _, c := range []struct {
		zones, nsZone string
		pointers      bool
	}{
		{"cluster.local clusterset.local", "cluster.local.", true},
		{"clusterset.local cluster.local", "cluster.local.", true},
		{"in-addr.arpa clusterset.local cluster.local example.org", "cluster.local.", true},
		{"clusterset.local", "clusterset.local.", false},
	} {
		h := newTestHeadlessFrom(t, "headless "+c.zones+" 10.in-addr.arpa {\nmulticluster clusterset.local\nmanifests testdata/cluster.yaml testdata/imports.yaml\n}")
		h.local = []netip.Addr{netip.MustParseAddr("10.5.5.5"), netip.MustParseAddr("fd00::55")}
		if m := ask(t, h, "10.in-addr.arpa. SOA"); m.Answer[0].(*dns.SOA).Ns != "ns.dns."+c.nsZone {
			t.Errorf("%s: the SOA is %v, want a name in %s", c.zones, m.Answer[0], c.nsZone)
		}
		wantPTR := []string(nil)
		rcode := nxName
		if c.pointers {
			wantPTR, rcode = []string{"1.0.96.10.in-addr.arpa. 5 IN PTR vip.default.svc.cluster.local."}, noError
		}
		checkRows(t, h, []row{{c.zones, "1.0.96.10.in-addr.arpa. PTR", rcode, wantPTR, nil}})
		if !c.pointers {
			m := ask(t, h, "1.0.96.10.in-addr.arpa. PTR", func(r *dns.Msg) { r.SetEdns0(1232, false) })
			if said := hostile.ExtendedErrors(m); len(said) != 1 || !strings.Contains(said[0].ExtraText, "no zone of the cluster's own Services") {
				t.Errorf("%s: said %v, want that there is no such zone", c.zones, said)
			}
		}
		var transferred []dns.RR
		ch, err := h.Transfer("10.in-addr.arpa.", 0)
		if err != nil {
			t.Fatal(err)
		}
		for rrs := range ch {
			transferred = append(transferred, rrs...)
		}
		if has := slices.ContainsFunc(transferred, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypePTR }); has != c.pointers {
			t.Errorf("%s: a transfer has PTRs: %v, want %v", c.zones, has, c.pointers)
		}
		checkNameServersExist(t, h)
	}
}

// TestNameServersExist: whatever finds the DNS Service, the names in NS records have the addresses that come with them.
func TestNameServersExist(t *testing.T) {
	for _, options := range []string{"", "multicluster clusterset.local", "namespaces default", "ignore empty_service", "endpoints headless", "zonal"} {
		for _, local := range []string{"", "10.6.0.1", "10.0.0.1 10.6.0.1", "10.96.0.1"} {
			h := newTestHeadlessFrom(t, "headless cluster.local clusterset.local in-addr.arpa {\nmanifests testdata/cluster.yaml testdata/imports.yaml\n"+options+"\n}")
			h.local = namedAddrs(strings.Fields("10.5.5.5 " + local))
			h.bound = h.local
			t.Log(options, local)
			checkNameServersExist(t, h)
		}
	}
}

func checkNameServersExist(t *testing.T, h *Headless) {
	t.Helper()
	for _, zone := range h.zones {
		m := ask(t, h, zone+" NS")
		if len(m.Answer) == 0 {
			t.Errorf("%s has no name server", zone)
		}
		for _, rr := range m.Answer {
			target := rr.(*dns.NS).Ns
			var want, got []string
			for _, extra := range m.Extra {
				if extra.Header().Name == target {
					want = append(want, extra.String())
				}
			}
			for _, qtype := range []string{"A", "AAAA"} {
				got = append(got, dnstest.Lines(ask(t, h, target+" "+qtype).Answer)...)
			}
			slices.Sort(want)
			slices.Sort(got)
			if len(got) == 0 || !slices.Equal(got, dnstest.Lines(dnstest.Records(t, want...))) {
				t.Errorf("%s NS %s: has %q, want %q", zone, target, got, want)
			}
			if !isReverse(zone) && !strings.HasSuffix(target, zone) {
				t.Errorf("%s NS %s: not in the zone", zone, target)
			}
		}
	}
}

// TestTargetThatNobodyHereAnswersFor: a server without a plugin that resolves it gives the CNAME alone, and the client's
// resolver goes on. A plugin that fails is another thing.
func TestTargetThatNobodyHereAnswersFor(t *testing.T) {
	closed := dnstest.FreeAddr(t)
	for _, c := range []struct {
		name, block string
		rcode       int
	}{
		{"no other plugin", "", noError},
		{"one for another zone", "forward corp.example " + closed, noError},
		{"one that fails", "forward . " + closed + " {\nmax_fails 0\n}", dns.RcodeServerFailure},
	} {
		s := startServer(t, ".:0 {\n"+bound+"headless cluster.local {\nmanifests testdata/cluster.yaml\n}\n"+c.block+"\n}")
		for _, network := range []string{"udp", "tcp"} {
			m := s.ask(t, network, "ext.default.svc.cluster.local. A", 1232)
			if m.Rcode != c.rcode || len(m.Answer) != 1 || m.Answer[0].Header().Rrtype != dns.TypeCNAME {
				t.Errorf("%s, %s: got %v, want %s and the CNAME", c.name, network, m, dns.RcodeToString[c.rcode])
			}
		}
		if m := s.ask(t, "udp", "www.example.com. A", 0); m.Rcode != dns.RcodeServerFailure {
			t.Errorf("%s: asked for the target itself: %s, want SERVFAIL as without headless", c.name, dns.RcodeToString[m.Rcode])
		}
	}
	h := newTestHeadless(t, "")
	if rcode, err := h.next(context.Background(), nil, dnstest.Question("www.example.com. A", 0)); err == nil || rcode != dns.RcodeServerFailure {
		t.Error(fmt.Sprint("for a client there is no next plugin: ", rcode, err))
	}
}
