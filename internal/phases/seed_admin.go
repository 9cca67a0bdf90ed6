package phases

import (
	"context"
	"fmt"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// SeedAdmin makes the tenant's first admin, who has no password and must choose
// one. The invitation, sent once the job is complete, is the first credential.
type SeedAdmin struct {
	Databases Databases
	// The admin goes with the database.
	nothingToUndo
}

// Name returns PhaseAdminSeeded.
func (SeedAdmin) Name() tenancy.PhaseName { return tenancy.PhaseAdminSeeded }

// Do finds the admin of an earlier Do.
func (p SeedAdmin) Do(ctx context.Context, run *pipeline.Run) error {
	if err := p.Databases.SeedAdmin(ctx, *run.Job.Server, run.Job.Slug, run.Job.AdminEmail, run.Job.AdminEmail); err != nil {
		return fmt.Errorf("cannot seed the admin of tenant %s: %w", run.Job.Slug, err)
	}
	return nil
}
