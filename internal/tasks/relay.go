package tasks

import (
	"context"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/internal/tenancy"
)

const (
	// relayInterval is how soon what another process left in the outbox, or what
	// Redis would not take, is tried.
	relayInterval = 500 * time.Millisecond
	relayBatch    = 100
)

// Outbox holds the doorbells that Redis has not taken yet.
type Outbox interface {
	RelayOutbox(ctx context.Context, limit int, enqueue func(tenancy.Task) error) (relayed int, err error)
}

// Relay moves doorbells from the outbox to Redis. The api and every worker run
// one; they share the work.
type Relay struct {
	outbox Outbox
	client *asynq.Client
	log    *slog.Logger
	wake   chan struct{}
}

// NewRelay returns a Relay; the caller runs it.
func NewRelay(outbox Outbox, client redis.UniversalClient, log *slog.Logger) *Relay {
	return &Relay{outbox: outbox, client: asynq.NewClientFromRedisClient(client), log: log, wake: make(chan struct{}, 1)}
}

// Wake makes the relay look at the outbox at once. It never blocks.
func (r *Relay) Wake() {
	select {
	case r.wake <- struct{}{}:
	default: // it is about to look anyway
	}
}

// Run relays until ctx ends.
func (r *Relay) Run(ctx context.Context) {
	tick := time.NewTicker(relayInterval)
	defer tick.Stop()
	down := false
	for {
		err := r.drain(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !down:
			r.log.Warn("the outbox cannot be relayed; trying on", "error", err)
		case err == nil && down:
			r.log.Info("the outbox is relayed again")
		}
		down = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.wake:
		}
	}
}

func (r *Relay) drain(ctx context.Context) error {
	for {
		n, err := r.outbox.RelayOutbox(ctx, relayBatch, func(t tenancy.Task) error { return enqueue(ctx, r.client, t) })
		if err != nil || n < relayBatch {
			return err
		}
	}
}
