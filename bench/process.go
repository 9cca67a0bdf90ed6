package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a program that the bench started. Every one is ended with end.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed once it is reaped
}

// launch starts a program in a process group of its own: a Ctrl-C at the terminal
// reaches the bench alone, which ends the rest. It gets env and nothing else of
// ours but where to find and to put things.
func launch(dir, name, path string, env []string, args ...string) (*process, error) {
	cmd := exec.CommandContext(context.Background(), path, args...) // end ends it
	cmd.Env = append(inherited(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := &process{cmd: cmd, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	// What tenantctl dev says has passwords.
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // how it ended is in its log
	}()
	return p, nil
}

// inherited are the variables that say where things are. Others, such as a
// DATABASE_URL, would change what is measured.
func inherited() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "LANG"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// end ends the process and returns when it is gone. It may be gone already.
func (p *process) end() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		p.kill()
	}
}

// kill ends the process as a crash would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// until calls ready every few milliseconds until it is true. It fails if the
// process ends before.
func (p *process) until(ctx context.Context, ready func() bool) error {
	return wait(ctx, 20*time.Millisecond, func() (bool, error) {
		select {
		case <-p.done:
			said, _ := os.ReadFile(p.log)
			return false, fmt.Errorf("%s ended while starting: %s", filepath.Base(p.cmd.Path), strings.TrimSpace(string(said)))
		default:
			return ready(), nil
		}
	})
}

// wait calls done every interval until it is true or fails.
func wait(ctx context.Context, interval time.Duration, done func() (bool, error)) error {
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if err := pause(ctx, interval); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
