package tenantconn_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/internal/devplane"
	"github.com/tenantry/tenantry/internal/secrets/emulator"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/internal/tenantdb"
	"github.com/tenantry/tenantry/tenantconn"
)

func TestMain(m *testing.M) {
	code := devplane.RunTests(m, devplane.Needs{Master: true, TenantServers: 1})
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// plane is a registry and a vault of a test's own, and a server for its tenants.
type plane struct {
	masterURL string
	master    *pgxpool.Pool
	vault     *emulator.Server
	pg        *devplane.Postgres
	admin     *pgxpool.Pool // of the server
	databases *tenantdb.Servers
	server    tenancy.DBServer
}

func setup(t *testing.T) *plane {
	t.Helper()
	p := &plane{pg: devplane.TenantServer(t, 0)}
	p.masterURL = devplane.NewPreparedDatabase(t, devplane.Master(t), "master_template", func(ctx context.Context, url string) error {
		_, err := store.Migrate(ctx, url)
		return err
	})
	p.master, p.admin = openPool(t, p.masterURL), openPool(t, p.pg.URL())
	var err error
	if p.vault, err = emulator.Start(emulator.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.vault.Close(context.Background()) })
	if p.databases, err = tenantdb.New(tenantdb.Config{Secrets: adminURL(p.pg.URL())}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.databases.Close)
	p.server = tenancy.DBServer{
		ID: tenancy.ServerID(uuid.NewString()), Name: "pg-a", Host: p.pg.Host(), Port: p.pg.Port(), AdminSecretRef: "admin", IsActive: true,
	}
	p.exec(t, `INSERT INTO identity.db_server (db_server_id, name, host, port, admin_secret_ref) VALUES ($1, $2, $3, $4, 'admin')`,
		p.server.ID, p.server.Name, p.server.Host, p.server.Port)
	return p
}

type adminURL string

func (u adminURL) Value(context.Context, string) (string, error) { return string(u), nil }

func openPool(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// open returns Tenants that ask the registry each time, unless changed.
func (p *plane) open(t *testing.T, change ...func(*tenantconn.Config)) *tenantconn.Tenants {
	t.Helper()
	cfg := tenantconn.Config{
		DatabaseURL: p.masterURL, KeyVaultURL: p.vault.URL(), KeyVaultCAFile: p.vault.CAFile(), StatusInterval: time.Nanosecond,
	}
	for _, f := range change {
		f(&cfg)
	}
	tenants, err := tenantconn.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tenants.Close)
	return tenants
}

// tenant is one with a real database, secret and registry row.
type tenant struct {
	slug  tenancy.Slug
	owner tenancy.Ownership
	url   string
}

func (p *plane) tenant(t *testing.T) tenant {
	t.Helper()
	b := make([]byte, 5)
	_, _ = rand.Read(b)
	x := tenant{
		slug:  tenancy.Slug("t" + hex.EncodeToString(b)),
		owner: tenancy.Ownership{TenantID: tenancy.TenantID(uuid.NewString()), JobID: tenancy.JobID(uuid.NewString())},
	}
	var err error
	if x.url, err = p.databases.AppURL(t.Context(), p.server, x.slug, tenantdb.NewPassword()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.databases.EnsureDatabase(t.Context(), p.server, x.slug, x.owner, x.url, tenancy.DatabaseSource{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.databases.DropDatabase(context.Background(), p.server, x.slug, x.owner); err != nil {
			t.Errorf("cleanup: %v", err)
		}
	})
	p.put(t, x, x.url)
	p.exec(t, `
		INSERT INTO identity.tenant (tenant_id, slug, display_name, status, db_server_id, db_name, db_secret_ref)
		VALUES ($1, $2, 'Acme Health', 'active', $3, $4, $5)`,
		x.owner.TenantID, x.slug, p.server.ID, x.slug.DatabaseName(), x.slug.SecretName())
	return x
}

func (p *plane) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := p.master.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (p *plane) setStatus(t *testing.T, x tenant, status tenancy.TenantStatus) {
	t.Helper()
	p.exec(t, `UPDATE identity.tenant SET status = $2 WHERE slug = $1`, x.slug, status)
}

// put sets the value of the tenant's secret, as a rotation does.
func (p *plane) put(t *testing.T, x tenant, value string) {
	t.Helper()
	p.putAs(t, x.slug.SecretName(), value, x.owner)
}

func (p *plane) putAs(t *testing.T, name, value string, owner tenancy.Ownership) {
	t.Helper()
	pem, err := os.ReadFile(p.vault.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	body, err := json.Marshal(map[string]any{"value": value, "tags": map[string]string{
		"managed-by": "tenantry", "tenant-id": string(owner.TenantID), "job-id": string(owner.JobID),
	}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, p.vault.URL()+"/secrets/"+name+"?api-version=7.5", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer x")
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the vault answered %s", resp.Status)
	}
}

// withPassword is the tenant's URL with another password.
func (x tenant) withPassword(t *testing.T, password string) string {
	t.Helper()
	u, err := url.Parse(x.url)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(u.User.Username(), password)
	return u.String()
}

// sessions counts the sessions in the tenant's database.
func (p *plane) sessions(t *testing.T, x tenant) (n int) {
	t.Helper()
	err := p.admin.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = $1`, x.slug.DatabaseName()).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// database is where a read of the tenant arrives.
func database(ctx context.Context, tenants *tenantconn.Tenants, x tenant) (name string, err error) {
	err = tenants.Read(ctx, string(x.slug), func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT current_database()`).Scan(&name)
	})
	return name, err
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(15 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}
