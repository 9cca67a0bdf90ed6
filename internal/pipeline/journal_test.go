package pipeline_test

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// journal is a Journal in memory, with the rules of the real one.
type journal struct {
	mu    sync.Mutex
	job   tenancy.Job
	epoch int64
	held  bool
	due   time.Duration
	// step, if set, is called before and after each write takes effect.
	step func(point string)
	// fail, if set, is how master answers who asks for the lease.
	fail func(context.Context) error
}

func newJournal(phases ...tenancy.PhaseName) *journal {
	j := &journal{job: tenancy.Job{ID: "j1", Slug: "acme", Status: tenancy.JobQueued, Attempt: 1}}
	for _, name := range phases {
		j.job.Phases = append(j.job.Phases, tenancy.PhaseRecord{Name: name, Status: tenancy.PhasePending})
	}
	return j
}

func (j *journal) at(point string) {
	if j.step != nil {
		j.step(point)
	}
}

// expire is the end of a dead worker's lease.
func (j *journal) expire() { j.mu.Lock(); defer j.mu.Unlock(); j.held = false }

func (j *journal) copyJob() tenancy.Job {
	job := j.job
	job.Phases = append([]tenancy.PhaseRecord(nil), j.job.Phases...)
	return job
}

func (j *journal) AcquireLease(ctx context.Context, id tenancy.JobID, owner string, _ time.Duration) (tenancy.Job, tenancy.Lease, error) {
	if j.fail != nil {
		if err := j.fail(ctx); err != nil {
			return tenancy.Job{}, tenancy.Lease{}, err
		}
	}
	j.at("before acquire")
	defer j.at("after acquire")
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.job.Status.Settled():
		return tenancy.Job{}, tenancy.Lease{}, tenancy.Errorf(tenancy.CodeJobSettled, "settled")
	case j.held:
		return tenancy.Job{}, tenancy.Lease{}, tenancy.Errorf(tenancy.CodeJobBusy, "busy")
	}
	j.held = true
	j.epoch++
	if j.job.Status == tenancy.JobQueued {
		j.job.Status = tenancy.JobRunning
	}
	if j.job.Status == tenancy.JobRunning && !j.job.CancelRequested {
		for _, p := range j.job.Phases {
			if p.Status != tenancy.PhaseDone {
				j.start(p.Name)
				break
			}
		}
	}
	return j.copyJob(), tenancy.Lease{JobID: id, Owner: owner, Epoch: j.epoch}, nil
}

// write runs f under the fence.
func (j *journal) write(name string, lease tenancy.Lease, f func(*tenancy.Job)) error {
	j.at("before " + name)
	defer j.at("after " + name)
	j.mu.Lock()
	defer j.mu.Unlock()
	if lease.Epoch != j.epoch || j.job.Status != tenancy.JobRunning && j.job.Status != tenancy.JobRollingBack {
		return tenancy.Errorf(tenancy.CodeLeaseLost, "lost")
	}
	f(&j.job)
	return nil
}

func (j *journal) RenewLease(_ context.Context, lease tenancy.Lease, _ time.Duration) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if lease.Epoch != j.epoch {
		return tenancy.Errorf(tenancy.CodeLeaseLost, "lost")
	}
	return nil
}

func (j *journal) CheckLease(ctx context.Context, lease tenancy.Lease, ttl time.Duration) error {
	return j.RenewLease(ctx, lease, ttl)
}

func (j *journal) ReleaseLease(_ context.Context, lease tenancy.Lease) error {
	return j.write("release", lease, func(*tenancy.Job) { j.held = false })
}

func (j *journal) phase(name tenancy.PhaseName) *tenancy.PhaseRecord {
	for i := range j.job.Phases {
		if j.job.Phases[i].Name == name {
			return &j.job.Phases[i]
		}
	}
	return &tenancy.PhaseRecord{}
}

func (j *journal) start(name tenancy.PhaseName) {
	now := time.Now()
	p := j.phase(name)
	p.Status, p.StartedAt, p.UndoneAt = tenancy.PhaseRunning, &now, nil
}

func (j *journal) RecordProgress(_ context.Context, lease tenancy.Lease, p tenancy.Progress) (cancel bool, err error) {
	err = j.write("record "+names(p), lease, func(job *tenancy.Job) {
		if cancel = job.CancelRequested; cancel {
			p.Next = ""
		}
		j.progress(p)
	})
	return cancel, err
}

func (j *journal) progress(p tenancy.Progress) {
	for _, d := range p.Done {
		rec := j.phase(d.Name)
		rec.Status, rec.Detail = tenancy.PhaseDone, d.Detail
		if rec.StartedAt == nil {
			rec.StartedAt = &d.Began
		}
	}
	if p.Next != "" {
		j.start(p.Next)
	}
	j.job.Failures = 0
}

func names(p tenancy.Progress) string {
	var all []string
	for _, d := range p.Done {
		all = append(all, string(d.Name))
	}
	return strings.Join(all, " and ")
}

func (j *journal) RetryPhase(_ context.Context, lease tenancy.Lease, phase tenancy.PhaseName, cause tenancy.PhaseError, after time.Duration) error {
	return j.write("retry "+string(phase), lease, func(job *tenancy.Job) {
		job.Failures++
		j.phase(phase).Error = &cause
		j.held, j.due = false, after
	})
}

func (j *journal) BeginRollback(_ context.Context, lease tenancy.Lease, phase tenancy.PhaseName, cause *tenancy.PhaseError) error {
	return j.write("rollback", lease, func(job *tenancy.Job) {
		job.Status, job.Failures = tenancy.JobRollingBack, 0
		if cause != nil {
			job.Error = &tenancy.JobError{Code: cause.Code, Message: cause.Message, Phase: phase}
			j.phase(phase).Status = tenancy.PhaseFailed
		}
	})
}

func (j *journal) UndonePhase(_ context.Context, lease tenancy.Lease, phase tenancy.PhaseName) error {
	return j.write("undone "+string(phase), lease, func(*tenancy.Job) {
		now := time.Now()
		p := j.phase(phase)
		p.UndoneAt = &now
		if p.Status != tenancy.PhaseFailed {
			p.Status = tenancy.PhaseUndone
		}
	})
}

func (j *journal) RetryUndo(_ context.Context, lease tenancy.Lease, _ tenancy.PhaseName, _ tenancy.PhaseError, residue []string, after time.Duration) error {
	return j.write("retry undo", lease, func(job *tenancy.Job) {
		job.Failures++
		if job.Error != nil {
			job.Error.Residue = residue
		}
		j.held, j.due = false, after
	})
}

func (j *journal) SettleRollback(_ context.Context, lease tenancy.Lease) error {
	return j.write("settle", lease, func(job *tenancy.Job) {
		job.Status = tenancy.JobCancelled
		if job.Error != nil {
			job.Status, job.Error.RolledBack, job.Error.Residue = tenancy.JobFailed, true, nil
		}
		j.held = false
	})
}

// complete is what a last phase does in its own transaction.
func (j *journal) complete(lease tenancy.Lease, p tenancy.Progress) (err error) {
	if lost := j.write("complete", lease, func(job *tenancy.Job) {
		if job.CancelRequested {
			err = tenancy.ErrCancelRequested
			return
		}
		j.progress(p)
		job.Status = tenancy.JobComplete
		j.held = false
	}); lost != nil {
		return lost
	}
	return err
}

// register is what a phase does whose effect is in master.
func (j *journal) register(lease tenancy.Lease, p tenancy.Progress, effect func()) error {
	return j.write("register", lease, func(*tenancy.Job) { effect(); j.progress(p) })
}
