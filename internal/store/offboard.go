package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// StartRetention makes the job's tenant offboarding and returns when it may be
// purged. A second call finds it so and changes nothing. It fails with
// CodeConflict if the tenant's status does not allow it.
func (s *Store) StartRetention(ctx context.Context, lease tenancy.Lease, days int) (purgeAfter time.Time, err error) {
	err = s.onTenant(ctx, lease, func(tx *transaction, j tenancy.Job) error {
		if err := supersedeInvitations(ctx, tx, j.TenantID); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `
			UPDATE identity.tenant
			SET status = 'offboarding', updated_at = now(),
			    status_before = CASE status WHEN 'offboarding' THEN status_before ELSE status END,
			    purge_after = CASE status WHEN 'offboarding' THEN purge_after ELSE now() + make_interval(days => $2) END
			WHERE tenant_id = $1 AND status IN ('active', 'read_only', 'suspended', 'offboarding')
			RETURNING purge_after`, j.TenantID, days).Scan(&purgeAfter)
		if errors.Is(err, pgx.ErrNoRows) {
			return tenancy.Errorf(tenancy.CodeConflict, "The tenant is gone, or its status does not allow offboarding.")
		}
		return err
	})
	return purgeAfter, err
}

// EndRetention brings the job's tenant back to what it was before it was
// offboarded. It does nothing to a tenant that is not offboarding.
func (s *Store) EndRetention(ctx context.Context, lease tenancy.Lease) error {
	return s.onTenant(ctx, lease, func(tx *transaction, j tenancy.Job) error {
		_, err := tx.Exec(ctx, `
			UPDATE identity.tenant
			SET status = status_before, status_before = '', purge_after = NULL, updated_at = now()
			WHERE tenant_id = $1 AND status = 'offboarding'`, j.TenantID)
		return err
	})
}

// CondemnTenant makes the job's tenant offboarding, so that nothing uses it while
// it is purged. A slug without a master row is fine; one whose row is another
// tenant's is CodePartialState.
func (s *Store) CondemnTenant(ctx context.Context, lease tenancy.Lease) error {
	return s.onTenant(ctx, lease, func(tx *transaction, j tenancy.Job) error {
		if err := supersedeInvitations(ctx, tx, j.TenantID); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
			UPDATE identity.tenant
			SET status_before = CASE status WHEN 'offboarding' THEN status_before ELSE status END,
			    status = 'offboarding', updated_at = now()
			WHERE tenant_id = $1`, j.TenantID); err != nil {
			return err
		}
		return noOtherTenant(ctx, tx, j)
	})
}

// RemoveTenant removes the job's tenant's master row, if there is one. A row of
// another tenant under the slug is CodePartialState and stays.
func (s *Store) RemoveTenant(ctx context.Context, lease tenancy.Lease) error {
	return s.onTenant(ctx, lease, func(tx *transaction, j tenancy.Job) error {
		if _, err := tx.Exec(ctx, `DELETE FROM identity.tenant WHERE tenant_id = $1 AND status = 'offboarding'`, j.TenantID); err != nil {
			return err
		}
		var left bool
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM identity.tenant WHERE slug = $1)`, j.Slug).Scan(&left)
		if err == nil && left {
			err = tenancy.Errorf(tenancy.CodePartialState, "The slug %q has a master row that this purge may not remove.", j.Slug)
		}
		return err
	})
}

func noOtherTenant(ctx context.Context, tx *transaction, j tenancy.Job) error {
	var other bool
	err := tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM identity.tenant WHERE slug = $1 AND tenant_id <> $2)`, j.Slug, j.TenantID).Scan(&other)
	if err == nil && other {
		err = tenancy.Errorf(tenancy.CodePartialState, "The slug %q has another tenant by now.", j.Slug)
	}
	return err
}

// supersedeInvitations keeps mail from being sent for a tenant that is leaving.
func supersedeInvitations(ctx context.Context, tx *transaction, id tenancy.TenantID) error {
	_, err := tx.Exec(ctx, `UPDATE identity.invitation SET status = 'superseded' WHERE tenant_id = $1 AND status = 'queued'`, id)
	return err
}

// TenantIDs returns every id that a job or the registry of this master ever gave
// a tenant of the slug: what carries one of them is ours.
func (s *Store) TenantIDs(ctx context.Context, slug tenancy.Slug) ([]tenancy.TenantID, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT tenant_id::text FROM identity.job WHERE slug = $1 AND kind = 'provision'
		UNION SELECT tenant_id::text FROM identity.tenant WHERE slug = $1`, slug)
	if err != nil {
		return nil, classify(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	known := make([]tenancy.TenantID, len(ids))
	for i, id := range ids {
		known[i] = tenancy.TenantID(id)
	}
	return known, classify(err)
}

// CompleteOffboard settles the job with its audit row: the start or the end of
// a retention, or the tombstone of a purge, for which details say what was done; and
// p is recorded. A job that is to be cancelled is left as it is:
// tenancy.ErrCancelRequested.
func (s *Store) CompleteOffboard(ctx context.Context, lease tenancy.Lease, details map[string]any, p tenancy.Progress) error {
	return s.inTx(ctx, func(tx *transaction) error {
		var j tenancy.Job
		if err := completeJob(tx, lease, p, &j); err != nil {
			return err
		}
		if err := tx.Send(ctx); err != nil {
			return err
		}
		if j.CancelRequested {
			return tenancy.ErrCancelRequested
		}
		event := tenancy.EventOffboardingStarted
		switch {
		case j.Offboarding.Purge:
			event = tenancy.EventTenantPurged
		case j.Offboarding.Cancel:
			event = tenancy.EventOffboardingCancelled
		}
		return appendAudit(tx, tenancy.AuditEvent{
			Type: event, TenantID: j.TenantID, Slug: string(j.Slug), Actor: j.RequestedBy, JobID: j.ID, Details: details,
		})
	})
}

// ExpiredTenants returns slugs whose retention is over, the longest first, and only so
// many that no more than limit purges are under way. A purge that failed since the end of
// the retention is an operator's to look into.
func (s *Store) ExpiredTenants(ctx context.Context, limit int) ([]tenancy.Slug, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT slug FROM identity.tenant t
		WHERE status = 'offboarding' AND purge_after < now()
		  AND NOT EXISTS (
			SELECT FROM identity.job j
			WHERE j.tenant_id = t.tenant_id AND (j.status IN ('queued', 'running', 'rolling_back')
			   OR j.kind = 'offboard' AND j.status = 'failed' AND (j.options->>'purge')::boolean AND j.created_at >= t.purge_after))
		ORDER BY purge_after
		LIMIT greatest(0, $1 - (SELECT count(*) FROM identity.job WHERE `+unsettled+` AND (options->>'purge')::boolean))`, limit)
	if err != nil {
		return nil, classify(err)
	}
	slugs, err := pgx.CollectRows(rows, pgx.RowTo[string])
	expired := make([]tenancy.Slug, len(slugs))
	for i, slug := range slugs {
		expired[i] = tenancy.Slug(slug)
	}
	return expired, classify(err)
}

// onTenant runs f under the fence.
func (s *Store) onTenant(ctx context.Context, lease tenancy.Lease, f func(*transaction, tenancy.Job) error) error {
	return s.inTx(ctx, func(tx *transaction) error {
		j, err := fencedJob(ctx, tx, lease)
		if err != nil {
			return err
		}
		return f(tx, j)
	})
}
