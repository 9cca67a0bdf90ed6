package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// A session ends after sessionIdle without a request, and in any case after
// sessionLife (OWASP's session management cheat sheet: a shift, and a break).
const (
	sessionIdle = time.Hour
	sessionLife = 12 * time.Hour
)

// OpenSession records a session by its token's hash. replaced, the session the
// browser had before, ends; it may be empty. A zero AuthenticatedAt is now. It
// fails with CodeUnauthenticated if the user is disabled, or has another role or,
// unless the account's is empty, another password by now.
func (s *Store) OpenSession(ctx context.Context, u tenancy.Account, hash []byte, sn tenancy.Session, replaced tenancy.SessionID) (tenancy.Session, error) {
	sn.ID, sn.UserID = tenancy.SessionID(newID()), u.ID
	var authenticatedAt *time.Time
	if !sn.AuthenticatedAt.IsZero() {
		authenticatedAt = &sn.AuthenticatedAt
	}
	err := s.inTx(ctx, func(tx *transaction) error {
		if replaced != "" {
			if _, err := tx.Exec(ctx, `DELETE FROM identity.platform_session WHERE session_id = $1`, replaced); err != nil {
				return err
			}
		}
		err := tx.QueryRow(ctx, `
			INSERT INTO identity.platform_session (session_id, token_hash, platform_user_id, role, second_factor, address, user_agent, expires_at, authenticated_at)
			SELECT $1, $2, platform_user_id, role, $4, $5, $6, now() + $7::interval, coalesce($9, now())
			FROM identity.platform_user
			WHERE platform_user_id = $3 AND is_active AND role = $8 AND ($10 = '' OR password_hash = $10) FOR SHARE
			RETURNING created_at, authenticated_at, last_seen_at, expires_at`,
			sn.ID, hash, u.ID, sn.SecondFactor, sn.Address, sn.UserAgent, sessionLife, u.Role, authenticatedAt, u.PasswordHash).
			Scan(&sn.CreatedAt, &sn.AuthenticatedAt, &sn.LastSeenAt, &sn.ExpiresAt)
		if errors.Is(err, pgx.ErrNoRows) {
			return tenancy.Errorf(tenancy.CodeUnauthenticated, "The account was changed at this moment.")
		}
		if err != nil {
			return err
		}
		return appendAudit(tx, tenancy.AuditEvent{
			Type: tenancy.EventSignedIn, Actor: tenancy.Actor{UserID: u.ID, Name: u.Email},
			Details: map[string]any{"sessionId": sn.ID, "clientIp": sn.Address, "secondFactor": sn.SecondFactor},
		})
	})
	return sn, err
}

// SessionByToken returns whose session it is, and the user as they are now, or
// CodeUnauthenticated if it is unknown, has ended, or its user is disabled or has
// another role. Its last use is recorded to the minute.
func (s *Store) SessionByToken(ctx context.Context, hash []byte) (tenancy.Session, tenancy.User, error) {
	var sn tenancy.Session
	var u tenancy.User
	var stale bool
	err := s.pool.QueryRow(ctx, `
		SELECT n.session_id, n.second_factor, n.address, n.user_agent, n.created_at, n.authenticated_at, n.last_seen_at, n.expires_at,
		       u.platform_user_id, u.email, u.display_name, u.role, u.is_active, u.totp_confirmed_at IS NOT NULL, u.created_at,
		       n.last_seen_at < now() - interval '1 minute'
		FROM identity.platform_session n JOIN identity.platform_user u USING (platform_user_id)
		WHERE n.token_hash = $1 AND n.expires_at > now() AND n.last_seen_at > now() - $2::interval AND u.is_active AND u.role = n.role`,
		hash, sessionIdle).Scan(
		&sn.ID, &sn.SecondFactor, &sn.Address, &sn.UserAgent, &sn.CreatedAt, &sn.AuthenticatedAt, &sn.LastSeenAt, &sn.ExpiresAt,
		&u.ID, &u.Email, &u.DisplayName, &u.Role, &u.IsActive, &u.SecondFactor, &u.CreatedAt, &stale)
	if errors.Is(err, pgx.ErrNoRows) {
		return sn, u, tenancy.Errorf(tenancy.CodeUnauthenticated, "The session has ended.")
	}
	if err != nil {
		return sn, u, classify(err)
	}
	sn.UserID = u.ID
	if stale {
		_, err = s.pool.Exec(ctx, `
			UPDATE identity.platform_session SET last_seen_at = now()
			WHERE session_id = $1 AND last_seen_at < now() - interval '1 minute'`, sn.ID)
	}
	return sn, u, classify(err)
}

// SessionShowedSecondFactor marks a session whose person showed the second factor
// after they had signed in, and proved who they are once more with it.
func (s *Store) SessionShowedSecondFactor(ctx context.Context, id tenancy.SessionID, actor tenancy.Actor) error {
	return s.inTx(ctx, func(tx *transaction) error {
		if err := markSecondFactor(ctx, tx, id); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE identity.platform_session SET authenticated_at = now() WHERE session_id = $1`, id); err != nil {
			return err
		}
		return appendAudit(tx, tenancy.AuditEvent{
			Type: tenancy.EventSecondFactorShown, Actor: actor, Details: map[string]any{"sessionId": id},
		})
	})
}

func markSecondFactor(ctx context.Context, tx *transaction, id tenancy.SessionID) error {
	if id == "" {
		return nil
	}
	_, err := tx.Exec(ctx, `UPDATE identity.platform_session SET second_factor = true WHERE session_id = $1`, id)
	return err
}

// ListSessions returns the user's sessions that have not ended, latest use first.
func (s *Store) ListSessions(ctx context.Context, owner tenancy.UserID) ([]tenancy.Session, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT session_id, platform_user_id, second_factor, address, user_agent, created_at, authenticated_at, last_seen_at, expires_at
		FROM identity.platform_session
		WHERE platform_user_id = $1 AND expires_at > now() AND last_seen_at > now() - $2::interval
		ORDER BY last_seen_at DESC, session_id`, owner, sessionIdle)
	if err != nil {
		return nil, classify(err)
	}
	sessions, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (sn tenancy.Session, err error) {
		err = row.Scan(&sn.ID, &sn.UserID, &sn.SecondFactor, &sn.Address, &sn.UserAgent,
			&sn.CreatedAt, &sn.AuthenticatedAt, &sn.LastSeenAt, &sn.ExpiresAt)
		return sn, err
	})
	return sessions, classify(err)
}

// EndSession ends one of owner's sessions at once, or fails with CodeNotFound.
func (s *Store) EndSession(ctx context.Context, id tenancy.SessionID, owner tenancy.UserID, actor tenancy.Actor) error {
	if !validID(id) {
		return noSuchSession(id)
	}
	return s.inTx(ctx, func(tx *transaction) error {
		tag, err := tx.Exec(ctx, `DELETE FROM identity.platform_session WHERE session_id = $1 AND platform_user_id = $2`, id, owner)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return noSuchSession(id)
		}
		return appendAudit(tx, tenancy.AuditEvent{
			Type: tenancy.EventSignedOut, Actor: actor, Details: map[string]any{"sessionId": id},
		})
	})
}

func noSuchSession(id tenancy.SessionID) error {
	return tenancy.Errorf(tenancy.CodeNotFound, "There is no session %q.", id)
}

// endSessions ends the user's sessions but one, which may be empty.
func endSessions(ctx context.Context, tx *transaction, owner tenancy.UserID, except tenancy.SessionID) (ended int64, err error) {
	tag, err := tx.Exec(ctx, `
		DELETE FROM identity.platform_session
		WHERE platform_user_id = $1 AND ($2::uuid IS NULL OR session_id <> $2)`, owner, nullable(except))
	return tag.RowsAffected(), err
}
