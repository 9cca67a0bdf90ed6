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

// SubmitJob records a job, its idempotency key and its doorbell in one
// transaction and returns the job. A repeated request with the same key gets the
// first one's answer. It fails with
//
//   - CodeJobInProgress, with the running job's id, if the slug has an unsettled job;
//   - CodeInvalidRequest if the idempotency key came with another request before;
//   - to provision, unless the job runs in process: CodeAlreadyProvisioned if the
//     slug has a master row, CodeDBServerNotFound if the named server is missing or
//     inactive;
//   - to offboard, CodeNotFound if the slug has no master row, CodeConflict if the
//     tenant's status does not allow it. A purge needs neither.
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
		target, err := checkEarly(ctx, tx, n)
		if err != nil {
			return err
		}
		if err := insertJob(ctx, tx, n, id, target); err != nil {
			return err
		}
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
		"dbServer": n.ServerName, "dryRun": n.DryRun, "kind": n.Kind, "offboarding": n.Offboarding,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot hash the request: %w", err)
	}
	sum := sha256.Sum256(request)
	return sum[:], nil
}

// target is the tenant a new job is about.
type target struct {
	id tenancy.TenantID
	// name and server are those of the master row, if there is one.
	name   string
	server *tenancy.ServerID
}

// checkEarly refuses what the database can tell at once, and finds whom the job
// is about. The job's phases check everything again, and theirs is the word that
// counts.
func checkEarly(ctx context.Context, tx pgx.Tx, n tenancy.NewJob) (target, error) {
	var running *tenancy.JobID
	var t target
	var registered, known *tenancy.TenantID
	var status tenancy.TenantStatus
	var serverMissing, expired bool
	err := tx.QueryRow(ctx, `
		SELECT (SELECT job_id FROM identity.job WHERE slug = $1 AND `+unsettled+`),
		       t.tenant_id, coalesce(t.status, ''), coalesce(t.display_name, ''), t.db_server_id,
		       (SELECT tenant_id FROM identity.job WHERE slug = $1 AND NOT dry_run ORDER BY job_id DESC LIMIT 1),
		       $2 <> '' AND NOT EXISTS (SELECT FROM identity.db_server WHERE name = $2 AND is_active),
		       coalesce(t.status = 'offboarding' AND t.purge_after < now(), false)
		FROM (VALUES (1)) AS one LEFT JOIN identity.tenant t ON t.slug = $1`,
		n.Slug, n.ServerName).Scan(&running, &registered, &status, &t.name, &t.server, &known, &serverMissing, &expired)
	if err != nil {
		return t, err
	}
	if running != nil {
		return t, jobInProgress(n.Slug, *running)
	}
	if n.Kind == tenancy.KindOffboard {
		t.id = tenancy.TenantID(newID())
		for _, id := range []*tenancy.TenantID{known, registered} {
			if id != nil {
				t.id = *id
			}
		}
		if n.OnlyIfExpired && !expired {
			return t, tenancy.Errorf(tenancy.CodeConflict, "The tenant's retention is not over.")
		}
		return t, checkOffboarding(n, registered != nil, status)
	}
	t = target{id: tenancy.TenantID(newID()), name: n.DisplayName}
	switch {
	case n.InProcess:
		return t, nil
	case registered != nil:
		return t, tenancy.Errorf(tenancy.CodeAlreadyProvisioned, "A tenant with the slug %q exists already.", n.Slug)
	case serverMissing:
		return t, &tenancy.Error{
			Code:    tenancy.CodeDBServerNotFound,
			Message: fmt.Sprintf("There is no active database server %q.", n.ServerName),
			Fields:  []tenancy.FieldError{{Pointer: "/dbServer", Code: tenancy.CodeDBServerNotFound, Detail: "missing or inactive"}},
		}
	}
	return t, nil
}

func checkOffboarding(n tenancy.NewJob, registered bool, status tenancy.TenantStatus) error {
	switch {
	case n.Offboarding.Purge:
		return nil
	case !registered:
		return noSuchTenant(n.Slug)
	case n.Offboarding.Cancel && status != tenancy.TenantOffboarding:
		return tenancy.Errorf(tenancy.CodeConflict, "The tenant is %s, so there is no offboarding to cancel.", status)
	case !n.Offboarding.Cancel && !status.Settable():
		return tenancy.Errorf(tenancy.CodeConflict, "The tenant is %s already.", status)
	}
	return nil
}

func insertJob(ctx context.Context, tx pgx.Tx, n tenancy.NewJob, id tenancy.JobID, t target) error {
	queue := tenancy.QueueProvision
	if n.InProcess {
		queue = ""
	}
	kind, names := tenancy.KindProvision, tenancy.ProvisionPhases(n.DryRun)
	if n.Kind == tenancy.KindOffboard {
		kind, names = n.Kind, tenancy.OffboardPhases(n.Offboarding)
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO identity.job (job_id, kind, status, slug, tenant_id, display_name, admin_email, dry_run,
		                          requested_server, requested_by, actor, request_id, queue, options, db_server_id)
		VALUES ($1, $2, 'queued', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
		ON CONFLICT (slug) WHERE `+unsettled+` DO NOTHING`,
		id, kind, n.Slug, t.id, t.name, n.AdminEmail, n.DryRun,
		n.ServerName, nullable(n.RequestedBy.UserID), n.RequestedBy.Name, n.RequestID, queue, n.Offboarding, t.server)
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
			WHERE job_id = $1 RETURNING job_id, kind, queue, task_id)
		INSERT INTO identity.outbox (task_type, queue, task_id, job_id)
		SELECT CASE kind WHEN 'offboard' THEN $4 ELSE $3 END, queue, task_id, job_id FROM rung`,
		id, queue, tenancy.TaskProvision, tenancy.TaskOffboard)
	return err
}

func jobInProgress(slug tenancy.Slug, running tenancy.JobID) error {
	return &tenancy.Error{
		Code:    tenancy.CodeJobInProgress,
		Message: fmt.Sprintf("A job for the slug %q is in progress.", slug),
		JobID:   running,
	}
}
