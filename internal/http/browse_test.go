package http

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// hostile is what somebody types who means ill.
const hostile = `"><script>alert(1)</script>`

// browsed is a page as a browser gets it.
type browsed struct {
	*httptest.ResponseRecorder
	t *testing.T
}

// browse asks for a page as the holder of a session, or sends a form. Headers
// come in pairs.
func (a *api) browse(t *testing.T, token, method, target string, form url.Values, headers ...string) browsed {
	t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequest(method, target, body)
	if token != "" {
		authenticate(r, token)
	}
	r.Header.Set("Accept", "text/html")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	b := browsed{w, t}
	if w.Header().Get("Content-Type") == "text/html; charset=utf-8" {
		b.sound()
	}
	return b
}

// sound fails the test unless the page keeps what every page keeps: a policy
// without inline script and style and nothing that breaks it, ids that are
// there once, a label for every field, headings in order.
func (b browsed) sound() {
	b.t.Helper()
	if got := b.Header().Get("Content-Security-Policy"); got != pagePolicy {
		b.t.Errorf("Content-Security-Policy = %q", got)
	}
	if got := b.Header().Get("Cache-Control"); got != "no-store" {
		b.t.Errorf("Cache-Control = %q", got)
	}
	root, err := html.Parse(strings.NewReader(b.Body.String()))
	if err != nil {
		b.t.Fatal(err)
	}
	ids, labels, level := map[string]bool{}, map[string]bool{}, 0
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "style":
			b.t.Error("the page has an inline style")
		case "script":
			if attribute(n, "src") == "" {
				b.t.Error("the page has an inline script")
			}
		case "label":
			labels[attribute(n, "for")] = true
		case "h1", "h2", "h3", "h4":
			if n.Parent.Data == "div" && attribute(n.Parent, "class") == "drawer-head" {
				break
			}
			if now := int(n.Data[1] - '0'); now > level+1 && level > 0 {
				b.t.Errorf("a %s follows an h%d", n.Data, level)
			} else {
				level = now
			}
		}
		for _, a := range n.Attr {
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				b.t.Errorf("<%s> has the attribute %s", n.Data, a.Key)
			}
		}
		if id := attribute(n, "id"); id != "" {
			if ids[id] {
				b.t.Errorf("the id %q is there twice", id)
			}
			ids[id] = true
		}
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode || n.Data != "input" && n.Data != "select" {
			continue
		}
		if kind := attribute(n, "type"); kind != "hidden" && n.Parent.Data != "label" && !labels[attribute(n, "id")] {
			b.t.Errorf("the field %q has no label", attribute(n, "name"))
		}
	}
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func (b browsed) wantStatus(status int) browsed {
	b.t.Helper()
	if b.Code != status {
		b.t.Errorf("status = %d, want %d: %s", b.Code, status, b.Body)
	}
	return b
}

// shows fails the test unless every text is in the page.
func (b browsed) shows(texts ...string) browsed {
	b.t.Helper()
	for _, text := range texts {
		if !strings.Contains(b.Body.String(), text) {
			b.t.Errorf("the page does not show %q:\n%s", text, b.Body)
		}
	}
	return b
}

// hides fails the test if any text is in the page.
func (b browsed) hides(texts ...string) browsed {
	b.t.Helper()
	for _, text := range texts {
		if strings.Contains(b.Body.String(), text) {
			b.t.Errorf("the page shows %q:\n%s", text, b.Body)
		}
	}
	return b
}

// leads fails the test unless the answer sends the browser to path.
func (b browsed) leads(path string) browsed {
	b.t.Helper()
	b.wantStatus(http.StatusSeeOther)
	if got := b.Header().Get("Location"); got != path {
		b.t.Errorf("Location = %q, want %q", got, path)
	}
	return b
}

// jobsOf, serversOf, eventsOf and tokensOf list something else than the one
// thing the fake has.
type (
	jobsOf struct {
		Jobs
		jobs []tenancy.Job
	}
	serversOf struct {
		Servers
		servers []tenancy.ServerLoad
	}
	eventsOf struct {
		Audit
		pages map[string][]tenancy.AuditEvent
		next  map[string]string
	}
	tokensOf struct {
		Tokens
		tokens []tenancy.APIToken
	}
	noTenants struct{ Tenants }
)

func (f jobsOf) ListJobs(context.Context, tenancy.JobFilter) ([]tenancy.Job, string, error) {
	return f.jobs, "", nil
}

func (f serversOf) ListServers(context.Context) ([]tenancy.ServerLoad, error) { return f.servers, nil }

func (f eventsOf) ListAudit(_ context.Context, filter tenancy.AuditFilter) ([]tenancy.AuditEvent, string, error) {
	return f.pages[filter.Page.Cursor], f.next[filter.Page.Cursor], nil
}

func (f tokensOf) ListTokens(context.Context, tenancy.UserID) ([]tenancy.APIToken, error) {
	return f.tokens, nil
}

func (noTenants) Tenant(context.Context, tenancy.Slug) (tenancy.Tenant, error) {
	return tenancy.Tenant{}, tenancy.Errorf(tenancy.CodeNotFound, "There is no such tenant.")
}

// refusingJobs lets no job be cancelled.
type refusingJobs struct{ Jobs }

func (refusingJobs) CancelJob(context.Context, tenancy.JobID, tenancy.Actor) (tenancy.Job, error) {
	return tenancy.Job{}, tenancy.Errorf(tenancy.CodeConflict, "The job is complete.")
}

// retriesOf retries as many jobs as it says.
type retriesOf struct {
	Jobs
	retries tenancy.Retries
}

func (f retriesOf) RetryJobs(context.Context, tenancy.JobFilter, tenancy.Actor) (tenancy.Retries, error) {
	return f.retries, nil
}
