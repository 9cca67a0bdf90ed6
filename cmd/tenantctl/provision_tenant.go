package main

import (
	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func (c *cli) provisionTenant() *cobra.Command {
	var slug, displayName, adminEmail, dbServer string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "provision-tenant",
		Short: "Provision a tenant in this very process (break-glass)",
		Long: `Provision a tenant in this very process, without the api, a worker or Redis. It
runs the same pipeline they do. The audit trail names the OS user. The
invitation is left for a worker to send.

If the run is interrupted, the job goes on with the next worker, or with
"tenantctl run-job JOB_ID".`,
		Example: `  tenantctl provision-tenant --slug acme --display-name "Acme Health" \
    --admin-email admin@acme.example`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.vaultConfig(cmd)
			if err != nil {
				return err
			}
			n := tenancy.NewJob{AdminEmail: adminEmail, ServerName: dbServer, DryRun: dryRun, RequestedBy: osActor(), InProcess: true}
			if n.Slug, err = tenancy.ParseSlug(slug, tenancy.NewReservedSlugs(cfg.ReservedSlugs...)); err != nil {
				return err
			}
			var f tenancy.Faults
			n.DisplayName = f.Text("--display-name", displayName, tenancy.MaxDisplayName)
			f.Email("--admin-email", adminEmail)
			f.ServerWanted("--db-server", dbServer)
			if err := f.Err(); err != nil {
				return err
			}
			control, cfg, err := c.open(cmd, cfg)
			if err != nil {
				return err
			}
			defer control.Close()
			job, err := control.Store.SubmitJob(cmd.Context(), n)
			if err != nil {
				return err
			}
			return c.runHere(cmd.Context(), control, cfg, job)
		},
	}
	c.configFlags(cmd, vaultVariables...)
	cmd.Flags().StringVar(&slug, "slug", "", "the tenant's slug: lowercase letters, digits and hyphens, 3 to 40")
	cmd.Flags().StringVar(&displayName, "display-name", "", "the tenant's name for people")
	cmd.Flags().StringVar(&adminEmail, "admin-email", "", "who gets the invitation")
	cmd.Flags().StringVar(&dbServer, "db-server", "", "the server to use; empty places the tenant automatically")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "check placement and slug, and make nothing")
	for _, name := range []string{"slug", "display-name", "admin-email"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return cmd
}
