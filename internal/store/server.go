package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// ListServers returns every server with its load, by name.
func (s *Store) ListServers(ctx context.Context) ([]tenancy.ServerLoad, error) {
	loads, err := listLoads(ctx, s.pool)
	return loads, classify(err)
}

// Server returns a server with its load, or CodeNotFound.
func (s *Store) Server(ctx context.Context, name string) (tenancy.ServerLoad, error) {
	load, err := server(ctx, s.pool, name)
	return load, classify(err)
}

func server(ctx context.Context, db execer, name string) (tenancy.ServerLoad, error) {
	rows, err := db.Query(ctx, `SELECT `+loadColumns+` FROM identity.db_server s WHERE s.name = $1`, name)
	if err != nil {
		return tenancy.ServerLoad{}, err
	}
	load, err := pgx.CollectExactlyOneRow(rows, scanLoad)
	if errors.Is(err, pgx.ErrNoRows) {
		return load, tenancy.Errorf(tenancy.CodeNotFound, "There is no database server %q.", name)
	}
	return load, err
}

// AddServer registers a server. It fails with CodeConflict if the name is taken.
func (s *Store) AddServer(ctx context.Context, srv tenancy.DBServer, actor tenancy.Actor) (tenancy.ServerLoad, error) {
	var added tenancy.ServerLoad
	err := s.inTx(ctx, func(tx *transaction) error {
		tag, err := tx.Exec(ctx, `
			INSERT INTO identity.db_server (db_server_id, name, host, port, region, admin_secret_ref, capacity_hint, is_active)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO NOTHING`,
			newID(), srv.Name, srv.Host, srv.Port, srv.Region, srv.AdminSecretRef, srv.CapacityHint, srv.IsActive)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return tenancy.Errorf(tenancy.CodeConflict, "There is a database server %q already.", srv.Name)
		}
		if added, err = server(ctx, tx, srv.Name); err != nil {
			return err
		}
		return appendAudit(tx, tenancy.AuditEvent{
			Type: tenancy.EventDBServerAdded, Actor: actor, Details: serverDetails(added.DBServer),
		})
	})
	return added, err
}

// UpdateServer changes a server and returns it, or CodeNotFound.
func (s *Store) UpdateServer(ctx context.Context, name string, c tenancy.ServerChange, actor tenancy.Actor) (tenancy.ServerLoad, error) {
	var updated tenancy.ServerLoad
	err := s.inTx(ctx, func(tx *transaction) error {
		if _, err := tx.Exec(ctx, `
			UPDATE identity.db_server
			SET host = coalesce($2, host), port = coalesce($3, port), region = coalesce($4, region),
			    admin_secret_ref = coalesce($5, admin_secret_ref),
			    capacity_hint = CASE WHEN $6 THEN NULL ELSE coalesce($7, capacity_hint) END,
			    is_active = coalesce($8, is_active)
			WHERE name = $1`,
			name, c.Host, c.Port, c.Region, c.AdminSecretRef, c.Unlimited, c.CapacityHint, c.IsActive); err != nil {
			return err
		}
		var err error
		if updated, err = server(ctx, tx, name); err != nil {
			return err
		}
		return appendAudit(tx, tenancy.AuditEvent{
			Type: tenancy.EventDBServerUpdated, Actor: actor, Details: serverDetails(updated.DBServer),
		})
	})
	return updated, err
}

func serverDetails(s tenancy.DBServer) map[string]any {
	return map[string]any{
		"name": s.Name, "host": s.Host, "port": s.Port, "region": s.Region,
		"adminSecretRef": s.AdminSecretRef, "capacityHint": s.CapacityHint, "isActive": s.IsActive,
	}
}
