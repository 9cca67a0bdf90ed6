// Package pgerr turns what pgx returns into a tenancy.Error: it tells trouble
// that passes by itself from trouble that stays, and lets nothing but an
// SQLSTATE and its name into the message. A statement, a value, a password or a
// connection URL never gets there.
package pgerr

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// SQLSTATEs that callers look at.
const (
	DuplicateDatabase     = "42P04"
	DuplicateObject       = "42710"
	UniqueViolation       = "23505"
	InsufficientPrivilege = "42501"
	ObjectInUse           = "55006"
	LockNotAvailable      = "55P03"
	DependentObjects      = "2BP01"
	InvalidCatalogName    = "3D000"
	UndefinedObject       = "42704"
	ObjectNotInState      = "55000"
)

// State returns the SQLSTATE within err, "" if there is none.
func State(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// IsAuthFailure reports whether the server refused the login.
func IsAuthFailure(err error) bool {
	state := State(err)
	return state == "28P01" || state == "28000"
}

// Classify returns err as a tenancy.Error whose message begins with what, a
// safe text such as "cannot create database tenant_acme".
//
//   - nil stays nil, and a tenancy.Error in err comes back as it is.
//   - The end of a context stays one: it is wrapped and not coded.
//   - Network trouble, a full or closing server, deadlocks, serialisation
//     failures, objects in use and lock timeouts are transient
//     CodeDependencyUnavailable; a statement timeout is a transient CodeTimeout.
//   - A refused login is a permanent CodeDependencyUnavailable.
//   - The rest is a permanent CodeInternal.
func Classify(err error, what string) error {
	if err == nil {
		return nil
	}
	if coded, ok := errors.AsType[*tenancy.Error](err); ok {
		return coded
	}
	if _, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		// Its text quotes the connection string, so it is not even kept as the cause.
		return tenancy.Errorf(tenancy.CodeInternal, "%s: the connection URL cannot be parsed", what)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return classifyState(pg.Code, err, what)
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) && !connecting {
		return fmt.Errorf("%s: %w", what, err)
	}
	if connecting {
		return tenancy.Unavailable(err, what+": cannot connect to Postgres")
	}
	if isNetwork(err) {
		return tenancy.Unavailable(err, what+": the connection to Postgres broke")
	}
	return tenancy.Wrap(tenancy.CodeInternal, err, what)
}

func classifyState(state string, err error, what string) error {
	message := what + ": Postgres answered " + describe(state)
	switch {
	case IsAuthFailure(err):
		return tenancy.Wrap(tenancy.CodeDependencyUnavailable, err, message)
	case state == "57014":
		return &tenancy.Error{Code: tenancy.CodeTimeout, Message: message, Err: err, Transient: true}
	case passes(state):
		return tenancy.Unavailable(err, message)
	}
	return tenancy.Wrap(tenancy.CodeInternal, err, message)
}

// passes reports whether what state stands for goes away by itself.
func passes(state string) bool {
	if strings.HasPrefix(state, "08") || strings.HasPrefix(state, "53") {
		return true
	}
	switch state {
	case "57P01", "57P02", "57P03", "40001", "40P01", ObjectInUse, LockNotAvailable:
		return true
	}
	return false
}

// isNetwork does not ask for net.Error: every errno is one, a missing file's too.
func isNetwork(err error) bool {
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	for _, gone := range []error{
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, os.ErrDeadlineExceeded, pgconn.ErrConnClosed, driver.ErrBadConn,
		syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT,
	} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

var names = map[string]string{
	"28P01": "invalid password", "28000": "login refused",
	"40001": "serialization failure", "40P01": "deadlock",
	"53100": "disk full", "53200": "out of memory", "53300": "too many connections",
	LockNotAvailable: "lock timeout", ObjectInUse: "object in use",
	"57014": "statement cancelled", "57P01": "shut down by an administrator",
	"57P02": "crash shutdown", "57P03": "cannot accept connections now",
	InsufficientPrivilege: "permission denied", DependentObjects: "other objects depend on it",
	InvalidCatalogName: "no such database", UndefinedObject: "no such object",
	DuplicateDatabase: "database exists", DuplicateObject: "object exists",
	UniqueViolation: "unique violation",
}

func describe(state string) string {
	if name, ok := names[state]; ok {
		return state + " (" + name + ")"
	}
	return state
}
