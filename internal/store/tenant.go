package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// tenantRows are the registry's rows and, as provisioning, the tenants whose
// job has not registered them yet.
const tenantRows = `(
	SELECT t.tenant_id, t.slug, t.display_name, t.status, s.name AS server_name, t.db_name, t.db_secret_ref,
	       t.schema_version, t.job_id, t.purge_after, t.created_at, t.updated_at
	FROM identity.tenant t JOIN identity.db_server s USING (db_server_id)
	UNION ALL
	SELECT j.tenant_id, j.slug, j.display_name, 'provisioning', coalesce(s.name, ''), '', '', '', j.job_id, NULL, j.created_at, j.created_at
	FROM identity.job j LEFT JOIN identity.db_server s USING (db_server_id)
	WHERE j.status IN ('queued', 'running', 'rolling_back') AND j.kind = 'provision' AND NOT j.dry_run
	  AND NOT EXISTS (SELECT FROM identity.tenant t WHERE t.slug = j.slug)
) AS tenant`

const tenantColumns = `tenant_id, slug, display_name, status, server_name, db_name, db_secret_ref,
	schema_version, coalesce(job_id::text, ''), purge_after, created_at, updated_at`

func scanTenant(row pgx.CollectableRow) (t tenancy.Tenant, err error) {
	err = row.Scan(&t.ID, &t.Slug, &t.DisplayName, &t.Status, &t.ServerName, &t.DatabaseName, &t.SecretRef,
		&t.SchemaVersion, &t.JobID, &t.PurgeAfter, &t.CreatedAt, &t.UpdatedAt)
	return t, err
}

// ListTenants returns tenants by slug, those in flight included, and the cursor
// of the next page.
func (s *Store) ListTenants(ctx context.Context, f tenancy.TenantFilter) ([]tenancy.Tenant, string, error) {
	after := ""
	if f.Page.Cursor != "" {
		var err error
		if after, err = decodeCursor(f.Page); err != nil {
			return nil, "", err
		}
	}
	limit := pageLimit(f.Page)
	rows, err := s.pool.Query(ctx, `
		SELECT `+tenantColumns+` FROM `+tenantRows+`
		WHERE ($1 = '' OR position(lower($1) in slug) > 0 OR position(lower($1) in lower(display_name)) > 0)
		  AND ($2 = '' OR status = $2) AND ($3 = '' OR server_name = $3) AND slug > $4
		ORDER BY slug LIMIT $5`,
		f.Query, string(f.Status), f.ServerName, after, limit+1)
	if err != nil {
		return nil, "", classify(err)
	}
	tenants, err := pgx.CollectRows(rows, scanTenant)
	if err != nil {
		return nil, "", classify(err)
	}
	tenants, next := nextCursor(tenants, limit, func(t tenancy.Tenant) string { return string(t.Slug) })
	return tenants, next, nil
}

// Tenant returns the tenant of that slug, or CodeNotFound.
func (s *Store) Tenant(ctx context.Context, slug tenancy.Slug) (tenancy.Tenant, error) {
	t, err := tenant(ctx, s.pool, slug)
	return t, classify(err)
}

func tenant(ctx context.Context, db execer, slug tenancy.Slug) (tenancy.Tenant, error) {
	rows, err := db.Query(ctx, `SELECT `+tenantColumns+` FROM `+tenantRows+` WHERE slug = $1`, slug)
	if err != nil {
		return tenancy.Tenant{}, err
	}
	t, err := pgx.CollectExactlyOneRow(rows, scanTenant)
	if errors.Is(err, pgx.ErrNoRows) {
		return t, noSuchTenant(slug)
	}
	return t, err
}

func noSuchTenant(slug tenancy.Slug) error {
	return tenancy.Errorf(tenancy.CodeNotFound, "There is no tenant %q.", slug)
}

// RegisteredTenant returns the master row of a slug and the server it names;
// found is false if there is none.
func (s *Store) RegisteredTenant(ctx context.Context, slug tenancy.Slug) (t tenancy.Tenant, srv tenancy.DBServer, found bool, err error) {
	err = s.pool.QueryRow(ctx, `
		SELECT t.tenant_id, t.slug, t.status, t.db_name, t.db_secret_ref, coalesce(t.job_id::text, ''),
		       s.db_server_id, s.name, s.host, s.port, s.region, s.admin_secret_ref, s.capacity_hint, s.is_active
		FROM identity.tenant t JOIN identity.db_server s USING (db_server_id) WHERE t.slug = $1`, slug).
		Scan(&t.ID, &t.Slug, &t.Status, &t.DatabaseName, &t.SecretRef, &t.JobID,
			&srv.ID, &srv.Name, &srv.Host, &srv.Port, &srv.Region, &srv.AdminSecretRef, &srv.CapacityHint, &srv.IsActive)
	if errors.Is(err, pgx.ErrNoRows) {
		return t, srv, false, nil
	}
	return t, srv, err == nil, classify(err)
}

// ChangeTenantStatus sets an active, read-only or suspended tenant to another of
// these statuses, with its audit row. It fails with CodeNotFound, or with
// CodeConflict if the tenant has that status or is in a job's hands.
func (s *Store) ChangeTenantStatus(ctx context.Context, slug tenancy.Slug, to tenancy.TenantStatus, reason string, actor tenancy.Actor) (tenancy.Tenant, error) {
	var changed tenancy.Tenant
	err := s.inTx(ctx, func(tx *transaction) error {
		var id tenancy.TenantID
		var from tenancy.TenantStatus
		err := tx.QueryRow(ctx, `SELECT tenant_id, status FROM identity.tenant WHERE slug = $1 FOR NO KEY UPDATE`, slug).Scan(&id, &from)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return noSuchTenant(slug)
		case err != nil:
			return err
		case !from.Settable():
			return tenancy.Errorf(tenancy.CodeConflict, "The tenant is %s; its status belongs to its job.", from)
		case from == to:
			return tenancy.Errorf(tenancy.CodeConflict, "The tenant is %s already.", from)
		}
		if _, err := tx.Exec(ctx, `UPDATE identity.tenant SET status = $2, updated_at = now() WHERE tenant_id = $1`, id, to); err != nil {
			return err
		}
		if err := appendAudit(tx, tenancy.AuditEvent{
			Type: tenancy.EventStatusChanged, TenantID: id, Slug: string(slug), Actor: actor,
			Details: map[string]any{"from": from, "to": to, "reason": reason},
		}); err != nil {
			return err
		}
		changed, err = tenant(ctx, tx, slug)
		return err
	})
	return changed, err
}
