package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// line is one of the table.
type line struct {
	target
	value  float64
	spread spread
	n      int
	// measured and against are the absolute medians.
	measured, against string
	// verdict is empty where nothing was promised.
	verdict verdict
}

// ratio is the median of one series over that of another, with the spread of the
// rounds' own ratios.
func ratio(t target, of, against series, unit string) line {
	l := line{
		target: t, value: of.median() / against.median(), spread: of.over(against).spread(), n: min(len(of), len(against)),
		measured: amount(of.median(), unit), against: amount(against.median(), unit),
	}
	return l.judged()
}

func (l line) judged() line {
	if l.floor != 0 {
		l.verdict = l.judge(l.value)
	}
	return l
}

// amount is a value with its unit, to three digits or so.
func amount(value float64, unit string) string {
	digits := 2
	switch {
	case value >= 100:
		digits = 0
	case value >= 10:
		digits = 1
	}
	return fmt.Sprintf("%.*f %s", digits, value, unit)
}

// cells are what a line says, in the order of the columns.
func (l line) cells() []string {
	if l.verdict == unmeasured || l.verdict == skipped {
		return []string{l.what, "–", "–", "–", l.bound(l.target.target), l.bound(l.floor), string(l.verdict), "–", "–"}
	}
	value := func(v float64) string {
		if l.unit != "" {
			return fmt.Sprintf("%.1f%s", v, l.unit)
		}
		return fmt.Sprintf("%.2f", v)
	}
	cells := []string{l.what, value(l.value), "–", fmt.Sprint(l.n), "–", "–", "–", orDash(l.measured), orDash(l.against)}
	if l.spread.high > l.spread.low {
		cells[2] = value(l.spread.low) + "–" + value(l.spread.high)
	}
	if l.verdict != "" {
		cells[4], cells[5], cells[6] = l.bound(l.target.target), l.bound(l.floor), string(l.verdict)
	}
	return cells
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

var columns = []string{"what", "result", "p10–p90", "n", "target", "floor", "verdict", "p50", "against, p50"}

// report is what one run found.
type report struct {
	Machine []string
	Lines   []line
	Bars    []bar
	// Skipped are the promises that a quick run does not look at.
	Skipped []string
}

// complete puts the promises first, in their order, with those that were not
// measured, and then the rest.
func (r *report) complete() {
	var rest []line
	promised := make(map[string]line)
	for _, l := range r.Lines {
		if l.verdict == "" {
			rest = append(rest, l)
		} else {
			promised[l.what] = l
		}
	}
	r.Lines = nil
	for _, t := range targets {
		l, ok := promised[t.what]
		if !ok {
			l = line{target: t, verdict: unmeasured}
			if slices.Contains(r.Skipped, t.what) {
				l.verdict = skipped
			}
		}
		r.Lines = append(r.Lines, l)
	}
	r.Lines = append(r.Lines, rest...)
}

// err says which floors are missed.
func (r *report) err() error {
	var faults []error
	for _, l := range r.Lines {
		switch l.verdict {
		case missed:
			faults = append(faults, fmt.Errorf("floor missed: %s is %.2f%s, floor %s", l.what, l.value, l.unit, l.bound(l.floor)))
		case unmeasured:
			faults = append(faults, fmt.Errorf("not measured: %s", l.what))
		}
	}
	return errors.Join(faults...)
}

// print writes the table for people.
func (r *report) print(to io.Writer) error {
	fmt.Fprintln(to, strings.Join(r.Machine, ", "))
	w := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, strings.ToUpper(strings.Join(columns, "\t")))
	for _, l := range r.Lines {
		fmt.Fprintln(w, strings.Join(l.cells(), "\t"))
	}
	return w.Flush()
}
