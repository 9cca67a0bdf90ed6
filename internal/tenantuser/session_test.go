package tenantuser_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/internal/tenantuser"
)

func TestSigningInAndOut(t *testing.T) {
	t.Parallel()
	x := setup(t)
	ctx := t.Context()
	c := x.joined(t, "hash", "first")
	for _, other := range []string{" ann@ACME.example ", email} {
		if got, err := x.Credentials(ctx, x.slug, other); err != nil || got != c {
			t.Errorf("%q: %+v, %v", other, got, err)
		}
	}
	for _, nobody := range []string{"", "nobody@acme.example", "a\x00", "a\xff", "%"} {
		if got, err := x.Credentials(ctx, x.slug, nobody); err != nil || got != (tenancy.Credentials{}) {
			t.Errorf("%q: %+v, %v", nobody, got, err)
		}
	}
	who, err := x.OpenSession(ctx, x.slug, c, hash("second"))
	if err != nil || who.Email != email {
		t.Fatalf("%+v, %v", who, err)
	}
	if !x.signedIn(t, "first") || !x.signedIn(t, "second") || x.signedIn(t, "third") {
		t.Error("the wrong sessions hold")
	}
	for range 2 {
		if err := x.EndSession(ctx, x.slug, hash("second")); err != nil {
			t.Error(err)
		}
	}
	if !x.signedIn(t, "first") || x.signedIn(t, "second") {
		t.Error("the wrong session was ended")
	}
	for what, wrong := range map[string]tenancy.Credentials{
		"nobody's": {}, "an older password": {UserID: c.UserID, PasswordHash: "older"},
	} {
		_, err := x.OpenSession(ctx, x.slug, wrong, hash(what))
		wantCode(t, err, tenancy.CodeUnauthenticated)
	}
	_, err = x.OpenSession(ctx, x.slug, c, []byte("the token itself"))
	wantCode(t, err, tenancy.CodeInternal)
}

func TestWhoIsShutOut(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"inactive":                   `UPDATE identity.users SET is_active = false`,
		"has to choose a password":   `UPDATE identity.users SET must_reset_password = true`,
		"password taken away":        `UPDATE identity.users SET password_hash = NULL`,
		"session over":               `UPDATE identity.sessions SET expires_at = now()`,
		"session not used for hours": `UPDATE identity.sessions SET last_seen_at = now() - interval '8 hours'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := setup(t)
			c := x.joined(t, "hash", "session")
			x.exec(t, `UPDATE identity.sessions SET last_seen_at = now() - interval '7 hours 59 minutes', expires_at = now() + interval '1 minute'`)
			if !x.signedIn(t, "session") {
				t.Fatal("signed out too early")
			}
			x.exec(t, sql)
			if x.signedIn(t, "session") {
				t.Error("still signed in")
			}
			person := name[:7] != "session"
			if got := x.credentials(t); (got == (tenancy.Credentials{})) != person {
				t.Errorf("credentials %+v", got)
			}
			_, err := x.OpenSession(t.Context(), x.slug, c, hash("another"))
			if person {
				wantCode(t, err, tenancy.CodeUnauthenticated)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSessionsAreNotedToTheMinuteAndCleanedUp(t *testing.T) {
	t.Parallel()
	x := setup(t)
	c := x.joined(t, "hash", "session")
	const left = `SELECT extract(epoch FROM expires_at - created_at)::bigint FROM identity.sessions`
	if got := time.Duration(scan[int64](t, x, left)) * time.Second; got != tenantuser.SessionLimit {
		t.Errorf("a session lasts %s", got)
	}
	seen := func(ago string) bool { // within ten seconds, after a use
		x.exec(t, `UPDATE identity.sessions SET last_seen_at = now() - interval '`+ago+`'`)
		if !x.signedIn(t, "session") {
			t.Fatal("signed out")
		}
		return scan[bool](t, x, `SELECT last_seen_at > now() - interval '10 seconds' FROM identity.sessions`)
	}
	if seen("50 seconds") || !seen("61 seconds") {
		t.Error("a use is not noted to the minute")
	}
	x.exec(t, `UPDATE identity.sessions SET expires_at = now()`)
	if _, err := x.OpenSession(t.Context(), x.slug, c, hash("new")); err != nil {
		t.Fatal(err)
	}
	if n := scan[int](t, x, `SELECT count(*) FROM identity.sessions`); n != 1 {
		t.Errorf("%d sessions are kept", n)
	}
}

func TestChangingThePassword(t *testing.T) {
	t.Parallel()
	x := setup(t)
	ctx := t.Context()
	c := x.joined(t, "old", "mine")
	if _, err := x.OpenSession(ctx, x.slug, c, hash("elsewhere")); err != nil {
		t.Fatal(err)
	}
	x.invite(t, "link in somebody's mailbox")
	if err := x.ChangePassword(ctx, x.slug, c, "new", hash("mine")); err != nil {
		t.Fatal(err)
	}
	if !x.signedIn(t, "mine") || x.signedIn(t, "elsewhere") {
		t.Error("the wrong sessions were ended")
	}
	if got := x.credentials(t).PasswordHash; got != "new" {
		t.Errorf("the hash is %q", got)
	}
	_, err := x.Invitation(ctx, x.slug, hash("link in somebody's mailbox"))
	wantCode(t, err, tenancy.CodeNotFound)
	for _, checked := range []tenancy.Credentials{c, {}} { // by now the old password
		wantCode(t, x.ChangePassword(ctx, x.slug, checked, "stolen", hash("mine")), tenancy.CodeUnauthenticated)
	}
	if diff := cmp.Diff([]string{"INVITATION_ACCEPTED", "PASSWORD_CHANGED"}, x.events(t)); diff != "" {
		t.Error(diff)
	}
}

// Whoever signs in with the old password while it is changed is signed out by the
// change, or not let in after it.
func TestSigningInWhileThePasswordChanges(t *testing.T) {
	t.Parallel()
	x := setup(t)
	c := x.joined(t, "old", "mine")
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			if _, err := x.OpenSession(t.Context(), x.slug, c, hash(fmt.Sprint(i))); err != nil {
				wantCode(t, err, tenancy.CodeUnauthenticated)
			}
		})
		if i == 15 {
			all.Go(func() {
				if err := x.ChangePassword(t.Context(), x.slug, c, "new", hash("mine")); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	if n := scan[int](t, x, `SELECT count(*) FROM identity.sessions`); n != 1 {
		t.Errorf("%d sessions, want the one that changed the password", n)
	}
}

// docs/decisions.md, "Signing in goes on while a tenant is read".
func TestWhatAStatusLeavesOfSigningIn(t *testing.T) {
	t.Parallel()
	for status, c := range map[tenancy.TenantStatus]struct {
		access          tenancy.Access
		enter, password tenancy.Code
	}{
		tenancy.TenantActive:      {tenancy.AccessFull, "", ""},
		tenancy.TenantReadOnly:    {tenancy.AccessFull, "", tenancy.CodeTenantReadOnly},
		tenancy.TenantOffboarding: {tenancy.AccessReadOnly, "", tenancy.CodeTenantOffboarding},
		tenancy.TenantSuspended:   {tenancy.AccessFull, tenancy.CodeTenantSuspended, tenancy.CodeTenantSuspended},
	} {
		t.Run(string(status), func(t *testing.T) {
			t.Parallel()
			x := setup(t)
			ctx := t.Context()
			ann := x.joined(t, "hash", "session")
			x.exec(t, `UPDATE identity.sessions SET last_seen_at = now() - interval '2 minutes'`)
			x.invite(t, "token")
			x.set(status)
			if err := x.servers.SetAccess(ctx, x.server, x.slug, x.owner, c.access); err != nil {
				t.Fatal(err)
			}
			x.pool.Reset() // for sessions that begin from now on
			_, err := x.Session(ctx, x.slug, hash("session"))
			wantCode(t, err, c.enter)
			_, err = x.Credentials(ctx, x.slug, email)
			wantCode(t, err, c.enter)
			_, err = x.OpenSession(ctx, x.slug, ann, hash("another"))
			wantCode(t, err, c.enter)
			wantCode(t, x.EndSession(ctx, x.slug, hash("another")), c.enter)
			_, err = x.Invitation(ctx, x.slug, hash("token"))
			wantCode(t, err, c.password)
			wantCode(t, x.ChangePassword(ctx, x.slug, ann, "hash", hash("session")), c.password)
			x.exec(t, `BEGIN READ WRITE; UPDATE identity.invitations SET revoked_at = NULL WHERE accepted_at IS NULL; COMMIT`)
			_, err = x.Redeem(ctx, x.slug, hash("token"), "new", hash("third"))
			wantCode(t, err, c.password)
		})
	}
}
