package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// maxRetries is the most jobs one request retries.
const maxRetries = 500

// superseded is the condition of failed jobs j that are history: something else
// happens to the slug, a later job did its work, or the tenant exists.
const superseded = `(
	EXISTS (SELECT FROM identity.job o WHERE o.slug = j.slug AND o.status IN ('queued', 'running', 'rolling_back'))
	OR EXISTS (SELECT FROM identity.job o WHERE o.slug = j.slug AND o.job_id > j.job_id AND NOT o.dry_run AND o.status = 'complete')
	OR j.kind = 'provision' AND EXISTS (SELECT FROM identity.tenant t WHERE t.slug = j.slug))`

// RetryBatch retries, as RetryJob does, every failed job of the batch whose slug
// is free, and returns the batch. It fails with CodeNotFound.
func (s *Store) RetryBatch(ctx context.Context, id tenancy.BatchID, actor tenancy.Actor) (tenancy.Batch, error) {
	if _, err := s.Batch(ctx, id); err != nil {
		return tenancy.Batch{}, err
	}
	rows, err := s.pool.Query(ctx, `
		SELECT j.job_id FROM identity.tenant_batch_row r JOIN identity.job j ON j.job_id = r.job_id
		WHERE r.batch_id = $1 AND j.status = 'failed' AND NOT `+superseded+` ORDER BY r.line`, id)
	if err != nil {
		return tenancy.Batch{}, classify(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[tenancy.JobID])
	if err != nil {
		return tenancy.Batch{}, classify(err)
	}
	if _, err := s.retryEach(ctx, ids, actor); err != nil {
		return tenancy.Batch{}, err
	}
	return s.Batch(ctx, id)
}

// RetryJobs retries, as RetryJob does, the failed provisions that f matches, of each
// slug only its newest failed job, oldest first and at most 500. Each is a transaction
// of its own: what was retried before an error stays so. Of f its code and slug count. An
// offboarding is no part of it: an old one would end a tenant that is in use by now, or
// purge one before its retention is over.
func (s *Store) RetryJobs(ctx context.Context, f tenancy.JobFilter, actor tenancy.Actor) (tenancy.Retries, error) {
	var matched tenancy.Retries
	rows, err := s.pool.Query(ctx, `
		SELECT job_id, `+superseded+`
		FROM (SELECT DISTINCT ON (slug) * FROM identity.job WHERE status = 'failed' ORDER BY slug, job_id DESC) j
		WHERE kind = 'provision' AND ($1 = '' OR slug = $1) AND ($2 = '' OR error_code = $2)
		ORDER BY job_id`, f.Slug, string(f.Code))
	if err != nil {
		return matched, classify(err)
	}
	var free []tenancy.JobID
	var id tenancy.JobID
	var history bool
	_, err = pgx.ForEachRow(rows, []any{&id, &history}, func() error {
		matched.Matched++
		if history {
			matched.Skipped++
		} else if len(free) < maxRetries {
			free = append(free, id)
		}
		return nil
	})
	if err != nil {
		return matched, classify(err)
	}
	retried, err := s.retryEach(ctx, free, actor)
	matched.Retried, matched.Skipped = retried.Retried, matched.Skipped+retried.Skipped
	return matched, err
}

// retryEach retries the jobs. What somebody else was faster with is skipped.
func (s *Store) retryEach(ctx context.Context, ids []tenancy.JobID, actor tenancy.Actor) (tenancy.Retries, error) {
	var r tenancy.Retries
	for _, id := range ids {
		_, err := s.RetryJob(ctx, id, actor)
		switch code := tenancy.CodeOf(err); {
		case err == nil:
			r.Retried++
		case code == tenancy.CodeJobInProgress, code == tenancy.CodeConflict:
			r.Skipped++
		default:
			return r, err
		}
	}
	return r, nil
}
