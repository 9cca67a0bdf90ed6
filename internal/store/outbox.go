package store

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// relayRound is how long a round of RelayOutbox goes on: the transaction idles
// meanwhile, and must end in time for what was enqueued to be removed, however far
// away Redis is.
const relayRound = time.Second

// RelayOutbox hands up to limit doorbells to enqueue, oldest first, but those of
// the bulk after all others, and removes those it took. Several relays share the work:
// each skips what another holds. An enqueue that fails or a second that is over ends
// the round; what is left stays for the next one.
func (s *Store) RelayOutbox(ctx context.Context, limit int, enqueue func(tenancy.Task) error) (relayed int, err error) {
	var failed error
	err = s.inTx(ctx, func(tx *transaction) error {
		var tasks []tenancy.Task
		tx.Queue(`
			SELECT outbox_id, task_type, queue, task_id, job_id FROM identity.outbox
			ORDER BY `+isBulk+`, outbox_id LIMIT $1 FOR UPDATE SKIP LOCKED`, limit).Query(collect(&tasks, scanTask))
		if err := tx.Send(ctx); err != nil {
			return err
		}
		done := make([]int64, 0, len(tasks))
		began := time.Now()
		for _, t := range tasks {
			if time.Since(began) >= relayRound {
				break
			}
			if failed = enqueue(t); failed != nil {
				break
			}
			done = append(done, t.OutboxID)
		}
		if relayed = len(done); relayed > 0 {
			tx.Queue(`DELETE FROM identity.outbox WHERE outbox_id = ANY($1)`, done)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return relayed, failed
}

func scanTask(row pgx.CollectableRow) (t tenancy.Task, err error) {
	err = row.Scan(&t.OutboxID, &t.Type, &t.Queue, &t.ID, &t.JobID)
	return t, err
}

// isBulk tells work that came by the hundred from what somebody waits for.
const isBulk = `(queue IN ` + bulkQueues + `)`

const bulkQueues = `('` + tenancy.QueueBulk + `', '` + tenancy.QueueFleet + `')`

// StalledJobs returns up to limit unsettled jobs that have been due for grace
// and that no worker holds, longest due first, but those of the bulk after all
// others: a backlog of theirs must not hide what somebody waits for. Whether Redis still knows of a task for them is for
// the caller to find out.
func (s *Store) StalledJobs(ctx context.Context, grace time.Duration, limit int) ([]tenancy.StalledJob, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT job_id, lease_epoch, queue, task_id FROM identity.job j
		WHERE `+unsettled+` AND run_after < now() - $1::interval AND (lease_until IS NULL OR lease_until < now())
		  AND NOT EXISTS (SELECT FROM identity.outbox o WHERE o.task_id = j.task_id)
		ORDER BY `+isBulk+`, run_after LIMIT $2`, grace, limit)
	if err != nil {
		return nil, classify(err)
	}
	jobs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (j tenancy.StalledJob, err error) {
		err = row.Scan(&j.ID, &j.Epoch, &j.Queue, &j.TaskID)
		return j, err
	})
	return jobs, classify(err)
}

// RingStalled rings for a stalled job again, with a fresh task id, unless it
// was taken since it was listed. The epoch rises, so a worker that went silent
// without dying is fenced off.
func (s *Store) RingStalled(ctx context.Context, j tenancy.StalledJob) (rung bool, err error) {
	err = s.inTx(ctx, func(tx *transaction) error {
		tag, err := tx.Exec(ctx, `
			UPDATE identity.job SET lease_epoch = lease_epoch + 1, run_after = now()
			WHERE job_id = $1 AND lease_epoch = $2 AND `+unsettled+` AND (lease_until IS NULL OR lease_until < now())`,
			j.ID, j.Epoch)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		rung = true
		ring(tx, j.ID)
		return nil
	})
	if rung && err == nil {
		s.wake()
	}
	return rung, err
}

// ringIdle rings at once for a job that no worker holds.
func ringIdle(ctx context.Context, tx *transaction, id tenancy.JobID) error {
	tag, err := tx.Exec(ctx, `
		UPDATE identity.job SET lease_epoch = lease_epoch + 1, run_after = now()
		WHERE job_id = $1 AND `+unsettled+` AND (lease_until IS NULL OR lease_until < now())`, id)
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	ring(tx, id)
	return nil
}

// leadHeartbeat is how often a leader sees that it still leads, well within the minute
// after which master gives up one that went silent.
const leadHeartbeat = 15 * time.Second

// lastHeartbeat is how long the end of ctx leaves a heartbeat that is under way: a worker
// that stops waits for no master that is silent.
const lastHeartbeat = time.Second

// Lead runs f if no other process leads under that name at the moment, for as
// long as f runs. f's context ends when the lead is lost.
func (s *Store) Lead(ctx context.Context, name string, f func(context.Context) error) error {
	return s.inTx(ctx, func(tx *transaction) error {
		// The transaction idles while f works, but for the heartbeat.
		if _, err := tx.Exec(ctx, `SET LOCAL idle_in_transaction_session_timeout = '1min'`); err != nil {
			return err
		}
		var leader bool
		err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(hashtextextended('tenantry:' || $1, 0))`, name).Scan(&leader)
		if err != nil || !leader {
			return err
		}
		// The end of ctx must not end the transaction with it.
		asking, giveUp := context.WithCancel(context.WithoutCancel(ctx))
		defer giveUp()
		defer context.AfterFunc(ctx, func() { time.AfterFunc(lastHeartbeat, giveUp) })()
		held, lost := context.WithCancelCause(ctx)
		var beating sync.WaitGroup
		beating.Go(func() { beat(held, asking, tx, lost) })
		err = f(held)
		lost(nil)
		beating.Wait()
		return err
	})
}

// beat uses the transaction, under asking, until ctx ends, and calls lost when it cannot.
func beat(ctx, asking context.Context, tx *transaction, lost context.CancelCauseFunc) {
	tick := time.NewTicker(leadHeartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asking, cancel := context.WithTimeout(asking, leadHeartbeat)
		_, err := tx.Exec(asking, `SELECT`)
		cancel()
		if err != nil {
			lost(tenancy.Wrap(tenancy.CodeLeaseLost, err, "Another worker may lead by now."))
			return
		}
	}
}

// ForgetIdempotencyKeys removes keys older than age.
func (s *Store) ForgetIdempotencyKeys(ctx context.Context, age time.Duration) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM identity.idempotency_key WHERE created_at < now() - $1::interval`, age)
	return classify(err)
}
