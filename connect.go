package headless

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	goruntime "runtime"
	"time"

	"github.com/coredns/coredns/coremain"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	_ "k8s.io/client-go/plugin/pkg/client/auth/oidc" // a kubeconfig may ask for it, as with the kubernetes plugin
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// clientConfig returns how to reach the API server: by kubeconfig, by endpoint, or from inside the cluster.
func (cfg *config) clientConfig() (*rest.Config, error) {
	rc, err := cfg.loadClientConfig()
	if err != nil {
		return nil, err
	}
	rc.ContentType = runtime.ContentTypeProtobuf
	rc.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	rc.UserAgent = fmt.Sprintf("%s/%s %s (%s/%s)", coremain.CoreName, coremain.CoreVersion, pluginName, goruntime.GOOS, goruntime.GOARCH)
	if cfg.qps > 0 {
		rc.QPS = cfg.qps
	}
	if cfg.burst > 0 {
		rc.Burst = cfg.burst
	}
	rc.Wrap(func(next http.RoundTripper) http.RoundTripper { return patient{next} })
	if cfg.maxInflight > 0 {
		slots := make(chan struct{}, cfg.maxInflight)
		rc.Wrap(func(next http.RoundTripper) http.RoundTripper { return inflight{next, slots} })
	}
	return rc, measureRequests(rc)
}

var userinfo = regexp.MustCompile(`//[^/\s]*@`)

// withoutUserinfo returns text without the user and the password of a URL in it.
func withoutUserinfo(text string) string { return userinfo.ReplaceAllString(text, "//") }

func (cfg *config) loadClientConfig() (*rest.Config, error) {
	switch {
	case cfg.kubeconfig != "":
		rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: cfg.kubeconfig}
		overrides := &clientcmd.ConfigOverrides{CurrentContext: cfg.context}
		return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	case cfg.endpoint != "":
		overrides := &clientcmd.ConfigOverrides{
			ClusterInfo: clientcmdapi.Cluster{Server: cfg.endpoint, CertificateAuthority: cfg.caFile},
			AuthInfo:    clientcmdapi.AuthInfo{ClientCertificate: cfg.certFile, ClientKey: cfg.keyFile},
		}
		return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&clientcmd.ClientConfigLoadingRules{}, overrides).ClientConfig()
	}
	return rest.InClusterConfig()
}

// newHTTPClient returns the client for the API server that rc describes. It follows no redirects: the credentials would go
// along.
func newHTTPClient(rc *rest.Config) (*http.Client, error) {
	transport, err := rest.TransportFor(rc)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: transport, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		return fmt.Errorf("the API server redirects to %s://%s, and redirects are not followed", r.URL.Scheme, r.URL.Host)
	}}, nil
}

// newRESTClient returns a client for one group of the API.
func newRESTClient(rc *rest.Config, client *http.Client, gv schema.GroupVersion) (rest.Interface, error) {
	config := *rc
	config.GroupVersion, config.NegotiatedSerializer = &gv, newWireSerializer()
	if config.APIPath = "/apis"; gv.Group == "" {
		config.APIPath = "/api"
	}
	return rest.RESTClientForConfigAndClient(&config, client)
}

// dialer opens connections. A connection from which nothing comes, not even at the level of TCP, breaks after 25 seconds.
// HTTP/2 has pings besides: client-go sends one after 30 seconds and waits for 15.
var dialer = &net.Dialer{
	Timeout:         5 * time.Second,
	KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
}

// dial opens a connection that stop closes. A transport goes on dialling when the request that it dials for has ended.
func (a *apiServer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.ctx, cancel)()
	conn, err := a.conns.DialContext(ctx, network, address)
	if err == nil && a.ctx.Err() != nil {
		_ = conn.Close() // stop has closed the others
		return nil, a.ctx.Err()
	}
	return conn, err
}

// inflight is a RoundTripper that lets as many requests run at once as it has slots.
type inflight struct {
	next  http.RoundTripper
	slots chan struct{}
}

func (f inflight) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
		return f.next.RoundTrip(r)
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// patient is a RoundTripper that gives up a request when the server says nothing for maxSilence: neither its answer begins, nor
// goes on. That is more than an API server takes to give up a list itself, or lets pass between two bookmarks of a watch. But the first
// one it sends only when its cache of the resource has got beyond the version at which the watch began, by a change, by a list that has
// to be of the present, or by what etcd reports every 10 minutes unless it is told otherwise (kubeadm: 5 s). So a watch of what does
// not change may be silent and well. Neither keepalives nor pings tell that from one that is dead, for they go no further than to the
// next proxy. So it is given up, which clients do not notice.
type patient struct {
	next http.RoundTripper
}

const maxSilence = 90 * time.Second

var errSilent = fmt.Errorf("the API server has said nothing for %v", maxSilence)

// brokenKey is the key in a request's context of a *broken.
type brokenKey struct{}

// broken is what went wrong below HTTP. For a watch client-go says of some of that only that there are no events.
type broken struct {
	request error // nothing came back
	answer  error // of a watch: it did not end as the server wanted
}

func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	timer := time.AfterFunc(maxSilence, func() { cancel(errSilent) })
	resp, err := p.next.RoundTrip(r.WithContext(ctx))
	if err == nil {
		body := &patientBody{ReadCloser: resp.Body, timer: timer, cancel: cancel, cause: func() error { return context.Cause(ctx) }}
		if r.URL.Query().Get("watch") == "true" {
			body.watch, _ = ctx.Value(brokenKey{}).(*broken)
		}
		resp.Body = body
		return resp, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	timer.Stop()
	cancel(nil)
	if b, ok := ctx.Value(brokenKey{}).(*broken); ok {
		b.request = err
	}
	return nil, err
}

// patientBody is the body of an answer that patient waits for.
type patientBody struct {
	io.ReadCloser
	timer  *time.Timer
	cancel context.CancelCauseFunc
	cause  func() error // why it was cancelled
	watch  *broken      // nil if it is none
}

// Read implements io.Reader. A watch ends in the middle, however it breaks: a reflector goes on where that happens, but lists
// everything again after any other error.
func (b *patientBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.timer.Reset(maxSilence)
	}
	if b.watch != nil && err != nil && !errors.Is(err, io.EOF) {
		b.watch.answer, err = cmp.Or(b.cause(), err), io.ErrUnexpectedEOF
	}
	return n, err
}

// Close implements io.Closer.
func (b *patientBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
