package tasks

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"

	"github.com/tenantry/tenantry/internal/tenancy"
)

const (
	// reconcileInterval is how often one of the workers looks for jobs that
	// nothing drives any more.
	reconcileInterval = 2 * time.Second
	// reconcileGrace is how long a job may be due before that is suspicious: the
	// relay and an idle worker need well under a second.
	reconcileGrace = 3 * time.Second
	// reconcileBatch is beyond any backlog: what still waits its turn in Redis is due
	// too and must not hide what Redis lost.
	reconcileBatch = 2000
	// maxPurges is how many tenants are purged at a time when their retention is over:
	// a dump may take hours, of slots that batches want too.
	maxPurges = 4
	// idempotencyTTL is how long a repeated request is recognised.
	idempotencyTTL = 7 * 24 * time.Hour
	// resetTTL is how long a request for a password reset is kept, for whoever
	// asks where the mail is. One that could not be sent by then is moot.
	resetTTL = 3 * 24 * time.Hour
)

// Ledger is master as the reconciler needs it.
type Ledger interface {
	// Lead runs f if no other process leads under the name.
	Lead(ctx context.Context, name string, f func(context.Context) error) error
	StalledJobs(ctx context.Context, grace time.Duration, limit int) ([]tenancy.StalledJob, error)
	RingStalled(ctx context.Context, j tenancy.StalledJob) (rung bool, err error)
	RingStalledInvitations(ctx context.Context, grace time.Duration, limit int) (rung int, err error)
	ForgetIdempotencyKeys(ctx context.Context, age time.Duration) error
	ForgetPasswordResets(ctx context.Context, age time.Duration) error
	ForgetSignIns(ctx context.Context) error
	// ExpiredTenants are offboarding tenants whose retention is over, up to limit with
	// the purges that are under way.
	ExpiredTenants(ctx context.Context, limit int) ([]tenancy.Slug, error)
	SubmitJob(ctx context.Context, n tenancy.NewJob) (tenancy.Job, error)
}

// reconciler rings again for what Redis lost, or what a dead worker left. One of
// the workers does it at a time.
type reconciler struct {
	ledger    Ledger
	inspector *asynq.Inspector
	// purge says whether expired tenants are purged.
	purge bool
	// mail says whether invitations are rung for. Where nobody sends mail their tasks
	// would pile up.
	mail bool
	log  *slog.Logger
}

func (r *reconciler) run(ctx context.Context) {
	tick := time.NewTicker(reconcileInterval)
	defer tick.Stop()
	for {
		if err := r.ledger.Lead(ctx, "reconciler", r.reconcile); err != nil && ctx.Err() == nil {
			r.log.Warn("cannot reconcile; trying on", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (r *reconciler) reconcile(ctx context.Context) error {
	stalled, err := r.ledger.StalledJobs(ctx, reconcileGrace, reconcileBatch)
	if err != nil {
		return err
	}
	for _, j := range stalled {
		coming, err := r.coming(j)
		if err != nil {
			return err
		}
		if coming {
			continue
		}
		rung, err := r.ledger.RingStalled(ctx, j)
		if err != nil {
			return err
		}
		if rung {
			r.log.Info("rang again for a stalled job", "jobId", j.ID, "epoch", j.Epoch)
		}
	}
	if err := r.ringInvitations(ctx); err != nil {
		return err
	}
	if err := r.purgeExpired(ctx); err != nil {
		return err
	}
	if err := r.ledger.ForgetSignIns(ctx); err != nil {
		return err
	}
	if err := r.ledger.ForgetPasswordResets(ctx, resetTTL); err != nil {
		return err
	}
	return r.ledger.ForgetIdempotencyKeys(ctx, idempotencyTTL)
}

// ringInvitations rings for mail that is due and has no sender.
func (r *reconciler) ringInvitations(ctx context.Context) error {
	if !r.mail {
		return nil
	}
	n, err := r.ledger.RingStalledInvitations(ctx, reconcileGrace*5, reconcileBatch)
	if n > 0 {
		r.log.Info("rang again for stalled invitations", "count", n)
	}
	return err
}

// purgeExpired submits a purge for each tenant whose retention is over.
func (r *reconciler) purgeExpired(ctx context.Context) error {
	if !r.purge {
		return nil
	}
	expired, err := r.ledger.ExpiredTenants(ctx, maxPurges)
	if err != nil {
		return err
	}
	for _, slug := range expired {
		job, err := r.ledger.SubmitJob(ctx, tenancy.NewJob{
			Kind: tenancy.KindOffboard, Slug: slug, Offboarding: tenancy.Offboarding{Purge: true}, OnlyIfExpired: true, RequestedBy: tenancy.SystemActor,
		})
		if code := tenancy.CodeOf(err); code == tenancy.CodeJobInProgress || code == tenancy.CodeConflict {
			continue // someone was faster
		}
		if err != nil {
			return err
		}
		r.log.Info("purging a tenant whose retention is over", "slug", slug, "jobId", job.ID)
	}
	return nil
}

// coming reports whether Redis will deliver the job's last doorbell by itself.
// An active task will not: a worker took it and should have the job's lease by
// now, so that worker is dead or the task is an orphan.
func (r *reconciler) coming(j tenancy.StalledJob) (bool, error) {
	if j.TaskID == "" {
		return false, nil
	}
	info, err := r.inspector.GetTaskInfo(j.Queue, j.TaskID)
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound), errors.Is(err, asynq.ErrQueueNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	switch info.State {
	case asynq.TaskStatePending:
		return true, nil
	case asynq.TaskStateRetry, asynq.TaskStateScheduled:
		// A task that a dead worker held comes back later than the job is due.
		return time.Until(info.NextProcessAt) < reconcileInterval, nil
	default:
		return false, nil
	}
}
