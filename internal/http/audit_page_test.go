package http

import (
	"encoding/csv"
	"html"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestAuditPage(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.next = "Nw"
	a.browse(t, "session-readonly", "GET", "/platform/audit", nil).wantStatus(200).
		shows("JOB_RETRIED", "system", "From (UTC)", "Before (UTC)", `href="/platform/audit.csv"`, `rel="next"`, `datetime="2026-01-31T12:00:00Z"`)
	a.wantCalls(t, call{"ListAudit", []any{tenancy.AuditFilter{Page: tenancy.Page{Limit: 50}}}})
	target := "/platform/audit?actor=ada%40x&cursor=Nw&eventType=JOB_RETRIED&from=2026-01-31T12:00:00Z&limit=2&slug=acme&to=2026-01-31T14:00:30%2B01:00"
	a.browse(t, "session-readonly", "GET", target, nil).wantStatus(200).shows(
		`value="2026-01-31T12:00"`, `value="2026-01-31T13:00:30"`, `value="acme"`, `value="ada@x"`, `<option selected>JOB_RETRIED</option>`,
		`href="/platform/audit.csv?actor=ada%40x&amp;eventType=JOB_RETRIED&amp;from=2026-01-31T12%3A00%3A00Z&amp;slug=acme&amp;to=2026-01-31T13%3A00%3A30Z"`)
	a.wantCalls(t, call{"ListAudit", []any{tenancy.AuditFilter{
		Type: tenancy.EventJobRetried, Slug: "acme", Actor: "ada@x", From: epoch, To: epoch.Add(time.Hour + 30*time.Second).In(time.FixedZone("", 3600)),
		Page: tenancy.Page{Limit: 2, Cursor: "Nw"},
	}}})
	a.browse(t, "session-readonly", "GET", "/platform/audit?eventType=SOMETHING_NEW", nil).wantStatus(200).shows("<option selected>SOMETHING_NEW</option>")
	a.browse(t, "", "GET", "/platform/audit", nil).leads("/platform/session?next=%2Fplatform%2Faudit")
	a.calls = nil
	a.browse(t, "session-readonly", "GET", "/platform/audit?eventType=retried&from=yesterday&to=2026-01-31T12:00", nil).wantStatus(422).
		shows("no eventType this API knows", "RFC 3339", `value="2026-01-31T12:00"`)
	a.wantCalls(t)
	a.fail = tenancy.Unavailable(nil, "the master database does not answer")
	a.browse(t, "session-readonly", "GET", "/platform/audit", nil).wantStatus(503).shows("E_DEPENDENCY_UNAVAILABLE")
}

// A browser's form knows no zones. Whatever it sends, the address the reader may
// pass on is one the API takes.
func TestAuditPageTakesTimesAsAFormSendsThem(t *testing.T) {
	t.Parallel()
	a := setup(t)
	typed, zoned := "/platform/audit?from=2026-01-31T12:00&slug=acme&to=2026-01-31T12:00:30", "/platform/audit?from=2026-01-31T12%3A00%3A00Z&slug=acme&to=2026-01-31T12%3A00%3A30Z"
	a.browse(t, "session-readonly", "GET", typed, nil).leads(zoned)
	w := a.browse(t, "session-readonly", "GET", typed, nil, "HX-Request", "true").wantStatus(200).shows(`id="list"`).hides("<html")
	if got := w.Header().Get("HX-Push-Url"); got != zoned {
		t.Errorf("HX-Push-Url = %q, want %q", got, zoned)
	}
	filter := tenancy.AuditFilter{Slug: "acme", From: epoch, To: epoch.Add(30 * time.Second), Page: tenancy.Page{Limit: 50}}
	a.wantCalls(t, call{"ListAudit", []any{filter}})
	a.browse(t, "session-readonly", "GET", zoned, nil).wantStatus(200).shows(`value="2026-01-31T12:00"`, `value="2026-01-31T12:00:30"`)
	a.wantCalls(t, call{"ListAudit", []any{filter}})
	a.do(t, "readonly", "GET", zoned, "").wantStatus(200)
	a.do(t, "readonly", "GET", typed, "").wantProblem(422, tenancy.CodeInvalidRequest, "/from", "/to")
}

// recorded is two pages of the audit trail.
func recorded(c *Config) {
	c.Audit = eventsOf{c.Audit, map[string][]tenancy.AuditEvent{
		"": {{
			ID: 9, Type: tenancy.EventStatusChanged, TenantID: someTokenID, Slug: "acme", JobID: someJobID, At: epoch,
			Actor: tenancy.Actor{UserID: someUserID, Name: hostile}, Details: map[string]any{"reason": hostile, "to": "suspended"},
		}},
		"more": {{ID: 8, Type: tenancy.EventSignedIn, Actor: tenancy.Actor{Name: "=SUM(A1)"}, At: epoch.Add(time.Microsecond)}},
	}, map[string]string{"": "more"}}
}

func TestAuditPageShowsDetails(t *testing.T) {
	t.Parallel()
	a := setup(t, recorded)
	a.browse(t, "session-support", "GET", "/platform/audit", nil).wantStatus(200).
		shows("<details><summary>Show", html.EscapeString("{\n  \"reason\": \"\\\"><script>alert(1)</script>\",\n  \"to\": \"suspended\"\n}"),
			`href="/platform/tenants/acme"`, `data-job="`+someJobID+`"`, "cursor=more").
		hides(hostile, "<script>alert")
	a = setup(t, func(c *Config) { c.Audit = eventsOf{Audit: c.Audit} })
	a.browse(t, "session-support", "GET", "/platform/audit", nil).wantStatus(200).shows("There are no events yet")
	a.browse(t, "session-support", "GET", "/platform/audit?slug=acme", nil).wantStatus(200).shows("No event matches")
}

func TestAuditCSV(t *testing.T) {
	t.Parallel()
	a := setup(t, recorded)
	w := a.browse(t, "session-readonly", "GET", "/platform/audit.csv?cursor=ignored", nil).wantStatus(200)
	if got := w.Header().Get("Content-Disposition"); got != `attachment; filename="audit.csv"` {
		t.Errorf("Content-Disposition = %q", got)
	}
	rows, err := csv.NewReader(w.Body).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"auditId", "at", "eventType", "slug", "tenantId", "actor", "platformUserId", "jobId", "details"},
		{"9", "2026-01-31T12:00:00Z", "STATUS_CHANGED", "acme", someTokenID, hostile, someUserID, someJobID, `{"reason":"\"><script>alert(1)</script>","to":"suspended"}`},
		{"8", "2026-01-31T12:00:00.000001Z", "SIGNED_IN", "", "", "'=SUM(A1)", "", "", ""},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}

	a = setup(t)
	a.raw(t, "readonly", "GET", "/platform/audit.csv?eventType=JOB_RETRIED&from=2026-01-31T12:00")
	a.wantCalls(t, call{"ListAudit", []any{tenancy.AuditFilter{Type: tenancy.EventJobRetried, From: epoch, Page: tenancy.Page{Limit: 200}}}})
	a.browse(t, "session-readonly", "GET", "/platform/audit.csv?from=x", nil).wantStatus(422).shows("RFC 3339")
	a.browse(t, "", "GET", "/platform/audit.csv", nil).leads("/platform/session?next=" + "%2Fplatform%2Faudit.csv")
}
