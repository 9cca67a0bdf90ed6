package secrets

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// azureDomains are the domains of Key Vault in each of Azure's clouds. Vaults
// behind a private endpoint keep their name in them.
var azureDomains = []string{"vault.azure.net", "vault.azure.cn", "vault.usgovcloudapi.net", "vault.microsoftazure.de"}

// credential follows the rule of the package comment.
func (cfg Config) credential(host string) (azcore.TokenCredential, error) {
	switch {
	case cfg.Development && inAzure(host):
		return nil, errors.New("cannot use Key Vault in development mode: its URL names a vault in Azure")
	case cfg.Credential != nil:
		return cfg.Credential, nil
	case cfg.Development || isLoopback(host):
		return developmentCredential{}, nil
	}
	azure, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, fmt.Errorf("cannot set up DefaultAzureCredential: %w", err)
	}
	if inAzure(host) {
		return azure, nil
	}
	return keyVaultOnly{azure}, nil
}

func inAzure(host string) bool {
	host = strings.ToLower(host)
	return slices.ContainsFunc(azureDomains, func(domain string) bool {
		return strings.HasSuffix(host, "."+domain)
	})
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// developmentCredential is a token for the emulator. It proves nothing.
type developmentCredential struct{}

func (developmentCredential) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "development", ExpiresOn: time.Now().Add(24 * time.Hour)}, nil
}

// keyVaultOnly gives out tokens for Key Vault and nothing else, whatever the
// server at the other end asks for.
type keyVaultOnly struct{ azcore.TokenCredential }

func (c keyVaultOnly) GetToken(ctx context.Context, asked policy.TokenRequestOptions) (azcore.AccessToken, error) {
	for _, scope := range asked.Scopes {
		domain := strings.TrimSuffix(strings.TrimPrefix(scope, "https://"), "/.default")
		if !slices.Contains(azureDomains, domain) {
			return azcore.AccessToken{}, fmt.Errorf("the server asked for a token for %q, which is not Key Vault", scope)
		}
	}
	return c.TokenCredential.GetToken(ctx, asked)
}
