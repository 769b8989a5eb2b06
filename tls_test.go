package headless

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/coredns-headless/headless/internal/kubetest"
)

// TestTLS watches a server that speaks TLS and HTTP/2 and wants a client certificate.
func TestTLS(t *testing.T) {
	certFile, keyFile := kubetest.WritePEM(t, t.TempDir())
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	authority := x509.NewCertPool()
	authority.AddCert(cert.Leaf)

	api := kubetest.NewWebServer(t)
	target, err := url.Parse(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	protocols := make(chan string, 100)
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocols <- r.Proto
		proxy.ServeHTTP(w, r)
	}))
	front.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: authority, ClientAuth: tls.RequireAndVerifyClientCert}
	front.EnableHTTP2 = true
	front.StartTLS()
	defer front.Close()
	defer front.CloseClientConnections()

	h := watcher(t, "endpoint "+front.URL, "tls "+certFile+" "+keyFile+" "+certFile)
	h.start()
	defer h.stop()
	if !h.Ready() {
		t.Fatalf("not ready, without %q", h.listing.Missing())
	}
	checkWeb(t, h)
	if got := <-protocols; got != "HTTP/2.0" {
		t.Errorf("the first request came over %s, want HTTP/2.0", got)
	}

	other, otherKey := kubetest.WritePEM(t, t.TempDir())
	for name, files := range map[string]string{
		"a certificate of another authority": other + " " + otherKey + " " + certFile,
		"another authority for the server":   certFile + " " + keyFile + " " + other,
	} {
		h := watcher(t, "endpoint "+front.URL, "tls "+files, "startup_timeout 200ms")
		h.start()
		if h.Ready() {
			t.Errorf("%s: synced all the same", name)
		}
		h.stop()
	}
}
