package secrets_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func drop(t *testing.T, f *fixture, name string, owner tenancy.Ownership) bool {
	t.Helper()
	purged, err := f.Drop(t.Context(), name, owner)
	if err != nil {
		t.Fatalf("Drop %s: %v", name, err)
	}
	return purged
}

// left is what a Drop by owner leaves of a secret of owner.
func (f *fixture) left(owner tenancy.Ownership) tenancy.SecretState {
	if f.purges {
		return tenancy.SecretState{}
	}
	return tenancy.SecretState{Deleted: true, Managed: true, Owner: owner}
}

func dropAbsent(t *testing.T, f *fixture) {
	if !drop(t, f, name, acme) {
		t.Error("something is left of nothing")
	}
}

func dropOurs(t *testing.T, f *fixture) {
	ensure(t, f, name, acme, "v")
	// Another job of the same tenant, such as its offboarding.
	if got := drop(t, f, name, acmeNext); got != f.purges {
		t.Errorf("purged %v", got)
	}
	if diff := cmp.Diff(f.left(acme), f.inspect(t, name)); diff != "" {
		t.Errorf("state: -want +got:\n%s", diff)
	}
}

func dropLeavesOthersAlone(t *testing.T, f *fixture) {
	for name, tags := range map[string]map[string]string{
		"stranger":       nil,
		"other-tool":     {"managed-by": "terraform", "tenant-id": acme.TenantID.String()},
		"platform":       {"managed-by": "tenantry"},
		"other-tenant":   tagsOf(other),
		"unmanaged-tags": {"tenant-id": acme.TenantID.String(), "released": "true"},
	} {
		f.put(t, name, "theirs", tags)
		purged, err := f.Drop(t.Context(), name, acme)
		if got := tenancy.CodeOf(err); got != tenancy.CodePartialState || purged {
			t.Errorf("%s: %v, %v", name, purged, err)
		}
		if tags == nil {
			tags = map[string]string{}
		}
		if diff := cmp.Diff(tags, f.tags(t, name)); diff != "" {
			t.Errorf("%s: tags: -want +got:\n%s", name, diff)
		}
	}
}

func dropSoftDeleted(t *testing.T, f *fixture) {
	ensure(t, f, name, acme, "v")
	f.remove(t, name)
	f.awaitDeleted(t, name)
	if got := drop(t, f, name, acme); got != f.purges {
		t.Errorf("purged %v", got)
	}
	if diff := cmp.Diff(f.left(acme), f.inspect(t, name)); diff != "" {
		t.Errorf("state: -want +got:\n%s", diff)
	}
}

func dropSparesForeignDeleted(t *testing.T, f *fixture) {
	f.put(t, name, "theirs", tagsOf(other))
	f.remove(t, name)
	f.awaitDeleted(t, name)
	if drop(t, f, name, acme) {
		t.Error("purged a stranger's secret")
	}
	if diff := cmp.Diff(tenancy.SecretState{Deleted: true, Managed: true, Owner: other}, f.inspect(t, name)); diff != "" {
		t.Errorf("state: -want +got:\n%s", diff)
	}
}

// dropAfterHalfAnEnsure undoes an Ensure that crashed after it had recovered an
// earlier tenant's secret.
func dropAfterHalfAnEnsure(t *testing.T, f *fixture) {
	tags := tagsOf(other)
	tags["released"] = "true"
	f.put(t, name, "old", tags)
	if got := drop(t, f, name, acme); got != f.purges {
		t.Errorf("purged %v", got)
	}
	if diff := cmp.Diff(f.left(other), f.inspect(t, name)); diff != "" {
		t.Errorf("state: -want +got:\n%s", diff)
	}
}

func repeats(t *testing.T, f *fixture) {
	ensure(t, f, name, acme, "one")
	ensure(t, f, name, acme, "not used")
	drop(t, f, name, acme)
	drop(t, f, name, acme)
	if got := ensure(t, f, name, other, "two"); got != "two" {
		t.Errorf("value %q", got)
	}
	if diff := cmp.Diff(tagsOf(other), f.tags(t, name)); diff != "" {
		t.Errorf("tags: -want +got:\n%s", diff)
	}
}
