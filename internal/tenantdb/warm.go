package tenantdb

import (
	"context"
	"maps"

	"github.com/tenantry/tenantry/internal/crash"
	"github.com/tenantry/tenantry/internal/pgerr"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// A prepared database is a copy of a template with roles of its own, under an opaque
// name, until a tenant takes it. Database and roles say in their COMMENT what it is a
// copy of; while it is made, and for whatever a killed maker left, that it is
// unfinished. Nobody can get in: its door is shut and its application's role cannot
// log in.
const (
	warmMark       = "tenantry warm database"
	warmUnfinished = warmMark + ", unfinished"
	warmOf         = warmMark + " of "
)

// Template names the template of the migration files as they are now; "" if there is
// to be none, or the files cannot be read.
func (s *Servers) Template() string {
	if s.cfg.NoTemplates {
		return ""
	}
	name, marked := s.templateName()
	if marked != "" {
		return ""
	}
	return name
}

// Warm prepares the database d, a copy of d.Template, or finds that it is there. It
// begins anew with half of one. The context's fence is asked before each effect. It
// fails with CodeConflict if the server has no such template for the files as they
// are now, and with CodePartialState, without any effect, if something of the names
// is not ours.
func (s *Servers) Warm(ctx context.Context, d tenancy.WarmDatabase) error {
	password := NewPassword()
	return s.withWarm(ctx, d.Server, d.ID, func(ctx context.Context, w *work, f warmFacts) error {
		made, err := w.warm(ctx, f, d.Template, password)
		if err == nil && made {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.warmPasswords[d.ID] = password
		}
		return err
	})
}

// WarmPassword is the password that a prepared database's application has already; ""
// where another process prepared it, since it is kept nowhere else. A tenant that gets
// it spares the server the hashing.
func (s *Servers) WarmPassword(id tenancy.WarmDatabaseID) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.warmPasswords[id]
}

// KeepWarmPasswords forgets the passwords of all prepared databases but these: another
// process may have taken or dropped the others.
func (s *Servers) KeepWarmPasswords(ids map[tenancy.WarmDatabaseID]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.warmPasswords, func(id tenancy.WarmDatabaseID, _ string) bool { return !ids[id] })
}

func (s *Servers) forgetWarmPassword(id tenancy.WarmDatabaseID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.warmPasswords, id)
}

// DropWarm drops what is left under a prepared database's names and is ours. It
// tolerates absence: after it was taken there is nothing. What is not ours is
// CodePartialState, and nothing is dropped.
func (s *Servers) DropWarm(ctx context.Context, server tenancy.DBServer, id tenancy.WarmDatabaseID) error {
	s.forgetWarmPassword(id)
	return s.withWarm(ctx, server, id, func(ctx context.Context, w *work, f warmFacts) error {
		return w.dropWarm(ctx, f)
	})
}

// withWarm calls f while it holds the lock on a prepared database's name, on the
// connection that creates and drops, with what there is of it, as withSlug does for a
// tenant's.
func (s *Servers) withWarm(ctx context.Context, server tenancy.DBServer, id tenancy.WarmDatabaseID, f func(context.Context, *work, warmFacts) error) error {
	pooled, pool, err := s.acquire(ctx, server)
	if err != nil {
		return err
	}
	defer pooled.Release()
	w := &work{Servers: s, server: server, place: warmPlace(id), pool: pool, conn: pooled.Conn()}
	name := "tenantry " + w.database
	var found warmFacts
	if err := w.lock(ctx, name, found.look(w.place)); err != nil {
		return failed(ctx, err, "cannot lock "+w.database+on(server))
	}
	defer w.unlock(ctx, name)
	if err := tenancy.CheckFence(ctx); err != nil {
		return err
	}
	return f(ctx, w, found)
}

func warmPlace(id tenancy.WarmDatabaseID) place {
	return place{database: id.DatabaseName(), owner: id.OwnerRole(), app: id.AppRole()}
}

// warm reports whether it made anything: what was there keeps its password.
func (w *work) warm(ctx context.Context, f warmFacts, template, password string) (made bool, err error) {
	if f.finished() == template {
		return false, nil
	}
	verifier, err := scramVerifier(password)
	if err != nil {
		return false, err
	}
	if err := w.dropWarm(ctx, f); err != nil {
		return false, err
	}
	t, why, err := w.template(ctx, false)
	if err != nil {
		return false, err
	}
	if t.name != template {
		if why == "" {
			why = "the migrations have changed"
		}
		return false, tenancy.Errorf(tenancy.CodeConflict, "No copy of %s can be prepared on server %s: %s.", template, w.server.Name, why)
	}
	what := func(doing string) string { return "cannot " + doing + " " + w.database + on(w.server) }
	for _, step := range []struct {
		name, doing string
		do          func(context.Context) error
	}{
		{"roles", "make the roles of", func(ctx context.Context) error { return w.makeWarmRoles(ctx, verifier) }},
		{"copy", "create", func(ctx context.Context) error { return w.copyFrom(ctx, t.name, strategy(t, false)) }},
		{"door", "open", w.openWarm},
		{"rights", "prepare", func(ctx context.Context) error { return w.prepare(ctx, f.version) }},
		{"mark", "finish", func(ctx context.Context) error { return w.finishWarm(ctx, template) }},
	} {
		// Each may have taken long enough for another to have begun.
		if err := tenancy.CheckFence(ctx); err != nil {
			return false, err
		}
		crash.Point("warm", step.name, "before")
		if err := step.do(ctx); err != nil {
			return false, failed(ctx, err, what(step.doing))
		}
		crash.Point("warm", step.name, "after")
	}
	return true, nil
}

// makeWarmRoles makes both roles with their marks, and lets an admin that is no
// superuser act for them.
func (w *work) makeWarmRoles(ctx context.Context, verifier string) error {
	owner, app := quote(w.owner), quote(w.app)
	sql := []string{
		"CREATE ROLE " + owner + " NOLOGIN", "COMMENT ON ROLE " + owner + " IS '" + warmUnfinished + "'",
		"CREATE ROLE " + app + " NOLOGIN PASSWORD '" + verifier + "'", "COMMENT ON ROLE " + app + " IS '" + warmUnfinished + "'",
	}
	if !w.superuser() {
		sql = append(sql, "GRANT "+owner+", "+app+" TO CURRENT_USER")
	}
	_, err := execAll(ctx, w.conn, sql...)
	return err
}

func (w *work) openWarm(ctx context.Context) error {
	name := quote(w.database)
	_, err := execAll(ctx, w.conn,
		"COMMENT ON DATABASE "+name+" IS '"+warmUnfinished+"'",
		"REVOKE ALL ON DATABASE "+name+" FROM PUBLIC",
		"ALTER DATABASE "+name+" ALLOW_CONNECTIONS true")
	return err
}

// finishWarm shuts the door for whoever will rename the database, and marks all of
// it as finished.
func (w *work) finishWarm(ctx context.Context, template string) error {
	if err := w.shut(ctx); err != nil {
		return err
	}
	if err := tenancy.CheckFence(ctx); err != nil {
		return err
	}
	_, err := execAll(ctx, w.conn, w.comments(warmOf+template)...)
	return err
}

// comments are the statements that mark database and roles.
func (p place) comments(mark string) []string {
	return []string{
		"COMMENT ON DATABASE " + quote(p.database) + " IS '" + mark + "'",
		"COMMENT ON ROLE " + quote(p.owner) + " IS '" + mark + "'",
		"COMMENT ON ROLE " + quote(p.app) + " IS '" + mark + "'",
	}
}

// dropWarm drops the database and then the roles.
func (w *work) dropWarm(ctx context.Context, f warmFacts) error {
	if err := partialState(w.server, f.foreign()); err != nil {
		return err
	}
	if f.database.exists {
		if !f.invalid {
			if err := w.tolerate(ctx, "ALTER DATABASE "+quote(w.database)+" ALLOW_CONNECTIONS false", pgerr.InvalidCatalogName); err != nil {
				return failed(ctx, err, "cannot close database "+w.database+on(w.server))
			}
		}
		if err := w.forceDrop(ctx); err != nil {
			return err
		}
	}
	for _, role := range []warmThing{f.app, f.owner} {
		if !role.exists {
			continue
		}
		if err := w.tolerate(ctx, "DROP ROLE IF EXISTS "+quote(role.name)); err != nil {
			return failed(ctx, err, "cannot drop role "+role.name+on(w.server))
		}
	}
	return nil
}
