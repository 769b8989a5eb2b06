package headless

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/kubetest"
	"github.com/prometheus/client_golang/prometheus"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// alertRules is the spec of deploy/prometheus/alerts.yaml, which is what Prometheus reads.
type alertRules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

func readAlerts(t *testing.T) alertRules {
	t.Helper()
	var rule struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              alertRules
	}
	fatal.If(t, yaml.UnmarshalStrict([]byte(readDocument(t, "deploy/prometheus/alerts.yaml")), &rule))
	return rule.Spec
}

// grafanaDashboard is a part of what Grafana reads of deploy/grafana/headless.json.
type grafanaDashboard struct {
	Title, UID    string
	SchemaVersion int
	Panels        []struct {
		ID          int
		Type, Title string
		Datasource  struct{ UID string }
		GridPos     struct{ X, Y, W, H int }
		Targets     []struct {
			Expr, LegendFormat, RefID string
			Datasource                struct{ UID string }
		}
	}
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
}

func readDashboard(t *testing.T) (d grafanaDashboard) {
	t.Helper()
	fatal.If(t, json.Unmarshal([]byte(readDocument(t, "deploy/grafana/headless.json")), &d))
	return d
}

// exportedMetrics returns the labels, and their values, of the metrics that a server exports which has all that there is to export.
func exportedMetrics(t *testing.T) map[string]map[string]map[string]bool {
	t.Helper()
	api := kubetest.NewServer(t)
	api.Put(kubetest.WebObjects()...)
	refusals := make(chan int, 3)
	for _, code := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound} {
		refusals <- code
	}
	api.Intercept(func(w http.ResponseWriter, r *http.Request, stub http.HandlerFunc) {
		select {
		case code := <-refusals:
			http.Error(w, http.StatusText(code), code)
		default:
			stub(w, r)
		}
	})
	s := startServer(t, "cluster.local:0 clusterset.local:0 {\n"+bound+"prometheus 127.0.0.1:0\nheadless {\nendpoint "+api.URL+
		"\nmulticluster clusterset.local\npods verified\nzonal\nsnapshot "+filepath.Join(t.TempDir(), "snapshot")+"\n}\n}\n"+
		"example.org:0 {\n"+bound+"headless {\nmanifests examples testdata/cluster.yaml\n}\n}")
	kubetest.Eventually(t, "every server block is synced", func() bool {
		return !slices.ContainsFunc(running.all(), func(h *Headless) bool { return !h.listing.IsComplete() })
	})
	// What is counted only when it happens: a change that is dated, and objects that are left out.
	dated := kubetest.Triggered(kubetest.Slice("web-b", "web", "10.0.0.2", "web-1"), time.Now().Add(time.Second).Format(time.RFC3339Nano))
	names := kubetest.Slice("names", "web", "example.com", "web-2")
	names.AddressType = discoveryv1.AddressTypeFQDN
	orphan := kubetest.Slice("orphan", "", "10.0.0.3", "web-3")
	orphan.Labels = nil
	api.Put(dated, names, orphan)
	kubetest.Eventually(t, "all of it has been seen", func() bool {
		seen := skips(t)
		return seen["endpointslices fqdn"] > 0 && seen["endpointslices no_service"] > 0 &&
			s.ask(t, "udp", "web-1.web.ns.svc.cluster.local. A", 0).Rcode == noError
	})

	families, err := prometheus.DefaultGatherer.Gather() // what the plugin prometheus exports
	fatal.If(t, err)
	exported := make(map[string]map[string]map[string]bool)
	for _, family := range families {
		labels := make(map[string]map[string]bool)
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if labels[label.GetName()] == nil {
					labels[label.GetName()] = make(map[string]bool)
				}
				labels[label.GetName()][label.GetValue()] = true
			}
			if metric.GetHistogram() != nil {
				labels["le"] = make(map[string]bool)
			}
		}
		exported[family.GetName()] = labels
		if _, isHistogram := labels["le"]; isHistogram {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				exported[family.GetName()+suffix] = labels
			}
		}
	}
	return exported
}

// targetLabels are the labels that Prometheus adds when it scrapes.
var targetLabels = []string{"job", "instance"}

var (
	metricInQuery  = regexp.MustCompile(`\b((?:coredns|process|go)_\w+)(?:\{([^}]*)\})?`)
	matcherInQuery = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	groupInQuery   = regexp.MustCompile(`\b(?:by|without|on|ignoring)\s*\(([^)]*)\)`)
	labelInText    = regexp.MustCompile(`\{\{\s*(?:\$labels\.)?(\w+)`)
)

// checkQuery holds a query against what is exported, and the labels in the texts that go with it. It returns the metrics in it.
func checkQuery(t *testing.T, exported map[string]map[string]map[string]bool, query string, texts ...string) (metrics []string) {
	t.Helper()
	known := make(map[string]bool) // labels of these metrics
	for _, label := range targetLabels {
		known[label] = true
	}
	for _, match := range metricInQuery.FindAllStringSubmatch(query, -1) {
		labels, ok := exported[match[1]]
		if !ok {
			t.Errorf("%s: nobody exports %s", query, match[1])
			continue
		}
		metrics = append(metrics, match[1])
		for label := range labels {
			known[label] = true
		}
		for _, m := range matcherInQuery.FindAllStringSubmatch(match[2], -1) {
			label, values := m[1], strings.Split(m[3], "|")
			if slices.Contains(targetLabels, label) {
				continue
			}
			if labels[label] == nil {
				t.Errorf("%s: %s has no label %s", query, match[1], label)
			}
			for _, value := range values {
				if !labels[label][value] {
					t.Errorf("%s: %s has no value %q of the label %s, but %v", query, match[1], value, label, labels[label])
				}
			}
		}
	}
	if len(metrics) == 0 {
		t.Errorf("%s: found no metric", query)
	}
	for _, match := range groupInQuery.FindAllStringSubmatch(query, -1) {
		for label := range strings.SplitSeq(match[1], ",") {
			if !known[strings.TrimSpace(label)] {
				t.Errorf("%s: no metric has the label %q", query, label)
			}
		}
	}
	for _, text := range texts {
		for _, match := range labelInText.FindAllStringSubmatch(text, -1) {
			if label := match[1]; label != "value" && !known[label] {
				t.Errorf("%s: %q: no metric has the label %q", query, text, label)
			}
		}
	}
	return metrics
}

// TestMonitoringNamesWhatIsExported holds the alerts and the dashboard against a server's metrics. Whether their queries parse, and
// what the alerts do, is tested in deploy/prometheus, by Prometheus's own tool.
func TestMonitoringNamesWhatIsExported(t *testing.T) { // not parallel: it waits for all plugins that run
	exported := exportedMetrics(t)
	for _, group := range readAlerts(t).Groups {
		for _, rule := range group.Rules {
			checkQuery(t, exported, rule.Expr, strings.ReplaceAll(fmt.Sprint(rule.Annotations), "$value", "value"))
		}
	}
	shown := make(map[string]bool)
	d := readDashboard(t)
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			for _, name := range checkQuery(t, exported, target.Expr, target.LegendFormat) {
				shown[strings.TrimSuffix(name, "_bucket")] = true
			}
		}
	}
	for _, variable := range d.Templating.List {
		if variable.Type == "query" {
			checkQuery(t, exported, variable.Definition)
		}
	}
	unshown := map[string]bool{
		"coredns_headless_soa_serial": true, "coredns_headless_holds_total": true, // what grows says nothing to the eye
		"coredns_headless_build_info": true,
	}
	for name := range exported {
		base := regexp.MustCompile("_(bucket|sum|count)$").ReplaceAllString(name, "")
		if strings.HasPrefix(name, "coredns_headless_") && !shown[base] && !unshown[base] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// TestDashboardIsOne: what Grafana wants of a dashboard, and that nothing overlaps.
func TestDashboardIsOne(t *testing.T) {
	d := readDashboard(t)
	if d.Title == "" || d.UID == "" || d.SchemaVersion < 36 {
		t.Errorf("got title %q, uid %q, schema version %d", d.Title, d.UID, d.SchemaVersion)
	}
	if len(d.Templating.List) == 0 || d.Templating.List[0].Name != "datasource" || d.Templating.List[0].Type != "datasource" {
		t.Errorf("got the variables %v, want the data source first", d.Templating.List)
	}
	ids, cells := make(map[int]bool), make(map[[2]int]string)
	for _, panel := range d.Panels {
		if ids[panel.ID] || panel.ID == 0 || panel.Title == "" {
			t.Errorf("%q: got the id %d, want another one and a title", panel.Title, panel.ID)
		}
		ids[panel.ID] = true
		for x := panel.GridPos.X; x < panel.GridPos.X+panel.GridPos.W; x++ {
			for y := panel.GridPos.Y; y < panel.GridPos.Y+panel.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x > 23 {
					t.Fatalf("%q is at %d, %d, where %q is, or beyond the width of 24", panel.Title, x, y, other)
				}
				cells[[2]int{x, y}] = panel.Title
			}
		}
		if panel.Type == "row" {
			continue
		}
		refs := make(map[string]bool)
		for _, target := range panel.Targets {
			if panel.Datasource.UID != "${datasource}" || target.Datasource.UID != "${datasource}" || target.RefID == "" || refs[target.RefID] {
				t.Errorf("%q: got the data source %q, and %q in the query %q", panel.Title, panel.Datasource.UID, target.Datasource.UID, target.RefID)
			}
			refs[target.RefID] = true
		}
		if len(refs) == 0 {
			t.Errorf("%q: got no query", panel.Title)
		}
	}
}

// TestAlertsAreWhole: each alert says what it is, how bad, and what to do; stands in docs/monitoring.md; and has a test in which it fires.
func TestAlertsAreWhole(t *testing.T) {
	tests, section := readDocument(t, "deploy/prometheus/alerts_test.yaml"), readDocument(t, "docs/monitoring.md")
	for _, group := range readAlerts(t).Groups {
		for _, rule := range group.Rules {
			for _, name := range []string{"summary", "description", "runbook"} {
				if rule.Annotations[name] == "" {
					t.Errorf("%s: got no %s", rule.Alert, name)
				}
			}
			if !slices.Contains([]string{"critical", "warning", "info"}, rule.Labels["severity"]) {
				t.Errorf("%s: got the severity %q", rule.Alert, rule.Labels["severity"])
			}
			if !strings.Contains(tests, fmt.Sprintf(`ALERTS{alertname="%s", alertstate="firing"`, rule.Alert)) {
				t.Errorf("%s: got no test in which it fires", rule.Alert)
			}
			if !strings.Contains(section, "`"+rule.Alert+"`") {
				t.Errorf("%s: docs/monitoring.md does not name it", rule.Alert)
			}
		}
	}
}
