package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func queueInvitation(tx *transaction, tenantID tenancy.TenantID, jobID tenancy.JobID, actor tenancy.Actor) {
	tx.Queue(`
		INSERT INTO identity.invitation (invitation_id, tenant_id, job_id, requested_by, actor)
		VALUES ($1, $2, $3, $4, $5)`, newID(), tenantID, jobID, nullable(actor.UserID), actor.Name)
}

// ringInvitation leaves a doorbell for the job's invitation in the outbox.
func ringInvitation(tx *transaction, jobID tenancy.JobID, asked bool) {
	tx.Queue(`
		INSERT INTO identity.outbox (task_type, queue, task_id, job_id)
		SELECT $1, `+mailQueue("$4")+`, $2, job_id FROM identity.job WHERE job_id = $3`,
		tenancy.TaskInvitation, newID(), jobID, asked)
}

// mailQueue is the queue of a doorbell for a job's invitation. That of a job of the bulk
// goes there too, unless a person asked for it by name: a batch's mails must not keep
// what somebody waits for from a worker.
func mailQueue(asked string) string {
	return `CASE WHEN ` + isBulk + ` AND NOT ` + asked + ` THEN queue ELSE '` + tenancy.QueueMail + `' END`
}

// RequestInvitation queues a fresh invitation for the tenant's first admin. One
// that is queued already is due at once instead, and one that is being sent at
// this moment is left to its sender: two senders at once would make each other's
// links dead. It fails with CodeNotFound, or with
// CodeConflict if the tenant is not active or read-only.
func (s *Store) RequestInvitation(ctx context.Context, slug tenancy.Slug, actor tenancy.Actor) (tenancy.Tenant, error) {
	var t tenancy.Tenant
	err := s.inTx(ctx, func(tx *transaction) error {
		if _, err := tx.Exec(ctx, `SELECT FROM identity.tenant WHERE slug = $1 FOR NO KEY UPDATE`, slug); err != nil {
			return err
		}
		var err error
		if t, err = tenant(ctx, tx, slug); err != nil {
			return err
		}
		if t.Status != tenancy.TenantActive && t.Status != tenancy.TenantReadOnly {
			return tenancy.Errorf(tenancy.CodeConflict, "The tenant is %s; invitations are sent for active tenants.", t.Status)
		}
		if t.JobID == "" {
			return tenancy.Errorf(tenancy.CodeConflict, "The tenant was not provisioned by a job, so its first admin is not known.")
		}
		tag, err := tx.Exec(ctx, `
			UPDATE identity.invitation SET run_after = CASE WHEN claimed THEN run_after ELSE now() END
			WHERE tenant_id = $1 AND kind = 'invitation' AND status = 'queued'`, t.ID)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			queueInvitation(tx, t.ID, t.JobID, actor)
		}
		ringInvitation(tx, t.JobID, true)
		return appendAudit(tx, tenancy.AuditEvent{
			Type: tenancy.EventInvitationRequested, TenantID: t.ID, Slug: string(slug), Actor: actor, JobID: t.JobID,
		})
	})
	if err == nil {
		s.wake()
	}
	return t, err
}

// mailable says of which tenants' people an invitation i may be sent to: in a
// read-only tenant no password is forgotten, because none can be chosen.
const mailable = `(t.status = 'active' OR t.status = 'read_only' AND i.kind = 'invitation')`

// ClaimInvitation makes the caller the only sender of one of the job's queued
// invitations for span, of whatever kind; found is false if there is none to send
// now, or if the tenant is not one to invite people to.
func (s *Store) ClaimInvitation(ctx context.Context, jobID tenancy.JobID, span time.Duration) (inv tenancy.Invitation, found bool, err error) {
	if !validID(jobID) {
		return inv, false, noSuchJob(jobID)
	}
	err = s.pool.QueryRow(ctx, `
		WITH claimed AS (
			UPDATE identity.invitation SET run_after = now() + $2, claimed = true
			WHERE invitation_id = (
				SELECT i.invitation_id FROM identity.invitation i JOIN identity.tenant t USING (tenant_id)
				WHERE i.job_id = $1 AND i.status = 'queued' AND i.run_after <= now() AND `+mailable+`
				ORDER BY i.invitation_id LIMIT 1 FOR UPDATE OF i SKIP LOCKED)
			RETURNING *)
		SELECT c.invitation_id, c.kind, c.job_id, t.tenant_id, t.slug, t.display_name, coalesce(nullif(c.email, ''), j.admin_email),
		       s.db_server_id, s.name, s.host, s.port, s.region, s.admin_secret_ref, s.capacity_hint, s.is_active,
		       coalesce(c.requested_by::text, ''), c.actor, c.failures
		FROM claimed c JOIN identity.job j USING (job_id)
		JOIN identity.tenant t ON t.tenant_id = c.tenant_id JOIN identity.db_server s ON s.db_server_id = t.db_server_id`,
		jobID, span).
		Scan(&inv.ID, &inv.Kind, &inv.JobID, &inv.TenantID, &inv.Slug, &inv.DisplayName, &inv.Email,
			&inv.Server.ID, &inv.Server.Name, &inv.Server.Host, &inv.Server.Port, &inv.Server.Region,
			&inv.Server.AdminSecretRef, &inv.Server.CapacityHint, &inv.Server.IsActive,
			&inv.Actor.UserID, &inv.Actor.Name, &inv.Failures)
	if errors.Is(err, pgx.ErrNoRows) {
		return inv, false, nil
	}
	return inv, err == nil, classify(err)
}

// InvitationSent records that the mail server took the mail.
func (s *Store) InvitationSent(ctx context.Context, inv tenancy.Invitation) error {
	return s.settleInvitation(ctx, inv, tenancy.EventInvitationSent, nil, `
		UPDATE identity.invitation SET status = 'sent', sent_at = now(), last_error = ''
		WHERE invitation_id = $1 AND status = 'queued'`, inv.ID)
}

// InvitationFailed records that the mail will not be sent.
func (s *Store) InvitationFailed(ctx context.Context, inv tenancy.Invitation, cause string) error {
	return s.settleInvitation(ctx, inv, tenancy.EventInvitationFailed, map[string]any{"error": cause}, `
		UPDATE identity.invitation SET status = 'failed', failures = failures + 1, last_error = $2
		WHERE invitation_id = $1 AND status = 'queued'`, inv.ID, cause)
}

func (s *Store) settleInvitation(ctx context.Context, inv tenancy.Invitation, event tenancy.EventType, details map[string]any, sql string, args ...any) error {
	return s.inTx(ctx, func(tx *transaction) error {
		tag, err := tx.Exec(ctx, sql, args...)
		// What became of a password reset would tell who has an account.
		if err != nil || tag.RowsAffected() == 0 || inv.Kind == tenancy.KindPasswordReset {
			return err
		}
		return appendAudit(tx, tenancy.AuditEvent{
			Type: event, TenantID: inv.TenantID, Slug: string(inv.Slug), Actor: inv.Actor, JobID: inv.JobID, Details: details,
		})
	})
}

// RetryInvitation records a failure to send; the invitation is due again after
// the delay.
func (s *Store) RetryInvitation(ctx context.Context, inv tenancy.Invitation, cause string, after time.Duration) error {
	_, err := s.pool.Exec(ctx, `
		UPDATE identity.invitation SET failures = failures + 1, last_error = $2, run_after = now() + $3, claimed = false
		WHERE invitation_id = $1 AND status = 'queued'`, inv.ID, cause, after)
	return classify(err)
}

// RingStalledInvitations rings for invitations that have been due for grace: Redis may
// have lost their task, and a batch's have none before. A needless ring finds nothing to
// send. An invitation's rings have one task id, so however long its queue is paused or
// its senders are slow, Redis has one of them.
func (s *Store) RingStalledInvitations(ctx context.Context, grace time.Duration, limit int) (rung int, err error) {
	tag, err := s.pool.Exec(ctx, `
		WITH due AS (
			UPDATE identity.invitation SET run_after = now()
			WHERE invitation_id IN (
				SELECT i.invitation_id FROM identity.invitation i JOIN identity.tenant t USING (tenant_id)
				WHERE i.status = 'queued' AND i.run_after < now() - $1::interval AND `+mailable+`
				ORDER BY i.run_after LIMIT $2 FOR UPDATE OF i SKIP LOCKED)
			RETURNING invitation_id, job_id)
		INSERT INTO identity.outbox (task_type, queue, task_id, job_id)
		SELECT $3, `+mailQueue("false")+`, due.invitation_id, job_id FROM due JOIN identity.job USING (job_id)
		ON CONFLICT (task_id) DO NOTHING`, grace, limit, tenancy.TaskInvitation)
	if err != nil {
		return 0, classify(err)
	}
	if tag.RowsAffected() > 0 {
		s.wake()
	}
	return int(tag.RowsAffected()), nil
}
