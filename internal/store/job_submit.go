package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// SubmitJob records a provision job, its idempotency key and its doorbell in one
// transaction and returns the job. A repeated request with the same key gets the
// first one's answer. It fails with
//
//   - CodeJobInProgress, with the running job's id, if the slug has an unsettled job;
//   - CodeInvalidRequest if the idempotency key came with another request before;
//   - unless the job runs in process: CodeAlreadyProvisioned if the slug has a
//     master row, CodeDBServerNotFound if the named server is missing or inactive.
func (s *Store) SubmitJob(ctx context.Context, n tenancy.NewJob) (tenancy.Job, error) {
	id := tenancy.JobID(newID())
	var submitted tenancy.Job
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		if n.IdempotencyKey != "" {
			first, taken, err := takeIdempotencyKey(ctx, tx, n, id)
			if err != nil {
				return err
			}
			if taken {
				submitted, err = job(ctx, tx, first)
				submitted = submitted.AsSubmitted()
				return err
			}
		}
		if err := checkEarly(ctx, tx, n); err != nil {
			return err
		}
		if err := insertJob(ctx, tx, n, id); err != nil {
			return err
		}
		var err error
		submitted, err = job(ctx, tx, id)
		return err
	})
	if err != nil {
		return tenancy.Job{}, err
	}
	if !n.InProcess {
		s.wake()
	}
	return submitted, nil
}

// takeIdempotencyKey claims the key for the job id, or returns the job that has
// it. Of two equal requests at once, the later waits here for the first.
func takeIdempotencyKey(ctx context.Context, tx pgx.Tx, n tenancy.NewJob, id tenancy.JobID) (first tenancy.JobID, taken bool, err error) {
	principal := string(n.RequestedBy.UserID)
	if principal == "" {
		principal = n.RequestedBy.Name
	}
	hash, err := requestHash(n)
	if err != nil {
		return "", false, err
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO identity.idempotency_key (principal, key, request_hash, job_id)
		VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`, principal, n.IdempotencyKey, hash, id)
	if err != nil || tag.RowsAffected() == 1 {
		return "", false, err
	}
	var before []byte
	err = tx.QueryRow(ctx, `SELECT request_hash, job_id FROM identity.idempotency_key WHERE principal = $1 AND key = $2`,
		principal, n.IdempotencyKey).Scan(&before, &first)
	if err != nil {
		return "", false, err
	}
	if !bytes.Equal(before, hash) {
		return "", false, &tenancy.Error{
			Code:    tenancy.CodeInvalidRequest,
			Message: "This Idempotency-Key was used before with another request.",
			Fields:  []tenancy.FieldError{{Pointer: "/", Code: "idempotency_key_reused", Detail: "use a fresh key for a new request"}},
		}
	}
	return first, true, nil
}

func requestHash(n tenancy.NewJob) ([]byte, error) {
	request, err := json.Marshal(map[string]any{
		"slug": n.Slug, "displayName": n.DisplayName, "adminEmail": n.AdminEmail,
		"dbServer": n.ServerName, "dryRun": n.DryRun,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot hash the request: %w", err)
	}
	sum := sha256.Sum256(request)
	return sum[:], nil
}

// checkEarly refuses what the database can tell at once. The job's phases check
// everything again, and theirs is the word that counts.
func checkEarly(ctx context.Context, tx pgx.Tx, n tenancy.NewJob) error {
	var running *tenancy.JobID
	var registered, serverMissing bool
	err := tx.QueryRow(ctx, `
		SELECT (SELECT job_id FROM identity.job WHERE slug = $1 AND `+unsettled+`),
		       EXISTS (SELECT FROM identity.tenant WHERE slug = $1),
		       $2 <> '' AND NOT EXISTS (SELECT FROM identity.db_server WHERE name = $2 AND is_active)`,
		n.Slug, n.ServerName).Scan(&running, &registered, &serverMissing)
	switch {
	case err != nil:
		return err
	case running != nil:
		return jobInProgress(n.Slug, *running)
	case n.InProcess:
		return nil
	case registered:
		return tenancy.Errorf(tenancy.CodeAlreadyProvisioned, "A tenant with the slug %q exists already.", n.Slug)
	case serverMissing:
		return &tenancy.Error{
			Code:    tenancy.CodeDBServerNotFound,
			Message: fmt.Sprintf("There is no active database server %q.", n.ServerName),
			Fields:  []tenancy.FieldError{{Pointer: "/dbServer", Code: tenancy.CodeDBServerNotFound, Detail: "missing or inactive"}},
		}
	}
	return nil
}

func insertJob(ctx context.Context, tx pgx.Tx, n tenancy.NewJob, id tenancy.JobID) error {
	queue := tenancy.QueueProvision
	if n.InProcess {
		queue = ""
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO identity.job (job_id, kind, status, slug, tenant_id, display_name, admin_email, dry_run,
		                          requested_server, requested_by, actor, request_id, queue)
		VALUES ($1, $2, 'queued', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (slug) WHERE `+unsettled+` DO NOTHING`,
		id, tenancy.KindProvision, n.Slug, newID(), n.DisplayName, n.AdminEmail, n.DryRun,
		n.ServerName, nullable(n.RequestedBy.UserID), n.RequestedBy.Name, n.RequestID, queue)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		// Another request for the slug committed between the check and here.
		var running tenancy.JobID
		err := tx.QueryRow(ctx, `SELECT job_id FROM identity.job WHERE slug = $1 ORDER BY job_id DESC LIMIT 1`, n.Slug).Scan(&running)
		if err != nil {
			return err
		}
		return jobInProgress(n.Slug, running)
	}
	names := tenancy.ProvisionPhases(n.DryRun)
	if _, err := tx.Exec(ctx, `
		INSERT INTO identity.job_phase (job_id, position, name)
		SELECT $1, position, name FROM unnest($2::text[]) WITH ORDINALITY AS phase (name, position)`,
		id, names); err != nil {
		return err
	}
	if n.InProcess {
		return nil
	}
	return ring(ctx, tx, id, queue)
}

// ring leaves a doorbell for the job in the outbox. The task's id carries the
// job's epoch, so it was never used before.
func ring(ctx context.Context, tx pgx.Tx, id tenancy.JobID, queue string) error {
	_, err := tx.Exec(ctx, `
		WITH rung AS (
			UPDATE identity.job SET queue = $2, task_id = job_id || ':' || lease_epoch
			WHERE job_id = $1 RETURNING job_id, queue, task_id)
		INSERT INTO identity.outbox (task_type, queue, task_id, job_id)
		SELECT $3, queue, task_id, job_id FROM rung`, id, queue, tenancy.TaskProvision)
	return err
}

func jobInProgress(slug tenancy.Slug, running tenancy.JobID) error {
	return &tenancy.Error{
		Code:    tenancy.CodeJobInProgress,
		Message: fmt.Sprintf("A job for the slug %q is in progress.", slug),
		JobID:   running,
	}
}
