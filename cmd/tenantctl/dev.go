package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/devplane"
)

const (
	// devGrace and devStop keep the promise that a signal ends everything within
	// ten seconds: a worker that hangs takes six more after its grace.
	devGrace = time.Second
	devStop  = 3 * time.Second
	// devPool is WARM_POOL_SIZE unless somebody says otherwise.
	devPool = "8"
)

// devOptions are the flags of dev.
type devOptions struct {
	addr, dataDir, readyFile string
	workers                  int
	// fast gives up crash safety of the servers; tests use it.
	fast bool
	// onReady, if set, is called once everything answers.
	onReady func(readiness, *devplane.Plane)
}

func (c *cli) dev() *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole development plane on this machine",
		Long: `Run a whole development plane on this machine: three Postgres servers (master and
two for tenants), Redis, a Key Vault emulator, a mailbox, the api and a worker,
with servers, users and API tokens to start with. Everything listens on loopback
alone. Ctrl-C ends it all.`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.devEnvironment().config(cmd)
			if err != nil {
				return err
			}
			if o.workers < 0 || o.workers > 50 {
				return usageError{errors.New("--workers must be between 0 and 50")}
			}
			return c.runDev(cmd.Context(), cfg, o)
		},
	}
	c.configFlags(cmd, "TENANT_MIGRATIONS", "BACKUP_DIR", "RESERVED_SLUGS", "WARM_POOL_SIZE")
	cmd.Flags().StringVar(&o.addr, "addr", "127.0.0.1:8080", "where the api listens")
	cmd.Flags().StringVar(&o.dataDir, "data-dir", "", "where everything is kept between runs; empty keeps nothing")
	cmd.Flags().IntVar(&o.workers, "workers", 1, "how many workers to run")
	cmd.Flags().StringVar(&o.readyFile, "ready-file", "", "write all addresses and credentials to this file, as JSON, once everything answers")
	return cmd
}

// devEnvironment is c with dev's own defaults.
func (c *cli) devEnvironment() *cli {
	dev := *c
	dev.getenv = func(name string) string {
		if value := c.getenv(name); value != "" || name != "WARM_POOL_SIZE" {
			return value
		}
		return devPool
	}
	return &dev
}

func (c *cli) runDev(ctx context.Context, cfg config.Config, o devOptions) (err error) {
	began := time.Now()
	log := app.NewLogger(cfg, c.stderr)
	dir, cleanup, err := devDir(o.dataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cleanup()) }()
	cfg.HTTPAddr = o.addr
	listener, err := app.Listen(cfg)
	if err != nil {
		return err
	}
	defer listener.Close()

	plane, err := devplane.StartPlane(ctx, devplane.PlaneConfig{DataDir: dir, Fast: o.fast, Log: log})
	if err != nil {
		return err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), devStop)
		defer cancel()
		err = errors.Join(err, plane.Stop(stop))
	}()
	cfg = devConfig(cfg, plane, listener)
	if cfg.BackupDir == "" {
		cfg.BackupDir = filepath.Join(dir, "backups")
		if err := os.MkdirAll(cfg.BackupDir, 0o700); err != nil {
			return fmt.Errorf("cannot make a directory for final dumps: %w", err)
		}
	}
	seeded, err := seedDev(ctx, cfg, plane, dir, log)
	if err != nil {
		return err
	}
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { return app.RunAPI(running, cfg, log.With("process", "api"), listener) })
	for i := range o.workers {
		g.Go(func() error {
			return app.RunWorker(running, cfg, log.With("process", fmt.Sprintf("worker-%d", i+1)), devGrace)
		})
	}
	g.Go(func() error {
		if err := waitReady(running, cfg.PublicURL); err != nil {
			return err
		}
		if o.onReady != nil {
			o.onReady(seeded, plane)
		}
		return c.announceDev(seeded, o, time.Since(began))
	})
	return g.Wait()
}

// devDir returns the directory to use and what to do with it at the end. A kept
// directory is locked, because two planes in one would ruin each other's data.
func devDir(kept string) (dir string, cleanup func() error, err error) {
	if kept == "" {
		if dir, err = os.MkdirTemp("", "tenantry-dev-"); err != nil {
			return "", nil, fmt.Errorf("cannot make a data directory: %w", err)
		}
		cleanup = func() error { return os.RemoveAll(dir) }
		// Postgres runs as another user where this one is root.
		return dir, cleanup, os.Chmod(dir, 0o711)
	}
	if dir, err = filepath.Abs(kept); err != nil {
		return "", nil, fmt.Errorf("cannot use --data-dir: %w", err)
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", nil, fmt.Errorf("cannot make --data-dir: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", nil, fmt.Errorf("cannot use --data-dir: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return "", nil, errors.Join(errors.New("cannot use --data-dir: another tenantctl dev uses it"), lock.Close())
	}
	return dir, lock.Close, nil
}

// devConfig is the configuration of the processes of a plane.
func devConfig(cfg config.Config, p *devplane.Plane, listener net.Listener) config.Config {
	cfg.DatabaseURL = p.Master.DatabaseURL(devDatabase)
	cfg.RedisURL = p.RedisURL()
	cfg.KeyVaultURL, cfg.KeyVaultCAFile = p.Vault.URL(), p.Vault.CAFile()
	cfg.SMTPURL, cfg.MailFrom = p.Mailbox.SMTPURL(), "tenantry <no-reply@platform.localhost>"
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	cfg.PublicURL = "http://" + strings.Replace(listener.Addr().String(), "[::]", "127.0.0.1", 1)
	cfg.TenantURL = "http://{slug}.localhost:" + port
	return cfg
}

// waitReady returns once the api says that it is ready.
func waitReady(ctx context.Context, publicURL string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, publicURL+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the api does not answer: %w", context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
