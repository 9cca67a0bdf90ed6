package secrets_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/internal/secrets"
	"github.com/tenantry/tenantry/internal/secrets/emulator"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	acme     = tenancy.Ownership{TenantID: "01900000-0000-7000-8000-00000000000a", JobID: "01900000-0000-7000-8000-0000000000a1"}
	acmeNext = tenancy.Ownership{TenantID: acme.TenantID, JobID: "01900000-0000-7000-8000-0000000000a2"}
	other    = tenancy.Ownership{TenantID: "01900000-0000-7000-8000-00000000000b", JobID: "01900000-0000-7000-8000-0000000000b1"}
)

// fixture is a vault, and the same vault as a stranger with azsecrets sees it.
type fixture struct {
	*secrets.Vault
	server *emulator.Server
	raw    *azsecrets.Client
	purges bool // the vault allows purging
}

func setup(t *testing.T, cfg emulator.Config, tune ...func(*secrets.Config)) *fixture {
	t.Helper()
	server, err := emulator.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &fixture{
		Vault: open(t, server, tune...), server: server, raw: stranger(t, server), purges: !cfg.PurgeProtection,
	}
}

func open(t *testing.T, server *emulator.Server, tune ...func(*secrets.Config)) *secrets.Vault {
	t.Helper()
	cfg := secrets.Config{
		URL: server.URL(), CAFile: server.CAFile(),
		RetryDelay: time.Millisecond, Poll: 2 * time.Millisecond, Settle: 10 * time.Second,
	}
	for _, each := range tune {
		each(&cfg)
	}
	vault, err := secrets.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vault.Close)
	return vault
}

type anyToken struct{}

func (anyToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "any", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func stranger(t *testing.T, server *emulator.Server) *azsecrets.Client {
	t.Helper()
	pem, err := os.ReadFile(server.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := azsecrets.NewClient(server.URL(), anyToken{}, &azsecrets.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: &http.Client{Transport: transport}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// put sets a secret as a stranger would, with the tags of whoever is meant.
func (f *fixture) put(t *testing.T, name, value string, tags map[string]string) {
	t.Helper()
	params := azsecrets.SetSecretParameters{Value: &value, Tags: map[string]*string{}}
	for key, tag := range tags {
		params.Tags[key] = &tag
	}
	if _, err := f.raw.SetSecret(t.Context(), name, params, nil); err != nil {
		t.Fatal(err)
	}
}

func tagsOf(owner tenancy.Ownership) map[string]string {
	return map[string]string{
		"managed-by": "tenantry", "tenant-id": owner.TenantID.String(), "job-id": owner.JobID.String(),
	}
}

// remove soft-deletes a secret as a stranger would, and returns at once.
func (f *fixture) remove(t *testing.T, name string) {
	t.Helper()
	if _, err := f.raw.DeleteSecret(t.Context(), name, nil); err != nil {
		t.Fatal(err)
	}
}

// tags are those of the live secret, nil if there is none.
func (f *fixture) tags(t *testing.T, name string) map[string]string {
	t.Helper()
	got, err := f.raw.GetSecret(t.Context(), name, "", nil)
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok && answer.StatusCode == http.StatusNotFound {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	tags := map[string]string{}
	for key, value := range got.Tags {
		tags[key] = *value
	}
	return tags
}

// inspect is Inspect of a vault that must answer.
func (f *fixture) inspect(t *testing.T, name string) tenancy.SecretState {
	t.Helper()
	state, err := f.Inspect(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// awaitDeleted waits until Key Vault shows the name as soft-deleted.
func (f *fixture) awaitDeleted(t *testing.T, name string) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := f.raw.GetDeletedSecret(t.Context(), name, nil); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("never deleted")
		}
	}
}

// fresh is a value func for Ensure that counts its calls.
func fresh(value string, calls *int) func() (string, error) {
	return func() (string, error) {
		if calls != nil {
			*calls++
		}
		return value, nil
	}
}

func ensure(t *testing.T, f *fixture, name string, owner tenancy.Ownership, value string) string {
	t.Helper()
	got, err := f.Ensure(t.Context(), name, owner, fresh(value, nil))
	if err != nil {
		t.Fatalf("Ensure %s: %v", name, err)
	}
	return got
}
