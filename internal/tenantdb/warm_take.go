package tenantdb

import (
	"context"
	"slices"

	"github.com/tenantry/tenantry/internal/pgerr"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// prepared is a prepared database that a job has claimed.
type prepared struct {
	id tenancy.WarmDatabaseID
	warmFacts
	// template is the one of the files as they are when the job asks for the lock.
	template func() string
}

// prepared begins to read the files, while the caller waits for others.
func (s *Servers) prepared(id tenancy.WarmDatabaseID) prepared {
	name := make(chan string, 1)
	go func() { name <- s.Template() }()
	return prepared{id: id, template: func() string { return <-name }}
}

// take renames a prepared database and its roles to the slug's, gives the
// application's role its password unless it has it already, marks all three as
// owner's and opens the door, in one transaction: whoever looks after a crash finds
// nothing of it done, or all. The caller holds the slug and saw nothing of its
// names.
//
// The prepared database may be gone, unfinished, of other migrations, or have somebody
// in it. Then origin is empty, and the caller copies a template.
func (w *work) take(ctx context.Context, p prepared, owner tenancy.Ownership, password string) (origin tenancy.DatabaseOrigin, err error) {
	from, template := warmPlace(p.id), p.finished()
	refused := func(why string, err error) (tenancy.DatabaseOrigin, error) {
		w.cfg.Log.Warn("cannot take a prepared database; copying a template",
			"server", w.server.Name, "database", w.database, "warm", from.database, "reason", why, "error", err)
		return tenancy.DatabaseOrigin{}, nil
	}
	switch {
	case template == "":
		return refused("it is not there, or not finished", nil)
	case template != p.template():
		return refused("it is a copy of "+template+", and the migrations have changed", nil)
	case p.occupied:
		return refused("somebody is in it", nil)
	}
	login := "ALTER ROLE " + quote(w.app) + " LOGIN"
	if w.WarmPassword(p.id) != password {
		verifier, err := scramVerifier(password)
		if err != nil {
			return origin, err
		}
		login += " PASSWORD '" + verifier + "'"
	}
	if err := tenancy.CheckFence(ctx); err != nil {
		return origin, err
	}
	_, err = execAll(ctx, w.conn, slices.Concat([]string{
		"ALTER DATABASE " + quote(from.database) + " RENAME TO " + quote(w.database),
		"ALTER ROLE " + quote(from.owner) + " RENAME TO " + quote(w.owner),
		"ALTER ROLE " + quote(from.app) + " RENAME TO " + quote(w.app),
		login,
	}, w.comments(owner.String()), []string{
		"ALTER DATABASE " + quote(w.database) + " ALLOW_CONNECTIONS true",
	})...)
	coded := failed(ctx, err, "cannot take "+from.database+" for "+w.database+on(w.server))
	switch {
	case err == nil:
		w.forgetWarmPassword(p.id)
		if w.keeps {
			w.enterAhead(ctx, objectsOwner)
		}
		return tenancy.DatabaseOrigin{Template: template, Warm: true}, nil
	case ctx.Err() != nil || pgerr.State(err) == "" || w.conn.IsClosed():
		// It may have been done all the same; the next try will see.
		return origin, coded
	}
	return refused("the server refuses", coded)
}
