package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// CreateUser adds a platform user. passwordHash is in argon2id's encoded form.
// It fails with CodeConflict if the e-mail address is taken. The audit row is
// written if event is not empty.
func (s *Store) CreateUser(ctx context.Context, u tenancy.User, passwordHash string, event tenancy.EventType, actor tenancy.Actor) (tenancy.User, error) {
	err := s.inTx(ctx, func(tx *transaction) error {
		u.ID, u.IsActive = tenancy.UserID(newID()), true
		err := tx.QueryRow(ctx, `
			INSERT INTO identity.platform_user (platform_user_id, email, display_name, role, password_hash)
			VALUES ($1, $2, $3, $4, $5) ON CONFLICT (lower(email)) DO NOTHING RETURNING created_at`,
			u.ID, u.Email, u.DisplayName, u.Role, passwordHash).Scan(&u.CreatedAt)
		if errors.Is(err, pgx.ErrNoRows) {
			return tenancy.Errorf(tenancy.CodeConflict, "There is a platform user with this e-mail address already.")
		}
		if err != nil || event == "" {
			return err
		}
		return appendAudit(tx, tenancy.AuditEvent{
			Type: event, Actor: actor, Details: map[string]any{"platformUserId": u.ID, "role": u.Role},
		})
	})
	return u, err
}

// UserByEmail returns a platform user, or CodeNotFound.
func (s *Store) UserByEmail(ctx context.Context, email string) (tenancy.User, error) {
	a, err := s.AccountByEmail(ctx, email)
	return a.User, err
}

// CreateToken records an API token by its hash.
func (s *Store) CreateToken(ctx context.Context, owner tenancy.UserID, name string, hash []byte, expiresAt *time.Time, actor tenancy.Actor) (tenancy.APIToken, error) {
	id := tenancy.TokenID(newID())
	var token tenancy.APIToken
	err := s.inTx(ctx, func(tx *transaction) error {
		if _, err := tx.Exec(ctx, `
			INSERT INTO identity.api_token (token_id, platform_user_id, name, token_hash, expires_at)
			VALUES ($1, $2, $3, $4, $5)`, id, owner, name, hash, expiresAt); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, selectTokens+` WHERE t.token_id = $1`, id)
		if err != nil {
			return err
		}
		if token, err = pgx.CollectExactlyOneRow(rows, scanToken); err != nil {
			return err
		}
		return appendAudit(tx, tenancy.AuditEvent{
			Type: tenancy.EventAPITokenCreated, Actor: actor,
			Details: map[string]any{"tokenId": id, "name": name, "platformUserId": owner},
		})
	})
	return token, err
}

const selectTokens = `
	SELECT t.token_id, t.name, t.created_at, t.expires_at, t.last_used_at,
	       u.platform_user_id, u.email, u.display_name, u.role, u.is_active, u.created_at
	FROM identity.api_token t JOIN identity.platform_user u USING (platform_user_id)`

func scanToken(row pgx.CollectableRow) (t tenancy.APIToken, err error) {
	err = row.Scan(&t.ID, &t.Name, &t.CreatedAt, &t.ExpiresAt, &t.LastUsedAt,
		&t.Owner.ID, &t.Owner.Email, &t.Owner.DisplayName, &t.Owner.Role, &t.Owner.IsActive, &t.Owner.CreatedAt)
	return t, err
}

// ListTokens returns the tokens that are not revoked, newest first: those of
// owner, or all if owner is empty.
func (s *Store) ListTokens(ctx context.Context, owner tenancy.UserID) ([]tenancy.APIToken, error) {
	rows, err := s.pool.Query(ctx, selectTokens+`
		WHERE t.revoked_at IS NULL AND ($1::uuid IS NULL OR t.platform_user_id = $1) ORDER BY t.token_id DESC`, nullable(owner))
	if err != nil {
		return nil, classify(err)
	}
	tokens, err := pgx.CollectRows(rows, scanToken)
	return tokens, classify(err)
}

// RevokeToken ends a token at once. Only owner's tokens are found, unless owner
// is empty; any other is CodeNotFound.
func (s *Store) RevokeToken(ctx context.Context, id tenancy.TokenID, owner tenancy.UserID, actor tenancy.Actor) error {
	if !validID(id) {
		return noSuchToken(id)
	}
	return s.inTx(ctx, func(tx *transaction) error {
		tag, err := tx.Exec(ctx, `
			UPDATE identity.api_token SET revoked_at = now()
			WHERE token_id = $1 AND revoked_at IS NULL AND ($2::uuid IS NULL OR platform_user_id = $2)`, id, nullable(owner))
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return noSuchToken(id)
		}
		return appendAudit(tx, tenancy.AuditEvent{
			Type: tenancy.EventAPITokenRevoked, Actor: actor, Details: map[string]any{"tokenId": id},
		})
	})
}

func noSuchToken(id tenancy.TokenID) error {
	return tenancy.Errorf(tenancy.CodeNotFound, "There is no API token %q.", id)
}

// Authenticate returns who a token stands for, or CodeUnauthenticated if it is
// unknown, revoked or expired, or its owner is disabled. Its last use is
// recorded to the minute.
func (s *Store) Authenticate(ctx context.Context, hash []byte) (tenancy.Principal, error) {
	p, _, err := s.AuthenticateWatcher(ctx, hash, "")
	return p, err
}

// AuthenticateWatcher is Authenticate and, in the same question, the version of the
// job that the caller polls; nil if there is no such job.
func (s *Store) AuthenticateWatcher(ctx context.Context, hash []byte, watched tenancy.JobID) (tenancy.Principal, *tenancy.JobVersion, error) {
	var p tenancy.Principal
	var stale bool
	var version *int64
	var settled *bool
	err := s.pool.QueryRow(ctx, `
		SELECT t.token_id, u.platform_user_id, u.email, u.role,
		       t.last_used_at IS NULL OR t.last_used_at < now() - interval '1 minute',
		       j.version, NOT (j.`+unsettled+`)
		FROM identity.api_token t JOIN identity.platform_user u USING (platform_user_id)
		LEFT JOIN identity.job j ON j.job_id = $2
		WHERE t.token_hash = $1 AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now()) AND u.is_active`,
		hash, nullable(watched)).Scan(&p.TokenID, &p.UserID, &p.Name, &p.Role, &stale, &version, &settled)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, nil, tenancy.Errorf(tenancy.CodeUnauthenticated, "The API token is unknown, revoked or expired.")
	}
	if err != nil {
		return p, nil, classify(err)
	}
	if stale {
		_, err = s.pool.Exec(ctx, `
			UPDATE identity.api_token SET last_used_at = now()
			WHERE token_id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')`, p.TokenID)
	}
	if version == nil {
		return p, nil, classify(err)
	}
	return p, &tenancy.JobVersion{Version: *version, Settled: *settled}, classify(err)
}
