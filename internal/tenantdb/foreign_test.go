package tenantdb_test

import (
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// expand puts the bundle's names into a statement.
func (b *bundle) expand(s string) string {
	return strings.NewReplacer("%DB%", b.slug.DatabaseName(), "%OWNER%", b.slug.OwnerRole(), "%APP%", b.slug.AppRole(),
		"%MARK%", b.owner.String(), "%FOREIGN%", newOwner().String()).Replace(s)
}

// TestForeignIsUntouched: what has the name and not the proof stays as it is,
// for ensure, migrate and drop.
func TestForeignIsUntouched(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		make, undo []string
		named      string
	}{
		"database without a mark": {
			make: []string{"CREATE DATABASE %DB%"}, undo: []string{"DROP DATABASE %DB%"}, named: "database %DB%",
		},
		"database of another tenant": {
			make: []string{"CREATE DATABASE %DB%", "COMMENT ON DATABASE %DB% IS '%FOREIGN%'"},
			undo: []string{"DROP DATABASE %DB%"}, named: "database %DB%",
		},
		"database with someone's comment": {
			make: []string{"CREATE DATABASE %DB%", "COMMENT ON DATABASE %DB% IS 'precious'"},
			undo: []string{"DROP DATABASE %DB%"}, named: "database %DB%",
		},
		"owner role": {make: []string{"CREATE ROLE %OWNER%"}, undo: []string{"DROP ROLE %OWNER%"}, named: "role %OWNER%"},
		"application role of another tenant": {
			make: []string{"CREATE ROLE %APP% LOGIN; COMMENT ON ROLE %APP% IS '%FOREIGN%'"},
			undo: []string{"DROP ROLE %APP%"}, named: "role %APP%",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			for _, s := range test.make {
				sql(t, b.pg.URL(), b.expand(s))
			}
			before := b.catalog(t)
			named := b.expand(test.named)
			refused := func(what string, err error) {
				t.Helper()
				wantCode(t, err, tenancy.CodePartialState, false)
				if err != nil && !strings.Contains(err.Error(), named) {
					t.Errorf("%s: error %q does not name %s", what, err, named)
				}
				if after := b.catalog(t); after != before {
					t.Errorf("%s changed\n%s\nto\n%s", what, before, after)
				}
			}
			_, err := b.EnsureDatabase(t.Context(), b.server, b.slug, b.owner, b.appURL, tenancy.DatabaseSource{})
			refused("ensure", err)
			_, err = b.Migrate(t.Context(), b.server, b.slug, b.owner, b.appURL)
			refused("migrate", err)
			refused("drop", b.DropDatabase(t.Context(), b.server, b.slug, b.owner))
			if state := b.inspect(t); state.Empty() || state.BelongsTo(b.owner) {
				t.Errorf("Inspect takes it for ours: %+v", state)
			}
			for _, s := range test.undo {
				sql(t, b.pg.URL(), b.expand(s))
			}
		})
	}
}

// TestDropLeavesWhatDependsOnARole: a role that someone gave something else is
// named, and the rest is gone.
func TestDropLeavesWhatDependsOnARole(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ensure(t)
	other := setup(t)
	other.ensure(t)
	sql(t, b.pg.URL(), "GRANT CONNECT ON DATABASE "+other.slug.DatabaseName()+" TO "+b.slug.AppRole())
	err := b.DropDatabase(t.Context(), b.server, b.slug, b.owner)
	wantCode(t, err, tenancy.CodePartialState, false)
	if state := b.inspect(t); state.Database || len(state.Roles) != 1 || state.Roles[0] != b.slug.AppRole() {
		t.Errorf("left: %+v, want the application's role alone", state)
	}
	other.drop(t)
	b.drop(t)
}

// catalog is all that the server knows of the slug's names.
func (b *bundle) catalog(t *testing.T) string {
	t.Helper()
	return strings.Join(values[string](t, b.pg.URL(), `
		SELECT concat_ws(' ', 'database', datname, pg_get_userbyid(datdba), datallowconn, datconnlimit, datacl::text, shobj_description(oid, 'pg_database'))
		FROM pg_database WHERE datname = $1
		UNION ALL
		SELECT concat_ws(' ', 'role', rolname, rolcanlogin, rolpassword, shobj_description(oid, 'pg_authid'))
		FROM pg_authid WHERE rolname LIKE $1 || '%'
		ORDER BY 1`, b.slug.DatabaseName()), "\n")
}
