package http

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tenancy"
)

const (
	batchesPath = "/platform/tenant-batches"
	batchPath   = batchesPath + "/" + someBatchID
	batchBody   = `{"rows":[{"slug":"acme","displayName":" Acme ","adminEmail":"a@acme.example","dbServer":"pg-a"}]}`
	csvHeader   = "slug,displayName,adminEmail\n"
)

// shownBatch is setup's batch.
const shownBatch = `{"batchId":"` + someBatchID + `","status":"running","dryRun":false,
	"requestedBy":{"platformUserId":"id-of-admin","actor":"admin@platform.example"},
	"createdAt":"2026-01-31T12:00:00Z","finishedAt":null,"pollAfterMs":1500,
	"counts":{"total":3,"rejected":1,"queued":1,"running":0,"complete":0,"failed":1,"cancelled":0},
	"rows":[
	 {"line":2,"slug":"acme","displayName":"Acme Health","status":"queued","jobId":"` + someJobID + `","error":null},
	 {"line":3,"slug":"B","displayName":"","status":"rejected","jobId":null,"error":{"code":"E_INVALID_SLUG","message":"no slug"}},
	 {"line":5,"slug":"cask","displayName":"Cask","status":"failed","jobId":"` + someTokenID + `","error":{"code":"E_NO_CAPACITY","message":"full"}}]}`

// goodRow is a row as the store gets it.
func goodRow(line int, slug string) tenancy.NewBatchRow {
	return tenancy.NewBatchRow{Line: line, Slug: slug, DisplayName: "Acme", AdminEmail: "a@acme.example"}
}

func TestCreateBatch(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.do(t, "admin", "POST", batchesPath, batchBody, "Idempotency-Key", "key 1", "X-Request-Id", "req-1").
		wantStatus(202).wantHeader("Location", batchPath).wantBody(shownBatch)
	row := goodRow(1, "acme")
	row.ServerName = "pg-a"
	a.wantCalls(t, call{"SubmitBatch", []any{tenancy.NewBatch{
		Rows: []tenancy.NewBatchRow{row}, RequestedBy: adminActor, RequestID: "req-1", IdempotencyKey: "key 1",
	}}})
	if a.log.String() == "" || strings.Contains(a.log.String(), "acme") {
		t.Errorf("the log tells what was asked for: %s", a.log)
	}
	a.do(t, "admin", "POST", batchesPath, `{"dryRun":true,`+batchBody[1:], "X-Request-Id", "req-1").wantStatus(202)
	a.wantCalls(t, call{"SubmitBatch", []any{tenancy.NewBatch{
		Rows: []tenancy.NewBatchRow{row}, DryRun: true, RequestedBy: adminActor, RequestID: "req-1",
	}}})
}

// A file's rows are told by the lines they begin in.
func TestCreateBatchFromCSV(t *testing.T) {
	t.Parallel()
	a := setup(t)
	file := "\ufeffadmin_email,slug,display_name\r\na@acme.example,acme,Acme\r\n\r\na@acme.example,bolt,\"Bolt\nand Sons\"\r\na@acme.example,cask, Acme \r\na@acme.example,dune\r\n"
	a.do(t, "admin", "POST", batchesPath+"?dryRun=true", file, "Content-Type", "text/csv; charset=UTF-8", "X-Request-Id", "req-1").wantStatus(202)
	bolt := goodRow(4, "bolt")
	bolt.DisplayName = "Bolt\ufffdand Sons"
	bolt.Fault = &tenancy.Error{
		Code: tenancy.CodeInvalidRequest, Message: "displayName: Control characters are not allowed.",
		Fields: []tenancy.FieldError{{Pointer: "/displayName", Code: faultInvalid, Detail: "Control characters are not allowed."}},
	}
	dune := tenancy.NewBatchRow{
		Line: 7, Slug: "dune", AdminEmail: "a@acme.example",
		Fault: tenancy.Errorf(tenancy.CodeInvalidRequest, "The line has 2 cells, and the header has 3."),
	}
	a.wantCalls(t, call{"SubmitBatch", []any{tenancy.NewBatch{
		Rows:   []tenancy.NewBatchRow{goodRow(2, "acme"), bolt, goodRow(6, "cask"), dune},
		DryRun: true, RequestedBy: adminActor, RequestID: "req-1",
	}}})
	a.do(t, "admin", "POST", batchesPath+"?validateOnly=true&dryRun=", csvHeader+"acme,Acme,a@acme.example", "Content-Type", "text/csv").wantStatus(200)
}

// Every fault of a row is told with the row, and none of them stops another.
func TestABadRowIsToldByItself(t *testing.T) {
	t.Parallel()
	a := setup(t)
	rows := []string{
		"acme,Acme,a@b.example,", "Acme,Acme,a@b.example,", "admin,Admin,a@b.example,", "bolt,,nobody,", "cask,Cask,C <c@b.example>,",
		"dune,Dune,d@b.example,No Server", "acme,Again,a@b.example,pg-a", "echo,Echo,e@b.example,pg-a", ",,,x", strings.Repeat("s", 300) + ",S,s@b.example,",
	}
	file := "slug,displayName,adminEmail,dbServer\n" + strings.Join(rows, "\n")
	w := a.do(t, "admin", "POST", batchesPath+"?validateOnly=true", file, "Content-Type", "text/csv").wantStatus(200)
	check := decodeBody[batchCheckJSON](w)
	var got []string
	for _, r := range check.Rows {
		code := tenancy.Code("-")
		if r.Error != nil {
			code = r.Error.Code
		}
		got = append(got, fmt.Sprintf("%d %s %s", r.Line, r.Status, code))
	}
	want := []string{
		"2 valid -", "3 rejected E_INVALID_SLUG", "4 rejected E_INVALID_SLUG", "5 rejected E_INVALID_REQUEST", "6 rejected E_INVALID_REQUEST",
		"7 rejected E_DB_SERVER_NOT_FOUND", "8 rejected E_INVALID_REQUEST", "9 valid -", "10 rejected E_INVALID_SLUG", "11 rejected E_INVALID_SLUG",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if check.Counts.Total != 10 || check.Counts.Valid != 2 || check.Counts.Rejected != 8 || check.DryRun {
		t.Errorf("counts: %+v", check.Counts)
	}
	if diff := cmp.Diff([]string{"There is little room."}, check.Warnings); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(w.Body.String(), "@") && !strings.Contains(w.Body.String(), "admin@acme.example") || strings.Contains(w.Body.String(), "b.example") {
		t.Errorf("the answer shows an address: %s", w.Body)
	}
	if len(check.Rows[9].Slug) > 210 {
		t.Errorf("a slug of 300 letters is kept with %d bytes", len(check.Rows[9].Slug))
	}
}

func TestCreateBatchReadsTheBodyStrictly(t *testing.T) {
	t.Parallel()
	a := setup(t)
	many := `{"rows":[` + strings.Repeat(`{},`, tenancy.MaxBatchRows) + `{}]}`
	for name, test := range map[string]struct {
		target, body, media string
		status              int
		pointers            []string
	}{
		"no rows":                {"", `{"rows":[]}`, "application/json", 422, []string{"/rows"}},
		"null":                   {"", `null`, "application/json", 422, []string{"/rows"}},
		"too many rows":          {"", many, "application/json", 422, []string{"/rows"}},
		"unknown field":          {"", `{"rows":[{"plan":"gold"}]}`, "application/json", 422, []string{"/rows/0/plan"}},
		"name in capitals":       {"", `{"rows":[{"slug":"acme"},{"SLUG":"bolt"}]}`, "application/json", 422, []string{"/rows/1/SLUG"}},
		"repeated field":         {"", `{"rows":[{"slug":"acme","slug":"bolt"}]}`, "application/json", 422, []string{"/rows/0/slug"}},
		"misplaced flag":         {"", `{"rows":[{"dryRun":true}]}`, "application/json", 422, []string{"/rows/0/dryRun"}},
		"wrong type":             {"", `{"rows":[{"slug":1}]}`, "application/json", 422, []string{"/rows/slug"}},
		"flag beside JSON":       {"?dryRun=true", batchBody, "application/json", 422, []string{"/dryRun"}},
		"empty":                  {"", "", "application/json", 422, nil},
		"misspelt flag":          {"?dryrun=true&x=1", csvHeader + "a,b,c", "text/csv", 422, []string{"/dryrun", "/x"}},
		"wrong flag":             {"?dryRun=yes&validateOnly=1", csvHeader + "a,b,c", "text/csv", 422, []string{"/dryRun", "/validateOnly"}},
		"unknown column":         {"", "slug,plan\n", "text/csv", 422, nil},
		"header alone":           {"", csvHeader, "text/csv", 422, nil},
		"too many lines":         {"", csvHeader + strings.Repeat("a,b,c\n", tenancy.MaxBatchRows+1), "text/csv", 422, nil},
		"Latin 1":                {"", csvHeader + "a,b,c", "text/csv; charset=iso-8859-1", 415, nil},
		"a spreadsheet":          {"", "PK", "application/vnd.ms-excel", 415, nil},
		"large JSON":             {"", `{"rows":[{"slug":"` + strings.Repeat("a", maxBatchBody) + `"}]}`, "application/json", 413, nil},
		"large CSV":              {"", csvHeader + strings.Repeat("a", maxBatchBody), "text/csv", 413, nil},
		"large CSV of short row": {"", csvHeader + "a,b,c\n" + strings.Repeat("\n", maxBatchBody), "text/csv", 413, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a.do(t, "admin", "POST", batchesPath+test.target, test.body, "Content-Type", test.media).
				wantProblem(test.status, tenancy.CodeInvalidRequest, test.pointers...)
		})
	}
	t.Run("key", func(t *testing.T) {
		t.Parallel()
		a.do(t, "admin", "POST", batchesPath, batchBody, "Idempotency-Key", "kéy").wantProblem(422, tenancy.CodeInvalidRequest, "/Idempotency-Key")
	})
	t.Cleanup(func() {
		a.wantCalls(t)
		// The limit of other routes is not raised.
		a.do(t, "admin", "POST", "/platform/tenants", `{"slug":"`+strings.Repeat("a", maxBody)+`"}`).wantProblem(413, tenancy.CodeInvalidRequest)
		large := `{"rows":[{"slug":"acme","displayName":"` + strings.Repeat(" ", maxBody) + `","adminEmail":"a@b.example"}]}`
		a.do(t, "admin", "POST", batchesPath, large).wantStatus(202)
	})
}

func TestCreateBatchTellsWhyNot(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.fail = &tenancy.Error{
		Code: tenancy.CodeInvalidRequest, Message: "This key was used before.",
		Fields: []tenancy.FieldError{{Pointer: "/", Code: "idempotency_key_reused", Detail: "use a fresh one"}},
	}
	a.do(t, "admin", "POST", batchesPath, batchBody).wantProblem(422, tenancy.CodeInvalidRequest, "/")
	a.do(t, "admin", "POST", batchesPath, `{"validateOnly":true,`+batchBody[1:]).wantProblem(422, tenancy.CodeInvalidRequest, "/")
	a = setup(t, func(c *Config) { c.ProvisioningAvailable = false })
	for _, target := range []string{batchesPath, batchPath + "/retry", "/platform/job-retries"} {
		a.do(t, "admin", "POST", target, `{`).wantProblem(503, tenancy.CodeProvisioningUnavailable)
	}
	a.wantCalls(t)
}

func TestGetBatch(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.do(t, "readonly", "GET", batchPath, "").wantStatus(200).
		wantHeader("ETag", `"7"`).wantHeader("Retry-After", "2").wantHeader("Cache-Control", "private, no-cache").wantBody(shownBatch)
	a.wantCalls(t, call{"Batch", []any{tenancy.BatchID(someBatchID)}})
	if w := a.do(t, "readonly", "GET", batchPath, "", "If-None-Match", `"7"`).wantStatus(304).wantHeader("Retry-After", "2"); w.Body.Len() > 0 {
		t.Errorf("304 with a body: %s", w.Body)
	}
	end := epoch.Add(time.Minute)
	a.batch.FinishedAt, a.batch.Version = &end, 8
	b := decodeBody[batchJSON](a.do(t, "readonly", "GET", batchPath, "", "If-None-Match", `"7"`).wantStatus(200).wantHeader("Retry-After", ""))
	if b.Status != "complete" || b.FinishedAt == nil || !b.FinishedAt.Equal(end) {
		t.Errorf("%+v", b)
	}
	for _, id := range []string{"1", "nonsense", "{" + someBatchID + "}"} {
		a.do(t, "admin", "GET", batchesPath+"/"+id, "").wantProblem(404, tenancy.CodeNotFound)
		a.do(t, "admin", "POST", batchesPath+"/"+id+"/retry", "").wantProblem(404, tenancy.CodeNotFound)
	}
	a.fail = tenancy.Errorf(tenancy.CodeNotFound, "There is no such batch.")
	a.do(t, "admin", "GET", batchPath, "").wantProblem(404, tenancy.CodeNotFound)
	a.do(t, "admin", "POST", batchPath+"/retry", "").wantProblem(404, tenancy.CodeNotFound)
}

func TestListBatches(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.next = "bmV4dA"
	w := a.do(t, "readonly", "GET", batchesPath+"?limit=3&cursor=abc", "").wantStatus(200)
	a.wantCalls(t, call{"ListBatches", []any{tenancy.Page{Limit: 3, Cursor: "abc"}}})
	page := decodeBody[list[batchJSON]](w)
	if len(page.Items) != 1 || page.Items[0].Counts.Total != 3 || page.NextCursor == nil || strings.Contains(w.Body.String(), "rows") {
		t.Errorf("page = %s", w.Body)
	}
	a.do(t, "readonly", "GET", batchesPath+"?limit=0", "").wantProblem(422, tenancy.CodeInvalidRequest, "/limit")
}

func TestRetryBatchAndJobs(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.do(t, "admin", "POST", batchPath+"/retry", "").wantStatus(202).wantHeader("Location", batchPath).wantBody(shownBatch)
	a.wantCalls(t, call{"RetryBatch", []any{tenancy.BatchID(someBatchID), adminActor}})
	a.do(t, "admin", "POST", "/platform/job-retries", `{"errorCode":"E_TIMEOUT","kind":"provision","slug":" acme "}`).
		wantStatus(202).wantBody(`{"matched":3,"retried":2,"skipped":1}`)
	a.wantCalls(t, call{"RetryJobs", []any{tenancy.JobFilter{Code: tenancy.CodeTimeout, Slug: "acme"}, adminActor}})
	a.do(t, "admin", "POST", "/platform/job-retries", `{}`).wantStatus(202)
	a.wantCalls(t, call{"RetryJobs", []any{tenancy.JobFilter{}, adminActor}})
	a.do(t, "admin", "POST", "/platform/job-retries", `{"errorCode":"E_NONE","kind":"x","slug":"\u0007"}`).
		wantProblem(422, tenancy.CodeInvalidRequest, "/errorCode", "/kind", "/slug")
	a.do(t, "admin", "POST", "/platform/job-retries", "").wantProblem(422, tenancy.CodeInvalidRequest)
	a.do(t, "admin", "POST", "/platform/job-retries", `{"code":"E_TIMEOUT"}`).wantProblem(422, tenancy.CodeInvalidRequest, "/code")
	a.wantCalls(t)
}
