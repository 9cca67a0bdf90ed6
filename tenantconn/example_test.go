package tenantconn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantry/tenantry/tenantconn"
)

func Example() {
	ctx := context.Background()
	tenants, err := tenantconn.Open(ctx, tenantconn.Config{
		DatabaseURL:    os.Getenv("DATABASE_URL"),
		KeyVaultURL:    os.Getenv("KEY_VAULT_URL"),
		KeyVaultCAFile: os.Getenv("KEY_VAULT_CA_FILE"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tenants.Close()

	slug := os.Getenv("SLUG")
	err = tenants.Write(ctx, slug, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO settings.setting (key, value) VALUES ('colour', '"green"')`)
		return err
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var colour string
	err = tenants.Read(ctx, slug, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT value FROM settings.setting WHERE key = 'colour'`).Scan(&colour)
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("the colour is", colour)
}

// A handler serves the tenant that the host name begins with, and tells what is
// in the way with the status that is due.
func ExampleError() {
	var tenants *tenantconn.Tenants // of Open
	http.HandleFunc("GET /notes/count", func(w http.ResponseWriter, r *http.Request) {
		slug, _, _ := strings.Cut(r.Host, ".")
		var count int
		err := tenants.Read(r.Context(), slug, func(tx pgx.Tx) error {
			return tx.QueryRow(r.Context(), `SELECT count(*) FROM note`).Scan(&count)
		})
		var refused *tenantconn.Error
		switch {
		case errors.As(err, &refused):
			http.Error(w, string(refused.Code)+": "+refused.Message, refused.HTTPStatus())
		case err != nil:
			http.Error(w, "internal error", http.StatusInternalServerError)
		default:
			fmt.Fprintln(w, count)
		}
	})
}

// A page that hides its buttons where nothing can be changed.
func ExampleTenants_Get() {
	var tenants *tenantconn.Tenants // of Open
	tenant, err := tenants.Get(context.Background(), "acme")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tenant.DisplayName, "can be changed:", tenant.Status.Writable())
}

// A connection beyond a transaction: listening for what other processes tell.
func ExampleTenants_Acquire() {
	ctx := context.Background()
	var tenants *tenantconn.Tenants // of Open
	conn, err := tenants.Acquire(ctx, "acme")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "LISTEN changes"); err != nil {
		fmt.Println(err)
		return
	}
	notification, err := conn.Conn().WaitForNotification(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(notification.Payload)
}

// A transaction pooler before the tenants' servers does not keep prepared
// statements.
func ExampleConfig() {
	cfg := tenantconn.Config{
		DatabaseURL: os.Getenv("DATABASE_URL"), KeyVaultURL: os.Getenv("KEY_VAULT_URL"),
		MaxConns: 3,
		Configure: func(pool *pgxpool.Config) {
			pool.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
		},
	}
	tenants, err := tenantconn.Open(context.Background(), cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tenants.Close()
}

// TestExample runs the first example against real servers. It sets the process's
// environment, so it is not parallel.
func TestExample(t *testing.T) {
	p := setup(t)
	x := p.tenant(t)
	if _, err := p.databases.Migrate(t.Context(), p.server, x.slug, x.owner, x.url); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DATABASE_URL", p.masterURL)
	t.Setenv("KEY_VAULT_URL", p.vault.URL())
	t.Setenv("KEY_VAULT_CA_FILE", p.vault.CAFile())
	t.Setenv("SLUG", string(x.slug))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	Example()
	os.Stdout = stdout
	w.Close()
	if said, _ := io.ReadAll(r); string(said) != "the colour is \"green\"\n" {
		t.Errorf("it said %q", said)
	}
}
