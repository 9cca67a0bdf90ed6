package http

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Batches is the record of tenants that were asked for together.
type Batches interface {
	// SubmitBatch rejects bad rows one by one; it fails with CodeInvalidRequest for
	// an idempotency key used before.
	SubmitBatch(ctx context.Context, n tenancy.NewBatch) (tenancy.Batch, error)
	// CheckBatch says what SubmitBatch would do, and records nothing.
	CheckBatch(ctx context.Context, n tenancy.NewBatch) (tenancy.BatchCheck, error)
	// Batch fails with CodeNotFound.
	Batch(ctx context.Context, id tenancy.BatchID) (tenancy.Batch, error)
	// ListBatches leaves out the rows.
	ListBatches(ctx context.Context, p tenancy.Page) ([]tenancy.Batch, string, error)
	// RetryBatch fails with CodeNotFound.
	RetryBatch(ctx context.Context, id tenancy.BatchID, actor tenancy.Actor) (tenancy.Batch, error)
}

// createBatch serves POST /platform/tenant-batches.
func (s *server) createBatch(c *gin.Context) error {
	if err := s.requireProvisioning(); err != nil {
		return err
	}
	req, err := readBatchRequest(c)
	if err != nil {
		return err
	}
	n, err := req.newBatch(c, s.Reserved)
	if err != nil {
		return err
	}
	if req.ValidateOnly {
		check, err := s.Batches.CheckBatch(c.Request.Context(), n)
		if err != nil {
			return err
		}
		return writeJSON(c, http.StatusOK, showBatchCheck(n, check))
	}
	b, err := s.Batches.SubmitBatch(c.Request.Context(), n)
	if err != nil {
		return err
	}
	return writeBatchAccepted(c, b)
}

func writeBatchAccepted(c *gin.Context, b tenancy.Batch) error {
	c.Header("Location", "/platform/tenant-batches/"+b.ID.String())
	return writeJSON(c, http.StatusAccepted, showBatch(b))
}

// listBatches serves GET /platform/tenant-batches.
func (s *server) listBatches(c *gin.Context) error {
	q := query{c: c}
	page := q.page()
	if err := q.Err(); err != nil {
		return err
	}
	batches, next, err := s.Batches.ListBatches(c.Request.Context(), page)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, newList(batches, next, showBatch))
}

// getBatch serves GET /platform/tenant-batches/{batchId}, which is polled as a job
// is.
func (s *server) getBatch(c *gin.Context) error {
	id, err := batchIDOf(c)
	if err != nil {
		return err
	}
	b, err := s.Batches.Batch(c.Request.Context(), id)
	if err != nil {
		return err
	}
	if unchanged(c, b.Version, b.FinishedAt != nil) {
		return nil
	}
	return writeJSON(c, http.StatusOK, showBatch(b))
}

// retryBatch serves POST /platform/tenant-batches/{batchId}/retry.
func (s *server) retryBatch(c *gin.Context) error {
	b, err := s.retryFailed(c)
	if err != nil {
		return err
	}
	return writeBatchAccepted(c, b)
}

func (s *server) retryFailed(c *gin.Context) (tenancy.Batch, error) {
	if err := s.requireProvisioning(); err != nil {
		return tenancy.Batch{}, err
	}
	id, err := batchIDOf(c)
	if err != nil {
		return tenancy.Batch{}, err
	}
	return s.Batches.RetryBatch(c.Request.Context(), id, actor(c))
}

// batchIDOf returns the id in the path, CodeNotFound if no batch can have it.
func batchIDOf(c *gin.Context) (tenancy.BatchID, error) {
	id := c.Param("batchId")
	if !isID(id) {
		return "", tenancy.Errorf(tenancy.CodeNotFound, "No batch can have this id.")
	}
	return tenancy.BatchID(id), nil
}
