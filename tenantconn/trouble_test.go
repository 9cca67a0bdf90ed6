package tenantconn_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantry/tenantry/internal/secrets/emulator"
	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/tenantconn"
)

// A password that was changed is picked up by the next connection, and whoever
// has one keeps it.
func TestRotationIsPickedUpInUse(t *testing.T) {
	t.Parallel()
	p := setup(t)
	x := p.tenant(t)
	tenants := p.open(t)
	old, err := tenants.Acquire(t.Context(), string(x.slug))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Release()
	tx, err := old.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const changed = "rotated-canary"
	if _, err := p.admin.Exec(t.Context(), "ALTER ROLE "+x.slug.AppRole()+" PASSWORD '"+changed+"'"); err != nil {
		t.Fatal(err)
	}
	_, err = database(t.Context(), tenants, x)
	if codeOf(t, p, err, changed) != tenantconn.Unavailable {
		t.Errorf("before the secret was changed: %v", err)
	}
	p.put(t, x, x.withPassword(t, changed))
	if _, err := database(t.Context(), tenants, x); err != nil {
		t.Errorf("after the secret was changed: %v", err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT 1`); err != nil {
		t.Errorf("who had a connection was cut off: %v", err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Error(err)
	}
	if n := p.sessions(t, x); n != 2 {
		t.Errorf("%d connections, want the old one and the new one", n)
	}
	old.Release()
	eventually(t, "the old pool closes", func() bool { return p.sessions(t, x) == 1 })
}

// A changed secret is found by looking now and then too, without any failure.
func TestAChangedSecretIsFoundByLooking(t *testing.T) {
	t.Parallel()
	p := setup(t)
	x := p.tenant(t)
	tenants := p.open(t, func(c *tenantconn.Config) { c.SecretInterval = 20 * time.Millisecond })
	name := func() (name string) {
		err := tenants.Read(t.Context(), string(x.slug), func(tx pgx.Tx) error {
			return tx.QueryRow(t.Context(), `SELECT current_setting('application_name')`).Scan(&name)
		})
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	if got := name(); got != "tenantconn" {
		t.Errorf("application_name is %q", got)
	}
	u, _ := url.Parse(x.url)
	q := u.Query()
	q.Set("application_name", "rotated")
	u.RawQuery = q.Encode()
	p.put(t, x, u.String())
	eventually(t, "the new secret is used", func() bool { return name() == "rotated" })
	// A vault that is away, or has the secret no more, cuts nobody off.
	p.vault.Fail(func(emulator.Op) *emulator.Fault { return &emulator.Fault{Status: http.StatusNotFound} })
	seen := p.vault.Count(emulator.OpGet, x.slug.SecretName())
	eventually(t, "the vault is looked at again", func() bool { return name() == "rotated" && p.vault.Count(emulator.OpGet, x.slug.SecretName()) > seen+1 })
}

func TestTenantsCannotReachEachOther(t *testing.T) {
	t.Parallel()
	p := setup(t)
	a, b := p.tenant(t), p.tenant(t)
	tenants := p.open(t)
	for _, x := range []tenant{a, b} {
		if name, err := database(t.Context(), tenants, x); err != nil || name != x.slug.DatabaseName() {
			t.Errorf("%s arrived in %q, %v", x.slug, name, err)
		}
	}
	// What A's pool has opens no other door.
	conn, err := tenants.Acquire(t.Context(), string(a.slug))
	if err != nil {
		t.Fatal(err)
	}
	cfg := conn.Conn().Config()
	conn.Release()
	cfg.Database = b.slug.DatabaseName()
	if c, err := pgx.ConnectConfig(t.Context(), cfg); err == nil {
		c.Close(t.Context())
		t.Error("A's login was let into B's database")
	}
	// A vault that was mixed up is noticed, whichever half of it.
	for what, put := range map[string]func(x tenant){
		"B's URL":      func(x tenant) { p.put(t, x, b.url) },
		"B's mark":     func(x tenant) { p.putAs(t, x.slug.SecretName(), x.url, b.owner) },
		"no URL":       func(x tenant) { p.put(t, x, "postgres://canary:canary@[") },
		"something":    func(x tenant) { p.put(t, x, "canary") },
		"other server": func(x tenant) { p.put(t, x, "postgres://canary:canary@127.0.0.1:1/postgres") },
	} {
		x := p.tenant(t)
		put(x)
		_, err := database(t.Context(), tenants, x)
		if codeOf(t, p, err, "canary", b.url) != tenantconn.Internal {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestARegistryThatIsAway(t *testing.T) {
	t.Parallel()
	p := setup(t)
	x, later := p.tenant(t), p.tenant(t)
	patient := p.open(t)
	impatient := p.open(t, func(c *tenantconn.Config) { c.StatusGrace = time.Nanosecond })
	for _, tenants := range []*tenantconn.Tenants{patient, impatient} {
		if _, err := database(t.Context(), tenants, x); err != nil {
			t.Fatal(err)
		}
	}
	name := p.master.Config().ConnConfig.Database
	p.master.Close()
	shut(t, p.masterURL, name)
	if _, err := database(t.Context(), patient, x); err != nil {
		t.Errorf("within the grace: %v", err)
	}
	if _, err := database(t.Context(), patient, later); codeOf(t, p, err) != tenantconn.Unavailable {
		t.Errorf("a tenant not known yet: %v", err)
	}
	if _, err := database(t.Context(), impatient, x); codeOf(t, p, err) != tenantconn.Unavailable {
		t.Errorf("after the grace: %v", err)
	}
}

// shut lets nobody into a database.
func shut(t *testing.T, databaseURL, name string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/postgres"
	conn, err := pgx.Connect(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, sql := range []string{
		"ALTER DATABASE " + name + " ALLOW_CONNECTIONS false",
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + name + "'",
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAVaultThatIsAway(t *testing.T) {
	t.Parallel()
	p := setup(t)
	x := p.tenant(t)
	tenants := p.open(t)
	for _, status := range []int{http.StatusForbidden, http.StatusNotFound} {
		p.vault.Fail(func(emulator.Op) *emulator.Fault { return &emulator.Fault{Status: status} })
		if _, err := database(t.Context(), tenants, x); codeOf(t, p, err) != tenantconn.Unavailable {
			t.Errorf("%d: %v", status, err)
		}
	}
	p.vault.Fail(nil)
	if _, err := database(t.Context(), tenants, x); err != nil {
		t.Errorf("as soon as the vault is back: %v", err)
	}
}

// A server that was restarted is used again at once: the pool's lost connections
// are nobody's trouble.
func TestLostConnectionsAreReplaced(t *testing.T) {
	t.Parallel()
	p := setup(t)
	x := p.tenant(t)
	tenants := p.open(t)
	var held []*pgxpool.Conn
	for range 4 {
		conn, err := tenants.Acquire(t.Context(), string(x.slug))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	for _, conn := range held {
		conn.Release()
	}
	if _, err := p.admin.Exec(t.Context(), `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1`, x.slug.DatabaseName()); err != nil {
		t.Fatal(err)
	}
	if _, err := database(t.Context(), tenants, x); err != nil {
		t.Error(err)
	}
}

// A commit that nobody answered is told without the server's address, and as something
// that passes.
func TestALostCommitIsTold(t *testing.T) {
	t.Parallel()
	p := setup(t)
	x := p.tenant(t)
	tenants := p.open(t)
	err := tenants.Write(t.Context(), string(x.slug), func(tx pgx.Tx) error {
		return tx.Conn().PgConn().Conn().Close()
	})
	lost, ok := errors.AsType[*tenantconn.Error](err)
	if !ok || lost.Code != tenantconn.Unavailable || strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("%T %v", err, err)
	}
}

// A tenant that moved is found in its new place.
func TestAMovedTenantIsFollowed(t *testing.T) {
	t.Parallel()
	p := setup(t)
	x, y := p.tenant(t), p.tenant(t)
	tenants := p.open(t)
	if _, err := database(t.Context(), tenants, x); err != nil {
		t.Fatal(err)
	}
	p.putAs(t, "moved-"+string(x.slug), y.url, x.owner)
	p.exec(t, `DELETE FROM identity.tenant WHERE slug = $1`, y.slug)
	p.exec(t, `UPDATE identity.tenant SET db_name = $2, db_secret_ref = 'moved-' || slug WHERE slug = $1`, x.slug, y.slug.DatabaseName())
	if name, err := database(t.Context(), tenants, x); err != nil || name != y.slug.DatabaseName() {
		t.Errorf("arrived in %q, %v", name, err)
	}
	eventually(t, "the old place is left", func() bool { return p.sessions(t, x) == 0 })
	p.exec(t, `DELETE FROM identity.tenant WHERE slug = $1`, x.slug)
	if _, err := database(t.Context(), tenants, x); codeOf(t, p, err) != tenantconn.NotFound {
		t.Errorf("after a purge: %v", err)
	}
	eventually(t, "the purged tenant's pool closes", func() bool { return p.sessions(t, y) == 0 })
}

// What the control plane does to the role of a tenant that is leaving, and back.
func TestOffboardingAndBack(t *testing.T) {
	t.Parallel()
	p := setup(t)
	x := p.tenant(t)
	tenants, ctx, slug := p.open(t), t.Context(), string(x.slug)
	access := func(status tenancy.TenantStatus, a tenancy.Access) {
		t.Helper()
		p.setStatus(t, x, status)
		if err := p.databases.SetAccess(ctx, p.server, x.slug, x.owner, a); err != nil {
			t.Fatal(err)
		}
	}
	read := func() error { _, err := database(ctx, tenants, x); return err }
	write := func() error {
		return tenants.Write(ctx, slug, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `SELECT set_config('tenant.id', '1', true), pg_current_xact_id()`)
			return err
		})
	}
	access(tenancy.TenantOffboarding, tenancy.AccessReadOnly)
	if err := read(); err != nil {
		t.Errorf("reading while offboarding: %v", err)
	}
	if code := codeOf(t, p, write()); code != tenantconn.Offboarding {
		t.Errorf("writing while offboarding: %s", code)
	}
	access(tenancy.TenantActive, tenancy.AccessFull)
	if err := write(); err != nil { // on the session that began read-only
		t.Errorf("brought back: %v", err)
	}
	access(tenancy.TenantOffboarding, tenancy.AccessNone)
	if code := codeOf(t, p, read()); code != tenantconn.Unavailable {
		t.Errorf("shut out: %s", code)
	}
}
