package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ctl runs tenantctl with an environment and nothing behind it.
func ctl(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, func(name string) string { return env[name] }, &out, &errs)
	return code, out.String(), errs.String()
}

func TestReferenceIsUpToDate(t *testing.T) {
	t.Parallel()
	_, want, _ := ctl(t, nil, "reference")
	got, err := os.ReadFile("../../docs/cli.md")
	if err != nil || string(got) != want {
		t.Errorf("docs/cli.md is not what `make generate` writes (%v)", err)
	}
}

func TestUsageErrorsExitWithTwoAndSayWhy(t *testing.T) {
	t.Parallel()
	master := map[string]string{"DATABASE_URL": "postgres://nobody@127.0.0.1:1/x"}
	for _, test := range []struct {
		args string
		env  map[string]string
		want string
	}{
		{args: "nonsense", want: "unknown command"},
		{args: "list-jobs --nonsense", want: "unknown flag"},
		{args: "list-jobs -o xml", want: "--output"},
		{args: "list-jobs", want: "DATABASE_URL is not set"},
		{args: "list-jobs --status odd", env: master, want: "--status"},
		{args: "get-job", env: master, want: "accepts 1 arg"},
		{args: "provision-tenant --slug acme", env: master, want: "admin-email"},
		{args: "update-db-server --name pg-a", env: master, want: "nothing to change"},
		{args: "add-db-server --name a --host h --admin-secret-ref r --port 0", env: master, want: "--port"},
		{args: "bootstrap-admin --email nobody", env: master, want: "--email"},
		{args: "bootstrap-admin --email a@b.example --role KING", env: master, want: "--role"},
		{args: "tenant-status --slug acme --set gone", env: master, want: "--set"},
		{args: "dev --workers -1", want: "--workers"},
	} {
		t.Run(test.args, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := ctl(t, test.env, strings.Fields(test.args)...)
			if code != exitUsage || !strings.Contains(stderr, test.want) || stdout != "" {
				t.Errorf("exit %d\nstdout: %s\nstderr: %s", code, stdout, stderr)
			}
		})
	}
}

// What the API refuses is refused here too, before anything is asked or made.
func TestWhatTheAPIRefusesExitsWithTwo(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"DATABASE_URL": "postgres://nobody@127.0.0.1:1/x", "KEY_VAULT_URL": "https://127.0.0.1:1",
	}
	long := strings.Repeat("x", 250)
	server := []string{"add-db-server", "--name", "pg-a", "--host", "h", "--admin-secret-ref", "r"}
	provision := []string{"provision-tenant", "--slug", "acme", "--display-name", "Acme", "--admin-email", "a@acme.example"}
	for _, test := range []struct {
		args []string
		more []string
		want string
	}{
		{server, []string{"--name", "PG_A"}, "--name: This must be 1 to 63"},
		{server, []string{"--name", "new"}, "--name: The name new"},
		{server, []string{"--host", ""}, "--host:"},
		{server, []string{"--admin-secret-ref", "a_b"}, "--admin-secret-ref:"},
		{server, []string{"--capacity", "3000000000"}, "--capacity:"},
		{server, []string{"--capacity", "-1"}, "--capacity:"},
		{server, []string{"--region", long}, "--region:"},
		{server, []string{"--name", "PG_A", "--host", "a b"}, "--host:"},
		{[]string{"update-db-server", "--name", "pg-a"}, []string{"--host", "a b"}, "--host:"},
		{[]string{"update-db-server", "--name", "pg-a"}, []string{"--port", "0"}, "--port:"},
		{[]string{"update-db-server", "--name", "pg-a"}, []string{"--region", "a\nb"}, "--region:"},
		{[]string{"update-db-server", "--name", "pg-a"}, []string{"--admin-secret-ref", "a_b"}, "--admin-secret-ref:"},
		{[]string{"update-db-server", "--name", "pg-a"}, []string{"--capacity", "3000000000"}, "--capacity:"},
		{provision, []string{"--display-name", " "}, "--display-name:"},
		{provision, []string{"--display-name", "\xff"}, "--display-name:"},
		{provision, []string{"--display-name", "a\nb"}, "--display-name:"},
		{provision, []string{"--display-name", long}, "--display-name:"},
		{provision, []string{"--admin-email", long + "@x.example"}, "--admin-email:"},
		{provision, []string{"--slug", "No"}, "slug"},
		{provision, []string{"--slug", "console", "--public-url", "https://console.example.com", "--tenant-url", "https://{slug}.example.com"}, "reserved"},
		{[]string{"create-api-token", "--email", "a@b.example"}, []string{"--name", ""}, "--name:"},
		{[]string{"bootstrap-admin", "--email", "a@b.example"}, []string{"--display-name", "a\nb"}, "--display-name:"},
		{[]string{"update-user", "--email", "a@b.example"}, []string{"--display-name", ""}, "--display-name:"},
		{[]string{"tenant-status", "--slug", "acme", "--set", "suspended"}, []string{"--reason", "a\nb"}, "--reason:"},
		{[]string{"list-jobs"}, []string{"--error-code", "X"}, "--error-code"},
		{[]string{"list-jobs"}, []string{"--limit", "-5"}, "--limit:"},
		{[]string{"list-jobs"}, []string{"--limit", "900"}, "--limit:"},
		{[]string{"list-jobs"}, []string{"--slug", "\xff"}, "--slug:"},
		{[]string{"list-tenants"}, []string{"--limit", "0"}, "--limit:"},
		{[]string{"list-tenants"}, []string{"--query", "\xff"}, "--query:"},
		{[]string{"offboard-tenant", "--slug", "acme"}, []string{"--purge", "--confirm", "acme", "--retention-days", "5"}, "--retention-days"},
		{[]string{"offboard-tenant", "--slug", "acme"}, []string{"--cancel", "--retention-days", "5"}, "--retention-days"},
		{[]string{"offboard-tenant", "--slug", "acme"}, []string{"--confirm", "other"}, "--confirm"},
	} {
		args := append(slices.Clone(test.args), test.more...)
		code, stdout, stderr := ctl(t, env, args...)
		if code != exitUsage || !strings.Contains(stderr, test.want) || stdout != "" {
			t.Errorf("%q: exit %d\nstdout: %s\nstderr: %s", args, code, stdout, stderr)
		}
	}
}

// What is wrong with the configuration exits with 2, wherever it shows.
func TestAConfigurationThatCannotBeUsedExitsWithTwo(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 0, nil)
	for name, value := range map[string]string{
		"DATABASE_URL":      "postgres://h/d?sslmode=bogus",
		"KEY_VAULT_CA_FILE": "/etc/hostname",
		"KEY_VAULT_DEV":     "nonsense",
		"TENANT_MIGRATIONS": migrations(t, map[string]string{"1_a.up.sql": "SELECT 1;", "1_b.up.sql": "SELECT 1;"}),
	} {
		env := map[string]string{"DATABASE_URL": p.DatabaseURL, "KEY_VAULT_URL": p.KeyVaultURL, "KEY_VAULT_CA_FILE": p.KeyVaultCAFile}
		env[name] = value
		code, stdout, stderr := ctl(t, env, "list-jobs", "-o", "json")
		if code != exitUsage || !strings.Contains(stderr, name) || !strings.Contains(stdout, "E_INVALID_REQUEST") {
			t.Errorf("%s: exit %d\nstdout: %s\nstderr: %s", name, code, stdout, stderr)
		}
	}
}

// Also where the flags cannot be read to their end.
func TestUsageErrorsAreJSONToo(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"list-jobs --nonsense -o json", "nonsense -o json", "nonsense -ojson", "list-jobs --limit x --output json",
		"list-jobs -o=json --nonsense", "list-jobs extra --output=json", "provision-tenant -o json",
	} {
		code, stdout, stderr := ctl(t, nil, strings.Fields(args)...)
		var shown struct {
			Error struct{ Code, Message string }
		}
		if err := json.Unmarshal([]byte(stdout), &shown); err != nil || code != exitUsage ||
			shown.Error.Code != "E_INVALID_REQUEST" || shown.Error.Message == "" || stderr == "" {
			t.Errorf("%s: exit %d, %v: %s", args, code, err, stdout)
		}
	}
	if _, stdout, _ := ctl(t, nil, "nonsense", "--", "-o", "json"); stdout != "" {
		t.Errorf("nobody asked for %s", stdout)
	}
}

func TestFailureIsJSONToo(t *testing.T) {
	t.Parallel()
	code, stdout, _ := ctl(t, map[string]string{"DATABASE_URL": "postgres://nobody:canary@127.0.0.1:1/x"}, "list-jobs", "-o", "json")
	var shown struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(stdout), &shown); err != nil || shown.Error.Code != "E_DEPENDENCY_UNAVAILABLE" {
		t.Errorf("%v: %s", err, stdout)
	}
	if code != exitUnavailable {
		t.Errorf("exit %d", code)
	}
	if strings.Contains(stdout, "canary") {
		t.Errorf("a password is shown: %s", stdout)
	}
}

// The operator's commands, against a master of their own.
func TestOperatorCommands(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 0, nil)
	ok := func(args ...string) map[string]any {
		t.Helper()
		code, stdout, stderr := p.ctl(t, append(args, "-o", "json")...)
		if code != exitOK {
			t.Fatalf("%v: exit %d: %s", args, code, stderr)
		}
		var v map[string]any
		if err := json.Unmarshal([]byte(stdout), &v); err != nil {
			t.Fatalf("%v: %v: %s", args, err, stdout)
		}
		return v
	}
	fails := func(want int, args ...string) {
		t.Helper()
		if code, _, stderr := p.ctl(t, args...); code != want {
			t.Errorf("%v: exit %d, want %d: %s", args, code, want, stderr)
		}
	}
	if v := ok("bootstrap-admin", "--email", "new@platform.localhost"); v["password"] == "" || v["role"] != "PLATFORM_ADMIN" {
		t.Errorf("bootstrap-admin: %v", v)
	}
	fails(exitConflict, "bootstrap-admin", "--email", "NEW@platform.localhost")
	token := ok("create-api-token", "--email", "new@platform.localhost", "--name", "ci", "--expires-in", "1h")["token"].(string)
	if a := p.call(t, "GET", "/platform/jobs", nil, "Authorization", "Bearer "+token); a.status != 200 {
		t.Errorf("the new token gave %d", a.status)
	}
	fails(exitNotFound, "create-api-token", "--email", "x@platform.localhost", "--name", "ci")

	file := t.TempDir() + "/url"
	if err := os.WriteFile(file, []byte(p.DBServers[0].AdminURL+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	added := []string{"add-db-server", "--name", "pg-c", "--host", "127.0.0.1", "--admin-secret-ref", "db-admin-pg-c", "--admin-url-file", file}
	if v := ok(added...); v["headroom"] != 50.0 {
		t.Errorf("add-db-server: %v", v)
	}
	fails(exitConflict, added...)
	if url, err := p.vault.Value(t.Context(), "db-admin-pg-c"); err != nil || url != p.DBServers[0].AdminURL {
		t.Errorf("the admin URL in the vault: %v", err)
	}
	if v := ok("update-db-server", "--name", "pg-c", "--unlimited", "--active=false"); v["capacityHint"] != nil || v["isActive"] != false {
		t.Errorf("update-db-server: %v", v)
	}
	fails(exitNotFound, "update-db-server", "--name", "pg-z", "--capacity", "1")
	if v := ok("list-db-servers"); len(v["items"].([]any)) != 3 {
		t.Errorf("list-db-servers: %v", v)
	}

	ok("provision-tenant", "--slug", "acme", "--display-name", "Acme", "--admin-email", "admin@acme.example")
	// A list is the API's.
	for command, path := range map[string]string{"list-jobs": "/platform/jobs", "list-tenants": "/platform/tenants"} {
		if diff := cmp.Diff(slices.Sorted(maps.Keys(p.call(t, "GET", path, nil).body)), slices.Sorted(maps.Keys(ok(command)))); diff != "" {
			t.Errorf("%s: %s", command, diff)
		}
	}
	if v := ok("tenant-status", "--slug", "acme", "--set", "suspended", "--reason", "unpaid"); v["status"] != "suspended" {
		t.Errorf("tenant-status: %v", v)
	}
	fails(exitConflict, "tenant-status", "--slug", "acme", "--set", "suspended")
	fails(exitNotFound, "tenant-status", "--slug", "nobody")
	if v := ok("list-tenants", "--query", "ACM"); len(v["items"].([]any)) != 1 {
		t.Errorf("list-tenants: %v", v)
	}
	jobs := ok("list-jobs", "--status", "complete")["items"].([]any)
	id := jobs[0].(map[string]any)["jobId"].(string)
	if v := ok("get-job", id); v["status"] != "complete" {
		t.Errorf("get-job: %v", v)
	}
	fails(exitConflict, "retry-job", id)
	ok("run-job", id) // nothing is left to do
	fails(exitNotFound, "get-job", "nonsense")
}
