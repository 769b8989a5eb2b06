package headless

import (
	"bytes"
	golog "log"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"k8s.io/klog/v2"
)

// captured collects all that is logged, by whichever logger, until the test ends. Such a test is not parallel.
type captured struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// capture begins to collect.
func capture(t *testing.T) *captured {
	t.Helper()
	c := new(captured)
	golog.SetOutput(c)
	klog.LogToStderr(false)
	klog.SetOutput(c)
	t.Cleanup(func() {
		golog.SetOutput(os.Stderr)
		klog.LogToStderr(true)
	})
	return c
}

// Write implements io.Writer.
func (c *captured) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.Write(p)
}

func (c *captured) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

func TestRedirectsAreNotFollowed(t *testing.T) { // not parallel: it captures the log
	for _, code := range []int{http.StatusFound, http.StatusPermanentRedirect} {
		for name, elsewhere := range map[string]bool{"to another server": true, "to another path": false} {
			t.Run(http.StatusText(code)+" "+name, func(t *testing.T) {
				logged := capture(t)
				var followed atomic.Int64
				other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
				defer other.Close()
				s := newWebAPI(t)
				target := s.url
				if elsewhere {
					target = other.URL
				}
				s.intercept(func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
					if path.Dir(r.URL.Path) == "/elsewhere" {
						followed.Add(1)
					}
					http.Redirect(w, r, target+"/elsewhere/x?token=secret-of-the-location", code)
				})
				h := watcher(t, "kubeconfig "+writeKubeconfig(t, s.url, "{}", "{token: secret-token}"), "startup_timeout 0s")
				h.start()
				defer h.stop()
				eventually(t, "every resource is asked for twice", func() bool { return len(s.seen("")) >= 2*len(everyResource) })
				h.stop()
				if n := followed.Load(); n != 0 {
					t.Errorf("%d redirects were followed", n)
				}
				if want := "cannot watch services: the API server redirects to " + target + ", and redirects are not followed\n"; !strings.Contains(logged.String(), want) {
					t.Errorf("got the log\n%s\nwant %s", logged, want)
				}
				if strings.Contains(logged.String(), "secret") {
					t.Errorf("a secret stands in the log:\n%s", logged)
				}
			})
		}
	}
}
