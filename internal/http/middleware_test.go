package http

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestRequestID(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for _, kept := range []string{"a", "A-b_c.9", strings.Repeat("x", 64)} {
		a.do(t, "", "GET", "/healthz", "", "X-Request-Id", kept).wantHeader("X-Request-Id", kept)
	}
	for _, replaced := range []string{"", "a b", "a\tb", "é", strings.Repeat("x", 65), "x\"y"} {
		got := a.do(t, "", "GET", "/healthz", "", "X-Request-Id", replaced).Header().Get("X-Request-Id")
		if id, err := uuid.Parse(got); err != nil || id.Version() != 7 {
			t.Errorf("for %q: X-Request-Id = %q, want a UUIDv7", replaced, got)
		}
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for _, target := range []string{"/healthz", "/platform/jobs", "/nothing"} {
		a.do(t, "admin", "GET", target, "").wantHeader("X-Content-Type-Options", "nosniff").
			wantHeader("Referrer-Policy", "no-referrer").wantHeader("Cache-Control", "no-store")
	}
}

func TestAccessLogKeepsSecretsOut(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.do(t, "admin", "GET", "/platform/audit?actor=ada%40secret.example", "", "X-Request-Id", "req-7")
	a.do(t, "tenantry_wrong", "POST", "/platform/tenants", createBody)
	a.do(t, "admin", "GET", "/platform/tenants/acme", "")
	log := a.log.String()
	for _, want := range []string{"method=GET route=/platform/audit status=200 duration=", "requestId=req-7 userId=id-of-admin", "route=/platform/tenants/:slug"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %q:\n%s", want, log)
		}
	}
	for _, secret := range []string{"secret.example", "tenantry_wrong", "acme.example", "platform.example", "Bearer"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %q:\n%s", secret, log)
		}
	}
}

func TestPanicIsAProblem(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.panics = true
	w := a.do(t, "admin", "GET", jobPath, "")
	w.wantProblem(500, tenancy.CodeInternal)
	if strings.Contains(w.Body.String(), "secret") {
		t.Errorf("the panic was sent: %s", w.Body)
	}
	for _, want := range []string{"secret details of a bug", "fakes_test.go", "status=500"} {
		if !strings.Contains(a.log.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, a.log)
		}
	}
}

func TestOtherOriginsAreRefused(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.do(t, "admin", "POST", jobPath+"/retry", "", "Sec-Fetch-Site", "cross-site").wantProblem(403, tenancy.CodeForbidden)
	a.do(t, "admin", "POST", jobPath+"/retry", "", "Origin", "https://evil.example").wantProblem(403, tenancy.CodeForbidden)
	a.wantCalls(t)
	if len(a.events) != 2 || a.events[0].Actor.Name != "anonymous" {
		t.Errorf("audit = %+v", a.events)
	}
	a.do(t, "admin", "POST", jobPath+"/retry", "", "Sec-Fetch-Site", "same-origin").wantStatus(202)
	a.do(t, "admin", "GET", jobPath, "", "Sec-Fetch-Site", "cross-site").wantStatus(200)
}

func TestFailedAttemptsAreLimited(t *testing.T) {
	t.Parallel()
	now := epoch
	a := setup(t, func(c *Config) { c.Now = func() time.Time { return now } })
	for range failureBurst {
		a.do(t, "", "GET", jobPath, "").wantStatus(401)
	}
	audited := len(a.events)
	a.do(t, "", "GET", jobPath, "").wantHeader("Retry-After", "1").wantProblem(429, tenancy.CodeRateLimited)
	a.do(t, "wrong", "GET", "/platform/audit", "").wantProblem(429, tenancy.CodeRateLimited)
	if len(a.events) != audited {
		t.Error("a limited attempt is audited")
	}
	a.do(t, "admin", "GET", jobPath, "").wantStatus(200)
	a.do(t, "readonly", "POST", jobPath+"/retry", "").wantProblem(403, tenancy.CodeForbidden)
	now = now.Add(failureEvery)
	a.do(t, "", "GET", jobPath, "").wantStatus(401)
	a.do(t, "", "GET", jobPath, "").wantStatus(429)
}

func TestClientAddressBehindProxies(t *testing.T) {
	t.Parallel()
	from := func(a *api) any {
		a.do(t, "", "GET", jobPath, "", "X-Forwarded-For", "203.0.113.9")
		return a.events[0].Details["clientIp"]
	}
	if got := from(setup(t)); got != "192.0.2.1" {
		t.Errorf("without trusted proxies, clientIp = %v", got)
	}
	trusting := setup(t, func(c *Config) { c.TrustedProxies = []string{"192.0.2.0/24"} })
	if got := from(trusting); got != "203.0.113.9" {
		t.Errorf("behind a trusted proxy, clientIp = %v", got)
	}
	if _, err := New(Config{TrustedProxies: []string{"nonsense"}}); err == nil {
		t.Error("a TRUSTED_PROXIES that cannot be parsed is taken")
	}
}

func BenchmarkGetJob(b *testing.B) {
	a := setup(b)
	r := httptest.NewRequest(http.MethodGet, jobPath, nil)
	r.Header.Set("Authorization", "Bearer admin")
	r.Header.Set("If-None-Match", `"1"`)
	b.ReportAllocs()
	for b.Loop() {
		a.handler.ServeHTTP(httptest.NewRecorder(), r)
		a.calls = a.calls[:0]
	}
}
