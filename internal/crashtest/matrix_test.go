//go:build crashpoints

package crashtest_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// TestCrashMatrix kills workers at every point: once, again at the same point,
// and again one point further.
func TestCrashMatrix(t *testing.T) {
	w := setup(t)
	var all []scenario
	for _, way := range []way{completes, fails, failsEarly, isCancelled} {
		points := way.points()
		for i, point := range points {
			all = append(all, scenario{way: way, event: killed, point: point})
			next := onward(points, i)
			if next == "" || way == failsEarly || way == isCancelled {
				continue // settled; the rest is as in fails
			}
			all = append(all, scenario{way: way, event: killedOnward, point: point, next: next})
			if !recordedAt(point) {
				all = append(all, scenario{way: way, event: killedTwice, point: point})
			}
		}
	}
	// Dead before the failure is recorded.
	all = append(all,
		scenario{way: failsEarly, event: killed, point: "do:migrations_applied:after"},
		scenario{way: fails, event: killedTwice, point: "do:admin_seeded:after"},
	)
	began := time.Now()
	report(t, w.playAll(t, all), time.Since(began))
}

// TestCrashPurge kills workers at every point of a purge, which goes only
// forward: once, again at the same point, and again one point further. With a
// final dump, each just once, but for the phases around the dump.
func TestCrashPurge(t *testing.T) {
	w := setup(t)
	var all []scenario
	for _, way := range []way{purges, dumps} {
		points := way.points()
		for i, point := range points {
			all = append(all, scenario{way: way, event: killed, point: point})
			next := onward(points, i)
			if next == "" || way == dumps && !aroundDump(point) {
				continue
			}
			all = append(all, scenario{way: way, event: killedOnward, point: point, next: next})
			if !recordedAt(point) {
				all = append(all, scenario{way: way, event: killedTwice, point: point})
			}
		}
	}
	began := time.Now()
	report(t, w.playAll(t, all), time.Since(began))
}

func aroundDump(point string) bool {
	return strings.Contains(point, string(tenancy.PhaseBackupTaken)) || strings.Contains(point, string(tenancy.PhaseDatabaseDropped))
}

// TestCrashFrozen suspends workers at every point until it is all over, and
// wakes them. They must notice in time that the job is no longer their own.
func TestCrashFrozen(t *testing.T) {
	w := setup(t)
	var all []scenario
	for _, way := range []way{completes, fails, purges} {
		points := way.points()
		for i, point := range points {
			all = append(all, scenario{way: way, event: frozen, point: point})
			switch {
			case way == purges:
				all = append(all, scenario{way: way, event: frozenReused, point: point})
			case way == fails:
				all = append(all, scenario{way: way, event: frozenRetried, point: point})
			case onward(points, i) != "":
				all = append(all, scenario{way: way, event: frozenCancelled, point: point})
			}
		}
	}
	began := time.Now()
	report(t, w.playAll(t, all), time.Since(began))
}

// onward is the point that a job passes next if its worker dies at the i-th: it takes
// up again what is not recorded. It is empty if the job is settled.
func onward(points []string, i int) string {
	recorded := i
	if recordedAt(points[i]) && strings.HasPrefix(points[i], "do:") {
		for recorded+1 < len(points) && !strings.HasSuffix(points[recorded+1], ":before") {
			recorded++
		}
	}
	if recorded+1 < len(points) {
		return points[recorded+1]
	}
	return ""
}

// recordedAt reports whether a job passes the point once: what leads there is recorded.
func recordedAt(point string) bool {
	return strings.HasSuffix(point, ":recorded") || slices.ContainsFunc(recording, func(p tenancy.PhaseName) bool {
		return point == "do:"+string(p)+":after"
	})
}
