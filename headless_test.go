package headless

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/coredns-headless/headless/internal/metrictest"
	"github.com/coredns-headless/headless/internal/snapshot"
	recorder "github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
)

// everyResource lists what is watched, in the order of kube.Resources.
var everyResource = []string{kube.Namespaces, kube.Services, kube.Slices}

// watcher returns a plugin with these lines in its stanza, not started.
func watcher(t testing.TB, lines ...string) *Headless {
	t.Helper()
	stanza := fmt.Sprintf("headless cluster.local in-addr.arpa ip6.arpa {\n%s\n}", strings.Join(lines, "\n"))
	cfg, err := parseStanza(newController(stanza))
	if err != nil {
		t.Fatalf("%s: %v", stanza, err)
	}
	h, err := newHeadless(cfg, "")
	if err != nil {
		t.Fatalf("%s: %v", stanza, err)
	}
	return h
}

// watching returns a plugin that watches s. It stops with the test.
func watching(t testing.TB, s *kubetest.Server, lines ...string) *Headless {
	t.Helper()
	h := watcher(t, append(lines, "endpoint "+s.URL)...)
	h.start()
	t.Cleanup(h.stop)
	return h
}

// says returns h's answer to a question as text: the response code and the sorted RDATA. A name without a final dot is
// relative to ns.svc.cluster.local.
func says(h *Headless, question string) string {
	name, qtype, _ := strings.Cut(question, " ")
	if !strings.HasSuffix(name, ".") {
		name += ".ns.svc.cluster.local."
	}
	m := dnstest.Question(name+" "+qtype, dns.MaxMsgSize-1)
	rec := recorder.NewRecorder(&test.ResponseWriter{})
	rcode, err := h.ServeDNS(context.Background(), rec, m)
	if err != nil || rec.Msg == nil {
		return fmt.Sprintf("no reply, rcode %d, error %v", rcode, err)
	}
	return strings.Join(append([]string{dns.RcodeToString[rec.Msg.Rcode]}, dnstest.Data(rec.Msg.Answer)...), " ")
}

// eventuallySays waits until h gives an answer.
func eventuallySays(t testing.TB, h *Headless, question, want string) {
	t.Helper()
	kubetest.Eventually(t, question+" has the answer "+want, func() bool { return says(h, question) == want })
}

// webAnswers are the answers while the objects of newWebAPI are there.
var webAnswers = map[string]string{
	"web A":                       "NOERROR 10.0.0.1",
	"web-0.web A":                 "NOERROR 10.0.0.1",
	"_http._tcp.web SRV":          "NOERROR 0 100 80 web-0.web.ns.svc.cluster.local.",
	"db A":                        "NOERROR 10.96.0.1",
	"1.0.0.10.in-addr.arpa. PTR":  "NOERROR web-0.web.ns.svc.cluster.local.",
	"1.0.96.10.in-addr.arpa. PTR": "NOERROR db.ns.svc.cluster.local.",
}

// checkWeb holds h's answers against webAnswers.
func checkWeb(t testing.TB, h *Headless) {
	t.Helper()
	for question, want := range webAnswers {
		if got := says(h, question); got != want {
			t.Errorf("%s: got %s, want %s", question, got, want)
		}
	}
}

// hammer asks for webAnswers over and over until stop, and fails the test when one is not given.
func hammer(t testing.TB, h *Headless) (stop func()) {
	var stopped atomic.Bool
	var running sync.WaitGroup
	running.Go(func() {
		for !stopped.Load() && !t.Failed() {
			checkWeb(t, h)
		}
	})
	return func() {
		stopped.Store(true)
		running.Wait()
	}
}

// skips returns what was skipped so far, by resource and reason.
func skips(t testing.TB) map[string]float64 {
	t.Helper()
	counts := make(map[string]float64)
	for series, n := range metrictest.Values(t, "coredns_headless_skipped_total") {
		reason, resource, _ := strings.Cut(series, " ")
		counts[resource+" "+reason] = n
	}
	return counts
}

// answersFromItsSnapshot makes h, which knows its cluster, one that has started again and has not listed it yet.
func answersFromItsSnapshot(t testing.TB, h *Headless) {
	t.Helper()
	h.snapshot = snapshot.Config{Path: filepath.Join(t.TempDir(), "snapshot"), MaxAge: time.Hour, Interval: time.Hour}
	h.keeper = h.newKeeper("")
	h.keeper.Stop() // which writes it
	h.listing = kube.NewListing(kube.Services)
	h.keeper = h.newKeeper("")
	if !loads(h) {
		t.Fatal("it does not answer from its snapshot")
	}
}
