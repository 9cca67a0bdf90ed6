package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/tenantry/tenantry/internal/secrets/emulator"
)

// A tenant server that is away delays a job and does not fail it, if it comes
// back in time.
func TestTenantServerAway(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, nil)
	if err := p.servers.A.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := p.submitTo(t, "acme", "pg-a")
	p.troubled(t, id)
	other := p.settle(t, p.submit(t, request("bolt")), 60*time.Second) // placed elsewhere, it is not held up
	if other.text("status") != "complete" || other.text("dbServer") != "pg-b" {
		t.Errorf("%v", other.body)
	}
	if err := p.servers.A.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a := p.settle(t, id, 60*time.Second); a.text("status") != "complete" {
		t.Errorf("%v", a.body)
	}
	if got := p.exists(t, "acme"); got != everything {
		t.Error(got)
	}
}

// One that stays away fails the job, once its tries are used up, and leaves
// nothing.
func TestTenantServerGone(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, nil)
	if err := p.servers.A.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := p.settle(t, p.submitTo(t, "acme", "pg-a"), 3*time.Minute)
	p.wantFailed(t, a, "E_DEPENDENCY_UNAVAILABLE")
	if !strings.Contains(a.text("error", "message"), "pg-a") {
		t.Errorf("the message does not name the server: %s", a.text("error", "message"))
	}
	if err := p.servers.A.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := p.exists(t, "acme"); got != nothing {
		t.Error(got)
	}
}

// Master goes away in the middle of a job and comes back: the job goes on, under
// whichever lease, and nothing is done twice.
func TestMasterRestarts(t *testing.T) {
	t.Parallel()
	dir := migrations(t, map[string]string{"1_slow.up.sql": `SELECT pg_sleep(3);`, "no-template": ""})
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash=%v", crash), func(t *testing.T) {
			t.Parallel()
			p := startPlane(t, 2, map[string]string{"TENANT_MIGRATIONS": dir})
			id := p.submit(t, request("acme"))
			eventually(t, 30*time.Second, "the migration runs", func() bool {
				return p.call(t, http.MethodGet, "/platform/jobs/"+id, nil).text("phase") == "migrations_applied"
			})
			stop := p.servers.Master.Stop
			if crash {
				// The plane of the tests commits before its disk has the change, which no
				// master of anybody's may.
				p.exec(t, p.DatabaseURL, `CHECKPOINT`)
				stop = func(context.Context) error { return p.servers.Master.Kill() }
			}
			if err := stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			if a := p.call(t, http.MethodGet, "/platform/jobs/"+id, nil); a.status != http.StatusServiceUnavailable {
				t.Errorf("without master the api says %d", a.status)
			}
			if err := p.servers.Master.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if a := p.settle(t, id, 90*time.Second); a.text("status") != "complete" {
				t.Errorf("%v", a.body)
			}
			if got := p.exists(t, "acme"); got != everything {
				t.Error(got)
			}
		})
	}
}

// The way to a tenant server is slow, is reset, is cut after some data, or hangs.
// Once it is mended the job completes, with one of each.
func TestBadConnectionToTenantServer(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, nil)
	admin, err := url.Parse(p.DBServers[0].AdminURL)
	if err != nil {
		t.Fatal(err)
	}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, "pg-a", "127.0.0.1:0", admin.Host)
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	admin.Host = proxy.Listen
	if err := p.vault.Set(t.Context(), "db-admin-pg-a", admin.String()); err != nil {
		t.Fatal(err)
	}
	for name, toxic := range map[string]string{
		"slow":  `{"name":"x","type":"latency","attributes":{"latency":300,"jitter":200}}`,
		"reset": `{"name":"x","type":"reset_peer","attributes":{"timeout":40}}`,
		"cut":   `{"name":"x","type":"limit_data","stream":"upstream","attributes":{"bytes":1000}}`,
		"hang":  `{"name":"x","type":"timeout","attributes":{"timeout":700}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
				t.Fatal(err)
			}
			id := p.submitTo(t, "acme-"+name, "pg-a")
			if name != "slow" {
				p.troubled(t, id)
			}
			if name == "slow" {
				eventually(t, 60*time.Second, "the slow way is used", func() bool {
					return p.call(t, http.MethodGet, "/platform/jobs/"+id, nil).text("phase") == "database_created"
				})
			}
			if err := proxy.Toxics.RemoveToxic(t.Context(), "x"); err != nil {
				t.Fatal(err)
			}
			if a := p.settle(t, id, 90*time.Second); a.text("status") != "complete" {
				t.Errorf("%v", a.body)
			}
			if got := p.exists(t, "acme-"+name); got != everything {
				t.Error(got)
			}
		})
	}
}

// troubled waits until a job has met a failure that it will try to get over, and
// checks that it says so.
func (p *plane) troubled(t *testing.T, id string) {
	t.Helper()
	eventually(t, 60*time.Second, "the job meets trouble", func() bool {
		a := p.call(t, http.MethodGet, "/platform/jobs/"+id, nil)
		n, _ := strconv.Atoi(a.text("failures"))
		if n == 0 {
			return false
		}
		for _, ph := range a.body["phases"].([]any) {
			if e, ok := ph.(map[string]any)["error"].(map[string]any); ok {
				return e["code"] == "E_DEPENDENCY_UNAVAILABLE" || e["code"] == "E_TIMEOUT"
			}
		}
		return false
	})
}

// The vault throttles, breaks, loses answers, refuses. What passes delays a job;
// what does not fails it, and leaves nothing but what the vault keeps by itself.
func TestVaultTrouble(t *testing.T) {
	t.Parallel()
	dir := migrations(t, map[string]string{"1_ok.up.sql": `SELECT 1;`})
	p := startPlane(t, 1, map[string]string{"TENANT_MIGRATIONS": dir})
	vault := p.servers.Vault
	t.Cleanup(func() { vault.Fail(nil) })
	first := func(kind emulator.OpKind, n int, f emulator.Fault) func(emulator.Op) *emulator.Fault {
		return func(op emulator.Op) *emulator.Fault {
			if op.Kind == kind && strings.HasPrefix(op.Name, "tenant-db-") && (n == 0 || op.Nth <= n) {
				return &f
			}
			return nil
		}
	}
	for _, test := range []struct {
		name, code, left string
		fault            func(emulator.Op) *emulator.Fault
		broken           bool // the migrations, so that the job is undone
	}{
		{name: "throttled", fault: first(emulator.OpSet, 2, emulator.Fault{Status: 429, RetryAfter: time.Second}), left: everything},
		{name: "breaks", fault: first(emulator.OpGet, 8, emulator.Fault{Status: 503}), left: everything},
		{name: "answer-lost", fault: first(emulator.OpSet, 1, emulator.Fault{DropReply: true}), left: everything},
		{name: "refuses", fault: first(emulator.OpSet, 0, emulator.Fault{Status: 403}), code: "E_DEPENDENCY_UNAVAILABLE", left: nothing},
		{name: "undone", broken: true, fault: first(emulator.OpDelete, 6, emulator.Fault{Status: 503}), code: "E_MIGRATIONS_FAILED", left: nothing},
		{name: "delete-lost", broken: true, fault: first(emulator.OpDelete, 1, emulator.Fault{DropReply: true}), code: "E_MIGRATIONS_FAILED", left: nothing},
		{
			name: "purge-refused", broken: true, fault: first(emulator.OpPurge, 0, emulator.Fault{Status: 403}), code: "E_MIGRATIONS_FAILED",
			left: "rows=0 databases=0 roles=0 secret=false deleted=true",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			sql := `SELECT 1;`
			if test.broken {
				sql = `SELECT 1 FROM nowhere;`
			}
			if err := os.WriteFile(filepath.Join(dir, "1_ok.up.sql"), []byte(sql), 0o600); err != nil {
				t.Fatal(err)
			}
			vault.Fail(test.fault)
			a := p.settle(t, p.submit(t, request(test.name)), 90*time.Second)
			vault.Fail(nil)
			if test.code != "" {
				p.wantFailed(t, a, test.code)
			} else if a.text("status") != "complete" {
				t.Fatalf("%v", a.body)
			}
			if got := p.exists(t, test.name); got != test.left {
				t.Error(got)
			}
			if test.code == "" {
				return
			}
			// The name is free again at once, soft-deleted or not.
			if err := os.WriteFile(filepath.Join(dir, "1_ok.up.sql"), []byte(`SELECT 1;`), 0o600); err != nil {
				t.Fatal(err)
			}
			if a := p.settle(t, p.submit(t, request(test.name)), 60*time.Second); a.text("status") != "complete" {
				t.Errorf("and again: %v", a.body)
			}
		})
	}
}

// A job that cannot be undone yet says what is left, and is undone once it can be.
func TestResidue(t *testing.T) {
	t.Parallel()
	dir := migrations(t, map[string]string{"1_broken.up.sql": `SELECT 1 FROM nowhere;`})
	p := startPlane(t, 1, map[string]string{"TENANT_MIGRATIONS": dir})
	p.servers.Vault.Fail(func(op emulator.Op) *emulator.Fault {
		if op.Kind == emulator.OpDelete {
			return &emulator.Fault{Status: 403}
		}
		return nil
	})
	id := p.submit(t, request("acme"))
	eventually(t, 60*time.Second, "the residue is named", func() bool {
		a := p.call(t, http.MethodGet, "/platform/jobs/"+id, nil)
		return a.text("status") == "rolling_back" && strings.Contains(a.text("error", "residue"), "secret tenant-db-acme")
	})
	if v, err := p.vault.Value(t.Context(), "tenant-db-acme"); v == "" || err != nil {
		t.Errorf("the secret that is left is not there: %v", err)
	}
	p.servers.Vault.Fail(nil)
	a := p.settle(t, id, 60*time.Second)
	p.wantFailed(t, a, "E_MIGRATIONS_FAILED")
	if got := p.exists(t, "acme"); got != nothing || a.text("error", "residue") != "[]" {
		t.Errorf("%s, residue %s", got, a.text("error", "residue"))
	}
}
