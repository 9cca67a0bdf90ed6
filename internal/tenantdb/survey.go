package tenantdb

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Survey lists what exists on a server under the names of slugs, ours or not. It
// asks the catalog once, whatever the number of tenants.
func (s *Servers) Survey(ctx context.Context, server tenancy.DBServer) ([]tenancy.SurveyedDatabase, error) {
	conn, _, err := s.acquire(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	rows, _ := conn.Query(ctx, `
		WITH name AS (
			SELECT datname::text AS name FROM pg_database WHERE datname LIKE 'tenant\_%'
			UNION
			SELECT regexp_replace(rolname::text, '_(app|owner)$', '') FROM pg_roles WHERE rolname ~ '^tenant_.*_(app|owner)$')
		SELECT n.name, d.oid IS NOT NULL, coalesce(shobj_description(d.oid, 'pg_database'), ''),
		       coalesce(d.datconnlimit = -2, false), coalesce(d.datdba = o.oid, false),
		       EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
		               WHERE d.oid IS NOT NULL AND a.grantee = 0 AND a.privilege_type = 'CONNECT'),
		       o.oid IS NOT NULL, coalesce(shobj_description(o.oid, 'pg_authid'), ''),
		       a.oid IS NOT NULL, coalesce(shobj_description(a.oid, 'pg_authid'), ''),
		       coalesce(NOT a.rolcanlogin OR NOT d.datallowconn OR NOT has_database_privilege(a.oid, d.oid, 'CONNECT'), false)
		FROM name n
		LEFT JOIN pg_database d ON d.datname = n.name
		LEFT JOIN pg_roles o ON o.rolname = n.name || '_owner'
		LEFT JOIN pg_roles a ON a.rolname = n.name || '_app'
		ORDER BY n.name`)
	found, err := pgx.CollectRows(rows, scanSurveyed)
	if err != nil {
		return nil, failed(ctx, err, "cannot list the databases"+on(server))
	}
	surveyed := found[:0]
	for _, d := range found {
		// A name that no slug gives is none of ours to judge.
		if _, err := tenancy.ParseSlug(string(d.Slug), nil); err == nil {
			surveyed = append(surveyed, d)
		}
	}
	return surveyed, nil
}

func scanSurveyed(row pgx.CollectableRow) (tenancy.SurveyedDatabase, error) {
	var d tenancy.SurveyedDatabase
	var name, databaseComment, ownerComment, appComment string
	var ownedByRole, ownerRole, appRole bool
	err := row.Scan(&name, &d.Database, &databaseComment, &d.Invalid, &ownedByRole, &d.Public,
		&ownerRole, &ownerComment, &appRole, &appComment, &d.AppBarred)
	if err != nil {
		return d, err
	}
	d.Slug = tenancy.Slug(strings.ReplaceAll(strings.TrimPrefix(name, "tenant_"), "_", "-"))
	d.DatabaseOwner, _ = tenancy.ParseOwnership(databaseComment)
	owner, _ := tenancy.ParseOwnership(ownerComment)
	app, _ := tenancy.ParseOwnership(appComment)
	if databaseComment == "" && ownedByRole {
		d.DatabaseOwner = owner
	}
	if ownerRole {
		d.Roles, d.RolesOwner = append(d.Roles, d.Slug.OwnerRole()), owner
	}
	if appRole {
		d.Roles = append(d.Roles, d.Slug.AppRole())
		if ownerRole && owner != app {
			app = tenancy.Ownership{}
		}
		d.RolesOwner = app
	}
	return d, nil
}

// ShutPublic takes from the server's other roles what they may do in a database
// of owner's tenant.
func (s *Servers) ShutPublic(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership) error {
	return s.withSlug(ctx, server, slug, func(ctx context.Context, w *work, f facts) error {
		if !f.database.provenBy(owner) {
			return partialState(server, []string{f.database.String()})
		}
		_, err := w.conn.Exec(ctx, "REVOKE ALL ON DATABASE "+quote(f.database.name)+" FROM PUBLIC")
		return failed(ctx, err, "cannot shut database "+f.database.name+on(server))
	})
}
