package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/devplane"
	"github.com/tenantry/tenantry/internal/secrets"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// These tests are end to end: a whole plane of `tenantctl dev`, reached only
// through what a user has: the API, the command line, psql and the vault.

// plane is one running development plane.
type plane struct {
	readiness
	servers *devplane.Plane
	vault   *secrets.Vault
	env     map[string]string
	log     *buffer
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) { b.mu.Lock(); defer b.mu.Unlock(); return b.b.Write(p) }

func (b *buffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

// startPlane runs `tenantctl dev` until the test ends. It has no pool of prepared
// databases unless env says so: they would be made at the tests' expense.
func startPlane(t *testing.T, workers int, env map[string]string) *plane {
	t.Helper()
	return startPlaneIn(t, planeDir(t), workers, env)
}

// planeDir is a directory for a plane's data.
func planeDir(t *testing.T) string {
	t.Helper()
	// t.TempDir is closed to the user Postgres runs as.
	dir, err := os.MkdirTemp("", "tenantry-e2e-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func startPlaneIn(t *testing.T, dir string, workers int, env map[string]string) *plane {
	t.Helper()
	env = maps.Clone(env)
	if env == nil {
		env = map[string]string{}
	}
	if env["WARM_POOL_SIZE"] == "" {
		env["WARM_POOL_SIZE"] = "0"
	}
	p := &plane{log: &buffer{}, env: env}
	c := &cli{
		getenv: func(name string) string { return env[name] }, stdout: io.Discard, stderr: p.log,
		format: "table",
	}
	cfg, err := c.config(c.dev())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- c.runDev(ctx, cfg, devOptions{
			addr: "127.0.0.1:0", dataDir: dir, workers: workers, fast: true,
			onReady: func(r readiness, servers *devplane.Plane) { p.readiness, p.servers = r, servers; close(ready) },
		})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the plane ended with: %v", err)
			}
		case <-time.After(15 * time.Second):
			t.Error("the plane does not end")
		}
		if t.Failed() {
			lines := strings.Split(p.log.String(), "\n")
			lines = slices.DeleteFunc(lines, func(l string) bool { return strings.Contains(l, "msg=request") })
			t.Logf("log of the plane:\n%s", strings.Join(lines, "\n"))
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("the plane did not start: %v", err)
	case <-time.After(60 * time.Second):
		t.Fatal("the plane does not become ready")
	}
	if p.vault, err = secrets.Open(secrets.Config{URL: p.KeyVaultURL, CAFile: p.KeyVaultCAFile}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.vault.Close)
	return p
}

// answer is what the API said.
type answer struct {
	status int
	header http.Header
	body   map[string]any
}

func (a answer) text(path ...string) string {
	var v any = a.body
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// call is a request with the admin's token.
func (p *plane) call(t *testing.T, method, path string, body any, headers ...string) answer {
	t.Helper()
	a, err := p.request(t.Context(), method, path, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (p *plane) request(ctx context.Context, method, path string, body any, headers ...string) (answer, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, method, p.Console+path, bytes.NewReader(data))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+p.Users[0].APIToken)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if data, err = io.ReadAll(resp.Body); err == nil && len(data) > 0 {
		err = json.Unmarshal(data, &a.body)
	}
	return a, err
}

func request(slug string) map[string]any {
	return map[string]any{"slug": slug, "displayName": "Tenant " + slug, "adminEmail": "admin@" + slug + ".example"}
}

// submit posts a request and returns the id of the accepted job.
func (p *plane) submit(t *testing.T, body map[string]any) string {
	t.Helper()
	a := p.call(t, http.MethodPost, "/platform/tenants", body)
	if a.status != http.StatusAccepted {
		t.Fatalf("POST %v gave %d %v", body, a.status, a.body)
	}
	return a.text("jobId")
}

// submitTo is submit for a particular server.
func (p *plane) submitTo(t *testing.T, slug, server string) string {
	t.Helper()
	body := request(slug)
	body["dbServer"] = server
	return p.submit(t, body)
}

// settle polls a job until it is settled.
func (p *plane) settle(t *testing.T, id string, limit time.Duration) answer {
	t.Helper()
	var a answer
	eventually(t, limit, "the job settles", func() bool {
		a = p.call(t, http.MethodGet, "/platform/jobs/"+id, nil)
		status := a.text("status")
		return status == "complete" || status == "failed" || status == "cancelled"
	})
	return a
}

// eventually polls cond until it holds.
func eventually(t *testing.T, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(limit)
	for !cond() {
		select {
		case <-time.After(30 * time.Millisecond):
		case <-deadline:
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// wantFailed checks that a settled job failed with a code and left nothing.
func (p *plane) wantFailed(t *testing.T, a answer, code string) {
	t.Helper()
	if a.text("status") != "failed" || a.text("error", "code") != code || a.text("error", "rolledBack") != "true" {
		t.Fatalf("the job is %s with %v, want %s", a.text("status"), a.body["error"], code)
	}
	n := queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.tenant_audit
		WHERE event_type = 'TENANT_PROVISION_FAILED' AND job_id = $1 AND details->>'code' = $2 AND platform_user_id IS NOT NULL`,
		a.text("jobId"), code)
	if n != 1 {
		t.Errorf("%d audit rows for the failure", n)
	}
}

// ctl runs tenantctl against the plane and returns stdout.
func (p *plane) ctl(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return p.ctlContext(t.Context(), args...)
}

func (p *plane) ctlContext(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	env := map[string]string{
		"DATABASE_URL": p.DatabaseURL, "KEY_VAULT_URL": p.KeyVaultURL, "KEY_VAULT_CA_FILE": p.KeyVaultCAFile,
		"TENANT_MIGRATIONS": p.env["TENANT_MIGRATIONS"], "BACKUP_DIR": p.env["BACKUP_DIR"],
	}
	code = run(ctx, args, func(name string) string { return env[name] }, &out, &errs)
	return code, out.String(), errs.String()
}

// dropSecret removes a tenant's secret as if somebody had done so by hand.
func (p *plane) dropSecret(t *testing.T, slug, tenantID string) {
	t.Helper()
	if _, err := p.vault.Drop(t.Context(), "tenant-db-"+slug, tenancy.Ownership{TenantID: tenancy.TenantID(tenantID)}); err != nil {
		t.Fatal(err)
	}
}

// untagSecret takes the tags off a secret, as the portal lets one do.
func (p *plane) untagSecret(t *testing.T, name string) {
	t.Helper()
	pem, err := os.ReadFile(p.KeyVaultCAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, p.KeyVaultURL+"/secrets/"+name+"?api-version=7.5", strings.NewReader(`{"tags":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer x")
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", err, resp)
	}
	resp.Body.Close()
}

func queryOne[T any](t *testing.T, url, sql string, args ...any) T {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var v T
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// exists counts what there is of a slug: master rows, databases, roles, and
// whether the vault has its secret, live or deleted.
func (p *plane) exists(t *testing.T, slug string) string {
	t.Helper()
	rows := queryOne[int](t, p.DatabaseURL, `SELECT count(*) FROM identity.tenant WHERE slug = $1`, slug)
	db := "tenant_" + strings.ReplaceAll(slug, "-", "_")
	databases, roles := 0, 0
	for _, s := range p.DBServers {
		databases += queryOne[int](t, s.AdminURL, `SELECT count(*) FROM pg_database WHERE datname = $1`, db)
		roles += queryOne[int](t, s.AdminURL, `SELECT count(*) FROM pg_roles WHERE rolname IN ($1, $2)`, db+"_app", db+"_owner")
	}
	secret, err := p.vault.Inspect(t.Context(), "tenant-db-"+slug)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("rows=%d databases=%d roles=%d secret=%v deleted=%v", rows, databases, roles, secret.Exists, secret.Deleted)
}

const (
	nothing    = "rows=0 databases=0 roles=0 secret=false deleted=false"
	everything = "rows=1 databases=1 roles=2 secret=true deleted=false"
)

// migrations writes an application's migration set.
func migrations(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, sql := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(sql), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
