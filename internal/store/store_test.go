package store_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/devplane"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestMain(m *testing.M) {
	os.Exit(devplane.RunTests(m, devplane.Needs{Master: true}))
}

// plane is one test's master database.
type plane struct {
	*store.Store
	url string
	sql *pgx.Conn
}

var operator = tenancy.Actor{Name: "os:tester@here"}

func setup(t *testing.T) plane {
	t.Helper()
	ctx := t.Context()
	dsn := devplane.NewPreparedDatabase(t, devplane.Master(t), "master_template", migrateMaster)
	s, err := store.Open(ctx, dsn, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return plane{Store: s, url: dsn, sql: conn}
}

func (p plane) scan(t *testing.T, sql string, dest any, args ...any) {
	t.Helper()
	if err := p.sql.QueryRow(t.Context(), sql, args...).Scan(dest); err != nil {
		t.Fatalf("%s: %v", strings.Join(strings.Fields(sql), " "), err)
	}
}

// contents is every row of master.
func (p plane) contents(t *testing.T) (all string) {
	t.Helper()
	p.scan(t, `SELECT schema_to_xml('identity', true, false, '')::text`, &all)
	return all
}

func (p plane) addServer(t *testing.T, name string, capacity int) {
	t.Helper()
	_, err := p.AddServer(t.Context(), tenancy.DBServer{
		Name: name, Host: "127.0.0.1", Port: 5432, AdminSecretRef: "admin-" + name, CapacityHint: &capacity, IsActive: true,
	}, operator)
	if err != nil {
		t.Fatal(err)
	}
}

func (p plane) submit(t *testing.T, n tenancy.NewJob) tenancy.Job {
	t.Helper()
	if n.RequestedBy == (tenancy.Actor{}) {
		n.RequestedBy = operator
	}
	n.DisplayName, n.AdminEmail = "Acme", "admin@acme.example"
	job, err := p.SubmitJob(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func wantCode(t *testing.T, err error, code tenancy.Code) {
	t.Helper()
	if got := tenancy.CodeOf(err); got != code {
		t.Fatalf("got %q (%v), want %q", got, err, code)
	}
}

// migrateMaster fills the template of the master databases.
func migrateMaster(ctx context.Context, url string) error {
	_, err := store.Migrate(ctx, url)
	return err
}
