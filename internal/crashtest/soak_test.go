//go:build crashpoints

package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/devplane"
	"github.com/tenantry/tenantry/internal/tenancy"
)

const batchSize = 6

// TestSoak provisions SOAK_N tenants, some at a time, while workers are killed
// at random points and the servers around them restart or forget. SOAK_SEED
// repeats the choices of an earlier run, though not its timing.
func TestSoak(t *testing.T) {
	w := setup(t)
	n := fromEnv(t, "SOAK_N", 100)
	seed := uint64(fromEnv(t, "SOAK_SEED", int(time.Now().UnixNano()%1e9)))
	t.Logf("SEED=%d N=%d", seed, n)
	rng := rand.New(rand.NewPCG(seed, 0))
	for batch := 1; n > 0; batch++ {
		size := min(batchSize, n)
		n -= size
		// A batch has its own numbers, so that it can be told what it would do
		// whatever happened in those before.
		s := &soak{rng: rand.New(rand.NewPCG(seed, rng.Uint64())), size: size}
		began := time.Now()
		w.try(t, s.run)
		t.Logf("batch %d: %d tenants in %.1fs: %s", batch, size, time.Since(began).Seconds(), s.story)
		if t.Failed() {
			t.Fatalf("SEED=%d repeats this", seed)
		}
	}
}

func fromEnv(t *testing.T, name string, usual int) int {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		return usual
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// soak is one batch.
type soak struct {
	rng   *rand.Rand
	size  int
	story string
}

func (s *soak) tell(format string, args ...any) { s.story += fmt.Sprintf(format, args...) + " " }

func (s *soak) run(ctx context.Context, t *trial) error {
	ways := []way{completes, completes, fails}
	way := ways[s.rng.IntN(len(ways))]
	if way == fails {
		t.migrations = t.poisoned
	}
	s.tell("[%s]", way)
	var jobs []tenancy.JobID
	for range s.size {
		if err := t.submit(ctx); err != nil {
			return err
		}
		jobs = append(jobs, t.job.ID)
	}
	watch := newSupervisor(t)
	for range 3 {
		point := ""
		if s.rng.IntN(4) > 0 {
			points := way.points()
			point = points[s.rng.IntN(len(points))]
			s.tell("kill at %s,", point)
		}
		if err := watch.start(point); err != nil {
			return err
		}
	}
	cancelled := s.rng.IntN(2 * s.size) // of those that there are, or none
	err := errors.Join(pause(ctx, time.Duration(s.rng.IntN(400))*time.Millisecond), s.fault(ctx, t))
	if err == nil && cancelled < len(jobs) {
		_, err = t.control.Store.CancelJob(ctx, jobs[cancelled], operator)
		if tenancy.CodeOf(err) == tenancy.CodeConflict {
			err = nil // it was quicker
		}
		s.tell("cancel one,")
	}
	if err = errors.Join(err, t.settled(ctx), watch.stop(ctx)); err != nil {
		return err
	}
	for _, id := range jobs {
		if err := t.verdict(ctx, id, ""); err != nil {
			return fmt.Errorf("job %s: %w", id, err)
		}
	}
	return nil
}

// fault does something to the servers around the workers.
func (s *soak) fault(ctx context.Context, t *trial) error {
	tenants := t.servers[s.rng.IntN(len(t.servers))]
	restart := func(pg *devplane.Postgres, end func() error) error {
		if err := end(); err != nil {
			return err
		}
		defer tenants.Reset()
		// What a killed server leaves running keeps its data locked for a moment.
		return until(ctx, "the server starts", func() (bool, error) { return pg.Start(ctx) == nil, nil })
	}
	switch s.rng.IntN(6) {
	case 0:
		s.tell("FLUSHALL,")
		return t.redis.FlushAll(ctx).Err()
	case 1:
		s.tell("restart Redis,")
		return t.plane.Redis.Restart(ctx)
	case 2:
		s.tell("restart Redis, empty,")
		return errors.Join(t.redis.FlushAll(ctx).Err(), t.plane.Redis.Kill(), t.plane.Redis.Start(ctx))
	case 3:
		s.tell("restart %s,", tenants.name)
		return restart(tenants.pg, func() error { return tenants.pg.Stop(ctx) })
	case 4:
		s.tell("kill %s,", tenants.name)
		return restart(tenants.pg, tenants.pg.Kill)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// supervisor starts a worker for each that dies, as an orchestrator does.
type supervisor struct {
	trial *trial
	group sync.WaitGroup
	over  chan struct{}

	mu   sync.Mutex
	errs []error
}

func newSupervisor(t *trial) *supervisor { return &supervisor{trial: t, over: make(chan struct{})} }

// start starts a worker that dies at the point, unless that is "", and its
// successors.
func (s *supervisor) start(point string) error {
	w, err := s.next(point)
	if err == nil {
		s.group.Go(func() { s.keep(w) })
	}
	return err
}

func (s *supervisor) next(point string) (*worker, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if point == "" {
		return s.trial.start()
	}
	w, _, err := s.trial.startAt(point)
	return w, err
}

func (s *supervisor) keep(w *worker) {
	for {
		select {
		case <-w.done:
		case <-s.over:
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			ready := until(ctx, "a worker is ready", func() (bool, error) { return w.said("worker ready") || w.exited(), nil })
			s.fail(errors.Join(ready, w.stop(ctx)))
			return
		}
		if !w.killed() {
			s.fail(fmt.Errorf("a worker ended with %s", w.cmd.ProcessState))
		}
		var err error
		if w, err = s.next(""); err != nil {
			s.fail(err)
			return
		}
	}
}

func (s *supervisor) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, err)
}

// stop stops the workers, once they have heard all doorbells.
func (s *supervisor) stop(ctx context.Context) error {
	quiet := s.trial.quiet(ctx)
	close(s.over)
	s.group.Wait()
	return errors.Join(append(s.errs, quiet)...)
}
