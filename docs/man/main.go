// Command man writes the manual page headless(7), which it makes of docs/options.md and docs/records.md.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
)

// repository is where links lead to that are relative in the documents.
const repository = "https://github.com/coredns-headless/headless/blob/main"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "man: expected the folder of the documents, and nothing else")
		os.Exit(2)
	}
	page, err := page(os.DirFS(os.Args[1]))
	if err != nil {
		fmt.Fprintf(os.Stderr, "man: %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
	if _, err := os.Stdout.Write(page); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

// page returns the manual page in roff: the sections of options.md, and those of records.md before the examples.
func page(docs fs.FS) ([]byte, error) {
	options, err := sections(docs, "options.md")
	if err != nil {
		return nil, err
	}
	records, err := sections(docs, "records.md")
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
func sections(docs fs.FS, name string) (string, error) {
	text, err := fs.ReadFile(docs, name)
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
