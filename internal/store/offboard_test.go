package store_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// active provisions a tenant as far as master is concerned and returns its job.
func (p plane) active(t *testing.T, slug tenancy.Slug) tenancy.Job {
	t.Helper()
	ctx := t.Context()
	lease := p.hold(t, tenancy.NewJob{Slug: slug})
	if _, err := p.ReservePlacement(ctx, lease, "", auto); err != nil {
		t.Fatal(err)
	}
	if err := p.RegisterTenant(ctx, lease, slug, "1", tenancy.Progress{}); err != nil {
		t.Fatal(err)
	}
	if err := p.CompleteProvision(ctx, lease, tenancy.Progress{}); err != nil {
		t.Fatal(err)
	}
	job, err := p.Job(ctx, lease.JobID)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func (p plane) offboard(t *testing.T, slug tenancy.Slug, o tenancy.Offboarding) tenancy.Lease {
	t.Helper()
	return p.hold(t, tenancy.NewJob{Kind: tenancy.KindOffboard, Slug: slug, Offboarding: o})
}

// fail settles a held job as failed.
func (p plane) fail(t *testing.T, lease tenancy.Lease) {
	t.Helper()
	ctx := t.Context()
	if err := p.BeginRollback(ctx, lease, "", &tenancy.PhaseError{Code: tenancy.CodeDependencyUnavailable, Message: "x"}); err != nil {
		t.Fatal(err)
	}
	if err := p.SettleRollback(ctx, lease); err != nil {
		t.Fatal(err)
	}
}

func TestRetentionAndBack(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 5)
	provisioned := p.active(t, "acme")
	if _, err := p.ChangeTenantStatus(ctx, "acme", tenancy.TenantReadOnly, "x", operator); err != nil {
		t.Fatal(err)
	}
	lease := p.offboard(t, "acme", tenancy.Offboarding{})
	first, err := p.StartRetention(ctx, lease, 30)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := p.StartRetention(ctx, lease, 30); err != nil || !again.Equal(first) {
		t.Errorf("a second start: %v, %v", again, err)
	}
	if _, found, _ := p.ClaimInvitation(ctx, provisioned.ID, time.Minute); found {
		t.Error("a tenant that leaves is sent an invitation")
	}
	if load, err := p.Server(ctx, "pg-a"); err != nil || load.TenantCount != 0 {
		t.Errorf("an offboarding tenant counts: %d, %v", load.TenantCount, err)
	}
	for range 2 {
		if err := p.EndRetention(ctx, lease); err != nil {
			t.Fatal(err)
		}
	}
	if tenant, err := p.Tenant(ctx, "acme"); err != nil || tenant.Status != tenancy.TenantReadOnly || tenant.PurgeAfter != nil {
		t.Errorf("brought back as %s, %v, %v", tenant.Status, tenant.PurgeAfter, err)
	}
}

func TestExpiredTenants(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 5)
	p.active(t, "acme")
	purge := tenancy.NewJob{Kind: tenancy.KindOffboard, Slug: "acme", Offboarding: tenancy.Offboarding{Purge: true}, OnlyIfExpired: true, RequestedBy: operator}
	_, err := p.SubmitJob(ctx, purge)
	wantCode(t, err, tenancy.CodeConflict) // active
	lease := p.offboard(t, "acme", tenancy.Offboarding{})
	if _, err := p.StartRetention(ctx, lease, 30); err != nil {
		t.Fatal(err)
	}
	if err := p.CompleteOffboard(ctx, lease, nil, tenancy.Progress{}); err != nil {
		t.Fatal(err)
	}
	_, err = p.SubmitJob(ctx, purge)
	wantCode(t, err, tenancy.CodeConflict) // not yet
	expired := func() int {
		t.Helper()
		slugs, err := p.ExpiredTenants(ctx, 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(slugs)
	}
	if n := expired(); n != 0 {
		t.Errorf("%d are expired", n)
	}
	p.exec(t, `UPDATE identity.tenant SET purge_after = now() - interval '1 second'`)
	if n := expired(); n != 1 {
		t.Errorf("%d are expired", n)
	}
	job, err := p.SubmitJob(ctx, purge)
	if err != nil {
		t.Fatal(err)
	}
	_, held, err := p.AcquireLease(ctx, job.ID, "w", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.CondemnTenant(ctx, held); err != nil {
		t.Fatal(err)
	}
	p.fail(t, held)
	if n := expired(); n != 0 {
		t.Error("a purge that failed begins again by itself")
	}
	p.exec(t, `UPDATE identity.job SET created_at = created_at - interval '1 year'`)
	if n := expired(); n != 1 {
		t.Error("one that failed in an earlier retention keeps the tenant for ever")
	}
}

// Purges that nobody asked for take turns, in a queue that nobody waits for.
func TestFewTenantsArePurgedAtATime(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 5)
	p.active(t, "acme")
	p.active(t, "bolt")
	p.exec(t, `UPDATE identity.tenant SET status = 'offboarding', purge_after = now() - interval '1 hour'`)
	p.exec(t, `UPDATE identity.tenant SET purge_after = now() - interval '1 day' WHERE slug = 'bolt'`)
	p.rings(t)
	for limit, want := range [][]tenancy.Slug{{}, {"bolt"}, {"bolt", "acme"}} {
		if got, err := p.ExpiredTenants(ctx, limit); err != nil || !slices.Equal(got, want) {
			t.Errorf("%d at most: %v, %v, want %v", limit, got, err, want)
		}
	}
	purge := tenancy.NewJob{Kind: tenancy.KindOffboard, Slug: "bolt", Offboarding: tenancy.Offboarding{Purge: true}, OnlyIfExpired: true, RequestedBy: operator}
	if _, err := p.SubmitJob(ctx, purge); err != nil {
		t.Fatal(err)
	}
	if rung := p.rings(t); len(rung) != 1 || rung[0].Queue != tenancy.QueueFleet {
		t.Errorf("rung: %+v", rung)
	}
	for limit, want := range [][]tenancy.Slug{{}, {}, {"acme"}} {
		if got, err := p.ExpiredTenants(ctx, limit); err != nil || !slices.Equal(got, want) {
			t.Errorf("%d at most, with one under way: %v, %v, want %v", limit, got, err, want)
		}
	}
}

// A purge that failed may be retried as long as its tenant is not in use again.
func TestRetryOfAPurge(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 5)
	p.active(t, "acme")
	lease := p.offboard(t, "acme", tenancy.Offboarding{Purge: true})
	if err := p.CondemnTenant(ctx, lease); err != nil {
		t.Fatal(err)
	}
	if _, err := p.RecordProgress(ctx, lease, progress(tenancy.PhaseBackupTaken, tenancy.PhaseDatabaseDropped, map[string]any{"backups": "kept"})); err != nil {
		t.Fatal(err)
	}
	_, err := p.CancelJob(ctx, lease.JobID, operator)
	wantCode(t, err, tenancy.CodeConflict)
	p.fail(t, lease)
	retried, err := p.RetryJob(ctx, lease.JobID, operator)
	if err != nil {
		t.Fatal(err)
	}
	for _, ph := range retried.Phases {
		if ph.Status != tenancy.PhasePending || (ph.Name == tenancy.PhaseBackupTaken) != (ph.Detail["backups"] == "kept") {
			t.Errorf("after retry: %+v", ph)
		}
	}
	_, err = p.CancelJob(ctx, lease.JobID, operator)
	wantCode(t, err, tenancy.CodeConflict)
	_, lease, err = p.AcquireLease(ctx, lease.JobID, "w", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	p.fail(t, lease)
	back := p.offboard(t, "acme", tenancy.Offboarding{Cancel: true})
	if err := p.EndRetention(ctx, back); err != nil {
		t.Fatal(err)
	}
	if err := p.CompleteOffboard(ctx, back, nil, tenancy.Progress{}); err != nil {
		t.Fatal(err)
	}
	_, err = p.RetryJob(ctx, lease.JobID, operator)
	wantCode(t, err, tenancy.CodeConflict)
}

func TestRemoveTenantSparesAnotherOfTheSlug(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 5)
	p.active(t, "acme")
	lease := p.offboard(t, "acme", tenancy.Offboarding{Purge: true})
	p.exec(t, `DELETE FROM identity.invitation; UPDATE identity.tenant SET tenant_id = gen_random_uuid(), status = 'offboarding'`)
	wantCode(t, p.CondemnTenant(ctx, lease), tenancy.CodePartialState)
	wantCode(t, p.RemoveTenant(ctx, lease), tenancy.CodePartialState)
	if _, err := p.Tenant(ctx, "acme"); err != nil {
		t.Error(err)
	}
}

// What is done while a slug is idle excludes a retry, and is not begun if the
// slug is not as it was.
func TestWhileIdle(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	lease := p.hold(t, tenancy.NewJob{Slug: "acme"})
	never := func(context.Context) error { t.Error("it was begun"); return nil }
	wantCode(t, p.WhileIdle(ctx, "acme", false, never), tenancy.CodeJobInProgress)
	p.fail(t, lease)
	wantCode(t, p.WhileIdle(ctx, "acme", true, never), tenancy.CodeConflict)
	begun, retried := make(chan struct{}), make(chan error, 1)
	err := p.WhileIdle(ctx, "acme", false, func(ctx context.Context) error {
		go func() {
			close(begun)
			_, err := p.RetryJob(context.WithoutCancel(ctx), lease.JobID, operator)
			retried <- err
		}()
		<-begun
		select {
		case err := <-retried:
			t.Errorf("a retry went through meanwhile: %v", err)
		case <-time.After(200 * time.Millisecond):
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-retried; err != nil {
		t.Errorf("and afterwards: %v", err)
	}
}

// Who works while a slug is idle can ask whether it still is: master may have lost the
// session that sees to it, and a retry may have begun.
func TestWhileIdleIsNoLonger(t *testing.T) {
	t.Parallel()
	p := setup(t)
	lease := p.hold(t, tenancy.NewJob{Slug: "acme"})
	p.fail(t, lease)
	err := p.WhileIdle(t.Context(), "acme", false, func(ctx context.Context) error {
		if end, ok := ctx.Deadline(); !ok || time.Until(end) > 5*time.Minute {
			t.Errorf("it may take until %v", end)
		}
		if err := tenancy.CheckFence(ctx); err != nil {
			t.Errorf("while it is idle: %v", err)
		}
		p.exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND state = 'idle in transaction'`)
		if _, err := p.RetryJob(ctx, lease.JobID, operator); err != nil {
			t.Error(err)
		}
		return tenancy.CheckFence(ctx)
	})
	wantCode(t, err, tenancy.CodeLeaseLost)
}

// A request for an invitation that is queued already makes it due at once; one
// that is being sent is left to its sender.
func TestRequestsForInvitationsMeet(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 5)
	job := p.active(t, "acme")
	inv, found, err := p.ClaimInvitation(ctx, job.ID, time.Minute)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	again := func() {
		t.Helper()
		if _, err := p.RequestInvitation(ctx, "acme", operator); err != nil {
			t.Fatal(err)
		}
	}
	again()
	if _, found, _ := p.ClaimInvitation(ctx, job.ID, time.Minute); found {
		t.Error("two senders at once")
	}
	if err := p.RetryInvitation(ctx, inv, "x", time.Hour); err != nil {
		t.Fatal(err)
	}
	again()
	if next, found, err := p.ClaimInvitation(ctx, job.ID, time.Minute); err != nil || !found || next.ID != inv.ID {
		t.Errorf("%v %v %v", next.ID, found, err)
	}
}
