package store_test

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/migrations/master"
)

// Every migration can be taken back and applied again, that of the password resets
// with rows that only it allows.
func TestMigrationsCanBeTakenBack(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.addServer(t, "pg-a", 5)
	job := p.active(t, "acme")
	if err := p.RequestPasswordReset(t.Context(), "acme", "a@x.example"); err != nil {
		t.Fatal(err)
	}
	p.exec(t, `UPDATE identity.invitation SET status = 'dropped' WHERE kind = 'password_reset'`)
	run := func(pattern string, order func([]string)) {
		t.Helper()
		names, err := fs.Glob(master.FS, pattern)
		if err != nil {
			t.Fatal(err)
		}
		order(names)
		for _, name := range names {
			sql, err := fs.ReadFile(master.FS, name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.sql.Exec(t.Context(), string(sql)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	ascending := func(names []string) { slices.Sort(names) }
	run("0008_*.down.sql", ascending)
	var kept tenancy.JobID
	p.scan(t, `SELECT job_id FROM identity.invitation WHERE status = 'queued'`, &kept)
	if kept != job.ID {
		t.Errorf("the invitation of job %s was kept", kept)
	}
	run("0008_*.up.sql", ascending)
	run("*.down.sql", func(names []string) { slices.Sort(names); slices.Reverse(names) })
	run("*.up.sql", ascending)
}

// What Postgres refuses of a migration it refuses all of: the schema is as it was, and
// the migration is tried again when what was in its way is gone.
func TestARefusedMigrationChangesNothing(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.exec(t, `DROP TABLE identity.warm_database`)
	p.exec(t, `DROP INDEX identity.job_failed`)
	p.exec(t, `UPDATE public.tenantry_schema_migrations SET version = 8`)
	p.exec(t, `CREATE INDEX warm_database_ready ON identity.tenant (slug)`) // in the way of 9's last statement
	_, err := store.Migrate(t.Context(), p.url)
	wantCode(t, err, tenancy.CodeMigrationsFailed)
	if strings.Contains(err.Error(), "CREATE TABLE") {
		t.Errorf("the error has SQL: %v", err)
	}
	var version int
	var dirty, begun bool
	p.scan(t, `SELECT version FROM public.tenantry_schema_migrations`, &version)
	p.scan(t, `SELECT dirty FROM public.tenantry_schema_migrations`, &dirty)
	p.scan(t, `SELECT to_regclass('identity.warm_database') IS NOT NULL`, &begun)
	if version != 8 || dirty || begun {
		t.Errorf("version %d, dirty %t, begun %t", version, dirty, begun)
	}
	p.exec(t, `DROP INDEX identity.warm_database_ready`)
	if version, err := store.Migrate(t.Context(), p.url); version != 10 || err != nil {
		t.Errorf("version %d, %v", version, err)
	}
}
