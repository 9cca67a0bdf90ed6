package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// SubmitBatch records a batch in one transaction: its rows, a job with phases and
// doorbell for each row that nothing speaks against, and the audit row. A row that
// SubmitJob would refuse, or that has a Fault, is recorded as rejected and stops no
// other. A repeated request with the same key gets the first one's batch as it is
// now. It fails with CodeInvalidRequest if the key came with another request
// before, or without a row.
func (s *Store) SubmitBatch(ctx context.Context, n tenancy.NewBatch) (tenancy.Batch, error) {
	if err := checkBatchSize(n); err != nil {
		return tenancy.Batch{}, err
	}
	var submitted tenancy.Batch
	id := tenancy.BatchID(newID())
	err := s.inTx(ctx, func(tx *transaction) error {
		first, taken, err := insertBatch(ctx, tx, n, id)
		if err != nil {
			return err
		}
		if taken {
			submitted, err = batch(ctx, tx, first)
			return err
		}
		rows, jobs, err := judgeRows(ctx, tx, n)
		if err != nil {
			return err
		}
		refused, err := insertJobs(ctx, tx, tenancy.QueueBulk, jobs)
		if err != nil {
			return err
		}
		if err := insertBatchRows(ctx, tx, id, rows, refused); err != nil {
			return err
		}
		if submitted, err = batch(ctx, tx, id); err != nil || n.DryRun {
			return err
		}
		return appendAudit(tx, tenancy.AuditEvent{
			Type: tenancy.EventBatchSubmitted, Actor: n.RequestedBy,
			Details: map[string]any{
				"batchId": id, "rows": submitted.Counts.Total, "rejected": submitted.Counts.Rejected, "queued": submitted.Counts.Queued,
			},
		})
	})
	if err != nil {
		return tenancy.Batch{}, err
	}
	s.wake()
	return submitted, nil
}

// CheckBatch returns what SubmitBatch would do with each row now, and records
// nothing.
func (s *Store) CheckBatch(ctx context.Context, n tenancy.NewBatch) (tenancy.BatchCheck, error) {
	if err := checkBatchSize(n); err != nil {
		return tenancy.BatchCheck{}, err
	}
	var check tenancy.BatchCheck
	err := s.inTx(ctx, func(tx *transaction) error {
		rows, jobs, err := judgeRows(ctx, tx, n)
		if err != nil {
			return err
		}
		for _, r := range rows {
			r.JobID = ""
			check.Rows = append(check.Rows, r)
		}
		servers, err := listLoads(ctx, tx)
		if err != nil {
			return err
		}
		wanted := make([]string, len(jobs))
		for i, j := range jobs {
			wanted[i] = j.ServerName
		}
		check.Warnings = tenancy.CapacityWarnings(wanted, servers)
		return nil
	})
	return check, err
}

func checkBatchSize(n tenancy.NewBatch) error {
	if len(n.Rows) == 0 || len(n.Rows) > tenancy.MaxBatchRows {
		return tenancy.Errorf(tenancy.CodeInvalidRequest, "A batch has 1 to %d rows.", tenancy.MaxBatchRows)
	}
	return nil
}

// insertBatch records the batch under its key, or returns the batch that has the
// key. Of two equal requests at once, the later waits here for the first.
func insertBatch(ctx context.Context, tx *transaction, n tenancy.NewBatch, id tenancy.BatchID) (first tenancy.BatchID, taken bool, err error) {
	hash, err := batchHash(n)
	if err != nil {
		return "", false, err
	}
	principal := principalOf(n.RequestedBy)
	tag, err := tx.Exec(ctx, `
		INSERT INTO identity.tenant_batch (batch_id, dry_run, requested_by, actor, request_id, principal, idempotency_key, request_hash)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (principal, idempotency_key) DO NOTHING`,
		id, n.DryRun, nullable(n.RequestedBy.UserID), n.RequestedBy.Name, n.RequestID, principal, nullable(n.IdempotencyKey), hash)
	if err != nil || tag.RowsAffected() == 1 {
		return "", false, err
	}
	var before []byte
	err = tx.QueryRow(ctx, `
		SELECT request_hash, batch_id FROM identity.tenant_batch WHERE principal = $1 AND idempotency_key = $2`,
		principal, n.IdempotencyKey).Scan(&before, &first)
	if err != nil {
		return "", false, err
	}
	if !bytes.Equal(before, hash) {
		return "", false, keyReused()
	}
	return first, true, nil
}

// batchHash covers what was written, and not what was thought of it.
func batchHash(n tenancy.NewBatch) ([]byte, error) {
	rows := make([][]any, len(n.Rows))
	for i, r := range n.Rows {
		rows[i] = []any{r.Line, r.Slug, r.DisplayName, r.AdminEmail, r.ServerName}
	}
	request, err := json.Marshal(map[string]any{"rows": rows, "dryRun": n.DryRun})
	if err != nil {
		return nil, fmt.Errorf("cannot hash the batch: %w", err)
	}
	sum := sha256.Sum256(request)
	return sum[:], nil
}

// judgeRows says of each row whether it is to have a job, and which, or why not.
func judgeRows(ctx context.Context, tx *transaction, n tenancy.NewBatch) ([]tenancy.BatchRow, []newJob, error) {
	lookups := make([]lookup, len(n.Rows))
	for i, r := range n.Rows {
		if r.Fault == nil {
			lookups[i] = lookup{tenancy.Slug(r.Slug), r.ServerName}
		}
	}
	early, err := lookAhead(ctx, tx, lookups)
	if err != nil {
		return nil, nil, err
	}
	rows := make([]tenancy.BatchRow, len(n.Rows))
	var jobs []newJob
	for i, r := range n.Rows {
		rows[i] = tenancy.BatchRow{Line: r.Line, Slug: r.Slug, DisplayName: r.DisplayName, Status: tenancy.RowValid}
		if r.Fault != nil {
			reject(&rows[i], r.Fault)
			continue
		}
		j := newJob{id: tenancy.JobID(newID()), NewJob: tenancy.NewJob{
			Kind: tenancy.KindProvision, Slug: tenancy.Slug(r.Slug), DisplayName: r.DisplayName, AdminEmail: r.AdminEmail,
			ServerName: r.ServerName, DryRun: n.DryRun, RequestedBy: n.RequestedBy, RequestID: n.RequestID,
		}}
		if j.target, err = early[i].judge(j.NewJob); err != nil {
			refusal, ok := errors.AsType[*tenancy.Error](err)
			if !ok {
				return nil, nil, err
			}
			reject(&rows[i], refusal)
			continue
		}
		rows[i].JobID = j.id
		jobs = append(jobs, j)
	}
	return rows, jobs, nil
}

func reject(r *tenancy.BatchRow, why *tenancy.Error) {
	r.Status, r.JobID = tenancy.RowRejected, ""
	r.Error = &tenancy.PhaseError{Code: why.Code, Message: why.Message}
}

func insertBatchRows(ctx context.Context, tx *transaction, id tenancy.BatchID, rows []tenancy.BatchRow, refused map[tenancy.JobID]error) error {
	lines, slugs, names := make([]int, len(rows)), make([]string, len(rows)), make([]string, len(rows))
	jobs, codes, messages := make([]*string, len(rows)), make([]string, len(rows)), make([]string, len(rows))
	for i, r := range rows {
		if err := refused[r.JobID]; err != nil {
			reject(&r, tenancy.AsError(err))
		}
		lines[i], slugs[i], names[i], jobs[i] = r.Line, r.Slug, r.DisplayName, nullable(r.JobID)
		if r.Error != nil {
			codes[i], messages[i] = string(r.Error.Code), r.Error.Message
		}
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO identity.tenant_batch_row (batch_id, line, slug, display_name, job_id, error_code, error_message)
		SELECT $1, * FROM unnest($2::integer[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::text[])`,
		id, lines, slugs, names, jobs, codes, messages)
	return err
}
