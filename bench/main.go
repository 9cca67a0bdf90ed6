// Command bench measures what tenantry promises to be quick at, on a plane of
// its own on this machine, and prints one table. Absolute times drift with the
// machine; each line names what it is to be compared with, measured in the same
// run.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if len(os.Args) == 4 && os.Args[1] == "bare-handler" {
		err = bareHandler(ctx, os.Args[2], os.Args[3])
	} else {
		err = run(ctx)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// result is one line of the table.
type result struct{ what, measured, compared string }

func run(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Minute)
	defer cancel()
	p, err := start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	var results []result
	for _, measure := range []func(context.Context, *plane) ([]result, error){
		measureIdle, measureSubmit, measurePoll, measurePickup, measureProvision,
	} {
		lines, err := measure(ctx, p)
		if err != nil {
			return err
		}
		results = append(results, lines...)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tMEASURED\tCOMPARED WITH")
	for _, r := range results {
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.what, r.measured, r.compared)
	}
	return w.Flush()
}

// plane is a development plane without a worker of its own, joined by a worker
// and a second api as processes of their own, as in production.
type plane struct {
	Console     string
	DatabaseURL string
	RedisURL    string
	KeyVaultURL string
	KeyVaultCA  string `json:"keyVaultCaFile"`
	Users       []struct{ APIToken string }
	DBServers   []struct{ AdminURL string }

	dir                      string
	dev, worker, front, bare *exec.Cmd
}

func start(ctx context.Context) (*plane, error) {
	dir, err := os.MkdirTemp("", "tenantry-bench-")
	if err != nil {
		return nil, err
	}
	p := &plane{dir: dir}
	fmt.Fprintln(os.Stderr, "building …")
	build := exec.CommandContext(ctx, "go", "build", "-o", dir+"/", "./cmd/api", "./cmd/worker", "./cmd/tenantctl")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot build: %w", err), p.stop())
	}
	ready := filepath.Join(dir, "ready.json")
	if p.dev, err = p.launch("tenantctl", nil, "dev", "--workers", "0", "--addr", "127.0.0.1:0", "--ready-file", ready); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	data, err := waitForFile(ctx, ready)
	if err == nil {
		err = json.Unmarshal(data, p)
	}
	if err == nil {
		err = p.join()
	}
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// join starts a worker and an api as their own processes.
func (p *plane) join() (err error) {
	env := []string{
		"DATABASE_URL=" + p.DatabaseURL, "REDIS_URL=" + p.RedisURL, "KEY_VAULT_URL=" + p.KeyVaultURL,
		"KEY_VAULT_CA_FILE=" + p.KeyVaultCA, "PUBLIC_URL=" + p.Console, "TENANT_URL=http://{slug}.localhost",
		"SMTP_URL=smtp://127.0.0.1:1", "MAIL_FROM=bench@platform.localhost", "HTTP_ADDR=127.0.0.1:0",
	}
	if p.worker, err = p.launch("worker", env); err != nil {
		return err
	}
	p.front, err = p.launch("api", env)
	return err
}

func (p *plane) launch(program string, env []string, args ...string) (*exec.Cmd, error) {
	cmd := exec.CommandContext(context.Background(), filepath.Join(p.dir, program), args...)
	cmd.Env = append(os.Environ(), append(env, "LOG_LEVEL=ERROR")...)
	log, err := os.Create(filepath.Join(p.dir, program+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stderr = log
	// A Ctrl-C at the terminal reaches this program alone, which ends the rest.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, cmd.Start()
}

func (p *plane) stop() error {
	for _, cmd := range []*exec.Cmd{p.bare, p.front, p.worker, p.dev} {
		if cmd == nil {
			continue
		}
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		_ = cmd.Wait()
	}
	return os.RemoveAll(p.dir)
}

func waitForFile(ctx context.Context, path string) ([]byte, error) {
	for {
		data, err := os.ReadFile(path)
		if err == nil {
			return data, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the plane does not become ready: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// residentMB is a process's resident memory.
func residentMB(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		var kb float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kb); n == 1 {
			return kb / 1024, nil
		}
	}
	return 0, errors.New("no VmRSS in /proc")
}
