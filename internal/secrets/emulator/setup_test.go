package emulator_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/internal/secrets/emulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, cfg emulator.Config) *emulator.Server {
	t.Helper()
	s, err := emulator.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// httpClient trusts the server's authority and nothing else.
func httpClient(t *testing.T, s *emulator.Server) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(s.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("CAFile holds no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

type anyToken struct{}

func (anyToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "any", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// client is azsecrets as anyone would use it: with its own checks switched on.
func client(t *testing.T, s *emulator.Server) *azsecrets.Client {
	t.Helper()
	c, err := azsecrets.NewClient(s.URL(), anyToken{}, &azsecrets.ClientOptions{
		ClientOptions: azcore.ClientOptions{
			Transport: httpClient(t, s),
			Retry:     policy.RetryOptions{RetryDelay: time.Millisecond},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func set(t *testing.T, c *azsecrets.Client, name, value string) azsecrets.SetSecretResponse {
	t.Helper()
	resp, err := c.SetSecret(t.Context(), name, azsecrets.SetSecretParameters{Value: &value}, nil)
	if err != nil {
		t.Fatalf("set %s: %v", name, err)
	}
	return resp
}

func get(t *testing.T, c *azsecrets.Client, name, version string) string {
	t.Helper()
	resp, err := c.GetSecret(t.Context(), name, version, nil)
	if err != nil {
		t.Fatalf("get %s %s: %v", name, version, err)
	}
	return *resp.Value
}

// refusal is an error of the vault, as a client sees it.
type refusal struct {
	Status int
	Code   string
	Inner  string
}

// refused reads an error; the zero refusal is none.
func refused(t *testing.T, err error) refusal {
	t.Helper()
	if err == nil {
		return refusal{}
	}
	resp, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok {
		t.Fatalf("not an answer of the vault: %v", err)
	}
	data, err := runtime.Payload(resp.RawResponse)
	if err != nil {
		t.Fatal(err)
	}
	var body struct {
		Error struct {
			Message    string
			InnerError struct{ Code string }
		}
	}
	if err := json.Unmarshal(data, &body); err != nil {
		t.Fatalf("error body %q: %v", data, err)
	}
	if body.Error.Message == "" {
		t.Errorf("error body %q has no message", data)
	}
	return refusal{resp.StatusCode, resp.ErrorCode, body.Error.InnerError.Code}
}

// clock is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func ptr[T any](v T) *T { return &v }
