package app

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/doctor"
	"github.com/tenantry/tenantry/internal/mail"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tasks"
)

// WorkerNeeds are the variables a worker cannot do without. Without SMTP_URL or
// TENANT_URL it does everything but mail, which it leaves to workers that have them.
var WorkerNeeds = []string{"DATABASE_URL", "REDIS_URL", "KEY_VAULT_URL"}

// DefaultGrace is how long a stopping worker lets a phase go on before it is
// interrupted. With it a worker is gone within the 30 s that orchestrators wait.
const DefaultGrace = 20 * time.Second

// RunWorker runs a worker until ctx ends.
func RunWorker(ctx context.Context, cfg config.Config, log *slog.Logger, grace time.Duration) error {
	redis, err := openRedis(cfg, log)
	if err != nil {
		return err
	}
	mailer, err := openMailer(cfg, log)
	if err != nil {
		return err
	}
	cfg.DatabaseURL = store.PlanOnce(cfg.DatabaseURL)
	var relay *tasks.Relay
	control, err := OpenControl(ctx, cfg, log, func() { relay.Wake() })
	if err != nil {
		return err
	}
	defer control.Close()
	relay = tasks.NewRelay(control.Store, redis, log)

	m := newMetrics()
	m.registry.MustRegister(newBacklog(control.Store.Stats), newPoolGauge(control.Store.WarmServers))
	draining := make(chan struct{})
	runner, err := control.Runner(draining, m.observe)
	if err != nil {
		return err
	}
	worker := tasks.NewWorker(tasks.WorkerConfig{
		Redis: redis, Concurrency: cfg.WorkerConcurrency, Grace: grace,
		Runner: runner, Jobs: control.Store, Ledger: control.Store, Relay: relay,
		Invitations: control.Store, Admins: control.Databases, Mailer: mailer, TenantURL: cfg.TenantURL,
		// Without a place for the final dump nothing is purged by itself.
		PurgeExpired: cfg.BackupDir != "",
		Pool: &tasks.WarmPool{
			Size: cfg.WarmPoolSize, Ledger: control.Store, Servers: control.Databases, Warmed: m.warmed,
		},
		Draining: draining, Log: log,
		// Before Run there is no connection to be closed.
		Ended: func() { _ = redis.Close() },
	})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return worker.Run(ctx) })
	d := doctor.Doctor{Registry: control.Store, Databases: control.Databases, Secrets: control.Vault}
	g.Go(func() error { examiner{control.Store.Lead, d.Examine, m, log}.run(ctx); return nil })
	g.Go(func() error { return m.serve(ctx, cfg.MetricsAddr, control.Store.Ping) })
	return g.Wait()
}

// openMailer returns nil where mail cannot be sent, and says so once: an interface,
// since tasks compares it with nil.
func openMailer(cfg config.Config, log *slog.Logger) (tasks.Mailer, error) {
	var unset []string
	for _, v := range []struct{ name, value string }{
		{"SMTP_URL", cfg.SMTPURL}, {"MAIL_FROM", cfg.MailFrom}, {"TENANT_URL", cfg.TenantURL},
	} {
		if v.value == "" {
			unset = append(unset, v.name)
		}
	}
	if len(unset) > 0 {
		log.Warn("this worker sends no mail; invitations and password resets wait for one that does", "unset", strings.Join(unset, " "))
		return nil, nil
	}
	return mail.Open(cfg.SMTPURL, cfg.MailFrom)
}
