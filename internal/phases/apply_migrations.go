package phases

import (
	"context"
	"fmt"
	"time"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// ApplyMigrations brings the tenant's database to the current schema. A second
// Do goes on where the first one stopped; a migration that was cut off in its
// middle makes the database, which holds nothing yet, be made anew.
type ApplyMigrations struct {
	Databases Databases
	Secrets   Secrets
	// What migrations made goes with the database.
	nothingToUndo
}

// Name returns PhaseMigrationsApplied.
func (ApplyMigrations) Name() tenancy.PhaseName { return tenancy.PhaseMigrationsApplied }

// Limit allows for sets of several hundred files.
func (ApplyMigrations) Limit() time.Duration { return migrateLimit }

// Do fails with CodeMigrationsFailed; the message carries the version and
// Postgres' error, not the SQL.
func (p ApplyMigrations) Do(ctx context.Context, run *pipeline.Run) error {
	slug := run.Job.Slug
	appURL, err := credential(ctx, p.Secrets, run)
	if err != nil {
		return fmt.Errorf("cannot read secret %s: %w", slug.SecretName(), err)
	}
	version, err := p.Databases.Migrate(ctx, *run.Job.Server, slug, run.Job.Ownership(), appURL)
	if err != nil {
		return fmt.Errorf("cannot migrate database %s: %w", slug.DatabaseName(), err)
	}
	run.Detail = map[string]any{"schemaVersion": version}
	return nil
}
