package pipeline

import (
	"context"
	"slices"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Phase is one step of a job. Do and Undo are safe to repeat and safe to call
// after half of the other. They return errors with tenancy codes; what has no
// code is taken for CodeInternal, which is permanent.
type Phase interface {
	Name() tenancy.PhaseName
	// Do has the phase's effect, or finds that it is there already.
	Do(ctx context.Context, run *Run) error
	// Undo removes what Do made. It succeeds when there is nothing to remove.
	Undo(ctx context.Context, run *Run) error
}

// Limited is a Phase that may take longer, or must take less, than the runner's
// default limit.
type Limited interface {
	// Limit is the longest that one Do or Undo may take.
	Limit() time.Duration
}

// Recording is a Phase whose whole effect is one transaction of master's, which also
// records run.Progress: that the phase is done, and the one before it. So its Do is
// called without a record that it is about to be; a Do that fails has had no effect.
type Recording interface {
	Records()
}

// Residual is a Phase that makes something outside master.
type Residual interface {
	// Residue names what is left behind while Undo has not succeeded.
	Residue(run *Run) string
}

// Run is what a phase knows of the job it works for.
type Run struct {
	// Job is as recorded; a phase in this very run may have set Job.Server.
	Job tenancy.Job
	// Lease goes with every write to master.
	Lease tenancy.Lease
	// Detail is recorded with the phase once it is done. It is for people who
	// look at the job and never holds a secret.
	Detail map[string]any
	// Credential is the tenant's application URL, kept between phases of one
	// run to spare the vault a question; empty after a resume. It is never
	// recorded.
	Credential string
	// Servers are those that this very run has chosen the job's from. Like Credential
	// they spare a question and are never recorded.
	Servers []tenancy.ServerLoad
	// Unclaimed says that this very run has found nothing of the tenant's name
	// anywhere. Like Credential it spares a question and is never recorded.
	Unclaimed bool

	// For Progress: what is done and not recorded, the phase that is being done, and
	// the one after it.
	unrecorded []tenancy.DonePhase
	doing      tenancy.DonePhase
	next       tenancy.PhaseName
}

// Progress is what the transaction of a Recording phase records once it has its effect.
func (r *Run) Progress() tenancy.Progress {
	doing := r.doing
	doing.Detail, doing.Ended = r.Detail, time.Now()
	return tenancy.Progress{Done: append(slices.Clip(r.unrecorded), doing), Next: r.next}
}

// DetailOf returns what an earlier phase recorded, in this run or before a
// resume; nil if it is not done.
func (r *Run) DetailOf(phase tenancy.PhaseName) map[string]any {
	for _, rec := range r.Job.Phases {
		if rec.Name == phase && rec.Status == tenancy.PhaseDone {
			return rec.Detail
		}
	}
	return nil
}

// Journal records what a run is about to do and what it did. Every write but
// AcquireLease carries the lease's epoch and fails with tenancy.CodeLeaseLost,
// changing nothing, if a later worker has taken the job.
type Journal interface {
	// AcquireLease makes owner the only worker of the job for ttl and returns
	// the job as recorded. It records that the Do of the first phase that is not
	// done is about to be called, unless the job is to be cancelled or undone. It
	// fails with CodeJobBusy, CodeJobSettled or CodeNotFound.
	AcquireLease(ctx context.Context, id tenancy.JobID, owner string, ttl time.Duration) (tenancy.Job, tenancy.Lease, error)
	RenewLease(ctx context.Context, lease tenancy.Lease, ttl time.Duration) error
	// CheckLease reports whether the lease stands and lasts; it may renew it.
	CheckLease(ctx context.Context, lease tenancy.Lease, ttl time.Duration) error
	// ReleaseLease gives the job back; it may be taken again at once.
	ReleaseLease(ctx context.Context, lease tenancy.Lease) error

	// RecordProgress records that phases are done and that the next one is about
	// to start, and reports whether an operator asked to cancel the job: then it is not.
	RecordProgress(ctx context.Context, lease tenancy.Lease, p tenancy.Progress) (cancel bool, err error)
	// RetryPhase records a transient failure of a phase's Do and gives the lease
	// back; the job is not due again before after has passed.
	RetryPhase(ctx context.Context, lease tenancy.Lease, phase tenancy.PhaseName, cause tenancy.PhaseError, after time.Duration) error

	// BeginRollback turns the job to rolling_back, because of cause, or because
	// it was cancelled if cause is nil.
	BeginRollback(ctx context.Context, lease tenancy.Lease, phase tenancy.PhaseName, cause *tenancy.PhaseError) error
	// UndonePhase records that nothing of the phase is left.
	UndonePhase(ctx context.Context, lease tenancy.Lease, phase tenancy.PhaseName) error
	// RetryUndo records a failed Undo and what is left, and gives the lease back.
	RetryUndo(ctx context.Context, lease tenancy.Lease, phase tenancy.PhaseName, cause tenancy.PhaseError, residue []string, after time.Duration) error
	// SettleRollback makes the job failed, or cancelled if it has no error, with
	// the audit row that goes with it.
	SettleRollback(ctx context.Context, lease tenancy.Lease) error
}
