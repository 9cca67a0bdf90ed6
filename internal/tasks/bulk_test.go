package tasks_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/placement"
	"github.com/tenantry/tenantry/internal/tasks"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// submitBatch records a batch of n dry runs.
func (b *bench) submitBatch(t *testing.T, n int) tenancy.Batch {
	t.Helper()
	batch := tenancy.NewBatch{DryRun: true, RequestedBy: operator}
	for i := range n {
		batch.Rows = append(batch.Rows, tenancy.NewBatchRow{
			Line: i + 1, Slug: string(slug()), DisplayName: "Bulk", AdminEmail: "canary@bulk.example",
		})
	}
	submitted, err := b.SubmitBatch(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	return submitted
}

// However slow a batch's jobs are, what somebody waits for is taken up at once,
// and the other way round.
func TestTheBulkNeverStarvesTheOthers(t *testing.T) {
	t.Parallel()
	for _, concurrency := range []int{1, 4} {
		t.Run(fmt.Sprint(concurrency), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			batch := b.submitBatch(t, 200)
			_, share := tasks.Shares(concurrency)
			bulk := map[tenancy.JobID]bool{}
			for _, r := range batch.Rows {
				bulk[r.JobID] = true
			}
			var running, most atomic.Int32
			waiting := make(chan struct{})
			release := sync.OnceFunc(func() { close(waiting) })
			stop := b.start(t, func(cfg *tasks.WorkerConfig) {
				cfg.Concurrency = concurrency
				cfg.Runner = b.runner(func(_ context.Context, run *pipeline.Run) error {
					if bulk[run.Job.ID] {
						if n := running.Add(1); n > most.Load() {
							most.Store(n)
						}
						<-waiting
						running.Add(-1)
					}
					return nil
				}, cfg.Draining)
			})
			t.Cleanup(release)
			b.awaitCounts(t, tenancy.QueueBulk, map[string]int{"active": share, "pending": 200 - share})
			for range 3 {
				began := time.Now()
				b.awaitJob(t, b.submit(t).ID, tenancy.JobComplete)
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("picked up and done after %s", took)
				}
			}
			if got := b.counts(t, tenancy.QueueBulk); got["active"] != share {
				t.Errorf("the bulk did not wait: %v", got)
			}
			release()
			eventually(t, "end of the batch", func() bool {
				after, err := b.Batch(t.Context(), batch.ID)
				if err != nil {
					t.Fatal(err)
				}
				return after.Counts.Complete == 200
			})
			stop()
			if int(most.Load()) > share {
				t.Errorf("%d jobs of the bulk at once, want %d at most", most.Load(), share)
			}
		})
	}
}

// A stopping worker gives back what it has of either share, and takes up nothing
// more, though one share has a slot free again before the other.
func TestAStoppingWorkerGivesBothSharesBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	single, batch := b.submit(t), b.submitBatch(t, 21)
	started, draining := make(chan struct{}, 2), make(chan struct{})
	finishSingle, finishBulk := make(chan struct{}), make(chan struct{})
	stop := b.start(t, func(cfg *tasks.WorkerConfig) {
		cfg.Draining, cfg.Concurrency = draining, 2
		cfg.Runner = b.runner(func(_ context.Context, run *pipeline.Run) error {
			started <- struct{}{}
			if run.Job.ID == single.ID {
				<-finishSingle
			} else {
				<-finishBulk
			}
			return nil
		}, draining)
	})
	<-started
	<-started
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	<-draining
	b.awaitCounts(t, tenancy.QueueBulk, map[string]int{"active": 1, "pending": 20})
	close(finishBulk)
	eventually(t, "the bulk's task given back", func() bool { return b.counts(t, tenancy.QueueBulk)["active"] == 0 })
	close(finishSingle)
	<-stopped
	if n := scan[int](t, b, `SELECT count(*) FROM identity.job WHERE started_at IS NOT NULL`); n != 2 {
		t.Errorf("%d jobs were begun", n)
	}
	// A task given back may be on its way from retry to pending.
	if got := b.counts(t, tenancy.QueueBulk); got["pending"]+got["retry"] != 21 {
		t.Errorf("the bulk's queue has %v", got)
	}
	b.start(t, b.runs(done))
	b.awaitJob(t, single.ID, tenancy.JobComplete)
	for _, r := range batch.Rows {
		b.awaitJob(t, r.JobID, tenancy.JobComplete)
	}
}

// provisions provisions a batch's n tenants, one after the other, whose mails go to p.
// It returns their jobs when all tasks have ended.
func (b *bench) provisions(t *testing.T, n int, p *post) []tenancy.JobID {
	t.Helper()
	server := string(slug())
	_, err := b.AddServer(t.Context(), tenancy.DBServer{Name: server, Host: "127.0.0.1", Port: 5432, AdminSecretRef: "admin", IsActive: true}, operator)
	if err != nil {
		t.Fatal(err)
	}
	wanted := tenancy.NewBatch{RequestedBy: operator}
	for i := range n {
		wanted.Rows = append(wanted.Rows, tenancy.NewBatchRow{
			Line: i + 1, Slug: string(slug()), DisplayName: "Bulk", AdminEmail: "canary@acme.example", ServerName: server,
		})
	}
	batch, err := b.SubmitBatch(t.Context(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	b.start(t, func(cfg *tasks.WorkerConfig) {
		cfg.Concurrency = 1
		if p != nil {
			cfg.Admins, cfg.Mailer = p, p
		}
		cfg.Runner = b.runner(func(ctx context.Context, run *pipeline.Run) error {
			_, err := b.ReservePlacement(ctx, run.Lease, "", func(loads []tenancy.ServerLoad) (tenancy.DBServer, error) {
				return placement.Choose(loads, server)
			})
			if err != nil {
				return err
			}
			return b.RegisterTenant(ctx, run.Lease, run.Job.Slug, "5/0", tenancy.Progress{})
		}, cfg.Draining)
	})
	var ids []tenancy.JobID
	for _, r := range batch.Rows {
		ids = append(ids, r.JobID)
		b.awaitJob(t, r.JobID, tenancy.JobComplete)
		b.awaitGone(t, tenancy.QueueBulk, string(r.JobID)+":0")
	}
	return ids
}

// A batch's tenant is invited by the task that made it.
func TestABatchsTenantIsInvitedWithItsJob(t *testing.T) {
	t.Parallel()
	b, p := setup(t), &post{}
	for _, id := range b.provisions(t, 2, p) {
		if got := b.invitation(t, id).Status; got != "sent" {
			t.Errorf("the invitation is %s", got)
		}
	}
	if n := len(p.tokens(t)); n != 2 {
		t.Errorf("%d mails", n)
	}
}

// An invitation that cannot be sent then is rung for later, where the batch's jobs are,
// and meanwhile the mail server keeps no other job waiting.
func TestABatchsUnsentInvitationIsRungFor(t *testing.T) {
	t.Parallel()
	b, p := setup(t), &post{send: func(context.Context) error { return refusedNow }}
	ids := b.provisions(t, 2, p)
	want := []invitation{
		{Status: "queued", Failures: 1, LastError: tenancy.AsError(refusedNow).Message, DueIn: 5 * time.Second},
		{Status: "queued"},
	}
	if diff := cmp.Diff(want, []invitation{b.invitation(t, ids[0]), b.invitation(t, ids[1])}); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	p.answer(nil)
	b.exec(t, `UPDATE identity.invitation SET run_after = now() - interval '1 minute'`)
	if n, err := b.RingStalledInvitations(t.Context(), time.Second, 10); n != 2 || err != nil {
		t.Fatalf("rang for %d: %v", n, err)
	}
	for _, id := range ids {
		b.awaitInvitation(t, id, "sent")
	}
	b.awaitCounts(t, tenancy.QueueBulk, map[string]int{})
	if got := b.counts(t, tenancy.QueueMail); len(got) != 0 {
		t.Errorf("the queue of what somebody waits for has %v", got)
	}
	if n := len(p.tokens(t)); n != 3 {
		t.Errorf("%d mails", n)
	}
}

// However long a queue is paused, an invitation is rung for once in it.
func TestAPausedQueueDoesNotFill(t *testing.T) {
	t.Parallel()
	b, p := setup(t), &post{}
	ids := append(b.provisions(t, 1, nil), b.invited(t).ID)
	b.drain(t)
	before := map[string]int{tenancy.QueueMail: 1, tenancy.QueueBulk: 0}
	for range 3 {
		b.exec(t, `UPDATE identity.invitation SET run_after = now() - interval '1 minute'`)
		for range 2 { // with the last round's in the outbox still, and without
			if _, err := b.RingStalledInvitations(t.Context(), 0, 10); err != nil {
				t.Fatal(err)
			}
		}
		b.drain(t)
		for queue, n := range before {
			if got := b.counts(t, queue)["pending"]; got != n+1 {
				t.Errorf("%s has %d tasks, want %d", queue, got, n+1)
			}
		}
	}
	b.mails(t, p)
	for _, id := range ids {
		b.awaitInvitation(t, id, "sent")
	}
}

// roundCounter is a ledger that counts the reconciler's rounds.
type roundCounter struct {
	tasks.Ledger
	n atomic.Int32
}

func (l *roundCounter) ForgetSignIns(ctx context.Context) error {
	l.n.Add(1)
	return l.Ledger.ForgetSignIns(ctx)
}

// A worker without mail makes tenants and leaves every mail to those that send some,
// however long there is none.
func TestAWorkerWithoutMailLeavesItToTheOthers(t *testing.T) {
	t.Parallel()
	b, p := setup(t), &post{}
	ids := append(b.provisions(t, 2, nil), b.invited(t).ID)
	rounds := &roundCounter{Ledger: b.Store}
	b.exec(t, `UPDATE identity.invitation SET run_after = now() - interval '1 minute'`)
	if n, err := b.RingStalledInvitations(t.Context(), time.Second, 10); n != 3 || err != nil {
		t.Fatalf("rang for %d: %v", n, err)
	}
	b.exec(t, `UPDATE identity.invitation SET run_after = now() - interval '1 minute'`)
	stop := b.start(t, func(cfg *tasks.WorkerConfig) { cfg.Ledger = rounds })
	eventually(t, "two rounds of the reconciler", func() bool { return rounds.n.Load() >= 2 })
	b.awaitCounts(t, tenancy.QueueBulk, map[string]int{})
	b.awaitCounts(t, tenancy.QueueMail, map[string]int{"pending": 2}) // the tenant's own and the one above
	for _, id := range ids {
		if got := b.invitation(t, id); got.Status != "queued" || got.Failures != 0 {
			t.Errorf("%+v", got)
		}
	}
	stop()

	// The worker that made the tenants still takes some of the tasks, and sends nothing.
	b.start(t, func(cfg *tasks.WorkerConfig) { cfg.Ledger, cfg.Admins, cfg.Mailer = b.Store, p, p })
	eventually(t, "all mails", func() bool {
		b.exec(t, `UPDATE identity.invitation SET run_after = now() - interval '1 minute' WHERE status = 'queued' AND NOT claimed`)
		return p.count() == 3
	})
	for _, id := range ids {
		b.awaitInvitation(t, id, "sent")
	}
}

// What Redis lost of a batch comes back in the bulk's queue.
func TestALostBatchIsRungAgainInTheBulk(t *testing.T) {
	t.Parallel()
	b := setup(t)
	batch := b.submitBatch(t, 5)
	b.drain(t)
	if err := b.redis.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE identity.job SET run_after = now() - interval '1 minute'`)
	if err := tasks.Reconcile(t.Context(), b.Store, b.inspector); err != nil {
		t.Fatal(err)
	}
	b.drain(t)
	if got := b.counts(t, tenancy.QueueBulk); got["pending"] != len(batch.Rows) {
		t.Errorf("the bulk's queue has %v", got)
	}
	b.start(t, b.runs(done))
	for _, r := range batch.Rows {
		b.awaitJob(t, r.JobID, tenancy.JobComplete)
	}
}

func TestShares(t *testing.T) {
	t.Parallel()
	for concurrency, want := range map[int][2]int{1: {1, 1}, 2: {1, 1}, 3: {2, 1}, 4: {2, 2}, 10: {5, 5}, 1000: {500, 500}} {
		if interactive, bulk := tasks.Shares(concurrency); [2]int{interactive, bulk} != want {
			t.Errorf("Shares(%d) = %d, %d", concurrency, interactive, bulk)
		}
	}
}

// What has expired is purged by the workers that can dump it, and the others leave it to
// them.
func TestOnlyWorkersThatPurgeTakeWhatHasExpired(t *testing.T) {
	t.Parallel()
	b := setup(t)
	submit := func(queue string) tenancy.JobID {
		id := b.submit(t).ID
		b.exec(t, `UPDATE identity.job SET queue = $2 WHERE job_id = $1`, id, queue)
		b.exec(t, `UPDATE identity.outbox SET queue = $2 WHERE job_id = $1`, id, queue)
		return id
	}
	expired := submit(tenancy.QueueFleet)
	b.start(t, b.runs(done))
	for range 5 {
		b.awaitJob(t, submit(tenancy.QueueBulk), tenancy.JobComplete)
	}
	if diff := cmp.Diff(map[string]int{"pending": 1}, b.counts(t, tenancy.QueueFleet)); diff != "" {
		t.Error(diff)
	}
	b.start(t, func(cfg *tasks.WorkerConfig) {
		b.runs(done)(cfg)
		cfg.PurgeExpired = true
	})
	b.awaitJob(t, expired, tenancy.JobComplete)
}
