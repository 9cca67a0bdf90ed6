package tenancy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestParseSlug(t *testing.T) {
	t.Parallel()
	reserved := tenancy.NewReservedSlugs(" Billing ", "")
	for slug, ok := range map[string]bool{
		"acme": true, "a-1": true, "a--b": true, "abc": true, "a" + strings.Repeat("b", 39): true,
		"": false, "ab": false, "a" + strings.Repeat("b", 40): false, "1abc": false, "-abc": false, "Acme": false,
		"a_b": false, "a.b": false, "acme ": false, "acme\n": false, "äbc": false, //nolint:gocritic // the white space is the point
		"acme-": false, "xn--abc": false, "admin": false, "new": false, "template0": false, "billing": false,
	} {
		got, err := tenancy.ParseSlug(slug, reserved)
		if (err == nil) != ok || ok && string(got) != slug {
			t.Errorf("ParseSlug(%q) = %q, %v", slug, got, err)
		}
		if err != nil && tenancy.CodeOf(err) != tenancy.CodeInvalidSlug {
			t.Errorf("ParseSlug(%q) has the code %s", slug, tenancy.CodeOf(err))
		}
	}
}

// No two slugs share a name, and Postgres and Key Vault take each name whole.
func TestNamesFollowFromTheSlug(t *testing.T) {
	t.Parallel()
	slugs := rapid.StringMatching(tenancy.SlugPattern)
	rapid.Check(t, func(t *rapid.T) {
		a, b := tenancy.Slug(slugs.Draw(t, "a")), tenancy.Slug(slugs.Draw(t, "b"))
		names := func(s tenancy.Slug) []string {
			return []string{s.DatabaseName(), s.OwnerRole(), s.AppRole(), s.SecretName()}
		}
		for i, name := range names(a) {
			if limit := map[bool]int{true: 127, false: 63}[i == 3]; len(name) > limit {
				t.Fatalf("%s is longer than %d", name, limit)
			}
			if (name == names(b)[i]) != (a == b) {
				t.Fatalf("%s and %s share %s", a, b, name)
			}
		}
	})
}

func TestOwnershipIsReadBack(t *testing.T) {
	t.Parallel()
	o := tenancy.Ownership{TenantID: "01900000-0000-7000-8000-000000000001", JobID: "01900000-0000-7000-8000-000000000002"}
	if got, ok := tenancy.ParseOwnership(o.String()); !ok || got != o {
		t.Errorf("ParseOwnership(%q) = %v, %v", o, got, ok)
	}
	for _, comment := range []string{"", "mine", o.String() + " ", " " + o.String(), "tenantry tenant=x job=y"} {
		if got, ok := tenancy.ParseOwnership(comment); ok || got != (tenancy.Ownership{}) {
			t.Errorf("ParseOwnership(%q) = %v, %v", comment, got, ok)
		}
	}
}

func TestErrorsSurviveEveryHop(t *testing.T) {
	t.Parallel()
	cause := errors.New("canary cause")
	down := tenancy.Unavailable(cause, "It is down.")
	for _, test := range []struct {
		err       error
		code      tenancy.Code
		message   string
		transient bool
	}{
		{fmt.Errorf("cannot: %w", fmt.Errorf("cannot: %w", down)), tenancy.CodeDependencyUnavailable, "It is down.", true},
		{fmt.Errorf("cannot: %w", context.DeadlineExceeded), tenancy.CodeTimeout, "", true},
		{cause, tenancy.CodeInternal, "", false},
		{tenancy.Wrap(tenancy.CodeMigrationsFailed, cause, "No."), tenancy.CodeMigrationsFailed, "No.", false},
	} {
		e := tenancy.AsError(test.err)
		if e.Code != test.code || e.Transient != test.transient || tenancy.IsTransient(test.err) != test.transient ||
			test.message != "" && e.Message != test.message || strings.Contains(e.Message, "canary") {
			t.Errorf("%v became %+v", test.err, e)
		}
	}
	if tenancy.AsError(nil) != nil || tenancy.CodeOf(nil) != "" || tenancy.IsTransient(nil) {
		t.Error("no error is an error")
	}
}

func TestServerLoad(t *testing.T) {
	t.Parallel()
	two := 2
	for _, test := range []struct {
		load     tenancy.ServerLoad
		full     bool
		headroom string
	}{
		{tenancy.ServerLoad{TenantCount: 900}, false, "unlimited"},
		{tenancy.ServerLoad{DBServer: tenancy.DBServer{CapacityHint: &two}, TenantCount: 1}, false, "1"},
		{tenancy.ServerLoad{DBServer: tenancy.DBServer{CapacityHint: &two}, TenantCount: 1, Reserved: 1}, true, "0"},
		{tenancy.ServerLoad{DBServer: tenancy.DBServer{CapacityHint: &two}, TenantCount: 5}, true, "0"},
	} {
		headroom := "unlimited"
		if n := test.load.Headroom(); n != nil {
			headroom = fmt.Sprint(*n)
		}
		if test.load.Full() != test.full || headroom != test.headroom {
			t.Errorf("%+v: full %v, headroom %s", test.load, test.load.Full(), headroom)
		}
	}
}

// The first answer to a request can be given again, whatever became of the job.
func TestAsSubmitted(t *testing.T) {
	t.Parallel()
	now := time.Now()
	first := tenancy.Job{
		ID: "j", Kind: tenancy.KindProvision, Status: tenancy.JobQueued, Slug: "acme", Attempt: 1, Version: 1,
		Phases: []tenancy.PhaseRecord{{Name: "a", Status: tenancy.PhasePending}, {Name: "b", Status: tenancy.PhasePending}},
	}
	later := first
	later.Status, later.Phase, later.Attempt, later.Failures, later.Version = tenancy.JobFailed, "b", 2, 3, 17
	later.Server, later.Error, later.StartedAt, later.FinishedAt = &tenancy.DBServer{}, &tenancy.JobError{}, &now, &now
	later.CancelRequested = true
	later.Phases = []tenancy.PhaseRecord{
		{Name: "a", Status: tenancy.PhaseUndone, StartedAt: &now, Detail: map[string]any{"x": 1}},
		{Name: "b", Status: tenancy.PhaseFailed, Error: &tenancy.PhaseError{}},
	}
	if diff := cmp.Diff(first, later.AsSubmitted()); diff != "" {
		t.Error(diff)
	}
	if later.Phases[0].Status != tenancy.PhaseUndone {
		t.Error("the job itself was changed")
	}
}

func TestFence(t *testing.T) {
	t.Parallel()
	if err := tenancy.CheckFence(t.Context()); err != nil || tenancy.HasFence(t.Context()) {
		t.Errorf("without a job: %v", err)
	}
	lost := tenancy.Errorf(tenancy.CodeLeaseLost, "lost")
	ctx := tenancy.WithFence(t.Context(), func(context.Context) error { return lost })
	if err := tenancy.CheckFence(ctx); !errors.Is(err, lost) || !tenancy.HasFence(ctx) {
		t.Errorf("with a lost lease: %v", err)
	}
}

// The table of domain.md.
func TestWhatAStatusAllows(t *testing.T) {
	t.Parallel()
	for status, want := range map[tenancy.TenantStatus][2]tenancy.Code{
		tenancy.TenantProvisioning: {tenancy.CodeNotFound, tenancy.CodeNotFound},
		tenancy.TenantActive:       {"", ""},
		tenancy.TenantReadOnly:     {"", tenancy.CodeTenantReadOnly},
		tenancy.TenantSuspended:    {tenancy.CodeTenantSuspended, tenancy.CodeTenantSuspended},
		tenancy.TenantOffboarding:  {"", tenancy.CodeTenantOffboarding},
		"unknown":                  {tenancy.CodeNotFound, tenancy.CodeNotFound},
	} {
		got := [2]tenancy.Code{tenancy.CodeOf(status.CheckRead()), tenancy.CodeOf(status.CheckWrite())}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: read, write (-want +got):\n%s", status, diff)
		}
	}
}
