package app

import (
	"context"
	"log/slog"
	"runtime"
	"time"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/http"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenancy"
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

// openTenantPeople returns what serves tenants' own pages: nil, an interface that
// http compares with nil, unless there are a vault and TENANT_URL. The caller
// calls closeAll.
func openTenantPeople(ctx context.Context, cfg config.Config, master *store.Store, log *slog.Logger) (_ http.TenantPeople, closeAll func(), err error) {
	if cfg.TenantURL == "" || cfg.KeyVaultURL == "" {
		log.Info("no tenants' pages are served: they need TENANT_URL and KEY_VAULT_URL")
		return nil, func() {}, nil
	}
	tenants, err := OpenTenants(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	return &auth.TenantPeople{
		Users:    tenantuser.Users{Databases: tenants},
		Registry: tenantRegistry{master, tenants},
		// Of its own: whoever floods tenants' pages keeps no operator out.
		Passwords: auth.NewPasswords(max(2, runtime.GOMAXPROCS(0))),
	}, tenants.Close, nil
}

// tenantRegistry is master with what it says of tenants kept for a while, as the
// tenants' connections have it.
type tenantRegistry struct {
	*store.Store
	tenants *tenantconn.Tenants
}

// Tenant returns a tenant's id, names and status.
func (r tenantRegistry) Tenant(ctx context.Context, slug tenancy.Slug) (tenancy.Tenant, error) {
	t, err := r.tenants.Get(ctx, string(slug))
	if err != nil {
		return tenancy.Tenant{}, err
	}
	return tenancy.Tenant{ID: tenancy.TenantID(t.ID), Slug: slug, DisplayName: t.DisplayName, Status: tenancy.TenantStatus(t.Status)}, nil
}
