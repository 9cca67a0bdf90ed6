package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// screen is a page in one of its states.
type screen struct {
	name, path string
	// prepare brings the page into its state, once it is open.
	prepare func(b *browser)
}

// Every page in every state, light, dark and narrow: axe-core finds nothing, the
// page is no wider than the window, and the browser has nothing to complain of.
// With SCREENS=DIR the pictures are kept (make screens).
func TestEveryScreen(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, nil)
	dir := os.Getenv("SCREENS")
	stranger := openBrowser(t, p.Console)
	stranger.expect("status of 404")
	stranger.visit(dir, []screen{
		{name: "sign-in", path: "/platform/session"},
		{name: "sign-in-wrong", path: "/platform/session", prepare: func(b *browser) {
			b.expect("status of 401")
			b.fill("email", "nobody@platform.localhost")
			b.fill("password", "not the password")
			b.press("Sign in")
			b.sees("The e-mail address or the password is wrong.")
		}},
		{name: "error-page", path: "/docs/errors/E_NO_CAPACITY"},
	})

	admin := openBrowser(t, p.Console)
	admin.signIn(p.Users[0].Email, p.Users[0].Password)
	admin.visit(dir, []screen{{name: "tenants-empty", path: "/platform/tenants"}, {name: "jobs-empty", path: "/platform/jobs"}})

	done := p.seedScreens(t)
	admin.expect("status of 404")
	admin.expect("status of 422")
	admin.visit(dir, []screen{
		{name: "tenants", path: "/platform/tenants"},
		{name: "tenants-no-match", path: "/platform/tenants?q=zzz"},
		{name: "tenant", path: "/platform/tenants/acme"},
		{name: "tenant-suspended", path: "/platform/tenants/initech"},
		{name: "tenant-offboarding", path: "/platform/tenants/globex"},
		{name: "tenant-missing", path: "/platform/tenants/nobody"},
		{name: "wizard-details", path: "/platform/tenants/new", prepare: func(b *browser) {
			b.fill("slug", "umbrella-corp")
			b.sees("umbrella-corp is free")
		}},
		{name: "wizard-faults", path: "/platform/tenants/new", prepare: func(b *browser) {
			b.fill("slug", "Acme!")
			b.press("Go on to placement")
			b.sees("There is a problem")
			b.until("find the focus on the error summary", `document.activeElement.id === "faults"`)
		}},
		{name: "wizard-placement", path: "/platform/tenants/new", prepare: func(b *browser) {
			b.fill("slug", "umbrella-corp")
			b.sees("umbrella-corp is free")
			b.fill("displayName", "Umbrella Corporation")
			b.fill("adminEmail", "it@umbrella.example")
			b.press("Go on to placement")
			b.sees("It would choose")
		}},
		{name: "wizard-check", path: "/platform/tenants/new", prepare: func(b *browser) {
			b.fill("slug", "umbrella-corp")
			b.sees("umbrella-corp is free")
			b.fill("displayName", "Umbrella Corporation")
			b.fill("adminEmail", "it@umbrella.example")
			b.press("Go on to placement")
			b.sees("It would choose")
			b.press("Go on to check")
			b.sees("This will be made")
		}},
		{name: "drawer-complete", path: "/platform/tenants?job=" + done["complete"], prepare: func(b *browser) { b.sees("mailed to") }},
		{name: "drawer-failed", path: "/platform/tenants?job=" + done["failed"], prepare: func(b *browser) { b.sees("Rolled back") }},
		{name: "jobs", path: "/platform/jobs"},
		{name: "jobs-failed", path: "/platform/jobs?status=failed"},
		{name: "job-complete", path: "/platform/jobs/" + done["complete"]},
		{name: "job-failed", path: "/platform/jobs/" + done["failed"]},
		{name: "job-json", path: "/platform/jobs/" + done["failed"], prepare: func(b *browser) {
			evaluate[bool](b, `document.querySelector("#json").open = true`)
		}},
		{name: "db-servers", path: "/platform/db-servers"},
		{name: "db-server", path: "/platform/db-servers/pg-a"},
		{name: "db-server-new", path: "/platform/db-servers/new"},
		{name: "batches", path: "/platform/tenant-batches"},
		{name: "batch-new", path: "/platform/tenant-batches/new"},
		{name: "batch", path: "/platform/tenant-batches/" + done["batch"]},
		{name: "db-server-faults", path: "/platform/db-servers/new", prepare: func(b *browser) {
			b.press("Add the server")
			b.sees("There is a problem")
		}},
		{name: "audit", path: "/platform/audit"},
		{name: "audit-details", path: "/platform/audit?eventType=STATUS_CHANGED", prepare: func(b *browser) {
			evaluate[bool](b, `document.querySelector("main details").open = true`)
		}},
		{name: "api-tokens", path: "/platform/api-tokens"},
		{name: "api-token-made", path: "/platform/api-tokens", prepare: func(b *browser) {
			b.fill("name", "ci")
			b.press("Make the token")
			b.sees("it is shown this once")
			evaluate[bool](b, `document.querySelector("main details").open = true`)
		}},
		{name: "account", path: "/platform/account"},
		{name: "second-factor", path: "/platform/session/second-factor", prepare: func(b *browser) {
			if evaluate[bool](b, `document.querySelector("#totp-secret") === null`) {
				b.press("Set one up")
			}
			b.sees("Scan this")
		}},
	})

	link, _ := p.mailed(t, "admin@acme.example", 1, "acme", "/first-sign-in")
	guest := openBrowser(t, p.tenantURL("acme", ""))
	guest.expect("status of 404")
	guest.visit(dir, []screen{
		{name: "tenant-site-invitation", path: link},
		{name: "tenant-site-dead-link", path: "/first-sign-in?token=none"},
		{name: "tenant-site-sign-in", path: "/sign-in"},
		{name: "tenant-site-forgotten", path: "/forgotten-password"},
	})
	guest.goTo(link)
	guest.fill("password", "a long enough phrase")
	guest.fill("passwordAgain", "a long enough phrase")
	guest.press("Set the password and sign in")
	guest.at("/")
	guest.visit(dir, []screen{{name: "tenant-site-home", path: "/"}, {name: "tenant-site-password", path: "/password"}})
	closed := openBrowser(t, p.tenantURL("initech", ""))
	closed.expect("status of 503")
	closed.visit(dir, []screen{{name: "tenant-site-suspended", path: "/"}})

	reader := openBrowser(t, p.Console)
	reader.expect("status of 403")
	reader.signIn(p.Users[2].Email, p.Users[2].Password)
	reader.visit(dir, []screen{
		{name: "tenant-readonly", path: "/platform/tenants/acme"},
		{name: "forbidden", path: "/platform/tenants/new"},
	})
}

// seedScreens fills the plane with something of everything and returns the ids
// of two jobs and a batch.
func (p *plane) seedScreens(t *testing.T) map[string]string {
	t.Helper()
	ids := make(map[string]string)
	for _, slug := range []string{"acme", "globex", "initech"} {
		ids[slug] = p.submit(t, request(slug))
	}
	for _, slug := range []string{"acme", "globex", "initech"} {
		if a := p.settle(t, ids[slug], 30*time.Second); a.text("status") != "complete" {
			t.Fatalf("%v", a.body)
		}
	}
	p.call(t, http.MethodPatch, "/platform/tenants/initech", map[string]any{"status": "suspended", "reason": "unpaid"})
	p.settle(t, p.call(t, http.MethodDelete, "/platform/tenants/globex", map[string]any{}).text("jobId"), 30*time.Second)
	p.call(t, http.MethodPatch, "/platform/db-servers/pg-b", map[string]any{"capacityHint": 0})
	failed := p.submitTo(t, "hooli", "pg-b")
	p.settle(t, failed, 30*time.Second)
	batch := p.call(t, http.MethodPost, "/platform/tenant-batches", map[string]any{"rows": []any{
		request("umbrella"), request("acme"), map[string]any{"slug": "X", "displayName": "X", "adminEmail": "x@example.com"},
	}}).text("batchId")
	eventually(t, 30*time.Second, "the batch is settled", func() bool {
		return p.call(t, http.MethodGet, "/platform/tenant-batches/"+batch, nil).text("status") == "complete"
	})
	return map[string]string{"complete": ids["acme"], "failed": failed, "batch": batch}
}

// looks are how every screen is looked at.
var looks = []struct {
	name  string
	width int64
	theme string
}{{"light", 1280, "light"}, {"dark", 1280, "dark"}, {"narrow", 375, "light"}, {"tiny", 320, "dark"}}

func (b *browser) visit(dir string, screens []screen) {
	b.t.Helper()
	for _, s := range screens {
		for _, look := range looks {
			b.looks(look.width, look.theme)
			b.goTo(s.path)
			if s.prepare != nil {
				s.prepare(b)
			}
			b.accessible(fmt.Sprintf("%s, %s", s.name, look.name))
			if size := evaluate[float64](b, firstLoad); size > 150<<10 {
				b.t.Errorf("%s: %.0f KiB on first load", s.name, size/1024)
			}
			if dir != "" && look.name != "tiny" {
				b.screenshot(filepath.Join(dir, s.name+"-"+look.name+".png"))
			}
		}
	}
}

// firstLoad is what a page and all it needs weigh compressed, in bytes.
const firstLoad = `performance.getEntries().reduce((sum, e) => sum + (e.encodedBodySize || 0), 0)`
