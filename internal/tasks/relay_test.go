package tasks_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/tenantry/tenantry/internal/tasks"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestRelayCarriesTheJobsIDAndNothingElse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job := b.submit(t)
	b.drain(t)
	info := b.task(t, tenancy.QueueProvision, firstTask(job))
	if info == nil {
		t.Fatal("Redis has no task")
	}
	type task struct {
		Type, Queue, Payload, LastErr, Group string
		State                                asynq.TaskState
		Headers                              int
	}
	want := task{
		Type: "tenant:provision", Queue: "provision", Payload: `{"jobId":"` + string(job.ID) + `"}`, State: asynq.TaskStatePending,
	}
	got := task{info.Type, info.Queue, string(info.Payload), info.LastErr, info.Group, info.State, len(info.Headers)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if info.Timeout < time.Hour {
		// asynq's own timeout would lose sight of a job that goes on.
		t.Errorf("the task times out after %s", info.Timeout)
	}
	if n := scan[int](t, b, `SELECT count(*) FROM identity.outbox`); n != 0 {
		t.Errorf("%d doorbells are left in the outbox", n)
	}
	for _, key := range b.redis.Keys(t.Context(), "*").Val() {
		fields := b.redis.HGetAll(t.Context(), key).Val()
		for field, value := range fields {
			if strings.Contains(value, "canary") || strings.Contains(value, string(job.Slug)) {
				t.Errorf("%s %s tells more than the id: %q", key, field, value)
			}
		}
	}
}

// A relay that died between enqueueing a task and removing it from the outbox
// leaves one that Redis has already.
func TestRelayTakesATaskThatRedisHasForEnqueued(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"pending", "archived"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			job, behind := b.submit(t), b.submit(t)
			b.deliver(t, tenancy.TaskProvision, tenancy.QueueProvision, firstTask(job), payloadOf(job.ID))
			if state == "archived" {
				if err := b.inspector.ArchiveTask(tenancy.QueueProvision, firstTask(job)); err != nil {
					t.Fatal(err)
				}
			}
			b.drain(t)
			if n := scan[int](t, b, `SELECT count(*) FROM identity.outbox`); n != 0 {
				t.Errorf("%d doorbells are left in the outbox", n)
			}
			if got := b.task(t, tenancy.QueueProvision, firstTask(job)); got == nil || got.State.String() != state {
				t.Errorf("the task is %+v", got)
			}
			if b.task(t, tenancy.QueueProvision, firstTask(behind)) == nil {
				t.Error("the one behind it was not relayed")
			}
		})
	}
}

func TestRelayOutlivesRedis(t *testing.T) {
	t.Parallel()
	server := ownRedis(t)
	b := setupOn(t, server.URL())
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	outbox := &watched{Outbox: b.Store, failed: make(chan struct{}, 1)}
	relay := tasks.NewRelay(outbox, b.redis, quiet)
	job := b.submit(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); relay.Run(ctx) }()
	for range 2 { // it goes on trying
		select {
		case <-outbox.failed:
		case <-time.After(20 * time.Second):
			t.Fatal("the relay does not notice that Redis is away")
		}
	}
	if n := scan[int](t, b, `SELECT count(*) FROM identity.outbox`); n != 1 {
		t.Errorf("%d doorbells in the outbox, want the one", n)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.awaitTask(t, tenancy.QueueProvision, firstTask(job), asynq.TaskStatePending)
	eventually(t, "empty outbox", func() bool { return scan[int](t, b, `SELECT count(*) FROM identity.outbox`) == 0 })
	cancel()
	<-ended
}

// watched tells of rounds that failed.
type watched struct {
	tasks.Outbox
	failed chan struct{}
}

func (w *watched) RelayOutbox(ctx context.Context, limit int, enqueue func(tenancy.Task) error) (int, error) {
	n, err := w.Outbox.RelayOutbox(ctx, limit, enqueue)
	if err != nil {
		select {
		case w.failed <- struct{}{}:
		default:
		}
	}
	return n, err
}

func TestRelayLooksAtOnceWhenWokenAndOtherwiseNowAndThen(t *testing.T) {
	t.Parallel()
	client := openRedis(t, "redis://127.0.0.1:1") // never dialled
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		outbox := &timed{began: began}
		relay := tasks.NewRelay(outbox, client, quiet)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); relay.Run(ctx) }()
		pass := func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
		}
		pass(tasks.RelayInterval / 5)
		relay.Wake()
		relay.Wake() // while it is about to look: never blocks, and is not lost
		synctest.Wait()
		pass(tasks.RelayInterval)
		cancel()
		<-ended
		want := []time.Duration{0, tasks.RelayInterval / 5, tasks.RelayInterval}
		got := outbox.looked
		if len(got) == 4 { // the second wake may have come after the first look
			got = append(got[:2:2], got[3:]...)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("looked at (-want +got):\n%s", diff)
		}
	})
}

// timed is an empty outbox that keeps when it was looked at.
type timed struct {
	began  time.Time
	looked []time.Duration
}

func (o *timed) RelayOutbox(context.Context, int, func(tenancy.Task) error) (int, error) {
	o.looked = append(o.looked, time.Since(o.began))
	return 0, nil
}

// A full round is followed by another at once.
func TestRelayEmptiesALongOutbox(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const many = 250
	b.submit(t)
	b.exec(t, `
		INSERT INTO identity.outbox (task_type, queue, task_id, job_id)
		SELECT task_type, queue, task_id || '-' || n, job_id FROM identity.outbox, generate_series(2, $1) AS n`, many)
	b.drain(t)
	if diff := cmp.Diff(map[string]int{"pending": many}, b.counts(t, tenancy.QueueProvision)); diff != "" {
		t.Error(diff)
	}
}
