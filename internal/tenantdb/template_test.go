package tenantdb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/internal/tenantdb"
)

func withTemplates(cfg *tenantdb.Config) { cfg.NoTemplates = false }

// plainFiles is a set with most of what can be owned or granted.
func plainFiles() fstest.MapFS {
	// A name of the test's own makes the template its own.
	own := randomHex(6)
	return fstest.MapFS{
		"1_tables.up.sql": {Data: []byte(`-- ` + own + `
			CREATE TABLE thing (thing_id bigserial PRIMARY KEY, name text UNIQUE, at timestamptz DEFAULT now());
			CREATE VIEW things AS SELECT name FROM thing; CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM thing;
			INSERT INTO thing (name) VALUES ('seeded'); REFRESH MATERIALIZED VIEW counted;
			COMMENT ON TABLE thing IS 'of the application';`)},
		"2_schema.up.sql": {Data: []byte(`
			CREATE SCHEMA sales; CREATE TABLE sales."Order" (id int GENERATED ALWAYS AS IDENTITY, at date) PARTITION BY RANGE (at);
			CREATE TABLE sales.o2026 PARTITION OF sales."Order" FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
			CREATE INDEX ON sales."Order" (at); CREATE TYPE sales.mood AS ENUM ('sad', 'glad'); CREATE DOMAIN sales.short AS text CHECK (length(VALUE) < 9);
			CREATE TYPE sales.pair AS (a int, b int);`)},
		"3_functions.up.sql": {Data: []byte(`
			CREATE FUNCTION add(a int, b int) RETURNS int LANGUAGE sql AS $$ SELECT a + b; $$; REVOKE ALL ON FUNCTION add FROM PUBLIC;
			CREATE FUNCTION sales.f() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = sales AS $$ BEGIN RETURN NEW; END $$;
			CREATE PROCEDURE sales.p() LANGUAGE sql AS 'SELECT 1'; CREATE AGGREGATE sales.total (int) (SFUNC = int4pl, STYPE = int);
			CREATE TRIGGER tr BEFORE INSERT ON thing FOR EACH ROW EXECUTE FUNCTION sales.f();
			CREATE OPERATOR sales.=+= (FUNCTION = add, LEFTARG = int, RIGHTARG = int);
			CREATE COLLATION sales.coll (LOCALE = 'C'); CREATE STATISTICS st ON name, at FROM thing;
			CREATE TEXT SEARCH CONFIGURATION sales.ts (COPY = simple);`)},
		"4_extensions.up.sql": {Data: []byte(`CREATE EXTENSION citext; CREATE SCHEMA ext; CREATE EXTENSION hstore SCHEMA ext; CREATE TABLE mixed (c citext, h ext.hstore);`)},
		"5_rights.up.sql": {Data: []byte(`
			GRANT SELECT ON things TO PUBLIC; REVOKE UPDATE ON thing FROM CURRENT_USER; GRANT SELECT (name) ON thing TO PUBLIC;
			ALTER TABLE thing ENABLE ROW LEVEL SECURITY; CREATE POLICY everyone ON thing USING (true);
			CREATE PUBLICATION changes FOR TABLE thing; SELECT lo_create(4711);`)},
	}
}

// list is an array of rights.
var list = regexp.MustCompile(`\{[^{}]*\}`)

// dump is everything in a database that says whose it is and who may do what, with
// the tenant's name taken out.
func (b *bundle) dump(t *testing.T) []string {
	t.Helper()
	lines := values[string](t, b.superURL(), `
		WITH seen AS (SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')
		SELECT concat_ws(' ', 'schema', nspname, pg_get_userbyid(nspowner), nspacl::text) FROM pg_namespace JOIN seen USING (oid, nspname)
		UNION ALL SELECT concat_ws(' ', 'relation', nspname, relname, relkind::text, pg_get_userbyid(relowner), relacl::text, relrowsecurity, relpersistence, obj_description(c.oid, 'pg_class'))
			FROM pg_class c JOIN seen s ON s.oid = relnamespace
		UNION ALL SELECT concat_ws(' ', 'column', nspname, relname, attnum, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attacl::text, pg_get_expr(adbin, adrelid))
			FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN seen s ON s.oid = relnamespace
			LEFT JOIN pg_attrdef d ON (adrelid, adnum) = (attrelid, attnum) WHERE attnum > 0
		UNION ALL SELECT concat_ws(' ', 'constraint', nspname, conname, pg_get_constraintdef(k.oid)) FROM pg_constraint k JOIN seen s ON s.oid = connamespace
		UNION ALL SELECT concat_ws(' ', 'index', schemaname, indexdef) FROM pg_indexes JOIN seen ON nspname = schemaname
		UNION ALL SELECT concat_ws(' ', 'type', nspname, typname, pg_get_userbyid(typowner), typacl::text) FROM pg_type JOIN seen s ON s.oid = typnamespace
		UNION ALL SELECT concat_ws(' ', 'routine', p.oid::regprocedure::text, pg_get_userbyid(proowner), proacl::text, prosecdef, proconfig::text, md5(prosrc)) FROM pg_proc p JOIN seen s ON s.oid = pronamespace
		UNION ALL SELECT concat_ws(' ', 'operator', oprname, pg_get_userbyid(oprowner)) FROM pg_operator o JOIN seen s ON s.oid = oprnamespace
		UNION ALL SELECT concat_ws(' ', 'collation', collname, pg_get_userbyid(collowner)) FROM pg_collation o JOIN seen s ON s.oid = collnamespace
		UNION ALL SELECT concat_ws(' ', 'statistics', stxname, pg_get_userbyid(stxowner)) FROM pg_statistic_ext
		UNION ALL SELECT concat_ws(' ', 'text search', cfgname, pg_get_userbyid(cfgowner)) FROM pg_ts_config o JOIN seen s ON s.oid = cfgnamespace
		UNION ALL SELECT concat_ws(' ', 'extension', extname, extversion, pg_get_userbyid(extowner)) FROM pg_extension
		UNION ALL SELECT concat_ws(' ', 'publication', pubname, pg_get_userbyid(pubowner)) FROM pg_publication
		UNION ALL SELECT concat_ws(' ', 'large object', oid, pg_get_userbyid(lomowner), lomacl::text) FROM pg_largeobject_metadata
		UNION ALL SELECT concat_ws(' ', 'policy', polname, polroles::text, pg_get_expr(polqual, polrelid)) FROM pg_policy
		UNION ALL SELECT concat_ws(' ', 'default', pg_get_userbyid(defaclrole), defaclnamespace::regnamespace, defaclobjtype::text, defaclacl::text) FROM pg_default_acl
		UNION ALL SELECT concat_ws(' ', 'database', pg_get_userbyid(datdba), datacl::text, datallowconn, datconnlimit, datistemplate, pg_encoding_to_char(encoding), datcollate, datctype,
			shobj_description(oid, 'pg_database')) FROM pg_database WHERE datname = current_database()
		UNION ALL SELECT concat_ws(' ', 'setting', setrole, setconfig::text) FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase WHERE datname = current_database()
		UNION ALL SELECT concat_ws(' ', 'depends', role, d.classid::regclass, d.deptype::text, count(*))
			FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid AND d.refclassid = 'pg_authid'::regclass,
			     replace(r.rolname, 'tenantry_app', $1) role
			WHERE d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY role, d.classid, d.deptype
		UNION ALL SELECT concat_ws(' ', 'version', version, dirty) FROM tenantry.schema_migrations
		UNION ALL SELECT concat_ws(' ', 'version', version, dirty) FROM tenantry.app_schema_migrations
		UNION ALL SELECT concat_ws(' ', 'trigger', tgname, pg_get_triggerdef(oid)) FROM pg_trigger WHERE NOT tgisinternal`, b.slug.AppRole())
	for i, line := range lines {
		line = strings.NewReplacer(
			b.slug.DatabaseName(), "TENANT", b.owner.String(), "MARK",
			// A copy's objects belong to the server's role, which may make more of them, and
			// its application has its rights on them as another.
			"tenantry_owner=CT/"+b.slug.OwnerRole(), "", "tenantry_owner", "TENANT_owner", "tenantry_app", "TENANT_app",
		).Replace(line)
		// The order of rights means nothing, and is that in which they were given.
		lines[i] = list.ReplaceAllStringFunc(line, func(s string) string {
			items := slices.DeleteFunc(strings.Split(strings.Trim(s, "{}"), ","), func(item string) bool { return item == "" })
			slices.Sort(items)
			return "{" + strings.Join(items, ",") + "}"
		})
	}
	slices.Sort(lines)
	return lines
}

// ensureCopy makes the slug's database and returns the template it is a copy of.
func (b *bundle) ensureCopy(t *testing.T) string {
	t.Helper()
	origin, err := b.EnsureDatabase(t.Context(), b.server, b.slug, b.owner, b.appURL, tenancy.DatabaseSource{})
	if err != nil {
		t.Fatal(err)
	}
	if origin.Template == "" {
		t.Fatalf("there is no template: %s\n%s", origin.NoTemplate, b.log)
	}
	return origin.Template
}

// TestACopyIsWhatMigratingMakes compares a copied database with a migrated one.
func TestACopyIsWhatMigratingMakes(t *testing.T) {
	t.Parallel()
	for name, setup := range admins {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := plainFiles()
			plain, copied := setup(t, withApp(files), withoutTemplates), setup(t, withApp(files), withTemplates)
			plain.ensure(t)
			template := copied.ensureCopy(t)
			for _, b := range []*bundle{plain, copied} {
				if got := b.migrate(t); got != "5/5" {
					t.Errorf("version %q, want 5/5", got)
				}
			}
			if diff := cmp.Diff(plain.dump(t), copied.dump(t)); diff != "" {
				t.Errorf("(-migrated +copied):\n%s", diff)
			}
			// A later migration's objects get the same rights.
			files["6_later.up.sql"] = &fstest.MapFile{Data: []byte("CREATE SCHEMA later; CREATE TABLE later.t (id serial); CREATE FUNCTION later.f() RETURNS int LANGUAGE sql AS 'SELECT 1'")}
			for _, b := range []*bundle{plain, copied} {
				if got := b.migrate(t); got != "5/6" {
					t.Errorf("version %q, want 5/6", got)
				}
			}
			if diff := cmp.Diff(plain.dump(t), copied.dump(t)); diff != "" {
				t.Errorf("after a later migration (-migrated +copied):\n%s", diff)
			}
			if got := values[string](t, copied.superURL(), "SELECT name FROM thing"); len(got) != 1 {
				t.Errorf("seeded rows: %q", got)
			}
			copied.dropTemplate(t, template)
		})
	}
}

var admins = map[string]func(*testing.T, ...func(*tenantdb.Config)) *bundle{"superuser": setup, "limited admin": setupLimited}

// dropTemplate drops a test's own template.
func (b *bundle) dropTemplate(t *testing.T, name string) {
	t.Helper()
	// Other tests build theirs meanwhile.
	eventually(t, "the end of other builders", func() bool {
		err := b.DropTemplate(t.Context(), b.server, name, 0)
		if err != nil && tenancy.CodeOf(err) != tenancy.CodeConflict {
			t.Fatal(err)
		}
		return err == nil
	})
}

// TestNothingLeadsToAnotherTenant: what a copy came from leaves no way from one
// tenant's role to another's objects, nor into a template.
func TestNothingLeadsToAnotherTenant(t *testing.T) {
	t.Parallel()
	for name, setup := range admins {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := plainFiles()
			a, b := setup(t, withApp(files), withTemplates), setup(t, withApp(files), withTemplates)
			template := a.ensureCopy(t)
			if other := b.ensureCopy(t); other != template {
				t.Errorf("copies of %s and %s", template, other)
			}
			for _, x := range []*bundle{a, b} {
				x.migrate(t)
			}
			// No tenant's role is a member of anything but what has the applications' rights
			// on objects, and besides them only that and the objects' owner have something in
			// a copy.
			for _, x := range []*bundle{a, b} {
				if got := values[string](t, x.pg.URL(), `
					SELECT format('%s is a member of %s', m.rolname, r.rolname) FROM pg_auth_members x
					JOIN pg_roles m ON m.oid = x.member JOIN pg_roles r ON r.oid = x.roleid WHERE m.rolname = ANY($1)`,
					[]string{x.slug.AppRole(), x.slug.OwnerRole()}); !slices.Equal(got, []string{x.slug.AppRole() + " is a member of tenantry_app"}) {
					t.Errorf("%q", got)
				}
				if got := values[string](t, x.pg.URL(), `
					SELECT DISTINCT r.rolname::text FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid JOIN pg_database o ON o.oid = d.dbid
					WHERE d.refclassid = 'pg_authid'::regclass AND o.datname = $1 AND r.rolname <> ALL($2)`,
					x.slug.DatabaseName(), []string{x.slug.AppRole(), x.slug.OwnerRole(), "tenantry_owner", "tenantry_app"}); len(got) != 0 {
					t.Errorf("%q have something in %s", got, x.slug.DatabaseName())
				}
				if got := values[string](t, x.superURL(), `
					SELECT nspname::text FROM pg_namespace WHERE has_schema_privilege('tenantry_app', oid, 'USAGE') AND nspname NOT IN ('pg_catalog', 'information_schema')
					UNION ALL SELECT datname::text FROM pg_database, aclexplode(datacl) WHERE grantee = 'tenantry_app'::regrole`); len(got) != 0 {
					t.Errorf("all applications get into %q", got)
				}
			}
			wantRefused(t, a.appIn(b.slug.DatabaseName()), "SELECT 1")
			// Who is let into another's database by mistake finds its schemas shut.
			sql(t, b.superURL(), "GRANT CONNECT ON DATABASE "+b.slug.DatabaseName()+" TO "+a.slug.AppRole())
			sql(t, a.appIn(b.slug.DatabaseName()), "SELECT 1")
			for _, statement := range []string{"SELECT FROM identity.users", "SET ROLE tenantry_app; SELECT FROM public.thing", "INSERT INTO public.thing (name) VALUES ('x')", "SELECT version FROM tenantry.schema_migrations"} {
				wantRefused(t, a.appIn(b.slug.DatabaseName()), statement)
			}
			sql(t, b.appURL, "SELECT FROM identity.users")
			for _, who := range []string{a.appIn(template), a.pg.DatabaseURL(template)} {
				pg, ok := errors.AsType[*pgconn.PgError](trySQL(t, who, "SELECT 1"))
				if !ok || pg.Code != "55000" {
					t.Errorf("a template lets someone in: %v", pg)
				}
			}
			if got := values[string](t, a.pg.URL(), `
				SELECT concat_ws(' ', pg_get_userbyid(datdba), datallowconn, datistemplate,
				       (SELECT string_agg(a.grantee::regrole::text, ',') FROM aclexplode(datacl) a))
				FROM pg_database WHERE datname = $1`, template); got[0] != "tenantry_templates f f tenantry_templates,tenantry_templates,tenantry_templates" {
				t.Errorf("the template: %q", got)
			}
			if got := values[bool](t, a.pg.URL(), "SELECT rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname IN ('tenantry_templates', 'tenantry_owner', 'tenantry_app')"); len(got) != 3 || slices.Contains(got, true) {
				t.Errorf("the templates' roles may log in or more: %v", got)
			}
			// The objects' owner is nobody's to become but the admin's.
			wantRefused(t, a.appURL, "SET ROLE tenantry_owner")
			if got := values[string](t, a.pg.URL(), `
				SELECT m.rolname::text FROM pg_auth_members x JOIN pg_roles m ON m.oid = x.member
				WHERE x.roleid = 'tenantry_owner'::regrole AND m.rolname LIKE 'tenant\_%'`); len(got) != 0 {
				t.Errorf("%q are members of the objects' owner", got)
			}
			a.dropTemplate(t, template)
		})
	}
}

// TestHalfACopyOfAnEarlierRelease, whose templates had no rights in them, is not let
// into.
func TestHalfACopyOfAnEarlierRelease(t *testing.T) {
	t.Parallel()
	b := setup(t, withTemplates)
	b.ensureCopy(t)
	sql(t, b.superURL(), "REVOKE SELECT ON ALL TABLES IN SCHEMA tenantry FROM tenantry_app; REVOKE CONNECT ON DATABASE "+b.slug.DatabaseName()+" FROM "+b.slug.AppRole())
	_, err := b.EnsureDatabase(t.Context(), b.server, b.slug, b.owner, b.appURL, tenancy.DatabaseSource{})
	wantCode(t, err, tenancy.CodePartialState, false)
	wantRefused(t, b.appURL, "SELECT 1")
	if err := b.DropDatabase(t.Context(), b.server, b.slug, b.owner); err != nil {
		t.Fatal(err)
	}
	b.ensureCopy(t)
	sql(t, b.appURL, "SELECT FROM identity.users")
}

// templateOids lists a template, to see whether it is made anew.
func (b *bundle) templateOids(t *testing.T, name string) []uint32 {
	t.Helper()
	return values[uint32](t, b.pg.URL(), "SELECT oid FROM pg_database WHERE datname = $1", name)
}

// TestFirstUseBuildsOneTemplate: fifty tenants of several workers at once, and a set
// that nobody has seen before.
func TestFirstUseBuildsOneTemplate(t *testing.T) {
	t.Parallel()
	files := plainFiles()
	bundles := make([]*bundle, 50)
	for i := range bundles {
		bundles[i] = setup(t, withApp(files), withTemplates)
	}
	var origins [50]tenancy.DatabaseOrigin
	var errs [50]error
	done := make(chan struct{})
	for i, b := range bundles {
		// Five processes of ten jobs each.
		worker := bundles[i/10]
		b.server = worker.server
		go func() {
			defer func() { done <- struct{}{} }()
			if origins[i], errs[i] = worker.EnsureDatabase(t.Context(), b.server, b.slug, b.owner, b.appURL, tenancy.DatabaseSource{}); errs[i] == nil {
				_, errs[i] = worker.Migrate(t.Context(), b.server, b.slug, b.owner, b.appURL)
			}
		}()
	}
	for range bundles {
		<-done
	}
	built := 0
	for i, b := range bundles {
		built += strings.Count(b.log.String(), "built a template")
		if errs[i] != nil || origins[i].Template == "" || origins[i] != origins[0] {
			t.Errorf("tenant %d: %+v, %v", i, origins[i], errs[i])
		}
		if strings.Contains(b.log.String(), "cannot copy") {
			t.Errorf("a copy was refused:\n%s", b.log)
		}
	}
	if built != 1 {
		t.Errorf("%d templates were built", built)
	}
	bundles[0].dropTemplate(t, origins[0].Template)
}

// TestChangedSetWhileJobsRun: each job ends with the version of its own files.
func TestChangedSetWhileJobsRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "1_a.up.sql", "CREATE TABLE a"+randomHex(4)+" ()")
	before, during := setup(t, withApp(os.DirFS(dir)), withTemplates), setup(t, withApp(os.DirFS(dir)), withTemplates)
	old := before.ensureCopy(t)
	if during.ensureCopy(t) != old {
		t.Error("two templates for one set")
	}
	if got := before.migrate(t); got != "5/1" {
		t.Errorf("version %q", got)
	}
	write(t, dir, "2_b.up.sql", "CREATE TABLE b ()")
	after := setup(t, withApp(os.DirFS(dir)), withTemplates)
	later := after.ensureCopy(t)
	if later == old {
		t.Error("the changed set has the old template")
	}
	for _, b := range []*bundle{during, after} {
		if got := b.migrate(t); got != "5/2" {
			t.Errorf("version %q, want 5/2", got)
		}
		sql(t, b.appURL, "SELECT FROM b")
	}
	// An older worker that still has the old files.
	if err := os.Remove(filepath.Join(dir, "2_b.up.sql")); err != nil {
		t.Fatal(err)
	}
	straggler := setup(t, withApp(os.DirFS(dir)), withTemplates)
	if got := straggler.ensureCopy(t); got != old {
		t.Errorf("copied %s, want %s, which was used a moment ago", got, old)
	}
	if got := straggler.migrate(t); got != "5/1" {
		t.Errorf("version %q", got)
	}
	before.dropTemplate(t, old)
	before.dropTemplate(t, later)
}

// TestKilledBuilder: what a builder left, at whatever point, is built again and
// nobody copies it.
func TestKilledBuilder(t *testing.T) {
	t.Parallel()
	const create = `CREATE DATABASE %T% OWNER tenantry_templates TEMPLATE template0 ALLOW_CONNECTIONS false`
	for name, statements := range map[string][]string{
		"nothing":          nil,
		"not marked":       {create},
		"marked and open":  {create, `COMMENT ON DATABASE %T% IS 'tenantry template, unfinished'; ALTER DATABASE %T% ALLOW_CONNECTIONS true`},
		"shut, unfinished": {create, `COMMENT ON DATABASE %T% IS 'tenantry template, unfinished'`},
		"half dropped":     {create, `COMMENT ON DATABASE %T% IS 'tenantry template, last used 2099-01-01T00:00:00Z'; UPDATE pg_database SET datconnlimit = -2 WHERE datname = '%T%'`},
		"opened by hand":   {create, `COMMENT ON DATABASE %T% IS 'tenantry template, last used 2099-01-01T00:00:00Z'; ALTER DATABASE %T% ALLOW_CONNECTIONS true`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := plainFiles()
			b := setup(t, withApp(files), withTemplates)
			template := b.ensureCopy(t)
			b.drop(t)
			b.dropTemplate(t, template)
			for _, s := range statements {
				sql(t, b.pg.URL(), strings.ReplaceAll(s, "%T%", template))
			}
			left := b.templateOids(t, template)
			if got := b.ensureCopy(t); got != template {
				t.Errorf("copied %s, want %s", got, template)
			}
			if got := b.templateOids(t, template); len(got) != 1 || len(left) == 1 && got[0] == left[0] {
				t.Errorf("what a killed builder left was used: %v, then %v", left, got)
			}
			b.migrate(t)
			sql(t, b.appURL, "SELECT name FROM things")
			b.dropTemplate(t, template)
		})
	}
}

// TestBuilderThatIsCutOff in the middle of a migration: the next one, who waits for
// the lock meanwhile, builds.
func TestBuilderThatIsCutOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	own := randomHex(6)
	write(t, dir, "1_x.up.sql", "CREATE TABLE t"+own+" (); SELECT CASE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = 'gate_"+own+"') THEN pg_sleep(600) END")
	b := setup(t, withApp(os.DirFS(dir)), withTemplates)
	gate := "CREATE ROLE gate_" + own
	sql(t, b.pg.URL(), gate)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := b.EnsureDatabase(ctx, b.server, b.slug, b.owner, b.appURL, tenancy.DatabaseSource{})
		ended <- err
	}()
	sleeping := "SELECT count(*) FROM pg_stat_activity WHERE datname ~ '^tenantry_template_' AND query ~ $1 AND state = 'active'"
	eventually(t, "the build", func() bool { return values[int64](t, b.pg.URL(), sleeping, own)[0] == 1 })
	other := setup(t, withApp(os.DirFS(dir)), withTemplates)
	waited := make(chan string, 1)
	go func() { waited <- other.ensureCopy(t) }()
	sql(t, b.pg.URL(), "DROP ROLE gate_"+own)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
	template := <-waited
	if got := values[int64](t, b.pg.URL(), sleeping, own)[0]; got != 0 {
		t.Errorf("%d sessions of the build are left", got)
	}
	if got := b.ensureCopy(t); got != template {
		t.Errorf("copied %s, want %s", got, template)
	}
	for _, x := range []*bundle{b, other} {
		x.migrate(t)
		sql(t, x.appURL, "SELECT FROM t"+own)
	}
	b.dropTemplate(t, template)
}

// TestHalfACopy: a worker died after the copy and before it was the tenant's.
func TestHalfACopy(t *testing.T) {
	t.Parallel()
	for name, setup := range admins {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := plainFiles()
			whole := setup(t, withApp(files), withTemplates)
			template := whole.ensureCopy(t)
			whole.migrate(t)
			want := whole.dump(t)
			for state, statements := range map[string][]string{
				"copied": {},
				"marked": {"COMMENT ON DATABASE %DB% IS '%MARK%'; REVOKE ALL ON DATABASE %DB% FROM PUBLIC; ALTER DATABASE %DB% ALLOW_CONNECTIONS true"},
			} {
				for _, then := range []string{"ensure", "migrate", "drop"} {
					b := setup(t, withApp(files), withTemplates)
					b.ensure(t)
					sql(t, b.pg.URL(), b.expand("DROP DATABASE %DB%"))
					sql(t, b.pg.URL(), b.expand("CREATE DATABASE %DB% OWNER %OWNER% TEMPLATE "+template+" ALLOW_CONNECTIONS false"))
					for _, s := range statements {
						sql(t, b.pg.URL(), b.expand(s))
					}
					if b.inspect(t).Ready {
						t.Errorf("%s: half a copy is taken for a whole one", state)
					}
					switch then {
					case "drop":
						b.drop(t)
						if got := b.inspect(t); !got.Empty() {
							t.Errorf("%s: after drop there is %+v", state, got)
						}
						continue
					case "ensure":
						b.ensure(t)
					}
					b.migrate(t)
					if diff := cmp.Diff(want, b.dump(t)); diff != "" {
						t.Errorf("%s, then %s (-whole +half):\n%s", state, then, diff)
					}
				}
			}
			whole.dropTemplate(t, template)
		})
	}
}

// TestForeignTemplate: a database or role of the name that is not ours stays, and is
// not copied.
func TestForeignTemplate(t *testing.T) {
	t.Parallel()
	files := plainFiles()
	b := setup(t, withApp(files), withTemplates)
	template := b.ensureCopy(t)
	b.dropTemplate(t, template)
	b.drop(t)
	sql(t, b.pg.URL(), "CREATE DATABASE "+template)
	sql(t, b.pg.URL(), "COMMENT ON DATABASE "+template+" IS 'tenantry template, last used 2099-01-01T00:00:00Z'")
	left := b.templateOids(t, template)
	origin, err := b.EnsureDatabase(t.Context(), b.server, b.slug, b.owner, b.appURL, tenancy.DatabaseSource{})
	if err != nil || !strings.Contains(origin.NoTemplate, "not ours") {
		t.Errorf("%+v, %v", origin, err)
	}
	b.dropTemplate(t, template)
	if diff := cmp.Diff(left, b.templateOids(t, template)); diff != "" {
		t.Errorf("the foreign database (-before +after):\n%s", diff)
	}
	b.migrate(t)
	sql(t, b.pg.URL(), "DROP DATABASE "+template)
}

// TestOldTemplatesGo when a newer one has been built or used, once nobody has used
// them for an hour.
//
// It runs alone: whoever else uses the server tidies up too, and would drop what is
// made to look old here.
func TestOldTemplatesGo(t *testing.T) {
	unused := func(b *bundle, template, since string) {
		sql(t, b.pg.URL(), fmt.Sprintf("COMMENT ON DATABASE %s IS 'tenantry template, last used %s'", template, since))
	}
	ago := func(d time.Duration) string { return time.Now().Add(-d).UTC().Format(time.RFC3339) }
	surveyed := func(b *bundle, template string) tenancy.SurveyedTemplate {
		found, err := b.SurveyTemplates(t.Context(), b.server)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if f.Name == template {
				return f
			}
		}
		return tenancy.SurveyedTemplate{}
	}
	one, two, three := setup(t, withApp(plainFiles()), withTemplates), setup(t, withApp(plainFiles()), withTemplates), setup(t, withApp(plainFiles()), withTemplates)
	old, recent := one.ensureCopy(t), two.ensureCopy(t)
	if got := surveyed(one, old); !got.Finished || !got.Current || got.Unused > time.Minute {
		t.Errorf("a template just used: %+v", got)
	}
	if err := one.DropTemplate(t.Context(), one.server, old, time.Hour); tenancy.CodeOf(err) != tenancy.CodeConflict {
		t.Errorf("dropping a template in use: %v", err)
	}
	unused(one, old, ago(2*time.Hour))
	unused(two, recent, ago(30*time.Minute))
	if got := surveyed(two, old); got.Current || got.Unused < 2*time.Hour || got.Unused > 3*time.Hour {
		t.Errorf("an old template: %+v", got)
	}
	mine := three.ensureCopy(t) // builds, and tidies up
	if got := one.templateOids(t, old); len(got) != 0 {
		t.Error("the template that nobody used for two hours is still there")
	}
	if got := two.templateOids(t, recent); len(got) != 1 {
		t.Error("the template used half an hour ago is gone")
	}
	// Its own, however old, is used and not dropped; the use is noted.
	unused(three, mine, ago(5*time.Hour))
	left := three.templateOids(t, mine)
	three.drop(t)
	eventually(t, "the note of a use", func() bool {
		three.ensureCopy(t)
		three.drop(t)
		return surveyed(three, mine).Unused < time.Minute
	})
	if diff := cmp.Diff(left, three.templateOids(t, mine)); diff != "" {
		t.Errorf("the template (-before +after):\n%s", diff)
	}
	two.dropTemplate(t, recent)
	three.dropTemplate(t, mine)
}

// TestTemplateThatSomebodyLooksInto: a session in a template delays a copy, and in
// the end the database is made without.
func TestTemplateThatSomebodyLooksInto(t *testing.T) {
	t.Parallel()
	b := setup(t, withApp(plainFiles()), withTemplates)
	template := b.ensureCopy(t)
	b.drop(t)
	sql(t, b.pg.URL(), "ALTER DATABASE "+template+" ALLOW_CONNECTIONS true")
	conn, err := pgx.Connect(t.Context(), b.pg.DatabaseURL(template))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	sql(t, b.pg.URL(), "ALTER DATABASE "+template+" ALLOW_CONNECTIONS false")
	origin, err := b.EnsureDatabase(t.Context(), b.server, b.slug, b.owner, b.appURL, tenancy.DatabaseSource{})
	if err != nil || origin.Template != "" {
		t.Errorf("%+v, %v", origin, err)
	}
	if got := b.migrate(t); got != "5/5" {
		t.Errorf("version %q", got)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.dropTemplate(t, template)
}
