package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// plane is a development plane without a worker of its own, joined by an api and
// workers as processes of their own, as in production.
type plane struct {
	ready struct {
		DatabaseURL, RedisURL, KeyVaultURL, SMTPURL string
		KeyVaultCA                                  string `json:"keyVaultCaFile"`
		DBServers                                   []struct{ Name, AdminURL string }
		Users                                       []struct{ APIToken string }
	}
	dir, migrations string
	// pool is the WARM_POOL_SIZE of its workers.
	pool int

	dev, api *process
	workers  []*process
	apiURL   string

	// Connections as superuser: to master's database, and to the tenant servers.
	master  *pgx.Conn
	servers []*pgx.Conn
	// slugs and clones count tenants and bare databases, for their names.
	slugs, clones atomic.Int64
}

// startPlane starts a plane in dir with the programs there, and provisions the
// first tenant on each server, which makes the template there.
func startPlane(ctx context.Context, programs, dir, migrations string, pool int) (*plane, error) {
	p := &plane{dir: dir, migrations: migrations, pool: pool}
	if err := p.start(ctx, programs); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *plane) start(ctx context.Context, programs string) (err error) {
	// Postgres runs as another user where this one is root.
	if err := os.Mkdir(p.dir, 0o711); err != nil {
		return fmt.Errorf("cannot make a directory for a plane: %w", err)
	}
	ready := filepath.Join(p.dir, "ready.json")
	p.dev, err = launch(p.dir, "dev", filepath.Join(programs, "tenantctl"), []string{"TENANT_MIGRATIONS=" + p.migrations, "LOG_LEVEL=error"},
		"dev", "--workers", "0", "--addr", "127.0.0.1:0", "--data-dir", filepath.Join(p.dir, "data"), "--ready-file", ready)
	if err != nil {
		return err
	}
	var data []byte
	if err := p.dev.until(ctx, func() bool { data, err = os.ReadFile(ready); return err == nil }); err != nil {
		return err
	}
	if err := json.Unmarshal(data, &p.ready); err != nil {
		return fmt.Errorf("cannot read the ready file: %w", err)
	}
	if err := p.connect(ctx); err != nil {
		return err
	}
	if err := p.startAPI(ctx, programs); err != nil {
		return err
	}
	if err := p.startWorker(programs); err != nil {
		return err
	}
	for _, s := range p.ready.DBServers {
		if err := p.send(ctx, http.MethodPatch, "/platform/db-servers/"+s.Name, map[string]any{"capacityHint": nil}, http.StatusOK, nil); err != nil {
			return err
		}
		if _, err := p.provision(ctx, s.Name); err != nil {
			return err
		}
	}
	return nil
}

func (p *plane) connect(ctx context.Context) (err error) {
	if p.master, err = pgx.Connect(ctx, p.ready.DatabaseURL); err != nil {
		return err
	}
	for _, s := range p.ready.DBServers {
		conn, err := pgx.Connect(ctx, s.AdminURL)
		if err != nil {
			return err
		}
		p.servers = append(p.servers, conn)
	}
	return nil
}

// environment is that of the plane's api and workers.
func (p *plane) environment() []string {
	return []string{
		"DATABASE_URL=" + p.ready.DatabaseURL, "REDIS_URL=" + p.ready.RedisURL, "KEY_VAULT_URL=" + p.ready.KeyVaultURL,
		"KEY_VAULT_CA_FILE=" + p.ready.KeyVaultCA, "TENANT_URL=http://{slug}.localhost", "TENANT_MIGRATIONS=" + p.migrations,
	}
}

func (p *plane) startAPI(ctx context.Context, programs string) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	p.apiURL = "http://" + addr
	env := append(p.environment(), "HTTP_ADDR="+addr, "PUBLIC_URL="+p.apiURL)
	if p.api, err = launch(p.dir, "api", filepath.Join(programs, "api"), env); err != nil {
		return err
	}
	return p.api.until(ctx, func() bool {
		resp, err := client.Get(p.apiURL + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// startWorker starts one more worker. It takes jobs when it is ready.
func (p *plane) startWorker(programs string) error {
	env := append(p.environment(), "SMTP_URL="+p.ready.SMTPURL, "MAIL_FROM=bench@platform.localhost", "WARM_POOL_SIZE="+strconv.Itoa(p.pool),
		// Half of it is for bulk: so eight copies are under way on two servers while
		// others of the batch do the rest.
		"WORKER_CONCURRENCY=40")
	w, err := launch(p.dir, fmt.Sprintf("worker-%d", len(p.workers)+1), filepath.Join(programs, "worker"), env)
	if err == nil {
		p.workers = append(p.workers, w)
	}
	return err
}

// stopWorkers leaves the jobs to whoever comes next.
func (p *plane) stopWorkers() {
	var wait sync.WaitGroup
	for _, w := range p.workers {
		wait.Go(w.end)
	}
	wait.Wait()
	p.workers = nil
}

// stop ends all processes and removes what they kept. It may be repeated.
func (p *plane) stop() {
	closing, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, conn := range append(p.servers, p.master) {
		if conn != nil {
			_ = conn.Close(closing) // the server goes as well
		}
	}
	var wait sync.WaitGroup
	wait.Go(p.stopWorkers)
	if p.api != nil {
		wait.Go(p.api.end)
	}
	wait.Wait()
	if p.dev != nil {
		p.dev.end()
	}
	_ = os.RemoveAll(p.dir) // lies in the directory that is removed at the end
}

// quiet returns when nothing is left of what was done before: the pool is full, and
// a checkpoint has written everything that the servers owe the disk.
func (p *plane) quiet(ctx context.Context) error {
	if err := p.fullPool(ctx); err != nil {
		return err
	}
	return p.checkpoint(ctx)
}

// checkpoint is done on all tenant servers at the same time.
func (p *plane) checkpoint(ctx context.Context) error {
	var g errgroup.Group
	for _, conn := range p.servers {
		g.Go(func() error {
			_, err := conn.Exec(ctx, "CHECKPOINT")
			return err
		})
	}
	return g.Wait()
}

// fullPool returns when the pool is full and no database is being warmed.
func (p *plane) fullPool(ctx context.Context) error {
	if p.pool == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("the pool does not fill"))
	defer cancel()
	return wait(ctx, 5*time.Millisecond, func() (bool, error) {
		ready, warming, err := p.poolState(ctx)
		return ready == p.pool*len(p.servers) && warming == 0, err
	})
}

func (p *plane) poolState(ctx context.Context) (ready, warming int, err error) {
	err = p.master.QueryRow(ctx, `SELECT count(*) FILTER (WHERE state = 'ready'), count(*) FILTER (WHERE state = 'warming')
		FROM identity.warm_database`).Scan(&ready, &warming)
	if err != nil {
		return 0, 0, fmt.Errorf("cannot look at the pool: %w", err)
	}
	return ready, warming, nil
}

// freeAddr is a loopback address that nobody listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
