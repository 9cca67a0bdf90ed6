package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// unsettled is the condition of jobs that something will still happen to. It is
// the predicate of the index that allows one of them a slug.
const unsettled = `status IN ('queued', 'running', 'rolling_back')`

// jobColumns is a whole job in one row: itself, its server and its phases, each
// found by primary key.
const jobColumns = `
	j.job_id, j.kind, j.status, j.tenant_id, j.slug, j.dry_run, j.display_name, j.admin_email, j.requested_server, j.options,
	j.phase, j.attempt, j.failures, j.error_code, j.error_message, j.error_phase, j.rolled_back, j.residue,
	coalesce(j.requested_by::text, ''), j.actor, j.request_id, j.cancel_requested,
	j.created_at, j.started_at, j.finished_at, j.version, j.queue IN ` + bulkQueues + `,
	(SELECT jsonb_build_object('ID', s.db_server_id, 'Name', s.name, 'Host', s.host, 'Port', s.port, 'Region', s.region,
	        'AdminSecretRef', s.admin_secret_ref, 'CapacityHint', s.capacity_hint, 'IsActive', s.is_active)
	 FROM identity.db_server s WHERE s.db_server_id = j.db_server_id),
	(SELECT jsonb_agg(jsonb_build_object('name', p.name, 'status', p.status, 'startedAt', p.started_at,
	        'finishedAt', p.finished_at, 'undoneAt', p.undone_at, 'detail', p.detail,
	        'errorCode', p.error_code, 'errorMessage', p.error_message) ORDER BY p.position)
	 FROM identity.job_phase p WHERE p.job_id = j.job_id)`

func scanJob(row pgx.CollectableRow) (tenancy.Job, error) {
	var j tenancy.Job
	var e tenancy.JobError
	var server, phases []byte
	err := row.Scan(&j.ID, &j.Kind, &j.Status, &j.TenantID, &j.Slug, &j.DryRun, &j.DisplayName, &j.AdminEmail, &j.ServerName, &j.Offboarding,
		&j.Phase, &j.Attempt, &j.Failures, &e.Code, &e.Message, &e.Phase, &e.RolledBack, &e.Residue,
		&j.RequestedBy.UserID, &j.RequestedBy.Name, &j.RequestID, &j.CancelRequested,
		&j.CreatedAt, &j.StartedAt, &j.FinishedAt, &j.Version, &j.Bulk, &server, &phases)
	if err != nil {
		return j, err
	}
	// A cancelled job has no code, and something left while it cannot be undone.
	if e.Code != "" || len(e.Residue) > 0 {
		j.Error = &e
	}
	if server != nil {
		if err := json.Unmarshal(server, &j.Server); err != nil {
			return j, err
		}
	}
	j.Phases, err = decodePhases(phases)
	return j, err
}

func decodePhases(data []byte) ([]tenancy.PhaseRecord, error) {
	var rows []struct {
		Name                            tenancy.PhaseName
		Status                          tenancy.PhaseStatus
		StartedAt, FinishedAt, UndoneAt *time.Time
		Detail                          map[string]any
		ErrorCode                       tenancy.Code
		ErrorMessage                    string
	}
	if err := json.Unmarshal(data, &rows); err != nil {
		return nil, err
	}
	phases := make([]tenancy.PhaseRecord, len(rows))
	for i, r := range rows {
		phases[i] = tenancy.PhaseRecord{
			Name: r.Name, Status: r.Status, Detail: r.Detail,
			StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, UndoneAt: r.UndoneAt,
		}
		if r.ErrorCode != "" {
			phases[i].Error = &tenancy.PhaseError{Code: r.ErrorCode, Message: r.ErrorMessage}
		}
	}
	return phases, nil
}

// Job returns a job, or CodeNotFound.
func (s *Store) Job(ctx context.Context, id tenancy.JobID) (tenancy.Job, error) {
	if !validID(id) {
		return tenancy.Job{}, noSuchJob(id)
	}
	return job(ctx, s.pool, id)
}

const selectJob = `SELECT ` + jobColumns + ` FROM identity.job j WHERE j.job_id = $1`

func job(ctx context.Context, db execer, id tenancy.JobID) (tenancy.Job, error) {
	rows, err := db.Query(ctx, selectJob, id)
	if err != nil {
		return tenancy.Job{}, classify(err)
	}
	return onlyJob(rows, id)
}

// queueJob queues the reading of a job.
func queueJob(tx *transaction, id tenancy.JobID, dest *tenancy.Job) {
	tx.Queue(selectJob, id).Query(func(rows pgx.Rows) (err error) {
		*dest, err = onlyJob(rows, id)
		return err
	})
}

func onlyJob(rows pgx.Rows, id tenancy.JobID) (tenancy.Job, error) {
	j, err := pgx.CollectExactlyOneRow(rows, scanJob)
	if errors.Is(err, pgx.ErrNoRows) {
		return j, noSuchJob(id)
	}
	return j, classify(err)
}

// JobVersion returns the version of a job, or CodeNotFound.
func (s *Store) JobVersion(ctx context.Context, id tenancy.JobID) (v tenancy.JobVersion, err error) {
	if !validID(id) {
		return v, noSuchJob(id)
	}
	err = s.pool.QueryRow(ctx, `SELECT version, NOT (`+unsettled+`) FROM identity.job WHERE job_id = $1`, id).Scan(&v.Version, &v.Settled)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, noSuchJob(id)
	}
	return v, classify(err)
}

func noSuchJob(id tenancy.JobID) error {
	return tenancy.Errorf(tenancy.CodeNotFound, "There is no job %q.", id)
}

// ListJobs returns jobs, newest first, and the cursor of the next page.
func (s *Store) ListJobs(ctx context.Context, f tenancy.JobFilter) ([]tenancy.Job, string, error) {
	before := tenancy.JobID("")
	if f.Page.Cursor != "" {
		key, err := decodeCursor(f.Page)
		if err != nil {
			return nil, "", err
		}
		if before = tenancy.JobID(key); !validID(before) {
			return nil, "", badCursor()
		}
	}
	limit := pageLimit(f.Page)
	rows, err := s.pool.Query(ctx, `
		SELECT `+jobColumns+` FROM identity.job j
		WHERE ($1 = '' OR j.status = $1) AND ($2 = '' OR j.kind = $2) AND ($3 = '' OR j.slug = $3)
		  AND ($4 = '' OR j.error_code = $4) AND ($5::uuid IS NULL OR j.job_id < $5)
		ORDER BY j.job_id DESC LIMIT $6`,
		string(f.Status), string(f.Kind), f.Slug, string(f.Code), nullable(before), limit+1)
	if err != nil {
		return nil, "", classify(err)
	}
	jobs, err := pgx.CollectRows(rows, scanJob)
	if err != nil {
		return nil, "", classify(err)
	}
	jobs, next := nextCursor(jobs, limit, func(j tenancy.Job) string { return string(j.ID) })
	return jobs, next, nil
}
