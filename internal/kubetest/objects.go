package kubetest

import (
	"fmt"
	"io"
	golog "log"
	"net/http/httptest"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
)

// Namespace returns a Namespace.
func Namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// Service returns a Service of namespace ns with a port http.
func Service(name, clusterIP string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: clusterIP, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
}

// Slice returns a slice of a Service of namespace ns with a port http and one ready endpoint.
func Slice(name, service, address, hostname string) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(80))}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}, Hostname: new(hostname)}},
	}
}

// EmptySlice returns a slice like Slice's without endpoints.
func EmptySlice(name, service string) *discoveryv1.EndpointSlice {
	return Changed(Slice(name, service, "", ""), func(o *discoveryv1.EndpointSlice) { o.Endpoints = nil })
}

// Changed returns obj after change.
func Changed[O any](obj O, change func(O)) O {
	change(obj)
	return obj
}

// NewWebServer returns a Server that has a headless Service web with one pod web-0, and a ClusterIP Service db.
func NewWebServer(t testing.TB) *Server {
	s := NewServer(t)
	s.Put(WebObjects()...)
	return s
}

// WebObjects returns the objects of NewWebServer.
func WebObjects() []apiruntime.Object {
	return []apiruntime.Object{
		Namespace("ns"), Service("web", "None"), Slice("web-a", "web", "10.0.0.1", "web-0"), Service("db", "10.96.0.1"),
	}
}

// NewSecureWebServer returns a Server like NewWebServer's that speaks TLS, with a certificate of nobody's: client-go sends no credentials
// without TLS.
func NewSecureWebServer(t testing.TB) *Server {
	s := New()
	s.Put(WebObjects()...)
	s.Server = httptest.NewUnstartedServer(s)
	s.Server.EnableHTTP2 = true
	s.Server.Config.ErrorLog = golog.New(io.Discard, "", 0)
	s.start(t, (*httptest.Server).StartTLS)
	return s
}

// Triggered gives a slice the time of the change that it is due to.
func Triggered(es *discoveryv1.EndpointSlice, text string) *discoveryv1.EndpointSlice {
	es.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: text}
	return es
}

// WithSelector gives svc a selector.
func WithSelector(svc *corev1.Service) *corev1.Service {
	svc.Spec.Selector = map[string]string{"app": svc.Name}
	return svc
}

// BigSlice returns the EndpointSlice of the pods web-lo up to web-hi.
func BigSlice(lo, hi int) *discoveryv1.EndpointSlice {
	es := &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprint("web-", lo), Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: "web"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(80))}},
	}
	for i := lo; i < hi; i++ {
		es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String()}, Hostname: new(fmt.Sprint("web-", i)),
		})
	}
	return es
}
