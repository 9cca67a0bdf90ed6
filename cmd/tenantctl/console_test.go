package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	b.seesNot("first-sign-in") // the link is in the mail alone

	// The invited admin opens the link, and can go nowhere before a password is chosen.
	link, _ := p.mailed(t, "admin@acme.example", 1, "acme-health", "/first-sign-in")
	a := openBrowser(t, p.tenantURL("acme-health", ""))
	a.goTo("/")
	a.at("/sign-in")
	a.goTo(link)
	a.sees("You are invited to Acme Health")
	a.fill("password", "acme health")
	a.fill("passwordAgain", "acme health")
	a.expect("status of 422")
	a.press("Set the password and sign in")
	a.sees("at least 12 characters")
	a.accessible("a password that is too short")
	if evaluate[string](a, "location.search") != "" {
		t.Error("the token is in the address after the form")
	}
	a.fill("password", "a long enough phrase")
	a.fill("passwordAgain", "a long enough phrase")
	a.press("Set the password and sign in")
	a.at("/")
	a.sees("You are signed in to Acme Health")
	a.press("Sign out")
	a.at("/sign-in")
	a.fill("email", "admin@acme.example")
	a.fill("password", "a long enough phrase")
	a.press("Sign in")
	a.at("/")
	a.sees("You are signed in to Acme Health")
	a.expect("status of 404")
	a.goTo(link)
	a.sees("This link does not work")
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
	b.sees("acme is free")
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
	b.expect("htmx:") // the list behind the drawer is refreshed in vain too
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

// A file of 200 tenants, 10 of them bad, goes through the page; a single job in
// between is not held up.
func TestConsoleImportsABatch(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, nil)
	for _, name := range []string{"pg-a", "pg-b"} {
		p.call(t, http.MethodPatch, "/platform/db-servers/"+name, map[string]any{"capacityHint": 150})
	}
	var file strings.Builder
	file.WriteString("slug,displayName,adminEmail\n")
	for i := range 200 {
		slug := fmt.Sprintf("bulk-%03d", i)
		if i%20 == 7 {
			slug = fmt.Sprintf("Bad %03d", i)
		}
		fmt.Fprintf(&file, "%s,\"Customer %d, Inc.\",admin%d@bulk.example\n", slug, i, i)
	}
	path := filepath.Join(t.TempDir(), "customers.csv")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	b := openBrowser(t, p.Console)
	b.signIn(p.Users[0].Email, p.Users[0].Password)
	b.goTo("/platform/tenant-batches/new")
	b.do("choose the file", chromedp.SetUploadFiles(`#file`, []string{path}))
	b.press("Check the rows")
	b.sees("190 of 200 rows can be provisioned")
	b.accessible("the verdict")
	line := evaluate[string](b, `[...document.querySelectorAll("tbody tr")].find((r) => r.innerText.includes("Bad 007")).innerText.replace(/\s+/g, " ")`)
	if !strings.HasPrefix(line, "9 ") || !strings.Contains(line, "rejected E_INVALID_SLUG") {
		t.Errorf("the bad row reads %q", line)
	}
	if n := queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.job`); n != 0 {
		t.Errorf("checking made %d jobs", n)
	}
	b.press("Provision 190 tenants")
	b.sees("rows are settled")
	single := p.settle(t, p.submit(t, request("urgent")), 30*time.Second)
	if left := queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.job WHERE status IN ('queued', 'running')`); left == 0 || single.text("status") != "complete" {
		t.Errorf("the single job is %s, and %d of the batch are left", single.text("status"), left)
	}
	eventually(t, 90*time.Second, "the batch is settled", func() bool {
		return queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.job WHERE status IN ('queued', 'running')`) == 0
	})
	b.sees("200 of 200 rows are settled")
	b.press("Rejected 10")
	b.sees("E_INVALID_SLUG")
	b.accessible("the rejected rows")
	if n := queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.tenant WHERE status = 'active'`); n != 191 {
		t.Errorf("%d tenants", n)
	}
}
