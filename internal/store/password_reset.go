package store

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// resetsAnHour is how many password resets one address of a tenant gets; what is
// asked for beyond that is dropped without a word.
const resetsAnHour = 3

// maxEmail is the longest address that mail can be sent to, in bytes.
const maxEmail = 254

// RequestPasswordReset records that somebody at the tenant's pages forgot the
// password of an address. It does not look whether anybody has the address, so
// neither answer nor time tells. An address that has a request queued already, or
// had too many of late, gets no other, and the answer is the same.
//
// It fails with CodeNotFound, CodeTenantSuspended, CodeTenantReadOnly or
// CodeTenantOffboarding unless the tenant is active, with CodeConflict if it was
// not made by a job, and with CodeInvalidRequest if no address can look like that.
func (s *Store) RequestPasswordReset(ctx context.Context, slug tenancy.Slug, email string) error {
	email = strings.TrimSpace(email)
	if email == "" || len(email) > maxEmail || !utf8.ValidString(email) || strings.ContainsRune(email, 0) {
		return tenancy.Errorf(tenancy.CodeInvalidRequest, "That is no e-mail address.")
	}
	queued := false
	err := s.inTx(ctx, func(tx *transaction) error {
		var id tenancy.TenantID
		var status tenancy.TenantStatus
		var jobID *tenancy.JobID
		err := tx.QueryRow(ctx, `SELECT tenant_id, status, job_id FROM identity.tenant WHERE slug = $1`, slug).Scan(&id, &status, &jobID)
		if errors.Is(err, pgx.ErrNoRows) {
			return noSuchTenant(slug)
		}
		if err != nil {
			return err
		}
		if err := status.CheckWrite(); err != nil {
			return err
		}
		if jobID == nil {
			return tenancy.Errorf(tenancy.CodeConflict, "The tenant was not provisioned by a job, so no mail is sent for it.")
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO identity.invitation (invitation_id, tenant_id, job_id, kind, email, actor)
			SELECT $1, $2, $3, 'password_reset', $4, $5
			WHERE (SELECT count(*) FROM identity.invitation
			       WHERE kind = 'password_reset' AND tenant_id = $2 AND lower(email) = lower($4)
			         AND created_at > now() - interval '1 hour') < $6
			ON CONFLICT (tenant_id, lower(email)) WHERE status = 'queued' AND kind = 'password_reset' DO NOTHING`,
			newID(), id, *jobID, email, tenancy.VisitorActor.Name, resetsAnHour)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		queued = true
		ringInvitation(tx, *jobID, true)
		return appendAudit(tx, tenancy.AuditEvent{
			Type: tenancy.EventPasswordResetRequested, TenantID: id, Slug: string(slug), Actor: tenancy.VisitorActor, JobID: *jobID,
		})
	})
	if err == nil && queued {
		s.wake()
	}
	return err
}

// DropPasswordReset settles a request for an address that no active user of the
// tenant has. Nothing else is recorded of it.
func (s *Store) DropPasswordReset(ctx context.Context, inv tenancy.Invitation) error {
	_, err := s.pool.Exec(ctx, `
		UPDATE identity.invitation SET status = 'dropped'
		WHERE invitation_id = $1 AND kind = 'password_reset' AND status = 'queued'`, inv.ID)
	return classify(err)
}

// ForgetPasswordResets removes requests older than age.
func (s *Store) ForgetPasswordResets(ctx context.Context, age time.Duration) error {
	_, err := s.pool.Exec(ctx, `
		DELETE FROM identity.invitation WHERE kind = 'password_reset' AND created_at < now() - $1::interval`, age)
	return classify(err)
}
