package tenantdb_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// TestSetsThatCannotLiveInATemplate are migrated file by file, and say why.
func TestSetsThatCannotLiveInATemplate(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		files fstest.MapFS
		want  string
	}{
		"marked by a file":      {fstest.MapFS{"no-template": {}, "1_a.up.sql": {Data: []byte("SELECT 1")}}, "the file no-template says so"},
		"marked in a file":      {fstest.MapFS{"1_a.up.sql": {Data: []byte("SELECT 1;\n-- tenantry: no-template\n")}}, "file 1_a.up.sql says so"},
		"fails in it":           {files("DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', current_database() || '_app'); END $$"), "tenantry_template_"},
		"settings":              {files("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''5MB''', current_database()); END $$"), "must be owner of database"},
		"rights":                {files("DO $$ BEGIN EXECUTE format('GRANT TEMP ON DATABASE %I TO PUBLIC', current_database()); END $$"), "rights on the database"},
		"an open schema":        {files("CREATE SCHEMA ajar; GRANT USAGE ON SCHEMA ajar TO PUBLIC"), "a schema that is open to every role, ajar"},
		"comment":               {files("DO $$ BEGIN EXECUTE format('COMMENT ON DATABASE %I IS ''mine''', current_database()); END $$"), "must be owner of database"},
		"its name in a row":     {files("CREATE TABLE p AS SELECT jsonb_build_object('in', current_database()) AS name"), "the name of the database, in a row of public.p"},
		"its name in a default": {files("DO $$ BEGIN EXECUTE format('CREATE TABLE p (d text DEFAULT %L)', current_database()); END $$"), "in a default"},
		"a random key":          {files("CREATE TABLE p AS SELECT md5(random()::text) AS key"), "makes random values"},
		"a random default":      {files("CREATE TABLE p (k uuid DEFAULT gen_random_uuid(), v int); INSERT INTO p (v) VALUES (1)"), "makes random values"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, withApp(test.files), withTemplates)
			origin, err := b.EnsureDatabase(t.Context(), b.server, b.slug, b.owner, b.appURL, tenancy.DatabaseSource{})
			if err != nil {
				t.Fatal(err)
			}
			if origin.Template != "" || !strings.Contains(origin.NoTemplate, test.want) {
				t.Errorf("origin %+v, want without a template because of %q", origin, test.want)
			}
			if got := b.migrate(t); got != "5/1" {
				t.Errorf("version %q", got)
			}
			second := setup(t, withApp(test.files), withTemplates)
			second.server = b.server
			again, err := b.EnsureDatabase(t.Context(), b.server, second.slug, second.owner, second.appURL, tenancy.DatabaseSource{})
			if err != nil || again != origin {
				t.Errorf("the second database: %+v, %v", again, err)
			}
			if got := strings.Count(b.log.String(), "migrated file by file"); got != 1 {
				t.Errorf("%d warnings, want 1:\n%s", got, b.log)
			}
		})
	}
}

// files is a set of one file, with something of its own in it.
func files(statements string) fstest.MapFS {
	return fstest.MapFS{"1_a.up.sql": {Data: []byte("-- " + randomHex(6) + "\n" + statements)}}
}

// TestSetsThatMayLiveInATemplate though they look as if they might not.
func TestSetsThatMayLiveInATemplate(t *testing.T) {
	t.Parallel()
	for name, statements := range map[string]string{
		"random default without rows": "CREATE TABLE p (k uuid DEFAULT gen_random_uuid())",
		"random and content with it":  "-- tenantry: template\nCREATE TABLE p (k uuid DEFAULT gen_random_uuid(), v int); INSERT INTO p (v) VALUES (1)",
		"default privileges":          "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
		"policy for the owner":        "CREATE TABLE p (); CREATE POLICY mine ON p TO CURRENT_USER USING (true)",
		"name asked for at run time":  "CREATE TABLE p (by text DEFAULT current_user, db text DEFAULT current_database())",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, withApp(files(statements)), withTemplates)
			template := b.ensureCopy(t)
			b.migrate(t)
			b.dropTemplate(t, template)
		})
	}
}

// TestABrokenSetFailsAsWithoutTemplates: the job's own error counts.
func TestABrokenSetFailsAsWithoutTemplates(t *testing.T) {
	t.Parallel()
	b := setup(t, withApp(files("SELECT 1 FROM nowhere")), withTemplates)
	b.ensure(t)
	_, err := b.Migrate(t.Context(), b.server, b.slug, b.owner, b.appURL)
	wantCode(t, err, tenancy.CodeMigrationsFailed, false)
	if got, want := tenancy.AsError(err).Message, `Migration 1 of the application's set failed: ERROR 42P01: relation "nowhere" does not exist (line 2)`; got != want {
		t.Errorf("message %q, want %q", got, want)
	}
	if got := values[string](t, b.pg.URL(), "SELECT datname::text FROM pg_database WHERE shobj_description(oid, 'pg_database') = 'tenantry template, unfinished' AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datname = pg_database.datname)"); len(got) != 0 {
		t.Logf("unfinished at this moment: %q", got) // other tests' perhaps
	}
}
