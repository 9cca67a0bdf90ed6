//go:build crashpoints

package crashtest_test

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// TestCrashWarm kills a worker, or freezes it until another has gone on without it, at
// each step of preparing a database ahead. A job that comes meanwhile completes; in the
// end the pool is full and there is nothing else.
func TestCrashWarm(t *testing.T) {
	if !prepared {
		t.Skip("there is no pool")
	}
	w := setup(t)
	var g errgroup.Group
	g.SetLimit(parallel)
	for _, step := range []string{"roles", "copy", "door", "rights", "mark"} {
		for _, when := range []string{"before", "after"} {
			for _, e := range []event{killed, killedTwice, frozen} {
				point := "warm:" + step + ":" + when
				g.Go(func() error {
					t.Run(point+" "+string(e), func(t *testing.T) {
						w.try(t, func(ctx context.Context, x *trial) error { return x.stopWarming(ctx, point, e) })
					})
					return nil
				})
			}
		}
	}
	_ = g.Wait()
}

func (t *trial) stopWarming(ctx context.Context, point string, e event) error {
	t.warm = true
	if e == frozen {
		return t.freezeWarming(ctx, point)
	}
	for range map[event]int{killed: 1, killedTwice: 2}[e] {
		w, _, err := t.startAt(point)
		if err != nil {
			return err
		}
		if err := until(ctx, "the worker dies at "+point, func() (bool, error) { return w.exited(), nil }); err != nil {
			return err
		}
		if !w.killed() {
			return errors.New("it ended by itself")
		}
	}
	if err := t.submit(ctx); err != nil {
		return err
	}
	if _, err := t.finish(ctx, 1); err != nil {
		return err
	}
	return t.verdict(ctx, t.job.ID, tenancy.JobComplete)
}

// freezeWarming takes the lead from a frozen worker, as a server that loses its
// connection does.
func (t *trial) freezeWarming(ctx context.Context, point string) error {
	sleeper, err := t.freezeAt(ctx, point)
	if err != nil {
		return err
	}
	if _, err := t.pool.Exec(ctx, `
		SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND state = 'idle in transaction'`); err != nil {
		return err
	}
	if err := t.submit(ctx); err != nil {
		return err
	}
	if _, err := t.finish(ctx, 1); err != nil {
		return err
	}
	if err := sleeper.signal(syscall.SIGCONT); err != nil {
		return err
	}
	if err := until(ctx, "the woken worker no longer leads", func() (bool, error) {
		return sleeper.said("cannot keep the pool"), nil
	}); err != nil {
		return err
	}
	if err := errors.Join(t.poolFull(ctx), sleeper.stop(ctx)); err != nil {
		return err
	}
	return t.verdict(ctx, t.job.ID, tenancy.JobComplete)
}
