package phases

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// StartRetention makes the tenant offboarding. Its people may still read what is
// theirs until the retention ends, unless the operator wants them out now.
type StartRetention struct {
	Registry  OffboardRegistry
	Databases OffboardDatabases
}

// Name returns PhaseRetentionStarted.
func (StartRetention) Name() tenancy.PhaseName { return tenancy.PhaseRetentionStarted }

// Do sets the status first, so that the product's own doors close before the
// database's.
func (p StartRetention) Do(ctx context.Context, run *pipeline.Run) error {
	o := run.Job.Offboarding
	days := cmp.Or(o.RetentionDays, tenancy.DefaultRetentionDays)
	purgeAfter, err := p.Registry.StartRetention(ctx, run.Lease, days)
	if err != nil {
		return fmt.Errorf("cannot offboard tenant %s: %w", run.Job.Slug, err)
	}
	access := tenancy.AccessReadOnly
	if o.Now {
		access = tenancy.AccessNone
	}
	if err := p.Databases.SetAccess(ctx, *run.Job.Server, run.Job.Slug, tenantOwnership(run), access); err != nil {
		return fmt.Errorf("cannot restrict tenant %s: %w", run.Job.Slug, err)
	}
	run.Detail = map[string]any{"purgeAfter": purgeAfter.UTC().Format(time.RFC3339), "accessEnded": o.Now}
	return nil
}

// Undo brings the tenant back. What cannot be shown to be the tenant's was not
// restricted either, so it does not stand in the way.
func (p StartRetention) Undo(ctx context.Context, run *pipeline.Run) error {
	if err := readmit(ctx, run, p.Databases); err != nil && notOurs(err) == nil {
		return err
	}
	return endRetention(ctx, run, p.Registry)
}

// Residue names the tenant.
func (StartRetention) Residue(run *pipeline.Run) string {
	return "tenant " + string(run.Job.Slug) + " is restricted"
}

// ReadmitTenant brings an offboarding tenant back to what it was.
type ReadmitTenant struct {
	Registry  OffboardRegistry
	Databases OffboardDatabases
	// Half a readmission is finished by a retry, not taken back.
	nothingToUndo
}

// Name returns PhaseTenantReadmitted.
func (ReadmitTenant) Name() tenancy.PhaseName { return tenancy.PhaseTenantReadmitted }

// Do opens the database before the product's own doors. It fails with
// CodePartialState if the database is gone: half a purge cannot be taken back.
func (p ReadmitTenant) Do(ctx context.Context, run *pipeline.Run) error {
	slug := run.Job.Slug
	state, err := p.Databases.Inspect(ctx, *run.Job.Server, slug)
	if err != nil {
		return fmt.Errorf("cannot look up database %s: %w", slug.DatabaseName(), err)
	}
	if !state.Database || len(state.Roles) < 2 {
		return tenancy.Errorf(tenancy.CodePartialState,
			"The database %s on %s or one of its roles is gone, so the tenant cannot be brought back.", slug.DatabaseName(), run.Job.Server.Name)
	}
	if err := readmit(ctx, run, p.Databases); err != nil {
		return err
	}
	return endRetention(ctx, run, p.Registry)
}

func readmit(ctx context.Context, run *pipeline.Run, databases OffboardDatabases) error {
	if err := databases.SetAccess(ctx, *run.Job.Server, run.Job.Slug, tenantOwnership(run), tenancy.AccessFull); err != nil {
		return fmt.Errorf("cannot let tenant %s in again: %w", run.Job.Slug, err)
	}
	return nil
}

func endRetention(ctx context.Context, run *pipeline.Run, registry OffboardRegistry) error {
	if err := registry.EndRetention(ctx, run.Lease); err != nil {
		return fmt.Errorf("cannot bring tenant %s back: %w", run.Job.Slug, err)
	}
	return nil
}
