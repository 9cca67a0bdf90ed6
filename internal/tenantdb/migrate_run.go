package tenantdb

import (
	"context"
	"database/sql"
	"io"
	"net"
	"sync"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	migratepgx "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// runSet applies the files of a set after version as owner, one Steps call each, and
// returns the last version. The file is the unit because golang-migrate, asked
// for more, leaves goroutines behind when one fails.
func (w *work) runSet(ctx context.Context, owner string, set migrationSet, src *migrationSource, version int64) (int64, error) {
	next, more, err := src.next(version)
	if err != nil {
		return version, unreadable(set, err)
	}
	if !more {
		return version, nil
	}
	db, lifeline := w.openMigrator(ctx, owner)
	// After the handles: closing them waits for nothing once the socket is shut,
	// and a socket that the library has lost is shut too.
	defer lifeline.cut()
	defer db.Close()

	driver, err := migratepgx.WithInstance(db, &migratepgx.Config{
		DatabaseName: w.database, SchemaName: ownSchema, MigrationsTable: set.table,
	})
	if err != nil {
		w.afterCancel(ctx)
		return version, migrationError(ctx, set, next, err)
	}
	m, err := migrate.NewWithInstance("iofs", src, "pgx5", &fileDriver{Driver: driver})
	if err != nil {
		return version, migrationError(ctx, set, next, err)
	}
	defer m.Close()
	for ; more; next, more, err = src.next(version) {
		err := ctx.Err()
		if err == nil {
			err = m.Steps(1)
		}
		if err != nil {
			w.afterCancel(ctx)
			return version, migrationError(ctx, set, next, err)
		}
		version = next
	}
	if err != nil {
		return version, unreadable(set, err)
	}
	return version, nil
}

// openMigrator opens the handle that migrations run on, as the owner role. The
// library ignores contexts, so the end of ctx shuts the socket under it.
func (w *work) openMigrator(ctx context.Context, owner string) (*sql.DB, *lifeline) {
	cfg := w.configFor(owner)
	cfg.RuntimeParams["statement_timeout"] = milliseconds(w.cfg.MigrationTimeout)
	l := &lifeline{ctx: ctx, dial: cfg.DialFunc}
	cfg.DialFunc = l.dialContext
	l.stop = context.AfterFunc(ctx, l.shut)
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(1)
	return db, l
}

// afterCancel ends the statement that the server may still run for a socket
// that ctx has shut. The slug is still held, so nobody else's is ended.
func (w *work) afterCancel(ctx context.Context) {
	if ctx.Err() == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	if err := w.endSessions(ctx); err != nil {
		w.cfg.Log.Warn("cannot end the session of a cancelled migration",
			"server", w.server.Name, "database", w.database, "error", failed(ctx, err, "cannot end it"))
	}
}

// lifeline holds the sockets of a handle, so that they can be shut under it
// when ctx ends. It keeps ctx because the library dials without one.
type lifeline struct {
	ctx  context.Context
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
	stop func() bool

	mu    sync.Mutex
	down  bool
	conns []net.Conn
}

func (l *lifeline) dialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	conn, err := l.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	l.conns = append(l.conns, conn)
	return conn, nil
}

func (l *lifeline) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for _, conn := range l.conns {
		_ = conn.Close()
	}
}

// cut shuts the sockets for good and stops watching the context.
func (l *lifeline) cut() {
	l.stop()
	l.shut()
}

// fileDriver adapts golang-migrate's driver to running one file at a time under
// the slug's lock.
type fileDriver struct {
	database.Driver
	failed error
}

// Lock does nothing: the slug is held. The library's own lock can hang.
func (*fileDriver) Lock() error { return nil }

// Unlock does nothing.
func (*fileDriver) Unlock() error { return nil }

// SetVersion marks the version dirty before its file and clean after it. A
// failure before the file is kept for Run: the library would leave the
// goroutine that feeds the file waiting for a reader.
func (d *fileDriver) SetVersion(version int, dirty bool) error {
	if dirty {
		d.failed = d.Driver.SetVersion(version, true)
		return nil
	}
	if d.failed != nil {
		return d.failed
	}
	return d.Driver.SetVersion(version, false)
}

// Run runs a file.
func (d *fileDriver) Run(file io.Reader) error {
	if d.failed != nil {
		_, _ = io.Copy(io.Discard, file)
		return d.failed
	}
	return d.Driver.Run(file)
}
