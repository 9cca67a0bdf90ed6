package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// loadColumns is a server and what counts against its capacity: the tenants
// that are not offboarding, and the places held by jobs.
const loadColumns = `
	s.db_server_id, s.name, s.host, s.port, s.region, s.admin_secret_ref, s.capacity_hint, s.is_active,
	(SELECT count(*) FROM identity.tenant t WHERE t.db_server_id = s.db_server_id AND t.status <> 'offboarding'),
	(SELECT count(*) FROM identity.job j WHERE j.db_server_id = s.db_server_id AND j.capacity_reserved)`

func scanLoad(row pgx.CollectableRow) (l tenancy.ServerLoad, err error) {
	err = row.Scan(&l.ID, &l.Name, &l.Host, &l.Port, &l.Region, &l.AdminSecretRef, &l.CapacityHint, &l.IsActive,
		&l.TenantCount, &l.Reserved)
	return l, err
}

// ReservePlacement lets choose pick one of the servers and records the place as
// held by the job, in one transaction. Placements happen one at a time, so jobs
// at once never oversell a server. With the place the job claims a database that was
// prepared there as a copy of template, if one is ready and it is not a batch's: for
// those nobody waits one by one. A job that holds a place already keeps it and its
// claim. A dry run chooses and holds nothing. What choose returns as an error comes
// back as it is.
func (s *Store) ReservePlacement(ctx context.Context, lease tenancy.Lease, template string, choose func([]tenancy.ServerLoad) (tenancy.DBServer, error)) (tenancy.Placement, error) {
	var p tenancy.Placement
	err := s.inTx(ctx, func(tx *transaction) error {
		// The lock comes first and the count in a later statement, so that the
		// count sees what the placement before this one committed. KEY SHARE,
		// which a new tenant's foreign key takes, does not conflict.
		tx.Queue(`SELECT FROM identity.db_server ORDER BY db_server_id FOR NO KEY UPDATE`)
		var reserved bool
		tx.Queue(`SELECT capacity_reserved FROM identity.job WHERE `+held+` FOR NO KEY UPDATE`,
			lease.JobID, lease.Epoch).QueryRow(scanHeld(&reserved))
		var loads []tenancy.ServerLoad
		tx.Queue(selectLoads).Query(collect(&loads, scanLoad))
		if err := tx.Send(ctx); err != nil {
			return err
		}
		if reserved {
			j, err := job(ctx, tx, lease.JobID)
			if err != nil {
				return err
			}
			p.Server = *j.Server
			p.Warm, err = claimedBy(ctx, tx, j.ID)
			return err
		}
		server, err := choose(loads)
		if err != nil {
			return err
		}
		p.Server, p.Servers = server, loads
		tx.Queue(claimWarm, lease.JobID, server.ID, template).QueryRow(scan(&p.Warm, &p.Missed))
		return nil
	})
	return p, err
}

// FreePlacement gives the job's place back, and retires what it has claimed.
func (s *Store) FreePlacement(ctx context.Context, lease tenancy.Lease) error {
	return s.fenced(ctx, `
		WITH job AS (UPDATE identity.job SET capacity_reserved = false WHERE `+held+` RETURNING job_id),
		retired AS (`+retireClaimed+`)
		SELECT job_id FROM job`, lease)
}

// fencedJob locks the job's row and returns the job if the lease stands.
func fencedJob(ctx context.Context, tx *transaction, lease tenancy.Lease) (tenancy.Job, error) {
	var j tenancy.Job
	tx.Queue(`SELECT job_id FROM identity.job WHERE `+held+` FOR NO KEY UPDATE`,
		lease.JobID, lease.Epoch).QueryRow(scanHeld(&j.ID))
	queueJob(tx, lease.JobID, &j)
	err := tx.Send(ctx)
	return j, err
}

const selectLoads = `SELECT ` + loadColumns + ` FROM identity.db_server s ORDER BY s.name`

func listLoads(ctx context.Context, db execer) ([]tenancy.ServerLoad, error) {
	rows, err := db.Query(ctx, selectLoads)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanLoad)
}
