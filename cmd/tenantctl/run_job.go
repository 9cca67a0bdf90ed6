package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func (c *cli) runJob() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run-job JOB_ID",
		Short: "Run what is left of an unsettled job in this very process (break-glass)",
		Long: `Run what is left of a queued or interrupted job in this very process, without a
worker or Redis. A job that a worker holds is left alone.`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			control, cfg, err := c.vaultControl(cmd)
			if err != nil {
				return err
			}
			defer control.Close()
			job, err := control.Store.Job(cmd.Context(), tenancy.JobID(args[0]))
			if err != nil {
				return err
			}
			return c.runHere(cmd.Context(), control, cfg, job)
		},
	}
	c.configFlags(cmd, vaultVariables...)
	return cmd
}

// followInterval is how often a job that another worker took is looked at.
const followInterval = 500 * time.Millisecond

// lastLook bounds the look at what became of a job; master may be why it ended.
const lastLook = 5 * time.Second

// runHere runs a job in this process, shows its progress on stderr and, once it
// is settled, the job on stdout. Should another worker take the job, it follows
// that one.
func (c *cli) runHere(ctx context.Context, control *app.Control, cfg config.Config, job tenancy.Job) error {
	show := newProgress(c.stderr, job)
	runner, err := control.Runner(nil, show.observe)
	if err != nil {
		return err
	}
	err = runner.RunUntilSettled(ctx, job.ID)
	show.close()
	switch tenancy.CodeOf(err) {
	case tenancy.CodeJobBusy, tenancy.CodeLeaseLost:
		fmt.Fprintln(c.stderr, "A worker has the job; following it.")
		if err := follow(ctx, control, job.ID); err != nil {
			return c.leftBehind(job, err)
		}
	}
	// Whatever Run said, the row is the truth.
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLook)
	defer cancel()
	settled, lookErr := control.Store.Job(asking, job.ID)
	switch {
	case err != nil && (lookErr != nil || !settled.Status.Settled()):
		return c.leftBehind(job, err)
	case lookErr != nil:
		return lookErr
	}
	if err := c.printJob(settled, cfg); err != nil {
		return err
	}
	if settled.Status != tenancy.JobComplete {
		return jobFailed{settled}
	}
	return nil
}

// leftBehind tells how to go on with a job that is not settled.
func (c *cli) leftBehind(job tenancy.Job, err error) error {
	fmt.Fprintf(c.stderr, "Job %s is not settled. A worker goes on with it, or run: tenantctl run-job %s\n", job.ID, job.ID)
	return err
}

func follow(ctx context.Context, control *app.Control, id tenancy.JobID) error {
	for {
		job, err := control.Store.Job(ctx, id)
		if err != nil || job.Status.Settled() {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(followInterval):
		}
	}
}
