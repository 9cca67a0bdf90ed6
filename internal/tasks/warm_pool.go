package tasks

import (
	"context"
	"log/slog"
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

const (
	// keepInterval is how often the pool is looked at, drainInterval how often where
	// there is to be none.
	keepInterval, drainInterval = 500 * time.Millisecond, 30 * time.Second
	// keepTerm is how long one worker leads before another may: workers of an old and
	// a new build would undo each other's work at every turn.
	keepTerm = 20 * time.Second
	// A server that failed is left alone, for longer each time.
	shortTrouble, longTrouble = time.Minute, 10 * time.Minute
	// warmLimit and dropLimit are the most that one database may take: nobody else
	// gets any meanwhile. A template may have to be built first.
	warmLimit, dropLimit = 10 * time.Minute, 2 * time.Minute
)

// WarmPool says how databases are prepared ahead.
type WarmPool struct {
	// Size is how many each server keeps ready, WARM_POOL_SIZE. With 0 those there
	// are go.
	Size    int
	Ledger  WarmLedger
	Servers WarmServers
	// Warmed is told how long it took to prepare one; may be nil.
	Warmed func(server string, took time.Duration)
}

// WarmLedger is master as the keeper of the pool needs it.
type WarmLedger interface {
	// Lead runs f if no other process leads under the name.
	Lead(ctx context.Context, name string, f func(context.Context) error) error
	// WarmServers returns the servers with their prepared databases, oldest first,
	// and whether a job waits for a database.
	WarmServers(ctx context.Context) (servers []tenancy.WarmServer, waiting bool, err error)
	AddWarmDatabase(ctx context.Context, server tenancy.DBServer, template string) (tenancy.WarmDatabase, error)
	// CheckWarming and WarmDatabaseReady fail with CodeLeaseLost if another worker
	// has retired the row.
	CheckWarming(ctx context.Context, id tenancy.WarmDatabaseID) error
	WarmDatabaseReady(ctx context.Context, id tenancy.WarmDatabaseID) error
	// RetireWarmDatabase leaves alone what a job has claimed that is not settled.
	RetireWarmDatabase(ctx context.Context, id tenancy.WarmDatabaseID) error
	ForgetWarmDatabase(ctx context.Context, id tenancy.WarmDatabaseID) error
}

// WarmServers are the tenant servers as the keeper of the pool needs them.
type WarmServers interface {
	// Template names the template of the migrations as they are now; "" is none.
	Template() string
	Warm(ctx context.Context, d tenancy.WarmDatabase) error
	DropWarm(ctx context.Context, server tenancy.DBServer, id tenancy.WarmDatabaseID) error
	// KeepWarmPasswords forgets those of all but these.
	KeepWarmPasswords(ids map[tenancy.WarmDatabaseID]bool)
}

// keeper keeps the pool of prepared databases: it retires those that no job may have,
// drops what is retired, and prepares new ones. One of the workers does it at a time.
//
// Its priority is low: it prepares one database at a time on all servers together,
// and none while a job waits for a database, which it asks before each.
//
// A row is written before there is anything of a database, and goes after the last of
// it, so what a killed keeper left is found by the next one: whoever leads prepares
// nothing yet, so what is recorded as being prepared is nobody's. One that lost the
// lead while it prepared, for instance because it took longer than master lets a
// transaction idle, is told so by its fence.
type keeper struct {
	WarmPool
	log *slog.Logger
	// trouble is by what is left alone: a tenancy.ServerID where nothing could be
	// prepared, a tenancy.WarmDatabaseID that could not be dropped.
	trouble map[any]trouble
}

// trouble is how long something is left alone.
type trouble struct {
	until time.Time
	last  time.Duration
}

func newKeeper(pool WarmPool, log *slog.Logger) *keeper {
	return &keeper{WarmPool: pool, log: log, trouble: map[any]trouble{}}
}

func (k *keeper) run(ctx context.Context) {
	for {
		if err := k.Ledger.Lead(ctx, "warm pool", k.lead); err != nil && ctx.Err() == nil {
			k.log.Warn("cannot keep the pool of prepared databases; trying on", "error", err)
		}
		if !k.rest(ctx) {
			return
		}
	}
}

// lead keeps the pool for a term.
func (k *keeper) lead(ctx context.Context) error {
	for end := time.Now().Add(keepTerm); ; {
		more, err := k.keep(ctx)
		switch {
		case err != nil || time.Now().After(end):
			return err
		case more:
		case k.Size == 0 || !k.rest(ctx):
			return nil
		}
	}
}

// rest waits for the next look; it reports false when ctx has ended.
func (k *keeper) rest(ctx context.Context) bool {
	interval := keepInterval
	if k.Size == 0 {
		interval = drainInterval
	}
	timer := time.NewTimer(interval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// keep looks at the pool once, and prepares one database at most. more says that
// there is something to do at once.
func (k *keeper) keep(ctx context.Context) (more bool, err error) {
	current := ""
	if k.Size > 0 {
		current = k.Servers.Template()
	}
	servers, waiting, err := k.Ledger.WarmServers(ctx)
	if err != nil {
		return false, err
	}
	known := map[tenancy.WarmDatabaseID]bool{}
	for _, s := range servers {
		for _, d := range s.Databases {
			known[d.ID] = true
		}
	}
	k.Servers.KeepWarmPasswords(known)
	for _, s := range servers {
		retired, err := k.tidy(ctx, s, current)
		if err != nil {
			return false, err
		}
		more = more || retired
	}
	if waiting || current == "" || more {
		return more, nil
	}
	for _, s := range servers {
		if k.lacks(s, current) {
			return true, k.warm(ctx, s.DBServer, current)
		}
	}
	return false, nil
}

// tidy drops what is retired, and retires what no job may have: the next look tells
// whether a job was faster.
func (k *keeper) tidy(ctx context.Context, s tenancy.WarmServer, current string) (retired bool, err error) {
	kept := 0
	for _, d := range s.Databases {
		wanted := d.State == tenancy.WarmClaimed && !d.Abandoned
		if d.State == tenancy.WarmReady && d.Template == current && s.IsActive && kept < k.Size {
			wanted = true
			kept++
		}
		if wanted {
			continue
		}
		if d.State != tenancy.WarmRetired {
			if err := k.Ledger.RetireWarmDatabase(ctx, d.ID); err != nil {
				return retired, err
			}
			retired = true
			continue
		}
		if k.troubled(d.ID) {
			continue
		}
		// A retired row stays one, so whoever still holds the database lost it.
		fenced := tenancy.WithFence(ctx, func(context.Context) error { return nil })
		if err := k.drop(fenced, s.DBServer, d.ID); err != nil {
			if err := k.failed(ctx, d.ID, "cannot drop a prepared database", err, "server", s.Name, "warm", d.ID); err != nil {
				return retired, err
			}
			continue
		}
		delete(k.trouble, d.ID)
		if err := k.Ledger.ForgetWarmDatabase(ctx, d.ID); err != nil {
			return retired, err
		}
	}
	return retired, nil
}

func (k *keeper) drop(ctx context.Context, server tenancy.DBServer, id tenancy.WarmDatabaseID) error {
	ctx, cancel := context.WithTimeout(ctx, dropLimit)
	defer cancel()
	return k.Servers.DropWarm(ctx, server, id)
}

// lacks reports whether another database should be prepared on a server: no more than
// it takes tenants.
func (k *keeper) lacks(s tenancy.WarmServer, current string) bool {
	want := k.Size
	if s.Room != nil {
		want = min(want, *s.Room)
	}
	for _, d := range s.Databases {
		if d.State == tenancy.WarmReady && d.Template == current {
			want--
		}
	}
	return want > 0 && s.IsActive && !k.troubled(s.ID)
}

// warm prepares a database. What is left when it fails is for the next look.
func (k *keeper) warm(ctx context.Context, server tenancy.DBServer, template string) error {
	began := time.Now()
	d, err := k.Ledger.AddWarmDatabase(ctx, server, template)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, warmLimit)
	defer cancel()
	fenced := tenancy.WithFence(limited, func(ctx context.Context) error { return k.Ledger.CheckWarming(ctx, d.ID) })
	if err := k.Servers.Warm(fenced, d); err != nil {
		return k.failed(ctx, server.ID, "cannot prepare a database", err, "server", server.Name)
	}
	if err := k.Ledger.WarmDatabaseReady(ctx, d.ID); err != nil {
		return err
	}
	delete(k.trouble, server.ID)
	took := time.Since(began)
	k.log.Debug("prepared a database", "server", server.Name, "warm", d.ID, "elapsed", took)
	if k.Warmed != nil {
		k.Warmed(server.Name, took)
	}
	return nil
}

// failed leaves what it happened to alone for a while. It returns the error of a worker
// that stops, or leads no more.
func (k *keeper) failed(ctx context.Context, to any, what string, err error, args ...any) error {
	if ctx.Err() != nil || tenancy.CodeOf(err) == tenancy.CodeLeaseLost {
		return err
	}
	t := k.trouble[to]
	t.last = min(max(2*t.last, shortTrouble), longTrouble)
	t.until = time.Now().Add(t.last)
	k.trouble[to] = t
	k.log.Warn(what+"; leaving it alone for a while", append(args, "after", t.last, "error", err)...)
	return nil
}

func (k *keeper) troubled(to any) bool { return time.Now().Before(k.trouble[to].until) }
