package http

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestHealthAndVersion(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.do(t, "", "GET", "/healthz", "").wantStatus(200).wantBody(`{"status":"ok"}`)
	a.do(t, "", "GET", "/version", "").wantStatus(200).wantBody(`{"version":"1.2.3"}`)
	w := a.do(t, "", "GET", "/openapi.yaml", "").wantStatus(200).wantHeader("Content-Type", "application/yaml")
	if !bytes.Equal(w.Body.Bytes(), openAPIDocument) {
		t.Error("the document is not served as it is")
	}
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.do(t, "", "GET", "/readyz", "").wantStatus(200).wantBody(`{"status":"ready","checks":{}}`)

	checks := map[string]error{"postgres": nil, "redis": nil}
	a = setup(t, func(c *Config) { c.Ready = func(context.Context) map[string]error { return checks } })
	a.do(t, "", "GET", "/readyz", "").wantStatus(200).wantBody(`{"status":"ready","checks":{"postgres":"ok","redis":"ok"}}`)
	checks["redis"] = tenancy.Unavailable(errors.New("dial 10.0.0.7: refused"), "Redis does not answer")
	checks["vault"] = errors.New("broken")
	a.do(t, "", "GET", "/readyz", "").wantStatus(503).
		wantBody(`{"status":"unavailable","checks":{"postgres":"ok","redis":"E_DEPENDENCY_UNAVAILABLE","vault":"E_INTERNAL"}}`)
	if !strings.Contains(a.log.String(), "10.0.0.7") {
		t.Error("the cause is not in the log")
	}
}
