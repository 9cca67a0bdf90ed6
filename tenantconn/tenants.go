package tenantconn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/singleflight"

	"github.com/tenantry/tenantry/internal/secrets"
)

// Config says where registry and vault are, and how many connections may be
// held. Zero numbers and durations take the defaults named beside them.
type Config struct {
	// DatabaseURL is the registry: the master database.
	DatabaseURL string
	// KeyVaultURL is the vault, such as https://name.vault.azure.net. Azure's
	// DefaultAzureCredential signs in.
	KeyVaultURL string
	// KeyVaultCAFile is a PEM file of authorities to trust besides the system's.
	KeyVaultCAFile string
	// KeyVaultDevelopment says that the vault is an emulator although its host is
	// not a loopback address.
	KeyVaultDevelopment bool

	// MaxConns is the most connections to one tenant's database; 5.
	MaxConns int32
	// MaxPools is the most tenants with a pool; 100. One more takes the place of
	// the one that was not used for the longest time.
	MaxPools int
	// IdleAfter is when the pool of a tenant that nobody uses is closed; 10 min.
	IdleAfter time.Duration
	// StatusInterval is how long the registry's answer holds; 5 s.
	StatusInterval time.Duration
	// StatusGrace is how long it holds while the registry does not answer; 1 min.
	StatusGrace time.Duration
	// SecretInterval is how often the vault is looked at for a changed secret; 5 min.
	// A refused login is followed by a look at once.
	SecretInterval time.Duration
	// Configure, if set, changes the configuration of each pool before it is opened:
	// a tracer, AfterConnect, the exec mode that a pooler needs.
	Configure func(*pgxpool.Config)
}

// Tenants are the databases of all tenants. It is safe for concurrent use.
type Tenants struct {
	cfg      Config
	registry *pgxpool.Pool
	vault    *secrets.Vault
	flights  singleflight.Group
	life     context.Context // until Close
	end      context.CancelFunc

	mu     sync.Mutex
	closed bool
	known  map[string]*known // by slug
	// background counts what goes on without a caller: shared lookups, pools that
	// wait for their last connection, and the sweeper.
	background sync.WaitGroup
}

// known is what is known of a tenant.
type known struct {
	row row
	// answered is when the registry last said so, askAt when to ask it again.
	answered, askAt time.Time
	used            time.Time
	pool            *pool // nil until it is used
}

// Open prepares Tenants. It does not wait for registry and vault to answer. The
// error names what is wrong with the configuration.
func Open(ctx context.Context, cfg Config) (*Tenants, error) {
	setDefault(&cfg.MaxConns, 5)
	setDefault(&cfg.MaxPools, 100)
	setDefault(&cfg.IdleAfter, 10*time.Minute)
	setDefault(&cfg.StatusInterval, 5*time.Second)
	setDefault(&cfg.StatusGrace, time.Minute)
	setDefault(&cfg.SecretInterval, 5*time.Minute)
	registry, err := pgxpool.ParseConfig(cfg.DatabaseURL)
	if err != nil || cfg.DatabaseURL == "" {
		return nil, errors.New("cannot use DatabaseURL: it is no valid postgres:// URL") // the cause may quote it
	}
	configure(registry, cfg.DatabaseURL)
	vault, err := secrets.Open(secrets.Config{
		URL: cfg.KeyVaultURL, CAFile: cfg.KeyVaultCAFile, Development: cfg.KeyVaultDevelopment,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot use the vault: %w", err)
	}
	t := &Tenants{cfg: cfg, vault: vault, known: map[string]*known{}}
	if t.registry, err = pgxpool.NewWithConfig(ctx, registry); err != nil {
		vault.Close()
		return nil, errors.New("cannot use DatabaseURL: Postgres cannot use it")
	}
	t.life, t.end = context.WithCancel(context.WithoutCancel(ctx))
	t.background.Go(t.sweep)
	return t, nil
}

// Close waits until every connection was given back, and closes all. Calls after
// it fail with ErrClosed.
func (t *Tenants) Close() {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return
	}
	t.closed = true
	for slug := range t.known {
		t.forget(slug)
	}
	t.mu.Unlock()
	t.end()
	t.background.Wait()
	t.registry.Close()
	t.vault.Close()
}

// flightTimeout bounds what several callers wait for together.
const flightTimeout = 15 * time.Second

// together has all who ask for key at the same time share one call of f. It goes
// on when a caller gives up, so that an impatient one does not fail the others.
func together[T any](ctx context.Context, t *Tenants, key string, f func(context.Context) (T, error)) (T, error) {
	answer := t.flights.DoChan(key, func() (any, error) {
		if !t.enter() {
			return nil, ErrClosed
		}
		defer t.background.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flightTimeout)
		defer cancel()
		defer context.AfterFunc(t.life, cancel)()
		return f(ctx)
	})
	select {
	case a := <-answer:
		v, _ := a.Val.(T)
		return v, a.Err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// enter has Close wait for the caller's Done; it is false after Close.
func (t *Tenants) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.background.Add(1)
	}
	return !t.closed
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
