package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// The journal of a run. Each method is one statement, so one commit, and its
// first step is the fence: if that finds no row, nothing below it happens.

// RecordProgress records that phases are done and, unless the job is to be cancelled,
// that the next one is about to start.
func (s *Store) RecordProgress(ctx context.Context, lease tenancy.Lease, p tenancy.Progress) (cancel bool, err error) {
	done, err := doneJSON(p)
	if err != nil {
		return false, err
	}
	err = fencedRow(s.pool.QueryRow(ctx, `
		WITH job AS (
			UPDATE identity.job SET phase = CASE WHEN cancel_requested THEN phase ELSE $4 END,
			       failures = 0, version = version + 1
			WHERE `+held+` RETURNING job_id, cancel_requested),
		done AS (`+markDone+`),
		started AS (`+markStarted+` AND NOT (SELECT cancel_requested FROM job))
		SELECT cancel_requested FROM job`, lease.JobID, lease.Epoch, done, p.Next), &cancel)
	return cancel, err
}

// markDone and markStarted are parts of a statement that records the Progress of the
// job of its part job: $3 is what doneJSON made of it, $4 the next phase. Times are
// master's, of which the worker says how long ago they were.
const (
	markDone = `
			UPDATE identity.job_phase p SET status = 'done', detail = coalesce(d.detail, '{}'), error_code = '', error_message = '',
			       started_at = coalesce(p.started_at, now() - make_interval(secs => d.began)),
			       finished_at = now() - make_interval(secs => d.ended), undone_at = NULL
			FROM jsonb_to_recordset($3) AS d (name text, detail jsonb, began float8, ended float8)
			WHERE p.job_id IN (SELECT job_id FROM job) AND p.name = d.name`
	markStarted = `
			UPDATE identity.job_phase SET status = 'running', started_at = coalesce(started_at, now()), undone_at = NULL
			WHERE job_id IN (SELECT job_id FROM job) AND name = $4`
)

func doneJSON(p tenancy.Progress) ([]byte, error) {
	type done struct {
		Name   tenancy.PhaseName `json:"name"`
		Detail map[string]any    `json:"detail,omitempty"`
		Began  float64           `json:"began"` // seconds ago
		Ended  float64           `json:"ended"`
	}
	all := make([]done, len(p.Done))
	for i, d := range p.Done {
		all[i] = done{d.Name, d.Detail, time.Since(d.Began).Seconds(), time.Since(d.Ended).Seconds()}
	}
	return json.Marshal(all)
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
