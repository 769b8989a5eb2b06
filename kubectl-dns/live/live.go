// Package live asks the servers of a cluster, all at once, for what their option insight shows: by port forwarding, as kubectl does it, or
// at addresses that are given.
package live

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coredns-headless/headless/internal/insight"
	"github.com/coredns-headless/headless/internal/output"

	"k8s.io/client-go/rest"
)

// Defaults of Reach.
const (
	DefaultService = "kube-system/kube-dns"
	DefaultPort    = 6054
)

const (
	patience     = 5 * time.Second  // for one server's reply
	listPatience = 15 * time.Second // for the API server's
	mostRead     = 32 << 20         // octets of a reply; that to the greatest limit has some hundred thousand
)

// Reach says which servers there are, and leads to them. Its first four fields are set by who makes it; Close is to be called in the end.
type Reach struct {
	At      []string // the addresses of the servers, HOST:PORT or http://HOST:PORT; without any they are the Pods of Service
	Service string   // NAMESPACE/NAME
	Port    int      // of insight, in each Pod
	Config  func() (*rest.Config, error)

	mu   sync.Mutex // guards the field below
	pods *pods      // nil until they are asked for
}

// Check returns what is wrong with what is set.
func (r *Reach) Check() error {
	for _, at := range r.At {
		if _, err := addressOf(at); err != nil {
			return err
		}
	}
	namespace, name, ok := strings.Cut(r.Service, "/")
	switch {
	case !ok || namespace == "" || name == "" || strings.Contains(name, "/"):
		return fmt.Errorf("--service: expected NAMESPACE/NAME, got %q", r.Service)
	case r.Port < 1 || r.Port > 1<<16-1:
		return fmt.Errorf("--port: expected a number from 1 to 65535, got %d", r.Port)
	}
	return nil
}

// addressOf returns the URL of a server at an address.
func addressOf(at string) (string, error) {
	u, err := url.Parse(at)
	if !strings.Contains(at, "://") {
		u, err = url.Parse("http://" + at)
	}
	if err == nil && u.Scheme == "http" && u.Hostname() != "" && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && u.User == nil {
		return "http://" + net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), strconv.Itoa(DefaultPort))), nil
	}
	return "", fmt.Errorf("--at: expected HOST[:PORT] or http://HOST[:PORT], got %q", at)
}

// Servers returns the servers that there are now. Those that there were before stay connected.
func (r *Reach) Servers(ctx context.Context) (servers []*Server, err error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	given := make(map[string]bool)
	for _, at := range r.At {
		base, _ := addressOf(at) // it was checked
		if given[base] {
			continue // it would be counted twice
		}
		given[base] = true
		servers = append(servers, &Server{
			name: strings.TrimPrefix(base, "http://"),
			base: func(context.Context) (string, error) { return base, nil },
		})
	}
	if len(servers) > 0 {
		return servers, nil
	}
	ctx, cancel := context.WithTimeout(ctx, listPatience)
	defer cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pods == nil {
		config, err := r.Config()
		if err != nil {
			return nil, err
		}
		if r.pods, err = newPods(config, r.Service, r.Port); err != nil {
			return nil, err
		}
	}
	return r.pods.list(ctx)
}

// Close ends the connections to the servers.
func (r *Reach) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pods != nil {
		r.pods.close()
	}
}

// Server is one that runs.
type Server struct {
	name string
	base func(ctx context.Context) (string, error)
	why  func() error // that a request failed, if more is known than what it says; may be nil
}

// Name returns the name of its Pod, or its address.
func (s *Server) Name() string { return s.name }

// client asks servers. They are behind forwarded ports of loopback, or near. Whoever redirects is no server of insight: where that
// leads is not asked.
var client = &http.Client{
	Timeout:       patience,
	Transport:     &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: 30 * time.Second},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// get asks s for what is at a path with a query, and stores it into value.
func (s *Server) get(ctx context.Context, path string, q url.Values, value any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	base, err := s.base(ctx)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path+"?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	var text []byte
	if err == nil {
		text, err = io.ReadAll(io.LimitReader(response.Body, mostRead))
		err = cmp.Or(err, response.Body.Close())
	}
	if err != nil {
		if s.why != nil {
			err = cmp.Or(s.why(), err)
		}
		return unquoted(err)
	}
	if response.StatusCode != http.StatusOK {
		var failure insight.Failure
		if json.Unmarshal(text, &failure) != nil || failure.Error == "" {
			return fmt.Errorf("expected the interface of the option insight, got HTTP status %d", response.StatusCode)
		}
		return errors.New(output.Cell(failure.Error))
	}
	var of struct{ Version int }
	if err := json.Unmarshal(text, &of); err != nil {
		return fmt.Errorf("expected JSON of the option insight: %w", err)
	}
	if of.Version != insight.Version {
		return fmt.Errorf("expected version %d of the interface of insight, got %d: "+
			"use the kubectl-dns of the server's release", insight.Version, of.Version)
	}
	return json.Unmarshal(text, value)
}

// unquoted returns err without the URL that was asked for, which nobody has to know.
func unquoted(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v", patience)
	}
	if failed := (*url.Error)(nil); errors.As(err, &failed) {
		return failed.Err
	}
	return err
}

// Explain asks s for a name.
func (s *Server) Explain(ctx context.Context, fqdn, qtype string) (*insight.Explanation, error) {
	e := &insight.Explanation{}
	return e, s.get(ctx, "/v1/explain", url.Values{"name": {fqdn}, "type": {qtype}}, e)
}

// Status asks s for its status.
func (s *Server) Status(ctx context.Context) (*insight.Status, error) {
	status := &insight.Status{}
	return status, s.get(ctx, "/v1/status", nil, status)
}

// each calls do for each of things, all at once, and waits until all have returned.
func each[T any](things []T, do func(i int, thing T)) {
	var all sync.WaitGroup
	for i, thing := range things {
		all.Go(func() { do(i, thing) })
	}
	all.Wait()
}
