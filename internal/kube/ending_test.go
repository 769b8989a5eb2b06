package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"

	"github.com/coredns-headless/headless/internal/fatal"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
		{Imports, pod, notFound, "it does not serve serviceimports in multicluster.x-k8s.io/v1beta1: is the CustomResourceDefinition there?"},
		{Pods, pod, apierrors.NewUnauthorized(""), "check the credentials in /var/run/secrets/kubernetes.io/serviceaccount"},
		{Pods, endpoint, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "check the CA certificate in the option tls, and the address in the option endpoint"},
		{Pods, endpoint, &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, "check the client certificate in the option tls"},
		{Pods, pod, &net.OpError{Op: "dial", Err: context.DeadlineExceeded}, "check routes, firewalls and network policies, and the address in KUBERNETES_SERVICE_HOST"},
		{Pods, endpoint, &net.OpError{Op: "dial", Err: &net.DNSError{Name: "nobody.invalid"}}, "check the address in the option endpoint: its name must not be one that this server resolves"},
		{Pods, pod, apierrors.NewInternalError(errors.New("")), ""},
	} {
		config := &rest.Config{Host: "http://127.0.0.1"}
		config.NegotiatedSerializer = newWireSerializer(nil)
		l, err := newListWatch(c.resource, config, http.DefaultTransport)
		fatal.If(t, err)
		l.access = c.access
		if got := l.advice(classify(fmt.Errorf("wrapped: %w", c.err))); got != c.want {
			t.Errorf("%v: got %q, want %q", c.err, got, c.want)
		}
	}
}

func TestEndings(t *testing.T) {
	status := func(reason metav1.StatusReason, code int32) error {
		return &apierrors.StatusError{ErrStatus: metav1.Status{Reason: reason, Code: code}}
	}
	for _, c := range []struct {
		name string
		err  error
		want ending
	}{
		{"nothing is wrong", nil, closed},
		{"nothing is said", errSilent, silent},
		{"the connection breaks", io.ErrUnexpectedEOF, broken},
		{"an error event without a Status", apierrors.FromObject(&corev1.Pod{}), rejected},
		{"a version that is forgotten", apierrors.NewResourceExpired(""), expired},
		{"a version that is gone", status(metav1.StatusReasonGone, http.StatusGone), expired},
		{"no streamed lists", status(metav1.StatusReasonInvalid, http.StatusUnprocessableEntity), unsupported},
		{"a reason without a code", status(metav1.StatusReasonForbidden, 0), forbidden},
		{"a code without a reason", status("", http.StatusUnauthorized), unauthorized},
		{"no such resource", status(metav1.StatusReasonNotFound, http.StatusNotFound), absent},
		{"a fault of the server", apierrors.NewInternalError(errors.New("oops")), failing},
		{"a fault of ours", apierrors.NewBadRequest(""), rejected},
	} {
		if got := classify(c.err); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, ends[got], ends[c.want])
		}
		if !slices.Contains(WatchEnds, ends[c.want].metric) {
			t.Errorf("%s: metrics do not know %q", c.name, ends[c.want].metric)
		}
	}
}
