package store_test

import (
	"io/fs"
	"slices"
	"testing"

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
