package phases_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/phases"
	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/secrets/emulator"
	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/internal/tenantdb"
)

// effect is what a phase does to reality.
type effect struct {
	do func(*reality)
	// lasts: Undo leaves it, because it goes with what an earlier phase made.
	lasts bool
	// settles: the job is over, and with it the lease: a second Do is refused.
	settles bool
}

var effects = map[tenancy.PhaseName]effect{
	tenancy.PhasePlacementResolved: {do: func(r *reality) { r.Reserved = "pg-a" }},
	tenancy.PhaseStateChecked:      {do: func(*reality) {}},
	tenancy.PhaseSecretSet:         {do: func(r *reality) { r.Secret = "live, mine" }},
	tenancy.PhaseDatabaseCreated:   {do: func(r *reality) { r.Objects = whole }},
	tenancy.PhaseMigrationsApplied: {do: func(r *reality) { r.Schema = 5 }, lasts: true},
	tenancy.PhaseMasterRegistered:  {do: func(r *reality) { r.Row, r.Reserved = "provisioning, mine", "" }},
	tenancy.PhaseAdminSeeded:       {do: func(r *reality) { r.Admins = 1 }, lasts: true},
	tenancy.PhaseComplete: {do: func(r *reality) {
		r.Row, r.Settled, r.Audit, r.Invited = "active, mine", tenancy.JobComplete, []string{"TENANT_PROVISIONED"}, 1
	}, lasts: true, settles: true},
}

// TestEveryPhaseHoldsItsContract takes each phase, on the real parts, through
// Do, Do, Undo, Undo, Do; through Undo and Do after half a Do; and through Undo
// after half an Undo. Every call comes from a worker that has just taken the
// job up.
func TestEveryPhaseHoldsItsContract(t *testing.T) {
	t.Parallel()
	for _, vault := range []struct {
		name    string
		cfg     emulator.Config
		dropped string // what Undo leaves of a secret
		copies  bool   // databases are copied from templates
		pool    bool   // or were prepared ahead
	}{
		{"vault that purges", emulator.Config{}, "", false, false},
		{"vault that purges, templates", emulator.Config{}, "", true, false},
		{"vault that purges, prepared databases", emulator.Config{}, "", true, true},
		{"vault that keeps", emulator.Config{PurgeProtection: true}, "deleted, mine", true, false},
	} {
		t.Run(vault.name, func(t *testing.T) {
			t.Parallel()
			w := setup(t, vault.cfg)
			if !vault.copies {
				w.databases = w.openDatabases(t, nil, func(cfg *tenantdb.Config) { cfg.NoTemplates = true })
			}
			for i, name := range tenancy.ProvisionPhases(false) {
				t.Run(string(name), func(t *testing.T) {
					t.Parallel()
					w := w
					if vault.pool { // of its own, so that its claims are too
						w = setup(t, vault.cfg)
						w.pool = true
						w.record(t, 40) // for whoever claims again and again
					}
					c := newContract(t, w, i, vault.dropped, vault.copies)
					c.repeats(t)
					if effects[name].settles {
						return
					}
					c.halves(t)
					c.undoEverything(t)
					if vault.pool && name == tenancy.PhaseDatabaseCreated && c.taken < 3 {
						t.Errorf("only %d were prepared ahead", c.taken)
					}
				})
			}
		})
	}
}

// contract is one phase of one tenant.
type contract struct {
	*tenant
	effect
	i int
	// before, after and undone are reality before the phase, after its Do, and
	// after its Undo.
	before, after, undone reality
	dropped               string
	taken                 int // prepared databases
}

func newContract(t *testing.T, w *world, i int, dropped string, copies bool) *contract {
	t.Helper()
	c := &contract{tenant: w.hold(t), i: i, dropped: dropped}
	p := c.advance(t, w.deps(nil), i)
	c.effect = effects[p.Name()]
	c.before = c.observe(t)
	c.after = c.before
	c.effect.do(&c.after)
	if copies && p.Name() == tenancy.PhaseDatabaseCreated {
		c.after.Schema = 5 // the template's
	}
	if w.pool {
		switch p.Name() {
		case tenancy.PhasePlacementResolved:
			c.after.Claimed = true
		case tenancy.PhaseMasterRegistered:
			c.after.Claimed = false // it is the tenant's
		}
	}
	c.undone = c.before
	if c.lasts {
		c.undone = c.after
	}
	if p.Name() == tenancy.PhaseMasterRegistered {
		c.undone.Claimed = false
	}
	if p.Name() == tenancy.PhaseSecretSet {
		c.undone.Secret = dropped
	}
	return c
}

// call calls the phase's Do or Undo with dependencies that go through tap.
func (c *contract) call(t *testing.T, tap tap, call func(pipeline.Phase, *pipeline.Run) error) error {
	t.Helper()
	return call(phases.Provision(c.deps(tap))[c.i], c.run(t))
}

func (c *contract) do(t *testing.T, tap tap) error {
	t.Helper()
	return c.call(t, tap, func(p pipeline.Phase, run *pipeline.Run) error {
		if c.pool && p.Name() == tenancy.PhaseDatabaseCreated {
			c.prepareAgain(t, run)
		}
		err := p.Do(t.Context(), run)
		if run.Detail[phases.DetailWarm] == true {
			c.taken++
		}
		return err
	})
}

func (c *contract) undo(t *testing.T, tap tap) error {
	t.Helper()
	return c.call(t, tap, func(p pipeline.Phase, run *pipeline.Run) error { return p.Undo(t.Context(), run) })
}

func (c *contract) mustDo(t *testing.T) {
	t.Helper()
	if err := c.do(t, nil); err != nil {
		t.Fatalf("Do: %v", err)
	}
}

func (c *contract) mustUndo(t *testing.T) {
	t.Helper()
	if err := c.undo(t, nil); err != nil {
		t.Fatalf("Undo: %v", err)
	}
}

func (c *contract) repeats(t *testing.T) {
	t.Helper()
	again := c.mustDo
	if c.settles {
		again = func(t *testing.T) {
			t.Helper()
			if err := c.do(t, nil); tenancy.CodeOf(err) != tenancy.CodeLeaseLost {
				t.Fatalf("Do of a settled job: %v", err)
			}
		}
	}
	c.mustDo(t)
	first := c.observe(t)
	if diff := cmp.Diff(c.after.withoutValue(), first.withoutValue()); diff != "" {
		t.Fatalf("Do (-want +got):\n%s", diff)
	}
	again(t)
	if diff := cmp.Diff(first, c.observe(t)); diff != "" {
		t.Fatalf("the second Do changed something (-first +second):\n%s", diff)
	}
	c.mustUndo(t)
	c.want(t, "Undo", c.undone)
	c.mustUndo(t)
	c.want(t, "the second Undo", c.undone)
	again(t)
	c.want(t, "Do after Undo", c.after)
}

// halves fails each call the phase makes, once before it has had its effect and
// once after, when only the answer is lost.
func (c *contract) halves(t *testing.T) {
	t.Helper()
	lost := tenancy.Unavailable(errors.New("connection reset"), "The answer was lost.")
	var made, removed recorder
	c.mustUndo(t)
	if err := c.do(t, made.tap); err != nil {
		t.Fatal(err)
	}
	if err := c.undo(t, removed.tap); err != nil {
		t.Fatal(err)
	}
	for _, point := range made.points {
		half := func() {
			t.Helper()
			if err := c.do(t, once(point, lost)); !tenancy.IsTransient(err) {
				t.Fatalf("Do that failed %s returned %v", point, err)
			}
		}
		half()
		c.mustUndo(t)
		if !c.lasts {
			c.want(t, "Undo after a Do that failed "+point, c.undone)
		}
		half()
		c.mustDo(t)
		c.want(t, "Do after one that failed "+point, c.after)
		c.mustUndo(t)
	}
	for _, point := range removed.points {
		c.mustDo(t)
		if err := c.undo(t, once(point, lost)); !tenancy.IsTransient(err) {
			t.Fatalf("Undo that failed %s returned %v", point, err)
		}
		c.mustUndo(t)
		c.want(t, "Undo after one that failed "+point, c.undone)
	}
	c.mustDo(t)
	c.want(t, "the last Do", c.after)
}

// undoEverything ends as a rollback does.
func (c *contract) undoEverything(t *testing.T) {
	t.Helper()
	for _, p := range slices.Backward(phases.Provision(c.deps(nil))[:c.i+1]) {
		if err := p.Undo(t.Context(), c.run(t)); err != nil {
			t.Fatalf("Undo of %s: %v", p.Name(), err)
		}
	}
	nothing := reality{Audit: []string{}}
	if c.i >= slices.Index(tenancy.ProvisionPhases(false), tenancy.PhaseSecretSet) {
		nothing.Secret = c.dropped
	}
	c.want(t, "Undo of everything", nothing)
}
