package http

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// Jobs is the record of jobs.
type Jobs interface {
	// SubmitJob fails with CodeJobInProgress, CodeAlreadyProvisioned,
	// CodeDBServerNotFound, and CodeInvalidRequest for an idempotency key used
	// before.
	SubmitJob(ctx context.Context, n tenancy.NewJob) (tenancy.Job, error)
	// Job fails with CodeNotFound.
	Job(ctx context.Context, id tenancy.JobID) (tenancy.Job, error)
	ListJobs(ctx context.Context, f tenancy.JobFilter) ([]tenancy.Job, string, error)
	// RetryJob fails with CodeNotFound, CodeJobInProgress and CodeConflict.
	RetryJob(ctx context.Context, id tenancy.JobID, actor tenancy.Actor) (tenancy.Job, error)
	// CancelJob fails with CodeNotFound and CodeConflict.
	CancelJob(ctx context.Context, id tenancy.JobID, actor tenancy.Actor) (tenancy.Job, error)
}

// writeAccepted answers 202 with the job that will do the work.
func (s *server) writeAccepted(c *gin.Context, job tenancy.Job) error {
	c.Header("Location", "/platform/jobs/"+job.ID.String())
	return writeJSON(c, http.StatusAccepted, s.showJob(job))
}

// listJobs serves GET /platform/jobs.
func (s *server) listJobs(c *gin.Context) error {
	q := query{c: c}
	f := tenancy.JobFilter{
		Status: tenancy.JobStatus(q.oneOf("status", func(v string) bool { return tenancy.JobStatus(v).Valid() })),
		Kind:   tenancy.JobKind(q.oneOf("kind", func(v string) bool { return tenancy.JobKind(v).Valid() })),
		Slug:   q.text("slug"),
		Code:   tenancy.Code(q.oneOf("errorCode", func(v string) bool { return slices.Contains(tenancy.Codes(), tenancy.Code(v)) })),
		Page:   q.page(),
	}
	if err := q.err(); err != nil {
		return err
	}
	jobs, next, err := s.Jobs.ListJobs(c.Request.Context(), f)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, newList(jobs, next, s.showJob))
}

// getJob serves GET /platform/jobs/{jobId}, which the wizard polls: a job that
// has not changed costs no body, a failed one is an answer like any other.
func (s *server) getJob(c *gin.Context) error {
	id, err := jobIDOf(c)
	if err != nil {
		return err
	}
	job, err := s.Jobs.Job(c.Request.Context(), id)
	if err != nil {
		return err
	}
	etag := `"` + strconv.FormatInt(job.Version, 10) + `"`
	c.Header("ETag", etag)
	c.Header("Cache-Control", "private, no-cache")
	if !job.Status.Settled() {
		c.Header("Retry-After", "2")
	}
	if matches(c.Request.Header.Values("If-None-Match"), etag) {
		c.Status(http.StatusNotModified)
		return nil
	}
	return writeJSON(c, http.StatusOK, s.showJob(job))
}

// matches reports whether If-None-Match names the etag, compared weakly.
func matches(headers []string, etag string) bool {
	for _, header := range headers {
		for candidate := range strings.SplitSeq(header, ",") {
			candidate = strings.TrimSpace(candidate)
			if candidate == "*" || strings.TrimPrefix(candidate, "W/") == etag {
				return true
			}
		}
	}
	return false
}

// retryJob serves POST /platform/jobs/{jobId}/retry.
func (s *server) retryJob(c *gin.Context) error {
	if err := s.requireProvisioning(); err != nil {
		return err
	}
	return s.operate(c, s.Jobs.RetryJob)
}

// cancelJob serves POST /platform/jobs/{jobId}/cancel.
func (s *server) cancelJob(c *gin.Context) error { return s.operate(c, s.Jobs.CancelJob) }

func (s *server) operate(c *gin.Context, operation func(context.Context, tenancy.JobID, tenancy.Actor) (tenancy.Job, error)) error {
	id, err := jobIDOf(c)
	if err != nil {
		return err
	}
	job, err := operation(c.Request.Context(), id, actor(c))
	if err != nil {
		return err
	}
	return s.writeAccepted(c, job)
}

// jobIDOf returns the id in the path, CodeNotFound if no job can have it.
func jobIDOf(c *gin.Context) (tenancy.JobID, error) {
	id := c.Param("jobId")
	if !isID(id) {
		return "", tenancy.Errorf(tenancy.CodeNotFound, "No job can have this id.")
	}
	return tenancy.JobID(id), nil
}
