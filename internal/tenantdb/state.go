package tenantdb

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Inspect reports what exists of a slug on a server. It waits for nobody, so
// what it reports may be half of another caller's work.
func (s *Servers) Inspect(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug) (tenancy.DatabaseState, error) {
	conn, _, err := s.acquire(ctx, server)
	if err != nil {
		return tenancy.DatabaseState{}, err
	}
	defer conn.Release()
	var f facts
	if err := ask(ctx, conn.Conn(), f.look(slug)); err != nil {
		return tenancy.DatabaseState{}, failed(ctx, err, "cannot look at "+slug.DatabaseName()+on(server))
	}
	state := tenancy.DatabaseState{Database: f.database.exists, DatabaseOwner: f.database.owner, Ready: f.ready}
	for _, r := range f.roles() {
		if !r.exists {
			continue
		}
		if len(state.Roles) == 0 {
			state.RolesOwner = r.owner
		} else if state.RolesOwner != r.owner {
			state.RolesOwner = tenancy.Ownership{}
		}
		state.Roles = append(state.Roles, r.name)
	}
	return state, nil
}

// thing is a database or a role of a slug's name.
type thing struct {
	kind, name string
	exists     bool
	owner      tenancy.Ownership // zero: unproven
}

func (t thing) String() string { return t.kind + " " + t.name }

// provenBy reports whether t was made by owner's tenant.
func (t thing) provenBy(owner tenancy.Ownership) bool {
	return t.exists && t.owner.TenantID == owner.TenantID && owner.TenantID != ""
}

// facts is what look found.
type facts struct {
	database, ownerRole, appRole thing
	// invalid: a DROP DATABASE was interrupted; nothing but another drop works.
	invalid bool
	// ownedByRole: the database belongs to the slug's owner role.
	ownedByRole bool
	ready       bool
	version     int // server_version_num
}

func (f facts) roles() []thing { return []thing{f.ownerRole, f.appRole} }

// look is the question to the catalog that f is the answer to. A database without a
// comment is proven by its owner role, if that is: the server died between CREATE
// DATABASE and COMMENT.
func (f *facts) look(slug tenancy.Slug) question {
	*f = facts{
		database:  thing{kind: "database", name: slug.DatabaseName()},
		ownerRole: thing{kind: "role", name: slug.OwnerRole()},
		appRole:   thing{kind: "role", name: slug.AppRole()},
	}
	return question{
		`
		SELECT d.oid IS NOT NULL, coalesce(shobj_description(d.oid, 'pg_database'), ''),
		       coalesce(d.datconnlimit = -2, false), coalesce(d.datdba = o.oid, false),
		       coalesce(d.datallowconn AND d.datconnlimit <> -2 AND has_database_privilege(a.oid, d.oid, 'CONNECT'), false),
		       o.oid IS NOT NULL, coalesce(shobj_description(o.oid, 'pg_authid'), ''),
		       a.oid IS NOT NULL, coalesce(shobj_description(a.oid, 'pg_authid'), ''),
		       current_setting('server_version_num')::int
		FROM (VALUES (1)) AS one
		LEFT JOIN pg_database d ON d.datname = $1
		LEFT JOIN pg_roles o ON o.rolname = $2
		LEFT JOIN pg_roles a ON a.rolname = $3`,
		[]any{f.database.name, f.ownerRole.name, f.appRole.name},
		f.scan,
	}
}

func (f *facts) scan(row pgx.Row) error {
	var databaseComment, ownerComment, appComment string
	err := row.Scan(
		&f.database.exists, &databaseComment, &f.invalid, &f.ownedByRole, &f.ready,
		&f.ownerRole.exists, &ownerComment, &f.appRole.exists, &appComment, &f.version)
	if err != nil {
		return err
	}
	f.ownerRole.owner, _ = tenancy.ParseOwnership(ownerComment)
	f.appRole.owner, _ = tenancy.ParseOwnership(appComment)
	f.database.owner, _ = tenancy.ParseOwnership(databaseComment)
	if databaseComment == "" && f.ownedByRole {
		f.database.owner = f.ownerRole.owner
	}
	return nil
}

// foreign returns CodePartialState if anything exists that owner's job did not
// make.
func (f facts) foreign(server tenancy.DBServer, owner tenancy.Ownership) error {
	var names []string
	for _, t := range []thing{f.database, f.ownerRole, f.appRole} {
		if t.exists && t.owner != owner {
			names = append(names, t.String())
		}
	}
	if f.database.exists && f.database.owner == owner && !f.ownedByRole {
		names = append(names, f.database.String()+" (by its owner)")
	}
	return partialState(server, names)
}

func partialState(server tenancy.DBServer, names []string) error {
	if len(names) == 0 {
		return nil
	}
	exist := "exist"
	if len(names) == 1 {
		exist = "exists"
	}
	return tenancy.Errorf(tenancy.CodePartialState, "On server %s %s %s and cannot be shown to be this tenant's; nothing of it was touched.",
		server.Name, strings.Join(names, ", "), exist)
}

// checkOwner refuses an Ownership that could not be read back from a COMMENT.
func checkOwner(owner tenancy.Ownership) error {
	if got, ok := tenancy.ParseOwnership(owner.String()); !ok || got != owner {
		return tenancy.Wrap(tenancy.CodeInternal, errors.New("tenant and job ids must be UUIDs"), fmt.Sprintf("cannot mark anything as %q", owner))
	}
	return nil
}
