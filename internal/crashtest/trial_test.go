package crashtest_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// shortLease makes dead workers noticed soon, so that trials are quick.
const shortLease = 2 * time.Second

// trial is one job, or some, in a master database and a Redis database of its
// own, and the workers that are to do it.
type trial struct {
	*world
	servers               []server // those it may use
	database, databaseURL string
	slot                  int
	redis                 *redis.Client
	pool                  *pgxpool.Pool
	control               *app.Control
	// job is the latest that was submitted.
	job tenancy.Job
	// purges is how many were submitted, backups where they dump; "" if they do
	// not.
	purges  int
	backups string
	// migrations is the set that workers are given, lease the length of theirs.
	migrations string
	lease      time.Duration
	// warm says that workers keep a prepared database on each server; sleeping, that
	// a frozen worker may lead those that would.
	warm, sleeping bool
	workers        []*worker
	points         int // crash points given out
}

func (w *world) newTrial(ctx context.Context) (*trial, error) {
	t := &trial{
		world: w, servers: w.servers, slot: <-w.slots, migrations: w.good, lease: shortLease,
		database: "crash_" + randomHex(6),
	}
	t.databaseURL = w.plane.Master.DatabaseURL(t.database)
	if err := t.open(ctx); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *trial) open(ctx context.Context) error {
	opt, err := redis.ParseURL(t.redisURL(t.slot))
	if err != nil {
		return err
	}
	t.redis = redis.NewClient(opt)
	if err := t.redis.FlushDB(ctx).Err(); err != nil {
		return err
	}
	if _, err := t.master.Exec(ctx, "CREATE DATABASE "+t.database+" TEMPLATE "+template+" STRATEGY file_copy"); err != nil {
		return err
	}
	if t.pool, err = openPool(t.databaseURL); err != nil {
		return err
	}
	t.control, err = app.OpenControl(ctx, config.Config{
		DatabaseURL: t.databaseURL, KeyVaultURL: t.plane.Vault.URL(), KeyVaultCAFile: t.plane.Vault.CAFile(), WorkerConcurrency: 1,
	}, slog.New(slog.DiscardHandler), nil)
	return err
}

// close ends every worker and drops what the trial made.
func (t *trial) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, w := range t.workers {
		w.kill()
	}
	var errs []error
	if t.control != nil {
		errs = append(errs, t.dropTenants(ctx), t.dropWarmDatabases(ctx))
		t.control.Close()
	}
	if t.pool != nil {
		t.pool.Close()
	}
	_, err := t.master.Exec(ctx, "DROP DATABASE IF EXISTS "+t.database+" WITH (FORCE)")
	t.redis.Close()
	t.slots <- t.slot
	return errors.Join(append(errs, err)...)
}

// dropTenants keeps the shared servers small.
func (t *trial) dropTenants(ctx context.Context) error {
	slugs, err := column[tenancy.Slug](ctx, t.pool, `SELECT DISTINCT slug FROM identity.job`)
	for _, slug := range slugs {
		for _, s := range t.servers {
			for _, sql := range []string{
				"DROP DATABASE IF EXISTS " + slug.DatabaseName() + " WITH (FORCE)",
				"DROP ROLE IF EXISTS " + slug.AppRole(), "DROP ROLE IF EXISTS " + slug.OwnerRole(),
			} {
				_, dropErr := s.Exec(ctx, sql)
				err = errors.Join(err, dropErr)
			}
		}
	}
	return err
}

// submit records a job for a fresh slug.
func (t *trial) submit(ctx context.Context) error {
	return t.submitFor(ctx, tenancy.Slug("c-"+randomHex(5)))
}

func (t *trial) submitFor(ctx context.Context, slug tenancy.Slug) error {
	var err error
	t.job, err = t.control.Store.SubmitJob(ctx, tenancy.NewJob{
		Slug: slug, DisplayName: "Tenant " + string(slug), AdminEmail: "admin@tenant.example",
		ServerName: t.servers[int(slug[2])%len(t.servers)].name, RequestedBy: operator,
	})
	return err
}

func (t *trial) cancel(ctx context.Context) error {
	_, err := t.control.Store.CancelJob(ctx, t.job.ID, operator)
	return err
}

// start starts a worker.
func (t *trial) start(env ...string) (*worker, error) {
	w, err := startWorker(t.worker, append([]string{
		"DATABASE_URL=" + t.databaseURL, "REDIS_URL=" + t.redisURL(t.slot),
		"KEY_VAULT_URL=" + t.plane.Vault.URL(), "KEY_VAULT_CA_FILE=" + t.plane.Vault.CAFile(),
		"SMTP_URL=" + t.plane.Mailbox.SMTPURL(), "MAIL_FROM=no-reply@platform.localhost",
		"TENANT_URL=http://{slug}.localhost", "TENANT_MIGRATIONS=" + t.migrations, "BACKUP_DIR=" + t.backups,
		"WORKER_CONCURRENCY=4", "TENANTRY_CRASH_LEASE_TTL=" + t.lease.String(), "WARM_POOL_SIZE=" + t.poolSize(),
	}, env...)...)
	if err == nil {
		t.workers = append(t.workers, w)
	}
	return w, err
}

// startAt starts a worker that ends, or freezes, at a point. reached tells when
// it is there.
func (t *trial) startAt(point string, env ...string) (w *worker, reached func() bool, err error) {
	t.points++
	once := filepath.Join(t.dir, fmt.Sprintf("%s-%d", t.database, t.points))
	w, err = t.start(append(env, "TENANTRY_CRASH_POINT="+point, "TENANTRY_CRASH_ONCE="+once)...)
	return w, func() bool { _, err := os.Stat(once); return err == nil }, err
}

// crashAt starts a worker and returns when it has killed itself at the point.
func (t *trial) crashAt(ctx context.Context, point string) (*worker, error) {
	w, _, err := t.startAt(point)
	if err != nil {
		return nil, err
	}
	err = until(ctx, "the worker dies at "+point, func() (bool, error) {
		if !w.exited() {
			return false, t.unreached(ctx, point)
		}
		if !w.killed() {
			return false, fmt.Errorf("it ended with %s instead", w.cmd.ProcessState)
		}
		return true, nil
	})
	return w, err
}

// freezeAt starts a worker and returns when it has stopped at the point.
func (t *trial) freezeAt(ctx context.Context, point string, env ...string) (*worker, error) {
	w, reached, err := t.startAt(point, append(env, "TENANTRY_CRASH_SIGNAL=STOP")...)
	if err != nil {
		return nil, err
	}
	return w, until(ctx, "the worker freezes at "+point, func() (bool, error) {
		if w.exited() {
			return false, fmt.Errorf("it ended with %s instead", w.cmd.ProcessState)
		}
		return reached(), nil
	})
}

// unreached fails once the job has long been settled: the point lies not on its
// way.
func (t *trial) unreached(ctx context.Context, point string) error {
	var past bool
	err := t.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM identity.job WHERE job_id = $1 AND finished_at < now() - interval '2 s')`,
		t.job.ID).Scan(&past)
	if err == nil && past {
		err = fmt.Errorf("the job is settled and never came to %s", point)
	}
	return err
}

// settled waits until every job is.
func (t *trial) settled(ctx context.Context) error {
	return until(ctx, "the jobs settle", func() (bool, error) {
		var open int
		err := t.pool.QueryRow(ctx, `SELECT count(*) FROM identity.job WHERE status IN ('queued', 'running', 'rolling_back')`).Scan(&open)
		return open == 0, err
	})
}

// finish starts workers that nothing happens to, and returns once the jobs are
// settled and these workers have stopped.
func (t *trial) finish(ctx context.Context, n int) (settled time.Time, err error) {
	var clean []*worker
	for range n {
		w, err := t.start()
		if err != nil {
			return time.Time{}, err
		}
		clean = append(clean, w)
	}
	if err := t.settled(ctx); err != nil {
		return time.Time{}, err
	}
	settled = time.Now()
	if err := t.quiet(ctx); err != nil {
		return settled, err
	}
	if err := t.poolFull(ctx); err != nil {
		return settled, err
	}
	var errs []error
	for _, w := range clean {
		// Before that a signal ends it, but not gracefully.
		errs = append(errs, until(ctx, "a worker is ready", func() (bool, error) { return w.said("worker ready") || w.exited(), nil }))
		errs = append(errs, w.stop(ctx))
	}
	return settled, errors.Join(errs...)
}

// quiet waits until the outbox is empty and what was enqueued is taken.
func (t *trial) quiet(ctx context.Context) error {
	return until(ctx, "the doorbells are rung and heard", func() (bool, error) {
		var outbox int
		if err := t.pool.QueryRow(ctx, `SELECT count(*) FROM identity.outbox`).Scan(&outbox); err != nil {
			return false, err
		}
		pending, err := t.redis.LLen(ctx, "asynq:{provision}:pending").Result()
		return outbox == 0 && pending == 0, err
	})
}

func (t *trial) logs() string {
	s := ""
	for i, w := range t.workers {
		s += fmt.Sprintf("--- worker %d (%v)\n%s", i+1, w.cmd.ProcessState, w.log.String())
	}
	return s
}

func column[T any](ctx context.Context, pool *pgxpool.Pool, sql string, args ...any) ([]T, error) {
	rows, err := pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[T])
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
