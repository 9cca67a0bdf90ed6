package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// The journal of a run. Each method is one statement, so one commit, and its
// first step is the fence: if that finds no row, nothing below it happens.

// FinishPhase records that a phase is done and, unless the job is to be
// cancelled, that the next one is about to start.
func (s *Store) FinishPhase(ctx context.Context, lease tenancy.Lease, phase, next tenancy.PhaseName, detail map[string]any) (cancel bool, err error) {
	data := []byte("{}")
	if detail != nil {
		if data, err = json.Marshal(detail); err != nil {
			return false, err
		}
	}
	err = fencedRow(s.pool.QueryRow(ctx, `
		WITH job AS (
			UPDATE identity.job SET phase = CASE WHEN cancel_requested THEN phase ELSE $4 END,
			       failures = 0, version = version + 1
			WHERE `+held+` RETURNING job_id, cancel_requested),
		done AS (
			UPDATE identity.job_phase SET status = 'done', finished_at = now(), detail = $5, error_code = '', error_message = ''
			WHERE job_id IN (SELECT job_id FROM job) AND name = $3),
		started AS (
			UPDATE identity.job_phase SET status = 'running', started_at = coalesce(started_at, now()), undone_at = NULL
			WHERE job_id IN (SELECT job_id FROM job WHERE NOT cancel_requested) AND name = $4)
		SELECT cancel_requested FROM job`, lease.JobID, lease.Epoch, phase, next, data), &cancel)
	return cancel, err
}

// RetryPhase records a transient failure and gives the lease back.
func (s *Store) RetryPhase(ctx context.Context, lease tenancy.Lease, phase tenancy.PhaseName, cause tenancy.PhaseError, after time.Duration) error {
	return s.fenced(ctx, `
		WITH job AS (
			UPDATE identity.job SET failures = failures + 1, lease_until = NULL, run_after = now() + $6, version = version + 1
			WHERE `+held+` RETURNING job_id),
		failed AS (
			UPDATE identity.job_phase SET error_code = $4, error_message = $5
			WHERE job_id IN (SELECT job_id FROM job) AND name = $3)
		SELECT job_id FROM job`, lease, phase, cause.Code, cause.Message, after)
}

// BeginRollback turns the job to rolling_back; a nil cause means cancelled.
func (s *Store) BeginRollback(ctx context.Context, lease tenancy.Lease, phase tenancy.PhaseName, cause *tenancy.PhaseError) error {
	if cause == nil {
		return s.fenced(ctx, `
			UPDATE identity.job SET status = 'rolling_back', failures = 0, version = version + 1
			WHERE `+held+` RETURNING job_id`, lease)
	}
	return s.fenced(ctx, `
		WITH job AS (
			UPDATE identity.job SET status = 'rolling_back', failures = 0, version = version + 1,
			       error_phase = $3, error_code = $4, error_message = $5
			WHERE `+held+` RETURNING job_id),
		failed AS (
			UPDATE identity.job_phase SET status = 'failed', finished_at = now(), error_code = $4, error_message = $5
			WHERE job_id IN (SELECT job_id FROM job) AND name = $3)
		SELECT job_id FROM job`, lease, phase, cause.Code, cause.Message)
}

// UndonePhase records that nothing of a phase is left. A failed phase stays
// failed, so that the job shows where it stopped.
func (s *Store) UndonePhase(ctx context.Context, lease tenancy.Lease, phase tenancy.PhaseName) error {
	return s.fenced(ctx, `
		WITH job AS (
			UPDATE identity.job SET failures = 0, residue = '{}', version = version + 1 WHERE `+held+` RETURNING job_id),
		undone AS (
			UPDATE identity.job_phase SET undone_at = now(), status = CASE status WHEN 'failed' THEN 'failed' ELSE 'undone' END
			WHERE job_id IN (SELECT job_id FROM job) AND name = $3)
		SELECT job_id FROM job`, lease, phase)
}

// RetryUndo records a failed Undo and what is left, and gives the lease back.
func (s *Store) RetryUndo(ctx context.Context, lease tenancy.Lease, phase tenancy.PhaseName, cause tenancy.PhaseError, residue []string, after time.Duration) error {
	if residue == nil {
		residue = []string{}
	}
	return s.fenced(ctx, `
		WITH job AS (
			UPDATE identity.job SET failures = failures + 1, residue = $6, phase = $3,
			       lease_until = NULL, run_after = now() + $7, version = version + 1
			WHERE `+held+` RETURNING job_id),
		failed AS (
			UPDATE identity.job_phase SET error_code = $4, error_message = $5
			WHERE job_id IN (SELECT job_id FROM job) AND name = $3 AND status <> 'failed')
		SELECT job_id FROM job`, lease, phase, cause.Code, cause.Message, residue, after)
}

// SettleRollback makes the job failed, or cancelled if it has no error, with
// the audit row that goes with it. A dry run leaves no audit row: it writes
// nowhere outside its own job.
func (s *Store) SettleRollback(ctx context.Context, lease tenancy.Lease) error {
	return s.inTx(ctx, func(tx *transaction) error {
		var settled tenancy.JobID
		err := fencedRow(tx.QueryRow(ctx, `
			UPDATE identity.job
			SET status = CASE error_code WHEN '' THEN 'cancelled' ELSE 'failed' END,
			    rolled_back = NOT coalesce((options->>'purge')::boolean, false),
			    residue = '{}', finished_at = now(), lease_until = NULL, version = version + 1
			WHERE `+held+` RETURNING job_id`, lease.JobID, lease.Epoch), &settled)
		if err != nil {
			return err
		}
		j, err := job(ctx, tx, settled)
		if err != nil || j.DryRun {
			return err
		}
		event := tenancy.AuditEvent{
			Type: tenancy.EventJobCancelled, TenantID: j.TenantID, Slug: string(j.Slug),
			Actor: j.RequestedBy, JobID: j.ID, Details: map[string]any{"attempt": j.Attempt, "phase": j.Phase},
		}
		if j.Error != nil {
			event.Type = failureEvent(j)
			event.Details = map[string]any{
				"attempt": j.Attempt, "phase": j.Error.Phase, "code": j.Error.Code, "message": j.Error.Message, "rolledBack": j.Error.RolledBack,
			}
		}
		return appendAudit(tx, event)
	})
}

func failureEvent(j tenancy.Job) tenancy.EventType {
	switch {
	case j.Kind == tenancy.KindProvision:
		return tenancy.EventTenantProvisionFailed
	case j.Offboarding.Purge:
		return tenancy.EventTenantPurgeFailed
	}
	return tenancy.EventOffboardingFailed
}
