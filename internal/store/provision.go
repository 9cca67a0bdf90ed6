package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// RegisterTenant writes the job's tenant, which has that slug, as provisioning. In the
// same transaction the place the job held becomes the tenant's, so it is never
// counted twice, and so does the prepared database that it claimed, if any; and p is
// recorded. A second call finds the row; a row of another tenant is CodePartialState.
func (s *Store) RegisterTenant(ctx context.Context, lease tenancy.Lease, slug tenancy.Slug, schemaVersion string, p tenancy.Progress) error {
	done, err := doneJSON(p)
	if err != nil {
		return err
	}
	var registered bool
	err = fencedRow(s.pool.QueryRow(ctx, `
		WITH held AS (
			SELECT * FROM identity.job WHERE `+held+` AND slug = $5 FOR NO KEY UPDATE),
		tenant AS (
			INSERT INTO identity.tenant (tenant_id, slug, display_name, status, db_server_id, db_name, db_secret_ref, schema_version, job_id)
			SELECT tenant_id, slug, display_name, 'provisioning', db_server_id, $6, $7, $8, job_id FROM held
			ON CONFLICT (slug) DO UPDATE SET schema_version = excluded.schema_version
			WHERE identity.tenant.tenant_id = excluded.tenant_id AND identity.tenant.status = 'provisioning'
			RETURNING job_id),
		job AS (
			UPDATE identity.job SET capacity_reserved = false, phase = coalesce(nullif($4, ''), phase), failures = 0, version = version + 1
			WHERE job_id IN (SELECT job_id FROM tenant) RETURNING job_id),
		retired AS (`+retireClaimed+`),
		done AS (`+markDone+`),
		started AS (`+markStarted+`)
		SELECT EXISTS (SELECT FROM tenant) FROM held`,
		lease.JobID, lease.Epoch, done, p.Next, slug, slug.DatabaseName(), slug.SecretName(), schemaVersion), &registered)
	if err == nil && !registered {
		return tenancy.Errorf(tenancy.CodePartialState, "A master row for the slug %q appeared that this job did not make.", slug)
	}
	return err
}

// UnregisterTenant removes what RegisterTenant wrote; the job holds its place
// again until FreePlacement.
func (s *Store) UnregisterTenant(ctx context.Context, lease tenancy.Lease) error {
	return s.inTx(ctx, func(tx *transaction) error {
		j, err := fencedJob(ctx, tx, lease)
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `DELETE FROM identity.tenant WHERE tenant_id = $1 AND status = 'provisioning'`, j.TenantID)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE identity.job SET capacity_reserved = true WHERE job_id = $1`, j.ID)
		return err
	})
}

// CompleteProvision settles the job and makes its work visible, in one
// transaction: the tenant becomes active, the audit row is written, and the
// invitation is queued; and p is recorded. That of a batch's job is for the job's
// worker to send, and nothing rings for it unless it stays unsent. A dry run only
// settles. A job that is to be cancelled is left as it is: tenancy.ErrCancelRequested.
func (s *Store) CompleteProvision(ctx context.Context, lease tenancy.Lease, p tenancy.Progress) error {
	var j tenancy.Job
	err := s.inTx(ctx, func(tx *transaction) error {
		if err := completeJob(tx, lease, p, &j); err != nil {
			return err
		}
		var activated []string
		tx.Queue(`
			UPDATE identity.tenant SET status = 'active', updated_at = now()
			WHERE tenant_id = (SELECT tenant_id FROM identity.job WHERE job_id = $1) AND status = 'provisioning'
			RETURNING tenant_id`, lease.JobID).Query(collect(&activated, pgx.RowTo[string]))
		if err := tx.Send(ctx); err != nil {
			return err
		}
		switch {
		case j.CancelRequested:
			return tenancy.ErrCancelRequested
		case j.DryRun:
			return nil
		case len(activated) == 0:
			return tenancy.Errorf(tenancy.CodePartialState, "The master row of this job's tenant is gone.")
		}
		queueInvitation(tx, j.TenantID, j.ID, j.RequestedBy)
		if !j.Bulk {
			ringInvitation(tx, j.ID, false)
		}
		return appendAudit(tx, tenancy.AuditEvent{
			Type: tenancy.EventTenantProvisioned, TenantID: j.TenantID, Slug: string(j.Slug), Actor: j.RequestedBy, JobID: j.ID,
			Details: map[string]any{
				"attempt": j.Attempt, "dbServer": j.Server.Name, "database": j.Slug.DatabaseName(), "secretRef": j.Slug.SecretName(),
			},
		})
	})
	if err == nil && !j.Bulk {
		s.wake()
	}
	return err
}

// completeJob queues that the job is settled with that progress, within a transaction
// that makes its work visible, and the reading of it.
func completeJob(tx *transaction, lease tenancy.Lease, p tenancy.Progress, j *tenancy.Job) error {
	p.Done = append(p.Done, tenancy.DonePhase{Name: tenancy.PhaseComplete, Began: time.Now(), Ended: time.Now()})
	done, err := doneJSON(p)
	if err != nil {
		return err
	}
	tx.Queue(`
		WITH job AS (
			UPDATE identity.job SET status = 'complete', phase = 'complete', finished_at = now(),
			       lease_until = NULL, version = version + 1
			WHERE `+held+` RETURNING job_id),
		done AS (`+markDone+`)
		SELECT job_id FROM job`, lease.JobID, lease.Epoch, done).QueryRow(scanHeld(&j.ID))
	queueJob(tx, lease.JobID, j)
	return nil
}
