package store

import (
	"bytes"
	"cmp"
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
	err := s.inTx(ctx, func(tx *transaction) error {
		first := id
		if n.IdempotencyKey != "" {
			if err := takeIdempotencyKey(tx, n, id, &first); err != nil {
				return err
			}
		}
		early, err := lookAhead(ctx, tx, []lookup{{n.Slug, n.ServerName}})
		if err != nil {
			return err
		}
		if first != id {
			queueJob(tx, first, &submitted)
			return nil
		}
		target, err := early[0].judge(n)
		if err != nil {
			return err
		}
		refused, err := insertJobs(ctx, tx, queueOf(n), []newJob{{n, id, target}})
		if err != nil {
			return err
		}
		if len(refused) > 0 {
			return refused[id]
		}
		queueJob(tx, id, &submitted)
		return nil
	})
	if err != nil {
		return tenancy.Job{}, err
	}
	if submitted.ID != id {
		return submitted.AsSubmitted(), nil
	}
	if !n.InProcess {
		s.wake()
	}
	return submitted, nil
}

// takeIdempotencyKey queues a claim of the key for the job id; first becomes the job
// that has it. Of two equal requests at once, the later waits here for the first.
func takeIdempotencyKey(tx *transaction, n tenancy.NewJob, id tenancy.JobID, first *tenancy.JobID) error {
	hash, err := requestHash(n)
	if err != nil {
		return err
	}
	tx.Queue(`
		INSERT INTO identity.idempotency_key AS k (principal, key, request_hash, job_id)
		VALUES ($1, $2, $3, $4) ON CONFLICT (principal, key) DO UPDATE SET job_id = k.job_id
		RETURNING request_hash, job_id`, principalOf(n.RequestedBy), n.IdempotencyKey, hash, id).QueryRow(func(row pgx.Row) error {
		var before []byte
		if err := row.Scan(&before, first); err != nil {
			return err
		}
		if !bytes.Equal(before, hash) {
			return keyReused()
		}
		return nil
	})
	return nil
}

// principalOf is whose an idempotency key is.
func principalOf(a tenancy.Actor) string { return cmp.Or(string(a.UserID), a.Name) }

func keyReused() error {
	return &tenancy.Error{
		Code:    tenancy.CodeInvalidRequest,
		Message: "This Idempotency-Key was used before with another request.",
		Fields:  []tenancy.FieldError{{Pointer: "/", Code: "idempotency_key_reused", Detail: "use a fresh key for a new request"}},
	}
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

// lookup names what is asked of the database before a job is recorded.
type lookup struct {
	slug   tenancy.Slug
	server string
}

// early is what the database can tell at once of a slug, and of the server asked
// for.
type early struct {
	running           *tenancy.JobID
	registered, known *tenancy.TenantID
	status            tenancy.TenantStatus
	name              string
	server            *tenancy.ServerID
	serverMissing     bool
	expired           bool
}

// lookAhead answers each lookup, in their order.
func lookAhead(ctx context.Context, tx *transaction, lookups []lookup) ([]early, error) {
	slugs, servers := make([]string, len(lookups)), make([]string, len(lookups))
	for i, l := range lookups {
		slugs[i], servers[i] = string(l.slug), l.server
	}
	var answers []early
	tx.Queue(`
		SELECT (SELECT job_id FROM identity.job WHERE slug = l.slug AND `+unsettled+`),
		       t.tenant_id, coalesce(t.status, ''), coalesce(t.display_name, ''), t.db_server_id,
		       (SELECT tenant_id FROM identity.job WHERE slug = l.slug AND NOT dry_run ORDER BY job_id DESC LIMIT 1),
		       l.server <> '' AND NOT EXISTS (SELECT FROM identity.db_server WHERE name = l.server AND is_active),
		       coalesce(t.status = 'offboarding' AND t.purge_after < now(), false)
		FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS l (slug, server, position)
		LEFT JOIN identity.tenant t ON t.slug = l.slug
		ORDER BY l.position`, slugs, servers).Query(collect(&answers, scanEarly))
	err := tx.Send(ctx)
	return answers, err
}

func scanEarly(row pgx.CollectableRow) (e early, err error) {
	err = row.Scan(&e.running, &e.registered, &e.status, &e.name, &e.server, &e.known, &e.serverMissing, &e.expired)
	return e, err
}

// target is the tenant a new job is about.
type target struct {
	id tenancy.TenantID
	// name and server are those of the master row, if there is one.
	name   string
	server *tenancy.ServerID
}

// judge refuses what the database can tell at once, and finds whom the job is
// about. The job's phases check everything again, and theirs is the word that
// counts.
func (e early) judge(n tenancy.NewJob) (target, error) {
	if e.running != nil {
		return target{}, jobInProgress(n.Slug, *e.running)
	}
	if n.Kind == tenancy.KindOffboard {
		t := target{id: tenancy.TenantID(newID()), name: e.name, server: e.server}
		for _, id := range []*tenancy.TenantID{e.known, e.registered} {
			if id != nil {
				t.id = *id
			}
		}
		if n.OnlyIfExpired && !e.expired {
			return t, tenancy.Errorf(tenancy.CodeConflict, "The tenant's retention is not over.")
		}
		return t, checkOffboarding(n, e.registered != nil, e.status)
	}
	t := target{id: tenancy.TenantID(newID()), name: n.DisplayName}
	switch {
	case n.InProcess:
		return t, nil
	case e.registered != nil:
		return t, tenancy.Errorf(tenancy.CodeAlreadyProvisioned, "A tenant with the slug %q exists already.", n.Slug)
	case e.serverMissing:
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

func jobInProgress(slug tenancy.Slug, running tenancy.JobID) error {
	return &tenancy.Error{
		Code:    tenancy.CodeJobInProgress,
		Message: fmt.Sprintf("A job for the slug %q is in progress.", slug),
		JobID:   running,
	}
}
