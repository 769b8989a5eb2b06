package insight

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/modeltest"
)

// served is a server of an index.
type served struct {
	*Server
	index *index.Index
	addr  string
}

// serve returns a server of an index that has the headless Service web in the namespace n. It is closed with the test.
func serve(t *testing.T) *served {
	t.Helper()
	x := index.New(model.HostnamesReady, false, time.Minute)
	modeltest.PutWeb(x)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(l, &Subject{
		Counter: NewCounter(time.Now()), Index: x,
		Status: func() *Status {
			return &Status{State: "synced", Zones: []string{}, Options: []string{}, Resources: []Resource{}}
		},
		Who: func(addr netip.Addr) Who { return Who{Address: addr.String()} },
		Explain: func(name, _ string) (*Explanation, error) {
			return nil, errors.New("name: expected another one, got " + name)
		},
		Type:   func(uint16) string { return "A" },
		Reason: func(r index.Reason) (string, string) { return "meaning of " + r.String(), "fix" },
	})
	t.Cleanup(s.Close)
	return &served{s, x, l.Addr().String()}
}

// put makes the endpoints of a Service these, by their states.
func (s *served) put(service string, states ...model.State) {
	spec := &model.Slice{Key: model.Key{Namespace: "n", Name: service}, Service: service}
	for i, state := range states {
		spec.Endpoints = append(spec.Endpoints, model.Endpoint{
			Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Name: fmt.Sprint(service, "-", i), State: state,
		})
	}
	s.index.PutSlice(spec)
}

// get returns the reply to a request for a path.
func (s *served) get(t *testing.T, path string, edit ...func(*http.Request)) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edit {
		e(r)
	}
	reply, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reply.Body.Close() }() // it was read
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply, string(body)
}

func TestRequests(t *testing.T) {
	s := serve(t)
	s.put("web", model.Ready, model.NotReady)
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	host := func(host string) func(*http.Request) { return func(r *http.Request) { r.Host = host } }
	method := func(method string) func(*http.Request) { return func(r *http.Request) { r.Method = method } }
	for _, c := range []struct {
		path   string
		edit   func(*http.Request)
		status int
		body   string // in the reply
	}{
		{"/", nil, 200, "<!doctype html"},
		{"/v1/openapi.json", nil, 200, `"openapi"`},
		{"/v1/status", nil, 200, `"headless":1`},
		{"/v1/top", nil, 200, `"names":[]`},
		{"/v1/top?limit=1", nil, 200, `"half_life_seconds":300`},
		{"/v1/services", nil, 200, `"total":1,"matching":1,"services":[{"namespace":"n","name":"web","gone":false,"ready":1,"not_ready":1,"terminating":0,"held":0,"dots":"rn"}]`},
		{"/v1/services?filter=WEB.n", nil, 200, `"total":1,"matching":1`},
		{"/v1/services?filter=n/w", nil, 200, `"total":1,"matching":1`},
		{"/v1/services?filter=x", nil, 200, `"total":1,"matching":0,"services":[]`},
		{"/v1/services?trouble=true", nil, 200, `"matching":1`},
		{"/v1/service?namespace=n&name=web", nil, 200, `"endpoints":[{"address":"10.0.0.0","state":"ready","names":["web-0"]`},

		{"/v1/top?limit=0", nil, 400, `limit: expected a whole number from 1 to 1000, got \"0\"`},
		{"/v1/top?limit=many", nil, 400, `limit: expected a whole number from 1 to 1000, got \"many\"`},
		{"/v1/top?limit=1&limit=2", nil, 400, "limit: expected it once, got it 2 times"},
		{"/v1/top?x=1", nil, 400, `unknown parameter \"x\", expected one of limit`},
		{"/v1/status?x", nil, 400, `unknown parameter \"x\", expected none`},
		{"/v1/status?a=%zz", nil, 400, "expected parameters as in name=value"},
		{"/v1/services?trouble=yes", nil, 400, `trouble: expected true or false, got \"yes\"`},
		{"/v1/services?filter=" + strings.Repeat("x", 400), nil, 400, "filter: expected at most 320 octets, got 400"},
		{"/v1/service?name=web", nil, 400, "expected a namespace and a name"},
		{"/v1/service?namespace=n&name=" + strings.Repeat("y", 400), nil, 404, `yyy…\" in namespace \"n\" that is served here`},
		{"/v1/explain?name=%3Cb%3E", nil, 400, `name: expected another one, got \u003cb\u003e`},
		{"/v1/changes?name=web", nil, 400, "expected a namespace and a name, or neither"},
		{"/v1/changes?x=web", nil, 400, `unknown parameter \"x\"`},
		{"/v2/top", nil, 404, "there is no such page"},

		{"/", host("localhost:6054"), 200, ""},
		{"/", host("LOCALHOST"), 200, ""},
		{"/", host("[::1]:6054"), 200, ""},
		{"/", host("::1"), 200, ""},
		{"/", host("10.0.0.1"), 200, ""},
		{"/", host("rebound.example.com:6054"), 421, "expected an address or localhost as Host"},
		{"/", host("127.0.0.1.example.com"), 421, "expected an address or localhost as Host"},
		{"/v1/top", host("rebound.example.com"), 421, "expected an address or localhost as Host"},
		{"/v1/top", header("Sec-Fetch-Site", "cross-site"), 403, "a page of another server asks"},
		{"/v1/top", header("Sec-Fetch-Site", "same-site"), 403, "a page of another server asks"},
		{"/v1/top", header("Sec-Fetch-Site", "same-origin"), 200, ""},
		{"/", func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", "cross-site") // somebody follows a link
			r.Header.Set("Sec-Fetch-Mode", "navigate")
		}, 200, ""},
		{"/v1/top", method(http.MethodPost), 405, `expected GET or HEAD, got \"POST\"`},
		{"/v1/top", method(http.MethodOptions), 405, "nothing can be changed here"},
		{"/v1/changes", method(http.MethodHead), 200, ""},
	} {
		if c.edit == nil {
			c.edit = func(*http.Request) {}
		}
		reply, body := s.get(t, c.path, c.edit)
		if reply.StatusCode != c.status || !strings.Contains(body, c.body) {
			t.Errorf("%s: got %d %.300s, want %d with %s", c.path, reply.StatusCode, body, c.status, c.body)
		}
		if c.status != http.StatusOK {
			failure := new(Failure)
			if err := json.Unmarshal([]byte(body), failure); err != nil || failure.Version != Version || failure.Error == "" {
				t.Errorf("%s: got %s, want JSON with a version and an error", c.path, body)
			}
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin",
			"Access-Control-Allow-Origin": "",
		} {
			if got := reply.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", c.path, name, got, want)
			}
		}
		if got := reply.Header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none'") || strings.Contains(got, "unsafe") {
			t.Errorf("%s: the policy is %q, want default-src 'none' and nothing unsafe", c.path, got)
		}
	}
}

// TestTopShowsWhatIsCounted: what a query leaves behind is shown.
func TestTopShowsWhatIsCounted(t *testing.T) {
	s := serve(t)
	s.Counter.CountDenial("web-3.web.n.svc.cluster.local.", 1, index.ReasonHostname, clientAt(7), false)
	s.Counter.CountDenial("example.com.cluster.local.", 1, index.ReasonSyntax, clientAt(7), true)
	s.Counter.Tick(time.Now())
	_, body := s.get(t, "/v1/top")
	top := new(Top)
	if err := json.Unmarshal([]byte(body), top); err != nil {
		t.Fatal(err)
	}
	if len(top.Names) != 2 || top.Names[1].Name != "web-3.web.n.svc.cluster.local." || top.Names[1].Clients[0].Address != clientAt(7).String() ||
		!top.Names[0].SearchStep || len(top.Reasons) != 2 || top.Reasons[0].Fix != "fix" || len(top.Search) != 1 || top.Search[0].SearchSteps < 0.9 {
		t.Errorf("got %s", body)
	}
}

// events reads a stream.
type events struct {
	reply *http.Response
	lines *bufio.Scanner
}

func (s *served) stream(t *testing.T, path string) *events {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reply.Body.Close() }) // it may be closed before
	e := &events{reply, bufio.NewScanner(reply.Body)}
	e.lines.Buffer(nil, 1<<20)
	if reply.StatusCode == http.StatusOK && (!e.lines.Scan() || e.lines.Text() != "retry: 1000") {
		t.Fatalf("%s: the stream begins with %q", path, e.lines.Text())
	}
	return e
}

// next returns the next event, and its data, or nothing when the stream is over.
func (e *events) next() (event, data string) {
	for e.lines.Scan() {
		line := e.lines.Text()
		if rest, ok := strings.CutPrefix(line, "event: "); ok {
			event = rest
		} else if rest, ok := strings.CutPrefix(line, "data: "); ok {
			return event, rest
		}
	}
	return "", ""
}

func TestStreamOfChanges(t *testing.T) {
	s := serve(t)
	s.index.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: "db"}, Kind: model.Headless})
	all, one := s.stream(t, "/v1/changes"), s.stream(t, "/v1/changes?namespace=n&name=db")
	expect := func(e *events, service, dots string, gone bool) {
		t.Helper()
		for { // events of other changes may come before it
			event, data := e.next()
			changed := new(Changes)
			if err := json.Unmarshal([]byte(data), changed); err != nil || event != "services" {
				t.Fatalf("got the event %q with %q: %v", event, data, err)
			}
			for _, line := range changed.Services {
				if e == one && line.Name != "db" {
					t.Errorf("the stream of db tells of %+v", line)
				}
				if line.Name == service && line.Dots == dots && line.Gone == gone {
					return
				}
			}
		}
	}
	s.put("web", model.Ready)
	expect(all, "web", "r", false)
	s.put("web", model.Ready, model.NotReady)
	expect(all, "web", "rn", false)
	s.put("db", model.Serving)
	expect(all, "db", "t", false)
	expect(one, "db", "t", false)
	s.index.DropService(model.Key{Namespace: "n", Name: "db"})
	expect(all, "db", "", true)
	expect(one, "db", "", true)
	for n := range maxChanges + 1 {
		s.index.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: fmt.Sprint("many-", n)}, Kind: model.Headless})
	}
	for e := range map[*events]bool{all: true} {
		event, _ := e.next()
		for event == "services" { // of the first of them
			event, _ = e.next()
		}
		if event != "reload" {
			t.Errorf("after many changes: got %q, want reload", event)
		}
	}
	s.Close()
	for event := "services"; event != ""; {
		event, _ = one.next() // else the test does not end
	}
}

func TestStreamsAreBounded(t *testing.T) {
	s := serve(t)
	var open []*events
	for range maxStreams {
		open = append(open, s.stream(t, "/v1/changes"))
	}
	if refused := s.stream(t, "/v1/changes"); refused.reply.StatusCode != http.StatusServiceUnavailable || refused.reply.Header.Get("Retry-After") == "" {
		t.Errorf("one stream more: got %s, want to be told to come back", refused.reply.Status)
	}
	if reply, _ := s.get(t, "/v1/status"); reply.StatusCode != http.StatusOK {
		t.Errorf("while all streams are taken the status is %s", reply.Status)
	}
	for _, e := range open {
		_ = e.reply.Body.Close() // what is left of it is not wanted
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s.streams.mu.Lock()
		left, watch := len(s.streams.all), s.streams.watch
		s.streams.mu.Unlock()
		if left == 0 && watch == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d streams are left though all clients are gone, and the watch is %v", left, watch)
		}
	}
	s.stream(t, "/v1/changes")
}

// TestSlowReadersAreDropped, and nobody waits for them.
func TestSlowReadersAreDropped(t *testing.T) {
	x := index.New(model.HostnamesReady, false, 0)
	modeltest.PutWeb(x)
	var all streams
	slow, quick := all.add(x, model.Key{}), all.add(x, model.Key{})
	for n := range maxEvents + 1 {
		x.PutService(&model.Service{Key: model.Key{Namespace: "n", Name: fmt.Sprint(n)}, Kind: model.Headless})
		all.send(x)
		if _, isOpen := <-quick.events; !isOpen {
			t.Fatal("who reads is dropped")
		}
	}
	for range maxEvents {
		<-slow.events
	}
	if _, isOpen := <-slow.events; isOpen || all.all[slow] || !all.all[quick] {
		t.Errorf("who does not read is still there")
	}
	all.remove(slow) // as its handler does
	all.remove(quick)
	if all.watch != nil {
		t.Error("the watch is still there, and nobody reads")
	}
}

func TestRequestsWaitForTheirTurn(t *testing.T) {
	s := serve(t)
	for range maxRequests {
		s.slots <- struct{}{}
	}
	reply, body := s.get(t, "/v1/status")
	if reply.StatusCode != http.StatusServiceUnavailable || reply.Header.Get("Retry-After") == "" || !strings.Contains(body, "busy") {
		t.Errorf("got %s %s, want to be told to come back", reply.Status, body)
	}
	<-s.slots
	if reply, _ := s.get(t, "/v1/status"); reply.StatusCode != http.StatusOK {
		t.Errorf("got %s when it is its turn", reply.Status)
	}
}

// TestSummaryOfAStatus: in some words, of a state too that a server of another release may say.
func TestSummaryOfAStatus(t *testing.T) {
	seconds := 7.2
	for _, row := range []struct {
		Status
		want string
	}{
		{Status{State: "synced"}, "in sync"},
		{Status{State: "synced", Staleness: &seconds, Holds: Holds{Now: 1}}, "in sync, last heard of the API server 7 s ago, holds 1 endpoint"},
		{Status{State: "waiting", Staleness: &seconds, Failing: &seconds}, "answers SERVFAIL, until the API server has been listed, but not all of the cluster could be watched for 7 s"},
		{Status{State: "asleep"}, `in the state "asleep"`},
	} {
		if got := row.Summary(); got != row.want {
			t.Errorf("%+v: got %q, want %q", row.Status, got, row.want)
		}
	}
}
