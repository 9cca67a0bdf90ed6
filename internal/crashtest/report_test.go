package crashtest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// playAll plays scenarios beside each other, and returns when all are over.
func (w *world) playAll(t *testing.T, scenarios []scenario, change ...func(*trial)) []outcome {
	t.Helper()
	outcomes := make([]outcome, len(scenarios))
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, s := range scenarios {
		g.Go(func() error {
			outcomes[i] = w.play(t.Context(), s, change...)
			return nil
		})
	}
	_ = g.Wait()
	return outcomes
}

// report prints the table and fails the test for each violation.
func report(t *testing.T, outcomes []outcome, took time.Duration) {
	t.Helper()
	var table strings.Builder
	var recoveries []time.Duration
	bad, claimed := 0, 0
	for _, o := range outcomes {
		result := string(o.end())
		if o.err != nil {
			bad++
			result = "BAD: " + o.err.Error()
			t.Errorf("%s: %v\n%s", o.scenario, o.err, o.logs)
		}
		if o.claimed {
			claimed++
		} else if o.err == nil && prepared && o.way == completes && o.end() == tenancy.JobComplete {
			bad++
			t.Errorf("%s: the job had no prepared database\n%s", o.scenario, o.logs)
		}
		recovery := "-"
		if o.recovery > 0 {
			recovery = fmt.Sprintf("%.1fs", o.recovery.Seconds())
			recoveries = append(recoveries, o.recovery)
		}
		fmt.Fprintf(&table, "%-15s %-36s %-26s %6s  %s\n", o.way, o.point, o.event, recovery, result)
	}
	t.Logf("%d trials in %.0fs, %d bad; %d with a prepared database; recovery: %s\n%s", len(outcomes), took.Seconds(), bad, claimed, spread(recoveries), &table)
}

// spread is the median and the worst, in words.
func spread(d []time.Duration) string {
	if len(d) == 0 {
		return "none"
	}
	median, worst := spreadOf(d)
	return fmt.Sprintf("median %.1fs, worst %.1fs", median.Seconds(), worst.Seconds())
}

func spreadOf(d []time.Duration) (median, worst time.Duration) {
	slices.Sort(d)
	return d[len(d)/2], d[len(d)-1]
}
