package devplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a running server. It never outlives this program: where the
// system can do it, the kernel signals the child when the parent is gone.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed once the child is reaped
}

// startProcess starts cmd in a process group of its own, so that a Ctrl-C at
// the terminal reaches the parent alone and the parent decides the order.
// onDeath is the signal the child gets if the parent dies first.
func startProcess(cmd *exec.Cmd, onDeath syscall.Signal) (*process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd.SysProcAttr, onDeath)

	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel takes the death of the thread that forked for the death of
		// the parent (golang/go#27505), so the thread stays until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", cmd.Path, err)
	}
	return p, nil
}

func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stopStep is one try at ending a process and how long it may take.
type stopStep struct {
	signal syscall.Signal
	wait   time.Duration
}

// stop sends the signals in turn, each with its time to work, and ends with
// SIGKILL, for its children too: one that hangs does not see its parent gone. A ctx that
// is done cuts the waiting short, not the ending.
func (p *process) stop(ctx context.Context, steps ...stopStep) error {
	for _, s := range steps {
		if p.exited() {
			return nil
		}
		_ = p.cmd.Process.Signal(s.signal)
		timer := time.NewTimer(s.wait)
		select {
		case <-p.done:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	children := p.children()
	err := p.kill()
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL) // mostly gone by itself
	}
	return err
}

// children are the process's own, where the system tells.
func (p *process) children() (pids []int) {
	if p.exited() {
		return nil
	}
	pid := p.cmd.Process.Pid
	list, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)) // nothing but on Linux
	for field := range strings.FieldsSeq(string(list)) {
		if child, err := strconv.Atoi(field); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}

// kill ends the process at once and returns when it is reaped.
func (p *process) kill() error {
	if p.exited() {
		return nil
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("cannot kill process %d: %w", p.cmd.Process.Pid, err)
	}
	<-p.done
	return nil
}

// errNotYet says that a server needs more time.
var errNotYet = errors.New("not ready yet")

// waitReady calls probe until it succeeds. It fails when the process ends, when
// ctx is done, or when probe returns an error other than errNotYet.
func (p *process) waitReady(ctx context.Context, probe func(context.Context) error) error {
	for delay := 2 * time.Millisecond; ; delay = min(2*delay, 50*time.Millisecond) {
		tryCtx, cancel := context.WithTimeout(ctx, time.Second)
		err := probe(tryCtx)
		cancel()
		if err == nil && !p.exited() {
			return nil
		}
		if err != nil && !errors.Is(err, errNotYet) {
			return err
		}
		timer := time.NewTimer(delay)
		select {
		case <-p.done:
			timer.Stop()
			return errExited
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// errExited says that a server ended instead of becoming ready.
var errExited = errors.New("the server ended while starting")

// freePort returns a loopback port that nobody listens on. Another process may
// take it before its user does; callers try again then. It is none of those that systems
// give to whoever asks for any (Linux from 32768 on): a server that is started again on
// its port would find a passing connection there.
func freePort() (int, error) {
	const lowest, end = 10_000, 32_768
	for try := 1; ; try++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", lowest+rand.IntN(end-lowest)))
		if err == nil {
			defer l.Close()
			return l.Addr().(*net.TCPAddr).Port, nil
		}
		if try == 20 {
			return 0, fmt.Errorf("cannot find a free port: %w", err)
		}
	}
}

// serverUser returns whom to run Postgres as: nil for the current user, or, for
// root, whom Postgres refuses, the system's postgres or nobody.
func serverUser() (*syscall.Credential, string, error) {
	if os.Geteuid() != 0 {
		return nil, "", nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			continue
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			continue
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, name, nil
	}
	return nil, "", errors.New("cannot run Postgres as root: the system has neither a user postgres nor a user nobody to run it as")
}

// logTail returns the last lines of a server's log, for an error message.
func logTail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	const most = 2000
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	b, _ := io.ReadAll(f)
	return strings.TrimSpace(string(b))
}
