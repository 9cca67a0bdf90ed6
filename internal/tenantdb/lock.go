package tenantdb

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/crash"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// cleanupTime bounds what is done after a context has ended, to leave nothing
// behind on a server.
const cleanupTime = 5 * time.Second

// staleAfter is how long the holder of a slug is waited for before it is taken for
// a worker that lost its job. Such a worker's own statements end sooner.
const staleAfter = 10 * time.Second

// work is one caller's exclusive hold of a slug, or of a prepared database, on a
// server. conn holds the lock and is the only connection that creates and drops.
type work struct {
	*Servers
	server tenancy.DBServer
	slug   tenancy.Slug
	place
	pool *adminPool
	conn *pgx.Conn
	// keeps: the job's next phase will enter the database too.
	keeps bool
}

// place is the database that is worked on and the roles of its own: the slug's, a
// prepared database's, or a template's, whose application stands for all.
type place struct{ database, owner, app string }

func placeOf(slug tenancy.Slug) place {
	return place{database: slug.DatabaseName(), owner: slug.OwnerRole(), app: slug.AppRole()}
}

// withSlug calls f while it holds the slug's lock, with what there is of the slug,
// unless the context's fence says that the job was lost. It waits for the lock as long
// as ctx lasts, and asks the questions along with it.
func (s *Servers) withSlug(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, f func(context.Context, *work, facts) error, questions ...question) error {
	return s.holdSlug(ctx, server, slug, func(ctx context.Context, w *work, found facts) error {
		// Whoever waited for the lock may have lost the job meanwhile.
		if err := tenancy.CheckFence(ctx); err != nil {
			return err
		}
		return f(ctx, w, found)
	}, questions...)
}

// holdSlug is withSlug for an f that asks the fence itself before each effect.
func (s *Servers) holdSlug(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, f func(context.Context, *work, facts) error, questions ...question) error {
	if _, err := tenancy.ParseSlug(string(slug), nil); err != nil {
		return err
	}
	pooled, pool, err := s.acquire(ctx, server)
	if err != nil {
		return err
	}
	defer pooled.Release()
	w := &work{Servers: s, server: server, slug: slug, place: placeOf(slug), pool: pool, conn: pooled.Conn()}
	name := lockName(slug)
	var found facts
	if err := w.lock(ctx, name, append(questions, found.look(slug))...); err != nil {
		return failed(ctx, err, "cannot lock "+slug.DatabaseName()+on(server))
	}
	defer w.unlock(ctx, name)
	return f(ctx, w, found)
}

// question is what the server is asked, and what becomes of its answer.
type question struct {
	sql  string
	args []any
	scan func(pgx.Row) error
}

// ask asks all questions at once. Each sees what was committed before it was its turn.
func ask(ctx context.Context, conn *pgx.Conn, questions ...question) error {
	var batch pgx.Batch
	for _, q := range questions {
		batch.Queue(q.sql, q.args...).QueryRow(q.scan)
	}
	return conn.SendBatch(ctx, &batch).Close()
}

// lock asks again and again rather than waiting in the server, where a lock
// timeout would end the wait and a waiter outlive its client. Along with the lock it
// asks the questions; the answers are those from after it was taken.
func (w *work) lock(ctx context.Context, name string, questions ...question) error {
	if crash.NoSlugLock {
		return ask(ctx, w.conn, questions...)
	}
	stale := time.Now().Add(staleAfter)
	for delay := 5 * time.Millisecond; ; delay = min(2*delay, 100*time.Millisecond) {
		if time.Now().After(stale) {
			if err := w.evict(ctx, name); err != nil {
				return err
			}
			stale = time.Now().Add(staleAfter)
		}
		if locked, err := w.tryLock(ctx, name, questions...); err != nil || locked {
			return err
		}
		if err := pause(ctx, delay); err != nil {
			return err
		}
	}
}

// evict ends the session that holds the lock, if the caller has a fence: one job a
// slug is under way, and one maker a prepared database, so the holder is a worker that
// lost it, suspended or cut off. (Where the caller is the doctor it may be a job that has
// just begun, which tries again.) Without a fence it waits on.
func (w *work) evict(ctx context.Context, name string) error {
	if !tenancy.HasFence(ctx) {
		return nil
	}
	if err := tenancy.CheckFence(ctx); err != nil {
		return err
	}
	_, err := w.conn.Exec(ctx, `
		SELECT pg_terminate_backend(l.pid)
		FROM pg_locks l, (SELECT hashtextextended($1, 0) AS key) k
		WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid <> pg_backend_pid()
		  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
		  AND l.classid::bigint = (k.key >> 32) & 4294967295 AND l.objid::bigint = k.key & 4294967295`, name)
	return err
}

// tryLock takes the advisory lock of that name for the connection, if nobody has it.
// It asks the questions in any case, after that.
func (w *work) tryLock(ctx context.Context, name string, questions ...question) (locked bool, err error) {
	take := question{"SELECT pg_try_advisory_lock(hashtextextended($1, 0))", []any{name}, func(row pgx.Row) error { return row.Scan(&locked) }}
	if err = ask(ctx, w.conn, append([]question{take}, questions...)...); err != nil {
		w.letGo(ctx, name) // the answer may be what was lost
	}
	return locked, err
}

// unlock lets go of what lock took.
func (w *work) unlock(ctx context.Context, name string) {
	if !crash.NoSlugLock {
		w.letGo(ctx, name)
	}
}

// letGo gives a lock back, by closing the connection if all else fails.
func (w *work) letGo(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	var unlocked bool
	err := w.conn.QueryRow(ctx, "SELECT pg_advisory_unlock(hashtextextended($1, 0))", name).Scan(&unlocked)
	if err != nil || !unlocked {
		_ = w.conn.Close(ctx)
	}
}

func lockName(slug tenancy.Slug) string { return "tenantry " + slug.DatabaseName() }

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
