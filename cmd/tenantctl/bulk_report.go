package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/schollz/progressbar/v3"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// writeResult writes what became of every row, all of it or nothing.
func writeResult(file string, rows []tenancy.BatchRow) (err error) {
	out, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, out.Close(), os.Remove(out.Name()))
		}
	}()
	w := csv.NewWriter(out)
	records := [][]string{{"line", "slug", "status", "jobId", "errorCode", "message"}}
	for _, r := range rows {
		code, message := whyOf(r)
		records = append(records, []string{strconv.Itoa(r.Line), r.Slug, string(r.Status), string(r.JobID), code, message})
	}
	if err := w.WriteAll(records); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	if err := os.Rename(out.Name(), file); err != nil {
		return err
	}
	return out.Close()
}

func whyOf(r tenancy.BatchRow) (code, message string) {
	if r.Error == nil {
		return "", ""
	}
	return string(r.Error.Code), r.Error.Message
}

// oneLine is a text of somebody else's in a form fit for a table on a terminal.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > 200 {
		return string(runes[:200]) + "…"
	}
	return s
}

// bulkLineEvery is how often a progress line is due where there is no terminal.
const bulkLineEvery = 10 * time.Second

// bulkProgress shows on stderr how many rows are done: a bar on a terminal,
// elsewhere a line now and then.
type bulkProgress struct {
	w       io.Writer
	options bulkOptions
	bar     *progressbar.ProgressBar // nil unless started on a terminal
	said    time.Time
	last    string
}

func newBulkProgress(w io.Writer, o bulkOptions) *bulkProgress {
	return &bulkProgress{w: w, options: o}
}

func (p *bulkProgress) start(rows int) { p.bar = newBar(p.w, rows, "") }

// say prints a line above the bar.
func (p *bulkProgress) say(text string) {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	fmt.Fprintln(p.w, text)
}

func (p *bulkProgress) update(n tenancy.BatchCounts) {
	text := summary(n, p.options)
	done := n.Total - n.Queued - n.Running
	if p.bar != nil {
		// The description last: it is drawn at once.
		_ = p.bar.Set(done)
		if done < n.Total {
			p.bar.Describe(text)
		}
		return
	}
	if text == p.last || time.Since(p.said) < bulkLineEvery && done < n.Total {
		return
	}
	p.said, p.last = time.Now(), text
	fmt.Fprintf(p.w, "%d of %d rows are done: %s\n", done, n.Total, text)
}

func (p *bulkProgress) close() {
	if p.bar != nil {
		_ = p.bar.Clear()
		_ = p.bar.Exit()
	}
}
