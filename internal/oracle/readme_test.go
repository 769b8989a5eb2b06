package oracle

import (
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/filetest"
)

// TestReadmeListsTheDifferences: README has an item for each difference, and a difference for each item.
func TestReadmeListsTheDifferences(t *testing.T) {
	readme := string(filetest.Read(t, "../../README.md"))
	_, section, _ := strings.Cut(readme, "\n## Which Answers Differ from *kubernetes*\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var items []string
	for line := range strings.Lines(section) {
		if item, ok := strings.CutPrefix(line, "* "); ok {
			items = append(items, item)
		}
	}
	if len(items) < 20 {
		t.Fatalf("README has %d items about differences", len(items))
	}
	known := make(map[string]bool) // the items
	names := make(map[string]bool)
	for _, d := range Differences {
		if names[d.Name] {
			t.Errorf("there are two of %q", d.Name)
		}
		names[d.Name] = true
		if len(d.Readme) == 0 && !strings.Contains(strings.Join(strings.Fields(readme), " "), "*"+d.Name+"*") {
			t.Errorf("README says nothing of %q", d.Name)
		}
		for _, start := range d.Readme {
			i := slices.IndexFunc(items, func(item string) bool { return strings.HasPrefix(item, start) })
			if i < 0 {
				t.Errorf("README has no item %q, for %q", start, d.Name)
				continue
			}
			known[items[i]] = true
		}
	}
	for _, item := range items {
		if !known[item] {
			t.Errorf("no difference has the item %q of README", item)
		}
	}
}
