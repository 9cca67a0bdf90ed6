package pipeline_test

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"pgregory.net/rapid"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// TestRunnerAgainstModel runs a job through any number of bad days: phases that
// fail now or for good, undos that fail, workers that die anywhere or lose the job
// to another, an operator who cancels or retries. Whatever happens, what the model
// says of a job holds at each step, and once the bad days are over it settles.
func TestRunnerAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		m := &model{w: w}
		days := rapid.IntRange(1, 12).Draw(t, "bad days")
		for range days {
			m.badDay(t)
			m.check(t)
		}
		clear(w.fail)
		for range 3 { // a healthy worker needs one run; two to finish another's half
			m.work(nil)
			m.check(t)
		}
		if !w.journal.job.Status.Settled() {
			t.Fatalf("a healthy worker left the job %s", w.journal.job.Status)
		}
	})
}

type model struct {
	w *world
	// before is what was known after the last step.
	before   tenancy.JobStatus
	epoch    int64
	complete bool
}

// badDay sets what fails today, lets a worker have a try, and may kill it on the
// way.
func (m *model) badDay(t *rapid.T) {
	w := m.w
	failures := []error{nil, nil, passing, permanent, errors.New("unheard of")}
	for _, call := range []string{"do first", "do second", "do third", "do last", "undo first", "undo second", "undo third"} {
		delete(w.fail, call)
		if err := rapid.SampledFrom(failures).Draw(t, call); err != nil {
			w.fail[call] = err
		}
	}
	switch rapid.SampledFrom([]string{"nothing", "cancel", "retry", "steal"}).Draw(t, "someone") {
	case "cancel":
		if s := w.journal.job.Status; s == tenancy.JobQueued || s == tenancy.JobRunning {
			w.journal.job.CancelRequested = true
		}
	case "retry":
		w.journal.operatorRetries()
	case "steal":
		stolen := rapid.IntRange(1, 8).Draw(t, "stolen at")
		m.work(func() {
			if stolen--; stolen == 0 {
				w.journal.mu.Lock()
				w.journal.epoch++ // another worker took it, and died at once
				w.journal.held = false
				w.journal.mu.Unlock()
			}
		})
		return
	}
	if !rapid.Bool().Draw(t, "dies") {
		m.work(nil)
		return
	}
	left := rapid.IntRange(0, 25).Draw(t, "dies at")
	m.work(func() {
		if left--; left < 0 {
			runtime.Goexit()
		}
	})
}

// work is one worker's try at the job. at is called wherever it could die.
func (m *model) work(at func()) {
	w := m.w
	w.journal.expire() // whoever held it is long dead
	if at != nil {
		hook := func(string) { at() }
		w.step, w.journal.step = hook, hook
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.runner().Run(context.Background(), "j1")
	}()
	<-done
	w.step, w.journal.step = nil, nil
}

func (m *model) check(t *rapid.T) {
	j := &m.w.journal.job
	switch j.Status {
	case tenancy.JobComplete:
		m.complete = true
		if len(m.w.things) != 3 {
			t.Fatalf("complete with %v", m.w.things)
		}
	case tenancy.JobFailed:
		if len(m.w.things) != 0 || j.Error == nil || !j.Error.RolledBack || len(j.Error.Residue) != 0 {
			t.Fatalf("failed with %v left, error %+v", m.w.things, j.Error)
		}
	case tenancy.JobCancelled:
		if len(m.w.things) != 0 || j.Error != nil {
			t.Fatalf("cancelled with %v left, error %v", m.w.things, j.Error)
		}
	}
	if m.complete && j.Status != tenancy.JobComplete {
		t.Fatalf("a complete job became %s", j.Status)
	}
	if m.before == tenancy.JobRollingBack && (j.Status == tenancy.JobRunning || j.Status == tenancy.JobComplete) {
		t.Fatalf("a job that was being rolled back became %s", j.Status)
	}
	if m.w.journal.epoch < m.epoch {
		t.Fatal("an epoch was given out twice")
	}
	if j.Status == tenancy.JobRunning && j.Failures >= pipeline.MaxFailures {
		t.Fatalf("%d failures and still running", j.Failures)
	}
	m.before, m.epoch = j.Status, m.w.journal.epoch
}

// operatorRetries begins a new attempt of a failed job, as the store does.
func (j *journal) operatorRetries() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.job.Status != tenancy.JobFailed {
		return
	}
	j.epoch++
	j.job.Status, j.job.Error, j.job.Failures, j.job.CancelRequested = tenancy.JobQueued, nil, 0, false
	j.job.Attempt++
	for i := range j.job.Phases {
		j.job.Phases[i] = tenancy.PhaseRecord{Name: j.job.Phases[i].Name, Status: tenancy.PhasePending}
	}
}
