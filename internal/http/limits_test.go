package http

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// behindProxy has X-Forwarded-For believed, so that a test has many addresses.
func behindProxy(now *time.Time) func(*Config) {
	return func(c *Config) {
		c.TrustedProxies, c.Now = []string{"192.0.2.0/24"}, func() time.Time { return *now }
	}
}

// from sends a request from an address, without a look at the answer but its status.
func (a *api) from(address, token, method, target, body string) int {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("X-Forwarded-For", address)
	r.Header.Set("Content-Type", "application/json")
	authenticate(r, token)
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	return w.Code
}

// repeats are what the audit rows since the last look say of refusals without one.
func (a *api) repeats() (got []any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.events {
		got = append(got, e.Details["repeats"])
	}
	a.events = nil
	return got
}

// An audit row is for good: who is refused on and on gets one a minute, with a count.
func TestAuditOfRefusalsIsBounded(t *testing.T) {
	t.Parallel()
	const guess = `{"email":"admin@platform.example","password":"wrong"}`
	for name, test := range map[string]struct {
		token, method, target string
		status                int
	}{
		"a stranger":     {"", "GET", jobPath, 401},
		"a known caller": {"readonly", "POST", jobPath + "/retry", 403},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := epoch
			a := setup(t, behindProxy(&now))
			refused := func(address string) {
				t.Helper()
				if status := a.from(address, test.token, test.method, test.target, ""); status != test.status {
					t.Fatalf("status = %d, want %d", status, test.status)
				}
			}
			for i := range refusalBurst {
				refused(fmt.Sprintf("2001:db8::%x", i))
			}
			if got := a.repeats(); len(got) != refusalBurst || got[refusalBurst-1] != nil {
				t.Errorf("%d of the first %d are audited", len(got), refusalBurst)
			}
			for i := range 600 { // a minute
				now = now.Add(time.Second / 10)
				refused(fmt.Sprintf("2001:db8::1:%x", i))
			}
			if got := a.repeats(); len(got) != 1 || got[0] != 599 {
				t.Errorf("a minute more is audited with %v, want one row and 599 repeats", got)
			}
			// Noise covers neither a guess nor somebody else.
			a.from("2001:db8::1", "", "POST", "/platform/session", guess)
			a.from("2001:db8:0:1::1", "", "GET", jobPath, "")
			a.from("2001:db8::1", "support", "POST", jobPath+"/retry", "")
			if got := a.repeats(); len(got) != 3 || got[0] != nil || got[1] != nil || got[2] != nil {
				t.Errorf("others are audited with %v", got)
			}
		})
	}
}

func TestAuditOfManyStrangersIsBounded(t *testing.T) {
	t.Parallel()
	now := epoch
	a := setup(t, behindProxy(&now))
	for i := range strangersBurst + 10 {
		a.from(fmt.Sprintf("2001:db8:0:%x::1", i), "", "GET", jobPath, "")
	}
	if got := a.repeats(); len(got) != strangersBurst {
		t.Errorf("%d rows for strangers from everywhere, want %d", len(got), strangersBurst)
	}
	a.from("2001:db8::1", "readonly", "POST", jobPath+"/retry", "")
	now = now.Add(strangersEvery)
	a.from(fmt.Sprintf("2001:db8:0:%x::1", strangersBurst), "", "GET", jobPath, "")
	if got := a.repeats(); len(got) != 2 || got[0] != nil || got[1] != 1 {
		t.Errorf("a known caller and a stranger seen before are audited with %v", got)
	}
}

// One network has so many attempts at all tenants' pages together, and another
// address for each gains it nothing.
func TestAttemptsOfANetworkAreLimited(t *testing.T) {
	t.Parallel()
	s := setupSite(t)
	now := epoch
	cfg := Config{
		TenantPeople: &auth.TenantPeople{Users: s.fake, Registry: s.fake, Passwords: auth.NewPasswords(2)},
		Audit:        s, TenantURL: "https://{slug}.example.com",
	}
	behindProxy(&now)(&cfg)
	var err error
	if s.handler, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	post := func(address, path string, pairs ...string) answer {
		t.Helper()
		return s.send("POST", path, typed(pairs...), "X-Forwarded-For", address)
	}
	signIn := func(address string) answer {
		t.Helper()
		s.fake.attempts = map[string]int{}
		return post(address, "/sign-in", "email", sitePerson, "password", sitePassword)
	}
	for i := range signInBurst + 10 { // those that were right do not count
		if i < 10 {
			signIn("2001:db8::1").wantStatus(303)
			continue
		}
		s.fake.attempts = map[string]int{someTokenID + " " + sitePerson: 5} // no password is looked at
		post(fmt.Sprintf("2001:db8::%x", i), "/sign-in", "email", sitePerson, "password", "wrong "+sitePassword).wantStatus(429).wantHeader("Retry-After", "90")
	}
	looks := s.fake.looks
	signIn("2001:db8::f:f").wantStatus(429).wantHeader("Retry-After", "1").wantText("too many attempts from this address")
	if s.fake.looks != looks {
		t.Error("a password is looked at beyond the limit")
	}
	signIn("2001:db8:0:1::1").wantStatus(303)
	now = now.Add(signInEvery)
	signIn("2001:db8::1").wantStatus(303)
	signIn("2001:db8::1").wantStatus(303)

	for i := range resetBurst {
		s.fake.attempts = map[string]int{}
		post(fmt.Sprintf("2001:db8::%x", i), "/forgotten-password", "email", fmt.Sprintf("%d@acme.example", i)).wantStatus(202)
	}
	post("2001:db8::f:f", "/forgotten-password", "email", sitePerson).wantStatus(429).wantHeader("Retry-After", "10")
	if len(s.fake.resets) != resetBurst {
		t.Errorf("%d requests for a link, want %d", len(s.fake.resets), resetBurst)
	}
	post("2001:db8:0:1::1", "/forgotten-password", "email", sitePerson).wantStatus(202)
	s.fake.tenant.Slug = "bolt" // another tenant's page, for programs
	s.send("POST", "/forgotten-password", typed("email", sitePerson), "X-Forwarded-For", "2001:db8::1", "Host", "bolt.example.com", "Accept", "*/*").
		wantProblem(429, tenancy.CodeRateLimited)
}
