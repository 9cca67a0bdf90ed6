package tasks_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/tenantry/tenantry/internal/tasks"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// stalled submits a job that has been due for long, whose doorbell is for the
// caller to put into Redis or to lose.
func (b *bench) stalled(t *testing.T) tenancy.Job {
	t.Helper()
	job := b.submit(t)
	b.exec(t, `DELETE FROM identity.outbox`)
	b.exec(t, `UPDATE identity.job SET run_after = now() - interval '1 minute' WHERE job_id = $1`, job.ID)
	return job
}

// ringing is the ids of the tasks in the outbox.
func (b *bench) ringing(t *testing.T) []string {
	t.Helper()
	return scan[[]string](t, b, `SELECT coalesce(array_agg(task_id ORDER BY outbox_id), '{}') FROM identity.outbox`)
}

func TestReconcilerRingsForWhatNothingDrives(t *testing.T) {
	t.Parallel()
	const queue = tenancy.QueueProvision
	for _, c := range []struct {
		name    string
		arrange func(*testing.T, *bench, tenancy.Job)
		rings   bool
	}{
		{"Redis lost the task", func(*testing.T, *bench, tenancy.Job) {}, true},
		{"the task is pending", func(t *testing.T, b *bench, job tenancy.Job) {
			b.deliver(t, tenancy.TaskProvision, queue, firstTask(job), payloadOf(job.ID))
		}, false},
		{"another job's task is pending", func(t *testing.T, b *bench, job tenancy.Job) {
			b.deliver(t, tenancy.TaskProvision, queue, "other", payloadOf(job.ID))
		}, true},
		{"the task is archived", func(t *testing.T, b *bench, job tenancy.Job) {
			b.deliver(t, tenancy.TaskProvision, queue, firstTask(job), payloadOf(job.ID))
			if err := b.inspector.ArchiveTask(queue, firstTask(job)); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"the task comes soon", func(t *testing.T, b *bench, job tenancy.Job) {
			b.deliver(t, tenancy.TaskProvision, queue, firstTask(job), payloadOf(job.ID), asynq.ProcessIn(time.Second))
		}, false},
		{"the task comes too late", func(t *testing.T, b *bench, job tenancy.Job) {
			b.deliver(t, tenancy.TaskProvision, queue, firstTask(job), payloadOf(job.ID), asynq.ProcessIn(time.Hour))
		}, true},
		{"the task is active with a worker that holds nothing", func(t *testing.T, b *bench, job tenancy.Job) {
			b.deliver(t, tenancy.TaskProvision, queue, firstTask(job), payloadOf(job.ID))
			b.occupy(t)
			b.awaitTask(t, queue, firstTask(job), asynq.TaskStateActive)
		}, true},
		{"a worker has the job", func(t *testing.T, b *bench, job tenancy.Job) {
			if _, _, err := b.AcquireLease(t.Context(), job.ID, "w", time.Minute); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"the worker died", func(t *testing.T, b *bench, job tenancy.Job) {
			if _, _, err := b.AcquireLease(t.Context(), job.ID, "w", time.Minute); err != nil {
				t.Fatal(err)
			}
			b.exec(t, `UPDATE identity.job SET lease_until = now() - interval '1 second' WHERE job_id = $1`, job.ID)
		}, true},
		{"the job is due only now", func(t *testing.T, b *bench, job tenancy.Job) {
			b.exec(t, `UPDATE identity.job SET run_after = now() WHERE job_id = $1`, job.ID)
		}, false},
		{"the job is settled", func(t *testing.T, b *bench, job tenancy.Job) {
			if err := b.runner(done, nil).Run(t.Context(), job.ID); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"the doorbell is still in the outbox", func(t *testing.T, b *bench, job tenancy.Job) {
			b.exec(t, `INSERT INTO identity.outbox (task_type, queue, task_id, job_id) VALUES ($1, $2, $3, $4)`,
				tenancy.TaskProvision, queue, firstTask(job), job.ID)
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			job := b.stalled(t)
			c.arrange(t, b, job)
			outbox, epoch := b.ringing(t), b.epoch(t, job)
			if err := tasks.Reconcile(t.Context(), b.Store, b.inspector); err != nil {
				t.Fatal(err)
			}
			if !c.rings {
				if diff := cmp.Diff(outbox, b.ringing(t)); diff != "" || b.epoch(t, job) != epoch {
					t.Errorf("rang: %s", diff)
				}
				return
			}
			rung := b.ringing(t)
			if len(rung) != 1 || rung[0] == firstTask(job) || b.epoch(t, job) != epoch+1 {
				t.Fatalf("rang %q at epoch %d, want one fresh id at epoch %d", rung, b.epoch(t, job), epoch+1)
			}
			b.drain(t)
			b.awaitTask(t, queue, rung[0], asynq.TaskStatePending)
			// Once is enough, even if it is a while until a worker comes.
			b.exec(t, `UPDATE identity.job SET run_after = now() - interval '1 minute' WHERE job_id = $1`, job.ID)
			if err := tasks.Reconcile(t.Context(), b.Store, b.inspector); err != nil {
				t.Fatal(err)
			}
			if again := b.ringing(t); len(again) > 0 {
				t.Errorf("rang again: %q", again)
			}
		})
	}
}

func (b *bench) epoch(t *testing.T, job tenancy.Job) int64 {
	t.Helper()
	return scan[int64](t, b, `SELECT lease_epoch FROM identity.job WHERE job_id = $1`, job.ID)
}

// occupy runs a worker that takes tasks and does nothing with them.
func (b *bench) occupy(t *testing.T) {
	t.Helper()
	release := make(chan struct{})
	server := asynq.NewServerFromRedisClient(b.redis, asynq.Config{
		Concurrency: 1, Queues: map[string]int{tenancy.QueueProvision: 1}, TaskCheckInterval: 10 * time.Millisecond, LogLevel: asynq.FatalLevel,
	})
	if err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { <-release; return nil })); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(release); server.Shutdown() })
}

func TestReconcilerRingsForNobodyWhileRedisDoesNotAnswer(t *testing.T) {
	t.Parallel()
	server := ownRedis(t)
	b := setupOn(t, server.URL())
	b.stalled(t)
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := tasks.Reconcile(t.Context(), b.Store, b.inspector); err == nil {
		t.Error("no error")
	}
	if rung := b.ringing(t); len(rung) > 0 {
		t.Errorf("rang %q without knowing what Redis has", rung)
	}
}

// A job whose doorbell is lost is done all the same.
func TestAFlushedRedisLosesNoJob(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job := b.submit(t)
	b.drain(t)
	if err := b.redis.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE identity.job SET run_after = now() - interval '1 minute' WHERE job_id = $1`, job.ID)
	b.start(t, func(cfg *tasks.WorkerConfig) {
		b.runs(done)(cfg)
		cfg.Ledger = b.Store
	})
	b.awaitJob(t, job.ID, tenancy.JobComplete)
}

func TestOnlyTheLeaderReconciles(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.stalled(t)
	ledger := &counted{Ledger: b.Store, led: make(chan struct{}, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	err := b.Lead(t.Context(), "reconciler", func(context.Context) error {
		for range 3 {
			wait.Go(func() { tasks.RunReconciler(ctx, ledger, b.inspector) })
		}
		for range 3 {
			<-ledger.led
		}
		if rung := b.ringing(t); len(rung) > 0 {
			t.Errorf("rang %q without leading", rung)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "ring", func() bool { return len(b.ringing(t)) == 1 })
}

// counted tells when someone tried to lead.
type counted struct {
	tasks.Ledger
	led chan struct{}
}

func (l *counted) Lead(ctx context.Context, name string, f func(context.Context) error) error {
	err := l.Ledger.Lead(ctx, name, f)
	select {
	case l.led <- struct{}{}:
	default:
	}
	return err
}

// Trouble with one round does not end the rounds.
func TestReconcilerTriesOn(t *testing.T) {
	t.Parallel()
	tries := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); tasks.RunReconciler(ctx, troubled{tries: tries}, nil) }()
	for range 2 {
		<-tries
	}
	cancel()
	<-ended
}

type troubled struct {
	idle
	tries chan struct{}
}

func (l troubled) Lead(ctx context.Context, _ string, _ func(context.Context) error) error {
	select {
	case l.tries <- struct{}{}:
	case <-ctx.Done():
	}
	return errors.New("down")
}
