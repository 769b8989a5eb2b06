package headless

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/logtest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestRefusedRequestsAreExplained has an API server refuse what is asked, as a real one words it, and others be none.
func TestRefusedRequestsAreExplained(t *testing.T) { // not parallel: it captures the log
	refused := func(status metav1.Status) func(*kubetest.Server) {
		status.APIVersion, status.Kind, status.Status = "v1", "Status", metav1.StatusFailure
		return func(s *kubetest.Server) {
			s.Intercept(func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(int(status.Code))
				_ = json.NewEncoder(w).Encode(status) // the client will notice
			})
		}
	}
	insecure := func(t *testing.T, s *kubetest.Server) string {
		return kubetest.WriteKubeconfig(t, s.URL, "{insecure-skip-tls-verify: true}", "{token: x}")
	}
	for _, c := range []struct {
		name       string
		server     func(*kubetest.Server)
		kubeconfig func(*testing.T, *kubetest.Server) string
		want       string // $ is the kubeconfig, & the server's host and port
	}{
		{
			"a right is missing",
			refused(metav1.Status{
				Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
				Message: `endpointslices.discovery.k8s.io is forbidden: User "u" cannot watch resource "endpointslices" in API group "discovery.k8s.io" at the cluster scope`,
			}),
			insecure,
			`cannot list endpointslices: endpointslices.discovery.k8s.io is forbidden: User "u" cannot watch resource "endpointslices" in API group ` +
				`"discovery.k8s.io" at the cluster scope; its user needs list and watch on endpointslices in discovery.k8s.io`,
		},
		{"a token is not accepted", refused(metav1.Status{Code: http.StatusUnauthorized, Reason: metav1.StatusReasonUnauthorized, Message: "Unauthorized"}), insecure, "cannot list services: Unauthorized; check the credentials in kubeconfig $"},
		{
			"a resource is not served", func(s *kubetest.Server) {
				s.Intercept(func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) { http.NotFound(w, r) })
			}, insecure,
			"cannot list endpointslices: the server could not find the requested resource (get endpointslices.discovery.k8s.io); it does not serve " +
				"endpointslices in discovery.k8s.io/v1: is it an API server? check its address in kubeconfig $",
		},
		{
			"a certificate is of nobody's", func(*kubetest.Server) {}, func(t *testing.T, s *kubetest.Server) string {
				return kubetest.WriteKubeconfig(t, s.URL, "{}", "{token: x}")
			},
			"cannot list services: tls: failed to verify certificate: x509: certificate signed by unknown authority; check the CA certificate in kubeconfig $, " +
				"and the address in kubeconfig $",
		},
		{"nobody listens", func(s *kubetest.Server) { s.Server.Close() }, insecure, "cannot list services: dial tcp &: connect: connection refused; does the API server run? check its address in kubeconfig $"},
	} {
		t.Run(c.name, func(t *testing.T) {
			logged := logtest.Capture(t)
			s := kubetest.NewSecureWebServer(t)
			c.server(s)
			file := c.kubeconfig(t, s)
			h := watcher(t, "kubeconfig "+file, "startup_timeout 0s")
			h.start()
			defer h.stop()
			want := strings.NewReplacer("$", file, "&", strings.TrimPrefix(s.URL, "https://")).Replace(c.want) + "\n"
			kubetest.Eventually(t, "it is logged: "+want, func() bool { return strings.Contains(logged.String(), want) })
		})
	}
}
