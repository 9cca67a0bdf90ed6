package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func (c *cli) listTenants() *cobra.Command {
	var f tenancy.TenantFilter
	cmd := &cobra.Command{
		Use:   "list-tenants",
		Short: "List tenants by slug, those being provisioned included",
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.Status != "" && !f.Status.Valid() {
				return usageError{fmt.Errorf("--status %s is no status of a tenant", f.Status)}
			}
			if err := checkList(map[string]*string{"--query": &f.Query, "--db-server": &f.ServerName}, &f.Page); err != nil {
				return err
			}
			return c.withControl(cmd, func(ctx context.Context, control *app.Control) error {
				tenants, next, err := control.Store.ListTenants(ctx, f)
				if err != nil {
					return err
				}
				rows := make([][]string, len(tenants))
				views := make([]any, len(tenants))
				for i, t := range tenants {
					rows[i] = []string{
						string(t.Slug), t.DisplayName, string(t.Status), orDash(t.ServerName), orDash(t.DatabaseName), orDash(t.SchemaVersion),
					}
					views[i] = app.TenantView(t)
				}
				return c.printList(views, next, []string{"SLUG", "NAME", "STATUS", "SERVER", "DATABASE", "SCHEMA"}, rows)
			})
		},
	}
	c.configFlags(cmd, "DATABASE_URL")
	cmd.Flags().StringVar(&f.Query, "query", "", "only tenants whose slug or name contains this")
	cmd.Flags().StringVar((*string)(&f.Status), "status", "", "only tenants of this status")
	cmd.Flags().StringVar(&f.ServerName, "db-server", "", "only tenants on this server")
	pageFlags(cmd, &f.Page)
	return cmd
}
