package http

import (
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

const jobPath = "/platform/jobs/" + someJobID

func TestGetJobShowsAFailedJob(t *testing.T) {
	t.Parallel()
	a := setup(t)
	start, end := epoch.In(time.FixedZone("", 3600)), epoch.Add(time.Minute)
	a.job.Status, a.job.Phase, a.job.Version, a.job.StartedAt, a.job.FinishedAt = tenancy.JobFailed, tenancy.PhaseMigrationsApplied, 9, &start, &end
	a.job.Server = &tenancy.DBServer{Name: "pg-b", AdminSecretRef: "pg-b-admin"}
	a.job.RequestedBy = tenancy.Actor{Name: "os:ada@host"}
	a.job.Phases = []tenancy.PhaseRecord{
		{Name: tenancy.PhasePlacementResolved, Status: tenancy.PhaseUndone, StartedAt: &start, FinishedAt: &end, UndoneAt: &end, Detail: map[string]any{"dbServer": "pg-b"}},
		{Name: tenancy.PhaseMigrationsApplied, Status: tenancy.PhaseFailed, StartedAt: &start, Error: &tenancy.PhaseError{Code: tenancy.CodeMigrationsFailed, Message: "m"}},
	}
	a.job.Error = &tenancy.JobError{Code: tenancy.CodeMigrationsFailed, Message: "Migration 7 failed.", Phase: tenancy.PhaseMigrationsApplied, RolledBack: true}
	w := a.do(t, "readonly", "GET", jobPath, "").wantStatus(200).
		wantHeader("ETag", `"9"`).wantHeader("Cache-Control", "private, no-cache").wantHeader("Retry-After", "")
	w.wantBody(`{"jobId":"` + someJobID + `","kind":"provision","status":"failed","tenantId":"` + someTokenID + `","slug":"acme",
		"displayName":"Acme Health","dbServer":"pg-b","dryRun":false,"phase":"migrations_applied","attempt":1,"failures":0,
		"phases":[
		 {"name":"placement_resolved","status":"undone","startedAt":"2026-01-31T12:00:00Z","finishedAt":"2026-01-31T12:01:00Z","detail":{"dbServer":"pg-b"},"error":null},
		 {"name":"migrations_applied","status":"failed","startedAt":"2026-01-31T12:00:00Z","finishedAt":null,"detail":{},"error":null}],
		"error":{"code":"E_MIGRATIONS_FAILED","message":"Migration 7 failed.","phase":"migrations_applied","rolledBack":true,"residue":[],
		 "runbookUrl":"https://console.example/docs/errors/E_MIGRATIONS_FAILED",
		 "meaning":"A migration of the tenant's schema did not run to its end on the new database.",
		 "fix":"Mend the migration, deploy the worker with it, and retry."},
		"requestedBy":{"platformUserId":null,"actor":"os:ada@host"},"cancelRequested":false,
		"createdAt":"2026-01-31T12:00:00Z","startedAt":"2026-01-31T12:00:00Z","finishedAt":"2026-01-31T12:01:00Z","pollAfterMs":1500,"version":9}`)
}

func TestGetJobShowsWhyAPhaseIsTriedAgain(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.job.Status, a.job.ServerName = tenancy.JobRunning, "pg-a"
	a.job.Phases[0].Error = &tenancy.PhaseError{Code: tenancy.CodeDependencyUnavailable, Message: "cannot connect"}
	got := decodeBody[jobJSON](a.do(t, "readonly", "GET", jobPath, "").wantStatus(200).wantHeader("Retry-After", "2"))
	if e := got.Phases[0].Error; e == nil || *e != (phaseErrorJSON{tenancy.CodeDependencyUnavailable, "cannot connect"}) {
		t.Errorf("phase error = %v", e)
	}
	if got.DBServer == nil || *got.DBServer != "pg-a" {
		t.Errorf("dbServer = %v, want the one asked for", got.DBServer)
	}
}

func TestGetJobNotModified(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.job.Version = 4
	for header, status := range map[string]int{
		`"4"`: 304, `W/"4"`: 304, `"3", W/"4"`: 304, `*`: 304,
		`"3"`: 200, `4`: 200, `"44"`: 200, ``: 200,
	} {
		w := a.do(t, "readonly", "GET", jobPath, "", "If-None-Match", header).wantStatus(status).
			wantHeader("ETag", `"4"`).wantHeader("Retry-After", "2").wantHeader("Cache-Control", "private, no-cache").wantHeader("Vary", "Accept")
		if status == 304 && w.Body.Len() > 0 {
			t.Errorf("%s: 304 with a body: %s", header, w.Body)
		}
	}
}

// TestAPolledJobIsReadOnceAVersion, whoever asks and with whatever credential.
func TestAPolledJobIsReadOnceAVersion(t *testing.T) {
	t.Parallel()
	a := setup(t)
	show := func(who ...string) (body string) {
		t.Helper()
		for _, as := range who {
			body = a.do(t, as, "GET", jobPath, "").wantStatus(200).Body.String()
		}
		return body
	}
	first := show("readonly", "admin", "readonly")
	a.wantCalls(t, call{"Job", []any{tenancy.JobID(someJobID)}})
	a.job.Version, a.job.Phase = 5, tenancy.PhaseSecretSet
	if second := show("admin", "support"); second == first || !strings.Contains(second, `"version":5`) {
		t.Errorf("after a change: %s", second)
	}
	a.wantCalls(t, call{"Job", []any{tenancy.JobID(someJobID)}})
	a.do(t, "nobody", "GET", jobPath, "").wantProblem(401, tenancy.CodeUnauthenticated)
}

func TestJobsThatAreNone(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for _, id := range []string{"1", "nonsense", "{" + someJobID + "}", "01900000-0000-7000-8000-00000000000g"} {
		a.do(t, "admin", "GET", "/platform/jobs/"+id, "").wantProblem(404, tenancy.CodeNotFound)
		a.do(t, "admin", "POST", "/platform/jobs/"+id+"/retry", "").wantProblem(404, tenancy.CodeNotFound)
	}
	a.wantCalls(t)
	a.fail = tenancy.Errorf(tenancy.CodeNotFound, "There is no such job.")
	a.do(t, "admin", "GET", jobPath, "").wantProblem(404, tenancy.CodeNotFound)
}

func TestListJobs(t *testing.T) {
	t.Parallel()
	a := setup(t)
	w := a.do(t, "support", "GET", "/platform/jobs?status=failed&kind=provision&slug=acme&errorCode=E_TIMEOUT&limit=1", "").wantStatus(200)
	a.wantCalls(t, call{"ListJobs", []any{tenancy.JobFilter{
		Status: tenancy.JobFailed, Kind: tenancy.KindProvision, Slug: "acme", Code: tenancy.CodeTimeout, Page: tenancy.Page{Limit: 1},
	}}})
	if page := decodeBody[list[jobJSON]](w); len(page.Items) != 1 || page.NextCursor != nil {
		t.Errorf("page = %+v", page)
	}
	a.do(t, "support", "GET", "/platform/jobs?status=x&kind=x&slug=%07&errorCode=x&limit=-1", "").
		wantProblem(422, tenancy.CodeInvalidRequest, "/status", "/kind", "/slug", "/errorCode", "/limit")
}

func TestRetryAndCancelJob(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for path, method := range map[string]string{"/retry": "RetryJob", "/cancel": "CancelJob"} {
		w := a.do(t, "admin", "POST", jobPath+path, "").wantStatus(202).wantHeader("Location", jobPath)
		if got := decodeBody[jobJSON](w); got.JobID != someJobID {
			t.Errorf("jobId = %s", got.JobID)
		}
		a.wantCalls(t, call{method, []any{tenancy.JobID(someJobID), adminActor}})
	}
	a.fail = tenancy.Errorf(tenancy.CodeConflict, "The job is complete.")
	a.do(t, "admin", "POST", jobPath+"/cancel", "").wantProblem(409, tenancy.CodeConflict)
}
