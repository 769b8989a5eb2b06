package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	_ "k8s.io/client-go/plugin/pkg/client/auth/oidc" // for kubeconfigs, as in kubernetes
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// clientConfig returns how to reach the API server: by kubeconfig, by endpoint, or from inside the cluster.
func (o *Options) clientConfig(userAgent string) (*rest.Config, error) {
	rc, err := o.load()
	if err != nil {
		return nil, err
	}
	rc.ContentType = runtime.ContentTypeProtobuf
	rc.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	rc.UserAgent = userAgent
	if o.QPS > 0 {
		rc.QPS = o.QPS
	}
	if o.Burst > 0 {
		rc.Burst = o.Burst
	}
	rc.Wrap(func(next http.RoundTripper) http.RoundTripper { return patient{next} })
	if o.MaxInflight > 0 {
		slots := make(chan struct{}, o.MaxInflight)
		rc.Wrap(func(next http.RoundTripper) http.RoundTripper { return inflight{next, slots} })
	}
	return rc, measureRequests(rc)
}

var userinfo = regexp.MustCompile(`//[^/\s]*@`)

// WithoutUserinfo returns text without the user and the password of a URL in it.
func WithoutUserinfo(text string) string { return userinfo.ReplaceAllString(text, "//") }

// OptionError is what is wrong with an option of a stanza, or with a stanza without one: then Option
// is "".
type OptionError struct {
	Option, text string
}

func (e *OptionError) Error() string { return strings.TrimPrefix(e.Option+": ", ": ") + e.text }

// wrong returns err as an OptionError: of the option that says which API server to ask, unless it is one already.
func (o *Options) wrong(err error) error {
	if is := (*OptionError)(nil); errors.As(err, &is) {
		return is
	}
	e := &OptionError{text: WithoutUserinfo(err.Error())}
	switch {
	case o.Kubeconfig != "":
		e.Option = "kubeconfig"
	case o.Endpoint != "":
		e.Option = "endpoint"
	}
	return e
}

// load returns the address of the API server and the credentials.
func (o *Options) load() (*rest.Config, error) {
	switch {
	case o.Kubeconfig != "":
		rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: o.Kubeconfig}
		config, err := rules.Load()
		if err != nil {
			return nil, err
		}
		name := cmp.Or(o.Context, config.CurrentContext)
		if _, ok := config.Contexts[name]; !ok && (o.Context != "" || len(config.Contexts) > 0) {
			return nil, fmt.Errorf("%s has no context %q, expected one of %s behind it", o.Kubeconfig, name,
				strings.Join(slices.Sorted(maps.Keys(config.Contexts)), ", "))
		}
		return clientcmd.NewDefaultClientConfig(*config, &clientcmd.ConfigOverrides{CurrentContext: o.Context}).ClientConfig()
	case o.Endpoint != "":
		for _, file := range []string{o.CertFile, o.KeyFile, o.CAFile} {
			if file == "" {
				continue
			}
			if _, err := os.Stat(file); err != nil {
				return nil, &OptionError{"tls", err.Error()}
			}
		}
		overrides := &clientcmd.ConfigOverrides{
			ClusterInfo: clientcmdapi.Cluster{Server: o.Endpoint, CertificateAuthority: o.CAFile},
			AuthInfo:    clientcmdapi.AuthInfo{ClientCertificate: o.CertFile, ClientKey: o.KeyFile},
		}
		return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
			&clientcmd.ClientConfigLoadingRules{}, overrides).ClientConfig()
	}
	rc, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		err = errors.New("no API server to ask, for this is no Pod of a cluster: KUBERNETES_SERVICE_HOST is not set; " +
			"expected one of the options endpoint, kubeconfig and manifests")
	}
	return rc, err
}

// newRESTClient returns a client for one group of the API. rc says who decodes. It follows no redirects, for they
// would take the credentials along.
func newRESTClient(rc *rest.Config, transport http.RoundTripper, gv schema.GroupVersion) (rest.Interface, error) {
	config := *rc
	config.GroupVersion = &gv
	if config.APIPath = "/apis"; gv.Group == "" {
		config.APIPath = "/api"
	}
	return rest.RESTClientForConfigAndClient(&config, &http.Client{
		Transport: transport,
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			return fmt.Errorf("the API server redirects to %s://%s, and redirects are not followed",
				r.URL.Scheme, r.URL.Host)
		},
	})
}

// dialer opens connections. A connection from which nothing comes, not even at the level of TCP,
// breaks after 25 seconds. HTTP/2 has pings besides: client-go sends one after 30 seconds and waits
// for 15.
var dialer = &net.Dialer{
	Timeout: 5 * time.Second,
	KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3,
	},
}

// Dial opens a connection that Stop closes. A transport goes on dialling when the request that it
// dials for has ended.
func (a *Server) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.ctx, cancel)()
	conn, err := a.conns.DialContext(ctx, network, address)
	if err == nil && a.ctx.Err() != nil {
		_ = conn.Close() // Stop has closed the others
		return nil, a.ctx.Err()
	}
	return conn, err
}

// inflight is a RoundTripper that lets one request run at once for each of its slots.
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

// patient is a RoundTripper that gives up a request when the server says nothing for MaxSilence:
// its answer does not begin, or does not go on. That is longer than an API server takes to give up a
// list itself, and longer than the time between two bookmarks of a watch.
//
// A watch of what does not change may be silent and well all the same. The server sends the first
// bookmark only when its cache of the resource has got beyond the version at which the watch began:
// by a change, by a list that has to be of the present, or by what etcd reports every 10 minutes
// unless it is told otherwise (kubeadm: 5 s). Keepalives and pings do not tell such a watch from a
// dead one, for they go no further than to the next proxy. So it is given up, too, which clients do
// not notice.
type patient struct {
	next http.RoundTripper
}

// MaxSilence is how long patient waits for a request or a watch of which nothing comes.
const MaxSilence = 90 * time.Second

var errSilent = fmt.Errorf("the API server has said nothing for %v", MaxSilence)

func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	timer := time.AfterFunc(MaxSilence, func() { cancel(errSilent) })
	resp, err := p.next.RoundTrip(r.WithContext(ctx))
	if err == nil {
		resp.Body = &patientBody{resp.Body, timer, cancel, func() error { return context.Cause(ctx) }}
		return resp, nil
	}
	err = cmp.Or(context.Cause(ctx), err)
	timer.Stop()
	cancel(nil)
	return nil, err
}

// patientBody is the body of an answer that patient waits for.
type patientBody struct {
	io.ReadCloser
	timer  *time.Timer
	cancel context.CancelCauseFunc
	cause  func() error // why it was cancelled
}

// Read implements io.Reader.
func (b *patientBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.timer.Reset(MaxSilence)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = cmp.Or(b.cause(), err)
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

// tap is the RoundTripper of a listWatch, whose requests come one after the other. It keeps what
// goes wrong below HTTP, for of some of these errors client-go says only that a watch has no events.
type tap struct {
	next http.RoundTripper
	err  error       // of the last request: nothing came back
	body *tappedBody // of its answer, if it is a watch
}

func (t *tap) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	resp, t.err = t.next.RoundTrip(r)
	t.body = nil
	if t.err == nil && r.URL.Query().Get("watch") == "true" {
		t.body = &tappedBody{ReadCloser: resp.Body}
		resp.Body = t.body
	}
	return resp, t.err
}

// tappedBody is the body of a watch. Whoever has read it to its end may read err.
type tappedBody struct {
	io.ReadCloser
	err error // it did not end as the server wanted
}

// Read implements io.Reader. A watch ends in the middle, however it breaks: a reflector goes on
// where that happens, but lists everything again after any other error.
func (b *tappedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err, err = err, io.ErrUnexpectedEOF
	}
	return n, err
}
