package headless

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/coredns-headless/headless/internal/fatal"
	"github.com/coredns-headless/headless/internal/filetest"
	"github.com/coredns-headless/headless/internal/index"
	"github.com/coredns-headless/headless/internal/kube"
	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/autopath"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/bufsize"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	"github.com/prometheus/client_golang/prometheus"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

var directiveRegistered sync.Once

// registerDirective gives headless its place among CoreDNS's directives, as cmd/coredns does. A test that starts a server or
// parses a Corefile calls it first.
func registerDirective() {
	directiveRegistered.Do(func() {
		if stock := dnsserver.Directives; !slices.Contains(stock, pluginName) {
			dnsserver.Directives = slices.Insert(slices.Clone(stock), slices.Index(stock, "kubernetes"), pluginName)
		}
	})
}

var ownName = regexp.MustCompile(`(?m)(^\s*|@)headless\b`)

// renamed returns a Corefile, or a part of one, that calls the plugin what it is called in this build.
func renamed(corefile string) string { return ownName.ReplaceAllString(corefile, "${1}"+pluginName) }

// newController returns a controller that reads a stanza of headless.
func newController(stanza string) *caddy.Controller {
	return caddy.NewTestController("dns", renamed(stanza))
}

func readDocument(t *testing.T, name string) string {
	t.Helper()
	return string(filetest.Read(t, name))
}

// documents are the pages of Markdown that this repository has.
func documents(t *testing.T) []string {
	t.Helper()
	var names []string
	fatal.If(t, filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && (name == ".git" || name == "bin") {
			return fs.SkipDir
		}
		if filepath.Ext(name) == ".md" {
			names = append(names, name)
		}
		return err
	}))
	if !slices.Contains(names, "README.md") || !slices.Contains(names, "docs/options.md") {
		t.Fatalf("got the documents %q", names)
	}
	return names
}

var fence = regexp.MustCompile("(?ms)^ *(?:~~~|```) ?(\\w*)\n(.*?)^ *(?:~~~|```)$")

// fencedBlocks returns the fenced blocks of text in one language.
func fencedBlocks(text, language string) (blocks []string) {
	for _, match := range fence.FindAllStringSubmatch(text, -1) {
		if match[1] == language {
			blocks = append(blocks, match[2])
		}
	}
	return blocks
}

// matches returns what the first group of expr is in each of its matches in text.
func matches(expr, text string) []string {
	var groups []string
	for _, match := range regexp.MustCompile(expr).FindAllStringSubmatch(text, -1) {
		groups = append(groups, match[1])
	}
	return groups
}

// documentSection returns a section of a document.
func documentSection(t *testing.T, name, title string) string {
	t.Helper()
	_, text, ok := strings.Cut(readDocument(t, name), "\n## "+title+"\n")
	if !ok {
		t.Fatalf("%s: got no section %q", name, title)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// TestLinksLeadToWhatIsThere: a link of a document leads to a file of this repository, and to a heading of it, or out of it.
func TestLinksLeadToWhatIsThere(t *testing.T) {
	checked := 0
	for _, document := range documents(t) {
		text := fence.ReplaceAllString(readDocument(t, document), "")
		if matches(`(?m)^(<{7}|>{7}) `, text) != nil {
			t.Errorf("%s has two versions of a paragraph: a merge was not finished", document)
		}
		for _, link := range matches(`(?:\]\(|\]: |(?:src|href)=")([^)"\s]+)`, text) {
			if strings.Contains(link, "://") {
				continue
			}
			checked++
			name, anchor, _ := strings.Cut(link, "#")
			if name = filepath.Join(filepath.Dir(document), name); strings.HasPrefix(link, "#") {
				name = document
			}
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s: %q leads nowhere: %v", document, link, err)
			} else if anchor != "" && !slices.Contains(anchors(readDocument(t, name)), anchor) {
				t.Errorf("%s: %q leads to no heading of %s", document, link, name)
			}
		}
	}
	if checked < 30 {
		t.Errorf("got %d links in the documents", checked)
	}
}

// anchors returns what GitHub calls the headings of a document.
func anchors(text string) []string {
	var anchors []string
	for _, heading := range matches(`(?m)^#+ (.*)$`, fence.ReplaceAllString(text, "")) {
		anchor := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading), "")
		anchors = append(anchors, strings.ReplaceAll(anchor, " ", "-"))
	}
	return anchors
}

func TestDocumentedCorefilesAreValid(t *testing.T) {
	registerDirective()
	corefiles := make(map[string]string)
	for _, document := range documents(t) {
		for i, block := range fencedBlocks(readDocument(t, document), "corefile") {
			corefiles[fmt.Sprintf("%s block %d", document, i+1)] = block
		}
	}
	if len(corefiles) < 10 {
		t.Fatalf("got %d Corefiles in the documents", len(corefiles))
	}
	example := readDocument(t, "Corefile.example")
	corefiles["Corefile.example"] = example
	const first = "# cluster.local:53 "
	_, inCluster, ok := strings.Cut(example, "\n"+first)
	if !ok {
		t.Fatal("Corefile.example: got no stanza for a cluster")
	}
	corefiles["Corefile.example in a cluster"] = strings.ReplaceAll(first+inCluster, "# ", "")

	for _, name := range []string{"deploy/base/Corefile", "deploy/secondary/primary/Corefile"} {
		corefiles[name] = readDocument(t, name)
	}

	for name, corefile := range corefiles {
		corefile = renamed(corefile)
		t.Run(name, func(t *testing.T) {
			if pluginName == "kubernetes" && strings.Contains(corefile, "k8s_external") {
				t.Skip("the variant goes without k8s_external")
			}
			blocks, err := caddyfile.Parse(name, strings.NewReader(corefile), dnsserver.Directives)
			fatal.If(t, err)
			for _, block := range blocks {
				if len(block.Tokens[pluginName]) == 0 {
					continue // a server block of names that are not the cluster's
				}
				c := &caddy.Controller{
					Dispenser:       caddyfile.NewDispenserTokens(name, block.Tokens[pluginName]),
					ServerBlockKeys: block.Keys,
				}
				if _, err := parseStanza(c); err != nil {
					t.Error(err)
				}
			}
			input := caddy.CaddyfileInput{Filepath: name, Contents: withoutCluster(t, corefile), ServerTypeName: "dns"}
			if err := caddy.ValidateAndExecuteDirectives(input, nil, true); err != nil {
				t.Error(err)
			}
		})
	}
}

// withoutCluster returns corefile with every stanza of ours reading the examples, so that it can be set up anywhere.
func withoutCluster(t *testing.T, corefile string) []byte {
	t.Helper()
	encoded, err := caddyfile.ToJSON([]byte(corefile))
	fatal.If(t, err)
	var blocks caddyfile.EncodedCaddyfile
	fatal.If(t, json.Unmarshal(encoded, &blocks))
	stanzas := 0
	for _, block := range blocks {
		for i, line := range block.Body {
			if line[0] == pluginName {
				stanzas++
				line = slices.DeleteFunc(line, func(part any) bool {
					_, isWord := part.(string)
					return !isWord
				})
				block.Body[i] = append(line, []any{[]any{"manifests", "examples"}})
			}
		}
	}
	if stanzas == 0 {
		t.Errorf("got no stanza of %s", pluginName)
	}
	if encoded, err = json.Marshal(blocks); err != nil {
		t.Fatal(err)
	}
	decoded, err := caddyfile.FromJSON(encoded)
	fatal.If(t, err)
	return decoded
}

// TestReadmeIsShort: it is read by who does not know yet whether to read on.
func TestReadmeIsShort(t *testing.T) {
	page := readDocument(t, "README.md")
	if lines := strings.Count(page, "\n"); lines > 350 || len(page) > 15_000 {
		t.Errorf("got %d lines and %d octets, want 350 and 15,000 at most: move something to docs", lines, len(page))
	}
}

// TestReadmeHasTheFiguresOfTheBenchmarks compares them with the last run of make bench, within a fifth.
func TestReadmeHasTheFiguresOfTheBenchmarks(t *testing.T) {
	for _, tt := range []struct {
		line, heading, stock, ours string
		stockColumn, oursColumn    int
	}{
		{"Service of 5,000, A over UDP", "Queries: server CPU", "Service of 5,000 (A, UDP)", "Service of 5,000 (A, UDP)", 2, 3},
		{"SRV of 1,000, over UDP", "Queries: server CPU", "SRV of 1,000 (UDP)", "SRV of 1,000 (UDP)", 2, 3},
		{
			"start with 100,000 endpoints, first answer after", "Start",
			"10,000 Services, 100,000 endpoints, streamed, kubernetes", "10,000 Services, 100,000 endpoints, streamed, headless", 2, 2,
		},
		{
			"and the memory that it takes", "Start",
			"10,000 Services, 100,000 endpoints, streamed, kubernetes", "10,000 Services, 100,000 endpoints, streamed, headless", 5, 5,
		},
	} {
		cells := regexp.MustCompile(`(?m)^\| ` + tt.line + ` \| ([\d,]+) [^|]*\| ([\d,]+) `).FindStringSubmatch(readDocument(t, "README.md"))
		if cells == nil {
			t.Errorf("README.md has no row %q with two figures", tt.line)
			continue
		}
		for i, measured := range []float64{benchmark(t, tt.heading, tt.stock, tt.stockColumn), benchmark(t, tt.heading, tt.ours, tt.oursColumn)} {
			figure, err := strconv.ParseFloat(strings.ReplaceAll(cells[i+1], ",", ""), 64)
			fatal.If(t, err)
			if math.Abs(figure-measured) > measured/5 {
				t.Errorf("%s: got %v in README.md, want %v", tt.line, figure, measured)
			}
		}
	}
}

// TestNewestVersionIsNamedTheSame where a release is announced.
func TestNewestVersionIsNamedTheSame(t *testing.T) {
	versions := regexp.MustCompile(`(?m)^## \[(\d.*)\] - (\d{4}-\d\d-\d\d)$`).FindStringSubmatch(readDocument(t, "CHANGELOG.md"))
	if versions == nil {
		t.Fatal("CHANGELOG.md has no version")
	}
	version, date := versions[1], versions[2]
	for name, want := range map[string][]string{
		"artifacthub-pkg.yml": {"version: " + version + "\n", "createdAt: '" + date + "T", "/coredns:v" + version + "\n", "/coredns-small:v" + version + "\n"},
		"CHANGELOG.md":        {"/compare/v" + version + "...main\n", "\n[" + version + "]: "},
	} {
		for _, text := range want {
			if !strings.Contains(readDocument(t, name), text) {
				t.Errorf("%s does not have %q, as the newest version in CHANGELOG.md has it", name, text)
			}
		}
	}
}

// TestIndexListsEveryPage: docs/README.md leads to each page in docs, which begins with its title and what it is for.
func TestIndexListsEveryPage(t *testing.T) {
	index := readDocument(t, "docs/README.md")
	for _, document := range documents(t) {
		if filepath.Dir(document) != "docs" {
			continue
		}
		if name := filepath.Base(document); name != "README.md" && !strings.Contains(index, "]("+name+")") {
			t.Errorf("docs/README.md does not lead to %s", name)
		}
		if !regexp.MustCompile(`^# .+\n\n\w`).MatchString(readDocument(t, document)) {
			t.Errorf("%s does not begin with a title and a sentence", document)
		}
	}
}

func TestOptionsHaveTheSectionsOfAManPageInOrder(t *testing.T) {
	page, at := readDocument(t, "docs/options.md"), -1
	for _, title := range []string{"Name", "Description", "Syntax", "Metrics", "Ready", "Examples", "Bugs", "See Also"} {
		i := strings.Index(page, "\n## "+title+"\n")
		if i <= at {
			t.Errorf("got section %q at %d, want it behind %d", title, i, at)
		}
		at = i
	}
}

func TestDocumentsNameEveryOption(t *testing.T) {
	section := documentSection(t, "docs/options.md", "Syntax")
	want := slices.Sorted(maps.Keys(options))

	summary := matches(`(?m)^    (\w+)`, section)
	slices.Sort(summary)
	if !slices.Equal(summary, want) {
		t.Errorf("got the options %q in the summary, want %q", summary, want)
	}

	var described []string
	for _, match := range regexp.MustCompile("(?m)^\\* `(\\w+)[^`]*`(?:[^`\n]* and `(\\w+)` \\*\\*)?").FindAllStringSubmatch(section, -1) {
		described = append(described, match[1])
		if match[2] != "" {
			described = append(described, match[2])
		}
	}
	slices.Sort(described)
	if !slices.Equal(described, want) {
		t.Errorf("got a description of %q, want one of %q", described, want)
	}

	table := documentSection(t, "README.md", "Options")
	listed, bold := matches("(?m)^\\| (?:\\*\\*)?`(\\w+)`", table), matches("(?m)^\\| \\*\\*`(\\w+)`", table)
	slices.Sort(listed)
	slices.Sort(bold)
	if !slices.Equal(listed, want) {
		t.Errorf("got the options %q in README.md, want %q", listed, want)
	}

	rows := matches(`(?m)^\| (.*) \| new \|$`, documentSection(t, "docs/migrating.md", "Replacing *kubernetes*"))
	if isNew := matches("`(\\w+)`", strings.Join(rows, "")); !slices.Equal(bold, isNew) {
		t.Errorf("got the options %q in bold in README.md, and %q as new in docs/migrating.md", bold, isNew)
	}
}

func TestDocumentsNameEveryMetric(t *testing.T) {
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		prometheus.DefaultRegisterer.(*prometheus.Registry).Describe(descs) // unlike Gather it knows vectors without values
	}()
	form := regexp.MustCompile(`fqName: "(coredns_headless_\w+)".*variableLabels: \{([^}]*)\}`)
	var want []string
	for desc := range descs {
		if match := form.FindStringSubmatch(desc.String()); match != nil {
			want = append(want, match[1]+"{"+strings.ReplaceAll(match[2], ",", ", ")+"}")
		}
	}
	slices.Sort(want)

	var got []string
	for _, match := range regexp.MustCompile("(?m)^\\* `(coredns_headless_\\w+)(\\{[^}]*\\})?`").FindAllStringSubmatch(documentSection(t, "docs/monitoring.md", "Metrics"), -1) {
		labels := match[2]
		if labels == "" {
			labels = "{}"
		}
		got = append(got, match[1]+labels)
	}
	slices.Sort(got)
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("got the metrics %q in docs/monitoring.md, want %q", got, want)
	}
}

func TestDocumentsExplainLabels(t *testing.T) {
	section := documentSection(t, "docs/monitoring.md", "Metrics")
	texts := slices.Clone(answerTexts[:])
	for r := index.NoReason + 1; int(r) < index.NumReasons; r++ {
		texts = append(texts, r.String())
	}
	texts = append(texts, kube.WatchEnds...)
	for _, reason := range kube.Flaws {
		texts = append(texts, string(reason))
	}
	for _, text := range texts {
		if !strings.Contains(section, "* `"+text+"`: ") {
			t.Errorf("got no line for %q in docs/monitoring.md", text)
		}
	}
}

func TestDocumentedRoleIsTheGreatestDeployedOne(t *testing.T) {
	blocks := fencedBlocks(documentSection(t, "docs/deploying.md", "RBAC"), "yaml")
	if len(blocks) != 1 {
		t.Fatalf("docs/deploying.md: got %d roles, want one", len(blocks))
	}
	var role rbacv1.ClusterRole
	fatal.If(t, yaml.UnmarshalStrict([]byte(blocks[0]), &role))
	if role.Kind != "ClusterRole" || role.APIVersion != rbacv1.SchemeGroupVersion.String() {
		t.Errorf("got a %s %s, want a ClusterRole", role.APIVersion, role.Kind)
	}
	got, deployed := granted(t, role.Rules), granted(t, deployedRules(t, "multicluster", "../nodelocal"))
	want := []string{kube.Slices + ".discovery.k8s.io", kube.Namespaces, kube.Nodes, kube.Pods, kube.Imports + ".multicluster.x-k8s.io", kube.Services}
	if !slices.Equal(got, want) || !slices.Equal(deployed, want) {
		t.Errorf("got the right to %q, deployed is that to %q, want %q", got, deployed, want)
	}
}

// TestDocumentedRightsAreThoseNeeded tries each stanza of the table of rights.
func TestDocumentedRightsAreThoseNeeded(t *testing.T) {
	t.Parallel()
	words := func(cell string) []string { return matches("`([^`]+)`", cell) }
	rows := regexp.MustCompile(`(?m)^\| (.*) \| (.*) \|$`).FindAllStringSubmatch(documentSection(t, "docs/deploying.md", "RBAC"), -1)
	if len(rows) < 3 {
		t.Fatalf("got %d rows, want a table", len(rows))
	}
	for _, row := range rows[2:] { // after its head
		lines := strings.ReplaceAll(strings.Join(words(row[1]), "\n"), "multicluster", "multicluster cluster.local")
		lines = strings.ReplaceAll(lines, "node NAME", "node k")
		got := requestedResources(t, lines)
		if want := slices.Sorted(slices.Values(words(row[2]))); !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
			t.Errorf("%q: got requests for %q, want %q", lines, slices.Sorted(maps.Keys(got)), want)
		}
	}
}
