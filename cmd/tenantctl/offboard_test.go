package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// offboard runs offboard-tenant and returns the job it prints.
func (p *plane) offboard(t *testing.T, want int, args ...string) map[string]any {
	t.Helper()
	code, stdout, stderr := p.ctl(t, append([]string{"offboard-tenant", "-o", "json"}, args...)...)
	if code != want {
		t.Fatalf("offboard-tenant %v: exit %d, want %d\n%s\n%s", args, code, want, stdout, stderr)
	}
	var job map[string]any
	if err := json.Unmarshal([]byte(stdout), &job); err != nil && want != exitUsage {
		t.Fatalf("%v: %s", err, stdout)
	}
	return job
}

func (p *plane) provision(t *testing.T, slug string) {
	t.Helper()
	code, stdout, stderr := p.ctl(t, "provision-tenant", "--slug", slug, "--display-name", slug, "--admin-email", "a@x.example", "--db-server", "pg-a")
	if code != exitOK {
		t.Fatalf("exit %d\n%s\n%s", code, stdout, stderr)
	}
}

func (p *plane) exec(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestOffboarding(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, map[string]string{"BACKUP_DIR": t.TempDir()})
	p.provision(t, "acme")
	appURL, err := p.vault.Value(t.Context(), "tenant-db-acme")
	if err != nil {
		t.Fatal(err)
	}
	status := func() string {
		return queryOne[string](t, p.DatabaseURL, `SELECT status FROM identity.tenant WHERE slug = 'acme'`)
	}

	t.Run("retention leaves reading", func(t *testing.T) {
		p.offboard(t, exitOK, "--slug", "acme", "--retention-days", "7")
		if s := status(); s != "offboarding" {
			t.Errorf("the tenant is %s", s)
		}
		if n := queryOne[int](t, p.DatabaseURL, `SELECT extract(day FROM purge_after - now())::int FROM identity.tenant WHERE slug = 'acme'`); n < 6 || n > 7 {
			t.Errorf("%d days are left", n)
		}
		if ro := queryOne[string](t, appURL, `SHOW default_transaction_read_only`); ro != "on" {
			t.Error("the application may write")
		}
		p.offboard(t, exitConflict, "--slug", "acme")
	})
	t.Run("cancel brings it back", func(t *testing.T) {
		a := p.call(t, http.MethodPost, "/platform/tenants/acme/readmission", nil)
		if a.status != http.StatusAccepted {
			t.Fatalf("%d %v", a.status, a.body)
		}
		p.settle(t, a.text("jobId"), 30*time.Second)
		if s := status(); s != "active" {
			t.Errorf("the tenant is %s", s)
		}
		if ro := queryOne[string](t, appURL, `SHOW default_transaction_read_only`); ro != "off" {
			t.Error("the application may not write")
		}
	})
	t.Run("now ends sessions", func(t *testing.T) {
		conn, err := pgx.Connect(t.Context(), appURL)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		a := p.call(t, http.MethodDelete, "/platform/tenants/acme", map[string]any{"now": true})
		if j := p.settle(t, a.text("jobId"), 30*time.Second); j.text("status") != "complete" {
			t.Fatalf("%v", j.body)
		}
		if err := conn.Ping(t.Context()); err == nil {
			t.Error("a session of the application goes on")
		}
		if c, err := pgx.Connect(t.Context(), appURL); err == nil {
			c.Close(t.Context())
			t.Error("the application is let in")
		}
		p.offboard(t, exitOK, "--slug", "acme", "--cancel")
		queryOne[int](t, appURL, `SELECT 1`)
	})
	t.Run("the worker purges what has expired, with a dump", func(t *testing.T) {
		p.exec(t, appURL, `INSERT INTO settings.setting (key, value) VALUES ('k', '"kept for good"')`)
		p.offboard(t, exitOK, "--slug", "acme")
		p.exec(t, p.DatabaseURL, `UPDATE identity.tenant SET purge_after = now() - interval '1 second' WHERE slug = 'acme'`)
		eventually(t, 60*time.Second, "the tenant is purged", func() bool { return p.exists(t, "acme") == nothing })
		eventually(t, 10*time.Second, "the purge is audited", func() bool {
			return queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.tenant_audit WHERE event_type = 'TENANT_PURGED' AND slug = 'acme' AND actor = 'system'`) == 1
		})
		checkDump(t, queryOne[string](t, p.DatabaseURL, `SELECT details->'backups'->'pg-a' FROM identity.tenant_audit WHERE event_type = 'TENANT_PURGED'`))
	})
	t.Run("its slug is free at once", func(t *testing.T) {
		p.provision(t, "acme")
		if got := p.exists(t, "acme"); got != everything {
			t.Error(got)
		}
	})
	got := queryOne[string](t, p.DatabaseURL, `SELECT string_agg(event_type, ' ' ORDER BY audit_id) FROM identity.tenant_audit WHERE slug = 'acme' AND event_type NOT LIKE 'INVITATION%'`)
	want := "TENANT_PROVISIONED TENANT_OFFBOARDING_STARTED TENANT_OFFBOARDING_CANCELLED TENANT_OFFBOARDING_STARTED " +
		"TENANT_OFFBOARDING_CANCELLED TENANT_OFFBOARDING_STARTED TENANT_PURGED TENANT_PROVISIONED"
	if got != want {
		t.Errorf("audit: %s", got)
	}
}

func checkDump(t *testing.T, backup string) {
	t.Helper()
	var b struct {
		File, SHA256 string
		Bytes        int
	}
	if err := json.Unmarshal([]byte(backup), &b); err != nil {
		t.Fatalf("%v: %s", err, backup)
	}
	data, err := os.ReadFile(b.File)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != b.SHA256 || len(data) != b.Bytes {
		t.Error("the tombstone has another digest than the dump")
	}
	out, err := exec.CommandContext(t.Context(), "pg_restore", "--data-only", "--table=setting", "--file=-", b.File).Output()
	if err != nil || !strings.Contains(string(out), "kept for good") {
		t.Errorf("the dump does not hold the tenant's data: %v", err)
	}
}

// Whatever is left of a tenant, a purge ends it; what is another's it refuses.
func TestPurgeFromEveryState(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 0, nil)
	tenantOf := func(slug string) string {
		return queryOne[string](t, p.DatabaseURL, `SELECT tenant_id FROM identity.job WHERE slug = $1 AND kind = 'provision'`, slug)
	}
	for state := range 8 {
		row, database, secret := state&1 != 0, state&2 != 0, state&4 != 0
		slug := fmt.Sprintf("half-%d", state)
		t.Run(fmt.Sprintf("row=%v database=%v secret=%v", row, database, secret), func(t *testing.T) {
			p.provision(t, slug)
			id := tenantOf(slug)
			if !row {
				p.exec(t, p.DatabaseURL, `DELETE FROM identity.tenant WHERE slug = '`+slug+`'`)
			}
			if !database {
				db := "tenant_" + strings.ReplaceAll(slug, "-", "_")
				for _, sql := range []string{"DROP DATABASE " + db, "DROP ROLE " + db + "_app", "DROP ROLE " + db + "_owner"} {
					p.exec(t, p.DBServers[0].AdminURL, sql)
				}
			}
			if !secret {
				p.dropSecret(t, slug, id)
			}
			for range 2 { // safe to repeat
				job := p.offboard(t, exitOK, "--slug", slug, "--purge", "--confirm", slug, "--no-backup")
				if job["status"] != "complete" {
					t.Fatalf("%v", job)
				}
				if got := p.exists(t, slug); got != nothing {
					t.Fatal(got)
				}
			}
			p.provision(t, slug)
		})
	}
	t.Run("what is another's is refused, until it is adopted", func(t *testing.T) {
		p.exec(t, p.DBServers[1].AdminURL, `CREATE DATABASE tenant_other`)
		if err := p.vault.Set(t.Context(), "tenant-db-other", "not ours"); err != nil {
			t.Fatal(err)
		}
		job := p.offboard(t, exitJobFailed, "--slug", "other", "--purge", "--confirm", "other", "--no-backup")
		failure := job["error"].(map[string]any)
		for _, part := range []string{"database tenant_other on pg-b", "secret tenant-db-other"} {
			if failure["code"] != "E_PARTIAL_STATE" || !strings.Contains(failure["message"].(string), part) {
				t.Errorf("%q is not named: %v", part, failure)
			}
		}
		if got := p.exists(t, "other"); got != "rows=0 databases=1 roles=0 secret=true deleted=false" {
			t.Errorf("touched: %s", got)
		}
		p.offboard(t, exitOK, "--slug", "other", "--purge", "--confirm", "other", "--no-backup", "--adopt")
		if got := p.exists(t, "other"); got != nothing {
			t.Error(got)
		}
	})
	t.Run("a purge wants to be confirmed", func(t *testing.T) {
		p.provision(t, "kept")
		p.offboard(t, exitUsage, "--slug", "kept", "--purge")
		p.offboard(t, exitUsage, "--slug", "kept", "--purge", "--confirm", "kep")
		if got := p.exists(t, "kept"); got != everything {
			t.Error(got)
		}
	})
}

// A purge that fails goes on where it stopped.
func TestFailedPurgeGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startPlane(t, 1, map[string]string{"BACKUP_DIR": dir})
	p.provision(t, "acme")
	p.exec(t, p.DBServers[0].AdminURL, `CREATE DATABASE holds_on`)
	// The application's role owns something elsewhere, so it cannot be dropped.
	p.exec(t, strings.Replace(p.DBServers[0].AdminURL, "/postgres?", "/holds_on?", 1),
		`CREATE TABLE t (); ALTER TABLE t OWNER TO tenant_acme_app`)
	a := p.call(t, http.MethodDelete, "/platform/tenants/acme", map[string]any{"purge": true, "confirm": "acme"})
	j := p.settle(t, a.text("jobId"), 60*time.Second)
	if j.text("status") != "failed" || j.text("error", "rolledBack") != "false" || phaseNames(j, "done") != "ownership_proven backup_taken" {
		t.Fatalf("%v", j.body)
	}
	// Half a purge is not called off, nor taken for a tenant again.
	if r := p.call(t, http.MethodPost, "/platform/jobs/"+a.text("jobId")+"/cancel", nil); r.status != http.StatusConflict {
		t.Errorf("cancelling gave %d", r.status)
	}
	back := p.call(t, http.MethodPost, "/platform/tenants/acme/readmission", nil)
	if j := p.settle(t, back.text("jobId"), 30*time.Second); j.text("error", "code") != "E_PARTIAL_STATE" {
		t.Errorf("readmitted without a database: %v", j.body)
	}
	p.exec(t, p.DBServers[0].AdminURL, `DROP DATABASE holds_on`)
	if r := p.call(t, http.MethodPost, "/platform/jobs/"+a.text("jobId")+"/retry", nil); r.status != http.StatusAccepted {
		t.Fatalf("%d %v", r.status, r.body)
	}
	if j := p.settle(t, a.text("jobId"), 60*time.Second); j.text("status") != "complete" {
		t.Fatalf("%v", j.body)
	}
	if got := p.exists(t, "acme"); got != nothing {
		t.Error(got)
	}
	// The dump of the first attempt is the one there is.
	checkBackup := queryOne[string](t, p.DatabaseURL, `SELECT details->'backups'->'pg-a'->>'file' FROM identity.tenant_audit WHERE event_type = 'TENANT_PURGED'`)
	if _, err := os.Stat(checkBackup); err != nil {
		t.Errorf("the tombstone names %q: %v", checkBackup, err)
	}
}

// A purge that failed and was thought better of does not come back to life when
// its dead letter is run.
func TestFailedPurgeSparesAReadmittedTenant(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startPlane(t, 1, map[string]string{"BACKUP_DIR": dir})
	p.provision(t, "acme")
	if err := os.Chmod(dir, 0o500); err != nil || os.Getuid() == 0 {
		// To root no directory is closed: take it away instead.
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
	a := p.call(t, http.MethodDelete, "/platform/tenants/acme", map[string]any{"purge": true, "confirm": "acme"})
	id := a.text("jobId")
	if j := p.settle(t, id, 60*time.Second); j.text("status") != "failed" || !strings.Contains(j.text("error", "message"), "BACKUP_DIR") {
		t.Fatalf("%v", j.body)
	}
	if s := queryOne[string](t, p.DatabaseURL, `SELECT status FROM identity.tenant WHERE slug = 'acme'`); s != "active" {
		t.Errorf("a purge that cannot dump has made the tenant %s", s)
	}
	if r := p.call(t, http.MethodPost, "/platform/jobs/"+id+"/retry", nil); r.status != http.StatusConflict {
		t.Errorf("retry gave %d", r.status)
	}
	if got := p.exists(t, "acme"); got != everything {
		t.Error(got)
	}
}

// A worker that has no place for the dump leaves the purge to somebody who has.
func TestAPurgeWaitsForSomebodyWithBackupDir(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 0, nil)
	p.provision(t, "acme")
	id := p.call(t, http.MethodDelete, "/platform/tenants/acme", map[string]any{"purge": true, "confirm": "acme"}).text("jobId")
	t.Run("worker without", func(t *testing.T) {
		p.join(t, "worker")
		eventually(t, 30*time.Second, "two tries", func() bool {
			j := p.call(t, http.MethodGet, "/platform/jobs/"+id, nil)
			if s := j.text("status"); s != "queued" && s != "running" {
				t.Fatalf("%v", j.body)
			}
			failures, _ := j.body["failures"].(float64)
			return failures >= 2
		})
	})
	if said := queryOne[string](t, p.DatabaseURL, `SELECT error_code || error_message FROM identity.job_phase WHERE job_id = $1 AND name = 'ownership_proven'`, id); !strings.HasPrefix(said, "E_DEPENDENCY_UNAVAILABLEBACKUP_DIR is not set") {
		t.Errorf("the tries ended with %q", said)
	}
	if code, _, stderr := p.ctl(t, "run-job", id, "--backup-dir", t.TempDir()); code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if got := p.exists(t, "acme"); got != nothing {
		t.Error(got)
	}
}

// A server that is down is not taken for one that has nothing.
func TestPurgeWaitsForAServerThatMayHaveTheTenant(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 0, nil)
	p.provision(t, "acme")
	p.exec(t, p.DatabaseURL, `DELETE FROM identity.tenant WHERE slug = 'acme'`)
	if err := p.servers.A.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if code, _, _ := p.ctlContext(ctx, "offboard-tenant", "--slug", "acme", "--purge", "--confirm", "acme", "--no-backup"); code != exitInterrupted {
		t.Errorf("exit %d", code)
	}
	if err := p.servers.A.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := queryOne[string](t, p.DatabaseURL, `SELECT job_id FROM identity.job WHERE kind = 'offboard'`)
	if code, _, stderr := p.ctl(t, "run-job", id); code != exitOK {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if got := p.exists(t, "acme"); got != nothing {
		t.Error(got)
	}
}
