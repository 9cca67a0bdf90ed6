package secrets_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/secrets"
	"github.com/tenantry/tenantry/internal/secrets/emulator"
	"github.com/tenantry/tenantry/internal/tenancy"
)

// always answers every request of a kind with fault.
func always(kind emulator.OpKind, fault emulator.Fault) func(emulator.Op) *emulator.Fault {
	return func(op emulator.Op) *emulator.Fault {
		if op.Kind == kind {
			return &fault
		}
		return nil
	}
}

// once does so for the next request of a kind; fired tells whether it came.
func once(kind emulator.OpKind, fault emulator.Fault) (hook func(emulator.Op) *emulator.Fault, fired *atomic.Bool) {
	fired = new(atomic.Bool)
	return func(op emulator.Op) *emulator.Fault {
		if op.Kind == kind && fired.CompareAndSwap(false, true) {
			return &fault
		}
		return nil
	}, fired
}

func TestErrorsHaveCodes(t *testing.T) {
	t.Parallel()
	type outcome struct {
		Code      tenancy.Code
		Transient bool
		Tries     int
	}
	const unavailable = tenancy.CodeDependencyUnavailable
	for name, test := range map[string]struct {
		fault emulator.Fault
		want  outcome
	}{
		"throttled":       {emulator.Fault{Status: 429}, outcome{unavailable, true, 3}},
		"throttled long":  {emulator.Fault{Status: 429, RetryAfter: time.Hour}, outcome{unavailable, true, 1}},
		"internal error":  {emulator.Fault{Status: 500}, outcome{unavailable, true, 3}},
		"unavailable":     {emulator.Fault{Status: 503}, outcome{unavailable, true, 3}},
		"dropped":         {emulator.Fault{Drop: true}, outcome{unavailable, true, 3}},
		"hangs":           {emulator.Fault{Delay: time.Hour}, outcome{unavailable, true, 3}},
		"unauthenticated": {emulator.Fault{Status: 401}, outcome{unavailable, false, 1}},
		"forbidden":       {emulator.Fault{Status: 403}, outcome{unavailable, false, 1}},
		"bad request":     {emulator.Fault{Status: 400}, outcome{unavailable, false, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, emulator.Config{}, func(cfg *secrets.Config) {
				cfg.TryTimeout = 300 * time.Millisecond
			})
			f.server.Fail(always(emulator.OpSet, test.fault))
			_, err := f.Ensure(t.Context(), "tenant-db-acme", acme, fresh("postgres://hunter2", nil))
			e := tenancy.AsError(err)
			got := outcome{e.Code, e.Transient, f.server.Count(emulator.OpSet, "tenant-db-acme")}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s\n%v", diff, err)
			}
			if !strings.Contains(e.Message, "tenant-db-acme") || !strings.Contains(e.Message, "set") {
				t.Errorf("message %q does not say what failed", e.Message)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error has the value: %v", err)
			}
			wantNoAddress(t, f, err)
		})
	}
}

// wantNoAddress: an error is logged, so it has neither where the vault is nor what
// it answered.
func wantNoAddress(t *testing.T, f *fixture, err error) {
	t.Helper()
	host := strings.TrimPrefix(f.server.URL(), "https://")
	for _, text := range []string{host, "://", "/secrets/", "The emulator was told", "{"} {
		if strings.Contains(err.Error(), text) {
			t.Errorf("error has %q: %v", text, err)
		}
	}
}

func TestTheCauseOfAnAnswerIsItsStatusAndCode(t *testing.T) {
	t.Parallel()
	f := setup(t, emulator.Config{})
	f.server.Fail(always(emulator.OpGet, emulator.Fault{Status: 403}))
	_, err := f.Value(t.Context(), name)
	if cause := errors.Unwrap(err); cause == nil || cause.Error() != "status 403, error code Forbidden" {
		t.Errorf("cause: %v", cause)
	}
}

// TestARefusedSignInKeepsItsAddress to itself, as a vault's answer does.
func TestARefusedSignInKeepsItsAddress(t *testing.T) {
	t.Parallel()
	for text, denial := range map[string]error{
		"status 401 of the sign-in": &azidentity.AuthenticationFailedError{RawResponse: &http.Response{
			StatusCode: http.StatusUnauthorized, Body: io.NopCloser(strings.NewReader(`{"error":"who"}`)),
			Request: httptest.NewRequest(http.MethodPost, "https://login.example/secrets/token", nil),
		}},
		"see (an address) for more": errors.New("see https://login.example/secrets/token for more"),
	} {
		f := setup(t, emulator.Config{}, func(cfg *secrets.Config) { cfg.Credential = refusing{denial} })
		err := f.Ping(t.Context())
		wantNoAddress(t, f, err)
		if !strings.HasSuffix(err.Error(), text) {
			t.Errorf("%v, want %s", err, text)
		}
	}
}

// TestAChallengeThatIsNotKeyVaultsIsAnError: the SDK panics for one without a tenant.
func TestAChallengeThatIsNotKeyVaultsIsAnError(t *testing.T) {
	t.Parallel()
	proxy := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer authorization="https://proxy.example", resource="https://vault.azure.net"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer proxy.Close()
	authority := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxy.Certificate().Raw})
	if err := os.WriteFile(authority, block, 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := secrets.Open(secrets.Config{URL: proxy.URL, CAFile: authority})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	err = v.Ping(t.Context())
	if tenancy.CodeOf(err) != tenancy.CodeDependencyUnavailable || tenancy.IsTransient(err) {
		t.Errorf("Ping: %v", err)
	}
	if strings.Contains(err.Error(), "://") {
		t.Errorf("the error has an address: %v", err)
	}
}

type refusing struct{ err error }

func (r refusing) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, r.err
}

func TestLostRepliesAreHarmless(t *testing.T) {
	t.Parallel()
	for _, kind := range []emulator.OpKind{
		emulator.OpGet, emulator.OpSet, emulator.OpUpdate, emulator.OpDelete,
		emulator.OpGetDeleted, emulator.OpRecover, emulator.OpPurge,
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			const lag = 10 * time.Millisecond
			f := setup(t, emulator.Config{DeleteDelay: lag, RecoverDelay: lag, PurgeDelay: lag})
			f.put(t, name, "old", tagsOf(other))
			f.remove(t, name)
			f.awaitDeleted(t, name)
			hook, fired := once(kind, emulator.Fault{DropReply: true})
			f.server.Fail(hook)

			var calls int
			got, err := f.Ensure(t.Context(), name, acme, fresh("new", &calls))
			if err != nil || got != "new" || calls != 1 {
				t.Fatalf("Ensure: %q, %v, %d calls", got, err, calls)
			}
			if !drop(t, f, name, acme) {
				t.Error("not purged")
			}
			if f.server.Count(emulator.OpPurge, name) == 0 {
				t.Error("said to be purged before it was deleted")
			}
			if !fired.Load() {
				t.Error("no reply was lost")
			}
			if diff := cmp.Diff(tenancy.SecretState{}, f.inspect(t, name)); diff != "" {
				t.Errorf("state: -want +got:\n%s", diff)
			}
		})
	}
}

// TestTwoWritersAgree: a second writer of the same job, between a Set and its
// reading back, decides what both return.
func TestTwoWritersAgree(t *testing.T) {
	t.Parallel()
	f := setup(t, emulator.Config{})
	second := open(t, f.server)
	var theirs string
	got, err := f.Ensure(t.Context(), name, acme, func() (string, error) {
		var err error
		theirs, err = second.Ensure(t.Context(), name, acme, fresh("first in", nil))
		return "second in", err
	})
	if err != nil {
		t.Fatal(err)
	}
	standing, err := f.Value(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if got != standing || theirs != "first in" {
		t.Errorf("returned %q and %q, but %q stands", got, theirs, standing)
	}
}

func TestForbiddenPurgeIsNoFailure(t *testing.T) {
	t.Parallel()
	for _, status := range []int{403, 405} {
		f := setup(t, emulator.Config{})
		f.server.Fail(always(emulator.OpPurge, emulator.Fault{Status: status}))
		ensure(t, f, name, acme, "v")
		if drop(t, f, name, acme) {
			t.Errorf("%d: purged", status)
		}
		if diff := cmp.Diff(tenancy.SecretState{Deleted: true, Managed: true, Owner: acme}, f.inspect(t, name)); diff != "" {
			t.Errorf("%d: -want +got:\n%s", status, diff)
		}
	}
}

func TestPatienceEnds(t *testing.T) {
	t.Parallel()
	slow := emulator.Config{DeleteDelay: time.Hour, PurgeDelay: time.Hour, RecoverDelay: time.Hour}
	impatient := func(cfg *secrets.Config) { cfg.Settle = 100 * time.Millisecond }

	f := setup(t, slow, impatient)
	ensure(t, f, name, acme, "v")
	_, err := f.Drop(t.Context(), name, acme)
	if tenancy.CodeOf(err) != tenancy.CodeDependencyUnavailable || !tenancy.IsTransient(err) {
		t.Errorf("Drop: %v", err)
	}
	_, err = f.Ensure(t.Context(), name, acme, fresh("v", nil))
	if tenancy.CodeOf(err) != tenancy.CodeDependencyUnavailable || !tenancy.IsTransient(err) {
		t.Errorf("Ensure: %v", err)
	}
}

func TestACancelledCallReturns(t *testing.T) {
	t.Parallel()
	f := setup(t, emulator.Config{DeleteDelay: time.Hour}, func(cfg *secrets.Config) { cfg.Settle = time.Hour })
	ensure(t, f, name, acme, "v")
	ctx, cancel := context.WithCancel(t.Context())
	f.server.Fail(func(op emulator.Op) *emulator.Fault {
		if op.Kind == emulator.OpGetDeleted {
			cancel() // Drop is waiting for the deletion to show
		}
		return nil
	})
	if _, err := f.Drop(ctx, name, acme); !tenancy.IsTransient(err) {
		t.Errorf("Drop: %v", err)
	}
}

func TestPingTellsAnUnreachableVault(t *testing.T) {
	t.Parallel()
	f := setup(t, emulator.Config{})
	if err := f.server.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := f.Ping(t.Context())
	if !tenancy.IsTransient(err) {
		t.Errorf("Ping: %v", err)
	}
	wantNoAddress(t, f, err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Ping(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Ping, cancelled: %v", err)
	}
}
