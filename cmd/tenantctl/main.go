// Command tenantctl is tenantry's command line: break-glass provisioning that
// needs neither the api nor Redis, operations on jobs, servers and tokens, and a
// whole development plane on one machine.
//
// stdout is data and stderr is talk. Exit codes: 0 ok, 1 the job failed, 2 usage
// or validation, 3 conflict, 4 not authorised, 5 not found, 6 a dependency is
// unavailable, 130 interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process the ordinary way.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// Exit codes, as the contract has them.
const (
	exitOK          = 0
	exitJobFailed   = 1
	exitUsage       = 2
	exitConflict    = 3
	exitForbidden   = 4
	exitNotFound    = 5
	exitUnavailable = 6
	exitInterrupted = 130
)

// codeInterrupted is the code of what a signal ended. No job ends with it.
const codeInterrupted tenancy.Code = "INTERRUPTED"

// run is the program, apart from the process around it.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	c := &cli{getenv: getenv, stdout: stdout, stderr: stderr}
	root := c.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if !c.running && asksForJSON(args) { // the flags were read up to the first mistake
		c.format = "json"
	}
	code := c.exitCode(ctx, err)
	c.reportError(err, code == exitInterrupted)
	return code
}

// asksForJSON looks for -o json, in each of its spellings, in args that may be wrong
// otherwise.
func asksForJSON(args []string) bool {
	for i, arg := range args {
		switch arg {
		case "--":
			return false
		case "-ojson", "-o=json", "--output=json":
			return true
		case "-o", "--output":
			if i+1 < len(args) && args[i+1] == "json" {
				return true
			}
		}
	}
	return false
}

// cli is what every command shares.
type cli struct {
	getenv         func(string) string
	stdout, stderr io.Writer
	format         string
	// running is set once a command was called rightly and does its work.
	running bool
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "tenantctl",
		Short: "Run and operate tenantry, the control plane for database-per-tenant SaaS",
		Long: `tenantctl runs and operates tenantry, the control plane that gives each customer
of a SaaS its own Postgres database.

Configuration comes from the environment (DATABASE_URL, KEY_VAULT_URL, …), or
from the flag of the same name. stdout is data, stderr is talk.

Exit codes: 0 ok, 1 the job failed, 2 usage or validation, 3 conflict, 4 not
authorised, 5 not found, 6 a dependency is unavailable, 130 interrupted. With
-o json a failure is on stdout too: the failed job, or {"error":{"code":…,"message":…}}
with the code INTERRUPTED for what a signal ended.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if c.format != "table" && c.format != "json" {
				return usageError{errors.New("--output must be table or json")}
			}
			return nil
		},
	}
	root.PersistentFlags().StringVarP(&c.format, "output", "o", "table", "what to print on stdout: table or json")
	root.PersistentFlags().String("log-level", "", "overrides $LOG_LEVEL")
	root.PersistentFlags().String("log-format", "", "overrides $LOG_FORMAT")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		c.provisionTenant(), c.bulkProvision(), c.runJob(), c.retryJob(), c.getJob(), c.listJobs(),
		c.listTenants(), c.tenantStatus(), c.offboardTenant(),
		c.listServers(), c.addServer(), c.updateServer(),
		c.bootstrapAdmin(), c.listUsers(), c.updateUser(), c.createAPIToken(), c.verifyAudit(), c.doctor(),
		c.migrate(), c.dev(), c.version(), c.reference(root),
	)
	for _, cmd := range root.Commands() {
		if body := cmd.RunE; body != nil {
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				c.running = true
				return body(cmd, args)
			}
		}
	}
	return root
}

// usageError is a mistake in how a command was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// jobFailed says that the job a command ran ended failed or cancelled; the job
// itself has been printed.
type jobFailed struct{ job tenancy.Job }

func (e jobFailed) Error() string { return fmt.Sprintf("job %s is %s", e.job.ID, e.job.Status) }

// errSomethingOff says that a check found what it looks for; the command has
// shown it.
var errSomethingOff = errors.New("something is off")

// exactArgs is cobra.ExactArgs as a usage error.
func exactArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := cobra.ExactArgs(n)(cmd, args); err != nil {
			return usageError{fmt.Errorf("%w; see tenantctl %s --help", err, cmd.Name())}
		}
		return nil
	}
}

func (c *cli) exitCode(ctx context.Context, err error) int {
	if _, ok := errors.AsType[jobFailed](err); ok || errors.Is(err, errSomethingOff) {
		return exitJobFailed
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if ctx.Err() != nil {
		return exitInterrupted
	}
	e, ok := errors.AsType[*tenancy.Error](err)
	if !ok && !c.running {
		return exitUsage // cobra's own: an unknown command, a missing flag
	}
	if !ok {
		return exitJobFailed
	}
	switch e.Code {
	case tenancy.CodeInvalidSlug, tenancy.CodeInvalidRequest:
		return exitUsage
	case tenancy.CodeJobInProgress, tenancy.CodeAlreadyProvisioned, tenancy.CodeConflict, tenancy.CodeJobBusy, tenancy.CodeJobSettled:
		return exitConflict
	case tenancy.CodeUnauthenticated, tenancy.CodeForbidden:
		return exitForbidden
	case tenancy.CodeNotFound, tenancy.CodeDBServerNotFound:
		return exitNotFound
	case tenancy.CodeDependencyUnavailable, tenancy.CodeProvisioningUnavailable, tenancy.CodeTimeout:
		return exitUnavailable
	}
	return exitJobFailed
}

// reportError says on stderr what went wrong and, with -o json, on stdout too.
func (c *cli) reportError(err error, interrupted bool) {
	if _, ok := errors.AsType[jobFailed](err); ok || errors.Is(err, errSomethingOff) {
		return // the command has shown it
	}
	fmt.Fprintln(c.stderr, "tenantctl:", app.Explain(err))
	e, coded := errors.AsType[*tenancy.Error](err)
	if coded && e.JobID != "" {
		fmt.Fprintln(c.stderr, "running job:", e.JobID)
	}
	if c.format != "json" {
		return
	}
	problem := map[string]any{"code": tenancy.CodeInternal, "message": app.Explain(err)}
	if _, usage := errors.AsType[usageError](err); usage || !c.running {
		problem["code"] = tenancy.CodeInvalidRequest
	}
	if coded {
		problem["code"] = e.Code
		if e.JobID != "" {
			problem["jobId"] = e.JobID
		}
	}
	if interrupted { // whatever the end of it looked like
		problem["code"] = codeInterrupted
	}
	_ = c.printJSON(map[string]any{"error": problem}) // stdout may be closed
}
