package devplane

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// RedisConfig says how to run one Redis server.
type RedisConfig struct {
	// DataDir holds the append-only file and the log; it is made if absent.
	DataDir string
	// Port on 127.0.0.1; 0 takes a free one.
	Port int
	// AppendOnly keeps the data between runs.
	AppendOnly bool
	// Password of the default user, without spaces and quotes; empty makes one.
	Password string
	Log      *slog.Logger
}

// Redis is a running Redis server that only this machine can reach. It evicts
// nothing: a queue that forgets is no queue.
type Redis struct {
	cfg    RedisConfig
	binary string

	mu   sync.Mutex
	proc *process
}

// StartRedis starts a server and returns once it answers. ctx bounds the start
// only; the server runs until Stop or Kill, or until this process ends.
func StartRedis(ctx context.Context, cfg RedisConfig) (*Redis, error) {
	if cfg.Password == "" {
		cfg.Password = randomHex(16)
	}
	if strings.ContainsAny(cfg.Password, " \"'\r\n") {
		return nil, errors.New("cannot start Redis: the password has a space or a quote")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	binary, err := redisBinary()
	if err != nil {
		return nil, err
	}
	if cfg.DataDir, err = filepath.Abs(cfg.DataDir); err != nil {
		return nil, fmt.Errorf("cannot use data directory %s: %w", cfg.DataDir, err)
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make data directory %s: %w", cfg.DataDir, err)
	}
	r := &Redis{cfg: cfg, binary: binary}
	if err := r.Start(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

func redisBinary() (string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", errors.New("cannot find redis-server in PATH: install the Redis server (Debian: apt-get install redis-server)")
	}
	return path, nil
}

// Addr is the host and port the server listens on.
func (r *Redis) Addr() string { return "127.0.0.1:" + strconv.Itoa(r.cfg.Port) }

// Port is the port the server listens on.
func (r *Redis) Port() int { return r.cfg.Port }

// URL connects to database 0.
func (r *Redis) URL() string {
	u := url.URL{Scheme: "redis", User: url.UserPassword("", r.cfg.Password), Host: r.Addr(), Path: "/0"}
	return u.String()
}

// Start starts a stopped or killed server again, on the same port.
func (r *Redis) Start(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.proc != nil && !r.proc.exited() {
		return nil
	}
	anyPort := r.cfg.Port == 0
	for try := 1; ; try++ {
		if anyPort {
			port, err := freePort()
			if err != nil {
				return err
			}
			r.cfg.Port = port
		}
		err := r.startOnce(ctx)
		if err == nil {
			r.cfg.Log.Debug("redis started", "port", r.cfg.Port)
			return nil
		}
		// The port may have gone to someone else meanwhile.
		if !anyPort || try == 5 || !errors.Is(err, errExited) {
			return fmt.Errorf("cannot start Redis: %w\n%s", err, logTail(r.logPath()))
		}
	}
}

func (r *Redis) startOnce(ctx context.Context) error {
	log, err := os.Create(r.logPath())
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(r.binary, "-")
	cmd.Dir = r.cfg.DataDir
	cmd.Stdin = strings.NewReader(r.config()) // not argv, which everyone can read
	cmd.Stdout, cmd.Stderr = log, log
	proc, err := startProcess(cmd, syscall.SIGTERM)
	if err != nil {
		return err
	}
	if err := proc.waitReady(ctx, r.probe); err != nil {
		return errors.Join(err, proc.kill())
	}
	r.proc = proc
	return nil
}

func (r *Redis) config() string {
	appendOnly := "no"
	if r.cfg.AppendOnly {
		appendOnly = "yes"
	}
	return strings.Join([]string{
		"bind 127.0.0.1",
		"port " + strconv.Itoa(r.cfg.Port),
		"requirepass " + r.cfg.Password,
		"dir " + strconv.Quote(r.cfg.DataDir),
		"appendonly " + appendOnly,
		`save ""`,
		"maxmemory-policy noeviction",
		"daemonize no",
		"",
	}, "\n")
}

// probe asks for a PONG, which Redis refuses while it still loads its data.
func (r *Redis) probe(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.Addr())
	if err != nil {
		return errors.Join(errNotYet, err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := fmt.Fprintf(conn, "AUTH %s\r\nPING\r\n", r.cfg.Password); err != nil {
		return errors.Join(errNotYet, err)
	}
	answers := bufio.NewScanner(conn)
	for answers.Scan() {
		switch line := answers.Text(); {
		case line == "+PONG":
			return nil
		case strings.HasPrefix(line, "-"):
			return errNotYet
		}
	}
	return errNotYet
}

// Stop shuts the server down, with its data on disk if AppendOnly. It tolerates
// a server that is not running.
func (r *Redis) Stop(ctx context.Context) error {
	return r.end(func(proc *process) error {
		return proc.stop(ctx, stopStep{syscall.SIGTERM, 4 * time.Second})
	})
}

// Kill ends the server as a crash would.
func (r *Redis) Kill() error { return r.end((*process).kill) }

// Restart stops the server, if it runs, and starts it on the same port. Without
// AppendOnly everything in it is lost.
func (r *Redis) Restart(ctx context.Context) error {
	if err := r.Stop(ctx); err != nil {
		return err
	}
	return r.Start(ctx)
}

func (r *Redis) end(how func(*process) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.proc == nil {
		return nil
	}
	if err := how(r.proc); err != nil {
		return fmt.Errorf("cannot stop Redis: %w", err)
	}
	r.proc = nil
	r.cfg.Log.Debug("redis stopped")
	return nil
}

func (r *Redis) logPath() string { return filepath.Join(r.cfg.DataDir, "redis.log") }
