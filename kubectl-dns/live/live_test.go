package live

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/insight"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
	"github.com/miekg/dns"
)

// shown is a server of insight.
type shown struct {
	*insight.Counter
	*index.Index
	at string
}

// serve starts one, of an index with the headless Service web in the namespace n.
func serve(t testing.TB) *shown {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &shown{insight.NewCounter(time.Now()), index.New(model.HostnamesReady, false, time.Minute), l.Addr().String()}
	modeltest.PutWeb(s.Index)
	of := insight.Serve(l, &insight.Subject{
		Counter: s.Counter, Index: s.Index,
		Status:  func() *insight.Status { return &insight.Status{State: "synced"} },
		Who:     func(addr netip.Addr) insight.Who { return insight.Who{Address: addr.String()} },
		Explain: func(name, _ string) (*insight.Explanation, error) { return &insight.Explanation{Name: name}, nil },
		Type:    func(qtype uint16) string { return dns.TypeToString[qtype] },
		Reason:  func(r index.Reason) (string, string) { return "meaning of " + r.String(), "fix" },
	})
	t.Cleanup(of.Close)
	return s
}

// asked asks servers at addresses.
func asked(t testing.TB, at ...string) *Top {
	t.Helper()
	r := &Reach{At: at, Service: DefaultService, Port: DefaultPort}
	servers, err := r.Servers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return Ask(t.Context(), servers)
}

// TestSumIsWithinItsBounds: of names and clients that servers do not all know, whose counts may be too great, and that are cut off.
func TestSumIsWithinItsBounds(t *testing.T) {
	servers := []*shown{serve(t), serve(t), serve(t)}
	names, clients := make(map[string]float64), make(map[string]float64)
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.05, 20, 20000)
	for range 100000 {
		n := zipf.Uint64()
		name, addr := fmt.Sprintf("x-%d.web.n.svc.cluster.local.", n), netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
		// Each server has names of its own that are asked for most of the time.
		servers[(n+uint64(random.IntN(5))/4)%3].CountDenial(name, dns.TypeA, index.ReasonHostname, addr, n%2 == 0)
		names[name]++
		clients[addr.String()]++
	}
	top := asked(t, servers[0].at, servers[1].at, servers[2].at)
	if len(top.Names) < mostLines || top.Unlisted.Names == 0 {
		t.Fatalf("got %d names, and %v times at most of others: want more than one server lists, and than it knows", len(top.Names), top.Unlisted.Names)
	}
	for _, cut := range []int{1 << 30, 100, 1} {
		top.Cut(cut)
		holds := func(what string, listed bool, truth, count, over, under float64) {
			const decay, digit = 0.98, 0.5 // the servers' clocks run
			if !listed && truth*decay > under+digit || listed && (truth*decay > count+under+digit || truth < (count-over)*decay-digit) {
				t.Errorf("%s, of the first %d: counted %v times, listed as %v -%v +%v", what, cut, truth, count, over, under)
			}
		}
		listed := make(map[string]bool)
		for _, n := range top.Names {
			listed[n.Name] = true
			holds(n.Name, true, names[n.Name], n.Count, n.Over, n.Under)
		}
		for _, c := range top.Clients {
			listed[c.Client.Address] = true
			holds(c.Client.Address, true, clients[c.Client.Address], c.Count, c.Over, c.Under)
		}
		for name, truth := range names {
			if !listed[name] {
				holds(name, false, truth, 0, 0, top.Unlisted.Names)
			}
		}
		for addr, truth := range clients {
			if !listed[addr] {
				holds(addr, false, truth, 0, 0, top.Unlisted.Clients)
			}
		}
	}
}

// TestSum: of a name that two servers know, and of what one of them does not.
func TestSum(t *testing.T) {
	who := func(address, pod string) insight.Who {
		return insight.Who{Address: address, Namespace: map[bool]string{true: "n"}[pod != ""], Pod: pod}
	}
	one := said{
		top: insight.Top{
			HalfLife: 300, Seconds: []insight.Second{{Answers: 10, Denials: 2}, {Answers: 99}}, Unlisted: insight.UnlistedCounts{Names: 1.5},
			Reasons: []insight.ReasonShown{{Reason: "service", Count: 3}},
			Names: []insight.NameShown{
				{Name: "a.", Reason: "service", Count: 3, Over: 1, Ago: 5, Type: "A", SearchStep: true, Clients: []insight.Who{who("10.0.0.1", "")}},
				{Name: "a.", Reason: "namespace", Count: 1, Ago: 90},
			},
			Clients: []insight.ClientShown{{Client: who("10.0.0.1", "web-0"), Count: 4, SearchSteps: 1, Ago: 5, Name: "a."}},
			Search:  []insight.ClientShown{{Client: who("10.0.0.1", "web-0"), Count: 4, SearchSteps: 1, Ago: 5, Name: "a."}},
		},
		services: insight.Services{Total: 8, Matching: 2, Services: []insight.ServiceLine{
			{Namespace: "m", Name: "c"},
			{Namespace: "n", Name: "b", NotReady: 1},
			{Namespace: "n", Name: "a", Ready: 1, Held: 1},
		}},
	}
	two := said{
		top: insight.Top{
			HalfLife: 300, Seconds: []insight.Second{{Failures: 4}, {}}, Unlisted: insight.UnlistedCounts{Names: .2},
			Reasons: []insight.ReasonShown{{Reason: "hostname", Count: 4}, {Reason: "service", Count: 2.5}},
			Names: []insight.NameShown{
				{Name: "a.", Reason: "service", Count: 2, Over: .5, Ago: 1, Type: "AAAA", Clients: []insight.Who{who("10.0.0.2", ""), who("10.0.0.1", "")}},
			},
			Clients: []insight.ClientShown{
				{Client: who("10.0.0.2", ""), Count: 20, SearchSteps: .5}, {Client: who("10.0.0.1", ""), Count: 9, Ago: 1, Name: "b."}, {Client: who("10.0.0.3", ""), Count: 1},
			},
		},
		services: insight.Services{Total: 7, Matching: 1, Services: []insight.ServiceLine{{Namespace: "n", Name: "b", NotReady: 1}}},
	}
	top := sum([]string{"one", "two", "gone"}, []said{one, two, {}}, []error{nil, nil, net.ErrClosed})
	if got, want := fmt.Sprintf("%+v", top.Names), "[{NameShown:{Name:a. Type:AAAA Reason:service Count:5 Over:1.5 SearchStep:true Ago:1 "+
		"Clients:[{Address:10.0.0.1 Namespace: Pod: Node: Zone:} {Address:10.0.0.2 Namespace: Pod: Node: Zone:}]} Under:0} "+
		"{NameShown:{Name:a. Type: Reason:namespace Count:1 Over:0 SearchStep:false Ago:90 Clients:[]} Under:0.2}]"; got != want {
		t.Errorf("got the names\n%s\nwant\n%s", got, want)
	}
	addresses := func(of []Client) string {
		var all []string
		for _, c := range of {
			all = append(all, c.Client.Address)
		}
		return strings.Join(all, " ")
	}
	if all, search := addresses(top.Clients), addresses(top.Search); all != "10.0.0.2 10.0.0.1 10.0.0.3" || search != "10.0.0.1 10.0.0.2" {
		t.Errorf("got the clients %s, and %s that search: want them by their counts, and these by their steps", all, search)
	}
	if got, want := fmt.Sprintf("%+v", top.Clients[1:2]), "[{ClientShown:{Client:{Address:10.0.0.1 Namespace:n Pod:web-0 Node: Zone:} Count:13 Over:0 SearchSteps:1 "+
		"Reason: Name:b. Ago:1} Under:0}]"; got != want {
		t.Errorf("got the clients\n%s\nwant\n%s", got, want)
	}
	if got := fmt.Sprintln(top.Rates, top.Reasons[0].Reason, top.Reasons[0].Count, top.Unlisted.Names, top.Headless, top.Troubled); got != "{10 2 4} service 5.5 1.7 8 2\n" {
		t.Errorf("got %s", got)
	}
	if got := fmt.Sprint(top.Services); got != "[{{m c false 0 0 0 0 } [one]} {{n a false 1 0 0 1 } [one]} {{n b false 0 1 0 0 } [one two]}]" {
		t.Errorf("got the Services %s", got)
	}
	if s := top.Servers; len(s) != 3 || s[0].Status == nil || s[2].Error != net.ErrClosed.Error() || s[2].Status != nil {
		t.Errorf("got the servers %+v, want an error of the last", s)
	}
}

// TestServersThatDoNotAnswer are named, with the reason, and the others are counted.
func TestServersThatDoNotAnswer(t *testing.T) {
	answering := func(status int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body)) // it is read
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil || dead.Close() != nil {
		t.Fatal(err)
	}
	live := serve(t)
	live.CountDenial("x.", dns.TypeA, index.ReasonService, netip.MustParseAddr("10.0.0.1"), false)
	top := asked(t, dead.Addr().String(), answering(404, "not here"), answering(503, `{"version":1,"error":"busy\u001b[2J"}`),
		answering(200, "<html>"), answering(200, `{"version":99}`), answering(200, `{}`), live.at)
	for i, want := range []string{
		"connection refused", "expected the interface of the option insight, got HTTP status 404", "busy?[2J",
		"expected JSON of the option insight", "use the kubectl-dns of the server's release", "got 0: use the kubectl-dns",
	} {
		if got := top.Servers[i].Error; !strings.Contains(got, want) || strings.Contains(got, "http://") {
			t.Errorf("got the error %q, want %s, without the URL", got, want)
		}
	}
	if s := top.Servers[6]; s.Error != "" || s.State != "synced" || len(top.Names) != 1 {
		t.Errorf("got %+v and %+v, want the name of the one that answers", s, top.Names)
	}
}

// TestReachIsChecked: what is no address, Service or port is told by the flag.
func TestReachIsChecked(t *testing.T) {
	for _, at := range []string{"", "http://", "https://h:1", "h:1/x", "http://u@h", "h:x", "::1", "http://h?x"} {
		r := &Reach{At: []string{at}, Service: DefaultService, Port: 1}
		if err := r.Check(); err == nil || !strings.HasPrefix(err.Error(), "--at: expected HOST[:PORT]") {
			t.Errorf("%q: got %v, want what is expected", at, err)
		}
	}
	for at, want := range map[string]string{"h": "h:6054", "[::1]:7": "[::1]:7", "http://127.0.0.1:8/": "127.0.0.1:8", "::1": ""} {
		r := &Reach{At: []string{at}, Service: DefaultService, Port: 1}
		if servers, err := r.Servers(t.Context()); (err == nil) != (want != "") || err == nil && servers[0].Name() != want {
			t.Errorf("%q: got %v and %v, want %s", at, servers, err, want)
		}
	}
	for service, port := range map[string]int{"kube-dns": 1, "a/b/c": 1, "/b": 1, "a/": 1, "a/b": 0, "b/a": 1 << 16} {
		if err := (&Reach{Service: service, Port: port}).Check(); err == nil || !slices.Contains([]string{"--service", "--port"}, strings.Split(err.Error(), ":")[0]) {
			t.Errorf("%s and %d: got %v, want an error that names the flag", service, port, err)
		}
	}
}

// TestBoundOfWhatIsNotListed: of a list that the limit may have cut, the last count, if that is more than the server says of others.
func TestBoundOfWhatIsNotListed(t *testing.T) {
	count := func(n float64) float64 { return n }
	whole := slices.Repeat([]float64{3}, mostLines)
	for _, row := range []struct {
		listed         []float64
		unlisted, want float64
	}{{nil, 2, 2}, {whole[1:], 2, 2}, {whole, 2, 3}, {whole, 4, 4}} {
		if got := bound(row.unlisted, row.listed, count); got != row.want {
			t.Errorf("%d listed and %v at most of others: got %v, want %v", len(row.listed), row.unlisted, got, row.want)
		}
	}
}

// TestCutKeepsTheBound: of what is cut off, the second may lack more than the first.
func TestCutKeepsTheBound(t *testing.T) {
	name := func(count, under float64) Name {
		return Name{NameShown: insight.NameShown{Count: count}, Under: under}
	}
	client := func(count, under float64) Client {
		return Client{ClientShown: insight.ClientShown{Count: count}, Under: under}
	}
	top := &Top{
		Names: []Name{name(9, 0), name(5, 0), name(4, 3)}, Clients: []Client{client(9, 0), client(6, 0), client(4, 4), client(1, 4)},
		Unlisted: insight.UnlistedCounts{Names: 3, Clients: 4},
	}
	top.Cut(1)
	if len(top.Names) != 1 || len(top.Clients) != 1 || top.Unlisted.Names != 7 || top.Unlisted.Clients != 8 {
		t.Errorf("got %+v, want one of each, and of others at most 7 and 8", top)
	}
}

// TestRedirectsAreNotFollowed: they may lead to what only this machine reaches.
func TestRedirectsAreNotFollowed(t *testing.T) {
	elsewhere := serve(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+elsewhere.at+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	}))
	t.Cleanup(s.Close)
	if got := asked(t, s.URL).Servers[0].Error; !strings.Contains(got, "got HTTP status 307") {
		t.Errorf("got the error %q, want its status", got)
	}
}

// TestServerThatIsGivenTwiceCountsOnce.
func TestServerThatIsGivenTwiceCountsOnce(t *testing.T) {
	s := serve(t)
	if top := asked(t, s.at, "http://"+s.at+"/"); len(top.Servers) != 1 {
		t.Errorf("got %+v, want one server", top.Servers)
	}
}

// TestNumbersAreChecked: a server with one that cannot be is not counted, and what the others say can be written.
func TestNumbersAreChecked(t *testing.T) {
	sound := serve(t)
	for _, body := range []string{
		`{"version":1,"names":[{"name":"a.","reason":"x","count":1e308}]}`, `{"version":1,"names":[{"over":-1}]}`,
		`{"version":1,"clients":[{"count":1e308}]}`, `{"version":1,"search":[{"search_steps":1e308}]}`, `{"version":1,"reasons":[{"count":-0.1}]}`,
		`{"version":1,"names":[{"seconds_ago":-1e300}]}`, `{"version":1,"half_life_seconds":1e308}`, `{"version":1,"unlisted":{"clients":1e308}}`,
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			reply := `{"version":1}`
			if r.URL.Path == "/v1/top" {
				reply = body
			}
			_, _ = io.WriteString(w, reply) // it is read
		}))
		t.Cleanup(s.Close)
		top := asked(t, s.URL, sound.at)
		if got := top.Servers[0].Error; !strings.HasPrefix(got, "expected numbers from 0 to 1000000000000, got ") {
			t.Errorf("%s: got the error %q, want that it has a number that cannot be", body, got)
		}
		if text, err := json.Marshal(top); err != nil || top.HalfLife != 300 {
			t.Errorf("%s: got %s and %v, want what the other one says", body, text, err)
		}
	}
}

// TestDeadlineIsToldAsATime: not as that of a context.
func TestDeadlineIsToldAsATime(t *testing.T) {
	for _, err := range []error{context.DeadlineExceeded, &url.Error{Err: fmt.Errorf("dial: %w", context.DeadlineExceeded)}} {
		if got := unquoted(err).Error(); got != "no answer within 5s" {
			t.Errorf("%v: got %q, want how long nobody answered", err, got)
		}
	}
}

// TestKnown: what says more of a client is kept, whichever server it is from.
func TestKnown(t *testing.T) {
	address := insight.Who{Address: "10.0.0.1"}
	namespace, pod := address, address
	namespace.Namespace = "n"
	pod.Namespace, pod.Pod = "n", "web-0"
	for _, row := range []struct{ a, b, want insight.Who }{
		{address, namespace, namespace}, {namespace, address, namespace}, {namespace, pod, pod}, {pod, namespace, pod}, {pod, address, pod},
	} {
		if got := known(row.a, row.b); got != row.want {
			t.Errorf("%+v and %+v: got %+v, want %+v", row.a, row.b, got, row.want)
		}
	}
}
