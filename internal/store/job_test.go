package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestSubmitJobRecordsJobPhasesAndDoorbell(t *testing.T) {
	t.Parallel()
	p := setup(t)
	job := p.submit(t, tenancy.NewJob{Slug: "acme"})
	if job.Status != tenancy.JobQueued || job.Attempt != 1 || job.Version != 1 || job.TenantID == "" {
		t.Errorf("unexpected job %+v", job)
	}
	var names []tenancy.PhaseName
	for _, ph := range job.Phases {
		names = append(names, ph.Name)
	}
	if diff := cmp.Diff(tenancy.ProvisionPhases(false), names); diff != "" {
		t.Error(diff)
	}
	var rung []tenancy.Task
	n, err := p.RelayOutbox(t.Context(), 10, func(task tenancy.Task) error { rung = append(rung, task); return nil })
	if err != nil || n != 1 {
		t.Fatalf("relayed %d, %v", n, err)
	}
	want := tenancy.Task{Type: tenancy.TaskProvision, Queue: tenancy.QueueProvision, ID: string(job.ID) + ":0", JobID: job.ID}
	rung[0].OutboxID = 0
	if diff := cmp.Diff(want, rung[0]); diff != "" {
		t.Error(diff)
	}
}

func TestOutboxKeepsWhatRedisDidNotTake(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.submit(t, tenancy.NewJob{Slug: "acme"})
	p.submit(t, tenancy.NewJob{Slug: "bolt"})
	down := errors.New("down")
	took := 0
	n, err := p.RelayOutbox(t.Context(), 10, func(tenancy.Task) error {
		if took == 1 {
			return down
		}
		took++
		return nil
	})
	if n != 1 || !errors.Is(err, down) {
		t.Fatalf("relayed %d, %v", n, err)
	}
	if n, err := p.RelayOutbox(t.Context(), 10, func(tenancy.Task) error { return nil }); n != 1 || err != nil {
		t.Fatalf("relayed %d, %v; want the one that was left", n, err)
	}
}

// TestOutboxEndsALongRound: what Redis took slowly is removed before the transaction has
// idled too long, and the rest comes with the next round.
func TestOutboxEndsALongRound(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.submit(t, tenancy.NewJob{Slug: "acme"})
	p.submit(t, tenancy.NewJob{Slug: "bolt"})
	n, err := p.RelayOutbox(t.Context(), 10, func(tenancy.Task) error { <-time.After(time.Second); return nil })
	if n != 1 || err != nil {
		t.Fatalf("relayed %d, %v; want the one that took all the time", n, err)
	}
	if rung := p.rings(t); len(rung) != 1 {
		t.Errorf("left: %v, want the other", rung)
	}
}

// While a relay enqueues, no other one does so with the same doorbells; and if it
// dies or is stopped meanwhile, they stay.
func TestOutboxKeepsWhatARelayDidNotFinish(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(stop func()){
		"dies": func(func()) { panic("dies") }, "is stopped": func(stop func()) { stop() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := setup(t)
			p.submit(t, tenancy.NewJob{Slug: "acme"})
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			func() {
				defer func() { _ = recover() }()
				n, err := p.RelayOutbox(ctx, 10, func(tenancy.Task) error {
					if rung := p.rings(t); len(rung) > 0 {
						t.Errorf("another relay got %v", rung)
					}
					end(stop)
					return nil
				})
				if n != 0 || !errors.Is(err, context.Canceled) {
					t.Errorf("relayed %d, %v", n, err)
				}
			}()
			var left int
			if p.scan(t, `SELECT count(*) FROM identity.outbox`, &left); left != 1 {
				t.Errorf("%d are left", left)
			}
		})
	}
}

func TestOneUnsettledJobASlug(t *testing.T) {
	t.Parallel()
	p := setup(t)
	var wait sync.WaitGroup
	results := make(chan error, 20)
	for range cap(results) {
		wait.Go(func() {
			_, err := p.SubmitJob(t.Context(), tenancy.NewJob{Slug: "acme", RequestedBy: operator})
			results <- err
		})
	}
	wait.Wait()
	close(results)
	accepted := 0
	for err := range results {
		if err == nil {
			accepted++
			continue
		}
		wantCode(t, err, tenancy.CodeJobInProgress)
		if tenancy.AsError(err).JobID == "" {
			t.Error("the running job is not named")
		}
	}
	if accepted != 1 {
		t.Errorf("%d jobs were accepted", accepted)
	}
}

// A request that another one for the slug overtakes leaves nothing, its key included.
func TestARefusedJobLeavesNothing(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.overtake(t, func(ctx context.Context) error {
		_, err := p.SubmitJob(ctx, tenancy.NewJob{Slug: "acme", IdempotencyKey: "k", RequestedBy: operator})
		return err
	})
}

// So does a retry.
func TestARefusedRetryLeavesNothing(t *testing.T) {
	t.Parallel()
	p := setup(t)
	lease := p.hold(t, tenancy.NewJob{Slug: "acme"})
	p.fail(t, lease)
	p.overtake(t, func(ctx context.Context) error {
		_, err := p.RetryJob(ctx, lease.JobID, operator)
		return err
	})
}

// overtake commits a job for acme after slower looked for one and before it wrote.
// slower must name it and leave nothing.
func (p plane) overtake(t *testing.T, slower func(context.Context) error) {
	t.Helper()
	ctx := t.Context()
	faster, err := p.sql.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var running tenancy.JobID
	p.scan(t, `
		INSERT INTO identity.job (job_id, kind, status, slug, tenant_id, display_name, admin_email, actor)
		VALUES (gen_random_uuid(), 'provision', 'queued', 'acme', gen_random_uuid(), 'Acme', 'a@acme.example', 'x')
		RETURNING job_id`, &running)
	before := p.contents(t)
	refused := make(chan error, 1)
	go func() { refused <- slower(ctx) }()
	for waits := false; !waits; {
		p.scan(t, `
			SELECT EXISTS (SELECT FROM pg_locks w JOIN pg_locks h USING (transactionid)
			               WHERE NOT w.granted AND h.pid = pg_backend_pid())`, &waits)
	}
	if err := faster.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	err = <-refused
	wantCode(t, err, tenancy.CodeJobInProgress)
	if got := tenancy.AsError(err).JobID; got != running {
		t.Errorf("the running job is %s, not %q", running, got)
	}
	if diff := cmp.Diff(before, p.contents(t)); diff != "" {
		t.Error(diff)
	}
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	p := setup(t)
	request := tenancy.NewJob{Slug: "acme", IdempotencyKey: "k", RequestedBy: operator}
	ids := make(chan tenancy.JobID, 20)
	var wait sync.WaitGroup
	for range cap(ids) {
		wait.Go(func() {
			job, err := p.SubmitJob(t.Context(), request)
			if err != nil {
				t.Error(err)
			}
			ids <- job.ID
		})
	}
	wait.Wait()
	close(ids)
	first := <-ids
	for id := range ids {
		if id != first {
			t.Errorf("one key gave jobs %s and %s", first, id)
		}
	}
	if _, _, err := p.AcquireLease(t.Context(), first, "w", time.Minute); err != nil {
		t.Fatal(err)
	}
	again, err := p.SubmitJob(t.Context(), request)
	if err != nil || again.Status != tenancy.JobQueued || again.Version != 1 {
		t.Errorf("the repeated request got %s version %d, %v; want the first answer", again.Status, again.Version, err)
	}
	request.Slug = "bolt"
	_, err = p.SubmitJob(t.Context(), request)
	wantCode(t, err, tenancy.CodeInvalidRequest)
	request.RequestedBy.Name = "someone else"
	if job, err := p.SubmitJob(t.Context(), request); err != nil || job.Slug != "bolt" {
		t.Errorf("another caller's key got %s, %v", job.Slug, err)
	}
}

func TestEarlyChecks(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.addServer(t, "pg-a", 5)
	if _, err := p.UpdateServer(t.Context(), "pg-a", tenancy.ServerChange{IsActive: new(false)}, operator); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pg-a", "pg-z"} {
		_, err := p.SubmitJob(t.Context(), tenancy.NewJob{Slug: "acme", ServerName: name, RequestedBy: operator})
		wantCode(t, err, tenancy.CodeDBServerNotFound)
	}
	if _, err := p.sql.Exec(t.Context(), `INSERT INTO identity.tenant (slug, display_name, status, db_server_id, db_name, db_secret_ref)
		SELECT 'taken', 'T', 'active', db_server_id, 'x', 'y' FROM identity.db_server`); err != nil {
		t.Fatal(err)
	}
	_, err := p.SubmitJob(t.Context(), tenancy.NewJob{Slug: "taken", RequestedBy: operator})
	wantCode(t, err, tenancy.CodeAlreadyProvisioned)
	if _, err := p.SubmitJob(t.Context(), tenancy.NewJob{Slug: "taken", ServerName: "pg-z", InProcess: true, RequestedBy: operator}); err != nil {
		t.Errorf("a job in process was checked early: %v", err)
	}
}

func TestLeaseIsExclusiveAndFences(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	job := p.submit(t, tenancy.NewJob{Slug: "acme"})
	_, first, err := p.AcquireLease(ctx, job.ID, "one", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = p.AcquireLease(ctx, job.ID, "two", time.Minute)
	wantCode(t, err, tenancy.CodeJobBusy)
	if err := p.RenewLease(ctx, first, -time.Second); err != nil { // let it run out
		t.Fatal(err)
	}
	_, second, err := p.AcquireLease(ctx, job.ID, "two", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	phase := tenancy.PhasePlacementResolved
	cause := tenancy.PhaseError{Code: tenancy.CodeInternal, Message: "x"}
	writes := map[string]func(tenancy.Lease) error{
		"RenewLease": func(l tenancy.Lease) error { return p.RenewLease(ctx, l, time.Minute) },
		"CheckLease": func(l tenancy.Lease) error { return p.CheckLease(ctx, l, time.Minute) },
		"RecordProgress": func(l tenancy.Lease) error {
			_, err := p.RecordProgress(ctx, l, progress(phase, "state_checked", nil))
			return err
		},
		"RetryPhase": func(l tenancy.Lease) error { return p.RetryPhase(ctx, l, phase, cause, 0) },
		"BeginRollback": func(l tenancy.Lease) error {
			return p.BeginRollback(ctx, l, phase, &cause)
		},
		"UndonePhase":       func(l tenancy.Lease) error { return p.UndonePhase(ctx, l, phase) },
		"RetryUndo":         func(l tenancy.Lease) error { return p.RetryUndo(ctx, l, phase, cause, nil, 0) },
		"SettleRollback":    func(l tenancy.Lease) error { return p.SettleRollback(ctx, l) },
		"ReleaseLease":      func(l tenancy.Lease) error { return p.ReleaseLease(ctx, l) },
		"FreePlacement":     func(l tenancy.Lease) error { return p.FreePlacement(ctx, l) },
		"RegisterTenant":    func(l tenancy.Lease) error { return p.RegisterTenant(ctx, l, "acme", "1", tenancy.Progress{}) },
		"UnregisterTenant":  func(l tenancy.Lease) error { return p.UnregisterTenant(ctx, l) },
		"CompleteProvision": func(l tenancy.Lease) error { return p.CompleteProvision(ctx, l, tenancy.Progress{}) },
	}
	before := p.snapshot(t, job.ID)
	for name, write := range writes {
		if err := write(first); tenancy.CodeOf(err) != tenancy.CodeLeaseLost {
			t.Errorf("%s with a lost lease: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, p.snapshot(t, job.ID)); diff != "" {
		t.Errorf("a lost lease changed the job:\n%s", diff)
	}
	if job, err := p.Job(ctx, job.ID); err != nil || job.Phase != phase || job.Phases[0].Status != tenancy.PhaseRunning || job.Phases[0].StartedAt == nil {
		t.Errorf("the first phase is not about to start: %+v, %v", job, err)
	}
	// What lasts is only looked at, what does not is extended.
	left := `SELECT lease_until > now() + interval '50 seconds' FROM identity.job WHERE job_id = $1`
	for _, until := range []time.Duration{40 * time.Second, 20 * time.Second, -time.Second} {
		if err := errors.Join(p.RenewLease(ctx, second, until), p.CheckLease(ctx, second, time.Minute)); err != nil {
			t.Fatal(err)
		}
		var extended bool
		if p.scan(t, left, &extended, job.ID); extended != (until < 30*time.Second) {
			t.Errorf("with %s left: extended is %v", until, extended)
		}
	}
}

// snapshot is the job's row and phases as text.
func (p plane) snapshot(t *testing.T, id tenancy.JobID) string {
	t.Helper()
	var s string
	p.scan(t, `SELECT j::text || (SELECT string_agg(p::text, ' ' ORDER BY position) FROM identity.job_phase p WHERE p.job_id = j.job_id)
		FROM identity.job j WHERE job_id = $1`, &s, id)
	return s
}

func TestJournalAndRollback(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	job := p.submit(t, tenancy.NewJob{Slug: "acme"})
	_, lease, err := p.AcquireLease(ctx, job.ID, "w", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	cancel, err := p.RecordProgress(ctx, lease, progress(tenancy.PhasePlacementResolved, tenancy.PhaseStateChecked, map[string]any{"dbServer": "pg-a"}))
	if err != nil || cancel {
		t.Fatal(cancel, err)
	}
	must(p.BeginRollback(ctx, lease, tenancy.PhaseStateChecked, &tenancy.PhaseError{Code: tenancy.CodePartialState, Message: "there"}))
	must(p.UndonePhase(ctx, lease, tenancy.PhaseStateChecked))
	must(p.UndonePhase(ctx, lease, tenancy.PhasePlacementResolved))
	must(p.SettleRollback(ctx, lease))

	got, err := p.Job(ctx, job.ID)
	must(err)
	want := &tenancy.JobError{
		Code: tenancy.CodePartialState, Message: "there", Phase: tenancy.PhaseStateChecked, RolledBack: true, Residue: []string{},
	}
	if diff := cmp.Diff(want, got.Error); diff != "" {
		t.Error(diff)
	}
	if got.Status != tenancy.JobFailed || got.Phases[0].Status != tenancy.PhaseUndone || got.Phases[1].Status != tenancy.PhaseFailed ||
		got.Phases[2].Status != tenancy.PhasePending || got.FinishedAt == nil {
		t.Errorf("unexpected job %+v", got)
	}
	events, _, err := p.ListAudit(ctx, tenancy.AuditFilter{Slug: "acme"})
	must(err)
	if len(events) != 1 || events[0].Type != tenancy.EventTenantProvisionFailed || events[0].Details["code"] != "E_PARTIAL_STATE" {
		t.Errorf("unexpected audit %+v", events)
	}

	retried, err := p.RetryJob(ctx, job.ID, operator)
	must(err)
	if retried.Attempt != 2 || retried.Status != tenancy.JobQueued || retried.Error != nil || retried.Phases[0].Status != tenancy.PhasePending {
		t.Errorf("unexpected retried job %+v", retried)
	}
	_, err = p.RetryJob(ctx, job.ID, operator)
	wantCode(t, err, tenancy.CodeJobInProgress)
}

func TestCancelRings(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	job := p.submit(t, tenancy.NewJob{Slug: "acme"})
	if _, err := p.CancelJob(ctx, job.ID, operator); err != nil {
		t.Fatal(err)
	}
	got, lease, err := p.AcquireLease(ctx, job.ID, "w", time.Minute)
	if err != nil || !got.CancelRequested {
		t.Fatalf("cancel requested: %v, %v", got.CancelRequested, err)
	}
	if err := p.BeginRollback(ctx, lease, "", nil); err != nil {
		t.Fatal(err)
	}
	_, err = p.CancelJob(ctx, job.ID, operator)
	wantCode(t, err, tenancy.CodeConflict)
	if err := p.SettleRollback(ctx, lease); err != nil {
		t.Fatal(err)
	}
	if got, _ := p.Job(ctx, job.ID); got.Status != tenancy.JobCancelled {
		t.Errorf("the job is %s", got.Status)
	}
}

func TestStalledJobs(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	job := p.submit(t, tenancy.NewJob{Slug: "acme"})
	stalled := func() []tenancy.StalledJob {
		t.Helper()
		jobs, err := p.StalledJobs(ctx, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		return jobs
	}
	if jobs := stalled(); len(jobs) != 0 {
		t.Errorf("a job whose doorbell is in the outbox is stalled: %v", jobs)
	}
	if _, err := p.RelayOutbox(ctx, 10, func(tenancy.Task) error { return nil }); err != nil {
		t.Fatal(err)
	}
	jobs := stalled()
	if len(jobs) != 1 || jobs[0].ID != job.ID {
		t.Fatalf("stalled: %v", jobs)
	}
	_, lease, err := p.AcquireLease(ctx, job.ID, "w", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if rung, err := p.RingStalled(ctx, jobs[0]); rung || err != nil {
		t.Errorf("rang for a job that was taken: %v, %v", rung, err)
	}
	if jobs := stalled(); len(jobs) != 0 {
		t.Errorf("a held job is stalled: %v", jobs)
	}
	if err := p.RenewLease(ctx, lease, -time.Second); err != nil {
		t.Fatal(err)
	}
	if rung, err := p.RingStalled(ctx, stalled()[0]); !rung || err != nil {
		t.Errorf("did not ring: %v, %v", rung, err)
	}
	_, err = p.RecordProgress(ctx, lease, progress(tenancy.PhasePlacementResolved, tenancy.PhaseStateChecked, nil))
	wantCode(t, err, tenancy.CodeLeaseLost)
}

// progress is that of a phase which took no time.
func progress(phase, next tenancy.PhaseName, detail map[string]any) tenancy.Progress {
	now := time.Now()
	return tenancy.Progress{Done: []tenancy.DonePhase{{Name: phase, Detail: detail, Began: now, Ended: now}}, Next: next}
}
