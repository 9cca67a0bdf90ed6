package phases

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// OffboardRegistry is master, as the phases of offboarding need it.
type OffboardRegistry interface {
	ListServers(ctx context.Context) ([]tenancy.ServerLoad, error)
	RegisteredTenant(ctx context.Context, slug tenancy.Slug) (t tenancy.Tenant, server tenancy.DBServer, found bool, err error)
	// TenantIDs are the ids of this master's tenants, past and present, of a slug.
	TenantIDs(ctx context.Context, slug tenancy.Slug) ([]tenancy.TenantID, error)
	StartRetention(ctx context.Context, lease tenancy.Lease, days int) (purgeAfter time.Time, err error)
	EndRetention(ctx context.Context, lease tenancy.Lease) error
	CondemnTenant(ctx context.Context, lease tenancy.Lease) error
	RemoveTenant(ctx context.Context, lease tenancy.Lease) error
	CompleteOffboard(ctx context.Context, lease tenancy.Lease, details map[string]any, p tenancy.Progress) error
}

// OffboardDatabases are the tenant servers, as the phases of offboarding need
// them.
type OffboardDatabases interface {
	Resolve(ctx context.Context, server tenancy.DBServer) (changed bool, err error)
	Inspect(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug) (tenancy.DatabaseState, error)
	SetAccess(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership, access tenancy.Access) error
	Adopt(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership) error
	CheckBackup(ctx context.Context, server tenancy.DBServer, dir string) error
	Backup(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, dir, name string) (b tenancy.Backup, found bool, err error)
	DropDatabase(ctx context.Context, server tenancy.DBServer, slug tenancy.Slug, owner tenancy.Ownership) error
}

// OffboardSecrets is the vault, as the phases of offboarding need it.
type OffboardSecrets interface {
	Inspect(ctx context.Context, name string) (tenancy.SecretState, error)
	Adopt(ctx context.Context, name string, owner tenancy.Ownership) error
	Drop(ctx context.Context, name string, owner tenancy.Ownership) (purged bool, err error)
	PurgeDate(ctx context.Context, name string) (time.Time, error)
}

// OffboardDeps is what the phases of offboarding work with.
type OffboardDeps struct {
	Registry  OffboardRegistry
	Databases OffboardDatabases
	Secrets   OffboardSecrets
	// BackupDir is where final dumps go.
	BackupDir string
}

// Offboard lists the phases of an offboard job.
func Offboard(d OffboardDeps, o tenancy.Offboarding) []pipeline.Phase {
	switch {
	case o.Purge:
		return []pipeline.Phase{
			ProveOwnership{Registry: d.Registry, Databases: d.Databases, Secrets: d.Secrets, BackupDir: d.BackupDir},
			TakeBackup{Databases: d.Databases, Registry: d.Registry, Dir: d.BackupDir},
			DropDatabase{Registry: d.Registry, Databases: d.Databases},
			DeleteSecret{Registry: d.Registry, Secrets: d.Secrets},
			UnregisterTenant{Registry: d.Registry},
			CompleteOffboard{Registry: d.Registry},
		}
	case o.Cancel:
		return []pipeline.Phase{
			ReadmitTenant{Registry: d.Registry, Databases: d.Databases},
			CompleteOffboard{Registry: d.Registry},
		}
	}
	return []pipeline.Phase{
		StartRetention{Registry: d.Registry, Databases: d.Databases},
		CompleteOffboard{Registry: d.Registry},
	}
}

// tenantOwnership is the proof that things are the job's tenant's, whichever job
// made them.
func tenantOwnership(run *pipeline.Run) tenancy.Ownership {
	return tenancy.Ownership{TenantID: run.Job.TenantID, JobID: run.Job.ID}
}

// CompleteOffboard settles the job with its audit row: a purge's is the
// tombstone of the tenant.
type CompleteOffboard struct {
	Registry OffboardRegistry
	nothingToUndo
}

// Name returns PhaseComplete.
func (CompleteOffboard) Name() tenancy.PhaseName { return tenancy.PhaseComplete }

// Records says that the audit row comes with the journal.
func (CompleteOffboard) Records() {}

// Do settles the job; what the phases before it found goes into the audit row.
func (p CompleteOffboard) Do(ctx context.Context, run *pipeline.Run) error {
	details := map[string]any{"attempt": run.Job.Attempt}
	for _, rec := range run.Job.Phases {
		for name, value := range run.DetailOf(rec.Name) {
			details[name] = value
		}
	}
	return p.Registry.CompleteOffboard(ctx, run.Lease, details, run.Progress())
}
