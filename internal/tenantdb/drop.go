package tenantdb

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/pgerr"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// DropDatabase drops what exists of the slug and is proven to be owner's
// tenant's, whichever of its jobs made it: the database with everybody in it,
// then the roles. It tolerates absence. What is not proven is left as it is and
// named by CodePartialState, after the rest is gone.
func (s *Servers) DropDatabase(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership) error {
	return s.withSlug(ctx, server, slug, func(ctx context.Context, w *work, f facts) error {
		return w.drop(ctx, owner, f)
	})
}

func (w *work) drop(ctx context.Context, owner tenancy.Ownership, f facts) error {
	var foreign []string
	if f.appRole.provenBy(owner) {
		// No new sessions; those there are end with the database.
		if err := w.tolerate(ctx, "ALTER ROLE "+quote(f.appRole.name)+" NOLOGIN", pgerr.UndefinedObject); err != nil {
			return failed(ctx, err, "cannot lock out role "+f.appRole.name+on(w.server))
		}
	}
	switch {
	case f.database.provenBy(owner):
		if !f.invalid {
			sql := "ALTER DATABASE " + quote(f.database.name) + " ALLOW_CONNECTIONS false"
			if err := w.tolerate(ctx, sql, pgerr.InvalidCatalogName); err != nil {
				return failed(ctx, err, "cannot close database "+f.database.name+on(w.server))
			}
		}
		if err := w.forceDrop(ctx); err != nil {
			return err
		}
	case f.database.exists:
		foreign = append(foreign, f.database.String())
	}
	for _, role := range []thing{f.appRole, f.ownerRole} {
		switch {
		case role.provenBy(owner):
			err := w.tolerate(ctx, "DROP ROLE IF EXISTS "+quote(role.name))
			if pgerr.State(err) == pgerr.DependentObjects {
				// It owns, or was given, something that is not ours to drop.
				foreign = append(foreign, "something that depends on "+role.String())
			} else if err != nil {
				return failed(ctx, err, "cannot drop role "+role.name+on(w.server))
			}
		case role.exists:
			foreign = append(foreign, role.String())
		}
	}
	return partialState(w.server, foreign)
}

// forceDrop drops the database and ends whoever is in it. FORCE may be refused
// to an admin that is no superuser while a session of another role is still
// there (42501), and a session that is just going may be in the way (55006), so
// it tries for some seconds.
func (w *work) forceDrop(ctx context.Context) error {
	name := w.database
	w.leaveKept()
	var err error
	for delay := 10 * time.Millisecond; delay < 2*time.Second; delay *= 2 {
		if err := w.terminate(ctx, name); err != nil {
			return failed(ctx, err, "cannot end the sessions of database "+name+on(w.server))
		}
		_, err = w.conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)")
		if state := pgerr.State(err); state != pgerr.ObjectInUse && state != pgerr.InsufficientPrivilege {
			break
		}
		if err := pause(ctx, delay); err != nil {
			return failed(ctx, err, "cannot drop database "+name+on(w.server))
		}
	}
	if pgerr.State(err) == pgerr.InsufficientPrivilege && ctx.Err() == nil {
		return tenancy.Unavailable(err, "cannot drop database "+name+on(w.server)+": a session the admin may not end is connected to it")
	}
	return failed(ctx, err, "cannot drop database "+name+on(w.server))
}

// terminate ends those sessions of a database that the admin may end.
func (w *work) terminate(ctx context.Context, database string) error {
	_, err := w.conn.Exec(ctx, `
		SELECT pg_terminate_backend(a.pid)
		FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
		WHERE a.datname = $1 AND a.pid <> pg_backend_pid()
		  AND (NOT r.rolsuper OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user))
		  AND (pg_has_role(current_user, a.usesysid, 'USAGE') OR pg_has_role(current_user, 'pg_signal_backend', 'USAGE'))`,
		database)
	return err
}

// sessionsIn asks which of our own sessions are in a database.
func (s *Servers) sessionsIn(database string, pids *[]int32) question {
	return question{
		"SELECT ARRAY(SELECT pid FROM pg_stat_activity WHERE datname = $1 AND usename = current_user AND application_name = $2)",
		[]any{database, s.cfg.AppName},
		func(row pgx.Row) error { return row.Scan(pids) },
	}
}

// endSessions ends our own sessions in the database, and returns when
// they are gone. They are those of this package's earlier callers that died:
// the present one holds the slug and has none but what was kept for it.
func (w *work) endSessions(ctx context.Context) error {
	for delay := time.Millisecond; ; delay = min(2*delay, 50*time.Millisecond) {
		rows, _ := w.conn.Query(ctx, `
			SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
			WHERE a.datname = $1 AND a.usename = current_user AND a.application_name = $2
			  AND a.pid NOT IN (pg_backend_pid(), $3)`, w.database, w.cfg.AppName, w.keptPID())
		ended, err := pgx.CollectRows(rows, pgx.RowTo[bool])
		if err != nil || len(ended) == 0 {
			return err
		}
		if err := pause(ctx, delay); err != nil {
			return err
		}
	}
}

// tolerate runs a statement that may find its object gone.
func (w *work) tolerate(ctx context.Context, sql string, states ...string) error {
	_, err := w.conn.Exec(ctx, sql)
	for _, state := range states {
		if pgerr.State(err) == state {
			return nil
		}
	}
	return err
}
