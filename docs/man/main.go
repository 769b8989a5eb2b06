// Command man writes the manual page headless(7), which it makes of docs/options.md and docs/records.md.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/coredns-headless/headless/docs"
	"github.com/cpuguy83/go-md2man/v2/md2man"
)

// repository is where links lead to that are relative in the documents.
const repository = "https://github.com/coredns-headless/headless/blob/main"

func main() {
	page, err := page()
	if err == nil {
		_, err = os.Stdout.Write(page)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

// page returns the manual page in roff: the sections of options.md, and those of records.md before the examples.
func page() ([]byte, error) {
	options, err := sections("options.md")
	if err != nil {
		return nil, err
	}
	records, err := sections("records.md")
	if err != nil {
		return nil, err
	}
	before, after, ok := strings.Cut(options, examples)
	if !ok {
		return nil, errors.New("options.md has no section Examples")
	}
	text := `% "HEADLESS" "7" "" "CoreDNS" "CoreDNS Plugins"` + "\n" + before + records + examples + after
	return md2man.Render([]byte(text)), nil
}

const examples = "\n## EXAMPLES\n"

var (
	heading = regexp.MustCompile(`(?m)^## .*$`)
	link    = regexp.MustCompile(`\]\(([\w./-]*)(#[\w-]+)?\)`)
)

// sections returns the sections of a document, as a manual page has them: headings in capitals, and links that are whole.
func sections(name string) (string, error) {
	text, err := docs.Pages.ReadFile(name)
	if err != nil {
		return "", err
	}
	at := heading.FindIndex(text)
	if at == nil {
		return "", fmt.Errorf("%s has no section", name)
	}
	sections := heading.ReplaceAllStringFunc("\n"+string(text[at[0]:]), strings.ToUpper)
	return link.ReplaceAllStringFunc(sections, func(l string) string {
		parts := link.FindStringSubmatch(l)
		target := cmp.Or(parts[1], name)
		return "](" + repository + "/" + path.Join("docs", target) + parts[2] + ")"
	}), nil
}
