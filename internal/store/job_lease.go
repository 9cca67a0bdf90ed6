package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/crash"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// AcquireLease makes owner the only worker of a job for ttl and returns the job.
// It fails with CodeJobBusy if the lease is held, CodeJobSettled if there is
// nothing to do, CodeNotFound if there is no such job. The database's clock
// decides; the epoch fences later writes. The phase that comes first is recorded as
// running in the same commit, unless the job is to be cancelled or undone.
func (s *Store) AcquireLease(ctx context.Context, id tenancy.JobID, owner string, ttl time.Duration) (tenancy.Job, tenancy.Lease, error) {
	if !validID(id) {
		return tenancy.Job{}, tenancy.Lease{}, noSuchJob(id)
	}
	lease := tenancy.Lease{JobID: id, Owner: owner}
	var acquired tenancy.Job
	err := s.inTx(ctx, func(tx *transaction) error {
		tx.Queue(`
			WITH first AS (
				SELECT name FROM identity.job_phase WHERE job_id = $1 AND status <> 'done' ORDER BY position LIMIT 1),
			job AS (
				UPDATE identity.job
				SET status = CASE status WHEN 'queued' THEN 'running' ELSE status END,
				    phase = CASE WHEN status <> 'rolling_back' AND NOT cancel_requested THEN coalesce((TABLE first), phase) ELSE phase END,
				    started_at = coalesce(started_at, now()),
				    lease_owner = $2, lease_until = now() + $3, lease_epoch = lease_epoch + 1, version = version + 1
				WHERE job_id = $1 AND `+unsettled+` AND (lease_until IS NULL OR lease_until < now())
				RETURNING job_id, lease_epoch, status, cancel_requested),
			started AS (
				UPDATE identity.job_phase SET status = 'running', started_at = coalesce(started_at, now()), undone_at = NULL
				WHERE job_id IN (SELECT job_id FROM job WHERE status <> 'rolling_back' AND NOT cancel_requested) AND name = (TABLE first)
				      AND status <> 'done') -- by a worker whose lease ran out just now
			SELECT coalesce((SELECT lease_epoch FROM job), 0)`, id, owner, ttl).QueryRow(scan(&lease.Epoch))
		queueJob(tx, id, &acquired)
		return nil
	})
	switch {
	case err != nil || lease.Epoch > 0:
		return acquired, lease, err
	case acquired.Status.Settled():
		err = tenancy.Errorf(tenancy.CodeJobSettled, "The job is %s.", acquired.Status)
	default:
		err = tenancy.Errorf(tenancy.CodeJobBusy, "Another worker has the job.")
	}
	return tenancy.Job{}, lease, err
}

// RenewLease extends a lease to ttl from now.
func (s *Store) RenewLease(ctx context.Context, lease tenancy.Lease, ttl time.Duration) error {
	return s.fenced(ctx, `
		UPDATE identity.job SET lease_until = now() + $3
		WHERE `+held+` RETURNING job_id`, lease, ttl)
}

// CheckLease reports whether a lease stands, for long enough to do something: what
// has less than half of ttl left is extended. It costs no commit as a rule.
func (s *Store) CheckLease(ctx context.Context, lease tenancy.Lease, ttl time.Duration) error {
	var lasts bool
	err := fencedRow(s.pool.QueryRow(ctx, `
		SELECT coalesce(lease_until > now() + $3, false) FROM identity.job WHERE `+held, lease.JobID, lease.Epoch, ttl/2), &lasts)
	if err != nil || lasts {
		return err
	}
	return s.RenewLease(ctx, lease, ttl)
}

// ReleaseLease gives the job back; it is due at once.
func (s *Store) ReleaseLease(ctx context.Context, lease tenancy.Lease) error {
	return s.fenced(ctx, `
		UPDATE identity.job SET lease_until = NULL, run_after = now()
		WHERE `+held+` RETURNING job_id`, lease)
}

// held is the fence: $1 is the job, $2 the epoch of the lease. Settling a job
// ends its lease too.
var held = crash.Fence(`job_id = $1 AND lease_epoch = $2 AND status IN ('running', 'rolling_back')`)

// fenced runs a statement that begins with the lease's job and epoch and
// returns a row if, and only if, the lease stands.
func (s *Store) fenced(ctx context.Context, sql string, lease tenancy.Lease, args ...any) error {
	var id tenancy.JobID
	return fencedRow(s.pool.QueryRow(ctx, sql, append([]any{lease.JobID, lease.Epoch}, args...)...), &id)
}

func fencedRow(row pgx.Row, dest ...any) error {
	err := row.Scan(dest...)
	if errors.Is(err, pgx.ErrNoRows) {
		return tenancy.Errorf(tenancy.CodeLeaseLost, "Another worker has the job, or it is settled.")
	}
	return classify(err)
}

// scanHeld is fencedRow for a queued statement.
func scanHeld(dest ...any) func(pgx.Row) error {
	return func(row pgx.Row) error { return fencedRow(row, dest...) }
}
