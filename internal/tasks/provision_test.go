package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tasks"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// answers is a runner that returns one error.
type answers struct {
	err error

	mu   sync.Mutex
	runs []tenancy.JobID
}

func (a *answers) Run(_ context.Context, id tenancy.JobID) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runs = append(a.runs, id)
	return a.err
}

func TestWhatBecomesOfATaskIsWhatBecameOfItsJob(t *testing.T) {
	t.Parallel()
	transient := tenancy.Unavailable(errors.New("canary in the cause"), "canary in the message")
	const none = asynq.TaskState(0)
	for _, c := range []struct {
		name  string
		err   error
		state asynq.TaskState // none: the task is gone
		after time.Duration
		says  string // with the job's id for %s
	}{
		{"complete", nil, none, 0, ""},
		{"busy", tenancy.Errorf(tenancy.CodeJobBusy, "busy"), none, 0, ""},
		{"lost", fmt.Errorf("cannot go on: %w", tenancy.Errorf(tenancy.CodeLeaseLost, "lost")), none, 0, ""},
		{"failed", permanent, asynq.TaskStateArchived, 0, "E_MIGRATIONS_FAILED: job %s: skip retry for the task"},
		{"failed, transient by nature", transient, asynq.TaskStateArchived, 0, "E_DEPENDENCY_UNAVAILABLE: job %s: skip retry for the task"},
		{"failed without a code", errors.New("canary"), asynq.TaskStateArchived, 0, "E_INTERNAL: job %s: skip retry for the task"},
		{"not found", tenancy.Errorf(tenancy.CodeNotFound, "no"), asynq.TaskStateArchived, 0, "NOT_FOUND: job %s: skip retry for the task"},
		{
			"delayed", &pipeline.Retry{After: 47 * time.Second, Err: transient}, asynq.TaskStateRetry, 47 * time.Second,
			"E_DEPENDENCY_UNAVAILABLE: again in 47s: job %s",
		},
		{
			"delayed, wrapped", fmt.Errorf("canary: %w", &pipeline.Retry{After: 47 * time.Second, Err: transient}), asynq.TaskStateRetry,
			47 * time.Second, "E_DEPENDENCY_UNAVAILABLE: again in 47s: job %s",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			runner := &answers{err: c.err}
			job := b.submit(t)
			began := time.Now()
			stop := b.start(t, func(cfg *tasks.WorkerConfig) { cfg.Runner = runner })
			if c.state == none {
				eventually(t, "a run", func() bool { runner.mu.Lock(); defer runner.mu.Unlock(); return len(runner.runs) > 0 })
				b.awaitGone(t, tenancy.QueueProvision, firstTask(job))
			} else {
				info := b.awaitTask(t, tenancy.QueueProvision, firstTask(job), c.state)
				if want := fmt.Sprintf(c.says, job.ID); info.LastErr != want {
					t.Errorf("Redis is told %q, want %q", info.LastErr, want)
				}
				if info.Retried != 0 {
					t.Errorf("asynq counts %d failures; the job counts its own", info.Retried)
				}
				// asynq keeps whole seconds.
				if due := info.NextProcessAt.Sub(began); c.after > 0 && (due < c.after-time.Second || due > c.after+10*time.Second) {
					t.Errorf("due again in %s, want %s", due, c.after)
				}
			}
			stop()
			if diff := cmp.Diff([]tenancy.JobID{job.ID}, runner.runs); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAPayloadThatNamesNoJobIsArchived(t *testing.T) {
	t.Parallel()
	b := setup(t)
	runner := &answers{}
	var ids []string
	for i, bad := range []string{"", "{}", `{"jobId":""}`, `{"jobId":7}`, "canary", `["x"]`} {
		id := fmt.Sprintf("bad-%d", i)
		ids = append(ids, id)
		b.deliver(t, tenancy.TaskProvision, tenancy.QueueProvision, id, bad)
	}
	b.deliver(t, tenancy.TaskInvitation, tenancy.QueueMail, "bad-mail", "{}")
	stop := b.start(t, func(cfg *tasks.WorkerConfig) { cfg.Runner, cfg.Mailer = runner, &post{} })
	for _, id := range ids {
		info := b.awaitTask(t, tenancy.QueueProvision, id, asynq.TaskStateArchived)
		if want := "the payload names no job: skip retry for the task"; info.LastErr != want {
			t.Errorf("%s: %q, want %q", id, info.LastErr, want)
		}
	}
	b.awaitTask(t, tenancy.QueueMail, "bad-mail", asynq.TaskStateArchived)
	stop()
	if len(runner.runs) > 0 {
		t.Errorf("jobs %q were run", runner.runs)
	}
}

// A job that does not exist, or an id that is none, is not tried for ever.
func TestATaskForNoSuchJobIsArchived(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, id := range []string{"01900000-0000-7000-8000-000000000001", "canary"} {
		b.deliver(t, tenancy.TaskProvision, tenancy.QueueProvision, "task-"+id, payloadOf(tenancy.JobID(id)))
	}
	b.start(t, b.runs(done))
	for _, id := range []string{"01900000-0000-7000-8000-000000000001", "canary"} {
		info := b.awaitTask(t, tenancy.QueueProvision, "task-"+id, asynq.TaskStateArchived)
		if want := "NOT_FOUND: job " + id + ": skip retry for the task"; info.LastErr != want {
			t.Errorf("%q, want %q", info.LastErr, want)
		}
	}
}

func TestATransientFailureComesBackByItself(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job := b.submit(t)
	b.start(t, b.runs(fails(1, tenancy.Unavailable(errors.New("reset"), "down"))))
	b.awaitJob(t, job.ID, tenancy.JobComplete)
	b.awaitCounts(t, tenancy.QueueProvision, map[string]int{})
}

func TestRunOnTheArchivedTaskOfAFailedJobTriesTheWholeJobAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		failures int
		status   tenancy.JobStatus
		queue    map[string]int
	}{
		{"and completes", 1, tenancy.JobComplete, map[string]int{}},
		{"and fails again", 2, tenancy.JobFailed, map[string]int{"archived": 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			job := b.submit(t)
			b.start(t, b.runs(fails(c.failures, permanent)))
			b.awaitJob(t, job.ID, tenancy.JobFailed)
			b.awaitTask(t, tenancy.QueueProvision, firstTask(job), asynq.TaskStateArchived)
			if err := b.inspector.RunTask(tenancy.QueueProvision, firstTask(job)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "second attempt", func() bool { return b.job(t, job.ID).Attempt == 2 })
			after := b.awaitJob(t, job.ID, c.status)
			// The retry rings too; of the two doorbells one finds nothing to do.
			b.awaitCounts(t, tenancy.QueueProvision, c.queue)
			if diff := cmp.Diff([]string{"asynqmon JOB_RETRIED"}, b.audit(t, job.ID)); diff != "" {
				t.Error(diff)
			}
			if after.Attempt != 2 {
				t.Errorf("attempt %d", after.Attempt)
			}
		})
	}
}

// A doorbell that comes late finds nothing to do, whatever became of the job.
func TestADuplicateOfASettledJobDoesNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		step   step
		status tenancy.JobStatus
	}{
		{"complete", done, tenancy.JobComplete},
		{"failed", fails(1, permanent), tenancy.JobFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			job := b.submit(t)
			b.start(t, b.runs(c.step))
			settled := b.awaitJob(t, job.ID, c.status)
			b.deliver(t, tenancy.TaskProvision, tenancy.QueueProvision, "late", payloadOf(job.ID))
			b.awaitGone(t, tenancy.QueueProvision, "late")
			if diff := cmp.Diff(settled, b.job(t, job.ID)); diff != "" {
				t.Errorf("the job changed:\n%s", diff)
			}
		})
	}
}

// A task that waited for its next try while the job failed otherwise was run by
// nobody: it must not begin a new attempt, though it has an error of the same
// code. It becomes the job's dead letter, in case there is no other.
func TestALateTryOfAFailedJobIsNoRetry(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job := b.submit(t)
	b.start(t, b.runs(fails(1, tenancy.Unavailable(errors.New("reset"), "down"))))
	info := b.awaitTask(t, tenancy.QueueProvision, firstTask(job), asynq.TaskStateRetry)
	failing := b.runner(fails(1, tenancy.Errorf(tenancy.CodeDependencyUnavailable, "gone for good")), nil)
	if err := failing.Run(t.Context(), job.ID); tenancy.CodeOf(err) != tenancy.CodeDependencyUnavailable {
		t.Fatalf("%v (task due %s)", err, info.NextProcessAt)
	}
	settled := b.job(t, job.ID)
	b.awaitTask(t, tenancy.QueueProvision, firstTask(job), asynq.TaskStateArchived)
	if diff := cmp.Diff(settled, b.job(t, job.ID)); diff != "" {
		t.Errorf("the job changed:\n%s", diff)
	}
}

// Run on an archived task whose job was completed meanwhile is a no-op.
func TestRunOnTheArchivedTaskOfACompleteJobDoesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job := b.submit(t)
	b.start(t, b.runs(fails(1, permanent)))
	b.awaitTask(t, tenancy.QueueProvision, firstTask(job), asynq.TaskStateArchived)
	if _, err := b.RetryJob(t.Context(), job.ID, operator); err != nil {
		t.Fatal(err)
	}
	complete := b.awaitJob(t, job.ID, tenancy.JobComplete)
	if err := b.inspector.RunTask(tenancy.QueueProvision, firstTask(job)); err != nil {
		t.Fatal(err)
	}
	b.awaitGone(t, tenancy.QueueProvision, firstTask(job))
	if diff := cmp.Diff(complete, b.job(t, job.ID)); diff != "" {
		t.Errorf("the job changed:\n%s", diff)
	}
}
