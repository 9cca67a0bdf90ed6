package store_test

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/placement"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// hold submits a job and takes its lease.
func (p plane) hold(t *testing.T, n tenancy.NewJob) tenancy.Lease {
	t.Helper()
	job := p.submit(t, n)
	_, lease, err := p.AcquireLease(t.Context(), job.ID, "w", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

func auto(loads []tenancy.ServerLoad) (tenancy.DBServer, error) { return placement.Choose(loads, "") }

func TestConcurrentPlacementsNeverOversell(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.addServer(t, "pg-a", 3)
	p.addServer(t, "pg-b", 4)
	var leases []tenancy.Lease
	for i := range 12 {
		leases = append(leases, p.hold(t, tenancy.NewJob{Slug: tenancy.Slug(fmt.Sprintf("acme-%d", i))}))
	}
	placed := make(chan string, len(leases))
	var wait sync.WaitGroup
	for _, lease := range leases {
		wait.Go(func() {
			place, err := p.ReservePlacement(t.Context(), lease, "", auto)
			if err != nil {
				if tenancy.CodeOf(err) != tenancy.CodeNoCapacity {
					t.Error(err)
				}
				return
			}
			placed <- place.Server.Name
		})
	}
	wait.Wait()
	close(placed)
	got := map[string]int{}
	for name := range placed {
		got[name]++
	}
	if diff := cmp.Diff(map[string]int{"pg-a": 3, "pg-b": 4}, got); diff != "" {
		t.Error(diff)
	}
}

func TestPlaceMovesFromJobToTenantAndBack(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 5)
	lease := p.hold(t, tenancy.NewJob{Slug: "acme"})
	want := func(step string, tenants, reserved int) {
		t.Helper()
		load, err := p.Server(ctx, "pg-a")
		if err != nil || load.TenantCount != tenants || load.Reserved != reserved {
			t.Errorf("%s: %d tenants and %d reserved, %v; want %d and %d", step, load.TenantCount, load.Reserved, err, tenants, reserved)
		}
	}
	for range 2 { // each step is safe to repeat
		if _, err := p.ReservePlacement(ctx, lease, "", auto); err != nil {
			t.Fatal(err)
		}
		want("reserved", 0, 1)
	}
	for range 2 {
		if err := p.RegisterTenant(ctx, lease, "acme", "1", tenancy.Progress{}); err != nil {
			t.Fatal(err)
		}
		want("registered", 1, 0)
	}
	for range 2 {
		if err := p.UnregisterTenant(ctx, lease); err != nil {
			t.Fatal(err)
		}
		want("unregistered", 0, 1)
	}
	for range 2 {
		if err := p.FreePlacement(ctx, lease); err != nil {
			t.Fatal(err)
		}
		want("freed", 0, 0)
	}
}

// The journal of the phases around it comes with what is written to master.
func TestRegistrationAndCompletionRecordProgress(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 5)
	lease := p.hold(t, tenancy.NewJob{Slug: "acme"})
	if _, err := p.ReservePlacement(ctx, lease, "", auto); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	migrated := tenancy.DonePhase{
		Name: tenancy.PhaseMigrationsApplied, Detail: map[string]any{"schemaVersion": "5"},
		Began: now.Add(-time.Hour), Ended: now.Add(-time.Minute),
	}
	registered := tenancy.DonePhase{Name: tenancy.PhaseMasterRegistered, Began: now, Ended: now}
	wantCode(t, p.RegisterTenant(ctx, tenancy.Lease{JobID: lease.JobID, Epoch: lease.Epoch - 1}, "acme", "5",
		tenancy.Progress{Done: []tenancy.DonePhase{migrated}}), tenancy.CodeLeaseLost)
	if err := p.RegisterTenant(ctx, lease, "acme", "5", tenancy.Progress{
		Done: []tenancy.DonePhase{migrated, registered}, Next: tenancy.PhaseAdminSeeded,
	}); err != nil {
		t.Fatal(err)
	}
	phase := func(name tenancy.PhaseName) tenancy.PhaseRecord {
		j, err := p.Job(ctx, lease.JobID)
		if err != nil {
			t.Fatal(err)
		}
		return j.Phases[slices.IndexFunc(j.Phases, func(r tenancy.PhaseRecord) bool { return r.Name == name })]
	}
	rec := phase(tenancy.PhaseMigrationsApplied)
	if rec.Status != tenancy.PhaseDone || rec.Detail["schemaVersion"] != "5" ||
		rec.FinishedAt.Sub(*rec.StartedAt).Round(time.Second) != 59*time.Minute || time.Since(*rec.FinishedAt) < time.Minute {
		t.Errorf("unexpected record %+v", rec)
	}
	if rec := phase(tenancy.PhaseMasterRegistered); rec.Status != tenancy.PhaseDone || rec.FinishedAt.Before(*rec.StartedAt) {
		t.Errorf("unexpected record %+v", rec)
	}
	if rec := phase(tenancy.PhaseAdminSeeded); rec.Status != tenancy.PhaseRunning || !rec.Started() {
		t.Errorf("unexpected record %+v", rec)
	}

	seeded := tenancy.Progress{Done: []tenancy.DonePhase{{Name: tenancy.PhaseAdminSeeded, Began: now, Ended: now}}}
	if _, err := p.CancelJob(ctx, lease.JobID, operator); err != nil {
		t.Fatal(err)
	}
	if err := p.CompleteProvision(ctx, lease, seeded); !errors.Is(err, tenancy.ErrCancelRequested) {
		t.Errorf("completing a job that is to be cancelled: %v", err)
	}
	if tenant, err := p.Tenant(ctx, "acme"); err != nil || tenant.Status != tenancy.TenantProvisioning {
		t.Errorf("a tenant of a job that is to be cancelled is %s, %v", tenant.Status, err)
	}
	p.exec(t, `UPDATE identity.job SET cancel_requested = false`)
	if err := p.CompleteProvision(ctx, lease, seeded); err != nil {
		t.Fatal(err)
	}
	for _, name := range []tenancy.PhaseName{tenancy.PhaseAdminSeeded, tenancy.PhaseComplete} {
		if rec := phase(name); rec.Status != tenancy.PhaseDone || rec.StartedAt == nil || rec.FinishedAt == nil {
			t.Errorf("unexpected record %+v", rec)
		}
	}
}

func TestDryRunHoldsNoPlace(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.addServer(t, "pg-a", 5)
	lease := p.hold(t, tenancy.NewJob{Slug: "acme", DryRun: true})
	if _, err := p.ReservePlacement(t.Context(), lease, "", auto); err != nil {
		t.Fatal(err)
	}
	if load, err := p.Server(t.Context(), "pg-a"); err != nil || load.Reserved != 0 {
		t.Errorf("%d reserved, %v", load.Reserved, err)
	}
	if err := p.CompleteProvision(t.Context(), lease, tenancy.Progress{}); err != nil {
		t.Fatal(err)
	}
	events, _, err := p.ListAudit(t.Context(), tenancy.AuditFilter{Slug: "acme"})
	if err != nil || len(events) != 0 {
		t.Errorf("a dry run left audit rows: %v, %v", events, err)
	}
}

func TestCompleteMakesEverythingVisibleAtOnce(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 5)
	user, err := p.CreateUser(ctx, tenancy.User{Email: "Ops@Example.com", DisplayName: "Ops", Role: tenancy.RoleAdmin}, "x", "", operator)
	if err != nil {
		t.Fatal(err)
	}
	lease := p.hold(t, tenancy.NewJob{Slug: "acme", RequestedBy: tenancy.Actor{UserID: user.ID, Name: user.Email}})
	if _, err := p.ReservePlacement(ctx, lease, "", auto); err != nil {
		t.Fatal(err)
	}
	if err := p.RegisterTenant(ctx, lease, "acme", "5", tenancy.Progress{}); err != nil {
		t.Fatal(err)
	}
	if tenant, err := p.Tenant(ctx, "acme"); err != nil || tenant.Status != tenancy.TenantProvisioning {
		t.Errorf("before: %s, %v", tenant.Status, err)
	}
	if err := p.CompleteProvision(ctx, lease, tenancy.Progress{}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, p.CompleteProvision(ctx, lease, tenancy.Progress{}), tenancy.CodeLeaseLost)
	tenant, err := p.Tenant(ctx, "acme")
	if err != nil || tenant.Status != tenancy.TenantActive || tenant.SchemaVersion != "5" || tenant.SecretRef != "tenant-db-acme" {
		t.Errorf("after: %+v, %v", tenant, err)
	}
	events, _, err := p.ListAudit(ctx, tenancy.AuditFilter{Type: tenancy.EventTenantProvisioned})
	if err != nil || len(events) != 1 || events[0].Actor.UserID != user.ID || events[0].JobID != lease.JobID {
		t.Errorf("audit: %+v, %v", events, err)
	}
	inv, found, err := p.ClaimInvitation(ctx, lease.JobID, time.Minute)
	if err != nil || !found || inv.Email != "admin@acme.example" || inv.Slug != "acme" || inv.Server.Name != "pg-a" {
		t.Fatalf("invitation: %+v %v %v", inv, found, err)
	}
	if _, found, _ := p.ClaimInvitation(ctx, lease.JobID, time.Minute); found {
		t.Error("two senders claimed one invitation")
	}
	if err := p.InvitationSent(ctx, inv); err != nil {
		t.Fatal(err)
	}
	if _, err := p.RequestInvitation(ctx, "acme", operator); err != nil {
		t.Fatal(err)
	}
	if again, found, err := p.ClaimInvitation(ctx, lease.JobID, time.Minute); err != nil || !found || again.ID == inv.ID {
		t.Errorf("a fresh invitation: %+v %v %v", again, found, err)
	}
}

// Of what cannot be completed nothing is done: no audit row, no doorbell, no
// invitation, and the tenant stays as it is.
func TestCompleteIsAllOrNothing(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 5)
	lost := p.hold(t, tenancy.NewJob{Slug: "acme"})
	if _, err := p.ReservePlacement(ctx, lost, "", auto); err != nil {
		t.Fatal(err)
	}
	if err := p.RegisterTenant(ctx, lost, "acme", "1", tenancy.Progress{}); err != nil {
		t.Fatal(err)
	}
	if err := p.RenewLease(ctx, lost, -time.Second); err != nil { // let it run out
		t.Fatal(err)
	}
	_, lease, err := p.AcquireLease(ctx, lost.JobID, "two", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	fails := func(lease tenancy.Lease, code tenancy.Code) {
		t.Helper()
		before := p.contents(t)
		wantCode(t, p.CompleteProvision(ctx, lease, tenancy.Progress{}), code)
		if diff := cmp.Diff(before, p.contents(t)); diff != "" {
			t.Errorf("%s left something:\n%s", code, diff)
		}
	}
	fails(lost, tenancy.CodeLeaseLost)
	if _, err := p.sql.Exec(ctx, `DELETE FROM identity.tenant`); err != nil {
		t.Fatal(err)
	}
	fails(lease, tenancy.CodePartialState)
}

func TestTenantStatus(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 5)
	lease := p.hold(t, tenancy.NewJob{Slug: "acme"})
	if _, err := p.ReservePlacement(ctx, lease, "", auto); err != nil {
		t.Fatal(err)
	}
	if err := p.RegisterTenant(ctx, lease, "acme", "1", tenancy.Progress{}); err != nil {
		t.Fatal(err)
	}
	_, err := p.ChangeTenantStatus(ctx, "acme", tenancy.TenantSuspended, "", operator)
	wantCode(t, err, tenancy.CodeConflict) // still provisioning
	if err := p.CompleteProvision(ctx, lease, tenancy.Progress{}); err != nil {
		t.Fatal(err)
	}
	_, err = p.ChangeTenantStatus(ctx, "nobody", tenancy.TenantSuspended, "", operator)
	wantCode(t, err, tenancy.CodeNotFound)
	if tenant, err := p.ChangeTenantStatus(ctx, "acme", tenancy.TenantSuspended, "unpaid", operator); err != nil || tenant.Status != tenancy.TenantSuspended {
		t.Fatalf("%+v %v", tenant, err)
	}
	_, err = p.ChangeTenantStatus(ctx, "acme", tenancy.TenantSuspended, "", operator)
	wantCode(t, err, tenancy.CodeConflict)
	events, _, err := p.ListAudit(ctx, tenancy.AuditFilter{Type: tenancy.EventStatusChanged})
	want := map[string]any{"from": "active", "to": "suspended", "reason": "unpaid"}
	if err != nil || len(events) != 1 || !cmp.Equal(events[0].Details, want) {
		t.Errorf("audit: %+v, %v", events, err)
	}
}

func TestAuditIsAppendOnly(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	if err := p.AppendAudit(ctx, tenancy.AuditEvent{Type: tenancy.EventAccessDenied, Actor: operator}); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`UPDATE identity.tenant_audit SET actor = 'x'`, `DELETE FROM identity.tenant_audit`, `TRUNCATE identity.tenant_audit`,
	} {
		if _, err := p.sql.Exec(ctx, sql); err == nil {
			t.Errorf("%s went through for a superuser", sql)
		}
	}
}

func TestGrantToIsEnoughAndNoMore(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	role := "svc_" + p.sql.Config().Database
	if _, err := p.sql.Exec(ctx, `CREATE ROLE `+role+` LOGIN PASSWORD 'pw'`); err != nil {
		t.Fatal(err)
	}
	if err := store.GrantTo(ctx, p.url, role); err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(p.url)
	u.User = url.UserPassword(role, "pw")
	s, err := store.Open(ctx, u.String(), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.CheckSchema(ctx); err != nil {
		t.Error(err)
	}
	svc := plane{Store: s, url: u.String(), sql: p.sql}
	p.addServer(t, "pg-a", 5)
	lease := svc.hold(t, tenancy.NewJob{Slug: "acme"})
	if _, err := svc.ReservePlacement(ctx, lease, "", auto); err != nil {
		t.Fatal(err)
	}
	if err := svc.RegisterTenant(ctx, lease, "acme", "1", tenancy.Progress{}); err != nil {
		t.Fatal(err)
	}
	if err := svc.CompleteProvision(ctx, lease, tenancy.Progress{}); err != nil {
		t.Fatal(err)
	}
	svc.submitBatch(t, newBatch("bolt"))
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, sql := range []string{
		`DELETE FROM identity.tenant_audit`, `ALTER TABLE identity.tenant_audit DISABLE TRIGGER ALL`, `DROP TABLE identity.job`,
		`CREATE TABLE identity.x ()`,
	} {
		if _, err := conn.Exec(ctx, sql); err == nil {
			t.Errorf("%s went through for the service role", sql)
		}
	}
}

func TestCheckSchemaTellsWhatToDo(t *testing.T) {
	t.Parallel()
	p := setup(t)
	if err := p.CheckSchema(t.Context()); err != nil {
		t.Fatal(err)
	}
	// What a newer build left half applied is nothing to this one.
	p.exec(t, `UPDATE public.tenantry_schema_migrations SET version = version + 1, dirty = true`)
	if err := p.CheckSchema(t.Context()); err != nil {
		t.Error(err)
	}
	p.exec(t, `UPDATE public.tenantry_schema_migrations SET version = version - 1`)
	wantCode(t, p.CheckSchema(t.Context()), tenancy.CodeDependencyUnavailable)
	if _, err := p.sql.Exec(t.Context(), `UPDATE public.tenantry_schema_migrations SET version = 1, dirty = false`); err != nil {
		t.Fatal(err)
	}
	wantCode(t, p.CheckSchema(t.Context()), tenancy.CodeDependencyUnavailable)
	if _, err := p.sql.Exec(t.Context(), `DROP TABLE public.tenantry_schema_migrations`); err != nil {
		t.Fatal(err)
	}
	wantCode(t, p.CheckSchema(t.Context()), tenancy.CodeDependencyUnavailable)
}

func TestTokens(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	user, err := p.CreateUser(ctx, tenancy.User{Email: "a@example.com", DisplayName: "A", Role: tenancy.RoleSupport}, "x", tenancy.EventBootstrapUserCreated, operator)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.CreateUser(ctx, tenancy.User{Email: "A@example.com", DisplayName: "A", Role: tenancy.RoleAdmin}, "x", "", operator)
	wantCode(t, err, tenancy.CodeConflict)
	hash := make([]byte, 32)
	token, err := p.CreateToken(ctx, user.ID, "ci", hash, nil, operator)
	if err != nil {
		t.Fatal(err)
	}
	who, err := p.Authenticate(ctx, hash)
	if err != nil || who.UserID != user.ID || who.Role != tenancy.RoleSupport {
		t.Fatalf("%+v %v", who, err)
	}
	job := p.submit(t, tenancy.NewJob{Slug: "acme"})
	for id, want := range map[tenancy.JobID]*tenancy.JobVersion{
		job.ID: {Version: 1}, "": nil, "01890a5d-ac96-774b-bcce-b302099a8057": nil,
	} {
		same, got, err := p.AuthenticateWatcher(ctx, hash, id)
		if diff := cmp.Diff(want, got); diff != "" || err != nil || same != who {
			t.Errorf("watching %q: %+v, %v %s", id, same, err, diff)
		}
	}
	wantCode(t, p.RevokeToken(ctx, token.ID, "01890a5d-ac96-774b-bcce-b302099a8057", operator), tenancy.CodeNotFound)
	if err := p.RevokeToken(ctx, token.ID, user.ID, operator); err != nil {
		t.Fatal(err)
	}
	_, err = p.Authenticate(ctx, hash)
	wantCode(t, err, tenancy.CodeUnauthenticated)
	_, _, err = p.AuthenticateWatcher(ctx, hash, job.ID)
	wantCode(t, err, tenancy.CodeUnauthenticated)
	past := time.Now().Add(-time.Hour)
	hash[0] = 1
	if _, err := p.CreateToken(ctx, user.ID, "old", hash, &past, operator); err != nil {
		t.Fatal(err)
	}
	_, err = p.Authenticate(ctx, hash)
	wantCode(t, err, tenancy.CodeUnauthenticated)
}

func TestListTenantsShowsThoseInFlightAndPages(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 5)
	p.submit(t, tenancy.NewJob{Slug: "bolt"})
	p.submit(t, tenancy.NewJob{Slug: "cask", DryRun: true})
	lease := p.hold(t, tenancy.NewJob{Slug: "acme"})
	if _, err := p.ReservePlacement(ctx, lease, "", auto); err != nil {
		t.Fatal(err)
	}
	if err := p.RegisterTenant(ctx, lease, "acme", "1", tenancy.Progress{}); err != nil {
		t.Fatal(err)
	}
	if err := p.CompleteProvision(ctx, lease, tenancy.Progress{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	page := tenancy.Page{Limit: 1}
	for {
		tenants, next, err := p.ListTenants(ctx, tenancy.TenantFilter{Page: page})
		if err != nil {
			t.Fatal(err)
		}
		for _, tenant := range tenants {
			got = append(got, fmt.Sprintf("%s %s", tenant.Slug, tenant.Status))
		}
		if page.Cursor = next; next == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"acme active", "bolt provisioning"}, got); diff != "" {
		t.Error(diff)
	}
	for _, forged := range []string{"%", "AA", "_w"} { // no base64, a NUL, no UTF-8
		_, _, err := p.ListTenants(ctx, tenancy.TenantFilter{Page: tenancy.Page{Cursor: forged}})
		wantCode(t, err, tenancy.CodeInvalidRequest)
	}
}
