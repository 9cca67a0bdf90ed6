package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// what happens at a point.
type event string

const (
	killed event = "killed"
	// killedTwice: the recovering worker is killed too, at the same point.
	killedTwice event = "killed there twice"
	// killedOnward: the recovering worker is killed at the point after.
	killedOnward event = "killed, then one further"
	// frozen until another worker has brought the job to its end.
	frozen event = "frozen"
	// frozenCancelled: meanwhile the job is cancelled and undone.
	frozenCancelled event = "frozen, cancelled"
	// frozenRetried: meanwhile the job fails, is retried, and completes.
	frozenRetried event = "frozen, retried"
	// frozenReused: meanwhile the tenant is purged and its slug another's.
	frozenReused event = "frozen, slug reused"
)

// scenario is one row of the matrix.
type scenario struct {
	way   way
	event event
	// point, and next for killedOnward.
	point, next string
}

func (s scenario) String() string { return fmt.Sprintf("%-15s %-38s %s", s.way, s.point, s.event) }

// end is how the job must end.
func (s scenario) end() tenancy.JobStatus {
	switch {
	case s.event == frozenCancelled, s.way == isCancelled:
		return tenancy.JobCancelled
	case s.way == completes, s.way.purge(), s.event == frozenRetried:
		return tenancy.JobComplete
	}
	return tenancy.JobFailed
}

// outcome is what a scenario came to.
type outcome struct {
	scenario
	// recovery is the time from the last death to the end of the job.
	recovery time.Duration
	// claimed says that the job had a prepared database.
	claimed bool
	err     error
	logs    string
}

// play runs a scenario in a trial of its own.
func (w *world) play(ctx context.Context, s scenario, change ...func(*trial)) outcome {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	o := outcome{scenario: s}
	t, err := w.newTrial(ctx)
	if err != nil {
		o.err = err
		return o
	}
	for _, f := range change {
		f(t)
	}
	o.recovery, o.err = t.play(ctx, s)
	if o.err == nil {
		o.claimed, o.err = t.claimed(ctx)
	}
	o.err = errors.Join(o.err, t.close())
	o.logs = t.logs()
	return o
}

func (t *trial) play(ctx context.Context, s scenario) (recovery time.Duration, err error) {
	switch s.way {
	case fails:
		t.migrations = t.poisoned
	case failsEarly:
		t.migrations = t.broken
	}
	if err := t.stock(ctx); err != nil {
		return 0, err
	}
	if err := t.submit(ctx); err != nil {
		return 0, err
	}
	if s.way.purge() {
		if err := t.submitPurge(ctx, s.way == dumps); err != nil {
			return 0, err
		}
	}
	if s.way == isCancelled {
		if _, err := t.crashAt(ctx, "do:complete:before"); err != nil {
			return 0, err
		}
		if err := t.cancel(ctx); err != nil {
			return 0, err
		}
	}
	if strings.HasPrefix(string(s.event), string(frozen)) {
		err = t.playFrozen(ctx, s)
	} else {
		recovery, err = t.playKilled(ctx, s)
	}
	if err != nil {
		return recovery, err
	}
	if err := t.verdict(ctx, t.job.ID, s.end()); err != nil || !s.way.purge() || s.event == frozenReused {
		return recovery, err
	}
	if err := t.reuse(ctx); err != nil {
		return recovery, err
	}
	return recovery, t.verdict(ctx, t.job.ID, tenancy.JobComplete)
}

func (t *trial) playKilled(ctx context.Context, s scenario) (recovery time.Duration, err error) {
	last, err := t.crashAt(ctx, s.point)
	if err != nil {
		return 0, err
	}
	survivors := 1
	if s.event != killed {
		again := s.point
		if s.event == killedOnward {
			again = s.next
		}
		if last, err = t.crashAt(ctx, again); err != nil {
			return 0, err
		}
		survivors = 2
	}
	settled, err := t.finish(ctx, survivors)
	return max(0, settled.Sub(last.ended)), err
}

// playFrozen has a worker sleep past its lease, as a suspended machine does, and
// wake when it is all over.
func (t *trial) playFrozen(ctx context.Context, s scenario) error {
	sleeper, err := t.freezeAt(ctx, s.point)
	if err != nil {
		return err
	}
	t.sleeping = true
	if s.event == frozenCancelled {
		if err := t.cancel(ctx); err != nil {
			return err
		}
	}
	if _, err := t.finish(ctx, 1); err != nil {
		return err
	}
	if s.event == frozenRetried {
		t.migrations = t.good
		if _, err := t.control.Store.RetryJob(ctx, t.job.ID, operator); err != nil {
			return err
		}
		if _, err := t.finish(ctx, 1); err != nil {
			return err
		}
	}
	if s.event == frozenReused {
		if err := t.reuse(ctx); err != nil {
			return err
		}
	}
	return t.wake(ctx, sleeper)
}

// wake lets a frozen worker go on until it has noticed that the job is no longer
// its own, and stops it.
func (t *trial) wake(ctx context.Context, sleeper *worker) error {
	if err := sleeper.signal(syscall.SIGCONT); err != nil {
		return err
	}
	err := until(ctx, "the woken worker ends its run", func() (bool, error) {
		return sleeper.said("lease lost") || sleeper.said("job complete") || sleeper.said("job failed") ||
			sleeper.said("job cancelled") || sleeper.said("cannot be undone yet"), nil
	})
	t.sleeping = false
	return errors.Join(err, t.poolFull(ctx), sleeper.stop(ctx))
}
