package phases_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/phases"
	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/secrets/emulator"
	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/internal/tenantdb"
)

// prepare has n databases ready on pg-a.
func (w *world) prepare(t *testing.T, databases *tenantdb.Servers, n int) {
	t.Helper()
	server := w.server(t, "pg-a")
	for range n {
		d, err := w.AddWarmDatabase(t.Context(), server, databases.Template())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.dropPrepared(t, d.ID) })
		if err := databases.Warm(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if err := w.WarmDatabaseReady(t.Context(), d.ID); err != nil {
			t.Fatal(err)
		}
	}
}

// record has n databases ready on pg-a that are not there.
func (w *world) record(t *testing.T, n int) {
	t.Helper()
	if _, err := w.master.Exec(t.Context(), `
		INSERT INTO identity.warm_database (warm_database_id, db_server_id, template, state, created_at)
		SELECT gen_random_uuid(), db_server_id, $1, 'ready', now() + interval '1 hour'
		FROM identity.db_server, generate_series(1, $2) WHERE name = 'pg-a'`, w.databases.Template(), n); err != nil {
		t.Fatal(err)
	}
}

func (w *world) dropPrepared(t *testing.T, id tenancy.WarmDatabaseID) {
	t.Helper()
	for _, sql := range []string{
		"DROP DATABASE IF EXISTS " + id.DatabaseName() + " WITH (FORCE)",
		"DROP ROLE IF EXISTS " + id.AppRole(), "DROP ROLE IF EXISTS " + id.OwnerRole(),
	} {
		if _, err := w.servers[0].Exec(context.Background(), sql); err != nil {
			t.Errorf("cleanup: %v", err)
		}
	}
}

// prepareAgain makes what the job has claimed, so that each Do can take it.
func (c *contract) prepareAgain(t *testing.T, run *pipeline.Run) {
	t.Helper()
	id, _ := run.DetailOf(tenancy.PhasePlacementResolved)[phases.DetailWarmDatabase].(string)
	d := tenancy.WarmDatabase{ID: tenancy.WarmDatabaseID(id), Server: *run.Job.Server, Template: c.databases.Template()}
	t.Cleanup(func() { c.dropPrepared(t, d.ID) })
	if err := c.databases.Warm(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

// wantTidy wants nothing claimed once every job is settled, and nothing left on the
// servers of what jobs had claimed and did not take, once that is dropped.
func (w *world) wantTidy(t *testing.T) {
	t.Helper()
	servers, _, err := w.WarmServers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		for _, d := range s.Databases {
			if d.State == tenancy.WarmReady {
				continue
			}
			if d.State != tenancy.WarmRetired {
				t.Errorf("%s is %s, and every job is settled", d.ID, d.State)
			}
			if err := w.databases.DropWarm(t.Context(), s.DBServer, d.ID); err != nil {
				t.Fatal(err)
			}
			var left int
			if err := w.servers[0].QueryRow(t.Context(), `
				SELECT (SELECT count(*) FROM pg_database WHERE datname = $1) + (SELECT count(*) FROM pg_roles WHERE starts_with(rolname::text, $1))`,
				d.ID.DatabaseName()).Scan(&left); err != nil || left != 0 {
				t.Errorf("%d things are left of %s, %v", left, d.ID, err)
			}
		}
	}
}

// end is how a job went.
type end struct {
	status         tenancy.JobStatus
	warm           bool
	template       string
	schemaVersion  string
	registered     string // the version in the tenant's row
	claimed, empty bool
}

func (x *tenant) end(t *testing.T) end {
	t.Helper()
	job, err := x.Job(t.Context(), x.job)
	if err != nil {
		t.Fatal(err)
	}
	registered, err := x.Tenant(t.Context(), x.slug)
	if err != nil {
		t.Fatalf("%+v: %v", job.Error, err)
	}
	run := &pipeline.Run{Job: job}
	e := end{status: job.Status, registered: registered.SchemaVersion}
	created := run.DetailOf(tenancy.PhaseDatabaseCreated)
	e.warm, _ = created[phases.DetailWarm].(bool)
	e.template, _ = created["template"].(string)
	e.schemaVersion, _ = run.DetailOf(tenancy.PhaseMigrationsApplied)["schemaVersion"].(string)
	placed := run.DetailOf(tenancy.PhasePlacementResolved)
	e.claimed, e.empty = placed[phases.DetailWarmDatabase] != nil, placed[phases.DetailWarmPool] == "empty"
	return e
}

// TestFiftyAtOnceAndAPoolOfEight: all complete, eight of them without a copy, and no
// phase has had to be tried again.
func TestFiftyAtOnceAndAPoolOfEight(t *testing.T) {
	t.Parallel()
	w := setup(t, emulator.Config{})
	w.prepare(t, w.databases, 8)
	tenants := make([]*tenant, 50)
	for i := range tenants {
		tenants[i] = w.submit(t)
	}
	w.pool = true
	deps := w.deps(nil)
	var wait sync.WaitGroup
	for _, x := range tenants {
		wait.Go(func() {
			if err := w.runner(deps, nil).Run(t.Context(), x.job); err != nil {
				t.Errorf("%s: %v", x.slug, err)
			}
		})
	}
	wait.Wait()
	if t.Failed() {
		return
	}
	taken := 0
	for _, x := range tenants {
		e := x.end(t)
		if e.status != tenancy.JobComplete || e.warm != e.claimed || e.warm == e.empty || e.template != w.databases.Template() {
			t.Errorf("%s: %+v", x.slug, e)
		}
		if e.warm {
			taken++
		}
		x.wantWorking(t)
	}
	if taken != 8 {
		t.Errorf("%d were taken", taken)
	}
	w.wantTidy(t)
}

// TestChangedSetWhileJobsRunWithAPool: each job ends with the schema of its own time,
// and what was prepared before the change is handed out to none after it.
func TestChangedSetWhileJobsRunWithAPool(t *testing.T) {
	t.Parallel()
	w := setup(t, emulator.Config{})
	dir := t.TempDir()
	write := func(name, sql string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(sql), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1_a.up.sql", "CREATE TABLE a"+randomHex(4)+" ()")
	w.databases = w.openDatabases(t, nil, func(cfg *tenantdb.Config) { cfg.AppMigrations = os.DirFS(dir) })
	old := w.databases.Template()
	w.prepare(t, w.databases, 7)

	var before, during, after, later [3]*tenant
	for _, group := range []*[3]*tenant{&before, &during, &after, &later} {
		for i := range group {
			group[i] = w.submit(t)
		}
	}
	w.pool = true
	run := func(group [3]*tenant, tap tap) (wait func()) {
		var g sync.WaitGroup
		for _, x := range group {
			g.Go(func() {
				if err := w.runner(w.deps(tap), nil).Run(t.Context(), x.job); err != nil {
					t.Errorf("%s: %v", x.slug, err)
				}
			})
		}
		return g.Wait
	}
	run(before, nil)()
	// They have their claims when the files change.
	waiting, changed := make(chan struct{}), make(chan struct{})
	wait := run(during, func(point string) error {
		if point == "before EnsureDatabase" {
			waiting <- struct{}{}
			<-changed
		}
		return nil
	})
	for range during {
		<-waiting
	}
	write("2_b.up.sql", "CREATE TABLE b ()")
	close(changed)
	wait()
	// One of the old ones is still ready.
	run(after, nil)()
	w.prepare(t, w.databases, 3)
	run(later, nil)()
	if t.Failed() {
		return
	}
	current := w.databases.Template()
	for name, group := range map[string]struct {
		tenants [3]*tenant
		want    end
	}{
		"before": {before, end{warm: true, claimed: true, template: old, schemaVersion: "5/1"}},
		"during": {during, end{claimed: true, template: current, schemaVersion: "5/2"}},
		"after":  {after, end{empty: true, template: current, schemaVersion: "5/2"}},
		"later":  {later, end{warm: true, claimed: true, template: current, schemaVersion: "5/2"}},
	} {
		group.want.status, group.want.registered = tenancy.JobComplete, group.want.schemaVersion
		for _, x := range group.tenants {
			if got := x.end(t); got != group.want {
				t.Errorf("%s the change: %+v, want %+v", name, got, group.want)
			}
			if has := x.has(t, "b"); has != strings.HasSuffix(group.want.schemaVersion, "/2") {
				t.Errorf("%s the change: has the later table: %t", name, has)
			}
		}
	}
	w.wantTidy(t)
}

// has reports whether the tenant's database has a table.
func (x *tenant) has(t *testing.T, table string) (has bool) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), x.postgres[0].DatabaseURL(x.slug.DatabaseName()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), `SELECT to_regclass($1) IS NOT NULL`, table).Scan(&has); err != nil {
		t.Fatal(err)
	}
	return has
}
