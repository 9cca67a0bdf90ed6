package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func (c *cli) tenantStatus() *cobra.Command {
	var slug, set, reason string
	cmd := &cobra.Command{
		Use:   "tenant-status",
		Short: "Show a tenant, or set it active, read_only or suspended",
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			to := tenancy.TenantStatus(set)
			if set != "" && !to.Settable() {
				return usageError{fmt.Errorf("--set must be %s, %s or %s", tenancy.TenantActive, tenancy.TenantReadOnly, tenancy.TenantSuspended)}
			}
			var f tenancy.Faults
			reason = f.Line("--reason", reason, tenancy.MaxReason)
			if err := f.Err(); err != nil {
				return err
			}
			return c.withControl(cmd, func(ctx context.Context, control *app.Control) (err error) {
				var t tenancy.Tenant
				if set == "" {
					t, err = control.Store.Tenant(ctx, tenancy.Slug(slug))
				} else {
					t, err = control.Store.ChangeTenantStatus(ctx, tenancy.Slug(slug), to, reason, osActor())
				}
				if err != nil {
					return err
				}
				return c.print(app.TenantView(t), []string{"SLUG", "NAME", "STATUS", "SERVER", "DATABASE", "SCHEMA"}, [][]string{{
					string(t.Slug), t.DisplayName, string(t.Status), orDash(t.ServerName), orDash(t.DatabaseName), orDash(t.SchemaVersion),
				}})
			})
		},
	}
	c.configFlags(cmd, "DATABASE_URL")
	cmd.Flags().StringVar(&slug, "slug", "", "the tenant's slug")
	cmd.Flags().StringVar(&set, "set", "", "the status to set: active, read_only or suspended")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit trail")
	_ = cmd.MarkFlagRequired("slug")
	return cmd
}
