package tenantdb_test

import (
	"io/fs"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	tenantmigrations "github.com/tenantry/tenantry/migrations/tenant"
)

// TestBuiltinSetIsReversible: up, all the way down, and up again.
func TestBuiltinSetIsReversible(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ensure(t)
	b.migrate(t)
	schemas := func() []string {
		return values[string](t, b.superURL(), "SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1")
	}
	run := func(pattern string, order func([]string)) {
		t.Helper()
		files, err := fs.Glob(tenantmigrations.FS, pattern)
		if err != nil {
			t.Fatal(err)
		}
		order(files)
		for _, file := range files {
			statements, err := fs.ReadFile(tenantmigrations.FS, file)
			if err != nil {
				t.Fatal(err)
			}
			sql(t, b.superURL(), string(statements))
		}
	}
	up := []string{"audit", "identity", "public", "settings", "tenantry"}
	if diff := cmp.Diff(up, schemas()); diff != "" {
		t.Errorf("schemas (-want +got):\n%s", diff)
	}
	run("*.down.sql", slices.Reverse[[]string])
	if diff := cmp.Diff([]string{"public", "tenantry"}, schemas()); diff != "" {
		t.Errorf("schemas after all down files (-want +got):\n%s", diff)
	}
	run("*.up.sql", slices.Sort[[]string])
	if diff := cmp.Diff(up, schemas()); diff != "" {
		t.Errorf("schemas after all up files again (-want +got):\n%s", diff)
	}
}
