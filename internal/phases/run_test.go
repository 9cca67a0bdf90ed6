package phases_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/phases"
	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/secrets/emulator"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// Reality at the end of a job.
var (
	provisioned = reality{
		Row: "active, mine", Objects: whole, Schema: 5, Admins: 1, Secret: "live, mine",
		Settled: tenancy.JobComplete, Audit: []string{"TENANT_PROVISIONED"}, Invited: 1,
	}
	undone = reality{Settled: tenancy.JobFailed, Audit: []string{"TENANT_PROVISION_FAILED"}}
)

// scenario is a job with a known end.
type scenario struct {
	name string
	// deps are the parts, one of which may fail for good.
	deps func(w *world, tap tap) phases.Deps
	// from is the first point at which the worker is crashed.
	from string
	code tenancy.Code
	end  reality
}

var scenarios = []scenario{
	{
		name: "completes", from: "before AcquireLease", end: provisioned,
		deps: func(w *world, tap tap) phases.Deps { return w.deps(tap) },
	},
	{
		name: "fails in a migration", from: "before BeginRollback", code: tenancy.CodeMigrationsFailed, end: undone,
		deps: func(w *world, tap tap) phases.Deps { return w.depsWith(w.broken, tap) },
	},
	{
		name: "fails after it is registered", from: "before BeginRollback", code: tenancy.CodeInternal, end: undone,
		deps: func(w *world, tap tap) phases.Deps {
			return w.deps(func(point string) error {
				if point == "before SeedAdmin" {
					return errors.New("no")
				}
				return tap(point)
			})
		},
	},
}

// TestACrashAnywhereIsMadeUpFor crashes the worker of a job before and after each
// effect it has on the outside, the journal included, and lets another worker take the job up. The end is that of a job that nobody
// disturbed: everything exactly once, or nothing at all.
func TestACrashAnywhereIsMadeUpFor(t *testing.T) {
	t.Parallel()
	for name, pool := range map[string]bool{"copied": false, "prepared": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, emulator.Config{})
			w.pool = pool
			crashEverywhere(t, w)
			w.wantTidy(t)
		})
	}
}

func crashEverywhere(t *testing.T, w *world) {
	t.Helper()
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			var calm recorder
			x := w.submit(t)
			s.run(t, x, calm.tap)
			s.wantEnd(t, x)
			first := slices.Index(calm.points, s.from)
			if first < 0 {
				t.Fatalf("no point %q among %q", s.from, calm.points)
			}
			for n := first; n < len(calm.points); n++ {
				// Between the end of a call and the next one nothing happens.
				if n > first && strings.HasPrefix(calm.points[n], "before ") && strings.HasPrefix(calm.points[n-1], "after ") {
					continue
				}
				t.Run("crash "+calm.points[n], func(t *testing.T) {
					t.Parallel()
					x := w.submit(t)
					tap := crashAt(n)
					if !crashes(func() { _ = w.runner(s.deps(w, tap), tap).Run(t.Context(), x.job) }) {
						t.Fatal("the worker did not get that far")
					}
					if _, err := w.master.Exec(t.Context(), `
						UPDATE identity.job SET lease_until = now() - interval '1 second' WHERE job_id = $1 AND lease_until IS NOT NULL`,
						x.job); err != nil {
						t.Fatal(err)
					}
					s.run(t, x, nil)
					s.wantEnd(t, x)
				})
			}
		})
	}
}

// run takes the job to its end.
func (s scenario) run(t *testing.T, x *tenant, tap tap) {
	t.Helper()
	if tap == nil {
		tap = func(string) error { return nil }
	}
	err := x.runner(s.deps(x.world, tap), tap).Run(t.Context(), x.job)
	// The worker may have crashed with everything done.
	if code := tenancy.CodeOf(err); code != s.code && code != tenancy.CodeJobSettled {
		t.Fatalf("Run returned %v, want %q", err, s.code)
	}
}

func (s scenario) wantEnd(t *testing.T, x *tenant) {
	t.Helper()
	x.want(t, "the end", s.end)
	if s.code == "" {
		x.wantWorking(t)
	}
	job, err := x.Job(t.Context(), x.job)
	if err != nil {
		t.Fatal(err)
	}
	var left []tenancy.PhaseName
	for _, p := range job.Phases {
		if s.code != "" && p.Started() || s.code == "" && p.Status != tenancy.PhaseDone {
			left = append(left, p.Name)
		}
	}
	if len(left) > 0 {
		t.Errorf("the journal of a job that is %s has a loose end at %q", job.Status, left)
	}
	if s.code != "" && (job.Error == nil || job.Error.Code != s.code || !job.Error.RolledBack || len(job.Error.Residue) > 0) {
		t.Errorf("the job's error is %+v", job.Error)
	}
}

// crashAt is a tap that ends the worker at the n-th point, from 0. A worker that
// crashes runs no code, so what it holds stays held.
func crashAt(n int) tap {
	return func(string) error {
		if n == 0 {
			runtime.Goexit()
		}
		n--
		return nil
	}
}

// crashes runs f on a goroutine of its own and reports whether that was ended.
func crashes(f func()) bool {
	returned := make(chan bool, 1)
	go func() {
		finished := false
		defer func() { returned <- finished }()
		f()
		finished = true
	}()
	return !<-returned
}

// The journal records what each phase decided, for whoever looks at the job.
func TestTheJournalTellsWhatWasDecided(t *testing.T) {
	t.Parallel()
	w := setup(t, emulator.Config{})
	x := w.submit(t)
	scenarios[0].run(t, x, nil)
	job, err := w.Job(t.Context(), x.job)
	if err != nil {
		t.Fatal(err)
	}
	got := map[tenancy.PhaseName]map[string]any{}
	for _, p := range job.Phases {
		got[p.Name] = p.Detail
	}
	database, secret := x.slug.DatabaseName(), x.slug.SecretName()
	template, _ := got[tenancy.PhaseDatabaseCreated]["template"].(string)
	if !strings.HasPrefix(template, "tenantry_template_") {
		t.Errorf("copied from %q", template)
	}
	want := map[tenancy.PhaseName]map[string]any{
		tenancy.PhasePlacementResolved: {"dbServer": "pg-a"},
		tenancy.PhaseStateChecked:      {"database": database, "secretRef": secret},
		tenancy.PhaseSecretSet:         {"secretRef": secret},
		tenancy.PhaseDatabaseCreated:   {"database": database, "template": template},
		tenancy.PhaseMigrationsApplied: {"schemaVersion": "5/0"},
		tenancy.PhaseMasterRegistered:  {"tenantId": string(x.owner.TenantID)},
		tenancy.PhaseAdminSeeded:       {},
		tenancy.PhaseComplete:          {},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	registered, err := w.Tenant(t.Context(), x.slug)
	if err != nil || registered.SchemaVersion != "5/0" || registered.JobID != x.job {
		t.Errorf("registered as %+v, %v", registered, err)
	}
	password := strings.TrimPrefix(x.observe(t).Value, "postgres://"+x.slug.AppRole()+":")
	password, _, _ = strings.Cut(password, "@")
	if dump := fmt.Sprintf("%+v", job); len(password) < 40 || strings.Contains(dump, password) {
		t.Error("the job shows the tenant's password")
	}
}

// The answer of the last phase may be lost when its transaction was committed.
func TestACompleteJobStaysCompleteWhenTheAnswerIsLost(t *testing.T) {
	t.Parallel()
	w := setup(t, emulator.Config{})
	x := w.submit(t)
	lost := once("after CompleteProvision", tenancy.Unavailable(errors.New("reset"), "The answer was lost."))
	if err := w.runner(w.deps(lost), nil).Run(t.Context(), x.job); tenancy.CodeOf(err) != tenancy.CodeLeaseLost {
		t.Errorf("Run returned %v", err)
	}
	x.want(t, "the end", provisioned)
}

func TestRetryOfAFailedJobCompletes(t *testing.T) {
	t.Parallel()
	// The vault keeps the first attempt's secret, soft-deleted.
	w := setup(t, emulator.Config{PurgeProtection: true})
	x := w.submit(t)
	failing := scenarios[1]
	failing.run(t, x, nil)
	left := undone
	left.Secret = "deleted, mine"
	x.want(t, "after the failure", left)
	if _, err := w.RetryJob(t.Context(), x.job, operator); err != nil {
		t.Fatal(err)
	}
	scenarios[0].run(t, x, nil)
	end := provisioned
	end.Audit = []string{"TENANT_PROVISION_FAILED", "JOB_RETRIED", "TENANT_PROVISIONED"}
	x.want(t, "after the retry", end)
	x.wantWorking(t)
}

func TestADryRunWritesNowhereButInItsJob(t *testing.T) {
	t.Parallel()
	w := setup(t, emulator.Config{})
	dry := func(n *tenancy.NewJob) { n.DryRun = true }
	nothing := reality{Audit: []string{}}
	for _, c := range []struct {
		name    string
		foreign bool
		code    tenancy.Code
		settled tenancy.JobStatus
	}{
		{"that succeeds", false, "", tenancy.JobComplete},
		{"that fails", true, tenancy.CodePartialState, tenancy.JobFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := w.submit(t, dry)
			if c.foreign {
				x.putDatabase(t, "pg-b", newOwner())
			}
			before := x.observe(t)
			if !c.foreign {
				x.want(t, "before", nothing)
			}
			err := w.runner(w.deps(nil), nil).Run(t.Context(), x.job)
			if tenancy.CodeOf(err) != c.code {
				t.Fatalf("Run returned %v", err)
			}
			want := before
			want.Settled = c.settled
			x.want(t, "after", want)
			if n := w.emulator.Count(emulator.OpSet, x.slug.SecretName()); n != 0 {
				t.Errorf("the secret was set %d times", n)
			}
			if c.code != "" {
				return
			}
			job, err := w.Job(t.Context(), x.job)
			if err != nil {
				t.Fatal(err)
			}
			var names []tenancy.PhaseName
			var detail map[string]any
			for _, p := range job.Phases {
				names = append(names, p.Name)
				if p.Name == tenancy.PhaseDryRun {
					detail = p.Detail
				}
			}
			if diff := cmp.Diff(tenancy.ProvisionPhases(true), names); diff != "" {
				t.Error(diff)
			}
			wantDetail := map[string]any{
				"dbServer": "pg-a", "database": x.slug.DatabaseName(), "secretRef": x.slug.SecretName(),
			}
			if diff := cmp.Diff(wantDetail, detail); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The journal of a job names the phases the job is run with.
func TestThePhasesAreTheRunbooks(t *testing.T) {
	t.Parallel()
	names := func(all []pipeline.Phase) (names []tenancy.PhaseName) {
		for _, p := range all {
			names = append(names, p.Name())
		}
		return names
	}
	if diff := cmp.Diff(tenancy.ProvisionPhases(false), names(phases.Provision(phases.Deps{}))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(tenancy.ProvisionPhases(true), names(phases.DryRunProvision(phases.Deps{}))); diff != "" {
		t.Error(diff)
	}
}
