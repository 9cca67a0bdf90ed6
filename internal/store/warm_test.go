package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/placement"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// warm records n prepared databases on a server, of a template and ready.
func (p plane) warm(t *testing.T, server, template string, n int) (ids []tenancy.WarmDatabaseID) {
	t.Helper()
	s, err := p.Server(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		d, err := p.AddWarmDatabase(t.Context(), s.DBServer, template)
		if err == nil {
			err = p.WarmDatabaseReady(t.Context(), d.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, d.ID)
	}
	return ids
}

func (p plane) warmState(t *testing.T, id tenancy.WarmDatabaseID) (state string) {
	t.Helper()
	p.scan(t, `SELECT coalesce((SELECT state FROM identity.warm_database WHERE warm_database_id = $1), 'gone')`, &state, id)
	return state
}

func (p plane) place(t *testing.T, lease tenancy.Lease, template string) tenancy.Placement {
	t.Helper()
	place, err := p.ReservePlacement(t.Context(), lease, template, auto)
	if err != nil {
		t.Fatal(err)
	}
	return place
}

// TestEachPreparedDatabaseIsClaimedOnce, by whoever comes first, on the job's server.
func TestEachPreparedDatabaseIsClaimedOnce(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.addServer(t, "pg-a", 100)
	p.addServer(t, "pg-b", 100)
	here, there := p.warm(t, "pg-a", "one", 5), p.warm(t, "pg-b", "one", 3)
	stale := p.warm(t, "pg-a", "other", 2)
	where := map[tenancy.WarmDatabaseID]string{}
	for _, id := range here {
		where[id] = "pg-a"
	}
	for _, id := range there {
		where[id] = "pg-b"
	}
	var leases []tenancy.Lease
	for i := range 20 {
		leases = append(leases, p.hold(t, tenancy.NewJob{Slug: tenancy.Slug(fmt.Sprintf("acme-%d", i))}))
	}
	var mu sync.Mutex
	claims, missed := map[tenancy.WarmDatabaseID]int{}, 0
	var wait sync.WaitGroup
	for i, lease := range leases {
		wait.Go(func() {
			place, err := p.ReservePlacement(t.Context(), lease, "one", func(loads []tenancy.ServerLoad) (tenancy.DBServer, error) {
				return placement.Choose(loads, []string{"pg-a", "pg-b"}[i%2])
			})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				t.Error(err)
			case place.Missed != (place.Warm == ""):
				t.Errorf("%+v", place)
			case place.Missed:
				missed++
			case where[place.Warm] != place.Server.Name:
				t.Errorf("%s is on %s, and the tenant on %s", place.Warm, where[place.Warm], place.Server.Name)
			default:
				claims[place.Warm]++
			}
		})
	}
	wait.Wait()
	for id, n := range claims {
		if n != 1 || p.warmState(t, id) != "claimed" {
			t.Errorf("%s was claimed %d times and is %s", id, n, p.warmState(t, id))
		}
	}
	if len(claims) != 8 || missed != 12 {
		t.Errorf("%d claimed, %d missed", len(claims), missed)
	}
	for _, id := range stale {
		if p.warmState(t, id) != "ready" {
			t.Errorf("one of other migrations is %s", p.warmState(t, id))
		}
	}
}

// TestTheOldestIsClaimed, and a job that asks again, after whatever crash, has what it
// had, though it may know of another template by now.
func TestTheOldestIsClaimed(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.addServer(t, "pg-a", 100)
	ids := p.warm(t, "pg-a", "one", 3)
	lease := p.hold(t, tenancy.NewJob{Slug: "acme"})
	for _, template := range []string{"one", "one", "two", ""} {
		if place := p.place(t, lease, template); place.Warm != ids[0] || place.Missed {
			t.Errorf("%+v, want %s", place, ids[0])
		}
	}
	for _, id := range ids[1:] {
		if p.warmState(t, id) != "ready" {
			t.Errorf("%s is %s", id, p.warmState(t, id))
		}
	}
}

// TestWhoClaimsNothing of a pool that has enough.
func TestWhoClaimsNothing(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.addServer(t, "pg-a", 100)
	ids := p.warm(t, "pg-a", "one", 3)
	batch := p.submitBatch(t, newBatch("bulk"))
	_, bulk, err := p.AcquireLease(t.Context(), batch.Rows[0].JobID, "w", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		lease    tenancy.Lease
		template string
	}{
		"a dry run":            {p.hold(t, tenancy.NewJob{Slug: "dry", DryRun: true}), "one"},
		"a batch's":            {bulk, "one"},
		"where there is none":  {p.hold(t, tenancy.NewJob{Slug: "none"}), ""},
		"without the lease":    {tenancy.Lease{JobID: bulk.JobID, Epoch: 7}, "one"},
		"of another migration": {p.hold(t, tenancy.NewJob{Slug: "other"}), "two"},
	} {
		place, err := p.ReservePlacement(t.Context(), test.lease, test.template, auto)
		if name == "without the lease" {
			wantCode(t, err, tenancy.CodeLeaseLost)
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if place.Warm != "" || place.Missed != (name == "of another migration") {
			t.Errorf("%s: %+v", name, place)
		}
	}
	for _, id := range ids {
		if p.warmState(t, id) != "ready" {
			t.Errorf("%s is %s", id, p.warmState(t, id))
		}
	}
}

// TestAClaimEndsWithTheJob: with its place, or when it is the tenant's.
func TestAClaimEndsWithTheJob(t *testing.T) {
	t.Parallel()
	p := setup(t)
	p.addServer(t, "pg-a", 100)
	p.warm(t, "pg-a", "one", 4)
	ends := map[string]func(tenancy.Lease) error{
		"freed": func(l tenancy.Lease) error { return p.FreePlacement(t.Context(), l) },
		"registered": func(l tenancy.Lease) error {
			return p.RegisterTenant(t.Context(), l, "registered", "1", tenancy.Progress{})
		},
	}
	for name, end := range ends {
		lease := p.hold(t, tenancy.NewJob{Slug: tenancy.Slug(name)})
		claimed := p.place(t, lease, "one").Warm
		wantCode(t, end(tenancy.Lease{JobID: lease.JobID, Epoch: lease.Epoch - 1}), tenancy.CodeLeaseLost)
		if got := p.warmState(t, claimed); got != "claimed" {
			t.Errorf("%s by a worker that lost the job: %s", name, got)
		}
		for range 2 {
			if err := end(lease); err != nil {
				t.Fatal(err)
			}
			if got := p.warmState(t, claimed); got != "retired" {
				t.Errorf("%s: %s", name, got)
			}
		}
		if name != "freed" {
			continue
		}
		// A job that is tried again has another.
		if again := p.place(t, lease, "one").Warm; again == "" || again == claimed {
			t.Errorf("placed again: %q after %q", again, claimed)
		}
	}
}

func TestTheWayOfAPreparedDatabase(t *testing.T) {
	t.Parallel()
	p := setup(t)
	ctx := t.Context()
	p.addServer(t, "pg-a", 3)
	s, err := p.Server(ctx, "pg-a")
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.AddWarmDatabase(ctx, s.DBServer, "one")
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(p.CheckWarming(ctx, d.ID))
	lease := p.hold(t, tenancy.NewJob{Slug: "acme"})
	if place := p.place(t, lease, "one"); place.Warm != "" {
		t.Errorf("claimed before it was ready: %+v", place)
	}
	servers, _, err := p.WarmServers(ctx)
	check(err)
	room := 2
	want := []tenancy.WarmServer{{DBServer: s.DBServer, Room: &room, Databases: []tenancy.WarmDatabase{d}}}
	if diff := cmp.Diff(want, servers); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	check(p.ForgetWarmDatabase(ctx, d.ID)) // which is not retired
	check(p.WarmDatabaseReady(ctx, d.ID))
	wantCode(t, p.CheckWarming(ctx, d.ID), tenancy.CodeLeaseLost)
	wantCode(t, p.WarmDatabaseReady(ctx, d.ID), tenancy.CodeLeaseLost)
	// Prepared databases are no tenants.
	if load, err := p.Server(ctx, "pg-a"); err != nil || load.Used() != 1 {
		t.Errorf("%+v, %v", load, err)
	}
	check(p.RetireWarmDatabase(ctx, d.ID))
	wantCode(t, p.WarmDatabaseReady(ctx, d.ID), tenancy.CodeLeaseLost)
	if got := p.warmState(t, d.ID); got != "retired" {
		t.Errorf("it is %s", got)
	}
	check(p.ForgetWarmDatabase(ctx, d.ID))
	check(p.ForgetWarmDatabase(ctx, d.ID))
	if got := p.warmState(t, d.ID); got != "gone" {
		t.Errorf("it is %s", got)
	}
	// A claim stands while its job does.
	p.warm(t, "pg-a", "one", 1)
	other := p.hold(t, tenancy.NewJob{Slug: "other"})
	claimed := p.place(t, other, "one").Warm
	check(p.RetireWarmDatabase(ctx, claimed))
	if got := p.warmState(t, claimed); got != "claimed" {
		t.Errorf("it is %s", got)
	}
	p.exec(t, `UPDATE identity.job SET status = 'cancelled' WHERE job_id = $1`, other.JobID)
	if servers, _, err := p.WarmServers(ctx); err != nil || !servers[0].Databases[0].Abandoned {
		t.Errorf("%+v, %v", servers, err)
	}
	check(p.RetireWarmDatabase(ctx, claimed))
	if got := p.warmState(t, claimed); got != "retired" {
		t.Errorf("it is %s", got)
	}
}
