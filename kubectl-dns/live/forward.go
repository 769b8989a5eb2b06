package live

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// pods are the Pods of a Service, of each of which one port is forwarded once it is asked.
type pods struct {
	config          *rest.Config // of forwarding
	client          kubernetes.Interface
	namespace, name string // of the Service
	port            int

	mu       sync.Mutex // guards the field below
	forwards map[types.UID]*forward
}

func newPods(config *rest.Config, service string, port int) (*pods, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	p := &pods{config: rest.CopyConfig(config), client: client, port: port, forwards: make(map[types.UID]*forward)}
	p.config.Wrap(func(t http.RoundTripper) http.RoundTripper { return hasty{t} })
	p.namespace, p.name, _ = strings.Cut(service, "/")
	return p, nil
}

// list returns the servers in the Pods that run, and ends forwarding to those that do not any more.
func (p *pods) list(ctx context.Context) (servers []*Server, err error) {
	service, err := p.client.CoreV1().Services(p.namespace).Get(ctx, p.name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot get Service %s/%s, whose Pods are the servers (--service): %w", p.namespace, p.name, err)
	}
	if len(service.Spec.Selector) == 0 {
		return nil, fmt.Errorf("expected a Service with a selector, whose Pods are the servers (--service): %s/%s has none", p.namespace, p.name)
	}
	selector := labels.SelectorFromSet(service.Spec.Selector).String()
	found, err := p.client.CoreV1().Pods(p.namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("cannot list the Pods of Service %s/%s: %w", p.namespace, p.name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	here := make(map[types.UID]bool)
	for _, pod := range found.Items {
		if pod.Status.Phase != corev1.PodRunning {
			continue
		}
		here[pod.UID] = true
		f := p.forwards[pod.UID]
		if f == nil {
			f = &forward{of: p, pod: pod.Name}
			p.forwards[pod.UID] = f
		}
		servers = append(servers, &Server{name: pod.Name, base: f.open, why: f.heard})
	}
	for uid, f := range p.forwards {
		if !here[uid] {
			f.close()
			delete(p.forwards, uid)
		}
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("no Pod of Service %s/%s runs (%s)", p.namespace, p.name, selector)
	}
	slices.SortFunc(servers, func(a, b *Server) int { return strings.Compare(a.name, b.name) })
	return servers, nil
}

func (p *pods) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.forwards {
		f.close()
	}
}

// forward leads from a port of this machine to one of a Pod.
type forward struct {
	of  *pods
	pod string

	mu   sync.Mutex // guards the fields below
	base string
	stop context.CancelFunc // nil if nothing is forwarded
	done chan struct{}      // closed when that has ended

	saidMu sync.Mutex
	said   string // why a connection failed, the last one
}

// open returns the URL that leads to the Pod, and forwards it if nothing does.
func (f *forward) open(ctx context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.say("")
	if f.stop != nil {
		select {
		case <-f.done:
			f.stop()
		default:
			return f.base, nil
		}
	}
	dialer, err := f.dialer()
	if err != nil {
		return "", err
	}
	log := funcr.New(func(_, text string) { f.say(text) }, funcr.Options{})
	running, stop := context.WithCancel(logr.NewContext(context.Background(), log))
	ready, done := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.NewOnAddressesForStreamingWithContext(running, dialer,
		[]string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", f.of.port)}, ready, nil, nil)
	if err != nil {
		stop()
		return "", err
	}
	var failed error
	go func() {
		defer close(done)
		failed = forwarder.ForwardPorts()
	}()
	select {
	case <-ready:
	case <-done:
		stop()
		return "", fmt.Errorf("cannot forward a port of the Pod: %w", failed)
	case <-ctx.Done():
		stop()
		return "", fmt.Errorf("cannot forward a port of the Pod: %w", unquoted(ctx.Err()))
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		stop()
		return "", err
	}
	f.base, f.stop, f.done = fmt.Sprintf("http://127.0.0.1:%d", ports[0].Local), stop, done
	return f.base, nil
}

// dialer returns what connects to the Pod by way of the API server: by WebSocket, or else by SPDY, which older ones have.
func (f *forward) dialer() (httpstream.Dialer, error) {
	at := f.of.client.CoreV1().RESTClient().Post().
		Resource("pods").Namespace(f.of.namespace).Name(f.pod).SubResource("portforward").URL()
	webSocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(at, f.of.config)
	if err != nil {
		return nil, err
	}
	transport, upgrader, err := spdy.RoundTripperFor(f.of.config)
	if err != nil {
		return nil, err
	}
	plain := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, at)
	return portforward.NewFallbackDialerForStreaming(webSocket, plain, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

// hasty ends a request to forward that is not answered in time. Its own end would not: the library does not pass a context on, and so each
// attempt would leave a connection.
type hasty struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper. What the connection is upgraded to may last longer.
func (h hasty) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(request.Context(), patience)
	defer cancel()
	return h.RoundTripper.RoundTrip(request.WithContext(ctx))
}

// say keeps what the library says of a connection that failed.
func (f *forward) say(text string) {
	f.saidMu.Lock()
	defer f.saidMu.Unlock()
	f.said = text
}

// heard returns why a connection failed, or nil if that is not known.
func (f *forward) heard() error {
	f.saidMu.Lock()
	defer f.saidMu.Unlock()
	switch {
	case f.said == "":
		return nil
	case strings.Contains(f.said, "connection refused"):
		return fmt.Errorf("nothing listens at port %d of the Pod: does its Corefile have the option insight, and with this port (--port)?", f.of.port)
	}
	return errors.New(f.said)
}

func (f *forward) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stop != nil {
		f.stop()
		<-f.done
	}
}
