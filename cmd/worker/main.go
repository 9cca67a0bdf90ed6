// Command worker runs jobs, relays the outbox and reconciles. It is stateless:
// run as many as you like. Configuration comes from the environment; see
// docs/configuration.md.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := app.Main(ctx, os.Stderr, func(ctx context.Context) error {
		getenv, err := config.Flags("worker", os.Args[1:], os.Getenv)
		if err != nil {
			return err
		}
		cfg, err := config.Load(getenv, app.WorkerNeeds...)
		if err != nil {
			return err
		}
		return app.RunWorker(ctx, cfg, app.NewLogger(cfg, os.Stderr), app.DefaultGrace)
	})
	stop()
	os.Exit(code)
}
