package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/tenancy"
)

func (c *cli) retryJob() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retry-job JOB_ID",
		Short: "Begin a new attempt of a failed job",
		Long: `Begin a new attempt of a failed job. A worker runs it; where there is none, run it
here with "tenantctl run-job JOB_ID".`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			control, cfg, err := c.control(cmd)
			if err != nil {
				return err
			}
			defer control.Close()
			job, err := control.Store.RetryJob(cmd.Context(), tenancy.JobID(args[0]), osActor())
			if err != nil {
				return err
			}
			fmt.Fprintf(c.stderr, "Attempt %d of job %s is queued.\n", job.Attempt, job.ID)
			return c.printJob(job, cfg)
		},
	}
	c.configFlags(cmd, "DATABASE_URL", "PUBLIC_URL")
	return cmd
}
