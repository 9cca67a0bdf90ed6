package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func (c *cli) runJob() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run-job JOB_ID",
		Short: "Run what is left of an unsettled job in this very process (break-glass)",
		Long: `Run what is left of a queued or interrupted job in this very process, without a
worker or Redis. A job that a worker holds is left to it, and followed; should the
worker let it go, or die, the job goes on here.`,
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

// lookLimit bounds a look at the job; master may be why it is looked at.
const lookLimit = 5 * time.Second

// runHere runs a job in this process, shows its progress on stderr and, once it
// is settled, the job on stdout. Should another worker take the job, it follows
// that one, and goes on if that one does not.
func (c *cli) runHere(ctx context.Context, control *app.Control, cfg config.Config, job tenancy.Job) error {
	show := newProgress(c.stderr, job)
	runner, err := control.Runner(nil, show.observe)
	if err != nil {
		return err
	}
	for said := false; ; said = true {
		err = runner.RunUntilSettled(ctx, job.ID)
		if code := tenancy.CodeOf(err); code != tenancy.CodeJobBusy && code != tenancy.CodeLeaseLost {
			break
		}
		// It may be the lease of a process that died, or this one's own that it lost touch
		// with. Master's clock decides when it is over.
		if !said {
			show.say("A worker has the job, or had it a moment ago; following it until it is settled or free.")
		}
		follow(ctx, control, job.ID)
	}
	show.close()
	// Whatever Run said, the row is the truth.
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookLimit)
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

// follow looks at a job until it is settled, or until whoever had it should have gone on
// with it: after a failure a worker does so when Backoff is over. It ends too when master
// cannot be asked.
func follow(ctx context.Context, control *app.Control, id tenancy.JobID) {
	var seen int64
	for still := time.Duration(0); ; still += followInterval {
		looking, cancel := context.WithTimeout(ctx, lookLimit)
		job, err := control.Store.Job(looking, id)
		cancel()
		if err != nil || job.Status.Settled() {
			return
		}
		if job.Version != seen {
			seen, still = job.Version, 0
		}
		if still > pipeline.Backoff(job.Failures) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(followInterval):
		}
	}
}
