package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// few is how many things a list on the page names.
const few = 4

// firstFew returns the first few of words and, as one more, how many there are beside them.
func firstFew(words []string) []string {
	if more := len(words) - few; more > 0 {
		return append(words[:few:few], fmt.Sprintf("and %d more", more))
	}
	return words
}

// list returns words in a line: the first few, and how many there are beside them.
func list(words []string) string {
	if more := len(words) - few; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:few], ", "), more)
	}
	return strings.Join(words, ", ")
}

// each returns what is said of each of things.
func each[T any](things []T, say func(T) string) []string {
	words := make([]string, len(things))
	for i, thing := range things {
		words[i] = say(thing)
	}
	return words
}

// count returns a number and what it counts.
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
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
		d := distance(word, w)
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

// distance returns how many letters have to be put in, taken out, changed, or swapped with the next one to make b of a.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			if i == 0 || j == 0 {
				rows[i][j] = i + j
				continue
			}
			changed := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				changed++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, changed)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], 1+rows[i-2][j-2])
			}
		}
	}
	return rows[len(a)][len(b)]
}
