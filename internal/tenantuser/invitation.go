package tenantuser

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// errLink is the one answer to every link that does not work, so that it does not
// tell a used one from one that never was.
var errLink = tenancy.Errorf(tenancy.CodeNotFound, "This link does not work, or no longer. Ask for a new one.")

// redeemable is an invitation i of a user u that can be accepted now.
const redeemable = `i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > now() AND u.is_active`

// Invitation returns the open invitation of a link's token, without using it. It
// fails with CodeNotFound if the link does not work, and with CodeTenantReadOnly
// or CodeTenantOffboarding where Redeem would, so that nobody chooses a password
// in vain.
func (u Users) Invitation(ctx context.Context, slug tenancy.Slug, tokenHash []byte) (tenancy.OpenInvitation, error) {
	var inv tenancy.OpenInvitation
	err := u.change(ctx, slug, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `
			SELECT `+userColumns+`, i.expires_at, u.password_hash IS NOT NULL
			FROM identity.invitations i JOIN identity.users u USING (user_id)
			WHERE i.token_hash = $1 AND `+redeemable, tokenHash).
			Scan(append(userFields(&inv.User), &inv.ExpiresAt, &inv.Reset)...)
		if errors.Is(err, pgx.ErrNoRows) {
			return errLink
		}
		return err
	})
	return inv, err
}

// Redeem uses up a link's token: it gives its owner the password, ends the owner's
// other sessions and opens one under sessionHash, the SHA-256 of a new token. It
// fails with CodeNotFound if the link does not work, and with CodeTenantReadOnly or
// CodeTenantOffboarding.
func (u Users) Redeem(ctx context.Context, slug tenancy.Slug, tokenHash []byte, passwordHash string, sessionHash []byte) (tenancy.TenantUser, error) {
	var who tenancy.TenantUser
	if err := checkHash(sessionHash); err != nil {
		return who, err
	}
	err := u.change(ctx, slug, func(tx pgx.Tx) error {
		// The user first, as whoever makes an invitation does: no deadlock.
		var reset bool
		err := tx.QueryRow(ctx, `
			SELECT `+userColumns+`, u.password_hash IS NOT NULL
			FROM identity.invitations i JOIN identity.users u USING (user_id)
			WHERE i.token_hash = $1 AND `+redeemable+` FOR NO KEY UPDATE OF u`, tokenHash).
			Scan(append(userFields(&who), &reset)...)
		if errors.Is(err, pgx.ErrNoRows) {
			return errLink
		}
		if err != nil {
			return err
		}
		// Of all that use the token at the same time, this lets one through.
		tag, err := tx.Exec(ctx, `
			UPDATE identity.invitations i SET accepted_at = now() FROM identity.users u
			WHERE i.token_hash = $1 AND u.user_id = i.user_id AND `+redeemable, tokenHash)
		if err != nil {
			return err
		}
		if tag.RowsAffected() != 1 {
			return errLink
		}
		if _, err := tx.Exec(ctx, `
			UPDATE identity.users SET password_hash = $2, must_reset_password = false, updated_at = now()
			WHERE user_id = $1`, who.ID, passwordHash); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM identity.sessions WHERE user_id = $1`, who.ID); err != nil {
			return err
		}
		if err := insertSession(ctx, tx, who.ID, sessionHash); err != nil {
			return err
		}
		event := "INVITATION_ACCEPTED"
		if reset {
			event = "PASSWORD_RESET"
		}
		return appendEvent(ctx, tx, event, who.ID)
	})
	return who, err
}
