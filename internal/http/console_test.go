package http

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/net/html"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// page asks for a page, or sends a form if values are given.
func (a *api) page(t *testing.T, token, path string, values url.Values, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	method, body := http.MethodGet, io.Reader(nil)
	if values != nil {
		method, body = http.MethodPost, strings.NewReader(values.Encode())
	}
	r := httptest.NewRequest(method, path, body)
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	if values != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	authenticate(r, token)
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	return w
}

// actions are what a page offers to do: the method and address of each of its
// forms, and the links to pages where something begins.
func actions(t *testing.T, body string) []string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	attribute := func(n *html.Node, name string) string {
		for _, a := range n.Attr {
			if a.Key == name {
				return a.Val
			}
		}
		return ""
	}
	var found []string
	for n := range root.Descendants() {
		switch {
		case n.Type != html.ElementNode:
		case n.Data == "a" && strings.HasSuffix(attribute(n, "href"), "/new"):
			found = append(found, "GET "+attribute(n, "href"))
		case n.Data == "form" && attribute(n, "method") == "post":
			method := "POST"
			for field := range n.Descendants() {
				if attribute(field, "name") == "_method" {
					method = attribute(field, "value")
				}
			}
			found = append(found, method+" "+attribute(n, "action"))
		}
	}
	found = slices.DeleteFunc(found, func(action string) bool { return action == "DELETE /platform/session" })
	slices.Sort(found)
	return slices.Compact(found)
}

// offers is what each page offers to an admin, and who else is offered it.
var offers = map[string]map[string]string{
	"/platform/tenants": {"GET /platform/tenants/new": "", "GET /platform/tenant-batches/new": ""},
	"/platform/tenants/acme": {
		"PATCH /platform/tenants/acme": "", "DELETE /platform/tenants/acme": "", "POST /platform/tenants/acme/invitation": "support",
	},
	"/platform/tenant-batches":                {"GET /platform/tenant-batches/new": ""},
	"/platform/tenant-batches/" + someBatchID: {"POST /platform/tenant-batches/" + someBatchID + "/retry": ""},
	"/platform/account":                       {"POST /platform/account/password": "support readonly"},
	jobPath:                                   {"POST " + jobPath + "/cancel": ""},
	"/platform/db-servers":                    {"GET /platform/db-servers/new": ""}, "/platform/db-servers/pg-a": {"PATCH /platform/db-servers/pg-a": ""},
	"/platform/api-tokens": {"POST /platform/api-tokens": "support readonly", "DELETE /platform/api-tokens/" + someTokenID: "support readonly"},
}

// A page offers a role what it may do and nothing else, and what is not offered
// is refused, and audited, when it is sent all the same.
func TestEveryPageForEveryRole(t *testing.T) {
	t.Parallel()
	for path, offered := range offers {
		for _, role := range []string{"admin", "support", "readonly"} {
			t.Run(path+" "+role, func(t *testing.T) {
				t.Parallel()
				a := setup(t)
				w := a.page(t, "session-"+role, path, nil)
				if w.Code != http.StatusOK {
					t.Fatalf("%d %s", w.Code, w.Body)
				}
				var want []string
				for action, others := range offered {
					if role == "admin" || strings.Contains(others, role) {
						want = append(want, action)
						continue
					}
					method, target, _ := strings.Cut(action, " ")
					var values url.Values
					if method != http.MethodGet {
						values = url.Values{"_method": {method}}
					}
					if w := a.page(t, "session-"+role, target, values); w.Code != http.StatusForbidden {
						t.Errorf("%s is answered with %d", action, w.Code)
					}
					if len(a.events) == 0 || a.events[len(a.events)-1].Type != tenancy.EventAccessDenied {
						t.Errorf("%s is not audited", action)
					}
				}
				slices.Sort(want)
				if diff := cmp.Diff(want, actions(t, w.Body.String()), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("offered (-want +got):\n%s", diff)
				}
			})
		}
	}
}

var inline = regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|javascript:|<script(?:\s[^>]*)?>[^<]`)

// Every page keeps to the strict policy, and a stranger is sent to the sign-in.
func TestEveryPageIsStrict(t *testing.T) {
	t.Parallel()
	a := setup(t)
	s := newServer(Config{})
	checked := 0
	for _, r := range append(s.routes(), s.pages()...) {
		if r.method != http.MethodGet || r.page == nil || strings.HasPrefix(r.path, MonitoringPath) || strings.HasSuffix(r.path, ".csv") || strings.Contains(r.path, "oidc") {
			continue
		}
		path := strings.NewReplacer(":slug", "acme", ":jobId", someJobID, ":name", "pg-a", ":code", "E_NO_CAPACITY", ":batchId", someBatchID).Replace(r.path)
		w := a.page(t, "session-admin", path, nil)
		if w.Code == http.StatusSeeOther {
			continue // an address that leads to a page
		}
		checked++
		body := w.Body.String()
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
		if got := w.Header().Get("Content-Security-Policy"); got != pagePolicy {
			t.Errorf("%s: policy %q", path, got)
		}
		if at := inline.FindString(body); at != "" {
			t.Errorf("%s has %q", path, at)
		}
		if r.roles == nil {
			continue
		}
		w = a.page(t, "", path, nil)
		if want := "/platform/session?next=" + url.QueryEscape(path); w.Code != http.StatusSeeOther || w.Header().Get("Location") != want {
			t.Errorf("a stranger at %s: %d %s", path, w.Code, w.Header().Get("Location"))
		}
	}
	if checked < 6 {
		t.Errorf("only %d pages were looked at", checked)
	}
	for _, directive := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "form-action 'self'"} {
		if !strings.Contains(pagePolicy, directive) {
			t.Errorf("the policy lacks %s", directive)
		}
	}
	if strings.Contains(pagePolicy, "unsafe") {
		t.Error("the policy allows what is unsafe")
	}
}

func TestPagesEscapeWhatPeopleTyped(t *testing.T) {
	t.Parallel()
	const evil = `"><script>alert(1)</script>`
	a := setup(t)
	a.tenant.DisplayName, a.job.DisplayName, a.job.RequestedBy.Name, a.server.Region = evil, evil, evil, evil
	for path, values := range map[string]url.Values{
		"/platform/tenants?q=" + url.QueryEscape(evil): nil, "/platform/tenants/acme": nil, "/platform/session?next=" + url.QueryEscape(evil): nil,
		"/platform/tenants/new": {"step": {"check"}, "slug": {"umbrella"}, "displayName": {evil}, "adminEmail": {evil}},
	} {
		if w := a.page(t, "session-admin", path, values); strings.Contains(w.Body.String(), "<script>alert") {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
}

// The wizard asks again for what is wrong and keeps what was typed; nothing is
// recorded before its last step.
func TestWizard(t *testing.T) {
	t.Parallel()
	fail := func(a *api, err error) { a.missing = err }
	missing := tenancy.Errorf(tenancy.CodeNotFound, "no such tenant")
	typed := url.Values{"step": {"check"}, "slug": {"umbrella"}, "displayName": {"Umbrella"}, "adminEmail": {"it@umbrella.example"}}
	for name, tc := range map[string]struct {
		change func(url.Values)
		status int
		says   string
	}{
		"all is well":        {func(url.Values) {}, 200, "This will be made"},
		"back to the start":  {func(v url.Values) { v.Set("step", "details") }, 200, `value="it@umbrella.example"`},
		"a slug in capitals": {func(v url.Values) { v.Set("slug", "Umbrella") }, 422, "A slug has 3 to 40 lowercase letters"},
		"a reserved slug":    {func(v url.Values) { v.Set("slug", "admin") }, 422, "is reserved"},
		"no address":         {func(v url.Values) { v.Set("adminEmail", "") }, 422, `href="#adminEmail"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := setup(t)
			fail(a, missing)
			values := url.Values{}
			for k, v := range typed {
				values[k] = v
			}
			tc.change(values)
			w := a.page(t, "session-admin", "/platform/tenants/new", values)
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.says) {
				t.Errorf("%d, want %d and %q:\n%s", w.Code, tc.status, tc.says, w.Body)
			}
			if slices.ContainsFunc(a.calls, func(c call) bool { return c.Method == "SubmitJob" }) {
				t.Error("a job was submitted")
			}
		})
	}
	t.Run("a slug that is taken", func(t *testing.T) {
		t.Parallel()
		w := setup(t).page(t, "session-admin", "/platform/tenants/new", typed)
		if w.Code != 409 || !strings.Contains(w.Body.String(), "E_ALREADY_PROVISIONED") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	t.Run("the last step is sent once", func(t *testing.T) {
		t.Parallel()
		a := setup(t)
		values := url.Values{"slug": {"umbrella"}, "displayName": {"Umbrella"}, "adminEmail": {"it@umbrella.example"}, "key": {"k-1"}, "dbServer": {""}}
		w := a.page(t, "session-admin", "/platform/tenants", values)
		if w.Code != 303 || w.Header().Get("Location") != "/platform/tenants?job="+someJobID {
			t.Errorf("%d %v", w.Code, w.Header())
		}
		submitted := a.calls[len(a.calls)-1].Args[0].(tenancy.NewJob)
		if submitted.IdempotencyKey != "k-1" || submitted.Slug != "umbrella" || submitted.RequestedBy != adminActor {
			t.Errorf("%+v", submitted)
		}
	})
	t.Run("without a vault it is told before anything is typed", func(t *testing.T) {
		t.Parallel()
		a := setup(t, func(c *Config) { c.ProvisioningAvailable = false })
		body := a.page(t, "session-admin", "/platform/tenants/new", nil).Body.String()
		if !strings.Contains(body, "PROVISIONING_UNAVAILABLE") || strings.Contains(body, `name="slug"`) {
			t.Error(body)
		}
		if w := a.page(t, "session-admin", "/platform/tenants", typed); w.Code != 503 {
			t.Errorf("%d", w.Code)
		}
	})
}

// What cannot be undone is asked of somebody who signed in just now, and keeps
// what they typed.
func TestFreshSignIn(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.stale = true
	purge := url.Values{"_method": {"DELETE"}, "purge": {"true"}, "confirm": {"acme"}}
	w := a.page(t, "session-admin", "/platform/tenants/acme", purge)
	if w.Code != 403 || !strings.Contains(w.Body.String(), "Sign in again") || !strings.Contains(w.Body.String(), "confirm=acme") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	a.do(t, "session-admin", "DELETE", "/platform/tenants/acme", `{"purge":true,"confirm":"acme"}`).wantProblem(403, tenancy.CodeForbidden, "")
	a.wantCalls(t)
	a.do(t, "admin", "DELETE", "/platform/tenants/acme", `{"purge":true,"confirm":"acme"}`).wantStatus(202)
}

// A form that cannot be read does nothing: it is not taken for an empty one.
func TestBrokenForms(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for body, status := range map[string]int{
		"slug=acme&pad=" + strings.Repeat("x", maxForm): http.StatusRequestEntityTooLarge,
		"slug=acme&errorCode=%zz":                       http.StatusUnprocessableEntity,
	} {
		r := httptest.NewRequest(http.MethodPost, "/platform/job-retries", strings.NewReader(body))
		r.Header.Set("Accept", "text/html")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		authenticate(r, "session-admin")
		w := httptest.NewRecorder()
		a.handler.ServeHTTP(w, r)
		if w.Code != status {
			t.Errorf("%.30q is answered with %d", body, w.Code)
		}
	}
	a.wantCalls(t)
}

// While one types, the end of the session must not take the form away.
func TestTypingAfterTheSessionEnded(t *testing.T) {
	t.Parallel()
	w := setup(t).page(t, "session-gone", "/platform/slugs?slug=acme", nil, "HX-Request", "true")
	if w.Code != 200 || w.Header().Get("HX-Refresh") != "" || !strings.Contains(w.Body.String(), "Your session has ended") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	w = setup(t).page(t, "session-gone", "/platform/tenants", nil, "HX-Request", "true")
	if w.Code != 401 || w.Header().Get("HX-Refresh") != "true" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestCSV(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.tenant.DisplayName = "=HYPERLINK(1)"
	w := a.page(t, "session-readonly", "/platform/tenants.csv?q=ac", nil)
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if w.Code != 200 || len(lines) != 2 || !strings.Contains(lines[1], "acme,'=HYPERLINK(1),active,pg-a") {
		t.Errorf("%d %q", w.Code, lines)
	}
}
