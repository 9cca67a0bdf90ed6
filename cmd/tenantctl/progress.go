package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// progress shows a job's phases on stderr: a line for each, and on a terminal a
// live line below them.
type progress struct {
	w     io.Writer
	names []tenancy.PhaseName
	bar   *progressbar.ProgressBar // nil unless w is a terminal
	once  sync.Once
}

func newProgress(w io.Writer, job tenancy.Job) *progress {
	p := &progress{w: w}
	for _, ph := range job.Phases {
		p.names = append(p.names, ph.Name)
	}
	if p.bar = newBar(w, len(p.names), string(job.Slug)); p.bar != nil {
		_ = p.bar.Set(done(job))
	}
	return p
}

// done counts a job's phases that are done.
func done(job tenancy.Job) int {
	n := 0
	for _, ph := range job.Phases {
		if ph.Status == tenancy.PhaseDone {
			n++
		}
	}
	return n
}

// newBar is a live line, nil unless w is a terminal.
func newBar(w io.Writer, total int, about string) *progressbar.ProgressBar {
	if f, ok := w.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return progressbar.NewOptions(total,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(about),
		progressbar.OptionSetWidth(24),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionShowCount(),
		progressbar.OptionSetElapsedTime(true),
		progressbar.OptionSpinnerType(14),
		progressbar.OptionThrottle(50*time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetTheme(progressbar.Theme{
			Saucer: "=", SaucerHead: ">", SaucerPadding: " ", BarStart: "[", BarEnd: "]",
		}),
	)
}

func (p *progress) observe(e pipeline.Event) {
	switch {
	case e.Settled != "":
		p.close()
	case e.Status == tenancy.PhaseRunning && e.Retry == 0:
		if p.bar != nil {
			p.bar.Describe(fmt.Sprintf("%s  %s", e.Job.Slug, e.Phase))
		}
	case e.Phase == "":
		p.say(fmt.Sprintf("trouble with master: %s; again in %s", tenancy.AsError(e.Err).Message, e.Retry))
	case e.Retry > 0:
		p.line(e, "trouble", fmt.Sprintf("%s; again in %s", tenancy.AsError(e.Err).Message, e.Retry))
	case e.Status == tenancy.PhaseDone:
		p.line(e, "done", details(e.Detail))
		if p.bar != nil {
			_ = p.bar.Set(done(e.Job)) // a phase may be done again, or by another worker
		}
	case e.Status == tenancy.PhaseFailed:
		err := tenancy.AsError(e.Err)
		p.line(e, "failed", fmt.Sprintf("%s: %s", err.Code, err.Message))
	case e.Status == tenancy.PhaseUndone:
		p.line(e, "undone", "")
	}
}

// line prints what became of a phase.
func (p *progress) line(e pipeline.Event, word, rest string) {
	n := slices.Index(p.names, e.Phase) + 1
	p.say(fmt.Sprintf("[%d/%d] %-18s  %-7s %6s  %s", n, len(p.names), e.Phase, word, e.Elapsed.Round(time.Millisecond), rest))
}

// say prints a line above the live one.
func (p *progress) say(text string) {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	fmt.Fprintln(p.w, strings.TrimRight(text, " "))
	if p.bar != nil {
		_ = p.bar.RenderBlank()
	}
}

func (p *progress) close() {
	p.once.Do(func() {
		if p.bar != nil {
			_ = p.bar.Clear()
			_ = p.bar.Exit()
		}
	})
}

// details shows what a phase found as name=value, by name.
func details(d map[string]any) string {
	var parts []string
	for name, value := range d {
		parts = append(parts, fmt.Sprintf("%s=%v", name, value))
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}
