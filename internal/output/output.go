// Package output is what programs write alike: values as JSON or YAML, and text that comes from anyone.
package output

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"sigs.k8s.io/yaml"
)

// Check returns an error that names the formats that there are, unless format is one of them.
func Check(format string, formats ...string) error {
	if slices.Contains(formats, format) {
		return nil
	}
	last := len(formats) - 1
	return fmt.Errorf("-o: expected %s or %s, got %q", strings.Join(formats[:last], ", "), formats[last], format)
}

// Encode writes a value in a format, yaml or else json. The members are those that encoding/json makes.
func Encode(w io.Writer, format string, value any) error {
	if format == "yaml" {
		text, err := yaml.Marshal(value)
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// Printable returns text without what would do something to a terminal: what is in objects may come from anyone. Lines and tabs
// stay.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return visible(r)
	}, text)
}

// Cell returns text as Printable does, for one cell of a table: in one line, without tabs.
func Cell(text string) string { return strings.Map(visible, text) }

// visible returns r, or a question mark in its place.
func visible(r rune) rune {
	if !unicode.IsPrint(r) {
		return '?'
	}
	return r
}

// Count returns a number and what it counts.
func Count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// Shorten returns text, or if it has more than most octets a start of it and an ellipsis, in no more than most octets of UTF-8.
func Shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-len("…")], "") + "…"
}
