package phases_test

import (
	"context"
	"sync"
	"time"

	"github.com/tenantry/tenantry/internal/phases"
	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// tap is called at each point of a call to a dependency: "before X", and "after
// X" once X has had its effect. An error is the call's answer; a tap may also
// end the goroutine, as a crash would.
type tap func(point string) error

func through[T any](t tap, call string, f func() (T, error)) (T, error) {
	var zero T
	if err := t("before " + call); err != nil {
		return zero, err
	}
	v, err := f()
	if err != nil {
		return zero, err
	}
	if err := t("after " + call); err != nil {
		return zero, err
	}
	return v, nil
}

func throughErr(t tap, call string, f func() error) error {
	_, err := through(t, call, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// recorder is a tap that keeps the points it saw.
type recorder struct {
	mu     sync.Mutex
	points []string
}

func (r *recorder) tap(point string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.points = append(r.points, point)
	return nil
}

// once is a tap that answers with err at the first of a point.
func once(at string, err error) tap {
	var done bool
	return func(point string) error {
		if point != at || done {
			return nil
		}
		done = true
		return err
	}
}

type tappedRegistry struct {
	phases.Registry
	tap tap
}

func (r tappedRegistry) ReservePlacement(ctx context.Context, lease tenancy.Lease, template string, choose func([]tenancy.ServerLoad) (tenancy.DBServer, error)) (tenancy.Placement, error) {
	return through(r.tap, "ReservePlacement", func() (tenancy.Placement, error) {
		return r.Registry.ReservePlacement(ctx, lease, template, choose)
	})
}

func (r tappedRegistry) FreePlacement(ctx context.Context, lease tenancy.Lease) error {
	return throughErr(r.tap, "FreePlacement", func() error { return r.Registry.FreePlacement(ctx, lease) })
}

func (r tappedRegistry) RegisterTenant(ctx context.Context, lease tenancy.Lease, slug tenancy.Slug, version string, p tenancy.Progress) error {
	return throughErr(r.tap, "RegisterTenant", func() error { return r.Registry.RegisterTenant(ctx, lease, slug, version, p) })
}

func (r tappedRegistry) UnregisterTenant(ctx context.Context, lease tenancy.Lease) error {
	return throughErr(r.tap, "UnregisterTenant", func() error { return r.Registry.UnregisterTenant(ctx, lease) })
}

func (r tappedRegistry) CompleteProvision(ctx context.Context, lease tenancy.Lease, p tenancy.Progress) error {
	return throughErr(r.tap, "CompleteProvision", func() error { return r.Registry.CompleteProvision(ctx, lease, p) })
}

type tappedDatabases struct {
	phases.Databases
	tap tap
}

func (d tappedDatabases) AppURL(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, password string) (string, error) {
	return through(d.tap, "AppURL", func() (string, error) { return d.Databases.AppURL(ctx, server, slug, password) })
}

func (d tappedDatabases) EnsureDatabase(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership, appURL string, source tenancy.DatabaseSource) (tenancy.DatabaseOrigin, error) {
	return through(d.tap, "EnsureDatabase", func() (tenancy.DatabaseOrigin, error) {
		return d.Databases.EnsureDatabase(ctx, server, slug, owner, appURL, source)
	})
}

func (d tappedDatabases) Migrate(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership, appURL string) (string, error) {
	return through(d.tap, "Migrate", func() (string, error) { return d.Databases.Migrate(ctx, server, slug, owner, appURL) })
}

func (d tappedDatabases) DropDatabase(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership) error {
	return throughErr(d.tap, "DropDatabase", func() error { return d.Databases.DropDatabase(ctx, server, slug, owner) })
}

func (d tappedDatabases) SeedAdmin(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, email, displayName string) error {
	return throughErr(d.tap, "SeedAdmin", func() error { return d.Databases.SeedAdmin(ctx, server, slug, email, displayName) })
}

type tappedSecrets struct {
	phases.Secrets
	tap tap
}

func (s tappedSecrets) Value(ctx context.Context, name string) (string, error) {
	return through(s.tap, "Value", func() (string, error) { return s.Secrets.Value(ctx, name) })
}

func (s tappedSecrets) Ensure(ctx context.Context, name string, owner tenancy.Ownership, value func() (string, error)) (string, error) {
	return through(s.tap, "Ensure", func() (string, error) { return s.Secrets.Ensure(ctx, name, owner, value) })
}

func (s tappedSecrets) Create(ctx context.Context, name string, owner tenancy.Ownership, value func() (string, error)) (string, error) {
	return through(s.tap, "Create", func() (string, error) { return s.Secrets.Create(ctx, name, owner, value) })
}

func (s tappedSecrets) Drop(ctx context.Context, name string, owner tenancy.Ownership) (bool, error) {
	return through(s.tap, "Drop", func() (bool, error) { return s.Secrets.Drop(ctx, name, owner) })
}

// tappedJournal leaves out RenewLease and ReleaseLease: the former happens at no
// fixed point, the latter not at all in these tests.
type tappedJournal struct {
	pipeline.Journal
	tap tap
}

func (j tappedJournal) AcquireLease(ctx context.Context, id tenancy.JobID, owner string, ttl time.Duration) (job tenancy.Job, lease tenancy.Lease, err error) {
	err = throughErr(j.tap, "AcquireLease", func() (err error) {
		job, lease, err = j.Journal.AcquireLease(ctx, id, owner, ttl)
		return err
	})
	return job, lease, err
}

func (j tappedJournal) RecordProgress(ctx context.Context, lease tenancy.Lease, p tenancy.Progress) (bool, error) {
	return through(j.tap, "RecordProgress "+string(p.Done[len(p.Done)-1].Name), func() (bool, error) {
		return j.Journal.RecordProgress(ctx, lease, p)
	})
}

func (j tappedJournal) BeginRollback(ctx context.Context, lease tenancy.Lease, phase tenancy.PhaseName, cause *tenancy.PhaseError) error {
	return throughErr(j.tap, "BeginRollback", func() error { return j.Journal.BeginRollback(ctx, lease, phase, cause) })
}

func (j tappedJournal) UndonePhase(ctx context.Context, lease tenancy.Lease, phase tenancy.PhaseName) error {
	return throughErr(j.tap, "UndonePhase "+string(phase), func() error { return j.Journal.UndonePhase(ctx, lease, phase) })
}

func (j tappedJournal) SettleRollback(ctx context.Context, lease tenancy.Lease) error {
	return throughErr(j.tap, "SettleRollback", func() error { return j.Journal.SettleRollback(ctx, lease) })
}
