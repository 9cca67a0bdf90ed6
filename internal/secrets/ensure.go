package secrets

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Ensure makes name hold a value for owner and returns the value that stands.
// A live secret of the same tenant and job keeps its value; otherwise value is
// called, once, and what it returns is set. A soft-deleted secret that tenantry
// wrote is recovered first. A live or soft-deleted secret of anyone else is left
// alone and gives CodePartialState; other failures are as Get's. An error of
// value is returned as it is.
func (v *Vault) Ensure(ctx context.Context, name string, owner tenancy.Ownership, value func() (string, error)) (string, error) {
	return v.ensure(ctx, name, owner, false, value)
}

// Create is Ensure for a name of which the caller has just seen that nothing has it:
// it does not look before it sets. Whatever took the name since gets a new version,
// as what takes it between Ensure's look and its set would.
func (v *Vault) Create(ctx context.Context, name string, owner tenancy.Ownership, value func() (string, error)) (string, error) {
	return v.ensure(ctx, name, owner, true, value)
}

func (v *Vault) ensure(ctx context.Context, name string, owner tenancy.Ownership, unclaimed bool, value func() (string, error)) (string, error) {
	if owner.TenantID == "" || owner.JobID == "" {
		return "", tenancy.Errorf(tenancy.CodeInternal, "Secret %s was to be set without an owner.", name)
	}
	want := mark{managed: true, owner: owner}
	keep := func(seen sighting) bool { return seen.mark == want }
	return v.claim(ctx, name, want, unclaimed, keep, value)
}

// Set makes name hold value, as a secret of the platform rather than of a
// tenant. A secret that already does is left as it is; a soft-deleted one that
// tenantry wrote is recovered first. A tenant's or a stranger's secret gives
// CodePartialState; other failures are as Get's.
func (v *Vault) Set(ctx context.Context, name, value string) error {
	want := mark{managed: true}
	keep := func(seen sighting) bool { return seen.mark == want && seen.value == value }
	_, err := v.claim(ctx, name, want, false, keep, func() (string, error) { return value, nil })
	return err
}

// claim looks and steps until a live secret that keep accepts has the name, and
// returns its value. It spares the first look if the name is unclaimed. What it
// sets it reads back, because Set has no precondition: of two writers for the same
// owner both return the later value.
func (v *Vault) claim(ctx context.Context, name string, want mark, unclaimed bool, keep func(sighting) bool, value func() (string, error)) (string, error) {
	var standing string
	var fresh *string
	recovered, written := false, false
	err := v.untilSettled(ctx, name, func(ctx context.Context) (next, error) {
		var seen sighting
		if !unclaimed {
			var err error
			if seen, err = v.look(ctx, name); err != nil {
				return settled, err
			}
		}
		unclaimed = false
		switch {
		case seen.presence == live && keep(seen):
			standing = seen.value
			return settled, nil
		case seen.presence == live && !seen.takenBy(want, recovered), seen.presence == deleted && !seen.mark.managed:
			return settled, notOurs(name, seen)
		case written: // and not to be seen yet
			return wait, nil
		case seen.presence == deleted:
			// Before the answer, which may be lost: the secret we saw given up
			// is the one that comes back.
			recovered = true
			if _, err := v.client.RecoverDeletedSecret(ctx, name, nil); err != nil {
				return later(err, "recover", name)
			}
			return wait, nil
		}
		if fresh == nil {
			made, err := value()
			if err != nil {
				return settled, err
			}
			fresh = &made
		}
		if _, err := v.client.SetSecret(ctx, name, azsecrets.SetSecretParameters{Value: fresh, Tags: want.tags()}, nil); err != nil {
			// 409: the name is soft-deleted, or on its way there or back.
			return later(err, "set", name)
		}
		written = true
		return again, nil
	})
	return standing, err
}

// takenBy reports whether a live secret may get a new version under want: it
// already has that mark, it was given up, or we asked for its recovery.
func (s sighting) takenBy(want mark, recovered bool) bool {
	return s.mark.managed && (s.mark == want || s.mark.released || recovered)
}

func notOurs(name string, seen sighting) error {
	where := "exists in Key Vault"
	if seen.presence == deleted {
		where = "is soft-deleted in Key Vault"
	}
	whose := "was not made by tenantry"
	if seen.mark.managed {
		whose = "belongs to something else (tenant " + orDefault(seen.mark.owner.TenantID.String(), "none") +
			", job " + orDefault(seen.mark.owner.JobID.String(), "none") + ")"
	}
	return tenancy.Errorf(tenancy.CodePartialState, "Secret %s %s and %s; it was left as it is.", name, where, whose)
}
