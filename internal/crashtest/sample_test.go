package crashtest_test

import (
	"strings"
	"testing"
	"time"
)

// TestCrashSample kills a worker in every phase's Do and Undo, after the call
// and before it is recorded; twice at some. A purge has Dos alone.
func TestCrashSample(t *testing.T) {
	w := setup(t)
	var scenarios []scenario
	for _, way := range []way{completes, fails, purges} {
		for _, point := range way.points() {
			if strings.HasSuffix(point, ":after") {
				scenarios = append(scenarios, scenario{way: way, event: killed, point: point})
			}
		}
	}
	scenarios = append(scenarios,
		scenario{way: completes, event: killedTwice, point: "do:database_created:after"},
		scenario{way: completes, event: killedTwice, point: "do:migrations_applied:before"},
		scenario{way: fails, event: killedTwice, point: "undo:database_created:after"},
		scenario{way: dumps, event: killed, point: "do:database_dropped:after"},
	)
	began := time.Now()
	report(t, w.playAll(t, scenarios), time.Since(began))
}
