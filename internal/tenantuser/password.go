package tenantuser

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// ChangePassword gives whom checked belongs to, whose old password the caller has
// checked, a new one. It ends all sessions of theirs but sessionHash, and every
// link that is still open. It fails with CodeUnauthenticated if the password was
// changed since or the person shut out, and with CodeTenantReadOnly or
// CodeTenantOffboarding.
func (u Users) ChangePassword(ctx context.Context, slug tenancy.Slug, checked tenancy.Credentials, passwordHash string, sessionHash []byte) error {
	if checked.UserID == "" {
		return errSignedOut
	}
	return u.change(ctx, slug, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			UPDATE identity.users u SET password_hash = $3, updated_at = now()
			WHERE u.user_id = $1 AND u.password_hash = $2 AND `+mayEnter, checked.UserID, checked.PasswordHash, passwordHash)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return errSignedOut
		}
		if _, err := tx.Exec(ctx, `
			UPDATE identity.invitations SET revoked_at = now()
			WHERE user_id = $1 AND accepted_at IS NULL AND revoked_at IS NULL`, checked.UserID); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
			DELETE FROM identity.sessions WHERE user_id = $1 AND token_hash <> $2`, checked.UserID, sessionHash); err != nil {
			return err
		}
		return appendEvent(ctx, tx, "PASSWORD_CHANGED", checked.UserID)
	})
}
