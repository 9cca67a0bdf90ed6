package http

import (
	"fmt"
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
