package http

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tenancy"
)

const createBody = `{"slug":"acme","displayName":" Acme Health ","adminEmail":"admin@acme.example","dbServer":"pg-a","dryRun":true}`

func TestCreateTenantSubmitsAJob(t *testing.T) {
	t.Parallel()
	a := setup(t)
	w := a.do(t, "admin", "POST", "/platform/tenants", createBody, "Idempotency-Key", "key 1", "X-Request-Id", "req-1").
		wantStatus(202).wantHeader("Location", "/platform/jobs/"+someJobID).
		wantHeader("X-Request-Id", "req-1").wantHeader("Cache-Control", "no-store")
	a.wantCalls(t, call{"SubmitJob", []any{tenancy.NewJob{
		Slug: "acme", DisplayName: "Acme Health", AdminEmail: "admin@acme.example", ServerName: "pg-a", DryRun: true,
		RequestedBy: adminActor, RequestID: "req-1", IdempotencyKey: "key 1",
	}}})
	w.wantBody(`{"jobId":"` + someJobID + `","kind":"provision","status":"queued","tenantId":"` + someTokenID + `","slug":"acme",
		"displayName":"Acme Health","dbServer":null,"dryRun":false,"phase":null,"attempt":1,"failures":0,
		"phases":[{"name":"placement_resolved","status":"pending","startedAt":null,"finishedAt":null,"detail":{},"error":null}],
		"error":null,"requestedBy":{"platformUserId":"id-of-admin","actor":"admin@platform.example"},"cancelRequested":false,
		"createdAt":"2026-01-31T12:00:00Z","startedAt":null,"finishedAt":null,"pollAfterMs":1500,"version":1}`)
}

func TestCreateTenantNamesEveryFault(t *testing.T) {
	t.Parallel()
	a := setup(t)
	body := func(slug, name, email, rest string) string {
		return `{"slug":"` + slug + `","displayName":"` + name + `","adminEmail":"` + email + `"` + rest + `}`
	}
	tests := map[string]struct {
		body     string
		code     tenancy.Code
		pointers []string
	}{
		"all":             {`{"slug":"A","displayName":" ","adminEmail":"x","dbServer":"No"}`, tenancy.CodeInvalidSlug, []string{"/slug", "/displayName", "/adminEmail", "/dbServer"}},
		"nothing":         {`{}`, tenancy.CodeInvalidSlug, []string{"/slug", "/displayName", "/adminEmail"}},
		"null":            {`null`, tenancy.CodeInvalidSlug, []string{"/slug", "/displayName", "/adminEmail"}},
		"reserved slug":   {body("admin", "A", "a@b.example", ""), tenancy.CodeInvalidSlug, []string{"/slug"}},
		"trailing hyphen": {body("acme-", "A", "a@b.example", ""), tenancy.CodeInvalidSlug, []string{"/slug"}},
		"two fields":      {body("acme", "", "", ""), tenancy.CodeInvalidRequest, []string{"/displayName", "/adminEmail"}},
		"long name":       {body("acme", strings.Repeat("é", 201), "a@b.example", ""), tenancy.CodeInvalidRequest, []string{"/displayName"}},
		"control":         {body("acme", `a\u0000b`, "a@b.example", ""), tenancy.CodeInvalidRequest, []string{"/displayName"}},
		"named email":     {body("acme", "A", "Ada <a@b.example>", ""), tenancy.CodeInvalidRequest, []string{"/adminEmail"}},
		"long email":      {body("acme", "A", strings.Repeat("a", 250)+"@b.example", ""), tenancy.CodeInvalidRequest, []string{"/adminEmail"}},
		"server name":     {body("acme", "A", "a@b.example", `,"dbServer":"no_such"`), tenancy.CodeDBServerNotFound, []string{"/dbServer"}},
		"unknown field":   {body("acme", "A", "a@b.example", `,"plan":"gold"`), tenancy.CodeInvalidRequest, []string{"/plan"}},
		"odd name":        {body("acme", "A", "a@b.example", `,"a/b~\"c.d":1`), tenancy.CodeInvalidRequest, []string{`/a~1b~0"c.d`}},
		"capitals":        {body("acme", "A", "a@b.example", `,"DryRun":true`), tenancy.CodeInvalidRequest, []string{"/DryRun"}},
		"repeated field":  {body("acme", "A", "a@b.example", `,"slug":"acme"`), tenancy.CodeInvalidRequest, []string{"/slug"}},
		"wrong type":      {body("acme", "A", "a@b.example", `,"dryRun":"yes"`), tenancy.CodeInvalidRequest, []string{"/dryRun"}},
		"no object":       {`[]`, tenancy.CodeInvalidRequest, []string{""}},
		"malformed":       {`{"slug":`, tenancy.CodeInvalidRequest, nil},
		"two values":      {body("acme", "A", "a@b.example", "") + "{}", tenancy.CodeInvalidRequest, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a.do(t, "admin", "POST", "/platform/tenants", test.body).wantProblem(422, test.code, test.pointers...)
		})
	}
	t.Cleanup(func() { a.wantCalls(t) })
}

func TestCreateTenantReadsTheBodyStrictly(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.do(t, "admin", "POST", "/platform/tenants", "").wantProblem(422, tenancy.CodeInvalidRequest)
	a.do(t, "admin", "POST", "/platform/tenants", createBody, "Content-Type", "text/plain").wantProblem(415, tenancy.CodeInvalidRequest)
	a.do(t, "admin", "POST", "/platform/tenants", createBody, "Content-Type", "application/json; charset=utf-8").wantStatus(202)
	long := `{"slug":"` + strings.Repeat("a", maxBody) + `"}`
	a.do(t, "admin", "POST", "/platform/tenants", long).wantProblem(413, tenancy.CodeInvalidRequest)
	a.do(t, "admin", "POST", "/platform/tenants", createBody+strings.Repeat(" ", maxBody)).wantProblem(413, tenancy.CodeInvalidRequest)
	for _, key := range []string{"", strings.Repeat("k", 256), "kéy"} {
		a.do(t, "admin", "POST", "/platform/tenants", createBody, "Idempotency-Key", key).
			wantProblem(422, tenancy.CodeInvalidRequest, "/Idempotency-Key")
	}
}

func TestCreateTenantTellsWhyNot(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.fail = &tenancy.Error{Code: tenancy.CodeJobInProgress, Message: "A job is in progress.", JobID: someJobID}
	p := a.do(t, "admin", "POST", "/platform/tenants", createBody).wantProblem(409, tenancy.CodeJobInProgress)
	if p.JobID != someJobID {
		t.Errorf("jobId = %q", p.JobID)
	}
	a.fail = &tenancy.Error{
		Code: tenancy.CodeDBServerNotFound, Message: "There is no such server.",
		Fields: []tenancy.FieldError{{Pointer: "/dbServer", Code: tenancy.CodeDBServerNotFound, Detail: "missing or inactive"}},
	}
	a.do(t, "admin", "POST", "/platform/tenants", createBody).wantProblem(422, tenancy.CodeDBServerNotFound, "/dbServer")
}

func TestWithoutVaultNothingIsProvisioned(t *testing.T) {
	t.Parallel()
	a := setup(t, func(c *Config) { c.ProvisioningAvailable = false })
	a.do(t, "admin", "POST", "/platform/tenants", `{"slug":"!"}`).wantProblem(503, tenancy.CodeProvisioningUnavailable)
	a.do(t, "admin", "POST", "/platform/jobs/"+someJobID+"/retry", "").wantProblem(503, tenancy.CodeProvisioningUnavailable)
	a.do(t, "support", "POST", "/platform/tenants", createBody).wantProblem(403, tenancy.CodeForbidden)
	a.do(t, "admin", "POST", "/platform/jobs/"+someJobID+"/cancel", "").wantStatus(202)
}

func TestListTenants(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.next = "bmV4dA"
	w := a.do(t, "readonly", "GET", "/platform/tenants?q=ac&status=active&server=pg-a&limit=200&cursor=abc", "").wantStatus(200)
	a.wantCalls(t, call{"ListTenants", []any{tenancy.TenantFilter{
		Query: "ac", Status: tenancy.TenantActive, ServerName: "pg-a", Page: tenancy.Page{Limit: 200, Cursor: "abc"},
	}}})
	page := decodeBody[list[tenantJSON]](w)
	if diff := cmp.Diff([]tenantJSON{showTenant(a.tenant)}, page.Items); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	if page.NextCursor == nil || *page.NextCursor != a.next {
		t.Errorf("nextCursor = %v", page.NextCursor)
	}
	for target, pointers := range map[string][]string{
		"?status=gone":                        {"/status"},
		"?limit=0":                            {"/limit"},
		"?limit=201":                          {"/limit"},
		"?limit=many&q=%00":                   {"/q", "/limit"},
		"?q=%ff":                              {"/q"},
		"?cursor=" + strings.Repeat("c", 255): {"/cursor"},
	} {
		a.do(t, "admin", "GET", "/platform/tenants"+target, "").wantProblem(422, tenancy.CodeInvalidRequest, pointers...)
	}
	a.do(t, "admin", "GET", "/platform/tenants?status=&limit=", "").wantStatus(200)
	a.wantCalls(t, call{"ListTenants", []any{tenancy.TenantFilter{Page: tenancy.Page{Limit: 50}}}})
}

func TestGetTenant(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.tenant.DatabaseName, a.tenant.SecretRef, a.tenant.SchemaVersion = "tenant_acme", "tenant-db-acme", "7"
	a.do(t, "readonly", "GET", "/platform/tenants/acme", "").wantStatus(200).
		wantBody(`{"tenantId":"` + someTokenID + `","slug":"acme","displayName":"Acme Health","status":"active","dbServer":"pg-a",
		"dbName":"tenant_acme","dbSecretRef":"tenant-db-acme","schemaVersion":"7","purgeAfter":null,"jobId":"` + someJobID + `",
		"createdAt":"2026-01-31T12:00:00Z","updatedAt":"2026-01-31T12:00:00Z"}`)
	a.wantCalls(t, call{"Tenant", []any{tenancy.Slug("acme")}})
	for _, slug := range []string{"ACME", "a%00c", "acme%2Finvitation", "ab"} {
		a.do(t, "admin", "GET", "/platform/tenants/"+slug, "").wantProblem(404, tenancy.CodeNotFound)
	}
	a.wantCalls(t)
}

func TestChangeTenant(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.do(t, "admin", "PATCH", "/platform/tenants/acme", `{"status":"read_only","reason":" backup "}`).wantStatus(200)
	a.wantCalls(t, call{"ChangeTenantStatus", []any{tenancy.Slug("acme"), tenancy.TenantReadOnly, "backup", adminActor}})
	a.do(t, "admin", "PATCH", "/platform/tenants/acme", `{"status":"offboarding"}`).
		wantProblem(422, tenancy.CodeInvalidRequest, "/status", "/reason")
	a.do(t, "admin", "PATCH", "/platform/tenants/-", `{}`).wantProblem(404, tenancy.CodeNotFound)
	a.do(t, "admin", "PATCH", "/platform/tenants/acme", `{`).wantProblem(422, tenancy.CodeInvalidRequest)
	a.fail = tenancy.Errorf(tenancy.CodeConflict, "The tenant is active already.")
	a.do(t, "admin", "PATCH", "/platform/tenants/acme", `{"status":"active","reason":"r"}`).wantProblem(409, tenancy.CodeConflict)
}

func TestSendInvitation(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.do(t, "support", "POST", "/platform/tenants/acme/invitation", "").wantStatus(202).wantBody(`{"slug":"acme","status":"queued"}`)
	a.wantCalls(t, call{"RequestInvitation", []any{tenancy.Slug("acme"), a.users["support"].Actor}})
	a.do(t, "support", "POST", "/platform/tenants/A/invitation", "").wantProblem(404, tenancy.CodeNotFound)
}
