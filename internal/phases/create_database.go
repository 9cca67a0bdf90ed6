package phases

import (
	"context"
	"fmt"
	"time"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// CreateDatabase makes the tenant's roles and its database on the server that
// ResolvePlacement chose, or renames those that it has claimed there. Their names
// follow from the slug, so a second Do finds the first one's, and a lost Undo can
// be repeated.
type CreateDatabase struct {
	Databases Databases
	Secrets   Secrets
}

// Name returns PhaseDatabaseCreated.
func (CreateDatabase) Name() tenancy.PhaseName { return tenancy.PhaseDatabaseCreated }

// Limit allows for a template to be built or waited for, and for a busy server's slow
// copy.
func (CreateDatabase) Limit() time.Duration { return copyLimit }

// Do fails with CodePartialState if the names hold something of someone else.
func (p CreateDatabase) Do(ctx context.Context, run *pipeline.Run) error {
	slug := run.Job.Slug
	appURL, err := credential(ctx, p.Secrets, run)
	if err != nil {
		return fmt.Errorf("cannot read secret %s: %w", slug.SecretName(), err)
	}
	origin, err := p.Databases.EnsureDatabase(ctx, *run.Job.Server, slug, run.Job.Ownership(), appURL, tenancy.DatabaseSource{Warm: claimed(run), Bulk: run.Job.Bulk})
	if err != nil {
		return fmt.Errorf("cannot create database %s: %w", slug.DatabaseName(), err)
	}
	run.Detail = map[string]any{"database": slug.DatabaseName()}
	if origin.Template != "" {
		run.Detail["template"] = origin.Template
	}
	if origin.Warm {
		run.Detail[DetailWarm] = true
	}
	if origin.NoTemplate != "" {
		run.Detail["noTemplate"] = origin.NoTemplate
	}
	return nil
}

// Undo drops the database and the roles. It leaves what is someone else's, and
// fails with CodePartialState only if that keeps something of the tenant's own
// from being dropped.
func (p CreateDatabase) Undo(ctx context.Context, run *pipeline.Run) error {
	slug := run.Job.Slug
	err := p.Databases.DropDatabase(ctx, *run.Job.Server, slug, run.Job.Ownership())
	if notOurs(err) != nil {
		left, err2 := p.Databases.Inspect(ctx, *run.Job.Server, slug)
		if err2 != nil {
			err = err2
		} else if tenant := run.Job.TenantID; left.DatabaseOwner.TenantID != tenant && left.RolesOwner.TenantID != tenant {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("cannot drop database %s: %w", slug.DatabaseName(), err)
	}
	return nil
}

// Residue names the database and where it is.
func (CreateDatabase) Residue(run *pipeline.Run) string {
	return fmt.Sprintf("database %s and its roles on %s", run.Job.Slug.DatabaseName(), run.Job.Server.Name)
}
