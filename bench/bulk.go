package main

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// interactiveEvery is how often a single tenant is asked for during the bulk.
const interactiveEvery = 2 * time.Second

// cloning is a way to make many bare copies.
type cloning struct {
	strategy string
	// connections to each server.
	connections int
	rates       series
}

// measureBulk is tenants per second of a batch over both servers, between two blocks
// of bare copies on the same ones, and what becomes of single tenants meanwhile. All
// rates include the checkpoint that pays what is still owed to the disk.
func measureBulk(ctx context.Context, b *bench) error {
	p := b.cold
	template, err := p.template(ctx)
	if err != nil {
		return err
	}
	ways := []*cloning{
		{strategy: "wal_log", connections: 2},
		{strategy: "file_copy", connections: 2},
		{strategy: "wal_log", connections: 1},
		{strategy: "file_copy", connections: 4},
	}
	ways = ways[:b.rounds(4, 2)]
	block := func() error {
		for _, way := range ways {
			if err := p.cloneMany(ctx, way, template, b.rounds(12, 3)); err != nil {
				return err
			}
		}
		return nil
	}
	tenants := b.rounds(200, 12)
	alone := tenant(p, "a tenant alone")
	if err := interleave(ctx, b.rounds(5, 2), alone); err != nil {
		return err
	}
	if err := block(); err != nil {
		return err
	}
	rate, during, err := p.bulk(ctx, tenants)
	if err != nil {
		return err
	}
	if err := block(); err != nil {
		return err
	}
	if err := interleave(ctx, b.rounds(5, 2), alone); err != nil {
		return err
	}
	best := ways[0]
	for _, way := range ways {
		if way.rates.median() > best.rates.median() {
			best = way
		}
	}
	l := ratio(bulkOverClones, series{rate, rate}, best.rates, "/s") // one batch, against both blocks
	l.n = 1
	l.measured += fmt.Sprintf(" (%d tenants)", tenants)
	l.against += fmt.Sprintf(" (%s, %d connections a server)", best.strategy, best.connections)
	b.add(l)
	b.add(ratio(target{what: "cold POST → complete during the bulk / alone"}, during, alone.samples, "ms"))
	return nil
}

// cloneMany makes bare copies on all servers at the same time, so many on each.
func (p *plane) cloneMany(ctx context.Context, way *cloning, template string, each int) error {
	if err := p.quiet(ctx); err != nil {
		return err
	}
	var conns []*pgx.Conn
	defer func() {
		for _, conn := range conns {
			conn.Close(ctx)
		}
	}()
	left := make([]atomic.Int64, len(p.ready.DBServers))
	var g errgroup.Group
	start := make(chan struct{})
	for i, s := range p.ready.DBServers {
		left[i].Store(int64(each))
		for range way.connections {
			conn, err := pgx.Connect(ctx, s.AdminURL)
			if err != nil {
				close(start)
				return err
			}
			conns = append(conns, conn)
			g.Go(func() error {
				<-start
				for left[i].Add(-1) >= 0 {
					if _, err := conn.Exec(ctx, p.cloneStatement(template, way.strategy)); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	began := time.Now()
	close(start)
	if err := g.Wait(); err != nil {
		return err
	}
	if err := p.checkpoint(ctx); err != nil {
		return err
	}
	way.rates = append(way.rates, float64(each*len(p.ready.DBServers))/time.Since(began).Seconds())
	return nil
}

// bulk makes n tenants by one batch and, meanwhile, single ones on the first server.
// The rate counts all of them.
func (p *plane) bulk(ctx context.Context, n int) (rate float64, single series, err error) {
	if err := p.quiet(ctx); err != nil {
		return 0, nil, err
	}
	done := make(chan struct{})
	var g errgroup.Group
	began := time.Now()
	g.Go(func() error {
		defer close(done)
		return p.batch(ctx, n, "")
	})
	g.Go(func() error {
		for wait := interactiveEvery / 4; ; wait = interactiveEvery {
			select {
			case <-done:
				return nil
			case <-time.After(wait):
			}
			took, _, err := p.timedProvision(ctx, p.ready.DBServers[0].Name)
			if err != nil {
				return err
			}
			single.add(took)
		}
	})
	if err := g.Wait(); err != nil {
		return 0, nil, err
	}
	if err := p.checkpoint(ctx); err != nil {
		return 0, nil, err
	}
	return float64(n+len(single)) / time.Since(began).Seconds(), single, nil
}

// batch provisions n tenants by the bulk API and returns when all are complete. An
// empty server leaves the choice to the placement.
func (p *plane) batch(ctx context.Context, n int, server string) error {
	rows := make([]map[string]any, n)
	for i := range rows {
		rows[i] = p.newTenant(server)
	}
	var batch struct {
		BatchID, Status string
		Counts          struct{ Complete int }
	}
	err := p.send(ctx, http.MethodPost, "/platform/tenant-batches", map[string]any{"rows": rows}, http.StatusAccepted, &batch)
	if err != nil {
		return err
	}
	return wait(ctx, 100*time.Millisecond, func() (bool, error) {
		err := p.send(ctx, http.MethodGet, "/platform/tenant-batches/"+batch.BatchID, nil, http.StatusOK, &batch)
		if err == nil && batch.Status == "complete" && batch.Counts.Complete != n {
			err = fmt.Errorf("only %d of %d tenants of the batch are complete", batch.Counts.Complete, n)
		}
		return batch.Status == "complete", err
	})
}
