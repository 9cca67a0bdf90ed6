package phases_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/phases"
	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/secrets/emulator"
	"github.com/tenantry/tenantry/internal/tenancy"
)

const checkState = 1 // its place in the pipeline

// check places the tenant, calls CheckState and returns what it recorded. It
// fails the test if reality changed.
func (x *tenant) check(t *testing.T) (map[string]any, error) {
	t.Helper()
	p := x.advance(t, x.deps(nil), checkState)
	before := x.observe(t)
	run := x.run(t)
	err := p.Do(t.Context(), run)
	if diff := cmp.Diff(before, x.observe(t)); diff != "" {
		t.Errorf("CheckState changed something (-before +after):\n%s", diff)
	}
	return run.Detail, err
}

// says compares the code and the whole message of an error; "…" in the message
// stands for the slug and "_…" for its form in the names of databases.
func (x *tenant) says(t *testing.T, err error, code tenancy.Code, message string) {
	t.Helper()
	message = strings.ReplaceAll(message, "tenant_…", x.slug.DatabaseName())
	message = strings.ReplaceAll(message, "…", string(x.slug))
	e := tenancy.AsError(err)
	if e == nil {
		t.Fatalf("no error; want %s: %s", code, message)
	}
	got := fmt.Sprintf("%s (transient %t): %s", e.Code, e.Transient, e.Message)
	if diff := cmp.Diff(fmt.Sprintf("%s (transient false): %s", code, message), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestCheckStateTellsWhichPartsExist(t *testing.T) {
	t.Parallel()
	w := setup(t, emulator.Config{})
	for _, c := range []struct {
		row, database, secret bool
		code                  tenancy.Code
		message               string
	}{
		{false, false, false, "", ""},
		{true, true, true, tenancy.CodeAlreadyProvisioned, `The tenant "…" is provisioned already.`},
		{
			true, false, false, tenancy.CodePartialState,
			`Parts of the tenant "…" exist: the master row exists; there is no database tenant_…; there is no secret tenant-db-….`,
		},
		{
			false, true, false, tenancy.CodePartialState,
			`Parts of the tenant "…" exist: there is no master row; the database tenant_… exists on pg-a; there is no secret tenant-db-….`,
		},
		{
			false, false, true, tenancy.CodePartialState,
			`Parts of the tenant "…" exist: there is no master row; there is no database tenant_…; the secret tenant-db-… exists.`,
		},
		{
			true, true, false, tenancy.CodePartialState,
			`Parts of the tenant "…" exist: the master row exists; the database tenant_… exists on pg-a; there is no secret tenant-db-….`,
		},
		{
			true, false, true, tenancy.CodePartialState,
			`Parts of the tenant "…" exist: the master row exists; there is no database tenant_…; the secret tenant-db-… exists.`,
		},
		{
			false, true, true, tenancy.CodePartialState,
			`Parts of the tenant "…" exist: there is no master row; the database tenant_… exists on pg-a; the secret tenant-db-… exists.`,
		},
	} {
		t.Run(fmt.Sprintf("row %t, database %t, secret %t", c.row, c.database, c.secret), func(t *testing.T) {
			t.Parallel()
			x, other := w.hold(t), newOwner()
			if c.row {
				x.putRow(t, "pg-a", other)
			}
			if c.database {
				x.putDatabase(t, "pg-a", other)
			}
			if c.secret {
				x.putSecret(t, other)
			}
			detail, err := x.check(t)
			if c.code != "" {
				x.says(t, err, c.code, c.message)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]any{"database": x.slug.DatabaseName(), "secretRef": x.slug.SecretName()}
			if diff := cmp.Diff(want, detail); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCheckStateDoesNotCountWhatTheJobMade(t *testing.T) {
	t.Parallel()
	w := setup(t, emulator.Config{PurgeProtection: true})
	for _, c := range []struct {
		name string
		make func(*testing.T, *tenant)
	}{
		{"everything", func(t *testing.T, x *tenant) {
			x.putRow(t, "pg-a", x.owner)
			x.putDatabase(t, "pg-a", x.owner)
			x.putSecret(t, x.owner)
		}},
		{"a secret that is left soft-deleted", func(t *testing.T, x *tenant) {
			x.putSecret(t, x.owner)
			if _, err := x.vault.Drop(t.Context(), x.slug.SecretName(), x.owner); err != nil {
				t.Fatal(err)
			}
		}},
		{"another tenant's secret, soft-deleted", func(t *testing.T, x *tenant) {
			other := newOwner()
			x.putSecret(t, other)
			if _, err := x.vault.Drop(t.Context(), x.slug.SecretName(), other); err != nil {
				t.Fatal(err)
			}
		}},
		{"a database that an earlier attempt left elsewhere", func(t *testing.T, x *tenant) {
			x.putDatabase(t, "pg-b", x.owner)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := w.hold(t)
			c.make(t, x)
			if _, err := x.check(t); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCheckStateFindsWhatIsOutOfTheWay(t *testing.T) {
	t.Parallel()
	w := setup(t, emulator.Config{})
	for _, c := range []struct {
		name    string
		make    func(*testing.T, *tenant)
		message string
	}{
		{
			"a database on another server", func(t *testing.T, x *tenant) { x.putDatabase(t, "pg-b", newOwner()) },
			`there is no master row; the database tenant_… exists on pg-b; there is no secret tenant-db-…`,
		},
		{"databases on both servers", func(t *testing.T, x *tenant) {
			other := newOwner()
			x.putDatabase(t, "pg-b", other)
			x.putDatabase(t, "pg-a", other)
		}, `there is no master row; the database tenant_… exists on pg-a; the database tenant_… exists on pg-b; there is no secret tenant-db-…`},
		{"a database that is not tenantry's", func(t *testing.T, x *tenant) {
			exec(t, x, 0, "CREATE DATABASE "+x.slug.DatabaseName())
		}, `there is no master row; the database tenant_… exists on pg-a; there is no secret tenant-db-…`},
		{
			"a role without its database", func(t *testing.T, x *tenant) { exec(t, x, 0, "CREATE ROLE "+x.slug.AppRole()) },
			`there is no master row; the role tenant_…_app exists on pg-a without its database; there is no secret tenant-db-…`,
		},
		{
			"a role on another server", func(t *testing.T, x *tenant) { exec(t, x, 1, "CREATE ROLE "+x.slug.OwnerRole()) },
			`there is no master row; the role tenant_…_owner exists on pg-b without its database; there is no secret tenant-db-…`,
		},
		{"a stranger's secret", func(t *testing.T, x *tenant) {
			x.strangersVault(t, http.MethodPut, "/secrets/"+x.slug.SecretName(), map[string]string{"value": "v"})
		}, `there is no master row; there is no database tenant_…; the secret tenant-db-… exists`},
		{"a stranger's secret, soft-deleted", func(t *testing.T, x *tenant) {
			x.strangersVault(t, http.MethodPut, "/secrets/"+x.slug.SecretName(), map[string]string{"value": "v"})
			x.strangersVault(t, http.MethodDelete, "/secrets/"+x.slug.SecretName(), nil)
		}, `there is no master row; there is no database tenant_…; the secret tenant-db-… is soft-deleted and was not made by tenantry`},
		{"a row whose database is on another server", func(t *testing.T, x *tenant) {
			other := newOwner()
			x.putRow(t, "pg-b", other)
			x.putDatabase(t, "pg-b", other)
		}, `the master row exists; the database tenant_… exists on pg-b; there is no secret tenant-db-…`},
		{"a row whose server lost the database", func(t *testing.T, x *tenant) {
			other := newOwner()
			x.putRow(t, "pg-b", other)
			x.putDatabase(t, "pg-a", other)
			x.putSecret(t, other)
		}, `the master row exists; there is no database tenant_…; the secret tenant-db-… exists`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := w.hold(t)
			c.make(t, x)
			_, err := x.check(t)
			x.says(t, err, tenancy.CodePartialState, `Parts of the tenant "…" exist: `+c.message+".")
		})
	}
}

// A healthy tenant is told as such wherever it lives.
func TestCheckStateLooksWhereTheTenantLives(t *testing.T) {
	t.Parallel()
	x, other := setup(t, emulator.Config{}).hold(t), newOwner()
	x.putRow(t, "pg-b", other)
	x.putDatabase(t, "pg-b", other)
	x.putSecret(t, other)
	_, err := x.check(t)
	x.says(t, err, tenancy.CodeAlreadyProvisioned, `The tenant "…" is provisioned already.`)
}

func TestCheckStateGoesOnWithoutTheOtherServers(t *testing.T) {
	t.Parallel()
	w := setup(t, emulator.Config{})
	port := closedPort(t)
	w.addServer(t, "pg-down", port, fmt.Sprintf("postgres://admin:secret@127.0.0.1:%d/postgres", port))
	w.addServer(t, "pg-adrift", 5432, "") // no admin secret
	retired := w.addServer(t, "pg-retired", port, "")
	inactive := false
	if _, err := w.UpdateServer(t.Context(), retired.Name, tenancy.ServerChange{IsActive: &inactive}, operator); err != nil {
		t.Fatal(err)
	}
	x := w.hold(t)
	detail, err := x.check(t)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"database": x.slug.DatabaseName(), "secretRef": x.slug.SecretName(), "uncheckedServers": []string{"pg-adrift", "pg-down"},
	}
	if diff := cmp.Diff(want, detail); diff != "" {
		t.Error(diff)
	}
}

func TestCheckStateNeedsTheChosenServer(t *testing.T) {
	t.Parallel()
	w := setup(t, emulator.Config{})
	port := closedPort(t)
	w.addServer(t, "pg-absent", 5432, "")
	w.addServer(t, "pg-garbage", 5432, "hunter2")
	w.addServer(t, "pg-down", port, fmt.Sprintf("postgres://admin:hunter2@127.0.0.1:%d/postgres", port))
	for server, want := range map[string]*tenancy.Error{
		"pg-absent": {
			Code:    tenancy.CodeAdminConnUnresolved,
			Message: "The vault has no admin URL for server pg-absent: secret admin-pg-absent cannot be read.",
		},
		"pg-garbage": {
			Code:    tenancy.CodeAdminConnUnresolved,
			Message: "Secret admin-pg-garbage of server pg-garbage is no usable admin URL: it does not begin with postgres://.",
		},
		"pg-down": {
			Code: tenancy.CodeDependencyUnavailable, Transient: true,
			Message: "cannot connect to the maintenance database on server pg-down: cannot connect to Postgres",
		},
	} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			x := w.hold(t, func(n *tenancy.NewJob) { n.ServerName = server })
			_, err := x.check(t)
			got := tenancy.AsError(err)
			if got == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(want, &tenancy.Error{Code: got.Code, Message: got.Message, Transient: got.Transient}); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows the admin URL: %v", err)
			}
		})
	}
}

// A worker that is told to stop while it looks has not looked.
func TestCheckStateCutShortIsNotDone(t *testing.T) {
	t.Parallel()
	x := setup(t, emulator.Config{}).hold(t)
	x.advance(t, x.deps(nil), checkState)
	ctx, cancel := context.WithCancel(t.Context())
	d := x.deps(nil)
	d.Databases = cutShort{d.Databases, cancel}
	run := x.run(t)
	if err := phases.Provision(d)[checkState].Do(ctx, run); err == nil {
		t.Errorf("done, with %v", run.Detail)
	}
}

// cutShort ends a context when anyone looks at a server but pg-a.
type cutShort struct {
	phases.Databases
	cancel context.CancelFunc
}

func (d cutShort) Inspect(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug) (tenancy.DatabaseState, error) {
	if server.Name != "pg-a" {
		d.cancel()
	}
	return d.Databases.Inspect(ctx, server, slug)
}

// What stands under the slug's name and is someone else's is no business of a
// rollback: it is left as it is and does not keep the job from settling.
func TestUndoLeavesForeignThingsAlone(t *testing.T) {
	t.Parallel()
	w := setup(t, emulator.Config{})
	for _, c := range []struct {
		name string
		make func(*testing.T, *tenant)
	}{
		{"another tenant's", func(t *testing.T, x *tenant) {
			other := newOwner()
			x.putRow(t, "pg-a", other)
			x.putDatabase(t, "pg-a", other)
			x.putSecret(t, other)
		}},
		{"a stranger's", func(t *testing.T, x *tenant) {
			exec(t, x, 0, "CREATE DATABASE "+x.slug.DatabaseName())
			exec(t, x, 0, "CREATE ROLE "+x.slug.AppRole())
			x.strangersVault(t, http.MethodPut, "/secrets/"+x.slug.SecretName(), map[string]string{"value": "v"})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := w.hold(t)
			c.make(t, x)
			before := x.observe(t)
			for _, p := range phases.Provision(x.deps(nil)) {
				run := x.run(t)
				server := x.server(t, "pg-a")
				run.Job.Server = &server
				if err := p.Undo(t.Context(), run); err != nil {
					t.Errorf("Undo of %s: %v", p.Name(), err)
				}
				if diff := cmp.Diff(before, x.observe(t)); diff != "" {
					t.Errorf("Undo of %s (-before +after):\n%s", p.Name(), diff)
				}
			}
		})
	}
}

// A Do does not take over what is someone else's either, should it have appeared
// after CheckState.
func TestDoLeavesForeignThingsAlone(t *testing.T) {
	t.Parallel()
	w := setup(t, emulator.Config{})
	for i, name := range tenancy.ProvisionPhases(false) {
		put := map[tenancy.PhaseName]func(*testing.T, *tenant){
			tenancy.PhaseSecretSet:        func(t *testing.T, x *tenant) { x.putSecret(t, newOwner()) },
			tenancy.PhaseDatabaseCreated:  func(t *testing.T, x *tenant) { x.putDatabase(t, "pg-a", newOwner()) },
			tenancy.PhaseMasterRegistered: func(t *testing.T, x *tenant) { x.putRow(t, "pg-a", newOwner()) },
		}[name]
		if put == nil {
			continue
		}
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			x := w.hold(t)
			p := x.advance(t, x.deps(nil), i)
			put(t, x)
			before := x.observe(t)
			if err := p.Do(t.Context(), x.run(t)); tenancy.CodeOf(err) != tenancy.CodePartialState {
				t.Errorf("Do returned %v", err)
			}
			if err := p.Undo(t.Context(), x.run(t)); err != nil {
				t.Errorf("Undo returned %v", err)
			}
			if diff := cmp.Diff(before, x.observe(t)); diff != "" {
				t.Errorf("-before +after:\n%s", diff)
			}
		})
	}
}

// A role of the job's own that cannot be dropped, because someone made it own
// something elsewhere, is left behind: the Undo must say so.
func TestUndoThatLeavesTheJobsOwnRoleHasFailed(t *testing.T) {
	t.Parallel()
	x := setup(t, emulator.Config{}).hold(t)
	all := tenancy.ProvisionPhases(false)
	create := phases.Provision(x.deps(nil))[slices.Index(all, tenancy.PhaseDatabaseCreated)]
	x.advance(t, x.deps(nil), slices.Index(all, tenancy.PhaseMigrationsApplied))
	undo := func() error { return create.Undo(t.Context(), x.run(t)) }
	elsewhere := "elsewhere_" + randomHex(4)
	exec(t, x, 0, "CREATE DATABASE "+elsewhere+" OWNER "+x.slug.AppRole())
	t.Cleanup(func() {
		_, _ = x.servers[0].Exec(context.Background(), "DROP DATABASE IF EXISTS "+elsewhere)
	})
	if err := undo(); err == nil {
		t.Errorf("nothing is said of what is left: %v", x.observe(t).Objects)
	}
	exec(t, x, 0, "DROP DATABASE "+elsewhere)
	if err := undo(); err != nil {
		t.Error(err)
	}
	if left := x.observe(t).Objects; len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// Residue is what the job names while it cannot be undone.
func TestResidueNamesThingsAndPlaces(t *testing.T) {
	t.Parallel()
	run := &pipeline.Run{Job: tenancy.Job{Slug: "acme-co", Server: &tenancy.DBServer{Name: "pg-a"}}}
	var got []string
	for _, p := range phases.Provision(phases.Deps{}) {
		if r, ok := p.(pipeline.Residual); ok {
			got = append(got, r.Residue(run))
		}
	}
	want := []string{"secret tenant-db-acme-co", "database tenant_acme_co and its roles on pg-a"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func exec(t *testing.T, x *tenant, server int, sql string) {
	t.Helper()
	if _, err := x.servers[server].Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// closedPort is a port of loopback on which nobody listens.
func closedPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
