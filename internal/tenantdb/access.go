package tenantdb

import (
	"context"

	"github.com/tenantry/tenantry/internal/pgerr"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// SetAccess says what the tenant's application may do in its database. Read-only
// holds for sessions that begin from now on; AccessNone ends those there are. It
// tolerates the absence of database and role, and fails with CodePartialState,
// without any effect, if what is there is not owner's tenant's.
func (s *Servers) SetAccess(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership, access tenancy.Access) error {
	return s.withSlug(ctx, server, slug, func(ctx context.Context, w *work, f facts) error {
		var foreign []string
		for _, t := range []thing{f.database, f.appRole} {
			if t.exists && !t.provenBy(owner) {
				foreign = append(foreign, t.String())
			}
		}
		if err := partialState(server, foreign); err != nil {
			return err
		}
		return failed(ctx, w.setAccess(ctx, f, access), "cannot change who may use database "+f.database.name+on(server))
	})
}

func (w *work) setAccess(ctx context.Context, f facts, access tenancy.Access) error {
	if !f.appRole.exists {
		return nil
	}
	role := quote(f.appRole.name)
	login, readOnly := " LOGIN", " RESET default_transaction_read_only"
	switch access {
	case tenancy.AccessReadOnly:
		readOnly = " SET default_transaction_read_only = on"
	case tenancy.AccessNone:
		login = " NOLOGIN"
	}
	if err := w.tolerate(ctx, "ALTER ROLE "+role+login, pgerr.UndefinedObject); err != nil {
		return err
	}
	if !f.database.exists || f.invalid {
		return nil
	}
	sql := "ALTER ROLE " + role + " IN DATABASE " + quote(f.database.name) + readOnly
	if err := w.tolerate(ctx, sql, pgerr.UndefinedObject, pgerr.InvalidCatalogName); err != nil {
		return err
	}
	if access == tenancy.AccessNone {
		return w.terminate(ctx, f.database.name)
	}
	// What an interrupted drop, or someone by hand, may have shut.
	name := quote(f.database.name)
	for _, sql := range []string{"ALTER DATABASE " + name + " ALLOW_CONNECTIONS true", "GRANT CONNECT ON DATABASE " + name + " TO " + role} {
		if err := w.tolerate(ctx, sql, pgerr.InvalidCatalogName, pgerr.UndefinedObject); err != nil {
			return err
		}
	}
	return nil
}

// Mark marks as owner's what exists of the slug without any mark. It fails with
// CodePartialState, without any effect, if something carries another's.
func (s *Servers) Mark(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership) error {
	return s.withSlug(ctx, server, slug, func(ctx context.Context, w *work, f facts) error {
		var foreign []string
		for _, t := range []thing{f.database, f.ownerRole, f.appRole} {
			if t.exists && t.owner != (tenancy.Ownership{}) && !t.provenBy(owner) {
				foreign = append(foreign, t.String())
			}
		}
		if err := partialState(server, foreign); err != nil {
			return err
		}
		return w.mark(ctx, f, owner)
	})
}

// Adopt marks whatever exists of the slug as owner's, whoever made it, so that
// it can be dropped. It is for an operator who has seen what is there.
func (s *Servers) Adopt(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership) error {
	return s.withSlug(ctx, server, slug, func(ctx context.Context, w *work, f facts) error {
		return w.mark(ctx, f, owner)
	})
}

func (w *work) mark(ctx context.Context, f facts, owner tenancy.Ownership) error {
	if err := checkOwner(owner); err != nil {
		return err
	}
	for _, t := range []thing{f.database, f.ownerRole, f.appRole} {
		if !t.exists || t.provenBy(owner) {
			continue
		}
		kind := " ROLE "
		if t.kind == "database" {
			kind = " DATABASE "
		}
		if _, err := w.conn.Exec(ctx, "COMMENT ON"+kind+quote(t.name)+" IS '"+owner.String()+"'"); err != nil {
			return failed(ctx, err, "cannot mark "+t.String()+on(w.server))
		}
	}
	return nil
}
