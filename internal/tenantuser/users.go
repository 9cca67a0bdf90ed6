// Package tenantuser is the people of a tenant, in the tenant's own database: how
// they get a password, sign in and out. It guarantees that
//
//   - a link's token works once, however many use it at the same time, and only
//     until it expires or a later one takes its place;
//   - a new password ends every other session of its owner, and every link that
//     was still open;
//   - a session is opened only for the password that was checked: one that was
//     changed meanwhile opens none;
//   - passwords and tokens are handed in as hashes, and neither they nor an
//     address get into an error or the tenant's audit trail.
//
// Signing in and out goes on wherever a tenant can be read: its people must get at
// their data while the tenant is read-only or leaving. So sessions are kept in a
// transaction that says itself that it writes, although the role's default then
// is to read. Choosing a password is a change like any other and is refused with
// CodeTenantReadOnly or CodeTenantOffboarding. All times are those of the tenant's
// database.
package tenantuser

import (
	"context"
	"crypto/sha256"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantry/tenantry/internal/pgerr"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// Databases are the tenants' databases, as the application's role. What a
// tenant's status does not allow fails with a tenancy.Error.
type Databases interface {
	Read(ctx context.Context, slug string, f func(tx pgx.Tx) error) error
	Write(ctx context.Context, slug string, f func(tx pgx.Tx) error) error
	// Acquire gives a connection wherever Read is allowed.
	Acquire(ctx context.Context, slug string) (*pgxpool.Conn, error)
}

// Users are the people of tenants. Besides the codes named beside a method each
// fails with CodeNotFound if there is no such tenant, CodeTenantSuspended if it is
// suspended, and CodeDependencyUnavailable if its database cannot be reached.
type Users struct{ Databases Databases }

func (u Users) read(ctx context.Context, slug tenancy.Slug, f func(pgx.Tx) error) error {
	return classify(u.Databases.Read(ctx, string(slug), f))
}

// change runs f where the tenant's data may be changed.
func (u Users) change(ctx context.Context, slug tenancy.Slug, f func(pgx.Tx) error) error {
	return classify(u.Databases.Write(ctx, string(slug), f))
}

// keep runs f, which keeps account of sessions, where the tenant may be read.
func (u Users) keep(ctx context.Context, slug tenancy.Slug, f func(pgx.Tx) error) error {
	conn, err := u.Databases.Acquire(ctx, string(slug))
	if err != nil {
		return classify(err)
	}
	defer conn.Release()
	return classify(pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadWrite}, f))
}

func classify(err error) error { return pgerr.Classify(err, "cannot use the tenant's database") }

// appendEvent writes to the tenant's own audit trail.
func appendEvent(ctx context.Context, tx pgx.Tx, event string, user tenancy.TenantUserID) error {
	_, err := tx.Exec(ctx, `INSERT INTO audit.event (event_type, user_id) VALUES ($1, $2)`, event, user)
	return err
}

// checkHash refuses what is no SHA-256: a token that was handed in itself, say.
func checkHash(hash []byte) error {
	if len(hash) != sha256.Size {
		return tenancy.Errorf(tenancy.CodeInternal, "a token's hash has %d bytes", len(hash))
	}
	return nil
}

const userColumns = `u.user_id, u.email, u.display_name, u.role`

func userFields(u *tenancy.TenantUser) []any {
	return []any{&u.ID, &u.Email, &u.DisplayName, &u.Role}
}
