package tenantdb

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// SeedAdmin inserts a migrated tenant's first admin, without a password. A user
// with that e-mail address, in whatever case, is left as it is. Dropping the
// database undoes it.
func (s *Servers) SeedAdmin(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, email, displayName string) error {
	err := s.inTenant(ctx, server, slug, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `
			INSERT INTO identity.users (email, display_name, role, must_reset_password)
			VALUES ($1, $2, 'admin', true)
			ON CONFLICT (lower(email)) DO NOTHING`, email, displayName)
		return err
	})
	return failed(ctx, err, "cannot seed the admin of "+slug.DatabaseName()+on(server))
}

// NewInvitation gives the active user with that e-mail address, in whatever case,
// an invitation that ends at expiresAt, and revokes the one before it if that is
// still open. tokenHash is the SHA-256 of the token in the link; called again with
// the same one it changes nothing. It returns the address to mail the link to: the
// user's own and not the one asked for, since addresses that are equal but for
// case to Postgres may belong to different people elsewhere. It fails with
// CodeNotFound if there is no such user.
func (s *Servers) NewInvitation(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, email string, tokenHash []byte, expiresAt time.Time) (to string, err error) {
	what := "cannot make an invitation in " + slug.DatabaseName() + on(server)
	if len(tokenHash) != sha256.Size {
		return "", tenancy.Errorf(tenancy.CodeInternal, "%s: the token's hash has %d bytes", what, len(tokenHash))
	}
	err = s.inTenant(ctx, server, slug, func(conn *pgx.Conn) error {
		// One transaction, sent at once: the user is locked before the others look, and
		// without one they find nothing.
		var batch pgx.Batch
		batch.Queue(`
			SELECT email FROM identity.users
			WHERE lower(email) = lower($1) AND is_active FOR UPDATE`, email).QueryRow(func(row pgx.Row) error {
			err := row.Scan(&to)
			if errors.Is(err, pgx.ErrNoRows) {
				return tenancy.Errorf(tenancy.CodeNotFound, "%s: the tenant has no active user with that e-mail address", what)
			}
			return err
		})
		batch.Queue(`
			UPDATE identity.invitations i SET revoked_at = now()
			FROM identity.users u
			WHERE i.user_id = u.user_id AND lower(u.email) = lower($1) AND u.is_active
			  AND i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.token_hash <> $2`, email, tokenHash)
		batch.Queue(`
			INSERT INTO identity.invitations (user_id, token_hash, expires_at)
			SELECT user_id, $2, $3::timestamptz FROM identity.users WHERE lower(email) = lower($1) AND is_active
			ON CONFLICT (token_hash) DO NOTHING`, email, tokenHash, expiresAt)
		return conn.SendBatch(ctx, &batch).Close()
	})
	if err != nil {
		return "", failed(ctx, err, what)
	}
	return to, nil
}

// inTenant calls f with a connection to a tenant's database as its owner. It
// does not hold the slug: what f does is a transaction of the database's own.
func (s *Servers) inTenant(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, f func(*pgx.Conn) error) error {
	if _, err := tenancy.ParseSlug(string(slug), nil); err != nil {
		return err
	}
	pool, err := s.pool(ctx, server)
	if err != nil {
		return err
	}
	// The job's invitation comes next.
	w := &work{Servers: s, server: server, slug: slug, place: placeOf(slug), pool: pool, keeps: tenancy.HasFence(ctx)}
	return w.insideAsOwner(ctx, func(conn *pgx.Conn, _ string) error { return f(conn) })
}

// Used reports whether anybody ever signed in to the tenant: a password was
// chosen or an invitation accepted. A database without those tables is unused.
func (s *Servers) Used(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug) (bool, error) {
	used := false
	look := func(conn *pgx.Conn) error {
		var migrated bool
		err := conn.QueryRow(ctx, `SELECT to_regclass('identity.users') IS NOT NULL AND to_regclass('identity.invitations') IS NOT NULL`).Scan(&migrated)
		if err != nil || !migrated {
			return err
		}
		return conn.QueryRow(ctx, `
			SELECT EXISTS (SELECT FROM identity.users WHERE password_hash IS NOT NULL)
			    OR EXISTS (SELECT FROM identity.invitations WHERE accepted_at IS NOT NULL)`).Scan(&used)
	}
	// As the admin: the roles may be among what is missing.
	err := s.withSlug(ctx, server, slug, func(ctx context.Context, w *work, _ facts) error { return w.inside(ctx, look) })
	return used, failed(ctx, err, "cannot look into "+slug.DatabaseName()+on(server))
}
