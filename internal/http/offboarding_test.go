package http

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestOffboardTenant(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		method, target, body string
		want                 tenancy.Offboarding
	}{
		"no body":   {"DELETE", "/platform/tenants/acme", "", tenancy.Offboarding{}},
		"now":       {"DELETE", "/platform/tenants/acme", `{"now":true,"retentionDays":7}`, tenancy.Offboarding{Now: true, RetentionDays: 7}},
		"purge":     {"DELETE", "/platform/tenants/acme", `{"purge":true,"confirm":"acme"}`, tenancy.Offboarding{Purge: true}},
		"bare":      {"DELETE", "/platform/tenants/acme", `{"purge":true,"confirm":"acme","backup":false,"adopt":true}`, tenancy.Offboarding{Purge: true, NoBackup: true, Adopt: true}},
		"readmit":   {"POST", "/platform/tenants/acme/readmission", "", tenancy.Offboarding{Cancel: true}},
		"backed up": {"DELETE", "/platform/tenants/acme", `{"purge":true,"confirm":"acme","backup":true}`, tenancy.Offboarding{Purge: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := setup(t)
			a.job.Kind, a.job.Offboarding = tenancy.KindOffboard, test.want
			a.do(t, "admin", test.method, test.target, test.body, "X-Request-Id", "r", "Idempotency-Key", "k").
				wantStatus(202).wantHeader("Location", "/platform/jobs/"+someJobID)
			a.wantCalls(t, call{"SubmitJob", []any{tenancy.NewJob{
				Kind: tenancy.KindOffboard, Slug: "acme", Offboarding: test.want,
				RequestedBy: adminActor, RequestID: "r", IdempotencyKey: "k",
			}}})
		})
	}
}

// TestOffboardTenantWithABodyOfUnknownLength, as in chunks: it may be empty, too.
func TestOffboardTenantWithABodyOfUnknownLength(t *testing.T) {
	t.Parallel()
	for body, status := range map[string]int{"": 202, `{"now":true}`: 202, `{"now":1}`: 422, "no": 422} {
		r := httptest.NewRequest(http.MethodDelete, "/platform/tenants/acme", io.MultiReader(strings.NewReader(body)))
		r.Header.Set("Content-Type", "application/json")
		authenticate(r, "admin")
		w := httptest.NewRecorder()
		if setup(t).handler.ServeHTTP(w, r); w.Code != status || r.ContentLength != -1 {
			t.Errorf("%q: %d, want %d (length %d): %s", body, w.Code, status, r.ContentLength, w.Body)
		}
	}
}

func TestOffboardTenantNamesEveryFault(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for body, pointers := range map[string][]string{
		`{"purge":true}`:                             {"/confirm"},
		`{"purge":true,"confirm":"bolt"}`:            {"/confirm"},
		`{"confirm":"bolt"}`:                         {"/confirm"},
		`{"adopt":true}`:                             {"/purge"},
		`{"purge":true,"confirm":"acme","now":true}`: {"/purge"},
		`{"retentionDays":0}`:                        {"/retentionDays"},
		`{"purge":true,"retentionDays":99999}`:       {"/confirm", "/purge", "/retentionDays"},
	} {
		a.do(t, "admin", "DELETE", "/platform/tenants/acme", body).wantProblem(422, tenancy.CodeInvalidRequest, pointers...)
	}
	a.do(t, "admin", "DELETE", "/platform/tenants/A", "").wantProblem(404, tenancy.CodeNotFound)
	a.wantCalls(t)
	bare := setup(t, func(c *Config) { c.ProvisioningAvailable = false })
	bare.do(t, "admin", "DELETE", "/platform/tenants/acme", "").wantProblem(503, tenancy.CodeProvisioningUnavailable)
}

// Asynqmon behind the API's own doors: for each kind of caller and method, which
// of the two handlers is reached, if any.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	reached := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Reached", name) })
	}
	for _, test := range []struct {
		token, method string
		status        int
		reached       string
		event         tenancy.EventType
	}{
		{"", "GET", 401, "", tenancy.EventAccessDenied},
		{"", "POST", 401, "", tenancy.EventAccessDenied},
		{"wrong", "DELETE", 401, "", tenancy.EventAccessDenied},
		{"readonly", "GET", 200, "read-only", ""},
		{"readonly", "HEAD", 200, "read-only", ""},
		{"readonly", "POST", 403, "", tenancy.EventAccessDenied},
		{"readonly", "DELETE", 403, "", tenancy.EventAccessDenied},
		{"support", "GET", 200, "read-only", ""},
		{"support", "POST", 403, "", tenancy.EventAccessDenied},
		{"support", "DELETE", 403, "", tenancy.EventAccessDenied},
		{"admin", "GET", 200, "read-write", ""},
		{"admin", "POST", 200, "read-write", tenancy.EventQueueOperation},
		{"admin", "DELETE", 200, "read-write", tenancy.EventQueueOperation},
	} {
		t.Run(test.token+" "+test.method, func(t *testing.T) {
			t.Parallel()
			a := setup(t, func(c *Config) { c.Monitoring, c.MonitoringReadOnly = reached("read-write"), reached("read-only") })
			const target = "/monitoring/api/queues/provision/archived_tasks/x:run"
			w := a.raw(t, test.token, test.method, target)
			if w.Code != test.status || w.Header().Get("Reached") != test.reached {
				t.Errorf("%d, reached %q", w.Code, w.Header().Get("Reached"))
			}
			var event tenancy.EventType
			if len(a.events) > 0 {
				event = a.events[0].Type
			}
			if event != test.event || len(a.events) > 1 {
				t.Errorf("audited: %+v", a.events)
			}
			if event == tenancy.EventQueueOperation && (a.events[0].Details["path"] != target || a.events[0].Actor != adminActor) {
				t.Errorf("audited: %+v", a.events[0])
			}
		})
	}
	for _, method := range []string{"PUT", "PATCH"} {
		a := setup(t, func(c *Config) { c.Monitoring, c.MonitoringReadOnly = reached("read-write"), reached("read-only") })
		if w := a.raw(t, "admin", method, "/monitoring/api/queues"); w.Code != 405 || w.Header().Get("Reached") != "" {
			t.Errorf("%s gave %d", method, w.Code)
		}
	}
	if w := setup(t).raw(t, "admin", "GET", "/monitoring/"); w.Code != 404 {
		t.Errorf("without Asynqmon: %d", w.Code)
	}
}

// A batch is audited with the tasks in its body, which Asynqmon still gets.
func TestMonitoringAuditsBatches(t *testing.T) {
	t.Parallel()
	const body = `{"task_ids":["a","b"]}`
	a := setup(t, func(c *Config) {
		c.Monitoring = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if got, err := io.ReadAll(r.Body); err != nil || string(got) != body {
				t.Errorf("Asynqmon got %q, %v", got, err)
			}
		})
	})
	r := httptest.NewRequest(http.MethodPost, "/monitoring/api/queues/provision/archived_tasks:batch_run", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer admin")
	a.handler.ServeHTTP(httptest.NewRecorder(), r)
	if len(a.events) != 1 || !cmp.Equal(a.events[0].Details["taskIds"], []string{"a", "b"}) {
		t.Errorf("audited: %+v", a.events)
	}
}

// A queue operation that cannot be audited does not happen.
func TestMonitoringIsAuditedFirst(t *testing.T) {
	t.Parallel()
	a := setup(t, func(c *Config) {
		c.Monitoring = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("Asynqmon was reached") })
	})
	a.auditFails = tenancy.Unavailable(nil, "master is away")
	if w := a.raw(t, "admin", "POST", "/monitoring/api/queues/provision:pause"); w.Code != 503 {
		t.Errorf("%d", w.Code)
	}
}
