package store

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// selectBatch is a batch in one row: itself, what became of its rows by their
// jobs' statuses and, if $1, the rows.
const selectBatch = `
	SELECT b.batch_id, b.dry_run, coalesce(b.requested_by::text, ''), b.actor, b.created_at,
	CASE WHEN c.queued + c.running = 0 THEN coalesce(c.finished_at, b.created_at) END,
	c.total, c.rejected, c.queued, c.running, c.complete, c.failed, c.cancelled, c.version, c.rows
	FROM identity.tenant_batch b CROSS JOIN LATERAL (
		SELECT count(*) AS total,
		       count(*) FILTER (WHERE r.job_id IS NULL) AS rejected,
		       count(*) FILTER (WHERE j.status = 'queued') AS queued,
		       count(*) FILTER (WHERE j.status IN ('running', 'rolling_back')) AS running,
		       count(*) FILTER (WHERE j.status = 'complete') AS complete,
		       count(*) FILTER (WHERE j.status = 'failed') AS failed,
		       count(*) FILTER (WHERE j.status = 'cancelled') AS cancelled,
		       max(j.finished_at) AS finished_at,
		       coalesce(sum(j.version), 0)::bigint AS version,
		       CASE WHEN $1 THEN jsonb_agg(jsonb_build_object(
		           'Line', r.line, 'Slug', r.slug, 'DisplayName', r.display_name,
		           'Status', coalesce(j.status, 'rejected'), 'JobID', coalesce(j.job_id::text, ''),
		           'Code', coalesce(j.error_code, r.error_code), 'Message', coalesce(j.error_message, r.error_message)) ORDER BY r.line)
		       END AS rows
		FROM identity.tenant_batch_row r LEFT JOIN identity.job j ON j.job_id = r.job_id
		WHERE r.batch_id = b.batch_id) c`

func scanBatch(row pgx.CollectableRow) (tenancy.Batch, error) {
	var b tenancy.Batch
	var data []byte
	n := &b.Counts
	err := row.Scan(&b.ID, &b.DryRun, &b.RequestedBy.UserID, &b.RequestedBy.Name, &b.CreatedAt, &b.FinishedAt,
		&n.Total, &n.Rejected, &n.Queued, &n.Running, &n.Complete, &n.Failed, &n.Cancelled, &b.Version, &data)
	if err != nil || data == nil {
		return b, err
	}
	var rows []struct {
		tenancy.BatchRow
		Code    tenancy.Code
		Message string
	}
	if err := json.Unmarshal(data, &rows); err != nil {
		return b, err
	}
	b.Rows = make([]tenancy.BatchRow, len(rows))
	for i, r := range rows {
		b.Rows[i] = r.BatchRow
		if r.Code != "" {
			b.Rows[i].Error = &tenancy.PhaseError{Code: r.Code, Message: r.Message}
		}
	}
	return b, nil
}

// Batch returns a batch with its rows, or CodeNotFound.
func (s *Store) Batch(ctx context.Context, id tenancy.BatchID) (tenancy.Batch, error) {
	if !validID(id) {
		return tenancy.Batch{}, noSuchBatch(id)
	}
	return batch(ctx, s.pool, id)
}

func batch(ctx context.Context, db execer, id tenancy.BatchID) (tenancy.Batch, error) {
	rows, err := db.Query(ctx, selectBatch+` WHERE b.batch_id = $2`, true, id)
	if err != nil {
		return tenancy.Batch{}, classify(err)
	}
	b, err := pgx.CollectExactlyOneRow(rows, scanBatch)
	if errors.Is(err, pgx.ErrNoRows) {
		return b, noSuchBatch(id)
	}
	return b, classify(err)
}

func noSuchBatch(id tenancy.BatchID) error {
	return tenancy.Errorf(tenancy.CodeNotFound, "There is no batch %q.", id)
}

// ListBatches returns batches without their rows, newest first, and the cursor of
// the next page.
func (s *Store) ListBatches(ctx context.Context, p tenancy.Page) ([]tenancy.Batch, string, error) {
	before := tenancy.BatchID("")
	if p.Cursor != "" {
		key, err := decodeCursor(p)
		if err != nil {
			return nil, "", err
		}
		if before = tenancy.BatchID(key); !validID(before) {
			return nil, "", badCursor()
		}
	}
	limit := pageLimit(p)
	rows, err := s.pool.Query(ctx, selectBatch+`
		WHERE $2::uuid IS NULL OR b.batch_id < $2 ORDER BY b.batch_id DESC LIMIT $3`,
		false, nullable(before), limit+1)
	if err != nil {
		return nil, "", classify(err)
	}
	batches, err := pgx.CollectRows(rows, scanBatch)
	if err != nil {
		return nil, "", classify(err)
	}
	batches, next := nextCursor(batches, limit, func(b tenancy.Batch) string { return string(b.ID) })
	return batches, next, nil
}
