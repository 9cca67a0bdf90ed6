package tenantconn_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantry/tenantry/internal/secrets/emulator"
	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/tenantconn"
)

// codeOf is the code of err, after looking that it shows no address and none of
// the secrets.
func codeOf(t *testing.T, p *plane, err error, secrets ...string) tenantconn.Code {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*tenantconn.Error](err)
	if !ok {
		t.Fatalf("%v is no Error", err)
	}
	for _, secret := range append(secrets, "postgres://", "https://", p.vault.URL(), "127.0.0.1") {
		if strings.Contains(e.Error(), secret) {
			t.Errorf("the error shows %q: %v", secret, e)
		}
	}
	return e.Code
}

func TestReadAndWrite(t *testing.T) {
	t.Parallel()
	p := setup(t)
	x := p.tenant(t)
	tenants, ctx, slug := p.open(t), t.Context(), string(x.slug)
	if _, err := p.databases.Migrate(ctx, p.server, x.slug, x.owner, x.url); err != nil {
		t.Fatal(err)
	}
	got, err := tenants.Get(ctx, slug)
	want := tenantconn.Tenant{ID: string(x.owner.TenantID), Slug: slug, DisplayName: "Acme Health", Status: tenantconn.StatusActive}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	insert := func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO settings.setting (key, value) VALUES ('k', '1')`)
		return err
	}
	failed := errors.New("changed my mind")
	if err := tenants.Write(ctx, slug, func(tx pgx.Tx) error { return errors.Join(insert(tx), failed) }); !errors.Is(err, failed) {
		t.Error(err)
	}
	if err := tenants.Write(ctx, slug, insert); err != nil {
		t.Errorf("after a roll back: %v", err)
	}
	err = tenants.Read(ctx, slug, insert)
	if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "25006" {
		t.Errorf("writing within Read: %v", err)
	}
	var role, name string
	err = tenants.Read(ctx, slug, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT current_user, current_database() FROM settings.setting`).Scan(&role, &name)
	})
	if err != nil || role != x.slug.AppRole() || name != x.slug.DatabaseName() {
		t.Errorf("%s in %s: %v", role, name, err)
	}
}

func TestStatusDecides(t *testing.T) {
	t.Parallel()
	p := setup(t)
	x := p.tenant(t)
	tenants, ctx, slug := p.open(t), t.Context(), string(x.slug)
	for _, c := range []struct {
		status      tenancy.TenantStatus
		read, write tenantconn.Code
		answer      int // for a write
	}{
		{tenancy.TenantActive, "", "", 0},
		{tenancy.TenantReadOnly, "", tenantconn.ReadOnly, http.StatusForbidden},
		{tenancy.TenantSuspended, tenantconn.Suspended, tenantconn.Suspended, http.StatusServiceUnavailable},
		{tenancy.TenantOffboarding, "", tenantconn.Offboarding, http.StatusForbidden},
		{tenancy.TenantProvisioning, tenantconn.NotFound, tenantconn.NotFound, http.StatusNotFound},
		{tenancy.TenantActive, "", "", 0},
	} {
		p.setStatus(t, x, c.status)
		got, err := tenants.Get(ctx, slug)
		if err != nil || got.Status != tenantconn.Status(c.status) || got.Status.Readable() != (c.read == "") || got.Status.Writable() != (c.write == "") {
			t.Errorf("%s: %+v, %v", c.status, got, err)
		}
		nothing := func(pgx.Tx) error { return nil }
		if code := codeOf(t, p, tenants.Read(ctx, slug, nothing)); code != c.read {
			t.Errorf("%s: read %q, want %q", c.status, code, c.read)
		}
		conn, err := tenants.Acquire(ctx, slug)
		if code := codeOf(t, p, err); code != c.read {
			t.Errorf("%s: acquire %q, want %q", c.status, code, c.read)
		}
		if err == nil {
			conn.Release()
		}
		err = tenants.Write(ctx, slug, nothing)
		if code := codeOf(t, p, err); code != c.write {
			t.Errorf("%s: write %q, want %q", c.status, code, c.write)
		}
		if e, ok := errors.AsType[*tenantconn.Error](err); ok && e.HTTPStatus() != c.answer {
			t.Errorf("%s: status %d, want %d", c.status, e.HTTPStatus(), c.answer)
		}
		if string(tenancy.CodeOf(err)) != string(c.write) {
			t.Errorf("%s: within the module it is %s", c.status, tenancy.CodeOf(err))
		}
	}
}

func TestASuspensionIsSeenWithinTheInterval(t *testing.T) {
	t.Parallel()
	p := setup(t)
	x := p.tenant(t)
	const interval = 400 * time.Millisecond
	tenants := p.open(t, func(c *tenantconn.Config) { c.StatusInterval = interval })
	if _, err := database(t.Context(), tenants, x); err != nil {
		t.Fatal(err)
	}
	p.setStatus(t, x, tenancy.TenantSuspended)
	suspended := time.Now()
	eventually(t, "reads end", func() bool {
		_, err := database(t.Context(), tenants, x)
		return codeOf(t, p, err) == tenantconn.Suspended
	})
	if took := time.Since(suspended); took > interval+2*time.Second {
		t.Errorf("it took %s", took)
	}
	eventually(t, "its connections are closed", func() bool { return p.sessions(t, x) == 0 })
}

// Until the interval is over the registry is not asked.
func TestTheRegistryIsNotAskedEachTime(t *testing.T) {
	t.Parallel()
	p := setup(t)
	x := p.tenant(t)
	tenants := p.open(t, func(c *tenantconn.Config) { c.StatusInterval = time.Hour })
	for range 2 {
		if _, err := database(t.Context(), tenants, x); err != nil {
			t.Fatal(err)
		}
		p.setStatus(t, x, tenancy.TenantSuspended)
	}
}

func TestUnknownTenants(t *testing.T) {
	t.Parallel()
	p := setup(t)
	tenants := p.open(t)
	for _, slug := range []string{"nobody", "", "Not A Slug", "a\x00b", strings.Repeat("a", 100)} {
		if _, err := tenants.Get(t.Context(), slug); codeOf(t, p, err) != tenantconn.NotFound {
			t.Errorf("%q: %v", slug, err)
		}
	}
	// What is not there is not remembered.
	x := p.tenant(t)
	p.exec(t, `UPDATE identity.tenant SET slug = 'other' WHERE slug = $1`, x.slug)
	if _, err := database(t.Context(), tenants, x); codeOf(t, p, err) != tenantconn.NotFound {
		t.Error(err)
	}
	p.exec(t, `UPDATE identity.tenant SET slug = $1 WHERE slug = 'other'`, x.slug)
	if _, err := database(t.Context(), tenants, x); err != nil {
		t.Error(err)
	}
}

func TestTheFirstUsersShareOnePool(t *testing.T) {
	t.Parallel()
	p := setup(t)
	x := p.tenant(t)
	tenants := p.open(t)
	var users sync.WaitGroup
	for range 50 {
		users.Go(func() {
			if name, err := database(t.Context(), tenants, x); err != nil || name != x.slug.DatabaseName() {
				t.Errorf("%s, %v", name, err)
			}
		})
	}
	users.Wait()
	if n := p.vault.Count(emulator.OpGet, x.slug.SecretName()); n != 1 {
		t.Errorf("the vault was asked %d times", n)
	}
	if n := p.sessions(t, x); n < 1 || n > 5 {
		t.Errorf("%d connections", n)
	}
}

// A caller that gives up does not fail those who wait with it.
func TestAnImpatientCallerFailsNobodyElse(t *testing.T) {
	t.Parallel()
	p := setup(t)
	x := p.tenant(t)
	tenants := p.open(t)
	asked := make(chan struct{})
	var once sync.Once
	p.vault.Fail(func(emulator.Op) *emulator.Fault {
		once.Do(func() { close(asked) })
		return &emulator.Fault{Delay: 100 * time.Millisecond}
	})
	ctx, giveUp := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, err := database(ctx, tenants, x); first <- err }()
	<-asked
	giveUp()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the impatient one got %v", err)
	}
	if _, err := database(t.Context(), tenants, x); err != nil {
		t.Errorf("the patient one got %v", err)
	}
	if n := p.vault.Count(emulator.OpGet, x.slug.SecretName()); n != 1 {
		t.Errorf("the vault was asked %d times", n)
	}
}

// Pools that are retired while somebody is about to use them fail nobody.
func TestPoolsComeAndGoUnderUse(t *testing.T) {
	t.Parallel()
	p := setup(t)
	tenants := p.open(t, func(c *tenantconn.Config) { c.MaxPools = 1 })
	all := []tenant{p.tenant(t), p.tenant(t)}
	var users sync.WaitGroup
	for i := range 16 {
		users.Go(func() {
			for range 15 {
				x := all[i%2]
				if name, err := database(t.Context(), tenants, x); err != nil || name != x.slug.DatabaseName() {
					t.Errorf("%s, %v", name, err)
					return
				}
			}
		})
	}
	users.Wait()
}

func TestPoolsAreBounded(t *testing.T) {
	t.Parallel()
	p := setup(t)
	tenants := p.open(t, func(c *tenantconn.Config) { c.MaxPools = 2 })
	all := []tenant{p.tenant(t), p.tenant(t), p.tenant(t)}
	for _, i := range []int{0, 1, 0, 2} { // 1 is the one not used for the longest time
		if _, err := database(t.Context(), tenants, all[i]); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the oldest is closed", func() bool { return p.sessions(t, all[1]) == 0 })
	if a, c := p.sessions(t, all[0]), p.sessions(t, all[2]); a != 1 || c != 1 {
		t.Errorf("%d and %d connections are left", a, c)
	}
	if _, err := database(t.Context(), tenants, all[1]); err != nil {
		t.Error(err)
	}
}

func TestIdlePoolsAreClosed(t *testing.T) {
	t.Parallel()
	p := setup(t)
	tenants := p.open(t, func(c *tenantconn.Config) { c.IdleAfter = 50 * time.Millisecond })
	idle, busy := p.tenant(t), p.tenant(t)
	conn, err := tenants.Acquire(t.Context(), string(busy.slug))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := database(t.Context(), tenants, idle); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the idle one is closed", func() bool { return p.sessions(t, idle) == 0 })
	if err := conn.Ping(t.Context()); err != nil {
		t.Errorf("the one in use: %v", err)
	}
	if _, err := database(t.Context(), tenants, idle); err != nil {
		t.Errorf("used again: %v", err)
	}
}

func TestCloseWaitsForConnectionsInUse(t *testing.T) {
	t.Parallel()
	p := setup(t)
	x := p.tenant(t)
	tenants := p.open(t)
	conn, err := tenants.Acquire(t.Context(), string(x.slug))
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() { tenants.Close(); close(closed) }()
	eventually(t, "new users are refused", func() bool {
		_, err := tenants.Get(t.Context(), string(x.slug))
		return errors.Is(err, tenantconn.ErrClosed)
	})
	if err := conn.Ping(t.Context()); err != nil {
		t.Errorf("cut off: %v", err)
	}
	select {
	case <-closed:
		t.Error("Close did not wait")
	default:
	}
	conn.Release()
	<-closed
	tenants.Close()
	if n := p.sessions(t, x); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

func TestOpenNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want string
		cfg  tenantconn.Config
	}{
		{"DatabaseURL", tenantconn.Config{KeyVaultURL: "https://127.0.0.1"}},
		{"DatabaseURL", tenantconn.Config{DatabaseURL: "postgres://u:canary@h:port/x", KeyVaultURL: "https://127.0.0.1"}},
		{"vault", tenantconn.Config{DatabaseURL: "postgres://u:canary@h/x", KeyVaultURL: "http://canary"}},
	} {
		_, err := tenantconn.Open(t.Context(), c.cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%v, want a word on %s", err, c.want)
		}
	}
}
