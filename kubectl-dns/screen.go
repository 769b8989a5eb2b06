package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/coredns-headless/headless/internal/insight"
	"github.com/coredns-headless/headless/internal/output"
	"github.com/coredns-headless/headless/kubectl-dns/live"
)

// section is one list of what servers know.
type section struct {
	title, header string // the header's columns are separated by tabs, as those of rows
	rows          []string
	note          string
}

// longest is how many octets of a name are shown: one of 255 would hide what stands behind it in all rows.
const longest = 100

// sections returns the lists, with what comes from anyone made printable.
func sections(t *live.Top) []section {
	names := section{title: "names", header: "COUNT\tOFF BY\tWHY\tLAST\tTYPE\tNAME\tBY"}
	for _, n := range t.Names {
		who := ""
		if len(n.Clients) > 0 {
			who = client(n.Clients[0])
		}
		if more := len(n.Clients) - 1; more > 0 {
			who += fmt.Sprintf(" and %d more", more)
		}
		names.add(count(n.Count), margin(n.Over, n.Under), n.Reason, span(n.Ago), n.Type, output.Shorten(n.Name, longest), who)
	}
	names.note = fmt.Sprintf("A query counts 1, and half after %s. A name that is not listed was counted %s times at most.",
		span(t.HalfLife), count(t.Unlisted.Names))
	clients := section{title: "clients", header: "COUNT\tOFF BY\tSEARCH LIST\tWHY\tLAST\tCLIENT\tLAST NAME"}
	for _, c := range t.Clients {
		clients.add(count(c.Count), margin(c.Over, c.Under), count(c.SearchSteps), c.Reason, span(c.Ago), client(c.Client), output.Shorten(c.Name, longest))
	}
	clients.note = fmt.Sprintf("Search list: queries that a resolver makes on its way through it, in vain. A client that is not listed was counted %s times at most.",
		count(t.Unlisted.Clients))
	reasons := section{title: "reasons", header: "COUNT\tWHY\tMEANING"}
	for _, r := range t.Reasons {
		reasons.add(count(r.Count), r.Reason, r.Meaning)
		for line := range strings.SplitSeq(ansi.Wordwrap(r.Fix, 50, ""), "\n") { // with what stands before it in 80 columns
			reasons.add("", "", "  "+line)
		}
	}
	services := section{title: "services", header: "NAMESPACE\tSERVICE\tREADY\tNOT READY\tTERMINATING\tHELD\tBY"}
	for _, s := range t.Services {
		by := strings.Join(s.Servers, ", ")
		if len(s.Servers) == answering(t) {
			by = "all servers"
		}
		services.add(s.Namespace, s.Name, fmt.Sprint(s.Ready), fmt.Sprint(s.NotReady), fmt.Sprint(s.Terminating), fmt.Sprint(s.Held), by)
	}
	services.note = fmt.Sprintf("%s, of which %d have endpoints that are not ready, or none that is.", output.Count(t.Headless, "headless Service"), t.Troubled)
	all := []section{names, clients, reasons, services}
	if answering(t) == 0 {
		for i := range all {
			all[i].note = "" // nobody has said so
		}
	}
	return all
}

// add adds a row.
func (s *section) add(cells ...string) {
	for i, c := range cells {
		cells[i] = output.Cell(c)
	}
	s.rows = append(s.rows, strings.Join(cells, "\t"))
}

// lines returns the header and the rows as lines.
func (s *section) lines() []string {
	if len(s.rows) == 0 {
		return []string{"(none)"}
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 8, 3, ' ', 0)
	_, _ = fmt.Fprintln(w, s.header+"\n"+strings.Join(s.rows, "\n")) // a buffer takes all
	_ = w.Flush()
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// count returns a count, whole unless it is small.
func count(n float64) string {
	if n < 10 {
		return strconv.FormatFloat(math.Round(n*10)/10, 'f', -1, 64)
	}
	return fmt.Sprintf("%.0f", n)
}

// margin says by how much a count may be too great, and too small.
func margin(over, under float64) string {
	var parts []string
	if over > 0 {
		parts = append(parts, "-"+count(over))
	}
	if under > 0 {
		parts = append(parts, "+"+count(under))
	}
	return strings.Join(parts, " ")
}

// span returns how long some seconds are.
func span(seconds float64) string {
	switch {
	case seconds < 90:
		return fmt.Sprintf("%.0f s", seconds)
	case seconds < 5400:
		return fmt.Sprintf("%.0f min", seconds/60)
	}
	return fmt.Sprintf("%.0f h", seconds/3600)
}

// client returns what a client is called.
func client(w insight.Who) string {
	switch {
	case w.Pod != "":
		return w.Namespace + "/" + w.Pod
	case w.Namespace != "":
		return w.Address + " in " + w.Namespace
	case w.Address == "":
		return "unknown"
	}
	return w.Address
}

// heading returns the lines about all servers, and about each in no more than most lines: if there are more, those that do not answer
// come first, and the last line counts the others.
func heading(t *live.Top, most int) []string {
	lines := []string{fmt.Sprintf("%d of %s: %s answers, %s denials and %s failures a second",
		answering(t), output.Count(len(t.Servers), "server"), count(t.Rates.Answers), count(t.Rates.Denials), count(t.Rates.Failures))}
	servers, others := t.Servers, 0
	if len(servers) > most {
		servers = slices.Clone(servers)
		slices.SortStableFunc(servers, func(a, b live.Standing) int { return min(1, len(b.Error)) - min(1, len(a.Error)) })
		servers, others = servers[:most-1], len(servers)-(most-1)
	}
	for _, s := range servers {
		text := s.Error
		if s.Status != nil {
			text = s.Summary()
		}
		lines = append(lines, fmt.Sprintf("  %s: %s", output.Cell(s.Name), output.Cell(text)))
	}
	if others > 0 {
		lines = append(lines, "  and "+output.Count(others, "other"))
	}
	return lines
}

// answering returns how many servers have answered.
func answering(t *live.Top) (n int) {
	for _, s := range t.Servers {
		if s.Error == "" {
			n++
		}
	}
	return n
}

// writeTop writes all sections for people.
func writeTop(w io.Writer, t *live.Top) error {
	lines := heading(t, len(t.Servers))
	for _, s := range sections(t) {
		lines = append(lines, "", strings.ToUpper(s.title[:1])+s.title[1:])
		for _, line := range s.lines() {
			lines = append(lines, "  "+strings.TrimRight(line, " "))
		}
		if s.note != "" {
			lines = append(lines, "  "+s.note)
		}
	}
	_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
	return err
}

// screen is what a terminal shows. It is a value, as those of its library are.
type screen struct {
	ask           tea.Cmd // its message is an answer
	interval      time.Duration
	last          answer
	section       int
	from          int // the first row that is shown
	width, height int
}

// answer is what the servers said.
type answer struct {
	at  time.Time
	top *live.Top
	err error
}

// again says that it is time to ask again.
type again struct{}

// show shows what ask returns, again and again, until somebody ends it.
func show(ctx context.Context, in io.Reader, out io.Writer, interval time.Duration, ask func(context.Context) (*live.Top, error)) error {
	asking, stop := context.WithCancel(ctx)
	defer stop()
	s := screen{interval: interval, width: 80, height: 24, ask: func() tea.Msg {
		top, err := ask(asking)
		return answer{time.Now(), top, err}
	}}
	_, err := tea.NewProgram(s, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler()).Run()
	if ctx.Err() != nil || errors.Is(err, tea.ErrInterrupted) {
		return nil // it was ended by a signal
	}
	return err
}

// Init implements tea.Model.
func (s screen) Init() tea.Cmd { return s.ask }

// Update implements tea.Model.
func (s screen) Update(m tea.Msg) (tea.Model, tea.Cmd) {
	switch m := m.(type) {
	case answer:
		if m.err != nil {
			m.top, m.at = s.last.top, s.last.at // what was known stays, with its time
		}
		s.last = m
		return s.within(), tea.Tick(s.interval, func(time.Time) tea.Msg { return again{} })
	case again:
		return s, s.ask
	case tea.WindowSizeMsg:
		s.width, s.height = m.Width, m.Height
		return s.within(), nil
	case tea.KeyPressMsg:
		return s.press(m.String())
	}
	return s, nil
}

// sectionCount is how many there are.
const sectionCount = 4

// press does what a key is for.
func (s screen) press(key string) (tea.Model, tea.Cmd) {
	page := s.page()
	switch key {
	case "q", "esc", "ctrl+c":
		return s, tea.Quit
	case "1", "2", "3", "4":
		s.section, s.from = int(key[0]-'1'), 0
	case "tab", "right", "l":
		s.section, s.from = (s.section+1)%sectionCount, 0
	case "shift+tab", "left", "h":
		s.section, s.from = (s.section+sectionCount-1)%sectionCount, 0
	case "down", "j":
		s.from++
	case "up", "k":
		s.from--
	case "pgdown", "space":
		s.from += page
	case "pgup":
		s.from -= page
	case "home", "g":
		s.from = 0
	case "end", "G":
		s.from = math.MaxInt
	}
	return s.within(), nil
}

// within returns s with a first row after which there are others to show, for a list may have become shorter.
func (s screen) within() screen {
	last := 0
	if s.last.top != nil {
		last = len(sections(s.last.top)[s.section].rows) - s.page()
	}
	s.from = max(0, min(s.from, last))
	return s
}

// page returns by how many rows one turns over: one that was seen stays.
func (s screen) page() int { return max(1, s.room()-1) }

// room returns how many rows there is room for.
func (s screen) room() int {
	taken := 6 // the first line, an empty one, the titles, the header, the note and the keys
	if s.last.top != nil {
		taken += min(len(s.last.top.Servers), s.serverLines())
	}
	if s.last.err != nil {
		taken++
	}
	return max(1, s.height-taken)
}

// serverLines returns in how many lines servers are shown: most of the screen is for what they say.
func (s screen) serverLines() int { return max(1, s.height/4) }

// View implements tea.Model.
func (s screen) View() tea.View {
	var lines []string
	switch {
	case s.last.top != nil:
		lines = heading(s.last.top, s.serverLines())
	case s.last.err == nil:
		lines = []string{"asking the servers …"}
	}
	if s.last.err != nil {
		lines = append(lines, ansi.Style{}.Bold().Styled("error: "+output.Cell(s.last.err.Error())))
	}
	if s.last.top != nil {
		all := sections(s.last.top)
		var titles []string
		for i, other := range all {
			title := fmt.Sprintf(" %d %s ", i+1, other.title)
			if i == s.section {
				title = ansi.Style{}.Reverse(true).Styled(title)
			}
			titles = append(titles, title)
		}
		shown := all[s.section]
		table := shown.lines()
		rows := table[1:]
		from := min(s.from, len(rows))
		rows = rows[from:min(len(rows), from+s.room())]
		lines = append(lines, "", strings.Join(titles, " "), ansi.Style{}.Bold().Styled(table[0]))
		lines = append(lines, rows...)
		for range s.room() - len(rows) {
			lines = append(lines, "")
		}
		lines = append(lines, shown.note)
	}
	clock := ""
	if !s.last.at.IsZero() {
		clock = s.last.at.Format(time.TimeOnly) + "   "
	}
	lines = append(lines, fmt.Sprintf("%stab or 1-%d: list   arrows: rows   q: quit", clock, sectionCount))
	lines = lines[:min(len(lines), s.height)]
	for i, line := range lines {
		lines[i] = ansi.Truncate(line, s.width, "…")
	}
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen, v.WindowTitle = true, "kubectl dns top"
	return v
}
