// Package store is the master database: what is recorded of servers, tenants,
// jobs, users and everything that happened. It guarantees that
//
//   - a state rule stands in the WHERE of the statement that relies on it, so
//     two callers at once cannot break it;
//   - a change, its audit row and the doorbell that announces it are one
//     transaction;
//   - a write that carries a lease changes nothing once a later worker has the
//     job (tenancy.CodeLeaseLost).
//
// Errors carry tenancy codes: CodeDependencyUnavailable, transient, when master
// cannot be reached.
package store

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantry/tenantry/internal/pgerr"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// Store is the master database. It is safe for concurrent use.
type Store struct {
	pool *pgxpool.Pool
	wake func()
}

// Limits of a session, in case a lock or a transaction of someone else's stands in
// the way: what waits longer fails, is transient and is tried again.
var sessionLimits = map[string]string{
	"lock_timeout":      "8s",
	"statement_timeout": "30s",
	// A worker that is suspended within a transaction must not hold up the others.
	"idle_in_transaction_session_timeout": "10s",
}

// noticeLostClients has the server notice within half a minute that the host of a
// session is gone without a word, so that its locks are let go. Servers that
// cannot refuse the settings, and are left as they are.
func noticeLostClients(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `
		SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SET tcp_user_timeout = '30s'`)
	if pgerr.State(err) != "" {
		return nil
	}
	return err
}

// Open connects to master, with at least conns connections unless DATABASE_URL
// says how many. It does not wait for an answer; CheckSchema does. wake, if not
// nil, is called after a commit that left something in the outbox; it must not
// block.
func Open(ctx context.Context, databaseURL string, conns int, wake func()) (*Store, error) {
	cfg, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, errors.New("cannot use DATABASE_URL: it is no valid postgres:// URL")
	}
	if !strings.Contains(databaseURL, "pool_max_conns") {
		cfg.MaxConns = max(cfg.MaxConns, int32(conns))
	}
	for name, value := range sessionLimits {
		if cfg.ConnConfig.RuntimeParams[name] == "" {
			cfg.ConnConfig.RuntimeParams[name] = value
		}
	}
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "tenantry"
	}
	cfg.AfterConnect = noticeLostClients
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, classify(err)
	}
	if wake == nil {
		wake = func() {}
	}
	return &Store{pool: pool, wake: wake}, nil
}

// PlanOnce returns the database URL for a process whose statements look rows up by key,
// a worker: a connection plans each once, rather than the first five times anew. Lists
// that are filtered are better planned for what they are filtered by.
func PlanOnce(databaseURL string) string {
	const mode = "plan_cache_mode"
	u, err := url.Parse(databaseURL)
	if err != nil || u.Query().Has(mode) {
		return databaseURL
	}
	query := u.Query()
	query.Set(mode, "force_generic_plan")
	u.RawQuery = query.Encode()
	return u.String()
}

// Close closes the connections.
func (s *Store) Close() { s.pool.Close() }

// Ping reports whether master answers.
func (s *Store) Ping(ctx context.Context) error { return classify(s.pool.Ping(ctx)) }

func classify(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*tenancy.Error](err); ok {
		return err
	}
	return pgerr.Classify(err, "cannot use the master database")
}

// violates reports whether err is the violation of the named constraint.
func violates(err error, constraint string) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.ConstraintName == constraint
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// nullable turns an empty id into NULL.
func nullable[T ~string](id T) *string {
	if id == "" {
		return nil
	}
	s := string(id)
	return &s
}

// validID reports whether id can be asked for; anything else is simply absent.
func validID[T ~string](id T) bool {
	_, err := uuid.Parse(string(id))
	return err == nil && len(id) == 36
}

// Paging. A cursor is the last row's key, opaque to callers.

const (
	defaultPageLimit = 50
	maxPageLimit     = 200
)

func pageLimit(p tenancy.Page) int {
	if p.Limit <= 0 {
		return defaultPageLimit
	}
	return min(p.Limit, maxPageLimit)
}

func encodeCursor(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

func decodeCursor(p tenancy.Page) (string, error) {
	key, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil || !utf8.Valid(key) || bytes.IndexByte(key, 0) >= 0 {
		return "", badCursor()
	}
	return string(key), nil
}

func badCursor() error {
	return &tenancy.Error{
		Code: tenancy.CodeInvalidRequest, Message: "The cursor is not one this API gave out.",
		Fields: []tenancy.FieldError{{Pointer: "/cursor", Code: "invalid", Detail: "not a cursor of this list"}},
	}
}

// nextCursor cuts a list that was read one row too long, and returns the cursor
// of the next page, "" on the last.
func nextCursor[T any](rows []T, limit int, key func(T) string) ([]T, string) {
	if len(rows) <= limit {
		return rows, ""
	}
	rows = rows[:limit]
	return rows, encodeCursor(key(rows[limit-1]))
}
