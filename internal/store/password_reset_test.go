package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func (p plane) resets(t *testing.T) (n int) {
	t.Helper()
	p.scan(t, `SELECT count(*) FROM identity.invitation WHERE kind = 'password_reset'`, &n)
	return n
}

func TestPasswordResetsOfAnAddressAreFew(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 5)
	job := p.active(t, "acme")
	ask := func(email string, want int) {
		t.Helper()
		if err := p.RequestPasswordReset(ctx, "acme", email); err != nil {
			t.Fatal(err)
		}
		if n := p.resets(t); n != want {
			t.Fatalf("%d requests, want %d", n, want)
		}
	}
	settle := func() {
		t.Helper()
		for {
			inv, found, err := p.ClaimInvitation(ctx, job.ID, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if !found {
				return
			}
			if err := p.InvitationSent(ctx, inv); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask("canary@acme.example", 1)
	ask(" Canary@acme.example", 1) // one is queued
	ask("other@acme.example", 2)
	settle()
	ask("CANARY@acme.example", 3)
	settle()
	ask("canary@acme.example", 4)
	settle()
	ask("canary@acme.example", 4) // the fourth within the hour
	p.exec(t, `UPDATE identity.invitation SET created_at = created_at - interval '61 minutes'`)
	ask("canary@acme.example", 5)

	var events, bells int
	p.scan(t, `SELECT count(*) FROM identity.tenant_audit WHERE event_type = 'PASSWORD_RESET_REQUESTED' AND actor = 'visitor' AND slug = 'acme' AND details = '{}'`, &events)
	p.scan(t, `SELECT count(*) FROM identity.outbox WHERE task_type = 'mail:invitation'`, &bells)
	if events != 5 || bells != 6 { // the invitation's too
		t.Errorf("%d events and %d doorbells for 5 requests", events, bells)
	}
	var trail string
	p.scan(t, `SELECT string_agg(a::text, '') FROM identity.tenant_audit a`, &trail)
	if strings.Contains(strings.ToLower(trail), "canary") {
		t.Error("the audit trail shows the address")
	}
}

// A request and an invitation do not stand in each other's way.
func TestPasswordResetBesideAnInvitation(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 5)
	job := p.active(t, "acme")
	if err := p.RequestPasswordReset(ctx, "acme", "b@acme.example"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.RequestInvitation(ctx, "acme", operator); err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		inv, found, err := p.ClaimInvitation(ctx, job.ID, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			break
		}
		got = append(got, string(inv.Kind)+" "+inv.Email)
	}
	if diff := cmp.Diff([]string{"invitation admin@acme.example", "password_reset b@acme.example"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestPasswordResetIsRefused(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 5)
	p.active(t, "acme")
	for _, email := range []string{"", "  ", strings.Repeat("x", 255), "a\x00b@x", "a\xff@x"} {
		wantCode(t, p.RequestPasswordReset(ctx, "acme", email), tenancy.CodeInvalidRequest)
	}
	wantCode(t, p.RequestPasswordReset(ctx, "nobody", "a@x.example"), tenancy.CodeNotFound)
	for status, code := range map[string]tenancy.Code{
		"read_only": tenancy.CodeTenantReadOnly, "suspended": tenancy.CodeTenantSuspended,
		"offboarding": tenancy.CodeTenantOffboarding, "provisioning": tenancy.CodeNotFound,
	} {
		p.exec(t, `UPDATE identity.tenant SET status = '`+status+`'`)
		wantCode(t, p.RequestPasswordReset(ctx, "acme", "a@x.example"), code)
	}
	p.exec(t, `UPDATE identity.tenant SET status = 'active', job_id = NULL`)
	wantCode(t, p.RequestPasswordReset(ctx, "acme", "a@x.example"), tenancy.CodeConflict)
	if n := p.resets(t); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// In a read-only tenant no password can be chosen: what is queued waits.
func TestPasswordResetWaitsForAnActiveTenant(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 5)
	job := p.active(t, "acme")
	p.exec(t, `DELETE FROM identity.invitation`)
	if err := p.RequestPasswordReset(ctx, "acme", "a@x.example"); err != nil {
		t.Fatal(err)
	}
	p.exec(t, `UPDATE identity.tenant SET status = 'read_only'; UPDATE identity.invitation SET run_after = now() - interval '1 hour'`)
	if _, found, err := p.ClaimInvitation(ctx, job.ID, time.Minute); found || err != nil {
		t.Errorf("found %t, %v", found, err)
	}
	if n, err := p.RingStalledInvitations(ctx, time.Second, 10); n != 0 || err != nil {
		t.Errorf("rang %d times, %v", n, err)
	}
	p.exec(t, `UPDATE identity.tenant SET status = 'active'`)
	if n, err := p.RingStalledInvitations(ctx, time.Second, 10); n != 1 || err != nil {
		t.Errorf("rang %d times, %v", n, err)
	}
	inv, found, err := p.ClaimInvitation(ctx, job.ID, time.Minute)
	if !found || err != nil || inv.Kind != tenancy.KindPasswordReset {
		t.Fatalf("%+v %t %v", inv, found, err)
	}
	if err := p.DropPasswordReset(ctx, inv); err != nil {
		t.Fatal(err)
	}
	var status string
	p.scan(t, `SELECT status FROM identity.invitation`, &status)
	if status != "dropped" {
		t.Error(status)
	}
}
