package tenantdb_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/internal/tenantdb"
)

// appIn connects as the tenant's application to some other database.
func (b *bundle) appIn(database string) string {
	return strings.Replace(b.appURL, "/"+b.slug.DatabaseName()+"?", "/"+database+"?", 1)
}

// wantRefused runs a statement that must fail for want of a privilege.
func wantRefused(t *testing.T, url, statement string) {
	t.Helper()
	err := trySQL(t, url, statement)
	if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "42501" {
		t.Errorf("%s: %v, want 42501", statement, err)
	}
}

// ways are how a tenant may come to its database.
var ways = map[string]struct {
	change func(*tenantdb.Config)
	make   func(*bundle, *testing.T)
}{
	"made":  {func(*tenantdb.Config) {}, (*bundle).ensure},
	"taken": {withTemplates, (*bundle).taken},
}

func TestTenantsAreShutOutEverywhereElse(t *testing.T) {
	t.Parallel()
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := setup(t, way.change), setup(t, way.change)
			for _, x := range []*bundle{a, b} {
				way.make(x, t)
				x.migrate(t)
			}
			wantShutOut(t, a, b)
		})
	}
}

func wantShutOut(t *testing.T, a, b *bundle) {
	t.Helper()
	for _, database := range []string{b.slug.DatabaseName(), "postgres", "template1"} {
		wantRefused(t, a.appIn(database), "SELECT 1")
	}
	sql(t, a.appURL, "SELECT 1")
	// The admin still gets in, by name and not as a superuser only.
	if got := values[string](t, a.pg.URL(), `
		SELECT datname::text FROM pg_database d, aclexplode(d.datacl) x
		WHERE datname IN ('postgres', 'template1') AND x.grantee = 'postgres'::regrole AND x.privilege_type = 'CONNECT' ORDER BY 1`); len(got) != 2 {
		t.Errorf("the admin may connect to %q", got)
	}
}

func TestLimitedAdmin(t *testing.T) {
	t.Parallel()
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := setupLimited(t, way.change), setupLimited(t, way.change)
			for _, x := range []*bundle{a, b} {
				way.make(x, t)
				x.migrate(t)
			}
			wantNoMoreThanNeeded(t, a, b)
		})
	}
}

func wantNoMoreThanNeeded(t *testing.T, a, b *bundle) {
	t.Helper()
	wantRefused(t, a.appIn(b.slug.DatabaseName()), "SELECT 1")
	wantRefused(t, a.appURL, "CREATE TABLE public.mine (i int)")
	wantRefused(t, a.appURL, "CREATE TEMP TABLE mine (i int)")
	sql(t, a.appURL, "INSERT INTO settings.setting (key, value) VALUES ('k', '1'); UPDATE settings.setting SET value = '2'; DELETE FROM settings.setting")
	// It may not close the databases of the superuser, and says so once.
	if got := strings.Count(a.log.String(), "any role can connect"); got != 1 {
		t.Errorf("%d warnings about open databases, want 1:\n%s", got, a.log)
	}
}

// TestLimitedAdminWithItsOwnMaintenanceDatabase: what the admin owns it closes.
func TestLimitedAdminWithItsOwnMaintenanceDatabase(t *testing.T) {
	t.Parallel()
	// Its locks are in that database: it must not build what others build on the server.
	b := setupLimited(t, withoutTemplates)
	url, _ := b.vault.Value(t.Context(), "admin-url")
	maintenance := "maintenance_" + randomHex(4)
	sql(t, url, "CREATE DATABASE "+maintenance)
	url = strings.Replace(url, "/postgres?", "/"+maintenance+"?", 1)
	b.vault.set("admin-url", url)
	if _, err := b.Resolve(t.Context(), b.server); err != nil {
		t.Fatal(err)
	}
	b.ensure(t)
	b.ensure(t) // not locked out
	wantRefused(t, b.appIn(maintenance), "SELECT 1")
}

// appFiles is an application's set with what such sets do.
var appFiles = fstest.MapFS{
	"1_plain.up.sql":     {Data: []byte("CREATE TABLE thing (thing_id bigserial PRIMARY KEY, name text); CREATE VIEW things AS SELECT name FROM thing;")},
	"2_schema.up.sql":    {Data: []byte("CREATE SCHEMA Sales; CREATE TABLE sales.\"Order\" (id int GENERATED ALWAYS AS IDENTITY, at date) PARTITION BY RANGE (at); CREATE TABLE sales.o2026 PARTITION OF sales.\"Order\" FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');")},
	"3_function.up.sql":  {Data: []byte("CREATE FUNCTION add(a int, b int) RETURNS int LANGUAGE sql AS $$ SELECT a + b; $$; REVOKE ALL ON FUNCTION add FROM PUBLIC;")},
	"4_odd.up.sql":       {Data: []byte("ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM PUBLIC; DO $$ DECLARE r text; BEGIN FOR r IN SELECT a.grantee::regrole::text FROM pg_default_acl d, aclexplode(d.defaclacl) a WHERE a.grantee <> a.grantor AND a.grantee <> 0 GROUP BY 1 LOOP EXECUTE 'ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM ' || r || '; ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM ' || r || '; ALTER DEFAULT PRIVILEGES REVOKE ALL ON SEQUENCES FROM ' || r; END LOOP; END $$;")},
	"5_hidden.up.sql":    {Data: []byte("CREATE SCHEMA hidden; CREATE TABLE hidden.secretive (id serial, v text);")},
	"6_extension.up.sql": {Data: []byte("CREATE EXTENSION pgcrypto; CREATE EXTENSION citext; CREATE TABLE mixed (c citext);")},
	"6_extension.down.sql": {Data: []byte(
		"DROP TABLE mixed; DROP EXTENSION citext; DROP EXTENSION pgcrypto;")},
}

func TestTheApplicationReadsAndWritesAndCreatesNothing(t *testing.T) {
	t.Parallel()
	for name, setup := range admins {
		for how, way := range ways {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				b := setup(t, withApp(appFiles), way.change)
				way.make(b, t)
				if got := b.migrate(t); got != "5/6" {
					t.Errorf("version %q, want 5/6", got)
				}
				wantReadingAndWriting(t, b)
			})
		}
	}
}

// wantReadingAndWriting of appFiles, and no more.
func wantReadingAndWriting(t *testing.T, b *bundle) {
	t.Helper()
	// Each table that a migration made, ours of the versions aside.
	tables := values[string](t, b.superURL(), `
				SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
				WHERE c.relkind IN ('r', 'p', 'v') AND c.relowner = $1::text::regrole AND n.nspname <> 'tenantry'`, b.objectsOwner(t))
	if len(tables) < 10 {
		t.Errorf("tables of the owner: %q", tables)
	}
	for _, table := range tables {
		for _, privilege := range []string{"SELECT", "INSERT", "UPDATE", "DELETE"} {
			if !values[bool](t, b.appURL, "SELECT has_table_privilege($1, $2)", table, privilege)[0] {
				t.Errorf("the application lacks %s on %s", privilege, table)
			}
		}
	}
	sql(t, b.appURL, `
				INSERT INTO thing (name) VALUES ('a'); UPDATE thing SET name = 'b'; SELECT name FROM things; DELETE FROM thing;
				INSERT INTO sales."Order" (at) VALUES ('2026-05-05'); INSERT INTO hidden.secretive (v) VALUES ('x');
				SELECT add(1, 2), currval('hidden.secretive_id_seq'), digest('x', 'sha256'); INSERT INTO mixed VALUES ('X');
				SELECT version FROM tenantry.schema_migrations; SELECT version FROM tenantry.app_schema_migrations;
				INSERT INTO audit.event (event_type) VALUES ('X')`)
	for _, statement := range []string{
		"CREATE TABLE mine (i int)", "CREATE TABLE sales.mine (i int)", "CREATE TABLE tenantry.mine (i int)",
		"CREATE SCHEMA mine", "CREATE TEMP TABLE mine (i int)", "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
		"CREATE DATABASE mine", "CREATE ROLE mine", "ALTER TABLE thing ADD COLUMN mine int", "TRUNCATE thing",
		"DROP TABLE thing", "CREATE EXTENSION pg_trgm", "SET ROLE " + b.slug.OwnerRole(), "SET ROLE " + b.objectsOwner(t),
		"UPDATE tenantry.schema_migrations SET version = 1", "DELETE FROM tenantry.app_schema_migrations",
		"DELETE FROM audit.event", "UPDATE audit.event SET event_type = 'Y'",
	} {
		wantRefused(t, b.appURL, statement)
	}
	// Nothing is left to PUBLIC in the database and its schemas.
	if got := values[string](t, b.superURL(), `
				SELECT 'database' FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE datname = current_database() AND a.grantee = 0
				UNION ALL
				SELECT nspname::text FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
				WHERE a.grantee = 0 AND nspname NOT IN ('pg_catalog', 'information_schema')`); len(got) != 0 {
		t.Errorf("PUBLIC has rights on %q", got)
	}
	if got := values[string](t, b.superURL(), "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()"); got[0] != b.slug.OwnerRole() {
		t.Errorf("the database belongs to %s", got)
	}
}

func TestTheOwnerRoleCannotLogIn(t *testing.T) {
	t.Parallel()
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, way.change)
			way.make(b, t)
			wantNoLoginOfTheOwner(t, b)
		})
	}
}

func wantNoLoginOfTheOwner(t *testing.T, b *bundle) {
	t.Helper()
	url := strings.Replace(b.appURL, b.slug.AppRole(), b.slug.OwnerRole(), 1)
	if err := trySQL(t, url, "SELECT 1"); err == nil {
		t.Error("the owner role logged in")
	}
	for name, want := range map[string]string{b.slug.OwnerRole(): "(f,f,f,f,f)", b.slug.AppRole(): "(t,f,f,f,f)"} {
		got := values[string](t, b.pg.URL(), "SELECT (rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication)::text FROM pg_roles WHERE rolname = $1", name)
		if diff := cmp.Diff([]string{want}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	wantCode(t, b.DropDatabase(t.Context(), b.server, "NOT A SLUG", b.owner), tenancy.CodeInvalidSlug, false)
}
