// Command api serves the HTTP API. It is stateless: run as many as you like.
// Configuration comes from the environment, or from the flag of the same name; see
// docs/configuration.md.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/config"
)

func main() {
	os.Exit(app.Main("api", app.APINeeds, func(ctx context.Context, cfg config.Config, log *slog.Logger) error {
		listener, err := app.Listen(cfg)
		if err != nil {
			return err
		}
		return app.RunAPI(ctx, cfg, log, listener)
	}))
}
