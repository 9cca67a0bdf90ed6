//go:build crashpoints

package crashtest_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/devplane"
)

// ballast is how many megabytes a new database has on the slow server, so that
// to create one takes long enough to look at.
const ballast = 1000

// startSlow returns a server that takes seconds to create a database. The first
// test that needs it starts it.
func (w *world) startSlow(t *testing.T) server {
	t.Helper()
	if w.slow == nil {
		pg, err := devplane.StartPostgres(t.Context(), devplane.PostgresConfig{
			Name: "pg-slow", DataDir: filepath.Join(w.dir, "slow"), Fast: true, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		w.slow = &server{name: "pg-slow", pg: pg}
		if w.slow.Pool, err = openPool(pg.URL()); err != nil {
			t.Fatal(err)
		}
		if err := fill(t.Context(), *w.slow); err != nil {
			t.Fatal(err)
		}
	}
	return *w.slow
}

// fill puts the ballast into template0, of which tenants' databases are copies.
func fill(ctx context.Context, s server) error {
	if _, err := s.Exec(ctx, "ALTER DATABASE template0 ALLOW_CONNECTIONS true"); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, s.pg.DatabaseURL("template0"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `
		CREATE SCHEMA ballast;
		CREATE TABLE ballast.ballast (t text);
		ALTER TABLE ballast.ballast ALTER t SET STORAGE PLAIN`)
	if err == nil {
		_, err = conn.Exec(ctx, `INSERT INTO ballast.ballast SELECT repeat('x', 8000) FROM generate_series(1, $1::int * 128)`, ballast)
	}
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		return err
	}
	_, err = s.Exec(ctx, "ALTER DATABASE template0 ALLOW_CONNECTIONS false")
	return err
}

// use makes s the only server of the trial. Its workers reach it by adminURL.
func (t *trial) use(ctx context.Context, s server, adminURL string) error {
	if _, err := t.pool.Exec(ctx, `UPDATE identity.db_server SET is_active = false`); err != nil {
		return err
	}
	t.servers = []server{s}
	s.name += "-" + randomHex(3) // the vault is everyone's
	t.servers[0].name = s.name
	return addServer(ctx, t.control, s, adminURL)
}

// creating waits until the server is copying the tenant's database: it has got
// beyond all checks, and has locked the role that is to own it.
func (t *trial) creating(ctx context.Context) error {
	return t.activity(ctx, `state = 'active' AND query LIKE 'CREATE DATABASE "`+t.job.Slug.DatabaseName()+`"%'
		AND pid IN (SELECT pid FROM pg_locks WHERE classid = 'pg_authid'::regclass AND granted)`, true)
}
