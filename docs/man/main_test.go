package main

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/docs"
)

func render(t *testing.T) string {
	t.Helper()
	roff, err := page()
	if err != nil {
		t.Fatal(err)
	}
	return string(roff)
}

func TestPageHasTheFormOfAPlugins(t *testing.T) {
	roff := render(t)
	if !strings.Contains(roff, `.TH "HEADLESS" "7" "" "CoreDNS" "CoreDNS Plugins"`) {
		t.Error("got no title headless(7)")
	}
	var sections []string
	for _, match := range regexp.MustCompile(`(?m)^\.SH (.*)$`).FindAllStringSubmatch(roff, -1) {
		sections = append(sections, match[1])
	}
	at := -1
	for _, section := range []string{"NAME", "DESCRIPTION", "SYNTAX", "METRICS", "READY", "ZONAL NAMES", "EXAMPLES", "BUGS", "SEE ALSO"} {
		i := slices.Index(sections, section)
		if i <= at {
			t.Errorf("got section %q at %d of %q, want it behind %d", section, i, sections, at)
		}
		at = i
	}
	if !strings.Contains(roff, ".SH NAME\n"+`\fIheadless\fP \- answers`) { // what apropos shows
		t.Error("got no line of what the page is about")
	}
}

// TestPageHasAllThatItIsMadeOf: each option and each Corefile of the documents is in the page, and nothing of their markup.
func TestPageHasAllThatItIsMadeOf(t *testing.T) {
	roff := render(t)
	options, err := docs.Pages.ReadFile("options.md")
	if err != nil {
		t.Fatal(err)
	}
	described := regexp.MustCompile("(?m)^\\* `(\\w+)").FindAllSubmatch(options, -1)
	if len(described) < 20 {
		t.Fatalf("got %d options in options.md", len(described))
	}
	for _, option := range described {
		if !strings.Contains(roff, `\fB`+string(option[1])) {
			t.Errorf("got no option %s", option[1])
		}
	}
	if got, want := strings.Count(roff, ".EX\n"), strings.Count(string(options), "\n~~~")/2; got < want {
		t.Errorf("got %d examples, want %d and those of records.md", got, want)
	}
	for _, line := range regexp.MustCompile("(?m)^(?:##|~~~|\\* ).*|.*(?:\\]\\(|`).*").FindAllString(roff, -1) {
		t.Errorf("got markup in %q", line)
	}
}

// TestTroffTakesThePage runs groff, where there is one.
func TestTroffTakesThePage(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(groff, "-man", "-t", "-k", "-Tutf8", "-wall", "-Wbreak", "-z")
	cmd.Stdin = strings.NewReader(render(t))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("groff: %v:\n%s", err, out)
	}
}
