package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/coredns-headless/headless"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/pkg/parse"
	"github.com/coredns/coredns/plugin/pkg/transport"
)

// lacking are the plugins of CoreDNS that the build in cmd/coredns goes without.
var lacking = []string{"azure", "clouddns", "etcd", "nomad", "route53", "trace"}

// corefile is a Corefile in which kubernetes has become headless.
type corefile struct {
	text    string
	stanzas []*headless.Stanza
	cached  bool // a cache stands before headless
	notes   []note
}

var (
	snippet   = regexp.MustCompile(`(?m)^\s*\(([^)\s]+)\)\s*\{`)
	imported  = regexp.MustCompile(`(?m)^[ \t]*import[ \t]+(\S+)[^\n]*$`)
	directive = regexp.MustCompile(`(^|[\s@])kubernetes($|\s)`)
)

// rewrite returns a Corefile with headless in place of kubernetes, where that is a directive, and in autopath @kubernetes. All else
// stays, down to the comments. What is imported from files is not read: it is in the pod, not here.
func rewrite(text string) (*corefile, error) {
	c := &corefile{}
	own := make(map[string]bool) // the names of snippets
	for _, match := range snippet.FindAllStringSubmatch(text, -1) {
		own[match[1]] = true
	}
	for _, match := range imported.FindAllStringSubmatchIndex(text, -1) {
		if what := text[match[2]:match[3]]; !own[what] {
			c.note(1+strings.Count(text[:match[0]], "\n"), "import %s: what it imports is not here to read; if it has kubernetes in it, change the word there", what)
		}
	}
	// alone returns a Corefile without its imports of files, with all else in the same line as before.
	alone := func(text string) string {
		return imported.ReplaceAllStringFunc(text, func(line string) string {
			if own[imported.FindStringSubmatch(line)[1]] {
				return line
			}
			return ""
		})
	}
	const name = "Corefile"
	blocks, err := caddyfile.Parse(name, strings.NewReader(alone(text)), nil)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(text, "\n")
	found, answered := 0, false
	for _, block := range blocks {
		answered = answered || len(block.Tokens["headless"]) > 0
		for _, tokens := range [][]caddyfile.Token{block.Tokens["kubernetes"], block.Tokens["autopath"]} {
			for i, token := range tokens {
				if token.Text == "@kubernetes" || i == 0 && token.Text == "kubernetes" {
					found++
					line := lines[token.Line-1]
					if at := directive.FindStringIndex(line); at != nil { // a snippet is there once for each import
						first := strings.Replace(line[at[0]:at[1]], "kubernetes", "headless", 1)
						lines[token.Line-1] = line[:at[0]] + first + line[at[1]:]
					}
				}
			}
		}
		c.look(block)
	}
	switch {
	case answered:
		return nil, errors.New("headless answers already in its Corefile")
	case found == 0:
		return nil, errors.New("expected a server block with kubernetes in its Corefile")
	}
	c.text = strings.Join(lines, "\n")
	if c.stanzas, err = headless.ParseStanzas(name, []byte(alone(c.text))); err != nil {
		return nil, fmt.Errorf("%w; change it in a copy, and give that as -corefile", err)
	}
	c.probes(blocks)
	return c, nil
}

// look notes what is wrong with a server block here.
func (c *corefile) look(block caddyfile.ServerBlock) {
	for _, key := range block.Keys {
		via, address := parse.Transport(key)
		if _, port, err := net.SplitHostPort(address); err == nil && port != "53" || err != nil && via != transport.DNS {
			c.note(0, "%s: the container and the Services have port 53 only", key)
		}
	}
	for name, tokens := range block.Tokens {
		switch {
		case slices.Contains(lacking, name):
			c.note(tokens[0].Line, "%s: the build in cmd/coredns goes without it; add it to cmd/coredns/plugins.go", name)
		case !slices.Contains(dnsserver.Directives, name) && name != "headless":
			c.note(tokens[0].Line, "%s: no plugin of CoreDNS, so your image has to have it", name)
		}
	}
	if len(block.Tokens["kubernetes"]) > 0 && len(block.Tokens["cache"]) > 0 {
		c.cached = true
	}
}

// probes notes what the probes and the Services of deploy/base ask for and do not find.
func (c *corefile) probes(blocks []caddyfile.ServerBlock) {
	for _, want := range []struct{ plugin, address, asks string }{
		{"ready", ":8181", "the readiness probe asks, so no pod becomes ready without"},
		{"health", ":8080", "the liveness probe asks, so pods are started again and again without"},
		{"prometheus", ":9153", "metrics are looked for"},
	} {
		found := false
		for _, block := range blocks {
			tokens := block.Tokens[want.plugin]
			if len(tokens) == 0 {
				continue
			}
			at := want.address
			if len(tokens) > 1 && tokens[1].Line == tokens[0].Line && tokens[1].Text != "{" {
				at = tokens[1].Text
			}
			found = found || strings.HasSuffix(at, want.address)
		}
		if !found {
			c.note(0, "there is no %s at %s, where %s", want.plugin, want.address, want.asks)
		}
	}
}

// note is what is to be known about a line, or about no line in particular if that is 0.
type note struct {
	line int
	text string
}

func (c *corefile) note(line int, format string, args ...any) {
	where := "Corefile"
	if line > 0 {
		where = fmt.Sprintf("Corefile:%d", line)
	}
	c.notes = append(c.notes, note{line, where + ": " + fmt.Sprintf(format, args...)})
}

// said returns the texts of the notes in the order of their lines, each once: a snippet is there once for each import.
func (c *corefile) said() (texts []string) {
	slices.SortStableFunc(c.notes, func(a, b note) int { return cmp.Compare(a.line, b.line) })
	for _, n := range slices.Compact(c.notes) {
		texts = append(texts, n.text)
	}
	return texts
}
