package secrets

import (
	"context"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Inspect returns the state of a name: the zero state if nothing has it.
// It fails as Get, but never with CodeNotFound.
func (v *Vault) Inspect(ctx context.Context, name string) (tenancy.SecretState, error) {
	seen, err := v.look(ctx, name)
	if err != nil {
		return tenancy.SecretState{}, err
	}
	return tenancy.SecretState{
		Exists:  seen.presence == live && !seen.mark.released,
		Deleted: seen.presence == deleted || seen.presence == live && seen.mark.released,
		Managed: seen.mark.managed,
		Owner:   seen.mark.owner,
	}, nil
}

// presence is where a name stands. A secret on its way from one to another is
// absent: neither call finds it.
type presence int

const (
	absent presence = iota
	live
	deleted
)

type sighting struct {
	presence presence
	mark     mark
	value    string
	version  string
}

func (v *Vault) look(ctx context.Context, name string) (sighting, error) {
	got, err := v.client.GetSecret(ctx, name, "", nil)
	if err == nil {
		return sighting{presence: live, mark: markOf(got.Tags), value: text(got.Value), version: versionOf(got.ID)}, nil
	}
	if status(err) != 404 {
		return sighting{}, failure(err, "read", name)
	}
	gone, err := v.client.GetDeletedSecret(ctx, name, nil)
	if err == nil {
		return sighting{presence: deleted, mark: markOf(gone.Tags)}, nil
	}
	if status(err) != 404 {
		return sighting{}, failure(err, "read deleted", name)
	}
	return sighting{presence: absent}, nil
}
