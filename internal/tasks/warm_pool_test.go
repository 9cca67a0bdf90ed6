package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/placement"
	"github.com/tenantry/tenantry/internal/tasks"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// warmServers are tenant servers that only remember what there is on them.
type warmServers struct {
	mu       sync.Mutex
	template string
	there    map[tenancy.WarmDatabaseID]string // and what it is a copy of
	made     int
	fail     error
	stuck    tenancy.WarmDatabaseID // cannot be dropped
	// within is called in the middle of Warm.
	within func(context.Context) error
}

func (s *warmServers) Template() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.template
}

func (s *warmServers) set(f func(*warmServers)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *warmServers) Warm(ctx context.Context, d tenancy.WarmDatabase) error {
	if err := tenancy.CheckFence(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.there[d.ID] = d.Template
	within, fail := s.within, s.fail
	s.mu.Unlock()
	if within != nil {
		if err := within(ctx); err != nil {
			return err
		}
	}
	if fail != nil {
		return fail
	}
	s.set(func(s *warmServers) { s.made++ })
	return nil
}

func (s *warmServers) KeepWarmPasswords(map[tenancy.WarmDatabaseID]bool) {}

func (s *warmServers) DropWarm(_ context.Context, _ tenancy.DBServer, id tenancy.WarmDatabaseID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if id == s.stuck {
		return tenancy.Errorf(tenancy.CodePartialState, "something of %s is not ours", id)
	}
	delete(s.there, id)
	return nil
}

// warmBench is a bench with two servers.
type warmBench struct {
	*bench
	servers *warmServers
}

func setupWarm(t *testing.T) *warmBench {
	t.Helper()
	b := &warmBench{setup(t), &warmServers{template: "one", there: map[tenancy.WarmDatabaseID]string{}}}
	b.addServer(t, "pg-a", nil)
	return b
}

func (b *warmBench) addServer(t *testing.T, name string, capacity *int) tenancy.DBServer {
	t.Helper()
	load, err := b.AddServer(t.Context(), tenancy.DBServer{
		Name: name, Host: "127.0.0.1", Port: 5432, AdminSecretRef: "admin-" + name, CapacityHint: capacity, IsActive: true,
	}, operator)
	if err != nil {
		t.Fatal(err)
	}
	return load.DBServer
}

// keep starts a worker that keeps the pool and has nothing else to do.
func (b *warmBench) keep(t *testing.T, size int) (stop func()) {
	t.Helper()
	return b.start(t, func(cfg *tasks.WorkerConfig) {
		cfg.Runner = b.runner(done, cfg.Draining)
		cfg.Pool = &tasks.WarmPool{Size: size, Ledger: b.Store, Servers: b.servers}
	})
}

// pool is what master has: "server template state", and how many.
func (b *warmBench) pool(t *testing.T) map[string]int {
	t.Helper()
	servers, _, err := b.WarmServers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, s := range servers {
		for _, d := range s.Databases {
			got[fmt.Sprintf("%s %s %s", s.Name, d.Template, d.State)]++
		}
	}
	return got
}

func (b *warmBench) awaitPool(t *testing.T, want map[string]int) {
	t.Helper()
	eventually(t, fmt.Sprintf("a pool of %v; it is %v", want, b.pool(t)), func() bool { return maps.Equal(want, b.pool(t)) })
	// What master has is what there is.
	n := 0
	for _, m := range want {
		n += m
	}
	b.servers.set(func(s *warmServers) {
		if len(s.there) != n {
			t.Errorf("master has %v, and there is %v", want, s.there)
		}
	})
}

// claim has a job take a database, and returns the job's lease.
func (b *warmBench) claim(t *testing.T, template string) (tenancy.Lease, tenancy.Placement) {
	t.Helper()
	job, err := b.SubmitJob(t.Context(), tenancy.NewJob{
		Slug: slug(), DisplayName: "Acme", AdminEmail: "a@acme.example", InProcess: true, RequestedBy: operator,
	})
	if err != nil {
		t.Fatal(err)
	}
	_, lease, err := b.AcquireLease(t.Context(), job.ID, "w", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	place, err := b.ReservePlacement(t.Context(), lease, template, func(loads []tenancy.ServerLoad) (tenancy.DBServer, error) {
		return placement.Choose(loads, "")
	})
	if err != nil {
		t.Fatal(err)
	}
	return lease, place
}

func TestThePoolIsFilledAndRefilled(t *testing.T) {
	t.Parallel()
	b := setupWarm(t)
	room := 1
	b.addServer(t, "pg-b", &room)
	b.addServer(t, "pg-c", new(int)) // full
	stop := b.keep(t, 3)
	full := map[string]int{"pg-a one ready": 3, "pg-b one ready": 1}
	b.awaitPool(t, full)
	lease, place := b.claim(t, "one")
	if place.Warm == "" || place.Server.Name != "pg-a" {
		t.Fatalf("claimed %+v", place)
	}
	// Not while the job waits for its database.
	b.wantHeld(t, map[string]int{"pg-a one ready": 2, "pg-a one claimed": 1, "pg-b one ready": 1})
	b.servers.set(func(s *warmServers) { delete(s.there, place.Warm) }) // renamed
	job, err := b.Job(t.Context(), lease.JobID)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.RegisterTenant(t.Context(), lease, job.Slug, "1", tenancy.Progress{}); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE identity.job SET phase = 'admin_seeded' WHERE job_id = $1`, lease.JobID)
	b.awaitPool(t, full)
	stop()
	// Nobody leads: the next one does.
	b.keep(t, 1)
	b.awaitPool(t, map[string]int{"pg-a one ready": 1, "pg-b one ready": 1})
}

// wantHeld wants the pool to stay as it is while a keeper looks at it a few times.
func (b *warmBench) wantHeld(t *testing.T, want map[string]int) {
	t.Helper()
	looks := scan[int64](t, b.bench, `SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()`)
	eventually(t, "some looks at the pool", func() bool {
		if diff := cmp.Diff(want, b.pool(t)); diff != "" {
			t.Fatalf("the pool (-want +got):\n%s", diff)
		}
		return scan[int64](t, b.bench, `SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()`) > looks+500
	})
}

// TestWhoIsWaitedFor: a keeper prepares nothing while such a job is under way.
func TestWhoIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := setupWarm(t)
	insert := func(set string) {
		b.exec(t, `DELETE FROM identity.job`)
		b.exec(t, `INSERT INTO identity.job (job_id, kind, status, slug, tenant_id, display_name, admin_email, actor)
			VALUES (gen_random_uuid(), 'provision', 'queued', 'acme', gen_random_uuid(), 'x', 'x', 'x')`)
		b.exec(t, `UPDATE identity.job SET `+set)
	}
	for set, want := range map[string]bool{
		"phase = ''": true,
		"status = 'running', phase = 'secret_set', lease_until = now() + interval '1 hour'":                                          true,
		"status = 'running', phase = 'database_created', run_after = now() + interval '1 hour', lease_until = now() + interval '1m'": true,
		"status = 'running', phase = 'database_created', run_after = now() + interval '1 hour'":                                      false,
		"status = 'running', phase = 'migrations_applied'":                                                                           false,
		"status = 'rolling_back', phase = 'secret_set'":                                                                              false,
		"status = 'failed', phase = 'secret_set'":                                                                                    false,
		"kind = 'offboard'": false,
		"dry_run = true":    false,
		"queue = 'bulk'":    true,
	} {
		insert(set)
		if _, waiting, err := b.WarmServers(t.Context()); err != nil || waiting != want {
			t.Errorf("%s: waiting %t, %v", set, waiting, err)
		}
	}
}

func TestAChangedSetRetiresThePool(t *testing.T) {
	t.Parallel()
	b := setupWarm(t)
	b.keep(t, 2)
	b.awaitPool(t, map[string]int{"pg-a one ready": 2})
	b.servers.set(func(s *warmServers) { s.template = "two" })
	b.awaitPool(t, map[string]int{"pg-a two ready": 2})
	b.servers.set(func(s *warmServers) { s.template = "" }) // there are no templates any more
	b.awaitPool(t, map[string]int{})
}

func TestAnInactiveServerHasNoPool(t *testing.T) {
	t.Parallel()
	b := setupWarm(t)
	b.keep(t, 2)
	b.awaitPool(t, map[string]int{"pg-a one ready": 2})
	b.exec(t, `UPDATE identity.db_server SET is_active = false`)
	b.awaitPool(t, map[string]int{})
}

func TestWithoutAPoolWhatThereIsGoes(t *testing.T) {
	t.Parallel()
	b := setupWarm(t)
	stop := b.keep(t, 2)
	b.awaitPool(t, map[string]int{"pg-a one ready": 2})
	lease, place := b.claim(t, "one")
	stop()
	stop = b.keep(t, 0)
	b.awaitPool(t, map[string]int{"pg-a one claimed": 1}) // the job still wants it
	stop()
	// By hand, or by a build that knew nothing of it.
	b.exec(t, `UPDATE identity.job SET status = 'failed' WHERE job_id = $1`, lease.JobID)
	b.keep(t, 0)
	b.awaitPool(t, map[string]int{})
	if place.Warm == "" {
		t.Error("nothing was claimed")
	}
}

// TestWhatAKilledKeeperLeft, or one that no longer leads, is dropped by the next, and
// a keeper that is not the leader any more is fenced off.
func TestWhatAKilledKeeperLeft(t *testing.T) {
	t.Parallel()
	b := setupWarm(t)
	server, err := b.Server(t.Context(), "pg-a")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		d, err := b.AddWarmDatabase(t.Context(), server.DBServer, "one")
		if err != nil {
			t.Fatal(err)
		}
		b.servers.there[d.ID] = "half"
	}
	inside := make(chan error)
	goOn := make(chan struct{})
	b.servers.within = func(ctx context.Context) error {
		inside <- nil
		select {
		case <-goOn:
		case <-ctx.Done():
		}
		return tenancy.CheckFence(ctx)
	}
	b.keep(t, 1)
	<-inside
	// Its connection to master is lost, so another may lead.
	b.servers.set(func(s *warmServers) { s.within = nil })
	b.exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'`)
	b.keep(t, 1)
	b.awaitPool(t, map[string]int{"pg-a one ready": 1})
	before := b.ready(t)
	close(goOn)
	b.wantHeld(t, map[string]int{"pg-a one ready": 1})
	if diff := cmp.Diff(before, b.ready(t)); diff != "" {
		t.Errorf("the old leader went on (-before +after):\n%s", diff)
	}
}

// ready are the databases that can be claimed.
func (b *warmBench) ready(t *testing.T) (ids []tenancy.WarmDatabaseID) {
	t.Helper()
	servers, _, err := b.WarmServers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		for _, d := range s.Databases {
			if d.State == tenancy.WarmReady {
				ids = append(ids, d.ID)
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// TestOneThatCannotBeDroppedIsLeftAlone, and its server gets others all the same.
func TestOneThatCannotBeDroppedIsLeftAlone(t *testing.T) {
	t.Parallel()
	b := setupWarm(t)
	server, err := b.Server(t.Context(), "pg-a")
	if err != nil {
		t.Fatal(err)
	}
	d, err := b.AddWarmDatabase(t.Context(), server.DBServer, "one")
	if err != nil {
		t.Fatal(err)
	}
	b.servers.there[d.ID], b.servers.stuck = "half", d.ID
	b.keep(t, 2)
	b.awaitPool(t, map[string]int{"pg-a one ready": 2, "pg-a one retired": 1})
}

// TestAServerThatFailsIsLeftAlone, and the others are not.
func TestAServerThatFailsIsLeftAlone(t *testing.T) {
	t.Parallel()
	b := setupWarm(t)
	b.servers.fail = errors.New("down")
	tried := 0
	b.servers.within = func(context.Context) error { tried++; return nil }
	b.keep(t, 2)
	eventually(t, "the first try", func() bool { return b.pool(t)["pg-a one retired"] == 1 })
	b.servers.set(func(s *warmServers) { s.fail, s.within = nil, nil })
	b.addServer(t, "pg-b", nil)
	eventually(t, "a pool on the other", func() bool { return b.pool(t)["pg-b one ready"] == 2 })
	if got := b.pool(t); got["pg-a one ready"] != 0 || tried != 1 {
		t.Errorf("%d tries; the pool is %v", tried, got)
	}
}

// TestAStoppingWorkerDoesNotWaitForItsKeeper.
func TestAStoppingWorkerDoesNotWaitForItsKeeper(t *testing.T) {
	t.Parallel()
	b := setupWarm(t)
	inside := make(chan struct{})
	b.servers.within = func(ctx context.Context) error { close(inside); <-ctx.Done(); return ctx.Err() }
	stop := b.keep(t, 2)
	<-inside
	began := time.Now()
	stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}
