package tenantdb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode"

	"github.com/golang-migrate/migrate/v4/database"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Migrate brings the slug's database, which owner's job made, up to the last
// file of the built-in set and then of the application's, and returns the
// Version it has then, as a string. A database that an earlier try left dirty
// is dropped, made again with the password in appURL, and migrated from the
// start.
//
// It fails with CodeMigrationsFailed, permanent, if a file does not run; the
// message has the file's version, the SQLSTATE and what Postgres said, and
// never the SQL. A lost connection, a deadlock or a lock timeout is transient.
// It returns soon after ctx ends, and leaves no session behind.
func (s *Servers) Migrate(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership, appURL string) (version string, err error) {
	if err := checkOwner(owner); err != nil {
		return "", err
	}
	password, err := appPassword(slug, appURL)
	if err != nil {
		return "", err
	}
	var sessions []int32
	var questions []question
	if !s.hasKept(room{server.ID, slug.DatabaseName()}) {
		questions = append(questions, s.sessionsIn(slug.DatabaseName(), &sessions))
	}
	err = s.withSlug(ctx, server, slug, func(ctx context.Context, w *work, f facts) error {
		w.keeps = tenancy.HasFence(ctx)
		if err := f.foreign(server, owner); err != nil {
			return err
		}
		// A killed worker's session may still be at it, unless this one has just made
		// the database.
		if len(sessions) > 0 {
			if err := w.endSessions(ctx); err != nil {
				return failed(ctx, err, "cannot end old sessions of "+w.database+on(server))
			}
		}
		v, err := w.migrate(ctx, owner, password, f)
		version = v.String()
		return err
	}, questions...)
	if err != nil {
		return "", err
	}
	return version, nil
}

func (w *work) migrate(ctx context.Context, owner tenancy.Ownership, password string, f facts) (Version, error) {
	// A session may begin while they are read: see enterAhead.
	sources, err := w.openSources()
	if err != nil {
		return Version{}, err
	}
	if !f.ready {
		// An interrupted try has dropped it.
		if _, err := w.ensure(ctx, owner, verifierOf(password), false, f); err != nil {
			return Version{}, err
		}
	}
	v, err := w.migrateOnce(ctx, sources)
	if !errors.Is(err, errUnclean) {
		return v, err
	}
	w.cfg.Log.Info("making the database again, because a migration of it was interrupted",
		"server", w.server.Name, "database", w.slug.DatabaseName())
	if err := w.forceDrop(ctx); err != nil {
		return Version{}, err
	}
	if err := ask(ctx, w.conn, f.look(w.slug)); err != nil {
		return Version{}, failed(ctx, err, "cannot look at "+w.database+on(w.server))
	}
	if _, err := w.ensure(ctx, owner, verifierOf(password), false, f); err != nil {
		return Version{}, err
	}
	if sources, err = w.openSources(); err != nil {
		return Version{}, err
	}
	return w.migrateOnce(ctx, sources)
}

// openSources reads the directories as they are now, for one migrateOnce.
func (s *Servers) openSources() ([]*migrationSource, error) {
	sources := make([]*migrationSource, len(s.sets))
	for i, set := range s.sets {
		var err error
		if sources[i], err = set.open(); err != nil {
			return nil, unreadable(set, err)
		}
	}
	return sources, nil
}

// errUnclean says that the database cannot be migrated further.
var errUnclean = errors.New("the database has a dirty version or one that the set does not have")

func (w *work) migrateOnce(ctx context.Context, sources []*migrationSource) (v Version, err error) {
	versions := make([]uint64, 2)
	err = w.insideAsOwner(ctx, func(conn *pgx.Conn, owner string) error {
		applied := make([]int64, len(w.sets))
		var lacking bool
		questions := []question{grantsLacking(&lacking)}
		for i, set := range w.sets {
			questions = append(questions, appliedVersion(set.table, &applied[i]))
		}
		if err := ask(ctx, conn, questions...); err != nil {
			return err
		}
		for i, src := range sources {
			if !src.has(applied[i]) {
				return errUnclean
			}
		}
		run := func() error {
			for i, set := range w.sets {
				last, err := w.runSet(ctx, owner, set, sources[i], applied[i])
				if err != nil {
					return err
				}
				versions[i] = uint64(max(last, 0))
			}
			return nil
		}
		if !lacking && upToDate(sources, applied) {
			return run() // which finds nothing to do
		}
		return w.completingGrants(ctx, conn, owner, run)
	})
	if err != nil && !errors.Is(err, errUnclean) {
		err = failed(ctx, err, "cannot migrate database "+w.database+on(w.server))
	}
	return Version{Builtin: versions[0], App: versions[1]}, err
}

// upToDate reports whether every set is applied to its last file. A source that
// cannot be read is not.
func upToDate(sources []*migrationSource, applied []int64) bool {
	for i, src := range sources {
		if _, more, err := src.next(applied[i]); more || err != nil {
			return false
		}
	}
	return true
}

// incomplete is the COMMENT of our schema while files have run and the grants are not
// completed yet. To look for what is lacking takes longer than all else that is done
// to a database without new files.
const incomplete = "grants to be completed"

// grantsLacking asks whether an earlier call ran files and was killed before it
// completed the grants.
func grantsLacking(lacking *bool) question {
	return question{
		"SELECT coalesce(obj_description($1::text::regnamespace, 'pg_namespace'), '') = $2",
		[]any{ownSchema, incomplete},
		func(row pgx.Row) error { return row.Scan(lacking) },
	}
}

// completingGrants calls run, which may make something, and completes the grants.
func (w *work) completingGrants(ctx context.Context, conn *pgx.Conn, owner string, run func() error) error {
	comment := "COMMENT ON SCHEMA " + ownSchema + " IS "
	if _, err := conn.Exec(ctx, comment+"'"+incomplete+"'"); err != nil {
		return err
	}
	if err := run(); err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := w.grant(ctx, conn, owner); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, comment+"NULL")
		return err
	})
}

// appliedVersion reads a version table; the answer is errUnclean if a migration was
// begun and not finished.
func appliedVersion(table string, version *int64) question {
	return question{"SELECT version, dirty FROM " + ownSchema + "." + table + " LIMIT 1", nil, func(row pgx.Row) error {
		var dirty bool
		err := row.Scan(version, &dirty)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			*version = nilVersion
			return nil
		case err == nil && dirty:
			return errUnclean
		}
		return err
	}}
}

func unreadable(set migrationSet, err error) error {
	reason := "its files cannot be read"
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		reason = "cannot " + pathErr.Op + " " + pathErr.Path
	} else if err != nil {
		reason = err.Error() // set.check's, made of file names
	}
	return tenancy.Wrap(tenancy.CodeMigrationsFailed, err, oneLine("The "+set.label+" migrations cannot be used: "+reason))
}

// migrationError codes what golang-migrate returned for a file. Its own text
// and its cause's fields quote the SQL, so only Postgres's one-line message
// goes on.
func migrationError(ctx context.Context, set migrationSet, version int64, err error) error {
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return unreadable(set, err)
	}
	what := fmt.Sprintf("Migration %d of the %s set failed", version, set.label)
	line := uint(0)
	if e, ok := errors.AsType[database.Error](err); ok {
		line, err = e.Line, e.OrigErr
	} else if e, ok := errors.AsType[*database.Error](err); ok {
		err = e.OrigErr
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if coded := failed(ctx, err, what); !ok || ctx.Err() != nil || pg.Code != "57014" && tenancy.IsTransient(coded) {
		return coded
	}
	message := fmt.Sprintf("%s: %s %s: %s", what, pg.Severity, pg.Code, pg.Message)
	if pg.Position > 0 && line > 0 {
		message += fmt.Sprintf(" (line %d)", line)
	}
	return tenancy.Wrap(tenancy.CodeMigrationsFailed, pg, oneLine(message))
}

// oneLine bounds a message and keeps it on one line.
func oneLine(s string) string {
	const most = 400
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most]) + "…"
	}
	return s
}
