//go:build crashpoints

package crashtest_test

import (
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/pipeline"
)

// TestCrashRecoveryTime measures, with the lease as long as it really is, how
// long a job takes from the death of its worker to its end.
func TestCrashRecoveryTime(t *testing.T) {
	w := setup(t)
	began := time.Now()
	outcomes := w.playAll(t, []scenario{
		{way: completes, event: killed, point: "do:placement_resolved:before"},
		{way: completes, event: killed, point: "do:secret_set:after"},
		{way: completes, event: killed, point: "do:database_created:before"},
		{way: completes, event: killed, point: "do:database_created:after"},
		{way: completes, event: killed, point: "do:migrations_applied:after"},
		{way: completes, event: killed, point: "do:complete:before"},
		{way: fails, event: killed, point: "undo:database_created:before"},
		{way: fails, event: killed, point: "undo:secret_set:after"},
	}, func(t *trial) { t.lease = pipeline.DefaultLeaseTTL })
	report(t, outcomes, time.Since(began))
	var recoveries []time.Duration
	for _, o := range outcomes {
		recoveries = append(recoveries, o.recovery)
	}
	median, worst := spreadOf(recoveries)
	if median > 20*time.Second || worst > time.Minute {
		t.Errorf("recovery takes %s at the median and %s at worst", median, worst)
	}
}
