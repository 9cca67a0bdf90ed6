package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/app"
)

func (c *cli) migrate() *cobra.Command {
	var grantTo string
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the master database to this build's schema",
		Long: `Bring the master database to this build's schema. Run it as the role that owns
the schema, before the api and the workers of a new build start: they refuse an
older schema. With --grant-to, a login that owns nothing gets what the api, the
workers and tenantctl need; in the audit trail it may only add and read.`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.config(cmd, "DATABASE_URL")
			if err != nil {
				return err
			}
			version, err := app.MigrateMaster(cmd.Context(), cfg.DatabaseURL, grantTo)
			if err != nil {
				return err
			}
			if c.format == "json" {
				return c.printJSON(map[string]any{"schemaVersion": version})
			}
			_, err = fmt.Fprintf(c.stdout, "master schema version %d\n", version)
			return err
		},
	}
	c.configFlags(cmd, "DATABASE_URL")
	cmd.Flags().StringVar(&grantTo, "grant-to", "", "login role to grant the services' privileges to")
	return cmd
}
