package http

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/http/console"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// TestHeadIsGetWithoutABody on every address, for strangers too, as a program and
// as a browser.
func TestHeadIsGetWithoutABody(t *testing.T) {
	t.Parallel()
	a := setup(t, func(c *Config) {
		// Asynqmon answers HEAD with 405.
		c.MonitoringReadOnly = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				w.WriteHeader(http.StatusMethodNotAllowed)
			}
			_, _ = io.WriteString(w, "queues")
		})
	})
	ask := asker(t, a.handler)
	targets := []string{console.AssetURL("console.css"), console.AssetsPath + "nothing"}
	s := newServer(Config{})
	for _, r := range append(s.routes(), s.pages()...) {
		if r.method == http.MethodGet {
			targets = append(targets, strings.NewReplacer(":slug", "acme", ":jobId", someJobID, ":name", "pg-a",
				":code", "E_NO_CAPACITY", ":batchId", someBatchID, "*path", "").Replace(r.path))
		}
	}
	for _, target := range targets {
		for _, headers := range [][]string{
			{},
			{"Authorization", "Bearer readonly"},
			{"Authorization", "Bearer readonly", "If-None-Match", `"1"`},
			{"Accept", "text/html"},
			{"Accept", "text/html", "Cookie", "tenantry_session=session-readonly"},
		} {
			wantStatus, wantHeader, _ := ask("GET", target, headers...)
			status, header, body := ask("HEAD", target, headers...)
			if status != wantStatus || body != "" {
				t.Errorf("HEAD %s %q: %d, want %d; body %q", target, headers, status, wantStatus, body)
			}
			if diff := cmp.Diff(wantHeader, header); diff != "" {
				t.Errorf("HEAD %s %q (-GET +HEAD):\n%s", target, headers, diff)
			}
		}
	}
}

func TestATenantsHostAnswersProbes(t *testing.T) {
	t.Parallel()
	ask := asker(t, setupSite(t).handler)
	for _, target := range []string{"/healthz", console.AssetURL("console.css"), "/sign-in"} {
		if status, _, body := ask("HEAD", target, "Host", siteHost); status != 200 || body != "" {
			t.Errorf("HEAD %s: %d, body %q", target, status, body)
		}
	}
}

// TestHeadIsLimitedAndAuditedAsGet: a stranger gains nothing by asking for less.
func TestHeadIsLimitedAndAuditedAsGet(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for range failureBurst {
		a.raw(t, "", "HEAD", jobPath)
	}
	if len(a.events) != failureBurst {
		t.Fatalf("%d events", len(a.events))
	}
	if e := a.events[0]; e.Type != tenancy.EventAccessDenied || e.Details["method"] != "HEAD" || e.Details["status"] != 401 {
		t.Errorf("audited: %+v", e)
	}
	a.do(t, "", "GET", jobPath, "").wantProblem(429, tenancy.CodeRateLimited)
	if w := a.raw(t, "", "HEAD", jobPath); w.Code != 429 || w.Header().Get("Retry-After") == "" {
		t.Errorf("beyond the limit: %d", w.Code)
	}
}

// asker serves over a real connection, since a recorder keeps a HEAD's body. What
// differs from request to request is left out of the headers.
func asker(t *testing.T, handler http.Handler) func(method, target string, headers ...string) (int, http.Header, string) {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return func(method, target string, headers ...string) (int, http.Header, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
			if headers[i] == "Host" {
				r.Host = headers[i+1]
			}
		}
		w, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Body.Close()
		body, err := io.ReadAll(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		w.Header.Del("Date")
		w.Header.Del("X-Request-Id")
		if w.ContentLength == 0 && method == http.MethodGet {
			w.Header.Del("Content-Length") // net/http says it of an empty body, and leaves it out of HEAD
		}
		return w.StatusCode, w.Header, string(body)
	}
}
