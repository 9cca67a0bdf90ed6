package tenantuser

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

const (
	// SessionLimit is how long a session lasts, however much it is used.
	SessionLimit = 7 * 24 * time.Hour
	// SessionIdleLimit is how long a session lasts without being used.
	SessionIdleLimit = 8 * time.Hour
	// seenInterval is how exactly it is known when a session was last used.
	seenInterval = time.Minute
	// cleanupBatch is how many expired sessions are removed in passing.
	cleanupBatch = 100
)

// mayEnter is a user u that may sign in: active, and with a password of their own
// choice.
const mayEnter = `u.is_active AND NOT u.must_reset_password AND u.password_hash IS NOT NULL`

// Credentials returns what to check the password of an address against, or the
// zero Credentials if nobody who may sign in has it; the caller then takes as long
// as for a wrong password.
func (u Users) Credentials(ctx context.Context, slug tenancy.Slug, email string) (tenancy.Credentials, error) {
	var c tenancy.Credentials
	email = strings.TrimSpace(email)
	if !utf8.ValidString(email) || strings.ContainsRune(email, 0) {
		email = "" // which is nobody's
	}
	err := u.read(ctx, slug, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `
			SELECT u.user_id, u.password_hash FROM identity.users u
			WHERE lower(u.email) = lower($1) AND `+mayEnter, email).Scan(&c.UserID, &c.PasswordHash)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	return c, err
}

// OpenSession opens a session for whom checked belongs to, whose password the
// caller has checked; sessionHash is the SHA-256 of a new token. It fails with
// CodeUnauthenticated if the password was changed since, or the person shut out.
func (u Users) OpenSession(ctx context.Context, slug tenancy.Slug, checked tenancy.Credentials, sessionHash []byte) (tenancy.TenantUser, error) {
	var who tenancy.TenantUser
	if err := checkHash(sessionHash); err != nil {
		return who, err
	}
	if checked.UserID == "" {
		return who, errSignedOut
	}
	err := u.keep(ctx, slug, func(tx pgx.Tx) error {
		// The lock waits for a change of the password that is under way.
		err := tx.QueryRow(ctx, `
			SELECT `+userColumns+` FROM identity.users u
			WHERE u.user_id = $1 AND u.password_hash = $2 AND `+mayEnter+` FOR SHARE`, checked.UserID, checked.PasswordHash).
			Scan(userFields(&who)...)
		if errors.Is(err, pgx.ErrNoRows) {
			return errSignedOut
		}
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
			DELETE FROM identity.sessions WHERE token_hash IN (
				SELECT token_hash FROM identity.sessions WHERE expires_at <= now() LIMIT $1 FOR UPDATE SKIP LOCKED)`, cleanupBatch); err != nil {
			return err
		}
		return insertSession(ctx, tx, who.ID, sessionHash)
	})
	return who, err
}

func insertSession(ctx context.Context, tx pgx.Tx, user tenancy.TenantUserID, sessionHash []byte) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO identity.sessions (token_hash, user_id, expires_at) VALUES ($1, $2, now() + $3)`, sessionHash, user, SessionLimit)
	return err
}

// errSignedOut is the one answer to every session that does not hold.
var errSignedOut = tenancy.Errorf(tenancy.CodeUnauthenticated, "Sign in first.")

// Session returns whose session it is, and notes to the minute that it was used.
// It fails with CodeUnauthenticated if the session is over, or its owner was shut
// out or has to choose a new password.
func (u Users) Session(ctx context.Context, slug tenancy.Slug, sessionHash []byte) (tenancy.TenantUser, error) {
	var who tenancy.TenantUser
	var note bool
	err := u.read(ctx, slug, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `
			SELECT `+userColumns+`, s.last_seen_at <= now() - $3::interval
			FROM identity.sessions s JOIN identity.users u USING (user_id)
			WHERE s.token_hash = $1 AND s.expires_at > now() AND s.last_seen_at > now() - $2::interval AND `+mayEnter,
			sessionHash, SessionIdleLimit, seenInterval).Scan(append(userFields(&who), &note)...)
		if errors.Is(err, pgx.ErrNoRows) {
			return errSignedOut
		}
		return err
	})
	if err != nil || !note {
		return who, err
	}
	return who, u.keep(ctx, slug, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			UPDATE identity.sessions SET last_seen_at = now()
			WHERE token_hash = $1 AND last_seen_at <= now() - $2::interval`, sessionHash, seenInterval)
		return err
	})
}

// EndSession ends a session, if there is one.
func (u Users) EndSession(ctx context.Context, slug tenancy.Slug, sessionHash []byte) error {
	return u.keep(ctx, slug, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM identity.sessions WHERE token_hash = $1`, sessionHash)
		return err
	})
}
