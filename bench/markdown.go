package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// What is between the marks is written by the bench; the rest of the page is not.
const (
	beginMark = "<!-- bench -->"
	endMark   = "<!-- /bench -->"
)

// write writes benchmarks.md, of which it replaces what is between the marks, and
// the charts below dir.
func (r *report) write(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "benchmarks"), 0o755); err != nil {
		return fmt.Errorf("cannot write the charts: %w", err)
	}
	for name, c := range map[string]chart{"tenant.svg": timesChart(r.Bars), "promises.svg": promisesChart(r.Lines)} {
		var svg bytes.Buffer
		if err := c.write(&svg); err != nil {
			return fmt.Errorf("cannot draw %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, "benchmarks", name), svg.Bytes(), 0o644); err != nil {
			return fmt.Errorf("cannot write the charts: %w", err)
		}
	}
	path := filepath.Join(dir, "benchmarks.md")
	page, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		page, err = []byte("# Benchmarks\n\n"+beginMark+"\n"+endMark+"\n"), nil
	}
	if err != nil {
		return fmt.Errorf("cannot write the benchmarks: %w", err)
	}
	spliced, err := splice(string(page), r.markdown(time.Now()))
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return os.WriteFile(path, []byte(spliced), 0o644)
}

// splice replaces what is between the marks.
func splice(page, generated string) (string, error) {
	before, rest, ok := strings.Cut(page, beginMark)
	_, after, ended := strings.Cut(rest, endMark)
	if !ok || !ended {
		return "", fmt.Errorf("it has no %s and %s after it", beginMark, endMark)
	}
	return before + beginMark + "\n\n" + strings.TrimSpace(generated) + "\n\n" + endMark + after, nil
}

// markdown is the machine, the charts and the table.
func (r *report) markdown(at time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Taken on %s on:\n\n", at.UTC().Format(time.DateOnly))
	for _, fact := range r.Machine {
		fmt.Fprintf(&b, "- %s\n", fact)
	}
	b.WriteString("\n![Bars: how much of its target each line takes](benchmarks/promises.svg)\n")
	b.WriteString("\n![Bars: how long a tenant and the bare copies take](benchmarks/tenant.svg)\n\n")
	row := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	row(columns)
	row(strings.Split(strings.Repeat("--- ", len(columns)-1)+"---", " "))
	for _, l := range r.Lines {
		row(l.cells())
	}
	return b.String()
}
