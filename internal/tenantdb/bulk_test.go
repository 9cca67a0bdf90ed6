package tenantdb_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// TestManyCopiesTakeTurns: a server makes only so many copies at a time for those
// that nobody waits for, and somebody's own does not wait for them.
func TestManyCopiesTakeTurns(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	files := plainFiles()
	bulk, own := setup(t, withApp(files), withTemplates), setup(t, withApp(files), withTemplates)
	// Somebody else's copies are under way.
	others, err := pgx.Connect(ctx, bulk.pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = others.Close(context.Background()) })
	for i := range 4 {
		if _, err := others.Exec(ctx, "SELECT pg_advisory_lock(hashtextextended($1, 0))", fmt.Sprintf("tenantry bulk copy %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	ensure := func(ctx context.Context) <-chan error {
		done := make(chan error, 1)
		go func() {
			_, err := bulk.EnsureDatabase(ctx, bulk.server, bulk.slug, bulk.owner, bulk.appURL, tenancy.DatabaseSource{Bulk: true})
			done <- err
		}()
		eventually(t, "a copy that waits for its turn", func() bool {
			var waiting bool
			if err := others.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)").Scan(&waiting); err != nil {
				t.Error(err)
				return true
			}
			return waiting
		})
		return done
	}
	// Those that give up leave their turn to others.
	for range 5 {
		impatient, giveUp := context.WithCancel(ctx)
		done := ensure(impatient)
		giveUp()
		if err := <-done; err == nil {
			t.Fatal("one of many did not wait for its turn")
		}
	}
	done := ensure(ctx)
	template := own.ensureCopy(t)
	select {
	case err := <-done:
		t.Fatalf("one of many did not wait for its turn: %v", err)
	default:
	}
	if _, err := others.Exec(ctx, "SELECT pg_advisory_unlock_all()"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	bulk.migrate(t)
	own.dropTemplate(t, template)
}
