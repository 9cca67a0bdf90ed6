//go:build crashpoints

package crashtest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// The controls take one protection away and want the oracle to see the damage.
// With the protection the same must be clean, or the control would prove nothing.

// TestCrashControlFence has a worker freeze before the last step, another one
// complete the job, and the first one wake. Without the fence it takes the job
// for its own, cannot complete it, and undoes it.
func TestCrashControlFence(t *testing.T) {
	w := setup(t)
	for _, fence := range []bool{true, false} {
		t.Run(map[bool]string{true: "with", false: "without"}[fence], func(t *testing.T) {
			w.try(t, func(ctx context.Context, x *trial) error {
				var env []string
				if !fence {
					env = append(env, "TENANTRY_CRASH_NO_FENCE=1")
				}
				if err := x.submit(ctx); err != nil {
					return err
				}
				sleeper, err := x.freezeAt(ctx, "do:complete:before", env...)
				if err != nil {
					return err
				}
				if _, err := x.finish(ctx, 1); err != nil {
					return err
				}
				if err := x.wake(ctx, sleeper); err != nil {
					return err
				}
				return wantSeen(t, !fence, x.verdict(ctx, x.job.ID, tenancy.JobComplete))
			})
		})
	}
}

// TestCrashControlSlugLock kills a worker while the server makes the tenant's
// roles for it, behind a proxy that keeps the connection, so that the server
// does not notice and finishes. Meanwhile the job is cancelled. Without the lock
// the rollback finds nothing, and then there is something.
func TestCrashControlSlugLock(t *testing.T) {
	w := setup(t)
	for _, lock := range []bool{true, false} {
		t.Run(map[bool]string{true: "with", false: "without"}[lock], func(t *testing.T) {
			w.try(t, func(ctx context.Context, x *trial) error {
				var env []string
				if !lock {
					env = append(env, "TENANTRY_CRASH_NO_SLUG_LOCK=1")
				}
				if err := x.orphanCreate(ctx, env...); err != nil {
					return err
				}
				return wantSeen(t, !lock, x.verdict(ctx, x.job.ID, tenancy.JobCancelled))
			})
		})
	}
}

// orphanCreate has a CREATE ROLE outlive its worker, and the job cancelled and
// undone by another.
func (t *trial) orphanCreate(ctx context.Context, env ...string) error {
	p, err := startProxy(t.servers[0])
	if err != nil {
		return err
	}
	defer p.close()
	if err := t.use(ctx, t.servers[0], via(t.servers[0].pg.URL(), p.Addr().String())); err != nil {
		return err
	}
	t.lease = 400 * time.Millisecond
	// Nobody can make a role while this is open; everything else goes on.
	noRoles, err := t.servers[0].Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = noRoles.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := noRoles.Exec(ctx, "LOCK TABLE pg_authid IN SHARE MODE"); err != nil {
		return err
	}
	if err := t.submit(ctx); err != nil {
		return err
	}
	first, err := t.start(env...)
	if err != nil {
		return err
	}
	const creating = `state = 'active' AND query LIKE 'CREATE ROLE%'`
	if err := t.activity(ctx, creating+` AND wait_event_type = 'Lock'`, true); err != nil {
		return err
	}
	first.kill()
	second, err := t.start(env...)
	if err != nil {
		return err
	}
	if err := until(ctx, "the lease runs out", func() (over bool, err error) {
		err = t.pool.QueryRow(ctx, `SELECT lease_until < now() FROM identity.job WHERE job_id = $1`, t.job.ID).Scan(&over)
		return over && second.said("worker ready"), err
	}); err != nil {
		return err
	}
	if err := t.cancel(ctx); err != nil {
		return err
	}
	if len(env) == 0 {
		// The last thing that a waiter asked along with the lock.
		err = t.activity(ctx, `query LIKE '%shobj_description%' AND backend_start > (
			SELECT max(query_start) FROM pg_stat_activity WHERE query LIKE 'CREATE ROLE%')`, true)
	} else {
		err = t.settled(ctx)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(noRoles.Commit(ctx), t.activity(ctx, creating, false)); err != nil {
		return err
	}
	p.forget()
	return errors.Join(t.settled(ctx), second.stop(ctx))
}

// activity waits until the trial's first server has a session such as that, or
// has none.
func (t *trial) activity(ctx context.Context, such string, want bool) error {
	return until(ctx, "a session where "+such, func() (bool, error) {
		var is bool
		err := t.servers[0].QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND `+such+`)`).Scan(&is)
		return is == want, err
	})
}

// wantSeen turns a verdict around if damage is what was wanted.
func wantSeen(t *testing.T, damage bool, verdict error) error {
	t.Helper()
	if !damage {
		return verdict
	}
	if _, ok := errors.AsType[violation](verdict); !ok {
		return errors.Join(errors.New("the damage was not done, or not seen"), verdict)
	}
	t.Logf("seen: %v", verdict)
	return nil
}

// proxy stands before a server and keeps the server's side of a connection when
// its client is gone.
type proxy struct {
	net.Listener
	to string

	mu   sync.Mutex
	kept []net.Conn
}

func startProxy(s server) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{Listener: l, to: net.JoinHostPort(s.pg.Host(), strconv.Itoa(s.pg.Port()))}
	go p.serve()
	return p, nil
}

func (p *proxy) serve() {
	for {
		client, err := p.Accept()
		if err != nil {
			return
		}
		upstream, err := net.Dial("tcp", p.to)
		if err != nil {
			client.Close()
			continue
		}
		go func() {
			_, _ = io.Copy(upstream, client)
			p.mu.Lock()
			defer p.mu.Unlock()
			p.kept = append(p.kept, upstream)
		}()
		go func() {
			_, _ = io.Copy(client, upstream)
			client.Close()
		}()
	}
}

// forget closes what was kept.
func (p *proxy) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.kept {
		c.Close()
	}
	p.kept = nil
}

func (p *proxy) close() {
	p.Close()
	p.forget()
}

// via is a server's URL through a proxy.
func via(adminURL, addr string) string {
	u, err := url.Parse(adminURL)
	if err != nil {
		panic(err) // our own
	}
	u.Host = addr
	return u.String()
}
