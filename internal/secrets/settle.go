package secrets

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// next is what a step leaves to do.
type next int

const (
	settled next = iota
	again        // look again at once
	wait         // look again when Key Vault had time to move
)

// untilSettled runs step until it has nothing left to do, for at most v.settle.
// When the time is up the error is transient.
func (v *Vault) untilSettled(ctx context.Context, name string, step func(context.Context) (next, error)) error {
	ctx, cancel := context.WithTimeout(ctx, v.settle)
	defer cancel()
	for pause := v.poll; ; {
		if err := tenancy.CheckFence(ctx); err != nil {
			return err
		}
		todo, err := step(ctx)
		if err != nil || todo == settled {
			return err
		}
		if todo == again && ctx.Err() == nil {
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return tenancy.Unavailable(ctx.Err(),
				"Key Vault has not finished an earlier change of secret "+name+" yet.")
		case <-timer.C:
		}
		pause = min(2*pause, 10*v.poll)
	}
}

// later turns the answers that mean "look again" into wait: the secret moved
// away (404) or is moving (409). Other errors fail.
func later(err error, action, name string) (next, error) {
	switch status(err) {
	case 404, 409:
		return wait, nil
	}
	return settled, failure(err, action, name)
}
