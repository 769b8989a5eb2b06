package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/coredns-headless/headless/internal/output"
	yaml3 "go.yaml.in/yaml/v3"
)

// document is one of a file.
type document struct {
	file   string
	number int    // in the file, from 1
	text   []byte // of the file; of one of several JSON values, this value
	nth    int    // which document of text it is, from 1
	line   int    // of the file, where text begins

	root func() *yaml3.Node // of the document, parsed once, to find the lines of what is in it; or nil
}

func newDocument(file string, number int, text []byte, nth, line int) *document {
	root := sync.OnceValue(func() *yaml3.Node {
		if len(text) > mostLocated {
			return nil
		}
		return nthNode(text, nth)
	})
	return &document{file, number, text, nth, line, root}
}

// mostLocated is how large a text may be of which lines are looked for.
const mostLocated = 8 << 20

// node returns the node of the document, or that of an item of the list that it is, of an item of
// that, and so on. It returns nil if the document does not parse, or would take long.
func (d *document) node(items []int) *yaml3.Node {
	node := d.root()
	for _, i := range items {
		if lists := fields(node, []string{"items"}); len(lists) == 1 && i < len(lists[0].Content) {
			node = lists[0].Content[i]
		}
	}
	return node
}

// at returns where node stands, or the document if that is nil: document N, line M.
func (d *document) at(node *yaml3.Node) string {
	line := 1
	if node != nil {
		line = node.Line
	}
	return fmt.Sprintf("document %d, line %d", d.number, d.line+line-1)
}

var (
	yamlLine  = regexp.MustCompile(`yaml: (line (\d+): )?`)
	jsonField = regexp.MustCompile(`cannot unmarshal (\w+) ?(\S*) into Go struct field \w+\.([\w.]+) of type`)
	template  = regexp.MustCompile(`(?m)^[ \t]*(?:- +)*(?:[\w./-]+: +)*\{\{`)
)

// errTemplate is what is wrong with a file of templates.
var errTemplate = errors.New("this looks like a template: render it first (helm template, kustomize build)")

// syntax returns err, with which the document does not parse, with its place. Behind the document the
// text is not read.
func (d *document) syntax(err error) error {
	at := yamlLine.FindStringSubmatch(err.Error())
	start := startOf(d.text, d.nth)
	line := start
	if at != nil && at[2] != "" {
		line, _ = strconv.Atoi(at[2]) // it matches digits
	}
	rest := d.rest()
	if hit := template.FindIndex(rest); hit != nil {
		line, err = start+bytes.Count(rest[:hit[1]], []byte("\n")), errTemplate
	}
	why := err.Error()
	if at != nil {
		why = strings.Replace(why, at[0], "", 1)
	}
	return d.errorf("document %d, line %d: %s", d.number, d.line+line-1, why)
}

// rest returns the text of a document that does not parse, as far as one can tell.
func (d *document) rest() []byte {
	rest := d.text[offsetOf(d.text, startOf(d.text, d.nth)):]
	if end := bytes.Index(rest, []byte("\n---")); end >= 0 {
		rest = rest[:end]
	}
	return rest
}

// isTemplate reports whether the document looks like a template.
func (d *document) isTemplate() bool { return template.Match(d.rest()) }

// errorf returns an error of the document, no longer than longest. The text is a format.
func (d *document) errorf(text string, args ...any) error {
	return errors.New(shortened(nameOf(d.file) + ": " + fmt.Sprintf(text, args...)))
}

// longest is how many octets a message has at most, with what stands before it in the log.
const longest = 380

// shortened returns text in one line, of no more than longest octets.
func shortened(text string) string {
	return output.Shorten(strings.Join(strings.Fields(text), " "), longest)
}

// nameOf returns the path of a file, or how one that is very long ends.
func nameOf(path string) string {
	if most := longest / 2; len(path) > most {
		path = "…" + strings.ToValidUTF8(path[len(path)-most:], "")
	}
	return path
}

// wrong returns err, of what items lead to in the document, with its place.
func (d *document) wrong(items []int, err error) error {
	node := d.node(items)
	if m := jsonField.FindStringSubmatch(err.Error()); m != nil {
		values := slices.DeleteFunc(fields(node, strings.Split(m[3], ".")),
			func(v *yaml3.Node) bool { return v == nil })
		isIt := func(v *yaml3.Node) bool { return jsonType(v) == m[1] && (m[2] == "" || v.Value == m[2]) }
		// The two versions of YAML may see another type.
		if i := max(0, slices.IndexFunc(values, isIt)); i < len(values) {
			node = values[i]
		}
	}
	var path strings.Builder
	for _, i := range items {
		fmt.Fprintf(&path, "item %d: ", i+1)
	}
	return d.errorf("%s: %s%v", d.at(node), path.String(), err)
}

// values returns the documents of a file of JSON: one value, or several one behind the other, as
// programs write them, perhaps with --- between them. What kubectl cluster-info dump prints is one,
// with logs of containers behind the objects. It returns nil if text is anything else.
func values(file string, text []byte) (documents []*document) {
	line := 1
	for rest := bytes.TrimPrefix(text, []byte("\ufeff")); ; {
		trimmed := bytes.TrimLeft(rest, " \t\r\n")
		line += bytes.Count(rest[:len(rest)-len(trimmed)], []byte("\n"))
		if rest = trimmed; len(rest) == 0 {
			return documents
		}
		end := 0
		switch {
		case rest[0] == '{' || rest[0] == '[':
			if end = valueEnd(rest); !json.Valid(rest[:end]) {
				return nil
			}
			documents = append(documents, newDocument(file, len(documents)+1, rest[:end], 1, line))
		case len(documents) > 0 && bytes.HasPrefix(rest, []byte("==== START logs ")):
			if end = bytes.Index(rest, []byte("\n==== END logs ")); end < 0 {
				end = len(rest) - 1
			}
			end += 1 + lineEnd(rest[end+1:])
		case bytes.Equal(bytes.TrimRight(rest[:lineEnd(rest)], " \r\n"), []byte("---")):
			end = lineEnd(rest)
		default:
			return nil
		}
		line += bytes.Count(rest[:end], []byte("\n"))
		rest = rest[end:]
	}
}

// lineEnd returns the length of the first line of text.
func lineEnd(text []byte) int {
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		return i + 1
	}
	return len(text)
}

// valueEnd returns the length of the JSON object or array that text begins with, if it is one.
func valueEnd(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		}
	}
	return len(text)
}

// offsetOf returns where a line of text begins.
func offsetOf(text []byte, line int) int {
	offset := 0
	for ; line > 1; line-- {
		offset += lineEnd(text[offset:])
	}
	return offset
}

// startOf returns the line at which the nth document of content starts, as far as one can tell when
// it does not parse.
func startOf(content []byte, n int) int {
	if n == 1 {
		return 1
	}
	before, line := 1, 0
	for text := range bytes.Lines(content) {
		line++
		if bytes.HasPrefix(text, []byte("---")) && line > 1 {
			if before++; before == n {
				break
			}
		}
	}
	return line
}

// nthNode returns the nth document of content, or nil if it does not parse.
func nthNode(content []byte, n int) *yaml3.Node {
	documents := yaml3.NewDecoder(bytes.NewReader(content))
	for ; ; n-- {
		var doc yaml3.Node
		if documents.Decode(&doc) != nil || len(doc.Content) == 0 {
			return nil
		}
		if n == 1 {
			return doc.Content[0]
		}
	}
}

// fields returns the values that path leads to from node, through every item of the lists on the way.
func fields(node *yaml3.Node, path []string) []*yaml3.Node {
	found := []*yaml3.Node{node}
	for _, name := range path {
		var next []*yaml3.Node
		for _, parent := range found {
			next = append(next, field(parent, name)...)
		}
		found = next
	}
	return found
}

// field returns the values of a field of node, which may be nil, or of the items that it lists.
func field(node *yaml3.Node, name string) []*yaml3.Node {
	var found []*yaml3.Node
	switch {
	case node == nil:
	case node.Kind == yaml3.AliasNode:
		return field(node.Alias, name)
	case node.Kind == yaml3.SequenceNode:
		for _, item := range node.Content {
			found = append(found, field(item, name)...)
		}
	case node.Kind == yaml3.MappingNode:
		for pair := range slices.Chunk(node.Content, 2) { // a name and its value
			if len(pair) == 2 && pair[0].Value == name {
				found = append(found, pair[1])
			}
		}
	}
	return found
}

// jsonType returns what errors of encoding/json call the type of node.
func jsonType(node *yaml3.Node) string {
	switch {
	case node == nil:
		return ""
	case node.Kind == yaml3.MappingNode:
		return "object"
	case node.Kind == yaml3.SequenceNode:
		return "array"
	}
	return map[string]string{
		"!!str": "string", "!!int": "number", "!!float": "number", "!!bool": "bool",
	}[node.Tag]
}

// lineOf returns the line at which text stands in a scalar below node, and reports whether it does.
func lineOf(node *yaml3.Node, text string) (int, bool) {
	switch {
	case node == nil:
		return 0, false
	case node.Kind == yaml3.AliasNode:
		return lineOf(node.Alias, text)
	case node.Kind == yaml3.ScalarNode:
		before, _, found := strings.Cut(node.Value, text)
		line := node.Line
		if node.Style == yaml3.LiteralStyle { // its text begins below the |
			line += 1 + strings.Count(before, "\n")
		}
		return line, found
	}
	for _, child := range node.Content {
		if line, found := lineOf(child, text); found {
			return line, true
		}
	}
	return 0, false
}
