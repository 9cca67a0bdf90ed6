package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// Break-glass: no api, no worker, no Redis; only master, the vault and the
// tenant servers.
func TestProvisionWithoutRedisAndWorkers(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 0, nil)
	if err := p.servers.Redis.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := p.ctl(t, "provision-tenant", "--slug", "acme", "--display-name", "Acme Health", "--admin-email", "admin@acme.example")
	if code != exitOK || !strings.Contains(out, "complete") {
		t.Fatalf("exit %d\n%s\n%s", code, out, stderr)
	}
	if n := strings.Count(stderr, " done "); n != 8 {
		t.Errorf("%d phase lines:\n%s", n, stderr)
	}
	if got := p.exists(t, "acme"); got != everything {
		t.Error(got)
	}
	actor := queryOne[string](t, p.DatabaseURL, `SELECT actor FROM identity.tenant_audit
		WHERE event_type = 'TENANT_PROVISIONED' AND platform_user_id IS NULL`)
	if actor != osActor().Name || !strings.HasPrefix(actor, "os:") {
		t.Errorf("audited as %s", actor)
	}
}

// A lease that nobody holds any more, be it this very process's, is not waited for
// for ever: the job goes on here once it has run out.
func TestBreakGlassOutlivesALeaseNobodyHolds(t *testing.T) {
	t.Parallel()
	dir := migrations(t, map[string]string{"1_slow.up.sql": `SELECT pg_sleep(1);`, "no-template": ""})
	p := startPlane(t, 0, map[string]string{"TENANT_MIGRATIONS": dir})
	const held = "A worker has the job, or had it a moment ago"

	t.Run("of a process that was killed", func(t *testing.T) {
		id := p.submit(t, request("killed"))
		p.exec(t, p.DatabaseURL, `UPDATE identity.job SET status = 'running', lease_owner = 'gone', lease_epoch = lease_epoch + 1,
			lease_until = now() + interval '1 second' WHERE slug = 'killed'`)
		code, stdout, stderr := p.runHere(t, "run-job", id, "-o", "json")()
		if code != exitOK || !strings.Contains(stdout, `"complete"`) || strings.Count(stderr, held) != 1 {
			t.Errorf("exit %d\n%s\n%s", code, stdout, stderr)
		}
	})
	t.Run("of this process, which could not write to master", func(t *testing.T) {
		p.exec(t, p.DatabaseURL, `CREATE SEQUENCE identity.hiccup;
			CREATE FUNCTION identity.hiccup() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN IF nextval('identity.hiccup') = 1 THEN RAISE 'no'; END IF; RETURN NEW; END $$;
			CREATE TRIGGER hiccup BEFORE UPDATE ON identity.job FOR EACH ROW
				WHEN (NEW.slug = 'hiccup' AND NEW.phase = 'migrations_applied') EXECUTE FUNCTION identity.hiccup()`)
		ended := p.runHere(t, "provision-tenant", "--slug", "hiccup", "--display-name", "x", "--admin-email", "a@x.example")
		eventually(t, 30*time.Second, "a write fails", func() bool {
			return queryOne[bool](t, p.DatabaseURL, `SELECT is_called FROM identity.hiccup`)
		})
		p.exec(t, p.DatabaseURL, `UPDATE identity.job SET lease_until = now() + interval '3 seconds' WHERE slug = 'hiccup'`)
		code, stdout, stderr := ended()
		if code != exitOK || strings.Count(stderr, held) != 1 || p.exists(t, "hiccup") != everything {
			t.Errorf("exit %d\n%s\n%s", code, stdout, stderr)
		}
	})
	t.Run("of a worker that took the job and died", func(t *testing.T) {
		ended := p.runHere(t, "provision-tenant", "--slug", "stolen", "--display-name", "x", "--admin-email", "a@x.example")
		eventually(t, 30*time.Second, "the job is taken", func() bool {
			return queryOne[int](t, p.DatabaseURL, `WITH taken AS (
				UPDATE identity.job SET lease_owner = 'gone', lease_epoch = lease_epoch + 1, lease_until = now() + interval '2 seconds'
				WHERE slug = 'stolen' AND phase = 'migrations_applied' RETURNING 1) SELECT count(*) FROM taken`) > 0
		})
		code, stdout, stderr := ended()
		if code != exitOK || strings.Count(stderr, held) != 1 || p.exists(t, "stolen") != everything {
			t.Errorf("exit %d\n%s\n%s", code, stdout, stderr)
		}
	})
}

// runHere begins a command that runs a job. The function it returns waits for its end.
func (p *plane) runHere(t *testing.T, args ...string) func() (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	var code int
	var stdout, stderr string
	ended := make(chan struct{})
	go func() { defer close(ended); code, stdout, stderr = p.ctlContext(ctx, args...) }()
	t.Cleanup(func() { cancel(); <-ended })
	return func() (int, string, string) { <-ended; return code, stdout, stderr }
}

func TestRedisAwayDelaysButLosesNothing(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, nil)
	if err := p.servers.Redis.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := p.submit(t, request("acme"))
	if err := p.servers.Redis.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a := p.settle(t, id, 60*time.Second); a.text("status") != "complete" {
		t.Errorf("%v", a.body)
	}
}

func TestFlushedRedisLosesNothing(t *testing.T) {
	t.Parallel()
	dir := migrations(t, map[string]string{"1_slow.up.sql": `SELECT pg_sleep(0.5);`, "no-template": ""})
	p := startPlane(t, 1, map[string]string{"TENANT_MIGRATIONS": dir})
	opt, err := redis.ParseURL(p.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opt)
	defer client.Close()
	var ids []string
	for i := range 20 { // more than run at a time
		ids = append(ids, p.submit(t, request(fmt.Sprintf("acme-%d", i))))
	}
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if a := p.settle(t, id, 90*time.Second); a.text("status") != "complete" {
			t.Errorf("%v", a.body)
		}
	}
	eventually(t, 60*time.Second, "every invitation is sent", func() bool {
		mails, _ := p.servers.Mailbox.Mails()
		return len(mails) >= len(ids)
	})
}

// build returns the binary of one of the programs.
func build(t *testing.T, program string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), program)
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../"+program).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// joining is the environment of a process that joins the plane: the contract's four
// variables, and more.
func (p *plane) joining(more ...string) []string {
	return append(append(os.Environ(),
		"DATABASE_URL="+p.DatabaseURL, "REDIS_URL="+p.RedisURL, "KEY_VAULT_URL="+p.KeyVaultURL, "KEY_VAULT_CA_FILE="+p.KeyVaultCAFile),
		more...)
}

// join runs a program beside the plane until the test ends. It returns its log.
func (p *plane) join(t *testing.T, program string, more ...string) *buffer {
	t.Helper()
	log := &buffer{}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), build(t, program))
	cmd.Env, cmd.Stderr = p.joining(more...), log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("%s: %v\n%s", program, err, log)
		}
	})
	return log
}

// A second api and worker need where master, Redis and the vault are, and no more. What
// the worker cannot do, mail, waits for one that can.
func TestOthersJoinWithTheSameURLs(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 0, nil)
	api, worker := p.join(t, "api", "HTTP_ADDR=127.0.0.1:0"), p.join(t, "worker")
	ready := regexp.MustCompile(`msg="api ready" addr=(\S+)`)
	var addr []string
	eventually(t, 30*time.Second, "the api is ready", func() bool {
		addr = ready.FindStringSubmatch(api.String())
		return addr != nil
	})
	joined := *p
	joined.Console = "http://" + addr[1]
	id := joined.submit(t, request("acme"))
	a := joined.settle(t, id, 60*time.Second)
	if a.text("status") != "complete" || a.text("requestedBy", "actor") != p.Users[0].Email {
		t.Fatalf("%v", a.body)
	}
	if got := p.exists(t, "acme"); got != everything {
		t.Error(got)
	}
	// The console answers under the address it has.
	form := url.Values{"email": {p.Users[0].Email}, "password": {p.Users[0].Password}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, joined.Console+"/platform/session", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Origin", joined.Console)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusSeeOther || len(resp.Cookies()) == 0 {
		t.Errorf("signing in gave %d", resp.StatusCode)
	}
	warned := regexp.MustCompile(`level=WARN .*unset="SMTP_URL MAIL_FROM TENANT_URL"`)
	if n := len(warned.FindAllString(worker.String(), -1)); n != 1 {
		t.Errorf("the worker says %d times that it sends no mail", n)
	}
	if mails, _ := p.servers.Mailbox.Mails(); len(mails) != 0 {
		t.Errorf("%d mails", len(mails))
	}
	p.join(t, "worker", "SMTP_URL="+p.SMTPURL, "MAIL_FROM=a@platform.localhost", "TENANT_URL="+p.TenantURL)
	eventually(t, 30*time.Second, "the mail comes", func() bool { mails, _ := p.servers.Mailbox.Mails(); return len(mails) == 1 })
}

// A worker is killed in the middle of a migration; the other one finishes.
func TestKilledWorkerLosesNothing(t *testing.T) {
	t.Parallel()
	dir := migrations(t, map[string]string{"1_slow.up.sql": `CREATE TABLE t (); SELECT pg_sleep(3);`, "no-template": ""})
	p := startPlane(t, 0, map[string]string{"TENANT_MIGRATIONS": dir})
	worker := build(t, "worker")
	workers := map[int]*exec.Cmd{}
	for range 2 {
		cmd := exec.CommandContext(t.Context(), worker)
		cmd.Env = p.joining("TENANT_MIGRATIONS=" + dir)
		cmd.Stderr = p.log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		workers[cmd.Process.Pid] = cmd
	}
	t.Cleanup(func() {
		for _, cmd := range workers {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	id := p.submit(t, request("acme"))
	holder := 0
	eventually(t, 30*time.Second, "a worker migrates", func() bool {
		owner := queryOne[string](t, p.DatabaseURL, `SELECT CASE WHEN phase = 'migrations_applied' THEN lease_owner ELSE '' END FROM identity.job WHERE job_id = $1`, id)
		parts := strings.Split(owner, "/")
		if len(parts) != 3 {
			return false
		}
		holder, _ = strconv.Atoi(parts[1])
		n := queryOne[int](t, p.DBServers[0].AdminURL, `SELECT count(*) FROM pg_stat_activity WHERE datname = 'tenant_acme' AND query LIKE '%pg_sleep%' AND state = 'active'`)
		return n > 0
	})
	if err := workers[holder].Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if a := p.settle(t, id, 60*time.Second); a.text("status") != "complete" || a.text("failures") != "0" {
		t.Errorf("%v", a.body)
	}
	if got := p.exists(t, "acme"); got != everything {
		t.Error(got)
	}
}

// A plane that was killed while it made its users starts again, and gets people in.
func TestAHalfSeededPlaneStarts(t *testing.T) {
	t.Parallel()
	dir := planeDir(t)
	file := filepath.Join(dir, "users.json")
	t.Run("before", func(t *testing.T) {
		p := startPlaneIn(t, dir, 0, nil)
		p.exec(t, p.DatabaseURL, `DELETE FROM identity.api_token; DELETE FROM identity.platform_user WHERE role = 'PLATFORM_READONLY'`)
	})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	var users []devUser
	t.Run("after", func(t *testing.T) {
		p := startPlaneIn(t, dir, 0, nil)
		users = p.Users
		for _, u := range users {
			if a := p.call(t, http.MethodGet, "/platform/jobs", nil, "Authorization", "Bearer "+u.APIToken); a.status != http.StatusOK {
				t.Errorf("%s's token gives %d", u.Role, a.status)
			}
			if a := p.call(t, http.MethodPost, "/platform/session", map[string]any{"email": u.Email, "password": u.Password}); a.status != http.StatusCreated {
				t.Errorf("%s's password gives %d %v", u.Role, a.status, a.body)
			}
		}
	})
	t.Run("kept from then on", func(t *testing.T) {
		if diff := cmp.Diff(users, startPlaneIn(t, dir, 0, nil).Users); diff != "" {
			t.Error(diff)
		}
	})
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

// Ctrl-C keeps its promise even where a server hangs in the middle of a job.
func TestAPlaneEndsWithinTenSeconds(t *testing.T) {
	t.Parallel()
	var stuck int
	var told time.Time
	t.Run("plane", func(t *testing.T) {
		p := startPlane(t, 1, nil)
		conn, err := pgx.Connect(t.Context(), p.DBServers[0].AdminURL)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.WithoutCancel(t.Context()))
		p.settle(t, p.submitTo(t, "first", "pg-a"), 60*time.Second)
		if _, err := conn.Exec(t.Context(), `BEGIN; LOCK TABLE pg_database IN SHARE MODE`); err != nil {
			t.Fatal(err)
		}
		p.submitTo(t, "acme", "pg-a")
		eventually(t, 30*time.Second, "a database is created", func() bool {
			stuck = queryOne[int](t, p.DBServers[0].AdminURL,
				`SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE query LIKE 'CREATE DATABASE%' AND wait_event_type = 'Lock'`)
			return stuck != 0
		})
		if err := syscall.Kill(stuck, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		told = time.Now()
	})
	if took := time.Since(told); took > 10*time.Second {
		t.Errorf("the plane ended after %s", took)
	}
	// It may be a zombie, for whoever adopted it to reap.
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", stuck)); err == nil && !strings.Contains(string(stat), ") Z ") {
		_ = syscall.Kill(stuck, syscall.SIGKILL)
		t.Errorf("the stuck backend was left behind: %s", stat)
	}
}

// Nothing that names a person or opens a door is found in Redis or in a log.
func TestNoSecretsInRedisOrLogs(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, map[string]string{"LOG_LEVEL": "debug"})
	const canary = "canaryword"
	ids := []string{}
	for i := range 3 {
		body := request(fmt.Sprintf("acme-%d", i))
		body["displayName"], body["adminEmail"] = "Name "+canary, canary+"@acme.example"
		ids = append(ids, p.submit(t, body))
	}
	opt, err := redis.ParseURL(p.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opt)
	defer client.Close()
	words := []string{canary}
	for _, u := range p.Users {
		words = append(words, u.Password, u.APIToken)
	}
	scan := func() {
		for key, value := range dumpRedis(t, client) {
			for _, w := range words {
				if strings.Contains(key+value, w) {
					t.Errorf("Redis has %q in %s", w, key)
				}
			}
		}
	}
	for _, id := range ids {
		scan()
		if a := p.settle(t, id, 60*time.Second); a.text("status") != "complete" {
			t.Fatalf("%v", a.body)
		}
	}
	eventually(t, 30*time.Second, "the mails come", func() bool { mails, _ := p.servers.Mailbox.Mails(); return len(mails) == 3 })
	for i := range ids {
		url, err := p.vault.Value(t.Context(), fmt.Sprintf("tenant-db-acme-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(url, "_app:")
		password, _, _ := strings.Cut(rest, "@")
		words = append(words, password)
	}
	mails, _ := p.servers.Mailbox.Mails()
	for _, m := range mails {
		_, rest, _ := strings.Cut(m.Text, "token=")
		words = append(words, strings.Fields(rest)[0])
	}
	scan()
	log := p.log.String()
	if !strings.Contains(log, ids[0]) {
		t.Error("the log does not speak of the job")
	}
	for _, s := range []interface{ LogFile() string }{p.servers.A, p.servers.B, p.servers.Master} {
		data, err := os.ReadFile(s.LogFile())
		if err != nil {
			t.Fatal(err)
		}
		log += string(data)
	}
	for _, w := range words {
		if w == "" {
			t.Fatal("an empty word proves nothing")
		}
		if i := strings.Index(log, w); i >= 0 {
			t.Errorf("a log has %q: …%s…", w, log[max(0, i-200):min(len(log), i+100)])
		}
	}
}

func dumpRedis(t *testing.T, client *redis.Client) map[string]string {
	t.Helper()
	ctx := t.Context()
	all := map[string]string{}
	keys := client.Scan(ctx, 0, "*", 1000).Iterator()
	for keys.Next(ctx) {
		// DUMP may compress; ask for the value by its type.
		key := keys.Val()
		var b bytes.Buffer
		fmt.Fprint(&b, client.Get(ctx, key).Val(), client.HGetAll(ctx, key).Val(), client.LRange(ctx, key, 0, -1).Val(),
			client.ZRange(ctx, key, 0, -1).Val(), client.SMembers(ctx, key).Val())
		all[key] = b.String()
	}
	if err := keys.Err(); err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Error("Redis is empty, so the scan proves nothing")
	}
	return all
}

// A job that this process could not even begin is left behind, and said to be.
func TestAJobThatIsNotBegunIsLeftBehind(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 0, nil)
	id := p.submit(t, request("acme"))
	conn, err := pgx.Connect(t.Context(), p.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	hint := "run: tenantctl run-job " + id

	exec(`BEGIN; SELECT FROM identity.job FOR UPDATE`)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	ended := make(chan struct{})
	var code int
	var stdout, stderr string
	go func() { defer close(ended); code, stdout, stderr = p.ctlContext(ctx, "run-job", id, "-o", "json") }()
	eventually(t, 30*time.Second, "run-job waits for the job", func() bool {
		return queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%lease_epoch%'`) > 0
	})
	interrupt()
	<-ended
	if code != exitInterrupted || !strings.Contains(stderr, hint) || !strings.Contains(stdout, `"INTERRUPTED"`) {
		t.Errorf("exit %d\n%s\n%s", code, stdout, stderr)
	}
	exec(`ROLLBACK`)

	exec(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
		CREATE TRIGGER refuse BEFORE UPDATE ON identity.job FOR EACH ROW EXECUTE FUNCTION refuse()`)
	if code, stdout, stderr := p.ctl(t, "run-job", id); code != exitJobFailed || !strings.Contains(stderr, hint) || stdout != "" {
		t.Errorf("exit %d\n%s\n%s", code, stdout, stderr)
	}
	exec(`DROP TRIGGER refuse ON identity.job`)
	if code, _, stderr := p.ctl(t, "run-job", id); code != exitOK {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestNoVaultMeansNoProvisioning(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATABASE_URL": "postgres://nobody@127.0.0.1:1/x"}
	for _, args := range []string{
		"provision-tenant --slug acme --display-name x --admin-email a@x.example",
		"offboard-tenant --slug acme --purge --confirm acme",
		"run-job 01a00000-0000-7000-8000-00000000000a",
		"doctor",
	} {
		code, stdout, stderr := ctl(t, env, strings.Fields(args+" -o json")...)
		if code != exitUnavailable || !strings.Contains(stdout, "PROVISIONING_UNAVAILABLE") || !strings.Contains(stderr, "KEY_VAULT_URL") {
			t.Errorf("%s: exit %d\n%s\n%s", args, code, stdout, stderr)
		}
	}
}

// A dead letter, mended and run again in Asynqmon, completes.
func TestRunInAsynqmon(t *testing.T) {
	t.Parallel()
	dir := migrations(t, map[string]string{"1_broken.up.sql": `SELECT 1 FROM nowhere;`})
	p := startPlane(t, 1, map[string]string{"TENANT_MIGRATIONS": dir})
	id := p.submit(t, request("acme"))
	p.wantFailed(t, p.settle(t, id, 60*time.Second), "E_MIGRATIONS_FAILED")

	const archived = "/monitoring/api/queues/provision/archived_tasks"
	var task map[string]any
	eventually(t, 10*time.Second, "the task is archived", func() bool {
		tasks, _ := p.call(t, http.MethodGet, archived, nil).body["tasks"].([]any)
		if len(tasks) == 0 {
			return false
		}
		task = tasks[0].(map[string]any)
		return true
	})
	if said := fmt.Sprint(task["error_message"]); !strings.HasPrefix(said, "E_MIGRATIONS_FAILED: job "+id) || strings.Contains(said, "nowhere") {
		t.Errorf("the dead letter says %q", said)
	}
	runTask := fmt.Sprintf("%s/%s:run", archived, task["id"])
	for _, u := range p.Users[1:] { // support and read-only may look, not touch
		if a := p.call(t, http.MethodGet, archived, nil, "Authorization", "Bearer "+u.APIToken); a.status != http.StatusOK {
			t.Errorf("%s: %d", u.Role, a.status)
		}
		if a := p.call(t, http.MethodPost, runTask, nil, "Authorization", "Bearer "+u.APIToken); a.status != http.StatusForbidden {
			t.Errorf("%s: %d", u.Role, a.status)
		}
	}
	p.checkMonitoringRoles(t, fmt.Sprint(task["id"]))
	if err := os.WriteFile(filepath.Join(dir, "1_broken.up.sql"), []byte(`CREATE TABLE mended ();`), 0o600); err != nil {
		t.Fatal(err)
	}
	if a := p.call(t, http.MethodPost, runTask, nil); a.status != http.StatusNoContent && a.status != http.StatusOK {
		t.Fatalf("Run gave %d", a.status)
	}
	eventually(t, 30*time.Second, "the job completes", func() bool {
		a := p.call(t, http.MethodGet, "/platform/jobs/"+id, nil)
		return a.text("status") == "complete" && a.text("attempt") == "2"
	})
	if got := p.exists(t, "acme"); got != everything {
		t.Error(got)
	}
	if n := queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.tenant_audit WHERE event_type = 'QUEUE_OPERATION' AND platform_user_id IS NOT NULL`); n != 1 {
		t.Errorf("%d queue operations are audited", n)
	}
}

// checkMonitoringRoles tries every verb of Asynqmon's API that changes something
// as every caller who may not, and sees the task still there afterwards.
func (p *plane) checkMonitoringRoles(t *testing.T, task string) {
	t.Helper()
	verbs := []string{"DELETE ", "POST :pause", "POST :resume", "POST /active_tasks/" + task + ":cancel", "POST /active_tasks:cancel_all", "POST /active_tasks:batch_cancel"}
	for _, state := range []string{"pending", "scheduled", "retry", "archived", "completed"} {
		tasks := "/" + state + "_tasks"
		verbs = append(verbs, "DELETE "+tasks+"/"+task, "DELETE "+tasks+":delete_all", "POST "+tasks+":batch_delete")
		if state != "completed" {
			for _, verb := range []string{"run", "archive"} {
				verbs = append(verbs, "POST "+tasks+"/"+task+":"+verb, "POST "+tasks+":"+verb+"_all", "POST "+tasks+":batch_"+verb)
			}
		}
	}
	tokens := map[string]int{"": http.StatusUnauthorized, "tenantry_wrong": http.StatusUnauthorized}
	for _, u := range p.Users[1:] {
		tokens[u.APIToken] = http.StatusForbidden
	}
	before := queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.tenant_audit WHERE event_type = 'ACCESS_DENIED'`)
	for _, verb := range verbs {
		method, path, _ := strings.Cut(verb, " ")
		for token, want := range tokens {
			a := p.call(t, method, "/monitoring/api/queues/provision"+path, map[string]any{"task_ids": []string{task}}, "Authorization", "Bearer "+token)
			if a.status != want {
				t.Errorf("%s as %.12q: %d, want %d", verb, token, a.status, want)
			}
		}
	}
	after := queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.tenant_audit WHERE event_type = 'ACCESS_DENIED'`)
	if after-before != len(verbs)*len(tokens) {
		t.Errorf("%d of %d refused attempts are audited", after-before, len(verbs)*len(tokens))
	}
	if a := p.call(t, http.MethodGet, "/monitoring/api/queues/provision/tasks/"+task, nil); a.text("state") != "archived" {
		t.Errorf("the task is %v", a.body)
	}
}
