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

// configFor returns how to connect to the database as the admin or, if role is
// not empty, as that role: RESET ROLE leads back to it.
func (w *work) configFor(role string) *pgx.ConnConfig {
	cfg := w.pool.Config().ConnConfig
	cfg.Database = w.database
	// Whatever the admin's own settings are, unqualified names mean public.
	cfg.RuntimeParams["search_path"] = "public"
	if role != "" {
		cfg.RuntimeParams["role"] = role
	}
	return cfg
}

// inside calls f with a connection to the database.
func (w *work) inside(ctx context.Context, role string, f func(*pgx.Conn) error) error {
	conn, err := pgx.ConnectConfig(ctx, w.configFor(role))
	if pgerr.IsAuthFailure(err) {
		// The admin's password may have changed since the pool was made.
		if w.pool, err = w.resolve(ctx, w.server); err == nil {
			conn, err = pgx.ConnectConfig(ctx, w.configFor(role))
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
// all that its owner will make. In a copy of a template it first gives the owner
// what the template's had. It is one transaction: whoever looks after a crash finds
// a copy with nothing of it done, or with all.
func (w *work) prepare(ctx context.Context, version int) error {
	return w.inside(ctx, "", func(conn *pgx.Conn) error {
		// Before Postgres 15 public belongs to the superuser and is open to all.
		var public, mine, copied bool
		err := conn.QueryRow(ctx, `
			SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public'),
			       coalesce((SELECT pg_has_role(current_user, nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'public'), false),
			       EXISTS (SELECT FROM pg_namespace WHERE nspname = $1 AND pg_get_userbyid(nspowner) = $2)`,
			ownSchema, templateOwner).Scan(&public, &mine, &copied)
		if err != nil {
			return err
		}
		copied = copied && w.owner != templateOwner
		if public && !mine {
			w.warnOnce("the schema public of new databases stays open to every role: the admin is no superuser and the server is older than Postgres 15",
				"server", w.server.Name, "version", version)
		}
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			var sql []string
			if copied {
				sql = w.takeOver()
			}
			sql = append(sql, w.privileges(public, mine)...)
			if _, err := tx.Exec(ctx, strings.Join(sql, ";")); err != nil || !copied {
				return err
			}
			return w.grant(ctx, tx.Conn(), true)
		})
	})
}

// takeOver gives the owner what the template's owner has in a copy. The schemas go
// first, since a function's new owner must have the right to make one in its schema.
func (w *work) takeOver() []string {
	owner := quote(w.owner)
	return []string{
		`DO $$ DECLARE statement text; BEGIN
			FOR statement IN SELECT format('ALTER SCHEMA %I OWNER TO %I', nspname, '` + w.owner + `')
			                 FROM pg_namespace WHERE nspowner = '` + templateOwner + `'::regrole
			LOOP EXECUTE statement; END LOOP; END $$`,
		"REASSIGN OWNED BY " + templateOwner + " TO " + owner,
	}
}

// privileges are the statements of prepare that every database gets.
func (w *work) privileges(public, mine bool) []string {
	owner, app := quote(w.owner), quote(w.app)
	var sql []string
	if public && mine {
		sql = append(sql,
			"ALTER SCHEMA public OWNER TO "+owner,
			"REVOKE ALL ON SCHEMA public FROM PUBLIC")
	}
	sql = append(sql, "SET LOCAL ROLE "+owner, "CREATE SCHEMA IF NOT EXISTS "+ownSchema)
	tables := []string{ownSchema + "." + builtinTable, ownSchema + "." + appTable}
	for _, table := range tables {
		sql = append(sql, "CREATE TABLE IF NOT EXISTS "+table+" (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)")
	}
	if w.app == "" {
		return sql
	}
	if public {
		sql = append(sql, "GRANT USAGE ON SCHEMA public TO "+app)
	}
	for _, table := range tables {
		sql = append(sql, "REVOKE ALL ON "+table+" FROM "+app, "GRANT SELECT ON "+table+" TO "+app)
	}
	forAll := "ALTER DEFAULT PRIVILEGES FOR ROLE " + owner + " GRANT "
	return append(sql,
		"GRANT USAGE ON SCHEMA "+ownSchema+" TO "+app,
		forAll+"USAGE ON SCHEMAS TO "+app,
		forAll+"SELECT, INSERT, UPDATE, DELETE ON TABLES TO "+app,
		forAll+"USAGE, SELECT, UPDATE ON SEQUENCES TO "+app,
		forAll+"EXECUTE ON FUNCTIONS TO "+app)
}

// grant gives the application's role what it lacks on the owner's objects: a
// migration may have changed the default privileges. all is for a copy of a template,
// where the objects were made without any: it also names the role where PUBLIC has
// the right, as default privileges do. conn acts as the owner.
func (w *work) grant(ctx context.Context, conn *pgx.Conn, all bool) error {
	if w.app == "" {
		return nil
	}
	rows, _ := conn.Query(ctx, `
		SELECT format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, $2::text)
		FROM pg_namespace n
		WHERE n.nspowner = $1::text::regrole AND n.nspname <> $3
		  AND ($4 OR NOT has_schema_privilege($2::text, n.oid, 'USAGE'))
		UNION ALL
		SELECT format('GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE %I.%I TO %I', n.nspname, c.relname, $2::text)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relowner = $1::text::regrole AND n.nspname <> $3 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
		  AND ($4 OR NOT (has_table_privilege($2::text, c.oid, 'SELECT') AND has_table_privilege($2::text, c.oid, 'INSERT')
		       AND has_table_privilege($2::text, c.oid, 'UPDATE') AND has_table_privilege($2::text, c.oid, 'DELETE')))
		UNION ALL
		SELECT format('GRANT USAGE, SELECT, UPDATE ON SEQUENCE %I.%I TO %I', n.nspname, c.relname, $2::text)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relowner = $1::text::regrole AND n.nspname <> $3 AND c.relkind = 'S'
		  AND ($4 OR NOT (has_sequence_privilege($2::text, c.oid, 'USAGE') AND has_sequence_privilege($2::text, c.oid, 'SELECT')
		       AND has_sequence_privilege($2::text, c.oid, 'UPDATE')))
		UNION ALL
		SELECT format('GRANT EXECUTE ON ROUTINE %s TO %I', p.oid::regprocedure, $2::text)
		FROM pg_proc p
		WHERE p.proowner = $1::text::regrole AND ($4 OR NOT has_function_privilege($2::text, p.oid, 'EXECUTE'))`,
		w.owner, w.app, ownSchema, all)
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(statements) == 0 {
		return err
	}
	_, err = conn.Exec(ctx, strings.Join(statements, ";"))
	return err
}
