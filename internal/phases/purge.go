package phases

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// The phases of a purge after ProveOwnership. None can be undone; each tolerates
// the absence of what it removes, so a purge can be repeated from anywhere.

// backupLimit allows for a large tenant's dump.
const backupLimit = 6 * time.Hour

// TakeBackup writes the tenant's final dump, unless the operator wants none or
// there is no database left.
type TakeBackup struct {
	Registry  OffboardRegistry
	Databases OffboardDatabases
	// Dir is where the dump goes.
	Dir string
	nothingToUndo
}

// Name returns PhaseBackupTaken.
func (TakeBackup) Name() tenancy.PhaseName { return tenancy.PhaseBackupTaken }

// Limit allows for a large database.
func (TakeBackup) Limit() time.Duration { return backupLimit }

// Do writes one file for each server that has a database of the name. The name of
// the file follows from the job, so a second Do writes it anew. What an earlier
// attempt of the job dumped stays on record: it is all there is of what that
// attempt dropped.
func (p TakeBackup) Do(ctx context.Context, run *pipeline.Run) error {
	if run.Job.Offboarding.NoBackup {
		run.Detail = map[string]any{"backup": "none, as asked"}
		return nil
	}
	servers, err := provenServers(ctx, run, p.Registry)
	if err != nil {
		return err
	}
	backups := map[string]any{}
	for _, rec := range run.Job.Phases {
		if earlier, ok := rec.Detail["backups"].(map[string]any); ok && rec.Name == p.Name() {
			maps.Copy(backups, earlier)
		}
	}
	for _, server := range servers {
		name := fmt.Sprintf("%s_%s_%s.dump", run.Job.Slug, run.Job.ID, server.Name)
		if p.Dir == "" {
			return noBackupDir()
		}
		b, taken, err := p.Databases.Backup(ctx, server, run.Job.Slug, p.Dir, name)
		if err != nil {
			return fmt.Errorf("cannot back up tenant %s: %w", run.Job.Slug, err)
		}
		if taken {
			backups[server.Name] = b
		}
	}
	run.Detail = map[string]any{"backups": backups}
	return nil
}

// noBackupDir is transient: another worker may have BACKUP_DIR and take the job on a
// later try.
func noBackupDir() error {
	return tenancy.Unavailable(nil,
		"BACKUP_DIR is not set where this job runs, so there is nowhere for the final dump; set it, or purge without a backup.")
}

// DropDatabase drops database and roles, on every server that had some.
type DropDatabase struct {
	Registry  OffboardRegistry
	Databases OffboardDatabases
	nothingToUndo
}

// Name returns PhaseDatabaseDropped.
func (DropDatabase) Name() tenancy.PhaseName { return tenancy.PhaseDatabaseDropped }

// Limit allows for a busy server.
func (DropDatabase) Limit() time.Duration { return createLimit }

// Do drops what ProveOwnership marked.
func (p DropDatabase) Do(ctx context.Context, run *pipeline.Run) error {
	servers, err := provenServers(ctx, run, p.Registry)
	if err != nil {
		return err
	}
	for _, server := range servers {
		if err := p.Databases.DropDatabase(ctx, server, run.Job.Slug, tenantOwnership(run)); err != nil {
			return fmt.Errorf("cannot drop database %s on %s: %w", run.Job.Slug.DatabaseName(), server.Name, err)
		}
	}
	return nil
}

// DeleteSecret deletes the tenant's secret and purges it where the vault allows.
type DeleteSecret struct {
	Registry OffboardRegistry
	Secrets  OffboardSecrets
	nothingToUndo
}

// Name returns PhaseSecretDeleted.
func (DeleteSecret) Name() tenancy.PhaseName { return tenancy.PhaseSecretDeleted }

// Limit is SetSecret's.
func (DeleteSecret) Limit() time.Duration { return secretLimit }

// Do records when the vault will purge a secret that we may not purge.
func (p DeleteSecret) Do(ctx context.Context, run *pipeline.Run) error {
	name := run.Job.Slug.SecretName()
	purged, err := p.Secrets.Drop(ctx, name, tenantOwnership(run))
	if err != nil {
		return fmt.Errorf("cannot delete secret %s: %w", name, err)
	}
	run.Detail = map[string]any{"secretPurged": purged}
	if purged {
		return nil
	}
	date, err := p.Secrets.PurgeDate(ctx, name)
	if err != nil {
		return fmt.Errorf("cannot look up the purge date of secret %s: %w", name, err)
	}
	if !date.IsZero() {
		run.Detail["secretPurgedBy"] = date.UTC().Format(time.RFC3339)
	}
	return nil
}

// UnregisterTenant removes the master row, last of all: as long as there is
// anything else, the row says so.
type UnregisterTenant struct {
	Registry OffboardRegistry
	nothingToUndo
}

// Name returns PhaseMasterUnregistered.
func (UnregisterTenant) Name() tenancy.PhaseName { return tenancy.PhaseMasterUnregistered }

// Do tolerates the absence of the row.
func (p UnregisterTenant) Do(ctx context.Context, run *pipeline.Run) error {
	if err := p.Registry.RemoveTenant(ctx, run.Lease); err != nil {
		return fmt.Errorf("cannot remove the master row of tenant %s: %w", run.Job.Slug, err)
	}
	return nil
}
