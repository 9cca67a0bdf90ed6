package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/tenantry/tenantry/internal/tenancy"
)

const (
	// maxChunk keeps a request below the API's limit, in bytes.
	maxChunk = 900 << 10
	// maxCell is beyond every value that is valid, so a longer one need not be sent
	// whole to be refused, in bytes.
	maxCell = 1000
)

// bulkFile is a file of tenants, what is known of each row, and the chunks it is
// sent in.
type bulkFile struct {
	rows []tenancy.NewBatchRow
	// results are in the order of the rows; the status of one that the API has said
	// nothing about yet is empty.
	results []tenancy.BatchRow
	chunks  []*chunk
}

// chunk is a part of the file, and the batch it became.
type chunk struct {
	// rows are the places of its rows in the file.
	rows []int
	body []byte
	key  string
	// batch is what the API said last of it, etag of which version.
	batch batchAnswer
	etag  string
}

// bulkOptions are what, with the content, makes one request out of a chunk.
type bulkOptions struct {
	DryRun       bool `json:"dryRun"`
	ValidateOnly bool `json:"validateOnly"`
}

// readBulkFile reads the file, or in if its name is -, and cuts it. The same
// content gives the same chunks and keys, so a second run finds the first one's
// batches. It fails with a usageError.
func readBulkFile(name string, in io.Reader, o bulkOptions) (*bulkFile, error) {
	var data []byte
	var err error
	if name == "-" {
		data, err = io.ReadAll(in)
	} else {
		data, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("cannot read the file: %w", err)}
	}
	f := &bulkFile{}
	if f.rows, err = tenancy.ReadBatchFile(bytes.NewReader(data), 0); err != nil {
		return nil, usageError{err}
	}
	// A slug may be in another chunk too, which the API cannot tell.
	tenancy.RejectRepeats(f.rows)
	f.results = make([]tenancy.BatchRow, len(f.rows))
	for i, r := range f.rows {
		f.results[i] = tenancy.BatchRow{Line: r.Line, Slug: clip(r.Slug), DisplayName: clip(r.DisplayName)}
		if r.Fault != nil {
			f.results[i].Status = tenancy.RowRejected
			f.results[i].Error = &tenancy.PhaseError{Code: r.Fault.Code, Message: r.Fault.Message}
		}
	}
	f.chunks, err = cut(f.rows, sha256.Sum256(data), o)
	return f, err
}

func cut(rows []tenancy.NewBatchRow, hash [sha256.Size]byte, o bulkOptions) ([]*chunk, error) {
	var chunks []*chunk
	var current *chunk
	var encoded []json.RawMessage
	size := 0
	finish := func() (err error) {
		if current == nil {
			return nil
		}
		current.body, err = json.Marshal(struct {
			Rows []json.RawMessage `json:"rows"`
			bulkOptions
		}{encoded, o})
		return err
	}
	for i, r := range rows {
		if r.Fault != nil {
			continue
		}
		row, err := json.Marshal(map[string]string{
			"slug": clip(r.Slug), "displayName": clip(r.DisplayName), "adminEmail": clip(r.AdminEmail), "dbServer": clip(r.ServerName),
		})
		if err != nil {
			return nil, err
		}
		if current == nil || len(encoded) == tenancy.MaxBatchRows || size+len(row) > maxChunk {
			if err := finish(); err != nil {
				return nil, err
			}
			key := fmt.Sprintf("tenantctl bulk-provision %x chunk %d", hash, len(chunks)+1)
			if o.DryRun {
				key += " dry-run"
			}
			current, encoded, size = &chunk{key: key}, nil, 0
			chunks = append(chunks, current)
		}
		current.rows = append(current.rows, i)
		encoded = append(encoded, row)
		size += len(row) + 1
	}
	return chunks, finish()
}

// clip shortens a cell that is too long for anything.
func clip(s string) string {
	if len(s) <= maxCell {
		return s
	}
	s = s[:maxCell]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}

// batchAnswer is the API's JSON of a batch, or of the check of one.
type batchAnswer struct {
	BatchID     string
	Status      string
	PollAfterMs int
	Rows        []struct {
		Line   int
		Status tenancy.BatchRowStatus
		JobID  tenancy.JobID
		Error  *tenancy.PhaseError
	}
	Warnings []string
}

func (b batchAnswer) complete() bool { return b.Status == "complete" }

// take records what the API says of the chunk's rows. Their lines in the answer
// are places in the chunk.
func (f *bulkFile) take(c *chunk) {
	for _, r := range c.batch.Rows {
		if r.Line < 1 || r.Line > len(c.rows) {
			continue
		}
		result := &f.results[c.rows[r.Line-1]]
		result.Status, result.JobID, result.Error = r.Status, r.JobID, r.Error
	}
}

// counts are the rows by status; one that nothing is known of counts as queued.
func (f *bulkFile) counts() tenancy.BatchCounts {
	n := tenancy.BatchCounts{Total: len(f.results)}
	for _, r := range f.results {
		switch r.Status {
		case tenancy.RowRejected:
			n.Rejected++
		case "running", "rolling_back":
			n.Running++
		case "complete", tenancy.RowValid:
			n.Complete++
		case "failed":
			n.Failed++
		case "cancelled":
			n.Cancelled++
		default:
			n.Queued++
		}
	}
	return n
}

// off are the rows that did not become what was wanted.
func (f *bulkFile) off() []tenancy.BatchRow {
	var off []tenancy.BatchRow
	for _, r := range f.results {
		if r.Status != "complete" && r.Status != tenancy.RowValid {
			off = append(off, r)
		}
	}
	return off
}

// summary is the counts that are not zero, in words.
func summary(n tenancy.BatchCounts, o bulkOptions) string {
	done := "complete"
	if o.ValidateOnly {
		done = "valid"
	}
	var parts []string
	for _, p := range []struct {
		n    int
		word string
	}{{n.Complete, done}, {n.Rejected, "rejected"}, {n.Failed, "failed"}, {n.Cancelled, "cancelled"}, {n.Running, "running"}, {n.Queued, "queued"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.word))
		}
	}
	return strings.Join(parts, ", ")
}
