package http

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/tenancy"
)

const (
	siteHost      = "acme.example.com"
	sitePerson    = "ada@acme.example"
	sitePassword  = "correct horse battery"
	hostileName   = `<script>alert(1)</script>"><img src=x onerror=alert(2)>`
	siteCookie    = "__Host-tenantry_tenant"
	otherPassword = "a quite different one"
)

// siteTokens are links' tokens by what they are for.
var siteTokens = map[string]string{
	"first": strings.Repeat("A", 43), "reset": strings.Repeat("E", 43), "unknown": strings.Repeat("I", 43),
}

// fakeSite is master and a tenant's database for tenants' pages.
type fakeSite struct {
	mu       sync.Mutex
	tenant   tenancy.Tenant
	user     tenancy.TenantUser
	hash     string
	links    map[string]bool // by hash: whether it resets
	sessions map[string]bool
	attempts map[string]int
	resets   []string
	// looks counts what was asked for of an account.
	looks int
	fail  error
}

func (f *fakeSite) begin() (func(), error) { f.mu.Lock(); return f.mu.Unlock, f.fail }

func (f *fakeSite) Tenant(_ context.Context, slug tenancy.Slug) (tenancy.Tenant, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slug != f.tenant.Slug {
		return tenancy.Tenant{}, tenancy.Errorf(tenancy.CodeNotFound, "There is no such tenant.")
	}
	return f.tenant, nil
}

func (f *fakeSite) Invitation(_ context.Context, _ tenancy.Slug, token []byte) (tenancy.OpenInvitation, error) {
	end, err := f.begin()
	defer end()
	reset, ok := f.links[string(token)]
	if err == nil && !ok {
		err = tenancy.Errorf(tenancy.CodeNotFound, "no link")
	}
	return tenancy.OpenInvitation{User: f.user, ExpiresAt: epoch, Reset: reset}, err
}

func (f *fakeSite) Redeem(_ context.Context, _ tenancy.Slug, token []byte, hash string, session []byte) (tenancy.TenantUser, error) {
	end, err := f.begin()
	defer end()
	if _, ok := f.links[string(token)]; err != nil || !ok {
		return f.user, tenancy.Errorf(tenancy.CodeNotFound, "no link")
	}
	delete(f.links, string(token))
	f.hash = hash
	f.sessions = map[string]bool{string(session): true}
	return f.user, nil
}

func (f *fakeSite) Credentials(_ context.Context, _ tenancy.Slug, email string) (tenancy.Credentials, error) {
	end, err := f.begin()
	defer end()
	f.looks++
	if email != f.user.Email {
		return tenancy.Credentials{}, err
	}
	return tenancy.Credentials{UserID: f.user.ID, PasswordHash: f.hash}, err
}

func (f *fakeSite) OpenSession(_ context.Context, _ tenancy.Slug, _ tenancy.Credentials, session []byte) (tenancy.TenantUser, error) {
	end, err := f.begin()
	defer end()
	f.sessions[string(session)] = true
	return f.user, err
}

func (f *fakeSite) Session(_ context.Context, _ tenancy.Slug, session []byte) (tenancy.TenantUser, error) {
	end, err := f.begin()
	defer end()
	if err == nil && !f.sessions[string(session)] {
		err = tenancy.Errorf(tenancy.CodeUnauthenticated, "Sign in first.")
	}
	if err != nil {
		return tenancy.TenantUser{}, err
	}
	return f.user, nil
}

func (f *fakeSite) EndSession(_ context.Context, _ tenancy.Slug, session []byte) error {
	end, err := f.begin()
	defer end()
	delete(f.sessions, string(session))
	return err
}

func (f *fakeSite) ChangePassword(_ context.Context, _ tenancy.Slug, _ tenancy.Credentials, hash string, session []byte) error {
	end, err := f.begin()
	defer end()
	f.hash, f.sessions = hash, map[string]bool{string(session): true}
	return err
}

func (f *fakeSite) BeginSignIn(_ context.Context, scope, account, _ string) (time.Duration, error) {
	end, err := f.begin()
	defer end()
	f.attempts[scope+" "+account]++
	if f.attempts[scope+" "+account] > 5 {
		return 90 * time.Second, err
	}
	return 0, err
}

func (f *fakeSite) SignInSucceeded(_ context.Context, scope, account, _ string) error {
	end, err := f.begin()
	defer end()
	delete(f.attempts, scope+" "+account)
	return err
}

func (f *fakeSite) RequestPasswordReset(_ context.Context, _ tenancy.Slug, email string) error {
	end, err := f.begin()
	defer end()
	f.resets = append(f.resets, email)
	return err
}

// site is the pages of a tenant on fakes, behind the same handler as the API.
type site struct {
	*api
	fake *fakeSite
	t    *testing.T
	// cookies are what the browser has.
	cookies map[string]string
}

var siteHash = sync.OnceValue(func() string {
	hash, err := auth.HashPassword(sitePassword)
	if err != nil {
		panic(err)
	}
	return hash
})

func setupSite(t *testing.T, adjust ...func(*fakeSite)) *site {
	t.Helper()
	f := &fakeSite{
		tenant:   tenancy.Tenant{ID: someTokenID, Slug: "acme", DisplayName: "Acme Health", Status: tenancy.TenantActive},
		user:     tenancy.TenantUser{ID: someUserID, Email: sitePerson, DisplayName: "Ada", Role: tenancy.TenantAdmin},
		hash:     siteHash(),
		links:    map[string]bool{string(auth.HashToken(siteTokens["first"])): false, string(auth.HashToken(siteTokens["reset"])): true},
		sessions: map[string]bool{}, attempts: map[string]int{},
	}
	for _, a := range adjust {
		a(f)
	}
	people := &auth.TenantPeople{Users: f, Registry: f, Passwords: auth.NewPasswords(2)}
	a := setup(t, func(c *Config) { c.TenantPeople, c.PublicURL = people, "https://console.example.com" })
	return &site{api: a, fake: f, t: t, cookies: map[string]string{}}
}

// send is a browser's request; a body is a form. Its cookies are kept.
func (s *site) send(method, target, body string, headers ...string) answer {
	s.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = siteHost
	r.Header.Set("Accept", "text/html")
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	for name, value := range s.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if s.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(s.cookies, c.Name)
		}
	}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") && w.Header().Get("Content-Security-Policy") != pagePolicy {
		s.t.Errorf("%s %s is a page without the policy", method, target)
	}
	if body := w.Body.String(); r.Host == siteHost && r.Header.Get("Accept") == "text/html" && (strings.Contains(body, "/docs/") || strings.Contains(body, "/platform")) {
		s.t.Errorf("%s %s leads to the platform:\n%s", method, target, body)
	}
	for name, value := range map[string]string{"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"} {
		if got := w.Header().Get(name); got != value {
			s.t.Errorf("%s %s: %s = %q", method, target, name, got)
		}
	}
	return answer{w, s.t}
}

func typed(pairs ...string) string {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return values.Encode()
}

func (s *site) signIn() answer {
	s.t.Helper()
	return s.send("POST", "/sign-in", typed("email", sitePerson, "password", sitePassword))
}

func (w answer) wantText(texts ...string) answer {
	w.t.Helper()
	for _, text := range texts {
		if !strings.Contains(html.UnescapeString(w.Body.String()), text) {
			w.t.Errorf("the answer has no %q:\n%s", text, w.Body)
		}
	}
	return w
}

// Nobody else's host reaches a tenant's pages, and a tenant's nothing else.
func TestTenantHostsAndOthersNeverMeet(t *testing.T) {
	t.Parallel()
	s := setupSite(t)
	for _, host := range []string{siteHost, "ACME.Example.com", "acme.example.com:443"} {
		s.send("GET", "/sign-in", "", "Host", host).wantStatus(200).wantText("Acme Health")
		for _, path := range []string{"/platform/tenants", "/platform/session", "/monitoring/", "/readyz", "/version", "/openapi.yaml", "/docs/errors/NOT_FOUND"} {
			s.send("GET", path, "", "Host", host, "Authorization", "Bearer admin").wantStatus(404)
			s.send("GET", path, "", "Host", host, "Authorization", "Bearer admin", "Accept", "*/*").wantProblem(404, tenancy.CodeNotFound)
		}
	}
	s.wantCalls(t)
	for _, host := range []string{
		"console.example.com", "console.example.com:8443", "acme.example.com:8443", "x.acme.example.com", "acme.example.com.evil.test",
		"acme.example.com.", "www.example.com", "ab.example.com", "evil.test", "127.0.0.1", "[::1]:8080", "",
	} {
		for _, path := range []string{"/sign-in", "/first-sign-in?token=" + siteTokens["first"], "/forgotten-password"} {
			if w := s.send("GET", path, "", "Host", host); w.Code != 404 || strings.Contains(w.Body.String(), "Acme") {
				t.Errorf("%s at %q gives %d", path, host, w.Code)
			}
		}
		s.send("GET", "/platform/tenants", "", "Host", host, "Authorization", "Bearer admin", "Accept", "*/*").wantStatus(200)
	}
}

func TestTenantThatIsNotThereOrNotYet(t *testing.T) {
	t.Parallel()
	s := setupSite(t)
	want := s.send("GET", "/", "", "Host", "nobody.example.com", "X-Request-Id", "r").wantStatus(404).wantText("Nothing here").Body.String()
	s.fake.tenant.Status = tenancy.TenantProvisioning
	got := s.send("GET", "/sign-in", "", "X-Request-Id", "r").wantStatus(404).Body.String()
	if got != want {
		t.Errorf("a tenant in the making gives\n%s\nand none\n%s", got, want)
	}
	if strings.Contains(want, "nobody") || strings.Contains(want, "Acme") {
		t.Errorf("the page tells names:\n%s", want)
	}
	s.send("POST", "/sign-in", "email=x", "Host", "nobody.example.com", "Accept", "*/*").wantProblem(404, tenancy.CodeNotFound)
}

// Nothing that a request says of hosts comes back.
func TestNothingIsMadeOfAHost(t *testing.T) {
	t.Parallel()
	s := setupSite(t)
	for _, request := range [][2]string{
		{"GET", "/"},
		{"GET", "/sign-in"},
		{"GET", "/first-sign-in?token=" + siteTokens["first"]},
		{"GET", "/reset-password?token=x"},
		{"POST", "/sign-out"},
		{"GET", "/nothing"},
		{"PUT", "/sign-in"},
		{"GET", "/?next=https://evil.test/"},
	} {
		for _, accept := range []string{"text/html", "*/*"} {
			w := s.send(request[0], request[1], "", "Accept", accept, "Host", "ACME.example.com:443",
				"X-Forwarded-Host", "evil.test", "Forwarded", "host=evil.test", "X-Original-Host", "evil.test", "Referer", "https://evil.test/")
			for where, text := range map[string]string{"body": w.Body.String(), "Location": w.Header().Get("Location")} {
				if strings.Contains(text, "evil.test") || strings.Contains(strings.ToLower(text), siteHost) {
					t.Errorf("%v: the %s is made of the host: %s", request, where, text)
				}
			}
			if l := w.Header().Get("Location"); strings.Contains(l, "//") || l != "" && l[0] != '/' {
				t.Errorf("%v leads to %q", request, l)
			}
		}
	}
	s.signIn().wantStatus(303).wantHeader("Location", "/")
	s.send("POST", "/sign-in?next=//evil.test", typed("email", sitePerson, "password", sitePassword, "next", "//evil.test")).wantHeader("Location", "/")
}

func TestInvitationToHome(t *testing.T) {
	t.Parallel()
	s := setupSite(t)
	s.fake.hash = ""
	token := siteTokens["first"]
	s.send("GET", "/", "").wantStatus(303).wantHeader("Location", "/sign-in")
	for range 3 { // a scanner of mails, and the person
		s.send("HEAD", "/first-sign-in?token="+token, "").wantStatus(200)
		w := s.send("GET", "/first-sign-in?token="+token, "").wantStatus(200).wantText("You are invited to Acme Health", sitePerson, `name="token" value="`+token+`"`)
		if strings.Contains(w.Body.String(), "?token=") {
			t.Error("the page has the token in an address")
		}
	}
	for password, text := range map[string]string{"short": "at least 12 characters", "acme healthacme": "too easy to guess", "": "at least 12"} {
		s.send("POST", "/first-sign-in", typed("token", token, "password", password, "passwordAgain", password)).
			wantStatus(422).wantText(text, `href="#password"`, `aria-invalid="true"`, "<title>Error:", token)
	}
	w := s.send("POST", "/first-sign-in", typed("token", token, "password", sitePassword, "passwordAgain", otherPassword)).
		wantStatus(422).wantText("not the password above", `href="#passwordAgain"`)
	if strings.Contains(w.Body.String(), sitePassword) || strings.Contains(w.Body.String(), otherPassword) {
		t.Error("a password comes back")
	}
	s.send("GET", "/", "").wantStatus(303)
	s.send("POST", "/first-sign-in", typed("token", token, "password", sitePassword, "passwordAgain", sitePassword)).
		wantStatus(303).wantHeader("Location", "/")
	s.send("GET", "/", "").wantStatus(200).wantText("Welcome, Ada", "Acme Health", "Your password is set")
	s.send("POST", "/sign-out", "").wantStatus(303).wantHeader("Location", "/sign-in")
	s.send("GET", "/sign-in", "").wantStatus(200).wantText("You are signed out.")
	s.send("GET", "/", "").wantStatus(303)
	s.signIn().wantStatus(303)
	s.send("GET", "/sign-in", "").wantStatus(303).wantHeader("Location", "/")
	if log := s.log.String(); strings.Contains(log, token) || strings.Contains(log, "horse") || strings.Contains(log, "ada@") {
		t.Errorf("the log tells too much:\n%s", log)
	}
}

func TestEveryDeadLinkLooksTheSame(t *testing.T) {
	t.Parallel()
	for path, text := range map[string]string{"/first-sign-in": "ask your administrator", "/reset-password": "Ask for a fresh link"} {
		s := setupSite(t)
		s.send("POST", path, typed("token", siteTokens["first"], "password", sitePassword)).wantStatus(303)
		s.send("POST", "/sign-out", "")
		s.send("GET", "/sign-in", "") // takes the notice
		var bodies []string
		for _, token := range []string{siteTokens["first"], siteTokens["unknown"], "", "x", "' OR 1=1", strings.Repeat("A", 5000)} {
			for _, w := range []answer{
				s.send("GET", path+"?token="+url.QueryEscape(token), ""),
				s.send("POST", path, typed("token", token, "password", otherPassword, "passwordAgain", otherPassword)),
				s.send("POST", path, typed("token", token, "password", "short", "passwordAgain", "other")),
			} {
				bodies = append(bodies, w.wantStatus(404).wantText(text).Body.String())
			}
			s.send("GET", path+"?token="+url.QueryEscape(token), "", "Accept", "*/*").wantProblem(404, tenancy.CodeNotFound)
		}
		for _, b := range bodies {
			if b != bodies[0] {
				t.Errorf("dead links differ:\n%s\n%s", b, bodies[0])
			}
		}
	}
}

func TestDeadLinksAreLimited(t *testing.T) {
	t.Parallel()
	s := setupSite(t)
	for range failureBurst {
		s.send("GET", "/first-sign-in?token=x", "", "Accept", "*/*").wantStatus(404)
	}
	s.send("GET", "/first-sign-in?token=x", "").wantStatus(429).wantHeader("Retry-After", "1").wantText("Too many")
	s.send("GET", "/first-sign-in?token="+siteTokens["first"], "").wantStatus(200)
}

func TestSessionCookieOfATenant(t *testing.T) {
	t.Parallel()
	s := setupSite(t)
	planted := strings.Repeat("A", 43)
	s.fake.sessions[string(auth.HashToken(planted))] = true
	s.cookies[siteCookie] = planted
	w := s.signIn().wantStatus(303)
	cookie := w.Header().Get("Set-Cookie")
	if s.cookies[siteCookie] == planted || len(s.cookies[siteCookie]) != 43 {
		t.Errorf("the session is %q after signing in with one planted", s.cookies[siteCookie])
	}
	if s.fake.sessions[string(auth.HashToken(planted))] {
		t.Error("the planted session goes on")
	}
	for _, attribute := range []string{siteCookie + "=", "; Path=/", "; HttpOnly", "; Secure", "; SameSite=Lax"} {
		if !strings.Contains(cookie, attribute) {
			t.Errorf("the cookie %s has no %s", cookie, attribute)
		}
	}
	if strings.Contains(cookie, "Domain") {
		t.Errorf("the cookie is for other hosts too: %s", cookie)
	}
	first := s.cookies[siteCookie]
	if s.signIn(); s.cookies[siteCookie] == first {
		t.Error("signing in again gives the same token")
	}
	s.cookies[siteCookie] = siteTokens["unknown"]
	s.send("GET", "/", "").wantStatus(303)
	if s.cookies[siteCookie] != "" {
		t.Error("a dead session's cookie is left")
	}
	// A link's redemption replaces it too.
	s.fake.sessions[string(auth.HashToken(planted))] = true
	s.cookies[siteCookie] = planted
	s.send("POST", "/first-sign-in", typed("token", siteTokens["first"], "password", otherPassword)).wantStatus(303)
	if s.cookies[siteCookie] == planted {
		t.Error("a planted session outlives a redemption")
	}

	plain := setupSite(t)
	var err error
	people := &auth.TenantPeople{Users: plain.fake, Registry: plain.fake, Passwords: auth.NewPasswords(1)}
	plain.handler, err = New(Config{TenantPeople: people, Audit: plain, TenantURL: "http://{slug}.localhost:8080"})
	if err != nil {
		t.Fatal(err)
	}
	got := plain.send("POST", "/sign-in", typed("email", sitePerson, "password", sitePassword), "Host", "acme.localhost:8080").Header().Get("Set-Cookie")
	if !strings.HasPrefix(got, "tenantry_tenant=") || strings.Contains(got, "Secure") {
		t.Errorf("over plain http the cookie is %s", got)
	}
}

// A sibling tenant is another site's origin.
func TestRequestsFromOtherTenantsAreRefused(t *testing.T) {
	t.Parallel()
	s := setupSite(t)
	s.signIn()
	for _, path := range []string{"/sign-in", "/sign-out", "/password", "/first-sign-in", "/forgotten-password"} {
		for _, h := range [][]string{
			{"Sec-Fetch-Site", "same-site"},
			{"Sec-Fetch-Site", "cross-site"},
			{"Origin", "https://bolt.example.com"},
			{"Origin", "https://console.example.com"},
			{"Origin", "null"},
		} {
			s.send("POST", path, typed("token", siteTokens["first"], "password", otherPassword), h...).wantStatus(403).wantText("another site")
		}
	}
	s.send("GET", "/", "", "Sec-Fetch-Site", "cross-site").wantStatus(200).wantText("Welcome, Ada")
	if len(s.events) > 0 {
		t.Errorf("the platform's trail has %+v", s.events)
	}
	s.send("POST", "/sign-out", "", "Sec-Fetch-Site", "same-origin", "Origin", "https://"+siteHost).wantStatus(303)
}

func TestNobodyIsToldWhoHasAnAccount(t *testing.T) {
	t.Parallel()
	s := setupSite(t)
	const nobody = "eve@acme.example"
	same := func(what string, a, b answer) {
		t.Helper()
		if a.Code != b.Code || strings.ReplaceAll(a.Body.String(), sitePerson, nobody) != b.Body.String() {
			t.Errorf("%s differs: %d and %d\n%s\n%s", what, a.Code, b.Code, a.Body, b.Body)
		}
	}
	for _, accept := range []string{"text/html", "*/*"} {
		for n := range 8 {
			headers := []string{"Accept", accept, "X-Request-Id", "r"}
			before := s.fake.looks
			known := s.send("POST", "/sign-in", typed("email", sitePerson, "password", "wrong "+sitePassword), headers...)
			looked := s.fake.looks - before
			unknown := s.send("POST", "/sign-in", typed("email", nobody, "password", "wrong "+sitePassword), headers...)
			same(fmt.Sprintf("attempt %d to sign in (%s)", n, accept), known, unknown)
			if s.fake.looks-before != 2*looked {
				t.Error("an unknown account is looked for more or less often")
			}
			same("a forgotten password", s.send("POST", "/forgotten-password", typed("email", sitePerson), headers...),
				s.send("POST", "/forgotten-password", typed("email", nobody), headers...))
		}
	}
	if len(s.fake.resets) != 10 {
		t.Errorf("%d requests for a reset, want 5 for each address", len(s.fake.resets))
	}
}

func TestTenantLockout(t *testing.T) {
	t.Parallel()
	s := setupSite(t)
	wrong := typed("email", sitePerson, "password", "wrong "+sitePassword)
	for range 5 {
		s.send("POST", "/sign-in", wrong).wantStatus(401).wantText("e-mail address or the password is wrong", `value="`+sitePerson+`"`)
	}
	s.signIn().wantStatus(429).wantHeader("Retry-After", "90").wantText("Try again in 2 minutes")
	s.send("POST", "/sign-in", `{"email":"`+sitePerson+`","password":"x"}`, "Accept", "*/*", "Content-Type", "application/json").
		wantHeader("Retry-After", "90").wantProblem(429, tenancy.CodeRateLimited)
	s.fake.attempts = map[string]int{}
	s.signIn().wantStatus(303)
	if len(s.fake.attempts) != 0 {
		t.Errorf("a success leaves %v", s.fake.attempts)
	}
	s.send("POST", "/forgotten-password", typed("email", sitePerson)).wantStatus(202).wantText("a mail with a link is on its way")
	if s.fake.attempts["reset:"+someTokenID+" "+sitePerson] != 1 || s.fake.attempts[someTokenID+" "+sitePerson] != 0 {
		t.Errorf("attempts are counted as %v", s.fake.attempts)
	}
}

func TestWhatATenantsStatusAllowsItsPeople(t *testing.T) {
	t.Parallel()
	changes := [][2]string{
		{"GET", "/first-sign-in?token=" + siteTokens["first"]},
		{"POST", "/first-sign-in"},
		{"GET", "/reset-password?token=x"},
		{"POST", "/reset-password"},
		{"GET", "/forgotten-password"},
		{"POST", "/forgotten-password"},
		{"GET", "/password"},
		{"POST", "/password"},
	}
	for status, c := range map[tenancy.TenantStatus]struct {
		code         tenancy.Code
		text, banner string
	}{
		tenancy.TenantReadOnly:    {tenancy.CodeTenantReadOnly, "Read-only for now", "Acme Health is read-only for now"},
		tenancy.TenantOffboarding: {tenancy.CodeTenantOffboarding, "Being closed", "Acme Health is being closed"},
	} {
		s := setupSite(t, func(f *fakeSite) { f.tenant.Status = status })
		s.send("GET", "/sign-in", "").wantStatus(200).wantText(c.banner)
		s.signIn().wantStatus(303)
		w := s.send("GET", "/", "").wantStatus(200).wantText(c.banner, "Welcome, Ada")
		if strings.Contains(w.Body.String(), "/password") {
			t.Errorf("%s: a change is offered", status)
		}
		for _, r := range changes {
			s.send(r[0], r[1], "a=b").wantStatus(403).wantText(c.text)
			s.send(r[0], r[1], "a=b", "Accept", "*/*").wantProblem(403, c.code)
		}
		s.send("POST", "/sign-out", "").wantStatus(303)
		if len(s.fake.links) != 2 || len(s.fake.resets) != 0 {
			t.Errorf("%s: something was changed", status)
		}
	}
	s := setupSite(t)
	s.signIn()
	s.fake.tenant.Status = tenancy.TenantSuspended
	for _, r := range append(changes, [2]string{"GET", "/"}, [2]string{"GET", "/sign-in"}, [2]string{"POST", "/sign-in"}, [2]string{"POST", "/sign-out"}, [2]string{"GET", "/nothing"}, [2]string{"PUT", "/"}) {
		s.send(r[0], r[1], "").wantStatus(503).wantText("Closed for now", "Acme Health")
		s.send(r[0], r[1], "", "Accept", "*/*").wantProblem(503, tenancy.CodeTenantSuspended)
	}
	for _, path := range []string{"/assets/x/console.css", "/healthz"} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Host = siteHost
		w := httptest.NewRecorder()
		if s.handler.ServeHTTP(w, r); w.Code != 200 {
			t.Errorf("%s of a suspended tenant gives %d", path, w.Code)
		}
	}
}

func TestTenantWhoseDatabaseIsAway(t *testing.T) {
	t.Parallel()
	s := setupSite(t)
	s.signIn()
	s.fake.fail = tenancy.Unavailable(nil, "cannot connect to pg-a.internal")
	for _, r := range [][3]string{{"GET", "/"}, {"POST", "/sign-in", typed("email", sitePerson, "password", "x")}, {"GET", "/password"}, {"GET", "/first-sign-in?token=" + siteTokens["first"]}, {"GET", "/sign-in"}, {"POST", "/forgotten-password", typed("email", sitePerson)}} {
		w := s.send(r[0], r[1], r[2]).wantStatus(503).wantHeader("Retry-After", "5").wantText("Not available now")
		if strings.Contains(w.Body.String(), "pg-a") {
			t.Errorf("the page tells of servers: %s", w.Body)
		}
	}
}

func TestTenantPasswordChange(t *testing.T) {
	t.Parallel()
	s := setupSite(t)
	s.send("GET", "/password", "").wantStatus(303).wantHeader("Location", "/sign-in")
	s.send("POST", "/password", typed("currentPassword", sitePassword, "newPassword", otherPassword)).wantStatus(303).wantHeader("Location", "/sign-in")
	s.signIn()
	s.send("GET", "/password", "").wantStatus(200).wantText("Current password")
	change := func(current, chosen, again string) answer {
		return s.send("POST", "/password", typed("currentPassword", current, "newPassword", chosen, "passwordAgain", again))
	}
	change("wrong", otherPassword, otherPassword).wantStatus(422).wantText("This is not your password.", `href="#currentPassword"`)
	change(sitePassword, "short", "short").wantStatus(422).wantText("at least 12", `href="#newPassword"`)
	change(sitePassword, otherPassword, "x").wantStatus(422).wantText("not the password above")
	change(sitePassword, otherPassword, otherPassword).wantStatus(303).wantHeader("Location", "/")
	s.send("GET", "/", "").wantStatus(200).wantText("The password is changed")
	s.signIn().wantStatus(401)
	for range 4 {
		change("wrong", sitePassword, sitePassword)
	}
	change("wrong", sitePassword, sitePassword).wantStatus(429)
}

// What people call themselves is text wherever it stands.
func TestHostileNamesAreEscaped(t *testing.T) {
	t.Parallel()
	s := setupSite(t, func(f *fakeSite) {
		f.tenant.DisplayName, f.user.DisplayName, f.tenant.Status = hostileName, hostileName, tenancy.TenantActive
	})
	pages := []answer{
		s.send("GET", "/sign-in", ""), s.send("GET", "/first-sign-in?token="+siteTokens["first"], ""), s.send("GET", "/forgotten-password", ""),
		s.send("GET", "/reset-password?token=x", ""), s.send("GET", "/nothing", ""),
		s.send("POST", "/sign-in", typed("email", hostileName, "password", "x")),
		s.send("POST", "/forgotten-password", typed("email", hostileName)),
		s.signIn(), s.send("GET", "/", ""), s.send("GET", "/password", ""),
	}
	s.fake.tenant.Status = tenancy.TenantReadOnly
	pages = append(pages, s.send("GET", "/", ""), s.send("GET", "/password", ""))
	for i, w := range pages {
		if body := w.Body.String(); strings.Contains(body, "<script>") || strings.Contains(body, "<img") {
			t.Errorf("page %d is not escaped:\n%s", i, body)
		}
	}
}

func TestTenantSiteForPrograms(t *testing.T) {
	t.Parallel()
	s := setupSite(t)
	send := func(method, target, body string) answer {
		return s.send(method, target, body, "Accept", "*/*", "Content-Type", "application/json")
	}
	const tenant = `"tenant":{"slug":"acme","displayName":"Acme Health","status":"active"}`
	const user = `"user":{"userId":"` + someUserID + `","email":"` + sitePerson + `","displayName":"Ada","role":"admin"}`
	send("GET", "/", "").wantHeader("WWW-Authenticate", visitorChallenge).wantProblem(401, tenancy.CodeUnauthenticated)
	send("GET", "/sign-in", "").wantStatus(200).wantBody(`{` + tenant + `}`)
	send("POST", "/sign-in", `{"email":"`+sitePerson+`","password":"wrong"}`).wantProblem(401, tenancy.CodeUnauthenticated)
	send("POST", "/sign-in", `{"email":""}`).wantProblem(422, tenancy.CodeInvalidRequest, "/email", "/password")
	send("POST", "/sign-in", `{"email":1}`).wantStatus(422)
	send("POST", "/sign-in", `{"user":"x"}`).wantProblem(422, tenancy.CodeInvalidRequest, "/user")
	send("POST", "/sign-in", `null`).wantProblem(422, tenancy.CodeInvalidRequest, "/email", "/password")
	send("POST", "/sign-in", `{"email":"`+sitePerson+`","password":"`+sitePassword+`"}`).wantStatus(200).wantBody(`{` + tenant + `,` + user + `}`)
	send("GET", "/", "").wantStatus(200).wantBody(`{` + tenant + `,` + user + `}`)
	send("POST", "/password", `{"currentPassword":"x","newPassword":"short"}`).wantProblem(422, tenancy.CodeInvalidRequest, "/newPassword")
	send("POST", "/password", `{"currentPassword":"`+sitePassword+`","newPassword":"`+otherPassword+`"}`).wantStatus(204)
	send("POST", "/sign-out", "").wantStatus(204)
	send("POST", "/forgotten-password", `{"email":"x"}`).wantProblem(422, tenancy.CodeInvalidRequest, "/email")
	send("POST", "/forgotten-password", `{"email":"`+sitePerson+`"}`).wantStatus(202)
	send("GET", "/first-sign-in?token="+siteTokens["first"], "").wantStatus(200).
		wantBody(`{` + tenant + `,"invitation":{"email":"` + sitePerson + `","displayName":"Ada","reset":false,"expiresAt":"2026-01-31T12:00:00Z"}}`)
	send("POST", "/first-sign-in", `{"token":"`+siteTokens["first"]+`","password":"short"}`).wantProblem(422, tenancy.CodeInvalidRequest, "/password")
	send("POST", "/first-sign-in", `{"token":"`+siteTokens["first"]+`","password":"`+sitePassword+`"}`).wantStatus(200).wantBody(`{` + tenant + `,` + user + `}`)
	send("POST", "/first-sign-in", `{"token":"`+siteTokens["first"]+`","password":"`+sitePassword+`"}`).wantProblem(404, tenancy.CodeNotFound)
	s.send("PUT", "/sign-in", "").wantStatus(405).wantText("not allowed here")
	s.send("POST", "/sign-in", "<x/>", "Content-Type", "text/xml").wantStatus(415)
	s.send("POST", "/sign-in", "email="+strings.Repeat("x", maxForm)).wantStatus(413)
}
