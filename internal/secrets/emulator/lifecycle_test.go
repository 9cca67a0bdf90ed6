package emulator_test

import (
	"context"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/secrets/emulator"
)

// TestEveryOperationInEveryState holds what the emulator promises of a name
// that is on its way somewhere.
func TestEveryOperationInEveryState(t *testing.T) {
	t.Parallel()
	var (
		ok         refusal
		notFound   = refusal{404, "SecretNotFound", ""}
		beingGone  = refusal{409, "Conflict", "ObjectIsBeingDeleted"}
		beingBack  = refusal{409, "Conflict", "ObjectIsBeingRecovered"}
		deletedNow = refusal{409, "Conflict", "ObjectIsDeletedButRecoverable"}
	)
	type outcomes struct{ Set, Get, Update, Delete, GetDeleted, Recover, Purge refusal }
	for state, test := range map[string]struct {
		path string // the steps that lead to the state: d(elete) r(ecover) p(urge) +(time passes)
		want outcomes
	}{
		"absent":     {"", outcomes{ok, notFound, notFound, notFound, notFound, notFound, notFound}},
		"live":       {"s", outcomes{ok, ok, ok, ok, notFound, notFound, notFound}},
		"deleting":   {"sd", outcomes{beingGone, notFound, notFound, notFound, notFound, beingGone, beingGone}},
		"deleted":    {"sd+", outcomes{deletedNow, notFound, notFound, notFound, ok, ok, ok}},
		"recovering": {"sd+r", outcomes{beingBack, notFound, notFound, notFound, notFound, beingBack, beingBack}},
		"recovered":  {"sd+r+", outcomes{ok, ok, ok, ok, notFound, notFound, notFound}},
		"purging":    {"sd+p", outcomes{beingGone, notFound, notFound, notFound, ok, beingGone, beingGone}},
		"purged":     {"sd+p+", outcomes{ok, notFound, notFound, notFound, notFound, notFound, notFound}},
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			now := newClock()
			c := client(t, start(t, emulator.Config{
				DeleteDelay: time.Minute, RecoverDelay: time.Minute, PurgeDelay: time.Minute, Now: now.Now,
			}))
			// A secret for each operation, all brought to the state.
			in := func(do func(context.Context, *azsecrets.Client, string) error) refusal {
				const name = "s"
				for _, step := range test.path {
					var err error
					switch step {
					case 's':
						err = doSet(t.Context(), c, name)
					case 'd':
						err = doDelete(t.Context(), c, name)
					case 'r':
						err = doRecover(t.Context(), c, name)
					case 'p':
						err = doPurge(t.Context(), c, name)
					case '+':
						now.advance(time.Minute)
					}
					if err != nil {
						t.Fatalf("step %c: %v", step, err)
					}
				}
				got := refused(t, do(t.Context(), c, name))
				wipe(t, c, now, name)
				return got
			}
			got := outcomes{in(doSet), in(doGet), in(doUpdate), in(doDelete), in(doGetDeleted), in(doRecover), in(doPurge)}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// wipe brings a name back to absent from any state.
func wipe(t *testing.T, c *azsecrets.Client, now *clock, name string) {
	t.Helper()
	now.advance(time.Minute)
	_ = doDelete(t.Context(), c, name)
	now.advance(time.Minute)
	_ = doPurge(t.Context(), c, name)
	now.advance(time.Minute)
	if diff := cmp.Diff(404, refused(t, doGetDeleted(t.Context(), c, name)).Status); diff != "" {
		t.Fatalf("%s is not wiped: %s", name, diff)
	}
}

func doSet(ctx context.Context, c *azsecrets.Client, name string) error {
	_, err := c.SetSecret(ctx, name, azsecrets.SetSecretParameters{Value: ptr("v")}, nil)
	return err
}

func doGet(ctx context.Context, c *azsecrets.Client, name string) error {
	_, err := c.GetSecret(ctx, name, "", nil)
	return err
}

func doUpdate(ctx context.Context, c *azsecrets.Client, name string) error {
	_, err := c.UpdateSecretProperties(ctx, name, "", azsecrets.UpdateSecretPropertiesParameters{ContentType: ptr("x")}, nil)
	return err
}

func doDelete(ctx context.Context, c *azsecrets.Client, name string) error {
	_, err := c.DeleteSecret(ctx, name, nil)
	return err
}

func doGetDeleted(ctx context.Context, c *azsecrets.Client, name string) error {
	_, err := c.GetDeletedSecret(ctx, name, nil)
	return err
}

func doRecover(ctx context.Context, c *azsecrets.Client, name string) error {
	_, err := c.RecoverDeletedSecret(ctx, name, nil)
	return err
}

func doPurge(ctx context.Context, c *azsecrets.Client, name string) error {
	_, err := c.PurgeDeletedSecret(ctx, name, nil)
	return err
}

func TestRecoveredSecretIsWhole(t *testing.T) {
	t.Parallel()
	c := client(t, start(t, emulator.Config{}))
	first := set(t, c, "s", "one")
	set(t, c, "s", "two")
	gone, err := c.DeleteSecret(t.Context(), "S", nil)
	if err != nil {
		t.Fatal(err)
	}
	if gone.Value != nil {
		t.Error("a deleted secret shows its value")
	}
	if kept := gone.ScheduledPurgeDate.Sub(*gone.DeletedDate); kept != 90*24*time.Hour {
		t.Errorf("kept for %v", kept)
	}
	if err := doRecover(t.Context(), c, "s"); err != nil {
		t.Fatal(err)
	}
	got := []string{get(t, c, "s", first.ID.Version()), get(t, c, "s", "")}
	if diff := cmp.Diff([]string{"one", "two"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestPurgeProtection(t *testing.T) {
	t.Parallel()
	now := newClock()
	c := client(t, start(t, emulator.Config{PurgeProtection: true, Now: now.Now}))
	made := set(t, c, "s", "v")
	if got := *made.Attributes.RecoveryLevel; got != "Recoverable" {
		t.Errorf("recovery level %s", got)
	}
	if err := doDelete(t.Context(), c, "s"); err != nil {
		t.Fatal(err)
	}
	got := refused(t, doPurge(t.Context(), c, "s"))
	if diff := cmp.Diff(refusal{403, "Forbidden", "ForbiddenByPolicy"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	now.advance(90*24*time.Hour - time.Minute)
	if err := doGetDeleted(t.Context(), c, "s"); err != nil {
		t.Errorf("gone before its time: %v", err)
	}
	now.advance(time.Minute)
	if got := refused(t, doGetDeleted(t.Context(), c, "s")); got.Status != 404 {
		t.Errorf("outlives its retention: %v", got)
	}
}
