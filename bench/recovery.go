package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// measureRecovery is how long a tenant takes whose worker is killed while it copies
// the database, from the kill to the poll that says complete. Another worker lives.
// Nothing happens until the lease of the dead one runs out, so the plane that growth
// needs starts meanwhile.
func measureRecovery(ctx context.Context, b *bench) (err error) {
	var young errgroup.Group
	young.Go(func() (err error) {
		b.young, err = b.startPlane(ctx, "young", b.poolSize())
		return err
	})
	defer func() { err = errors.Join(err, young.Wait()) }()
	var recoveries series
	for range 3 {
		took, err := b.cold.recovery(ctx, b.dir)
		if err != nil {
			return err
		}
		recoveries = append(recoveries, took.Seconds())
	}
	b.add(line{
		target: target{what: "recovery: SIGKILL of the worker → complete", unit: " s"},
		value:  recoveries.median(), spread: recoveries.spread(), n: len(recoveries),
	})
	return nil
}

// recovery tries again if the job is done before it can be disturbed.
func (p *plane) recovery(ctx context.Context, programs string) (time.Duration, error) {
	for range 5 {
		if len(p.workers) < 2 {
			if err := p.startWorker(programs); err != nil {
				return 0, err
			}
		}
		if err := p.quiet(ctx); err != nil {
			return 0, err
		}
		id, err := p.submit(ctx, p.newTenant(""))
		if err != nil {
			return 0, err
		}
		at, err := p.killHolder(ctx, id)
		if err != nil {
			return 0, err
		}
		if _, err := p.settle(ctx, id); err != nil {
			return 0, err
		}
		if !at.IsZero() {
			return time.Since(at), nil
		}
	}
	return 0, errors.New("every job was done before its worker could be killed")
}

// killHolder kills the worker that copies the job's database and says when. It is
// zero if the job got past that.
func (p *plane) killHolder(ctx context.Context, jobID string) (at time.Time, err error) {
	err = wait(ctx, time.Millisecond, func() (bool, error) {
		var status, phase, owner string
		err := p.master.QueryRow(ctx, `SELECT status, phase, lease_owner FROM identity.job WHERE job_id = $1`, jobID).Scan(&status, &phase, &owner)
		if err != nil || status == "complete" {
			return true, err
		}
		if phase != "database_created" {
			return false, nil
		}
		for i, w := range p.workers {
			if strings.Contains(owner, fmt.Sprintf("/%d/", w.pid())) {
				at = time.Now()
				w.kill()
				p.workers = append(p.workers[:i], p.workers[i+1:]...)
				return true, nil
			}
		}
		return false, fmt.Errorf("no worker of ours holds the job, but %s", owner)
	})
	return at, err
}
