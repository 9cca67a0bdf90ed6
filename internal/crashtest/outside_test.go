//go:build crashpoints

package crashtest_test

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// try runs f in a trial of its own.
func (w *world) try(t *testing.T, f func(ctx context.Context, t *trial) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	x, err := w.newTrial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = f(ctx, x)
	if err = errors.Join(err, x.close()); err != nil {
		t.Errorf("%v\n%s", err, x.logs())
	}
}

// TestCrashInLongStatements kills a worker from outside while a server works
// for it: the server goes on for a while, or for good.
func TestCrashInLongStatements(t *testing.T) {
	w := setup(t)
	slow := w.startSlow(t)
	for _, end := range []tenancy.JobStatus{tenancy.JobComplete, tenancy.JobCancelled} {
		t.Run("create, "+string(end), func(t *testing.T) {
			w.try(t, func(ctx context.Context, x *trial) error {
				if err := x.use(ctx, slow, slow.pg.URL()); err != nil {
					return err
				}
				return x.killDuring(ctx, end, x.creating)
			})
		})
		sleepy := map[string]string{
			"0001_patients.up.sql": `CREATE TABLE patients (patient_id bigint PRIMARY KEY, name text NOT NULL);`,
			"0002_visits.up.sql": `CREATE TABLE visits (visit_id bigint PRIMARY KEY, patient_id bigint REFERENCES patients);
				-- ` + string(end) + `
				SELECT pg_sleep(4); CREATE INDEX visits_patient ON visits (patient_id);`,
		}
		if templates {
			t.Run("template, "+string(end), func(t *testing.T) {
				w.try(t, func(ctx context.Context, x *trial) (err error) {
					if x.migrations, err = w.writeSet("sleepy-template-"+string(end), sleepy); err != nil {
						return err
					}
					return x.killDuring(ctx, end, x.migrating("tenantry_template_"))
				})
			})
		}
		t.Run("migration, "+string(end), func(t *testing.T) {
			w.try(t, func(ctx context.Context, x *trial) (err error) {
				alone := maps.Clone(sleepy)
				alone["no-template"] = ""
				if x.migrations, err = w.writeSet("sleepy-"+string(end), alone); err != nil {
					return err
				}
				return x.killDuring(ctx, end, x.migrating("tenant_"))
			})
		})
	}
}

// killDuring kills a worker as soon as the server is at work.
func (t *trial) killDuring(ctx context.Context, end tenancy.JobStatus, atWork func(context.Context) error) error {
	if err := t.submit(ctx); err != nil {
		return err
	}
	first, err := t.start()
	if err != nil {
		return err
	}
	if err := atWork(ctx); err != nil {
		return err
	}
	first.kill()
	if end == tenancy.JobCancelled {
		if err := t.cancel(ctx); err != nil {
			return err
		}
	}
	if _, err := t.finish(ctx, 2); err != nil {
		return err
	}
	return t.verdict(ctx, t.job.ID, end)
}

// migrating waits until the sleepy migration runs in a database whose name begins
// so: no other trial has one.
func (t *trial) migrating(prefix string) func(context.Context) error {
	return func(ctx context.Context) error {
		return until(ctx, "a migration sleeps", func() (bool, error) {
			asleep := 0
			for _, s := range t.servers {
				var n int
				if err := s.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE starts_with(datname::text, $1) AND wait_event = 'PgSleep'`,
					prefix).Scan(&n); err != nil {
					return false, err
				}
				asleep += n
			}
			return asleep > 0, nil
		})
	}
}
