package clients

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// The layout of the picture, in pixels. A cell is one of the 24 columns, and the rows, that a dashboard has in Grafana.
const (
	cellWidth, cellHeight = 50, 30
	columns               = 24
	margin, padding       = 4, 10
	axisWidth, lineHeight = 52, 15
	alertHeight           = 17
)

// colors are those of the lines of a panel: the palette of Tableau, then darker ones.
var colors = strings.Fields("#4e79a7 #f28e2b #59a14f #e15759 #76b7b2 #b07aa1 #edc948 #9c755f #ff9da7 #8a8683 " +
	"#2f4b6e #a85b0c #2f6b2a #9b2226 #3d7a75 #6b4468")

// drawing draws the panels of a dashboard into an SVG file.
type drawing struct {
	bytes.Buffer
	from, to float64 // the time that is drawn
}

func (d *drawing) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(d, format+"\n", args...) // a buffer takes everything
}

// text writes s at a position, with the attributes of an element of SVG.
func (d *drawing) text(x, y int, attributes, s string) {
	d.printf(`<text x="%d" y="%d" %s>%s</text>`, x, y, attributes, html.EscapeString(s))
}

// drawDashboard draws panels, and below them when alerts fired.
func drawDashboard(file string, panels []panel, alerts []result, began, ended time.Time) error {
	d := drawing{from: float64(began.Unix()), to: float64(ended.Unix())}
	rows := 0
	for _, p := range panels {
		rows = max(rows, p.GridPos.Y+p.GridPos.H)
	}
	names := alertSpans(alerts)
	width, top := columns*cellWidth+2*margin, rows*cellHeight+2*margin
	height := top + len(names)*alertHeight + 60
	d.printf(`<!-- Drawn from what a Prometheus has measured. To draw it again: make dashboard -->
<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="Helvetica, Arial, sans-serif" font-size="11" fill="#333">
<rect width="100%%" height="100%%" fill="#eef0f3"/>`, width, height)
	for i := range panels {
		d.panel(&panels[i])
	}
	d.alerts(names, top)
	d.printf("</svg>")
	return os.WriteFile(file, d.Bytes(), 0o644)
}

// frame is a rectangle of the picture.
type frame struct{ x, y, w, h int }

// box draws the box of a panel and its title, and returns what is inside.
func (d *drawing) box(f frame, title string) frame {
	d.printf(`<rect x="%d" y="%d" width="%d" height="%d" rx="3" fill="#fff" stroke="#d5d9df"/>`, f.x, f.y, f.w, f.h)
	d.text(f.x+padding, f.y+19, `font-size="13" font-weight="bold"`, title)
	return frame{f.x + padding, f.y + 28, f.w - 2*padding, f.h - 28 - padding/2}
}

func (d *drawing) panel(p *panel) {
	g := p.GridPos
	f := frame{margin + g.X*cellWidth, margin + g.Y*cellHeight, g.W * cellWidth, g.H * cellHeight}
	if p.Type == "row" {
		d.text(f.x+padding, f.y+21, `font-size="14" font-weight="bold" fill="#555"`, p.Title)
		return
	}
	f = d.box(frame{f.x + margin, f.y + margin, f.w - 2*margin, f.h - 2*margin}, p.Title)
	if p.Type == "stat" {
		d.stat(p, f)
	} else {
		d.lines(p, f)
	}
}

// stat draws the last value of a panel on the color that it has.
func (d *drawing) stat(p *panel, f frame) {
	text, color := "no data", "#999"
	if len(p.series) > 0 && len(p.series[0].points) > 0 {
		value := p.series[0].points[len(p.series[0].points)-1].value
		text = format(p.FieldConfig.Defaults.Unit, value)
		for _, step := range p.FieldConfig.Defaults.Thresholds.Steps {
			if step.Value == nil || value >= *step.Value {
				color = map[string]string{"green": "#3f8f4f", "orange": "#e08a1e", "red": "#c4343b"}[step.Color]
			}
		}
		for _, m := range p.FieldConfig.Defaults.Mappings {
			if to, ok := m.Options[strconv.FormatFloat(value, 'g', -1, 64)]; ok {
				text = to.Text
			}
		}
	}
	d.printf(`<rect x="%d" y="%d" width="%d" height="%d" rx="2" fill="%s"/>`, f.x, f.y, f.w, f.h, color)
	d.text(f.x+f.w/2, f.y+f.h/2+9, `font-size="26" fill="#fff" text-anchor="middle"`, text)
}

// lines draws the series of a panel, stacked where it says so, and a legend of those that are not 0 all the time.
func (d *drawing) lines(p *panel, f frame) {
	shown := slices.DeleteFunc(slices.Clone(p.series), func(s series) bool {
		return !slices.ContainsFunc(s.points, func(point sample) bool { return point.value != 0 })
	})
	f.h -= d.legend(shown, len(p.series)-len(shown), f)
	plot := frame{f.x + axisWidth, f.y + 4, f.w - axisWidth, f.h - 22}

	isStacked := p.FieldConfig.Defaults.Custom.Stacking.Mode == "normal"
	stack, top := make(map[float64]float64), 0.0 // how high it is at each time
	bottoms := make([][]sample, len(shown))
	for i := range shown {
		shown[i].points, bottoms[i] = slices.Clone(shown[i].points), slices.Clone(shown[i].points)
		for j, point := range shown[i].points {
			if isStacked {
				bottoms[i][j].value = stack[point.at]
				stack[point.at] += point.value
				shown[i].points[j].value = stack[point.at]
			}
			top = max(top, shown[i].points[j].value)
		}
	}
	unit := p.FieldConfig.Defaults.Unit
	step := tick(unit, top)
	top = max(top*1.05, step)
	x := func(at float64) float64 { return float64(plot.x) + (at-d.from)/(d.to-d.from)*float64(plot.w) }
	y := func(value float64) float64 { return float64(plot.y+plot.h) - value/top*float64(plot.h) }
	for value := 0.0; value <= top; value += step {
		d.printf(`<path d="M%d %.0fh%d" stroke="#e6e8ec"/>`, plot.x, y(value), plot.w)
		d.text(plot.x-6, int(y(value))+4, `text-anchor="end" fill="#666"`, format(unit, value))
	}
	d.times(plot)
	path := func(points []sample) string {
		var b strings.Builder
		for _, point := range points {
			fmt.Fprintf(&b, "%.0f,%.1f ", x(point.at), y(point.value))
		}
		return strings.TrimSpace(b.String())
	}
	for i, s := range shown {
		color := colors[i%len(colors)]
		below := unbroken(bottoms[i])
		for j, points := range unbroken(s.points) {
			if isStacked {
				slices.Reverse(below[j])
				d.printf(`<polygon points="%s %s" fill="%s" fill-opacity="0.3"/>`, path(points), path(below[j]), color)
			}
			d.printf(`<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5" stroke-linecap="round"/>`, path(points), color)
		}
	}
}

// unbroken returns the parts of a line where no point is missing.
func unbroken(points []sample) (parts [][]sample) {
	for i, point := range points {
		if i == 0 || point.at-points[i-1].at > 1.5*minute.Seconds() {
			parts = append(parts, nil)
		}
		last := len(parts) - 1
		parts[last] = append(parts[last], point)
	}
	return parts
}

// times draws the axis of time below f.
func (d *drawing) times(f frame) {
	const apart = 20 // minutes
	for m := 0; float64(m)*minute.Seconds() <= d.to-d.from; m += apart {
		x := f.x + int(float64(m)*minute.Seconds()/(d.to-d.from)*float64(f.w))
		d.printf(`<path d="M%d %dv%d" stroke="#e6e8ec"/>`, x, f.y, f.h+4)
		d.text(x, f.y+f.h+16, `text-anchor="middle" fill="#666"`, fmt.Sprintf("%d min", m))
	}
}

// legend draws the names of lines at the bottom of f, and returns how high that is. zeros is how many others are nothing but 0.
func (d *drawing) legend(shown []series, zeros int, f frame) (height int) {
	type entry struct{ text, color string }
	var entries []entry
	for i, s := range shown {
		entries = append(entries, entry{s.legend, colors[i%len(colors)]})
	}
	if zeros > 0 {
		entries = append(entries, entry{fmt.Sprintf("%d at 0", zeros), ""})
	}
	const mark, gap, most = 14, 10, 4
	var rows [][]entry
	x := f.w
	for _, e := range entries {
		width := mark + textWidth(e.text) + gap
		if x+width-gap > f.w {
			rows, x = append(rows, nil), 0
		}
		x += width
		rows[len(rows)-1] = append(rows[len(rows)-1], e)
	}
	if rest := entries; len(rows) > most {
		rows = rows[:most-1]
		for _, row := range rows {
			rest = rest[len(row):]
		}
		rows = append(rows, []entry{{fmt.Sprintf("and %d more", len(rest)), ""}})
	}
	for i, row := range rows {
		x, y := f.x, f.y+f.h-(len(rows)-1-i)*lineHeight-3
		for _, e := range row {
			if e.color != "" {
				d.printf(`<path d="M%d %dh10" stroke="%s" stroke-width="3"/>`, x, y-4, e.color)
			}
			d.text(x+mark, y, "", e.text)
			x += mark + textWidth(e.text) + gap
		}
	}
	return len(rows)*lineHeight + 2
}

// textWidth returns about how wide a text of a legend is.
func textWidth(s string) (width int) {
	for _, r := range s {
		width += 7
		if unicode.IsUpper(r) {
			width += 2
		}
	}
	return width
}

// alertSpans returns when each alert fired, whatever its labels, by name, in the order in which they began.
func alertSpans(alerts []result) []series {
	at := make(map[string][]float64)
	for _, r := range alerts {
		for _, s := range r.Values {
			at[r.Metric["alertname"]] = append(at[r.Metric["alertname"]], s.at)
		}
	}
	var spans []series
	for name, times := range at {
		slices.Sort(times)
		s := series{legend: name}
		for _, t := range slices.Compact(times) {
			s.points = append(s.points, sample{t, 1})
		}
		spans = append(spans, s)
	}
	slices.SortFunc(spans, func(a, b series) int {
		if a.points[0].at != b.points[0].at {
			return int(a.points[0].at - b.points[0].at)
		}
		return strings.Compare(a.legend, b.legend)
	})
	return spans
}

// alerts draws when alerts fired.
func (d *drawing) alerts(spans []series, top int) {
	f := d.box(frame{2 * margin, top, columns*cellWidth - 2*margin, len(spans)*alertHeight + 52}, "Alerts that fired meanwhile (not in the dashboard)")
	const names = 200
	plot := frame{f.x + names, f.y, f.w - names, len(spans) * alertHeight}
	d.times(plot)
	x := func(at float64) int { return plot.x + int((at-d.from)/(d.to-d.from)*float64(plot.w)) }
	for i, s := range spans {
		y := plot.y + i*alertHeight
		d.text(f.x, y+12, "", s.legend)
		for _, part := range unbroken(s.points) {
			from, to := x(part[0].at), x(part[len(part)-1].at+minute.Seconds())
			d.printf(`<rect x="%d" y="%d" width="%d" height="%d" rx="2" fill="#c4343b"/>`, from, y+3, min(to, plot.x+plot.w)-from, alertHeight-6)
		}
	}
}

// tick returns how far the ticks of an axis up to top are apart: so that there are two to five.
func tick(unit string, top float64) float64 {
	base := 1.0
	if unit == "bytes" {
		base = 1 << 20
	}
	if top == 0 {
		return base
	}
	power := math.Pow(10, math.Floor(math.Log10(top/base)))
	for _, n := range []float64{0.2, 0.5, 1, 2} {
		if step := n * power * base; top/step < 5 {
			return step
		}
	}
	return 5 * power * base
}

// format writes a value in a unit of Grafana's.
func format(unit string, value float64) string {
	number := func(value float64) string { return strconv.FormatFloat(value, 'g', 3, 64) }
	switch {
	case unit == "percentunit":
		return number(100*value) + " %"
	case unit == "bytes":
		return number(value/(1<<20)) + " MiB"
	case unit == "reqps":
		return number(value) + " req/s"
	case unit == "ops":
		return number(value) + " ops/s"
	case unit == "s" && value != 0 && value < 0.001:
		return number(value*1e6) + " µs"
	case unit == "s" && value != 0 && value < 1:
		return number(value*1e3) + " ms"
	case unit == "s":
		return number(value) + " s"
	}
	return number(value)
}
