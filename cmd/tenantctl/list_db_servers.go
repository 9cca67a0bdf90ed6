package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/app"
)

func (c *cli) listServers() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list-db-servers",
		Short: "List the database servers with their load",
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withControl(cmd, func(ctx context.Context, control *app.Control) error {
				servers, err := control.Store.ListServers(ctx)
				if err != nil {
					return err
				}
				rows := make([][]string, len(servers))
				views := make([]any, len(servers))
				for i, l := range servers {
					rows[i], views[i] = serverRow(l), app.ServerView(l)
				}
				return c.printList(views, "", serverHeader, rows)
			})
		},
	}
	c.configFlags(cmd, "DATABASE_URL")
	return cmd
}
