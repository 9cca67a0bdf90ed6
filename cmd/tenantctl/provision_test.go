package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

var appMigrations = map[string]string{
	"1_schema.up.sql":   `CREATE SCHEMA shop; CREATE EXTENSION pg_trgm; CREATE TYPE shop.state AS ENUM ('new', 'paid');`,
	"2_orders.up.sql":   `CREATE TABLE shop.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state shop.state NOT NULL DEFAULT 'new', note text);`,
	"3_index.up.sql":    `CREATE INDEX CONCURRENTLY orders_note ON shop.orders USING gin (note gin_trgm_ops);`,
	"4_function.up.sql": `CREATE FUNCTION shop.pay(bigint) RETURNS void LANGUAGE plpgsql AS $$ BEGIN UPDATE shop.orders SET state = 'paid' WHERE id = $1; END $$;`,
	"5_plain.up.sql":    `CREATE TABLE notes (body text);`,
}

// The runbook, from the wizard's request to its table of validations.
func TestRunbook(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 2, map[string]string{"TENANT_MIGRATIONS": migrations(t, appMigrations)})

	t.Run("a dry run touches nothing", func(t *testing.T) {
		body := request("acme")
		body["dryRun"] = true
		before := p.exists(t, "acme")
		a := p.settle(t, p.submit(t, body), 30*time.Second)
		if got := phaseNames(a, "done"); got != "placement_resolved state_checked dry_run complete" || a.text("status") != "complete" {
			t.Errorf("%s: %s", a.text("status"), got)
		}
		if after := p.exists(t, "acme"); before != nothing || after != nothing {
			t.Errorf("before %s, after %s", before, after)
		}
	})

	const wantPhases = "placement_resolved state_checked secret_set database_created migrations_applied master_registered admin_seeded complete"
	job := p.settle(t, p.submit(t, request("acme")), 30*time.Second)
	if got := phaseNames(job, "done"); got != wantPhases || job.text("status") != "complete" {
		t.Fatalf("%s: %s, %v", job.text("status"), got, job.body["error"])
	}
	other := p.settle(t, p.submit(t, request("bolt")), 30*time.Second)
	if job.text("dbServer") != "pg-a" || other.text("dbServer") != "pg-b" {
		t.Errorf("placed on %s and %s", job.text("dbServer"), other.text("dbServer"))
	}
	third := p.settle(t, p.submit(t, request("cask")), 30*time.Second) // beside acme
	if third.text("dbServer") != "pg-a" {
		t.Fatalf("placed on %s", third.text("dbServer"))
	}

	if got := p.exists(t, "acme"); got != everything {
		t.Error(got)
	}
	if s := queryOne[string](t, p.DatabaseURL, `SELECT status FROM identity.tenant WHERE slug = 'acme'`); s != "active" {
		t.Errorf("the master row is %s", s)
	}
	who := queryOne[string](t, p.DatabaseURL, `SELECT u.email FROM identity.tenant_audit a JOIN identity.platform_user u USING (platform_user_id)
		WHERE a.event_type = 'TENANT_PROVISIONED' AND a.slug = 'acme'`)
	if who != p.Users[0].Email {
		t.Errorf("audited as %s", who)
	}
	appURL, err := p.vault.Value(t.Context(), "tenant-db-acme")
	if err != nil || !strings.HasPrefix(appURL, "postgres://tenant_acme_app:") {
		t.Fatalf("the secret: %v", err)
	}
	t.Run("the application works with its tables and nothing else", func(t *testing.T) { checkIsolation(t, p, appURL) })
	t.Run("the admin is seeded and invited", func(t *testing.T) { checkInvitation(t, p) })
	t.Run("etag", func(t *testing.T) {
		a := p.call(t, http.MethodGet, "/platform/jobs/"+job.text("jobId"), nil, "If-None-Match", job.header.Get("ETag"))
		if a.status != http.StatusNotModified {
			t.Errorf("a known job gave %d", a.status)
		}
	})
	t.Run("the slug is taken", func(t *testing.T) {
		a := p.call(t, http.MethodPost, "/platform/tenants", request("acme"))
		if a.status != http.StatusConflict || a.text("code") != "E_ALREADY_PROVISIONED" {
			t.Errorf("%d %s", a.status, a.text("code"))
		}
		code, out, _ := p.ctl(t, "provision-tenant", "--slug", "acme", "--display-name", "x", "--admin-email", "a@x.example", "-o", "json")
		var shown struct{ Error struct{ Code string } }
		if err := json.Unmarshal([]byte(out), &shown); err != nil || code != exitJobFailed || shown.Error.Code != "E_ALREADY_PROVISIONED" {
			t.Errorf("tenantctl: exit %d, %v, %s", code, err, out)
		}
	})
}

func phaseNames(a answer, status string) string {
	var names []string
	phases, _ := a.body["phases"].([]any)
	for _, ph := range phases {
		if m := ph.(map[string]any); m["status"] == status {
			names = append(names, m["name"].(string))
		}
	}
	return strings.Join(names, " ")
}

func checkIsolation(t *testing.T, p *plane, appURL string) {
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, appURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
		WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema', 'tenantry')`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"identity.users", "settings.setting", "audit.event", "shop.orders", "public.notes"} {
		if !strings.Contains(strings.Join(tables, " "), want) {
			t.Errorf("%s is missing in %v", want, tables)
		}
	}
	for _, table := range tables {
		if _, err := conn.Exec(ctx, "SELECT * FROM "+table); err != nil {
			t.Errorf("reading %s: %v", table, err)
		}
		var may bool
		if err := conn.QueryRow(ctx, `SELECT has_table_privilege($1, 'INSERT') AND has_table_privilege($1, 'UPDATE') AND has_table_privilege($1, 'DELETE')`, table).Scan(&may); err != nil || !may {
			t.Errorf("writing %s is not allowed: %v", table, err)
		}
	}
	if _, err := conn.Exec(ctx, `INSERT INTO shop.orders (note) VALUES ('x'); SELECT shop.pay(1)`); err != nil {
		t.Errorf("the application's own work: %v", err)
	}
	for _, sql := range []string{
		`CREATE TABLE shop.t ()`, `CREATE TABLE identity.t ()`, `CREATE TABLE public.t ()`, `CREATE SCHEMA s`, `CREATE TEMP TABLE t ()`,
		`ALTER TABLE shop.orders ADD COLUMN c int`, `DROP TABLE shop.orders`, `SET ROLE tenant_acme_owner`,
	} {
		if _, err := conn.Exec(ctx, sql); err == nil {
			t.Errorf("%s went through", sql)
		}
	}
	for _, database := range []string{"postgres", "template1", "tenant_cask"} {
		cfg := conn.Config().Copy()
		cfg.Database = database
		if c, err := pgx.ConnectConfig(ctx, cfg); err == nil {
			c.Close(ctx)
			t.Errorf("the application was let into %s", database)
		}
	}
	cfg := conn.Config().Copy()
	cfg.Port, cfg.Database = uint16(p.servers.Master.Port()), devDatabase
	if c, err := pgx.ConnectConfig(ctx, cfg); err == nil {
		c.Close(ctx)
		t.Error("the application was let into master")
	}
}

func checkInvitation(t *testing.T, p *plane) {
	tenantURL := strings.Replace(p.DBServers[0].AdminURL, "/postgres?", "/tenant_acme?", 1)
	if !queryOne[bool](t, tenantURL, `SELECT must_reset_password AND password_hash IS NULL FROM identity.users WHERE email = 'admin@acme.example'`) {
		t.Error("the admin has a password")
	}
	var link string
	for deadline := time.After(20 * time.Second); link == ""; {
		mails, arrived := p.servers.Mailbox.Mails()
		for _, m := range mails {
			if m.To[0] == "admin@acme.example" {
				_, rest, _ := strings.Cut(m.Text, "http://acme.localhost:")
				link = strings.Fields(rest)[0]
			}
		}
		if link != "" {
			break
		}
		select {
		case <-arrived:
		case <-deadline:
			t.Fatal("no invitation came")
		}
	}
	_, token, _ := strings.Cut(link, "token=")
	if n := queryOne[int](t, tenantURL, `SELECT count(*) FROM identity.invitations WHERE token_hash = sha256($1::text::bytea) AND accepted_at IS NULL`, token); n != 1 {
		t.Errorf("%d invitations have the hash of the mailed token", n)
	}
	if a := p.call(t, http.MethodPost, "/platform/tenants/acme/invitation", nil); a.status != http.StatusAccepted {
		t.Fatalf("%d %v", a.status, a.body)
	}
	eventually(t, 20*time.Second, "the old link dies", func() bool {
		return queryOne[int](t, tenantURL, `SELECT count(*) FROM identity.invitations WHERE token_hash = sha256($1::text::bytea) AND revoked_at IS NULL`, token) == 0
	})
}

// Every code a job can be made to end with, and what the API refuses at once.
func TestErrorCodes(t *testing.T) {
	t.Parallel()
	dir := migrations(t, map[string]string{"1_ok.up.sql": `CREATE TABLE t ();`, "7_broken.up.sql": `SELECT canary_secret FROM nowhere_at_all;`})
	p := startPlane(t, 1, map[string]string{"TENANT_MIGRATIONS": dir})

	t.Run("refused before a job exists", func(t *testing.T) {
		for slug, want := range map[string]string{
			"A": "E_INVALID_SLUG", "admin": "E_INVALID_SLUG", "trailing-": "E_INVALID_SLUG", "xn--abc": "E_INVALID_SLUG",
		} {
			if a := p.call(t, http.MethodPost, "/platform/tenants", request(slug)); a.status != 422 || a.text("code") != want {
				t.Errorf("%s: %d %s", slug, a.status, a.text("code"))
			}
		}
		body := request("acme")
		body["dbServer"] = "pg-z"
		if a := p.call(t, http.MethodPost, "/platform/tenants", body); a.status != 422 || a.text("code") != "E_DB_SERVER_NOT_FOUND" {
			t.Errorf("unknown server: %d %s", a.status, a.text("code"))
		}
		if n := queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.job`); n != 0 {
			t.Errorf("%d jobs exist", n)
		}
	})
	t.Run("E_MIGRATIONS_FAILED, mended and retried", func(t *testing.T) {
		id := p.submit(t, request("acme"))
		a := p.settle(t, id, 60*time.Second)
		p.wantFailed(t, a, "E_MIGRATIONS_FAILED")
		message := a.text("error", "message")
		if !strings.Contains(message, "7") || !strings.Contains(message, "42P01") || strings.Contains(message, "canary_secret") {
			t.Errorf("message: %s", message)
		}
		if got := p.exists(t, "acme"); got != nothing {
			t.Error(got)
		}
		if err := os.WriteFile(filepath.Join(dir, "7_broken.up.sql"), []byte(`CREATE TABLE mended ();`), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := p.ctl(t, "retry-job", id); code != exitOK {
			t.Fatalf("retry-job: %d %s", code, stderr)
		}
		if a := p.settle(t, id, 60*time.Second); a.text("status") != "complete" || a.text("attempt") != "2" {
			t.Errorf("%s in attempt %s: %v", a.text("status"), a.text("attempt"), a.body["error"])
		}
		if got := p.exists(t, "acme"); got != everything {
			t.Error(got)
		}
	})
	t.Run("E_PARTIAL_STATE names what exists", func(t *testing.T) {
		conn, err := pgx.Connect(t.Context(), p.DBServers[1].AdminURL)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if _, err := conn.Exec(t.Context(), `CREATE DATABASE tenant_half`); err != nil {
			t.Fatal(err)
		}
		a := p.settle(t, p.submit(t, request("half")), 30*time.Second)
		p.wantFailed(t, a, "E_PARTIAL_STATE")
		want := `Parts of the tenant "half" exist: there is no master row; the database tenant_half exists on pg-b; there is no secret tenant-db-half.`
		if diff := cmp.Diff(want, a.text("error", "message")); diff != "" {
			t.Error(diff)
		}
		if got := p.exists(t, "half"); got != "rows=0 databases=1 roles=0 secret=false deleted=false" {
			t.Errorf("the foreign database was touched: %s", got)
		}
	})
	t.Run("E_ADMIN_CONN_UNRESOLVED", func(t *testing.T) {
		for _, ref := range []string{"no-such-secret", "no-url"} {
			if err := p.vault.Set(t.Context(), "no-url", "canary-not-a-url"); err != nil {
				t.Fatal(err)
			}
			if a := p.call(t, http.MethodPatch, "/platform/db-servers/pg-b", map[string]any{"adminSecretRef": ref}); a.status != 200 {
				t.Fatalf("%d %v", a.status, a.body)
			}
			body := request("lost-" + ref)
			body["dbServer"] = "pg-b"
			a := p.settle(t, p.submit(t, body), 30*time.Second)
			p.wantFailed(t, a, "E_ADMIN_CONN_UNRESOLVED")
			if strings.Contains(a.text("error", "message"), "canary") {
				t.Errorf("the message shows the secret: %s", a.text("error", "message"))
			}
		}
	})
	t.Run("E_DB_SERVER_NOT_FOUND and E_NO_CAPACITY", func(t *testing.T) {
		code, out, _ := p.ctl(t, "provision-tenant", "--slug", "gone", "--display-name", "x", "--admin-email", "a@x.example", "--db-server", "pg-z", "-o", "json")
		if code != exitJobFailed || !strings.Contains(out, "E_DB_SERVER_NOT_FOUND") {
			t.Errorf("exit %d: %s", code, out)
		}
		for _, name := range []string{"pg-a", "pg-b"} {
			if code, _, stderr := p.ctl(t, "update-db-server", "--name", name, "--capacity", "1"); code != exitOK {
				t.Fatal(stderr)
			}
		}
		if code, _, stderr := p.ctl(t, "update-db-server", "--name", "pg-b", "--active=false"); code != exitOK {
			t.Fatal(stderr)
		}
		p.wantFailed(t, p.settle(t, p.submit(t, request("full")), 30*time.Second), "E_NO_CAPACITY")
	})
	t.Run("nothing is reserved by what failed", func(t *testing.T) {
		if n := queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.job WHERE capacity_reserved`); n != 0 {
			t.Errorf("%d places are still reserved", n)
		}
	})
}

// 60 jobs at once for 50 places: exactly 50 complete, and no server is oversold.
func TestConcurrentProvisionsNeverOversell(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 3, nil)
	for _, name := range []string{"pg-a", "pg-b"} {
		if a := p.call(t, http.MethodPatch, "/platform/db-servers/"+name, map[string]any{"capacityHint": 25}); a.status != 200 {
			t.Fatalf("%d %v", a.status, a.body)
		}
	}
	ids := make([]string, 60)
	var wait sync.WaitGroup
	for i := range ids {
		wait.Go(func() {
			a, err := p.request(t.Context(), http.MethodPost, "/platform/tenants", request(fmt.Sprintf("many-%d", i)))
			if err != nil || a.status != http.StatusAccepted {
				t.Errorf("%v %d %v", err, a.status, a.body)
			}
			ids[i] = a.text("jobId")
		})
	}
	wait.Wait()
	got := map[string]int{}
	for _, id := range ids {
		a := p.settle(t, id, 3*time.Minute)
		got[a.text("status")+a.text("error", "code")]++
	}
	if diff := cmp.Diff(map[string]int{"complete": 50, "failedE_NO_CAPACITY": 10}, got); diff != "" {
		t.Error(diff)
	}
	for _, s := range p.DBServers {
		if n := queryOne[int](t, s.AdminURL, `SELECT count(*) FROM pg_database WHERE datname LIKE 'tenant\_%'`); n != 25 {
			t.Errorf("%s has %d tenant databases", s.Name, n)
		}
	}
}

func TestIdenticalRequestsAtOnce(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, nil)
	post := func(body map[string]any, headers ...string) map[string]int {
		var mu sync.Mutex
		got := map[string]int{}
		ids := map[string]bool{}
		var wait sync.WaitGroup
		for range 100 {
			wait.Go(func() {
				a, err := p.request(t.Context(), http.MethodPost, "/platform/tenants", body, headers...)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				switch a.text("code") {
				case "E_JOB_IN_PROGRESS", "E_ALREADY_PROVISIONED":
					got["409"]++
				default:
					got[fmt.Sprint(a.status)]++
					ids[a.text("jobId")] = true
				}
			})
		}
		wait.Wait()
		got["jobs"] = len(ids)
		return got
	}
	if diff := cmp.Diff(map[string]int{"202": 100, "jobs": 1}, post(request("keyed"), "Idempotency-Key", "one")); diff != "" {
		t.Errorf("with a key: %s", diff)
	}
	if diff := cmp.Diff(map[string]int{"202": 1, "409": 99, "jobs": 1}, post(request("keyless"))); diff != "" {
		t.Errorf("without: %s", diff)
	}
	if a := p.call(t, http.MethodPost, "/platform/tenants", request("other"), "Idempotency-Key", "one"); a.status != 422 {
		t.Errorf("a key with another body gave %d", a.status)
	}
	if n := queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.job`); n != 2 {
		t.Errorf("%d jobs", n)
	}
}
