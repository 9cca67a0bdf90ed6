package tenantdb

import (
	"context"
	"maps"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/pgerr"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// Our own schema in a tenant's database, and its version tables: one for the
// built-in migrations, one for the application's.
const (
	ownSchema    = "tenantry"
	builtinTable = "schema_migrations"
	appTable     = "app_schema_migrations"
)

// configFor returns how to connect to the database as the admin or, if role is
// not empty, as that role: RESET ROLE leads back to it, and SET ROLE NONE to the admin.
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
	if accepted := w.pool.lostClients.Load(); accepted != nil {
		maps.Copy(cfg.RuntimeParams, *accepted)
	}
	return cfg
}

// inside calls f with a session of the admin's in the database. What f does may be
// repeated.
func (w *work) inside(ctx context.Context, f func(*pgx.Conn) error) error {
	return w.within(ctx, func(s *session) error {
		if err := becomeAdmin(ctx, s); err != nil {
			return err
		}
		return f(s.conn)
	})
}

// insideAsOwner calls f with a session that acts as owner, who owns what is in the
// database. What f does may be repeated.
func (w *work) insideAsOwner(ctx context.Context, f func(conn *pgx.Conn, owner string) error) error {
	return w.within(ctx, func(s *session) error {
		if err := w.becomeOwner(ctx, s); err != nil {
			return err
		}
		return f(s.conn, s.owner)
	})
}

// within calls f with the session that an earlier call kept, or with a new one, and
// with a new one too if it turns out that somebody ended the one that was kept.
func (w *work) within(ctx context.Context, f func(*session) error) error {
	for {
		s := w.takeKept()
		kept := s != nil
		if !kept {
			var err error
			if s, err = w.connect(ctx, ""); err != nil {
				return err
			}
			if err := w.stillOurs(ctx); err != nil {
				leave(s.conn)
				return err
			}
		}
		err := f(s)
		if err == nil && w.keeps {
			w.keep(s)
			return nil
		}
		ended := s.conn.IsClosed()
		leave(s.conn)
		if err == nil || !kept || !ended || ctx.Err() != nil {
			return err
		}
	}
}

// stillOurs asks the context's fence where no lock on the slug keeps others from having
// given the name to another tenant's database. A session that was made before the
// answer is in the job's own, and dropping that ends it.
func (w *work) stillOurs(ctx context.Context) error {
	if w.conn != nil {
		return nil
	}
	return tenancy.CheckFence(ctx)
}

// becomeAdmin has the session act as the admin.
func becomeAdmin(ctx context.Context, s *session) error {
	if s.owner == "" {
		return nil
	}
	_, err := s.conn.Exec(ctx, "SET ROLE NONE")
	if err == nil {
		s.owner = ""
	}
	return err
}

// becomeOwner has the session act as the role that owns what is in the database: in
// a copy of a template the server's objectsOwner, else the tenant's own.
func (w *work) becomeOwner(ctx context.Context, s *session) error {
	if s.owner != "" {
		return nil
	}
	return s.conn.QueryRow(ctx, `
		SELECT set_config('role', CASE WHEN EXISTS (
			SELECT FROM pg_namespace WHERE nspname = $1 AND nspowner = to_regrole($2)) THEN $2 ELSE $3 END, false)`,
		ownSchema, objectsOwner, w.owner).Scan(&s.owner)
}

// connect begins a session in the database, of the admin's or as owner.
func (w *work) connect(ctx context.Context, owner string) (*session, error) {
	conn, err := pgx.ConnectConfig(ctx, w.configFor(owner))
	if pgerr.IsAuthFailure(err) {
		// The admin's password may have changed since the pool was made.
		if w.pool, err = w.resolve(ctx, w.server); err == nil {
			conn, err = pgx.ConnectConfig(ctx, w.configFor(owner))
		}
	}
	if err != nil {
		return nil, err
	}
	if w.pool.lostClients.Load() == nil {
		accepted, err := noticeLostClients(ctx, conn)
		if err != nil {
			leave(conn)
			return nil, err
		}
		w.pool.lostClients.Store(&accepted)
	}
	return &session{conn, owner}, nil
}

// prepare sets who may do what inside the database, for what is there and for
// all that its owner will make, and lets the application's role in. It is one
// transaction: whoever looks after a crash finds a database with nothing of it done,
// or with all.
func (w *work) prepare(ctx context.Context, version int) error {
	return w.within(ctx, func(s *session) error {
		if err := becomeAdmin(ctx, s); err != nil {
			return err
		}
		// Before Postgres 15 public belongs to the superuser and is open to all.
		var public, mine, carried bool
		var copied []string // schemas that came from a template
		err := s.conn.QueryRow(ctx, `
			SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public'),
			       coalesce((SELECT pg_has_role(current_user, nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'public'), false),
			       ARRAY(SELECT nspname::text FROM pg_namespace WHERE nspowner = to_regrole($1)),
			       coalesce(has_table_privilege(to_regrole($2), to_regclass($3), 'SELECT'), false)`,
			objectsOwner, applications, versionTables[0]).Scan(&public, &mine, &copied, &carried)
		if err != nil {
			return err
		}
		if len(copied) > 0 && !carried {
			return tenancy.Errorf(tenancy.CodePartialState,
				"The database %s was copied by an earlier release, which did not finish it; it is removed, and a retry makes it anew.", w.database)
		}
		if public && !mine {
			w.warnOnce("the schema public of new databases stays open to every role: the admin is no superuser and the server is older than Postgres 15",
				"server", w.server.Name, "version", version)
		}
		var sql []string
		if w.app != applications {
			sql = append(sql, "GRANT CONNECT ON DATABASE "+quote(w.database)+" TO "+quote(w.app))
		}
		owner := w.owner
		if len(copied) > 0 {
			owner = objectsOwner
			sql = append(sql, w.copiedRights(copied)...)
		} else {
			sql = append(append(sql, w.ownership(public && mine)...), w.rights(public)...)
		}
		// Whoever comes next acts as the owner.
		if _, err = execAll(ctx, s.conn, append(sql, "SET ROLE "+quote(owner))...); err == nil {
			s.owner = owner
		}
		return err
	})
}

// copiedRights are what a copy of a template lacks. What owns its objects does not own
// the database; later migrations of it may make schemas and extensions all the same.
// Of the application's rights it has those on objects, as applications. The schemas
// are opened to this database's own application and to no other.
func (w *work) copiedRights(schemas []string) []string {
	sql := []string{
		"GRANT CREATE, TEMPORARY ON DATABASE " + quote(w.database) + " TO " + objectsOwner,
		"GRANT " + applications + " TO " + quote(w.app),
		"SET LOCAL ROLE " + objectsOwner,
	}
	for _, schema := range schemas {
		sql = append(sql, "GRANT USAGE ON SCHEMA "+quote(schema)+" TO "+quote(w.app))
	}
	return append(sql, byDefault(objectsOwner, "USAGE ON SCHEMAS", w.app))
}

// byDefault is the statement that gives a role rights on what owner will make.
func byDefault(owner, rights, role string) string {
	return "ALTER DEFAULT PRIVILEGES FOR ROLE " + quote(owner) + " GRANT " + rights + " TO " + quote(role)
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

// rights are what the application's role gets in a database that is made from
// nothing, whatever its migrations make. In a template applications gets them, but for
// those on schemas.
func (w *work) rights(public bool) []string {
	app := quote(w.app)
	tables := strings.Join(versionTables, ", ")
	sql := []string{
		"REVOKE ALL ON " + tables + " FROM " + app, "GRANT SELECT ON " + tables + " TO " + app,
		byDefault(w.owner, "SELECT, INSERT, UPDATE, DELETE ON TABLES", w.app),
		byDefault(w.owner, "USAGE, SELECT, UPDATE ON SEQUENCES", w.app),
		byDefault(w.owner, "EXECUTE ON FUNCTIONS", w.app),
	}
	if w.app == applications {
		return sql
	}
	if public {
		sql = append(sql, "GRANT USAGE ON SCHEMA public TO "+app)
	}
	return append(sql, "GRANT USAGE ON SCHEMA "+ownSchema+" TO "+app, byDefault(w.owner, "USAGE ON SCHEMAS", w.app))
}

// grant gives the application's role what it lacks on the owner's objects: a
// migration may have changed the default privileges. In a copy of a template it gets
// those on all but the schemas as a member of applications, unless it is none, as in
// copies of earlier releases. conn acts as the owner.
func (w *work) grant(ctx context.Context, conn *pgx.Conn, owner string) error {
	rows, _ := conn.Query(ctx, `
		SELECT format('GRANT %s %s TO %I', privileges, string_agg(object, ', '),
		              CASE WHEN $1 = $5 AND privileges <> 'USAGE ON SCHEMA' AND pg_has_role($2::text, to_regrole($4), 'USAGE') THEN $4 ELSE $2 END)
		FROM (
			SELECT 'USAGE ON SCHEMA', quote_ident(n.nspname)
			FROM pg_namespace n
			WHERE n.nspowner = $1::text::regrole AND n.nspname <> $3 AND $2 <> $4
			  AND NOT has_schema_privilege($2::text, n.oid, 'USAGE')
			UNION ALL
			SELECT 'SELECT, INSERT, UPDATE, DELETE ON TABLE', format('%I.%I', n.nspname, c.relname)
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relowner = $1::text::regrole AND n.nspname <> $3 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
			  AND NOT (has_table_privilege($2::text, c.oid, 'SELECT') AND has_table_privilege($2::text, c.oid, 'INSERT')
			       AND has_table_privilege($2::text, c.oid, 'UPDATE') AND has_table_privilege($2::text, c.oid, 'DELETE'))
			UNION ALL
			SELECT 'USAGE, SELECT, UPDATE ON SEQUENCE', format('%I.%I', n.nspname, c.relname)
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relowner = $1::text::regrole AND n.nspname <> $3 AND c.relkind = 'S'
			  AND NOT (has_sequence_privilege($2::text, c.oid, 'USAGE') AND has_sequence_privilege($2::text, c.oid, 'SELECT')
			       AND has_sequence_privilege($2::text, c.oid, 'UPDATE'))
			UNION ALL
			SELECT 'EXECUTE ON ROUTINE', p.oid::regprocedure::text
			FROM pg_proc p
			WHERE p.proowner = $1::text::regrole AND NOT has_function_privilege($2::text, p.oid, 'EXECUTE')
		) AS lacking (privileges, object)
		GROUP BY privileges`, owner, w.app, ownSchema, applications, objectsOwner)
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(statements) == 0 {
		return err
	}
	_, err = conn.Exec(ctx, strings.Join(statements, ";"))
	return err
}
