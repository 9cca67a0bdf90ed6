package http

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// matrix is the whole API as this test understands the contract: for each route
// a request that is fit for it, and the status it has for each kind of caller.
// It says again, on purpose, what routes.go says of roles.
var matrix = map[string]struct {
	target, body                    string
	stranger, readonly, help, admin int
}{
	"POST /platform/tenants":                       {"/platform/tenants", createBody, 401, 403, 403, 202},
	"GET /platform/tenants":                        {"/platform/tenants", "", 401, 200, 200, 200},
	"GET /platform/tenants/:slug":                  {"/platform/tenants/acme", "", 401, 200, 200, 200},
	"PATCH /platform/tenants/:slug":                {"/platform/tenants/acme", `{"status":"suspended","reason":"unpaid"}`, 401, 403, 403, 200},
	"POST /platform/tenants/:slug/invitation":      {"/platform/tenants/acme/invitation", "", 401, 403, 202, 202},
	"DELETE /platform/tenants/:slug":               {"/platform/tenants/acme", `{"purge":true,"confirm":"acme"}`, 401, 403, 403, 202},
	"POST /platform/tenants/:slug/readmission":     {"/platform/tenants/acme/readmission", "", 401, 403, 403, 202},
	"GET /platform/jobs":                           {"/platform/jobs", "", 401, 200, 200, 200},
	"GET /platform/jobs/:jobId":                    {jobPath, "", 401, 200, 200, 200},
	"POST /platform/jobs/:jobId/retry":             {jobPath + "/retry", "", 401, 403, 403, 202},
	"POST /platform/jobs/:jobId/cancel":            {jobPath + "/cancel", "", 401, 403, 403, 202},
	"GET /platform/db-servers":                     {"/platform/db-servers", "", 401, 200, 200, 200},
	"POST /platform/db-servers":                    {"/platform/db-servers", `{"name":"pg-c","host":"h","port":5432,"adminSecretRef":"r"}`, 401, 403, 403, 201},
	"GET /platform/db-servers/:name":               {"/platform/db-servers/pg-a", "", 401, 200, 200, 200},
	"PATCH /platform/db-servers/:name":             {"/platform/db-servers/pg-a", `{"isActive":false}`, 401, 403, 403, 200},
	"GET /platform/audit":                          {"/platform/audit", "", 401, 200, 200, 200},
	"GET /platform/api-tokens":                     {"/platform/api-tokens", "", 401, 200, 200, 200},
	"POST /platform/api-tokens":                    {"/platform/api-tokens", `{"name":"ci"}`, 401, 201, 201, 201},
	"DELETE /platform/api-tokens/:tokenId":         {"/platform/api-tokens/" + someTokenID, "", 401, 204, 204, 204},
	"POST /platform/session":                       {"/platform/session", signInBody, 201, 201, 201, 201},
	"GET /platform/session":                        {"/platform/session", "", 401, 200, 200, 200},
	"GET /platform/tenants/:slug/invitation":       {"/platform/tenants/acme/invitation", "", 401, 403, 200, 200},
	"GET /platform/slugs":                          {"/platform/slugs?slug=acme", "", 401, 200, 200, 200},
	"GET /healthz":                                 {"/healthz", "", 200, 200, 200, 200},
	"GET /readyz":                                  {"/readyz", "", 200, 200, 200, 200},
	"GET /version":                                 {"/version", "", 200, 200, 200, 200},
	"GET /openapi.yaml":                            {"/openapi.yaml", "", 200, 200, 200, 200},
	"GET /docs/errors/:code":                       {"/docs/errors/NOT_FOUND", "", 200, 200, 200, 200},
	"POST /platform/tenant-batches":                {batchesPath, batchBody, 401, 403, 403, 202},
	"GET /platform/tenant-batches":                 {batchesPath, "", 401, 200, 200, 200},
	"GET /platform/tenant-batches/:batchId":        {batchPath, "", 401, 200, 200, 200},
	"POST /platform/tenant-batches/:batchId/retry": {batchPath + "/retry", "", 401, 403, 403, 202},
	"POST /platform/job-retries":                   {"/platform/job-retries", `{"errorCode":"E_TIMEOUT"}`, 401, 403, 403, 202},
}

// sessionMatrix is the part of it that is for people who are signed in, whatever
// their role, and what it answers them.
var sessionMatrix = map[string]struct {
	target, body string
	status       int
}{
	"DELETE /platform/session":                          {"/platform/session", "", 204},
	"POST /platform/session/second-factor":              {"/platform/session/second-factor", `{"code":"123456"}`, 204},
	"GET /platform/account":                             {"/platform/account", "", 200},
	"POST /platform/account/password":                   {"/platform/account/password", `{"currentPassword":"a","newPassword":"b"}`, 204},
	"POST /platform/account/second-factor":              {"/platform/account/second-factor", "", 201},
	"POST /platform/account/second-factor/confirmation": {"/platform/account/second-factor/confirmation", `{"code":"123456"}`, 200},
	"DELETE /platform/account/second-factor":            {"/platform/account/second-factor", `{"currentPassword":"a"}`, 204},
	"DELETE /platform/account/sessions/:sessionId":      {"/platform/account/sessions/" + someTokenID, "", 204},
}

const signInBody = `{"email":"admin@platform.example","password":"` + somePassword + `"}`

func TestEveryRouteForEveryCaller(t *testing.T) {
	t.Parallel()
	for _, r := range newServer(Config{}).routes() {
		name := r.method + " " + r.path
		if m, ok := sessionMatrix[name]; ok {
			for _, token := range []string{"session-readonly", "session-support", "session-admin"} {
				setup(t).do(t, token, r.method, m.target, m.body).wantStatus(m.status)
			}
			for _, token := range []string{"", "session-wrong"} {
				setup(t).do(t, token, r.method, m.target, m.body).wantProblem(401, tenancy.CodeUnauthenticated)
			}
			if status := setup(t).do(t, "admin", r.method, m.target, m.body).Code; status != 403 && status != 409 {
				t.Errorf("%s answers an API token with %d", name, status)
			}
			continue
		}
		m, ok := matrix[name]
		if !ok {
			t.Errorf("%s has no line in the matrix", name)
			continue
		}
		for token, status := range map[string]int{
			"": m.stranger, "wrong": m.stranger, "readonly": m.readonly, "support": m.help, "admin": m.admin,
			"session-wrong": m.stranger, "session-readonly": m.readonly, "session-support": m.help, "session-admin": m.admin,
		} {
			t.Run(name+" "+token, func(t *testing.T) {
				t.Parallel()
				a := setup(t)
				w := a.do(t, token, r.method, m.target, m.body).wantStatus(status)
				switch status {
				case 401:
					w.wantHeader("WWW-Authenticate", "Bearer").wantProblem(status, tenancy.CodeUnauthenticated)
				case 403:
					w.wantProblem(status, tenancy.CodeForbidden)
				default:
					if len(a.events) > 0 {
						t.Errorf("an allowed request is audited as refused: %+v", a.events)
					}
					return
				}
				a.wantCalls(t)
				who := tenancy.Actor{Name: "anonymous"}
				if p, ok := a.users[strings.TrimPrefix(token, "session-")]; ok {
					who = p.Actor
				}
				want := []tenancy.AuditEvent{{Type: tenancy.EventAccessDenied, Actor: who, Details: map[string]any{
					"method": r.method, "route": r.path, "status": status,
					"requestId": w.Header().Get("X-Request-Id"), "clientIp": "192.0.2.1",
				}}}
				if diff := cmp.Diff(want, a.events); diff != "" {
					t.Errorf("audit (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// When everything behind the API fails, every route says so in a documented way.
func TestEveryRouteInAnOutage(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.fail = tenancy.Unavailable(nil, "the master database does not answer")
	for name, m := range matrix {
		if !strings.Contains(name, "/platform/") {
			continue
		}
		method, _, _ := strings.Cut(name, " ")
		a.do(t, "admin", method, m.target, m.body).wantHeader("Retry-After", "5").wantProblem(503, tenancy.CodeDependencyUnavailable)
	}
	a.do(t, "outage", "GET", jobPath, "").wantProblem(503, tenancy.CodeDependencyUnavailable)
	if len(a.events) > 0 {
		t.Errorf("an outage is audited as a refused attempt: %+v", a.events)
	}
}

func TestOpenAPIHasEveryRouteAndNoOther(t *testing.T) {
	t.Parallel()
	var want []string
	for _, r := range newServer(Config{}).routes() {
		want = append(want, r.method+" "+regexp.MustCompile(`:(\w+)`).ReplaceAllString(r.path, "{$1}"))
	}
	doc, _ := document()
	var got []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			got = append(got, method+" "+path)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("openapi.yaml (-routes +document):\n%s", diff)
	}
}

// Whoever reads the document learns who needs a token, and every code.
func TestOpenAPIAgreesWithTheCode(t *testing.T) {
	t.Parallel()
	doc, _ := document()
	for _, r := range newServer(Config{}).routes() {
		path := regexp.MustCompile(`:(\w+)`).ReplaceAllString(r.path, "{$1}")
		op := doc.Paths.Value(path).GetOperation(r.method)
		if public := op.Security != nil && len(*op.Security) == 0; public != (r.roles == nil) {
			t.Errorf("%s %s: security is %v, roles are %v", r.method, path, op.Security, r.roles)
		}
	}
	var want, got []string
	for _, code := range tenancy.Codes() {
		want = append(want, string(code))
	}
	for _, code := range doc.Components.Schemas["Code"].Value.Enum {
		got = append(got, code.(string))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("codes (-code +document):\n%s", diff)
	}
}

func TestUnknownAddressesAndMethods(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for _, target := range []string{"/", "/nothing", "/platform", "/platform/", "/platform/tenants/", "/platform/tenants/acme/x", "/docs/errors/", "//healthz", "/monitoring/"} {
		a.do(t, "admin", "GET", target, "").wantProblem(404, tenancy.CodeNotFound)
	}
	for target, allow := range map[string][]string{
		"/platform/tenants": {"GET", "HEAD", "POST"}, jobPath: {"GET", "HEAD"}, "/platform/api-tokens/x": {"DELETE"}, "/healthz": {"GET", "HEAD"},
	} {
		w := a.do(t, "", "PUT", target, "")
		w.wantProblem(405, tenancy.CodeInvalidRequest)
		got := strings.Split(w.Header().Get("Allow"), ", ")
		if diff := cmp.Diff(allow, slices.Sorted(slices.Values(got))); diff != "" {
			t.Errorf("%s: Allow (-want +got):\n%s", target, diff)
		}
	}
	if len(a.events) > 0 {
		t.Errorf("audited: %+v", a.events)
	}
}

func TestBearerToken(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"Bearer abc": "abc", "bearer  abc ": "abc", "Basic abc": "", "Bearer": "", "Bearer ": "", "": "", "abc": "",
	} {
		r := &http.Request{Header: http.Header{"Authorization": {header}}}
		token, ok := bearerToken(r)
		if ok != (want != "") || ok && token != want {
			t.Errorf("bearerToken(%q) = %q, %t", header, token, ok)
		}
	}
}

func TestMatrixHasNoDeadLines(t *testing.T) {
	t.Parallel()
	lines, sessions := maps.Clone(matrix), maps.Clone(sessionMatrix)
	for _, r := range newServer(Config{}).routes() {
		delete(lines, r.method+" "+r.path)
		delete(sessions, r.method+" "+r.path)
	}
	if len(lines)+len(sessions) > 0 {
		t.Errorf("the matrix has routes that do not exist: %v %v", slices.Collect(maps.Keys(lines)), slices.Collect(maps.Keys(sessions)))
	}
}
