package http

import (
	"context"
	"net/http"
	"slices"

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
	// JobVersion is what of a job tells whether it has changed. It fails with
	// CodeNotFound.
	JobVersion(ctx context.Context, id tenancy.JobID) (tenancy.JobVersion, error)
	ListJobs(ctx context.Context, f tenancy.JobFilter) ([]tenancy.Job, string, error)
	// RetryJob fails with CodeNotFound, CodeJobInProgress and CodeConflict.
	RetryJob(ctx context.Context, id tenancy.JobID, actor tenancy.Actor) (tenancy.Job, error)
	// RetryJobs retries failed jobs of the filter's kind, slug and code, as RetryJob
	// does.
	RetryJobs(ctx context.Context, f tenancy.JobFilter, actor tenancy.Actor) (tenancy.Retries, error)
	// CancelJob fails with CodeNotFound and CodeConflict.
	CancelJob(ctx context.Context, id tenancy.JobID, actor tenancy.Actor) (tenancy.Job, error)
}

// writeAccepted answers 202 with the job that will do the work.
func (s *server) writeAccepted(c *gin.Context, job tenancy.Job) error {
	c.Header("Location", "/platform/jobs/"+job.ID.String())
	return writeJSON(c, http.StatusAccepted, s.showJob(job))
}

func jobFilter(q *query) tenancy.JobFilter {
	return tenancy.JobFilter{
		Status: tenancy.JobStatus(q.oneOf("status", func(v string) bool { return tenancy.JobStatus(v).Valid() })),
		Kind:   tenancy.JobKind(q.oneOf("kind", func(v string) bool { return tenancy.JobKind(v).Valid() })),
		Slug:   q.text("slug"),
		Code:   tenancy.Code(q.oneOf("errorCode", func(v string) bool { return slices.Contains(tenancy.Codes(), tenancy.Code(v)) })),
		Page:   q.page(),
	}
}

// listJobs serves GET /platform/jobs.
func (s *server) listJobs(c *gin.Context) error {
	q := query{c: c}
	f := jobFilter(&q)
	if err := q.Err(); err != nil {
		return err
	}
	jobs, next, err := s.Jobs.ListJobs(c.Request.Context(), f)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, newList(jobs, next, s.showJob))
}

// retryJob serves POST /platform/jobs/{jobId}/retry.
func (s *server) retryJob(c *gin.Context) error {
	job, err := s.retry(c)
	if err != nil {
		return err
	}
	return s.writeAccepted(c, job)
}

func (s *server) retry(c *gin.Context) (tenancy.Job, error) {
	if err := s.requireProvisioning(); err != nil {
		return tenancy.Job{}, err
	}
	return operate(c, func(ctx context.Context, id tenancy.JobID, who tenancy.Actor) (tenancy.Job, error) {
		if p := exchangeOf(c).principal; p.SessionID != "" && !s.Sessions.Fresh(p) {
			// As to begin an offboarding does.
			job, err := s.Jobs.Job(ctx, id)
			if err == nil && job.Kind == tenancy.KindOffboard {
				err = s.refuse(c, errSignInAgain)
			}
			if err != nil {
				return tenancy.Job{}, err
			}
		}
		return s.Jobs.RetryJob(ctx, id, who)
	})
}

type retryJobsRequest struct {
	ErrorCode tenancy.Code    `json:"errorCode"`
	Kind      tenancy.JobKind `json:"kind"`
	Slug      string          `json:"slug"`
}

type retriesJSON struct {
	Matched int `json:"matched"`
	Retried int `json:"retried"`
	Skipped int `json:"skipped"`
}

// retryJobs serves POST /platform/job-retries.
func (s *server) retryJobs(c *gin.Context) error {
	if err := s.requireProvisioning(); err != nil {
		return err
	}
	var req retryJobsRequest
	if err := decode(c, &req); err != nil {
		return err
	}
	r, err := s.retryAll(c, req)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusAccepted, retriesJSON(r))
}

func (s *server) retryAll(c *gin.Context, req retryJobsRequest) (tenancy.Retries, error) {
	if err := s.requireProvisioning(); err != nil {
		return tenancy.Retries{}, err
	}
	var f faults
	if req.ErrorCode != "" && !slices.Contains(tenancy.Codes(), req.ErrorCode) {
		f.Add("/errorCode", faultInvalid, "This is no errorCode this API knows.")
	}
	switch {
	case req.Kind == tenancy.KindOffboard:
		f.Add("/kind", faultInvalid, "Offboardings are retried one by one.")
	case req.Kind != "" && !req.Kind.Valid():
		f.Add("/kind", faultInvalid, "This is no kind this API knows.")
	}
	filter := tenancy.JobFilter{Code: req.ErrorCode, Slug: f.Line("/slug", req.Slug, tenancy.MaxParameter)}
	if err := f.Err(); err != nil {
		return tenancy.Retries{}, err
	}
	return s.Jobs.RetryJobs(c.Request.Context(), filter, actor(c))
}

// cancelJob serves POST /platform/jobs/{jobId}/cancel.
func (s *server) cancelJob(c *gin.Context) error {
	job, err := s.cancel(c)
	if err != nil {
		return err
	}
	return s.writeAccepted(c, job)
}

func (s *server) cancel(c *gin.Context) (tenancy.Job, error) { return operate(c, s.Jobs.CancelJob) }

func operate(c *gin.Context, operation func(context.Context, tenancy.JobID, tenancy.Actor) (tenancy.Job, error)) (tenancy.Job, error) {
	id, err := jobIDOf(c)
	if err != nil {
		return tenancy.Job{}, err
	}
	return operation(c.Request.Context(), id, actor(c))
}

// jobIDOf returns the id in the path, CodeNotFound if no job can have it.
func jobIDOf(c *gin.Context) (tenancy.JobID, error) {
	id := c.Param("jobId")
	if !isID(id) {
		return "", tenancy.Errorf(tenancy.CodeNotFound, "No job can have this id.")
	}
	return tenancy.JobID(id), nil
}
