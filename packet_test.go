package headless

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns-headless/headless/internal/qname"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	_ "github.com/coredns/coredns/plugin/cancel"
	_ "github.com/coredns/coredns/plugin/dns64"
	_ "github.com/coredns/coredns/plugin/dnssec"
	_ "github.com/coredns/coredns/plugin/dnstap"
	_ "github.com/coredns/coredns/plugin/header"
	"github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/minimal"
	_ "github.com/coredns/coredns/plugin/shed"
	_ "github.com/coredns/coredns/plugin/siit"
	_ "github.com/coredns/coredns/plugin/tsig"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// measured is what the prometheus plugin notes of the last reply, and which way it went.
type measured struct {
	rcode, size int
	plugin      string
	octets      bool // no message was seen on the way
}

// meter is a plugin in front of headless that measures as prometheus does. If it hides the writer's
// type, headless makes records.
type meter struct {
	plugin.Handler
	hides bool
	last  chan<- measured
}

func (m meter) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if ctx.Value(chasing{}) != nil {
		return plugin.NextOrFailure("meter", m.Handler, ctx, w, r) // of the target of a CNAME
	}
	recorder := metrics.NewRecorder(w)
	w = recorder
	if m.hides {
		w = hiding{recorder}
	}
	rcode, err := plugin.NextOrFailure("meter", m.Handler, ctx, w, r)
	m.last <- measured{recorder.Rcode, recorder.Len, recorder.Plugin, recorder.Msg == nil && recorder.Len > 0}
	return rcode, err
}

// hiding is a writer of a type that nobody knows.
type hiding struct{ *metrics.Recorder }

// twins are two servers of one plugin: the first writes octets where it can, the second records.
type twins struct {
	servers [2]*wireServer
	last    [2]chan measured
}

func newTwins(t testing.TB, h *Headless) *twins {
	tw := new(twins)
	for i := range tw.servers {
		tw.last[i] = make(chan measured, 1)
		tw.servers[i] = newWireServer(t, h, func(next plugin.Handler) plugin.Handler {
			return meter{next, i == 1, tw.last[i]}
		})
	}
	return tw
}

// normal returns what m says, whatever its order and the compression of its names: a set that is not
// whole begins anywhere, and so does the answer to two queries.
func normal(m *dns.Msg) string {
	m.Compress = false
	sections := []string{m.MsgHdr.String()}
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		var lines []string
		for _, rr := range section {
			switch rr := rr.(type) {
			case *dns.OPT:
				lines = append(lines, fmt.Sprintf("flags %x", rr.Hdr.Ttl)) // its text shows some of them
			case *dns.SOA:
				rr.Serial = 0 // see serialOf
			}
			lines = append(lines, rr.String())
		}
		slices.Sort(lines)
		sections = append(sections, strings.Join(lines, "\n"))
	}
	return fmt.Sprint(m.Question, strings.Join(sections, "\n\n"))
}

// serialOf returns the serial of the SOA record of m, if there is one.
func serialOf(m *dns.Msg) uint32 {
	for _, rr := range slices.Concat(m.Answer, m.Ns) {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa.Serial
		}
	}
	return 0
}

// compare asks both for r, and returns whether the first one wrote octets.
func (tw *twins) compare(t testing.TB, network string, r *dns.Msg) bool {
	t.Helper()
	packet, err := r.Pack()
	fatal.If(t, err)
	var texts [2]string
	var sizes [2]int
	var serials [2]uint32
	for i, server := range tw.servers {
		conn := server.udp
		if network == "tcp" {
			conn = server.tcp
		}
		reply, err := conn.Exchange(packet)
		fatal.If(t, err)
		m := new(dns.Msg)
		if err := m.Unpack(reply); err != nil {
			t.Fatalf("%s over %s: %v\n%x", r.Question[0].Name, network, err, reply)
		}
		serials[i], sizes[i] = serialOf(m), len(reply)
		texts[i] = normal(m)
	}
	if texts[0] != texts[1] {
		t.Errorf("%v over %s:\nas octets  %s\nas records %s", r, network, texts[0], texts[1])
	}
	if later := serials[1] - serials[0]; later > 600 { // seconds may have passed
		t.Errorf("%v over %s: serial %d, in records %d", r.Question[0], network, serials[0], serials[1])
	}
	limit := 0
	if network == "udp" {
		limit = dns.MinMsgSize
		if opt := r.IsEdns0(); opt != nil {
			limit = max(limit, int(opt.UDPSize()))
		}
	}
	if sizes[0] > max(limit, sizes[1]) { // records have their names compressed only if there is no room for them
		t.Errorf("%v over %s: %d octets, as records %d", r.Question[0], network, sizes[0], sizes[1])
	}
	one, other := <-tw.last[0], <-tw.last[1]
	if one.rcode != other.rcode || one.size != other.size || one.plugin != other.plugin {
		t.Errorf("%v over %s: prometheus measures %+v, of records %+v", r.Question[0], network, one, other)
	}
	if other.octets {
		t.Fatalf("%v: written as octets through a writer of another type", r.Question[0])
	}
	return one.octets
}

// spelled returns name with some of its letters in upper case.
func spelled(r *rand.Rand, name string) string {
	b := []byte(name)
	for i, c := range b {
		if 'a' <= c && c <= 'z' && r.IntN(2) == 0 {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// TestOctetsSayWhatRecordsSay compares the two for every name of some worlds, and names that are nearly those.
func TestOctetsSayWhatRecordsSay(t *testing.T) {
	t.Parallel()
	const stanza = "headless cluster.local clusterset.local 10.in-addr.arpa ip6.arpa {\nmulticluster clusterset.local\nzonal\nhostnames serving\n" +
		"headless_ttl 3\nttl 7\nnegative_ttl 2\n"
	r := rand.New(rand.NewPCG(16, 0))
	asked, octets := 0, 0
	sets := []string{"web.n.svc.cluster.local. A", "web.n.svc.cluster.local. SRV", "_http._tcp.web.n.svc.cluster.local. SRV"}
	sets = slices.Repeat(sets, 5) // with each size
	most := 400
	if bubble.Race { // there is one goroutine; make variant asks without it
		most = 80
	}
	for _, world := range []struct {
		name string
		fill func(*Headless)
		also []string
	}{
		{"examples", func(*Headless) {}, nil},
		{"random", func(h *Headless) {
			for _, x := range h.indexes() {
				for _, name := range []string{"a", "b", "c", "default"} {
					x.PutNamespace(&model.Namespace{Key: model.KeyOf("", name)})
				}
				for range 60 {
					x.PutService(modeltest.RandomService(r))
				}
				for range 120 {
					x.PutSlice(modeltest.RandomSlice(r))
				}
			}
		}, nil},
		{"long names", func(h *Headless) {
			long := strings.Repeat("n", 63)
			for _, x := range h.indexes() {
				x.PutNamespace(&model.Namespace{Key: model.KeyOf("", long)})
				x.PutService(&model.Service{Key: model.KeyOf(long, long), Kind: model.Headless})
				x.PutSlice(&model.Slice{
					Key: model.KeyOf(long, "s"), Service: long, Ports: []model.Port{model.PortOf(long[:15], "tcp", 80)},
					Endpoints: []model.Endpoint{
						{Addr: netip.MustParseAddr("10.1.1.1"), Name: long, State: model.Ready},
						{Addr: netip.MustParseAddr("10.1.1.2"), Name: long[:40], State: model.Ready},
						{Addr: netip.MustParseAddr("fd00::2"), Name: long[:40], State: model.Ready},
					},
				})
			}
		}, nil},
		{"of 100", func(h *Headless) { h.index = sizedIndex(100) }, sets},
		{"of 500, which over TCP have addresses out of reach of a pointer", func(h *Headless) { h.index = sizedIndex(500) }, sets},
		{"of 5,000", func(h *Headless) { h.index = sizedIndex(5000) }, sets},
	} {
		h := newTestHeadlessFrom(t, stanza+"manifests testdata/cluster.yaml testdata/imports.yaml testdata/states.yaml\n}")
		world.fill(h)
		tw := newTwins(t, h)
		for _, question := range slices.Concat(worldQuestions(r, h, most), world.also) {
			for i, network := range []string{"udp", "udp", "tcp"} {
				name, qtype, _ := strings.Cut(question, " ")
				size := [...]uint16{0, 512, 1232, 4096, 65535}[(asked+i)%5]
				q := dnstest.Query(spelled(r, name), dns.StringToType[qtype], size)
				q.RecursionDesired, q.CheckingDisabled, q.AuthenticatedData = r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(2) == 0
				if opt := q.IsEdns0(); opt != nil && r.IntN(2) == 0 {
					opt.SetDo()
				}
				asked++
				if tw.compare(t, network, q) {
					octets++
				}
			}
			if t.Failed() {
				t.Fatalf("in the world %q", world.name)
			}
		}
	}
	t.Logf("%d questions, %d of them answered with octets", asked, octets)
	if octets < asked/2 {
		t.Errorf("of %d answers %d went as octets, want most of them", asked, octets)
	}
}

// TestOctetsAndOddQueries: a query that asks for more than a plain reply gets it, and where it does not matter the two ways agree.
func TestOctetsAndOddQueries(t *testing.T) {
	stray := dnstest.Records(t, "x.example. 5 IN A 192.0.2.1")[0]
	key := &dns.TSIG{Hdr: dns.RR_Header{Name: "key.", Rrtype: dns.TypeTSIG, Class: dns.ClassANY}, Algorithm: dns.HmacSHA256, TimeSigned: 1}
	tw := newTwins(t, newTestHeadlessFrom(t, "headless cluster.local 10.in-addr.arpa {\nmanifests testdata/cluster.yaml\n}"))
	for _, c := range []struct {
		name   string
		change func(r *dns.Msg, opt *dns.OPT)
		octets bool
	}{
		{"nothing", func(*dns.Msg, *dns.OPT) {}, true},
		{"all flags of the header", func(r *dns.Msg, _ *dns.OPT) {
			r.Zero, r.AuthenticatedData, r.CheckingDisabled, r.RecursionDesired = true, true, true, true
			r.RecursionAvailable, r.Authoritative, r.Truncated, r.Rcode = true, true, true, dns.RcodeRefused
		}, true},
		{"all flags of the OPT record", func(_ *dns.Msg, opt *dns.OPT) { opt.Hdr.Ttl = 0xff00ffff }, true}, // version 0
		{"an OPT record with a name", func(_ *dns.Msg, opt *dns.OPT) { opt.Hdr.Name = "x.example." }, true},
		{"too small a buffer", func(_ *dns.Msg, opt *dns.OPT) { opt.SetUDPSize(100) }, true},
		{"NSID", func(_ *dns.Msg, opt *dns.OPT) { opt.Option = []dns.EDNS0{&dns.EDNS0_NSID{Code: dns.EDNS0NSID}} }, false},
		{"a cookie", func(_ *dns.Msg, opt *dns.OPT) {
			opt.Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}}
		}, false},
		{"an option for local use", func(_ *dns.Msg, opt *dns.OPT) {
			opt.Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: dns.EDNS0LOCALSTART, Data: []byte("x")}}
		}, false},
		{"another opcode", func(r *dns.Msg, _ *dns.OPT) { r.Opcode = dns.OpcodeNotify }, false},
		{"a record behind the OPT record", func(r *dns.Msg, opt *dns.OPT) { r.Extra = []dns.RR{opt, stray} }, false},
		{"a record before the OPT record", func(r *dns.Msg, opt *dns.OPT) { r.Extra = []dns.RR{stray, opt} }, false},
		{"a record and no OPT record", func(r *dns.Msg, _ *dns.OPT) { r.Extra = []dns.RR{stray} }, false},
		{"two OPT records", func(r *dns.Msg, opt *dns.OPT) {
			other := dns.Copy(opt).(*dns.OPT)
			other.SetUDPSize(512)
			r.Extra = []dns.RR{opt, other}
		}, false},
		{"a signature", func(r *dns.Msg, opt *dns.OPT) { r.Extra = []dns.RR{opt, key} }, false},
		{"a signature and no OPT record", func(r *dns.Msg, _ *dns.OPT) { r.Extra = []dns.RR{key} }, false},
		{"a record in each of the other sections", func(r *dns.Msg, _ *dns.OPT) { r.Answer, r.Ns = []dns.RR{stray}, []dns.RR{stray} }, true},
		{"a name with an escape", func(r *dns.Msg, _ *dns.OPT) { r.Question[0].Name = `web\000.default.svc.cluster.local.` }, false},
	} {
		for _, question := range []string{"web.default.svc.cluster.local. SRV", "web.default.svc.cluster.local. TXT", "nobody.default.svc.cluster.local. A", "1.0.0.10.in-addr.arpa. PTR"} {
			r := dnstest.Question(question, 1232)
			c.change(r, r.IsEdns0())
			for _, network := range []string{"udp", "tcp"} {
				if octets := tw.compare(t, network, r); octets != c.octets {
					t.Errorf("%s, %s over %s: written as octets: %v, want %v", c.name, question, network, octets, c.octets)
				}
			}
		}
	}
}

// TestOctetsInOddZones: names that are long may leave no room for a SOA record whose names are not compressed, and those of a
// zone may have escapes where the question has none.
func TestOctetsInOddZones(t *testing.T) {
	r := rand.New(rand.NewPCG(95, 0))
	for _, zone := range []string{".", `a\.b.local`, strings.Repeat(strings.Repeat("z", 47)+".", 2), strings.Repeat(strings.Repeat("z", 44)+".", 4)} {
		tw := newTwins(t, newTestHeadlessFrom(t, "headless "+zone+" 10.in-addr.arpa {\nmanifests testdata/cluster.yaml\n}"))
		for _, question := range []string{
			"web.default.svc." + zone + " A", "web.default.svc." + zone + " SRV", "web.default.svc." + zone + " TXT", "nobody.default.svc." + zone + " A",
			strings.Repeat("n", 25) + ".x." + zone + " A", strings.Repeat(strings.Repeat("n", 60)+".", 2) + zone + " A",
			"1.0.0.10.in-addr.arpa. PTR", "1.0.0.10.in-addr.arpa. TXT", "9.9.9.10.in-addr.arpa. PTR",
		} {
			name, qtype, _ := strings.Cut(strings.Replace(question, "..", ".", 1), " ")
			if name = dns.Fqdn(name); !isName(name) {
				continue
			}
			for _, size := range []uint16{0, 512, 1232} {
				for _, network := range []string{"udp", "tcp"} {
					tw.compare(t, network, dnstest.Query(name, dns.StringToType[qtype], size))
					tw.compare(t, network, dnstest.Query(spelled(r, name), dns.StringToType[qtype], size))
				}
			}
		}
	}
}

// TestOctetsOfManyAtOnce: replies are made in memory that other replies have used, and none shows in another.
func TestOctetsOfManyAtOnce(t *testing.T) {
	t.Parallel()
	s := startServer(t, "cluster.local:0 10.in-addr.arpa:0 {\n"+bound+"errors\nprometheus 127.0.0.1:0\nheadless {\nmanifests testdata/cluster.yaml\n}\n}")
	questions := []string{
		"web.default.svc.cluster.local. A", "web.default.svc.cluster.local. AAAA", "web.default.svc.cluster.local. SRV",
		"_http._tcp.web.default.svc.cluster.local. SRV", "web-0.web.default.svc.cluster.local. A", "web-0.web.default.svc.cluster.local. SRV",
		"nobody.default.svc.cluster.local. A", "x.web.default.svc.cluster.local. SRV", "svc.cluster.local. A", "default.svc.cluster.local. TXT",
		"1.0.0.10.in-addr.arpa. PTR", "2.0.0.10.in-addr.arpa. PTR", "9.9.9.10.in-addr.arpa. PTR", "cluster.local. NS", "web.default.svc.cluster.local. ANY",
	}
	ask := func(conn *dnstest.Conn, question string, size uint16) (string, error) {
		reply, err := conn.Ask(dnstest.Question(question, size))
		if err != nil {
			return "", err
		}
		reply.Id = 0
		return normal(reply), nil
	}
	want := make(map[string]string)
	for _, question := range questions {
		text, err := ask(s.dial(t, "tcp"), question, 1232)
		fatal.If(t, err)
		want[question] = text
	}
	var asking sync.WaitGroup
	for i := range 16 {
		conn := s.dial(t, []string{"udp", "tcp"}[i%2])
		asking.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 0))
			for range 100 {
				question := questions[r.IntN(len(questions))]
				text, err := ask(conn, question, 1232)
				if err != nil || text != want[question] {
					t.Errorf("%s over %s: %v\n%s\nwant %s", question, conn.Network(), err, text, want[question])
					return
				}
			}
		})
	}
	asking.Wait()
}

// worldQuestions returns up to n questions "NAME TYPE" of each zone of h, for names that there are and names that are nearly those.
func worldQuestions(r *rand.Rand, h *Headless, n int) (questions []string) {
	for i := range h.authorities {
		a := &h.authorities[i]
		names := []string{a.zone, "svc." + a.zone, "nobody.svc." + a.zone, "x.y.z." + a.zone}
		if isReverse(a.zone) {
			for addr := range h.index.Freeze().Owned() {
				names = append(names, qname.Reverse(netip.PrefixFrom(addr, addr.BitLen())))
			}
		} else {
			for q := range h.indexOf(a).Freeze().Names(0) {
				name := q.FQDN(a.zone)
				if !isName("nobody." + name) {
					continue
				}
				names = append(names, name, modeltest.PickOne(r, []string{"nobody.", "_http._tcp.", "_tcp.", "_x._tcp.", "a._zone.", "_zone.", "x._prefer_zone."})+name)
			}
		}
		r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names[:min(n, len(names))] {
			if isName(name) {
				questions = append(questions, name+" "+modeltest.PickOne(r, []string{"A", "A", "AAAA", "SRV", "SRV", "PTR", "TXT", "ANY"}))
			}
		}
	}
	return questions
}

// TestWritersOfCoreDNSAreKnown: a new version of CoreDNS may have others, and then all replies go as records.
func TestWritersOfCoreDNSAreKnown(t *testing.T) {
	if markType == nil {
		t.Error("the writer that plugin.NextOrFailure makes has no field ResponseWriter any more, see markType")
	}
	h := newTestHeadless(t, "")
	seenSocket.Store(nil)
	conn := newWireServer(t, h).udp
	_, err := conn.Ask(dnstest.Query("web-0.web.default.svc.cluster.local.", dns.TypeA, 0))
	fatal.If(t, err)
	if seenSocket.Load() == nil {
		t.Error("the writer of dns.Server, or what the server of CoreDNS puts around it, is not what bare knows")
	}
}

// exchanger asks over a network, and returns the octets of the reply.
type exchanger func(t *testing.T, s *server, network string) []byte

// asks asks for a name.
func asks(name string, qtype uint16) exchanger {
	return func(t *testing.T, s *server, network string) []byte {
		return sent(t, s, network, dnstest.Query(name, qtype, 0))
	}
}

func sent(t *testing.T, s *server, network string, r *dns.Msg) []byte {
	t.Helper()
	packet, err := r.Pack()
	fatal.If(t, err)
	return exchanged(t, s, network, packet)
}

func exchanged(t *testing.T, s *server, network string, packet []byte) []byte {
	t.Helper()
	reply, err := s.dial(t, network).Exchange(packet)
	fatal.If(t, err)
	return reply
}

const tsigName, tsigSecret = "key.", "c2VjcmV0IG9mIGEgdGVzdA=="

// asksSigned asks for a name with a signature, and checks the one of the reply (RFC 8945).
func asksSigned(name string, qtype uint16) exchanger {
	return func(t *testing.T, s *server, network string) []byte {
		r := dnstest.Query(name, qtype, 0).SetTsig(tsigName, dns.HmacSHA256, 300, time.Now().Unix())
		packet, mac, err := dns.TsigGenerate(r, tsigSecret, "", false)
		fatal.If(t, err)
		reply := exchanged(t, s, network, packet)
		if err := dns.TsigVerify(slices.Clone(reply), tsigSecret, mac, false); err != nil {
			t.Errorf("over %s: the reply's signature: %v", network, err)
		}
		return reply
	}
}

// asksWith asks for a name with an option of EDNS, or with the flag DO if that is nil.
func asksWith(name string, qtype uint16, option dns.EDNS0) exchanger {
	return func(t *testing.T, s *server, network string) []byte {
		r := dnstest.Query(name, qtype, 4096)
		if option == nil {
			r.SetEdns0(4096, true)
		} else {
			r.IsEdns0().Option = []dns.EDNS0{option}
		}
		return sent(t, s, network, r)
	}
}

// signingKey writes the files of a key for cluster.local, and returns their name without its ending.
func signingKey(t *testing.T) string {
	t.Helper()
	key := &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: "cluster.local.", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600},
		Flags: dns.ZONE | dns.SEP, Protocol: 3, Algorithm: dns.ECDSAP256SHA256,
	}
	private, err := key.Generate(256)
	fatal.If(t, err)
	path := filepath.Join(t.TempDir(), "Kcluster.local.")
	filetest.Write(t, path+".key", key.String())
	filetest.Write(t, path+".private", key.PrivateKeyString(private))
	return path
}

// TestWhoWantsRecordsGetsThem: what stands between headless and the socket decides how a reply goes, and it is right either way.
func TestWhoWantsRecordsGetsThem(t *testing.T) {
	const (
		name, addr = "web-0.web.default.svc.cluster.local.", "10.0.0.1"
		searched   = name + "other.svc.cluster.local."
		six        = "six.other.svc.cluster.local."
	)
	fromHere := filetest.Temp(t, "here.yaml", `
{apiVersion: v1, kind: Namespace, metadata: {name: other}}
---
{apiVersion: v1, kind: Pod, metadata: {name: here, namespace: other}, status: {phase: Running, podIPs: [{ip: 127.0.0.1}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: six, namespace: other}, spec: {clusterIP: None}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: six, namespace: other, labels: {kubernetes.io/service-name: six}}
addressType: IPv6
endpoints: [{addresses: ["64:ff9b::c000:201"]}]
`)
	usual := asks(name, dns.TypeA)
	for _, c := range []struct {
		name, front string
		ask         exchanger
		want        []string
		octets      bool
	}{
		{"nothing", "", usual, []string{addr}, true},
		{"errors", "errors", usual, []string{addr}, true},
		{"errors and prometheus", "errors\nprometheus 127.0.0.1:0", usual, []string{addr}, true},
		{"metadata", "metadata", usual, []string{addr}, true},
		{"acl that lets it pass", "acl {\nallow net 127.0.0.0/8\n}", usual, []string{addr}, true},
		{"bufsize", "bufsize 1232", usual, []string{addr}, true},
		{"cancel", "cancel", usual, []string{addr}, true},
		{"rewrite of other names", "rewrite name exact other.example. web.default.svc.cluster.local.", usual, []string{addr}, true},
		{"rewrite", "rewrite name exact db.cluster.local. " + name + " answer auto", asks("db.cluster.local.", dns.TypeA), []string{addr}, false},
		{"log", "log", usual, []string{addr}, false},
		{"cache", "cache 30", usual, []string{addr}, false},
		{"loadbalance", "loadbalance", usual, []string{addr}, false},
		{"header", "header {\nresponse set ra\n}", usual, []string{addr}, false},
		{"minimal", "minimal", usual, []string{addr}, false},
		{"dnstap", "dnstap tcp://127.0.0.1:1", usual, []string{addr}, false},
		{"dns64 and an A record", "dns64 {\nallow_ipv4\n}", usual, []string{addr}, true}, // it leaves A alone
		{"dns64", "dns64 {\nallow_ipv4\n}", asks(name, dns.TypeAAAA), []string{"64:ff9b::a00:1"}, false},
		{"siit", "siit", asks(six, dns.TypeA), []string{"192.0.2.1"}, false},
		{"autopath", "autopath @headless", asks(searched, dns.TypeA), []string{addr, name}, false},
		{"autopath that is not needed", "autopath @headless", usual, []string{addr}, true},
		{"nsid that is not asked for", "nsid here", usual, []string{addr}, true},
		{"nsid", "nsid here", asksWith(name, dns.TypeA, new(dns.EDNS0_NSID)), []string{addr}, false},
		{"tsig that is not asked for", "tsig {\nsecret " + tsigName + " " + tsigSecret + "\n}", usual, []string{addr}, true},
		{"tsig", "tsig {\nsecret " + tsigName + " " + tsigSecret + "\n}", asksSigned(name, dns.TypeA), []string{addr}, false},
		{"dnssec that is not asked for", "dnssec {\nkey file " + signingKey(t) + "\n}", usual, []string{addr}, true},
		{"dnssec", "dnssec {\nkey file " + signingKey(t) + "\n}", asksWith(name, dns.TypeA, nil), []string{addr, "RRSIG"}, false},
		{"a client subnet", "errors", asksWith(name, dns.TypeA, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, Address: net.IPv4zero}), []string{addr}, false},
		{"shed", "shed", usual, []string{addr}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startServer(t, "cluster.local:0 {\n"+bound+c.front+"\nheadless {\nmanifests testdata/cluster.yaml "+fromHere+"\npods verified\n}\n}")
			for _, network := range []string{"udp", "tcp"} {
				reply := c.ask(t, s, network)
				m := new(dns.Msg)
				fatal.If(t, m.Unpack(reply))
				var got []string
				for _, rr := range m.Answer {
					if _, ok := rr.(*dns.RRSIG); ok {
						got = append(got, "RRSIG")
						continue
					}
					got = append(got, dnstest.Data([]dns.RR{rr})...)
				}
				slices.Sort(got)
				if m.Rcode != dns.RcodeSuccess || !m.Response || !slices.Equal(got, c.want) {
					t.Errorf("over %s: got %v, want %q", network, m, c.want)
				}
				// The records of a short message have their names in full.
				octets := bytes.Contains(reply, []byte{0xc0, headerSize, 0, byte(dns.TypeA)})
				if want := c.octets || c.name == "shed" && network == "tcp"; octets != want { // shed is for UDP
					t.Errorf("over %s: the reply was written as octets: %v, want %v\n%x", network, octets, want, reply)
				}
			}
		})
	}
}

// TestOctetsAndOtherTransports: over HTTP, gRPC and QUIC, CoreDNS unpacks what a plugin writes, so that it gets records. DNS over TLS
// is TCP to us; here it is without TLS, as the others are.
func TestOctetsAndOtherTransports(t *testing.T) {
	const name = "web-0.web.default.svc.cluster.local."
	query, err := dnstest.Query(name, dns.TypeA, 0).Pack()
	fatal.If(t, err)
	// post sends a body and returns that of the reply.
	post := func(t *testing.T, url, kind string, body []byte) []byte {
		t.Helper()
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(kind != "application/grpc")
		transport.Protocols.SetUnencryptedHTTP2(kind == "application/grpc")
		defer transport.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
		fatal.If(t, err)
		req.Header.Set("Content-Type", kind)
		req.Header.Set("Te", "trailers")
		resp, err := transport.RoundTrip(req)
		fatal.If(t, err)
		defer func() { _ = resp.Body.Close() }() // it has been read
		got, err := io.ReadAll(resp.Body)
		fatal.If(t, err)
		return got
	}
	for _, c := range []struct {
		transport string
		ask       func(t *testing.T, addr string) []byte
		octets    bool
	}{
		{"tls", func(t *testing.T, addr string) []byte {
			return exchanged(t, &server{tcp: addr}, "tcp", query)
		}, true},
		{"https", func(t *testing.T, addr string) []byte {
			return post(t, "http://"+addr+"/dns-query", "application/dns-message", query)
		}, false},
		{"grpc", func(t *testing.T, addr string) []byte {
			message := append([]byte{1<<3 | 2, byte(len(query))}, query...) // DnsPacket has the message as field 1
			message = append([]byte{0, 0, 0, 0, byte(len(message))}, message...)
			got := post(t, "http://"+addr+"/coredns.dns.DnsService/Query", "application/grpc", message)
			if len(got) < 7 || got[5] != 1<<3|2 {
				t.Fatalf("got %x, want a frame with a DnsPacket", got)
			}
			return got[7:]
		}, false},
	} {
		t.Run(c.transport, func(t *testing.T) {
			s := startServer(t, c.transport+"://cluster.local:0 {\n"+bound+"errors\nheadless {\nmanifests testdata/cluster.yaml\n}\n}")
			reply := c.ask(t, s.tcp)
			m := new(dns.Msg)
			fatal.If(t, m.Unpack(reply))
			if got := dnstest.Data(m.Answer); !slices.Equal(got, []string{"10.0.0.1"}) {
				t.Errorf("got %v", m)
			}
			if octets := bytes.Contains(reply, []byte{0xc0, headerSize, 0, byte(dns.TypeA)}); octets != c.octets {
				t.Errorf("the reply was written as octets: %v\n%x", octets, reply)
			}
		})
	}
	for _, w := range []dns.ResponseWriter{new(dnsserver.DoHWriter), new(dnsserver.DoQWriter)} {
		if _, ok := bare(request.NewScrubWriter(nil, w)); ok {
			t.Errorf("%T is taken for a socket", w)
		}
	}
}
