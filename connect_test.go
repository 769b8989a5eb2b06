package headless

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/logtest"
)

// TestSecretsAreNotLogged makes everything fail that has to do with credentials. What is logged, printed, or returned to
// CoreDNS, which prints it, must not have them in it.
func TestSecretsAreNotLogged(t *testing.T) { // not parallel: it captures all output
	const secret = "hunter2"
	encoded := base64.StdEncoding.EncodeToString([]byte("-----BEGIN PRIVATE KEY-----\n" + secret + "\n-----END PRIVATE KEY-----\n"))
	status := func(code int) func(*kubetest.Server) { return func(s *kubetest.Server) { s.Refuse(code) } }
	works := func(*kubetest.Server) {}
	gone := func(s *kubetest.Server) { s.Server.Close() }
	user := func(user string) func(*testing.T, *kubetest.Server) string {
		return func(t *testing.T, s *kubetest.Server) string {
			return "kubeconfig " + kubetest.WriteKubeconfig(t, s.URL, "{insecure-skip-tls-verify: true}", user)
		}
	}
	exec := func(script string) func(*testing.T, *kubetest.Server) string {
		return user(fmt.Sprintf(`{exec: {apiVersion: client.authentication.k8s.io/v1, command: sh,
			args: [-c, %q], env: [{name: PASSWORD, value: %s}], interactiveMode: Never}}`, script, secret))
	}
	untrusted := func(t *testing.T, s *kubetest.Server) string {
		return "kubeconfig " + kubetest.WriteKubeconfig(t, s.URL, "{}", "{token: "+secret+"}")
	}
	file := func(content string) func(*testing.T, *kubetest.Server) string {
		return func(t *testing.T, _ *kubetest.Server) string {
			name := filepath.Join(t.TempDir(), "kubeconfig")
			if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			return "kubeconfig " + name
		}
	}
	endpoint := func(format string) func(*testing.T, *kubetest.Server) string {
		return func(_ *testing.T, s *kubetest.Server) string {
			return "endpoint " + fmt.Sprintf(format, strings.TrimPrefix(s.URL, "https://"))
		}
	}
	for _, tt := range []struct {
		name   string
		server func(*kubetest.Server)
		line   func(*testing.T, *kubetest.Server) string
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
		{"a URL with a password has a bad escape", works, endpoint("http://u:" + secret + "%%zz@%s"), "escape"},
		{"two URLs with a password", works, endpoint("http://u:" + secret + "@%s http://u:" + secret + "@other"), "first endpoint"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			logged := logtest.Capture(t)
			s := kubetest.NewSecureWebServer(t)
			tt.server(s)
			stanza := "headless cluster.local {\nstartup_timeout 0s\n" + tt.line(t, s) + "\n}"
			cfg, err := parseStanza(newController(stanza))
			if err == nil {
				var h *Headless
				if h, err = newHeadless(cfg, ""); err == nil {
					h.start()
					defer h.stop()
					kubetest.Eventually(t, "it is logged: "+logged.String(), func() bool { return strings.Contains(logged.String(), "cannot") })
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
