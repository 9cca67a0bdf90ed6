package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// SurveyTenants returns every master row.
func (s *Store) SurveyTenants(ctx context.Context) ([]tenancy.SurveyedTenant, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT t.tenant_id, t.slug, coalesce(t.job_id::text, ''), t.status,
		       s.db_server_id, s.name, s.host, s.port, s.region, s.admin_secret_ref, s.capacity_hint, s.is_active,
		       t.purge_after, CASE WHEN t.purge_after < now() THEN coalesce((
			SELECT max(job_id::text) FROM identity.job j
			WHERE j.tenant_id = t.tenant_id AND j.kind = 'offboard' AND j.status = 'failed'
			  AND (j.options->>'purge')::boolean AND j.created_at >= t.purge_after), '') ELSE '' END
		FROM identity.tenant t JOIN identity.db_server s USING (db_server_id) ORDER BY t.slug`)
	if err != nil {
		return nil, classify(err)
	}
	tenants, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t tenancy.SurveyedTenant, err error) {
		err = row.Scan(&t.ID, &t.Slug, &t.JobID, &t.Status, &t.Server.ID, &t.Server.Name, &t.Server.Host, &t.Server.Port,
			&t.Server.Region, &t.Server.AdminSecretRef, &t.Server.CapacityHint, &t.Server.IsActive,
			&t.PurgeAfter, &t.FailedPurge)
		return t, err
	})
	return tenants, classify(err)
}

// Clock is master's time.
func (s *Store) Clock(ctx context.Context) (time.Time, error) {
	var now time.Time
	err := s.pool.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now)
	return now, classify(err)
}

// SurveyJobs returns the jobs that are not settled, changed after since or hold a place,
// and the last one of each of the tenants, oldest first. Those that changed are recent.
func (s *Store) SurveyJobs(ctx context.Context, since time.Time, tenants []tenancy.TenantID) ([]tenancy.SurveyedJob, error) {
	ids := []string{}
	for _, id := range tenants {
		if validID(id) { // a mark made by hand may say anything
			ids = append(ids, string(id))
		}
	}
	rows, err := s.pool.Query(ctx, `
		SELECT job_id, tenant_id, slug, kind, status, capacity_reserved, residue,
		       greatest(created_at, started_at, finished_at, run_after) > $1,
		       EXISTS (SELECT FROM identity.tenant_audit a WHERE a.tenant_id = j.tenant_id AND a.event_type = 'TENANT_PROVISIONED'),
		       `+unsettled+` AND run_after < now() - interval '2 minutes'
		         AND (lease_until IS NULL OR lease_until < now())
		FROM identity.job j
		WHERE NOT dry_run AND (`+unsettled+` OR capacity_reserved
		   OR greatest(created_at, started_at, finished_at, run_after) > $1
		   OR tenant_id = ANY($2::uuid[]) AND NOT EXISTS (
			SELECT FROM identity.job later WHERE later.tenant_id = j.tenant_id AND later.job_id > j.job_id AND NOT later.dry_run))
		ORDER BY job_id`, since, ids)
	if err != nil {
		return nil, classify(err)
	}
	jobs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (j tenancy.SurveyedJob, err error) {
		err = row.Scan(&j.ID, &j.TenantID, &j.Slug, &j.Kind, &j.Status, &j.Reserved, &j.Residue,
			&j.Recent, &j.EverActive, &j.Stalled)
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
	err := s.inTx(ctx, func(tx *transaction) error { return ringIdle(ctx, tx, id) })
	if err == nil {
		s.wake()
	}
	return err
}

// idleLimit is how long a slug is kept idle: less than master lets a transaction idle.
const idleLimit = 4 * time.Minute

// WhileIdle runs f while no job of the slug can begin anew, and only if none is
// under way and the slug has a master row as expected. It fails with
// CodeJobInProgress or CodeConflict otherwise: the world has changed since it was
// looked at. f's context ends after idleLimit, and its fence, which only one goroutine
// may ask at a time, fails with CodeLeaseLost once a job may have begun.
func (s *Store) WhileIdle(ctx context.Context, slug tenancy.Slug, registered bool, f func(context.Context) error) error {
	return s.inTx(ctx, func(tx *transaction) error {
		// The transaction idles while f works.
		if _, err := tx.Exec(ctx, `SET LOCAL idle_in_transaction_session_timeout = '5min'`); err != nil {
			return err
		}
		// RetryJob takes the same locks. A new job is another tenant's, or finds
		// what is here and leaves it alone.
		rows, err := tx.Query(ctx, `SELECT status FROM identity.job WHERE slug = $1 ORDER BY job_id FOR NO KEY UPDATE`, slug)
		if err != nil {
			return err
		}
		statuses, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, status := range statuses {
			if !tenancy.JobStatus(status).Settled() {
				return tenancy.Errorf(tenancy.CodeJobInProgress, "A job for the slug %q is in progress.", slug)
			}
		}
		var found bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM identity.tenant WHERE slug = $1)`, slug).Scan(&found); err != nil {
			return err
		}
		if found != registered {
			return tenancy.Errorf(tenancy.CodeConflict, "The slug %q has changed since it was looked at.", slug)
		}
		idle, cancel := context.WithTimeout(ctx, idleLimit)
		defer cancel()
		// While this transaction answers, it has its locks. With a fence f waits for no
		// slug on a server for long: it ends the session of whoever has it, a worker that
		// lost its job, or one with a new job, which is tried again.
		return f(tenancy.WithFence(idle, func(ctx context.Context) error {
			if _, err := tx.Exec(ctx, `SELECT`); err != nil {
				return tenancy.Wrap(tenancy.CodeLeaseLost, err, "Master no longer keeps the slug idle; a job may have begun.")
			}
			return nil
		}))
	})
}
