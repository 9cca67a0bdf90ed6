package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-proxy/mockoidc"
	"github.com/pquerna/otp/totp"
)

// visitor is somebody at a browser: cookies, forms, pages, no redirects followed.
type visitor struct {
	t      *testing.T
	base   string
	client *http.Client
}

func (p *plane) visitor(t *testing.T) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t, p.Console, &http.Client{
		Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// reply is what a visitor got.
type reply struct {
	status int
	header http.Header
	body   string
}

func (v *visitor) do(method, path string, values url.Values, headers ...string) reply {
	v.t.Helper()
	var body io.Reader
	if values != nil {
		body = strings.NewReader(values.Encode())
	}
	if !strings.HasPrefix(path, "http") {
		path = v.base + path
	}
	req, err := http.NewRequestWithContext(v.t.Context(), method, path, body)
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	if values != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := v.client.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(data)}
}

func (v *visitor) get(path string, headers ...string) reply {
	v.t.Helper()
	return v.do(http.MethodGet, path, nil, headers...)
}

func (v *visitor) post(path string, values url.Values, headers ...string) reply {
	v.t.Helper()
	return v.do(http.MethodPost, path, values, headers...)
}

func (v *visitor) signIn(u devUser, more ...string) reply {
	v.t.Helper()
	values := url.Values{"email": {u.Email}, "password": {u.Password}}
	for i := 0; i+1 < len(more); i += 2 {
		values.Set(more[i], more[i+1])
	}
	return v.post("/platform/session", values)
}

// signedIn reports whether the visitor's session is good.
func (v *visitor) signedIn() bool {
	v.t.Helper()
	return v.get("/platform/tenants").status == http.StatusOK
}

func (v *visitor) token() string {
	u, _ := url.Parse(v.base)
	for _, c := range v.client.Jar.Cookies(u) {
		if c.Name == "tenantry_session" {
			return c.Value
		}
	}
	return ""
}

func TestSigningIn(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 0, nil)
	admin := p.Users[0]

	t.Run("a planted session is not taken over", func(t *testing.T) {
		v := p.visitor(t)
		u, _ := url.Parse(v.base)
		v.client.Jar.SetCookies(u, []*http.Cookie{{Name: "tenantry_session", Value: "planted", Path: "/"}})
		if r := v.signIn(admin); r.status != http.StatusSeeOther || v.token() == "planted" || v.token() == "" {
			t.Fatalf("%d, token %q", r.status, v.token())
		}
		first := v.token()
		v.signIn(admin)
		if v.token() == first {
			t.Error("signing in again keeps the token")
		}
		v.client.Jar.SetCookies(u, []*http.Cookie{{Name: "tenantry_session", Value: first, Path: "/"}})
		if v.signedIn() {
			t.Error("the token from before still works")
		}
	})
	t.Run("signing out ends the session on the server", func(t *testing.T) {
		v := p.visitor(t)
		v.signIn(admin)
		kept := v.token()
		if r := v.post("/platform/session", url.Values{"_method": {"DELETE"}}); r.status != http.StatusSeeOther {
			t.Fatalf("%d %s", r.status, r.body)
		}
		u, _ := url.Parse(v.base)
		v.client.Jar.SetCookies(u, []*http.Cookie{{Name: "tenantry_session", Value: kept, Path: "/"}})
		if v.signedIn() {
			t.Error("the session goes on")
		}
	})
	t.Run("no other site can use the session", func(t *testing.T) {
		v := p.visitor(t)
		v.signIn(admin)
		u, _ := url.Parse(v.base)
		for _, headers := range [][]string{
			{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, // a sibling subdomain
			{"Origin", "http://acme.localhost:" + u.Port()}, {"Origin", "null"},
		} {
			r := v.post("/platform/tenants", url.Values{"slug": {"stolen"}, "displayName": {"S"}, "adminEmail": {"s@evil.example"}}, headers...)
			if r.status != http.StatusForbidden {
				t.Errorf("%v: %d", headers, r.status)
			}
		}
		if n := queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.job`); n != 0 {
			t.Errorf("%d jobs", n)
		}
	})
	t.Run("a link leads nowhere else", func(t *testing.T) {
		for _, next := range []string{"//evil.example", "https://evil.example/platform/tenants", `/\evil.example`, "/platform/../evil", "javascript:alert(1)", "/docs", "/platform/session"} {
			v := p.visitor(t)
			if at := v.signIn(admin, "next", next).header.Get("Location"); at != "/platform/tenants" {
				t.Errorf("next=%q leads to %q", next, at)
			}
		}
		v := p.visitor(t)
		if at := v.signIn(admin, "next", "/platform/jobs?status=failed").header.Get("Location"); at != "/platform/jobs?status=failed" {
			t.Errorf("a deep link leads to %q", at)
		}
		at := v.get("/platform/tenants", "Host", "evil.example").header.Get("Location")
		if strings.Contains(at, "evil") {
			t.Errorf("the Host leads to %q", at)
		}
	})
	t.Run("what was typed survives the end of the session", func(t *testing.T) {
		v := p.visitor(t)
		typed := url.Values{"step": {"check"}, "slug": {"kept-slug"}, "displayName": {"Kept <Name>"}, "adminEmail": {"kept@example.com"}, "password": {"hunter2"}}
		r := v.post("/platform/tenants/new", typed)
		if r.status != http.StatusUnauthorized || !strings.Contains(r.body, "What you typed is kept") || strings.Contains(r.body, "hunter2") {
			t.Fatalf("%d %s", r.status, r.body)
		}
		kept := url.Values{"slug": {"kept-slug"}, "displayName": {"Kept <Name>"}, "adminEmail": {"kept@example.com"}, "step": {"check"}}
		r = v.signIn(admin, "kept_action", "/platform/tenants/new", "kept", kept.Encode())
		if r.status != http.StatusOK || !strings.Contains(r.body, "kept-slug") || !strings.Contains(r.body, "Kept &lt;Name&gt;") || !strings.Contains(r.body, `action="/platform/tenants/new"`) {
			t.Errorf("%d %s", r.status, r.body)
		}
		if r := v.signIn(admin, "kept_action", "https://evil.example/", "kept", kept.Encode()); strings.Contains(r.body, "evil") {
			t.Error("a kept form leads elsewhere")
		}
	})
	t.Run("before the end of a tenant one signs in again", func(t *testing.T) {
		v := p.visitor(t)
		v.signIn(admin)
		p.exec(t, p.DatabaseURL, `UPDATE identity.platform_session SET authenticated_at = now() - interval '11 minutes'`)
		r := v.post("/platform/tenants/acme", url.Values{"_method": {"DELETE"}, "purge": {"true"}, "confirm": {"acme"}})
		if r.status != http.StatusForbidden || !strings.Contains(r.body, "Sign in again") || !strings.Contains(r.body, "confirm=acme") {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
	t.Run("a session ends with time", func(t *testing.T) {
		for _, sql := range []string{
			`UPDATE identity.platform_session SET last_seen_at = now() - interval '61 minutes'`,
			`UPDATE identity.platform_session SET expires_at = now() - interval '1 second'`,
		} {
			v := p.visitor(t)
			v.signIn(admin)
			if !v.signedIn() {
				t.Fatal("not signed in")
			}
			p.exec(t, p.DatabaseURL, sql)
			if v.signedIn() {
				t.Errorf("after %s the session goes on", sql)
			}
		}
	})
	t.Run("another role and disabling end sessions at once", func(t *testing.T) {
		reader := p.Users[2]
		for _, args := range [][]string{{"--role", "PLATFORM_SUPPORT"}, {"--active=false"}} {
			v := p.visitor(t)
			v.signIn(reader)
			if !v.signedIn() {
				t.Fatal("not signed in")
			}
			if code, _, stderr := p.ctl(t, append([]string{"update-user", "--email", reader.Email}, args...)...); code != exitOK {
				t.Fatal(stderr)
			}
			if v.signedIn() {
				t.Errorf("after %v the session goes on", args)
			}
		}
	})
}

// Who does not know an account learns nothing of it, and nobody can guess on.
func TestGuessing(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 0, nil)
	known, unknown := p.visitor(t), p.visitor(t)
	support := p.Users[1]
	wrong := devUser{Email: support.Email, Password: "a wrong password"}
	nobody := devUser{Email: "nobody-here@platform.localhost", Password: "a wrong password"}
	strip := func(r reply, email string) string {
		body := strings.ReplaceAll(r.body, email, "")
		if before, rest, found := strings.Cut(body, "Request <code>"); found {
			_, after, _ := strings.Cut(rest, "</code>")
			body = before + after
		}
		return body
	}
	blocked := 0
	for i := range 7 {
		a, b := known.signIn(wrong), unknown.signIn(nobody)
		if a.status != b.status || strip(a, wrong.Email) != strip(b, nobody.Email) {
			t.Fatalf("attempt %d tells a known account (%d) from an unknown one (%d)", i, a.status, b.status)
		}
		if a.status == http.StatusTooManyRequests {
			blocked++
			if a.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
	}
	if blocked != 2 {
		t.Errorf("%d of 7 attempts were refused unseen, want 2", blocked)
	}
	if r := known.signIn(support); r.status != http.StatusTooManyRequests {
		t.Errorf("the right password is tried during the wait: %d", r.status)
	}
	if r := p.visitor(t).signIn(p.Users[0]); r.status != http.StatusSeeOther {
		t.Errorf("another account is locked out too: %d", r.status)
	}
	p.exec(t, p.DatabaseURL, `UPDATE identity.sign_in_attempt SET blocked_until = now()`)
	if r := known.signIn(support); r.status != http.StatusSeeOther {
		t.Errorf("after the wait: %d", r.status)
	}
	if n := queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.tenant_audit WHERE event_type = 'ACCESS_DENIED' AND details->>'route' = '/platform/session'`); n != 10 {
		t.Errorf("%d failed attempts are audited, want 10", n)
	}
}

func TestSecondFactor(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 0, map[string]string{"REQUIRE_MFA": "true"})
	admin := p.Users[0]
	v := p.visitor(t)
	v.signIn(admin)
	// Until it is set up, nothing else is answered.
	if r := v.get("/platform/tenants"); r.header.Get("Location") != "/platform/session/second-factor?next=%2Fplatform%2Ftenants" {
		t.Fatalf("%d %v", r.status, r.header)
	}
	if r := v.get("/platform/tenants", "Accept", "application/json"); r.status != http.StatusForbidden {
		t.Errorf("%d %s", r.status, r.body)
	}
	r := v.post("/platform/account/second-factor", nil, "Accept", "application/json")
	var enrolment struct{ Secret, URL string }
	if err := json.Unmarshal([]byte(r.body), &enrolment); err != nil || r.status != http.StatusCreated {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := v.post("/platform/account/second-factor/confirmation", url.Values{"code": {"000000"}}); r.status == http.StatusOK {
		t.Fatal("a wrong code confirms")
	}
	code := func(at time.Time) string {
		c, err := totp.GenerateCode(enrolment.Secret, at)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := code(time.Now().Add(-30 * time.Second))
	r = v.post("/platform/account/second-factor/confirmation", url.Values{"code": {first}})
	if r.status != http.StatusOK || strings.Count(r.body, "<li><code>") != 10 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	recovery := strings.Split(strings.Split(r.body, "<li><code>")[1], "</code>")[0]
	if !v.signedIn() {
		t.Error("the session is pending still")
	}

	again := p.visitor(t)
	if r := again.signIn(admin); r.status != http.StatusUnauthorized || !strings.Contains(r.body, `name="code"`) {
		t.Errorf("without a code: %d", r.status)
	}
	if r := again.signIn(admin, "code", first); r.status != http.StatusUnauthorized {
		t.Errorf("a code works twice: %d", r.status)
	}
	if r := again.signIn(admin, "code", code(time.Now())); r.status != http.StatusSeeOther {
		t.Errorf("a fresh code: %d %s", r.status, r.body)
	}
	if r := p.visitor(t).signIn(admin, "code", recovery); r.status != http.StatusSeeOther {
		t.Errorf("a recovery code: %d", r.status)
	}
	if r := p.visitor(t).signIn(admin, "code", recovery); r.status != http.StatusUnauthorized {
		t.Errorf("a recovery code works twice: %d", r.status)
	}
	if r := again.post("/platform/account/second-factor", url.Values{"_method": {"DELETE"}, "currentPassword": {admin.Password}}); r.status != http.StatusConflict {
		t.Errorf("a required second factor can be removed: %d", r.status)
	}
	if r := p.visitor(t).signIn(p.Users[1]); r.status != http.StatusSeeOther {
		t.Errorf("support needs one too: %d", r.status)
	}
	// Where it is not required it can be taken away, and what waits for it ends.
	support := p.Users[1]
	owner := p.visitor(t)
	owner.signIn(support)
	r = owner.post("/platform/account/second-factor", nil, "Accept", "application/json")
	if err := json.Unmarshal([]byte(r.body), &enrolment); err != nil {
		t.Fatal(err)
	}
	owner.post("/platform/account/second-factor/confirmation", url.Values{"code": {code(time.Now())}})
	other := p.visitor(t)
	if r := other.signIn(support, "code", code(time.Now().Add(30*time.Second))); r.status != http.StatusSeeOther {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := owner.post("/platform/account/second-factor", url.Values{"_method": {"DELETE"}, "currentPassword": {support.Password}}); r.status != http.StatusSeeOther {
		t.Errorf("%d %s", r.status, r.body)
	}
	if !owner.signedIn() || other.signedIn() {
		t.Error("the other session goes on without the second factor")
	}
	if log := p.log.String(); strings.Contains(log, enrolment.Secret) || strings.Contains(log, admin.Password) {
		t.Error("a secret is in the log")
	}
}

func TestIdentityProvider(t *testing.T) {
	t.Parallel()
	provider, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = provider.Shutdown() })
	p := startPlane(t, 0, map[string]string{
		"OIDC_ISSUER": provider.Issuer(), "OIDC_CLIENT_ID": provider.ClientID, "OIDC_CLIENT_SECRET": provider.ClientSecret,
	})
	// arrive goes to the provider and back as this person.
	arrive := func(v *visitor, who *mockoidc.MockUser) reply {
		provider.QueueUser(who)
		to := v.get("/platform/session/oidc?next=/platform/jobs")
		if to.status != http.StatusSeeOther {
			t.Fatalf("%d %s", to.status, to.body)
		}
		back := v.get(to.header.Get("Location"))
		return v.get(back.header.Get("Location"))
	}
	ada := &mockoidc.MockUser{Subject: "ada", Email: "ada@corp.example", EmailVerified: true, PreferredUsername: "Ada", Groups: []string{"staff", "PLATFORM_SUPPORT"}}
	v := p.visitor(t)
	if r := arrive(v, ada); r.status != http.StatusSeeOther || r.header.Get("Location") != "/platform/jobs" {
		t.Fatalf("%d %v %s", r.status, r.header, r.body)
	}
	if !v.signedIn() {
		t.Error("not signed in")
	}
	if r := v.get("/platform/tenants/new"); r.status != http.StatusForbidden {
		t.Errorf("support may provision: %d", r.status)
	}
	// Another role at the provider is another role here, and ends what was open.
	ada.Groups = []string{"PLATFORM_ADMIN"}
	w := p.visitor(t)
	arrive(w, ada)
	if v.signedIn() || w.get("/platform/tenants/new").status != http.StatusOK {
		t.Error("the role did not change")
	}
	if n := queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.platform_user WHERE email = 'ada@corp.example'`); n != 1 {
		t.Errorf("%d accounts for one person", n)
	}
	for name, who := range map[string]*mockoidc.MockUser{
		"no role":            {Subject: "bob", Email: "bob@corp.example", EmailVerified: true, Groups: []string{"staff"}},
		"unverified address": {Subject: "eve", Email: p.Users[0].Email, EmailVerified: false, Groups: []string{"PLATFORM_ADMIN"}},
	} {
		u := p.visitor(t)
		if r := arrive(u, who); r.status != http.StatusForbidden || u.signedIn() {
			t.Errorf("%s: %d", name, r.status)
		}
	}
	// What was guessed before is not forgiven by the way in through the provider, and
	// that way proves nothing of today.
	p.exec(t, p.DatabaseURL, `INSERT INTO identity.sign_in_attempt VALUES ('', 'account', sha256('ada@corp.example'), 7, now(), now())`)
	arrive(w, ada)
	if n := queryOne[int](t, p.DatabaseURL, `SELECT attempts FROM identity.sign_in_attempt WHERE subject = sha256('ada@corp.example')`); n != 7 {
		t.Errorf("%d attempts are left", n)
	}
	if r := w.post("/platform/api-tokens", url.Values{"name": {"x"}}); r.status != http.StatusForbidden || !strings.Contains(r.body, "Sign in again") || !strings.Contains(r.body, "fresh=1") {
		t.Errorf("a token by a session that may be old: %d", r.status)
	}
	if to := w.get("/platform/session/oidc?fresh=1").header.Get("Location"); !strings.Contains(to, "prompt=login") || !strings.Contains(to, "max_age=0") {
		t.Errorf("the provider is not told to ask again: %s", to)
	}
	// An answer that belongs to another browser's way is worth nothing.
	provider.QueueUser(ada)
	to := v.get("/platform/session/oidc")
	back := v.get(to.header.Get("Location"))
	thief := p.visitor(t)
	if r := thief.get(back.header.Get("Location")); r.status != http.StatusForbidden || thief.signedIn() {
		t.Errorf("a stolen answer: %d", r.status)
	}
}
