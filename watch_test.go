package headless

import (
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

func TestWatchNeverDeniesWhatStays(t *testing.T) {
	t.Parallel()
	streamless := (*kubetest.Server).RefuseStreams
	compact := (*kubetest.Server).Compact
	nothing := func(*kubetest.Server) {}
	broken := func(s *kubetest.Server) { s.Fail(apierrors.NewInternalError(fmt.Errorf("etcd is away"))) }
	expired := func(s *kubetest.Server) { s.Fail(kubetest.ErrExpired) }
	for _, tt := range []struct {
		name           string
		setup          func(*kubetest.Server)
		disturb, while func(*kubetest.Server) // end the watches; before the server lets the plugin in again
		syncs          int                    // of each resource, from the start on
	}{
		{"connections drop", nothing, (*kubetest.Server).Cut, nothing, 1},
		{"watches end", nothing, (*kubetest.Server).End, nothing, 1},
		{"connections drop, without streams", streamless, (*kubetest.Server).Cut, nothing, 1},
		{"connections drop and the history is compacted", nothing, (*kubetest.Server).Cut, compact, 2},
		{"the same without streams", streamless, (*kubetest.Server).Cut, compact, 2},
		{"watches end and the history is compacted", nothing, (*kubetest.Server).End, compact, 2},
		{"watches expire", nothing, expired, compact, 2},
		{"watches expire, without streams", streamless, expired, compact, 2},
		{"watches fail", nothing, broken, nothing, 2},
		{"the server no longer streams", nothing, expired, streamless, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := kubetest.NewWebServer(t)
			s.Put(kubetest.Service("app", "None"), kubetest.Slice("app-a", "app", "10.0.1.1", "app-0"), kubetest.Slice("app-b", "app", "10.0.1.2", "app-1"))
			s.Put(kubetest.Service("gone", "10.96.1.1"), kubetest.Namespace("other"))
			for i := range 1000 { // a list takes its time
				name := fmt.Sprintf("filler-%d", i)
				s.Put(kubetest.Slice(name, name, fmt.Sprintf("10.1.%d.%d", i/250, i%250), "pod"))
			}
			tt.setup(s)
			h := watching(t, s)
			// Without an event the watches would count as failed, and the plugin list again.
			s.Put(kubetest.Namespace("event"), kubetest.Service("event", "None"), kubetest.Slice("event", "event", "10.2.0.1", "event-0"))
			eventuallySays(t, h, "event-0.event A", "NOERROR 10.2.0.1")
			eventuallySays(t, h, "event.svc.cluster.local. A", "NOERROR")

			stop := hammer(t, h)
			defer stop()
			release := s.Hold(everyResource...)
			defer release()
			tt.disturb(s)
			kubetest.Eventually(t, "every watch is asked for again", func() bool { n, _ := s.Load(); return n == len(everyResource) })
			s.Put(kubetest.Service("added", "10.96.1.2"), kubetest.Namespace("new"))
			s.Put(kubetest.Slice("app-a", "app", "10.0.1.3", "app-0"))
			s.Put(kubetest.Slice("web-b", "web", "10.0.0.1", "web-0"), kubetest.EmptySlice("app-b", "app"))
			before := h.index.Counts().Slices
			s.Delete(kubetest.Service("gone", ""), kubetest.Namespace("other"), kubetest.EmptySlice("web-a", ""), kubetest.EmptySlice("event", ""))
			tt.while(s)
			checkWeb(t, h)
			release()

			eventuallySays(t, h, "added A", "NOERROR 10.96.1.2")
			eventuallySays(t, h, "gone A", "NXDOMAIN")
			eventuallySays(t, h, "app-0.app A", "NOERROR 10.0.1.3")
			eventuallySays(t, h, "app-1.app A", "NXDOMAIN")
			eventuallySays(t, h, "1.1.0.10.in-addr.arpa. PTR", "NXDOMAIN")
			eventuallySays(t, h, "new.svc.cluster.local. A", "NOERROR")
			eventuallySays(t, h, "other.svc.cluster.local. A", "NXDOMAIN")
			kubetest.Eventually(t, "slices are gone", func() bool { return h.index.Counts().Slices == before-1 })
			for i := range 20 { // one slice takes over from the other, and back
				names := [...]string{"web-a", "web-b"}
				s.Put(kubetest.Slice(names[i%2], "web", "10.0.0.1", "web-0"))
				s.Delete(kubetest.EmptySlice(names[(i+1)%2], ""))
			}
			s.Put(kubetest.EmptySlice("app-a", "app"))
			eventuallySays(t, h, "app A", "NXDOMAIN")
			for _, resource := range everyResource {
				if got := s.Syncs(resource); got != tt.syncs {
					t.Errorf("%s: synced %d times, want %d", resource, got, tt.syncs)
				}
			}
		})
	}
}

func TestUnsyncedAnswersServfail(t *testing.T) {
	t.Parallel()
	hold := func(resources ...string) func(*kubetest.Server) func() {
		return func(s *kubetest.Server) func() { return s.Hold(resources...) }
	}
	for _, tt := range []struct {
		name  string
		block func(*kubetest.Server) (release func())
	}{
		{"nothing is listed", hold(everyResource...)},
		{"Namespaces are not listed", hold(kube.Namespaces)},
		{"Services are not listed", hold(kube.Services)},
		{"slices are not listed", hold(kube.Slices)},
		{"the server is unavailable", func(s *kubetest.Server) func() {
			s.Refuse(http.StatusServiceUnavailable)
			return func() { s.Refuse(0) }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := kubetest.NewWebServer(t)
			release := tt.block(s)
			const timeout = 50 * time.Millisecond
			began := time.Now()
			h := watching(t, s, "startup_timeout "+timeout.String())
			if took := time.Since(began); took < timeout || took >= defaultStartupTimeout {
				t.Errorf("start took %v, want startup_timeout, %v", took, timeout)
			}
			if h.Ready() {
				t.Error("ready")
			}
			for question := range webAnswers {
				if got := says(h, question); got != "SERVFAIL" {
					t.Errorf("%s: got %s, want SERVFAIL", question, got)
				}
			}
			release()
			for question, want := range webAnswers {
				kubetest.Eventually(t, question+" is answered", func() bool {
					got := says(h, question)
					if got != "SERVFAIL" && got != want {
						t.Errorf("%s: got %s, want SERVFAIL or %s", question, got, want)
					}
					return got == want
				})
			}
			if !h.Ready() {
				t.Error("not ready")
			}
		})
	}
}

func TestMalformedObjectsAreSkippedAndCounted(t *testing.T) { // not parallel: it reads counters
	type S = *corev1.Service
	type E = *discoveryv1.EndpointSlice
	svc := func(change func(S)) S { return kubetest.Changed(kubetest.Service("x", "10.96.0.9"), change) }
	slice := func(change func(E)) E { return kubetest.Changed(kubetest.Slice("y", "y", "10.0.0.9", "h"), change) }
	two := func(first string) []string { return []string{first, "10.0.0.9"} }
	yes, no := new(true), new(false)
	for _, tt := range []struct {
		name     string
		object   apiruntime.Object
		reason   string // "": nothing is skipped
		question string
		want     string
	}{
		{"Service with a port 0", svc(func(o S) { o.Spec.Ports[0].Port = 0 }), "port", "x SRV", "NOERROR"},
		{"Service with a port 70000", svc(func(o S) { o.Spec.Ports[0].Port = 70000 }), "port", "x A", "NOERROR 10.96.0.9"},
		{"Service with a negative port", svc(func(o S) { o.Spec.Ports[0].Port = -1 }), "port", "x A", "NOERROR 10.96.0.9"},
		{"Service without ports", svc(func(o S) { o.Spec.Ports = nil }), "", "x A", "NOERROR 10.96.0.9"},
		{"Service without a spec", svc(func(o S) { o.Spec = corev1.ServiceSpec{} }), "", "x A", "NXDOMAIN"},
		{"Service with a garbage ClusterIP", svc(func(o S) { o.Spec.ClusterIPs = two("10.96.0") }), "address", "x A", "NOERROR 10.0.0.9"},
		{"Service with a bad name", svc(func(o S) { o.Name = "x.y" }), "name", "x.y A", "NXDOMAIN"},
		{"Service with an unknown annotation", svc(func(o S) { o.Annotations = map[string]string{kube.HostnamesAnnotation: "Ready!"} }), "annotation", "x A", "NOERROR 10.96.0.9"},
		{"Service with a bad ExternalName", svc(func(o S) { o.Spec = corev1.ServiceSpec{Type: "ExternalName", ExternalName: "a..b"} }), "name", "x A", "NXDOMAIN"},
		{"slice without labels", slice(func(o E) { o.Labels = nil }), "no_service", "y A", "NXDOMAIN"},
		{"slice of FQDNs", slice(func(o E) { o.AddressType = discoveryv1.AddressTypeFQDN }), "fqdn", "y A", "NXDOMAIN"},
		{"slice without endpoints", slice(func(o E) { o.Endpoints = nil }), "", "y A", "NXDOMAIN"},
		{"slice with empty conditions", slice(func(o E) { o.Endpoints[0].Conditions = discoveryv1.EndpointConditions{} }), "", "h.y A", "NOERROR 10.0.0.9"},
		{"slice with an endpoint not ready", slice(func(o E) { o.Endpoints[0].Conditions.Ready = no }), "", "h.y A", "NXDOMAIN"},
		{"slice with an endpoint terminating", slice(func(o E) {
			o.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: no, Serving: yes, Terminating: yes}
		}), "", "y A", "NXDOMAIN"},
		{"slice without ports", slice(func(o E) { o.Ports = nil }), "", "h.y A", "NOERROR 10.0.0.9"},
		{"slice with a port without number", slice(func(o E) { o.Ports[0].Port = nil }), "", "y SRV", "NOERROR"},
		{"slice with a port without name", slice(func(o E) { o.Ports[0].Name = nil }), "", "y SRV", "NOERROR 0 100 80 h.y.ns.svc.cluster.local."},
		{"slice with a port 0", slice(func(o E) { o.Ports[0].Port = new(int32) }), "port", "h.y A", "NOERROR 10.0.0.9"},
		{"slice with a port 70000", slice(func(o E) { o.Ports[0].Port = new(int32(70000)) }), "port", "_http._tcp.y SRV", "NXDOMAIN"},
		{"endpoint with a garbage address", slice(func(o E) { o.Endpoints[0].Addresses = two("10.0.0.256") }), "address", "h.y A", "NOERROR 10.0.0.9"},
		{"endpoint with an empty address", slice(func(o E) { o.Endpoints[0].Addresses = two("") }), "address", "h.y A", "NOERROR 10.0.0.9"},
		{"endpoint with a zoned address", slice(func(o E) { o.Endpoints[0].Addresses = two("fe80::1%eth0") }), "address", "h.y A", "NOERROR 10.0.0.9"},
		{"endpoint without addresses", slice(func(o E) { o.Endpoints[0].Addresses = nil }), "", "y A", "NXDOMAIN"},
		{"endpoint without hostname", slice(func(o E) { o.Endpoints[0].Hostname = nil }), "", "10-0-0-9.y A", "NOERROR 10.0.0.9"},
		{"endpoint with capitals", slice(func(o E) { o.Endpoints[0].Hostname = new("POD-1") }), "", "pod-1.y A", "NOERROR 10.0.0.9"},
		{"endpoint with dots in its hostname", slice(func(o E) { o.Endpoints[0].Hostname = new("Pod.1") }), "name", "10-0-0-9.y A", "NOERROR 10.0.0.9"},
	} {
		resource := kube.Slices
		if _, ok := tt.object.(*corev1.Service); ok {
			resource = kube.Services
		}
		// The object comes in every way there is: streamed, listed, and as a change.
		for way, setup := range map[string]func(*kubetest.Server){"streamed": func(*kubetest.Server) {}, "listed": (*kubetest.Server).RefuseStreams} {
			t.Run(tt.name+", "+way, func(t *testing.T) {
				s := kubetest.NewWebServer(t)
				s.Put(kubetest.Service("y", "None"), tt.object)
				setup(s)
				before := skips(t)
				h := watching(t, s)
				checkWeb(t, h)
				if got := says(h, tt.question); got != tt.want {
					t.Errorf("%s: got %s, want %s", tt.question, got, tt.want)
				}
				if t.Failed() {
					return // what follows would wait in vain
				}
				s.Put(tt.object, kubetest.Service("later", "10.96.0.8"), kubetest.Slice("later", "web", "10.0.0.8", "web-8"))
				eventuallySays(t, h, "later A", "NOERROR 10.96.0.8")
				eventuallySays(t, h, "web-8.web A", "NOERROR 10.0.0.8")
				if got := says(h, tt.question); got != tt.want {
					t.Errorf("%s after a change: got %s, want %s", tt.question, got, tt.want)
				}
				got := skips(t)
				maps.DeleteFunc(got, func(what string, n float64) bool { return n == before[what] })
				want := make(map[string]float64)
				if tt.reason != "" {
					what := resource + " " + tt.reason
					want[what] = before[what] + 2
				}
				if !maps.Equal(got, want) {
					t.Errorf("counted %v, before it was %v, want %v", got, before, want)
				}
			})
		}
	}
}

// requested returns what a plugin with these lines in its stanza lists and watches: the resources with their label and field
// selectors, sorted. It fails the test if one of them is not listed or not watched, or if there is any other request than for
// the versions of ServiceImports.
func requested(t *testing.T, lines string) []string {
	t.Helper()
	s := kubetest.NewWebServer(t)
	s.RefuseStreams() // then there are lists as well
	h := watching(t, s, lines)
	if !h.Ready() {
		t.Fatalf("not ready after start, without %q", h.listing.Missing())
	}
	seen := func() []kubetest.Request {
		return slices.DeleteFunc(s.Seen(""), func(r kubetest.Request) bool { return r.Resource == kubetest.Discovery })
	}
	// Each is asked for a streamed list, a list and a watch.
	kubetest.Eventually(t, "everything is watched", func() bool { return len(seen()) == 3*len(h.clock) })
	want := 0
	if h.imports != nil {
		want = 1
	}
	if got := len(s.Seen(kubetest.Discovery)); got != want {
		t.Errorf("got %d requests for the versions that there are, want %d", got, want)
	}
	verbs := make(map[string][]string)
	for _, r := range seen() {
		what := strings.Join(strings.Fields(r.Resource+" "+r.Selector+" "+r.Fields), " ")
		verbs[what] = append(verbs[what], r.Verb)
	}
	for what, got := range verbs {
		if want := []string{"watch", "list", "watch"}; !slices.Equal(got, want) {
			t.Errorf("%s: got the requests %q, want %q", what, got, want)
		}
	}
	return slices.Sorted(maps.Keys(verbs))
}

func TestOnlyWhatTheStanzaNeedsIsRequested(t *testing.T) {
	t.Parallel()
	const running = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"
	all := []string{"endpointslices", "namespaces", "services"}
	rows := []struct {
		lines string
		want  []string // sorted
	}{
		{"", all},
		{"apiserver_qps 50\napiserver_burst 100\napiserver_max_inflight 2\nstartup_timeout 9s", all},
		{"endpoint_pod_names\nhostnames all\nhold 1s\nzonal\nfallthrough\nignore empty_service", all},
		{"ttl 30\nheadless_ttl 5\nnegative_ttl 1\nno_explain\nsmall_stacks\nsoa_refresh 60 10\ntransfer_limit 100\ninsight", all},
		{"endpoints all", all},
		{"endpoints headless", []string{"endpointslices service.kubernetes.io/headless", "namespaces", "services"}},
		{"endpoints headless\nlabels app=web", []string{"endpointslices app=web,service.kubernetes.io/headless", "namespaces", "services app=web"}},
		{"noendpoints", []string{"namespaces", "services"}},
		{"noendpoints\nlabels !test", []string{"namespaces", "services !test"}},
		{"labels app=web", []string{"endpointslices app=web", "namespaces", "services app=web"}},
		{"snapshot " + filepath.Join(t.TempDir(), "snapshot"), all},
		{"namespaces ns", all},
		{"namespace_labels dns in (yes)", []string{"endpointslices", "namespaces dns in (yes)", "services"}},
		{"pods disabled", all},
		{"pods insecure", all},
		{"pods verified", []string{"endpointslices", "namespaces", "pods " + running, "services"}},
		{"pods verified\nlabels app=web", []string{"endpointslices app=web", "namespaces", "pods app=web " + running, "services app=web"}},
		{"topology hints\nclient_subnet 10.0.0.1", all},
		{"search", all},
		{"node k\nlabels app=web", []string{"endpointslices app=web", "namespaces", "nodes metadata.name=k", "pods " + running + ",spec.nodeName=k", "services app=web"}},
		{"node k\npods verified", []string{"endpointslices", "namespaces", "nodes metadata.name=k", "pods " + running, "services"}},
		{
			"multicluster cluster.local",
			[]string{"endpointslices", "endpointslices multicluster.kubernetes.io/service-name", "namespaces", "serviceimports", "services"},
		},
		{
			"multicluster cluster.local\nlabels app=web",
			[]string{
				"endpointslices app=web", "endpointslices app=web,multicluster.kubernetes.io/service-name", "namespaces", "serviceimports",
				"services app=web",
			},
		},
		{
			"multicluster cluster.local\nnoendpoints",
			[]string{"endpointslices multicluster.kubernetes.io/service-name", "namespaces", "serviceimports", "services"},
		},
	}
	untested := maps.Clone(options)
	for _, option := range []string{"endpoint", "kubeconfig", "manifests", "tls"} { // which cluster, not what of it
		delete(untested, option)
	}
	for _, tt := range rows {
		for line := range strings.Lines(tt.lines) {
			option, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			delete(untested, option)
		}
		t.Run(tt.lines, func(t *testing.T) {
			t.Parallel()
			if got := requested(t, tt.lines); !slices.Equal(got, tt.want) {
				t.Errorf("got requests for %q, want %q", got, tt.want)
			}
		})
	}
	if len(untested) > 0 {
		t.Errorf("got no row for %q", slices.Sorted(maps.Keys(untested)))
	}
}

func TestObjectsComeAndGoWithTheirLabels(t *testing.T) {
	t.Parallel()
	in := func(o metav1.Object) { o.SetLabels(map[string]string{"dns": "yes"}) }
	labelled := kubetest.Changed(kubetest.Namespace("ns"), func(o *corev1.Namespace) { in(o) })
	web := kubetest.Changed(kubetest.Service("web", "10.96.0.1"), func(o *corev1.Service) { in(o) })
	s := kubetest.NewServer(t)
	s.Put(kubetest.Namespace("ns"), web)
	h := watching(t, s, "namespace_labels dns=yes", "labels dns")
	for _, tt := range []struct {
		name   string
		object apiruntime.Object
		want   string
	}{
		{"the Namespace gains its label", labelled, "NOERROR 10.96.0.1"},
		{"the Service loses its label", kubetest.Service("web", "10.96.0.1"), "NXDOMAIN"},
		{"the Service gains its label", web, "NOERROR 10.96.0.1"},
		{"the Namespace loses its label", kubetest.Namespace("ns"), "NXDOMAIN"},
	} {
		s.Put(tt.object)
		eventuallySays(t, h, "web A", tt.want)
	}
}

func TestPodNameAnswersWhileItsEndpointIsReady(t *testing.T) {
	s := kubetest.NewWebServer(t)
	h := watching(t, s)
	pods := func(isReady bool) *discoveryv1.EndpointSlice {
		return kubetest.Changed(kubetest.Slice("web-b", "web", "10.0.0.7", "web-7"), func(o *discoveryv1.EndpointSlice) {
			o.Endpoints[0].Conditions.Ready = &isReady
			o.Endpoints = append(o.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.0.0.8"}, Hostname: new("web-8")})
		})
	}
	var toReady, toGone []time.Duration
	timed := func(want string) time.Duration {
		began := time.Now()
		for says(h, "web-7.web A") != want && time.Since(began) < kubetest.Patience {
			runtime.Gosched() // eventually's ticks are coarser than what is measured
		}
		took := time.Since(began)
		eventuallySays(t, h, "web-7.web A", want)
		return took
	}
	for range 50 {
		s.Put(pods(false))
		eventuallySays(t, h, "web-8.web A", "NOERROR 10.0.0.8")
		if got := says(h, "web-7.web A"); got != "NXDOMAIN" {
			t.Fatalf("before it is ready: got %s, want NXDOMAIN", got)
		}
		s.Put(pods(true))
		toReady = append(toReady, timed("NOERROR 10.0.0.7"))
		s.Put(kubetest.EmptySlice("web-b", "web"))
		toGone = append(toGone, timed("NXDOMAIN"))
	}
	slices.Sort(toReady)
	slices.Sort(toGone)
	t.Logf("from the change to its answer, median and most of %d: ready %v, %v; gone %v, %v",
		len(toReady), toReady[25], toReady[49], toGone[25], toGone[49])
}

func TestWatchOfPodsAndImports(t *testing.T) {
	s := kubetest.NewServer(t)
	s.Put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	cfg, err := parseStanza(newController("headless cluster.local clusterset.local {\nendpoint " + s.URL +
		"\npods verified\nmulticluster clusterset.local\nlabels app=db\nhold 0s\n}"))
	if err != nil {
		t.Fatal(err)
	}
	h, err := newHeadless(cfg, "")
	if err != nil {
		t.Fatal(err)
	}
	h.start()
	defer h.stop()
	if !h.Ready() {
		t.Fatalf("not ready, without %q", h.listing.Missing())
	}
	db := map[string]string{"app": "db"}
	s.Put(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "db-0", Namespace: "default", Labels: db},
		Status:     corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "garbage"}}},
	})
	s.Put(&mcsv1beta1.ServiceImport{
		ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "default"}, Spec: mcsv1beta1.ServiceImportSpec{Type: mcsv1beta1.Headless},
	})
	imported := kubetest.BigSlice(0, 1)
	imported.Labels = map[string]string{"app": "db", mcsv1beta1.LabelServiceName: "db", mcsv1beta1.LabelSourceCluster: "east"}
	s.Put(imported)
	answers := func(question string) func() bool {
		return func() bool { return len(ask(t, h, question).Answer) == 1 }
	}
	kubetest.Eventually(t, "the Pod answers", answers("10-0-0-1.default.pod.cluster.local. A"))
	kubetest.Eventually(t, "the import answers", answers("web-0.east.db.default.svc.clusterset.local. A"))
	s.Delete(imported)
	kubetest.Eventually(t, "the import has no endpoints", func() bool { return ask(t, h, "db.default.svc.clusterset.local. A").Rcode == nxName })
}

func TestStopWithoutStart(t *testing.T) {
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("stop before start, as at a signal during another server block's start: panic: %v", r)
		}
	}()
	watcher(t, "endpoint http://127.0.0.1:1").stop()
}

func TestStoppedPluginAnswersOn(t *testing.T) {
	t.Parallel()
	h := watching(t, kubetest.NewWebServer(t))
	h.stop()
	if slices.Contains(running.all(), h) {
		t.Error("still among the running plugins")
	}
	checkWeb(t, h)
}
