package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/internal/pipeline"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is what phases make, outside of the journal.
type world struct {
	journal *journal
	things  map[tenancy.PhaseName]int
	step    func(point string)
	fail    map[string]error // by "do first", "undo second", …
	calls   []string
}

func newWorld() *world {
	return &world{journal: newJournal("first", "second", "third", "last"), things: map[tenancy.PhaseName]int{}, fail: map[string]error{}}
}

func (w *world) at(point string) {
	if w.step != nil {
		w.step(point)
	}
}

// thing is a phase that makes one thing, once.
type thing struct {
	w    *world
	name tenancy.PhaseName
}

func (p thing) Name() tenancy.PhaseName { return p.name }

func (p thing) Do(context.Context, *pipeline.Run) error {
	p.w.calls = append(p.w.calls, "do "+string(p.name))
	p.w.at("before do " + string(p.name))
	p.w.things[p.name] = 1 // ensure, not add
	p.w.at("after do " + string(p.name))
	return p.w.fail["do "+string(p.name)]
}

func (p thing) Undo(context.Context, *pipeline.Run) error {
	p.w.calls = append(p.w.calls, "undo "+string(p.name))
	p.w.at("before undo " + string(p.name))
	if err := p.w.fail["undo "+string(p.name)]; err != nil {
		return err
	}
	delete(p.w.things, p.name)
	p.w.at("after undo " + string(p.name))
	return nil
}

func (p thing) Residue(*pipeline.Run) string { return "thing of " + string(p.name) }

// row is a phase whose thing is in master.
type row struct{ thing }

func (row) Records() {}

func (p row) Do(_ context.Context, run *pipeline.Run) error {
	p.w.calls = append(p.w.calls, "do "+string(p.name))
	if err := p.w.fail["do "+string(p.name)]; err != nil {
		return err
	}
	return p.w.journal.register(run.Lease, run.Progress(), func() { p.w.things[p.name] = 1 })
}

// last settles the job, as a last phase must.
type last struct{ w *world }

func (last) Records() {}

func (last) Name() tenancy.PhaseName { return "last" }

func (p last) Do(_ context.Context, run *pipeline.Run) error {
	p.w.calls = append(p.w.calls, "do last")
	p.w.at("before do last")
	if err := p.w.fail["do last"]; err != nil {
		return err
	}
	return p.w.journal.complete(run.Lease, run.Progress())
}

func (last) Undo(context.Context, *pipeline.Run) error { return nil }

func (w *world) runner() *pipeline.Runner {
	return &pipeline.Runner{
		Journal: w.journal, Owner: "w", LeaseTTL: time.Minute, Log: slog.New(slog.DiscardHandler),
		Plan: func(tenancy.Job) ([]pipeline.Phase, error) {
			return []pipeline.Phase{thing{w, "first"}, thing{w, "second"}, row{thing{w, "third"}}, last{w}}, nil
		},
	}
}

func (w *world) run(t *testing.T) error {
	t.Helper()
	return w.runner().Run(t.Context(), "j1")
}

var (
	permanent = tenancy.Errorf(tenancy.CodeMigrationsFailed, "no")
	passing   = tenancy.Unavailable(errors.New("gone"), "down")
)

func TestComplete(t *testing.T) {
	t.Parallel()
	w := newWorld()
	if err := w.run(t); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"do first", "do second", "do third", "do last"}, w.calls); diff != "" {
		t.Error(diff)
	}
	if w.journal.job.Status != tenancy.JobComplete {
		t.Errorf("the job is %s", w.journal.job.Status)
	}
	if err := w.run(t); tenancy.CodeOf(err) != tenancy.CodeJobSettled {
		t.Errorf("a second run of a complete job: %v", err)
	}
}

func TestPermanentErrorUndoesInReverseTheFailingPhaseIncluded(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.fail["do second"] = permanent
	if err := w.run(t); tenancy.CodeOf(err) != tenancy.CodeMigrationsFailed {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"do first", "do second", "undo second", "undo first"}, w.calls); diff != "" {
		t.Error(diff)
	}
	want := &tenancy.JobError{Code: tenancy.CodeMigrationsFailed, Message: "no", Phase: "second", RolledBack: true}
	if diff := cmp.Diff(want, w.journal.job.Error); diff != "" || len(w.things) != 0 {
		t.Errorf("left %v; %s", w.things, diff)
	}
}

func TestAPanicIsAnInternalErrorAndRollsBack(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.step = func(point string) {
		if point == "after do second" {
			panic("canary")
		}
	}
	err := w.run(t)
	if e := tenancy.AsError(err); e.Code != tenancy.CodeInternal || len(w.things) != 0 {
		t.Errorf("%v, left %v", err, w.things)
	}
}

func TestTransientErrorTriesTheSamePhaseAgainUntilUsedUp(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.fail["do second"] = passing
	for n := 1; n < pipeline.MaxFailures; n++ {
		retry, ok := errors.AsType[*pipeline.Retry](w.run(t))
		if !ok || retry.After != pipeline.Backoff(n) || w.journal.due != retry.After || w.journal.held {
			t.Fatalf("failure %d: %v, due in %s, held %v", n, retry, w.journal.due, w.journal.held)
		}
	}
	if err := w.run(t); tenancy.CodeOf(err) != tenancy.CodeDependencyUnavailable || w.journal.job.Status != tenancy.JobFailed {
		t.Errorf("the last failure: %v, job %s", err, w.journal.job.Status)
	}
	if len(w.things) != 0 {
		t.Errorf("left %v", w.things)
	}
}

func TestTransientErrorThatPasses(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.fail["do second"] = passing
	if _, ok := errors.AsType[*pipeline.Retry](w.run(t)); !ok {
		t.Fatal("no retry")
	}
	delete(w.fail, "do second")
	if err := w.run(t); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"do first", "do second", "do second", "do third", "do last"}, w.calls); diff != "" {
		t.Error(diff)
	}
	if w.journal.job.Failures != 0 {
		t.Error("a success does not clear the failures")
	}
}

func TestAnUndoIsTriedUntilItWorksAndNamesWhatIsLeft(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.fail["do second"] = permanent
	w.fail["undo second"] = errors.New("cannot reach it")
	for range 2 * pipeline.MaxFailures {
		if _, ok := errors.AsType[*pipeline.Retry](w.run(t)); !ok {
			t.Fatal("an undo was given up")
		}
	}
	if diff := cmp.Diff([]string{"thing of second", "thing of first"}, w.journal.job.Error.Residue); diff != "" {
		t.Error(diff)
	}
	if w.journal.job.Status != tenancy.JobRollingBack {
		t.Errorf("the job is %s", w.journal.job.Status)
	}
	delete(w.fail, "undo second")
	if err := w.run(t); tenancy.CodeOf(err) != tenancy.CodeMigrationsFailed || len(w.things) != 0 {
		t.Errorf("%v, left %v", err, w.things)
	}
}

func TestCancelUndoesAtTheNextBoundary(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.step = func(point string) {
		if point == "after do first" {
			w.journal.job.CancelRequested = true
		}
	}
	if err := w.run(t); err != nil {
		t.Fatal(err)
	}
	if w.journal.job.Status != tenancy.JobCancelled || len(w.things) != 0 {
		t.Errorf("the job is %s, left %v", w.journal.job.Status, w.things)
	}
	if diff := cmp.Diff([]string{"do first", "undo first"}, w.calls); diff != "" {
		t.Error(diff)
	}
}

// What is written to master anyway takes the journal with it.
func TestAPhaseInMasterRecordsItselfAndTheOneBefore(t *testing.T) {
	t.Parallel()
	w := newWorld()
	var writes []string
	w.journal.step = func(point string) {
		if name, ok := strings.CutPrefix(point, "after "); ok {
			writes = append(writes, name)
		}
	}
	if err := w.run(t); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"acquire", "record first", "register", "complete"}, writes); diff != "" {
		t.Error(diff)
	}
	for _, p := range w.journal.job.Phases {
		if p.Status != tenancy.PhaseDone || p.StartedAt == nil {
			t.Errorf("phase %s is %s, started at %v", p.Name, p.Status, p.StartedAt)
		}
	}
}

func TestAFailureOfAPhaseInMasterLeavesTheOneBeforeDone(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.fail["do third"] = passing
	if _, ok := errors.AsType[*pipeline.Retry](w.run(t)); !ok {
		t.Fatal("no retry")
	}
	clear(w.fail)
	if err := w.run(t); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"do first", "do second", "do third", "do third", "do last"}, w.calls); diff != "" {
		t.Error(diff)
	}
}

func TestCancelBeforeTheLastPhaseUndoesEverything(t *testing.T) {
	t.Parallel()
	for _, during := range []string{"before register", "before do last"} {
		w := newWorld()
		cancel := func(point string) {
			if point == during {
				w.journal.job.CancelRequested = true
			}
		}
		w.step, w.journal.step = cancel, cancel
		if err := w.run(t); err != nil {
			t.Fatal(err)
		}
		if w.journal.job.Status != tenancy.JobCancelled || len(w.things) != 0 {
			t.Errorf("cancelled %s: the job is %s, left %v", during, w.journal.job.Status, w.things)
		}
	}
}

func TestAStoppingWorkerGivesTheJobBack(t *testing.T) {
	t.Parallel()
	t.Run("at a boundary", func(t *testing.T) {
		t.Parallel()
		w := newWorld()
		r := w.runner()
		draining := make(chan struct{})
		r.Draining = draining
		w.step = func(point string) {
			if point == "before do first" {
				close(draining)
			}
		}
		if err := r.Run(t.Context(), "j1"); !errors.Is(err, pipeline.ErrDraining) || w.journal.held {
			t.Fatalf("%v, held %v", err, w.journal.held)
		}
		w.step = nil
		if err := w.run(t); err != nil || w.journal.job.Failures != 0 {
			t.Errorf("%v after %d failures", err, w.journal.job.Failures)
		}
	})
	t.Run("in the middle of a phase", func(t *testing.T) {
		t.Parallel()
		w := newWorld()
		ctx, cancel := context.WithCancel(t.Context())
		w.fail["do second"] = context.Canceled
		w.step = func(point string) {
			if point == "after do second" {
				cancel()
			}
		}
		if err := w.runner().Run(ctx, "j1"); !errors.Is(err, pipeline.ErrDraining) || w.journal.held {
			t.Fatalf("%v, held %v", err, w.journal.held)
		}
		w.step = nil
		clear(w.fail)
		if err := w.run(t); err != nil || w.journal.job.Failures != 0 {
			t.Errorf("%v after %d failures", err, w.journal.job.Failures)
		}
	})
}

func TestAWorkerThatLostTheLeaseStops(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.step = func(point string) {
		if point == "after do first" {
			w.journal.epoch++ // another worker took the job
		}
	}
	if err := w.run(t); tenancy.CodeOf(err) != tenancy.CodeLeaseLost {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"do first"}, w.calls); diff != "" {
		t.Error(diff)
	}
}

// A caller without a queue waits for master, as long as a phase would be tried, and no
// longer.
func TestMasterThatStaysAwayIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(context.Context) error{
		"it refuses": func(context.Context) error { return passing },
		"it hangs":   func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("cannot ask: %w", ctx.Err()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				w := newWorld()
				tries := 0
				w.journal.fail = func(ctx context.Context) error { tries++; return fail(ctx) }
				r := w.runner()
				var told []time.Duration
				r.Observe = func(e pipeline.Event) { told = append(told, e.Retry) }
				err := r.RunUntilSettled(ctx, "j1")
				if e, ok := errors.AsType[*tenancy.Error](err); !ok || !e.Transient || tries != pipeline.MaxFailures {
					t.Errorf("%v after %d tries", err, tries)
				}
				want := []time.Duration{}
				for n := 1; n < pipeline.MaxFailures; n++ {
					want = append(want, pipeline.Backoff(n))
				}
				if diff := cmp.Diff(want, told); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestMasterThatComesBackIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		tries := 0
		w.journal.fail = func(context.Context) error {
			if tries++; tries < pipeline.MaxFailures {
				return passing
			}
			return nil
		}
		retry, ok := errors.AsType[*pipeline.Retry](w.run(t)) // a worker leaves the wait to its queue
		if !ok || retry.After != pipeline.Backoff(2) || tenancy.CodeOf(retry) != tenancy.CodeDependencyUnavailable {
			t.Errorf("one run ends with %v", retry)
		}
		tries = 0
		if err := w.runner().RunUntilSettled(t.Context(), "j1"); err != nil || w.journal.job.Status != tenancy.JobComplete {
			t.Errorf("%v, job %s", err, w.journal.job.Status)
		}
	})
}

type slow struct{ thing }

func (slow) Limit() time.Duration { return time.Millisecond }
func (slow) Do(ctx context.Context, _ *pipeline.Run) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestAPhaseBeyondItsLimitIsATimeout(t *testing.T) {
	t.Parallel()
	w := newWorld()
	r := w.runner()
	r.Plan = func(tenancy.Job) ([]pipeline.Phase, error) {
		return []pipeline.Phase{slow{thing{w, "first"}}, last{w}}, nil
	}
	if err := r.Run(t.Context(), "j1"); tenancy.CodeOf(err) != tenancy.CodeTimeout || w.journal.job.Status != tenancy.JobFailed {
		t.Errorf("%v, job %s", err, w.journal.job.Status)
	}
}

func TestAPhaseBeyondTheUsualLimitIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		r := w.runner()
		r.LeaseTTL = time.Hour
		r.Plan = func(tenancy.Job) ([]pipeline.Phase, error) {
			return []pipeline.Phase{hanging{thing{w, "first"}}, last{w}}, nil
		}
		err := r.Run(t.Context(), "j1")
		if _, ok := errors.AsType[*pipeline.Retry](err); !ok || tenancy.CodeOf(err) != tenancy.CodeTimeout || w.journal.job.Status != tenancy.JobRunning {
			t.Errorf("%v, job %s", err, w.journal.job.Status)
		}
	})
}

type hanging struct{ thing }

func (hanging) Do(ctx context.Context, _ *pipeline.Run) error {
	<-ctx.Done()
	return ctx.Err()
}

// A worker dies at every point there is: around every Do, every Undo and every
// journal write, on the way forward and on the way back, and the next worker
// dies there too. Whoever comes last settles the job, with all or with nothing.
func TestCrashAnywhere(t *testing.T) {
	t.Parallel()
	for _, failing := range []bool{false, true} {
		for point := range 60 {
			t.Run(fmt.Sprintf("failing=%v/point %d", failing, point), func(t *testing.T) {
				t.Parallel()
				w := newWorld()
				want, wantThings := tenancy.JobComplete, map[tenancy.PhaseName]int{"first": 1, "second": 1, "third": 1}
				if failing {
					w.fail["do last"] = permanent
					want, wantThings = tenancy.JobFailed, map[tenancy.PhaseName]int{}
				}
				for range 2 {
					left := point
					die := func(string) {
						if left--; left < 0 {
							runtime.Goexit() // the goroutine of the run is the worker
						}
					}
					w.step, w.journal.step = die, die
					done := make(chan struct{})
					go func() {
						defer close(done)
						_ = w.runner().Run(context.Background(), "j1")
					}()
					<-done
					w.step, w.journal.step = nil, nil
					w.journal.expire()
				}
				_ = w.run(t)
				if w.journal.job.Status != want {
					t.Errorf("the job is %s, want %s", w.journal.job.Status, want)
				}
				if diff := cmp.Diff(wantThings, w.things); diff != "" {
					t.Error(diff)
				}
				if w.journal.job.Failures != 0 {
					t.Error("a crash counts as a failure")
				}
			})
		}
	}
}
