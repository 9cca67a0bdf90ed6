package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func (c *cli) addServer() *cobra.Command {
	srv := tenancy.DBServer{IsActive: true}
	var capacity int
	var unlimited, inactive bool
	var urlFile string
	cmd := &cobra.Command{
		Use:   "add-db-server",
		Short: "Register a Postgres server that tenants may be placed on",
		Long: `Register a Postgres server that tenants may be placed on. Its admin connection
URL is read from the vault, under the name given as --admin-secret-ref: a direct
connection, never one through a transaction pooler. With --admin-url-file the URL
is put there first. --host and --port are what tenants' own URLs will name.`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var f tenancy.Faults
			f.NewServerName("--name", srv.Name)
			f.Host("--host", srv.Host)
			f.Port("--port", srv.Port)
			srv.Region = f.Line("--region", srv.Region, tenancy.MaxRegion)
			f.SecretName("--admin-secret-ref", srv.AdminSecretRef)
			f.Capacity("--capacity", capacity)
			if err := f.Err(); err != nil {
				return err
			}
			if !unlimited {
				srv.CapacityHint = &capacity
			}
			srv.IsActive = !inactive
			return c.withControl(cmd, func(ctx context.Context, control *app.Control) error {
				if err := c.putAdminURL(ctx, control, srv, urlFile); err != nil {
					return err
				}
				added, err := control.Store.AddServer(ctx, srv, osActor())
				if err != nil {
					return err
				}
				return c.printServer(added)
			})
		},
	}
	c.configFlags(cmd, "DATABASE_URL", "KEY_VAULT_URL", "KEY_VAULT_CA_FILE", "KEY_VAULT_DEV")
	cmd.Flags().StringVar(&srv.Name, "name", "", "the server's name, for people and for --db-server")
	cmd.Flags().StringVar(&srv.Host, "host", "", "where tenants reach the server")
	cmd.Flags().IntVar(&srv.Port, "port", 5432, "the server's port")
	cmd.Flags().StringVar(&srv.Region, "region", "", "where the server is")
	cmd.Flags().StringVar(&srv.AdminSecretRef, "admin-secret-ref", "", "the vault secret with the server's admin URL")
	cmd.Flags().StringVar(&urlFile, "admin-url-file", "", "put the admin URL in this file (- for stdin) into the vault first")
	cmd.Flags().IntVar(&capacity, "capacity", 50, "the most tenants the server takes")
	cmd.Flags().BoolVar(&unlimited, "unlimited", false, "take tenants without limit (development only)")
	cmd.Flags().BoolVar(&inactive, "inactive", false, "place no tenants there yet")
	for _, name := range []string{"name", "host", "admin-secret-ref"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}

// putAdminURL puts the server's admin URL, read from a file, into the vault. It
// does so only for a name that is not registered yet: the URL of a server in use
// is not replaced by a command that is about to fail.
func (c *cli) putAdminURL(ctx context.Context, control *app.Control, srv tenancy.DBServer, file string) error {
	if file == "" {
		return nil
	}
	if control.Vault == nil {
		return usageError{errors.New("KEY_VAULT_URL is not set, so --admin-url-file has nowhere to go")}
	}
	_, err := control.Store.Server(ctx, srv.Name)
	if err == nil {
		return tenancy.Errorf(tenancy.CodeConflict, "There is a database server %q already.", srv.Name)
	}
	if tenancy.CodeOf(err) != tenancy.CodeNotFound {
		return err
	}
	in := io.Reader(os.Stdin)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return usageError{fmt.Errorf("cannot read --admin-url-file: %w", err)}
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, 16<<10))
	if err != nil {
		return usageError{fmt.Errorf("cannot read --admin-url-file: %w", err)}
	}
	adminURL := strings.TrimSpace(string(data))
	if u, err := url.Parse(adminURL); err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Host == "" {
		return usageError{errors.New("--admin-url-file holds no postgres:// URL")}
	}
	return control.Vault.Set(ctx, srv.AdminSecretRef, adminURL)
}
