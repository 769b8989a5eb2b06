package explain

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// few is how many things a list on the page names.
const few = 4

// firstFew returns the first few of words and, as one more, how many others there are.
func firstFew(words []string) []string {
	if more := len(words) - few; more > 0 {
		return append(words[:few:few], fmt.Sprintf("and %d more", more))
	}
	return words
}

// list returns the first few of words in a line.
func list(words []string) string { return strings.Join(firstFew(words), ", ") }

// each returns what is said of each of things.
func each[T any](things []T, say func(T) string) []string {
	words := make([]string, len(things))
	for i, thing := range things {
		words[i] = say(thing)
	}
	return words
}

var plainWord = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// kubectl returns a command for a namespace, with each argument quoted for a shell if it has to be.
func kubectl(namespace string, args ...string) string {
	words := []string{"kubectl"}
	if namespace != "" {
		args = append([]string{"-n", namespace}, args...)
	}
	for _, arg := range args {
		if !plainWord.MatchString(arg) {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

// closest returns those of words that may be meant by word: that differ in no more than two letters, or else that one starts with.
func closest(word string, words []string) []string {
	least := min(2, len(word)/2)
	var near []string
	for _, w := range words {
		d := distance(word, w, 2)
		if d > 2 && (strings.HasPrefix(w, word) || strings.HasPrefix(word, w)) {
			d = 2
		}
		if d < least {
			near, least = nil, d
		}
		if d == least {
			near = append(near, w)
		}
	}
	slices.Sort(near)
	return slices.Compact(near)
}

// distance returns how many letters have to be put in, taken out, changed, or swapped with the next one to make b of a. If there are
// more than most, it returns any number above most.
func distance(a, b string, most int) int {
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	if a == "" || b == "" || most == 0 {
		return len(a) + len(b)
	}
	d := min(distance(a[1:], b, most-1), distance(a, b[1:], most-1), distance(a[1:], b[1:], most-1))
	if len(a) > 1 && len(b) > 1 && a[0] == b[1] && a[1] == b[0] {
		d = min(d, distance(a[2:], b[2:], most-1))
	}
	return 1 + d
}
