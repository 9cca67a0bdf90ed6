// Command worker runs jobs, relays the outbox and reconciles. It is stateless:
// run as many as you like. Configuration comes from the environment, or from the
// flag of the same name; see docs/configuration.md.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/config"
)

func main() {
	os.Exit(app.Main("worker", app.WorkerNeeds, func(ctx context.Context, cfg config.Config, log *slog.Logger) error {
		return app.RunWorker(ctx, cfg, log, app.DefaultGrace)
	}))
}
