package main

import (
	"context"
	"errors"
)

// measureGrowth is a warm tenant on a server with many and, in turns, on one of a
// plane that is as good as new. The tenants between come through the bulk API.
func measureGrowth(ctx context.Context, b *bench) error {
	const n, few, many = 11, 10, 500
	if b.young == nil {
		return errors.New("its plane did not start")
	}
	for _, grown := range []struct {
		plane *plane
		to    int
	}{{b.young, few}, {b.warm, many}} {
		if missing := grown.to - n/2 - int(grown.plane.slugs.Load()); missing > 0 {
			if _, err := grown.plane.batch(ctx, missing, grown.plane.ready.DBServers[0].Name); err != nil {
				return err
			}
		}
	}
	of, against := tenant(b.warm, "a tenant among many"), tenant(b.young, "a tenant among few")
	if err := interleave(ctx, n, against, of); err != nil {
		return err
	}
	b.add(ratio(growth, of.samples, against.samples, "ms"))
	return nil
}
