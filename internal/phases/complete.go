package phases

import (
	"context"
	"fmt"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// Complete settles the job and makes its work visible in one transaction: the
// tenant becomes active, the audit row is written, the invitation is queued. A
// dry run only settles.
type Complete struct {
	Registry Registry
	// A job that got here is complete, or nothing of this phase happened.
	nothingToUndo
}

// Name returns PhaseComplete.
func (Complete) Name() tenancy.PhaseName { return tenancy.PhaseComplete }

// Records says that what becomes visible comes with the journal.
func (Complete) Records() {}

// Do settles the job.
func (p Complete) Do(ctx context.Context, run *pipeline.Run) error {
	if err := p.Registry.CompleteProvision(ctx, run.Lease, run.Progress()); err != nil {
		return fmt.Errorf("cannot complete the job of tenant %s: %w", run.Job.Slug, err)
	}
	return nil
}
