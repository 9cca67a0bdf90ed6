package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tenantry/tenantry/internal/crash"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// Defaults of a Runner.
const (
	// DefaultLeaseTTL is how long a job stays with a worker that went silent.
	// It is renewed four times in that span.
	DefaultLeaseTTL = 12 * time.Second
	// DefaultPhaseLimit bounds one Do or Undo of a phase that names no limit.
	DefaultPhaseLimit = time.Minute
	// MaxFailures is the number of transient failures of one attempt at which
	// the job is rolled back: with Backoff, about a minute and a half of trouble.
	MaxFailures = 8

	journalTimeout = 10 * time.Second
)

// ErrDraining says that the worker is stopping: the job was given back at a
// phase boundary, or in the middle of a phase if there was no time left, and is
// due at once. Nothing counts as failed.
var ErrDraining error = drainingError{}

type drainingError struct{}

func (drainingError) Error() string { return "the worker is stopping; the job was given back" }

// RetryAfter is zero: another worker may take the job at once.
func (drainingError) RetryAfter() time.Duration { return 0 }

// Retry says that the job is not settled and is due again after a delay.
type Retry struct {
	After time.Duration
	Err   error
}

func (r *Retry) Error() string {
	e := tenancy.AsError(r.Err)
	return fmt.Sprintf("%s: %s (again in %s)", e.Code, e.Message, r.After)
}

func (r *Retry) Unwrap() error { return r.Err }

// RetryAfter is the delay before the job is due again.
func (r *Retry) RetryAfter() time.Duration { return r.After }

// Backoff is the delay after the n-th failure in a row: 1, 2, 4 … 30 seconds.
func Backoff(n int) time.Duration {
	return min(30*time.Second, time.Second<<min(max(n-1, 0), 5))
}

// undoBackoff grows up to five minutes, since an Undo is tried until it works.
func undoBackoff(n int) time.Duration {
	return min(5*time.Minute, time.Second<<min(max(n-1, 0), 9))
}

// Event is told to a Runner's observer as it happens.
type Event struct {
	Job     tenancy.Job
	Phase   tenancy.PhaseName // empty: the job itself
	Status  tenancy.PhaseStatus
	Elapsed time.Duration
	Detail  map[string]any
	Err     error
	// Retry is the delay before the phase is tried again, zero if it is not.
	Retry time.Duration
	// Settled is set on the last event of a job.
	Settled tenancy.JobStatus
}

// Runner runs jobs. Its fields are set before the first Run and not changed.
type Runner struct {
	Journal Journal
	// Plan lists the phases of a job, in their order.
	Plan func(tenancy.Job) ([]Phase, error)
	// Owner names this worker in leases.
	Owner    string
	LeaseTTL time.Duration
	// Draining, once closed, makes runs give their job back at the next phase
	// boundary. May be nil.
	Draining <-chan struct{}
	// Observe, if set, is told of every step. It must not block.
	Observe func(Event)
	Log     *slog.Logger
}

// Run works on a job until it is settled or must wait. It returns
//
//   - nil: the job is complete or cancelled;
//   - *tenancy.Error: the job failed with that error, and nothing it made is
//     left; or CodeJobBusy, CodeJobSettled, CodeNotFound from AcquireLease;
//     or CodeLeaseLost: another worker has the job;
//   - *Retry: the job is due again later;
//   - ErrDraining: the job was given back because the worker stops.
func (r *Runner) Run(ctx context.Context, id tenancy.JobID) error {
	ttl := r.LeaseTTL
	if ttl == 0 {
		ttl = DefaultLeaseTTL
	}
	ttl = crash.LeaseTTL(ttl)
	job, lease, err := r.Journal.AcquireLease(ctx, id, r.Owner, ttl)
	if err != nil {
		if tenancy.IsTransient(err) {
			return &Retry{After: Backoff(2), Err: &unrecordedError{err}}
		}
		return err
	}
	phases, err := r.Plan(job)
	if err != nil {
		return errors.Join(err, r.release(ctx, lease))
	}
	held, stop := r.keepLease(ctx, lease, ttl)
	defer stop()
	// A worker that was suspended, with its whole machine perhaps, does not know
	// how long: before it touches anything outside master it asks.
	held = tenancy.WithFence(held, func(ctx context.Context) error { return r.Journal.CheckLease(ctx, lease, ttl) })

	x := &execution{
		Runner: r, parent: ctx, phases: phases,
		run: &Run{Job: job, Lease: lease},
		log: r.Log.With("jobId", job.ID, "slug", job.Slug, "epoch", lease.Epoch),
	}
	if job.Status == tenancy.JobRollingBack {
		return x.rollback(held)
	}
	return x.forward(held)
}

// RunUntilSettled is Run for a caller without a queue: it waits and tries again
// by itself. It gives up, leaving the job to the workers, when master cannot be
// reached for MaxFailures tries in a row, with a *tenancy.Error, or when ctx ends, with
// ErrDraining. The observer is told of each such try but the last, without the job.
func (r *Runner) RunUntilSettled(ctx context.Context, id tenancy.JobID) error {
	bounded := *r
	bounded.Journal = impatient{r.Journal}
	for unrecorded := 0; ; {
		err := bounded.Run(ctx, id)
		retry, ok := errors.AsType[*Retry](err)
		if !ok {
			return err
		}
		after := retry.After
		if _, away := errors.AsType[*unrecordedError](retry.Err); away {
			if unrecorded++; unrecorded >= MaxFailures {
				return tenancy.AsError(retry.Err)
			}
			// Long enough altogether for a standby to take master's place.
			after = Backoff(unrecorded)
			if r.Observe != nil {
				r.Observe(Event{Err: retry.Err, Retry: after})
			}
		} else {
			unrecorded = 0
		}
		select {
		case <-time.After(after):
		case <-ctx.Done():
			return errors.Join(ErrDraining, context.Cause(ctx))
		}
	}
}

// impatient is a Journal that a master which hangs does not keep from giving up: all
// else that is asked of master has a limit already.
type impatient struct{ Journal }

func (j impatient) AcquireLease(ctx context.Context, id tenancy.JobID, owner string, ttl time.Duration) (tenancy.Job, tenancy.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, journalTimeout)
	defer cancel()
	return j.Journal.AcquireLease(ctx, id, owner, ttl)
}

// unrecordedError marks a failure to write the journal itself.
type unrecordedError struct{ err error }

func (e *unrecordedError) Error() string { return "cannot write the job's journal: " + e.err.Error() }
func (e *unrecordedError) Unwrap() error { return e.err }

func (r *Runner) draining() bool {
	select {
	case <-r.Draining:
		return true
	default:
		return false
	}
}

func (r *Runner) release(ctx context.Context, lease tenancy.Lease) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), journalTimeout)
	defer cancel()
	return r.Journal.ReleaseLease(ctx, lease)
}

// renew asks for ttl more. An answer that takes longer than the next try is due
// counts as none: a master that hangs must not keep a worker believing.
func (r *Runner) renew(ctx context.Context, lease tenancy.Lease, ttl time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, ttl/4)
	defer cancel()
	return r.Journal.RenewLease(ctx, lease, ttl)
}

// keepLease renews the lease until stop is called. The context it returns ends
// with CodeLeaseLost as its cause when another worker has the job, or when the
// lease could not be renewed for so long that another may have it.
func (r *Runner) keepLease(ctx context.Context, lease tenancy.Lease, ttl time.Duration) (held context.Context, stop func()) {
	held, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(ttl / 4)
		defer tick.Stop()
		renewed := time.Now()
		for {
			select {
			case <-held.Done():
				return
			case <-tick.C:
			}
			asked := time.Now()
			err := r.renew(held, lease, ttl)
			switch {
			case err == nil:
				renewed = asked
			case tenancy.CodeOf(err) == tenancy.CodeLeaseLost:
				cancel(err)
				return
			case time.Since(renewed) > ttl-ttl/4: // before the next try, the lease has run out
				cancel(tenancy.Wrap(tenancy.CodeLeaseLost, err, "The lease could not be renewed in time."))
				return
			}
		}
	}()
	return held, func() { cancel(nil); <-done }
}
