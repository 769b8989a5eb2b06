package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// TestAdvice: where there are no words of a server, and in a cluster.
func TestAdvice(t *testing.T) {
	pod, endpoint := (&Options{}).access(), (&Options{Endpoint: "http://127.0.0.1"}).access()
	forbidden := apierrors.NewForbidden(schema.GroupResource{}, "", errors.New(""))
	notFound := apierrors.NewNotFound(schema.GroupResource{}, "")
	for _, c := range []struct {
		resource string
		access   access
		err      error
		want     string
	}{
		{Slices, pod, forbidden, "the ServiceAccount needs list and watch on endpointslices in discovery.k8s.io"},
		{Pods, pod, forbidden, "the ServiceAccount needs list and watch on pods"},
		{Pods, endpoint, forbidden, "its user needs list and watch on pods"},
		{
			Imports, pod, notFound,
			"it does not serve serviceimports in multicluster.x-k8s.io/v1alpha1: is the CustomResourceDefinition there?",
		},
		{
			Pods, pod, apierrors.NewUnauthorized(""),
			"check the credentials in /var/run/secrets/kubernetes.io/serviceaccount",
		},
		{
			Pods, endpoint, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}},
			"check the CA certificate in the option tls, and the address in the option endpoint",
		},
		{
			Pods, pod, &net.OpError{Op: "dial", Err: context.DeadlineExceeded},
			"check routes, firewalls and network policies, and the address in KUBERNETES_SERVICE_HOST",
		},
		{
			Pods, endpoint, &net.OpError{Op: "dial", Err: &net.DNSError{Name: "nobody.invalid"}},
			"check the address in the option endpoint: its name must not be one that this server resolves",
		},
		{Pods, pod, apierrors.NewInternalError(errors.New("")), ""},
	} {
		l, err := newListWatch(c.resource, &rest.Config{Host: "http://127.0.0.1"}, http.DefaultTransport)
		if err != nil {
			t.Fatal(err)
		}
		l.access = c.access
		if got := l.advice(classify(fmt.Errorf("wrapped: %w", c.err))); got != c.want {
			t.Errorf("%v: got %q, want %q", c.err, got, c.want)
		}
	}
}
