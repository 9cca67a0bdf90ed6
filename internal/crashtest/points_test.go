package crashtest_test

import (
	"slices"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// way is how a job would go if nothing happened to its workers.
type way string

const (
	completes way = "complete"
	// fails when it seeds the admin, so that all but the last phase are undone.
	fails way = "failed"
	// failsEarly fails in a migration.
	failsEarly way = "failed early"
	// isCancelled while it is in its last phase.
	isCancelled way = "cancelled"
	// purges a tenant that was provisioned before.
	purges way = "purged"
	// dumps and purges one.
	dumps way = "dumped, purged"
)

// purge reports whether the job is a purge, which is never undone.
func (w way) purge() bool { return w == purges || w == dumps }

// points lists the points of a way, in the order a job passes them: those of
// its Do if it completes, of its Undo otherwise.
func (w way) points() []string {
	phases := tenancy.ProvisionPhases(false)
	step := "undo"
	var points []string
	switch w {
	case completes:
		step = "do"
	case purges, dumps:
		step, phases = "do", tenancy.OffboardPhases(tenancy.Offboarding{Purge: true})
	case failsEarly:
		phases = phases[:slices.Index(phases, tenancy.PhaseMigrationsApplied)+1]
	case fails:
		phases = phases[:slices.Index(phases, tenancy.PhaseAdminSeeded)+1]
	case isCancelled: // before the last phase, which is never begun
		phases = phases[:len(phases)-1]
	}
	if step == "undo" {
		slices.Reverse(phases)
		points = append(points, "rollback:begun:recorded")
	}
	for i, p := range phases {
		point := func(p tenancy.PhaseName, when string) { points = append(points, step+":"+string(p)+":"+when) }
		point(p, "before")
		point(p, "after")
		// Of the last phase's there is nothing more to see after it than after its Do.
		if step == "do" && slices.Contains(recording, p) && i+1 < len(phases) {
			point(phases[i-1], "recorded")
		}
		if step == "undo" || i+1 < len(phases) && !slices.Contains(recording, phases[i+1]) {
			point(p, "recorded")
		}
	}
	if step == "undo" {
		points = append(points, "rollback:settled:recorded")
	}
	return points
}

// recording are the phases whose Do records that they are done, and the one before.
var recording = []tenancy.PhaseName{tenancy.PhaseMasterRegistered, tenancy.PhaseComplete}
