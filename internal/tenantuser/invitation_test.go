package tenantuser_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestALinkLeadsToAPasswordAndASession(t *testing.T) {
	t.Parallel()
	x := setup(t)
	ctx := t.Context()
	x.invite(t, "token")
	for range 2 { // looking uses nothing up
		inv, err := x.Invitation(ctx, x.slug, hash("token"))
		if err != nil || inv.User.Email != email || inv.User.DisplayName != "Ann" || inv.User.Role != tenancy.TenantAdmin || inv.Reset || inv.ExpiresAt.IsZero() {
			t.Errorf("%+v, %v", inv, err)
		}
	}
	if c := x.credentials(t); c != (tenancy.Credentials{}) {
		t.Errorf("before: %+v", c)
	}
	who, err := x.Redeem(ctx, x.slug, hash("token"), "canary-hash", hash("one"))
	if err != nil || who.Email != email || who.ID == "" {
		t.Fatalf("%+v, %v", who, err)
	}
	if !x.signedIn(t, "one") {
		t.Error("no session was opened")
	}
	if c := x.credentials(t); c != (tenancy.Credentials{UserID: who.ID, PasswordHash: "canary-hash"}) {
		t.Errorf("after: %+v", c)
	}
	// The same again, for one who forgot it.
	x.invite(t, "reset")
	if inv, err := x.Invitation(ctx, x.slug, hash("reset")); err != nil || !inv.Reset {
		t.Errorf("%+v, %v", inv, err)
	}
	if _, err := x.Redeem(ctx, x.slug, hash("reset"), "second", hash("two")); err != nil {
		t.Fatal(err)
	}
	if x.signedIn(t, "one") || !x.signedIn(t, "two") {
		t.Error("the other sessions were not ended, or the new one was")
	}
	if diff := cmp.Diff([]string{"INVITATION_ACCEPTED", "PASSWORD_RESET"}, x.events(t)); diff != "" {
		t.Error(diff)
	}
	if trail := scan[string](t, x, `SELECT string_agg(e::text, '') FROM audit.event e`); strings.Contains(trail, "canary") || strings.Contains(trail, "@") {
		t.Errorf("the audit trail shows %s", trail)
	}
}

func TestOfFiftyAtOnceOneRedeems(t *testing.T) {
	t.Parallel()
	x := setup(t)
	x.invite(t, "token")
	var won atomic.Int32
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			_, err := x.Redeem(t.Context(), x.slug, hash("token"), fmt.Sprint("hash ", i), hash(fmt.Sprint("session ", i)))
			if err == nil {
				won.Add(1)
				return
			}
			wantCode(t, err, tenancy.CodeNotFound)
		})
	}
	all.Wait()
	if n := won.Load(); n != 1 {
		t.Errorf("%d redeemed it", n)
	}
	if n := scan[int](t, x, `SELECT count(*) FROM identity.sessions`); n != 1 {
		t.Errorf("%d sessions", n)
	}
	if diff := cmp.Diff([]string{"INVITATION_ACCEPTED"}, x.events(t)); diff != "" {
		t.Error(diff)
	}
}

func TestLinksThatDoNotWork(t *testing.T) {
	t.Parallel()
	x := setup(t)
	ctx := t.Context()
	x.invite(t, "used")
	if _, err := x.Redeem(ctx, x.slug, hash("used"), "p", hash("s")); err != nil {
		t.Fatal(err)
	}
	x.invite(t, "revoked")
	x.invite(t, "token") // in place of it
	var said []string
	refused := func(token string) {
		t.Helper()
		_, err := x.Invitation(ctx, x.slug, hash(token))
		wantCode(t, err, tenancy.CodeNotFound)
		_, err2 := x.Redeem(ctx, x.slug, hash(token), "stolen", hash("thief"))
		wantCode(t, err2, tenancy.CodeNotFound)
		said = append(said, fmt.Sprint(err), fmt.Sprint(err2))
	}
	for _, token := range []string{"used", "revoked", "never was", ""} {
		refused(token)
	}
	x.exec(t, `UPDATE identity.users SET is_active = false`)
	refused("token")
	x.exec(t, `UPDATE identity.users SET is_active = true; UPDATE identity.invitations SET expires_at = now() WHERE accepted_at IS NULL AND revoked_at IS NULL`)
	refused("token")
	for _, s := range said {
		if s != said[0] {
			t.Errorf("the answers differ: %q and %q", s, said[0])
		}
	}
	if x.signedIn(t, "thief") || x.credentials(t).PasswordHash != "p" {
		t.Error("a link that does not work had an effect")
	}
	_, err := x.Redeem(ctx, x.slug, hash("token"), "p", []byte("the token itself"))
	wantCode(t, err, tenancy.CodeInternal)
}

// Inviting and redeeming at the same time: they wait for each other, and the user
// never ends up with two passwords or none.
func TestInvitingWhileRedeeming(t *testing.T) {
	t.Parallel()
	x := setup(t)
	x.invite(t, "token 0")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() { x.invite(t, fmt.Sprint("token ", i)) })
		all.Go(func() {
			_, err := x.Redeem(t.Context(), x.slug, hash(fmt.Sprint("token ", i)), "p", hash(fmt.Sprint("session ", i)))
			if err != nil {
				wantCode(t, err, tenancy.CodeNotFound)
			}
		})
	}
	all.Wait()
	if accepted, events := scan[int](t, x, `SELECT count(*) FROM identity.invitations WHERE accepted_at IS NOT NULL`), len(x.events(t)); accepted != events {
		t.Errorf("%d accepted, %d events", accepted, events)
	}
}
