package http

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/placement"
	"github.com/tenantry/tenantry/internal/tenancy"
)

var epoch = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

const (
	someJobID   = "01900000-0000-7000-8000-000000000001"
	someTokenID = "01900000-0000-7000-8000-000000000002"
	someBatchID = "01900000-0000-7000-8000-000000000003"
	someUserID  = "01900000-0000-7000-8000-0000000000a1"
)

// api is the API on fakes. Every answer is checked against openapi.yaml.
type api struct {
	*fakePlatform
	handler http.Handler
	log     *syncBuffer
}

func setup(t testing.TB, adjust ...func(*Config)) *api {
	t.Helper()
	hint := 50
	server := tenancy.DBServer{Name: "pg-a", Host: "pg-a.internal", Port: 5432, AdminSecretRef: "pg-a-admin", CapacityHint: &hint, IsActive: true}
	users := make(map[string]tenancy.Principal)
	for token, role := range map[string]tenancy.Role{"admin": tenancy.RoleAdmin, "support": tenancy.RoleSupport, "readonly": tenancy.RoleReadOnly} {
		users[token] = tenancy.Principal{
			Actor: tenancy.Actor{UserID: tenancy.UserID("id-of-" + token), Name: token + "@platform.example"}, Role: role,
		}
	}
	a := &api{log: new(syncBuffer), fakePlatform: &fakePlatform{
		job: tenancy.Job{
			ID: someJobID, Kind: tenancy.KindProvision, Status: tenancy.JobQueued, TenantID: someTokenID, Slug: "acme",
			DisplayName: "Acme Health", AdminEmail: "admin@acme.example", Attempt: 1, CreatedAt: epoch, Version: 1,
			RequestedBy: users["admin"].Actor,
			Phases:      []tenancy.PhaseRecord{{Name: tenancy.PhasePlacementResolved, Status: tenancy.PhasePending}},
		},
		batch: tenancy.Batch{
			ID: someBatchID, RequestedBy: users["admin"].Actor, CreatedAt: epoch, Version: 7,
			Counts: tenancy.BatchCounts{Total: 3, Rejected: 1, Queued: 1, Failed: 1},
			Rows: []tenancy.BatchRow{
				{Line: 2, Slug: "acme", DisplayName: "Acme Health", Status: "queued", JobID: someJobID},
				{Line: 3, Slug: "B", DisplayName: "", Status: tenancy.RowRejected, Error: &tenancy.PhaseError{Code: tenancy.CodeInvalidSlug, Message: "no slug"}},
				{Line: 5, Slug: "cask", DisplayName: "Cask", Status: "failed", JobID: someTokenID, Error: &tenancy.PhaseError{Code: tenancy.CodeNoCapacity, Message: "full"}},
			},
		},
		tenant: tenancy.Tenant{ID: someTokenID, Slug: "acme", DisplayName: "Acme Health", Status: tenancy.TenantActive, ServerName: "pg-a", JobID: someJobID, CreatedAt: epoch, UpdatedAt: epoch},
		server: tenancy.ServerLoad{DBServer: server, TenantCount: 3, Reserved: 1},
		token: tenancy.APIToken{
			ID: someTokenID, Name: "ci", CreatedAt: epoch,
			Owner: tenancy.User{ID: someUserID, Email: "admin@platform.example", DisplayName: "Ada", Role: tenancy.RoleAdmin},
		},
		users: users,
	}}
	cfg := Config{
		Jobs: a, Batches: a, Tenants: a, Servers: a, Tokens: a, Audit: a, Auth: a, Sessions: fakeSessions{a.fakePlatform}, ProvisioningAvailable: true,
		Choose: placement.Choose, TenantURL: "https://{slug}.example.com",
		Reserved: tenancy.NewReservedSlugs(), Version: "1.2.3", DocsURL: "https://console.example/docs/errors/",
		Log: slog.New(slog.NewTextHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now: func() time.Time { return epoch },
	}
	for _, f := range adjust {
		f(&cfg)
	}
	var err error
	if a.handler, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return a
}

// answer is a response whose body was read.
type answer struct {
	*httptest.ResponseRecorder
	t *testing.T
}

// raw sends a request to what openapi.yaml does not describe.
func (a *api) raw(t *testing.T, token, method, target string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	authenticate(r, token)
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	return w
}

// authenticate sends a session's token in the cookie, any other as an API token.
func authenticate(r *http.Request, token string) {
	switch {
	case strings.HasPrefix(token, "session-"):
		r.AddCookie(&http.Cookie{Name: "tenantry_session", Value: token})
	case token != "":
		r.Header.Set("Authorization", "Bearer "+token)
	}
}

// do sends a request as the holder of token, "" for a stranger.
func (a *api) do(t *testing.T, token, method, target, body string, headers ...string) answer {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, reader)
	authenticate(r, token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	conform(t, r, body, w)
	return answer{w, t}
}

var document = sync.OnceValues(func() (*openapi3.T, routers.Router) {
	// To us a line of the wrong length is a bad row, and no bad body.
	openapi3filter.RegisterBodyDecoder("text/csv", openapi3filter.FileBodyDecoder)
	doc, err := openapi3.NewLoader().LoadFromData(openAPIDocument)
	if err != nil {
		panic(err)
	}
	if err := doc.Validate(context.Background(), openapi3.EnableExamplesValidation()); err != nil {
		panic(err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		panic(err)
	}
	return doc, router
})

// emptyParameter is one that is as good as absent, which OpenAPI cannot say.
var emptyParameter = regexp.MustCompile(`\w+=(&|$)`)

// conform fails the test unless openapi.yaml describes the answer and, if the
// request was accepted, the request.
func conform(t *testing.T, r *http.Request, body string, w *httptest.ResponseRecorder) {
	t.Helper()
	doc, router := document()
	route, params, err := router.FindRoute(r)
	if err != nil {
		if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("%s %s is not in openapi.yaml (%v) and is answered with %d %s", r.Method, r.URL.Path, err, w.Code, got)
		}
		var value any
		if err := json.Unmarshal(w.Body.Bytes(), &value); err != nil {
			t.Error(err)
		}
		if err := doc.Components.Schemas["Problem"].Value.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		}
		return
	}
	options := &openapi3filter.Options{
		IncludeResponseStatus: true, MultiError: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc,
		RejectWhenRequestBodyNotSpecified: true,
	}
	again := r.Clone(context.Background())
	again.Body = io.NopCloser(strings.NewReader(body))
	again.URL = &url.URL{Path: r.URL.Path, RawQuery: emptyParameter.ReplaceAllString(r.URL.RawQuery, "")}
	input := &openapi3filter.RequestValidationInput{Request: again, PathParams: params, Route: route, Options: options}
	if w.Code < 400 {
		if err := openapi3filter.ValidateRequest(r.Context(), input); err != nil {
			t.Errorf("%s %s was accepted against openapi.yaml: %v", r.Method, r.URL, err)
		}
	}
	if route.Operation.Responses.Status(w.Code) == nil {
		t.Errorf("%s %s: status %d is not in openapi.yaml", r.Method, r.URL.Path, w.Code)
	}
	err = openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: w.Code, Header: w.Header(),
		Body: io.NopCloser(bytes.NewReader(w.Body.Bytes())), Options: options,
	})
	if err != nil {
		t.Errorf("%s %s: the answer is not what openapi.yaml says: %v\n%s", r.Method, r.URL.Path, err, w.Body)
	}
}

func (w answer) wantStatus(status int) answer {
	w.t.Helper()
	if w.Code != status {
		w.t.Errorf("status = %d, want %d: %s", w.Code, status, w.Body)
	}
	return w
}

func (w answer) wantHeader(name, value string) answer {
	w.t.Helper()
	if got := w.Header().Get(name); got != value {
		w.t.Errorf("%s = %q, want %q", name, got, value)
	}
	return w
}

// wantProblem compares the code and the pointers of errors.
func (w answer) wantProblem(status int, code tenancy.Code, pointers ...string) problem {
	w.t.Helper()
	w.wantStatus(status)
	p := decodeBody[problem](w)
	if p.Code != code {
		w.t.Errorf("code = %s, want %s: %s", p.Code, code, w.Body)
	}
	var got []string
	for _, f := range p.Errors {
		got = append(got, f.Pointer)
	}
	if diff := cmp.Diff(pointers, got); diff != "" {
		w.t.Errorf("pointers (-want +got):\n%s\n%s", diff, w.Body)
	}
	return p
}

func (w answer) wantBody(want string) {
	w.t.Helper()
	var wanted any
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, decodeBody[any](w)); diff != "" {
		w.t.Errorf("body (-want +got):\n%s", diff)
	}
}

func decodeBody[T any](w answer) T {
	w.t.Helper()
	var v T
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		w.t.Fatalf("%v: %s", err, w.Body)
	}
	return v
}

// wantCalls compares what the API called since the last time.
func (a *api) wantCalls(t *testing.T, want ...call) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if diff := cmp.Diff(want, a.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	a.calls = nil
}

// syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

var adminActor = tenancy.Actor{UserID: "id-of-admin", Name: "admin@platform.example"}
