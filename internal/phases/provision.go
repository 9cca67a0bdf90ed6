// Package phases is the runbook: what a provision job does, one file a phase.
// Each phase has a Do and an Undo that are safe to repeat, because the name of
// everything it makes follows from the slug and carries a proof of whose it is.
package phases

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// Registry is master, as the phases need it. Every write carries the lease and
// changes nothing once another worker has the job.
type Registry interface {
	ListServers(ctx context.Context) ([]tenancy.ServerLoad, error)
	// ReservePlacement also claims a database that was prepared as a copy of
	// template, if that is not empty.
	ReservePlacement(ctx context.Context, lease tenancy.Lease, template string, choose func([]tenancy.ServerLoad) (tenancy.DBServer, error)) (tenancy.Placement, error)
	FreePlacement(ctx context.Context, lease tenancy.Lease) error
	RegisteredTenant(ctx context.Context, slug tenancy.Slug) (t tenancy.Tenant, server tenancy.DBServer, found bool, err error)
	RegisterTenant(ctx context.Context, lease tenancy.Lease, slug tenancy.Slug, schemaVersion string, p tenancy.Progress) error
	UnregisterTenant(ctx context.Context, lease tenancy.Lease) error
	CompleteProvision(ctx context.Context, lease tenancy.Lease, p tenancy.Progress) error
}

// Databases are the tenant servers.
type Databases interface {
	// Resolve reads the server's admin connection afresh from the vault. changed tells
	// that it is another one than before.
	Resolve(ctx context.Context, server tenancy.DBServer) (changed bool, err error)
	Inspect(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug) (tenancy.DatabaseState, error)
	// WarmPassword is the one that the application of a prepared database has
	// already, "" if that is not known here.
	WarmPassword(id tenancy.WarmDatabaseID) string
	// AppURL is the tenant application's connection URL with that password.
	AppURL(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, password string) (string, error)
	// EnsureDatabase takes the prepared database, if that is not empty, or copies one.
	EnsureDatabase(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership, appURL string, source tenancy.DatabaseSource) (tenancy.DatabaseOrigin, error)
	Migrate(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership, appURL string) (version string, err error)
	DropDatabase(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership) error
	SeedAdmin(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, email, displayName string) error
}

// Secrets is the vault.
type Secrets interface {
	Inspect(ctx context.Context, name string) (tenancy.SecretState, error)
	Value(ctx context.Context, name string) (string, error)
	Ensure(ctx context.Context, name string, owner tenancy.Ownership, value func() (string, error)) (string, error)
	// Create is Ensure for a name just seen to be nobody's.
	Create(ctx context.Context, name string, owner tenancy.Ownership, value func() (string, error)) (string, error)
	Drop(ctx context.Context, name string, owner tenancy.Ownership) (purged bool, err error)
}

// Deps is what the phases work with.
type Deps struct {
	Registry  Registry
	Databases Databases
	Secrets   Secrets
	// Choose picks a server; see internal/placement.
	Choose func(loads []tenancy.ServerLoad, name string) (tenancy.DBServer, error)
	// Template names what a database that was prepared ahead must be a copy of; "",
	// or nil, is to use none.
	Template func() string
	// NewPassword generates the password of an application role.
	NewPassword func() string
}

// Plan lists the phases of a job.
func Plan(d Deps, o OffboardDeps) func(tenancy.Job) ([]pipeline.Phase, error) {
	return func(job tenancy.Job) ([]pipeline.Phase, error) {
		switch {
		case job.Kind == tenancy.KindOffboard:
			return Offboard(o, job.Offboarding), nil
		case job.Kind != tenancy.KindProvision:
			return nil, tenancy.Errorf(tenancy.CodeInternal, "This build does not know jobs of the kind %q.", job.Kind)
		case job.DryRun:
			return DryRunProvision(d), nil
		}
		return Provision(d), nil
	}
}

// Provision is the runbook's pipeline, in its order.
func Provision(d Deps) []pipeline.Phase {
	return []pipeline.Phase{
		ResolvePlacement{Registry: d.Registry, Choose: d.Choose, Template: d.Template},
		CheckState{Registry: d.Registry, Databases: d.Databases, Secrets: d.Secrets},
		SetSecret{Secrets: d.Secrets, Databases: d.Databases, NewPassword: d.NewPassword},
		CreateDatabase{Databases: d.Databases, Secrets: d.Secrets},
		ApplyMigrations{Databases: d.Databases, Secrets: d.Secrets},
		RegisterTenant{Registry: d.Registry},
		SeedAdmin{Databases: d.Databases},
		Complete{Registry: d.Registry},
	}
}

// DryRunProvision is what a dry run does of it: it reads, and writes nowhere
// outside its own job.
func DryRunProvision(d Deps) []pipeline.Phase {
	return []pipeline.Phase{
		ResolvePlacement{Registry: d.Registry, Choose: d.Choose},
		CheckState{Registry: d.Registry, Databases: d.Databases, Secrets: d.Secrets},
		DryRun{},
		Complete{Registry: d.Registry},
	}
}

// Limits of the phases that may take longer than pipeline.DefaultPhaseLimit.
const (
	secretLimit  = 2 * time.Minute
	createLimit  = 3 * time.Minute
	copyLimit    = 10 * time.Minute
	migrateLimit = 20 * time.Minute
)

// credential returns the tenant's application URL, from the vault if this run
// has not had it yet.
func credential(ctx context.Context, secrets Secrets, run *pipeline.Run) (string, error) {
	if run.Credential == "" {
		value, err := secrets.Value(ctx, run.Job.Slug.SecretName())
		if err != nil {
			return "", err
		}
		run.Credential = value
	}
	return run.Credential, nil
}

// nothingToUndo is the Undo of a phase that makes nothing, or nothing that
// outlives what an earlier phase made.
type nothingToUndo struct{}

func (nothingToUndo) Undo(context.Context, *pipeline.Run) error { return nil }
