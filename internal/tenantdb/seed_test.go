package tenantdb_test

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestSeedAdminAndInvitations(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ensure(t)
	b.migrate(t)
	for _, email := range []string{"Admin@acme.example", "Admin@acme.example", "admin@ACME.example"} {
		if err := b.SeedAdmin(t.Context(), b.server, b.slug, email, "Acme Admin"); err != nil {
			t.Fatal(err)
		}
	}
	got := values[string](t, b.appURL, "SELECT (email, display_name, role, password_hash, must_reset_password, is_active)::text FROM identity.users")
	if diff := cmp.Diff([]string{`(Admin@acme.example,"Acme Admin",admin,,t,t)`}, got); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}

	first, second := sha256.Sum256([]byte("first")), sha256.Sum256([]byte("second"))
	expires := time.Now().Add(time.Hour)
	for _, hash := range [][]byte{first[:], first[:], second[:], second[:]} {
		to, err := b.NewInvitation(t.Context(), b.server, b.slug, "admin@acme.example", hash, expires)
		if err != nil {
			t.Fatal(err)
		}
		if to != "Admin@acme.example" {
			t.Errorf("the mail would go to %s, which is not how the user wrote it", to)
		}
	}
	open := values[[]byte](t, b.appURL, "SELECT token_hash FROM identity.invitations WHERE accepted_at IS NULL AND revoked_at IS NULL")
	if diff := cmp.Diff([][]byte{second[:]}, open); diff != "" {
		t.Errorf("open invitations (-want +got):\n%s", diff)
	}
	if all := values[int64](t, b.appURL, "SELECT count(*) FROM identity.invitations"); all[0] != 2 {
		t.Errorf("%d invitations, want 2", all[0])
	}
	sql(t, b.appURL, "UPDATE identity.invitations SET accepted_at = now() WHERE revoked_at IS NULL")
	third := sha256.Sum256([]byte("third"))
	if _, err := b.NewInvitation(t.Context(), b.server, b.slug, "admin@acme.example", third[:], expires); err != nil {
		t.Fatal(err)
	}

	refused := func(email string, hash []byte, code tenancy.Code) {
		t.Helper()
		_, err := b.NewInvitation(t.Context(), b.server, b.slug, email, hash, expires)
		wantCode(t, err, code, false)
	}
	refused("nobody@acme.example", first[:], tenancy.CodeNotFound)
	refused("admin@acme.example", []byte("short"), tenancy.CodeInternal)
	sql(t, b.appURL, "UPDATE identity.users SET is_active = false")
	refused("admin@acme.example", first[:], tenancy.CodeNotFound)
}

// TestOneOpenInvitation: however many ask at once.
// TestNoAdminForWhoeverHasTheNameNow: a worker that slept until the slug was another
// tenant's seeds nothing there. The session that it kept was its own tenant's.
func TestNoAdminForWhoeverHasTheNameNow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ensure(t)
	held := tenancy.WithFence(t.Context(), func(context.Context) error { return nil })
	if _, err := b.Migrate(held, b.server, b.slug, b.owner, b.appURL); err != nil {
		t.Fatal(err)
	}
	b.drop(t)
	b.owner = newOwner()
	b.ensure(t)
	b.migrate(t)
	lost := tenancy.WithFence(t.Context(), func(context.Context) error { return tenancy.Errorf(tenancy.CodeLeaseLost, "lost") })
	err := b.SeedAdmin(lost, b.server, b.slug, "admin@acme.example", "Acme Admin")
	wantCode(t, err, tenancy.CodeLeaseLost, false)
	if n := values[int64](t, b.appURL, "SELECT count(*) FROM identity.users"); n[0] != 0 {
		t.Errorf("the tenant of that name got %d users", n[0])
	}
}

func TestOneOpenInvitation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ensure(t)
	b.migrate(t)
	if err := b.SeedAdmin(t.Context(), b.server, b.slug, "a@b.example", "A"); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 8)
	for i := range cap(errs) {
		go func() {
			hash := sha256.Sum256([]byte{byte(i)})
			_, err := b.NewInvitation(t.Context(), b.server, b.slug, "a@b.example", hash[:], time.Now().Add(time.Hour))
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if open := values[int64](t, b.appURL, "SELECT count(*) FROM identity.invitations WHERE revoked_at IS NULL"); open[0] != 1 {
		t.Errorf("%d open invitations, want 1", open[0])
	}
}
