package oracle

import (
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/filetest"
)

// TestDocumentsListTheDifferences: docs/records.md has an item for each difference, and a difference for each item.
func TestDocumentsListTheDifferences(t *testing.T) {
	_, section, _ := strings.Cut(string(filetest.Read(t, "../../docs/records.md")), "\n## Which Answers Differ from *kubernetes*\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var items []string
	for line := range strings.Lines(section) {
		if item, ok := strings.CutPrefix(line, "* "); ok {
			items = append(items, item)
		}
	}
	if len(items) < 20 {
		t.Fatalf("docs/records.md has %d items about differences", len(items))
	}
	comparing := strings.Join(strings.Fields(string(filetest.Read(t, "../../docs/dnsdiff.md"))), " ")
	known := make(map[string]bool) // the items
	names := make(map[string]bool)
	for _, d := range Differences {
		if names[d.Name] {
			t.Errorf("there are two of %q", d.Name)
		}
		names[d.Name] = true
		if len(d.Items) == 0 && !strings.Contains(comparing, "*"+d.Name+"*") {
			t.Errorf("docs/dnsdiff.md says nothing of %q", d.Name)
		}
		for _, start := range d.Items {
			i := slices.IndexFunc(items, func(item string) bool { return strings.HasPrefix(item, start) })
			if i < 0 {
				t.Errorf("docs/records.md has no item %q, for %q", start, d.Name)
				continue
			}
			known[items[i]] = true
		}
	}
	for _, item := range items {
		if !known[item] {
			t.Errorf("no difference has the item %q of docs/records.md", item)
		}
	}
}
