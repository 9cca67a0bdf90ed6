// Package app puts the parts together. It is the only package that knows them
// all: cmd/api, cmd/worker and cmd/tenantctl each ask it for what they run.
package app

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/phases"
	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/placement"
	"github.com/tenantry/tenantry/internal/secrets"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tasks"
	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/internal/tenantdb"
)

// Version is the build's version, set by the linker.
var Version = "dev"

// Control is the control plane without its processes: master, and, unless
// KEY_VAULT_URL is empty, the vault, the tenant servers and the pipeline.
type Control struct {
	Store     *store.Store
	Tokens    auth.APITokens
	Sessions  *auth.Sessions
	Vault     *secrets.Vault
	Databases *tenantdb.Servers
	backupDir string
	warmPool  bool
	log       *slog.Logger
}

// OpenControl connects to what cfg names. Master must answer and have this
// build's schema. wake is called when the outbox got something; may be nil.
func OpenControl(ctx context.Context, cfg config.Config, log *slog.Logger, wake func()) (*Control, error) {
	st, err := store.Open(ctx, cfg.DatabaseURL, connections(cfg), wake)
	if err != nil {
		return nil, err
	}
	c := &Control{Store: st, Tokens: auth.APITokens{Store: st}, Sessions: &auth.Sessions{
		Store: st, Passwords: auth.NewPasswords(max(2, runtime.GOMAXPROCS(0))), RequireMFA: cfg.RequireMFA, Now: time.Now,
	}, backupDir: cfg.BackupDir, warmPool: cfg.WarmPoolSize > 0, log: log}
	if err := st.CheckSchema(ctx); err != nil {
		c.Close()
		return nil, err
	}
	if cfg.KeyVaultURL == "" {
		return c, nil
	}
	if err := c.openVault(cfg); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// connections is how many a worker needs to a server: one for each job at work,
// and a few more for looking around.
func connections(cfg config.Config) int {
	interactive, bulk := tasks.Shares(cfg.WorkerConcurrency)
	return interactive + bulk + 4
}

func (c *Control) openVault(cfg config.Config) (err error) {
	c.Vault, err = secrets.Open(secrets.Config{
		URL: cfg.KeyVaultURL, CAFile: cfg.KeyVaultCAFile, Development: cfg.KeyVaultDev,
	})
	if err != nil {
		return unusable("the vault", err)
	}
	servers := tenantdb.Config{
		Secrets: c.Vault, Log: c.log,
		MaxConnections: connections(cfg),
	}
	if cfg.TenantMigrations != "" {
		servers.AppMigrations = os.DirFS(cfg.TenantMigrations)
	}
	if c.Databases, err = tenantdb.New(servers); err != nil {
		return unusable("TENANT_MIGRATIONS", err)
	}
	return nil
}

// unusable is a fault of the configuration that shows only in use.
func unusable(what string, err error) error {
	return tenancy.Wrap(tenancy.CodeInvalidRequest, err, fmt.Sprintf("cannot use %s: %v", what, err))
}

// MigrateMaster brings master to this build's schema and, unless role is empty,
// grants that login the services' privileges. It returns the schema's version.
func MigrateMaster(ctx context.Context, databaseURL, role string) (version uint, err error) {
	if version, err = store.Migrate(ctx, databaseURL); err != nil || role == "" {
		return version, err
	}
	return version, store.GrantTo(ctx, databaseURL, role)
}

// Close closes all connections, but waits for none that cannot be closed soon.
func (c *Control) Close() {
	closeSoon(c.log, func() {
		if c.Databases != nil {
			c.Databases.Close()
		}
		if c.Vault != nil {
			c.Vault.Close()
		}
		c.Store.Close()
	})
}

// closeLimit bounds closeSoon: a connection to a server that hangs takes its time.
const closeLimit = time.Second

// closeSoon calls f, which closes connections, and does not wait for it beyond the limit.
func closeSoon(log *slog.Logger, f func()) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		f()
	}()
	select {
	case <-closed:
	case <-time.After(closeLimit):
		log.Warn("some connections could not be closed in time")
	}
}

// ErrNoVault is what provisioning answers without a vault.
var ErrNoVault error = tenancy.Errorf(tenancy.CodeProvisioningUnavailable, "KEY_VAULT_URL is not set: without a vault no tenant can be provisioned or purged.")

// Runner returns a runner of jobs. draining and observe may be nil.
func (c *Control) Runner(draining <-chan struct{}, observe func(pipeline.Event)) (*pipeline.Runner, error) {
	if c.Vault == nil {
		return nil, ErrNoVault
	}
	return &pipeline.Runner{
		Journal: c.Store,
		Plan: phases.Plan(phases.Deps{
			Registry: c.Store, Databases: c.Databases, Secrets: c.Vault,
			Choose: placement.Choose, Template: c.warmTemplate, NewPassword: tenantdb.NewPassword,
		}, phases.OffboardDeps{
			Registry: c.Store, Databases: c.Databases, Secrets: c.Vault, BackupDir: c.backupDir,
		}),
		Owner:    workerName(),
		Draining: draining,
		Observe:  observe,
		Log:      c.log,
	}, nil
}

// warmTemplate is what a job's prepared database must be a copy of; "" where there is
// no pool.
func (c *Control) warmTemplate() string {
	if !c.warmPool {
		return ""
	}
	return c.Databases.Template()
}

// workerName tells workers apart in leases, on one host too.
func workerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), rand.Text()[:6])
}

// NewLogger returns the logger cfg asks for.
func NewLogger(cfg config.Config, w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// Main is the body of a process: it reads the configuration from flags and
// environment, runs until SIGINT or SIGTERM, and says on stderr why it could not.
// It returns the exit code.
func Main(program string, needs []string, run func(context.Context, config.Config, *slog.Logger) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process the ordinary way.
	context.AfterFunc(ctx, stop)
	err := func() error {
		getenv, err := config.Flags(program, os.Args[1:], os.Getenv)
		if err != nil {
			return err
		}
		cfg, err := config.Load(getenv, needs...)
		if err != nil {
			return err
		}
		log := NewLogger(cfg, os.Stderr)
		if cfg.KeyVaultDev {
			log.Warn("KEY_VAULT_DEV is set: the vault is an emulator, which asks nobody who they are")
		}
		return run(ctx, cfg, log)
	}()
	if err == nil || errors.Is(err, flag.ErrHelp) || errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", program, Explain(err))
	return 1
}

// Explain is an error in words for an operator: the safe message if it has one.
func Explain(err error) string {
	if e, ok := errors.AsType[*tenancy.Error](err); ok {
		return e.Message
	}
	return err.Error()
}
