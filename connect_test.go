package headless

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	golog "log"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
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
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = writer, writer // klog's output is what os.Stderr is at the time
	golog.SetOutput(c)
	var copying sync.WaitGroup
	copying.Go(func() { _, _ = io.Copy(c, reader) }) // until writer is closed
	t.Cleanup(func() {
		golog.SetOutput(stderr)
		os.Stdout, os.Stderr = stdout, stderr
		_ = writer.Close()
		copying.Wait()
		_ = reader.Close()
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
				s := newSecureWebAPI(t)
				target := s.url
				if elsewhere {
					target = other.URL
				}
				s.intercept(func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
					if path.Dir(r.URL.Path) == "/elsewhere" {
						followed.Add(1)
					}
					if got := r.Header.Get("Authorization"); got != "Bearer secret-token" {
						t.Errorf("got the credentials %q", got)
					}
					http.Redirect(w, r, target+"/elsewhere/x?token=secret-of-the-location", code)
				})
				h := watcher(t, "kubeconfig "+writeKubeconfig(t, s.url, "{insecure-skip-tls-verify: true}", "{token: secret-token}"), "startup_timeout 0s")
				h.start()
				defer h.stop()
				eventually(t, "every resource is asked for twice", func() bool { return len(s.seen("")) >= 2*len(everyResource) })
				h.stop()
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

// TestSecretsAreNotLogged makes everything fail that has to do with credentials. What is logged, printed, or returned to
// CoreDNS, which prints it, must not have them in it.
func TestSecretsAreNotLogged(t *testing.T) { // not parallel: it captures all output
	const secret = "hunter2"
	encoded := base64.StdEncoding.EncodeToString([]byte("-----BEGIN PRIVATE KEY-----\n" + secret + "\n-----END PRIVATE KEY-----\n"))
	status := func(code int) func(*stubAPI) { return func(s *stubAPI) { s.refuse(code) } }
	works := func(*stubAPI) {}
	gone := func(s *stubAPI) { s.server.Close() }
	user := func(user string) func(*testing.T, *stubAPI) string {
		return func(t *testing.T, s *stubAPI) string {
			return "kubeconfig " + writeKubeconfig(t, s.url, "{insecure-skip-tls-verify: true}", user)
		}
	}
	exec := func(script string) func(*testing.T, *stubAPI) string {
		return user(fmt.Sprintf(`{exec: {apiVersion: client.authentication.k8s.io/v1, command: sh,
			args: [-c, %q], env: [{name: PASSWORD, value: %s}], interactiveMode: Never}}`, script, secret))
	}
	untrusted := func(t *testing.T, s *stubAPI) string {
		return "kubeconfig " + writeKubeconfig(t, s.url, "{}", "{token: "+secret+"}")
	}
	file := func(content string) func(*testing.T, *stubAPI) string {
		return func(t *testing.T, _ *stubAPI) string {
			name := filepath.Join(t.TempDir(), "kubeconfig")
			if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			return "kubeconfig " + name
		}
	}
	endpoint := func(format string) func(*testing.T, *stubAPI) string {
		return func(_ *testing.T, s *stubAPI) string {
			return "endpoint " + fmt.Sprintf(format, strings.TrimPrefix(s.url, "https://"))
		}
	}
	for _, tt := range []struct {
		name   string
		server func(*stubAPI)
		line   func(*testing.T, *stubAPI) string
		logged string // part of it
	}{
		{"a token is refused", status(http.StatusUnauthorized), user("{token: " + secret + "}"), "provide credentials"},
		{"a token is not enough", status(http.StatusForbidden), user("{token: " + secret + "}"), "Forbidden"},
		{"a server fails", status(http.StatusInternalServerError), user("{token: " + secret + "}"), "Internal Server Error"},
		{"a server is gone", gone, user("{token: " + secret + "}"), "refused"},
		{"a certificate is of nobody's", works, untrusted, "x509"},
		{"a token is none", works, user(`{token: "` + secret + `\x01"}`), "invalid header"},
		{"a password is refused", status(http.StatusUnauthorized), user("{username: u, password: " + secret + "}"), "provide credentials"},
		{"a key is garbage", works, user("{client-certificate-data: " + encoded + ", client-key-data: " + encoded + "}"), "tls"},
		{"a key is not base64", works, user("{client-certificate-data: '!', client-key-data: '" + secret + "!'}"), "base64"},
		{"a command fails", works, exec("exit 3"), "exit code 3"},
		{"a command prints garbage", works, exec("echo $PASSWORD"), "decoding stdout"},
		{"a command prints a credential of another version", works, exec(`echo '{"apiVersion":"v9","kind":"ExecCredential","status":{"token":"'$PASSWORD'"}}'`), "v9"},
		{"a kubeconfig is a word", works, file(secret), "cannot"},
		{"a kubeconfig has the wrong type", works, file("{apiVersion: v1, kind: Config, users: [{name: u, user: {token: [" + secret + "]}}]}"), "cannot"},
		{"a URL with a password is of a server with a certificate of nobody's", works, endpoint("https://u:" + secret + "@%s"), "x509"},
		{"a URL with a password is of a server that is gone", gone, endpoint("https://u:" + secret + "@%s"), "refused"},
		{"a URL with a password is none", works, endpoint("http://u:" + secret + "@%s:x"), "port"},
		{"a URL with a password has a bad escape", works, endpoint("http://u:" + secret + "%%zz@%s"), "cannot"},
		{"two URLs with a password", works, endpoint("http://u:" + secret + "@%s http://u:" + secret + "@other"), "first endpoint"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			logged := capture(t)
			s := newSecureWebAPI(t)
			tt.server(s)
			stanza := "headless cluster.local {\nstartup_timeout 0s\n" + tt.line(t, s) + "\n}"
			cfg, err := parseStanza(newController(stanza))
			if err == nil {
				var h *Headless
				if h, err = newHeadless(cfg, ""); err == nil {
					h.start()
					defer h.stop()
					eventually(t, "it is logged: "+logged.String(), func() bool { return strings.Contains(logged.String(), "cannot") })
					h.stop()
				}
			}
			if err != nil {
				_, _ = fmt.Fprintln(logged, err)
			}
			if got := logged.String(); !strings.Contains(got, tt.logged) || strings.Contains(got, secret) || strings.Contains(got, encoded) {
				t.Errorf("got this output, want it with %q and without %q:\n%s", tt.logged, secret, got)
			}
		})
	}
}
