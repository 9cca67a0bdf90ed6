package tenantdb_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/internal/tenantdb"
)

// TestMigrateALargeSet runs several hundred files with what real ones have in
// them, most without a down file.
func TestMigrateALargeSet(t *testing.T) {
	t.Parallel()
	const count = 300
	files := fstest.MapFS{"README.md": {Data: []byte("no migration")}}
	for i := 1; i <= count; i++ {
		sql := fmt.Sprintf("CREATE TABLE t%d (id bigserial PRIMARY KEY, v text NOT NULL DEFAULT ';'); CREATE INDEX ON t%d (v);", i, i)
		switch i % 10 {
		case 1:
			sql = fmt.Sprintf("CREATE TYPE mood%d AS ENUM ('sad'); CREATE TABLE m%d (m mood%d);", i, i, i)
		case 2:
			sql = fmt.Sprintf("ALTER TYPE mood%d ADD VALUE 'glad'", i-1)
		case 3:
			sql = fmt.Sprintf("INSERT INTO m%d VALUES ('glad');\n", i-2)
		case 4:
			sql = fmt.Sprintf("CREATE TABLE t%d (id int);", i)
		case 5:
			sql = fmt.Sprintf("CREATE INDEX CONCURRENTLY t%d_id ON t%d (id)", i-1, i-1)
		case 6:
			sql = fmt.Sprintf("BEGIN; CREATE FUNCTION f%d() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN /* ; */ NEW.v := ';'; RETURN NEW; END; $body$; COMMIT;", i)
		case 7:
			sql = fmt.Sprintf("SET search_path = s%d, public; -- none such yet\nCREATE SCHEMA s%d; CREATE TABLE t%d (id int);", i, i, i)
		case 8:
			sql = "SELECT pg_catalog.set_config('search_path', '', false);"
		case 9:
			sql = "RESET search_path; RESET ROLE; SET client_min_messages = warning;"
		case 0:
			if i == 10 {
				sql = `CREATE EXTENSION IF NOT EXISTS "uuid-ossp"; CREATE EXTENSION pg_trgm; CREATE EXTENSION btree_gist;`
			}
			files[fmt.Sprintf("%06d_f.down.sql", i)] = &fstest.MapFile{Data: []byte("SELECT 1")}
		}
		files[fmt.Sprintf("%06d_f.up.sql", i)] = &fstest.MapFile{Data: []byte(sql)}
	}
	b := setup(t, withApp(files))
	b.ensure(t)
	if got := b.migrate(t); got != "5/300" {
		t.Errorf("version %q, want 5/300", got)
	}
	got := values[string](t, b.appURL, "SELECT 'public' FROM m1 UNION ALL SELECT schemaname::text FROM pg_tables WHERE tablename = 't7'")
	if diff := cmp.Diff([]string{"public", "s7"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// All of it belongs to the owner, RESET ROLE notwithstanding.
	if got := values[string](t, b.superURL(), `
		SELECT relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		WHERE relkind IN ('r', 'S') AND nspname !~ '^(pg_|information_schema)' AND relowner <> $1::text::regrole`, b.objectsOwner(t)); len(got) != 0 {
		t.Errorf("not the owner's: %q", got)
	}
	if got := values[int64](t, b.appURL, "SELECT count(*) FROM t300"); got[0] != 0 {
		t.Errorf("t300 has %d rows", got[0])
	}
	if got := b.migrate(t); got != "5/300" {
		t.Errorf("second version %q", got)
	}
}

// brokenSet is a directory whose second file fails, with a secret in its SQL.
func brokenSet(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "1_first.up.sql", "CREATE TABLE first (id int)")
	write(t, dir, "2_second.up.sql", "INSERT INTO first VALUES (1);\nINSERT INTO missing (password) VALUES ('hunter2');")
	write(t, dir, "3_third.up.sql", "CREATE TABLE third (id int)")
	return dir
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestBrokenMigration fails without showing the SQL, leaves a database that the
// next Migrate makes again, and reads the mended file then.
func TestBrokenMigration(t *testing.T) {
	t.Parallel()
	dir := brokenSet(t)
	b := setup(t, withApp(os.DirFS(dir)))
	b.ensure(t)
	for range 2 {
		_, err := b.Migrate(t.Context(), b.server, b.slug, b.owner, b.appURL)
		wantCode(t, err, tenancy.CodeMigrationsFailed, false, "hunter2", "INSERT", b.appURL)
		want := `Migration 2 of the application's set failed: ERROR 42P01: relation "missing" does not exist (line 2)`
		if got := tenancy.AsError(err).Message; got != want {
			t.Errorf("message\n%s\nwant\n%s", got, want)
		}
	}
	write(t, dir, "2_second.up.sql", "CREATE TABLE missing (password text)")
	if got := b.migrate(t); got != "5/3" {
		t.Errorf("version %q, want 5/3", got)
	}
	if got := values[int64](t, b.appURL, "SELECT count(*) FROM first"); got[0] != 0 {
		t.Errorf("the failed try left %d rows", got[0])
	}
	// A drop after a failure has nothing special to do.
	b.drop(t)
}

// TestFailedMigrationsAreCoded: which failures the pipeline tries again.
func TestFailedMigrationsAreCoded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		sql       string
		code      tenancy.Code
		transient bool
		message   string
	}{
		"syntax":    {"CREATE TABEL x", tenancy.CodeMigrationsFailed, false, `Migration 1 of the application's set failed: ERROR 42601: syntax error at or near "TABEL" (line 1)`},
		"raised":    {"DO $$ BEGIN RAISE EXCEPTION E'two\nlines'; END $$", tenancy.CodeMigrationsFailed, false, "Migration 1 of the application's set failed: ERROR P0001: two lines"},
		"deadlock":  {"DO $$ BEGIN RAISE deadlock_detected; END $$", tenancy.CodeDependencyUnavailable, true, "Migration 1 of the application's set failed: Postgres answered 40P01 (deadlock)"},
		"timeout":   {"SET statement_timeout = 20; SELECT pg_sleep(60)", tenancy.CodeMigrationsFailed, false, "Migration 1 of the application's set failed: ERROR 57014: canceling statement due to statement timeout"},
		"shut down": {"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '57P01'; END $$", tenancy.CodeDependencyUnavailable, true, "Migration 1 of the application's set failed: Postgres answered 57P01 (shut down by an administrator)"},
		"no superuser": {
			"COPY pg_class TO '/tmp/nothing'", tenancy.CodeMigrationsFailed, false,
			"Migration 1 of the application's set failed: ERROR 42501: must be superuser or have privileges of the pg_write_server_files role to COPY to a file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, withApp(fstest.MapFS{"1_x.up.sql": {Data: []byte(test.sql)}}))
			b.ensure(t)
			_, err := b.Migrate(t.Context(), b.server, b.slug, b.owner, b.appURL)
			wantCode(t, err, test.code, test.transient)
			if got := tenancy.AsError(err).Message; got != test.message {
				t.Errorf("message\n%s\nwant\n%s", got, test.message)
			}
		})
	}
}

// TestMigrateAfterHalf: a worker died in a file, or while it made the database
// again.
func TestMigrateAfterHalf(t *testing.T) {
	t.Parallel()
	for name, crash := range map[string]func(t *testing.T, b *bundle){
		"dirty": func(t *testing.T, b *bundle) {
			sql(t, b.superURL(), "UPDATE tenantry.app_schema_migrations SET dirty = true")
		},
		"dirty built-in": func(t *testing.T, b *bundle) {
			sql(t, b.superURL(), "UPDATE tenantry.schema_migrations SET dirty = true")
		},
		"version not known": func(t *testing.T, b *bundle) {
			sql(t, b.superURL(), "UPDATE tenantry.app_schema_migrations SET version = 99")
		},
		"dropped": func(t *testing.T, b *bundle) { sql(t, b.pg.URL(), "DROP DATABASE "+b.slug.DatabaseName()) },
		"not open": func(t *testing.T, b *bundle) {
			sql(t, b.pg.URL(), "ALTER DATABASE "+b.slug.DatabaseName()+" ALLOW_CONNECTIONS false")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, withApp(appFiles))
			b.ensure(t)
			b.migrate(t)
			crash(t, b)
			if got := b.migrate(t); got != "5/6" {
				t.Errorf("version %q, want 5/6", got)
			}
			sql(t, b.appURL, "SELECT name FROM thing")
		})
	}
}

// TestMigrateGoesOn: a set that has grown, and a clean half, need no new database.
func TestMigrateGoesOn(t *testing.T) {
	t.Parallel()
	dir := brokenSet(t)
	if err := errors.Join(os.Remove(filepath.Join(dir, "2_second.up.sql")), os.Remove(filepath.Join(dir, "3_third.up.sql"))); err != nil {
		t.Fatal(err)
	}
	b := setup(t, withApp(os.DirFS(dir)))
	b.ensure(t)
	if got := b.migrate(t); got != "5/1" {
		t.Errorf("version %q, want 5/1", got)
	}
	sql(t, b.appURL, "INSERT INTO first VALUES (7)")
	write(t, dir, "20261124120000_later.up.sql", "CREATE TABLE later (id int)")
	if got := b.migrate(t); got != "5/20261124120000" {
		t.Errorf("version %q", got)
	}
	if got := values[int32](t, b.appURL, "SELECT id FROM first"); len(got) != 1 {
		t.Errorf("first has %v", got)
	}
	if err := os.Remove(filepath.Join(dir, "1_first.up.sql")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "20261124120000_again.up.sql", "SELECT 1")
	_, err := b.Migrate(t.Context(), b.server, b.slug, b.owner, b.appURL)
	wantCode(t, err, tenancy.CodeMigrationsFailed, false)
}

// TestCancelledMigration ends promptly, with no session left in the database,
// though the library under it knows no contexts.
func TestCancelledMigration(t *testing.T) {
	t.Parallel()
	for name, setup := range map[string]func(*testing.T, ...func(*tenantdb.Config)) *bundle{
		"superuser": setup, "limited admin": setupLimited,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, withApp(fstest.MapFS{"1_x.up.sql": {Data: []byte("SELECT pg_sleep(600)")}}), withoutTemplates)
			b.ensure(t)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				_, err := b.Migrate(ctx, b.server, b.slug, b.owner, b.appURL)
				ended <- err
			}()
			sessions := func() int64 {
				return values[int64](t, b.pg.URL(), "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND query ~ 'pg_sleep'", b.slug.DatabaseName())[0]
			}
			eventually(t, "the sleep", func() bool { return sessions() == 1 })
			start := time.Now()
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want the context's", err)
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("the cancelled migration took %s to end", took)
			}
			if got := sessions(); got != 0 {
				t.Errorf("%d sessions are left", got)
			}
			b.drop(t)
		})
	}
}

// TestLostMigration: a session that the server ends is worth another try.
func TestLostMigration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "1_x.up.sql", "SELECT pg_sleep(600)")
	b := setup(t, withApp(os.DirFS(dir)), withoutTemplates)
	b.ensure(t)
	ended := make(chan error, 1)
	go func() {
		_, err := b.Migrate(t.Context(), b.server, b.slug, b.owner, b.appURL)
		ended <- err
	}()
	eventually(t, "the sleep", func() bool {
		return len(values[bool](t, b.pg.URL(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND query ~ 'pg_sleep'", b.slug.DatabaseName())) == 1
	})
	wantCode(t, <-ended, tenancy.CodeDependencyUnavailable, true)
	write(t, dir, "1_x.up.sql", "SELECT 1")
	b.migrate(t)
}

// TestConcurrentCallers: two workers on one slug do the work of one.
func TestConcurrentCallers(t *testing.T) {
	t.Parallel()
	b := setup(t, withApp(appFiles))
	errs := make(chan error, 3)
	for range cap(errs) {
		go func() {
			_, err := b.EnsureDatabase(t.Context(), b.server, b.slug, b.owner, b.appURL, tenancy.DatabaseSource{})
			if err == nil {
				_, err = b.Migrate(t.Context(), b.server, b.slug, b.owner, b.appURL)
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	sql(t, b.appURL, "SELECT name FROM thing")
}

// unreadableFS has a file that is listed and cannot be read.
type unreadableFS struct {
	fstest.MapFS
	name string
}

func (u unreadableFS) Open(name string) (fs.File, error) {
	if name == u.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EIO}
	}
	return u.MapFS.Open(name)
}

func TestUnreadableMigration(t *testing.T) {
	t.Parallel()
	b := setup(t, withApp(unreadableFS{appFiles, "3_function.up.sql"}))
	b.ensure(t)
	_, err := b.Migrate(t.Context(), b.server, b.slug, b.owner, b.appURL)
	wantCode(t, err, tenancy.CodeMigrationsFailed, false)
	if got, want := tenancy.AsError(err).Message, "The application's migrations cannot be used: cannot open 3_function.up.sql"; got != want {
		t.Errorf("message %q, want %q", got, want)
	}
}

func TestNewChecksTheSets(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		files fs.FS
		want  string
	}{
		"duplicate":   {fstest.MapFS{"1_a.up.sql": {}, "01_b.up.sql": {}}, "files 01_b.up.sql and 1_a.up.sql have the same version"},
		"unparseable": {fstest.MapFS{"1_a.up.sql": {}, "2_b.sql": {}}, "file 2_b.sql: the name is not VERSION_TITLE.up.sql or VERSION_TITLE.down.sql"},
		"too large":   {fstest.MapFS{"18446744073709551615_a.up.sql": {}}, "file 18446744073709551615_a.up.sql: the version is too large"},
		"empty":       {fstest.MapFS{"README.md": {}}, "the directory has no file named VERSION_TITLE.up.sql"},
		"missing":     {os.DirFS(filepath.Join(t.TempDir(), "none")), "cannot list the directory"},
	} {
		_, err := tenantdb.New(tenantdb.Config{Secrets: &vault{}, AppMigrations: test.files})
		if err == nil || !strings.Contains(err.Error(), "cannot use the application's migrations: "+test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	if _, err := tenantdb.New(tenantdb.Config{}); err == nil {
		t.Error("New without a vault succeeded")
	}
	s, err := tenantdb.New(tenantdb.Config{Secrets: &vault{}, AppMigrations: appFiles})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}
