package clients

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coredns-headless/headless/internal/fatal"
)

var picture = flag.String("picture", "", "where to draw the panels of the dashboard: an SVG `file`")

// minute is how long a minute of the alerts and of the dashboard lasts in this test, and how often Prometheus scrapes: it would take
// hours else.
const minute = time.Second

var (
	durationInQuery = regexp.MustCompile(`\b(\d+)([mh])\b`)
	ageInQuery      = regexp.MustCompile(`(time\(\) - \w+ > )(\d+)`)
)

// hastened returns rules or a query with seconds for minutes, in ranges, offsets, what "for" says, and where an age is compared.
func hastened(text string) string {
	text = durationInQuery.ReplaceAllStringFunc(text, func(found string) string {
		d, err := time.ParseDuration(found)
		if err != nil {
			panic(err) // the expression is wrong
		}
		return fmt.Sprintf("%ds", int(d.Minutes()*minute.Seconds()))
	})
	return ageInQuery.ReplaceAllStringFunc(text, func(found string) string {
		parts := ageInQuery.FindStringSubmatch(found)
		age, err := strconv.Atoi(parts[2])
		if err != nil {
			panic(err) // the expression is wrong
		}
		return parts[1] + strconv.FormatFloat(float64(age)/time.Minute.Seconds()*minute.Seconds(), 'g', -1, 64)
	})
}

// readDeploy reads a file of the folder deploy.
func readDeploy(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../deploy", name))
	fatal.If(t, err)
	return string(content)
}

// dashboard is what this test reads of deploy/grafana/headless.json.
type dashboard struct {
	Panels     []panel
	Templating struct {
		List []struct{ Name, Type, Definition, AllValue string }
	}
}

// panel is one of the dashboard, and what Prometheus says to its queries.
type panel struct {
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct {
		RefID, Expr, LegendFormat string
		Instant                   bool
	}
	FieldConfig struct {
		Defaults struct {
			Unit, NoValue string
			Mappings      []struct {
				Options map[string]struct{ Text string }
			}
			Thresholds struct {
				Steps []struct {
					Color string
					Value *float64
				}
			}
			Custom struct{ Stacking struct{ Mode string } }
		}
	}

	series []series
}

// series is a line of a panel.
type series struct {
	legend string
	points []sample
}

// sample is a value at a time, in seconds.
type sample struct{ at, value float64 }

// UnmarshalJSON implements json.Unmarshaler.
func (s *sample) UnmarshalJSON(text []byte) error {
	var value string
	if err := json.Unmarshal(text, &[]any{&s.at, &value}); err != nil {
		return err
	}
	var err error
	s.value, err = strconv.ParseFloat(value, 64)
	return err
}

// result is a series of what Prometheus answers.
type result struct {
	Metric map[string]string
	Value  *sample  // of an instant
	Values []sample // of a range
}

func (r *result) samples() []sample {
	if r.Value != nil {
		return []sample{*r.Value}
	}
	return r.Values
}

// query returns what Prometheus says to a query now.
func query(t *testing.T, expr string) []result {
	t.Helper()
	var data struct{ Result []result }
	get(t, "query", url.Values{"query": {expr}}, &data)
	return data.Result
}

// queryRange returns what Prometheus says to a query, at every minute between two times.
func queryRange(t *testing.T, expr string, from, to time.Time) []result {
	t.Helper()
	unix := func(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }
	var data struct{ Result []result }
	get(t, "query_range", url.Values{
		"query": {expr}, "start": {unix(from)}, "end": {unix(to)}, "step": {strconv.FormatFloat(minute.Seconds(), 'g', -1, 64)},
	}, &data)
	return data.Result
}

// chosen returns the values of a variable as Grafana puts them into a query.
func chosen(values ...string) string {
	var parts []string
	for _, value := range values {
		parts = append(parts, strings.ReplaceAll(regexp.QuoteMeta(value), `\`, `\\`))
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return "(" + strings.Join(parts, "|") + ")"
}

var (
	labelInLegend = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)
	definition    = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)
)

// ask asks the queries of p, with variables filled in, over a time, and keeps what comes of them. It returns those without data.
func (p *panel) ask(t *testing.T, variables *strings.Replacer, from, to time.Time) (empty []string) {
	t.Helper()
	p.series = nil
	legends := make(map[string]bool)
	for _, target := range p.Targets {
		expr := variables.Replace(hastened(target.Expr))
		found := queryRange
		if target.Instant {
			found = func(t *testing.T, expr string, _, _ time.Time) []result { t.Helper(); return query(t, expr) }
		}
		finite := 0
		for _, r := range found(t, expr, from, to) {
			s := series{legend: labelInLegend.ReplaceAllStringFunc(target.LegendFormat, func(label string) string {
				return r.Metric[labelInLegend.FindStringSubmatch(label)[1]]
			})}
			for _, point := range r.samples() {
				if !math.IsNaN(point.value) && !math.IsInf(point.value, 0) {
					s.points = append(s.points, point)
				}
			}
			if legends[s.legend] {
				t.Errorf("%s: two lines are called %q", p.Title, s.legend)
			}
			legends[s.legend] = true
			finite += len(s.points)
			p.series = append(p.series, s)
		}
		if finite == 0 {
			empty = append(empty, target.RefID+" "+expr)
		}
	}
	slices.SortFunc(p.series, func(a, b series) int { return strings.Compare(a.legend, b.legend) })
	return empty
}

// isFlat reports whether p shows nothing but 0.
func (p *panel) isFlat() bool {
	return !slices.ContainsFunc(p.series, func(s series) bool {
		return slices.ContainsFunc(s.points, func(point sample) bool { return point.value != 0 })
	})
}

// firing selects the alerts that fire.
const firing = `ALERTS{alertstate="firing"}`

// fired returns the alerts that fire according to a query, by name and labels.
func fired(t *testing.T, expr string) (alerts []string) {
	t.Helper()
	for _, r := range query(t, expr) {
		alerts = append(alerts, fmt.Sprint(r.Metric))
	}
	return alerts
}

// TestDashboard has a Prometheus scrape servers to which faults happen, and asks it all that the dashboard asks. Each panel has to
// have data, and each alert to fire in that time, for the server that is meant, and to fire no more at its end.
func TestDashboard(t *testing.T) {
	path := installed(t, "prometheus", "prometheus")
	_, rules, found := strings.Cut(readDeploy(t, "prometheus/alerts.yaml"), "\nspec:\n")
	if !found {
		t.Fatal("alerts.yaml: got no spec")
	}
	rules = hastened(regexp.MustCompile(`(?m)^  `).ReplaceAllString(rules, ""))
	began := time.Now()
	s := newScene(t)
	startPrometheus(t, path, fmt.Sprintf("global: {scrape_interval: %v, scrape_timeout: %[1]v, evaluation_interval: %[1]v}\nrule_files: [%s]\nscrape_configs:\n%s",
		minute, write(t, "alerts.yaml", rules), s.scrapeConfigs()), "--query.lookback-delta="+(5*minute).String())
	s.run(t)
	ended := time.Now()

	happened := make(map[string]bool)
	timeline := queryRange(t, firing, began, ended)
	for _, r := range timeline {
		happened[r.Metric["alertname"]] = true
		first, last := r.Values[0].at, r.Values[len(r.Values)-1].at
		t.Logf("%3.0f s to %3.0f s: %v", first-float64(began.Unix()), last-float64(began.Unix()), r.Metric)
	}
	for _, match := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(rules, -1) {
		if !happened[match[1]] {
			t.Errorf("%s has not fired", match[1])
		}
	}

	var d dashboard
	fatal.If(t, json.Unmarshal([]byte(readDeploy(t, "grafana/headless.json")), &d))
	fill := func(job, instance string) *strings.Replacer {
		// Grafana's rate interval is that of the scrapes four times, or more.
		return strings.NewReplacer("$__rate_interval", (4 * minute).String(), "$job", job, "$instance", instance)
	}
	all := make(map[string]string)
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		match := definition.FindStringSubmatch(v.Definition)
		if match == nil {
			t.Fatalf("the variable %s: got %q, want label_values(SERIES, LABEL)", v.Name, v.Definition)
		}
		var values []string
		get(t, "label/"+match[2]+"/values", url.Values{"match[]": {fill(".*", ".*").Replace(match[1])}}, &values)
		if want := s.values(v.Name); !slices.Equal(values, want) {
			t.Errorf("the variable %s: got %v, want %v", v.Name, values, want)
		}
		all[v.Name] = v.AllValue
	}
	for _, view := range []struct {
		name      string
		variables *strings.Replacer
		isWhole   bool // there is something of all that can be shown
	}{
		{"one server", fill(chosen(s.a.job), chosen(s.a.target())), false},
		{"all that can be chosen", fill(chosen(s.values("job")...), chosen(s.values("instance")...)), true},
		{"all", fill(all["job"], all["instance"]), true}, // this is drawn
	} {
		for i := range d.Panels {
			p := &d.Panels[i]
			if p.Type == "row" {
				continue
			}
			if empty := p.ask(t, view.variables, began, ended); len(empty) == len(p.Targets) || view.isWhole && len(empty) > 0 {
				t.Errorf("%s, with %s: no data from %q", p.Title, view.name, empty)
			}
			if view.isWhole && p.Type == "timeseries" && p.isFlat() {
				t.Errorf("%s, with %s: nothing but 0", p.Title, view.name)
			}
		}
	}

	file := *picture
	if file == "" {
		file = filepath.Join(t.TempDir(), "dashboard.svg")
	}
	fatal.If(t, drawDashboard(file, d.Panels, timeline, began, ended))
}
