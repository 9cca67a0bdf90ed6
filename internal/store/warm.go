package store

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// claimWarm places the job $1 on the server $2 and gives it the oldest ready database
// there that is a copy of the template $3, if the job is one that somebody waits for.
// Placements happen one at a time, so nothing is claimed twice. It answers with what it
// gave, or whether it would have if there had been one.
const claimWarm = `
	WITH placed AS (
		UPDATE identity.job SET db_server_id = $2, capacity_reserved = NOT dry_run, version = version + 1
		WHERE job_id = $1 RETURNING job_id, $3 <> '' AND NOT dry_run AND NOT ` + isBulk + ` AS wants),
	claimed AS (
		UPDATE identity.warm_database SET state = 'claimed', job_id = $1
		WHERE state = 'ready' AND warm_database_id = (
			SELECT warm_database_id FROM identity.warm_database
			WHERE db_server_id = $2 AND template = $3 AND state = 'ready' AND (SELECT wants FROM placed)
			ORDER BY created_at, warm_database_id LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING warm_database_id)
	SELECT coalesce((SELECT warm_database_id::text FROM claimed), ''), wants AND NOT EXISTS (SELECT FROM claimed) FROM placed`

// retireClaimed is a part of a statement that retires what the jobs of its part job
// have claimed: it is their tenants' by now, or will never be.
const retireClaimed = `
	UPDATE identity.warm_database SET state = 'retired'
	WHERE state = 'claimed' AND job_id IN (SELECT job_id FROM job)`

// claimedBy returns what the job has claimed, if anything.
func claimedBy(ctx context.Context, tx *transaction, id tenancy.JobID) (warm tenancy.WarmDatabaseID, err error) {
	err = tx.QueryRow(ctx, `
		SELECT warm_database_id FROM identity.warm_database WHERE job_id = $1 AND state = 'claimed'`, id).Scan(&warm)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return warm, err
}

// waitsForDatabase is the condition of jobs that will make a database and have not
// got it yet, now or as soon as a worker takes them up.
const waitsForDatabase = unsettled + ` AND status <> 'rolling_back' AND kind = 'provision' AND NOT dry_run
	AND phase IN ('', 'placement_resolved', 'state_checked', 'secret_set', 'database_created')
	AND (run_after <= now() OR lease_until > now())`

// WarmServers returns every server with its prepared databases, oldest first, and
// whether a job is waiting for a database.
func (s *Store) WarmServers(ctx context.Context) (servers []tenancy.WarmServer, waiting bool, err error) {
	rows, err := s.pool.Query(ctx, `
		SELECT s.db_server_id, s.name, s.host, s.port, s.region, s.admin_secret_ref, s.capacity_hint, s.is_active,
		       CASE WHEN s.capacity_hint IS NOT NULL THEN greatest(0, s.capacity_hint
		           - (SELECT count(*) FROM identity.tenant t WHERE t.db_server_id = s.db_server_id AND t.status <> 'offboarding')
		           - (SELECT count(*) FROM identity.job j WHERE j.db_server_id = s.db_server_id AND j.capacity_reserved)) END,
		       EXISTS (SELECT FROM identity.job WHERE `+waitsForDatabase+`),
		       (SELECT coalesce(jsonb_agg(jsonb_build_object('ID', w.warm_database_id, 'Template', w.template, 'State', w.state,
		               'Abandoned', w.state = 'claimed' AND NOT EXISTS (
		                   SELECT FROM identity.job WHERE job_id = w.job_id AND `+unsettled+`))
		               ORDER BY w.created_at, w.warm_database_id), '[]')
		        FROM identity.warm_database w WHERE w.db_server_id = s.db_server_id)
		FROM identity.db_server s ORDER BY s.name`)
	if err != nil {
		return nil, false, classify(err)
	}
	servers, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (w tenancy.WarmServer, err error) {
		var databases []byte
		if err := row.Scan(&w.ID, &w.Name, &w.Host, &w.Port, &w.Region, &w.AdminSecretRef, &w.CapacityHint, &w.IsActive,
			&w.Room, &waiting, &databases); err != nil {
			return w, err
		}
		if err := json.Unmarshal(databases, &w.Databases); err != nil {
			return w, err
		}
		for i := range w.Databases {
			w.Databases[i].Server = w.DBServer
		}
		return w, nil
	})
	return servers, waiting, classify(err)
}

// AddWarmDatabase records a database that is about to be prepared on a server.
func (s *Store) AddWarmDatabase(ctx context.Context, server tenancy.DBServer, template string) (tenancy.WarmDatabase, error) {
	w := tenancy.WarmDatabase{ID: tenancy.WarmDatabaseID(newID()), Server: server, Template: template, State: tenancy.WarmWarming}
	_, err := s.pool.Exec(ctx, `
		INSERT INTO identity.warm_database (warm_database_id, db_server_id, template) VALUES ($1, $2, $3)`,
		w.ID, server.ID, template)
	return w, classify(err)
}

// CheckWarming is the fence of whoever prepares a database: it fails with
// CodeLeaseLost once the row is no longer warming.
func (s *Store) CheckWarming(ctx context.Context, id tenancy.WarmDatabaseID) error {
	return s.stillWarming(ctx, `SELECT warm_database_id FROM identity.warm_database WHERE warm_database_id = $1 AND state = 'warming'`, id)
}

// WarmDatabaseReady lets jobs claim a prepared database. It fails with CodeLeaseLost
// if the row is no longer warming.
func (s *Store) WarmDatabaseReady(ctx context.Context, id tenancy.WarmDatabaseID) error {
	return s.stillWarming(ctx, `
		UPDATE identity.warm_database SET state = 'ready', ready_at = now()
		WHERE warm_database_id = $1 AND state = 'warming' RETURNING warm_database_id`, id)
}

func (s *Store) stillWarming(ctx context.Context, sql string, id tenancy.WarmDatabaseID) error {
	err := s.pool.QueryRow(ctx, sql, id).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return tenancy.Errorf(tenancy.CodeLeaseLost, "Another worker prepares databases.")
	}
	return classify(err)
}

// RetireWarmDatabase keeps a database from being claimed. One that is claimed stays
// as it is unless its job is settled.
func (s *Store) RetireWarmDatabase(ctx context.Context, id tenancy.WarmDatabaseID) error {
	_, err := s.pool.Exec(ctx, `
		UPDATE identity.warm_database w SET state = 'retired'
		WHERE warm_database_id = $1 AND (state IN ('warming', 'ready') OR state = 'claimed'
		      AND NOT EXISTS (SELECT FROM identity.job WHERE job_id = w.job_id AND `+unsettled+`))`, id)
	return classify(err)
}

// ForgetWarmDatabase removes the row of a retired database of which nothing is left.
func (s *Store) ForgetWarmDatabase(ctx context.Context, id tenancy.WarmDatabaseID) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM identity.warm_database WHERE warm_database_id = $1 AND state = 'retired'`, id)
	return classify(err)
}
