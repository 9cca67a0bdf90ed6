package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/doctor"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// examine runs doctor and returns what it found, as "kind slug".
func (p *plane) examine(t *testing.T, wantCode int, args ...string) []string {
	t.Helper()
	found := []string{}
	for _, f := range p.findings(t, wantCode, args...) {
		found = append(found, strings.TrimSpace(fmt.Sprintf("%s %s", f.Kind, f.Slug)))
	}
	slices.Sort(found)
	return found
}

// findings runs doctor. None may advise to purge a tenant that is to stay: a purge takes
// the slug from every server.
func (p *plane) findings(t *testing.T, wantCode int, args ...string) []doctor.Finding {
	t.Helper()
	code, stdout, stderr := p.ctl(t, append([]string{"doctor", "-o", "json"}, args...)...)
	var shown struct {
		Healthy  bool
		Findings []doctor.Finding
	}
	if err := json.Unmarshal([]byte(stdout), &shown); err != nil {
		t.Fatalf("%v: %s %s", err, stdout, stderr)
	}
	if code != wantCode || shown.Healthy != (code == exitOK) {
		t.Errorf("doctor %v: exit %d, healthy %v\n%s", args, code, shown.Healthy, stdout)
	}
	for _, f := range shown.Findings {
		if f.What == "" || f.Cause == "" || f.Fix == "" {
			t.Errorf("a finding does not explain itself: %+v", f)
		}
		if strings.Contains(f.Fix, "--purge") && queryOne[int](t, p.DatabaseURL,
			`SELECT count(*) FROM identity.tenant WHERE slug = $1 AND status <> 'offboarding'`, f.Slug) > 0 {
			t.Errorf("%s: to purge a tenant that is to stay is no mend: %s", f.What, f.Fix)
		}
	}
	return shown.Findings
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 0, nil)
	pgA, pgB := p.DBServers[0].AdminURL, p.DBServers[1].AdminURL
	const jobColumns = `INSERT INTO identity.job (job_id, kind, status, slug, tenant_id, display_name, admin_email, actor, db_server_id, capacity_reserved, error_code, run_after)
		SELECT '%s', 'provision', '%s', '%s', '%s', 'x', 'x@x.example', 'test', db_server_id, %v, '', now() - interval '1 hour' FROM identity.db_server WHERE name = 'pg-a'`
	const failedJob, failedTenant = "01a00000-0000-7000-8000-00000000000a", "01a00000-0000-7000-8000-00000000000b"
	const failedPurge = "01a00000-0000-7000-8000-00000000000e"
	mark := tenancy.Ownership{TenantID: failedTenant, JobID: failedJob}
	// copyTo makes a database with a tenant's name and mark, as a restore does.
	copyTo := func(url, slug string) {
		t.Helper()
		owner := queryOne[string](t, p.DatabaseURL, `SELECT 'tenantry tenant=' || tenant_id || ' job=' || job_id FROM identity.tenant WHERE slug = $1`, slug)
		p.exec(t, url, "CREATE DATABASE tenant_"+slug)
		p.exec(t, url, "COMMENT ON DATABASE tenant_"+slug+" IS '"+owner+"'")
	}
	leave := func(slug string) {
		t.Helper()
		p.exec(t, p.DatabaseURL, "UPDATE identity.tenant SET status = 'offboarding', status_before = 'active', purge_after = now() - interval '25 hours' WHERE slug = '"+slug+"'")
	}
	stay := func(slug string) {
		t.Helper()
		p.exec(t, p.DatabaseURL, "UPDATE identity.tenant SET status = 'active', status_before = '', purge_after = NULL WHERE slug = '"+slug+"'")
	}

	p.provision(t, "well")
	if got := p.examine(t, exitOK); len(got) != 0 {
		t.Fatalf("a healthy plane has %v", got)
	}

	// Each is planted, found as that one and no other, and mended: by the doctor
	// where that is safe, and otherwise by hand.
	for _, test := range []struct {
		want       string
		plant      func()
		safe       bool
		says       string // somewhere in what mends it
		mendByHand func()
	}{
		{want: "stale_reservation gone", safe: true, plant: func() {
			p.exec(t, p.DatabaseURL, fmt.Sprintf(jobColumns, failedJob, "failed", "gone", failedTenant, true))
		}},
		{want: "leftover_database gone", safe: true, plant: func() {
			for _, sql := range []string{"CREATE DATABASE tenant_gone", "COMMENT ON DATABASE tenant_gone IS '" + mark.String() + "'"} {
				p.exec(t, pgA, sql)
			}
		}},
		{want: "leftover_database gone", plant: func() { // that somebody has used all the same
			for _, sql := range []string{"CREATE DATABASE tenant_gone", "COMMENT ON DATABASE tenant_gone IS '" + mark.String() + "'"} {
				p.exec(t, pgA, sql)
			}
			p.exec(t, strings.Replace(pgA, "/postgres?", "/tenant_gone?", 1), `CREATE SCHEMA identity; CREATE TABLE identity.invitations (accepted_at timestamptz);
				CREATE TABLE identity.users (password_hash text); INSERT INTO identity.users VALUES ('x')`)
		}, mendByHand: func() { p.exec(t, pgA, "DROP DATABASE tenant_gone") }},
		{want: "unmarked_database well", plant: func() { // by another's mark
			p.exec(t, pgA, "COMMENT ON ROLE tenant_well_app IS NULL")
			p.exec(t, pgA, "COMMENT ON DATABASE tenant_well IS '"+mark.String()+"'")
		}, mendByHand: func() {
			p.exec(t, pgA, "COMMENT ON DATABASE tenant_well IS NULL")
			p.examine(t, exitOK, "--repair")
		}},
		{want: "barred_application well", safe: true, plant: func() {
			p.exec(t, pgA, "ALTER DATABASE tenant_well ALLOW_CONNECTIONS false")
		}},
		{want: "leftover_database gone", safe: true, plant: func() { // its roles alone
			p.exec(t, pgA, "CREATE ROLE tenant_gone_app; COMMENT ON ROLE tenant_gone_app IS '"+mark.String()+"'")
		}},
		{want: "stale_template", safe: true, plant: func() { // of other migrations
			p.exec(t, pgA, "CREATE DATABASE tenantry_template_old OWNER tenantry_templates ALLOW_CONNECTIONS false")
			p.exec(t, pgA, "COMMENT ON DATABASE tenantry_template_old IS 'tenantry template, last used 2026-01-01T00:00:00Z'")
		}},
		{want: "stale_template", safe: true, plant: func() { // whose builder died
			p.exec(t, pgA, "CREATE DATABASE tenantry_template_half OWNER tenantry_templates")
			p.exec(t, pgA, "COMMENT ON DATABASE tenantry_template_half IS 'tenantry template, unfinished'")
		}},
		{want: "stray_warm_database", safe: true, plant: func() {
			name := tenancy.WarmDatabaseID(failedJob).DatabaseName()
			p.exec(t, pgA, "CREATE DATABASE "+name+" ALLOW_CONNECTIONS false")
			p.exec(t, pgA, "COMMENT ON DATABASE "+name+" IS 'tenantry warm database of tenantry_template_old'")
		}},
		{want: "stray_warm_database", safe: true, plant: func() { // its role alone
			role := tenancy.WarmDatabaseID(failedJob).AppRole()
			p.exec(t, pgA, "CREATE ROLE "+role+"; COMMENT ON ROLE "+role+" IS 'tenantry warm database, unfinished'")
		}},
		{want: "missing_warm_database", safe: true, plant: func() {
			p.exec(t, p.DatabaseURL, fmt.Sprintf(`INSERT INTO identity.warm_database (warm_database_id, db_server_id, template, state)
				SELECT '%s', db_server_id, 'tenantry_template_old', 'ready' FROM identity.db_server WHERE name = 'pg-a'`, failedTenant))
		}},
		{want: "leftover_secret gone", safe: true, plant: func() {
			if _, err := p.vault.Ensure(t.Context(), "tenant-db-gone", mark, func() (string, error) { return "x", nil }); err != nil {
				t.Fatal(err)
			}
		}},
		{want: "stalled_job waits", safe: true, plant: func() {
			p.exec(t, p.DatabaseURL, fmt.Sprintf(jobColumns, "01a00000-0000-7000-8000-00000000000c", "queued", "waits", "01a00000-0000-7000-8000-00000000000d", false))
		}},
		{want: "unmarked_database well", safe: true, plant: func() {
			p.exec(t, pgA, "COMMENT ON DATABASE tenant_well IS 'mine'")
		}},
		{want: "unmarked_database well", safe: true, plant: func() {
			p.exec(t, pgA, "COMMENT ON ROLE tenant_well_app IS NULL")
		}},
		{want: "unmarked_secret well", safe: true, plant: func() { p.untagSecret(t, "tenant-db-well") }},
		{want: "open_database well", safe: true, plant: func() {
			p.exec(t, pgA, "GRANT CONNECT ON DATABASE tenant_well TO PUBLIC")
		}},
		{want: "barred_application well", safe: true, plant: func() {
			p.exec(t, pgA, "ALTER ROLE tenant_well_app NOLOGIN")
		}},
		{
			want: "foreign_database other", plant: func() { p.exec(t, pgA, "CREATE DATABASE tenant_other") },
			mendByHand: func() { p.exec(t, pgA, "DROP DATABASE tenant_other") },
		},
		{want: "foreign_secret other", plant: func() {
			if err := p.vault.Set(t.Context(), "tenant-db-other", "x"); err != nil {
				t.Fatal(err)
			}
		}, mendByHand: func() { p.offboard(t, exitOK, "--slug", "other", "--purge", "--confirm", "other", "--adopt") }},
		{want: "unregistered_database lost,unregistered_secret lost", plant: func() {
			p.provision(t, "lost")
			p.exec(t, p.DatabaseURL, `DELETE FROM identity.tenant WHERE slug = 'lost'`)
		}, mendByHand: func() { p.offboard(t, exitOK, "--slug", "lost", "--purge", "--confirm", "lost", "--no-backup") }},
		{want: "missing_database hole", plant: func() {
			p.provision(t, "hole")
			p.exec(t, pgA, "DROP DATABASE tenant_hole")
		}, mendByHand: func() { p.offboard(t, exitOK, "--slug", "hole", "--purge", "--confirm", "hole", "--no-backup") }},
		{want: "missing_secret void", plant: func() {
			p.provision(t, "void")
			p.dropSecret(t, "void", queryOne[string](t, p.DatabaseURL, `SELECT tenant_id FROM identity.tenant WHERE slug = 'void'`))
		}, mendByHand: func() { p.offboard(t, exitOK, "--slug", "void", "--purge", "--confirm", "void", "--no-backup") }},
		{want: "invalid_database well", plant: func() {
			p.exec(t, pgA, "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'tenant_well'")
		}, mendByHand: func() { p.exec(t, pgA, "UPDATE pg_database SET datconnlimit = -1 WHERE datname = 'tenant_well'") }},
		{
			want: "stray_database well", says: "on pg-b only: DROP DATABASE tenant_well", plant: func() { copyTo(pgB, "well") },
			mendByHand: func() { p.exec(t, pgB, "DROP DATABASE tenant_well") },
		},
		{want: "stray_database well", says: "on pg-b only: DROP ROLE tenant_well_app", plant: func() {
			owner := queryOne[string](t, pgA, `SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = 'tenant_well_app'`)
			p.exec(t, pgB, "CREATE ROLE tenant_well_app; COMMENT ON ROLE tenant_well_app IS '"+owner+"'")
		}, mendByHand: func() { p.exec(t, pgB, "DROP ROLE tenant_well_app") }},
		{
			want: "foreign_database well", says: "on pg-b alone", plant: func() { p.exec(t, pgB, "CREATE DATABASE tenant_well") },
			mendByHand: func() { p.exec(t, pgB, "DROP DATABASE tenant_well") },
		},
		{want: "leftover_database well", safe: true, plant: func() { // of another tenant of the slug
			p.exec(t, pgB, "CREATE DATABASE tenant_well")
			p.exec(t, pgB, "COMMENT ON DATABASE tenant_well IS '"+mark.String()+"'")
		}},
		{want: "invalid_database well", safe: true, plant: func() { // beside the tenant
			copyTo(pgB, "well")
			p.exec(t, pgB, "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'tenant_well'")
		}},
		{want: "missing_database only,stray_database only", says: "keep it", plant: func() { // master is wrong
			p.provision(t, "only")
			copyTo(pgB, "only")
			p.exec(t, pgA, "DROP DATABASE tenant_only")
		}, mendByHand: func() { p.offboard(t, exitOK, "--slug", "only", "--purge", "--confirm", "only", "--no-backup") }},
		{want: "foreign_secret well", says: "tag tenant-id", plant: func() {
			if err := p.vault.Adopt(t.Context(), "tenant-db-well", mark); err != nil {
				t.Fatal(err)
			}
		}, mendByHand: func() {
			p.untagSecret(t, "tenant-db-well")
			p.examine(t, exitOK, "--repair")
		}},
		{want: "overdue_purge well", says: "BACKUP_DIR", plant: func() { leave("well") }, mendByHand: func() { stay("well") }},
		{want: "overdue_purge well", says: "retry-job " + failedPurge, plant: func() {
			leave("well")
			p.exec(t, p.DatabaseURL, `INSERT INTO identity.job (job_id, kind, status, slug, tenant_id, display_name, admin_email, actor, error_code, options, run_after, created_at)
				SELECT '`+failedPurge+`', 'offboard', 'failed', slug, tenant_id, 'x', 'x@x.example', 'test', 'E_INTERNAL', '{"purge": true}', now() - interval '1 hour', now() - interval '1 hour'
				FROM identity.tenant WHERE slug = 'well'`)
		}, mendByHand: func() { stay("well") }},
		{want: "server_unreachable", plant: func() {
			p.ctl(t, "add-db-server", "--name", "pg-away", "--host", "127.0.0.1", "--port", "1", "--admin-secret-ref", "no-such-secret")
		}, mendByHand: func() { p.exec(t, p.DatabaseURL, `DELETE FROM identity.db_server WHERE name = 'pg-away'`) }},
	} {
		test.plant()
		want := strings.Split(test.want, ",")
		if diff := cmp.Diff(want, p.examine(t, exitJobFailed)); diff != "" {
			t.Fatalf("planted %s: %s", test.want, diff)
		}
		if test.says != "" {
			said := func(f doctor.Finding) bool { return strings.Contains(f.Fix, test.says) }
			if found := p.findings(t, exitJobFailed); !slices.ContainsFunc(found, said) {
				t.Errorf("planted %s: nothing says %q: %+v", test.want, test.says, found)
			}
		}
		if !test.safe {
			if diff := cmp.Diff(want, p.examine(t, exitJobFailed, "--repair")); diff != "" {
				t.Fatalf("repairing %s: %s", test.want, diff)
			}
			if diff := cmp.Diff(want, p.examine(t, exitJobFailed)); diff != "" {
				t.Fatalf("a repair touched %s: %s", test.want, diff)
			}
			test.mendByHand()
		} else {
			p.examine(t, exitOK, "--repair")
		}
		if got := p.examine(t, exitOK); len(got) != 0 {
			t.Fatalf("after mending %s: %v", test.want, got)
		}
	}
	if got := p.exists(t, "well"); got != everything {
		t.Errorf("the healthy tenant: %s", got)
	}
}

// A repair waits for the slug, and master loses the session that keeps a retry from
// beginning: what is there when the wait is over may be the new attempt's.
func TestDoctorDropsNothingOnceARetryMayHaveBegun(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 0, nil)
	pgA := p.DBServers[0].AdminURL
	job := p.submit(t, request("gone"))
	p.exec(t, p.DatabaseURL, `UPDATE identity.job SET status = 'failed', error_code = 'E_INTERNAL', finished_at = now()`)
	tenant := queryOne[string](t, p.DatabaseURL, `SELECT tenant_id FROM identity.job`)
	mark := tenancy.Ownership{TenantID: tenancy.TenantID(tenant), JobID: tenancy.JobID(job)}
	p.exec(t, pgA, "CREATE DATABASE tenant_gone")
	p.exec(t, pgA, "COMMENT ON DATABASE tenant_gone IS '"+mark.String()+"'")

	holder, err := pgx.Connect(t.Context(), pgA)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close(context.WithoutCancel(t.Context()))
	if _, err := holder.Exec(t.Context(), "SELECT pg_advisory_lock(hashtextextended('tenantry tenant_gone', 0))"); err != nil {
		t.Fatal(err)
	}
	ended := p.runHere(t, "doctor", "--repair", "-o", "json")
	eventually(t, 30*time.Second, "the repair waits, and its session is lost", func() bool {
		return queryOne[int](t, p.DatabaseURL, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE state = 'idle in transaction' AND query LIKE 'SELECT EXISTS (SELECT FROM identity.tenant%'`) > 0
	})
	if code, _, stderr := p.ctl(t, "retry-job", job); code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if err := holder.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := ended()
	if code != exitJobFailed || !strings.Contains(stdout, `"repaired": false`) || !strings.Contains(stdout, "may have begun") {
		t.Errorf("exit %d\n%s\n%s", code, stdout, stderr)
	}
	if n := queryOne[int](t, pgA, `SELECT count(*) FROM pg_database WHERE datname = 'tenant_gone'`); n != 1 {
		t.Error("the database is dropped")
	}
}
