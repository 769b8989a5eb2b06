package headless

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"
)

// TestRefusedRequestsAreExplained has an API server refuse what is asked, as a real one words it, and others be none.
func TestRefusedRequestsAreExplained(t *testing.T) { // not parallel: it captures the log
	refused := func(status metav1.Status) func(*stubAPI) {
		status.APIVersion, status.Kind, status.Status = "v1", "Status", metav1.StatusFailure
		return func(s *stubAPI) {
			s.intercept(func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(int(status.Code))
				_ = json.NewEncoder(w).Encode(status) // the client will notice
			})
		}
	}
	insecure := func(t *testing.T, s *stubAPI) string {
		return writeKubeconfig(t, s.url, "{insecure-skip-tls-verify: true}", "{token: x}")
	}
	for _, c := range []struct {
		name       string
		server     func(*stubAPI)
		kubeconfig func(*testing.T, *stubAPI) string
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
		{
			"a token is not accepted", refused(metav1.Status{Code: http.StatusUnauthorized, Reason: metav1.StatusReasonUnauthorized, Message: "Unauthorized"}), insecure,
			"cannot list services: Unauthorized; check the credentials in kubeconfig $",
		},
		{
			"a resource is not served", func(s *stubAPI) {
				s.intercept(func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) { http.NotFound(w, r) })
			}, insecure,
			"cannot list endpointslices: the server could not find the requested resource (get endpointslices.discovery.k8s.io); it does not serve " +
				"endpointslices in discovery.k8s.io/v1: is it an API server? check its address in kubeconfig $",
		},
		{
			"a certificate is of nobody's", func(*stubAPI) {}, func(t *testing.T, s *stubAPI) string { return writeKubeconfig(t, s.url, "{}", "{token: x}") },
			"cannot list services: tls: failed to verify certificate: x509: certificate signed by unknown authority; check the CA certificate in kubeconfig $, " +
				"and the address in kubeconfig $",
		},
		{
			"nobody listens", func(s *stubAPI) { s.server.Close() }, insecure,
			"cannot list services: dial tcp &: connect: connection refused; does the API server run? check its address in kubeconfig $",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			logged := capture(t)
			s := newSecureWebAPI(t)
			c.server(s)
			file := c.kubeconfig(t, s)
			h := watcher(t, "kubeconfig "+file, "startup_timeout 0s")
			h.start()
			defer h.stop()
			want := strings.NewReplacer("$", file, "&", strings.TrimPrefix(s.url, "https://")).Replace(c.want) + "\n"
			eventually(t, "it is logged: "+want, func() bool { return strings.Contains(logged.String(), want) })
		})
	}
}

// TestAdvice: where there are no words of a server, and in a cluster.
func TestAdvice(t *testing.T) {
	client := func(gv schema.GroupVersion) rest.Interface {
		c, err := newRESTClient(&rest.Config{Host: "http://127.0.0.1"}, http.DefaultClient, gv)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	pod, endpoint := (&config{}).access(), (&config{endpoint: "http://127.0.0.1"}).access()
	forbidden := apierrors.NewForbidden(schema.GroupResource{}, "", errors.New(""))
	notFound := apierrors.NewNotFound(schema.GroupResource{}, "")
	for _, c := range []struct {
		gv     schema.GroupVersion
		path   string
		access access
		err    error
		want   string
	}{
		{discoveryv1.SchemeGroupVersion, slicesResource, pod, forbidden, "the ServiceAccount needs list and watch on endpointslices in discovery.k8s.io"},
		{schema.GroupVersion{Version: "v1"}, podsResource, pod, forbidden, "the ServiceAccount needs list and watch on pods"},
		{schema.GroupVersion{Version: "v1"}, podsResource, endpoint, forbidden, "its user needs list and watch on pods"},
		{
			schema.GroupVersion(mcsv1alpha1.GroupVersion), importsResource, pod, notFound,
			"it does not serve serviceimports in multicluster.x-k8s.io/v1alpha1: is the CustomResourceDefinition there?",
		},
		{
			schema.GroupVersion{Version: "v1"},
			podsResource, pod, apierrors.NewUnauthorized(""),
			"check the credentials in /var/run/secrets/kubernetes.io/serviceaccount",
		},
		{
			schema.GroupVersion{Version: "v1"},
			podsResource, endpoint, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}},
			"check the CA certificate in the option tls, and the address in the option endpoint",
		},
		{
			schema.GroupVersion{Version: "v1"},
			podsResource, pod, &net.OpError{Op: "dial", Err: context.DeadlineExceeded},
			"check routes, firewalls and network policies, and the address in KUBERNETES_SERVICE_HOST",
		},
		{
			schema.GroupVersion{Version: "v1"},
			podsResource, endpoint, &net.OpError{Op: "dial", Err: &net.DNSError{Name: "nobody.invalid"}},
			"check the address in the option endpoint: its name must not be one that this server resolves",
		},
		{schema.GroupVersion{Version: "v1"}, podsResource, pod, apierrors.NewInternalError(errors.New("")), ""},
	} {
		l := listWatch{client: client(c.gv), path: path.Base(c.path), access: c.access}
		if got := l.advice(fmt.Errorf("wrapped: %w", c.err)); got != c.want {
			t.Errorf("%v: got %q, want %q", c.err, got, c.want)
		}
	}
}
