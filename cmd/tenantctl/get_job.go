package main

import (
	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func (c *cli) getJob() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get-job JOB_ID",
		Short: "Show a job",
		Args:  exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			control, cfg, err := c.control(cmd)
			if err != nil {
				return err
			}
			defer control.Close()
			job, err := control.Store.Job(cmd.Context(), tenancy.JobID(args[0]))
			if err != nil {
				return err
			}
			return c.printJob(job, cfg)
		},
	}
	c.configFlags(cmd, "DATABASE_URL", "PUBLIC_URL")
	return cmd
}
