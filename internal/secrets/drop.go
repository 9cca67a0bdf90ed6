package secrets

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Drop removes owner's secret: it deletes it and, where the vault allows that,
// purges it. An absent secret is fine. purged is false if a soft-deleted secret
// still has the name, because purging is not allowed to us or because it is
// someone else's. A live secret of another tenant is left alone and gives
// CodePartialState; other failures are as Get's.
func (v *Vault) Drop(ctx context.Context, name string, owner tenancy.Ownership) (purged bool, err error) {
	if owner.TenantID == "" {
		return false, tenancy.Errorf(tenancy.CodeInternal, "Secret %s was to be dropped without an owner.", name)
	}
	d := dropping{vault: v, name: name, owner: owner}
	err = v.untilSettled(ctx, name, d.step)
	return d.purged && err == nil, err
}

// dropping is one Drop under way.
type dropping struct {
	vault *Vault
	name  string
	owner tenancy.Ownership

	deleting bool // we asked to delete it and have not seen it deleted
	deleted  bool // we asked to delete it
	purging  bool
	purged   bool
}

func (d *dropping) step(ctx context.Context) (next, error) {
	seen, err := d.vault.look(ctx, d.name)
	if err != nil {
		return settled, err
	}
	switch seen.presence {
	case live:
		if seen.mark.owner.TenantID != d.owner.TenantID && !seen.mark.released {
			return settled, notOurs(d.name, seen)
		}
		return d.delete(ctx, seen)
	case deleted:
		d.deleting = false
		if seen.mark.owner.TenantID != d.owner.TenantID && !d.deleted {
			return settled, nil
		}
		return d.purge(ctx)
	}
	if d.deleting {
		return wait, nil
	}
	d.purged = true
	return settled, nil
}

// delete gives the secret up before it deletes it, so that its next finder may
// take it even if that one crashes between recovering and setting it.
func (d *dropping) delete(ctx context.Context, seen sighting) (next, error) {
	client := d.vault.client
	if !seen.mark.released {
		seen.mark.released = true
		params := azsecrets.UpdateSecretPropertiesParameters{Tags: seen.mark.tags()}
		if _, err := client.UpdateSecretProperties(ctx, d.name, seen.version, params, nil); err != nil {
			return later(err, "release", d.name)
		}
	}
	// Before the answer, which may be lost: the retry's 404 is then our doing.
	d.deleting, d.deleted = true, true
	if _, err := client.DeleteSecret(ctx, d.name, nil); err != nil {
		return later(err, "delete", d.name)
	}
	return again, nil
}

func (d *dropping) purge(ctx context.Context) (next, error) {
	if d.purging {
		return wait, nil
	}
	if _, err := d.vault.client.PurgeDeletedSecret(ctx, d.name, nil); err != nil {
		switch status(err) {
		case 403, 405:
			// Purge protection, or a role without the permission: Key Vault
			// purges it when its retention ends.
			return settled, nil
		}
		return later(err, "purge", d.name)
	}
	d.purging = true
	return again, nil
}
