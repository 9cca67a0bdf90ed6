// Command api serves the HTTP API. It is stateless: run as many as you like.
// Configuration comes from the environment; see docs/configuration.md.
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
		getenv, err := config.Flags("api", os.Args[1:], os.Getenv)
		if err != nil {
			return err
		}
		cfg, err := config.Load(getenv, app.APINeeds...)
		if err != nil {
			return err
		}
		listener, err := app.Listen(cfg)
		if err != nil {
			return err
		}
		return app.RunAPI(ctx, cfg, app.NewLogger(cfg, os.Stderr), listener)
	})
	stop()
	os.Exit(code)
}
