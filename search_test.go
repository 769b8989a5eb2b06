package headless

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/metrictest"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	recorder "github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/test"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// world is the whole server: what it says of names outside the zones. A name of which it says nothing does not exist.
type world struct {
	says  map[string]string // an IPv4 address, "" for a name without one, a response code, "lost" or "nobody"
	slow  time.Duration     // each takes
	mu    sync.Mutex        // guards asked
	asked []string
}

// theWorld has one web site, one domain of the nodes with a wildcard, and names at which something goes wrong.
func theWorld() *world {
	return &world{says: map[string]string{
		"www.example.com.": "192.0.2.80", "mail.example.com.": "",
		"*.wild.example.": "192.0.2.66", "printer.corp.example.": "192.0.2.9", "broken.corp.example.": "SERVFAIL", "broken.": "192.0.2.66",
		"refused.corp.example.": "REFUSED", "refused.": "192.0.2.66", "lost.corp.example.": "lost", "lost.": "192.0.2.66",
		"nobody.corp.example.": "nobody", "nobody.": "192.0.2.66", "a.b.c.d.e.": "192.0.2.5", "a.b.c.d.e.f.": "192.0.2.66",
	}}
}

// Lookup implements upstreamer.
func (o *world) Lookup(_ context.Context, _ request.Request, name string, qtype uint16) (*dns.Msg, error) {
	time.Sleep(o.slow)
	o.mu.Lock()
	o.asked = append(o.asked, name)
	o.mu.Unlock()
	says, ok := o.says[name]
	if _, domain, _ := strings.Cut(name, "."); !ok {
		says, ok = o.says["*."+domain]
	}
	m := new(dns.Msg)
	rcode, isRcode := dns.StringToRcode[says]
	switch {
	case !ok:
		m.Rcode = dns.RcodeNameError
	case says == "lost":
		return nil, errors.New("no answer in time")
	case says == "nobody":
		return nil, nil
	case isRcode:
		m.Rcode = rcode
	case says != "" && qtype == dns.TypeA:
		m.Answer = []dns.RR{test.A(name + " 60 IN A " + says)}
		return m, nil
	}
	m.Ns = []dns.RR{test.SOA(". 60 IN SOA ns.example. hostmaster.example. 1 2 3 4 5")}
	return m, nil
}

// searching returns a plugin with the option search, on a machine whose search list has one domain, and the world around it.
func searching(t *testing.T, options string) (*Headless, *world) {
	t.Helper()
	h, outside := newTestHeadless(t, "search\n"+options), theWorld()
	h.hostSearch, h.upstream = []string{"corp.example."}, outside
	return h, outside
}

// answered says what h answers to a client, as text: the response code and the RDATA, in order.
func answered(t *testing.T, h *Headless, client, question string) string {
	t.Helper()
	m, _ := askOver(t, h, clientFrom(client), question)
	text := dns.RcodeToString[m.Rcode]
	for _, rr := range m.Answer {
		text += " " + dnstest.Data([]dns.RR{rr})[0]
	}
	return text
}

const inDefault, inBlue = "10.0.0.1", "10.1.0.1" // endpoints, and so clients whose namespace is known

func TestSearch(t *testing.T) {
	const nothing = "NXDOMAIN"
	for _, c := range []struct {
		name, client, question string // $ stands for default.svc.cluster.local.
		want, asked            string
	}{
		{"a Service of another namespace", inDefault, "web.blue.$ A", "NOERROR web.blue.svc.cluster.local. 10.1.0.1", ""},
		{"its pod", inDefault, "web-0.web.blue.$ A", "NOERROR web-0.web.blue.svc.cluster.local. 10.1.0.1", ""},
		{"it has no IPv6 address", inDefault, "web.blue.$ AAAA", "NOERROR web.blue.svc.cluster.local.", ""},
		{"with svc", inDefault, "web.blue.svc.$ A", "NOERROR web.blue.svc.cluster.local. 10.1.0.1", ""},
		{"a full name", inDefault, "web.blue.svc.cluster.local.$ A", "NOERROR web.blue.svc.cluster.local. 10.1.0.1", "web.blue.svc.cluster.local.corp.example."},
		{"an ExternalName", inBlue, "ext.default.blue.svc.cluster.local. A", "NOERROR ext.default.svc.cluster.local. www.example.com. 192.0.2.80", "www.example.com."},
		{"a name outside", inDefault, "www.example.com.$ A", "NOERROR www.example.com. 192.0.2.80", "www.example.com.corp.example. www.example.com."},
		{"it has no IPv6 address either", inDefault, "www.example.com.$ AAAA", "NOERROR www.example.com.", "www.example.com.corp.example. www.example.com."},
		{"in any case", inDefault, "WWW.Example.com.Default.SVC.cluster.LOCAL. A", "NOERROR www.example.com. 192.0.2.80", "www.example.com.corp.example. www.example.com."},
		{"a name in the domain of the nodes", inDefault, "printer.$ A", "NOERROR printer.corp.example. 192.0.2.9", "printer.corp.example."},
		{"a name outside without addresses", inDefault, "mail.example.com.$ A", "NOERROR mail.example.com.", "mail.example.com.corp.example. mail.example.com."},
		{"a namespace's name, which exists", inDefault, "blue.$ A", "NOERROR blue.svc.cluster.local.", ""},
		{"nothing", inDefault, "nowhere.example.$ A", nothing, "nowhere.example.corp.example. nowhere.example."},
		{"four dots", inDefault, "a.b.c.d.e.$ A", "NOERROR a.b.c.d.e. 192.0.2.5", "a.b.c.d.e.corp.example. a.b.c.d.e."},
		{"five dots", inDefault, "a.b.c.d.e.f.$ A", nothing, ""},
		{"another type", inDefault, "www.example.com.$ TXT", nothing, ""},
		{"SRV", inDefault, "www.example.com.$ SRV", nothing, ""},
		{"ANY", inDefault, "www.example.com.$ ANY", nothing, ""},
		{"an escape", inDefault, `www\.example.com.$ A`, nothing, ""},
		{"the second step", inDefault, "www.example.com.svc.cluster.local. A", nothing, ""},
		{"the third step", inDefault, "www.example.com.cluster.local. A", nothing, ""},

		{"a step fails", inDefault, "broken.$ A", nothing, "broken.corp.example."},
		{"a step is refused", inDefault, "refused.$ A", nothing, "refused.corp.example."},
		{"a step has no answer in time", inDefault, "lost.$ A", nothing, "lost.corp.example."},
		{"nobody answers", inDefault, "nobody.$ AAAA", nothing, "nobody.corp.example."},

		{"a client that nobody knows", "10.0.0.99", "www.example.com.$ A", nothing, ""},
		{"one in another namespace", inBlue, "www.example.com.$ A", nothing, ""},
		{"a namespace that does not exist", inDefault, "www.example.com.nowhere.svc.cluster.local. A", nothing, ""},
		{"an IPv4-mapped address", "::ffff:" + inDefault, "printer.$ A", "NOERROR printer.corp.example. 192.0.2.9", "printer.corp.example."},
	} {
		h, outside := searching(t, "")
		if got := answered(t, h, c.client, strings.ReplaceAll(c.question, "$", "default.svc.cluster.local.")); got != c.want {
			t.Errorf("%s: %s: got %s, want %s", c.name, c.question, got, c.want)
		}
		if got := strings.Join(outside.asked, " "); got != c.asked {
			t.Errorf("%s: %s: the server was asked for %q, want %q", c.name, c.question, got, c.asked)
		}
	}
	h, outside := newTestHeadless(t, ""), theWorld()
	h.upstream = outside
	if got := answered(t, h, inDefault, "www.example.com.default.svc.cluster.local. A"); got != nothing || len(outside.asked) > 0 {
		t.Errorf("without the option: got %s, asked for %q", got, outside.asked)
	}
}

// TestFullNamesAreNotSearched: the domain of the nodes has a wildcard, and each of these names would become its address.
func TestFullNamesAreNotSearched(t *testing.T) {
	h, outside := searching(t, "hostnames serving")
	h.hostSearch = []string{"wild.example."}
	h.index.PutSlice(&model.Slice{Key: model.Key{Namespace: "default", Name: "orphan-1"}, Service: "orphaned"})
	for name, why := range map[string]string{
		"web-2.web":            "a pod that is not ready",
		"web-4.web":            "a pod that ends",
		"web-9.web":            "no such pod",
		"_gone._tcp.web":       "no such port",
		"_http._tcp.web-9.web": "a port of no such pod",
		"x.web-0.web":          "below a pod",
		"starting":             "a Service without ready endpoints",
		"starting-0.starting":  "its pod",
		"x.vip":                "below a ClusterIP",
		"x.ext":                "below an ExternalName",
		"number":               "an ExternalName that is none",
		"orphaned":             "a Service of which only slices are there",
	} {
		for _, qtype := range []string{" A", " AAAA"} {
			m, _ := askOver(t, h, clientFrom(inDefault), name+".default.svc.cluster.local."+qtype)
			if m.Rcode != dns.RcodeNameError && name != "starting" || len(m.Answer) > 0 || len(outside.asked) > 0 {
				t.Errorf("%s%s, %s: got %v, asked for %q", name, qtype, why, m, outside.asked)
			}
		}
	}
	if got := answered(t, h, inDefault, "www.default.svc.cluster.local. A"); got != "NOERROR www.wild.example. 192.0.2.66" {
		t.Errorf("a name that is no Service: got %s, want what the wildcard has, as the client would find", got)
	}
}

// TestSearchEnds: after eight names, and with those that are later than two seconds.
func TestSearchEnds(t *testing.T) {
	long := func(domains int) (list []string) {
		for i := range domains {
			list = append(list, fmt.Sprintf("d%d.example.", i))
		}
		return list
	}
	for _, c := range []struct {
		name    string
		domains int
		slow    time.Duration
		want    string
		asked   int
	}{
		{"after eight steps, of which two are here", 5, 0, "NOERROR www.example.com. 192.0.2.80", 6},
		{"before the ninth", 6, 0, "NXDOMAIN", 6},
		{"when two seconds are over", 5, 700 * time.Millisecond, "NXDOMAIN", 3},
	} {
		bubble.Test(t, func(t *testing.T) {
			h, outside := searching(t, "")
			h.hostSearch, outside.slow = long(c.domains), c.slow
			if got := answered(t, h, inDefault, "www.example.com.default.svc.cluster.local. A"); got != c.want || len(outside.asked) != c.asked {
				t.Errorf("%s: got %s, asked for %q, want %s and %d names", c.name, got, outside.asked, c.want, c.asked)
			}
		})
	}
	h, _ := searching(t, "")
	label := strings.Repeat("x", 60)
	name := strings.Join([]string{label, label, label, label[:55]}, ".")
	h.hostSearch = []string{strings.Repeat("z", 60) + ".example."}
	if list := h.searchList(name, "cluster.local."); len(list) != 2 {
		t.Errorf("got %q, want no name of more than 255 octets", list)
	}
}

// TestSearchListOfAPod: a server that is a Pod itself, with the cluster's own search list, does not take that for its node's.
func TestSearchListOfAPod(t *testing.T) {
	h, _ := searching(t, "")
	h.hostSearch = []string{"kube-system.svc.cluster.local.", "svc.cluster.local.", "cluster.local.", "corp.example."}
	want := []string{"db.svc.cluster.local.", "db.cluster.local.", "db.corp.example.", "db."}
	if got := h.searchList("db", "cluster.local."); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestWhoseSearchListItIs: which source says in which namespace a client is, and where they say different things.
func TestWhoseSearchListItIs(t *testing.T) {
	slice := func(namespace, service, addr string) *model.Slice {
		return &model.Slice{Key: model.Key{Namespace: namespace, Name: service + "-x"}, Service: service, Endpoints: []model.Endpoint{{Addr: netip.MustParseAddr(addr), State: model.NotReady}}}
	}
	onNode := modeltest.PodAt("default", "proxy", "10.7.0.1")
	onNode.Node, onNode.Host = "k", true
	for _, c := range []struct {
		name, client, options string
		prepare               func(*Headless)
		want                  string // the namespaces for which a search is made
	}{
		{"an endpoint that is not ready", "10.7.0.1", "", func(h *Headless) { h.index.PutSlice(slice("default", "a", "10.7.0.1")) }, "default"},
		{"an endpoint of two Services of a namespace", "10.7.0.1", "", func(h *Headless) {
			h.index.PutSlice(slice("default", "a", "10.7.0.1"))
			h.index.PutSlice(slice("default", "b", "10.7.0.1"))
		}, "default"},
		{"two namespaces claim the address", "10.7.0.1", "", func(h *Headless) {
			h.index.PutSlice(slice("default", "a", "10.7.0.1"))
			h.index.PutSlice(slice("blue", "b", "10.7.0.1"))
		}, ""},
		{"a Pod, which another namespace claims", "10.7.0.1", "pods verified", func(h *Headless) {
			h.pods.Put(modeltest.PodAt("default", "app", "10.7.0.1"))
			h.index.PutSlice(slice("blue", "b", "10.7.0.1"))
		}, "default"},
		{"a Pod in the network of its node, which is an endpoint", "10.7.0.1", "pods verified", func(h *Headless) {
			h.pods.Put(onNode)
			h.index.PutSlice(slice("default", "a", "10.7.0.1"))
		}, ""},
		{"the node itself", "10.7.0.1", "node k", func(h *Headless) {
			h.ownNode.Store(&model.Node{Key: model.Key{Name: "k"}, Addrs: []netip.Addr{netip.MustParseAddr("10.7.0.1")}})
			h.index.PutSlice(slice("default", "a", "10.7.0.1"))
		}, ""},
		{"an endpoint whose node the index knows", "10.7.0.1", "topology hints", func(h *Headless) {
			s := slice("default", "a", "10.7.0.1")
			s.Endpoints[0].Place = model.Place{Location: model.Location{Zone: "z", Node: "k"}}.Placed()
			h.index.PutSlice(s)
		}, "default"},
		{"a namespace that is not served", "10.7.0.1", "", func(h *Headless) { h.index.PutSlice(slice("hidden", "a", "10.7.0.1")) }, ""},
		{"a Pod of one", "10.7.0.1", "pods verified", func(h *Headless) { h.pods.Put(modeltest.PodAt("hidden", "app", "10.7.0.1")) }, ""},
	} {
		h, _ := searching(t, c.options)
		c.prepare(h)
		var got []string
		for _, namespace := range []string{"default", "blue", "hidden"} {
			if answered(t, h, c.client, "printer."+namespace+".svc.cluster.local. A") != "NXDOMAIN" {
				got = append(got, namespace)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got searches for %q, want %q", c.name, got, c.want)
		}
	}
}

// TestSearchHidesNamespaces: what is not served is not found either.
func TestSearchHidesNamespaces(t *testing.T) {
	h, outside := searching(t, "namespaces default")
	if got := answered(t, h, inDefault, "web.blue.default.svc.cluster.local. A"); got != "NXDOMAIN" {
		t.Errorf("got %s, asked for %q, want nothing of a namespace that is not served", got, outside.asked)
	}
}

// TestSearchIsForClients: a plugin that asks the server, for a CNAME's target say, means the name that it asks for.
func TestSearchIsForClients(t *testing.T) {
	h, _ := searching(t, "")
	rec := recorder.NewRecorder(clientFrom(inDefault))
	_, err := h.ServeDNS(context.WithValue(t.Context(), dnsserver.LoopKey{}, 1), rec, dnstest.Question("printer.default.svc.cluster.local. A", 0))
	if fatal.If(t, err); rec.Msg.Rcode != dns.RcodeNameError {
		t.Errorf("got %v, want that the name does not exist", rec.Msg)
	}
}

func TestRecordsOfSearches(t *testing.T) {
	h, _ := searching(t, "ttl 30\nnegative_ttl 3\nheadless_ttl 7\nclient_subnet 10.0.0.99")
	for _, c := range []struct {
		name, question string
		answer         []string
		soa            string // its owner
	}{
		{"the CNAME lives as long as a denial", "Web.blue.Default.svc.cluster.local. A", []string{"Web.blue.Default.svc.cluster.local. 3 IN CNAME web.blue.svc.cluster.local.", "web.blue.svc.cluster.local. 7 IN A 10.1.0.1"}, ""},
		{"without the type there is an SOA", "web.blue.default.svc.cluster.local. AAAA", []string{"web.blue.default.svc.cluster.local. 3 IN CNAME web.blue.svc.cluster.local."}, "cluster.local."},
		{"outside", "www.example.com.default.svc.cluster.local. A", []string{"www.example.com.default.svc.cluster.local. 3 IN CNAME www.example.com.", "www.example.com. 60 IN A 192.0.2.80"}, ""},
		{"outside without the type", "www.example.com.default.svc.cluster.local. AAAA", []string{"www.example.com.default.svc.cluster.local. 3 IN CNAME www.example.com."}, "."},
	} {
		m, _ := askOver(t, h, clientFrom(inDefault), c.question)
		if got, want := dnstest.Lines(m.Answer), dnstest.Lines(dnstest.Records(t, c.answer...)); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", c.name, got, want)
		}
		if c.soa == "" && len(m.Ns) > 0 || c.soa != "" && (len(m.Ns) != 1 || m.Ns[0].Header().Name != c.soa) {
			t.Errorf("%s: got the authority %v, want the SOA of %q", c.name, m.Ns, c.soa)
		}
	}
	for _, c := range []struct{ name, subnet, question, want string }{
		{"a client of this namespace", inDefault + "/32", "printer", inDefault + "/32/32"},
		{"of another", inBlue + "/32", "printer", inBlue + "/32/32"},
		{"a network, of which nobody knows where it is", "10.0.0.0/24", "printer", "10.0.0.0/24/24"},
		{"a name that is the same for all", inDefault + "/32", "web-9.web", inDefault + "/32/0"},
	} {
		m, _ := askOver(t, h, clientFrom("10.0.0.99"), c.question+".default.svc.cluster.local. A", withSubnet(c.subnet))
		if got := subnetOf(m); got != c.want {
			t.Errorf("%s: the reply is for %s, want %s", c.name, got, c.want)
		}
		if found, want := len(m.Answer) > 0, c.subnet == inDefault+"/32" && c.question == "printer"; found != want {
			t.Errorf("%s: got %v", c.name, m)
		}
	}
	answersFromItsSnapshot(t, h)
	m, _ := askOver(t, h, clientFrom(inDefault), "printer.default.svc.cluster.local. A")
	if got, want := dnstest.Lines(m.Answer), []string{"printer.corp.example. 5 IN A 192.0.2.9", "printer.default.svc.cluster.local. 0 IN CNAME printer.corp.example."}; !slices.Equal(got, want) {
		t.Errorf("from a snapshot: got %q, want %q", got, want)
	}
}

// TestSearchBehindFallthrough: where the next plugin answers for names of the zone, it is for it to say that there is none.
func TestSearchBehindFallthrough(t *testing.T) {
	h, _ := searching(t, "fallthrough\nclient_subnet 10.0.0.99")
	theirs := map[string]string{"theirs.default.svc.cluster.local.": "192.0.2.1"}
	h.Next = plugin.HandlerFunc(func(_ context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		m := new(dns.Msg).SetReply(r)
		if addr, ok := theirs[r.Question[0].Name]; ok {
			m.Answer = []dns.RR{test.A(r.Question[0].Name + " 60 IN A " + addr)}
		} else {
			m.Rcode = dns.RcodeNameError
		}
		return dns.RcodeSuccess, w.WriteMsg(m)
	})
	for question, want := range map[string]string{
		"theirs.default.svc.cluster.local. A":    "NOERROR 192.0.2.1",
		"printer.default.svc.cluster.local. A":   "NOERROR printer.corp.example. 192.0.2.9",
		"absent.default.svc.cluster.local. A":    "NXDOMAIN",
		"web-9.web.default.svc.cluster.local. A": "NXDOMAIN",
	} {
		if got := answered(t, h, inDefault, question); got != want {
			t.Errorf("%s: got %s, want %s", question, got, want)
		}
	}
	m, _ := askOver(t, h, clientFrom("10.0.0.99"), "printer.default.svc.cluster.local. A", withSubnet(inDefault+"/32"))
	if got, want := subnetOf(m), inDefault+"/32/32"; got != want || len(m.Answer) != 2 {
		t.Errorf("by a forwarder: got %v, want it for %s", m, want)
	}
}

func TestSearchesAreCounted(t *testing.T) { // not parallel: it counts
	h, _ := searching(t, "topology hints")
	chosen := func() (n float64) {
		for _, count := range metrictest.Values(t, "coredns_headless_topology_answers_total") {
			n += count
		}
		return n
	}
	choices := chosen()
	before, saved := metrictest.Values(t, "coredns_headless_searches_total"), metrictest.Values(t, "coredns_headless_search_steps_saved_total")[""]
	for _, c := range []struct{ client, name string }{
		{inDefault, "web.blue"},
		{inDefault, "www.example.com"},
		{inDefault, "absent"},
		{inDefault, "broken"},
		{"10.0.0.99", "www"},
		{inBlue, "www"},
		{inDefault, "web"},
		{inDefault, "web-9.web"},
	} {
		answered(t, h, c.client, c.name+".default.svc.cluster.local. A")
	}
	after := metrictest.Values(t, "coredns_headless_searches_total")
	got := make(map[string]float64)
	for outcome := range after {
		got[outcome] = after[outcome] - before[outcome]
	}
	if want := map[string]float64{"found": 2, "nothing": 1, "failed": 1, "unknown_client": 1}; !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	if got := metrictest.Values(t, "coredns_headless_search_steps_saved_total")[""] - saved; got != 1+4 {
		t.Errorf("%v steps were saved, want 1 and 4", got)
	}
	if got := chosen() - choices; got != 2 {
		t.Errorf("%v answers by topology were counted, want those of web.blue and of web", got)
	}
}

// TestOctetsOfSearches: what a search finds goes as records, and a denial as octets, as ever.
func TestOctetsOfSearches(t *testing.T) {
	h, _ := searching(t, "")
	h.index.PutSlice(&model.Slice{Key: model.Key{Namespace: "default", Name: "here"}, Service: "here", Endpoints: []model.Endpoint{{Addr: netip.MustParseAddr("127.0.0.1")}}})
	tw := newTwins(t, h)
	for name, want := range map[string]bool{"web.blue": false, "printer": false, "absent": true, "web-9.web": true, "web": true} {
		for _, network := range []string{"udp", "tcp"} {
			for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
				if got := tw.compare(t, network, dnstest.Query(name+".default.svc.cluster.local.", qtype, 1232)); got != want {
					t.Errorf("%s over %s: octets %v, want %v", name, network, got, want)
				}
			}
		}
	}
}

// TestSearchWhereNobodyResolves: what is in the cluster is found, and the rest of the list is the client's.
func TestSearchWhereNobodyResolves(t *testing.T) {
	here := filetest.Temp(t, "here.yaml", endpointHere)
	for _, zone := range []string{"cluster.local", "."} { // a server without the names outside, and one whose only plugin is this
		s := startServer(t, zone+":0 {\n"+bound+"headless cluster.local {\nmanifests testdata/cluster.yaml "+here+"\nsearch\n}\n}")
		for name, want := range map[string]int{"web.blue": dns.RcodeSuccess, "www.example.com": dns.RcodeNameError} {
			if m := s.ask(t, "udp", name+".default.svc.cluster.local. A", 0); m.Rcode != want || (len(m.Answer) > 0) != (want == dns.RcodeSuccess) {
				t.Errorf("%s in %s: got %v, want %s", name, zone, m, dns.RcodeToString[want])
			}
		}
	}
}

// endpointHere makes those who ask from here endpoints in namespace default.
const endpointHere = `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: c, namespace: default, labels: {kubernetes.io/service-name: client}},
addressType: IPv4, endpoints: [{addresses: [127.0.0.1]}]}
`

// TestSearchInAServer: other plugins in front of headless have their say on the names of the list, and autopath beside it does its
// work for the Pods that it knows, as without search.
func TestSearchInAServer(t *testing.T) {
	hosts := filetest.Temp(t, "hosts", "192.0.2.80 www.example.com\n192.0.2.9 web-9.web\n")
	pod := filetest.Temp(t, "pod.yaml", "{apiVersion: v1, kind: Pod, metadata: {name: client, namespace: default}, "+
		"status: {phase: Running, podIP: 127.0.0.1, podIPs: [{ip: 127.0.0.1}]}}\n")
	endpoint := filetest.Temp(t, "endpoint.yaml", endpointHere)
	const searched, full = "www.example.com.default.svc.cluster.local. ", "web-9.web.default.svc.cluster.local. "
	for _, c := range []struct {
		name, front, options string
		want, wantFull       []string
	}{
		{"neither", "", "pods verified", nil, nil},
		{"search, by a Pod", "", "pods verified\nsearch", []string{"192.0.2.80", "www.example.com."}, nil},
		{"search, by an endpoint", "", "search", []string{"192.0.2.80", "www.example.com."}, nil},
		{"autopath", "autopath @headless", "pods verified", []string{"192.0.2.80", "www.example.com."}, []string{"192.0.2.9", "web-9.web."}},
		{"both, by a Pod", "autopath @headless", "pods verified\nsearch", []string{"192.0.2.80", "www.example.com."}, []string{"192.0.2.9", "web-9.web."}},
		{"both, by an endpoint", "autopath @headless", "search", []string{"192.0.2.80", "www.example.com."}, nil},
		{"autopath, by an endpoint", "autopath @headless", "", nil, nil},
		{"search in front of cache", "cache 30", "search", []string{"192.0.2.80", "www.example.com."}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			objects := "testdata/cluster.yaml " + endpoint
			if strings.Contains(c.options, "verified") {
				objects = "testdata/cluster.yaml " + pod
			}
			s := startServer(t, ".:0 {\n"+bound+c.front+"\nhosts "+hosts+" {\nfallthrough cluster.local\n}\nheadless cluster.local {\nmanifests "+objects+"\n"+c.options+"\n}\n}")
			for range 2 { // also from a cache
				for question, want := range map[string][]string{searched: c.want, full: c.wantFull} {
					m := s.ask(t, "udp", question+"A", 1232)
					got := dnstest.Data(m.Answer)
					slices.Sort(got)
					if !slices.Equal(got, want) || (len(want) > 0) != (m.Rcode == dns.RcodeSuccess) {
						t.Errorf("%s: got %v, want %q", question, m, want)
					}
				}
			}
		})
	}
}
