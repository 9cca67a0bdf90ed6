package secrets_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/secrets"
	"github.com/tenantry/tenantry/internal/tenancy"
)

const name = "tenant-db-acme"

func absentIsNotFound(t *testing.T, f *fixture) {
	_, err := f.Value(t.Context(), name)
	if got := tenancy.CodeOf(err); got != tenancy.CodeNotFound {
		t.Errorf("Value: %v", err)
	}
	if diff := cmp.Diff(tenancy.SecretState{}, f.inspect(t, name)); diff != "" {
		t.Errorf("state: -want +got:\n%s", diff)
	}
}

func pingAnswers(t *testing.T, f *fixture) {
	if err := f.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func ensureSetsAndKeeps(t *testing.T, f *fixture) {
	var calls int
	for range 3 {
		got, err := f.Ensure(t.Context(), name, acme, fresh("postgres://first", &calls))
		if err != nil || got != "postgres://first" {
			t.Fatalf("Ensure: %q, %v", got, err)
		}
	}
	if calls != 1 {
		t.Errorf("value was called %d times", calls)
	}
	if diff := cmp.Diff(tagsOf(acme), f.tags(t, name)); diff != "" {
		t.Errorf("tags: -want +got:\n%s", diff)
	}
	got, err := f.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	want := secrets.Secret{Value: "postgres://first", Version: got.Version, Managed: true, Owner: acme}
	if diff := cmp.Diff(want, got); diff != "" || got.Version == "" {
		t.Errorf("Get: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(tenancy.SecretState{Exists: true, Managed: true, Owner: acme}, f.inspect(t, name)); diff != "" {
		t.Errorf("state: -want +got:\n%s", diff)
	}
}

// createSetsAndRecovers: the name may be another than the caller saw.
func createSetsAndRecovers(t *testing.T, f *fixture) {
	for _, before := range []func(){
		func() {},
		func() { f.remove(t, name) },
		func() { f.remove(t, name); f.awaitDeleted(t, name) },
	} {
		before()
		if got, err := f.Create(t.Context(), name, acme, fresh("postgres://new", nil)); err != nil || got != "postgres://new" {
			t.Fatalf("Create: %q, %v", got, err)
		}
		if diff := cmp.Diff(tagsOf(acme), f.tags(t, name)); diff != "" {
			t.Errorf("tags: -want +got:\n%s", diff)
		}
	}
}

func ensureLeavesOthersAlone(t *testing.T, f *fixture) {
	for name, tags := range map[string]map[string]string{
		"stranger":       nil,
		"other-tool":     {"managed-by": "terraform", "tenant-id": acme.TenantID.String(), "job-id": acme.JobID.String()},
		"platform":       {"managed-by": "tenantry"},
		"other-tenant":   tagsOf(other),
		"other-job":      tagsOf(acmeNext),
		"unmanaged-tags": {"tenant-id": acme.TenantID.String(), "job-id": acme.JobID.String(), "released": "true"},
	} {
		f.put(t, name, "theirs", tags)
		_, err := f.Ensure(t.Context(), name, acme, fresh("ours", nil))
		if got := tenancy.CodeOf(err); got != tenancy.CodePartialState || tenancy.IsTransient(err) {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := f.Value(t.Context(), name); got != "theirs" {
			t.Errorf("%s: is now %q, %v", name, got, err)
		}
	}
}

func ensureRecoversOurs(t *testing.T, f *fixture) {
	f.put(t, name, "old", tagsOf(other))
	f.remove(t, name)
	f.awaitDeleted(t, name)
	if diff := cmp.Diff(tenancy.SecretState{Deleted: true, Managed: true, Owner: other}, f.inspect(t, name)); diff != "" {
		t.Errorf("state: -want +got:\n%s", diff)
	}
	if got := ensure(t, f, name, acme, "new"); got != "new" {
		t.Errorf("value %q", got)
	}
	if diff := cmp.Diff(tagsOf(acme), f.tags(t, name)); diff != "" {
		t.Errorf("tags: -want +got:\n%s", diff)
	}
}

func ensureSparesForeignDeleted(t *testing.T, f *fixture) {
	f.put(t, name, "theirs", nil)
	f.remove(t, name)
	_, err := f.Ensure(t.Context(), name, acme, fresh("ours", nil))
	if got := tenancy.CodeOf(err); got != tenancy.CodePartialState {
		t.Fatalf("Ensure: %v", err)
	}
	if diff := cmp.Diff(tenancy.SecretState{Deleted: true}, f.inspect(t, name)); diff != "" {
		t.Errorf("state: -want +got:\n%s", diff)
	}
}

func ensureDuringDeletion(t *testing.T, f *fixture) {
	ensure(t, f, name, acme, "old")
	f.remove(t, name)
	// Recovered by this very Ensure or not: the job's own secret is kept.
	if got := ensure(t, f, name, acme, "new"); got != "old" && got != "new" {
		t.Errorf("value %q", got)
	}
	if diff := cmp.Diff(tenancy.SecretState{Exists: true, Managed: true, Owner: acme}, f.inspect(t, name)); diff != "" {
		t.Errorf("state: -want +got:\n%s", diff)
	}
}

// ensureTakesReleased is a crash between recovering and setting.
func ensureTakesReleased(t *testing.T, f *fixture) {
	tags := tagsOf(other)
	tags["released"] = "true"
	f.put(t, name, "old", tags)
	if diff := cmp.Diff(tenancy.SecretState{Deleted: true, Managed: true, Owner: other}, f.inspect(t, name)); diff != "" {
		t.Errorf("state: -want +got:\n%s", diff)
	}
	if got := ensure(t, f, name, acme, "new"); got != "new" {
		t.Errorf("value %q", got)
	}
	if diff := cmp.Diff(tagsOf(acme), f.tags(t, name)); diff != "" {
		t.Errorf("tags: -want +got:\n%s", diff)
	}
}

func ensurePassesErrorsOn(t *testing.T, f *fixture) {
	broken := errors.New("no randomness")
	_, err := f.Ensure(t.Context(), name, acme, func() (string, error) { return "", broken })
	if !errors.Is(err, broken) {
		t.Errorf("Ensure: %v", err)
	}
	if diff := cmp.Diff(tenancy.SecretState{}, f.inspect(t, name)); diff != "" {
		t.Errorf("state: -want +got:\n%s", diff)
	}
}

func ownerIsNeeded(t *testing.T, f *fixture) {
	_, err := f.Ensure(t.Context(), name, tenancy.Ownership{TenantID: acme.TenantID}, fresh("v", nil))
	if got := tenancy.CodeOf(err); got != tenancy.CodeInternal {
		t.Errorf("Ensure: %v", err)
	}
	f.put(t, name, "theirs", map[string]string{"managed-by": "tenantry"})
	_, err = f.Drop(t.Context(), name, tenancy.Ownership{})
	if got := tenancy.CodeOf(err); got != tenancy.CodeInternal {
		t.Errorf("Drop: %v", err)
	}
}

func setSeeds(t *testing.T, f *fixture) {
	const ref = "db-server-pg-a-admin"
	set := func(value string) secrets.Secret {
		t.Helper()
		if err := f.Set(t.Context(), ref, value); err != nil {
			t.Fatal(err)
		}
		got, err := f.Get(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		want := secrets.Secret{Value: value, Version: got.Version, Managed: true}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
		return got
	}
	first := set("one")
	if again := set("one"); again.Version != first.Version {
		t.Error("the same value made a version")
	}
	set("two")
	f.remove(t, ref)
	set("three")

	ensure(t, f, name, acme, "tenant's")
	if err := f.Set(t.Context(), name, "mine"); tenancy.CodeOf(err) != tenancy.CodePartialState {
		t.Errorf("over a tenant's secret: %v", err)
	}
}
