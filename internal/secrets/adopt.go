package secrets

import (
	"context"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Adopt marks a live secret as owner's, whoever wrote it, so that it can be
// dropped. It is for an operator who has seen what is there. An absent secret is
// fine.
func (v *Vault) Adopt(ctx context.Context, name string, owner tenancy.Ownership) error {
	return v.untilSettled(ctx, name, func(ctx context.Context) (next, error) {
		seen, err := v.look(ctx, name)
		if err != nil || seen.presence != live || seen.mark.owner.TenantID == owner.TenantID {
			return settled, err
		}
		params := azsecrets.UpdateSecretPropertiesParameters{Tags: mark{managed: true, owner: owner}.tags()}
		if _, err := v.client.UpdateSecretProperties(ctx, name, seen.version, params, nil); err != nil {
			return later(err, "adopt", name)
		}
		return settled, nil
	})
}

// PurgeDate returns when Key Vault purges a soft-deleted secret by itself; zero
// if there is none of that name.
func (v *Vault) PurgeDate(ctx context.Context, name string) (time.Time, error) {
	gone, err := v.client.GetDeletedSecret(ctx, name, nil)
	switch {
	case status(err) == 404:
		return time.Time{}, nil
	case err != nil:
		return time.Time{}, failure(err, "read deleted", name)
	case gone.ScheduledPurgeDate == nil:
		return time.Time{}, nil
	}
	return *gone.ScheduledPurgeDate, nil
}
