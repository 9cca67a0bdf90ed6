package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/tenantry/tenantry/internal/doctor"
)

const (
	// examineInterval is how often the leader looks for divergences.
	examineInterval = 5 * time.Minute
	// examineStandby is how often a worker that does not lead tries to, and how long one
	// that starts leaves it to the others.
	examineStandby = time.Minute
)

// examiner publishes what `tenantctl doctor` would say as a metric, and repairs nothing.
// One of the workers leads, goes on doing so, and alone has the metric: what another had
// seen before would stay, whatever was mended since.
type examiner struct {
	lead    func(ctx context.Context, name string, f func(context.Context) error) error
	examine func(context.Context) ([]doctor.Finding, error)
	metrics *metrics
	log     *slog.Logger
}

func (e examiner) run(ctx context.Context) {
	for pause(ctx, examineStandby) {
		for e.term(ctx) {
		}
		e.metrics.diverge.Reset()
	}
}

// term looks once and keeps the lead until the next look is due. It reports whether it
// led all the while: then nobody else has looked. A term is short because master holds a
// transaction open for it.
func (e examiner) term(ctx context.Context) (led bool) {
	err := e.lead(ctx, "doctor", func(ctx context.Context) error {
		findings, err := e.examine(ctx)
		if err != nil {
			return err
		}
		e.metrics.diverged(findings)
		led = pause(ctx, examineInterval)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		e.log.Warn("cannot look for divergences", "error", err)
	}
	return led && err == nil
}

// pause reports false once ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
