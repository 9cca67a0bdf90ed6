package tenantdb

import (
	"context"
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
	// Few statements run twice here, so preparing them would only be one more question.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	// Whatever the admin's own settings are, unqualified names mean public.
	cfg.RuntimeParams["search_path"] = "public"
	if role != "" {
		cfg.RuntimeParams["role"] = role
	}
	return cfg
}

// inside calls f with a session of the admin's in the database.
func (w *work) inside(ctx context.Context, f func(*pgx.Conn) error) error {
	conn, err := w.enter(ctx)
	if err != nil {
		return err
	}
	if err := f(conn); err != nil || !w.keeps {
		leave(conn)
		return err
	}
	w.keep(conn)
	return nil
}

// insideAsOwner calls f with a session that acts as owner, who owns what is in the
// database.
func (w *work) insideAsOwner(ctx context.Context, f func(conn *pgx.Conn, owner string) error) error {
	return w.inside(ctx, func(conn *pgx.Conn) error {
		owner, err := w.becomeOwner(ctx, conn)
		if err != nil {
			return err
		}
		return f(conn, owner)
	})
}

// becomeOwner has the session act as the role that owns what is in the database: in
// a copy of a template the server's objectsOwner, else the tenant's own.
func (w *work) becomeOwner(ctx context.Context, conn *pgx.Conn) (owner string, err error) {
	err = conn.QueryRow(ctx, `
		SELECT set_config('role', CASE WHEN EXISTS (
			SELECT FROM pg_namespace WHERE nspname = $1 AND nspowner = to_regrole($2)) THEN $2 ELSE $3 END, false)`,
		ownSchema, objectsOwner, w.owner).Scan(&owner)
	return owner, err
}

// enter begins a session in the database, or takes the session that an earlier call kept.
func (w *work) enter(ctx context.Context) (*pgx.Conn, error) {
	if conn := w.takeKept(ctx); conn != nil {
		return conn, nil
	}
	return w.connect(ctx)
}

// connect begins a session in the database.
func (w *work) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, w.configFor(""))
	if pgerr.IsAuthFailure(err) {
		// The admin's password may have changed since the pool was made.
		if w.pool, err = w.resolve(ctx, w.server); err == nil {
			conn, err = pgx.ConnectConfig(ctx, w.configFor(""))
		}
	}
	if err != nil {
		return nil, err
	}
	if err := noticeLostClients(ctx, conn); err != nil {
		leave(conn)
		return nil, err
	}
	return conn, nil
}

// prepare sets who may do what inside the database, for what is there and for
// all that its owner will make. It is one transaction: whoever looks after a crash
// finds a database with nothing of it done, or with all.
func (w *work) prepare(ctx context.Context, version int) error {
	return w.inside(ctx, func(conn *pgx.Conn) error {
		// Before Postgres 15 public belongs to the superuser and is open to all.
		var public, mine, copied bool
		err := conn.QueryRow(ctx, `
			SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public'),
			       coalesce((SELECT pg_has_role(current_user, nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'public'), false),
			       EXISTS (SELECT FROM pg_namespace WHERE nspname = $1 AND nspowner = to_regrole($2))`,
			ownSchema, objectsOwner).Scan(&public, &mine, &copied)
		if err != nil {
			return err
		}
		if public && !mine {
			w.warnOnce("the schema public of new databases stays open to every role: the admin is no superuser and the server is older than Postgres 15",
				"server", w.server.Name, "version", version)
		}
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if !copied {
				sql := append(w.ownership(public && mine), w.privileges(w.owner, public)...)
				_, err := tx.Exec(ctx, strings.Join(sql, ";"))
				return err
			}
			// What owns the objects does not own the database; later migrations of it
			// may make schemas and extensions all the same.
			sql := append([]string{
				"GRANT CREATE, TEMPORARY ON DATABASE " + quote(w.database) + " TO " + objectsOwner,
				"SET LOCAL ROLE " + objectsOwner,
			}, w.privileges(objectsOwner, public)...)
			if _, err := tx.Exec(ctx, strings.Join(sql, ";")); err != nil {
				return err
			}
			return w.grant(ctx, tx.Conn(), objectsOwner, true)
		})
	})
}

// ownership gives the owner role a new database's schemas, and goes on as that role.
func (w *work) ownership(public bool) []string {
	owner := quote(w.owner)
	var sql []string
	if public {
		sql = append(sql,
			"ALTER SCHEMA public OWNER TO "+owner,
			"REVOKE ALL ON SCHEMA public FROM PUBLIC")
	}
	sql = append(sql, "SET LOCAL ROLE "+owner, "CREATE SCHEMA IF NOT EXISTS "+ownSchema)
	for _, table := range versionTables {
		sql = append(sql, "CREATE TABLE IF NOT EXISTS "+table+" (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)")
	}
	return sql
}

var versionTables = []string{ownSchema + "." + builtinTable, ownSchema + "." + appTable}

// privileges are what the application's role gets in every database, whatever its
// migrations make.
func (w *work) privileges(owner string, public bool) []string {
	if w.app == "" {
		return nil
	}
	app := quote(w.app)
	var sql []string
	if public {
		sql = append(sql, "GRANT USAGE ON SCHEMA public TO "+app)
	}
	tables := strings.Join(versionTables, ", ")
	forAll := "ALTER DEFAULT PRIVILEGES FOR ROLE " + quote(owner) + " GRANT "
	return append(sql,
		"REVOKE ALL ON "+tables+" FROM "+app, "GRANT SELECT ON "+tables+" TO "+app,
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
func (w *work) grant(ctx context.Context, conn *pgx.Conn, owner string, all bool) error {
	if w.app == "" {
		return nil
	}
	rows, _ := conn.Query(ctx, `
		SELECT format('GRANT %s %s TO %I', privileges, string_agg(object, ', '), $2::text) FROM (
			SELECT 'USAGE ON SCHEMA', quote_ident(n.nspname)
			FROM pg_namespace n
			WHERE n.nspowner = $1::text::regrole AND n.nspname <> $3
			  AND ($4 OR NOT has_schema_privilege($2::text, n.oid, 'USAGE'))
			UNION ALL
			SELECT 'SELECT, INSERT, UPDATE, DELETE ON TABLE', format('%I.%I', n.nspname, c.relname)
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relowner = $1::text::regrole AND n.nspname <> $3 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
			  AND ($4 OR NOT (has_table_privilege($2::text, c.oid, 'SELECT') AND has_table_privilege($2::text, c.oid, 'INSERT')
			       AND has_table_privilege($2::text, c.oid, 'UPDATE') AND has_table_privilege($2::text, c.oid, 'DELETE')))
			UNION ALL
			SELECT 'USAGE, SELECT, UPDATE ON SEQUENCE', format('%I.%I', n.nspname, c.relname)
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relowner = $1::text::regrole AND n.nspname <> $3 AND c.relkind = 'S'
			  AND ($4 OR NOT (has_sequence_privilege($2::text, c.oid, 'USAGE') AND has_sequence_privilege($2::text, c.oid, 'SELECT')
			       AND has_sequence_privilege($2::text, c.oid, 'UPDATE')))
			UNION ALL
			SELECT 'EXECUTE ON ROUTINE', p.oid::regprocedure::text
			FROM pg_proc p
			WHERE p.proowner = $1::text::regrole AND ($4 OR NOT has_function_privilege($2::text, p.oid, 'EXECUTE'))
		) AS lacking (privileges, object)
		GROUP BY privileges`, owner, w.app, ownSchema, all)
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(statements) == 0 {
		return err
	}
	_, err = conn.Exec(ctx, strings.Join(statements, ";"))
	return err
}
