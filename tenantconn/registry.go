package tenantconn

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Status says what may be done with a tenant; the package comment has the table.
type Status string

// The statuses of a tenant.
const (
	StatusProvisioning Status = "provisioning"
	StatusActive       Status = "active"
	StatusReadOnly     Status = "read_only"
	StatusSuspended    Status = "suspended"
	StatusOffboarding  Status = "offboarding"
)

// Readable reports whether Read is allowed.
func (s Status) Readable() bool { return tenancy.TenantStatus(s).CheckRead() == nil }

// Writable reports whether Write is allowed.
func (s Status) Writable() bool { return tenancy.TenantStatus(s).CheckWrite() == nil }

// Tenant is what the registry says of a tenant.
type Tenant struct {
	// ID names the tenant for good; a slug may be used again after a purge.
	ID          string
	Slug        string
	DisplayName string
	Status      Status
}

// row is a row of the registry.
type row struct {
	tenant tenancy.Tenant
	place  place
}

// place is where a tenant's database is, and whose it is.
type place struct {
	id                  tenancy.TenantID
	server              string
	database, secretRef string
}

// registryTimeout bounds one question to the registry.
const registryTimeout = 2 * time.Second

// Get returns what the registry says of a tenant, of whatever status. The code of
// its Error is NotFound or Unavailable.
func (t *Tenants) Get(ctx context.Context, slug string) (Tenant, error) {
	r, err := t.lookup(ctx, slug)
	if err != nil {
		return Tenant{}, refusal(ctx, slug, err)
	}
	return Tenant{
		ID: string(r.tenant.ID), Slug: slug, DisplayName: r.tenant.DisplayName, Status: Status(r.tenant.Status),
	}, nil
}

// lookup returns the registry's row of a slug, at most StatusInterval old.
func (t *Tenants) lookup(ctx context.Context, slug string) (row, error) {
	if _, err := tenancy.ParseSlug(slug, nil); err != nil {
		return row{}, err
	}
	now := time.Now()
	t.mu.Lock()
	k := t.known[slug]
	if k != nil {
		k.used = now
	}
	if k != nil && now.Before(k.askAt) {
		defer t.mu.Unlock()
		return k.row, nil
	}
	t.mu.Unlock()
	return together(ctx, t, "registry "+slug, func(ctx context.Context) (row, error) { return t.ask(ctx, slug) })
}

// ask asks the registry and keeps the answer. That there is no such tenant is not
// kept.
func (t *Tenants) ask(ctx context.Context, slug string) (row, error) {
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	asked := time.Now()
	r := row{tenant: tenancy.Tenant{Slug: tenancy.Slug(slug)}}
	err := t.registry.QueryRow(ctx, `
		SELECT tenant_id::text, display_name, status, db_server_id::text, db_name, db_secret_ref
		FROM identity.tenant WHERE slug = $1`, slug).
		Scan(&r.tenant.ID, &r.tenant.DisplayName, &r.tenant.Status, &r.place.server, &r.place.database, &r.place.secretRef)
	r.place.id = r.tenant.ID

	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.known[slug]
	switch {
	case t.closed:
		return row{}, ErrClosed
	case errors.Is(err, pgx.ErrNoRows):
		t.forget(slug)
		return row{}, tenancy.Errorf(tenancy.CodeNotFound, "There is no such tenant.")
	case err != nil:
		if k != nil && asked.Sub(k.answered) < t.cfg.StatusGrace {
			k.askAt = time.Now().Add(t.cfg.StatusInterval)
			return k.row, nil
		}
		return row{}, tenancy.Unavailable(err, "The registry does not answer.")
	case k == nil:
		k = &known{used: asked}
		t.known[slug] = k
	case k.pool != nil && (k.row.place != r.place || r.tenant.Status.CheckRead() != nil):
		// It moved, or nobody may use it now.
		t.retire(k)
	}
	k.row, k.answered, k.askAt = r, asked, asked.Add(t.cfg.StatusInterval)
	return r, nil
}
