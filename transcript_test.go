package headless

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coredns-headless/headless/internal/dnstest"
	"github.com/miekg/dns"
)

// dig is a command of a transcript: what is asked, and what is shown of the reply. The zero value shows all of it.
type dig struct {
	name       string
	qtype      uint16
	short      bool           // the data of the answer section, and nothing else
	records    bool           // the records of the answer and the additional section, and nothing else
	show, trim *regexp.Regexp // of the lines, and what is cut off before them; nil: all, and nothing
}

// parseDig returns the dig of a command, without its final newline.
func parseDig(command string) (dig, error) {
	command, filter, _ := strings.Cut(command, " | grep ")
	words := strings.Fields(command)
	d := dig{qtype: dns.TypeA}
	switch words[0] {
	case "ask":
	case "why": // as docs/explain.md defines it
		d.show, d.trim = regexp.MustCompile("EDE: "), regexp.MustCompile(".*EDE: ")
	default:
		return d, fmt.Errorf("unknown command %q", words[0])
	}
	if filter != "" {
		d.show = regexp.MustCompile(strings.Trim(strings.TrimPrefix(filter, "-E "), "'"))
	}
	reverse := false
	for _, word := range words[1:] {
		qtype, isType := dns.StringToType[word]
		switch {
		case word == "+short":
			d.short = true
		case word == "+answer" || word == "+additional":
			d.records = true
		case word == "+noall":
		case word == "-x":
			reverse = true
		case isType:
			d.qtype = qtype
		case reverse:
			name, err := dns.ReverseAddr(word)
			if err != nil {
				return d, err
			}
			d.name, d.qtype, reverse = name, dns.TypePTR, false
		case d.name == "" && !strings.HasPrefix(word, "+") && !strings.HasPrefix(word, "-"):
			d.name = dns.Fqdn(word)
		default:
			return d, fmt.Errorf("unknown word %q", word)
		}
	}
	if d.name == "" {
		return d, fmt.Errorf("no name in %q", command)
	}
	return d, nil
}

// lines returns what dig prints of m, as far as transcripts show it.
func (d dig) lines(m *dns.Msg) []string {
	if d.short {
		return dnstest.Data(m.Answer)
	}
	var lines []string
	if !d.records {
		lines = append(lines, fmt.Sprintf(";; ->>HEADER<<- opcode: QUERY, status: %s, id: %d", dns.RcodeToString[m.Rcode], m.Id))
		if opt := m.IsEdns0(); opt != nil {
			for _, option := range opt.Option {
				if e, ok := option.(*dns.EDNS0_EDE); ok {
					lines = append(lines, fmt.Sprintf("; EDE: %d (%s): (%s)", e.InfoCode, dns.ExtendedErrorCodeToString[e.InfoCode], e.ExtraText))
				}
			}
		}
		lines = append(lines, dnstest.Lines(m.Ns)...)
	}
	lines = append(lines, dnstest.Lines(m.Answer)...)
	for _, rr := range m.Extra {
		if rr.Header().Rrtype != dns.TypeOPT {
			lines = append(lines, dnstest.Lines([]dns.RR{rr})...)
		}
	}
	if d.show != nil {
		lines = slices.DeleteFunc(lines, func(line string) bool { return !d.show.MatchString(line) })
	}
	for i := range lines {
		if d.trim != nil {
			lines[i] = d.trim.ReplaceAllString(lines[i], "")
		}
	}
	return lines
}

var varies = regexp.MustCompile(`(id: |hostmaster\.\S+ )\d+`) // the numbers that a server chooses

// alike returns lines sorted, without what is another one each time.
func alike(lines []string) []string {
	var alike []string
	for _, line := range lines {
		alike = append(alike, varies.ReplaceAllString(strings.Join(strings.Fields(line), " "), "$1"))
	}
	slices.Sort(alike)
	return alike
}

// TestDocumentedAnswersAreGiven asks a server with Corefile.example each question of the transcripts, which are the blocks in language
// console. A transcript of another server is in language txt.
func TestDocumentedAnswersAreGiven(t *testing.T) {
	s := startServer(t, strings.NewReplacer(":1053", ":0", "    log\n", "").Replace(readDocument(t, "Corefile.example")))
	asked := 0
	for _, document := range documents(t) {
		for _, block := range fencedBlocks(readDocument(t, document), "console") {
			for part := range strings.SplitSeq("\n"+block, "\n$ ") {
				command, output, _ := strings.Cut(part, "\n")
				if command == "" || strings.HasPrefix(command, "alias ask=") || strings.HasPrefix(command, "why() ") {
					continue
				}
				d, err := parseDig(command)
				if err != nil {
					t.Errorf("%s: %s: %v", document, command, err)
					continue
				}
				asked++
				got := alike(d.lines(s.exchange(t, "udp", dnstest.Query(d.name, d.qtype, 1232))))
				if want := alike(strings.Split(strings.TrimSpace(output), "\n")); !slices.Equal(got, want) {
					t.Errorf("%s: %s: got %q, want %q", document, command, got, want)
				}
			}
		}
		for _, block := range fencedBlocks(readDocument(t, document), "txt") {
			if regexp.MustCompile(`(?m)^\$ (ask|why|dig) `).MatchString(block) && !strings.Contains(block, "$ kubectl ") {
				t.Errorf("%s: nobody asks what is in %q: its language is not console", document, block)
			}
		}
	}
	if asked < 15 {
		t.Errorf("got %d questions in the documents", asked)
	}
}
