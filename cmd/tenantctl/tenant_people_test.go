package main

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/internal/tenantuser"
)

func hashOf(token string) []byte { h := sha256.Sum256([]byte(token)); return h[:] }

// token waits for the n-th mail to an address and returns the token of its link,
// which must lead to the page.
func (p *plane) token(t *testing.T, to string, n int, page string) string {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		mails, arrived := p.servers.Mailbox.Mails()
		got := 0
		for _, m := range mails {
			if m.To[0] != to {
				continue
			}
			if got++; got < n {
				continue
			}
			_, rest, found := strings.Cut(m.Text, page+"?token=")
			if !found {
				t.Fatalf("mail %d to %s does not lead to %s:\n%s", n, to, page, m.Text)
			}
			return strings.Fields(rest)[0]
		}
		select {
		case <-arrived:
		case <-deadline:
			t.Fatalf("mail %d to %s did not come", n, to)
		}
	}
}

// What a tenant's people do, from the invitation to the tenant's end, with
// nothing in it but the real parts.
func TestATenantsPeople(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 1, nil)
	ctx := t.Context()
	p.provision(t, "acme")
	const slug, email = tenancy.Slug("acme"), "a@x.example"
	tenants, err := app.OpenTenants(ctx, config.Config{
		DatabaseURL: p.DatabaseURL, KeyVaultURL: p.KeyVaultURL, KeyVaultCAFile: p.KeyVaultCAFile,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tenants.Close)
	master, err := store.Open(ctx, p.DatabaseURL, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(master.Close)
	users := tenantuser.Users{Databases: tenants}
	code := func(want tenancy.Code, err error) {
		t.Helper()
		if got := tenancy.CodeOf(err); got != want {
			t.Fatalf("got %q (%v), want %q", got, err, want)
		}
	}
	signIn := func(session string) error {
		c, err := users.Credentials(ctx, slug, email)
		if err == nil {
			_, err = users.OpenSession(ctx, slug, c, hashOf(session))
		}
		return err
	}

	first := p.token(t, email, 1, "/first-sign-in")
	_, err = users.Redeem(ctx, slug, hashOf(first), "canary-hash-1", hashOf("s1"))
	code("", err)
	for _, typed := range []string{"A@X.example", "canary-nobody@x.example"} {
		code("", master.RequestPasswordReset(ctx, slug, typed))
	}
	reset := p.token(t, email, 2, "/reset-password")
	_, err = users.Redeem(ctx, slug, hashOf(reset), "canary-hash-2", hashOf("s2"))
	code("", err)
	_, err = users.Session(ctx, slug, hashOf("s1"))
	code(tenancy.CodeUnauthenticated, err)
	code("", signIn("s3"))

	eventually(t, 20*time.Second, "the request of nobody is dropped", func() bool {
		return queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.invitation WHERE status = 'dropped'`) == 1
	})
	if mails, _ := p.servers.Mailbox.Mails(); len(mails) != 2 {
		t.Errorf("%d mails", len(mails))
	}

	// Offboarding leaves signing in, and no more.
	p.offboard(t, exitOK, "--slug", "acme")
	eventually(t, 10*time.Second, "the tenant is known to be offboarding", func() bool {
		tenant, err := tenants.Get(ctx, "acme")
		return err == nil && tenant.Status == "offboarding"
	})
	code("", signIn("s4"))
	_, err = users.Redeem(ctx, slug, hashOf("any"), "x", hashOf("s5"))
	code(tenancy.CodeTenantOffboarding, err)
	code(tenancy.CodeTenantOffboarding, master.RequestPasswordReset(ctx, slug, email))

	audit := queryOne[string](t, p.DatabaseURL, `SELECT string_agg(a::text, '') FROM identity.tenant_audit a`)
	trail := queryOne[string](t, strings.Replace(p.DBServers[0].AdminURL, "/postgres?", "/tenant_acme?", 1), `SELECT string_agg(e::text, '') FROM audit.event e`)
	for where, text := range map[string]string{"the log": p.log.String(), "master's audit trail": audit, "the tenant's audit trail": trail} {
		for _, secret := range []string{first, reset, "canary", "x.example"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows %q", where, secret)
			}
		}
	}
}
