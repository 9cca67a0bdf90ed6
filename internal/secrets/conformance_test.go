package secrets_test

import (
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/secrets/emulator"
)

// contract is what every vault must do, by name; ensure_test.go and
// drop_test.go have the cases.
var contract = map[string]func(*testing.T, *fixture){
	"absent":                        absentIsNotFound,
	"ping":                          pingAnswers,
	"ensure sets and keeps":         ensureSetsAndKeeps,
	"create sets and recovers":      createSetsAndRecovers,
	"ensure leaves others alone":    ensureLeavesOthersAlone,
	"ensure recovers ours":          ensureRecoversOurs,
	"ensure spares foreign deleted": ensureSparesForeignDeleted,
	"ensure during deletion":        ensureDuringDeletion,
	"ensure takes what was given":   ensureTakesReleased,
	"ensure passes errors on":       ensurePassesErrorsOn,
	"ensure needs an owner":         ownerIsNeeded,
	"set":                           setSeeds,
	"drop absent":                   dropAbsent,
	"drop ours":                     dropOurs,
	"drop leaves others alone":      dropLeavesOthersAlone,
	"drop soft-deleted":             dropSoftDeleted,
	"drop spares foreign deleted":   dropSparesForeignDeleted,
	"drop after half an ensure":     dropAfterHalfAnEnsure,
	"do do undo undo do":            repeats,
}

func TestConformance(t *testing.T) {
	t.Parallel()
	const lag = 30 * time.Millisecond
	for name, cfg := range map[string]emulator.Config{
		"prompt":    {},
		"lagging":   {DeleteDelay: lag, RecoverDelay: lag, PurgeDelay: lag},
		"protected": {DeleteDelay: lag, RecoverDelay: lag, PurgeProtection: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for name, test := range contract {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					test(t, setup(t, cfg))
				})
			}
		})
	}
}
