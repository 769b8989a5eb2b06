package insight

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/model"
	"github.com/coredns-headless/headless/internal/output"
)

// Subject is what a Server shows. Its functions are called at any time, several at once.
type Subject struct {
	Counter *Counter
	Index   *index.Index
	Status  func() *Status
	Who     func(addr netip.Addr) Who
	Explain func(name, qtype string) (*Explanation, error) // the error says what was expected
	Type    func(qtype uint16) string
	Reason  func(r index.Reason) (meaning, fix string)
}

// Server shows a Subject by HTTP. It only reads, and answers only requests whose Host is an address or localhost: so no
// page of another server can ask it by a name of its own (DNS rebinding).
type Server struct {
	Subject
	http    http.Server
	addr    string
	started time.Time
	ctx     context.Context // ends with Close, and each request's with it
	cancel  context.CancelFunc
	running sync.WaitGroup // what serves, and each connection
	slots   chan struct{}  // of requests
	streams streams

	connections atomic.Int32
}

const (
	maxConnections = 128 // more are closed at once
	maxRequests    = 8   // that are worked on at once, besides streams
	patience       = 2 * time.Second
	readTime       = 5 * time.Second  // for a request, with what follows its header
	writeTime      = 10 * time.Second // for a reply
	maxLines       = 1000             // of any list
	maxFilter      = 320              // octets: a Service and a Namespace
	maxQuoted      = 80               // octets of what somebody sent, in an error
)

// Serve serves the subject to whoever connects to l, until the server is closed.
func Serve(l net.Listener, of *Subject) *Server {
	s := &Server{
		Subject: *of, addr: l.Addr().String(), started: time.Now(), slots: make(chan struct{}, maxRequests),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.http = http.Server{
		Handler: s.handler(), ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: time.Minute,
		MaxHeaderBytes: 8 << 10, ConnState: s.connected,
		BaseContext: func(net.Listener) context.Context { return s.ctx },
	}
	s.running.Go(func() { _ = s.http.Serve(l) }) // it fails when it is closed
	s.running.Go(s.tick)
	return s
}

// Addr returns the address that s has.
func (s *Server) Addr() string { return s.addr }

// connected counts connections, and closes those that are too many. http.Server.Serve calls it with a new one before it
// accepts another or returns, so that nobody waits for running at that time, and last when all handlers have returned.
func (s *Server) connected(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.running.Add(1)
		if s.connections.Add(1) > maxConnections {
			_ = c.Close() // reading it will fail
		}
	case http.StateClosed:
		s.connections.Add(-1)
		s.running.Done()
	}
}

// Close ends all streams and connections, frees the address, and returns when nothing of s runs any more.
func (s *Server) Close() {
	s.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // what is still there does not read
	}
	s.running.Wait()
}

// tick tells the counter what the time is, and the streams what has changed.
func (s *Server) tick() {
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	last := s.started
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-ticker.C:
			if now.Sub(last) >= time.Second {
				s.Counter.Tick(now)
				last = now
			}
			s.streams.send(s.Index)
		}
	}
}

// route is what a path shows. Its parameters are all that the query of a request may have.
type route struct {
	path       string
	parameters []string
	show       func(s *Server, q url.Values) (any, error)
}

var routes = []route{
	{"/v1/status", nil, func(s *Server, _ url.Values) (any, error) { return s.status(), nil }},
	{"/v1/top", []string{"limit"}, (*Server).top},
	{"/v1/services", []string{"filter", "trouble", "limit"}, (*Server).services},
	{"/v1/service", []string{"namespace", "name"}, (*Server).service},
	{"/v1/explain", []string{"name", "type"}, func(s *Server, q url.Values) (any, error) {
		return s.explain(q.Get("name"), q.Get("type"))
	}},
}

// streamParameters are those of the stream of changes.
var streamParameters = []string{"namespace", "name"}

//go:embed openapi.json
var description []byte

//go:embed page.html
var page []byte

// policy is the Content-Security-Policy of the page: its own script and style, and requests to this server.
var policy = fmt.Sprintf("default-src 'none'; script-src %s; style-src %s; connect-src 'self'; img-src data:; base-uri 'none'; "+
	"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
	hashOf("script"), hashOf("style"))

// hashOf returns what allows the one element of the page with a name.
func hashOf(element string) string {
	content := regexp.MustCompile(`(?s)<` + element + `>(.*)</` + element + `>`).FindSubmatch(page)
	sum := sha256.Sum256(content[1])
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// handler returns what answers requests.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range routes {
		mux.HandleFunc(r.path, func(w http.ResponseWriter, req *http.Request) {
			q, err := parameters(req, r.parameters)
			if err != nil {
				fail(w, err)
				return
			}
			if !s.enter(req.Context()) {
				w.Header().Set("Retry-After", "1")
				fail(w, refusal(http.StatusServiceUnavailable, "busy with other requests, ask again"))
				return
			}
			status, text := replyOf(r.show(s, q))
			s.leave() // before it is written, for who reads slowly may not keep others waiting
			write(w, status, text)
		})
	}
	mux.HandleFunc("/v1/changes", s.changes)
	mux.HandleFunc("/v1/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(description) // it fails when the client is gone
	})
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", policy)
		_, _ = w.Write(page) // as above
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fail(w, refusal(http.StatusNotFound, "there is no such page; /v1/openapi.json describes those that there are"))
	})
	return guard(mux)
}

// guard refuses requests that only a page of another server would make, or that want to change something.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'",
			"X-Content-Type-Options":       "nosniff",
			"X-Frame-Options":              "DENY",
			"Referrer-Policy":              "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cache-Control":                "no-store",
		} {
			w.Header().Set(name, value)
		}
		site, mode := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Sec-Fetch-Mode")
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			fail(w, refusal(http.StatusMethodNotAllowed, "expected GET or HEAD, got %q: nothing can be changed here", r.Method))
		case !isAllowed(r.Host):
			fail(w, refusal(http.StatusMisdirectedRequest, "expected an address or localhost as Host, got %q", r.Host))
		case (site == "cross-site" || site == "same-site") && mode != "navigate":
			fail(w, refusal(http.StatusForbidden, "a page of another server asks"))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// isAllowed reports whether host, perhaps with a port, is an address or localhost.
func isAllowed(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || strings.EqualFold(host, "localhost")
}

// enter waits for its turn, but not for long. Who has got it has to leave.
func (s *Server) enter(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *Server) leave() { <-s.slots }

// requestError is why a request fails, with the status of the reply.
type requestError struct {
	status int
	text   string
}

func (e *requestError) Error() string { return e.text }

// refusal returns a requestError, whose text has the first octets of what somebody sent.
func refusal(status int, format string, sent ...string) *requestError {
	var parts []any
	for _, text := range sent {
		parts = append(parts, output.Shorten(text, maxQuoted))
	}
	return &requestError{status, fmt.Sprintf(format, parts...)}
}

// parameters returns those of a request, each of which has to be known, and may stand once.
func parameters(r *http.Request, known []string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("expected parameters as in name=value&name=value: %w", err)
	}
	for name, values := range q {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown parameter %q, expected %s", output.Shorten(name, maxQuoted), oneOf(known))
		}
		if len(values) > 1 {
			return nil, fmt.Errorf("%s: expected it once, got it %d times", name, len(values))
		}
	}
	return q, nil
}

// oneOf returns known as text.
func oneOf(known []string) string {
	if len(known) == 0 {
		return "none"
	}
	return "one of " + strings.Join(known, ", ")
}

// number returns a parameter that is a whole number from 1 to maxLines, or what stands for it if it is not given.
func number(q url.Values, name string, otherwise int) (int, error) {
	if !q.Has(name) {
		return otherwise, nil
	}
	n, err := strconv.Atoi(q.Get(name))
	if err != nil || n < 1 || n > maxLines {
		return 0, fmt.Errorf("%s: expected a whole number from 1 to %d, got %q", name, maxLines, output.Shorten(q.Get(name), maxQuoted))
	}
	return n, nil
}

// replyOf returns the reply to a request: a value, or an error, in which case the value does not matter. An error that is
// no requestError says what is wrong with the request.
func replyOf(value any, failed error) (status int, text []byte) {
	status = http.StatusOK
	if failed != nil {
		status, value = http.StatusBadRequest, &Failure{Version: Version, Error: failed.Error()}
		if known := (*requestError)(nil); errors.As(failed, &known) {
			status = known.status
		}
	}
	text, err := json.Marshal(value)
	if err != nil { // no value has what cannot be written
		return http.StatusInternalServerError, nil
	}
	return status, text
}

// fail replies that a request failed.
func fail(w http.ResponseWriter, err error) {
	status, text := replyOf(nil, err)
	write(w, status, text)
}

// write replies with JSON.
func write(w http.ResponseWriter, status int, text []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text) //nolint:gosec // it is JSON, and said to be that; it fails when the client is gone
}

func (s *Server) status() *Status {
	status := s.Status()
	status.Version, status.Now, status.Started = Version, time.Now().UTC(), s.started.UTC()
	status.Headless = len(s.Index.Headless())
	return status
}

func (s *Server) top(q url.Values) (any, error) {
	limit, err := number(q, "limit", 50)
	if err != nil {
		return nil, err
	}
	all := s.Counter.Counts(limit)
	top := &Top{
		Version: Version, Now: time.Now().UTC(), HalfLife: halfLife.Seconds(), Memory: Memory, Dropped: all.Dropped,
		Seconds: all.Seconds, Reasons: []ReasonShown{}, Names: []NameShown{},
		Unlisted: UnlistedCounts{rounded(all.UnlistedNames), rounded(all.UnlistedClients)},
	}
	for _, r := range all.Reasons {
		meaning, fix := s.Reason(r.Reason)
		top.Reasons = append(top.Reasons, ReasonShown{r.Reason.String(), rounded(r.Count), meaning, fix})
	}
	for _, n := range all.Names {
		shown := NameShown{
			Name: n.Name, Type: s.Type(n.Type), Reason: n.Reason.String(), Count: rounded(n.Count), Over: rounded(n.Over),
			SearchStep: n.IsStep, Ago: n.Ago.Seconds(), Clients: []Who{},
		}
		for _, addr := range n.Clients {
			shown.Clients = append(shown.Clients, s.Who(addr))
		}
		top.Names = append(top.Names, shown)
	}
	top.Clients, top.Search = s.clients(all.Clients), s.clients(all.Wasters)
	return top, nil
}

func (s *Server) clients(list []Client) []ClientShown {
	shown := []ClientShown{}
	for _, c := range list {
		shown = append(shown, ClientShown{
			Client: s.Who(c.Addr), Count: rounded(c.Count), Over: rounded(c.Over), SearchSteps: rounded(c.Steps),
			Reason: c.Reason.String(), Name: c.Name, Ago: c.Ago.Seconds(),
		})
	}
	return shown
}

// rounded returns a count with one digit behind the point.
func rounded(count float64) float64 { return float64(int64(count*10+0.5)) / 10 }

func (s *Server) services(q url.Values) (any, error) {
	limit, err := number(q, "limit", 200)
	if err != nil {
		return nil, err
	}
	filter, trouble := strings.ToLower(q.Get("filter")), q.Get("trouble")
	if len(filter) > maxFilter {
		return nil, fmt.Errorf("filter: expected at most %d octets, got %d", maxFilter, len(filter))
	}
	if q.Has("trouble") && trouble != "true" && trouble != "false" {
		return nil, fmt.Errorf("trouble: expected true or false, got %q", output.Shorten(trouble, maxQuoted))
	}
	keys := s.Index.Headless()
	all := &Services{Version: Version, Total: len(keys), Services: []ServiceLine{}}
	for _, key := range keys {
		if !strings.Contains(key.Name+"."+key.Namespace, filter) && !strings.Contains(key.Namespace+"/"+key.Name, filter) {
			continue
		}
		wanted := len(all.Services) < limit
		if trouble != "true" && !wanted {
			all.Matching++
			continue
		}
		line := lineOf(s.Index, key)
		if line.Gone || trouble == "true" && line.Ready > 0 && line.NotReady+line.Terminating+line.Held == 0 {
			continue
		}
		if all.Matching++; wanted {
			all.Services = append(all.Services, line)
		}
	}
	return all, nil
}

// lineOf returns a Service at a glance. It is gone if it is not shown, or not headless.
func lineOf(x *index.Index, key model.Key) ServiceLine {
	g, ok := x.Glance(key)
	dots := make([]byte, len(g.First))
	for i, standing := range g.First {
		dots[i] = standing.String()[0]
	}
	return ServiceLine{
		Namespace: key.Namespace, Name: key.Name, Gone: !ok,
		Ready: g.Counts[index.StandsReady], NotReady: g.Counts[index.StandsNotReady],
		Terminating: g.Counts[index.StandsTerminating], Held: g.Counts[index.StandsHeld],
		Dots: string(dots),
	}
}

func (s *Server) service(q url.Values) (any, error) {
	key := model.Key{Namespace: q.Get("namespace"), Name: q.Get("name")}
	if key.Namespace == "" || key.Name == "" {
		return nil, errors.New("expected a namespace and a name")
	}
	shown := ServiceOf(s.Index, key)
	if shown == nil {
		return nil, refusal(http.StatusNotFound, "there is no headless Service %q in namespace %q that is served here", key.Name, key.Namespace)
	}
	return shown, nil
}

// ServiceOf returns a headless Service with the first of its endpoints, or nil if it is not shown, or of another kind.
func ServiceOf(x *index.Index, key model.Key) *Service {
	line := lineOf(x, key)
	if line.Gone {
		return nil
	}
	shown := &Service{Version: Version, Service: line, Endpoints: []EndpointLine{}}
	for _, e := range x.Endpoints(key, maxLines) {
		shown.Endpoints = append(shown.Endpoints, EndpointLine{
			Address: e.Addr.String(), State: e.Standing.String(), Names: e.Names, Zones: list(e.Topologies),
			ForZones: list(e.ForZones), ForNodes: list(e.ForNodes), Answers: e.Answers,
		})
	}
	return shown
}

// list returns names, but an empty list in place of nil, which JSON would call null.
func list(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}

func (s *Server) explain(name, qtype string) (any, error) {
	e, err := s.Explain(name, qtype)
	if err != nil {
		return nil, err
	}
	e.Version = Version
	return e, nil
}
