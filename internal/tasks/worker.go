package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/internal/tenancy"
)

const (
	// taskCheckInterval is how often an idle worker looks for a new task
	// (docs/decisions.md, Pickup).
	taskCheckInterval = 3 * time.Millisecond
	// bulkCheckInterval is the same where nobody waits for the first one.
	bulkCheckInterval = 50 * time.Millisecond
	// abandonAfter is what a handler gets after its context has ended.
	abandonAfter = 3 * time.Second
	// putBack is what asynq gets after that to end the tasks that are done, and to put
	// back those that are abandoned.
	putBack = time.Second
	// endLimit bounds that, and the end of all that runs besides: the Redis client waits
	// long for an answer, whatever becomes of a context, and there may come none.
	endLimit = putBack + time.Second
)

// WorkerConfig is what a Worker works with.
type WorkerConfig struct {
	Redis redis.UniversalClient
	// Concurrency is how many tasks are worked on at a time, shared out as Shares
	// says.
	Concurrency int
	// Grace is how long jobs may go on when the worker is told to stop; what is
	// not at a phase boundary by then is interrupted and given back.
	Grace time.Duration

	Runner      Runner
	Jobs        Jobs
	Ledger      Ledger
	Relay       *Relay
	Invitations Invitations
	Admins      TenantAdmins
	// Mailer sends invitations and password resets; nil leaves all of them to
	// workers that have one.
	Mailer    Mailer
	TenantURL string
	// PurgeExpired says that tenants whose retention is over are purged here: nobody
	// else takes from QueueFleet.
	PurgeExpired bool
	// Pool is how databases are prepared ahead; nil leaves that to others.
	Pool *WarmPool
	// Draining is closed when the worker is told to stop; the Runner heeds it.
	Draining chan struct{}
	// Ended is called once the worker does not use Redis any more, which may be after
	// Run: asynq panics if its client is closed before. May be nil.
	Ended func()
	Log   *slog.Logger
}

// Worker takes tasks from Redis, relays the outbox, reconciles and keeps the pool of
// prepared databases.
type Worker struct {
	cfg WorkerConfig

	mu       sync.Mutex
	stopping bool // nothing more is added to inflight
	inflight sync.WaitGroup
}

// begin counts a task among those in flight, unless the worker stops already: asynq may
// have taken it just before.
func (w *Worker) begin() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopping {
		w.inflight.Add(1)
	}
	return !w.stopping
}

// beginNoMore has begin refuse from now on.
func (w *Worker) beginNoMore() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopping = true
}

// Shares splits a worker's concurrency into what people wait for and the bulk.
// Neither lends to the other: a slot that a slow task holds cannot be taken back.
// Each has one at least, so a concurrency of one is two.
func Shares(concurrency int) (interactive, bulk int) {
	bulk = max(1, concurrency/2)
	return max(1, concurrency-bulk), bulk
}

// NewWorker returns a Worker; Run starts it.
func NewWorker(cfg WorkerConfig) *Worker { return &Worker{cfg: cfg} }

// Run works until ctx ends and then stops gracefully: no new task is taken, jobs
// are given back at their next phase boundary or, after the grace, in the middle
// of a phase. What waits in vain for Redis then is left behind. It fails at once if
// Redis refuses the worker; if Redis is merely away it waits for it.
func (w *Worker) Run(ctx context.Context) error {
	work, interrupt := context.WithCancel(context.WithoutCancel(ctx))
	defer interrupt()

	var background sync.WaitGroup
	var servers []*asynq.Server
	loops, stopLoops := context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		stopLoops()
		for _, server := range servers {
			background.Go(server.Shutdown)
		}
		ended := within(endLimit, func() {
			background.Wait()
			if w.cfg.Ended != nil {
				w.cfg.Ended()
			}
		})
		if !ended {
			w.cfg.Log.Warn("some of what the worker runs could not be ended in time")
		}
	}()
	inspector := asynq.NewInspectorFromRedisClient(w.cfg.Redis)
	rec := &reconciler{ledger: w.cfg.Ledger, inspector: inspector, purge: w.cfg.PurgeExpired, mail: w.cfg.Mailer != nil, log: w.cfg.Log}
	background.Go(func() { w.cfg.Relay.Run(loops) })
	background.Go(func() { rec.run(loops) })
	// The keeper stops as soon as it is told to: nobody waits for what it does.
	keeping, stopKeeping := context.WithCancel(ctx)
	defer stopKeeping()
	if w.cfg.Pool != nil {
		background.Go(func() { newKeeper(*w.cfg.Pool, w.cfg.Log).run(keeping) })
	}

	if err := w.waitForRedis(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	interactive, bulk := Shares(w.cfg.Concurrency)
	waited := maps.Clone(interactiveQueues)
	if w.cfg.Mailer == nil {
		delete(waited, tenancy.QueueMail)
	}
	unwaited := maps.Clone(bulkQueues)
	if !w.cfg.PurgeExpired {
		delete(unwaited, tenancy.QueueFleet) // its purges need what this worker lacks
	}
	servers = []*asynq.Server{
		w.server(interactive, waited, taskCheckInterval), w.server(bulk, unwaited, bulkCheckInterval),
	}
	handler := w.mux(work, inspector)
	for _, server := range servers {
		if err := server.Start(handler); err != nil {
			return fmt.Errorf("cannot start the task server: %w", err)
		}
	}
	w.cfg.Log.Info("worker ready", "concurrency", interactive+bulk, "bulk", bulk)

	<-ctx.Done()
	w.cfg.Log.Info("worker stopping")
	// Jobs do not wait for it: a server stops once Redis has answered what it asked last.
	// A task that it gets with that is refused by begin.
	for _, server := range servers {
		background.Go(server.Stop)
	}
	close(w.cfg.Draining)
	w.beginNoMore()
	if !within(w.cfg.Grace, w.inflight.Wait) {
		interrupt()
		within(abandonAfter, w.inflight.Wait)
	}
	return nil
}

// server takes tasks from queues of its own, up to concurrency at a time.
func (w *Worker) server(concurrency int, queues map[string]int, check time.Duration) *asynq.Server {
	return asynq.NewServerFromRedisClient(w.cfg.Redis, asynq.Config{
		Concurrency:              concurrency,
		Queues:                   queues,
		TaskCheckInterval:        check,
		DelayedTaskCheckInterval: time.Second,
		RetryDelayFunc:           retryDelay,
		IsFailure:                isFailure,
		ShutdownTimeout:          putBack,
		Logger:                   asynqLogger{w.cfg.Log},
		LogLevel:                 asynq.WarnLevel,
	})
}

// waitForRedis returns when Redis answers or ctx ends.
func (w *Worker) waitForRedis(ctx context.Context) error {
	told := false
	for {
		var err error
		answer := make(chan error, 1)
		go func() { answer <- w.cfg.Redis.Ping(ctx).Err() }()
		select {
		case <-ctx.Done(): // of which a client that waits for an answer takes no notice
			return nil
		case err = <-answer:
		}
		if err == nil {
			return nil
		}
		if refused(err) {
			return fmt.Errorf("cannot use Redis: %w", err)
		}
		if !told {
			w.cfg.Log.Warn("Redis does not answer; waiting for it", "error", err)
			told = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

// refused tells a Redis that will not have us from one that is away or still
// loading its data.
func refused(err error) bool {
	return slices.ContainsFunc([]string{"NOAUTH", "WRONGPASS", "NOPERM"}, func(code string) bool {
		return strings.HasPrefix(err.Error(), code)
	})
}

// mux routes tasks to their handlers. They run under work, the worker's own
// context, and not under the task's, which ends when Redis loses sight of it.
func (w *Worker) mux(work context.Context, inspector *asynq.Inspector) asynq.Handler {
	invitations := &invitationHandler{
		invitations: w.cfg.Invitations, admins: w.cfg.Admins, mailer: w.cfg.Mailer,
		tenantURL: w.cfg.TenantURL, log: w.cfg.Log,
	}
	jobs := &jobHandler{runner: w.cfg.Runner, jobs: w.cfg.Jobs, invitations: invitations, inspector: inspector}
	mux := asynq.NewServeMux()
	handle := func(taskType string, handler func(context.Context, tenancy.JobID) error) {
		mux.HandleFunc(taskType, func(ctx context.Context, t *asynq.Task) (err error) {
			// asynq would put a panic's text into Redis.
			defer func() {
				if p := recover(); p != nil {
					w.cfg.Log.Error("a task handler panicked", "task", taskType, "panic", p, "stack", string(debug.Stack()))
					err = fmt.Errorf("%s: %w", tenancy.CodeInternal, asynq.SkipRetry)
				}
			}()
			id, err := decodePayload(t)
			if err != nil {
				return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
			}
			if !w.begin() {
				return &comeBack{id: id, code: "GIVEN_BACK"}
			}
			defer w.inflight.Done()
			// The task's values, without its end; the worker's end instead.
			ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
			defer cancel()
			defer context.AfterFunc(work, cancel)()
			return handler(ctx, id)
		})
	}
	handle(tenancy.TaskProvision, jobs.handle)
	handle(tenancy.TaskOffboard, jobs.handle)
	if w.cfg.Mailer != nil {
		handle(tenancy.TaskInvitation, invitations.handle)
	} else {
		// The bulk's queue has some. What is due is rung for again, by a worker that
		// sends mail.
		handle(tenancy.TaskInvitation, func(context.Context, tenancy.JobID) error { return nil })
	}
	return mux
}

// within reports whether wait returned within d.
func within(d time.Duration, wait func()) bool {
	done := make(chan struct{})
	go func() { wait(); close(done) }()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// retryDelay is the job's own delay; for what failed outside a handler, a
// second, since the job's row decides what is to be done anyway.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	if d, ok := errors.AsType[*comeBack](err); ok {
		return d.after
	}
	return time.Second
}

// isFailure keeps asynq from counting deliveries that were no failures of the
// task: the job counts its own.
func isFailure(err error) bool {
	_, ok := errors.AsType[*comeBack](err)
	return !ok
}

// asynqLogger passes asynq's own messages on.
type asynqLogger struct{ log *slog.Logger }

func (l asynqLogger) Debug(args ...any) { l.log.Debug(fmt.Sprint(args...), "component", "asynq") }
func (l asynqLogger) Info(args ...any)  { l.log.Info(fmt.Sprint(args...), "component", "asynq") }
func (l asynqLogger) Warn(args ...any)  { l.log.Warn(fmt.Sprint(args...), "component", "asynq") }
func (l asynqLogger) Error(args ...any) { l.log.Error(fmt.Sprint(args...), "component", "asynq") }
func (l asynqLogger) Fatal(args ...any) { l.log.Error(fmt.Sprint(args...), "component", "asynq") }
