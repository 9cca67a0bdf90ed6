package http

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// statuses says again, on purpose, what the contract says of each code.
var statuses = map[tenancy.Code]int{
	tenancy.CodeInvalidSlug: 422, tenancy.CodeDBServerNotFound: 422, tenancy.CodeInvalidRequest: 422,
	tenancy.CodeJobInProgress: 409, tenancy.CodeAlreadyProvisioned: 409, tenancy.CodeConflict: 409,
	tenancy.CodeUnauthenticated: 401, tenancy.CodeForbidden: 403, tenancy.CodeNotFound: 404, tenancy.CodeRateLimited: 429,
	tenancy.CodeProvisioningUnavailable: 503, tenancy.CodeDependencyUnavailable: 503, tenancy.CodeTimeout: 504,
	tenancy.CodeTenantReadOnly: 403, tenancy.CodeTenantSuspended: 503, tenancy.CodeTenantOffboarding: 403,
	tenancy.CodePartialState: 500, tenancy.CodeNoCapacity: 500, tenancy.CodeAdminConnUnresolved: 500,
	tenancy.CodeMigrationsFailed: 500, tenancy.CodeInternal: 500,
}

func TestEveryCodeHasAStatusAndAPage(t *testing.T) {
	t.Parallel()
	if len(outcomes) != len(tenancy.Codes()) {
		t.Errorf("%d codes have a status, there are %d", len(outcomes), len(tenancy.Codes()))
	}
	for _, code := range tenancy.Codes() {
		t.Run(string(code), func(t *testing.T) {
			t.Parallel()
			a := setup(t, func(c *Config) { c.DocsURL = "" })
			a.fail = fmt.Errorf("cannot submit: %w", tenancy.Wrap(code, errors.New("password=hunter2"), "A safe message."))
			method, target, body := "POST", "/platform/tenants", createBody
			if code == tenancy.CodeNotFound {
				method, target, body = "GET", jobPath, ""
			}
			w := a.do(t, "admin", method, target, body, "X-Request-Id", "req-1").
				wantHeader("Content-Type", "application/problem+json").wantHeader("Cache-Control", "no-store")
			p := w.wantProblem(statuses[code], code)
			if p.Status != w.Code || p.Title == "" || p.RequestID != "req-1" || p.Type != "/docs/errors/"+string(code) {
				t.Errorf("problem = %+v", p)
			}
			if opaque := p.Detail == opaqueDetail; opaque != (w.Code == 500) || !opaque && p.Detail != "A safe message." {
				t.Errorf("detail = %q", p.Detail)
			}
			if strings.Contains(w.Body.String(), "hunter2") {
				t.Errorf("the cause was sent: %s", w.Body)
			}
			if logged := strings.Contains(a.log.String(), "hunter2"); logged != (w.Code >= 500) {
				t.Errorf("cause in the log: %t\n%s", logged, a.log)
			}
			page := a.do(t, "", "GET", p.Type, "").wantStatus(200).wantHeader("Content-Type", "text/markdown; charset=utf-8").Body.String()
			for _, part := range []string{"# " + string(code) + "\n", "## Meaning", "## Impact", "## Check", "## Fix", "## Rollback"} {
				if !strings.Contains(page, part) {
					t.Errorf("the page has no %q", part)
				}
			}
		})
	}
}

func TestErrorsThatAreNotForCallers(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for name, test := range map[string]struct {
		err    error
		status int
		code   tenancy.Code
	}{
		"inner code": {tenancy.Errorf(tenancy.CodeLeaseLost, "lost"), 500, tenancy.CodeInternal},
		"no code":    {errors.New("broken"), 500, tenancy.CodeInternal},
		"deadline":   {fmt.Errorf("cannot ask: %w", context.DeadlineExceeded), 504, tenancy.CodeTimeout},
		"cancelled":  {context.Canceled, 500, tenancy.CodeInternal},
	} {
		a.fail = test.err
		t.Log(name)
		a.do(t, "admin", "GET", jobPath, "").wantProblem(test.status, test.code)
	}
}

func TestErrorPageOfNoCode(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for _, code := range []string{"E_NONE", "..%2Fembed.go", "JOB_BUSY", "E_TIMEOUT.md"} {
		a.do(t, "", "GET", "/docs/errors/"+code, "").wantProblem(404, tenancy.CodeNotFound)
	}
}
