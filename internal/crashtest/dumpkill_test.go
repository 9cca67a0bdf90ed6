//go:build crashpoints

package crashtest_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// TestCrashInDump kills a worker while pg_dump waits for the server.
func TestCrashInDump(t *testing.T) {
	w := setup(t)
	for _, end := range []event{killed, frozen} {
		t.Run(string(end), func(t *testing.T) {
			w.try(t, func(ctx context.Context, x *trial) error {
				if err := x.submit(ctx); err != nil {
					return err
				}
				if err := x.submitPurge(ctx, true); err != nil {
					return err
				}
				if _, err := x.crashAt(ctx, "do:backup_taken:before"); err != nil {
					return err
				}
				var home server
				for _, s := range x.servers {
					if s.name == x.job.Server.Name {
						home = s
					}
				}
				conn, err := pgx.Connect(ctx, home.pg.DatabaseURL(x.job.Slug.DatabaseName()))
				if err != nil {
					return err
				}
				defer conn.Close(ctx)
				if _, err := conn.Exec(ctx, "BEGIN; LOCK TABLE public.visits"); err != nil {
					return err
				}
				second, err := x.start()
				if err != nil {
					return err
				}
				if err := until(ctx, "pg_dump waits", func() (is bool, err error) {
					err = home.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1 AND application_name = 'pg_dump' AND wait_event_type = 'Lock')`,
						x.job.Slug.DatabaseName()).Scan(&is)
					return is, err
				}); err != nil {
					return err
				}
				if end == killed {
					second.kill()
				} else if err := second.signal(syscall.SIGSTOP); err != nil {
					return err
				}
				if err := conn.Close(ctx); err != nil {
					return err
				}
				if _, err := x.finish(ctx, 2); err != nil {
					return err
				}
				if end == frozen {
					if err := x.wake(ctx, second); err != nil {
						return fmt.Errorf("woken: %w", err)
					}
				}
				return x.verdict(ctx, x.job.ID, tenancy.JobComplete)
			})
		})
	}
}
