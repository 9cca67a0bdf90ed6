package phases

import (
	"context"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// DryRun ends the work of a dry run: it tells what would be made, and makes
// nothing.
type DryRun struct{ nothingToUndo }

// Name returns PhaseDryRun.
func (DryRun) Name() tenancy.PhaseName { return tenancy.PhaseDryRun }

// Do records the names that follow from the slug.
func (DryRun) Do(_ context.Context, run *pipeline.Run) error {
	slug := run.Job.Slug
	run.Detail = map[string]any{
		"dbServer": run.Job.Server.Name, "database": slug.DatabaseName(), "secretRef": slug.SecretName(),
	}
	return nil
}
