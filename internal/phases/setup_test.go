package phases_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/internal/devplane"
	"github.com/tenantry/tenantry/internal/phases"
	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/placement"
	"github.com/tenantry/tenantry/internal/secrets"
	"github.com/tenantry/tenantry/internal/secrets/emulator"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/internal/tenantdb"
)

func TestMain(m *testing.M) {
	code := devplane.RunTests(m, devplane.Needs{Master: true, TenantServers: 2})
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// world is the real parts: a master database of the test's own, its vault, and
// the binary's two tenant servers as pg-a and pg-b.
type world struct {
	*store.Store
	master    *pgxpool.Pool
	servers   [2]*pgxpool.Pool
	postgres  [2]*devplane.Postgres
	vault     *secrets.Vault
	emulator  *emulator.Server
	databases *tenantdb.Servers
	// broken is databases with a migration that fails.
	broken *tenantdb.Servers
	// pool says that each job finds a prepared database.
	pool bool
}

var (
	operator    = tenancy.Actor{Name: "os:tester@here"}
	serverNames = [2]string{"pg-a", "pg-b"}
)

func setup(t *testing.T, cfg emulator.Config) *world {
	t.Helper()
	w := &world{}
	dsn := devplane.NewPreparedDatabase(t, devplane.Master(t), "master_template", migrateMaster)
	var err error
	if w.Store, err = store.Open(t.Context(), dsn, 0, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	w.master = pool(t, dsn)
	if w.emulator, err = emulator.Start(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.emulator.Close(context.Background()) })
	w.vault, err = secrets.Open(secrets.Config{
		URL: w.emulator.URL(), CAFile: w.emulator.CAFile(),
		RetryDelay: time.Millisecond, Poll: 2 * time.Millisecond, Settle: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.vault.Close)
	w.databases = w.openDatabases(t, nil)
	w.broken = w.openDatabases(t, fstest.MapFS{"0001_broken.up.sql": {Data: []byte("CREATE TABLE fine (); SELECT 1/0")}})
	for i, name := range serverNames {
		w.postgres[i] = devplane.TenantServer(t, i)
		w.servers[i] = pool(t, w.postgres[i].URL())
		w.addServer(t, name, w.postgres[i].Port(), w.postgres[i].URL())
	}
	return w
}

func (w *world) openDatabases(t *testing.T, app fstest.MapFS, change ...func(*tenantdb.Config)) *tenantdb.Servers {
	t.Helper()
	cfg := tenantdb.Config{Secrets: w.vault}
	if app != nil {
		cfg.AppMigrations = app
	}
	for _, f := range change {
		f(&cfg)
	}
	s, err := tenantdb.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// addServer registers a server; without an admin URL its secret is missing.
func (w *world) addServer(t *testing.T, name string, port int, adminURL string) tenancy.DBServer {
	t.Helper()
	ref := "admin-" + name
	if adminURL != "" {
		if err := w.vault.Set(t.Context(), ref, adminURL); err != nil {
			t.Fatal(err)
		}
	}
	load, err := w.AddServer(t.Context(), tenancy.DBServer{
		Name: name, Host: "127.0.0.1", Port: port, AdminSecretRef: ref, IsActive: true,
	}, operator)
	if err != nil {
		t.Fatal(err)
	}
	return load.DBServer
}

func (w *world) server(t *testing.T, name string) tenancy.DBServer {
	t.Helper()
	load, err := w.Server(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return load.DBServer
}

// deps are the real parts, each call of which goes through tap; nil is none.
func (w *world) deps(tap tap) phases.Deps {
	return w.depsWith(w.databases, tap)
}

func (w *world) depsWith(databases phases.Databases, tap tap) phases.Deps {
	if tap == nil {
		tap = func(string) error { return nil }
	}
	var template func() string
	if prepared, ok := databases.(interface{ Template() string }); ok && w.pool {
		template = prepared.Template
	}
	return phases.Deps{
		Template:  template,
		Registry:  tappedRegistry{w.Store, tap},
		Databases: tappedDatabases{databases, tap},
		Secrets:   tappedSecrets{w.vault, tap},
		Choose:    placement.Choose, NewPassword: tenantdb.NewPassword,
	}
}

func (w *world) runner(d phases.Deps, tap tap) *pipeline.Runner {
	if tap == nil {
		tap = func(string) error { return nil }
	}
	return &pipeline.Runner{
		Journal: tappedJournal{w.Store, tap},
		Plan: func(job tenancy.Job) ([]pipeline.Phase, error) {
			if job.DryRun {
				return phases.DryRunProvision(d), nil
			}
			return phases.Provision(d), nil
		},
		Owner: "w-" + randomHex(4), LeaseTTL: time.Minute, Log: slog.New(slog.DiscardHandler),
	}
}

// tenant is a slug of a test's own and the job that is to provision it.
type tenant struct {
	*world
	slug  tenancy.Slug
	job   tenancy.JobID
	owner tenancy.Ownership
	lease tenancy.Lease
}

// submit records a job for a fresh slug on pg-a. What is left of it on the
// tenant servers goes when the test ends.
func (w *world) submit(t *testing.T, change ...func(*tenancy.NewJob)) *tenant {
	t.Helper()
	n := tenancy.NewJob{
		Slug: tenancy.Slug("t-" + randomHex(6)), DisplayName: "Acme", AdminEmail: "Admin@acme.example",
		ServerName: "pg-a", RequestedBy: operator, InProcess: true,
	}
	for _, f := range change {
		f(&n)
	}
	if w.pool {
		w.prepare(t, w.databases, 1)
	}
	job, err := w.SubmitJob(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	x := &tenant{world: w, slug: n.Slug, job: job.ID, owner: job.Ownership()}
	t.Cleanup(func() {
		ctx := context.Background()
		for _, pg := range w.servers {
			_, err := pg.Exec(ctx, "DROP DATABASE IF EXISTS "+x.slug.DatabaseName()+" WITH (FORCE)")
			for _, role := range []string{x.slug.AppRole(), x.slug.OwnerRole()} {
				_, err2 := pg.Exec(ctx, "DROP ROLE IF EXISTS "+role)
				err = errors.Join(err, err2)
			}
			if err != nil {
				t.Errorf("cleanup: %v", err)
			}
		}
	})
	return x
}

// hold is submit, with the job's lease taken.
func (w *world) hold(t *testing.T, change ...func(*tenancy.NewJob)) *tenant {
	t.Helper()
	x := w.submit(t, change...)
	var err error
	if _, x.lease, err = w.AcquireLease(t.Context(), x.job, "w", time.Hour); err != nil {
		t.Fatal(err)
	}
	return x
}

// run is what a worker that has just taken the job up knows of it.
func (x *tenant) run(t *testing.T) *pipeline.Run {
	t.Helper()
	job, err := x.Job(t.Context(), x.job)
	if err != nil {
		t.Fatal(err)
	}
	return &pipeline.Run{Job: job, Lease: x.lease}
}

// advance does the phases before the i-th, as the runner would, and returns the
// i-th, which works on d.
func (x *tenant) advance(t *testing.T, d phases.Deps, i int) pipeline.Phase {
	t.Helper()
	all := phases.Provision(x.deps(nil))
	for k, p := range all[:i] {
		run := x.run(t)
		if err := p.Do(t.Context(), run); err != nil {
			t.Fatalf("%s: %v", p.Name(), err)
		}
		if _, err := x.RecordProgress(t.Context(), x.lease, tenancy.Progress{
			Done: []tenancy.DonePhase{{Name: p.Name(), Detail: run.Detail, Began: time.Now(), Ended: time.Now()}}, Next: all[k+1].Name(),
		}); err != nil {
			t.Fatal(err)
		}
	}
	return phases.Provision(d)[i]
}

// Things that another tenant, or a stranger, left under the slug's name.

func newOwner() tenancy.Ownership {
	return tenancy.Ownership{TenantID: tenancy.TenantID(uuid.NewString()), JobID: tenancy.JobID(uuid.NewString())}
}

func (x *tenant) putRow(t *testing.T, server string, owner tenancy.Ownership) {
	t.Helper()
	_, err := x.master.Exec(t.Context(), `
		INSERT INTO identity.tenant (tenant_id, slug, display_name, status, db_server_id, db_name, db_secret_ref, job_id)
		SELECT $1, $2, 'Other', 'active', db_server_id, $3, $4, $5 FROM identity.db_server WHERE name = $6`,
		owner.TenantID, x.slug, x.slug.DatabaseName(), x.slug.SecretName(), owner.JobID, server)
	if err != nil {
		t.Fatal(err)
	}
}

func (x *tenant) putDatabase(t *testing.T, server string, owner tenancy.Ownership) {
	t.Helper()
	s := x.server(t, server)
	appURL, err := x.databases.AppURL(t.Context(), s, x.slug, tenantdb.NewPassword())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.databases.EnsureDatabase(t.Context(), s, x.slug, owner, appURL, tenancy.DatabaseSource{}); err != nil {
		t.Fatal(err)
	}
}

func (x *tenant) putSecret(t *testing.T, owner tenancy.Ownership) {
	t.Helper()
	value := func() (string, error) { return "postgres://other.example", nil }
	if _, err := x.vault.Ensure(t.Context(), x.slug.SecretName(), owner, value); err != nil {
		t.Fatal(err)
	}
}

// strangersVault talks to the vault as something other than tenantry.
func (w *world) strangersVault(t *testing.T, method, path string, body any) {
	t.Helper()
	pem, err := os.ReadFile(w.emulator.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, w.emulator.URL()+path+"?api-version=7.5", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer any")
	req.Header.Set("Content-Type", "application/json")
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s", method, path, res.Status)
	}
}

func pool(t *testing.T, dsn string) *pgxpool.Pool {
	t.Helper()
	p, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// migrateMaster fills the template of the master databases.
func migrateMaster(ctx context.Context, url string) error {
	_, err := store.Migrate(ctx, url)
	return err
}
