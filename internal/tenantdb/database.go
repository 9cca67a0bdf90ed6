package tenantdb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/tenantry/tenantry/internal/pgerr"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// EnsureDatabase makes the slug's roles and its database, or finishes a half of them
// that the same job made before, and gives the application's role the password in
// appURL. It renames the prepared database warm, if that is not empty and can be had;
// or else it copies the server's template, or makes an empty database. It says where a
// database that it made comes from. Called again on a finished database it changes
// nothing but the password's salt. It fails with CodePartialState, and without any
// effect, if something of the slug's name exists that owner's job did not make.
func (s *Servers) EnsureDatabase(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership, appURL string, source tenancy.DatabaseSource) (origin tenancy.DatabaseOrigin, err error) {
	if err := checkOwner(owner); err != nil {
		return origin, err
	}
	password, err := appPassword(slug, appURL)
	if err != nil {
		return origin, err
	}
	var open []string
	questions := []question{openMaintenance(&open)}
	verifier := verifierOf(password)
	var p prepared
	if source.Warm != "" {
		p = s.prepared(source.Warm)
		questions = append(questions, p.look(warmPlace(p.id)))
	} else {
		go func() { _, _ = verifier() }() // while the lock is waited for
	}
	err = s.holdSlug(ctx, server, slug, func(ctx context.Context, w *work, f facts) error {
		w.keeps = tenancy.HasFence(ctx)
		if err := f.foreign(server, owner); err != nil {
			return err
		}
		if err := w.closeMaintenance(ctx, open); err != nil {
			return err
		}
		if p.id != "" && !f.database.exists && !f.ownerRole.exists && !f.appRole.exists {
			if origin, err = w.take(ctx, p, owner, password); err != nil || origin.Warm {
				return err
			}
		}
		origin, err = w.ensure(ctx, owner, verifier, source.Bulk, f)
		return err
	}, questions...)
	return origin, err
}

// verifierOf computes a password's verifier when it is first asked for it.
func verifierOf(password string) func() (string, error) {
	return sync.OnceValues(func() (string, error) { return scramVerifier(password) })
}

// ensure makes roles and database, or finishes a half of them.
func (w *work) ensure(ctx context.Context, owner tenancy.Ownership, verifier func() (string, error), bulk bool, f facts) (origin tenancy.DatabaseOrigin, err error) {
	if err := w.ensureRoles(ctx, f, owner, verifier); err != nil {
		return origin, err
	}
	if f.database.exists && f.invalid {
		if err := w.forceDrop(ctx); err != nil {
			return origin, err
		}
		f.database.exists = false
	}
	if !f.database.exists {
		if origin, err = w.create(ctx, bulk); err != nil {
			return origin, err
		}
	}
	if f.ready {
		return origin, nil
	}
	if err := w.open(ctx, owner); err != nil {
		return origin, failed(ctx, err, "cannot open database "+w.database+on(w.server))
	}
	w.enterAhead(ctx, "")
	if err := tenancy.CheckFence(ctx); err != nil {
		w.leaveKept()
		return origin, err
	}
	// Last: this is what makes the database ready.
	return origin, failed(ctx, w.prepare(ctx, f.version), "cannot prepare database "+w.database+on(w.server))
}

// create makes the database with its door shut: by default everyone may connect to
// a new database and make temporary tables in it. A template may be dropped or be
// looked into just now; then it tries again, and in the end does without.
func (w *work) create(ctx context.Context, bulk bool) (origin tenancy.DatabaseOrigin, err error) {
	for range 3 {
		t, why, err := w.template(ctx, bulk)
		if err != nil {
			return origin, err
		}
		if t.name == "" {
			return tenancy.DatabaseOrigin{NoTemplate: why}, w.copyFrom(ctx, "template0", "")
		}
		err = w.copyInTurn(ctx, t, bulk)
		if err == nil {
			return tenancy.DatabaseOrigin{Template: t.name}, nil
		}
		if _, coded := errors.AsType[*tenancy.Error](err); ctx.Err() != nil || !coded {
			return origin, err
		}
		switch pgerr.State(err) {
		case pgerr.ObjectInUse, pgerr.InvalidCatalogName, pgerr.ObjectNotInState, pgerr.InsufficientPrivilege:
			w.seeTemplate(templateState{})
			w.cfg.Log.Warn("cannot copy a template just now", "server", w.server.Name, "template", t.name, "error", err)
		default:
			return origin, err
		}
	}
	return tenancy.DatabaseOrigin{NoTemplate: "it could not be copied"}, w.copyFrom(ctx, "template0", "")
}

// bulkCopies is how many copies a server makes at a time for those that nobody waits
// for: what it sustains, and no more, keeps the others quick. Four is the best number
// for file_copy (docs/decisions.md).
const bulkCopies = 4

// copyInTurn copies a template, in the way that the server sustains if it is one of
// many: then it waits until the server makes less than bulkCopies of them, whichever
// workers they are for. Those of one worker take turns in the order in which they came.
func (w *work) copyInTurn(ctx context.Context, t templateState, bulk bool) error {
	if bulk {
		turns := w.turns(w.server.ID)
		select {
		case n := <-turns:
			defer func() { turns <- n }()
			turn, err := w.awaitTurn(ctx, n)
			if err != nil {
				return failed(ctx, err, "cannot wait for other copies"+on(w.server))
			}
			defer w.letGo(ctx, turn)
		case <-ctx.Done():
			return failed(ctx, ctx.Err(), "cannot wait for other copies"+on(w.server))
		}
	}
	return w.copyFrom(ctx, t.name, strategy(t, bulk))
}

// turns are the numbers of the server's bulkCopies that no copy of this process has.
func (s *Servers) turns(server tenancy.ServerID) chan int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bulkTurns[server] == nil {
		turns := make(chan int, bulkCopies)
		for n := range bulkCopies {
			turns <- n
		}
		s.bulkTurns[server] = turns
	}
	return s.bulkTurns[server]
}

// awaitTurn takes one of the locks that bulkCopies share, the n-th if it can, and
// returns its name. If other workers have all of them it waits in the server for the
// n-th: to ask again and again would leave the disk idle in between.
func (w *work) awaitTurn(ctx context.Context, n int) (turn string, err error) {
	for {
		for i := range bulkCopies {
			turn = turnLock((n + i) % bulkCopies)
			if locked, err := w.tryLock(ctx, turn); err != nil || locked {
				return turn, err
			}
		}
		turn = turnLock(n)
		_, err := w.conn.Exec(ctx, "SELECT pg_advisory_lock(hashtextextended($1, 0))", turn)
		switch {
		case err == nil:
			return turn, nil
		case pgerr.State(err) == pgerr.LockNotAvailable: // for longer than LockTimeout
		default:
			w.letGo(ctx, turn) // the answer may be what was lost
			return "", err
		}
	}
}

func turnLock(n int) string { return fmt.Sprintf("tenantry bulk copy %d", n) }

func (w *work) copyFrom(ctx context.Context, template, strategy string) error {
	// The wait for a turn, or for the template, may have been long enough to lose the job.
	if err := tenancy.CheckFence(ctx); err != nil {
		return err
	}
	_, err := w.conn.Exec(ctx, "CREATE DATABASE "+quote(w.database)+" OWNER "+quote(w.owner)+
		" TEMPLATE "+template+strategy+" ALLOW_CONNECTIONS false")
	if state := pgerr.State(err); state == pgerr.DuplicateDatabase || state == pgerr.UniqueViolation {
		// We hold the slug and saw no such database: someone else's tool made it.
		return partialState(w.server, []string{"database " + w.database})
	}
	return failed(ctx, err, "cannot create database "+w.database+on(w.server))
}

// open marks the database as ours, shuts out everyone, and then lets sessions
// in, all at once: at this point only its owner and superusers.
func (w *work) open(ctx context.Context, owner tenancy.Ownership) error {
	name := quote(w.database)
	_, err := w.conn.Exec(ctx, strings.Join([]string{
		"COMMENT ON DATABASE " + name + " IS '" + owner.String() + "'",
		"REVOKE ALL ON DATABASE " + name + " FROM PUBLIC",
		"ALTER DATABASE " + name + " ALLOW_CONNECTIONS true",
	}, ";"))
	return err
}

// ensureRoles makes or adopts both roles in one transaction, so there is no
// role without its mark.
func (w *work) ensureRoles(ctx context.Context, f facts, owner tenancy.Ownership, verifier func() (string, error)) error {
	hashed, err := verifier()
	if err != nil {
		return err
	}
	if err := tenancy.CheckFence(ctx); err != nil {
		return err
	}
	ownerRole, appRole := quote(f.ownerRole.name), quote(f.appRole.name)
	var sql []string
	if !f.ownerRole.exists {
		sql = append(sql, "CREATE ROLE "+ownerRole+" NOLOGIN", "COMMENT ON ROLE "+ownerRole+" IS '"+owner.String()+"'")
	}
	if !f.appRole.exists {
		sql = append(sql, "CREATE ROLE "+appRole+" LOGIN PASSWORD '"+hashed+"'", "COMMENT ON ROLE "+appRole+" IS '"+owner.String()+"'")
	} else {
		sql = append(sql, "ALTER ROLE "+appRole+" LOGIN PASSWORD '"+hashed+"'")
	}
	if !w.superuser() {
		// It acts on the database as a member of its owner, and ends the
		// application's sessions as a member of its role.
		sql = append(sql, "GRANT "+ownerRole+", "+appRole+" TO CURRENT_USER")
	}
	_, err = w.conn.Exec(ctx, strings.Join(sql, ";"))
	if state := pgerr.State(err); state == pgerr.DuplicateObject || state == pgerr.UniqueViolation {
		return partialState(w.server, []string{fmt.Sprintf("role %s or %s", f.ownerRole.name, f.appRole.name)})
	}
	return failed(ctx, err, "cannot make the roles of "+f.database.name+on(w.server))
}
