package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// SurveyTenants returns every master row.
func (s *Store) SurveyTenants(ctx context.Context) ([]tenancy.SurveyedTenant, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT t.tenant_id, t.slug, coalesce(t.job_id::text, ''), t.status,
		       s.db_server_id, s.name, s.host, s.port, s.region, s.admin_secret_ref, s.capacity_hint, s.is_active
		FROM identity.tenant t JOIN identity.db_server s USING (db_server_id) ORDER BY t.slug`)
	if err != nil {
		return nil, classify(err)
	}
	tenants, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t tenancy.SurveyedTenant, err error) {
		err = row.Scan(&t.ID, &t.Slug, &t.JobID, &t.Status, &t.Server.ID, &t.Server.Name, &t.Server.Host, &t.Server.Port,
			&t.Server.Region, &t.Server.AdminSecretRef, &t.Server.CapacityHint, &t.Server.IsActive)
		return t, err
	})
	return tenants, classify(err)
}

// SurveyJobs returns the last job of each tenant id there ever was, and any job
// that holds a place.
func (s *Store) SurveyJobs(ctx context.Context) ([]tenancy.SurveyedJob, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT job_id, tenant_id, slug, kind, status, coalesce((options->>'purge')::boolean, false), capacity_reserved, residue,
		       status IN ('queued', 'running', 'rolling_back') AND run_after < now() - interval '2 minutes'
		         AND (lease_until IS NULL OR lease_until < now())
		FROM identity.job j
		WHERE NOT dry_run AND (capacity_reserved OR NOT EXISTS (
			SELECT FROM identity.job later WHERE later.tenant_id = j.tenant_id AND later.job_id > j.job_id AND NOT later.dry_run))
		ORDER BY job_id`)
	if err != nil {
		return nil, classify(err)
	}
	jobs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (j tenancy.SurveyedJob, err error) {
		err = row.Scan(&j.ID, &j.TenantID, &j.Slug, &j.Kind, &j.Status, &j.Purge, &j.Reserved, &j.Residue, &j.Stalled)
		return j, err
	})
	return jobs, classify(err)
}

// FreeStaleReservation gives back the place of a settled job.
func (s *Store) FreeStaleReservation(ctx context.Context, id tenancy.JobID) error {
	_, err := s.pool.Exec(ctx, `
		UPDATE identity.job SET capacity_reserved = false
		WHERE job_id = $1 AND capacity_reserved AND NOT `+unsettled, id)
	return classify(err)
}

// RingJob rings for a job that no worker holds, whatever Redis may still have.
func (s *Store) RingJob(ctx context.Context, id tenancy.JobID) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error { return ringIdle(ctx, tx, id) })
	if err == nil {
		s.wake()
	}
	return err
}

// HasUnsettledJob reports whether something is under way for a slug.
func (s *Store) HasUnsettledJob(ctx context.Context, slug tenancy.Slug) (bool, error) {
	var found bool
	err := s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM identity.job WHERE slug = $1 AND `+unsettled+`)`, slug).Scan(&found)
	return found, classify(err)
}
