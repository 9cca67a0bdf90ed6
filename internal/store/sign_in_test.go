package store_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Of many attempts at once only so many are tried, and a stranger elsewhere does
// not keep the owner of an account out.
func TestBeginSignIn(t *testing.T) {
	t.Parallel()
	s := setup(t)
	ctx := t.Context()
	var tried atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			wait, err := s.BeginSignIn(ctx, "", "ada@example.com", "192.0.2.1")
			if err != nil {
				t.Error(err)
			} else if wait == 0 {
				tried.Add(1)
			}
		})
	}
	wg.Wait()
	if tried.Load() != 5 {
		t.Errorf("%d of 20 attempts at once were tried, want 5", tried.Load())
	}
	for _, c := range []struct {
		scope, account, address string
		blocked                 bool
	}{
		{"", "ADA@example.com ", "192.0.2.1", true},
		{"", "ada@example.com", "192.0.2.2", false},
		{"", "bob@example.com", "192.0.2.1", false},
		{"a-tenant", "ada@example.com", "192.0.2.1", false},
	} {
		if wait, err := s.BeginSignIn(ctx, c.scope, c.account, c.address); err != nil || (wait > 0) != c.blocked {
			t.Errorf("%+v: wait %s, %v", c, wait, err)
		}
	}
	if err := s.SignInSucceeded(ctx, "", "ada@example.com", "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	if wait, err := s.BeginSignIn(ctx, "", "ada@example.com", "192.0.2.1"); wait > 0 || err != nil {
		t.Errorf("after a success: wait %s, %v", wait, err)
	}
}

// A host has a new IPv6 address for every attempt, and one network.
func TestBeginSignInCountsNetworks(t *testing.T) {
	t.Parallel()
	s := setup(t)
	ctx := t.Context()
	try := func(scope, account, address string, blocked bool) {
		t.Helper()
		if wait, err := s.BeginSignIn(ctx, scope, account, address); err != nil || (wait > 0) != blocked {
			t.Errorf("%q from %s in %q: wait %s, %v", account, address, scope, wait, err)
		}
	}
	for i := range 5 {
		try("", "ada@example.com", fmt.Sprintf("2001:db8::%x", i), false)
	}
	try("", "ada@example.com", "2001:db8::9:9", true)
	try("", "ada@example.com", "2001:db8:0:1::1", false)
	if err := s.SignInSucceeded(ctx, "", "ada@example.com", "2001:db8::aa"); err != nil {
		t.Fatal(err)
	}
	try("", "ada@example.com", "2001:db8::bb", false)
	for i := range 50 {
		try("reset:a-tenant", fmt.Sprintf("%d@example.com", i), fmt.Sprintf("2001:db8::%x", i), false)
	}
	try("reset:a-tenant", "ada@example.com", "2001:db8::9:9", true)
	try("reset:a-tenant", "ada@example.com", "2001:db8:0:1::1", false)
}

// A sign-in that was checked against a password, a role or a state that is no
// more opens nothing.
func TestOpenSessionOfAChangedUser(t *testing.T) {
	t.Parallel()
	s := setup(t)
	ctx := t.Context()
	u, err := s.CreateUser(ctx, tenancy.User{Email: "ada@example.com", DisplayName: "Ada", Role: tenancy.RoleSupport}, "old hash", "", tenancy.SystemActor)
	if err != nil {
		t.Fatal(err)
	}
	checked, err := s.Account(ctx, u.ID)
	if err != nil {
		t.Fatal(err)
	}
	open := func() error {
		_, err := s.OpenSession(ctx, checked, make([]byte, 32), tenancy.Session{}, "")
		return err
	}
	if err := s.SetPassword(ctx, u.ID, "new hash", "", tenancy.SystemActor); err != nil {
		t.Fatal(err)
	}
	if err := open(); tenancy.CodeOf(err) != tenancy.CodeUnauthenticated {
		t.Errorf("with the old password: %v", err)
	}
	checked.PasswordHash = "new hash"
	role := tenancy.RoleReadOnly
	if _, err := s.UpdateUser(ctx, u.Email, tenancy.UserChange{Role: &role}, tenancy.SystemActor); err != nil {
		t.Fatal(err)
	}
	if err := open(); tenancy.CodeOf(err) != tenancy.CodeUnauthenticated {
		t.Errorf("with the old role: %v", err)
	}
	checked.Role = role
	if err := open(); err != nil {
		t.Error(err)
	}
	if _, err := s.AccountByEmail(ctx, "a\x00b@example.com"); tenancy.CodeOf(err) != tenancy.CodeNotFound {
		t.Errorf("an address Postgres would not take: %v", err)
	}
}
