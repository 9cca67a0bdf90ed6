package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/devplane"
	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tasks"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestMain(m *testing.M) {
	code := devplane.RunTests(m, devplane.Needs{Master: true, Redis: true})
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// bench is a master database and a Redis database of one test's own.
type bench struct {
	*store.Store
	sql       *pgxpool.Pool
	redisURL  string
	redis     redis.UniversalClient
	inspector *asynq.Inspector
	client    *asynq.Client

	mu   sync.Mutex
	wake func()
}

var operator = tenancy.Actor{Name: "os:tester@here"}

func setup(t *testing.T) *bench {
	t.Helper()
	return setupOn(t, redisDatabase(t))
}

func setupOn(t *testing.T, redisURL string) *bench {
	t.Helper()
	dsn := devplane.NewPreparedDatabase(t, devplane.Master(t), "master_template", migrateMaster)
	b := &bench{redisURL: redisURL}
	var err error
	if b.Store, err = store.Open(t.Context(), dsn, 0, b.woken); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if b.sql, err = pgxpool.New(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.sql.Close)
	b.redis = openRedis(t, redisURL)
	b.inspector = asynq.NewInspectorFromRedisClient(b.redis)
	b.client = asynq.NewClientFromRedisClient(b.redis)
	return b
}

func (b *bench) woken() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wake != nil {
		b.wake()
	}
}

func openRedis(t *testing.T, redisURL string) redis.UniversalClient {
	t.Helper()
	opt, err := config.ParseRedisURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	client, err := tasks.OpenRedis(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// redisDatabases are the numbers of the server's databases that no test uses.
var redisDatabases = func() chan int {
	c := make(chan int, 16)
	for i := range cap(c) {
		c <- i
	}
	return c
}()

func redisDatabase(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(devplane.RedisServer(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	n := <-redisDatabases
	u.Path = "/" + strconv.Itoa(n)
	client := openRedis(t, u.String())
	t.Cleanup(func() {
		if err := client.FlushDB(context.Background()).Err(); err != nil {
			t.Error(err)
		}
		redisDatabases <- n
	})
	return u.String()
}

// ownRedis is a server that a test may stop.
func ownRedis(t *testing.T) *devplane.Redis {
	t.Helper()
	r, err := devplane.StartRedis(t.Context(), devplane.RedisConfig{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Kill() })
	return r
}

// relay returns a relay that the store wakes; the caller runs it.
func (b *bench) relay() *tasks.Relay {
	r := tasks.NewRelay(b.Store, b.redis, quiet)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wake = r.Wake
	return r
}

// drain relays what is in the outbox now.
func (b *bench) drain(t *testing.T) {
	t.Helper()
	if err := tasks.NewRelay(b.Store, b.redis, quiet).Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// start runs a worker until stop or the end of the test. Unless changed it
// leaves stalled jobs alone.
func (b *bench) start(t *testing.T, change func(*tasks.WorkerConfig)) (stop func()) {
	t.Helper()
	cfg := tasks.WorkerConfig{
		Redis: b.redis, Concurrency: 4, Grace: 10 * time.Second,
		Jobs: b.Store, Ledger: idle{}, Relay: b.relay(), Invitations: b.Store,
		TenantURL: "https://{slug}.example.com", Draining: make(chan struct{}), Log: quiet,
	}
	gone := make(chan struct{})
	cfg.Ended = func() { close(gone) }
	t.Cleanup(func() { <-gone })
	change(&cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- tasks.NewWorker(cfg).Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the worker: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// step is what the only phase of a job does before the last.
type step func(ctx context.Context, run *pipeline.Run) error

func done(context.Context, *pipeline.Run) error { return nil }

// runs gives a worker a real runner of jobs of two phases.
func (b *bench) runs(do step) func(*tasks.WorkerConfig) {
	return func(cfg *tasks.WorkerConfig) { cfg.Runner = b.runner(do, cfg.Draining) }
}

func (b *bench) runner(do step, draining <-chan struct{}) *pipeline.Runner {
	return &pipeline.Runner{
		Journal: b.Store, Owner: uuid.NewString(), Draining: draining, Log: quiet,
		Plan: func(tenancy.Job) ([]pipeline.Phase, error) {
			return []pipeline.Phase{
				phase{tenancy.PhasePlacementResolved, do},
				phase{tenancy.PhaseComplete, func(ctx context.Context, run *pipeline.Run) error {
					return b.CompleteProvision(ctx, run.Lease, tenancy.Progress{})
				}},
			}, nil
		},
	}
}

type phase struct {
	name tenancy.PhaseName
	do   step
}

func (p phase) Name() tenancy.PhaseName                       { return p.name }
func (p phase) Do(ctx context.Context, r *pipeline.Run) error { return p.do(ctx, r) }
func (phase) Undo(context.Context, *pipeline.Run) error       { return nil }

// fails is a step that fails n times and then does not.
func fails(n int, err error) step {
	var mu sync.Mutex
	return func(context.Context, *pipeline.Run) error {
		mu.Lock()
		defer mu.Unlock()
		if n == 0 {
			return nil
		}
		n--
		return err
	}
}

var permanent = &tenancy.Error{
	Code: tenancy.CodeMigrationsFailed, Message: "canary in the message", Err: errors.New("canary in the cause"),
}

// submit records a job, which is a dry run: those need no server.
func (b *bench) submit(t *testing.T) tenancy.Job {
	t.Helper()
	job, err := b.SubmitJob(t.Context(), tenancy.NewJob{
		Slug: slug(), DisplayName: "Acme", AdminEmail: "canary@acme.example", DryRun: true, RequestedBy: operator,
	})
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func slug() tenancy.Slug { return tenancy.Slug("t-" + uuid.NewString()[:8]) }

func (b *bench) job(t *testing.T, id tenancy.JobID) tenancy.Job {
	t.Helper()
	job, err := b.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func (b *bench) awaitJob(t *testing.T, id tenancy.JobID, status tenancy.JobStatus) tenancy.Job {
	t.Helper()
	var job tenancy.Job
	eventually(t, "job "+string(status), func() bool {
		job = b.job(t, id)
		return job.Status == status
	})
	return job
}

// firstTask is the id of the doorbell that a job is submitted with.
func firstTask(job tenancy.Job) string { return string(job.ID) + ":0" }

// task is what Redis knows of a task, nil if nothing.
func (b *bench) task(t *testing.T, queue, id string) *asynq.TaskInfo {
	t.Helper()
	info, err := b.inspector.GetTaskInfo(queue, id)
	if errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func (b *bench) awaitTask(t *testing.T, queue, id string, state asynq.TaskState) *asynq.TaskInfo {
	t.Helper()
	var info *asynq.TaskInfo
	eventually(t, "task "+state.String(), func() bool {
		info = b.task(t, queue, id)
		return info != nil && info.State == state
	})
	return info
}

func (b *bench) awaitGone(t *testing.T, queue, id string) {
	t.Helper()
	eventually(t, "task gone", func() bool { return b.task(t, queue, id) == nil })
}

// counts is how many tasks a queue has in each state.
func (b *bench) counts(t *testing.T, queue string) map[string]int {
	t.Helper()
	queues, err := b.inspector.Queues()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(queues, queue) { // nothing was ever in it
		return map[string]int{}
	}
	info, err := b.inspector.GetQueueInfo(queue)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int{
		"pending": info.Pending, "active": info.Active, "scheduled": info.Scheduled,
		"retry": info.Retry, "archived": info.Archived, "completed": info.Completed,
	}
	for state, n := range all {
		if n == 0 {
			delete(all, state)
		}
	}
	return all
}

func (b *bench) awaitCounts(t *testing.T, queue string, want map[string]int) {
	t.Helper()
	var diff string
	eventually(t, fmt.Sprintf("queue %s with %v", queue, want), func() bool {
		diff = cmp.Diff(want, b.counts(t, queue))
		return diff == ""
	})
}

// deliver puts a doorbell for a job into Redis, past the outbox.
func (b *bench) deliver(t *testing.T, taskType, queue, id, payload string, opts ...asynq.Option) {
	t.Helper()
	opts = append(opts, asynq.TaskID(id), asynq.Queue(queue))
	if _, err := b.client.EnqueueContext(t.Context(), asynq.NewTask(taskType, []byte(payload)), opts...); err != nil {
		t.Fatal(err)
	}
}

func payloadOf(id tenancy.JobID) string { return `{"jobId":"` + string(id) + `"}` }

func (b *bench) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := b.sql.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func scan[T any](t *testing.T, b *bench, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := b.sql.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// audit is the actor and the type of each event of a job.
func (b *bench) audit(t *testing.T, id tenancy.JobID) []string {
	t.Helper()
	rows, _ := b.sql.Query(t.Context(), `
		SELECT actor || ' ' || event_type FROM identity.tenant_audit WHERE job_id = $1 ORDER BY audit_id`, id)
	events, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// idle is a ledger that lets nobody lead, so nothing else is asked of it.
type idle struct{ tasks.Ledger }

func (idle) Lead(context.Context, string, func(context.Context) error) error { return nil }

var quiet = slog.New(slog.DiscardHandler)

// eventually waits until ok reports true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

func (idle) ExpiredTenants(context.Context, int) ([]tenancy.Slug, error) { return nil, nil }

func (idle) SubmitJob(context.Context, tenancy.NewJob) (tenancy.Job, error) {
	return tenancy.Job{}, nil
}

// migrateMaster fills the template of the master databases.
func migrateMaster(ctx context.Context, url string) error {
	_, err := store.Migrate(ctx, url)
	return err
}
