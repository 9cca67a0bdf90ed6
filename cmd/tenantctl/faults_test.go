package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// A tenant server that is away delays a job and does not fail it, if it comes
// back in time.
func TestTenantServerAway(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, nil)
	if err := p.servers.A.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	body := request("acme")
	body["dbServer"] = "pg-a"
	id := p.submit(t, body)
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
	body := request("acme")
	body["dbServer"] = "pg-a"
	a := p.settle(t, p.submit(t, body), 3*time.Minute)
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
	dir := migrations(t, map[string]string{"1_slow.up.sql": `SELECT pg_sleep(3);`})
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
		"cut":   `{"name":"x","type":"limit_data","stream":"upstream","attributes":{"bytes":4000}}`,
		"hang":  `{"name":"x","type":"timeout","attributes":{"timeout":700}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
				t.Fatal(err)
			}
			body := request("acme-" + name)
			body["dbServer"] = "pg-a"
			id := p.submit(t, body)
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
