package pgerr_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantry/tenantry/internal/pgerr"
	"github.com/tenantry/tenantry/internal/tenancy"
)

const what = "cannot do it"

func TestClassifyStates(t *testing.T) {
	t.Parallel()
	type result struct {
		Code      tenancy.Code
		Transient bool
		Message   string
	}
	unavailable := func(state string) result {
		return result{tenancy.CodeDependencyUnavailable, true, what + ": Postgres answered " + state}
	}
	for state, want := range map[string]result{
		"08006": unavailable("08006"),
		"08P01": unavailable("08P01"),
		"53100": unavailable("53100 (disk full)"),
		"53300": unavailable("53300 (too many connections)"),
		"57P01": unavailable("57P01 (shut down by an administrator)"),
		"57P02": unavailable("57P02 (crash shutdown)"),
		"57P03": unavailable("57P03 (cannot accept connections now)"),
		"40001": unavailable("40001 (serialization failure)"),
		"40P01": unavailable("40P01 (deadlock)"),
		"55006": unavailable("55006 (object in use)"),
		"55P03": unavailable("55P03 (lock timeout)"),
		"57014": {tenancy.CodeTimeout, true, what + ": Postgres answered 57014 (statement cancelled)"},
		"28P01": {tenancy.CodeDependencyUnavailable, false, what + ": Postgres answered 28P01 (invalid password)"},
		"28000": {tenancy.CodeDependencyUnavailable, false, what + ": Postgres answered 28000 (login refused)"},
		"42501": {tenancy.CodeInternal, false, what + ": Postgres answered 42501 (permission denied)"},
		"22P02": {tenancy.CodeInternal, false, what + ": Postgres answered 22P02"},
	} {
		cause := fmt.Errorf("outer: %w", &pgconn.PgError{Code: state, Message: "secret value", Detail: "more secrets"})
		err := pgerr.Classify(cause, what)
		e, ok := errors.AsType[*tenancy.Error](err)
		if !ok {
			t.Errorf("%s: %v is no tenancy.Error", state, err)
			continue
		}
		if diff := cmp.Diff(want, result{e.Code, e.Transient, e.Message}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", state, diff)
		}
		if !errors.Is(err, cause) {
			t.Errorf("%s: the cause is lost", state)
		}
	}
}

func TestClassifyPassesThrough(t *testing.T) {
	t.Parallel()
	if err := pgerr.Classify(nil, what); err != nil {
		t.Errorf("nil became %v", err)
	}
	coded := tenancy.Errorf(tenancy.CodePartialState, "a foreign thing")
	if got := pgerr.Classify(fmt.Errorf("outer: %w", coded), what); !errors.Is(got, coded) {
		t.Errorf("a coded error became %v", got)
	}
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		err := pgerr.Classify(fmt.Errorf("timeout: %w", cause), what)
		if _, coded := errors.AsType[*tenancy.Error](err); coded || !errors.Is(err, cause) {
			t.Errorf("%v became %v", cause, err)
		}
	}
}

func TestClassifyNetwork(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, pgconn.ErrConnClosed, syscall.ECONNRESET,
		&net.OpError{Op: "read", Err: errors.New("connection reset by peer")},
	} {
		if err := pgerr.Classify(fmt.Errorf("outer: %w", cause), what); !tenancy.IsTransient(err) {
			t.Errorf("%v became %v, which is not transient", cause, err)
		}
	}
	_, noFile := os.Open(filepath.Join(t.TempDir(), "none"))
	for _, cause := range []error{errors.New("something else"), noFile} {
		err := pgerr.Classify(cause, what)
		if got := tenancy.AsError(err); got.Code != tenancy.CodeInternal || got.Transient || got.Message != what {
			t.Errorf("%v became %v", cause, err)
		}
	}
}

func TestClassifyConnect(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()

	// Nobody answers: the connect timeout is the server's trouble, not the caller's.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = pgx.Connect(ctx, "postgres://u:hunter2@"+addr+"/d?sslmode=disable")
	checkConnect(t, err)

	l.Close()
	_, err = pgx.Connect(t.Context(), "postgres://u:hunter2@"+addr+"/d?sslmode=disable")
	checkConnect(t, err)
}

func checkConnect(t *testing.T, err error) {
	t.Helper()
	got := pgerr.Classify(err, what)
	if e := tenancy.AsError(got); e.Code != tenancy.CodeDependencyUnavailable || !e.Transient || e.Message != what+": cannot connect to Postgres" {
		t.Errorf("%v became %v", err, got)
	}
	if strings.Contains(got.Error(), "hunter2") {
		t.Errorf("the password is in %q", got)
	}
}

func TestClassifyKeepsNoConnectionString(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://u:hunter2@h:port/d", "postgres://u:hunter2%zz@h/d", "postgres://u:hun ter2@[h/d",
		"postgres://u:hunter2/@h:1/d?sslmode=bad", "password=hunter2 'x", "hunter2",
	} {
		_, err := pgx.ParseConfig(url)
		if err == nil {
			t.Errorf("%q was parsed", url)
			continue
		}
		for e := pgerr.Classify(err, what); e != nil; e = errors.Unwrap(e) {
			if strings.Contains(e.Error(), "hunter2") || strings.Contains(e.Error(), "ter2") {
				t.Errorf("the password of %q is in %q", url, e)
			}
		}
	}
}

func TestState(t *testing.T) {
	t.Parallel()
	if got := pgerr.State(fmt.Errorf("outer: %w", &pgconn.PgError{Code: "3D000"})); got != pgerr.InvalidCatalogName {
		t.Errorf("State = %q", got)
	}
	if got := pgerr.State(io.EOF); got != "" {
		t.Errorf("State of no PgError = %q", got)
	}
}
