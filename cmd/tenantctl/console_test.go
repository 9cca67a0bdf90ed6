package main

import (
	"testing"
)

// The runbook, in a browser: sign in, fill the wizard in, watch the drawer.
func TestConsoleProvisionsATenant(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, nil)
	b := openBrowser(t, p.Console)

	// A deep link survives the sign-in.
	b.goTo("/platform/tenants/new?from=runbook")
	b.at("/platform/session")
	b.fill("email", p.Users[0].Email)
	b.fill("password", p.Users[0].Password)
	b.press("Sign in")
	b.at("/platform/tenants/new")

	b.fill("slug", "acme-health")
	b.sees("acme-health is free")
	b.sees("tenant_acme_health")
	b.sees("tenant-db-acme-health")
	b.sees("acme-health.localhost")
	b.fill("displayName", "Acme Health")
	b.fill("adminEmail", "admin@acme.example")
	b.press("Go on to placement")
	b.sees("It would choose pg-a now")
	b.press("Go on to check")
	b.sees("Acme Health")
	b.press("Provision the tenant")
	b.sees("Provisioning acme-health")
	b.sees("Hand off the invitation")
	b.sees("mailed to admin@acme.example")
	for _, phase := range []string{"placement_resolved", "state_checked", "secret_set", "database_created", "migrations_applied", "master_registered", "admin_seeded", "complete"} {
		b.sees(phase)
	}
	if got := evaluate[float64](b, `document.querySelector("#drawer progress").position`); got != 1 {
		t.Errorf("the bar is at %v", got)
	}
	if got := p.exists(t, "acme-health"); got != everything {
		t.Error(got)
	}
	b.accessible("the drawer")
}
