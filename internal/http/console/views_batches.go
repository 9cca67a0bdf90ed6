package console

import "github.com/tenantry/tenantry/internal/tenancy"

// BatchesPage lists the batches.
type BatchesPage struct {
	Frame
	Batches []tenancy.Batch
	Next    string
	Fault   string
}

func (BatchesPage) template() string { return "batches" }

// NewBatchPage takes a file and shows what would become of its rows.
type NewBatchPage struct {
	Frame
	// File is what was sent, to be sent again; empty before.
	File   string
	DryRun bool
	// Check is what would become of it, nil before a file was sent.
	Check *tenancy.BatchCheck
	Valid int
	// Key makes a second click the same request.
	Key    string
	Faults *Faults
}

func (NewBatchPage) template() string { return "batch_new" }

// Rejected is how many rows would not become jobs.
func (p NewBatchPage) Rejected() int { return len(p.Check.Rows) - p.Valid }

// BatchPage shows what becomes of a batch.
type BatchPage struct {
	Frame
	Batch tenancy.Batch
	// Only narrows the rows down to one status.
	Only string
	Rows []tenancy.BatchRow
}

func (BatchPage) template() string { return "batch" }

// Settled is how many rows nothing more will happen to.
func (p BatchPage) Settled() int {
	return p.Batch.Counts.Total - p.Batch.Counts.Queued - p.Batch.Counts.Running
}
