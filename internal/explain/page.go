package explain

import (
	"fmt"
	"io"
	"strings"

	"github.com/coredns-headless/headless/internal/output"
)

// pageWidth is how many columns prose may take. Commands are never broken.
const pageWidth = 110

// writePage writes a report for people.
func writePage(w io.Writer, r *report) error {
	var b strings.Builder
	b.WriteString(headline(r) + "\n\n")
	title := "Why:  "
	for _, c := range r.Causes {
		b.WriteString(title + wrapped(sentence(c.Text)+" ["+c.ID+"]", "      "))
		b.WriteString("Fix:  " + strings.ReplaceAll(c.Fix, "\n", "\n      ") + "\n\n")
		title = "Also: "
	}
	for _, l := range r.Chain {
		fmt.Fprintf(&b, "%2s  %-11s %s", l.State, l.Step, wrapped(l.Text, strings.Repeat(" ", 16)))
		for _, detail := range l.Details {
			b.WriteString(strings.Repeat(" ", 16) + wrapped(detail, strings.Repeat(" ", 18)))
		}
	}
	if r.Walk != nil {
		b.WriteString("\n" + r.Walk.page())
	}
	for i, t := range r.Running {
		if i == 0 {
			b.WriteString("\nServers that run:\n")
		}
		b.WriteString(t.page())
	}
	for _, note := range r.Notes {
		b.WriteString("\nNote: " + wrapped(note, "      "))
	}
	_, err := io.WriteString(w, output.Printable(b.String()))
	return err
}

// headline returns the verdict in a line.
func headline(r *report) string {
	switch r.Verdict {
	case couldNotTell:
		return "could not tell whether " + r.Asked + " resolves"
	case doesNot:
		return trimmed(r.Name) + " does not resolve: " + r.Answers.outcome()
	}
	var words []string
	for _, a := range r.Answers {
		if a.Resolves {
			words = append(words, output.Count(a.ofType(), a.Type+" record"))
		}
	}
	return trimmed(r.Name) + " resolves: " + strings.Join(words, ", ")
}

// page writes the names that resolvers try.
func (w *walk) page() string {
	var b strings.Builder
	width := 0
	for _, a := range w.Attempts {
		width = max(width, len(a.Name))
	}
	fmt.Fprintf(&b, "%-*s  %-9s %-8s %s\n", width, fmt.Sprintf("A pod in %s, ndots:%d, tries:", w.From, w.NDots), "", "glibc,Go", "musl")
	for _, a := range w.Attempts {
		line := fmt.Sprintf("%-*s  %-9s %-8s %s", width, a.Name, a.Outcome, a.Glibc, a.Musl)
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// page writes what a server that runs says.
func (t *told) page() string {
	const indent = "           "
	switch {
	case t.Error != "":
		return "no answer  " + wrapped(t.Server+": "+t.Error, indent)
	case len(t.Differs) == 0:
		return "same       " + wrapped(t.Server+" ("+t.State+")", indent)
	}
	return "DIFFERS    " + wrapped(fmt.Sprintf("%s (%s; its stanza: %s)", t.Server, t.State, strings.Join(t.Options, ", ")), indent) +
		indent + strings.Join(each(t.Differs, func(how string) string { return wrapped(how, indent+"  ") }), indent)
}

// sentence returns text with a capital letter and a full stop, unless it begins with a name.
func sentence(text string) string {
	word, _, _ := strings.Cut(text, " ")
	if word != "" && !strings.ContainsAny(word, "./-_") {
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	return strings.TrimSuffix(text, ".") + "."
}

// wrapped breaks text between words. Further lines begin with indent, and the last one ends.
func wrapped(text, indent string) string {
	var b strings.Builder
	column := len(indent)
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+len(word) > pageWidth:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String() + "\n"
}
