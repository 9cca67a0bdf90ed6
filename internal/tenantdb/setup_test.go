package tenantdb_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/internal/devplane"
	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/internal/tenantdb"
)

func TestMain(m *testing.M) {
	code := devplane.RunTests(m, devplane.Needs{TenantServers: 2})
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// vault is the admin secrets of the tests.
type vault struct {
	mu     sync.Mutex
	values map[string]string
	err    error
}

func (v *vault) Value(_ context.Context, name string) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil {
		return "", v.err
	}
	value, ok := v.values[name]
	if !ok {
		return "", tenancy.Errorf(tenancy.CodeNotFound, "no secret %s", name)
	}
	return value, nil
}

func (v *vault) set(name, value string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.values[name] = value
}

// bundle is a tenant of a test's own on a server, and what to work on it with.
type bundle struct {
	*tenantdb.Servers
	pg     *devplane.Postgres
	vault  *vault
	log    *syncBuffer
	server tenancy.DBServer
	slug   tenancy.Slug
	owner  tenancy.Ownership
	appURL string
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// setup works as the superuser on server 0.
func setup(t *testing.T, change ...func(*tenantdb.Config)) *bundle {
	t.Helper()
	pg := devplane.TenantServer(t, 0)
	return setupOn(t, pg, pg.URL(), change...)
}

// setupLimited works as an admin that may create databases and roles and no
// more, on server 1.
func setupLimited(t *testing.T, change ...func(*tenantdb.Config)) *bundle {
	t.Helper()
	pg := devplane.TenantServer(t, 1)
	name := "limited_" + randomHex(4)
	addLimited(t, pg.URL(), name)
	u, err := url.Parse(pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(name, "limited")
	return setupOn(t, pg, u.String(), change...)
}

// addLimited makes such an admin. The lock is the one under which Servers grants the same:
// two at a time would fail each other.
func addLimited(t *testing.T, url, name string) {
	t.Helper()
	sql(t, url, "SELECT pg_advisory_xact_lock(hashtextextended('tenantry maintenance', 0));"+
		"CREATE ROLE "+name+" LOGIN CREATEDB CREATEROLE PASSWORD 'limited'; GRANT CONNECT ON DATABASE postgres TO "+name)
}

func setupOn(t *testing.T, pg *devplane.Postgres, adminURL string, change ...func(*tenantdb.Config)) *bundle {
	t.Helper()
	b := &bundle{
		pg:    pg,
		vault: &vault{values: map[string]string{"admin-url": adminURL}},
		log:   &syncBuffer{},
		server: tenancy.DBServer{
			ID: tenancy.ServerID(uuid.NewString()), Name: "pg-test",
			Host: pg.Host(), Port: pg.Port(), AdminSecretRef: "admin-url",
		},
		slug:  tenancy.Slug("t-" + randomHex(6)),
		owner: newOwner(),
	}
	cfg := tenantdb.Config{
		Secrets: b.vault, Log: slog.New(slog.NewTextHandler(b.log, nil)),
		// All of it holds without templates too.
		NoTemplates: os.Getenv("TENANTDB_TEMPLATES") == "off",
	}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if b.Servers, err = tenantdb.New(cfg); err != nil {
		t.Fatal(err)
	}
	if b.appURL, err = b.AppURL(t.Context(), b.server, b.slug, tenantdb.NewPassword()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := b.DropDatabase(ctx, b.server, b.slug, b.owner); err != nil && tenancy.CodeOf(err) != tenancy.CodePartialState {
			t.Errorf("cleanup: %v", err)
		}
		b.Close()
	})
	return b
}

func withApp(files fs.FS) func(*tenantdb.Config) {
	return func(cfg *tenantdb.Config) { cfg.AppMigrations = files }
}

func withoutTemplates(cfg *tenantdb.Config) { cfg.NoTemplates = true }

func newOwner() tenancy.Ownership {
	return tenancy.Ownership{TenantID: tenancy.TenantID(uuid.NewString()), JobID: tenancy.JobID(uuid.NewString())}
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

func (b *bundle) ensure(t *testing.T) {
	t.Helper()
	if _, err := b.EnsureDatabase(t.Context(), b.server, b.slug, b.owner, b.appURL, tenancy.DatabaseSource{}); err != nil {
		t.Fatalf("EnsureDatabase: %v", err)
	}
}

func (b *bundle) migrate(t *testing.T) string {
	t.Helper()
	version, err := b.Migrate(t.Context(), b.server, b.slug, b.owner, b.appURL)
	if err != nil {
		t.Fatalf("Migrate: %v", err)
	}
	return version
}

func (b *bundle) drop(t *testing.T) {
	t.Helper()
	if err := b.DropDatabase(t.Context(), b.server, b.slug, b.owner); err != nil {
		t.Fatalf("DropDatabase: %v", err)
	}
}

func (b *bundle) inspect(t *testing.T) tenancy.DatabaseState {
	t.Helper()
	state, err := b.Inspect(t.Context(), b.server, b.slug)
	if err != nil {
		t.Fatalf("Inspect: %v", err)
	}
	return state
}

// whole is the state of a finished database of the bundle's.
func (b *bundle) whole() tenancy.DatabaseState {
	return tenancy.DatabaseState{
		Database: true, DatabaseOwner: b.owner, Ready: true,
		Roles: []string{b.slug.OwnerRole(), b.slug.AppRole()}, RolesOwner: b.owner,
	}
}

// superURL connects to the tenant's database as the superuser.
func (b *bundle) superURL() string { return b.pg.DatabaseURL(b.slug.DatabaseName()) }

// sql runs statements on a connection of their own.
func sql(t *testing.T, url, statements string) {
	t.Helper()
	if err := trySQL(t, url, statements); err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
}

func trySQL(t *testing.T, url, statements string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		return err
	}
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), statements)
	return err
}

// values returns a query's one column.
func values[T any](t *testing.T, url, query string, args ...any) []T {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rows, _ := conn.Query(t.Context(), query, args...)
	got, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return got
}

// wantCode fails the test unless err has the code and its text shows none of
// the secrets.
func wantCode(t *testing.T, err error, code tenancy.Code, transient bool, secrets ...string) {
	t.Helper()
	if tenancy.CodeOf(err) != code || tenancy.IsTransient(err) != transient {
		t.Errorf("error %v (transient %t), want %s (transient %t)", err, tenancy.IsTransient(err), code, transient)
	}
	if err == nil {
		return
	}
	for _, secret := range secrets {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%q is in the error %q", secret, err)
		}
	}
}

// eventually waits until ok reports true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(15 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("%s did not happen", what)
		case <-tick.C:
		}
	}
}

// objectsOwner is the role that the tenant's tables belong to.
func (b *bundle) objectsOwner(t *testing.T) string {
	t.Helper()
	return values[string](t, b.superURL(), "SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE nspname = 'tenantry'")[0]
}
