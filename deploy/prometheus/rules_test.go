package prometheus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// rules writes what Prometheus reads of the alerts, as the comment in their file says, into a folder with their tests.
func rules(t *testing.T) (folder string) {
	t.Helper()
	folder = t.TempDir()
	_, spec, ok := bytes.Cut(read(t, "alerts.yaml"), []byte("\nspec:\n"))
	if !ok {
		t.Fatal("alerts.yaml: got no spec")
	}
	write(t, filepath.Join(folder, "alerts.yaml"), regexp.MustCompile(`(?m)^  `).ReplaceAll(spec, nil))
	write(t, filepath.Join(folder, "alerts_test.yaml"), read(t, "alerts_test.yaml"))
	return folder
}

func write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// promtool runs Prometheus's own tool, and skips the rest of a test that does not run by `make programs`. The tag leaves out what
// finds hosts in clouds, which is most of it.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	if os.Getenv("HEADLESS_TEST_PROGRAMS") == "" {
		t.Skip("it compiles promtool, which can take minutes: run `make programs`, or set HEADLESS_TEST_PROGRAMS=1")
	}
	args = append([]string{"run", "-tags", "remove_all_sd", "github.com/prometheus/prometheus/cmd/promtool"}, args...)
	if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// read reads a file. A test reads what it gives to promtool too: else its result would be cached whatever becomes of the file.
func read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestAlerts(t *testing.T) {
	folder := rules(t)
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", filepath.Join(folder, "alerts.yaml"))
	promtool(t, "test", "rules", filepath.Join(folder, "alerts_test.yaml"))
}

// TestDashboardQueries has promtool parse the queries of the dashboard, as rules.
func TestDashboardQueries(t *testing.T) {
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(read(t, "../grafana/headless.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$job", "dns", "$instance", "a")
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	queries := 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			fmt.Fprintf(&rules, "  - {record: 'query:%d', expr: %q} # %s\n", queries, variables.Replace(target.Expr), panel.Title)
			queries++
		}
	}
	if queries < 20 {
		t.Fatalf("got %d queries, want those of all panels", queries)
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, file, []byte(rules.String()))
	promtool(t, "check", "rules", file)
}
