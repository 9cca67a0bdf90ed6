package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func (c *cli) updateServer() *cobra.Command {
	var name, host, region, secretRef string
	var port, capacity int
	var unlimited, active bool
	cmd := &cobra.Command{
		Use:   "update-db-server",
		Short: "Change a database server: raise its cap, deactivate it, tell where it is",
		Long: `Change a database server: raise its cap, deactivate it, tell where it is.

--host and --port go into the secrets of tenants to come. Those of the tenants that are
there keep the address that they have: see "A server that moves" in docs/operations.md.`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			change := tenancy.ServerChange{Unlimited: unlimited}
			given := unlimited
			var f tenancy.Faults
			for flag, set := range map[string]func(){
				"host":             func() { f.Host("--host", host); change.Host = &host },
				"port":             func() { f.Port("--port", port); change.Port = &port },
				"region":           func() { region = f.Line("--region", region, tenancy.MaxRegion); change.Region = &region },
				"admin-secret-ref": func() { f.SecretName("--admin-secret-ref", secretRef); change.AdminSecretRef = &secretRef },
				"capacity":         func() { f.Capacity("--capacity", capacity); change.CapacityHint = &capacity },
				"active":           func() { change.IsActive = &active },
			} {
				if cmd.Flags().Changed(flag) {
					set()
					given = true
				}
			}
			if !given {
				return errNoChange
			}
			if err := f.Err(); err != nil {
				return err
			}
			return c.withControl(cmd, func(ctx context.Context, control *app.Control) error {
				updated, err := control.Store.UpdateServer(ctx, name, change, osActor())
				if err != nil {
					return err
				}
				return c.printServer(updated)
			})
		},
	}
	c.configFlags(cmd, "DATABASE_URL")
	cmd.Flags().StringVar(&name, "name", "", "the server to change")
	cmd.Flags().StringVar(&host, "host", "", "where tenants reach the server")
	cmd.Flags().IntVar(&port, "port", 0, "the server's port")
	cmd.Flags().StringVar(&region, "region", "", "where the server is")
	cmd.Flags().StringVar(&secretRef, "admin-secret-ref", "", "the vault secret with the server's admin URL")
	cmd.Flags().IntVar(&capacity, "capacity", 0, "the most tenants the server takes")
	cmd.Flags().BoolVar(&unlimited, "unlimited", false, "take tenants without limit (development only)")
	cmd.Flags().BoolVar(&active, "active", true, "whether tenants are placed there")
	_ = cmd.MarkFlagRequired("name")
	cmd.MarkFlagsMutuallyExclusive("capacity", "unlimited")
	return cmd
}
