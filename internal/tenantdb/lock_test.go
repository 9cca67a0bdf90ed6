package tenantdb_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
	"github.com/tenantry/tenantry/internal/tenantdb"
)

// TestDropWaitsForADeadClientsCreate: Postgres goes on with a CREATE DATABASE
// whose client was killed. A drop that did not wait would find nothing, and
// the database would appear after it.
func TestDropWaitsForADeadClientsCreate(t *testing.T) {
	t.Parallel()
	appName := "tenantry " + randomHex(4)
	b := setup(t, func(cfg *tenantdb.Config) { cfg.AppName = appName })
	sql(t, b.pg.URL(), b.expand("CREATE ROLE %OWNER% NOLOGIN; COMMENT ON ROLE %OWNER% IS '%MARK%'"))

	// CREATE DATABASE waits, for up to 5 s, while someone is in the template.
	template := "slow_" + randomHex(4)
	sql(t, b.pg.URL(), "CREATE DATABASE "+template)
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), b.pg.URL())
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close(context.Background())
		if _, err := conn.Exec(context.Background(), "DROP DATABASE "+template+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	inTemplate, err := pgx.Connect(t.Context(), b.pg.DatabaseURL(template))
	if err != nil {
		t.Fatal(err)
	}
	defer inTemplate.Close(t.Context())

	// The client that dies, on a server that does not look for lost clients. It
	// dials once, so that pgx cannot send a cancel request after its death.
	cfg, err := pgx.ParseConfig(b.pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	dial, dialled := cfg.DialFunc, false
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dialled {
			return nil, net.ErrClosed
		}
		dialled = true
		return dial(ctx, network, addr)
	}
	client, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	pid := client.PgConn().PID()
	if _, err := client.Exec(t.Context(), "SELECT pg_advisory_lock(hashtextextended($1, 0))", "tenantry "+b.slug.DatabaseName()); err != nil {
		t.Fatal(err)
	}
	created := make(chan struct{})
	go func() {
		defer close(created)
		_, _ = client.Exec(context.Background(), b.expand("CREATE DATABASE %DB% OWNER %OWNER% TEMPLATE "+template))
	}()
	backend := func(condition string) bool {
		return values[int64](t, b.pg.URL(), "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND "+condition, pid)[0] == 1
	}
	eventually(t, "CREATE DATABASE", func() bool { return backend("query ~ '^CREATE DATABASE'") })
	if err := client.PgConn().Conn().Close(); err != nil {
		t.Fatal(err)
	}
	<-created

	dropped := make(chan error, 1)
	go func() { dropped <- b.DropDatabase(t.Context(), b.server, b.slug, b.owner) }()
	eventually(t, "a waiting drop", func() bool {
		return values[int64](t, b.pg.URL(), "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'pg_try_advisory_lock|shobj_description' AND application_name = $1", appName)[0] > 0
	})
	select {
	case err := <-dropped:
		t.Fatalf("the drop did not wait: %v", err)
	default:
	}
	if !backend("true") {
		t.Fatal("the dead client's backend is gone too early for this test")
	}
	if err := inTemplate.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-dropped; err != nil {
		t.Fatal(err)
	}
	if got := b.inspect(t); !got.Empty() {
		t.Errorf("after the drop there is %+v", got)
	}
}

// TestWaitingForASlugEndsWithItsContext and leaves the lock free.
func TestWaitingForASlugEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	holder, err := pgx.Connect(t.Context(), b.pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close(context.Background())
	if _, err := holder.Exec(t.Context(), "SELECT pg_advisory_lock(hashtextextended($1, 0))", "tenantry "+b.slug.DatabaseName()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = b.EnsureDatabase(ctx, b.server, b.slug, b.owner, b.appURL, tenancy.DatabaseSource{})
	if !errors.Is(err, context.DeadlineExceeded) || tenancy.CodeOf(err) != tenancy.CodeTimeout {
		t.Errorf("error %v, want the deadline's", err)
	}
	if got := b.inspect(t); !got.Empty() {
		t.Errorf("there is %+v", got)
	}
	if err := holder.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.ensure(t)
	if got := values[int64](t, b.pg.URL(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32 | objid::bigint) = hashtextextended($1, 0)", "tenantry "+b.slug.DatabaseName()); got[0] != 0 {
		t.Error("the slug is still locked")
	}
}

// TestCancelledEnsure at any point leaves what the next one finishes.
func TestCancelledEnsure(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for d := time.Millisecond; ; d = d * 3 / 2 {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		_, err := b.EnsureDatabase(ctx, b.server, b.slug, b.owner, b.appURL, tenancy.DatabaseSource{})
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("after %s: %v", d, err)
		}
	}
	b.migrate(t)
	sql(t, b.appURL, "SELECT 1")
}

// TestAHolderThatLostItsJobIsEvicted: whoever has the job's lease does not wait
// for ever for a worker that is suspended or cut off with the slug in its hands.
func TestAHolderThatLostItsJobIsEvicted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	holder, err := pgx.Connect(t.Context(), b.pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close(context.Background())
	if _, err := holder.Exec(t.Context(), "SELECT pg_advisory_lock(hashtextextended($1, 0))", "tenantry "+b.slug.DatabaseName()); err != nil {
		t.Fatal(err)
	}
	lost := tenancy.Errorf(tenancy.CodeLeaseLost, "lost")
	stale := tenancy.WithFence(t.Context(), func(context.Context) error { return lost })
	if err := b.DropDatabase(stale, b.server, b.slug, b.owner); !errors.Is(err, lost) {
		t.Errorf("without the lease: %v", err)
	}
	if err := holder.Ping(t.Context()); err != nil {
		t.Fatalf("the holder was evicted by a worker without the lease: %v", err)
	}
	held := tenancy.WithFence(t.Context(), func(context.Context) error { return nil })
	if err := b.DropDatabase(held, b.server, b.slug, b.owner); err != nil {
		t.Errorf("with the lease: %v", err)
	}
	if err := holder.Ping(t.Context()); err == nil {
		t.Error("the holder is still there")
	}
}
