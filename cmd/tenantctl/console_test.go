package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/chromedp/chromedp"
	"github.com/rs/zerolog"
)

// wizard fills the wizard in and sends it.
func (b *browser) wizard(slug string, dryRun bool) {
	b.t.Helper()
	b.goTo("/platform/tenants/new")
	b.fill("slug", slug)
	b.sees(slug + " is free")
	b.fill("displayName", "Tenant "+slug)
	b.fill("adminEmail", "admin@"+slug+".example")
	if dryRun {
		b.click(`[name="dryRun"]`)
	}
	b.press("Go on to placement")
	b.press("Go on to check")
	if dryRun {
		b.press("Start the dry run")
	} else {
		b.press("Provision the tenant")
	}
	b.at("/platform/tenants")
}

// The runbook, in a browser: sign in, fill the wizard in, watch the drawer.
func TestConsoleProvisionsATenant(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, nil)
	b := openBrowser(t, p.Console)

	// A deep link survives the sign-in.
	b.goTo("/platform/tenants/new?from=runbook")
	b.at("/platform/session")
	b.fill("email", p.Users[0].Email)
	b.fill("password", p.Users[0].Password)
	b.press("Sign in")
	b.at("/platform/tenants/new")

	b.fill("slug", "acme-health")
	b.sees("acme-health is free")
	b.sees("tenant_acme_health")
	b.sees("tenant-db-acme-health")
	b.sees("acme-health.localhost")
	b.fill("displayName", "Acme Health")
	b.fill("adminEmail", "admin@acme.example")
	b.press("Go on to placement")
	b.sees("It would choose pg-a now")
	b.press("Go on to check")
	b.sees("Acme Health")
	b.press("Provision the tenant")
	b.sees("Provisioning acme-health")
	b.sees("Hand off the invitation")
	b.sees("mailed to admin@acme.example")
	for _, phase := range []string{"placement_resolved", "state_checked", "secret_set", "database_created", "migrations_applied", "master_registered", "admin_seeded", "complete"} {
		b.sees(phase)
	}
	if got := evaluate[float64](b, `document.querySelector("#drawer progress").position`); got != 1 {
		t.Errorf("the bar is at %v", got)
	}
	if got := p.exists(t, "acme-health"); got != everything {
		t.Error(got)
	}
	b.accessible("the drawer")
}

func TestConsoleShowsAFailedMigration(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, map[string]string{"TENANT_MIGRATIONS": migrations(t, map[string]string{
		"1_broken.up.sql": "SELECT no_such_column;", "1_broken.down.sql": "",
	})})
	b := openBrowser(t, p.Console)
	b.signIn(p.Users[0].Email, p.Users[0].Password)
	b.wizard("acme", false)
	b.sees("E_MIGRATIONS_FAILED")
	b.sees("Meaning: A migration of the tenant's schema did not run to its end")
	b.sees("Fix: Mend the migration")
	b.sees("Rolled back: placement_resolved, state_checked, secret_set, database_created.")
	if got := p.exists(t, "acme"); got != nothing {
		t.Error(got)
	}
	// Closing and opening again does no harm; neither does a reload.
	b.click("#drawer-close")
	b.until("close the drawer", `!document.getElementById("drawer").open && !location.search.includes("job=")`)
	b.click(`a[data-job]`)
	b.sees("Retry")
	b.do("reload", chromedp.Reload())
	b.sees("Retry")
	b.click("#drawer-retry")
	b.sees("attempt 2")
	b.sees("E_MIGRATIONS_FAILED")
}

func TestConsoleShowsAFullFleet(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, nil)
	for _, name := range []string{"pg-a", "pg-b"} {
		p.call(t, http.MethodPatch, "/platform/db-servers/"+name, map[string]any{"capacityHint": 0})
	}
	b := openBrowser(t, p.Console)
	b.signIn(p.Users[0].Email, p.Users[0].Password)
	b.goTo("/platform/tenants/new")
	b.fill("slug", "acme")
	b.fill("displayName", "Acme")
	b.fill("adminEmail", "admin@acme.example")
	b.press("Go on to placement")
	b.sees("No server has room")
	b.press("Go on to check")
	b.press("Provision the tenant")
	b.sees("E_NO_CAPACITY")
	b.sees("Fix: Add a server, or raise the cap")
	p.call(t, http.MethodPatch, "/platform/db-servers/pg-a", map[string]any{"capacityHint": 1})
	b.click("#drawer-retry")
	b.sees("Hand off the invitation")
	if got := p.exists(t, "acme"); got != everything {
		t.Error(got)
	}
}

func TestConsoleRunsADryRun(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, nil)
	b := openBrowser(t, p.Console)
	b.signIn(p.Users[0].Email, p.Users[0].Password)
	b.wizard("acme", true)
	b.sees("Dry run of acme")
	b.sees("The dry run found nothing in the way")
	if got := p.exists(t, "acme"); got != nothing {
		t.Error(got)
	}
}

// The drawer tells a lost connection from a failed job, and the job goes on
// without anybody watching.
func TestConsoleSurvivesALostConnection(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 0, nil)
	upstream := strings.TrimPrefix(p.Console, "http://")
	proxy := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "console", "127.0.0.1:0", upstream)
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	b := openBrowser(t, "http://"+proxy.Listen)
	b.expect("net::ERR_")
	b.signIn(p.Users[0].Email, p.Users[0].Password)
	b.wizard("acme", false)
	b.sees("queued")
	proxy.Stop()
	b.sees("Reconnecting…")
	b.seesNot("failed")
	id := evaluate[string](b, `new URLSearchParams(location.search).get("job")`)
	if code, _, stderr := p.ctl(t, "run-job", id); code != exitOK {
		t.Fatal(stderr)
	}
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	b.sees("Hand off the invitation")
	b.seesNot("Reconnecting…")
}
