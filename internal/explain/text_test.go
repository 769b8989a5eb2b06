package explain

import (
	"strings"
	"testing"
)

func TestListsAreCutShort(t *testing.T) {
	for words, want := range map[string]string{
		"":                       "",
		"a b":                    "a, b",
		"aaa android":            "aaa, android",
		"a b c d":                "a, b, c, d",
		"a b c d e":              "a, b, c, d, and 1 more",
		"aaa android b c d e f":  "aaa, android, b, c, and 3 more",
		"a b c and 1 more words": "a, b, c, and, and 3 more",
	} {
		if got := list(strings.Fields(words)); got != want {
			t.Errorf("%q: got %q, want %q", words, got, want)
		}
	}
}

// TestCommandsAreQuoted: what a shell would take for more than a word.
func TestCommandsAreQuoted(t *testing.T) {
	if got, want := kubectl("shop", "get", "pods", "-l", "app=it's $(x)"), `kubectl -n shop get pods -l 'app=it'\''s $(x)'`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
