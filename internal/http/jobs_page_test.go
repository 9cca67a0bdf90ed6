package http

import (
	"html"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestJobsPage(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.next = "Nw"
	w := a.browse(t, "session-readonly", "GET", "/platform/jobs?status=&kind=&slug=&errorCode=", nil).wantStatus(200)
	w.shows(`data-job="`+someJobID+`"`, `href="`+jobPath+`"`, "acme", "Provision", "queued", "admin@platform.example",
		"Pause the refresh", "every 2s, refresh", "Failed only", `rel="next"`, "cursor=Nw")
	w.hides("/retry", "/platform/job-retries", "Resume")
	a.wantCalls(t, call{"ListJobs", []any{tenancy.JobFilter{Page: tenancy.Page{Limit: 50}}}})

	a.browse(t, "session-readonly", "GET", "/platform/jobs?status=failed&kind=offboard&slug=acme&errorCode=E_TIMEOUT&cursor=Nw&limit=2", nil).wantStatus(200).
		shows(`<option value="failed" selected>`, `<option value="offboard" selected>`, `value="acme"`, `<option value="E_TIMEOUT" selected>`, "All statuses")
	a.wantCalls(t, call{"ListJobs", []any{tenancy.JobFilter{
		Status: tenancy.JobFailed, Kind: tenancy.KindOffboard, Slug: "acme", Code: tenancy.CodeTimeout, Page: tenancy.Page{Limit: 2, Cursor: "Nw"},
	}}})
	a.browse(t, "session-readonly", "GET", "/platform/jobs?slug=%07&status=x", nil).wantStatus(422).shows("Control characters are not allowed.", "no status this API knows")
	a.wantCalls(t)
	a.browse(t, "", "GET", "/platform/jobs?status=failed", nil).leads("/platform/session?next=%2Fplatform%2Fjobs%3Fstatus%3Dfailed")
}

// The refresh goes on while something moves and the reader does not mind.
func TestJobsPageRefreshesItself(t *testing.T) {
	t.Parallel()
	a := setup(t)
	w := a.browse(t, "session-readonly", "GET", "/platform/jobs?status=running&cursor=Nw&live=off&job="+someJobID, nil).wantStatus(200)
	w.shows(`hx-trigger="refresh"`, "Resume the refresh", `href="/platform/jobs?cursor=Nw&amp;status=running"`, `name="live" value="off"`).hides("every 2s", "job="+someJobID)
	a.browse(t, "session-readonly", "GET", "/platform/jobs?cursor=Nw", nil).shows(`href="/platform/jobs?cursor=Nw&amp;live=off"`)
	fragment := a.browse(t, "session-readonly", "GET", "/platform/jobs", nil, "HX-Request", "true").wantStatus(200).shows(`id="list"`, "every 2s")
	fragment.hides("<html", "<form class=\"filters\"")
	for _, status := range []tenancy.JobStatus{tenancy.JobComplete, tenancy.JobFailed, tenancy.JobCancelled} {
		a.job.Status = status
		a.browse(t, "session-readonly", "GET", "/platform/jobs", nil).wantStatus(200).shows(`hx-trigger="refresh"`).hides("every 2s", "Pause the refresh")
	}
}

func TestJobsPageWithoutJobs(t *testing.T) {
	t.Parallel()
	a := setup(t, func(c *Config) { c.Jobs = jobsOf{Jobs: c.Jobs} })
	a.browse(t, "session-admin", "GET", "/platform/jobs", nil).wantStatus(200).shows("There are no jobs yet")
	a.browse(t, "session-admin", "GET", "/platform/jobs?status=failed", nil).wantStatus(200).shows("No job matches").hides("/platform/job-retries")
}

func TestJobsPageInAnOutage(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.fail = tenancy.Unavailable(nil, "the master database does not answer")
	a.browse(t, "session-admin", "GET", "/platform/jobs", nil).wantStatus(503).shows("E_DEPENDENCY_UNAVAILABLE", "Request <code>")
	a.browse(t, "session-admin", "GET", jobPath, nil).wantStatus(503).shows("E_DEPENDENCY_UNAVAILABLE")
}

func TestRetryFromTheListOfJobs(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.job.Status = tenancy.JobFailed
	a.job.Error = &tenancy.JobError{Code: tenancy.CodeTimeout, Message: "It took too long.", RolledBack: true}
	here := "/platform/jobs?errorCode=E_TIMEOUT&kind=provision&slug=acme&status=failed"
	a.browse(t, "session-admin", "GET", here, nil).wantStatus(200).
		shows(`action="`+jobPath+`/retry"`, `name="next" value="`+html.EscapeString(here)+`"`, "E_TIMEOUT",
			`action="/platform/job-retries"`, `name="errorCode" value="E_TIMEOUT"`, `name="kind" value="provision"`, `name="slug" value="acme"`)
	for _, who := range []string{"session-support", "session-readonly"} {
		a.browse(t, who, "GET", here, nil).wantStatus(200).hides("/retry\"", "/platform/job-retries")
		a.browse(t, who, "POST", jobPath+"/retry", url.Values{}).wantStatus(403).shows("may not do this")
	}
	a.browse(t, "session-admin", "GET", "/platform/jobs", nil).hides("/platform/job-retries")
	a.calls = nil
	a.browse(t, "session-admin", "POST", jobPath+"/retry", url.Values{"next": {here}}).leads(here)
	a.wantCalls(t, call{"RetryJob", []any{tenancy.JobID(someJobID), adminActor}})
	a.browse(t, "session-admin", "POST", jobPath+"/retry", url.Values{"next": {"https://evil.example/"}}).leads("/platform/tenants")
}

func TestJobPageShowsAFailedJob(t *testing.T) {
	t.Parallel()
	a := setup(t)
	start, end := epoch, epoch.Add(1500*time.Millisecond)
	a.job.Status, a.job.StartedAt, a.job.FinishedAt, a.job.RequestID, a.job.Attempt, a.job.Failures = tenancy.JobFailed, &start, &end, "req-1", 2, 3
	a.job.DisplayName, a.job.RequestedBy.Name = hostile, "os:"+hostile
	a.job.Server = &tenancy.DBServer{Name: "pg-b", AdminSecretRef: "pg-b-admin"}
	a.job.Phases = []tenancy.PhaseRecord{
		{Name: tenancy.PhasePlacementResolved, Status: tenancy.PhaseUndone, StartedAt: &start, FinishedAt: &end, UndoneAt: &end, Detail: map[string]any{"dbServer": hostile, "tries": 2}},
		{Name: tenancy.PhaseMigrationsApplied, Status: tenancy.PhaseFailed, StartedAt: &start, Error: &tenancy.PhaseError{Code: tenancy.CodeTimeout, Message: "an older failure"}},
		{Name: tenancy.PhaseComplete, Status: tenancy.PhasePending},
	}
	a.job.Error = &tenancy.JobError{
		Code: tenancy.CodeMigrationsFailed, Message: "Migration 7 failed: " + hostile, Phase: tenancy.PhaseMigrationsApplied, Residue: []string{"database tenant_acme"},
	}
	w := a.browse(t, "session-admin", "GET", jobPath, nil).wantStatus(200)
	w.shows("<h1>Provision acme</h1>", "failed", "E_MIGRATIONS_FAILED", "Migration 7 failed", "did not run to its end", "Mend the migration", "Not everything.",
		"database tenant_acme", "https://console.example/docs/errors/E_MIGRATIONS_FAILED", "placement_resolved", "undone", "1.5 s", "tries: 2", "pending",
		"req-1", "3 in this attempt", `href="/platform/tenants/acme"`, `href="/platform/db-servers/pg-b"`, `action="`+jobPath+`/retry"`,
		`datetime="2026-01-31T12:00:01.5Z"`, `data-copy="#job-json"`, html.EscapeString(`"code": "E_MIGRATIONS_FAILED"`))
	w.hides(hostile, "<script>alert", "admin@acme.example", "an older failure", "every 2s", "/cancel\"", "pg-b-admin")
	a.browse(t, "session-support", "GET", jobPath, nil).wantStatus(200).shows("E_MIGRATIONS_FAILED").hides("/retry\"")

	a.job.Error.RolledBack, a.job.Error.Residue = true, nil
	a.browse(t, "session-admin", "GET", jobPath, nil).shows("Yes, nothing is left.").hides("Left behind")
	a.job.Error.RolledBack, a.job.Kind, a.job.Offboarding.Purge = false, tenancy.KindOffboard, true
	a.browse(t, "session-admin", "GET", jobPath, nil).shows("<h1>Purge acme</h1>", "a retry goes on where it stopped")
}

// The page shows byte for byte what a script gets, but for the spaces.
func TestJobPageHasTheJSONOfTheAPI(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.job.DisplayName = hostile
	page := a.browse(t, "session-admin", "GET", jobPath, nil).Body.String()
	_, text, _ := strings.Cut(page, `id="job-json" hx-swap-oob="true">`)
	text, _, _ = strings.Cut(text, "</pre>")
	a.do(t, "admin", "GET", jobPath, "").wantBody(html.UnescapeString(text))
}

// A refresh brings the job and, beside it, its JSON; the details around that
// stay as they are.
func TestJobPageRefreshesItself(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.job.Status, a.job.StartedAt = tenancy.JobRunning, &epoch
	a.job.Phases[0].Error = &tenancy.PhaseError{Code: tenancy.CodeDependencyUnavailable, Message: "cannot connect"}
	a.browse(t, "session-admin", "GET", jobPath, nil).wantStatus(200).
		shows(`hx-get="`+jobPath+`"`, "every 2s, refresh", "cannot connect", "not chosen yet", `action="`+jobPath+`/cancel"`, "<details").hides("/retry\"")
	a.browse(t, "session-readonly", "GET", jobPath, nil).hides("/cancel\"")
	a.browse(t, "session-admin", "GET", jobPath, nil, "HX-Request", "true").wantStatus(200).
		shows(`<div id="job"`, `id="job-json" hx-swap-oob="true"`).hides("<html", "<details", "<h1")
	a.job.Status, a.job.Error = tenancy.JobRollingBack, &tenancy.JobError{}
	a.browse(t, "session-admin", "GET", jobPath, nil).wantStatus(200).shows("rolling back", "The job was cancelled", "It is under way.").hides("/cancel\"", "/retry\"")
	a.job.Error = nil
	for status, action := range map[tenancy.JobStatus]string{tenancy.JobQueued: "/cancel\"", tenancy.JobComplete: "", tenancy.JobCancelled: ""} {
		a.job.Status = status
		w := a.browse(t, "session-admin", "GET", jobPath, nil).wantStatus(200).shows(string(status))
		if action == "" {
			w.hides("/cancel\"", "/retry\"", "every 2s")
		} else {
			w.shows(action)
		}
	}
	a.job.Status, a.job.CancelRequested = tenancy.JobRunning, true
	a.browse(t, "session-admin", "GET", jobPath, nil).shows("to be cancelled").hides("/cancel\"")
}

func TestJobPageOfASlugWithoutATenant(t *testing.T) {
	t.Parallel()
	a := setup(t, func(c *Config) { c.Tenants = noTenants{c.Tenants} })
	a.job.DryRun = true
	a.browse(t, "session-readonly", "GET", jobPath, nil).wantStatus(200).shows("<h1>Dry run of acme</h1>").hides(`href="/platform/tenants/acme"`)
	a.browse(t, "session-readonly", "GET", "/platform/jobs/nonsense", nil).wantStatus(404).shows("NOT_FOUND")
}

func TestRetryAndCancelFromTheJobPage(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for path, method := range map[string]string{"/retry": "RetryJob", "/cancel": "CancelJob"} {
		a.browse(t, "session-admin", "POST", jobPath+path, url.Values{}).leads(jobPath)
		a.wantCalls(t, call{method, []any{tenancy.JobID(someJobID), adminActor}})
		a.browse(t, "session-support", "POST", jobPath+path, url.Values{}).wantStatus(403)
		a.browse(t, "", "POST", jobPath+path, url.Values{}).wantStatus(401).shows("Sign in")
		a.wantCalls(t)
	}
	a.browse(t, "session-admin", "GET", jobPath, nil, "Cookie", "tenantry_session=session-admin; tenantry_notice=job-retried").shows("The job is tried again.")

	refusing := setup(t, func(c *Config) { c.Jobs = refusingJobs{c.Jobs} })
	refusing.browse(t, "session-admin", "POST", jobPath+"/cancel", url.Values{}).wantStatus(409).
		shows("The job is complete.", "<h1>Provision acme</h1>", `hx-get="`+jobPath+`"`)
	novault := setup(t, func(c *Config) { c.ProvisioningAvailable = false })
	novault.browse(t, "session-admin", "POST", jobPath+"/retry", url.Values{}).wantStatus(503).shows("KEY_VAULT_URL", "<h1>Provision acme</h1>")
}

// To begin an offboarding again takes what to begin one does.
func TestRetryOfAnOffboardingTakesAFreshSignIn(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.job.Status, a.job.Kind, a.stale = tenancy.JobFailed, tenancy.KindOffboard, true
	a.browse(t, "session-admin", "POST", jobPath+"/retry", url.Values{}).wantStatus(403).shows(`name="fresh"`, `name="next" value="`+jobPath+`"`)
	a.do(t, "admin", "POST", jobPath+"/retry", "").wantStatus(202) // an API token's
	a.stale = false
	a.browse(t, "session-admin", "POST", jobPath+"/retry", url.Values{}).wantStatus(303)
	a.stale, a.job.Kind = true, tenancy.KindProvision
	a.browse(t, "session-admin", "POST", jobPath+"/retry", url.Values{}).wantStatus(303)
}

func TestRetryAllJobsThatMatch(t *testing.T) {
	t.Parallel()
	a := setup(t)
	filter := url.Values{"errorCode": {"E_TIMEOUT"}, "kind": {"provision"}, "slug": {"acme"}}
	a.browse(t, "session-admin", "POST", "/platform/job-retries", filter).leads("/platform/jobs?kind=provision&slug=acme")
	a.wantCalls(t, call{"RetryJobs", []any{tenancy.JobFilter{Code: tenancy.CodeTimeout, Slug: "acme"}, adminActor}})
	a.browse(t, "session-admin", "GET", "/platform/jobs", nil, "Cookie", "tenantry_session=session-admin; tenantry_notice=some-jobs-retried").
		shows("Some failed jobs that match are tried again")
	a.browse(t, "session-support", "POST", "/platform/job-retries", filter).wantStatus(403)
	a.browse(t, "session-admin", "POST", "/platform/job-retries", url.Values{"kind": {hostile}}).wantStatus(422).shows("This is no kind this API knows.").hides(hostile)
	a.browse(t, "session-admin", "POST", "/platform/job-retries", url.Values{"kind": {"offboard"}}).wantStatus(422).shows("Offboardings are retried one by one.")
	for retries, notice := range map[tenancy.Retries]string{
		{Matched: 2, Retried: 2}: "jobs-retried", {Matched: 2, Retried: 1, Skipped: 1}: "some-jobs-retried", {Matched: 2, Skipped: 2}: "no-jobs-retried", {}: "no-jobs-retried",
	} {
		a := setup(t, func(c *Config) { c.Jobs = retriesOf{c.Jobs, retries} })
		w := a.browse(t, "session-admin", "POST", "/platform/job-retries", url.Values{}).leads("/platform/jobs")
		if got := w.Header().Get("Set-Cookie"); !strings.HasPrefix(got, "tenantry_notice="+notice+";") {
			t.Errorf("%+v: %s", retries, got)
		}
	}
}
