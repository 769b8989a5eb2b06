package headless

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/buildinfo"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/logtest"
)

// ownLines returns what the plugin has logged, without times.
func ownLines(logged *logtest.Captured) string {
	return regexp.MustCompile(`(?m)^.*\[(INFO|WARNING|ERROR)\] plugin/\w+: `).ReplaceAllString(logged.String(), "")
}

// TestStartIsLogged: what is served, from where, and how much there is of it.
func TestStartIsLogged(t *testing.T) { // not parallel: it captures the log
	s := kubetest.NewWebServer(t)
	kubeconfig := kubetest.WriteKubeconfig(t, s.URL, "{}", "{}")
	states, err := filepath.Abs("testdata/states.yaml")
	fatal.If(t, err)
	for _, c := range []struct {
		name, stanza string
		want         []string // lines
	}{
		{
			"from an API server", "headless cluster.local in-addr.arpa {\nendpoint " + strings.Replace(s.URL, "//", "//u:hunter2@", 1) + "\n}",
			[]string{
				"serving cluster.local. in-addr.arpa. from the API server " + s.URL + ", by the option endpoint",
				"with ttl 5, headless_ttl 5, negative_ttl 5, hostnames ready, hold 5s, pods disabled",
				"synced after #: 1 namespaces, 2 services, 1 endpointslices, 1 endpoints",
			},
		},
		{
			"by a kubeconfig, with options", "headless cluster.local {\nkubeconfig " + kubeconfig + "\nttl 30\nnegative_ttl 2\nhostnames all\nhold 0s\npods insecure\n" +
				"endpoints headless\nendpoint_pod_names\nzonal\ntopology hints\nclient_subnet 10.0.0.1\nsoa_refresh 40\ntransfer_limit 9\nnamespaces ns a\nlabels app in (a, b)\nfallthrough in-addr.arpa\n}",
			[]string{
				"serving cluster.local. from the API server " + s.URL + ", by kubeconfig " + kubeconfig,
				"with ttl 30, headless_ttl 30, negative_ttl 2, hostnames all, hold 0s, pods insecure, endpoints headless, endpoint_pod_names, zonal, topology hints, client_subnet [10.0.0.1/32], " +
					"namespaces ns a, labels app in (a,b), fallthrough in-addr.arpa., soa_refresh 40 10, transfer_limit 9",
				"synced after #: 1 namespaces, 0 services, 0 endpointslices, 0 endpoints",
			},
		},
		{
			"from files, with other options", "headless cluster.local clusterset.local {\nmanifests " + states + "\nmulticluster clusterset.local\npods verified\n" +
				"ignore empty_service\nsearch\nnamespace_labels a=b\n}",
			[]string{
				"serving cluster.local. clusterset.local. from the manifests " + states,
				"with ttl 5, headless_ttl 5, negative_ttl 5, hostnames ready, hold 5s, pods verified, ignore empty_service, search, multicluster clusterset.local., " +
					"namespace_labels a=b",
				"synced after #: 0 namespaces, 4 services, 5 endpointslices, 2 pods, 1 serviceimports, 1 endpointslices of serviceimports, 12 endpoints",
			},
		},
		{
			"without endpoints", "headless cluster.local {\nendpoint " + s.URL + "\nnoendpoints\n}",
			[]string{
				"serving cluster.local. from the API server " + s.URL + ", by the option endpoint",
				"with ttl 5, headless_ttl 5, negative_ttl 5, hostnames ready, hold 5s, pods disabled, noendpoints",
				"synced after #: 1 namespaces, 2 services, 0 endpoints",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			logged := logtest.Capture(t)
			h := newTestHeadlessFrom(t, c.stanza)
			h.start()
			defer h.stop()
			want := buildinfo.Get().String() + "\n" + strings.Join(c.want, "\n") + "\n"
			kubetest.Eventually(t, "all is logged:\n"+want, func() bool {
				return regexp.MustCompile(`after [0-9.]+m?s:`).ReplaceAllString(ownLines(logged), "after #:") == want
			})
		})
	}
}

// TestCacheInFrontIsLogged: it takes the reasons from denials, if there are any.
func TestCacheInFrontIsLogged(t *testing.T) { // not parallel: it captures the log
	const line = "cache is in the same server block"
	for _, c := range []struct {
		block string
		want  int
	}{{"cache\nheadless {", 1}, {"cache\nheadless {\nno_explain", 0}, {"headless {", 0}} {
		logged := logtest.Capture(t)
		startServer(t, "cluster.local:0 {\n"+bound+c.block+"\nmanifests testdata/cluster.yaml\n}\n}")
		if got := ownLines(logged); strings.Count(got, line) != c.want {
			t.Errorf("%q: got the log\n%s\nwant %q %d times", c.block, got, line, c.want)
		}
	}
}

func TestSyncIsLoggedOnceItIsThere(t *testing.T) { // not parallel: it captures the log
	logged := logtest.Capture(t)
	s := kubetest.NewWebServer(t)
	release := s.Hold(kube.Slices)
	defer release()
	h := watching(t, s, "startup_timeout 100ms")
	if got := ownLines(logged); strings.Contains(got, "synced") || !strings.Contains(got, "endpointslices not listed yet") {
		t.Errorf("before all is listed: got the log\n%s", got)
	}
	release()
	kubetest.Eventually(t, "it is logged", func() bool { return strings.Contains(ownLines(logged), "\nsynced after ") })
	s.End()
	s.Compact()
	kubetest.Eventually(t, "everything is listed again", func() bool { return s.Syncs(kube.Services) > 1 })
	h.stop()
	if got := ownLines(logged); strings.Count(got, "\nsynced after ") != 1 {
		t.Errorf("got the log\n%s\nwant one line of the sync", got)
	}
}
