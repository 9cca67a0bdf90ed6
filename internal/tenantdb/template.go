package tenantdb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// A template is a database with both migration sets applied, which new tenants'
// databases are copies of. Its name has a digest of the files, so changed files mean
// another template. While it is built, and for whatever a killed builder left, its
// COMMENT says unfinished; a finished one lets nobody in, and its COMMENT says when
// it was last used.
const (
	templatePrefix = "tenantry_template_"
	// templateKeeper owns the templates, so that no migration can change or drop one.
	templateKeeper = "tenantry_templates"
	// objectsOwner owns what is in them and in their copies, and no database. It
	// cannot log in, and no role of a tenant is a member of it.
	objectsOwner = "tenantry_owner"
	// applications has the rights on those objects that a tenant's application has, and
	// each of these is a member of it. It cannot log in, owns nothing, and has no right on
	// a database or a schema: its members get into their own, and nowhere else. The admin
	// makes others members of it, which on Postgres 16 does not mean to have its rights.
	applications = "tenantry_app"

	templateRoleMark = "tenantry templates"
	unfinishedMark   = "tenantry template, unfinished"
	readyMark        = "tenantry template, last used "

	// templateLayout is part of the digest; it changes with what prepare makes.
	templateLayout = "3"
	// templateLock is held, on the connection that creates and drops, by whoever
	// changes anything about a server's templates.
	templateLock = "tenantry templates"
)

const (
	// buildLimit bounds the building of a template, waitLimit the wait for somebody
	// else's. A builder whose machine is gone has lost the lock by then.
	buildLimit, waitLimit = 5 * time.Minute, time.Minute
	// touchAfter is how old the note of the last use may be. To write it each time
	// would make every copy wait for one more commit.
	touchAfter = 10 * time.Minute
	// unusedAfter is when a template other than the caller's own is taken to be no
	// other worker's either. Workers that take turns note a use every touchAfter.
	unusedAfter = time.Hour
	// unfitFor is how long a set that cannot live in a template is remembered.
	unfitFor = 10 * time.Minute
	// seenFor is how long a batch takes a template for as it was. Its copies wait as long
	// for their turn anyway, and one that fails has it looked at again.
	seenFor = time.Second
)

// templateWork returns w's hold of the server, aimed at a template.
func (w *work) templateWork(name string) *work {
	t := *w
	t.place, t.keeps = place{database: name, owner: objectsOwner, app: applications}, false
	return &t
}

// templateName returns the name of the template for the files as they are now, and
// why there must be none, if a file says so. Without a name the files cannot be read.
func (s *Servers) templateName() (name, marked string) {
	digest := sha256.New()
	fmt.Fprintf(digest, "layout %s\n", templateLayout)
	for _, set := range s.sets {
		files, err := set.upFiles()
		if err != nil {
			return "", ""
		}
		fmt.Fprintf(digest, "set %s: %d\n", set.table, len(files))
		for _, f := range files {
			fmt.Fprintf(digest, "%q %d\n%s", f.name, len(f.content), f.content)
			if marked == "" && bytes.Contains(f.content, []byte("no-template")) && noTemplate.Match(f.content) {
				marked = "file " + f.name + " says so"
			}
		}
		if _, err := fs.Stat(set.files, noTemplateFile); err == nil {
			marked = "the file " + noTemplateFile + " says so"
		}
	}
	return templatePrefix + hex.EncodeToString(digest.Sum(nil)[:10]), marked
}

// What an application's set says about templates.
const noTemplateFile = "no-template"

var (
	noTemplate = regexp.MustCompile(`(?m)^\s*--\s*tenantry:\s*no-template\s*$`)
	anyway     = regexp.MustCompile(`(?m)^\s*--\s*tenantry:\s*template\s*$`)
	random     = regexp.MustCompile(`(?i)\b(gen_random_\w+|gen_salt|uuid_generate_\w+|uuidv[47]|random\w*)\s*\(`)
)

// templateState is what look found of a template.
type templateState struct {
	name   string
	exists bool
	// ready: it may be copied.
	ready bool
	// foreign: something that is not ours has one of the names.
	foreign bool
	// roles: all of them are there, and the admin acts for them and can let others in.
	roles bool
	// unused is how long ago it was last used.
	unused  time.Duration
	version int  // server_version_num
	unsafe  bool // fsync is off
}

func (w *work) lookAtTemplate(ctx context.Context, name string) (templateState, error) {
	t := templateState{name: name}
	var comment string
	var owned, invalid, open, foreignRole bool
	var now time.Time
	roles := []string{templateKeeper, objectsOwner, applications}
	err := w.conn.QueryRow(ctx, `
		SELECT d.oid IS NOT NULL, coalesce(shobj_description(d.oid, 'pg_database'), ''), coalesce(d.datdba = to_regrole($2), false),
		       coalesce(d.datconnlimit = -2, false), coalesce(d.datallowconn, false),
		       EXISTS (SELECT FROM pg_roles WHERE rolname = ANY($3) AND shobj_description(oid, 'pg_authid') IS DISTINCT FROM $4),
		       (SELECT count(*) FROM pg_roles WHERE rolname = ANY($3) AND
		         pg_has_role(current_user, oid, CASE rolname WHEN $5 THEN 'MEMBER WITH ADMIN OPTION' ELSE 'USAGE' END)) = cardinality($3),
		       now(), current_setting('server_version_num')::int, NOT current_setting('fsync')::bool
		FROM (VALUES (1)) AS one
		LEFT JOIN pg_database d ON d.datname = $1`,
		name, templateKeeper, roles, templateRoleMark, applications).Scan(
		&t.exists, &comment, &owned, &invalid, &open, &foreignRole, &t.roles, &now, &t.version, &t.unsafe)
	if err != nil {
		return t, failed(ctx, err, "cannot look at template "+name+on(w.server))
	}
	t.foreign = foreignRole || t.exists && !owned
	if used, err := time.Parse(time.RFC3339, strings.TrimPrefix(comment, readyMark)); err == nil {
		t.ready = t.exists && !t.foreign && !invalid && !open
		t.unused = now.Sub(used)
	}
	return t, nil
}

// template returns the server's template for the files as they are now, built by
// this caller if there is none. Without one t.name is empty and why says why: then
// the database is made from nothing and migrated file by file. It fails only if ctx
// ends or the server does not answer. For a batch it may be as it was lately.
func (w *work) template(ctx context.Context, bulk bool) (t templateState, why string, err error) {
	if w.cfg.NoTemplates {
		return t, "switched off", nil
	}
	name, marked := w.templateName()
	switch {
	case name == "":
		return t, "the files cannot be read", nil // Migrate says it in full
	case marked != "":
		return t, w.without(name, marked), nil
	}
	if t, ok := w.seenTemplate(name); ok && bulk {
		return t, "", nil
	}
	deadline := time.Now().Add(waitLimit)
	for delay := 5 * time.Millisecond; ; delay = min(2*delay, 100*time.Millisecond) {
		if t, err = w.lookAtTemplate(ctx, name); err != nil {
			return t, "", err
		}
		switch {
		case t.ready && t.roles:
			w.seeTemplate(t)
			return t, "", w.touch(ctx, t)
		case t.foreign:
			return templateState{}, w.without(name, "something that is not ours has the name of it or of its roles"), nil
		}
		if reason := w.knownUnfit(name); reason != "" {
			return templateState{}, reason, nil
		}
		reason, err := w.tryBuild(ctx, name)
		if err != nil || reason != "" {
			return templateState{}, reason, err
		}
		if time.Now().After(deadline) {
			return templateState{}, w.without(name, "somebody has been building it for too long"), nil
		}
		if err := pause(ctx, delay); err != nil {
			return t, "", failed(ctx, err, "cannot wait for template "+name+on(w.server))
		}
	}
}

// tryBuild builds the template if nobody else is at it. reason says why there will
// be none.
func (w *work) tryBuild(ctx context.Context, name string) (reason string, err error) {
	locked, err := w.tryLock(ctx, templateLock)
	if err != nil {
		return "", failed(ctx, err, "cannot lock the templates"+on(w.server))
	}
	if !locked {
		return "", nil
	}
	defer w.letGo(ctx, templateLock)
	// Somebody may have built it between the look and the lock.
	t, err := w.lookAtTemplate(ctx, name)
	if err != nil || t.foreign || t.ready && t.roles {
		return "", err
	}
	if err := w.build(ctx, t); err != nil {
		if ctx.Err() != nil {
			return "", failed(ctx, err, "cannot build template "+name+on(w.server))
		}
		// What takes too long will take as long for the next one.
		if !tenancy.IsTransient(err) || errors.Is(err, context.DeadlineExceeded) {
			w.rememberUnfit(name, tenancy.AsError(err).Message)
		}
		return w.without(name, tenancy.AsError(err).Message), nil
	}
	w.tidy(ctx, name)
	return "", nil
}

// without says once why a set has no template.
func (w *work) without(name, reason string) string {
	w.warnOnce("tenants' databases are migrated file by file and not copied from "+name+": "+reason, "server", w.server.Name)
	return reason
}

// seen is a template that could be copied.
type seen struct {
	templateState
	at time.Time
}

func (w *work) seeTemplate(t templateState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[w.server.ID] = seen{t, time.Now()}
}

func (w *work) seenTemplate(name string) (templateState, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.seen[w.server.ID]
	return s.templateState, s.name == name && time.Since(s.at) < seenFor
}

// unfit is a set that cannot live in a template of a server.
type unfit struct {
	reason string
	since  time.Time
}

func (w *work) knownUnfit(name string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	known, ok := w.unfit[warning{w.server.ID, name}]
	if !ok || time.Since(known.since) > unfitFor {
		return ""
	}
	return known.reason
}

func (w *work) rememberUnfit(name, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unfit[warning{w.server.ID, name}] = unfit{reason, time.Now()}
}

// touch notes the use, if the last note is old, and then drops what nobody uses any
// more. Whoever holds the lock has better things to do, and somebody else will note it.
func (w *work) touch(ctx context.Context, t templateState) error {
	if t.unused < touchAfter {
		return nil
	}
	locked, err := w.tryLock(ctx, templateLock)
	if err != nil || !locked {
		return failed(ctx, err, "cannot lock the templates"+on(w.server))
	}
	defer w.letGo(ctx, templateLock)
	_, err = w.conn.Exec(ctx, noteUse(t.name))
	switch {
	case ctx.Err() != nil:
		return failed(ctx, err, "cannot note the use of template "+t.name+on(w.server))
	case err != nil: // somebody dropped it, perhaps; the copy will tell
		w.cfg.Log.Warn("cannot note the use of a template", "server", w.server.Name, "template", t.name, "error", failed(ctx, err, "cannot comment"))
	default:
		w.tidy(ctx, t.name)
	}
	return nil
}

// noteUse is the statement that marks a template as ready and used now, by the
// server's clock.
func noteUse(name string) string {
	return `DO $$ BEGIN EXECUTE format('COMMENT ON DATABASE %I IS %L', '` + name + `',
		'` + readyMark + `' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')); END $$`
}

// execAll runs statements as one transaction.
func execAll(ctx context.Context, conn *pgx.Conn, statements ...string) (pgconn.CommandTag, error) {
	return conn.Exec(ctx, strings.Join(statements, ";"))
}
