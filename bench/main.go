// Command bench measures what tenantry promises to be quick at, on planes of its own
// on this machine, and prints one table. Absolute times drift with the machine, so a
// promise is a ratio to what the same machine takes for the bare thing, taken in turns
// with it.
//
// BENCH_QUICK=1 takes fewer samples of less. A whole run writes docs/benchmarks.md and
// its charts; BENCH_OUT names another directory to write to, for a quick one too. It
// fails if a floor is missed.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// errInterrupted is why the bench stopped early.
var errInterrupted = errors.New("interrupted")

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel(errInterrupted)
	}()
	var err error
	if len(os.Args) > 1 && os.Args[1] == bareHandlerArg {
		err = bareHandler(ctx, os.Getenv)
	} else {
		err = run(ctx, os.Getenv)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	quick bool
	// dir has the programs and all planes; migrations is the application's set in it.
	dir, migrations string
	// The planes: warm's worker keeps a pool, cold's does not; young is like warm, and
	// starts when it is wanted.
	warm, cold, young *plane
	report            report
	began             time.Time
}

// section measures one thing and adds its lines.
type section struct {
	name    string
	measure func(context.Context, *bench) error
	// whole: a quick run has no time for it.
	whole bool
}

// sections in their order. http stops the workers of the plane it uses, and growth
// is the last because of what it leaves.
var sections = []section{
	{"idle memory and processor", measureIdle, false},
	{"a tenant: warm, cold, by shell script", measureProvision, false},
	{"commits while the pool refills", measureRefill, false},
	{"bulk", measureBulk, false},
	{"recovery from SIGKILL", measureRecovery, true},
	{"requests per second", measureHTTP, false},
	{"growth", measureGrowth, true},
}

func run(ctx context.Context, getenv func(string) string) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 8*time.Minute+30*time.Second, errors.New("this takes too long"))
	defer cancel()
	b := &bench{quick: getenv("BENCH_QUICK") == "1", began: time.Now()}
	if b.dir, err = os.MkdirTemp("", "tenantry-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	defer b.stop()
	if err := b.start(ctx); err != nil {
		return err
	}
	if b.quick {
		b.report.Skipped = []string{growth.what}
	}
	var faults []error
	for _, s := range sections {
		if b.quick && s.whole {
			continue
		}
		err := context.Cause(ctx)
		if err == nil {
			b.say(s.name)
			err = s.measure(ctx, b)
		}
		if errors.Is(context.Cause(ctx), errInterrupted) {
			return errInterrupted
		}
		if err != nil { // what the others found is worth having all the same
			faults = append(faults, fmt.Errorf("%s: %w", s.name, err))
			b.say("failed: " + err.Error())
		}
	}
	b.say("ending")
	b.stop()
	b.report.complete()
	if err := b.report.print(os.Stdout); err != nil {
		return err
	}
	out := getenv("BENCH_OUT")
	if out == "" && !b.quick && len(faults) == 0 {
		out = "docs"
	}
	if out != "" {
		faults = append(faults, b.report.write(out))
	}
	return errors.Join(append(faults, b.report.err())...)
}

// rounds is how many there are in a whole and in a quick run.
func (b *bench) rounds(whole, quick int) int {
	if b.quick {
		return quick
	}
	return whole
}

// poolSize is that of `tenantctl dev` or, to be filled sooner, a smaller one.
func (b *bench) poolSize() int { return b.rounds(8, 3) }

func (b *bench) add(lines ...line) { b.report.Lines = append(b.report.Lines, lines...) }

func (b *bench) say(what string) {
	fmt.Fprintf(os.Stderr, "%4.0fs  %s\n", time.Since(b.began).Seconds(), what)
}

// start builds the programs and starts the first two planes.
func (b *bench) start(ctx context.Context) error {
	b.say("building")
	if err := os.Chmod(b.dir, 0o711); err != nil {
		return err
	}
	for _, args := range [][]string{{"./cmd/api", "./cmd/worker", "./cmd/tenantctl"}, {"-tags", "pgx5", migrateCommand}} {
		build := exec.CommandContext(ctx, "go", append([]string{"build", "-o", b.dir + "/"}, args...)...)
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build %s: %w\n%s", args[len(args)-1], err, out)
		}
	}
	b.migrations = filepath.Join(b.dir, "migrations")
	if err := writeSchema(b.migrations); err != nil {
		return err
	}
	b.say("starting the planes")
	var g errgroup.Group
	g.Go(func() (err error) { b.warm, err = b.startPlane(ctx, "warm", b.poolSize()); return err })
	g.Go(func() (err error) { b.cold, err = b.startPlane(ctx, "cold", 0); return err })
	if err := g.Wait(); err != nil {
		return err
	}
	var err error
	b.report.Machine, err = describe(ctx, b.cold)
	return err
}

func (b *bench) startPlane(ctx context.Context, name string, pool int) (*plane, error) {
	p, err := startPlane(ctx, b.dir, filepath.Join(b.dir, name), b.migrations, pool)
	if err != nil {
		return nil, fmt.Errorf("cannot start the %s plane: %w", name, err)
	}
	return p, nil
}

// stop ends all planes that run.
func (b *bench) stop() {
	var g errgroup.Group
	for _, p := range []*plane{b.warm, b.cold, b.young} {
		if p != nil {
			g.Go(func() error { p.stop(); return nil })
		}
	}
	_ = g.Wait()
}
