package tenantdb

import (
	"context"
	"fmt"
	"strings"

	"github.com/tenantry/tenantry/internal/pgerr"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// EnsureDatabase makes the slug's roles and its empty database, or finishes a
// half of them that the same job made before, and gives the application's role
// the password in appURL. Called again on a finished database it changes
// nothing but the password's salt. It fails with CodePartialState, and without
// any effect, if something of the slug's name exists that owner's job did not
// make.
func (s *Servers) EnsureDatabase(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership, appURL string) error {
	return s.withSlug(ctx, server, slug, func(ctx context.Context, w *work) error {
		return w.ensure(ctx, owner, appURL)
	})
}

func (w *work) ensure(ctx context.Context, owner tenancy.Ownership, appURL string) error {
	if err := checkOwner(owner); err != nil {
		return err
	}
	password, err := appPassword(w.slug, appURL)
	if err != nil {
		return err
	}
	name := w.slug.DatabaseName()
	f, err := look(ctx, w.conn, w.slug)
	if err != nil {
		return failed(ctx, err, "cannot look at "+name+on(w.server))
	}
	if err := f.foreign(w.server, owner); err != nil {
		return err
	}
	if err := w.closeMaintenance(ctx); err != nil {
		return err
	}
	if err := w.ensureRoles(ctx, f, owner, password); err != nil {
		return err
	}
	if f.database.exists && f.invalid {
		if err := w.forceDrop(ctx); err != nil {
			return err
		}
		f.database.exists = false
	}
	if !f.database.exists {
		if err := w.create(ctx); err != nil {
			return err
		}
	}
	if f.ready {
		return nil
	}
	if err := w.open(ctx, owner); err != nil {
		return failed(ctx, err, "cannot open database "+name+on(w.server))
	}
	if err := w.prepare(ctx, f.version); err != nil {
		return failed(ctx, err, "cannot prepare database "+name+on(w.server))
	}
	// Last: this is what makes the database ready.
	_, err = w.conn.Exec(ctx, "GRANT CONNECT ON DATABASE "+quote(name)+" TO "+quote(w.slug.AppRole()))
	return failed(ctx, err, "cannot let the application into database "+name+on(w.server))
}

// create makes the database with its door shut: by default everyone may
// connect to a new database and make temporary tables in it.
func (w *work) create(ctx context.Context) error {
	name := w.slug.DatabaseName()
	_, err := w.conn.Exec(ctx, "CREATE DATABASE "+quote(name)+" OWNER "+quote(w.slug.OwnerRole())+
		" TEMPLATE template0 ALLOW_CONNECTIONS false")
	if state := pgerr.State(err); state == pgerr.DuplicateDatabase || state == pgerr.UniqueViolation {
		// We hold the slug and saw no such database: someone else's tool made it.
		return partialState(w.server, []string{"database " + name})
	}
	return failed(ctx, err, "cannot create database "+name+on(w.server))
}

// open marks the database as ours, shuts out everyone, and then lets sessions
// in, all at once: at this point only its owner and superusers.
func (w *work) open(ctx context.Context, owner tenancy.Ownership) error {
	name := quote(w.slug.DatabaseName())
	_, err := w.conn.Exec(ctx, strings.Join([]string{
		"COMMENT ON DATABASE " + name + " IS '" + owner.String() + "'",
		"REVOKE ALL ON DATABASE " + name + " FROM PUBLIC",
		"ALTER DATABASE " + name + " ALLOW_CONNECTIONS true",
	}, ";"))
	return err
}

// ensureRoles makes or adopts both roles in one transaction, so there is no
// role without its mark.
func (w *work) ensureRoles(ctx context.Context, f facts, owner tenancy.Ownership, password string) error {
	verifier, err := scramVerifier(password)
	if err != nil {
		return err
	}
	ownerRole, appRole := quote(f.ownerRole.name), quote(f.appRole.name)
	var sql []string
	if !f.ownerRole.exists {
		sql = append(sql, "CREATE ROLE "+ownerRole+" NOLOGIN", "COMMENT ON ROLE "+ownerRole+" IS '"+owner.String()+"'")
	}
	if !f.appRole.exists {
		sql = append(sql, "CREATE ROLE "+appRole+" LOGIN PASSWORD '"+verifier+"'", "COMMENT ON ROLE "+appRole+" IS '"+owner.String()+"'")
	} else {
		sql = append(sql, "ALTER ROLE "+appRole+" LOGIN PASSWORD '"+verifier+"'")
	}
	// An admin that is no superuser acts on the database as a member of its
	// owner, and ends the application's sessions as a member of its role.
	sql = append(sql, `DO $$ BEGIN
		IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
			GRANT `+ownerRole+`, `+appRole+` TO CURRENT_USER;
		END IF; END $$`)
	_, err = w.conn.Exec(ctx, strings.Join(sql, ";"))
	if state := pgerr.State(err); state == pgerr.DuplicateObject || state == pgerr.UniqueViolation {
		return partialState(w.server, []string{fmt.Sprintf("role %s or %s", f.ownerRole.name, f.appRole.name)})
	}
	return failed(ctx, err, "cannot make the roles of "+f.database.name+on(w.server))
}
