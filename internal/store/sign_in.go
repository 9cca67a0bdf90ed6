package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// How many attempts to sign in go unhindered, and what comes then: a wait that
// doubles from signInFirstWait to signInLastWait. After signInForget without an
// attempt all is forgotten. What counts first is an account from one address, so
// that a stranger elsewhere does not keep its owner out; an office behind one
// address has many people.
const (
	accountAddressAttempts = 5
	accountAttempts        = 30
	addressAttempts        = 50
	signInFirstWait        = 30 * time.Second
	signInLastWait         = 15 * time.Minute
	signInForget           = 30 * time.Minute
)

// BeginSignIn counts an attempt to sign in as account from address, before it is
// known how it ends, so that many at once count too. A wait above zero refuses
// the attempt: so long nobody may try again. Whether the account exists makes no
// difference; an address counts as its network. scope is empty for the platform, else
// the tenant's id.
func (s *Store) BeginSignIn(ctx context.Context, scope, account, address string) (wait time.Duration, err error) {
	from := tenancy.Network(address).String()
	err = s.inTx(ctx, func(tx *transaction) error {
		// Always in this order, so that two attempts never wait for each other in a
		// circle; what is refused counts no further.
		for _, a := range []struct {
			kind, subject string
			allowed       int
		}{
			{"address", from, addressAttempts},
			{"account_address", pair(account, from), accountAddressAttempts},
			{"account", account, accountAttempts},
		} {
			tag, err := tx.Exec(ctx, `
				INSERT INTO identity.sign_in_attempt AS a (scope, kind, subject, attempts, last_at, blocked_until)
				VALUES ($1, $2, $3, 1, now(), now())
				ON CONFLICT (scope, kind, subject) DO UPDATE SET
					attempts = CASE WHEN a.last_at < now() - $7::interval THEN 1 ELSE a.attempts + 1 END,
					last_at = now(),
					blocked_until = CASE WHEN a.last_at < now() - $7::interval OR a.attempts + 1 < $4 THEN now()
						ELSE now() + least($6::interval, $5::interval * power(2, least(a.attempts + 1 - $4, 20))) END
				WHERE a.blocked_until <= now()`,
				scope, a.kind, subject(a.subject), a.allowed, signInFirstWait, signInLastWait, signInForget)
			if err != nil {
				return err
			}
			if tag.RowsAffected() > 0 {
				continue
			}
			var left time.Duration
			if err := tx.QueryRow(ctx, `
				SELECT blocked_until - now() FROM identity.sign_in_attempt WHERE scope = $1 AND kind = $2 AND subject = $3`,
				scope, a.kind, subject(a.subject)).Scan(&left); err != nil {
				return err
			}
			wait = max(left, time.Second)
			return nil
		}
		return nil
	})
	return wait, err
}

// SignInSucceeded forgets the attempts on the account, and takes this one off
// those of the address. Only an attempt that BeginSignIn counted may end so.
func (s *Store) SignInSucceeded(ctx context.Context, scope, account, address string) error {
	from := tenancy.Network(address).String()
	return s.inTx(ctx, func(tx *transaction) error {
		if _, err := tx.Exec(ctx, `
			UPDATE identity.sign_in_attempt SET attempts = greatest(attempts - 1, 0), blocked_until = now()
			WHERE scope = $1 AND kind = 'address' AND subject = $2`, scope, subject(from)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			DELETE FROM identity.sign_in_attempt
			WHERE scope = $1 AND (kind = 'account_address' AND subject = $2 OR kind = 'account' AND subject = $3)`,
			scope, subject(pair(account, from)), subject(account))
		return err
	})
}

// ForgetSignIns removes what counts for nothing any more: old attempts and the
// platform's sessions that have ended.
func (s *Store) ForgetSignIns(ctx context.Context) error {
	return s.inTx(ctx, func(tx *transaction) error {
		if _, err := tx.Exec(ctx, `
			DELETE FROM identity.sign_in_attempt WHERE last_at < now() - $1::interval AND blocked_until <= now()`, signInForget); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			DELETE FROM identity.platform_session WHERE expires_at <= now() OR last_seen_at <= now() - $1::interval`, sessionIdle)
		return err
	})
}

func subject(typed string) []byte {
	sum := sha256.Sum256([]byte(normal(typed)))
	return sum[:]
}

func pair(account, from string) string { return normal(account) + "\n" + from }

func normal(typed string) string { return strings.ToLower(strings.TrimSpace(typed)) }

const selectAccount = `
	SELECT platform_user_id, email, display_name, role, is_active, totp_confirmed_at IS NOT NULL, created_at,
	       coalesce(password_hash, ''), totp_secret
	FROM identity.platform_user `

func account(ctx context.Context, db execer, where string, args ...any) (tenancy.Account, error) {
	var a tenancy.Account
	err := db.QueryRow(ctx, selectAccount+where, args...).Scan(
		&a.ID, &a.Email, &a.DisplayName, &a.Role, &a.IsActive, &a.SecondFactor, &a.CreatedAt, &a.PasswordHash, &a.TOTPSecret)
	if errors.Is(err, pgx.ErrNoRows) {
		return a, tenancy.Errorf(tenancy.CodeNotFound, "There is no such platform user.")
	}
	return a, classify(err)
}

// AccountByEmail returns an account, or CodeNotFound.
func (s *Store) AccountByEmail(ctx context.Context, email string) (tenancy.Account, error) {
	if !utf8.ValidString(email) || strings.ContainsRune(email, 0) {
		return tenancy.Account{}, tenancy.Errorf(tenancy.CodeNotFound, "There is no such platform user.") // Postgres takes no such text
	}
	return account(ctx, s.pool, `WHERE lower(email) = lower($1)`, email)
}

// Account returns an account, or CodeNotFound.
func (s *Store) Account(ctx context.Context, id tenancy.UserID) (tenancy.Account, error) {
	return account(ctx, s.pool, `WHERE platform_user_id = $1`, id)
}

// SetPassword changes the user's password and ends their other sessions.
func (s *Store) SetPassword(ctx context.Context, id tenancy.UserID, hash string, except tenancy.SessionID, actor tenancy.Actor) error {
	return s.inTx(ctx, func(tx *transaction) error {
		if _, err := tx.Exec(ctx, `UPDATE identity.platform_user SET password_hash = $2 WHERE platform_user_id = $1`, id, hash); err != nil {
			return err
		}
		if _, err := endSessions(ctx, tx, id, except); err != nil {
			return err
		}
		return appendAudit(tx, tenancy.AuditEvent{
			Type: tenancy.EventPasswordChanged, Actor: actor, Details: map[string]any{"platformUserId": id},
		})
	})
}

// BeginSecondFactor keeps a TOTP secret that does not count yet, in place of one
// begun before. It fails with CodeConflict if one counts already.
func (s *Store) BeginSecondFactor(ctx context.Context, id tenancy.UserID, secret string) error {
	tag, err := s.pool.Exec(ctx, `
		UPDATE identity.platform_user SET totp_secret = $2, totp_last_step = 0
		WHERE platform_user_id = $1 AND totp_confirmed_at IS NULL`, id, secret)
	if err == nil && tag.RowsAffected() == 0 {
		return tenancy.Errorf(tenancy.CodeConflict, "A second factor is set up already.")
	}
	return classify(err)
}

// ConfirmSecondFactor makes the TOTP secret count, with the hashes of its
// recovery codes, ends the user's other sessions and marks this one. It fails
// with CodeConflict if that is not the secret begun last.
func (s *Store) ConfirmSecondFactor(ctx context.Context, id tenancy.UserID, secret string, step int64, codes [][]byte, session tenancy.SessionID, actor tenancy.Actor) error {
	return s.inTx(ctx, func(tx *transaction) error {
		tag, err := tx.Exec(ctx, `
			UPDATE identity.platform_user SET totp_confirmed_at = now(), totp_last_step = $3
			WHERE platform_user_id = $1 AND totp_secret = $2 AND totp_secret <> '' AND totp_confirmed_at IS NULL`, id, secret, step)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return tenancy.Errorf(tenancy.CodeConflict, "This second factor was begun anew or confirmed already.")
		}
		if _, err := tx.Exec(ctx, `DELETE FROM identity.recovery_code WHERE platform_user_id = $1`, id); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO identity.recovery_code (platform_user_id, code_hash) SELECT $1, unnest($2::bytea[])`, id, codes); err != nil {
			return err
		}
		if _, err := endSessions(ctx, tx, id, session); err != nil {
			return err
		}
		if err := markSecondFactor(ctx, tx, session); err != nil {
			return err
		}
		return appendAudit(tx, tenancy.AuditEvent{
			Type: tenancy.EventSecondFactorSet, Actor: actor, Details: map[string]any{"platformUserId": id},
		})
	})
}

// RemoveSecondFactor takes a TOTP and its recovery codes away, and ends the
// user's sessions but this one: what waits for the factor must not go on without.
func (s *Store) RemoveSecondFactor(ctx context.Context, id tenancy.UserID, session tenancy.SessionID, actor tenancy.Actor) error {
	return s.inTx(ctx, func(tx *transaction) error {
		if err := forgetSecondFactor(ctx, tx, id); err != nil {
			return err
		}
		if _, err := endSessions(ctx, tx, id, session); err != nil {
			return err
		}
		return appendAudit(tx, tenancy.AuditEvent{
			Type: tenancy.EventSecondFactorRemoved, Actor: actor, Details: map[string]any{"platformUserId": id},
		})
	})
}

func forgetSecondFactor(ctx context.Context, tx *transaction, id tenancy.UserID) error {
	if _, err := tx.Exec(ctx, `DELETE FROM identity.recovery_code WHERE platform_user_id = $1`, id); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		UPDATE identity.platform_user SET totp_secret = '', totp_confirmed_at = NULL, totp_last_step = 0
		WHERE platform_user_id = $1`, id)
	return err
}

// UseTOTPStep takes the time step of a right code; false means that it, or a
// later one, was taken before.
func (s *Store) UseTOTPStep(ctx context.Context, id tenancy.UserID, step int64) (fresh bool, err error) {
	tag, err := s.pool.Exec(ctx, `
		UPDATE identity.platform_user SET totp_last_step = $2
		WHERE platform_user_id = $1 AND totp_last_step < $2 AND totp_confirmed_at IS NOT NULL`, id, step)
	return err == nil && tag.RowsAffected() == 1, classify(err)
}

// UseRecoveryCode takes a recovery code; false means that it is none, or no more.
func (s *Store) UseRecoveryCode(ctx context.Context, id tenancy.UserID, hash []byte) (valid bool, err error) {
	tag, err := s.pool.Exec(ctx, `
		DELETE FROM identity.recovery_code WHERE platform_user_id = $1 AND code_hash = $2`, id, hash)
	return err == nil && tag.RowsAffected() == 1, classify(err)
}
