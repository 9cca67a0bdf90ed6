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

// interactiveEvery is how often a single tenant is asked for during a batch.
const interactiveEvery = time.Second

// cloning is a way to make many bare copies.
type cloning struct {
	strategy string
	// connections to each server.
	connections int
}

// measureBulk is tenants per second of batches over both servers, each between two
// blocks of half as many bare copies on the same servers: what a server does for a few
// seconds it may not sustain. The way to make those is the one that a shorter block of
// its own found to be the best. All rates include the checkpoint that pays what is still
// owed to the disk.
func measureBulk(ctx context.Context, b *bench) error {
	p := b.cold
	template, err := p.template(ctx)
	if err != nil {
		return err
	}
	ways := []cloning{{"file_copy", 4}, {"wal_log", 2}, {"file_copy", 2}, {"wal_log", 1}}
	var best cloning
	var bestRate float64
	for _, way := range ways[:b.rounds(4, 2)] {
		rate, err := p.cloneMany(ctx, way, template, b.rounds(12, 6))
		if err != nil {
			return err
		}
		if rate > bestRate {
			best, bestRate = way, rate
		}
	}
	tenants := b.rounds(200, 16)
	var batches, copies, blocks series
	for i := range b.rounds(2, 1) + 1 {
		if i > 0 {
			rate, err := p.batchRate(ctx, tenants)
			if err != nil {
				return err
			}
			batches = append(batches, rate)
		}
		rate, err := p.cloneMany(ctx, best, template, tenants/2/len(p.servers))
		if err != nil {
			return err
		}
		if i > 0 {
			copies = append(copies, 2/(1/blocks[i-1]+1/rate)) // of both, as if they were one
		}
		blocks = append(blocks, rate)
	}
	l := ratio(bulkOverClones, batches, copies, "/s")
	l.measured += fmt.Sprintf(" (%d tenants a batch)", tenants)
	l.against += fmt.Sprintf(" (%s, %d connections a server)", best.strategy, best.connections)
	b.add(l)
	return measureInterference(ctx, b)
}

// measureInterference is what becomes of single tenants while a batch is made.
func measureInterference(ctx context.Context, b *bench) error {
	p := b.cold
	alone := tenant(p, "a tenant alone")
	if err := interleave(ctx, b.rounds(9, 3), alone); err != nil {
		return err
	}
	during, err := p.singlesDuring(ctx, b.rounds(60, 16))
	if err != nil {
		return err
	}
	b.add(ratio(target{what: "cold POST → complete during the bulk / alone"}, during, alone.samples, "ms"))
	return nil
}

// cloneMany makes bare copies on all servers at the same time, so many on each, and
// returns how many that were a second.
func (p *plane) cloneMany(ctx context.Context, way cloning, template string, each int) (rate float64, err error) {
	if err := p.quiet(ctx); err != nil {
		return 0, err
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
				return 0, err
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
		return 0, err
	}
	if err := p.checkpoint(ctx); err != nil {
		return 0, err
	}
	return float64(each*len(p.ready.DBServers)) / time.Since(began).Seconds(), nil
}

// batchRate makes n tenants by one batch and returns how many that were a second.
func (p *plane) batchRate(ctx context.Context, n int) (rate float64, err error) {
	if err := p.quiet(ctx); err != nil {
		return 0, err
	}
	began := time.Now()
	finished, err := p.batch(ctx, n, "")
	if err != nil {
		return 0, err
	}
	took := finished.Sub(began)
	began = time.Now()
	if err := p.checkpoint(ctx); err != nil {
		return 0, err
	}
	return float64(n) / (took + time.Since(began)).Seconds(), nil
}

// singlesDuring makes n tenants by one batch and, meanwhile, single ones on the first
// server, of which it returns how long each took.
func (p *plane) singlesDuring(ctx context.Context, n int) (single series, err error) {
	if err := p.quiet(ctx); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	var g errgroup.Group
	g.Go(func() error {
		defer close(done)
		_, err := p.batch(ctx, n, "")
		return err
	})
	g.Go(func() error {
		for wait := interactiveEvery / 2; ; wait = interactiveEvery {
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
	err = g.Wait()
	return single, err
}

// batch provisions n tenants by the bulk API and returns when the last was complete. An
// empty server leaves the choice to the placement. All rows are asked for as often as the
// console does; more often would take the processors that they need.
func (p *plane) batch(ctx context.Context, n int, server string) (finished time.Time, err error) {
	rows := make([]map[string]any, n)
	for i := range rows {
		rows[i] = p.newTenant(server)
	}
	var batch struct {
		BatchID, Status string
		Counts          struct{ Complete int }
		FinishedAt      time.Time
	}
	err = p.send(ctx, http.MethodPost, "/platform/tenant-batches", map[string]any{"rows": rows}, http.StatusAccepted, &batch)
	if err != nil {
		return finished, err
	}
	err = wait(ctx, 1500*time.Millisecond, func() (bool, error) {
		err := p.send(ctx, http.MethodGet, "/platform/tenant-batches/"+batch.BatchID, nil, http.StatusOK, &batch)
		if err == nil && batch.Status == "complete" && batch.Counts.Complete != n {
			err = fmt.Errorf("only %d of %d tenants of the batch are complete", batch.Counts.Complete, n)
		}
		return batch.Status == "complete", err
	})
	return batch.FinishedAt, err
}
