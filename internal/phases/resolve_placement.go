package phases

import (
	"context"
	"fmt"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// ResolvePlacement chooses the tenant's server and reserves a place there. A
// second Do finds the reservation of the first.
type ResolvePlacement struct {
	Registry Registry
	Choose   func(loads []tenancy.ServerLoad, name string) (tenancy.DBServer, error)
}

// Name returns PhasePlacementResolved.
func (ResolvePlacement) Name() tenancy.PhaseName { return tenancy.PhasePlacementResolved }

// Do fails with CodeNoCapacity or CodeDBServerNotFound.
func (p ResolvePlacement) Do(ctx context.Context, run *pipeline.Run) error {
	server, err := p.Registry.ReservePlacement(ctx, run.Lease, func(loads []tenancy.ServerLoad) (tenancy.DBServer, error) {
		return p.Choose(loads, run.Job.ServerName)
	})
	if err != nil {
		return fmt.Errorf("cannot place tenant %s: %w", run.Job.Slug, err)
	}
	run.Job.Server = &server
	run.Detail = map[string]any{"dbServer": server.Name}
	return nil
}

// Undo frees the place.
func (p ResolvePlacement) Undo(ctx context.Context, run *pipeline.Run) error {
	if err := p.Registry.FreePlacement(ctx, run.Lease); err != nil {
		return fmt.Errorf("cannot free the place of tenant %s: %w", run.Job.Slug, err)
	}
	return nil
}
