package tasks_test

import (
	"context"
	"net"
	"net/url"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tasks"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// A worker that is told to stop gives a job back, at a phase boundary if that
// comes in time, and the next worker finishes it.
func TestAStoppingWorkerGivesItsJobBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		grace time.Duration
		// finish lets the phase under way come to its end once the worker drains.
		finish bool
		does   int32 // calls of the phase in all
	}{
		{"at a phase boundary", 10 * time.Second, true, 1},
		{"in the middle of a phase that takes too long", 50 * time.Millisecond, false, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			job := b.submit(t)
			var does atomic.Int32
			started, draining := make(chan struct{}), make(chan struct{})
			stop := b.start(t, func(cfg *tasks.WorkerConfig) {
				cfg.Grace, cfg.Draining = c.grace, draining
				cfg.Runner = b.runner(func(ctx context.Context, _ *pipeline.Run) error {
					does.Add(1)
					close(started)
					if c.finish {
						<-draining
						return nil
					}
					<-ctx.Done()
					return ctx.Err()
				}, draining)
			})
			<-started
			began := time.Now()
			stop()
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("stopping took %s", took)
			}
			b.wantGivenBack(t, job)
			info := b.task(t, tenancy.QueueProvision, firstTask(job))
			if info == nil || info.State != asynq.TaskStateRetry || time.Until(info.NextProcessAt) > 0 {
				t.Errorf("the task is not in its queue again: %+v", info)
			}
			b.start(t, b.runs(func(context.Context, *pipeline.Run) error { does.Add(1); return nil }))
			b.awaitJob(t, job.ID, tenancy.JobComplete)
			b.awaitCounts(t, tenancy.QueueProvision, map[string]int{})
			if got := does.Load(); got != c.does {
				t.Errorf("the phase was done %d times, want %d", got, c.does)
			}
		})
	}
}

// wantGivenBack checks that a job is due at once, held by nobody, and has not failed.
func (b *bench) wantGivenBack(t *testing.T, job tenancy.Job) {
	t.Helper()
	free := scan[bool](t, b, `
		SELECT status = 'running' AND lease_until IS NULL AND run_after <= now() AND failures = 0 AND error_code = ''
		FROM identity.job WHERE job_id = $1`, job.ID)
	if !free {
		t.Errorf("the job was not given back: %+v", b.job(t, job.ID))
	}
}

// What a stopping worker has not begun stays in the queue.
func TestAStoppingWorkerTakesNoNewTask(t *testing.T) {
	t.Parallel()
	b := setup(t)
	busy := b.submit(t)
	started, draining, finish := make(chan struct{}), make(chan struct{}), make(chan struct{})
	stop := b.start(t, func(cfg *tasks.WorkerConfig) {
		cfg.Draining, cfg.Concurrency = draining, 2
		cfg.Runner = b.runner(func(_ context.Context, run *pipeline.Run) error {
			if run.Job.ID != busy.ID {
				t.Errorf("job %s was taken up", run.Job.ID)
				return nil
			}
			close(started)
			<-finish
			return nil
		}, draining)
	})
	<-started
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	<-draining
	const many = 300
	b.exec(t, `
		INSERT INTO identity.outbox (task_type, queue, task_id, job_id)
		SELECT $1, $2, 'late-' || n, $3 FROM generate_series(2, $4) AS n`, tenancy.TaskProvision, tenancy.QueueProvision, b.submit(t).ID, many)
	// The relay goes on, and nobody takes what it brings.
	b.awaitCounts(t, tenancy.QueueProvision, map[string]int{"active": 1, "pending": many})
	close(finish)
	<-stopped
	b.awaitCounts(t, tenancy.QueueProvision, map[string]int{"retry": 1, "pending": many})
}

// A job is run on the worker's own time: asynq may lose sight of its task, or be
// told to cancel it, and the job goes on.
func TestAJobOutlivesItsTask(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job := b.submit(t)
	started, finish := make(chan struct{}), make(chan struct{})
	b.start(t, b.runs(func(ctx context.Context, _ *pipeline.Run) error {
		close(started) // once: what is delivered again finds the job busy
		<-finish
		return ctx.Err()
	}))
	<-started
	eventually(t, "end of the task", func() bool {
		if err := b.inspector.CancelProcessing(firstTask(job)); err != nil {
			t.Fatal(err)
		}
		info := b.task(t, tenancy.QueueProvision, firstTask(job))
		return info == nil || info.State == asynq.TaskStateRetry
	})
	b.awaitGone(t, tenancy.QueueProvision, firstTask(job))
	close(finish)
	if after := b.awaitJob(t, job.ID, tenancy.JobComplete); after.Failures != 0 {
		t.Errorf("%d failures", after.Failures)
	}
}

// A Redis that goes away interrupts nothing, and is used again when it is back.
func TestAWorkerOutlivesRedis(t *testing.T) {
	t.Parallel()
	server := ownRedis(t)
	b := setupOn(t, server.URL())
	first := b.submit(t)
	started, finish := make(chan struct{}), make(chan struct{})
	b.start(t, b.runs(func(ctx context.Context, run *pipeline.Run) error {
		if run.Job.ID == first.ID {
			close(started)
			<-finish
		}
		return ctx.Err()
	}))
	<-started
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	second := b.submit(t)
	close(finish)
	b.awaitJob(t, first.ID, tenancy.JobComplete)
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.awaitJob(t, second.ID, tenancy.JobComplete)
}

func TestAWorkerWaitsForRedis(t *testing.T) {
	t.Parallel()
	server := ownRedis(t)
	b := setupOn(t, server.URL())
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	job := b.submit(t)
	b.start(t, b.runs(done))
	// It is told to stop while it waits: at the end of this test another does.
	stop := b.start(t, b.runs(done))
	stop()
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.awaitJob(t, job.ID, tenancy.JobComplete)
}

// A Redis that says nothing holds up no worker that is to stop, nor its jobs: the client
// waits for answers, whatever becomes of the context.
func TestASilentRedisHoldsUpNoStoppingWorker(t *testing.T) {
	t.Parallel()
	b := setupOn(t, ownRedis(t).URL())
	job := b.submit(t)
	started, draining := make(chan struct{}), make(chan struct{})
	stop := b.start(t, func(cfg *tasks.WorkerConfig) {
		cfg.Draining = draining
		cfg.Runner = b.runner(func(context.Context, *pipeline.Run) error {
			close(started)
			<-draining
			return nil
		}, draining)
	})
	<-started
	pid, err := strconv.Atoi(b.redis.InfoMap(t.Context(), "server").Item("Server", "process_id"))
	if err != nil {
		t.Fatal(err)
	}
	signal := func(s syscall.Signal) {
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	late := b.submit(t) // the relay waits for an answer too
	began := time.Now()
	stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopping took %s", took)
	}
	b.wantGivenBack(t, job)
	signal(syscall.SIGCONT)
	b.start(t, b.runs(done))
	b.awaitJob(t, job.ID, tenancy.JobComplete)
	b.awaitJob(t, late.ID, tenancy.JobComplete)
}

func TestAWorkerStopsWaitingForASilentRedis(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	b := setupOn(t, "redis://"+silent.Addr().String())
	stop := b.start(t, b.runs(done))
	conn, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	stop()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

func TestAWorkerThatRedisRefusesFailsAtOnce(t *testing.T) {
	t.Parallel()
	b := setupWarm(t)
	u, err := url.Parse(b.redisURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("", "hunter2")
	refused := openRedis(t, u.String())
	worker := tasks.NewWorker(tasks.WorkerConfig{
		Redis: refused, Concurrency: 1, Runner: &answers{}, Jobs: b.Store, Ledger: idle{},
		Relay: tasks.NewRelay(b.Store, refused, quiet), Draining: make(chan struct{}), Log: quiet,
		Pool: &tasks.WarmPool{Ledger: b.Store, Servers: b.servers},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := worker.Run(ctx); err == nil {
		t.Error("no error")
	}
	if ctx.Err() != nil {
		t.Error("it went on until it was told to stop")
	}
}
