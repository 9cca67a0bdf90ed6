package main

import (
	"context"
	"errors"
	"fmt"
)

// measureGrowth is a warm tenant on a server with many and, in turns, on one of a
// plane that is as good as new. The tenants between come through the bulk API.
func measureGrowth(ctx context.Context, b *bench) error {
	n, many := b.rounds(11, 2), b.rounds(500, 20)
	const few = 10
	if b.young == nil {
		return errors.New("its plane did not start")
	}
	for _, grown := range []struct {
		plane *plane
		to    int
	}{{b.young, few}, {b.warm, many}} {
		if missing := grown.to - n/2 - int(grown.plane.slugs.Load()); missing > 0 {
			if err := grown.plane.batch(ctx, missing, grown.plane.ready.DBServers[0].Name); err != nil {
				return err
			}
		}
	}
	of, against := tenant(b.warm, "a tenant among many"), tenant(b.young, "a tenant among few")
	if err := interleave(ctx, n, against, of); err != nil {
		return err
	}
	t := growth
	if b.quick { // another thing, under another name and without a promise
		b.report.Skipped = append(b.report.Skipped, growth.what)
		t = target{what: fmt.Sprintf("warm, %dth tenant / %dth", many, few)}
	}
	b.add(ratio(t, of.samples, against.samples, "ms"))
	return nil
}
