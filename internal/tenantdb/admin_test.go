package tenantdb_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/internal/tenantdb"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		value string
		want  string
	}{
		"not a URL":     {"hunter2", "it does not begin with postgres://"},
		"unparseable":   {"postgres://u:hunter2%zz@h/d", "it cannot be parsed"},
		"bad port":      {"postgres://u:hunter2@h:port/d", "it cannot be parsed"},
		"other scheme":  {"mysql://u:hunter2@h/d", "it does not begin with postgres://"},
		"no host":       {"postgres://u:hunter2@/d", "it names no host"},
		"no user":       {"postgres://h/d?password=hunter2", "it names no user"},
		"bad parameter": {"postgres://u:hunter2@h/d?sslmode=hunter2", "Postgres cannot parse it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.vault.set("admin-url", test.value)
			_, err := b.Resolve(t.Context(), b.server)
			wantCode(t, err, tenancy.CodeAdminConnUnresolved, false, "hunter2")
			want := "Secret admin-url of server pg-test is no usable admin URL: " + test.want + "."
			if got := tenancy.AsError(err).Message; got != want {
				t.Errorf("message %q, want %q", got, want)
			}
			b.vault.set("admin-url", b.pg.URL())
		})
	}
}

func TestResolveAsksTheVault(t *testing.T) {
	t.Parallel()
	b := setup(t)
	unknown := b.server
	unknown.AdminSecretRef = "absent"
	_, err := b.Resolve(t.Context(), unknown)
	wantCode(t, err, tenancy.CodeAdminConnUnresolved, false)
	if got := tenancy.AsError(err).Message; !strings.Contains(got, "pg-test") || !strings.Contains(got, "absent") {
		t.Errorf("message %q names neither the server nor the secret", got)
	}
	b.vault.mu.Lock()
	b.vault.err = tenancy.Unavailable(errors.New("connection refused"), "the vault does not answer")
	b.vault.mu.Unlock()
	_, err = b.Resolve(t.Context(), b.server)
	wantCode(t, err, tenancy.CodeDependencyUnavailable, true)
	// What is known goes on working while the vault is down.
	b.inspect(t)
	b.vault.mu.Lock()
	b.vault.err = nil
	b.vault.mu.Unlock()
	if _, err := b.Resolve(t.Context(), b.server); err != nil {
		t.Error(err)
	}
}

// TestChangedAdminPassword: the vault is asked again when the server refuses.
func TestChangedAdminPassword(t *testing.T) {
	t.Parallel()
	b := setupLimited(t)
	b.ensure(t) // a pooled session that outlives the password
	admin, _ := b.vault.Value(t.Context(), "admin-url")
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	sql(t, b.pg.URL(), "ALTER ROLE "+u.User.Username()+" PASSWORD 'changed'")
	_, err = b.Migrate(t.Context(), b.server, b.slug, b.owner, b.appURL)
	wantCode(t, err, tenancy.CodeDependencyUnavailable, false, "limited@", u.User.String())
	u.User = url.UserPassword(u.User.Username(), "changed")
	b.vault.set("admin-url", u.String())
	b.migrate(t)

	fresh, err := tenantdb.New(tenantdb.Config{Secrets: b.vault})
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if _, err := fresh.Inspect(t.Context(), b.server, b.slug); err != nil {
		t.Error(err)
	}
	sql(t, b.pg.URL(), "ALTER ROLE "+u.User.Username()+" PASSWORD 'again'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '"+u.User.Username()+"'")
	_, err = fresh.Inspect(t.Context(), b.server, b.slug)
	if tenancy.CodeOf(err) != tenancy.CodeDependencyUnavailable {
		t.Errorf("error %v", err)
	}
	u.User = url.UserPassword(u.User.Username(), "again")
	b.vault.set("admin-url", u.String())
	if _, err := fresh.Inspect(t.Context(), b.server, b.slug); err != nil {
		t.Error(err)
	}
}

func TestServerThatIsDown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	down := b.server
	down.ID, down.AdminSecretRef = "down", "down"
	b.vault.set("down", "postgres://postgres:hunter2@127.0.0.1:1/postgres?sslmode=disable")
	if _, err := b.Resolve(t.Context(), down); err != nil {
		t.Fatal(err)
	}
	_, err := b.EnsureDatabase(t.Context(), down, b.slug, b.owner, b.appURL, tenancy.DatabaseSource{})
	wantCode(t, err, tenancy.CodeDependencyUnavailable, true, "hunter2")
}

// TestServerThatMoved: the vault is asked again when the address does not answer.
func TestServerThatMoved(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.vault.set("admin-url", "postgres://postgres:hunter2@127.0.0.1:1/postgres?sslmode=disable")
	if _, err := b.Resolve(t.Context(), b.server); err != nil {
		t.Fatal(err)
	}
	b.vault.set("admin-url", b.pg.URL()+"\n")
	b.inspect(t)
}

func TestAppURL(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.server.Host, b.server.Port = "db.example.com", 6432
	for admin, want := range map[string]string{
		b.pg.URL(): "postgres://tenant_a_b_app:pw@db.example.com:6432/tenant_a_b?sslmode=disable",
		strings.Replace(b.pg.URL(), "sslmode=disable", "sslmode=verify-full&connect_timeout=5", 1): "postgres://tenant_a_b_app:pw@db.example.com:6432/tenant_a_b?sslmode=verify-full",
		strings.TrimSuffix(b.pg.URL(), "?sslmode=disable"):                                         "postgres://tenant_a_b_app:pw@db.example.com:6432/tenant_a_b",
	} {
		b.vault.set("admin-url", admin)
		if _, err := b.Resolve(t.Context(), b.server); err != nil {
			t.Fatal(err)
		}
		got, err := b.AppURL(t.Context(), b.server, "a-b", "pw")
		if err != nil || got != want {
			t.Errorf("AppURL = %q, %v; want %q", got, err, want)
		}
	}
	b.vault.set("admin-url", b.pg.URL())
	if _, err := b.Resolve(t.Context(), b.server); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", "hunter2", "postgres://other:hunter2@h/d", strings.Replace(b.appURL, ":", "%", 2),
		"postgres://" + b.slug.AppRole() + "@h/" + b.slug.DatabaseName(),
		"postgres://" + b.slug.AppRole() + ":hunter2%C3%A9@h/" + b.slug.DatabaseName(),
	} {
		_, err := b.EnsureDatabase(t.Context(), b.server, b.slug, b.owner, bad, tenancy.DatabaseSource{})
		wantCode(t, err, tenancy.CodeInternal, false, "hunter2")
	}
	if got := b.inspect(t); !got.Empty() {
		t.Errorf("there is %+v", got)
	}
}
