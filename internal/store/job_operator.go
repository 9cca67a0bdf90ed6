package store

import (
	"context"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// RetryJob begins a new attempt of a failed job, from its first phase. It fails
// with CodeJobInProgress, with the running job's id, if this job or another one for
// the slug is unsettled, and with CodeConflict if the job is complete or cancelled,
// or if it is a purge and its tenant was readmitted since.
func (s *Store) RetryJob(ctx context.Context, id tenancy.JobID, actor tenancy.Actor) (tenancy.Job, error) {
	var retried tenancy.Job
	err := s.operate(ctx, id, func(tx *transaction, j tenancy.Job) error {
		switch {
		case !j.Status.Settled():
			return jobInProgress(j.Slug, j.ID)
		case j.Status != tenancy.JobFailed:
			return tenancy.Errorf(tenancy.CodeConflict, "The job is %s; only a failed job can be retried.", j.Status)
		}
		var running *tenancy.JobID
		var inUse bool
		err := tx.QueryRow(ctx, `
			SELECT (SELECT job_id FROM identity.job WHERE slug = $1 AND `+unsettled+`),
			       EXISTS (SELECT FROM identity.tenant WHERE slug = $1 AND (tenant_id <> $2 OR status <> 'offboarding'))`,
			j.Slug, j.TenantID).Scan(&running, &inUse)
		if err != nil {
			return err
		}
		if running != nil {
			return jobInProgress(j.Slug, *running)
		}
		if j.Irreversible() && inUse {
			return tenancy.Errorf(tenancy.CodeConflict, "The tenant is in use again; to purge it all the same, begin a new purge.")
		}
		// The epoch rises, so that the new doorbell has an id never used before
		// and a worker that still believes in the last attempt is fenced off.
		if _, err := tx.Exec(ctx, `
			UPDATE identity.job
			SET status = 'queued', attempt = attempt + 1, failures = 0, phase = '', cancel_requested = false,
			    error_code = '', error_message = '', error_phase = '', rolled_back = false, residue = '{}',
			    db_server_id = CASE kind WHEN 'offboard' THEN db_server_id END, capacity_reserved = false,
			    lease_until = NULL, lease_epoch = lease_epoch + 1, run_after = now(),
			    started_at = NULL, finished_at = NULL, version = version + 1
			WHERE job_id = $1 AND status = 'failed'`, id); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
			UPDATE identity.job_phase
			SET status = 'pending', started_at = NULL, finished_at = NULL, undone_at = NULL,
			    -- the dumps of the attempts before are all there is of what is gone
			    detail = CASE name WHEN 'backup_taken' THEN detail ELSE '{}' END, error_code = '', error_message = ''
			WHERE job_id = $1`, id); err != nil {
			return err
		}
		ring(tx, id)
		if err := auditJob(tx, tenancy.EventJobRetried, j, actor); err != nil {
			return err
		}
		queueJob(tx, id, &retried)
		return nil
	})
	if violates(err, "job_one_unsettled_a_slug") {
		// Another job for the slug was committed between the look and the update: a
		// second look finds it, or that it is settled by now.
		return s.RetryJob(ctx, id, actor)
	}
	return retried, err
}

// CancelJob asks for a job to be stopped at its next phase boundary and undone.
// It fails with CodeConflict if the job is settled or being rolled back.
func (s *Store) CancelJob(ctx context.Context, id tenancy.JobID, actor tenancy.Actor) (tenancy.Job, error) {
	var cancelled tenancy.Job
	err := s.operate(ctx, id, func(tx *transaction, j tenancy.Job) error {
		if j.Irreversible() && (j.Status == tenancy.JobRunning || j.Attempt > 1) {
			return tenancy.Errorf(tenancy.CodeConflict, "A purge that has begun cannot be cancelled.")
		}
		if j.Status != tenancy.JobQueued && j.Status != tenancy.JobRunning {
			return tenancy.Errorf(tenancy.CodeConflict, "The job is %s and can no longer be cancelled.", j.Status)
		}
		if _, err := tx.Exec(ctx, `
			UPDATE identity.job SET cancel_requested = true, version = version + 1
			WHERE job_id = $1 AND status IN ('queued', 'running')`, id); err != nil {
			return err
		}
		// A job that waits for its next try need not wait any longer.
		if err := ringIdle(ctx, tx, id); err != nil {
			return err
		}
		if err := auditJob(tx, tenancy.EventJobCancelRequested, j, actor); err != nil {
			return err
		}
		queueJob(tx, id, &cancelled)
		return nil
	})
	return cancelled, err
}

// operate locks a job's row, so that f's view of its state holds until commit.
func (s *Store) operate(ctx context.Context, id tenancy.JobID, f func(*transaction, tenancy.Job) error) error {
	if !validID(id) {
		return noSuchJob(id)
	}
	err := s.inTx(ctx, func(tx *transaction) error {
		var j tenancy.Job
		tx.Queue(`SELECT FROM identity.job WHERE job_id = $1 FOR NO KEY UPDATE`, id)
		queueJob(tx, id, &j)
		if err := tx.Send(ctx); err != nil {
			return err
		}
		return f(tx, j)
	})
	if err == nil {
		s.wake()
	}
	return err
}

func auditJob(tx *transaction, event tenancy.EventType, j tenancy.Job, actor tenancy.Actor) error {
	return appendAudit(tx, tenancy.AuditEvent{
		Type: event, TenantID: j.TenantID, Slug: string(j.Slug), Actor: actor, JobID: j.ID,
		Details: map[string]any{"attempt": j.Attempt},
	})
}
