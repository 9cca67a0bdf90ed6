package tenantdb

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// warmThing is a database or a role under a prepared database's name.
type warmThing struct {
	kind, name string
	exists     bool
	mark       string
}

func (t warmThing) ours() bool { return strings.HasPrefix(t.mark, warmMark) }

// warmFacts is what is there of a prepared database.
type warmFacts struct {
	database, owner, app warmThing
	// invalid: a DROP DATABASE was interrupted. open: sessions are let in.
	// occupied: there is one.
	invalid, open, occupied bool
	version                 int // server_version_num
}

// finished returns what the database is a copy of, "" unless everything is there,
// says the same, and is shut.
func (f warmFacts) finished() string {
	template, ok := strings.CutPrefix(f.database.mark, warmOf)
	if !ok || !f.database.exists || f.invalid || f.open {
		return ""
	}
	for _, role := range []warmThing{f.owner, f.app} {
		if !role.exists || role.mark != f.database.mark {
			return ""
		}
	}
	return template
}

// foreign names what is there and not ours.
func (f warmFacts) foreign() (names []string) {
	for _, t := range []warmThing{f.database, f.owner, f.app} {
		if t.exists && !t.ours() {
			names = append(names, t.kind+" "+t.name)
		}
	}
	return names
}

// look is the question to the catalog that f is the answer to. A database without a
// COMMENT is as its owner role says: the server died between CREATE DATABASE and
// COMMENT.
func (f *warmFacts) look(p place) question {
	*f = warmFacts{
		database: warmThing{kind: "database", name: p.database},
		owner:    warmThing{kind: "role", name: p.owner}, app: warmThing{kind: "role", name: p.app},
	}
	return question{`
		SELECT d.oid IS NOT NULL, coalesce(shobj_description(d.oid, 'pg_database'), ''), coalesce(d.datdba = o.oid, false),
		       coalesce(d.datconnlimit = -2, false), coalesce(d.datallowconn, false),
		       EXISTS (SELECT FROM pg_stat_activity s WHERE s.datid = d.oid AND s.usesysid IS NOT NULL),
		       o.oid IS NOT NULL, coalesce(shobj_description(o.oid, 'pg_authid'), ''),
		       a.oid IS NOT NULL, coalesce(shobj_description(a.oid, 'pg_authid'), ''),
		       current_setting('server_version_num')::int
		FROM (VALUES (1)) AS one
		LEFT JOIN pg_database d ON d.datname = $1
		LEFT JOIN pg_roles o ON o.rolname = $2
		LEFT JOIN pg_roles a ON a.rolname = $3`, []any{p.database, p.owner, p.app}, f.scan}
}

func (f *warmFacts) scan(row pgx.Row) error {
	var owned bool
	err := row.Scan(
		&f.database.exists, &f.database.mark, &owned, &f.invalid, &f.open, &f.occupied,
		&f.owner.exists, &f.owner.mark, &f.app.exists, &f.app.mark, &f.version)
	if f.database.mark == "" && owned {
		f.database.mark = f.owner.mark
		if strings.HasPrefix(f.database.mark, warmOf) {
			f.database.mark = warmUnfinished
		}
	}
	return err
}

// SurveyWarm lists what there is of ours on a server under the names of prepared
// databases.
func (s *Servers) SurveyWarm(ctx context.Context, server tenancy.DBServer) ([]tenancy.SurveyedWarmDatabase, error) {
	conn, pool, err := s.acquire(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	w := &work{Servers: s, server: server, pool: pool, conn: conn.Conn()}
	rows, _ := w.conn.Query(ctx, `
		SELECT DISTINCT regexp_replace(name, '_(app|owner)$', '') FROM (
			SELECT datname::text FROM pg_database UNION ALL SELECT rolname::text FROM pg_roles) AS n (name)
		WHERE starts_with(name, 'tenantry_warm_') ORDER BY 1`)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, failed(ctx, err, "cannot list the prepared databases"+on(server))
	}
	var found []tenancy.SurveyedWarmDatabase
	for _, name := range names {
		id, ok := tenancy.ParseWarmDatabaseName(name)
		if !ok {
			continue
		}
		var f warmFacts
		if err := ask(ctx, w.conn, f.look(warmPlace(id))); err != nil {
			return nil, failed(ctx, err, "cannot look at "+name+on(server))
		}
		if f.database.ours() || f.owner.ours() || f.app.ours() {
			found = append(found, tenancy.SurveyedWarmDatabase{ID: id, Database: f.database.exists, Template: f.finished()})
		}
	}
	return found, nil
}
