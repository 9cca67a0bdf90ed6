package tenantdb

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/pgerr"
)

// Our own schema in a tenant's database, and its version tables: one for the
// built-in migrations, one for the application's.
const (
	ownSchema    = "tenantry"
	builtinTable = "schema_migrations"
	appTable     = "app_schema_migrations"
)

// tenantConfig returns how to connect to the tenant's database as the admin
// or, if role is not empty, as that role: RESET ROLE leads back to it.
func (w *work) tenantConfig(role string) *pgx.ConnConfig {
	cfg := w.pool.Config().ConnConfig
	cfg.Database = w.slug.DatabaseName()
	// Whatever the admin's own settings are, unqualified names mean public.
	cfg.RuntimeParams["search_path"] = "public"
	if role != "" {
		cfg.RuntimeParams["role"] = role
	}
	return cfg
}

// inTenant calls f with a connection to the tenant's database.
func (w *work) inTenant(ctx context.Context, role string, f func(*pgx.Conn) error) error {
	conn, err := pgx.ConnectConfig(ctx, w.tenantConfig(role))
	if pgerr.IsAuthFailure(err) {
		// The admin's password may have changed since the pool was made.
		if w.pool, err = w.resolve(ctx, w.server); err == nil {
			conn, err = pgx.ConnectConfig(ctx, w.tenantConfig(role))
		}
	}
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	return errors.Join(noticeLostClients(ctx, conn), f(conn))
}

// prepare sets who may do what inside the database, for what is there and for
// all that its owner will make.
func (w *work) prepare(ctx context.Context, version int) error {
	owner, app := quote(w.slug.OwnerRole()), quote(w.slug.AppRole())
	return w.inTenant(ctx, "", func(conn *pgx.Conn) error {
		// Before Postgres 15 public belongs to the superuser and is open to all.
		var public, mine bool
		err := conn.QueryRow(ctx, `
			SELECT count(*) > 0, coalesce(bool_and(pg_has_role(current_user, nspowner, 'USAGE')), false)
			FROM pg_namespace WHERE nspname = 'public'`).Scan(&public, &mine)
		if err != nil {
			return err
		}
		sql := []string{"BEGIN"}
		if public && mine {
			sql = append(sql,
				"ALTER SCHEMA public OWNER TO "+owner,
				"REVOKE ALL ON SCHEMA public FROM PUBLIC")
		} else if public {
			w.warnOnce("the schema public of new databases stays open to every role: the admin is no superuser and the server is older than Postgres 15",
				"server", w.server.Name, "version", version)
		}
		sql = append(sql, "SET LOCAL ROLE "+owner)
		if public {
			sql = append(sql, "GRANT USAGE ON SCHEMA public TO "+app)
		}
		sql = append(sql, "CREATE SCHEMA IF NOT EXISTS "+ownSchema)
		for _, table := range []string{builtinTable, appTable} {
			table = ownSchema + "." + table
			sql = append(sql,
				"CREATE TABLE IF NOT EXISTS "+table+" (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)",
				"REVOKE ALL ON "+table+" FROM "+app, "GRANT SELECT ON "+table+" TO "+app)
		}
		forAll := "ALTER DEFAULT PRIVILEGES FOR ROLE " + owner + " GRANT "
		sql = append(sql,
			"GRANT USAGE ON SCHEMA "+ownSchema+" TO "+app,
			forAll+"USAGE ON SCHEMAS TO "+app,
			forAll+"SELECT, INSERT, UPDATE, DELETE ON TABLES TO "+app,
			forAll+"USAGE, SELECT, UPDATE ON SEQUENCES TO "+app,
			forAll+"EXECUTE ON FUNCTIONS TO "+app,
			"COMMIT")
		_, err = conn.Exec(ctx, strings.Join(sql, ";"))
		return err
	})
}

// grant gives the application's role what it lacks on the owner's objects: a
// migration may have changed the default privileges. conn acts as the owner.
func (w *work) grant(ctx context.Context, conn *pgx.Conn) error {
	rows, _ := conn.Query(ctx, `
		SELECT format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, $2::text)
		FROM pg_namespace n
		WHERE n.nspowner = $1::text::regrole AND n.nspname <> $3
		  AND NOT has_schema_privilege($2::text, n.oid, 'USAGE')
		UNION ALL
		SELECT format('GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE %I.%I TO %I', n.nspname, c.relname, $2::text)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relowner = $1::text::regrole AND n.nspname <> $3 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
		  AND NOT (has_table_privilege($2::text, c.oid, 'SELECT') AND has_table_privilege($2::text, c.oid, 'INSERT')
		       AND has_table_privilege($2::text, c.oid, 'UPDATE') AND has_table_privilege($2::text, c.oid, 'DELETE'))
		UNION ALL
		SELECT format('GRANT USAGE, SELECT, UPDATE ON SEQUENCE %I.%I TO %I', n.nspname, c.relname, $2::text)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relowner = $1::text::regrole AND n.nspname <> $3 AND c.relkind = 'S'
		  AND NOT (has_sequence_privilege($2::text, c.oid, 'USAGE') AND has_sequence_privilege($2::text, c.oid, 'SELECT')
		       AND has_sequence_privilege($2::text, c.oid, 'UPDATE'))
		UNION ALL
		SELECT format('GRANT EXECUTE ON ROUTINE %s TO %I', p.oid::regprocedure, $2::text)
		FROM pg_proc p
		WHERE p.proowner = $1::text::regrole AND NOT has_function_privilege($2::text, p.oid, 'EXECUTE')`,
		w.slug.OwnerRole(), w.slug.AppRole(), ownSchema)
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(statements) == 0 {
		return err
	}
	_, err = conn.Exec(ctx, strings.Join(statements, ";"))
	return err
}
