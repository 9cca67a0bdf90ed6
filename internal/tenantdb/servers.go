package tenantdb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/pgerr"
	"github.com/tenantry/tenantry/internal/tenancy"
	tenantmigrations "github.com/tenantry/tenantry/migrations/tenant"
)

// AdminSecrets reads the servers' admin URLs: the vault. For a secret that does
// not exist Value fails with a permanent tenancy.Error; while the vault is down,
// with a transient one.
type AdminSecrets interface {
	Value(ctx context.Context, name string) (string, error)
}

// Config says how to work on tenant servers. Zero durations and numbers take
// the defaults named beside them.
type Config struct {
	Secrets AdminSecrets
	// AppMigrations is the application's own set of golang-migrate files, at its
	// root; nil means none. Every Migrate looks at it afresh, and reads again what is
	// not of the name, size and time that it was.
	AppMigrations fs.FS
	// AppName is the application_name of every session; "tenantry".
	AppName string
	Log     *slog.Logger

	// MaxConnections to the maintenance database of one server, which is how many
	// slugs are worked on there at a time; 16.
	MaxConnections int
	ConnectTimeout time.Duration // 10 s
	// StatementTimeout bounds one administrative statement; 2 min.
	StatementTimeout time.Duration
	// LockTimeout bounds how long a statement, a migration's too, waits for a
	// lock; 30 s.
	LockTimeout time.Duration
	// MigrationTimeout bounds one statement of a migration; 10 min.
	MigrationTimeout time.Duration

	// NoTemplates makes each database from nothing, and migrates it file by file.
	NoTemplates bool
}

// Servers works on the databases of tenants. It is safe for concurrent use.
type Servers struct {
	cfg  Config
	sets []migrationSet

	mu      sync.Mutex
	pools   map[tenancy.ServerID]*adminPool
	closing sync.WaitGroup // pools that wait for their last user
	warned  map[warning]bool
	unfit   map[warning]unfit // by server and template
	seen    map[tenancy.ServerID]seen
	kept    map[room]*keptSession
	// bulkTurns are told of in copyInTurn.
	bulkTurns map[tenancy.ServerID]chan int
	// warmPasswords are those of databases prepared here.
	warmPasswords map[tenancy.WarmDatabaseID]string
}

// warning is something that is said once of a server.
type warning struct {
	server  tenancy.ServerID
	message string
}

// New returns Servers. It reads the migration sets and fails if a file of one
// cannot be one of golang-migrate's, or if two have the same version.
func New(cfg Config) (*Servers, error) {
	if cfg.Secrets == nil {
		return nil, errors.New("cannot work on tenant servers without a vault")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	setDefault(&cfg.AppName, "tenantry")
	setDefault(&cfg.MaxConnections, 16)
	setDefault(&cfg.ConnectTimeout, 10*time.Second)
	setDefault(&cfg.StatementTimeout, 2*time.Minute)
	setDefault(&cfg.LockTimeout, 30*time.Second)
	setDefault(&cfg.MigrationTimeout, 10*time.Minute)

	s := &Servers{
		cfg:    cfg,
		sets:   []migrationSet{{label: "built-in", files: tenantmigrations.FS, table: builtinTable, read: &readFiles{}}},
		pools:  map[tenancy.ServerID]*adminPool{},
		warned: map[warning]bool{},
		unfit:  map[warning]unfit{},
		seen:   map[tenancy.ServerID]seen{},
		kept:   map[room]*keptSession{},

		bulkTurns:     map[tenancy.ServerID]chan int{},
		warmPasswords: map[tenancy.WarmDatabaseID]string{},
	}
	if cfg.AppMigrations != nil {
		s.sets = append(s.sets, migrationSet{label: "application's", files: cfg.AppMigrations, table: appTable, read: &readFiles{}})
	}
	for _, set := range s.sets {
		if err := set.check(); err != nil {
			return nil, fmt.Errorf("cannot use the %s migrations: %w", set.label, err)
		}
	}
	return s, nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Close closes every connection, after the calls that use them have returned.
func (s *Servers) Close() {
	s.leaveAll()
	s.mu.Lock()
	for id, p := range s.pools {
		s.retire(p)
		delete(s.pools, id)
	}
	s.mu.Unlock()
	s.closing.Wait()
}

// failed codes err, which happened during what on a server. A context that has
// ended explains every error: a cancelled statement has a code of its own.
func failed(ctx context.Context, err error, what string) error {
	if err == nil {
		return nil
	}
	if _, coded := errors.AsType[*tenancy.Error](err); !coded && ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	return pgerr.Classify(err, what)
}

// on names a server in a message.
func on(server tenancy.DBServer) string { return " on server " + server.Name }

func quote(identifier string) string { return pgx.Identifier{identifier}.Sanitize() }
