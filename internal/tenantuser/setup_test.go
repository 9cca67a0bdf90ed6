package tenantuser_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/internal/devplane"
	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/internal/tenantdb"
	"github.com/tenantry/tenantry/internal/tenantuser"
)

func TestMain(m *testing.M) {
	code := devplane.RunTests(m, devplane.Needs{TenantServers: 1})
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// tenant is a real tenant's database with one person in it, and its people as the
// application's role sees them.
type tenant struct {
	tenantuser.Users
	*databases
	servers *tenantdb.Servers
	server  tenancy.DBServer
	slug    tenancy.Slug
	owner   tenancy.Ownership
}

const email = "Ann@acme.example"

func setup(t *testing.T) *tenant {
	t.Helper()
	ctx, pg := t.Context(), devplane.TenantServer(t, 0)
	b := make([]byte, 5)
	_, _ = rand.Read(b)
	x := &tenant{
		databases: &databases{status: tenancy.TenantActive},
		server:    tenancy.DBServer{ID: tenancy.ServerID(uuid.NewString()), Name: "pg-a", Host: pg.Host(), Port: pg.Port(), AdminSecretRef: "admin"},
		slug:      tenancy.Slug("t" + hex.EncodeToString(b)),
		owner:     tenancy.Ownership{TenantID: tenancy.TenantID(uuid.NewString()), JobID: tenancy.JobID(uuid.NewString())},
	}
	x.Databases = x.databases
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	x.servers, err = tenantdb.New(tenantdb.Config{Secrets: adminURL(pg.URL())})
	check(err)
	t.Cleanup(x.servers.Close)
	url, err := x.servers.AppURL(ctx, x.server, x.slug, tenantdb.NewPassword())
	check(err)
	_, err = x.servers.EnsureDatabase(ctx, x.server, x.slug, x.owner, url, tenancy.DatabaseSource{})
	check(err)
	t.Cleanup(func() {
		if err := x.servers.DropDatabase(context.Background(), x.server, x.slug, x.owner); err != nil {
			t.Errorf("cleanup: %v", err)
		}
	})
	_, err = x.servers.Migrate(ctx, x.server, x.slug, x.owner, url)
	check(err)
	check(x.servers.SeedAdmin(ctx, x.server, x.slug, email, "Ann"))
	x.pool, err = pgxpool.New(ctx, url)
	check(err)
	t.Cleanup(x.pool.Close)
	return x
}

type adminURL string

func (u adminURL) Value(context.Context, string) (string, error) { return string(u), nil }

// databases is one tenant's database, of whatever status the test says.
type databases struct {
	pool   *pgxpool.Pool
	mu     sync.Mutex
	status tenancy.TenantStatus
}

func (d *databases) set(s tenancy.TenantStatus) { d.mu.Lock(); defer d.mu.Unlock(); d.status = s }

func (d *databases) now() tenancy.TenantStatus { d.mu.Lock(); defer d.mu.Unlock(); return d.status }

func (d *databases) Read(ctx context.Context, _ string, f func(pgx.Tx) error) error {
	if err := d.now().CheckRead(); err != nil {
		return err
	}
	return pgx.BeginTxFunc(ctx, d.pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, f)
}

func (d *databases) Write(ctx context.Context, _ string, f func(pgx.Tx) error) error {
	if err := d.now().CheckWrite(); err != nil {
		return err
	}
	return pgx.BeginTxFunc(ctx, d.pool, pgx.TxOptions{AccessMode: pgx.ReadWrite}, f)
}

func (d *databases) Acquire(ctx context.Context, _ string) (*pgxpool.Conn, error) {
	if err := d.now().CheckRead(); err != nil {
		return nil, err
	}
	return d.pool.Acquire(ctx)
}

func hash(token string) []byte { h := sha256.Sum256([]byte(token)); return h[:] }

// invite mails, so to speak, a link with the token.
func (x *tenant) invite(t *testing.T, token string) {
	t.Helper()
	if _, err := x.servers.NewInvitation(t.Context(), x.server, x.slug, email, hash(token), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
}

// joined has Ann choose the password and returns her credentials.
func (x *tenant) joined(t *testing.T, password, session string) tenancy.Credentials {
	t.Helper()
	token := "join " + session
	x.invite(t, token)
	if _, err := x.Redeem(t.Context(), x.slug, hash(token), password, hash(session)); err != nil {
		t.Fatal(err)
	}
	return x.credentials(t)
}

func (x *tenant) credentials(t *testing.T) tenancy.Credentials {
	t.Helper()
	c, err := x.Credentials(t.Context(), x.slug, email)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// signedIn reports whether the session holds.
func (x *tenant) signedIn(t *testing.T, session string) bool {
	t.Helper()
	who, err := x.Session(t.Context(), x.slug, hash(session))
	if err == nil && who.Email != email {
		t.Errorf("it is the session of %+v", who)
	}
	if err != nil {
		wantCode(t, err, tenancy.CodeUnauthenticated)
	}
	return err == nil
}

func (x *tenant) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := x.pool.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func scan[T any](t *testing.T, x *tenant, sql string) (v T) {
	t.Helper()
	if err := x.pool.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// events are the types in the tenant's audit trail.
func (x *tenant) events(t *testing.T) []string {
	t.Helper()
	return scan[[]string](t, x, `SELECT coalesce(array_agg(event_type ORDER BY event_id), '{}') FROM audit.event WHERE user_id = (SELECT user_id FROM identity.users)`)
}

func wantCode(t *testing.T, err error, code tenancy.Code) {
	t.Helper()
	if got := tenancy.CodeOf(err); got != code {
		t.Errorf("got %q (%v), want %q", got, err, code)
	}
}
