package devplane

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// PostgresConfig says how to run one Postgres server.
type PostgresConfig struct {
	// Name is what logs and errors call the server.
	Name string
	// DataDir holds the cluster, its password and its log; it is made if absent
	// and used again if it already holds a cluster.
	DataDir string
	// Port on 127.0.0.1; 0 takes a free one.
	Port int
	// Password of the superuser postgres. Empty: the one kept in DataDir, or a
	// new one.
	Password string
	// Fast gives up every promise about crashes of the machine, for tests.
	Fast bool
	// MaxConnections is the server's max_connections; 0 means 200.
	MaxConnections int
	// Tenants says that the server will have many databases, and sets it as
	// docs/operations.md advises for that.
	Tenants bool
	Log     *slog.Logger
}

// Postgres is a running Postgres server that only this machine can reach.
type Postgres struct {
	cfg              PostgresConfig
	initdb, postgres string
	cred             *syscall.Credential
	userName         string

	mu   sync.Mutex
	proc *process
}

// StartPostgres starts a server and returns once it answers. ctx bounds the
// start only; the server runs until Stop or Kill, or until this process ends.
func StartPostgres(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = 200
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p := &Postgres{cfg: cfg}
	var err error
	if p.initdb, p.postgres, err = postgresBinaries(); err != nil {
		return nil, err
	}
	if p.cred, p.userName, err = serverUser(); err != nil {
		return nil, err
	}
	if err := p.prepareDir(); err != nil {
		return nil, err
	}
	if err := p.initCluster(ctx); err != nil {
		return nil, err
	}
	if err := p.Start(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// Host is the address the server listens on.
func (p *Postgres) Host() string { return "127.0.0.1" }

// Port is the port the server listens on.
func (p *Postgres) Port() int { return p.cfg.Port }

// Password is the password of the superuser postgres.
func (p *Postgres) Password() string { return p.cfg.Password }

// URL connects as the superuser postgres to the database postgres.
func (p *Postgres) URL() string { return p.DatabaseURL("postgres") }

// DatabaseURL connects as the superuser postgres to the named database.
func (p *Postgres) DatabaseURL(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword("postgres", p.cfg.Password),
		Host:     p.Host() + ":" + strconv.Itoa(p.Port()),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Start starts a stopped or killed server again, on the same port.
func (p *Postgres) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc != nil && !p.proc.exited() {
		return nil
	}
	anyPort := p.cfg.Port == 0
	for delay := 20 * time.Millisecond; ; delay = min(2*delay, time.Second) {
		if anyPort {
			port, err := freePort()
			if err != nil {
				return err
			}
			p.cfg.Port = port
		}
		err := p.startOnce(ctx)
		if err == nil {
			p.cfg.Log.Debug("postgres started", "server", p.cfg.Name, "port", p.cfg.Port)
			return nil
		}
		// The port may have gone to someone else meanwhile, and a server that was
		// killed a moment ago may still be going down.
		tail := logTail(p.LogFile())
		again := errors.Is(err, errExited) && (anyPort && strings.Contains(tail, "could not bind") ||
			strings.Contains(tail, "lock file") || strings.Contains(tail, "shared memory block"))
		if !again || delay >= time.Second {
			return fmt.Errorf("cannot start Postgres %s: %w\n%s", p.cfg.Name, err, tail)
		}
		timer := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("cannot start Postgres %s: %w\n%s", p.cfg.Name, ctx.Err(), tail)
		case <-timer.C:
		}
	}
}

func (p *Postgres) startOnce(ctx context.Context) error {
	// Appending: backends of a server that was killed may write on for a moment.
	log, err := os.OpenFile(p.LogFile(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"-D", p.clusterDir()}
	for name, value := range p.settings() {
		args = append(args, "-c", name+"="+value)
	}
	cmd := p.command(context.WithoutCancel(ctx), p.postgres, args...)
	cmd.Stdout, cmd.Stderr = log, log
	onDeath := syscall.SIGINT // fast shutdown: the next start needs no recovery
	if p.cfg.Fast {
		onDeath = syscall.SIGQUIT
	}
	proc, err := startProcess(cmd, onDeath)
	if err != nil {
		return err
	}
	if err := proc.waitReady(ctx, p.probe); err != nil {
		return errors.Join(err, proc.kill())
	}
	p.proc = proc
	return nil
}

func (p *Postgres) settings() map[string]string {
	s := map[string]string{
		"listen_addresses":        p.Host(),
		"port":                    strconv.Itoa(p.cfg.Port),
		"unix_socket_directories": "",
		"max_connections":         strconv.Itoa(p.cfg.MaxConnections),
		"timezone":                "UTC",
		"log_timezone":            "UTC",
	}
	if p.cfg.Tenants {
		s["autovacuum_naptime"] = "5min"
	}
	if p.cfg.Fast {
		s["fsync"] = "off"
		s["synchronous_commit"] = "off"
		s["full_page_writes"] = "off"
		s["wal_level"] = "minimal"
		s["max_wal_senders"] = "0"
		s["shared_buffers"] = "32MB"
	}
	return s
}

func (p *Postgres) probe(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.URL())
	if err != nil {
		return errors.Join(errNotYet, err)
	}
	return conn.Close(ctx)
}

// Stop shuts the server down, sessions included. It tolerates a server that is
// not running.
func (p *Postgres) Stop(ctx context.Context) error {
	return p.end(func(proc *process) error {
		return proc.stop(ctx, stopStep{syscall.SIGINT, 2 * time.Second}, stopStep{syscall.SIGQUIT, time.Second / 2})
	})
}

// Kill ends the server as a crash would.
func (p *Postgres) Kill() error { return p.end((*process).kill) }

func (p *Postgres) end(how func(*process) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc == nil {
		return nil
	}
	if err := how(p.proc); err != nil {
		return fmt.Errorf("cannot stop Postgres %s: %w", p.cfg.Name, err)
	}
	p.proc = nil
	p.cfg.Log.Debug("postgres stopped", "server", p.cfg.Name)
	return nil
}

func (p *Postgres) clusterDir() string { return filepath.Join(p.cfg.DataDir, "cluster") }

// LogFile is where the server logs to.
func (p *Postgres) LogFile() string { return filepath.Join(p.cfg.DataDir, "postgres.log") }

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
