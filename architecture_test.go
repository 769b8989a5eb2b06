package headless

import (
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/fatal"
)

// TestArchitectureListsTheImports compares the packages that import each other with the list in docs/architecture.md.
func TestArchitectureListsTheImports(t *testing.T) {
	const module = "github.com/coredns-headless/headless"
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", ".", "./internal/...").Output()
	fatal.If(t, err)
	var got []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		var imports []string
		for _, imported := range fields[1:] {
			if imported == module || strings.HasPrefix(imported, module+"/") {
				imports = append(imports, path.Base(imported))
			}
		}
		if len(imports) > 0 {
			slices.Sort(imports)
			got = append(got, path.Base(fields[0])+" -> "+strings.Join(imports, ", "))
		}
	}
	_, list, _ := strings.Cut(readDocument(t, "docs/architecture.md"), "~~~ imports\n")
	list, _, _ = strings.Cut(list, "\n~~~")
	want := strings.Split(list, "\n")
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("docs/architecture.md has\n%s\nwant\n%s", list, strings.Join(got, "\n"))
	}
}

// TestArchitectureNamesEveryRoom: each folder below internal stands in a table of docs/architecture.md.
func TestArchitectureNamesEveryRoom(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}}", "./internal/...").Output()
	fatal.If(t, err)
	page := readDocument(t, "docs/architecture.md")
	for line := range strings.Lines(string(out)) {
		_, room, _ := strings.Cut(strings.TrimSpace(line), "/internal/")
		if !strings.Contains(page, "| `"+room+"` |") {
			t.Errorf("docs/architecture.md has no row for %q", room)
		}
	}
}

// TestPictureIsOfThisCode: docs/rooms.svg is what make picture draws now.
func TestPictureIsOfThisCode(t *testing.T) {
	cmd := exec.Command("go", "run", "./.ci/rooms")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	want, err := cmd.Output()
	if err != nil {
		t.Fatalf("go run ./.ci/rooms: %v: %s", err, stderr.String())
	}
	got := strings.Split(readDocument(t, "docs/rooms.svg"), "\n")
	for i, line := range strings.Split(string(want), "\n") {
		if i >= len(got) || got[i] != line {
			t.Errorf("docs/rooms.svg is not of this code, run make picture: want %q in line %d", line, i+1)
			break
		}
	}
	if page := readDocument(t, "docs/architecture.md"); !strings.Contains(page, "](rooms.svg)") {
		t.Error("docs/architecture.md does not show rooms.svg")
	}
}

// TestDevelopersPagesNameWhatIsThere: what the pages for developers call a file or a folder is one.
func TestDevelopersPagesNameWhatIsThere(t *testing.T) {
	known := make(map[string]bool)
	out, err := exec.Command("git", "ls-files").Output()
	if err != nil {
		t.Skipf("git ls-files: %v", err) // a copy without its history
	}
	for line := range strings.Lines(string(out)) {
		for name := strings.TrimSpace(line); name != "."; name = path.Dir(name) {
			known[name], known[path.Base(name)] = true, true
		}
	}
	for _, document := range []string{"docs/architecture.md", "docs/testing.md", "CONTRIBUTING.md"} {
		for _, name := range matches("`([\\w./-]+\\.(?:go|md|sh|svg|proto)|(?:internal|test|cmd)/[\\w/-]+)`", readDocument(t, document)) {
			if !known[name] {
				t.Errorf("%s names %s, which is not there", document, name)
			}
		}
	}
}

// TestDocumentsNameTestsThatAreThere: what the documents call a test is one, and in the table of the specification so is each row.
func TestDocumentsNameTestsThatAreThere(t *testing.T) {
	out, err := exec.Command("git", "grep", "-hoE", `^func Test\w+`, "--", "*_test.go").Output()
	if err != nil {
		t.Skipf("git grep: %v", err) // a copy without its history
	}
	for _, document := range documents(t) {
		for _, name := range matches("`(Test\\w+)`", readDocument(t, document)) {
			if !strings.Contains(string(out), "func "+name+"\n") {
				t.Errorf("%s names %s, which is not there", document, name)
			}
		}
	}
	rows := matches(`"([^"]+)"`, documentSection(t, "docs/behaviour.md", "The specification"))
	if len(rows) < 15 {
		t.Errorf("docs/behaviour.md: got %d rows of tests", len(rows))
	}
	for _, row := range rows {
		if !strings.Contains(readDocument(t, "handler_test.go"), `{"`+row+`", "`) {
			t.Errorf("docs/behaviour.md: handler_test.go has no row %q", row)
		}
	}
}

// TestContributingListsTheTargets: each target that make help lists has an item in CONTRIBUTING.md, and each item a target.
func TestContributingListsTheTargets(t *testing.T) {
	want := matches(`(?m)^([a-z0-9]+):.*## `, readDocument(t, "Makefile"))
	got := matches("(?m)^\\| `make ([a-z0-9]+)` \\|", readDocument(t, "CONTRIBUTING.md"))
	slices.Sort(want)
	want = slices.Compact(want) // programs has a line for its environment, too
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("CONTRIBUTING.md: got the targets %q, want %q", got, want)
	}
}
