package matrix

import (
	"fmt"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// draw draws the CPU time of a query for a Service by its size into an SVG file.
func draw(path string, m measurements) error {
	p := plot.New()
	p.Title.Text = "Server CPU per query for a Service, A over UDP"
	p.X.Label.Text = "endpoints"
	p.Y.Label.Text = "µs"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.Title.Padding = vg.Points(8)
	p.X.Max, p.Y.Min = 7000, 2 // room for the last tick's text
	p.X.Tick.Marker, p.Y.Tick.Marker = sizeTicks(), plainTicks{}
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	for _, line := range []struct {
		server string
		color  color.Color
	}{
		{stock, color.RGBA{R: 0xc0, G: 0x39, B: 0x2b, A: 0xff}},
		{headless, color.RGBA{R: 0x29, G: 0x80, B: 0xb9, A: 0xff}},
		{"nsd", color.RGBA{R: 0x7f, G: 0x8c, B: 0x8d, A: 0xff}},
	} {
		if len(m[serviceRow(sizes[0])][line.server]) == 0 {
			continue // it is not installed
		}
		var points plotter.XYs
		for _, n := range sizes {
			points = append(points, plotter.XY{X: float64(n), Y: spreadOf(m.cpu(serviceRow(n), line.server)).median})
		}
		lines, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return fmt.Errorf("cannot draw %s: %w", line.server, err)
		}
		lines.Color, dots.Color = line.color, line.color
		lines.Width = vg.Points(1.5)
		p.Add(lines, dots)
		p.Legend.Add(line.server, lines, dots)
	}
	return p.Save(16*vg.Centimeter, 11*vg.Centimeter, path)
}

// sizeTicks are the sizes of the Services.
func sizeTicks() plot.ConstantTicks {
	var ticks plot.ConstantTicks
	for _, n := range sizes {
		ticks = append(ticks, plot.Tick{Value: float64(n), Label: thousands(n)})
	}
	return ticks
}

// plainTicks are the ticks of a logarithmic scale, with numbers as people write them.
type plainTicks struct{}

// Ticks implements plot.Ticker.
func (plainTicks) Ticks(low, high float64) []plot.Tick {
	ticks := plot.LogTicks{}.Ticks(low, high)
	for i, t := range ticks {
		if t.Label != "" {
			ticks[i].Label = thousands(int(t.Value))
		}
	}
	return ticks
}
