package main

import (
	_ "embed"
	"fmt"
	"io"
	"math"
	"text/template"
)

//go:embed chart.svg
var chartSource string

var chartTemplate = template.Must(template.New("chart").Parse(chartSource))

// bar is a median and its spread, in milliseconds.
type bar struct {
	what   string
	median float64
	spread spread
	ours   bool
}

func newBar(c *cell, ours bool) bar {
	return bar{what: c.what, median: c.samples.median(), spread: c.samples.spread(), ours: ours}
}

// The measures of a chart, in pixels.
const (
	chartWidth = 720
	labelWidth = 290
	valueWidth = 120
	plotWidth  = chartWidth - labelWidth - valueWidth
	rowHeight  = 34
	barHeight  = 20
	headHeight = 56
)

// chart is what the template draws: horizontal bars, one below the other.
type chart struct {
	Title, Note   string
	Width, Height int
	Left, Top     int
	Bottom        int
	BarHeight     int
	Bars          []drawnBar
	// Target is a line across all bars; 0 is none.
	Target int
}

// drawnBar is a bar in pixels. Class is its colour's.
type drawnBar struct {
	Label, Value, Class string
	Y, Mid, Foot, End   int
	Width               int
	// Low and High are the ends of its whisker, Tick is a line across it; 0 is none.
	Low, High, Tick int
}

func newChart(title, note string, rows int) chart {
	height := headHeight + rows*rowHeight
	return chart{Title: title, Note: note, Width: chartWidth, Height: height + 12, Left: labelWidth, Top: headHeight, Bottom: height, BarHeight: barHeight}
}

func (c *chart) add(b drawnBar) {
	b.Y = headHeight + len(c.Bars)*rowHeight + 7
	b.Mid, b.Foot = b.Y+barHeight/2, b.Y+barHeight
	b.End = max(labelWidth+b.Width, b.High, b.Tick) + 8
	c.Bars = append(c.Bars, b)
}

func (c chart) write(to io.Writer) error { return chartTemplate.Execute(to, c) }

// timesChart draws the absolute medians, which are the machine's, on one scale.
func timesChart(bars []bar) chart {
	c := newChart("A tenant, and the bare copies it is compared with", "p50; blue is tenantry, the thin line p10–p90", len(bars))
	longest := 0.0
	for _, b := range bars {
		longest = max(longest, b.median, b.spread.high)
	}
	at := func(ms float64) int { return int(math.Round(ms / longest * plotWidth)) }
	for _, b := range bars {
		class := "other"
		if b.ours {
			class = "ours"
		}
		c.add(drawnBar{
			Label: b.what, Value: amount(b.median, "ms"), Class: class, Width: max(1, at(b.median)),
			Low: labelWidth + at(b.spread.low), High: labelWidth + at(b.spread.high),
		})
	}
	return c
}

// promisesChart draws how much of what its target allows each line takes, so that
// shorter is better in all of them. A bar is cut
// where it takes much more than that.
func promisesChart(lines []line) chart {
	const most = 2.25
	var shown []line
	for _, l := range lines {
		if l.verdict == targetMet || l.verdict == floorMet || l.verdict == missed {
			shown = append(shown, l)
		}
	}
	c := newChart("What was promised", "shorter is better; the tick is the floor", len(shown))
	at := func(share float64) int { return int(math.Round(min(share, most) / most * plotWidth)) }
	for _, l := range shown {
		share := func(value float64) float64 {
			if l.atLeast {
				return l.target.target / value
			}
			return value / l.target.target
		}
		c.add(drawnBar{
			Label: l.short, Class: classes[l.verdict], Width: max(1, at(share(l.value))), Tick: labelWidth + at(share(l.floor)),
			Value: fmt.Sprintf("%s (%s)", l.cells()[1], l.bound(l.target.target)),
		})
	}
	c.Target = labelWidth + at(1)
	return c
}

var classes = map[verdict]string{targetMet: "met", floorMet: "near", missed: "missed"}
