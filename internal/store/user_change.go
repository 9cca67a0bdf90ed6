package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

const userColumns = `platform_user_id, email, display_name, role, is_active, totp_confirmed_at IS NOT NULL, created_at`

func scanUser(row pgx.CollectableRow) (u tenancy.User, err error) {
	err = row.Scan(&u.ID, &u.Email, &u.DisplayName, &u.Role, &u.IsActive, &u.SecondFactor, &u.CreatedAt)
	return u, err
}

// ListUsers returns all platform users by e-mail address; there are few.
func (s *Store) ListUsers(ctx context.Context) ([]tenancy.User, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+userColumns+` FROM identity.platform_user ORDER BY lower(email)`)
	if err != nil {
		return nil, classify(err)
	}
	users, err := pgx.CollectRows(rows, scanUser)
	return users, classify(err)
}

// UpdateUser changes a user, or fails with CodeNotFound. Another role, disabling
// and losing the second factor end the user's sessions at once.
func (s *Store) UpdateUser(ctx context.Context, email string, c tenancy.UserChange, actor tenancy.Actor) (tenancy.User, error) {
	var u tenancy.User
	err := s.inTx(ctx, func(tx *transaction) error {
		before, err := account(ctx, tx, `WHERE lower(email) = lower($1) FOR NO KEY UPDATE`, email)
		if err != nil {
			return err
		}
		if c.ForgetSecondFactor {
			if err := forgetSecondFactor(ctx, tx, before.ID); err != nil {
				return err
			}
		}
		rows, err := tx.Query(ctx, `
			UPDATE identity.platform_user SET display_name = coalesce($2, display_name),
				role = coalesce($3, role), is_active = coalesce($4, is_active)
			WHERE platform_user_id = $1 RETURNING `+userColumns, before.ID, c.DisplayName, c.Role, c.IsActive)
		if err != nil {
			return err
		}
		if u, err = pgx.CollectExactlyOneRow(rows, scanUser); err != nil {
			return err
		}
		var ended int64
		if u.Role != before.Role || !u.IsActive || c.ForgetSecondFactor {
			if ended, err = endSessions(ctx, tx, u.ID, ""); err != nil {
				return err
			}
		}
		return appendAudit(tx, tenancy.AuditEvent{
			Type: tenancy.EventUserChanged, Actor: actor, Details: map[string]any{
				"platformUserId": u.ID, "role": u.Role, "roleBefore": before.Role, "isActive": u.IsActive,
				"secondFactorRemoved": c.ForgetSecondFactor, "sessionsEnded": ended,
			},
		})
	})
	return u, err
}

// UserFromProvider returns the user an OpenID Connect provider speaks of, with
// the role it says. A user with the same verified address is linked the first time,
// and one nobody knows is made. Another role ends the user's sessions. It fails
// with CodeForbidden for a disabled user, and for an address that belongs to
// another identity of a provider.
func (s *Store) UserFromProvider(ctx context.Context, id tenancy.ExternalIdentity) (tenancy.User, error) {
	var u tenancy.User
	err := s.inTx(ctx, func(tx *transaction) error {
		known, err := account(ctx, tx, `WHERE oidc_issuer = $1 AND oidc_subject = $2 FOR NO KEY UPDATE`, id.Issuer, id.Subject)
		if tenancy.CodeOf(err) == tenancy.CodeNotFound {
			known, err = linkUser(ctx, tx, id)
		}
		if err != nil {
			return err
		}
		u = known.User
		if !u.IsActive {
			return tenancy.Errorf(tenancy.CodeForbidden, "This account is disabled.")
		}
		if u.Role == id.Role {
			return nil
		}
		before := u.Role
		u.Role = id.Role
		if _, err := tx.Exec(ctx, `UPDATE identity.platform_user SET role = $2 WHERE platform_user_id = $1`, u.ID, u.Role); err != nil {
			return err
		}
		ended, err := endSessions(ctx, tx, u.ID, "")
		if err != nil {
			return err
		}
		return appendAudit(tx, tenancy.AuditEvent{
			Type: tenancy.EventUserChanged, Actor: tenancy.Actor{UserID: u.ID, Name: u.Email}, Details: map[string]any{
				"platformUserId": u.ID, "role": u.Role, "roleBefore": before, "issuer": id.Issuer, "sessionsEnded": ended,
			},
		})
	})
	return u, err
}

func linkUser(ctx context.Context, tx *transaction, id tenancy.ExternalIdentity) (tenancy.Account, error) {
	event := tenancy.EventUserCreated
	rows, err := tx.Query(ctx, `
		INSERT INTO identity.platform_user (platform_user_id, email, display_name, role, oidc_issuer, oidc_subject)
		VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (lower(email)) DO NOTHING RETURNING `+userColumns,
		newID(), id.Email, id.DisplayName, id.Role, id.Issuer, id.Subject)
	if err != nil {
		return tenancy.Account{}, err
	}
	u, err := pgx.CollectExactlyOneRow(rows, scanUser)
	if errors.Is(err, pgx.ErrNoRows) {
		event = tenancy.EventUserChanged
		rows, err = tx.Query(ctx, `
			UPDATE identity.platform_user SET oidc_issuer = $2, oidc_subject = $3
			WHERE lower(email) = lower($1) AND oidc_subject = '' AND $4 RETURNING `+userColumns,
			id.Email, id.Issuer, id.Subject, id.EmailVerified)
		if err != nil {
			return tenancy.Account{}, err
		}
		u, err = pgx.CollectExactlyOneRow(rows, scanUser)
		if errors.Is(err, pgx.ErrNoRows) {
			return tenancy.Account{}, tenancy.Errorf(tenancy.CodeForbidden,
				"The e-mail address belongs to an account that signs in in another way.")
		}
	}
	if err != nil {
		return tenancy.Account{}, err
	}
	return tenancy.Account{User: u}, appendAudit(tx, tenancy.AuditEvent{
		Type: event, Actor: tenancy.Actor{UserID: u.ID, Name: u.Email},
		Details: map[string]any{"platformUserId": u.ID, "role": u.Role, "issuer": id.Issuer},
	})
}
