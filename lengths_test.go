package headless

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/hostile"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	_ "github.com/coredns/coredns/plugin/nsid"
	recorder "github.com/coredns/coredns/plugin/pkg/dnstest"
	_ "github.com/coredns/coredns/plugin/rewrite"
	"github.com/coredns/coredns/plugin/test"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// zoneOfSize returns a zone below example. whose name has about so many octets in a message.
func zoneOfSize(size int) string {
	zone := "example."
	for len(zone)+1 < size {
		zone = strings.Repeat("z", max(1, min(63, size-len(zone)-2))) + "." + zone
	}
	return zone
}

// TestNamesThatAreTooLong: whatever a tenant calls things, every message can be read, every target has its address, and what
// belongs to others is not harmed.
func TestNamesThatAreTooLong(t *testing.T) {
	of := func(letter string, n int) string { return strings.Repeat(letter, n) }
	for _, size := range []int{15, 40, 58, 59, 60, 61, 90, 150, 180, 200, 215, 230, 243} {
		zone := zoneOfSize(size)
		h := newTestHeadlessFrom(t, "headless "+zone+" clusterset."+zone[:min(len(zone), 60)]+" 10.in-addr.arpa {\nmanifests testdata/cluster.yaml\nmulticluster clusterset."+zone[:min(len(zone), 60)]+"\n}")
		for i, x := range []*index.Index{h.index, h.imports} {
			x.PutNamespace(&model.Namespace{Key: model.Key{Name: "n"}})
			x.PutNamespace(&model.Namespace{Key: model.Key{Name: of("n", 63)}})
			for _, key := range []model.Key{{Namespace: "n", Name: "s"}, {Namespace: of("n", 63), Name: of("s", 63)}} {
				x.PutService(&model.Service{Key: key, Kind: model.Headless})
				sl := &model.Slice{Key: key, Service: key.Name, Ports: []model.Port{model.PortOf(of("p", 48), "tcp", 80), model.PortOf(of("p", 63), "tcp", 81)}}
				for n, hostname := range []string{"ok", of("h", 58), of("h", 62), of("i", 63), of("i", 63), ""} {
					if i == 1 {
						hostname = cmp.Or(hostname, fmt.Sprint("10-77-1-", n)) + "." + of("c", 63)
					}
					sl.Endpoints = append(sl.Endpoints, model.Endpoint{Addr: netip.AddrFrom4([4]byte{10, 77, byte(i), byte(n)}), Name: hostname, State: model.Ready})
				}
				x.PutSlice(sl)
			}
		}
		checkEveryRecord(t, h)
		for n := range 6 {
			// Of the index alone, each endpoint owns its address: what is not told has a name that is too long.
			m, _ := askSized(t, h, fmt.Sprintf("%d.0.77.10.in-addr.arpa. PTR", n), true, 1232)
			errs := hostile.ExtendedErrors(m)
			if len(m.Answer) == 0 && (len(errs) != 1 || !strings.HasSuffix(errs[0].ExtraText, "has a name of more than 255 octets")) {
				t.Errorf("%s: no PTR of endpoint %d, because %v", zone, n, errs)
			}
		}
	}
}

// checkEveryRecord transfers the zones of h and holds what it gets against the answers to queries.
func checkEveryRecord(t *testing.T, h *Headless) {
	t.Helper()
	addresses := func(name string) (texts []string) {
		for _, qtype := range []string{"A", "AAAA"} {
			for _, rr := range readable(t, h, name+" "+qtype).Answer {
				texts = append(texts, dns.Field(rr, 1))
			}
		}
		return texts
	}
	for _, zone := range h.zones {
		ch, err := h.Transfer(zone, 0)
		if err != nil {
			t.Fatal(err)
		}
		records := 0
		asked := make(map[string]bool)
		for rrs := range ch {
			for _, rr := range rrs {
				if m := (&dns.Msg{Answer: []dns.RR{rr}}); repack(m) != nil {
					t.Errorf("%s has a record that nobody can read: %v", zone, rr)
					continue
				}
				records++
				question := rr.Header().Name + " " + dns.Type(rr.Header().Rrtype).String()
				if rr.Header().Rrtype == dns.TypeSOA || asked[question] {
					continue
				}
				asked[question] = true
				m := readable(t, h, question)
				if len(m.Answer) == 0 {
					t.Errorf("%s is in a transfer and has no answer", question)
				}
				for _, rr := range m.Answer {
					switch rr := rr.(type) {
					case *dns.SRV:
						if len(addresses(rr.Target)) == 0 {
							t.Errorf("%s: %s has no address", question, rr.Target)
						}
						if want := max(1, 100/len(m.Answer)); int(rr.Weight) != want {
							t.Errorf("%s: weight %d of %d records, want %d", question, rr.Weight, len(m.Answer), want)
						}
					case *dns.PTR:
						if addr := dnsutilAddr(rr.Hdr.Name); !slices.Contains(addresses(rr.Ptr), addr) {
							t.Errorf("%s: %s does not lead back to %s", question, rr.Ptr, addr)
						}
					}
				}
			}
		}
		if records < 3 {
			t.Errorf("%s has %d records", zone, records)
		}
	}
}

// dnsutilAddr returns the IPv4 address of a reverse name.
func dnsutilAddr(name string) string {
	labels := dns.SplitDomainName(name)[:4]
	slices.Reverse(labels)
	return strings.Join(labels, ".")
}

// readable asks over TCP and returns the reply, which can be read.
func readable(t *testing.T, h *Headless, question string) *dns.Msg {
	t.Helper()
	m, _ := askSized(t, h, question, true, 0)
	if err := repack(m); err != nil {
		t.Errorf("%s: the reply cannot be read: %v", question, err)
	}
	return m
}

// repack packs m and reads the message.
func repack(m *dns.Msg) error {
	m.Compress = true
	wire, err := m.Pack()
	if err != nil {
		return err
	}
	return new(dns.Msg).Unpack(wire)
}

// TestAddressesOfEndpointsWithoutNames: an endpoint none of whose names fits keeps its address at the Service's name, and has
// no share in the weight.
func TestAddressesOfEndpointsWithoutNames(t *testing.T) {
	for _, c := range []struct {
		size    int // of the zone
		targets []string
		weight  uint16
	}{
		{100, []string{"hhhhhhhhhhhhhhhhhhhh.web.", "ok.web."}, 50},
		{226, []string{"10-0-0-1.web.", "ok.web."}, 50},
		{237, []string{"ok.web."}, 100},
	} {
		zone := zoneOfSize(c.size)
		h := newTestHeadlessFrom(t, "headless "+zone+" {\nmanifests testdata/cluster.yaml\n}")
		h.index.PutNamespace(&model.Namespace{Key: model.Key{Name: "n"}})
		key := model.Key{Namespace: "n", Name: "web"}
		h.index.PutService(&model.Service{Key: key, Kind: model.Headless})
		h.index.PutSlice(&model.Slice{Key: key, Service: "web", Ports: []model.Port{model.PortOf("http", "tcp", 80)}, Endpoints: []model.Endpoint{
			{Addr: netip.MustParseAddr("10.0.0.1"), Name: strings.Repeat("h", 20), State: model.Ready},
			{Addr: netip.MustParseAddr("10.0.0.2"), Name: "ok", State: model.Ready},
		}})
		if m := readable(t, h, "web.n.svc."+zone+" A"); len(m.Answer) != 2 {
			t.Errorf("zone of %d: %v, want both addresses", c.size, m.Answer)
		}
		var got []string
		for _, rr := range readable(t, h, "web.n.svc."+zone+" SRV").Answer {
			got = append(got, strings.TrimSuffix(rr.(*dns.SRV).Target, "n.svc."+zone))
			if rr.(*dns.SRV).Weight != c.weight {
				t.Errorf("zone of %d: %v, want a weight of %d", c.size, rr, c.weight)
			}
		}
		if slices.Sort(got); !slices.Equal(got, c.targets) {
			t.Errorf("zone of %d: the targets are %q, want %q", c.size, got, c.targets)
		}
	}
}

// TestSetLargerThanAMessage: over TCP it is the part that fits, the same each time for one client, without TC.
func TestSetLargerThanAMessage(t *testing.T) {
	h := newTestHeadless(t, "")
	h.index = podsIndex(5000)
	for question, least := range map[string]int{"web.n.svc.cluster.local. A": 4000, "web.n.svc.cluster.local. SRV": 900} {
		var texts []string
		for range 2 {
			m, octets := askSized(t, h, question, true, 1232)
			if m.Truncated || m.Rcode != noError || len(m.Answer) < least || octets > dns.MaxMsgSize {
				t.Errorf("%s: %d records, tc %v", question, len(m.Answer), m.Truncated)
			}
			said := m.IsEdns0().Option[0].(*dns.EDNS0_EDE)
			if want := fmt.Sprintf("%d of 5000 records, no message holds more", len(m.Answer)); said.ExtraText != want || len(want) > maxPartText {
				t.Errorf("%s: said %q, want %q", question, said.ExtraText, want)
			}
			texts = append(texts, strings.Join(dnstest.Lines(m.Answer), "\n"))
		}
		if texts[0] != texts[1] {
			t.Errorf("%s: the part changes", question)
		}
	}
	silent := newTestHeadless(t, "no_explain")
	silent.index = h.index
	if m, _ := askSized(t, silent, "web.n.svc.cluster.local. A", true, 1232); len(m.IsEdns0().Option) > 0 || m.Truncated {
		t.Errorf("with no_explain: %v", m.Extra)
	}
	for i := range 2000 { // more PTRs than a message holds
		key := model.Key{Namespace: "n", Name: fmt.Sprint("peers-of-a-longer-name-", i)}
		h.index.PutService(&model.Service{Key: key, Kind: model.Headless})
		h.index.PutSlice(&model.Slice{Key: key, Service: key.Name, Endpoints: []model.Endpoint{{Addr: netip.MustParseAddr("10.0.0.1"), State: model.Ready}}})
	}
	if m, octets := askSized(t, h, "1.0.0.10.in-addr.arpa. PTR", true, 0); m.Truncated || octets > dns.MaxMsgSize || len(m.Answer) < 700 {
		t.Errorf("%d PTRs, %d octets, tc %v", len(m.Answer), octets, m.Truncated)
	}
}

// TestNothingInFrontTruncatesOverTCP has plugins that make replies longer, and answers that fit.
func TestNothingInFrontTruncatesOverTCP(t *testing.T) {
	manifest := bigManifest(t, 1000)
	for _, c := range []struct {
		name, block string
		edit        func(*dns.Msg)
		extra       int // additional records at least, where they fit with the answer
	}{
		{"nothing", "", func(r *dns.Msg) { r.SetEdns0(1232, false) }, 100},
		{"nsid", "nsid " + strings.Repeat("x", 60), func(r *dns.Msg) {
			r.SetEdns0(1232, false)
			r.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_NSID{Code: dns.EDNS0NSID}}
		}, 100},
		{"rewrite", "rewrite name suffix .cluster.local.corp. .cluster.local. answer auto", func(r *dns.Msg) {
			r.Question[0].Name = strings.Replace(r.Question[0].Name, ".cluster.local.", ".cluster.local.corp.", 1)
		}, 0},
	} {
		s := startServer(t, ".:0 {\n"+bound+c.block+"\nheadless cluster.local {\nmanifests "+manifest+"\n}\n}")
		for question, want := range map[string]int{"web.default.svc.cluster.local. SRV": 1000, "web.default.svc.cluster.local. A": 1000, "_http._tcp.web.default.svc.cluster.local. SRV": 1000} {
			r := dnstest.Question(question, 0)
			c.edit(r)
			packet, err := r.Pack()
			if err != nil {
				t.Fatal(err)
			}
			conn := s.dial(t, "tcp")
			reply, err := conn.Exchange(packet)
			m := new(dns.Msg)
			if err != nil || m.Unpack(reply) != nil {
				t.Fatalf("%s: %s: %v", c.name, question, err)
			}
			if len(m.Answer) < want || m.Truncated {
				t.Errorf("%s: %s: %d of %d records, tc %v", c.name, question, len(m.Answer), want, m.Truncated)
			}
			if strings.HasSuffix(question, "SRV") && len(m.Extra) < c.extra {
				t.Errorf("%s: %s: %d additional records, want at least %d", c.name, question, len(m.Extra), c.extra)
			}
		}
	}
}

// TestSignaturesDoNotTruncateOverTCP signs each RRset of a reply as dnssec does, which needs half a cloud's libraries, and cuts
// it as the server does.
func TestSignaturesDoNotTruncateOverTCP(t *testing.T) {
	h := newTestHeadlessFrom(t, "headless cluster.local {\nmanifests "+bigManifest(t, 1000)+"\n}")
	h.fronts.dnssec = true
	for _, signature := range []int{64, 256} { // octets: ECDSA, RSA
		for question, least := range map[string]int{"web.default.svc.cluster.local. SRV": 5, "web.default.svc.cluster.local. A": 0} {
			r := dnstest.Question(question, 0)
			r.SetEdns0(1232, true)
			w := &test.ResponseWriter{TCP: true}
			rec := recorder.NewRecorder(w)
			if _, err := h.ServeDNS(t.Context(), rec, r); err != nil {
				t.Fatal(err)
			}
			m := rec.Msg
			for _, section := range []*[]dns.RR{&m.Answer, &m.Extra} {
				signed := make(map[string]bool)
				for _, rr := range slices.Clone(*section) {
					hdr := rr.Header()
					if set := hdr.Name + dns.Type(hdr.Rrtype).String(); hdr.Rrtype != dns.TypeOPT && !signed[set] {
						signed[set] = true
						*section = append(*section, &dns.RRSIG{
							Hdr: header(hdr.Name, dns.TypeRRSIG, 5), TypeCovered: hdr.Rrtype, Algorithm: dns.RSASHA256, SignerName: "cluster.local.",
							Signature: base64.StdEncoding.EncodeToString(make([]byte, signature)),
						})
					}
				}
			}
			state := request.Request{W: w, Req: r}
			m.SetEdns0(1232, true)
			if m = state.Scrub(m); m.Truncated || len(m.Answer) != 1001 || len(m.Extra) < least {
				t.Errorf("%s with signatures of %d octets: tc %v, %d and %d records", question, signature, m.Truncated, len(m.Answer), len(m.Extra))
			}
		}
	}
}
