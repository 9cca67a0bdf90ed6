package tenantdb_test

import (
	"context"
	"slices"
	"testing"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// inJob is the context of a job that holds its lease.
func inJob(t *testing.T) context.Context {
	return tenancy.WithFence(t.Context(), func(context.Context) error { return nil })
}

// sessions are ours in the tenant's database.
func (b *bundle) sessions(t *testing.T) []int32 {
	t.Helper()
	return values[int32](t, b.pg.URL(), `SELECT pid FROM pg_stat_activity WHERE datname = $1 AND application_name = 'tenantry'`, b.slug.DatabaseName())
}

// TestAJobEntersItsDatabaseOnce, however many of its phases work there.
func TestAJobEntersItsDatabaseOnce(t *testing.T) {
	t.Parallel()
	for name, setup := range admins {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			ctx := inJob(t)
			if _, err := b.EnsureDatabase(ctx, b.server, b.slug, b.owner, b.appURL, tenancy.DatabaseSource{}); err != nil {
				t.Fatal(err)
			}
			first := b.sessions(t)
			if _, err := b.Migrate(ctx, b.server, b.slug, b.owner, b.appURL); err != nil {
				t.Fatal(err)
			}
			if second := b.sessions(t); len(first) != 1 || len(second) != 1 || first[0] != second[0] {
				t.Errorf("sessions %v and then %v, want one and the same", first, second)
			}
			if err := b.SeedAdmin(ctx, b.server, b.slug, "admin@acme.example", "Admin"); err != nil {
				t.Fatal(err)
			}
			if third := b.sessions(t); !slices.Equal(first, third) {
				t.Errorf("sessions %v and at last %v, want one and the same", first, third)
			}
			eventually(t, "the end of the session", func() bool { return len(b.sessions(t)) == 0 })
			if owner := values[string](t, b.superURL(), "SELECT tableowner::text FROM pg_tables WHERE tablename = 'users'"); owner[0] != b.objectsOwner(t) {
				t.Errorf("the admin's table belongs to %s", owner)
			}
		})
	}
}

// TestAKeptSessionIsInNobodysWay: it ends by itself, it may have been ended, and the
// database may be dropped under it.
func TestAKeptSessionIsInNobodysWay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := inJob(t)
	ensure := func() {
		t.Helper()
		if _, err := b.EnsureDatabase(ctx, b.server, b.slug, b.owner, b.appURL, tenancy.DatabaseSource{}); err != nil {
			t.Fatal(err)
		}
		if len(b.sessions(t)) != 1 {
			t.Fatal("no session was kept")
		}
	}
	ensure()
	sql(t, b.pg.URL(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+b.slug.DatabaseName()+"'")
	if _, err := b.Migrate(ctx, b.server, b.slug, b.owner, b.appURL); err != nil {
		t.Errorf("with the kept session ended: %v", err)
	}
	if err := b.DropDatabase(ctx, b.server, b.slug, b.owner); err != nil {
		t.Errorf("drop: %v", err)
	}
	ensure()
	eventually(t, "the end of the session", func() bool { return len(b.sessions(t)) == 0 })
}

// TestGrantsAreCompletedAfterACrash between the last file and them.
func TestGrantsAreCompletedAfterACrash(t *testing.T) {
	t.Parallel()
	b := setup(t, withApp(appFiles))
	b.ensure(t)
	b.migrate(t)
	table := "public.thing"
	lacks := func() bool {
		return !values[bool](t, b.appURL, "SELECT has_table_privilege($1, 'INSERT')", table)[0]
	}
	sql(t, b.superURL(), "REVOKE ALL ON "+table+" FROM tenantry_app, "+b.slug.AppRole())
	// What says that they are complete is believed; what says that they are not, too.
	b.migrate(t)
	if !lacks() {
		t.Error("the grants are looked through although nothing ran")
	}
	sql(t, b.superURL(), "COMMENT ON SCHEMA tenantry IS 'grants to be completed'")
	b.migrate(t)
	if lacks() {
		t.Error("the grants were not completed")
	}
	if got := values[bool](t, b.superURL(), "SELECT obj_description('tenantry'::regnamespace) IS NULL"); !got[0] {
		t.Error("they count as incomplete still")
	}
}
