package tenantconn

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantry/tenantry/internal/pgerr"
	"github.com/tenantry/tenantry/internal/secrets"
	"github.com/tenantry/tenantry/internal/tenancy"
)

const (
	connectTimeout = 5 * time.Second
	// connIdle is when a connection that nobody uses is closed, within a pool that
	// is in use.
	connIdle = time.Minute
)

// pool is a tenant's pool, and what it was made from.
type pool struct {
	*pgxpool.Pool
	place place
	url   string
	// lookAt is when to look into the vault again.
	lookAt  time.Time
	retired bool
	// takers are about to take a connection. Those who have one are counted by the
	// pool itself.
	takers sync.WaitGroup
}

// connect returns a connection to the tenant's database. A refused login, or a
// database that is not there, may mean that the secret was changed, so the vault
// is looked at again.
func (t *Tenants) connect(ctx context.Context, r row) (*pgxpool.Conn, error) {
	p, err := t.hold(ctx, r, nil)
	if err != nil {
		return nil, err
	}
	conn, err := p.take(ctx)
	if ctx.Err() == nil && (pgerr.IsAuthFailure(err) || pgerr.State(err) == pgerr.InvalidCatalogName) {
		refused := p
		if p, err = t.hold(ctx, r, refused); err != nil {
			return nil, err
		}
		conn, err = p.take(ctx)
	}
	return conn, notLetIn(err)
}

// notLetIn codes what kept us from connecting.
func notLetIn(err error) error {
	const what = "cannot connect to the tenant's database"
	if state := pgerr.State(err); state == pgerr.InvalidCatalogName || state == pgerr.InsufficientPrivilege {
		return tenancy.Wrap(tenancy.CodeDependencyUnavailable, err, what+": the server does not let us in")
	}
	return pgerr.Classify(err, what)
}

// take takes a connection and ends the hold.
func (p *pool) take(ctx context.Context) (*pgxpool.Conn, error) {
	defer p.takers.Done()
	return p.Acquire(ctx)
}

// hold returns the tenant's pool, which stays open until the caller has taken a
// connection. refused is a pool that the server did not let in.
func (t *Tenants) hold(ctx context.Context, r row, refused *pool) (*pool, error) {
	for {
		if p := t.current(r, refused); p != nil {
			return p, nil
		}
		p, err := together(ctx, t, "pool "+string(r.tenant.Slug), func(ctx context.Context) (*pool, error) { return t.refresh(ctx, r) })
		if err != nil {
			return nil, err
		}
		t.mu.Lock()
		open := !p.retired
		if open {
			p.takers.Add(1)
		}
		t.mu.Unlock()
		if open {
			return p, nil
		}
	}
}

// current returns the pool that is there, held, if it is the right one as far as
// is known. When it is time to look into the vault, that is done meanwhile.
func (t *Tenants) current(r row, refused *pool) *pool {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.known[string(r.tenant.Slug)]
	if k == nil || k.pool == nil || k.pool == refused || k.pool.place != r.place {
		return nil
	}
	if now := time.Now(); now.After(k.pool.lookAt) {
		k.pool.lookAt = now.Add(t.cfg.SecretInterval)
		t.background.Go(func() {
			ctx, cancel := context.WithTimeout(t.life, flightTimeout)
			defer cancel()
			_, _ = t.refresh(ctx, r) // the pool that is there goes on
		})
	}
	k.pool.takers.Add(1)
	return k.pool
}

// refresh reads the tenant's secret and returns the pool that fits it: the one
// that is there, or a new one in its place.
func (t *Tenants) refresh(ctx context.Context, r row) (*pool, error) {
	secret, err := t.vault.Get(ctx, r.place.secretRef)
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.known[string(r.tenant.Slug)]
	if t.closed {
		return nil, ErrClosed
	}
	if k == nil { // swept or purged meanwhile; the registry is asked anew
		k = &known{row: r, used: time.Now()}
		t.known[string(r.tenant.Slug)] = k
	}
	lookAt := time.Now().Add(t.cfg.SecretInterval)
	if k.pool != nil && k.pool.place == r.place && (err != nil || k.pool.url == secret.Value) {
		k.pool.lookAt = lookAt
		return k.pool, nil
	}
	if err != nil {
		message := "The vault does not give out the tenant's credentials."
		return nil, &tenancy.Error{Code: tenancy.CodeDependencyUnavailable, Message: message, Err: err, Transient: tenancy.IsTransient(err)}
	}
	opened, err := t.newPool(r.place, secret)
	if err != nil {
		return nil, err
	}
	t.retire(k)
	k.pool = &pool{Pool: opened, place: r.place, url: secret.Value, lookAt: lookAt}
	t.makeRoom(k)
	return k.pool, nil
}

// newPool checks that the secret leads to the tenant's own database and to no
// other. Its errors show nothing of the secret.
func (t *Tenants) newPool(at place, secret secrets.Secret) (*pgxpool.Pool, error) {
	unfit := func(why string) (*pgxpool.Pool, error) {
		return nil, tenancy.Wrap(tenancy.CodeInternal, fmt.Errorf("secret %s %s", at.secretRef, why), "The tenant's credentials are not fit for use.")
	}
	if owner := secret.Owner.TenantID; owner != "" && owner != at.id {
		return unfit("belongs to another tenant")
	}
	cfg, err := pgxpool.ParseConfig(secret.Value)
	if err != nil {
		return unfit("is no connection URL")
	}
	if cfg.ConnConfig.Database != at.database {
		return unfit("names another database than the registry")
	}
	configure(cfg, secret.Value)
	cfg.MaxConns, cfg.MinConns, cfg.MaxConnIdleTime = t.cfg.MaxConns, 0, connIdle
	if t.cfg.Configure != nil {
		t.cfg.Configure(cfg)
	}
	opened, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		return unfit("cannot be used")
	}
	return opened, nil
}

// configure sets what every session has unless its URL says otherwise.
func configure(cfg *pgxpool.Config, url string) {
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "tenantconn"
	}
	if !strings.Contains(url, "connect_timeout") {
		cfg.ConnConfig.ConnectTimeout = connectTimeout
	}
}

// The rest is called with t.mu held, or takes it.

// retire takes a tenant's pool out of use. It closes when its last connection is
// given back.
func (t *Tenants) retire(k *known) {
	p := k.pool
	if p == nil {
		return
	}
	k.pool, p.retired = nil, true
	t.background.Go(func() {
		p.takers.Wait()
		p.Close()
	})
}

func (t *Tenants) forget(slug string) {
	if k := t.known[slug]; k != nil {
		t.retire(k)
		delete(t.known, slug)
	}
}

// makeRoom retires the pools that were not used for the longest time while there
// are too many; keep is not among them.
func (t *Tenants) makeRoom(keep *known) {
	for {
		var oldest *known
		pools := 0
		for _, k := range t.known {
			if k.pool == nil {
				continue
			}
			pools++
			if k != keep && (oldest == nil || k.used.Before(oldest.used)) {
				oldest = k
			}
		}
		if pools <= t.cfg.MaxPools || oldest == nil {
			return
		}
		t.retire(oldest)
	}
}

// sweep forgets tenants that nobody uses, until Close.
func (t *Tenants) sweep() {
	tick := time.NewTicker(max(t.cfg.IdleAfter/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-t.life.Done():
			return
		case <-tick.C:
		}
		t.mu.Lock()
		for slug, k := range t.known {
			if time.Since(k.used) > t.cfg.IdleAfter {
				t.forget(slug)
			}
		}
		t.mu.Unlock()
	}
}
