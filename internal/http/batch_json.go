package http

import (
	"time"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// The statuses of a batch.
const (
	batchRunning  = "running"
	batchComplete = "complete"
)

// batchJSON is a batch. Like a job's, it leaves out the first admins' addresses.
type batchJSON struct {
	BatchID     tenancy.BatchID `json:"batchId"`
	Status      string          `json:"status"`
	DryRun      bool            `json:"dryRun"`
	RequestedBy requesterJSON   `json:"requestedBy"`
	CreatedAt   time.Time       `json:"createdAt"`
	FinishedAt  *time.Time      `json:"finishedAt"`
	Counts      batchCountsJSON `json:"counts"`
	// Rows are absent in a list.
	Rows        []batchRowJSON `json:"rows,omitempty"`
	PollAfterMs int            `json:"pollAfterMs"`
}

type batchCountsJSON struct {
	Total     int `json:"total"`
	Rejected  int `json:"rejected"`
	Queued    int `json:"queued"`
	Running   int `json:"running"`
	Complete  int `json:"complete"`
	Failed    int `json:"failed"`
	Cancelled int `json:"cancelled"`
}

type batchRowJSON struct {
	Line        int                    `json:"line"`
	Slug        string                 `json:"slug"`
	DisplayName string                 `json:"displayName"`
	Status      tenancy.BatchRowStatus `json:"status"`
	JobID       *tenancy.JobID         `json:"jobId"`
	Error       *phaseErrorJSON        `json:"error"`
}

func showBatch(b tenancy.Batch) batchJSON {
	shown := batchJSON{
		BatchID: b.ID, Status: batchRunning, DryRun: b.DryRun,
		RequestedBy: requesterJSON{PlatformUserID: orNull(b.RequestedBy.UserID), Actor: b.RequestedBy.Name},
		CreatedAt:   b.CreatedAt.UTC(), FinishedAt: utc(b.FinishedAt),
		Counts: batchCountsJSON(b.Counts), Rows: showBatchRows(b.Rows), PollAfterMs: pollAfterMs,
	}
	if b.FinishedAt != nil {
		shown.Status = batchComplete
	}
	return shown
}

func showBatchRows(rows []tenancy.BatchRow) []batchRowJSON {
	shown := make([]batchRowJSON, len(rows))
	for i, r := range rows {
		shown[i] = batchRowJSON{Line: r.Line, Slug: r.Slug, DisplayName: r.DisplayName, Status: r.Status, JobID: orNull(r.JobID)}
		if r.Error != nil {
			shown[i].Error = &phaseErrorJSON{Code: r.Error.Code, Message: r.Error.Message}
		}
	}
	return shown
}

// batchCheckJSON is what would become of a batch.
type batchCheckJSON struct {
	DryRun bool `json:"dryRun"`
	Counts struct {
		Total    int `json:"total"`
		Valid    int `json:"valid"`
		Rejected int `json:"rejected"`
	} `json:"counts"`
	Rows     []batchRowJSON `json:"rows"`
	Warnings []string       `json:"warnings"`
}

func showBatchCheck(n tenancy.NewBatch, check tenancy.BatchCheck) batchCheckJSON {
	shown := batchCheckJSON{DryRun: n.DryRun, Rows: showBatchRows(check.Rows), Warnings: append([]string{}, check.Warnings...)}
	shown.Counts.Total = len(check.Rows)
	for _, r := range check.Rows {
		if r.Status == tenancy.RowValid {
			shown.Counts.Valid++
		} else {
			shown.Counts.Rejected++
		}
	}
	return shown
}
