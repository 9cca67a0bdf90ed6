package emulator_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/secrets/emulator"
)

func TestVersions(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, emulator.Config{}))
	first := set(t, c, "Tenant-DB-acme", "one")
	second := set(t, c, "tenant-db-ACME", "two")

	if first.ID.Version() == second.ID.Version() {
		t.Error("both versions have the same id")
	}
	got := map[string]string{
		"latest": get(t, c, "tenant-db-acme", ""),
		"first":  get(t, c, "TENANT-db-acme", first.ID.Version()),
		"second": get(t, c, "tenant-db-acme", second.ID.Version()),
		"name":   second.ID.Name(),
	}
	want := map[string]string{"latest": "two", "first": "one", "second": "two", "name": "Tenant-DB-acme"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	_, err := c.GetSecret(t.Context(), "tenant-db-acme", "00000000000000000000000000000000", nil)
	if diff := cmp.Diff(refusal{404, "SecretNotFound", ""}, refused(t, err)); diff != "" {
		t.Errorf("unknown version: -want +got:\n%s", diff)
	}
}

func TestAttributesAndTags(t *testing.T) {
	t.Parallel()
	now := newClock()
	c := client(t, start(t, emulator.Config{Now: now.Now}))
	until := now.Now().Add(time.Hour).Truncate(time.Second).UTC()
	made, err := c.SetSecret(t.Context(), "s", azsecrets.SetSecretParameters{
		Value:            ptr("v"),
		ContentType:      ptr("text/plain"),
		SecretAttributes: &azsecrets.SecretAttributes{Expires: &until, NotBefore: &until},
		Tags:             map[string]*string{"a": ptr("1"), "b": ptr("2")},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := azsecrets.Secret{
		ID: made.ID, Value: ptr("v"), ContentType: ptr("text/plain"),
		Tags: map[string]*string{"a": ptr("1"), "b": ptr("2")},
		Attributes: &azsecrets.SecretAttributes{
			Enabled: ptr(true), Expires: &until, NotBefore: &until,
			Created: ptr(now.Now().Truncate(time.Second)), Updated: ptr(now.Now().Truncate(time.Second)),
			RecoveryLevel: ptr("Recoverable+Purgeable"), RecoverableDays: ptr(int32(90)),
		},
	}
	got, err := c.GetSecret(t.Context(), "s", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.Secret); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	now.advance(time.Minute)
	_, err = c.UpdateSecretProperties(t.Context(), "s", "", azsecrets.UpdateSecretPropertiesParameters{
		Tags: map[string]*string{"c": ptr("3")},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want.Tags = map[string]*string{"c": ptr("3")}
	want.Attributes.Updated = ptr(now.Now().Truncate(time.Second))
	if got, err = c.GetSecret(t.Context(), "s", "", nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.Secret); diff != "" {
		t.Errorf("after update: -want +got:\n%s", diff)
	}
}

func TestDisabledSecretIsNotGiven(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, emulator.Config{}))
	made := set(t, c, "s", "v")
	enable := func(on bool) {
		_, err := c.UpdateSecretProperties(t.Context(), "s", made.ID.Version(), azsecrets.UpdateSecretPropertiesParameters{
			SecretAttributes: &azsecrets.SecretAttributes{Enabled: &on},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	enable(false)
	_, err := c.GetSecret(t.Context(), "s", "", nil)
	if diff := cmp.Diff(refusal{403, "Forbidden", "SecretDisabled"}, refused(t, err)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	enable(true)
	if got := get(t, c, "s", ""); got != "v" {
		t.Errorf("enabled again: %q", got)
	}
}

func TestListsArePaged(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, emulator.Config{}))
	var live, gone []string
	for i := range 60 {
		name := fmt.Sprintf("s-%02d", i)
		set(t, c, name, "v")
		if i%2 == 0 {
			live = append(live, name)
			continue
		}
		gone = append(gone, name)
		if _, err := c.DeleteSecret(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
	}
	var versions []string
	for range 30 {
		made := set(t, c, "s-00", "v")
		versions = append(versions, made.ID.Version())
	}

	var pages []int
	var listed []string
	for pager := c.NewListSecretPropertiesPager(nil); pager.More(); {
		p, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, len(p.Value))
		for _, each := range p.Value {
			listed = append(listed, each.ID.Name())
		}
	}
	if diff := cmp.Diff([]int{25, 5}, pages); diff != "" {
		t.Errorf("pages: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(live, listed); diff != "" {
		t.Errorf("live: -want +got:\n%s", diff)
	}

	listed = nil
	for pager := c.NewListDeletedSecretPropertiesPager(nil); pager.More(); {
		p, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, each := range p.Value {
			listed = append(listed, each.ID.Name())
			if each.RecoveryID == nil || each.DeletedDate == nil || each.ScheduledPurgeDate == nil {
				t.Errorf("%s lacks what a deleted secret has", each.ID.Name())
			}
		}
	}
	if diff := cmp.Diff(gone, listed); diff != "" {
		t.Errorf("deleted: -want +got:\n%s", diff)
	}

	listed = nil
	for pager := c.NewListSecretPropertiesVersionsPager("S-00", nil); pager.More(); {
		p, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, each := range p.Value {
			listed = append(listed, each.ID.Version())
		}
	}
	if len(listed) != 31 {
		t.Errorf("%d versions listed, want 31", len(listed))
	}
	for _, id := range versions {
		if !slices.Contains(listed, id) {
			t.Errorf("version %s is not listed", id)
		}
	}
}
