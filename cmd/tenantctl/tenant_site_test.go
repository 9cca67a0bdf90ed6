package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// guest is a browser at tenants' own pages: it keeps cookies and shows where it
// is led without going there.
type guest struct {
	p      *plane
	client *http.Client
}

func (p *plane) guest(t *testing.T) *guest {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	console := strings.TrimPrefix(p.Console, "http://")
	transport := &http.Transport{
		// Names below localhost are this machine's, whatever the resolver says.
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, console)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &guest{p, &http.Client{Jar: jar, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// tenantURL is the address of a tenant's own page.
func (p *plane) tenantURL(slug, path string) string {
	return strings.Replace(p.TenantURL, "{slug}", slug, 1) + path
}

type seen struct {
	status         int
	location, body string
}

// send asks for a page of a tenant's; fields are a form's.
func (v *guest) send(t *testing.T, method, slug, path string, fields ...string) seen {
	t.Helper()
	values := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		values.Set(fields[i], fields[i+1])
	}
	req, err := http.NewRequestWithContext(t.Context(), method, v.p.tenantURL(slug, path), strings.NewReader(values.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := v.client.Do(req)
	if err != nil {
		t.Error(err)
		return seen{}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return seen{resp.StatusCode, resp.Header.Get("Location"), string(body)}
}

func (s seen) want(t *testing.T, status int, text string) {
	t.Helper()
	if s.status != status || !strings.Contains(s.body, text) && s.location != text {
		t.Fatalf("got %d to %q, want %d with %q:\n%s", s.status, s.location, status, text, s.body)
	}
}

// mailed waits for the n-th mail to an address, which must lead to a page of the
// tenant's, and returns the path with the token, and the token.
func (p *plane) mailed(t *testing.T, to string, n int, slug, page string) (path, token string) {
	t.Helper()
	token = p.token(t, to, n, p.tenantURL(slug, page))
	return page + "?token=" + token, token
}

const (
	somebody  = "a@x.example" // whom provision invites
	password1 = "correct horse battery"
	password2 = "another quite long one"
)

func TestTenantSite(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, nil)
	v := p.guest(t)
	p.provision(t, "acme")
	first, oldToken := p.mailed(t, somebody, 1, "acme", "/first-sign-in")

	// A later invitation kills the first link, which nobody used by looking.
	v.send(t, "GET", "acme", "/").want(t, 303, "/sign-in")
	v.send(t, "HEAD", "acme", first).want(t, 200, "")
	v.send(t, "GET", "acme", first).want(t, 200, "You are invited to acme")
	if a := p.call(t, http.MethodPost, "/platform/tenants/acme/invitation", nil); a.status != http.StatusAccepted {
		t.Fatalf("a fresh invitation gives %d %v", a.status, a.body)
	}
	second, token := p.mailed(t, somebody, 2, "acme", "/first-sign-in")
	v.send(t, "GET", "acme", first).want(t, 404, "This link does not work")
	v.send(t, "POST", "acme", "/first-sign-in", "token", oldToken, "password", password1).want(t, 404, "This link does not work")
	v.send(t, "POST", "acme", "/first-sign-in", "token", token, "password", "short").want(t, 422, "at least 12 characters")
	v.send(t, "GET", "acme", "/").want(t, 303, "/sign-in")

	// Of many who use it at once one gets in.
	var wg sync.WaitGroup
	answers := make([]seen, 50)
	visitors := make([]*guest, len(answers))
	for i := range answers {
		visitors[i] = p.guest(t)
		wg.Go(func() {
			answers[i] = visitors[i].send(t, "POST", "acme", "/first-sign-in", "token", token, "password", password1, "passwordAgain", password1)
		})
	}
	wg.Wait()
	var in *guest
	for i, a := range answers {
		switch {
		case a.status == http.StatusSeeOther && a.location == "/" && in == nil:
			in = visitors[i]
		case a.status != http.StatusNotFound || !strings.Contains(a.body, "This link does not work"):
			t.Errorf("a redemption gives %d to %q:\n%s", a.status, a.location, a.body)
		}
	}
	if in == nil {
		t.Fatal("nobody gets in")
	}
	in.send(t, "GET", "acme", "/").want(t, 200, "You are signed in to acme")
	v.send(t, "GET", "acme", second).want(t, 404, "This link does not work")
	v.send(t, "GET", "acme", "/").want(t, 303, "/sign-in")

	// Whoever forgot the password chooses another; the old session ends.
	v.send(t, "POST", "acme", "/sign-in", "email", somebody, "password", password2).want(t, 401, "is wrong")
	known := v.send(t, "POST", "acme", "/forgotten-password", "email", strings.ToUpper(somebody))
	unknown := v.send(t, "POST", "acme", "/forgotten-password", "email", "canary-nobody@x.example")
	known.want(t, 202, "a mail with a link is on its way")
	if known != unknown {
		t.Errorf("it is told who has an account:\n%+v\n%+v", known, unknown)
	}
	reset, resetToken := p.mailed(t, somebody, 3, "acme", "/reset-password")
	v.send(t, "GET", "acme", reset).want(t, 200, "Choose a new password")
	v.send(t, "POST", "acme", "/reset-password", "token", resetToken, "password", password2, "passwordAgain", password2).want(t, 303, "/")
	v.send(t, "GET", "acme", "/").want(t, 200, "You are signed in to acme")
	v.send(t, "GET", "acme", reset).want(t, 404, "Ask for a fresh link")
	in.send(t, "GET", "acme", "/").want(t, 303, "/sign-in")
	in.send(t, "POST", "acme", "/sign-in", "email", somebody, "password", password1).want(t, 401, "is wrong")
	in.send(t, "POST", "acme", "/sign-in", "email", somebody, "password", password2).want(t, 303, "/")
	v.send(t, "POST", "acme", "/password", "currentPassword", password2, "newPassword", password1, "passwordAgain", password1).want(t, 303, "/")
	v.send(t, "GET", "acme", "/").want(t, 200, "The password is changed")
	in.send(t, "GET", "acme", "/").want(t, 303, "/sign-in")

	// Another tenant takes neither session, token nor password.
	p.provision(t, "bolt")
	_, boltToken := p.mailed(t, somebody, 4, "bolt", "/first-sign-in")
	v.send(t, "POST", "acme", "/first-sign-in", "token", boltToken, "password", password2).want(t, 404, "This link does not work")
	acme, _ := url.Parse(p.tenantURL("acme", "/"))
	bolt, _ := url.Parse(p.tenantURL("bolt", "/"))
	thief := p.guest(t)
	thief.client.Jar.SetCookies(bolt, v.client.Jar.Cookies(acme))
	if len(thief.client.Jar.Cookies(bolt)) == 0 || len(v.client.Jar.Cookies(bolt)) != 0 {
		t.Error("the session's cookie is not the tenant's alone")
	}
	thief.send(t, "GET", "bolt", "/").want(t, 303, "/sign-in")
	thief.send(t, "POST", "bolt", "/sign-in", "email", somebody, "password", password1).want(t, 401, "is wrong")
	thief.send(t, "POST", "bolt", "/first-sign-in", "token", boltToken, "password", password2).want(t, 303, "/")
	thief.send(t, "GET", "bolt", "/").want(t, 200, "You are signed in to bolt")
	thief.send(t, "GET", "acme", "/").want(t, 303, "/sign-in")
	v.send(t, "GET", "nobody", "/").want(t, 404, "Nothing here")
	v.send(t, "GET", "acme", "/platform/tenants").want(t, 404, "Nothing here")

	for _, secret := range []string{oldToken, token, resetToken, boltToken, password1, password2, "x.example", "X.EXAMPLE"} {
		if strings.Contains(p.log.String(), secret) {
			t.Errorf("the log shows %q", secret)
		}
	}
}

func TestTenantSiteFollowsTheStatus(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, nil)
	v := p.guest(t)
	p.provision(t, "acme")
	_, token := p.mailed(t, somebody, 1, "acme", "/first-sign-in")
	status := func(to string) {
		t.Helper()
		if code, _, stderr := p.ctl(t, "tenant-status", "--slug", "acme", "--set", to, "--reason", "test"); code != exitOK {
			t.Fatalf("tenant-status --set %s: exit %d\n%s", to, code, stderr)
		}
	}
	becomes := func(want int, path, text string) {
		t.Helper()
		eventually(t, 15*time.Second, path+" says "+text, func() bool {
			s := v.send(t, "GET", "acme", path)
			return s.status == want && strings.Contains(s.body, text)
		})
	}
	signIn := func() seen { return v.send(t, "POST", "acme", "/sign-in", "email", somebody, "password", password1) }

	status("read_only")
	becomes(200, "/sign-in", "is read-only for now")
	v.send(t, "POST", "acme", "/first-sign-in", "token", token, "password", password1).want(t, 403, "Read-only for now")
	status("active")
	becomes(200, "/forgotten-password", "Mail me a link")
	v.send(t, "POST", "acme", "/first-sign-in", "token", token, "password", password1).want(t, 303, "/")
	status("suspended")
	becomes(503, "/", "Closed for now")
	signIn().want(t, 503, "Closed for now")
	status("active")
	becomes(200, "/", "You are signed in to acme")

	p.offboard(t, exitOK, "--slug", "acme")
	becomes(200, "/", "is being closed")
	v.send(t, "POST", "acme", "/password", "currentPassword", password1, "newPassword", password2).want(t, 403, "Being closed")
	v.send(t, "POST", "acme", "/forgotten-password", "email", somebody).want(t, 403, "Being closed")
	v.send(t, "POST", "acme", "/sign-out").want(t, 303, "/sign-in")
	signIn().want(t, 303, "/")
	v.send(t, "GET", "acme", "/").want(t, 200, "You are signed in to acme")

	// With its access taken nothing answers that needs its database.
	p.offboard(t, exitOK, "--slug", "acme", "--cancel")
	p.offboard(t, exitOK, "--slug", "acme", "--now")
	becomes(503, "/", "Not available now")
	signIn().want(t, 503, "Not available now")

	p.offboard(t, exitOK, "--slug", "acme", "--purge", "--confirm", "acme", "--no-backup")
	becomes(404, "/sign-in", "Nothing here")
}
