package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func (c *cli) offboardTenant() *cobra.Command {
	var slug, confirm string
	var o tenancy.Offboarding
	cmd := &cobra.Command{
		Use:   "offboard-tenant",
		Short: "Begin a tenant's retention, take that back, or purge a tenant",
		Long: `Offboard a tenant, in this very process, without the api, a worker or Redis.

Without --purge the tenant becomes offboarding: its people may read and no longer
write, and after the retention a worker purges it. --now ends its sessions and lets
its application in no more. --cancel brings it back.

--purge removes database, roles, secret and master row for good, from whatever state
they are in, after a final dump to BACKUP_DIR, or else to the working directory,
unless --no-backup. It is safe to repeat. What cannot be shown to be this tenant's is named and left alone; once you
have seen it, --adopt purges it too.`,
		Example: `  tenantctl offboard-tenant --slug acme
  tenantctl offboard-tenant --slug acme --purge --confirm acme`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOffboarding(slug, confirm, o, cmd.Flags().Changed("retention-days")); err != nil {
				return err
			}
			cfg, err := c.vaultConfig(cmd)
			if err != nil {
				return err
			}
			if o.Purge && !o.NoBackup && cfg.BackupDir == "" {
				if cfg.BackupDir, err = os.Getwd(); err != nil {
					return usageError{fmt.Errorf("BACKUP_DIR is not set, and there is no working directory: %w", err)}
				}
				fmt.Fprintf(c.stderr, "BACKUP_DIR is not set; the final dump goes to %s.\n", cfg.BackupDir)
			}
			control, cfg, err := c.open(cmd, cfg)
			if err != nil {
				return err
			}
			defer control.Close()
			n := tenancy.NewJob{Kind: tenancy.KindOffboard, Offboarding: o, RequestedBy: osActor(), InProcess: true}
			if n.Slug, err = tenancy.ParseSlug(slug, nil); err != nil {
				return err
			}
			job, err := control.Store.SubmitJob(cmd.Context(), n)
			if err != nil {
				return err
			}
			return c.runHere(cmd.Context(), control, cfg, job)
		},
	}
	c.configFlags(cmd, vaultVariables...)
	cmd.Flags().StringVar(&slug, "slug", "", "the tenant's slug")
	cmd.Flags().BoolVar(&o.Now, "now", false, "end the tenant's sessions and let its application in no more")
	cmd.Flags().IntVar(&o.RetentionDays, "retention-days", tenancy.DefaultRetentionDays, "how long the data is kept")
	cmd.Flags().BoolVar(&o.Cancel, "cancel", false, "bring an offboarding tenant back")
	cmd.Flags().BoolVar(&o.Purge, "purge", false, "remove everything for good")
	cmd.Flags().StringVar(&confirm, "confirm", "", "the slug again, to purge")
	cmd.Flags().BoolVar(&o.NoBackup, "no-backup", false, "purge without a final dump")
	cmd.Flags().BoolVar(&o.Adopt, "adopt", false, "purge what cannot be shown to be the tenant's too")
	_ = cmd.MarkFlagRequired("slug")
	cmd.MarkFlagsMutuallyExclusive("cancel", "purge")
	cmd.MarkFlagsMutuallyExclusive("cancel", "now")
	cmd.MarkFlagsMutuallyExclusive("purge", "now")
	return cmd
}

// checkOffboarding refuses what the API refuses. retention says whether its days were
// given.
func checkOffboarding(slug, confirm string, o tenancy.Offboarding, retention bool) error {
	switch {
	case !o.Purge && confirm != "" && confirm != slug:
		return usageError{fmt.Errorf("--confirm is another slug than --slug")}
	case (o.Purge || o.Cancel) && retention:
		return usageError{fmt.Errorf("--retention-days is for the begin of a retention only")}
	case o.Purge && confirm != slug:
		return usageError{fmt.Errorf("to purge the tenant for good, say --confirm %s", slug)}
	case !o.Purge && (o.NoBackup || o.Adopt):
		return usageError{fmt.Errorf("--no-backup and --adopt are for --purge only")}
	case o.RetentionDays < 1 || o.RetentionDays > tenancy.MaxRetentionDays:
		return usageError{fmt.Errorf("--retention-days must be between 1 and %d", tenancy.MaxRetentionDays)}
	}
	return nil
}
