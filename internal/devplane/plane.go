package devplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/alicebob/miniredis/v2"
	"golang.org/x/sync/errgroup"

	"github.com/tenantry/tenantry/internal/secrets/emulator"
)

// PlaneConfig says how to run a Plane.
type PlaneConfig struct {
	// DataDir keeps everything between runs, the ports too, since the tenants'
	// secrets name them.
	DataDir string
	// Fast gives up every promise about crashes of the machine, for tests.
	Fast bool
	Log  *slog.Logger
}

// Plane is everything around the control plane on this machine: one Postgres
// server for master and two for tenants, Redis, a development vault, a mailbox.
type Plane struct {
	Master, A, B *Postgres
	Redis        *Redis
	Vault        *emulator.Server
	Mailbox      *Mailbox

	mini *miniredis.Miniredis
	cfg  PlaneConfig
}

// ports are kept in DataDir.
type ports struct {
	Master, A, B, Redis, Vault int
}

// StartPlane starts a Plane, all servers at the same time. What was started is
// stopped again if one of them fails.
func StartPlane(ctx context.Context, cfg PlaneConfig) (*Plane, error) {
	p := &Plane{cfg: cfg}
	kept, err := p.keptPorts()
	if err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	postgres := func(to **Postgres, name string, port int, tenants bool) {
		g.Go(func() (err error) {
			*to, err = StartPostgres(ctx, PostgresConfig{
				Name: name, DataDir: filepath.Join(cfg.DataDir, name), Port: port, Fast: cfg.Fast, Tenants: tenants, Log: cfg.Log,
			})
			return err
		})
	}
	postgres(&p.Master, "pg-master", kept.Master, false)
	postgres(&p.A, "pg-a", kept.A, true)
	postgres(&p.B, "pg-b", kept.B, true)
	g.Go(func() error { return p.startRedis(ctx, kept.Redis) })
	g.Go(func() (err error) {
		p.Vault, err = emulator.Start(emulator.Config{
			Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(kept.Vault)), DataDir: filepath.Join(cfg.DataDir, "vault"), Log: cfg.Log,
		})
		return err
	})
	g.Go(func() (err error) {
		p.Mailbox, err = StartMailbox(cfg.Log)
		return err
	})
	if err = g.Wait(); err == nil {
		err = p.keepPorts()
	}
	if err != nil {
		return nil, errors.Join(err, p.Stop(context.WithoutCancel(ctx)))
	}
	return p, nil
}

// startRedis falls back to miniredis, which keeps nothing, where no redis-server
// is to be had, and says so.
func (p *Plane) startRedis(ctx context.Context, port int) (err error) {
	if _, missing := redisBinary(); missing != nil {
		p.cfg.Log.Warn("no redis-server here: using miniredis, which keeps nothing between runs and never expires anything by itself")
		p.mini, err = miniredis.Run()
		return err
	}
	p.Redis, err = StartRedis(ctx, RedisConfig{
		DataDir: filepath.Join(p.cfg.DataDir, "redis"), Port: port, AppendOnly: true, Log: p.cfg.Log,
	})
	return err
}

// RedisURL connects to the plane's Redis.
func (p *Plane) RedisURL() string {
	if p.mini != nil {
		return "redis://" + p.mini.Addr()
	}
	return p.Redis.URL()
}

// Stop stops whatever runs.
func (p *Plane) Stop(ctx context.Context) error {
	var g errgroup.Group
	for _, pg := range []*Postgres{p.Master, p.A, p.B} {
		if pg != nil {
			g.Go(func() error { return pg.Stop(ctx) })
		}
	}
	if p.Redis != nil {
		g.Go(func() error { return p.Redis.Stop(ctx) })
	}
	if p.mini != nil {
		p.mini.Close()
	}
	if p.Vault != nil {
		g.Go(func() error { return p.Vault.Close(ctx) })
	}
	if p.Mailbox != nil {
		g.Go(func() error { return p.Mailbox.Stop(ctx) })
	}
	return g.Wait()
}

func (p *Plane) portsFile() string { return filepath.Join(p.cfg.DataDir, "ports.json") }

func (p *Plane) keptPorts() (kept ports, err error) {
	data, err := os.ReadFile(p.portsFile())
	if errors.Is(err, os.ErrNotExist) {
		return kept, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &kept)
	}
	if err != nil {
		return kept, fmt.Errorf("cannot read the ports of the last run: %w", err)
	}
	return kept, nil
}

func (p *Plane) keepPorts() error {
	now := ports{Master: p.Master.Port(), A: p.A.Port(), B: p.B.Port(), Vault: portOf(p.Vault.URL())}
	if p.Redis != nil {
		now.Redis = p.Redis.Port()
	}
	data, err := json.Marshal(now)
	if err == nil {
		err = os.WriteFile(p.portsFile(), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot keep the ports for the next run: %w", err)
	}
	return nil
}

func portOf(rawURL string) int {
	u, err := url.Parse(rawURL)
	if err != nil {
		return 0
	}
	port, _ := strconv.Atoi(u.Port()) // 0 takes a free one next time
	return port
}
