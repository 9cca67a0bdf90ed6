package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// configFlags gives a command a flag for each configuration variable it uses.
func (c *cli) configFlags(cmd *cobra.Command, variables ...string) {
	for _, name := range variables {
		cmd.Flags().String(config.FlagName(name), "", "overrides $"+name)
	}
}

// vaultVariables are those of a command that runs jobs in this process.
var vaultVariables = []string{
	"DATABASE_URL", "KEY_VAULT_URL", "KEY_VAULT_CA_FILE", "KEY_VAULT_DEV", "TENANT_MIGRATIONS", "RESERVED_SLUGS", "BACKUP_DIR",
	"PUBLIC_URL", "TENANT_URL", "WARM_POOL_SIZE",
}

// config reads the environment and the flags over it.
func (c *cli) config(cmd *cobra.Command, required ...string) (config.Config, error) {
	cfg, err := config.Load(func(name string) string {
		flag := cmd.Flags().Lookup(config.FlagName(name))
		if flag != nil && flag.Changed {
			return flag.Value.String()
		}
		return c.getenv(name)
	}, required...)
	if err != nil {
		return cfg, usageError{err}
	}
	return cfg, nil
}

// control connects to master, and to the vault if it is configured. What a person
// needs to know, the command says itself; the log, on stderr, has errors with
// their causes unless LOG_LEVEL asks for more.
func (c *cli) control(cmd *cobra.Command) (*app.Control, config.Config, error) {
	cfg, err := c.config(cmd, "DATABASE_URL")
	if err != nil {
		return nil, cfg, err
	}
	return c.open(cmd, cfg)
}

// vaultControl is control for a command that cannot do without the vault.
func (c *cli) vaultControl(cmd *cobra.Command) (*app.Control, config.Config, error) {
	cfg, err := c.vaultConfig(cmd)
	if err != nil {
		return nil, cfg, err
	}
	return c.open(cmd, cfg)
}

func (c *cli) vaultConfig(cmd *cobra.Command) (config.Config, error) {
	cfg, err := c.config(cmd, "DATABASE_URL")
	if err == nil && cfg.KeyVaultURL == "" {
		err = app.ErrNoVault
	}
	return cfg, err
}

func (c *cli) open(cmd *cobra.Command, cfg config.Config) (*app.Control, config.Config, error) {
	if !cmd.Flags().Changed("log-level") && c.getenv("LOG_LEVEL") == "" {
		cfg.LogLevel = slog.LevelError
	}
	control, err := app.OpenControl(cmd.Context(), cfg, app.NewLogger(cfg, c.stderr), nil)
	return control, cfg, err
}

// osActor is who a break-glass run is attributed to: os:<user>@<host>.
func osActor() tenancy.Actor {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return tenancy.Actor{Name: fmt.Sprintf("os:%s@%s", name, host)}
}

// withControl is the body of a command that needs master alone.
func (c *cli) withControl(cmd *cobra.Command, f func(context.Context, *app.Control) error) error {
	control, _, err := c.control(cmd)
	if err != nil {
		return err
	}
	defer control.Close()
	return f(cmd.Context(), control)
}

var errNoChange = usageError{errors.New("nothing to change: give at least one flag")}
