package tenancy

import (
	"fmt"
	"slices"
	"time"
)

// MaxBatchRows is the most rows a batch has.
const MaxBatchRows = 1000

// NewBatch is a request to provision many tenants, a job for each good row.
type NewBatch struct {
	Rows        []NewBatchRow
	DryRun      bool
	RequestedBy Actor
	RequestID   string
	// IdempotencyKey makes a repeated request answer with the first one's batch,
	// for as long as that exists; empty means none.
	IdempotencyKey string
}

// NewBatchRow is one tenant asked for, as it was written.
type NewBatchRow struct {
	// Line is where the row begins in its file, or its place in a list, from 1.
	// No two rows of a batch share it.
	Line        int
	Slug        string
	DisplayName string
	AdminEmail  string
	ServerName  string
	// Fault is what the row itself shows to be wrong; such a row makes no job.
	Fault *Error
}

// RejectRepeats faults each row that has the slug of an earlier one, whatever
// became of that.
func RejectRepeats(rows []NewBatchRow) {
	first := make(map[string]int, len(rows))
	for i := range rows {
		r := &rows[i]
		line, repeated := first[r.Slug]
		switch {
		case r.Slug == "":
		case !repeated:
			first[r.Slug] = r.Line
		case r.Fault == nil:
			r.Fault = Errorf(CodeInvalidRequest, "The slug %q is in row %d already.", shorten(r.Slug), line)
		}
	}
}

// Batch is what became of a NewBatch.
type Batch struct {
	ID          BatchID
	DryRun      bool
	RequestedBy Actor
	CreatedAt   time.Time
	// FinishedAt is when the last job was settled, nil while one is not.
	FinishedAt *time.Time
	Counts     BatchCounts
	// Rows are in the order of their lines; nil in a list of batches.
	Rows []BatchRow
	// Version rises with every visible change of the batch.
	Version int64
}

// BatchCounts is the number of rows of each status. A job that is being rolled
// back counts as running.
type BatchCounts struct {
	Total, Rejected, Queued, Running, Complete, Failed, Cancelled int
}

// BatchRow is what became of one row.
type BatchRow struct {
	Line        int
	Slug        string
	DisplayName string
	Status      BatchRowStatus
	// JobID is empty for a row that never became a job.
	JobID JobID
	// Error is why the row was rejected or its job failed, nil otherwise.
	Error *PhaseError
}

// BatchRowStatus is the status of a row's job or, without one, what was found.
type BatchRowStatus string

// The statuses of a row without a job.
const (
	RowRejected BatchRowStatus = "rejected"
	// RowValid: a job would be made for it.
	RowValid BatchRowStatus = "valid"
)

// BatchCheck is what would become of a NewBatch, as far as can be known now.
type BatchCheck struct {
	Rows []BatchRow
	// Warnings are for whoever sends it; they reject nothing.
	Warnings []string
}

// CapacityWarnings says where tenants would find no place on the servers as they
// are now. wanted is the server each asks for, "" for any.
func CapacityWarnings(wanted []string, servers []ServerLoad) []string {
	ask := make(map[string]int)
	for _, name := range wanted {
		ask[name]++
	}
	warnings := []string{}
	room, limited := 0, true
	for _, s := range servers {
		if !s.IsActive {
			continue
		}
		headroom := s.Headroom()
		if headroom == nil {
			limited = false
			continue
		}
		room += *headroom
		if n := ask[s.Name]; n > *headroom {
			warnings = append(warnings, fmt.Sprintf("Rows that ask for the server %q: %d. It has room for %d.", s.Name, n, *headroom))
		}
	}
	if limited && len(wanted) > room {
		warnings = append(warnings, fmt.Sprintf("Rows that need a place: %d. All active servers together have room for %d.", len(wanted), room))
	}
	slices.Sort(warnings)
	return warnings
}
