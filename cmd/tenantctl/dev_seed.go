package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/devplane"
	"github.com/tenantry/tenantry/internal/tenancy"
)

const (
	devDatabase = "tenantry"
	devCapacity = 50
)

// readiness is the ready file: where everything is and how to get in.
type readiness struct {
	Console        string      `json:"console"`
	TenantURL      string      `json:"tenantUrl"`
	DatabaseURL    string      `json:"databaseUrl"`
	RedisURL       string      `json:"redisUrl"`
	KeyVaultURL    string      `json:"keyVaultUrl"`
	KeyVaultCAFile string      `json:"keyVaultCaFile"`
	MailboxURL     string      `json:"mailboxUrl"`
	SMTPURL        string      `json:"smtpUrl"`
	DBServers      []devServer `json:"dbServers"`
	Users          []devUser   `json:"users"`
}

type devServer struct {
	Name     string `json:"name"`
	AdminURL string `json:"adminUrl"`
}

type devUser struct {
	Email    string       `json:"email"`
	Password string       `json:"password"`
	Role     tenancy.Role `json:"role"`
	APIToken string       `json:"apiToken"`
}

// seedDev makes what a fresh plane needs: the master schema, the servers with
// their admin secrets, a user of each role with a token. A plane that is run
// again keeps what it has.
func seedDev(ctx context.Context, cfg config.Config, p *devplane.Plane, dir string, log *slog.Logger) (readiness, error) {
	r := readiness{
		Console: cfg.PublicURL, TenantURL: cfg.TenantURL, DatabaseURL: cfg.DatabaseURL, RedisURL: cfg.RedisURL,
		KeyVaultURL: cfg.KeyVaultURL, KeyVaultCAFile: cfg.KeyVaultCAFile, MailboxURL: p.Mailbox.URL(),
		SMTPURL: p.Mailbox.SMTPURL(),
	}
	if err := createDatabase(ctx, p.Master.URL(), devDatabase); err != nil {
		return r, err
	}
	if _, err := app.MigrateMaster(ctx, cfg.DatabaseURL, ""); err != nil {
		return r, err
	}
	control, err := app.OpenControl(ctx, cfg, log, nil)
	if err != nil {
		return r, err
	}
	defer control.Close()
	for name, pg := range map[string]*devplane.Postgres{"pg-a": p.A, "pg-b": p.B} {
		if err := seedServer(ctx, control, name, pg); err != nil {
			return r, err
		}
	}
	r.DBServers = []devServer{{"pg-a", p.A.URL()}, {"pg-b", p.B.URL()}}
	r.Users, err = seedUsers(ctx, control, filepath.Join(dir, "users.json"))
	return r, err
}

func createDatabase(ctx context.Context, adminURL, name string) error {
	conn, err := pgx.Connect(ctx, adminURL)
	if err != nil {
		return fmt.Errorf("cannot connect to the development master: %w", err)
	}
	defer conn.Close(ctx)
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists); err != nil || exists {
		return err
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	return err
}

func seedServer(ctx context.Context, control *app.Control, name string, pg *devplane.Postgres) error {
	ref := "db-admin-" + name
	if err := control.Vault.Set(ctx, ref, pg.URL()); err != nil {
		return err
	}
	capacity := devCapacity
	_, err := control.Store.AddServer(ctx, tenancy.DBServer{
		Name: name, Host: pg.Host(), Port: pg.Port(), Region: "local", AdminSecretRef: ref, CapacityHint: &capacity, IsActive: true,
	}, osActor())
	if tenancy.CodeOf(err) == tenancy.CodeConflict {
		return nil // from an earlier run, perhaps changed since
	}
	return err
}

// seedUsers makes the users once; their passwords and tokens are kept beside the
// data, since master has only hashes. The file is the last thing made: where a run was
// killed before, users that nobody was told the passwords of get new ones.
func seedUsers(ctx context.Context, control *app.Control, file string) ([]devUser, error) {
	var users []devUser
	data, err := os.ReadFile(file)
	if err == nil {
		return users, json.Unmarshal(data, &users)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the users of the last run: %w", err)
	}
	for _, role := range []tenancy.Role{tenancy.RoleAdmin, tenancy.RoleSupport, tenancy.RoleReadOnly} {
		name := strings.ToLower(strings.TrimPrefix(string(role), "PLATFORM_"))
		u := devUser{Email: name + "@platform.localhost", Password: auth.NewPassword(), Role: role}
		hash, err := auth.HashPassword(u.Password)
		if err != nil {
			return nil, err
		}
		user, err := control.Store.CreateUser(ctx, tenancy.User{
			Email: u.Email, DisplayName: "Platform " + name, Role: role,
		}, hash, tenancy.EventBootstrapUserCreated, osActor())
		if tenancy.CodeOf(err) == tenancy.CodeConflict {
			if user, err = control.Store.UserByEmail(ctx, u.Email); err == nil {
				err = control.Store.SetPassword(ctx, user.ID, hash, "", osActor())
			}
		}
		if err != nil {
			return nil, err
		}
		if _, u.APIToken, err = control.Tokens.Create(ctx, user.ID, "dev", nil, osActor()); err != nil {
			return nil, err
		}
		users = append(users, u)
	}
	if data, err = json.Marshal(users); err != nil {
		return nil, err
	}
	if err := writeWhole(file, data); err != nil {
		return nil, fmt.Errorf("cannot keep the users: %w", err)
	}
	return users, nil
}

// announceDev writes the ready file and says where everything is.
func (c *cli) announceDev(r readiness, o devOptions, took time.Duration) error {
	if o.readyFile != "" {
		if err := writeReadyFile(o.readyFile, r); err != nil {
			return err
		}
	}
	if c.format == "json" {
		return c.printJSON(r)
	}
	w := c.stdout
	fmt.Fprintf(w, "\ntenantry is ready after %s. Ctrl-C ends it.\n\n", took.Round(100*time.Millisecond))
	rows := [][]string{
		{"api", r.Console},
		{"tenants", r.TenantURL},
		{"mailbox", r.MailboxURL},
		{"master", r.DatabaseURL},
		{"redis", r.RedisURL},
		{"vault", r.KeyVaultURL},
		{"vault CA", r.KeyVaultCAFile},
	}
	for _, s := range r.DBServers {
		rows = append(rows, []string{s.Name, s.AdminURL})
	}
	for _, row := range rows {
		fmt.Fprintf(w, "  %-9s %s\n", row[0], row[1])
	}
	fmt.Fprintln(w)
	for _, u := range r.Users {
		fmt.Fprintf(w, "  %-18s %s  password %s\n  %-18s API token %s\n", u.Role, u.Email, u.Password, "", u.APIToken)
	}
	fmt.Fprintf(w, `
Provision a tenant:

  export TOKEN=%s
  curl -s %s/platform/tenants -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
    -d '{"slug":"acme","displayName":"Acme Health","adminEmail":"admin@acme.example"}'

`, r.Users[0].APIToken, r.Console)
	return nil
}

func writeReadyFile(path string, r readiness) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := writeWhole(path, append(data, '\n')); err != nil {
		return fmt.Errorf("cannot write the ready file: %w", err)
	}
	return nil
}

// writeWhole makes a file appear with all of data or not at all, readable to its owner
// alone.
func writeWhole(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tenantry-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
