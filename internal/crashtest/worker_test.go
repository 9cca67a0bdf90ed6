package crashtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// worker is a worker process with crash points.
type worker struct {
	cmd   *exec.Cmd
	log   buffer
	done  chan struct{}
	ended time.Time // once done
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) { b.mu.Lock(); defer b.mu.Unlock(); return b.b.Write(p) }

func (b *buffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

// startWorker starts the program with an environment of its own.
func startWorker(program string, env ...string) (*worker, error) {
	w := &worker{cmd: exec.Command(program), done: make(chan struct{})}
	w.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), fmt.Sprintf("TENANTRY_CRASH_PARENT=%d", os.Getpid()),
	}, env...)
	w.cmd.Stdout, w.cmd.Stderr = &w.log, &w.log
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for the test alone
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start a worker: %w", err)
	}
	go func() {
		_ = w.cmd.Wait()
		w.ended = time.Now()
		close(w.done)
	}()
	return w, nil
}

func (w *worker) exited() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// killed reports whether SIGKILL was the end.
func (w *worker) killed() bool {
	status, ok := w.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

func (w *worker) signal(s syscall.Signal) error { return w.cmd.Process.Signal(s) }

// kill ends the process; a frozen one too.
func (w *worker) kill() {
	if !w.exited() {
		_ = w.cmd.Process.Kill()
		<-w.done
	}
}

// stop tells the worker to stop, and is content only with a graceful end.
func (w *worker) stop(ctx context.Context) error {
	if err := w.signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		return errors.New("a worker does not stop")
	}
	if !w.cmd.ProcessState.Success() {
		return fmt.Errorf("a worker ended with %s", w.cmd.ProcessState)
	}
	return nil
}

// said reports whether the worker logged the words.
func (w *worker) said(words string) bool { return strings.Contains(w.log.String(), words) }

// until polls cond until it holds.
func until(ctx context.Context, what string, cond func() (bool, error)) error {
	for {
		ok, err := cond()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: it does not happen: %w", what, context.Cause(ctx))
		}
	}
}
