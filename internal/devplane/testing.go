package devplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// Needs names the servers a test binary uses.
type Needs struct {
	Master        bool
	TenantServers int
	Redis         bool
}

// testServers is the one set of servers of a test binary.
type testServers struct {
	needs Needs
	once  sync.Once
	err   error

	dir     string
	master  *Postgres
	tenants []*Postgres
	redis   *Redis
}

var servers *testServers

// RunTests runs the tests of a binary with the servers they need and returns
// the exit code for os.Exit:
//
//	func TestMain(m *testing.M) {
//		os.Exit(devplane.RunTests(m, devplane.Needs{Master: true}))
//	}
//
// The servers start together when the first test asks for one, and are stopped
// after the last. If the machine lacks a server's program, no test runs and the
// code is 1.
func RunTests(m *testing.M, needs Needs) int {
	if err := needs.check(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot run the tests of this package: %v\n", err)
		return 1
	}
	servers = &testServers{needs: needs}
	code := m.Run()
	if err := servers.stop(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot stop the test servers: %v\n", err)
		return max(code, 1)
	}
	return code
}

func (n Needs) check() error {
	var errs []error
	if n.Master || n.TenantServers > 0 {
		_, _, err := postgresBinaries()
		errs = append(errs, err)
	}
	if n.Redis {
		_, err := redisBinary()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Master returns the test binary's master server.
func Master(tb testing.TB) *Postgres {
	tb.Helper()
	s := startedServers(tb)
	if s.master == nil {
		tb.Fatal("cannot use the master server: Needs does not name it")
	}
	return s.master
}

// TenantServer returns the test binary's i-th tenant server, from 0.
func TenantServer(tb testing.TB, i int) *Postgres {
	tb.Helper()
	s := startedServers(tb)
	if i >= len(s.tenants) {
		tb.Fatalf("cannot use tenant server %d: Needs names %d", i, len(s.tenants))
	}
	return s.tenants[i]
}

// RedisServer returns the test binary's Redis server.
func RedisServer(tb testing.TB) *Redis {
	tb.Helper()
	s := startedServers(tb)
	if s.redis == nil {
		tb.Fatal("cannot use the Redis server: Needs does not name it")
	}
	return s.redis
}

// templates are made once in a test binary, by server and name.
var templates sync.Map // of string → func() error

// NewPreparedDatabase makes a database for one test as a copy of a template that
// prepare fills, once in a test binary for each name.
func NewPreparedDatabase(tb testing.TB, p *Postgres, template string, prepare func(ctx context.Context, url string) error) string {
	tb.Helper()
	once, _ := templates.LoadOrStore(p.URL()+" "+template, sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err := p.asSuperuser(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{template}.Sanitize()+" TEMPLATE template0")
			return err
		})
		if err != nil {
			return err
		}
		return prepare(ctx, p.DatabaseURL(template))
	}))
	if err := once.(func() error)(); err != nil {
		tb.Fatalf("cannot prepare the template %s: %v", template, err)
	}
	return NewDatabase(tb, p, template)
}

// NewDatabase makes a database for one test as a copy of template, which no
// one may be connected to (empty: template0), and returns its URL as the
// superuser. The database is dropped when the test ends.
func NewDatabase(tb testing.TB, p *Postgres, template string) string {
	tb.Helper()
	if template == "" {
		template = "template0"
	}
	name := "test_" + randomHex(8)
	err := p.asSuperuser(tb.Context(), func(ctx context.Context, conn *pgx.Conn) error {
		create := "CREATE DATABASE " + pgx.Identifier{name}.Sanitize() + " TEMPLATE " + pgx.Identifier{template}.Sanitize()
		if version, _, _ := strings.Cut(conn.PgConn().ParameterStatus("server_version"), "."); majorVersion(version) >= 15 {
			create += " STRATEGY file_copy" // the faster one where fsync is off
		}
		_, err := conn.Exec(ctx, create)
		return err
	})
	if err != nil {
		tb.Fatalf("cannot create database %s from %s: %v", name, template, err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		err := p.asSuperuser(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
			return err
		})
		if err != nil {
			tb.Errorf("cannot drop database %s: %v", name, err)
		}
	})
	return p.DatabaseURL(name)
}

func (p *Postgres) asSuperuser(ctx context.Context, f func(context.Context, *pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, p.URL())
	if err != nil {
		return err
	}
	return errors.Join(f(ctx, conn), conn.Close(ctx))
}

func startedServers(tb testing.TB) *testServers {
	tb.Helper()
	if servers == nil {
		tb.Fatal("cannot use test servers: the package's TestMain does not call devplane.RunTests")
	}
	servers.once.Do(func() { servers.err = servers.start() })
	if servers.err != nil {
		tb.Fatal(servers.err)
	}
	return servers
}

func (s *testServers) start() error {
	var err error
	if s.dir, err = os.MkdirTemp("", "tenantry-test-"); err != nil {
		return fmt.Errorf("cannot make a directory for the test servers: %w", err)
	}
	// Search permission for the user Postgres runs as.
	if err := os.Chmod(s.dir, 0o711); err != nil {
		return fmt.Errorf("cannot open the directory of the test servers: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s.tenants = make([]*Postgres, s.needs.TenantServers)
	var g errgroup.Group
	startPostgres := func(to **Postgres, name string) {
		g.Go(func() (err error) {
			*to, err = StartPostgres(ctx, PostgresConfig{Name: name, DataDir: filepath.Join(s.dir, name), Fast: true})
			return err
		})
	}
	if s.needs.Master {
		startPostgres(&s.master, "master")
	}
	for i := range s.tenants {
		startPostgres(&s.tenants[i], "tenants-"+strconv.Itoa(i))
	}
	if s.needs.Redis {
		g.Go(func() (err error) {
			s.redis, err = StartRedis(ctx, RedisConfig{DataDir: filepath.Join(s.dir, "redis")})
			return err
		})
	}
	return g.Wait()
}

func (s *testServers) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var g errgroup.Group
	for _, p := range append(s.tenants, s.master) {
		if p != nil {
			g.Go(func() error { return p.Stop(ctx) })
		}
	}
	if s.redis != nil {
		g.Go(func() error { return s.redis.Stop(ctx) })
	}
	err := g.Wait()
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}
