package store

import (
	"context"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Stats is a count of what is under way, for metrics.
type Stats struct {
	Jobs map[tenancy.JobStatus]int
	// Residue is the number of jobs that could not be undone yet.
	Residue     int
	Outbox      int
	Invitations int
}

// Stats counts what is not settled.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	st := Stats{Jobs: map[tenancy.JobStatus]int{}}
	var queued, running, rollingBack int
	err := s.pool.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE status = 'queued'), count(*) FILTER (WHERE status = 'running'),
		       count(*) FILTER (WHERE status = 'rolling_back'), count(*) FILTER (WHERE residue <> '{}'),
		       (SELECT count(*) FROM identity.outbox),
		       (SELECT count(*) FROM identity.invitation WHERE status = 'queued')
		FROM identity.job WHERE `+unsettled).
		Scan(&queued, &running, &rollingBack, &st.Residue, &st.Outbox, &st.Invitations)
	st.Jobs[tenancy.JobQueued], st.Jobs[tenancy.JobRunning], st.Jobs[tenancy.JobRollingBack] = queued, running, rollingBack
	return st, classify(err)
}
