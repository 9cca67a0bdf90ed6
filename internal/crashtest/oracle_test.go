package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// violation is what must never be seen.
type violation []string

func (v violation) Error() string { return "VIOLATION: " + strings.Join(v, "; ") }

// reality is what exists of a job and its slug, asked of the servers themselves.
type reality struct {
	Status                          tenancy.JobStatus
	Residue                         int
	Tenants                         []string // master rows: status and server
	Reserved, Invitations           int
	Provisioned, Failed, Cancelled  int
	Purged                          int      // whichever tenant of the slug
	Databases, Roles                []string // server and whose
	SecretLive, SecretDeleted, Mine bool
	AuditFaults                     []string
}

const whose = `CASE WHEN comment = $2 THEN 'mine' ELSE 'unproven' END`

func (t *trial) observe(ctx context.Context, job tenancy.Job) (r reality, err error) {
	slug, mark := job.Slug, job.Ownership().String()
	err = t.pool.QueryRow(ctx, `
		SELECT j.status, cardinality(j.residue),
		       (SELECT count(*) FROM identity.job WHERE capacity_reserved),
		       (SELECT count(*) FROM identity.invitation WHERE job_id = j.job_id),
		       count(a.*) FILTER (WHERE a.event_type = 'TENANT_PROVISIONED'),
		       count(a.*) FILTER (WHERE a.event_type = 'TENANT_PROVISION_FAILED'),
		       count(a.*) FILTER (WHERE a.event_type = 'JOB_CANCELLED'),
		       (SELECT count(*) FROM identity.tenant_audit WHERE slug = j.slug AND event_type = 'TENANT_PURGED')
		FROM identity.job j LEFT JOIN identity.tenant_audit a USING (job_id)
		WHERE j.job_id = $1 GROUP BY j.job_id`, job.ID).
		Scan(&r.Status, &r.Residue, &r.Reserved, &r.Invitations, &r.Provisioned, &r.Failed, &r.Cancelled, &r.Purged)
	if err != nil {
		return r, err
	}
	if r.Tenants, err = column[string](ctx, t.pool, `
		SELECT t.status || ' on ' || s.name || CASE WHEN t.tenant_id = $2 AND t.job_id = $3 THEN '' ELSE ', not mine' END
		FROM identity.tenant t JOIN identity.db_server s USING (db_server_id) WHERE t.slug = $1`,
		slug, job.TenantID, job.ID); err != nil {
		return r, err
	}
	_, _, faults, err := t.control.Store.VerifyAudit(ctx, "", 3)
	for _, f := range faults {
		r.AuditFaults = append(r.AuditFaults, fmt.Sprintf("row %d: %s", f.ID, f.What))
	}
	if err != nil {
		return r, err
	}
	for _, s := range t.servers {
		databases, err1 := column[string](ctx, s.Pool, `
			SELECT $3 || ', ' || `+whose+` FROM (
				SELECT shobj_description(oid, 'pg_database') AS comment FROM pg_database WHERE datname = $1) AS d`,
			slug.DatabaseName(), mark, s.name)
		roles, err2 := column[string](ctx, s.Pool, `
			SELECT $3 || ', ' || `+whose+` FROM (
				SELECT shobj_description(oid, 'pg_authid') AS comment FROM pg_roles WHERE rolname = ANY($1)) AS r`,
			[]string{slug.AppRole(), slug.OwnerRole()}, mark, s.name)
		if err := errors.Join(err1, err2); err != nil {
			return r, err
		}
		r.Databases, r.Roles = append(r.Databases, databases...), append(r.Roles, roles...)
	}
	secret, err := t.vault.Inspect(ctx, slug.SecretName())
	r.SecretLive, r.SecretDeleted, r.Mine = secret.Exists, secret.Deleted, secret.Owner == job.Ownership()
	return r, err
}

// verdict compares reality with the only ones that are allowed. It must be asked
// when no worker runs.
func (t *trial) verdict(ctx context.Context, id tenancy.JobID, end tenancy.JobStatus) error {
	job, err := t.control.Store.Job(ctx, id)
	if err != nil {
		return err
	}
	r, err := t.observe(ctx, job)
	if err != nil {
		return err
	}
	var v violation
	want := func(ok bool, format string, args ...any) {
		if !ok {
			v = append(v, fmt.Sprintf(format, args...))
		}
	}
	want(end == "" || r.Status == end, "the job is %s and not %s (%+v)", r.Status, end, job.Error)
	want(r.Reserved == 0, "%d places are still reserved", r.Reserved)
	want(r.Residue == 0, "the job names residue")
	want(len(r.AuditFaults) == 0, "the audit trail is broken: %v", r.AuditFaults)
	want(!r.SecretDeleted, "the secret is soft-deleted")
	want(t.deserted(ctx, job.Slug) == nil, "sessions are left in the database")
	want(r.Purged == t.purges, "audit: %d purged by %d purges", r.Purged, t.purges)
	gone := func() {
		want(len(r.Tenants) == 0, "master rows: %v", r.Tenants)
		want(len(r.Databases) == 0, "databases: %v", r.Databases)
		want(len(r.Roles) == 0, "roles: %v", r.Roles)
		want(!r.SecretLive, "the secret is still there")
		want(r.Provisioned == 0, "audit says provisioned")
		want(r.Invitations == 0, "%d invitations", r.Invitations)
	}
	switch {
	case r.Status == tenancy.JobComplete && job.Kind == tenancy.KindOffboard:
		gone()
		want(r.Failed+r.Cancelled == 0, "audit: %d failed, %d cancelled", r.Failed, r.Cancelled)
		v = append(v, t.kept(ctx, job)...)
	case r.Status == tenancy.JobComplete:
		home := job.Server.Name
		want(slices.Equal(r.Tenants, []string{"active on " + home}), "master rows: %v", r.Tenants)
		want(slices.Equal(r.Databases, []string{home + ", mine"}), "databases: %v", r.Databases)
		want(slices.Equal(r.Roles, []string{home + ", mine", home + ", mine"}), "roles: %v", r.Roles)
		want(r.SecretLive && r.Mine, "the secret is missing or another's")
		want(r.Provisioned == 1 && r.Cancelled == 0, "audit: %d provisioned, %d cancelled", r.Provisioned, r.Cancelled)
		want(r.Failed == job.Attempt-1, "audit: %d failed in %d attempts", r.Failed, job.Attempt)
		want(r.Invitations == 1, "%d invitations", r.Invitations)
		if len(v) == 0 {
			v = append(v, t.works(ctx, job)...)
		}
	case r.Status == tenancy.JobFailed, r.Status == tenancy.JobCancelled:
		gone()
		want(r.Failed+r.Cancelled == job.Attempt, "audit: %d failed, %d cancelled in %d attempts", r.Failed, r.Cancelled, job.Attempt)
	default:
		want(false, "the job is %s", r.Status)
	}
	strays, err := t.strays(ctx)
	if v = append(v, strays...); len(v) == 0 {
		return err
	}
	return v
}

// deserted waits until nobody is in the tenant's database: the sessions of a
// worker end a moment after it.
func (t *trial) deserted(ctx context.Context, slug tenancy.Slug) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return until(ctx, "the sessions end", func() (bool, error) {
		sessions := 0
		for _, s := range t.servers {
			var n int
			if err := s.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE datname = $1`, slug.DatabaseName()).Scan(&n); err != nil {
				return false, err
			}
			sessions += n
		}
		return sessions == 0, nil
	})
}

// works connects as the tenant's application does, with what the vault says, and
// compares the database with one that nothing ever happened to.
func (t *trial) works(ctx context.Context, job tenancy.Job) violation {
	appURL, err := t.vault.Value(ctx, job.Slug.SecretName())
	if err != nil {
		return violation{"the secret cannot be read: " + err.Error()}
	}
	got, err := fingerprint(ctx, appURL, job.Slug)
	if err != nil {
		return violation{"the application cannot use its database: " + err.Error()}
	}
	want := t.reference
	var v violation
	for _, line := range want {
		if !slices.Contains(got, line) {
			v = append(v, "the database lacks "+line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			v = append(v, "the database should not have "+line)
		}
	}
	return v
}

// fingerprint is everything in a tenant's database that depends on neither its
// name nor the time.
func fingerprint(ctx context.Context, appURL string, slug tenancy.Slug) ([]string, error) {
	conn, err := pgx.Connect(ctx, appURL)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, `
		WITH object AS (
			SELECT c.oid, n.nspname || '.' || c.relname AS name, c.relkind, c.relacl
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'ballast'))
		SELECT 'user ' || current_user || ' in ' || current_database()
		UNION ALL SELECT 'object ' || name || ' ' || relkind::text || ' ' || (SELECT coalesce(string_agg(a::text, ',' ORDER BY a::text), '') FROM unnest(relacl) AS a) FROM object
		UNION ALL SELECT 'column ' || name || '.' || attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull
			FROM object JOIN pg_attribute ON attrelid = oid WHERE attnum > 0 AND NOT attisdropped
		UNION ALL SELECT 'constraint ' || name || ' ' || pg_get_constraintdef(k.oid) FROM object JOIN pg_constraint k ON k.conrelid = object.oid
		UNION ALL SELECT 'schema ' || nspname || ' ' || (SELECT coalesce(string_agg(a::text, ',' ORDER BY a::text), '') FROM unnest(nspacl) AS a) FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'ballast'
		UNION ALL SELECT 'database ' || datallowconn || ' ' || (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(datacl) AS a) FROM pg_database WHERE datname = current_database()
		UNION ALL SELECT 'built-in version ' || version || ' ' || dirty FROM tenantry.schema_migrations
		UNION ALL SELECT 'application version ' || version || ' ' || dirty FROM tenantry.app_schema_migrations
		UNION ALL SELECT 'admin ' || email || ' ' || role || ' ' || must_reset_password FROM identity.users`)
	if err != nil {
		return nil, err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for i, line := range lines {
		lines[i] = strings.NewReplacer(
			slug.DatabaseName(), "TENANT",
			// A copy's objects belong to the server's role, which may make more of them, and
			// its application has its rights on them as another.
			",tenantry_owner=CT/"+slug.OwnerRole(), "", "tenantry_owner", "TENANT_owner", "tenantry_app", "TENANT_app",
		).Replace(line)
	}
	slices.Sort(lines)
	return lines, err
}
