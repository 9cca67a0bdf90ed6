package app

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/tenantuser"
	"github.com/tenantry/tenantry/tenantconn"
)

var _ tenantuser.Databases = (*tenantconn.Tenants)(nil)

// OpenTenants opens the tenants' databases as their applications see them, for
// what tenants' people do here: sign in and choose a password. The connections
// come on top of those of the applications, so they are few and are soon let go.
// It fails with ErrNoVault if there is none. The caller closes it.
func OpenTenants(ctx context.Context, cfg config.Config) (*tenantconn.Tenants, error) {
	if cfg.KeyVaultURL == "" {
		return nil, ErrNoVault
	}
	return tenantconn.Open(ctx, tenantconn.Config{
		DatabaseURL: cfg.DatabaseURL,
		KeyVaultURL: cfg.KeyVaultURL, KeyVaultCAFile: cfg.KeyVaultCAFile, KeyVaultDevelopment: cfg.KeyVaultDev,
		MaxConns: 2, MaxPools: 50, IdleAfter: time.Minute,
	})
}
