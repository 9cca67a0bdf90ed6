package phases

import (
	"context"
	"fmt"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// ResolvePlacement chooses the tenant's server and reserves a place there, and with
// it a database that was prepared ahead, if there is one. A second Do finds what the
// first one reserved.
type ResolvePlacement struct {
	Registry Registry
	Choose   func(loads []tenancy.ServerLoad, name string) (tenancy.DBServer, error)
	Template func() string
}

// Name returns PhasePlacementResolved.
func (ResolvePlacement) Name() tenancy.PhaseName { return tenancy.PhasePlacementResolved }

// Do fails with CodeNoCapacity or CodeDBServerNotFound.
func (p ResolvePlacement) Do(ctx context.Context, run *pipeline.Run) error {
	template := ""
	if p.Template != nil {
		template = p.Template()
	}
	place, err := p.Registry.ReservePlacement(ctx, run.Lease, template, func(loads []tenancy.ServerLoad) (tenancy.DBServer, error) {
		return p.Choose(loads, run.Job.ServerName)
	})
	if err != nil {
		return fmt.Errorf("cannot place tenant %s: %w", run.Job.Slug, err)
	}
	run.Job.Server, run.Servers = &place.Server, place.Servers
	run.Detail = map[string]any{"dbServer": place.Server.Name}
	switch {
	case place.Warm != "":
		run.Detail[DetailWarmDatabase] = string(place.Warm)
	case place.Missed:
		run.Detail[DetailWarmPool] = "empty"
	}
	return nil
}

// What is recorded with the phases about the pool of prepared databases.
const (
	// DetailWarmDatabase is what ResolvePlacement has claimed.
	DetailWarmDatabase = "warmDatabase"
	// DetailWarmPool is "empty" if it would have claimed one, and none was ready.
	DetailWarmPool = "warmPool"
	// DetailWarm says that CreateDatabase took what was claimed.
	DetailWarm = "warm"
)

// claimed is the prepared database that is the job's, if any.
func claimed(run *pipeline.Run) tenancy.WarmDatabaseID {
	id, _ := run.DetailOf(tenancy.PhasePlacementResolved)[DetailWarmDatabase].(string)
	return tenancy.WarmDatabaseID(id)
}

// Undo frees the place.
func (p ResolvePlacement) Undo(ctx context.Context, run *pipeline.Run) error {
	if err := p.Registry.FreePlacement(ctx, run.Lease); err != nil {
		return fmt.Errorf("cannot free the place of tenant %s: %w", run.Job.Slug, err)
	}
	return nil
}
