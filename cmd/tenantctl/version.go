package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/app"
)

func (c *cli) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this build",
		Args:  exactArgs(0),
		RunE: func(*cobra.Command, []string) error {
			if c.format == "json" {
				return c.printJSON(map[string]any{"version": app.Version, "go": runtime.Version()})
			}
			_, err := fmt.Fprintf(c.stdout, "tenantctl %s (%s)\n", app.Version, runtime.Version())
			return err
		},
	}
}
