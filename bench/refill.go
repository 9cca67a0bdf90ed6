package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// measureRefill is what the refilling of the pool costs others: the insert and
// commit of one row into master while the pool fills from empty, and while nothing
// happens. One sample is the median of a phase.
func measureRefill(ctx context.Context, b *bench) error {
	p := b.warm
	conn, err := pgx.Connect(ctx, p.ready.DatabaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `CREATE TABLE public.bench_control (at timestamptz DEFAULT now())`); err != nil {
		return err
	}
	var idle, refilling series
	for range rounds(b.rounds(5, 1)) {
		if err := p.quiet(ctx); err != nil {
			return err
		}
		until := time.Now().Add(time.Second)
		commits, err := commitWhile(ctx, conn, func() (bool, error) { return time.Now().Before(until), nil })
		if err != nil {
			return err
		}
		idle = append(idle, commits.median())
		if err := p.emptyPool(ctx); err != nil {
			return err
		}
		commits, err = commitWhile(ctx, conn, func() (bool, error) {
			ready, warming, err := p.poolState(ctx)
			return ready < p.pool*len(p.servers) || warming > 0, err
		})
		if err != nil {
			return err
		}
		if len(commits) == 0 {
			return errors.New("the pool is full again at once")
		}
		refilling = append(refilling, commits.median())
	}
	b.add(ratio(commitRefilling, refilling, idle, "ms"))
	return nil
}

// commitWhile measures commits for as long as more says, which is asked now and
// then.
func commitWhile(ctx context.Context, conn *pgx.Conn, more func() (bool, error)) (series, error) {
	var commits series
	for {
		if ok, err := more(); !ok || err != nil {
			return commits, err
		}
		for range 10 {
			began := time.Now()
			if _, err := conn.Exec(ctx, `INSERT INTO public.bench_control DEFAULT VALUES`); err != nil {
				return nil, err
			}
			commits.add(time.Since(began))
			if err := pause(ctx, time.Millisecond); err != nil {
				return nil, err
			}
		}
	}
}

// emptyPool claims all of it at once.
func (p *plane) emptyPool(ctx context.Context) error {
	var g errgroup.Group
	for _, s := range p.ready.DBServers {
		for range p.pool {
			g.Go(func() error {
				_, err := p.provision(ctx, s.Name)
				return err
			})
		}
	}
	return g.Wait()
}
