package live

import (
	"io"
	"net"
	"net/http"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coredns-headless/headless/internal/kubetest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// cluster is an API server that forwards ports of Pods, by SPDY alone.
type cluster struct {
	*kubetest.Server
	open atomic.Int64 // connections that forward

	mu      sync.Mutex        // guards the field below
	behind  map[string]string // the addresses of what listens in Pods, by their names
	forward []httpstream.Connection
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{Server: kubetest.NewServer(t), behind: make(map[string]string)}
	c.Intercept(func(w http.ResponseWriter, r *http.Request, server http.HandlerFunc) {
		pod, isForward := strings.CutSuffix(r.URL.Path, "/portforward")
		if !isForward {
			server(w, r)
			return
		}
		w.Header().Set(httpstream.HeaderProtocolVersion, "portforward.k8s.io")
		streams := make(chan httpstream.Stream, 16)
		conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
			streams <- s
			return nil
		})
		if conn == nil {
			return // it asked for WebSocket
		}
		c.open.Add(1)
		defer c.open.Add(-1)
		c.mu.Lock()
		addr := c.behind[path.Base(pod)]
		c.forward = append(c.forward, conn)
		c.mu.Unlock()
		var said httpstream.Stream
		for {
			select {
			case s := <-streams:
				if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
					said = s
					continue
				}
				go pipe(s, said, addr)
			case <-conn.CloseChan():
				return
			}
		}
	})
	return c
}

// pipe connects a stream to an address, or says why that fails.
func pipe(data, said httpstream.Stream, addr string) {
	defer func() { _ = data.Close(); _ = said.Close() }() // the client has gone if that fails
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		_, _ = said.Write([]byte("error forwarding port: " + err.Error()))
		return
	}
	defer func() { _ = conn.Close() }()
	go func() { _, _ = io.Copy(conn, data) }()
	_, _ = io.Copy(data, conn)
}

// run makes a Pod run, with what listens at an address in it.
func (c *cluster) run(name, addr string, phase corev1.PodPhase) *corev1.Pod {
	c.mu.Lock()
	c.behind[name] = addr
	c.mu.Unlock()
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name, UID: types.UID(name), Labels: map[string]string{"k8s-app": "kube-dns"}},
		Status:     corev1.PodStatus{Phase: phase},
	}
	c.Put(pod)
	return pod
}

// dnsService returns the Service whose Pods run makes.
func dnsService() *corev1.Service {
	service := kubetest.Service("kube-dns", "10.96.0.10")
	service.Namespace, service.Spec.Selector = "kube-system", map[string]string{"k8s-app": "kube-dns"}
	return service
}

// reach returns what leads to the Pods of that Service.
func (c *cluster) reach() *Reach {
	return &Reach{
		Service: DefaultService, Port: DefaultPort,
		Config: func() (*rest.Config, error) { return &rest.Config{Host: c.URL}, nil },
	}
}

// askOne asks the only Pod of the Service, and returns its error.
func (c *cluster) askOne(t *testing.T) string {
	t.Helper()
	c.Put(dnsService())
	c.run("a", "", corev1.PodRunning)
	r := c.reach()
	defer r.Close()
	servers, err := r.Servers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return Ask(t.Context(), servers).Servers[0].Error
}

// cut ends all connections that forward.
func (c *cluster) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.forward {
		_ = conn.Close()
	}
	c.forward = nil
}

// TestPodsOfTheService are asked by forwarded ports: those that run, as long as they do, again when a connection was lost; and one that
// does not listen says what is missing.
func TestPodsOfTheService(t *testing.T) {
	c := newCluster(t)
	service := dnsService()
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil || dead.Close() != nil {
		t.Fatal(err)
	}
	one, two := serve(t), serve(t)
	r := c.reach()
	defer r.Close()
	ask := func() *Top {
		t.Helper()
		servers, err := r.Servers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return Ask(t.Context(), servers)
	}
	errors := func(top *Top) string {
		var all []string
		for _, s := range top.Servers {
			all = append(all, s.Name+": "+s.Error)
		}
		return strings.Join(all, "\n")
	}
	if _, err := r.Servers(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot get Service kube-system/kube-dns") {
		t.Errorf("got %v, want that there is no Service", err)
	}
	c.Put(service)
	if _, err := r.Servers(t.Context()); err == nil || !strings.Contains(err.Error(), "no Pod of Service kube-system/kube-dns runs (k8s-app=kube-dns)") {
		t.Errorf("got %v, want that there is no Pod", err)
	}
	last := c.run("c", dead.Addr().String(), corev1.PodRunning)
	c.run("b", two.at, corev1.PodRunning)
	first := c.run("a", one.at, corev1.PodRunning)
	c.run("d", one.at, corev1.PodPending)
	for range 2 {
		const want = "a: \nb: \nc: nothing listens at port 6054 of the Pod: does its Corefile have the option insight, and with this port (--port)?"
		kubetest.Eventually(t, want, func() bool { got := errors(ask()); return got == want })
		c.cut() // and they are connected again
	}
	kubetest.Eventually(t, "those that listen are connected to", func() bool { ask(); return c.open.Load() >= 2 })
	c.Delete(first)
	c.Delete(last)
	kubetest.Eventually(t, "the Pods that are gone are not asked", func() bool { return errors(ask()) == "b: " })
	kubetest.Eventually(t, "nor connected to", func() bool { return c.open.Load() == 1 })
	r.Close()
	kubetest.Eventually(t, "in the end nothing is forwarded", func() bool { return c.open.Load() == 0 })

	plain := service.DeepCopy()
	plain.Spec.Selector = nil
	c.Put(plain)
	if _, err := r.Servers(t.Context()); err == nil || !strings.Contains(err.Error(), "expected a Service with a selector") {
		t.Errorf("got %v, want that the Service has no selector", err)
	}
}

// TestPodsThatMayNotBeForwarded: the error is that of the API server.
func TestPodsThatMayNotBeForwarded(t *testing.T) {
	c := newCluster(t)
	c.Intercept(func(w http.ResponseWriter, r *http.Request, server http.HandlerFunc) {
		if strings.HasSuffix(r.URL.Path, "/portforward") {
			http.Error(w, "you may not create pods/portforward", http.StatusForbidden)
			return
		}
		server(w, r)
	})
	if got := c.askOne(t); !strings.Contains(got, "cannot forward a port of the Pod: ") || !strings.Contains(got, "you may not create pods/portforward") {
		t.Errorf("got %q, want why", got)
	}
}

// TestForwardingThatIsNotAnsweredEnds: an attempt that fails leaves no connection.
func TestForwardingThatIsNotAnsweredEnds(t *testing.T) {
	t.Parallel() // it takes as long as a server has to answer
	c := newCluster(t)
	var hanging atomic.Int64
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	c.Intercept(func(w http.ResponseWriter, r *http.Request, server http.HandlerFunc) {
		if !strings.HasSuffix(r.URL.Path, "/portforward") {
			server(w, r)
			return
		}
		hanging.Add(1)
		defer hanging.Add(-1)
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	})
	if got := c.askOne(t); !strings.HasPrefix(got, "cannot forward a port of the Pod: ") { // whoever sees the end first says why
		t.Errorf("got %q, want that nobody answers", got)
	}
	kubetest.Eventually(t, "the connection is closed", func() bool { return hanging.Load() == 0 })
}
