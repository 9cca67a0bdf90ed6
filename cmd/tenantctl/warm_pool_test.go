package main

import (
	"fmt"
	"testing"
	"time"
)

// TestWarmPool: a worker fills the pool, tenants are taken from it, it is filled again,
// and the doctor finds nothing amiss.
func TestWarmPool(t *testing.T) {
	t.Parallel()
	p := startPlane(t, 2, map[string]string{"WARM_POOL_SIZE": "2", "TENANT_MIGRATIONS": migrations(t, appMigrations)})
	full := func() {
		t.Helper()
		eventually(t, 30*time.Second, "the pool is full", func() bool {
			return queryOne[int64](t, p.DatabaseURL, `SELECT count(*) FILTER (WHERE state = 'ready') - 10 * count(*) FILTER (WHERE state <> 'ready') FROM identity.warm_database`) == 4
		})
	}
	full()
	p.examine(t, exitOK)
	for i := range 4 {
		job := p.settle(t, p.submitTo(t, fmt.Sprintf("warm-%d", i), []string{"pg-a", "pg-b"}[i%2]), 30*time.Second)
		if job.text("status") != "complete" {
			t.Fatalf("%v", job.body)
		}
	}
	if got := queryOne[int64](t, p.DatabaseURL, `SELECT count(*) FROM identity.job_phase WHERE name = 'database_created' AND detail @> '{"warm": true}'`); got != 4 {
		t.Errorf("%d were taken from the pool", got)
	}
	if got := p.exists(t, "warm-0"); got != everything {
		t.Error(got)
	}
	full()
	p.examine(t, exitOK)
	for _, s := range p.DBServers {
		if got := queryOne[int64](t, s.AdminURL, `SELECT count(*) FROM pg_database WHERE starts_with(datname::text, 'tenantry_warm_')`); got != 2 {
			t.Errorf("%s has %d prepared databases", s.Name, got)
		}
	}
}

// TestDevHasAPool unless it is told otherwise.
func TestDevHasAPool(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int{"": 8, "0": 0, "3": 3} {
		c := &cli{getenv: func(name string) string { return map[string]string{"WARM_POOL_SIZE": value}[name] }}
		cfg, err := c.devEnvironment().config(c.dev())
		if err != nil || cfg.WarmPoolSize != want {
			t.Errorf("WARM_POOL_SIZE=%q: %d, %v", value, cfg.WarmPoolSize, err)
		}
	}
}
