package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// What master did long ago is not read anew at each look: only what goes on, and what is
// asked for.
func TestSurveyJobs(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 5)
	began, err := p.Clock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	made := p.active(t, "acme")
	leaving := p.offboard(t, "acme", tenancy.Offboarding{})
	if err := p.CompleteOffboard(ctx, leaving, nil, tenancy.Progress{}); err != nil {
		t.Fatal(err)
	}
	lost := p.hold(t, tenancy.NewJob{Slug: "lost"})
	p.fail(t, lost)
	failed, err := p.Job(ctx, lost.JobID)
	if err != nil {
		t.Fatal(err)
	}
	waiting := p.submit(t, tenancy.NewJob{Slug: "waits"})
	settled, err := p.Clock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		since   time.Time
		tenants []tenancy.TenantID
		want    []tenancy.JobID
	}{
		"nothing more": {settled, nil, []tenancy.JobID{waiting.ID}},
		"two tenants": {
			settled,
			[]tenancy.TenantID{failed.TenantID, made.TenantID, failed.TenantID, "", "by hand", "------------------------------------"},
			[]tenancy.JobID{leaving.JobID, failed.ID, waiting.ID},
		},
		"what changed": {began, nil, []tenancy.JobID{made.ID, leaving.JobID, failed.ID, waiting.ID}},
	} {
		jobs, err := p.SurveyJobs(ctx, test.since, test.tenants)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []tenancy.JobID
		for _, j := range jobs {
			got = append(got, j.ID)
			if j.Recent != (name == "what changed") || j.EverActive != (j.TenantID == made.TenantID) {
				t.Errorf("%s: %+v", name, j)
			}
		}
		slices.Sort(test.want)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
