package clients

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/kubetest"
)

// prometheusURL is where the only Prometheus is.
const prometheusURL = "http://127.0.0.1:9090"

// startPrometheus starts the Prometheus at path.
func startPrometheus(t *testing.T, path, config string, args ...string) *program {
	t.Helper()
	return start(t, path, append(args, "--config.file="+write(t, "prometheus.yml", config), "--storage.tsdb.path="+t.TempDir(),
		"--web.listen-address="+strings.TrimPrefix(prometheusURL, "http://"))...)
}

// get reads what Prometheus says at a path of its API into data, and reports whether it said something.
func get(t *testing.T, path string, values url.Values, data any) bool {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, prometheusURL+"/api/v1/"+path+"?"+values.Encode(), nil)
	fatal.If(t, err)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false // it is not up yet
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	body := struct {
		Error string
		Data  any
	}{Data: data}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		return false // it is not up yet
	}
	if body.Error != "" {
		t.Fatalf("%s: %s", r.URL, body.Error)
	}
	return true
}

// targets returns the addresses of the targets that Prometheus has of each job, or nothing while it does not answer.
func targets(t *testing.T) map[string]map[string]bool {
	t.Helper()
	var data struct {
		ActiveTargets []struct {
			DiscoveredLabels map[string]string
		}
	}
	byJob := make(map[string]map[string]bool)
	get(t, "targets", url.Values{"state": {"active"}}, &data)
	for _, target := range data.ActiveTargets {
		job := target.DiscoveredLabels["job"]
		if byJob[job] == nil {
			byJob[job] = make(map[string]bool)
		}
		byJob[job][target.DiscoveredLabels["__address__"]] = true
	}
	return byJob
}

// TestPrometheusFindsItsTargets: by SRV records it gets all pods of a Service, or of one that is larger than any
// message the part that fits.
func TestPrometheusFindsItsTargets(t *testing.T) {
	path := installed(t, "prometheus", "prometheus")
	api := kubetest.NewServer(t)
	api.Put(kubetest.Namespace("ns"))
	whole, large := newService(api, "thousand", 1000, 1000), newService(api, "large", 1000, 5000)
	startHeadless(t, api, dnsAddr)
	config := "scrape_configs:\n"
	for _, s := range []*service{whole, large} {
		config += fmt.Sprintf(`- job_name: %s
  scrape_interval: 1h
  dns_sd_configs:
  - names: [%s]
    refresh_interval: 1s
`, s.name, s.srvName())
	}
	p := startPrometheus(t, path, config)
	least, most := inLargest(large.srvName(), large.srvSize())
	for _, row := range []struct {
		*service
		least, most int
	}{{whole, 1000, 1000}, {large, least, most}} {
		known := make(map[string]bool)
		for _, p := range row.pods() {
			known[p.hostname+"."+row.name+suffix] = true
		}
		var found map[string]bool
		p.eventually(t, "targets of "+row.name, func() bool {
			found = targets(t)[row.name]
			return len(found) >= row.least
		})
		t.Logf("%s: %d targets of %d pods", row.name, len(found), len(known))
		if len(found) > row.most {
			t.Errorf("%s: %d targets, want %d to %d", row.name, len(found), row.least, row.most)
		}
		for target := range found {
			if name, isPort := strings.CutSuffix(target, ":80"); !isPort || !known[strings.TrimSuffix(name, ".")+"."] {
				t.Errorf("%s: the target %s is no pod's", row.name, target)
			}
		}
	}
}
