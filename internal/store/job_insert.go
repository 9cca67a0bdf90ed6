package store

import (
	"cmp"
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// newJob is a job that nothing speaks against.
type newJob struct {
	tenancy.NewJob
	id     tenancy.JobID
	target target
}

// queueOf is the queue of a job that is asked for by itself.
func queueOf(n tenancy.NewJob) string {
	switch {
	case n.InProcess:
		return ""
	case n.OnlyIfExpired:
		return tenancy.QueueFleet // nobody waits for it, and it may dump for hours
	}
	return tenancy.QueueProvision
}

// insertJobs records jobs of different slugs, their phases and, unless queue is
// empty, their doorbells. It leaves out, and returns by its id as
// CodeJobInProgress, a job whose slug got another one in the meantime: what is
// inserted at once waits for each other slug by slug, in one order for all.
func insertJobs(ctx context.Context, tx *transaction, queue string, jobs []newJob) (refused map[tenancy.JobID]error, err error) {
	n := len(jobs)
	ids, kinds, slugs, tenants := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	names, emails, dryRuns, servers := make([]string, n), make([]string, n), make([]bool, n), make([]string, n)
	users, actors, requests := make([]*string, n), make([]string, n), make([]string, n)
	options, placed := make([]tenancy.Offboarding, n), make([]*string, n)
	for i, j := range jobs {
		ids[i], kinds[i], slugs[i], tenants[i] = string(j.id), string(cmp.Or(j.Kind, tenancy.KindProvision)), string(j.Slug), string(j.target.id)
		names[i], emails[i], dryRuns[i], servers[i] = j.target.name, j.AdminEmail, j.DryRun, j.ServerName
		users[i], actors[i], requests[i] = nullable(j.RequestedBy.UserID), j.RequestedBy.Name, j.RequestID
		options[i], placed[i] = j.Offboarding, (*string)(j.target.server)
	}
	inserted := tx.Queue(`
		INSERT INTO identity.job (job_id, kind, status, slug, tenant_id, display_name, admin_email, dry_run,
		                          requested_server, requested_by, actor, request_id, queue, options, db_server_id)
		SELECT job_id, kind, 'queued', slug, tenant_id, display_name, admin_email, dry_run,
		       requested_server, requested_by, actor, request_id, $14, options, db_server_id
		FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::boolean[],
		            $8::text[], $9::uuid[], $10::text[], $11::text[], $12::jsonb[], $13::uuid[])
		     AS n (job_id, kind, slug, tenant_id, display_name, admin_email, dry_run,
		           requested_server, requested_by, actor, request_id, options, db_server_id)
		ORDER BY slug
		ON CONFLICT (slug) WHERE `+unsettled+` DO NOTHING
		RETURNING job_id`,
		ids, kinds, slugs, tenants, names, emails, dryRuns, servers, users, actors, requests, options, placed, queue)
	var recorded []string
	inserted.Query(collect(&recorded, pgx.RowTo[string]))
	insertPhases(tx, jobs)
	if queue != "" {
		ring(tx, ids...)
	}
	if err := tx.Send(ctx); err != nil || len(recorded) == n {
		return nil, err
	}
	return whyNotInserted(ctx, tx, jobs, recorded)
}

// whyNotInserted tells which job each one met that is not among the recorded.
func whyNotInserted(ctx context.Context, tx *transaction, jobs []newJob, recorded []string) (map[tenancy.JobID]error, error) {
	slices.Sort(recorded)
	refused := make(map[tenancy.JobID]error)
	for _, j := range jobs {
		if _, ok := slices.BinarySearch(recorded, string(j.id)); ok {
			continue
		}
		// Another request for the slug committed between the check and here.
		var running tenancy.JobID
		err := tx.QueryRow(ctx, `SELECT job_id FROM identity.job WHERE slug = $1 ORDER BY job_id DESC LIMIT 1`, j.Slug).Scan(&running)
		if err != nil {
			return nil, err
		}
		refused[j.id] = jobInProgress(j.Slug, running)
	}
	return refused, nil
}

// insertPhases queues the phases of those of the jobs that are recorded by then.
func insertPhases(tx *transaction, jobs []newJob) {
	var ids, names []string
	var positions []int
	for _, j := range jobs {
		phases := tenancy.ProvisionPhases(j.DryRun)
		if j.Kind == tenancy.KindOffboard {
			phases = tenancy.OffboardPhases(j.Offboarding)
		}
		for i, name := range phases {
			ids, names, positions = append(ids, string(j.id)), append(names, string(name)), append(positions, i+1)
		}
	}
	tx.Queue(`
		INSERT INTO identity.job_phase (job_id, position, name)
		SELECT job_id, position, name FROM unnest($1::uuid[], $2::integer[], $3::text[]) AS n (job_id, position, name)
		WHERE EXISTS (SELECT FROM identity.job j WHERE j.job_id = n.job_id)`, ids, positions, names)
}

// ring queues a doorbell for each job there is, in the job's own queue; a job that
// was to run in its process gets the one for what people wait for. The task's id
// carries the job's epoch, so it was never used before.
func ring[ID ~string](tx *transaction, ids ...ID) {
	jobs := make([]string, len(ids))
	for i, id := range ids {
		jobs[i] = string(id)
	}
	tx.Queue(`
		WITH rung AS (
			UPDATE identity.job
			SET queue = CASE queue WHEN '' THEN $2 ELSE queue END, task_id = job_id || ':' || lease_epoch
			WHERE job_id = ANY($1::uuid[]) RETURNING job_id, kind, queue, task_id)
		INSERT INTO identity.outbox (task_type, queue, task_id, job_id)
		SELECT CASE kind WHEN 'offboard' THEN $4 ELSE $3 END, queue, task_id, job_id FROM rung ORDER BY job_id`,
		jobs, tenancy.QueueProvision, tenancy.TaskProvision, tenancy.TaskOffboard)
}
