package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// InvitationState is what became of the last invitation asked for, or
// CodeNotFound.
func (s *Store) InvitationState(ctx context.Context, slug tenancy.Slug) (tenancy.InvitationState, error) {
	var inv tenancy.InvitationState
	err := s.pool.QueryRow(ctx, `
		SELECT j.admin_email, i.status, i.created_at, i.sent_at, i.last_error
		FROM identity.invitation i JOIN identity.job j USING (job_id) JOIN identity.tenant t ON t.tenant_id = i.tenant_id
		WHERE t.slug = $1 AND i.kind = 'invitation' ORDER BY i.invitation_id DESC LIMIT 1`, slug).
		Scan(&inv.Email, &inv.Status, &inv.CreatedAt, &inv.SentAt, &inv.LastError)
	if errors.Is(err, pgx.ErrNoRows) {
		return inv, tenancy.Errorf(tenancy.CodeNotFound, "No invitation was asked for.")
	}
	return inv, classify(err)
}
