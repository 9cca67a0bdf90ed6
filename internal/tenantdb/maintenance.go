package tenantdb

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// closeMaintenance takes the right to connect to the maintenance databases named,
// those of openMaintenance, from PUBLIC, so that a tenant's role cannot get in; the
// admin gets the right by name first. Where the admin may not do that, it is logged
// once and the work goes on.
func (w *work) closeMaintenance(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	if err := tenancy.CheckFence(ctx); err != nil {
		return err
	}
	err := pgx.BeginFunc(ctx, w.conn, func(tx pgx.Tx) error {
		// Two at a time would fail each other with "tuple concurrently updated".
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('tenantry maintenance', 0))"); err != nil {
			return err
		}
		for _, name := range names {
			if _, err := tx.Exec(ctx, "GRANT CONNECT ON DATABASE "+quote(name)+" TO CURRENT_USER;"+
				"REVOKE CONNECT ON DATABASE "+quote(name)+" FROM PUBLIC"); err != nil {
				return err
			}
		}
		return nil
	})
	if ctx.Err() != nil {
		return failed(ctx, err, "cannot close the maintenance databases"+on(w.server))
	}
	if err == nil {
		// Without the right to grant, Postgres does nothing and only warns.
		err = ask(ctx, w.conn, openMaintenance(&names))
	}
	if err != nil || len(names) > 0 {
		w.warnOnce("any role can connect to these databases and the admin may not change it",
			"server", w.server.Name, "databases", strings.Join(names, ", "), "error", err)
	}
	return nil
}

// openMaintenance asks which of the server's maintenance database, postgres and
// template1 PUBLIC may connect to.
func openMaintenance(names *[]string) question {
	return question{`
		SELECT ARRAY(
			SELECT d.datname::text FROM pg_database d
			WHERE d.datname IN (current_database(), 'postgres', 'template1')
			  AND EXISTS (SELECT 1 FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a
			              WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT')
			ORDER BY 1)`, nil, func(row pgx.Row) error { return row.Scan(names) }}
}

func (w *work) warnOnce(message string, args ...any) {
	w.mu.Lock()
	about := warning{w.server.ID, message}
	seen := w.warned[about]
	w.warned[about] = true
	w.mu.Unlock()
	if !seen {
		w.cfg.Log.Warn(message, args...)
	}
}
