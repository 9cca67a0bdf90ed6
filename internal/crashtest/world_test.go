package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantry/tenantry/internal/devplane"
	"github.com/tenantry/tenantry/internal/secrets"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// parallel is how many trials run beside each other. Redis has 16 databases.
const parallel = 8

const template = "crash_template"

// templates says whether workers copy tenants' databases from templates, as they do
// unless told otherwise. All of it must hold either way.
var templates = os.Getenv("CRASH_TEMPLATES") != "off"

// prepared says whether the jobs of the scenarios find prepared databases, and workers
// keep preparing them. All of it must hold either way.
var prepared = templates && os.Getenv("CRASH_POOL") != "off"

var operator = tenancy.Actor{Name: "os:tester@here"}

// server is a server that tenants live on.
type server struct {
	name string
	pg   *devplane.Postgres
	*pgxpool.Pool
}

// world is what the trials share: the servers, and a worker with crash points.
type world struct {
	plane   *devplane.Plane
	dir     string
	worker  string // the program
	master  *pgxpool.Pool
	servers []server
	vault   *secrets.Vault
	slots   chan int // numbers of Redis databases
	slow    *server  // see startSlow
	// The application's own migrations: good ones; a set whose last file fails;
	// one with which the admin cannot be seeded.
	good, broken, poisoned string
	// reference is the fingerprint of a tenant's database whose workers
	// nothing happened to.
	reference []string
}

var shared struct {
	once  sync.Once
	world *world
	err   error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.world != nil {
		if err := shared.world.stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// setup returns the world, which the first test makes.
func setup(t *testing.T) *world {
	t.Helper()
	shared.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		shared.world = &world{slots: make(chan int, parallel)}
		shared.err = shared.world.start(ctx)
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.world
}

func (w *world) start(ctx context.Context) (err error) {
	if w.dir, err = os.MkdirTemp("", "tenantry-crash-"); err != nil {
		return err
	}
	// Postgres runs as another user where this one is root.
	if err := os.Chmod(w.dir, 0o711); err != nil {
		return err
	}
	w.worker = filepath.Join(w.dir, "worker")
	build := exec.CommandContext(ctx, "go", "build", "-tags", "crashpoints", "-o", w.worker, "./cmd/worker")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build the worker: %w\n%s", err, out)
	}
	w.plane, err = devplane.StartPlane(ctx, devplane.PlaneConfig{
		DataDir: w.dir, Fast: true, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	if w.plane.Redis == nil {
		return errors.New("there is no redis-server here, and no other Redis will do")
	}
	for n := range parallel {
		w.slots <- n + 1
	}
	if w.master, err = openPool(w.plane.Master.URL()); err != nil {
		return err
	}
	w.servers = []server{{name: "pg-a", pg: w.plane.A}, {name: "pg-b", pg: w.plane.B}}
	for i, s := range w.servers {
		if w.servers[i].Pool, err = openPool(s.pg.URL()); err != nil {
			return err
		}
	}
	if err := w.forgetFrozenClients(ctx); err != nil {
		return err
	}
	w.vault, err = secrets.Open(secrets.Config{URL: w.plane.Vault.URL(), CAFile: w.plane.Vault.CAFile()})
	if err != nil {
		return err
	}
	if err := w.writeMigrations(); err != nil {
		return err
	}
	if err := w.makeTemplate(ctx); err != nil {
		return err
	}
	// Before the trials, which would wait for each other's slots.
	w.reference, err = w.makeReference()
	return err
}

// forgetFrozenClients has the servers give up soon on a client that stops while
// it logs in. Until then nobody can drop a database: Postgres waits for every
// session to let go of its files, and one that is logging in does not hear.
func (w *world) forgetFrozenClients(ctx context.Context) error {
	for _, pool := range []*pgxpool.Pool{w.master, w.servers[0].Pool, w.servers[1].Pool} {
		if _, err := pool.Exec(ctx, "ALTER SYSTEM SET authentication_timeout = '2s'"); err != nil {
			return err
		}
		if _, err := pool.Exec(ctx, "SELECT pg_reload_conf()"); err != nil {
			return err
		}
	}
	return nil
}

func openPool(databaseURL string) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = parallel
	return pgxpool.NewWithConfig(context.Background(), cfg)
}

// redisURL connects to one of Redis' databases.
func (w *world) redisURL(n int) string {
	u, err := url.Parse(w.plane.RedisURL())
	if err != nil {
		panic(err) // our own
	}
	u.Path = fmt.Sprintf("/%d", n)
	return u.String()
}

func (w *world) stop() error {
	if w.master != nil {
		w.master.Close()
	}
	servers := w.servers
	if w.slow != nil {
		servers = append(servers, *w.slow)
	}
	for _, s := range servers {
		if s.Pool != nil {
			s.Close()
		}
	}
	if w.vault != nil {
		w.vault.Close()
	}
	var err error
	if w.plane != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		err = w.plane.Stop(ctx)
		if w.slow != nil {
			err = errors.Join(err, w.slow.pg.Stop(ctx))
		}
	}
	return errors.Join(err, os.RemoveAll(w.dir))
}
