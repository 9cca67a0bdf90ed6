package secrets

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Tags on every secret we write; the package comment says what they prove.
const (
	tagManagedBy = "managed-by"
	tagTenantID  = "tenant-id"
	tagJobID     = "job-id"
	tagReleased  = "released"

	managedByUs = "tenantry"
)

// Secret is the latest version of a live secret.
type Secret struct {
	Value   string
	Version string
	// Managed says that tenantry wrote it.
	Managed bool
	// Owner is whose it is; zero unless it was written for a tenant.
	Owner tenancy.Ownership
}

// Get returns a live secret. It fails with CodeNotFound if there is none, also
// if it is soft-deleted, and with CodeDependencyUnavailable otherwise, which is
// transient unless the vault refused us.
func (v *Vault) Get(ctx context.Context, name string) (Secret, error) {
	got, err := v.client.GetSecret(ctx, name, "", nil)
	if err != nil {
		return Secret{}, failure(err, "read", name)
	}
	mark := markOf(got.Tags)
	return Secret{
		Value:   text(got.Value),
		Version: versionOf(got.ID),
		Managed: mark.managed,
		Owner:   mark.owner,
	}, nil
}

// Value returns the value of a live secret, whoever wrote it; it fails as Get.
func (v *Vault) Value(ctx context.Context, name string) (string, error) {
	secret, err := v.Get(ctx, name)
	return secret.Value, err
}

// mark is what the tags of a secret say.
type mark struct {
	managed  bool
	released bool
	owner    tenancy.Ownership
}

func markOf(tags map[string]*string) mark {
	m := mark{managed: text(tags[tagManagedBy]) == managedByUs}
	if m.managed {
		m.released = text(tags[tagReleased]) != ""
		m.owner = tenancy.Ownership{
			TenantID: tenancy.TenantID(text(tags[tagTenantID])),
			JobID:    tenancy.JobID(text(tags[tagJobID])),
		}
	}
	return m
}

// tags is the inverse of markOf.
func (m mark) tags() map[string]*string {
	tags := map[string]*string{}
	add := func(key, value string) {
		if value != "" {
			tags[key] = &value
		}
	}
	if m.managed {
		add(tagManagedBy, managedByUs)
	}
	if m.released {
		add(tagReleased, "true")
	}
	add(tagTenantID, m.owner.TenantID.String())
	add(tagJobID, m.owner.JobID.String())
	return tags
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func versionOf(id *azsecrets.ID) string {
	if id == nil {
		return ""
	}
	return id.Version()
}
