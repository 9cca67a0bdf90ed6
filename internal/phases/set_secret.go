package phases

import (
	"context"
	"fmt"
	"time"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// SetSecret puts the tenant's application URL, with a fresh password or that of the
// prepared database it has claimed, into the vault. It comes before the database,
// so that a database never has a password nobody knows. A second Do finds the first
// one's secret and keeps its value.
type SetSecret struct {
	Secrets     Secrets
	Databases   Databases
	NewPassword func() string
}

// Name returns PhaseSecretSet.
func (SetSecret) Name() tenancy.PhaseName { return tenancy.PhaseSecretSet }

// Limit is beyond the time the vault's client waits for Key Vault to finish what
// it does asynchronously, so that its own, transient error is seen.
func (SetSecret) Limit() time.Duration { return secretLimit }

// Do fails with CodePartialState if the name holds a secret of someone else.
func (p SetSecret) Do(ctx context.Context, run *pipeline.Run) error {
	name := run.Job.Slug.SecretName()
	set := p.Secrets.Ensure
	if run.Unclaimed {
		set = p.Secrets.Create
	}
	value, err := set(ctx, name, run.Job.Ownership(), func() (string, error) {
		password := p.Databases.WarmPassword(claimed(run))
		if password == "" {
			password = p.NewPassword()
		}
		return p.Databases.AppURL(ctx, *run.Job.Server, run.Job.Slug, password)
	})
	if err != nil {
		return fmt.Errorf("cannot set secret %s: %w", name, err)
	}
	run.Credential, run.Unclaimed = value, false
	run.Detail = map[string]any{"secretRef": name}
	return nil
}

// Undo deletes the secret, and purges it where the vault allows.
func (p SetSecret) Undo(ctx context.Context, run *pipeline.Run) error {
	name := run.Job.Slug.SecretName()
	if _, err := p.Secrets.Drop(ctx, name, run.Job.Ownership()); err != nil && notOurs(err) == nil {
		return fmt.Errorf("cannot delete secret %s: %w", name, err)
	}
	run.Credential = ""
	return nil
}

// Residue names the secret.
func (SetSecret) Residue(run *pipeline.Run) string { return "secret " + run.Job.Slug.SecretName() }

// notOurs returns err if it says that what stands under the name was made by
// someone else. To an Undo that means that nothing of this job is left.
func notOurs(err error) error {
	if tenancy.CodeOf(err) == tenancy.CodePartialState {
		return err
	}
	return nil
}
