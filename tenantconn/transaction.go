package tenantconn

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantry/tenantry/internal/pgerr"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// Read runs f in a read-only transaction in the tenant's database. It fails with
// an *Error if the tenant cannot be used; what f and Postgres say comes back as
// it is.
func (t *Tenants) Read(ctx context.Context, slug string, f func(tx pgx.Tx) error) error {
	return t.inTx(ctx, slug, tenancy.TenantStatus.CheckRead, pgx.ReadOnly, f)
}

// Write runs f in a transaction in the tenant's database and commits it, or rolls
// it back if f fails. It fails as Read does, and with an *Error if the connection is lost
// while it commits: then nobody can tell whether it did.
func (t *Tenants) Write(ctx context.Context, slug string, f func(tx pgx.Tx) error) error {
	return t.inTx(ctx, slug, tenancy.TenantStatus.CheckWrite, pgx.ReadWrite, f)
}

// Acquire returns a connection to the tenant's database, for what a transaction
// does not do, such as LISTEN or COPY; the caller gives it back with Release. It
// is given wherever Read is allowed, so a caller that writes looks at the status
// first. It fails with an *Error.
func (t *Tenants) Acquire(ctx context.Context, slug string) (*pgxpool.Conn, error) {
	return t.acquire(ctx, slug, tenancy.TenantStatus.CheckRead)
}

func (t *Tenants) inTx(ctx context.Context, slug string, check func(tenancy.TenantStatus) error, mode pgx.TxAccessMode, f func(pgx.Tx) error) error {
	tx, release, err := t.begin(ctx, slug, check, mode)
	if err != nil {
		return err
	}
	defer release()
	defer func() { _ = tx.Rollback(ctx) }() // nothing once it is committed
	if err := f(tx); err != nil {
		return err
	}
	err = tx.Commit(ctx)
	if err == nil || pgerr.State(err) != "" || errors.Is(err, pgx.ErrTxCommitRollback) {
		return err
	}
	return refusal(ctx, slug, pgerr.Classify(err, "cannot tell whether the transaction was committed"))
}

// begin begins a transaction. A connection may have been lost while it lay in the
// pool, and others with it; as nothing was done yet, the next one is tried.
func (t *Tenants) begin(ctx context.Context, slug string, check func(tenancy.TenantStatus) error, mode pgx.TxAccessMode) (pgx.Tx, func(), error) {
	for lost := int32(0); ; lost++ {
		conn, err := t.acquire(ctx, slug, check)
		if err != nil {
			return nil, nil, err
		}
		// The mode is said each time: a session that began while the tenant was
		// offboarding is read-only by default for good.
		tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: mode})
		if err == nil {
			return tx, conn.Release, nil
		}
		again := conn.Conn().IsClosed() && ctx.Err() == nil && lost < t.cfg.MaxConns
		conn.Release()
		if !again {
			return nil, nil, refusal(ctx, slug, pgerr.Classify(err, "cannot begin a transaction"))
		}
	}
}

func (t *Tenants) acquire(ctx context.Context, slug string, check func(tenancy.TenantStatus) error) (*pgxpool.Conn, error) {
	r, err := t.lookup(ctx, slug)
	if err == nil {
		err = check(r.tenant.Status)
	}
	if err != nil {
		return nil, refusal(ctx, slug, err)
	}
	conn, err := t.connect(ctx, r)
	return conn, refusal(ctx, slug, err)
}
