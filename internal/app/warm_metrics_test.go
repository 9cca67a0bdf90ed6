package app

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// TestClaimsAreCounted: a hit or a miss of a job that would have taken from the pool,
// and nothing of any other.
func TestClaimsAreCounted(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	m.registry.MustRegister(newPoolGauge(func(context.Context) ([]tenancy.WarmServer, bool, error) {
		return []tenancy.WarmServer{{DBServer: tenancy.DBServer{Name: "pg-a"}, Databases: []tenancy.WarmDatabase{
			{State: tenancy.WarmReady}, {State: tenancy.WarmReady}, {State: tenancy.WarmClaimed},
		}}}, false, nil
	}))
	created := func(place, detail map[string]any) {
		m.observe(pipeline.Event{
			Phase: tenancy.PhaseDatabaseCreated, Status: tenancy.PhaseDone, Detail: detail,
			Job: tenancy.Job{
				Server: &tenancy.DBServer{Name: "pg-a"},
				Phases: []tenancy.PhaseRecord{{Name: tenancy.PhasePlacementResolved, Status: tenancy.PhaseDone, Detail: place}},
			},
		})
	}
	claim, empty := map[string]any{"warmDatabase": "x"}, map[string]any{"warmPool": "empty"}
	copied := map[string]any{"template": "t"}
	created(claim, map[string]any{"template": "t", "warm": true}) // hit
	created(claim, copied)                                        // miss: it could not be taken
	created(empty, copied)                                        // miss
	created(empty, map[string]any{"noTemplate": "why"})           // miss
	created(claim, map[string]any{"database": "there already"})
	created(nil, copied) // a batch's, or there is no pool
	m.warmed("pg-a", time.Second)

	got := map[string]float64{}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			name := f.GetName()
			for _, l := range metric.GetLabel() {
				name += " " + l.GetValue()
			}
			switch f.GetName() {
			case "tenantry_warm_claims_total":
				got[name] = metric.GetCounter().GetValue()
			case "tenantry_warm_databases":
				got[name] = metric.GetGauge().GetValue()
			case "tenantry_warm_refill_seconds":
				got[name] = float64(metric.GetHistogram().GetSampleCount())
			}
		}
	}
	want := map[string]float64{
		"tenantry_warm_claims_total hit pg-a": 1, "tenantry_warm_claims_total miss pg-a": 3, "tenantry_warm_refill_seconds pg-a": 1,
	}
	for state, n := range map[string]float64{"warming": 0, "ready": 2, "claimed": 1, "retired": 0} {
		want[fmt.Sprintf("tenantry_warm_databases pg-a %s", state)] = n
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
