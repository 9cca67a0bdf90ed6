package phases

import (
	"context"
	"fmt"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// RegisterTenant writes the tenant's master row, as provisioning: nobody can use
// it before Complete. In the same transaction the reserved place becomes the
// tenant's.
type RegisterTenant struct{ Registry Registry }

// Name returns PhaseMasterRegistered.
func (RegisterTenant) Name() tenancy.PhaseName { return tenancy.PhaseMasterRegistered }

// Records says that the row comes with the journal.
func (RegisterTenant) Records() {}

// Do fails with CodePartialState if another tenant's row appeared.
func (p RegisterTenant) Do(ctx context.Context, run *pipeline.Run) error {
	version, _ := run.DetailOf(tenancy.PhaseMigrationsApplied)["schemaVersion"].(string)
	run.Detail = map[string]any{"tenantId": run.Job.TenantID}
	if err := p.Registry.RegisterTenant(ctx, run.Lease, run.Job.Slug, version, run.Progress()); err != nil {
		return fmt.Errorf("cannot register tenant %s: %w", run.Job.Slug, err)
	}
	return nil
}

// Undo removes the row.
func (p RegisterTenant) Undo(ctx context.Context, run *pipeline.Run) error {
	if err := p.Registry.UnregisterTenant(ctx, run.Lease); err != nil {
		return fmt.Errorf("cannot remove the master row of tenant %s: %w", run.Job.Slug, err)
	}
	return nil
}
