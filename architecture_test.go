package headless

import (
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// TestArchitectureListsTheImports compares the packages that import each other with the list in docs/architecture.md.
func TestArchitectureListsTheImports(t *testing.T) {
	const module = "github.com/coredns-headless/headless"
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", ".", "./internal/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		var imports []string
		for _, imported := range fields[1:] {
			if strings.HasPrefix(imported, module+"/") {
				imports = append(imports, path.Base(imported))
			}
		}
		if len(imports) > 0 {
			slices.Sort(imports)
			got = append(got, path.Base(fields[0])+" -> "+strings.Join(imports, ", "))
		}
	}
	page, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(page), "~~~ imports\n")
	list, _, _ = strings.Cut(list, "\n~~~")
	want := strings.Split(list, "\n")
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("docs/architecture.md has\n%s\nwant\n%s", list, strings.Join(got, "\n"))
	}
}
