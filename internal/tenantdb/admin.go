package tenantdb

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantry/tenantry/internal/pgerr"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// adminPool holds connections to one server's maintenance database.
type adminPool struct {
	ref, url string
	sslmode  string // of the admin URL, "" if it has none
	*pgxpool.Pool
	// lostClients are the settings of noticeLostClients that the server accepts; nil
	// until the pool's first connection has tried.
	lostClients atomic.Pointer[map[string]string]
	// doubted is when the vault was last asked whether the server has moved.
	doubted atomic.Int64
}

// doubtInterval is how often a server that cannot be reached has the vault asked.
const doubtInterval = 5 * time.Second

// doubt reports whether it is time to ask the vault whether the server has moved.
func (p *adminPool) doubt() bool {
	now, last := time.Now().UnixNano(), p.doubted.Load()
	return now-last > int64(doubtInterval) && p.doubted.CompareAndSwap(last, now)
}

// Resolve reads the server's admin URL from the vault and checks that it is a usable
// one; it does not connect. changed tells that it is another one than before: then an
// answer that was asked for meanwhile may be that of another server. It fails with
// CodeAdminConnUnresolved if the vault has no such secret, refuses it, or holds
// something else in it. A vault that is down is transient.
func (s *Servers) Resolve(ctx context.Context, server tenancy.DBServer) (changed bool, err error) {
	s.mu.Lock()
	before := s.pools[server.ID]
	s.mu.Unlock()
	after, err := s.resolve(ctx, server)
	return before != nil && after != before, err
}

// acquire returns a connection to the server's maintenance database. A refused
// login may mean that the password was changed, and one that fails otherwise that the
// server has moved, so the vault is asked again; a caller in between may have done that
// already and retired the pool.
func (s *Servers) acquire(ctx context.Context, server tenancy.DBServer) (*pgxpool.Conn, *adminPool, error) {
	pool, err := s.pool(ctx, server)
	if err != nil {
		return nil, nil, err
	}
	conn, err := pool.Acquire(ctx)
	if err != nil && ctx.Err() == nil {
		current, err2 := s.pool(ctx, server)
		if err2 == nil && current == pool && (pgerr.IsAuthFailure(err) || pool.doubt()) {
			current, err2 = s.resolve(ctx, server)
		}
		switch {
		case err2 != nil && pgerr.IsAuthFailure(err):
			return nil, nil, err2
		case err2 == nil && current != pool:
			pool = current
			conn, err = pool.Acquire(ctx)
		}
	}
	if refused(err) {
		return nil, nil, tenancy.Wrap(tenancy.CodeAdminConnUnresolved, err, fmt.Sprintf(
			"Server %s refuses the admin URL in secret %s: Postgres answered %s.", server.Name, server.AdminSecretRef, pgerr.State(err)))
	}
	return conn, pool, failed(ctx, err, "cannot connect to the maintenance database"+on(server))
}

// superuser reports whether the admin was one when the connection began: the server says
// so unasked.
func (w *work) superuser() bool { return w.conn.PgConn().ParameterStatus("is_superuser") == "on" }

// refused reports whether a server will not let the admin in: wrong user,
// password or database, or no right to connect. No later try helps.
func refused(err error) bool {
	state := pgerr.State(err)
	return pgerr.IsAuthFailure(err) || state == pgerr.InvalidCatalogName || state == pgerr.InsufficientPrivilege
}

// pool returns the known pool of the server, or resolves its admin URL.
func (s *Servers) pool(ctx context.Context, server tenancy.DBServer) (*adminPool, error) {
	s.mu.Lock()
	pool := s.pools[server.ID]
	s.mu.Unlock()
	if pool != nil && pool.ref == server.AdminSecretRef {
		return pool, nil
	}
	return s.resolve(ctx, server)
}

func (s *Servers) resolve(ctx context.Context, server tenancy.DBServer) (*adminPool, error) {
	value, err := s.cfg.Secrets.Value(ctx, server.AdminSecretRef)
	if err != nil {
		if ctx.Err() != nil || tenancy.IsTransient(err) {
			return nil, err
		}
		return nil, tenancy.Wrap(tenancy.CodeAdminConnUnresolved, err,
			"The vault has no admin URL for server "+server.Name+": secret "+server.AdminSecretRef+" cannot be read.")
	}
	value = strings.TrimSpace(value) // a file's last newline is kept by the vault
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.pools[server.ID]
	if old != nil && old.url == value && old.ref == server.AdminSecretRef {
		return old, nil
	}
	pool, why := s.newPool(value)
	if why != "" {
		return nil, tenancy.Errorf(tenancy.CodeAdminConnUnresolved,
			"Secret %s of server %s is no usable admin URL: %s.", server.AdminSecretRef, server.Name, why)
	}
	pool.ref = server.AdminSecretRef
	s.pools[server.ID] = pool
	if old != nil {
		s.retire(old)
	}
	return pool, nil
}

// retire closes a pool once its last connection is back. s.mu is held.
func (s *Servers) retire(p *adminPool) {
	s.closing.Go(p.Close)
}

// newPool returns a pool for an admin URL, or what is wrong with the URL, in
// words that show nothing of it.
func (s *Servers) newPool(value string) (pool *adminPool, why string) {
	u, err := url.Parse(value)
	switch {
	case err != nil:
		return nil, "it cannot be parsed"
	case u.Scheme != "postgres" && u.Scheme != "postgresql":
		return nil, "it does not begin with postgres://"
	case u.Hostname() == "":
		return nil, "it names no host"
	case u.User.Username() == "":
		return nil, "it names no user"
	}
	cfg, err := pgxpool.ParseConfig(value)
	if err != nil {
		return nil, "Postgres cannot parse it" // the error itself may quote the value
	}
	if u.Path == "" || u.Path == "/" {
		cfg.ConnConfig.Database = "postgres"
	}
	s.configure(cfg.ConnConfig)
	// What is asked along with a lock is to see what was committed before it was free.
	cfg.ConnConfig.RuntimeParams["default_transaction_isolation"] = "read committed"
	setParam(cfg.ConnConfig, "statement_timeout", milliseconds(s.cfg.StatementTimeout))
	// What is asked here looks things up by name, whatever the name.
	setParam(cfg.ConnConfig, "plan_cache_mode", "force_generic_plan")
	admin := &adminPool{url: value, sslmode: u.Query().Get("sslmode")}
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		accepted, err := noticeLostClients(ctx, conn)
		if err == nil {
			admin.lostClients.Store(&accepted)
		}
		return err
	}
	cfg.MaxConns = int32(s.cfg.MaxConnections)
	cfg.MinConns = 0
	cfg.MaxConnIdleTime = time.Minute
	if admin.Pool, err = pgxpool.NewWithConfig(context.Background(), cfg); err != nil {
		return nil, "Postgres cannot use it"
	}
	return admin, ""
}

// configure sets what every session of ours has. A cancelled context asks the
// server to cancel and gives it time to say so, because a statement that goes
// on unseen is what this package must avoid.
func (s *Servers) configure(cfg *pgx.ConnConfig) {
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = s.cfg.ConnectTimeout
	}
	cfg.RuntimeParams["application_name"] = s.cfg.AppName
	setParam(cfg, "lock_timeout", milliseconds(s.cfg.LockTimeout))
	cfg.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: 5 * time.Second}
	}
}

func setParam(cfg *pgx.ConnConfig, name, value string) {
	if _, set := cfg.RuntimeParams[name]; !set {
		cfg.RuntimeParams[name] = value
	}
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// noticeLostClients has the server look once a second whether we are still
// there, and notice within half a minute that our host is gone without a word.
// Servers that cannot (before 14, or not on Linux) refuse the settings; it returns
// those that were accepted, for later sessions to begin with.
func noticeLostClients(ctx context.Context, conn *pgx.Conn) (accepted map[string]string, err error) {
	accepted = make(map[string]string)
	for _, settings := range []map[string]string{
		{"client_connection_check_interval": "1s"},
		{"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3", "tcp_user_timeout": "30s"},
	} {
		var sql []string
		for name, value := range settings {
			sql = append(sql, "SET "+name+" = '"+value+"'")
		}
		switch _, err := execAll(ctx, conn, sql...); {
		case err == nil:
			maps.Copy(accepted, settings)
		case pgerr.State(err) == "":
			return nil, err
		}
	}
	return accepted, nil
}
