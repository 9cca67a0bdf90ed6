package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/tenantry/tenantry/internal/crash"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// execution is one Run of one job under one lease.
type execution struct {
	*Runner
	// parent ends when the worker stops; the context the methods are given ends
	// when the lease is lost too.
	parent context.Context
	phases []Phase
	run    *Run
	log    *slog.Logger
}

// forward does what is left of the job.
func (x *execution) forward(ctx context.Context) error {
	cancelled := x.run.Job.CancelRequested
	last := len(x.phases) - 1
	for i, p := range x.phases {
		if x.record(p.Name()).Status == tenancy.PhaseDone {
			continue
		}
		if cancelled {
			return x.beginRollback(ctx, p.Name(), nil)
		}
		if x.draining() {
			_, err := x.recordDone(ctx, p.Name())
			return errors.Join(ErrDraining, err, x.release(ctx, x.run.Lease))
		}
		x.markStarted(p.Name())
		x.observe(Event{Phase: p.Name(), Status: tenancy.PhaseRunning})

		x.run.Detail, x.run.next = nil, ""
		x.run.doing = tenancy.DonePhase{Name: p.Name(), Began: time.Now()}
		if i < last {
			x.run.next = x.phases[i+1].Name()
		}
		err := x.attempt(ctx, "do", p, p.Do)
		elapsed := time.Since(x.run.doing.Began)
		if errors.Is(err, tenancy.ErrCancelRequested) {
			if _, err := x.recordDone(ctx, p.Name()); err != nil {
				return err
			}
			return x.beginRollback(ctx, p.Name(), nil)
		}
		if err != nil {
			return x.failed(ctx, p, err, elapsed)
		}
		rec := x.record(p.Name())
		rec.Status, rec.Detail = tenancy.PhaseDone, x.run.Detail
		x.observe(Event{Phase: p.Name(), Status: tenancy.PhaseDone, Elapsed: elapsed, Detail: x.run.Detail})
		x.log.Info("phase done", "phase", p.Name(), "elapsed", elapsed)
		x.run.unrecorded = x.run.Progress().Done
		switch {
		case recording(p):
			x.recorded()
		case i < last && !recording(x.phases[i+1]):
			if cancelled, err = x.recordDone(ctx, x.run.next); err != nil {
				return err
			}
		}
	}
	x.observe(Event{Settled: tenancy.JobComplete})
	x.log.Info("job complete")
	return nil
}

// recording reports whether a phase records its end, and that of the one before it.
func recording(p Phase) bool {
	_, ok := p.(Recording)
	return ok
}

// recordDone writes down what is done and not recorded yet, if anything, and that next
// begins.
func (x *execution) recordDone(ctx context.Context, next tenancy.PhaseName) (cancel bool, err error) {
	if len(x.run.unrecorded) == 0 {
		return false, nil
	}
	err = x.write(ctx, func(ctx context.Context) error {
		cancel, err = x.Journal.RecordProgress(ctx, x.run.Lease, tenancy.Progress{Done: x.run.unrecorded, Next: next})
		return err
	})
	if err == nil {
		x.recorded()
	}
	return cancel, err
}

// recorded is called when nothing that is done is unrecorded any more.
func (x *execution) recorded() {
	for _, done := range x.run.unrecorded {
		crash.Point("do", string(done.Name), "recorded")
	}
	x.run.unrecorded = nil
	x.run.Job.Failures = 0
}

// attempt calls a phase's Do or Undo within its limit.
func (x *execution) attempt(ctx context.Context, step string, p Phase, call func(context.Context, *Run) error) error {
	limit := DefaultPhaseLimit
	limited, own := p.(Limited)
	if own {
		limit = limited.Limit()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	crash.Point(step, string(p.Name()), "before")
	err := guarded(ctx, x.run, call)
	crash.Point(step, string(p.Name()), "after")
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) && tenancy.CodeOf(err) != tenancy.CodeMigrationsFailed {
		return &tenancy.Error{
			Code:    tenancy.CodeTimeout,
			Message: "The phase " + string(p.Name()) + " did not finish within " + limit.String() + ".",
			// One with a limit of its own has had all the time there is.
			Transient: !own,
			Err:       err,
		}
	}
	return err
}

// guarded turns a panic into a permanent error, so that the job is rolled back
// instead of being taken up again for ever.
func guarded(ctx context.Context, run *Run, call func(context.Context, *Run) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return call(ctx, run)
}

// failed decides what a failed Do means: nothing, if this worker lost the job or
// is stopping; another try; or the rollback.
func (x *execution) failed(ctx context.Context, p Phase, err error, elapsed time.Duration) error {
	if stop := x.interrupted(ctx, err); stop != nil {
		return stop
	}
	if _, err := x.recordDone(ctx, p.Name()); err != nil {
		return err
	}
	e := tenancy.AsError(err)
	cause := tenancy.PhaseError{Code: e.Code, Message: e.Message}
	failures := x.run.Job.Failures + 1
	if e.Transient && failures < MaxFailures {
		after := Backoff(failures)
		x.log.Warn("phase will be tried again", "phase", p.Name(), "failures", failures, "after", after, "error", err)
		x.observe(Event{Phase: p.Name(), Status: tenancy.PhaseRunning, Elapsed: elapsed, Err: err, Retry: after})
		if err := x.write(ctx, func(ctx context.Context) error {
			return x.Journal.RetryPhase(ctx, x.run.Lease, p.Name(), cause, after)
		}); err != nil {
			return err
		}
		return &Retry{After: after, Err: err}
	}
	level := slog.LevelWarn
	if e.Err != nil {
		level = slog.LevelError // there is more to know than the message says
	}
	x.log.Log(ctx, level, "phase failed", "phase", p.Name(), "code", e.Code, "error", err)
	x.observe(Event{Phase: p.Name(), Status: tenancy.PhaseFailed, Elapsed: elapsed, Err: err})
	return x.beginRollback(ctx, p.Name(), &cause)
}

func (x *execution) beginRollback(ctx context.Context, phase tenancy.PhaseName, cause *tenancy.PhaseError) error {
	if err := x.write(ctx, func(ctx context.Context) error {
		return x.Journal.BeginRollback(ctx, x.run.Lease, phase, cause)
	}); err != nil {
		return err
	}
	crash.Point("rollback", "begun", "recorded")
	x.run.Job.Status = tenancy.JobRollingBack
	x.run.Job.Failures = 0
	if cause != nil {
		x.run.Job.Error = &tenancy.JobError{Code: cause.Code, Message: cause.Message, Phase: phase}
	}
	return x.rollback(ctx)
}

// rollback undoes what was started, in reverse, and settles the job.
func (x *execution) rollback(ctx context.Context) error {
	for i := len(x.phases) - 1; i >= 0; i-- {
		p := x.phases[i]
		rec := x.record(p.Name())
		if !rec.Started() || x.run.Job.Irreversible() {
			continue
		}
		if x.draining() {
			return errors.Join(ErrDraining, x.release(ctx, x.run.Lease))
		}
		began := time.Now()
		if err := x.attempt(ctx, "undo", p, p.Undo); err != nil {
			return x.undoFailed(ctx, p, err)
		}
		if err := x.write(ctx, func(ctx context.Context) error {
			return x.Journal.UndonePhase(ctx, x.run.Lease, p.Name())
		}); err != nil {
			return err
		}
		crash.Point("undo", string(p.Name()), "recorded")
		undone := time.Now()
		rec.UndoneAt = &undone
		x.observe(Event{Phase: p.Name(), Status: tenancy.PhaseUndone, Elapsed: time.Since(began)})
		x.log.Info("phase undone", "phase", p.Name(), "elapsed", time.Since(began))
	}
	if err := x.write(ctx, func(ctx context.Context) error {
		return x.Journal.SettleRollback(ctx, x.run.Lease)
	}); err != nil {
		return err
	}
	crash.Point("rollback", "settled", "recorded")
	cause := x.run.Job.Error
	if cause == nil || cause.Code == "" {
		x.observe(Event{Settled: tenancy.JobCancelled})
		x.log.Info("job cancelled")
		return nil
	}
	err := &tenancy.Error{Code: cause.Code, Message: cause.Message}
	x.observe(Event{Settled: tenancy.JobFailed, Err: err})
	x.log.Warn("job failed and is rolled back", "code", cause.Code, "phase", cause.Phase)
	return err
}

func (x *execution) undoFailed(ctx context.Context, p Phase, err error) error {
	if stop := x.interrupted(ctx, err); stop != nil {
		return stop
	}
	e := tenancy.AsError(err)
	after := undoBackoff(x.run.Job.Failures + 1)
	var residue []string
	for i := len(x.phases) - 1; i >= 0; i-- {
		if r, ok := x.phases[i].(Residual); ok && x.record(x.phases[i].Name()).Started() {
			residue = append(residue, r.Residue(x.run))
		}
	}
	x.log.Error("phase cannot be undone yet", "phase", p.Name(), "after", after, "residue", residue, "error", err)
	x.observe(Event{Phase: p.Name(), Status: tenancy.PhaseFailed, Err: err, Retry: after})
	if err := x.write(ctx, func(ctx context.Context) error {
		return x.Journal.RetryUndo(ctx, x.run.Lease, p.Name(), tenancy.PhaseError{Code: e.Code, Message: e.Message}, residue, after)
	}); err != nil {
		return err
	}
	return &Retry{After: after, Err: err}
}

// interrupted tells a failure of the phase from the end of this worker's right
// or time to work on the job; in the latter case nothing is recorded as failed.
func (x *execution) interrupted(ctx context.Context, err error) error {
	switch {
	case x.parent.Err() != nil:
		return errors.Join(ErrDraining, x.release(ctx, x.run.Lease))
	case ctx.Err() != nil:
		x.log.Warn("lease lost", "error", context.Cause(ctx))
		return context.Cause(ctx)
	case tenancy.CodeOf(err) == tenancy.CodeLeaseLost:
		x.log.Warn("lease lost", "error", err)
		return err
	}
	return nil
}

// write runs a journal write, which must not be cut short by a worker that
// stops. If it fails the job is left as it stands: its lease runs out, and the
// next worker finds the phase recorded as running.
func (x *execution) write(ctx context.Context, write func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), journalTimeout)
	defer cancel()
	err := write(ctx)
	if err == nil {
		return nil
	}
	if tenancy.CodeOf(err) == tenancy.CodeLeaseLost {
		x.log.Warn("lease lost", "error", err)
		return err
	}
	x.log.Error("cannot record the job's progress", "error", err)
	return &Retry{After: Backoff(2), Err: &unrecordedError{err}}
}

// record returns the journal of a phase, as far as this run knows it.
func (x *execution) record(name tenancy.PhaseName) *tenancy.PhaseRecord {
	for i := range x.run.Job.Phases {
		if x.run.Job.Phases[i].Name == name {
			return &x.run.Job.Phases[i]
		}
	}
	return &tenancy.PhaseRecord{Name: name}
}

func (x *execution) markStarted(name tenancy.PhaseName) {
	now := time.Now()
	rec := x.record(name)
	rec.StartedAt, rec.UndoneAt = &now, nil
}

func (x *execution) observe(e Event) {
	if x.Observe != nil {
		e.Job = x.run.Job
		x.Observe(e)
	}
}
