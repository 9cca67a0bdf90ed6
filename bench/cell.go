package main

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"
)

// rounds counts up to n. On a machine that is too slow or too busy it stops after 90
// seconds, but not before the third.
func rounds(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		began := time.Now()
		for i := range n {
			if i >= 3 && time.Since(began) > 90*time.Second || !yield(i) {
				return
			}
		}
	}
}

// cell is one of the things that are measured in turns.
type cell struct {
	what  string
	plane *plane
	// run does it once. A run that turns out to be something else is no sample.
	run func(context.Context) (took time.Duration, sample bool, err error)

	samples series
	strays  int
}

// interleave takes a sample of each cell a round, each round in another order: what a
// cell leaves to the file system must not always fall to the same next one. Of the
// rest no cell pays for the one before, as all planes are quiet first. It fails if
// samples of a cell are something else more often than once in two rounds.
func interleave(ctx context.Context, n int, cells ...*cell) error {
	planes := make(map[*plane]bool)
	for _, c := range cells {
		planes[c.plane] = true
	}
	order := rand.New(rand.NewPCG(1, 2)) // the same in each run
	for range rounds(n) {
		for _, i := range order.Perm(len(cells)) {
			c := cells[i]
			if err := c.sample(ctx, n, planes); err != nil {
				return fmt.Errorf("%s: %w", c.what, err)
			}
		}
	}
	return nil
}

func (c *cell) sample(ctx context.Context, n int, planes map[*plane]bool) error {
	for {
		for p := range planes {
			if err := p.quiet(ctx); err != nil {
				return err
			}
		}
		took, ok, err := c.run(ctx)
		if err != nil {
			return err
		}
		if ok {
			c.samples.add(took)
			return nil
		}
		if c.strays++; c.strays > max(1, n/2) {
			return fmt.Errorf("%d of %d runs were something else", c.strays, c.strays+len(c.samples))
		}
	}
}

// tenant is POST to complete, on the plane's first server: from the pool if the
// plane has one, and from a template otherwise.
func tenant(p *plane, what string) *cell {
	return &cell{what: what, plane: p, run: func(ctx context.Context) (time.Duration, bool, error) {
		took, j, err := p.timedProvision(ctx, p.ready.DBServers[0].Name)
		template, warm := j.origin()
		if p.pool > 0 {
			return took, warm, err
		}
		return took, !warm && template != "", err
	}}
}

// clone is a bare CREATE DATABASE on the plane's first server, by one open
// connection.
func clone(p *plane, what, template string) *cell {
	return &cell{what: what, plane: p, run: func(ctx context.Context) (time.Duration, bool, error) {
		statement := p.cloneStatement(template, "wal_log")
		began := time.Now()
		_, err := p.servers[0].Exec(ctx, statement)
		return time.Since(began), true, err
	}}
}

func (p *plane) cloneStatement(template, strategy string) string {
	return fmt.Sprintf("CREATE DATABASE bench_%05d TEMPLATE %s STRATEGY %s", p.clones.Add(1), template, strategy)
}
