package secrets

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/tenantry/tenantry/internal/secrets/emulator"
	"github.com/tenantry/tenantry/internal/tenancy"
)

func TestWhichCredential(t *testing.T) {
	t.Parallel()
	const real, pinned, development = "real", "real, Key Vault only", "development"
	for host, want := range map[string]string{
		"name.vault.azure.net":         real,
		"NAME.vault.azure.net":         real,
		"name.vault.usgovcloudapi.net": real,
		"127.0.0.1":                    development,
		"127.9.9.9":                    development,
		"::1":                          development,
		"localhost":                    development,
		"vault":                        pinned,
		"10.0.0.1":                     pinned,
		"127.0.0.1.example.com":        pinned,
		"vault.azure.net.example.com":  pinned,
		"evilvault.azure.net":          pinned,
	} {
		credential, err := Config{}.credential(host)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		switch credential.(type) {
		case *azidentity.DefaultAzureCredential:
			got = real
		case keyVaultOnly:
			got = pinned
		case developmentCredential:
			got = development
		}
		if got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
	if c, err := (Config{Development: true}).credential("vault"); c != (developmentCredential{}) {
		t.Errorf("development: %T, %v", c, err)
	}
	if _, err := (Config{Development: true}).credential("name.vault.azure.net"); err == nil {
		t.Error("development mode inside Azure is not refused")
	}
}

type anyToken struct{}

func (anyToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "real", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func TestPinnedCredentialIsForKeyVault(t *testing.T) {
	t.Parallel()
	for scope, want := range map[string]bool{
		"https://vault.azure.net/.default":              true,
		"https://vault.azure.cn/.default":               true,
		"https://management.azure.com/.default":         false,
		"https://graph.microsoft.com/.default":          false,
		"https://vault.azure.net.example.com/.default":  false,
		"https://example.com/vault.azure.net//.default": false,
	} {
		_, err := keyVaultOnly{anyToken{}}.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{scope}})
		if got := err == nil; got != want {
			t.Errorf("%s: %v", scope, err)
		}
	}
}

func TestOpenNamesTheFault(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]Config{
		"no URL":       {},
		"plain HTTP":   {URL: "http://127.0.0.1:8443"},
		"no host":      {URL: "https:///secrets"},
		"password":     {URL: "https://user:hunter2@127.0.0.1:8443"},
		"no CA file":   {URL: "https://127.0.0.1:8443", CAFile: empty + ".absent"},
		"empty CA":     {URL: "https://127.0.0.1:8443", CAFile: empty},
		"dev in Azure": {URL: "https://name.vault.azure.net", Development: true},
	} {
		if v, err := Open(cfg); err == nil {
			v.Close()
			t.Errorf("%s: opened", name)
		}
	}
}

func TestUntrustedCertificateIsPermanent(t *testing.T) {
	t.Parallel()
	server, err := emulator.Start(emulator.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close(context.WithoutCancel(t.Context())) }()
	v, err := Open(Config{URL: server.URL(), RetryDelay: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	err = v.Ping(t.Context())
	if tenancy.CodeOf(err) != tenancy.CodeDependencyUnavailable || tenancy.IsTransient(err) {
		t.Errorf("Ping: %v", err)
	}
	if strings.Contains(err.Error(), "://") {
		t.Errorf("the error has the vault's address: %v", err)
	}
}

func TestAHostThatIsNotFoundIsNotNamed(t *testing.T) {
	t.Parallel()
	v, err := Open(Config{URL: "https://acme-vault.invalid", Credential: anyToken{}, Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := v.Ping(t.Context()); !tenancy.IsTransient(err) || strings.Contains(err.Error(), "acme-vault") {
		t.Errorf("Ping: %v", err)
	}
}
