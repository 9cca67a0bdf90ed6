package tenantdb

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// build makes the template t, in place of what an earlier builder may have left.
// The caller holds templateLock. A set that does not run, or that leaves something a
// copy would lack or share, is an error and leaves no template.
func (w *work) build(ctx context.Context, t templateState) error {
	ctx, cancel := context.WithTimeout(ctx, buildLimit)
	defer cancel()
	if err := w.ensureTemplateRoles(ctx); err != nil || t.ready {
		return err // a ready one lacked no more than the admin's membership
	}
	began := time.Now()
	b := w.templateWork(t.name)
	err := b.fill(ctx, t)
	if err == nil {
		w.cfg.Log.Info("built a template for tenants' databases", "server", w.server.Name, "template", t.name, "took", time.Since(began))
		return nil
	}
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	if left := b.forceDrop(cleanup); left != nil {
		w.cfg.Log.Warn("cannot drop an unfinished template; the next builder will", "server", w.server.Name, "template", t.name, "error", left)
	}
	return err
}

// fill makes the database, migrates it and shuts it. Only its last statement makes
// it ready.
func (w *work) fill(ctx context.Context, t templateState) error {
	if t.exists {
		if err := w.forceDrop(ctx); err != nil {
			return err
		}
	}
	name := quote(w.database)
	_, err := w.conn.Exec(ctx, "CREATE DATABASE "+name+" OWNER "+templateKeeper+" TEMPLATE template0"+strategy(t, false)+" ALLOW_CONNECTIONS false")
	if err != nil {
		return failed(ctx, err, "cannot create template "+w.database+on(w.server))
	}
	// The owner of what is inside may do what a tenant's owner may, short of what
	// belongs to the database itself and not to what is in it.
	if _, err := execAll(ctx, w.conn,
		"COMMENT ON DATABASE "+name+" IS '"+unfinishedMark+"'",
		"REVOKE ALL ON DATABASE "+name+" FROM PUBLIC",
		"GRANT ALL ON DATABASE "+name+" TO "+objectsOwner+" WITH GRANT OPTION",
		"ALTER DATABASE "+name+" ALLOW_CONNECTIONS true",
	); err != nil {
		return failed(ctx, err, "cannot open template "+w.database+on(w.server))
	}
	before, err := w.ownRights(ctx)
	if err != nil {
		return failed(ctx, err, "cannot look at template "+w.database+on(w.server))
	}
	if err := w.prepare(ctx, t.version); err != nil {
		return failed(ctx, err, "cannot prepare template "+w.database+on(w.server))
	}
	sources, err := w.openSources()
	if err != nil {
		return err
	}
	if _, err := w.migrateOnce(ctx, sources); err != nil {
		return failed(ctx, err, "cannot migrate template "+w.database+on(w.server))
	}
	reason, err := w.whyUnfit(ctx, before)
	if err != nil {
		return failed(ctx, err, "cannot look into template "+w.database+on(w.server))
	}
	if reason != "" {
		return tenancy.Errorf(tenancy.CodeMigrationsFailed, "The migrations leave something that a copy of a template would lack or share: %s.", reason)
	}
	return failed(ctx, w.finish(ctx), "cannot finish template "+w.database+on(w.server))
}

// strategy says how the server copies. wal_log is the quicker for one database at a
// time, which is what a tenant waits for; file_copy is what it sustains when there are
// many, and the quicker one where nothing is synced.
func strategy(t templateState, bulk bool) string {
	switch {
	case t.version < 150000:
		return ""
	case t.unsafe || bulk:
		return " STRATEGY file_copy"
	}
	return " STRATEGY wal_log"
}

// ensureTemplateRoles makes the roles, with their marks, and lets an admin that is no
// superuser act for them, and make others members of applications.
func (w *work) ensureTemplateRoles(ctx context.Context) error {
	var sql []string
	for _, r := range []struct{ role, as, with string }{
		{templateKeeper, "USAGE", ""},
		{objectsOwner, "USAGE", ""},
		{applications, "MEMBER WITH ADMIN OPTION", " WITH ADMIN OPTION"},
	} {
		sql = append(sql, `DO $$ BEGIN
			IF to_regrole('`+r.role+`') IS NULL THEN
				CREATE ROLE `+r.role+` NOLOGIN;
				COMMENT ON ROLE `+r.role+` IS '`+templateRoleMark+`';
			END IF;
			IF NOT pg_has_role(current_user, '`+r.role+`', '`+r.as+`') THEN
				GRANT `+r.role+` TO CURRENT_USER`+r.with+`;
			END IF; END $$`)
	}
	_, err := execAll(ctx, w.conn, sql...)
	return failed(ctx, err, "cannot make the roles of the templates"+on(w.server))
}

// ownRights is who may do what with the database itself.
func (w *work) ownRights(ctx context.Context) (acl string, err error) {
	err = w.conn.QueryRow(ctx, "SELECT coalesce(datacl::text, '') FROM pg_database WHERE datname = $1", w.database).Scan(&acl)
	return acl, err
}

// whyUnfit names what migrations left that CREATE DATABASE … TEMPLATE does not copy,
// or that must not be the same in two tenants' databases.
func (w *work) whyUnfit(ctx context.Context, rights string) (reason string, err error) {
	err = w.inside(ctx, func(conn *pgx.Conn) error {
		rows, _ := conn.Query(ctx, `
			WITH me AS (SELECT oid, datacl, datconnlimit FROM pg_database WHERE datname = current_database()),
			     owner AS (SELECT $1::text::regrole::oid AS oid)
			SELECT 'rights on the database' FROM me WHERE coalesce(datacl::text, '') <> $2
			UNION ALL SELECT 'a schema that is open to every role, ' || nspname
			          FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) a
			          WHERE a.grantee = 0 AND nspname NOT IN ('pg_catalog', 'information_schema')
			UNION ALL SELECT 'a limit of connections' FROM me WHERE datconnlimit <> -1
			UNION ALL SELECT 'a comment on the database' FROM me WHERE coalesce(shobj_description(oid, 'pg_database'), '') <> $3
			UNION ALL SELECT 'settings of the database or the owner' FROM pg_db_role_setting s, me, owner
			          WHERE s.setdatabase = me.oid OR s.setrole = owner.oid
			UNION ALL SELECT 'a security label of the database' FROM pg_shseclabel s, me WHERE s.objoid = me.oid
			UNION ALL SELECT 'a subscription' FROM pg_subscription s, me WHERE s.subdbid = me.oid
			UNION ALL SELECT 'a membership of the owner' FROM pg_auth_members m, owner WHERE m.member = owner.oid
			UNION ALL SELECT 'the name of the database, in ' || place FROM (
				SELECT 'a comment', description FROM pg_description
				UNION ALL SELECT 'a function', prosrc FROM pg_proc WHERE proowner = (TABLE owner)
				UNION ALL SELECT 'a default', pg_get_expr(adbin, adrelid) FROM pg_attrdef
				UNION ALL SELECT 'a constraint', pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN pg_namespace n ON n.oid = connamespace WHERE n.nspowner = (TABLE owner)
				UNION ALL SELECT 'a view', pg_get_viewdef(oid) FROM pg_class WHERE relkind IN ('v', 'm') AND relowner = (TABLE owner)
				UNION ALL SELECT 'a policy', concat(pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) FROM pg_policy
			) AS texts (place, content) WHERE content LIKE $4
			LIMIT 1`, objectsOwner, rights, unfinishedMark, namePattern)
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil || len(found) > 0 {
			reason = strings.Join(found, ", ")
			return err
		}
		reason, err = w.whyUnfitRows(ctx, conn)
		return err
	})
	return reason, err
}

// namePattern finds a template's name, as current_database() has put it somewhere.
var namePattern = "%" + strings.ReplaceAll(templatePrefix, "_", `\_`) + "%"

// whyUnfitRows looks at the rows that migrations made.
func (w *work) whyUnfitRows(ctx context.Context, conn *pgx.Conn) (string, error) {
	rows, _ := conn.Query(ctx, `
		SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relowner = $1::text::regrole AND c.relkind IN ('r', 'm') AND n.nspname <> $2 AND c.relispopulated`, objectsOwner, ownSchema)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", err
	}
	generator, err := w.randomFile()
	if err != nil {
		return "", err
	}
	for _, table := range tables {
		var any, named bool
		err := conn.QueryRow(ctx, fmt.Sprintf(
			"SELECT EXISTS (SELECT FROM ONLY %[1]s), EXISTS (SELECT FROM ONLY %[1]s t WHERE t::text LIKE $1)", table), namePattern).Scan(&any, &named)
		switch {
		case err != nil:
			return "", err
		case named:
			return "the name of the database, in a row of " + table, nil
		case any && generator != "":
			return "rows, of " + table + ", where file " + generator + " makes random values", nil
		}
	}
	return "", nil
}

// randomFile names a file of the application's that may make random values: a key or
// a password among them would be the same for every tenant. The set may say that it
// does not mind.
func (w *work) randomFile() (name string, err error) {
	for _, set := range w.sets {
		if set.table != appTable {
			continue
		}
		files, err := set.upFiles()
		if err != nil {
			return "", err
		}
		for _, f := range files {
			if anyway.Match(f.content) {
				return "", nil
			}
			if name == "" && random.Match(f.content) {
				name = f.name
			}
		}
	}
	return name, nil
}

// finish shuts the template and marks it as ready.
func (w *work) finish(ctx context.Context) error {
	if err := w.shut(ctx); err != nil {
		return err
	}
	_, err := execAll(ctx, w.conn, "REVOKE ALL ON DATABASE "+quote(w.database)+" FROM "+objectsOwner+" CASCADE", noteUse(w.database))
	return err
}

// shut closes the database's door and waits until it is empty: nobody can copy or
// rename a database that a session is in.
func (w *work) shut(ctx context.Context) error {
	if _, err := w.conn.Exec(ctx, "ALTER DATABASE "+quote(w.database)+" ALLOW_CONNECTIONS false"); err != nil {
		return err
	}
	for delay := time.Millisecond; ; delay = min(2*delay, 50*time.Millisecond) {
		if err := w.terminate(ctx, w.database); err != nil {
			return err
		}
		var busy bool
		if err := w.conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1 AND usesysid IS NOT NULL)", w.database).Scan(&busy); err != nil {
			return err
		}
		if !busy {
			return nil
		}
		if err := pause(ctx, delay); err != nil {
			return err
		}
	}
}
