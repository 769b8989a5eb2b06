package headless

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
)

// samples returns what c collects of some metrics, in the text format and sorted. The metrics are named without their prefix.
func samples(t *testing.T, c prometheus.Collector, metrics ...string) []string {
	t.Helper()
	const prefix = "coredns_headless_"
	for i, name := range metrics {
		metrics[i] = prefix + name
	}
	text, err := testutil.CollectAndFormat(c, expfmt.TypeTextPlain, metrics...)
	fatal.If(t, err)
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line, ok := strings.CutPrefix(line, prefix); ok {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	slices.Sort(lines)
	return lines
}

// collectorOf returns a collector of plugins.
func collectorOf(plugins ...*Headless) prometheus.Collector {
	return newStateCollector(func() []*Headless { return plugins })
}

func checkSamples(t *testing.T, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestMetricsOfHolds(t *testing.T) {
	s := kubetest.NewWebServer(t)
	h := watching(t, s, "hold 1m")
	s.Delete(kubetest.Slice("web-a", "web", "10.0.0.1", "web-0")) // its Service stands, so its endpoint is held
	kubetest.Eventually(t, "the endpoint is held", func() bool { return h.index.Holding().Now == 1 })
	s.Put(kubetest.Slice("web-b", "web", "10.0.0.1", "web-0"))
	kubetest.Eventually(t, "the endpoint is listed again", func() bool { return h.index.Holding().Now == 0 })
	s.Delete(kubetest.Slice("web-b", "web", "10.0.0.1", "web-0"))
	kubetest.Eventually(t, "the endpoint is held again", func() bool { return h.index.Holding().Now == 1 })
	checkSamples(t, samples(t, collectorOf(h), "held_endpoints", "holds_total", "holds_ended_total"),
		"held_endpoints 1",
		"holds_total 2",
		`holds_ended_total{reason="expired"} 0`,
		`holds_ended_total{reason="orphaned"} 0`,
		`holds_ended_total{reason="returned"} 1`,
		`holds_ended_total{reason="superseded"} 0`,
	)
}

// TestMetricsOfWhatIsHeld counts endpoints of each kind of Service in each state.
func TestMetricsOfWhatIsHeld(t *testing.T) {
	h := newTestHeadlessFrom(t, "headless cluster.local clusterset.local {\nmulticluster clusterset.local\npods verified\n"+
		"manifests testdata/states.yaml\n}")
	checkSamples(t, samples(t, collectorOf(h), "objects", "synced"),
		`objects{resource="endpointslices of serviceimports"} 1`,
		`objects{resource="endpointslices"} 5`,
		`objects{resource="namespaces"} 1`,
		`objects{resource="pods"} 2`,
		`objects{resource="serviceimports"} 1`,
		`objects{resource="services"} 4`,
		`synced{resource="endpointslices of serviceimports"} 1`,
		`synced{resource="endpointslices"} 1`,
		`synced{resource="namespaces"} 1`,
		`synced{resource="pods"} 1`,
		`synced{resource="serviceimports"} 1`,
		`synced{resource="services"} 1`,
	)
	checkSamples(t, samples(t, collectorOf(h), "endpoints"),
		`endpoints{service_kind="cluster_ip",state="not_ready"} 0`,
		`endpoints{service_kind="cluster_ip",state="ready"} 1`,
		`endpoints{service_kind="cluster_ip",state="serving"} 0`,
		`endpoints{service_kind="headless_with_selector",state="not_ready"} 2`, // one terminates and does not serve
		`endpoints{service_kind="headless_with_selector",state="ready"} 3`,
		`endpoints{service_kind="headless_with_selector",state="serving"} 1`,
		`endpoints{service_kind="headless_without_selector",state="not_ready"} 0`,
		`endpoints{service_kind="headless_without_selector",state="ready"} 3`, // two of them are another cluster's
		`endpoints{service_kind="headless_without_selector",state="serving"} 0`,
		`endpoints{service_kind="none",state="not_ready"} 0`,
		`endpoints{service_kind="none",state="ready"} 2`, // of an ExternalName, and of a Service that is not there
		`endpoints{service_kind="none",state="serving"} 0`,
	)
	if got := samples(t, collectorOf(h), "last_event_timestamp_seconds", "last_list_timestamp_seconds"); len(got) > 0 {
		t.Errorf("from files: got %q, want no times", got)
	}
}

func TestMetricsOfWhatIsNotThere(t *testing.T) {
	checkSamples(t, samples(t, collectorOf(), "objects", "synced", "last_event_timestamp_seconds", "snapshot_served", "soa_serial"),
		"snapshot_served 0", "soa_serial 0")
	h := watching(t, kubetest.NewWebServer(t), "noendpoints")
	checkSamples(t, samples(t, collectorOf(h), "objects"), `objects{resource="namespaces"} 1`, `objects{resource="services"} 2`)
}

// TestMetricsOfNews: events and lists are dated, by the plugin for which that was longest ago.
func TestMetricsOfNews(t *testing.T) {
	began := time.Now()
	s, slow := kubetest.NewWebServer(t), kubetest.NewWebServer(t)
	h := watching(t, s)
	files := newTestHeadless(t, "")
	event, list := `last_event_timestamp_seconds{resource="services"} `, `last_list_timestamp_seconds{resource="services"} `
	at := func(sample string, plugins ...*Headless) time.Time {
		t.Helper()
		for _, line := range samples(t, collectorOf(plugins...), "last_event_timestamp_seconds", "last_list_timestamp_seconds") {
			if text, ok := strings.CutPrefix(line, sample); ok {
				value, err := strconv.ParseFloat(text, 64)
				fatal.If(t, err)
				return time.UnixMicro(int64(value * 1e6))
			}
		}
		t.Fatalf("got no %s", sample)
		return time.Time{}
	}
	listed := at(list, h, files)
	for _, sample := range []string{event, list} {
		if got := at(sample, h, files); got.Before(began.Add(-time.Second)) || got.After(time.Now().Add(time.Second)) {
			t.Errorf("%s: got %v, and it was listed after %v", sample, got, began)
		}
	}
	kubetest.Eventually(t, "a bookmark is an event", func() bool {
		s.Bookmark(kube.Services)
		return at(event, h, files).After(listed)
	})
	if got := at(list, h, files); !got.Equal(listed) {
		t.Errorf("after a bookmark: listed at %v, want %v as before", got, listed)
	}
	release := slow.Hold(kube.Services)
	defer release()
	unlisted := watching(t, slow, "startup_timeout 0s")
	for _, sample := range []string{event, list} {
		if got := at(sample, h, unlisted); !got.Equal(time.Unix(0, 0)) {
			t.Errorf("%s: got %v while one plugin has no list, want 0", sample, got)
		}
	}
	if got, want := samples(t, collectorOf(h, unlisted), "synced"), `synced{resource="services"} 0`; !slices.Contains(got, want) {
		t.Errorf("got %q while one plugin has no list, want %q", got, want)
	}
	release()
	kubetest.Eventually(t, "all is listed", func() bool {
		return !slices.ContainsFunc(samples(t, collectorOf(h, unlisted), "synced"), func(s string) bool { return strings.HasSuffix(s, " 0") })
	})
}

// TestMetricsOfAnswers asks one query of each kind and sees it counted, over UDP and TCP.
func TestMetricsOfAnswers(t *testing.T) {
	h := newTestHeadless(t, "fallthrough ip6.arpa")
	h.Next = behind(dns.RcodeSuccess, new(bool))
	h.upstream = outside{}
	big := newTestHeadless(t, "")
	big.index = sizedIndex(1000)
	unsynced := newTestHeadless(t, "")
	unsynced.listing = kube.NewListing(kube.Services)
	all := func() []string {
		var lines []string
		for _, line := range samples(t, h.tally, "answers_total", "negative_answers_total", "answer_records") {
			if !strings.HasSuffix(line, " 0") {
				lines = append(lines, line)
			}
		}
		return lines
	}
	for _, c := range []struct {
		name     string
		h        *Headless
		question string
		size     uint16
		want     []string // the counters that are not 0, but for the histogram's, with $ for the protocol
		records  int
	}{
		{"one record", h, "web-0.web.default.svc.cluster.local. A", 1232, []string{`answers_total{outcome="data",proto="$"} 1`}, 1},
		{"a CNAME and its target", h, "ext.default.svc.cluster.local. A", 1232, []string{`answers_total{outcome="data",proto="$"} 1`}, 2},
		{"as many as fit into 512 octets", big, "web.n.svc.cluster.local. A", 512, []string{`answers_total{outcome="truncated",proto="$"} 1`}, 28},
		{"no record of the type", h, "web.default.svc.cluster.local. MX", 0, []string{`answers_total{outcome="nodata",proto="$"} 1`, `negative_answers_total{reason="type"} 1`}, -1},
		{"a CNAME that leads to no record", h, "nodata.default.svc.cluster.local. AAAA", 0, []string{`answers_total{outcome="nodata",proto="$"} 1`, `negative_answers_total{reason="type"} 1`}, -1},
		{"a CNAME that leads to no name", h, "ext.default.svc.cluster.local. AAAA", 0, []string{`answers_total{outcome="nxdomain",proto="$"} 1`, `negative_answers_total{reason="target"} 1`}, -1},
		{"no such name", h, "nobody.default.svc.cluster.local. A", 0, []string{`answers_total{outcome="nxdomain",proto="$"} 1`, `negative_answers_total{reason="service"} 1`}, -1},
		{"a cluster that is not known", unsynced, "web.default.svc.cluster.local. A", 0, []string{`answers_total{outcome="servfail",proto="$"} 1`}, -1},
		{"a transfer", h, "cluster.local. AXFR", 0, []string{`answers_total{outcome="refused",proto="$"} 1`}, -1},
		{"a name that others may know", h, "1.0.0.2.ip6.arpa. PTR", 0, []string{`answers_total{outcome="fallthrough",proto="$"} 1`}, -1},
		{"a name outside", h, "www.example.com. A", 0, nil, -1},
	} {
		for _, proto := range []string{"udp", "tcp"} {
			if proto == "tcp" && c.h == big {
				continue // over TCP it fits
			}
			h.tally = new(tally)
			c.h.tally = h.tally
			r := dnstest.Question(c.question, cmp.Or(c.size, 1232))
			if _, err := c.h.ServeDNS(t.Context(), newDiscard(proto), r); err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, line := range c.want {
				want = append(want, strings.ReplaceAll(line, "$", proto))
			}
			if c.records >= 0 {
				want = append(want, "answer_records_count 1", fmt.Sprintf("answer_records_sum %d", c.records), `answer_records_bucket{le="+Inf"} 1`)
				for le := 4096; le >= 1 && le >= c.records; le /= 2 {
					want = append(want, fmt.Sprintf(`answer_records_bucket{le="%d"} 1`, le))
				}
			}
			t.Run(c.name+" over "+proto, func(t *testing.T) { checkSamples(t, all(), want...) })
		}
	}
}

func TestSizeClasses(t *testing.T) {
	for n, want := range map[int]int{0: 0, 1: 1, 2: 2, 3: 3, 4: 3, 5: 4, 4095: 13, 4096: 13, 4097: 14, 65535: 14} {
		if got := sizeClass(n); got != want {
			t.Errorf("%d records: class %d, want %d", n, got, want)
		}
	}
}
