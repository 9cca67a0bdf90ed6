package tenantdb

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// tidy drops the server's templates that nobody uses any more, except keep, and what
// killed builders left. The caller holds templateLock, so nobody is building. What
// cannot be dropped now will be another time.
func (w *work) tidy(ctx context.Context, keep string) {
	found, err := w.surveyTemplates(ctx)
	for _, t := range found {
		if err == nil && t.Name != keep && (!t.Finished || t.Unused > unusedAfter) {
			err = w.dropTemplate(ctx, t.Name)
		}
	}
	if err != nil && ctx.Err() == nil {
		w.cfg.Log.Warn("cannot drop an old template", "server", w.server.Name, "error", failed(ctx, err, "cannot tidy up the templates"))
	}
}

// dropTemplate drops a template. A copy that is being made is waited for.
func (w *work) dropTemplate(ctx context.Context, name string) error {
	if err := w.templateWork(name).forceDrop(ctx); err != nil {
		return err
	}
	w.cfg.Log.Info("dropped a template that nobody uses any more", "server", w.server.Name, "template", name)
	return nil
}

// SurveyTemplates lists the server's templates of ours, finished or not.
func (s *Servers) SurveyTemplates(ctx context.Context, server tenancy.DBServer) ([]tenancy.SurveyedTemplate, error) {
	conn, pool, err := s.acquire(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	w := &work{Servers: s, server: server, pool: pool, conn: conn.Conn()}
	found, err := w.surveyTemplates(ctx)
	return found, failed(ctx, err, "cannot list the templates"+on(server))
}

func (w *work) surveyTemplates(ctx context.Context) ([]tenancy.SurveyedTemplate, error) {
	current, _ := w.templateName()
	rows, _ := w.conn.Query(ctx, `
		SELECT d.datname::text, coalesce(shobj_description(d.oid, 'pg_database'), ''), d.datconnlimit = -2 OR d.datallowconn, now(),
		       EXISTS (SELECT FROM pg_locks l, (SELECT hashtextextended($3, 0) AS key) k
		               WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
		                 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
		                 AND l.classid::bigint = (k.key >> 32) & 4294967295 AND l.objid::bigint = k.key & 4294967295)
		FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba
		WHERE starts_with(d.datname::text, $1) AND r.rolname = $2 AND shobj_description(r.oid, 'pg_authid') = $4
		ORDER BY d.datname`, templatePrefix, templateKeeper, templateLock, templateRoleMark)
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (t tenancy.SurveyedTemplate, err error) {
		var comment string
		var unusable bool
		var now time.Time
		if err := row.Scan(&t.Name, &comment, &unusable, &now, &t.Busy); err != nil {
			return t, err
		}
		used, err := time.Parse(time.RFC3339, strings.TrimPrefix(comment, readyMark))
		t.Finished = err == nil && !unusable
		t.Current = t.Name == current
		if t.Finished {
			t.Unused = now.Sub(used)
		}
		return t, nil
	})
}

// DropTemplate drops a template of ours that is unfinished, or that nobody has used
// for as long as unused. It fails with CodeConflict if somebody builds or uses it
// after all, and tolerates its absence.
func (s *Servers) DropTemplate(ctx context.Context, server tenancy.DBServer, name string, unused time.Duration) error {
	conn, pool, err := s.acquire(ctx, server)
	if err != nil {
		return err
	}
	defer conn.Release()
	w := &work{Servers: s, server: server, pool: pool, conn: conn.Conn()}
	inUse := tenancy.Errorf(tenancy.CodeConflict, "Template %s on server %s is in use.", name, server.Name)
	locked, err := w.tryLock(ctx, templateLock)
	if err != nil {
		return failed(ctx, err, "cannot lock the templates"+on(server))
	}
	if !locked {
		return inUse
	}
	defer w.letGo(ctx, templateLock)
	found, err := w.surveyTemplates(ctx)
	if err != nil {
		return failed(ctx, err, "cannot list the templates"+on(server))
	}
	for _, t := range found {
		if t.Name != name {
			continue
		}
		if t.Finished && t.Unused < unused {
			return inUse
		}
		return w.dropTemplate(ctx, name)
	}
	return nil
}
