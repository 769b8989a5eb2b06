package output

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCheckNamesTheFormats(t *testing.T) {
	formats := []string{"text", "json", "yaml"}
	if err := Check("yaml", formats...); err != nil {
		t.Errorf("yaml: got %v, want no error", err)
	}
	for _, format := range []string{"wide", "", "JSON"} {
		want := `-o: expected text, json or yaml, got "` + format + `"`
		if err := Check(format, formats...); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", format, err, want)
		}
	}
}

func TestEncode(t *testing.T) {
	value := struct {
		Text string `json:"text"`
		Less string `json:"less,omitempty"`
	}{Text: "<a> & b"}
	for format, want := range map[string]string{"json": "{\n  \"text\": \"<a> & b\"\n}\n", "yaml": "text: <a> & b\n"} {
		var b strings.Builder
		if err := Encode(&b, format, value); err != nil || b.String() != want {
			t.Errorf("%s: got %q and %v, want %q", format, b.String(), err, want)
		}
	}
}

// TestTextDoesNothingToATerminal: neither in lines nor in a cell of a table.
func TestTextDoesNothingToATerminal(t *testing.T) {
	for _, c := range []struct{ name, text, lines, cell string }{
		{"letters of any script stay", "grüß 漢字", "grüß 漢字", "grüß 漢字"},
		{"lines and tabs stay in lines", "a\tb\nc", "a\tb\nc", "a?b?c"},
		{"escape sequences", "\x1b[2J\x1b]0;t\a", "?[2J?]0;t?", "?[2J?]0;t?"},
		{"those of C1", "\u009b2J", "?2J", "?2J"},
		{"a return hides what stands before it", "bad\rgood", "bad?good", "bad?good"},
		{"the direction of text", "a\u202eb", "a?b", "a?b"},
		{"what is not seen", "a\u200bb\x00", "a?b?", "a?b?"},
		{"what is no UTF-8", "a\x9bb\xff", "a\ufffdb\ufffd", "a\ufffdb\ufffd"},
	} {
		if got := Printable(c.text); got != c.lines {
			t.Errorf("%s: got %q, want %q", c.name, got, c.lines)
		}
		if got := Cell(c.text); got != c.cell {
			t.Errorf("%s, in a cell: got %q, want %q", c.name, got, c.cell)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 names", 1: "1 name", 2: "2 names"} {
		if got := Count(n, "name"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestShortenKeepsTheStart(t *testing.T) {
	for _, c := range []struct {
		text string
		most int
		want string
	}{
		{"abcd", 4, "abcd"},
		{"abcde", 4, "a…"},
		{"éééé", 6, "é…"},
		{"\xff\xffabcdef", 7, "ab…"},
	} {
		got := Shorten(c.text, c.most)
		if got != c.want || len(got) > c.most || !utf8.ValidString(got) {
			t.Errorf("%q to %d octets: got %q, want %q", c.text, c.most, got, c.want)
		}
	}
}
