// Command rooms prints docs/rooms.svg: the packages at the root and below internal, and which of
// them import which. It asks go list, so the picture is of the code. `make picture` runs it.
//
// The plugin's packages stand below those that import them. To a package that an arrow reaches by
// way of others, a thin arrow leads from the root; where another package imports it, that one's box
// says so in words. Packages that the plugin does not need stand in the rows at the bottom.
package main

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"log"
	"os"
	"os/exec"
	"slices"
	"strings"
)

const module = "github.com/coredns-headless/headless"

// outside are the libraries that a box names, by the starts of their packages' paths.
var outside = []struct{ prefix, name string }{
	{"github.com/coredns/", "CoreDNS"},
	{"github.com/miekg/dns", "DNS messages"},
	{"k8s.io/", "Kubernetes"},
	{"sigs.k8s.io/", "Kubernetes"},
}

// room is a package.
type room struct {
	name    string
	imports []*room  // sorted by name
	knows   []string // the libraries outside that it imports
	row     int      // of the picture; the root's is 0
	x       float64  // the middle of its box
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("rooms: ")
	rooms, err := list()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(draw(rooms))
}

// list returns the packages, sorted by name. The first one is the root.
func list() ([]*room, error) {
	const format = `{{.ImportPath}} {{.Name}} {{join .Imports " "}}`
	cmd := exec.Command("go", "list", "-f", format, ".", "./internal/...")
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	byPath := make(map[string]*room)
	imports := make(map[*room][]string)
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		r := &room{name: fields[1]}
		byPath[fields[0]], imports[r] = r, fields[2:]
	}
	var rooms []*room
	for r, paths := range imports {
		for _, path := range paths {
			if to := byPath[path]; to != nil {
				r.imports = append(r.imports, to)
				continue
			}
			for _, lib := range outside {
				if strings.HasPrefix(path, lib.prefix) && !strings.HasPrefix(path, module) &&
					!slices.Contains(r.knows, lib.name) {
					r.knows = append(r.knows, lib.name)
				}
			}
		}
		slices.SortFunc(r.imports, byName)
		slices.Sort(r.knows)
		rooms = append(rooms, r)
	}
	root := byPath[module]
	slices.SortFunc(rooms, func(a, b *room) int {
		switch root {
		case a:
			return -1
		case b:
			return +1
		}
		return byName(a, b)
	})
	return rooms, nil
}

func byName(a, b *room) int { return cmp.Compare(a.name, b.name) }

// names returns the names of rooms behind a word, or "" if there are no rooms.
func names(word string, rooms []*room) string {
	for i, r := range rooms {
		word += []string{" ", ", "}[min(i, 1)] + r.name
	}
	if len(rooms) == 0 {
		return ""
	}
	return word
}

// reaches reports whether some path of imports leads from r to other, and is not that import itself.
func (r *room) reaches(other *room) bool {
	return slices.ContainsFunc(r.imports, func(next *room) bool {
		return next != other && (slices.Contains(next.imports, other) || next.reaches(other))
	})
}

// arrows returns the packages to which an arrow leads from r, and the others that it imports.
func (r *room) arrows() (to, also []*room) {
	for _, other := range r.imports {
		if r.reaches(other) {
			also = append(also, other)
		} else {
			to = append(to, other)
		}
	}
	return to, also
}

// Sizes in the picture.
const (
	width    = 912 // four boxes
	boxWidth = 206
	boxHigh  = 66
	rowHigh  = 104
	gap      = 16
)

// arrange gives the packages that the root needs, and itself, their rows and places, and returns them by rows.
func arrange(root *room) [][]*room {
	parents := make(map[*room][]*room)
	var deepen func(r *room, row int)
	deepen = func(r *room, row int) {
		r.row = max(r.row, row)
		to, _ := r.arrows()
		for _, other := range to {
			if !slices.Contains(parents[other], r) {
				parents[other] = append(parents[other], r)
			}
			deepen(other, r.row+1)
		}
	}
	parents[root] = nil
	deepen(root, 0)
	var rows [][]*room
	for r := range parents {
		for len(rows) <= r.row {
			rows = append(rows, nil)
		}
		rows[r.row] = append(rows[r.row], r)
	}
	root.x = width / 2
	for _, row := range rows[1:] {
		mean := 0.0
		for _, r := range row {
			r.x = 0
			for _, p := range parents[r] {
				r.x += p.x / float64(len(parents[r]))
			}
			mean += r.x / float64(len(row))
		}
		slices.SortFunc(row, func(a, b *room) int { return cmp.Or(cmp.Compare(a.x, b.x), byName(a, b)) })
		step := float64(boxWidth + 8*gap)
		if n := len(row); n > 1 {
			step = min(step, float64(width-2*gap-boxWidth)/float64(n-1))
		}
		moved := 0.0 // the mean of where they are now
		for i, r := range row {
			if i > 0 {
				r.x = max(r.x, row[i-1].x+step)
			}
			moved += r.x / float64(len(row))
		}
		shift := mean - moved
		shift = max(shift, gap+boxWidth/2-row[0].x)
		shift = min(shift, width-gap-boxWidth/2-row[len(row)-1].x)
		for _, r := range row {
			r.x += shift
		}
	}
	return rows
}

// draw returns the picture.
func draw(rooms []*room) string {
	rows := arrange(rooms[0])
	top := func(row int) int { return gap + row*rowHigh }
	var boxes, lines strings.Builder
	drawn := make(map[*room]bool)
	for _, row := range rows {
		for _, r := range row {
			drawn[r] = true
			to, also := r.arrows()
			from := top(r.row) + boxHigh
			if r == rooms[0] {
				box(&boxes, r, top(r.row), "plugin", "the root")
				for _, other := range also {
					bus(&lines, r, from, other, top(other.row))
				}
			} else {
				box(&boxes, r, top(r.row), "plugin", names("also imports", also))
			}
			for _, other := range to {
				end := top(other.row) - 2
				fmt.Fprintf(&lines, "<path d=\"M%.0f %d C%.0f %d %.0f %d %.0f %d\" marker-end=\"url(#tip)\"/>\n",
					r.x, from, r.x, (from+end)/2, other.x, (from+end)/2, other.x, end)
			}
		}
	}
	bottom := top(len(rows)) + gap
	fmt.Fprintf(&boxes, "<text class=\"heading\" x=\"%d\" y=\"%d\">"+
		"not in the plugin: for tests and programs</text>\n", gap, bottom)
	column, high := 0, bottom+gap
	for _, r := range rooms {
		if drawn[r] {
			continue
		}
		if column > 0 && (column+1)*(boxWidth+gap)+gap > width {
			column, high = 0, high+boxHigh+gap
		}
		r.x = float64(gap + column*(boxWidth+gap) + boxWidth/2)
		box(&boxes, r, high, "test", names("imports", r.imports))
		column++
	}
	height := high + boxHigh + gap
	return fmt.Sprintf(frame, width, height, width, height) + lines.String() + boxes.String() + "</svg>\n"
}

const frame = `<!-- Drawn by go run ./.ci/rooms from the code. To draw it again: make picture -->
<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<title>The packages of the plugin, and which of them import which</title>
<style>
.plugin { fill: #e8f0fb; stroke: #2f5d9b } .test { fill: #f4f4f4; stroke: #999; stroke-dasharray: 4 3 }
path { fill: none; stroke: #2f5d9b; stroke-width: 2 } .thin { stroke-width: 0.8 } text { fill: #222; text-anchor: middle }
.name { font-weight: bold; font-size: 15px } .knows { fill: #9b4a12 } .heading { text-anchor: start; fill: #555 }
</style>
<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto">
<polygon points="0,0 10,5 0,10" fill="#2f5d9b"/></marker></defs>
<rect width="100%%" height="100%%" fill="white"/>
`

// bus draws a thin arrow down from r and then, if it has to, sideways to other, whose box begins at top.
func bus(w *strings.Builder, r *room, from int, other *room, top int) {
	end := fmt.Sprintf("V%d", top-2)
	switch middle := top + boxHigh/2; {
	case other.x-boxWidth/2 > r.x:
		end = fmt.Sprintf("V%d H%.0f", middle, other.x-boxWidth/2-2)
	case other.x+boxWidth/2 < r.x:
		end = fmt.Sprintf("V%d H%.0f", middle, other.x+boxWidth/2+2)
	}
	fmt.Fprintf(w, "<path class=\"thin\" d=\"M%.0f %d %s\" marker-end=\"url(#tip)\"/>\n", r.x, from, end)
}

// box draws r with a line of text, and with the libraries that it knows.
func box(w *strings.Builder, r *room, top int, class, text string) {
	fmt.Fprintf(w, "<rect class=\"%s\" x=\"%.0f\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n",
		class, r.x-boxWidth/2, top, boxWidth, boxHigh)
	below := top + 22
	for _, line := range []struct{ class, text string }{{"name", r.name}, {"", text}, {"knows", strings.Join(r.knows, ", ")}} {
		if line.text == "" {
			continue
		}
		fmt.Fprintf(w, "<text class=\"%s\" x=\"%.0f\" y=\"%d\">", line.class, r.x, below)
		below += 17
		_ = xml.EscapeText(w, []byte(line.text)) // a Builder returns no error
		w.WriteString("</text>\n")
	}
}
