package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"time"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	migratepgx "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/tenantry/tenantry/internal/pgerr"
	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/migrations/master"
)

const (
	schemaTable = "tenantry_schema_migrations"
	// schemaLock is how long a migration waits for a table that somebody holds, such as a
	// dump: all who want it meanwhile wait behind the migration, 8 s at most. It is tried
	// schemaTries times with a pause as long.
	schemaLock  = 3 * time.Second
	schemaTries = 10
)

// Migrate brings master to this build's schema and returns its version. Two at
// once wait for each other. A migration that Postgres refuses leaves the schema as it
// was before it. Migrate fails when one was left half applied.
func Migrate(ctx context.Context, databaseURL string) (version uint, err error) {
	for try := 1; ; try++ {
		version, err = migrateOnce(ctx, databaseURL)
		if pgerr.State(err) != pgerr.LockNotAvailable || try == schemaTries {
			return version, err
		}
		select {
		case <-ctx.Done():
			return version, err
		case <-time.After(schemaLock):
		}
	}
}

func migrateOnce(ctx context.Context, databaseURL string) (version uint, err error) {
	cfg, err := connConfig(databaseURL)
	if err != nil {
		return 0, err
	}
	cfg.RuntimeParams["lock_timeout"] = strconv.FormatInt(schemaLock.Milliseconds(), 10)
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	if err := db.PingContext(ctx); err != nil {
		return 0, classify(err)
	}
	driver, err := migratepgx.WithInstance(db, &migratepgx.Config{MigrationsTable: schemaTable, SchemaName: "public"})
	if err != nil {
		return 0, classify(err)
	}
	source, err := iofs.New(master.FS, ".")
	if err != nil {
		return 0, fmt.Errorf("cannot read the embedded migrations: %w", err)
	}
	file := &fileDriver{Driver: driver}
	m, err := migrate.NewWithInstance("iofs", source, "pgx5", file)
	if err != nil {
		return 0, fmt.Errorf("cannot prepare the migrations: %w", err)
	}
	defer m.Close()
	if err := m.Up(); err != nil && !errors.Is(err, migrate.ErrNoChange) {
		if file.refused {
			return 0, errors.Join(migrationFailure(err), takeBack(m, source))
		}
		return 0, migrationFailure(err)
	}
	version, _, err = m.Version()
	return version, err
}

// fileDriver notices that Postgres refused a file. Each is one transaction, so nothing
// of it was applied then.
type fileDriver struct {
	database.Driver
	refused bool
}

// Run implements database.Driver.
func (d *fileDriver) Run(file io.Reader) error {
	err := d.Driver.Run(file)
	if failed, ok := errors.AsType[database.Error](err); ok {
		d.refused = pgerr.State(failed.OrigErr) != ""
	}
	return err
}

// takeBack records the version before the one that was refused.
func takeBack(m *migrate.Migrate, source source.Driver) error {
	version, dirty, err := m.Version()
	if err != nil || !dirty {
		return err
	}
	before := database.NilVersion
	previous, err := source.Prev(version)
	switch {
	case err == nil:
		before = int(previous)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return m.Force(before)
}

// migrationFailure says what went wrong without the SQL that golang-migrate puts
// into its errors.
func migrationFailure(err error) error {
	if dirty, ok := errors.AsType[migrate.ErrDirty](err); ok {
		return halfApplied(uint(dirty.Version))
	}
	if failed, ok := errors.AsType[database.Error](err); ok {
		if pg, ok := errors.AsType[*pgconn.PgError](failed.OrigErr); ok {
			return tenancy.Wrap(tenancy.CodeMigrationsFailed, pg, fmt.Sprintf(
				"A migration of the master database failed: %s %s: %s", pg.Severity, pg.Code, pg.Message))
		}
	}
	return classify(err)
}

func halfApplied(version uint) error {
	return tenancy.Errorf(tenancy.CodeDependencyUnavailable,
		"Migration %d of the master database was left half applied; see docs/operations.md.", version)
}

// connConfig parses DATABASE_URL as Open does, so that what is meant for the
// pool, such as pool_max_conns, is understood here too.
func connConfig(databaseURL string) (*pgx.ConnConfig, error) {
	cfg, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, errors.New("cannot use DATABASE_URL: it is no valid postgres:// URL")
	}
	return cfg.ConnConfig, nil
}

// CheckSchema fails unless master has at least the schema this build needs, and
// says what to do.
func (s *Store) CheckSchema(ctx context.Context) error {
	want, err := latestVersion()
	if err != nil {
		return err
	}
	var have uint
	var dirty bool
	err = s.pool.QueryRow(ctx, "SELECT version, dirty FROM public."+schemaTable).Scan(&have, &dirty)
	pg, _ := errors.AsType[*pgconn.PgError](err)
	switch {
	case pg != nil && pg.Code == "42P01", errors.Is(err, pgx.ErrNoRows):
		return &tenancy.Error{
			Code:    tenancy.CodeDependencyUnavailable,
			Message: "The master database has no tenantry schema; run `tenantctl migrate` first.",
		}
	case err != nil:
		return classify(err)
	case dirty && have <= want: // what a newer build left half applied is nothing to this one
		return halfApplied(have)
	case have < want:
		return tenancy.Errorf(tenancy.CodeDependencyUnavailable,
			"The master database has schema version %d and this build needs %d; run `tenantctl migrate` first.", have, want)
	}
	return nil
}

func latestVersion() (uint, error) {
	source, err := iofs.New(master.FS, ".")
	if err != nil {
		return 0, fmt.Errorf("cannot read the embedded migrations: %w", err)
	}
	defer source.Close()
	version, err := source.First()
	for err == nil {
		var next uint
		if next, err = source.Next(version); err == nil {
			version = next
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("cannot read the embedded migrations: %w", err)
	}
	return version, nil
}

// GrantTo lets role, a login that already exists, do what the api, the worker
// and tenantctl need, and no more: it owns nothing, and in the audit trail it
// may only add and read.
func GrantTo(ctx context.Context, databaseURL, role string) error {
	cfg, err := connConfig(databaseURL)
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return classify(err)
	}
	defer conn.Close(ctx)
	name := pgx.Identifier{role}.Sanitize()
	_, err = conn.Exec(ctx, `
		GRANT USAGE ON SCHEMA identity TO `+name+`;
		GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA identity TO `+name+`;
		REVOKE UPDATE, DELETE, TRUNCATE ON identity.tenant_audit FROM `+name+`;
		REVOKE INSERT, UPDATE, DELETE ON identity.audit_head FROM `+name+`;
		GRANT USAGE ON ALL SEQUENCES IN SCHEMA identity TO `+name+`;
		GRANT SELECT ON public.`+schemaTable+` TO `+name)
	return classify(err)
}
