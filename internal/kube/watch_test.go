package kube_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coredns-headless/headless/internal/bubble"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/logtest"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
)

func TestWatchServesWhatTheAPIServerHas(t *testing.T) {
	t.Parallel()
	const protobuf, json = apiruntime.ContentTypeProtobuf, apiruntime.ContentTypeJSON
	for _, tt := range []struct {
		name     string
		setup    []func(*kubetest.Server)
		requests []kubetest.Request // for each resource; the resource itself and versions are left out
	}{
		{"streamed", nil, []kubetest.Request{{Verb: "watch", Streamed: true, MediaType: protobuf, Zipped: true}}},
		{"streamed, not compressed", []func(*kubetest.Server){(*kubetest.Server).UsePlain}, []kubetest.Request{{Verb: "watch", Streamed: true, MediaType: protobuf}}},
		{"streamed as JSON", []func(*kubetest.Server){(*kubetest.Server).UseJSON}, []kubetest.Request{{Verb: "watch", Streamed: true, MediaType: json, Zipped: true}}},
		{
			"listed",
			[]func(*kubetest.Server){(*kubetest.Server).RefuseStreams},
			[]kubetest.Request{{Verb: "watch", Streamed: true}, {Verb: "list", MediaType: protobuf}, {Verb: "watch", MediaType: protobuf}},
		},
		{
			"listed as JSON",
			[]func(*kubetest.Server){(*kubetest.Server).RefuseStreams, (*kubetest.Server).UseJSON},
			[]kubetest.Request{{Verb: "watch", Streamed: true}, {Verb: "list", MediaType: json}, {Verb: "watch", MediaType: json}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := kubetest.NewWebServer(t)
			for _, f := range tt.setup {
				f(s)
			}
			c := watching(t, at(s))
			checkWeb(t, c)

			s.Put(kubetest.Service("new", "10.96.0.2"), kubetest.Slice("web-a", "web", "10.0.0.2", "web-0"))
			eventuallyHas(t, c, "services ns/new", "cluster_ip http:80 10.96.0.2")
			eventuallyHas(t, c, "endpointslices ns/web-a", "web http:80 web-0 10.0.0.2")
			s.Delete(kubetest.Service("db", ""))
			eventuallyHas(t, c, "services ns/db", "")
			s.Put(kubetest.EmptySlice("web-a", "web"))
			eventuallyHas(t, c, "endpointslices ns/web-a", "web http:80")
			s.Delete(kubetest.EmptySlice("web-a", ""), kubetest.Namespace("ns"))
			eventuallyHas(t, c, "endpointslices ns/web-a", "")
			eventuallyHas(t, c, "namespaces /ns", "")
			s.Put(kubetest.Namespace("ns"))
			eventuallyHas(t, c, "namespaces /ns", "is there")

			for _, resource := range everyResource {
				got := s.Seen(resource)
				for i := range got {
					got[i].Resource, got[i].Version, got[i].URL, got[i].From, got[i].At = "", "", "", "", time.Time{}
				}
				if !slices.Equal(got, tt.requests) {
					t.Errorf("%s: got requests %+v, want %+v", resource, got, tt.requests)
				}
			}
		})
	}
}

// TestLongListsComeCompressed: by a streamed list and by a plain one, and what is watched behind it comes as ever.
func TestLongListsComeCompressed(t *testing.T) {
	t.Parallel()
	for _, isStreamed := range []bool{true, false} {
		s := kubetest.NewWebServer(t)
		if !isStreamed {
			s.RefuseStreams()
		}
		const services = 3000
		for i := range services {
			s.Keep(kubetest.Service(fmt.Sprint("many-", i), "None"))
		}
		c := watching(t, at(s))
		checkWeb(t, c)
		for i := range services {
			if name := fmt.Sprint("services ns/many-", i); c.has(name) == "" {
				t.Fatalf("streamed %v: no %s", isStreamed, name)
			}
		}
		s.Put(kubetest.Service("new", "10.96.0.2"))
		eventuallyHas(t, c, "services ns/new", "cluster_ip http:80 10.96.0.2")
		if !slices.ContainsFunc(s.Seen(kube.Services), func(r kubetest.Request) bool { return r.Zipped && r.Streamed == isStreamed }) {
			t.Errorf("streamed %v: not compressed", isStreamed)
		}
	}
}

func TestWatchResumesAtBookmark(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		bookmark func(*kubetest.Server, string)
		syncs    int
	}{
		{"with a bookmark", (*kubetest.Server).Bookmark, 1},
		{"without", func(*kubetest.Server, string) {}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := kubetest.NewWebServer(t)
			c := watching(t, at(s))
			s.Put(kubetest.Service("event", "10.96.0.2"))
			eventuallyHas(t, c, "services ns/event", "cluster_ip http:80 10.96.0.2")
			s.Put(kubetest.Slice("web-a", "web", "10.0.0.2", "web-0")) // newer than any Service
			eventuallyHas(t, c, "endpointslices ns/web-a", "web http:80 web-0 10.0.0.2")

			for range 2 { // what is heard first may still be of the event before
				heard := c.Clock[kube.Services].Heard.Load()
				tt.bookmark(s, kube.Services)
				kubetest.Eventually(t, "the bookmark has arrived", func() bool {
					return tt.syncs > 1 || c.Clock[kube.Services].Heard.Load() != heard
				})
			}
			s.Compact()
			s.Cut()
			s.Put(kubetest.Service("late", "10.96.0.3"))
			eventuallyHas(t, c, "services ns/late", "cluster_ip http:80 10.96.0.3")
			if got := s.Syncs(kube.Services); got != tt.syncs {
				t.Errorf("synced %d times, want %d: %+v", got, tt.syncs, s.Seen(kube.Services))
			}
		})
	}
}

func TestGarbageInAWatchIsSurvived(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"}}
	for _, tt := range []struct {
		name  string
		frame func(*kubetest.Watch) []byte
		syncs int // of the resource afterwards
	}{
		{"an object of another type", func(w *kubetest.Watch) []byte { return w.Event(apiwatch.Added, pod) }, 1},
		{"the deletion of an object of another type", func(w *kubetest.Watch) []byte { return w.Event(apiwatch.Deleted, pod) }, 1},
		{"a Namespace without a name", func(w *kubetest.Watch) []byte { return w.Event(apiwatch.Added, kubetest.Namespace("")) }, 1},
		{"a Service without a name", func(w *kubetest.Watch) []byte { return w.Event(apiwatch.Added, new(corev1.Service)) }, 1},
		{"a slice without a name", func(w *kubetest.Watch) []byte { return w.Event(apiwatch.Added, new(discoveryv1.EndpointSlice)) }, 1},
		{"the deletion of what is not there", func(w *kubetest.Watch) []byte { return w.Event(apiwatch.Deleted, kubetest.Service("none", "")) }, 1},
		{"an event of unknown type", func(w *kubetest.Watch) []byte { return w.Event("NONSENSE", pod) }, 2},
		{"an object of unknown kind", func(w *kubetest.Watch) []byte {
			return w.RawEvent(apiwatch.Added, []byte(`{"apiVersion":"v9","kind":"X"}`))
		}, 2},
		{"an object that is none", func(w *kubetest.Watch) []byte { return w.RawEvent(apiwatch.Modified, []byte(`"\u0000"`)) }, 2},
		{"an empty object", func(w *kubetest.Watch) []byte { return w.RawEvent(apiwatch.Modified, []byte(`{}`)) }, 2},
		{"an event that is none", func(w *kubetest.Watch) []byte { return w.Frame([]byte("\xff\xfe\xfd")) }, 2},
		{"half a frame", func(*kubetest.Watch) []byte { return []byte("\x00\x00\x00\x40garbage") }, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := kubetest.NewWebServer(t)
			c := watching(t, at(s))
			for _, resource := range everyResource {
				s.Inject(resource, tt.frame)
			}
			s.Put(kubetest.Namespace("later"), kubetest.Service("later", "10.96.0.8"), kubetest.Slice("web-b", "web", "10.0.0.8", "web-8"))
			eventuallyHas(t, c, "namespaces /later", "is there")
			eventuallyHas(t, c, "services ns/later", "cluster_ip http:80 10.96.0.8")
			eventuallyHas(t, c, "endpointslices ns/web-b", "web http:80 web-8 10.0.0.8")
			s.Put(kubetest.EmptySlice("web-b", "web"))
			eventuallyHas(t, c, "endpointslices ns/web-b", "web http:80")
			checkWeb(t, c)
			for _, resource := range everyResource {
				if got := s.Syncs(resource); got != tt.syncs {
					t.Errorf("%s: synced %d times, want %d", resource, got, tt.syncs)
				}
			}
		})
	}
}

func TestMaxInflightOfOneSyncsEverything(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n, s := kubetest.NewNetwork(t, false)
		s.RefuseStreams()
		release := s.Hold(everyResource...)
		o := over(n)
		o.MaxInflight = 1
		c := started(t, o)
		synctest.Wait()
		release()
		<-c.Listing.Complete()
		checkWeb(t, c)
		if _, peak := s.Load(); peak != 1 {
			t.Errorf("%d requests at once, want 1", peak)
		}
	})
}

func TestStopLeavesNothing(t *testing.T) { // not parallel: it counts goroutines
	for _, tt := range []struct {
		name  string
		setup func(*kubetest.Server)
	}{
		{"while it watches", func(*kubetest.Server) {}},
		{"while it watches without streams", (*kubetest.Server).RefuseStreams},
		{"while the server does not answer", func(s *kubetest.Server) { s.Hold(everyResource...) }},
		{"while the server is unavailable", func(s *kubetest.Server) { s.Refuse(http.StatusServiceUnavailable) }},
		{"while the server has too many requests", func(s *kubetest.Server) { s.Refuse(http.StatusTooManyRequests) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := kubetest.NewWebServer(t)
			tt.setup(s)
			goroutines := runtime.NumGoroutine()
			c := started(t, at(s))
			kubetest.Eventually(t, "every resource is asked for", func() bool { return len(s.Seen("")) >= len(everyResource) })
			if strings.HasPrefix(tt.name, "while it watches") {
				kubetest.Eventually(t, "everything is listed", c.Listing.IsComplete)
			}
			began := time.Now()
			c.server.Stop()
			if took := time.Since(began); took > 700*time.Millisecond { // a reflector's first delay is 0.8 s or more
				t.Errorf("stop took %v", took)
			}
			kubetest.Eventually(t, "no connection is left", func() bool { return s.Conns.Load() == 0 })
			kubetest.Eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
			// The HTTP client does not end the dial of a request that is cancelled.
			conn, err := c.server.Dial(context.Background(), "tcp", s.Server.Listener.Addr().String())
			if err == nil {
				t.Error("a dial that was under way can still succeed")
				_ = conn.Close()
			}
		})
	}
}

// TestConnectionThatComesAfterStopIsClosed: a dialer need not heed that it was cancelled.
func TestConnectionThatComesAfterStopIsClosed(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	var c *cluster
	c, err := newCluster(&kube.Options{Endpoint: "http://127.0.0.1:1", Dial: func(context.Context, string, string) (net.Conn, error) {
		c.server.Stop()
		return ours, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.server.Dial(t.Context(), "tcp", "127.0.0.1:1"); !errors.Is(err, context.Canceled) {
		t.Fatalf("got error %v, want %v", err, context.Canceled)
	}
	if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection: got error %v, want %v", err, io.EOF)
	}
}

func TestFailureIsLoggedOnceAMinute(t *testing.T) { // not parallel: it captures the log
	s := kubetest.NewWebServer(t)
	logged := logtest.Capture(t)
	c := started(t, &kube.Options{Endpoint: strings.Replace(s.URL, "http:", "https:", 1)})
	// Each resource is watched and listed, and both are tried again after a second or two.
	kubetest.Eventually(t, "every request is made twice", func() bool { return s.Accepted.Load() >= int64(2*2*len(everyResource)) })
	c.server.Stop()
	for _, resource := range everyResource {
		for _, doing := range []string{"cannot watch ", "cannot list "} {
			if n := strings.Count(logged.String(), doing+resource); n > 1 {
				t.Errorf("%q stands %d times in the log:\n%s", doing+resource, n, logged.String())
			}
		}
		if !strings.Contains(logged.String(), resource+": ") {
			t.Errorf("nothing about %s in the log:\n%s", resource, logged.String())
		}
	}
}

func TestKubeconfigNamesTheServer(t *testing.T) {
	t.Parallel()
	first, second := kubetest.NewWebServer(t), kubetest.NewWebServer(t)
	second.Put(kubetest.Service("db", "10.96.0.2"))
	file := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: one,
  clusters: [{name: a, cluster: {server: %q}}, {name: b, cluster: {server: %q}}],
  users: [{name: u, user: {token: t}}],
  contexts: [{name: one, context: {cluster: a, user: u}}, {name: two, context: {cluster: b, user: u}}]}`, first.URL, second.URL)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for context, want := range map[string]string{"": "10.96.0.1", "one": "10.96.0.1", "two": "10.96.0.2"} {
		c := watching(t, &kube.Options{Kubeconfig: file, Context: context})
		if got := c.has("services ns/db"); got != "cluster_ip http:80 "+want {
			t.Errorf("context %q: got %s, want %s", context, got, want)
		}
	}
	for _, o := range []*kube.Options{{Kubeconfig: file, Context: "three"}, {Kubeconfig: file + ".none"}} {
		if _, err := newCluster(o); err == nil {
			t.Errorf("kubeconfig %s %s: no error", o.Kubeconfig, o.Context)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) { // not parallel: it captures the log
	for _, code := range []int{http.StatusFound, http.StatusPermanentRedirect} {
		for name, elsewhere := range map[string]bool{"to another server": true, "to another path": false} {
			t.Run(http.StatusText(code)+" "+name, func(t *testing.T) {
				logged := logtest.Capture(t)
				var followed atomic.Int64
				other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
				defer other.Close()
				s := kubetest.NewSecureWebServer(t)
				target := s.URL
				if elsewhere {
					target = other.URL
				}
				s.Intercept(func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
					if path.Dir(r.URL.Path) == "/elsewhere" {
						followed.Add(1)
					}
					if got := r.Header.Get("Authorization"); got != "Bearer secret-token" {
						t.Errorf("got the credentials %q", got)
					}
					http.Redirect(w, r, target+"/elsewhere/x?token=secret-of-the-location", code)
				})
				c := started(t, &kube.Options{Kubeconfig: kubetest.WriteKubeconfig(t, s.URL, "{insecure-skip-tls-verify: true}", "{token: secret-token}")})
				kubetest.Eventually(t, "every resource is asked for twice", func() bool { return len(s.Seen("")) >= 2*len(everyResource) })
				c.server.Stop()
				if n := followed.Load(); n != 0 {
					t.Errorf("%d redirects were followed", n)
				}
				if want := "cannot list services: the API server redirects to " + target + ", and redirects are not followed\n"; !strings.Contains(logged.String(), want) {
					t.Errorf("got the log\n%s\nwant %s", logged, want)
				}
				if strings.Contains(logged.String(), "secret") {
					t.Errorf("a secret stands in the log:\n%s", logged)
				}
			})
		}
	}
}

// TestHostileAPIServer: an API server that answers with anything lists nothing, and everything as soon as it is one.
func TestHostileAPIServer(t *testing.T) {
	t.Parallel()
	list := kubetest.Encoded(kubetest.Codecs().LegacyCodec(corev1.SchemeGroupVersion), &corev1.ServiceList{Items: []corev1.Service{*kubetest.Service("x", "10.96.0.9")}})
	deep := strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000)
	const asJSON, asProtobuf = apiruntime.ContentTypeJSON, apiruntime.ContentTypeProtobuf
	for _, c := range []struct {
		name, contentType, body string
		header                  http.Header
	}{
		{"nothing", asJSON, "", nil},
		{"no JSON", asJSON, "\x00\xff{", nil},
		{"null", asJSON, "null", nil},
		{"JSON that ends early", asJSON, string(list[:len(list)/2]), nil},
		{"JSON of 100,000 levels", asJSON, deep, nil},
		{"JSON of 100,000 levels in an object", asJSON, `{"kind":"ServiceList","apiVersion":"v1","metadata":` + deep + `}`, nil},
		{"an empty object", asJSON, "{}", nil},
		{"a list of another kind", asJSON, `{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"namespace":"ns","name":"x"}}]}`, nil},
		{"a list of a kind that nobody knows", asJSON, `{"kind":"XList","apiVersion":"x/v9","items":[]}`, nil},
		{"an object and no list", asJSON, `{"kind":"Service","apiVersion":"v1","metadata":{"name":"x"}}`, nil},
		{"no protobuf", asProtobuf, "k8s\x00\xff\xff\xff\xff", nil},
		{"protobuf that says it is longer", asProtobuf, "k8s\x00\x0a\xff\xff\xff\xff\x07", nil},
		{"HTML", "text/html", "<html><h1>Sign in</h1></html>", nil},
		{"another encoding than it says", asJSON, string(list), http.Header{"Content-Encoding": {"gzip"}}},
		{"an event without end", asJSON, `{"type":"ADDED","object":` + strings.Repeat(" ", 1<<20), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := kubetest.NewWebServer(t)
			var requests atomic.Int64
			var honest atomic.Bool
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if honest.Load() {
					s.ServeHTTP(w, r)
					return
				}
				requests.Add(1)
				maps.Copy(w.Header(), c.header)
				w.Header().Set("Content-Type", c.contentType)
				_, _ = w.Write([]byte(c.body)) // the client need not read it
			}))
			t.Cleanup(func() {
				server.CloseClientConnections()
				server.Close()
			})
			cluster := started(t, &kube.Options{Endpoint: server.URL})
			kubetest.Eventually(t, "each resource is asked for twice", func() bool { return requests.Load() >= int64(2*len(everyResource)) })
			if missing := cluster.Listing.Missing(); len(missing) != len(everyResource) {
				t.Errorf("listed, but for %q", missing)
			}
			honest.Store(true)
			server.CloseClientConnections()
			kubetest.Eventually(t, "listed", cluster.Listing.IsComplete)
			checkWeb(t, cluster)
		})
	}
}

// TestTLS watches a server that speaks TLS and HTTP/2 and wants a client certificate.
func TestTLS(t *testing.T) { // not parallel: it captures the log
	certFile, keyFile := kubetest.WritePEM(t, t.TempDir())
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	authority := x509.NewCertPool()
	authority.AddCert(cert.Leaf)

	api := kubetest.NewWebServer(t)
	target, err := url.Parse(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	protocols := make(chan string, 100)
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocols <- r.Proto
		proxy.ServeHTTP(w, r)
	}))
	front.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: authority, ClientAuth: tls.RequireAndVerifyClientCert}
	front.EnableHTTP2 = true
	front.StartTLS()
	defer front.Close()
	defer front.CloseClientConnections()

	withTLS := func(certFile, keyFile, authority string) *kube.Options {
		return &kube.Options{Endpoint: front.URL, CertFile: certFile, KeyFile: keyFile, CAFile: authority}
	}
	checkWeb(t, watching(t, withTLS(certFile, keyFile, certFile)))
	if got := <-protocols; got != "HTTP/2.0" {
		t.Errorf("the first request came over %s, want HTTP/2.0", got)
	}

	other, otherKey := kubetest.WritePEM(t, t.TempDir())
	for _, c := range []struct {
		name    string
		options *kube.Options
		want    string // in the log
	}{
		{"a certificate of another authority", withTLS(other, otherKey, certFile), "tls: unknown certificate authority; check the client certificate in "},
		{"another authority for the server", withTLS(certFile, keyFile, other), "x509: certificate signed by unknown authority"},
	} {
		logged := logtest.Capture(t)
		stranger := started(t, c.options)
		kubetest.Eventually(t, c.name+" is refused", func() bool { return strings.Contains(logged.String(), c.want) })
		stranger.server.Stop()
		if len(stranger.Listing.Missing()) != len(everyResource) {
			t.Errorf("%s: listed all the same", c.name)
		}
	}
}
